//! After a replica became the primary, and after the server loaded its data: a server may have died between a write of
//! another client and the index entries that belong to it, and rows whose time ran out while nobody was there left theirs
//! behind. One walk over the rows and over the index sets makes them agree, some milliseconds at a time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::audit;
use crate::catalog::{self, check, follow, heal, rebuild};
use crate::keyspace;
use crate::schema::{Index, Table, TABLES};
use crate::server::Context;

/// How long a piece of the walk takes, in each run of the server's cron.
const PIECE: Duration = Duration::from_millis(2);
/// How many rows, or entries, are looked at before the clock is.
const SOME: u32 = 16;

/// What is looked at next in a namespace.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// The rows of a table from a slot of the catalog on.
    Rows(usize, u32),
    /// The members of the index sets, from a cursor on.
    Entries(u64),
}

/// The namespaces that are left, and how far the last of them is.
#[derive(Debug)]
struct Walk {
    namespaces: Vec<(i32, Vec<u8>)>,
    next: Next,
}

static WALK: Mutex<Option<Walk>> = Mutex::new(None);

fn state<T>(act: impl FnOnce(&mut Option<Walk>) -> T) -> T {
    act(&mut WALK.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Begins, if the server is a primary now.
pub fn begin(context: &Context<'_>) {
    let namespaces = || catalog::with(|catalog| catalog.namespaces());
    let walk = (!context.follows()).then(|| Walk { namespaces: namespaces(), next: Next::Rows(0, 0) });
    state(|state| *state = walk);
}

/// Goes on for a moment.
pub fn go_on(context: &Context<'_>) {
    let end = Instant::now() + PIECE;
    if context.must_not_write() || rebuild::is_running() {
        return;
    }
    let Some(mut walk) = state(Option::take) else { return };
    while Instant::now() < end {
        if !walk.piece(context) {
            return;
        }
    }
    state(|state| *state = Some(walk));
}

impl Walk {
    /// A little more. Answers whether that was not all.
    fn piece(&mut self, context: &Context<'_>) -> bool {
        let Some((database, namespace)) = self.namespaces.last() else { return false };
        let next = context.in_database(*database, || match self.next {
            Next::Rows(number, slot) => Some(rows(context, namespace, number, slot)),
            Next::Entries(cursor) => audit::mend_entries(context, namespace, cursor, SOME).map(Next::Entries),
        });
        match next.flatten() {
            Some(next) => self.next = next,
            None => {
                self.namespaces.pop();
                self.next = Next::Rows(0, 0);
            }
        }
        true
    }
}

fn rows(context: &Context<'_>, namespace: &[u8], number: usize, slot: u32) -> Next {
    let Some(table): Option<&'static Table> = TABLES.get(number) else { return Next::Entries(0) };
    if table.index == Index::None {
        return Next::Rows(number + 1, 0);
    }
    let (keys, next) = check::keys_of(context, namespace, table, slot, SOME);
    for key in keys {
        let facts = follow::look(context, &key);
        if let Some((address, id)) = keyspace::row(&key) {
            heal::entries(context, &address, id, facts.as_ref());
        }
    }
    next.map_or(Next::Rows(number + 1, 0), |slot| Next::Rows(number, slot))
}

/// Gives everything back.
pub fn end() {
    state(|state| *state = None);
}
