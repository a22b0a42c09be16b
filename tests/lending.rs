//! What a command with keys on several shards does besides its reply: events, use of keys, hits and misses, changes that are
//! counted, watched and told to those who keep copies, and keys that are found expired. All of it is the same as with one shard,
//! and as in Redis.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use gyre::slots::shard_of_slot;
use gyre::store::slot_of;
use support::{info, Client, Server, Value};

/// Key names that are on both of two shards, and on all of three.
fn names() -> Vec<String> {
    let places = [[0, 0], [1, 2], [0, 1], [1, 1]];
    let place = |name: &String| [2, 3].map(|shards| shard_of_slot(slot_of(name.as_bytes()), shards));
    let name = |(n, wanted): (usize, [usize; 2])| {
        (0..)
            .map(|salt| format!("k{n}:{salt}"))
            .find(|name| place(name) == wanted)
            .expect("each place has names")
    };
    places.into_iter().enumerate().map(name).collect()
}

/// A command, and what is done before it. The words `a` to `d` stand for keys on different shards.
struct Case {
    setup: &'static [&'static str],
    run: &'static str,
    /// What Redis does otherwise on purpose or by accident: a kind of observation, see `Seen`.
    redis_differs: &'static [&'static str],
}

const fn case(setup: &'static [&'static str], run: &'static str) -> Case {
    Case { setup, run, redis_differs: &[] }
}

/// As `case`, where Redis deletes a destination that has expired as if it had not: "del" and a change, and no "expired".
const fn deletes_old(setup: &'static [&'static str], run: &'static str) -> Case {
    Case { setup, run, redis_differs: &["expired"] }
}

/// As `case`, where Redis looks a key up twice.
const fn looks_twice(setup: &'static [&'static str], run: &'static str) -> Case {
    Case { setup, run, redis_differs: &["counters", "expired"] }
}

const STRINGS: &[&str] = &["SET a one", "SET b other", "SET c three"];
const SETS: &[&str] = &["SADD a 1 2 3 x", "SADD b 2 3 4", "SADD c 3 5"];
const SORTED: &[&str] = &["ZADD a 1 x 2 y 3 z", "ZADD b 1 y 2 z", "ZADD c 5 z"];
const LISTS: &[&str] = &["RPUSH a 1 2 3", "RPUSH b 4 5"];
const SKETCHES: &[&str] = &["PFADD a 1 2 3", "PFADD b 3 4", "PFADD c 5"];
const PLACES: &[&str] = &["GEOADD a 13.36 38.11 palermo 15.08 37.50 catania", "SET d old"];
const STREAMS: &[&str] = &["XADD a 1-1 f v", "XADD b 1-1 f v", "XGROUP CREATE a g 0", "XGROUP CREATE b g 0"];
const POINTERS: &[&str] = &["RPUSH a b c", "SET b 2", "SET c 1"];
const HASHES: &[&str] = &["RPUSH a b c", "HSET b f 2", "HSET c f 1"];

const CASES: &[Case] = &[
    case(STRINGS, "MGET a b c d"),
    case(STRINGS, "MSET a x b y d z"),
    case(STRINGS, "MSETNX a x d y"),
    case(&["SET a x"], "MSETNX b x d y"),
    case(STRINGS, "LCS a b"),
    case(STRINGS, "DEL a b d"),
    case(STRINGS, "UNLINK a c d"),
    case(STRINGS, "EXISTS a b d"),
    case(STRINGS, "TOUCH a b d"),
    case(STRINGS, "RENAME a b"),
    case(STRINGS, "RENAME a d"),
    case(STRINGS, "RENAMENX a b"),
    case(STRINGS, "RENAMENX a d"),
    case(STRINGS, "RENAME d a"),
    case(STRINGS, "COPY a d"),
    case(STRINGS, "COPY a b"),
    case(STRINGS, "COPY a b REPLACE"),
    case(STRINGS, "COPY d a"),
    case(SETS, "SINTER a b c"),
    case(SETS, "SINTER a b d"),
    case(SETS, "SINTERCARD 3 a b c"),
    case(SETS, "SINTERSTORE d a b c"),
    case(SETS, "SINTERSTORE a b c"),
    deletes_old(SETS, "SINTERSTORE a b d"),
    case(SETS, "SUNION a b c"),
    case(SETS, "SUNION a d c"),
    case(SETS, "SUNIONSTORE d a b c"),
    case(SETS, "SUNIONSTORE a a b c"),
    case(SETS, "SDIFF a b c"),
    case(SETS, "SDIFFSTORE d a b"),
    case(SETS, "SMOVE a b x"),
    case(SETS, "SMOVE a b none"),
    case(SETS, "SMOVE a d 1"),
    case(&["SADD a 1", "SADD b 1"], "SMOVE a b 1"),
    case(&["SADD a 1", "SET b x"], "SMOVE a b 1"),
    case(&["SADD a 1", "SET b x"], "SUNION a b"),
    case(SORTED, "ZUNION 3 a b c"),
    case(SORTED, "ZINTER 3 a b c WITHSCORES"),
    case(SORTED, "ZDIFF 2 a b"),
    case(SORTED, "ZINTERCARD 3 a b c"),
    case(SORTED, "ZUNIONSTORE d 3 a b c"),
    case(SORTED, "ZUNIONSTORE a 2 a b"),
    case(SORTED, "ZINTERSTORE d 2 a b"),
    deletes_old(SORTED, "ZINTERSTORE a 2 b d"),
    case(SORTED, "ZDIFFSTORE d 2 a b"),
    case(SORTED, "ZRANGESTORE d a 0 1"),
    deletes_old(SORTED, "ZRANGESTORE b a 7 9"),
    case(SORTED, "ZMPOP 2 d b MIN"),
    case(SORTED, "BZPOPMIN d b 0.01"),
    case(SORTED, "BZMPOP 0.01 2 d b MAX COUNT 2"),
    case(LISTS, "LMOVE a b LEFT RIGHT"),
    case(LISTS, "LMOVE a d RIGHT LEFT"),
    case(LISTS, "LMOVE d a RIGHT LEFT"),
    case(&["RPUSH a 1", "SET b x"], "LMOVE a b LEFT LEFT"),
    case(&["RPUSH a 1"], "RPOPLPUSH a b"),
    case(LISTS, "BLMOVE a b LEFT LEFT 0.01"),
    case(LISTS, "BRPOPLPUSH a d 0.01"),
    case(LISTS, "LMPOP 2 d b LEFT COUNT 9"),
    case(LISTS, "BLMPOP 0.01 3 c d b RIGHT"),
    case(LISTS, "BLPOP d c b 0.01"),
    case(LISTS, "BRPOP c a 0.01"),
    case(STRINGS, "BITOP AND d a b c"),
    case(STRINGS, "BITOP NOT b a"),
    deletes_old(&["SET b x"], "BITOP OR b c d"),
    case(SKETCHES, "PFCOUNT a b c"),
    case(SKETCHES, "PFCOUNT a d"),
    case(SKETCHES, "PFMERGE d a b c"),
    case(SKETCHES, "PFMERGE a b"),
    case(PLACES, "GEOSEARCHSTORE d a FROMLONLAT 15 37 BYRADIUS 200 km"),
    deletes_old(PLACES, "GEOSEARCHSTORE d a FROMLONLAT 0 0 BYRADIUS 1 km"),
    case(PLACES, "GEORADIUS a 15 37 200 km STORE d"),
    case(STREAMS, "XREAD STREAMS a b 0 0"),
    case(STREAMS, "XREAD STREAMS a d b 0 0 0"),
    looks_twice(STREAMS, "XREADGROUP GROUP g me STREAMS a b > >"),
    case(LISTS, "SORT a STORE b"),
    case(LISTS, "SORT a STORE d"),
    case(POINTERS, "SORT a BY * GET # GET *"),
    case(POINTERS, "SORT_RO a BY * GET * ALPHA"),
    case(POINTERS, "SORT a BY * STORE d"),
    case(HASHES, "SORT a BY *->f GET *->f GET *->none"),
];

/// What a command has done, by kind of observation.
type Seen = BTreeMap<&'static str, String>;

/// A server, and those who look on.
struct Watched {
    /// Of this test, to name it.
    name: String,
    client: Client,
    events: Client,
    watchers: Vec<Client>,
    keeper: Client,
    broadcast: Client,
    keys: Vec<String>,
    may_leave_untouched: bool,
    _server: Server,
}

fn pushes(client: &mut Client) -> Vec<String> {
    client.send(&["PING", "end"]);
    let mut keys = Vec::new();
    // What one shard broadcasts at once, several do each for itself.
    while let Value::Push(parts) = client.receive() {
        keys.extend(parts[1].elements().iter().map(Value::text));
    }
    keys.sort();
    keys
}

impl Watched {
    fn new(name: &str, server: Server) -> Watched {
        let mut client = server.client();
        let settings = [
            ("notify-keyspace-events", "KEAmn"),
            ("maxmemory-policy", "allkeys-lfu"),
            // Each use counts.
            ("lfu-log-factor", "0"),
            ("lfu-decay-time", "0"),
        ];
        for (directive, value) in settings {
            assert!(client.call(&["CONFIG", "SET", directive, value]).is_ok(), "{name}: {directive}");
        }
        let mut events = server.client();
        events.call(&["PSUBSCRIBE", "__key*__:*"]);
        let keys = names();
        let watchers = keys.iter().map(|_| server.client()).collect();
        let mut keeper = server.client3();
        assert!(keeper.call(&["CLIENT", "TRACKING", "ON"]).is_ok());
        let mut broadcast = server.client3();
        assert!(broadcast.call(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "k"]).is_ok());
        // Redis has it from 7.2 on.
        let may_leave_untouched = client.call(&["CLIENT", "NO-TOUCH", "OFF"]).is_ok();
        let name = name.to_owned();
        Watched {
            name,
            client,
            events,
            watchers,
            keeper,
            broadcast,
            keys,
            may_leave_untouched,
            _server: server,
        }
    }

    fn words(&self, line: &str) -> Vec<String> {
        let word = |word: &str| match word.as_bytes() {
            [letter @ b'a'..=b'd'] => self.keys[usize::from(letter - b'a')].clone(),
            _ => word.to_owned(),
        };
        line.split(' ').map(word).collect()
    }

    /// For each key one command that begins with `words`.
    fn of_each(&self, words: &[&str]) -> Vec<Vec<String>> {
        let command =
            |key: &String| words.iter().map(|word| (*word).to_owned()).chain([key.clone()]).collect();
        self.keys.iter().map(command).collect()
    }

    fn set_up(&mut self, case: &Case) {
        let mut requests = vec![self.words("DEL a b c d")];
        requests.extend(case.setup.iter().map(|line| self.words(line)));
        for (request, reply) in requests.iter().zip(self.client.pipeline(&requests)) {
            assert!(!reply.is_error(), "{request:?}: {reply:?}");
        }
    }

    /// Lets each key have been used so often.
    fn age(&mut self) {
        let payloads = self.client.pipeline(&self.of_each(&["DUMP"]));
        let restore = |(key, payload): (&String, Value)| match payload {
            Value::Bulk(payload) => {
                let words: [&[u8]; 7] =
                    [b"RESTORE", key.as_bytes(), b"0", &payload, b"REPLACE", b"FREQ", b"100"];
                Some(words.map(<[u8]>::to_vec).to_vec())
            }
            _ => None,
        };
        let requests: Vec<Vec<Vec<u8>>> = self.keys.iter().zip(payloads).filter_map(restore).collect();
        assert!(self.client.pipeline(&requests).iter().all(Value::is_ok));
    }

    /// How often each key has been used.
    fn frequencies(&mut self) -> String {
        let replies = self.client.pipeline(&self.of_each(&["OBJECT", "FREQ"]));
        format!(
            "{:?}",
            replies.iter().map(|reply| (!reply.is_null()).then(|| reply.integer())).collect::<Vec<_>>()
        )
    }

    fn events_so_far(&mut self) -> Vec<String> {
        self.client.call(&["PUBLISH", "__key__:end", "end"]);
        let mut events = Vec::new();
        loop {
            let message = self.events.receive();
            let parts = message.elements();
            let (channel, text) = (parts[2].text(), parts[3].text());
            if channel == "__key__:end" {
                break;
            }
            events.push(format!("{channel} {text}"));
        }
        // Those of different shards have no order.
        events.sort();
        events
    }

    fn counters(&mut self) -> [u64; 4] {
        let text = self.client.call(&["INFO", "everything"]).text();
        ["keyspace_hits", "keyspace_misses", "rdb_changes_since_last_save", "expired_keys"].map(|field| {
            let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {field} in {text}"))
        })
    }

    fn counted_since(&mut self, before: [u64; 4]) -> String {
        let now = self.counters();
        let since: Vec<u64> = now.iter().zip(before).map(|(now, before)| now - before).collect();
        format!("hits {} misses {} changes {} expired {}", since[0], since[1], since[2], since[3])
    }

    /// Everything that can be seen of one command.
    fn see(&mut self, case: &Case) -> Seen {
        let mut seen = Seen::new();
        let run = self.words(case.run);

        self.set_up(case);
        self.age();
        let keys = self.keys.clone();
        for (watcher, key) in self.watchers.iter_mut().zip(&keys) {
            watcher.call(&["WATCH", key]);
        }
        pushes(&mut self.keeper);
        pushes(&mut self.broadcast);
        self.keeper.pipeline(&self.of_each(&["EXISTS"]));
        self.events_so_far();
        let before = self.counters();
        seen.insert("reply", format!("{:?}", self.client.call(&run)));
        seen.insert("counters", self.counted_since(before));
        seen.insert("events", self.events_so_far().join(", "));
        seen.insert("invalidated", pushes(&mut self.keeper).join(", "));
        seen.insert("broadcast", pushes(&mut self.broadcast).join(", "));
        let exec: Vec<Vec<&str>> = ["MULTI", "PING", "EXEC"].map(|word| vec![word]).to_vec();
        let changed = self.watchers.iter_mut().zip(["a", "b", "c", "d"]).filter_map(|(watcher, name)| {
            watcher.pipeline(&exec).last().is_some_and(Value::is_null).then_some(name)
        });
        seen.insert("watched", changed.collect());
        seen.insert("frequency", self.frequencies());

        self.set_up(case);
        self.age();
        pushes(&mut self.keeper);
        self.keeper.call(&["CLIENT", "NO-TOUCH", "ON"]);
        self.keeper.call(&run);
        self.keeper.call(&["CLIENT", "NO-TOUCH", "OFF"]);
        if self.may_leave_untouched {
            seen.insert("frequency without touch", self.frequencies());
        }
        pushes(&mut self.keeper);
        self.client.pipeline(&keys.iter().map(|key| vec!["SET", key, "new"]).collect::<Vec<_>>());
        seen.insert("remembered", pushes(&mut self.keeper).join(", "));
        seen
    }

    /// What can be seen when one of the keys has expired and nobody has noticed: the replies, and all the rest.
    fn see_expired(&mut self, case: &Case) -> (String, String) {
        let run = self.words(case.run);
        let (mut replies, mut all) = (Vec::new(), Vec::new());
        for key in self.keys.clone() {
            self.set_up(case);
            if self.client.call(&["PEXPIRE", &key, "1"]) != Value::Integer(1) {
                continue;
            }
            std::thread::sleep(Duration::from_millis(3));
            self.events_so_far();
            let before = self.counters();
            let reply = self.client.call(&run);
            let counted = self.counted_since(before);
            let (events, size) = (self.events_so_far().join(", "), self.client.call(&["DBSIZE"]));
            replies.push(format!("{reply:?}"));
            all.push(format!("{key}: {events}; {counted}; {size:?} keys"));
        }
        (replies.join("; "), all.join("\n    "))
    }
}

fn with_shards(shards: usize) -> Watched {
    let options = ["--shards", &shards.to_string(), "--enable-debug-command", "yes"];
    Watched::new(&format!("{shards} shards"), Server::start(&options))
}

/// Redis 7.2 where it is named, for a run by hand; else what is installed.
fn oracle() -> Option<Watched> {
    let server = match std::env::var_os("LENDING_ORACLE") {
        Some(binary) => Some(Server::start_binary(binary.as_ref(), &["--enable-debug-command", "yes"])),
        None => Server::redis(&["--enable-debug-command", "yes"]),
    };
    server.map(|server| Watched::new("redis", server))
}

/// Of `frequencies`, which keys have been used, and which are there.
fn is_used(frequencies: &str) -> Vec<&str> {
    let kind = |word| match word {
        "100" | "None" => word,
        _ => "used",
    };
    frequencies
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty() && *w != "Some")
        .map(kind)
        .collect()
}

#[test]
fn a_command_over_shards_has_the_effects_of_one_on_a_single_shard() {
    let mut servers: Vec<Watched> = [1, 2, 3].map(with_shards).into_iter().chain(oracle()).collect();
    let mut wrong = Vec::new();
    for case in CASES {
        let expected = servers[0].see(case);
        for server in &mut servers[1..] {
            let is_redis = server.name == "redis";
            for (what, seen) in server.see(case) {
                let is_same = if is_redis && what == "reply" {
                    // Sets have another order there, and the differential test compares replies.
                    true
                } else if is_redis && what.starts_with("frequency") {
                    // How often it looks a key up for one command is its own business.
                    is_used(&seen) == is_used(&expected[what])
                } else {
                    seen == expected[what]
                };
                if !(is_same || is_redis && case.redis_differs.contains(&what)) {
                    wrong.push(format!(
                        "{} on {}: {what}\n    {seen}\n  on one shard\n    {}",
                        case.run, server.name, expected[what]
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_key_of_another_shard_that_has_expired_goes_as_one_of_the_own_shard_does() {
    let mut servers: Vec<Watched> = [1, 2, 3].map(with_shards).into_iter().collect();
    for server in &mut servers {
        assert!(server.client.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]).is_ok());
    }
    let mut wrong = Vec::new();
    for case in CASES {
        let expected = servers[0].see_expired(case);
        for server in &mut servers[1..] {
            let seen = server.see_expired(case);
            if seen != expected {
                let name = &server.name;
                wrong
                    .push(format!("{} on {name}:\n    {seen:?}\n  on one shard\n    {expected:?}", case.run));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn copies_that_were_lent_take_no_memory_afterwards() {
    for shards in [2, 3] {
        let server = Server::with_shards(shards);
        let mut client = server.client();
        let keys = names();
        for key in &keys[..2] {
            for from in 0..20 {
                let mut args = vec!["ZADD".to_owned(), key.clone()];
                for n in 0..1000 {
                    args.extend([n.to_string(), format!("member:{}", from * 1000 + n)]);
                }
                client.call(&args);
            }
        }
        let union = ["ZUNIONSTORE", &keys[0], "2", &keys[0], &keys[1]];
        client.call(&union);
        let before = info(&mut client, "used_memory");
        for _ in 0..10 {
            assert_eq!(client.call(&union), Value::Integer(20_000));
        }
        let grown = || info(&mut server.client(), "used_memory").saturating_sub(before);
        assert!(support::eventually(|| grown() < 1_000_000), "{shards} shards: {} bytes more", grown());
    }
}
