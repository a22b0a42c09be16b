//! Gyre: a Redis-compatible in-memory data store for Linux, one io_uring shard per core.
//!
//! The folders read from the outside in: `server` boots the shards, `shard` is where one shard's parts meet,
//! `client` holds one connection, `txn` decides which shards a command needs, `command` runs it on the shard that owns its keys,
//! `migrate` carries keys to other servers, `net` asks them, `store` is the keyspace of one shard, `base` is what all need. A room uses only the
//! rooms below it (`tests/arrows.rs` has the floors); `command` and `store` do no I/O. `ARCHITECTURE.md` follows requests through them.

#![deny(unsafe_code)]

mod acl;
pub mod base;
mod client;
pub mod command;
pub mod config;
mod control;
pub mod journal;
mod migrate;
mod net;
pub mod observe;
pub mod persist;
mod process;
pub mod rdb;
mod recovery;
mod repl;
mod replication;
pub mod resp;
#[allow(unsafe_code)]
pub mod runtime;
mod script;
pub mod server;
mod shard;
pub mod slots;
mod snapshot;
#[allow(unsafe_code)]
pub mod store;
mod txn;

/// Gyre's own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The allocator, as INFO and `--version` name it.
pub const ALLOCATOR: &str = "mimalloc";

/// The commit that it was built from: not known, as with Redis built from an archive.
pub const GIT_SHA1: &str = "00000000";

/// A number that other versions have not, as INFO and `--version` show it: FNV-1a of what the version says.
pub const BUILD_ID: u64 = {
    const fn hash(text: &[u8], mut hash: u64) -> u64 {
        let mut at = 0;
        while at < text.len() {
            hash = (hash ^ text[at] as u64).wrapping_mul(0x100_0000_01b3);
            at += 1;
        }
        hash
    }
    hash(VERSION.as_bytes(), hash(b"gyre ", hash(REDIS_VERSION.as_bytes(), 0xcbf2_9ce4_8422_2325)))
};

/// What `--version` prints: redis-server's line, which tools read, with Gyre's version after it.
pub fn version_line() -> String {
    let bits = usize::BITS;
    format!(
        "Redis server v={REDIS_VERSION} sha={GIT_SHA1}:0 malloc={ALLOCATOR} bits={bits} build={BUILD_ID:x} gyre={VERSION}"
    )
}

/// The version of Redis whose behaviour this is; clients choose features by it.
pub const REDIS_VERSION: &str = "7.2.6";
