//! The allocator: the server's own inside a server, the system's everywhere else.
//!
//! In the server every byte of the module counts into `used_memory` and is subject to `maxmemory`. Tests,
//! benches and the demo link the same crate without a server, where the API's function pointers are null.

use std::alloc::{GlobalAlloc, Layout, System};
use std::os::raw::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};

use redis_module::raw;

/// The alignment that the server's allocator gives to every block, on all supported platforms.
const NATURAL_ALIGNMENT: usize = 16;

/// Allocates through `RedisModule_Alloc` and its siblings once the server has provided them.
///
/// A process never changes sides: in a server the API is there before the first allocation of the module, in
/// a test it never appears. Blocks of an alignment above 16, which the module does not use on any hot path,
/// come from the system in both cases, because the server's API cannot promise them.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerAllocator;

/// The bytes of all blocks that the module holds, as the server's allocator rounds them.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// How many bytes the module holds at this moment, for everything: exact where the server uses jemalloc.
#[must_use]
pub fn held() -> usize {
    HELD.load(Ordering::Relaxed)
}

/// The size of the block that jemalloc gives for a request: multiples of 16 up to 128, then four sizes for each
/// doubling.
const fn rounded(size: usize) -> usize {
    if size <= 8 {
        return 8;
    }
    if size <= 128 {
        return size.next_multiple_of(16);
    }
    size.next_multiple_of(size.next_power_of_two() / 8)
}

/// Only the server's main thread allocates for this module, so two plain steps do what an atomic one would.
fn account(added: usize, removed: usize) {
    let held = HELD.load(Ordering::Relaxed);
    HELD.store(held.wrapping_add(added).wrapping_sub(removed), Ordering::Relaxed);
}

fn served_by_server(layout: Layout) -> bool {
    // SAFETY: a read of a function pointer that is written once, before the module runs any code of its own.
    let alloc = unsafe { raw::RedisModule_Alloc };
    layout.align() <= NATURAL_ALIGNMENT && alloc.is_some()
}

// SAFETY: each call is forwarded whole to one of two allocators, and `served_by_server` answers the same for
// the allocation of a block and for its release, because the layout and the process are the same.
unsafe impl GlobalAlloc for ServerAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if served_by_server(layout) {
            // SAFETY: the API's function pointers are set together by the server's init.
            if let Some(alloc) = unsafe { raw::RedisModule_Alloc } {
                account(rounded(layout.size()), 0);
                // SAFETY: any size is allowed; the server aborts itself when memory is gone.
                return unsafe { alloc(layout.size()) }.cast();
            }
        }
        // SAFETY: the caller upholds GlobalAlloc's contract for `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if served_by_server(layout) {
            // SAFETY: as in `alloc`.
            if let Some(calloc) = unsafe { raw::RedisModule_Calloc } {
                account(rounded(layout.size()), 0);
                // SAFETY: as in `alloc`.
                return unsafe { calloc(1, layout.size()) }.cast();
            }
        }
        // SAFETY: the caller upholds GlobalAlloc's contract for `layout`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if served_by_server(layout) {
            // SAFETY: as in `alloc`.
            if let Some(realloc) = unsafe { raw::RedisModule_Realloc } {
                account(rounded(new_size), rounded(layout.size()));
                // SAFETY: `block` came from the server's allocator, by `served_by_server`.
                return unsafe { realloc(block.cast::<c_void>(), new_size) }.cast();
            }
        }
        // SAFETY: `block` came from the system with this layout.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if served_by_server(layout) {
            // SAFETY: as in `alloc`.
            if let Some(free) = unsafe { raw::RedisModule_Free } {
                account(0, rounded(layout.size()));
                // SAFETY: `block` came from the server's allocator, by `served_by_server`.
                return unsafe { free(block.cast::<c_void>()) };
            }
        }
        // SAFETY: `block` came from the system with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn sizes_are_jemallocs() {
        let cases = [
            (1, 8),
            (8, 8),
            (9, 16),
            (100, 112),
            (128, 128),
            (129, 160),
            (160, 160),
            (161, 192),
            (256, 256),
            (257, 320),
            (1024, 1024),
            (1025, 1280),
            (5000, 5120),
            (16385, 20480),
        ];
        for (size, expected) in cases {
            assert_eq!(rounded(size), expected, "{size}");
        }
    }
}
