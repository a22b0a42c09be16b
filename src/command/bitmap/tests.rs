//! What clients, replicas and listeners get from the bitmap commands.

use crate::command::testing::Bench;
use crate::resp::Protocol;
use crate::store::Kind;

const BAD_OFFSET: &str = "-ERR bit offset is not an integer or out of range\r\n";
const BAD_BIT: &str = "-ERR bit is not an integer or out of range\r\n";
const NOT_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";
const SYNTAX: &str = "-ERR syntax error\r\n";

fn set(bench: &mut Bench, key: &str, value: &[u8]) {
    bench.run_args(&[b"SET", key.as_bytes(), value]);
}

fn value(bench: &mut Bench, key: &str) -> Vec<u8> {
    match bench.store.peek(0, key.as_bytes()) {
        Some(value) => value.string(&mut itoa::Buffer::new()).expect("a string").to_vec(),
        None => Vec::new(),
    }
}

#[test]
fn setbit_answers_the_old_bit_and_grows_the_string() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("SETBIT k 1 1"), ":0\r\n");
    assert_eq!(value(&mut bench, "k"), [0x40]);
    assert_eq!(bench.run("SETBIT k 1 0"), ":1\r\n");
    assert_eq!(bench.run("SETBIT k 23 0"), ":0\r\n");
    assert_eq!(value(&mut bench, "k"), [0, 0, 0]);
    assert_eq!(bench.logged(), ["SETBIT k 23 0"]);
    assert_eq!(bench.run("SETBIT k 23 0"), ":0\r\n");
    assert!(bench.logged().is_empty());
    bench.run("EXPIRE k 100");
    // Beyond what lies in its entry, and back within.
    assert_eq!(bench.run("SETBIT k 100000 1"), ":0\r\n");
    assert_eq!(bench.run("SETBIT k 100000 1"), ":1\r\n");
    assert!(bench.logged().is_empty());
    assert_eq!(bench.run("SETBIT k 99999 1"), ":0\r\n");
    assert_eq!(bench.run("BITCOUNT k"), ":2\r\n");
    assert_eq!(bench.run("STRLEN k"), ":12501\r\n");
    assert_eq!(bench.run("TTL k"), ":100\r\n");
}

#[test]
fn a_large_bitmap_is_changed_in_its_own_buffer() {
    let mut bench = Bench::new();
    bench.run("SETBIT k 8000000 1");
    let address = |bench: &mut Bench| match bench.store.peek(0, b"k") {
        Some(crate::store::Value::Shared(bytes)) => bytes.as_ptr(),
        other => panic!("{other:?} is not large"),
    };
    let before = address(&mut bench);
    bench.run("SETBIT k 5 1");
    bench.run("BITFIELD k SET u8 800 255");
    assert_eq!(address(&mut bench), before);
    assert_eq!(bench.run("BITCOUNT k"), ":10\r\n");
}

#[test]
fn setbit_works_on_integers_and_leaves_raw_strings() {
    let mut bench = Bench::new();
    bench.run("SET k 1");
    // '1' is 0011 0001.
    for (command, reply, expected) in
        [("SETBIT k 3 1", ":1\r\n", "1"), ("SETBIT k 6 1", ":0\r\n", "3"), ("SETBIT k 2 0", ":1\r\n", "\x13")]
    {
        assert_eq!(bench.run(command), reply);
        assert_eq!(value(&mut bench, "k"), expected.as_bytes());
        assert_eq!(bench.store.kind(0, b"k"), Some(Kind::Raw));
    }
}

#[test]
fn offsets_and_bits_are_checked() {
    let mut bench = Bench::new();
    for offset in ["-1", "x", "1.5", "4294967296", "9223372036854775807", "#1"] {
        assert_eq!(bench.run(&format!("SETBIT k {offset} 2")), BAD_OFFSET, "{offset}");
        assert_eq!(bench.run(&format!("GETBIT k {offset}")), BAD_OFFSET, "{offset}");
        if offset != "#1" {
            assert_eq!(bench.run(&format!("BITFIELD k SET u1 {offset} x")), BAD_OFFSET, "{offset}");
        }
    }
    for bit in ["2", "-1", "x", "20"] {
        assert_eq!(bench.run(&format!("SETBIT k 0 {bit}")), BAD_BIT);
    }
    assert_eq!(bench.run("EXISTS k"), ":0\r\n");
    bench.caller.bulk_len_max = 10;
    assert_eq!(bench.run("SETBIT k 80 1"), BAD_OFFSET);
    assert_eq!(bench.run("SETBIT k 79 1"), ":0\r\n");
    bench.caller.replaying = true;
    assert_eq!(bench.run("SETBIT k 80 1"), ":0\r\n");
}

#[test]
fn getbit_reads_zeros_beyond_the_end() {
    let mut bench = Bench::new();
    set(&mut bench, "k", b"\x80\x01");
    for (offset, bit) in [(0, 1), (1, 0), (14, 0), (15, 1), (16, 0), (100, 0), (4294967295u64, 0)] {
        assert_eq!(bench.run(&format!("GETBIT k {offset}")), format!(":{bit}\r\n"));
    }
    assert_eq!(bench.run("GETBIT absent 3"), ":0\r\n");
    bench.run("SET k 1");
    assert_eq!(bench.run("GETBIT k 7"), ":1\r\n");
}

#[test]
fn bitcount_counts_ranges_of_bytes_and_bits() {
    let mut bench = Bench::new();
    bench.run("SET k foobar");
    for (range, count) in [
        ("", 26),
        ("0 0", 4),
        ("1 1", 6),
        ("0 -5", 10),
        ("1 1 BYTE", 6),
        ("5 30 BIT", 17),
        ("5 5 bit", 1),
        ("-1000 1000 BIT", 26),
        ("6 1", 0),
        ("-1 -2", 0),
        ("-1 -2 nonsense", 0),
        ("-6 -100", 0),
        ("100 200", 0),
        ("-9223372036854775808 9223372036854775807", 26),
    ] {
        assert_eq!(bench.run(&format!("BITCOUNT k {range}")), format!(":{count}\r\n"), "{range}");
    }
    assert_eq!(bench.run("BITCOUNT k 0"), SYNTAX);
    assert_eq!(bench.run("BITCOUNT k 0 1 hello"), SYNTAX);
    assert_eq!(bench.run("BITCOUNT k 0 1 BIT 5"), SYNTAX);
    assert_eq!(bench.run("BITCOUNT k a 1 hello"), NOT_INTEGER);
    assert_eq!(bench.run("BITCOUNT absent a 1 hello"), ":0\r\n");
    set(&mut bench, "k", b"");
    assert_eq!(bench.run("BITCOUNT k"), ":0\r\n");
    assert_eq!(bench.run("BITCOUNT k 0 -1 BIT"), ":0\r\n");
}

#[test]
fn bitpos_finds_the_first_bit() {
    let mut bench = Bench::new();
    set(&mut bench, "ones", &[0xff; 100]);
    set(&mut bench, "zeros", &[0; 100]);
    set(&mut bench, "mixed", b"\xff\xf0\x00\x00\x01");
    set(&mut bench, "empty", b"");
    for (arguments, position) in [
        ("ones 1", 0),
        ("ones 0", 800),
        ("ones 0 5", 800),
        ("ones 0 0 -1", -1),
        ("ones 0 0 -1 BIT", -1),
        ("ones 0 100", -1),
        ("zeros 1", -1),
        ("zeros 0 7 15 BIT", 7),
        ("zeros 1 0 -1", -1),
        ("mixed 0", 12),
        ("mixed 1 2", 39),
        ("mixed 1 2 3", -1),
        ("mixed 1 12 38 BIT", -1),
        ("mixed 1 12 39 bit", 39),
        ("mixed 0 3 10 BIT", -1),
        ("mixed 0 3 12 BIT", 12),
        ("mixed 0 -3 -1 BYTE", 16),
        ("mixed 1 -100 -200", 0),
        ("mixed 1 3 1", -1),
        ("empty 0", -1),
        ("empty 1", -1),
        ("absent 0", 0),
        ("absent 1 5 x y", -1),
    ] {
        assert_eq!(bench.run(&format!("BITPOS {arguments}")), format!(":{position}\r\n"), "{arguments}");
    }
    assert_eq!(bench.run("BITPOS ones 2"), "-ERR The bit argument must be 1 or 0.\r\n");
    assert_eq!(bench.run("BITPOS ones x"), NOT_INTEGER);
    assert_eq!(bench.run("BITPOS ones 1 0 x nonsense"), SYNTAX);
    assert_eq!(bench.run("BITPOS ones 1 x 0 nonsense"), NOT_INTEGER);
    assert_eq!(bench.run("BITPOS ones 1 0 -1 BIT 0"), SYNTAX);
}

#[test]
fn bitop_combines_strings_of_different_length() {
    let mut bench = Bench::new();
    set(&mut bench, "a", b"\x0f\xff\xaa");
    set(&mut bench, "b", b"\xfc\x0f");
    for (command, expected) in [
        ("BITOP AND d a b", &b"\x0c\x0f\x00"[..]),
        ("BITOP or d a b", b"\xff\xff\xaa"),
        ("BITOP XOR d a b", b"\xf3\xf0\xaa"),
        ("BITOP XOR d a a", b"\x00\x00\x00"),
        ("BITOP Not d a", b"\xf0\x00\x55"),
        ("BITOP AND d a absent", b"\x00\x00\x00"),
        ("BITOP AND d b", b"\xfc\x0f"),
    ] {
        assert_eq!(bench.run(command), format!(":{}\r\n", expected.len()));
        assert_eq!(value(&mut bench, "d"), expected, "{command}");
    }
    assert_eq!(bench.run("BITOP NOT d a b"), "-ERR BITOP NOT must be called with a single source key.\r\n");
    assert_eq!(bench.run("BITOP NAND d a"), SYNTAX);
}

#[test]
fn bitop_replaces_its_destination() {
    let mut bench = Bench::new();
    bench.run("SET n 5 EX 100");
    // One of the sources, an integer with a time to live, becomes a raw string without.
    assert_eq!(bench.run("BITOP OR n n n"), ":1\r\n");
    assert_eq!(bench.run("GET n"), "$1\r\n5\r\n");
    assert_eq!(bench.store.kind(0, b"n"), Some(Kind::Raw));
    assert_eq!(bench.run("TTL n"), ":-1\r\n");
    assert_eq!(bench.run("BITOP AND n absent"), ":0\r\n");
    assert_eq!(bench.logged(), ["BITOP AND n absent"]);
    assert_eq!(bench.run("EXISTS n"), ":0\r\n");
    assert_eq!(bench.run("BITOP AND n absent"), ":0\r\n");
    assert!(bench.logged().is_empty());
    let large: Vec<u8> = (0..100_000).map(|i| (i % 251) as u8).collect();
    set(&mut bench, "large", &large);
    assert_eq!(bench.run("BITOP NOT large large"), ":100000\r\n");
    assert_eq!(value(&mut bench, "large"), large.iter().map(|byte| !byte).collect::<Vec<_>>());
}

#[test]
fn bitfield_runs_its_operations_in_order() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("BITFIELD k"), "*0\r\n");
    assert_eq!(bench.run("BITFIELD k GET i64 #3 GET u8 0"), "*2\r\n:0\r\n:0\r\n");
    assert_eq!(bench.run("EXISTS k"), ":0\r\n");
    assert_eq!(
        bench.run("BITFIELD k SET i8 0 -100 SET i8 #0 101 get u8 0 INCRBY u8 #2 300"),
        "*4\r\n:0\r\n:-100\r\n:101\r\n:44\r\n"
    );
    assert_eq!(value(&mut bench, "k"), [101, 0, 44]);
    assert_eq!(bench.store.dirty, 3);
    assert_eq!(
        bench.run("BITFIELD k INCRBY u2 100 1 OVERFLOW SAT INCRBY u2 102 1 GET u4 100"),
        "*3\r\n:1\r\n:1\r\n:5\r\n"
    );
    assert_eq!(bench.run("BITFIELD k GET u63 1 GET u63 1000000"), "*2\r\n:7277865376342343680\r\n:0\r\n");
    bench.run("SET n 12");
    assert_eq!(bench.run("BITFIELD n GET u8 0 GET u16 0"), "*2\r\n:49\r\n:12594\r\n");
    assert_eq!(bench.run("BITFIELD_RO n GET u8 #1"), "*1\r\n:50\r\n");
}

#[test]
fn overflow_holds_until_the_next_one() {
    let mut bench = Bench::new();
    bench.run("BITFIELD k SET u8 0 250 SET i8 8 120");
    let command =
        "BITFIELD k OVERFLOW FAIL INCRBY u8 0 10 GET u8 0 INCRBY i8 8 10 OVERFLOW SAT INCRBY u8 0 10 \
                   INCRBY i8 8 10 OVERFLOW WRAP INCRBY u8 0 10 INCRBY i8 8 10";
    let resp2 = "*7\r\n$-1\r\n:250\r\n$-1\r\n:255\r\n:127\r\n:9\r\n:-119\r\n";
    assert_eq!(bench.run(command), resp2);
    bench.run("BITFIELD k SET u8 0 250 SET i8 8 120");
    bench.protocol = Protocol::Resp3;
    assert_eq!(bench.run(command), resp2.replace("$-1", "_"));
    bench.protocol = Protocol::Resp2;
    assert_eq!(
        bench.run("BITFIELD n OVERFLOW SAT SET u8 0 -1 SET i8 0 -200 SET i8 0 200"),
        "*3\r\n:0\r\n:-1\r\n:-128\r\n"
    );
    assert_eq!(
        bench.run("BITFIELD n OVERFLOW SAT SET i8 0 -9223372036854775808 GET i8 0"),
        "*2\r\n:127\r\n:127\r\n"
    );
}

#[test]
fn only_changes_are_told() {
    let mut bench = Bench::new();
    bench.run("BITFIELD k SET u8 0 1");
    bench.run("BITFIELD k SET u8 0 1");
    assert!(bench.logged().is_empty());
    bench.listen("AKEn");
    // The string grows although nothing is stored: clients can see that, so the log has it too.
    assert_eq!(bench.run("BITFIELD f OVERFLOW FAIL SET u8 0 256"), "*1\r\n$-1\r\n");
    assert_eq!(value(&mut bench, "f"), [0]);
    assert_eq!(bench.events(), ["0:new f"]);
    assert_eq!(bench.logged().len(), 1);
    bench.run("BITFIELD f OVERFLOW FAIL SET u8 0 256");
    assert!(bench.logged().is_empty());
}

#[test]
fn bitfield_checks_all_its_arguments_before_it_runs_any() {
    let mut bench = Bench::new();
    let bad_type =
        "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.\r\n";
    for (operations, error) in [
        ("GET u8", SYNTAX),
        ("SET u8 0", SYNTAX),
        ("FOO u8 0", SYNTAX),
        ("OVERFLOW", SYNTAX),
        ("OVERFLOW NEVER", "-ERR Invalid OVERFLOW type specified\r\n"),
        ("GET u64 0", bad_type),
        ("GET i65 x", bad_type),
        ("GET u8 #x", BAD_OFFSET),
        ("GET u8 #536870912", BAD_OFFSET),
        ("GET i64 #9223372036854775807", BAD_OFFSET),
        ("SET u8 0 x", NOT_INTEGER),
        ("INCRBY u8 0 9223372036854775808", NOT_INTEGER),
    ] {
        assert_eq!(bench.run(&format!("BITFIELD k SET u8 0 1 {operations}")), error, "{operations}");
        assert_eq!(bench.run("EXISTS k"), ":0\r\n");
    }
    assert_eq!(bench.run("BITFIELD k GET u32 #-9223372036854775808"), "*1\r\n:0\r\n");
    let refused = "-ERR BITFIELD_RO only supports the GET subcommand\r\n";
    assert_eq!(bench.run("BITFIELD_RO k GET u8 0 SET u8 0 1"), refused);
    assert_eq!(bench.run("BITFIELD_RO k OVERFLOW SAT GET u8 0"), "*1\r\n:0\r\n");
}

#[test]
fn listeners_hear_what_redis_would_tell() {
    let mut bench = Bench::new();
    bench.listen("AKEmn");
    for (command, events) in [
        ("SETBIT k 0 0", &["0:new k", "0:setbit k"][..]),
        ("SETBIT k 0 0", &[]),
        ("BITFIELD k SET u8 0 1 SET u8 8 1", &["0:setbit k"]),
        ("BITFIELD k GET u8 0", &[]),
        ("BITFIELD b SET u8 0 0", &["0:new b", "0:setbit b"]),
        ("BITOP NOT d k", &["0:new d", "0:set d"]),
        ("BITOP NOT d absent", &["0:keymiss absent", "0:del d"]),
        ("GETBIT absent 0", &["0:keymiss absent"]),
        ("BITCOUNT absent", &["0:keymiss absent"]),
        ("BITPOS absent 0", &["0:keymiss absent"]),
        ("BITFIELD absent GET u8 0", &["0:keymiss absent"]),
    ] {
        bench.run(command);
        assert_eq!(bench.events(), events, "{command}");
    }
}
