//! 1,000 connections that offer so many operations a second, whether the server keeps up or not.
//!
//! Each connection decides beforehand when it will send what. A latency counts from the moment when the operation was due:
//! what waits behind a slow one is slow as well.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use fastrand::Rng;
use redis::{Pipeline, Value};

use crate::stage::Stage;
use crate::support::data::{Data, TABLE_KEY};
use crate::support::link::Link;
use crate::support::numbers::thousands;
use crate::support::report::{millis, Section};
use crate::support::rounds::quantile;
use crate::support::{bar, Outcome};

const CONNECTIONS: usize = 1000;
/// Operations a second, of all connections together.
const OFFERED: f64 = 5000.0;
/// What happens in the first moments is not counted.
const WARM_UP: Duration = Duration::from_secs(1);
/// How often loading and pinging take turns.
const TURNS: u32 = 3;
/// A command that keeps the server for longer is slow.
const SLOW: Duration = Duration::from_millis(2);
/// How many sessions there are.
const SESSIONS: usize = 10_000;
/// A thread that sends and waits needs little.
const STACK: usize = 128 << 10;

/// What an operation counts as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Session,
    Row,
    Job,
    /// Nothing: what is slow here is the machine.
    Ping,
}

/// What of a hundred operations is what.
const MIX: [(Class, &str, u32); 4] = [
    (Class::Session, "session operations", 60),
    (Class::Row, "row get", 25),
    (Class::Job, "job operations", 15),
    (Class::Ping, "PING, for comparison", 0),
];
/// The targets in ms for the 99th percentile.
const MOST: [(Class, f64); 3] = [(Class::Session, 10.0), (Class::Row, 5.0), (Class::Job, 20.0)];

/// The percentiles that are shown.
pub const PARTS: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// The latencies of one kind of operation.
pub struct Latencies {
    /// What it is.
    pub title: &'static str,
    class: Class,
    /// In ms, sorted.
    sorted: Vec<f64>,
    /// How many there were a second.
    rate: f64,
}

impl Latencies {
    /// A percentile, in ms.
    pub fn at(&self, part: f64) -> f64 {
        quantile(&self.sorted, part)
    }

    /// At most what the 99th percentile should be.
    pub fn most(&self) -> Option<f64> {
        MOST.iter().find(|(class, _)| *class == self.class).map(|(_, most)| *most)
    }
}

/// One connection.
struct Client<'a> {
    link: Link,
    data: &'a Data,
    rows: usize,
    number: usize,
    rng: Rng,
    /// The job that it holds.
    held: Option<(String, String)>,
    /// Whether it only pings.
    idle: bool,
    turn: usize,
}

/// What the load has shown.
pub struct Load {
    /// By what was done.
    pub latencies: Vec<Latencies>,
    /// How many commands took the server itself longer than [`SLOW`].
    slow: usize,
}

/// Loads the server with the module for so long, and only pings it for as long, in turns.
pub fn measure(stage: &Stage, length: Duration) -> Outcome<Load> {
    let mut link = Link::open(stage.port(crate::sides::Side::Module))?;
    let mut pipeline = Pipeline::with_capacity(SESSIONS);
    for number in 0..SESSIONS {
        let key = format!("miroir:session:session-{number}");
        pipeline.cmd("MIROIR.PUT").arg(key).arg(&["last_write_mtask_id", "task-1", "pinned_group", "blue"]);
    }
    link.send(&pipeline.get_packed_pipeline(), pipeline.len())?;
    link.ask::<()>(&["CONFIG", "SET", "slowlog-log-slower-than", &SLOW.as_micros().to_string()])?;
    link.ask::<()>(&["SLOWLOG", "RESET"])?;
    let mut all = Vec::new();
    for turn in 0..TURNS {
        for idle in [false, true] {
            all.extend(load(stage, length / TURNS, idle, turn as usize)?);
        }
    }
    let latencies = MIX.iter().map(|&(class, title, _)| {
        let of_class = all.iter().filter(|(of, _)| *of == class);
        let mut sorted: Vec<f64> = of_class.map(|(_, latency)| *latency).collect();
        sorted.sort_by(f64::total_cmp);
        let rate = sorted.len() as f64 / length.as_secs_f64();
        Latencies { title, class, sorted, rate }
    });
    Ok(Load { latencies: latencies.collect(), slow: link.ask(&["SLOWLOG", "LEN"])? })
}

fn load(stage: &Stage, length: Duration, idle: bool, turn: usize) -> Outcome<Vec<(Class, f64)>> {
    let port = stage.port(crate::sides::Side::Module);
    let mut clients = Vec::with_capacity(CONNECTIONS);
    // Others than before: what they do gets other names.
    for number in turn * CONNECTIONS..(turn + 1) * CONNECTIONS {
        let (link, rng) = (Link::open(port)?, Rng::with_seed(number as u64));
        clients.push(Client {
            link,
            data: &stage.data,
            rows: stage.rows,
            number,
            rng,
            held: None,
            idle,
            turn: 0,
        });
    }
    let seconds = (WARM_UP + length).as_secs();
    let title = if idle { "1,000 connections, pings" } else { "1,000 connections" };
    let bar = bar(title, usize::try_from(seconds).unwrap_or(0));
    // All threads are there before the first operation is due.
    let start = Instant::now() + Duration::from_millis(500);
    let all = thread::scope(|scope| {
        let workers: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                let builder = thread::Builder::new().stack_size(STACK);
                builder.spawn_scoped(scope, move || client.work(start, length))
            })
            .collect();
        for _ in 0..seconds {
            sleep(Duration::from_secs(1));
            bar.inc(1);
        }
        let mut all = Vec::new();
        for worker in workers {
            let worker = worker.map_err(|error| format!("cannot start a thread: {error}"))?;
            let latencies = worker.join().unwrap_or_else(|_| Err("a thread of the load panicked".to_owned()));
            all.extend(latencies?);
        }
        Ok(all)
    });
    bar.finish_and_clear();
    all
}

impl Client<'_> {
    fn work(&mut self, start: Instant, length: Duration) -> Outcome<Vec<(Class, f64)>> {
        let mut latencies = Vec::new();
        let mut due = start;
        let gap = CONNECTIONS as f64 / OFFERED;
        loop {
            // Independent users come at random.
            due += Duration::from_secs_f64(-gap * (1.0 - self.rng.f64()).ln());
            let since = due.duration_since(start);
            if since >= WARM_UP + length {
                return Ok(latencies);
            }
            sleep(due.saturating_duration_since(Instant::now()));
            let class = self.act()?;
            if since >= WARM_UP {
                latencies.push((class, due.elapsed().as_secs_f64() * 1e3));
            }
        }
    }

    fn act(&mut self) -> Outcome<Class> {
        self.turn += 1;
        if self.idle {
            self.link.ask::<Value>(&["PING"])?;
            return Ok(Class::Ping);
        }
        let mut left = self.rng.u32(0..100);
        let chosen = MIX.iter().find(|(_, _, share)| {
            let is_it = left < *share;
            left = left.saturating_sub(*share);
            is_it
        });
        let class = chosen.map_or(Class::Row, |(class, _, _)| *class);
        match class {
            Class::Session => self.session()?,
            Class::Job => self.job()?,
            Class::Row | Class::Ping => {
                let key = self.data.task(self.rng.usize(..self.rows)).key();
                self.link.ask::<Value>(&["MIROIR.GET", &key])?;
            }
        }
        Ok(class)
    }

    fn session(&mut self) -> Outcome<()> {
        let key = format!("miroir:session:session-{}", self.rng.usize(..SESSIONS));
        match self.rng.u32(0..10) {
            0..5 => self.link.ask::<Value>(&["MIROIR.TOUCH", &key])?,
            5..8 => self.link.ask::<Value>(&["MIROIR.GET", &key])?,
            8 => self.link.ask::<Value>(&["MIROIR.PATCH", &key, "last_write_mtask_id", "task-2"])?,
            _ => self.link.ask::<Value>(&["MIROIR.PUT", &key, "pinned_group", "green"])?,
        };
        Ok(())
    }

    /// Enqueues a job, or claims one, or finishes the one that it holds.
    fn job(&mut self) -> Outcome<()> {
        if let Some((id, token)) = self.held.take() {
            let key = format!("miroir:jobs:{id}");
            let done: i64 =
                self.link.ask(&["MIROIR.JOB.FINISH", &key, &self.holder(), &token, "completed"])?;
            return if done == 1 { Ok(()) } else { Err(format!("JOB.FINISH of {id}: {done}")) };
        }
        if self.rng.bool() {
            let key = format!("miroir:jobs:of-{}-{}", self.number, self.turn);
            return self.link.ask::<Value>(&["MIROIR.PUT", &key, "type", "reindex"]).map(drop);
        }
        let claimed: Vec<(String, String, Value)> =
            self.link.ask(&["MIROIR.JOB.CLAIM", "miroir:jobs", &self.holder(), "600000"])?;
        self.held = claimed.into_iter().next().map(|(id, token, _)| (id, token));
        Ok(())
    }

    fn holder(&self) -> String {
        format!("pod-{}", self.number)
    }
}

/// The table of the latencies.
pub fn section(load: &Load, stage: &Stage) -> Section {
    let columns = ["Operation", "Ops/s", "p50", "p90", "p99", "p99.9", "Longest", "p99 below", ""];
    let mut section = Section::new("1,000 connections, 5,000 operations a second offered", &columns);
    for latencies in &load.latencies {
        let [p50, p90, p99, p999] = PARTS.map(|(_, part)| millis(latencies.at(part)));
        let most = latencies.most();
        let verdict = most.map(|most| if latencies.at(0.99) < most { "met" } else { "not met" });
        section.row([
            latencies.title.to_owned(),
            thousands(latencies.rate.round() as u64),
            p50,
            p90,
            p99,
            p999,
            millis(latencies.at(1.0)),
            most.map_or_else(crate::support::report::none, |most| format!("{most:.0} ms")),
            verdict.map_or_else(crate::support::report::none, str::to_owned),
        ]);
    }
    section.note(format!(
        "Each latency counts from the moment when the operation was due, whether or not the connection was free then. \
         60 % are session operations (TOUCH, GET, PATCH, PUT of {} sessions), 25 % GET of a row ({TABLE_KEY}, {} rows), 15 % job \
         operations (PUT, CLAIM and FINISH in a queue of as many). PING is the same load without any work, in turns with \
         the other: what the machine and the clients take for themselves. {} commands kept the server for more than {} ms. A \
         thread a connection.",
        thousands(SESSIONS),
        thousands(stage.rows),
        thousands(load.slow),
        SLOW.as_millis()
    ));
    section
}
