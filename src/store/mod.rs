//! The keyspace of one shard: databases, their per-slot tables, entries, expiry and eviction.
//!
//! Nothing here does I/O, reads a clock, or knows that other shards exist. Time is given once per turn of
//! the shard's loop (`set_time`), so that every command of a turn sees the same instant.

mod changes;
mod clock;
mod collection;
mod database;
mod database_ops;
mod entry;
mod events;
mod evict;
mod exchange;
mod expire;
mod guard;
mod hash;
mod keyspace;
mod lazyfree;
mod list;
pub(crate) mod listpack;
mod lookup;
pub(crate) mod lzf;
pub mod members;
mod memory;
mod object;
mod prefetch;
mod random;
mod set;
mod settings;
mod slot;
mod slot_counts;
mod snapshot;
mod sorted_set;
pub mod stream;
mod strings;
pub mod table;
mod tables;
#[cfg(test)]
mod tests;
mod value;
mod waiting;
mod watch;

pub use changes::{Change, Changes};
pub use clock::Clock;
pub use collection::{Collection, Tools, Updated};
pub use database_ops::{KeyView, Usage, Visit};
pub use events::{EventClass, Events, KeyspaceEvent};
pub use evict::{Evicted, Eviction};
pub use expire::ExpireCycle;
pub use guard::Guard;
pub use hash::{Hash, HashIter, HashView};
pub use keyspace::Description;
pub use list::{End, List, ListView, NodeItems, Side};
pub use lookup::Store;
pub use object::{Object, SharedString};
pub use prefetch::{Known, Prefetched, Upcoming, UPCOMING_MAX};
pub use random::Rng;
pub use set::{Integers, Set, SetIter, SetView};
pub use settings::{MaxmemoryPolicy, Settings, StoreStats};
pub use slot::{slot_of, SlotSet, SLOTS};
pub use snapshot::{SaveKeys, SnapshotBuffer, SnapshotOpen, SnapshotOptions, SnapshotProgress};
pub use sorted_set::{
    element_order, AddRule, Added, Elements, LexBound, LexRange, Score, ScoreRange, SortedSet, SortedSetView,
};
pub use stream::Stream;
pub use value::{
    parse_integer, Detached, Encoding, Kind, NotInteger, StringBuf, Ttl, Value, ValueType, WrongType,
};
pub use waiting::{QueuePosition, ReadyKey, WaitNumber, Waiting};
pub use watch::{WatchFlag, Watches};
