//! Which cores this process may use: its affinity mask, and the CPU quota of its control group.

use std::fs;

use rustix::thread::{sched_getaffinity, sched_setaffinity, CpuSet};

/// The cores that the process may run on.
pub fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else { return vec![0] };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
    if cores.is_empty() {
        vec![0]
    } else {
        cores
    }
}

/// Lets this thread run on one core only. If it fails the thread runs where it can.
pub fn pin(core: usize) {
    let mut set = CpuSet::new();
    if core < CpuSet::MAX_CPU {
        set.set(core);
        let _ = sched_setaffinity(None, &set);
    }
}

/// A set of cores.
#[derive(Clone, Copy)]
pub struct Set(CpuSet);

impl Set {
    /// Lets this thread run on these cores, and on no other. If it fails the thread stays where it is, which is slower and not wrong.
    pub fn use_in_thread(&self) {
        let _ = sched_setaffinity(None, &self.0);
    }
}

/// The cores that the process may use. None when the system does not say.
pub fn of_process() -> Option<Set> {
    // The process's own number stands for its first thread, which is not pinned.
    sched_getaffinity(Some(rustix::process::getpid())).ok().map(Set)
}

/// Lets this thread run on every core that the process may use: a thread begins with those of the thread that started it, and a
/// shard has only one.
pub fn use_all() {
    if let Some(set) = of_process() {
        set.use_in_thread();
    }
}

/// The least that `read` finds in the folders of this process's control group and its ancestors, each of which binds. `controller` is
/// the name of its hierarchy where each has its own (version 1).
pub fn least_in_groups<T>(controller: &str, read: impl Fn(&str) -> Option<(u64, T)>) -> Option<(u64, T)> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut least: Option<(u64, T)> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let root = match controllers {
            "" => "/sys/fs/cgroup".to_owned(),
            list if list.split(',').any(|name| name == controller) => format!("/sys/fs/cgroup/{controller}"),
            _ => continue,
        };
        let mut folder = format!("{root}{}", path.trim_end_matches('/'));
        while folder.len() >= root.len() {
            if let Some(found) = read(&folder) {
                least = match least {
                    Some(least) if least.0 <= found.0 => Some(least),
                    _ => Some(found),
                };
            }
            let Some(cut) = folder.rfind('/') else { break };
            folder.truncate(cut);
        }
    }
    least
}

/// The control group's CPU quota in whole cores, rounded up; None without one.
fn quota() -> Option<usize> {
    let cores = |quota: f64, period: f64| (quota / period).ceil().max(1.0) as u64;
    let found = least_in_groups("cpu", |folder| {
        let read = |name: &str| fs::read_to_string(format!("{folder}/{name}")).ok();
        if let Some(text) = read("cpu.max") {
            let mut words = text.split_whitespace().map(str::parse::<f64>);
            return match (words.next(), words.next()) {
                (Some(Ok(quota)), Some(Ok(period))) => Some((cores(quota, period), ())),
                _ => None,
            };
        }
        let number = |name: &str| read(name)?.trim().parse::<f64>().ok();
        match (number("cpu.cfs_quota_us"), number("cpu.cfs_period_us")) {
            (Some(quota), Some(period)) if quota > 0.0 && period > 0.0 => Some((cores(quota, period), ())),
            _ => None,
        }
    });
    found.map(|(cores, ())| cores as usize)
}

/// How many shards `shards auto` means.
pub fn automatic_shards() -> usize {
    let allowed = allowed().len();
    quota().map_or(allowed, |quota| quota.min(allowed)).max(1)
}
