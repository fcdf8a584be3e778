//! The start of the module.

use std::ffi::CStr;
use std::os::raw::c_int;
use std::panic::{catch_unwind, AssertUnwindSafe};

use redis_module::raw;

use super::command::Command;
use super::entry::log_panics;
use super::events::{self, DatabaseEvent};
use super::info::{self as about, Info};
use super::register;
use super::{alloc, config, string, Arg, Context, Words};
use crate::errors::{Failure, Outcome};

/// Introduces the module to the server. From here on the server's functions are there. None when the server wants
/// nothing to do with it.
///
/// # Safety
/// `context` is the one that the server loads this module with.
pub unsafe fn init<'a>(
    context: *mut raw::RedisModuleCtx,
    name: &CStr,
    version: c_int,
) -> Option<Context<'a>> {
    // SAFETY: by the caller's promise; the server copies the name. Nothing has been allocated so far: the
    // allocator finds the server's functions from here on.
    let status = unsafe {
        raw::Export_RedisModule_Init(context, name.as_ptr(), version, raw::REDISMODULE_APIVER_1 as c_int)
    };
    if status != raw::REDISMODULE_OK as c_int {
        return None;
    }
    // SAFETY: by the caller's promise, on the main thread.
    unsafe { Context::from_ptr(context) }
}

/// Sees to it that the module was loaded without arguments: whoever gives some means a setting, and would think that it is set.
pub fn no_arguments(context: &Context<'_>, count: c_int) -> Option<()> {
    if count > 0 {
        context.warn(
            "the module takes no arguments: settings stand in the configuration, such as miroir.max-field-bytes 1048576",
        );
        return None;
    }
    Some(())
}

/// Starts the module: its settings, its commands, its ears. `key_changed` is called after each change of a key that
/// `is_wanted`, `database_changed` after each event of whole databases, `cron` now and then, `info` for every INFO.
/// None when something was refused; the reason is in the server's log.
pub fn start<W, K, D, C, I>(
    context: &Context<'_>,
    commands: impl Iterator<Item = &'static Command>,
    is_wanted: W,
    key_changed: K,
    database_changed: D,
    cron: C,
    info: I,
) -> Option<()>
where
    W: Fn(&[u8]) -> bool + Copy + 'static,
    K: Fn(&Context<'_>, &CStr, Arg<'_>) + Copy + 'static,
    D: Fn(&Context<'_>, DatabaseEvent) + Copy + 'static,
    C: Fn(&Context<'_>) + Copy + 'static,
    I: Fn(&mut Info) + Copy + 'static,
{
    log_panics();
    let started = catch_unwind(AssertUnwindSafe(|| {
        check_commands(context)?;
        declare_options(context);
        config::register(context)?;
        for command in commands {
            register::register(context, command)?;
        }
        events::on_key_change(context, is_wanted, key_changed)?;
        events::on_database_event(context, database_changed)?;
        events::on_cron(context, cron)?;
        about::on_info(context, info)
    }));
    match started {
        Ok(Ok(())) => Some(()),
        Ok(Err(failure)) => {
            context.warn(failure.text());
            None
        }
        Err(_) => None,
    }
}

/// The native commands that the module works with.
pub const NEEDED: &[&CStr] = &[
    c"DEL",
    c"EXISTS",
    c"HDEL",
    c"HGETALL",
    c"HMGET",
    c"HSET",
    c"INCRBY",
    c"LPUSH",
    c"LTRIM",
    c"MEMORY",
    c"PERSIST",
    c"PEXPIREAT",
    c"PUBLISH",
    c"RPOP",
    c"SADD",
    c"SCAN",
    c"SET",
    c"SISMEMBER",
    c"SREM",
    c"SSCAN",
    c"ZADD",
    c"ZCOUNT",
    c"ZRANGE",
    c"ZRANGEBYSCORE",
    c"ZREMRANGEBYRANK",
    c"ZREMRANGEBYSCORE",
    c"ZREVRANGEBYSCORE",
];

/// What the server writes around several writes of one command.
const AROUND: &[&CStr] = &[c"MULTI", c"EXEC"];

/// Checks that no command is missing under its name, as `rename-command` can bring about: a write could not be done to its
/// end, or not be told to replicas.
fn check_commands(context: &Context<'_>) -> Outcome<()> {
    // Without arguments none of these does anything, and with one not of those; only one that is missing is said to be unknown.
    let needed = NEEDED.iter().map(|command| (command, 0));
    for (command, words) in needed.chain(AROUND.iter().map(|command| (command, 1))) {
        let mut arguments = Words::with_capacity(words);
        for _ in 0..words {
            arguments.bytes(b"");
        }
        if let Err(failure) = context.read(command, &arguments) {
            if failure.text().contains("nknown") {
                let name = command.to_string_lossy();
                return Err(Failure::refused(format_args!(
                    "the module needs the command {name} under its own name"
                )));
            }
        }
    }
    Ok(())
}

/// The context that the server loads or unloads the module with.
///
/// # Safety
/// `pointer` is that context, and the call is on the main thread.
#[must_use]
pub unsafe fn context<'a>(pointer: *mut raw::RedisModuleCtx) -> Option<Context<'a>> {
    // SAFETY: by the caller's promise.
    unsafe { Context::from_ptr(pointer) }
}

/// Gives back what the server does not know of.
pub fn stop() {
    string::forget_names();
    drop(std::panic::take_hook());
    alloc::forget_kept();
}

/// Tells the server that the module can live with a data set that is loaded beside the old one and put in its
/// place: otherwise `repl-diskless-load swapdb` would be off for the whole server. And that the module says itself
/// which key it has changed: without this every handle that is open for writing would count as a change when it is closed.
fn declare_options(context: &Context<'_>) {
    // SAFETY: a read of a function pointer that the server's init has set.
    if let Some(set) = unsafe { raw::RedisModule_SetModuleOptions } {
        const OPTIONS: u32 = raw::REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD
            | raw::REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED;
        // SAFETY: called while the module loads.
        unsafe { set(context.as_ptr(), OPTIONS as i32) };
    }
}
