//! A connection to a cluster that does what each answer says about where to go, and nothing else. Where it breaks it stays
//! broken: what was in flight then may have been done or not, and no second attempt hides that.

use std::collections::hash_map::{Entry, HashMap};
use std::time::Duration;

use redis::{Connection, ConnectionLike, RedisError, RedisResult, Value};

use super::patience;

const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// For keys of one slot.
pub struct Guided {
    /// The port of the node that had the slot when it was last told.
    at: u16,
    links: HashMap<u16, Connection>,
    /// How often a command is sent at most.
    attempts: usize,
}

impl Guided {
    /// One that begins at the first of these nodes that is there.
    pub fn find(ports: &[u16], attempts: usize) -> Option<Self> {
        ports.iter().find_map(|port| {
            let links = HashMap::from([(*port, open(*port).ok()?)]);
            Some(Self { at: *port, links, attempts })
        })
    }

    fn link(&mut self, port: u16) -> RedisResult<&mut Connection> {
        Ok(match self.links.entry(port) {
            Entry::Occupied(link) => link.into_mut(),
            Entry::Vacant(place) => place.insert(open(port)?),
        })
    }

    fn send(&mut self, port: u16, is_asked: bool, command: &[u8]) -> RedisResult<Value> {
        let link = self.link(port)?;
        if is_asked {
            link.req_packed_command(ASKING)?.extract_error()?;
        }
        link.req_packed_command(command)?.extract_error()
    }
}

fn open(port: u16) -> RedisResult<Connection> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/"))?;
    let link = client.get_connection_with_timeout(patience())?;
    link.set_read_timeout(Some(patience()))?;
    Ok(link)
}

/// The port that a redirection names.
fn redirection(error: &RedisError) -> Option<u16> {
    error.redirect_node()?.0.rsplit(':').next()?.parse().ok()
}

impl ConnectionLike for Guided {
    fn req_packed_command(&mut self, command: &[u8]) -> RedisResult<Value> {
        let mut asked = None;
        for _ in 1..self.attempts {
            let answer = self.send(asked.unwrap_or(self.at), asked.is_some(), command);
            let Err(error) = answer else { return answer };
            asked = None;
            match error.code() {
                Some("MOVED") => self.at = redirection(&error).unwrap(),
                Some("ASK") => asked = redirection(&error),
                Some("TRYAGAIN") => std::thread::sleep(Duration::from_millis(1)),
                _ => return Err(error),
            }
        }
        self.send(asked.unwrap_or(self.at), asked.is_some(), command)
    }

    fn req_packed_commands(&mut self, _: &[u8], _: usize, _: usize) -> RedisResult<Vec<Value>> {
        Err((redis::ErrorKind::Client, "a pipeline can be redirected in its middle").into())
    }

    fn supports_pipelining(&self) -> bool {
        false
    }

    fn get_db(&self) -> i64 {
        0
    }

    fn check_connection(&mut self) -> bool {
        self.links.values_mut().all(Connection::check_connection)
    }

    fn is_open(&self) -> bool {
        self.links.values().all(Connection::is_open)
    }
}
