//! What lies in the store all the time, so that its size is one that can be compared.

use std::collections::BTreeSet;

use miroir::keyspace::{locate, Place};
use miroir::schema::Shape;

use super::model::{bytes, items, send, show, Words};
use super::support::Client;

/// How many rows of each of four tables: far from the next size of a hash table, which some rows of clients would bring.
const ROWS: usize = 2200;
const DAY_MS: &str = "86400000";

type Keys = BTreeSet<Vec<u8>>;

pub struct Base {
    rows: Keys,
    /// All keys when the clients had been there once, and all that is theirs was taken away.
    all: Option<Keys>,
}

impl Base {
    pub fn fill(client: &mut Client) -> Self {
        let hash = "5a".repeat(32);
        let rows: Vec<Words> = (0..ROWS)
            .flat_map(|number| {
                let key = |segment: &str| format!("miroir:{segment}:base-{number}");
                [
                    words![
                        "MIROIR.PUT",
                        key("tasks"),
                        "index_uid",
                        "base",
                        "status",
                        "succeeded",
                        "error",
                        "some text"
                    ],
                    // Nobody may claim them.
                    words![
                        "MIROIR.PUT",
                        key("jobs"),
                        "type",
                        "base",
                        "state",
                        "completed",
                        "finished_at",
                        "5"
                    ],
                    words!["MIROIR.PUT", key("session"), "PX", DAY_MS, "pinned_group", "base"],
                    words![
                        "MIROIR.PUT",
                        key("idemp"),
                        "PX",
                        DAY_MS,
                        "body_sha256",
                        &hash[..],
                        "miroir_task_id",
                        "base"
                    ],
                ]
            })
            .collect();
        for answer in rows.chunks(1000).flat_map(|some| send(client, some)) {
            assert_eq!(answer, redis::Value::Int(1));
        }
        Self { rows: rows.into_iter().map(|mut words| words.swap_remove(1)).collect(), all: None }
    }

    /// Takes away all that clients have put in besides, as the module does it or as clients without it do, and keeps what
    /// is about their numbers. Asserts that nothing but that is left.
    pub fn restore(&mut self, client: &mut Client, with_module: bool, when: &str) {
        for sink in ["kafka", "small"] {
            client.succeed(&format!("MIROIR.CDC.TRIM miroir:cdc:overflow:{sink} BUDGET 0"));
        }
        let (rows, others) = self.besides(client);
        let delete = if with_module { "MIROIR.DEL" } else { "UNLINK" };
        for (delete, keys) in [(delete, rows), ("DEL", others)] {
            for keys in keys.chunks(500) {
                let words: Vec<_> =
                    std::iter::once(delete.as_bytes()).chain(keys.iter().map(Vec::as_slice)).collect();
                client.raw(&words).unwrap();
            }
        }
        // The index sets follow what clients without the module delete.
        client.wait_for("EXISTS miroir:jobs:_queued miroir:aliases:_index", |answer| answer == "0");
        client.wait_for("SCARD miroir:tasks:_index", |answer| answer == ROWS.to_string());
        let left = keys(client);
        let lost: Vec<_> = self.rows.difference(&left).take(3).map(|key| show(key)).collect();
        assert!(lost.is_empty(), "{when}: rows that nobody touched are gone: {lost:?}");
        let all = self.all.get_or_insert_with(|| left.clone());
        let differ: Vec<_> = all.symmetric_difference(&left).map(|key| show(key)).collect();
        assert!(differ.is_empty(), "{when}: keys that were or were not there the first time: {differ:?}");
    }

    /// The rows that are not of the base, and the other keys without which no number is lost.
    fn besides(&self, client: &mut Client) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (mut rows, mut others) = (Vec::new(), Vec::new());
        for key in keys(client).into_iter().filter(|key| !self.rows.contains(key)) {
            match locate(&key).map(|found| (found.table.shape, found.place)) {
                Some((Shape::Row, Place::Row(_))) => rows.push(key),
                // Index sets, tokens, and what is told of a buffer.
                Some((_, Place::Reserved(_) | Place::Side(..))) => {}
                _ => others.push(key),
            }
        }
        (rows, others)
    }
}

fn keys(client: &mut Client) -> Keys {
    items(&client.raw(&["KEYS", "*"]).unwrap()).iter().map(bytes).collect()
}
