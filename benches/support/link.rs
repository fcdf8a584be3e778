//! A connection: commands, and what INFO says.

use std::collections::HashMap;
use std::time::Duration;

use redis::{Connection, ConnectionLike as _, FromRedisValue, RedisError, Value};

use super::Outcome;

/// How long a server may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a server on this machine.
pub struct Link {
    connection: Connection,
}

/// What the server spent on a command.
pub struct Spent {
    /// How often it was called.
    pub calls: u64,
    /// The time of all calls, in µs.
    pub micros: u64,
}

impl Link {
    /// Connects to 127.0.0.1.
    pub fn open(port: u16) -> Outcome<Self> {
        let client =
            redis::Client::open(format!("redis://127.0.0.1:{port}/")).map_err(|error| shown(&error))?;
        let connection = client.get_connection_with_timeout(PATIENCE).map_err(|error| shown(&error))?;
        Ok(Self { connection })
    }

    /// The answer to one command.
    pub fn ask<T: FromRedisValue>(&mut self, words: &[&str]) -> Outcome<T> {
        let mut command = redis::Cmd::with_capacity(words.len(), 0);
        command.arg(words);
        command.query(&mut self.connection).map_err(|error| format!("{}: {error}", words.join(" ")))
    }

    /// Whether the server answers a command, and not with TRYAGAIN.
    pub fn answers(&mut self, words: &[&str]) -> Outcome<bool> {
        let mut command = redis::Cmd::with_capacity(words.len(), 0);
        match command.arg(words).query::<Value>(&mut self.connection) {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("TRYAGAIN") => Ok(false),
            Err(error) => Err(format!("{}: {error}", words.join(" "))),
        }
    }

    /// Sends commands that were packed before. None of them may fail.
    pub fn send(&mut self, packed: &[u8], commands: usize) -> Outcome<()> {
        let answers = self.answers_of(packed, commands)?;
        match answers.into_iter().find(|answer| matches!(answer, Value::ServerError(_))) {
            Some(error) => Err(format!("a command of a pipeline failed: {error:?}")),
            None => Ok(()),
        }
    }

    /// The answers to commands that were packed before.
    pub fn answers_of(&mut self, packed: &[u8], commands: usize) -> Outcome<Vec<Value>> {
        self.connection.req_packed_commands(packed, 0, commands).map_err(|error| shown(&error))
    }

    /// What a section of INFO says.
    pub fn info(&mut self, section: &str) -> Outcome<HashMap<String, String>> {
        let text: String = self.ask(&["INFO", section])?;
        let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The bytes that the server's allocator has given out.
    pub fn used_memory(&mut self) -> Outcome<u64> {
        number(&self.info("memory")?, "used_memory")
    }

    /// The CPU time of the thread that runs the commands so far, in seconds.
    pub fn cpu_seconds(&mut self) -> Outcome<f64> {
        let info = self.info("cpu")?;
        let user: f64 = number(&info, "used_cpu_user_main_thread")?;
        let system: f64 = number(&info, "used_cpu_sys_main_thread")?;
        Ok(user + system)
    }

    /// Forgets what commands have taken so far.
    pub fn reset_statistics(&mut self) -> Outcome<()> {
        self.ask(&["CONFIG", "RESETSTAT"])
    }

    /// What a command has taken since the last reset.
    pub fn spent(&mut self, command: &str) -> Outcome<Spent> {
        let wanted = format!("cmdstat_{command}");
        let statistics = self.info("commandstats")?;
        let line = statistics.iter().find(|(name, _)| name.eq_ignore_ascii_case(&wanted));
        let (_, line) = line.ok_or_else(|| format!("INFO commandstats says nothing of {command}"))?;
        let figures = line.split(',').filter_map(|figure| figure.split_once('='));
        let figures = figures.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Spent { calls: number(&figures, "calls")?, micros: number(&figures, "usec")? })
    }
}

/// A number out of what INFO says.
pub fn number<T: std::str::FromStr>(info: &HashMap<String, String>, name: &str) -> Outcome<T> {
    let value = info.get(name).ok_or_else(|| format!("INFO says nothing of {name}"))?;
    value.parse().map_err(|_| format!("INFO says {name}:{value}"))
}

fn shown(error: &RedisError) -> String {
    format!("a server of the benchmark: {error}")
}
