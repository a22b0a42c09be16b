//! Runs commands on this shard's store, for its own clients and for other shards', and accounts for them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use smallvec::SmallVec;

use super::request::LOOK_AHEAD;

use super::Shard;
use crate::base::log::Level;
use crate::base::Stamp;
use crate::client::Share;
use crate::client::{Connection, Stall};
use crate::command::table::{CommandSpec, Gather, Handler, KeyPositions, Reaching, Spread};
use crate::command::{Args, Caller, CommandError, CommandResult, Context, Effect};
use crate::resp::Reply;
use crate::store::{slot_of, Ahead, Store};
use crate::txn::join::cursor_of;
use crate::txn::message::{
    BatchedRequest, BlockedRun, Origin, OwnedArgs, OwnedCommand, ReplyBatch, RequestBatch, Slices,
};
use crate::txn::plan::outer_cursor;

/// Large replies that a shard has not taken in yet are so many bytes, or no more requests of its connections run.
const UNTAKEN_BYTES_MAX: usize = 16 << 20;
/// A reply that counts there, bytes. Smaller ones are bounded by their number.
const COUNTED_BYTES_MIN: usize = 16 * 1024;

impl Shard {
    /// Runs one command on this shard's keys; its reply, an error included, goes to the end of `reply`. When it blocks it
    /// has no reply yet, and does not count as called.
    #[inline]
    pub(super) fn run_command(
        &mut self,
        spec: &'static CommandSpec,
        db: usize,
        args: Args,
        caller: &Caller,
        reply: &mut Reply,
    ) -> Option<BlockedRun> {
        if let Handler::Script = spec.handler {
            self.run_script(spec, db, args, caller, reply);
            return None;
        }
        let mark = reply.mark();
        let dirty = self.store.dirty;
        self.store.no_touch = caller.no_touch;
        self.store.passed_over = false;
        let mut blocking = None;
        let mut effect = Effect::default();
        let started = Stamp::now();
        let result = match spec.handler {
            Handler::Keys(run, spread) => {
                let restricted;
                let mut caller = caller;
                if let Spread::Reach(_) = spread {
                    restricted =
                        Caller { may_not_reach: !self.may_reach(spec, args, caller.user), ..*caller };
                    caller = &restricted;
                }
                if spec.has_movable_keys() {
                    self.guard_keys(spec, db, args);
                }
                let mut ctx = context(&mut self.store, db, reply, caller);
                let result = run(&mut ctx, args);
                blocking = ctx.blocking;
                effect = ctx.effect;
                if self.store.end_guard() {
                    Err(self.strayed(spec))
                } else {
                    result
                }
            }
            Handler::EveryShard(_, Gather::Cursor) => self.run_with_cursor(spec, db, args, caller, reply),
            Handler::EveryShard(..) if spec.name.starts_with("function|") => {
                self.change_libraries(spec, args, caller, reply)
            }
            Handler::EveryShard(run, _) => {
                let mut ctx = context(&mut self.store, db, reply, caller);
                let result = run(&mut ctx, args);
                effect = ctx.effect;
                if self.id == 0 && result.is_ok() && spec.name == "flushall" {
                    self.all_flushed();
                }
                if result.is_ok() && matches!(spec.name, "flushall" | "flushdb") {
                    self.all_copies_are_outdated();
                }
                result
            }
            Handler::Channel => {
                self.run_publish(spec, args, reply);
                Ok(())
            }
            // Routing never brings these here.
            Handler::Connection | Handler::Container | Handler::Script => Ok(()),
        };
        let nanos = Stamp::now().nanos_since(started);
        self.executor.spent_nanos += nanos;
        let nanos = nanos + caller.spent_nanos;
        let blocked = blocking.filter(|_| result.is_ok());
        if caller.remembers_reads && blocked.is_none() {
            self.remember_reads(spec, args, caller);
        }
        if !caller.is_extra_part && blocked.is_none() {
            self.stats.called(spec.id, nanos);
        }
        if let Err(error) = result {
            let text = error.text();
            if !caller.is_extra_part {
                self.stats.commands[spec.id as usize].failed.add(1);
                self.stats.count_error(&text);
            }
            reply.truncate(mark);
            reply.error(&text);
        }
        if caller.on_excerpts {
            if let Effect::Instead(effects) = effect {
                self.executor.workbench.effects = effects;
            }
        } else if self.store.log_enabled && !caller.is_unlogged {
            self.collect(spec, db, args, effect, self.store.dirty != dirty);
        }
        if self.store.dirty != dirty {
            self.stats.dirty.add(self.store.dirty - dirty);
            self.show_len(db);
        }
        self.publish_events();
        self.tell_changes(caller.client_id);
        if let Some(blocking) = blocked {
            reply.truncate(mark);
            return Some((blocking, nanos));
        }
        self.note_slow(spec, args, caller, nanos);
        self.note_time_taken(nanos);
        None
    }

    /// A command whose keys depend on its options finds no others than those that it has intents for and its user was allowed.
    fn guard_keys(&mut self, spec: &'static CommandSpec, db: usize, args: Args) {
        // On a workbench the loans say which keys there are. SORT may look up any key then.
        if self.store.is_guarded() || Reaching::of(spec, args).is_some() {
            return;
        }
        let mut keys = KeyPositions::new();
        spec.key_positions(args, &mut keys);
        self.store.guard(keys.iter().map(|key| (db, args[key.index])));
    }

    /// A command asked for a key that is not in its plan: an error of the server's, which the client and the operator are told.
    #[cold]
    fn strayed(&mut self, spec: &CommandSpec) -> CommandError {
        self.executor.workbench.has_strayed = true;
        crate::log!(
            Level::Warning,
            "The command {} used a key that it does not name. Please report this.",
            spec.name
        );
        CommandError::other("ERR the command used a key that its arguments do not name")
    }

    /// Tells the other shards how many keys a database has here.
    pub(super) fn show_len(&self, db: usize) {
        if let Some(gauge) = self.stats.databases.get(db) {
            gauge.keys.set(self.store.len(db) as u64);
        }
    }

    /// SCAN: the client's cursor names the shard too; the command itself knows only this shard's part of it.
    fn run_with_cursor(
        &mut self,
        spec: &'static CommandSpec,
        db: usize,
        args: Args,
        caller: &Caller,
        reply: &mut Reply,
    ) -> CommandResult {
        let Handler::EveryShard(run, _) = spec.handler else { return Ok(()) };
        let shards = self.turn.topology.shards as u64;
        let outer = args.get(1).and_then(|text| crate::command::parse::cursor(text).ok());
        let (Some(outer), true) = (outer, shards > 1) else {
            return run(&mut context(&mut self.store, db, reply, caller), args);
        };
        let inner = (outer / shards).to_string();
        let mut inner_args: Slices = args.iter().copied().collect();
        inner_args[1] = inner.as_bytes();
        let mut part = Reply::new(reply.protocol());
        run(&mut context(&mut self.store, db, &mut part, caller), &inner_args)?;
        // The reply is an array of the cursor and the elements: only the cursor changes.
        let (plain, _) = part.take_parts();
        let next = cursor_of(&plain);
        let (digits, rest) = match next {
            Some((cursor, rest)) => (outer_cursor(cursor, self.id, self.turn.topology.shards), rest),
            None => {
                reply.raw(&plain);
                return Ok(());
            }
        };
        reply.array(2);
        reply.bulk_integer(digits as i64);
        reply.raw(&plain[rest..]);
        Ok(())
    }

    /// Runs the requests that another shard's clients have for this one, as many as its share of the turn has room for.
    pub(super) fn run_batch(&mut self, from: usize, batch: Box<RequestBatch>) {
        let arrived = &self.executor.arrived[from];
        let using = self.begin_far_share(arrived.share, arrived.reply_bytes);
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
                is_over = is_over || self.is_used_up(&using, self.executor.arrived[from].reply_bytes);
                let may_wait = is_over || !self.executor.set_aside.is_empty();
                if may_wait && self.executor.set_aside.take_in(from, arrived.request, &arrived.args, is_over)
                {
                    continue;
                }
                self.run_arrived(from, arrived);
            }
        }
        self.executor.arrived[from].share = self.end_share(&using, self.executor.arrived[from].reply_bytes);
        self.store.clear_slot_hint();
        self.peers.outbox.recycle_requests(batch);
    }

    /// Goes on with requests that were set aside, each connection with a share of its own. True when there are more.
    pub(super) fn run_set_aside(&mut self) -> bool {
        for _ in 0..self.executor.set_aside.due() {
            let Some(client) = self.executor.set_aside.begin_turn() else { break };
            let home = client.0;
            let using =
                self.begin_share(Share::default(), self.executor.arrived[home].reply_bytes, usize::MAX);
            while !self.executor.arrived[home].is_untaken()
                && !self.is_used_up(&using, self.executor.arrived[home].reply_bytes)
            {
                let Some((request, args)) = self.executor.set_aside.next(client) else { break };
                let args = args.slices();
                let ahead = self.ahead_of(&request, &args);
                self.run_arrived(home, &Arrived { request: &request, args, ahead });
            }
            self.executor.set_aside.end_turn(client);
        }
        self.store.clear_slot_hint();
        self.executor.set_aside.due() > 0
    }

    fn ahead_of(&self, request: &BatchedRequest, args: &[&[u8]]) -> Option<(usize, Ahead)> {
        request.spec.single_key().map(|(index, _)| {
            let key = args[index];
            (index, self.store.look_ahead(request.db, key, slot_of(key)))
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

    fn run_arrived(&mut self, from: usize, Arrived { request, args, ahead, .. }: &Arrived) {
        self.guard_large_values(request.spec, request.db, args);
        if !self.transactions.locks.is_idle() && self.wait_if_conflicting(from, request, args) {
            return;
        }
        if let Some((index, ahead)) = ahead {
            self.store.ahead_hint(args[*index], *ahead);
        }
        let mut reply = std::mem::take(&mut self.executor.spare_reply);
        reply.set_protocol(request.protocol);
        reply.bound(self.executor.reply_bytes_max);
        let run = self.run_command(request.spec, request.db, args, &request.caller, &mut reply);
        if let Some(script) = self.take_standing_script() {
            self.adopt_script(script, from, request.origin, None);
        } else if let Some(run) = run {
            let BatchedRequest { origin, spec, db, caller, protocol, .. } = **request;
            let command = OwnedCommand::new(spec, db, OwnedArgs::from_slices(args));
            self.block_origin(from, origin, command, caller, protocol, run);
        } else {
            let is_held = self.journal.log.is_open() && self.may_show(request.spec, args);
            self.executor.arrived[from].reply_bytes += reply.len();
            if reply.is_over_bound() {
                self.close_for_output(from, request.origin.client);
            }
            let bytes = reply.len();
            let batch = self.peers.outbox.replies(from, is_held);
            push_reply(batch, request.origin, &mut reply);
            if bytes >= COUNTED_BYTES_MIN {
                let untaken = &self.executor.arrived[from].untaken;
                untaken.fetch_add(bytes, Ordering::Relaxed);
                batch.untaken.get_or_insert_with(|| (untaken.clone(), 0)).1 += bytes;
            }
        }
        self.executor.spare_reply = reply;
        self.serve_if_ready();
    }

    /// Hands a reply to the shard whose client waits for it. `reply` is left empty.
    pub(super) fn reply_to(&mut self, shard: usize, origin: Origin, reply: &mut Reply) {
        if shard == self.id {
            let reply = std::mem::take(reply);
            self.answer(origin, reply);
            return;
        }
        push_reply(self.peers.outbox.replies(shard, true), origin, reply);
    }

    /// Replies of this shard's clients' requests that another shard ran.
    pub(super) fn take_replies(&mut self, mut batch: Box<ReplyBatch>) {
        if let Some((untaken, bytes)) = batch.untaken.take() {
            untaken.fetch_sub(bytes, Ordering::Relaxed);
        }
        let mut from = 0;
        let mut shared = std::mem::take(&mut batch.shared).into_iter();
        // Replies of one client follow each other as a rule.
        let mut current: Option<Box<Connection>> = None;
        for (origin, end, shared_count) in &batch.replies {
            if current.as_ref().is_none_or(|connection| connection.token != origin.client) {
                self.end_replies(current.take());
                current = self.connections.table.take(origin.client);
            }
            let plain = &batch.plain[from..*end];
            match &mut current {
                None => shared.by_ref().take(*shared_count).for_each(drop),
                Some(c) if *shared_count == 0 => {
                    c.pipeline.fill_plain(origin.place, plain, &mut c.output.reply)
                }
                Some(c) => {
                    let mut reply = Reply::new(c.output.reply.protocol());
                    let mut done = 0;
                    for (offset, value) in shared.by_ref().take(*shared_count) {
                        reply.raw(&plain[done..offset - from]);
                        reply.raw_shared(value);
                        done = offset - from;
                    }
                    reply.raw(&plain[done..]);
                    c.pipeline.fill(origin.place, &mut reply);
                }
            }
            from = *end;
            if let Some(c) = current.as_mut().filter(|c| c.stall == Stall::Blocked) {
                self.end_stall(c);
            }
        }
        self.end_replies(current);
        self.peers.outbox.recycle_replies(batch);
    }

    fn end_replies(&mut self, connection: Option<Box<Connection>>) {
        if let Some(mut connection) = connection {
            // The replies may have left the pipeline already.
            self.places_filled(&mut connection);
            self.finish(connection);
        }
    }

    /// A reply for a place in the pipeline of one of this shard's clients, which is not taken.
    pub(super) fn answer(&mut self, origin: Origin, reply: Reply) {
        self.answer_of(origin, reply, true);
    }

    /// As `answer`; `shows_keys`: whether it may tell of what commands have done to keys.
    pub(super) fn answer_of(&mut self, origin: Origin, mut reply: Reply, shows_keys: bool) {
        if let Some(mut connection) = self.connections.table.take(origin.client) {
            if shows_keys {
                connection.made_at = self.journal.log.appended();
            }
            connection.pipeline.fill(origin.place, &mut reply);
            if matches!(connection.stall, Stall::Reply | Stall::Blocked) {
                self.end_stall(&mut connection);
            }
            self.finish(connection);
        }
    }
}

/// A request of another shard's client, and what is known about it before it runs.
struct Arrived<'a> {
    request: &'a BatchedRequest,
    args: Slices<'a>,
    /// The index of its only key, and where that is.
    ahead: Option<(usize, Ahead)>,
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

fn push_reply(batch: &mut ReplyBatch, origin: Origin, reply: &mut Reply) {
    let start = batch.plain.len();
    let mut shared_count = 0;
    if let Some(plain) = reply.as_bytes_if_plain() {
        batch.plain.extend_from_slice(plain);
        reply.clear();
    } else {
        let (plain, shared) = reply.take_parts();
        batch.plain.extend_from_slice(&plain);
        shared_count = shared.len();
        batch.shared.extend(shared.into_iter().map(|(offset, value)| (start + offset, value)));
    }
    batch.replies.push((origin, batch.plain.len(), shared_count));
}

fn context<'a>(store: &'a mut Store, db: usize, reply: &'a mut Reply, caller: &'a Caller) -> Context<'a> {
    Context { store, db, reply, caller, effect: Effect::default(), blocking: None }
}
