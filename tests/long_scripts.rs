//! Scripts that take longer than others are made to wait are as atomic as short ones.
//!
//! A script that has run for 10 ms stands and lets the shard go on; from then on it is a transaction. Each test here has
//! several clients wait for what such scripts hold. None of them depends on how long anything takes: where a script is fast enough not to
//! stand, the test asks less, and is still right.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::{name_on, within, Client, Random, Server, Value};

/// Takes some 30 ms.
const WORK: &str = "for i = 1, 3000000 do end";
const PATIENCE: Duration = Duration::from_secs(20);

fn with_shards(most: usize, test: impl Fn(&mut Server, usize)) {
    for shards in 1..=most {
        test(&mut Server::with_shards(shards), shards);
    }
}

/// How a script is called.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Text,
    Sha,
    Function,
    Exec,
}

/// A script that increments its first key and reads it twice, known to the server as itself and as a function.
struct Twice {
    text: String,
    sha: String,
}

impl Twice {
    fn new(server: &Server) -> Twice {
        let body = format!(
            "local i = redis.call('INCR', KEYS[1]) {WORK} local a = redis.call('GET', KEYS[1]) {WORK} \
             return {{tostring(i), a, redis.call('GET', KEYS[1])}}"
        );
        let mut client = server.client();
        let sha = client.call(&["SCRIPT", "LOAD", &body]).text();
        let library =
            format!("#!lua name=twice\nredis.register_function('twice', function(KEYS, ARGV) {body} end)");
        assert_eq!(client.call(&["FUNCTION", "LOAD", &library]).text(), "twice");
        Twice { text: body, sha }
    }

    /// What it answers.
    fn call(&self, client: &mut Client, by: By, key: &str) -> Value {
        match by {
            By::Text => client.call(&["EVAL", &self.text, "1", key]),
            By::Sha => client.call(&["EVALSHA", &self.sha, "1", key]),
            By::Function => client.call(&["FCALL", "twice", "1", key]),
            By::Exec => {
                assert!(client.call(&["MULTI"]).is_ok());
                client.call(&["INCR", key]);
                client.call(&["EVALSHA", &self.sha, "1", key]);
                client.call(&["EXEC"]).elements()[1].clone()
            }
        }
    }
}

#[test]
fn nobody_writes_between_the_calls_of_a_long_script() {
    const RUNS: usize = 4;
    with_shards(3, |server, shards| {
        let twice = Twice::new(server);
        let key = name_on(0, shards, 0);
        let others: Vec<String> = (0..shards).map(|shard| name_on(shard, shards, 1)).collect();
        let is_over = AtomicBool::new(false);
        let (twice, key, others, is_over, server) = (&twice, key.as_str(), &others, &is_over, &*server);
        // One call after the other first, so that the server knows that it keeps to its key.
        let mut client = server.client();
        for by in [By::Text, By::Function] {
            twice.call(&mut client, by, key);
        }
        let written: i64 = std::thread::scope(|scope| {
            let plain = scope.spawn(move || {
                let (mut client, mut written, mut random) = (server.client(), 0, Random::new(shards as u64));
                while !is_over.load(Ordering::Relaxed) {
                    let other = random.pick(others).as_str();
                    match random.below(4) {
                        0 => written += i64::from(client.call(&["INCR", key]).integer() > 0),
                        1 => {
                            client.call(&["MULTI"]);
                            client.call(&["INCR", key]);
                            client.call(&["SET", other, "x"]);
                            assert_eq!(client.call(&["EXEC"]).elements().len(), 2);
                            written += 1;
                        }
                        2 => assert!(client.call(&["MSET", other, "y", &others[0], "z"]).is_ok()),
                        _ => {
                            let reply = client.call(&["MGET", key, other]);
                            assert_eq!(reply.elements().len(), 2);
                        }
                    }
                }
                written
            });
            let scripts: Vec<_> = [By::Text, By::Sha, By::Function, By::Exec, By::Text]
                .into_iter()
                .map(|by| {
                    scope.spawn(move || {
                        let mut client = server.client();
                        for _ in 0..RUNS {
                            let reply = twice.call(&mut client, by, key);
                            let seen = reply.elements();
                            assert!(
                                seen[0] == seen[1] && seen[1] == seen[2],
                                "{by:?} with {shards} shards: {seen:?}"
                            );
                        }
                    })
                })
                .collect();
            let failed = scripts.into_iter().filter_map(|script| script.join().err()).next();
            is_over.store(true, Ordering::Relaxed);
            let written = plain.join().unwrap();
            if let Some(failure) = failed {
                std::panic::resume_unwind(failure);
            }
            written
        });
        // Two before, and the script in EXEC has another INCR beside it.
        let expected = 2 + written + (5 + 1) * RUNS as i64;
        assert_eq!(client.call(&["GET", key]).text(), expected.to_string(), "{shards} shards");
    });
}

#[test]
fn a_long_read_and_write_loses_no_update() {
    const RUNS: i64 = 8;
    let text = format!(
        "local n = tonumber(redis.call('GET', KEYS[1]) or 0) {WORK} redis.call('SET', KEYS[1], n + 1) return n"
    );
    with_shards(3, |server, shards| {
        let key = name_on(shards - 1, shards, 0);
        let (text, key, server) = (text.as_str(), key.as_str(), &*server);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(move || {
                    let mut client = server.client();
                    for _ in 0..RUNS {
                        assert!(!client.call(&["EVAL", text, "1", key]).is_error());
                    }
                });
            }
        });
        assert_eq!(server.client().call(&["GET", key]).text(), (4 * RUNS).to_string(), "{shards} shards");
    });
}

/// With one shard scripts may use keys that they do not name, also inside EXEC, and commands on all keys come before or after.
#[test]
fn with_one_shard_a_long_script_is_alone_with_keys_that_it_does_not_name() {
    const RUNS: usize = 5;
    let server = Server::with_shards(1);
    let text = format!(
        "redis.call('SET', 'a', ARGV[1]) {WORK} redis.call('SET', 'b', ARGV[1]) {WORK} \
         return {{redis.call('GET', 'a'), redis.call('GET', 'b')}}"
    );
    let is_over = AtomicBool::new(false);
    let (text, server, is_over) = (text.as_str(), &server, &is_over);
    let failed = std::thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            let (mut client, mut turn) = (server.client(), 0);
            while !is_over.load(Ordering::Relaxed) {
                turn += 1;
                match turn % 5 {
                    0 => assert!(client.call(&["FLUSHALL"]).is_ok()),
                    1 => assert!([0, 2].contains(&client.call(&["DBSIZE"]).integer())),
                    2 => assert!([0, 2].contains(&client.call(&["KEYS", "*"]).elements().len())),
                    3 => {
                        let reply = client.call(&["MGET", "a", "b"]);
                        assert_eq!(reply.elements()[0], reply.elements()[1]);
                    }
                    _ => assert!(client.call(&["SWAPDB", "0", "1"]).is_ok()),
                }
            }
        });
        let scripts: Vec<_> = (0..4)
            .map(|number: usize| {
                scope.spawn(move || {
                    let mut client = server.client();
                    for run in 0..RUNS {
                        let value = (number * RUNS + run).to_string();
                        let reply = if number.is_multiple_of(2) {
                            client.call(&["EVAL", text, "0", &value])
                        } else {
                            client.call(&["MULTI"]);
                            client.call(&["EVAL", text, "1", "c", &value]);
                            client.call(&["EXEC"]).elements()[0].clone()
                        };
                        let both: Vec<String> = reply.elements().iter().map(Value::text).collect();
                        assert_eq!(both, [value.clone(), value]);
                    }
                })
            })
            .collect();
        let failed = scripts.into_iter().filter_map(|script| script.join().err()).next();
        is_over.store(true, Ordering::Relaxed);
        failed.or(watcher.join().err())
    });
    if let Some(failure) = failed {
        std::panic::resume_unwind(failure);
    }
}

/// It keeps to its keys for as long as it has no second argument.
fn further(number: usize) -> String {
    format!(
        "-- {number}\nredis.call('INCR', KEYS[1]) if ARGV[1] == 'long' then {WORK} end \
         if ARGV[2] then redis.call('INCR', ARGV[2]) end return 1"
    )
}

#[test]
fn a_script_that_has_written_and_then_goes_beyond_its_keys_is_seen_whole() {
    for shards in 2..=3 {
        let server = Server::with_shards(shards);
        let near = name_on(0, shards, 0);
        // Of another shard, and of the same one.
        let beyond = [name_on(1, shards, 1), name_on(0, shards, 2)];
        let is_over = AtomicBool::new(false);
        let (near, beyond, is_over, server) = (near.as_str(), &beyond, &is_over, &server);
        let failed = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(move || {
                        let mut client = server.client();
                        while !is_over.load(Ordering::Relaxed) {
                            let reply = client.call(&["MGET", near, &beyond[0], &beyond[1]]);
                            let count = |value: &Value| {
                                if value.is_null() {
                                    0
                                } else {
                                    value.text().parse().unwrap()
                                }
                            };
                            let seen: Vec<i64> = reply.elements().iter().map(count).collect();
                            assert_eq!(seen[0], seen[1] + seen[2], "{shards} shards");
                        }
                    })
                })
                .collect();
            let mut client = server.client();
            for number in 0..30 {
                let text = further(number);
                let length = if number % 2 == 0 { "long" } else { "short" };
                // The first run holds everything, the second what it names.
                for _ in 0..2 {
                    client.call(&["EVAL", &text, "1", "elsewhere", length]);
                }
                let beyond = &beyond[number / 2 % 2];
                assert_eq!(client.call(&["EVAL", &text, "1", near, length, beyond]), Value::Integer(1));
            }
            is_over.store(true, Ordering::Relaxed);
            readers.into_iter().filter_map(|reader| reader.join().err()).next()
        });
        if let Some(failure) = failed {
            std::panic::resume_unwind(failure);
        }
    }
}

#[test]
fn long_scripts_of_all_kinds_and_transactions_over_shards_all_come_to_their_ends() {
    for shards in 2..=4 {
        let server = Server::with_shards(shards);
        let keys: Vec<String> = (0..6).map(|number| name_on(number, shards, number)).collect();
        let seed = support::seed("LONG_SCRIPTS_SEED");
        let time = Duration::from_secs(support::setting("LONG_SCRIPTS_SECONDS", 1));
        let deadline = std::time::Instant::now() + time;
        let (keys, server) = (&keys, &server);
        let counts: Vec<usize> = std::thread::scope(|scope| {
            let work = |thread: u64| {
                let mut random = Random::new(seed.wrapping_add(thread * 7 + shards as u64));
                let mut client = server.client();
                client.set_timeout(PATIENCE);
                let mut count = 0;
                while std::time::Instant::now() < deadline {
                    let two = random.sample(keys, 2);
                    let (a, b) = (two[0].as_str(), two[1].as_str());
                    let reply = match random.below(8) {
                        0 => client.call(&[
                            "EVAL",
                            &format!("{WORK} redis.call('INCR', KEYS[1]) {WORK} return 1"),
                            "1",
                            a,
                        ]),
                        1 => client.call(&[
                            "EVAL",
                            &format!(
                                "redis.call('INCR', KEYS[1]) {WORK} redis.call('INCR', KEYS[2]) return 1"
                            ),
                            "2",
                            a,
                            b,
                        ]),
                        2 | 3 => {
                            // Each number is a script of its own, which goes beyond its keys at some time.
                            let text = further(random.below(1000));
                            match random.below(3) {
                                0 => client.call(&["EVAL", &text, "1", a, "long", b]),
                                1 => client.call(&["EVAL", &text, "1", a, "short", b]),
                                _ => client.call(&["EVAL", &text, "1", a, "short"]),
                            }
                        }
                        4 => {
                            client.call(&["MULTI"]);
                            client.call(&["EVAL", &further(random.below(20)), "1", a, "long", b]);
                            client.call(&["INCR", b]);
                            client.call(&["EXEC"])
                        }
                        5 => client.call(&["MSET", a, "1", b, "2"]),
                        6 => client.call(&["DBSIZE"]),
                        _ => client.call(&["MGET", a, b]),
                    };
                    assert!(!reply.is_error(), "{reply:?}");
                    count += 1;
                }
                count
            };
            let threads: Vec<_> = (0..8).map(|thread| scope.spawn(move || work(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        eprintln!("{shards} shards: {counts:?}");
    }
}

#[test]
fn who_waits_for_a_list_is_served_when_the_long_script_has_ended() {
    with_shards(3, |server, shards| {
        let (list, key) = (name_on(0, shards, 0), name_on(shards - 1, shards, 1));
        let push = format!(
            "redis.call('RPUSH', KEYS[1], ARGV[1]) {WORK} redis.call('RPOP', KEYS[1]) {WORK} \
                     redis.call('RPUSH', KEYS[1], 'last') return redis.call('LLEN', KEYS[1])"
        );
        let mut scripts = server.client();
        // Known to keep to its key.
        assert_eq!(scripts.call(&["EVAL", &push, "1", &list, "x"]), Value::Integer(1));
        scripts.call(&["DEL", &list]);
        for round in 0..4 {
            let mut waiter = server.client();
            waiter.send(&["BLPOP", &list, &key, "20"]);
            let waits = |client: &mut Client| support::info(client, "blocked_clients") == 1;
            assert!(within(PATIENCE, || waits(&mut scripts)));
            let mut others: Vec<Client> = (0..2).map(|_| server.client()).collect();
            scripts.send(&["EVAL", &push, "1", &list, &format!("first {round}")]);
            for other in &mut others {
                other.send(&["EVAL", &push, "1", &list, &format!("other {round}")]);
            }
            assert!(!scripts.receive().is_error());
            let served = waiter.receive();
            assert_eq!(served.elements()[1].text(), "last", "{shards} shards");
            for other in &mut others {
                assert!(!other.receive().is_error());
            }
            scripts.call(&["DEL", &list]);
        }
    });
}

#[test]
fn what_a_client_sends_after_a_long_script_runs_after_it() {
    with_shards(3, |server, shards| {
        for shard in 0..shards {
            let (key, beside) = (name_on(shard, shards, 0), name_on(shard, shards, 1));
            let text = format!("{WORK} redis.call('SET', KEYS[1], ARGV[1]) {WORK} return ARGV[1]");
            let mut client = server.client();
            client.call(&["EVAL", &text, "1", &key, "0"]);
            let mut requests: Vec<Vec<String>> = Vec::new();
            for number in 1..4 {
                let number = number.to_string();
                let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
                requests.push(words(&["EVAL", &text, "1", &key, &number]));
                requests.push(words(&["GET", &key]));
                requests.push(words(&["INCR", &beside]));
            }
            let replies = client.pipeline(&requests);
            let texts: Vec<String> = replies.iter().map(Value::text).collect();
            assert_eq!(texts, ["1", "1", "1", "2", "2", "2", "3", "3", "3"], "{shards} shards");
        }
    });
}

/// `t()` tells the time in microseconds, and `a` is the first that it has told.
const CLOCK: &str =
    "local function t() local r = redis.call('TIME') return r[1] * 1000000 + r[2] end local a = t() ";

#[test]
fn a_loop_that_waits_for_the_time_ends_and_to_keys_the_time_stands_still() {
    for shards in 1..=2 {
        let server = Server::start(&["--shards", &shards.to_string(), "--busy-reply-threshold", "100"]);
        let mut client = server.client();
        client.set_timeout(PATIENCE);
        let key = name_on(shards - 1, shards, 0);
        let text = format!(
            "redis.call('SET', KEYS[1], 1, 'PX', 100000) {CLOCK} while t() < a + 300000 do end \
             return redis.call('PTTL', KEYS[1])"
        );
        // As something that may touch everything, and as something that keeps to its keys.
        for _ in 0..2 {
            let reply = client.call(&["EVAL", &text, "1", &key]);
            assert_eq!(reply, Value::Integer(100_000), "{shards} shards");
        }
        // Without a limit nothing is busy.
        assert!(client.call(&["CONFIG", "SET", "busy-reply-threshold", "0"]).is_ok());
        let text =
            format!("{CLOCK} for i = 1, 10 do {WORK} if t() ~= a then return 'moved' end end return 'stood'");
        assert_eq!(client.call(&["EVAL", &text, "1", &key]).text(), "stood");
    }
}

#[test]
fn a_script_whose_client_is_gone_ends_if_it_has_not_written() {
    for shards in 1..=2 {
        let server = Server::start(&["--shards", &shards.to_string(), "--busy-reply-threshold", "50"]);
        let mut watcher = server.client();
        for home in 0..2 {
            let key = name_on(home, shards, 0);
            watcher.call(&["DEL", &key]);
            // Known to keep to its key, and then without an end.
            let endless = "redis.call('GET', KEYS[1]) while ARGV[1] do redis.call('PING') end return 1";
            for _ in 0..2 {
                assert_eq!(watcher.call(&["EVAL", endless, "1", &key]), Value::Integer(1));
            }
            let mut gone: Vec<Client> = (0..2).map(|_| server.client()).collect();
            for client in &mut gone {
                client.send(&["EVAL", endless, "1", &key, "on"]);
            }
            let mut askers: Vec<Client> = (0..8).map(|_| server.client()).collect();
            let is_busy = |client: &mut Client| client.call(&["PING"]).text().starts_with("BUSY");
            assert!(within(PATIENCE, || askers.iter_mut().any(is_busy)), "{shards} shards");
            drop(gone);
            let mut asker = server.client();
            asker.set_timeout(PATIENCE);
            let is_free = |client: &mut Client| client.call(&["EXISTS", &key]) == Value::Integer(0);
            assert!(within(PATIENCE, || is_free(&mut asker)), "{shards} shards");
            let kill = |client: &mut Client| client.call(&["SCRIPT", "KILL"]).text().starts_with("NOTBUSY");
            assert!(within(PATIENCE, || kill(&mut asker)), "{shards} shards");
            // One that has written ends by itself only.
            let writes = format!(
                "redis.call('SET', KEYS[1], 1) for i = 1, 20 do {WORK} end redis.call('INCR', KEYS[1])"
            );
            let mut writer = server.client();
            writer.send(&["EVAL", &writes, "1", &key]);
            std::thread::sleep(Duration::from_millis(20));
            drop(writer);
            let is_whole = |client: &mut Client| client.call(&["GET", &key]) == Value::bulk("2");
            assert!(within(PATIENCE, || is_whole(&mut asker)), "{shards} shards");
        }
    }
}

/// From whichever shard a client asks; what concerns other shards only is served.
#[test]
fn what_needs_a_shard_that_a_script_holds_up_is_refused_at_once() {
    for shards in 1..=3 {
        let options = [
            "--shards",
            &shards.to_string(),
            "--busy-reply-threshold",
            "50",
            "--enable-debug-command",
            "yes",
        ];
        let server = Server::start(&options);
        let (key, other) = (name_on(0, shards, 0), name_on(shards - 1, shards, 1));
        // Some on each shard.
        let mut askers: Vec<Client> = (0..8).map(|_| server.client()).collect();
        let mut runner = server.client();
        let endless = "while ARGV[1] do redis.call('GET', KEYS[1]) end return 1";
        for _ in 0..2 {
            assert_eq!(runner.call(&["EVAL", endless, "1", &key]), Value::Integer(1));
        }
        runner.send(&["EVAL", endless, "1", &key, "on"]);
        let is_busy = |client: &mut Client| client.call(&["PING"]).text().starts_with("BUSY");
        assert!(within(PATIENCE, || askers.iter_mut().any(is_busy)), "{shards} shards");
        for client in &mut askers {
            client.set_timeout(PATIENCE);
            for command in [
                &["DEBUG", "RELOAD"][..],
                &["DEBUG", "LOADAOF"],
                &["DEBUG", "DIGEST"],
                &["SAVE"],
                &["BGSAVE"],
                &["BGREWRITEAOF"],
                &["RANDOMKEY"],
                &["KEYS", "*"],
                &["FLUSHALL"],
                &["FUNCTION", "FLUSH"],
            ] {
                let reply = client.call(command).text();
                assert!(reply.starts_with("BUSY"), "{shards} shards, {command:?}: {reply}");
            }
            let abort = "EXECABORT Transaction discarded because of: BUSY";
            for body in [&["GET", &key][..], &["MGET", &other, &key], &["DBSIZE"], &["BGSAVE"]] {
                assert!(client.call(&["MULTI"]).is_ok());
                // Some are refused already when they are to be queued.
                let wanted = match client.call(body).text() == "QUEUED" {
                    true => abort,
                    false => "EXECABORT Transaction discarded because of",
                };
                let reply = client.call(&["EXEC"]).text();
                assert!(reply.starts_with(wanted), "{shards} shards, {body:?}: {reply}");
            }
            assert!(client.call(&["WATCH", &key]).is_ok());
            assert!(client.call(&["MULTI"]).is_ok());
            let reply = client.call(&["EXEC"]).text();
            assert!(reply.starts_with(abort), "{shards} shards: {reply}");
        }
        // The others go on where they have nothing to do with it.
        if shards > 1 {
            let mut free: Vec<&mut Client> = askers
                .iter_mut()
                .filter_map(|client| (client.call(&["PING"]).text() == "PONG").then_some(client))
                .collect();
            assert!(!free.is_empty(), "{shards} shards");
            for client in &mut free {
                assert!(client.call(&["MULTI"]).is_ok());
                client.call(&["SET", &other, "v"]);
                assert_eq!(client.call(&["EXEC"]), Value::Array(vec![Value::ok()]), "{shards} shards");
            }
        }
        assert!(askers[0].call(&["SCRIPT", "KILL"]).is_ok());
        runner.receive();
        assert!(within(PATIENCE, || askers[0].call(&["DEBUG", "RELOAD"]).is_ok()), "{shards} shards");
    }
}
