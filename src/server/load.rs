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

/// Checks that no command is missing under its name, as `rename-command` can bring about: a write could not be done to its
/// end, or not be told to replicas.
fn check_commands(context: &Context<'_>) -> Outcome<()> {
    for command in NEEDED {
        // Without arguments none of them does anything, and only one that is missing is said to be unknown.
        if let Err(failure) = context.read(command, &Words::default()) {
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

/// Whether the server survives it when the module goes. Redis 7.2 and later and Valkey apply the rules of all users anew
/// once the commands are gone, and crash at a rule that names one of them. If it does not, the log says what to do.
pub fn may_stop(context: &Context<'_>, mut commands: impl Iterator<Item = &'static Command>) -> bool {
    // SAFETY: a read of a function pointer; the servers that apply the rules anew are those that have it.
    if unsafe { raw::RedisModule_SetCommandACLCategories }.is_none() {
        return true;
    }
    let mut words = Words::with_capacity(1);
    words.bytes(b"LIST");
    // Where the command has another name nobody can tell; the server then does as it was told.
    let Ok(users) = context.read(c"ACL", &words) else { return true };
    let lines: Vec<_> = users.root().iter().map(|line| String::from_utf8_lossy(line.bytes())).collect();
    let rules: Vec<_> = lines.iter().flat_map(|line| rules_for_commands(line)).collect();
    let held = commands.find_map(|command| {
        rules
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(command.name))
            .map(|(user, _)| (user, command.name))
    });
    if let Some((user, name)) = held {
        context.warn(&format!(
            "MODULE UNLOAD is refused: this server would crash, because the access rules of user '{user}' name {name}. Take such \
             rules away first, with ACL SETUSER {user} nocommands clearselectors, or restart the server instead"
        ));
    }
    held.is_none()
}

/// The user and a command, for each rule of a line of ACL LIST that names a command.
fn rules_for_commands(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let line = line.strip_prefix("user ").unwrap_or(line);
    let (user, rules) = line.split_once(' ').unwrap_or((line, ""));
    let names = rules.split([' ', '(', ')']).filter_map(|rule| rule.strip_prefix(['+', '-']));
    names.map(move |name| (user, name.split_once('|').map_or(name, |(command, _)| command)))
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
