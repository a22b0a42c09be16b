//! Directives about memory: its limit, eviction, expiry, freeing, and the thresholds of the compact encodings.

use super::special::ActiveDefrag;
use super::values::choice;
pub use crate::store::MaxmemoryPolicy;

choice!(MaxmemoryPolicy);

super::directive::section! {
    /// The limit of memory and how it is kept.
    Memory in memory {
        maxmemory: u64 = 0, "maxmemory", 0, memory(0, ULONG_MAX);
        maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::NoEviction, "maxmemory-policy", 0, Rule::Any;
        maxmemory_samples: u32 = 5, "maxmemory-samples", 0, int(1, INT_MAX);
        maxmemory_eviction_tenacity: u32 = 10, "maxmemory-eviction-tenacity", 0, int(0, 100);
        lfu_log_factor: u32 = 10, "lfu-log-factor", 0, int(0, INT_MAX);
        lfu_decay_time: u32 = 1, "lfu-decay-time", 0, int(0, INT_MAX);
        active_expire_effort: u32 = 1, "active-expire-effort", 0, int(1, 10);
        lazyfree_lazy_eviction: bool = false, "lazyfree-lazy-eviction", 0, Rule::Any;
        lazyfree_lazy_expire: bool = false, "lazyfree-lazy-expire", 0, Rule::Any;
        lazyfree_lazy_server_del: bool = false, "lazyfree-lazy-server-del", 0, Rule::Any;
        lazyfree_lazy_user_del: bool = false, "lazyfree-lazy-user-del", 0, Rule::Any;
        lazyfree_lazy_user_flush: bool = false, "lazyfree-lazy-user-flush", 0, Rule::Any;
        activerehashing: bool = true, "activerehashing", NO_EFFECT, Rule::Any;
        jemalloc_bg_thread: bool = true, "jemalloc-bg-thread", NO_EFFECT, Rule::Any;
        activedefrag: ActiveDefrag = ActiveDefrag(false), "activedefrag", NO_EFFECT, Rule::Any;
        active_defrag_cycle_min: u32 = 1, "active-defrag-cycle-min", NO_EFFECT, int(1, 99);
        active_defrag_cycle_max: u32 = 25, "active-defrag-cycle-max", NO_EFFECT, int(1, 99);
        active_defrag_threshold_lower: u32 = 10, "active-defrag-threshold-lower", NO_EFFECT, int(0, 1000);
        active_defrag_threshold_upper: u32 = 100, "active-defrag-threshold-upper", NO_EFFECT, int(0, 1000);
        active_defrag_ignore_bytes: usize = 100 << 20, "active-defrag-ignore-bytes", NO_EFFECT, memory(1, LONG_MAX);
        active_defrag_max_scan_fields: u64 = 1000, "active-defrag-max-scan-fields", NO_EFFECT, int(1, LONG_MAX);
    }
}
