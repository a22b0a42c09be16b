//! Directives about the compact encodings: up to which size a value stays in one.

super::directive::section! {
    /// Thresholds of the compact encodings.
    Encodings in encodings {
        hash_max_listpack_entries: usize = 512, "hash-max-listpack-entries" / "hash-max-ziplist-entries", 0, int(0, LONG_MAX);
        hash_max_listpack_value: usize = 64, "hash-max-listpack-value" / "hash-max-ziplist-value", 0, memory(0, LONG_MAX);
        list_max_listpack_size: i32 = -2, "list-max-listpack-size" / "list-max-ziplist-size", 0, int(INT_MIN, INT_MAX);
        list_compress_depth: u32 = 0, "list-compress-depth", 0, int(0, INT_MAX);
        set_max_intset_entries: usize = 512, "set-max-intset-entries", 0, int(0, LONG_MAX);
        set_max_listpack_entries: usize = 128, "set-max-listpack-entries", 0, int(0, LONG_MAX);
        set_max_listpack_value: usize = 64, "set-max-listpack-value", 0, int(0, LONG_MAX);
        zset_max_listpack_entries: usize = 128, "zset-max-listpack-entries" / "zset-max-ziplist-entries", 0, int(0, LONG_MAX);
        zset_max_listpack_value: usize = 64, "zset-max-listpack-value" / "zset-max-ziplist-value", 0, memory(0, LONG_MAX);
        hll_sparse_max_bytes: usize = 3000, "hll-sparse-max-bytes", 0, memory(0, LONG_MAX);
        stream_node_max_bytes: usize = 4096, "stream-node-max-bytes", 0, memory(0, LONG_MAX);
        stream_node_max_entries: i64 = 100, "stream-node-max-entries", 0, int(0, LONG_MAX);
    }
}
