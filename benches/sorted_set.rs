//! Additions to, ranks in and ranges of sorted sets, from a size that fits in the first cache to one that fits in none; and the
//! memory that a member costs.
//!
//! `cargo bench --bench sorted_set` measures times. `cargo bench --bench sorted_set -- --memory [members]` prints bytes per
//! member instead, for members of 14 bytes, as the resident set grows and as the set counts.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;
use std::hint::black_box;

use criterion::{criterion_group, BenchmarkId, Criterion};
use gyre::store::{AddRule, Collection, ScoreRange, Settings, SortedSet};

/// The server's allocator, as memory per member depends on it.
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

const SIZES: [u64; 4] = [100, 1_000, 100_000, 5_000_000];
const RANGE_LEN: usize = 10;

/// Numbers in an order that no cache foresees.
struct Walk(u64);

impl Walk {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 32
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() * bound) >> 32
    }
}

fn member(number: u64) -> [u8; 14] {
    let mut member = *b"member:0000000";
    let mut rest = number;
    for digit in member[7..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    member
}

/// In which order of scores a set is filled.
#[derive(Clone, Copy)]
enum Order {
    Random,
    Ascending,
}

fn filled(size: u64, order: Order) -> SortedSet {
    let settings = Settings::default();
    let mut set = SortedSet::empty();
    let mut walk = Walk(7);
    for number in 0..size {
        let score = match order {
            Order::Random => walk.next() as f64,
            Order::Ascending => number as f64,
        };
        set.insert(&member(number), score, &settings);
    }
    set
}

fn free(mut set: SortedSet) {
    while set.free_some(10_000) > 0 {}
}

fn sorted_set(criterion: &mut Criterion) {
    let settings = Settings::default();
    let mut group = criterion.benchmark_group("sorted set");
    for size in SIZES {
        let mut set = filled(size, Order::Random);
        let mut walk = Walk(1);
        group.bench_function(BenchmarkId::new("score", size), |b| {
            b.iter(|| black_box(set.view().score(&member(walk.below(size)))))
        });
        group.bench_function(BenchmarkId::new("rank", size), |b| {
            b.iter(|| black_box(set.view().rank(&member(walk.below(size)))))
        });
        group.bench_function(BenchmarkId::new("range by rank", size), |b| {
            b.iter(|| {
                let start = walk.below(size) as usize;
                let end = (start + RANGE_LEN).min(size as usize);
                set.view().elements(start..end, false).fold(0.0, |sum, (_, score)| sum + score)
            })
        });
        group.bench_function(BenchmarkId::new("range by score", size), |b| {
            b.iter(|| {
                let range = ScoreRange {
                    min: walk.next() as f64,
                    max: f64::INFINITY,
                    excludes_min: false,
                    excludes_max: false,
                };
                let ranks = set.view().ranks_by_score(&range);
                let ranks = ranks.start..ranks.end.min(ranks.start + RANGE_LEN);
                set.view().elements(ranks, false).fold(0.0, |sum, (_, score)| sum + score)
            })
        });
        group.bench_function(BenchmarkId::new("new score", size), |b| {
            b.iter(|| {
                let (number, score) = (walk.below(size), walk.next() as f64);
                set.add(&member(number), score, &AddRule::default(), &settings)
            })
        });
        group.bench_function(BenchmarkId::new("add and remove", size), |b| {
            b.iter(|| {
                let mut member = member(walk.below(10_000_000));
                member[0] = b'M';
                set.insert(&member, walk.next() as f64, &settings);
                set.remove(&member)
            })
        });
        free(set);
    }
    group.finish();
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has /proc/self/statm");
    let pages: usize =
        statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("its second field is a number");
    pages * 4096
}

fn memory(members: Option<u64>) {
    let sizes = members.map_or_else(|| vec![1_000, 10_000, 100_000, 1_000_000, 5_000_000], |n| vec![n]);
    println!("{:>10} {:>10} {:>10} {:>10}", "members", "order", "resident", "counted");
    for (order, name) in [(Order::Random, "random"), (Order::Ascending, "ascending")] {
        for &size in &sizes {
            let before = resident_bytes();
            let started = std::time::Instant::now();
            let set = filled(size, order);
            let each = started.elapsed().as_nanos() as f64 / size as f64;
            let resident = resident_bytes().saturating_sub(before) as f64 / size as f64;
            let counted = set.memory() as f64 / size as f64;
            println!("{size:>10} {name:>10} {resident:>10.1} {counted:>10.1}   ({each:.0} ns to add one)");
            // Kept, so that the next one is not built in its memory.
            std::mem::forget(set);
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = sorted_set
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--memory") {
        return memory(args.get(at + 1).and_then(|members| members.parse().ok()));
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
