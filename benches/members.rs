//! The table of large sets and hashes, at sizes that fit in every level of cache and in none; and the memory that a member
//! costs.
//!
//! `cargo bench --bench members` measures times. `cargo bench --bench members -- --memory [members]` prints bytes per
//! member instead, for members of 14 bytes and for fields of 14 with values of 14, as the resident set grows and as the
//! table counts, the time of an insert, and the longest single insert, removal and step of freeing (times of the thread itself; resident
//! is right for the first table of a process).

mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{criterion_group, BenchmarkId, Criterion};
use gyre::store::members::Members;
use support::{member, own_time, resident_bytes, timed, Walk};

const SIZES: [u64; 3] = [1_000, 100_000, 5_000_000];

fn filled(size: u64) -> Members<false> {
    let mut members = Members::default();
    (0..size).for_each(|number| assert!(members.insert(&member(number))));
    members
}

/// Frees a table in steps, and returns the longest of them.
fn free<const VALUES: bool>(mut members: Members<VALUES>) -> Duration {
    let mut longest = Duration::ZERO;
    while timed(&mut longest, || members.free_some(64)) > 0 {}
    longest
}

fn times(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("members");
    for size in SIZES {
        let mut members = filled(size);
        let mut walk = Walk(1);
        group.bench_function(BenchmarkId::new("contains, present", size), |b| {
            b.iter(|| black_box(members.contains(&member(walk.below(size)))))
        });
        group.bench_function(BenchmarkId::new("contains, absent", size), |b| {
            b.iter(|| black_box(members.contains(&member(walk.below(size) + size))))
        });
        group.bench_function(BenchmarkId::new("insert and remove", size), |b| {
            b.iter(|| {
                let name = member(walk.below(size) + size);
                members.insert(&name);
                black_box(members.remove(&name))
            })
        });
        let mut cursor = 0;
        group.bench_function(BenchmarkId::new("step of a scan", size), |b| {
            b.iter(|| {
                let mut seen = 0;
                cursor = members.scan(cursor, |member, _| seen += member.len());
                black_box(seen)
            })
        });
        free(members);
    }
    group.finish();
}

/// Fills a table by `add`, and prints what came of it.
fn report<const VALUES: bool>(what: &str, size: u64, mut add: impl FnMut(&mut Members<VALUES>, u64)) {
    let before = resident_bytes();
    let mut members = Members::default();
    let start = own_time();
    (0..size).for_each(|number| add(&mut members, number));
    let each_ns = (own_time() - start).as_nanos() as f64 / size as f64;
    let resident = resident_bytes().saturating_sub(before) as f64 / size as f64;
    let counted = members.memory() as f64 / size as f64;
    free(members);
    let mut members = Members::default();
    let mut adding = Duration::ZERO;
    (0..size).for_each(|number| timed(&mut adding, || add(&mut members, number)));
    let mut removing = Duration::ZERO;
    (0..size / 2).for_each(|number| {
        timed(&mut removing, || members.remove(&member(number)));
    });
    let freeing = free(members);
    println!(
        "{what:>8} {size:>9} {resident:>9.1} {counted:>9.1} {each_ns:>9.0} {:>9.0} {:>9.0} {:>9.0}",
        adding.as_nanos() as f64 / 1000.0,
        removing.as_nanos() as f64 / 1000.0,
        freeing.as_nanos() as f64 / 1000.0
    );
}

fn memory(members: Option<u64>) {
    let sizes = members.map_or_else(|| vec![1_000, 100_000, 1_000_000, 5_000_000], |n| vec![n]);
    println!(
        "{:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "members", "resident", "counted", "ns each", "add us", "remove us", "free us"
    );
    for size in sizes {
        report::<false>("set", size, |members, number| assert!(members.insert(&member(number))));
        report::<true>(
            "hash",
            size,
            |members, number| assert!(members.set(&member(number), &member(number))),
        );
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = times
}

fn main() {
    support::run(benches, memory);
}
