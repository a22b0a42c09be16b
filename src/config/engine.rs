//! Directives that only Gyre has: the shards, how snapshots are taken, and the memory of scripts.

use super::values::choices;
use crate::base::ShardCount;

choices! {
    /// How a snapshot is written.
    SnapshotMethod {
        /// By forked children, one a shard.
        Fork = "fork",
        /// By the shards themselves, between requests.
        Forkless = "forkless",
        /// Forked; forkless when a fork is refused or would stall a shard for too long.
        Auto = "auto",
    }
}

super::directive::section! {
    /// What Redis has no directive for. Tools try to set whatever `CONFIG GET *` shows them but the immutable directives
    /// that they know, so these are hidden.
    Engine in engine {
        shards: ShardCount = ShardCount::Auto, "shards", IMMUTABLE | HIDDEN, Rule::Any;
        shard_ports: bool = false, "shard-ports", IMMUTABLE | HIDDEN, Rule::Any;
        pipesavecommand: Vec<u8> = Vec::new(), "pipesavecommand", IMMUTABLE | HIDDEN, Rule::Any;
        snapshot_method: SnapshotMethod = SnapshotMethod::Auto, "snapshot-method", 0, Rule::Any;
        snapshot_fork_stall_max_ms: u32 = 100, "snapshot-fork-stall-max-ms", 0, int(0, INT_MAX);
        lua_memory_limit: u64 = 1 << 30, "lua-memory-limit", 0, memory(0, LONG_MAX);
        rdb_version: u16 = 11, "rdb-version", 0, int(10, 11);
    }
}
