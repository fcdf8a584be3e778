//! Clients that record what they call and what they are answered.
//!
//! Every call first adds its own name to the stream `history`. So that holds the order in which the server did all of
//! them, and the times at which it did, also of those whose answer was lost. Then comes the command, then raw reads of
//! the keys that it concerns. All that is one transaction, or a pipeline in one piece, which the server does in one go as
//! well; before and after it the server tells the time.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use redis::{Connection, RedisResult, Value};

pub const HISTORY: &str = "history";

/// How long something that has to happen may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// One in so many calls loses its connection before the answer.
const HANGS_UP: u32 = 40;

/// One call, and what is known of it.
#[derive(Debug, Clone)]
pub struct Call {
    pub id: String,
    pub line: String,
    /// The raw reads behind it.
    pub looks: Vec<String>,
    /// Whether it was sent without a transaction.
    pub bare: bool,
    /// Which server it was sent to: 0 before the restart or the failover, 1 afterwards.
    pub life: u32,
    /// Nothing when the connection broke: the server may have done it or not.
    pub outcome: Option<Outcome>,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its place in the order of all calls at this server, from 1.
    pub serial: usize,
    /// The times at the server before, at the note in the history, and after it all, in ms.
    pub since: i64,
    pub noted: i64,
    pub until: i64,
    pub answer: String,
    pub seen: Vec<String>,
    /// Whether a replica has confirmed that it has the call.
    pub confirmed: bool,
}

/// Where the clients play: one server after the other.
pub struct Stage {
    place: Mutex<Place>,
    changed: Condvar,
}

struct Place {
    port: u16,
    life: u32,
    over: bool,
}

impl Stage {
    pub fn new(port: u16) -> Self {
        Self { place: Mutex::new(Place { port, life: 0, over: false }), changed: Condvar::new() }
    }

    /// From now on the clients find the server here.
    pub fn move_to(&self, port: u16) {
        let mut place = self.place.lock().unwrap();
        place.port = port;
        place.life += 1;
        self.changed.notify_all();
    }

    pub fn end(&self) {
        self.place.lock().unwrap().over = true;
        self.changed.notify_all();
    }

    /// The server that comes after the given life: its life and its port. Nothing when the play is over before.
    fn server_after(&self, life: Option<u32>) -> Option<(u32, u16)> {
        let mut place = self.place.lock().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while life.is_some_and(|life| place.life <= life) {
            if place.over {
                return None;
            }
            let left = deadline.checked_duration_since(Instant::now()).expect("a server that comes back");
            place = self.changed.wait_timeout(place, left).unwrap().0;
        }
        Some((place.life, place.port))
    }
}

/// Ends the play also when the one who directs it fails: the others would wait for ever.
pub struct Curtain<'a>(pub &'a Stage);

impl Drop for Curtain<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// One client with a connection of its own.
pub struct Actor<'a> {
    pub random: Rng,
    /// Who it says that it is; another one after each death.
    pub name: String,
    pub number: usize,
    deaths: usize,
    /// Whether it asks after every call that a replica confirms it.
    waits: bool,
    /// Whether its connection breaks now and then.
    breaks: bool,
    stage: &'a Stage,
    link: Option<(u32, Connection)>,
    /// The last server that hung up.
    broken: Option<u32>,
    /// Looks that the next call has to take.
    owed: Vec<String>,
    calls: Vec<Call>,
}

impl<'a> Actor<'a> {
    pub fn new(number: usize, seed: u64, stage: &'a Stage, waits: bool, breaks: bool) -> Self {
        let random = Rng::with_seed(seed.wrapping_add(number as u64));
        let name = format!("pod-{number}.0");
        Self {
            random,
            name,
            number,
            deaths: 0,
            waits,
            breaks,
            stage,
            link: None,
            broken: None,
            owed: Vec::new(),
            calls: Vec::new(),
        }
    }

    pub fn plays(&self) -> bool {
        !self.stage.place.lock().unwrap().over
    }

    /// Everything that it has called.
    pub fn into_calls(self) -> Vec<Call> {
        self.calls
    }

    /// Dies without a word; somebody new takes the place.
    pub fn die(&mut self) {
        self.deaths += 1;
        self.name = format!("pod-{}.{}", self.number, self.deaths);
        self.link = None;
    }

    /// A number of its own for names of rows.
    pub fn serial(&self) -> String {
        format!("{}-{}", self.number, self.calls.len())
    }

    /// Does nothing for so many ms, any number in the range.
    pub fn pause(&mut self, range: std::ops::Range<u64>) {
        std::thread::sleep(Duration::from_millis(self.random.u64(range)));
    }

    /// One in so many times.
    pub fn chance(&mut self, one_in: u32) -> bool {
        self.random.u32(..one_in) == 0
    }

    pub fn choose<'b, T: ?Sized>(&mut self, all: &[&'b T]) -> &'b T {
        all[self.random.usize(..all.len())]
    }

    /// Does and records a call. Nothing when the connection broke, and when the play is over before it could be sent.
    pub fn call(&mut self, line: &str, looks: &[String]) -> Option<String> {
        self.connect()?;
        let hangs_up = self.breaks && self.chance(HANGS_UP);
        // A bare call has no transaction around it, as calls have in life; then nobody can look at the same moment.
        let bare = self.breaks && self.owed.is_empty() && self.chance(2);
        let mut owed = looks.to_vec();
        let mut looks = std::mem::take(&mut self.owed);
        if !bare {
            looks.append(&mut owed);
        }
        let id = format!("{}/{}", self.number, self.calls.len());
        let (life, connection) = self.link.as_mut().unwrap();
        let (life, line) = (*life, line.to_owned());
        let mut call = Call { id, line, looks, bare, life, outcome: None };
        call.outcome = send(connection, &call, hangs_up).ok().flatten();
        if let (Some(outcome), true) = (&mut call.outcome, self.waits && life == 0) {
            let confirmations = redis::cmd("WAIT").arg(1).arg(200).query::<i64>(connection);
            outcome.confirmed = confirmations.is_ok_and(|number| number >= 1);
        }
        if call.outcome.is_none() {
            self.link = None;
            self.broken = if hangs_up { self.broken } else { Some(life) };
        }
        // Where the time is not clear, a later look makes it so: possible worlds must not pile up.
        if call.outcome.as_ref().is_none_or(|outcome| outcome.since < outcome.until) {
            owed.extend(call.looks.iter().cloned());
            self.owed = owed;
        }
        let answer = call.outcome.as_ref().map(|outcome| outcome.answer.clone());
        self.calls.push(call);
        answer
    }

    fn connect(&mut self) -> Option<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.link.is_none() {
            let (life, port) = self.stage.server_after(self.broken)?;
            let url = format!("redis://127.0.0.1:{port}/?protocol=resp3");
            match redis::Client::open(url).unwrap().get_connection() {
                Ok(connection) => self.link = Some((life, connection)),
                // It is being killed, and nothing has been sent yet.
                Err(error) => {
                    assert!(Instant::now() < deadline, "no connection: {error}");
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
        Some(())
    }
}

/// Sends a call with all that belongs to it, in one go. Nothing when the client hangs up before the answer.
fn send(connection: &mut Connection, call: &Call, hangs_up: bool) -> RedisResult<Option<Outcome>> {
    let note = format!("XADD {HISTORY} * call {}", call.id);
    let count = format!("XLEN {HISTORY}");
    let mut lines = vec!["TIME", "MULTI", &note, &count, &call.line];
    lines.extend(call.looks.iter().map(String::as_str));
    lines.extend([&count, "TIME", "EXEC"]);
    if call.bare {
        lines.retain(|line| !["MULTI", "EXEC"].contains(line));
    }
    let mut packed = Vec::new();
    for line in &lines {
        let mut command = redis::Cmd::new();
        line.split_whitespace().for_each(|word| {
            command.arg(word);
        });
        packed.extend(command.get_packed_command());
    }
    connection.send_packed_command(&packed)?;
    if hangs_up {
        return Ok(None);
    }
    let mut answers = Vec::new();
    for _ in &lines {
        answers.push(connection.recv_response()?);
    }
    let before = answers.remove(0);
    if !call.bare {
        let Some(Value::Array(parts)) = answers.pop() else { panic!("{lines:?} answer {answers:?}") };
        answers = parts;
    }
    let [note, Value::Int(serial), answer, seen @ .., Value::Int(length), after] = &answers[..] else {
        panic!("{lines:?} answer {answers:?}")
    };
    assert_eq!(serial, length, "the server did something else in the middle of {lines:?}");
    Ok(Some(Outcome {
        serial: usize::try_from(*serial).unwrap(),
        since: milliseconds(&before),
        noted: noted_at(&show(note)),
        until: milliseconds(after),
        answer: show(answer),
        seen: seen.iter().map(show).collect(),
        confirmed: false,
    }))
}

/// The time in the name of an entry of a stream, in ms.
fn noted_at(name: &str) -> i64 {
    name.split('-').next().unwrap().parse().unwrap()
}

/// The calls that a server has done, in order: their ids, and when it noted them.
pub fn history(connection: &mut Connection) -> Vec<(String, i64)> {
    let all = redis::cmd("XRANGE").arg(HISTORY).arg("-").arg("+").query(connection).unwrap();
    let Value::Array(notes) = all else { panic!("XRANGE answers {all:?}") };
    let note = |note: &Value| {
        let text = show(note);
        let (name, call) = text.trim_matches(['[', ']']).split_once(", [call, ").unwrap();
        (call.to_owned(), noted_at(name))
    };
    notes.iter().map(note).collect()
}

/// What TIME answers, in ms.
fn milliseconds(time: &Value) -> i64 {
    let text = show(time);
    let (seconds, micros) = text.trim_matches(['[', ']']).split_once(", ").unwrap();
    seconds.parse::<i64>().unwrap() * 1000 + micros.parse::<i64>().unwrap() / 1000
}

/// An answer as text. Maps and sets are sorted: their order is not part of any promise.
pub fn show(value: &Value) -> String {
    let list = |items: &[Value]| items.iter().map(show).collect::<Vec<_>>();
    match value {
        Value::Nil => "nil".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Okay => "OK".to_owned(),
        Value::Array(items) => format!("[{}]", list(items).join(", ")),
        Value::Set(items) => {
            let mut items = list(items);
            items.sort();
            format!("[{}]", items.join(", "))
        }
        Value::Map(pairs) => {
            let pairs = pairs.iter().map(|(name, value)| (show(name), show(value)));
            map(pairs.collect::<Vec<_>>().iter().map(|(name, value)| (name.as_str(), value.as_str())))
        }
        Value::ServerError(error) => format!("{} {}", error.code(), error.details().unwrap_or_default()),
        other => format!("{other:?}"),
    }
}

/// A map as [`show`] shows it.
pub fn map<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}: {value}")).collect();
    pairs.sort();
    format!("{{{}}}", pairs.join(", "))
}
