use super::*;
use crate::rdb::{crc64, Compression, Encoder, Format, Version};
use crate::store::{MaxmemoryPolicy, SlotSet, Store, Ttl};

const NOW_MS: i64 = 1_700_000_000_000;

fn part(store: &Store) -> Vec<u8> {
    let mut output = Vec::new();
    assert!(put_part(store, &mut Encoder::new(Format::default()), &mut output, &mut |_| true));
    output
}

fn store() -> Store {
    let mut store = Store::new(SlotSet::ALL, 16);
    store.set_time(NOW_MS);
    store
}

#[test]
fn a_header_has_the_fields_of_redis_in_its_order() {
    let header = Header {
        version: Version::V10,
        created_s: 1,
        used_memory: 300,
        is_aof_base: true,
        more: &[("gyre-cut", b"7")],
    };
    let mut output = Vec::new();
    let format = Format { version: Version::V10, compression: Compression::Lzf };
    header.put(&mut Encoder::new(format), &mut output);
    let mut expected =
        b"REDIS0010\xfa\x09redis-ver\x057.2.6\xfa\x0aredis-bits\xc0\x40\xfa\x05ctime\xc0\x01".to_vec();
    expected
        .extend_from_slice(b"\xfa\x08used-mem\xc1\x2c\x01\xfa\x08gyre-cut\xc0\x07\xfa\x08aof-base\xc0\x01");
    assert_eq!(output, expected);
}

#[test]
fn databases_without_keys_are_left_out_and_expiries_stand_before_their_key() {
    let mut store = store();
    store.set_string(3, b"k", b"v", Ttl::At(0x0102));
    assert_eq!(part(&store), b"\xfe\x03\xfb\x01\x01\xfc\x02\x01\0\0\0\0\0\0\0\x01k\x01v");
    store.set_string(0, b"n", b"5", Ttl::None);
    assert!(part(&store).starts_with(b"\xfe\0\xfb\x01\0\0\x01n\xc0\x05\xfe\x03"));
}

#[test]
fn how_much_a_key_was_used_is_written_when_the_policy_goes_by_it() {
    let mut store = store();
    store.set_string(0, b"k", b"v", Ttl::None);
    assert_eq!(part(&store), b"\xfe\0\xfb\x01\0\0\x01k\x01v");
    store.settings.maxmemory_policy = MaxmemoryPolicy::AllKeysLru;
    store.set_idle(0, b"k", 100);
    assert_eq!(part(&store), b"\xfe\0\xfb\x01\0\xf8\x40\x64\0\x01k\x01v");
    store.settings.maxmemory_policy = MaxmemoryPolicy::VolatileLfu;
    store.set_freq(0, b"k", 200);
    assert_eq!(part(&store), b"\xfe\0\xfb\x01\0\xf9\xc8\0\x01k\x01v");
}

#[test]
fn a_part_ends_where_it_is_told_to() {
    let mut store = store();
    for key in [b"a", b"b", b"c"] {
        store.set_string(0, key, b"v", Ttl::None);
    }
    let (mut output, mut keys) = (Vec::new(), 0);
    let is_whole = put_part(&store, &mut Encoder::new(Format::default()), &mut output, &mut |_| {
        keys += 1;
        keys < 2
    });
    assert!(!is_whole);
    assert_eq!(output.len(), 5 + 2 * 5);
}

#[test]
fn the_checksum_of_a_file_is_that_of_its_pieces_together() {
    let pieces: [&[u8]; 3] = [b"REDIS0011", &[1; 1000], &[2; 77]];
    let mut body = FileChecksum::default();
    let mut file = Vec::new();
    for piece in pieces {
        let mut summed = Summed::new(Vec::new(), true);
        for byte in piece {
            crate::rdb::Output::put(&mut summed, &[*byte]);
        }
        body = body.then(summed.checksummed());
        file.extend_from_slice(&summed.output);
    }
    assert_eq!(body, FileChecksum::of(&file));
    file.extend_from_slice(&trailer(body, true));
    let (checked, crc) = file.split_last_chunk::<8>().unwrap();
    assert_eq!(u64::from_le_bytes(*crc), crc64(checked));
    assert_eq!(trailer(body, false), *b"\xff\0\0\0\0\0\0\0\0");
}
