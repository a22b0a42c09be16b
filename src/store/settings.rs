//! The configuration that the keyspace obeys, copied in by its owner, and the counts that it reports.

/// `maxmemory-policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaxmemoryPolicy {
    #[default]
    NoEviction,
    AllKeysLru,
    AllKeysLfu,
    AllKeysRandom,
    VolatileLru,
    VolatileLfu,
    VolatileRandom,
    VolatileTtl,
}

impl MaxmemoryPolicy {
    /// With their words in redis.conf, in the order in which an error lists them.
    pub const WORDS: &'static [(&'static str, MaxmemoryPolicy)] = &[
        ("volatile-lru", MaxmemoryPolicy::VolatileLru),
        ("volatile-lfu", MaxmemoryPolicy::VolatileLfu),
        ("volatile-random", MaxmemoryPolicy::VolatileRandom),
        ("volatile-ttl", MaxmemoryPolicy::VolatileTtl),
        ("allkeys-lru", MaxmemoryPolicy::AllKeysLru),
        ("allkeys-lfu", MaxmemoryPolicy::AllKeysLfu),
        ("allkeys-random", MaxmemoryPolicy::AllKeysRandom),
        ("noeviction", MaxmemoryPolicy::NoEviction),
    ];

    /// As written in redis.conf.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, policy)| *policy == self).map_or("", |(word, _)| word)
    }

    #[inline]
    pub const fn is_lfu(self) -> bool {
        matches!(self, MaxmemoryPolicy::AllKeysLfu | MaxmemoryPolicy::VolatileLfu)
    }

    pub const fn is_lru(self) -> bool {
        matches!(self, MaxmemoryPolicy::AllKeysLru | MaxmemoryPolicy::VolatileLru)
    }

    /// Only keys with an expiry may be evicted.
    pub const fn is_volatile(self) -> bool {
        matches!(
            self,
            MaxmemoryPolicy::VolatileLru
                | MaxmemoryPolicy::VolatileLfu
                | MaxmemoryPolicy::VolatileRandom
                | MaxmemoryPolicy::VolatileTtl
        )
    }
}

/// Limits and policies copied from the configuration; changed at run time between commands. Named as their directives.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes, of the whole server; 0: no limit. Here it only decides what OBJECT REFCOUNT shows for small integers.
    pub maxmemory: u64,
    pub maxmemory_policy: MaxmemoryPolicy,
    pub maxmemory_samples: u32,
    pub lfu_log_factor: u32,
    /// Minutes.
    pub lfu_decay_time: u32,
    /// 1 to 10.
    pub active_expire_effort: u32,
    /// DEBUG SET-ACTIVE-EXPIRE.
    pub active_expire: bool,
    /// This one and the next two tell whoever logs such deletions to write UNLINK instead of DEL. Large values are freed
    /// in steps either way.
    pub lazyfree_lazy_expire: bool,
    pub lazyfree_lazy_eviction: bool,
    pub lazyfree_lazy_server_del: bool,
    /// Elements; as the following, up to which a collection stays packed.
    pub hash_max_listpack_entries: usize,
    /// Bytes.
    pub hash_max_listpack_value: usize,
    /// Elements of a node when positive, a class of sizes when negative.
    pub list_max_listpack_size: i32,
    /// Nodes at each end that are not compressed; 0: none is.
    pub list_compress_depth: u32,
    /// DEBUG QUICKLIST-PACKED-THRESHOLD: elements of so many bytes get a node of their own in a large list.
    pub quicklist_packed_threshold: usize,
    /// DEBUG SET-SKIP-CHECKSUM-VALIDATION: payloads and files are read whatever their checksums are.
    pub skips_checksums: bool,
    pub set_max_intset_entries: usize,
    pub set_max_listpack_entries: usize,
    /// Bytes.
    pub set_max_listpack_value: usize,
    pub zset_max_listpack_entries: usize,
    /// Bytes.
    pub zset_max_listpack_value: usize,
    /// Bytes; 0: no limit.
    pub stream_node_max_bytes: usize,
    /// Entries; 0: no limit.
    pub stream_node_max_entries: i64,
    /// Bytes.
    pub hll_sparse_max_bytes: usize,
}

impl Settings {
    /// The threshold when nobody has changed it, bytes.
    pub const QUICKLIST_PACKED_THRESHOLD: usize = 1 << 30;
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            maxmemory: 0,
            maxmemory_policy: MaxmemoryPolicy::NoEviction,
            maxmemory_samples: 5,
            lfu_log_factor: 10,
            lfu_decay_time: 1,
            active_expire_effort: 1,
            active_expire: true,
            lazyfree_lazy_expire: false,
            lazyfree_lazy_eviction: false,
            lazyfree_lazy_server_del: false,
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: 64,
            list_max_listpack_size: -2,
            list_compress_depth: 0,
            quicklist_packed_threshold: Settings::QUICKLIST_PACKED_THRESHOLD,
            skips_checksums: false,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
            hll_sparse_max_bytes: 3000,
        }
    }
}

/// What INFO tells about this keyspace. Counts are since the start or the last CONFIG RESETSTAT.
#[derive(Clone, Debug, Default)]
pub struct StoreStats {
    pub keyspace_hits: u64,
    pub keyspace_misses: u64,
    pub expired_keys: u64,
    pub evicted_keys: u64,
    /// Estimated share of keys that have expired but are not deleted yet, percent.
    pub expired_stale_perc: f64,
    /// Expiry cycles that ended because their time was up.
    pub expired_time_cap_reached_count: u64,
    /// Objects and entries freed by `free_some`.
    pub lazyfreed_objects: u64,
}
