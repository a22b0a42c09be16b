use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::Forkless;
use crate::command::testing::Bench;
use crate::rdb::file::Opcode;
use crate::rdb::{decode_value, dump, Checks, Format, Reader};
use crate::store::{
    slot_of, MaxmemoryPolicy, Settings, SlotSet, SnapshotOpen, SnapshotOptions, Store, Value,
};

/// A value as something to compare.
#[derive(Clone, Debug, PartialEq)]
struct Plain {
    kind: &'static str,
    parts: Vec<Vec<u8>>,
    expire_at: Option<i64>,
}

type Keys = BTreeMap<(usize, Vec<u8>), Plain>;

fn plain(value: &Value, expire_at: Option<i64>) -> Plain {
    let mut digits = itoa::Buffer::new();
    let mut parts = Vec::new();
    let mut is_ordered = true;
    match value {
        Value::List(list) => list.for_each(|item| parts.push(item.bytes(&mut digits).to_vec())),
        Value::Set(set) => {
            is_ordered = false;
            set.iter().for_each(|item| parts.push(item.bytes(&mut digits).to_vec()));
        }
        Value::Hash(hash) => {
            is_ordered = false;
            for (field, value) in hash.iter() {
                let field = field.bytes(&mut digits).to_vec();
                parts.push([&field, &b"="[..], value.bytes(&mut digits)].concat());
            }
        }
        Value::SortedSet(set) => {
            for (member, score) in set.iter() {
                parts.push([member.bytes(&mut digits), format!("={score}").as_bytes()].concat());
            }
        }
        Value::Stream(_) => parts.push(dump(value, Format::default())),
        _ => parts.push(value.string(&mut digits).unwrap().to_vec()),
    }
    if !is_ordered {
        parts.sort();
    }
    Plain { kind: value.value_type().name(), parts, expire_at }
}

fn keys_of(store: &Store) -> Keys {
    let mut keys = Keys::new();
    for db in 0..store.databases() {
        store.for_each_key(db, &mut |key, value, expire_at| {
            keys.insert((db, key.to_vec()), plain(&value, expire_at));
            true
        });
    }
    keys
}

/// The keys in a part of an RDB file, each of which is in there once.
fn decode(part: &[u8]) -> Keys {
    let mut reader = Reader::new(part);
    let mut keys = Keys::new();
    let (mut db, mut expire_at) = (0, None);
    while !reader.remaining().is_empty() {
        let byte = reader.byte().unwrap();
        match Opcode::of_byte(byte) {
            Some(Opcode::SelectDb) => db = reader.length().unwrap() as usize,
            Some(Opcode::ResizeDb) => {
                reader.length().unwrap();
                reader.length().unwrap();
            }
            Some(Opcode::ExpireTimeMs) => expire_at = Some(reader.time_ms().unwrap()),
            Some(Opcode::Idle) => {
                reader.length().unwrap();
            }
            Some(Opcode::Frequency) => {
                reader.byte().unwrap();
            }
            Some(other) => panic!("{other:?} in a part"),
            None => {
                let key = reader.string().unwrap().bytes(&mut itoa::Buffer::new()).to_vec();
                let value = decode_value(byte, &mut reader, &Settings::default(), Checks::Deep).unwrap();
                let before = keys.insert((db, key.clone()), plain(&value.value(), expire_at.take()));
                assert!(before.is_none(), "{:?} is in the image twice", String::from_utf8_lossy(&key));
            }
        }
    }
    keys
}

/// Small enough for what the tests call large.
const OPTIONS: SnapshotOptions = SnapshotOptions { large_bytes: 1024, ahead_bytes_max: 16 << 10 };

struct Run {
    bench: Bench,
    /// What the snapshot that is open must have in it.
    expected: Option<Keys>,
    written: Vec<u8>,
    /// Of the snapshots to be opened, each other one is of these slots.
    slots: Option<Arc<SlotSet>>,
    opened: usize,
}

impl Run {
    fn new() -> Run {
        let mut bench = Bench::new();
        bench.caller.replaying = false;
        Run { bench, expected: None, written: Vec::new(), slots: None, opened: 0 }
    }

    fn begin(&mut self) {
        self.begin_with(OPTIONS);
    }

    fn begin_with(&mut self, options: SnapshotOptions) {
        let mut expected = keys_of(&self.bench.store);
        let saver = Box::new(Forkless::new(Format::default()));
        self.opened += 1;
        let slots = self.slots.clone().filter(|_| self.opened.is_multiple_of(2));
        if let Some(slots) = &slots {
            expected.retain(|(_, key), _| slots.contains(slot_of(key)));
        }
        assert_eq!(self.bench.store.begin_snapshot_of(slots, options, saver), Ok(()));
        self.expected = Some(expected);
        self.written.clear();
    }

    /// A slice of so many steps; when it was the last, the image is compared. False when none is open any more.
    fn slice(&mut self, steps: usize) -> bool {
        let asked = Cell::new(0);
        let until = || {
            asked.set(asked.get() + 1);
            asked.get() >= steps
        };
        let Some(progress) = self.bench.store.snapshot_step(&until) else { return false };
        while let Some(chunk) = self.bench.store.snapshot_take() {
            self.written.extend_from_slice(&chunk);
        }
        if !progress.is_done {
            return true;
        }
        assert_eq!(progress.keys_saved, progress.keys_total);
        assert_eq!(progress.bytes, self.written.len() as u64);
        self.bench.store.end_snapshot();
        let image = decode(&self.written);
        let expected = self.expected.take().unwrap();
        for (key, value) in &expected {
            assert_eq!(image.get(key), Some(value), "{}", String::from_utf8_lossy(&key.1));
        }
        assert_eq!(image.len(), expected.len());
        false
    }

    fn finish(&mut self) {
        while self.slice(usize::MAX) {}
    }

    /// As a child does with its copy.
    fn finish_keeping_still(&mut self, steps: usize) {
        self.bench.store.snapshot_keeps_still();
        while self.slice(steps) {}
    }

    fn run(&mut self, command: &str) -> String {
        let reply = self.bench.run(command);
        assert!(!reply.starts_with("-ERR unknown"), "{command}: {reply}");
        reply
    }

    fn one(&mut self, op: u8, a: u16, b: u16) {
        let key = format!("{{{}}}key{}", a % 3, a % 29);
        let other = format!("{{{}}}key{}", b % 3, b % 29);
        let many = |from: u16, count: u16, each: &dyn Fn(u16) -> String| -> String {
            (from..from + count).map(each).collect::<Vec<_>>().join(" ")
        };
        let (from, count) = (b % 50, 1 + b % 90);
        let command = match op {
            0 => format!("SET {key} {b}"),
            1 => format!("SET {key} {}", many(0, 1, &|_| "text".repeat(usize::from(b % 2000)) + "x")),
            2 => format!("APPEND {key} {}", "more".repeat(usize::from(b % 900) + 1)),
            3 => format!("SETRANGE {key} {} some", b % 9000),
            4 => format!("INCR {key}"),
            5 => format!("DEL {key}"),
            6 => format!("UNLINK {key} {other}"),
            7 => format!("PEXPIRE {key} {}", b % 5000),
            8 => format!("PERSIST {key}"),
            9 => format!("HSET {key} {}", many(from, count, &|n| format!("field{n} value{}", n ^ a))),
            10 => format!("HSET {key} {}", many(0, 300, &|n| format!("field{n} {}", "v".repeat(n as usize)))),
            11 => format!("HDEL {key} {}", many(from, count, &|n| format!("field{n}"))),
            12 => format!("SADD {key} {}", many(from, count, &|n| n.to_string())),
            13 => format!("SADD {key} {}", many(0, 400, &|n| format!("member{}", n ^ a))),
            14 => format!("SREM {key} {}", many(from, count, &|n| format!("member{n}"))),
            15 => format!("SPOP {key} {}", b % 60 + 1),
            16 => format!("ZADD {key} {}", many(from, count, &|n| format!("{} member{n}", n ^ a))),
            17 => format!("ZADD {key} {}", many(0, 300, &|n| format!("{} member{n}", n ^ a))),
            18 => format!("ZINCRBY {key} 7 member{}", b % 100),
            19 => format!("ZREMRANGEBYRANK {key} {} {}", b % 20, b % 80),
            20 => format!("RPUSH {key} {}", many(from, count, &|n| format!("element{n}"))),
            21 => format!("RPUSH {key} {}", many(0, 900, &|n| format!("a-longer-element{}", n ^ a))),
            22 => format!("LPOP {key} {}", b % 90 + 1),
            23 => format!("LSET {key} {} other", b % 30),
            24 => format!("LTRIM {key} {} -{}", b % 30, b % 40 + 1),
            25 => format!("XADD {key} * field{} value", b % 9),
            26 => format!("XADD {key} MAXLEN {} * a b c {}", b % 50, "d".repeat(usize::from(b % 700))),
            27 => format!("XGROUP CREATE {key} group{} 0 MKSTREAM", b % 3),
            28 => {
                format!("XREADGROUP GROUP group{} consumer{} COUNT {} STREAMS {key} >", b % 3, b % 5, b % 40)
            }
            29 => format!("XTRIM {key} MAXLEN {}", b % 40),
            30 => format!("RENAME {key} {other}"),
            31 => format!("COPY {key} {other} REPLACE"),
            32 => format!("GETDEL {key}"),
            33 => format!("SUNIONSTORE {key} {key} {other}"),
            34 => format!("GETEX {key} PX {}", b % 3000),
            35 => format!("SETBIT {key} {} 1", b),
            36 => format!("SORT {key} BY nosort STORE {other}"),
            37 => format!("INCRBYFLOAT {key} 0.5"),
            38 => {
                for n in 0..b % 300 {
                    self.run(&format!("SET {{{}}}new{n} {n}", a % 2));
                }
                return;
            }
            39 => {
                for n in 0..b % 300 {
                    self.run(&format!("DEL {{{}}}new{n}", a % 2));
                }
                return;
            }
            40 => return self.bench.wait_ms(i64::from(b % 1500)),
            41 => return self.bench.store.expire_cycle(1000, &|| 0),
            42 => {
                self.bench.store.settings.maxmemory_policy = MaxmemoryPolicy::AllKeysRandom;
                self.bench.store.evict_one();
                return;
            }
            43 => {
                if let Some(value) = self.bench.store.take(self.bench.db, key.as_bytes()) {
                    self.bench.store.put(usize::from(b % 3), key.as_bytes(), value);
                }
                return;
            }
            44 if b.is_multiple_of(8) => {
                self.bench.store.clear((!b.is_multiple_of(16)).then_some(self.bench.db));
                return;
            }
            45 => return self.bench.store.swap(usize::from(a % 3), usize::from(b % 3)),
            46..=48 => {
                self.bench.db = usize::from(b % 3);
                return;
            }
            49 => {
                for _ in 0..20 {
                    for n in 0..6 {
                        let ms = a as usize * 7 + n;
                        self.run(&format!("XADD {key} {}-* field value{ms}", 1_700_000_000_000 + ms));
                    }
                }
                return;
            }
            50 => return self.bench.store.snapshot_prioritise(self.bench.db, key.as_bytes()),
            51 => {
                self.bench.store.free_some(usize::from(b % 50));
                return;
            }
            52 if b.is_multiple_of(4) => {
                self.bench.store.end_snapshot();
                self.expected = None;
                return;
            }
            _ => {
                if !self.bench.store.snapshot_is_open() {
                    self.begin();
                } else {
                    self.slice(usize::from(b % 40));
                }
                return;
            }
        };
        self.run(&command);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever happens between the slices, each key of the instant of opening is in the image once, as it was then; of some
    /// slots, their keys and no others.
    #[test]
    fn the_image_is_the_state_when_it_was_opened(
        before in prop::collection::vec((0u8..50, any::<u16>(), any::<u16>()), 0..150),
        during in prop::collection::vec((0u8..64, any::<u16>(), any::<u16>()), 0..300),
        some_slots: bool,
    ) {
        let mut run = Run::new();
        run.slots = some_slots.then(|| {
            let mut slots = [slot_of(b"0"), slot_of(b"2")];
            slots.sort_unstable();
            Arc::new(SlotSet::of(slots.into_iter()))
        });
        for (op, a, b) in before {
            run.one(op, a, b);
        }
        if !run.bench.store.snapshot_is_open() {
            run.begin();
        }
        for (op, a, b) in during {
            run.one(op, a, b);
        }
        run.finish();
        run.begin();
        run.finish();
        run.begin();
        run.finish_keeping_still(3);
        run.bench.store.renew_some(&|| false);
        run.begin();
        run.finish();
        // Nothing is lost from the account of memory, and nothing left in it.
        run.bench.store.clear(None);
        while run.bench.store.free_some(1000) {}
        prop_assert_eq!(run.bench.store.used_memory(), 0);
    }
}

#[test]
fn only_one_snapshot_is_open_at_a_time() {
    let mut run = Run::new();
    run.run("SET key value");
    run.begin();
    let saver = Box::new(Forkless::new(Format::default()));
    assert_eq!(run.bench.store.begin_snapshot(OPTIONS, saver), Err(SnapshotOpen));
    run.finish();
    assert!(!run.bench.store.snapshot_is_open());
}

/// Epochs come round again after 32 snapshots.
#[test]
fn a_snapshot_is_whole_after_any_number_that_were_given_up() {
    for given_up in [1, 2, 30, 31, 32, 33, 64, 100] {
        let mut run = Run::new();
        for number in 0..given_up {
            run.run(&format!("SET key{number} value"));
            run.begin();
            run.slice(number % 3);
            run.bench.store.end_snapshot();
        }
        run.begin();
        run.run("SET key0 other");
        run.finish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A child goes on at any moment; its image is that of the cut, and so are those of the snapshots that follow.
    #[test]
    fn the_image_is_the_same_when_nothing_changes_any_more(
        before in prop::collection::vec((0u8..46, any::<u16>(), any::<u16>()), 0..150),
        during in prop::collection::vec((0u8..52, any::<u16>(), any::<u16>()), 0..150),
        steps in 1usize..100,
    ) {
        let mut run = Run::new();
        for (op, a, b) in before {
            run.one(op, a, b);
        }
        for (op, a, b) in during {
            if !run.bench.store.snapshot_is_open() {
                run.begin();
            }
            run.one(op, a, b);
        }
        if run.bench.store.snapshot_is_open() {
            run.finish_keeping_still(steps);
        }
        run.begin();
        run.finish();
    }
}

#[test]
fn epochs_are_renewed_in_slices_before_they_come_round() {
    let mut run = Run::new();
    for number in 0..1000 {
        run.run(&format!("SET key{number} value"));
    }
    let mut renewals = 0;
    for number in 0..200 {
        run.begin();
        run.run(&format!("SET key{number} other"));
        run.finish_keeping_still(usize::MAX);
        assert!(!run.bench.store.renewal_is_urgent());
        renewals += usize::from(run.bench.store.wants_renewal());
        while run.bench.store.renew_some(&|| true) {}
    }
    assert!(renewals >= 20, "{renewals}");
    run.begin();
    run.finish();
}

#[test]
fn a_key_that_is_deleted_and_made_again_is_saved_as_it_was() {
    let mut run = Run::new();
    run.run("SET key old");
    run.begin();
    run.run("DEL key");
    run.run("SET key new");
    run.finish();
    run.begin();
    run.finish();
}

#[test]
fn a_key_that_expires_meanwhile_is_saved_with_its_expiry() {
    let mut run = Run::new();
    run.run("SET key value PX 100");
    run.run("SET expired value PX 1");
    run.bench.wait_ms(50);
    run.begin();
    run.bench.wait_ms(100);
    assert_eq!(run.run("GET key"), "$-1\r\n");
    run.finish();
}

#[test]
fn a_table_that_grows_and_shrinks_under_the_walk_loses_nothing() {
    let mut run = Run::new();
    for number in 0..2000 {
        run.run(&format!("SET {{tag}}{number} {number}"));
    }
    for (from, to) in [(2000, 9000), (0, 1900), (9000, 9100)] {
        run.begin();
        for number in from..to {
            if from == 0 {
                run.run(&format!("DEL {{tag}}{number}"));
            } else {
                run.run(&format!("SET {{tag}}{number} {number}"));
            }
            if number % 16 == 0 {
                run.slice(1);
            }
        }
        run.finish();
    }
}

/// A child marks nothing: its walk must not come upon a key twice, whatever the size of a table.
#[test]
fn a_table_that_nothing_changes_is_walked_over_once() {
    let mut run = Run::new();
    for number in 0..1500 {
        run.run(&format!("SET {{tag}}{number} {number}"));
        if number < 200 || number % 37 == 0 {
            run.begin();
            run.finish_keeping_still(1 + number % 100);
        }
    }
    for number in 0..1500 {
        run.run(&format!("DEL {{tag}}{number}"));
        if number % 41 == 0 {
            run.begin();
            run.finish_keeping_still(1 + number % 100);
        }
    }
}

fn add_large(run: &mut Run, key: &str) {
    for part in 0..10 {
        let members: Vec<String> = (0..200).map(|n| format!("member{part}-{n}")).collect();
        run.run(&format!("SADD {key} {}", members.join(" ")));
    }
}

#[test]
fn a_large_value_blocks_until_it_is_saved_and_can_be_had_next() {
    let mut run = Run::new();
    for number in 0..500 {
        run.run(&format!("SET key{number} value"));
    }
    add_large(&mut run, "large");
    add_large(&mut run, "deleted");
    assert!(!run.bench.store.snapshot_blocks(0, b"large"));
    run.begin();
    assert!(run.bench.store.snapshot_blocks(0, b"large"));
    assert!(!run.bench.store.snapshot_blocks(0, b"key1"));
    assert!(!run.bench.store.snapshot_blocks(0, b"absent"));
    run.bench.store.snapshot_prioritise(0, b"large");
    let mut steps = 0;
    while run.bench.store.snapshot_blocks(0, b"large") {
        run.slice(1);
        steps += 1;
    }
    assert!(steps > 50, "{steps}");
    let progress = run.bench.store.snapshot_progress().unwrap();
    assert_eq!((progress.keys_saved, progress.keys_total), (1, 502));
    run.run("SADD large more");
    run.run("DEL deleted");
    let again = run.bench.store.snapshot_progress().unwrap();
    assert_eq!(again.bytes, progress.bytes, "a deleted value is written later");
    run.finish();
}

/// What is written between the pieces of a value stands behind it.
#[test]
fn small_keys_change_while_a_large_one_is_in_progress() {
    for end in
        ["SADD large more", "DEL large", "RENAME large other", "SET large x", "PEXPIRE large 5", "GET large"]
    {
        let mut run = Run::new();
        for number in 0..50 {
            run.run(&format!("SET key{number} value"));
        }
        add_large(&mut run, "large");
        run.begin();
        run.bench.store.snapshot_prioritise(0, b"large");
        for number in 0..50 {
            run.slice(1);
            run.run(&format!("SET key{number} other"));
        }
        assert!(run.bench.store.snapshot_blocks(0, b"large"));
        run.run(end);
        run.slice(1);
        run.run("SET key0 third");
        run.finish();
    }
}

#[test]
fn flushed_and_exchanged_databases_are_saved_with_their_numbers() {
    let mut run = Run::new();
    for db in 0..3 {
        run.bench.db = db;
        for number in 0..300 {
            run.run(&format!("SET key{number} {db}"));
        }
        add_large(&mut run, "large");
    }
    for slices in [0, 3, 30, 100] {
        run.begin();
        for _ in 0..slices {
            run.slice(1);
        }
        run.bench.store.swap(0, 1);
        run.bench.store.swap(1, 2);
        run.slice(1);
        run.bench.store.clear(Some(1));
        run.bench.db = 1;
        run.run("SET key1 new");
        add_large(&mut run, "large");
        run.slice(1);
        run.bench.store.clear(None);
        for db in 0..3 {
            run.bench.db = db;
            run.run("SET key2 new");
            add_large(&mut run, "large");
        }
        run.bench.store.swap(0, 2);
        run.finish();
    }
}

#[test]
fn every_way_to_change_a_key_has_it_saved_first() {
    let keys = [
        "SET key 5",
        "SET key text",
        "HSET key f v g w",
        "SADD key 1 2 3",
        "SADD key a b c",
        "ZADD key 1 a 2 b",
        "RPUSH key a b c",
        "XADD key 1-1 f v",
    ];
    #[rustfmt::skip]
    let changes = [
        "SET key 6", "INCR key", "INCRBYFLOAT key 1.5", "APPEND key x", "SETRANGE key 1 y", "SETBIT key 3 1",
        "GETDEL key", "GETEX key PX 5", "DEL key", "UNLINK key", "EXPIRE key 100", "RENAME key other",
        "HSET key f x", "HDEL key f", "SADD key 9", "SREM key a", "SPOP key", "ZADD key 5 a", "ZREM key a",
        "ZPOPMIN key", "LPUSH key x", "LPOP key", "LSET key 0 x", "LTRIM key 1 1", "XADD key 2-2 f w", "XDEL key 1-1",
        "XGROUP CREATE key group 0", "XSETID key 9-9", "SINTERSTORE key key", "COPY other key REPLACE",
    ];
    for key in keys {
        for change in changes {
            let mut run = Run::new();
            run.run("SET other value");
            run.run(key);
            run.begin();
            run.run(change);
            run.finish();
        }
    }
}
