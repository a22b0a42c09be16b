//! The memory that a forked child allocates from.
//!
//! A child is forked while other threads of the server run, and has none of them: an allocator's lock that one of them held stays
//! held in the child, and its lists may be half changed. So a child never touches the server's allocator. It allocates
//! from memory that it maps itself, with one thread and so no lock, and what it inherited is never freed: its end frees all.
//!
//! Small blocks are of a power of two and are cut from chunks; a freed one waits in the list of its size. Large blocks are mapped
//! one by one. Both are bounded: a child encodes one value at a time and needs little. Beyond the bounds an allocation fails,
//! which ends the child, and the snapshot is told to have failed.

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

/// Small blocks are of 16 bytes to 32 KiB.
const SMALLEST_SHIFT: u32 = 4;
const LARGEST_SHIFT: u32 = 15;
const SIZES: usize = (LARGEST_SHIFT - SMALLEST_SHIFT + 1) as usize;
const SMALL_MAX: usize = 1 << LARGEST_SHIFT;
const CHUNK_BYTES: usize = 1 << 20;
/// Small blocks of a child take no more than this many chunks.
const CHUNKS_MAX: usize = 256;
/// Large blocks at one time.
const LARGE_MAX: usize = 256;
/// The system's page; larger alignments are refused.
const PAGE: usize = 4096;

/// A freed small block.
struct Free {
    next: *mut Free,
}

/// Memory of one child, and of one thread.
pub struct ChildMemory {
    free: [*mut Free; SIZES],
    /// What is left of the newest chunk.
    next: usize,
    end: usize,
    chunks: [usize; CHUNKS_MAX],
    chunk_count: usize,
    /// Start and mapped size; those with size 0 are free places.
    large: [(usize, usize); LARGE_MAX],
}

impl ChildMemory {
    pub const fn new() -> ChildMemory {
        ChildMemory {
            free: [null_mut(); SIZES],
            next: 0,
            end: 0,
            chunks: [0; CHUNKS_MAX],
            chunk_count: 0,
            large: [(0, 0); LARGE_MAX],
        }
    }

    /// A block for `layout`, or null. Its contents are anything.
    pub fn allocate(&mut self, layout: Layout) -> *mut u8 {
        match size_index(layout) {
            Some(index) => self.allocate_small(index),
            None => self.allocate_large(layout),
        }
    }

    /// As `allocate`, of zeroes.
    pub fn allocate_zeroed(&mut self, layout: Layout) -> *mut u8 {
        let block = self.allocate(layout);
        // A large block is freshly mapped.
        if !block.is_null() && size_index(layout).is_some() {
            // SAFETY: the block has at least `layout.size()` bytes and nobody else knows it.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    /// Takes a block back. One that was inherited is left alone.
    ///
    /// # Safety
    /// `block` was allocated with `layout`, here or in the parent, and is not used any more.
    pub unsafe fn free(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: by the contract above the block is ours and of this layout.
        unsafe {
            match size_index(layout) {
                Some(index) if self.in_chunk(block) => {
                    let freed = block.cast::<Free>();
                    freed.write(Free { next: self.free[index] });
                    self.free[index] = freed;
                }
                Some(_) => {}
                None => {
                    let Some(place) = self.large_place(block) else { return };
                    let (start, size) = std::mem::take(&mut self.large[place]);
                    libc::munmap(start as *mut libc::c_void, size);
                }
            }
        }
    }

    /// Changes a block's size, which may move it; null, and nothing changes, when there is no memory.
    ///
    /// # Safety
    /// `block` was allocated with `layout`, here or in the parent; the old address is not used when the answer is another.
    pub unsafe fn resize(&mut self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: by the contract above the block is ours and of this layout.
        unsafe {
            let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
                return null_mut();
            };
            match (size_index(layout), size_index(new_layout)) {
                (Some(old), Some(new)) if old == new && self.in_chunk(block) => return block,
                (None, None) => {
                    if let Some(place) = self.large_place(block) {
                        let (start, size) = self.large[place];
                        let wanted = whole_pages(new_size);
                        let start = start as *mut libc::c_void;
                        let moved = libc::mremap(start, size, wanted, libc::MREMAP_MAYMOVE);
                        if moved == libc::MAP_FAILED {
                            return null_mut();
                        }
                        self.large[place] = (moved as usize, wanted);
                        return moved.cast();
                    }
                }
                _ => {}
            }
            let moved = self.allocate(new_layout);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, layout.size().min(new_size));
                self.free(block, layout);
            }
            moved
        }
    }

    fn allocate_small(&mut self, index: usize) -> *mut u8 {
        let freed = self.free[index];
        if !freed.is_null() {
            // SAFETY: the list holds freed blocks of chunks only, each written as a `Free` when it was freed.
            self.free[index] = unsafe { (*freed).next };
            return freed.cast();
        }
        let size = 1 << (SMALLEST_SHIFT as usize + index);
        let mut start = self.next.next_multiple_of(size);
        if start + size > self.end {
            if self.chunk_count == CHUNKS_MAX {
                return null_mut();
            }
            let Some(chunk) = map(CHUNK_BYTES) else { return null_mut() };
            self.chunks[self.chunk_count] = chunk;
            self.chunk_count += 1;
            self.end = chunk + CHUNK_BYTES;
            start = chunk.next_multiple_of(size);
        }
        self.next = start + size;
        start as *mut u8
    }

    fn allocate_large(&mut self, layout: Layout) -> *mut u8 {
        if layout.align() > PAGE {
            return null_mut();
        }
        let Some(place) = self.large.iter().position(|(_, size)| *size == 0) else { return null_mut() };
        let size = whole_pages(layout.size());
        let Some(start) = map(size) else { return null_mut() };
        self.large[place] = (start, size);
        start as *mut u8
    }

    fn in_chunk(&self, block: *mut u8) -> bool {
        let address = block as usize;
        self.chunks[..self.chunk_count].iter().any(|chunk| (*chunk..chunk + CHUNK_BYTES).contains(&address))
    }

    fn large_place(&self, block: *mut u8) -> Option<usize> {
        self.large.iter().position(|(start, size)| *size != 0 && *start == block as usize)
    }
}

/// Which list a block for `layout` belongs to; None for a large one.
fn size_index(layout: Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(1 << SMALLEST_SHIFT);
    (size <= SMALL_MAX).then(|| (size.next_power_of_two().trailing_zeros() - SMALLEST_SHIFT) as usize)
}

fn whole_pages(size: usize) -> usize {
    // A layout is at most isize::MAX bytes, so this cannot overflow.
    size.max(1).next_multiple_of(PAGE)
}

/// The address of fresh memory of zeroes.
fn map(size: usize) -> Option<usize> {
    // SAFETY: a mapping of its own, at an address that the system chooses.
    let start = unsafe {
        libc::mmap(
            null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    (start != libc::MAP_FAILED).then_some(start as usize)
}

/// Whether this process is a forked child.
static IN_CHILD: AtomicBool = AtomicBool::new(false);

struct OfThisChild(UnsafeCell<ChildMemory>);

// SAFETY: used only through `this_child`, in a process that has one thread.
unsafe impl Sync for OfThisChild {}

static MEMORY: OfThisChild = OfThisChild(UnsafeCell::new(ChildMemory::new()));

/// From now on this process allocates as a child.
///
/// # Safety
/// This process has one thread, and will have no other.
pub unsafe fn enter() {
    IN_CHILD.store(true, Ordering::Relaxed);
}

pub fn in_child() -> bool {
    IN_CHILD.load(Ordering::Relaxed)
}

/// Does something with the memory of this process, which is a child.
///
/// # Safety
/// `in_child()` is true, and `act` allocates nothing.
#[cold]
pub unsafe fn this_child<R>(act: impl FnOnce(&mut ChildMemory) -> R) -> R {
    debug_assert!(in_child());
    // SAFETY: a child has one thread (the contract of `enter`), and `act` does not come back here.
    act(unsafe { &mut *MEMORY.0.get() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    fn fill(block: *mut u8, size: usize, byte: u8) {
        assert!(!block.is_null());
        // SAFETY: the tests fill what they have allocated.
        unsafe { block.write_bytes(byte, size) };
    }

    fn holds(block: *mut u8, size: usize, byte: u8) -> bool {
        // SAFETY: as in `fill`.
        unsafe { std::slice::from_raw_parts(block, size) }.iter().all(|b| *b == byte)
    }

    #[test]
    fn blocks_of_all_sizes_do_not_overlap_and_are_aligned() {
        let mut memory = ChildMemory::new();
        let mut blocks = Vec::new();
        for round in 0..20u8 {
            for size in [1, 8, 16, 17, 100, 1000, 4096, 30_000, 32_768, 32_769, 200_000] {
                if size > SMALL_MAX && round > 5 {
                    continue;
                }
                for align in [1, 8, 64, 4096] {
                    let layout = Layout::from_size_align(size, align).unwrap();
                    let block = memory.allocate(layout);
                    assert_eq!(block as usize % align, 0);
                    fill(block, size, blocks.len() as u8);
                    blocks.push((block, layout));
                }
            }
        }
        for (number, (block, layout)) in blocks.iter().enumerate() {
            assert!(holds(*block, layout.size(), number as u8));
        }
        for (block, layout) in blocks {
            // SAFETY: allocated above with this layout.
            unsafe { memory.free(block, layout) };
        }
        assert!(memory.large.iter().all(|(_, size)| *size == 0));
    }

    #[test]
    fn freed_memory_is_used_again() {
        let mut memory = ChildMemory::new();
        for size in [24, 5000, 32_000, 1 << 20] {
            for _ in 0..10_000 {
                let block = memory.allocate(layout(size));
                fill(block, 1, 1);
                // SAFETY: allocated above with this layout.
                unsafe { memory.free(block, layout(size)) };
            }
        }
        assert!(memory.chunk_count <= 2);
    }

    #[test]
    fn a_block_keeps_its_bytes_through_every_change_of_size() {
        let mut memory = ChildMemory::new();
        let mut size = 10;
        let mut block = memory.allocate(layout(size));
        fill(block, size, 7);
        for new in [20, 31, 32, 33, 20_000, 40_000, 500_000, 5_000_000, 100_000, 30_000, 10] {
            // SAFETY: allocated with `size` and 8.
            block = unsafe { memory.resize(block, layout(size), new) };
            assert!(holds(block, size.min(new), 7));
            fill(block, new, 7);
            size = new;
        }
    }

    #[test]
    fn what_was_inherited_is_copied_when_it_grows_and_never_freed() {
        let mut memory = ChildMemory::new();
        for size in [100, 100_000] {
            let mut inherited = vec![9u8; size];
            let block = inherited.as_mut_ptr();
            // SAFETY: the block stays the vector's, because it is not this memory's.
            unsafe {
                memory.free(block, layout(size));
                let grown = memory.resize(block, layout(size), size * 3);
                assert_ne!(grown, block);
                assert!(holds(grown, size, 9));
            }
            assert!(inherited.iter().all(|b| *b == 9));
        }
    }

    #[test]
    fn zeroed_blocks_are_zero_even_when_they_were_used_before() {
        let mut memory = ChildMemory::new();
        for size in [64, 100_000] {
            let block = memory.allocate(layout(size));
            fill(block, size, 5);
            // SAFETY: allocated above with this layout.
            unsafe { memory.free(block, layout(size)) };
            assert!(holds(memory.allocate_zeroed(layout(size)), size, 0));
        }
    }

    #[test]
    fn it_ends_at_its_bounds_with_null() {
        let mut memory = ChildMemory::new();
        let large =
            (0..LARGE_MAX + 1).map(|_| memory.allocate(layout(SMALL_MAX + 1))).filter(|b| b.is_null());
        assert_eq!(large.count(), 1);
        let small = CHUNKS_MAX * CHUNK_BYTES / SMALL_MAX;
        let refused = (0..small + 1).filter(|_| memory.allocate(layout(SMALL_MAX)).is_null()).count();
        assert!(refused >= 1);
        let mut memory = ChildMemory::new();
        let aligned = |align| Layout::from_size_align(16, align).unwrap();
        assert!(!memory.allocate(aligned(SMALL_MAX)).is_null());
        assert!(memory.allocate(aligned(SMALL_MAX * 2)).is_null());
    }
}
