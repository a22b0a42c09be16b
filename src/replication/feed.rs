//! What shards have done becomes the stream.
//!
//! A snapshot's place in the stream is exact: all batches up to its ticket, and none after it. A shard draws a later ticket only when the
//! task has been told of the snapshot. So what the feed has is taken first, then the events, and only then anything is emitted, up to the
//! next snapshot's ticket.

use std::collections::{BTreeMap, HashMap, VecDeque};

use smallvec::SmallVec;

use super::core::Core;
use super::master;
use super::message::ReplMessage;
use crate::base::log::Level;
use crate::journal::feed::{Batch, Fed, FeedPart, FeedReader, InBatch, Load};
use crate::journal::{Number, Ticket, View};
use crate::repl::master::handshake::JobId;
use crate::repl::sequencer::{self, Effect, Entry, Part, Sequencer, Unit, Violation};

/// What waits in the sequencer counts in the feed's own fill, which bounds it.
const SEQUENCER_FILL_MAX: usize = usize::MAX;
/// Deliveries taken before the stream is written and sent.
const DELIVERIES_MAX: usize = 4096;

#[derive(Default)]
pub struct Feed {
    open: Option<Open>,
    /// Snapshots whose place in the stream has not come yet, in the order of their tickets.
    cuts: VecDeque<(Ticket, JobId)>,
}

struct Open {
    reader: FeedReader,
    sequencer: Sequencer,
    /// What counts in the feed's fill until it has left.
    batches: BTreeMap<Ticket, Load>,
    parts: HashMap<Number, SmallVec<[Load; 2]>>,
}

impl Feed {
    pub fn begin(&mut self, reader: FeedReader) {
        let sequencer = Sequencer::new(reader.first, SEQUENCER_FILL_MAX);
        self.open = Some(Open { reader, sequencer, batches: BTreeMap::new(), parts: HashMap::new() });
    }

    pub fn end(&mut self) {
        self.open = None;
        self.cuts.clear();
    }

    /// Everything that was drawn before `next` is in the stream.
    pub fn has_left(&self, next: Ticket) -> bool {
        self.open.as_ref().is_none_or(|open| open.sequencer.next_ticket() >= next)
    }

    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The snapshot has what has at most this ticket.
    pub fn cut_at(&mut self, ticket: Ticket, job: JobId) {
        self.cuts.push_back((ticket, job));
    }

    pub fn forget_cut(&mut self, job: JobId) {
        self.cuts.retain(|(_, of)| *of != job);
    }

    /// An offset at which everything that was drawn before `ticket_end` is in the stream, whose offset is `now`; `None`: it is not yet.
    pub fn offset_of(&self, ticket_end: Ticket, now: u64) -> Option<u64> {
        let Some(open) = &self.open else { return Some(now) };
        match ticket_end.checked_sub(1) {
            Some(last) if ticket_end > open.reader.first => open.sequencer.offset_after(last, now),
            // It wrote before there was a stream, or never.
            _ => Some(0),
        }
    }

    pub fn throttle(&self, is_on: bool) {
        if let Some(open) = &self.open {
            open.reader.fill().throttle(is_on);
        }
    }
}

impl Open {
    fn take(&mut self) -> Result<bool, Violation> {
        for _ in 0..DELIVERIES_MAX {
            let Some(delivery) = self.reader.next() else { return Ok(false) };
            match delivery.fed {
                Fed::Batch(batch) => {
                    self.batches.insert(batch.ticket, delivery.load);
                    self.sequencer.batch(converted(&batch))?;
                }
                Fed::Part(FeedPart { transaction, shard, unit }) => {
                    self.parts.entry(transaction).or_default().push(delivery.load);
                    self.sequencer.part(Part { transaction, shard, unit: unit_of(unit.view()) })?;
                }
            }
        }
        Ok(true)
    }

    /// What has left counts no more.
    fn settle(&mut self) {
        let next = self.sequencer.next_ticket();
        while self.batches.first_key_value().is_some_and(|(ticket, _)| *ticket < next) {
            self.batches.pop_first();
        }
        for transaction in self.sequencer.take_left() {
            self.parts.remove(&transaction);
        }
    }
}

fn converted(batch: &Batch) -> sequencer::Batch {
    let entry = |entry| match entry {
        InBatch::Unit(view) => Entry::Unit(unit_of(view)),
        InBatch::Placeholder { transaction, writers } => Entry::Placeholder {
            transaction,
            writers: writers.iter().map(|shard| usize::from(*shard)).collect(),
        },
    };
    sequencer::Batch {
        ticket: batch.ticket,
        shard: batch.shard,
        entries: batch.entries().map(entry).collect(),
    }
}

fn unit_of(view: View) -> Unit {
    let mut bytes = Vec::with_capacity(view.byte_len());
    let mut effects = SmallVec::new();
    for (place, command) in view.commands() {
        bytes.extend_from_slice(command);
        let end = bytes.len();
        effects.push(Effect { db: place.db, end, step: place.step, is_everywhere: place.is_everywhere });
    }
    Unit::new(bytes, effects)
}

impl Core {
    /// Takes what the feed has, without emitting any of it. True: there may be more.
    pub fn take_feed(&mut self) -> bool {
        let taken = self.feed.open.as_mut().map_or(Ok(false), Open::take);
        taken.unwrap_or_else(|violation| {
            self.stream_is_broken(violation);
            false
        })
    }

    /// Writes into the stream what can be written.
    pub fn emit(&mut self) {
        loop {
            let Some(open) = &mut self.feed.open else {
                // A replica's stream is where it was when the snapshot was ordered.
                while let Some((_, job)) = self.feed.cuts.pop_front() {
                    self.cut_is_reached(job);
                }
                return;
            };
            let cut = self.feed.cuts.front().copied();
            let last = cut.map_or(Ticket::MAX, |(ticket, _)| ticket);
            let emitted = open.sequencer.emit_up_to(last, &mut self.writer);
            open.settle();
            let next = open.sequencer.next_ticket();
            self.flush();
            if let Err(violation) = emitted {
                return self.stream_is_broken(violation);
            }
            match cut {
                Some((ticket, job)) if next > ticket => {
                    self.feed.cuts.pop_front();
                    self.cut_is_reached(job);
                }
                _ => return,
            }
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
