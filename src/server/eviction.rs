//! What the server evicts by when memory runs short, and how old a key seems to it.

use redis_module::raw;

use super::call::Words;
use super::info::ServerInfo;
use super::{Context, Key};
use crate::errors::Outcome;

/// What decides which keys are evicted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Nothing that can be told the server about a key: there is no limit, nothing is evicted, or chance decides, or the
    /// end of a key's life.
    Other,
    /// How long a key was not used.
    Recency,
    /// How often a key was used.
    Frequency,
}

/// How often the server thinks a key is used that it thinks is used most.
const MOST_FREQUENT: i64 = 255;

/// The setting that says how many keys the server picks before it evicts one.
const SAMPLES: &str = "maxmemory-samples";

/// What the server's settings say.
#[must_use]
pub fn policy() -> Policy {
    let Some(memory) = ServerInfo::section(c"memory") else { return Policy::Other };
    if memory.field("maxmemory").is_none_or(|limit| limit == "0") {
        return Policy::Other;
    }
    match memory.field("maxmemory_policy") {
        Some("allkeys-lru" | "volatile-lru") => Policy::Recency,
        Some("allkeys-lfu" | "volatile-lfu") => Policy::Frequency,
        _ => Policy::Other,
    }
}

impl Context<'_> {
    /// How much of the memory that the server may hold is used; 0 where it has no limit.
    #[must_use]
    pub fn memory_used(&self) -> f32 {
        // SAFETY: a read of a function pointer; Redis 6.0 and later have it.
        let Some(ratio) = (unsafe { raw::RedisModule_GetUsedMemoryRatio }) else { return 0.0 };
        // SAFETY: takes nothing, reads a state of the server.
        unsafe { ratio() }
    }

    /// How many keys the server picks before it evicts one. None where nobody may ask.
    #[must_use]
    pub fn samples(&self) -> Option<i64> {
        let mut words = Words::with_capacity(2);
        words.name("GET").name(SAMPLES);
        let answer = self.read(c"CONFIG", &words).ok()?;
        std::str::from_utf8(answer.root().get(1)?.bytes()).ok()?.parse().ok()
    }

    /// Has it pick another number of keys.
    ///
    /// # Errors
    /// Those of the server, where nobody may set that.
    pub fn set_samples(&self, samples: i64) -> Outcome<()> {
        let mut words = Words::with_capacity(3);
        words.name("SET").name(SAMPLES).number(samples);
        self.read(c"CONFIG", &words).map(|_| ())
    }

    /// Whether a child of the server writes its data to a disk or to a replica. Until it is done every page that the server
    /// writes to is there twice.
    #[must_use]
    pub fn has_child(&self) -> bool {
        self.has_flag(raw::REDISMODULE_CTX_FLAGS_ACTIVE_CHILD)
    }
}

impl Key<'_> {
    /// For how many ms it was not used, in the eyes of the server. None where there is no key, or where the server counts
    /// how often it was used.
    #[must_use]
    pub fn idle_ms(&self) -> Option<i64> {
        let key = self.handle()?;
        // SAFETY: a read of a function pointer; Redis 6.0 and later have it.
        let get = unsafe { raw::RedisModule_GetLRU }?;
        let mut idle = -1;
        // SAFETY: the handle is open, and `idle` is writable.
        let status = unsafe { get(key.as_ptr(), &mut idle) };
        (status == raw::REDISMODULE_OK as i32 && idle >= 0).then_some(idle)
    }

    /// Has the server think that it was last used so many ms ago. This is no write. Where the server counts how often keys
    /// are used, nothing happens.
    pub fn set_idle_ms(&self, idle: i64) {
        let Some(key) = self.handle() else { return };
        // SAFETY: a read of a function pointer; Redis 6.0 and later have it.
        if let Some(set) = unsafe { raw::RedisModule_SetLRU } {
            // SAFETY: the handle is open.
            unsafe { set(key.as_ptr(), idle) };
        }
    }

    /// Has the server think that it is used more often than any other. This is no write. Where the server does not count that,
    /// nothing happens.
    pub fn set_most_frequent(&self) {
        let Some(key) = self.handle() else { return };
        // SAFETY: a read of a function pointer; Redis 6.0 and later have it.
        if let Some(set) = unsafe { raw::RedisModule_SetLFU } {
            // SAFETY: the handle is open; the number is the largest that the server takes.
            unsafe { set(key.as_ptr(), MOST_FREQUENT) };
        }
    }
}
