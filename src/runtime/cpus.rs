//! Which cores this process may use: its affinity mask, and the CPU quota of its control group.

use std::fs;

/// The cores that the process may run on.
pub fn allowed() -> Vec<usize> {
    // SAFETY: an all-zero cpu_set_t is a valid empty set; the call writes at most its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, std::mem::size_of_val(&set), &mut set) != 0 {
            return vec![0];
        }
        set
    };
    // SAFETY: the index stays below the set's size.
    let cores: Vec<usize> =
        (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect();
    if cores.is_empty() {
        vec![0]
    } else {
        cores
    }
}

/// A set of cores.
#[derive(Clone, Copy)]
pub struct Set(libc::cpu_set_t);

impl Set {
    /// Lets this thread run on these cores, and on no other. If it fails the thread stays where it is, which is slower and not wrong.
    pub fn use_in_thread(&self) {
        // SAFETY: reads at most the size of the set.
        unsafe { libc::sched_setaffinity(0, std::mem::size_of_val(&self.0), &self.0) };
    }
}

/// The cores that the process may use. None when the system does not say.
pub fn of_process() -> Option<Set> {
    // SAFETY: an all-zero cpu_set_t is a valid empty set; the call writes at most its size. The process's own number
    // stands for its first thread, which is not pinned.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let got = libc::sched_getaffinity(libc::getpid(), std::mem::size_of_val(&set), &mut set);
        (got == 0).then_some(Set(set))
    }
}

/// Lets this thread run on every core that the process may use: a thread begins with those of the thread that started it, and a
/// shard has only one.
pub fn use_all() {
    if let Some(set) = of_process() {
        set.use_in_thread();
    }
}

/// The control group's CPU quota in whole cores, rounded up; None without one.
fn quota() -> Option<usize> {
    let cores = |quota: f64, period: f64| (quota / period).ceil().max(1.0) as usize;
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = group.lines().find_map(|l| l.strip_prefix("0::")).unwrap_or("/");
    let mut folder = format!("/sys/fs/cgroup{}", path.trim_end_matches('/'));
    let mut least: Option<usize> = None;
    // A quota of any ancestor binds as well.
    while folder.len() >= "/sys/fs/cgroup".len() {
        if let Ok(text) = fs::read_to_string(format!("{folder}/cpu.max")) {
            let mut words = text.split_whitespace().map(str::parse::<f64>);
            if let (Some(Ok(quota)), Some(Ok(period))) = (words.next(), words.next()) {
                let found = cores(quota, period);
                least = Some(least.map_or(found, |l| l.min(found)));
            }
        }
        let Some(cut) = folder.rfind('/') else { break };
        folder.truncate(cut);
    }
    let read = |name: &str| -> Option<f64> {
        fs::read_to_string(format!("/sys/fs/cgroup/cpu/{name}")).ok()?.trim().parse().ok()
    };
    if let (Some(quota), Some(period)) = (read("cpu.cfs_quota_us"), read("cpu.cfs_period_us")) {
        if quota > 0.0 && period > 0.0 {
            let found = cores(quota, period);
            least = Some(least.map_or(found, |l| l.min(found)));
        }
    }
    least
}

/// How many shards `shards auto` means.
pub fn automatic_shards() -> usize {
    let allowed = allowed().len();
    quota().map_or(allowed, |quota| quota.min(allowed)).max(1)
}
