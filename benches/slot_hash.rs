//! The slot of a key: what every key of every request pays first.

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use gyre::store::slot_of;

fn slot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("slot_of");
    let keys: [&[u8]; 5] =
        [b"key", b"key:1234567", b"{user1000}.following", b"session:0123456789abcdef:token", &[b'k'; 200]];
    for key in keys {
        group.throughput(Throughput::Bytes(key.len() as u64));
        group.bench_function(format!("{} bytes", key.len()), |b| b.iter(|| slot_of(black_box(key))));
    }
    group.finish();
}

criterion_group!(benches, slot);
criterion_main!(benches);
