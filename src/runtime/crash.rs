//! Crashing on purpose, for tests of what a crash leaves behind.

use std::alloc::{handle_alloc_error, Layout};

/// Writes where writing is not allowed.
pub fn segfault() -> ! {
    // SAFETY: maps a fresh page; nothing else is there.
    let page = unsafe {
        libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANON, -1, 0)
    };
    // SAFETY: the page is mapped; that it may not be written is the point, and ends the process.
    unsafe { page.cast::<u8>().write_volatile(b'x') };
    std::process::abort()
}

/// As the allocator does when the system has no memory left.
pub fn out_of_memory(bytes: usize) -> ! {
    crate::log!(crate::observe::log::Level::Warning, "Out Of Memory allocating {bytes} bytes!");
    match Layout::from_size_align(bytes, 1) {
        Ok(layout) => handle_alloc_error(layout),
        Err(_) => std::process::abort(),
    }
}
