//! Append-only files go to and fro: what redis-server and Valkey have written is loaded here, by one shard or several, and what one shard
//! has written is loaded by redis-server. Both sides are compared by DEBUG DIGEST, and by what streams tell of their groups.
//! (`rdb_files` does the same with RDB files.)
//!
//! - `GYRE_VALKEY`: the path of a valkey-server, to be tried besides the redis-server of the search path.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::{redis_server, within, Client, Server, Value};

const PATIENCE: Duration = Duration::from_secs(15);
const SHARDS: [&str; 3] = ["1", "2", "4"];
/// Those that have keys in the end, and one that has none.
const DATABASES: [&str; 7] = ["0", "3", "4", "5", "7", "8", "15"];
/// So many keys expire while the test runs.
const NEAR: usize = 50;
const FOLDER: &str = "appendonlydir";
/// For a comparison all of them have to say the same.
const COMMON: [&str; 6] =
    ["--appendonly", "yes", "--enable-debug-command", "yes", "--auto-aof-rewrite-percentage", "0"];

fn servers() -> Vec<PathBuf> {
    let valkey = std::env::var_os("GYRE_VALKEY").map(PathBuf::from);
    if valkey.is_none() {
        eprintln!("SKIPPED: GYRE_VALKEY names no valkey-server");
    }
    redis_server().into_iter().chain(valkey).collect()
}

/// Runs lines of words; an error is not expected of any.
fn run(client: &mut Client, lines: impl IntoIterator<Item = String>) {
    let requests: Vec<Vec<String>> =
        lines.into_iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect();
    for (request, reply) in requests.iter().zip(client.pipeline(&requests)) {
        assert!(!reply.is_error(), "{request:?}: {reply:?}");
    }
}

fn words<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
    lines.iter().map(|line| (*line).to_owned())
}

/// Keys of every type, small and large, in several databases; scores are numbers of which all versions say the same.
fn fill(client: &mut Client) {
    run(client, words(&["CONFIG SET hash-max-listpack-entries 8", "CONFIG SET list-max-listpack-size 8"]));
    for db in [0, 3, 15] {
        run(client, [format!("SELECT {db}")]);
        let strings = ["0", "-70000", "9223372036854775807", "007", "text"];
        run(client, strings.map(|text| format!("SET string:{text} {text}")));
        run(client, [format!("SET repeated {}", "abc".repeat(2000)), format!("SETBIT bits {} 1", 50_000)]);
        for (name, count) in [("few", 4), ("many", 400)] {
            run(client, (0..count).map(|i| format!("RPUSH {name}:list element:{i} {i} {}", i * 100_000)));
            run(client, (0..count).map(|i| format!("SADD {name}:numbers {}", i * 70_000)));
            run(client, (0..count).map(|i| format!("SADD {name}:set member:{i} {i}")));
            run(client, (0..count).map(|i| format!("HSET {name}:hash field:{i} {i} {i} value:{i}")));
            run(client, (0..count).map(|i| format!("ZADD {name}:zset {} member:{i} -{i} {i}", i * 3)));
            run(client, (0..count).map(|i| format!("XADD {name}:stream {}-{i} field value:{i}", i + 1)));
        }
        run(client, (0..50).map(|i| format!("SET far:{i} x EX {}", 100_000 + i)));
        run(client, (0..NEAR).map(|i| format!("SET near:{i} x PX {}", 1 + i)));
        run(
            client,
            words(&[
                "PFADD visitors a b c d",
                "GEOADD places 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
                "XGROUP CREATE many:stream group 10-9 ENTRIESREAD 10",
                "XREADGROUP GROUP group alice COUNT 20 STREAMS many:stream >",
                "XGROUP CREATECONSUMER many:stream group idle",
                "PEXPIRE many:hash 100000000",
            ]),
        );
    }
}

/// Changes of every kind to what `fill` has made: the increments behind a base.
fn change(client: &mut Client) {
    for db in [0, 3] {
        run(client, [format!("SELECT {db}")]);
        run(
            client,
            words(&[
                "INCR string:0",
                "INCRBYFLOAT string:007 0.5",
                "APPEND string:text more",
                "SETRANGE repeated 10000 end",
                "GETEX string:-70000 EX 5000",
                "GETDEL far:1",
                "PERSIST far:2",
                "EXPIRE few:set 5000",
                "DEL few:numbers",
                "LPOP many:list 7",
                "LINSERT few:list BEFORE 1 between",
                "LMOVE many:list few:list LEFT RIGHT",
                "LTRIM many:list 5 -5",
                "SPOP many:set 30",
                "SPOP many:numbers",
                "SMOVE many:set few:set member:7",
                "HDEL many:hash field:3",
                "HINCRBY many:hash count 17",
                "HINCRBYFLOAT few:hash float 1.5",
                "ZPOPMIN many:zset 3",
                "ZINCRBY many:zset 4 member:9",
                "ZRANGESTORE stored many:zset 0 10",
                "SUNIONSTORE union few:set many:set",
                "SORT many:numbers LIMIT 0 20 STORE sorted",
                "BITOP NOT inverted bits",
                "PFADD visitors e f g",
                "PFMERGE merged visitors",
                "GEOSEARCHSTORE near-palermo places FROMMEMBER Palermo BYRADIUS 500 km ASC",
                "XACK many:stream group 12-11",
                "XREADGROUP GROUP group bob COUNT 7 STREAMS many:stream >",
                "XCLAIM many:stream group bob 0 14-13",
                "XAUTOCLAIM many:stream group bob 0 0 COUNT 3",
                "XDEL many:stream 13-12",
                "XTRIM few:stream MAXLEN 2",
                "XSETID few:stream 1000-0",
                "RENAME inverted renamed",
                "COPY many:zset copied DB 7",
                "MOVE merged 8",
                // Of several keys each: what other numbers of shards have to cut, or to do together.
                "MSET part:1 a part:2 b part:3 c part:4 d part:5 e part:6 f",
                "DEL part:1 part:2 far:10 far:11 far:12",
                "RENAME part:3 renamed:1",
                "RENAME part:4 renamed:2",
                "LMOVE many:list line LEFT RIGHT",
                "RPOPLPUSH many:list line",
                "LMOVE line another:line RIGHT LEFT",
                "SMOVE many:set another:set member:11",
                "ZUNIONSTORE weighed 3 many:zset few:zset copied WEIGHTS 1 2 3",
                "ZDIFFSTORE differing 2 many:zset few:zset",
                "BITOP XOR mixed bits renamed string:text",
                "MSET weight:0 30 weight:70000 10 weight:140000 20",
                "SORT many:numbers BY weight:* GET # GET weight:* STORE by-weight",
                "COPY line line:copy DB 5",
                "EVAL return{redis.call('set',KEYS[1],'script'),redis.call('pexpire',KEYS[1],'9000000')} 1 by-script",
            ])
            // Not here before scripts are.
            .filter(|line| !line.starts_with("EVAL")),
        );
        let transaction = [
            "MULTI",
            "SET {m}a 1",
            "RPUSH {m}b 1 2 3",
            "SELECT 5",
            "INCR in-another",
            "SET other 5 EX 7000",
            "EXEC",
            "MULTI",
            "PING",
            "EXEC",
        ];
        run(client, words(&transaction));
    }
    run(client, words(&["SELECT 15", "FLUSHDB", "SET left alone", "SELECT 0", "SWAPDB 3 4"]));
}

fn digest(client: &mut Client) -> String {
    client.call(&["DEBUG", "DIGEST"]).text()
}

/// A line for each key of all databases: with the whole digest alone nobody could tell what is wrong.
fn digests_of_keys(client: &mut Client) -> Vec<String> {
    let mut lines = Vec::new();
    for db in DATABASES {
        client.call(&["SELECT", db]);
        let mut keys: Vec<String> = client.call(&["KEYS", "*"]).elements().iter().map(Value::text).collect();
        keys.sort();
        for key in keys {
            let value = client.call(&["DEBUG", "DIGEST-VALUE", &key]).elements()[0].text();
            lines.push(format!("{db} {key} {value}"));
        }
    }
    lines
}

/// A digest has keys whose time is over, too, until somebody looks at them.
fn leave_nothing_expired(client: &mut Client) {
    for db in DATABASES {
        client.call(&["SELECT", db]);
        for key in 0..NEAR {
            assert!(within(PATIENCE, || client.call(&["GET", &format!("near:{key}")]).is_null()));
        }
    }
}

/// What DEBUG DIGEST leaves out: groups, what is pending in them, and times.
fn facts(client: &mut Client) -> Vec<Value> {
    let mut facts = Vec::new();
    for db in DATABASES {
        client.call(&["SELECT", db]);
        for line in [
            "XINFO GROUPS many:stream",
            "XPENDING many:stream group",
            "PEXPIRETIME many:hash",
            "PEXPIRETIME far:5",
            "PEXPIRETIME string:-70000",
            "PTTL far:2",
            "DBSIZE",
        ] {
            facts.push(match client.call(&line.split(' ').collect::<Vec<_>>()) {
                // Without how many entries it has read: no server logs that of its readers.
                Value::Array(groups) if line.starts_with("XINFO") => Value::Array(
                    groups.iter().map(|group| Value::Array(group.elements()[..8].to_vec())).collect(),
                ),
                other => other,
            });
        }
        let stream = client.call(&["XINFO", "STREAM", "few:stream"]);
        facts.push(match stream {
            // Without how the entries lie in memory.
            Value::Array(fields) => Value::Array([&fields[..2], &fields[6..]].concat()),
            other => other,
        });
    }
    client.call(&["SELECT", "0"]);
    facts
}

/// When it has loaded its files and rewritten what it wants to rewrite by itself.
fn settled(server: &Server) -> Client {
    let mut found = None;
    let done = within(PATIENCE, || {
        // The socket of a server that was killed may accept for a moment more.
        found = found.take().or_else(|| Client::try_connect(&server.address()).ok());
        let text = found.as_mut().and_then(|client| client.try_call(&["INFO", "persistence"]).ok());
        let Some(text) = text else {
            found = None;
            return false;
        };
        let text = text.text();
        let is_zero = |name: &str| text.lines().any(|line| line == format!("{name}:0"));
        ["loading", "aof_rewrite_in_progress", "aof_rewrite_scheduled"].iter().all(|name| is_zero(name))
    });
    assert!(done, "{}", server.log());
    found.expect("what was asked last has answered")
}

fn rewrite(server: &Server) {
    let started = server.client().call(&["BGREWRITEAOF"]);
    assert!(!started.is_error(), "{started:?}");
    let mut client = settled(server);
    assert!(client.call(&["INFO", "persistence"]).text().contains("aof_last_bgrewrite_status:ok"));
}

/// A server's data directory, of which others get copies.
struct Data {
    dir: PathBuf,
    digest: String,
    keys: Vec<String>,
    facts: Vec<Value>,
}

impl Data {
    /// What a server has written: a base, and behind it changes.
    fn written_by(binary: &Path, options: &[&str]) -> Data {
        let mut server = Server::start_binary(binary, &[&COMMON[..], options].concat());
        let mut client = settled(&server);
        fill(&mut client);
        rewrite(&server);
        change(&mut client);
        leave_nothing_expired(&mut client);
        let (digest, keys) = (digest(&mut client), digests_of_keys(&mut client));
        let facts = facts(&mut client);
        assert!(server.stop().is_some(), "{}", server.log());
        let data = Data { dir: new_dir(), digest, keys, facts };
        copy(&server.dir.join(FOLDER), &data.dir.join(FOLDER));
        data
    }

    /// Loaded by another server, it is the same; also after what that one makes of it, and its end by kill -9.
    fn assert_loaded_by(&self, binary: &Path, options: &[&str]) -> PathBuf {
        let dir = new_dir();
        copy(&self.dir, &dir);
        let path = dir.display().to_string();
        let mut server = Server::start_binary(binary, &[&COMMON[..], &["--dir", &path], options].concat());
        for time in ["first", "second"] {
            let mut client = settled(&server);
            leave_nothing_expired(&mut client);
            let keys = digests_of_keys(&mut client);
            let different: Vec<_> = keys
                .iter()
                .filter(|key| !self.keys.contains(key))
                .chain(self.keys.iter().filter(|key| !keys.contains(key)))
                .collect();
            assert!(different.is_empty(), "{options:?}, {time} time: {different:?}");
            assert_eq!(digest(&mut client), self.digest, "{options:?}, {time} time");
            assert_eq!(facts(&mut client), self.facts, "{options:?}, {time} time");
            server.kill9();
            server.restart();
        }
        dir
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn new_dir() -> PathBuf {
    support::temporary_dir()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the directory can be written to");
    for entry in fs::read_dir(from).expect("the directory can be read").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("the file can be copied");
        }
    }
}

fn gyre() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_gyre-server"))
}

#[test]
fn folders_of_other_servers_are_loaded_by_any_number_of_shards() {
    for binary in servers() {
        for preamble in ["yes", "no"] {
            let data = Data::written_by(&binary, &["--aof-use-rdb-preamble", preamble]);
            for shards in SHARDS {
                eprintln!("{}, preamble {preamble}, {shards} shards", binary.display());
                let dir = data.assert_loaded_by(gyre(), &["--shards", shards]);
                fs::remove_dir_all(dir).expect("it is ours");
            }
        }
    }
}

#[test]
fn a_single_file_of_the_time_before_folders_is_taken_over() {
    let Some(binary) = redis_server() else { return };
    for preamble in ["yes", "no"] {
        let mut data = Data::written_by(&binary, &["--aof-use-rdb-preamble", preamble]);
        // Such a file is a base and what came behind it.
        let folder = data.dir.join(FOLDER);
        let mut files: Vec<PathBuf> =
            fs::read_dir(&folder).expect("it is there").flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|end| end != "manifest"));
        files.sort();
        let bases = files.iter().filter(|file| file.to_string_lossy().contains(".base.")).count();
        assert_eq!((files.len(), bases), (2, 1), "{files:?}");
        files.sort_by_key(|file| !file.to_string_lossy().contains(".base."));
        let bytes: Vec<u8> = files.iter().flat_map(|file| fs::read(file).expect("it can be read")).collect();
        let old = new_dir();
        fs::write(old.join("appendonly.aof"), &bytes).expect("the directory can be written to");
        fs::remove_dir_all(std::mem::replace(&mut data.dir, old)).expect("it is ours");
        for shards in SHARDS {
            let dir = data.assert_loaded_by(gyre(), &["--shards", shards]);
            assert!(!dir.join("appendonly.aof").exists(), "it lies in the folder now");
            assert!(dir.join(FOLDER).join("appendonly.aof.manifest").exists());
            fs::remove_dir_all(dir).expect("it is ours");
        }
    }
}

#[test]
fn the_folder_of_one_shard_is_loaded_by_redis() {
    let Some(binary) = redis_server() else { return };
    for preamble in ["yes", "no"] {
        let options = ["--shards", "1", "--rdb-version", "10", "--aof-use-rdb-preamble", preamble];
        let data = Data::written_by(gyre(), &options);
        let manifest = data.dir.join(FOLDER).join("appendonly.aof.manifest");
        let checked = Command::new(binary.with_file_name("redis-check-aof")).arg(&manifest).output();
        if let Ok(checked) = checked {
            let text = String::from_utf8_lossy(&checked.stdout).into_owned();
            assert!(checked.status.success(), "{text}");
        }
        let dir = data.assert_loaded_by(&binary, &[]);
        fs::remove_dir_all(dir).expect("it is ours");
    }
}

#[test]
fn several_shards_load_what_any_other_number_of_them_has_written() {
    for (from, to) in [("1", "4"), ("4", "1"), ("4", "2"), ("2", "3")] {
        let data = Data::written_by(gyre(), &["--shards", from]);
        let dir = data.assert_loaded_by(gyre(), &["--shards", to]);
        fs::remove_dir_all(dir).expect("it is ours");
    }
}
