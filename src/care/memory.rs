//! What each table of a namespace weighs.

use crate::errors::{Failure, Outcome};
use crate::keyspace::{self, Place};
use crate::schema::{Shape, Table, TABLES};
use crate::server::{Called, Context, KeyType, Words};
use crate::store::rows;

/// The weight of one table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// Keys that hold a row, or a structure of this table.
    pub rows: usize,
    /// Exactly what a client would read: the bytes of key names, fields, values, elements, members, scores.
    pub payload_bytes: usize,
    /// What `MEMORY USAGE` says of the rows, extrapolated from the sampled ones by their payload.
    pub allocated_bytes: usize,
    /// What `MEMORY USAGE` says of the keys beside the rows: indexes, tokens, counters.
    pub index_bytes: usize,
    /// Rows with a TTL.
    pub expiring: usize,
}

impl Weight {
    /// The weights together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            payload_bytes: self.payload_bytes + other.payload_bytes,
            allocated_bytes: self.allocated_bytes + other.allocated_bytes,
            index_bytes: self.index_bytes + other.index_bytes,
            expiring: self.expiring + other.expiring,
        }
    }
}

/// Weighs every table of a namespace on this node, in the order of the schema. `samples` is the number of rows
/// per table that the server is asked about; 0 asks about all. O(keys of the database).
///
/// # Errors
/// The server's own.
pub fn weigh(
    context: &Context<'_>,
    namespace: &[u8],
    samples: usize,
) -> Outcome<Vec<(&'static Table, Weight)>> {
    let mut tables: Vec<(&'static Table, Weight, Sample)> =
        TABLES.iter().map(|table| (table, Weight::default(), Sample::new(samples))).collect();
    let mut failure = None;
    context.each_key(&[namespace, b":"].concat(), |key| {
        if let Err(error) = account(context, namespace, key, &mut tables) {
            // A node of a cluster also has keys that are on their way to it, which another node still answers for.
            if !context.in_cluster() {
                failure.get_or_insert(error);
            } else if context.follows() {
                failure.get_or_insert(Failure::refused("a replica in a cluster answers this after READONLY"));
            }
        }
    });
    if let Some(failure) = failure {
        return Err(failure);
    }
    let mut weights = Vec::with_capacity(tables.len());
    for (table, mut weight, sample) in tables {
        weight.allocated_bytes = sample.extrapolate(context, weight.payload_bytes)?;
        weights.push((table, weight));
    }
    Ok(weights)
}

fn account(
    context: &Context<'_>,
    namespace: &[u8],
    key: &[u8],
    tables: &mut [(&'static Table, Weight, Sample)],
) -> Outcome<()> {
    let Some(address) = keyspace::locate(key).filter(|found| found.namespace == namespace) else {
        return Ok(());
    };
    let entry = tables.iter_mut().find(|(table, ..)| table.name == address.table.name);
    let Some((table, weight, sample)) = entry else { return Ok(()) };
    let single = table.shape == Shape::Single;
    match address.place {
        Place::Reserved(_) | Place::Side(..) => weight.index_bytes += usage(context, key)?,
        Place::Table if !single => {}
        Place::Row(_) if single => {}
        Place::Row(_) | Place::Table => {
            let (key_type, expires) = {
                let row = context.peek(key);
                (row.key_type(), row.expires_at().is_some())
            };
            let Some(content) = content(context, table, key, key_type)? else { return Ok(()) };
            let payload = key.len() + content;
            weight.rows += 1;
            weight.payload_bytes += payload;
            weight.expiring += usize::from(expires);
            sample.consider(key, payload);
        }
    }
    Ok(())
}

/// The bytes that a row holds; None where the key holds no row of the table: a foreign value, or a stub.
fn content(context: &Context<'_>, table: &Table, key: &[u8], key_type: KeyType) -> Outcome<Option<usize>> {
    let read = |command, arguments: &[&[u8]]| -> Outcome<Called> {
        let mut words = Words::with_capacity(1 + arguments.len());
        words.bytes(key);
        arguments.iter().for_each(|argument| {
            words.bytes(argument);
        });
        context.read(command, &words)
    };
    let sum = |reply: &Called| reply.root().iter().map(|item| item.bytes().len()).sum();
    Ok(match (table.shape, key_type) {
        (Shape::Row, KeyType::Hash) => {
            let fields = rows::read_named(context, key)?;
            let pairs = fields.pairs();
            crate::rules::row::is_row(table, &pairs)
                .then(|| pairs.iter().map(|(name, value)| name.len() + value.len()).sum())
        }
        (Shape::Hash | Shape::StringOrHash, KeyType::Hash) => Some(sum(&read(c"HGETALL", &[])?)),
        (Shape::String | Shape::StringOrHash, KeyType::String) => Some(context.peek(key).len()),
        (Shape::List, KeyType::List) => Some(sum(&read(c"LRANGE", &[b"0", b"-1"])?)),
        (Shape::SortedSet | Shape::Single, KeyType::SortedSet) => {
            Some(sum(&read(c"ZRANGE", &[b"0", b"-1", b"WITHSCORES"])?))
        }
        _ => None,
    })
}

/// What the server says that a key takes, with its own default of nested samples.
fn usage(context: &Context<'_>, key: &[u8]) -> Outcome<usize> {
    let mut words = Words::with_capacity(2);
    words.bytes(b"USAGE").bytes(key);
    Ok(usize::try_from(context.read(c"MEMORY", &words)?.root().integer()).unwrap_or(0))
}

/// Some rows of a table, each of all rows with the same probability: a reservoir.
struct Sample {
    size: usize,
    seen: usize,
    rows: Vec<(Vec<u8>, usize)>,
    random: u64,
}

impl Sample {
    fn new(size: usize) -> Self {
        // The sequence is fixed: the same data give the same figures.
        Self { size: if size == 0 { usize::MAX } else { size }, seen: 0, rows: Vec::new(), random: 1 }
    }

    fn consider(&mut self, key: &[u8], payload: usize) {
        self.seen += 1;
        if self.rows.len() < self.size {
            self.rows.push((key.to_vec(), payload));
            return;
        }
        // A linear congruential generator with the multiplier and increment of Knuth's MMIX.
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = usize::try_from(self.random >> 33).unwrap_or(0) % self.seen;
        if let Some(row) = self.rows.get_mut(place) {
            *row = (key.to_vec(), payload);
        }
    }

    fn extrapolate(&self, context: &Context<'_>, payload_bytes: usize) -> Outcome<usize> {
        let (mut allocated, mut payload) = (0, 0);
        for (key, bytes) in &self.rows {
            allocated += usage(context, key)?;
            payload += bytes;
        }
        if payload == 0 || payload == payload_bytes {
            return Ok(allocated);
        }
        let exact = allocated as u128 * payload_bytes as u128 / payload as u128;
        Ok(usize::try_from(exact).unwrap_or(usize::MAX))
    }
}
