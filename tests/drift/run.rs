//! Random operations on a server, and the checks between them.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use fastrand::Rng;
use redis::Value;

use super::model::{self, audit, bytes, difference, error_code, items, send, show, Sweep, Words};
use super::operations::{self, Operations, DATABASES, NAMESPACES};
pub use super::support::variable;
use super::support::{patience, Client, Server};

/// How many operations a test does.
const OPERATIONS: usize = 7_000;
/// How many operations there are at most between two checks.
const SEGMENT: usize = 5_000;
/// How many into that many segments at least, as each ends in a different way.
const SEGMENTS: usize = 4;
/// How many of the last commands are kept, to be told when something is wrong.
const REMEMBERED: usize = 30_000;

/// What every database holds.
pub type Truth = Vec<Sweep>;

pub struct Run {
    seed: u64,
    pub operations: Operations,
    /// The operations done so far.
    done: usize,
    /// The last commands, each with the number of its operation.
    history: VecDeque<(usize, Words)>,
    /// For each kind of operation how many there were, and how many of them were not answered with an error.
    tally: BTreeMap<&'static str, (usize, usize)>,
    evicted: i64,
}

impl Run {
    pub fn new(server: &Server) -> Self {
        let seed = variable("MIROIR_DRIFT_SEED").unwrap_or_else(|| fastrand::u64(..));
        println!("seed {seed}");
        let operations = Operations::new(&mut server.client(), Rng::with_seed(seed));
        let (history, tally) = (VecDeque::new(), BTreeMap::new());
        Self { seed, operations, done: 0, history, tally, evicted: 0 }
    }

    /// How many operations come before each check.
    pub fn segments() -> impl Iterator<Item = (usize, usize)> {
        let all = variable("MIROIR_DRIFT_OPERATIONS").map_or(OPERATIONS, |all| usize::try_from(all).unwrap());
        let segments = all.div_ceil(SEGMENT).max(SEGMENTS);
        std::iter::repeat_n(all.div_ceil(segments), segments).enumerate()
    }

    pub fn fail(&self, when: &str, faults: &[String]) -> ! {
        let mut text = format!("seed {}, after {} operations, {when}:\n", self.seed, self.done);
        faults.iter().take(8).for_each(|fault| text.push_str(&format!("  {fault}\n")));
        let concerned: Vec<_> =
            self.history.iter().filter(|(_, words)| concerns(words, &faults[0])).collect();
        text.push_str("the last commands about it:\n");
        for (number, words) in &concerned[concerned.len().saturating_sub(25)..] {
            text.push_str(&format!("  {number}: {}\n", line(words)));
        }
        panic!("{text}");
    }

    fn expect_none(&self, when: &str, faults: &[String]) {
        if !faults.is_empty() {
            self.fail(when, faults);
        }
    }

    /// Does so many operations, in pipelines of any length.
    pub fn work(&mut self, server: &Server, count: usize) {
        let mut client = server.client();
        // With it off, rows whose time is up stay where they are until somebody looks at them. Fields cannot be
        // waited for then.
        let expires = self.operations.random.bool();
        client.ask(&format!("DEBUG SET-ACTIVE-EXPIRE {}", u8::from(expires)));
        self.operations.field_lives = expires;
        self.operations.dumps.clear();
        let end = self.done + count;
        while self.done < end {
            match self.operations.random.u8(..16) {
                0 => self.evict(&mut client),
                1 | 2 => {
                    let key = self.operations.key();
                    if let Ok(Value::BulkString(dump)) = client.raw(&[&b"DUMP"[..], &key]) {
                        self.operations.dumps.push(dump);
                    }
                }
                _ => {}
            }
            let length = self.operations.random.usize(1..120).min(end - self.done);
            self.batch(&mut client, length);
        }
    }

    fn batch(&mut self, client: &mut Client, length: usize) {
        let mut commands = Vec::new();
        let mut kinds = Vec::new();
        for number in self.done..self.done + length {
            let before = commands.len();
            if self.operations.random.u8(..8) == 0 {
                commands.push(words!["SELECT", self.operations.database()]);
            }
            let (name, made) = self.operations.next();
            commands.extend(made);
            kinds.push((name, commands.len() - 1));
            self.history.extend(commands[before..].iter().map(|words| (number, words.clone())));
        }
        self.done += length;
        while self.history.len() > REMEMBERED {
            self.history.pop_front();
        }
        let answers = send(client, &commands);
        for (words, answer) in commands.iter().zip(&answers) {
            if let Some(text) = alarm(answer) {
                self.fail("an answer", &[format!("{text}, in answer to {}", line(words))]);
            }
        }
        for (name, last) in kinds {
            let (all, good) = self.tally.entry(name).or_default();
            *all += 1;
            *good += usize::from(error_code(&answers[last]).is_none());
        }
    }

    /// Lets the server run out of memory for a moment, so that it evicts some of what has a life. Index sets have none.
    fn evict(&mut self, client: &mut Client) {
        let before = client.figure("stats", "evicted_keys");
        let limit = client.figure("memory", "used_memory") - self.operations.random.i64(1000..20_000);
        let commands = [
            words!["CONFIG", "SET", "maxmemory-policy", "volatile-random"],
            words!["CONFIG", "SET", "maxmemory", limit.to_string()],
            words!["PING"],
            words!["CONFIG", "SET", "maxmemory", "0"],
        ];
        send(client, &commands);
        self.evicted += client.figure("stats", "evicted_keys") - before;
    }

    /// Waits until everything with a short life is over.
    pub fn quiesce(&self, client: &mut Client) {
        client.ask("SELECT 0");
        client.ask("SET drift:clock x PX 40");
        client.wait_for("EXISTS drift:clock", |answer| answer == "0");
        if self.operations.field_lives {
            // How many hashes have fields with a life: as Redis says it, and as Valkey does.
            client.wait_for("INFO keyspace", |info| {
                info.split([',', '\r']).all(|part| match part.split_once('=') {
                    Some(("subexpiry" | "keys_with_volatile_items", count)) => count == "0",
                    _ => true,
                })
            });
        }
    }

    /// Asks all questions of a server and compares the answers with its own raw keys. Answers what these are.
    pub fn check_answers(&mut self, server: &Server, when: &str) -> Truth {
        let mut client = server.client();
        let mut truth = Vec::new();
        for database in 0..DATABASES {
            client.ask(&format!("SELECT {database}"));
            let (sweep, faults) = model::check(&mut client, &NAMESPACES, &mut self.operations.random);
            let faults: Vec<_> = faults.iter().map(|fault| format!("database {database}, {fault}")).collect();
            self.expect_none(when, &faults);
            truth.push(sweep);
        }
        truth
    }

    /// Asks AUDIT about everything and compares its findings with the raw keys.
    pub fn check_audit(&self, server: &Server, truth: &Truth, when: &str) {
        let mut client = server.client();
        for (database, sweep) in truth.iter().enumerate() {
            client.ask(&format!("SELECT {database}"));
            let mut faults = Vec::new();
            for namespace in NAMESPACES {
                let found = audit(&mut client, namespace);
                let found = sweep.audit_faults(namespace, &found);
                faults.extend(
                    found.iter().map(|fault| format!("database {database}, AUDIT {namespace} {fault}")),
                );
            }
            self.expect_none(when, &faults);
        }
    }

    /// Checks a master, and that it mends its index sets. Answers what it holds then.
    pub fn check(&mut self, server: &Server, when: &str) -> Truth {
        let mut client = server.client();
        self.quiesce(&mut client);
        self.check_answers(server, when);

        // Whoever looks at a key whose time is up deletes it. After that the index sets must follow by themselves.
        for database in 0..DATABASES {
            client.ask(&format!("SELECT {database}"));
            scan(&mut client);
        }
        let deadline = Instant::now() + patience();
        let truth = loop {
            let truth = sweep_all(server);
            let faults: Vec<_> = truth
                .iter()
                .enumerate()
                .flat_map(|(database, sweep)| {
                    let faults = sweep.index_faults().into_iter();
                    faults.map(move |fault| format!("database {database}, the index set {fault}"))
                })
                .collect();
            if faults.is_empty() {
                break truth;
            }
            if Instant::now() > deadline {
                self.fail(when, &faults);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        self.check_audit(server, &truth, when);
        truth
    }

    /// Checks a server that got its data from another one, or from a file: they are the same, and it knows them.
    pub fn check_copy(&mut self, server: &Server, truth: &Truth, when: &str) {
        let held = self.check_answers(server, when);
        for (database, (expected, held)) in truth.iter().zip(&held).enumerate() {
            if let Some(difference) = difference(&expected.lines(), &held.lines()) {
                self.fail(when, &[format!("database {database} is another one: {difference}")]);
            }
        }
        self.check_audit(server, truth, when);
    }

    /// That a server without the module holds the same.
    pub fn compare(&self, server: &Server, truth: &Truth, when: &str) {
        for (database, (expected, held)) in truth.iter().zip(sweep_all(server)).enumerate() {
            if let Some(difference) = difference(&expected.lines(), &held.lines()) {
                self.fail(when, &[format!("database {database} is another one: {difference}")]);
            }
        }
    }

    /// How two servers differ, key by key.
    pub fn differences(&self, one: &Server, other: &Server) -> Vec<String> {
        let mut faults = Vec::new();
        let (mut one, mut other) = (one.client(), other.client());
        for database in 0..DATABASES {
            let [one, other] = [&mut one, &mut other].map(|client| {
                client.ask(&format!("SELECT {database}"));
                client.dump().into_iter().map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>()
            });
            faults.extend(difference(&one, &other).map(|fault| format!("database {database}: {fault}")));
        }
        if faults.is_empty() {
            faults.push("no key that can be seen differs".to_owned());
        }
        faults
    }

    /// That the mix was one: every kind of operation was there, and was not always refused.
    pub fn conclude(&self) {
        let (all, good) = self.tally.values().fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        println!("{all} operations, {} answered with an error, {} keys evicted", all - good, self.evicted);
        let idle: Vec<_> = operations::all()
            .filter(|kind| !self.operations.unknown.contains(&kind.name))
            .filter(|kind| self.tally.get(kind.name).is_none_or(|(all, good)| *all > 20 && *good == 0))
            .map(|kind| kind.name)
            .collect();
        // A rare kind may not come up in a short run.
        let rare = ["MEMORY", "FLUSHDB", "FLUSHALL", "SWAPDB", "HPEXPIRE", "HSETEX"];
        let idle: Vec<_> = idle.into_iter().filter(|name| !rare.contains(name)).collect();
        assert!(all < OPERATIONS || idle.is_empty(), "seed {}: these did nothing: {idle:?}", self.seed);
        // In a short run every eviction may come to a server that was just emptied.
        assert!(all < 4 * OPERATIONS || self.evicted > 0, "seed {}: nothing was evicted", self.seed);
    }
}

/// A command in one line, without the ends of long words.
fn line(words: &Words) -> String {
    words.iter().map(|word| show(&word[..word.len().min(60)])).collect::<Vec<_>>().join(" ")
}

/// What must be in no answer, if this one holds it: an error of the module itself, or what a script has seen.
fn alarm(answer: &Value) -> Option<String> {
    match answer {
        Value::ServerError(error) => {
            error.details().filter(|details| details.contains("internal error")).map(str::to_owned)
        }
        Value::Array(items) => items.iter().find_map(alarm),
        other => Some(show(&bytes(other))).filter(|text| text.starts_with("DRIFT ")),
    }
}

/// Whether a command may have to do with a fault: it names a key that the fault names, or changes all keys.
fn concerns(words: &Words, fault: &str) -> bool {
    let is_concerned = |word: &Vec<u8>| {
        miroir::keyspace::locate(word).is_some_and(|found| {
            fault.contains(&show(word)) || fault.contains(&format!("{} rows=", found.table.name))
        })
    };
    let is_global = ["FLUSHALL", "FLUSHDB", "SWAPDB"].iter().any(|name| words[0] == name.as_bytes());
    is_global || words[1..].iter().any(is_concerned)
}

/// Walks over the selected database.
fn scan(client: &mut Client) {
    let mut cursor = b"0".to_vec();
    loop {
        let answer = client.raw(&[&b"SCAN"[..], &cursor, b"COUNT", b"1000"]).unwrap();
        cursor = bytes(&items(&answer)[0]);
        if cursor == b"0" {
            return;
        }
    }
}

fn sweep_all(server: &Server) -> Truth {
    let mut client = server.client();
    let read = |database| {
        client.ask(&format!("SELECT {database}"));
        Sweep::read(&mut client)
    };
    (0..DATABASES).map(read).collect()
}
