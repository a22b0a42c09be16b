//! What a shard does between requests: the cron, and work in slices.

use super::background::Background;
use super::housekeeping::Housekeeping;

#[derive(Default)]
pub(super) struct Upkeep {
    pub cron_runs: u64,
    pub housekeeping: Housekeeping,
    pub background: Background,
}
