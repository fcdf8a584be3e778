//! What a handler sees of the server while its command runs.

use std::cell::Cell;
use std::ffi::CString;
use std::marker::PhantomData;
use std::os::raw::c_int;
use std::ptr::NonNull;

use redis_module::raw;

use super::clock;
use super::command::KeyUse;
use super::register::key_flags;
use super::Arg;

/// The context of one command or one callback. It lives only as long as that call.
pub struct Context<'a> {
    pointer: NonNull<raw::RedisModuleCtx>,
    /// Whether native commands need the rights of the client.
    pub(super) with_rights_of_client: Cell<bool>,
    /// Whether native commands that write are only checked against the rights of the client.
    pub(super) rehearses: Cell<bool>,
    /// The words of the call behind the command's name.
    arguments: &'a [Arg<'a>],
    lifetime: PhantomData<&'a raw::RedisModuleCtx>,
}

impl<'a> Context<'a> {
    /// The same, of a command that was called with these words behind its name.
    pub(super) fn called_with(self, arguments: &'a [Arg<'a>]) -> Self {
        Self { arguments, ..self }
    }
}

impl Context<'_> {
    /// # Safety
    /// `pointer` is null or a context of the server that stays valid for 'a; the call is on the main thread.
    pub(super) unsafe fn from_ptr(pointer: *mut raw::RedisModuleCtx) -> Option<Self> {
        let with_rights_of_client = Cell::new(false);
        NonNull::new(pointer).map(|pointer| Self {
            pointer,
            with_rights_of_client,
            rehearses: Cell::new(false),
            arguments: &[],
            lifetime: PhantomData,
        })
    }

    pub(super) fn as_ptr(&self) -> *mut raw::RedisModuleCtx {
        self.pointer.as_ptr()
    }

    /// The server's clock in ms since the epoch. Read it once per command.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        clock::now_ms()
    }

    pub(super) fn has_flag(&self, flag: u32) -> bool {
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(flags) = (unsafe { raw::RedisModule_GetContextFlags }) else { return false };
        // SAFETY: the context is live.
        let flags = unsafe { flags(self.as_ptr()) };
        flags & flag as i32 != 0
    }

    /// Whether the server only wants to know which words of the call are keys. The context is then good for
    /// [`Context::declare_key`] and for nothing else, and nobody reads a reply.
    #[must_use]
    pub fn asks_for_keys(&self) -> bool {
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(asks) = (unsafe { raw::RedisModule_IsKeysPositionRequest }) else { return false };
        // SAFETY: the context is live.
        unsafe { asks(self.as_ptr()) != 0 }
    }

    /// Tells that a word of the call is a key; the command's name is word 0.
    pub fn declare_key(&self, word: usize, usage: KeyUse) {
        // SAFETY: a read of a function pointer; Redis 7.0 and later have it.
        let Some(declare) = (unsafe { raw::RedisModule_KeyAtPosWithFlags }) else { return };
        let Ok(word) = c_int::try_from(word) else { return };
        // SAFETY: the context is live; the server ignores the call unless it has asked.
        unsafe { declare(self.as_ptr(), word, key_flags(usage) as c_int) };
    }

    /// Keeps an argument of the call out of SLOWLOG and MONITOR, which show `(redacted)` in its place.
    pub fn hide(&self, secret: Arg<'_>) {
        // SAFETY: a read of a function pointer; Redis 7.0 and later have it.
        let Some(redact) = (unsafe { raw::RedisModule_RedactClientCommandArgument }) else { return };
        if self.asks_for_keys() {
            return;
        }
        for (place, argument) in self.arguments.iter().enumerate() {
            if let (true, Ok(word)) = (argument.as_ptr() == secret.as_ptr(), c_int::try_from(place + 1)) {
                // SAFETY: the context is live; the server refuses a place that the call does not have.
                unsafe { redact(self.as_ptr(), word) };
            }
        }
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

    /// Whether the server loads its data.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.has_flag(raw::REDISMODULE_CTX_FLAGS_LOADING)
    }

    /// From here on native commands that write need what the client itself would need to run them. For commands that
    /// write to keys which the client did not name, so that its rights were not checked.
    pub fn write_with_rights_of_client(&self) {
        self.with_rights_of_client.set(true);
    }

    /// Runs `act`, in which native commands that write are not run: only whether the client may run them is checked.
    pub fn rehearse<T>(&self, act: impl FnOnce() -> T) -> T {
        self.rehearses.set(true);
        let result = act();
        self.rehearses.set(false);
        result
    }

    /// Whether this is [`Context::rehearse`].
    #[must_use]
    pub fn is_rehearsing(&self) -> bool {
        self.rehearses.get()
    }

    /// Whether the command is part of a script, perhaps of one that must not write.
    #[must_use]
    pub fn in_script(&self) -> bool {
        self.has_flag(raw::REDISMODULE_CTX_FLAGS_LUA)
    }

    /// Whether the server holds more than it may.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.has_flag(raw::REDISMODULE_CTX_FLAGS_OOM)
    }

    /// The number of the selected database.
    #[must_use]
    pub fn database(&self) -> i32 {
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(selected) = (unsafe { raw::RedisModule_GetSelectedDb }) else { return 0 };
        // SAFETY: the context is live.
        unsafe { selected(self.as_ptr()) }
    }

    /// Runs `act` with another database selected. None where there is no such database.
    pub fn in_database<T>(&self, database: i32, act: impl FnOnce() -> T) -> Option<T> {
        let selected = self.database();
        if selected != database && !self.select(database) {
            return None;
        }
        let result = act();
        if selected != database {
            self.select(selected);
        }
        Some(result)
    }

    fn select(&self, database: i32) -> bool {
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(select) = (unsafe { raw::RedisModule_SelectDb }) else { return false };
        // SAFETY: the context is live; a number that does not exist is refused.
        unsafe { select(self.as_ptr(), database) == raw::REDISMODULE_OK as i32 }
    }

    /// How many keys the selected database holds.
    #[must_use]
    pub fn keys_of_database(&self) -> u64 {
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(size) = (unsafe { raw::RedisModule_DbSize }) else { return 0 };
        // SAFETY: the context is live.
        unsafe { size(self.as_ptr()) }
    }

    /// Whether nothing may be written now, because the server hands its data over (CLIENT PAUSE, FAILOVER).
    #[must_use]
    pub fn must_not_write(&self) -> bool {
        self.follows() || self.holds_clients_back()
    }

    /// Whether clients that write are held back until the server goes on (CLIENT PAUSE, FAILOVER).
    #[must_use]
    pub fn holds_clients_back(&self) -> bool {
        // SAFETY: a read of a function pointer; Redis 6.0 and later have it.
        let Some(avoid) = (unsafe { raw::RedisModule_AvoidReplicaTraffic }) else { return false };
        // SAFETY: takes nothing, reads a state of the server.
        unsafe { avoid() != 0 }
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
