//! Directives about replication.

use super::lists::ReplicaOf;
use super::values::choices;

choices! {
    /// What a replica does with its data while it loads a diskless snapshot.
    ReplDisklessLoad {
        Disabled = "disabled",
        OnEmptyDb = "on-empty-db",
        SwapDb = "swapdb",
        FlushDb = "flushdb",
        FlushBeforeLoad = "flush-before-load",
    }
}

choices! {
    /// What happens when an error meets the stream from a master or the append-only file.
    PropagationErrorBehavior {
        Ignore = "ignore",
        Panic = "panic",
        PanicOnReplicas = "panic-on-replicas",
    }
}

super::directive::section! {
    /// Masters and replicas.
    Replication in replication {
        replicaof: Option<ReplicaOf> = None, "replicaof" / "slaveof", IMMUTABLE | MULTI, Rule::Any;
        masteruser: Option<Vec<u8>> = None, "masteruser", SENSITIVE, Rule::Any;
        masterauth: Option<Vec<u8>> = None, "masterauth", SENSITIVE, Rule::Any;
        replica_announce_ip: Option<Vec<u8>> = None, "replica-announce-ip" / "slave-announce-ip", 0, Rule::Any;
        replica_announce_port: u16 = 0, "replica-announce-port" / "slave-announce-port", 0, int(0, 65535);
        replica_announced: bool = true, "replica-announced", 0, Rule::Any;
        replica_priority: u32 = 100, "replica-priority" / "slave-priority", 0, int(0, INT_MAX);
        replica_read_only: bool = true, "replica-read-only" / "slave-read-only", 0, Rule::Any;
        replica_serve_stale_data: bool = true, "replica-serve-stale-data" / "slave-serve-stale-data", 0, Rule::Any;
        replica_lazy_flush: bool = false, "replica-lazy-flush" / "slave-lazy-flush", 0, Rule::Any;
        replica_ignore_maxmemory: bool = true, "replica-ignore-maxmemory" / "slave-ignore-maxmemory", 0, Rule::Any;
        replica_ignore_disk_write_errors: bool = false, "replica-ignore-disk-write-errors", 0, Rule::Any;
        repl_backlog_size: u64 = 1024 * 1024, "repl-backlog-size", 0, memory(1, LONG_MAX);
        repl_backlog_ttl: u64 = 3600, "repl-backlog-ttl", 0, int(0, LONG_MAX);
        repl_timeout: u32 = 60, "repl-timeout", 0, int(1, INT_MAX);
        repl_ping_replica_period: u32 = 10, "repl-ping-replica-period" / "repl-ping-slave-period", 0, int(1, INT_MAX);
        repl_disable_tcp_nodelay: bool = false, "repl-disable-tcp-nodelay", 0, Rule::Any;
        repl_diskless_sync: bool = true, "repl-diskless-sync", 0, Rule::Any;
        repl_diskless_sync_delay: u32 = 5, "repl-diskless-sync-delay", 0, int(0, INT_MAX);
        repl_diskless_sync_max_replicas: u32 = 0, "repl-diskless-sync-max-replicas", 0, int(0, INT_MAX);
        repl_diskless_load: ReplDisklessLoad = ReplDisklessLoad::Disabled, "repl-diskless-load", DENY_LOADING, Rule::Any;
        min_replicas_to_write: u32 = 0, "min-replicas-to-write" / "min-slaves-to-write", 0, int(0, INT_MAX);
        min_replicas_max_lag: u32 = 10, "min-replicas-max-lag" / "min-slaves-max-lag", 0, int(0, INT_MAX);
        propagation_error_behavior: PropagationErrorBehavior = PropagationErrorBehavior::Ignore, "propagation-error-behavior", 0, Rule::Any;
    }
}
