//! Settings of the machine that make trouble under load, said in one line each when the server starts.

use std::fs;

use super::sys;
use crate::base::log::Level;
use crate::log;

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Logs what an operator should know or change. `tcp_backlog` is the length that the queue of new connections should have;
/// `disable_thp`: transparent huge pages may be switched off for this process.
pub fn check(tcp_backlog: u32, disable_thp: bool) {
    if let Some((level, text)) = read("/proc/sys/vm/overcommit_memory").and_then(|mode| overcommit(&mode)) {
        log!(level, "{text}");
    }
    if let Some(warning) =
        read("/proc/sys/net/core/somaxconn").and_then(|limit| short_backlog(tcp_backlog, &limit))
    {
        log!(Level::Warning, "WARNING: {warning}");
    }
    let always =
        read("/sys/kernel/mm/transparent_hugepage/enabled").is_some_and(|modes| modes.contains("[always]"));
    if always && !(disable_thp && sys::disable_transparent_huge_pages().is_ok()) {
        log!(
            Level::Warning,
            "WARNING Transparent huge pages are on for every process: while a forked snapshot runs, a write to one key copies \
             2 MB instead of 4 KB, which takes memory and makes latencies uneven. To fix this issue run the command \
             'echo madvise > /sys/kernel/mm/transparent_hugepage/enabled' as root, and at every boot, and restart the server."
        );
    }
}

/// What it means here that memory is counted as it is. The rule for Redis, to keep half of the machine free for a fork, is gone: see
/// "Snapshots" in persist/persistence.md.
fn overcommit(mode: &str) -> Option<(Level, String)> {
    match mode {
        "1" => None,
        // Shards' ranges and the allocator's other memory are mapped without reserve, so a fork is not charged for them.
        "0" => Some((
            Level::Notice,
            "vm.overcommit_memory is 0, which will do: a fork for a snapshot takes only the memory that is written to \
             meanwhile, and when it is refused the snapshot is made without fork. There is no need to keep half of the memory free."
                .to_owned(),
        )),
        _ => Some((
            Level::Warning,
            format!(
                "WARNING vm.overcommit_memory is {mode}: each fork for a snapshot is charged all memory of its shard, and refused \
                 when that is not free. The snapshot is then made without fork, which succeeds and takes time from requests instead. \
                 To allow forks add 'vm.overcommit_memory = 1' to /etc/sysctl.conf and then reboot or run the command \
                 'sysctl vm.overcommit_memory=1' for this to take effect."
            ),
        )),
    }
}

fn short_backlog(backlog: u32, limit: &str) -> Option<String> {
    let limit: u32 = limit.parse().ok()?;
    (limit < backlog).then(|| {
        format!(
            "The TCP backlog setting of {backlog} cannot be enforced because /proc/sys/net/core/somaxconn is set to the lower \
             value of {limit}."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_is_said() {
        assert_eq!(overcommit("1"), None);
        assert_eq!(overcommit("0").unwrap().0, Level::Notice, "nothing needs to be done");
        let (level, text) = overcommit("2").unwrap();
        assert_eq!(level, Level::Warning);
        assert!(text.contains("sysctl vm.overcommit_memory=1"));
        assert_eq!(short_backlog(511, "4096"), None);
        assert_eq!(short_backlog(511, "?"), None);
        assert!(short_backlog(511, "128").unwrap().contains("lower value of 128"));
    }
}
