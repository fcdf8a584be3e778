//! Compares the catalog with the keys, slowly and for ever, and mends it where they differ. It never should: the
//! counters in INFO say whether it did.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::facts::Facts;
use super::{follow, read, rebuild, with};
use crate::keyspace::{self, Address};
use crate::schema::Table;
use crate::server::scan::Walk;
use crate::server::{config, Context};

/// What was compared and found since the module was loaded.
#[derive(Debug)]
pub struct Counters {
    /// Times that everything was compared.
    pub rounds: AtomicU64,
    /// Keys and rows that were compared.
    pub compared: AtomicU64,
    /// Keys that the catalog did not know.
    pub missing: AtomicU64,
    /// Rows without a key.
    pub ghosts: AtomicU64,
    /// Rows of which it knew something else.
    pub different: AtomicU64,
}

/// The counters.
pub static COUNTERS: Counters = Counters {
    rounds: AtomicU64::new(0),
    compared: AtomicU64::new(0),
    missing: AtomicU64::new(0),
    ghosts: AtomicU64::new(0),
    different: AtomicU64::new(0),
};

/// How a key and the catalog differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The catalog does not know it.
    Missing,
    /// The catalog knows it, but it is not there.
    Ghost,
    /// The catalog knows something else of it.
    Other,
}

impl Difference {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Missing => "the catalog does not know it",
            Self::Ghost => "the catalog knows it, and it is not there",
            Self::Other => "the catalog knows other values of it",
        }
    }

    fn count(self) {
        let counter = match self {
            Self::Missing => &COUNTERS.missing,
            Self::Ghost => &COUNTERS.ghosts,
            Self::Other => &COUNTERS.different,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// How the catalog and a key of the selected database differ, if they do; `facts` are what the key says.
#[must_use]
pub fn difference(
    context: &Context<'_>,
    address: &Address<'_>,
    id: &[u8],
    facts: Option<&Facts>,
) -> Option<Difference> {
    let (database, now) = (context.database(), context.now_ms());
    with(|catalog| {
        let known = catalog.rows(database, address.namespace, address.table);
        let known = known.filter(|rows| rows.find(id).is_some());
        match (known, facts) {
            (None, None) => None,
            // A row whose time is up is gone for everyone, whether or not the server or the catalog has heard of it.
            (None, Some(facts)) => {
                facts.expires_at.is_none_or(|end| end >= now).then_some(Difference::Missing)
            }
            (Some(rows), None) => rows.position(id, now).map(|_| Difference::Ghost),
            // The clock is no judge here: it may have gone on since the server found that the key is there.
            (Some(rows), Some(facts)) => (!rows.agrees(id, facts)).then_some(Difference::Other),
        }
    })
}

/// What is compared next.
enum Stage {
    /// The keys of a database, against the catalog.
    Keys(i32, Walk),
    /// The rows of the catalog, against the keys: the tables of some namespaces, the next slot of the last of them, and
    /// the database and the namespace that come after them.
    Rows(Vec<Located>, u32, Option<Beginning>),
}

static STAGE: Mutex<Option<Stage>> = Mutex::new(None);

fn stage<T>(act: impl FnOnce(&mut Option<Stage>) -> T) -> T {
    act(&mut STAGE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Goes on for as long as the settings allow.
pub(super) fn go_on(context: &Context<'_>) {
    let budget = Duration::from_micros(config::AUDIT_BUDGET.get());
    // What has changed and was not looked at yet would seem different.
    if budget.is_zero() || rebuild::is_running() || follow::backlog() > 0 {
        return;
    }
    let end = Instant::now() + budget;
    let mut current = stage(Option::take);
    while Instant::now() < end {
        current = match current {
            None => Walk::new().map(|walk| Stage::Keys(0, walk)),
            Some(stage) => stage.piece(context),
        };
        if current.is_none() {
            COUNTERS.rounds.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    stage(|stage| *stage = current);
}

impl Stage {
    /// Compares some. None when all is compared.
    fn piece(self, context: &Context<'_>) -> Option<Self> {
        match self {
            Self::Keys(database, mut walk) => {
                let compare = |key: &[u8]| compare(context, key);
                let is_ours = |key: &[u8]| keyspace::locate(key).is_some();
                let stepped =
                    context.in_database(database, || walk.step(context, is_ours, compare).is_some());
                match stepped {
                    Some(true) => Some(Self::Keys(database, walk)),
                    Some(false) => Walk::new().map(|walk| Self::Keys(database + 1, walk)),
                    None => Some(Self::Rows(Vec::new(), 0, Some((i32::MIN, Vec::new())))),
                }
            }
            Self::Rows(tables, _, next) if tables.is_empty() => {
                let (database, namespace) = next?;
                let (tables, next) = some_tables(database, &namespace);
                Some(Self::Rows(tables, 0, next))
            }
            Self::Rows(mut tables, slot, following) => {
                let (database, namespace, table) = tables.last()?;
                let next =
                    context.in_database(*database, || ghosts(context, namespace, table, slot)).flatten();
                if next.is_none() {
                    tables.pop();
                }
                Some(Self::Rows(tables, next.unwrap_or(0), following))
            }
        }
    }
}

/// Where tables are: database and namespace.
type Beginning = (i32, Vec<u8>);
/// A table, and where it is.
type Located = (i32, Vec<u8>, &'static Table);

/// The tables of some namespaces from one on, and the namespace that comes after them.
fn some_tables(database: i32, namespace: &[u8]) -> (Vec<Located>, Option<Beginning>) {
    const SOME: usize = 64;
    with(|catalog| {
        let mut tables: Vec<Located> = Vec::new();
        for (database, namespace, rows) in catalog.tables_from(database, namespace) {
            let is_another =
                tables.last().is_none_or(|(last, name, _)| (*last, &name[..]) != (database, namespace));
            if is_another && tables.len() >= SOME {
                return (tables, Some((database, namespace.to_vec())));
            }
            tables.push((database, namespace.to_vec(), rows.table()));
        }
        (tables, None)
    })
}

fn compare(context: &Context<'_>, key: &[u8]) {
    COUNTERS.compared.fetch_add(1, Ordering::Relaxed);
    let Some(address) = keyspace::locate(key) else { return };
    let Some(id) = read::id_of(&address) else {
        // A key beside the rows: it costs nothing to take it over again.
        follow::look(context, key);
        return;
    };
    let facts = read::facts(context, address.table, id, key);
    if let Some(difference) = difference(context, &address, id, facts.as_ref()) {
        difference.count();
        follow::look(context, key);
    }
}

/// Compares the rows in some slots. Answers the next slot, if there are more.
fn ghosts(context: &Context<'_>, namespace: &[u8], table: &'static Table, from: u32) -> Option<u32> {
    let (keys, next) = keys_of(context, namespace, table, from, 16);
    keys.iter().for_each(|key| compare(context, key));
    next
}

/// The keys of the rows in so many slots of the catalog, from the highest down, and where to go on, if there are more. `from` is 0
/// for the beginning. A row that moves meanwhile moves down, so that none is passed over.
#[must_use]
pub fn keys_of(
    context: &Context<'_>,
    namespace: &[u8],
    table: &'static Table,
    from: u32,
    slots: u32,
) -> (Vec<Vec<u8>>, Option<u32>) {
    let database = context.database();
    with(|catalog| {
        let Some(rows) = catalog.rows(database, namespace, table) else { return (Vec::new(), None) };
        let all = rows.slab().slots();
        let end = if from == 0 { all } else { from.min(all) };
        let begin = end.saturating_sub(slots);
        let used = (begin..end).rev().filter(|slot| rows.slab().holds(*slot));
        let keys = used.map(|slot| super::key_of(namespace, rows, slot)).collect();
        (keys, (begin > 0).then_some(begin))
    })
}

/// Gives everything back.
pub(super) fn end() {
    stage(|stage| *stage = None);
}
