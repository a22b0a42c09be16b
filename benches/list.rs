//! Pushes and pops at both ends of lists, ranges at the head, and elements in the middle; at the sizes where the representation
//! changes.
//!
//! `cargo bench --bench list` measures times. `cargo bench --bench list -- --memory [elements]` prints bytes per element instead,
//! for elements of 14 bytes, as the list counts them, and the longest single steps.

mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{criterion_group, BenchmarkId, Criterion};
use gyre::store::{Collection, End, List, Settings};
use support::{print_longest, timed};

/// In its entry, in an object, a quicklist of one leaf, and of three levels.
const SIZES: [usize; 4] = [50, 400, 10_000, 1_000_000];

fn element(number: usize) -> Vec<u8> {
    format!("element:{:06}", number % 1_000_000).into_bytes()
}

fn list(len: usize, settings: &Settings) -> List {
    let mut list = List::empty();
    for number in 0..len {
        list.push_back(&element(number), settings);
    }
    list
}

fn push(list: &mut List, end: End, element: &[u8], settings: &Settings) {
    list.grow(element.len(), 1, settings);
    list.push(end, element, settings);
}

fn ends(c: &mut Criterion) {
    let settings = Settings::default();
    let element = element(1);
    for (name, to, from) in [
        ("lpush+lpop", End::Head, End::Head),
        ("rpush+rpop", End::Tail, End::Tail),
        ("lpush+rpop", End::Head, End::Tail),
        ("rpush+lpop", End::Tail, End::Head),
    ] {
        let mut group = c.benchmark_group(name);
        for len in SIZES {
            let mut list = list(len, &settings);
            group.bench_function(BenchmarkId::from_parameter(len), |b| {
                b.iter(|| {
                    push(&mut list, to, &element, &settings);
                    list.pop(from, |item| black_box(item.byte_len()));
                });
            });
        }
        group.finish();
    }
    let mut group = c.benchmark_group("1000 pushes");
    for end in [End::Head, End::Tail] {
        group.bench_function(format!("{end:?}"), |b| {
            b.iter(|| {
                let mut list = List::empty();
                for _ in 0..1000 {
                    push(&mut list, end, &element, &settings);
                }
                list
            });
        });
    }
    group.finish();
}

fn reads(c: &mut Criterion) {
    let settings = Settings::default();
    let large = list(1_000_000, &settings);
    let mut group = c.benchmark_group("range");
    for len in [100, 300, 500, 600] {
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| {
                let (mut left, mut bytes) = (len, 0);
                large.view().visit(0, End::Head, |item| {
                    bytes += item.byte_len();
                    left -= 1;
                    left > 0
                });
                bytes
            });
        });
    }
    group.finish();
    let mut group = c.benchmark_group("index in the middle");
    for len in SIZES {
        let list = list(len, &settings);
        let mut at = len / 4;
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| {
                at = len / 4 + (at * 7 + 13) % (len / 2);
                let mut found = 0;
                list.view().visit(at, End::Head, |item| {
                    found = item.byte_len();
                    false
                });
                found
            });
        });
    }
    group.finish();
}

fn memory(elements: Option<u64>) {
    let settings = Settings::default();
    let elements = elements.map_or(5_000_000, |elements| elements as usize);
    let list = list(elements, &settings);
    println!("{elements} elements: {:.2} bytes each", list.memory() as f64 / elements as f64);
    longest(elements as u64);
}

/// How long single steps take, of a list that grows, loses elements at its head, and is freed.
fn longest(size: u64) {
    let settings = Settings::default();
    let mut times = [Duration::ZERO; 3];
    let mut list = List::empty();
    for number in 0..size {
        let element = element(number as usize);
        timed(&mut times[0], || push(&mut list, End::Tail, &element, &settings));
    }
    for _ in 0..size / 2 {
        timed(&mut times[1], || list.pop(End::Head, |_| ()));
    }
    while timed(&mut times[2], || list.free_some(64)) > 0 {}
    print_longest("list", size, times);
}

criterion_group!(benches, ends, reads);

fn main() {
    support::run(benches, memory);
}
