//! A disk that fills while clients write and the append-only file is rewritten: the server stays, what it has acknowledged stays,
//! and when there is space again it goes on by itself. On a tmpfs of 64 MB, which only root can mount.

mod support;

use std::fs;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::{info, name_on, within, Client, Random, Server, SmallDisk, Value};

const MIB: u64 = 1 << 20;
const DISK_BYTES: u64 = 64 * MIB;
/// What is in the server before the disk fills.
const LOADED_BYTES: u64 = 12 * MIB;
/// What is free then, for the writers and a rewrite: less than the base of one of two shards.
const FREE_BYTES: u64 = 5 * MIB;
const VALUE_BYTES: usize = 8 * 1024;
const WRITERS: u64 = 4;
/// So that what is accepted in memory meanwhile, and a rewrite of all that, fit on the disk in the end, however fast the server is.
const WRITE_PAUSE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(15);
const NEVER_COMPRESSES: u64 = 7;

/// What the value of a key is: its own, and nothing that can be compressed.
fn value_of(key: &str) -> Vec<u8> {
    let seed =
        key.bytes().fold(NEVER_COMPRESSES, |sum, byte| sum.wrapping_mul(131).wrapping_add(byte.into()));
    let mut random = Random::new(seed);
    (0..VALUE_BYTES).map(|_| random.below(256) as u8).collect()
}

/// Clients that write new keys all the time, and remember which were acknowledged.
struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Writers {
    fn start(server: &Server, round: &str) -> Writers {
        let (stop, acknowledged, refused): (Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>) =
            Default::default();
        let threads = (0..WRITERS)
            .map(|writer| {
                let (stop, acknowledged, refused) = (stop.clone(), acknowledged.clone(), refused.clone());
                let (address, round) = (server.address(), round.to_owned());
                thread::spawn(move || {
                    let mut client = Client::connect(&address);
                    let mut written = Vec::new();
                    for number in 0.. {
                        if stop.load(Relaxed) {
                            break;
                        }
                        match write(&mut client, &format!("{round}:{writer}:{number}"), Way::of(number)) {
                            Ok(keys) if keys.is_empty() => {
                                refused.fetch_add(1, Relaxed);
                                thread::sleep(Duration::from_millis(5));
                            }
                            Ok(keys) => {
                                acknowledged.fetch_add(1, Relaxed);
                                written.extend(keys);
                                thread::sleep(WRITE_PAUSE);
                            }
                            // Killed.
                            Err(_) => break,
                        }
                    }
                    written
                })
            })
            .collect();
        Writers { stop, acknowledged, refused, threads }
    }

    fn end(self) -> Vec<String> {
        self.stop.store(true, Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().expect("writers do not panic")).collect()
    }
}

/// How something is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    One,
    /// Two keys at once, on whatever shards.
    Two,
    /// Two keys, by a script.
    Script,
}

impl Way {
    fn of(number: u64) -> Way {
        match number % 8 {
            0 => Way::Two,
            4 => Way::Script,
            _ => Way::One,
        }
    }
}

/// Writes. Returns the keys that count as written; none when it was refused.
fn write(client: &mut Client, key: &str, way: Way) -> io::Result<Vec<String>> {
    let keys =
        if way == Way::One { vec![key.to_owned()] } else { vec![key.to_owned(), format!("{key}:too")] };
    let mut args = vec![b"MSET".to_vec()];
    if way == Way::Script {
        let script = "for index, key in ipairs(KEYS) do redis.call('SET', key, ARGV[index]) end return redis.status_reply('OK')";
        args = [&b"EVAL"[..], script.as_bytes(), b"2"].map(<[u8]>::to_vec).to_vec();
        args.extend(keys.iter().map(|key| key.clone().into_bytes()));
        args.extend(keys.iter().map(|key| value_of(key)));
    } else {
        for key in &keys {
            args.push(key.clone().into_bytes());
            args.push(value_of(key));
        }
    }
    match client.try_call(&args)? {
        reply if reply.is_ok() => Ok(keys),
        Value::Error(text) if text.starts_with("MISCONF Errors writing to the AOF file") => Ok(Vec::new()),
        other => panic!("{other:?}"),
    }
}

fn field(client: &mut Client, name: &str) -> String {
    let text = client.call(&["INFO", "persistence"]).text();
    let prefix = format!("{name}:");
    let value = text.lines().find_map(|line| line.strip_prefix(&prefix));
    value.unwrap_or_else(|| panic!("INFO has no {name}:\n{text}")).to_owned()
}

fn is_saving(client: &mut Client) -> bool {
    ["rdb_bgsave_in_progress", "aof_rewrite_in_progress"].iter().any(|name| field(client, name) != "0")
}

fn assert_all_there(client: &mut Client, keys: &[String], when: &str) {
    let missing: Vec<&String> =
        keys.iter().filter(|key| client.call(&["GET", key.as_str()]) != Value::Bulk(value_of(key))).collect();
    assert!(
        missing.is_empty(),
        "{when}: {} of {} are lost: {:?}",
        missing.len(),
        keys.len(),
        missing.first()
    );
}

fn wait_until_loaded(server: &Server) -> Client {
    let mut client = server.client();
    assert!(within(PATIENCE, || !client.call(&["GET", "x"]).is_error()), "{}", server.log());
    client
}

fn lines(log: &str, part: &str) -> usize {
    log.lines().filter(|line| line.contains(part)).count()
}

/// No file is left of a snapshot that was given up.
fn assert_nothing_left(disk: &SmallDisk) {
    let left: Vec<_> =
        disk.files().into_iter().filter(|file| file.to_string_lossy().contains("temp-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

struct Setting<'a> {
    policy: &'a str,
    shards: usize,
    /// What takes the space: BGREWRITEAOF or BGSAVE.
    command: &'a str,
}

fn a_full_disk_is_survived(setting: &Setting) {
    let Some(disk) = SmallDisk::mount(DISK_BYTES) else { return };
    let always = setting.policy == "always";
    let (shards, dir) = (setting.shards.to_string(), disk.dir().display().to_string());
    let mut options = vec!["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0", "--dir", &dir];
    options.extend(["--appendfsync", setting.policy, "--shards", &shards, "--rdbcompression", "no"]);
    let mut server = Server::start(&options);
    let mut admin = wait_until_loaded(&server);
    let mut keys = Vec::new();
    while keys.len() * VALUE_BYTES < LOADED_BYTES as usize {
        keys.extend(write(&mut admin, &format!("loaded:{}", keys.len()), Way::One).expect("a live server"));
    }
    let ballast = disk.dir().join("ballast");
    let used = LOADED_BYTES + FREE_BYTES;
    fs::write(&ballast, vec![1; (DISK_BYTES - used) as usize]).expect("the disk has room");

    // It takes its time, so that the writers fill the disk meanwhile.
    assert!(admin.call(&["CONFIG", "SET", "rdb-key-save-delay", "2000"]).is_ok());
    let started = admin.call(&[setting.command]).text();
    assert!(started.contains("started"), "{started}");
    let writers = Writers::start(&server, "full");
    let gave_way = within(PATIENCE, || !is_saving(&mut admin));
    assert!(gave_way, "it goes on:\n{}", server.log());
    let status =
        if setting.command == "BGSAVE" { "rdb_last_bgsave_status" } else { "aof_last_bgrewrite_status" };
    assert_eq!(field(&mut admin, status), "err", "it did not succeed:\n{}", server.log());
    // What it leaves is for the writers, who fill that, too.
    let is_full = within(PATIENCE, || {
        let before = writers.acknowledged.load(Relaxed);
        thread::sleep(Duration::from_millis(300));
        field(&mut admin, "aof_last_write_status") == "err" && writers.acknowledged.load(Relaxed) == before
    });
    assert!(is_full, "the disk was not filled:\n{}", server.log());
    assert_eq!(field(&mut admin, "aof_last_write_error"), "No space left on device");
    assert_nothing_left(&disk);

    // It stays like that for a while: what needs no disk goes on, what does is refused or waits.
    let mut other = server.client();
    let until = Instant::now() + Duration::from_millis(1500);
    let mut refused = writers.refused.load(Relaxed);
    let acknowledged = writers.acknowledged.load(Relaxed);
    while Instant::now() < until {
        let asked = Instant::now();
        // As Redis does it, PING tells of trouble that refuses writes.
        let pong = other.call(&["PING"]).text();
        assert!(pong == "PONG" || !always && pong.starts_with("MISCONF"), "{pong}");
        assert_eq!(other.call(&["GET", "loaded:7"]), Value::Bulk(value_of("loaded:7")));
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        thread::sleep(Duration::from_millis(20));
    }
    refused = writers.refused.load(Relaxed) - refused;
    let acknowledged = writers.acknowledged.load(Relaxed) - acknowledged;
    eprintln!(
        "{} {} {} shards: while full {refused} writes refused, {acknowledged} acknowledged",
        setting.command, setting.policy, setting.shards
    );
    assert!(always || refused > 0, "writes are refused");
    assert!(acknowledged <= 4 * WRITERS, "the disk has no room for them: {acknowledged}");

    // Space again.
    fs::remove_file(&ballast).expect("it is there");
    let freed = Instant::now();
    let before = writers.acknowledged.load(Relaxed);
    let resumes = within(PATIENCE, || writers.acknowledged.load(Relaxed) > before + 20 * WRITERS);
    assert!(resumes, "writes do not go on:\n{}", server.log());
    eprintln!("writes went on {:?} after there was space", freed.elapsed());
    assert_eq!(field(&mut admin, "aof_last_write_status"), "ok");
    let log = server.log();
    let failures = lines(&log, "rror writing to the AOF file") + lines(&log, "Short write while writing");
    let solved = lines(&log, "AOF write error looks solved");
    assert!(failures >= 1 && solved >= 1, "{log}");
    assert!(failures <= solved && failures <= 8 * setting.shards, "a line for each change:\n{log}");

    // What was acknowledged while the disk was full is written by now.
    assert!(within(PATIENCE, || always || info(&mut admin, "aof_buffer_length") == 0));
    server.kill9();
    keys.extend(writers.end());
    server.restart();
    let mut admin = wait_until_loaded(&server);
    assert_all_there(&mut admin, &keys, "after kill -9");

    // Now there is room for it.
    assert!(admin.call(&[setting.command]).text().contains("started"));
    let done = within(PATIENCE, || !is_saving(&mut admin));
    assert!(done && field(&mut admin, status) == "ok", "{}", server.log());

    if always {
        // Killed while it is full, and started while it is full.
        let free = free_bytes(&disk);
        fs::write(&ballast, vec![1; free.saturating_sub(MIB) as usize]).expect("the disk has room");
        let writers = Writers::start(&server, "again");
        assert!(within(PATIENCE, || field(&mut admin, "aof_last_write_status") == "err"));
        server.kill9();
        keys.extend(writers.end());
        server.restart();
        let mut admin = wait_until_loaded(&server);
        assert_all_there(&mut admin, &keys, "after kill -9 with a full disk");
        fs::remove_file(&ballast).expect("it is there");
        assert!(write(&mut admin, "last", Way::One).is_ok_and(|keys| !keys.is_empty()));
    }
}

fn free_bytes(disk: &SmallDisk) -> u64 {
    let used: u64 = disk
        .files()
        .iter()
        .map(|file| fs::metadata(disk.dir().join(file)).map_or(0, |file| file.len().next_multiple_of(4096)))
        .sum();
    DISK_BYTES - used
}

#[test]
fn a_disk_that_a_rewrite_fills_is_survived_with_always() {
    for shards in [1, 2] {
        a_full_disk_is_survived(&Setting { policy: "always", shards, command: "BGREWRITEAOF" });
    }
}

#[test]
fn a_disk_that_a_rewrite_fills_is_survived_with_everysec() {
    for shards in [1, 2] {
        a_full_disk_is_survived(&Setting { policy: "everysec", shards, command: "BGREWRITEAOF" });
    }
}

#[test]
fn a_disk_that_a_save_fills_is_survived() {
    for (policy, shards) in [("always", 2), ("everysec", 1)] {
        a_full_disk_is_survived(&Setting { policy, shards, command: "BGSAVE" });
    }
}

/// A file that leaves no room at all.
fn fill(disk: &SmallDisk) -> std::path::PathBuf {
    let path = disk.dir().join("ballast");
    let mut file = fs::File::create(&path).expect("there is room for a name");
    while file.write_all(&[1; 4096]).is_ok() {}
    path
}

/// The parts of the next message.
fn message(client: &mut Client) -> Vec<String> {
    client.receive().elements().iter().map(Value::text).collect()
}

fn hears_nothing(client: &mut Client) -> bool {
    client.set_timeout(Duration::from_millis(300));
    let nothing = client.try_receive().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    client.set_timeout(PATIENCE);
    nothing
}

/// With `always` nobody is told of what the disk has no room for, be it by an event, by a message, or by an invalidation, until it
/// has. Those who are to be told more than may wait are closed.
#[test]
fn nobody_hears_of_what_a_full_disk_has_no_room_for() {
    for shards in [1, 2] {
        let Some(disk) = SmallDisk::mount(DISK_BYTES) else { return };
        let (count, dir) = (shards.to_string(), disk.dir().display().to_string());
        let mut options = vec!["--appendonly", "yes", "--appendfsync", "always", "--dir", &dir];
        options.extend(["--shards", &count, "--notify-keyspace-events", "KA"]);
        let mut server = Server::start(&options);
        let mut admin = wait_until_loaded(&server);
        let key = name_on(shards - 1, shards, 1);
        let (channel, event) = (format!("{{{key}}}news"), format!("__keyspace@0__:{key}"));
        let (big, small) = ("x".repeat(4 << 20), "x".repeat(64 << 10));

        let mut subscriber = server.client();
        subscriber.send(&["SUBSCRIBE", &channel, &event]);
        assert_eq!((message(&mut subscriber).len(), message(&mut subscriber).len()), (3, 3));
        let mut caching = server.client3();
        assert!(caching.call(&["CLIENT", "TRACKING", "ON"]).is_ok());
        for round in ["space", "no append-only file"] {
            assert!(!caching.call(&["GET", &key]).is_error());
            let ballast = fill(&disk);
            let mut writer = server.client();
            writer.send(&["SET", &key, &big]);
            assert!(within(PATIENCE, || field(&mut admin, "aof_last_write_status") == "err"));
            let mut publisher = server.client();
            publisher.send(&["PUBLISH", &channel, "it is set"]);
            for client in [&mut subscriber, &mut caching, &mut writer, &mut publisher] {
                assert!(hears_nothing(client), "{round}");
            }
            if round == "space" {
                fs::remove_file(&ballast).expect("it is there");
            } else {
                assert!(admin.call(&["CONFIG", "SET", "appendonly", "no"]).is_ok());
            }
            assert_eq!(message(&mut subscriber), ["message", &event, "set"], "{round}");
            assert_eq!(message(&mut subscriber), ["message", &channel, "it is set"], "{round}");
            assert_eq!(caching.receive().elements()[0].text(), "invalidate", "{round}");
            assert!(writer.receive().is_ok() && publisher.receive() == Value::Integer(1), "{round}");
            let _ = fs::remove_file(&ballast);
        }

        assert!(admin.call(&["CONFIG", "SET", "appendonly", "yes"]).is_ok());
        assert!(within(PATIENCE, || !is_saving(&mut admin)));
        let ballast = fill(&disk);
        let mut writer = server.client();
        writer.send(&["SET", "{other}of the same shard as before or not", &big]);
        writer.send(&["SET", &key, "not to be lost, nor heard of"]);
        assert!(within(PATIENCE, || field(&mut admin, "aof_last_write_status") == "err"));
        let mut publisher = server.client();
        publisher.send(&["CLIENT", "REPLY", "OFF"]);
        let flood = Client::encode(&["PUBLISH", &channel, &small]).repeat(16);
        (0..80).for_each(|_| publisher.send_raw(&flood));
        assert!(subscriber.receive_until_closed().is_empty(), "too much waits");
        assert!(hears_nothing(&mut writer));
        let mut new = server.client();
        new.send(&["SUBSCRIBE", &channel]);
        assert_eq!(message(&mut new), ["subscribe", &channel, "1"]);
        fs::remove_file(&ballast).expect("it is there");
        assert!(writer.receive().is_ok() && writer.receive().is_ok());
        assert_eq!(admin.call(&["PUBLISH", &channel, "the last"]).integer(), 1);
        while message(&mut new)[2] != "the last" {}

        let ballast = fill(&disk);
        let mut writer = server.client();
        let lost = name_on(shards - 1, shards, 2);
        new.send(&["SUBSCRIBE", &format!("__keyspace@0__:{lost}")]);
        assert_eq!(message(&mut new)[0], "subscribe");
        writer.send(&["SET", &lost, &big]);
        assert!(within(PATIENCE, || field(&mut admin, "aof_last_write_status") == "err"));
        server.kill9();
        assert!(new.receive_until_closed().is_empty(), "nobody has heard of it");
        fs::remove_file(&ballast).expect("it is there");
        server.restart();
        let mut admin = wait_until_loaded(&server);
        assert!(admin.call(&["GET", &lost]).is_null());
        assert_eq!(admin.call(&["GET", &key]).text(), "not to be lost, nor heard of");
    }
}

const ENDS: Duration = Duration::from_secs(20);

/// What was acknowledged as the disk became full is in no file yet: the server does not end without it, unless it is told to.
#[test]
fn a_server_does_not_end_while_a_full_disk_lacks_what_was_acknowledged() {
    for (shards, save) in [(1, ""), (2, "3600 1"), (3, "")] {
        let Some(disk) = SmallDisk::mount(DISK_BYTES) else { return };
        let (count, dir) = (shards.to_string(), disk.dir().display().to_string());
        let mut options = vec!["--appendonly", "yes", "--appendfsync", "everysec", "--dir", &dir];
        options.extend(["--shards", &count, "--save", save]);
        let mut server = Server::start(&options);
        let mut admin = wait_until_loaded(&server);
        let ballast = fill(&disk);
        let key = name_on(shards - 1, shards, 1);
        let value = "x".repeat(VALUE_BYTES);
        assert!(admin.call(&["SET", &key, &value]).is_ok(), "the log has not failed yet");
        assert!(within(PATIENCE, || field(&mut admin, "aof_last_write_status") == "err"));

        let lacking = "The AOF lacks writes that were acknowledged, can't exit.";
        server.signal(libc::SIGTERM);
        assert!(within(PATIENCE, || lines(&server.log(), lacking) == 1), "{}", server.log());
        let failed = admin.call(&["SHUTDOWN"]).text();
        assert_eq!(failed, "ERR Errors trying to SHUTDOWN. Check logs.", "{shards} shards");
        server.signal(libc::SIGINT);
        assert!(within(PATIENCE, || lines(&server.log(), lacking) == 3), "{}", server.log());
        assert_eq!(lines(&server.log(), "Errors trying to shut down the server."), 3);
        assert_eq!(lines(&server.log(), "You insist"), 0);
        assert!(server.is_running());
        assert_eq!(admin.call(&["GET", &key]).text(), value);
        if shards == 1 {
            // DEBUG LOADAOF would lose it, too.
            assert!(admin.call(&["DEBUG", "LOADAOF"]).is_error());
            assert_eq!(admin.call(&["GET", &key]).text(), value);
        }

        fs::remove_file(&ballast).expect("it is there");
        server.signal(libc::SIGTERM);
        assert!(server.wait_for_end(ENDS).is_some_and(|status| status.success()), "{}", server.log());
        server.restart();
        let mut admin = wait_until_loaded(&server);
        assert_eq!(admin.call(&["GET", &key]).text(), value, "{shards} shards");

        // Who wants it to end all the same says so.
        let how = if shards == 2 { "FORCE" } else { "NOSAVE" };
        let _ballast = fill(&disk);
        let lost = name_on(shards - 1, shards, 2);
        assert!(admin.call(&["SET", &lost, &value]).is_ok());
        assert!(within(PATIENCE, || field(&mut admin, "aof_last_write_status") == "err"));
        admin.send(&["SHUTDOWN", how]);
        assert!(server.wait_for_end(ENDS).is_some_and(|status| status.success()), "{}", server.log());
        assert_eq!(lines(&server.log(), "The AOF lacks writes that were acknowledged. Exit anyway."), 1);
    }
}

/// With `always` nothing was acknowledged that the disk does not have, so there is nothing to stay for.
#[test]
fn with_always_a_full_disk_does_not_keep_a_server_from_ending() {
    let Some(disk) = SmallDisk::mount(DISK_BYTES) else { return };
    let dir = disk.dir().display().to_string();
    let mut server =
        Server::start(&["--appendonly", "yes", "--appendfsync", "always", "--dir", &dir, "--save", ""]);
    let mut admin = wait_until_loaded(&server);
    let _ballast = fill(&disk);
    let mut writer = server.client();
    writer.send(&["SET", "k", &"x".repeat(VALUE_BYTES)]);
    assert!(within(PATIENCE, || field(&mut admin, "aof_last_write_status") == "err"));
    assert!(hears_nothing(&mut writer));
    server.signal(libc::SIGTERM);
    assert!(server.wait_for_end(ENDS).is_some_and(|status| status.success()), "{}", server.log());
}

/// The log itself has filled the disk, so that nothing can be written, nor a rewrite begun. What the operator does then: the log is
/// switched off, its files are removed, and it is switched on again. What is in memory is served all the time, and in the files
/// in the end.
#[test]
fn a_disk_that_its_own_log_has_filled_is_left_by_switching_the_log_off_and_on() {
    for (policy, shards, empties) in
        [("everysec", 1, false), ("everysec", 2, true), ("always", 3, false), ("no", 2, false)]
    {
        let Some(disk) = SmallDisk::mount(16 * MIB) else { return };
        let (count, dir) = (shards.to_string(), disk.dir().display().to_string());
        let mut options = vec!["--appendonly", "yes", "--appendfsync", policy, "--dir", &dir, "--save", ""];
        options.extend(["--shards", &count, "--auto-aof-rewrite-percentage", "0"]);
        let mut server = Server::start(&options);
        let mut admin = wait_until_loaded(&server);
        let mut writer = server.client();
        let mut kept = Vec::new();
        // The same few keys again and again: the data is small, the log is not.
        for number in 0.. {
            let key = format!("key:{}", number % 32);
            let mut request = vec![b"SET".to_vec(), key.clone().into_bytes(), value_of(&key)];
            if policy == "always" && field(&mut admin, "aof_last_write_status") == "err" {
                break;
            }
            if policy == "always" {
                writer.send(&request);
                let is_done = within(PATIENCE, || {
                    writer.set_timeout(Duration::from_millis(50));
                    writer.try_receive().is_ok() || field(&mut admin, "aof_last_write_status") == "err"
                });
                assert!(is_done);
            } else if writer.try_call(&request).expect("a live server").is_error() {
                break;
            }
            request.clear();
            kept.push(key);
        }
        kept.sort_unstable();
        kept.dedup();
        // As in Redis nothing is written now, deletions included.
        if policy != "always" {
            assert!(admin.call(&["DEL", "key:1"]).text().starts_with("MISCONF"));
            assert!(admin.call(&["FLUSHALL"]).text().starts_with("MISCONF"));
        }

        assert!(admin.call(&["CONFIG", "SET", "appendonly", "no"]).is_ok());
        if empties {
            assert!(admin.call(&["FLUSHALL"]).is_ok());
            kept.clear();
        }
        for file in disk.files() {
            fs::remove_file(disk.dir().join(file)).expect("it is there");
        }
        assert!(admin.call(&["CONFIG", "SET", "appendonly", "yes"]).is_ok());
        let is_back = within(PATIENCE, || !is_saving(&mut admin));
        assert!(is_back && field(&mut admin, "aof_last_bgrewrite_status") == "ok", "{}", server.log());
        assert!(write(&mut admin, "after", Way::Two).is_ok_and(|keys| keys.len() == 2), "{}", server.log());
        kept.push("after".to_owned());
        assert_all_there(&mut admin, &kept, "while it runs");
        server.kill9();
        server.restart();
        let mut admin = wait_until_loaded(&server);
        assert_all_there(&mut admin, &kept, "after kill -9");
        assert_eq!(admin.call(&["DBSIZE"]).integer() as usize, kept.len() + 1, "{policy} {shards}");
    }
}

/// Why a save fails at the end is in the log, wherever it fails.
#[test]
fn a_last_save_that_cannot_begin_says_why() {
    let mut server = Server::start(&["--save", "3600 1"]);
    let mut admin = server.client();
    assert!(admin.call(&["SET", "k", "v"]).is_ok());
    let dir = admin.call(&["CONFIG", "GET", "dir"]).elements()[1].text();
    let in_the_way = std::path::Path::new(&dir).join(format!("temp-{}.rdb", server.pid()));
    fs::create_dir(&in_the_way).expect("the folder can be written");
    assert_eq!(admin.call(&["SHUTDOWN"]).text(), "ERR Errors trying to SHUTDOWN. Check logs.");
    let log = server.log();
    let why = lines(&log, "Failed opening the temp RDB file") == 1 && lines(&log, "Is a directory") == 1;
    assert!(why && lines(&log, "Error trying to save the DB, can't exit.") == 1, "{log}");
    fs::remove_dir(&in_the_way).expect("it is there");
    server.signal(libc::SIGTERM);
    assert!(server.wait_for_end(ENDS).is_some_and(|status| status.success()), "{}", server.log());
}
