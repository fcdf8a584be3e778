//! Idempotency keys: many pods begin the same few requests, complete them, give them up, or are too late.

use std::collections::BTreeMap;

use super::plays::Play;
use super::recorder::Actor;
use super::replay::{Moment, Specification};
use super::requests;

const KEYS: usize = 8;
const DAY: i64 = 86_400_000;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    hash: String,
    task: String,
    end: i64,
    in_flight: bool,
    /// What BEGIN said of the life after COMPLETE.
    life: Option<i64>,
    completed: bool,
}

pub type World = BTreeMap<String, Request>;

fn live<'a>(world: &'a mut World, key: &str, at: Moment) -> Option<&'a mut Request> {
    world.get_mut(key).filter(|request| at.is_before(request.end))
}

fn option(words: &[&str], name: &str) -> Option<i64> {
    words.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].parse().unwrap())
}

pub struct Idempotency;

impl Specification for Idempotency {
    type World = World;

    fn begin(&self) -> World {
        World::new()
    }

    fn step(&self, world: &mut World, words: &[&str], at: Moment) -> String {
        match *words {
            ["PING"] => "PONG".to_owned(),
            ["MIROIR.IDEMP.BEGIN", key, hash, task, ref options @ ..] => {
                if let Some(request) = live(world, key, at) {
                    let id = &request.task;
                    return if !request.hash.eq_ignore_ascii_case(hash) {
                        format!("[mismatch, {id}]")
                    } else if request.in_flight {
                        // As long as it is there, there is something left.
                        format!("[inflight, {id}, {}]", (request.end - at.clock).max(1))
                    } else {
                        format!("[replay, {id}]")
                    };
                }
                let (life, lock) = (option(options, "PX"), option(options, "LOCK"));
                let request = Request {
                    hash: hash.to_owned(),
                    task: task.to_owned(),
                    end: at.clock + lock.or(life).unwrap_or(DAY),
                    in_flight: lock.is_some(),
                    life,
                    completed: false,
                };
                world.insert(key.to_owned(), request);
                format!("[new, {task}]")
            }
            ["MIROIR.IDEMP.COMPLETE", key, task, ref options @ ..] => {
                let Some(request) = live(world, key, at) else { return "-2".to_owned() };
                if request.task != task {
                    return "0".to_owned();
                }
                let life = option(options, "PX");
                request.completed = true;
                if request.in_flight {
                    request.in_flight = false;
                    request.end = at.clock + life.or(request.life).unwrap_or(DAY);
                } else if let Some(life) = life {
                    request.end = at.clock + life;
                }
                "1".to_owned()
            }
            ["MIROIR.IDEMP.ABORT", key, task] => match live(world, key, at) {
                None => "-2".to_owned(),
                Some(request) if request.task != task => "0".to_owned(),
                Some(_) => {
                    world.remove(key);
                    "1".to_owned()
                }
            },
            _ => panic!("{words:?}"),
        }
    }

    fn look(&self, world: &World, words: &[&str], at: Moment) -> String {
        let request = world.get(words[1]).filter(|request| at.is_before(request.end));
        match (words[0], request) {
            ("HMGET", None) => "[nil, nil, nil, nil]".to_owned(),
            ("HMGET", Some(request)) => {
                let state = match (request.in_flight, request.completed) {
                    // The module notes the later life behind it.
                    (true, _) => "inflight…",
                    (false, true) => "completed]",
                    (false, false) => "nil]",
                };
                format!("[{}, {}, {}, {state}", request.hash, request.task, request.end)
            }
            ("PEXPIRETIME", None) => "-2".to_owned(),
            ("PEXPIRETIME", Some(request)) => request.end.to_string(),
            _ => panic!("{words:?}"),
        }
    }
}

fn about(key: &str) -> Vec<String> {
    vec![format!("HMGET {key} body_sha256 miroir_task_id expires_at state"), format!("PEXPIRETIME {key}")]
}

/// A pod that gets the same requests as all others.
fn serve(actor: &mut Actor<'_>) {
    while actor.plays() {
        actor.pause(0..20);
        let key = format!("miroir:idemp:k{}", actor.random.usize(..KEYS));
        // The same body nearly always, sometimes in the other case, sometimes another body.
        let digit = ["a", "a", "a", "a", "a", "A", "b"][actor.random.usize(..7)];
        let task = actor.serial();
        let mut begin = format!("MIROIR.IDEMP.BEGIN {key} {} {task}", digit.repeat(64));
        if !actor.chance(30) {
            begin += &format!(" PX {}", actor.random.u32(20..150));
        }
        if !actor.chance(4) {
            begin += &format!(" LOCK {}", actor.random.u32(20..80));
        }
        let answer = actor.call(&begin, &about(&key));
        // Who got no answer does not know whose it is now, and tries to end it all the same.
        if answer.is_some_and(|answer| !answer.starts_with("[new")) && !actor.chance(8) {
            continue;
        }
        for _ in 0..actor.random.u32(0..3) {
            let longer_than_the_lock = actor.chance(4);
            actor.pause(if longer_than_the_lock { 60..120 } else { 0..25 });
            let line = match actor.random.u32(..4) {
                0 => format!("MIROIR.IDEMP.ABORT {key} {task}"),
                1 => format!("MIROIR.IDEMP.COMPLETE {key} {task} PX {}", actor.random.u32(20..150)),
                _ => format!("MIROIR.IDEMP.COMPLETE {key} {task}"),
            };
            actor.call(&line, &about(&key));
        }
    }
}

/// Ten pods.
pub fn play() -> Play<Idempotency> {
    Play {
        specification: Idempotency,
        cast: vec![(10, serve)],
        afterwards: None,
        survey: (0..KEYS).flat_map(|number| about(&format!("miroir:idemp:k{number}"))).collect(),
        invariants: requests::check,
    }
}
