//! Work for later: for the next turn of the server's event loop, or for the end of what the server is doing.

use std::os::raw::c_void;

use redis_module::raw;

use super::entry::guard;
use super::Context;

impl Context<'_> {
    /// Calls `handler` once, `milliseconds` from now at the earliest; 0 means this turn of the event loop, after the
    /// commands that have arrived and before their replies are sent. Answers whether it will be called.
    ///
    /// While it is pending the server refuses MODULE UNLOAD.
    pub fn call_later<F>(&self, milliseconds: i64, _handler: F) -> bool
    where
        F: Fn(&Context<'_>) + Copy + 'static,
    {
        const { assert!(size_of::<F>() == 0, "a handler is a plain function, not a closure over data") };
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(create) = (unsafe { raw::RedisModule_CreateTimer }) else { return false };
        // SAFETY: the context is live; the callback is a function of this library, which stays loaded as long as the
        // timer is pending.
        unsafe { create(self.as_ptr(), milliseconds, Some(ring::<F>), std::ptr::null_mut()) };
        true
    }

    /// Calls `handler` as soon as it may write after a keyspace event: when the server has done what brought the event (Redis 7.2 and
    /// later, Valkey), or at once. Answers whether it is called.
    pub fn after_event<F>(&self, handler: F) -> bool
    where
        F: Fn(&Context<'_>) + Copy + 'static,
    {
        const { assert!(size_of::<F>() == 0, "a handler is a plain function, not a closure over data") };
        // SAFETY: a read of a function pointer that the server's init has set, or left null.
        let Some(add) = (unsafe { raw::RedisModule_AddPostNotificationJob }) else {
            handler(self);
            return true;
        };
        // SAFETY: the context is live; the callback is a function of this library, which the server calls before anything else
        // that could take the library out; there is no data to be freed.
        let status = unsafe { add(self.as_ptr(), Some(ring::<F>), std::ptr::null_mut(), None) };
        status == raw::REDISMODULE_OK as i32
    }
}

extern "C" fn ring<F>(context: *mut raw::RedisModuleCtx, _data: *mut c_void)
where
    F: Fn(&Context<'_>) + Copy + 'static,
{
    guard(|| {
        // SAFETY: the server's context is valid during the callback.
        if let Some(context) = unsafe { Context::from_ptr(context) } {
            // SAFETY: only types without data are accepted above, of which any aligned pointer is a value.
            let handler = unsafe { std::ptr::NonNull::<F>::dangling().as_ref() };
            handler(&context);
        }
    });
}
