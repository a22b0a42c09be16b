//! Gives memory that has been freed back to the system.
//!
//! The allocator keeps what is freed, and would give it back when something else is freed later, on the thread that does so. That may be
//! never, as when a client deletes its ten largest values and leaves; or it is a shard's thread, which then stands still for as long as
//! the system takes, 20 ms and more for a gigabyte. So the shards' threads never do it (`by_others`). A thread of its own
//! does, at low priority, when [`Shortfall`] says that there is something to gain; it ends afterwards.
//!
//! That is about segments, 32 MiB each, of which nothing is in use. Of those in which something is, only the thread that owns them can give the
//! rest back. A shard does that in slices, segment by segment ([`Sweep`]).
//!
//! What is in use again soon stays: a fall of what is allocated counts when it has lasted for a second.

use std::collections::HashSet;
use std::ffi::c_void;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use libmimalloc_sys as mi;

use super::{cpus, sys};
use crate::base::Stamp;

/// The allocator's option `arena_purge_mult`: so many times 10 ms pass before it purges by itself. In effect never.
const ARENA_PURGE_MULT: mi::mi_option_t = 24;
const NEVER: libc::c_long = 1 << 30;
/// Looks that a fall has to last, a second's.
const LOOKS: usize = 10;
/// What is not worth a purge, bytes.
const WORTH_BYTES: usize = 8 << 20;
/// How much less of a core the thread gets than a shard.
const NICENESS: libc::c_int = 10;

/// A purge is under way.
static IS_UNDER_WAY: AtomicBool = AtomicBool::new(false);

/// From now on freeing memory never purges. To be called at the start.
pub fn by_others() {
    // SAFETY: sets a number that the allocator reads.
    unsafe { mi::mi_option_set(ARENA_PURGE_MULT, NEVER) };
}

/// Purges what all threads have freed, in a thread of its own. What a thread keeps at hand for itself is not among it.
pub fn begin() -> io::Result<()> {
    if IS_UNDER_WAY.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    let purge = || {
        cpus::use_all();
        sys::be_nice(NICENESS);
        // SAFETY: no preconditions.
        unsafe { mi::mi_collect(true) };
        IS_UNDER_WAY.store(false, Ordering::Release);
    };
    let spawned = thread::Builder::new().name("purge".to_owned()).spawn(purge);
    spawned.map(drop).inspect_err(|_| IS_UNDER_WAY.store(false, Ordering::Release))
}

/// A segment of the allocator begins at a multiple of this.
const SEGMENT_BYTES: usize = 32 << 20;
/// The allocator's pages that one slice of a sweep looks at; they are found one from the other. There are more in a shard of over
/// 1 GiB, whose other segments keep what they have.
const PAGES_MAX: usize = 16 * 1024;
/// Segments that a slice looks into.
const SEGMENTS_PER_SLICE: usize = 256;

extern "C" {
    /// Gives what is free in a segment of this thread's back to the system. The allocator's own `mi_heap_collect` calls it for the segment of
    /// each page that it visits.
    fn _mi_segment_collect(segment: *mut c_void, force: bool);
}

/// Gives back what is free between what is in use, on the thread that owns it.
#[derive(Debug, Default)]
pub struct Sweep {
    done: HashSet<usize>,
}

struct Slice<'a> {
    sweep: &'a mut Sweep,
    pages: usize,
    segments: usize,
    began: Stamp,
    nanos_max: u64,
    is_cut: bool,
}

impl Sweep {
    /// Goes on for about so long; a segment takes a millisecond at most. True when there is more to do.
    pub fn go_on(&mut self, nanos_max: u64) -> bool {
        let mut slice =
            Slice { sweep: self, pages: 0, segments: 0, began: Stamp::now(), nanos_max, is_cut: false };
        let argument: *mut Slice = &mut slice;
        // SAFETY: the heap is this thread's, and nothing is allocated from it or freed while it is visited: `done` has room. The visitor
        // gets its argument back as it was given, and nobody else uses it meanwhile.
        unsafe {
            (*argument).sweep.done.reserve(SEGMENTS_PER_SLICE);
            mi::mi_heap_visit_blocks(mi::mi_heap_get_default(), false, Some(visit), argument.cast());
        }
        slice.is_cut
    }
}

/// Called for each page of the allocator. False: that is enough.
unsafe extern "C" fn visit(
    _: *const mi::mi_heap_t,
    area: *const mi::mi_heap_area_t,
    _: *mut c_void,
    _: usize,
    argument: *mut c_void,
) -> bool {
    // SAFETY: mimalloc passes on the argument that it was given, which is a `Slice` that nobody else uses meanwhile.
    let slice = unsafe { &mut *argument.cast::<Slice>() };
    slice.pages += 1;
    // SAFETY: the area is valid during the call.
    let block = unsafe { (*area).blocks } as usize;
    let segment = block / SEGMENT_BYTES * SEGMENT_BYTES;
    if !slice.sweep.done.contains(&segment) {
        slice.is_cut = slice.segments == SEGMENTS_PER_SLICE
            || slice.segments > 0 && Stamp::now().nanos_since(slice.began) >= slice.nanos_max;
        if !slice.is_cut {
            slice.segments += 1;
            slice.sweep.done.insert(segment);
            // SAFETY: a page of this thread's heap lies in the segment, which therefore is live and this thread's.
            unsafe { _mi_segment_collect(segment as *mut c_void, true) };
        }
    }
    !slice.is_cut && slice.pages < PAGES_MAX
}

/// Puts together what this thread has freed, and what others have freed of its memory, so that a purge finds it.
pub fn collect_own() {
    // SAFETY: no preconditions.
    unsafe { mi::mi_collect(false) };
}

/// Finds out when much less is allocated than there was, for a while already.
#[derive(Debug, Default)]
pub struct Shortfall {
    /// The most that was allocated since the last purge, as far as looks saw it.
    high: usize,
    recent: [usize; LOOKS],
    next: usize,
}

impl Shortfall {
    /// Ten times a second: what is allocated now. True when it is time for a purge.
    pub fn look(&mut self, allocated: usize) -> bool {
        self.recent[self.next] = allocated;
        self.next = (self.next + 1) % LOOKS;
        self.high = self.high.max(allocated);
        let needed = self.recent.iter().copied().max().unwrap_or(0);
        if self.high - needed < WORTH_BYTES {
            return false;
        }
        self.high = needed;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_fall_counts_once_and_after_it_has_lasted() {
        let mut shortfall = Shortfall::default();
        for _ in 0..30 {
            assert!(!shortfall.look(100 * MIB));
        }
        let falls: Vec<bool> = (0..30).map(|_| shortfall.look(50 * MIB)).collect();
        assert_eq!(falls.iter().position(|fall| *fall), Some(LOOKS - 1));
        assert_eq!(falls.iter().filter(|fall| **fall).count(), 1);
        for _ in 0..30 {
            assert!(!shortfall.look(49 * MIB), "that little is not worth it");
        }
    }

    #[test]
    fn what_comes_and_goes_within_a_second_stays() {
        let mut shortfall = Shortfall::default();
        for look in 0..200 {
            let allocated = if look % 8 == 0 { 500 * MIB } else { MIB };
            assert!(!shortfall.look(allocated), "look {look}");
        }
    }
}
