//! How long the calls of one command took: a count for each range of times, cheap enough to keep for every call.
//!
//! The ranges are those of an HdrHistogram with two significant digits from 1 ns to 1 s, as Redis uses: up to 255 ns
//! each time has its own count, and each doubling above is cut into 128 ranges, so that a time is known to better than 1%.
//! To record is to count leading zeros and to add one. One thread writes; the counts are atomic for the readers.

use super::stats::Counter;

/// Ranges in each doubling, and its logarithm.
const HALF: usize = 128;
const HALF_BITS: u32 = 7;
/// Longer times count as this one, nanoseconds.
const NANOS_MAX: u64 = 1_000_000_000;
const RANGES: usize = range_of(NANOS_MAX) + 1;

const fn range_of(nanos: u64) -> usize {
    // 255 and less belong to the first two halves, which are one by one.
    let doubling = u64::BITS - (nanos | (2 * HALF as u64 - 1)).leading_zeros() - (HALF_BITS + 1);
    ((doubling as usize + 1) << HALF_BITS) + (nanos >> doubling) as usize - HALF
}

/// The first and the last time of a range, nanoseconds.
fn bounds_of(range: usize) -> (u64, u64) {
    let doubling = (range >> HALF_BITS).saturating_sub(1);
    let place = if range < 2 * HALF { range } else { (range & (HALF - 1)) + HALF };
    let first = (place as u64) << doubling;
    (first, first + (1 << doubling) - 1)
}

#[derive(Debug)]
pub struct Histogram {
    counts: Box<[Counter]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: (0..RANGES).map(|_| Counter::default()).collect() }
    }
}

impl Histogram {
    /// For the one writer.
    #[inline]
    pub fn record(&self, nanos: u64) {
        self.counts[range_of(nanos.min(NANOS_MAX))].add(1);
    }

    pub fn reset(&self) {
        self.counts.iter().for_each(|count| count.set(0));
    }
}

/// The counts of several histograms at one moment.
#[derive(Debug)]
pub struct Distribution {
    counts: Vec<u64>,
    total: u64,
}

impl Distribution {
    pub fn of<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Distribution {
        let mut counts = vec![0; RANGES];
        for histogram in histograms {
            for (count, more) in counts.iter_mut().zip(&histogram.counts) {
                *count += more.get();
            }
        }
        let total = counts.iter().sum();
        Distribution { counts, total }
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    /// The time, in nanoseconds, that `percentile` (0 to 100) of the calls did not exceed.
    pub fn percentile(&self, percentile: f64) -> u64 {
        let wanted = ((percentile / 100.0 * self.total as f64 + 0.5) as u64).max(1);
        let mut seen = 0;
        for (range, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                let (first, last) = bounds_of(range);
                return if percentile == 0.0 { first } else { last };
            }
        }
        0
    }

    /// Microseconds, doubling from step to step, and how many calls took no longer; steps without further calls are
    /// left out.
    pub fn cumulative_by_doubling(&self) -> Vec<(u64, u64)> {
        let mut steps = Vec::new();
        let (mut seen, mut range) = (0, 0);
        let mut level_nanos = 1024;
        while seen < self.total {
            let end = range_of(level_nanos).min(RANGES - 1);
            let before = seen;
            while range <= end {
                seen += self.counts[range];
                range += 1;
            }
            if seen > before {
                steps.push((bounds_of(end).1 / 1000, seen));
            }
            level_nanos *= 2;
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_within_the_bounds_of_its_range_and_ranges_follow_each_other() {
        for range in 0..RANGES {
            let (first, last) = bounds_of(range);
            assert_eq!((range_of(first), range_of(last)), (range, range));
            assert_eq!(bounds_of(range + 1).0, last + 1);
            assert!(last - first <= first / HALF as u64);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_calls() {
        let histogram = Histogram::default();
        for microsecond in 1..=1000 {
            histogram.record(microsecond * 1000);
        }
        let distribution = Distribution::of([&histogram].into_iter());
        let near = |percentile, wanted: u64| {
            let found = distribution.percentile(percentile);
            assert!(found.abs_diff(wanted) <= wanted / 100, "p{percentile}: {found}");
        };
        near(0.0, 1_000);
        near(50.0, 500_000);
        near(99.0, 990_000);
        near(100.0, 1_000_000);
        histogram.record(u64::MAX);
        assert!(Distribution::of([&histogram].into_iter()).percentile(100.0) >= NANOS_MAX);
    }

    #[test]
    fn the_cumulative_distribution_of_several_histograms_ends_with_all_calls() {
        let (a, b) = (Histogram::default(), Histogram::default());
        a.record(900);
        a.record(30_000);
        b.record(31_000);
        b.record(2_000_000_000);
        let distribution = Distribution::of([&a, &b].into_iter());
        assert_eq!(distribution.cumulative_by_doubling(), [(1, 1), (33, 3), (1_002_438, 4)]);
        a.reset();
        b.reset();
        let empty = Distribution::of([&a, &b].into_iter());
        assert_eq!((empty.total(), empty.percentile(50.0)), (0, 0));
        assert!(empty.cumulative_by_doubling().is_empty());
    }
}
