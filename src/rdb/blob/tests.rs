//! Blobs as Redis writes them are read; every damage to them is noticed or harmless.

use proptest::prelude::*;

use super::stream_node::{check, id_bytes, id_of_bytes};
use super::{Intset, Ziplist, Zipmap};
use crate::store::listpack::{Item, Listpack};
use crate::store::stream::StreamId;

/// "a", 5, "hello", -1, 70000, 13, 2^40.
const ZIPLIST: &[u8] = &[
    43, 0, 0, 0, 32, 0, 0, 0, 7, 0, //
    0, 1, b'a', //
    3, 0xf6, //
    2, 5, b'h', b'e', b'l', b'l', b'o', //
    7, 0xfe, 0xff, //
    3, 0xf0, 0x70, 0x11, 1, //
    5, 0xfe, 13, //
    3, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0, //
    0xff,
];

fn ziplist() -> Vec<u8> {
    let mut bytes = ZIPLIST.to_vec();
    bytes[0] = bytes.len() as u8;
    bytes[4] = bytes.len() as u8 - 11;
    bytes
}

#[test]
fn a_ziplist_is_read() {
    let bytes = ziplist();
    let list = Ziplist::check(&bytes).expect("well-formed");
    let items: Vec<Item> = list.iter().collect();
    assert_eq!(
        items,
        [
            Item::Bytes(b"a"),
            Item::Int(5),
            Item::Bytes(b"hello"),
            Item::Int(-1),
            Item::Int(70000),
            Item::Int(13),
            Item::Int(1 << 40)
        ]
    );
}

#[test]
fn long_strings_and_long_predecessors_of_a_ziplist_are_read() {
    let mut bytes = vec![0; 10];
    bytes.extend_from_slice(&[0, 0x41, 0x2c]);
    bytes.extend_from_slice(&[b'x'; 300]);
    let second = bytes.len();
    bytes.push(254);
    bytes.extend_from_slice(&303u32.to_le_bytes());
    bytes.push(0x80);
    bytes.extend_from_slice(&20_000u32.to_be_bytes());
    bytes.extend_from_slice(&[b'y'; 20_000]);
    bytes.push(0xff);
    let len = bytes.len() as u32;
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    bytes[4..8].copy_from_slice(&(second as u32).to_le_bytes());
    bytes[8] = 2;
    let list = Ziplist::check(&bytes).expect("well-formed");
    let lens: Vec<usize> = list.iter().map(Item::byte_len).collect();
    assert_eq!(lens, [300, 20_000]);
}

#[test]
fn a_zipmap_is_read_with_unused_bytes_and_long_lengths() {
    let mut bytes = vec![2, 3, b'f', b'o', b'o', 2, 1, b'b', b'a', b'?', 1, b'z', 254];
    bytes.extend_from_slice(&300u32.to_le_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&[b'v'; 300]);
    bytes.push(0xff);
    let map = Zipmap::check(&bytes).expect("well-formed");
    let pairs: Vec<_> = map.iter().collect();
    assert_eq!(pairs[0], (&b"foo"[..], &b"ba"[..]));
    assert_eq!(pairs[1], (&b"z"[..], &[b'v'; 300][..]));
    assert!(Zipmap::check(&[0, 0xff]).is_none(), "an empty one");
    bytes[0] = 3;
    assert!(Zipmap::check(&bytes).is_none(), "a wrong count");
    bytes[0] = 254;
    assert!(Zipmap::check(&bytes).is_some(), "an unknown count");
}

fn intset(width: u32, numbers: &[i64]) -> Vec<u8> {
    let mut bytes = width.to_le_bytes().to_vec();
    bytes.extend_from_slice(&(numbers.len() as u32).to_le_bytes());
    for number in numbers {
        bytes.extend_from_slice(&number.to_le_bytes()[..width as usize]);
    }
    bytes
}

#[test]
fn intsets_of_every_width_are_read_and_disorder_is_refused() {
    for width in [2, 4, 8] {
        let bytes = intset(width, &[-3, 0, 700]);
        let set = Intset::check(&bytes).expect("well-formed");
        assert_eq!(set.iter().collect::<Vec<_>>(), [-3, 0, 700]);
        assert_eq!((set.len(), set.width()), (3, width as usize));
    }
    for (width, numbers) in [(8, &[][..]), (3, &[1])] {
        assert!(Intset::check(&intset(width, numbers)).is_none(), "{width} {numbers:?}");
    }
    for numbers in [[1, 1], [2, 1]] {
        assert!(Intset::check(&intset(2, &numbers)).is_some_and(|set| !set.ascends()), "{numbers:?}");
    }
    assert!(Intset::check(&intset(2, &[1, 2])[..11]).is_none());
}

fn node(entries: &[(i64, i64, i64, &[&str])]) -> Listpack {
    let mut node = Listpack::new();
    let live = entries.iter().filter(|entry| entry.0 & 1 == 0).count() as i64;
    for number in [live, entries.len() as i64 - live, 1] {
        node.push_back_int(number);
    }
    node.push_back(b"field");
    node.push_back_int(0);
    for (flags, ms, seq, items) in entries {
        for number in [flags, ms, seq] {
            node.push_back_int(*number);
        }
        let mut len = 3 + items.len() as i64;
        if flags & 2 == 0 {
            node.push_back_int(items.len() as i64 / 2);
            len += 1;
        }
        for item in *items {
            node.push_back(item.as_bytes());
        }
        node.push_back_int(len);
    }
    node
}

const MASTER: StreamId = StreamId { ms: 1000, seq: 5 };

#[test]
fn a_stream_node_is_read_with_its_deleted_entries_and_own_fields() {
    let node = node(&[(2, 0, 0, &["a"]), (3, 0, 1, &["b"]), (0, 7, -5, &["x", "1", "y", "2"])]);
    let summary = check(node.items(), MASTER).expect("well-formed");
    assert_eq!(summary.live, 2);
    assert_eq!(summary.first_live, Some(MASTER));
    assert_eq!(summary.last, Some(StreamId { ms: 1007, seq: 0 }));
}

#[test]
fn a_stream_node_that_contradicts_itself_is_refused() {
    for entries in [
        &[(2, 0, 0, &["a", "b"][..])][..],
        &[(2, 0, 0, &[])],
        &[(2, 0, 1, &["a"]), (2, 0, 1, &["a"])],
        &[(2, 1, 0, &["a"]), (2, 0, 9, &["a"])],
        &[(2, -1, 0, &["a"])],
    ] {
        assert!(check(node(entries).items(), MASTER).is_none(), "{entries:?}");
    }
    let mut node = node(&[(2, 0, 0, &["a"])]);
    node.replace(2, b"2");
    assert!(check(node.items(), MASTER).is_none(), "a wrong number of entries");
    node.replace(2, b"9223372036854775807");
    assert!(check(node.items(), MASTER).is_none());
}

#[test]
fn ids_keep_their_order_as_bytes() {
    let ids = [
        StreamId { ms: 0, seq: 1 },
        StreamId { ms: 1, seq: 0 },
        StreamId { ms: 1, seq: u64::MAX },
        StreamId { ms: u64::MAX, seq: 0 },
    ];
    for id in ids {
        assert_eq!(id_of_bytes(id_bytes(id)), id);
    }
    assert!(ids.is_sorted_by_key(|id| id_bytes(*id)));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    #[test]
    fn any_damage_is_noticed_or_harmless(at in 0usize..60, byte: u8, cut in 0usize..60) {
        let blobs = [ziplist(), vec![1, 3, b'f', b'o', b'o', 2, 1, b'b', b'a', b'?', 0xff], intset(4, &[1, 2, 3])];
        for mut blob in blobs {
            if let Some(place) = blob.get_mut(at) {
                *place = byte;
            }
            read_all(&blob);
            read_all(&blob[..cut.min(blob.len())]);
        }
    }
}

fn read_all(bytes: &[u8]) {
    if let Some(list) = Ziplist::check(bytes) {
        assert_eq!(list.iter().count(), list.len());
    }
    if let Some(map) = Zipmap::check(bytes) {
        assert!(map.iter().count() > 0);
    }
    if let Some(set) = Intset::check(bytes) {
        assert_eq!(set.iter().count(), set.len());
    }
}
