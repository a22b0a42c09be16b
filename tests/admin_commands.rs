//! What an operator can ask and change, in any order and with odd values, while clients write: the server lives on, answers, and ends
//! well. What is asked to end it (DEBUG SEGFAULT, SHUTDOWN, RESTART) is left out.
//!
//! `ADMIN_ROUNDS`: how many commands; `ADMIN_SEED`: other ones.

mod support;

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::{setting, Client, Random, Server, Value};

const PATIENCE: Duration = Duration::from_secs(60);
/// Values that a directive may get besides those that it knows.
const ODD: [&str; 22] = [
    "",
    "0",
    "1",
    "-1",
    "2",
    "yes",
    "no",
    "1000",
    "99999999999999999999",
    "-9223372036854775808",
    "9223372036854775807",
    "18446744073709551615",
    "1mb",
    "5gb",
    "100%",
    "abc",
    "a b c",
    "\"",
    "1 2 3 4",
    "always",
    "60 1",
    "\u{fffd}\n",
];
/// They would leave the test without a server, a client or a place of its own.
const NOT_CHANGED: [&str; 9] = [
    "port",
    "bind",
    "requirepass",
    "dir",
    "unixsocket",
    "maxmemory",
    "loglevel",
    "proto-max-bulk-len",
    "maxclients",
];
/// What slows the test down, or waits for more than it has time for.
const BOUNDED: [(&str, &[&str]); 8] = [
    ("timeout", &["0", "1000"]),
    ("rdb-key-save-delay", &["0", "1", "-5"]),
    ("key-load-delay", &["0", "1", "-5"]),
    ("shutdown-timeout", &["0", "1"]),
    ("maxmemory-clients", &["0", "1gb", "50%"]),
    ("client-query-buffer-limit", &["1gb", "100mb"]),
    ("repl-timeout", &["60", "5"]),
    ("tcp-keepalive", &["0", "300"]),
];

type Words = Vec<Vec<u8>>;

fn words(text: &str) -> Words {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// The names of the directives that can be changed at run time.
fn directives(client: &mut Client) -> Vec<String> {
    let Value::Array(listed) = client.call(&["CONFIG", "GET", "*"]) else { panic!("a list") };
    let names = listed.chunks(2).map(|pair| pair[0].text());
    names.filter(|name| !NOT_CHANGED.contains(&name.as_str())).collect()
}

fn config(random: &mut Random, directives: &[String]) -> Words {
    let mut set = words("CONFIG SET");
    for _ in 0..=random.below(2) {
        let name = random.pick(directives);
        let bounded = BOUNDED.iter().find(|(bounded, _)| bounded == name);
        let values = bounded.map_or(&ODD[..], |(_, values)| values);
        let value = values[random.below(values.len())];
        set.push(name.clone().into_bytes());
        set.push(value.as_bytes().to_vec());
    }
    set
}

/// A payload of DUMP or FUNCTION DUMP, whole or changed.
fn payload(client: &mut Client, random: &mut Random) -> Vec<u8> {
    let dumped = match random.below(4) {
        0 => client.call(&["FUNCTION", "DUMP"]),
        _ => client.call(&["DUMP", *random.pick(&["l", "h", "z", "x", "set", "s"])]),
    };
    let Value::Bulk(mut bytes) = dumped else { return b"\x00\x01a\x0b\x00".to_vec() };
    if random.one_in(2) {
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
        if let (true, Some(end)) = (random.one_in(2), bytes.len().checked_sub(8)) {
            let crc = gyre::rdb::crc64(&bytes[..end]);
            bytes[end..].copy_from_slice(&crc.to_le_bytes());
        }
    }
    bytes
}

fn command(client: &mut Client, random: &mut Random, directives: &[String], dirs: &[String]) -> Words {
    if random.one_in(40) {
        return words(&format!("CONFIG SET dir {}", random.pick(dirs)));
    }
    const KEYS: [&str; 7] = ["l", "h", "z", "x", "set", "s", "none"];
    let key = random.pick(&KEYS).to_string();
    let number = random
        .pick(&["0", "1", "-1", "2", "9223372036854775807", "-9223372036854775808", "x", "16"])
        .to_string();
    let fixed: &[&str] = &[
        "BGREWRITEAOF",
        "BGSAVE",
        "BGSAVE SCHEDULE",
        "SAVE",
        "DEBUG LOADAOF",
        "DEBUG RELOAD",
        "DEBUG RELOAD NOSAVE",
        "DEBUG RELOAD NOSAVE NOFLUSH MERGE",
        "DEBUG DIGEST",
        "DEBUG STRUCTSIZE",
        "DEBUG CLIENT-EVICTION",
        "DEBUG CHANGE-REPL-ID",
        "DEBUG CONFIG-REWRITE-FORCE-ALL",
        "CONFIG SET appendonly no",
        "CONFIG SET appendonly yes",
        "CONFIG SET appendonly no",
        "CONFIG SET appendonly yes",
        "CONFIG SET appendfsync always",
        "CONFIG SET appendfsync everysec",
        "CONFIG SET appendfsync no",
        "CONFIG SET aof-use-rdb-preamble no",
        "CONFIG SET aof-use-rdb-preamble yes",
        "CONFIG SET snapshot-method fork",
        "CONFIG SET snapshot-method forkless",
        "CONFIG SET aof-disable-auto-gc yes",
        "CONFIG SET aof-disable-auto-gc no",
        "CONFIG SET auto-aof-rewrite-min-size 1",
        "CONFIG SET dbfilename other.rdb",
        "CONFIG SET dbfilename dump.rdb",
        "CONFIG SET save 1",
        "CONFIG REWRITE",
        "CONFIG RESETSTAT",
        "MEMORY PURGE",
        "MEMORY STATS",
        "MEMORY DOCTOR",
        "MEMORY MALLOC-STATS",
        "LATENCY RESET",
        "LATENCY DOCTOR",
        "LATENCY LATEST",
        "LATENCY HISTOGRAM",
        "CLIENT LIST",
        "CLIENT INFO",
        "CLIENT UNPAUSE",
        "CLIENT PAUSE 1 ALL",
        "CLIENT NO-EVICT on",
        "CLIENT TRACKING on bcast",
        "CLIENT TRACKING off",
        "ACL LOAD",
        "ACL SAVE",
        "ACL LIST",
        "ACL LOG",
        "ACL DRYRUN default get a",
        "FUNCTION FLUSH",
        "FUNCTION LIST",
        "FUNCTION STATS",
        "SCRIPT FLUSH",
        "FLUSHALL",
        "FLUSHDB ASYNC",
        "SWAPDB 0 1",
        "SWAPDB 0 15",
        "INFO everything",
        "RESET",
        "SLOWLOG GET",
        "SLOWLOG RESET",
        "COMMAND DOCS",
        "LASTSAVE",
        "DBSIZE",
        "DEBUG STRINGMATCH-LEN 1000 *a*b",
    ];
    match random.below(20) {
        0..=9 => words(fixed[random.below(fixed.len())]),
        10..=12 => config(random, directives),
        13 => words(&format!(
            "DEBUG {} {key}",
            random.pick(&["OBJECT", "SDSLEN", "LISTPACK", "QUICKLIST", "HTSTATS-KEY", "DIGEST-VALUE"])
        )),
        14 => words(&format!(
            "DEBUG {} {number}",
            random.pick(&[
                "HTSTATS",
                "PAUSE-CRON",
                "SET-ACTIVE-EXPIRE",
                "QUICKLIST-PACKED-THRESHOLD",
                "SLEEP 0.001",
                "ERROR",
                "LOG",
                "LEAK",
                "SET-SKIP-CHECKSUM-VALIDATION",
                "REPLYBUFFER",
                "JMAP",
                "PROTOCOL",
                "AOF-FLUSH-SLEEP"
            ])
        )),
        15 => words(&format!("DEBUG POPULATE {} {key} {}", random.below(50), random.below(2000))),
        16 => words(&format!(
            "{} {number}",
            random.pick(&[
                "MEMORY USAGE l SAMPLES",
                "LATENCY HISTORY",
                "CLIENT KILL ID",
                "SLOWLOG GET",
                "SELECT",
                "CLIENT UNBLOCK",
                "CLIENT REPLY",
                "CLIENT PAUSE",
                "ACL LOG",
                "OBJECT FREQ",
                "BGSAVE",
                "FAILOVER",
                "WAIT 0",
                "COMMAND GETKEYS"
            ])
        ))
        .into_iter()
        .filter(|word| word != b"9223372036854775807")
        .collect(),
        17 => {
            let ttl = if random.one_in(2) { "0" } else { "100000" };
            let mut restore = words(&format!("RESTORE {key} {ttl}"));
            restore.push(payload(client, random));
            restore.push(b"REPLACE".to_vec());
            restore
        }
        18 => {
            let mut restore = words("FUNCTION RESTORE");
            restore.push(payload(client, random));
            restore.push(random.pick(&["FLUSH", "APPEND", "REPLACE"]).as_bytes().to_vec());
            restore
        }
        _ => words(&format!("MIGRATE 127.0.0.1 1 {key} 0 10 COPY")),
    }
}

/// Values to look at, and a library.
fn fill(client: &mut Client) {
    for line in [
        "RPUSH l a b 3",
        "HSET h f 1 g 2",
        "ZADD z 1 a 2.5 b",
        "XADD x * f 1",
        "SADD set 1 2 x",
        "SET s text",
        "XGROUP CREATE x g 0",
    ] {
        let _ = client.try_call(&words(line));
    }
    let library = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    let _ = client.try_call(&["FUNCTION", "LOAD", "REPLACE", library]);
}

/// Writes until it is told to stop, whatever it is answered.
fn write(address: &str, stop: &AtomicBool, mut random: Random) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = Client::try_connect(address) else { continue };
        for i in 0..200 {
            let pairs: Words = (0..6).map(|_| format!("k{}", random.below(500)).into_bytes()).collect();
            let asked = match i % 4 {
                0 => client.try_call(&[vec![b"MSET".to_vec()], pairs].concat()),
                1 => client.try_call(&[&b"INCR"[..], &pairs[0]]),
                2 => client.try_call(&[&b"RENAME"[..], &pairs[0], &pairs[1]]),
                _ => client.try_call(&["XADD", "x", "*", "f", "v"]),
            };
            if asked.is_err() || stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
}

/// Asks until there is an answer: the server may be loading, the connection paused, killed, or without replies.
fn ping(address: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked = Client::try_connect(address).and_then(|mut client| client.try_call(&["PING"]));
        match asked {
            Ok(Value::Simple(pong)) if pong == "PONG" => return,
            _ => assert!(Instant::now() < deadline, "it does not answer: {asked:?}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn whatever_an_operator_asks_the_server_lives_on() {
    let rounds = setting("ADMIN_ROUNDS", 150);
    for shards in ["1", "2", "3"] {
        let mut server = Server::start(&[
            "--shards",
            shards,
            "--appendonly",
            "yes",
            "--enable-debug-command",
            "yes",
            "--enable-protected-configs",
            "yes",
        ]);
        let address = server.address();
        let mut random = Random::new(setting("ADMIN_SEED", 1) + shards.parse::<u64>().unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let writer = {
            let (address, stop, random) = (address.clone(), stop.clone(), random.fork());
            std::thread::spawn(move || write(&address, &stop, random))
        };
        ping(&address);
        let directives = directives(&mut server.client());
        let dirs: Vec<String> =
            ["", "/sub", "/none"].iter().map(|sub| format!("{}{sub}", server.dir.display())).collect();
        std::fs::create_dir(&dirs[1]).unwrap();
        let mut told: Vec<String> = Vec::new();
        let mut client = server.client();
        for round in 0..rounds {
            if round % 10 == 0 {
                ping(&address);
                client = server.client();
                fill(&mut client);
            }
            let asked = command(&mut client, &mut random, &directives, &dirs);
            told.push(asked.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" "));
            client.set_timeout(PATIENCE);
            match client.try_call(&asked) {
                // Without cron nothing that takes time comes to its end, as was asked.
                Ok(_) if asked[1..].first().is_some_and(|word| word == b"PAUSE-CRON") => {
                    let _ = client.try_call(&["DEBUG", "PAUSE-CRON", "0"]);
                }
                Ok(_) => {}
                Err(error) => {
                    // CLIENT REPLY OFF, CLIENT KILL, a limit that was set: another connection.
                    let is_quiet = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                    let said = told.last().unwrap();
                    assert!(
                        !is_quiet || said.contains("REPLY") || said.contains("PAUSE"),
                        "shards {shards}: no answer to {said}:\n{}",
                        told.join("\n")
                    );
                    ping(&address);
                    client = server.client();
                }
            }
            assert!(server.is_running(), "it died, shards {shards}:\n{}\n{}", told.join("\n"), server.log());
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        ping(&address);
        let log = server.log();
        assert!(
            !log.contains("panicked") && !log.contains("crashed by signal"),
            "{}\n{log}",
            told.join("\n")
        );
        // By what was set a save may fail, and an end that saves be refused; and without cron there is none.
        server.client().call(&["DEBUG", "PAUSE-CRON", "0"]);
        let _ = server.client().try_call(&["SHUTDOWN", "NOSAVE", "FORCE"]);
        let status = server.wait_for_end(PATIENCE);
        let log = server.log();
        assert!(
            status.is_some_and(|status| status.code().is_some()),
            "{status:?}:\n{}\n{log}",
            told.join("\n")
        );
    }
}

/// Appends to a log that is closed, which the next one cannot continue: `appendonly` is switched while the logs are read back.
#[test]
fn logs_are_read_back_while_they_are_switched_off_and_on() {
    for shards in ["1", "2", "3"] {
        let mut server =
            Server::start(&["--shards", shards, "--appendonly", "yes", "--enable-debug-command", "yes"]);
        let address = server.address();
        ping(&address);
        let stop = Arc::new(AtomicBool::new(false));
        let mut random = Random::new(7);
        let mut threads = Vec::new();
        for _ in 0..3 {
            let (address, stop, random) = (address.clone(), stop.clone(), random.fork());
            threads.push(std::thread::spawn(move || write(&address, &stop, random)));
        }
        for command in ["DEBUG LOADAOF", "DEBUG RELOAD"] {
            let (address, stop) = (address.clone(), stop.clone());
            threads.push(std::thread::spawn(move || {
                let mut client = Client::connect(&address);
                while !stop.load(Ordering::Relaxed) && client.try_call(&words(command)).is_ok() {}
            }));
        }
        let mut client = server.client();
        client.call(&["DEBUG", "POPULATE", "20000"]);
        let deadline = Instant::now() + Duration::from_millis(setting("ADMIN_SWITCH_MS", 1500));
        let mut switches = 0;
        while Instant::now() < deadline {
            for value in ["no", "yes"] {
                let answer = client.call(&["CONFIG", "SET", "appendonly", value]);
                assert!(answer.is_ok() || answer.text().contains("LOADING"), "{answer:?}");
                switches += 1;
                std::thread::sleep(Duration::from_millis(random.below(20) as u64));
            }
            assert!(server.is_running(), "shards {shards}, after {switches} switches:\n{}", server.log());
        }
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        ping(&address);
        assert!(!server.log().contains("panicked"), "{}", server.log());
        // A log that has no base yet would refuse an end.
        let _ = server.client().try_call(&["SHUTDOWN", "NOSAVE", "FORCE"]);
        let status = server.wait_for_end(PATIENCE);
        assert!(status.is_some_and(|status| status.success()), "{}", server.log());
    }
}

#[test]
fn a_paused_cron_keeps_nobody_waiting() {
    for shards in ["1", "2", "3"] {
        let mut server = Server::start(&[
            "--shards",
            shards,
            "--appendonly",
            "yes",
            "--save",
            "",
            "--enable-debug-command",
            "yes",
        ]);
        let mut client = server.client();
        client.set_timeout(PATIENCE);
        for number in 0..100 {
            assert!(client.call(&["SET", &format!("key:{number}"), "x"]).is_ok());
        }
        assert!(client.call(&["DEBUG", "PAUSE-CRON", "1"]).is_ok());
        for save in [&["BGSAVE", "FORK"], &["BGSAVE", "FORKLESS"], &["BGREWRITEAOF", ""], &["SAVE", ""]] {
            let save: Vec<&str> = save.iter().copied().filter(|word| !word.is_empty()).collect();
            let reply = client.call(&save);
            assert!(!reply.is_error(), "{save:?}: {reply:?}");
            let is_over = |client: &mut Client| {
                ["rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled"]
                    .iter()
                    .all(|field| support::info(client, field) == 0)
            };
            assert!(support::within(PATIENCE, || is_over(&mut client)), "{shards} shards: {save:?}");
        }
        server.signal(libc::SIGTERM);
        let status = server.wait_for_end(PATIENCE);
        assert!(
            status.is_some_and(|status| status.success()),
            "{shards} shards: {status:?}\n{}",
            server.log()
        );
    }
}

#[test]
fn a_shutdown_ends_the_server_also_behind_one_that_waits_for_a_script() {
    for shards in ["1", "2"] {
        let mut server = Server::start(&["--shards", shards, "--busy-reply-threshold", "50"]);
        let (mut slow, mut client) = (server.client(), server.client());
        client.set_timeout(PATIENCE);
        slow.send(&["EVAL", "redis.call('SET', KEYS[1], 1) while true do end", "1", "k"]);
        let is_noted = |server: &Server, line: &str| server.log().contains(line);
        assert!(support::within(PATIENCE, || is_noted(&server, "Slow script detected")));
        assert!(client.call(&["DBSIZE"]).text().starts_with("BUSY"), "{shards} shards");
        assert!(client.call(&["SHUTDOWN"]).text().starts_with("BUSY"), "{shards} shards");
        server.signal(libc::SIGTERM);
        assert!(support::within(PATIENCE, || is_noted(&server, "User requested shutdown")));
        let _ = client.try_call(&["SHUTDOWN", "NOSAVE"]);
        let status = server.wait_for_end(PATIENCE);
        assert!(
            status.is_some_and(|status| status.success()),
            "{shards} shards: {status:?}\n{}",
            server.log()
        );
    }
}
