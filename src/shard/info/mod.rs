//! INFO: the sections and fields of Redis 7.2 in their order, `gyre_version`, and a section about the shards.
//!
//! Figures are sums over the shards' counters, which any thread may read; the caller has let the shards publish
//! their gauges just before. Fields about what this server does not have are there, with the value for "none", so
//! that tools find them.

/// Reports values under their names.
macro_rules! fields {
    ($report:expr, $($name:literal: $value:expr,)*) => {
        $( $report.put($name, $value); )*
    };
}

mod persistence;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::memory_figures::{human, Memory};
use super::shared::Shared;
use crate::command::table::{self, CommandSpec};
use crate::config::{percentile_text, Config};
use crate::observe::histogram::Distribution;
use crate::observe::metrics::{self, Metric, Report, Value};
use crate::observe::stats::{Counter, ShardStats};
use crate::runtime::sys::{self, CpuOf};
use crate::text;

/// LRU clocks count seconds in so many bits.
const LRU_CLOCK_MASK: i64 = (1 << 24) - 1;
const DAY_S: i64 = 24 * 3600;
/// Bytes that would break a line of INFO or a field; `_` stands in their place.
const UNSAFE: &[u8] = b"#:\n\r";

struct Section {
    /// As clients ask for it.
    names: &'static [&'static str],
    title: &'static str,
    /// When it is shown without being asked for by name.
    shown: Shown,
    /// What the table of metrics has of it.
    metrics: &'static [Metric],
    write: fn(&Facts, &mut Report),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shown {
    /// Always, without arguments too.
    Default,
    /// In `all`.
    All,
    /// In `everything`.
    Everything,
    ByName,
}

const fn section(
    names: &'static [&'static str],
    title: &'static str,
    shown: Shown,
    metrics: &'static [Metric],
    write: fn(&Facts, &mut Report),
) -> Section {
    Section { names, title, shown, metrics, write }
}

const SECTIONS: &[Section] = &[
    section(&["server"], "Server", Shown::Default, metrics::SERVER, server),
    section(&["clients"], "Clients", Shown::Default, metrics::CLIENTS, clients),
    section(&["memory"], "Memory", Shown::Default, metrics::MEMORY, memory),
    section(&["persistence"], "Persistence", Shown::Default, metrics::PERSISTENCE, persistence::write),
    section(&["stats"], "Stats", Shown::Default, metrics::STATS, stats),
    section(&["replication"], "Replication", Shown::Default, metrics::REPLICATION, replication),
    section(&["cpu"], "CPU", Shown::Default, metrics::CPU, cpu),
    section(&["modules", "module_list"], "Modules", Shown::Default, &[], |_, _| {}),
    section(&["commandstats"], "Commandstats", Shown::All, &[], command_stats),
    section(&["errorstats"], "Errorstats", Shown::Default, &[], error_stats),
    section(&["latencystats"], "Latencystats", Shown::All, &[], latency_stats),
    section(&["cluster"], "Cluster", Shown::Default, metrics::CLUSTER, cluster),
    section(&["keyspace"], "Keyspace", Shown::Default, &[], keyspace),
    section(&["shards"], "Shards", Shown::Everything, metrics::SHARDS, shards),
    section(&["debug"], "Debug", Shown::ByName, metrics::DEBUG, debug),
];

/// What the sections are written from.
struct Facts<'a> {
    shared: &'a Shared,
    config: &'a Config,
    now_us: i64,
}

impl Facts<'_> {
    fn sum(&self, counter: fn(&ShardStats) -> &Counter) -> u64 {
        self.shared.stats.iter().map(|stats| counter(stats).get()).sum()
    }

    fn max(&self, counter: fn(&ShardStats) -> &Counter) -> u64 {
        self.shared.stats.iter().map(|stats| counter(stats).get()).max().unwrap_or(0)
    }

    fn uptime_s(&self) -> i64 {
        (self.now_us / 1000 - self.shared.started_ms) / 1000
    }
}

/// The sections that `wanted` names, in any case; the default ones when it names none.
pub fn text(shared: &Shared, config: &Config, now_us: i64, wanted: &[&[u8]]) -> Vec<u8> {
    let facts = Facts { shared, config, now_us };
    let asked = |name: &str| wanted.iter().any(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    let level = if asked("everything") {
        Some(Shown::Everything)
    } else if asked("all") {
        Some(Shown::All)
    } else if wanted.is_empty() || asked("default") {
        Some(Shown::Default)
    } else {
        None
    };
    let mut text = Vec::new();
    for section in SECTIONS {
        if level.is_some_and(|level| section.shown <= level) || section.names.iter().any(|name| asked(name)) {
            if !text.is_empty() {
                text.extend_from_slice(b"\r\n");
            }
            let _ = write!(text, "# {}\r\n", section.title);
            let mut report = Report::new(section.metrics);
            (section.write)(&facts, &mut report);
            report.put_info(&mut text);
        }
    }
    text
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn server(facts: &Facts, report: &mut Report) {
    let config = facts.config;
    let settings = facts.shared.settings();
    fields! { report,
        "redis_version": crate::REDIS_VERSION,
        "redis_git_sha1": crate::GIT_SHA1,
        "redis_git_dirty": 0,
        "redis_build_id": format!("{:x}", crate::BUILD_ID),
        "gyre_version": crate::VERSION,
        "redis_mode": "standalone",
        "os": sys::system_name(),
        "arch_bits": usize::BITS,
        "monotonic_clock": "X86 TSC or POSIX clock_gettime",
        "multiplexing_api": "io_uring",
        "atomicvar_api": "c11-builtin",
        "gcc_version": "0.0.0",
        "process_id": std::process::id(),
        "process_supervised": settings.supervisor,
        "run_id": facts.shared.run_id.as_str(),
        "tcp_port": facts.shared.port.load(Ordering::Relaxed),
        "server_time_usec": facts.now_us,
        "uptime_in_seconds": facts.uptime_s(),
        "uptime_in_days": facts.uptime_s() / DAY_S,
        "hz": config.general.hz,
        "configured_hz": config.general.hz,
        "lru_clock": (facts.now_us / 1_000_000) & LRU_CLOCK_MASK,
        "executable": text!(settings.executable),
        "config_file": settings.file.as_ref().map(|file| text!(file)).unwrap_or_default(),
        "io_threads_active": 0,
    }
    listeners(config, report);
}

/// `listener0:name=tcp,bind=127.0.0.1,bind=-::1,port=6379`
fn listeners(config: &Config, report: &mut Report) {
    let network = &config.network;
    let mut number = 0;
    if network.port != 0 {
        let mut line = format!("listener{number}:name=tcp,").into_bytes();
        network.bind.0.iter().for_each(|address| line.extend_from_slice(&text!("bind=", address, ",")));
        line.extend(format!("port={}", network.port).into_bytes());
        report.line(line);
        number += 1;
    }
    if let Some(path) = &network.unixsocket {
        report.line(text!(format_args!("listener{number}:name=unix,bind="), path).into_bytes());
    }
}

fn clients(facts: &Facts, report: &mut Report) {
    fields! { report,
        "connected_clients": facts.sum(|s| &s.clients),
        "cluster_connections": 0,
        "maxclients": facts.config.network.maxclients,
        "client_recent_max_input_buffer": facts.max(|s| &s.input_buffer_max),
        "client_recent_max_output_buffer": facts.max(|s| &s.output_buffer_max),
        "blocked_clients": facts.sum(|s| &s.blocked_clients),
        "tracking_clients": facts.sum(|s| &s.tracking_clients),
        "clients_in_timeout_table": facts.sum(|s| &s.clients_in_timeout),
        "total_blocking_keys": facts.sum(|s| &s.blocking_keys),
        "total_blocking_keys_on_nokey": facts.sum(|s| &s.blocking_keys_on_nokey),
    }
}

fn memory(facts: &Facts, report: &mut Report) {
    let memory = Memory::now(facts.shared);
    let system = sys::memory_bytes();
    let limits = &facts.config.memory;
    let (allocator, resident, all) =
        (memory.allocator_fragmentation(), memory.allocator_resident(), memory.fragmentation());
    let vm = crate::runtime::lua::guard::memory_used() as u64;
    let (scripts, script_bytes) = facts.shared.scripts.size();
    let libraries = facts.shared.scripts.libraries();
    let library_bytes = libraries.memory_bytes();
    let replication = &facts.shared.replication.status;
    fields! { report,
        "used_memory": memory.used,
        "used_memory_human": human(memory.used),
        "used_memory_rss": memory.resident,
        "used_memory_rss_human": human(memory.resident),
        "used_memory_peak": memory.peak,
        "used_memory_peak_human": human(memory.peak),
        "used_memory_peak_perc": Value::Percent(memory.peak_percent()),
        "used_memory_overhead": memory.overhead(),
        "used_memory_startup": memory.startup,
        "used_memory_dataset": memory.dataset,
        "used_memory_dataset_perc": Value::Percent(memory.dataset_percent()),
        "allocator_allocated": memory.used,
        "allocator_active": memory.active,
        "allocator_resident": memory.resident,
        "total_system_memory": system,
        "total_system_memory_human": human(system),
        "used_memory_lua": vm,
        "used_memory_vm_eval": vm,
        "used_memory_lua_human": human(vm),
        "used_memory_scripts_eval": script_bytes,
        "number_of_cached_scripts": scripts,
        "number_of_functions": libraries.functions_count(),
        "number_of_libraries": libraries.libraries_count(),
        "used_memory_vm_functions": 0,
        "used_memory_vm_total": vm,
        "used_memory_vm_total_human": human(vm),
        "used_memory_functions": library_bytes,
        "used_memory_scripts": script_bytes + library_bytes,
        "used_memory_scripts_human": human((script_bytes + library_bytes) as u64),
        "maxmemory": limits.maxmemory,
        "maxmemory_human": human(limits.maxmemory),
        "maxmemory_policy": limits.maxmemory_policy.word(),
        "allocator_frag_ratio": Value::Ratio(allocator.ratio),
        "allocator_frag_bytes": allocator.bytes,
        "allocator_rss_ratio": Value::Ratio(resident.ratio),
        "allocator_rss_bytes": resident.bytes,
        "rss_overhead_ratio": Value::Ratio(1.0),
        "rss_overhead_bytes": 0,
        "mem_fragmentation_ratio": Value::Ratio(all.ratio),
        "mem_fragmentation_bytes": all.bytes,
        "mem_not_counted_for_evict": 0,
        "mem_replication_backlog": count(&replication.memory.backlog),
        "mem_total_replication_buffers": count(&replication.memory.buffers),
        "mem_clients_slaves": count(&replication.memory.replicas),
        "mem_clients_normal": memory.clients,
        "mem_cluster_links": 0,
        "mem_aof_buffer": facts.sum(|s| &s.aof_buffer_length),
        "mem_allocator": crate::ALLOCATOR,
        "active_defrag_running": 0,
        "lazyfree_pending_objects": facts.sum(|s| &s.lazyfree_pending),
        "lazyfreed_objects": facts.sum(|s| &s.lazyfreed),
    }
}

fn stats(facts: &Facts, report: &mut Report) {
    let rates = facts.shared.server_stats.rates();
    let replication = &facts.shared.replication.status;
    let saving = facts.shared.status.figures().clone();
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    let command_nanos: u64 =
        facts.shared.stats.iter().flat_map(|stats| &stats.commands).map(|command| command.nanos.get()).sum();
    let shards = facts.shared.stats.len().max(1) as u64;
    fields! { report,
        "total_connections_received": facts.sum(|s| &s.connections_received),
        "total_commands_processed": facts.sum(|s| &s.commands_processed),
        "instantaneous_ops_per_sec": rates.commands.mean(),
        "total_net_input_bytes": facts.sum(|s| &s.bytes_in),
        "total_net_output_bytes": facts.sum(|s| &s.bytes_out),
        "total_net_repl_input_bytes": count(&replication.counts.bytes_in),
        "total_net_repl_output_bytes": count(&replication.counts.bytes_out),
        "instantaneous_input_kbps": Value::Ratio(kib(rates.bytes_in.mean())),
        "instantaneous_output_kbps": Value::Ratio(kib(rates.bytes_out.mean())),
        "instantaneous_input_repl_kbps": Value::Ratio(0.0),
        "instantaneous_output_repl_kbps": Value::Ratio(0.0),
        "rejected_connections": facts.sum(|s| &s.connections_rejected),
        "sync_full": count(&replication.counts.sync_full),
        "sync_partial_ok": count(&replication.counts.sync_partial_ok),
        "sync_partial_err": count(&replication.counts.sync_partial_err),
        "expired_keys": facts.sum(|s| &s.expired_keys),
        // A share of each shard's keys, and the shards hold about the same number.
        "expired_stale_perc": Value::Ratio(facts.sum(|s| &s.expired_stale_permille) as f64 / 10.0 / shards as f64),
        "expired_time_cap_reached_count": facts.sum(|s| &s.expired_time_cap_reached),
        "expire_cycle_cpu_milliseconds": facts.sum(|s| &s.expire_cycle_us) / 1000,
        "evicted_keys": facts.sum(|s| &s.evicted_keys),
        "evicted_clients": facts.sum(|s| &s.evicted_clients),
        "total_eviction_exceeded_time": 0,
        "current_eviction_exceeded_time": 0,
        "keyspace_hits": facts.sum(|s| &s.keyspace_hits),
        "keyspace_misses": facts.sum(|s| &s.keyspace_misses),
        "pubsub_channels": facts.sum(|s| &s.pubsub_channels),
        "pubsub_patterns": facts.shared.stats[0].pubsub_patterns.get(),
        "pubsubshard_channels": facts.sum(|s| &s.pubsub_shard_channels),
        "latest_fork_usec": saving.last_fork_us,
        "total_forks": saving.forks,
        "migrate_cached_sockets": facts.shared.migrator.idle_links(),
        "slave_expires_tracked_keys": 0,
        "active_defrag_hits": 0,
        "active_defrag_misses": 0,
        "active_defrag_key_hits": 0,
        "active_defrag_key_misses": 0,
        "total_active_defrag_time": 0,
        "current_active_defrag_time": 0,
        "tracking_total_keys": facts.sum(|s| &s.tracking_keys),
        "tracking_total_items": facts.sum(|s| &s.tracking_items),
        "tracking_total_prefixes": facts.shared.stats[0].tracking_prefixes.get(),
        "unexpected_error_replies": 0,
        "total_error_replies": facts.sum(|s| &s.error_replies),
        "dump_payload_sanitizations": 0,
        "total_reads_processed": facts.sum(|s| &s.reads),
        "total_writes_processed": facts.sum(|s| &s.writes),
        "io_threaded_reads_processed": 0,
        "io_threaded_writes_processed": 0,
        "reply_buffer_shrinks": 0,
        "reply_buffer_expands": 0,
        "eventloop_cycles": facts.sum(|s| &s.loop_turns),
        "eventloop_duration_sum": facts.sum(|s| &s.loop_nanos) / 1000,
        "eventloop_duration_cmd_sum": command_nanos / 1000,
        // Of one shard's loop.
        "instantaneous_eventloop_cycles_per_sec": rates.loop_turns.mean() / shards,
        "instantaneous_eventloop_duration_usec": rates.turn_us.mean(),
        "acl_access_denied_auth": facts.sum(|s| &s.refused_logins),
        "acl_access_denied_cmd": facts.sum(|s| &s.denied_commands),
        "acl_access_denied_key": facts.sum(|s| &s.denied_keys),
        "acl_access_denied_channel": facts.sum(|s| &s.denied_channels),
    }
}

/// As the task of replication shows it.
fn replication(facts: &Facts, report: &mut Report) {
    let shown = facts.shared.replication.status.shown();
    for line in shown.info.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // A host may be bytes that are no text.
        let metric = std::str::from_utf8(line).ok().and_then(|text| text.split_once(':'));
        match metric.filter(|(name, _)| metrics::REPLICATION.iter().any(|metric| metric.name == *name)) {
            // An id of zeros is no number.
            Some((name, value)) => match value.parse::<i64>() {
                Ok(number) if number.to_string() == value => report.put(name, number),
                _ => report.put(name, value.to_owned()),
            },
            None => report.line(line.to_vec()),
        }
    }
}

fn cpu(_: &Facts, report: &mut Report) {
    let [process, children, thread] = [CpuOf::Process, CpuOf::Children, CpuOf::Thread].map(sys::cpu_times_us);
    fields! { report,
        "used_cpu_sys": Value::Microseconds(process.0),
        "used_cpu_user": Value::Microseconds(process.1),
        "used_cpu_sys_children": Value::Microseconds(children.0),
        "used_cpu_user_children": Value::Microseconds(children.1),
        "used_cpu_sys_main_thread": Value::Microseconds(thread.0),
        "used_cpu_user_main_thread": Value::Microseconds(thread.1),
    }
}

fn command_stats(facts: &Facts, report: &mut Report) {
    for spec in table::all() {
        let sum = |counter: fn(&crate::observe::stats::CommandStats) -> &Counter| -> u64 {
            facts.shared.stats.iter().map(|stats| counter(&stats.commands[spec.id as usize]).get()).sum()
        };
        let (calls, rejected, failed) = (sum(|c| &c.calls), sum(|c| &c.rejected), sum(|c| &c.failed));
        if calls + rejected + failed == 0 {
            continue;
        }
        let us = sum(|c| &c.nanos) / 1000;
        let us_per_call = if calls == 0 { 0.0 } else { us as f64 / calls as f64 };
        let line = format!(
            "cmdstat_{}:calls={calls},usec={us},usec_per_call={us_per_call:.2},rejected_calls={rejected},failed_calls={failed}",
            spec.name
        );
        report.line(line.into());
    }
}

fn error_stats(facts: &Facts, report: &mut Report) {
    let mut counts: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for (code, count) in facts.shared.stats.iter().flat_map(|stats| stats.errors.all()) {
        *counts.entry(code).or_default() += count;
    }
    for (code, count) in counts {
        let mut line = b"errorstat_".to_vec();
        line.extend(code.iter().map(|byte| if UNSAFE.contains(byte) { b'_' } else { *byte }));
        let _ = write!(line, ":count={count}");
        report.line(line);
    }
}

fn latency_stats(facts: &Facts, report: &mut Report) {
    let observing = &facts.config.observing;
    if !observing.latency_tracking {
        return;
    }
    for spec in table::all() {
        let Some(distribution) = distribution_of(facts.shared, spec) else { continue };
        let percentiles: Vec<String> = observing
            .latency_tracking_info_percentiles
            .0
            .iter()
            .map(|percentile| {
                let us = distribution.percentile(*percentile) as f64 / 1000.0;
                format!("p{}={us:.3}", percentile_text(*percentile))
            })
            .collect();
        report.line(format!("latency_percentiles_usec_{}:{}", spec.name, percentiles.join(",")).into());
    }
}

/// How long the calls of a command took, over all shards; None when none was timed.
pub fn distribution_of(shared: &Shared, spec: &CommandSpec) -> Option<Distribution> {
    let of_shards = shared.stats.iter().filter_map(|stats| stats.commands[spec.id as usize].latency());
    let mut of_shards = of_shards.peekable();
    of_shards.peek()?;
    Some(Distribution::of(of_shards)).filter(|distribution| distribution.total() > 0)
}

fn cluster(facts: &Facts, report: &mut Report) {
    fields! { report, "cluster_enabled": u8::from(facts.config.cluster.cluster_enabled), }
}

fn keyspace(facts: &Facts, report: &mut Report) {
    let databases = facts.shared.stats.first().map_or(0, |stats| stats.databases.len());
    for db in 0..databases {
        let parts = || facts.shared.stats.iter().map(|stats| &stats.databases[db]);
        let keys: u64 = parts().map(|part| part.keys.get()).sum();
        let volatile: u64 = parts().map(|part| part.volatile_keys.get()).sum();
        if keys == 0 && volatile == 0 {
            continue;
        }
        // A mean of means, each weighed by the keys that it stands for.
        let weighed: u128 = parts()
            .map(|part| u128::from(part.avg_ttl_ms.get()) * u128::from(part.volatile_keys.get()))
            .sum();
        let avg_ttl = weighed.checked_div(u128::from(volatile)).unwrap_or(0);
        report.line(format!("db{db}:keys={keys},expires={volatile},avg_ttl={avg_ttl}").into());
    }
}

fn shards(facts: &Facts, report: &mut Report) {
    fields! { report, "shards": facts.shared.stats.len(), }
    for (id, stats) in facts.shared.stats.iter().enumerate() {
        let line = format!(
            "shard{id}:keys={},clients={},commands={},used_memory={},remote_commands={},transactions={},\
             transaction_retries={},loop_turns={},loop_usec={},receives={},sends={},messages_sent={},\
             message_bytes={},doorbells={},sleeps={},awake_waits={}",
            stats.keys(),
            stats.clients.get(),
            stats.commands_processed.get(),
            stats.used_memory.get(),
            stats.remote_commands.get(),
            stats.transactions.get(),
            stats.transaction_retries.get(),
            stats.loop_turns.get(),
            stats.loop_nanos.get() / 1000,
            stats.reads.get(),
            stats.writes.get(),
            stats.messages_sent.get(),
            stats.message_bytes.get(),
            stats.doorbells.get(),
            stats.sleeps.get(),
            stats.awake_waits.get(),
        );
        report.line(line.into());
    }
}

fn debug(facts: &Facts, report: &mut Report) {
    fields! { report,
        "eventloop_duration_aof_sum": 0,
        "eventloop_duration_cron_sum": facts.sum(|s| &s.cron_nanos) / 1000,
        "eventloop_duration_max": facts.max(|s| &s.loop_nanos_max) / 1000,
        "eventloop_cmd_per_cycle_max": facts.max(|s| &s.commands_per_turn_max),
    }
}
