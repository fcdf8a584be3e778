//! The allocator: the server's own inside a server, the system's everywhere else.
//!
//! In the server every byte of the module counts into `used_memory` and is subject to `maxmemory`. Tests,
//! benches and the demo link the same crate without a server, where the API's function pointers are null.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
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
///
/// Small blocks that were freed are kept for the next command, a few of each size: the server counts the bytes of each block
/// that it gives or takes, which costs more than the block itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerAllocator;

/// The bytes of all blocks that the module holds, as the server's allocator rounds them.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// How many bytes the module holds at this moment, for everything but the small blocks that wait for the next command:
/// exact where the server uses jemalloc.
#[must_use]
pub fn held() -> usize {
    let sizes_of_kept =
        |kept: &[Kept; SIZES]| kept.iter().zip(SIZE_OF).map(|(kept, size)| kept.count.get() * size).sum();
    let waiting: usize = KEPT.with(sizes_of_kept);
    HELD.load(Ordering::Relaxed).saturating_sub(waiting)
}

/// The size of the block that jemalloc gives for a request: multiples of 16 up to 128, then four sizes for each
/// doubling.
#[inline]
const fn rounded(size: usize) -> usize {
    if size <= 8 {
        return 8;
    }
    if size <= 128 {
        return size.next_multiple_of(16);
    }
    size.next_multiple_of(size.next_power_of_two() / 8)
}

/// The blocks of one size that wait to be used again. Each holds in its first eight bytes where the next one is.
struct Kept {
    first: Cell<*mut u8>,
    count: Cell<usize>,
}

/// The largest block that is kept, in bytes.
const LARGEST_KEPT: usize = 256;
/// How many sizes there are up to [`LARGEST_KEPT`].
const SIZES: usize = 13;
/// How many blocks of a size are kept at most: about 40 kB of all sizes together.
const MOST_KEPT: usize = 32;

thread_local! {
    // By thread, so that no two ever meet, though the server runs a module on one alone.
    static KEPT: [Kept; SIZES] =
        const { [const { Kept { first: Cell::new(std::ptr::null_mut()), count: Cell::new(0) } }; SIZES] };
}

/// Which of the kept sizes a block of so many bytes has.
const fn size_number(size: usize) -> Option<usize> {
    match size {
        0..=8 => Some(0),
        9..=128 => Some(size.div_ceil(16)),
        129..=LARGEST_KEPT => Some(8 + (size - 128).div_ceil(32)),
        _ => None,
    }
}

/// A kept block of this size, if there is one.
fn take(number: usize) -> Option<*mut u8> {
    KEPT.with(|kept| {
        let kept = kept.get(number)?;
        let block = kept.first.get();
        if block.is_null() {
            return None;
        }
        // SAFETY: `keep` wrote these eight bytes, and nobody has had the block since.
        kept.first.set(unsafe { block.cast::<*mut u8>().read() });
        kept.count.set(kept.count.get() - 1);
        Some(block)
    })
}

/// Keeps a block for later. Answers whether there was room.
///
/// # Safety
/// `block` is a block of the server's allocator of this size, aligned to eight, that nobody uses.
unsafe fn keep(block: *mut u8, number: usize) -> bool {
    // A checker of memory sees nothing of what goes on in a block that is kept.
    if cfg!(feature = "debug-command") {
        return false;
    }
    KEPT.with(|kept| {
        let Some(kept) = kept.get(number).filter(|kept| kept.count.get() < MOST_KEPT) else { return false };
        // SAFETY: every size has at least eight bytes, which are nobody's by the caller's promise.
        unsafe { block.cast::<*mut u8>().write(kept.first.get()) };
        kept.first.set(block);
        kept.count.set(kept.count.get() + 1);
        true
    })
}

/// Gives the kept blocks back, before the module is taken out.
pub fn forget_kept() {
    // SAFETY: a read of a function pointer that the server's init has set.
    let Some(free) = (unsafe { raw::RedisModule_Free }) else { return };
    for (number, size) in SIZE_OF.into_iter().enumerate() {
        while let Some(block) = take(number) {
            account(0, size);
            // SAFETY: a kept block came from the server's allocator, and nobody uses it.
            unsafe { free(block.cast::<c_void>()) };
        }
    }
}

/// The bytes of each size.
const SIZE_OF: [usize; SIZES] = [8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256];

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
            let size = rounded(asked(layout));
            if let Some(block) = size_number(size).and_then(take) {
                // SAFETY: the block has this size.
                return unsafe { cut_out(block, layout) };
            }
            account(size, 0);
            // SAFETY: any size is allowed; the server aborts itself when memory is gone.
            let block = unsafe { alloc(size) };
            // SAFETY: the block is as large as was asked.
            return unsafe { cut_out(block.cast(), layout) };
        }
        // SAFETY: the caller upholds GlobalAlloc's contract for `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        if let Some(calloc) = unsafe { raw::RedisModule_Calloc } {
            let size = rounded(asked(layout));
            account(size, 0);
            // SAFETY: as in `alloc`.
            let block = unsafe { calloc(1, size) };
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
                let (size, new_size) = (rounded(layout.size()), rounded(new_size));
                if size == new_size {
                    return block;
                }
                account(new_size, size);
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
            // SAFETY: `block` came from `alloc` or a sibling with this layout.
            let whole = unsafe { whole(block, layout) };
            let size = rounded(asked(layout));
            // SAFETY: the block has this size, and its owner has done with it.
            if size_number(size).is_some_and(|number| unsafe { keep(whole, number) }) {
                return;
            }
            account(0, size);
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

    use super::{asked, cut_out, rounded, size_number, whole, LARGEST_KEPT, SIZE_OF};

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
    fn every_kept_size_is_one_of_jemallocs() {
        for size in 1..=LARGEST_KEPT {
            assert_eq!(SIZE_OF[size_number(size).unwrap()], rounded(size), "{size}");
        }
        assert_eq!(size_number(LARGEST_KEPT + 1), None);
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
