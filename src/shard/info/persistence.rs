//! INFO persistence: saving, the append-only files, backups, and loading.

use std::sync::atomic::Ordering::Relaxed;

use super::Facts;
use crate::observe::metrics::{Report, Value};
use crate::persist::status::{Loading, TaskStatus};

pub(super) fn write(facts: &Facts, report: &mut Report) {
    let status = &facts.shared.status;
    let figures = status.figures().clone();
    let now_s = facts.now_us / 1_000_000;
    let changes = facts.sum(|s| &s.dirty).saturating_sub(status.saved_changes.load(Relaxed));
    let (processed, total) = (facts.sum(|s| &s.snapshot_keys), status.snapshot_keys_total.load(Relaxed));
    let copied_at_us = facts.max(|s| &s.snapshot_copied_at_us) as i64;
    let age = if copied_at_us > 0 { (facts.now_us - copied_at_us) / 1_000_000 } else { 0 };
    let is_saving = facts.shared.replication.status.is_saving.load(Relaxed);
    let of_master = &facts.shared.replication.status.loading;
    let (follows, is_async) = (of_master.in_progress.load(Relaxed), of_master.is_async.load(Relaxed));
    let aof_on = status.aof_is_on.load(Relaxed);
    let aof_errno = facts.max(|s| &s.aof_errno);
    fields! { report,
        "loading": u8::from(status.is_loading() || follows && !is_async),
        "async_loading": u8::from(follows && is_async),
        "current_cow_peak": facts.sum(|s| &s.snapshot_copied_peak),
        "current_cow_size": facts.sum(|s| &s.snapshot_copied),
        "current_cow_size_age": age,
        "current_fork_perc": Value::Ratio(percent(processed, total)),
        "current_save_keys_processed": processed,
        "current_save_keys_total": total,
        "rdb_changes_since_last_save": changes,
        "rdb_bgsave_in_progress": u8::from(figures.rdb.began_s.is_some() || is_saving),
        "rdb_last_save_time": figures.saved_at_s,
        "rdb_last_bgsave_status": figures.rdb.word(),
        "rdb_last_bgsave_time_sec": figures.rdb.last_s.unwrap_or(-1),
        "rdb_current_bgsave_time_sec": current(&figures.rdb, now_s),
        "rdb_saves": figures.rdb_saves,
        "rdb_last_cow_size": figures.rdb.copied_bytes,
        "rdb_last_load_keys_expired": figures.keys_expired_at_load,
        "rdb_last_load_keys_loaded": figures.keys_loaded,
        "aof_enabled": u8::from(aof_on),
        "aof_rewrite_in_progress": u8::from(figures.rewrite.began_s.is_some()),
        "aof_rewrite_scheduled": u8::from(figures.rewrite_is_scheduled),
        "aof_last_rewrite_time_sec": figures.rewrite.last_s.unwrap_or(-1),
        "aof_current_rewrite_time_sec": current(&figures.rewrite, now_s),
        "aof_last_bgrewrite_status": figures.rewrite.word(),
        "aof_rewrites": figures.rewrite.count,
        "aof_rewrites_consecutive_failures": figures.rewrite.failures_in_a_row,
        "aof_last_write_status": if aof_errno == 0 { "ok" } else { "err" },
        "aof_last_cow_size": figures.rewrite.copied_bytes,
        "module_fork_in_progress": 0,
        "module_fork_last_cow_size": 0,
        "writers_waiting_for_disk": facts.sum(|s| &s.writers_waiting_for_disk),
        "aof_last_rewrite_at": figures.rewrite.good_at_s.unwrap_or(0),
    }
    if aof_errno != 0 {
        let error = std::io::Error::from_raw_os_error(aof_errno as i32);
        fields! { report, "aof_last_write_error": crate::base::error_text(&error), }
    }
    if aof_on {
        fields! { report,
            "aof_current_size": facts.sum(|s| &s.aof_current_size),
            "aof_base_size": facts.sum(|s| &s.aof_base_size),
            "aof_pending_rewrite": 0,
            "aof_buffer_length": facts.sum(|s| &s.aof_buffer_length),
            "aof_pending_bio_fsync": facts.sum(|s| &s.aof_pending_fsync),
            "aof_delayed_fsync": facts.sum(|s| &s.aof_delayed_fsync),
            "aof_pending_bytes": facts.sum(|s| &s.aof_pending_bytes),
            "aof_last_fsync_usec": facts.max(|s| &s.aof_last_fsync_us),
        }
        for (shard, stats) in facts.shared.stats.iter().enumerate() {
            let line = format!(
                "aof_shard{shard}:size={},base_size={},pending_bytes={},last_rewrite_at={},last_fsync_usec={}",
                stats.aof_current_size.get(),
                stats.aof_base_size.get(),
                stats.aof_pending_bytes.get(),
                stats.aof_rewritten_at_s.get(),
                stats.aof_last_fsync_us.get(),
            );
            report.line(line.into());
        }
    }
    backup("pipesave", &figures.pipesave, figures.pipesave_bytes, now_s, report);
    fields! { report, "rdb_last_pipesave_exit_code": figures.pipesave_exit.unwrap_or(-1), }
    backup("dumpsave", &figures.dumpsave, figures.dumpsave_bytes, now_s, report);
    if status.is_loading() {
        loading(&status.loading, now_s, report);
    } else if follows {
        let figures = Loading::default();
        for (to, from) in [
            (&figures.began_s, &of_master.began_s),
            (&figures.total_bytes, &of_master.total_bytes),
            (&figures.loaded_bytes, &of_master.loaded_bytes),
        ] {
            to.store(from.load(Relaxed), Relaxed);
        }
        loading(&figures, now_s, report);
    }
}

/// `rdb_pipesave_in_progress:0` and so on.
fn backup(name: &str, task_status: &TaskStatus, bytes: u64, now_s: i64, report: &mut Report) {
    report.put(&format!("rdb_{name}_in_progress"), u8::from(task_status.began_s.is_some()));
    report.put(&format!("rdb_last_{name}_status"), task_status.word());
    report.put(&format!("rdb_last_{name}_time_sec"), task_status.last_s.unwrap_or(-1));
    report.put(&format!("rdb_current_{name}_time_sec"), current(task_status, now_s));
    report.put(&format!("rdb_last_{name}_at"), task_status.good_at_s.unwrap_or(0));
    report.put(&format!("rdb_last_{name}_bytes"), bytes);
}

fn current(task_status: &TaskStatus, now_s: i64) -> i64 {
    task_status.began_s.map_or(-1, |began| now_s - began)
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        (part as f64 / whole as f64 * 100.0).min(100.0)
    }
}

fn loading(loading: &Loading, now_s: i64, report: &mut Report) {
    let (total, loaded) = (loading.total_bytes.load(Relaxed), loading.loaded_bytes.load(Relaxed));
    let began_s = loading.began_s.load(Relaxed);
    let elapsed_s = (now_s - began_s as i64).max(0) as u64;
    // Redis says 1 as long as it cannot tell.
    let left_s = (elapsed_s * total.saturating_sub(loaded)).checked_div(loaded).unwrap_or(1);
    fields! { report,
        "loading_start_time": began_s,
        "loading_total_bytes": total,
        "loading_rdb_used_mem": loading.used_memory_then.load(Relaxed),
        "loading_loaded_bytes": loaded,
        "loading_loaded_perc": Value::Ratio(percent(loaded, total)),
        "loading_eta_seconds": left_s,
    }
}
