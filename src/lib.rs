//! Miroir's task store, inside the server: a module for Redis 7.0 and later and for Valkey 8 and later.
//!
//! The rooms, from the bottom up: [`errors`], [`schema`], [`keyspace`] and [`rules`] are pure; [`server`] holds
//! all contact with the C API; [`store`] works on keys through it; [`care`] looks after whole task stores;
//! [`commands`] parse, act and reply.

#![warn(missing_docs)]
// A panic in a handler becomes an error reply, but may leave a write half done: so there are none.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod care;
pub mod commands;
pub mod errors;
pub mod keyspace;
pub mod rules;
pub mod schema;
pub mod server;
pub mod store;

use redis_module::{RedisString, Status};

/// The version as the server shows it: major, minor and patch with two digits each.
const VERSION: i32 = 100;

fn init(context: &redis_module::Context, _arguments: &[RedisString]) -> Status {
    server::load::start(context, commands::all(), store::watch::key_changed, store::watch::database_changed)
}

/// The functions by which the server starts and ends the module.
#[allow(missing_docs, reason = "the macro writes them")]
mod module {
    use super::server::alloc::ServerAllocator;
    use super::{init, VERSION};

    redis_module::redis_module! {
        name: "miroir",
        version: VERSION,
        allocator: (ServerAllocator, ServerAllocator),
        data_types: [],
        init: init,
    }
}
