//! What clients were told, in a form that can be looked for in the raw keys afterwards.
//!
//! Every fact holds for good: the server may know more by then, but never less.

use std::collections::BTreeMap;

use redis::Value;

use super::super::model::{bytes, items, send, show, Words};
use super::super::support::Client;

/// A number that never goes back, in the keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Number {
    Field(String, String),
    Counter(String),
    Score(String, String),
}

impl Number {
    pub fn field(key: &str, field: &str) -> Self {
        Self::Field(key.to_owned(), field.to_owned())
    }

    fn key(&self) -> &str {
        match self {
            Self::Field(key, _) | Self::Counter(key) | Self::Score(key, _) => key,
        }
    }

    fn reading(&self) -> Words {
        match self {
            Self::Field(key, field) => words!["HGET", &key[..], &field[..]],
            Self::Counter(key) => words!["GET", &key[..]],
            Self::Score(key, member) => words!["ZSCORE", &key[..], &member[..]],
        }
    }
}

/// Something that a client was told by the answer to a write.
#[derive(Debug, Clone)]
pub enum Fact {
    /// These fields of a row have these values.
    Row { key: String, fields: Vec<(String, String)> },
    /// A row is gone.
    Gone { key: String },
    /// A number is at least this.
    AtLeast { what: Number, number: i64 },
    /// A canary has a run of that time.
    Run { key: String, ran_at: i64 },
    /// An event has this number.
    Event { key: String, number: i64, event: String },
    /// Something that only one may get was given to somebody: a token, a claim, an idempotency key.
    Given { what: String, to: String },
}

impl Fact {
    pub fn row(key: &str, fields: &[(&str, &str)]) -> Self {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self::Row { key: key.to_owned(), fields: fields.collect() }
    }

    /// The same with other names of the keys, also of those in what was given.
    pub fn with_keys(self, rename: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Row { key, fields } => Self::Row { key: rename(&key), fields },
            Self::Gone { key } => Self::Gone { key: rename(&key) },
            Self::AtLeast { what, number } => {
                let what = match what {
                    Number::Field(key, field) => Number::Field(rename(&key), field),
                    Number::Counter(key) => Number::Counter(rename(&key)),
                    Number::Score(key, member) => Number::Score(rename(&key), member),
                };
                Self::AtLeast { what, number }
            }
            Self::Run { key, ran_at } => Self::Run { key: rename(&key), ran_at },
            Self::Event { key, number, event } => Self::Event { key: rename(&key), number, event },
            Self::Given { what, to } => Self::Given { what: rename(&what), to },
        }
    }

    /// The key that it is about.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Row { key, .. } | Self::Gone { key } | Self::Run { key, .. } | Self::Event { key, .. } => {
                Some(key)
            }
            Self::AtLeast { what, .. } => Some(what.key()),
            Self::Given { .. } => None,
        }
    }

    fn reading(&self) -> Option<Words> {
        match self {
            Self::Row { key, fields } => {
                let names = fields.iter().map(|(name, _)| Vec::from(name.as_bytes()));
                Some(words!["HMGET", &key[..]].into_iter().chain(names).collect())
            }
            Self::Gone { key } => Some(words!["EXISTS", &key[..]]),
            Self::AtLeast { what, .. } => Some(what.reading()),
            Self::Run { key, ran_at } => {
                let at = ran_at.to_string();
                Some(words!["ZCOUNT", &key[..], &at[..], &at[..]])
            }
            Self::Event { .. } | Self::Given { .. } => None,
        }
    }

    fn holds(&self, answer: &Value) -> bool {
        let number = || String::from_utf8_lossy(&bytes(answer)).parse::<f64>().unwrap_or(-1.0);
        match self {
            Self::Row { fields, .. } => {
                let values: Vec<_> = items(answer).iter().map(bytes).collect();
                fields.iter().map(|(_, value)| value.as_bytes()).eq(values.iter().map(Vec::as_slice))
            }
            Self::Gone { .. } => *answer == Value::Int(0),
            // They are far below what a float can tell apart.
            #[allow(clippy::cast_precision_loss)]
            Self::AtLeast { number: least, .. } => number() >= *least as f64,
            Self::Run { .. } => *answer == Value::Int(1),
            Self::Event { .. } | Self::Given { .. } => true,
        }
    }
}

/// Which of these facts the server does not know. `acknowledged` says up to which number a consumer may have taken
/// events away.
pub fn unknown<'f>(client: &mut Client, facts: &'f [Fact], acknowledged: i64) -> Vec<(&'f Fact, String)> {
    let asked: Vec<_> = facts.iter().filter_map(|fact| Some((fact, fact.reading()?))).collect();
    let readings: Vec<_> = asked.iter().map(|(_, reading)| reading.clone()).collect();
    let answers: Vec<_> = readings.chunks(2000).flat_map(|readings| send(client, readings)).collect();
    let mut unknown: Vec<_> = asked
        .iter()
        .zip(&answers)
        .filter(|((fact, _), answer)| !fact.holds(answer))
        .map(|((fact, _), answer)| (*fact, format!("{answer:?}")))
        .collect();

    let mut buffers = BTreeMap::new();
    for fact in facts {
        let Fact::Event { key, number, event } = fact else { continue };
        let held = buffers.entry(key).or_insert_with(|| events(client, key));
        match held.get(number) {
            Some(held) if held == event => {}
            None if *number <= acknowledged => {}
            other => unknown.push((fact, format!("{other:?}"))),
        }
    }
    unknown
}

/// What a buffer holds, by the numbers of the events.
fn events(client: &mut Client, key: &str) -> BTreeMap<i64, String> {
    let answer = client.raw(&["MIROIR.CDC.PEEK", key, "COUNT", "1000000"]).unwrap();
    let event = |event: &Value| match items(event) {
        [Value::Int(number), event] => (*number, show(&bytes(event))),
        other => panic!("PEEK {key}: {other:?}"),
    };
    let all: Vec<_> = items(&answer).iter().map(event).collect();
    assert!(all.windows(2).all(|two| two[0].0 + 1 == two[1].0), "PEEK {key} is no sequence: {all:?}");
    all.into_iter().collect()
}

/// What was given to more than one.
pub fn given_twice<'f>(facts: impl Iterator<Item = &'f Fact>) -> Vec<String> {
    let mut given: BTreeMap<&str, &str> = BTreeMap::new();
    let mut twice = Vec::new();
    for fact in facts {
        let Fact::Given { what, to } = fact else { continue };
        if let Some(before) = given.insert(what, to).filter(|before| before != to) {
            twice.push(format!("{what} was given to {before} and to {to}"));
        }
    }
    twice
}
