//! What a turn goes by: which shard this is, the time, the configuration, the users, the map of the slots, and what all shards
//! share. It stays the same within the turn, and each turn begins by taking over what has changed.
//!
//! Services get this, and no `Shard`, when they have to know where they are. Its methods answer questions; they change no service.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::shared::Shared;
use crate::acl::Users;
use crate::config::Config;
use crate::observe::stats::ShardStats;
use crate::observe::turns::TurnMeter;
use crate::runtime::clock;
use crate::slots::SlotMap;

pub struct TurnState {
    pub id: usize,
    pub shared: Arc<Shared>,
    pub stats: Arc<ShardStats>,
    pub(super) number: u64,
    /// Unix microseconds.
    pub now_us: i64,
    pub config: Arc<Config>,
    /// The version of the configuration and of the users.
    pub(super) config_version: u64,
    pub(super) users: Arc<Users>,
    /// Which slots are where. Does not change within a turn.
    pub slots: Arc<SlotMap>,
    pub(super) meter: TurnMeter,
}

impl TurnState {
    pub(super) fn new(id: usize, shared: &Arc<Shared>) -> TurnState {
        TurnState {
            id,
            shared: shared.clone(),
            stats: shared.stats[id].clone(),
            number: 0,
            now_us: clock::unix_us(),
            config: shared.current_config(),
            config_version: shared.config_version.load(Ordering::Acquire),
            users: shared.current_users(),
            slots: shared.current_slots(),
            meter: TurnMeter::default(),
        }
    }
}
