//! Writes of other clients: what they mean for what the module remembers.

use std::ffi::CStr;

use super::{buffers, leases};
use crate::keyspace::{self, Place};
use crate::server::events::DatabaseEvent;
use crate::server::{call, Arg, Context};

/// Notes that a key was written. To be called for every keyspace event.
pub fn key_changed(context: &Context<'_>, event: &CStr, key: Arg<'_>) {
    // A replica and a loading server repeat what a master has decided, whoever made it decide.
    if call::is_writing() || !may_matter(key.bytes()) || context.follows() {
        return;
    }
    let Some(address) = keyspace::locate(key.bytes()) else { return };
    match (address.table.name, address.place) {
        (buffers::TABLE, Place::Row(_)) => buffers::list_changed(context, event, key.bytes()),
        (leases::TABLE, Place::Row(_)) => leases::touched(context, event, key.bytes()),
        _ => {}
    }
}

/// Follows an event of whole databases.
pub fn database_changed(event: DatabaseEvent) {
    buffers::database_changed(event);
    leases::database_changed(event);
}

/// How many keys the module remembers, and about how many bytes that takes.
#[must_use]
pub fn remembered() -> (usize, usize) {
    let (buffers, leases) = (buffers::remembered(), leases::remembered());
    (buffers.0 + leases.0, buffers.1 + leases.1)
}

/// Rules out most keys without taking them apart.
fn may_matter(key: &[u8]) -> bool {
    key.windows(5).any(|part| part == b":cdc:" || part == b":leas")
}
