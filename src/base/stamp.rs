//! A point in time for measuring durations.

/// A point in time for measuring durations only: a reading of a counter whose rate is the clock's affair (`runtime::clock` reads it,
/// and knows how many nanoseconds lie between two).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

impl Stamp {
    #[inline]
    pub(crate) fn from_ticks(ticks: u64) -> Stamp {
        Stamp(ticks)
    }

    #[inline]
    pub(crate) fn ticks(self) -> u64 {
        self.0
    }
}
