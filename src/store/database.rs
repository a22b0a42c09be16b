//! The store.
use super::*;
use crate::command::CommandError;
use bytes::Bytes;

/// What OBJECT and MEMORY USAGE tell about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    pub kind: Kind,
    /// Seconds since the last use (meaningful unless the policy is LFU).
    pub idle_s: u64,
    /// The LFU counter, decayed until now (meaningful under an LFU policy).
    pub frequency: u8,
    /// 1, or `i32::MAX` where Redis would share a small integer.
    pub refcount: i64,
    /// Bytes allocated for key, value and their place in the table.
    pub memory_bytes: usize,
}

/// The keyspace of one shard.
pub struct Store {
    pub settings: Settings,
    pub events: Events,
    pub watches: Watches,
    pub stats: StoreStats,
    /// Changes since the last save, counted by commands.
    pub dirty: u64,
    /// Keys deleted because they had expired, in order, while `log_enabled`: to be logged and replicated as DEL.
    pub expired_effects: Vec<(usize, Vec<u8>)>,
    /// Someone wants `expired_effects`, and drains it after each command.
    pub log_enabled: bool,
    /// False while the log or a replication stream is replayed: then an expired key is still there, until its DEL comes.
    pub expire_on_access: bool,
    /// True while writes are paused: an expired key is absent, but is not deleted.
    pub expire_paused: bool,
    /// `read` leaves the LRU/LFU clocks alone.
    pub no_touch: bool,
}

#[allow(unused_variables)]
impl Store {
    pub fn new(slots: SlotRange, databases: usize) -> Store { todo!() }
    pub fn set_time(&mut self, now_ms: i64) { todo!() }
    pub fn now_ms(&self) -> i64 { todo!() }
    pub fn slots(&self) -> SlotRange { todo!() }
    pub fn databases(&self) -> usize { todo!() }
    pub fn slot_hint(&mut self, key: &[u8], slot: u16) { todo!() }
    pub fn clear_slot_hint(&mut self) { todo!() }

    pub fn read(&mut self, db: usize, key: &[u8]) -> Option<Value<'_>> { todo!() }
    pub fn peek(&mut self, db: usize, key: &[u8]) -> Option<Value<'_>> { todo!() }
    pub fn exists(&mut self, db: usize, key: &[u8]) -> bool { todo!() }
    pub fn kind(&mut self, db: usize, key: &[u8]) -> Option<Kind> { todo!() }

    pub fn set_string(&mut self, db: usize, key: &[u8], value: &[u8], ttl: Ttl) { todo!() }
    pub fn set_text(&mut self, db: usize, key: &[u8], value: &[u8], ttl: Ttl) { todo!() }
    pub fn set_string_shared(&mut self, db: usize, key: &[u8], value: Bytes, ttl: Ttl) { todo!() }
    pub fn set_int(&mut self, db: usize, key: &[u8], value: i64, ttl: Ttl) { todo!() }
    pub fn modify_string<R>(&mut self, db: usize, key: &[u8], f: impl FnOnce(&mut StringBuf) -> R) -> Result<R, WrongType> { todo!() }
    pub fn modify_int(&mut self, db: usize, key: &[u8], f: impl FnOnce(Option<i64>) -> Result<i64, CommandError>) -> Result<i64, CommandError> { todo!() }

    pub fn remove(&mut self, db: usize, key: &[u8]) -> bool { todo!() }
    pub fn take(&mut self, db: usize, key: &[u8]) -> Option<Detached> { todo!() }
    pub fn put(&mut self, db: usize, key: &[u8], value: Detached) { todo!() }
    pub fn clone_value(&mut self, db: usize, key: &[u8]) -> Option<Detached> { todo!() }
    pub fn expire_at(&mut self, db: usize, key: &[u8]) -> Option<Option<i64>> { todo!() }
    pub fn set_expire(&mut self, db: usize, key: &[u8], at_ms: Option<i64>) -> bool { todo!() }
    pub fn touch(&mut self, db: usize, key: &[u8]) -> bool { todo!() }
    pub fn describe(&mut self, db: usize, key: &[u8]) -> Option<Description> { todo!() }
    pub fn set_idle(&mut self, db: usize, key: &[u8], idle_s: u64) -> bool { todo!() }
    pub fn set_freq(&mut self, db: usize, key: &[u8], frequency: u8) -> bool { todo!() }

    pub fn touched(&mut self, db: usize, key: &[u8]) { todo!() }
    pub fn watch(&mut self, db: usize, key: &[u8], flag: &WatchFlag) { todo!() }
    pub fn unwatch(&mut self, db: usize, key: &[u8], flag: &WatchFlag) { todo!() }
    pub fn watched_key_expired(&mut self, db: usize, key: &[u8], flag: &WatchFlag) -> bool { todo!() }

    pub fn len(&self, db: usize) -> usize { todo!() }
    pub fn volatile_len(&self, db: usize) -> usize { todo!() }
    pub fn avg_ttl_ms(&self, db: usize) -> i64 { todo!() }
    pub fn random_key(&mut self, db: usize) -> Option<Vec<u8>> { todo!() }
    pub fn scan(&mut self, db: usize, cursor: u64, count: usize, visit: &mut dyn FnMut(&[u8], Value)) -> u64 { todo!() }
    pub fn for_each_key(&self, db: usize, visit: &mut dyn FnMut(&[u8], Value, Option<i64>) -> bool) { todo!() }
    pub fn clear(&mut self, db: Option<usize>) -> u64 { todo!() }
    pub fn swap(&mut self, a: usize, b: usize) { todo!() }
    pub fn count_in_slot(&self, slot: u16) -> usize { todo!() }
    pub fn keys_in_slot(&self, slot: u16, count: usize) -> Vec<Vec<u8>> { todo!() }

    pub fn expire_cycle(&mut self, budget_us: u64, now_us: &dyn Fn() -> u64) { todo!() }
    pub fn evict_one(&mut self) -> Option<Evicted> { todo!() }
    pub fn free_some(&mut self, objects: usize) -> bool { todo!() }
    pub fn used_memory(&self) -> usize { todo!() }
}
