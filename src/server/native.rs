//! The native commands that handlers run most often, done through key handles: the same effect on the key, the same
//! keyspace event, the same line for the AOF and the replicas, without the cost of a call.
//!
//! A call costs a good part of what a small command costs itself: a client of its own, a search for the command, a reply
//! that is written and read again. Where the client's rights matter, the call is made all the same.

use std::ffi::{c_void, CStr};
use std::os::raw::{c_char, c_int};
use std::ptr::NonNull;

use redis_module::raw;

use super::call::Writing;
use super::key::{end_of, End};
use super::{Arg, Context, Key, Text, Words};
use crate::errors::{Failure, Outcome};

impl Context<'_> {
    /// [`Context::expire_at`] on a key that no argument names.
    ///
    /// # Errors
    /// The server's own.
    pub fn expire_named_at(&self, name: &[u8], end: i64) -> Outcome<()> {
        // Without a server there is no string, and no key either.
        Text::new(name).map_or(Ok(()), |name| self.expire_at(name.as_arg(), end))
    }

    /// PEXPIREAT on a key that is there; `end` in ms since the epoch. Unlike the command it does not delete a key whose time
    /// ran out between the beginning of a write and its end: the key expires like any other, and its index entries go with it.
    ///
    /// # Errors
    /// The server's own.
    pub fn expire_at(&self, name: Arg<'_>, end: i64) -> Outcome<()> {
        self.prolong(self.open_to_write(name), name, end)
    }

    /// [`Context::expire_at`] on a key that is open for writing.
    ///
    /// # Errors
    /// The server's own.
    pub fn prolong(&self, key: Key<'_>, name: Arg<'_>, end: i64) -> Outcome<()> {
        let mut words = Words::with_capacity(2);
        words.arg(name).number(end);
        self.natively(c"PEXPIREAT", &words, raw::REDISMODULE_NOTIFY_GENERIC, c"expire", (name, key), |key| {
            // SAFETY: a read of a function pointer; Redis 6.2 and later have it.
            let set = unsafe { raw::RedisModule_SetAbsExpire }?;
            // SAFETY: the handle is open for writing.
            (unsafe { set(key.as_ptr(), end) } == raw::REDISMODULE_OK as c_int).then_some(())
        })
    }

    /// HSET; the words are the key, and names and values in turn. Not for a hash of which a field has a life of its own.
    ///
    /// # Errors
    /// The server's own.
    pub fn set_fields(&self, name: Arg<'_>, words: &Words<'_>) -> Outcome<()> {
        let key = self.open_to_write(name);
        self.natively(c"HSET", words, raw::REDISMODULE_NOTIFY_HASH, c"hset", (name, key), |key| {
            // SAFETY: a read of a function pointer that the server's init has set.
            let set = unsafe { raw::RedisModule_HashSet }?;
            for pair in words.pointers().get(1..)?.chunks_exact(2) {
                let end = std::ptr::null::<c_void>();
                // SAFETY: the handle is open for writing on a hash or nothing; one name, one value, and the null that
                // ends the list.
                unsafe { set(key.as_ptr(), raw::REDISMODULE_HASH_NONE as c_int, pair[0], pair[1], end) };
            }
            Some(())
        })
    }

    /// INCRBY on a counter that is there, open for writing, of which `sum` is the value afterwards.
    ///
    /// # Errors
    /// The server's own.
    pub fn increase(&self, key: Key<'_>, name: Arg<'_>, by: i64, sum: i64) -> Outcome<()> {
        let mut words = Words::with_capacity(2);
        words.arg(name).number(by);
        self.natively(c"INCRBY", &words, raw::REDISMODULE_NOTIFY_STRING, c"incrby", (name, key), |key| {
            overwrite(key, sum.to_string().as_bytes())
        })
    }

    /// SET of a number, without a TTL.
    ///
    /// # Errors
    /// The server's own.
    pub fn set_number(&self, name: Arg<'_>, number: i64) -> Outcome<()> {
        let mut words = Words::with_capacity(2);
        words.arg(name).number(number);
        let key = self.open_to_write(name);
        self.natively(c"SET", &words, raw::REDISMODULE_NOTIFY_STRING, c"set", (name, key), |key| {
            // SAFETY: a read of a function pointer; Redis 6.2 and later have it.
            let set = unsafe { raw::RedisModule_SetAbsExpire }?;
            overwrite(key, number.to_string().as_bytes())?;
            // SAFETY: the handle is open for writing.
            unsafe { set(key.as_ptr(), raw::REDISMODULE_NO_EXPIRE.into()) };
            Some(())
        })
    }

    /// LPUSH onto a list, or nothing, that is open for writing, and then RPOP of as many elements as `excess` answers when it
    /// sees the list with the new ones; more must stay. The words are the key, and the elements.
    ///
    /// # Errors
    /// The server's own.
    pub fn push_head(
        &self,
        key: Key<'_>,
        name: Arg<'_>,
        words: &Words<'_>,
        excess: impl FnOnce(&Key<'_>) -> i64,
    ) -> Outcome<()> {
        if self.makes_calls() {
            drop(key);
            self.write(c"LPUSH", words)?;
            let count = excess(&self.open(name));
            return if count > 0 { self.drop_tail(name, count) } else { Ok(()) };
        }
        let mut count = 0;
        self.act_on(c"LPUSH", (name, key), |key| {
            let pointer = key.handle()?.as_ptr();
            // SAFETY: a read of a function pointer that the server's init has set.
            let push = unsafe { raw::RedisModule_ListPush }?;
            for element in words.pointers().get(1..)? {
                // SAFETY: the handle is open for writing on a list or nothing; the server copies the element.
                unsafe { push(pointer, raw::REDISMODULE_LIST_HEAD as c_int, *element) };
            }
            count = excess(key);
            pop_tail(pointer, count)
        })?;
        self.tell(c"LPUSH", words, raw::REDISMODULE_NOTIFY_LIST, c"lpush", name)?;
        if count == 0 {
            return Ok(());
        }
        let mut words = Words::with_capacity(2);
        words.arg(name).number(count);
        self.tell(c"RPOP", &words, raw::REDISMODULE_NOTIFY_LIST, c"rpop", name)
    }

    /// RPOP of some elements that are there, unseen; more stay.
    ///
    /// # Errors
    /// The server's own.
    pub fn drop_tail(&self, name: Arg<'_>, count: i64) -> Outcome<()> {
        let mut words = Words::with_capacity(2);
        words.arg(name).number(count);
        let key = self.open_to_write(name);
        self.natively(c"RPOP", &words, raw::REDISMODULE_NOTIFY_LIST, c"rpop", (name, key), |key| {
            pop_tail(key.as_ptr(), count)
        })
    }

    /// ZADD of a member that is not there, and then ZREMRANGEBYRANK of some of the first, of which the new one is none.
    ///
    /// # Errors
    /// The server's own.
    pub fn add_last(&self, name: Arg<'_>, score: i64, member: &[u8], excess: i64) -> Outcome<()> {
        let Some(member) = Text::new(member) else { return Ok(()) };
        let mut words = Words::with_capacity(3);
        words.arg(name).number(score).arg(member.as_arg());
        let key = self.open_to_write(name);
        self.natively(c"ZADD", &words, raw::REDISMODULE_NOTIFY_ZSET, c"zadd", (name, key), |key| {
            // SAFETY: a read of a function pointer that the server's init has set.
            let add = unsafe { raw::RedisModule_ZsetAdd }?;
            // SAFETY: the handle is open for writing on a sorted set or nothing; no flags go in or out.
            let status = unsafe { add(key.as_ptr(), score as f64, member.as_ptr(), std::ptr::null_mut()) };
            (status == raw::REDISMODULE_OK as c_int).then_some(())?;
            (0..excess).try_for_each(|_| remove_first(key.as_ptr()))
        })?;
        if excess == 0 {
            return Ok(());
        }
        let mut words = Words::with_capacity(3);
        words.arg(name).number(0).number(excess - 1);
        if self.makes_calls() {
            return self.write(c"ZREMRANGEBYRANK", &words).map(|_| ());
        }
        self.tell(c"ZREMRANGEBYRANK", &words, raw::REDISMODULE_NOTIFY_ZSET, c"zremrangebyrank", name)
    }

    /// Whether writes are calls of native commands all the same: where the client's rights matter.
    fn makes_calls(&self) -> bool {
        self.rehearses.get() || self.with_rights_of_client.get()
    }

    /// Does what a native command does to a key that is open for writing. `act` answers None when it cannot, before it has
    /// changed anything.
    fn natively(
        &self,
        command: &CStr,
        words: &Words<'_>,
        class: i32,
        event: &CStr,
        (name, key): (Arg<'_>, Key<'_>),
        act: impl FnOnce(NonNull<raw::RedisModuleKey>) -> Option<()>,
    ) -> Outcome<()> {
        if self.makes_calls() {
            // The call may replace the value, of which a handle must not be open then.
            drop(key);
            return self.write(command, words).map(|_| ());
        }
        self.act_on(command, (name, key), |key| key.handle().and_then(act))?;
        self.tell(command, words, class, event, name)
    }

    /// Closes a key after `act`, which answers None when it cannot do its work, and tells who watches the key.
    fn act_on(
        &self,
        command: &CStr,
        (name, key): (Arg<'_>, Key<'_>),
        act: impl FnOnce(&Key<'_>) -> Option<()>,
    ) -> Outcome<()> {
        let _writing = Writing::begin();
        let done = act(&key);
        drop(key);
        done.ok_or_else(|| Failure::internal(format_args!("{} cannot be done", command.to_string_lossy())))?;
        // SAFETY: a read of a function pointer that the server's init has set.
        if let Some(signal) = unsafe { raw::RedisModule_SignalModifiedKey } {
            // SAFETY: context and name are live.
            unsafe { signal(self.as_ptr(), name.as_ptr()) };
        }
        Ok(())
    }

    /// Tells who listens, the AOF and the replicas of a command that was done. The key is closed: who watches it has been
    /// told.
    fn tell(
        &self,
        command: &CStr,
        words: &Words<'_>,
        class: i32,
        event: &CStr,
        name: Arg<'_>,
    ) -> Outcome<()> {
        let _writing = Writing::begin();
        self.announce(class, event, name);
        self.replicate(command, words)
    }

    fn announce(&self, class: i32, event: &CStr, name: Arg<'_>) {
        // SAFETY: a read of a function pointer that the server's init has set.
        if let Some(notify) = unsafe { raw::RedisModule_NotifyKeyspaceEvent } {
            // SAFETY: context, event and name are live during the call.
            unsafe { notify(self.as_ptr(), class, event.as_ptr(), name.as_ptr()) };
        }
    }

    fn replicate(&self, command: &CStr, words: &Words<'_>) -> Outcome<()> {
        // SAFETY: a read of a function pointer that the server's init has set.
        let replicate = unsafe { raw::RedisModule_Replicate };
        let replicate = replicate.ok_or_else(|| Failure::internal("no replication"))?;
        let words = words.pointers();
        // SAFETY: the one `v` of the format takes the pointer and the length of a vector of live strings.
        let status =
            unsafe { replicate(self.as_ptr(), command.as_ptr(), c"v".as_ptr(), words.as_ptr(), words.len()) };
        if status == raw::REDISMODULE_OK as c_int {
            Ok(())
        } else {
            Err(Failure::internal(format_args!("{} cannot be replicated", command.to_string_lossy())))
        }
    }
}

/// Takes elements off the end of a list that holds more.
fn pop_tail(list: *mut raw::RedisModuleKey, count: i64) -> Option<()> {
    // SAFETY: a read of a function pointer that the server's init has set.
    let pop = unsafe { raw::RedisModule_ListPop }?;
    for _ in 0..count {
        // SAFETY: the handle is open for writing on a list.
        let element = unsafe { pop(list, raw::REDISMODULE_LIST_TAIL as c_int) };
        // SAFETY: the element was handed over, and is released here.
        drop(unsafe { Text::owned(element) });
    }
    Some(())
}

/// Takes the first element out of a sorted set that holds more.
fn remove_first(set: *mut raw::RedisModuleKey) -> Option<()> {
    let first = end_of(set, End::First)?.0;
    // SAFETY: a read of a function pointer that the server's init has set.
    let remove = unsafe { raw::RedisModule_ZsetRem }?;
    // SAFETY: the handle is open for writing on a sorted set; nobody asks whether the member was there.
    unsafe { remove(set, first.as_ptr(), std::ptr::null_mut()) };
    Some(())
}

/// Makes a string that is there hold other bytes, with its TTL as it was.
fn overwrite(key: NonNull<raw::RedisModuleKey>, bytes: &[u8]) -> Option<()> {
    // SAFETY: a read of a function pointer that the server's init has set.
    let truncate = unsafe { raw::RedisModule_StringTruncate }?;
    // SAFETY: a read of a function pointer that the server's init has set.
    let access = unsafe { raw::RedisModule_StringDMA }?;
    // SAFETY: the handle is open for writing.
    if unsafe { truncate(key.as_ptr(), bytes.len()) } != raw::REDISMODULE_OK as c_int {
        return None;
    }
    let mut length = 0;
    // SAFETY: the handle is open for writing, and `length` is writable.
    let place = unsafe { access(key.as_ptr(), &mut length, raw::REDISMODULE_WRITE as c_int) };
    if place.is_null() || length != bytes.len() {
        return None;
    }
    // SAFETY: the server has given the place of as many bytes, which nobody else touches now.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast::<c_char>(), place, length) };
    Some(())
}
