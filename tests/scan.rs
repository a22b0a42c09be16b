//! SCAN over several shards: a database of few keys is walked in one step, as clients expect; a larger one shard by shard.

mod support;

use std::collections::BTreeSet;

use support::{Client, Server, Value};

const SHARDS: [usize; 4] = [1, 2, 3, 4];

/// The cursor and the keys of a reply.
fn cursor_and_keys(reply: &Value) -> (String, Vec<String>) {
    let [cursor, keys] = reply.elements() else { panic!("{reply:?}") };
    (cursor.text(), keys.elements().iter().map(Value::text).collect())
}

fn fill(client: &mut Client, keys: usize) -> BTreeSet<String> {
    let names: BTreeSet<String> = (0..keys).map(|number| format!("key:{number}")).collect();
    for name in &names {
        assert!(client.call(&["SET", name, "v"]).is_ok());
    }
    names
}

#[test]
fn few_keys_are_all_found_in_one_step() {
    for shards in SHARDS {
        let server = Server::with_shards(shards);
        let mut client = server.client();
        assert_eq!(cursor_and_keys(&client.call(&["SCAN", "0"])), ("0".to_owned(), vec![]));
        let names = fill(&mut client, 9);
        let whole = |reply: &Value| {
            let (cursor, keys) = cursor_and_keys(reply);
            assert_eq!(keys.len(), names.len(), "{shards} shards");
            assert_eq!((cursor.as_str(), keys.into_iter().collect::<BTreeSet<_>>()), ("0", names.clone()));
        };
        whole(&client.call(&["SCAN", "0"]));
        whole(&client.call(&["SCAN", "0", "MATCH", "key:*", "COUNT", "9", "TYPE", "string"]));
        client.call(&["MULTI"]);
        client.call(&["SCAN", "0"]);
        whole(&client.call(&["EXEC"]).elements()[0]);
        whole(&client.call(&["EVAL", "return redis.call('SCAN', '0')", "0"]));
        let one = client.call(&["SCAN", "0", "MATCH", "key:3"]);
        assert_eq!(cursor_and_keys(&one), ("0".to_owned(), vec!["key:3".to_owned()]));
        assert_eq!(client.call(&["SCAN", "0", "COUNT", "0"]), Value::Error("ERR syntax error".into()));
        let calls = client.call(&["INFO", "commandstats"]).text();
        assert!(calls.contains("cmdstat_scan:calls=7,"), "each counts once: {calls}");
    }
}

#[test]
fn a_walk_over_more_keys_than_a_step_finds_them_all() {
    for shards in SHARDS {
        let server = Server::with_shards(shards);
        let mut client = server.client();
        let names = fill(&mut client, 2_500);
        for count in ["10", "1000", "2499", "2500", "100000"] {
            let (mut found, mut cursor) = (BTreeSet::new(), "0".to_owned());
            for _ in 0..2_500 {
                let (next, keys) = cursor_and_keys(&client.call(&["SCAN", cursor.as_str(), "COUNT", count]));
                found.extend(keys);
                cursor = next;
                if cursor == "0" {
                    break;
                }
            }
            assert_eq!((cursor.as_str(), &found), ("0", &names), "{shards} shards, COUNT {count}");
        }
    }
}
