//! The truth about a database, read from its raw keys, and what the module has to say about it.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};

use miroir::keyspace::{locate, Place};
use miroir::schema::{Index, Order, Origin, Shape, Table};
use redis::{RedisResult, Value};

use super::support::{patience, Client};

pub type Words = Vec<Vec<u8>>;
type Sets = BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>;
/// A set and a member of it, or a namespace and a sink.
type Pair = (Vec<u8>, Vec<u8>);

/// Words of any bytes.
macro_rules! words {
    ($($word:expr),+ $(,)?) => { vec![$(Vec::<u8>::from($word)),+] };
}

#[path = "questions.rs"]
mod questions;

#[allow(unused_imports, reason = "each test binary uses a part of it")]
pub use questions::*;

/// Sends commands in one go. An error is a value among the others.
pub fn send(client: &mut Client, commands: &[Words]) -> Vec<Value> {
    try_send(client, commands).unwrap()
}

/// The same, from a server that may be gone.
pub fn try_send(client: &mut Client, commands: &[Words]) -> RedisResult<Vec<Value>> {
    if commands.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipe = redis::pipe();
    pipe.ignore_errors();
    for words in commands {
        pipe.add_command(redis::Cmd::new()).arg(words);
    }
    pipe.query(&mut client.connection)
}

/// The code of an error, if the value is one.
pub fn error_code(value: &Value) -> Option<&str> {
    if let Value::ServerError(error) = value {
        return Some(error.code());
    }
    None
}

pub fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes.clone(),
        Value::SimpleString(text) => text.clone().into_bytes(),
        Value::Int(number) => number.to_string().into_bytes(),
        _ => Vec::new(),
    }
}

pub fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        _ => &[],
    }
}

pub fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// A key that is a row, a stub of one, or another structure of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Vec<u8>,
    pub namespace: Vec<u8>,
    pub table_name: &'static str,
    pub id: Vec<u8>,
    pub fields: BTreeMap<Vec<u8>, Vec<u8>>,
    pub payload: usize,
    /// When it ends, in ms since the epoch; -1 for never.
    pub end: i64,
    pub is_stub: bool,
}

impl Entry {
    pub fn table(&self) -> &'static Table {
        miroir::schema::table(self.table_name).unwrap()
    }

    /// What LIST and COUNT select by. What the key says needs no field.
    pub fn value(&self, field: &str) -> Option<Vec<u8>> {
        let table = self.table();
        match table.field(field.as_bytes()).unwrap().origin {
            Origin::Key(part) => Some(table.part(&self.id, part).to_vec()),
            _ => self.fields.get(field.as_bytes()).cloned(),
        }
    }

    /// What orders the table: the time in a field, 0 where there is none.
    pub fn time(&self) -> i64 {
        let field = self.table().order.field().and_then(|field| self.fields.get(field.as_bytes()));
        let text = field.and_then(|value| std::str::from_utf8(value).ok());
        text.and_then(|text| text.parse::<i64>().ok().filter(|time| time.to_string() == text)).unwrap_or(0)
    }

    /// In one line.
    pub fn line(&self) -> String {
        let fields: Vec<_> =
            self.fields.iter().map(|(name, value)| format!("{}={}", show(name), show(value))).collect();
        format!("{} until {} ({} bytes) {}", show(&self.key), self.end, self.payload, fields.join(" "))
    }
}

/// One database as native commands show it.
#[derive(Debug, Default, Clone)]
pub struct Sweep {
    pub entries: Vec<Entry>,
    /// The index sets.
    pub sets: Sets,
    /// Keys of CDC buffers, and of their byte counters, where the counter is not the sum of the events.
    pub miscounted: BTreeSet<Vec<u8>>,
}

impl Sweep {
    pub fn read(client: &mut Client) -> Self {
        let keys: Vec<Vec<u8>> = items(&client.raw(&["KEYS", "*"]).unwrap()).iter().map(bytes).collect();
        let ask: Vec<Words> =
            keys.iter().flat_map(|key| [words!["TYPE", &key[..]], words!["PEXPIRETIME", &key[..]]]).collect();
        let about = send(client, &ask);
        let kinds: Vec<Vec<u8>> = about.iter().step_by(2).map(bytes).collect();
        let contents: Vec<Words> = keys.iter().zip(&kinds).map(|(key, kind)| reading_of(key, kind)).collect();
        let contents = send(client, &contents);

        let mut sweep = Self::default();
        let mut counters: BTreeMap<Pair, [Vec<u8>; 2]> = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            let Value::Int(end) = about[2 * at + 1] else { panic!("PEXPIRETIME {}", show(key)) };
            let content: Vec<Vec<u8>> = match &contents[at] {
                Value::Array(items) => items.iter().map(bytes).collect(),
                // It became something else between two reads.
                Value::ServerError(_) | Value::Nil => continue,
                other => vec![bytes(other)],
            };
            let Some(found) = locate(key) else { continue };
            let id = match found.place {
                Place::Row(id) if found.table.shape != Shape::Single => id.to_vec(),
                Place::Table if found.table.shape == Shape::Single => Vec::new(),
                Place::Reserved(name) if name.starts_with(b"_index") || name == b"_queued" => {
                    // Its last entry can have gone since the keys were read.
                    if !content.is_empty() {
                        sweep.sets.insert(key.clone(), content.into_iter().collect());
                    }
                    continue;
                }
                Place::Side("cdc:overflow_bytes", sink) => {
                    let place = (found.namespace.to_vec(), sink.to_vec());
                    counters.entry(place).or_insert_with(|| [b"0".to_vec(), b"0".to_vec()])[1] =
                        content.concat();
                    continue;
                }
                _ => continue,
            };
            let suits = match (found.table.shape, &kinds[at][..]) {
                (Shape::Row | Shape::Hash | Shape::StringOrHash, b"hash") => !content.is_empty(),
                (Shape::String | Shape::StringOrHash, b"string")
                | (Shape::List, b"list")
                | (Shape::SortedSet | Shape::Single, b"zset") => true,
                _ => false,
            };
            if !suits {
                continue;
            }
            if found.table.shape == Shape::List {
                let held: usize = content.iter().map(Vec::len).sum();
                let place = (found.namespace.to_vec(), id.clone());
                counters.entry(place).or_insert_with(|| [b"0".to_vec(), b"0".to_vec()])[0] =
                    held.to_string().into_bytes();
            }
            let payload = key.len() + content.iter().map(Vec::len).sum::<usize>();
            let fields: BTreeMap<_, _> = match found.table.shape {
                Shape::Row => content.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
                _ => BTreeMap::new(),
            };
            let has = |name: &str| fields.contains_key(name.as_bytes());
            let is_stub = found.table.shape == Shape::Row && !found.table.row_marks().all(|m| has(m.name()));
            sweep.entries.push(Entry {
                key: key.clone(),
                namespace: found.namespace.to_vec(),
                table_name: found.table.name,
                id,
                fields,
                payload,
                end,
                is_stub,
            });
        }
        sweep.entries.sort_by(|a, b| a.key.cmp(&b.key));
        for ((namespace, sink), [held, counted]) in counters {
            if held != counted {
                for segment in ["cdc:overflow", "cdc:overflow_bytes"] {
                    sweep.miscounted.insert(miroir::keyspace::key(&namespace, segment, &sink));
                }
            }
        }
        sweep
    }

    /// The rows of a table in the order of LIST.
    pub fn rows(&self, namespace: &str, table: &Table) -> Vec<&Entry> {
        let mut rows: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| entry.table_name == table.name && entry.namespace == namespace.as_bytes())
            .filter(|entry| !entry.is_stub)
            .collect();
        rows.sort_by(|a, b| {
            let by_time = match table.order {
                Order::Id => std::cmp::Ordering::Equal,
                Order::Newest(_) => b.time().cmp(&a.time()),
                Order::Oldest(_) => a.time().cmp(&b.time()),
            };
            by_time.then_with(|| a.id.cmp(&b.id))
        });
        rows
    }

    /// What the index sets have to be, and the entries of which nobody can say: a job without a state may pass for
    /// queued, which is the default, or not.
    fn indexes(&self) -> (Sets, BTreeSet<Pair>) {
        let (mut sets, mut either) = (Sets::new(), BTreeSet::new());
        for entry in self.entries.iter().filter(|entry| !entry.is_stub) {
            let table = entry.table();
            let set = |suffix: &[u8]| miroir::keyspace::key(&entry.namespace, table.segment, suffix);
            match table.index {
                Index::None => continue,
                Index::All => sets.entry(set(b"_index")),
                Index::ByFirstPart => {
                    let (first, _) = table.split_id(&entry.id).unwrap();
                    sets.entry(set(&[b"_index:", first].concat()))
                }
                Index::AllAnd(subset) => {
                    let subset_key = set(subset.suffix.as_bytes());
                    match entry.value(subset.field).unwrap_or_default() {
                        value if value.is_empty() => {
                            either.insert((subset_key, entry.id.clone()));
                        }
                        value if value == subset.value.as_bytes() => {
                            sets.entry(subset_key).or_default().insert(entry.id.clone());
                        }
                        _ => {}
                    }
                    sets.entry(set(b"_index"))
                }
            }
            .or_default()
            .insert(entry.id.clone());
        }
        (sets, either)
    }

    /// Where the index sets are not those of the rows.
    pub fn index_faults(&self) -> Vec<String> {
        let (expected, either) = self.indexes();
        let flat = |sets: &Sets| -> BTreeSet<Pair> {
            sets.iter().flat_map(|(key, ids)| ids.iter().map(|id| (key.clone(), id.clone()))).collect()
        };
        let (expected, told) = (flat(&expected), flat(&self.sets));
        let line = |what: &str, (key, id): &Pair| format!("{} {what} {}", show(key), show(id));
        let missing = expected.difference(&told).map(|entry| line("lacks", entry));
        let extra = told.difference(&expected).filter(|entry| !either.contains(entry));
        missing.chain(extra.map(|entry| line("has no row for", entry))).collect()
    }

    /// What AUDIT must find, and what it may find besides: for the rest nobody says that a TTL is missing.
    pub fn audit_faults(&self, namespace: &str, found: &BTreeSet<(String, Vec<u8>)>) -> Vec<String> {
        let mut expected = BTreeSet::new();
        let mut allowed = BTreeSet::new();
        for entry in self.entries.iter().filter(|entry| entry.namespace == namespace.as_bytes()) {
            if entry.is_stub {
                expected.insert(("stub".to_owned(), entry.key.clone()));
            }
            if entry.end < 0 {
                let finding = ("ttl-missing".to_owned(), entry.key.clone());
                if entry.table().life_ms.is_some() && !entry.is_stub {
                    expected.insert(finding);
                } else {
                    allowed.insert(finding);
                }
            }
        }
        allowed.extend(self.miscounted.iter().map(|key| ("byte-counter-off".to_owned(), key.clone())));
        let line = |(finding, key): &(String, Vec<u8>)| format!("{finding} at {}", show(key));
        let missing = expected.difference(found).map(|finding| format!("does not tell {}", line(finding)));
        let extra = found.difference(&expected).filter(|finding| !allowed.contains(finding));
        missing.chain(extra.map(|finding| format!("tells {}", line(finding)))).collect()
    }

    /// Every row, stub, structure and index entry, for the comparison of two servers.
    pub fn lines(&self) -> Vec<String> {
        let sets = self.sets.iter().map(|(key, ids)| {
            format!("{}: {}", show(key), ids.iter().map(|id| show(id)).collect::<Vec<_>>().join(", "))
        });
        self.entries.iter().map(Entry::line).chain(sets).collect()
    }
}

fn reading_of(key: &[u8], kind: &[u8]) -> Words {
    match kind {
        b"hash" => words!["HGETALL", key],
        b"set" => words!["SMEMBERS", key],
        b"list" => words!["LRANGE", key, "0", "-1"],
        b"zset" => words!["ZRANGE", key, "0", "-1", "WITHSCORES"],
        b"string" => words!["GET", key],
        _ => words!["EXISTS", key],
    }
}
