//! Where the keys are that have to be looked at, a few at a time: what is done with each, the caller says.

use std::collections::BTreeSet;

use crate::catalog::{self, check};
use crate::keyspace;
use crate::schema::{Table, TABLES};
use crate::server::{scan, Context};

/// Which keys are walked over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Protected,
    Evictable,
}

/// How many keys are looked up in the catalog at a time.
const SOME: u32 = 16;

/// A walk over all keys of the server. The catalog may not know them yet.
#[derive(Default)]
pub struct FullWalk {
    database: i32,
    /// Where in the database; None before its first key.
    walk: Option<scan::Walk>,
    /// How many protected keys it has come by.
    pub protected: u64,
    /// All keys of the databases that it has begun.
    pub keys: u64,
}

impl FullWalk {
    /// Looks at some keys. `visit` answers whether a key is of the kind. Answers how many; None at the end.
    pub fn piece(&mut self, context: &Context<'_>, visit: impl Fn(Kind, &[u8]) -> bool) -> Option<usize> {
        let Self { database, walk, protected, keys } = self;
        let walked = context.in_database(*database, || {
            if walk.is_none() {
                *walk = scan::Walk::new();
                *keys += context.keys_of_database();
            }
            let is_ours = |key: &[u8]| keyspace::locate(key).is_some();
            let look = |key: &[u8]| {
                if visit(Kind::Protected, key) {
                    *protected += 1;
                } else {
                    visit(Kind::Evictable, key);
                }
            };
            walk.as_mut().and_then(|walk| walk.step(context, is_ours, look))
        });
        let met = walked?;
        if met.is_none() {
            *walk = None;
            *database += 1;
        }
        Some(met.unwrap_or(0))
    }
}

/// A walk over keys of a kind: the namespaces that are left, and how far the last of them is.
#[derive(Debug)]
pub struct Walk {
    kind: Kind,
    /// All databases of the walk.
    pub databases: BTreeSet<i32>,
    /// How many keys of the kind it has come by.
    pub visited: u64,
    namespaces: Vec<(i32, Vec<u8>)>,
    next: Next,
}

/// What is looked at next in a namespace.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// The rows of a table from a slot of the catalog on.
    Rows(usize, u32),
    /// The keys beside the rows of a table: so many of them were looked at.
    Beside(usize, usize),
}

impl Walk {
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        let namespaces = catalog::with(|catalog| catalog.namespaces());
        let databases = namespaces.iter().map(|(database, _)| *database).collect();
        Self { kind, databases, visited: 0, namespaces, next: Next::Rows(0, 0) }
    }

    /// The same for some keys of the kind.
    pub fn piece(&mut self, context: &Context<'_>, visit: impl Fn(Kind, &[u8]) -> bool) -> Option<u32> {
        let (database, namespace) = self.namespaces.last()?;
        let (keys, next) = match self.next {
            Next::Rows(number, slot) => {
                let Some(table) = table(number) else {
                    self.namespaces.pop();
                    self.next = Next::Rows(0, 0);
                    return Some(0);
                };
                let (keys, next) = if table.evictable == (self.kind == Kind::Evictable) {
                    let of = || check::keys_of(context, namespace, table, slot, SOME);
                    context.in_database(*database, of).unwrap_or_default()
                } else {
                    Default::default()
                };
                (keys, next.map_or(Next::Beside(number, 0), |slot| Next::Rows(number, slot)))
            }
            Next::Beside(number, passed) => {
                let keys = beside(*database, namespace, number, passed);
                let next = if keys.is_empty() {
                    Next::Rows(number + 1, 0)
                } else {
                    Next::Beside(number, passed + keys.len())
                };
                (keys, next)
            }
        };
        let visited = || keys.iter().filter(|key| visit(self.kind, key)).count();
        self.visited += context.in_database(*database, visited).unwrap_or(0) as u64;
        self.next = next;
        Some(keys.len() as u32)
    }
}

fn table(number: usize) -> Option<&'static Table> {
    TABLES.get(number)
}

/// Some of the keys beside the rows of a table.
fn beside(database: i32, namespace: &[u8], number: usize, passed: usize) -> Vec<Vec<u8>> {
    let Some(table) = table(number) else { return Vec::new() };
    catalog::with(|catalog| {
        let keys = catalog.beside(database, namespace, table).skip(passed);
        keys.take(SOME as usize).map(<[u8]>::to_vec).collect()
    })
}
