//! A walk over all keys of the selected database.

use std::os::raw::c_void;

use redis_module::raw;

use super::{Arg, Context};

/// What one step of the walk collects.
struct Collected<'p> {
    prefix: &'p [u8],
    names: Vec<Vec<u8>>,
}

impl Context<'_> {
    /// Calls `visit` once with the name of every key that begins with `prefix`, in the order of their bytes.
    /// O(keys of the database). All names are collected first: a look at a key can move others in the
    /// server's table, and a walk that goes on after that would meet some of them twice.
    pub fn each_key(&self, prefix: &[u8], mut visit: impl FnMut(&[u8])) {
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(scan) = (unsafe { raw::RedisModule_Scan }) else { return };
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(create) = (unsafe { raw::RedisModule_ScanCursorCreate }) else { return };
        // SAFETY: a read of a function pointer that the server's init has set.
        let Some(destroy) = (unsafe { raw::RedisModule_ScanCursorDestroy }) else { return };
        // SAFETY: takes nothing; destroyed below.
        let cursor = unsafe { create() };
        let mut collected = Collected { prefix, names: Vec::new() };
        loop {
            let data: *mut Collected<'_> = &mut collected;
            // SAFETY: context and cursor are live; `collect` gets back the pointer to `collected`, which
            // nothing else uses during the call.
            let more = unsafe { scan(self.as_ptr(), cursor, Some(collect), data.cast::<c_void>()) };
            if more == 0 {
                break;
            }
        }
        // SAFETY: made above, used no more.
        unsafe { destroy(cursor) };
        collected.names.sort_unstable();
        collected.names.dedup();
        collected.names.iter().for_each(|name| visit(name));
    }
}

extern "C" fn collect(
    _context: *mut raw::RedisModuleCtx,
    name: *mut raw::RedisModuleString,
    _key: *mut raw::RedisModuleKey,
    data: *mut c_void,
) {
    // SAFETY: `each_key` passes its own `Collected`, live and unshared during the scan.
    let collected = unsafe { data.cast::<Collected<'_>>().as_mut() };
    // SAFETY: the key's name is valid during the callback.
    let name = unsafe { Arg::from_ptr(name) };
    if let (Some(collected), Some(name)) = (collected, name) {
        if name.bytes().starts_with(collected.prefix) {
            collected.names.push(name.bytes().to_vec());
        }
    }
}
