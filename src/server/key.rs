//! Handles of keys, to look at a value without running a command. Writes go through native commands instead.

use std::ffi::{c_void, CStr};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use redis_module::raw;

use super::entry::guard;
use super::scan::Cursor;
use super::{Arg, Context, Text};
use crate::errors::{Failure, Outcome};

/// The type of the value at a key, as far as this module tells types apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// No value, or one whose time is up.
    Empty,
    /// A string.
    String,
    /// A list.
    List,
    /// A hash.
    Hash,
    /// A set.
    Set,
    /// A sorted set.
    SortedSet,
    /// A stream or a value of another module.
    Other,
}

/// An open key. It is closed when dropped; do not keep it across a native command that writes the same key.
pub struct Key<'a> {
    pointer: Option<NonNull<raw::RedisModuleKey>>,
    lifetime: PhantomData<&'a raw::RedisModuleCtx>,
}

/// The fields of a hash, copied out of it in one piece.
#[derive(Default)]
pub struct Fields {
    /// Names and values, one behind the other.
    bytes: Vec<u8>,
    /// Where each name and each value ends, in turn.
    ends: Vec<usize>,
}

impl Fields {
    /// Name and value of every field, in the server's order.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&[u8], &[u8])> {
        let piece = |from, to| self.bytes.get(from..to).unwrap_or_default();
        let mut pairs = Vec::with_capacity(self.ends.len() / 2);
        let mut start = 0;
        for ends in self.ends.chunks_exact(2) {
            pairs.push((piece(start, ends[0]), piece(ends[0], ends[1])));
            start = ends[1];
        }
        pairs
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// With room for `count` fields of a usual size.
    fn with_capacity(count: usize) -> Self {
        /// Bytes: names and values of the tables together seldom have more.
        const USUAL: usize = 40;
        Self { bytes: Vec::with_capacity(USUAL * count), ends: Vec::with_capacity(2 * count) }
    }

    fn add(&mut self, name: &[u8], value: &[u8]) {
        for word in [name, value] {
            self.bytes.extend_from_slice(word);
            self.ends.push(self.bytes.len());
        }
    }
}

impl<'f> FromIterator<(&'f [u8], &'f [u8])> for Fields {
    fn from_iter<I: IntoIterator<Item = (&'f [u8], &'f [u8])>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        let mut fields = Self::with_capacity(pairs.size_hint().0);
        pairs.for_each(|(name, value)| fields.add(name, value));
        fields
    }
}

impl Context<'_> {
    /// Opens the key that an argument names, for reading.
    #[must_use]
    pub fn open(&self, name: Arg<'_>) -> Key<'_> {
        self.open_string(name.as_ptr(), raw::REDISMODULE_READ as i32)
    }

    /// Opens a key by its bytes, for reading.
    #[must_use]
    pub fn open_named(&self, name: &[u8]) -> Key<'_> {
        let Some(name) = Text::new(name) else { return Key { pointer: None, lifetime: PhantomData } };
        self.open_string(name.as_ptr(), raw::REDISMODULE_READ as i32)
    }

    /// Opens a key by its bytes, for reading, without counting as an access for the eviction policy.
    #[must_use]
    pub fn peek(&self, name: &[u8]) -> Key<'_> {
        let Some(name) = Text::new(name) else { return Key { pointer: None, lifetime: PhantomData } };
        self.peek_at(name.as_arg())
    }

    /// The same by a string of the server.
    #[must_use]
    pub fn peek_at(&self, name: Arg<'_>) -> Key<'_> {
        self.open_string(name.as_ptr(), (raw::REDISMODULE_READ | raw::REDISMODULE_OPEN_KEY_NOTOUCH) as i32)
    }

    /// Opens a key by its bytes, for the module's own records: no client and no statistic ever learns of it. A key
    /// whose time is up is deleted on a master, with the event that belongs to it, and not there on a replica.
    #[must_use]
    pub fn inspect(&self, name: &[u8]) -> Key<'_> {
        let Some(name) = Text::new(name) else { return Key { pointer: None, lifetime: PhantomData } };
        self.inspect_at(name.as_arg())
    }

    /// The same by a string of the server.
    #[must_use]
    pub fn inspect_at(&self, name: Arg<'_>) -> Key<'_> {
        // Flags that a server does not know are ignored.
        const MODE: u32 = raw::REDISMODULE_READ
            | raw::REDISMODULE_OPEN_KEY_NOTOUCH
            | raw::REDISMODULE_OPEN_KEY_NOSTATS
            | raw::REDISMODULE_OPEN_KEY_NONOTIFY;
        self.open_string(name.as_ptr(), MODE as i32)
    }

    /// Opens a key for reading and for one of the writes that take such a handle. Neither statistics nor tracking clients
    /// learn of a key that was only read so.
    #[must_use]
    pub fn open_to_write(&self, name: Arg<'_>) -> Key<'_> {
        self.open_string(name.as_ptr(), (raw::REDISMODULE_READ | raw::REDISMODULE_WRITE) as i32)
    }

    fn open_string(&self, name: *mut raw::RedisModuleString, mode: i32) -> Key<'_> {
        // SAFETY: a read of a function pointer that the server's init has set.
        let pointer = unsafe { raw::RedisModule_OpenKey }.and_then(|open| {
            // SAFETY: context and name are live; the mode only reads. A missing key gives null.
            NonNull::new(unsafe { open(self.as_ptr(), name, mode) })
        });
        if mode & raw::REDISMODULE_WRITE as i32 == 0 {
            LOOK_UPS[usize::from(mode & raw::REDISMODULE_OPEN_KEY_NOSTATS as i32 != 0)]
                .count(pointer.is_some());
        }
        Key { pointer, lifetime: PhantomData }
    }
}

/// Look-ups of this module: the ordinary ones, and those that no statistic should learn of.
static LOOK_UPS: [LookUps; 2] = [const { LookUps { hits: AtomicU64::new(0), misses: AtomicU64::new(0) } }; 2];

struct LookUps {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl LookUps {
    fn count(&self, found: bool) {
        let counter = if found { &self.hits } else { &self.misses };
        // Keys are opened on the main thread alone, so that nothing comes in between.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    fn get(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }
}

/// How many look-ups of this module the server has counted among its `keyspace_hits` and `keyspace_misses`, since the
/// module was loaded: those before a write, which a native command does not count, and where the server knows no quiet
/// ones (Redis 7.0) also all that the module does for itself.
#[must_use]
pub fn look_ups() -> (u64, u64) {
    // SAFETY: a read of a function pointer; null where the server does not have it.
    let modes = unsafe { raw::RedisModule_GetOpenKeyModesAll };
    // SAFETY: takes nothing, answers a constant of the server.
    let modes = modes.map_or(0, |modes| unsafe { modes() });
    let [(hits, misses), (quiet_hits, quiet_misses)] = [LOOK_UPS[0].get(), LOOK_UPS[1].get()];
    if modes & raw::REDISMODULE_OPEN_KEY_NOSTATS as i32 != 0 {
        (hits, misses)
    } else {
        (hits + quiet_hits, misses + quiet_misses)
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        if let Some(pointer) = self.pointer {
            // SAFETY: a read of a function pointer that the server's init has set.
            if let Some(close) = unsafe { raw::RedisModule_CloseKey } {
                // SAFETY: the handle is open and closed once.
                unsafe { close(pointer.as_ptr()) };
            }
        }
    }
}

impl Key<'_> {
    pub(super) fn handle(&self) -> Option<NonNull<raw::RedisModuleKey>> {
        self.pointer
    }

    /// The bytes of a string, for as long as nothing is written; empty for every other type. The server keeps a string that
    /// was read so in one piece from then on, even a number.
    #[must_use]
    pub fn string(&self) -> &[u8] {
        if self.key_type() != KeyType::String {
            return &[];
        }
        let Some(pointer) = self.pointer else { return &[] };
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(access) = (unsafe { raw::RedisModule_StringDMA }) else { return &[] };
        let mut length = 0;
        // SAFETY: the handle is open on a string, and `length` is writable.
        let start = unsafe { access(pointer.as_ptr(), &mut length, raw::REDISMODULE_READ as i32) };
        if start.is_null() || length == 0 {
            return &[];
        }
        // SAFETY: the bytes belong to the value, which nothing changes while the handle is borrowed.
        unsafe { std::slice::from_raw_parts(start.cast(), length) }
    }

    /// The type of the value.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        let Some(pointer) = self.pointer else { return KeyType::Empty };
        // SAFETY: the handle is open.
        unsafe { type_of(pointer.as_ptr()) }
    }

    /// Whether there is no key of this name.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.key_type() == KeyType::Empty
    }

    /// Errs with WRONGTYPE unless the key holds that type. Answers whether it holds anything at all.
    pub fn expect(&self, expected: KeyType) -> Outcome<bool> {
        match self.key_type() {
            KeyType::Empty => Ok(false),
            found if found == expected => Ok(true),
            _ => Err(Failure::wrong_type()),
        }
    }

    /// When the key's life ends, in ms since the epoch; None for a key that lives on, or is not there.
    #[must_use]
    pub fn expires_at(&self) -> Option<i64> {
        // A handle that is open for writing may have no value, which Redis 8.2 does not expect in this question.
        if self.is_missing() {
            return None;
        }
        let pointer = self.pointer?;
        // SAFETY: the handle is open.
        unsafe { absolute_expire(pointer.as_ptr()) }
    }

    /// The number of elements of a collection, or of bytes of a string; 0 where there is no value.
    #[must_use]
    pub fn len(&self) -> usize {
        let Some(pointer) = self.pointer else { return 0 };
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(length) = (unsafe { raw::RedisModule_ValueLength }) else { return 0 };
        // SAFETY: the handle is open.
        unsafe { length(pointer.as_ptr()) }
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One field of a hash; None where the key is no hash or the field is absent.
    #[must_use]
    pub fn field(&self, name: &CStr) -> Option<Text> {
        // SAFETY: the flag CFIELDS announces a name that is a C string.
        unsafe { self.hash_get(raw::REDISMODULE_HASH_CFIELDS, name.as_ptr().cast::<c_void>()) }
    }

    /// One field of a hash, by a name of any bytes.
    #[must_use]
    pub fn field_named(&self, name: &[u8]) -> Option<Text> {
        let name = Text::new(name)?;
        // SAFETY: no flag announces a name that is a string of the server.
        unsafe { self.hash_get(raw::REDISMODULE_HASH_NONE, name.as_ptr().cast::<c_void>()) }
    }

    /// # Safety
    /// `name` is live and of the kind that `flags` announce.
    unsafe fn hash_get(&self, flags: u32, name: *const c_void) -> Option<Text> {
        if self.key_type() != KeyType::Hash {
            return None;
        }
        let pointer = self.pointer?;
        // SAFETY: a read of a function pointer that the server's init has set.
        let get = unsafe { raw::RedisModule_HashGet }?;
        let mut value: *mut raw::RedisModuleString = std::ptr::null_mut();
        let place: *mut *mut raw::RedisModuleString = &mut value;
        // SAFETY: the handle is an open hash; the variadic list is one name of the announced kind, the place
        // for its value, and the null that ends it.
        unsafe { get(pointer.as_ptr(), flags as i32, name, place, std::ptr::null::<c_void>()) };
        // SAFETY: the value was made for the caller, who releases it.
        unsafe { Text::owned(value) }
    }

    /// When the first field of a hash goes that has a time of its own, in ms since the epoch. None where no field has, and
    /// on servers that do not tell (Redis before 8.0, and Valkey).
    #[must_use]
    pub fn first_field_expires_at(&self) -> Option<i64> {
        if self.key_type() != KeyType::Hash {
            return None;
        }
        let pointer = self.pointer?;
        // SAFETY: a read of a function pointer; null where the server does not have it.
        let first = unsafe { raw::RedisModule_HashFieldMinExpire }?;
        // SAFETY: the handle is an open hash.
        let first = unsafe { first(pointer.as_ptr()) };
        (first != raw::REDISMODULE_NO_EXPIRE as i64).then_some(first)
    }

    /// The fields of a hash whose own time is not up; none where the key is no hash.
    #[must_use]
    pub fn fields(&self) -> Fields {
        if self.key_type() != KeyType::Hash {
            return Fields::default();
        }
        let mut fields = Fields::with_capacity(self.len());
        self.each_field(|name, value| fields.add(name, value));
        fields
    }

    /// Calls `visit` with the name and the value of every field of a hash whose own time is not up; with nothing where
    /// the key is no hash.
    pub fn each_field(&self, mut visit: impl FnMut(&[u8], &[u8])) {
        if self.key_type() != KeyType::Hash {
            return;
        }
        let Some(pointer) = self.pointer else { return };
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(scan) = (unsafe { raw::RedisModule_ScanKey }) else { return };
        let Some(cursor) = Cursor::new() else { return };
        let mut visit: &mut dyn FnMut(&[u8], &[u8]) = &mut visit;
        let data: *mut &mut dyn FnMut(&[u8], &[u8]) = &mut visit;
        // SAFETY: handle and cursor are live; `field_found` gets back the pointer to `visit`, which nothing else uses
        // during the call. Nothing is written meanwhile, so no field is met twice.
        while unsafe { scan(pointer.as_ptr(), cursor.as_ptr(), Some(field_found), data.cast::<c_void>()) }
            != 0
        {}
    }

    /// The score at an end of a sorted set; None where the key is no sorted set.
    #[must_use]
    pub fn score_at(&self, end: End) -> Option<f64> {
        if self.key_type() != KeyType::SortedSet {
            return None;
        }
        end_of(self.pointer?.as_ptr(), end).map(|(_, score)| score)
    }

    /// The elements of a list, from the tail on: the oldest first, where events are pushed at the head.
    pub fn elements(&self) -> impl Iterator<Item = Text> + '_ {
        let length = i64::try_from(self.len()).unwrap_or(i64::MAX);
        (0..length).map_while(|place| self.element(-1 - place))
    }

    /// The element of a list at an index, 0 at the head, -1 at the tail. Walking in one direction costs O(1)
    /// a step: the server keeps an iterator behind the handle.
    #[must_use]
    pub fn element(&self, index: i64) -> Option<Text> {
        if self.key_type() != KeyType::List {
            return None;
        }
        let pointer = self.pointer?;
        // SAFETY: a read of a function pointer; Redis 7.0 and later have it.
        let get = unsafe { raw::RedisModule_ListGet }?;
        // SAFETY: the handle is an open list; an index outside of it gives null.
        let value = unsafe { get(pointer.as_ptr(), index) };
        // SAFETY: the value was made for the caller, who releases it.
        unsafe { Text::owned(value) }
    }
}

/// An end of a sorted set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The least score.
    First,
    /// The greatest score.
    Last,
}

/// The member at an end of a sorted set, and its score.
pub(super) fn end_of(set: *mut raw::RedisModuleKey, end: End) -> Option<(Text, f64)> {
    let seek = match end {
        // SAFETY: a read of a function pointer that the server's init has set.
        End::First => unsafe { raw::RedisModule_ZsetFirstInScoreRange },
        // SAFETY: a read of a function pointer that the server's init has set.
        End::Last => unsafe { raw::RedisModule_ZsetLastInScoreRange },
    }?;
    // SAFETY: a read of a function pointer that the server's init has set.
    let current = unsafe { raw::RedisModule_ZsetRangeCurrentElement }?;
    // SAFETY: a read of a function pointer that the server's init has set.
    let stop = unsafe { raw::RedisModule_ZsetRangeStop }?;
    // SAFETY: the handle is open on a sorted set; 0 includes the bounds.
    if unsafe { seek(set, f64::NEG_INFINITY, f64::INFINITY, 0, 0) } != raw::REDISMODULE_OK as i32 {
        return None;
    }
    let mut score = 0.0;
    // SAFETY: the handle has an iterator, which stands on an element or behind the last.
    let member = unsafe { current(set, &mut score) };
    // SAFETY: the iterator is given back before anything is written.
    unsafe { stop(set) };
    // SAFETY: the string was made for the caller, who releases it.
    unsafe { Text::owned(member) }.map(|member| (member, score))
}

extern "C" fn field_found(
    _key: *mut raw::RedisModuleKey,
    field: *mut raw::RedisModuleString,
    value: *mut raw::RedisModuleString,
    data: *mut c_void,
) {
    guard(|| {
        // SAFETY: `each_field` passes its own closure, live and unshared during the scan.
        let visit = unsafe { data.cast::<&mut dyn FnMut(&[u8], &[u8])>().as_mut() };
        // SAFETY: the field's name is valid during the callback.
        let field = unsafe { Arg::from_ptr(field) };
        // SAFETY: the field's value is valid during the callback.
        let value = unsafe { Arg::from_ptr(value) };
        if let (Some(visit), Some(field), Some(value)) = (visit, field, value) {
            visit(field.bytes(), value.bytes());
        }
    });
}

/// # Safety
/// `pointer` is an open key handle.
pub(super) unsafe fn type_of(pointer: *mut raw::RedisModuleKey) -> KeyType {
    // SAFETY: a read of a function pointer that the server's init has set.
    let Some(key_type) = (unsafe { raw::RedisModule_KeyType }) else { return KeyType::Empty };
    // SAFETY: the handle is open by the caller's promise.
    match unsafe { key_type(pointer) } as isize {
        raw::REDISMODULE_KEYTYPE_EMPTY => KeyType::Empty,
        raw::REDISMODULE_KEYTYPE_STRING => KeyType::String,
        raw::REDISMODULE_KEYTYPE_LIST => KeyType::List,
        raw::REDISMODULE_KEYTYPE_HASH => KeyType::Hash,
        raw::REDISMODULE_KEYTYPE_SET => KeyType::Set,
        raw::REDISMODULE_KEYTYPE_ZSET => KeyType::SortedSet,
        _ => KeyType::Other,
    }
}

/// # Safety
/// `pointer` is an open key handle.
unsafe fn absolute_expire(pointer: *mut raw::RedisModuleKey) -> Option<i64> {
    // SAFETY: a read of a function pointer; Redis 6.2 and later have it.
    let expire = unsafe { raw::RedisModule_GetAbsExpire }?;
    // SAFETY: the handle is open by the caller's promise.
    let expire = unsafe { expire(pointer) };
    (expire != raw::REDISMODULE_NO_EXPIRE as i64).then_some(expire)
}
