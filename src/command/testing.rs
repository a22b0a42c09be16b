//! Runs commands in unit tests: one store that owns every slot, plain function calls, and whatever a command does to be looked
//! at afterwards (reply, log, events).

use super::table::KeysHandler;
use super::{expire, hash, keys, object, scan, set, string, Blocking, Caller, Context};
use crate::command::context::Effect;
use crate::resp::{Protocol, Reply};
use crate::store::{Events, SlotRange, Store};

/// When tests begin, Unix time in milliseconds.
pub const START_MS: i64 = 1_700_000_000_000;
const DATABASES: usize = 16;

pub struct Bench {
    pub store: Store,
    pub db: usize,
    pub caller: Caller,
    pub protocol: Protocol,
    logged: Vec<String>,
    /// How the last command blocked, if it did.
    pub blocked: Option<Box<Blocking>>,
}

impl Bench {
    pub fn new() -> Bench {
        let mut store = Store::new(SlotRange::ALL, DATABASES);
        store.set_time(START_MS);
        store.log_enabled = true;
        let caller = Caller { bulk_len_max: 512 * 1024 * 1024, ..Caller::default() };
        Bench { store, db: 0, caller, protocol: Protocol::Resp2, logged: Vec::new(), blocked: None }
    }

    /// Runs a command whose arguments hold no spaces; `''` is an empty one. Returns the reply's bytes.
    pub fn run(&mut self, command: &str) -> String {
        let args: Vec<&[u8]> =
            command.split_whitespace().map(|word| if word == "''" { b"" } else { word.as_bytes() }).collect();
        self.run_args(&args)
    }

    pub fn run_args(&mut self, args: &[&[u8]]) -> String {
        let handler = handler(args);
        let dirty = self.store.dirty;
        let mut reply = Reply::new(self.protocol);
        let mut ctx = Context {
            store: &mut self.store,
            db: self.db,
            reply: &mut reply,
            caller: &self.caller,
            effect: Effect::default(),
            blocking: None,
        };
        let result = handler(&mut ctx, args);
        let effect = ctx.effect;
        self.blocked = ctx.blocking;
        if let Err(error) = result {
            reply.truncate(0);
            reply.error(&error.to_string());
        }
        self.logged = match effect {
            Effect::Instead(commands) => {
                commands.iter().map(|command| text(command.iter().map(Vec::as_slice))).collect()
            }
            Effect::Verbatim if self.store.dirty > dirty => vec![text(args.iter().copied())],
            Effect::Verbatim => Vec::new(),
        };
        let bytes: Vec<u8> = reply.segments().flatten().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What the last command sends to the log and the replicas.
    pub fn logged(&self) -> Vec<&str> {
        self.logged.iter().map(String::as_str).collect()
    }

    /// Wants keyspace events of these classes, and forgets those raised so far.
    pub fn listen(&mut self, classes: &str) {
        let classes = Events::parse(classes.as_bytes()).expect("classes as in notify-keyspace-events");
        self.store.events.set_classes(classes);
        self.store.events.take();
    }

    /// The events raised since the last call, as "db:name key".
    pub fn events(&mut self) -> Vec<String> {
        let events = self.store.events.take();
        events
            .iter()
            .map(|event| format!("{}:{} {}", event.db, event.name, String::from_utf8_lossy(&event.key)))
            .collect()
    }

    /// Lets time pass.
    pub fn wait_ms(&mut self, ms: i64) {
        let now_ms = self.store.now_ms();
        self.store.set_time(now_ms + ms);
    }
}

fn text<'a>(args: impl Iterator<Item = &'a [u8]>) -> String {
    args.map(|arg| String::from_utf8_lossy(arg)).collect::<Vec<_>>().join(" ")
}

fn handler(args: &[&[u8]]) -> KeysHandler {
    let word = |index: usize| String::from_utf8_lossy(args[index]).to_ascii_uppercase();
    match word(0).as_str() {
        "APPEND" => string::append,
        "COPY" => keys::copy,
        "DBSIZE" => keys::dbsize,
        "DECR" => string::decr,
        "DECRBY" => string::decrby,
        "DEL" => keys::del,
        "EXISTS" => keys::exists,
        "EXPIRE" => expire::expire,
        "EXPIREAT" => expire::expireat,
        "EXPIRETIME" => expire::expiretime,
        "FLUSHALL" => keys::flushall,
        "FLUSHDB" => keys::flushdb,
        "GET" => string::get,
        "GETDEL" => string::getdel,
        "GETEX" => string::getex,
        "GETRANGE" => string::getrange,
        "GETSET" => string::getset,
        "HDEL" => hash::hdel,
        "HEXISTS" => hash::hexists,
        "HGET" => hash::hget,
        "HGETALL" => hash::hgetall,
        "HINCRBY" => hash::hincrby,
        "HINCRBYFLOAT" => hash::hincrbyfloat,
        "HKEYS" => hash::hkeys,
        "HLEN" => hash::hlen,
        "HMGET" => hash::hmget,
        "HMSET" => hash::hmset,
        "HRANDFIELD" => hash::hrandfield,
        "HSCAN" => hash::hscan,
        "HSET" => hash::hset,
        "HSETNX" => hash::hsetnx,
        "HSTRLEN" => hash::hstrlen,
        "HVALS" => hash::hvals,
        "INCR" => string::incr,
        "INCRBY" => string::incrby,
        "INCRBYFLOAT" => string::incrbyfloat,
        "KEYS" => keys::keys,
        "LCS" => string::lcs,
        "MEMORY" => object::memory_usage,
        "MGET" => string::mget,
        "MOVE" => keys::move_to,
        "MSET" => string::mset,
        "MSETNX" => string::msetnx,
        "OBJECT" => match word(1).as_str() {
            "ENCODING" => object::encoding,
            "FREQ" => object::freq,
            "HELP" => object::help,
            "IDLETIME" => object::idletime,
            _ => object::refcount,
        },
        "PERSIST" => expire::persist,
        "PEXPIRE" => expire::pexpire,
        "PEXPIREAT" => expire::pexpireat,
        "PEXPIRETIME" => expire::pexpiretime,
        "PSETEX" => string::psetex,
        "PTTL" => expire::pttl,
        "RANDOMKEY" => keys::randomkey,
        "RENAME" => keys::rename,
        "RENAMENX" => keys::renamenx,
        "SADD" => set::sadd,
        "SCAN" => scan::scan,
        "SCARD" => set::scard,
        "SDIFF" => set::sdiff,
        "SDIFFSTORE" => set::sdiffstore,
        "SET" => string::set,
        "SETEX" => string::setex,
        "SETNX" => string::setnx,
        "SETRANGE" => string::setrange,
        "SINTER" => set::sinter,
        "SINTERCARD" => set::sintercard,
        "SINTERSTORE" => set::sinterstore,
        "SISMEMBER" => set::sismember,
        "SMEMBERS" => set::smembers,
        "SMISMEMBER" => set::smismember,
        "SMOVE" => set::smove,
        "SPOP" => set::spop,
        "SRANDMEMBER" => set::srandmember,
        "SREM" => set::srem,
        "SSCAN" => set::sscan,
        "STRLEN" => string::strlen,
        "SUBSTR" => string::substr,
        "SUNION" => set::sunion,
        "SUNIONSTORE" => set::sunionstore,
        "SWAPDB" => keys::swapdb,
        "TOUCH" => keys::touch,
        "TTL" => expire::ttl,
        "TYPE" => keys::type_of,
        "UNLINK" => keys::unlink,
        name => panic!("the bench knows no {name}"),
    }
}
