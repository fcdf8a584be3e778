//! What the keys say, kept in memory: every row of every table, in every namespace and database. LIST, COUNT, PRUNE
//! and MEMORY are answered from here, in the time of their answer and not of the table.
//!
//! The catalog is derived and never stored. [`follow`] keeps it true, whoever writes the keys; [`rebuild`] makes it
//! anew where nobody could watch; [`check`] looks for differences all the time. The parts below them are pure.

pub mod check;
pub mod claims;
pub mod directory;
pub mod facts;
pub mod follow;
pub mod gathered;
pub mod heal;
pub mod lists;
pub mod ordered;
pub mod read;
pub mod rebuild;
pub mod select;
pub mod slab;
pub mod table;
pub mod volatile;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

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

/// Where a table is: database, namespace, number.
type TablePlace = (i32, Vec<u8>, usize);

/// The namespaces of one database.
type Namespaces = BTreeMap<Vec<u8>, Namespace>;

/// Every row of every table.
#[derive(Debug, Default)]
pub struct Catalog {
    databases: BTreeMap<i32, Namespaces>,
    /// What the tables hold together, by their numbers; rows whose time is up included.
    sums: [Totals; TABLES.len()],
    /// Whether rows of new tables come in a great number.
    many: bool,
    /// Tables whose rows came in a great number, and are not listed yet.
    unlisted: Vec<TablePlace>,
    /// What a flush left behind, to be given back piece by piece.
    discarded: Vec<Rows>,
    discarded_databases: Vec<Namespaces>,
}

impl Catalog {
    /// The rows of a table, if it has any.
    #[must_use]
    pub fn rows(&self, database: i32, namespace: &[u8], table: &'static Table) -> Option<&Rows> {
        self.databases.get(&database)?.get(namespace)?.rows.get(&table.number()).map(|rows| &**rows)
    }

    /// The same, with the claims looked through that have run out at `now`, in ms.
    pub fn rows_to_claim(
        &mut self,
        database: i32,
        namespace: &[u8],
        table: &'static Table,
        now: i64,
    ) -> Option<&Rows> {
        let rows = self.databases.get_mut(&database)?.get_mut(namespace)?.rows.get_mut(&table.number())?;
        rows.lapse(now);
        Some(rows)
    }

    /// Takes over what is known of a row.
    pub fn put(&mut self, database: i32, address: &Address<'_>, id: &[u8], facts: &Facts) {
        let (table, number, many) = (address.table, address.table.number(), self.many);
        in_namespace(&mut self.databases, database, address.namespace, |namespace| {
            let rows = namespace.rows.entry(number).or_insert_with(|| {
                if many {
                    self.unlisted.push((database, address.namespace.to_vec(), number));
                }
                Box::new(Rows::new(table, many))
            });
            let before = rows.sums();
            rows.put(id, facts);
            self.sums[number].replace(before, rows.sums());
        });
    }

    /// Takes over the bytes of a structure that were counted just now, key and all.
    pub fn count(&mut self, database: i32, namespace: &[u8], table: &'static Table, id: &[u8], payload: u64) {
        let Some(namespace) = self.databases.get_mut(&database).and_then(|names| names.get_mut(namespace))
        else {
            return;
        };
        if let Some(rows) = namespace.rows.get_mut(&table.number()) {
            let before = rows.sums();
            rows.count(id, payload);
            self.sums[table.number()].replace(before, rows.sums());
        }
    }

    /// Forgets a row. Answers whether it was known.
    pub fn remove(&mut self, database: i32, address: &Address<'_>, id: &[u8]) -> bool {
        let number = address.table.number();
        let Some(namespaces) = self.databases.get_mut(&database) else { return false };
        let Some(namespace) = namespaces.get_mut(address.namespace) else { return false };
        let Some(rows) = namespace.rows.get_mut(&number) else { return false };
        let before = rows.sums();
        let was_known = rows.remove(id);
        self.sums[number].replace(before, rows.sums());
        if rows.is_empty() {
            namespace.rows.remove(&number);
            if namespace.is_empty() {
                namespaces.remove(address.namespace);
            }
        }
        was_known
    }

    /// Notes whether a key beside the rows of a table is there.
    pub fn note_beside(&mut self, database: i32, address: &Address<'_>, key: &[u8], is_there: bool) {
        let number = address.table.number();
        if is_there {
            in_namespace(&mut self.databases, database, address.namespace, |namespace| {
                let keys = namespace.beside.entry(number).or_default();
                if !keys.contains(key) {
                    keys.insert(key.into());
                }
            });
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

    /// Forgets a database, or all of them.
    pub fn flush(&mut self, database: Option<i32>) {
        match database {
            Some(database) => {
                let flushed = self.databases.remove(&database).unwrap_or_default();
                for (number, rows) in flushed.values().flat_map(|namespace| &namespace.rows) {
                    self.sums[*number].replace(rows.sums(), Totals::default());
                }
                self.discarded_databases.push(flushed);
            }
            None => {
                self.discarded_databases.extend(std::mem::take(&mut self.databases).into_values());
                self.sums = Default::default();
            }
        }
    }

    /// Whether many rows come at once from here on. The lists of their tables are not there before
    /// [`Catalog::list_some`] has answered that it is done.
    pub fn expect_many(&mut self, many: bool) {
        self.many = many;
    }

    /// Lists some of the rows that came in a great number. Answers whether there are more.
    pub fn list_some(&mut self) -> bool {
        const SOME: usize = 32;
        if let Some((database, namespace, number)) = self.unlisted.last() {
            let namespace = self.databases.get_mut(database).and_then(|names| names.get_mut(namespace));
            let rows = namespace.and_then(|namespace| namespace.rows.get_mut(number));
            if !rows.is_some_and(|rows| rows.list_some(SOME)) {
                self.unlisted.pop();
            }
        }
        !self.unlisted.is_empty()
    }

    /// Gives back a piece of what was flushed. Answers whether there is more.
    pub fn shed(&mut self) -> bool {
        if let Some(rows) = self.discarded.last_mut() {
            if !rows.shed() {
                self.discarded.pop();
            }
        } else if let Some(namespaces) = self.discarded_databases.last_mut() {
            match namespaces.pop_last() {
                Some((_, namespace)) => self.discarded.extend(namespace.rows.into_values().map(|rows| *rows)),
                None => {
                    self.discarded_databases.pop();
                }
            }
        }
        !self.discarded.is_empty() || !self.discarded_databases.is_empty()
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, first: i32, second: i32) {
        let (of_first, of_second) = (self.databases.remove(&first), self.databases.remove(&second));
        self.databases.extend(of_second.map(|database| (first, database)));
        self.databases.extend(of_first.map(|database| (second, database)));
        for (database, _, _) in &mut self.unlisted {
            *database = match *database {
                database if database == first => second,
                database if database == second => first,
                database => database,
            };
        }
    }

    /// Every namespace, with its database.
    #[must_use]
    pub fn namespaces(&self) -> Vec<(i32, Vec<u8>)> {
        let of = |database: i32, names: &Namespaces| -> Vec<_> {
            names.keys().map(|name| (database, name.clone())).collect()
        };
        self.databases.iter().flat_map(|(database, names)| of(*database, names)).collect()
    }

    /// Every table that has rows, with its database and its namespace.
    pub fn tables(&self) -> impl Iterator<Item = (i32, &[u8], &Rows)> {
        self.tables_from(i32::MIN, b"")
    }

    /// The same from a namespace of a database on, in their order.
    pub fn tables_from<'c>(
        &'c self,
        database: i32,
        namespace: &'c [u8],
    ) -> impl Iterator<Item = (i32, &'c [u8], &'c Rows)> {
        self.databases.range(database..).flat_map(move |(at, namespaces)| {
            let first = if *at == database { namespace } else { b"" };
            let from = (std::ops::Bound::Included(first), std::ops::Bound::Unbounded);
            namespaces
                .range::<[u8], _>(from)
                .flat_map(|(name, namespace)| namespace.rows.values().map(|rows| (*at, &name[..], &**rows)))
        })
    }

    /// What each table holds, over all namespaces and databases, in the order of the schema. Rows whose time is up are
    /// among them until the next run of the server's cron.
    pub fn sums(&self) -> impl Iterator<Item = (&'static Table, Totals)> + '_ {
        TABLES.iter().zip(self.sums)
    }
}

/// Changes a namespace, which begins to exist with that.
fn in_namespace<T>(
    databases: &mut BTreeMap<i32, Namespaces>,
    database: i32,
    name: &[u8],
    act: impl FnOnce(&mut Namespace) -> T,
) -> T {
    let namespaces = databases.entry(database).or_default();
    // An entry would copy the name each time.
    if let Some(namespace) = namespaces.get_mut(name) {
        return act(namespace);
    }
    act(namespaces.entry(name.to_vec()).or_default())
}

/// The one of this server.
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
