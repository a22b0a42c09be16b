//! Streams: adding, ranges, reading from a place to the end; and the memory that an entry takes.
//!
//! `cargo bench --bench stream` measures times. `cargo bench --bench stream -- --memory [entries]` prints bytes per entry
//! instead, as the stream counts them and beside what the listpacks of Redis alone would be,
//! and the longest single steps.

mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{criterion_group, Criterion, Throughput};
use gyre::store::stream::{Keep, Stream, StreamId, Trim};
use gyre::store::{Collection, Settings};
use support::{print_longest, timed};

const ENTRIES: u64 = 100_000;
/// Entries of one millisecond.
const PER_MS: u64 = 20;

type Shape = (&'static str, &'static [&'static [u8]]);

const SHAPES: [Shape; 3] = [
    ("one short value", &[b"myfield", b"VXK"]),
    ("two numbers", &[b"temperature", b"21.5", b"sensor", b"1234"]),
    ("64 bytes", &[b"f", b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"]),
];

fn id(number: u64) -> StreamId {
    StreamId::new(1_700_000_000_000 + number / PER_MS, number % PER_MS)
}

fn filled(entries: u64, pairs: &[&[u8]]) -> Stream {
    let settings = Settings::default();
    let mut stream = Stream::empty();
    for number in 0..entries {
        stream.log_mut().append(id(number), pairs, &settings).expect("an entry is small");
    }
    stream
}

fn adding(c: &mut Criterion) {
    let settings = Settings::default();
    let mut group = c.benchmark_group("add");
    group.throughput(Throughput::Elements(1));
    for (name, pairs) in SHAPES {
        let mut stream = Stream::empty();
        let mut number = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                number += 1;
                stream.log_mut().append(id(number), black_box(pairs), &settings).expect("an entry is small");
            });
        });
        let mut stream = filled(ENTRIES, pairs);
        let mut number = ENTRIES;
        group.bench_function(format!("{name}, MAXLEN ~ {ENTRIES}"), |b| {
            b.iter(|| {
                number += 1;
                let log = stream.log_mut();
                log.append(id(number), black_box(pairs), &settings).expect("an entry is small");
                log.trim(&Trim { keep: Keep::Entries(ENTRIES), approximate: true, limit: 10_000 })
            });
        });
    }
    group.finish();
}

fn reading(c: &mut Criterion) {
    let (_, pairs) = SHAPES[1];
    let stream = filled(ENTRIES, pairs);
    let log = stream.log();
    let bytes = |entry: gyre::store::stream::Entry| -> usize {
        entry.fields().map(|(field, value)| field.byte_len() + value.byte_len()).sum()
    };
    let mut group = c.benchmark_group("read");
    let mut number = 0;
    let mut next = move || {
        number = (number + 7919) % ENTRIES;
        id(number)
    };
    group.bench_function("XRANGE of one entry", |b| {
        b.iter(|| {
            let id = next();
            log.range(id, id).map(bytes).sum::<usize>()
        });
    });
    group.bench_function("XRANGE of 100 entries", |b| {
        b.iter(|| log.range(next(), StreamId::MAX).take(100).map(bytes).sum::<usize>());
    });
    group.bench_function("XREVRANGE of 100 entries", |b| {
        b.iter(|| log.range_back(StreamId::MIN, next()).take(100).map(bytes).sum::<usize>());
    });
    group.bench_function("XREAD of the last entry", |b| {
        let after = id(ENTRIES - 1);
        b.iter(|| log.range(black_box(after), StreamId::MAX).map(bytes).sum::<usize>());
    });
    group.finish();
}

/// How long single steps take, of a stream that grows, loses entries at its beginning, and is freed.
fn longest(size: u64) {
    let settings = Settings::default();
    let (_, pairs) = SHAPES[1];
    let mut times = [Duration::ZERO; 3];
    let mut stream = Stream::empty();
    for number in 0..size {
        timed(&mut times[0], || {
            stream.log_mut().append(id(number), pairs, &settings).expect("an entry is small");
        });
    }
    for number in 0..size / 2 {
        timed(&mut times[1], || stream.log_mut().delete_all(&[id(number)]));
    }
    while timed(&mut times[2], || stream.free_some(64)) > 0 {}
    print_longest("stream", size, times);
}

criterion_group!(benches, adding, reading);

fn memory(entries: Option<u64>) {
    let entries = entries.unwrap_or(1_000_000);
    for (name, pairs) in SHAPES {
        let stream = filled(entries, pairs);
        let listpacks: usize = stream.log().nodes().map(|node| node.listpack_bytes()).sum();
        let per_entry = |bytes: usize| bytes as f64 / entries as f64;
        println!(
            "{name}: {:.2} bytes an entry ({:.2} in Redis's listpacks alone)",
            per_entry(stream.memory()),
            per_entry(listpacks)
        );
    }
    longest(entries);
}

fn main() {
    support::run(benches, memory);
}
