//! What the server tells of its own accord, handed on to those whom it concerns.

use std::ffi::CStr;

use crate::care::{aftermath, protection, vigil};
use crate::catalog::{self, follow, rebuild};
use crate::keyspace::{self, Place};
use crate::server::events::DatabaseEvent;
use crate::server::{call, Arg, Context};
use crate::store::{buffers, leases};

/// Gets to know a server into which the module was loaded just now.
pub fn begin(context: &Context<'_>) {
    rebuild::begin(context);
    protection::reconsider(context);
}

/// Notes that a key was written. To be called for every keyspace event.
pub fn key_changed(context: &Context<'_>, event: &CStr, key: Arg<'_>) {
    let name = key;
    let key = key.bytes();
    let (is_told, is_at_work) = (follow::is_told(key), protection::is_at_work(context));
    if is_told && !is_at_work {
        return;
    }
    let Some(address) = keyspace::locate(key) else { return };
    protection::key_changed(context, event, name, &address);
    if is_told {
        return;
    }
    follow::key_changed(context, event.to_bytes(), key, &address);
    let handler = match (address.table.name, address.place) {
        (buffers::TABLE, Place::Row(_)) => buffers::list_changed,
        (buffers::TABLE, Place::Side(segment, sink)) => {
            if !call::is_writing() && !context.follows() {
                buffers::counter_changed(context, event, segment, &address.row(sink));
            }
            return;
        }
        (leases::TABLE, Place::Row(_)) => leases::touched,
        (leases::TABLE, Place::Reserved(_)) => {
            |context: &Context<'_>, _: &CStr, _: &[u8]| leases::records_touched(context)
        }
        _ => return,
    };
    // A replica and a loading server repeat what a master has decided, whoever made it decide.
    if !call::is_writing() && !context.follows() {
        handler(context, event, key);
    }
}

/// Follows an event of whole databases.
pub fn database_changed(context: &Context<'_>, event: DatabaseEvent) {
    follow::database_changed(context, event);
    if matches!(event, DatabaseEvent::RoleChanged | DatabaseEvent::LoadEnds) {
        aftermath::begin(context);
    }
    protection::database_changed(context, event);
    buffers::database_changed(event);
    leases::database_changed(event);
    vigil::database_changed(event);
}

/// What is to be done now and then.
pub fn cron(context: &Context<'_>) {
    follow::cron(context);
    aftermath::go_on(context);
    vigil::go_on(context);
    protection::cron(context);
}

/// Forgets everything, before the module is taken out.
pub fn end(context: &Context<'_>) {
    buffers::database_changed(DatabaseEvent::RoleChanged);
    leases::database_changed(DatabaseEvent::RoleChanged);
    aftermath::end();
    vigil::end();
    protection::end(context);
    catalog::end();
}
