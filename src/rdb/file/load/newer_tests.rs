//! Files and payloads of servers newer than Redis 7.2: what Gyre has is loaded, the rest is refused by name.

use super::super::super::build::{decode_value, Checks};
use super::super::super::encode::{Encoder, Format};
use super::super::super::error::Reason;
use super::super::super::kind::{code, RdbType};
use super::super::super::payload::{dump, restore, PayloadError};
use super::super::super::reader::Reader;
use super::super::super::skip::skip;
use super::super::{trailer, FileChecksum};
use super::*;
use crate::rdb::crc64;
use crate::store::listpack::{write_redis, Listpack};
use crate::store::stream::{Group, Stream, StreamId};
use crate::store::{Collection, Settings, Value};

/// Of Valkey 9.1.2: a string, two hashes of which one once had a field with a time to live, and a stream with a group.
const VALKEY_PLAIN: &str =
    "56414c4b4559303830fa0a76616c6b65792d76657205392e312e32fa0a72656469732d62697473c040fa056374696d65c263\
     c10d6bfa08757365642d6d656dc2f0fa1200fa08616f662d62617365c000fe00fb04000001730568656c6c6f100168171700\
     0000040082663103827631038266320382763203ff04026878020161c0010162c00215027374011000000000000000010000\
     0000000000011d1d0000000a0001010001010181660200010201000100018176020401ff0101010101000001010167010101\
     0100000000000000010000000000000001ab6dbb2da201000001010163ab6dbb2da2010000ab6dbb2da20100000100000000\
     000000010000000000000001ff0a6bb413efe0db30";
/// The same, with a time to live for a field of the hash `hx`.
const VALKEY_TIMES: &str =
    "56414c4b4559303830fa0a76616c6b65792d76657205392e312e32fa0a72656469732d62697473c040fa056374696d65c263\
     c10d6bfa08757365642d6d656dc2605b1300fa08616f662d62617365c000fe00fb04000001730568656c6c6f100168171700\
     0000040082663103827631038266320382763203ff16026878020161c001cf4eb133a20100000162c002ffffffffffffffff\
     150273740110000000000000000100000000000000011d1d0000000a00010100010101816602000102010001000181760204\
     01ff01010101010000010101670101010100000000000000010000000000000001ab6dbb2da201000001010163ab6dbb2da2\
     010000ab6dbb2da20100000100000000000000010000000000000001ff7847ee754dbe47dd";

fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Loads a file; the keys that came, in order.
fn load(file: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut store = Store::new(SlotSet::ALL, 16);
    let mut load = Load::new(file, LoadOptions::default())?;
    while load.step(&mut store, &|| false)? == Progress::More {}
    let mut keys = Vec::new();
    store.for_each_key(0, &mut |key, _, _| {
        keys.push(key.to_vec());
        true
    });
    keys.sort();
    Ok(keys)
}

fn file_with(signature: &str, records: &[u8]) -> Vec<u8> {
    let mut file = [signature.as_bytes(), records].concat();
    let trailer = trailer(FileChecksum::of(&file), true);
    file.extend_from_slice(&trailer);
    file
}

/// A record of the type, with its value under `key`.
fn record(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind, 3], &b"key"[..], value].concat()
}

fn listpack_of(items: &[&str]) -> Vec<u8> {
    let mut listpack = Listpack::new();
    items.iter().for_each(|item| listpack.push_back(item.as_bytes()));
    let mut blob = Vec::new();
    write_redis(listpack.items(), &mut blob);
    [&[blob.len() as u8], &blob[..]].concat()
}

/// A hash of two fields, of every newer type that can hold one: signature, type and value, with this time for the second field.
fn hashes(time: i64) -> Vec<(&'static str, u8, Vec<u8>)> {
    let first_time = if time == 0 { 0i64 } else { 1_800_000_000_000 };
    let length = time as u8;
    let table = [&[2, 0][..], b"\x01f\x01v", &[length], b"\x01g\x01w"].concat();
    let packed = listpack_of(&["f", "v", "0", "g", "w", &time.to_string()]);
    let in_front = |value: &[u8]| [&first_time.to_le_bytes()[..], value].concat();
    let valkey_time = if time == 0 { -1i64 } else { 1_800_000_000_000 };
    let none = (-1i64).to_le_bytes();
    let valkey = [&[2][..], b"\x01f\x01v", &none, b"\x01g\x01w", &valkey_time.to_le_bytes()].concat();
    vec![
        ("REDIS0012", 22, table.clone()),
        ("REDIS0012", 23, packed.clone()),
        ("REDIS0012", 24, in_front(&table)),
        ("REDIS0015", 25, in_front(&packed)),
        ("VALKEY080", 22, valkey),
    ]
}

fn version_of(signature: &str) -> u16 {
    signature.trim_start_matches(char::is_alphabetic).parse().unwrap()
}

#[test]
fn hashes_with_times_of_which_none_is_set_are_plain_ones() {
    for (signature, number, value) in hashes(0) {
        let kind = code(number, version_of(signature)).unwrap();
        let mut reader = Reader::new(&value);
        let hash = decode_value(kind, &mut reader, &Settings::default(), Checks::Deep).unwrap();
        assert!(reader.remaining().is_empty());
        let Value::Hash(hash) = hash.value() else { panic!("{number}") };
        let mut pairs: Vec<_> = hash.iter().map(|(field, value)| [field.to_vec(), value.to_vec()]).collect();
        pairs.sort();
        assert_eq!(pairs, [[b"f".to_vec(), b"v".to_vec()], [b"g".to_vec(), b"w".to_vec()]]);
        let records = [&record(number, &value)[..], b"\x00\x04more\x01x"].concat();
        assert_eq!(load(&file_with(signature, &records)).unwrap(), [&b"key"[..], b"more"], "{number}");
    }
}

#[test]
fn a_field_with_a_time_is_refused_by_name_with_its_key_and_place() {
    for (signature, number, value) in hashes(5) {
        let file = file_with(signature, &[&b"\x00\x01a\x01x"[..], &record(number, &value)].concat());
        let failure = load(&file).unwrap_err();
        let text = "The value of the key 'key' cannot be loaded: a hash whose fields have times to live, which is not \
                    supported";
        assert_eq!(failure.reason(), text, "{number}");
        assert!(failure.position > 14 && failure.position < file.len() as u64);
        let line = &failure.log_lines()[0];
        assert!(
            line.starts_with(&format!("Internal error in RDB reading offset {}", failure.position)),
            "{line}"
        );
    }
}

#[test]
fn every_newer_value_can_be_passed_over_and_read_in_part() {
    for time in [0, 5] {
        for (signature, number, value) in hashes(time) {
            let kind = code(number, version_of(signature)).unwrap();
            let mut reader = Reader::new(&value);
            skip(kind, &mut reader).unwrap();
            assert!(reader.remaining().is_empty(), "{number}");
            for len in 0..value.len() {
                let part = &value[..len];
                assert_eq!(skip(kind, &mut Reader::new(part)).unwrap_err().reason, Reason::End);
                if time == 0 {
                    let read = decode_value(kind, &mut Reader::new(part), &Settings::default(), Checks::Deep);
                    assert_eq!(read.unwrap_err().reason, Reason::End, "{number} {len}");
                }
            }
        }
    }
}

#[test]
fn damaged_hashes_with_times_are_refused() {
    let refused = |kind: u8, value: &[u8]| {
        decode_value(kind, &mut Reader::new(value), &Settings::default(), Checks::Deep).unwrap_err().reason
    };
    for items in [&["f"][..], &["f", "v"], &["f", "v", "x"], &["f", "v", "0", "g", "w"]] {
        assert!(matches!(refused(23, &listpack_of(items)), Reason::Corrupt(_)), "{items:?}");
    }
    assert!(matches!(refused(22, b"\x02\x00\x01f\x01v\x00\x01f\x01v"), Reason::Corrupt(_)), "a field twice");
    assert_eq!(refused(22, b"\x00"), Reason::Empty);
    assert_eq!(refused(23, &listpack_of(&[])), Reason::Empty);
    assert_eq!(refused(RdbType::ValkeyHash as u8, b"\x00"), Reason::Empty);
}

fn stream_bytes() -> Vec<u8> {
    let mut stream = Stream::empty();
    stream.log_mut().append(StreamId::new(1, 1), &[b"f", b"v"], &Settings::default()).unwrap();
    stream.add_group(b"g", Group::new(StreamId::MIN, Some(0)));
    let value = Detached::from_collection(stream, None);
    let mut encoder = Encoder::new(Format::default());
    let mut bytes = Vec::new();
    assert_eq!(encoder.kind(&value.value()), RdbType::Stream3);
    encoder.value(&value.value(), &mut bytes);
    bytes
}

#[test]
fn newer_streams_are_plain_ones_until_something_new_is_in_them() {
    let plain = stream_bytes();
    let no_producers = &[50, 50, 0, 0, 0][..];
    let four = [&plain[..], no_producers].concat();
    let five = [&plain[..], &[0], no_producers].concat();
    let read = |kind: u8, bytes: &[u8]| {
        let mut reader = Reader::new(bytes);
        let value = decode_value(kind, &mut reader, &Settings::default(), Checks::Deep)?;
        assert!(reader.remaining().is_empty());
        Ok::<_, Error>(dump(&value.value(), Format::default()))
    };
    let expected = read(21, &plain).unwrap();
    assert_eq!(read(26, &four).unwrap(), expected);
    assert_eq!(read(27, &five).unwrap(), expected);
    for (kind, bytes) in [(26, &four), (27, &five)] {
        let mut reader = Reader::new(bytes);
        skip(kind, &mut reader).unwrap();
        assert!(reader.remaining().is_empty());
        for len in 0..bytes.len() {
            assert_eq!(read(kind, &bytes[..len]).unwrap_err().reason, Reason::End);
        }
    }
    let with_producer = [&plain[..], &[50, 50, 1, 1, b'p']].concat();
    let given_back = [&plain[..], &[1], &[0; 16], no_producers].concat();
    let name = |kind, bytes: &[u8]| load(&file_with("REDIS0014", &record(kind, bytes))).unwrap_err().reason();
    assert!(name(26, &with_producer).contains("'key' cannot be loaded: a stream with idempotent producers"));
    assert!(name(27, &given_back).contains("'key' cannot be loaded: a stream of which a group has given"));
}

#[test]
fn types_that_gyre_has_not_are_refused_by_name() {
    for (number, name) in
        [(28, "an array"), (29, "a hash by a template"), (32, "a hash by a template"), (33, "a rate limiter")]
    {
        let failure = load(&file_with("REDIS0015", &record(number, b"\x00"))).unwrap_err();
        assert!(failure
            .reason()
            .starts_with(&format!("The value of the key 'key' cannot be loaded: {name}")));
        assert!(!failure.is_damage() && !failure.is_short());
    }
    let unknown = load(&file_with("REDIS0015", &record(34, b"\x00"))).unwrap_err();
    assert_eq!(unknown.reason(), "Unknown RDB encoding type 34");
    let inner = load(&file_with("REDIS0011", &record(0x80 | 22, b"\x00"))).unwrap_err();
    assert_eq!(inner.reason(), "Unknown RDB encoding type 150");
}

#[test]
fn records_between_keys_are_passed_over_or_refused_by_name() {
    let key = record(0, b"\x01v");
    let slots = [&[244, 0x40, 100, 1, 0][..], &key].concat();
    for signature in ["REDIS0012", "VALKEY080"] {
        assert_eq!(load(&file_with(signature, &slots)).unwrap(), [b"key"], "{signature}");
    }
    let refused = |signature, opcode: u8| {
        let failure = load(&file_with(signature, &[&[opcode, 1][..], &key].concat())).unwrap_err();
        assert_eq!(failure.position, 10);
        failure.reason()
    };
    let of = |what: &str| format!("The file cannot be loaded: {what}, which is not supported");
    assert_eq!(refused("REDIS0013", 243), of("what modules know of a key"));
    assert_eq!(refused("VALKEY080", 243), of("slots that were on their way into a cluster of Valkey 9"));
    assert_eq!(refused("REDIS0015", 242), of("templates of hashes, which came with Redis 8.10"));
}

#[test]
fn files_of_a_real_valkey_are_loaded_as_far_as_gyre_has_what_is_in_them() {
    let plain = bytes_of(VALKEY_PLAIN);
    assert_eq!(load(&plain).unwrap(), [&b"h"[..], b"hx", b"s", b"st"]);
    let times = bytes_of(VALKEY_TIMES);
    let failure = load(&times).unwrap_err();
    assert!(failure.reason().starts_with("The value of the key 'hx' cannot be loaded: a hash whose fields"));
    // Passed over, the rest of the file is right.
    let mut reader = FileReader::open(&times[..], true).unwrap();
    let mut keys = 0;
    loop {
        match reader.next().unwrap() {
            Record::Key(_) => keys += 1,
            Record::End(checksum) => break assert_eq!(checksum, Checksum::Right),
            _ => {}
        }
    }
    assert_eq!(keys, 4);
}

#[test]
fn payloads_are_told_apart_by_the_version_in_their_footer() {
    let seal = |body: &[u8], version: u16| {
        let mut payload = [body, &version.to_le_bytes()].concat();
        let checksum = crc64(&payload);
        payload.extend_from_slice(&checksum.to_le_bytes());
        payload
    };
    let restored = |body: &[u8], version| restore(&seal(body, version), &Settings::default(), Checks::Deep);
    for (signature, number, value) in hashes(0) {
        let body = [&[number], &value[..]].concat();
        let other = if signature.starts_with("REDIS") { 80 } else { 12 };
        assert!(restored(&body, version_of(signature)).is_ok(), "{signature} {number}");
        if number == 22 {
            assert!(restored(&body, other).is_err(), "the other family's 22");
        }
    }
    for (signature, number, value) in hashes(5) {
        let body = [&[number], &value[..]].concat();
        let Err(PayloadError::Value { error, .. }) = restored(&body, version_of(signature)) else { panic!() };
        assert!(matches!(error.reason, Reason::Unsupported(_)));
    }
    let Err(PayloadError::Value { error, .. }) = restored(&[243, 1], 13) else { panic!() };
    assert!(matches!(error.reason, Reason::Unsupported(_)));
    for version in [16, 79, 81, u16::MAX] {
        assert_eq!(restored(b"\x00\x01v", version).err(), Some(PayloadError::VersionOrChecksum), "{version}");
    }
    for version in [1, 12, 15, 80] {
        assert!(restored(b"\x00\x01v", version).is_ok(), "{version}");
    }
}
