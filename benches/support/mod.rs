//! What the benches share: the server's allocator, names and numbers to fill a collection with, and how much memory the process
//! has.

// Each bench uses a part of it.
#![allow(dead_code)]

use std::time::Duration;

use criterion::Criterion;
use gyre::runtime::alloc::CountingMimalloc;

/// Memory per element depends on it, and times do.
#[global_allocator]
static ALLOCATOR: CountingMimalloc = CountingMimalloc;

/// Numbers in an order that no cache foresees.
pub struct Walk(pub u64);

impl Walk {
    /// Below 2^32.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 32
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() * bound) >> 32
    }
}

/// `prefix` with a number of seven digits in its place.
pub fn numbered<const LEN: usize>(prefix: &[u8; LEN], number: u64) -> [u8; LEN] {
    let mut name = *prefix;
    let mut rest = number;
    for digit in name[LEN - 7..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    name
}

/// 14 bytes.
pub fn member(number: u64) -> [u8; 14] {
    numbered(b"member:0000000", number)
}

pub fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has /proc/self/statm");
    let pages: usize =
        statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("its second field is a number");
    pages * 4096
}

/// Time that this thread has run, which other processes do not disturb.
pub fn own_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on Linux, and the structure is there to be written.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs it, and keeps the longest time that it has taken.
pub fn timed<R>(longest: &mut Duration, run: impl FnOnce() -> R) -> R {
    let start = own_time();
    let result = run();
    *longest = (*longest).max(own_time() - start);
    result
}

/// The longest steps in microseconds: of adding, of taking away, of freeing.
pub fn print_longest(what: &str, size: u64, [adding, removing, freeing]: [Duration; 3]) {
    let us = |time: Duration| time.as_nanos() as f64 / 1000.0;
    println!(
        "{what}, {size} elements: longest addition {:.0} us, removal {:.0} us, step of freeing {:.0} us",
        us(adding),
        us(removing),
        us(freeing)
    );
}

/// The benches, or with `--memory [size]` in the arguments what memory is taken.
pub fn run(benches: impl FnOnce(), memory: impl FnOnce(Option<u64>)) {
    // As the server does: to clear a huge page takes longer than any single step. Where it is refused they are used.
    let _ = gyre::runtime::sys::disable_transparent_huge_pages();
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--memory") {
        return memory(args.get(at + 1).and_then(|size| size.parse().ok()));
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
