//! An element of a large sorted set: one allocation that holds score and member, known by its address.
//!
//! ```text
//! score, 8 bytes | length of the member, 1 byte, or 0xff and 8 bytes | member
//! ```
//!
//! The hash table keeps the address as its word, and the tree keeps it in six bytes: addresses of user space are 48 bits.

use std::alloc::{alloc, dealloc, handle_alloc_error, Layout};
use std::ptr::NonNull;

use super::Score;
use crate::store::memory::block_size;

const SCORE_BYTES: usize = size_of::<Score>();
const ALIGN: usize = align_of::<Score>();
/// Says that the length follows.
const LONG: u8 = 0xff;
const LONG_LENGTH_BYTES: usize = size_of::<u64>();
/// What an address takes in the tree.
pub(super) const SLOT_BYTES: usize = 6;

/// The address of a live element.
///
/// Invariant: it was made by [`Element::create`] and [`Element::destroy`] has not been called on it; whoever destroys an
/// element makes sure that no copy of its address is used afterwards, nor a member borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element(NonNull<u8>);

impl Element {
    pub(super) fn create(member: &[u8], score: Score) -> Element {
        let layout = layout(member.len());
        // SAFETY: the layout is not empty.
        let Some(block) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        assert_eq!(
            block.as_ptr() as u64 >> (8 * SLOT_BYTES),
            0,
            "user addresses of this platform fit in 48 bits"
        );
        let element = Element(block);
        let head = head_bytes(member.len());
        // SAFETY: the block is new, aligned for a score, and as long as all that is written here.
        unsafe {
            block.cast::<Score>().write(score);
            if member.len() < LONG as usize {
                block.add(SCORE_BYTES).write(member.len() as u8);
            } else {
                block.add(SCORE_BYTES).write(LONG);
                let len = (member.len() as u64).to_le_bytes();
                block.add(SCORE_BYTES + 1).cast::<[u8; LONG_LENGTH_BYTES]>().write(len);
            }
            block.add(head).copy_from_nonoverlapping(NonNull::from(member).cast(), member.len());
        }
        element
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// Nobody uses a copy of this element, or a member borrowed from it, afterwards.
    pub(super) unsafe fn destroy(self) {
        // SAFETY: by the contract above.
        unsafe {
            dealloc(self.0.as_ptr(), layout(self.member().len()));
        }
    }

    #[inline]
    pub(super) fn score(self) -> Score {
        // SAFETY: a live element begins with its score.
        unsafe { self.0.cast::<Score>().read() }
    }

    /// The caller keeps the order of whatever the element is in.
    #[inline]
    pub(super) fn set_score(self, score: Score) {
        // SAFETY: as `score`; nobody holds a reference to it.
        unsafe { self.0.cast::<Score>().write(score) }
    }

    /// Its bytes, for as long as it lives.
    #[inline]
    pub(super) fn member<'a>(self) -> &'a [u8] {
        // SAFETY: a live element has a length there, and behind it so many bytes, which nobody ever changes.
        unsafe {
            let short = self.0.add(SCORE_BYTES).read();
            if short != LONG {
                let start = self.0.add(SCORE_BYTES + 1);
                return std::slice::from_raw_parts(start.as_ptr(), short as usize);
            }
            let len = self.0.add(SCORE_BYTES + 1).cast::<[u8; LONG_LENGTH_BYTES]>().read();
            let start = self.0.add(SCORE_BYTES + 1 + LONG_LENGTH_BYTES);
            std::slice::from_raw_parts(start.as_ptr(), u64::from_le_bytes(len) as usize)
        }
    }

    /// Bytes of its allocation.
    pub(super) fn memory(self) -> usize {
        layout(self.member().len()).size()
    }

    pub(super) fn to_word(self) -> u64 {
        self.0.as_ptr() as u64
    }

    /// # Safety
    /// The word is `to_word` of an element that is live.
    #[inline]
    pub(super) unsafe fn from_word(word: u64) -> Element {
        // SAFETY: by the contract above.
        unsafe { Element(NonNull::new_unchecked(word as *mut u8)) }
    }

    pub(super) fn to_slot(self) -> [u8; SLOT_BYTES] {
        let [a, b, c, d, e, f, _, _] = self.to_word().to_le_bytes();
        [a, b, c, d, e, f]
    }

    /// # Safety
    /// The slot is `to_slot` of an element that is live.
    #[inline]
    pub(super) unsafe fn from_slot([a, b, c, d, e, f]: [u8; SLOT_BYTES]) -> Element {
        // SAFETY: by the contract above.
        unsafe { Element::from_word(u64::from_le_bytes([a, b, c, d, e, f, 0, 0])) }
    }

    /// Asks the processor for its first cache line.
    #[inline]
    pub(super) fn prefetch(self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch has no effect but on caches, whatever the address.
        unsafe {
            std::arch::x86_64::_mm_prefetch(self.0.as_ptr().cast(), std::arch::x86_64::_MM_HINT_T0);
        }
    }
}

fn head_bytes(member_len: usize) -> usize {
    SCORE_BYTES + if member_len < LONG as usize { 1 } else { 1 + LONG_LENGTH_BYTES }
}

fn layout(member_len: usize) -> Layout {
    // A member is as long as a bulk string at most: far below the limit of isize.
    Layout::from_size_align(block_size(head_bytes(member_len) + member_len), ALIGN)
        .expect("an element of valid size")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_for_all_lengths() {
        for len in [0, 1, 14, 23, 254, 255, 256, 70_000] {
            let member: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let element = Element::create(&member, -2.5);
            assert_eq!((element.member(), element.score()), (&member[..], -2.5));
            element.set_score(7.0);
            // SAFETY: the element is live until the end of this loop, and used by nobody else.
            unsafe {
                assert_eq!(Element::from_word(element.to_word()), element);
                assert_eq!(Element::from_slot(element.to_slot()), element);
                assert_eq!((element.member(), element.score()), (&member[..], 7.0));
                element.destroy();
            }
        }
    }

    #[test]
    fn a_14_byte_member_takes_32_bytes() {
        assert_eq!(layout(14).size(), 32);
        assert_eq!(layout(7).size(), 16);
    }
}
