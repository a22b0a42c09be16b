//! The policies of `appendfsync`, and what each promises.

use std::time::Duration;

use super::check::LOSS_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Always,
    EverySecond,
    No,
}

impl Policy {
    pub fn name(self) -> &'static str {
        match self {
            Policy::Always => "always",
            Policy::EverySecond => "everysec",
            Policy::No => "no",
        }
    }

    /// How old what a power failure takes may be at most; `None`: of any age.
    pub fn loss_max(self) -> Option<Duration> {
        match self {
            Policy::Always => Some(Duration::ZERO),
            Policy::EverySecond => Some(LOSS_MAX),
            Policy::No => None,
        }
    }
}
