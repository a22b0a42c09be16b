//! A script or a MULTI body has one time, on all its shards, and nothing deletes a key by itself in the middle of it: not expiry,
//! not eviction, not somebody else's look at a key that has expired meanwhile. What is in the log says the same.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{info, name_on, Client, Server, Value};

const SHARDS: [usize; 3] = [1, 2, 3];

/// Work without calls, ARGV[1] rounds of it.
const WORK: &str = "local n = 0 for i = 1, tonumber(ARGV[1]) do n = n + i % 7 end ";
/// How long that is to take.
const WORK_MS: u128 = 30;
/// How long keys live that are to expire meanwhile, milliseconds.
const TTL_MS: &str = "15";

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// So many rounds take `WORK_MS` or more on this machine.
fn rounds(client: &mut Client) -> String {
    let mut rounds = 100_000u64;
    loop {
        let started = Instant::now();
        client.call(&["EVAL", &format!("{WORK} return 1"), "0", &rounds.to_string()]);
        if started.elapsed().as_millis() >= WORK_MS {
            return rounds.to_string();
        }
        rounds *= 2;
    }
}

/// The reply of EXEC to these commands.
fn exec(client: &mut Client, commands: &[Vec<String>]) -> Value {
    let mut requests = vec![words("MULTI")];
    requests.extend_from_slice(commands);
    requests.push(words("EXEC"));
    client.pipeline(&requests).pop().expect("as many replies as requests")
}

#[test]
fn a_key_that_is_set_to_expire_soon_is_as_old_at_the_end_of_a_script_as_at_its_beginning() {
    for shards in SHARDS {
        let server = Server::with_shards(shards);
        let mut client = server.client();
        let rounds = rounds(&mut client);
        let keys: Vec<String> = (0..3).map(|number| name_on(number, shards, number)).collect();
        let calls = "local keys = #KEYS > 0 and KEYS or {ARGV[3], ARGV[4], ARGV[5]} \
                     for _, key in ipairs(keys) do redis.call('SET', key, 'x', 'PX', ARGV[2]) end \
                     local before = redis.call('TIME')";
        let looks = "local seen = {} \
                     for _, key in ipairs(keys) do seen[#seen + 1] = redis.call('PTTL', key) end \
                     local after = redis.call('TIME') \
                     seen[#seen + 1] = before[1] .. before[2] == after[1] .. after[2] and 1 or 0 return seen";
        let text = format!("{calls} {WORK} {looks}");
        let library = format!(
            "#!lua name=aging\nredis.register_function('aging', function(KEYS, ARGV) {calls} {WORK} {looks} end)"
        );
        assert!(!client.call(&["FUNCTION", "LOAD", &library]).is_error());
        let expected = Value::Array([15, 15, 15, 1].map(Value::Integer).to_vec());
        // The second run of a script knows which shards it needs.
        for _ in 0..2 {
            for start in [vec!["EVAL", &text], vec!["FCALL", "aging"]] {
                let named =
                    [start.clone(), vec!["3", &keys[0], &keys[1], &keys[2], &rounds, TTL_MS]].concat();
                assert_eq!(client.call(&named), expected, "{shards} shards, {named:?}");
                let unnamed =
                    [start.clone(), vec!["0", &rounds, TTL_MS, &keys[0], &keys[1], &keys[2]]].concat();
                assert_eq!(client.call(&unnamed), expected, "{shards} shards, {unnamed:?}");
            }
        }
    }
}

#[test]
fn a_multi_body_has_one_time_on_all_its_shards() {
    for shards in SHARDS {
        let server = Server::with_shards(shards);
        let mut client = server.client();
        let rounds = rounds(&mut client);
        let keys: Vec<String> = (0..3).map(|number| name_on(number, shards, number)).collect();
        let [a, b, c] = [&keys[0], &keys[1], &keys[2]];
        let list = name_on(1, shards, 10);
        client.call(&["RPUSH", &list, a, b, c]);
        let sets: Vec<String> = (0..2).map(|number| name_on(number, shards, 20 + number)).collect();
        let target = name_on(1, shards, 30);
        let work = vec!["EVAL".to_owned(), format!("{WORK} return 1"), "1".into(), a.clone(), rounds];
        let commands = [
            words("TIME"),
            words(&format!("SET {a} 1 PX {TTL_MS}")),
            words(&format!("SET {b} 2 PX {TTL_MS}")),
            words(&format!("SADD {} x", sets[0])),
            words(&format!("SADD {} y", sets[1])),
            words(&format!("PEXPIRE {} {TTL_MS}", sets[1])),
            work,
            words(&format!("SET {c} 3 PX {TTL_MS}")),
            words(&format!("MGET {a} {b} {c}")),
            words(&format!("EXISTS {a} {b} {c}")),
            words(&format!("PTTL {a}")),
            words(&format!("PTTL {b}")),
            words(&format!("SORT {list} BY * GET *")),
            words(&format!("SUNIONSTORE {target} {} {}", sets[0], sets[1])),
            words(&format!("COPY {b} {target}:copy")),
            words(&format!("PEXPIRETIME {a}")),
            words(&format!("PEXPIRETIME {b}")),
            words(&format!("PEXPIRETIME {c}")),
            words(&format!("PEXPIRETIME {target}:copy")),
            words("TIME"),
        ];
        for round in 0..2 {
            let reply = exec(&mut client, &commands);
            let replies = reply.elements();
            let texts = ["1", "2", "3"].map(Value::bulk).to_vec();
            let context = format!("{shards} shards, round {round}: {reply:?}");
            assert_eq!(replies[8], Value::Array(texts.clone()), "{context}");
            assert_eq!(replies[9], Value::Integer(3), "{context}");
            assert_eq!(replies[10..12], [Value::Integer(15), Value::Integer(15)], "{context}");
            assert_eq!(replies[12], Value::Array(texts), "{context}");
            assert_eq!(replies[13], Value::Integer(2), "{context}");
            assert_eq!(replies[14], Value::Integer(1), "{context}");
            assert!(replies[16..19].iter().all(|time| *time == replies[15]), "{context}");
            assert_eq!(replies[0], replies[19], "{context}");
            let ms = replies[0].elements()[0].text() + &format!("{:0>6}", replies[0].elements()[1].text());
            let ms = ms.parse::<i64>().unwrap() / 1000;
            assert_eq!(replies[15], Value::Integer(ms + 15), "{context}");
            client.call(&["DEL", &format!("{target}:copy")]);
        }
    }
}

#[test]
fn time_has_passed_for_the_command_behind_one_that_took_long() {
    for shards in SHARDS {
        let server = Server::with_shards(shards);
        let mut client = server.client();
        let key = name_on(0, shards, 0);
        // All three run in one turn of the shard, if the script is not so long that others get theirs in between. How long it takes
        // on a machine that has other things to do must be found out again and again.
        let (mut rounds, mut tries, mut is_seen) = (10_000_u64, 0, false);
        for _ in 0..500 {
            let script =
                vec!["EVAL".into(), format!("{WORK} return 1"), "1".into(), key.clone(), rounds.to_string()];
            let requests = [words(&format!("SET {key} 1 PX 1")), script, words(&format!("EXISTS {key}"))];
            let started = Instant::now();
            let is_gone = client.pipeline(&requests).pop() == Some(Value::Integer(0));
            if started.elapsed() >= Duration::from_millis(9) {
                rounds = 10_000.max(rounds / 2);
            } else if is_gone {
                is_seen = true;
                break;
            } else {
                (tries, rounds) = (tries + 1, rounds + rounds / 3);
            }
        }
        assert!(is_seen || tries < 20, "{shards} shards: as late as in front of the script, {tries} times");
    }
}

/// A server with a log, which takes requests.
fn logging(shards: usize) -> Server {
    // What waits for a sync is memory, too, and a slow disk would fill it.
    let options = ["--shards", &shards.to_string(), "--appendonly", "yes", "--appendfsync", "no"];
    let server = Server::start(&options);
    let mut client = server.client();
    assert!(support::eventually(|| !client.call(&["EXISTS", "a"]).is_error()), "it does not stop loading");
    server
}

/// Ends what other threads do, also when this one fails.
struct EndsOthers<'a>(&'a AtomicBool);

impl Drop for EndsOthers<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What others see and do with the key `key` while `is_over` is not set: they find it expired as soon as it is.
fn disturb(address: &str, key: &str, is_over: &AtomicBool) {
    let mut client = Client::connect(address);
    let all: &[&[&str]] = &[&["GET", key], &["EXISTS", key], &["SCAN", "0"], &["RANDOMKEY"], &["TTL", key]];
    while !is_over.load(Ordering::Relaxed) {
        for request in all {
            client.call(request);
        }
    }
}

#[test]
fn a_key_that_expires_while_a_transaction_runs_is_there_until_its_end_whoever_looks() {
    for shards in SHARDS {
        let server = Server::with_shards(shards);
        let mut client = server.client();
        let rounds = rounds(&mut client);
        let key = name_on(shards - 1, shards, 0);
        let other = name_on(0, shards, 1);
        let script = format!(
            "local a = redis.call('EXISTS', KEYS[1]) {WORK} return {{a, redis.call('EXISTS', KEYS[1])}}"
        );
        let is_over = AtomicBool::new(false);
        let (mut there, mut runs) = (0, 0);
        thread::scope(|scope| {
            let (address, key, is_over) = (server.address(), &key, &is_over);
            let _ends = EndsOthers(is_over);
            scope.spawn(move || disturb(&address, key, is_over));
            // On a busy machine it may have expired before the transaction begins.
            while there < 12 && runs < 400 {
                runs += 1;
                let set = words(&format!("SET {key} 1 PX {TTL_MS}"));
                let body = [
                    words(&format!("EXISTS {key}")),
                    vec![
                        "EVAL".into(),
                        format!("{WORK} return 1"),
                        "1".into(),
                        other.clone(),
                        rounds.clone(),
                    ],
                    words(&format!("EXISTS {key}")),
                ];
                let seen = match runs % 2 {
                    0 => {
                        let run =
                            vec!["EVAL".into(), script.clone(), "1".into(), key.clone(), rounds.clone()];
                        client.pipeline(&[set, run]).pop().unwrap()
                    }
                    _ => {
                        let requests =
                            [vec![set, words("MULTI")], body.to_vec(), vec![words("EXEC")]].concat();
                        let reply = client.pipeline(&requests).pop().unwrap();
                        Value::Array(vec![reply.elements()[0].clone(), reply.elements()[2].clone()])
                    }
                };
                assert_eq!(seen.elements()[0], seen.elements()[1], "{shards} shards, run {runs}");
                there += usize::from(seen.elements()[0] == Value::Integer(1));
            }
        });
        assert!(there >= 12, "{shards} shards: the key was there in {there} of {runs} runs");
    }
}

/// Values of this length fill the memory with so few keys that one in use would often be evicted.
const FILLING: usize = 10_000;
/// What the tests of eviction leave for keys, and for the log and the connections, which count too, bytes.
const ROOM: u64 = 20_000_000;

/// Gives the server room for a few keys.
fn limit_memory(client: &mut Client, policy: &str) {
    let used = info(client, "used_memory");
    assert!(client.call(&["CONFIG", "SET", "maxmemory-policy", policy]).is_ok());
    assert!(client.call(&["CONFIG", "SET", "maxmemory", &(used + ROOM).to_string()]).is_ok());
}

fn fill(address: &str, number: usize, is_over: &AtomicBool) {
    let mut client = Client::connect(address);
    let value = vec![b'v'; FILLING];
    for n in (0..).take_while(|_| !is_over.load(Ordering::Relaxed)) {
        let key = format!("filling:{number}:{}", n % 5_000);
        let reply = client.call(&[b"SET", key.as_bytes(), &value, b"EX", b"1000"]);
        assert!(reply.is_ok(), "{reply:?}");
    }
}

/// Builds `xyz` in a key step by step, with commands on other shards between the steps.
fn build(
    address: &str,
    shards: usize,
    number: usize,
    by_script: bool,
    is_over: &AtomicBool,
    all_runs: &AtomicUsize,
) {
    let mut client = Client::connect(address);
    let mut runs = 0;
    let value = "v".repeat(FILLING);
    let script = "redis.call('SET', KEYS[1], 'x', 'EX', 1000) redis.call('SET', KEYS[2], ARGV[1]) \
                  redis.call('APPEND', KEYS[1], 'y') redis.call('SET', KEYS[3], ARGV[1]) \
                  redis.call('APPEND', KEYS[1], 'z') return redis.call('GET', KEYS[1])";
    while !is_over.load(Ordering::Relaxed) {
        let key = name_on(runs, shards, 1000 * number + runs % 20);
        let others: Vec<String> =
            (0..3).map(|n| name_on(n, shards, 1000 * number + 100 + runs % 7)).collect();
        let result = if by_script {
            client.call(&["EVAL", script, "3", &key, &others[0], &others[1], &value])
        } else {
            let mset = |from: usize| {
                let mut args = vec!["MSET".to_owned()];
                for n in 0..2 {
                    args.extend([others[(from + n) % 3].clone(), value.clone()]);
                }
                args
            };
            let commands = [
                words(&format!("SET {key} x EX 1000")),
                mset(0),
                words(&format!("APPEND {key} y")),
                mset(1),
                words(&format!("APPEND {key} z")),
                words(&format!("GET {key}")),
            ];
            exec(&mut client, &commands).elements()[5].clone()
        };
        assert_eq!(result, Value::bulk("xyz"), "run {runs} of {number}, {shards} shards");
        runs += 1;
        all_runs.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn what_a_transaction_works_on_is_not_evicted_and_the_log_tells_the_same() {
    for (shards, policy) in
        [(1, "allkeys-random"), (2, "allkeys-random"), (2, "allkeys-lfu"), (3, "volatile-ttl")]
    {
        let mut server = logging(shards);
        let mut client = server.client();
        limit_memory(&mut client, policy);
        let is_over = AtomicBool::new(false);
        let runs = AtomicUsize::new(0);
        thread::scope(|scope| {
            for number in 0..4 {
                let (address, is_over, runs) = (server.address(), &is_over, &runs);
                scope.spawn(move || fill(&address, number, is_over));
                let address = server.address();
                scope.spawn(move || build(&address, shards, number, number % 2 == 1, is_over, runs));
            }
            // A machine that has other things to do takes its time.
            let (began, patience) = (Instant::now(), Duration::from_secs(60));
            let is_enough =
                |client: &mut Client| info(client, "evicted_keys") > 100 && runs.load(Ordering::Relaxed) > 20;
            while began.elapsed() < Duration::from_millis(1500)
                || began.elapsed() < patience && !is_enough(&mut client)
            {
                thread::sleep(Duration::from_millis(50));
            }
            is_over.store(true, Ordering::Relaxed);
        });
        assert!(info(&mut client, "evicted_keys") > 100, "{policy}: there was always room");
        assert!(runs.load(Ordering::Relaxed) > 20, "{policy}: hardly any transaction");
        assert!(client.call(&["CONFIG", "SET", "maxmemory", "0"]).is_ok());
        let digest = client.call(&["DEBUG", "DIGEST"]);
        server.kill9();
        server.restart();
        let mut client = server.client();
        assert!(
            support::eventually(|| !client.call(&["EXISTS", "a"]).is_error()),
            "it does not stop loading"
        );
        assert_eq!(client.call(&["DEBUG", "DIGEST"]), digest, "{shards} shards, {policy}");
    }
}

#[test]
fn keys_that_expire_under_transactions_are_the_same_after_a_restart() {
    for shards in SHARDS {
        let mut server = logging(shards);
        let mut client = server.client();
        let rounds = rounds(&mut client);
        let (source, target, side) = ("{t}source", "{t}target", "{t}side");
        let other = (0..).map(|n| format!("other{n}")).find(|name| {
            use gyre::slots::shard_of_slot;
            use gyre::store::slot_of;
            shards == 1
                || shard_of_slot(slot_of(name.as_bytes()), shards) != shard_of_slot(slot_of(b"t"), shards)
        });
        let other = other.expect("the other shards have names");
        client.call(&["SADD", side, "kept"]);
        let (mut writer, mut counter) = (server.client(), server.client());
        for _ in 0..10 {
            // While the transaction has the key, another client finds it expired, and what it writes depends on that.
            client.pipeline(&[
                words(&format!("SADD {source} gone")),
                words(&format!("PEXPIRE {source} {TTL_MS}")),
            ]);
            let body = [
                words(&format!("SCARD {source}")),
                vec!["EVAL".into(), format!("{WORK} return 1"), "1".into(), other.clone(), rounds.clone()],
                words(&format!("SCARD {source}")),
                words(&format!("SADD {other} x")),
            ];
            let requests = [vec![words("MULTI")], body.to_vec(), vec![words("EXEC")]].concat();
            let bytes: Vec<u8> = requests.iter().flat_map(|args| Client::encode(args)).collect();
            client.send_raw(&bytes);
            for _ in 0..10 {
                thread::sleep(Duration::from_millis(3));
                writer.call(&["SUNIONSTORE", target, source, side]);
                counter.call(&["ZUNIONSTORE", "{t}sorted", "2", source, side]);
            }
            let seen = (0..requests.len()).map(|_| client.receive()).last().expect("EXEC answers");
            assert_eq!(seen.elements()[0], seen.elements()[2]);
        }
        // Nothing that expires is left.
        assert!(client.call(&["EXISTS", source]).integer() <= 1);
        client.call(&["DEL", source]);
        let digest = client.call(&["DEBUG", "DIGEST"]);
        server.kill9();
        server.restart();
        let mut client = server.client();
        assert!(
            support::eventually(|| !client.call(&["EXISTS", "a"]).is_error()),
            "it does not stop loading"
        );
        assert_eq!(client.call(&["DEBUG", "DIGEST"]), digest, "{shards} shards");
    }
}

#[test]
fn a_full_memory_whose_keys_are_all_in_use_refuses_nothing_and_holds_nobody_up() {
    let shards = 2;
    let server = Server::with_shards(shards);
    let mut client = server.client();
    let rounds = rounds(&mut client);
    let keys: Vec<String> = (0..2).map(|number| name_on(number, shards, number)).collect();
    let script = format!(
        "redis.call('GET', KEYS[1]) redis.call('GET', KEYS[2]) {WORK} return redis.call('STRLEN', KEYS[1])"
    );
    let run = ["EVAL", &script, "2", &keys[0], &keys[1], &rounds];
    // It is known from then on to keep to its keys.
    client.call(&run);
    for key in &keys {
        client.call(&["SET", key, &"v".repeat(1_000_000)]);
    }
    for policy in ["allkeys-random", "allkeys-lru", "allkeys-lfu"] {
        let used = info(&mut client, "used_memory");
        client.call(&["CONFIG", "SET", "maxmemory-policy", policy]);
        client.send(&run);
        let mut other = server.client();
        assert!(other.call(&["CONFIG", "SET", "maxmemory", &(used - 10_000).to_string()]).is_ok());
        for n in 0..10 {
            let reply = other.call(&["SET", &name_on(n, shards, 100 + n), "small"]);
            assert!(reply.is_ok(), "{policy}: {reply:?}");
        }
        assert!(client.receive().integer() >= 0);
        assert!(other.call(&["CONFIG", "SET", "maxmemory", "0"]).is_ok());
        for key in &keys {
            client.call(&["SET", key, &"v".repeat(1_000_000)]);
        }
    }
}

#[test]
fn a_script_inside_exec_evicts_nothing_that_the_body_works_on() {
    for shards in SHARDS {
        let server = Server::with_shards(shards);
        let mut client = server.client();
        limit_memory(&mut client, "allkeys-random");
        // Two of them, the request and the queue, fit; three do not.
        let big = "v".repeat(ROOM as usize * 2 / 7);
        let keys: Vec<String> = (0..3).map(|number| name_on(number, shards, number)).collect();
        for _ in 0..10 {
            let body = [
                words(&format!("SET {} kept", keys[0])),
                words(&format!("SET {} {big}", keys[1])),
                words(&format!("EVAL redis.call('SET',KEYS[1],'x') 1 {}", keys[2])),
                words(&format!("EVAL redis.call('SET',KEYS[1],'y') 1 {}", keys[2])),
                words(&format!("MGET {} {}", keys[0], keys[2])),
            ];
            let reply = exec(&mut client, &body);
            let kept = ["kept", "y"].map(Value::bulk).to_vec();
            assert_eq!(reply.elements()[4], Value::Array(kept), "{shards} shards");
        }
    }
}

#[test]
fn a_watched_key_that_has_expired_by_the_time_of_exec_makes_it_fail_and_no_other_does() {
    for shards in SHARDS {
        let server = Server::with_shards(shards);
        let (mut client, mut other) = (server.client(), server.client());
        let rounds = rounds(&mut client);
        let keys: Vec<String> = (0..3).map(|number| name_on(number, shards, number)).collect();
        for _ in 0..8 {
            let replies = client.pipeline(&[
                words(&format!("SET {} x PX {TTL_MS}", keys[0])),
                words(&format!("WATCH {}", keys[0])),
                words(&format!("EXISTS {}", keys[0])),
            ]);
            // EXEC has to wait for this, because it needs what the script has.
            let held = [&keys[1], &keys[2]];
            other.send(&["EVAL", &format!("{WORK} return 1"), "2", held[0], held[1], &rounds]);
            let body = [
                words(&format!("EXISTS {}", keys[0])),
                words(&format!("SET {} y", keys[1])),
                words(&format!("SET {} y", keys[2])),
            ];
            let reply = exec(&mut client, &body);
            other.receive();
            // On a busy machine it may have expired before it was watched.
            let was_there = replies[2] == Value::Integer(1);
            let is_right = reply.is_null() || !was_there || reply.elements()[0] == Value::Integer(1);
            assert!(is_right, "{shards} shards: {reply:?}");
        }
    }
}
