//! Settings of the machine that make trouble under load, said in one line each when the server starts.

use std::fs;

use super::sys;
use crate::config::Config;
use crate::log;
use crate::observe::log::Level;

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Logs what an operator should change.
pub fn check(config: &Config) {
    if let Some(warning) = read("/proc/sys/vm/overcommit_memory").and_then(|mode| overcommit(&mode)) {
        log!(Level::Warning, "WARNING {warning}");
    }
    let backlog = config.network.tcp_backlog;
    if let Some(warning) =
        read("/proc/sys/net/core/somaxconn").and_then(|limit| short_backlog(backlog, &limit))
    {
        log!(Level::Warning, "WARNING: {warning}");
    }
    let always =
        read("/sys/kernel/mm/transparent_hugepage/enabled").is_some_and(|modes| modes.contains("[always]"));
    if always && !(config.general.disable_thp && sys::disable_transparent_huge_pages().is_ok()) {
        log!(
            Level::Warning,
            "WARNING Transparent huge pages are on for every process: they make snapshots copy more memory and \
             latencies uneven. Run 'echo madvise > /sys/kernel/mm/transparent_hugepage/enabled' as root, and at every boot."
        );
    }
}

fn overcommit(mode: &str) -> Option<String> {
    (mode != "1").then(|| {
        format!(
            "vm.overcommit_memory is {mode}: the system may refuse memory, or a fork for a snapshot, that would have fitted. \
             Run 'sysctl vm.overcommit_memory=1' as root, and put it in /etc/sysctl.conf."
        )
    })
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
        assert!(overcommit("0").unwrap().contains("sysctl vm.overcommit_memory=1"));
        assert_eq!(short_backlog(511, "4096"), None);
        assert_eq!(short_backlog(511, "?"), None);
        assert!(short_backlog(511, "128").unwrap().contains("lower value of 128"));
    }
}
