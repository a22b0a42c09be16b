//! Provided buffers: the kernel picks one for each arriving piece of input, so that an idle connection
//! holds none.
//!
//! The buffers and the ring that offers them are one mapping each, alive as long as the io_uring that
//! they are registered with. A buffer is out from the completion that names it until `give_back`.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::ring::Submit;

/// Bytes of one buffer: a pipeline of 16 small requests several times over, and what Redis reads at once.
pub const BUFFER_BYTES: usize = 16 * 1024;
/// Buffers of one shard; a power of two. Input waiting beyond it stays in the socket (ENOBUFS re-arms).
pub const BUFFERS: u16 = 128;

pub struct ProvidedBuffers {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    tail: u16,
    /// Given back since the last `publish`.
    unpublished: u16,
}

const ENTRIES_BYTES: usize = BUFFERS as usize * std::mem::size_of::<BufRingEntry>();
const MEMORY_BYTES: usize = BUFFERS as usize * BUFFER_BYTES;

fn map(len: usize) -> io::Result<*mut u8> {
    // SAFETY: an anonymous private mapping of a non-zero length has no preconditions.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(address.cast())
}

impl ProvidedBuffers {
    /// Maps the buffers and registers their ring as buffer group `group`.
    pub fn register(submit: &Submit, group: u16) -> io::Result<Self> {
        let entries = map(ENTRIES_BYTES)?.cast::<BufRingEntry>();
        let memory = map(MEMORY_BYTES)?;
        let mut buffers = ProvidedBuffers { entries, memory, tail: 0, unpublished: 0 };
        // SAFETY: `entries` is a page-aligned mapping of BUFFERS entries that lives until drop, which unmaps it
        // only after the io_uring that owns the registration is gone (field order in SocketRing).
        unsafe { submit.register_buf_ring_with_flags(entries as u64, BUFFERS, group, 0)? };
        for id in 0..BUFFERS {
            buffers.give_back(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The first `len` bytes of the buffer `id`, which must be out.
    pub fn bytes(&self, id: u16, len: usize) -> &[u8] {
        assert!(id < BUFFERS && len <= BUFFER_BYTES, "buffer {id} of {len} bytes is not ours");
        // SAFETY: in bounds by the assertion; the kernel does not write to a buffer that is out.
        unsafe { std::slice::from_raw_parts(self.memory.add(id as usize * BUFFER_BYTES), len) }
    }

    /// Offers the buffer to the kernel again, from the next `publish` on.
    pub fn give_back(&mut self, id: u16) {
        assert!(id < BUFFERS, "buffer {id} is not ours");
        let index = self.tail.wrapping_add(self.unpublished) & (BUFFERS - 1);
        // SAFETY: `index` is inside the ring; the kernel reads an entry only below the published tail.
        let entry = unsafe { &mut *self.entries.add(index as usize) };
        // SAFETY: `id` is inside the mapping, by the assertion.
        entry.set_addr(unsafe { self.memory.add(id as usize * BUFFER_BYTES) } as u64);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(id);
        self.unpublished += 1;
    }

    pub fn publish(&mut self) {
        if self.unpublished == 0 {
            return;
        }
        self.tail = self.tail.wrapping_add(self.unpublished);
        self.unpublished = 0;
        // SAFETY: the tail is a 16-bit field of the first entry, shared with the kernel, which reads it with acquire.
        let tail = unsafe { &*BufRingEntry::tail(self.entries).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for ProvidedBuffers {
    fn drop(&mut self) {
        // SAFETY: both are mappings of these lengths, made in `register`, referenced by no one else.
        unsafe {
            libc::munmap(self.entries.cast(), ENTRIES_BYTES);
            libc::munmap(self.memory.cast(), MEMORY_BYTES);
        }
    }
}
