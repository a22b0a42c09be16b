//! What a request costs to parse and a reply to write, without any I/O.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use gyre::base::double::format_double;
use gyre::resp::{Limits, Progress, Protocol, Reply, RequestParser};

const LIMITS: Limits = Limits { bulk_len_max: 512 * 1024 * 1024, authenticated: true };
/// What one read from a socket brings at most.
const PIECE_LEN: usize = 16 * 1024;

fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut reply = Reply::new(Protocol::Resp2);
    reply.array(args.len());
    args.iter().for_each(|arg| reply.bulk(arg));
    reply.take_parts().0
}

fn parse_all(parser: &mut RequestParser, mut input: &[u8]) {
    while !input.is_empty() {
        match parser.parse(black_box(input), &LIMITS) {
            Ok(Progress::Complete { len }) => input = &input[len..],
            other => panic!("{other:?}"),
        }
        black_box(parser.args());
    }
}

/// As a connection does it with a request that is larger than a read.
fn parse_in_pieces(parser: &mut RequestParser, input: &[u8]) {
    let mut end = 0;
    loop {
        end = input.len().min(end + PIECE_LEN);
        if let Progress::Complete { .. } = parser.parse(black_box(&input[..end]), &LIMITS).expect("valid") {
            break;
        }
    }
}

fn parser(criterion: &mut Criterion) {
    let key: &[u8] = b"key:000000000042";
    let many = vec![&b"member"[..]; 1_000_000];
    let whole: [(&str, Vec<u8>); 6] = [
        ("get", request(&[b"GET", key])),
        ("set-64", request(&[b"SET", key, &[b'v'; 64]])),
        ("set-16k", request(&[b"SET", key, &[b'v'; 16 * 1024]])),
        ("get-pipeline-16", request(&[b"GET", key]).repeat(16)),
        ("mset-100", request(&[&b"MSET"[..], key].repeat(50))),
        ("inline-get", b"GET key:000000000042\r\n".to_vec()),
    ];
    let mut group = criterion.benchmark_group("parse");
    let mut parser = RequestParser::new();
    for (name, input) in whole {
        group.bench_function(name, |bencher| bencher.iter(|| parse_all(&mut parser, &input)));
    }
    group.sample_size(10);
    for (name, input) in [
        ("pieces-1m-args", request(&many)),
        ("pieces-100k-args", request(&many[..100_000])),
        ("pieces-64-mb-value", request(&[b"SET", key, &vec![0; 64 << 20]])),
    ] {
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| parse_in_pieces(&mut parser, &input)));
    }
    group.finish();
}

fn writer(criterion: &mut Criterion) {
    let small = [b'v'; 64];
    let large = Bytes::from(vec![b'v'; 1 << 20]);
    let mut group = criterion.benchmark_group("reply");
    let mut reply = Reply::new(Protocol::Resp3);
    let mut bench = |name: &str, write: &dyn Fn(&mut Reply)| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                reply.clear();
                write(black_box(&mut reply));
                black_box(reply.len());
            })
        });
    };
    bench("ok", &|reply| reply.ok());
    bench("null", &|reply| reply.null());
    bench("integer-7", &|reply| reply.integer(black_box(7)));
    bench("integer-1234567", &|reply| reply.integer(black_box(1_234_567)));
    bench("bulk-64", &|reply| reply.bulk(black_box(&small)));
    bench("shared-bulk-1m", &|reply| reply.shared_bulk(black_box(&large)));
    bench("double", &|reply| reply.double(black_box(std::f64::consts::PI)));
    bench("array-100-bulk-64", &|reply| {
        reply.array(100);
        (0..100).for_each(|_| reply.bulk(black_box(&small)));
    });
    bench("deferred-array-100-bulk-64", &|reply| {
        let place = reply.defer_array();
        (0..100).for_each(|_| reply.bulk(black_box(&small)));
        reply.finish(place, 100);
    });
    bench("deferred-array-1000-bulk-64", &|reply| {
        let place = reply.defer_array();
        (0..1000).for_each(|_| reply.bulk(black_box(&small)));
        reply.finish(place, 1000);
    });
    group.bench_function("format-double", |bencher| bencher.iter(|| format_double(black_box(0.1))));
    group.finish();
}

criterion_group!(benches, parser, writer);
criterion_main!(benches);
