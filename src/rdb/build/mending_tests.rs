//! Values that contradict themselves: each is refused where that is wanted, and otherwise loaded as the table in `mend` says, with
//! what was wrong. What comes out is right: it is written, and read again by whoever refuses.

use super::super::blob::stream_node::id_bytes;
use super::super::encode::Format;
use super::super::error::Reason;
use super::super::output::{put_double, put_length, put_time_ms};
use super::super::reader::Reader;
use super::tests::{contents, encoded};
use super::{decode_and_mend, decode_value, Checks};
use crate::store::listpack::{write_redis, Listpack};
use crate::store::stream::{Stream, StreamId};
use crate::store::{Detached, Settings, Value};

/// The value, and what was wrong with it.
#[track_caller]
fn mended(kind: u8, bytes: &[u8]) -> (Detached, &'static str) {
    let settings = Settings::default();
    let refused = decode_value(kind, &mut Reader::new(bytes), &settings, Checks::Deep).map(|_| ());
    assert!(matches!(refused, Err(error) if matches!(error.reason, Reason::Corrupt(_))), "it is refused");
    loaded(kind, bytes)
}

/// The same of a value that nobody refuses.
#[track_caller]
fn loaded(kind: u8, bytes: &[u8]) -> (Detached, &'static str) {
    let settings = Settings::default();
    let mut reader = Reader::new(bytes);
    let (value, found) = decode_and_mend(kind, &mut reader, &settings, Checks::Mend).expect("it is loaded");
    assert!(reader.remaining().is_empty(), "a value is read to its end");
    let (kind, bytes) = encoded(&value, Format::default());
    let again = decode_value(kind, &mut Reader::new(&bytes), &settings, Checks::Deep).expect("it is right");
    assert_eq!(contents(&again), contents(&value));
    (value, found.unwrap_or_default())
}

fn pairs(value: &Detached) -> Vec<(String, String)> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    contents(value).into_iter().map(|(first, second)| (text(first), text(second))).collect()
}

fn elements(value: &Detached) -> Vec<String> {
    pairs(value).into_iter().map(|(first, _)| first).collect()
}

fn listpack(elements: &[&str]) -> Vec<u8> {
    let mut listpack = Listpack::new();
    elements.iter().for_each(|element| listpack.push_back(element.as_bytes()));
    let mut bytes = Vec::new();
    write_redis(listpack.items(), &mut bytes);
    bytes
}

fn blob(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_length(&mut out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    out
}

const SET: u8 = 20;
const HASH: u8 = 16;
const SORTED_SET: u8 = 17;
const TWICE: &str = "an element that occurs twice";

#[test]
fn of_two_elements_that_are_equal_the_first_counts() {
    let (set, what) = mended(SET, &blob(&listpack(&["a", "7", "b", "7", "a"])));
    assert_eq!((elements(&set), what), (vec!["7".into(), "a".into(), "b".into()], TWICE));
    let (hash, what) = mended(HASH, &blob(&listpack(&["f", "1", "g", "2", "f", "3"])));
    assert_eq!(pairs(&hash), [("f".into(), "1".into()), ("g".into(), "2".into())]);
    assert_eq!(what, TWICE);
    let (scores, what) = mended(SORTED_SET, &blob(&listpack(&["m", "1", "n", "2", "m", "3"])));
    assert_eq!(pairs(&scores), [("m".into(), "1".into()), ("n".into(), "2".into())]);
    assert_eq!(what, TWICE);
    // As many as become a table.
    let many: Vec<String> = (0..1000).map(|i| (i % 700).to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(elements(&mended(SET, &blob(&listpack(&many))).0).len(), 700);
    let hash: Vec<&str> = many.iter().flat_map(|field| [field, "x"]).collect();
    assert_eq!(pairs(&mended(HASH, &blob(&listpack(&hash))).0).len(), 700);
    let scores: Vec<&str> = many.iter().flat_map(|member| [member, member]).copied().collect();
    assert_eq!(pairs(&mended(SORTED_SET, &blob(&listpack(&scores))).0).len(), 700);
    // A hash field by field, of which one makes it a table; behind that a field that comes again is refused, as by Redis.
    let long = "x".repeat(100);
    let fields = |elements: &[&str]| {
        let mut bytes = vec![elements.len() as u8 / 2];
        elements.iter().for_each(|element| bytes.extend(blob(element.as_bytes())));
        bytes
    };
    let (hash, what) = mended(4, &fields(&["f", "1", "f", "2", "g", &long]));
    assert_eq!(pairs(&hash), [("f".into(), "1".into()), ("g".into(), long.clone())]);
    assert_eq!(what, TWICE);
    let behind = fields(&["g", &long, "g", "2"]);
    assert!(decode_value(4, &mut Reader::new(&behind), &Settings::default(), Checks::Mend).is_err());
}

#[test]
fn what_has_no_counterpart_is_left_out() {
    assert_eq!(pairs(&mended(HASH, &blob(&listpack(&["f", "1", "g"]))).0), [("f".into(), "1".into())]);
    assert_eq!(pairs(&mended(SORTED_SET, &blob(&listpack(&["m", "1", "n"]))).0), [("m".into(), "1".into())]);
    let alone =
        decode_value(HASH, &mut Reader::new(&blob(&listpack(&["f"]))), &Settings::default(), Checks::Mend);
    assert_eq!(alone.map(drop).unwrap_err().reason, Reason::Empty, "it is a key without elements");
}

#[test]
fn listpacks_are_read_as_far_as_they_can_be() {
    // The count.
    let mut bytes = listpack(&["a", "b", "c"]);
    for count in [0u16, 2, 9] {
        bytes[4..6].copy_from_slice(&count.to_le_bytes());
        let (set, what) = mended(SET, &blob(&bytes));
        assert_eq!(elements(&set), ["a", "b", "c"]);
        assert_eq!(what, "a listpack with another number of elements than it says");
    }
    // Of "b", two bytes and the length behind them: that length; then an encoding that there is not, and one that is too long.
    for (at, byte, left) in [(11, 9, 3), (9, 0xf9, 1), (9, 0xbf, 1), (9, 0xff, 1)] {
        let mut bytes = listpack(&["a", "b", "c"]);
        bytes[at] = byte;
        let (set, what) = mended(SET, &blob(&bytes));
        assert_eq!((elements(&set).len(), what), (left, "an invalid element in a listpack"), "{at} {byte}");
    }
    // Nodes of a list.
    let mut bytes = listpack(&["a", "b"]);
    bytes[4] = 1;
    let list = [vec![2, 2], blob(&bytes), vec![2], blob(&listpack(&["c"]))].concat();
    assert_eq!(elements(&mended(18, &list).0), ["a", "b", "c"]);
    // What Redis refuses without looking into it.
    for (at, byte) in [(0, 1), (bytes.len() - 1, 0)] {
        let mut bytes = listpack(&["a", "b"]);
        bytes[at] = byte;
        let refused = decode_value(SET, &mut Reader::new(&blob(&bytes)), &Settings::default(), Checks::Mend);
        assert!(refused.is_err());
    }
}

#[test]
fn integers_of_a_set_are_put_in_order() {
    for width in [2u32, 4, 8] {
        let mut bytes = [width.to_le_bytes(), 4u32.to_le_bytes()].concat();
        for number in [5i64, -3, 5, 0] {
            bytes.extend_from_slice(&number.to_le_bytes()[..width as usize]);
        }
        let (set, what) = mended(11, &blob(&bytes));
        let Value::Set(view) = set.value() else { panic!("a set") };
        let members: Vec<Vec<u8>> = view.iter().map(|item| item.to_vec()).collect();
        assert_eq!(
            (members, what),
            (vec![b"-3".to_vec(), b"0".to_vec(), b"5".to_vec()], "integers of a set out of order")
        );
    }
}

#[test]
fn sorted_sets_are_put_in_order_and_scores_are_what_they_begin_with() {
    let (set, what) = loaded(SORTED_SET, &blob(&listpack(&["b", "2", "a", "1", "c", "1.5"])));
    assert_eq!(elements(&set), ["a", "c", "b"]);
    assert_eq!(what, "a sorted set out of order");
    let (set, what) = mended(SORTED_SET, &blob(&listpack(&["b", "2x", "a", "x", "c", "nan"])));
    assert_eq!(pairs(&set), [("a".into(), "0".into()), ("c".into(), "0".into()), ("b".into(), "2".into())]);
    assert_eq!(what, "a score that is no number");
    // Scores as text, before version 8.
    let (set, _) = mended(3, b"\x02\x01a\x013\x01b\x022x");
    assert_eq!(pairs(&set), [("b".into(), "2".into()), ("a".into(), "3".into())]);
    // Redis refuses these, too.
    assert!(decode_value(3, &mut Reader::new(b"\x01\x01a\x01x"), &Settings::default(), Checks::Mend).is_err());
    let mut bytes = b"\x01\x01a".to_vec();
    put_double(&mut bytes, f64::NAN);
    assert!(decode_value(5, &mut Reader::new(&bytes), &Settings::default(), Checks::Mend).is_err());
}

#[test]
fn a_score_in_an_old_ziplist_keeps_its_sign() {
    let entries: &[u8] = &[0, 1, b'm', 3, 2, b'-', b'0', 4, 1, b'n', 3, 3, b'1', b'.', b'5', 0xff];
    let mut bytes = vec![0; 10];
    bytes.extend_from_slice(entries);
    bytes[0] = bytes.len() as u8;
    bytes[4] = bytes.len() as u8 - 6;
    bytes[8] = 4;
    let (set, what) = loaded(12, &blob(&bytes));
    assert_eq!(pairs(&set), [("m".into(), "-0".into()), ("n".into(), "1.5".into())]);
    assert_eq!(what, "");
}

/// A node of entries with one field: IDs as differences, flags, values; and the counts that it claims.
fn node(entries: &[(i64, i64, &str)], live: i64, deleted: i64) -> Vec<u8> {
    let mut node = Listpack::new();
    for number in [live, deleted, 1] {
        node.push_back_int(number);
    }
    node.push_back(b"f");
    node.push_back_int(0);
    for (ms, flags, value) in entries {
        for number in [*flags, *ms, 0] {
            node.push_back_int(number);
        }
        node.push_back(value.as_bytes());
        node.push_back_int(4);
    }
    let mut bytes = Vec::new();
    write_redis(node.items(), &mut bytes);
    bytes
}

/// Nodes by the milliseconds of their IDs, then length, last ID, and for version 2 and 3 the greatest deleted ID and entries added.
fn stream_of(version: u8, nodes: &[(u64, Vec<u8>)], len: u64, last_ms: u64, more: (u64, u64)) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_length(&mut bytes, nodes.len() as u64);
    for (ms, node) in nodes {
        bytes.extend(blob(&id_bytes(StreamId::new(*ms, 0))));
        bytes.extend(blob(node));
    }
    let mut numbers = vec![len, last_ms, 0];
    if version > 1 {
        numbers.extend([0, 0, more.0, 0, more.1]);
    }
    numbers.iter().for_each(|number| put_length(&mut bytes, *number));
    bytes
}

fn log_of(value: &Detached) -> (Vec<(u64, String)>, u64, u64, u64, u64) {
    let Value::Stream(stream) = value.value() else { panic!("a stream") };
    let log = Stream::log(stream);
    let entries = log.range(StreamId::MIN, StreamId::MAX).map(|entry| {
        let values: Vec<String> =
            entry.fields().map(|(_, value)| String::from_utf8(value.to_vec()).unwrap()).collect();
        (entry.id().ms, values.join(" "))
    });
    let entries: Vec<_> = entries.collect();
    (entries, log.len(), log.last_id().ms, log.max_deleted_id().ms, log.entries_added())
}

fn entry(ms: u64, value: &str) -> (u64, String) {
    (ms, value.to_owned())
}

#[test]
fn a_stream_is_as_long_as_its_entries_are_many() {
    let nodes = [(1000, node(&[(0, 2, "a"), (1, 2, "b")], 2, 0)), (1005, node(&[(0, 2, "c")], 1, 0))];
    let entries = vec![entry(1000, "a"), entry(1001, "b"), entry(1005, "c")];
    for (version, kind) in [(1, 15), (2, 19), (3, 21)] {
        for len in [1, 9] {
            let bytes = [stream_of(version, &nodes, len, 1005, (0, 3)), vec![0]].concat();
            let (stream, what) = mended(kind, &bytes);
            assert_eq!(log_of(&stream), (entries.clone(), 3, 1005, 0, 3));
            assert_eq!(what, "a stream of another length than it says");
        }
    }
    let none = [stream_of(2, &[], 3, 1005, (0, 3)), vec![0]].concat();
    assert!(
        decode_value(19, &mut Reader::new(&none), &Settings::default(), Checks::Mend).is_err(),
        "as in Redis"
    );
}

#[test]
fn a_stream_knows_its_last_id_and_how_many_entries_there_were_at_least() {
    let nodes = [(1000, node(&[(0, 2, "a"), (1, 2, "b")], 2, 0))];
    let (stream, what) = mended(19, &[stream_of(2, &nodes, 2, 900, (0, 2)), vec![0]].concat());
    assert_eq!(log_of(&stream), (vec![entry(1000, "a"), entry(1001, "b")], 2, 1001, 0, 2));
    assert_eq!(what, "a stream with an entry after its last id");
    let (stream, what) = loaded(19, &[stream_of(2, &nodes, 2, 1001, (5000, 1)), vec![0]].concat());
    assert_eq!(log_of(&stream), (vec![entry(1000, "a"), entry(1001, "b")], 2, 1001, 1001, 2));
    assert_eq!(what, "a stream with more entries than were ever added");
}

#[test]
fn nodes_of_a_stream_count_by_their_entries_and_are_put_in_order() {
    let sound = node(&[(0, 2, "c")], 1, 0);
    let expected = vec![entry(1000, "a"), entry(1001, "b"), entry(1005, "c")];
    let two = [(0, 2, "a"), (1, 2, "b")];
    for nodes in [
        // Counts that are wrong, in front of a sound node and behind it.
        [(1000, node(&two, 7, 0)), (1005, sound.clone())],
        [(1000, node(&two, 1, 1)), (1005, sound.clone())],
        [(1005, sound.clone()), (1000, node(&two, 2, 0))],
        // Entries out of order, one twice, one that is deleted.
        [(1000, node(&[(1, 2, "b"), (0, 2, "a"), (0, 2, "x"), (3, 3, "d")], 3, 1)), (1005, sound)],
        // A node that reaches behind the next one.
        [(1000, node(&[(0, 2, "a"), (5, 2, "c")], 2, 0)), (1001, node(&[(0, 2, "b")], 1, 0))],
    ] {
        let (stream, what) = mended(21, &[stream_of(3, &nodes, 3, 1005, (0, 3)), vec![0]].concat());
        assert_eq!(log_of(&stream), (expected.clone(), 3, 1005, 0, 3), "{nodes:?}");
        assert_eq!(what, "an invalid node of a stream");
    }
    // One that cannot be read to its end.
    let mut cut = node(&two, 2, 0);
    let place = cut.len() - 6;
    cut[place] = 0xf9;
    let (stream, _) = mended(21, &[stream_of(3, &[(1000, cut)], 2, 1001, (0, 2)), vec![0]].concat());
    assert_eq!(log_of(&stream).0, [entry(1000, "a")]);
}

#[test]
fn every_pending_entry_has_one_consumer() {
    let nodes = [(1000, node(&[(0, 2, "a"), (1, 2, "b")], 2, 0))];
    let group = |pending: &[u64], consumers: &[(&str, &[u64])]| {
        let mut bytes = [stream_of(2, &nodes, 2, 1001, (0, 2)), vec![1], blob(b"g")].concat();
        [1001, 0, 2, pending.len() as u64].iter().for_each(|number| put_length(&mut bytes, *number));
        for ms in pending {
            bytes.extend_from_slice(&id_bytes(StreamId::new(*ms, 0)));
            put_time_ms(&mut bytes, 77);
            put_length(&mut bytes, 1);
        }
        put_length(&mut bytes, consumers.len() as u64);
        for (name, pending) in consumers {
            bytes.extend(blob(name.as_bytes()));
            put_time_ms(&mut bytes, 99);
            put_length(&mut bytes, pending.len() as u64);
            pending.iter().for_each(|ms| bytes.extend_from_slice(&id_bytes(StreamId::new(*ms, 0))));
        }
        bytes
    };
    let owners = |bytes: &[u8]| -> Vec<(u64, String)> {
        let (value, _) = mended(19, bytes);
        let Value::Stream(stream) = value.value() else { panic!("a stream") };
        let group = stream.group(b"g").expect("the group");
        group
            .pending_range(StreamId::MIN..=StreamId::MAX)
            .map(|(id, pending)| {
                (id.ms, String::from_utf8(group.consumer(pending.consumer).name().to_vec()).unwrap())
            })
            .collect()
    };
    assert_eq!(owners(&group(&[1000], &[("x", &[1000]), ("y", &[1000])])), [entry(1000, "y")]);
    assert_eq!(
        owners(&group(&[1000, 1001], &[("y", &[1001]), ("x", &[])])),
        [entry(1000, "x"), entry(1001, "y")]
    );
    assert_eq!(owners(&group(&[1000], &[])), [entry(1000, "orphaned")]);
    for refused in
        [group(&[1000, 1000], &[]), group(&[], &[("x", &[1000])]), group(&[1000], &[("x", &[1000, 1000])])]
    {
        let value = decode_value(19, &mut Reader::new(&refused), &Settings::default(), Checks::Mend);
        assert!(value.is_err(), "as in Redis");
    }
}
