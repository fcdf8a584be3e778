//! The persisted index sets follow the rows, also where a client that knows nothing of them writes.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};

use super::facts::Facts;
use crate::keyspace::{self, Address};
use crate::server::Context;
use crate::store::indexes::{self, Sets};

/// How many rows that were postponed are taken up again at a time.
const AGAIN: usize = 100;

/// Rows whose index entries could not be written when that was due: database and key.
static POSTPONED: Mutex<BTreeSet<(i32, Vec<u8>)>> = Mutex::new(BTreeSet::new());
/// The one after which the next are taken up again.
static TAKEN: Mutex<Option<(i32, Vec<u8>)>> = Mutex::new(None);

/// Makes the index entries of a row of the selected database what the row says; `facts` are None where there is none.
/// Does nothing on a replica.
pub fn entries(context: &Context<'_>, address: &Address<'_>, id: &[u8], facts: Option<&Facts>) {
    if context.follows() || is_scattered(context, address) {
        return;
    }
    if context.must_not_write() || !may_write(context, address, id) {
        // While a slot moves, a row that is gone here is on the other node, and so will its index be. What is not here
        // needs nothing.
        if facts.is_some() || indexes::keys(address, id).any(|index| !context.inspect(&index).is_missing()) {
            postponed(|rows| rows.insert((context.database(), address.row(id))));
        }
        return;
    }
    // A foreign value at the key of an index: nothing to be done here, and MIROIR.AUDIT tells of it.
    let _ = match facts {
        Some(facts) => {
            let belongs = indexes::subset_of(address.table, |field| facts.value(address.table, field));
            Sets::of(address, id).add(context, id, belongs)
        }
        None => Sets::of(address, id).remove(context, id),
    };
}

/// Whether the rows of a namespace and their index sets are in any slot of a cluster: then they are what the clients without the
/// module make of them.
fn is_scattered(context: &Context<'_>, address: &Address<'_>) -> bool {
    context.in_cluster() && !keyspace::has_hash_tag(address.namespace)
}

/// Whether a row and its indexes are all on this node, for good.
fn may_write(context: &Context<'_>, address: &Address<'_>, id: &[u8]) -> bool {
    !context.in_cluster() || context.reach(indexes::keys(address, id).chain([address.row(id)])).is_ok()
}

/// Takes up some of what was postponed.
pub fn again(context: &Context<'_>) {
    if context.must_not_write() {
        return;
    }
    // Round by round, so that those which have to wait longer do not keep the others waiting.
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let some: Vec<_> = postponed(|rows| {
        let from = taken.take().map_or(Bound::Unbounded, Bound::Excluded);
        let some: Vec<_> = rows.range((from, Bound::Unbounded)).take(AGAIN).cloned().collect();
        some.iter().for_each(|row| {
            rows.remove(row);
        });
        some
    });
    *taken = some.last().cloned();
    drop(taken);
    for (database, key) in some {
        context.in_database(database, || {
            let facts = super::follow::look(context, &key);
            if let Some((address, id)) = keyspace::row(&key) {
                entries(context, &address, id, facts.as_ref());
            }
        });
    }
}

fn postponed<T>(act: impl FnOnce(&mut BTreeSet<(i32, Vec<u8>)>) -> T) -> T {
    act(&mut POSTPONED.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Forgets what was postponed: the data are others now, or nobody will take it up.
pub(super) fn end() {
    postponed(BTreeSet::clear);
}
