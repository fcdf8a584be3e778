//! The start of the module.

use std::ffi::CStr;
use std::panic::{catch_unwind, AssertUnwindSafe};

use redis_module::{raw, Status};

use super::entry::log_panics;
use super::events::{self, DatabaseEvent};
use super::register::{self, Command};
use super::{config, Arg, Context};

/// Starts the module: its settings, its commands, its ears. `key_changed` is called after each change of a key,
/// `database_changed` after each event of whole databases.
///
/// The server throws the module out again if this does not answer Ok; the reason is in its log.
pub fn start<K, D>(
    context: &redis_module::Context,
    commands: impl Iterator<Item = &'static Command>,
    key_changed: K,
    database_changed: D,
) -> Status
where
    K: Fn(&Context<'_>, &CStr, Arg<'_>) + Copy + 'static,
    D: Fn(DatabaseEvent) + Copy + 'static,
{
    log_panics();
    // SAFETY: the server's context is valid while it loads the module, on the main thread.
    let Some(context) = (unsafe { Context::from_ptr(context.ctx) }) else { return Status::Err };
    let started = catch_unwind(AssertUnwindSafe(|| {
        declare_options(&context);
        config::register(&context)?;
        for command in commands {
            register::register(&context, command)?;
        }
        events::on_key_change(&context, key_changed)?;
        events::on_database_event(&context, database_changed)
    }));
    match started {
        Ok(Ok(())) => Status::Ok,
        Ok(Err(failure)) => {
            context.warn(failure.text());
            Status::Err
        }
        Err(_) => Status::Err,
    }
}

/// Tells the server that the module can live with a data set that is loaded beside the old one and put in its
/// place: otherwise `repl-diskless-load swapdb` would be off for the whole server.
fn declare_options(context: &Context<'_>) {
    // SAFETY: a read of a function pointer that the server's init has set.
    if let Some(set) = unsafe { raw::RedisModule_SetModuleOptions } {
        // SAFETY: called while the module loads.
        unsafe { set(context.as_ptr(), raw::REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD as i32) };
    }
}
