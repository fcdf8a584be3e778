//! Works off jobs: claims one, renews the claim at a third of its time, finishes it, or gives it back when it is to stop.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use redis::{cmd, Cmd, RedisResult};
use serde_json::{json, Value};

use crate::common::{passes, Backoff, Failure, Stop, Store};

/// Works off jobs of the type dump.
#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value = "worker-1")]
    name: String,
    /// The time of a claim, in ms.
    #[arg(long, default_value_t = 30_000)]
    claim: u64,
    /// How long a step of these jobs takes, in ms.
    #[arg(long, default_value_t = 100)]
    step: u64,
    /// End when there is no job left.
    #[arg(long)]
    drain: bool,
}

type Claimed = (String, i64, HashMap<String, String>);

pub fn run(namespace: &str, options: Options, stop: &Stop) -> Result<(), Failure> {
    let mut worker = Worker {
        store: Store::new()?,
        table: format!("{namespace}:jobs"),
        claim: Duration::from_millis(options.claim),
        reclaim_at: Instant::now(),
        options,
        stop,
    };
    let mut idle = Backoff::new();
    while !stop.came() {
        match worker.turn() {
            Ok(Turn::Worked) => idle = Backoff::new(),
            Ok(Turn::Empty) if worker.options.drain => break,
            Ok(Turn::Idle | Turn::Empty) => idle.wait(stop),
            Err(error) if passes(&error) => {
                println!("{} has no server: {error}", worker.options.name);
                idle.wait(stop);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

struct Worker<'s> {
    store: Store,
    table: String,
    claim: Duration,
    reclaim_at: Instant,
    options: Options,
    stop: &'s Stop,
}

enum Turn {
    Worked,
    /// Other workers have all jobs.
    Idle,
    /// There are none.
    Empty,
}

impl Worker<'_> {
    fn turn(&mut self) -> RedisResult<Turn> {
        let asked = Instant::now();
        let mut claim = cmd("MIROIR.JOB.CLAIM");
        claim.arg(&self.table).arg(&self.options.name).arg(self.options.claim);
        claim.arg("TYPE").arg("dump").arg("MAXATTEMPTS").arg(5);
        let claimed: Vec<Claimed> = self.store.call(&claim)?;
        if claimed.is_empty() {
            let mut open = cmd("MIROIR.COUNT");
            open.arg(&self.table)
                .arg("WHERE")
                .arg("state")
                .arg("queued")
                .arg("WHERE")
                .arg("state")
                .arg("in_progress");
            if self.store.call::<u64>(&open)? == 0 {
                return Ok(Turn::Empty);
            }
            self.reclaim()?;
            return Ok(Turn::Idle);
        }
        for (id, token, row) in claimed {
            self.work(&id, token, &row, asked)?;
        }
        Ok(Turn::Worked)
    }

    /// The job, step by step. A step has to be shorter than a third of the claim.
    fn work(
        &mut self,
        id: &str,
        token: i64,
        row: &HashMap<String, String>,
        asked: Instant,
    ) -> RedisResult<()> {
        let steps = number(&row["params"], "steps").unwrap_or(1);
        // Where the worker before this one came to.
        let mut done = number(&row["progress"], "done").unwrap_or(0);
        println!("{} works on {id} from step {done}", self.options.name);
        let (mut ends, mut renew_at) = (asked + self.claim, asked + self.claim / 3);
        while done < steps {
            if self.stop.came() {
                return self.finish(id, token, done, ends, "queued");
            }
            std::thread::sleep(Duration::from_millis(self.options.step));
            done += 1;
            let now = Instant::now();
            if now >= renew_at {
                match self.renew(id, token, done) {
                    Ok(true) => (ends, renew_at) = (now + self.claim, now + self.claim / 3),
                    Ok(false) => return Ok(()),
                    Err(error) if passes(&error) => {
                        println!(
                            "{} cannot renew, and tries again after the next step: {error}",
                            self.options.name
                        );
                    }
                    Err(error) => return Err(error),
                }
            }
            if now >= ends {
                println!("{} has lost {id} to time", self.options.name);
                return Ok(());
            }
        }
        self.finish(id, token, done, ends, if steps == 0 { "failed" } else { "completed" })
    }

    fn renew(&mut self, id: &str, token: i64, done: u64) -> RedisResult<bool> {
        let mut renew = self.on_job("MIROIR.JOB.RENEW", id, token);
        renew.arg(self.options.claim).arg("PROGRESS").arg(json!({ "done": done }).to_string());
        let renewed = self.store.call::<i64>(&renew)? == 1;
        if !renewed {
            println!("{} has lost {id}", self.options.name);
        }
        Ok(renewed)
    }

    fn finish(&mut self, id: &str, token: i64, done: u64, ends: Instant, state: &str) -> RedisResult<()> {
        let mut finish = self.on_job("MIROIR.JOB.FINISH", id, token);
        finish.arg(state).arg("PROGRESS").arg(json!({ "done": done }).to_string());
        if state == "failed" {
            finish.arg("ERROR").arg("nothing to do");
        }
        let mut retry = Backoff::new();
        loop {
            match self.store.call::<i64>(&finish) {
                // -1 says that it has ended already: an answer before this one was lost on the way.
                Ok(1 | -1) => println!("{} {state} {id}", self.options.name),
                Ok(_) => println!("{} has lost {id}", self.options.name),
                Err(error) if !passes(&error) => return Err(error),
                Err(error) if Instant::now() >= ends || self.stop.came() => {
                    println!("{} leaves {id} to whom claims it next: {error}", self.options.name);
                }
                Err(_) => {
                    retry.wait(self.stop);
                    continue;
                }
            }
            return Ok(());
        }
    }

    fn on_job(&self, command: &str, id: &str, token: i64) -> Cmd {
        let mut command = cmd(command);
        command.arg(format!("{}:{id}", self.table)).arg(&self.options.name).arg(token);
        command
    }

    /// CLAIM finds jobs whose claim ran out by itself. RECLAIM also puts them back where the depth of the queue shows.
    fn reclaim(&mut self) -> RedisResult<()> {
        if Instant::now() >= self.reclaim_at {
            self.store.call::<i64>(cmd("MIROIR.JOB.RECLAIM").arg(&self.table).arg("MAXATTEMPTS").arg(5))?;
            self.reclaim_at = Instant::now() + self.claim;
        }
        Ok(())
    }
}

fn number(object: &str, name: &str) -> Option<u64> {
    serde_json::from_str::<Value>(object).ok()?.get(name)?.as_u64()
}
