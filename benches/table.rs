//! Look-ups and inserts of the hash table and of the whole store, at sizes that fit in every level of cache and in
//! none; and the memory that a key costs.
//!
//! `cargo bench --bench table` measures times. `cargo bench --bench table -- --memory [keys]` prints bytes per key
//! instead, for keys of 11 bytes with values of 64, as the resident set grows and as the store counts.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;
use std::hint::black_box;

use criterion::{criterion_group, BenchmarkId, Criterion};
use gyre::store::table::{Owner, Table};
use gyre::store::{slot_of, SlotRange, Store, Ttl};

/// The server's allocator, as memory per key depends on it.
struct Mimalloc;

// SAFETY: mimalloc's functions keep the contract of an allocator, and a layout's alignment is a power of two.
unsafe impl GlobalAlloc for Mimalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // As the server's: what is aligned anyway must not be asked for as aligned, which may cost a larger block.
        if layout.align() <= 16 {
            libmimalloc_sys::mi_malloc(layout.size()).cast()
        } else {
            libmimalloc_sys::mi_malloc_aligned(layout.size(), layout.align()).cast()
        }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        libmimalloc_sys::mi_zalloc_aligned(layout.size(), layout.align()).cast()
    }
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        libmimalloc_sys::mi_free(block.cast::<c_void>());
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        libmimalloc_sys::mi_realloc_aligned(block.cast(), size, layout.align()).cast()
    }
}

#[global_allocator]
static ALLOCATOR: Mimalloc = Mimalloc;

const SIZES: [u64; 3] = [1_000, 100_000, 10_000_000];

/// Words that stand for themselves.
struct Numbers;

fn mix(word: u64) -> u64 {
    let folded = (word as u128 + 0x9e37_79b9).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (folded >> 64) as u64 ^ folded as u64
}

impl Owner for Numbers {
    fn hash(&self, word: u64) -> u64 {
        mix(word)
    }
    fn allocated(&mut self, _: usize) {}
    fn freed(&mut self, _: usize) {}
}

/// Visits 1..=size in an order that no cache foresees.
struct Walk {
    state: u64,
    size: u64,
}

impl Walk {
    fn next(&mut self) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.state >> 32) * self.size) >> 32) + 1
    }
}

fn table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    for size in SIZES {
        let mut table = Table::default();
        for word in 1..=size {
            table.insert(mix(word), word, &mut Numbers);
        }
        let mut walk = Walk { state: 1, size };
        group.bench_function(BenchmarkId::new("get present", size), |b| {
            b.iter(|| {
                let word = walk.next();
                black_box(table.get(mix(word), |w| w == word))
            })
        });
        group.bench_function(BenchmarkId::new("get absent", size), |b| {
            b.iter(|| {
                let word = walk.next() + size;
                black_box(table.get(mix(word), |w| w == word))
            })
        });
        group.bench_function(BenchmarkId::new("insert and remove", size), |b| {
            b.iter(|| {
                let word = walk.next() + size;
                table.insert(mix(word), word, &mut Numbers);
                black_box(table.remove(mix(word), |w| w == word, &mut Numbers))
            })
        });
        while table.drain_some(10_000, &mut Numbers, |_, _| {}) > 0 {}
    }
    group.finish();
}

fn write_key(number: u64, key: &mut [u8; 11]) {
    *key = *b"key:0000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

fn filled(size: u64) -> Store {
    let mut store = Store::new(SlotRange::ALL, 16);
    store.set_time(1_700_000_000_000);
    let mut key = [0; 11];
    for number in 1..=size {
        write_key(number % 10_000_000, &mut key);
        store.set_string(0, &key, &[b'x'; 64], Ttl::None);
    }
    store
}

fn store(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    for size in SIZES {
        let mut store = filled(size);
        let mut walk = Walk { state: 1, size };
        let mut key = [0; 11];
        group.bench_function(BenchmarkId::new("get", size), |b| {
            b.iter(|| {
                write_key(walk.next() % 10_000_000, &mut key);
                store.slot_hint(&key, slot_of(&key));
                black_box(store.read(0, &key).is_some())
            })
        });
        group.bench_function(BenchmarkId::new("set in place", size), |b| {
            b.iter(|| {
                write_key(walk.next() % 10_000_000, &mut key);
                store.slot_hint(&key, slot_of(&key));
                store.set_string(0, &key, &[b'y'; 64], Ttl::None);
            })
        });
        group.bench_function(BenchmarkId::new("insert and remove", size), |b| {
            b.iter(|| {
                write_key(walk.next() % 10_000_000, &mut key);
                key[0] = b'K';
                store.slot_hint(&key, slot_of(&key));
                store.set_string(0, &key, &[b'y'; 64], Ttl::None);
                store.remove(0, &key)
            })
        });
        store.clear(None);
        while store.free_some(10_000) {}
    }
    group.finish();
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has /proc/self/statm");
    let pages: usize =
        statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("its second field is a number");
    pages * 4096
}

fn memory(keys: Option<u64>) {
    let sizes =
        keys.map_or_else(|| vec![1_000, 10_000, 100_000, 1_000_000, 2_000_000, 5_000_000], |n| vec![n]);
    println!("{:>10} {:>10} {:>10} {:>10}", "keys", "resident", "counted", "table");
    for size in sizes {
        let before = resident_bytes();
        let store = filled(size);
        let resident = (resident_bytes().saturating_sub(before)) as f64 / size as f64;
        let counted = store.used_memory() as f64 / size as f64;
        // An entry of this shape is a block of 80 bytes.
        println!("{size:>10} {resident:>10.1} {counted:>10.1} {:>10.1}", counted - 80.0);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = table, store
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--memory") {
        return memory(args.get(at + 1).and_then(|keys| keys.parse().ok()));
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
