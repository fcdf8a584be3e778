//! What each table of a namespace weighs.

use crate::catalog::{self, rebuild};
use crate::errors::{Failure, Outcome};
use crate::keyspace::key_in;
use crate::rules::estimate;
use crate::schema::{Shape, Table, TABLES};
use crate::server::{Context, KeyType, Words};

/// The weight of one table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// Keys that hold a row, or a structure of this table.
    pub rows: usize,
    /// Exactly what a client would read: the bytes of key names, fields, values, elements, members, scores.
    pub payload_bytes: usize,
    /// What `MEMORY USAGE` says of the rows, estimated from some of them.
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

/// Weighs every table of a namespace in the selected database, in the order of the schema. `samples` is the number of
/// rows per table that the server is asked about; 0 asks about all. O(tables), and O(elements) of the lists and sorted
/// sets that have changed since the last time.
///
/// # Errors
/// TRYAGAIN while the catalog is being made; the server's own.
pub fn weigh(
    context: &Context<'_>,
    namespace: &[u8],
    samples: usize,
) -> Outcome<Vec<(&'static Table, Weight)>> {
    rebuild::ready(context, None)?;
    TABLES.iter().map(|table| Ok((table, weigh_table(context, namespace, table, samples)?))).collect()
}

fn weigh_table(
    context: &Context<'_>,
    namespace: &[u8],
    table: &'static Table,
    samples: usize,
) -> Outcome<Weight> {
    let database = context.database();
    count_elements(context, namespace, table)?;
    let size = if samples == 0 { usize::MAX } else { samples };
    let (totals, forms, beside) = catalog::with(|catalog| {
        let rows = catalog.rows(database, namespace, table);
        let totals = rows.map_or_else(Default::default, |rows| rows.totals(context.now_ms()));
        let forms: Vec<_> = rows.map(|rows| shares(rows.samples(size), size)).unwrap_or_default();
        let beside: Vec<_> = catalog.beside(database, namespace, table).map(<[u8]>::to_vec).collect();
        (totals, forms, beside)
    });
    let mut weight = Weight {
        rows: totals.rows,
        payload_bytes: usize::try_from(totals.payload_bytes).unwrap_or(usize::MAX),
        expiring: totals.expiring,
        ..Weight::default()
    };
    for form in forms {
        let mut measured = Vec::with_capacity(form.picked.len());
        for (id, payload) in form.picked {
            // A row whose time is up takes nothing any more.
            if let Some(allocated) = usage(context, &key_in(namespace, table, &id))? {
                measured.push((payload, allocated));
            }
        }
        let allocated = estimate::allocated(form.rows, form.payload_bytes, &measured);
        weight.allocated_bytes += usize::try_from(allocated).unwrap_or(usize::MAX);
    }
    for key in beside {
        weight.index_bytes += usize::try_from(usage(context, &key)?.unwrap_or(0)).unwrap_or(usize::MAX);
    }
    Ok(weight)
}

/// What rows of a table take on the average.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Average {
    /// Rows that this is the average of; for sorted sets, members.
    pub rows: u64,
    /// Bytes of one.
    pub row_bytes: u64,
    /// Bytes of its share of the keys beside the rows.
    pub index_entry_bytes: u64,
    /// Whether these are members of keys.
    pub of_members: bool,
}

/// How many rows of a table are measured for an average, about.
const FOR_AVERAGE: usize = 64;
/// How many namespaces are looked at for it at most: those with the most rows.
const NAMESPACES: usize = 8;

/// What a row of a table takes on the average, over the namespaces of the selected database. None where it has no rows.
/// O(namespaces).
///
/// # Errors
/// TRYAGAIN while the catalog is being made; the server's own.
pub fn average(context: &Context<'_>, table: &'static Table) -> Outcome<Option<Average>> {
    rebuild::ready(context, None)?;
    let database = context.database();
    let namespaces = catalog::with(|catalog| {
        let here = catalog.tables_from(database, b"").take_while(|(at, ..)| *at == database);
        let of_table = here.filter(|(_, _, rows)| rows.table().number() == table.number());
        let mut found: Vec<_> = of_table.map(|(_, name, rows)| (rows.sums().rows, name)).collect();
        found.sort_unstable_by(|first, second| second.cmp(first));
        found.into_iter().take(NAMESPACES).map(|(_, name)| name.to_vec()).collect::<Vec<_>>()
    });
    let of_members = matches!(table.shape, Shape::SortedSet | Shape::Single);
    let samples = FOR_AVERAGE.div_ceil(namespaces.len().max(1));
    let (mut rows, mut bytes, mut entries, mut beside) = (0_u64, 0_u64, 0_u64, 0_u64);
    for namespace in &namespaces {
        if of_members {
            let (members, of_members) = weigh_members(context, namespace, table, samples)?;
            rows += members;
            bytes += of_members;
            continue;
        }
        let weight = weigh_table(context, namespace, table, samples)?;
        rows += weight.rows as u64;
        bytes += weight.allocated_bytes as u64;
        beside += weight.index_bytes as u64;
        // What is beside the rows may outlive them, as the tokens of leases do.
        entries += longest_beside(context, namespace, table).max(weight.rows) as u64;
    }
    Ok((rows > 0).then(|| Average {
        rows,
        row_bytes: bytes.div_ceil(rows),
        index_entry_bytes: beside.div_ceil(entries.max(1)),
        of_members,
    }))
}

/// Members of about so many of a table's sorted sets, and the bytes of these sets.
fn weigh_members(
    context: &Context<'_>,
    namespace: &[u8],
    table: &'static Table,
    samples: usize,
) -> Outcome<(u64, u64)> {
    let ids = catalog::with(|catalog| {
        let rows = catalog.rows(context.database(), namespace, table);
        let picked = rows.into_iter().flat_map(|rows| rows.samples(samples)).flat_map(|sample| sample.picked);
        picked.map(|(id, _)| id.to_vec()).collect::<Vec<_>>()
    });
    let (mut members, mut bytes) = (0, 0);
    for id in ids {
        let key = key_in(namespace, table, &id);
        if let Some(allocated) = usage(context, &key)? {
            members += context.inspect(&key).len() as u64;
            bytes += allocated;
        }
    }
    Ok((members, bytes))
}

/// The number of elements of the longest key beside the rows of a table.
fn longest_beside(context: &Context<'_>, namespace: &[u8], table: &'static Table) -> usize {
    let keys: Vec<_> = catalog::with(|catalog| {
        catalog.beside(context.database(), namespace, table).map(<[u8]>::to_vec).collect()
    });
    keys.iter().map(|key| context.inspect(key).len()).max().unwrap_or(0)
}

/// Rows of one form, and those of them that are measured: id and bytes.
struct Form {
    rows: usize,
    payload_bytes: u64,
    picked: Vec<(Vec<u8>, u64)>,
}

/// How many rows of a form are measured at least, as long as it has any.
const LEAST: usize = 8;

/// Cuts samples down, so that together they have about `size` rows: each form by its share of the bytes.
fn shares(samples: [catalog::table::Sample<'_>; 3], size: usize) -> Vec<Form> {
    let total: u64 = samples.iter().map(|sample| sample.payload_bytes).sum::<u64>().max(1);
    let cut = |sample: catalog::table::Sample<'_>| {
        let share = size as u128 * u128::from(sample.payload_bytes) / u128::from(total);
        let wanted = usize::try_from(share).unwrap_or(usize::MAX).max(LEAST);
        let step = sample.picked.len().div_ceil(wanted).max(1);
        let picked =
            sample.picked.iter().step_by(step).map(|(id, payload)| (id.to_vec(), *payload)).collect();
        Form { rows: sample.rows, payload_bytes: sample.payload_bytes, picked }
    };
    samples.into_iter().filter(|sample| sample.rows > 0).map(cut).collect()
}

/// Counts the bytes of what has changed since the last time, where the catalog did not: lists, sorted sets, and hashes
/// of very many fields.
fn count_elements(context: &Context<'_>, namespace: &[u8], table: &'static Table) -> Outcome<()> {
    let database = context.database();
    let uncounted = catalog::with(|catalog| {
        catalog.rows(database, namespace, table).map(catalog::table::Rows::uncounted).unwrap_or_default()
    });
    for id in uncounted {
        let key = key_in(namespace, table, &id);
        let content: usize = {
            let elements = context.inspect(&key);
            match elements.key_type() {
                KeyType::Hash => {
                    let mut bytes = 0;
                    elements.each_field(|name, value| bytes += name.len() + value.len());
                    bytes
                }
                KeyType::List => elements.elements().map(|element| element.bytes().len()).sum(),
                KeyType::SortedSet => {
                    let mut words = Words::with_capacity(4);
                    words.bytes(&key).number(0).number(-1).bytes(b"WITHSCORES");
                    let Some(members) = unless_elsewhere(context, context.read(c"ZRANGE", &words))? else {
                        continue;
                    };
                    members.root().iter().map(|item| item.bytes().len()).sum()
                }
                // It is gone or replaced: the catalog hears of it.
                _ => continue,
            }
        };
        let payload = (key.len() + content) as u64;
        catalog::with(|catalog| catalog.count(database, namespace, table, &id, payload));
    }
    Ok(())
}

/// What the server says that a key takes, with its own default of nested samples. None where there is no such key.
fn usage(context: &Context<'_>, key: &[u8]) -> Outcome<Option<u64>> {
    let mut words = Words::with_capacity(2);
    words.bytes(b"USAGE").bytes(key);
    let reply = unless_elsewhere(context, context.read(c"MEMORY", &words))?;
    Ok(reply
        .map(|reply| reply.root().integer())
        .and_then(|bytes| u64::try_from(bytes).ok())
        .filter(|bytes| *bytes > 0))
}

/// A node of a cluster also has keys that are on their way to it, which another node still answers for: those are
/// passed over.
fn unless_elsewhere<T>(context: &Context<'_>, outcome: Outcome<T>) -> Outcome<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(failure) if !context.in_cluster() => Err(failure),
        Err(_) if context.follows() => {
            Err(Failure::refused("a replica in a cluster answers this after READONLY"))
        }
        Err(_) => Ok(None),
    }
}
