//! RDB files go to and fro: what redis-server has saved is loaded here, every key of every type and encoding, and what is written
//! here is loaded by it. Both sides are compared by DEBUG DIGEST, and by what streams tell of their groups.
//!
//! - `RDB_FILES_SERVERS`: other servers to try, paths with colons between them (Redis 7.2, Valkey). Without it,
//!   redis-server of the search path.
//! - `RDB_FILES_DIR`: a folder of .rdb files of any age, each of which has to load, and to be written and loaded again.

#[path = "../support/mod.rs"]
mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use gyre::observe::digest::Digest;
use gyre::persist::check_rdb;
use gyre::rdb::file::{
    put_function, put_part, trailer, Counts, FileChecksum, Header, Load, LoadOptions, Progress,
};
use gyre::rdb::{Checks, Compression, Encoder, Format, Version};
use gyre::slots::even_share;
use gyre::store::Store;
use support::{redis_server, Client, Server, Value};

const DATABASES: usize = 16;
const LIBRARY: &str = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";

fn servers() -> Vec<PathBuf> {
    match std::env::var("RDB_FILES_SERVERS") {
        Ok(paths) => paths.split(':').map(PathBuf::from).collect(),
        Err(_) => redis_server().into_iter().collect(),
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis() as i64
}

/// What has been loaded of a file, by so many shards.
struct Loaded {
    stores: Vec<Store>,
    counts: Counts,
    functions: Vec<Vec<u8>>,
    notes: Vec<String>,
}

fn load(file: &Path, shards: usize) -> Loaded {
    let mut loaded = Loaded { stores: vec![], counts: Counts::default(), functions: vec![], notes: vec![] };
    for shard in 0..shards {
        let mut store = Store::new(even_share(shard, shards), DATABASES);
        store.set_time(now_ms());
        let options = LoadOptions { checks: Checks::Deep, ..LoadOptions::default() };
        let input = File::open(file).expect("the file is there");
        let mut load = Load::new(input, options).expect("a file that can be read");
        while load.step(&mut store, &|| false).expect("a file that can be loaded") == Progress::More {}
        loaded.counts.add(load.counts());
        loaded.functions = load.take_functions();
        loaded.notes = load
            .take_notes()
            .into_iter()
            .map(|note| String::from_utf8_lossy(&note.text).into_owned())
            .collect();
        loaded.stores.push(store);
    }
    loaded
}

fn digest(stores: &[Store]) -> String {
    let parts = (0..DATABASES).map(|db| {
        let mut part: Option<Digest> = None;
        for store in stores {
            store.for_each_key(db, &mut |key, value, expire_at| {
                part.get_or_insert_default().join(Digest::of_entry(key, &value, expire_at.is_some()));
                true
            });
        }
        part
    });
    Digest::of_databases(parts).to_string()
}

fn write(loaded: &Loaded, format: Format, file: &Path) {
    let mut encoder = Encoder::new(format);
    let mut bytes = Vec::new();
    let header = Header {
        version: format.version,
        created_s: now_ms() / 1000,
        used_memory: 1 << 20,
        is_aof_base: false,
        more: &[("gyre-cut", b"1")],
    };
    header.put(&mut encoder, &mut bytes);
    for code in &loaded.functions {
        put_function(&mut encoder, code, &mut bytes);
    }
    let mut body = FileChecksum::of(&bytes);
    for store in &loaded.stores {
        let mut part = Vec::new();
        assert!(put_part(store, &mut encoder, &mut part, &mut |_| true));
        body = body.then(FileChecksum::of(&part));
        bytes.extend_from_slice(&part);
    }
    bytes.extend_from_slice(&trailer(body, true));
    fs::write(file, bytes).expect("the folder can be written to");
}

/// Keys of every type in every encoding.
fn fill(client: &mut Client) {
    let mut run = |words: &str| {
        let answer = client.call(&words.split(' ').collect::<Vec<_>>());
        assert!(!answer.is_error(), "{words}: {answer:?}");
    };
    for (config, value) in [("hash-max-listpack-entries", "8"), ("list-max-listpack-size", "8")] {
        run(&format!("CONFIG SET {config} {value}"));
    }
    for db in [0, 9] {
        run(&format!("SELECT {db}"));
        for number in
            ["0", "-1", "127", "-128", "30000", "-70000", "5000000000", "9223372036854775807", "007"]
        {
            run(&format!("SET number:{number} {number}"));
        }
        run(&format!("SET repeated {}", "abc".repeat(1000)));
        run(&format!("SETRANGE huge 300000 {}", "x".repeat(100)));
        run("SET empty-soon x EX 100000");
        for (name, count) in [("few", 4), ("many", 700)] {
            for i in 0..count {
                run(&format!("RPUSH {name}:list element:{i} {i} {}", i * 100_000));
                run(&format!("SADD {name}:numbers {}", i * 70_000));
                run(&format!("SADD {name}:set member:{i} {i}"));
                run(&format!("HSET {name}:hash field:{i} {} {i} value:{i}", i * 1000));
                run(&format!("ZADD {name}:zset {} member:{i} {}.5 {i}", i * 3, i));
                run(&format!("XADD {name}:stream {}-{i} field value:{i} n {i}", i + 1));
            }
        }
        run(&format!("RPUSH long:list {} b {}", "y".repeat(20_000), "z".repeat(9_000)));
        run(&format!("HSET long:hash {} v", "f".repeat(100)));
        run(&format!("ZADD long:zset inf {} -inf a", "m".repeat(100)));
        run("XGROUP CREATE many:stream group 10-9 ENTRIESREAD 10");
        run("XGROUP CREATE many:stream other $");
        run("XREADGROUP GROUP group alice COUNT 20 STREAMS many:stream >");
        run("XREADGROUP GROUP group bob COUNT 7 STREAMS many:stream >");
        run("XGROUP CREATECONSUMER many:stream group idle");
        run("XACK many:stream group 12-11");
        run("XDEL many:stream 13-12 1-0");
        run("XADD gone:stream 5-5 a b");
        run("XDEL gone:stream 5-5");
        run("PEXPIRE many:hash 100000000");
    }
}

/// What DEBUG DIGEST leaves out.
fn stream_facts(client: &mut Client) -> Vec<Value> {
    let mut facts = Vec::new();
    for db in ["0", "9"] {
        client.call(&["SELECT", db]);
        for words in
            ["XINFO GROUPS many:stream", "XPENDING many:stream group - + 100", "PEXPIRETIME many:hash"]
        {
            facts.push(client.call(&words.split(' ').collect::<Vec<_>>()));
        }
        let info = client.call(&["XINFO", "STREAM", "gone:stream"]);
        facts.push(info);
    }
    // How long ago something was delivered goes on.
    for fact in &mut facts {
        if let Value::Array(entries) = fact {
            for entry in entries {
                if let Value::Array(parts) = entry {
                    if parts.len() == 4 {
                        parts[2] = Value::Integer(0);
                    }
                }
            }
        }
    }
    facts
}

fn digest_of(client: &mut Client) -> String {
    client.call(&["DEBUG", "DIGEST"]).text()
}

#[test]
fn files_of_other_servers_are_loaded_and_what_is_written_here_is_loaded_by_them() {
    for binary in servers() {
        let mut server = Server::start_binary(
            &binary,
            &["--save", "", "--enable-debug-command", "yes", "--databases", "16"],
        );
        let file = server.dir.join("dump.rdb");
        let mut client = server.client();
        fill(&mut client);
        let functions = client.call(&["FUNCTION", "LOAD", LIBRARY]);
        assert!(!functions.is_error(), "{functions:?}");
        assert!(client.call(&["SAVE"]).is_ok());
        let (wanted, facts) = (digest_of(&mut client), stream_facts(&mut client));
        let version = client.call(&["INFO", "server"]).text();
        let is_old = version.contains("redis_version:7.0");
        check(&file);
        for shards in [1, 3] {
            let loaded = load(&file, shards);
            assert_eq!(digest(&loaded.stores), wanted, "{} at {shards} shards", binary.display());
            assert_eq!(loaded.functions, [LIBRARY.as_bytes()]);
            assert_eq!((loaded.counts.expired, loaded.counts.empty), (0, 0));
            assert!(loaded.notes[0].starts_with("Loading RDB produced by"), "{:?}", loaded.notes);
            let version = if is_old { Version::V10 } else { Version::V11 };
            for compression in [Compression::Lzf, Compression::None] {
                write(&loaded, Format { version, compression }, &file);
                check(&file);
                check_by_redis(&binary, &file);
                server.kill9();
                server.restart();
                let mut client = server.client();
                assert_eq!(digest_of(&mut client), wanted, "{}", server.log());
                assert_eq!(stream_facts(&mut client), facts);
                assert!(format!("{:?}", client.call(&["FUNCTION", "LIST"])).contains("lib"));
            }
        }
    }
}

#[test]
fn every_file_of_a_folder_is_loaded_and_comes_back() {
    let Ok(folder) = std::env::var("RDB_FILES_DIR") else {
        return;
    };
    for entry in fs::read_dir(folder).expect("RDB_FILES_DIR is a folder") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_none_or(|extension| extension != "rdb") {
            continue;
        }
        let loaded = load(&path, 2);
        eprintln!("{}: {:?}, digest {}", path.display(), loaded.counts, digest(&loaded.stores));
        let copy = std::env::temp_dir().join(format!("gyre-rdb-files-{}.rdb", std::process::id()));
        write(&loaded, Format::default(), &copy);
        let again = load(&copy, 1);
        let _ = fs::remove_file(&copy);
        assert_eq!(digest(&again.stores), digest(&loaded.stores), "{}", path.display());
    }
}

fn check(file: &Path) {
    let told = String::from_utf8_lossy(&check_rdb::explain(file)).into_owned();
    assert!(told.contains(r"\o/ RDB looks OK! \o/"), "{told}");
}

/// By the server's own tool: the same binary under another name.
fn check_by_redis(server: &Path, file: &Path) {
    let tool = file.with_file_name("redis-check-rdb");
    let _ = fs::remove_file(&tool);
    std::os::unix::fs::symlink(server, &tool).expect("the folder can be written to");
    let output = Command::new(&tool).arg(file).output().expect("the server's binary can be run");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains(r"\o/ RDB looks OK! \o/"), "{told}");
}
