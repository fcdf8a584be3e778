//! The connection to the server that is watched.

use std::time::Duration;

use clap::Args;
use redis::{Client, Connection, ConnectionAddr, IntoConnectionInfo as _, RedisResult, Value};

/// How long the server may take to accept a connection, and to answer a command. Prometheus waits for 10 s in all.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where the server is, and who asks.
#[derive(Args, Clone, Debug)]
pub struct Address {
    /// The port of the server
    #[arg(long, default_value_t = 6379)]
    pub port: u16,
    /// The address of the server
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// The user to log in as, such as `monitor` of docs/security.md. The password is taken from the variable REDIS_PASSWORD
    #[arg(long)]
    pub user: Option<String>,
}

/// A server that is asked now and then: connected when it has to be, and again after an error.
pub struct Server {
    address: Address,
    password: Option<String>,
    connection: Option<Connection>,
}

impl Server {
    /// Nothing is connected yet.
    pub fn new(address: Address, password: Option<String>) -> Self {
        Self { address, password, connection: None }
    }

    /// Does something with the connection. After an error the next one begins with a new connection.
    pub fn with<T>(&mut self, work: impl FnOnce(&mut super::Ask) -> RedisResult<T>) -> RedisResult<T> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(&self.address, self.password.as_deref())?),
        };
        let mut ask = |words: &[&str]| -> RedisResult<Value> {
            let mut command = redis::Cmd::new();
            command.arg(words);
            command.query(connection)
        };
        let outcome = work(&mut ask);
        if outcome.is_err() {
            self.connection = None;
        }
        outcome
    }
}

fn connect(address: &Address, password: Option<&str>) -> RedisResult<Connection> {
    let mut info = ConnectionAddr::Tcp(address.host.clone(), address.port).into_connection_info()?;
    let mut settings = info.redis_settings().clone();
    if let Some(user) = &address.user {
        settings = settings.set_username(user.as_str());
    }
    if let Some(password) = password {
        settings = settings.set_password(password);
    }
    info = info.set_redis_settings(settings);
    let connection = Client::open(info)?.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}
