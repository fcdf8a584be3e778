//! What a server with the module tells of itself, read for the exporter of metrics and for the terminal view.

#![allow(dead_code, reason = "the exporter and the terminal view use a part of it each")]

pub mod ages;
pub mod server;

use std::collections::BTreeMap;

use redis::{from_redis_value, FromRedisValue, RedisResult, Value};

/// How many leases of a namespace are looked at. Their scopes may be as many as a deployment has indexes.
const MOST_LEASES: &str = "200";

/// Sends a command and answers its reply.
pub type Ask<'a> = dyn FnMut(&[&str]) -> RedisResult<Value> + 'a;

/// What is to be read beside what the server tells anyway.
#[derive(Clone, Debug, Default)]
pub struct Interests {
    /// What keys begin with.
    pub namespaces: Vec<String>,
    /// Sinks whose buffers are looked at even if they have no cursor.
    pub sinks: Vec<String>,
    /// Scopes of leases.
    pub leases: Vec<String>,
    /// Whether all leases that were ever held are looked at, which needs the right to HSCAN.
    pub all_leases: bool,
}

/// What one look at a server has found.
#[derive(Debug, Default)]
pub struct Reading {
    /// The fields of INFO.
    pub info: BTreeMap<String, String>,
    /// How many entries the slow log has.
    pub slow: Option<u64>,
    /// Of each MIROIR command that was called: how many calls took up to so many microseconds, rising.
    pub durations: BTreeMap<String, Vec<(u64, u64)>>,
    pub namespaces: BTreeMap<String, Namespace>,
    /// Commands that the server refused, for lack of a right or while it gets to know its keys, and its words.
    pub refused: BTreeMap<String, String>,
}

/// What a namespace holds.
#[derive(Debug, Default)]
pub struct Namespace {
    /// The answer of MIROIR.MEMORY.
    pub tables: BTreeMap<String, BTreeMap<String, u64>>,
    /// The answers of MIROIR.CDC.STAT.
    pub buffers: BTreeMap<String, BTreeMap<String, u64>>,
    /// By scope; nothing where nobody holds it.
    pub leases: BTreeMap<String, Option<Lease>>,
    /// How many pods said lately that they are alive.
    pub pods: Option<u64>,
}

/// A lease that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub holder: String,
    pub remaining_ms: u64,
    pub token: u64,
}

impl Reading {
    /// A number of INFO.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.info.get(name)?.parse().ok()
    }

    /// The numbers of a field such as `rows=1,expired=0`.
    pub fn numbers(&self, name: &str) -> BTreeMap<&str, f64> {
        let pairs = self.info.get(name).into_iter().flat_map(|field| field.split(','));
        pairs
            .filter_map(|pair| pair.split_once('='))
            .filter_map(|(k, v)| Some((k, v.parse().ok()?)))
            .collect()
    }

    /// The fields of INFO whose names begin with this, which is left out, and their numbers.
    pub fn groups<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, BTreeMap<&'a str, f64>)> + 'a {
        let names = self.info.keys().filter_map(move |name| Some((name.strip_prefix(prefix)?, name)));
        names.map(|(short, name)| (short, self.numbers(name)))
    }
}

/// Looks at a server. An error is one of the connection, or of INFO; what else is refused is told in the reading.
pub fn read(ask: &mut Ask, interests: &Interests) -> RedisResult<Reading> {
    let mut look = Look { ask, refused: BTreeMap::new() };
    let mut reading = Reading { info: look.info()?, ..Reading::default() };
    reading.slow = look.maybe(&["SLOWLOG", "LEN"])?;
    reading.durations = look.durations()?;
    for name in &interests.namespaces {
        let namespace = look.namespace(name, interests)?;
        reading.namespaces.insert(name.clone(), namespace);
    }
    reading.refused = look.refused;
    Ok(reading)
}

struct Look<'a, 'b> {
    ask: &'a mut Ask<'b>,
    refused: BTreeMap<String, String>,
}

impl Look<'_, '_> {
    fn info(&mut self) -> RedisResult<BTreeMap<String, String>> {
        let sections =
            ["server", "clients", "memory", "persistence", "stats", "replication", "cpu", "commandstats"];
        let words = [&["INFO"], &sections[..], &["keyspace", "miroir"]].concat();
        let text: String = from_redis_value((self.ask)(&words)?)?;
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Ok(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    /// The reply, which may be nil, or nothing where the server refuses the command or another node has the key.
    fn here(&mut self, words: &[&str]) -> RedisResult<Option<Value>> {
        match (self.ask)(words).and_then(Value::extract_error) {
            Ok(value) => Ok(Some(value)),
            Err(error) => match error.code() {
                // Who looks at that node tells of it.
                Some("MOVED" | "CLUSTERDOWN") => Ok(None),
                Some(_) => {
                    let command = words.first().copied().unwrap_or_default().to_owned();
                    self.refused.insert(command, error.to_string());
                    Ok(None)
                }
                None => Err(error),
            },
        }
    }

    /// The reply, where there is one and it is not nil.
    fn maybe<T: FromRedisValue>(&mut self, words: &[&str]) -> RedisResult<Option<T>> {
        let told = self.here(words)?.filter(|value| *value != Value::Nil);
        Ok(told.map(from_redis_value).transpose()?)
    }

    fn durations(&mut self) -> RedisResult<BTreeMap<String, Vec<(u64, u64)>>> {
        let all: Option<BTreeMap<String, Histogram>> = self.maybe(&["LATENCY", "HISTOGRAM"])?;
        let ours = all.unwrap_or_default().into_iter().filter_map(|(name, told)| {
            let name = name.to_uppercase();
            name.starts_with("MIROIR.").then_some((name, told.histogram_usec.into_iter().collect()))
        });
        Ok(ours.collect())
    }

    fn namespace(&mut self, name: &str, interests: &Interests) -> RedisResult<Namespace> {
        let tables = self.maybe(&["MIROIR.MEMORY", name])?.unwrap_or_default();
        let mut namespace = Namespace { tables, ..Namespace::default() };

        let by_sink = ["MIROIR.COUNT", &format!("{name}:cdc_cursor"), "BY", "sink_name"];
        let cursors: Option<BTreeMap<String, u64>> = self.maybe(&by_sink)?;
        for sink in cursors.unwrap_or_default().keys().chain(&interests.sinks) {
            let buffer = format!("{name}:cdc:overflow:{sink}");
            if let Some(stat) = self.maybe(&["MIROIR.CDC.STAT", &buffer])? {
                namespace.buffers.insert(sink.clone(), stat);
            }
        }

        let mut scopes = interests.leases.clone();
        if interests.all_leases {
            scopes.extend(self.scopes(name)?);
        }
        for scope in scopes {
            if let Some(told) = self.here(&["MIROIR.LEASE.GET", &format!("{name}:lease:{scope}")])? {
                let lease: Option<(String, u64, u64)> = from_redis_value(told)?;
                let lease = lease.map(|(holder, remaining_ms, token)| Lease { holder, remaining_ms, token });
                namespace.leases.insert(scope, lease);
            }
        }

        let pods: Option<Vec<String>> = self.maybe(&["MIROIR.POD.LIVE", &format!("{name}:live_pods")])?;
        namespace.pods = pods.map(|pods| pods.len() as u64);
        Ok(namespace)
    }

    /// The scopes that ever had a lease: the hash of the tokens has them.
    fn scopes(&mut self, name: &str) -> RedisResult<Vec<String>> {
        let tokens = format!("{name}:lease:_tokens");
        let page: Option<(String, Vec<(String, String)>)> =
            self.maybe(&["HSCAN", &tokens, "0", "COUNT", MOST_LEASES])?;
        Ok(page.map(|(_, pairs)| pairs.into_iter().map(|(scope, _)| scope).collect()).unwrap_or_default())
    }
}

/// What LATENCY HISTOGRAM tells of a command.
struct Histogram {
    histogram_usec: BTreeMap<u64, u64>,
}

impl FromRedisValue for Histogram {
    fn from_redis_value(value: Value) -> Result<Self, redis::ParsingError> {
        let mut fields: BTreeMap<String, Value> = from_redis_value(value)?;
        let told = fields.remove("histogram_usec").unwrap_or(Value::Array(Vec::new()));
        Ok(Self { histogram_usec: from_redis_value(told)? })
    }
}
