//! Miroir's task store, inside the server: a module for Redis 7.0 and later and for Valkey 8 and later.
//!
//! The rooms, from the bottom up: [`errors`], [`schema`], [`keyspace`] and [`rules`] are pure; [`server`] holds
//! all contact with the C API; [`store`] works on keys through it; [`catalog`] knows every row; [`care`] looks after
//! whole task stores; [`commands`] parse, act and reply; [`watch`] hands on what the server tells.

#![warn(missing_docs)]
// A panic in a handler becomes an error reply, but may leave a write half done: so there are none.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod care;
pub mod catalog;
pub mod commands;
pub mod errors;
pub mod keyspace;
pub mod rules;
pub mod schema;
pub mod server;
pub mod store;
pub mod watch;

use std::os::raw::c_int;

use redis_module::raw;
use server::alloc::ServerAllocator;
use server::{load, unload};

/// The version as the server shows it: major, minor and patch with two digits each.
const VERSION: c_int = 100;

#[global_allocator]
static ALLOCATOR: ServerAllocator = ServerAllocator;

/// The server calls this when it loads the module.
///
/// # Safety
/// For the server alone, with a context of its own.
#[no_mangle]
#[allow(non_snake_case, reason = "the server looks for this name")]
pub unsafe extern "C" fn RedisModule_OnLoad(
    context: *mut raw::RedisModuleCtx,
    _argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int {
    // SAFETY: by the caller's promise.
    unsafe { load::init(context, c"miroir", VERSION) }
        .and_then(|context| {
            load::no_arguments(&context, argc)?;
            load::start(
                &context,
                commands::all(),
                keyspace::may_be_ours,
                watch::key_changed,
                watch::database_changed,
                watch::cron,
                commands::info::info,
            )?;
            watch::begin(&context);
            Some(())
        })
        .map_or_else(
            || {
                load::stop();
                raw::REDISMODULE_ERR as c_int
            },
            |()| raw::REDISMODULE_OK as c_int,
        )
}

/// The server calls this before it takes the module out.
///
/// # Safety
/// For the server alone, with a context of its own.
#[no_mangle]
#[allow(non_snake_case, reason = "the server looks for this name")]
pub unsafe extern "C" fn RedisModule_OnUnload(context: *mut raw::RedisModuleCtx) -> c_int {
    // SAFETY: by the caller's promise.
    let Some(context) = (unsafe { load::context(context) }) else { return raw::REDISMODULE_ERR as c_int };
    if !unload::may_stop(&context, commands::all()) {
        return raw::REDISMODULE_ERR as c_int;
    }
    watch::end(&context);
    load::stop();
    raw::REDISMODULE_OK as c_int
}
