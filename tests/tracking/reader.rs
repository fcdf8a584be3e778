//! A client that caches what it reads, as far as the server can tell.

use std::sync::mpsc::{channel, Receiver};
use std::time::{Duration, Instant};

use redis::{PushInfo, PushKind, Value};

use crate::support::{patience, Client, Server};

/// How the server tells what has changed.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// In the connection that has read it: push messages of RESP3.
    Pushed,
    /// In another connection, which has subscribed to them: all that RESP2 can do.
    Redirected,
}

/// Both.
pub const WAYS: [Way; 2] = [Way::Pushed, Way::Redirected];

/// A client that tracks what it reads.
pub struct Reader {
    pub client: Client,
    ear: Ear,
}

/// Where it hears of changes.
enum Ear {
    Own(Receiver<PushInfo>),
    Other(Client),
}

/// What stands for a message that names no keys: everything is gone.
pub const EVERYTHING: &str = "everything";

impl Reader {
    /// A client that tracks with these options of CLIENT TRACKING.
    pub fn new(server: &Server, way: Way, options: &str) -> Self {
        let (mut client, redirect, ear) = match way {
            Way::Pushed => {
                let mut client = server.client_resp3();
                let (sender, receiver) = channel();
                client.connection.set_push_sender(sender);
                (client, String::new(), Ear::Own(receiver))
            }
            Way::Redirected => {
                let mut other = server.client();
                other.connection.set_read_timeout(Some(patience())).unwrap();
                let redirect = format!("REDIRECT {}", other.integer("CLIENT ID"));
                for channel in ["__redis__:invalidate", "end"] {
                    assert!(other.ask(&format!("SUBSCRIBE {channel}")).starts_with("[subscribe"));
                }
                (server.client(), redirect, Ear::Other(other))
            }
        };
        assert_eq!(client.ask(&format!("CLIENT TRACKING ON {redirect} {options}")), "OK");
        Self { client, ear }
    }

    /// The keys that it was told since it asked last, sorted. What was done before this call has been told.
    pub fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        match &mut self.ear {
            Ear::Own(receiver) => {
                // The answer comes behind all that was pushed before it.
                assert_eq!(self.client.ask("PING"), "PONG");
                for PushInfo { kind, data } in receiver.try_iter() {
                    assert_eq!(kind, PushKind::Invalidate, "{data:?}");
                    told.extend(keys(&data[0]));
                }
            }
            Ear::Other(other) => {
                self.client.ask("PUBLISH end ''");
                loop {
                    let message = other.connection.recv_response().unwrap();
                    let Value::Array(message) = message else { panic!("{message:?}") };
                    match text(&message[1]).as_str() {
                        "end" => break,
                        _ => told.extend(keys(&message[2])),
                    }
                }
            }
        }
        told.sort();
        told
    }

    /// Waits until it is told something.
    pub fn told_in_time(&mut self) -> Vec<String> {
        let deadline = Instant::now() + patience();
        loop {
            let told = self.told();
            if !told.is_empty() || Instant::now() > deadline {
                return told;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Reads by lines that have to succeed, after which there is nothing to tell.
    pub fn read(&mut self, lines: &[&str]) {
        for line in lines {
            self.client.succeed(line);
        }
        assert_eq!(self.told(), [""; 0], "after {lines:?}");
    }
}

fn text(value: &Value) -> String {
    let Value::BulkString(bytes) = value else { panic!("no text: {value:?}") };
    String::from_utf8(bytes.clone()).unwrap()
}

fn keys(value: &Value) -> Vec<String> {
    match value {
        Value::Nil => vec![EVERYTHING.to_owned()],
        Value::Array(keys) => keys.iter().map(text).collect(),
        other => panic!("no keys: {other:?}"),
    }
}
