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

/// Connections to one server, a thread each.
pub struct Crowd {
    links: Vec<Link>,
}

impl Crowd {
    /// Connects so many times.
    pub fn gather(port: u16, connections: usize) -> Outcome<Self> {
        let links = (0..connections).map(|_| Link::open(port)).collect::<Outcome<_>>()?;
        Ok(Self { links })
    }

    /// Sends the batches round and round for this long. Answers how many commands were answered, and how long that took.
    pub fn run(&mut self, script: &Script, length: Duration) -> Outcome<(u64, Duration)> {
        self.each(script, |link, batches, start| {
            let mut count = 0;
            for batch in batches.iter().cycle() {
                if start.elapsed() >= length {
                    break;
                }
                link.send(&batch.packed, batch.commands)?;
                count += batch.commands as u64;
            }
            Ok(count)
        })
    }

    /// Sends every batch once. Answers how long that took.
    pub fn pass(&mut self, script: &Script) -> Outcome<Duration> {
        let (_, took) = self.each(script, |link, batches, _| {
            batches.iter().try_for_each(|batch| link.send(&batch.packed, batch.commands))?;
            Ok(0)
        })?;
        Ok(took)
    }

    /// Lets every connection work through its batches. Answers the sum of what they answer, and how long that took.
    fn each(
        &mut self,
        script: &Script,
        work: impl Fn(&mut Link, &[Batch], Instant) -> Outcome<u64> + Sync,
    ) -> Outcome<(u64, Duration)> {
        let start = Instant::now();
        // A thread of its own would be the largest part of a short round of a single connection.
        if let ([link], [batches]) = (self.links.as_mut_slice(), script.as_slice()) {
            let count = work(link, batches, start)?;
            return Ok((count, start.elapsed()));
        }
        let counts: Vec<Outcome<u64>> = thread::scope(|scope| {
            let work = &work;
            let workers: Vec<_> = self
                .links
                .iter_mut()
                .zip(script.iter())
                .map(|(link, batches)| scope.spawn(move || work(link, batches, start)))
                .collect();
            let lost = |_| Err("a thread of the load panicked".to_owned());
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(lost)).collect()
        });
        let took = start.elapsed();
        let count = counts.into_iter().sum::<Outcome<u64>>()?;
        Ok((count, took))
    }
}
