//! What a process has cost so far, read from /proc: CPU time of all its threads and resident memory.

use std::fs;
use std::io;
use std::time::Duration;

/// CPU time since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuTime {
    /// All threads alive, to the nanosecond (schedstat), or else the sum of the two below.
    pub total: Duration,
    /// In steps of 10 ms.
    pub user: Duration,
    /// In steps of 10 ms.
    pub system: Duration,
}

impl CpuTime {
    /// Time since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            total: self.total.saturating_sub(earlier.total),
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// Clock ticks of utime and stime: USER_HZ, 100 on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of process `pid`.
pub fn cpu_time(pid: u32) -> io::Result<CpuTime> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (user, system) = parse_stat(&stat)
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has an unknown shape")))?;
    Ok(CpuTime { total: threads_cpu(pid).unwrap_or(user + system), user, system })
}

fn parse_stat(stat: &str) -> Option<(Duration, Duration)> {
    // The name in parentheses may hold anything, so fields are counted from behind it: utime and stime
    // are 14 and 15, the state right after the name is 3.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(14 - 3);
    let mut ticks = || Some(TICK * fields.next()?.parse::<u32>().ok()?);
    Some((ticks()?, ticks()?))
}

fn threads_cpu(pid: u32) -> Option<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let path = thread.ok()?.path().join("schedstat");
        // A thread may end between the listing and the read; its time is lost either way.
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        total += Duration::from_nanos(text.split(' ').next()?.parse().ok()?);
    }
    (!total.is_zero()).then_some(total)
}

/// Resident set of process `pid`, in bytes.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    parse_resident(&status).ok_or_else(|| io::Error::other(format!("/proc/{pid}/status has no VmRSS")))
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 250 75 0 0 20 0 1 0 1 1 1";
        let expected = (Duration::from_millis(2500), Duration::from_millis(750));
        assert_eq!(parse_stat(stat), Some(expected));
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(parse_resident("VmHWM:\t  9 kB\nVmRSS:\t   12 kB\n"), Some(12 * 1024));
        assert_eq!(parse_resident("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn our_own_work_shows() {
        let pid = std::process::id();
        let before = cpu_time(pid).unwrap();
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(50) {
            std::hint::black_box(0);
        }
        let spent = cpu_time(pid).unwrap().since(&before);
        assert!(spent.total > Duration::from_millis(1), "{spent:?}");
        assert!(resident_bytes(pid).unwrap() > 100_000);
    }
}
