//! What clients, replicas and listeners get from the hash commands.

use std::collections::BTreeMap;

use crate::command::testing::Bench;
use crate::resp::Protocol;

const NULL: &str = "$-1\r\n";
const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

/// The bulk strings of a reply, in order.
fn bulks(reply: &str) -> Vec<String> {
    reply.lines().filter(|line| !line.starts_with(['$', '*', '%', ':'])).map(str::to_owned).collect()
}

fn pairs(bulks: &[String]) -> BTreeMap<String, String> {
    let map: BTreeMap<_, _> = bulks.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    assert_eq!(map.len() * 2, bulks.len(), "a field twice in {bulks:?}");
    map
}

/// Sets fields `f0`, `f1`, ... to `0`, `1`, ...
fn fill(bench: &mut Bench, key: &str, len: usize) {
    let fields: Vec<String> = (0..len).map(|number| format!("f{number} {number}")).collect();
    bench.run(&format!("HSET {key} {}", fields.join(" ")));
}

fn encoding(bench: &mut Bench, key: &str) -> String {
    bulks(&bench.run(&format!("OBJECT ENCODING {key}"))).concat()
}

#[test]
fn fields_read_back_as_they_were_set() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("HSET h a 1 b two a 3"), ":2\r\n");
    assert_eq!(bench.run("HSET h a 1"), ":0\r\n");
    assert_eq!(bench.logged(), ["HSET h a 1"]);
    assert_eq!(bench.run("HMSET h c 03"), "+OK\r\n");
    assert_eq!(bench.run("HGET h a"), "$1\r\n1\r\n");
    assert_eq!(bench.run("HGET h c"), "$2\r\n03\r\n");
    assert_eq!(bench.run("HGET h x"), NULL);
    assert_eq!(bench.run("HGET absent x"), NULL);
    assert_eq!(bench.run("HMGET h a x b"), "*3\r\n$1\r\n1\r\n$-1\r\n$3\r\ntwo\r\n");
    assert_eq!(bench.run("HMGET absent a b"), "*2\r\n$-1\r\n$-1\r\n");
    assert_eq!(bench.run("HLEN h"), ":3\r\n");
    assert_eq!(bench.run("HSTRLEN h b"), ":3\r\n");
    assert_eq!(bench.run("HSTRLEN h a"), ":1\r\n");
    assert_eq!(bench.run("HSTRLEN h x"), ":0\r\n");
    assert_eq!(bench.run("HEXISTS h a"), ":1\r\n");
    assert_eq!(bench.run("HEXISTS h x"), ":0\r\n");
    assert_eq!(bench.run("HKEYS h"), "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    assert_eq!(bench.run("HVALS h"), "*3\r\n$1\r\n1\r\n$3\r\ntwo\r\n$2\r\n03\r\n");
    assert_eq!(bench.run("HGETALL h").lines().next(), Some("*6"));
    assert_eq!(bench.run("HGETALL absent"), "*0\r\n");
    bench.protocol = Protocol::Resp3;
    assert_eq!(bench.run("HGETALL h").lines().next(), Some("%3"));
    assert_eq!(bench.run("HGETALL absent"), "%0\r\n");
    assert_eq!(bench.run("HKEYS absent"), "*0\r\n");
    assert_eq!(bench.run("HGET h x"), "_\r\n");
    assert_eq!(bench.run("HDEL h a x b"), ":2\r\n");
    assert_eq!(bench.run("HDEL h c c"), ":1\r\n");
    assert_eq!(bench.run("EXISTS h"), ":0\r\n");
}

#[test]
fn hsetnx_sets_a_field_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("HSETNX h a 1"), ":1\r\n");
    assert_eq!(bench.run("HSETNX h a 2"), ":0\r\n");
    assert!(bench.logged().is_empty());
    assert_eq!(bench.run("HGET h a"), "$1\r\n1\r\n");
}

#[test]
fn every_change_counts_and_raises_its_events() {
    let mut bench = Bench::new();
    bench.listen("KEA");
    for (command, dirty, events) in [
        ("HSET h a 1 b 2", 2, &["0:hset h"][..]),
        ("HSET h a 1", 1, &["0:hset h"]),
        ("HSETNX h a 1", 0, &[]),
        ("HSETNX h c 1", 1, &["0:hset h"]),
        ("HINCRBY h a 1", 1, &["0:hincrby h"]),
        ("HINCRBYFLOAT h a 1", 1, &["0:hincrbyfloat h"]),
        ("HDEL h x", 0, &[]),
        ("HDEL h a b", 2, &["0:hdel h"]),
        ("HDEL h c", 1, &["0:hdel h", "0:del h"]),
        ("HDEL h c", 0, &[]),
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
fn malformed_commands_and_other_types_are_refused() {
    let mut bench = Bench::new();
    bench.run("SET k v");
    for command in [
        "HSET k a 1",
        "HSETNX k a 1",
        "HMSET k a 1",
        "HGET k a",
        "HMGET k a",
        "HGETALL k",
        "HKEYS k",
        "HVALS k",
        "HLEN k",
        "HSTRLEN k a",
        "HEXISTS k a",
        "HDEL k a",
        "HINCRBY k a 1",
        "HINCRBYFLOAT k a 1",
        "HRANDFIELD k",
        "HRANDFIELD k 1",
        "HSCAN k 0",
    ] {
        assert_eq!(bench.run(command), WRONG_TYPE, "{command}");
    }
    assert_eq!(bench.run("HSET h a 1 b"), "-ERR wrong number of arguments for 'hset' command\r\n");
    assert_eq!(bench.run("HMSET h a 1 b"), "-ERR wrong number of arguments for 'hmset' command\r\n");
    assert_eq!(bench.run("EXISTS h"), ":0\r\n");
}

#[test]
fn values_are_added_to_as_integers() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("HINCRBY h a 5"), ":5\r\n");
    assert_eq!(bench.run("HINCRBY h a -7"), ":-2\r\n");
    assert_eq!(bench.logged(), ["HINCRBY h a -7"]);
    bench.run("HSET h t x f 1.5 m 9223372036854775807");
    for (command, error) in [
        ("HINCRBY h t 1", "ERR hash value is not an integer"),
        ("HINCRBY h f 1", "ERR hash value is not an integer"),
        ("HINCRBY h m 1", "ERR increment or decrement would overflow"),
        ("HINCRBY h a x", "ERR value is not an integer or out of range"),
        ("HINCRBYFLOAT h t 1", "ERR hash value is not a float"),
        ("HINCRBYFLOAT h f x", "ERR value is not a valid float"),
        ("HINCRBYFLOAT h f inf", "ERR value is NaN or Infinity"),
        ("HINCRBYFLOAT absent f x", "ERR value is not a valid float"),
    ] {
        assert_eq!(bench.run(command), format!("-{error}\r\n"), "{command}");
    }
    assert_eq!(bench.run("EXISTS absent"), ":0\r\n");
}

#[test]
fn sums_of_floats_are_logged_as_they_are() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("HINCRBYFLOAT h a 3.0"), "$1\r\n3\r\n");
    assert_eq!(bench.run("HINCRBYFLOAT h a 1.1"), "$3\r\n4.1\r\n");
    assert_eq!(bench.logged(), ["HSET h a 4.1"]);
    bench.run("HSET h b 5.0e3");
    assert_eq!(bench.run("HINCRBYFLOAT h b 200"), "$4\r\n5200\r\n");
}

#[test]
fn a_hash_changes_its_encoding_as_it_grows() {
    let mut bench = Bench::new();
    fill(&mut bench, "h", 512);
    assert_eq!(encoding(&mut bench, "h"), "listpack");
    bench.run("HSET h one more");
    assert_eq!(encoding(&mut bench, "h"), "hashtable");
    assert_eq!(bench.run("HGET h f500"), "$3\r\n500\r\n");
    let (short, long) = ("x".repeat(64), "x".repeat(65));
    bench.run(&format!("HSET v f {short}"));
    assert_eq!(encoding(&mut bench, "v"), "listpack");
    bench.run(&format!("HSET v f {long}"));
    assert_eq!(encoding(&mut bench, "v"), "hashtable");
    bench.run(&format!("HINCRBY i {long} 1"));
    assert_eq!(encoding(&mut bench, "i"), "hashtable");
    bench.store.settings.hash_max_listpack_entries = 1;
    bench.run("HSET w a 1");
    assert_eq!(encoding(&mut bench, "w"), "listpack");
    bench.run("HSETNX w b 1");
    assert_eq!(encoding(&mut bench, "w"), "hashtable");
}

#[test]
fn random_fields_are_fields() {
    for len in [10, 600] {
        let mut bench = Bench::new();
        fill(&mut bench, "h", len);
        let all = pairs(&bulks(&bench.run("HGETALL h")));
        assert!(all.contains_key(&bulks(&bench.run("HRANDFIELD h")).concat()));
        for count in [1, 5, len, len + 100] {
            let fields = bulks(&bench.run(&format!("HRANDFIELD h {count}")));
            assert_eq!(fields.len(), count.min(len));
            let some = pairs(&bulks(&bench.run(&format!("HRANDFIELD h {count} WITHVALUES"))));
            assert_eq!(some.len(), count.min(len));
            assert!(some.iter().all(|(field, value)| all.get(field) == Some(value)));
        }
        let repeated = bench.run("HRANDFIELD h -1000 withvalues");
        assert!(repeated.starts_with("*2000\r\n"));
        assert!(bulks(&repeated).chunks(2).all(|pair| all[&pair[0]] == pair[1]));
        assert_eq!(bench.run("HRANDFIELD h 0"), "*0\r\n");
    }
}

#[test]
fn random_fields_come_in_pairs_to_those_who_know_them() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("HRANDFIELD absent"), NULL);
    assert_eq!(bench.run("HRANDFIELD absent 3"), "*0\r\n");
    bench.run("HSET h a 1");
    assert_eq!(bench.run("HRANDFIELD h 3 WITHVALUES"), "*2\r\n$1\r\na\r\n$1\r\n1\r\n");
    bench.protocol = Protocol::Resp3;
    let pair = "*2\r\n$1\r\na\r\n$1\r\n1\r\n";
    assert_eq!(bench.run("HRANDFIELD h 3 WITHVALUES"), format!("*1\r\n{pair}"));
    assert_eq!(bench.run("HRANDFIELD h -2 WITHVALUES"), format!("*2\r\n{pair}{pair}"));
    assert_eq!(bench.run("HRANDFIELD h 3"), "*1\r\n$1\r\na\r\n");
    for (command, error) in [
        ("HRANDFIELD h x", "ERR value is not an integer or out of range"),
        ("HRANDFIELD h 1 FOO", "ERR syntax error"),
        ("HRANDFIELD h 1 WITHVALUES FOO", "ERR syntax error"),
        ("HRANDFIELD h -9223372036854770000 WITHVALUES", "ERR value is out of range"),
        (
            "HRANDFIELD h -9223372036854775808",
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ),
    ] {
        assert_eq!(bench.run(command), format!("-{error}\r\n"), "{command}");
    }
}

#[test]
fn scans_return_fields_with_their_values() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("HSCAN absent 0 NOVALUES"), "*2\r\n$1\r\n0\r\n*0\r\n");
    bench.run("HSET p a 1 b 2");
    assert_eq!(bench.run("HSCAN p 0 MATCH b"), "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n");
    assert_eq!(bench.run("HSCAN p 0 NOVALUES"), "-ERR syntax error\r\n");
    fill(&mut bench, "h", 1000);
    let (mut cursor, mut found) = ("0".to_owned(), BTreeMap::new());
    loop {
        let reply = bulks(&bench.run(&format!("HSCAN h {cursor} COUNT 30")));
        cursor = reply[0].clone();
        found.extend(pairs(&reply[1..]));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found, pairs(&bulks(&bench.run("HGETALL h"))));
}
