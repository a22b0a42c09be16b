//! What a changed configuration means for one shard.

use std::sync::atomic::Ordering;

use super::scatter::Question;
use super::Shard;
use crate::store::Events;

/// Take over what has been published.
#[derive(Clone)]
pub struct RefreshConfig;

impl Question for RefreshConfig {
    type Answer = ();

    fn answer(self, shard: &mut Shard) {
        shard.refresh_config();
    }
}

impl Shard {
    /// Copies what the store needs to know out of the configuration in force.
    pub(super) fn apply_config(&mut self) {
        let memory = &self.turn.config.memory;
        let settings = &mut self.store.settings;
        settings.maxmemory = memory.maxmemory;
        settings.maxmemory_policy = memory.maxmemory_policy;
        settings.maxmemory_samples = memory.maxmemory_samples;
        settings.lfu_log_factor = memory.lfu_log_factor;
        settings.lfu_decay_time = memory.lfu_decay_time;
        settings.active_expire_effort = memory.active_expire_effort;
        settings.lazyfree_lazy_expire = memory.lazyfree_lazy_expire;
        settings.lazyfree_lazy_eviction = memory.lazyfree_lazy_eviction;
        settings.lazyfree_lazy_server_del = memory.lazyfree_lazy_server_del;
        // Of all shards together; each sets the same.
        let lua_bytes = usize::try_from(self.turn.config.engine.lua_memory_limit).unwrap_or(usize::MAX);
        crate::runtime::lua::guard::set_memory_limit(lua_bytes);
        let encodings = &self.turn.config.encodings;
        settings.hash_max_listpack_entries = encodings.hash_max_listpack_entries;
        settings.hash_max_listpack_value = encodings.hash_max_listpack_value;
        settings.list_max_listpack_size = encodings.list_max_listpack_size;
        settings.list_compress_depth = encodings.list_compress_depth;
        settings.set_max_intset_entries = encodings.set_max_intset_entries;
        settings.set_max_listpack_entries = encodings.set_max_listpack_entries;
        settings.set_max_listpack_value = encodings.set_max_listpack_value;
        settings.zset_max_listpack_entries = encodings.zset_max_listpack_entries;
        settings.zset_max_listpack_value = encodings.zset_max_listpack_value;
        settings.stream_node_max_bytes = encodings.stream_node_max_bytes;
        settings.stream_node_max_entries = encodings.stream_node_max_entries;
        settings.hll_sparse_max_bytes = encodings.hll_sparse_max_bytes;
        let classes = crate::config::get(&self.turn.config, &[b"notify-keyspace-events"]);
        let letters = classes.first().map(|(_, letters)| letters.as_slice()).unwrap_or_default();
        self.store.events.set_classes(Events::parse(letters).unwrap_or_default());
        self.stats.tracks_latency.store(self.turn.config.observing.latency_tracking, Ordering::Relaxed);
        self.journal.log.configure(&self.turn.config);
        self.executor.slow_log_changed(&self.turn);
        self.subscribers.limit_tracking(&self.turn, &mut self.store, &mut self.peers, &mut self.journal);
        self.evict_some();
        self.client_memory_changed();
        self.replication_config_changed();
        let limits = &self.turn.config.network.client_output_buffer_limit;
        let (normal, pubsub) = (limits.normal.hard_bytes, limits.pubsub.hard_bytes);
        self.executor.reply_bytes_max = if normal.min(pubsub) == 0 { 0 } else { normal.max(pubsub) as usize };
    }
}
