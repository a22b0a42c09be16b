//! A snapshot needs no spare memory: where redis-server's BGSAVE fails with "Cannot allocate memory", one succeeds here, with most of
//! the memory that there is in use, while clients write.
//!
//! The fork is refused by a filter of system calls, because the kernel's own reason for it (`vm.overcommit_memory`) is one of the whole
//! machine. The bound of memory is a control group's, which counts everything, or an address space's (`ulimit -v`).

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use support::{
    redis_server, refuse_forks, script, temporary_dir, within, Client, Random, Scarce, Server, Value,
};

const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(30);
const VALUE_BYTES: usize = 48 * 1024;

fn gyre() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_gyre-server"))
}

fn value(random: &mut Random) -> Vec<u8> {
    // Nothing is compressed: it need not be more random than that.
    random.next().to_le_bytes().repeat(VALUE_BYTES / 8)
}

fn field(client: &mut Client, name: &str) -> String {
    let text = client.call(&["INFO", "all"]).text();
    let prefix = format!("{name}:");
    text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default().to_owned()
}

/// A line of /proc/PID/status, bytes.
fn status(server: &Server, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0 kB");
    line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<u64>().unwrap_or(0) * 1024
}

/// Sets keys until so much memory is used.
fn load(client: &mut Client, keys: &mut u64, until: &dyn Fn() -> bool) {
    let mut random = Random::new(*keys + 1);
    while !until() {
        for _ in 0..16 {
            let reply =
                client.call(&[b"SET".to_vec(), format!("key:{keys}").into_bytes(), value(&mut random)]);
            assert!(reply.is_ok(), "{reply:?}");
            *keys += 1;
        }
    }
}

/// Runs BGSAVE while all keys are being overwritten; the reply to it, whether it was right, and how many writes there were.
fn save_under_load(server: &Server, command: &[&str], keys: u64) -> (String, bool, u64) {
    let (stop, writes) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut client, mut random) = (server.client(), Random::new(99));
            while !stop.load(Relaxed) {
                let key = format!("key:{}", random.below(keys as usize)).into_bytes();
                let reply = client.call(&[b"SET".to_vec(), key, value(&mut random)]);
                assert!(reply.is_ok(), "{reply:?}");
                writes.fetch_add(1, Relaxed);
            }
        });
        let mut client = server.client();
        thread::sleep(Duration::from_millis(200));
        let reply = client.call(command).text();
        let ended = within(PATIENCE, || field(&mut client, "rdb_bgsave_in_progress") == "0");
        let ok = ended && field(&mut client, "rdb_last_bgsave_status") == "ok";
        stop.store(true, Relaxed);
        (reply, ok, writes.load(Relaxed))
    })
}

fn mib(bytes: u64) -> u64 {
    bytes / MIB
}

/// On a thread of its own: what it may not do, no other test may.
fn where_forks_are_refused(test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let ended = scope.spawn(|| {
            if refuse_forks() {
                test();
            }
        });
        if let Err(panic) = ended.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn where_redis_cannot_fork_a_save_succeeds_with_most_of_the_memory_in_use() {
    /// A tenth of it is more than what two shards let wait for the disk (16 MiB each) before writers wait, too.
    const LIMIT_BYTES: u64 = 448 * MIB;
    where_forks_are_refused(|| {
        if let Some(binary) = redis_server() {
            let redis = Server::start_binary(&binary, &[]);
            let mut client = redis.client();
            assert!(client.call(&["SET", "a", "1"]).is_ok());
            let reply = client.call(&["BGSAVE"]);
            assert!(matches!(reply, Value::Error(_)), "{reply:?}");
            let log = redis.log();
            let line = log
                .lines()
                .find(|line| line.contains("Can't save in background: fork: Cannot allocate memory"));
            eprintln!("redis-server: {}", line.unwrap_or_else(|| panic!("{log}")));
        }
        for shards in ["1", "2"] {
            let Some(scarce) = Scarce::with_limit(LIMIT_BYTES) else { return };
            let dir = temporary_dir();
            let options = ["--shards", shards, "--rdbcompression", "no"];
            let server = Server::start_binary(&scarce.starter(&dir, gyre()), &options);
            let mut client = server.client();
            assert!(within(PATIENCE, || !client.call(&["GET", "a"]).is_error()));
            let mut keys = 0;
            for percent in [70, 90] {
                load(&mut client, &mut keys, &|| server.resident_bytes() > LIMIT_BYTES * percent / 100);
                for command in [&["BGSAVE"][..], &["BGSAVE", "FORKLESS"][..]] {
                    let (before, data) = (server.resident_bytes(), field(&mut client, "used_memory"));
                    let _ = std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5");
                    let started = Instant::now();
                    let (reply, ok, writes) = save_under_load(&server, command, keys);
                    assert!(ok && reply == "Background saving started", "{reply}: {}", server.log());
                    let peak = status(&server, "VmHWM");
                    eprintln!(
                        "{shards} shards, {percent} % of {} MiB, {}: used {} MiB, resident {} MiB, at most {} MiB more; {writes} writes in {:?}",
                        mib(LIMIT_BYTES),
                        command.join(" "),
                        mib(data.parse().unwrap_or(0)),
                        mib(before),
                        mib(peak.saturating_sub(before)),
                        started.elapsed()
                    );
                }
            }
            let log = server.log();
            assert!(log.contains("can't fork (Cannot allocate memory)"), "{log}");
            drop(server);
            let _ = std::fs::remove_dir_all(dir);
        }
    });
}

#[test]
fn a_server_starts_and_saves_with_few_addresses() {
    for shards in ["1", "2"] {
        let dir = temporary_dir();
        let starter = script(&dir, "ulimit -v 1000000", gyre());
        let server = Server::start_binary(&starter, &["--shards", shards, "--rdbcompression", "no"]);
        let mut client = server.client();
        assert!(within(PATIENCE, || !client.call(&["GET", "a"]).is_error()));
        let mut keys = 0;
        load(&mut client, &mut keys, &|| server.resident_bytes() > 150 * MIB);
        for command in [&["BGSAVE"][..], &["BGSAVE", "FORKLESS"][..]] {
            let (reply, ok, writes) = save_under_load(&server, command, keys);
            assert!(ok && reply == "Background saving started", "{reply}: {}", server.log());
            eprintln!(
                "{shards} shards, ulimit -v 1000000, {}: {writes} writes; addresses {} MiB, at most {} MiB",
                command.join(" "),
                mib(status(&server, "VmSize")),
                mib(status(&server, "VmPeak"))
            );
        }
        let _ = std::fs::remove_dir_all(dir);
    }
}

#[test]
fn a_fork_copies_next_to_nothing_of_a_server_at_rest() {
    for shards in ["1", "2"] {
        let server = Server::start_binary(gyre(), &["--shards", shards]);
        let mut client = server.client();
        assert!(within(PATIENCE, || !client.call(&["GET", "a"]).is_error()));
        // Pinned pages are copied by the fork itself, whether somebody writes to them or not.
        let pinned = status(&server, "VmPin");
        assert!(pinned < MIB, "{} KiB are pinned", pinned / 1024);
        assert_eq!(client.call(&["BGSAVE", "FORK"]).text(), "Background saving started");
        assert!(within(PATIENCE, || field(&mut client, "rdb_bgsave_in_progress") == "0"));
        assert_eq!(field(&mut client, "rdb_last_bgsave_status"), "ok");
        let copied: u64 = field(&mut client, "rdb_last_cow_size").parse().unwrap();
        assert!(copied < 4 * MIB, "{copied} bytes were copied");
    }
}
