//! How much of one turn of the shard a connection may have, or the requests of another shard's connections. The others come next, and it
//! goes on in the next turn: a client that pipelines slow commands, or ones with long replies, holds up nobody for longer than a
//! share and one command.

use crate::client::Share;
use crate::shard::executor::Executor;
use crate::shard::turn::TurnState;

/// Requests in one turn.
const REQUESTS: usize = 2048;
/// The time that commands take in one turn, nanoseconds.
const NANOS: u64 = 1_000_000;
/// Bytes of replies in one turn. After that limits of the output are looked at, and what there is is sent.
const REPLY_BYTES: usize = 1 << 20;
/// The shares of all connections of another shard together, before their requests are told apart.
const FAR_SHARES: usize = 4;

/// A share that is being used.
pub(super) struct Using {
    before: Share,
    requests: usize,
    requests_max: usize,
    nanos_at: u64,
    nanos_max: u64,
    bytes_at: usize,
    /// Collected bytes at which it is used up.
    bytes_end: usize,
}

impl Executor {
    /// Goes on with a share. `bytes`: of replies that are collected already; `bytes_max`: at which a limit is to be looked at.
    pub(super) fn begin_share(
        &self,
        turn: &TurnState,
        share: Share,
        bytes: usize,
        bytes_max: usize,
    ) -> Using {
        let before = share.in_turn(turn.number);
        let left = REPLY_BYTES.saturating_sub(before.reply_bytes);
        Using {
            before,
            requests: 0,
            requests_max: REQUESTS,
            nanos_at: self.spent_nanos,
            nanos_max: NANOS,
            bytes_at: bytes,
            bytes_end: bytes.saturating_add(left).min(bytes_max.max(1)),
        }
    }

    /// The same for all connections of another shard together. The number of their requests is bounded by what shards queue for each
    /// other.
    pub(super) fn begin_remote_share(&self, turn: &TurnState, share: Share, bytes: usize) -> Using {
        let before = share.in_turn(turn.number);
        let left = (FAR_SHARES * REPLY_BYTES).saturating_sub(before.reply_bytes);
        Using {
            before,
            requests: 0,
            requests_max: usize::MAX,
            nanos_at: self.spent_nanos,
            nanos_max: FAR_SHARES as u64 * NANOS,
            bytes_at: bytes,
            bytes_end: bytes.saturating_add(left),
        }
    }

    /// Whether it is used up, now that `bytes` are collected.
    #[inline]
    pub(super) fn is_used_up(&self, using: &Using, bytes: usize) -> bool {
        using.before.requests + using.requests >= using.requests_max
            || using.before.nanos + (self.spent_nanos - using.nanos_at) >= using.nanos_max
            || bytes >= using.bytes_end
    }

    pub(super) fn end_share(&self, using: &Using, bytes: usize) -> Share {
        Share {
            turn: using.before.turn,
            requests: using.before.requests + using.requests,
            nanos: using.before.nanos + (self.spent_nanos - using.nanos_at),
            reply_bytes: using.before.reply_bytes + bytes.saturating_sub(using.bytes_at),
        }
    }
}

impl Using {
    #[inline]
    pub fn add_request(&mut self) {
        self.requests += 1;
    }
}
