//! What a connection has had of one turn of its shard, and what it may have of others.

/// What has been had of a turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    pub turn: u64,
    pub requests: usize,
    pub nanos: u64,
    pub reply_bytes: usize,
}

impl Share {
    /// What is used up already in turn `turn`.
    pub fn in_turn(self, turn: u64) -> Share {
        if self.turn == turn {
            self
        } else {
            Share { turn, ..Share::default() }
        }
    }
}

/// What a connection's shard has told the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RemoteRequests {
    #[default]
    Free,
    /// They hold all requests back behind this place.
    Held(u32),
}
