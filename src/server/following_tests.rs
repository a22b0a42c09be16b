//! Real shards in this process that do what a replica's do: they apply a stream, take over a snapshot, and obey their role.

use std::path::PathBuf;
use std::sync::mpsc::Receiver;

use super::feed_tests::{Client, Running, SHARDS};
use super::*;
use crate::repl::replica::stream::{Bounds, Cutter, Schedule, Target};
use crate::repl::wire::command;
use crate::replication::{AsideSource, FollowEvent, FollowMessage, Told};
use crate::shard::LEADER;
use crate::slots::shard_of_slot;
use crate::store::slot_of;

const PATIENCE: Duration = Duration::from_secs(30);
const BOUNDS: Bounds = Bounds { command_max: 1 << 20, transaction_max: 1 << 20, databases: 16 };

struct Follower {
    running: Running,
    told: Told,
    heard: Receiver<FollowEvent>,
}

impl Follower {
    fn start() -> Follower {
        let running = Running::start(false);
        let (tell, heard) = mpsc::channel();
        let told: Told = Arc::new(move |event| drop(tell.send(event)));
        let follower = Follower { running, told, heard };
        follower.post(LEADER, FollowMessage::BecomeReplica { told: follower.told.clone() });
        assert!(matches!(follower.hear(), FollowEvent::IsReplica { .. }));
        follower
    }

    fn post(&self, shard: usize, message: FollowMessage) {
        self.running.shared.thread_inbox.post(shard, message.into());
    }

    fn hear(&self) -> FollowEvent {
        self.heard.recv_timeout(PATIENCE).unwrap()
    }

    fn client(&self) -> Client {
        Client::connect(self.running.port)
    }

    /// Has the shards apply a stream, as the link does.
    fn apply(&self, lines: &[String]) {
        let mut cutter = Cutter::new(0, 0, BOUNDS);
        let mut schedule = Schedule::new(SHARDS, 0, 0, usize::MAX);
        for line in lines {
            cutter.push(&command(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>()));
            while let Some(item) = cutter.next().unwrap() {
                schedule.push(item);
            }
        }
        let end = cutter.read();
        while schedule.applied() < end {
            while let Some(work) = schedule.next_work() {
                let shard = match &work.target {
                    Target::One(shard) => *shard,
                    Target::Several(shards) => shards[0],
                };
                let (work, items) = (work.id, work.items);
                self.post(shard, FollowMessage::Apply { work, items, told: self.told.clone() });
            }
            match self.hear() {
                FollowEvent::Applied { work } => schedule.done(work),
                _ => panic!("it has not been applied"),
            }
        }
    }

    /// Whether all shards have loaded the file.
    fn load(&self, path: &std::path::Path) -> bool {
        for shard in 0..SHARDS {
            let path = path.to_owned();
            self.post(
                shard,
                FollowMessage::LoadAside { source: AsideSource::File(path), told: self.told.clone() },
            );
        }
        let mut is_good = true;
        for _ in 0..SHARDS {
            match self.hear() {
                FollowEvent::LoadedAside { result, .. } => is_good &= result.is_ok(),
                _ => panic!("something else"),
            }
        }
        is_good
    }
}

/// A key of each shard.
fn on(shard: usize, number: usize) -> String {
    (0..)
        .map(|n| format!("k{n}"))
        .filter(|key| shard_of_slot(slot_of(key.as_bytes()), SHARDS) == shard)
        .nth(number)
        .unwrap()
}

fn line(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

/// A function that a replica may run, for it says that it writes nothing.
const READS: &str =
    "redis.register_function{function_name='f', callback=function() return 7 end, flags={'no-writes'}}";

#[test]
fn shards_apply_a_stream_and_transactions_over_them_are_whole() {
    let follower = Follower::start();
    let [a, b, c] = [0, 1, 2].map(|shard| on(shard, 0));
    let other = on(1, 1);
    // The first that a shard hears of is not in the first database.
    let mut stream = vec!["SELECT 5".into(), format!("SET {a} far"), "SELECT 0".into()];
    stream.push(format!("MSET {a} 0 {b} 0 {c} 0"));
    for n in 1..400 {
        stream.push(format!("RPUSH {} {n}", on(n % SHARDS, 2)));
        stream.push("MULTI".into());
        stream.extend([&a, &b, &c].map(|key| format!("INCR {key}")));
        stream.push("EXEC".into());
        if n % 40 == 0 {
            stream.extend([format!("SET {other} {n}"), format!("RENAME {other} {}", on(2, 3))]);
        }
    }
    stream.extend(["SELECT 3".into(), format!("SET {a} there"), "SELECT 4".into(), "SWAPDB 3 4".into()]);
    // What makes no sense is passed over.
    stream.extend(["SHUTDOWN NOW".into(), "CONFIG SET port 1".into(), "NOSUCH x".into(), "QUIT".into()]);
    stream.push(format!("INCR {}", on(0, 2)));
    std::thread::scope(|scope| {
        let mut client = follower.client();
        let (a, b, c) = (&a, &b, &c);
        let reader = scope.spawn(move || {
            let mut seen = Vec::new();
            while seen.last().is_none_or(|last| last != "399") {
                let values = client.call(&[format!("MGET {a} {b} {c}")]);
                assert!(values.iter().all(|value| *value == values[0]), "half a transaction: {values:?}");
                seen.push(values[0].clone());
            }
        });
        follower.apply(&stream);
        reader.join().unwrap();
    });
    let mut client = follower.client();
    for shard in 0..SHARDS {
        let expected: Vec<String> = (1..400).filter(|n| n % SHARDS == shard).map(|n| n.to_string()).collect();
        assert_eq!(client.call(&[format!("LRANGE {} 0 -1", on(shard, 2))]), expected);
    }
    assert_eq!(client.call(&[format!("GET {}", on(2, 3))]), ["360"]);
    assert_eq!(client.call(&["SELECT 5".into(), format!("GET {a}")]), ["far"]);
    assert_eq!(client.call(&["SELECT 4".into(), format!("GET {a}")]), ["there"]);
}

#[test]
fn a_replica_is_read_only_until_it_is_promoted() {
    let follower = Follower::start();
    let mut client = follower.client();
    let key = on(1, 0);
    let refused = "READONLY You can't write against a read only replica.";
    for text in [format!("SET {key} 1"), format!("MSET {key} 1 {} 2", on(2, 0)), "FLUSHALL".into()] {
        assert_eq!(client.error(&text), refused);
    }
    let mut waiter = follower.client();
    waiter.send(&format!("BLPOP {key} 0"));
    follower.post(LEADER, FollowMessage::BecomeReplica { told: follower.told.clone() });
    assert!(matches!(follower.hear(), FollowEvent::IsReplica { .. }));
    assert_eq!(waiter.error("PING").split(' ').next(), Some("READONLY"), "it was refused before");
    follower.post(LEADER, FollowMessage::BecomeMaster { bell: None, told: follower.told.clone() });
    assert!(matches!(follower.hear(), FollowEvent::IsMaster { reader: None }));
    assert_eq!(client.call(&[format!("SET {key} 1")]), ["OK"]);
    let mut waiter = follower.client();
    waiter.send(&format!("BLPOP none {} 0", on(2, 0)));
    while !client.call(&line("INFO clients"))[0].contains("blocked_clients:1\r\n") {
        std::thread::sleep(Duration::from_millis(1));
    }
    follower.post(LEADER, FollowMessage::BecomeReplica { told: follower.told.clone() });
    assert!(matches!(follower.hear(), FollowEvent::IsReplica { .. }));
    let text = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";
    assert_eq!(waiter.next_error(), text);
    assert!(waiter.is_closed());
}

#[test]
fn what_has_expired_is_there_for_the_master_and_for_nobody_else() {
    let follower = Follower::start();
    let (a, b) = (on(0, 0), on(1, 0));
    follower.apply(&[format!("SET {a} 5 PXAT 1000"), format!("SET {b} 5 PXAT 1000")]);
    let mut client = follower.client();
    let absent = |client: &mut Client| {
        assert_eq!(client.call(&[format!("EXISTS {a} {b}")]), ["0"]);
        assert_eq!(client.call(&[format!("GET {a}")]), ["-1"]);
        assert_eq!(client.call(&line("KEYS *")), Vec::<String>::new());
    };
    absent(&mut client);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(client.call(&line("DBSIZE")), ["2"], "the master deletes them");
    // Both in one command, which is a transaction over shards.
    follower.apply(&[format!("INCR {a}"), format!("MSETNX {a} x {b} x"), format!("PERSIST {a}")]);
    assert_eq!(client.call(&[format!("GET {a}")]), ["6"]);
    assert_eq!(client.call(&[format!("SUNION {b} {a}x")]), Vec::<String>::new());
    follower.apply(&[format!("DEL {b}")]);
    assert_eq!(client.call(&line("DBSIZE")), ["1"]);
    // What clients write to a replica that may be written to is this server's to delete.
    client.call(&line("CONFIG SET replica-read-only no"));
    client.call(&[format!("SET {b} mine PX 1")]);
    let until = Instant::now() + PATIENCE;
    while client.call(&line("DBSIZE")) != ["1"] {
        assert!(Instant::now() < until, "nobody deletes it");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn rdb(keys: &[(&str, &str)], more: &[u8]) -> Vec<u8> {
    let mut file = b"REDIS0011\xfa\x0erepl-stream-db\x013\xfe\x00".to_vec();
    for (key, value) in keys {
        file.push(0);
        for text in [key, value] {
            file.push(text.len() as u8);
            file.extend_from_slice(text.as_bytes());
        }
    }
    file.extend_from_slice(more);
    file.push(0xff);
    file.extend_from_slice(&[0; 8]);
    file
}

/// The record of a library of functions.
fn library(code: &str) -> Vec<u8> {
    let code = format!("#!lua name=lib\n{code}");
    let mut record = vec![0xf5, 0x40 | (code.len() >> 8) as u8, code.len() as u8];
    record.extend_from_slice(code.as_bytes());
    record
}

struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str, bytes: &[u8]) -> TemporaryFile {
        let path = std::env::temp_dir().join(format!("gyre-following-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        TemporaryFile(path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn new_data_takes_the_place_of_the_old_when_it_has_proved_whole() {
    let follower = Follower::start();
    let names: Vec<String> = (0..300).map(|n| format!("new{n}")).collect();
    let keys: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    let old: Vec<String> = (0..300).map(|n| format!("SET old{n} {n}")).collect();
    follower.apply(&old);
    let good = rdb(&keys, &library(READS));
    let bad_library = rdb(&keys, &library("broken("));
    let unknown_type = rdb(&keys, b"\xc8\x01k\x01v");
    let mut client = follower.client();
    for (name, bytes) in [
        ("short", &good[..good.len() / 2]),
        ("headless", &good[..9]),
        ("empty", b""),
        ("garbage", b"*1\r\n$4\r\nPING\r\n"),
        ("unknown", &unknown_type),
        ("library", &bad_library),
    ] {
        let file = TemporaryFile::new(name, bytes);
        assert!(!follower.load(&file.0), "{name}");
        (0..SHARDS).for_each(|shard| follower.post(shard, FollowMessage::DropAside));
        assert_eq!(client.call(&line("DBSIZE")), ["300"], "{name}");
        assert_eq!(client.call(&line("GET old7")), ["7"], "{name}");
    }
    let file = TemporaryFile::new("good", &good);
    assert!(follower.load(&file.0));
    assert_eq!(client.call(&line("GET old7")), ["7"], "it is not in its place yet");
    let mut watcher = follower.client();
    watcher.call(&["WATCH old7".into(), "MULTI".into(), "PING".into()]);
    follower.post(LEADER, FollowMessage::TakeOver { told: follower.told.clone() });
    assert!(matches!(follower.hear(), FollowEvent::TookOver));
    assert_eq!(client.call(&line("DBSIZE")), ["300"]);
    assert_eq!(client.call(&line("EXISTS old7")), ["0"]);
    assert_eq!(client.call(&line("GET new299")), ["v"]);
    assert_eq!(client.call(&line("FCALL f 0")), ["7"]);
    assert_eq!(watcher.call(&line("EXEC")), Vec::<String>::new());
    // The stream goes on behind it.
    follower.apply(&["INCR n".into(), "DEL new0 new1 new2".into()]);
    assert_eq!(client.call(&line("DBSIZE")), ["298"]);
}
