//! Where the process's memory is: what INFO memory, MEMORY STATS and MEMORY DOCTOR tell.

use std::sync::atomic::Ordering;

use crate::runtime::{alloc, sys};
use crate::shard::shared::Shared;

/// Bytes, unless said otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Allocated by everything.
    pub used: u64,
    pub peak: u64,
    pub startup: u64,
    /// Keys, values and their tables.
    pub dataset: u64,
    pub clients: u64,
    /// Of the process, as the system sees it.
    pub resident: u64,
    /// What the allocator holds from the system.
    pub active: u64,
    pub keys: u64,
}

impl Memory {
    /// As of now; the shards have published their gauges.
    pub fn now(shared: &Shared) -> Memory {
        let used = shared.used_memory();
        let sum = |figure: fn(&crate::observe::stats::ShardStats) -> u64| {
            shared.stats.iter().map(|stats| figure(stats)).sum()
        };
        let resident = sys::resident_bytes();
        let (_, _, committed) = alloc::process_info();
        Memory {
            used,
            peak: shared.server_stats.peak_memory(used),
            startup: shared.server_stats.startup_memory.load(Ordering::Relaxed),
            dataset: sum(|stats| stats.used_memory.get()),
            clients: sum(|stats| stats.clients_memory.get()),
            resident,
            active: (committed as u64).max(used),
            keys: sum(|stats| stats.keys()),
        }
    }

    /// All that is not the data.
    pub fn overhead(&self) -> u64 {
        self.used.saturating_sub(self.dataset)
    }

    /// The data's share of what was allocated since the start, per cent.
    pub fn dataset_percent(&self) -> f64 {
        percent(self.dataset, self.used.saturating_sub(self.startup)).min(100.0)
    }

    pub fn peak_percent(&self) -> f64 {
        percent(self.used, self.peak)
    }

    pub fn bytes_per_key(&self) -> u64 {
        self.dataset.checked_div(self.keys).unwrap_or(0)
    }

    /// Room that the allocator holds but has not given out.
    pub fn allocator_fragmentation(&self) -> Ratio {
        Ratio::of(self.active, self.used)
    }

    pub fn allocator_resident(&self) -> Ratio {
        Ratio::of(self.resident, self.active)
    }

    /// Resident beyond what was asked for: fragmentation, code, stacks and buffers of the kernel.
    pub fn fragmentation(&self) -> Ratio {
        Ratio::of(self.resident, self.used)
    }

    /// What an operator should know, in words.
    pub fn report(&self, maxmemory: u64) -> String {
        /// Less than this is not worth advice.
        const SMALL: u64 = 5 * 1024 * 1024;
        /// From where on a figure is worth a line.
        const PEAK_RATIO: f64 = 1.5;
        const FRAGMENTATION_RATIO: f64 = 1.4;
        const CLIENTS_SHARE_PERCENT: f64 = 25.0;

        if self.used < SMALL {
            return "Hardly any memory is in use; nothing can be said about it.\n".to_owned();
        }
        let mut findings = Vec::new();
        if self.peak as f64 / self.used as f64 > PEAK_RATIO {
            findings.push(format!(
                "The peak ({}) is far above what is used now ({}). The system may not have all of it back: MEMORY PURGE \
                 gives back what can be.",
                human(self.peak),
                human(self.used)
            ));
        }
        if self.fragmentation().ratio > FRAGMENTATION_RATIO && self.resident.saturating_sub(self.used) > SMALL
        {
            findings.push(format!(
                "The process holds {} for {} in use (ratio {:.2}): memory is fragmented, or was given back only lately.",
                human(self.resident),
                human(self.used),
                self.fragmentation().ratio
            ));
        }
        if percent(self.clients, self.used) > CLIENTS_SHARE_PERCENT {
            findings.push(format!(
                "Clients hold {}: look for ones that do not read their replies (CLIENT LIST, omem), or set \
                 maxmemory-clients.",
                human(self.clients)
            ));
        }
        if maxmemory > 0 && self.used > maxmemory {
            findings.push(format!(
                "maxmemory ({}) is exceeded: keys are evicted or writes refused.",
                human(maxmemory)
            ));
        }
        if findings.is_empty() {
            return "No problem with memory was found.\n".to_owned();
        }
        let lines: Vec<String> = findings.iter().map(|finding| format!("- {finding}\n")).collect();
        format!("What stands out about memory:\n\n{}", lines.concat())
    }
}

/// How many times larger one amount is than another, and by how many bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    pub ratio: f64,
    pub bytes: i64,
}

impl Ratio {
    fn of(large: u64, small: u64) -> Ratio {
        Ratio { ratio: large as f64 / small.max(1) as f64, bytes: large as i64 - small as i64 }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 * 100.0 / whole as f64
}

/// `1.50M`: an amount of memory for people.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.2}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_redis_does() {
        assert_eq!(human(0), "0B");
        assert_eq!(human(1023), "1023B");
        assert_eq!(human(1536), "1.50K");
        assert_eq!(human(100 * 1024 * 1024), "100.00M");
        assert_eq!(human(3 << 40), "3.00T");
    }

    #[test]
    fn figures_of_an_empty_process_are_zero_and_not_errors() {
        let none = Memory::default();
        assert_eq!((none.peak_percent(), none.dataset_percent(), none.bytes_per_key()), (0.0, 0.0, 0));
        assert_eq!(none.fragmentation(), Ratio { ratio: 0.0, bytes: 0 });
    }

    #[test]
    fn the_report_names_what_stands_out() {
        const MIB: u64 = 1024 * 1024;
        let fine = Memory { used: 100 * MIB, peak: 110 * MIB, resident: 110 * MIB, ..Memory::default() };
        assert!(fine.report(0).contains("No problem"));
        let bad = Memory { peak: 400 * MIB, resident: 390 * MIB, clients: 60 * MIB, ..fine };
        let report = bad.report(MIB);
        for word in ["peak", "fragmented", "maxmemory-clients", "exceeded"] {
            assert!(report.contains(word), "{word}: {report}");
        }
    }
}
