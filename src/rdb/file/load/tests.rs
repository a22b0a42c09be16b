use std::cell::Cell;

use super::super::super::crc::crc64;
use super::super::super::encode::{Encoder, Format, Version};
use super::super::failure::Doing;
use super::super::source::Source;
use super::super::write::{put_function, put_part, trailer, FileChecksum, Header};
use super::*;
use crate::observe::digest::Digest;
use crate::store::stream::StreamId;
use crate::store::{
    Collection, Hash, List, MaxmemoryPolicy, Set, Settings, SlotSet, SortedSet, Stream, Ttl, Value,
};

const NOW_MS: i64 = 1_700_000_000_000;

fn empty_store(slots: SlotSet) -> Store {
    let mut store = Store::new(slots, 16);
    store.set_time(NOW_MS);
    store
}

/// Keys of every type and encoding, in two databases.
fn full_store() -> Store {
    store_with(&[("few", 5), ("many", 150)])
}

/// The same with nothing large.
fn small_store() -> Store {
    store_with(&[("few", 3)])
}

/// Keys of every type, once for each name, with so many elements.
fn store_with(collections: &[(&str, u64)]) -> Store {
    let mut store = empty_store(SlotSet::ALL);
    let settings =
        Settings { hash_max_listpack_entries: 64, list_max_listpack_size: 16, ..Settings::default() };
    store.set_string(0, b"int", b"-70000", Ttl::None);
    store.set_string(0, b"short", b"abc", Ttl::At(NOW_MS + 5000));
    store.set_string(0, b"repeated", &[b'r'; 5000], Ttl::None);
    let noise_len = collections.iter().map(|(_, len)| *len as u32 * 20).max().unwrap_or(0);
    let noise: Vec<u8> = (0..noise_len).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    store.set_string(3, b"noise", &noise, Ttl::None);
    for &(name, len) in collections {
        let (mut list, mut set, mut numbers) = (List::empty(), Set::empty(), Set::integers());
        let (mut hash, mut sorted_set) = (Hash::empty(), SortedSet::empty());
        let mut stream = Stream::empty();
        for i in 0..len {
            let (number, member) = (i.to_string().into_bytes(), format!("member:{i}").into_bytes());
            list.push(crate::store::End::Tail, &member, &settings);
            set.add(&member, &settings);
            numbers.add(&number, &settings);
            hash.set(&member, &number, &settings);
            sorted_set.insert(&member, i as f64 / 3.0, &settings);
            let fields: [&[u8]; 2] = [b"field", &member];
            stream.log_mut().append(StreamId::new(i, 1), &fields, &settings).unwrap();
        }
        let mut put = |kind: &str, value| store.put(0, format!("{name}-{kind}").as_bytes(), value);
        put("list", Detached::from_collection(list, None));
        put("set", Detached::from_collection(set, None));
        put("numbers", Detached::from_collection(numbers, None));
        put("hash", Detached::from_collection(hash, Some(NOW_MS + 1)));
        put("sorted-set", Detached::from_collection(sorted_set, None));
        put("stream", Detached::from_collection(stream, None));
    }
    store
}

/// A file of what is in the stores, one part after the other.
fn file_of(stores: &[&Store]) -> Vec<u8> {
    let mut encoder = Encoder::new(Format::default());
    let mut file = Vec::new();
    let header = Header {
        version: Version::V11,
        created_s: NOW_MS / 1000 - 5,
        used_memory: 1 << 20,
        is_aof_base: true,
        more: &[("gyre-cut", b"42")],
    };
    header.put(&mut encoder, &mut file);
    for store in stores {
        assert!(put_part(store, &mut encoder, &mut file, &mut |_| true));
    }
    let trailer = trailer(FileChecksum::of(&file), true);
    file.extend_from_slice(&trailer);
    file
}

/// A file of version 11 with these records.
fn file_with(records: &[u8]) -> Vec<u8> {
    let mut file = [b"REDIS0011", records].concat();
    let trailer = trailer(FileChecksum::of(&file), true);
    file.extend_from_slice(&trailer);
    file
}

fn digest(stores: &[&Store]) -> String {
    let parts = (0..16).map(|db| {
        let mut part: Option<Digest> = None;
        for store in stores {
            store.for_each_key(db, &mut |key, value, expire_at| {
                part.get_or_insert_default().join(Digest::of_entry(key, &value, expire_at.is_some()));
                true
            });
        }
        part
    });
    Digest::of_databases(parts).to_string()
}

fn load_into<'f>(store: &mut Store, file: &'f [u8], options: LoadOptions) -> Result<Load<&'f [u8]>, Failure> {
    let mut load = Load::new(file, options)?;
    while load.step(store, &|| false)? == Progress::More {}
    Ok(load)
}

fn loaded(file: &[u8]) -> Result<(Store, Counts), Failure> {
    let mut store = empty_store(SlotSet::ALL);
    let load = load_into(&mut store, file, LoadOptions::default())?;
    Ok((store, load.counts()))
}

fn failure_of(file: &[u8]) -> Failure {
    match loaded(file) {
        Ok(_) => panic!("it should be refused"),
        Err(failure) => failure,
    }
}

#[test]
fn what_was_written_is_loaded() {
    let store = full_store();
    let file = file_of(&[&store]);
    let (again, counts) = loaded(&file).unwrap();
    assert_eq!(digest(&[&again]), digest(&[&store]));
    assert_eq!(counts, Counts { loaded: 16, ..Counts::default() });
    assert_eq!(counts.log_line(), "Done loading RDB, keys loaded: 16, keys expired: 0.");
}

#[test]
fn parts_of_shards_join_and_every_shard_takes_its_own() {
    let store = full_store();
    let file = file_of(&[&store]);
    let mut shards: Vec<Store> = (0..3)
        .map(|shard| empty_store(SlotSet::range([0, 5461, 10_922][shard], [5461, 10_922, 16_384][shard])))
        .collect();
    let mut counts = Counts::default();
    for shard in &mut shards {
        counts.add(load_into(shard, &file, LoadOptions::default()).unwrap().counts());
    }
    assert_eq!(counts.loaded, 16);
    let shards: Vec<&Store> = shards.iter().collect();
    assert!(shards.iter().all(|shard| shard.len(0) > 0));
    assert_eq!(digest(&shards), digest(&[&store]));
    let (joined, _) = loaded(&file_of(&shards)).unwrap();
    assert_eq!(digest(&[&joined]), digest(&[&store]));
}

#[test]
fn records_of_any_size_pass_through_a_small_buffer_and_slices_of_any_number() {
    let store = full_store();
    let file = file_of(&[&store]);
    for buffer_len in [1, 7, 100, 4096] {
        let source = Source::with_buffer(&file[..], true, buffer_len);
        let reader = FileReader::of_source(source, true).unwrap();
        let mut load = Load::of_reader(reader, LoadOptions::default());
        let mut again = empty_store(SlotSet::ALL);
        let (asked, mut steps) = (Cell::new(0), 0);
        let until = || {
            asked.set(asked.get() + 1);
            asked.get() % 3 == 0
        };
        while load.step(&mut again, &until).unwrap() == Progress::More {
            steps += 1;
        }
        assert!(steps >= 5);
        assert_eq!(load.position(), file.len() as u64);
        assert_eq!(digest(&[&again]), digest(&[&store]));
    }
}

#[test]
fn a_file_tells_what_redis_logs_of_it() {
    let mut store = empty_store(SlotSet::ALL);
    let file = file_of(&[]);
    let mut load = load_into(&mut store, &file, LoadOptions::default()).unwrap();
    let lines: Vec<String> =
        load.take_notes().into_iter().map(|note| String::from_utf8(note.text.to_vec()).unwrap()).collect();
    assert_eq!(
        lines,
        [
            "Loading RDB produced by version 7.2.6",
            "RDB age 5 seconds",
            "RDB memory usage when created 1.00 Mb",
            "RDB is base AOF",
        ]
    );
    let facts = load.facts();
    assert_eq!(facts.field("gyre-cut"), Some(&b"42"[..]));
    assert_eq!((facts.used_memory, facts.is_aof_base), (Some(1 << 20), true));
    let file = file_with(b"\xfa\x05%note\x02hi\xfa\x03new\xc0\x07");
    let notes = load_into(&mut store, &file, LoadOptions::default()).unwrap().take_notes();
    assert_eq!(notes[0], Note { level: Level::Notice, is_of_key: false, text: "RDB '%note': hi".into() });
    assert_eq!(
        notes[1],
        Note { level: Level::Debug, is_of_key: false, text: "Unrecognized RDB AUX field: 'new'".into() }
    );
}

#[test]
fn expired_keys_are_dropped_but_where_their_deletion_comes_later() {
    let mut records = b"\xfc".to_vec();
    records.extend_from_slice(&(NOW_MS - 1).to_le_bytes());
    records.extend_from_slice(b"\0\x03old\x01v\xfc");
    records.extend_from_slice(&NOW_MS.to_le_bytes());
    records.extend_from_slice(b"\0\x03now\x01v\xfd\x01\0\0\0\x02\x03set\x01\x01m");
    let file = file_with(&records);
    let (mut store, counts) = loaded(&file).unwrap();
    assert_eq!(counts, Counts { loaded: 1, expired: 2, ..Counts::default() });
    assert_eq!(store.expire_at(0, b"now"), Some(Some(NOW_MS)));
    let mut store = empty_store(SlotSet::ALL);
    let options = LoadOptions { keeps_expired: true, ..LoadOptions::default() };
    assert_eq!(load_into(&mut store, &file, options).unwrap().counts().loaded, 3);
    assert_eq!((store.len(0), store.volatile_len(0)), (3, 3));
}

#[test]
fn collections_without_elements_are_passed_over_and_named() {
    let file = file_with(b"\x02\x03set\0\x04\x04hash\0\x05\x04zset\0\x12\x04list\0\x00\x01k\x01v");
    let mut store = empty_store(SlotSet::ALL);
    let mut load = load_into(&mut store, &file, LoadOptions::default()).unwrap();
    assert_eq!(load.counts(), Counts { loaded: 1, empty: 4, ..Counts::default() });
    let line = load.counts().log_line();
    assert_eq!(line, "Done loading RDB, keys loaded: 1, keys expired: 0, empty keys skipped: 4.");
    assert_eq!(load.take_notes()[0].text, Message::from("rdbLoadObject skipping empty key: set"));
}

#[test]
fn a_key_that_comes_twice_is_refused_or_replaced() {
    let file = file_with(b"\0\x01k\x01a\0\x01k\x01b");
    let failure = failure_of(&file);
    assert_eq!(failure.log_lines(), ["RDB has duplicated key 'k' in DB 0"]);
    let mut store = empty_store(SlotSet::ALL);
    let options = LoadOptions { replaces: true, ..LoadOptions::default() };
    load_into(&mut store, &file, options).unwrap();
    assert!(matches!(store.peek(0, b"k"), Some(Value::Bytes(b"b"))));
}

#[test]
fn how_much_a_key_was_used_counts_under_the_policy_that_goes_by_it() {
    let file = file_with(b"\xf8\x40\x64\0\x01k\x01v\xf9\xc8\0\x01l\x01v");
    let (mut store, _) = loaded(&file).unwrap();
    assert_eq!(store.describe(0, b"k").unwrap().idle_s, 100);
    let mut store = empty_store(SlotSet::ALL);
    store.settings.maxmemory_policy = MaxmemoryPolicy::AllKeysLfu;
    load_into(&mut store, &file, LoadOptions::default()).unwrap();
    assert_eq!(store.describe(0, b"l").unwrap().frequency, 200);
    assert_eq!(store.describe(0, b"k").unwrap().frequency, 5);
}

#[test]
fn what_newer_servers_and_modules_write_between_keys_is_passed_over() {
    let mut records = b"\xf4\x05\x01\0".to_vec();
    // A module's aux data: identifier, "an unsigned follows", when, a string, a double, end.
    records.extend_from_slice(b"\xf7\x81\x01\x02\x03\x04\x05\x06\x07\x08\x02\x01\x05\x02hi\x04");
    records.extend_from_slice(&1.5f64.to_le_bytes());
    records.extend_from_slice(b"\0\0\x01k\x01v");
    let mut store = empty_store(SlotSet::ALL);
    let file = file_with(&records);
    let mut load = load_into(&mut store, &file, LoadOptions::default()).unwrap();
    assert_eq!(load.counts().loaded, 1);
    let note = &load.take_notes()[0];
    assert_eq!(note.level, Level::Warning);
    let text = String::from_utf8_lossy(&note.text);
    assert!(text.contains("no matching module 'AQIDBAUGB'"), "{text}");
}

#[test]
fn functions_are_handed_over() {
    let mut records = Vec::new();
    put_function(&mut Encoder::new(Format::default()), b"#!lua name=l\n", &mut records);
    let mut store = empty_store(SlotSet::ALL);
    let file = file_with(&records);
    let mut load = load_into(&mut store, &file, LoadOptions::default()).unwrap();
    assert_eq!(load.take_functions(), [b"#!lua name=l\n"]);
}

#[test]
fn functions_stand_in_front_of_all_parts_and_keys_are_read_behind_them() {
    let codes: [&[u8]; 2] =
        [b"#!lua name=a\n-- a", b"#!lua name=b\n-- bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"];
    let header = Header {
        version: Version::V11,
        created_s: NOW_MS / 1000,
        used_memory: 1,
        is_aof_base: true,
        more: &[("gyre-cut", b"42")],
    };
    let mut encoder = Encoder::new(Format::default());
    let mut file = Vec::new();
    header.put_with_functions(codes, &mut encoder, &mut file);
    let mut store = empty_store(SlotSet::ALL);
    store.set_string(0, b"k", b"v", Ttl::None);
    assert!(put_part(&store, &mut encoder, &mut file, &mut |_| true));
    let trailer = trailer(FileChecksum::of(&file), true);
    file.extend_from_slice(&trailer);

    let mut read = empty_store(SlotSet::ALL);
    let mut load = load_into(&mut read, &file, LoadOptions::default()).unwrap();
    assert_eq!(load.take_functions(), codes);
    assert_eq!(load.facts().field("gyre-cut"), Some(&b"42"[..]));
    assert_eq!(digest(&[&read]), digest(&[&store]));
}

#[test]
fn functions_of_before_their_release_are_refused() {
    let failure = failure_of(&file_with(b"\xf6\x01a"));
    assert!(matches!(failure.cause, Cause::FunctionBeforeRelease));
    assert_eq!(failure.reason(), "Pre-release function format not supported.");
}

#[test]
fn signatures_and_versions_are_those_of_redis_and_valkey() {
    for signature in ["REDIS0001", "REDIS0012", "REDIS0013", "REDIS0014", "REDIS0015", "VALKEY080"] {
        let mut file = [signature.as_bytes(), b"\xff"].concat();
        let crc = crc64(&file);
        file.extend_from_slice(&crc.to_le_bytes());
        assert!(loaded(&file).is_ok(), "{signature}");
    }
    let text = |signature: &str| failure_of(signature.as_bytes()).log_lines().join("|");
    assert_eq!(text("REDIX0011"), "Wrong signature trying to load DB from file");
    assert_eq!(text("REDIS0016"), "Can't handle RDB format version 16");
    assert_eq!(text("REDIS0000"), "Can't handle RDB format version 0");
    assert_eq!(text("REDIS0080"), "Can't handle RDB format version 80");
    assert_eq!(text("VALKEY011"), "Can't handle RDB format version 11");
    assert!(text("REDI").starts_with("Short read or OOM loading DB. Unrecoverable error, aborting now.|"));
}

#[test]
fn failures_tell_what_was_read_and_where() {
    let file = file_with(b"\x0d\x01h\x03abc");
    let failure = failure_of(&file);
    assert_eq!((failure.position, failure.doing, failure.kind), (16, Doing::Value, Some(13)));
    assert_eq!(failure.key.as_deref(), Some(&b"h"[..]));
    assert_eq!(
        failure.log_lines(),
        ["Internal error in RDB reading offset 16, function at read-object-value -> Hash ziplist integrity \
          check failed. (an invalid ziplist)"]
    );
    let mut file = file_of(&[]);
    *file.last_mut().unwrap() ^= 1;
    let lines = failure_of(&file).log_lines();
    assert!(lines[0].starts_with("Wrong RDB checksum expected: ("), "{lines:?}");
    assert!(lines[1].ends_with("function at check-sum -> RDB CRC error"), "{lines:?}");
    let (_, counts) = {
        let mut store = empty_store(SlotSet::ALL);
        let options = LoadOptions { with_checksum: false, ..LoadOptions::default() };
        let load = load_into(&mut store, &file, options).unwrap();
        (store, load.counts())
    };
    assert_eq!(counts, Counts::default());
    let failure = failure_of(&file_with(b"\xfe\x10"));
    assert!(failure.log_lines()[0].contains("configured to handle more than 16 databases"));
    let failure = failure_of(&file_with(b"\x1c\x01h\x03abc"));
    assert!(failure.reason().contains("an array"), "{failure}");
    let failure = failure_of(&file_with(b"\x07\x01m\x81\x01\x02\x03\x04\x05\x06\x07\x08\0"));
    assert!(failure.reason().contains("no matching module type 'AQIDBAUGB'"), "{failure}");
}

#[test]
fn a_file_without_checksum_is_loaded_and_that_is_noted() {
    let mut file = file_of(&[]);
    let len = file.len();
    file[len - 8..].fill(0);
    let mut store = empty_store(SlotSet::ALL);
    let notes = load_into(&mut store, &file, LoadOptions::default()).unwrap().take_notes();
    let last = Message::from("RDB file was saved with checksum disabled: no check performed.");
    assert_eq!(notes.last().unwrap().text, last);
}

#[test]
fn what_follows_a_file_is_left_for_others() {
    let file = [file_of(&[]), b"*1\r\n$4\r\nPING\r\n".to_vec()].concat();
    let mut store = empty_store(SlotSet::ALL);
    let load = load_into(&mut store, &file, LoadOptions::default()).unwrap();
    let (fetched, rest) = load.into_rest();
    assert_eq!([&fetched, rest].concat(), b"*1\r\n$4\r\nPING\r\n");
}

#[test]
fn a_file_cut_anywhere_is_refused_and_says_so() {
    let file = file_of(&[&small_store()]);
    let mut store = empty_store(SlotSet::ALL);
    let options = LoadOptions { replaces: true, ..LoadOptions::default() };
    for len in 0..file.len() {
        let failure = load_into(&mut store, &file[..len], options.clone()).unwrap_err();
        assert!(failure.is_short(), "{len}: {failure}");
        assert!(failure.position <= len as u64);
    }
}

#[test]
fn a_file_with_any_byte_changed_is_refused() {
    let file = file_of(&[&small_store()]);
    let mut damaged = file.clone();
    let (mut whole, mut part) = (empty_store(SlotSet::ALL), empty_store(SlotSet::range(0, 8192)));
    let checked = LoadOptions { replaces: true, ..LoadOptions::default() };
    let unchecked = LoadOptions { with_checksum: false, ..checked.clone() };
    let strict = LoadOptions { checks: Checks::Deep, ..unchecked.clone() };
    for at in 0..file.len() {
        for change in [1, 0x80, 0xff] {
            damaged[at] ^= change;
            // Another version may be one that has no checksum.
            if !(5..9).contains(&at) {
                assert!(
                    load_into(&mut whole, &damaged, checked.clone()).is_err(),
                    "byte {at} changed by {change}"
                );
            }
            // Nobody panics who does not look at the checksum.
            let _ = load_into(&mut whole, &damaged, unchecked.clone());
            let _ = load_into(&mut whole, &damaged, strict.clone());
            let _ = load_into(&mut part, &damaged, unchecked.clone());
            damaged[at] = file[at];
        }
    }
}
