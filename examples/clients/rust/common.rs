//! What the clients share: a connection with deadlines, a clean stop, and waits that differ from pod to pod.

use std::cell::Cell;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::time::Duration;

use redis::{Cmd, Connection, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub type Failure = Box<dyn std::error::Error>;

const DEADLINE: Duration = Duration::from_secs(2);

/// A server, to which every call connects that finds no connection.
pub struct Store {
    client: redis::Client,
    connection: Option<Connection>,
}

impl Store {
    pub fn new() -> RedisResult<Self> {
        let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
        // Maps come as maps.
        let url = format!("{url}{}protocol=resp3", if url.contains('?') { "&" } else { "?" });
        Ok(Self { client: redis::Client::open(url)?, connection: None })
    }

    /// Sends a command once. Only the caller knows whether it still makes sense after an outage.
    pub fn call<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let answer = command.query(&mut connection);
        // After a deadline an answer may still be on its way: it must not pass for that of the next command.
        let is_whole =
            !matches!(&answer, Err(error) if error.is_io_error() || error.is_unrecoverable_error());
        if is_whole {
            self.connection = Some(connection);
        }
        answer
    }

    fn connect(&self) -> RedisResult<Connection> {
        let connection = self.client.get_connection_with_timeout(DEADLINE)?;
        connection.set_read_timeout(Some(DEADLINE))?;
        connection.set_write_timeout(Some(DEADLINE))?;
        Ok(connection)
    }
}

/// Whether the server is out of reach, still loading its data, or not the master any more. All of that passes.
pub fn passes(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(
            error.kind(),
            ErrorKind::Server(
                ServerErrorKind::BusyLoading | ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown
            )
        )
}

/// Set by SIGTERM and SIGINT. Waiting for it is also how the loops sleep.
pub struct Stop {
    signals: Receiver<()>,
    came: Cell<bool>,
}

impl Stop {
    pub fn on_signals() -> std::io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let (sender, receiver) = channel();
        std::thread::spawn(move || signals.forever().try_for_each(|_| sender.send(())));
        Ok(Self { signals: receiver, came: Cell::new(false) })
    }

    pub fn came(&self) -> bool {
        self.wait(Duration::ZERO);
        self.came.get()
    }

    /// Sleeps, but no longer than until the stop.
    pub fn wait(&self, time: Duration) {
        if !self.came.get() {
            self.came.set(self.signals.recv_timeout(time) != Err(RecvTimeoutError::Timeout));
        }
    }
}

/// Waits that double up to a limit, each cut by chance so that pods do not come all at once.
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(2);

    pub fn new() -> Self {
        Self { next: Self::FIRST }
    }

    pub fn wait(&mut self, stop: &Stop) {
        stop.wait(self.next.mul_f64(0.5 + fastrand::f64() / 2.0));
        self.next = (self.next * 2).min(Self::LONGEST);
    }
}
