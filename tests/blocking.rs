//! Blocking commands: who is served, with what, in which order, and how a wait ends otherwise. With keys of one shard and of
//! several.

mod support;

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::{name_on, Client, Random, Server, Value};

const SHARDS: [usize; 3] = [1, 2, 4];
/// Long enough for a reply that must not come to come.
const SILENCE: Duration = Duration::from_millis(60);
const PATIENCE: Duration = Duration::from_secs(10);

/// For each number of shards a server, and four keys each: all on one shard, and as far apart as can be.
fn everywhere(options: &[&str], test: impl Fn(&Server, [&str; 4])) {
    for shards in SHARDS {
        let count = shards.to_string();
        let server = Server::start(&[&["--shards", &count], options].concat());
        for spread in [0, 1] {
            let keys = [0, 1, 2, 3].map(|number| name_on(number * spread, shards, number));
            let keys = [0, 1, 2, 3].map(|number: usize| keys[number].as_str());
            eprintln!("{shards} shards, keys {keys:?}");
            test(&server, keys);
            let mut client = server.client();
            wait_for_blocked(&mut client, 0);
            assert!(client.call(&["FLUSHALL"]).is_ok());
            if shards == 1 {
                break;
            }
        }
    }
}

fn info(client: &mut Client, section: &str) -> HashMap<String, String> {
    let text = client.call(&["INFO", section]).text();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn wait_for_blocked(client: &mut Client, clients: usize) {
    let wanted = clients.to_string();
    wait_for("blocked clients", || info(client, "clients")["blocked_clients"] == wanted);
}

/// Clients that wait, one after the other, in these commands.
fn blocked(server: &Server, commands: &[&[&str]]) -> Vec<Client> {
    let mut looking = server.client();
    let before: usize = info(&mut looking, "clients")["blocked_clients"].parse().unwrap();
    let mut clients = Vec::new();
    for command in commands {
        let mut client = server.client();
        client.send(command);
        clients.push(client);
        wait_for_blocked(&mut looking, before + clients.len());
    }
    clients
}

fn assert_silent(client: &mut Client) {
    client.set_timeout(SILENCE);
    match client.try_receive() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        other => panic!("it waits, but was told {other:?}"),
    }
    client.set_timeout(PATIENCE);
}

fn pair(key: &str, element: &str) -> Value {
    Value::Array(vec![Value::bulk(key), Value::bulk(element)])
}

fn strings(values: &[&str]) -> Value {
    Value::Array(values.iter().map(Value::bulk).collect())
}

#[test]
fn who_waited_first_is_served_first() {
    everywhere(&[], |server, [a, b, ..]| {
        let both: &[&str] = &["BLPOP", a, b, "0"];
        let one: &[&str] = &["BLPOP", b, "0"];
        let mut waiting = blocked(server, &[both, one, both, one]);
        let mut client = server.client();
        let pushes = ["1", "2", "3", "4"].map(|element| vec!["RPUSH", b, element]);
        client.pipeline(&pushes);
        for (waiter, element) in waiting.iter_mut().zip(["1", "2", "3", "4"]) {
            assert_eq!(waiter.receive(), pair(b, element));
        }
        assert_eq!(client.call(&["LLEN", b]), Value::Integer(0));
    });
}

#[test]
fn a_push_of_several_elements_is_seen_whole() {
    everywhere(&[], |server, [a, b, ..]| {
        let mut waiting = blocked(server, &[&["BLPOP", a, b, "0"], &["BRPOP", b, a, "0"]]);
        let mut client = server.client();
        assert_eq!(client.call(&["LPUSH", a, "1", "2", "3"]), Value::Integer(3));
        assert_eq!(waiting[0].receive(), pair(a, "3"));
        assert_eq!(waiting[1].receive(), pair(a, "1"));
        assert_eq!(client.call(&["LRANGE", a, "0", "-1"]), strings(&["2"]));
    });
}

#[test]
fn what_a_transaction_leaves_is_what_is_served() {
    everywhere(&[], |server, [a, b, c, _]| {
        let mut client = server.client();
        let exec = |client: &mut Client, commands: &[&[&str]]| {
            client.call(&["MULTI"]);
            for command in commands {
                assert_eq!(client.call(command), Value::Simple("QUEUED".into()));
            }
            client.call(&["EXEC"])
        };
        // Pushed and deleted again: nobody saw it.
        let mut waiting = blocked(server, &[&["BLPOP", a, b, "0"]]);
        exec(&mut client, &[&["RPUSH", a, "x"], &["DEL", a], &["SET", c, "1"]]);
        assert_silent(&mut waiting[0]);
        // Two keys at once: the command looks in the order of its arguments, whichever came first.
        let done = exec(&mut client, &[&["RPUSH", b, "1"], &["RPUSH", a, "2"], &["LLEN", a], &["LLEN", b]]);
        assert_eq!(done.elements().len(), 4);
        assert_eq!(done.elements()[2], Value::Integer(1), "nobody is served inside EXEC");
        assert_eq!(waiting[0].receive(), pair(a, "2"));
        assert_eq!(client.call(&["LRANGE", b, "0", "-1"]), strings(&["1"]));
        // A blocked client comes before whoever sends a command after EXEC.
        client.call(&["DEL", a, b]);
        let mut waiting = blocked(server, &[&["BLPOP", a, "0"]]);
        let push =
            vec![vec!["MULTI"], vec!["RPUSH", a, "3"], vec!["SET", c, "2"], vec!["EXEC"], vec!["LPOP", a]];
        let replies = client.pipeline(&push);
        assert!(replies[4].is_null(), "{replies:?}");
        assert_eq!(waiting[0].receive(), pair(a, "3"));
    });
}

#[test]
fn nothing_blocks_inside_a_transaction() {
    everywhere(&[], |server, [a, b, ..]| {
        let mut client = server.client();
        client.call(&["MULTI"]);
        for command in [
            &["BLPOP", a, b, "0"][..],
            &["BRPOP", a, "0"],
            &["BLMOVE", a, b, "LEFT", "LEFT", "0"],
            &["BRPOPLPUSH", a, b, "0"],
            &["WAIT", "1", "0"],
        ] {
            client.call(command);
        }
        let done = client.call(&["EXEC"]);
        let expected =
            [Value::NullArray, Value::NullArray, Value::NullBulk, Value::NullBulk, Value::Integer(0)];
        assert_eq!(done.elements(), expected);
    });
}

#[test]
fn a_moved_element_serves_the_next_one_in_chains_and_in_circles() {
    everywhere(&[], |server, [a, b, c, _]| {
        let mut client = server.client();
        let mut chain = blocked(
            server,
            &[&["BLPOP", c, "0"], &["BLMOVE", b, c, "LEFT", "RIGHT", "0"], &["BRPOPLPUSH", a, b, "0"]],
        );
        client.call(&["RPUSH", a, "x"]);
        assert_eq!(chain[2].receive(), Value::bulk("x"));
        assert_eq!(chain[1].receive(), Value::bulk("x"));
        assert_eq!(chain[0].receive(), pair(c, "x"));
        let mut circle = blocked(
            server,
            &[&["BLMOVE", a, b, "LEFT", "LEFT", "0"], &["BLMOVE", b, a, "LEFT", "LEFT", "0"]],
        );
        client.call(&["RPUSH", b, "y"]);
        assert_eq!(circle[1].receive(), Value::bulk("y"));
        assert_eq!(circle[0].receive(), Value::bulk("y"));
        wait_for_blocked(&mut client, 0);
        assert_eq!(client.call(&["LRANGE", b, "0", "-1"]), strings(&["y"]));
        // A list may also be moved onto itself.
        let mut itself = blocked(server, &[&["BLMOVE", c, c, "LEFT", "RIGHT", "0"]]);
        client.call(&["RPUSH", c, "1", "2"]);
        assert_eq!(itself[0].receive(), Value::bulk("1"));
        assert_eq!(client.call(&["LRANGE", c, "0", "-1"]), strings(&["2", "1"]));
    });
}

#[test]
fn a_key_may_become_ready_in_any_way() {
    everywhere(&[], |server, [a, b, c, d]| {
        let mut client = server.client();
        let serve = |client: &mut Client, commands: &[&[&str]]| {
            client.call(&["RPUSH", c, "x"]);
            let mut waiting = blocked(server, &[&["BLPOP", a, b, "0"]]);
            for command in commands {
                assert!(!client.call(command).is_error(), "{command:?}");
            }
            assert_eq!(waiting[0].receive(), pair(a, "x"), "{commands:?}");
            client.call(&["FLUSHALL"]);
        };
        serve(&mut client, &[&["RENAME", c, a]]);
        serve(&mut client, &[&["COPY", c, a]]);
        serve(&mut client, &[&["RPOPLPUSH", c, a]]);
        serve(&mut client, &[&["LMOVE", c, a, "LEFT", "LEFT"]]);
        serve(&mut client, &[&["SET", a, "text"], &["RENAME", c, a]]);
        serve(&mut client, &[&["SET", a, "text", "PX", "1"], &["DEL", a], &["RPUSH", a, "x"]]);
        serve(&mut client, &[&["SELECT", "1"], &["RPUSH", a, "x"], &["MOVE", a, "0"], &["SELECT", "0"]]);
        serve(&mut client, &[&["SELECT", "1"], &["RPUSH", a, "x"], &["SWAPDB", "0", "1"], &["SELECT", "0"]]);
        // Of the wrong type, nobody is woken.
        let mut waiting = blocked(server, &[&["BLPOP", a, d, "0"]]);
        client.call(&["SET", a, "text"]);
        client.call(&["APPEND", a, "more"]);
        assert_silent(&mut waiting[0]);
        client.call(&["RPUSH", d, "y"]);
        assert!(waiting[0].receive().text().starts_with("WRONGTYPE"), "the command looks at all of its keys");
    });
}

#[test]
fn what_sort_stores_makes_a_key_ready() {
    everywhere(&[], |server, [a, b, c, _]| {
        let mut client = server.client();
        client.call(&["RPUSH", c, "2", "1"]);
        let mut waiting = blocked(server, &[&["BLPOP", a, b, "0"]]);
        assert_eq!(client.call(&["SORT", c, "STORE", a]), Value::Integer(2));
        assert_eq!(waiting[0].receive(), pair(a, "1"));
    });
}

#[test]
fn a_wait_is_for_a_key_of_one_database() {
    everywhere(&[], |server, [a, b, ..]| {
        let mut waiting = server.client();
        waiting.call(&["SELECT", "3"]);
        waiting.send(&["BLPOP", a, b, "0"]);
        let mut client = server.client();
        wait_for_blocked(&mut client, 1);
        client.call(&["RPUSH", b, "0"]);
        assert_silent(&mut waiting);
        client.call(&["SELECT", "3"]);
        client.call(&["RPUSH", b, "3"]);
        assert_eq!(waiting.receive(), pair(b, "3"));
        client.call(&["SELECT", "0"]);
        assert_eq!(client.call(&["LLEN", b]), Value::Integer(1));
    });
}

#[test]
fn a_timeout_is_a_null_neither_early_nor_late() {
    everywhere(&[], |server, [a, b, ..]| {
        // A machine under load may delay anything, but not each of several times, and nothing may come early.
        let mut client = server.client();
        for (command, wanted_ms) in [
            (&["BLPOP", a, b, "0.05"][..], 50.0),
            (&["BRPOP", a, "0.0201"], 21.0),
            (&["BLMOVE", a, b, "LEFT", "LEFT", "0.03"], 30.0),
            (&["WAIT", "1", "40"], 40.0),
        ] {
            let mut least_ms = f64::MAX;
            for _ in 0..20 {
                let started = Instant::now();
                let reply = client.call(command);
                let took_ms = started.elapsed().as_secs_f64() * 1000.0;
                let expected = if command[0] == "WAIT" { Value::Integer(0) } else { Value::NullArray };
                assert_eq!(reply, expected, "{command:?}");
                assert!(took_ms >= wanted_ms, "{command:?} came after {took_ms} ms");
                least_ms = least_ms.min(took_ms);
                if least_ms < wanted_ms + 2.5 {
                    break;
                }
            }
            assert!(least_ms < wanted_ms + 2.5, "{command:?} took {least_ms} ms at best");
        }
        let mut client3 = server.client3();
        assert_eq!(client3.call(&["BLPOP", a, b, "0.001"]), Value::Null);
        assert_eq!(client3.call(&["BLMOVE", a, b, "LEFT", "LEFT", "0.001"]), Value::Null);
        for (timeout, error) in [
            ("-1", "ERR timeout is negative"),
            ("x", "ERR timeout is not a float or out of range"),
            ("1e30", "ERR timeout is out of range"),
        ] {
            assert_eq!(client.call(&["BLPOP", a, b, timeout]), Value::Error(error.to_owned()));
        }
        // What came too late for one is there for the next.
        client.call(&["RPUSH", a, "late"]);
        assert_eq!(client.call(&["BLPOP", a, b, "1"]), pair(a, "late"));
        assert_eq!(info(&mut client, "clients")["clients_in_timeout_table"], "0");
    });
}

#[test]
fn waiting_costs_no_cpu() {
    let server = Server::with_shards(1);
    let _waiting =
        blocked(&server, &[&["BLPOP", "a", "b", "0"], &["BLPOP", "a", "60"], &["WAIT", "1", "90000"]]);
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    std::thread::sleep(Duration::from_millis(300));
    let before = ticks();
    std::thread::sleep(Duration::from_secs(1));
    assert!(ticks() - before <= 3, "{} hundredths of a second", ticks() - before);
}

#[test]
fn client_unblock_ends_a_wait_as_it_is_told_to() {
    everywhere(&[], |server, [a, b, ..]| {
        let mut client = server.client();
        for command in
            [&["BLPOP", a, b, "0"][..], &["BLMOVE", a, b, "LEFT", "LEFT", "0"], &["WAIT", "1", "0"]]
        {
            let mut waiting = server.client();
            let id = waiting.call(&["CLIENT", "ID"]).text();
            assert_eq!(client.call(&["CLIENT", "UNBLOCK", &id]), Value::Integer(0), "it waits for nothing");
            for (reason, expected) in [
                (&[][..], Value::NullArray),
                (&["timeout"], Value::NullArray),
                (&["ERROR"], Value::Error("UNBLOCKED client unblocked via CLIENT UNBLOCK".to_owned())),
            ] {
                waiting.send(command);
                wait_for_blocked(&mut client, 1);
                let unblock = [&["CLIENT", "UNBLOCK", &id][..], reason].concat();
                assert_eq!(client.call(&unblock), Value::Integer(1));
                let is_wait = command[0] == "WAIT" && expected == Value::NullArray;
                assert_eq!(
                    waiting.receive(),
                    if is_wait { Value::Integer(0) } else { expected },
                    "{command:?}"
                );
                assert_eq!(client.call(&unblock), Value::Integer(0));
            }
            assert_eq!(waiting.call(&["PING"]), Value::Simple("PONG".into()));
        }
        client.call(&["RPUSH", a, "x"]);
        assert_eq!(client.call(&["LLEN", a]), Value::Integer(1), "who was unblocked gets nothing");
        // From inside a transaction, too.
        client.call(&["DEL", a]);
        let mut waiting = server.client();
        let id = waiting.call(&["CLIENT", "ID"]).text();
        waiting.send(&["BLPOP", a, b, "0"]);
        wait_for_blocked(&mut client, 1);
        let requests = [vec!["MULTI"], vec!["CLIENT", "UNBLOCK", &id], vec!["RPUSH", a, "x"], vec!["EXEC"]];
        let replies = client.pipeline(&requests);
        assert_eq!(replies[3], Value::Array(vec![Value::Integer(1), Value::Integer(1)]));
        assert_eq!(waiting.receive(), Value::NullArray);
    });
}

#[test]
fn a_client_that_goes_waits_no_more() {
    everywhere(&[], |server, [a, b, c, _]| {
        let mut client = server.client();
        let both: &[&str] = &["BLPOP", a, b, "0"];
        let mut waiting = blocked(server, &[both, both, both, both, &["WAIT", "1", "0"]]);
        let id = {
            let list = client.call(&["CLIENT", "LIST"]).text();
            let line =
                list.lines().find(|line| line.contains(" flags=b ")).expect("someone waits").to_owned();
            line.split_whitespace().next().and_then(|field| field.strip_prefix("id=")).unwrap().to_owned()
        };
        assert_eq!(client.call(&["CLIENT", "KILL", "ID", &id]), Value::Integer(1));
        wait_for_blocked(&mut client, 4);
        drop(waiting.remove(1));
        wait_for_blocked(&mut client, 3);
        // A half-closed connection counts as gone, too: nobody will use the element.
        waiting[1].stream.shutdown(std::net::Shutdown::Write).unwrap();
        wait_for_blocked(&mut client, 2);
        drop(waiting.pop());
        wait_for_blocked(&mut client, 1);
        client.call(&["RPUSH", b, "x"]);
        assert_eq!(waiting[2].receive(), pair(b, "x"));
        wait_for_blocked(&mut client, 0);
        wait_for("queues of keys", || info(&mut client, "clients")["total_blocking_keys"] == "0");
        // Gone with its request still under way: nobody is served, and nothing is lost.
        drop(waiting);
        let received = |client: &mut Client| -> u64 {
            info(client, "stats")["total_connections_received"].parse().expect("a number")
        };
        let before = received(&mut client);
        for _ in 0..50 {
            let mut hasty = server.client();
            hasty.send(&["BLPOP", b, c, "0"]);
            drop(hasty);
        }
        // One that has not been noticed yet would be served, as in Redis.
        wait_for("hasty clients", || received(&mut client) == before + 50);
        wait_for("their end", || info(&mut client, "clients")["connected_clients"] == "1");
        wait_for_blocked(&mut client, 0);
        wait_for("queues of keys", || info(&mut client, "clients")["total_blocking_keys"] == "0");
        client.call(&["RPUSH", c, "y"]);
        assert_eq!(client.call(&["LPOP", c]), Value::bulk("y"));
    });
}

#[test]
fn requests_behind_a_blocked_one_wait_for_it() {
    everywhere(&[], |server, [a, b, c, d]| {
        let mut client = server.client();
        let mut waiting = server.client();
        let requests = [
            vec!["SET", d, "before"],
            vec!["GET", d],
            vec!["BLPOP", a, b, "0"],
            vec!["GET", c],
            vec!["BLPOP", a, b, "0"],
            vec!["PING"],
        ];
        let bytes: Vec<u8> = requests.iter().flat_map(|request| Client::encode(request)).collect();
        waiting.send_raw(&bytes);
        wait_for_blocked(&mut client, 1);
        assert!(waiting.receive().is_ok());
        assert_eq!(waiting.receive(), Value::bulk("before"));
        assert_silent(&mut waiting);
        client.call(&["SET", c, "now"]);
        client.call(&["RPUSH", a, "1"]);
        assert_eq!(waiting.receive(), pair(a, "1"));
        assert_eq!(waiting.receive(), Value::bulk("now"), "it ran after the wait");
        wait_for_blocked(&mut client, 1);
        client.call(&["RPUSH", b, "2"]);
        assert_eq!(waiting.receive(), pair(b, "2"));
        assert_eq!(waiting.receive(), Value::Simple("PONG".into()));
    });
}

#[test]
fn a_client_that_wants_no_replies_is_served_all_the_same() {
    everywhere(&[], |server, [a, b, ..]| {
        let mut client = server.client();
        let mut waiting = server.client();
        waiting.send(&["CLIENT", "REPLY", "OFF"]);
        waiting.send(&["BLPOP", a, b, "0"]);
        waiting.send(&["BLPOP", a, b, "0.01"]);
        waiting.send(&["CLIENT", "REPLY", "ON"]);
        wait_for_blocked(&mut client, 1);
        client.call(&["RPUSH", b, "x"]);
        assert!(waiting.receive().is_ok());
        assert_eq!(client.call(&["LLEN", b]), Value::Integer(0));
    });
}

#[test]
fn an_element_that_another_one_took_first_costs_nobody_their_place() {
    everywhere(&[], |server, [a, b, c, _]| {
        let mut client = server.client();
        let mut waiting =
            blocked(server, &[&["BLPOP", a, b, "0"], &["BLPOP", b, c, "0"], &["BLPOP", b, "0"]]);
        let mut served = 0;
        for _ in 0..20 {
            // Taken by the same pipeline, before those who wait with keys on several shards can have it.
            let replies = client.pipeline(&[vec!["RPUSH", b, "x"], vec!["LPOP", b]]);
            if replies[1].is_null() {
                assert_eq!(waiting[served].receive(), pair(b, "x"));
                served += 1;
            }
            if served == waiting.len() {
                return;
            }
        }
        // Nobody of them was served, as a rule; now they are, in order.
        for element in &["1", "2", "3"][served..] {
            client.call(&["RPUSH", b, element]);
        }
        for (waiter, element) in waiting.iter_mut().zip(["1", "2", "3"]).skip(served) {
            assert_eq!(waiter.receive(), pair(b, element));
        }
    });
}

#[test]
fn when_woken_a_command_may_still_fail() {
    everywhere(&[], |server, [a, b, c, _]| {
        let mut client = server.client();
        client.call(&["SET", b, "text"]);
        let mut waiting = blocked(server, &[&["BLMOVE", a, b, "LEFT", "LEFT", "0"], &["BLPOP", a, c, "0"]]);
        client.call(&["RPUSH", a, "x"]);
        assert!(waiting[0].receive().text().starts_with("WRONGTYPE"));
        assert_eq!(waiting[1].receive(), pair(a, "x"), "the next one gets what the first one cannot have");
        // Memory may have run out: who only takes is served, who also adds is not.
        let mut waiting = blocked(server, &[&["BLMOVE", a, c, "LEFT", "LEFT", "0"], &["BLPOP", a, c, "0"]]);
        client.call(&["MULTI"]);
        client.call(&["RPUSH", a, "y"]);
        client.call(&["CONFIG", "SET", "maxmemory", "1"]);
        client.call(&["EXEC"]);
        let refused = waiting[0].receive();
        client.call(&["CONFIG", "SET", "maxmemory", "0"]);
        assert!(refused.text().starts_with("OOM "), "{refused:?}");
        assert_eq!(waiting[1].receive(), pair(a, "y"));
    });
}

#[test]
fn a_blocked_command_is_counted_and_shown_once() {
    everywhere(&[], |server, [a, b, ..]| {
        let mut client = server.client();
        client.call(&["CONFIG", "RESETSTAT"]);
        let mut monitor = server.client();
        assert!(monitor.call(&["MONITOR"]).is_ok());
        let mut waiting = blocked(server, &[&["BLPOP", a, b, "0"], &["BLPOP", b, a, "0"]]);
        let calls = |client: &mut Client| info(client, "commandstats").get("cmdstat_blpop").cloned();
        assert_eq!(calls(&mut client), None, "not before it ends");
        client.call(&["RPUSH", a, "1", "2"]);
        waiting.iter_mut().for_each(|waiter| drop(waiter.receive()));
        assert_eq!(server.client().call(&["BLPOP", a, b, "0.001"]), Value::NullArray);
        let stats = calls(&mut client).expect("it was called");
        assert!(stats.starts_with("calls=3,"), "{stats}");
        client.call(&["ECHO", "the end"]);
        let mut shown = 0;
        loop {
            let line = monitor.receive().text();
            shown += usize::from(line.contains("\"BLPOP\""));
            if line.contains("the end") {
                break;
            }
        }
        assert_eq!(shown, 3);
    });
}

#[test]
fn what_a_blocked_client_takes_changes_the_key_for_watchers() {
    everywhere(&[], |server, [a, b, ..]| {
        let mut client = server.client();
        let mut waiting = blocked(server, &[&["BLPOP", a, b, "0"]]);
        // The push and the pop together leave the key as it was, but it did change.
        let mut watcher = server.client();
        watcher.call(&["WATCH", a]);
        client.call(&["RPUSH", a, "x"]);
        assert_eq!(waiting[0].receive(), pair(a, "x"));
        watcher.call(&["MULTI"]);
        watcher.call(&["PING"]);
        assert!(watcher.call(&["EXEC"]).is_null());
        // A client that watches may block, too.
        watcher.call(&["WATCH", b]);
        watcher.send(&["BLPOP", a, b, "0"]);
        wait_for_blocked(&mut client, 1);
        client.call(&["RPUSH", b, "y"]);
        assert_eq!(watcher.receive(), pair(b, "y"));
        watcher.call(&["MULTI"]);
        assert!(watcher.call(&["EXEC"]).is_null());
    });
}

#[test]
fn sorted_sets_are_waited_for_too() {
    everywhere(&[], |server, [a, b, c, _]| {
        let mut client = server.client();
        let mut waiting = blocked(
            server,
            &[
                &["BZPOPMIN", a, b, "0"],
                &["BZPOPMAX", b, c, "0"],
                &["BZMPOP", "0", "2", a, b, "MAX", "COUNT", "2"],
                &["BZPOPMIN", b, "0.02"],
            ],
        );
        assert_eq!(waiting[3].receive(), Value::NullArray);
        client.call(&["ZADD", b, "1", "one", "2", "two", "3", "three", "4", "four"]);
        assert_eq!(waiting[0].receive(), strings(&[b, "one", "1"]));
        assert_eq!(waiting[1].receive(), strings(&[b, "four", "4"]));
        let rest = Value::Array(vec![strings(&["three", "3"]), strings(&["two", "2"])]);
        assert_eq!(waiting[2].receive(), Value::Array(vec![Value::bulk(b), rest]));
        assert_eq!(client.call(&["EXISTS", b]), Value::Integer(0));
        let mut waiting = blocked(server, &[&["BZPOPMIN", a, "0"]]);
        client.call(&["ZADD", b, "5", "five"]);
        client.call(&["ZUNIONSTORE", a, "2", b, c]);
        assert_eq!(waiting[0].receive(), strings(&[a, "five", "5"]));
        let mut client3 = server.client3();
        let popped = client3.call(&["BZPOPMIN", a, b, "0"]);
        assert_eq!(popped.elements(), [Value::bulk(b), Value::bulk("five"), Value::Double("5".into())]);
    });
}

/// The only entry of the only stream in a reply of XREAD: key, ID and fields.
fn entry(reply: &Value) -> (String, String, Vec<String>) {
    let [stream] = reply.elements() else { panic!("one stream: {reply:?}") };
    let [key, entries] = stream.elements() else { panic!("key and entries: {reply:?}") };
    let [entry] = entries.elements() else { panic!("one entry: {reply:?}") };
    let [id, fields] = entry.elements() else { panic!("ID and fields: {reply:?}") };
    (key.text(), id.text(), fields.elements().iter().map(Value::text).collect())
}

fn owned(key: &str, id: &str, fields: &[&str]) -> (String, String, Vec<String>) {
    (key.to_owned(), id.to_owned(), fields.iter().map(|field| (*field).to_owned()).collect())
}

#[test]
fn readers_of_a_stream_wait_for_entries_after_the_last_one_they_know() {
    everywhere(&[], |server, [a, b, c, _]| {
        let mut client = server.client();
        client.call(&["XADD", a, "5-0", "old", "1"]);
        let mut waiting = blocked(
            server,
            &[
                &["XREAD", "BLOCK", "0", "STREAMS", a, b, "$", "$"],
                &["XREAD", "COUNT", "1", "BLOCK", "20000", "STREAMS", a, b, "5-0", "0"],
                &["XREAD", "BLOCK", "0", "STREAMS", a, "7-0"],
                &["XREAD", "BLOCK", "20", "STREAMS", b, "$"],
            ],
        );
        assert_eq!(waiting[3].receive(), Value::NullArray, "its time is up");
        // Everybody gets an entry who wants it, and in one piece: reading takes nothing away.
        client.call(&["MULTI"]);
        client.call(&["XADD", a, "6-0", "f", "1"]);
        client.call(&["XADD", c, "6-0", "f", "1"]);
        client.call(&["EXEC"]);
        assert_eq!(entry(&waiting[0].receive()), owned(a, "6-0", &["f", "1"]));
        assert_eq!(entry(&waiting[1].receive()), owned(a, "6-0", &["f", "1"]));
        client.call(&["XADD", a, "7-0", "f", "2"]);
        assert_silent(&mut waiting[2]);
        client.call(&["XADD", a, "7-1", "f", "3"]);
        assert_eq!(entry(&waiting[2].receive()), owned(a, "7-1", &["f", "3"]));
        // What `$` stood for is kept, even when the stream goes and comes again.
        let mut waiting = blocked(server, &[&["XREAD", "BLOCK", "0", "STREAMS", a, b, "$", "$"]]);
        client.call(&["DEL", a]);
        client.call(&["XADD", a, "1-0", "f", "4"]);
        assert_silent(&mut waiting[0]);
        client.call(&["XADD", b, "1-0", "f", "5"]);
        assert_eq!(entry(&waiting[0].receive()), owned(b, "1-0", &["f", "5"]));
        // Without BLOCK nothing waits, and a null is the answer.
        assert_eq!(client.call(&["XREAD", "STREAMS", a, b, "9", "9"]), Value::NullArray);
    });
}

#[test]
fn consumers_of_a_group_share_the_entries_and_hear_of_its_end() {
    everywhere(&[], |server, [a, b, c, d]| {
        let mut client = server.client();
        let create = |client: &mut Client| {
            for key in [a, b] {
                client.call(&["DEL", key]);
                assert!(client.call(&["XGROUP", "CREATE", key, "g", "$", "MKSTREAM"]).is_ok());
            }
        };
        create(&mut client);
        let group =
            |consumer| ["XREADGROUP", "GROUP", "g", consumer, "BLOCK", "0", "STREAMS", a, b, ">", ">"];
        let mut waiting = blocked(server, &[&group("one"), &group("two")]);
        client.call(&["XADD", b, "1-0", "f", "1"]);
        assert_eq!(entry(&waiting[0].receive()), owned(b, "1-0", &["f", "1"]));
        assert_silent(&mut waiting[1]);
        client.call(&["XADD", a, "2-0", "f", "2"]);
        assert_eq!(entry(&waiting[1].receive()), owned(a, "2-0", &["f", "2"]));
        let pending = client.call(&["XPENDING", a, "g"]);
        assert_eq!(pending.elements()[0], Value::Integer(1));
        // Acknowledging wakes nobody; the end of the stream, or of the group, wakes all.
        let ways: [(&[&str], &str); 6] = [
            (&["DEL", a], "NOGROUP"),
            (&["XGROUP", "DESTROY", b, "g"], "NOGROUP"),
            (&["SET", a, "text"], "WRONGTYPE"),
            (&["RENAME", b, c], "NOGROUP"),
            (&["FLUSHALL"], "NOGROUP"),
            (&["PEXPIRE", b, "5"], "NOGROUP"),
        ];
        for (way, error) in ways {
            create(&mut client);
            let mut waiting = blocked(server, &[&group("one"), &group("two"), &["BLPOP", d, "0"]]);
            client.call(&["XACK", a, "g", "2-0"]);
            assert_silent(&mut waiting[0]);
            assert!(!client.call(way).is_error(), "{way:?}");
            for waiter in &mut waiting[..2] {
                assert!(waiter.receive().text().starts_with(error), "{way:?}");
            }
            assert_silent(&mut waiting[2]);
            drop(waiting);
            wait_for_blocked(&mut client, 0);
        }
    });
}

#[test]
fn clients_may_wait_for_a_key_of_different_types() {
    everywhere(&[], |server, [a, b, ..]| {
        let mut client = server.client();
        let mut waiting = blocked(
            server,
            &[&["BLPOP", a, b, "0"], &["BZPOPMIN", a, b, "0"], &["BLPOP", a, "0"], &["BZPOPMIN", a, "0"]],
        );
        client.call(&["ZADD", a, "1", "x", "2", "y"]);
        assert_eq!(waiting[1].receive(), strings(&[a, "x", "1"]));
        assert_eq!(waiting[3].receive(), strings(&[a, "y", "2"]));
        client.call(&["RPUSH", a, "x", "y"]);
        assert_eq!(waiting[0].receive(), pair(a, "x"));
        assert_eq!(waiting[2].receive(), pair(a, "y"));
    });
}

#[test]
fn a_pause_serves_nobody_and_stops_no_timeout() {
    everywhere(&[], |server, [a, b, ..]| {
        let mut client = server.client();
        let mut waiting = blocked(server, &[&["BLPOP", a, b, "0"], &["BLPOP", a, b, "0.1"]]);
        assert!(client.call(&["CLIENT", "PAUSE", "60000", "WRITE"]).is_ok());
        let mut pushing = server.client();
        pushing.send(&["RPUSH", b, "x"]);
        assert_silent(&mut waiting[0]);
        assert_eq!(waiting[1].receive(), Value::NullArray);
        assert!(client.call(&["CLIENT", "UNPAUSE"]).is_ok());
        assert_eq!(waiting[0].receive(), pair(b, "x"));
        assert_eq!(pushing.receive(), Value::Integer(1));
    });
}

#[test]
fn a_shutdown_does_not_wait_for_those_who_wait() {
    for shards in SHARDS {
        let mut server = Server::with_shards(shards);
        let keys: Vec<String> = (0..4).map(|number| name_on(number, shards, number)).collect();
        let mut waiting =
            blocked(&server, &[&["BLPOP", &keys[0], "0"], &["BLPOP", &keys[0], &keys[1], &keys[3], "0"]]);
        let started = Instant::now();
        server.client().send(&["SHUTDOWN", "NOSAVE"]);
        assert!(server.wait_for_end(PATIENCE).is_some());
        assert!(started.elapsed() < Duration::from_millis(900), "took {:?}", started.elapsed());
        for waiter in &mut waiting {
            assert!(waiter.try_receive().is_err(), "no element, no answer");
        }
    }
}

/// What the threads of the stress test share.
struct Stress {
    address: String,
    keys: Vec<String>,
    /// Producers and those that disturb go on until it is set.
    is_over: AtomicBool,
    /// Consumers that went without reading an answer: each may have taken an element with it.
    killed: AtomicUsize,
    /// Connections that wait, to be unblocked.
    ids: Mutex<Vec<String>>,
}

impl Stress {
    fn some_keys(&self, random: &mut Random, most: usize) -> Vec<&str> {
        let count = 1 + random.below(most);
        (0..count).map(|_| random.pick(&self.keys).as_str()).collect()
    }

    /// Pushes numbered elements in many ways; returns how many.
    fn produce(&self, name: usize, mut random: Random) -> usize {
        let mut client = Client::connect(&self.address);
        let mut made = 0;
        let mut next = || {
            made += 1;
            format!("{name}-{made}")
        };
        while !self.is_over.load(Ordering::Relaxed) {
            match random.below(4) {
                0 => drop(client.call(&["RPUSH", self.some_keys(&mut random, 1)[0], &next()])),
                1 => drop(client.call(&[
                    "LPUSH",
                    self.some_keys(&mut random, 1)[0],
                    &next(),
                    &next(),
                    &next(),
                ])),
                2 => {
                    let keys = self.some_keys(&mut random, 3);
                    let pushes: Vec<Vec<String>> =
                        keys.iter().map(|key| vec!["RPUSH".into(), (*key).to_owned(), next()]).collect();
                    client.pipeline(&pushes);
                }
                _ => {
                    client.call(&["MULTI"]);
                    for key in self.some_keys(&mut random, 3) {
                        client.call(&["RPUSH", key, &next()]);
                    }
                    assert!(!client.call(&["EXEC"]).is_error());
                }
            }
            if random.below(3) == 0 {
                std::thread::sleep(Duration::from_micros(random.below(2000) as u64));
            }
        }
        made
    }

    /// Takes elements until it is given one that says to stop.
    fn consume(&self, mut random: Random) -> Vec<String> {
        let mut client = Client::connect(&self.address);
        self.ids.lock().unwrap().push(client.call(&["CLIENT", "ID"]).text());
        let mut taken = Vec::new();
        loop {
            let mut command = vec![*random.pick(&["BLPOP", "BRPOP"])];
            let timeout = if self.is_over.load(Ordering::Relaxed) {
                command.extend(self.keys.iter().map(String::as_str));
                "0"
            } else {
                command.extend(self.some_keys(&mut random, 4));
                random.pick(&["0.001", "0.002", "0.01", "0.5"])
            };
            command.push(timeout);
            match client.call(&command) {
                Value::NullArray => {}
                Value::Error(text) if text.starts_with("UNBLOCKED") => {}
                Value::Array(pair) if pair[1].text() == "stop" => return taken,
                Value::Array(pair) => taken.push(pair[1].text()),
                other => panic!("{command:?}: {other:?}"),
            }
        }
    }

    /// Moves elements from key to key.
    fn transfer(&self, mut random: Random) {
        let mut client = Client::connect(&self.address);
        while !self.is_over.load(Ordering::Relaxed) {
            let (from, to) = (self.some_keys(&mut random, 1)[0], self.some_keys(&mut random, 1)[0]);
            let moved = client.call(&["BLMOVE", from, to, "LEFT", "RIGHT", "0.003"]);
            assert!(!moved.is_error(), "{moved:?}");
        }
    }

    /// Ends the waits of others.
    fn unblock(&self, mut random: Random) {
        let mut client = Client::connect(&self.address);
        while !self.is_over.load(Ordering::Relaxed) {
            let ids = self.ids.lock().unwrap().clone();
            if !ids.is_empty() {
                let reason = *random.pick(&["TIMEOUT", "ERROR"]);
                let done = client.call(&["CLIENT", "UNBLOCK", random.pick(&ids).as_str(), reason]);
                assert!(!done.is_error(), "{done:?}");
            }
            std::thread::sleep(Duration::from_micros(random.below(3000) as u64));
        }
    }

    /// Begins to wait, and goes.
    fn go(&self, mut random: Random) {
        while !self.is_over.load(Ordering::Relaxed) {
            let mut victim = Client::connect(&self.address);
            victim.send(&[&["BLPOP"], &*self.some_keys(&mut random, 4), &["0"]].concat());
            std::thread::sleep(Duration::from_micros(random.below(3000) as u64));
            self.killed.fetch_add(1, Ordering::Relaxed);
            drop(victim);
        }
    }
}

#[test]
fn every_element_is_delivered_once_whatever_happens_to_those_who_wait() {
    const PRODUCERS: usize = 3;
    const CONSUMERS: usize = 8;
    let seconds = support::setting("BLOCKING_STRESS_S", 2);
    let seed = support::seed("BLOCKING_STRESS_SEED");
    for (shards, kills) in SHARDS.into_iter().flat_map(|shards| [(shards, false), (shards, true)]) {
        let server = Server::with_shards(shards);
        let stress = Stress {
            address: server.address(),
            keys: (0..6).map(|number| name_on(number, shards, number)).collect(),
            is_over: AtomicBool::new(false),
            killed: AtomicUsize::new(0),
            ids: Mutex::new(Vec::new()),
        };
        let stress = &stress;
        let random = |thread: usize| Random::new(seed.wrapping_add(thread as u64 * 7919));
        let mut client = server.client();
        let (made, taken) = std::thread::scope(|scope| {
            let producers: Vec<_> =
                (0..PRODUCERS).map(|name| scope.spawn(move || stress.produce(name, random(name)))).collect();
            let consumers: Vec<_> =
                (0..CONSUMERS).map(|name| scope.spawn(move || stress.consume(random(100 + name)))).collect();
            let mut others = vec![
                scope.spawn(move || stress.transfer(random(200))),
                scope.spawn(move || stress.transfer(random(201))),
                scope.spawn(move || stress.unblock(random(202))),
            ];
            if kills {
                others.push(scope.spawn(move || stress.go(random(203))));
            }
            std::thread::sleep(Duration::from_secs(seconds));
            stress.is_over.store(true, Ordering::Relaxed);
            let made: Vec<usize> = producers.into_iter().map(|thread| thread.join().unwrap()).collect();
            others.into_iter().for_each(|thread| thread.join().unwrap());
            // Everybody waits for every key now: so nothing may be there.
            wait_for_blocked(&mut client, CONSUMERS);
            for key in &stress.keys {
                assert_eq!(
                    client.call(&["LLEN", key]),
                    Value::Integer(0),
                    "{CONSUMERS} clients wait for {key}"
                );
            }
            for number in 0..CONSUMERS {
                client.call(&["RPUSH", &stress.keys[number % stress.keys.len()], "stop"]);
            }
            let taken: Vec<String> =
                consumers.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
            (made, taken)
        });
        let mut once = HashSet::new();
        for element in &taken {
            assert!(once.insert(element.as_str()), "{element} was delivered twice");
        }
        let all: usize = made.iter().sum();
        let lost = all - taken.len();
        let killed = stress.killed.load(Ordering::Relaxed);
        eprintln!("{shards} shards: {all} elements, {lost} lost with {killed} clients that went");
        assert!(lost <= killed, "{lost} of {all} elements were lost");
        // On a busy machine all of the few elements may have gone to clients that went.
        assert!(all > 0, "nothing was made");
        for field in ["blocked_clients", "total_blocking_keys", "clients_in_timeout_table"] {
            wait_for(field, || info(&mut client, "clients")[field] == "0");
        }
    }
}
