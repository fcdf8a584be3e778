//! The allocator: the server's own inside a server, the system's everywhere else.
//!
//! In the server every byte of the module counts into `used_memory` and is subject to `maxmemory`. Tests,
//! benches and the demo link the same crate without a server, where the API's function pointers are null.

use std::alloc::{GlobalAlloc, Layout, System};
use std::os::raw::c_void;

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
                // SAFETY: `block` came from the server's allocator, by `served_by_server`.
                return unsafe { free(block.cast::<c_void>()) };
            }
        }
        // SAFETY: `block` came from the system with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}
