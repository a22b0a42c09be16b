//! MIGRATE between servers: what arrives, what stays, what is said when it goes wrong, and that nobody else waits for it.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use support::{free_port, name_on, Client, Server, Value};

const SHARDS: [usize; 2] = [1, 2];
const PATIENCE: Duration = Duration::from_secs(20);

/// For each number of shards a server, and four keys on as many shards as there are.
fn everywhere(test: impl Fn(&Server, [&str; 4])) {
    for shards in SHARDS {
        let server = Server::with_shards(shards);
        let keys = [0, 1, 2, 3].map(|number| name_on(number, shards, number));
        let keys = [0, 1, 2, 3].map(|number: usize| keys[number].as_str());
        eprintln!("{shards} shards, keys {keys:?}");
        test(&server, keys);
    }
}

fn migrate(client: &mut Client, port: u16, rest: &[&str]) -> Value {
    client.call(&[&["MIGRATE", "127.0.0.1", &port.to_string()], rest].concat())
}

#[track_caller]
fn assert_error(reply: &Value, text: &str) {
    assert_eq!(*reply, Value::Error(text.to_owned()));
}

fn info(client: &mut Client, section: &str, field: &str) -> String {
    let text = client.call(&["INFO", section]).text();
    let line = text.lines().find_map(|line| line.strip_prefix(field).and_then(|line| line.strip_prefix(':')));
    line.unwrap_or_default().to_owned()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One key of each type, of shards as they come.
fn fill(client: &mut Client) -> Vec<&'static str> {
    let commands: [&[&str]; 7] = [
        &["SET", "string", "value"],
        &["SET", "number", "42"],
        &["RPUSH", "list", "a", "b", "1"],
        &["SADD", "set", "1", "2", "member"],
        &["HSET", "hash", "field", "value", "n", "1"],
        &["ZADD", "zset", "1", "one", "2.5", "more"],
        &["XADD", "stream", "1-1", "field", "value"],
    ];
    for command in commands {
        assert!(!client.call(command).is_error(), "{command:?}");
    }
    commands.iter().map(|command| command[1]).collect()
}

fn contents(client: &mut Client) -> Vec<Value> {
    let commands: [&[&str]; 7] = [
        &["GET", "string"],
        &["GET", "number"],
        &["LRANGE", "list", "0", "-1"],
        &["SORT", "set", "ALPHA"],
        &["HGETALL", "hash"],
        &["ZRANGE", "zset", "0", "-1", "WITHSCORES"],
        &["XRANGE", "stream", "-", "+"],
    ];
    commands.map(|command| client.call(command)).into()
}

/// Moves a key of each type from one server to another.
fn move_all(from: &Server, to: &Server) {
    let (mut here, mut there) = (from.client(), to.client());
    let keys = fill(&mut here);
    let before = contents(&mut here);
    there.call(&["SELECT", "5"]);
    let request = [&["", "5", "5000", "KEYS"], keys.as_slice()].concat();
    assert!(migrate(&mut here, to.port, &request).is_ok());
    assert_eq!(contents(&mut there), before);
    assert_eq!(here.call(&["DBSIZE"]), Value::Integer(0));
    assert_eq!(migrate(&mut here, to.port, &request), Value::Simple("NOKEY".to_owned()));
}

#[test]
fn values_of_every_type_move_from_gyre_to_gyre() {
    for shards in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        move_all(&Server::with_shards(shards.0), &Server::with_shards(shards.1));
    }
}

#[test]
fn values_of_every_type_move_from_redis_to_gyre() {
    for shards in SHARDS {
        let Some(redis) = Server::redis(&[]) else { return };
        move_all(&redis, &Server::with_shards(shards));
    }
}

/// Redis 7.0 reads version 10 of the format only, which Gyre writes when told to.
#[test]
fn values_of_every_type_move_from_gyre_to_redis() {
    for shards in ["1", "2"] {
        let Some(redis) = Server::redis(&[]) else { return };
        move_all(&Server::start(&["--shards", shards, "--rdb-version", "10"]), &redis);
        // Of a version that it does not know nothing is taken, and nothing is lost.
        let newer = Server::start(&["--shards", shards]);
        let mut client = newer.client();
        client.call(&["SET", "string", "value"]);
        if redis.client().call(&["INFO", "server"]).text().contains("redis_version:7.0") {
            let reply = migrate(&mut client, redis.port, &["string", "0", "5000"]);
            assert_error(
                &reply,
                "ERR Target instance replied with error: ERR DUMP payload version or checksum are wrong",
            );
            assert_eq!(client.call(&["GET", "string"]), Value::bulk("value"));
        }
    }
}

#[test]
fn a_copy_leaves_the_keys_and_replace_overwrites_them() {
    everywhere(|server, [a, b, ..]| {
        let target = Server::with_shards(2);
        let (mut here, mut there) = (server.client(), target.client());
        here.call(&["MSET", a, "1", b, "2"]);
        assert!(migrate(&mut here, target.port, &["", "0", "5000", "COPY", "KEYS", a, b]).is_ok());
        assert_eq!(here.call(&["MGET", a, b]), there.call(&["MGET", a, b]));
        here.call(&["SET", a, "new"]);
        let busy = "ERR Target instance replied with error: BUSYKEY Target key name already exists.";
        assert_error(&migrate(&mut here, target.port, &[a, "0", "5000"]), busy);
        assert_eq!(here.call(&["GET", a]), Value::bulk("new"));
        assert_eq!(there.call(&["GET", a]), Value::bulk("1"));
        assert!(migrate(&mut here, target.port, &[a, "0", "5000", "REPLACE"]).is_ok());
        assert_eq!(there.call(&["GET", a]), Value::bulk("new"));
        assert!(here.call(&["GET", a]).is_null());
    });
}

#[test]
fn only_what_the_target_has_taken_is_deleted() {
    everywhere(|server, keys| {
        let target = Server::with_shards(1);
        let (mut here, mut there) = (server.client(), target.client());
        let [a, b, c, d] = keys;
        here.call(&["MSET", a, "1", b, "2", c, "3", d, "4"]);
        there.call(&["MSET", b, "x", c, "y"]);
        let reply = migrate(&mut here, target.port, &["", "0", "5000", "KEYS", "none", a, b, c, d]);
        assert_error(
            &reply,
            "ERR Target instance replied with error: BUSYKEY Target key name already exists.",
        );
        let bulk = |text: &str| Value::bulk(text);
        let null = || Value::NullBulk;
        assert_eq!(
            here.call(&["MGET", a, b, c, d]),
            Value::Array(vec![null(), bulk("2"), bulk("3"), null()])
        );
        assert_eq!(
            there.call(&["MGET", a, b, c, d]),
            Value::Array(vec![bulk("1"), bulk("x"), bulk("y"), bulk("4")])
        );
    });
}

#[test]
fn a_life_goes_on_where_the_key_goes() {
    everywhere(|server, [a, b, c, _]| {
        let target = Server::with_shards(2);
        let (mut here, mut there) = (server.client(), target.client());
        here.call(&["SET", a, "1", "PX", "50000"]);
        here.call(&["SET", b, "2"]);
        here.call(&["SET", c, "3", "PX", "1"]);
        std::thread::sleep(Duration::from_millis(5));
        assert!(migrate(&mut here, target.port, &["", "0", "5000", "KEYS", a, b, c]).is_ok());
        let left_ms = there.call(&["PTTL", a]).integer();
        assert!((40_000..=50_000).contains(&left_ms), "{left_ms}");
        assert_eq!(there.call(&["PTTL", b]), Value::Integer(-1));
        assert_eq!(there.call(&["EXISTS", c]), Value::Integer(0));
    });
}

#[test]
fn a_target_that_is_dead_leaves_everything_as_it_is() {
    everywhere(|server, [a, b, ..]| {
        let mut here = server.client();
        here.call(&["MSET", a, "1", b, "2"]);
        let reply = migrate(&mut here, free_port(), &["", "0", "500", "KEYS", a, b]);
        assert_error(&reply, "IOERR error or timeout connecting to the client");
        assert_eq!(here.call(&["EXISTS", a, b]), Value::Integer(2));
        // One that dies between two commands is found dead too.
        let mut target = Server::with_shards(1);
        assert!(migrate(&mut here, target.port, &[a, "0", "5000"]).is_ok());
        let port = target.port;
        target.kill9();
        let reply = migrate(&mut here, port, &[b, "0", "5000"]);
        // The kernel may accept connections for a killed server a moment longer.
        assert!(reply.is_error() && reply.text().starts_with("IOERR error or timeout "), "{reply:?}");
        assert_eq!(here.call(&["EXISTS", b]), Value::Integer(1));
    });
}

#[test]
fn a_target_that_comes_back_is_connected_to_anew() {
    everywhere(|server, [a, b, ..]| {
        let mut target = Server::with_shards(1);
        let mut here = server.client();
        here.call(&["MSET", a, "1", b, "2"]);
        assert!(migrate(&mut here, target.port, &[a, "0", "5000"]).is_ok());
        target.restart();
        assert!(migrate(&mut here, target.port, &[b, "0", "5000"]).is_ok());
        assert_eq!(target.client().call(&["GET", b]), Value::bulk("2"));
    });
}

/// A target that takes what it gets and says nothing until it is told to.
struct Mute {
    listener: TcpListener,
}

impl Mute {
    fn new() -> Mute {
        Mute { listener: TcpListener::bind("127.0.0.1:0").expect("a free port") }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("it is bound").port()
    }
}

#[test]
fn while_a_target_is_slow_everybody_else_goes_on_and_its_keys_wait() {
    everywhere(|server, [a, b, c, d]| {
        let mute = Mute::new();
        let (mut mover, mut reader, mut other) = (server.client(), server.client(), server.client());
        other.call(&["MSET", a, "1", b, "2", c, "3", d, "4"]);
        let port = mute.port().to_string();
        mover.send(&["MIGRATE", "127.0.0.1", &port, "", "0", "20000", "KEYS", a, b]);
        let (mut target, _) = mute.listener.accept().expect("it connects");
        reader.send(&["GET", a]);
        // Keys of the same shards, through the same shards.
        for _ in 0..50 {
            assert_eq!(other.call(&["MGET", c, d]), Value::Array(vec![Value::bulk("3"), Value::bulk("4")]));
            assert!(other.call(&["SET", c, "3"]).is_ok());
        }
        reader.set_timeout(Duration::from_millis(50));
        assert!(reader.try_receive().is_err(), "a key on its way is not to be seen");
        reader.set_timeout(PATIENCE);
        target.write_all(b"+OK\r\n+OK\r\n-BUSYKEY there\r\n").expect("it is connected");
        assert_error(&mover.receive(), "ERR Target instance replied with error: BUSYKEY there");
        assert!(reader.receive().is_null());
        assert_eq!(other.call(&["EXISTS", a, b]), Value::Integer(1));
        drop(target);
    });
}

#[test]
fn a_target_that_says_nothing_is_given_up_in_time() {
    everywhere(|server, [a, b, ..]| {
        let mute = Mute::new();
        let mut here = server.client();
        here.call(&["MSET", a, "1", b, "2"]);
        let started = Instant::now();
        let reply = migrate(&mut here, mute.port(), &["", "0", "200", "KEYS", a, b]);
        assert_error(&reply, "IOERR error or timeout reading to target instance");
        let took = started.elapsed();
        assert!((200..5000).contains(&took.as_millis()), "{took:?}");
        assert_eq!(here.call(&["EXISTS", a, b]), Value::Integer(2));
        // To itself too: it cannot take a key that is on its way.
        let reply = migrate(&mut here, server.port, &[a, "1", "200"]);
        assert_error(&reply, "IOERR error or timeout reading to target instance");
        assert_eq!(here.call(&["EXISTS", a]), Value::Integer(1));
        assert_eq!(info(&mut here, "stats", "migrate_cached_sockets"), "0");
    });
}

#[test]
fn a_client_that_goes_away_does_not_stop_the_move() {
    everywhere(|server, [a, b, ..]| {
        let mute = Mute::new();
        let (mut mover, mut other) = (server.client(), server.client());
        other.call(&["MSET", a, "1", b, "2"]);
        mover.send(&["MIGRATE", "127.0.0.1", &mute.port().to_string(), "", "0", "20000", "KEYS", a, b]);
        let (mut target, _) = mute.listener.accept().expect("it connects");
        assert!(target.read(&mut [0; 64]).expect("it selects") > 0);
        drop(mover);
        target.write_all(b"+OK\r\n+OK\r\n+OK\r\n").expect("it is connected");
        wait_for("the keys to go", || other.call(&["EXISTS", a, b]) == Value::Integer(0));
    });
}

#[test]
fn passwords_are_given_and_wrong_ones_refused() {
    everywhere(|server, [a, b, c, d]| {
        let target = Server::start(&["--requirepass", "secret"]);
        let mut here = server.client();
        here.call(&["MSET", a, "1", b, "2", c, "3", d, "4"]);
        let refused = "ERR Target instance replied with error: ";
        let reply = migrate(&mut here, target.port, &[a, "0", "5000"]);
        assert_error(&reply, &format!("{refused}NOAUTH Authentication required."));
        let wrong = format!("{refused}WRONGPASS invalid username-password pair or user is disabled.");
        assert_error(&migrate(&mut here, target.port, &[a, "0", "5000", "AUTH", "guess"]), &wrong);
        assert_eq!(here.call(&["EXISTS", a]), Value::Integer(1));
        assert!(migrate(&mut here, target.port, &[a, "0", "5000", "AUTH", "secret"]).is_ok());
        assert!(migrate(&mut here, target.port, &[b, "0", "5000", "AUTH2", "default", "secret"]).is_ok());
        let reply = migrate(&mut here, target.port, &[c, "0", "5000", "AUTH2", "default", "guess"]);
        assert_error(&reply, &wrong);
        // The connection that is kept is admitted still.
        let request = ["", "0", "5000", "COPY", "KEYS", c, d];
        assert!(migrate(&mut here, target.port, &request).is_ok());
        let mut there = target.client();
        there.call(&["AUTH", "secret"]);
        assert_eq!(there.call(&["DBSIZE"]), Value::Integer(4));
    });
}

#[test]
fn a_database_that_is_not_there_gets_nothing() {
    everywhere(|server, [a, ..]| {
        let target = Server::with_shards(1);
        let mut here = server.client();
        here.call(&["SET", a, "1"]);
        let reply = migrate(&mut here, target.port, &[a, "99", "5000"]);
        assert_error(&reply, "ERR Target instance replied with error: ERR DB index is out of range");
        assert_eq!(here.call(&["EXISTS", a]), Value::Integer(1));
        assert_eq!(target.client().call(&["DBSIZE"]), Value::Integer(0));
    });
}

#[test]
fn huge_values_arrive_whole() {
    everywhere(|server, [a, b, ..]| {
        let target = Server::with_shards(2);
        let (mut here, mut there) = (server.client(), target.client());
        let huge: Vec<u8> = (0..48u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert!(here.call(&[b"SET", a.as_bytes(), &huge]).is_ok());
        for _ in 0..20 {
            let items: Vec<String> = (0..10_000).map(|item| format!("item {item}")).collect();
            let mut command = vec!["RPUSH", b];
            command.extend(items.iter().map(String::as_str));
            here.call(&command);
        }
        assert!(migrate(&mut here, target.port, &["", "0", "20000", "KEYS", a, b]).is_ok());
        assert!(there.call(&["GET", a]) == Value::bulk(&huge), "it has changed on its way");
        assert_eq!(there.call(&["LLEN", b]), Value::Integer(200_000));
        assert_eq!(there.call(&["LINDEX", b, "-1"]), Value::bulk("item 9999"));
        assert_eq!(here.call(&["DBSIZE"]), Value::Integer(0));
    });
}

#[test]
fn in_a_transaction_it_takes_its_place_among_the_commands() {
    everywhere(|server, [a, b, c, _]| {
        let target = Server::with_shards(1);
        let (mut here, mut there) = (server.client(), target.client());
        let port = target.port.to_string();
        let requests: [&[&str]; 9] = [
            &["MULTI"],
            &["MSET", a, "1", b, "2"],
            &["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS", a, b],
            &["MGET", a, b],
            &["SELECT", "2"],
            &["SET", c, "3"],
            &["MIGRATE", "127.0.0.1", &port, c, "7", "5000", "COPY"],
            &["MIGRATE", "127.0.0.1", &port, c, "7", "5000", "NONSENSE"],
            &["EXEC"],
        ];
        let mut reply = Value::Null;
        for request in requests {
            reply = here.call(request);
        }
        let (ok, error) = (Value::ok, Value::Error("ERR syntax error".to_owned()));
        let nulls = Value::Array(vec![Value::NullBulk, Value::NullBulk]);
        assert_eq!(reply, Value::Array(vec![ok(), ok(), nulls, ok(), ok(), ok(), error]));
        assert_eq!(there.call(&["MGET", a, b]), Value::Array(vec![Value::bulk("1"), Value::bulk("2")]));
        there.call(&["SELECT", "7"]);
        assert_eq!(there.call(&["GET", c]), Value::bulk("3"));
    });
}

#[test]
fn a_key_that_moves_away_counts_as_changed() {
    everywhere(|server, [a, b, ..]| {
        let target = Server::with_shards(1);
        let (mut here, mut watcher) = (server.client(), server.client());
        here.call(&["MSET", a, "1", b, "2"]);
        for (options, executes) in [(&["COPY"][..], true), (&["REPLACE"], false)] {
            watcher.call(&["WATCH", b]);
            let request = [&["", "0", "5000"], options, &["KEYS", a, b]].concat();
            assert!(migrate(&mut here, target.port, &request).is_ok());
            watcher.call(&["MULTI"]);
            watcher.call(&["PING"]);
            assert_eq!(!watcher.call(&["EXEC"]).is_null(), executes, "{options:?}");
        }
    });
}

#[test]
fn replies_keep_their_place_in_a_pipeline() {
    everywhere(|server, [a, b, ..]| {
        let target = Server::with_shards(1);
        let port = target.port.to_string();
        let replies = server.client().pipeline(&[
            vec!["MSET", a, "1", b, "2"],
            vec!["GET", a],
            vec!["MIGRATE", "127.0.0.1", &port, a, "0", "5000"],
            vec!["GET", a],
            vec!["MIGRATE", "127.0.0.1", &port, a, "0", "5000"],
            vec!["MIGRATE", "127.0.0.1", &port, a, "0", "x"],
            vec!["GET", b],
        ]);
        let nokey = Value::Simple("NOKEY".to_owned());
        let error = Value::Error("ERR value is not an integer or out of range".to_owned());
        let (one, two) = (Value::bulk("1"), Value::bulk("2"));
        assert_eq!(replies, [Value::ok(), one, Value::ok(), Value::NullBulk, nokey, error, two]);
    });
}

#[test]
fn every_call_is_counted_once_and_what_it_does_is_not() {
    everywhere(|server, [a, b, c, _]| {
        let target = Server::with_shards(1);
        let mut here = server.client();
        here.call(&["MSET", a, "1", b, "2", c, "3"]);
        migrate(&mut here, target.port, &["", "0", "5000", "KEYS", a, b]);
        migrate(&mut here, target.port, &[a, "0", "5000"]);
        migrate(&mut here, free_port(), &[c, "0", "500"]);
        migrate(&mut here, target.port, &[c, "0", "5000", "NONSENSE"]);
        let counted = info(&mut here, "commandstats", "cmdstat_migrate");
        assert!(counted.starts_with("calls=4,") && counted.ends_with("failed_calls=2"), "{counted}");
        assert_eq!(info(&mut here, "commandstats", "cmdstat_del"), "");
        assert_eq!(info(&mut here, "errorstats", "errorstat_IOERR"), "count=1");
        assert_eq!(info(&mut here, "stats", "migrate_cached_sockets"), "1");
    });
}

/// Two keys are counted up together while they move again and again: what arrives is always equal, and adds up.
#[test]
fn no_change_is_lost_between_the_copy_and_the_deletion() {
    const ROUNDS: i64 = 400;
    const WRITERS: i64 = 3;
    everywhere(|server, [a, b, ..]| {
        let target = Server::with_shards(2);
        let left = AtomicI64::new(WRITERS);
        let mut arrived = 0;
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| {
                    let mut client = server.client();
                    for _ in 0..ROUNDS {
                        let transaction = [vec!["MULTI"], vec!["INCR", a], vec!["INCR", b], vec!["EXEC"]];
                        client.pipeline(&transaction);
                    }
                    left.fetch_sub(1, Ordering::Relaxed);
                });
            }
            let (mut here, mut there) = (server.client(), target.client());
            loop {
                let is_last = left.load(Ordering::Relaxed) == 0;
                let reply = migrate(&mut here, target.port, &["", "0", "5000", "KEYS", a, b]);
                assert!(!reply.is_error(), "{reply:?}");
                if reply.is_ok() {
                    let values = there.call(&["MGET", a, b]);
                    let [first, second] = values.elements() else { panic!("two keys: {values:?}") };
                    assert_eq!(first, second);
                    arrived += first.text().parse::<i64>().expect("a counter");
                    there.call(&["DEL", a, b]);
                }
                if is_last {
                    break;
                }
            }
        });
        assert_eq!(arrived, ROUNDS * WRITERS);
    });
}

#[test]
fn a_connection_serves_many_moves_and_ends_when_it_is_not_needed() {
    let (server, target) = (Server::with_shards(2), Server::with_shards(1));
    let (mut here, mut there) = (server.client(), target.client());
    for number in 0..100 {
        let key = format!("key{number}");
        here.call(&["SET", &key, "value"]);
        assert!(migrate(&mut here, target.port, &[&key, "0", "5000"]).is_ok());
    }
    assert_eq!(there.call(&["DBSIZE"]), Value::Integer(100));
    let mut clients = || there.call(&["CLIENT", "LIST"]).text().lines().count();
    assert_eq!(clients(), 2);
    std::thread::sleep(Duration::from_secs(9));
    assert_eq!(clients(), 2);
    wait_for("the end of the connection", || clients() == 1);
    assert_eq!(info(&mut here, "stats", "migrate_cached_sockets"), "0");
}
