//! Directives about RDB snapshots and the append-only file.

use super::lists::SavePoints;
use super::validate;
use super::values::choices;
use std::path::PathBuf;

choices! {
    /// When the append-only file is forced to disk.
    AppendFsync {
        EverySecond = "everysec",
        Always = "always",
        No = "no",
    }
}

choices! {
    /// How thoroughly an RDB or RESTORE payload is checked.
    SanitizeDumpPayload {
        No = "no",
        Yes = "yes",
        /// RESTORE from clients only.
        Clients = "clients",
    }
}

super::directive::section! {
    /// What is kept on disk, and how.
    Persistence in persistence {
        save: SavePoints = SavePoints::default(), "save", MULTI, Rule::Any;
        dbfilename: PathBuf = "dump.rdb".into(), "dbfilename", PROTECTED, Rule::Check(validate::dbfilename);
        rdbcompression: bool = true, "rdbcompression", 0, Rule::Any;
        rdbchecksum: bool = true, "rdbchecksum", IMMUTABLE, Rule::Any;
        rdb_del_sync_files: bool = false, "rdb-del-sync-files", 0, Rule::Any;
        rdb_save_incremental_fsync: bool = true, "rdb-save-incremental-fsync", 0, Rule::Any;
        rdb_key_save_delay: i32 = 0, "rdb-key-save-delay", HIDDEN, int(INT_MIN, INT_MAX);
        key_load_delay: i32 = 0, "key-load-delay", HIDDEN, int(INT_MIN, INT_MAX);
        loading_process_events_interval_bytes: u32 = 2 * 1024 * 1024, "loading-process-events-interval-bytes", HIDDEN, int(1024, INT_MAX);
        sanitize_dump_payload: SanitizeDumpPayload = SanitizeDumpPayload::No, "sanitize-dump-payload", 0, Rule::Any;
        stop_writes_on_bgsave_error: bool = true, "stop-writes-on-bgsave-error", 0, Rule::Any;
        appendonly: bool = false, "appendonly", DENY_LOADING, Rule::Any;
        appendfilename: PathBuf = "appendonly.aof".into(), "appendfilename", IMMUTABLE, Rule::Check(validate::appendfilename);
        appenddirname: PathBuf = "appendonlydir".into(), "appenddirname", IMMUTABLE, Rule::Check(validate::appenddirname);
        appendfsync: AppendFsync = AppendFsync::EverySecond, "appendfsync", 0, Rule::Any;
        no_appendfsync_on_rewrite: bool = false, "no-appendfsync-on-rewrite", 0, Rule::Any;
        auto_aof_rewrite_percentage: u32 = 100, "auto-aof-rewrite-percentage", 0, int(0, INT_MAX);
        auto_aof_rewrite_min_size: u64 = 64 * 1024 * 1024, "auto-aof-rewrite-min-size", 0, memory(0, LONG_MAX);
        aof_rewrite_incremental_fsync: bool = true, "aof-rewrite-incremental-fsync", 0, Rule::Any;
        aof_load_truncated: bool = true, "aof-load-truncated", 0, Rule::Any;
        aof_use_rdb_preamble: bool = true, "aof-use-rdb-preamble", 0, Rule::Any;
        aof_timestamp_enabled: bool = false, "aof-timestamp-enabled", 0, Rule::Any;
        aof_disable_auto_gc: bool = false, "aof-disable-auto-gc", HIDDEN, Rule::Any;
    }
}
