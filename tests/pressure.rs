//! A server under pressure: thousands of clients that wait for something, and more data than the memory that is allowed.

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use support::{eventually, goes_down_to, info, raise_open_files, within, Client, Server, Value};

const SHARDS: [usize; 2] = [1, 2];
const MIB: u64 = 1 << 20;

/// `count` clients blocked on what `key` says; they are waited for in groups, so that none is lost unnoticed.
fn blocked(server: &Server, admin: &mut Client, count: usize, key: impl Fn(usize) -> String) -> Vec<Client> {
    const GROUP: usize = 500;
    let mut clients = Vec::with_capacity(count);
    while clients.len() < count {
        let to = (clients.len() + GROUP).min(count);
        for number in clients.len()..to {
            let mut client = server.client();
            client.send(&["BLPOP", &key(number), "0"]);
            clients.push(client);
        }
        assert!(eventually(|| info(admin, "blocked_clients") == to as u64), "{to} clients block");
    }
    clients
}

#[test]
fn ten_thousand_clients_block_are_served_and_leave() {
    const WANTED: usize = 10_000;
    /// For the other test of this process.
    const OTHERS: usize = 500;
    /// A bound for growth that nobody meant: an unoptimised build must pass too.
    const BYTES_EACH_MAX: u64 = 16 * 1024;
    let limit = raise_open_files() as usize;
    let count = WANTED.min(limit.saturating_sub(OTHERS).max(limit / 2));
    for shards in SHARDS {
        let options = ["--shards", &shards.to_string(), "--maxclients", &(count + 100).to_string()];
        let server = Server::start(&options);
        let mut admin = server.client();
        admin.call(&["PING"]);
        for one_key in [false, true] {
            let key = |number: usize| if one_key { "k".to_owned() } else { format!("k:{number}") };
            let before = server.resident_bytes();
            let mut clients = blocked(&server, &mut admin, count, key);
            let bytes = server.resident_bytes().saturating_sub(before) / count as u64;
            let on = if one_key { "one key" } else { "keys of their own" };
            eprintln!("{count} clients blocked on {on}, {shards} shards: {bytes} bytes each");
            assert!(bytes <= BYTES_EACH_MAX, "a blocked client takes {bytes} bytes");
            let pushes: Vec<Vec<String>> =
                (0..count).map(|number| vec!["RPUSH".to_owned(), key(number), number.to_string()]).collect();
            for pushes in pushes.chunks(1_000) {
                assert!(admin.pipeline(pushes).iter().all(|reply| reply.integer() == 1));
            }
            let mut served = BTreeSet::new();
            for (number, client) in clients.iter_mut().enumerate() {
                let reply = client.receive();
                let [from, element] = reply.elements() else { panic!("client {number} got {reply:?}") };
                assert_eq!(*from, Value::bulk(key(number)));
                assert!(
                    one_key || *element == Value::bulk(number.to_string()),
                    "client {number} got {reply:?}"
                );
                served.insert(element.text());
            }
            assert_eq!(served.len(), count, "each element went to one client");
            assert_eq!((info(&mut admin, "blocked_clients"), admin.call(&["DBSIZE"]).integer()), (0, 0));
            // Once more, and now they leave.
            for (number, client) in clients.iter_mut().enumerate() {
                client.send(&["BLPOP", &key(number), "0"]);
            }
            assert!(eventually(|| info(&mut admin, "blocked_clients") == count as u64));
            drop(clients);
            assert!(goes_down_to(1, || info(&mut admin, "connected_clients")));
            assert_eq!(info(&mut admin, "blocked_clients"), 0);
            assert_eq!(admin.call(&["RPUSH", &key(count / 2), "left"]).integer(), 1);
            assert_eq!(admin.call(&["LLEN", &key(count / 2)]).integer(), 1, "nobody waits any more");
            assert!(admin.call(&["FLUSHALL"]).is_ok());
        }
    }
}

/// Adds to a collection, or a string, of the type that belongs to the number of its key.
fn addition(number: usize, element: usize) -> Vec<String> {
    let key = format!("key:{number}");
    let value = format!("element {element} of a collection");
    let words: &[&str] = match number % 6 {
        0 => &["RPUSH", &key, &value],
        1 => &["SADD", &key, &value],
        2 => &["HSET", &key, &value, &value],
        3 => &["ZADD", &key, &element.to_string(), &value],
        4 => &["XADD", &key, "*", "field", &value],
        _ => &["APPEND", &key, &value],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn memory_stays_below_the_limit_under_every_policy_and_comes_back() {
    const LIMIT: u64 = 4 * MIB;
    /// Of keys with so many elements, small ones and large ones of every type.
    const SIZES: [usize; 3] = [10, 100, 1_000];
    /// Together about four times the limit.
    const KEYS: usize = 480;
    /// What INFO itself, buffers and tables of a database that was full may take.
    const SLACK: u64 = MIB;
    let policies = [
        "noeviction",
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ];
    for shards in SHARDS {
        let server = Server::start(&["--shards", &shards.to_string()]);
        let mut client = server.client();
        for policy in policies {
            client.call(&["CONFIG", "RESETSTAT"]);
            let start = info(&mut client, "used_memory");
            let limit = start + LIMIT;
            let bytes = limit.to_string();
            let set = ["CONFIG", "SET", "maxmemory-policy", policy, "maxmemory", &bytes];
            assert!(client.call(&set).is_ok());
            let (mut done, mut refused) = (0, 0);
            for number in 0..KEYS {
                let key = format!("key:{number}");
                let size = SIZES[number / 6 % SIZES.len()];
                let mut requests: Vec<Vec<String>> =
                    (0..size).map(|element| addition(number, element)).collect();
                // One in four stays without a time to live, of every type.
                if number / 6 % 4 != 0 {
                    requests.insert(1, vec!["EXPIRE".to_owned(), key, "10000".to_owned()]);
                }
                for reply in client.pipeline(&requests) {
                    match reply {
                        Value::Error(text) => {
                            assert_eq!(text, "OOM command not allowed when used memory > 'maxmemory'.");
                            refused += 1;
                        }
                        _ => done += 1,
                    }
                }
            }
            let what = format!("{policy}, {shards} shards: {done} done, {refused} refused");
            let used = info(&mut client, "used_memory");
            let evicted = info(&mut client, "evicted_keys");
            eprintln!("{what}, {evicted} evicted, {} KiB over the limit", used.saturating_sub(limit) / 1024);
            // Where nothing may go any more the last write stays, and what INFO itself takes.
            let comes_down = refused > 0 || eventually(|| info(&mut client, "used_memory") <= limit);
            assert!(comes_down, "{what}");
            assert!(used <= limit + MIB, "{what}: {used} bytes, {limit} allowed");
            assert!(used >= start + LIMIT / 2, "{what}: only {used} bytes of {limit} are used");
            match policy {
                "noeviction" => assert!(evicted == 0 && refused > 0, "{what}"),
                _ if policy.starts_with("allkeys") => assert!(evicted > 0 && refused == 0, "{what}"),
                _ => {
                    assert!(evicted > 0, "{what}");
                    let kept: Vec<Vec<String>> = (0..KEYS)
                        .filter(|number| number / 6 % 4 == 0)
                        .map(|number| vec!["EXISTS".to_owned(), format!("key:{number}")])
                        .collect();
                    let kept = client.pipeline(&kept).iter().filter(|reply| reply.integer() == 1).count();
                    assert!(refused > 0 || kept == KEYS / 4, "{what}: only {kept} without a time to live");
                }
            }
            // The accounts balance: nothing that was evicted, refused or flushed counts any more.
            assert!(client.call(&["FLUSHALL"]).is_ok());
            let back = within(Duration::from_secs(60), || info(&mut client, "used_memory") <= start + SLACK);
            assert!(back, "{what}: {} bytes at first, then {}", start, info(&mut client, "used_memory"));
            assert!(client.call(&["CONFIG", "SET", "maxmemory", "0"]).is_ok());
        }
    }
}

#[test]
fn writes_and_scripts_that_wait_for_the_disk_can_be_seen() {
    /// More than a shard's log may have waiting for the disk.
    const BIG: usize = 80 << 20;
    const ROUNDS: usize = 20;
    /// A request that is under way when the big one comes is not held, but its reply waits; of several clients some come later.
    const CLIENTS: usize = 8;
    for shards in SHARDS {
        let options =
            ["--shards", &shards.to_string(), "--appendonly", "yes", "--latency-monitor-threshold", "1"];
        let server = Server::start(&options);
        for small in
            [&["SET", "small", "1"][..], &["EVAL", "return redis.call('SET', KEYS[1], 1)", "1", "small"]]
        {
            let stop = AtomicBool::new(false);
            let is_seen = thread::scope(|scope| {
                for _ in 0..CLIENTS {
                    scope.spawn(|| {
                        let mut client = server.client();
                        while !stop.load(Relaxed) {
                            assert!(client.call(small).is_ok());
                        }
                    });
                }
                let mut client = server.client();
                let is_seen = (0..ROUNDS).any(|_| {
                    assert!(client.call(&["SET".into(), "big".into(), vec![b'x'; BIG]]).is_ok());
                    // Nothing is left for this one to wait for.
                    assert!(eventually(|| info(&mut client, "aof_buffer_length") < BIG as u64 / 4));
                    let history = client.call(&["LATENCY", "HISTORY", "write-held"]);
                    !history.elements().is_empty()
                });
                stop.store(true, Relaxed);
                is_seen
            });
            assert!(is_seen, "{small:?} never waits, with {shards} shards");
            let mut client = server.client();
            assert!(eventually(|| info(&mut client, "writers_waiting_for_disk") == 0));
            client.call(&["LATENCY", "RESET"]);
        }
    }
}
