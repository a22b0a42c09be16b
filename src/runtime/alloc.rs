//! The process's allocator: mimalloc, with a count of what is allocated.
//!
//! The count is of requested bytes, which the layout tells at both ends, so nothing is looked up. Each thread
//! counts for itself in a cell that others may read; memory freed by another thread than the one that allocated
//! it makes single counts drift apart, never their sum.
//!
//! A thread that has no counter yet takes a slow path to get one. A forked child is sent there for good (`enter_child`): it must
//! not touch mimalloc, and allocates from `child_memory` instead. So the server pays nothing for its children.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

use libmimalloc_sys as mi;

use super::child_memory;

/// Threads with a counter of their own; later ones share the last.
const COUNTERS: usize = 256;

#[repr(align(64))]
struct Counter(AtomicIsize);

static COUNTS: [Counter; COUNTERS] = [const { Counter(AtomicIsize::new(0)) }; COUNTERS];
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// No counter has been given out to this thread.
const NONE: usize = usize::MAX;

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(NONE) };
}

/// The index of this thread's counter; None in a forked child.
#[inline]
fn counter() -> Option<usize> {
    match MINE.get() {
        NONE => first_counter(),
        index => Some(index),
    }
}

#[cold]
fn first_counter() -> Option<usize> {
    if child_memory::in_child() {
        return None;
    }
    let index = NEXT.fetch_add(1, Ordering::Relaxed).min(COUNTERS - 1);
    MINE.set(index);
    Some(index)
}

#[inline]
fn count(index: usize, bytes: isize) {
    let counter = &COUNTS[index].0;
    if index == COUNTERS - 1 {
        counter.fetch_add(bytes, Ordering::Relaxed);
    } else {
        // One writer: a plain load and store is enough.
        counter.store(counter.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    }
}

/// Memory outside a shard's range that is full: see `arena`. Null when there is none at all.
///
/// # Safety
/// As `GlobalAlloc::alloc`.
#[cold]
unsafe fn allocate_outside(layout: Layout) -> *mut u8 {
    // SAFETY: the caller keeps the contract that is stated for this function, and it is passed on.
    unsafe { mi::mi_heap_malloc_aligned(mi::mi_heap_get_backing(), layout.size(), layout.align()).cast() }
}

/// Makes this process, which has just been forked, allocate as a child.
///
/// # Safety
/// This process has one thread, and will have no other.
pub unsafe fn enter_child() {
    // SAFETY: by the contract above.
    unsafe {
        child_memory::enter();
        MINE.set(NONE);
    }
}

/// Bytes allocated and not freed, by all threads.
pub fn allocated_bytes() -> usize {
    COUNTS.iter().map(|c| c.0.load(Ordering::Relaxed)).sum::<isize>().max(0) as usize
}

pub struct CountingMimalloc;

// SAFETY: every method passes the caller's obligations on to mimalloc's function of the same contract, or in a child, which has
// one thread, to `ChildMemory`'s; counting touches no allocated memory and does not allocate.
unsafe impl GlobalAlloc for CountingMimalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract that is stated for this function, and it is passed on.
        unsafe {
            let Some(counter) = counter() else {
                return child_memory::this_child(|memory| memory.allocate(layout));
            };
            count(counter, layout.size() as isize);
            let block = if layout.align() <= 16 {
                mi::mi_malloc(layout.size())
            } else {
                mi::mi_malloc_aligned(layout.size(), layout.align())
            };
            if block.is_null() {
                return allocate_outside(layout);
            }
            block.cast()
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract that is stated for this function, and it is passed on.
        unsafe {
            let Some(counter) = counter() else {
                return child_memory::this_child(|memory| memory.allocate_zeroed(layout));
            };
            count(counter, layout.size() as isize);
            let block = mi::mi_zalloc_aligned(layout.size(), layout.align());
            if block.is_null() {
                // UnreleasedKeys memory, or memory that is cleared here.
                let block = allocate_outside(layout);
                if !block.is_null() {
                    block.write_bytes(0, layout.size());
                }
                return block;
            }
            block.cast()
        }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract that is stated for this function, and it is passed on.
        unsafe {
            let Some(counter) = counter() else {
                return child_memory::this_child(|memory| memory.free(pointer, layout));
            };
            count(counter, -(layout.size() as isize));
            mi::mi_free(pointer.cast());
        }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract that is stated for this function, and it is passed on.
        unsafe {
            let Some(counter) = counter() else {
                return child_memory::this_child(|memory| memory.resize(pointer, layout, new_size));
            };
            let mut moved: *mut u8 = mi::mi_realloc_aligned(pointer.cast(), new_size, layout.align()).cast();
            if moved.is_null() {
                moved = allocate_outside(Layout::from_size_align_unchecked(new_size, layout.align()));
                if moved.is_null() {
                    return moved;
                }
                moved.copy_from_nonoverlapping(pointer, layout.size().min(new_size));
                mi::mi_free(pointer.cast());
            }
            count(counter, new_size as isize - layout.size() as isize);
            moved
        }
    }
}

/// What the allocator holds from the system, and asks of it: resident, peak resident, committed (bytes).
pub fn process_info() -> (usize, usize, usize) {
    let (mut resident, mut peak, mut committed) = (0usize, 0usize, 0usize);
    let mut unused = [0usize; 5];
    let [elapsed, user, system, peak_commit, faults] = &mut unused;
    // SAFETY: eight pointers to live integers, as the function asks.
    unsafe {
        mi::mi_process_info(
            elapsed,
            user,
            system,
            &mut resident,
            &mut peak,
            &mut committed,
            peak_commit,
            faults,
        );
    }
    (resident, peak, committed)
}

/// Gives unused memory back to the system (MEMORY PURGE).
pub fn purge() {
    // SAFETY: no preconditions.
    unsafe { mi::mi_collect(true) };
}
