use crate::command::testing::{Bench, START_MS};
use crate::command::{BlockTimeout, WaitFor};
use crate::resp::Protocol;
use crate::store::ValueType;

const ADDED: &str = "$15\r\n1700000000000-0\r\n";

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// An array of bulk strings and of replies, which begin with a type byte and end in a line break.
fn array(elements: &[&str]) -> String {
    let is_reply = |text: &str| text.ends_with("\r\n");
    let elements: String =
        elements.iter().map(|text| if is_reply(text) { (*text).to_owned() } else { bulk(text) }).collect();
    format!("*{}\r\n{elements}", elements_len(&elements))
}

/// Replies at the top level of `encoded`.
fn elements_len(encoded: &str) -> usize {
    let (mut lines, mut len, mut inside) = (encoded.split("\r\n"), 0, 0usize);
    while let Some(line) = lines.next().filter(|line| !line.is_empty()) {
        match inside.checked_sub(1) {
            Some(left) => inside = left,
            None => len += 1,
        }
        let number = line[1..].parse::<i64>().unwrap_or(-1);
        match &line[..1] {
            "$" if number >= 0 => {
                lines.next();
            }
            "*" if number > 0 => inside += number as usize,
            "%" if number > 0 => inside += 2 * number as usize,
            _ => {}
        }
    }
    len
}

fn entry(id: &str, pairs: &[&str]) -> String {
    array(&[id, &array(pairs)])
}

fn bench_with(commands: &[&str]) -> Bench {
    let mut bench = Bench::new();
    for command in commands {
        let reply = bench.run(command);
        assert!(!reply.starts_with('-'), "{command}: {reply}");
    }
    bench
}

#[test]
fn xadd_gives_ids_that_grow_whatever_the_clock_does() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("XADD s * a 1"), ADDED);
    assert_eq!(bench.run("XADD s * a 1"), bulk("1700000000000-1"));
    bench.wait_ms(-500);
    assert_eq!(bench.run("XADD s * a 1"), bulk("1700000000000-2"));
    bench.wait_ms(1500);
    assert_eq!(bench.run("XADD s * a 1"), bulk("1700000001000-0"));
    assert_eq!(bench.run("XADD s 1700000001000-* a 1"), bulk("1700000001000-1"));
    assert_eq!(bench.run("XADD s 1700000002000-* a 1"), bulk("1700000002000-0"));
    let smaller = "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n";
    for id in ["1-1", "1-*", "1700000002000-0", "1700000002000"] {
        assert_eq!(bench.run(&format!("XADD s {id} a 1")), smaller, "{id}");
    }
    assert_eq!(bench.run("XADD new 0-0 a 1"), "-ERR The ID specified in XADD must be greater than 0-0\r\n");
    assert_eq!(bench.run("XADD new 0-* a 1"), bulk("0-1"));
    bench.run("XADD end 18446744073709551615-18446744073709551615 a 1");
    let exhausted = "-ERR The stream has exhausted the last possible ID, unable to add more items\r\n";
    assert_eq!(bench.run("XADD end * a 1"), exhausted);
    assert_eq!(bench.run("XADD s * a"), "-ERR wrong number of arguments for 'xadd' command\r\n");
    assert_eq!(bench.run("XADD none NOMKSTREAM * a 1"), "$-1\r\n");
    assert_eq!(bench.run("EXISTS none"), ":0\r\n");
    bench.run("SET str x");
    assert!(bench.run("XADD str * a 1").starts_with("-WRONGTYPE"));
    assert!(bench.run("XADD str NOMKSTREAM * a 1").starts_with("-WRONGTYPE"));
}

#[test]
fn xadd_logs_what_it_decided() {
    let mut bench = Bench::new();
    bench.run("XADD s * a 1");
    assert_eq!(bench.logged(), ["XADD s 1700000000000-0 a 1"]);
    bench.run("XADD s 1700000000001-1 a 1");
    assert_eq!(bench.logged(), ["XADD s 1700000000001-1 a 1"]);
    bench.run("XADD s MAXLEN ~ 1 LIMIT 7 1700000000001-* a 1");
    assert_eq!(bench.logged(), ["XADD s MAXLEN = 3 LIMIT 7 1700000000001-2 a 1"]);
    bench.run("XADD s MINID ~ 1700000000001 1700000000002-0 a 1");
    assert_eq!(bench.logged(), ["XADD s MINID = 1700000000000-0 1700000000002-0 a 1"]);
    bench.run("XADD s MAXLEN 1 * a 1");
    assert_eq!(bench.logged(), ["XADD s MAXLEN 1 1700000000002-1 a 1"]);
    // What was logged so is accepted when it is replayed.
    bench.caller.replaying = true;
    assert_eq!(bench.run("XADD s MAXLEN = 3 LIMIT 7 1700000000003-0 a 1"), bulk("1700000000003-0"));
}

#[test]
fn xtrim_and_xadd_read_the_same_options() {
    let mut bench = bench_with(&["XADD s 1-1 a 1", "XADD s 2-1 a 1", "XADD s 3-1 a 1"]);
    for (options, error) in [
        ("MAXLEN x", "value is not an integer or out of range"),
        ("MAXLEN -1", "The MAXLEN argument must be >= 0."),
        ("MINID x", "Invalid stream ID specified as stream command argument"),
        ("MAXLEN 1 LIMIT -1", "The LIMIT argument must be >= 0."),
        ("MAXLEN 1 LIMIT 0", "syntax error, LIMIT cannot be used without the special ~ option"),
        ("LIMIT 1", "syntax error, LIMIT cannot be used without specifying a trimming strategy"),
        ("MAXLEN 1 MINID 1", "syntax error, MAXLEN and MINID options at the same time are not compatible"),
    ] {
        let error = format!("-ERR {error}\r\n");
        assert_eq!(bench.run(&format!("XTRIM s {options}")), error, "{options}");
        assert_eq!(bench.run(&format!("XADD s {options} * a 1")), error, "{options}");
    }
    assert_eq!(bench.run("XTRIM s nonsense 1"), "-ERR syntax error\r\n");
    let none = "-ERR syntax error, XTRIM must be called with a trimming strategy\r\n";
    assert_eq!(bench.run("XTRIM s LIMIT 0"), none);
    bench.listen("KEA");
    assert_eq!(bench.run("XTRIM s MAXLEN ~ 1"), ":0\r\n");
    assert_eq!((bench.logged().len(), bench.events().len()), (0, 0));
    let dirty = bench.store.dirty;
    assert_eq!(bench.run("XTRIM s MINID 3"), ":2\r\n");
    assert_eq!((bench.store.dirty - dirty, bench.events()), (2, vec!["0:xtrim s".to_owned()]));
    assert_eq!(bench.run("XADD s MAXLEN 1 * a 1"), ADDED);
    assert_eq!(bench.events(), ["0:xadd s", "0:xtrim s"]);
    assert_eq!(bench.run("XTRIM s MAXLEN 0"), ":1\r\n");
    assert_eq!((bench.run("XLEN s"), bench.run("EXISTS s")), (":0\r\n".into(), ":1\r\n".into()));
    assert_eq!(bench.run("XTRIM none MAXLEN 0"), ":0\r\n");
}

#[test]
fn ranges_go_both_ways_and_may_leave_their_ends_out() {
    let mut bench = bench_with(&["XADD s 1-1 a 1", "XADD s 1-2 b xyz", "XADD s 2-0 a 1 c 3"]);
    let [first, second, third] =
        [entry("1-1", &["a", "1"]), entry("1-2", &["b", "xyz"]), entry("2-0", &["a", "1", "c", "3"])];
    for (command, expected) in [
        ("XRANGE s - +", array(&[&first, &second, &third])),
        ("XREVRANGE s + -", array(&[&third, &second, &first])),
        ("XRANGE s 1 1", array(&[&first, &second])),
        ("XRANGE s (1-1 (2", array(&[&second, &third])),
        ("XREVRANGE s (2-0 (1", array(&[&second, &first])),
        ("XRANGE s - + COUNT 1", array(&[&first])),
        ("XREVRANGE s + - COUNT 1", array(&[&third])),
        ("XRANGE s - + COUNT 0", "*-1\r\n".into()),
        ("XRANGE s - + COUNT -1", "*-1\r\n".into()),
        ("XRANGE s 3 4", "*0\r\n".into()),
        ("XRANGE none - + COUNT 0", "*0\r\n".into()),
        ("XRANGE s - + COUNT", "-ERR syntax error\r\n".into()),
        ("XRANGE s - (-", "-ERR Invalid stream ID specified as stream command argument\r\n".into()),
    ] {
        assert_eq!(bench.run(command), expected, "{command}");
    }
    bench.protocol = Protocol::Resp3;
    assert_eq!(bench.run("XRANGE s - + COUNT 0"), "_\r\n");
}

#[test]
fn xdel_deletes_all_or_nothing_and_remembers_the_greatest_id() {
    let mut bench = bench_with(&["XADD s 1-1 a 1", "XADD s 2-1 a 1", "XADD s 3-1 a 1"]);
    bench.listen("KEA");
    assert!(bench.run("XDEL s 1-1 x").starts_with("-ERR Invalid stream ID"));
    assert_eq!(bench.run("XDEL s 1-1 2-1 2-1 9-9"), ":2\r\n");
    assert_eq!(bench.events(), ["0:xdel s"]);
    assert_eq!(bench.run("XDEL none x"), ":0\r\n");
    let info = bench.run("XINFO STREAM s");
    for (field, value) in [("max-deleted-entry-id", "2-1"), ("recorded-first-entry-id", "3-1")] {
        assert!(info.contains(&(bulk(field) + &bulk(value))), "{info}");
    }
}

#[test]
fn xsetid_refuses_what_would_break_the_order() {
    let mut bench = bench_with(&["XADD s 5-1 a 1", "XADD s 6-1 a 1", "XADD s 7-1 a 1", "XDEL s 7-1"]);
    let errors = [
        ("s 1 ENTRIESADDED -1", "entries_added must be positive"),
        (
            "s 1 MAXDELETEDID 2",
            "The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
        ),
        ("s 7", "The ID specified in XSETID is smaller than current max_deleted_entry_id"),
        (
            "s 8 ENTRIESADDED 1",
            "The entries_added specified in XSETID is smaller than the target stream length",
        ),
        ("none 8", "no such key"),
        ("s 8 NONSENSE 1", "syntax error"),
    ];
    for (command, error) in errors {
        assert_eq!(bench.run(&format!("XSETID {command}")), format!("-ERR {error}\r\n"), "{command}");
    }
    bench.listen("KEA");
    assert_eq!(bench.run("XSETID s 100-1 ENTRIESADDED 50 MAXDELETEDID 1-1"), "+OK\r\n");
    assert_eq!(bench.events(), ["0:xsetid s"]);
    let top = "-ERR The ID specified in XSETID is smaller than the target stream top item\r\n";
    assert_eq!(bench.run("XSETID s 6-0"), top);
    assert_eq!(bench.run("XADD s 100-* a 1"), bulk("100-2"));
}

#[test]
fn xread_answers_with_the_streams_that_have_something() {
    let mut bench = bench_with(&["XADD s 1-1 a 1", "XADD s 2-1 a 2", "XADD t 1-1 b 1"]);
    let of_s = array(&["s", &array(&[&entry("2-1", &["a", "2"])])]);
    let of_t = array(&["t", &array(&[&entry("1-1", &["b", "1"])])]);
    assert_eq!(bench.run("XREAD STREAMS s none t 1-1 0 0"), array(&[&of_s, &of_t]));
    assert_eq!(bench.run("XREAD COUNT 1 STREAMS s t 1-1 1-1"), array(&[&of_s]));
    assert_eq!(bench.run("XREAD STREAMS s t $ 9"), "*-1\r\n");
    bench.protocol = Protocol::Resp3;
    let map = format!("%1\r\n{}{}", bulk("s"), array(&[&entry("2-1", &["a", "2"])]));
    assert_eq!(bench.run("XREAD COUNT 1 STREAMS s t 1-1 1-1"), map);
    assert_eq!(bench.run("XREAD STREAMS s $"), "_\r\n");
    bench.run("SET str x");
    for (command, error) in [
        ("STREAMS s t 0", "ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified."),
        ("COUNT 1", "ERR syntax error"),
        ("COUNT 1 STREAMS", "ERR syntax error"),
        ("BLOCK x STREAMS s 0", "ERR timeout is not an integer or out of range"),
        ("BLOCK -1 STREAMS s 0", "ERR timeout is negative"),
        ("GROUP g c STREAMS s 0", "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead."),
        ("NOACK STREAMS s 0", "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead."),
        ("STREAMS s >", "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."),
        ("STREAMS s +", "ERR Invalid stream ID specified as stream command argument"),
        ("STREAMS s str 0 0", "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ] {
        assert_eq!(bench.run(&format!("XREAD {command}")), format!("-{error}\r\n"), "{command}");
    }
}

#[test]
fn xread_blocks_behind_the_last_id_of_when_it_was_called() {
    let mut bench = bench_with(&["XADD s 1-1 a 1"]);
    assert_eq!(bench.run("XREAD COUNT 3 BLOCK 50 STREAMS s none 1-1 0"), "");
    let blocking = bench.blocked.take().expect("it waits");
    assert_eq!((blocking.timeout, blocking.wait_for), (BlockTimeout::After(50), WaitFor::EveryKey));
    assert_eq!((blocking.wake_on, blocking.also_on_deletion), (ValueType::Stream, false));
    assert_eq!(blocking.again, None);
    assert_eq!(bench.run("XREAD BLOCK 0 STREAMS s none $ $"), "");
    let blocking = bench.blocked.take().expect("it waits");
    assert_eq!(blocking.timeout, BlockTimeout::Never);
    let again: Vec<Vec<u8>> =
        "XREAD BLOCK 0 STREAMS s none 1-1 0-0".split(' ').map(|arg| arg.as_bytes().to_vec()).collect();
    assert_eq!(blocking.again, Some(again));
    bench.caller.deny_blocking = true;
    assert_eq!(bench.run("XREAD BLOCK 0 STREAMS s $"), "*-1\r\n");
}

fn group_bench() -> Bench {
    bench_with(&[
        "XADD s 1-1 a 1",
        "XADD s 2-1 a 2",
        "XADD s 3-1 a 3",
        "XGROUP CREATE s g 0",
        "XGROUP CREATE t g $ MKSTREAM",
    ])
}

#[test]
fn xreadgroup_delivers_each_entry_once_and_logs_claims() {
    let mut bench = group_bench();
    bench.listen("KEA");
    let first = array(&[&array(&["s", &array(&[&entry("1-1", &["a", "1"])])])]);
    assert_eq!(bench.run("XREADGROUP GROUP g alice COUNT 1 STREAMS s t > >"), first);
    assert_eq!(bench.events(), ["0:xgroup-createconsumer s", "0:xgroup-createconsumer t"]);
    let claim = format!("XCLAIM s g alice 0 1-1 TIME {START_MS} RETRYCOUNT 1 FORCE JUSTID LASTID 1-1");
    assert_eq!(bench.logged(), [claim]);
    assert_eq!(
        bench.run("XREADGROUP GROUP g bob NOACK STREAMS s >"),
        array(&[&array(&["s", &array(&[&entry("2-1", &["a", "2"]), &entry("3-1", &["a", "3"])])])])
    );
    assert_eq!(bench.logged(), ["XGROUP CREATECONSUMER s g bob", "XGROUP SETID s g 3-1 ENTRIESREAD 3"]);
    assert_eq!(bench.run("XREADGROUP GROUP g bob STREAMS s >"), "*-1\r\n");
    // What alice has is hers; what is gone is told by its ID.
    assert_eq!(bench.run("XREADGROUP GROUP g alice STREAMS s 0"), first);
    bench.run("XDEL s 1-1");
    let gone = array(&[&array(&["s", &array(&[&array(&["1-1", "*-1\r\n"])])])]);
    assert_eq!(bench.run("XREADGROUP GROUP g alice STREAMS s 0"), gone);
    assert_eq!(bench.run("XREADGROUP GROUP g bob STREAMS s 0"), array(&[&array(&["s", "*0\r\n"])]));
    assert_eq!(bench.run("XACK s g 1-1 2-1"), ":1\r\n");
    assert_eq!(bench.run("XACK s g 1-1"), ":0\r\n");
    assert!(bench.run("XACK s g 1-1 x").starts_with("-ERR Invalid stream ID"));
    assert_eq!(bench.run("XACK s none x"), ":0\r\n");
}

#[test]
fn xreadgroup_fails_before_it_delivers_anything() {
    let mut bench = group_bench();
    let no_group = "-NOGROUP No such key 'none' or consumer group 'g' in XREADGROUP with GROUP option\r\n";
    assert_eq!(bench.run("XREADGROUP GROUP g c STREAMS s none > >"), no_group);
    assert_eq!(bench.run("XPENDING s g"), array(&[":0\r\n", "$-1\r\n", "$-1\r\n", "*-1\r\n"]));
    assert!(bench.run("XREADGROUP GROUP g c STREAMS s $").starts_with("-ERR The $ ID is meaningless"));
    assert_eq!(
        bench.run("XREADGROUP COUNT 1 NOACK STREAMS s >"),
        "-ERR Missing GROUP option for XREADGROUP\r\n"
    );
    assert_eq!(bench.run("XREADGROUP GROUP g c BLOCK 9 STREAMS t >"), "");
    let blocking = bench.blocked.take().expect("it waits");
    assert!(blocking.also_on_deletion && blocking.again.is_none());
    // The consumer is there nonetheless.
    assert!(bench.run("XINFO CONSUMERS t g").contains(&bulk("inactive")));
}

#[test]
fn on_excerpts_xreadgroup_leaves_the_changes_to_the_owners() {
    let mut bench = group_bench();
    bench.caller.on_excerpts = true;
    bench.listen("KEA");
    bench.run("XREADGROUP GROUP g c COUNT 2 BLOCK 5 NOACK STREAMS s t > 0");
    assert_eq!(
        bench.logged(),
        ["XREADGROUP GROUP g c COUNT 2 NOACK STREAMS s >", "XREADGROUP GROUP g c COUNT 2 NOACK STREAMS t 0"]
    );
    assert!(bench.events().is_empty());
}

#[test]
fn groups_are_made_moved_and_destroyed() {
    let mut bench = group_bench();
    bench.listen("KEA");
    let busy = "-BUSYGROUP Consumer Group name already exists\r\n";
    assert_eq!(bench.run("XGROUP CREATE s g $"), busy);
    assert!(bench
        .run("XGROUP CREATE none g $")
        .starts_with("-ERR The XGROUP subcommand requires the key to exist."));
    assert!(bench.run("XGROUP CREATE s h x").starts_with("-ERR Invalid stream ID"));
    let syntax = "-ERR unknown subcommand or wrong number of arguments for 'CREATE'. Try XGROUP HELP.\r\n";
    assert_eq!(bench.run("XGROUP CREATE s h 0 FOO"), syntax);
    assert_eq!(
        bench.run("XGROUP CREATE s h 0 ENTRIESREAD -2"),
        "-ERR value for ENTRIESREAD must be positive or -1\r\n"
    );
    assert_eq!(bench.run("XGROUP CREATE s h $ ENTRIESREAD 3"), "+OK\r\n");
    assert_eq!(bench.run("XGROUP SETID s h 1-1"), "+OK\r\n");
    let no_group = "-NOGROUP No such consumer group 'none' for key name 's'\r\n";
    assert_eq!(bench.run("XGROUP SETID s none 1-1"), no_group);
    assert_eq!(bench.run("XGROUP CREATECONSUMER s none c"), no_group);
    assert_eq!(bench.run("XGROUP CREATECONSUMER s h c"), ":1\r\n");
    assert_eq!(bench.run("XGROUP CREATECONSUMER s h c"), ":0\r\n");
    bench.run("XREADGROUP GROUP h c STREAMS s >");
    assert_eq!(bench.run("XGROUP DELCONSUMER s h c"), ":2\r\n");
    assert_eq!(bench.run("XGROUP DELCONSUMER s h c"), ":0\r\n");
    assert_eq!(bench.run("XGROUP DESTROY s h"), ":1\r\n");
    assert_eq!(bench.run("XGROUP DESTROY s h"), ":0\r\n");
    let events = ["create", "setid", "createconsumer", "delconsumer", "destroy"];
    assert_eq!(bench.events(), events.map(|event| format!("0:xgroup-{event} s")));
    assert_eq!(bench.run("XGROUP HELP").lines().count(), 18);
}

#[test]
fn claims_take_over_and_drop_what_is_gone() {
    let mut bench = group_bench();
    bench.run("XREADGROUP GROUP g alice STREAMS s >");
    bench.run("XDEL s 2-1");
    bench.wait_ms(10);
    let now = START_MS + 10;
    assert_eq!(bench.run("XCLAIM s g bob 11 1-1"), "*0\r\n");
    assert_eq!(bench.run("XCLAIM s g bob 10 1-1 2-1"), array(&[&entry("1-1", &["a", "1"])]));
    assert_eq!(
        bench.logged(),
        [
            format!("XCLAIM s g bob 0 1-1 TIME {now} RETRYCOUNT 2 FORCE JUSTID LASTID 3-1"),
            format!("XCLAIM s g alice 0 2-1 TIME {START_MS} RETRYCOUNT 1 FORCE JUSTID LASTID 3-1"),
        ]
    );
    let pending =
        |id, consumer, idle, count| array(&[id, consumer, &format!(":{idle}\r\n"), &format!(":{count}\r\n")]);
    assert_eq!(
        bench.run("XPENDING s g - + 10"),
        array(&[&pending("1-1", "bob", 0, 2), &pending("3-1", "alice", 10, 1)])
    );
    assert_eq!(bench.run("XPENDING s g IDLE 1 - + 10"), array(&[&pending("3-1", "alice", 10, 1)]));
    assert_eq!(bench.run("XPENDING s g - + 10 bob"), array(&[&pending("1-1", "bob", 0, 2)]));
    assert_eq!(bench.run("XPENDING s g - + 10 nobody"), "*0\r\n");
    assert_eq!(bench.run("XPENDING s g (1-1 + 1"), array(&[&pending("3-1", "alice", 10, 1)]));
    assert_eq!(
        bench.run("XPENDING s g"),
        array(&[":2\r\n", "1-1", "3-1", &array(&[&array(&["alice", "1"]), &array(&["bob", "1"])])])
    );
    assert_eq!(bench.run("XCLAIM s g carol 0 3-1 JUSTID IDLE 5 RETRYCOUNT 7"), array(&["3-1"]));
    assert_eq!(bench.run("XPENDING s g - + 10 carol"), array(&[&pending("3-1", "carol", 5, 7)]));
    assert_eq!(bench.run("XACK s g 1-1"), ":1\r\n");
    assert_eq!(bench.run("XCLAIM s g bob 0 1-1"), "*0\r\n");
    assert_eq!(bench.run("XCLAIM s g bob 0 1-1 FORCE JUSTID TIME 99999999999999"), array(&["1-1"]));
    assert_eq!(bench.run("XPENDING s g - + 10 bob"), array(&[&pending("1-1", "bob", 0, 1)]));
    bench.run("XCLAIM s g bob 0 9-9 LASTID 8-8");
    assert_eq!(bench.logged(), ["XGROUP SETID s g 8-8 ENTRIESREAD 3"]);
    for (rest, error) in [
        ("x 1-1", "Invalid min-idle-time argument for XCLAIM"),
        ("0 1-1 IDLE x", "Invalid IDLE option argument for XCLAIM"),
        ("0 1-1 NONSENSE", "Unrecognized XCLAIM option 'NONSENSE'"),
    ] {
        assert_eq!(bench.run(&format!("XCLAIM s g bob {rest}")), format!("-ERR {error}\r\n"));
    }
    let no_group = "-NOGROUP No such key 'none' or consumer group 'g'\r\n";
    assert_eq!(bench.run("XCLAIM none g bob x 1-1"), no_group);
    assert_eq!(bench.run("XPENDING none g"), no_group);
    assert_eq!(bench.run("XPENDING s g - +"), "-ERR syntax error\r\n");
}

#[test]
fn xautoclaim_goes_through_the_pending_entries_in_turns() {
    let mut bench = group_bench();
    bench.run("XADD s 4-1 a 4");
    bench.run("XREADGROUP GROUP g alice STREAMS s >");
    bench.run("XDEL s 2-1");
    let turn = |next: &str, claimed: &[&str], lost: &[&str]| array(&[next, &array(claimed), &array(lost)]);
    assert_eq!(bench.run("XAUTOCLAIM s g bob 0 - COUNT 2 JUSTID"), turn("3-1", &["1-1"], &["2-1"]));
    assert_eq!(bench.logged().len(), 2);
    assert_eq!(bench.run("XAUTOCLAIM s g bob 0 (3-1"), turn("0-0", &[&entry("4-1", &["a", "4"])], &[]));
    assert_eq!(bench.run("XAUTOCLAIM s g bob 1 0 COUNT 1"), turn("0-0", &[], &[]));
    bench.wait_ms(1);
    assert_eq!(bench.run("XAUTOCLAIM s g bob 1 0 COUNT 3 JUSTID"), turn("0-0", &["1-1", "3-1", "4-1"], &[]));
    for (rest, error) in [
        ("x 0", "ERR Invalid min-idle-time argument for XAUTOCLAIM"),
        ("0 x", "ERR Invalid stream ID specified as stream command argument"),
        ("0 0 COUNT 0", "ERR COUNT must be > 0"),
        ("0 0 COUNT x", "ERR COUNT must be > 0"),
        ("0 0 NONSENSE", "ERR syntax error"),
    ] {
        assert_eq!(bench.run(&format!("XAUTOCLAIM s g bob {rest}")), format!("-{error}\r\n"), "{rest}");
    }
}

#[test]
fn seen_is_any_attempt_and_active_only_what_succeeded() {
    let mut bench = group_bench();
    bench.run("XGROUP CREATECONSUMER s g c");
    let consumer = |idle: i64, inactive: i64, pending: usize| {
        array(&[&array(&[
            "name",
            "c",
            "pending",
            &format!(":{pending}\r\n"),
            "idle",
            &format!(":{idle}\r\n"),
            "inactive",
            &format!(":{inactive}\r\n"),
        ])])
    };
    bench.wait_ms(5);
    assert_eq!(bench.run("XINFO CONSUMERS s g"), consumer(5, -1, 0));
    bench.run("XREADGROUP GROUP g c STREAMS s >");
    bench.wait_ms(5);
    bench.run("XREADGROUP GROUP g c STREAMS s >");
    assert_eq!(bench.run("XINFO CONSUMERS s g"), consumer(0, 5, 3));
    bench.protocol = Protocol::Resp3;
    assert!(bench.run("XINFO CONSUMERS s g").starts_with("*1\r\n%4\r\n"));
    let no_group = "-NOGROUP No such consumer group 'none' for key name 's'\r\n";
    assert_eq!(bench.run("XINFO CONSUMERS s none"), no_group);
}

#[test]
fn lag_is_known_unless_entries_between_were_deleted() {
    let mut bench = group_bench();
    let mut lag = |command: &str| {
        bench.run(command);
        let info = bench.run("XINFO GROUPS s");
        let mut lines = info.split("\r\n").skip_while(|line| *line != "entries-read").skip(1);
        let (read, _, _, lag) = (lines.next(), lines.next(), lines.next(), lines.next());
        format!("{} {}", read.unwrap_or_default(), lag.unwrap_or_default())
    };
    assert_eq!(lag("PERSIST s"), "$-1 :3");
    assert_eq!(lag("XREADGROUP GROUP g c COUNT 1 STREAMS s >"), ":1 :2");
    assert_eq!(lag("XDEL s 2-1"), ":1 $-1");
    // As Redis counts: what was deleted meanwhile counts as unread.
    assert_eq!(lag("XREADGROUP GROUP g c STREAMS s >"), ":2 :1");
    assert_eq!(lag("XADD s 9-1 a 1"), ":2 :2");
    assert_eq!(lag("XGROUP SETID s g 0"), "$-1 $-1");
    assert_eq!(lag("XTRIM s MAXLEN 0"), "$-1 :0");
}

#[test]
fn xinfo_tells_everything() {
    let mut bench = group_bench();
    bench.run("XREADGROUP GROUP g c COUNT 2 STREAMS s >");
    let common = [
        "length",
        ":3\r\n",
        "radix-tree-keys",
        ":1\r\n",
        "radix-tree-nodes",
        ":2\r\n",
        "last-generated-id",
        "3-1",
        "max-deleted-entry-id",
        "0-0",
        "entries-added",
        ":3\r\n",
        "recorded-first-entry-id",
        "1-1",
    ];
    let (first, last) = (entry("1-1", &["a", "1"]), entry("3-1", &["a", "3"]));
    let brief = [&common[..], &["groups", ":1\r\n", "first-entry", &first, "last-entry", &last]].concat();
    assert_eq!(bench.run("XINFO STREAM s"), array(&brief));
    let time = format!(":{START_MS}\r\n");
    let group = array(&[
        "name",
        "g",
        "last-delivered-id",
        "2-1",
        "entries-read",
        ":2\r\n",
        "lag",
        ":1\r\n",
        "pel-count",
        ":2\r\n",
        "pending",
        &array(&[&array(&["1-1", "c", &time, ":1\r\n"])]),
        "consumers",
        &array(&[&array(&[
            "name",
            "c",
            "seen-time",
            &time,
            "active-time",
            &time,
            "pel-count",
            ":2\r\n",
            "pending",
            &array(&[&array(&["1-1", &time, ":1\r\n"])]),
        ])]),
    ]);
    let (entries, groups) = (array(&[&first]), array(&[&group]));
    let full = [&common[..], &["entries", &entries, "groups", &groups]].concat();
    assert_eq!(bench.run("XINFO STREAM s FULL COUNT 1"), array(&full));
    bench.protocol = Protocol::Resp3;
    assert!(bench.run("XINFO STREAM s FULL").starts_with("%9\r\n"));
    assert!(bench.run("XINFO STREAM s").starts_with("%10\r\n"));
    let syntax = "-ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP.\r\n";
    for rest in ["NONSENSE", "FULL COUNT", "FULL NONSENSE 1", "FULL COUNT 1 2"] {
        assert_eq!(bench.run(&format!("XINFO STREAM s {rest}")), syntax, "{rest}");
    }
    assert_eq!(bench.run("XINFO STREAM none"), "-ERR no such key\r\n");
    assert_eq!(bench.run("XINFO HELP").lines().count(), 10);
    assert!(bench.run("XINFO STREAM t").ends_with("_\r\n$10\r\nlast-entry\r\n_\r\n"));
}
