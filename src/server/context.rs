//! What a handler sees of the server while its command runs.

use std::ffi::CString;
use std::marker::PhantomData;
use std::ptr::NonNull;

use redis_module::raw;

/// The context of one command or one callback. It lives only as long as that call.
pub struct Context<'a> {
    pointer: NonNull<raw::RedisModuleCtx>,
    lifetime: PhantomData<&'a raw::RedisModuleCtx>,
}

impl Context<'_> {
    /// # Safety
    /// `pointer` is null or a context of the server that stays valid for 'a; the call is on the main thread.
    pub(super) unsafe fn from_ptr(pointer: *mut raw::RedisModuleCtx) -> Option<Self> {
        NonNull::new(pointer).map(|pointer| Self { pointer, lifetime: PhantomData })
    }

    pub(super) fn as_ptr(&self) -> *mut raw::RedisModuleCtx {
        self.pointer.as_ptr()
    }

    /// The server's clock in ms since the epoch. Read it once per command.
    ///
    /// Prefers the time that the server itself uses to decide about expiry within this command (Redis 7.2 and
    /// later, Valkey), so that a deadline computed here and the server's own view never differ.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        // SAFETY: a read of a function pointer; null where the server does not have it.
        if let Some(cached_microseconds) = unsafe { raw::RedisModule_CachedMicroseconds } {
            // SAFETY: takes nothing, reads a cached number.
            return unsafe { cached_microseconds() } / 1000;
        }
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(milliseconds) = (unsafe { raw::RedisModule_Milliseconds }) else { return 0 };
        // SAFETY: takes nothing, reads the clock.
        unsafe { milliseconds() }
    }

    fn has_flag(&self, flag: u32) -> bool {
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(flags) = (unsafe { raw::RedisModule_GetContextFlags }) else { return false };
        // SAFETY: the context is live.
        let flags = unsafe { flags(self.as_ptr()) };
        flags & flag as i32 != 0
    }

    /// Whether the server is part of a Redis Cluster.
    #[must_use]
    pub fn in_cluster(&self) -> bool {
        self.has_flag(raw::REDISMODULE_CTX_FLAGS_CLUSTER)
    }

    /// Whether the command is part of a transaction.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.has_flag(raw::REDISMODULE_CTX_FLAGS_MULTI)
    }

    /// Whether what happens now is not this server's own decision: it is a replica, or it loads its data.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.has_flag(raw::REDISMODULE_CTX_FLAGS_SLAVE | raw::REDISMODULE_CTX_FLAGS_LOADING)
    }

    /// The number of the selected database.
    #[must_use]
    pub fn database(&self) -> i32 {
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(selected) = (unsafe { raw::RedisModule_GetSelectedDb }) else { return 0 };
        // SAFETY: the context is live.
        unsafe { selected(self.as_ptr()) }
    }

    /// Writes a warning to the server's log, under the module's name.
    pub fn warn(&self, line: &str) {
        warn(Some(self), line);
    }
}

/// Writes a warning to the server's log, also where there is no context.
pub(super) fn warn(context: Option<&Context<'_>>, line: &str) {
    // SAFETY: a read of a function pointer that the server's init has set.
    let Some(log) = (unsafe { raw::RedisModule_Log }) else { return };
    let Ok(line) = CString::new(line.replace('\0', " ")) else { return };
    let pointer = context.map_or(std::ptr::null_mut(), Context::as_ptr);
    // SAFETY: a null context is allowed; the format takes exactly the one string that follows.
    unsafe { log(pointer, c"warning".as_ptr(), c"%s".as_ptr(), line.as_ptr()) };
}
