//! Full synchronisations: a snapshot that goes to a replica while what comes behind it goes into the feed.
//!
//! ```text
//!   consumer -- FullSync ------> leader
//!                                barrier: the feed begins, if there is none; the mark is drawn; the parts begin
//!   consumer <- AtBarrier ------ {job, ticket}: the file holds what has at most this ticket, the feed what has a larger one
//!   consumer -- SendSync ------> leader: what stands in front of the file; from here on bytes flow
//!   consumer <- bytes ---------- through the socket: the replica's own, or one end of a pair whose other end the consumer reads
//!   consumer <- Ended ----------
//! ```
//!
//! It is made without fork, and each shard's walk rests while `AHEAD_BYTES` wait for the socket; what changes meanwhile is kept, writers
//! wait from a bound on as they do for a slow disk, and beyond `WAITING_BYTES_MAX` it fails. With `slots` it has the keys of some slots.

use crate::shard::saving::Saving;
use crate::shard::turn::TurnState;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::backup::{Content, Stream};
use super::message::{JobId, ThreadReport};
use super::SnapshotCut;
use crate::base::error_text;
use crate::journal::feed::{Bell, FeedReader};
use crate::journal::Ticket;
use crate::persist::backup::{Before, Order, Relay, Target};
use crate::rdb;
use crate::shard::transactions::{Answers, Phase};
use crate::shard::{Shard, LEADER};
use crate::snapshot::Purpose;
use crate::store::SlotSet;

/// What a consumer asks for.
pub struct FullSync {
    /// Where the bytes go.
    pub socket: OwnedFd,
    pub content: Content,
    /// Of RDB; `None`: the configured one.
    pub version: Option<rdb::Version>,
    /// The keys of these slots only.
    pub slots: Option<Arc<SlotSet>>,
    /// Fields of the file's header: `repl-id`, `repl-offset`.
    pub fields: Vec<(String, Vec<u8>)>,
    /// What comes behind the file.
    pub after: Vec<u8>,
    /// Rung when the feed has something for its reader.
    pub bell: Bell,
    pub told: Told,
}

/// How a consumer is told.
pub type Told = Box<dyn Fn(SyncEvent) + Send + Sync>;

/// What a consumer is told, on a shard's thread: it must not wait there.
pub enum SyncEvent {
    AtBarrier {
        job: JobId,
        /// The file holds what has at most this ticket.
        ticket: Ticket,
        /// Of a feed that begins here.
        reader: Option<FeedReader>,
    },
    Ended {
        result: Result<(), String>,
        /// That the socket has taken.
        bytes: u64,
    },
}

impl TurnState {
    fn cut_of_sync(
        &self,
        id: JobId,
        content: Content,
        format: rdb::Format,
        slots: Option<Arc<SlotSet>>,
        fields: Vec<(String, Vec<u8>)>,
    ) -> std::io::Result<(SnapshotCut, Vec<std::fs::File>)> {
        let (sources, parts) = self.pipes_of_parts()?;
        let checksum = self.config.persistence.rdbchecksum;
        let cut = SnapshotCut::new(id, Purpose::FullSync, format, checksum, parts);
        let (has_keys, has_functions) = (content.keys, content.functions);
        Ok((SnapshotCut { has_keys, has_functions, fields, slots, ..cut }, sources))
    }

    fn relay_of_sync(
        &self,
        id: JobId,
        (socket, after): (OwnedFd, Vec<u8>),
        parts: Vec<std::fs::File>,
    ) -> std::io::Result<Relay> {
        let patience = Duration::from_secs(u64::from(self.config.replication.repl_timeout));
        let order = Order { target: Target::Client(socket), before: Before::Later, after, parts, patience };
        let shared = self.shared.clone();
        Relay::start(order, move |outcome| {
            shared.thread_inbox.post(LEADER, ThreadReport::StreamEnded { job: id, outcome }.into());
        })
    }
}

impl Saving {
    /// What stands in front of the file is known: its bytes flow.
    pub(super) fn send_sync(&mut self, id: JobId, before: Vec<u8>) {
        if let Some(stream) = self.job(id).and_then(|active| active.stream.as_ref()) {
            stream.send(before);
        }
    }
}

impl Shard {
    /// The leader: a snapshot for a replica.
    pub(super) fn full_sync(&mut self, sync: FullSync) {
        let id = self.saving.last_id + 1;
        self.saving.last_id = id;
        let told = sync.told;
        let order = (sync.socket, sync.after);
        let format = self.turn.rdb_format();
        let format = rdb::Format { version: sync.version.unwrap_or(format.version), ..format };
        let cut = self.turn.cut_of_sync(id, sync.content, format, sync.slots, sync.fields);
        match cut.and_then(|(cut, sources)| Ok((cut, self.turn.relay_of_sync(id, order, sources)?))) {
            Ok((cut, relay)) => {
                let stream = Stream::for_sync(relay, told, sync.bell);
                self.start_job(Arc::new(cut), None, Some(stream));
            }
            Err(error) => told(SyncEvent::Ended { result: Err(error_text(&error)), bytes: 0 }),
        }
    }

    /// In front of the parts: the feed, and the mark.
    pub(super) fn phases_of_sync(&self, id: JobId, bell: Bell) -> Vec<Phase> {
        let (make, attach, made) = self.phases_of_feed(bell);
        let mark = move |shard: &mut Shard, _: Answers| {
            let reader = made.take();
            let ticket = shard.journal.mark_feed().unwrap_or_default();
            if let Some(stream) = shard.saving.job(id).and_then(|active| active.stream.as_ref()) {
                stream.tell(SyncEvent::AtBarrier { job: id, ticket, reader });
            }
            false
        };
        vec![make, attach, Phase::here(mark)]
    }
}
