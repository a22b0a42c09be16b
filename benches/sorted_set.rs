//! Additions to, ranks in and ranges of sorted sets, from a size that fits in the first cache to one that fits in none; and the
//! memory that a member costs.
//!
//! `cargo bench --bench sorted_set` measures times. `cargo bench --bench sorted_set -- --memory [members]` prints bytes per
//! member instead, for members of 14 bytes, as the resident set grows and as the set counts, and the longest single steps.

mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{criterion_group, BenchmarkId, Criterion};
use gyre::store::{AddRule, Collection, ScoreRange, Settings, SortedSet};
use support::{member, print_longest, resident_bytes, timed, Walk};

const SIZES: [u64; 4] = [100, 1_000, 100_000, 5_000_000];
const RANGE_LEN: usize = 10;

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
    longest(sizes[sizes.len() - 1]);
}

/// How long single steps take, of a set that grows, shrinks from the front, and is freed.
fn longest(size: u64) {
    let settings = Settings::default();
    let mut times = [Duration::ZERO; 3];
    let mut walk = Walk(7);
    let mut set = SortedSet::empty();
    for number in 0..size {
        timed(&mut times[0], || set.insert(&member(number), walk.next() as f64, &settings));
    }
    for number in 0..size / 2 {
        timed(&mut times[1], || set.remove(&member(number)));
    }
    while timed(&mut times[2], || set.free_some(64)) > 0 {}
    print_longest("sorted set", size, times);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = sorted_set
}

fn main() {
    support::run(benches, memory);
}
