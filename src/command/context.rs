//! What a command sees while it runs: the store, the reply, who is calling, and where to say what changed.

use super::Args;
use crate::resp::Reply;
use crate::store::{EventClass, Store};

/// Facts about the caller that change what a command does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    pub client_id: u64,
    /// The shard that serves the client, and its name for the connection: for what the client's own shard must be told.
    pub home: u32,
    pub connection: u64,
    /// One of several parts of a command, another of which stands for it in the statistics.
    pub is_extra_part: bool,
    /// Inside MULTI/EXEC or a script: a blocking command must not block.
    pub deny_blocking: bool,
    /// `CLIENT NO-TOUCH ON`: reads leave the LRU/LFU clock alone.
    pub no_touch: bool,
    /// Replaying the append-only file, or applying a replication stream: no expiry on access.
    pub replaying: bool,
    /// `proto-max-bulk-len`, bytes: the longest string a command may build.
    pub bulk_len_max: usize,
    /// `lazyfree-lazy-user-flush`: FLUSHDB and FLUSHALL free memory after they have answered, unless told SYNC.
    pub lazyfree_lazy_user_flush: bool,
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

pub struct Context<'a> {
    pub store: &'a mut Store,
    pub db: usize,
    pub reply: &'a mut Reply,
    pub caller: &'a Caller,
    pub effect: Effect,
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
