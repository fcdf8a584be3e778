//! Rate limits and the backoff of logins: many clients at few addresses, in windows that end all the time.

use std::collections::BTreeMap;

use super::plays::Play;
use super::recorder::Actor;
use super::replay::{Moment, Specification};
use super::windows;

const ADDRESSES: usize = 3;
const SEARCHES: &str = "miroir:ratelimit:searchui:";
const LOGINS: &str = "miroir:ratelimit:adminlogin:";
const BACKOFF: &str = "miroir:ratelimit:adminlogin:backoff:";
/// What LOGIN.FAIL is called with: threshold, first and longest backoff.
const STEPS: (u32, i64, i64) = (3, 10, 70);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Window {
    count: i64,
    end: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct World {
    windows: BTreeMap<String, Window>,
    /// How many logins failed in a row, and when the next may be tried.
    failures: BTreeMap<String, (u32, i64)>,
}

/// Allowed, remaining, retry after, reset.
type Answer = (bool, i64, i64, i64);

impl World {
    fn window(&self, key: &str, at: Moment) -> Option<&Window> {
        self.windows.get(key).filter(|window| at.is_before(window.end))
    }

    fn hit(&mut self, key: &str, numbers: (i64, i64), cost: i64, only_looks: bool, at: Moment) -> Answer {
        let (limit, length) = numbers;
        let running = self.window(key, at).cloned();
        // While the counter is there a window has 1 ms left at least.
        let rest = running.as_ref().map(|window| (window.end - at.clock).max(1));
        let left = (limit - running.as_ref().map_or(0, |window| window.count)).max(0);
        if cost > left {
            return (false, left, rest.unwrap_or(length), rest.unwrap_or(0));
        }
        if only_looks {
            return (true, left, 0, rest.unwrap_or(0));
        }
        let mut window = running.unwrap_or(Window { count: 0, end: at.clock + length });
        window.count += cost;
        self.windows.insert(key.to_owned(), window);
        (true, left - cost, 0, rest.unwrap_or(length))
    }
}

pub struct Limits;

impl Specification for Limits {
    type World = World;

    fn begin(&self) -> World {
        World::default()
    }

    fn step(&self, world: &mut World, words: &[&str], at: Moment) -> String {
        let number = |word: &str| word.parse::<i64>().unwrap();
        match *words {
            ["PING"] => "PONG".to_owned(),
            ["MIROIR.RATELIMIT.HIT", key, limit, length, ref options @ ..] => {
                let only_looks = options.contains(&"PEEK");
                let cost = options.iter().position(|word| *word == "COST");
                let cost = cost.map_or(1, |place| number(options[place + 1]));
                let (allowed, remaining, retry, reset) =
                    world.hit(key, (number(limit), number(length)), cost, only_looks, at);
                format!("[{}, {remaining}, {retry}, {reset}]", u8::from(allowed))
            }
            ["MIROIR.LOGIN.CHECK", key, limit, length] => {
                let address = key.strip_prefix(LOGINS).unwrap();
                let next = world.failures.get(address).map_or(0, |(_, next)| *next);
                let backoff = (next - at.clock).max(0);
                let numbers = (number(limit), number(length));
                let (allowed, remaining, retry, _) = world.hit(key, numbers, 1, backoff > 0, at);
                format!("[{}, {remaining}, {}]", u8::from(allowed && backoff == 0), retry.max(backoff))
            }
            ["MIROIR.LOGIN.FAIL", key, ..] => {
                let (threshold, start, most) = STEPS;
                let failure = world.failures.entry(key.strip_prefix(LOGINS).unwrap().to_owned()).or_default();
                failure.0 += 1;
                let doublings = failure.0.checked_sub(threshold);
                let backoff = doublings.map_or(0, |doublings| most.min(start << doublings.min(20)));
                failure.1 = at.clock + backoff;
                format!("[{}, {backoff}]", failure.0)
            }
            ["MIROIR.LOGIN.OK", key] => {
                world.failures.remove(key.strip_prefix(LOGINS).unwrap());
                world.windows.remove(key);
                "1".to_owned()
            }
            _ => panic!("{words:?}"),
        }
    }

    fn look(&self, world: &World, words: &[&str], at: Moment) -> String {
        match *words {
            ["GET", key] => world.window(key, at).map_or("nil".to_owned(), |window| window.count.to_string()),
            ["PEXPIRETIME", key] => world.window(key, at).map_or(-2, |window| window.end).to_string(),
            ["HMGET", key, "failed_count", "next_allowed_at"] => {
                let failure = world.failures.get(key.strip_prefix(BACKOFF).unwrap());
                failure.map_or("[nil, nil]".to_owned(), |(count, next)| format!("[{count}, {next}]"))
            }
            _ => panic!("{words:?}"),
        }
    }
}

fn about(key: &str) -> Vec<String> {
    vec![format!("GET {key}"), format!("PEXPIRETIME {key}")]
}

fn about_login(address: usize) -> Vec<String> {
    let mut looks = about(&format!("{LOGINS}{address}"));
    looks.push(format!("HMGET {BACKOFF}{address} failed_count next_allowed_at"));
    looks
}

fn search(actor: &mut Actor<'_>) {
    while actor.plays() {
        let longer_than_the_window = actor.chance(10);
        actor.pause(if longer_than_the_window { 80..150 } else { 0..12 });
        let address = actor.random.usize(..ADDRESSES);
        let key = format!("{SEARCHES}{address}");
        // The limit of an address is the same for all, so that it is clear what must never be exceeded; nearly always.
        let limit = if actor.chance(10) { actor.random.usize(..5) } else { 5 + address };
        let mut line = format!("MIROIR.RATELIMIT.HIT {key} {limit} {}", actor.random.u32(30..90));
        match actor.random.u32(..30) {
            0 => line += " COST 100",
            1..=15 => line += &format!(" COST {}", actor.random.u32(1..4)),
            _ => {}
        }
        if actor.chance(4) {
            line += " PEEK";
        }
        actor.call(&line, &about(&key));
    }
}

fn log_in(actor: &mut Actor<'_>) {
    while actor.plays() {
        actor.pause(0..15);
        let address = actor.random.usize(..ADDRESSES);
        let key = format!("{LOGINS}{address}");
        let (threshold, start, most) = STEPS;
        let check = format!("MIROIR.LOGIN.CHECK {key} 6 {}", actor.random.u32(40..120));
        let Some(answer) = actor.call(&check, &about_login(address)) else { continue };
        let line = match actor.random.u32(..6) {
            // A wrong password, also of somebody who did not ask before.
            0..=3 if answer.starts_with("[1") => {
                format!("MIROIR.LOGIN.FAIL {key} {threshold} {start} {most}")
            }
            4 => format!("MIROIR.LOGIN.FAIL {key} {threshold} {start} {most}"),
            5 if actor.chance(2) => format!("MIROIR.LOGIN.OK {key}"),
            _ => continue,
        };
        actor.call(&line, &about_login(address));
    }
}

/// Six that search, and four that log in.
pub fn play() -> Play<Limits> {
    let searches = (0..ADDRESSES).flat_map(|address| about(&format!("{SEARCHES}{address}")));
    Play {
        specification: Limits,
        cast: vec![(6, search), (4, log_in)],
        afterwards: None,
        survey: searches.chain((0..ADDRESSES).flat_map(about_login)).collect(),
        invariants: windows::check,
    }
}
