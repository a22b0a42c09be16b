//! Each shard's memory in an address range of its own, so that a fork for one shard does not pay for the others.
//!
//! What a fork costs is page tables: they are copied for all memory that the child inherits. The ranges of all shards are marked as not to
//! be inherited (MADV_DONTFORK). The shard that forks lifts that from its own around its fork ([`while_inherited`]), so that its child copies 1/N
//! of the tables, and holds on to 1/N of the memory. Everything else (stacks, statics, what other threads have allocated)
//! is inherited as always.
//!
//! A range is reserved once, larger than the machine's memory, so that no shard outgrows it; nothing of it is used before it is
//! needed. In it lies an exclusive arena of mimalloc, from which the shard's thread allocates by default. Should the range be full all the
//! same, or should there be none (an address limit), the thread allocates as any other does: its fork is no less right then,
//! only slower, because unmarked memory is inherited by all.
//!
//! The other way round there is a rule: what a child looks at must not lie in another shard's range. A value that moves from one
//! shard to another is copied by its new owner, who allocates it (`Detached::reallocated`).
//!
//! mimalloc is version 2: it manages ranges of any size, while an exclusive arena of version 3 ends at 16 GiB. Speed and memory
//! are the same, and an idle process takes 4 MB less.

use std::cell::Cell;
use std::fs;
use std::io;
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

use libmimalloc_sys as mi;

use super::sys;

/// mimalloc wants a range to begin and end at a multiple of this: two of its segments.
const ALIGN: usize = 64 << 20;
/// The size of a range in relation to the machine's memory: fragmentation and memory that is compressed or swapped have a place.
const MEMORY_TIMES: usize = 2;
/// A range of less is not worth having.
const RANGE_MIN: usize = 64 << 30;
/// Where addresses are short: no more than this.
const RANGE_MAX: usize = 4 << 40;

/// Addresses of one shard's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: usize,
    size: usize,
}

/// All ranges; they are never given back, because what was allocated in them may outlive its thread.
static RANGES: Mutex<Vec<Range>> = Mutex::new(Vec::new());

thread_local! {
    static MINE: Cell<Option<Range>> = const { Cell::new(None) };
}

/// Who inherits what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inherit {
    /// The child has the memory of its own shard, and none of the others'.
    #[default]
    OwnShard,
    Everything,
}

/// Has this thread, a shard's, allocate in a range of its own from now on. False when there is none to be had, and all stays as it was.
pub fn enter() -> bool {
    if MINE.get().is_some() {
        return true;
    }
    if addresses_are_limited() {
        // A range would take them from everything else.
        return false;
    }
    let must_commit =
        fs::read_to_string("/proc/sys/vm/overcommit_memory").is_ok_and(|mode| mode.trim() == "2");
    let memory = sys::memory_bytes() as usize;
    let mut size = memory.saturating_mul(MEMORY_TIMES).next_power_of_two().clamp(RANGE_MIN, RANGE_MAX);
    while size >= RANGE_MIN {
        if let Some(range) = Range::reserve(size, must_commit) {
            return range.allocate_here(must_commit);
        }
        size /= 2;
    }
    false
}

/// Whether there is an RLIMIT_AS.
fn addresses_are_limited() -> bool {
    rustix::process::getrlimit(rustix::process::Resource::As).current.is_some()
}

/// Whether an address lies in this thread's range.
pub fn is_mine(address: usize) -> bool {
    MINE.get().is_some_and(|range| range.contains(address))
}

/// Does something, a fork, during which this thread's range is inherited, or all are. To be called by one thread at a time. An error
/// when the system refuses; nothing was done then.
pub fn while_inherited<R>(inherit: Inherit, act: impl FnOnce() -> R) -> io::Result<R> {
    let ranges = match inherit {
        Inherit::OwnShard => MINE.get().into_iter().collect(),
        Inherit::Everything => RANGES.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    };
    let marked = ranges.iter().try_for_each(|range: &Range| range.advise(libc::MADV_DOFORK));
    let done = marked.map(|()| act());
    for range in &ranges {
        // If this fails the range is inherited by others, too, which costs time and nothing else.
        let _ = range.advise(libc::MADV_DONTFORK);
    }
    done
}

impl Range {
    /// Addresses without memory. `must_commit`: the system counts memory when it is made writable, not when it is used.
    fn reserve(size: usize, must_commit: bool) -> Option<Range> {
        let access = if must_commit { libc::PROT_NONE } else { libc::PROT_READ | libc::PROT_WRITE };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a mapping of its own, at an address that the system chooses.
        let mapped = unsafe { libc::mmap(null_mut(), size + ALIGN, access, flags, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return None;
        }
        let mapped = mapped as usize;
        let range = Range { start: mapped.next_multiple_of(ALIGN), size };
        let end = range.start + size;
        for (from, to) in [(mapped, range.start), (end, mapped + size + ALIGN)] {
            if from < to {
                // SAFETY: a part of the mapping above, in front of or behind the range.
                unsafe { libc::munmap(from as *mut libc::c_void, to - from) };
            }
        }
        if range.advise(libc::MADV_DONTFORK).is_err() {
            // SAFETY: all that is left of the mapping above.
            unsafe { libc::munmap(range.start as *mut libc::c_void, size) };
            return None;
        }
        Some(range)
    }

    /// Makes this range the one that this thread allocates in.
    fn allocate_here(self, must_commit: bool) -> bool {
        let mut arena: mi::mi_arena_id_t = 0;
        // SAFETY: the range is mapped, aligned as mimalloc wants it, of zeroes, and never unmapped; the heap is this thread's,
        // and lives as long as the thread.
        let is_default = unsafe {
            let start = self.start as *const libc::c_void;
            if !mi::mi_manage_os_memory_ex(start, self.size, !must_commit, false, true, -1, true, &mut arena)
            {
                return false;
            }
            let heap = mi::mi_heap_new_in_arena(arena);
            !heap.is_null() && !mi::mi_heap_set_default(heap).is_null()
        };
        if is_default {
            MINE.set(Some(self));
            RANGES.lock().unwrap_or_else(PoisonError::into_inner).push(self);
        }
        is_default
    }

    fn advise(&self, advice: libc::c_int) -> io::Result<()> {
        // SAFETY: the range is mapped for good, and this changes only what a fork does with it.
        match unsafe { libc::madvise(self.start as *mut libc::c_void, self.size, advice) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn contains(&self, address: usize) -> bool {
        (self.start..self.start + self.size).contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::{GlobalAlloc, Layout};
    use std::thread;

    use super::super::alloc::CountingMimalloc;
    use super::*;

    /// A thread of its own that allocates in a range of `size`; gives `test` blocks that are written all over.
    fn in_range(size: usize, must_commit: bool, test: impl FnOnce(&dyn Fn(usize) -> usize) + Send) {
        thread::scope(|scope| {
            scope.spawn(|| {
                let range = Range::reserve(size, must_commit).unwrap();
                assert!(range.allocate_here(must_commit));
                test(&|size| {
                    let layout = Layout::from_size_align(size, 8).unwrap();
                    // SAFETY: the layout is not empty, and the block is as long as it says.
                    unsafe {
                        let block = CountingMimalloc.alloc(layout);
                        assert!(!block.is_null(), "{size} bytes");
                        block.write_bytes(1, size);
                        block as usize
                    }
                });
            });
        });
    }

    #[test]
    fn blocks_of_all_sizes_lie_in_the_range_also_when_memory_must_be_committed() {
        for must_commit in [false, true] {
            in_range(RANGE_MIN, must_commit, |allocate| {
                for size in [8, 64, 500, 4096, 20_000, 100_000, 1 << 20, 20 << 20, 100 << 20] {
                    for _ in 0..3 {
                        assert!(is_mine(allocate(size)), "{size} bytes");
                    }
                }
            });
        }
    }

    #[test]
    fn a_full_range_is_no_reason_to_fail() {
        in_range(128 << 20, false, |allocate| {
            let inside = (0..300).filter(|_| is_mine(allocate(1 << 20))).count();
            assert!((50..=128).contains(&inside), "{inside} MB of 128");
            assert!(!is_mine(allocate(200 << 20)), "larger than the range");
        });
    }

    #[test]
    fn a_range_is_inherited_during_the_fork_of_its_thread_only() {
        in_range(128 << 20, false, |allocate| {
            let block = allocate(1000);
            let marked = || flags_at(block).contains("dc");
            assert!(marked());
            while_inherited(Inherit::OwnShard, || assert!(!marked())).unwrap();
            assert!(marked());
        });
    }

    /// The flags that the system shows for the memory at an address: `dc` is "do not copy on fork".
    fn flags_at(address: usize) -> String {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut here = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|word| word.split_once('-'));
            let number = |text| usize::from_str_radix(text, 16);
            if let Some((Ok(from), Ok(to))) = range.map(|(from, to)| (number(from), number(to))) {
                here = (from..to).contains(&address);
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| here) {
                return flags.to_owned();
            }
        }
        panic!("{address:#x} is not mapped");
    }
}
