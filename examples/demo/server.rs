//! The connection: pipelines of commands, and every failure as one line.

use std::collections::HashMap;
use std::time::Duration;

use redis::{Client, Connection, ConnectionAddr, FromRedisValue, IntoConnectionInfo as _, RedisError, Value};

use crate::Outcome;

/// How many commands go to the server at once.
const BATCH: usize = 1000;
/// How long the server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take to answer. Weighing a large database takes its time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A command, word by word.
pub type Command = Vec<String>;

/// What each table of a namespace weighs, as MIROIR.MEMORY says it.
pub type Weights = HashMap<String, HashMap<String, usize>>;

/// A server with the module.
pub struct Server {
    address: String,
    connection: Connection,
}

impl Server {
    /// Connects, and makes sure that the module is there.
    pub fn connect(host: &str, port: u16) -> Outcome<Self> {
        let address = format!("{host}:{port}");
        let unreachable = |error: RedisError| format!("cannot reach a server at {address}: {error}");
        let info = ConnectionAddr::Tcp(host.to_owned(), port).into_connection_info().map_err(unreachable)?;
        let client = Client::open(info).map_err(unreachable)?;
        let connection = client.get_connection_with_timeout(CONNECT_TIMEOUT).map_err(unreachable)?;
        connection.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(unreachable)?;
        connection.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(unreachable)?;
        let mut server = Self { address, connection };
        let known: Vec<Value> = server.ask(&["COMMAND", "INFO", "MIROIR.PUT"])?;
        if matches!(known.first(), None | Some(Value::Nil)) {
            return Err(format!("the server at {} runs without the module: see `make run`", server.address));
        }
        Ok(server)
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The answer to one command.
    pub fn ask<T: FromRedisValue>(&mut self, command: &[&str]) -> Outcome<T> {
        let [name, arguments @ ..] = command else { return Err("there is no empty command".to_owned()) };
        let answer = redis::cmd(name).arg(arguments).query(&mut self.connection);
        answer.map_err(|error| self.failed(command, &error))
    }

    /// Runs commands in pipelines. After each of these `progress` is told how many commands are done by now.
    pub fn run<'c>(
        &mut self,
        commands: impl IntoIterator<Item = &'c Command>,
        mut progress: impl FnMut(usize),
    ) -> Outcome<()> {
        let commands: Vec<&Command> = commands.into_iter().collect();
        let mut done = 0;
        for batch in commands.chunks(BATCH) {
            let mut pipeline = redis::Pipeline::with_capacity(batch.len());
            for words in batch {
                let mut command = redis::Cmd::new();
                command.arg(words.as_slice());
                pipeline.add_command(command);
            }
            let answers: Vec<Result<Value, RedisError>> = pipeline
                .ignore_errors()
                .query(&mut self.connection)
                .map_err(|error| self.failed(batch[0], &error))?;
            for (command, answer) in batch.iter().zip(answers) {
                let answer = answer.map_err(|error| self.failed(command, &error))?;
                if is_refusal(command, &answer) {
                    return Err(format!("{} at {} was refused: {answer:?}", line(command), self.address));
                }
            }
            done += batch.len();
            progress(done);
        }
        Ok(())
    }

    /// How many of these keys exist.
    pub fn count_existing(&mut self, keys: &[&str]) -> Outcome<usize> {
        let mut count = 0;
        for some in keys.chunks(BATCH) {
            count += self.ask::<usize>(&[&["EXISTS"], some].concat())?;
        }
        Ok(count)
    }

    /// How many rows a namespace holds, in all tables.
    pub fn rows(&mut self, namespace: &str) -> Outcome<usize> {
        let weights: Weights = self.ask(&["MIROIR.MEMORY", namespace])?;
        Ok(weights.get("total").and_then(|total| total.get("rows")).copied().unwrap_or(0))
    }

    /// What the server's memory holds in all, in bytes.
    pub fn used_memory(&mut self) -> Outcome<usize> {
        let info: String = self.ask(&["INFO", "memory"])?;
        info.lines()
            .find_map(|line| line.strip_prefix("used_memory:"))
            .and_then(|bytes| bytes.trim().parse().ok())
            .ok_or_else(|| "INFO memory says nothing of used_memory".to_owned())
    }

    fn failed<W: AsRef<str>>(&self, command: &[W], error: &RedisError) -> String {
        format!("{} at {}: {error}", line(command), self.address)
    }
}

/// Whether a command that writes was answered with less than `1`, be it alone or at the head of an array.
fn is_refusal(command: &Command, answer: &Value) -> bool {
    // What is to be removed may have run out before.
    let removes = ["MIROIR.DEL", "MIROIR.LEASE.RELEASE", "DEL"]
        .iter()
        .any(|name| command.first().is_some_and(|first| first == name));
    match answer {
        Value::Int(number) => *number < 1 && !removes,
        Value::Array(parts) => parts.first().is_some_and(|first| is_refusal(command, first)),
        _ => false,
    }
}

/// The name and the first argument of a command, for an error.
fn line<W: AsRef<str>>(command: &[W]) -> String {
    command.iter().take(2).map(AsRef::as_ref).collect::<Vec<_>>().join(" ")
}
