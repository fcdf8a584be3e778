//! A core for the servers and the others for the clients.
//!
//! Where the scheduler is free, a client and a server that take turns run on one core for a while and on two for the next, which
//! changes their speed by far more than what is to be measured.

use std::process::Command;

use super::link::{number, Link};
use super::Outcome;

/// The clients are kept away from the first core as long as this lives.
pub struct Cores {
    count: usize,
}

impl Cores {
    /// Leaves the first core to the servers. None where that is not possible: with a single core, or without taskset.
    pub fn apart() -> Option<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = Self { count };
        // Threads that are started from now on inherit it.
        (count > 1 && pin(std::process::id(), &format!("1-{}", count - 1))).then_some(cores)
    }

    /// Moves a server to the first core.
    pub fn confine(&self, port: u16) -> Outcome<()> {
        let process = number(&Link::open(port)?.info("server")?, "process_id")?;
        if pin(process, "0") {
            Ok(())
        } else {
            Err(format!("taskset cannot move process {process}"))
        }
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        pin(std::process::id(), &format!("0-{}", self.count - 1));
    }
}

fn pin(process: u32, cores: &str) -> bool {
    let output = Command::new("taskset").args(["-cp", cores, &process.to_string()]).output();
    output.is_ok_and(|output| output.status.success())
}
