//! Snapshots without fork: how fast the walk is, and how long anyone waits for it.
//!
//! `cargo bench --bench snapshot -- [what] [count]` fills a store with `what`: `small` keys with values of 64 bytes, or one
//! `set`, `hash`, `zset`, `list`, `stream` or `string` (of 64 bytes each), with so many elements. Then it takes two snapshots, as fast
//! as slices of `SLICE_US` allow, the second one while other keys are written. Without arguments it does so for all, with
//! sizes that take a minute. Times are those of the processor, so that it may be busy with something else.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;
use std::time::{Duration, Instant};

use gyre::persist::snapshot::Forkless;
use gyre::rdb::Format;
use gyre::store::stream::StreamId;
use gyre::store::{Hash, List, Set, SlotSet, SnapshotOptions, SortedSet, Store, Stream, Ttl};

/// The server's allocator.
struct Mimalloc;

// SAFETY: mimalloc's functions keep the contract of an allocator, and a layout's alignment is a power of two.
unsafe impl GlobalAlloc for Mimalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract, which is mimalloc's too.
        unsafe {
            if layout.align() <= 16 {
                libmimalloc_sys::mi_malloc(layout.size()).cast()
            } else {
                libmimalloc_sys::mi_malloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract, which is mimalloc's too.
        unsafe { libmimalloc_sys::mi_zalloc_aligned(layout.size(), layout.align()).cast() }
    }
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller keeps the contract, which is mimalloc's too.
        unsafe {
            libmimalloc_sys::mi_free(block.cast::<c_void>());
        }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract, which is mimalloc's too.
        unsafe { libmimalloc_sys::mi_realloc_aligned(block.cast(), size, layout.align()).cast() }
    }
}

#[global_allocator]
static ALLOCATOR: Mimalloc = Mimalloc;

/// What a slice may take, microseconds.
const SLICE_US: u64 = 250;
/// Keys written between two slices of the second snapshot.
const WRITES_PER_SLICE: usize = 100;
const KEY: &[u8] = b"large";

fn fill(store: &mut Store, what: &str, count: usize) {
    let text = |number: usize| format!("member:{number:08}:{}", number.wrapping_mul(0x9e37_79b9) % 1_000_000);
    match what {
        "small" => {
            for number in 0..count {
                let value = format!("{:<64}", text(number));
                store.set_string(0, format!("key:{number:07}").as_bytes(), value.as_bytes(), Ttl::None);
            }
        }
        "set" => {
            let add = |set: &mut Set, settings: &_| {
                for number in 0..count {
                    set.add(text(number).as_bytes(), settings);
                }
            };
            store.update_or_create(0, KEY, |set: &mut Set, tools| add(set, tools.settings)).unwrap();
        }
        "hash" => {
            let add = |hash: &mut Hash, settings: &_| {
                for number in 0..count {
                    hash.set(text(number).as_bytes(), b"some value", settings);
                }
            };
            store.update_or_create(0, KEY, |hash: &mut Hash, tools| add(hash, tools.settings)).unwrap();
        }
        "zset" => {
            let add = |set: &mut SortedSet, settings: &_| {
                for number in 0..count {
                    let score = (number.wrapping_mul(0x9e37_79b9) % 1_000_000) as f64;
                    set.insert(text(number).as_bytes(), score, settings);
                }
            };
            store.update_or_create(0, KEY, |set: &mut SortedSet, tools| add(set, tools.settings)).unwrap();
        }
        "list" => {
            let add = |list: &mut List, settings: &_| {
                for number in 0..count {
                    list.push_back(text(number).as_bytes(), settings);
                }
            };
            store.update_or_create(0, KEY, |list: &mut List, tools| add(list, tools.settings)).unwrap();
        }
        "stream" => {
            let add = |stream: &mut Stream, settings: &_| {
                for number in 0..count {
                    let id = StreamId::new(1_700_000_000_000 + number as u64, 0);
                    let value = text(number);
                    stream.log_mut().append(id, &[b"field", value.as_bytes()], settings).unwrap();
                }
            };
            store.update_or_create(0, KEY, |stream: &mut Stream, tools| add(stream, tools.settings)).unwrap();
        }
        "string" => {
            let value: String = (0..count).map(|number| format!("{:<64}", text(number))).collect();
            store.set_string(0, KEY, value.as_bytes(), Ttl::None);
        }
        _ => panic!("there is no {what}"),
    }
}

/// Time that the processor has spent on this thread.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[derive(Default)]
struct Waits {
    longest: Duration,
    over_half_ms: usize,
    over_one_ms: usize,
    total: Duration,
    count: usize,
}

impl Waits {
    fn add(&mut self, wait: Duration) {
        self.longest = self.longest.max(wait);
        self.over_half_ms += usize::from(wait > Duration::from_micros(500));
        self.over_one_ms += usize::from(wait > Duration::from_millis(1));
        self.total += wait;
        self.count += 1;
    }

    fn text(&self) -> String {
        format!(
            "{} of {:.1} us on average, longest {:.0} us, {} over 0.5 ms, {} over 1 ms",
            self.count,
            self.total.as_secs_f64() * 1e6 / self.count.max(1) as f64,
            self.longest.as_secs_f64() * 1e6,
            self.over_half_ms,
            self.over_one_ms,
        )
    }
}

fn snapshot(store: &mut Store, what: &str, count: usize, writes_per_slice: usize) {
    let opening = processor_time();
    store.begin_snapshot(SnapshotOptions::default(), Box::new(Forkless::new(Format::default()))).unwrap();
    let opening = processor_time() - opening;
    let (mut slices, mut writes) = (Waits::default(), Waits::default());
    let mut aside_max = 0;
    let mut state = 1u64;
    let progress = loop {
        let start = Instant::now();
        let until = || start.elapsed() >= Duration::from_micros(SLICE_US);
        let before = processor_time();
        let progress = store.snapshot_step(&until).unwrap();
        slices.add(processor_time() - before);
        aside_max = aside_max.max(progress.waiting_bytes);
        while let Some(chunk) = store.snapshot_take() {
            std::hint::black_box(chunk);
        }
        if progress.is_done {
            break progress;
        }
        for _ in 0..writes_per_slice {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = ((state >> 32) * count as u64) >> 32;
            let key = format!("key:{number:07}");
            let before = processor_time();
            store.set_string(0, key.as_bytes(), &[b'y'; 64], Ttl::None);
            writes.add(processor_time() - before);
        }
    };
    store.end_snapshot();
    let seconds = slices.total.as_secs_f64();
    println!(
        "{what} {count}: {:.2} s, {:.0} keys/s, {:.0} MB/s written, {:.1} MB; opened in {:.1} us, most waiting {} KiB",
        seconds,
        progress.keys_total as f64 / seconds,
        progress.bytes as f64 / seconds / 1e6,
        progress.bytes as f64 / 1e6,
        opening.as_secs_f64() * 1e6,
        aside_max >> 10,
    );
    println!("    slices: {}", slices.text());
    if writes_per_slice > 0 {
        println!("    writes: {}", writes.text());
    }
}

fn run(what: &str, count: usize) {
    let mut store = Store::new(SlotSet::ALL, 16);
    store.set_time(1_700_000_000_000);
    fill(&mut store, what, count);
    snapshot(&mut store, what, count, 0);
    snapshot(&mut store, what, count, WRITES_PER_SLICE);
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    match &args[..] {
        [what, count] => run(what, count.parse().expect("a number of keys or elements")),
        _ => {
            for what in ["small", "set", "hash", "zset", "list", "stream", "string"] {
                run(what, 1_000_000);
            }
        }
    }
}
