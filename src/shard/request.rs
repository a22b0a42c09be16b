//! A connection's requests, one after the other: parse, check, then queue (MULTI), run here, send to the shard
//! that owns the keys, or begin a transaction.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::blocking::may_block;
use super::transactions::{Owner, Waiting};
use super::Shard;
use crate::base::Token;
use crate::client::{Connection, Flag, Queued, Stall};
use crate::command::table::{CommandSpec, Flag as CommandFlag, Gather, Handler, KeyAccess, KeyPositions};
use crate::command::{Args, CommandError};
use crate::resp::{Limits, Progress, Protocol, ProtocolError, Reply, RequestParser};
use crate::store::{slot_of, Ahead};
use crate::text;
use crate::txn::locks::{fingerprint_of_client, Scope};
use crate::txn::message::{BatchedRequest, Origin, OwnedArgs, OwnedCommand, Slices};
use crate::txn::plan::{self, Plan, Scopes};

/// Requests of a pipeline whose keys are fetched into the caches together.
pub(super) const LOOK_AHEAD: usize = 16;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// It stays at the head of the input; the connection's stall says until when.
    NotYet,
}

/// Whether a command of the connection has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Done,
    /// The reply comes through the connection's pipeline.
    Later,
    /// A transaction has begun that runs the command, counts it and answers.
    Begun,
    /// Not now: the stall that the command has set says until when.
    NotYet,
}

impl Shard {
    /// Runs the complete requests at the head of `input`; returns how many bytes they took.
    pub(super) fn process(&mut self, c: &mut Connection, input: &[u8]) -> usize {
        let mut parser = std::mem::take(&mut c.parser);
        c.running_bytes = input.len();
        c.running_parser_bytes = parser.memory_bytes();
        c.awaited_bytes = 0;
        c.input_peak_bytes = c.input_peak_bytes.max(input.len());
        let mut at = 0;
        let mut using = self.begin_share(c.share, c.collected_bytes(), self.collected_max(c));
        while !c.is_held() {
            if self.is_used_up(&using, c.collected_bytes()) {
                self.run_later(c);
                break;
            }
            let limits = Limits {
                bulk_len_max: self.config.network.proto_max_bulk_len,
                authenticated: self.is_admitted(c),
            };
            let mut batch: SmallVec<[Prepared; LOOK_AHEAD]> = SmallVec::new();
            // What the first AUTH changes is not known before it has run.
            let depth = if limits.authenticated { LOOK_AHEAD } else { 1 };
            let end = gather(&mut parser, input, at, &limits, depth, &mut batch);
            if batch.len() > 1 {
                self.fetch_keys(c.db, &mut batch);
            }
            let all = batch.iter().all(|request| {
                let run = !c.is_held()
                    && !self.is_used_up(&using, c.collected_bytes())
                    && self.dispatch(c, request) == Taken::Yes;
                if run {
                    using.add_request();
                    at = request.end;
                }
                run
            });
            drop(batch);
            if !all {
                if !c.is_held() {
                    self.run_later(c);
                }
                // The rest is parsed again when the connection goes on.
                parser = RequestParser::new();
                break;
            }
            at = end.at;
            match end.stop {
                None => {}
                Some(Stop::Incomplete { total_hint }) => {
                    c.flags.set(Flag::NeedsInput);
                    c.awaited_bytes = total_hint;
                    break;
                }
                Some(Stop::Error(_)) if c.is_held() => {
                    // Said when the connection goes on, in its place behind what is under way.
                    parser = RequestParser::new();
                    break;
                }
                Some(Stop::Error(error)) => {
                    self.write_reply(c, |_, _, reply| reply.protocol_error(&error));
                    self.stats.count_error(b"ERR");
                    c.flags.set(Flag::CloseAfterReply);
                    break;
                }
            }
        }
        c.share = self.end_share(&using, c.collected_bytes());
        c.parser = parser;
        c.running_bytes = 0;
        c.running_parser_bytes = 0;
        at
    }

    /// Fetches the keys of a batch into the caches, step by step for all of them.
    fn fetch_keys(&self, db: usize, batch: &mut [Prepared]) {
        for request in batch.iter_mut() {
            let Ok(spec) = self.shared.names.resolve(&request.args) else { continue };
            request.spec = Some(spec);
            let Some((index, _)) = spec.single_key() else { continue };
            let key = request.args[index];
            let slot = slot_of(key);
            if crate::store::shard_of_slot(slot, self.topology.shards) == self.id {
                request.ahead = Some(self.store.look_ahead(db, key, slot));
            }
        }
        for ahead in batch.iter().filter_map(|request| request.ahead) {
            self.store.fetch_bucket(db, ahead);
        }
        for ahead in batch.iter().filter_map(|request| request.ahead) {
            self.store.fetch_entry(db, ahead);
        }
    }

    /// Writes a reply in its place: behind the replies that are still awaited, and not at all when the
    /// client has switched replies off.
    pub(super) fn write_reply(
        &mut self,
        c: &mut Connection,
        write: impl FnOnce(&mut Self, &mut Connection, &mut Reply),
    ) {
        let silent = c.flags.any(Flag::ReplyOff as u32 | Flag::ReplySkip as u32);
        if c.pipeline.is_empty() && !silent {
            // What takes its place meanwhile tells the protocol to those who ask the connection.
            let stand_in = Reply::new(c.output.reply.protocol());
            let mut reply = std::mem::replace(&mut c.output.reply, stand_in);
            reply.bound(self.reply_bytes_max);
            write(self, c, &mut reply);
            c.output.reply = reply;
            return;
        }
        let mut reply = std::mem::take(&mut self.spare_reply);
        reply.set_protocol(c.output.reply.protocol());
        reply.bound(self.reply_bytes_max);
        write(self, c, &mut reply);
        // The command may have switched replies off or on for itself (CLIENT REPLY).
        c.output.reply.set_protocol(reply.protocol());
        let silent = c.flags.any(Flag::ReplyOff as u32 | Flag::ReplySkip as u32);
        if silent || reply.is_empty() {
            reply.clear();
            self.spare_reply = reply;
        } else if c.pipeline.is_empty() {
            c.output.reply.append(&mut reply);
            self.spare_reply = reply;
        } else {
            c.pipeline.push(&mut reply);
            self.spare_reply = reply;
        }
    }

    fn refuse(&mut self, c: &mut Connection, spec: Option<&CommandSpec>, error: &CommandError) {
        if let Some(multi) = &mut c.multi {
            multi.refused = true;
        }
        if let Some(spec) = spec {
            self.stats.commands[spec.id as usize].rejected.add(1);
        }
        let mut text = error.text();
        if spec.is_some_and(|spec| spec.name == "exec") {
            // Without MULTI too.
            c.multi = None;
            self.unwatch_all(c);
            let why = text.strip_prefix(b"ERR ").unwrap_or(&text);
            text = text!("EXECABORT Transaction discarded because of: ", why);
        }
        self.stats.count_error(&text);
        self.write_reply(c, |_, _, reply| reply.error(&text));
    }

    /// Why the command may not run now, in the order in which Redis asks.
    fn refusal(&mut self, c: &Connection, spec: &'static CommandSpec, args: Args) -> Option<CommandError> {
        if c.flags.has(Flag::Replay) {
            return None;
        }
        if spec.is(CommandFlag::Protected) && !self.may_use_protected(c, spec) {
            let is_module = spec.name.starts_with("module|");
            let (what, directive) = if is_module {
                ("MODULE", "enable-module-command")
            } else {
                ("DEBUG", "enable-debug-command")
            };
            return Some(CommandError::other(format!(
                "ERR {what} command not allowed. If the {directive} option is set to \"local\", you can run it from a \
                 local connection, otherwise you need to set this option in the configuration file, and then restart \
                 the server."
            )));
        }
        if !self.is_admitted(c) && !spec.is(CommandFlag::NoAuth) {
            return Some(CommandError::other("NOAUTH Authentication required."));
        }
        if c.multi.is_some() && spec.is(CommandFlag::NoMulti) {
            return Some(CommandError::other("ERR Command not allowed inside a transaction"));
        }
        if let Some(error) = self.refusal_by_user(c, spec, args) {
            return Some(error);
        }
        if self.config.memory.maxmemory > 0 && !self.make_room() {
            let exec_denies = spec.name == "exec"
                && c.multi
                    .as_ref()
                    .is_some_and(|multi| multi.queue.iter().any(|q| q.spec.is(CommandFlag::DenyOom)));
            // What is queued takes memory too.
            let would_queue =
                c.multi.is_some() && !matches!(spec.name, "exec" | "discard" | "quit" | "reset");
            if spec.is(CommandFlag::DenyOom) || exec_denies || would_queue {
                return Some(CommandError::OutOfMemory);
            }
        }
        if let Some(error) = self.refusal_by_disk(c, spec) {
            return Some(error);
        }
        if c.flags.has(Flag::Subscriber)
            && c.output.reply.protocol() == Protocol::Resp2
            && !is_for_subscribers(spec)
        {
            return Some(CommandError::other(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
                 context",
                spec.name
            )));
        }
        let queued = c.multi.iter().filter(|_| spec.name == "exec").flat_map(|multi| &multi.queue);
        let wants_data = |spec: &CommandSpec| !spec.is(CommandFlag::Loading);
        if self.shared.status.is_loading()
            && (wants_data(spec) || queued.into_iter().any(|queued| wants_data(queued.spec)))
        {
            return Some(CommandError::other("LOADING Redis is loading the dataset in memory"));
        }
        if !spec.is(CommandFlag::AllowBusy) && self.is_held_up(spec) {
            return Some(self.busy_error());
        }
        if c.flags.has(Flag::Monitor) {
            let queue = c.multi.iter().filter(|_| spec.name == "exec").flat_map(|multi| &multi.queue);
            if touches_keys(spec) || queue.into_iter().any(|queued| touches_keys(queued.spec)) {
                return Some(CommandError::other("ERR Replica can't interact with the keyspace"));
            }
        }
        None
    }

    /// Whether a script has held up for long what the command needs: this shard, or all of them.
    fn is_held_up(&self, spec: &CommandSpec) -> bool {
        let scripts = &self.shared.scripts;
        match spec.handler {
            Handler::EveryShard(_, Gather::Sum | Gather::Concat | Gather::First) => scripts.is_any_busy(),
            _ => scripts.is_busy(self.id),
        }
    }

    /// Writes are refused when they could not be kept, and PING with them, so that whoever watches the server notices.
    fn refusal_by_disk(&mut self, c: &Connection, spec: &CommandSpec) -> Option<CommandError> {
        let save_failed = self.shared.status.save_failed.load(Ordering::Relaxed);
        if !save_failed && self.log.write_refusal().is_none() || self.shared.status.is_loading() {
            return None;
        }
        let queue = c.multi.iter().filter(|_| spec.name == "exec").flat_map(|multi| &multi.queue);
        let concerned = spec.is(CommandFlag::Write)
            || spec.name == "ping"
            || queue.into_iter().any(|queued| queued.spec.is(CommandFlag::Write));
        if !concerned {
            return None;
        }
        self.disk_refusal()
    }

    /// Why writes are refused, when they could not be kept.
    pub(super) fn disk_refusal(&mut self) -> Option<CommandError> {
        let save_failed = self.shared.status.save_failed.load(Ordering::Relaxed);
        let persistence = &self.config.persistence;
        if save_failed && persistence.stop_writes_on_bgsave_error && !persistence.save.0.is_empty() {
            return Some(CommandError::other(
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
                 Commands that may modify the data set are disabled, because this instance is configured to report errors \
                 during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs \
                 for details about the RDB error.",
            ));
        }
        self.log.write_refusal()
    }

    fn dispatch(&mut self, c: &mut Connection, request: &Prepared) -> Taken {
        let args = &request.args[..];
        let resolved = request.spec.map_or_else(|| self.shared.names.resolve(args), Ok);
        let spec = match resolved {
            Ok(spec) => spec,
            Err(error) => {
                if self.is_cross_protocol(c, args) {
                    return Taken::Yes;
                }
                // A wrong number of arguments is held against the command.
                self.refuse(c, self.shared.names.find(args), &error);
                self.end_request(c);
                return Taken::Yes;
            }
        };
        c.last_command = Some(spec);
        let evicted = self.store.stats.evicted_keys;
        if let Some(error) = self.refusal(c, spec, args) {
            self.refuse(c, Some(spec), &error);
            self.end_request(c);
            return Taken::Yes;
        }
        if c.tracking.is_some() && self.store.stats.evicted_keys != evicted {
            // It hears of what had to go for the command before the reply, so in the next turn.
            self.look_again(c);
            return Taken::NotYet;
        }
        if self.is_paused(spec, args, c) {
            self.hold_for_pause(c);
            return Taken::NotYet;
        }
        if self.is_held_by_log(c, spec) {
            return Taken::NotYet;
        }
        let taken = match &mut c.multi {
            Some(multi) if !runs_inside_multi(spec) => {
                let args = OwnedArgs::from_slices(args);
                multi.bytes += args.bytes();
                multi.queue.push(Queued { spec, args });
                self.write_reply(c, |_, _, reply| reply.simple("QUEUED"));
                Taken::Yes
            }
            _ => {
                let taken = self.route(c, spec, args, request.ahead);
                if taken == Taken::Yes {
                    self.show_to_monitors(c, c.db, spec, args);
                }
                taken
            }
        };
        if taken == Taken::Yes {
            self.end_request(c);
        }
        taken
    }

    /// CLIENT REPLY SKIP and CLIENT CACHING concern exactly the next request.
    fn end_request(&mut self, c: &mut Connection) {
        if let Some(tracking) = c.tracking.as_deref_mut().filter(|_| c.multi.is_none()) {
            // CLIENT CACHING is about the next command that is none of CLIENT.
            if !c.last_command.is_some_and(|spec| spec.name.starts_with("client|")) {
                tracking.has_chosen = false;
            }
        }
        if c.flags.any(Flag::ReplySkip as u32 | Flag::ReplySkipNext as u32) {
            c.flags.assign(Flag::ReplySkip, c.flags.has(Flag::ReplySkipNext));
            c.flags.clear(Flag::ReplySkipNext);
        }
    }

    fn route(
        &mut self,
        c: &mut Connection,
        spec: &'static CommandSpec,
        args: Args,
        ahead: Option<Ahead>,
    ) -> Taken {
        if matches!(spec.handler, Handler::Connection | Handler::Container) {
            // What changes or shows the server does so behind the requests in front of it.
            if spec.is(CommandFlag::Admin) && !self.may_begin_transaction(c) {
                return Taken::NotYet;
            }
            return self.run_connection_command(c, spec, args);
        }
        if let Handler::Script = spec.handler {
            return self.route_script(c, spec, args);
        }
        if let Some((index, access)) = spec.single_key() {
            let key = args[index];
            let owner = match ahead {
                Some(ahead) => {
                    self.store.ahead_hint(key, ahead);
                    self.id
                }
                None => {
                    let slot = slot_of(key);
                    let owner = crate::store::shard_of_slot(slot, self.topology.shards);
                    if owner == self.id {
                        self.store.slot_hint(key, slot);
                    }
                    owner
                }
            };
            if owner == self.id && self.locks.is_idle() {
                self.run_here(c, spec, args);
                return Taken::Yes;
            }
            return self.at(c, spec, args, owner, || {
                let mut scopes = Scopes::default();
                scopes.add_key(owner, key, access);
                scopes
            });
        }
        let may_block = may_block(spec, args);
        // Those in front are answered first, and those behind wait: while it waits nothing of its client runs.
        if may_block && !self.may_begin_transaction(c) {
            return Taken::NotYet;
        }
        let taken = self.route_by_keys(c, spec, args);
        if may_block && taken == Taken::Yes && !c.pipeline.is_empty() && c.stall == Stall::None {
            c.stall = Stall::Blocked;
        }
        taken
    }

    fn route_by_keys(&mut self, c: &mut Connection, spec: &'static CommandSpec, args: Args) -> Taken {
        let mut keys = KeyPositions::new();
        spec.key_positions(args, &mut keys);
        match plan::plan(spec, args, &keys, self.topology, || self.key_count(c.db)) {
            Plan::Anywhere => {
                self.run_here(c, spec, args);
                Taken::Yes
            }
            Plan::At(owner) => {
                let topology = self.topology;
                self.at(c, spec, args, owner, || {
                    let mut scopes = Scopes::default();
                    plan::scopes(args, &keys, topology, &mut scopes);
                    scopes
                })
            }
            Plan::Cursor { shard, .. } => self.at(c, spec, args, shard, || whole_read(shard)),
            Plan::EveryShard { access, .. }
                if self.topology.shards == 1 && !self.empties_saved_file(spec) =>
            {
                self.at(c, spec, args, self.id, || whole(access))
            }
            Plan::Split(..) | Plan::Lend { .. } | Plan::Reach { .. } | Plan::EveryShard { .. } => {
                if !self.may_begin_transaction(c) {
                    return Taken::NotYet;
                }
                let command = OwnedCommand::new(spec, c.db, OwnedArgs::from_slices(args));
                self.begin_transaction(c, vec![command], false);
                Taken::Yes
            }
        }
    }

    /// A script runs where its keys are, if that is one shard and it is known to keep to them.
    fn route_script(&mut self, c: &mut Connection, spec: &'static CommandSpec, args: Args) -> Taken {
        self.guard_large_values(spec, c.db, args);
        if self.topology.shards == 1 {
            if !self.locks.is_idle() && !self.may_reserve(c, self.id) {
                return Taken::NotYet;
            }
            self.show_script(c, c.db, spec, args);
            if self.locks.is_idle() {
                self.run_here(c, spec, args);
                return Taken::Yes;
            }
            // It may touch keys that it does not name.
            return self.at(c, spec, args, self.id, || whole(KeyAccess::Write));
        }
        let mut scopes = Scopes::default();
        let is_wide = self.script_reaches_far(spec, args);
        if !is_wide {
            let mut keys = KeyPositions::new();
            spec.key_positions(args, &mut keys);
            plan::scopes(args, &keys, self.topology, &mut scopes);
        }
        if is_wide || scopes.by_shard.len() > 1 {
            if !self.may_begin_transaction(c) {
                return Taken::NotYet;
            }
            self.show_script(c, c.db, spec, args);
            let command = OwnedCommand::new(spec, c.db, OwnedArgs::from_slices(args));
            self.begin_transaction(c, vec![command], false);
            return Taken::Yes;
        }
        let owner = scopes.by_shard.first().map_or(self.id, |(shard, _)| *shard);
        if owner != self.id && !self.may_reserve(c, owner) {
            return Taken::NotYet;
        }
        self.show_script(c, c.db, spec, args);
        self.at(c, spec, args, owner, || scopes)
    }

    fn run_here(&mut self, c: &mut Connection, spec: &'static CommandSpec, args: Args) {
        let caller = self.caller_of(c);
        let db = c.db;
        let mut run = None;
        self.write_reply(c, |shard, _, reply| run = shard.run_command(spec, db, args, &caller, reply));
        self.note_run(c, spec, args);
        if let Some(script) = self.take_standing_script() {
            let origin = self.reserve(c);
            c.stall = Stall::Reply;
            self.adopt_script(script, self.id, origin, None);
        }
        if let Some(run) = run {
            let command = OwnedCommand::new(spec, db, OwnedArgs::from_slices(args));
            self.block_connection(c, command, run);
        }
        self.serve_if_ready();
    }

    /// Runs a command whose keys are all on shard `owner`.
    fn at(
        &mut self,
        c: &mut Connection,
        spec: &'static CommandSpec,
        args: Args,
        owner: usize,
        scopes: impl FnOnce() -> Scopes,
    ) -> Taken {
        if owner == self.id {
            self.guard_large_values(spec, c.db, args);
            let conflict = if self.locks.is_idle() {
                None
            } else {
                let scope =
                    scopes().by_shard.into_iter().find(|(shard, _)| *shard == owner).map(|(_, scope)| scope);
                let client = fingerprint_of_client(self.id, c.token);
                scope.filter(|scope| self.locks.conflicts_in_order(scope, client))
            };
            let Some(scope) = conflict else {
                self.run_here(c, spec, args);
                return Taken::Yes;
            };
            if !self.may_reserve(c, owner) {
                return Taken::NotYet;
            }
            let origin = self.reserve(c);
            let waiting = Waiting::Command {
                shard: self.id,
                origin,
                command: OwnedCommand::new(spec, c.db, OwnedArgs::from_slices(args)),
                caller: self.caller_of(c),
                protocol: c.output.reply.protocol(),
            };
            self.wait_behind(&scope, self.id, c.token, waiting);
            return Taken::Yes;
        }
        if !self.may_reserve(c, owner) {
            return Taken::NotYet;
        }
        let origin = self.reserve(c);
        let request = BatchedRequest {
            origin,
            spec,
            db: c.db,
            caller: self.caller_of(c),
            protocol: c.output.reply.protocol(),
            argument_count: args.len(),
        };
        self.stats.remote_commands.add(1);
        self.outbox.requests(owner).push(request, args);
        self.outbox.bound(owner);
        Taken::Yes
    }

    /// Whether one more request may wait for shard `owner`; otherwise the connection stalls.
    pub(super) fn may_reserve(&mut self, c: &mut Connection, owner: usize) -> bool {
        if c.pipeline.is_full() || self.outbox.is_congested(owner) {
            c.stall = Stall::Pipeline;
            if c.pipeline.is_empty() {
                // No reply will come to wake it.
                self.look_again(c);
            }
            return false;
        }
        true
    }

    /// Stalls the connection until the next turn.
    fn look_again(&mut self, c: &mut Connection) {
        c.stall = Stall::Pipeline;
        self.housekeeping.congested.push(c.token);
    }

    /// A transaction begins when earlier requests have been answered.
    pub(super) fn may_begin_transaction(&mut self, c: &mut Connection) -> bool {
        if c.pipeline.is_empty() {
            return true;
        }
        c.stall = Stall::Earlier;
        false
    }

    pub(super) fn reserve(&mut self, c: &mut Connection) -> Origin {
        let silent = c.flags.any(Flag::ReplyOff as u32 | Flag::ReplySkip as u32);
        Origin { client: c.token, place: c.pipeline.reserve(silent) }
    }

    /// Lets a command of a client, served by shard `home`, wait until the intents in front of it are gone, and what the same client
    /// has waiting: of its commands for one shard none overtakes another.
    pub(super) fn wait_behind(&mut self, scope: &Scope, home: usize, client: Token, waiting: Waiting) {
        let number = self.shared.next_transaction();
        let answer = self.locks.request_in_order(number, scope, fingerprint_of_client(home, client));
        assert_eq!(answer, crate::txn::locks::Answer::Waiting, "a command waits for nothing");
        self.lock_owners.insert(number, Owner::Waiting(Box::new(waiting)));
    }
}

/// A complete request, and what is known about it before it runs.
struct Prepared<'a> {
    args: Slices<'a>,
    /// Where it ends in the input.
    end: usize,
    spec: Option<&'static CommandSpec>,
    ahead: Option<Ahead>,
}

/// Why no further request follows.
enum Stop {
    Incomplete { total_hint: usize },
    Error(ProtocolError),
}

struct End {
    /// Everything in front of this has been parsed.
    at: usize,
    stop: Option<Stop>,
}

/// Parses up to `depth` requests from `at` on.
fn gather<'a>(
    parser: &'a mut RequestParser,
    input: &'a [u8],
    at: usize,
    limits: &Limits,
    depth: usize,
    batch: &mut SmallVec<[Prepared<'a>; LOOK_AHEAD]>,
) -> End {
    let mut end = End { at, stop: None };
    while batch.len() < depth {
        match parser.parse(&input[end.at..], limits) {
            Ok(Progress::Complete { len }) => {
                if parser.unquoted().is_some() {
                    break;
                }
                let source = &input[end.at..end.at + len];
                end.at += len;
                if !parser.args().is_empty() {
                    let args =
                        parser.args().iter().map(|arg| &source[arg.start..arg.start + arg.len]).collect();
                    batch.push(Prepared { args, end: end.at, spec: None, ahead: None });
                }
            }
            Ok(Progress::Incomplete { total_hint }) => {
                end.stop = Some(Stop::Incomplete { total_hint });
                return end;
            }
            Err(error) => {
                end.stop = Some(Stop::Error(error));
                return end;
            }
        }
    }
    // An inline request whose arguments the parser has unescaped into its own memory: the last of the batch.
    let parser: &'a RequestParser = parser;
    if let (true, Some(text)) = (batch.len() < depth, parser.unquoted()) {
        end.at = parser_end(input, end.at);
        let args = parser.args().iter().map(|arg| &text[arg.start..arg.start + arg.len]).collect();
        batch.push(Prepared { args, end: end.at, spec: None, ahead: None });
    }
    end
}

/// The end of the line that begins at `at`.
fn parser_end(input: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &input[at..]).map_or(input.len(), |line| at + line + 1)
}

pub(super) fn touches_keys(spec: &CommandSpec) -> bool {
    spec.is(CommandFlag::ReadOnly) || spec.is(CommandFlag::Write) || spec.is(CommandFlag::MayReplicate)
}

/// What a client may send that takes whatever comes for messages.
fn is_for_subscribers(spec: &CommandSpec) -> bool {
    spec.name.ends_with("subscribe") || matches!(spec.name, "ping" | "quit" | "reset")
}

/// What is not queued in a MULTI, but run at once.
fn runs_inside_multi(spec: &CommandSpec) -> bool {
    matches!(spec.name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
}

fn whole_read(shard: usize) -> Scopes {
    let mut scopes = Scopes::default();
    scopes.by_shard.push((shard, Scope::Whole(KeyAccess::Read)));
    scopes
}

/// The whole keyspace of the only shard.
fn whole(access: KeyAccess) -> Scopes {
    let mut scopes = Scopes::default();
    scopes.add_whole(1, access);
    scopes
}
