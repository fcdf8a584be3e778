//! What the server tells of its own accord: changes of keys, flushes, swaps, loading.

use std::ffi::CStr;
use std::os::raw::{c_char, c_int, c_void};

use redis_module::raw;

use super::entry::guard;
use super::{Arg, Context};
use crate::errors::{Failure, Outcome};

/// Something that happened to whole databases, or to the server, for which it fires no events of single keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseEvent {
    /// A database, or all of them, was emptied.
    Flushed(Option<i32>),
    /// Two databases changed places.
    Swapped(i32, i32),
    /// The server begins to load its data, from disk or from its master.
    LoadBegins,
    /// The data are loaded, or could not be.
    LoadEnds,
    /// The server begins to load a data set of its master beside its own, which it goes on serving.
    LoadBesideBegins,
    /// The data set that was loaded beside took the place of the server's own, or was thrown away.
    LoadBesideEnds {
        /// Whether the data are others now.
        replaced: bool,
    },
    /// The server became a master or a replica.
    RoleChanged,
    /// Someone changed settings of the server, perhaps those of a module.
    SettingsChanged,
}

/// Calls `handler` with the name of the event and of the key after each change of a key whose name passes `wanted`,
/// whoever made it. `wanted` is asked for every key of the server, so it has to be quick.
///
/// # Errors
/// When the server refuses the subscription.
pub fn on_key_change<W, F>(context: &Context<'_>, _wanted: W, _handler: F) -> Outcome<()>
where
    W: Fn(&[u8]) -> bool + Copy + 'static,
    F: Fn(&Context<'_>, &CStr, Arg<'_>) + Copy + 'static,
{
    const { assert!(size_of::<W>() == 0, "a test is a plain function, not a closure over data") };
    const { assert!(size_of::<F>() == 0, "a handler is a plain function, not a closure over data") };
    const KINDS: u32 = raw::REDISMODULE_NOTIFY_GENERIC as u32
        | raw::REDISMODULE_NOTIFY_STRING as u32
        | raw::REDISMODULE_NOTIFY_LIST as u32
        | raw::REDISMODULE_NOTIFY_SET as u32
        | raw::REDISMODULE_NOTIFY_HASH as u32
        | raw::REDISMODULE_NOTIFY_ZSET as u32
        | raw::REDISMODULE_NOTIFY_MODULE as u32
        | raw::REDISMODULE_NOTIFY_LOADED as u32
        | raw::REDISMODULE_NOTIFY_EXPIRED as u32
        | raw::REDISMODULE_NOTIFY_EVICTED as u32;
    // SAFETY: a read of a function pointer that the server's init has set.
    let subscribe = unsafe { raw::RedisModule_SubscribeToKeyspaceEvents };
    let subscribe = subscribe.ok_or_else(|| Failure::internal("no keyspace events"))?;
    // SAFETY: called while the module loads; the callback is a function of this library.
    let status = unsafe { subscribe(context.as_ptr(), KINDS as c_int, Some(key_changed::<W, F>)) };
    expect_ok(status, "keyspace events")
}

extern "C" fn key_changed<W, F>(
    context: *mut raw::RedisModuleCtx,
    _kind: c_int,
    event: *const c_char,
    key: *mut raw::RedisModuleString,
) -> c_int
where
    W: Fn(&[u8]) -> bool + Copy + 'static,
    F: Fn(&Context<'_>, &CStr, Arg<'_>) + Copy + 'static,
{
    guard(|| {
        // SAFETY: the key's name is valid during the callback.
        let Some(key) = (unsafe { Arg::from_ptr(key) }) else { return };
        // SAFETY: `on_key_change` accepts only types without data, of which any aligned pointer is a value.
        let wanted = unsafe { std::ptr::NonNull::<W>::dangling().as_ref() };
        if !wanted(key.bytes()) {
            return;
        }
        // SAFETY: the context is valid during the callback.
        let context = unsafe { Context::from_ptr(context) };
        if event.is_null() {
            return;
        }
        // SAFETY: the event's name is NUL-terminated and valid during the callback.
        let event = unsafe { CStr::from_ptr(event) };
        if let Some(context) = context {
            // SAFETY: `on_key_change` accepts only types without data, of which any aligned pointer is a value.
            let handler = unsafe { std::ptr::NonNull::<F>::dangling().as_ref() };
            handler(&context, event, key);
        }
    });
    raw::REDISMODULE_OK as c_int
}

/// Calls `handler` after each event of whole databases.
///
/// # Errors
/// When the server refuses a subscription.
pub fn on_database_event<F>(context: &Context<'_>, _handler: F) -> Outcome<()>
where
    F: Fn(&Context<'_>, DatabaseEvent) + Copy + 'static,
{
    const { assert!(size_of::<F>() == 0, "a handler is a plain function, not a closure over data") };
    // SAFETY: a read of a function pointer that the server's init has set.
    let subscribe = unsafe { raw::RedisModule_SubscribeToServerEvent };
    let subscribe = subscribe.ok_or_else(|| Failure::internal("no server events"))?;
    for id in [
        raw::REDISMODULE_EVENT_FLUSHDB,
        raw::REDISMODULE_EVENT_SWAPDB,
        raw::REDISMODULE_EVENT_LOADING,
        raw::REDISMODULE_EVENT_REPL_ASYNC_LOAD,
        raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED,
        raw::REDISMODULE_EVENT_CONFIG,
    ] {
        // SAFETY: called while the module loads; the callback is a function of this library.
        let status = unsafe {
            subscribe(context.as_ptr(), raw::RedisModuleEvent { id, dataver: 1 }, Some(database_event::<F>))
        };
        expect_ok(status, "server events")?;
    }
    Ok(())
}

extern "C" fn database_event<F>(
    context: *mut raw::RedisModuleCtx,
    event: raw::RedisModuleEvent,
    subevent: u64,
    data: *mut c_void,
) where
    F: Fn(&Context<'_>, DatabaseEvent) + Copy + 'static,
{
    guard(|| {
        // SAFETY: the server's context is valid during the callback.
        let context = unsafe { Context::from_ptr(context) };
        // SAFETY: the event's id says which structure `data` points to, and it is valid during the callback.
        let event = unsafe { understand(event.id, subevent, data) };
        if let (Some(context), Some(event)) = (context, event) {
            // SAFETY: `on_database_event` accepts only types without data, of which any aligned pointer is a
            // value.
            let handler = unsafe { std::ptr::NonNull::<F>::dangling().as_ref() };
            handler(&context, event);
        }
    });
}

/// # Safety
/// `data` points to the structure that belongs to the event `id`, or is null.
unsafe fn understand(id: u64, subevent: u64, data: *mut c_void) -> Option<DatabaseEvent> {
    match id {
        raw::REDISMODULE_EVENT_FLUSHDB if subevent == raw::REDISMODULE_SUBEVENT_FLUSHDB_END => {
            // SAFETY: by the caller's promise.
            let info = unsafe { data.cast::<raw::RedisModuleFlushInfoV1>().as_ref() }?;
            Some(DatabaseEvent::Flushed((info.dbnum >= 0).then_some(info.dbnum)))
        }
        raw::REDISMODULE_EVENT_SWAPDB => {
            // SAFETY: by the caller's promise.
            let info = unsafe { data.cast::<raw::RedisModuleSwapDbInfoV1>().as_ref() }?;
            Some(DatabaseEvent::Swapped(info.dbnum_first, info.dbnum_second))
        }
        raw::REDISMODULE_EVENT_LOADING if subevent < raw::REDISMODULE_SUBEVENT_LOADING_ENDED => {
            Some(DatabaseEvent::LoadBegins)
        }
        raw::REDISMODULE_EVENT_LOADING => Some(DatabaseEvent::LoadEnds),
        raw::REDISMODULE_EVENT_REPL_ASYNC_LOAD => Some(match subevent {
            raw::REDISMODULE_SUBEVENT_REPL_ASYNC_LOAD_STARTED => DatabaseEvent::LoadBesideBegins,
            raw::REDISMODULE_SUBEVENT_REPL_ASYNC_LOAD_COMPLETED => {
                DatabaseEvent::LoadBesideEnds { replaced: true }
            }
            _ => DatabaseEvent::LoadBesideEnds { replaced: false },
        }),
        raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED => Some(DatabaseEvent::RoleChanged),
        raw::REDISMODULE_EVENT_CONFIG => Some(DatabaseEvent::SettingsChanged),
        _ => None,
    }
}

/// Calls `handler` from the server's periodic work, `hz` times a second.
///
/// # Errors
/// When the server refuses the subscription.
pub fn on_cron<F>(context: &Context<'_>, _handler: F) -> Outcome<()>
where
    F: Fn(&Context<'_>) + Copy + 'static,
{
    const { assert!(size_of::<F>() == 0, "a handler is a plain function, not a closure over data") };
    // SAFETY: a read of a function pointer that the server's init has set.
    let subscribe = unsafe { raw::RedisModule_SubscribeToServerEvent };
    let subscribe = subscribe.ok_or_else(|| Failure::internal("no server events"))?;
    let event = raw::RedisModuleEvent { id: raw::REDISMODULE_EVENT_CRON_LOOP, dataver: 1 };
    // SAFETY: called while the module loads; the callback is a function of this library.
    expect_ok(unsafe { subscribe(context.as_ptr(), event, Some(cron::<F>)) }, "the cron event")
}

extern "C" fn cron<F>(
    context: *mut raw::RedisModuleCtx,
    _event: raw::RedisModuleEvent,
    _subevent: u64,
    _data: *mut c_void,
) where
    F: Fn(&Context<'_>) + Copy + 'static,
{
    guard(|| {
        // SAFETY: the server's context is valid during the callback.
        if let Some(context) = unsafe { Context::from_ptr(context) } {
            // SAFETY: `on_cron` accepts only types without data, of which any aligned pointer is a value.
            let handler = unsafe { std::ptr::NonNull::<F>::dangling().as_ref() };
            handler(&context);
        }
    });
}

fn expect_ok(status: c_int, what: &str) -> Outcome<()> {
    if status == raw::REDISMODULE_OK as c_int {
        Ok(())
    } else {
        Err(Failure::internal(format_args!("no subscription to {what}")))
    }
}
