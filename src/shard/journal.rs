//! What commands did, in order: collected (`effects`), appended to the log (`log`), and what waits until that is safe (`log::held`).

use super::effects::Effects;
use super::log::held::Held;
use super::log::Log;

pub struct Journal {
    pub(super) effects: Effects,
    pub log: Log,
    pub(super) held: Held,
}

impl Journal {
    pub(super) fn new(log: Log) -> Journal {
        Journal { effects: Effects::default(), log, held: Held::default() }
    }
}
