//! SORT where its keys and those that BY and GET make up lie on several shards.

mod support;

use std::thread;

use support::{Client, Server, Value};

const ELEMENTS: usize = 40;

fn fill(client: &mut Client, key: &str) {
    for number in 0..ELEMENTS {
        let element = (number * 7 % ELEMENTS).to_string();
        client.call(&["RPUSH", key, &element]);
        client.call(&["SET", &format!("weight:{element}"), &(ELEMENTS - number * 7 % ELEMENTS).to_string()]);
        client.call(&[
            "HSET",
            &format!("object:{element}"),
            "name",
            &format!("name {element}"),
            "other",
            "x",
        ]);
    }
}

fn bulks(texts: impl Iterator<Item = String>) -> Vec<Value> {
    texts.map(Value::bulk).collect()
}

#[test]
fn patterns_reach_keys_of_every_shard() {
    for shards in [1, 2, 3] {
        let server = Server::with_shards(shards);
        let mut client = server.client();
        // The shards of the key and of the client differ in some of these.
        for key in ["a", "b", "c", "d", "e"] {
            fill(&mut client, key);
            let sorted = client.call(&["SORT", key, "BY", "weight:*", "GET", "#", "GET", "object:*->name"]);
            let expected = (0..ELEMENTS).rev().flat_map(|n| [n.to_string(), format!("name {n}")]);
            assert_eq!(sorted.elements(), bulks(expected), "{key} on {shards} shards");
            let sorted =
                client.call(&["SORT_RO", key, "LIMIT", "3", "2", "GET", "weight:*", "GET", "none:*"]);
            let null = client.call(&["GET", "none"]);
            let expected = [Value::bulk("37"), null.clone(), Value::bulk("36"), null];
            assert_eq!(sorted.elements(), expected);
            for destination in ["x", "y", "z", key] {
                client.call(&["SET", destination, "replaced"]);
                fill_again_if(&mut client, key, destination);
                let stored = client.call(&[
                    "SORT",
                    key,
                    "BY",
                    "object:*->name",
                    "ALPHA",
                    "LIMIT",
                    "0",
                    "2",
                    "STORE",
                    destination,
                ]);
                assert_eq!(stored.integer(), 2);
                let found = client.call(&["LRANGE", destination, "0", "-1"]);
                assert_eq!(found.elements(), bulks(["0", "1"].map(str::to_owned).into_iter()));
                let gone = client.call(&["SORT", "none", "BY", "weight:*", "STORE", destination]);
                assert_eq!((gone.integer(), client.call(&["EXISTS", destination]).integer()), (0, 0));
            }
        }
    }
}

fn fill_again_if(client: &mut Client, key: &str, destination: &str) {
    if key == destination {
        client.call(&["DEL", key]);
        fill(client, key);
    }
}

#[test]
fn in_a_transaction_it_sees_what_was_done_before() {
    for shards in [1, 3] {
        let server = Server::with_shards(shards);
        let mut client = server.client();
        client.call(&["RPUSH", "l", "1", "2", "3"]);
        client.call(&["MULTI"]);
        for (key, weight) in [("w1", "3"), ("w2", "1"), ("w3", "2")] {
            client.call(&["SET", key, weight]);
        }
        client.call(&["SORT", "l", "BY", "w*", "STORE", "d"]);
        client.call(&["SET", "w1", "0"]);
        client.call(&["LRANGE", "d", "0", "-1"]);
        client.call(&["SORT", "l", "BY", "w*"]);
        let replies = client.call(&["EXEC"]);
        let replies = replies.elements();
        assert_eq!(replies[5].elements(), ["2", "3", "1"].map(Value::bulk));
        assert_eq!(replies[6].elements(), ["1", "2", "3"].map(Value::bulk));
    }
}

/// What MSET changes on several shards at once is never seen half done.
#[test]
fn no_change_comes_between_the_keys_that_it_reads() {
    let server = Server::with_shards(3);
    let mut client = server.client();
    let keys: Vec<String> = (0..8).map(|n| format!("v:{n}")).collect();
    let set = |client: &mut Client, value: &str| {
        let mut args = vec!["MSET"];
        keys.iter().for_each(|key| args.extend([key.as_str(), value]));
        assert!(client.call(&args).is_ok());
    };
    set(&mut client, "0");
    for n in 0..8 {
        client.call(&["RPUSH", "l", &n.to_string()]);
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = server.client();
            for round in 0..300 {
                set(&mut writer, &round.to_string());
            }
        });
        for _ in 0..300 {
            let seen = client.call(&["SORT", "l", "BY", "nosort", "GET", "v:*"]);
            let seen = seen.elements();
            assert!(seen.iter().all(|value| *value == seen[0]), "{seen:?}");
        }
    });
}
