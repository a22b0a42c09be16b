//! The keyspace of one shard: databases, their per-slot tables, entries, expiry and eviction.
//!
//! Nothing here does I/O, reads a clock, or knows that other shards exist. Time is given once per turn of
//! the shard's loop (`set_time`), so that every command of a turn sees the same instant.

mod database;
mod entry;
mod events;
mod evict;
mod expire;
mod slot;
mod table;
mod value;
mod watch;

pub use events::{EventClass, Events, KeyspaceEvent};
pub use expire::ExpireCycle;
pub use slot::{slot_of, SlotRange, SLOTS};
pub use value::{Encoding, Kind, Ttl, Value, ValueType};
pub use watch::{WatchFlag, Watches};
