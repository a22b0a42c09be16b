//! The save points: when a snapshot is due by itself.

use crate::shard::turn::TurnState;
use std::sync::atomic::Ordering;

use super::Purpose;
use crate::base::log::Level;
use crate::shard::Shard;

/// After a failure the next try waits so long.
const RETRY_MS: i64 = 5000;

impl TurnState {
    /// Changes, over all shards, that no save holds.
    pub(in crate::shard) fn unsaved_changes(&self) -> u64 {
        let changes: u64 = self.shared.stats.iter().map(|stats| stats.dirty.get()).sum();
        changes.saturating_sub(self.shared.status.saved_changes.load(Ordering::Relaxed))
    }

    /// What is in memory now is on the disk.
    pub(in crate::shard) fn note_all_saved(&self) {
        let changes = self.shared.stats.iter().map(|stats| stats.dirty.get()).sum();
        self.shared.status.saved_changes.store(changes, Ordering::Relaxed);
    }
}

impl Shard {
    /// Ten times a second, on the shard that leads.
    pub(in crate::shard) fn save_if_due(&mut self) {
        if self.saving.is_busy() || self.upkeep.housekeeping.stopping || self.shared.status.is_loading() {
            return;
        }
        let now_ms = self.turn.now_ms();
        let has_failed = !self.shared.status.figures().rdb.ok;
        if has_failed && now_ms - self.saving.tried_at_ms <= RETRY_MS {
            return;
        }
        if self.saving.is_scheduled {
            return self.start_snapshot(Purpose::Background, None, None);
        }
        let changes = self.turn.unsaved_changes();
        let since_s = now_ms / 1000 - self.shared.status.figures().saved_at_s;
        let due = self
            .turn
            .config
            .persistence
            .save
            .0
            .iter()
            .find(|point| changes >= point.changes && since_s > point.seconds as i64);
        if let Some(point) = due {
            crate::log!(Level::Notice, "{} changes in {} seconds. Saving...", point.changes, point.seconds);
            self.start_snapshot(Purpose::Background, None, None);
        }
    }
}
