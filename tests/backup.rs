//! Backups without a disk of the server's: PIPESAVE, DUMPSAVE, SYNC for redis-cli --rdb, and the scripts around them. What arrives is whole and
//! loads, whoever takes it slowly or goes away holds up nobody, and what fails says so.

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{eventually, free_port, info, within, Client, Server, Value};

const SHARDS: [usize; 3] = [1, 2, 3];
const METHODS: [&str; 2] = ["fork", "forkless"];
/// How soon the server must answer, whatever a backup does: far less than what the tests below hold a backup up for.
const PROMPT: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(20);

fn start(shards: usize, method: &str, options: &[&str]) -> Server {
    let shards = shards.to_string();
    let all = ["--shards", &shards, "--snapshot-method", method, "--enable-debug-command", "yes"];
    // redis-cli asks as replicas do.
    let delay = ["--repl-diskless-sync-delay", "0"];
    Server::start(&[&all[..], &delay, options].concat())
}

/// Keys of some types in two databases, one of them large.
fn fill(client: &mut Client) {
    assert!(client.call(&["DEBUG", "POPULATE", "5000", "key", "100"]).is_ok());
    client.call(&["SELECT", "3"]);
    for number in 0..100 {
        client.call(&["RPUSH", &format!("list:{number}"), "a", "b", "c"]);
        client.call(&["HSET", "hash", &format!("field:{number}"), "value"]);
        client.call(&["SET", &format!("volatile:{number}"), "x", "EX", "100000"]);
    }
    client.call(&["SET", "large", &"abcdefgh".repeat(200_000)]);
    client.call(&["SELECT", "0"]);
}

fn field(client: &mut Client, name: &str) -> String {
    let text = client.call(&["INFO", "persistence"]).text();
    let prefix = format!("{name}:");
    text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_else(|| panic!("no {name}")).to_owned()
}

fn wait_for_end(client: &mut Client, kind: &str) {
    let name = format!("rdb_{kind}_in_progress");
    assert!(within(SOON, || info(client, &name) == 0), "the {kind} does not end");
}

fn assert_is_whole(file: &Path) {
    let done = Command::new(env!("CARGO_BIN_EXE_gyre-check-rdb")).arg(file).output().expect("it can run");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{}: {said}", file.display());
}

/// A server that has loaded a file.
fn load(file: &Path) -> Server {
    let dir = file.parent().unwrap().display().to_string();
    let name = file.file_name().unwrap().to_str().unwrap();
    let server = start(2, "fork", &["--dir", &dir, "--dbfilename", name]);
    let mut client = server.client();
    assert!(within(SOON, || info(&mut client, "loading") == 0), "{} is not loaded", file.display());
    server
}

/// The digest of what is loaded from a file.
fn digest_of(file: &Path) -> Value {
    load(file).client().call(&["DEBUG", "DIGEST"])
}

/// Takes a dump as a client does that knows nothing of files.
fn dump(server: &Server, file: &Path) {
    let mut client = server.client();
    client.send(&["DUMPSAVE"]);
    fs::write(file, client.receive_until_closed()).unwrap();
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn script(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name);
    Command::new(path)
        .args(arguments)
        .env_remove("GYRE_AUTH")
        .env_remove("REDISCLI_AUTH")
        .envs(environment.iter().copied())
        .output()
        .expect("python3 is there")
}

fn assert_exit(done: &Output, code: i32) {
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(code), "{said}");
}

#[test]
fn a_dump_is_the_keyspace_and_so_is_what_a_pipe_gets() {
    for shards in SHARDS {
        for method in METHODS {
            let server =
                start(shards, method, &["--pipesavecommand", "cat > piped.part && mv piped.part piped.rdb"]);
            let mut client = server.client();
            fill(&mut client);
            let digest = client.call(&["DEBUG", "DIGEST"]);
            assert_eq!(client.call(&["PIPESAVE"]), Value::Simple("Background pipesave started".to_owned()));
            wait_for_end(&mut client, "pipesave");
            let (piped, dumped) = (server.dir.join("piped.rdb"), server.dir.join("dumped.rdb"));
            dump(&server, &dumped);
            wait_for_end(&mut client, "dumpsave");
            for (kind, file) in [("pipesave", &piped), ("dumpsave", &dumped)] {
                assert_is_whole(file);
                assert_eq!(digest_of(file), digest, "{shards} shards, {method}, {kind}");
                assert_eq!(field(&mut client, &format!("rdb_last_{kind}_status")), "ok");
                let bytes = fs::metadata(file).unwrap().len();
                assert_eq!(info(&mut client, &format!("rdb_last_{kind}_bytes")), bytes);
                assert!(info(&mut client, &format!("rdb_last_{kind}_at")) > 0);
            }
            assert_eq!(info(&mut client, "rdb_last_pipesave_exit_code"), 0);
            assert!(!server.dir.join("dump.rdb").exists(), "a disk was touched");
        }
    }
}

#[test]
fn what_arrives_under_writes_is_one_cut_over_all_shards() {
    for method in METHODS {
        let server = start(3, method, &[]);
        fill(&mut server.client());
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            // Also when an assertion fails, for the scope waits.
            let _stopping = OnDrop(|| stop.store(true, Ordering::Relaxed));
            scope.spawn(|| {
                let mut client = server.client();
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let value = number.to_string();
                    // Keys of different shards, always equal; and changes of keys that the snapshot has yet to write.
                    client.call(&["MSET", "a", &value, "b", &value, "c", &value, "d", &value]);
                    client.call(&["SET", &format!("key:{}", number * 37 % 5000), &value]);
                    client.call(&["DEL", &format!("key:{}", number * 91 % 5000)]);
                }
            });
            for round in 0..3 {
                let file = server.dir.join("cut.rdb");
                dump(&server, &file);
                wait_for_end(&mut server.client(), "dumpsave");
                assert_is_whole(&file);
                let values = load(&file).client().call(&["MGET", "a", "b", "c", "d"]);
                let first = &values.elements()[0];
                assert!(values.elements().iter().all(|value| value == first), "{round}: {values:?}");
            }
        });
    }
}

#[test]
fn a_dump_comes_behind_the_replies_to_what_was_sent_in_front_of_it_and_holds_it() {
    let server = start(3, "fork", &[]);
    let mut client = server.client();
    let value = "x".repeat(300_000);
    let mut requests = Vec::new();
    for key in ["a", "b", "c"] {
        requests.extend(Client::encode(&["SET", key, &value]));
        requests.extend(Client::encode(&["GET", key]));
    }
    requests.extend(Client::encode(&["DUMPSAVE"]));
    client.send_raw(&requests);
    for _ in 0..3 {
        assert!(client.receive().is_ok());
        assert_eq!(client.receive(), Value::bulk(&value));
    }
    let file = server.dir.join("behind.rdb");
    fs::write(&file, client.receive_until_closed()).unwrap();
    assert_is_whole(&file);
    assert_eq!(digest_of(&file), server.client().call(&["DEBUG", "DIGEST"]));
}

#[test]
fn sync_frames_the_file_with_a_mark_for_those_who_find_it_and_a_length_for_others() {
    let server = start(2, "fork", &[]);
    let mut client = server.client();
    fill(&mut client);
    assert!(client.call(&["REPLCONF", "rdb-only", "1"]).is_ok());
    assert_eq!(
        client.call(&["REPLCONF", "nonsense", "1"]).text(),
        "ERR Unrecognized REPLCONF option: nonsense"
    );
    client.send(&["SYNC"]);
    let got = client.receive_until_closed();
    // Newlines keep a connection alive that waits.
    let got = &got[got.iter().position(|byte| *byte != b'\n').unwrap()..];
    let end = got.iter().position(|byte| *byte == b'\r').unwrap();
    let len: usize = std::str::from_utf8(&got[1..end]).unwrap().parse().unwrap();
    assert_eq!((got[0], got.len()), (b'$', end + 2 + len));
    let file = server.dir.join("sized.rdb");
    fs::write(&file, &got[end + 2..]).unwrap();
    assert_is_whole(&file);

    let mut client = server.client();
    assert!(client.call(&["REPLCONF", "capa", "eof"]).is_ok());
    assert!(client.call(&["REPLCONF", "rdb-only", "1"]).is_ok());
    client.send(&["SYNC"]);
    let got = client.receive_until_closed();
    let got = &got[got.iter().position(|byte| *byte != b'\n').unwrap()..];
    let (mark, rest) = (&got[5..45], &got[47..]);
    assert!(got.starts_with(b"$EOF:") && &got[45..47] == b"\r\n");
    assert_eq!(&rest[rest.len() - 40..], mark);
    let file = server.dir.join("synced.rdb");
    fs::write(&file, &rest[..rest.len() - 40]).unwrap();
    assert_is_whole(&file);
}

#[test]
fn redis_cli_takes_an_rdb_file() {
    if Command::new("redis-cli").arg("--version").output().is_err() {
        eprintln!("SKIPPED: redis-cli is not installed (scripts/test installs it where it may)");
        return;
    }
    for shards in SHARDS {
        let server = start(shards, "auto", &[]);
        let mut client = server.client();
        fill(&mut client);
        let (file, port) = (server.dir.join("cli.rdb"), server.port.to_string());
        let done = Command::new("redis-cli").args(["-p", &port, "--rdb"]).arg(&file).output().unwrap();
        assert_exit(&done, 0);
        assert_is_whole(&file);
        assert_eq!(digest_of(&file), client.call(&["DEBUG", "DIGEST"]));
    }
}

#[test]
fn redis_cli_takes_a_file_of_functions_alone() {
    const LIBRARY: &str = "#!lua name=lib\nredis.register_function('f', function() return 7 end)";
    let has_cli = Command::new("redis-cli").arg("--version").output().is_ok();
    for shards in SHARDS {
        let server = start(shards, "auto", &[]);
        let mut client = server.client();
        fill(&mut client);
        // Longer than a pipe holds.
        let library = format!("{LIBRARY} -- {}", "x".repeat(300_000));
        assert!(!client.call(&["FUNCTION", "LOAD", &library]).is_error());
        let file = server.dir.join("functions.rdb");
        // What redis-cli --functions-rdb asks, and a filter that lets nothing through.
        for (filter, functions) in [("functions", 1), ("", 0), ("functions FUNCTIONS", 1)] {
            let mut asker = server.client();
            for option in [["capa", "eof"], ["rdb-only", "1"], ["rdb-filter-only", filter]] {
                assert!(asker.call(&["REPLCONF", option[0], option[1]]).is_ok());
            }
            asker.send(&["SYNC"]);
            let bytes = asker.receive_until_closed();
            // Newlines keep a connection alive that waits.
            let bytes = &bytes[bytes.iter().position(|byte| *byte != b'\n').unwrap()..];
            let mark = &bytes[5..45];
            fs::write(&file, bytes[47..].strip_suffix(mark).expect("the mark is at the end")).unwrap();
            assert_is_whole(&file);
            let loaded = load(&file);
            let mut loaded = loaded.client();
            assert_eq!(loaded.call(&["DBSIZE"]), Value::Integer(0));
            let Value::Array(listed) = loaded.call(&["FUNCTION", "LIST"]) else { panic!("a list") };
            assert_eq!(listed.len(), functions, "'{filter}'");
        }
        let refused = client.call(&["REPLCONF", "rdb-filter-only", "functions keys"]);
        assert_eq!(refused.text(), "ERR Unsupported rdb-filter-only option: keys");
        if has_cli {
            let port = server.port.to_string();
            let file = server.dir.join("cli.rdb");
            let done =
                Command::new("redis-cli").args(["-p", &port, "--functions-rdb"]).arg(&file).output().unwrap();
            assert_exit(&done, 0);
            assert_is_whole(&file);
            assert!(fs::metadata(&file).unwrap().len() < 100_000, "it has no keys, and compresses");
        }
    }
}

#[test]
fn there_is_one_backup_of_a_kind_at_a_time() {
    let server = start(2, "fork", &["--pipesavecommand", "sleep 30"]);
    let mut client = server.client();
    assert!(!client.call(&["PIPESAVE"]).is_error());
    assert_eq!(client.call(&["PIPESAVE"]).text(), "ERR Background pipesave already in progress");
    assert_eq!(info(&mut client, "rdb_pipesave_in_progress"), 1);
    let mut reader = server.client();
    reader.call(&["DEBUG", "POPULATE", "50000", "key", "200"]);
    reader.send(&["DUMPSAVE"]);
    assert!(within(SOON, || info(&mut client, "rdb_dumpsave_in_progress") == 1));
    assert_eq!(client.call(&["DUMPSAVE"]).text(), "ERR Background dumpsave already in progress");
    // The connection that was refused a dump goes on.
    assert_eq!(client.call(&["PING"]), Value::Simple("PONG".to_owned()));
    drop(server);

    let server = start(2, "fork", &["--rdb-key-save-delay", "1000"]);
    let mut client = server.client();
    assert!(client.call(&["PIPESAVE"]).text().starts_with("ERR PIPESAVE needs a command"));
    assert!(client.call(&["DEBUG", "POPULATE", "20000"]).is_ok());
    assert!(!client.call(&["BGSAVE"]).is_error());
    assert_eq!(client.call(&["BGSAVE"]).text(), "ERR Background save already in progress");
    assert_eq!(client.call(&["SAVE"]).text(), "ERR Background save already in progress");
}

#[test]
fn files_are_saved_and_dumps_taken_while_a_backup_stands_still() {
    for shards in SHARDS {
        for method in ["fork", "auto"] {
            // It takes nothing, and more than the pipes hold waits for it.
            let options = ["--pipesavecommand", "sleep 60", "--appendonly", "yes"];
            let server = start(shards, method, &options);
            let mut client = server.client();
            assert!(within(SOON, || !client.call(&["EXISTS", "a"]).is_error()));
            fill(&mut client);
            client.call(&["DEBUG", "POPULATE", "20000", "more", "200"]);
            assert!(!client.call(&["PIPESAVE"]).is_error());
            client.call(&["SET", "behind", "it"]);
            let digest = client.call(&["DEBUG", "DIGEST"]);
            let file = server.dir.join("dump.rdb");
            let context = format!("{shards} shards, {method}");
            for _ in 0..2 {
                assert!(!client.call(&["BGSAVE"]).is_error(), "{context}");
                assert!(within(SOON, || info(&mut client, "rdb_bgsave_in_progress") == 0), "{context}");
                assert_eq!(field(&mut client, "rdb_last_bgsave_status"), "ok", "{context}");
            }
            assert_eq!(digest_of(&file), digest, "{context}");
            assert!(client.call(&["SAVE"]).is_ok(), "{context}");
            assert!(!client.call(&["BGREWRITEAOF"]).is_error(), "{context}");
            assert!(within(SOON, || info(&mut client, "aof_rewrite_in_progress") == 0), "{context}");
            assert_eq!(field(&mut client, "aof_last_bgrewrite_status"), "ok", "{context}");
            let dumped = server.dir.join("dumped.rdb");
            dump(&server, &dumped);
            assert_eq!(digest_of(&dumped), digest, "{context}");
            assert_eq!(info(&mut client, "rdb_pipesave_in_progress"), 1, "{context}");
        }
    }
}

#[test]
fn a_save_that_may_not_fork_waits_until_the_stores_keep_nothing_for_a_backup() {
    for shards in SHARDS {
        let go = std::env::temp_dir().join(format!("gyre-go-{}-{shards}", std::process::id()));
        let command = format!("while [ ! -e {} ]; do sleep 0.05; done; cat > /dev/null", go.display());
        let server = start(shards, "forkless", &["--pipesavecommand", &command]);
        let _remove = OnDrop(|| drop(fs::remove_file(&go)));
        let mut client = server.client();
        assert!(client.call(&["DEBUG", "POPULATE", "50000", "key", "500"]).is_ok());
        assert!(!client.call(&["PIPESAVE"]).is_error());
        let mut waiting = server.client();
        waiting.send(&["BGSAVE"]);
        // Whoever may fork need not wait.
        assert!(!client.call(&["PING"]).is_error());
        thread::sleep(Duration::from_millis(300));
        assert!(!server.dir.join("dump.rdb").exists());
        fs::write(&go, "").unwrap();
        wait_for_end(&mut client, "pipesave");
        assert_eq!(waiting.receive().text(), "Background saving started");
        assert!(within(SOON, || info(&mut client, "rdb_bgsave_in_progress") == 0));
        assert_is_whole(&server.dir.join("dump.rdb"));
        assert_eq!(field(&mut client, "rdb_last_pipesave_status"), "ok");
    }
}

#[test]
fn a_command_that_fails_fails_the_backup_and_nothing_else() {
    // Early, without having read; and late, with all of it read. What it says is in the log.
    for (command, code) in
        [("echo no room >&2; exit 3", "3"), ("cat > /dev/null; echo no room >&2; exit 4", "4")]
    {
        for method in METHODS {
            let server = start(2, method, &["--pipesavecommand", command]);
            let mut client = server.client();
            fill(&mut client);
            assert!(!client.call(&["PIPESAVE"]).is_error());
            wait_for_end(&mut client, "pipesave");
            assert_eq!(field(&mut client, "rdb_last_pipesave_status"), "err");
            assert_eq!(field(&mut client, "rdb_last_pipesave_exit_code"), code);
            assert!(server.log().contains("pipesavecommand: no room"), "{}", server.log());
            assert!(client.call(&["SET", "key", "value"]).is_ok());
            assert!(!client.call(&["BGSAVE"]).is_error());
            assert!(within(SOON, || info(&mut client, "rdb_bgsave_in_progress") == 0));
            assert_is_whole(&server.dir.join("dump.rdb"));
        }
    }
}

#[test]
fn a_consumer_that_takes_nothing_holds_up_no_shard_and_is_left_in_the_end() {
    for method in METHODS {
        let server = start(3, method, &["--repl-timeout", "3"]);
        let mut client = server.client();
        // More than sockets and pipes hold.
        assert!(client.call(&["DEBUG", "POPULATE", "3000", "key", "20000"]).is_ok());
        assert!(client.call(&["CONFIG", "SET", "rdbcompression", "no"]).is_ok());
        let mut consumer = server.client();
        consumer.send(&["DUMPSAVE"]);
        assert!(eventually(|| info(&mut client, "rdb_dumpsave_in_progress") == 1));
        client.set_timeout(PROMPT);
        let until = Instant::now() + Duration::from_secs(1);
        let mut number = 0;
        while Instant::now() < until {
            number += 1;
            assert!(client.call(&["SET", &format!("key:{}", number % 3000), &"y".repeat(20000)]).is_ok());
        }
        assert_eq!(info(&mut client, "rdb_dumpsave_in_progress"), 1);
        wait_for_end(&mut client, "dumpsave");
        assert_eq!(field(&mut client, "rdb_last_dumpsave_status"), "err");
        assert!(server.log().contains("nothing was taken for 3 seconds"), "{}", server.log());
        // What was sent of it has an end, and is not whole.
        let got = consumer.receive_until_closed();
        assert!(got.starts_with(b"REDIS"));
        let file = server.dir.join("next.rdb");
        dump(&server, &file);
        assert_is_whole(&file);
    }
}

#[test]
fn a_consumer_that_goes_away_leaves_nothing_behind() {
    let server = start(2, "fork", &["--rdb-key-save-delay", "100"]);
    let mut client = server.client();
    assert!(client.call(&["DEBUG", "POPULATE", "100000", "key", "100"]).is_ok());
    let mut consumer = server.client();
    consumer.send(&["DUMPSAVE"]);
    assert!(eventually(|| info(&mut client, "rdb_dumpsave_in_progress") == 1));
    drop(consumer);
    wait_for_end(&mut client, "dumpsave");
    assert_eq!(field(&mut client, "rdb_last_dumpsave_status"), "err");
    assert!(eventually(|| info(&mut client, "connected_clients") == 1));
    assert!(eventually(|| !has_children(&server)), "a child is left");
}

fn has_children(server: &Server) -> bool {
    let pid = server.pid();
    let lists = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    lists
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .any(|children| !children.trim().is_empty())
}

#[test]
fn shutdown_gives_a_backup_up_and_the_command_with_it() {
    let command = "trap 'echo asked > asked; exit 1' TERM; cat > part; mv part whole.rdb";
    let mut server = start(2, "fork", &["--pipesavecommand", command, "--rdb-key-save-delay", "1000"]);
    let mut client = server.client();
    assert!(client.call(&["DEBUG", "POPULATE", "100000"]).is_ok());
    assert!(!client.call(&["PIPESAVE"]).is_error());
    assert!(eventually(|| server.dir.join("part").exists()));
    client.send(&["SHUTDOWN", "NOSAVE"]);
    let status = server.wait_for_end(Duration::from_secs(10)).expect("it ends");
    assert!(status.success());
    assert!(server.dir.join("asked").exists());
    assert!(!server.dir.join("whole.rdb").exists(), "the command took a part for the whole");
}

#[test]
fn the_pull_script_keeps_a_whole_file_only() {
    let server = start(2, "auto", &["--requirepass", "secret"]);
    let mut client = server.client();
    client.call(&["AUTH", "secret"]);
    fill(&mut client);
    let file = server.dir.join("pulled.rdb");
    let (port, path) = (server.port.to_string(), file.display().to_string());
    let to_server = ["127.0.0.1", &port, &path];
    let checker = env!("CARGO_BIN_EXE_gyre-check-rdb");
    let part = server.dir.join("pulled.rdb.part");

    assert_exit(&script("dumpsave", &to_server, &[]), 1);
    assert_exit(&script("dumpsave", &to_server, &[("GYRE_AUTH", "wrong")]), 1);
    assert_exit(&script("dumpsave", &["127.0.0.1"], &[]), 2);
    assert!(!file.exists() && !part.exists());
    let all = [&["--progress", "--check", checker], &to_server[..]].concat();
    let done = script("dumpsave", &all, &[("GYRE_AUTH", "secret")]);
    assert_exit(&done, 0);
    assert!(String::from_utf8_lossy(&done.stderr).contains("100%"));
    assert!(!part.exists());
    assert_eq!(digest_of(&file), client.call(&["DEBUG", "DIGEST"]));
    assert_exit(&script("dumpsave", &["127.0.0.1", &port, "/nowhere/x"], &[("GYRE_AUTH", "secret")]), 4);

    // What is cut, changed or something else is not kept.
    let good = fs::read(&file).unwrap();
    let mut changed = good.clone();
    changed[good.len() / 2] ^= 1;
    let cut = good[..good.len() - 1].to_vec();
    for (bytes, code) in
        [(good, 0), (changed, 3), (cut, 3), (b"HTTP/1.0 200 OK".to_vec(), 3), (Vec::new(), 1)]
    {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let serve = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 18];
            std::io::Read::read_exact(&mut stream, &mut request).unwrap();
            stream.write_all(&bytes).unwrap();
        });
        fs::remove_file(&file).ok();
        assert_exit(&script("dumpsave", &["127.0.0.1", &port.to_string(), &path], &[]), code);
        assert_eq!((file.exists(), part.exists()), (code == 0, false));
        serve.join().unwrap();
    }
}

#[test]
fn the_probe_speaks_the_language_of_nagios() {
    let server = start(2, "auto", &["--appendonly", "yes", "--maxmemory", "100mb"]);
    let mut client = server.client();
    let port = server.port.to_string();
    let probe = |options: &[&str]| script("check-gyre", &[&["-p", &port], options].concat(), &[]);
    let done =
        probe(&["--rewrite-age", "1h,1d", "--pending", "1m,16m", "--memory", "90,95", "--fsync-ms", "60s,"]);
    assert_exit(&done, 0);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        said.starts_with("OK - ") && said.contains(" | ") && said.contains(" pending=0B;1048576;16777216;0")
    );
    // Nothing is as young as that.
    thread::sleep(Duration::from_millis(1100));
    assert_exit(&probe(&["--backup-age", "0,1h"]), 1);
    assert_exit(&probe(&["--backup-age", "0,0"]), 2);
    assert_exit(&probe(&["--memory", "0,0"]), 2);
    dump(&server, &server.dir.join("dumped.rdb"));
    wait_for_end(&mut client, "dumpsave");
    assert_exit(&probe(&["--backup-age", "1m,1h"]), 0);
    assert_exit(&probe(&["--memory", "much"]), 3);
    assert_exit(&script("check-gyre", &["-p", &free_port().to_string()], &[]), 2);
    // What the server itself calls an error needs no threshold.
    fs::create_dir(server.dir.join("dump.rdb")).unwrap();
    client.call(&["BGSAVE"]);
    assert!(within(SOON, || field(&mut client, "rdb_last_bgsave_status") == "err"));
    assert_exit(&probe(&[]), 2);
}
