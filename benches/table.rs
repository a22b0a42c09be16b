//! Look-ups and inserts of the hash table and of the whole store, at sizes that fit in every level of cache and in
//! none; and the memory that a key costs.
//!
//! `cargo bench --bench table` measures times. `cargo bench --bench table -- --memory [keys]` prints bytes per key
//! instead, for keys of 11 bytes with values of 64, as the resident set grows and as the store counts.

mod support;

use std::hint::black_box;

use criterion::{criterion_group, BenchmarkId, Criterion};
use gyre::store::table::{Owner, Table};
use gyre::store::{slot_of, SlotSet, Store, Ttl};
use support::{numbered, resident_bytes, Walk};

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

fn table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    for size in SIZES {
        let mut table = Table::default();
        for word in 1..=size {
            table.insert(mix(word), word, &mut Numbers);
        }
        let mut walk = Walk(1);
        group.bench_function(BenchmarkId::new("get present", size), |b| {
            b.iter(|| {
                let word = walk.below(size) + 1;
                black_box(table.get(mix(word), |w| w == word))
            })
        });
        group.bench_function(BenchmarkId::new("get absent", size), |b| {
            b.iter(|| {
                let word = walk.below(size) + 1 + size;
                black_box(table.get(mix(word), |w| w == word))
            })
        });
        group.bench_function(BenchmarkId::new("insert and remove", size), |b| {
            b.iter(|| {
                let word = walk.below(size) + 1 + size;
                table.insert(mix(word), word, &mut Numbers);
                black_box(table.remove(mix(word), |w| w == word, &mut Numbers))
            })
        });
        while table.drain_some(10_000, &mut Numbers, |_, _| {}) > 0 {}
    }
    group.finish();
}

fn key(number: u64) -> [u8; 11] {
    numbered(b"key:0000000", number % 10_000_000)
}

fn filled(size: u64) -> Store {
    let mut store = Store::new(SlotSet::ALL, 16);
    store.set_time(1_700_000_000_000);
    for number in 1..=size {
        store.set_string(0, &key(number), &[b'x'; 64], Ttl::None);
    }
    store
}

fn store(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    for size in SIZES {
        let mut store = filled(size);
        let mut walk = Walk(1);
        group.bench_function(BenchmarkId::new("get", size), |b| {
            b.iter(|| {
                let key = key(walk.below(size) + 1);
                store.slot_hint(&key, slot_of(&key));
                black_box(store.read(0, &key).is_some())
            })
        });
        group.bench_function(BenchmarkId::new("set in place", size), |b| {
            b.iter(|| {
                let key = key(walk.below(size) + 1);
                store.slot_hint(&key, slot_of(&key));
                store.set_string(0, &key, &[b'y'; 64], Ttl::None);
            })
        });
        group.bench_function(BenchmarkId::new("insert and remove", size), |b| {
            b.iter(|| {
                let mut key = key(walk.below(size) + 1);
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
    support::run(benches, memory);
}
