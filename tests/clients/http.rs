//! As much of HTTP as it takes to ask the handlers.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::patience;

/// An answer.
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    /// A header's number.
    pub fn number(&self, name: &str) -> Option<u64> {
        let is_it = |line: &&str| line.to_lowercase().starts_with(&name.to_lowercase());
        self.head.lines().find(is_it)?.split(": ").nth(1)?.trim().parse().ok()
    }
}

/// Asks once, on a connection of its own.
pub fn get(port: u16) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream
        .write_all(b"GET /search?q=shoes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
