//! What was written comes back, in the encoding that the configuration wants; what others wrote, and what is damaged, is read or
//! refused.

use proptest::prelude::*;

use super::super::blob::stream_node::id_bytes;
use super::super::encode::{Encoder, Format, Version};
use super::super::error::Reason;
use super::super::output::{put_double, put_length, Compression, Writer};
use super::super::reader::Reader;
use super::{decode_value, Checks};
use crate::store::listpack::{write_redis, Listpack};
use crate::store::stream::{Group, Pending, Stream, StreamId};
use crate::store::{Collection, Detached, Encoding, Hash, List, Set, Settings, SortedSet, Value};

const FORMATS: [Format; 3] = [
    Format { version: Version::V11, compression: Compression::Lzf },
    Format { version: Version::V11, compression: Compression::None },
    Format { version: Version::V10, compression: Compression::Lzf },
];

pub(super) fn encoded(value: &Detached, format: Format) -> (u8, Vec<u8>) {
    let mut encoder = Encoder::new(format);
    let mut bytes = Vec::new();
    let value = value.value();
    encoder.value(&value, &mut bytes);
    (encoder.kind(&value) as u8, bytes)
}

fn decoded(kind: u8, bytes: &[u8], settings: &Settings) -> Result<Detached, Reason> {
    let mut reader = Reader::new(bytes);
    let value = decode_value(kind, &mut reader, settings, Checks::Deep).map_err(|error| error.reason)?;
    assert!(reader.remaining().is_empty(), "a value is read to its end");
    Ok(value)
}

/// What a client could see of a value, tables in order.
pub(super) fn contents(value: &Detached) -> Vec<(Vec<u8>, Vec<u8>)> {
    let alone = |item: crate::store::listpack::Item| (item.to_vec(), Vec::new());
    match value.value() {
        value @ (Value::Int(_) | Value::Bytes(_) | Value::Shared(_)) => {
            vec![(value.string(&mut itoa::Buffer::new()).unwrap().to_vec(), Vec::new())]
        }
        Value::List(list) => {
            let mut elements = Vec::new();
            list.for_each(|element| elements.push(alone(element)));
            elements
        }
        Value::Set(set) => {
            let mut members: Vec<_> = set.iter().map(alone).collect();
            members.sort();
            members
        }
        Value::Hash(hash) => {
            let mut pairs: Vec<_> =
                hash.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect();
            pairs.sort();
            pairs
        }
        Value::SortedSet(set) => {
            set.iter().map(|(member, score)| (member.to_vec(), score.to_string().into_bytes())).collect()
        }
        Value::Stream(stream) => stream_contents(stream),
    }
}

fn stream_contents(stream: &Stream) -> Vec<(Vec<u8>, Vec<u8>)> {
    let text = |what: &str, told: String| (what.as_bytes().to_vec(), told.into_bytes());
    let log = stream.log();
    let counters = (log.len(), log.first_id(), log.last_id(), log.max_deleted_id(), log.entries_added());
    let mut contents = vec![text("log", format!("{counters:?} {}", log.node_count()))];
    for entry in log.range(StreamId::MIN, StreamId::MAX) {
        let fields: Vec<_> = entry.fields().map(|(field, value)| (field.to_vec(), value.to_vec())).collect();
        contents.push(text("entry", format!("{} {fields:?}", entry.id())));
    }
    for (name, group) in stream.groups() {
        contents.push(text("group", format!("{name:?} {} {:?}", group.last_id, group.entries_read)));
        for (id, pending) in group.pending_range(StreamId::MIN..=StreamId::MAX) {
            let owner = group.consumer(pending.consumer).name();
            let told = format!("{id} {owner:?} {} {}", pending.delivered_ms, pending.deliveries);
            contents.push(text("pending", told));
        }
        for consumer in group.consumers() {
            let pending: Vec<_> = consumer.pending_from(StreamId::MIN).collect();
            contents
                .push(text("consumer", format!("{:?} {} {pending:?}", consumer.name(), consumer.seen_ms)));
        }
    }
    contents
}

#[track_caller]
fn comes_back(value: &Detached, settings: &Settings) {
    for format in FORMATS {
        let (kind, bytes) = encoded(value, format);
        let again = decoded(kind, &bytes, settings).expect("what was written can be read");
        assert_eq!(contents(&again), contents(value));
        assert_eq!(again.kind().encoding(), value.kind().encoding());
    }
}

fn hash(pairs: &[(&[u8], &[u8])], settings: &Settings) -> Detached {
    let mut hash = Hash::empty();
    for (field, value) in pairs {
        hash.set(field, value, settings);
    }
    Detached::from_collection(hash, None)
}

fn set(members: &[&[u8]], settings: &Settings) -> Detached {
    let mut set = Set::integers();
    for member in members {
        set.add(member, settings);
    }
    Detached::from_collection(set, None)
}

fn sorted_set(members: &[(&[u8], f64)], settings: &Settings) -> Detached {
    let mut set = SortedSet::empty();
    for (member, score) in members {
        set.insert(member, *score, settings);
    }
    Detached::from_collection(set, None)
}

fn list(elements: &[&[u8]], settings: &Settings) -> Detached {
    let mut list = List::empty();
    for element in elements {
        list.push_back(element, settings);
    }
    Detached::from_collection(list, None)
}

/// Entries with the same and other fields, deleted ones, and groups that know more and less of them.
fn stream(entries: u64) -> Stream {
    let settings = Settings::default();
    let mut stream = Stream::empty();
    for i in 1..=entries {
        let value = i.to_string();
        let pairs: &[&[u8]] = match i % 5 {
            0 => &[b"other", value.as_bytes(), b"field", b"x"],
            _ => &[b"name", value.as_bytes()],
        };
        stream.log_mut().append(StreamId::new(1000 + i / 3, i), pairs, &settings).unwrap();
    }
    let gone: Vec<StreamId> = (2..entries).step_by(7).map(|i| StreamId::new(1000 + i / 3, i)).collect();
    stream.log_mut().delete_all(&gone);
    let mut group = Group::new(StreamId::new(1001, 3), Some(3));
    for (name, id, active_ms) in [(&b"alice"[..], 1, Some(77)), (b"bob", 3, None)] {
        let consumer = group.create_consumer(name, 55).unwrap();
        group.consumer_mut(consumer).active_ms = active_ms;
        let id = StreamId::new(1000 + id / 3, id);
        group.assign(id, Pending { consumer, delivered_ms: 42, deliveries: 2 });
    }
    group.create_consumer(b"idle", -1);
    stream.add_group(b"readers", group);
    stream.add_group(b"", Group::new(StreamId::MIN, None));
    stream
}

#[test]
fn streams_come_back() {
    for entries in [0, 1, 10, 1000] {
        comes_back(&Detached::from_collection(stream(entries), None), &Settings::default());
    }
}

#[test]
fn a_stream_forgets_in_old_formats_only_what_they_cannot_tell() {
    let stream = Detached::from_collection(stream(10), None);
    let active_ms = |value: &Detached| {
        let Value::Stream(stream) = value.value() else { panic!("a stream") };
        let group = stream.group(b"readers").unwrap();
        group.consumers().map(|consumer| consumer.active_ms).collect::<Vec<_>>()
    };
    let again = |format| {
        let (kind, bytes) = encoded(&stream, format);
        active_ms(&decoded(kind, &bytes, &Settings::default()).unwrap())
    };
    assert_eq!(again(FORMATS[0]), [Some(77), None, None]);
    // When they were last seen has to do.
    assert_eq!(again(FORMATS[2]), [Some(55), Some(55), None]);
}

#[test]
fn a_stream_whose_parts_contradict_each_other_is_refused() {
    let node = |id: u64| {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(Compression::None);
        writer.string(&mut bytes, &id_bytes(StreamId::new(id, 0)));
        let mut node = Listpack::new();
        for item in ["1", "0", "1", "f", "0", "2", "0", "0", "v", "4"] {
            node.push_back(item.as_bytes());
        }
        let mut blob = Vec::new();
        write_redis(node.items(), &mut blob);
        writer.string(&mut bytes, &blob);
        bytes
    };
    let parts = |nodes: &[u64], len: u8, last_ms: u8, rest: &[u8]| {
        let mut bytes = vec![nodes.len() as u8];
        nodes.iter().for_each(|id| bytes.extend(node(*id)));
        bytes.extend_from_slice(&[len, last_ms, 0]);
        bytes.extend_from_slice(rest);
        decoded(15, &bytes, &Settings::default())
    };
    let id = id_bytes(StreamId::new(1, 0));
    // Last id, number of pending entries, their ids, times and counts; then consumers.
    let group = |pending: &[[u8; 16]], consumers: &[(&[u8], &[[u8; 16]])]| {
        let mut bytes = vec![1, 1, b'g', 0, 0, pending.len() as u8];
        for id in pending {
            bytes.extend_from_slice(id);
            bytes.extend_from_slice(&[0; 9]);
        }
        bytes.push(consumers.len() as u8);
        for (name, pending) in consumers {
            bytes.push(name.len() as u8);
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(&[0; 8]);
            bytes.push(pending.len() as u8);
            bytes.extend(pending.concat());
        }
        bytes
    };
    assert!(parts(&[1, 2], 2, 2, &[0]).is_ok());
    assert!(parts(&[1], 1, 1, &group(&[id], &[(b"c", &[id])])).is_ok());
    for (what, refused) in [
        ("nodes in disorder", parts(&[2, 1], 2, 2, &[0])),
        ("a node twice", parts(&[1, 1], 2, 2, &[0])),
        ("another length", parts(&[1], 2, 1, &[0])),
        ("no nodes", parts(&[], 1, 1, &[0])),
        ("a last id before the last entry", parts(&[1, 2], 2, 1, &[0])),
        ("pending for nobody", parts(&[1], 1, 1, &group(&[id], &[]))),
        ("pending twice", parts(&[1], 1, 1, &group(&[id, id], &[(b"c", &[id])]))),
        ("pending for two", parts(&[1], 1, 1, &group(&[id], &[(b"c", &[id]), (b"d", &[id])]))),
        ("pending for a consumer alone", parts(&[1], 1, 1, &group(&[], &[(b"c", &[id])]))),
        ("consumers of one name", parts(&[1], 1, 1, &group(&[], &[(b"c", &[]), (b"c", &[])]))),
    ] {
        assert!(matches!(refused, Err(Reason::Corrupt(_))), "{what}");
    }
}

#[test]
fn strings_of_every_encoding_come_back() {
    let long = b"0123456789".repeat(50);
    let random: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for text in [&b""[..], b"1", b"-129", b"70000", b"9223372036854775807", b"text", &long, &random] {
        comes_back(&Detached::from_string(text, None), &Settings::default());
    }
}

#[test]
fn collections_of_every_encoding_come_back() {
    let settings = Settings::default();
    let long = [b'x'; 100];
    for elements in [&[&b"a"[..], b"1", b"", b"-7"][..], &[&long[..]; 400]] {
        comes_back(&list(elements, &settings), &settings);
    }
    for members in [&[&b"1"[..], b"70000", b"-5"][..], &[b"1", b"one", b""], &[b"1", &long]] {
        comes_back(&set(members, &settings), &settings);
    }
    let many: Vec<Vec<u8>> = (0..1000).map(|i| format!("member {i}").into_bytes()).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    comes_back(&set(&many, &settings), &settings);
    comes_back(&list(&many, &settings), &settings);
    for pairs in [&[(&b"f"[..], &b"v"[..]), (b"1", b"2")][..], &[(b"f", &long)]] {
        comes_back(&hash(pairs, &settings), &settings);
    }
    let scores = [1.0, -0.5, f64::INFINITY, f64::NEG_INFINITY, 1e300, 0.1];
    for len in [1, 6, 500] {
        let members: Vec<_> =
            many.iter().take(len).zip(scores.iter().cycle()).map(|(m, s)| (*m, *s)).collect();
        comes_back(&sorted_set(&members, &settings), &settings);
    }
}

fn packed(elements: &[&[u8]]) -> Vec<u8> {
    let mut listpack = Listpack::new();
    for element in elements {
        listpack.push_back(element);
    }
    let mut blob = Vec::new();
    write_redis(listpack.items(), &mut blob);
    let mut bytes = Vec::new();
    Writer::new(Compression::None).string(&mut bytes, &blob);
    bytes
}

#[test]
fn the_configuration_of_today_decides_what_is_packed() {
    let settings = Settings {
        hash_max_listpack_entries: 1,
        set_max_listpack_entries: 1,
        set_max_intset_entries: 1,
        zset_max_listpack_entries: 1,
        ..Settings::default()
    };
    let encoding =
        |kind, bytes: &[u8], settings: &Settings| decoded(kind, bytes, settings).unwrap().kind().encoding();
    for (kind, bytes, is_small, is_large) in [
        (16, packed(&[b"f", b"1", b"g", b"2"]), Encoding::Listpack, Encoding::Hashtable),
        (17, packed(&[b"m", b"1", b"n", b"2"]), Encoding::Listpack, Encoding::Skiplist),
        (20, packed(&[b"m", b"n"]), Encoding::Listpack, Encoding::Hashtable),
        (11, vec![12, 2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 2, 0], Encoding::Intset, Encoding::Hashtable),
        (4, b"\x02\x01a\x01b\x01c\x01d".to_vec(), Encoding::Listpack, Encoding::Hashtable),
        (2, b"\x02\x01a\x01b".to_vec(), Encoding::Listpack, Encoding::Hashtable),
        (3, b"\x02\x01a\x011\x01b\x031.5".to_vec(), Encoding::Listpack, Encoding::Skiplist),
    ] {
        assert_eq!(encoding(kind, &bytes, &Settings::default()), is_small, "type {kind}");
        assert_eq!(encoding(kind, &bytes, &settings), is_large, "type {kind}");
    }
}

#[test]
fn an_element_that_occurs_twice_is_refused_packed_or_not() {
    let strict = Settings {
        hash_max_listpack_entries: 1,
        set_max_listpack_entries: 1,
        zset_max_listpack_entries: 1,
        ..Settings::default()
    };
    let text_and_integer = {
        // "12" as a string, which a listpack of Redis never holds, and as an integer.
        let mut blob = vec![14, 0, 0, 0, 2, 0, 0x82, b'1', b'2', 3, 12, 1, 0, 0xff];
        blob.remove(12);
        blob[0] = blob.len() as u8;
        let mut bytes = Vec::new();
        Writer::new(Compression::None).string(&mut bytes, &blob);
        bytes
    };
    for (kind, bytes) in [
        (16, packed(&[b"f", b"1", b"f", b"2"])),
        (17, packed(&[b"m", b"1", b"m", b"2"])),
        (20, packed(&[b"m", b"m"])),
        (20, text_and_integer),
        (4, b"\x02\x01a\x01b\x01a\x01d".to_vec()),
        (2, b"\x02\x01a\x01a".to_vec()),
        (2, b"\x02\xc0\x05\xc0\x05".to_vec()),
        (3, b"\x02\x01a\x011\x01a\x031.5".to_vec()),
    ] {
        for settings in [&strict, &Settings::default()] {
            let refused = decoded(kind, &bytes, settings).map(|value| contents(&value));
            assert_eq!(refused, Err(super::DUPLICATE), "type {kind}");
        }
    }
}

#[test]
fn sorted_sets_are_put_in_order() {
    let bytes = packed(&[b"b", b"2", b"a", b"1", b"c", b"2"]);
    let set = decoded(17, &bytes, &Settings::default()).unwrap();
    let members: Vec<_> = contents(&set).into_iter().map(|(member, _)| member).collect();
    assert_eq!(members, [b"a", b"b", b"c"]);
    for bytes in [packed(&[b"a", b"x"]), packed(&[b"a", b"nan"]), packed(&[b"a"])] {
        assert!(decoded(17, &bytes, &Settings::default()).is_err());
    }
}

#[test]
fn collections_without_elements_are_told_from_damage() {
    let empty_ziplist = b"\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff".to_vec();
    for (kind, bytes) in [
        (1, vec![0]),
        (2, vec![0]),
        (3, vec![0]),
        (4, vec![0]),
        (5, vec![0]),
        (16, packed(&[])),
        (17, packed(&[])),
        (20, packed(&[])),
        (10, empty_ziplist.clone()),
        (13, empty_ziplist.clone()),
        (14, [&[1], &empty_ziplist[..]].concat()),
        (18, [&[1, 2], &packed(&[])[..]].concat()),
    ] {
        assert_eq!(decoded(kind, &bytes, &Settings::default()).unwrap_err(), Reason::Empty, "type {kind}");
    }
}

#[test]
fn nan_and_unknown_types_are_refused() {
    let mut bytes = b"\x01\x01a".to_vec();
    put_double(&mut bytes, f64::NAN);
    assert!(matches!(decoded(5, &bytes, &Settings::default()), Err(Reason::Corrupt(_))));
    assert_eq!(decoded(99, &[], &Settings::default()).unwrap_err(), Reason::ValueType(99));
    let mut bytes = Vec::new();
    put_length(&mut bytes, 1 << 10);
    assert_eq!(decoded(7, &bytes, &Settings::default()).unwrap_err(), Reason::Module("AAAAAAAAB".to_owned()));
}

/// Elements of all the encodings that they can have.
fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        (-200i64..200).prop_map(|number| number.to_string().into_bytes()),
    ]
}

fn value() -> impl Strategy<Value = Detached> {
    let elements = prop::collection::vec(element(), 1..200);
    (0..6, elements, any::<f64>()).prop_map(|(kind, elements, factor)| {
        let settings = Settings { hash_max_listpack_entries: 32, ..Settings::default() };
        let elements: Vec<&[u8]> = elements.iter().map(Vec::as_slice).collect();
        match kind {
            0 => Detached::from_string(&elements.concat(), None),
            1 => list(&elements, &settings),
            2 => set(&elements, &settings),
            3 => {
                let pairs: Vec<_> =
                    elements.iter().zip(elements.iter().rev()).map(|(f, v)| (*f, *v)).collect();
                hash(&pairs, &settings)
            }
            4 => Detached::from_collection(stream(elements.len() as u64), None),
            _ => {
                let scored = elements.iter().enumerate().map(|(i, member)| {
                    let score = i as f64 * factor;
                    (*member, if score.is_nan() || score == 0.0 { 0.0 } else { score })
                });
                sorted_set(&scored.collect::<Vec<_>>(), &settings)
            }
        }
    })
}

proptest! {
    #[test]
    fn any_value_comes_back(value in value()) {
        let settings = Settings::default();
        for format in FORMATS {
            let (kind, bytes) = encoded(&value, format);
            let again = decoded(kind, &bytes, &settings);
            prop_assert_eq!(contents(&again.expect("what was written can be read")), contents(&value));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(kind in 0u8..26, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_and_write(kind, &bytes);
    }

    #[test]
    fn any_damage_is_noticed_or_harmless(
        value in value(),
        compressed in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let compression = if compressed { Compression::Lzf } else { Compression::None };
        let (kind, mut bytes) = encoded(&value, Format { version: Version::V11, compression });
        read_and_write(kind, &bytes[..cut.index(bytes.len())]);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        read_and_write(kind, &bytes);
    }
}

/// What is read, whatever it is, can be walked over, written, and read again: what was put right too, and it is right then.
fn read_and_write(kind: u8, bytes: &[u8]) {
    let settings = Settings::default();
    for checks in [Checks::Deep, Checks::Mend] {
        match decode_value(kind, &mut Reader::new(bytes), &settings, checks) {
            Err(error) => assert!(error.position <= bytes.len() as u64),
            Ok(value) => {
                let (kind, bytes) = encoded(&value, Format::default());
                let again = decode_value(kind, &mut Reader::new(&bytes), &settings, Checks::Deep);
                assert_eq!(contents(&again.expect("what was written can be read")), contents(&value));
            }
        }
    }
}
