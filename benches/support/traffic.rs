//! Load from many connections at once.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::link::Link;
use super::Outcome;

/// Commands that go to the server together, packed beforehand: packing them during the round would be the client's time.
pub struct Batch {
    /// The bytes on the wire.
    pub packed: Vec<u8>,
    /// How many commands they are.
    pub commands: usize,
}

/// The batches of every connection, which sends them round and round.
pub type Script = Arc<Vec<Vec<Batch>>>;

/// Connections that send one script to one server, a thread each.
pub struct Crowd {
    links: Vec<Link>,
    script: Script,
}

impl Crowd {
    /// Connects as often as the script asks for.
    pub fn gather(port: u16, script: Script) -> Outcome<Self> {
        let links = script.iter().map(|_| Link::open(port)).collect::<Outcome<_>>()?;
        Ok(Self { links, script })
    }

    /// Sends for this long. Answers how many commands were answered, and how long that took.
    pub fn run(&mut self, length: Duration) -> Outcome<(u64, Duration)> {
        let start = Instant::now();
        let counts: Vec<Outcome<u64>> = thread::scope(|scope| {
            let workers: Vec<_> = self
                .links
                .iter_mut()
                .zip(self.script.iter())
                .map(|(link, batches)| scope.spawn(move || send(link, batches, start + length)))
                .collect();
            let lost = |_| Err("a thread of the load panicked".to_owned());
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(lost)).collect()
        });
        let took = start.elapsed();
        let count = counts.into_iter().sum::<Outcome<u64>>()?;
        Ok((count, took))
    }
}

fn send(link: &mut Link, batches: &[Batch], end: Instant) -> Outcome<u64> {
    let mut count = 0;
    for batch in batches.iter().cycle() {
        if Instant::now() >= end {
            break;
        }
        link.send(&batch.packed, batch.commands)?;
        count += batch.commands as u64;
    }
    Ok(count)
}
