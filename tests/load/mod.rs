//! Clients that work on one task store, all of them on the same leases, queues, buffers and counters, and that keep
//! what they were told.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod agreement;
pub mod clearing;
pub mod facts;
mod steps;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fastrand::Rng;
use redis::{ConnectionLike, FromRedisValue, RedisResult};

use super::support::figure;
use facts::Fact;

/// How long clients may take for something, on a machine with other work.
const LONGEST: Duration = Duration::from_secs(90);
/// How long a client waits for replicas, in ms.
const WAIT_MS: usize = 500;

/// What all clients have in common.
#[derive(Default)]
pub struct World {
    /// Where the keys are that the steps call `miroir:…`, if it is another namespace.
    namespace: Option<&'static str>,
    told: Mutex<Vec<Told>>,
    /// Up to which number the consumer may have acknowledged events.
    acknowledged: AtomicI64,
    /// How many commands were sent, and how many were answered.
    pub sent: AtomicUsize,
    pub answered: AtomicUsize,
    /// How often a client lost the server.
    pub breaks: AtomicUsize,
    /// Whether the server may be without the module for a moment.
    module_may_go: bool,
    /// How long clients rest after each step, in ms.
    pub rest: AtomicU64,
    over: AtomicBool,
}

/// Ends the work when it goes, also when the test fails: the clients would go on for ever.
pub struct Curtain<'a>(pub &'a World);

impl Drop for Curtain<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Waits for something that clients do.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + LONGEST;
    while !is_so() {
        assert!(Instant::now() < deadline, "still waiting for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A fact, and how far it had come when the client went on.
#[derive(Debug, Clone)]
pub struct Told {
    pub fact: Fact,
    /// How many replicas had it.
    pub replicas: usize,
    /// Which master told it, and up to where it had written then. Unknown if the client lost it before it asked.
    pub at: Position,
}

/// A place in what a master writes to its replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// The master, by the name that it gives to what it writes.
    pub history: String,
    pub offset: Option<i64>,
}

impl Position {
    pub fn read(info: &str) -> Self {
        let history = info.lines().find_map(|line| line.strip_prefix("master_replid:"));
        Self { history: history.unwrap_or_default().to_owned(), offset: figure(info, "master_repl_offset") }
    }
}

/// What a client asks after each step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    Nothing,
    /// Whether a replica has it.
    Confirmation,
    /// Up to where the master has written.
    Position,
    /// And whether so many replicas have it.
    Replicas(usize),
}

impl Told {
    /// Whether a replica had it.
    pub fn is_confirmed(&self) -> bool {
        self.replicas > 0
    }
}

impl World {
    /// In another namespace than `miroir`, with clients that leave others some time.
    pub fn of(namespace: &'static str, rest: Duration) -> Self {
        let rest = AtomicU64::new(u64::try_from(rest.as_millis()).unwrap());
        Self { namespace: Some(namespace), rest, ..Self::default() }
    }

    pub fn namespace(&self) -> &'static str {
        self.namespace.unwrap_or("miroir")
    }

    /// What a step says, in the namespace of this world.
    fn spell(&self, text: &str) -> String {
        self.namespace.map_or_else(|| text.to_owned(), |name| text.replace("miroir:", &format!("{name}:")))
    }

    /// One in which this is known from before.
    pub fn after(told: Vec<Told>, acknowledged: i64) -> Self {
        Self { told: Mutex::new(told), acknowledged: AtomicI64::new(acknowledged), ..Self::default() }
    }

    /// One whose server may lose the module for a moment.
    pub fn without_module_at_times() -> Self {
        Self { module_may_go: true, ..Self::default() }
    }

    /// Everything that was told so far, in the order of the answers.
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    pub fn facts(&self) -> Vec<Fact> {
        self.told().into_iter().map(|told| told.fact).collect()
    }

    /// How many facts this master has told.
    pub fn told_by(&self, history: &str) -> usize {
        self.told.lock().unwrap().iter().filter(|told| told.at.history == history).count()
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

    /// Lets others work after those that have come to their end.
    pub fn begin_again(&self) {
        self.over.store(false, SeqCst);
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

/// A connection, of whatever kind.
pub type Link = Box<dyn ConnectionLike + Send>;

/// Whoever works on the store.
pub struct Worker<'a> {
    world: &'a World,
    pub random: Rng,
    /// A part of its names, so that those of others, and of other times, are others.
    name: String,
    /// The one who reads the events, as only one may.
    is_consumer: bool,
    asks: Asks,
    find: &'a (dyn Fn() -> Option<Link> + Sync),
    link: Option<Link>,
    at: Position,
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
        asks: Asks,
        find: &'a (dyn Fn() -> Option<Link> + Sync),
    ) -> Self {
        let name = format!("{round}-{number}");
        let is_consumer = number == 0;
        let (link, at, fresh) = (None, Position::default(), Vec::new());
        Self { world, random, name, is_consumer, asks, find, link, at, serial: 0, fresh }
    }

    /// Works until the server is gone.
    pub fn work_until_lost(mut self) {
        self.connect();
        while self.link.is_some() && !self.world.is_over() {
            self.turn();
        }
    }

    /// Works until all is over, on whichever server is there.
    pub fn work(mut self) {
        while !self.world.is_over() {
            if self.link.is_none() {
                self.connect();
                if self.link.is_none() {
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
            }
            self.turn();
            std::thread::sleep(Duration::from_millis(self.world.rest.load(SeqCst)));
        }
    }

    fn connect(&mut self) {
        self.link = (self.find)();
        if self.position().is_err() {
            self.link = None;
        }
    }

    fn turn(&mut self) {
        self.fresh.clear();
        self.at.offset = None;
        let end = self.step();
        let is_lost = matches!(end, Err(Stop::Lost)) || self.position().is_err();
        let replicas = if is_lost { 0 } else { self.replicas() };
        let fresh: Vec<_> = self.fresh.drain(..).collect();
        let told = fresh.into_iter().map(|fact| Told { fact, replicas, at: self.at.clone() });
        self.world.told.lock().unwrap().extend(told);
        if is_lost {
            self.link = None;
            self.world.breaks.fetch_add(1, SeqCst);
        }
    }

    /// Asks where the master stands now.
    fn position(&mut self) -> RedisResult<()> {
        if let (Some(link), Asks::Position | Asks::Replicas(_)) = (&mut self.link, self.asks) {
            let info: String = redis::cmd("INFO").arg("replication").query(&mut **link)?;
            // It may have been relieved since it answered, and then speaks of what its new master writes.
            if !info.contains("role:master") {
                return Err((redis::ErrorKind::Client, "no master any more").into());
            }
            self.at = Position::read(&info);
        }
        Ok(())
    }

    /// How many replicas have what was done so far.
    fn replicas(&mut self) -> usize {
        let number = match self.asks {
            Asks::Nothing | Asks::Position => return 0,
            Asks::Confirmation => 1,
            Asks::Replicas(number) => number,
        };
        match &mut self.link {
            Some(link) if !self.fresh.is_empty() => {
                redis::cmd("WAIT").arg(number).arg(WAIT_MS).query(&mut **link).unwrap_or(0)
            }
            _ => 0,
        }
    }

    fn tell(&mut self, fact: Fact) {
        self.fresh.push(fact.with_keys(|key| self.world.spell(key)));
    }

    /// Sends a line, its words between single spaces.
    fn ask<T: FromRedisValue>(&mut self, line: &str) -> Result<T, Stop> {
        let line = self.world.spell(line);
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

    fn sent<T>(
        &mut self,
        send: impl FnOnce(&mut dyn ConnectionLike) -> RedisResult<T>,
    ) -> Result<T, (Stop, String)> {
        let Some(link) = self.link.as_mut() else { return Err((Stop::Lost, String::new())) };
        self.world.sent.fetch_add(1, SeqCst);
        match send(&mut **link) {
            Ok(answer) => {
                self.world.answered.fetch_add(1, SeqCst);
                Ok(answer)
            }
            Err(error) => match error.code() {
                // The connection broke, or the server is no master, or not that of these keys.
                None
                | Some("READONLY" | "LOADING" | "MASTERDOWN" | "UNBLOCKED" | "CLUSTERDOWN" | "MOVED") => {
                    Err((Stop::Lost, error.to_string()))
                }
                Some(code) if self.world.module_may_go && is_without_module(code, &error.to_string()) => {
                    Err((Stop::Lost, error.to_string()))
                }
                Some(code) => Err((Stop::Refused, format!("{code} {error}"))),
            },
        }
    }
}

/// What a server may answer to anybody. Without its replicas it may also refuse a transaction that it has taken.
fn is_refusal(error: &str) -> bool {
    ["STALE ", "TRYAGAIN ", "ASK "].iter().any(|code| error.starts_with(code)) || error.contains("NOREPLICAS")
}

/// What a server answers that does not know the commands, also in a transaction and in a script.
fn is_without_module(code: &str, error: &str) -> bool {
    code == "EXECABORT" || error.contains("nknown command") || error.contains("Unknown Redis command")
}
