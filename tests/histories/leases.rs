//! Leases, and writes behind their fences: holders that pause for longer than their lease, and go on as if nothing was.

use std::collections::{BTreeMap, VecDeque};

use super::plays::Play;
use super::recorder::{map, Actor};
use super::replay::{Moment, Specification};
use super::tenures;

const SCOPES: &[&str] = &["leader", "rebalance:movies"];
const TOKENS: &str = "miroir:lease:_tokens";
const ALIAS: &str = "miroir:aliases:shared";
const CURSOR: &str = "miroir:cdc_cursor:kafka:movies";
const BUFFER: &str = "miroir:cdc:overflow:kafka";
const BYTES: &str = "miroir:cdc:overflow_bytes:kafka";
const SCOPED: &str = "miroir:search_ui_scoped_key:movies";
/// So few bytes that some events have to give way.
const BUDGET: usize = 60;
/// How many flips an alias remembers here.
const RETAIN: usize = 2;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lease {
    holder: String,
    end: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Alias {
    uid: String,
    version: i64,
    flips: VecDeque<(String, i64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ScopedKey {
    uid: String,
    generation: i64,
    rotated_at: i64,
    previous: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct World {
    leases: BTreeMap<String, Lease>,
    tokens: BTreeMap<String, i64>,
    alias: Option<Alias>,
    cursor: i64,
    scoped: Option<ScopedKey>,
    /// Oldest first.
    events: VecDeque<String>,
    pushed: usize,
}

impl World {
    fn lease(&self, key: &str, at: Moment) -> Option<&Lease> {
        self.leases.get(key).filter(|lease| at.is_before(lease.end))
    }

    fn token(&self, key: &str) -> i64 {
        self.tokens.get(key).copied().unwrap_or(0)
    }

    fn grant(&mut self, key: &str, holder: &str, ttl: &str, at: Moment) -> String {
        if self.lease(key, at).is_none() {
            *self.tokens.entry(key.to_owned()).or_default() += 1;
        }
        let end = at.clock + ttl.parse::<i64>().unwrap();
        self.leases.insert(key.to_owned(), Lease { holder: holder.to_owned(), end });
        format!("[1, {holder}, {ttl}, {}]", self.token(key))
    }

    fn refuse(&self, key: &str, at: Moment) -> String {
        self.lease(key, at).map_or_else(
            || format!("[0, nil, 0, {}]", self.token(key)),
            |lease| format!("[0, {}, {}, {}]", lease.holder, (lease.end - at.clock).max(1), self.token(key)),
        )
    }

    fn bytes(&self) -> usize {
        self.events.iter().map(String::len).sum()
    }

    /// A write, once it has passed its fence.
    fn write(&mut self, words: &[&str], at: Moment) -> String {
        match *words {
            ["MIROIR.PUT", _, "kind", "single", "current_uid", uid, "created_at", "1"] => {
                let alias = Alias { uid: uid.to_owned(), version: 1, flips: VecDeque::new() };
                if self.alias.replace(alias).is_some() { "2" } else { "1" }.to_owned()
            }
            ["MIROIR.ALIAS.FLIP", _, uid, "RETAIN", _] => {
                let Some(alias) = &mut self.alias else { return "-2".to_owned() };
                let old = std::mem::replace(&mut alias.uid, uid.to_owned());
                alias.flips.push_back((old, at.clock));
                if alias.flips.len() > RETAIN {
                    alias.flips.pop_front();
                }
                alias.version += 1;
                alias.version.to_string()
            }
            ["MIROIR.DEL", _] => u8::from(self.alias.take().is_some()).to_string(),
            ["MIROIR.CURSOR.ADVANCE", _, seq] => {
                let seq = seq.parse().unwrap();
                let goes_on = seq > self.cursor;
                self.cursor = self.cursor.max(seq);
                format!("[{}, {}]", u8::from(goes_on), self.cursor)
            }
            ["MIROIR.SCOPEDKEY.ROTATE", _, uid, generation] => {
                let generation = generation.parse().unwrap();
                if self.scoped.as_ref().is_some_and(|key| generation <= key.generation) {
                    return "0".to_owned();
                }
                let previous = self.scoped.take().map(|key| key.uid);
                self.scoped =
                    Some(ScopedKey { uid: uid.to_owned(), generation, rotated_at: at.clock, previous });
                "1".to_owned()
            }
            ["MIROIR.CDC.PUSH", _, "BUDGET", _, event] => {
                self.events.push_back(event.to_owned());
                self.pushed += 1;
                let before = (self.events.len(), self.bytes());
                while self.bytes() > BUDGET {
                    self.events.pop_front();
                }
                let after = (self.events.len(), self.bytes());
                format!(
                    "{{accepted: 1, bytes: {}, dropped: {}, dropped_bytes: {}, last_seq: {}, length: {}}}",
                    after.1,
                    before.0 - after.0,
                    before.1 - after.1,
                    self.pushed,
                    after.0
                )
            }
            ["MIROIR.CDC.POP", _] => format!("[{}]", self.events.pop_front().unwrap_or_default()),
            _ => panic!("{words:?}"),
        }
    }
}

pub struct Leases;

impl Specification for Leases {
    type World = World;

    fn begin(&self) -> World {
        World::default()
    }

    fn step(&self, world: &mut World, words: &[&str], at: Moment) -> String {
        match *words {
            ["PING"] => "PONG".to_owned(),
            ["MIROIR.LEASE.ACQUIRE", key, holder, ttl] => match world.lease(key, at) {
                Some(lease) if lease.holder != holder => world.refuse(key, at),
                _ => world.grant(key, holder, ttl, at),
            },
            ["MIROIR.LEASE.RENEW", key, holder, ttl, ref token @ ..] => {
                let token_fits = token.last().is_none_or(|token| *token == world.token(key).to_string());
                match world.lease(key, at) {
                    Some(lease) if lease.holder == holder && token_fits => world.grant(key, holder, ttl, at),
                    _ => world.refuse(key, at),
                }
            }
            ["MIROIR.LEASE.RELEASE", key, holder, "TOKEN", token] => match world.lease(key, at) {
                None => "-2".to_owned(),
                Some(lease) if lease.holder == holder && token == world.token(key).to_string() => {
                    world.leases.remove(key);
                    "1".to_owned()
                }
                Some(_) => "0".to_owned(),
            },
            ["MIROIR.LEASE.GET", key] => world.lease(key, at).map_or_else(
                || "nil".to_owned(),
                |lease| {
                    format!("[{}, {}, {}]", lease.holder, (lease.end - at.clock).max(1), world.token(key))
                },
            ),
            _ => {
                let place = words.iter().position(|word| *word == "FENCE").unwrap();
                let (key, token) = (words[place + 1], words[place + 2]);
                if world.lease(key, at).is_none() || token != world.token(key).to_string() {
                    return "STALE…".to_owned();
                }
                world.write(&[&words[..place], &words[place + 3..]].concat(), at)
            }
        }
    }

    fn look(&self, world: &World, words: &[&str], at: Moment) -> String {
        match *words {
            ["HGETALL", TOKENS] => {
                let scopes = world.tokens.iter().map(|(key, token)| {
                    (key.strip_prefix("miroir:lease:").unwrap().to_owned(), token.to_string())
                });
                map(scopes.collect::<Vec<_>>().iter().map(|(scope, token)| (scope.as_str(), token.as_str())))
            }
            ["GET", BYTES] => world.bytes().to_string(),
            ["GET", key] => world.lease(key, at).map_or("nil", |lease| &lease.holder).to_owned(),
            ["PEXPIRETIME", key] => world.lease(key, at).map_or(-2, |lease| lease.end).to_string(),
            ["HGETALL", ALIAS] => world.alias.as_ref().map_or_else(
                || "{}".to_owned(),
                |alias| {
                    let flip = |(uid, at): &(String, i64)| format!(r#"{{"uid":"{uid}","flipped_at":{at}}}"#);
                    // The newest stands last.
                    let flips = alias.flips.iter().map(flip).collect::<Vec<_>>().join(",");
                    format!(
                        "{{created_at: 1, current_uid: {}, history: [{flips}], kind: single, name: shared, version: {}}}",
                        alias.uid, alias.version
                    )
                },
            ),
            ["HGET", CURSOR, _] if world.cursor == 0 => "nil".to_owned(),
            ["HGET", CURSOR, _] => world.cursor.to_string(),
            ["HMGET", SCOPED, ..] => world.scoped.as_ref().map_or_else(
                || "[nil, nil, nil, nil]".to_owned(),
                |key| {
                    let previous = key.previous.as_deref().unwrap_or("nil");
                    format!("[{}, {}, {}, {previous}]", key.uid, key.generation, key.rotated_at)
                },
            ),
            ["LRANGE", BUFFER, ..] => {
                format!("[{}]", world.events.iter().rev().cloned().collect::<Vec<_>>().join(", "))
            }
            _ => panic!("{words:?}"),
        }
    }
}

fn about_lease(key: &str) -> Vec<String> {
    vec![format!("GET {key}"), format!("PEXPIRETIME {key}"), format!("HGETALL {TOKENS}")]
}

fn about_writes() -> Vec<String> {
    vec![format!("HGETALL {ALIAS}"), format!("HGET {CURSOR} last_event_seq"), format!("LRANGE {BUFFER} 0 -1")]
}

/// The number at the end of `[1, holder, ttl, token]`.
fn token_in(answer: &str) -> Option<&str> {
    answer.strip_suffix(']')?.rsplit(", ").next()
}

/// Wants to lead, leads for a while, and often does not notice that it is over.
fn lead(actor: &mut Actor<'_>) {
    // The last token that it had in any scope; it may well come up with it again.
    let mut last = "1".to_owned();
    while actor.plays() {
        actor.pause(0..25);
        let key = format!("miroir:lease:{}", actor.choose(SCOPES));
        let Some(answer) = acquire(actor, &key) else { continue };
        // A refused one sometimes writes with the token of the other: the fence cannot know who he is.
        if answer.starts_with("[0") && !actor.chance(8) {
            if actor.chance(3) {
                actor.call(&format!("MIROIR.LEASE.GET {key}"), &[]);
            }
            continue;
        }
        let mut token = token_in(&answer).unwrap().to_owned();
        for _ in 0..actor.random.u32(1..8) {
            work(actor, &key, &token);
            let longer_than_the_lease = actor.chance(5);
            actor.pause(if longer_than_the_lease { 60..130 } else { 0..12 });
            match actor.random.u32(..12) {
                // Whether they are refused or not: some do not listen.
                0..=2 => keep(actor, &key, ""),
                3 | 4 => keep(actor, &key, &format!(" TOKEN {token}")),
                5 => keep(actor, &key, &format!(" TOKEN {last}")),
                6 | 7 => {
                    let answer = acquire(actor, &key);
                    if let Some(next) = answer.filter(|answer| answer.starts_with("[1")) {
                        last = std::mem::replace(&mut token, token_in(&next).unwrap().to_owned());
                    }
                }
                _ => {}
            }
        }
        if actor.chance(4) {
            actor.die();
        } else if actor.chance(2) {
            let named = if actor.chance(4) { &last } else { &token };
            let release = format!("MIROIR.LEASE.RELEASE {key} {} TOKEN {named}", actor.name);
            actor.call(&release, &about_lease(&key));
        }
        last = token;
    }
}

fn acquire(actor: &mut Actor<'_>, key: &str) -> Option<String> {
    let acquire = format!("MIROIR.LEASE.ACQUIRE {key} {} {}", actor.name, actor.random.u32(30..80));
    actor.call(&acquire, &about_lease(key))
}

fn keep(actor: &mut Actor<'_>, key: &str, token: &str) {
    let renew = format!("MIROIR.LEASE.RENEW {key} {} {}{token}", actor.name, actor.random.u32(30..80));
    actor.call(&renew, &about_lease(key));
}

fn work(actor: &mut Actor<'_>, key: &str, token: &str) {
    let fence = format!("FENCE {key} {token}");
    let name = actor.serial();
    let line = match actor.random.u32(..14) {
        0 | 1 => format!("MIROIR.PUT {ALIAS} {fence} kind single current_uid u{name} created_at 1"),
        2..=4 => format!("MIROIR.ALIAS.FLIP {ALIAS} u{name} RETAIN {RETAIN} {fence}"),
        5 => format!("MIROIR.DEL {ALIAS} {fence}"),
        6..=8 => format!("MIROIR.CDC.PUSH {BUFFER} BUDGET {BUDGET} {fence} event-{name}"),
        9 => format!("MIROIR.CDC.POP {BUFFER} {fence}"),
        10 | 11 => {
            let generation = actor.random.u32(1..300);
            format!("MIROIR.SCOPEDKEY.ROTATE {SCOPED} u{name} {generation} {fence}")
        }
        _ => {
            // Some of these are behind what others have done meanwhile.
            let scale = actor.random.u32(1..12);
            let seq = actor.random.u32(1..1 << scale);
            format!("MIROIR.CURSOR.ADVANCE {CURSOR} {seq} {fence}")
        }
    };
    actor.call(&line, &about_writes());
}

/// Ten that want to lead in two scopes.
pub fn play() -> Play<Leases> {
    let mut survey = about_writes();
    SCOPES.iter().for_each(|scope| survey.extend(about_lease(&format!("miroir:lease:{scope}"))));
    Play {
        specification: Leases,
        cast: vec![(10, lead)],
        afterwards: None,
        survey,
        invariants: tenures::check,
    }
}
