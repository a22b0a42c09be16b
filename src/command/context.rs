//! What a command sees while it runs: the store, the reply, who is calling, and where to say what changed.

use super::Args;
use crate::rdb;
use crate::resp::Reply;
use crate::store::{EventClass, Store, ValueType};

/// Facts about the caller that change what a command does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    pub client_id: u64,
    /// The shard that serves the client, and its name for the connection: for what the client's own shard must be told.
    pub home: u32,
    pub connection: u64,
    /// The serial number of the client's user.
    pub user: u64,
    /// The user may not read keys that no argument names, which the command would look up (`Spread::Reach`).
    pub may_not_reach: bool,
    /// One of several parts of a command, another of which stands for it in the statistics.
    pub is_extra_part: bool,
    /// Inside MULTI/EXEC or a script: a blocking command must not block, but answer as if its time were up.
    pub deny_blocking: bool,
    /// A script calls the command.
    pub in_script: bool,
    /// Who learns what the command does (`redis.set_repl`).
    pub audience: Audience,
    /// The one time of the transaction or script that the command is part of, Unix microseconds. None: the shard's.
    pub at_us: Option<i64>,
    /// Values are excerpts of what their keys hold (`Spread::Excerpt`): the command says by `log_instead` what to do to each key.
    pub on_excerpts: bool,
    /// The command has blocked before; so long, in nanoseconds, did its earlier runs take.
    pub spent_nanos: u64,
    /// The client keeps copies of what it reads, and wants to hear when they are outdated.
    pub remembers_reads: bool,
    /// `CLIENT NO-TOUCH ON`: reads leave the LRU/LFU clock alone.
    pub no_touch: bool,
    /// Replaying the append-only file, or applying a replication stream: no expiry on access.
    pub replaying: bool,
    /// A command of the master that this server follows.
    pub from_master: bool,
    /// `proto-max-bulk-len`, bytes: the longest string a command may build.
    pub bulk_len_max: usize,
    /// `lazyfree-lazy-user-flush`: FLUSHDB and FLUSHALL free memory after they have answered, unless told SYNC.
    pub lazyfree_lazy_user_flush: bool,
    /// `rdb-version` and `rdbcompression`: what DUMP writes.
    pub rdb_format: rdb::Format,
}

/// Who learns what a command does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    #[default]
    All,
    /// The append-only log.
    Log,
    /// Replicas.
    Replicas,
    Nobody,
}

impl Audience {
    pub fn has_log(self) -> bool {
        matches!(self, Audience::All | Audience::Log)
    }

    pub fn has_replicas(self) -> bool {
        matches!(self, Audience::All | Audience::Replicas)
    }
}

/// How the command in progress reaches the append-only file and the replicas.
#[derive(Debug, Default)]
pub enum Effect {
    /// As the client sent it, when it changed something.
    #[default]
    Verbatim,
    /// These commands in its place (EXPIRE as PEXPIREAT, SPOP as SREM). Empty: nothing.
    Instead(Vec<Vec<Vec<u8>>>),
}

/// Until when a command blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockTimeout {
    Never,
    /// Milliseconds from now.
    After(u64),
}

/// The keys that a blocked command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    EveryKey,
    /// Where the others are destinations: BLMOVE, BRPOPLPUSH.
    FirstKey,
}

/// How a command waits that found nothing to answer with. Once a key that it waits for is ready it runs again, with the
/// same or other arguments: then it answers, fails, or blocks again, which leaves its place among those who wait for the key and
/// its time as they are. When its time is up the client gets a null array, whatever the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocking {
    pub timeout: BlockTimeout,
    pub wait_for: WaitFor,
    /// A key of this type wakes it when it comes into being, or when `Context::ready` says so.
    pub wake_on: ValueType,
    /// So does a key that goes, or becomes one of another type (XREADGROUP).
    pub also_on_deletion: bool,
    /// What to run when woken in place of the arguments, keys in the same places (XREAD with the IDs that `$` stood for).
    pub again: Option<Vec<Vec<u8>>>,
}

pub struct Context<'a> {
    pub store: &'a mut Store,
    pub db: usize,
    pub reply: &'a mut Reply,
    pub caller: &'a Caller,
    pub effect: Effect,
    /// Set by `block`.
    pub blocking: Option<Box<Blocking>>,
}

impl Context<'_> {
    pub fn now_ms(&self) -> i64 {
        self.store.now_ms()
    }

    /// To be called once for every key that a command changed: counts the change, wakes watchers, tells tracking clients, and
    /// raises the keyspace event `name` (as in Redis's notifications).
    pub fn changed(&mut self, key: &[u8], class: EventClass, name: &'static str) {
        self.changed_in(self.db, key, class, name);
    }

    /// As `changed`, in any database.
    pub fn changed_in(&mut self, db: usize, key: &[u8], class: EventClass, name: &'static str) {
        self.store.dirty += 1;
        self.also_changed(db, key, class, name);
    }

    /// A further key that the same change concerns (RENAME's new name): as `changed_in`, but counts as no change of its own.
    pub fn also_changed(&mut self, db: usize, key: &[u8], class: EventClass, name: &'static str) {
        self.store.touched(db, key);
        self.store.events.raise(db, class, name, key);
    }

    /// The command has nothing to answer with: its client waits. To be followed by `return Ok(())`, with no reply written (what
    /// it changed stays changed: XREADGROUP's new consumer). Never where `deny_blocking` is set: there the command answers
    /// what it answers when there is nothing.
    pub fn block(&mut self, blocking: Blocking) {
        debug_assert!(!self.caller.deny_blocking, "a command blocks where it must not");
        self.blocking = Some(Box::new(blocking));
    }

    /// There is something new for those who wait for this key, which was there before: for XADD and XGROUP DESTROY. That a key
    /// came into being, was replaced or went the store knows by itself.
    pub fn ready(&mut self, key: &[u8]) {
        self.store.ready(self.db, key);
    }

    /// Counts a look-up made with `peek`, for commands that Redis counts among the reads although they leave the LRU
    /// clock alone (EXISTS, TYPE, TTL).
    pub fn count_read(&mut self, key: &[u8], found: bool) {
        if found {
            self.store.stats.keyspace_hits += 1;
        } else {
            self.store.stats.keyspace_misses += 1;
            self.store.events.raise(self.db, EventClass::KEY_MISS, "keymiss", key);
        }
    }

    /// Replaces what is logged and replicated; may be called several times, which appends. Does nothing while nobody logs.
    pub fn log_instead(&mut self, args: Args) {
        if !self.store.log_enabled {
            return;
        }
        let command = args.iter().map(|a| a.to_vec()).collect();
        match &mut self.effect {
            Effect::Instead(list) => list.push(command),
            effect => *effect = Effect::Instead(vec![command]),
        }
    }

    /// The change is not to be logged or replicated.
    pub fn log_nothing(&mut self) {
        self.effect = Effect::Instead(Vec::new());
    }
}
