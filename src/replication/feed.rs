//! What shards have done becomes the stream.
//!
//! A snapshot's place in the stream is exact: all batches up to its ticket, and none after it. A shard draws a later ticket only when the
//! task has been told of the snapshot. So what the feed has is taken first, then the events, and only then anything is emitted: the task
//! knows of a snapshot before anything behind it is in the backlog.

use std::collections::VecDeque;

use super::core::Core;
use super::master;
use super::message::ReplMessage;
use crate::base::log::Level;
use crate::journal::feed::FeedReader;
use crate::journal::Ticket;
use crate::repl::master::handshake::JobId;
use crate::repl::sequencer::{Sequencer, Violation};

/// Deliveries taken before the stream is written and sent.
const DELIVERIES_MAX: usize = 4096;

#[derive(Default)]
pub struct Feed {
    open: Option<(FeedReader, Sequencer)>,
    /// Snapshots whose place in the stream has not come yet, in the order of their tickets.
    cuts: VecDeque<(Ticket, JobId)>,
}

impl Feed {
    pub fn begin(&mut self, reader: FeedReader) {
        let sequencer = Sequencer::new(reader.first);
        self.open = Some((reader, sequencer));
    }

    pub fn end(&mut self) {
        self.open = None;
        self.cuts.clear();
    }

    /// Everything that was drawn before `next` is in the stream.
    pub fn has_left(&self, next: Ticket) -> bool {
        self.open.as_ref().is_none_or(|(_, sequencer)| sequencer.next_ticket() >= next)
    }

    /// The snapshot has what has at most this ticket.
    pub fn cut_at(&mut self, ticket: Ticket, job: JobId) {
        self.cuts.push_back((ticket, job));
    }

    pub fn forget_cut(&mut self, job: JobId) {
        self.cuts.retain(|(_, of)| *of != job);
    }

    /// The first snapshot whose place has come, and the offset of the last byte that it has.
    fn reached_cut(&mut self) -> Option<(JobId, u64)> {
        let (ticket, job) = *self.cuts.front()?;
        let offset = self.open.as_ref()?.1.offset_of_cut(ticket)?;
        self.cuts.pop_front();
        Some((job, offset))
    }

    /// An offset at which everything that was drawn before `ticket_end` is in the stream, whose offset is `now`; `None`: it is not yet.
    pub fn offset_of(&self, ticket_end: Ticket, now: u64) -> Option<u64> {
        let Some((reader, sequencer)) = &self.open else { return Some(now) };
        match ticket_end.checked_sub(1) {
            Some(last) if ticket_end > reader.first => sequencer.offset_after(last, now),
            // It wrote before there was a stream, or never.
            _ => Some(0),
        }
    }

    pub fn throttle(&self, is_on: bool) {
        if let Some((reader, _)) = &self.open {
            reader.fill().throttle(is_on);
        }
    }

    fn take(&mut self) -> Result<bool, Violation> {
        let Some((reader, sequencer)) = &mut self.open else { return Ok(false) };
        for _ in 0..DELIVERIES_MAX {
            let Some(delivery) = reader.next() else { return Ok(false) };
            sequencer.deliver(delivery)?;
        }
        Ok(true)
    }
}

impl Core {
    /// Takes what the feed has, without emitting any of it. True: there may be more.
    pub fn take_feed(&mut self) -> bool {
        self.feed.take().unwrap_or_else(|violation| {
            self.stream_is_broken(violation);
            false
        })
    }

    /// Writes into the stream what can be written.
    pub fn emit(&mut self) {
        let Some((_, sequencer)) = &mut self.feed.open else {
            // A replica's stream is where it was when the snapshot was ordered.
            while let Some((_, job)) = self.feed.cuts.pop_front() {
                self.cut_is_reached(job, self.writer.offset());
            }
            return;
        };
        let emitted = sequencer.emit(&mut self.writer);
        // What comes after a snapshot is kept for its replicas before it goes into the backlog, which may be smaller than it.
        while let Some((job, offset)) = self.feed.reached_cut() {
            self.flush_up_to(offset);
            self.cut_is_reached(job, offset);
        }
        self.flush();
        if let Err(violation) = emitted {
            self.stream_is_broken(violation);
        }
    }

    /// A shard broke the rules of the feed, which is a fault of this program: no replica may trust the stream any more.
    #[cold]
    fn stream_is_broken(&mut self, violation: Violation) {
        crate::log!(
            Level::Warning,
            "The replication stream cannot go on: {violation}. All replicas are disconnected, and need a full \
             synchronization. Please report this."
        );
        let now_ms = self.now_ms();
        self.replicas.disconnect_all(now_ms);
        self.free_backlog();
    }

    /// The stream is given up, and what comes after is of another history.
    pub fn free_backlog(&mut self) {
        if self.backlog.take().is_none() {
            return;
        }
        self.peers.values_mut().for_each(|peer| peer.forget_stream());
        self.history.renew(super::core::new_id());
        self.feed.end();
        self.tell(master::LEADER, ReplMessage::EndFeed);
    }
}
