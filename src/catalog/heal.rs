//! The persisted index sets follow the rows, also where a client that knows nothing of them writes.

use std::sync::{Mutex, PoisonError};

use super::facts::Facts;
use crate::keyspace::Address;
use crate::server::Context;
use crate::store::indexes;

/// Keys that were to be looked after while nothing could be written.
static POSTPONED: Mutex<Vec<(i32, Vec<u8>)>> = Mutex::new(Vec::new());

/// Makes the index entries of a row of the selected database what the row says; `facts` are None where there is none.
/// Does nothing on a replica.
pub fn entries(context: &Context<'_>, address: &Address<'_>, id: &[u8], facts: Option<&Facts>) {
    if context.follows() {
        return;
    }
    if context.must_not_write() {
        postponed(|keys| keys.push((context.database(), address.row(id))));
        return;
    }
    // A foreign value at the key of an index, or a slot that is on its way to another node: nothing to be done here,
    // and MIROIR.AUDIT tells of it.
    let _ = match facts {
        Some(facts) => {
            let belongs = indexes::subset_of(address.table, |field| facts.value(address.table, field));
            indexes::add(context, address, id, belongs)
        }
        None => indexes::remove(context, address, id),
    };
}

/// Takes up what was postponed.
pub fn again(context: &Context<'_>) {
    if postponed(|keys| keys.is_empty()) || context.must_not_write() {
        return;
    }
    for (database, key) in postponed(std::mem::take) {
        context.in_database(database, || {
            let facts = super::follow::look(context, &key);
            if let Some((address, id)) = crate::keyspace::row(&key) {
                entries(context, &address, id, facts.as_ref());
            }
        });
    }
}

fn postponed<T>(act: impl FnOnce(&mut Vec<(i32, Vec<u8>)>) -> T) -> T {
    act(&mut POSTPONED.lock().unwrap_or_else(PoisonError::into_inner))
}
