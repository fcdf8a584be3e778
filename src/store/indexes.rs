//! The persisted sets that list the ids of a table.

use std::ffi::CStr;

use crate::errors::Outcome;
use crate::keyspace::Address;
use crate::schema::{Index, Table};
use crate::server::{Context, KeyType, Words};

/// Whether a row belongs to the table's subset; None for a table without one. `value_of` reads a field of the row.
#[must_use]
pub fn subset_of<'v>(table: &Table, value_of: impl FnOnce(&str) -> Option<&'v [u8]>) -> Option<bool> {
    let Index::AllAnd(subset) = table.index else { return None };
    Some(value_of(subset.field) == Some(subset.value.as_bytes()))
}

/// The keys of the sets that list a row, or may list it.
pub fn keys(address: &Address<'_>, id: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    address.index_of(id).into_iter().chain(subset_key(address))
}

/// Checks that the keys of the indexes hold sets or nothing, and can be written.
///
/// # Errors
/// WRONGTYPE for a foreign value, TRYAGAIN for a key that is on another node.
pub fn check(context: &Context<'_>, address: &Address<'_>, id: &[u8]) -> Outcome<()> {
    for key in keys(address, id) {
        context.peek(&key).expect(KeyType::Set)?;
    }
    // With the row itself: of a single key a node to which the slot moves would say that it is simply not there.
    let index = address.index_of(id).map(|_| address.row(id));
    context.reach(keys(address, id).chain(index))
}

/// Lists an id, and in the subset, if `in_subset` says so, as well; or takes it out of the subset.
///
/// # Errors
/// The server's own.
pub fn add(context: &Context<'_>, address: &Address<'_>, id: &[u8], in_subset: Option<bool>) -> Outcome<()> {
    if let Some(index) = address.index_of(id) {
        change(context, c"SADD", &index, id)?;
    }
    if let (Some(key), Some(member)) = (subset_key(address), in_subset) {
        change(context, if member { c"SADD" } else { c"SREM" }, &key, id)?;
    }
    Ok(())
}

/// Takes an id out of all sets.
///
/// # Errors
/// The server's own.
pub fn remove(context: &Context<'_>, address: &Address<'_>, id: &[u8]) -> Outcome<()> {
    if let Some(index) = address.index_of(id) {
        change(context, c"SREM", &index, id)?;
    }
    if let Some(key) = subset_key(address) {
        change(context, c"SREM", &key, id)?;
    }
    Ok(())
}

/// The key of the set of the rows that are in the table's subset; None for a table without one.
#[must_use]
pub fn subset_key(address: &Address<'_>) -> Option<Vec<u8>> {
    match address.table.index {
        Index::AllAnd(subset) => Some(address.row(subset.suffix.as_bytes())),
        _ => None,
    }
}

/// Adds a member to a set, or takes it out.
///
/// # Errors
/// The server's own.
pub fn change(context: &Context<'_>, command: &CStr, set: &[u8], id: &[u8]) -> Outcome<()> {
    let mut words = Words::with_capacity(2);
    words.bytes(set).bytes(id);
    context.write(command, &words).map(|_| ())
}
