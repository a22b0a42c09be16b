//! Streams: `store` puts them together, of parts in the order in which a payload tells them.

use super::MIXED;
use crate::rdb::decode::{EntriesRead, Piece};
use crate::rdb::error::Reason;
use crate::store::stream::{Counters, Stream, StreamBuilder as Parts};
use crate::store::Settings;

pub struct StreamBuilder(Parts);

impl StreamBuilder {
    /// `mends`: what contradicts itself is put right, not refused.
    pub fn new(mends: bool) -> StreamBuilder {
        StreamBuilder(Parts::new(mends))
    }

    pub fn piece(&mut self, piece: Piece, settings: &Settings) -> Result<(), Reason> {
        let parts = &mut self.0;
        match piece {
            Piece::StreamNode { master, listpack } => parts.node(master, listpack.items()),
            Piece::StreamEntry { id, pairs } => {
                parts.loose_entry(id, pairs);
                Ok(())
            }
            Piece::StreamState(state) => parts.counters(
                Counters {
                    last_id: state.last_id,
                    max_deleted_id: state.max_deleted_id,
                    entries_added: state.entries_added,
                },
                settings,
            ),
            Piece::StreamGroup { name, last_id, entries_read } => {
                parts.group(name, last_id, |stream| match entries_read {
                    EntriesRead::Known(count) => Some(count as i64),
                    EntriesRead::Unknown => None,
                    EntriesRead::ToBeEstimated => stream.log().entries_until(last_id),
                })
            }
            Piece::StreamPending { id, delivered_ms, deliveries } => {
                parts.pending(id, delivered_ms, deliveries)
            }
            Piece::StreamConsumer { name, seen_ms, active_ms } => parts.consumer(name, seen_ms, active_ms),
            Piece::StreamConsumerPending { id } => parts.consumer_pending(id),
            _ => return Err(MIXED),
        }
        .map_err(Reason::Corrupt)
    }

    /// Also tells what was put right, if anything was.
    pub fn finish(self) -> Result<(Stream, Option<&'static str>), Reason> {
        self.0.finish().map_err(Reason::Corrupt)
    }
}
