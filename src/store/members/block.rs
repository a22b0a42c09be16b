//! Bytes behind one word: a boxed slice that keeps its length in front of its bytes instead of beside its address.
//!
//! A table of many small blocks then costs 8 bytes for each instead of 16, and an empty one allocates nothing.

use std::alloc::{alloc, dealloc, handle_alloc_error, Layout};
use std::ptr::null_mut;

use crate::store::memory::block_size;

/// The length in front of the bytes.
const LEN_BYTES: usize = 4;
/// Everything that an allocator gives out is so aligned.
const ALIGNMENT: usize = 8;

/// Owned bytes. Null when there are none; else the address of a `u32` length and so many bytes, all written.
#[derive(Debug)]
pub(super) struct Block(*mut u8);

// SAFETY: a block owns what it points to, and nothing else does.
unsafe impl Send for Block {}
// SAFETY: what a shared block gives out is shared bytes.
unsafe impl Sync for Block {}

impl Default for Block {
    fn default() -> Block {
        Block(null_mut())
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: allocated by `with_len` with this layout, and owned by this value alone.
            unsafe { dealloc(self.0, layout(self.len())) }
        }
    }
}

impl Block {
    /// So many zeros.
    pub(super) fn with_len(len: usize) -> Block {
        if len == 0 {
            return Block::default();
        }
        let len_field = u32::try_from(len).expect("a block is shorter than 4 GiB");
        let layout = layout(len);
        // SAFETY: the layout has room for the length and `len` bytes, which are all written; it is aligned for a u32.
        unsafe {
            let address = alloc(layout);
            if address.is_null() {
                handle_alloc_error(layout);
            }
            address.cast::<u32>().write(len_field);
            address.add(LEN_BYTES).write_bytes(0, len);
            Block(address)
        }
    }

    /// The length that uses all of the allocation that `len` bytes need.
    pub(super) fn roomy_len(len: usize) -> usize {
        block_size(LEN_BYTES + len) - LEN_BYTES
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        if self.0.is_null() {
            return 0;
        }
        // SAFETY: not null, hence the address of a length.
        unsafe { self.0.cast::<u32>().read() as usize }
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        if self.0.is_null() {
            return &[];
        }
        // SAFETY: `len` written bytes are behind the length, and live as long as the block, which is borrowed.
        unsafe { std::slice::from_raw_parts(self.0.add(LEN_BYTES), self.len()) }
    }

    #[inline]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        if self.0.is_null() {
            return &mut [];
        }
        // SAFETY: as `bytes`, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(LEN_BYTES), self.len()) }
    }

    /// Bytes allocated.
    pub(super) fn memory(&self) -> usize {
        if self.0.is_null() {
            0
        } else {
            block_size(LEN_BYTES + self.len())
        }
    }

    /// The block as a number, which owns it from now on.
    pub(super) fn into_raw(self) -> u64 {
        std::mem::ManuallyDrop::new(self).0.expose_provenance() as u64
    }

    /// The inverse.
    ///
    /// # Safety
    /// `raw` came from `into_raw`, and nobody takes the block out of it again.
    pub(super) unsafe fn from_raw(raw: u64) -> Block {
        Block(std::ptr::with_exposed_provenance_mut(raw as usize))
    }

    /// Asks the processor for the first cache line.
    #[inline]
    pub(super) fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch has no effect but on caches, whatever the address.
        unsafe {
            std::arch::x86_64::_mm_prefetch(self.0.cast::<i8>(), std::arch::x86_64::_MM_HINT_T0)
        };
    }
}

impl Clone for Block {
    fn clone(&self) -> Block {
        let mut copy = Block::with_len(self.len());
        copy.bytes_mut().copy_from_slice(self.bytes());
        copy
    }
}

fn layout(len: usize) -> Layout {
    // Bounded by the u32 that the length is kept in.
    Layout::from_size_align(LEN_BYTES + len, ALIGNMENT).expect("a block of valid size")
}
