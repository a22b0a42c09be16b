//! BGSAVE saves what was there at one instant, on all shards, whatever is written while it begins: what one client wrote in order is not in
//! the file in another, and a transaction is there whole or not at all.

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use support::{name_on, within, Client, Random, Server, Value};

const PATIENCE: Duration = Duration::from_secs(60);
/// Each of so many clients has keys of its own.
const WRITERS: usize = 6;
const SAVES: usize = 12;
/// Elements of a list that is saved in pieces.
const LARGE: usize = 3000;

fn field(client: &mut Client, name: &str) -> String {
    let text = client.call(&["INFO", "all"]).text();
    let prefix = format!("{name}:");
    text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default().to_owned()
}

/// The keys of a writer, by shard.
fn step(writer: usize, shard: usize, shards: usize) -> String {
    name_on(shard, shards, writer * 1000)
}

fn account(writer: usize, shard: usize, shards: usize) -> String {
    name_on(shard, shards, writer * 1000 + 1)
}

fn large(shard: usize, shards: usize) -> String {
    name_on(shard, shards, 900_000)
}

/// Writes until it is told to stop: the same number to one shard after the other, and money from one account to another.
fn write(client: &mut Client, writer: usize, shards: usize, stop: &AtomicBool, rounds: &AtomicU64) {
    let mut random = Random::new(writer as u64 + 1);
    let mut number = 0u64;
    while !stop.load(Relaxed) {
        number += 1;
        for shard in 0..shards {
            let reply = client.call(&["SET", &step(writer, shard, shards), &number.to_string()]);
            assert!(reply.is_ok(), "{reply:?}");
        }
        let (from, to) = (random.below(shards), random.below(shards));
        let amount = random.below(100).to_string();
        client.call(&["MULTI"]);
        client.call(&["DECRBY", &account(writer, from, shards), &amount]);
        client.call(&["INCRBY", &account(writer, to, shards), &amount]);
        assert_eq!(client.call(&["EXEC"]).elements().len(), 2);
        // Keys come and go, and a large value changes.
        let name = format!("gone:{writer}:{}", number % 50);
        client.call(&["SET", &name, "x"]);
        client.call(&["DEL", &format!("gone:{writer}:{}", (number + 25) % 50)]);
        if writer == 0 && number.is_multiple_of(16) {
            let list = large(random.below(shards), shards);
            client.call(&["RPOPLPUSH", &list, &list]);
        }
        rounds.fetch_add(1, Relaxed);
    }
}

/// Ends the writers, also when a check fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn integer(keys: &HashMap<String, Value>, key: &str) -> i64 {
    keys.get(key).map_or(0, |value| value.text().parse().unwrap())
}

/// What is in the file must be a state that was.
fn check(loaded: &mut Client, shards: usize) -> i64 {
    let mut names: Vec<String> = Vec::new();
    for writer in 0..WRITERS {
        for shard in 0..shards {
            names.extend([step(writer, shard, shards), account(writer, shard, shards)]);
        }
    }
    let mut request = vec!["MGET".to_owned()];
    request.extend(names.iter().cloned());
    let values = loaded.call(&request);
    let keys: HashMap<String, Value> = names.into_iter().zip(values.elements().iter().cloned()).collect();
    let keys: HashMap<String, Value> = keys.into_iter().filter(|(_, value)| !value.is_null()).collect();
    let mut seen = 0;
    for writer in 0..WRITERS {
        let steps: Vec<i64> = (0..shards).map(|s| integer(&keys, &step(writer, s, shards))).collect();
        for pair in steps.windows(2) {
            assert!(pair[0] == pair[1] || pair[0] == pair[1] + 1, "writer {writer}: {steps:?}");
        }
        assert!(steps[0] - steps[shards - 1] <= 1, "writer {writer}: {steps:?}");
        let sum: i64 = (0..shards).map(|s| integer(&keys, &account(writer, s, shards))).sum();
        assert_eq!(sum, 0, "writer {writer}: half a transaction was saved");
        seen += steps[0];
    }
    for shard in 0..shards {
        let list = loaded.call(&["LRANGE", &large(shard, shards), "0", "-1"]);
        let mut elements: Vec<String> = list.elements().iter().map(Value::text).collect();
        assert_eq!(elements.len(), LARGE);
        // Rotated, and nothing else.
        let first = elements.iter().position(|element| element.starts_with("0000:")).unwrap();
        elements.rotate_left(first);
        assert!(elements.is_sorted());
    }
    seen
}

fn saves_are_of_one_instant(shards: usize, command: &[&str]) {
    let server = Server::start(&["--shards", &shards.to_string(), "--save", "", "--rdbcompression", "no"]);
    let mut client = server.client();
    for shard in 0..shards {
        for number in 0..LARGE {
            client.call(&["RPUSH", &large(shard, shards), &format!("{number:04}:{}", "x".repeat(60))]);
        }
    }
    // So that a child is not done at once.
    let fill: Vec<Vec<String>> =
        (0..20_000).map(|n| vec!["SET".into(), format!("fill:{n}"), "y".repeat(200)]).collect();
    client.pipeline(&fill);
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut loaded = Server::start(&["--shards", "1", "--save", ""]);
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        for writer in 0..WRITERS {
            let (mut client, stop, rounds) = (server.client(), &stop, &rounds);
            scope.spawn(move || write(&mut client, writer, shards, stop, rounds));
        }
        let mut last = 0;
        for _ in 0..SAVES {
            let before = rounds.load(Relaxed);
            assert!(within(PATIENCE, || rounds.load(Relaxed) > before + 20), "the writers stand still");
            assert_eq!(client.call(command).text(), "Background saving started");
            assert!(within(PATIENCE, || field(&mut client, "rdb_bgsave_in_progress") == "0"));
            assert_eq!(field(&mut client, "rdb_last_bgsave_status"), "ok", "{}", server.log());
            std::fs::copy(server.dir.join("dump.rdb"), loaded.dir.join("dump.rdb")).unwrap();
            loaded.kill9();
            loaded.restart();
            let mut reader = loaded.client();
            assert!(within(PATIENCE, || !reader.call(&["GET", "a"]).is_error()));
            let seen = check(&mut reader, shards);
            assert!(seen > last, "the writers' work is in the file");
            last = seen;
        }
    });
}

#[test]
fn children_that_are_forked_one_after_the_other_save_one_instant() {
    saves_are_of_one_instant(2, &["BGSAVE", "FORK"]);
    saves_are_of_one_instant(4, &["BGSAVE", "FORK"]);
}

#[test]
fn one_child_saves_one_instant() {
    saves_are_of_one_instant(1, &["BGSAVE", "FORK"]);
}

#[test]
fn without_fork_one_instant_is_saved() {
    saves_are_of_one_instant(2, &["BGSAVE", "FORKLESS"]);
}
