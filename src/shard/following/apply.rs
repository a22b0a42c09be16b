//! Runs a master's commands. They go the way of a client's requests, on behalf of a connection that has no client: what keys are on
//! several shards becomes a transaction, what a transaction of this server's clients holds is waited for, and the commands of one
//! connection keep their order. Nobody hears the replies.
//!
//! One piece of work runs at a time, and is done when nothing of it is under way any more.

use std::collections::VecDeque;

use crate::base::log::Level;
use crate::base::Token;
use crate::client::{Connection, Flag};
use crate::command::table::Handler;
use crate::log_text;
use crate::repl::replica::stream::{Command, Item, WorkId};
use crate::repl::wire::{command as encoded, put_command};
use crate::replication::{FollowEvent, Told};
use crate::shard::Shard;

/// So many commands that make no sense, or fail, are told.
const WARNINGS_MAX: u64 = 100;
/// As much of a name gets into the log, bytes.
const SHOWN_LEN_MAX: usize = 128;

#[derive(Default)]
pub(super) struct Applier {
    connection: Option<Token>,
    /// The database that is selected at the end of what the connection was given.
    db: usize,
    running: Option<(WorkId, Told)>,
    /// Its bound is the fill of the schedule that gives it out.
    waiting: VecDeque<(WorkId, Vec<Item>, Told)>,
    warnings: u64,
}

impl Applier {
    pub fn is_busy(&self) -> bool {
        self.running.is_some()
    }
}

enum State {
    UnderWay,
    Done,
    /// The connection has come to an end, which no command of a master should bring about.
    Broken,
}

impl Shard {
    pub(super) fn apply_items(&mut self, work: WorkId, items: Vec<Item>, told: Told) {
        self.replication.following.applier.waiting.push_back((work, items, told));
        self.go_on_applying();
    }

    pub(super) fn go_on_applying(&mut self) {
        loop {
            if let Some((work, told)) = self.replication.following.applier.running.take() {
                match self.state_of_applier() {
                    State::UnderWay => {
                        return self.replication.following.applier.running = Some((work, told))
                    }
                    State::Done => told(FollowEvent::Applied { work }),
                    State::Broken => {
                        self.end_applier();
                        told(FollowEvent::ApplyFailed { work });
                    }
                }
            }
            let Some((work, items, told)) = self.replication.following.applier.waiting.pop_front() else {
                return;
            };
            self.replication.following.applier.running = Some((work, told));
            self.give_to_applier(&items);
        }
    }

    fn state_of_applier(&mut self) -> State {
        let Some(token) = self.replication.following.applier.connection else { return State::Broken };
        match self.connections.table.get(token) {
            Some(c) if !c.flags.any(Flag::CloseAfterReply as u32 | Flag::Closing as u32) => {
                let is_done = c.input.is_empty()
                    && c.pipeline.is_empty()
                    && !c.is_held()
                    && !c.flags.has(Flag::Runnable);
                if is_done {
                    State::Done
                } else {
                    State::UnderWay
                }
            }
            _ => State::Broken,
        }
    }

    fn give_to_applier(&mut self, items: &[Item]) {
        // Its database is what the commands are written for.
        let token = match self.replication.following.applier.connection {
            Some(token) => token,
            None => self.open_applier(),
        };
        let mut input = Vec::with_capacity(items.iter().map(Item::len).sum());
        for item in items {
            match item {
                Item::Command(command) => self.put_applied(command, &mut input),
                Item::Transaction { commands, .. } => {
                    let mut body = Vec::new();
                    commands.iter().for_each(|command| self.put_applied(command, &mut body));
                    if !body.is_empty() {
                        input.extend(encoded(&[b"MULTI"]));
                        input.append(&mut body);
                        input.extend(encoded(&[b"EXEC"]));
                    }
                }
                Item::Nothing { .. } | Item::AckWanted { .. } => {}
            }
        }
        if input.is_empty() {
            return;
        }
        let Some(mut connection) = self.connections.table.take(token) else { return };
        let c = &mut *connection;
        // Keys lie where those of the work before may have lain, in the same turn.
        self.store.clear_slot_hint();
        c.input.append(&mut input);
        c.flags.clear(Flag::NeedsInput);
        if !c.flags.has(Flag::Runnable) {
            self.process_input(c);
        }
        self.store.clear_slot_hint();
        self.finish(connection);
    }

    /// The command as the connection is to get it, unless it is none that a master may send.
    fn put_applied(&mut self, command: &Command, input: &mut Vec<u8>) {
        let args = command.args();
        let why = match self.shared.names.resolve(&args) {
            Ok(spec) if matches!(spec.handler, Handler::Connection | Handler::Container) => {
                Some(b"it is no command about data".to_vec())
            }
            Ok(_) => None,
            Err(error) => Some(error.text().to_vec()),
        };
        if let Some(why) = why {
            return self.warn_of_applied(args.first().copied().unwrap_or_default(), &why);
        }
        if command.db != self.replication.following.applier.db {
            self.replication.following.applier.db = command.db;
            put_command(input, &[b"SELECT", command.db.to_string().as_bytes()]);
        }
        command.put(input);
    }

    /// A command of the master has failed, or is passed over: the two data sets may not be the same any more.
    #[cold]
    pub(in crate::shard) fn warn_of_applied(&mut self, name: &[u8], why: &[u8]) {
        let warnings = &mut self.replication.following.applier.warnings;
        *warnings += 1;
        if *warnings > WARNINGS_MAX {
            return;
        }
        let name = name[..name.len().min(SHOWN_LEN_MAX)].escape_ascii().to_string();
        log_text!(
            Level::Warning,
            format_args!(
                "== CRITICAL == This replica is sending an error to its master: the command '{name}' fails: "
            ),
            &why[..why.len().min(SHOWN_LEN_MAX)]
        );
    }

    fn open_applier(&mut self) -> Token {
        let now_ms = self.turn.now_ms();
        let (id, user) = (self.shared.next_client_id(), self.turn.users.default_user());
        let token = self.connections.table.insert(|token| Connection::new(id, token, None, user, now_ms));
        if let Some(c) = self.connections.table.get(token) {
            for flag in [
                Flag::Master,
                Flag::Replay,
                Flag::Authenticated,
                Flag::MayEverything,
                Flag::NoEvict,
                Flag::ReplyOff,
            ] {
                c.flags.set(flag);
            }
        }
        self.replication.following.applier.connection = Some(token);
        self.replication.following.applier.db = 0;
        token
    }

    /// No commands come any more, or the server stops.
    pub(in crate::shard) fn end_applier(&mut self) {
        if let Some(token) = self.replication.following.applier.connection.take() {
            self.connections.table.remove(token);
        }
    }
}
