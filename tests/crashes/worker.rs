//! A client with a database of its own, which does operations of every kind and knows what its keys hold after each.

use std::collections::BTreeMap;

use fastrand::Rng;
use miroir::keyspace::{locate, Place};
use redis::{RedisResult, Value};

use super::model::{bytes, items, show, try_send, Words};
use super::operations::{Operations, NAMESPACES};
use super::support::Client;

/// What a key holds, as the server digests it, and when it ends, in ms since the epoch; -1 for never.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    digest: Vec<u8>,
    end: i64,
}

type Keys = BTreeMap<Vec<u8>, Held>;

/// Kinds of operations that reach into other databases.
const GLOBAL: &[&str] = &["MOVE", "SWAPDB", "FLUSHALL"];
/// Tables of which a command for one may write another.
const RELATED: &[&[&str]] =
    &[&["canaries", "canary_runs"], &["search_ui_scoped_key", "search_ui_scoped_key_observed", "live_pods"]];

pub struct Worker {
    operations: Operations,
    database: usize,
    /// What the keys held after the last operations of which that is known.
    known: Keys,
    /// The operations behind it.
    open: Vec<Words>,
    pub done: usize,
}

impl Worker {
    pub fn new(client: &mut Client, database: usize, random: Rng) -> Self {
        let mut operations = Operations::new(client, random);
        operations.databases = vec![database];
        operations.unknown.extend(GLOBAL);
        // A field that ends would be another change of which nobody is told.
        operations.field_lives = false;
        Self { operations, database, known: Keys::new(), open: Vec::new(), done: 0 }
    }

    /// Looks at what there is before it begins.
    pub fn begin(&mut self, client: &mut Client) {
        client.succeed(&format!("SELECT {}", self.database));
        self.known = read(client).unwrap();
    }

    /// Works until the server is gone.
    pub fn work(&mut self, client: &mut Client) {
        loop {
            // More than one at a time, as each answer waits for the disk.
            let number = self.operations.random.usize(1..8);
            self.open = (0..number).flat_map(|_| self.operations.next().1).collect();
            self.dump(client);
            if try_send(client, &self.open).is_err() {
                return;
            }
            self.done += number;
            let Ok(known) = read(client) else { return };
            self.known = known;
        }
    }

    /// Keeps what a key holds now and then, for RESTORE.
    fn dump(&mut self, client: &mut Client) {
        let key = self.operations.key();
        if self.operations.random.u8(..8) == 0 {
            if let Ok(Value::BulkString(dump)) = client.raw(&[&b"DUMP"[..], &key]) {
                self.operations.dumps.push(dump);
            }
        }
    }

    /// What the server does not hold as it was acknowledged.
    pub fn faults(&self, client: &mut Client) -> Vec<String> {
        client.succeed(&format!("SELECT {}", self.database));
        let held = read(client).unwrap();
        let now = client.server_ms();
        let mut faults = Vec::new();
        let keys: std::collections::BTreeSet<_> = self.known.keys().chain(held.keys()).collect();
        for key in keys {
            let (before, after) = (self.known.get(key), held.get(key));
            let has_ended = before.is_some_and(|held| held.end >= 0 && held.end <= now);
            // What has ended is deleted when somebody looks, and this look may have been a moment before the end.
            if before == after
                || has_ended
                || is_index(key)
                || self.open.iter().any(|open| concerns(open, key))
            {
                continue;
            }
            faults.push(format!("{} was {before:?}, is {after:?}; in doubt: {}", show(key), self.in_doubt()));
        }
        faults
    }

    fn in_doubt(&self) -> String {
        let lines = self.open.iter().map(|words| words.iter().map(|w| show(w)).collect::<Vec<_>>().join(" "));
        lines.collect::<Vec<_>>().join("; ")
    }
}

/// The index sets follow the rows, also those that clients without the module write. What they have to be is checked
/// by the rows.
fn is_index(key: &[u8]) -> bool {
    locate(key).is_some_and(|found| {
        matches!(found.place, Place::Reserved(name) if name.starts_with(b"_index") || name == b"_queued")
    })
}

/// Whether an operation may change a key: it names it, or another one of the same table.
fn concerns(words: &Words, key: &[u8]) -> bool {
    let is_related = |one: &str, other: &str| {
        one == other || RELATED.iter().any(|names| names.contains(&one) && names.contains(&other))
    };
    let is_concerned = |word: &Vec<u8>| {
        word == key
            || match (locate(word), locate(key)) {
                (Some(word), Some(key)) => {
                    word.namespace == key.namespace && is_related(word.table.name, key.table.name)
                }
                _ => false,
            }
    };
    let names_namespace =
        words.get(1).is_some_and(|word| NAMESPACES.iter().any(|name| name.as_bytes() == word));
    words[0] == b"FLUSHDB" || names_namespace || words[1..].iter().any(is_concerned)
}

/// What all keys of the selected database hold.
fn read(client: &mut Client) -> RedisResult<Keys> {
    let keys: Vec<Vec<u8>> = items(&client.raw(&["KEYS", "*"])?).iter().map(bytes).collect();
    if keys.is_empty() {
        return Ok(Keys::new());
    }
    let digests = words!["DEBUG", "DIGEST-VALUE"].into_iter().chain(keys.iter().cloned()).collect();
    let ends = keys.iter().map(|key| words!["PEXPIRETIME", &key[..]]);
    let answers = try_send(client, &std::iter::once(digests).chain(ends).collect::<Vec<_>>())?;
    let all = keys.into_iter().zip(items(&answers[0])).zip(&answers[1..]);
    let all = all.filter_map(|((key, digest), end)| match end {
        // It ended between two looks.
        Value::Int(-2) => None,
        Value::Int(end) => Some((key, Held { digest: bytes(digest), end: *end })),
        other => panic!("PEXPIRETIME: {other:?}"),
    });
    Ok(all.collect())
}
