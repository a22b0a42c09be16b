//! What clients, replicas and listeners get from the HyperLogLog commands.

use sha1::{Digest, Sha1};

use super::layout::{DENSE_BYTES, EMPTY};
use crate::command::testing::Bench;
use crate::store::{Encoding, Kind};

const NOT_VALID: &str = "-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n";
const CORRUPTED: &str = "-INVALIDOBJ Corrupted HLL object detected\r\n";

fn value(bench: &mut Bench, key: &str) -> Vec<u8> {
    let value = bench.store.peek(0, key.as_bytes()).expect("the key");
    let bytes = value.string(&mut itoa::Buffer::new()).expect("a string").to_vec();
    bytes
}

fn digest(bytes: &[u8]) -> String {
    Sha1::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// PFADD of the numbers of a range, so many at a time.
fn add(bench: &mut Bench, key: &str, numbers: std::ops::Range<u32>, step: usize) {
    let mut from = numbers.start;
    while from < numbers.end {
        let to = (from + step as u32).min(numbers.end);
        let words: Vec<String> = (from..to).map(|number| number.to_string()).collect();
        let mut args: Vec<&[u8]> = vec![b"PFADD", key.as_bytes()];
        args.extend(words.iter().map(|word| word.as_bytes()));
        bench.run_args(&args);
        from = to;
    }
}

/// Numbers from 0 on, and what redis-server made of them: the count, the length and the SHA-1 of the value.
const REDIS: [(u32, u32, usize, &str); 9] = [
    (0, 0, 18, "6892f6e9ee148f17be8c469006bf9a299ecaeeea"),
    (1, 1, 21, "7f3f06b6f9e93dc7c695e22d0d28c9eb505d1d3a"),
    (10, 10, 48, "c52b437994b58f7ceafcac4e964963979aaec487"),
    (100, 100, 287, "bd7a67f7bb0d666dfbc43a5e6be0eece01238c3d"),
    (1000, 1001, 1923, "056844b23674733cdc7948ceec9b35608aef10d1"),
    (1500, 1512, 2766, "a69b44957dac1cc263c846595dd6c9367a54aebd"),
    (3000, 3004, 12304, "d5a28cac3c17a1ffb2cba6a67f0e4236ce7d985c"),
    (10_000, 9987, 12304, "0100d7c90cd0c4a8d2b778575b7ee39ebc0cd7e0"),
    (100_000, 99565, 12304, "34aa9fd8ef04422ffc0020bcca95202aa1f3757a"),
];

#[test]
fn values_and_counts_are_redis_s_to_the_byte() {
    for step in [1, 1000] {
        let mut bench = Bench::new();
        bench.run("PFADD k");
        let mut done = 0;
        for (numbers, count, len, sha1) in REDIS {
            add(&mut bench, "k", done..numbers, step);
            done = numbers;
            assert_eq!(bench.run("PFCOUNT k"), format!(":{count}\r\n"), "{numbers}");
            let value = value(&mut bench, "k");
            assert_eq!((value.len(), digest(&value).as_str()), (len, sha1), "{numbers}");
        }
    }
}

#[test]
fn a_merged_value_is_redis_s_to_the_byte() {
    let mut bench = Bench::new();
    add(&mut bench, "a", 0..600, 1000);
    add(&mut bench, "b", 300..900, 1000);
    assert_eq!(bench.run("PFMERGE m a b"), "+OK\r\n");
    let merged = value(&mut bench, "m");
    assert_eq!((merged.len(), digest(&merged).as_str()), (1750, "364645f29786a69ecccbb618a8bdb5c3536df557"));
    assert_eq!(bench.run("PFCOUNT m"), ":902\r\n");
    assert_eq!(bench.run("PFCOUNT a b"), ":902\r\n");
    // Once more: nothing but the memory of the count changes.
    assert_eq!(bench.run("PFMERGE m a b"), "+OK\r\n");
    assert_eq!(value(&mut bench, "m")[16..], merged[16..]);
}

#[test]
fn one_dense_source_makes_the_destination_dense() {
    let mut bench = Bench::new();
    add(&mut bench, "a", 0..100, 1000);
    add(&mut bench, "b", 50..150, 1000);
    bench.run("PFMERGE sparse a b");
    bench.run("PFDEBUG TODENSE b");
    bench.run("PFMERGE dense a b");
    assert_eq!(bench.run("PFDEBUG ENCODING sparse"), "+sparse\r\n");
    assert_eq!(bench.run("PFDEBUG ENCODING dense"), "+dense\r\n");
    bench.run("PFDEBUG TODENSE sparse");
    assert_eq!(value(&mut bench, "sparse"), value(&mut bench, "dense"));
    bench.run("PFMERGE a b");
    assert_eq!(bench.run("PFDEBUG ENCODING a"), "+dense\r\n");
    assert_eq!(bench.run("PFCOUNT a"), bench.run("PFCOUNT dense"));
}

#[test]
fn a_merge_beyond_the_sparse_limit_ends_dense() {
    let mut bench = Bench::new();
    add(&mut bench, "a", 0..1200, 1000);
    add(&mut bench, "b", 1200..2400, 1000);
    bench.run("PFMERGE m a b");
    add(&mut bench, "one", 0..2400, 1000);
    for key in ["m", "one"] {
        assert_eq!(bench.run(&format!("PFDEBUG ENCODING {key}")), "+dense\r\n");
        bench.run(&format!("PFCOUNT {key}"));
    }
    assert_eq!(value(&mut bench, "m"), value(&mut bench, "one"));
}

#[test]
fn pfadd_says_whether_something_changed_and_makes_the_key() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("PFADD k"), ":1\r\n");
    assert_eq!(value(&mut bench, "k")[..15], EMPTY[..15]);
    assert_eq!(bench.store.kind(0, b"k").map(Kind::encoding), Some(Encoding::Raw));
    assert_eq!(bench.run("PFADD k"), ":0\r\n");
    assert_eq!(bench.run("PFADD k a b c"), ":1\r\n");
    assert_eq!(bench.logged(), ["PFADD k a b c"]);
    assert_eq!(bench.run("PFADD k a b c"), ":0\r\n");
    assert!(bench.logged().is_empty());
    assert_eq!(bench.run("PFADD k ''"), ":1\r\n");
    assert_eq!(bench.run("PFCOUNT k"), ":4\r\n");
    bench.run("EXPIRE k 100");
    bench.run("PFADD k d");
    assert_eq!(bench.run("TTL k"), ":100\r\n");
}

#[test]
fn every_change_counts_as_one() {
    let mut bench = Bench::new();
    bench.run("PFADD k a b c a");
    assert_eq!(bench.store.dirty, 4);
    bench.run("PFCOUNT k");
    assert_eq!(bench.store.dirty, 5);
    bench.run("PFCOUNT k");
    bench.run("PFCOUNT k k");
    assert_eq!(bench.store.dirty, 5);
    bench.run("PFMERGE k");
    assert_eq!(bench.store.dirty, 6);
    bench.run("PFDEBUG TODENSE k");
    bench.run("PFDEBUG TODENSE k");
    bench.run("PFDEBUG GETREG k");
    assert_eq!(bench.store.dirty, 7);
}

#[test]
fn the_count_is_remembered_until_a_register_changes() {
    let mut bench = Bench::new();
    bench.run("PFADD k a b c");
    assert_eq!(value(&mut bench, "k")[15], 0x80);
    assert_eq!(bench.run("PFCOUNT k"), ":3\r\n");
    assert_eq!(bench.logged(), ["PFCOUNT k"]);
    assert_eq!(value(&mut bench, "k")[8..16], 3u64.to_le_bytes());
    bench.run("PFADD k a b c");
    assert_eq!(value(&mut bench, "k")[15], 0);
    // It is believed.
    bench.run("SETRANGE k 8 *");
    assert_eq!(bench.run("PFCOUNT k"), ":42\r\n");
    assert!(bench.logged().is_empty());
    bench.run("PFADD k d");
    assert_eq!(bench.run("PFCOUNT k"), ":4\r\n");
}

#[test]
fn a_union_counts_missing_keys_as_nothing() {
    let mut bench = Bench::new();
    bench.run("PFADD a 1 2 3");
    bench.run("PFADD b 3 4");
    bench.run("PFDEBUG TODENSE b");
    assert_eq!(bench.run("PFCOUNT a b absent"), ":4\r\n");
    assert!(bench.logged().is_empty());
    assert_eq!(bench.run("PFCOUNT absent"), ":0\r\n");
    assert_eq!(bench.run("PFCOUNT absent absent"), ":0\r\n");
    assert_eq!(bench.run("EXISTS absent"), ":0\r\n");
    assert_eq!(bench.run("PFMERGE new absent"), "+OK\r\n");
    assert_eq!(bench.run("PFCOUNT new"), ":0\r\n");
    assert_eq!(bench.run("PFMERGE alone"), "+OK\r\n");
    assert_eq!(bench.run("EXISTS alone"), ":1\r\n");
    assert_eq!(bench.run("PFMERGE a"), "+OK\r\n");
    assert_eq!(bench.run("PFCOUNT a"), ":3\r\n");
}

#[test]
fn strings_that_are_no_hyperloglog_are_refused_and_stay() {
    let mut bench = Bench::new();
    let mut broken_dense = vec![0; DENSE_BYTES + 1];
    broken_dense[..4].copy_from_slice(b"HYLL");
    let mut unknown = EMPTY;
    unknown[4] = 2;
    for value in [&b""[..], b"text", b"12345", b"HYLL", &broken_dense, &unknown] {
        bench.run_args(&[b"SET", b"k", value]);
        for command in [
            "PFADD k a",
            "PFADD k",
            "PFCOUNT k",
            "PFCOUNT k k",
            "PFMERGE new k",
            "PFMERGE k",
            "PFDEBUG ENCODING k",
        ] {
            assert_eq!(bench.run(command), NOT_VALID, "{command} {value:?}");
            assert!(bench.logged().is_empty());
        }
        assert_eq!(self::value(&mut bench, "k"), value);
        assert_eq!(bench.run("EXISTS new"), ":0\r\n");
    }
}

#[test]
fn corrupted_registers_are_noticed() {
    let mut bench = Bench::new();
    bench.run("PFADD k a b c");
    bench.run("APPEND k hello");
    assert_eq!(bench.run("PFCOUNT k"), CORRUPTED);
    // One run more than there are registers.
    bench.run_args(&[b"SET", b"k", &[&EMPTY[..], &[0x80]].concat()]);
    assert_eq!(bench.run("PFCOUNT k k"), CORRUPTED);
    assert_eq!(bench.run("PFMERGE new k"), CORRUPTED);
    assert_eq!(bench.run("PFDEBUG GETREG k"), CORRUPTED);
    // Too few registers: one at the end cannot be set.
    bench.run_args(&[b"SET", b"k", &[&EMPTY[..16], &[0, 0xc0]].concat()]);
    for command in ["PFADD k a", "PFCOUNT k", "PFMERGE k"] {
        let before = value(&mut bench, "k");
        let reply = bench.run(command);
        if command != "PFCOUNT k" {
            assert_eq!(reply, CORRUPTED, "{command}");
        }
        assert_eq!(value(&mut bench, "k"), before, "{command}");
    }
}

#[test]
fn no_value_however_corrupted_does_harm() {
    let mut bench = Bench::new();
    let mut state = 1u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..400 {
        bench.run("DEL k m");
        let from = random(100_000) as u32;
        add(&mut bench, "k", from..from + random(300) as u32, 1000);
        bench.run("PFADD k");
        let mut bytes = value(&mut bench, "k");
        for _ in 0..1 + random(4) {
            let at = 4 + random(bytes.len() - 4);
            bytes[at] = random(256) as u8;
        }
        if round % 5 == 0 {
            bytes.truncate(16 + random(bytes.len() - 15));
        }
        bench.run_args(&[b"SET", b"k", &bytes]);
        add(&mut bench, "k", 0..50, 7);
        for command in
            ["PFCOUNT k", "PFCOUNT k k", "PFMERGE m k", "PFMERGE k", "PFDEBUG DECODE k", "PFDEBUG GETREG k"]
        {
            bench.run(command);
        }
    }
    // Registers that no element leads to.
    let mut full = vec![0xff; DENSE_BYTES];
    full[..16].copy_from_slice(&EMPTY[..16]);
    full[4] = 0;
    full[15] = 0x80;
    bench.run_args(&[b"SET", b"k", &full]);
    assert_eq!(bench.run("PFCOUNT k"), ":-9223372036854775808\r\n");
}

#[test]
fn the_sparse_limit_may_change_at_any_time() {
    let mut bench = Bench::new();
    bench.run("PFADD k a b c d e f g h i j k");
    assert_eq!(bench.run("PFDEBUG ENCODING k"), "+sparse\r\n");
    bench.store.settings.hll_sparse_max_bytes = 30;
    bench.run("PFADD k a");
    assert_eq!(bench.run("PFDEBUG ENCODING k"), "+sparse\r\n");
    bench.run("PFADD k new");
    assert_eq!(bench.run("PFDEBUG ENCODING k"), "+dense\r\n");
    assert_eq!(bench.run("PFCOUNT k"), ":12\r\n");
}

#[test]
fn pfdebug_shows_runs_and_registers() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("PFDEBUG DECODE k"), "-ERR The specified key does not exist\r\n");
    bench.run("PFADD k a b c");
    let runs = "Z:8436 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603";
    assert_eq!(bench.run("PFDEBUG decode k"), format!("${}\r\n{runs}\r\n", runs.len()));
    assert_eq!(bench.run("PFDEBUG NO k"), "-ERR Unknown PFDEBUG subcommand 'NO'\r\n");
    assert_eq!(bench.run("PFDEBUG TODENSE k"), ":1\r\n");
    assert_eq!(bench.logged(), ["PFDEBUG TODENSE k"]);
    assert_eq!(bench.run("PFDEBUG TODENSE k"), ":0\r\n");
    assert_eq!(bench.run("PFDEBUG DECODE k"), "-ERR HLL encoding is not sparse\r\n");
    let registers = bench.run("PFDEBUG GETREG k");
    let registers: Vec<&str> = registers.lines().collect();
    assert_eq!(registers[0], "*16384");
    let set: Vec<usize> = (0..16384).filter(|index| registers[index + 1] != ":0").collect();
    assert_eq!(set, [8436, 12711, 15780]);
    assert_eq!(bench.run("PFCOUNT k"), ":3\r\n");
}

#[test]
fn the_self_test_passes() {
    assert_eq!(Bench::new().run("PFSELFTEST"), "+OK\r\n");
}

#[test]
fn listeners_hear_what_redis_would_tell() {
    let mut bench = Bench::new();
    bench.listen("AKEmn");
    for (command, events) in [
        ("PFADD k a", &["0:new k", "0:pfadd k"][..]),
        ("PFADD k a", &[]),
        ("PFCOUNT k", &[]),
        ("PFCOUNT absent", &["0:keymiss absent"]),
        ("PFMERGE m k", &["0:keymiss m", "0:new m", "0:pfadd m"]),
        ("PFMERGE m k", &["0:pfadd m"]),
        ("PFDEBUG TODENSE k", &[]),
    ] {
        bench.run(command);
        assert_eq!(bench.events(), events, "{command}");
    }
}
