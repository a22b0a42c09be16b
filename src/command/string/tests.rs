//! What clients, replicas and listeners get from the string commands.

use crate::command::testing::{Bench, START_MS};
use crate::resp::Protocol;

const NULL: &str = "$-1\r\n";
const OK: &str = "+OK\r\n";

#[test]
fn a_value_reads_back_as_it_was_written() {
    let mut bench = Bench::new();
    let long = "x".repeat(100_000);
    for value in ["1", "-5", "01", "hello", "", long.as_str()] {
        assert_eq!(bench.run_args(&[b"SET", b"k", value.as_bytes()]), OK);
        assert_eq!(bench.run("GET k"), format!("${}\r\n{value}\r\n", value.len()));
        assert_eq!(bench.run("STRLEN k"), format!(":{}\r\n", value.len()));
    }
    assert_eq!(bench.run("GET absent"), NULL);
    bench.protocol = Protocol::Resp3;
    assert_eq!(bench.run("GET absent"), "_\r\n");
}

#[test]
fn set_keeps_to_its_conditions() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("SET k 1 XX"), NULL);
    assert_eq!(bench.run("SET k 1 NX"), OK);
    assert_eq!(bench.run("SET k 2 nx"), NULL);
    assert!(bench.logged().is_empty());
    assert_eq!(bench.run("SET k 2 NX GET"), "$1\r\n1\r\n");
    assert_eq!(bench.run("SET k 3 XX GET"), "$1\r\n1\r\n");
    assert_eq!(bench.run("SET new 3 NX GET"), NULL);
    assert_eq!(bench.run("GET new"), "$1\r\n3\r\n");
    assert_eq!(bench.run("SETNX k 4"), ":0\r\n");
    assert_eq!(bench.run("SETNX other 4"), ":1\r\n");
}

#[test]
fn set_drops_the_ttl_unless_told_to_keep_it() {
    let mut bench = Bench::new();
    bench.run("SET k 1 EX 100");
    bench.run("SET k 2 KEEPTTL");
    assert_eq!(bench.run("TTL k"), ":100\r\n");
    bench.run("SET k 2");
    assert_eq!(bench.run("TTL k"), ":-1\r\n");
    bench.run("SET k 1 EX 100");
    bench.run("GETSET k 2");
    assert_eq!(bench.run("TTL k"), ":-1\r\n");
    bench.run("SET k 1 EX 100");
    bench.run("MSET k 2");
    assert_eq!(bench.run("TTL k"), ":-1\r\n");
    for command in ["INCR k", "APPEND k 1", "SETRANGE k 0 5", "INCRBYFLOAT k 1"] {
        bench.run("SET k 1 PX 100000");
        bench.run(command);
        assert_eq!(bench.run("PTTL k"), ":100000\r\n", "{command}");
    }
}

#[test]
fn times_to_live_are_logged_as_deadlines() {
    let mut bench = Bench::new();
    let at = START_MS + 10_000;
    for command in ["SET k v EX 10", "SET k v XX GET PX 10000", "SETEX k 10 v", "PSETEX k 10000 v"] {
        bench.run(command);
        assert_eq!(bench.logged(), [format!("SET k v PXAT {at}")], "{command}");
    }
    let command = format!("SET k v pxat {at}");
    bench.run(&command);
    assert_eq!(bench.logged(), [command]);
    bench.run("GETEX k EX 10");
    assert_eq!(bench.logged(), [format!("PEXPIREAT k {at}")]);
    bench.run("GETEX k");
    assert!(bench.logged().is_empty());
    bench.run("GETEX k PERSIST");
    assert_eq!(bench.logged(), ["PERSIST k"]);
    bench.run("GETEX k PERSIST");
    assert!(bench.logged().is_empty());
}

#[test]
fn what_only_the_client_sees_is_not_logged() {
    let mut bench = Bench::new();
    bench.run("SET k 1 GET");
    assert_eq!(bench.logged(), ["SET k 1"]);
    bench.run("SET k 1 XX get KEEPTTL GET");
    assert_eq!(bench.logged(), ["SET k 1 XX KEEPTTL"]);
    bench.run("GETSET k 2");
    assert_eq!(bench.logged(), ["SET k 2"]);
    bench.run("GETDEL k");
    assert_eq!(bench.logged(), ["DEL k"]);
    bench.run("GETDEL k");
    assert!(bench.logged().is_empty());
    bench.run("INCRBYFLOAT k 1.10");
    assert_eq!(bench.logged(), ["SET k 1.1 KEEPTTL"]);
}

#[test]
fn getex_until_the_past_deletes() {
    let mut bench = Bench::new();
    bench.run("SET k v");
    assert_eq!(bench.run("GETEX k EXAT 1"), "$1\r\nv\r\n");
    assert_eq!(bench.logged(), ["DEL k"]);
    assert_eq!(bench.run("EXISTS k"), ":0\r\n");
    bench.store.settings.lazyfree_lazy_expire = true;
    bench.run("SET k v");
    bench.run("GETEX k PXAT 1");
    assert_eq!(bench.logged(), ["UNLINK k"]);
}

#[test]
fn a_wrong_time_is_reported_after_a_missing_key_by_getex_but_before_it_by_set() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("GETEX k EX -1"), NULL);
    assert_eq!(bench.run("GETEX k EX x BAD"), "-ERR syntax error\r\n");
    assert_eq!(bench.run("SET k v XX EX 0"), "-ERR invalid expire time in 'set' command\r\n");
    assert_eq!(bench.run("SETEX k 0 v"), "-ERR invalid expire time in 'setex' command\r\n");
    assert_eq!(bench.run("PSETEX k -1 v"), "-ERR invalid expire time in 'psetex' command\r\n");
    bench.run("SET k v");
    assert_eq!(bench.run("GETEX k EX 0"), "-ERR invalid expire time in 'getex' command\r\n");
    assert_eq!(bench.run("GETEX k EX x"), "-ERR value is not an integer or out of range\r\n");
}

#[test]
fn integers_count_to_their_ends_and_not_beyond() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("INCR k"), ":1\r\n");
    assert_eq!(bench.run("DECR new"), ":-1\r\n");
    assert_eq!(bench.run("DECRBY k 11"), ":-10\r\n");
    bench.run("SET k 9223372036854775806");
    assert_eq!(bench.run("INCR k"), ":9223372036854775807\r\n");
    assert_eq!(bench.run("INCR k"), "-ERR increment or decrement would overflow\r\n");
    assert!(bench.logged().is_empty());
    assert_eq!(bench.run("DECRBY k -9223372036854775808"), "-ERR decrement would overflow\r\n");
    bench.run("SET k -9223372036854775808");
    assert_eq!(bench.run("DECR k"), "-ERR increment or decrement would overflow\r\n");
    for value in [" 11", "11 ", "1.5", "9223372036854775808", "text"] {
        bench.run_args(&[b"SET", b"k", value.as_bytes()]);
        assert_eq!(bench.run("INCR k"), "-ERR value is not an integer or out of range\r\n", "{value}");
    }
}

#[test]
fn floats_grow_by_floats_only() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("INCRBYFLOAT k 10.50"), "$4\r\n10.5\r\n");
    assert_eq!(bench.run("INCRBYFLOAT k -5.5"), "$1\r\n5\r\n");
    assert_eq!(bench.run("OBJECT ENCODING k"), "$6\r\nembstr\r\n");
    assert_eq!(bench.run("INCRBYFLOAT k 5.0e3"), "$4\r\n5005\r\n");
    assert_eq!(bench.run("INCRBYFLOAT k inf"), "-ERR increment would produce NaN or Infinity\r\n");
    assert_eq!(bench.run("INCRBYFLOAT k nan"), "-ERR value is not a valid float\r\n");
    bench.run("SET k text");
    assert_eq!(bench.run("INCRBYFLOAT k 1"), "-ERR value is not a valid float\r\n");
}

#[test]
fn a_changed_string_is_raw_and_a_counted_one_an_int_again() {
    let mut bench = Bench::new();
    let encoding = |bench: &mut Bench| bench.run("OBJECT ENCODING k");
    bench.run("APPEND k 1");
    assert_eq!(encoding(&mut bench), "$3\r\nint\r\n");
    bench.run("APPEND k 2");
    assert_eq!(encoding(&mut bench), "$3\r\nraw\r\n");
    bench.run("INCR k");
    assert_eq!(bench.run("GET k"), "$2\r\n13\r\n");
    assert_eq!(encoding(&mut bench), "$3\r\nint\r\n");
    bench.run("SETRANGE k 0 2");
    assert_eq!(encoding(&mut bench), "$3\r\nraw\r\n");
    bench.run("SET k abc");
    assert_eq!(encoding(&mut bench), "$6\r\nembstr\r\n");
}

#[test]
fn setrange_fills_with_zeros_and_writes_nothing_for_nothing() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("SETRANGE k 3 ''"), ":0\r\n");
    assert_eq!(bench.run("EXISTS k"), ":0\r\n");
    assert_eq!(bench.run("SETRANGE k 2 ab"), ":4\r\n");
    assert_eq!(bench.run("GET k"), "$4\r\n\0\0ab\r\n");
    assert_eq!(bench.run("SETRANGE k 100 ''"), ":4\r\n");
    assert!(bench.logged().is_empty());
    assert_eq!(bench.run("SETRANGE k -1 x"), "-ERR offset is out of range\r\n");
}

#[test]
fn no_string_outgrows_what_a_client_may_send() {
    let mut bench = Bench::new();
    bench.caller.bulk_len_max = 10;
    let refused = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    bench.run("SET k 12345");
    assert_eq!(bench.run("APPEND k 678901"), refused);
    assert_eq!(bench.run("APPEND k 67890"), ":10\r\n");
    assert_eq!(bench.run("SETRANGE k 10 x"), refused);
    assert_eq!(bench.run("SETRANGE new 9223372036854775807 x"), refused);
    assert_eq!(bench.run("EXISTS new"), ":0\r\n");
    bench.caller.replaying = true;
    assert_eq!(bench.run("APPEND k 1"), ":11\r\n");
}

#[test]
fn ranges_count_from_both_ends() {
    let mut bench = Bench::new();
    bench.run("SET k 0123456");
    for (range, expected) in [
        ("0 -1", "0123456"),
        ("1 3", "123"),
        ("-3 -1", "456"),
        ("-100 1", "01"),
        ("5 100", "56"),
        ("4 2", ""),
        ("-1 -3", ""),
        ("7 9", ""),
        ("-100 -90", "0"),
        ("-9223372036854775808 9223372036854775807", "0123456"),
    ] {
        let expected = format!("${}\r\n{expected}\r\n", expected.len());
        assert_eq!(bench.run(&format!("GETRANGE k {range}")), expected, "{range}");
        assert_eq!(bench.run(&format!("SUBSTR k {range}")), expected, "{range}");
    }
    assert_eq!(bench.run("GETRANGE absent 0 -1"), "$0\r\n\r\n");
    bench.run("SET k ''");
    assert_eq!(bench.run("GETRANGE k 0 -1"), "$0\r\n\r\n");
}

#[test]
fn several_keys_are_written_all_or_in_order() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("MSET a 1 b 2 a 3"), OK);
    assert_eq!(bench.store.dirty, 3);
    assert_eq!(bench.run("MGET a b c"), "*3\r\n$1\r\n3\r\n$1\r\n2\r\n$-1\r\n");
    assert_eq!(bench.run("MSETNX c 1 a 9"), ":0\r\n");
    assert_eq!(bench.run("EXISTS c"), ":0\r\n");
    assert_eq!(bench.run("MSETNX c 1 c 2"), ":1\r\n");
    assert_eq!(bench.run("GET c"), "$1\r\n2\r\n");
    assert_eq!(bench.run("MSET a 1 b"), "-ERR wrong number of arguments for 'mset' command\r\n");
    assert_eq!(bench.run("MSETNX a 1 b"), "-ERR wrong number of arguments for 'msetnx' command\r\n");
}

#[test]
fn listeners_hear_what_redis_would_tell() {
    let mut bench = Bench::new();
    bench.listen("AKEmn");
    for (command, events) in [
        ("SET k 1 EX 10", &["0:new k", "0:set k", "0:expire k"][..]),
        ("SETEX k 10 1", &["0:set k", "0:expire k"]),
        ("SETNX k 1", &[]),
        ("GETEX k PERSIST", &["0:persist k"]),
        ("GETEX k PX 1", &["0:expire k"]),
        ("INCR k", &["0:incrby k"]),
        ("INCRBYFLOAT k 1", &["0:incrbyfloat k"]),
        ("APPEND k x", &["0:append k"]),
        ("SETRANGE k 0 x", &["0:setrange k"]),
        ("GETDEL k", &["0:del k"]),
        ("APPEND k x", &["0:new k", "0:append k"]),
        ("GETEX k PXAT 1", &["0:del k"]),
        ("GET k", &["0:keymiss k"]),
        ("MGET k", &["0:keymiss k"]),
        ("SET k 1 XX GET", &["0:keymiss k"]),
        ("MSET k 1 l 2", &["0:new k", "0:set k", "0:new l", "0:set l"]),
    ] {
        bench.run(command);
        assert_eq!(bench.events(), events, "{command}");
    }
}

#[test]
fn the_longest_common_subsequence_is_redis_s_one() {
    let mut bench = Bench::new();
    bench.run("MSET a ohmytext b mynewtext");
    assert_eq!(bench.run("LCS a b"), "$6\r\nmytext\r\n");
    assert_eq!(bench.run("LCS a b LEN"), ":6\r\n");
    assert_eq!(
        bench.run("LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN"),
        "*4\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n$3\r\nlen\r\n:6\r\n"
    );
    bench.protocol = Protocol::Resp3;
    assert_eq!(
        bench.run("LCS a b IDX"),
        "%2\r\n$7\r\nmatches\r\n*2\r\n*2\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n*2\r\n*2\r\n:2\r\n:3\r\n*2\r\n:0\r\n:1\r\n$3\r\nlen\r\n:6\r\n"
    );
    assert_eq!(bench.run("LCS a absent"), "$0\r\n\r\n");
    // Where several are longest, bytes of the second string are given up first.
    bench.run("MSET a ab b ba");
    assert_eq!(bench.run("LCS a b"), "$1\r\nb\r\n");
}

#[test]
fn lcs_refuses_what_it_cannot_hold_in_memory() {
    let mut bench = Bench::new();
    bench.run("MSET a 0123456789 b 0123456789");
    bench.caller.bulk_len_max = 11 * 11 * 4;
    assert_eq!(bench.run("LCS a b LEN"), ":10\r\n");
    bench.caller.bulk_len_max -= 1;
    let refused = "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len\r\n";
    assert_eq!(bench.run("LCS a b"), refused);
    assert_eq!(bench.run("LCS a b LEN"), refused);
    assert_eq!(
        bench.run("LCS a b LEN IDX"),
        "-ERR If you want both the length and indexes, please just use IDX.\r\n"
    );
    assert_eq!(bench.run("LCS a b MINMATCHLEN"), "-ERR syntax error\r\n");
}

#[test]
fn the_two_row_length_agrees_with_the_whole_table() {
    let mut bench = Bench::new();
    let text = |seed: u64, len: u64| -> Vec<u8> {
        (0..len).map(|i| b'a' + ((i * seed + i * i / 7) % 5) as u8).collect()
    };
    for seed in 1..40 {
        let (a, b) = (text(seed, 5 + seed), text(seed + 3, 40 - seed));
        bench.run_args(&[b"MSET", b"a", &a, b"b", &b]);
        let whole = bench.run("LCS a b");
        let len = bench.run("LCS a b LEN");
        assert_eq!(whole.lines().next().map(|line| &line[1..]), Some(&len[1..len.len() - 2]));
    }
}
