//! What is measured: every operation with its five sides, as data.

mod buffers;
mod jobs;
mod requests;
mod tasks;

use crate::words::count_trips;

/// An operation of the module, and what else would do the same.
pub struct Operation {
    /// What `--only` calls it.
    pub name: &'static str,
    /// What the report calls it.
    pub title: &'static str,
    /// Whether it may depend on how many rows there are.
    pub grows: bool,
    /// What is done before each round, unmeasured.
    pub before: &'static [Before],
    /// The parts of the operation; none for a question about a whole table. All of a round do the first before any does the second, which hence knows what it acts on.
    pub phases: &'static [Phase],
    /// Whether the module and the scripts answer alike, but for times. Checked once.
    pub alike: bool,
    /// What the sides do not have in common.
    pub differs: &'static str,
    /// Whether it is measured with an append-only file and a replica as well.
    pub durable: bool,
}

/// A part of an operation, done by each side. The script gets the words of `call`, which begin with the number of keys.
pub struct Phase {
    /// One command of the module.
    pub module: &'static str,
    /// What clients do today, with its round trips.
    pub client: &'static str,
    /// The name of the script and of the function.
    pub name: &'static str,
    /// Its source. A function gets the same.
    pub script: &'static str,
    /// What it is called with.
    pub call: &'static str,
    /// The bare commands that it amounts to.
    pub native: &'static str,
}

/// Commands that make ready for a round.
pub struct Before {
    /// How often they are sent.
    pub times: Times,
    /// To the server with the module.
    pub module: &'static str,
    /// To the server without it.
    pub raw: &'static str,
}

/// How often something is done.
#[derive(Clone, Copy)]
pub enum Times {
    /// For every operation of a round.
    Operation,
    /// So often for every connection.
    Connection(usize),
}

impl Operation {
    /// How many round trips the clients of today need, and how many the module needs.
    pub fn trips(&self) -> (usize, usize) {
        if self.phases.is_empty() {
            // A question about a whole table: first for the ids, then for the rows, if these fit in one pipeline.
            return (2, 1);
        }
        let sum = |text: fn(&Phase) -> &'static str| {
            self.phases.iter().map(|phase| count_trips(text(phase))).sum::<usize>()
        };
        (sum(|phase| phase.client), sum(|phase| phase.module))
    }
}

/// All of them, in the order of the report.
pub const OPERATIONS: [&Operation; 15] = [
    &tasks::INSERT,
    &tasks::STATUS,
    // Before NODE, which leaves other values in the rows of each server.
    &tasks::GET,
    &tasks::NODE,
    &jobs::JOB,
    &jobs::LEASE,
    &requests::LIMIT,
    &requests::IDEMPOTENCY,
    &requests::REPLAY,
    &buffers::PUSH,
    &buffers::PUSH_FULL,
    &buffers::POP,
    &buffers::ACK,
    &buffers::CANARY,
    &tasks::FLIP,
];

macro_rules! script {
    ($name:literal) => {
        include_str!(concat!("../scripts/", $name, ".lua"))
    };
}
use script;

const fn alike(times: Times, text: &'static str) -> Before {
    Before { times, module: text, raw: text }
}
