//! Under which load is measured.

use clap::ValueEnum;

/// How operations are sent.
#[derive(Clone, Copy)]
pub struct Setting {
    /// Which one it is.
    pub kind: Kind,
    /// How many connections send at once.
    pub connections: usize,
    /// How many operations a connection sends before it waits for the answers.
    pub pipeline: usize,
    /// How many operations of a round each connection does.
    pub each: usize,
}

/// The parts of a run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// 1 connection without pipeline: round trips count
    Single,
    /// 16 connections with pipelines of 32: the server's core is the bottleneck
    Pipelined,
    /// The same with an append-only file and a replica, some of the operations
    Durable,
    /// 1,000 connections that offer 5,000 operations a second
    Thousand,
}

impl Kind {
    /// What the report calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Single => "1 connection",
            Self::Pipelined => "16 × 32",
            Self::Durable => "16 × 32, durable",
            Self::Thousand => "1,000 connections",
        }
    }

    /// Its connections; a quick run has short rounds.
    pub fn setting(self, quick: bool) -> Setting {
        let shorter = if quick { 5 } else { 1 };
        if self == Self::Single {
            Setting { kind: self, connections: 1, pipeline: 1, each: 400 / shorter }
        } else {
            Setting { kind: self, connections: 16, pipeline: 32, each: 32 * 40 / shorter }
        }
    }
}

impl Setting {
    /// How many operations a round has.
    pub fn operations(&self) -> usize {
        self.connections * self.each
    }
}
