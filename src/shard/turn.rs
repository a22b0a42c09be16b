//! What a turn goes by. It stays the same within the turn, and each turn begins by taking over what has changed.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::shared::Shared;
use crate::acl::Users;
use crate::config::Config;
use crate::observe::turns::TurnMeter;
use crate::runtime::clock;
use crate::slots::SlotMap;

pub struct TurnState {
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
    pub(super) fn new(shared: &Shared) -> TurnState {
        TurnState {
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
