//! What an allocation really costs.
//!
//! Gyre's allocator, mimalloc, serves a request with the smallest block that holds it from a fixed list of sizes. Asking
//! for exactly these sizes lets a value grow into what it has anyway, and makes the accounting true.

/// The bytes of the block that holds `size` bytes: 8, 16, 32, 48, 64, and then four sizes per doubling; whole
/// 4 KiB pages above 32 KiB.
#[inline]
pub(super) fn block_size(size: usize) -> usize {
    if size <= 8 {
        8
    } else if size <= 64 {
        (size + 15) & !15
    } else if size <= 32 * 1024 {
        let step = 1usize << ((size - 1).ilog2() - 2);
        (size + step - 1) & !(step - 1)
    } else {
        (size + 4095) & !4095
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_the_sizes_that_the_allocator_has() {
        for size in 1..40_000usize {
            // SAFETY: a pure function of its argument.
            let good = unsafe { libmimalloc_sys::mi_good_size(size) };
            assert!(block_size(size) >= size);
            if size <= 32 * 1024 {
                assert_eq!(block_size(size), good, "{size}");
            }
        }
    }
}
