//! The simplest thing to lose: numbers. Many clients count as fast as they are answered, on a machine that is busy with other things, and
//! the process is killed. What anybody was told must be there, by a reply or by a message, whatever the policy.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::policy::Policy;
use super::process::{log_tail, Dir, Process};
use super::support::{name_on, setting, Client, Random, Value};
use super::{spin, wait_for_rewrite};

const CLIENTS: usize = 8;
const COUNTERS: usize = 4;
const PIPELINE_MAX: usize = 16;
const SHARDS: [usize; 3] = [1, 2, 3];
/// Kills for each number of shards.
const ROUNDS_DEFAULT: u64 = 2;
const SEED_DEFAULT: u64 = 7;

/// What somebody was told of each counter at most.
type Told = HashMap<String, i64>;

/// A client's counters lie on all shards.
fn names(client: usize, shards: usize) -> Vec<String> {
    (0..COUNTERS)
        .map(|counter| format!("{{{}}}:{client}", name_on(counter % shards, shards, counter / shards)))
        .collect()
}

/// Counts, one by one and two at once, until the server is gone.
fn count(address: &str, names: &[String], mut random: Random) -> Told {
    let mut told = Told::new();
    let Ok(mut client) = Client::try_connect(address) else { return told };
    loop {
        let mut bytes = Vec::new();
        let mut sent: Vec<Vec<&str>> = Vec::new();
        for _ in 0..1 + random.below(PIPELINE_MAX) {
            let (one, other) = (random.pick(names), random.pick(names));
            if random.one_in(8) && one != other {
                let commands = [&["MULTI"][..], &["INCR", one], &["INCR", other], &["EXEC"]];
                commands.iter().for_each(|command| bytes.extend(Client::encode(command)));
                sent.push(vec![one, other]);
            } else {
                bytes.extend(Client::encode(&["INCR", one]));
                sent.push(vec![one]);
            }
        }
        if client.try_send_raw(&bytes).is_err() {
            return told;
        }
        for counters in sent {
            // Of a body only the last reply counts: before it come OK and two times QUEUED.
            let skipped = if counters.len() > 1 { 3 } else { 0 };
            let mut replies = (0..=skipped).map(|_| client.try_receive());
            let Some(Ok(last)) = replies.nth(skipped) else { return told };
            let values = match last {
                Value::Array(values) => values,
                value => vec![value],
            };
            assert_eq!(values.len(), counters.len(), "{values:?}");
            for (counter, value) in counters.into_iter().zip(values) {
                told.insert(counter.to_owned(), value.integer());
            }
        }
    }
}

/// Reads the events of the counters until the server is gone: how many there were is what each has come to at least.
fn listen(address: &str) -> Told {
    let mut told = Told::new();
    let Ok(mut client) = Client::try_connect(address) else { return told };
    if client.try_call(&["PSUBSCRIBE", "__keyspace@0__:*"]).is_err() {
        return told;
    }
    while let Ok(message) = client.try_receive() {
        let Value::Array(message) = message else { continue };
        if let [_, _, channel, _] = &message[..] {
            let channel = channel.text();
            let name = channel.trim_start_matches("__keyspace@0__:").to_owned();
            *told.entry(name).or_default() += 1;
        }
    }
    told
}

/// Changes the policy all the time, until the server is gone.
fn change_policy(address: &str, mut random: Random) {
    let Ok(mut client) = Client::try_connect(address) else { return };
    let policies = [Policy::Always, Policy::EverySecond, Policy::No];
    while client.try_call(&["CONFIG", "SET", "appendfsync", random.pick(&policies).name()]).is_ok() {
        std::thread::sleep(Duration::from_millis(random.below(20) as u64));
    }
}

/// One directory in which a server is killed `rounds` times.
fn survive(policy: Policy, shards: usize, rounds: usize, seed: u64) -> usize {
    let mut random = Random::new(seed);
    let dir = Dir::new();
    let options: Vec<String> =
        ["--appendfsync", policy.name(), "--notify-keyspace-events", "KA"].map(str::to_owned).to_vec();
    let start = || {
        let mut server = Process::spawn(&dir, shards, &options);
        server.wait_until_ready().unwrap_or_else(|why| panic!("{why}:\n{}", log_tail(&dir)));
        server
    };
    let mut server = start();
    let mut acknowledged = 0;
    for round in 0..rounds {
        let stop = AtomicBool::new(false);
        let address = server.address();
        let before: Told = read(&mut server, shards);
        let (rewrites, changes_policy) = (random.one_in(3), random.one_in(4));
        let told: Vec<(&str, Told)> = std::thread::scope(|scope| {
            let (stop, address) = (&stop, &address);
            spin(scope, stop);
            let listener = scope.spawn(move || listen(address));
            let counting: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let random = random.fork();
                    scope.spawn(move || count(address, &names(client, shards), random))
                })
                .collect();
            if changes_policy {
                let random = random.fork();
                scope.spawn(move || change_policy(address, random));
            }
            let run_ms = 100 + random.below(500) as u64;
            std::thread::sleep(Duration::from_millis(run_ms / 2));
            if rewrites {
                assert!(!server.client().call(&["BGREWRITEAOF"]).is_error());
            }
            std::thread::sleep(Duration::from_millis(run_ms / 2));
            server.kill9();
            stop.store(true, Ordering::Relaxed);
            let counted = counting.into_iter().map(|thread| ("a reply", thread.join().expect("it counts")));
            let mut told: Vec<_> = counted.collect();
            // Its events count from what was there before.
            let heard = listener.join().expect("it listens");
            let heard = heard.into_iter().map(|(name, events)| {
                let value = events + before.get(&name).copied().unwrap_or(0);
                (name, value)
            });
            told.push(("events", heard.collect()));
            told
        });
        server = start();
        let there = read(&mut server, shards);
        for (by, told) in &told {
            for (name, value) in told {
                let found = there.get(name).copied().unwrap_or(0);
                assert!(
                    found >= *value,
                    "seed {seed}, round {round}, {} with {shards} shards: {by} said that {name} is {value}, and it is {found}\n{}",
                    policy.name(),
                    log_tail(&dir)
                );
            }
        }
        let sum = |told: &Told| told.values().sum::<i64>();
        acknowledged += (sum(&there) - sum(&before)) as usize;
        wait_for_rewrite(&mut server.client()).expect("a rewrite that goes on");
    }
    acknowledged
}

/// What is there.
fn read(server: &mut Process, shards: usize) -> Told {
    let mut client = server.client();
    let names = (0..CLIENTS).flat_map(|client| names(client, shards));
    let value = |value: Value| if value.is_null() { 0 } else { value.text().parse().expect("a number") };
    names.map(|name| (name.clone(), value(client.call(&["GET", &name])))).collect()
}

fn survives(policy: Policy) {
    let rounds = setting("GYRE_TEST_ROUNDS", ROUNDS_DEFAULT) as usize;
    let seed = setting("GYRE_TEST_SEED", SEED_DEFAULT);
    for shards in SHARDS {
        let counted = survive(policy, shards, rounds, seed);
        eprintln!(
            "appendfsync {}: {rounds} kills on a busy machine with {shards} shards, {counted} counted, none lost",
            policy.name()
        );
    }
}

#[test]
fn on_a_busy_machine_a_killed_process_takes_nothing_along_that_somebody_was_told_of_with_always() {
    survives(Policy::Always);
}

#[test]
fn on_a_busy_machine_a_killed_process_takes_nothing_along_that_somebody_was_told_of_with_everysec() {
    survives(Policy::EverySecond);
}

#[test]
fn on_a_busy_machine_a_killed_process_takes_nothing_along_that_somebody_was_told_of_with_no() {
    survives(Policy::No);
}
