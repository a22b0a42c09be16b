//! Writers wait for a snapshot that the disk takes more slowly than they change what is to be saved.
//!
//! Without fork a value that is about to be overwritten is saved first. What the disk has not taken yet waits in memory, and there may
//! be none to spare. So from a bound on writes wait, on every shard, as they do for a log that the disk does not follow.
//!
//! Nobody waits for whoever takes a backup: that one fails when too much waits for it. Nor for a disk that takes nothing at all:
//! after a while writes go on, and the snapshot fails like that.

use crate::shard::Shard;

/// So much of a shard's snapshot may wait for the disk while writes go on, bytes.
const BOUND_BYTES: usize = 16 << 20;
/// So long writers wait for a disk that takes nothing, microseconds.
const PATIENCE_US: i64 = 1_000_000;

#[derive(Debug, Default)]
pub(super) struct Throttle {
    holds: bool,
    /// The least that has waited since writers do, and when that was.
    least_bytes: usize,
    least_at_us: i64,
}

impl Throttle {
    /// Whether writers wait, now that so much waits for the disk.
    fn decide(&mut self, waiting_bytes: usize, now_us: i64) -> bool {
        let bound = if self.holds { BOUND_BYTES / 2 } else { BOUND_BYTES };
        if waiting_bytes < bound {
            *self = Throttle::default();
            return false;
        }
        if !self.holds || waiting_bytes < self.least_bytes {
            *self = Throttle { holds: true, least_bytes: waiting_bytes, least_at_us: now_us };
        }
        now_us - self.least_at_us < PATIENCE_US
    }
}

impl Shard {
    /// In each turn while a snapshot is open: has writers wait, or lets them go on. `for_backup`: what waits is to be taken by whoever
    /// takes a backup.
    pub(super) fn throttle_writers(&mut self, for_backup: bool, waiting_bytes: usize) {
        let holds = !for_backup && self.saving.throttle.decide(waiting_bytes, self.turn.now_us);
        self.hold_writers(holds);
    }

    /// The snapshot has ended.
    pub(super) fn end_throttle(&mut self) {
        self.saving.throttle = Throttle::default();
        self.hold_writers(false);
    }

    fn hold_writers(&mut self, holds: bool) {
        if self.journal.log.say_snapshot_lags(holds) && !holds {
            self.wake_writers();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_wait_from_the_bound_to_half_of_it_and_not_for_a_disk_that_stands_still() {
        let mut throttle = Throttle::default();
        assert!(!throttle.decide(BOUND_BYTES - 1, 0));
        assert!(throttle.decide(BOUND_BYTES, 1));
        assert!(throttle.decide(BOUND_BYTES / 2, 2));
        assert!(!throttle.decide(BOUND_BYTES / 2 - 1, 3));
        assert!(!throttle.decide(BOUND_BYTES - 1, 4), "half is for those who wait");

        assert!(throttle.decide(BOUND_BYTES + 5, 10));
        assert!(throttle.decide(BOUND_BYTES + 6, 9 + PATIENCE_US), "what was under way");
        assert!(!throttle.decide(BOUND_BYTES + 6, 10 + PATIENCE_US));
        assert!(!throttle.decide(2 * BOUND_BYTES, 20 + PATIENCE_US));
        assert!(throttle.decide(BOUND_BYTES + 4, 30 + PATIENCE_US), "it goes on");
    }
}
