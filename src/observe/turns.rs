//! How long a shard's loop is busy: from waking up to waiting again, for the turns in which something had arrived.

use super::stats::ShardStats;
use crate::base::Stamp;

#[derive(Debug, Default)]
pub struct TurnMeter {
    started: Option<Stamp>,
    has_traffic: bool,
    commands_before: u64,
}

impl TurnMeter {
    /// The loop has woken up.
    #[inline]
    pub fn begin(&mut self) {
        self.started = Some(Stamp::now());
    }

    /// Something has arrived that is more than the end of a wait.
    #[inline]
    pub fn note_traffic(&mut self) {
        self.has_traffic = true;
    }

    /// The loop is about to wait.
    #[inline]
    pub fn end(&mut self, stats: &ShardStats) {
        if !std::mem::take(&mut self.has_traffic) {
            return;
        }
        let Some(started) = self.started.take() else { return };
        let nanos = Stamp::now().nanos_since(started);
        stats.loop_turns.add(1);
        stats.loop_nanos.add(nanos);
        stats.loop_nanos_max.set(stats.loop_nanos_max.get().max(nanos));
        let commands = stats.commands_processed.get();
        let in_turn = commands.saturating_sub(self.commands_before);
        self.commands_before = commands;
        stats.commands_per_turn_max.set(stats.commands_per_turn_max.get().max(in_turn));
    }

    /// A cron run has ended, which is a turn by itself.
    pub fn end_cron(&mut self, stats: &ShardStats) {
        if let Some(started) = self.started {
            stats.cron_nanos.add(Stamp::now().nanos_since(started));
        }
        self.end(stats);
    }
}
