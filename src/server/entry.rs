//! The boundary between the server's C and the handlers: nothing unwinds across it.

use std::any::Any;
use std::os::raw::c_int;
use std::panic::{catch_unwind, AssertUnwindSafe};

use redis_module::raw;

use super::context;
use super::{reply, Arg, Context, Reply};
use crate::errors::{Failure, Outcome};

/// The C function that the server calls for a command.
pub type Entry = extern "C" fn(*mut raw::RedisModuleCtx, *mut *mut raw::RedisModuleString, c_int) -> c_int;

/// Makes the entry of a handler. The handler gets the arguments behind the command's name.
///
/// The server passes no user data to a command's function, so each handler needs a function of its own: the
/// handler's type, which carries no data, selects it.
pub const fn entry<F>(_handler: F) -> Entry
where
    F: Fn(&Context<'_>, &[Arg<'_>]) -> Outcome<Reply> + Copy + 'static,
{
    const { assert!(size_of::<F>() == 0, "a handler is a plain function, not a closure over data") };
    run::<F>
}

extern "C" fn run<F>(
    context: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int
where
    F: Fn(&Context<'_>, &[Arg<'_>]) -> Outcome<Reply> + Copy + 'static,
{
    // SAFETY: the server's context is valid while its command runs, on the main thread.
    if let Some(context) = unsafe { Context::from_ptr(context) } {
        // SAFETY: the server's arguments are live and not null while the command runs.
        let arguments = unsafe { Arg::slice(argv, usize::try_from(argc).unwrap_or(0)) };
        let arguments = arguments.get(1..).unwrap_or_default();
        let context = context.called_with(arguments);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: `entry` accepts only types without data, of which any aligned pointer is a value.
            let handler = unsafe { std::ptr::NonNull::<F>::dangling().as_ref() };
            handler(&context, arguments)
        }));
        match outcome {
            _ if context.asks_for_keys() => {}
            Ok(Ok(answer)) => answer.send(&context),
            Ok(Err(failure)) => reply::send_failure(&context, &failure),
            Err(panic) => reply::send_failure(&context, &Failure::internal(panic_text(panic.as_ref()))),
        }
    }
    raw::REDISMODULE_OK as c_int
}

/// Runs a callback of the server, which has no client to answer: a panic goes to the log alone.
pub(super) fn guard(callback: impl FnOnce()) {
    // The panic hook has written the line already; there is nobody else to tell.
    let _ = catch_unwind(AssertUnwindSafe(callback));
}

/// Sends what a panic says to the server's log instead of its standard error, which a daemon throws away.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        context::warn(None, &format!("internal error, please report: {panic}"));
    }));
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}
