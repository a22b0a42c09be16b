//! Names of files and folders have any bytes but zero and the slash, and need not be UTF-8. Each directive takes such a name, each file
//! is found under it again, and every message, reply and tool names it with the same bytes. Standing in for all of them: what a lossy
//! conversion would put in their place is nowhere to be found.

mod support;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{eventually, temporary_dir, Client, Server, Value};

const SHARDS: [usize; 3] = [1, 2, 3];

/// What a lossy conversion makes of a byte that is no UTF-8.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// A directory, with a configuration file that gives everything in it names that are no text.
struct Place {
    dir: PathBuf,
    data: PathBuf,
    conf: PathBuf,
}

impl Place {
    fn new() -> Place {
        let dir = temporary_dir();
        let data = dir.join(OsStr::from_bytes(b"d\xff\xc3"));
        std::fs::create_dir(&data).unwrap();
        let conf = dir.join("odd.conf");
        let lines = format!(
            "dir \"{0}/d\\xff\\xc3\"\n\
             dbfilename \"b\\xfe.rdb\"\n\
             appendfilename \"a\\xe9.aof\"\n\
             appenddirname \"f\\xe8\"\n\
             unixsocket \"{0}/d\\xff\\xc3/s\\xf1\"\n\
             aclfile \"{0}/d\\xff\\xc3/u\\xf2\"\n\
             proc-title-template \"t\\xf3 {{unixsocket}}\"\n\
             pipesavecommand \"cat >/dev/null; echo 'said \\xf4'\"\n\
             appendonly yes\n",
            dir.display()
        );
        std::fs::write(&conf, lines).unwrap();
        std::fs::write(data.join(OsStr::from_bytes(b"u\xf2")), b"user default on nopass ~* &* +@all\n")
            .unwrap();
        Place { dir, data, conf }
    }

    fn start(&self, shards: usize) -> Server {
        let conf = self.conf.to_str().unwrap();
        Server::start(&[conf, "--appendonly", "yes", "--shards", &shards.to_string()])
    }

    /// What a start says that ends by itself.
    fn failed_start(&self, shards: usize) -> Vec<u8> {
        let output = Command::new(env!("CARGO_BIN_EXE_gyre-server"))
            .arg(&self.conf)
            .args(["--port", "0", "--save", "", "--shards", &shards.to_string()])
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(!output.status.success(), "{}", output.stdout.escape_ascii());
        [output.stdout, output.stderr].concat()
    }

    fn folder(&self) -> PathBuf {
        self.data.join(OsStr::from_bytes(b"f\xe8"))
    }

    fn file(&self, name: &[u8]) -> PathBuf {
        self.folder().join(OsStr::from_bytes(name))
    }

    fn manifest(&self) -> PathBuf {
        self.file(b"a\xe9.aof.manifest")
    }

    fn dir_bytes(&self) -> Vec<u8> {
        self.data.as_os_str().as_bytes().to_vec()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn log_of(server: &Server) -> Vec<u8> {
    std::fs::read(server.dir.join("log")).unwrap()
}

#[track_caller]
fn holds(text: &[u8], part: &[u8]) {
    let found = memchr::memmem::find(text, part).is_some();
    assert!(found, "'{}' is not in '{}'", part.escape_ascii(), text.escape_ascii());
}

#[track_caller]
fn has_every_byte(text: &[u8]) {
    let lost = memchr::memmem::find(text, REPLACEMENT);
    assert!(lost.is_none(), "lost at {lost:?} in '{}'", text.escape_ascii());
}

fn bytes(value: Value) -> Vec<u8> {
    match value {
        Value::Bulk(bytes) | Value::Verbatim(_, bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

fn config_get(client: &mut Client, name: &str) -> Vec<u8> {
    bytes(client.call(&["CONFIG", "GET", name]).elements()[1].clone())
}

#[test]
fn a_server_whose_names_are_no_text_shows_them_and_finds_its_files_again() {
    for shards in SHARDS {
        let place = Place::new();
        let socket = [&place.dir_bytes()[..], b"/s\xf1"].concat();
        let mut server = place.start(shards);
        let mut client = server.client();
        for (name, value) in [
            ("dir", place.dir_bytes()),
            ("dbfilename", b"b\xfe.rdb".to_vec()),
            ("appendfilename", b"a\xe9.aof".to_vec()),
            ("appenddirname", b"f\xe8".to_vec()),
            ("unixsocket", socket.clone()),
            ("aclfile", [&place.dir_bytes()[..], b"/u\xf2"].concat()),
        ] {
            assert_eq!(config_get(&mut client, name), value, "{name}");
        }
        for key in 0..20 {
            assert!(client.call(&["SET".to_owned(), format!("k{key}"), "v".to_owned()]).is_ok());
        }
        // The rewrite is of the kind that renames: from `dir` into the folder.
        client.call(&["BGREWRITEAOF"]);
        let incr: &[u8] = if shards == 1 { b"a\xe9.aof.2.incr.aof" } else { b"a\xe9.aof.shard-0.2.incr.aof" };
        let mut created = b"Creating AOF incr file ".to_vec();
        created.extend_from_slice(incr);
        assert!(
            eventually(|| memchr::memmem::find(&log_of(&server), &created).is_some()),
            "{}",
            server.log()
        );
        let finished = b"Background AOF rewrite finished successfully";
        let count = |server: &Server| memchr::memmem::find_iter(&log_of(server), finished).count();
        assert!(eventually(|| count(&server) == shards), "{}", server.log());
        assert!(client.call(&["SAVE"]).is_ok());
        assert!(place.data.join(OsStr::from_bytes(b"b\xfe.rdb")).is_file());
        client.call(&["PIPESAVE"]);
        assert!(
            eventually(|| memchr::memmem::find(&log_of(&server), b"said \xf4").is_some()),
            "{}",
            server.log()
        );
        assert!(client.call(&["ACL", "SAVE"]).is_ok());
        let info = bytes(client.call(&["INFO", "server"]));
        holds(&info, &[b"name=unix,bind=", &socket[..]].concat());
        // A client over the socket is called by its name.
        let _over = UnixStream::connect(OsStr::from_bytes(&socket)).unwrap();
        let named = [b" addr=", &socket[..], b":0 laddr=", &socket, b":0 "].concat();
        let list = |client: &mut Client| bytes(client.call(&["CLIENT", "LIST"]));
        assert!(eventually(|| memchr::memmem::find(&list(&mut client), &named).is_some()));
        assert_eq!(
            client.call(&[&b"CLIENT"[..], b"KILL", b"ADDR", &[&socket[..], b":0"].concat()]),
            Value::Integer(1)
        );
        let title = std::fs::read(format!("/proc/{}/cmdline", server.pid())).unwrap();
        assert!(title.starts_with(&[b"t\xf3 ", &socket[..]].concat()), "{}", title.escape_ascii());
        assert!(client.call(&["CONFIG", "REWRITE"]).is_ok());
        // The host is refused by its name.
        client.call(&[&b"CONFIG"[..], b"SET", b"bind", b"\xf5.invalid"]);
        holds(&log_of(&server), b"listening socket \xf5.invalid:");
        assert_eq!(config_get(&mut client, "bind"), b"127.0.0.1");
        server.restart();
        let mut client = server.client();
        assert_eq!(client.call(&["DBSIZE"]), Value::Integer(20), "{shards} shards");
        assert_eq!(config_get(&mut client, "appendfilename"), b"a\xe9.aof");
        let log = log_of(&server);
        holds(&log, &[b"Opening AOF incr file ", incr, b" on server start"].concat());
        has_every_byte(&log);
        server.stop();
        assert!(!place.folder().join("temp").exists());
    }
}

/// Each way in which files of such names are refused or put right.
#[test]
fn what_is_wrong_with_a_file_is_said_with_its_name() {
    for shards in SHARDS {
        let place = Place::new();
        let mut server = place.start(shards);
        let mut client = server.client();
        assert!(client.call(&["SET", "k", "v"]).is_ok());
        server.stop();
        let first = |text: &str| match shards {
            1 => [b"a\xe9.aof", text.as_bytes()].concat(),
            _ => [b"a\xe9.aof.shard-0", text.as_bytes()].concat(),
        };
        let (incr, base) = (first(".1.incr.aof"), first(".1.base.rdb"));
        // A torn tail is cut off, and kept.
        let path = place.file(&incr);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], b"*1\r\n$4\r\nPI"].concat()).unwrap();
        server.restart();
        let log = log_of(&server);
        for (before, after) in [
            (&b"short read while loading the AOF file "[..], &b"!!!"[..]),
            (b"Truncating the AOF ", b" at offset"),
            (b"AOF ", b" was cut at offset"),
            (b"are kept in ", b".cut-"),
            (b"AOF ", b" loaded anyway"),
        ] {
            holds(&log, &[before, &incr, after].concat());
        }
        has_every_byte(&log);
        server.stop();
        // Whatever else is wrong stops the start.
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&good[..], b"oops"].concat()).unwrap();
        let said = place.failed_start(shards);
        holds(&said, &[b"Bad file format reading the append only file ", &incr[..], b":"].concat());
        has_every_byte(&said);
        let said = checked(env!("CARGO_BIN_EXE_gyre-check-aof"), &[], &place.manifest());
        holds(&said, &[b"AOF ", &incr[..], b" is not valid"].concat());
        has_every_byte(&said);
        std::fs::remove_file(&path).unwrap();
        let said = place.failed_start(shards);
        holds(&said, &[b"the AOF file ", &incr[..], b" length"].concat());
        has_every_byte(&said);
        std::fs::write(&path, &good).unwrap();
        let base_path = place.file(&base);
        let kept = std::fs::read(&base_path).unwrap();
        std::fs::write(&base_path, b"REDIS0011\xf6\x00\x00").unwrap();
        let said = place.failed_start(shards);
        holds(&said, &base);
        has_every_byte(&said);
        let said = checked(env!("CARGO_BIN_EXE_gyre-check-rdb"), &[], &base_path);
        holds(&said, &base);
        has_every_byte(&said);
        std::fs::write(&base_path, &kept).unwrap();
        let manifest = std::fs::read(place.manifest()).unwrap();
        std::fs::write(place.manifest(), [b"f\xf7le oops\n", &manifest[..]].concat()).unwrap();
        let said = place.failed_start(shards);
        holds(&said, b">>> 'f\xf7le oops'");
        holds(&said, &[b"The AOF manifest file is ", place.manifest().as_os_str().as_bytes()].concat());
        has_every_byte(&said);
        std::fs::remove_file(place.manifest()).unwrap();
        let said = place.failed_start(shards);
        holds(&said, &[b"the AOF manifest file ", place.manifest().as_os_str().as_bytes()].concat());
        has_every_byte(&said);
        std::fs::write(place.manifest(), &manifest).unwrap();
        let said = checked(env!("CARGO_BIN_EXE_gyre-check-aof"), &[], &place.manifest());
        holds(&said, &[b"INCR AOF ", &incr[..], b" is valid"].concat());
        has_every_byte(&said);
        // The users.
        let users = place.data.join(OsStr::from_bytes(b"u\xf2"));
        std::fs::write(&users, b"user x +nothing\n").unwrap();
        let said = place.failed_start(shards);
        holds(&said, &[users.as_os_str().as_bytes(), b":1: "].concat());
        has_every_byte(&said);
        std::fs::remove_file(&users).unwrap();
        let said = place.failed_start(shards);
        holds(&said, &[b"opening file '", users.as_os_str().as_bytes(), b"'"].concat());
        has_every_byte(&said);
        // The configuration itself, and the directory that it names.
        let conf = std::fs::read(&place.conf).unwrap();
        std::fs::write(&place.conf, [&conf[..], b"include \"/none/\\xf8.conf\"\n"].concat()).unwrap();
        let said = place.failed_start(shards);
        holds(&said, b"can't open config file '/none/\xf8.conf'");
        has_every_byte(&said);
        std::fs::write(&place.conf, &conf).unwrap();
    }
}

/// What a tool says.
fn checked(tool: &str, options: &[&str], file: &Path) -> Vec<u8> {
    let output = Command::new(tool).args(options).arg(file).stdin(Stdio::null()).output().unwrap();
    [output.stdout, output.stderr].concat()
}
