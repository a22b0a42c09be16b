//! DEBUG: switches and probes for tests. Behind `enable-debug-command`.
//!
//! Switches that mean nothing here are accepted, so that test suites written for Redis run; HELP says which.

use crate::shard::saving::message::LeaderRequest;
use crate::shard::scatter::Question;
use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{help, Handler};
use crate::base::glob::glob_match;
use crate::base::log::Level;
use crate::client::Connection;
use crate::command::{subcommand_syntax, Args, Audience, CommandError};
use crate::journal::Place;
use crate::observe::digest::Digest;
use crate::rdb::{Count, Encoder};
use crate::replication::Event;
use crate::resp::{Protocol, Reply};
use crate::runtime::{clock, crash};
use crate::shard::blocking::Asker;
use crate::shard::loading::Reload;
use crate::shard::{Flow, Shard};
use crate::store::{parse_integer, slot_of, Encoding, Settings, Ttl, Value};

pub const COMMANDS: &[(&str, Handler)] = &[("debug", debug)];

/// LRU clocks count seconds in so many bits, in Redis and in its DEBUG OBJECT.
const LRU_CLOCK_MASK: i64 = (1 << 24) - 1;
/// The longest text that STRINGMATCH-LEN matches against, bytes.
const MATCHED_TEXT_MAX: i64 = 512 * 1024 * 1024;
/// The longest values that POPULATE makes, bytes: as long as strings may be by default.
const POPULATED_VALUE_MAX: i64 = 512 * 1024 * 1024;
/// Patterns that STRINGMATCH-TEST tries.
const MATCH_TEST_ROUNDS: usize = 100_000;
/// What PROTOCOL answers as a double: Redis's three digits of pi.
#[allow(clippy::approx_constant)]
const DOUBLE: f64 = 3.141;
/// Encodings of list nodes that QUICKLIST-PACKED-THRESHOLD may ask for, bytes.
const QUICKLIST_THRESHOLD_MAX: u64 = (4 << 30) - (1 << 20);

const HELP: &[&str] = &[
    "CHANGE-REPL-ID",
    "    Take a new replication id.",
    "CLIENT-EVICTION",
    "    Show how much of maxmemory-clients is used.",
    "CONFIG-REWRITE-FORCE-ALL",
    "    As CONFIG REWRITE, with the directives that are at their defaults.",
    "CRASH-AND-RECOVER [<milliseconds>]",
    "    Start the process anew at once, after a delay.",
    "DIGEST",
    "    Fingerprint of the data set.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Fingerprints of values.",
    "ERROR <string>",
    "    Answer this error.",
    "HTSTATS <dbid> [full]",
    "    Figures of a database's tables.",
    "HTSTATS-KEY <key> [full]",
    "    Figures of a value's hash table.",
    "LEAK <string>",
    "    Allocate a copy of the string and forget it.",
    "LISTPACK <key>",
    "    Print a listpack to standard output.",
    "LOADAOF",
    "    Forget the data set and load it from the append-only files.",
    "LOG <message>",
    "    Write a message to the log.",
    "OBJECT <key>",
    "    How a value is held.",
    "OOM",
    "    Crash as if memory had run out.",
    "PANIC | ASSERT | SEGFAULT",
    "    Crash.",
    "PAUSE-CRON <0|1>",
    "    Stop the work that happens ten times a second.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create keys <prefix>:<number>, of so many bytes each.",
    "PROTOCOL <type>",
    "    Answer with a value of a type of the protocol.",
    "RELOAD [MERGE] [NOFLUSH] [NOSAVE]",
    "    Save the data set, forget it and load it again.",
    "RESTART [<milliseconds>]",
    "    Rewrite the configuration file and start the process anew, after a delay.",
    "SDSLEN <key>",
    "    Lengths of a key and of its string.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Whether expired keys are deleted without being looked at.",
    "REPLICATE <command> [<argument> ...]",
    "    Send a command to replicas, whatever it is.",
    "SLEEP <seconds>",
    "    Stop the whole server for so long.",
    "STRINGMATCH-LEN <length> <pattern>",
    "    Whether so many letters 'a' match the pattern.",
    "STRINGMATCH-TEST",
    "    Match random texts against random patterns.",
    "STRUCTSIZE",
    "    Sizes of internal structures.",
    "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
    "    Whether payloads and files are read whatever their checksums are.",
    "AOF-FLUSH-SLEEP, DROP-CLUSTER-PACKET-FILTER, JMAP, QUICKLIST-PACKED-THRESHOLD, REPLICATE, REPLYBUFFER,",
    "SET-DISABLE-DENY-SCRIPTS",
    "    Accepted; they mean nothing here.",
];

type Outcome = Result<Flow, CommandError>;

fn debug(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let name = args[1].to_ascii_lowercase();
    match (name.as_slice(), &args[2..]) {
        (b"help", []) => help(reply, "DEBUG", HELP),
        (b"segfault", _) => crash::segfault(),
        // What these ask for.
        (b"panic", _) => panic!("DEBUG PANIC called at Unix time {}", clock::unix_us() / 1_000_000),
        (b"assert", _) => assert_eq!(1, 2, "DEBUG ASSERT"),
        (b"oom", _) => crash::out_of_memory(usize::MAX / 2),
        (b"restart" | b"crash-and-recover", options) => return restart(shard, &name, options),
        (b"log", [message]) => {
            crate::log_text!(Level::Warning, "DEBUG LOG: ", message);
            reply.ok();
        }
        (b"leak", [bytes]) => {
            Box::leak(bytes.to_vec().into_boxed_slice());
            reply.ok();
        }
        (b"reload", options) => return reload(shard, c, options),
        (b"loadaof", _) => return load_aof(shard, c),
        (b"jmap", _) => reply.ok(),
        (b"drop-cluster-packet-filter", [number]) => {
            parse_integer(number).ok_or(CommandError::NotInteger)?;
            reply.ok();
        }
        (b"aof-flush-sleep", [_]) => reply.ok(),
        (b"set-disable-deny-scripts", [on]) => {
            shard.shared.scripts.may_call_all.store(is_on(on), Ordering::Relaxed);
            reply.ok();
        }
        (b"set-skip-checksum-validation", [on]) => {
            let on = is_on(on);
            return set_everywhere(shard, c, SetDebug::SkipChecksums(on));
        }
        (b"quicklist-packed-threshold", [size]) => {
            let bytes =
                memory_size(size).filter(|bytes| *bytes <= QUICKLIST_THRESHOLD_MAX).ok_or_else(|| {
                    CommandError::other(
                        "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
                    )
                })?;
            // 0 puts it back.
            let bytes = if bytes == 0 { Settings::QUICKLIST_PACKED_THRESHOLD } else { bytes as usize };
            return set_everywhere(shard, c, SetDebug::PackedThreshold(bytes));
        }
        (b"replybuffer", [what, value]) => reply_buffer(reply, args, what, value)?,
        (b"object", [key]) => return with_key(shard, c, key, object),
        (b"sdslen", [key]) => return with_key(shard, c, key, string_lengths),
        (b"listpack", [key]) => return with_key(shard, c, key, listpack),
        (b"quicklist", [key] | [key, _]) => return with_key(shard, c, key, quicklist),
        (b"htstats-key", [key, ..]) => return with_key(shard, c, key, table_of_value),
        (b"htstats", [db, ..]) => return table_figures(shard, c, db),
        (b"populate", [count, options @ ..]) if options.len() <= 2 => {
            return populate(shard, c, count, options)
        }
        (b"digest", []) => return digest(shard, c),
        (b"digest-value", keys) => return digest_values(shard, c, keys),
        (b"protocol", [kind]) => protocol(reply, kind)?,
        (b"sleep", [seconds]) => {
            sleep(shard, seconds);
            reply.ok();
        }
        (b"replicate", [_, ..]) => {
            let place = Place { audience: Audience::Replicas, ..Place::in_db(c.db) };
            shard.journal.append_alone(place, &args[2..], shard.turn.now_us);
            reply.ok();
        }
        (b"set-active-expire", [on]) => {
            return set_everywhere(shard, c, SetDebug::ActiveExpire(is_on(on)));
        }
        (b"pause-cron", [on]) => {
            return set_everywhere(shard, c, SetDebug::PauseCron(is_on(on)));
        }
        (b"error", [text]) => {
            let line: Vec<u8> =
                text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
            reply.raw(&[b"-", line.as_slice(), b"\r\n"].concat());
        }
        (b"structsize", []) => reply.bulk(struct_sizes().as_bytes()),
        (b"change-repl-id", []) => {
            crate::log!(Level::Notice, "Changing replication IDs after receiving DEBUG change-repl-id");
            shard.shared.replication.tell(Event::ChangeId);
            reply.ok();
        }
        (b"stringmatch-test", []) => {
            match_random_patterns();
            reply.simple("Apparently Redis did not crash: test passed");
        }
        (b"stringmatch-len", [length, pattern]) => {
            let length = parse_integer(length).filter(|length| (0..=MATCHED_TEXT_MAX).contains(length));
            let text = vec![b'a'; length.ok_or(CommandError::NotInteger)? as usize];
            reply.integer(i64::from(glob_match(pattern, &text, false)));
        }
        (b"config-rewrite-force-all", []) => {
            shard.turn.rewrite_config(true)?;
            reply.ok();
        }
        (b"client-eviction", []) => return client_eviction(shard, c),
        (b"clusterlink", [kill, _, _]) if kill.eq_ignore_ascii_case(b"kill") => {
            return Err(CommandError::other(
                "ERR Debug option only available for cluster mode enabled setup!",
            ));
        }
        _ => return Err(subcommand_syntax("DEBUG", args)),
    }
    Ok(Flow::Done)
}

/// As C's `atoi(text) != 0`.
fn is_on(text: &[u8]) -> bool {
    parse_integer(text).is_some_and(|number| number != 0)
}

fn memory_size(text: &[u8]) -> Option<u64> {
    crate::config::memory_size(text)
}

fn restart(shard: &mut Shard, name: &[u8], options: &[&[u8]]) -> Outcome {
    let delay_ms = match options.first() {
        Some(text) => parse_integer(text).ok_or(CommandError::NotInteger)?.max(0),
        None => 0,
    };
    if name == b"restart" && shard.shared.settings().file.is_some() {
        shard.turn.rewrite_config(false)?;
    }
    std::thread::sleep(Duration::from_millis(delay_ms as u64));
    let error = crate::process::start_anew();
    crate::log!(Level::Warning, "Restart failed: {}", crate::base::error_text(&error));
    Err(CommandError::other("ERR failed to restart the server. Check server logs."))
}

/// Stops this shard, and every other one from its next turn on, for as long.
fn sleep(shard: &mut Shard, seconds: &[u8]) {
    let seconds: f64 = std::str::from_utf8(seconds).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let Ok(time) = Duration::try_from_secs_f64(seconds) else { return };
    let until_us = clock::unix_us().saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX));
    shard.shared.sleep_until_us.store(until_us, Ordering::Relaxed);
    if let Some(until) = std::time::Instant::now().checked_add(time) {
        shard.shared.replication.tell(Event::SleepUntil(until));
    }
    // Has every shard look at what is shared.
    shard.shared.config_version.fetch_add(1, Ordering::Release);
    std::thread::sleep(time);
    // For what else this turn does.
    shard.turn.now_us = clock::unix_us();
    shard.store.set_time(shard.turn.now_us / 1000);
}

fn reply_buffer(reply: &mut Reply, args: Args, what: &[u8], value: &[u8]) -> Result<(), CommandError> {
    if what.eq_ignore_ascii_case(b"peak-reset-time") {
        if !value.eq_ignore_ascii_case(b"never") && !value.eq_ignore_ascii_case(b"reset") {
            parse_integer(value).ok_or(CommandError::NotInteger)?;
        }
    } else if !what.eq_ignore_ascii_case(b"resizing") {
        return Err(subcommand_syntax("DEBUG", args));
    }
    reply.ok();
    Ok(())
}

/// What DEBUG sets on every shard.
#[derive(Clone, Copy)]
pub enum SetDebug {
    SkipChecksums(bool),
    PackedThreshold(usize),
    ActiveExpire(bool),
    PauseCron(bool),
}

impl Question for SetDebug {
    type Answer = ();

    fn answer(self, shard: &mut Shard) {
        let settings = &mut shard.store.settings;
        match self {
            SetDebug::SkipChecksums(on) => settings.skips_checksums = on,
            SetDebug::PackedThreshold(bytes) => settings.quicklist_packed_threshold = bytes,
            SetDebug::ActiveExpire(on) => settings.active_expire = on,
            SetDebug::PauseCron(on) => shard.upkeep.housekeeping.is_off = on,
        }
    }
}

fn set_everywhere(shard: &mut Shard, c: &mut Connection, set: SetDebug) -> Outcome {
    shard.ask_all_for(c, set, |_, _, reply| reply.ok());
    Ok(Flow::Later)
}

type Work = fn(&mut Shard, usize, &[u8], &mut Reply) -> Result<(), CommandError>;

/// Run `work` where the key is; an error when there is no such key.
#[derive(Clone)]
pub struct WithKey {
    db: usize,
    key: Vec<u8>,
    work: Work,
    protocol: Protocol,
}

impl Question for WithKey {
    type Answer = Result<Reply, CommandError>;

    fn answer(self, shard: &mut Shard) -> Result<Reply, CommandError> {
        let WithKey { db, key, work, protocol } = self;
        let mut reply = Reply::new(protocol);
        // A key that has expired is shown, too, as long as it is there.
        shard.store.set_time(0);
        let expire_at = shard.store.expire_at(db, &key);
        if expire_at.flatten().is_none_or(|at_ms| at_ms > shard.turn.now_ms()) {
            shard.store.set_time(shard.turn.now_ms());
        }
        let result = match expire_at {
            Some(_) => work(shard, db, &key, &mut reply),
            None => Err(CommandError::NoSuchKey),
        };
        shard.store.set_time(shard.turn.now_ms());
        result.map(|()| reply)
    }
}

fn with_key(shard: &mut Shard, c: &mut Connection, key: &[u8], work: Work) -> Outcome {
    let owner = shard.turn.slots.shard_of(key);
    let protocol = c.output.reply.protocol();
    shard.ask_one_for(c, owner, WithKey { db: c.db, key: key.to_vec(), work, protocol });
    Ok(Flow::Later)
}

fn object(shard: &mut Shard, db: usize, key: &[u8], reply: &mut Reply) -> Result<(), CommandError> {
    let mut encoder = Encoder::new(shard.turn.rdb_format());
    let (Some(description), Some(value)) = (shard.store.describe(db, key), shard.store.peek(db, key)) else {
        return Err(CommandError::NoSuchKey);
    };
    let mut serialized = Count::default();
    encoder.value(&value, &mut serialized);
    let serialized = serialized.0;
    let address = shard.store.address(db, key).unwrap_or_default();
    let used_s = shard.turn.now_ms() / 1000 - description.idle_s as i64;
    reply.simple(&format!(
        "Value at:{address:#x} refcount:{} encoding:{} serializedlength:{serialized} lru:{} lru_seconds_idle:{}",
        description.refcount,
        description.kind.encoding().name(),
        used_s & LRU_CLOCK_MASK,
        description.idle_s,
    ));
    Ok(())
}

fn string_lengths(shard: &mut Shard, db: usize, key: &[u8], reply: &mut Reply) -> Result<(), CommandError> {
    let memory = shard.store.describe(db, key).map_or(0, |description| description.memory_bytes);
    let len = match shard.store.peek(db, key) {
        Some(Value::Bytes(bytes)) => bytes.len(),
        Some(Value::Shared(bytes)) => bytes.len(),
        _ => return Err(CommandError::other("ERR Not an sds encoded string.")),
    };
    // Key and value are one allocation, which is shown as the value's.
    reply.simple(&format!(
        "key_sds_len:{}, key_sds_avail:0, key_zmalloc: {}, val_sds_len:{len}, val_sds_avail:0, val_zmalloc: {}",
        key.len(),
        key.len(),
        memory.saturating_sub(key.len()).max(len),
    ));
    Ok(())
}

fn encoding(shard: &mut Shard, db: usize, key: &[u8]) -> Option<Encoding> {
    shard.store.kind(db, key).map(|kind| kind.encoding())
}

fn listpack(shard: &mut Shard, db: usize, key: &[u8], reply: &mut Reply) -> Result<(), CommandError> {
    if encoding(shard, db, key) != Some(Encoding::Listpack) {
        return Err(CommandError::other("ERR Not a listpack encoded object."));
    }
    reply.simple("Listpack structure printed on stdout");
    Ok(())
}

fn quicklist(shard: &mut Shard, db: usize, key: &[u8], reply: &mut Reply) -> Result<(), CommandError> {
    if encoding(shard, db, key) != Some(Encoding::Quicklist) {
        return Err(CommandError::other("ERR Not a quicklist encoded object."));
    }
    reply.simple("Quicklist structure printed on stdout");
    Ok(())
}

fn table_of_value(shard: &mut Shard, db: usize, key: &[u8], reply: &mut Reply) -> Result<(), CommandError> {
    match encoding(shard, db, key) {
        Some(Encoding::Hashtable | Encoding::Skiplist) => {
            reply.verbatim("txt", b"The tables of values keep no figures.\n");
            Ok(())
        }
        _ => Err(CommandError::other(
            "ERR The value stored at the specified key is not represented using an hash table",
        )),
    }
}

/// DEBUG HTSTATS: one line for each shard.
fn table_figures(shard: &mut Shard, c: &mut Connection, db: &[u8]) -> Outcome {
    let db = parse_integer(db).ok_or(CommandError::NotInteger)?;
    let db = usize::try_from(db)
        .ok()
        .filter(|db| *db < shard.store.databases())
        .ok_or_else(|| CommandError::other("ERR Out of range database"))?;
    shard.ask_all_for(c, TableFigures { db }, |_, answers, reply| {
        let mut text = Vec::new();
        for (title, expires) in [("[Dictionary HT]", false), ("[Expires HT]", true)] {
            let _ = writeln!(text, "{title}");
            for (id, (keys, volatile, slots)) in answers.iter().enumerate() {
                let elements = if expires { volatile } else { keys };
                let _ = writeln!(
                    text,
                    "Shard {id}, a table for each of {slots} slots:\n number of elements: {elements}"
                );
            }
        }
        reply.verbatim("txt", &text);
    });
    Ok(Flow::Later)
}

/// The keys of a database, how many of them expire, and the slots.
#[derive(Clone)]
pub struct TableFigures {
    db: usize,
}

impl Question for TableFigures {
    type Answer = (usize, usize, usize);

    fn answer(self, shard: &mut Shard) -> Self::Answer {
        (shard.store.len(self.db), shard.store.volatile_len(self.db), shard.store.slots().len())
    }
}

/// DEBUG POPULATE: each shard makes the keys that are its own.
fn populate(shard: &mut Shard, c: &mut Connection, count: &[u8], options: &[&[u8]]) -> Outcome {
    let positive = |text: &[u8]| {
        parse_integer(text)
            .filter(|number| *number >= 0)
            .ok_or_else(|| CommandError::other("ERR value is out of range, must be positive"))
    };
    let count = positive(count)?;
    let prefix = options.first().map_or(&b"key"[..], |prefix| prefix).to_vec();
    let size = options.get(1).map_or(Ok(0), |size| positive(size))?;
    if size > POPULATED_VALUE_MAX {
        return Err(CommandError::other("ERR value is out of range, must be positive"));
    }
    let size = size as usize;
    let populate = Populate { db: c.db, count, prefix, size };
    shard.ask_all_for(c, populate, |_, _, reply| reply.ok());
    Ok(Flow::Later)
}

/// Make those of the keys that are your own.
#[derive(Clone)]
pub struct Populate {
    db: usize,
    count: i64,
    prefix: Vec<u8>,
    /// 0: as long as the text.
    size: usize,
}

impl Question for Populate {
    type Answer = ();

    fn answer(self, shard: &mut Shard) {
        let Populate { db, count, prefix: mut key, size } = self;
        key.push(b':');
        let stem = key.len();
        let mut value = Vec::new();
        // The keys share an address, by which a hint would know them.
        shard.store.clear_slot_hint();
        for number in 0..count {
            key.truncate(stem);
            let _ = write!(key, "{number}");
            if !shard.store.slots().contains(slot_of(&key)) || shard.store.exists(db, &key) {
                continue;
            }
            value.clear();
            let _ = write!(value, "value:{number}");
            if size > 0 {
                value.resize(size, 0);
            }
            shard.store.set_text(db, &key, &value, Ttl::None);
            shard.store.touched(db, &key);
        }
    }
}

/// A digest of your part of each database, where there is one.
#[derive(Clone)]
pub struct DigestAll;

impl Question for DigestAll {
    type Answer = Vec<Option<Digest>>;

    fn answer(self, shard: &mut Shard) -> Self::Answer {
        (0..shard.store.databases())
            .map(|db| {
                let mut part = None;
                shard.store.for_each_key(db, &mut |key, value, expire_at| {
                    part.get_or_insert_with(Digest::default).join(Digest::of_entry(
                        key,
                        &value,
                        expire_at.is_some(),
                    ));
                    true
                });
                part
            })
            .collect()
    }
}

fn digest(shard: &mut Shard, c: &mut Connection) -> Outcome {
    shard.ask_all_for(c, DigestAll, |shard, answers, reply| {
        let databases = (0..shard.store.databases()).map(|db| {
            let mut of_shards = answers.iter().filter_map(|parts| parts[db]);
            let first = of_shards.next()?;
            Some(of_shards.fold(first, |mut whole, part| {
                whole.join(part);
                whole
            }))
        });
        reply.simple(&Digest::of_databases(databases).to_string());
    });
    Ok(Flow::Later)
}

fn digest_values(shard: &mut Shard, c: &mut Connection, keys: &[&[u8]]) -> Outcome {
    let keys = keys.iter().map(|key| key.to_vec()).collect();
    shard.ask_all_for(c, DigestValues { db: c.db, keys }, |_, answers, reply| {
        let keys = answers.first().map_or(0, Vec::len);
        reply.array(keys);
        for key in 0..keys {
            let digest = answers.iter().find_map(|digests| digests[key]).unwrap_or_default();
            reply.simple(&digest.to_string());
        }
    });
    Ok(Flow::Later)
}

/// A digest of each of the keys that is yours.
#[derive(Clone)]
pub struct DigestValues {
    db: usize,
    keys: Vec<Vec<u8>>,
}

impl Question for DigestValues {
    type Answer = Vec<Option<Digest>>;

    fn answer(self, shard: &mut Shard) -> Self::Answer {
        let digest_of = |key: &Vec<u8>| {
            if shard.turn.slots.shard_of(key) != shard.id {
                return None;
            }
            let expires = shard.store.expire_at(self.db, key)?.is_some();
            shard.store.peek(self.db, key).map(|value| Digest::of_value(&value, expires))
        };
        self.keys.iter().map(digest_of).collect()
    }
}

fn reload(shard: &mut Shard, c: &mut Connection, options: Args) -> Outcome {
    let mut reload = Reload { saves: true, flushes: true, merges: false };
    for option in options {
        match option.to_ascii_lowercase().as_slice() {
            b"merge" => reload.merges = true,
            b"noflush" => reload.flushes = false,
            b"nosave" => reload.saves = false,
            _ => {
                let text = "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.";
                return Err(CommandError::other(text));
            }
        }
    }
    if shard.transactions.is_inside_transaction() {
        // It waits for all transactions to end.
        return Err(CommandError::other("ERR DEBUG RELOAD is not possible inside a transaction"));
    }
    let asker = Asker { home: shard.id, later: shard.transactions.reply_later(c) };
    shard.tell_leader(LeaderRequest::Reload(reload, asker));
    Ok(Flow::Later)
}

fn load_aof(shard: &mut Shard, c: &mut Connection) -> Outcome {
    if shard.transactions.is_inside_transaction() {
        return Err(CommandError::other("ERR DEBUG LOADAOF is not possible inside a transaction"));
    }
    let asker = Asker { home: shard.id, later: shard.transactions.reply_later(c) };
    shard.tell_leader(LeaderRequest::LoadAof(asker));
    Ok(Flow::Later)
}

fn protocol(reply: &mut Reply, kind: &[u8]) -> Result<(), CommandError> {
    match kind.to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.integer(12345),
        b"double" => reply.double(DOUBLE),
        b"bignum" => reply.big_number("1234567999999999999999999999999999999"),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        b"map" => {
            reply.map(3);
            for number in 0..3 {
                reply.integer(number);
                reply.boolean(number == 1);
            }
        }
        b"attrib" => {
            if reply.attribute(1) {
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.integer(90);
            }
            // An attribute is no reply by itself.
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            if reply.protocol() == Protocol::Resp2 {
                return Err(CommandError::other("ERR RESP2 is not supported by this command"));
            }
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
            // Nor is a push.
            reply.bulk(b"Some real reply following the push reply");
        }
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        b"verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        _ => {
            return Err(CommandError::other(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ))
        }
    }
    Ok(())
}

fn struct_sizes() -> String {
    use std::mem::size_of;
    format!(
        "bits:{} connection:{} shard:{} value:{} ",
        usize::BITS,
        size_of::<Connection>(),
        size_of::<Shard>(),
        size_of::<Value>()
    )
}

/// Nothing to check but that it ends.
fn match_random_patterns() {
    let mut random = clock::unix_us() as u64 | 1;
    let mut next = move || {
        // xorshift64: any letters will do.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    const LETTERS: &[u8; 16] = b"ab*?[]^-\\zA01\0\xff*";
    for _ in 0..MATCH_TEST_ROUNDS {
        let (pattern, text) = (next(), next());
        let spell = |mut bits: u64| -> Vec<u8> {
            let len = (bits & 15) as usize;
            (0..len)
                .map(|_| {
                    bits >>= 4;
                    LETTERS[(bits & 15) as usize]
                })
                .collect()
        };
        glob_match(&spell(pattern), &spell(text), pattern & 16 != 0);
    }
}

/// The memory of your connections, and their number.
#[derive(Clone)]
pub struct ClientFigures;

impl Question for ClientFigures {
    type Answer = (usize, usize);

    fn answer(self, shard: &mut Shard) -> (usize, usize) {
        (shard.connections.table.iter().map(Connection::memory_bytes).sum(), shard.connections.table.len())
    }
}

fn client_eviction(shard: &mut Shard, c: &mut Connection) -> Outcome {
    let config = &shard.turn.config;
    let Some(limit) = config.network.maxmemory_clients.bytes(config.memory.maxmemory) else {
        return Err(CommandError::other("ERR maxmemory-clients is disabled."));
    };
    shard.ask_all_for(c, ClientFigures, move |_, answers, reply| {
        let mut text = format!("limit: {limit}\n");
        for (id, (bytes, clients)) in answers.iter().enumerate() {
            text.push_str(&format!("shard {id}: tot-mem: {bytes}, clients: {clients}\n"));
        }
        reply.verbatim("txt", text.as_bytes());
    });
    Ok(Flow::Later)
}
