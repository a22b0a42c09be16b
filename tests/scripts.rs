//! Scripts, on whichever shards their keys are: whole, in order, and nobody held up for longer than must be.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{name_on, within, Client, Random, Server, Value};

const SHARDS: [usize; 3] = [1, 2, 4];
const PATIENCE: Duration = Duration::from_secs(20);

fn everywhere(options: &[&str], test: impl Fn(&mut Server, usize)) {
    for shards in SHARDS {
        eprintln!("{shards} shards");
        let count = shards.to_string();
        test(&mut Server::start(&[&["--shards", &count], options].concat()), shards);
    }
}

fn names(shards: usize) -> Vec<String> {
    (0..shards.max(2)).map(|number| name_on(number, shards, number)).collect()
}

fn eval(client: &mut Client, script: &str, keys: &[&str], args: &[&str]) -> Value {
    let count = keys.len().to_string();
    client.call(&[&["EVAL", script, &count], keys, args].concat())
}

#[test]
fn a_script_reaches_keys_of_all_shards_named_or_not() {
    everywhere(&[], |server, shards| {
        let names = names(shards);
        let keys: Vec<&str> = names.iter().map(String::as_str).collect();
        for _ in 0..3 {
            for client in &mut [server.client(), server.client(), server.client()] {
                client.call(&["FLUSHALL"]);
                let named = "for _, key in ipairs(KEYS) do redis.call('INCR', key) end return redis.call('MGET', unpack(KEYS))";
                assert_eq!(eval(client, named, &keys, &[]).elements().len(), keys.len());
                let unnamed = "for _, key in ipairs(ARGV) do redis.call('INCR', key) end return redis.call('MGET', unpack(ARGV))";
                let values = eval(client, unnamed, &[], &keys);
                assert!(values.elements().iter().all(|value| value.text() == "2"), "{values:?}");
                let count = eval(client, "return redis.call('DBSIZE')", &[], &[]);
                assert_eq!(count, Value::Integer(keys.len() as i64));
                let moved = "redis.call('RENAME', KEYS[1], KEYS[2]) return {redis.call('EXISTS', KEYS[1]), redis.call('GET', KEYS[2])}";
                let after = eval(client, moved, &[keys[0], keys[1]], &[]);
                assert_eq!((after.elements()[0].integer(), after.elements()[1].text()), (0, "2".to_owned()));
            }
        }
    });
}

#[test]
fn a_script_that_has_kept_to_its_keys_may_reach_further_later() {
    everywhere(&[], |server, shards| {
        let names = names(shards);
        let reads_first = "local other = ARGV[1] and redis.call('GET', ARGV[1]) redis.call('SET', KEYS[1], other or 'x') return other";
        let writes_first = "redis.call('SET', KEYS[1], 'x') return ARGV[1] and redis.call('INCR', ARGV[1])";
        let mut client = server.client();
        client.call(&["SET", &names[1], "7"]);
        for script in [reads_first, writes_first] {
            for _ in 0..3 {
                assert!(!eval(&mut client, script, &[&names[0]], &[]).is_error());
            }
        }
        assert_eq!(eval(&mut client, reads_first, &[&names[0]], &[&names[1]]).text(), "7");
        assert_eq!(client.call(&["GET", &names[0]]).text(), "7");
        // After a write nothing can begin again: it goes on.
        for count in [8, 9] {
            let reply = eval(&mut client, writes_first, &[&names[0]], &[&names[1]]);
            assert_eq!(reply, Value::Integer(count));
        }
    });
}

#[test]
fn scripts_that_all_reach_further_at_once_lose_nothing_and_are_logged_in_order() {
    const ACCOUNTS: usize = 8;
    const ROUNDS: usize = 15;
    const CLIENTS: usize = 6;
    const MOVES: usize = 8;
    let options = ["--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes"];
    everywhere(&options, |server, shards| {
        let accounts: Vec<String> = (0..ACCOUNTS).map(|number| name_on(number, shards, number)).collect();
        let seed = support::seed("SCRIPTS_SEED");
        let mut admin = server.client();
        for round in 0..ROUNDS {
            // Each round's script is new: it keeps to its keys first.
            let script = format!(
                "redis.call('DECR', KEYS[1]) for _, key in ipairs(ARGV) do redis.call('INCR', key) redis.call('SET', key .. 'x', key) \
                 end return {round}"
            );
            for account in &accounts {
                for _ in 0..2 {
                    assert_eq!(eval(&mut admin, &script, &[account], &[]), Value::Integer(round as i64));
                }
            }
            let (server, script, accounts) = (&*server, &script, &accounts);
            std::thread::scope(|scope| {
                for thread in 0..CLIENTS {
                    scope.spawn(move || {
                        let mut random = Random::new(seed.wrapping_add((round * CLIENTS + thread) as u64));
                        let mut client = server.client();
                        for _ in 0..MOVES {
                            let (from, to) = (random.pick(accounts).as_str(), random.pick(accounts).as_str());
                            let other = random.pick(accounts).as_str();
                            let reply = match random.below(4) {
                                0 => {
                                    client.call(&["MULTI"]);
                                    client.call(&["INCR", other]);
                                    eval(&mut client, script, &[from], &[to]);
                                    client.call(&["DECR", other]);
                                    client.call(&["EXEC"]).elements()[1].clone()
                                }
                                1 => eval(&mut client, script, &[from, other], &[to]),
                                _ => eval(&mut client, script, &[from], &[to]),
                            };
                            assert_eq!(reply, Value::Integer(round as i64));
                        }
                    });
                }
            });
        }
        let sum = |client: &mut Client| {
            let values = client.call(&[vec!["MGET".to_owned()], accounts.clone()].concat());
            values.elements().iter().map(|value| value.text().parse::<i64>().unwrap_or(0)).sum::<i64>()
        };
        assert_eq!(sum(&mut admin), -((ROUNDS * ACCOUNTS * 2) as i64));
        let digest = admin.call(&["DEBUG", "DIGEST"]).text();
        assert!(admin.call(&["DEBUG", "LOADAOF"]).is_ok());
        assert_eq!(admin.call(&["DEBUG", "DIGEST"]).text(), digest, "the log has it in the same order");
    });
}

#[test]
fn nobody_sees_half_of_a_script() {
    const ACCOUNTS: usize = 6;
    const TOTAL: i64 = 600;
    everywhere(&[], |server, shards| {
        let accounts: Vec<String> = (0..ACCOUNTS).map(|number| name_on(number, shards, number)).collect();
        let mut client = server.client();
        for account in &accounts {
            client.call(&["SET", account, &(TOTAL / ACCOUNTS as i64).to_string()]);
        }
        let is_over = AtomicBool::new(false);
        let seed = support::seed("SCRIPTS_SEED");
        let (accounts, is_over, address) = (&accounts, &is_over, server.address());
        let sums: usize = std::thread::scope(|scope| {
            let movers: Vec<_> = (0..4)
                .map(|thread| {
                    let address = address.clone();
                    scope.spawn(move || {
                        let mut random = Random::new(seed.wrapping_add(thread));
                        let mut client = Client::connect(&address);
                        let by_name =
                            "redis.call('DECRBY', KEYS[1], ARGV[1]) redis.call('INCRBY', KEYS[2], ARGV[1])";
                        let by_args =
                            "redis.call('DECRBY', ARGV[2], ARGV[1]) redis.call('INCRBY', ARGV[3], ARGV[1])";
                        while !is_over.load(Ordering::Relaxed) {
                            let (from, to) = (random.pick(accounts).as_str(), random.pick(accounts).as_str());
                            let reply = match random.below(4) {
                                0 => eval(&mut client, by_args, &[], &["3", from, to]),
                                1 => {
                                    client.call(&["MULTI"]);
                                    eval(&mut client, by_name, &[from, to], &["2"]);
                                    eval(&mut client, by_name, &[to, from], &["1"]);
                                    client.call(&["EXEC"])
                                }
                                _ => eval(&mut client, by_name, &[from, to], &["5"]),
                            };
                            assert!(!reply.is_error(), "{reply:?}");
                        }
                    })
                })
                .collect();
            let deadline = Instant::now() + Duration::from_secs(2);
            let mut sums = 0;
            let list: Vec<&str> = accounts.iter().map(String::as_str).collect();
            let sum = "local sum = 0 for _, key in ipairs(KEYS) do sum = sum + redis.call('GET', key) end return sum";
            while Instant::now() < deadline {
                assert_eq!(eval(&mut client, sum, &list, &[]), Value::Integer(TOTAL));
                let values = client.call(&[&["MGET"], &list[..]].concat());
                let seen: i64 =
                    values.elements().iter().map(|value| value.text().parse::<i64>().unwrap()).sum();
                assert_eq!(seen, TOTAL, "by MGET");
                sums += 1;
            }
            is_over.store(true, Ordering::Relaxed);
            movers.into_iter().for_each(|thread| thread.join().unwrap());
            sums
        });
        assert!(sums > 0);
    });
}

#[test]
fn a_script_that_had_to_wait_for_its_key_runs_in_one_go_then() {
    const CALLS: usize = 200;
    const CLIENTS: usize = 4;
    const INCREMENT: &str = "for _, key in ipairs(KEYS) do redis.call('INCR', key) end return 1";
    everywhere(&[], |server, shards| {
        let (near, far) = (name_on(0, shards, 0), name_on(1, shards, 1));
        let mut client = server.client();
        // Known from now on to keep to its keys.
        assert_eq!(eval(&mut client, INCREMENT, &[&near], &[]), Value::Integer(1));
        let transactions = |client: &mut Client| -> usize {
            let info = client.call(&["INFO", "shards"]).text();
            info.split(",transactions=")
                .skip(1)
                .map(|rest| rest.split(',').next().unwrap().parse::<usize>().unwrap())
                .sum()
        };
        let before = transactions(&mut client);
        let address = server.address();
        std::thread::scope(|scope| {
            for number in 0..CLIENTS * 2 {
                let (address, near, far) = (&address, near.as_str(), far.as_str());
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    let keys: &[&str] = if number % 2 == 0 { &[near, far] } else { &[near] };
                    for _ in 0..CALLS {
                        assert_eq!(eval(&mut client, INCREMENT, keys, &[]), Value::Integer(1));
                    }
                });
            }
        });
        let over_shards = if shards > 1 { CLIENTS * CALLS } else { 0 };
        assert_eq!(client.call(&["GET", &near]).text(), (2 * CLIENTS * CALLS + 1).to_string());
        let began = transactions(&mut client) - before;
        // On a machine that stands still for 10 ms now and then, some scripts take long.
        assert!(
            (over_shards..over_shards + CLIENTS * CALLS / 4).contains(&began),
            "{began} of {over_shards}"
        );
    });
}

#[test]
fn a_slow_script_holds_up_its_shard_only_and_can_be_killed() {
    const LOOP: &str = "local n = tonumber(ARGV[1]) for i = 1, n do end return redis.call('INCR', KEYS[1])";
    const FOREVER: &str = "1e15";
    everywhere(&["--busy-reply-threshold", "100"], |server, shards| {
        let names = names(shards);
        let mut client = server.client();
        // Known from now on to keep to its key.
        assert_eq!(eval(&mut client, LOOP, &[&names[0]], &["1"]), Value::Integer(1));
        assert!(client.call(&["SCRIPT", "KILL"]).text().starts_with("NOTBUSY"));
        let mut slow = server.client();
        slow.send(&["EVAL", LOOP, "1", &names[0], FOREVER]);
        let mut clients: Vec<Client> = (0..shards * 2).map(|_| server.client()).collect();
        let is_busy = |client: &mut Client| client.call(&["PING"]).text().starts_with("BUSY");
        assert!(within(PATIENCE, || clients.iter_mut().any(is_busy)));
        let (mut busy, mut free) = (Vec::new(), Vec::new());
        for mut client in clients {
            let is_held_up = is_busy(&mut client);
            if is_held_up {
                busy.push(client)
            } else {
                free.push(client)
            }
        }
        if shards > 1 {
            assert!(!free.is_empty());
            for client in &mut free {
                assert!(client.call(&["SET", &names[1], "x"]).is_ok(), "another shard goes on");
            }
        }
        for client in &mut busy {
            assert!(client.call(&["SHUTDOWN"]).text().starts_with("BUSY"));
            assert!(client.call(&["GET", &names[0]]).text().starts_with("BUSY"));
        }
        assert!(client.call(&["SCRIPT", "KILL"]).is_ok());
        assert!(slow.receive().text().contains("Script killed by user"));
        assert_eq!(client.call(&["GET", &names[0]]).text(), "1");
        // One that has written is not killed.
        let writing = "redis.call('SET', KEYS[1], 'y') for i = 1, 1e15 do end";
        slow.send(&["EVAL", writing, "1", &names[0]]);
        assert!(within(PATIENCE, || client.call(&["SCRIPT", "KILL"]).text().starts_with("UNKILLABLE")));
        client.send(&["SHUTDOWN", "NOSAVE"]);
        assert!(server.wait_for_end(PATIENCE).is_some());
    });
}

#[test]
fn what_a_script_did_is_in_the_log_as_a_whole() {
    everywhere(&["--appendonly", "yes", "--appendfsync", "always"], |server, shards| {
        let names = names(shards);
        let mut client = server.client();
        let script = "for i = 1, 3 do redis.call('RPUSH', KEYS[1], i) redis.call('RPUSH', KEYS[2], i) end \
                      redis.call('SPOP', KEYS[3]) redis.call('PEXPIRE', KEYS[1], 100000000) return redis.call('LLEN', KEYS[1])";
        client.call(&["SADD", &names[0], "a", "b", "c"]);
        let (one, two) = (format!("l{{{}}}", names[0]), format!("l{{{}}}", names[1]));
        for round in 1..=3 {
            assert_eq!(eval(&mut client, script, &[&one, &two, &names[0]], &[]), Value::Integer(3 * round));
        }
        let hidden =
            "redis.set_repl(redis.REPL_NONE) redis.call('SET', KEYS[1], 'x') redis.set_repl(redis.REPL_ALL)";
        assert!(!eval(&mut client, hidden, &["hidden"], &[]).is_error());
        let members = client.call(&["SMEMBERS", &names[0]]);
        server.kill9();
        server.restart();
        let mut client = server.client();
        assert_eq!(client.call(&["LLEN", &one]), Value::Integer(9));
        assert_eq!(client.call(&["LLEN", &two]), Value::Integer(9));
        assert_eq!(client.call(&["SMEMBERS", &names[0]]), members);
        assert!(client.call(&["PTTL", &one]).integer() > 0);
        assert!(client.call(&["GET", "hidden"]).is_null(), "it was kept out of the log");
    });
}

#[test]
fn scripts_are_known_to_all_shards_and_forgotten_by_all() {
    everywhere(&[], |server, shards| {
        let mut client = server.client();
        let sha = client.call(&["SCRIPT", "LOAD", "return KEYS[1]"]).text();
        let keys = names(shards);
        for index in 0..8 {
            let key = &keys[index % keys.len()];
            assert_eq!(server.client().call(&["EVALSHA", &sha, "1", key]).text(), *key);
            assert_eq!(server.client().call(&["EVALSHA_RO", &sha.to_uppercase(), "1", key]).text(), *key);
        }
        assert!(client.call(&["SCRIPT", "FLUSH"]).is_ok());
        for index in 0..8 {
            let reply = server.client().call(&["EVALSHA", &sha, "1", &keys[index % keys.len()]]);
            assert_eq!(reply.text(), "NOSCRIPT No matching script. Please use EVAL.");
        }
        assert_eq!(client.call(&["SCRIPT", "EXISTS", &sha]).elements()[0], Value::Integer(0));
        for number in 0..9000 {
            let text = format!("return {number}");
            assert_eq!(client.call(&["EVAL", &text, "0"]), Value::Integer(number));
        }
        let many = "local list = {} for i = 1, 7990 do list[i] = 'e' .. i end return redis.call('SADD', KEYS[1], unpack(list))";
        assert_eq!(eval(&mut client, many, &[&keys[1]], &[]), Value::Integer(7990));
    });
}

#[test]
fn whoever_waits_for_a_list_gets_it_when_the_script_has_ended() {
    everywhere(&[], |server, shards| {
        let names = names(shards);
        for key in &names {
            let mut waiter = server.client();
            waiter.send(&["BLPOP", key, "0"]);
            let mut client = server.client();
            let info = |client: &mut Client| client.call(&["INFO", "clients"]).text();
            assert!(within(PATIENCE, || info(&mut client).contains("blocked_clients:1\r\n")));
            let script = "redis.call('RPUSH', KEYS[1], 'first') redis.call('LPUSH', KEYS[1], 'second') return redis.call('LLEN', KEYS[1])";
            assert_eq!(eval(&mut client, script, &[key], &[]), Value::Integer(2));
            assert_eq!(waiter.receive().elements()[1].text(), "second");
            let blocked = eval(&mut client, "return redis.call('BLPOP', KEYS[1], 0)", &["nothing"], &[]);
            assert!(blocked.is_null(), "{blocked:?}");
        }
    });
}

const LIBRARY: &str = "#!lua name=lib\n\
    redis.register_function('add', function(keys, args) return redis.call('INCRBY', keys[1], args[1]) end)\n\
    redis.register_function{function_name = 'look', flags = {'no-writes'}, \
    callback = function(keys) return redis.call('GET', keys[1]) end}";

/// Calls the functions of `LIBRARY` from connections of all shards, for keys of all shards.
fn functions_work(server: &Server, shards: usize) {
    for key in names(shards) {
        for _ in 0..4 {
            let mut client = server.client();
            let before = client.call(&["GET", &key]);
            let before: i64 = if before.is_null() { 0 } else { before.text().parse().unwrap() };
            assert_eq!(client.call(&["FCALL", "add", "1", &key, "5"]), Value::Integer(before + 5));
            assert_eq!(client.call(&["FCALL_RO", "LOOK", "1", &key]).text(), (before + 5).to_string());
            let refused = client.call(&["FCALL_RO", "add", "1", &key, "5"]).text();
            assert!(refused.contains("*_ro command"), "{refused}");
        }
    }
}

#[test]
fn libraries_are_known_to_all_shards_and_outlive_the_server() {
    everywhere(
        &["--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes"],
        |server, shards| {
            let mut client = server.client();
            assert_eq!(client.call(&["FUNCTION", "LOAD", LIBRARY]).text(), "lib");
            assert!(client.call(&["FUNCTION", "LOAD", LIBRARY]).text().contains("already exists"));
            functions_work(server, shards);
            // From the log.
            server.kill9();
            server.restart();
            functions_work(server, shards);
            // From the base of a log that was rewritten, in both of its forms.
            for preamble in ["yes", "no"] {
                let mut client = server.client();
                assert!(client.call(&["CONFIG", "SET", "aof-use-rdb-preamble", preamble]).is_ok());
                assert!(!client.call(&["BGREWRITEAOF"]).is_error());
                let is_done = |client: &mut Client| {
                    let text = client.call(&["INFO", "persistence"]).text();
                    text.contains("aof_rewrite_in_progress:0") && text.contains("aof_rewrite_scheduled:0")
                };
                assert!(within(PATIENCE, || is_done(&mut client)));
                server.kill9();
                server.restart();
                functions_work(server, shards);
            }
            // In an RDB file, and as a payload.
            let mut client = server.client();
            let Value::Bulk(payload) = client.call(&["FUNCTION", "DUMP"]) else {
                panic!("FUNCTION DUMP has no payload")
            };
            assert!(client.call(&["DEBUG", "RELOAD"]).is_ok(), "{}", server.log());
            functions_work(server, shards);
            assert!(client.call(&["FUNCTION", "FLUSH"]).is_ok());
            assert_eq!(client.call(&["FCALL", "add", "1", "x", "5"]).text(), "ERR Function not found");
            assert!(client.call(&[&b"FUNCTION"[..], b"RESTORE", &payload]).is_ok());
            functions_work(server, shards);
            assert!(client.call(&["FUNCTION", "DELETE", "lib"]).is_ok());
            server.kill9();
            server.restart();
            assert_eq!(server.client().call(&["FUNCTION", "LIST"]).elements().len(), 0);
        },
    );
}
