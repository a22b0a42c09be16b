//! Files that something has changed: a server starts from them, or ends with exit code 1 and says in which file, where and why. It
//! never dies of them. The tools that check files answer 0 or 1.
//!
//! `DAMAGED_FILES_ROUNDS`: how many changed files each number of shards gets; `DAMAGED_FILES_SEED`: other ones.

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use gyre::rdb::crc64;
use gyre::slots::shard_of_slot;
use gyre::store::slot_of;
use support::{free_port, info, setting, temporary_dir, within, Client, Random, Server};

const PATIENCE: Duration = Duration::from_secs(60);

enum Start {
    Serves,
    /// Exit code 1, and what the log says.
    Refuses(String),
}

/// Starts a server in `dir`, looks whether it serves, and ends it.
#[track_caller]
fn start(dir: &Path, options: &[&str]) -> Start {
    let log = dir.join("log");
    let file = File::create(&log).expect("a new file can be made");
    let port = free_port();
    let mut child = Command::new(env!("CARGO_BIN_EXE_gyre-server"))
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(options)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a file can be shared"))
        .stderr(file)
        .spawn()
        .expect("the server can run");
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is a child") {
            break status;
        }
        if let Some(true) = answers(port) {
            let asked = Client::connect(&format!("127.0.0.1:{port}")).call(&["DEBUG", "DIGEST"]);
            assert!(!asked.is_error(), "{asked:?}");
            end(&mut child);
            return Start::Serves;
        }
        if Instant::now() > deadline {
            end(&mut child);
            panic!(
                "it neither starts nor ends:\n{}",
                String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned()
            );
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    let said = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    assert_eq!(status.code(), Some(1), "{status}:\n{said}");
    assert!(!said.contains("panicked") && !said.contains("crashed"), "{said}");
    Start::Refuses(said)
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Whether a server answers there, and with something else than that it is loading.
fn answers(port: u16) -> Option<bool> {
    let mut client = Client::try_connect(&format!("127.0.0.1:{port}")).ok()?;
    let pong = client.try_call(&["PING"]).ok()?;
    Some(!pong.is_error())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for item in fs::read_dir(from).expect("the folder is there").flatten() {
        let target = to.join(item.file_name());
        if item.path().is_dir() {
            copy(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).expect("a file can be copied");
        }
    }
}

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a server with so many shards leaves: a base and an increment for each, with values of every type and transactions over shards.
fn kept_by(shards: usize) -> Folder {
    let kept = Folder(temporary_dir());
    let mut server = Server::start(&[
        "--shards",
        &shards.to_string(),
        "--appendonly",
        "yes",
        "--enable-debug-command",
        "yes",
    ]);
    let mut client = server.client();
    assert!(within(PATIENCE, || !client.call(&["PING"]).is_error()), "it is not loading any more");
    for round in 0..2 {
        for i in 0..12 {
            let key = |kind: &str| format!("{kind}:{i}");
            let member = format!("m{round}");
            client.call(&["SET", &key("s"), &format!("value {round}")]);
            client.call(&["RPUSH", &key("l"), &member, "7", &"x".repeat(80)]);
            client.call(&["SADD", &key("i"), &round.to_string(), "99"]);
            client.call(&["SADD", &key("t"), &member, "b"]);
            client.call(&["HSET", &key("h"), &member, "1", "f", "2"]);
            client.call(&["ZADD", &key("z"), "1.5", &member, "2", "b"]);
            client.call(&["XADD", &key("x"), &format!("{}-1", 5 + round), "f", &member]);
            client.call(&["XGROUP", "CREATE", &key("x"), "g", "0"]);
            client.call(&["XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", &key("x"), ">"]);
            client.call(&["MSET", &format!("a:{i}"), "1", &format!("b:{i}"), "2", &format!("c:{i}"), "3"]);
            client.call(&["RENAME", &format!("a:{i}"), &format!("d:{i}")]);
            client.call(&["EXPIRE", &key("s"), "100000"]);
        }
        client.call(&["SELECT", "1"]);
        client.call(&["SET", "other", "database"]);
        client.call(&["SELECT", "0"]);
        client.call(&["MULTI"]);
        client.call(&["INCR", "n"]);
        client.call(&["INCR", "n"]);
        client.call(&["EXEC"]);
        if round == 0 {
            rewrite(&mut client);
        }
    }
    assert!(server.stop().is_some_and(|status| status.success()));
    copy(&server.dir, &kept.0);
    kept
}

fn rewrite(client: &mut Client) {
    assert!(!client.call(&["BGREWRITEAOF"]).is_error());
    let fields = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"];
    assert!(within(2 * PATIENCE, || fields.iter().all(|field| info(client, field) == 0)));
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let folder = dir.join("appendonlydir");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("the folder is there").flatten().map(|item| item.path()).collect();
    files.sort();
    files
}

/// Changes bytes at random places.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        let len = 1 + random.below(16.min(bytes.len() - at));
        match random.below(7) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes.insert(at, random.next() as u8),
            3 => drop(bytes.drain(at..at + len)),
            4 => {
                let again = bytes[at..at + len].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, again);
            }
            5 => bytes[at..at + len].fill(0),
            _ => bytes.truncate(at),
        }
    }
}

/// Makes the checksum of an RDB file right again, so that what is inside is looked at.
fn seal(bytes: &mut [u8]) {
    if let Some(end) = bytes.len().checked_sub(8) {
        let crc = crc64(&bytes[..end]);
        bytes[end..].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The warnings name the file, or the one that it names, and the place in it.
fn assert_is_explained(said: &str, file: &str, what: &str) {
    assert!(said.contains(file), "{what} is not named:\n{said}");
    let is_manifest = said.contains("FATAL AOF MANIFEST FILE ERROR");
    let names_missing =
        said.contains("Unable to obtain the AOF file") || said.contains("Found an empty AOF manifest");
    assert!(is_manifest || names_missing || said.contains("offset"), "{what}: no place:\n{said}");
}

fn tool(binary: &str, file: &Path) -> ExitStatus {
    let mut child = Command::new(binary)
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the tool can run");
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("it is a child") {
            return status;
        }
        if Instant::now() > deadline {
            end(&mut child);
            panic!("{binary} does not end: {}", file.display());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn whatever_is_changed_in_a_file_the_server_starts_or_says_what_is_wrong() {
    let rounds = setting("DAMAGED_FILES_ROUNDS", 25);
    for shards in [1usize, 2, 3] {
        let kept = kept_by(shards);
        let mut random = Random::new(setting("DAMAGED_FILES_SEED", 1) + shards as u64);
        for round in 0..rounds {
            let dir = Folder(temporary_dir());
            copy(&kept.0, &dir.0);
            let files = files_of(&dir.0);
            let file = random.pick(&files).clone();
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let mut bytes = fs::read(&file).unwrap();
            damage(&mut bytes, &mut random);
            if name.ends_with(".rdb") && !random.one_in(4) {
                seal(&mut bytes);
            }
            fs::write(&file, &bytes).unwrap();
            let what = format!("shards {shards}, round {round}: {name}");
            let manifest = files.iter().find(|file| file.extension().is_some_and(|end| end == "manifest"));
            for (binary, file) in [
                (env!("CARGO_BIN_EXE_gyre-check-aof"), manifest.expect("there is one")),
                (env!("CARGO_BIN_EXE_gyre-check-rdb"), &file),
            ] {
                let status = tool(binary, file);
                assert!(matches!(status.code(), Some(0 | 1)), "{what}: {binary} ends with {status}");
            }
            // Also with another number of shards than has written the files.
            let now = if random.one_in(4) { 1 + random.below(3) } else { shards };
            let truncated = if random.one_in(2) { "yes" } else { "no" };
            let options = [
                "--shards",
                &now.to_string(),
                "--appendonly",
                "yes",
                "--aof-load-truncated",
                truncated,
                "--enable-debug-command",
                "yes",
            ];
            if let Start::Refuses(said) = start(&dir.0, &options) {
                // A manifest that was changed may name another file.
                let named = if name.ends_with(".manifest") { "AOF" } else { name.as_str() };
                assert_is_explained(&said, named, &what);
            }
        }
    }
}

/// The key of another shard, of the same length.
fn other_key(key: &str, shards: usize) -> String {
    let owner = |key: &str| shard_of_slot(slot_of(key.as_bytes()), shards);
    let stem = &key[..key.len() - 1];
    ('a'..='z')
        .map(|last| format!("{stem}{last}"))
        .find(|other| owner(other) != owner(key))
        .expect("one of 26")
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let at = bytes.windows(from.len()).position(|window| window == from)?;
    Some([&bytes[..at], to, &bytes[at + from.len()..]].concat())
}

#[test]
fn a_key_that_was_changed_into_one_of_another_shard_is_told_with_its_place() {
    for shards in [2usize, 3] {
        let kept = kept_by(shards);
        let with = |shards: usize| -> Vec<String> {
            let shards = shards.to_string();
            let options = ["--shards", &shards, "--appendonly", "yes", "--enable-debug-command", "yes"];
            options.iter().map(|option| option.to_string()).collect()
        };
        let key = "z:5";
        let other = other_key(key, shards);
        let mut changed = 0;
        for file in files_of(&kept.0) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let bytes = fs::read(&file).unwrap();
            let Some(mut bytes) = replace(&bytes, key.as_bytes(), other.as_bytes()) else { continue };
            let is_rdb = name.ends_with(".rdb");
            if is_rdb {
                seal(&mut bytes);
            }
            changed += 1;
            let dir = Folder(temporary_dir());
            copy(&kept.0, &dir.0);
            fs::write(dir.0.join("appendonlydir").join(&name), &bytes).unwrap();
            // The same number of shards, and others, by which the files are those of an older layout.
            for now in [shards, 1, 5 - shards] {
                let options = with(now);
                let options: Vec<&str> = options.iter().map(String::as_str).collect();
                match start(&dir.0, &options) {
                    Start::Serves => panic!("{name}: it starts, with {now} shards"),
                    Start::Refuses(said) => {
                        assert!(said.contains(&name) && said.contains("offset"), "{name}:\n{said}");
                        assert!(said.contains(&other) && said.contains("belongs to another shard"), "{said}");
                    }
                }
            }
            let manifest = dir.0.join("appendonlydir/appendonly.aof.manifest");
            let check = |options: &[&str]| {
                let mut child = Command::new(env!("CARGO_BIN_EXE_gyre-check-aof"))
                    .args(options)
                    .arg(&manifest)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                // It may have ended without a question.
                let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"y\ny\n");
                let done = child.wait_with_output().unwrap();
                (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
            };
            let (code, told) = check(&[]);
            assert_eq!(code, Some(1), "{told}");
            assert!(told.contains(&other) && told.contains(&name) && told.contains("offset"), "{told}");
            // An increment is cut off there, and what was cut off is kept; from an RDB file nothing can be.
            let (code, told) = check(&["--fix"]);
            assert_eq!(code, Some(i32::from(is_rdb)), "{told}");
            if !is_rdb {
                let options = with(shards);
                let options: Vec<&str> = options.iter().map(String::as_str).collect();
                assert!(matches!(start(&dir.0, &options), Start::Serves));
                let names = files_of(&dir.0);
                assert!(names.iter().any(|file| file.to_string_lossy().contains(".cut-")), "{names:?}");
            }
        }
        assert_eq!(changed, 2, "a base and an increment have the key");
    }
}

#[test]
fn without_its_manifest_a_folder_of_files_is_not_taken_for_an_empty_one() {
    for shards in ["1", "2"] {
        let kept = kept_by(shards.parse().unwrap());
        let folder = kept.0.join("appendonlydir");
        let manifest = folder.join("appendonly.aof.manifest");
        let whole = fs::read(&manifest).unwrap();
        let options = ["--shards", shards, "--appendonly", "yes", "--enable-debug-command", "yes"];
        let refuses = |words: &[&str]| match start(&kept.0, &options) {
            Start::Serves => panic!("it starts"),
            Start::Refuses(said) => {
                words.iter().for_each(|word| assert!(said.contains(word), "{word}:\n{said}"))
            }
        };
        fs::remove_file(&manifest).unwrap();
        let names = files_of(&kept.0);
        refuses(&["appendonly.aof.manifest is missing", "Put the manifest back", ".base.rdb"]);
        assert_eq!(files_of(&kept.0), names, "nothing was changed");
        fs::write(&manifest, "").unwrap();
        refuses(&["Found an empty AOF manifest"]);
        fs::remove_file(&manifest).unwrap();
        fs::create_dir(&manifest).unwrap();
        refuses(&["can't open the AOF manifest file"]);
        fs::remove_dir(&manifest).unwrap();
        std::os::unix::fs::symlink("nowhere", &manifest).unwrap();
        refuses(&["can't open the AOF manifest file"]);
        fs::remove_file(&manifest).unwrap();
        // A start that was killed before the first manifest: its files do not count.
        fs::write(folder.join("appendonly.aof.beginning"), "").unwrap();
        assert!(matches!(start(&kept.0, &options), Start::Serves));
        assert!(!folder.join("appendonly.aof.beginning").exists() && manifest.is_file());
        fs::write(&manifest, &whole).unwrap();
        // Another name: the operator is told of the one that is there.
        let renamed = [&options[..], &["--appenddirname", "elsewhere"]].concat();
        assert!(matches!(start(&kept.0, &renamed), Start::Serves));
        let said = fs::read_to_string(kept.0.join("log")).unwrap();
        assert!(said.contains("appendonlydir/appendonly.aof.manifest is there"), "{said}");
        // Switched on at run time, it does not write over them either.
        fs::remove_file(&manifest).unwrap();
        let names = files_of(&kept.0);
        let mut server = Server::start(&["--shards", shards]);
        copy(&folder, &server.dir.join("appendonlydir"));
        let mut client = server.client();
        assert!(client.call(&["CONFIG", "SET", "appendonly", "yes"]).is_ok());
        let deadline = Instant::now() + PATIENCE;
        while !server.log().contains("appendonly.aof.manifest is missing") {
            assert!(Instant::now() < deadline, "{}", server.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        let here = files_of(&server.dir);
        assert_eq!(here.len(), names.len());
        server.stop();
    }
}
