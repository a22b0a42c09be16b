//! The tables of a database's slots: one array, in memory of its own that the system gives page by page.
//!
//! All slots' tables together take a megabyte, and a database with ten keys uses ten of them. What the allocator hands out
//! zeroed may have been used before and is written over then; a mapping stays untouched until a table in it is used, and only what has been
//! used counts. Every table is where it would be in a slice: a look-up pays nothing for that.

use std::alloc::{handle_alloc_error, Layout};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::table::{Owner, Table};

/// What the system gives at a time, bytes. Where its pages are larger the account is too low by a few of them.
const PAGE_BYTES: usize = 4096;
const TABLES_PER_PAGE: usize = PAGE_BYTES / size_of::<Table>();

/// Empty without memory, until it is made for a number of slots.
#[derive(Default)]
pub(super) struct Tables {
    /// `len` tables; an all-zero one is empty.
    first: Option<NonNull<Table>>,
    len: usize,
    /// The pages that have had a table in use, by bits, and their number.
    used: Box<[u64]>,
    used_pages: usize,
}

impl Tables {
    pub(super) fn new(len: usize) -> Tables {
        if len == 0 {
            return Tables::default();
        }
        Tables {
            first: Some(map(len)),
            len,
            used: vec![0; len.div_ceil(TABLES_PER_PAGE).div_ceil(64)].into(),
            used_pages: 0,
        }
    }

    /// The table, which is about to be used.
    #[inline]
    pub(super) fn for_use(&mut self, slot: usize, owner: &mut impl Owner) -> &mut Table {
        let page = slot / TABLES_PER_PAGE;
        let (word, bit) = (page / 64, 1 << (page % 64));
        if self.used[word] & bit == 0 {
            self.used[word] |= bit;
            self.used_pages += 1;
            owner.allocated(PAGE_BYTES);
        }
        &mut self[slot]
    }

    /// Bytes of the array that have been told to the owner.
    pub(super) fn used_bytes(&self) -> usize {
        self.used_pages * PAGE_BYTES
    }
}

impl Deref for Tables {
    type Target = [Table];

    #[inline]
    fn deref(&self) -> &[Table] {
        match self.first {
            // SAFETY: `len` tables are mapped there for as long as `self` lives, and all-zero ones are valid.
            Some(first) => unsafe { std::slice::from_raw_parts(first.as_ptr(), self.len) },
            None => &[],
        }
    }
}

impl DerefMut for Tables {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Table] {
        match self.first {
            // SAFETY: as above, and nobody else has them.
            Some(first) => unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), self.len) },
            None => &mut [],
        }
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        if let Some(first) = self.first.take() {
            // SAFETY: `map` has made it of that length, and nothing points into it any more. What it points to has been freed: tables have no `Drop`.
            unsafe { libc::munmap(first.as_ptr().cast(), self.len * size_of::<Table>()) };
        }
    }
}

/// `len` tables, all zero.
fn map(len: usize) -> NonNull<Table> {
    let bytes = len * size_of::<Table>();
    // SAFETY: an anonymous private mapping of a length that is not zero has no preconditions.
    let block = unsafe {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        libc::mmap(std::ptr::null_mut(), bytes, access, flags, -1, 0)
    };
    let block = NonNull::new(block).filter(|_| block != libc::MAP_FAILED);
    // A number of slots: cannot overflow.
    let Some(block) = block else {
        handle_alloc_error(Layout::array::<Table>(len).expect("a small number of tables"))
    };
    // One huge page for all of them would be what this is against. If it is refused, so it is.
    // SAFETY: the mapping has just been made.
    #[cfg(not(miri))]
    unsafe {
        libc::madvise(block.as_ptr(), bytes, libc::MADV_NOHUGEPAGE)
    };
    block.cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Account(usize);

    impl Owner for Account {
        fn hash(&self, word: u64) -> u64 {
            word
        }

        fn allocated(&mut self, bytes: usize) {
            self.0 += bytes;
        }

        fn freed(&mut self, bytes: usize) {
            self.0 -= bytes;
        }
    }

    #[test]
    fn only_pages_in_use_count() {
        assert_eq!(TABLES_PER_PAGE * size_of::<Table>(), PAGE_BYTES);
        let mut account = Account::default();
        let mut tables = Tables::new(16_384);
        assert!(tables.len() == 16_384 && tables.iter().all(Table::is_empty));
        for slot in [0, 1, 63, 16_383, 0] {
            assert!(tables.for_use(slot, &mut account).is_empty());
        }
        assert_eq!((account.0, tables.used_bytes()), (2 * PAGE_BYTES, 2 * PAGE_BYTES));
        for len in [1, 63, 64, 65, 5_461] {
            let mut tables = Tables::new(len);
            assert_eq!(tables.len(), len);
            (0..len).for_each(|slot| assert!(tables.for_use(slot, &mut account).is_empty()));
            assert_eq!(tables.used_bytes(), len.div_ceil(TABLES_PER_PAGE) * PAGE_BYTES);
        }
        assert!(Tables::new(0).is_empty());
    }
}
