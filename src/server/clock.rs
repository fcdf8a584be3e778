//! The server's clock.

use redis_module::raw;

/// The time in ms since the epoch.
///
/// Prefers the time that the server itself uses to decide about expiry within a command (Redis 7.2 and later, Valkey),
/// so that a deadline computed here and the server's own view never differ.
#[must_use]
pub fn now_ms() -> i64 {
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
