//! Carries the events of a CDC buffer to a sink: looks at the oldest ones, delivers them, and only then removes them.
//!
//! An event may be delivered twice, when the pump dies or the sink fails in between, but none is lost, and they come in order.
//! Run one for each sink.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use redis::{cmd, RedisError};

use crate::common::{passes, Backoff, Failure, Stop, Store};

/// Carries events to a sink.
#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value = "kafka")]
    sink: String,
    /// What the sink writes.
    #[arg(long, default_value = "events.log")]
    file: PathBuf,
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// The share of batches that fail.
    #[arg(long, default_value_t = 0.1)]
    fail: f64,
    /// End when the buffer is empty.
    #[arg(long)]
    drain: bool,
}

type Event = (i64, String);

pub fn run(namespace: &str, options: Options, stop: &Stop) -> Result<(), Failure> {
    let file = OpenOptions::new().create(true).append(true).open(&options.file)?;
    let mut pump = Pump {
        store: Store::new()?,
        buffer: format!("{namespace}:cdc:overflow:{}", options.sink),
        cursor: format!("{namespace}:cdc_cursor:{}:products", options.sink),
        sink: Sink { file, fail: options.fail },
        batch: options.batch,
        seen: 0,
    };
    let (mut idle, mut retry) = (Backoff::new(), Backoff::new());
    while !stop.came() {
        match pump.turn() {
            Ok(0) if options.drain => break,
            Ok(0) => idle.wait(stop),
            Ok(_) => (idle, retry) = (Backoff::new(), Backoff::new()),
            // After this it looks again: meanwhile the oldest events may have been dropped, or numbered anew.
            Err(Trouble::Sink) => {
                println!("tries again: the sink does not answer");
                retry.wait(stop);
            }
            Err(Trouble::Server(error)) if passes(&error) => {
                println!("tries again: {error}");
                retry.wait(stop);
            }
            Err(Trouble::Server(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

enum Trouble {
    Sink,
    Server(RedisError),
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        Self::Server(error)
    }
}

struct Pump {
    store: Store,
    buffer: String,
    cursor: String,
    sink: Sink,
    batch: usize,
    seen: i64,
}

impl Pump {
    /// Delivers the oldest events, and answers how many.
    fn turn(&mut self) -> Result<usize, Trouble> {
        let mut peek = cmd("MIROIR.CDC.PEEK");
        peek.arg(&self.buffer).arg("COUNT").arg(self.batch).arg("MAXBYTES").arg(1 << 20);
        let events: Vec<Event> = self.store.call(&peek)?;
        let (Some((first, _)), Some((last, _))) = (events.first(), events.last()) else { return Ok(0) };
        if self.seen > 0 && *first > self.seen + 1 {
            println!("the buffer has dropped {} events", first - self.seen - 1);
        }
        self.sink.deliver(&events)?;
        self.seen = *last;
        // For whom it may concern: up to here the sink has everything.
        self.store.call::<(i64, i64)>(cmd("MIROIR.CURSOR.ADVANCE").arg(&self.cursor).arg(last))?;
        self.store.call::<i64>(cmd("MIROIR.CDC.ACK").arg(&self.buffer).arg(last))?;
        Ok(events.len())
    }
}

/// Stands for Kafka or a webhook: writes a line for each event, and fails now and then in the middle of a batch.
struct Sink {
    file: File,
    fail: f64,
}

impl Sink {
    fn deliver(&mut self, events: &[Event]) -> Result<(), Trouble> {
        let fails = fastrand::f64() < self.fail;
        let sent = if fails { &events[..events.len() / 2] } else { events };
        for (seq, event) in sent {
            self.file.write_all(format!("{seq} {event}\n").as_bytes()).map_err(|_| Trouble::Sink)?;
        }
        if fails {
            return Err(Trouble::Sink);
        }
        Ok(())
    }
}
