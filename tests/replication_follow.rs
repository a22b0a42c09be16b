//! A server that follows another one: what it has, through cuts, kills, promotions and loops; and what it makes of a master that talks
//! nonsense.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use support::{eventually, within, Client, Server, Value};

const PATIENCE: Duration = Duration::from_secs(30);

fn server(shards: usize, options: &[&str]) -> Server {
    let shards = shards.to_string();
    let mut all =
        vec!["--shards", &shards, "--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"];
    all.extend(options);
    Server::start(&all)
}

fn field(client: &mut Client, name: &str) -> String {
    let text = client.call(&["INFO", "everything"]).text();
    let prefix = format!("{name}:");
    text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default().to_owned()
}

fn follow(replica: &Server, master: &Server) {
    let answer = replica.client().call(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    assert!(answer.is_ok(), "{answer:?}");
}

/// Whether the replica has everything, and it is the same.
fn is_equal(master: &mut Client, replica: &mut Client) -> bool {
    let offset = field(master, "master_repl_offset");
    field(replica, "master_link_status") == "up"
        && field(replica, "slave_repl_offset") == offset
        && master.call(&["DEBUG", "DIGEST"]) == replica.call(&["DEBUG", "DIGEST"])
        && field(master, "master_repl_offset") == offset
}

fn wait_until_equal(master: &Server, replica: &Server) {
    let (mut of_master, mut of_replica) = (master.client(), replica.client());
    let equal = within(PATIENCE, || is_equal(&mut of_master, &mut of_replica));
    let log = replica.log();
    assert!(equal, "they are not the same:\n{}\n{log}", of_replica.call(&["INFO", "replication"]).text());
}

/// Writes of all kinds to about a hundred keys, some of them to several at once.
fn write_some(client: &mut Client, round: usize) {
    let mut commands: Vec<String> = Vec::new();
    for n in 0..300 {
        let key = |k: usize| format!("key:{}", (n * 7 + k * 13 + round) % 100);
        commands.push(match n % 9 {
            0 => format!("MSET {} {n} {} {n} {} {n}", key(1), key(2), key(3)),
            1 => format!("RPUSH list:{} {n} {round}", n % 5),
            2 => format!("SADD set:{} {n} {}", n % 5, n + 1),
            3 => format!("SUNIONSTORE set:{} set:{} set:{}", n % 5, (n + 1) % 5, (n + 2) % 5),
            4 => format!("LMOVE list:{} list:{} LEFT RIGHT", n % 5, (n + 2) % 5),
            5 => format!("HSET hash:{} f{n} {round}", n % 3),
            6 => format!("SELECT {}", n % 3),
            7 => format!("DEL {} {}", key(4), key(5)),
            _ => format!("APPEND {} {round}", key(6)),
        });
        if n % 30 == 0 {
            commands.extend([
                "MULTI".into(),
                format!("INCR a:{round}"),
                format!("INCR b:{round}"),
                "EXEC".into(),
            ]);
        }
    }
    commands.push("SELECT 0".into());
    for command in &commands {
        let words: Vec<&str> = command.split(' ').collect();
        client.call(&words);
    }
}

#[test]
fn a_replica_has_what_its_master_has_through_kills_promotion_and_return() {
    for (of_master, of_replica) in [(1, 3), (2, 1), (3, 2)] {
        let mut master = server(of_master, &[]);
        let mut client = master.client();
        write_some(&mut client, 0);
        let address = master.port.to_string();
        let mut replica = server(of_replica, &["--replicaof", "127.0.0.1", &address]);
        write_some(&mut client, 1);
        wait_until_equal(&master, &replica);
        assert_eq!(field(&mut client, "sync_full"), "1");
        let refused = replica.client().call(&["SET", "a", "b"]);
        assert_eq!(refused.text(), "READONLY You can't write against a read only replica.");

        // A cut link goes on where it was.
        client.call(&["CLIENT", "KILL", "TYPE", "replica"]);
        write_some(&mut client, 2);
        wait_until_equal(&master, &replica);
        assert_eq!(
            (field(&mut client, "sync_full"), field(&mut client, "sync_partial_ok")),
            ("1".into(), "1".into())
        );

        // The replica dies, and comes back with nothing.
        replica.kill9();
        write_some(&mut client, 3);
        replica.restart();
        wait_until_equal(&master, &replica);

        // The master dies, and the replica takes over.
        master.kill9();
        let mut promoted = replica.client();
        assert!(promoted.call(&["REPLICAOF", "NO", "ONE"]).is_ok());
        assert!(promoted.call(&["SET", "promoted", "1"]).is_ok());
        write_some(&mut promoted, 4);
        master.restart();
        follow(&master, &replica);
        wait_until_equal(&replica, &master);

        // They change places, which needs no snapshot.
        let full = |client: &mut Client| field(client, "sync_full");
        let before = full(&mut promoted);
        let mut client = master.client();
        assert!(client.call(&["REPLICAOF", "NO", "ONE"]).is_ok());
        follow(&replica, &master);
        write_some(&mut client, 5);
        wait_until_equal(&master, &replica);
        assert_eq!((full(&mut promoted), full(&mut client)), (before, "0".into()), "a needless snapshot");
    }
}

#[test]
fn a_chain_has_the_masters_bytes_and_a_loop_harms_nobody() {
    let [first, second, third] = [2, 3, 1].map(|shards| server(shards, &[]));
    let mut client = first.client();
    write_some(&mut client, 0);
    follow(&second, &first);
    wait_until_equal(&first, &second);
    client.call(&["SELECT", "2"]);
    client.call(&["SET", "before", "1"]);
    follow(&third, &second);
    client.call(&["SET", "after", "1"]);
    client.call(&["SELECT", "0"]);
    write_some(&mut client, 1);
    wait_until_equal(&first, &third);
    let id = field(&mut client, "master_replid");
    assert_eq!(field(&mut third.client(), "master_replid"), id);
    // The middle takes over: the last one needs no snapshot to stay.
    assert!(second.client().call(&["REPLICAOF", "NO", "ONE"]).is_ok());
    write_some(&mut second.client(), 2);
    wait_until_equal(&second, &third);
    assert_eq!(field(&mut second.client(), "sync_full"), "1");
    // A follows B follows A: they have what they had, and answer.
    follow(&second, &third);
    thread::sleep(Duration::from_millis(1500));
    for server in [&second, &third] {
        let mut client = server.client();
        assert_eq!(client.call(&["GET", "a:2"]).text(), "10");
        assert_eq!(field(&mut client, "role"), "slave");
    }
    assert!(third.client().call(&["REPLICAOF", "NO", "ONE"]).is_ok());
    assert!(third.client().call(&["SET", "x", "y"]).is_ok());
    wait_until_equal(&third, &second);
}

/// A server that says what it is told to.
struct BadMaster {
    listener: TcpListener,
}

impl BadMaster {
    fn new() -> BadMaster {
        BadMaster { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    fn port(&self) -> String {
        self.listener.local_addr().unwrap().port().to_string()
    }

    /// Answers a handshake up to PSYNC, and returns the connection.
    fn accept(&self) -> (TcpStream, BufReader<TcpStream>) {
        let (mut stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        loop {
            let words = request(&mut reader);
            match words[0].as_str() {
                "PING" => stream.write_all(b"+PONG\r\n").unwrap(),
                "PSYNC" => return (stream, reader),
                _ => stream.write_all(b"+OK\r\n").unwrap(),
            }
        }
    }
}

fn request(reader: &mut BufReader<TcpStream>) -> Vec<String> {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let count: usize = line.trim().strip_prefix('*').unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
    let mut word = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let len: usize = line.trim()[1..].parse().unwrap();
        let mut bytes = vec![0; len + 2];
        reader.read_exact(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    };
    (0..count).map(|_| word()).collect()
}

const ID: &str = "0123456789012345678901234567890123456789";

/// A snapshot of one key.
fn snapshot(value: &str) -> Vec<u8> {
    let mut file = b"REDIS0011\xfe\x00\x00\x03key".to_vec();
    file.push(value.len() as u8);
    file.extend_from_slice(value.as_bytes());
    file.extend_from_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    file
}

fn sized(offset: u64, file: &[u8]) -> Vec<u8> {
    let mut answer = format!("+FULLRESYNC {ID} {offset}\r\n${}\r\n", file.len()).into_bytes();
    answer.extend_from_slice(file);
    answer
}

fn resp(text: &str) -> Vec<u8> {
    let words: Vec<&str> = text.split(' ').collect();
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    words.iter().for_each(|word| bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes()));
    bytes
}

#[test]
fn a_bad_master_costs_nothing_that_is_here() {
    for mode in ["disabled", "swapdb", "flushdb"] {
        costs_nothing(mode);
    }
}

fn costs_nothing(mode: &str) {
    let mut file = snapshot("new");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no protocol", b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        ("a wrong id", b"+FULLRESYNC short 0\r\n$0\r\n".to_vec()),
        ("no payload", format!("+FULLRESYNC {ID} 7\r\nnonsense\r\n").into_bytes()),
        ("an error", format!("+FULLRESYNC {ID} 7\r\n-ERR no memory\r\n").into_bytes()),
        ("a huge length", format!("+FULLRESYNC {ID} 7\r\n$99999999999999999999\r\n").into_bytes()),
        ("an empty file", sized(7, b"")),
        ("half a file", sized(7, &file[..file.len() / 2])),
        ("garbage", sized(7, &[0x5a; 1000])),
        ("a type that there is not", sized(7, b"REDIS0011\xfe\x00\xc8\x01k\x01v\xff\0\0\0\0\0\0\0\0")),
        ("a newer version", sized(7, b"REDIS0999\xff\0\0\0\0\0\0\0\0")),
        ("a line without an end", vec![b'x'; 5000]),
        ("a mark that does not come", {
            let mut answer = format!("+FULLRESYNC {ID} 7\r\n$EOF:{ID}\r\n").into_bytes();
            answer.append(&mut file.clone());
            answer
        }),
        ("a wrong checksum", {
            let at = file.len() - 8;
            file[at..].copy_from_slice(&[1; 8]);
            sized(7, &file)
        }),
    ];
    let mut replica = server(2, &["--masterauth", "secret", "--repl-diskless-load", mode]);
    let mut client = replica.client();
    client.call(&["SET", "old", "1"]);
    let master = BadMaster::new();
    assert!(client.call(&["REPLICAOF", "127.0.0.1", &master.port()]).is_ok());
    for (what, answer) in cases {
        let (mut stream, _) = master.accept();
        let _ = stream.write_all(&answer);
        drop(stream);
        assert_eq!(client.call(&["GET", "old"]).text(), "1", "{what}");
        assert_eq!(field(&mut client, "master_link_status"), "down", "{what}");
        // A new link, which does not wait ever longer for snapshots that cannot be loaded.
        assert!(client.call(&["REPLICAOF", "NO", "ONE"]).is_ok());
        assert!(client.call(&["REPLICAOF", "127.0.0.1", &master.port()]).is_ok());
    }
    // At last a good one, and a stream that ends in the midst of a transaction.
    let (mut stream, mut reader) = master.accept();
    stream.write_all(&sized(7, &snapshot("new"))).unwrap();
    let mut sent = 7;
    let mut send = |stream: &mut TcpStream, text: &str| {
        let bytes = resp(text);
        sent += bytes.len();
        stream.write_all(&bytes).unwrap();
        sent
    };
    send(&mut stream, "SELECT 0");
    let applied = send(&mut stream, "SET whole 1");
    send(&mut stream, "MULTI");
    send(&mut stream, "SET half 1");
    assert!(within(PATIENCE, || client.call(&["GET", "whole"]).is_null().eq(&false)));
    assert_eq!(client.call(&["GET", "key"]).text(), "new");
    assert!(client.call(&["EXISTS", "old", "half"]).integer() == 0);
    stream.write_all(&resp("REPLCONF GETACK *")).unwrap();
    loop {
        let words = request(&mut reader);
        if words[..2] == ["REPLCONF", "ACK"] && words[2] == applied.to_string() {
            break;
        }
    }
    drop((stream, reader));
    // It asks for what comes behind what it has applied, and not for the rest of the transaction.
    let (mut stream, _) = master.listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let words = request(&mut reader);
        match words[0].as_str() {
            "PING" => stream.write_all(b"+PONG\r\n").unwrap(),
            "AUTH" => {
                assert_eq!(words[1], "secret");
                stream.write_all(b"+OK\r\n").unwrap();
            }
            "PSYNC" => {
                assert_eq!(words[1..], [ID.to_owned(), (applied + 1).to_string()]);
                break;
            }
            _ => stream.write_all(b"+OK\r\n").unwrap(),
        }
    }
    stream.write_all(b"+CONTINUE\r\n").unwrap();
    stream.write_all(&resp("SET key again")).unwrap();
    assert!(within(PATIENCE, || client.call(&["GET", "key"]).text() == "again"));
    // What is no command of a stream does nothing, and what is no protocol ends the link.
    for text in ["SHUTDOWN NOSAVE", "CONFIG SET port 1", "NOSUCH", "SET", "QUIT", "SET key last"] {
        stream.write_all(&resp(text)).unwrap();
    }
    assert!(within(PATIENCE, || client.call(&["GET", "key"]).text() == "last"));
    stream.write_all(b"*2\r\n!garbage\r\n").unwrap();
    assert!(eventually(|| field(&mut client, "master_link_status") == "down"));
    assert_eq!(client.call(&["GET", "key"]).text(), "last");
    assert!(client.call(&["REPLICAOF", "NO", "ONE"]).is_ok());
    assert!(client.call(&["SET", "key", "mine"]).is_ok());
    assert!(replica.is_running());
    let leftover = std::fs::read_dir(&replica.dir).unwrap().flatten();
    let temporary = leftover.filter(|file| file.file_name().to_string_lossy().starts_with("temp-")).count();
    assert_eq!(temporary, 0);
}

/// The beginning of a payload with a mark, and what is left of it.
fn marked(offset: u64, file: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let half = file.len() / 2;
    let mut first = format!("+FULLRESYNC {ID} {offset}\r\n$EOF:{ID}\r\n").into_bytes();
    first.extend_from_slice(&file[..half]);
    (first, [&file[half..], ID.as_bytes()].concat())
}

#[test]
fn a_snapshot_is_loaded_as_it_comes_and_shown_as_redis_shows_it() {
    let replica = server(2, &["--masterauth", "secret", "--repl-diskless-load", "swapdb"]);
    let mut client = replica.client();
    client.call(&["SET", "old", "1"]);
    let master = BadMaster::new();
    assert!(client.call(&["REPLICAOF", "127.0.0.1", &master.port()]).is_ok());
    let loading = |client: &mut Client| {
        (
            field(client, "loading"),
            field(client, "async_loading"),
            !field(client, "loading_start_time").is_empty(),
        )
    };
    let nothing = ("0".to_owned(), "0".to_owned(), false);
    assert_eq!(loading(&mut client), nothing);

    // Of another history, and cut off.
    let (mut stream, reader) = master.accept();
    let (first, rest) = marked(7, &snapshot("new"));
    stream.write_all(&first).unwrap();
    assert!(within(PATIENCE, || loading(&mut client) == ("1".to_owned(), "0".to_owned(), true)));
    assert_eq!(client.call(&["GET", "old"]).text(), "1");
    let refusal = "LOADING Redis is loading the dataset in memory";
    assert_eq!(client.call(&["REPLICAOF", "NO", "ONE"]).text(), refusal);
    assert_eq!(client.call(&["CONFIG", "SET", "appendonly", "yes"]).text(), refusal);
    drop((stream, reader));
    assert!(within(PATIENCE, || loading(&mut client) == nothing));
    assert_eq!(client.call(&["GET", "old"]).text(), "1");
    assert!(
        eventually(|| replica.log().contains("Internal error in RDB reading offset")),
        "{}",
        replica.log()
    );

    // Whole, a byte at a time.
    let (mut stream, reader) = master.accept();
    for byte in [first, rest].concat() {
        stream.write_all(&[byte]).unwrap();
    }
    assert!(within(PATIENCE, || client.call(&["GET", "key"]) == Value::bulk("new")));
    assert!(within(PATIENCE, || field(&mut client, "master_link_status") == "up"));
    assert_eq!(loading(&mut client), nothing);
    assert!(client.call(&["GET", "old"]).is_null());

    // The same history again: what is here is only old.
    drop((stream, reader));
    let (mut stream, _reader) = master.accept();
    let (first, rest) = marked(9, &snapshot("newer"));
    stream.write_all(&first).unwrap();
    assert!(within(PATIENCE, || loading(&mut client) == ("0".to_owned(), "1".to_owned(), true)));
    assert_eq!(client.call(&["GET", "key"]).text(), "new");
    stream.write_all(&rest).unwrap();
    assert!(within(PATIENCE, || client.call(&["GET", "key"]) == Value::bulk("newer")));
    assert!(within(PATIENCE, || loading(&mut client) == nothing));
}

#[test]
fn waitaof_counts_a_replicas_disk() {
    for (of_master, of_replica) in [(1, 1), (2, 3)] {
        let master = server(of_master, &[]);
        let replica = server(of_replica, &["--appendonly", "yes", "--appendfsync", "everysec"]);
        let mut client = master.client();
        client.call(&["SET", "a", "1"]);
        follow(&replica, &master);
        wait_until_equal(&master, &replica);
        for round in 0..3 {
            client.call(&["SET", &format!("b{round}"), "1"]);
            let counts = client.call(&["WAITAOF", "0", "1", "0"]);
            assert_eq!(counts.elements()[1].integer(), 1);
            let log = std::fs::read_dir(replica.dir.join("appendonlydir")).unwrap().flatten();
            let has_it = log.into_iter().any(|file| {
                let bytes = std::fs::read(file.path()).unwrap_or_default();
                bytes.windows(2).any(|word| word == format!("b{round}").as_bytes())
            });
            assert!(has_it, "confirmed, and not in the log");
        }
        // A replica without a log confirms nothing.
        replica.client().call(&["CONFIG", "SET", "appendonly", "no"]);
        client.call(&["SET", "c", "1"]);
        assert_eq!(client.call(&["WAIT", "1", "0"]).integer(), 1);
        let counts = client.call(&["WAITAOF", "0", "1", "200"]);
        assert_eq!(counts.elements()[1].integer(), 0);
    }
}

/// Of a replica that clients may only read, whose `key` is 1.
fn scripts_obey_the_role(client: &mut Client) {
    let code = |keys: &str| format!("redis.call('SET', {keys}, 'script') return 1");
    let reply = client.call(&["EVAL", &code("KEYS[1]"), "1", "key"]).text();
    assert!(reply.starts_with("READONLY You can't write against a read only replica."), "{reply}");
    let reply = client.call(&["EVAL", &format!("#!lua\n{}", code("KEYS[1]")), "1", "key"]).text();
    assert_eq!(reply, "READONLY Can not run script with write flag on readonly replica");
    assert!(client
        .call(&["EVAL", "return redis.pcall('SET', KEYS[1], 'x').err", "1", "key"])
        .text()
        .starts_with("READONLY"));
    let read = "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])";
    assert_eq!(client.call(&["EVAL", read, "1", "key"]).text(), "1");
    assert_eq!(client.call(&["EVAL", "return redis.call('GET', KEYS[1])", "1", "key"]).text(), "1");
}

#[test]
fn stale_data_is_served_or_not_as_configured() {
    let replica = server(2, &[]);
    let mut client = replica.client();
    client.call(&["SET", "key", "1"]);
    // Nobody is there.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port().to_string();
    drop(nobody);
    assert!(client.call(&["REPLICAOF", "127.0.0.1", &port]).is_ok());
    let same = client.call(&["REPLICAOF", "127.0.0.1", &port]);
    assert_eq!(same.text(), "OK Already connected to specified master");
    assert_eq!(client.call(&["GET", "key"]).text(), "1");
    client.call(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    let text = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
    assert_eq!(client.call(&["GET", "key"]).text(), text);
    assert!(!client.call(&["INFO"]).is_error() && !client.call(&["CONFIG", "GET", "port"]).is_error());
    assert_eq!(client.call(&["EVAL", "return 1", "0"]).text(), text);
    let declared = "#!lua flags=no-writes\nreturn 1";
    assert!(client.call(&["EVAL", declared, "0"]).text().contains("'allow-stale' flag is not set"));
    client.call(&["CONFIG", "SET", "replica-serve-stale-data", "yes"]);
    scripts_obey_the_role(&mut client);
    client.call(&["CONFIG", "SET", "replica-read-only", "no", "replica-serve-stale-data", "yes"]);
    assert!(client.call(&["SET", "key", "2"]).is_ok(), "replicas may be written to");
    for (command, error) in [
        (["REPLICAOF", "127.0.0.1", "x"], "ERR Invalid master port"),
        (["REPLICAOF", "127.0.0.1", "70000"], "ERR Invalid master port"),
        (["REPLICAOF", "127.0.0.1", "-1"], "ERR Invalid master port"),
    ] {
        assert_eq!(client.call(&command).text(), error);
    }
    let role = client.call(&["ROLE"]);
    assert_eq!(role.elements()[0].text(), "slave");
    assert_eq!(client.call(&["HELLO", "2"]).elements()[11].text(), "replica");
    // Inside MULTI it comes behind the transaction.
    client.call(&["MULTI"]);
    client.call(&["SET", "key", "3"]);
    client.call(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(client.call(&["EXEC"]).elements().len(), 2);
    assert!(within(PATIENCE, || client.call(&["ROLE"]).elements()[0].text() == "master"));
    assert_eq!(client.call(&["GET", "key"]).text(), "3");
}
