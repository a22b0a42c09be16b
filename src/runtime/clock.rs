//! Time, cheaply: wall-clock milliseconds once per turn of the loop, and a cycle counter for durations.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::base::Stamp;

/// Microseconds since the Unix epoch.
pub fn unix_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64)
}

pub fn unix_ms() -> i64 {
    unix_us() / 1000
}

/// Nanoseconds per 2^20 cycles of the time-stamp counter; 0 where it cannot be used.
static NANOS_PER_MEGACYCLE: OnceLock<u64> = OnceLock::new();
static ORIGIN: OnceLock<Instant> = OnceLock::new();

#[cfg(target_arch = "x86_64")]
#[inline]
fn cycles() -> u64 {
    // SAFETY: the instruction reads a counter and has no preconditions.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "x86_64")]
fn counter_is_steady() -> bool {
    std::fs::read_to_string("/proc/cpuinfo")
        .is_ok_and(|info| info.contains("constant_tsc") && info.contains("nonstop_tsc"))
}

/// Measures the counter's rate; once, at boot (10 ms).
pub fn calibrate() {
    ORIGIN.get_or_init(Instant::now);
    NANOS_PER_MEGACYCLE.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        if counter_is_steady() {
            let (from, from_cycles) = (Instant::now(), cycles());
            std::thread::sleep(Duration::from_millis(10));
            let (nanos, elapsed) = (from.elapsed().as_nanos() as u64, cycles() - from_cycles);
            return (nanos << 20) / elapsed.max(1);
        }
        0
    });
}

impl Stamp {
    #[inline]
    pub fn now() -> Stamp {
        #[cfg(target_arch = "x86_64")]
        if NANOS_PER_MEGACYCLE.get().is_some_and(|rate| *rate > 0) {
            return Stamp::from_ticks(cycles());
        }
        Stamp::from_ticks(ORIGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64)
    }

    #[inline]
    pub fn nanos_since(self, earlier: Stamp) -> u64 {
        let elapsed = self.ticks().saturating_sub(earlier.ticks());
        match NANOS_PER_MEGACYCLE.get() {
            Some(rate) if *rate > 0 => ((elapsed as u128 * *rate as u128) >> 20) as u64,
            _ => elapsed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_measures_a_sleep() {
        calibrate();
        let from = Stamp::now();
        std::thread::sleep(Duration::from_millis(30));
        let nanos = Stamp::now().nanos_since(from);
        assert!((25_000_000..2_000_000_000).contains(&nanos), "{nanos}");
    }
}
