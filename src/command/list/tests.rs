//! Replies, events and what is logged.

use crate::command::testing::Bench;
use crate::command::{BlockTimeout, WaitFor};
use crate::resp::Protocol;

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

fn array(elements: &[&str]) -> String {
    let elements: String = elements.iter().map(|e| format!("${}\r\n{e}\r\n", e.len())).collect();
    format!("*{}\r\n{elements}", elements.matches('$').count())
}

#[test]
fn pushes_count_and_pops_return_what_was_pushed() {
    let mut bench = Bench::new();
    bench.listen("KEA");
    assert_eq!(bench.run("LPUSHX l a"), ":0\r\n");
    assert_eq!(bench.run("RPUSH l b 12 c"), ":3\r\n");
    assert_eq!(bench.store.dirty, 3);
    assert_eq!(bench.run("LPUSH l a z"), ":5\r\n");
    assert_eq!(bench.run("RPUSHX l d"), ":6\r\n");
    assert_eq!(bench.run("LRANGE l 0 -1"), array(&["z", "a", "b", "12", "c", "d"]));
    assert_eq!(bench.events(), ["0:rpush l", "0:lpush l", "0:rpush l"]);
    assert_eq!(bench.run("LPOP l"), "$1\r\nz\r\n");
    assert_eq!(bench.run("RPOP l 2"), array(&["d", "c"]));
    assert_eq!(bench.run("LPOP l 0"), "*0\r\n");
    assert_eq!(bench.run("LPOP l 100"), array(&["a", "b", "12"]));
    assert_eq!(bench.logged(), ["LPOP l 100"]);
    assert_eq!(bench.events(), ["0:lpop l", "0:rpop l", "0:lpop l", "0:del l"]);
    assert_eq!((bench.run("LPOP l").as_str(), bench.run("LPOP l 1").as_str()), ("$-1\r\n", "*-1\r\n"));
    for command in ["LPOP l x", "LPOP l -1"] {
        assert_eq!(bench.run(command), "-ERR value is out of range, must be positive\r\n");
    }
    assert_eq!(bench.run("RPOP l 1 2"), "-ERR wrong number of arguments for 'rpop' command\r\n");
    bench.protocol = Protocol::Resp3;
    assert_eq!((bench.run("LPOP l").as_str(), bench.run("LPOP l 1").as_str()), ("_\r\n", "_\r\n"));
}

#[test]
fn many_elements_are_popped_at_once_from_either_end() {
    let mut bench = Bench::new();
    // The tables of its slot have been used.
    bench.run("SET l v");
    bench.run("DEL l");
    let before = bench.store.used_memory();
    for start in 0..100 {
        let numbers: Vec<String> = (start * 100..start * 100 + 100).map(|n| format!("element:{n}")).collect();
        bench.run(&format!("RPUSH l {}", numbers.join(" ")));
    }
    let expected = |from: usize, to: usize| {
        let all: Vec<String> = (from..to).map(|n| format!("element:{n}")).collect();
        array(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(bench.run("LPOP l 3000"), expected(0, 3000));
    assert!(bench.run("RPOP l 3000").starts_with("*3000\r\n$12\r\nelement:9999\r\n"));
    assert_eq!(bench.run("LRANGE l 0 -1"), expected(3000, 7000));
    assert_eq!(bench.run("LTRIM l 100 -101"), "+OK\r\n");
    assert_eq!(bench.run("LRANGE l 0 -1"), expected(3100, 6900));
    assert_eq!(bench.run("LTRIM l 1 0"), "+OK\r\n");
    assert_eq!(bench.run("EXISTS l"), ":0\r\n");
    while bench.store.free_some(1000) {}
    assert_eq!(bench.store.used_memory(), before);
}

#[test]
fn every_command_refuses_another_type() {
    let mut bench = Bench::new();
    bench.run("SET s v");
    bench.run("RPUSH l a");
    for command in [
        "LPUSH s a",
        "RPUSHX s a",
        "LPOP s",
        "RPOP s 0",
        "LLEN s",
        "LINDEX s x",
        "LRANGE s 0 1",
        "LSET s x a",
        "LINSERT s BEFORE a b",
        "LREM s 0 a",
        "LTRIM s 0 1",
        "LPOS s a",
        "LMOVE s l LEFT RIGHT",
        "LMOVE l s LEFT RIGHT",
        "RPOPLPUSH s l",
        "LMPOP 2 none s LEFT",
        "BLPOP none s 0",
        "BLMOVE s l LEFT LEFT 0",
        "BRPOPLPUSH l s 0",
        "BLMPOP 0 1 s LEFT",
    ] {
        assert_eq!(bench.run(command), WRONG_TYPE, "{command}");
    }
    assert_eq!(bench.run("LRANGE l 0 -1"), array(&["a"]));
}

#[test]
fn elements_are_found_replaced_and_removed() {
    let mut bench = Bench::new();
    bench.run("RPUSH l a b c b a b");
    bench.listen("KEA");
    assert_eq!(bench.run("LINDEX l -1"), "$1\r\nb\r\n");
    assert_eq!(bench.run("LINDEX l 6"), "$-1\r\n");
    assert_eq!(bench.run("LINDEX l x"), "-ERR value is not an integer or out of range\r\n");
    assert_eq!(bench.run("LINDEX none x"), "$-1\r\n");
    assert_eq!(bench.run("LSET none x v"), "-ERR no such key\r\n");
    assert_eq!(bench.run("LSET l 6 v"), "-ERR index out of range\r\n");
    assert_eq!(bench.run("LSET l -9223372036854775808 v"), "-ERR index out of range\r\n");
    assert_eq!(bench.run("LSET l -2 z"), "+OK\r\n");
    assert_eq!(bench.run("LREM l -2 b"), ":2\r\n");
    assert_eq!(bench.run("LRANGE l 0 -1"), array(&["a", "b", "c", "z"]));
    assert_eq!(bench.run("LINSERT l AFTER c d"), ":5\r\n");
    assert_eq!(bench.run("LINSERT l before a 0"), ":6\r\n");
    assert_eq!(bench.run("LINSERT l BEFORE none 0"), ":-1\r\n");
    assert_eq!(bench.run("LINSERT none BEFORE a 0"), ":0\r\n");
    assert_eq!(bench.run("LINSERT l beside a 0"), "-ERR syntax error\r\n");
    assert_eq!(bench.events(), ["0:lset l", "0:lrem l", "0:linsert l", "0:linsert l"]);
    assert_eq!(bench.run("LTRIM l 1 3"), "+OK\r\n");
    assert_eq!(bench.run("LTRIM l 0 -1"), "+OK\r\n");
    assert!(bench.logged().is_empty(), "nothing was cut off");
    assert_eq!(bench.run("LREM l 0 a"), ":1\r\n");
    assert_eq!(bench.run("LREM l 1 b"), ":1\r\n");
    assert_eq!(bench.run("LREM l 1 c"), ":1\r\n");
    assert_eq!(bench.events(), ["0:ltrim l", "0:ltrim l", "0:lrem l", "0:lrem l", "0:lrem l", "0:del l"]);
}

#[test]
fn positions_are_counted_from_either_end() {
    let mut bench = Bench::new();
    bench.run("RPUSH l a b c 1 2 3 c c");
    for (options, reply) in [
        ("", ":2\r\n"),
        ("RANK 2", ":6\r\n"),
        ("RANK -1", ":7\r\n"),
        ("RANK -4", "$-1\r\n"),
        ("COUNT 2", "*2\r\n:2\r\n:6\r\n"),
        ("COUNT 0 RANK -2", "*2\r\n:6\r\n:2\r\n"),
        ("COUNT 0 MAXLEN 3", "*1\r\n:2\r\n"),
        ("MAXLEN 2", "$-1\r\n"),
        ("RANK -1 MAXLEN 1", ":7\r\n"),
        ("COUNT -1", "-ERR COUNT can't be negative\r\n"),
        ("MAXLEN x", "-ERR MAXLEN can't be negative\r\n"),
        ("RANK x", "-ERR value is not an integer or out of range\r\n"),
        (
            "RANK -9223372036854775808",
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807\r\n",
        ),
        ("RANK", "-ERR syntax error\r\n"),
        ("AGE 1", "-ERR syntax error\r\n"),
    ] {
        assert_eq!(bench.run(&format!("LPOS l c {options}")), reply, "{options}");
    }
    assert!(bench.run("LPOS l c RANK 0").starts_with("-ERR RANK can't be zero: use 1"));
    assert_eq!(bench.run("LPOS none c COUNT 1"), "*0\r\n");
    assert_eq!(bench.run("LPOS none c"), "$-1\r\n");
}

#[test]
fn elements_move_between_lists_and_within_one() {
    let mut bench = Bench::new();
    bench.run("RPUSH l a b");
    bench.listen("KEA");
    assert_eq!(bench.run("LMOVE l m LEFT RIGHT"), "$1\r\na\r\n");
    assert_eq!(bench.run("RPOPLPUSH l m"), "$1\r\nb\r\n");
    assert_eq!(bench.events(), ["0:rpush m", "0:lpop l", "0:lpush m", "0:rpop l", "0:del l"]);
    assert_eq!(bench.run("LMOVE m m RIGHT LEFT"), "$1\r\na\r\n");
    assert_eq!(bench.run("LRANGE m 0 -1"), array(&["a", "b"]));
    assert_eq!(bench.run("RPOPLPUSH l m"), "$-1\r\n");
    assert_eq!(bench.run("LMOVE m l UP LEFT"), "-ERR syntax error\r\n");
    bench.run("RPOP m");
    bench.events();
    assert_eq!(bench.run("LMOVE m m LEFT LEFT"), "$1\r\na\r\n");
    assert_eq!(bench.events(), ["0:lpush m", "0:lpop m"]);
}

#[test]
fn lmpop_takes_from_the_first_list_that_there_is() {
    let mut bench = Bench::new();
    bench.run("RPUSH l a b c");
    assert_eq!(bench.run("LMPOP 2 k l RIGHT COUNT 2"), format!("*2\r\n$1\r\nl\r\n{}", array(&["c", "b"])));
    assert_eq!(bench.logged(), ["RPOP l 2"]);
    assert_eq!(bench.run("LMPOP 1 l LEFT COUNT 10"), format!("*2\r\n$1\r\nl\r\n{}", array(&["a"])));
    assert_eq!(bench.logged(), ["LPOP l 1"]);
    assert_eq!(bench.run("LMPOP 1 l LEFT"), "*-1\r\n");
    for (command, error) in [
        ("LMPOP 0 l LEFT", "numkeys should be greater than 0"),
        ("LMPOP x l LEFT", "numkeys should be greater than 0"),
        ("LMPOP 2 l LEFT", "syntax error"),
        ("LMPOP 9223372036854775807 l LEFT", "syntax error"),
        ("LMPOP 1 l UP", "syntax error"),
        ("LMPOP 1 l LEFT COUNT", "syntax error"),
        ("LMPOP 1 l LEFT COUNT 0", "count should be greater than 0"),
        ("LMPOP 1 l LEFT COUNT 1 COUNT 1", "syntax error"),
        ("BLMPOP x 1 l LEFT", "timeout is not a float or out of range"),
        ("BLMPOP x 0 l LEFT", "numkeys should be greater than 0"),
    ] {
        assert_eq!(bench.run(command), format!("-ERR {error}\r\n"), "{command}");
    }
}

#[test]
fn blocking_commands_wait_or_do_what_the_others_do() {
    let mut bench = Bench::new();
    bench.run("RPUSH l a b c d e");
    assert_eq!(bench.run("BLPOP k l 0"), array(&["l", "a"]));
    assert_eq!(bench.logged(), ["LPOP l"]);
    assert_eq!(bench.run("BRPOP l 0"), array(&["l", "e"]));
    assert_eq!(bench.logged(), ["RPOP l"]);
    assert_eq!(bench.run("BLMOVE l m RIGHT LEFT 0"), "$1\r\nd\r\n");
    assert_eq!(bench.logged(), ["LMOVE l m RIGHT LEFT"]);
    assert_eq!(bench.run("BRPOPLPUSH l m 0"), "$1\r\nc\r\n");
    assert_eq!(bench.logged(), ["RPOPLPUSH l m"]);
    assert_eq!(bench.run("BLMPOP 0 1 l LEFT"), format!("*2\r\n$1\r\nl\r\n{}", array(&["b"])));
    assert_eq!(bench.logged(), ["LPOP l 1"]);
    for (command, wait_for, denied) in [
        ("BLPOP k l 1.5", WaitFor::EveryKey, "*-1\r\n"),
        ("BRPOP k 1.5", WaitFor::EveryKey, "*-1\r\n"),
        ("BLMOVE k m LEFT LEFT 1.5", WaitFor::FirstKey, "$-1\r\n"),
        ("BRPOPLPUSH k m 1.5", WaitFor::FirstKey, "$-1\r\n"),
        ("BLMPOP 1.5 2 k l LEFT", WaitFor::EveryKey, "*-1\r\n"),
    ] {
        bench.caller.deny_blocking = false;
        assert_eq!(bench.run(command), "");
        let blocked = bench.blocked.as_ref().expect(command);
        assert_eq!((blocked.wait_for, blocked.timeout), (wait_for, BlockTimeout::After(1500)));
        bench.caller.deny_blocking = true;
        assert_eq!(bench.run(command), denied, "{command}");
    }
    bench.run("SET k v");
    bench.run("SET m v");
    assert_eq!(bench.run("BLPOP l k 0"), WRONG_TYPE);
    assert_eq!(bench.run("BLPOP l -1"), "-ERR timeout is negative\r\n");
}

#[test]
fn encodings_follow_the_configuration() {
    let mut bench = Bench::new();
    bench.store.settings.list_max_listpack_size = 3;
    let encoding = |bench: &mut Bench| bench.run("OBJECT ENCODING l");
    bench.run("RPUSH l a b c");
    assert_eq!(encoding(&mut bench), "$8\r\nlistpack\r\n");
    assert_eq!(bench.run("LINSERT l BEFORE none x"), ":-1\r\n");
    assert_eq!(encoding(&mut bench), "$9\r\nquicklist\r\n", "as if it had been found");
    assert_eq!(bench.run("RPOP l 2"), array(&["c", "b"]));
    assert_eq!(encoding(&mut bench), "$8\r\nlistpack\r\n");
    bench.run("RPUSH l b c");
    bench.run(&format!("LSET l 0 {}", "x".repeat(8192)));
    assert_eq!(encoding(&mut bench), "$9\r\nquicklist\r\n");
    bench.run("LSET l 0 a");
    bench.run("RPOP l 2");
    assert_eq!(encoding(&mut bench), "$8\r\nlistpack\r\n");
}

#[test]
fn lset_leaves_the_nodes_as_they_are() {
    let mut bench = Bench::new();
    let encoding = |bench: &mut Bench| bench.run("OBJECT ENCODING l");
    let long = "z".repeat(9_000);
    bench.run(&format!("RPUSH l a {long}"));
    assert_eq!(encoding(&mut bench), "$9\r\nquicklist\r\n");
    bench.run("LSET l 1 b");
    assert_eq!(encoding(&mut bench), "$9\r\nquicklist\r\n", "still two nodes");
    assert_eq!(bench.run("LRANGE l 0 -1"), array(&["a", "b"]));
    bench.run("DEL l");
    bench.run("RPUSH l a b c");
    bench.run(&format!("LSET l 1 {long}"));
    assert_eq!(encoding(&mut bench), "$9\r\nquicklist\r\n");
    bench.run("LSET l 1 b");
    assert_eq!(encoding(&mut bench), "$8\r\nlistpack\r\n", "always one node");
    assert_eq!(bench.run("LRANGE l 0 -1"), array(&["a", "b", "c"]));
}
