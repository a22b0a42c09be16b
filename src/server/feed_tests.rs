//! Real shards in this process, clients that write through their sockets, and what the shards' feeds make of it.

use crate::shard::message::Message;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::*;
use crate::journal::feed::FeedReader;
use crate::journal::testing::{Emitted, Merger};
use crate::journal::Ticket;
use crate::rdb::file::Opcode;
use crate::rdb::{decode_value, Checks, Reader};
use crate::runtime::listen;
use crate::shard::saving::message::LeaderRequest;
use crate::shard::saving::sync::{FullSync, SyncEvent};
use crate::shard::saving::Content;
use crate::slots::shard_of_slot;
use crate::store::{slot_of, Settings as StoreSettings, SlotSet};

pub(super) const SHARDS: usize = 3;
const KEYS_OF_SHARD: usize = 4;

pub(super) struct Running {
    pub(super) shared: Arc<Shared>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    pub(super) port: u16,
    logs: Vec<PathBuf>,
}

fn post(shared: &Shared, shard: usize, call: impl FnOnce(&mut Shard) + Send + 'static) {
    shared.thread_inbox.post(shard, Message::Call(Box::new(call)));
}

impl Running {
    /// With `always` each shard has a log that it syncs before it answers.
    pub(super) fn start(always: bool) -> Running {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let options = [&format!("port {port}"), "bind 127.0.0.1", "save \"\"", "appendfsync always"];
        let options = options.iter().map(|line| line.as_bytes().to_vec()).collect();
        let loaded = load(&Sources { file: None, stdin: false, options }).unwrap();
        clock::calibrate();
        let listeners = listen::tcp(&loaded.config.network.bind.0, port, 64, 0).unwrap();
        let names = names(&loaded).unwrap();
        let users = users(&loaded).unwrap();
        let shared = Arc::new(share(loaded, Settings::default(), names, users, SHARDS, 100).unwrap());
        let threads = start_shards(&shared, listeners).unwrap();
        let mut logs = Vec::new();
        for shard in (0..SHARDS).filter(|_| always) {
            let name = format!("gyre-feed-{}-{port}-{shard}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let file = std::fs::File::create(&path).unwrap();
            logs.push(path);
            post(&shared, shard, move |shard| shard.open_log(file, 0));
        }
        post(&shared, 0, |shard| shard.connections.accept_again());
        Running { shared, threads, port, logs }
    }

    fn feed(&self) -> Merger {
        let (tell, told) = mpsc::channel();
        let begin = move |shard: &mut Shard| {
            shard.begin_feed(Arc::new(|| {}), move |_, reader| tell.send(reader).unwrap());
        };
        post(&self.shared, 0, begin);
        Merger::new(told.recv_timeout(Duration::from_secs(20)).unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.shutdown.store(Shutdown::Asked as u64, Ordering::Release);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.logs.iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
}

pub(super) struct Client {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(super) fn connect(port: u16) -> Client {
        let writer = TcpStream::connect(("127.0.0.1", port)).unwrap();
        writer.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let reader = BufReader::new(writer.try_clone().unwrap());
        Client { writer, reader }
    }

    /// The texts of the last reply.
    pub(super) fn call(&mut self, lines: &[String]) -> Vec<String> {
        self.writer.write_all((lines.join("\r\n") + "\r\n").as_bytes()).unwrap();
        lines.iter().map(|_| self.reply()).last().unwrap()
    }

    pub(super) fn send(&mut self, line: &str) {
        self.writer.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    /// The text of the error that the command answers.
    pub(super) fn error(&mut self, line: &str) -> String {
        self.send(line);
        self.next_error()
    }

    pub(super) fn next_error(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end().strip_prefix('-').unwrap_or_else(|| panic!("no error: {line}")).to_owned()
    }

    pub(super) fn is_closed(&mut self) -> bool {
        self.reader.read(&mut [0; 1]).is_ok_and(|len| len == 0)
    }

    fn reply(&mut self) -> Vec<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        let line = line.trim_end();
        assert!(!line.starts_with('-'), "{line}");
        let len = line[1..].parse::<i64>().unwrap_or(0);
        match &line[..1] {
            "*" => (0..len).flat_map(|_| self.reply()).collect(),
            "$" if len >= 0 => {
                let mut bytes = vec![0; len as usize + 2];
                self.reader.read_exact(&mut bytes).unwrap();
                vec![String::from_utf8_lossy(&bytes[..len as usize]).into_owned()]
            }
            _ => vec![line[1..].to_owned()],
        }
    }
}

fn keys() -> Vec<String> {
    let on = |shard: usize| {
        let is_there = move |name: &String| shard_of_slot(slot_of(name.as_bytes()), SHARDS) == shard;
        (0..).map(|n| format!("key{n}")).filter(is_there).take(KEYS_OF_SHARD)
    };
    (0..SHARDS).flat_map(on).collect()
}

/// What a client has done: the value that it wrote, the keys, and the values that it had written or seen before.
struct Done {
    value: String,
    keys: Vec<String>,
    after: Vec<String>,
}

fn play(port: u16, client: usize, keys: &[String], rounds: usize) -> Vec<Done> {
    let mut connection = Client::connect(port);
    let mut seed = client as u64 + 1;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut done = Vec::new();
    let mut after: Vec<String> = Vec::new();
    for round in 0..rounds {
        let value = format!("v{client}:{round}");
        let [a, b, c] = [(); 3].map(|()| keys[random(keys.len())].clone());
        let set = |key: &String| format!("SET {key} {value}");
        let (lines, written) = match random(7) {
            0 => (vec![format!("MSET {a} {value} {b} {value} {c} {value}")], vec![a, b, c]),
            1 => (vec!["MULTI".into(), set(&a), format!("GET {c}"), set(&b), "EXEC".into()], vec![a, b]),
            2 => {
                let text = "redis.call('set',KEYS[1],ARGV[1]) redis.call('set',KEYS[2],ARGV[1]) return 1";
                (vec![format!("EVAL \"{text}\" 2 {a} {b} {value}")], vec![a, b])
            }
            3 => {
                // It does not name its keys.
                let text = "redis.call('set',ARGV[1],ARGV[3]) redis.call('set',ARGV[2],ARGV[3]) return 1";
                (vec![format!("EVAL \"{text}\" 0 {a} {b} {value}")], vec![a, b])
            }
            4 => {
                let seen = connection.call(&[format!("MGET {a} {b}")]);
                after.extend(seen.into_iter().filter(|seen| seen.starts_with('v')));
                continue;
            }
            _ => (vec![set(&a)], vec![a]),
        };
        connection.call(&lines);
        let before = std::mem::replace(&mut after, vec![value.clone()]);
        done.push(Done { value, keys: written, after: before });
    }
    done
}

/// The key and the value of each pair that a command writes.
fn pairs(command: &str) -> Vec<(String, String)> {
    let words: Vec<&str> = command.split(' ').collect();
    assert!(matches!(words[0].to_lowercase().as_str(), "set" | "mset"), "{command}");
    words[1..].chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

fn check(emitted: &[Emitted], done: &[Done], held: &BTreeMap<String, String>) {
    let (mut place, mut replayed) = (HashMap::new(), BTreeMap::new());
    let mut written: HashMap<String, HashSet<String>> = HashMap::new();
    for (index, unit) in emitted.iter().enumerate() {
        for (key, value) in unit.commands.iter().flat_map(|(_, command)| pairs(command)) {
            assert_eq!(*place.entry(value.clone()).or_insert(index), index, "{value} is not one unit");
            written.entry(value.clone()).or_default().insert(key.clone());
            replayed.insert(key, value);
        }
    }
    for Done { value, keys, after } in done {
        assert_eq!(written[value], keys.iter().cloned().collect(), "{value}");
        for before in after.iter().filter(|before| place.contains_key(*before)) {
            assert!(place[before] <= place[value], "{value} is in front of {before}, which its client knew");
        }
    }
    assert_eq!(place.len(), done.len());
    assert_eq!(&replayed, held, "the stream makes another state");
}

/// The keys and texts of a file.
fn texts_of(file: &[u8]) -> BTreeMap<String, String> {
    let mut reader = Reader::new(file);
    let mut texts = BTreeMap::new();
    reader.take(9).unwrap();
    loop {
        let byte = reader.byte().unwrap();
        match Opcode::of_byte(byte) {
            Some(Opcode::Aux) => {
                reader.string().unwrap();
                reader.string().unwrap();
            }
            Some(Opcode::SelectDb) => drop(reader.length().unwrap()),
            Some(Opcode::ResizeDb) => {
                reader.length().unwrap();
                reader.length().unwrap();
            }
            Some(Opcode::End) => return texts,
            Some(other) => panic!("{other:?}"),
            None => {
                let mut digits = itoa::Buffer::new();
                let key = String::from_utf8_lossy(reader.string().unwrap().bytes(&mut digits)).into_owned();
                let value = decode_value(byte, &mut reader, &StoreSettings::default(), Checks::Deep).unwrap();
                let text = value.value().string(&mut digits).unwrap().to_vec();
                assert!(texts.insert(key, String::from_utf8_lossy(&text).into_owned()).is_none());
            }
        }
    }
}

/// Takes a full synchronisation; what it holds, its ticket, and the feed's reader when that begins with it.
fn synchronise(
    shared: &Shared,
    slots: Option<Arc<SlotSet>>,
) -> (BTreeMap<String, String>, Ticket, Option<FeedReader>) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let (tell, told) = mpsc::channel();
    let sync = FullSync {
        socket: theirs.into(),
        content: Content::ALL,
        version: None,
        slots,
        fields: vec![("repl-id".to_owned(), b"some".to_vec())],
        after: b"mark".to_vec(),
        bell: Arc::new(|| {}),
        told: Box::new(move |event| drop(tell.send(event))),
    };
    shared.thread_inbox.post(0, LeaderRequest::FullSync(Box::new(sync)).into());
    let patience = Duration::from_secs(30);
    let SyncEvent::AtBarrier { job, ticket, reader } = told.recv_timeout(patience).unwrap() else {
        panic!("it has ended")
    };
    // Nothing comes before what stands in front is known.
    ours.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    assert!(ours.read(&mut [0; 1]).is_err());
    ours.set_read_timeout(Some(patience)).unwrap();
    shared.thread_inbox.post(0, LeaderRequest::SendSync { job, before: b"+FULLRESYNC ".to_vec() }.into());
    let mut bytes = Vec::new();
    ours.read_to_end(&mut bytes).unwrap();
    let SyncEvent::Ended { result, bytes: sent } = told.recv_timeout(patience).unwrap() else {
        panic!("two barriers")
    };
    assert_eq!((result, sent), (Ok(()), bytes.len() as u64));
    let file = bytes.strip_prefix(b"+FULLRESYNC ").unwrap().strip_suffix(b"mark").unwrap();
    (texts_of(file), ticket, reader)
}

#[test]
fn a_full_synchronisation_and_what_the_feed_has_behind_its_ticket_make_the_state() {
    let running = Running::start(false);
    let (port, keys) = (running.port, keys());
    let mut admin = Client::connect(port);
    admin.call(&["FLUSHALL".into()]);
    for number in 0..3000 {
        admin.call(&[format!("SET many:{number} {}", "x".repeat(100))]);
    }
    let (mut syncs, mut emitted) = (Vec::new(), Vec::new());
    let mut merger: Option<Merger> = None;
    std::thread::scope(|scope| {
        let keys = &keys;
        let clients: Vec<_> =
            (0..3).map(|client| scope.spawn(move || play(port, client, keys, 1500))).collect();
        while syncs.len() < 4 {
            let (texts, ticket, reader) = synchronise(&running.shared, None);
            assert_eq!(reader.is_some(), merger.is_none(), "the feed begins with the first");
            merger = merger.take().or(reader.map(Merger::new));
            syncs.push((texts, ticket));
        }
        for client in clients {
            let merger = merger.as_mut().unwrap();
            while !client.is_finished() {
                emitted.extend(merger.emit());
                std::thread::sleep(Duration::from_millis(1));
            }
            client.join().unwrap();
        }
    });
    let mut merger = merger.unwrap();
    let half: std::collections::BTreeSet<u16> =
        keys.iter().step_by(2).map(|key| slot_of(key.as_bytes())).collect();
    let half = SlotSet::of(half.into_iter());
    let (some, ..) = synchronise(&running.shared, Some(Arc::new(half.clone())));
    emitted.extend(merger.emit());
    assert!(merger.is_empty());
    let (all, last, _) = synchronise(&running.shared, None);
    let wanted = |(key, _): &(&String, &String)| half.contains(slot_of(key.as_bytes()));
    let of_slots: Vec<_> = all.iter().filter(wanted).collect();
    assert_eq!(some.iter().collect::<Vec<_>>(), of_slots);
    for (mut texts, ticket) in syncs {
        let behind = emitted.iter().filter(|emitted| emitted.ticket > ticket && emitted.ticket <= last);
        for (key, value) in behind.flat_map(|e| &e.commands).flat_map(|(_, command)| pairs(command)) {
            texts.insert(key, value);
        }
        assert_eq!(texts, all, "what was synchronised at {ticket}");
    }
}

#[test]
fn the_feeds_of_all_shards_make_one_order_that_no_client_contradicts() {
    for always in [false, true] {
        let running = Running::start(always);
        let (port, keys) = (running.port, keys());
        let mut admin = Client::connect(port);
        let mut merger = running.feed();
        // The feed is attached where this has run.
        admin.call(&["FLUSHALL".into()]);
        let rounds = if always { 150 } else { 600 };
        let (mut done, mut emitted) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            let keys = &keys;
            let clients: Vec<_> =
                (0..4).map(|client| scope.spawn(move || play(port, client, keys, rounds))).collect();
            while clients.iter().any(|client| !client.is_finished()) {
                emitted.extend(merger.emit());
                std::thread::sleep(Duration::from_millis(1));
            }
            clients.into_iter().for_each(|client| done.extend(client.join().unwrap()));
        });
        let values = admin.call(&[format!("MGET {}", keys.join(" "))]);
        let held = keys.iter().cloned().zip(values).filter(|(_, value)| value.starts_with('v')).collect();
        // What was answered is on its way; a part whose turn is not over may be late.
        let until = Instant::now() + Duration::from_secs(20);
        let is_flush = |emitted: &Emitted| emitted.commands.iter().any(|(_, text)| text == "FLUSHALL");
        while (emitted.len() <= done.len() || !merger.is_empty()) && Instant::now() < until {
            emitted.extend(merger.emit());
            std::thread::sleep(Duration::from_millis(1));
        }
        let flushed = emitted.iter().filter(|emitted| is_flush(emitted)).count();
        assert_eq!((flushed, emitted[0].commands.len()), (1, 1), "every shard has it, the stream once");
        assert!(merger.is_empty(), "something waits for what does not come");
        check(&emitted[1..], &done, &held);
        post(&running.shared, 0, |shard| shard.end_feed());
        assert!(merger.reader.fill().bytes() == 0);
    }
}
