use super::*;
use crate::rdb::file::{trailer, FileChecksum};

const NOW_MS: i64 = 1_700_000_000_000;

fn told(file: &[u8]) -> (bool, String) {
    let mut output = Vec::new();
    let is_right = check(file, NOW_MS, &mut output).unwrap().is_some();
    (is_right, String::from_utf8(output).unwrap())
}

fn file_with(records: &[u8]) -> Vec<u8> {
    let mut file = [b"REDIS0011", records].concat();
    let trailer = trailer(FileChecksum::of(&file), true);
    file.extend_from_slice(&trailer);
    file
}

// What redis-check-rdb 7.2.6 tells of the same bytes, its own internals apart.

#[test]
fn a_right_file_is_told_of_as_redis_does() {
    let mut records = b"\xfa\x09redis-ver\x057.2.6\xfe\x00\xfb\x02\x02\xfc".to_vec();
    records.extend_from_slice(&(NOW_MS - 1).to_le_bytes());
    records.extend_from_slice(b"\0\x01a\x01b\xfc");
    records.extend_from_slice(&(NOW_MS + 1).to_le_bytes());
    records.extend_from_slice(b"\x02\x01s\x01\x01m");
    assert_eq!(
        told(&file_with(&records)),
        (
            true,
            "[offset 26] AUX FIELD redis-ver = '7.2.6'\n[offset 28] Selecting DB ID 0\n[offset 69] Checksum OK\n\
             [offset 69] \\o/ RDB looks OK! \\o/\n[info] 2 keys read\n[info] 2 expires\n[info] 1 already expired\n"
                .into()
        )
    );
}

#[test]
fn a_file_that_ends_early_is_told_of_as_redis_does() {
    assert_eq!(
        told(b"REDIS0011\xfe\x00\x00\x03key\x05abc"),
        (
            false,
            "[offset 11] Selecting DB ID 0\n--- RDB ERROR DETECTED ---\n\
             [offset 17] Unexpected EOF reading RDB file\n[additional info] While doing: read-object-value\n\
             [additional info] Reading key 'key'\n[additional info] Reading type 0 (string)\n\
             [info] 1 keys read\n[info] 0 expires\n[info] 0 already expired\n"
                .into()
        )
    );
}

#[test]
fn damage_inside_a_value_is_told_of_with_its_key_and_type() {
    let (is_right, told) = told(&file_with(b"\x00\x01a\x01b\x0d\x04hash\x03abc"));
    assert!(!is_right);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "--- RDB ERROR DETECTED ---");
    assert!(lines[1].starts_with("[offset 24] Internal error in RDB reading offset 0, function at "));
    assert!(lines[1].contains(" -> Hash ziplist integrity check failed."));
    assert_eq!(lines[2], "[additional info] While doing: read-object-value");
    assert_eq!(lines[3], "[additional info] Reading key 'hash'");
    assert_eq!(lines[4], "[additional info] Reading type 13 (hash-ziplist)");
    assert_eq!(lines[5], "[info] 2 keys read");
    assert_eq!(lines[8], "Terminating server after rdb file reading failure.");
}

#[test]
fn other_damage_is_told_of_as_redis_does() {
    let second_line = |file: &[u8]| told(file).1.lines().nth(1).unwrap().to_string();
    assert_eq!(second_line(b"REDIX0011"), "[offset 9] Wrong signature trying to load DB from file");
    assert_eq!(second_line(b"REDIS0099"), "[offset 9] Can't handle RDB format version 99");
    assert_eq!(second_line(b"REDI"), "[offset 0] Unexpected EOF reading RDB file");
    assert_eq!(second_line(b"REDIS0011\x63"), "[offset 10] Invalid object type: 99");
    let mut file = file_with(b"");
    *file.last_mut().unwrap() ^= 1;
    assert_eq!(second_line(&file), "[offset 18] RDB CRC error");
}

#[test]
fn values_of_modules_are_passed_over() {
    let file =
        file_with(b"\x07\x01m\x81\x01\x02\x03\x04\x05\x06\x07\x08\x02\x05\x05\x02hi\x00\x00\x01k\x01v");
    let (is_right, told) = told(&file);
    assert!(is_right, "{told}");
    assert!(told.contains("[info] 2 keys read"), "{told}");
}

#[test]
fn the_name_that_a_program_is_called_by_says_what_it_is() {
    for name in ["redis-check-rdb", "/usr/bin/gyre-check-rdb", "./redis-check-rdb-7"] {
        assert!(is_called(name.as_ref()), "{name}");
    }
    for name in ["gyre-server", "/redis-check-rdb/gyre-server", ""] {
        assert!(!is_called(name.as_ref()), "{name}");
    }
}
