//! What one client may have: of memory for replies that it does not read, and of the time of the others.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use support::{eventually, info, name_on, within, Client, Server, Value};

const SHARDS: [usize; 3] = [1, 2, 3];
const MIB: u64 = 1 << 20;
const CLOSED: &str = "scheduled to be closed ASAP for overcoming of output buffer limits";

/// A list on each shard whose elements together have so many bytes; their names.
fn lists(client: &mut Client, shards: usize, bytes: usize) -> Vec<String> {
    const ELEMENT: usize = 1000;
    let names: Vec<String> = (0..shards).map(|shard| name_on(shard, shards, 0)).collect();
    for name in &names {
        let mut push = vec!["RPUSH".to_owned(), name.clone()];
        push.resize(2 + bytes / ELEMENT, "x".repeat(ELEMENT));
        assert_eq!(client.call(&push).integer() as usize, bytes / ELEMENT);
    }
    names
}

/// The most memory that the server has until `done`, as far as one can see.
fn peak_until(server: &Server, mut done: impl FnMut() -> bool) -> u64 {
    let mut peak = 0;
    let is_done = within(Duration::from_secs(60), || {
        peak = peak.max(server.resident_bytes());
        done()
    });
    assert!(is_done, "it does not end");
    peak
}

/// Sends from a thread of its own, because nobody may read what is answered, and then the other side reads no more.
fn send_all(stream: &TcpStream, bytes: Vec<u8>) -> thread::JoinHandle<()> {
    let mut stream = stream.try_clone().unwrap();
    thread::spawn(move || drop(stream.write_all(&bytes)))
}

fn is_closed(log: &Server) -> bool {
    log.log().contains(CLOSED)
}

#[test]
fn the_limit_of_output_holds_within_a_pipeline() {
    const REPLY: usize = 500_000;
    const REQUESTS: usize = 600;
    for shards in SHARDS {
        for version in ["2", "3"] {
            let server = Server::start(&[
                "--shards",
                &shards.to_string(),
                "--client-output-buffer-limit",
                "normal 2mb 0 0",
                "--proto-max-bulk-len",
                "64mb",
            ]);
            let mut client = server.client();
            let lists = lists(&mut client, shards, REPLY);
            let before = server.resident_bytes();
            let stream = TcpStream::connect(server.address()).unwrap();
            let mut requests = Client::encode(&["HELLO", version]);
            for number in 0..REQUESTS {
                requests.extend(Client::encode(&["LRANGE", &lists[number % shards], "0", "-1"]));
            }
            let sender = send_all(&stream, requests);
            let peak = peak_until(&server, || is_closed(&server));
            let grown = peak.saturating_sub(before) / MIB;
            eprintln!("{shards} shards, RESP{version}: {grown} MiB");
            assert!(grown < 100, "{grown} MiB for a client that may have 2");
            drop(stream);
            sender.join().unwrap();
            assert!(client.call(&["PING"]) == Value::Simple("PONG".into()));
        }
    }
}

#[test]
fn a_transaction_whose_replies_are_too_large_ends_its_client_and_is_whole() {
    const REPLY: usize = 500_000;
    const REQUESTS: usize = 600;
    for shards in SHARDS {
        let server = Server::start(&[
            "--shards",
            &shards.to_string(),
            "--client-output-buffer-limit",
            "normal 2mb 0 0",
            "--client-output-buffer-limit",
            "pubsub 2mb 0 0",
        ]);
        let mut client = server.client();
        let lists = lists(&mut client, shards, REPLY);
        // All keys on one shard, and keys on all of them.
        for spread in [1, shards] {
            let before = server.resident_bytes();
            let closed = server.log().matches(CLOSED).count();
            let stream = TcpStream::connect(server.address()).unwrap();
            let mut requests = Client::encode(&["MULTI"]);
            let counters: Vec<String> = (0..spread).map(|shard| name_on(shard, shards, 1)).collect();
            for number in 0..REQUESTS {
                requests.extend(Client::encode(&["LRANGE", &lists[number % spread], "0", "-1"]));
            }
            for counter in &counters {
                requests.extend(Client::encode(&["INCR", counter]));
            }
            requests.extend(Client::encode(&["EXEC"]));
            let sender = send_all(&stream, requests);
            let peak = peak_until(&server, || server.log().matches(CLOSED).count() > closed);
            let grown = peak.saturating_sub(before) / MIB;
            eprintln!("{shards} shards, keys on {spread}: {grown} MiB");
            assert!(grown < 100, "{grown} MiB for a client that may have 2");
            for counter in &counters {
                assert!(
                    eventually(|| client.call(&["GET", counter]) != Value::NullBulk),
                    "all of it has run"
                );
            }
            client.call(&[&["DEL".to_owned()][..], &counters].concat());
            drop(stream);
            sender.join().unwrap();
        }
    }
}

#[test]
fn without_a_limit_unsent_output_stops_at_a_gibibyte_and_goes_on_when_it_is_read() {
    const REPLY: usize = 5_000_000;
    const REQUESTS: usize = 400;
    const BOUND: u64 = 1 << 30;
    for shards in [1, 3] {
        let server = Server::with_shards(shards);
        let mut client = server.client();
        let lists = lists(&mut client, shards, REPLY);
        let len = {
            client.send(&["LRANGE", &lists[0], "0", "-1"]);
            client.receive_raw().len()
        };
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let mut requests = Vec::new();
        for number in 0..REQUESTS {
            // A hundred for one shard, then a hundred for the next.
            requests.extend(Client::encode(&["LRANGE", &lists[number / 100 % shards], "0", "-1"]));
        }
        requests.extend(Client::encode(&["PING"]));
        // Not what is resident: on a busy machine freed memory goes back to the system late.
        let before = info(&mut client, "used_memory");
        let sender = send_all(&stream, requests);
        // It has come to the bound when it grows no more.
        let (mut last, mut peak) = (0, 0);
        let is_done = within(Duration::from_secs(60), || {
            thread::sleep(Duration::from_millis(300));
            let now = info(&mut client, "used_memory");
            peak = peak.max(now);
            let is_still = now <= last + MIB && now > before + 100 * MIB;
            last = now;
            is_still
        });
        assert!(is_done, "it does not end");
        let grown = peak.saturating_sub(before);
        eprintln!("{shards} shards: {} MiB", grown / MIB);
        assert!(grown < BOUND + 300 * MIB, "{} MiB", grown / MIB);
        assert_eq!(client.call(&["PING"]), Value::Simple("PONG".into()));
        let wanted = REQUESTS * len + b"+PONG\r\n".len();
        let mut buffer = vec![0; 1 << 20];
        let mut got = 0;
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        while got < wanted {
            match stream.read(&mut buffer) {
                Ok(bytes) if bytes > 0 => got += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => panic!("{other:?} after {got} bytes of {wanted}"),
            }
        }
        assert_eq!(got, wanted);
        sender.join().unwrap();
    }
}

#[test]
fn others_have_their_turn_while_a_client_pipelines_slow_commands() {
    const REQUESTS: usize = 2_000;
    /// Without turns it is one or two.
    const ANSWERED_MIN: usize = 10;
    const SLOW: &str = "local n = 0 for i = 1, 30000 do n = n + i end return n";
    for shards in SHARDS {
        let server = Server::with_shards(shards);
        for busy in 0..shards {
            let key = name_on(busy, shards, 0);
            let is_done = AtomicBool::new(false);
            let answered = thread::scope(|scope| {
                scope.spawn(|| {
                    let mut client = server.client();
                    client.set_timeout(Duration::from_secs(60));
                    let request: Vec<String> =
                        ["EVAL", SLOW, "1", &key].iter().map(|word| (*word).to_owned()).collect();
                    // It runs for the first time while all stand still.
                    client.call(&request);
                    let replies = client.pipeline(&vec![request; REQUESTS]);
                    is_done.store(true, Relaxed);
                    assert!(replies.iter().all(|reply| reply.integer() == 450_015_000));
                });
                let mut client = server.client();
                let mut answered = 0;
                while !is_done.load(Relaxed) {
                    client.call(&["GET", &key]);
                    answered += 1;
                }
                answered
            });
            eprintln!("{shards} shards, shard {busy} is busy: {answered} answered");
            assert!(answered >= ANSWERED_MIN, "only {answered} were answered");
        }
    }
}

#[test]
fn input_that_waits_for_its_turn_is_held_back_and_ends_no_client() {
    const REQUESTS: usize = 30_000;
    for shards in SHARDS {
        let server = Server::start(&["--shards", &shards.to_string(), "--client-query-buffer-limit", "1mb"]);
        let mut client = server.client();
        client.set_timeout(Duration::from_secs(60));
        // 3 MB of input in all, in a time in which not all of it can be run.
        let value = "x".repeat(60);
        let requests: Vec<Vec<String>> = (0..REQUESTS)
            .map(|number| vec!["SET".to_owned(), format!("key:{}", number % 100), value.clone()])
            .collect();
        assert!(client.pipeline(&requests).iter().all(Value::is_ok));
        // But a MULTI counts as input.
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut requests = Client::encode(&["MULTI"]);
        for _ in 0..20 {
            requests.extend(Client::encode(&["SET", "key", &"x".repeat(100_000)]));
        }
        let sent = stream.write_all(&requests);
        let mut end = Vec::new();
        let closed = sent.is_err() || stream.read_to_end(&mut end).is_ok() || end.len() < 20 * 9;
        assert!(closed);
        assert!(eventually(|| server.log().contains("reached max query buffer length")), "{}", server.log());
    }
}

#[test]
fn deleted_memory_goes_back_to_the_system() {
    for shards in [1, 3] {
        let server = Server::with_shards(shards);
        let mut client = server.client();
        let goes_back = |what: &str, allowed: u64| {
            let back = eventually(|| server.resident_bytes() < allowed);
            assert!(back, "{what}, {shards} shards: {} MiB stay", server.resident_bytes() / MIB);
        };
        client.call(&["SET", "warm", "up"]);
        let before = server.resident_bytes();
        let large = "x".repeat(30 * MIB as usize);
        for number in 0..8 {
            assert!(client.call(&["SET", &format!("large:{number}"), &large]).is_ok());
        }
        assert!(server.resident_bytes() > before + 240 * MIB);
        for number in 0..8 {
            client.call(&["DEL", &format!("large:{number}")]);
        }
        goes_back("large values", before + 60 * MIB);
        // What is free between values that stay.
        let middle = "x".repeat(500_000);
        for number in 0..400 {
            assert!(client.call(&["SET", &format!("middle:{number}"), &middle]).is_ok());
        }
        assert!(server.resident_bytes() > before + 190 * MIB);
        let gone: Vec<String> =
            (0..400).filter(|number| number % 40 != 0).map(|number| format!("middle:{number}")).collect();
        client.call(&[&["DEL".to_owned()][..], &gone].concat());
        goes_back("values among others", before + 80 * MIB);
        assert!(client.call(&["FLUSHALL"]).is_ok());
        // Output that nobody has read.
        let lists = lists(&mut client, 1, 2_000_000);
        let stream = TcpStream::connect(server.address()).unwrap();
        let requests = Client::encode(&["LRANGE", &lists[0], "0", "-1"]).repeat(100);
        let sender = send_all(&stream, requests);
        assert!(eventually(|| server.resident_bytes() > before + 150 * MIB));
        drop(stream);
        sender.join().unwrap();
        goes_back("unread output", before + 80 * MIB);
    }
}

#[test]
fn a_lowered_maxmemory_is_met_soon_on_idle_shards() {
    const KEYS: u64 = 40_000;
    /// What INFO itself takes.
    const SLACK: u64 = 256 * 1024;
    for shards in [1, 4] {
        let server = Server::start(&["--shards", &shards.to_string(), "--enable-debug-command", "yes"]);
        let mut client = server.client();
        let empty = info(&mut client, "used_memory");
        assert!(client.call(&["DEBUG", "POPULATE", &KEYS.to_string(), "key", "100"]).is_ok());
        let full = info(&mut client, "used_memory");
        let limit = empty + (full - empty) / 4;
        let set = ["CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", &limit.to_string()];
        assert!(client.call(&set).is_ok());
        // Nobody asks for anything meanwhile: a request would evict.
        thread::sleep(Duration::from_secs(4));
        let used = info(&mut client, "used_memory");
        assert!(used <= limit + SLACK, "{shards} shards: {used} of {limit}");
        let gone = || KEYS - keys_of(&server);
        assert!(eventually(|| info(&mut client, "evicted_keys") == gone()));
        assert!(gone() > KEYS / 2 && keys_of(&server) > KEYS / 50, "{} are gone", gone());
    }
}

fn keys_of(server: &Server) -> u64 {
    server.client().call(&["DBSIZE"]).integer() as u64
}
