//! The journal as a shard has it: what commands did is collected (`crate::journal`), goes to the sinks (the log, the feed of
//! replication), and what tells of it waits until that is safe (`log::held`).

use super::log::held::Held;
use super::log::Log;
use super::message::Message;
use super::push::Push;
use super::transactions::{Answers, BarrierWork, Phase};
use super::Shard;
use crate::command::table::KeyAccess;
use crate::command::Args;
use crate::journal::feed::{feeds, Bell, Feed, FeedReader};
use crate::journal::{self, Ended, Entry, Part, Place, Sink, Unit, Wanted};
use crate::txn::guard::GuardedLocks;
use crate::txn::locks::Number;
use crate::txn::message::Ending;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A message about what a unit does, and the shard that it is for.
type Attached = (usize, Push);

pub struct Journal {
    pub(super) units: journal::Journal<Attached>,
    pub log: Log,
    feed: Option<Box<Feed>>,
    pub(super) held: Held,
    /// Shared with the transactions: it knows the ones that have a part here.
    pub(super) locks: Rc<GuardedLocks>,
}

impl Journal {
    pub(super) fn new(log: Log, locks: Rc<GuardedLocks>) -> Journal {
        Journal { units: journal::Journal::default(), log, feed: None, held: Held::default(), locks }
    }

    /// What the sinks ask for now.
    pub(super) fn wanted(&self) -> Wanted {
        let is_fed = self.feed.is_some();
        Wanted { units: self.log.is_open() || is_fed, slots: false, publications: is_fed }
    }

    /// The unit of a command or body goes to the sinks, if it is complete.
    #[inline]
    pub(super) fn unit_may_end(&mut self, now_us: i64) {
        if let Some(unit) = self.units.complete_unit() {
            append(&mut self.log, &mut self.feed, &Entry { unit, part: None, now_us });
            self.units.forget_unit();
        }
    }

    /// A unit of one command, beside what is in progress.
    pub(super) fn append_alone(&mut self, place: Place, args: Args, now_us: i64) {
        let unit = Unit::of(place, args, self.units.wanted());
        append(&mut self.log, &mut self.feed, &Entry { unit: &unit, part: None, now_us });
    }

    /// A part that is complete goes to the sinks. `shard` is this one, `writers` those that have a part.
    fn append_part(
        &mut self,
        shard: usize,
        transaction: Number,
        writers: &[u16],
        ended: &Ended<Attached>,
        now_us: i64,
    ) {
        let is_writer = writers.contains(&(shard as u16));
        if is_writer || !ended.unit.is_empty() {
            let part = is_writer.then_some(Part { transaction, writers });
            append(&mut self.log, &mut self.feed, &Entry { unit: &ended.unit, part, now_us });
        }
    }

    /// This shard coordinates a transaction, and is about to send the first message that gives intents back.
    pub(super) fn place(&mut self, transaction: Number, writers: &[u16]) {
        if let Some(feed) = self.feed.as_mut().filter(|_| !writers.is_empty()) {
            feed.place(transaction, writers);
        }
    }

    /// The turn's units are complete, and nothing of the turn has left.
    #[inline]
    pub(super) fn draw_ticket(&mut self) {
        if let Some(feed) = &mut self.feed {
            feed.log_is_at(self.log.appended());
            feed.end_turn();
        }
    }

    /// What the log has released goes to the sequencer.
    #[inline]
    pub(super) fn release_feed(&mut self) {
        if let Some(feed) = &mut self.feed {
            feed.release(self.log.released());
        }
    }

    pub(super) fn is_fed(&self) -> bool {
        self.feed.is_some()
    }

    /// Whether new writes wait: for a disk, or a sequencer, that is slower than the clients.
    #[inline]
    pub(super) fn is_congested(&self) -> bool {
        self.log.is_congested() || self.feed.as_ref().is_some_and(|feed| feed.fill().is_full())
    }
}

fn append(log: &mut Log, feed: &mut Option<Box<Feed>>, entry: &Entry) {
    if log.is_open() {
        log.append(entry);
    }
    if let Some(feed) = feed {
        feed.log_is_at(log.appended());
        feed.append(entry);
    }
}

/// The feeds of all shards, on their way to them, and their reader.
#[derive(Clone, Default)]
pub struct MadeFeeds(Arc<Mutex<Made>>);

#[derive(Default)]
struct Made {
    feeds: Vec<Option<Feed>>,
    reader: Option<FeedReader>,
}

impl MadeFeeds {
    fn lock(&self) -> MutexGuard<'_, Made> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take(&self) -> Option<FeedReader> {
        self.lock().reader.take()
    }
}

impl Journal {
    /// At a barrier: what came before it has at most this ticket, and what comes behind it a larger one. `None`: there is no feed.
    pub fn mark_feed(&mut self) -> Option<journal::Ticket> {
        let feed = self.feed.as_mut()?;
        feed.log_is_at(self.log.appended());
        Some(feed.mark())
    }
}

impl Shard {
    /// A sink has come or gone.
    pub(super) fn sinks_changed(&mut self) {
        let wanted = self.journal.wanted();
        self.store.log_enabled = wanted.units;
        if !wanted.units {
            self.store.expired_effects.clear();
        }
        let attached = self.journal.units.set_wanted(wanted);
        self.subscribers.push_all(&self.turn, &mut self.peers, &mut self.journal, attached);
    }

    /// Phases of a barrier from which on what all shards do is fed to one reader, unless it is already; and where the reader is then.
    /// Everything that came before the barrier is not in the feed, and everything that comes behind it is.
    pub(super) fn phases_of_feed(&self, bell: Bell) -> (Phase, Phase, MadeFeeds) {
        let made = MadeFeeds::default();
        let makes = made.clone();
        let shards = self.turn.slots.shards();
        let make = move |shard: &mut Shard, _: Answers| {
            // What a replica's shards do is in its master's stream.
            if !shard.journal.is_fed() && !shard.replication.following.is_replica {
                let (feeds, reader) = feeds(shards, &shard.shared.tickets, &bell);
                *makes.lock() = Made { feeds: feeds.into_iter().map(Some).collect(), reader: Some(reader) };
            }
            false
        };
        (Phase::here(make), Phase::Each(BarrierWork::AttachFeed(made.clone())), made)
    }

    /// At a barrier: this shard's feed begins.
    pub(super) fn attach_feed(&mut self, made: &MadeFeeds) {
        if let Some(feed) = made.lock().feeds.get_mut(self.id).and_then(Option::take) {
            self.journal.feed = Some(Box::new(feed));
            self.sinks_changed();
        }
    }

    /// At a barrier: this shard's feed ends.
    pub(super) fn detach_feed(&mut self) {
        self.journal.feed = None;
        self.sinks_changed();
    }

    /// The shard that leads: begins to feed, for `then`.
    pub fn begin_feed(&mut self, bell: Bell, then: impl FnOnce(&mut Shard, FeedReader) + 'static) {
        let (make, attach, made) = self.phases_of_feed(bell);
        let done = move |shard: &mut Shard, _: Answers| {
            if let Some(reader) = made.take() {
                then(shard, reader);
            }
            false
        };
        self.at_barrier(KeyAccess::Read, [make, attach, Phase::here(done)]);
    }

    /// The shard that leads: no reader wants anything any more.
    pub fn end_feed(&mut self) {
        self.at_barrier(KeyAccess::Read, [Phase::Each(BarrierWork::DetachFeed)]);
    }

    /// At a barrier, on each shard: the feed ends with what was done before, which leaves now.
    pub(super) fn end_feed_with_all(&mut self) {
        if !self.journal.is_fed() {
            return;
        }
        self.journal.draw_ticket();
        if self.journal.log.waits_for_disk() {
            if let Err(error) = self.journal.log.flush_now() {
                crate::log!(
                    crate::base::log::Level::Warning,
                    "Error writing to the AOF file: {}",
                    crate::base::error_text(&error)
                );
            }
        }
        self.journal.release_feed();
        self.detach_feed();
    }

    /// A transaction gives back its intents here: its part is complete.
    pub(super) fn end_part(&mut self, number: Number, ending: &Ending) {
        let writers = &ending.writers;
        let is_shared = writers.len() > 1 && writers.contains(&(self.id as u16));
        if !self.store.log_enabled {
            return self.part_ended(number, ending, is_shared, false);
        }
        let ended = self.journal.units.end_part(number);
        self.journal.append_part(self.id, number, writers, &ended, self.turn.now_us);
        self.subscribers.push_all(&self.turn, &mut self.peers, &mut self.journal, ended.attached);
        self.part_ended(number, ending, is_shared, self.journal.log.is_open());
    }

    fn part_ended(&mut self, number: Number, ending: &Ending, is_shared: bool, is_logged: bool) {
        let writers = ending.writers.len();
        if ending.is_awaited && is_shared {
            // Also when the log has just been closed, or opened, here: the others count on it.
            if is_logged {
                self.journal.log.await_transaction(number, writers);
            } else {
                let moved = self.journal.log.miss_transaction(number, writers);
                self.tell_of_releases(&moved);
            }
        }
        if let Some((coordinator, transaction)) = ending.report_to {
            self.report_when_released(coordinator, transaction);
        }
    }

    /// To be called when more of the log may be safe.
    pub(super) fn settle_parts(&mut self) {
        let moved = self.journal.log.settle_parts();
        self.tell_of_releases(&moved);
    }

    fn tell_of_releases(&mut self, shards: &[usize]) {
        for shard in shards {
            self.send(*shard, Message::PartsReleased);
        }
    }
}
