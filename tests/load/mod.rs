//! Clients that work on one task store, all of them on the same leases, queues, buffers and counters, and that keep
//! what they were told.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod agreement;
pub mod facts;
mod steps;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::sync::Mutex;

use fastrand::Rng;
use redis::{Connection, FromRedisValue, RedisResult};

use facts::Fact;

/// What all clients have in common.
#[derive(Default)]
pub struct World {
    told: Mutex<Vec<Told>>,
    /// Up to which number the consumer may have acknowledged events.
    acknowledged: AtomicI64,
    /// How many commands were sent, and how many were answered.
    pub sent: AtomicUsize,
    pub answered: AtomicUsize,
    /// How often a client lost the server.
    pub breaks: AtomicUsize,
    over: AtomicBool,
}

/// A fact, and whether a replica has confirmed it.
#[derive(Debug, Clone)]
pub struct Told {
    pub fact: Fact,
    pub confirmed: bool,
}

impl World {
    /// Everything that was told so far, in the order of the answers.
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    pub fn facts(&self) -> Vec<Fact> {
        self.told().into_iter().map(|told| told.fact).collect()
    }

    /// Keeps only these.
    pub fn keep(&self, told: Vec<Told>) {
        *self.told.lock().unwrap() = told;
    }

    pub fn acknowledged(&self) -> i64 {
        self.acknowledged.load(SeqCst)
    }

    /// The server has gone back to a time at which no more than this can have been acknowledged.
    pub fn acknowledged_only(&self, number: i64) {
        self.acknowledged.store(number, SeqCst);
    }

    pub fn end(&self) {
        self.over.store(true, SeqCst);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }
}

/// Why a client did not get an answer.
pub enum Stop {
    /// The server is gone, or may not be written to.
    Lost,
    /// It does not do that now.
    Refused,
}

/// Whoever works on the store.
pub struct Worker<'a> {
    world: &'a World,
    pub random: Rng,
    /// A part of its names, so that those of others, and of other times, are others.
    name: String,
    /// The one who reads the events, as only one may.
    is_consumer: bool,
    /// Whether it asks after each step that a replica confirms it.
    waits: bool,
    find: &'a (dyn Fn() -> Option<Connection> + Sync),
    link: Option<Connection>,
    serial: usize,
    /// What it was told in this step.
    fresh: Vec<Fact>,
}

impl<'a> Worker<'a> {
    /// `find` makes a connection to the server, or tells that there is none now.
    pub fn new(
        world: &'a World,
        number: usize,
        round: usize,
        random: Rng,
        waits: bool,
        find: &'a (dyn Fn() -> Option<Connection> + Sync),
    ) -> Self {
        let name = format!("{round}-{number}");
        let (link, fresh) = (None, Vec::new());
        Self { world, random, name, is_consumer: number == 0, waits, find, link, serial: 0, fresh }
    }

    /// Works until the server is gone.
    pub fn work_until_lost(mut self) {
        self.link = (self.find)();
        while self.link.is_some() && !self.world.is_over() {
            self.turn();
        }
    }

    /// Works until all is over, on whichever server is there.
    pub fn work(mut self) {
        while !self.world.is_over() {
            if self.link.is_none() {
                self.link = (self.find)();
                if self.link.is_none() {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                    continue;
                }
            }
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.fresh.clear();
        let end = self.step();
        let fresh: Vec<_> = self.fresh.drain(..).collect();
        let confirmed = !fresh.is_empty() && end.is_ok() && self.waits && self.is_confirmed();
        let told = fresh.into_iter().map(|fact| Told { fact, confirmed });
        self.world.told.lock().unwrap().extend(told);
        if matches!(end, Err(Stop::Lost)) {
            self.link = None;
            self.world.breaks.fetch_add(1, SeqCst);
        }
    }

    fn is_confirmed(&mut self) -> bool {
        let link = self.link.as_mut().unwrap();
        redis::cmd("WAIT").arg(1).arg(1000).query::<i64>(link).is_ok_and(|replicas| replicas >= 1)
    }

    fn tell(&mut self, fact: Fact) {
        self.fresh.push(fact);
    }

    /// Sends a line, its words between single spaces.
    fn ask<T: FromRedisValue>(&mut self, line: &str) -> Result<T, Stop> {
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        let answer = self.sent(|link| command.query(link));
        answer.map_err(|(stop, error)| {
            assert!(!matches!(stop, Stop::Refused) || is_refusal(&error), "{line}: {error}");
            stop
        })
    }

    fn sent<T>(&mut self, send: impl FnOnce(&mut Connection) -> RedisResult<T>) -> Result<T, (Stop, String)> {
        let Some(link) = self.link.as_mut() else { return Err((Stop::Lost, String::new())) };
        self.world.sent.fetch_add(1, SeqCst);
        match send(link) {
            Ok(answer) => {
                self.world.answered.fetch_add(1, SeqCst);
                Ok(answer)
            }
            Err(error) => match error.code() {
                // The connection broke, or the server is no master.
                None | Some("READONLY" | "LOADING" | "MASTERDOWN" | "UNBLOCKED") => {
                    Err((Stop::Lost, error.to_string()))
                }
                Some(_) => Err((Stop::Refused, error.to_string())),
            },
        }
    }
}

/// What a server may answer to anybody.
fn is_refusal(error: &str) -> bool {
    error.contains("STALE") || error.contains("TRYAGAIN")
}
