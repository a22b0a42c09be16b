//! What clients, replicas and listeners get from the set commands.

use std::collections::BTreeSet;

use crate::command::testing::Bench;
use crate::resp::Protocol;

const NULL: &str = "$-1\r\n";
const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

/// The bulk strings of a reply, in order.
fn bulks(reply: &str) -> Vec<String> {
    reply.lines().filter(|line| !line.starts_with(['$', '*', '~', ':'])).map(str::to_owned).collect()
}

fn set_of(reply: &str) -> BTreeSet<String> {
    let all = bulks(reply);
    let set: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(set.len(), all.len(), "twice in {reply:?}");
    set
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Adds members `m0`, `m1`, ...
fn fill(bench: &mut Bench, key: &str, prefix: &str, len: usize) {
    let members: Vec<String> = (0..len).map(|number| format!("{prefix}{number}")).collect();
    bench.run(&format!("SADD {key} {}", members.join(" ")));
}

fn encoding(bench: &mut Bench, key: &str) -> String {
    bulks(&bench.run(&format!("OBJECT ENCODING {key}"))).concat()
}

#[test]
fn members_come_and_go() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("SADD s a b a c"), ":3\r\n");
    assert_eq!(bench.run("SADD s a"), ":0\r\n");
    assert!(bench.logged().is_empty());
    assert_eq!(bench.run("SCARD s"), ":3\r\n");
    assert_eq!(bench.run("SISMEMBER s b"), ":1\r\n");
    assert_eq!(bench.run("SMISMEMBER s b x c"), "*3\r\n:1\r\n:0\r\n:1\r\n");
    assert_eq!(bench.run("SMISMEMBER absent b x"), "*2\r\n:0\r\n:0\r\n");
    assert_eq!(set_of(&bench.run("SMEMBERS s")), words("a b c"));
    assert_eq!(bench.run("SREM s a x"), ":1\r\n");
    assert_eq!(bench.run("SREM s b c d"), ":2\r\n");
    assert_eq!(bench.run("EXISTS s"), ":0\r\n");
    assert_eq!(bench.run("SREM s a"), ":0\r\n");
    assert_eq!(bench.run("SMEMBERS s"), "*0\r\n");
    bench.protocol = Protocol::Resp3;
    assert_eq!(bench.run("SMEMBERS s"), "~0\r\n");
    bench.run("SADD s 1");
    assert_eq!(bench.run("SMEMBERS s"), "~1\r\n$1\r\n1\r\n");
}

#[test]
fn every_change_counts_and_raises_its_events() {
    let mut bench = Bench::new();
    bench.listen("KEA");
    for (command, dirty, events) in [
        ("SADD s a b c", 3, &["0:sadd s"][..]),
        ("SADD s a b c", 0, &[]),
        ("SREM s a b x", 2, &["0:srem s"]),
        ("SREM s c", 1, &["0:srem s", "0:del s"]),
        ("SADD s a", 1, &["0:sadd s"]),
        ("SMOVE s t a", 2, &["0:srem s", "0:del s", "0:sadd t"]),
        ("SADD s a b", 2, &["0:sadd s"]),
        ("SMOVE s t a", 1, &["0:srem s"]),
        ("SMOVE t t a", 0, &[]),
        ("SPOP s", 1, &["0:spop s", "0:del s"]),
        ("SADD s 1 2 3 4", 4, &["0:sadd s"]),
        ("SPOP s 2", 2, &["0:spop s"]),
        ("SPOP s 9", 2, &["0:spop s", "0:del s"]),
        ("SPOP s 9", 0, &[]),
        ("SUNIONSTORE u t", 1, &["0:sunionstore u"]),
        ("SINTERSTORE u t t", 1, &["0:sinterstore u"]),
        ("SDIFFSTORE u t absent", 1, &["0:sdiffstore u"]),
        ("SDIFFSTORE u t t", 1, &["0:del u"]),
        ("SINTERSTORE u t absent", 0, &[]),
    ] {
        let before = bench.store.dirty;
        bench.run(command);
        assert_eq!(bench.store.dirty - before, dirty, "{command}");
        let raised = bench.events();
        let raised: Vec<&str> = raised.iter().map(String::as_str).filter(|e| !e.contains("new")).collect();
        assert_eq!(raised, events, "{command}");
    }
}

#[test]
fn a_key_of_another_type_is_refused() {
    let mut bench = Bench::new();
    bench.run("SET k v");
    bench.run("SADD s a");
    for command in [
        "SADD k a",
        "SREM k a",
        "SISMEMBER k a",
        "SMISMEMBER k a",
        "SCARD k",
        "SMEMBERS k",
        "SMOVE k s a",
        "SMOVE s k a",
        "SMOVE s k absent",
        "SPOP k",
        "SPOP k 1",
        "SRANDMEMBER k",
        "SRANDMEMBER k 1",
        "SINTER s k",
        "SINTER absent k",
        "SINTERCARD 2 s k",
        "SINTERSTORE d s k",
        "SUNION s k",
        "SUNIONSTORE d s k",
        "SDIFF s k",
        "SDIFFSTORE d absent k",
        "SSCAN k 0",
    ] {
        assert_eq!(bench.run(command), WRONG_TYPE, "{command}");
    }
    assert_eq!(bench.run("SMOVE absent k a"), ":0\r\n");
    assert_eq!(bench.run("SCARD s"), ":1\r\n");
}

#[test]
fn a_set_changes_its_encoding_as_it_grows() {
    let mut bench = Bench::new();
    bench.run("SADD s 1 2 3");
    assert_eq!(encoding(&mut bench, "s"), "intset");
    bench.run("SADD s x");
    assert_eq!(encoding(&mut bench, "s"), "listpack");
    fill(&mut bench, "s", "m", 124);
    assert_eq!(encoding(&mut bench, "s"), "listpack");
    bench.run("SADD s y");
    assert_eq!(encoding(&mut bench, "s"), "hashtable");
    assert_eq!(bench.run("SCARD s"), ":129\r\n");
    fill(&mut bench, "i", "", 512);
    assert_eq!(encoding(&mut bench, "i"), "intset");
    bench.run("SADD i 512");
    assert_eq!(encoding(&mut bench, "i"), "hashtable");
    bench.store.settings.set_max_intset_entries = 2;
    bench.run("SADD j 1 2 3");
    assert_eq!(encoding(&mut bench, "j"), "listpack");
    let long = "x".repeat(65);
    bench.run(&format!("SADD l {long}"));
    assert_eq!(encoding(&mut bench, "l"), "hashtable");
}

#[test]
fn popping_takes_out_what_it_returns_and_logs_that() {
    for (prefix, len) in [("", 10), ("m", 10), ("m", 400)] {
        let mut bench = Bench::new();
        fill(&mut bench, "s", prefix, len);
        let popped = bulks(&bench.run("SPOP s")).concat();
        assert_eq!(bench.logged(), [format!("SREM s {popped}")]);
        assert_eq!(bench.run(&format!("SISMEMBER s {popped}")), ":0\r\n");
        let reply = bench.run("SPOP s 5");
        assert!(reply.starts_with("*5\r\n"), "{reply:?}");
        assert_eq!(bench.logged(), [format!("SREM s {}", bulks(&reply).join(" "))]);
        for popped in set_of(&reply) {
            assert_eq!(bench.run(&format!("SISMEMBER s {popped}")), ":0\r\n");
        }
        assert_eq!(bench.run("SCARD s"), format!(":{}\r\n", len - 6));
        assert_eq!(bench.run("SPOP s 0"), "*0\r\n");
        assert!(bench.logged().is_empty());
        assert_eq!(set_of(&bench.run("SPOP s 1000")).len(), len - 6);
        assert_eq!(bench.logged(), ["DEL s"]);
        assert_eq!(bench.run("SPOP s"), NULL);
        assert_eq!(bench.run("SPOP s 3"), "*0\r\n");
    }
}

#[test]
fn many_popped_members_are_logged_in_several_commands() {
    let mut bench = Bench::new();
    fill(&mut bench, "s", "m", 5000);
    let popped = set_of(&bench.run("SPOP s 4990"));
    let logged: Vec<Vec<String>> =
        bench.logged().iter().map(|command| command.split(' ').map(str::to_owned).collect()).collect();
    assert_eq!(logged.iter().map(Vec::len).collect::<Vec<_>>(), [1026, 1026, 1026, 1026, 896]);
    assert!(logged.iter().all(|command| command[..2] == ["SREM", "s"]));
    let members: BTreeSet<String> = logged.iter().flat_map(|command| command[2..].iter().cloned()).collect();
    assert_eq!(members, popped);
    assert_eq!(bench.run("SCARD s"), ":10\r\n");
    assert_eq!(encoding(&mut bench, "s"), "listpack");
    bench.store.settings.lazyfree_lazy_server_del = true;
    bench.run("SPOP s 10");
    assert_eq!(bench.logged(), ["UNLINK s"]);
}

#[test]
fn counts_of_random_members_are_checked() {
    let mut bench = Bench::new();
    bench.run("SADD s a b c");
    for (command, error) in [
        ("SPOP s -1", "ERR value is out of range, must be positive"),
        ("SPOP s x", "ERR value is out of range, must be positive"),
        ("SPOP s 1 1", "ERR syntax error"),
        ("SRANDMEMBER s x", "ERR value is not an integer or out of range"),
        ("SRANDMEMBER s 1 1", "ERR syntax error"),
        (
            "SRANDMEMBER s -9223372036854775808",
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ),
    ] {
        assert_eq!(bench.run(command), format!("-{error}\r\n"), "{command}");
    }
}

#[test]
fn random_members_are_members() {
    for (prefix, len) in [("", 10), ("m", 10), ("m", 400)] {
        let mut bench = Bench::new();
        fill(&mut bench, "s", prefix, len);
        let all = set_of(&bench.run("SMEMBERS s"));
        assert!(all.is_superset(&set_of(&bench.run("SRANDMEMBER s"))));
        for count in [1, 5, len, len + 100] {
            let reply = bench.run(&format!("SRANDMEMBER s {count}"));
            let some = set_of(&reply);
            assert!(some.len() == count.min(len) && all.is_superset(&some));
        }
        let repeated = bulks(&bench.run("SRANDMEMBER s -1000"));
        assert_eq!(repeated.len(), 1000);
        assert!(repeated.iter().all(|member| all.contains(member)));
        assert_eq!(bench.run("SRANDMEMBER s 0"), "*0\r\n");
        assert_eq!(bench.run("SCARD s"), format!(":{len}\r\n"));
    }
    let mut bench = Bench::new();
    assert_eq!(bench.run("SRANDMEMBER absent"), NULL);
    assert_eq!(bench.run("SRANDMEMBER absent -5"), "*0\r\n");
    bench.protocol = Protocol::Resp3;
    bench.run("SADD s 1");
    assert_eq!(bench.run("SRANDMEMBER s 1"), "*1\r\n$1\r\n1\r\n");
    assert_eq!(bench.run("SPOP s 1"), "~1\r\n$1\r\n1\r\n");
    assert_eq!(bench.run("SPOP s"), "_\r\n");
}

#[test]
fn sets_are_joined_whatever_their_encodings() {
    let mut bench = Bench::new();
    bench.run("SADD i 1 2 3 4 5 6 7 8");
    bench.run("SADD p 2 3 4 x y");
    fill(&mut bench, "t", "", 600);
    bench.run("SADD t x z");
    for (keys, inter, diff) in [
        ("i", "1 2 3 4 5 6 7 8", "1 2 3 4 5 6 7 8"),
        ("i p", "2 3 4", "1 5 6 7 8"),
        ("p i", "2 3 4", "x y"),
        ("p t", "2 3 4 x", "y"),
        ("t p i", "2 3 4", ""),
        ("p t i", "2 3 4", "y"),
        ("p absent", "", "2 3 4 x y"),
        ("absent p", "", ""),
        ("p i p", "2 3 4", ""),
    ] {
        assert_eq!(set_of(&bench.run(&format!("SINTER {keys}"))), words(inter), "SINTER {keys}");
        let numkeys = keys.split(' ').count();
        let card = words(inter).len();
        assert_eq!(bench.run(&format!("SINTERCARD {numkeys} {keys}")), format!(":{card}\r\n"));
        if keys != "t p i" {
            assert_eq!(set_of(&bench.run(&format!("SDIFF {keys}"))), words(diff), "SDIFF {keys}");
            assert_eq!(bench.run(&format!("SDIFFSTORE d {keys}")), format!(":{}\r\n", words(diff).len()));
            assert_eq!(set_of(&bench.run("SMEMBERS d")), words(diff));
        }
        assert_eq!(bench.run(&format!("SINTERSTORE d {keys}")), format!(":{card}\r\n"));
        assert_eq!(set_of(&bench.run("SMEMBERS d")), words(inter));
    }
    assert_eq!(set_of(&bench.run("SUNION p i absent")), words("1 2 3 4 5 6 7 8 x y"));
    assert_eq!(set_of(&bench.run("SUNION p i i p p i")), words("1 2 3 4 5 6 7 8 x y"));
    assert_eq!(bench.run("SUNIONSTORE d p t i"), ":603\r\n");
    assert_eq!(set_of(&bench.run("SUNION p t i")), set_of(&bench.run("SMEMBERS d")));
    assert_eq!(bench.run("SDIFFSTORE d t p i"), ":593\r\n");
    assert_eq!(bench.run("SUNION absent"), "*0\r\n");
    bench.protocol = Protocol::Resp3;
    assert_eq!(bench.run("SUNION absent"), "~0\r\n");
    assert_eq!(bench.run("SINTER absent"), "~0\r\n");
    assert_eq!(bench.run("SDIFF absent"), "~0\r\n");
}

#[test]
fn a_difference_of_many_sets_removes_their_members() {
    let mut bench = Bench::new();
    fill(&mut bench, "a", "m", 1000);
    // Asking ten small sets about a thousand members is more work than removing theirs.
    for set in 0..10 {
        bench.run(&format!("SADD b{set} m{set} x{set}"));
    }
    assert_eq!(set_of(&bench.run("SDIFF a b0 b1 b2 b3 b4 b5 b6 b7 b8 b9")).len(), 990);
    bench.run("SADD c m1 m2");
    assert_eq!(set_of(&bench.run("SDIFF c a b0 b1 b2 b3")), words(""));
}

#[test]
fn a_stored_set_takes_the_encoding_that_suits_it() {
    let mut bench = Bench::new();
    bench.run("SADD i 1 2 3");
    bench.run("SADD p 1 2 x");
    fill(&mut bench, "t", "", 600);
    for (command, form) in [
        ("SINTERSTORE d i p", "intset"),
        ("SINTERSTORE d p p", "listpack"),
        ("SINTERSTORE d p t", "intset"),
        ("SUNIONSTORE d i p", "listpack"),
        ("SUNIONSTORE d i t", "hashtable"),
        ("SDIFFSTORE d p absent", "listpack"),
        ("SDIFFSTORE d i p", "intset"),
    ] {
        bench.run(command);
        assert_eq!(encoding(&mut bench, "d"), form, "{command}");
    }
}

#[test]
fn the_destination_may_be_a_source_and_loses_its_ttl() {
    let mut bench = Bench::new();
    bench.run("SADD a 1 2 3");
    bench.run("SADD b 3 4");
    bench.run("EXPIRE a 100");
    assert_eq!(bench.run("SUNIONSTORE a a b"), ":4\r\n");
    assert_eq!(bench.run("TTL a"), ":-1\r\n");
    bench.run("SET d v");
    assert_eq!(bench.run("SINTERSTORE d a b"), ":2\r\n");
    assert_eq!(bench.run("SINTERSTORE d a absent"), ":0\r\n");
    assert_eq!(bench.run("EXISTS d"), ":0\r\n");
}

#[test]
fn sintercard_is_limited() {
    let mut bench = Bench::new();
    fill(&mut bench, "s", "m", 50);
    assert_eq!(bench.run("SINTERCARD 2 s s LIMIT 7"), ":7\r\n");
    assert_eq!(bench.run("SINTERCARD 2 s s limit 0"), ":50\r\n");
    for (command, error) in [
        ("SINTERCARD 0 s", "ERR numkeys should be greater than 0"),
        ("SINTERCARD x s", "ERR numkeys should be greater than 0"),
        ("SINTERCARD 3 s s", "ERR Number of keys can't be greater than number of args"),
        ("SINTERCARD 1 s LIMIT -1", "ERR LIMIT can't be negative"),
        ("SINTERCARD 1 s LIMIT x", "ERR LIMIT can't be negative"),
        ("SINTERCARD 1 s LIMIT", "ERR syntax error"),
        ("SINTERCARD 1 s FOO 1", "ERR syntax error"),
    ] {
        assert_eq!(bench.run(command), format!("-{error}\r\n"), "{command}");
    }
}

#[test]
fn scans_return_every_member_that_stays() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("SSCAN absent 0 NONSENSE"), "*2\r\n$1\r\n0\r\n*0\r\n");
    assert_eq!(bench.run("SSCAN absent x"), "-ERR invalid cursor\r\n");
    bench.run("SADD i 1 2 30");
    assert_eq!(bench.run("SSCAN i 0 MATCH 3*"), "*2\r\n$1\r\n0\r\n*1\r\n$2\r\n30\r\n");
    assert_eq!(bench.run("SSCAN i 0 NONSENSE"), "-ERR syntax error\r\n");
    fill(&mut bench, "s", "m", 1000);
    let (mut cursor, mut found, mut calls) = ("0".to_owned(), BTreeSet::new(), 0);
    loop {
        let reply = bulks(&bench.run(&format!("SSCAN s {cursor} COUNT 20")));
        cursor = reply[0].clone();
        found.extend(reply[1..].iter().cloned());
        calls += 1;
        if cursor == "0" {
            break;
        }
        bench.run(&format!("SADD s new{calls}"));
        bench.run(&format!("SREM s new{} new{}", calls - 1, calls - 2));
    }
    assert!((0..1000).all(|number| found.contains(&format!("m{number}"))));
    assert!((20..=60).contains(&calls), "{calls} calls of about 20 members");
    let reply = bench.run("SSCAN s 0 MATCH m99? COUNT 10000");
    assert_eq!(bulks(&reply)[1..].len(), 10);
}

#[test]
fn large_sets_are_freed_in_steps() {
    let mut bench = Bench::new();
    // The tables of the database itself come with its first keys.
    bench.run("SADD s x");
    let before = bench.store.used_memory();
    fill(&mut bench, "s", "member", 20_000);
    let full = bench.store.used_memory();
    bench.run("DEL s");
    assert!(bench.store.used_memory() > full - 10_000, "it has not been freed at once");
    while bench.store.free_some(64) {}
    assert!(bench.store.used_memory() < before + 10_000);
}
