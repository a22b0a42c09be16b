//! RDB files: writing a shard's part, loading a file, and passing over the keys of other shards, in bytes of the file.
//!
//! `cargo bench --bench rdb_file`. The files are in memory: what is measured is the shard's own work.

use criterion::{criterion_group, criterion_main, BatchSize, Criterion, Throughput};
use gyre::rdb::file::{
    put_part, trailer, FileChecksum, FileReader, Header, Load, LoadOptions, Progress, Record, Summed,
};
use gyre::rdb::{Count, Encoder, Format, Version};
use gyre::store::{Collection, Detached, Hash, Settings, SlotSet, SortedSet, Store, Ttl};

const STRINGS: u64 = 200_000;
const COLLECTIONS: u64 = 20_000;
const FIELDS: u64 = 10;

fn empty() -> Store {
    Store::new(SlotSet::ALL, 1)
}

/// 64 bytes without repetition.
fn noise(number: u64) -> [u8; 64] {
    let mut bytes = [0; 64];
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for byte in &mut bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (state >> 56) as u8;
    }
    bytes
}

fn strings() -> Store {
    let mut store = empty();
    for number in 0..STRINGS {
        store.set_string(0, format!("key:{number:07}").as_bytes(), &noise(number), Ttl::None);
    }
    store
}

fn collections() -> Store {
    let (mut store, settings) = (empty(), Settings::default());
    for number in 0..COLLECTIONS {
        let (mut hash, mut sorted_set) = (Hash::empty(), SortedSet::empty());
        for field in 0..FIELDS {
            let name = format!("field:{field}");
            hash.set(name.as_bytes(), &noise(number + field)[..20], &settings);
            sorted_set.insert(name.as_bytes(), (number * field) as f64, &settings);
        }
        store.put(0, format!("hash:{number}").as_bytes(), Detached::from_collection(hash, None));
        store.put(0, format!("zset:{number}").as_bytes(), Detached::from_collection(sorted_set, None));
    }
    store
}

fn file_of(store: &Store) -> Vec<u8> {
    let mut encoder = Encoder::new(Format::default());
    let mut file = Vec::new();
    let header =
        Header { version: Version::V11, created_s: 0, used_memory: 0, is_aof_base: false, more: &[] };
    header.put(&mut encoder, &mut file);
    put_part(store, &mut encoder, &mut file, &mut |_| true);
    let trailer = trailer(FileChecksum::of(&file), true);
    file.extend_from_slice(&trailer);
    file
}

fn files(c: &mut Criterion) {
    for (name, store) in [("strings", strings()), ("collections", collections())] {
        let file = file_of(&store);
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(file.len() as u64)).sample_size(10);
        group.bench_function("write", |b| {
            let mut encoder = Encoder::new(Format::default());
            b.iter(|| {
                let mut output = Summed::new(Count::default(), false);
                put_part(&store, &mut encoder, &mut output, &mut |_| true);
                output.checksummed()
            });
        });
        group.bench_function("load", |b| {
            b.iter_batched(
                empty,
                |mut store| {
                    let mut load = Load::new(&file[..], LoadOptions::default()).expect("a right file");
                    while load.step(&mut store, &|| false).expect("a right file") == Progress::More {}
                    store
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function("pass over", |b| {
            b.iter(|| {
                let mut reader = FileReader::open(&file[..], true).expect("a right file");
                while !matches!(reader.next().expect("a right file"), Record::End(_)) {}
            });
        });
    }
}

criterion_group!(benches, files);
criterion_main!(benches);
