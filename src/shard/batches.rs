//! Requests of other shards' clients, which come in batches: those whose keys are all here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use smallvec::SmallVec;

use super::call::{Call, Called, Within};
use super::replies::push_reply;
use super::request::LOOK_AHEAD;
use super::transactions::Waiting;
use super::Shard;
use crate::client::Share;
use crate::store::{slot_of, Prefetched};
use crate::txn::message::{BatchedRequest, OwnedArgs, OwnedCommand, RequestBatch, Slices};

/// Large replies that a shard has not taken in yet are so many bytes, or no more requests of its connections run.
const UNTAKEN_BYTES_MAX: usize = 16 << 20;
/// A reply that counts there, bytes. Smaller ones are bounded by their number.
const COUNTED_BYTES_MIN: usize = 16 * 1024;

impl Shard {
    /// Runs the requests that another shard's clients have for this one, as many as its share of the turn has room for.
    pub(super) fn run_batch(&mut self, from: usize, batch: Box<RequestBatch>) {
        let arrived = &self.executor.arrived[from];
        let using = self.executor.begin_remote_share(&self.turn, arrived.share, arrived.reply_bytes);
        let mut is_over = arrived.is_untaken();
        let mut at = 0;
        let mut argument = 0;
        for requests in batch.requests.chunks(LOOK_AHEAD) {
            let mut prepared: SmallVec<[Arrived; LOOK_AHEAD]> = SmallVec::new();
            for request in requests {
                let lengths = &batch.lengths[argument..argument + request.argument_count];
                argument += request.argument_count;
                let args: Slices = lengths
                    .iter()
                    .map(|len| {
                        let arg = &batch.bytes[at..at + len];
                        at += len;
                        arg
                    })
                    .collect();
                let ahead = self.ahead_of(request, &args);
                prepared.push(Arrived { request, args, ahead });
            }
            self.fetch_arrived(&prepared);
            for arrived in &prepared {
                is_over =
                    is_over || self.executor.is_used_up(&using, self.executor.arrived[from].reply_bytes);
                let may_wait = is_over || !self.executor.deferred.is_empty();
                if may_wait && self.executor.deferred.take_in(from, arrived.request, &arrived.args, is_over) {
                    continue;
                }
                self.run_arrived(from, arrived);
            }
        }
        self.executor.arrived[from].share =
            self.executor.end_share(&using, self.executor.arrived[from].reply_bytes);
        self.store.clear_slot_hint();
        self.peers.outbox.recycle_requests(batch);
    }

    /// Goes on with requests that were set aside, each connection with a share of its own. True when there are more.
    pub(super) fn run_deferred(&mut self) -> bool {
        for _ in 0..self.executor.deferred.due() {
            let Some(client) = self.executor.deferred.begin_turn() else { break };
            let home = client.0;
            let using = self.executor.begin_share(
                &self.turn,
                Share::default(),
                self.executor.arrived[home].reply_bytes,
                usize::MAX,
            );
            while !self.executor.arrived[home].is_untaken()
                && !self.executor.is_used_up(&using, self.executor.arrived[home].reply_bytes)
            {
                let Some((request, args)) = self.executor.deferred.next(client) else { break };
                let args = args.slices();
                let ahead = self.ahead_of(&request, &args);
                self.run_arrived(home, &Arrived { request: &request, args, ahead });
            }
            self.executor.deferred.end_turn(client);
        }
        self.store.clear_slot_hint();
        self.executor.deferred.due() > 0
    }

    fn ahead_of(&self, request: &BatchedRequest, args: &[&[u8]]) -> Option<(usize, Prefetched)> {
        request.spec.single_key().map(|(index, _)| {
            let key = args[index];
            (index, self.store.prefetch_table(request.db, key, slot_of(key)))
        })
    }

    /// Fetches the keys into the caches, step by step for all of them.
    fn fetch_arrived(&self, prepared: &[Arrived]) {
        for (arrived, ahead) in prepared.iter().filter_map(|arrived| Some((arrived, arrived.ahead?.1))) {
            self.store.fetch_bucket(arrived.request.db, ahead);
        }
        for (arrived, ahead) in prepared.iter().filter_map(|arrived| Some((arrived, arrived.ahead?.1))) {
            self.store.fetch_entry(arrived.request.db, ahead);
        }
    }

    fn run_arrived(&mut self, from: usize, Arrived { request, args, ahead }: &Arrived) {
        let BatchedRequest { origin, spec, db, ref caller, protocol, .. } = **request;
        if let Some((scope, command)) = self.intents_in_front((from, origin.client), spec, db, args) {
            let waiting = Waiting::Command { shard: from, origin, command, caller: *caller, protocol };
            return self.transactions.wait_behind(&self.turn, &scope, from, origin.client, waiting);
        }
        if let Some((index, ahead)) = ahead {
            self.store.prefetch_hint(args[*index], *ahead);
        }
        let mut reply = self.executor.take_reply(protocol);
        match self.call(Call { spec, db, args, caller, within: Within::Nothing }, &mut reply) {
            Called::Standing(script) => {
                self.adopt_script(script, from, origin, None);
            }
            Called::Blocked(run) => {
                let command = OwnedCommand::new(spec, db, OwnedArgs::from_slices(args));
                self.block_origin(from, origin, command, *caller, protocol, run);
            }
            Called::Replied | Called::Failed(_) => {
                let is_held = self.journal.log.is_open() && self.journal.may_show(spec, args);
                self.executor.arrived[from].reply_bytes += reply.len();
                if reply.is_over_bound() {
                    self.close_for_output(from, origin.client);
                }
                let bytes = reply.len();
                let batch = self.peers.outbox.replies(from, is_held);
                push_reply(batch, origin, &mut reply);
                if bytes >= COUNTED_BYTES_MIN {
                    let untaken = &self.executor.arrived[from].untaken;
                    untaken.fetch_add(bytes, Ordering::Relaxed);
                    batch.untaken.get_or_insert_with(|| (untaken.clone(), 0)).1 += bytes;
                }
            }
        }
        self.executor.spare_reply = reply;
    }
}

/// A request of another shard's client, and what is known about it before it runs.
struct Arrived<'a> {
    request: &'a BatchedRequest,
    args: Slices<'a>,
    /// The index of its only key, and where that is.
    ahead: Option<(usize, Prefetched)>,
}

/// What another shard's connections have had of this one.
#[derive(Default)]
pub(super) struct ArrivedRequests {
    share: Share,
    /// Bytes of their replies, ever.
    reply_bytes: usize,
    /// Of large ones, those that the other shard has not taken in yet.
    untaken: Arc<AtomicUsize>,
}

impl ArrivedRequests {
    fn is_untaken(&self) -> bool {
        self.untaken.load(Ordering::Relaxed) > UNTAKEN_BYTES_MAX
    }
}
