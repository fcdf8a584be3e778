//! The allocator: the server's own inside a server, the system's everywhere else.
//!
//! In the server every byte of the module counts into `used_memory` and is subject to `maxmemory`. Tests,
//! benches and the demo link the same crate without a server, where the API's function pointers are null.

use std::alloc::{GlobalAlloc, Layout, System};
use std::os::raw::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};

use redis_module::raw;

/// The alignment that every build of the servers gives to every block. With jemalloc it is more, but a build on another
/// allocator may put a header of eight bytes before each block.
const NATURAL_ALIGNMENT: usize = 8;

/// Allocates through `RedisModule_Alloc` and its siblings once the server has provided them.
///
/// A process never changes sides: in a server the API is there before the first allocation of the module, in
/// a test it never appears.
///
/// A block that needs a larger alignment, as hash tables do, is cut out of a larger one; the eight bytes before it say
/// how far behind the beginning it lies.
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

/// The size of the block that is asked of the server for a layout.
fn asked(layout: Layout) -> usize {
    if layout.align() <= NATURAL_ALIGNMENT {
        layout.size()
    } else {
        layout.size().saturating_add(layout.align())
    }
}

/// Where a layout's block begins in a larger one, and what stands before it.
///
/// # Safety
/// `whole` is null, or a writable block of [`asked`] bytes with the natural alignment.
unsafe fn cut_out(whole: *mut u8, layout: Layout) -> *mut u8 {
    if whole.is_null() || layout.align() <= NATURAL_ALIGNMENT {
        return whole;
    }
    // At least eight bytes and at most the alignment: both are multiples of eight.
    let offset = layout.align() - whole.addr() % layout.align();
    // SAFETY: the block has as many bytes more as the alignment.
    let block = unsafe { whole.add(offset) };
    // SAFETY: the eight bytes before lie in the whole block.
    let before = unsafe { block.cast::<usize>().sub(1) };
    // SAFETY: they are aligned to eight and belong to nobody else.
    unsafe { before.write(offset) };
    block
}

/// The whole block out of which a layout's block was cut.
///
/// # Safety
/// `block` came from [`cut_out`] with this layout.
unsafe fn whole(block: *mut u8, layout: Layout) -> *mut u8 {
    if layout.align() <= NATURAL_ALIGNMENT {
        return block;
    }
    // SAFETY: `cut_out` left the offset in the eight bytes before the block.
    let before = unsafe { block.cast::<usize>().sub(1) };
    // SAFETY: as above; they are aligned to eight.
    let offset = unsafe { before.read() };
    // SAFETY: the whole block begins there.
    unsafe { block.sub(offset) }
}

// SAFETY: each call is forwarded to one of two allocators, always the same one in a process; what the server's
// allocator does not promise of alignment, `cut_out` adds.
unsafe impl GlobalAlloc for ServerAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the API's function pointers are set together by the server's init, before the module runs any code.
        if let Some(alloc) = unsafe { raw::RedisModule_Alloc } {
            account(rounded(asked(layout)), 0);
            // SAFETY: any size is allowed; the server aborts itself when memory is gone.
            let block = unsafe { alloc(asked(layout)) };
            // SAFETY: the block is as large as was asked.
            return unsafe { cut_out(block.cast(), layout) };
        }
        // SAFETY: the caller upholds GlobalAlloc's contract for `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        if let Some(calloc) = unsafe { raw::RedisModule_Calloc } {
            account(rounded(asked(layout)), 0);
            // SAFETY: as in `alloc`.
            let block = unsafe { calloc(1, asked(layout)) };
            // SAFETY: as in `alloc`.
            return unsafe { cut_out(block.cast(), layout) };
        }
        // SAFETY: the caller upholds GlobalAlloc's contract for `layout`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as in `alloc`.
        if let Some(realloc) = unsafe { raw::RedisModule_Realloc } {
            if layout.align() <= NATURAL_ALIGNMENT {
                account(rounded(new_size), rounded(layout.size()));
                // SAFETY: `block` came from the server's allocator, whole.
                return unsafe { realloc(block.cast::<c_void>(), new_size) }.cast();
            }
            // Another place of the new block may be the aligned one: it has to be cut out anew.
            let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
                return std::ptr::null_mut();
            };
            // SAFETY: the size is not 0 by the caller's promise.
            let new = unsafe { self.alloc(new_layout) };
            if !new.is_null() {
                // SAFETY: both blocks are live, apart from each other, and at least so large.
                unsafe { std::ptr::copy_nonoverlapping(block, new, layout.size().min(new_size)) };
                // SAFETY: by the caller's promise.
                unsafe { self.dealloc(block, layout) };
            }
            return new;
        }
        // SAFETY: `block` came from the system with this layout.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        if let Some(free) = unsafe { raw::RedisModule_Free } {
            account(0, rounded(asked(layout)));
            // SAFETY: `block` came from `alloc` or a sibling with this layout.
            let whole = unsafe { whole(block, layout) };
            // SAFETY: the whole block came from the server's allocator.
            return unsafe { free(whole.cast::<c_void>()) };
        }
        // SAFETY: `block` came from the system with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::Layout;

    use super::{asked, cut_out, rounded, whole};

    #[test]
    fn a_larger_alignment_is_cut_out_wherever_the_block_lies() {
        let mut memory = [0u64; 64];
        for start in 0..8 {
            for align in [16, 32, 64, 128] {
                let layout = Layout::from_size_align(100, align).unwrap();
                assert!(asked(layout) + start * 8 <= size_of_val(&memory));
                let begin = memory[start..].as_mut_ptr().cast::<u8>();
                // SAFETY: there are as many bytes as are asked.
                let block = unsafe { cut_out(begin, layout) };
                assert!(block.addr() % align == 0 && block.addr() + 100 <= begin.addr() + asked(layout));
                // SAFETY: the block was cut out with this layout.
                assert_eq!(unsafe { whole(block, layout) }, begin);
            }
        }
    }

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
