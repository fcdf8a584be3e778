//! A run: batches of calls, each of which is judged by what the server was before it and after it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use redis::Value;

use super::calls::{Call, Calls, HELD_LEASE};
use super::raw;
use super::support::{audit, Client, Server};
use super::values::{rarely, Word, CLEAN};
use super::watch::{self, Clock, Standing};

type Words = Vec<Word>;

/// The databases in use.
pub const DATABASES: usize = 2;
/// How many of the last calls are kept, to be told when something is wrong.
const REMEMBERED: usize = 40_000;
/// How many bytes of a word are kept.
const SHOWN: usize = 120;

/// Runs one call, and lets its error through.
const CALL: &str = "return redis.call(unpack(ARGV))";
/// The same with answers of the third version of the protocol.
const CALL_RESP3: &str = "redis.setresp(3) return redis.call(unpack(ARGV))";

/// Keeps the data small, so that a digest is cheap: nothing large, and not many keys. A namespace that has to be free of
/// faults goes as a whole, or stays.
const TIDY: &str = "local clean, is_small = redis.call('KEYS', ARGV[1] .. ':*'), true \
    local is_clean = {} \
    for _, key in ipairs(clean) do \
        is_clean[key] = true \
        is_small = is_small and #clean < 80 and redis.call('MEMORY', 'USAGE', key) < 4000 \
    end \
    if not is_small then for _, key in ipairs(clean) do redis.call('DEL', key) end end \
    for at, key in ipairs(redis.call('KEYS', '*')) do \
        if not is_clean[key] and (at > 60 or redis.call('MEMORY', 'USAGE', key) > 4000) then \
            redis.call('DEL', key) \
        end \
    end";

/// What the server is like while a batch runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Circumstance {
    Usual,
    OutOfMemory,
    WithoutReplicas,
}

/// How calls are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Script,
    Transaction,
}

struct Step {
    form: Form,
    calls: Vec<Call>,
}

impl Step {
    /// What goes over the line.
    fn commands(&self, resp3: bool) -> Vec<Words> {
        let words = self.calls.iter().map(|call| call.words.clone());
        let word = |text: &str| text.as_bytes().to_vec();
        match self.form {
            Form::Plain => words.collect(),
            Form::Transaction => {
                std::iter::once(vec![word("MULTI")]).chain(words).chain([vec![word("EXEC")]]).collect()
            }
            Form::Script => words
                .map(|words| {
                    let script = if resp3 { CALL_RESP3 } else { CALL };
                    [word("EVAL"), word(script), word("0")].into_iter().chain(words).collect()
                })
                .collect(),
        }
    }

    /// Each call with its answer, out of the last answer of the step; none where a transaction was not begun.
    fn answers<'s>(&'s self, last: &'s Value) -> Vec<(&'s Call, &'s Value)> {
        match (self.form, last) {
            (Form::Transaction, Value::Array(answers)) => self.calls.iter().zip(answers).collect(),
            _ => self.calls.iter().map(|call| (call, last)).collect(),
        }
    }
}

/// How often a command was called, and what came of it.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    calls: usize,
    errors: usize,
}

pub struct Run {
    seed: u64,
    calls: Calls,
    clients: [Client; 2],
    clock: Clock,
    missing: Vec<&'static str>,
    /// The calls so far.
    pub done: usize,
    raw_writes: usize,
    /// Steps that had to leave the data as they were: those looked at by the replication stream, of these by a digest as
    /// well, and those that were left out because something expired meanwhile.
    looked_at: [usize; 3],
    /// How often AUDIT had to find nothing.
    audits: usize,
    tally: BTreeMap<&'static str, Tally>,
    history: VecDeque<(usize, Words)>,
}

impl Run {
    pub fn new(seed: u64, server: &Server) -> Self {
        let mut client = server.client();
        let now = client.server_ms();
        let missing = raw::OPTIONAL
            .iter()
            .filter(|name| client.ask(&format!("{name} a")).contains("unknown command"))
            .copied()
            .collect();
        let calls = Calls::new(seed, now);
        let known = client.ask("COMMAND LIST FILTERBY MODULE miroir").to_lowercase();
        for name in calls.names() {
            assert!(known.contains(&name.to_lowercase()), "the server has no {name}, but {known}");
        }
        client.ask("DEBUG SET-ACTIVE-EXPIRE 0");
        let clock = Clock::new(&mut client);
        let clients = [client, server.client_resp3()];
        let tally = calls.names().into_iter().map(|name| (name, Tally::default())).collect();
        let history = VecDeque::new();
        let (done, raw_writes, looked_at, audits) = (0, 0, [0; 3], 0);
        Self { seed, calls, clients, clock, missing, done, raw_writes, looked_at, audits, tally, history }
    }

    fn remember(&mut self, words: &Words) {
        let cut = words.iter().take(60).map(|word| word[..word.len().min(SHOWN)].to_vec()).collect();
        self.history.push_back((self.done, cut));
        if self.history.len() > REMEMBERED {
            self.history.pop_front();
        }
    }

    pub fn fail(&self, when: &str, faults: &[String]) -> ! {
        let mut text = format!("seed {}, after {} calls, {when}:\n", self.seed, self.done);
        faults.iter().take(8).for_each(|fault| text.push_str(&format!("  {}\n", cut(fault, 2000))));
        let concerned = self.history.iter().filter(|(_, words)| concerns(words, &faults[0]));
        let concerned: Vec<_> = concerned.collect();
        let show = |(number, words): &(usize, Words)| format!("  {number}: {}\n", line(words));
        text.push_str("the last calls about it:\n");
        concerned[concerned.len().saturating_sub(25)..].iter().for_each(|call| text.push_str(&show(call)));
        text.push_str("the last calls of all:\n");
        self.history.iter().rev().take(25).rev().for_each(|call| text.push_str(&show(call)));
        panic!("{text}");
    }

    pub fn expect_none(&self, when: &str, faults: &[String]) {
        if !faults.is_empty() {
            self.fail(when, faults);
        }
    }

    fn step(&mut self) -> Step {
        let (form, count) = match self.calls.random.u8(..20) {
            0 | 1 => (Form::Script, 1),
            2 | 3 => (Form::Transaction, self.calls.random.usize(1..4)),
            _ => (Form::Plain, 1),
        };
        Step { form, calls: (0..count).map(|_| self.calls.next()).collect() }
    }

    /// Calls that are judged one by one, and then raw writes with calls among them.
    pub fn batch(&mut self, server: &mut Server) {
        let (resp3, with_digest) = (self.calls.random.bool(), rarely(&mut self.calls.random, 8));
        let circumstance = match self.calls.random.u8(..40) {
            0 => Circumstance::OutOfMemory,
            1 => Circumstance::WithoutReplicas,
            _ => Circumstance::Usual,
        };
        let count = self.calls.random.usize(1..if with_digest { 15 } else { 40 });
        let steps: Vec<Step> = (0..count).map(|_| self.step()).collect();
        self.judged(server, &steps, resp3, with_digest, circumstance);
        if self.calls.random.bool() {
            self.among_raw_writes(server, usize::from(resp3));
        }
    }

    fn judged(
        &mut self,
        server: &mut Server,
        steps: &[Step],
        resp3: bool,
        with_digest: bool,
        circumstance: Circumstance,
    ) {
        if with_digest {
            self.expect_clean();
            let tidy = [&b"EVAL"[..], TIDY.as_bytes(), b"0", CLEAN.as_bytes()].map(<[u8]>::to_vec).to_vec();
            self.remember(&tidy);
            self.send(server, usize::from(resp3), &[tidy]);
            settle(&mut self.clients[0]);
        }
        let (worse, better) = match circumstance {
            Circumstance::Usual => ("PING", "PING"),
            Circumstance::OutOfMemory => ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
            Circumstance::WithoutReplicas => {
                ("CONFIG SET min-replicas-to-write 9", "CONFIG SET min-replicas-to-write 0")
            }
        };
        let database = u8::from(rarely(&mut self.calls.random, 8));
        // The lease of the fences, if it was lost: only a token that is no longer 1 is lost for ever.
        let lease = format!("MIROIR.LEASE.ACQUIRE {} holder 86400000", HELD_LEASE.0);
        let mut commands =
            ["SELECT 0", &lease, worse, &format!("SELECT {database}"), "INFO stats"].map(plain).to_vec();
        let mut standings = Vec::new();
        let mut stand = |commands: &mut Vec<Words>| {
            standings.push(commands.len());
            commands.push(plain("ROLE"));
            if with_digest {
                commands.push(plain("DEBUG DIGEST"));
            }
        };
        stand(&mut commands);
        for step in steps {
            commands.extend(step.commands(resp3));
            stand(&mut commands);
        }
        commands.extend([better, "INFO stats", "SLOWLOG GET 128", "SLOWLOG RESET", "SELECT 0"].map(plain));

        for call in steps.iter().flat_map(|step| &step.calls) {
            self.done += 1;
            self.remember(&call.words);
        }
        let answers = self.send(server, usize::from(resp3), &commands);
        let standing = |at: usize| Standing::of(&answers[at], with_digest.then(|| &answers[at + 1]));
        let expired = |at: usize| match &answers[at] {
            Value::BulkString(text) => watch::expired(&String::from_utf8_lossy(text)),
            Value::VerbatimString { text, .. } => watch::expired(text),
            other => panic!("INFO: {other:?}"),
        };
        let end = answers.len();
        let something_expired = expired(4) != expired(end - 4);
        for (step, places) in steps.iter().zip(standings.windows(2)) {
            let last = &answers[places[1] - 1];
            let difference = standing(places[0]).difference(&standing(places[1]));
            self.judge(step, last, circumstance, difference, with_digest, something_expired);
        }
        self.expect_in_time(&answers[end - 3]);
        if something_expired {
            settle(&mut self.clients[0]);
        }
    }

    /// Fails for whatever is wrong where nobody but the module writes.
    fn expect_clean(&mut self) {
        let client = &mut self.clients[0];
        let mut faults = Vec::new();
        for database in 0..DATABASES {
            client.ask(&format!("SELECT {database}"));
            let found = audit::audit(client, CLEAN, "COUNT 1000");
            if !found.is_empty() {
                // In the millisecond in which a key's time runs out it may be in one place and not in the other.
                let again = audit::audit(client, CLEAN, "COUNT 1000");
                faults.extend(found.into_iter().filter(|finding| again.contains(finding)));
            }
        }
        client.ask("SELECT 0");
        let told: Vec<_> = faults.iter().map(|finding| format!("{finding:?}")).collect();
        self.audits += 1;
        self.expect_none("what AUDIT finds where only the module writes", &told);
    }

    /// Judges the answer to a step, given what is different after it.
    fn judge(
        &mut self,
        step: &Step,
        last: &Value,
        circumstance: Circumstance,
        difference: Option<&str>,
        with_digest: bool,
        something_expired: bool,
    ) {
        let allowed: &[&str] = match circumstance {
            Circumstance::Usual => &["ERR", "WRONGTYPE", "STALE", "EXECABORT"],
            Circumstance::OutOfMemory => &["ERR", "WRONGTYPE", "STALE", "EXECABORT", "OOM"],
            Circumstance::WithoutReplicas => &["ERR", "WRONGTYPE", "STALE", "EXECABORT", "NOREPLICAS"],
        };
        let mut must_be_same = true;
        for (call, answer) in step.answers(last) {
            let tally = self.tally.entry(call.name).or_default();
            tally.calls += 1;
            tally.errors += usize::from(matches!(answer, Value::ServerError(_)));
            let told = || format!("{} answers {}", line(&call.words), cut(&format!("{answer:?}"), 500));
            match answer {
                Value::ServerError(error) => {
                    if !allowed.contains(&error.code()) {
                        self.fail("an error of another kind", &[told()]);
                    }
                    if error.details().is_some_and(|details| details.contains("internal error")) {
                        self.fail("an internal error", &[told()]);
                    }
                }
                Value::Int(number) if call.refusals.contains(number) => {}
                _ if call.only_reads => {}
                _ => must_be_same = false,
            }
            if items(answer).iter().any(has_error) {
                self.fail("an error in the middle of an answer", &[told()]);
            }
        }
        if !must_be_same {
            return;
        }
        if something_expired {
            self.looked_at[2] += 1;
            return;
        }
        self.looked_at[0] += 1;
        self.looked_at[1] += usize::from(with_digest);
        if let Some(difference) = difference {
            let lines: Vec<_> = step.calls.iter().map(|call| line(&call.words)).collect();
            let told = format!("{:?} {}: {last:?}, and yet {difference}", step.form, lines.join("; "));
            self.fail("a call that must change nothing", &[told]);
        }
    }

    fn expect_in_time(&mut self, slow: &Value) {
        let mut calls = watch::slow_calls(slow);
        // Of the others only scripts may have called the module.
        calls.retain(|call| {
            call.words[0].to_ascii_uppercase().starts_with(b"MIROIR.")
                || [CALL, CALL_RESP3]
                    .iter()
                    .any(|script| call.words[1..].contains(&script.as_bytes().to_vec()))
        });
        let too_long = self.clock.judge(calls);
        let told: Vec<_> =
            too_long.iter().map(|call| format!("{} took {:?}", line(&call.words), call.took)).collect();
        self.expect_none("calls that took too long", &told);
    }

    /// Raw writes and calls, in one turn of the server's event loop or in a few, or in one transaction.
    fn among_raw_writes(&mut self, server: &mut Server, connection: usize) {
        let in_transaction = rarely(&mut self.calls.random, 6);
        let mut commands = Vec::new();
        if in_transaction {
            commands.push(plain("MULTI"));
        }
        for _ in 0..self.calls.random.usize(1..12) {
            if rarely(&mut self.calls.random, 3) {
                let call = self.calls.next();
                self.done += 1;
                self.remember(&call.words);
                commands.push(call.words);
            } else {
                let words = raw::write(&mut self.calls.random, self.calls.now, &self.missing);
                self.raw_writes += 1;
                self.remember(&words);
                commands.push(words);
            }
        }
        if in_transaction {
            commands.push(plain("EXEC"));
        }
        commands.extend(["SLOWLOG GET 128", "SLOWLOG RESET"].map(plain));
        let answers = self.send(server, connection, &commands);
        for (words, answer) in commands.iter().zip(&answers) {
            if let Some(text) = internal_error(answer) {
                self.fail("an internal error", &[format!("{} answers {text}", line(words))]);
            }
        }
        self.expect_in_time(&answers[answers.len() - 2]);
        let fields_end = commands.iter().any(|words| words[0] == b"HPEXPIRE");
        let wait = if fields_end { let_time_pass } else { settle };
        wait(&mut self.clients[0]);
    }

    fn send(&mut self, server: &mut Server, connection: usize, commands: &[Words]) -> Vec<Value> {
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        for words in commands {
            pipe.add_command(redis::Cmd::new()).arg(words);
        }
        match pipe.query(&mut self.clients[connection].connection) {
            Ok(answers) => answers,
            Err(error) => {
                std::thread::sleep(Duration::from_millis(500));
                let state = if server.is_alive() { "lives" } else { "is dead" };
                let log = server.log();
                let tail = log.lines().filter(|line| !line.contains("DB saved")).collect::<Vec<_>>();
                let tail = tail[tail.len().saturating_sub(150)..].join("\n");
                self.fail(&format!("the server {state}, its log:\n{tail}\n"), &[error.to_string()])
            }
        }
    }

    /// That the mix was one, and what it was.
    pub fn conclude(&mut self, client: &mut Client, took: Duration) {
        let errors: usize = self.tally.values().map(|tally| tally.errors).sum();
        let judged: usize = self.tally.values().map(|tally| tally.calls).sum();
        let [by_stream, by_digest, left_out] = self.looked_at;
        println!("{} calls and {} raw writes in {took:?}", self.done, self.raw_writes);
        println!("{judged} calls judged, {errors} of them answered with an error");
        println!(
            "{by_stream} steps had to change nothing and did not, {by_digest} of them by a digest as well; \
             {left_out} left out; {} audits had to find nothing and did not",
            self.audits
        );
        println!(
            "the longest of the calls above 20 ms: {:?}; {} looked too long and were not",
            self.clock.longest, self.clock.disturbed
        );
        let histogram = watch::histogram(client);
        let buckets: Vec<_> =
            histogram.iter().map(|(micros, count)| format!("{count} in {micros} us")).collect();
        println!("calls by their time: {}", buckets.join(", "));
        for (name, tally) in &self.tally {
            println!("  {name}: {} calls, {} errors", tally.calls, tally.errors);
            let is_tried = tally.calls > 0 && tally.errors > 0 && tally.errors < tally.calls;
            assert!(is_tried || self.done < 20_000, "seed {}: {name} {tally:?}: tests little", self.seed);
        }
        assert!(by_stream > 10 * left_out, "seed {}: most errors were not looked at", self.seed);
    }
}

/// Waits until fields of hashes whose time is up are gone, and the index sets have followed: both is done by the server's
/// cron. What goes on its own accord has a life of at most 20 ms, or of an hour.
pub fn let_time_pass(client: &mut Client) {
    client.ask("DEBUG SET-ACTIVE-EXPIRE 1");
    client.ask("SET fuzz:clock x PX 40");
    // Unlike others this command does not itself delete a key whose time is up.
    client.wait_for("DEBUG OBJECT fuzz:clock", |answer| answer.contains("no such key"));
    client.ask("DEBUG SET-ACTIVE-EXPIRE 0");
    settle(client);
}

/// Waits until the index sets have followed what other clients did, and what has expired is gone.
pub fn settle(client: &mut Client) {
    for database in 0..DATABASES {
        client.ask(&format!("SELECT {database}"));
        client.ask("SCAN 0 COUNT 100000");
        client.ask("MIROIR.AUDIT m 0 COUNT 1");
    }
    client.ask("SELECT 0");
    client.wait_for("INFO miroir_catalog", |info| info.contains("miroir_catalog_backlog:0"));
}

fn plain(line: &str) -> Words {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn items(answer: &Value) -> &[Value] {
    match answer {
        Value::Array(items) | Value::Set(items) => items,
        _ => &[],
    }
}

fn has_error(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(_)) || items(answer).iter().any(has_error)
}

fn internal_error(answer: &Value) -> Option<String> {
    match answer {
        Value::ServerError(error) => {
            error.details().filter(|text| text.contains("internal error")).map(str::to_owned)
        }
        other => items(other).iter().find_map(internal_error),
    }
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// A call in one line, without the ends of long words.
fn line(words: &Words) -> String {
    let shown = words.iter().take(60).map(|word| {
        let more = if word.len() > SHOWN { format!("...({} bytes)", word.len()) } else { String::new() };
        format!("\"{}\"{more}", word[..word.len().min(SHOWN)].escape_ascii())
    });
    cut(&shown.collect::<Vec<_>>().join(" "), 3000)
}

/// Whether a call may have to do with a fault: it names a key that the fault names, or changes all keys.
fn concerns(words: &Words, fault: &str) -> bool {
    let is_global = ["FLUSHDB", "SWAPDB"].iter().any(|name| words[0] == name.as_bytes());
    let named = |word: &Word| {
        word.len() > 3
            && miroir::keyspace::locate(word).is_some()
            && (fault.contains(&word.escape_ascii().to_string())
                || std::str::from_utf8(word).is_ok_and(|word| fault.contains(word)))
    };
    is_global || words[1..].iter().any(named)
}
