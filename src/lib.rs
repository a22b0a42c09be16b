//! Gyre: a Redis-compatible in-memory data store for Linux, one io_uring shard per core.
//!
//! The folders read from the outside in: `server` boots the shards, `shard` is where one shard's parts meet,
//! `client` holds one connection, `txn` decides which shards a command needs, `command` runs it on the shard that owns its keys,
//! `migrate` carries keys to other servers, `store` is the keyspace of one shard, `base` is what all need. A room uses only the
//! rooms below it (`tests/arrows.rs` has the floors); `command` and `store` do no I/O. `ARCHITECTURE.md` follows requests through them.

#![deny(unsafe_code)]

pub mod acl;
pub mod base;
pub mod client;
pub mod command;
pub mod config;
pub mod migrate;
pub mod observe;
pub mod persist;
pub mod process;
pub mod rdb;
pub mod recovery;
pub mod resp;
#[allow(unsafe_code)]
pub mod runtime;
pub mod script;
pub mod server;
pub mod shard;
#[allow(unsafe_code)]
pub mod store;
pub mod txn;

/// Gyre's own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of Redis whose behaviour this is; clients choose features by it.
pub const REDIS_VERSION: &str = "7.2.6";
