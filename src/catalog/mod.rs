//! What the keys say, kept in memory: every row of every table, in every namespace and database. LIST, COUNT, PRUNE
//! and MEMORY are answered from here, in the time of their answer and not of the table.
//!
//! The catalog is derived and never stored. [`follow`] keeps it true, whoever writes the keys; [`rebuild`] makes it
//! anew where nobody could watch; [`check`] looks for differences all the time. The parts below them are pure.

pub mod check;
pub mod directory;
pub mod facts;
pub mod follow;
pub mod gathered;
mod heal;
pub mod lists;
pub mod ordered;
pub mod read;
pub mod rebuild;
pub mod select;
pub mod slab;
pub mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::RandomState;
use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;

use crate::keyspace::{self, Address};
use crate::schema::{Table, TABLES};
use facts::Facts;
use table::{Rows, Totals};

/// The keys of one namespace.
#[derive(Debug, Default)]
struct Namespace {
    /// By the numbers of the tables; only tables that have rows.
    rows: BTreeMap<usize, Box<Rows>>,
    /// Keys that belong to a table without being rows of it: indexes, counters, tokens.
    beside: BTreeMap<usize, BTreeSet<Box<[u8]>>>,
}

impl Namespace {
    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.beside.is_empty()
    }
}

/// Every row of every table.
#[derive(Debug, Default)]
pub struct Catalog {
    databases: BTreeMap<i32, HashMap<Vec<u8>, Namespace, RandomState>>,
    /// Whether rows of new tables come in a great number.
    many: bool,
    /// What a flush left behind, to be given back piece by piece.
    discarded: Vec<Rows>,
}

impl Catalog {
    /// The rows of a table, if it has any.
    #[must_use]
    pub fn rows(&self, database: i32, namespace: &[u8], table: &'static Table) -> Option<&Rows> {
        self.databases.get(&database)?.get(namespace)?.rows.get(&table.number()).map(|rows| &**rows)
    }

    /// The same, to change what is known of single rows.
    pub fn rows_mut(&mut self, database: i32, namespace: &[u8], table: &'static Table) -> Option<&mut Rows> {
        let namespace = self.databases.get_mut(&database)?.get_mut(namespace)?;
        namespace.rows.get_mut(&table.number()).map(|rows| &mut **rows)
    }

    /// Takes over what is known of a row.
    pub fn put(&mut self, database: i32, address: &Address<'_>, id: &[u8], facts: &Facts) {
        let table = address.table;
        let many = self.many;
        let namespace = self.namespace(database, address.namespace);
        namespace
            .rows
            .entry(table.number())
            .or_insert_with(|| Box::new(Rows::new(table, many)))
            .put(id, facts);
    }

    /// Forgets a row. Answers whether it was known.
    pub fn remove(&mut self, database: i32, address: &Address<'_>, id: &[u8]) -> bool {
        let Some(rows) = self.rows_mut(database, address.namespace, address.table) else { return false };
        let was_known = rows.remove(id);
        if rows.is_empty() {
            self.drop_table(database, address);
        }
        was_known
    }

    fn drop_table(&mut self, database: i32, address: &Address<'_>) {
        let Some(namespaces) = self.databases.get_mut(&database) else { return };
        let Some(namespace) = namespaces.get_mut(address.namespace) else { return };
        namespace.rows.remove(&address.table.number());
        if namespace.is_empty() {
            namespaces.remove(address.namespace);
        }
    }

    /// Notes whether a key beside the rows of a table is there.
    pub fn note_beside(&mut self, database: i32, address: &Address<'_>, key: &[u8], is_there: bool) {
        let number = address.table.number();
        if is_there {
            let keys = self.namespace(database, address.namespace).beside.entry(number).or_default();
            if !keys.contains(key) {
                keys.insert(key.into());
            }
            return;
        }
        let Some(namespaces) = self.databases.get_mut(&database) else { return };
        let Some(namespace) = namespaces.get_mut(address.namespace) else { return };
        if let Some(keys) = namespace.beside.get_mut(&number) {
            keys.remove(key);
            if keys.is_empty() {
                namespace.beside.remove(&number);
            }
        }
        if namespace.is_empty() {
            namespaces.remove(address.namespace);
        }
    }

    /// The keys beside the rows of a table.
    pub fn beside(
        &self,
        database: i32,
        namespace: &[u8],
        table: &'static Table,
    ) -> impl Iterator<Item = &[u8]> {
        let namespace = self.databases.get(&database).and_then(|namespaces| namespaces.get(namespace));
        let keys = namespace.and_then(|namespace| namespace.beside.get(&table.number()));
        keys.into_iter().flatten().map(|key| &**key)
    }

    fn namespace(&mut self, database: i32, name: &[u8]) -> &mut Namespace {
        self.databases.entry(database).or_default().entry_ref(name).or_default()
    }

    /// Forgets a database, or all of them.
    pub fn flush(&mut self, database: Option<i32>) {
        let flushed: Vec<_> = match database {
            Some(database) => self.databases.remove(&database).into_iter().collect(),
            None => std::mem::take(&mut self.databases).into_values().collect(),
        };
        let rows = flushed
            .into_iter()
            .flat_map(HashMap::into_values)
            .flat_map(|namespace| namespace.rows.into_values());
        self.discarded.extend(rows.map(|rows| *rows));
    }

    /// Whether many rows come at once from here on. The lists of their tables are not there before
    /// [`Catalog::list_some`] has answered that it is done.
    pub fn expect_many(&mut self, many: bool) {
        self.many = many;
    }

    /// Lists some of the rows that came in a great number. Answers whether there are more.
    pub fn list_some(&mut self) -> bool {
        const SOME: usize = 128;
        let namespaces = self.databases.values_mut().flat_map(HashMap::values_mut);
        namespaces.flat_map(|namespace| namespace.rows.values_mut()).any(|rows| rows.list_some(SOME))
    }

    /// Gives back a piece of what was flushed. Answers whether there is more.
    pub fn shed(&mut self) -> bool {
        if let Some(rows) = self.discarded.last_mut() {
            if !rows.shed() {
                self.discarded.pop();
            }
        }
        !self.discarded.is_empty()
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, first: i32, second: i32) {
        let (of_first, of_second) = (self.databases.remove(&first), self.databases.remove(&second));
        self.databases.extend(of_second.map(|database| (first, database)));
        self.databases.extend(of_first.map(|database| (second, database)));
    }

    /// Every table that has rows: database, namespace, rows.
    pub fn tables(&self) -> impl Iterator<Item = (i32, &[u8], &Rows)> {
        self.databases.iter().flat_map(|(database, namespaces)| {
            namespaces.iter().flat_map(|(name, namespace)| {
                namespace.rows.values().map(|rows| (*database, &name[..], &**rows))
            })
        })
    }

    /// What each table weighs, over all namespaces and databases, in the order of the schema.
    #[must_use]
    pub fn totals(&self, now: i64) -> Vec<(&'static Table, Totals)> {
        let mut totals: Vec<_> = TABLES.iter().map(|table| (table, Totals::default())).collect();
        for (_, _, rows) in self.tables() {
            if let Some((_, sum)) = totals.get_mut(rows.table().number()) {
                let more = rows.totals(now);
                sum.rows += more.rows;
                sum.payload_bytes += more.payload_bytes;
                sum.expiring += more.expiring;
            }
        }
        totals
    }
}

static CATALOG: Mutex<Option<Catalog>> = Mutex::new(None);

/// Looks at the catalog, or changes it. Only the server's main thread comes here, so nobody ever waits; but `act` must
/// not touch a key, since that can delete it and lead back here.
pub fn with<T>(act: impl FnOnce(&mut Catalog) -> T) -> T {
    act(CATALOG.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Gives everything back, before the module is taken out.
pub fn end() {
    drop(CATALOG.lock().unwrap_or_else(PoisonError::into_inner).take());
    follow::end();
    heal::end();
    rebuild::end();
    check::end();
}

/// The key of what is in a slot.
fn key_of(namespace: &[u8], rows: &Rows, slot: u32) -> Vec<u8> {
    keyspace::key_in(namespace, rows.table(), rows.slab().id(slot))
}
