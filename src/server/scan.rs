//! Walks over the keys of a database.

use std::os::raw::c_void;
use std::ptr::NonNull;

use redis_module::raw;

use super::entry::guard;
use super::{Arg, Context};

/// Where a walk stands.
pub(super) struct Cursor {
    pointer: NonNull<raw::RedisModuleScanCursor>,
}

// SAFETY: the server's scan functions are called on its main thread alone; the cursor itself is plain memory.
unsafe impl Send for Cursor {}

impl Cursor {
    /// At the beginning; None only where no server is running.
    pub(super) fn new() -> Option<Self> {
        // SAFETY: a read of a function pointer that the server's init has set.
        let create = unsafe { raw::RedisModule_ScanCursorCreate }?;
        // SAFETY: takes nothing; destroyed when dropped.
        NonNull::new(unsafe { create() }).map(|pointer| Self { pointer })
    }

    pub(super) fn as_ptr(&self) -> *mut raw::RedisModuleScanCursor {
        self.pointer.as_ptr()
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        // SAFETY: a read of a function pointer that the server's init has set.
        if let Some(destroy) = unsafe { raw::RedisModule_ScanCursorDestroy } {
            // SAFETY: made by `new`, used no more.
            unsafe { destroy(self.pointer.as_ptr()) };
        }
    }
}

/// A walk over all keys of one database, piece by piece. A key that is there all the time is met at least once, as
/// with SCAN; one that comes or goes meanwhile may be met or not.
pub struct Walk {
    cursor: Cursor,
    names: Vec<Vec<u8>>,
}

impl Walk {
    /// A walk that begins. None only where no server is running.
    #[must_use]
    pub fn new() -> Option<Self> {
        Cursor::new().map(|cursor| Self { cursor, names: Vec::new() })
    }

    /// Goes a small piece on, in the selected database, and calls `visit` with the names that pass `wanted`. Answers
    /// how many keys were met; None at the end. `visit` may do with the keys what it likes.
    pub fn step(
        &mut self,
        context: &Context<'_>,
        wanted: impl Fn(&[u8]) -> bool,
        mut visit: impl FnMut(&[u8]),
    ) -> Option<usize> {
        // SAFETY: a read of a function pointer that the server's init has set.
        let scan = unsafe { raw::RedisModule_Scan }?;
        let mut met = 0;
        let names = &mut self.names;
        let mut collect = |name: &[u8]| {
            met += 1;
            if wanted(name) {
                names.push(name.to_vec());
            }
        };
        let mut collect: &mut dyn FnMut(&[u8]) = &mut collect;
        let data: *mut &mut dyn FnMut(&[u8]) = &mut collect;
        // SAFETY: context and cursor are live; `key_found` gets back the pointer to `collect`, which nothing else uses
        // during the call.
        let more =
            unsafe { scan(context.as_ptr(), self.cursor.as_ptr(), Some(key_found), data.cast::<c_void>()) };
        // Only now: a look at a key can move others in the server's table.
        self.names.drain(..).for_each(|name| visit(&name));
        (more != 0).then_some(met)
    }
}

extern "C" fn key_found(
    _context: *mut raw::RedisModuleCtx,
    name: *mut raw::RedisModuleString,
    _key: *mut raw::RedisModuleKey,
    data: *mut c_void,
) {
    guard(|| {
        // SAFETY: `step` passes its own closure, live and unshared during the scan.
        let collect = unsafe { data.cast::<&mut dyn FnMut(&[u8])>().as_mut() };
        // SAFETY: the key's name is valid during the callback.
        let name = unsafe { Arg::from_ptr(name) };
        if let (Some(collect), Some(name)) = (collect, name) {
            collect(name.bytes());
        }
    });
}
