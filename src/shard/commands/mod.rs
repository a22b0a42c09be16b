//! The commands of the connection and the server: those that need more than keys.
//!
//! A handler gets the shard, the connection (taken out of its slot) and the reply to write. What concerns all
//! shards is asked with `Shard::ask_all_for` and answered later. The command table says which commands come
//! here (`Handler::Connection`); the list below says which function each one is.

mod acl;
pub(super) mod client;
mod command;
pub(super) mod config;
mod connection;
pub(super) mod debug;
mod foreign;
mod function;
mod info;
mod latency;
pub(super) mod memory;
pub(super) mod migrate;
pub(super) mod monitor;
pub(super) mod multi;
pub(super) mod pubsub;
mod replicaof;
mod replication;
mod saving;
mod script;
pub(super) mod server;
pub(super) mod slowlog;

use std::sync::LazyLock;

use super::refusals::touches_keys;
use super::route::Taken;
use super::transactions::Later;
use super::{Flow, Shard};
use crate::base::Stamp;
use crate::base::Token;
use crate::client::{Connection, Flag, PendingCall};
use crate::command::table::{self, CommandSpec, Role};
use crate::command::{Args, CommandError};
use crate::resp::Reply;
use crate::txn::message::OwnedArgs;

pub type Handler = fn(&mut Shard, &mut Connection, &mut Reply, Args) -> Result<Flow, CommandError>;

/// All handlers by full command name; each family lists its own.
fn families() -> impl Iterator<Item = &'static (&'static str, Handler)> {
    [
        client::COMMANDS,
        command::COMMANDS,
        config::COMMANDS,
        connection::COMMANDS,
        debug::COMMANDS,
        info::COMMANDS,
        latency::COMMANDS,
        memory::COMMANDS,
        migrate::COMMANDS,
        monitor::COMMANDS,
        multi::COMMANDS,
        acl::COMMANDS,
        foreign::COMMANDS,
        function::COMMANDS,
        script::COMMANDS,
        pubsub::COMMANDS,
        replicaof::COMMANDS,
        replication::COMMANDS,
        saving::COMMANDS,
        server::COMMANDS,
        slowlog::COMMANDS,
    ]
    .into_iter()
    .flatten()
}

/// What HELP answers: how to call `container`, then `lines`.
pub fn help(reply: &mut Reply, container: &str, lines: &[&str]) {
    reply.array(lines.len() + 3);
    reply.simple(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for line in lines {
        reply.simple(line);
    }
    reply.simple("HELP");
    reply.simple("    Print this help.");
}

/// By the command's id.
static HANDLERS: LazyLock<Vec<Option<Handler>>> = LazyLock::new(|| {
    let mut handlers = vec![None; table::COUNT];
    for (name, handler) in families() {
        if let Some(spec) = table::by_full_name(name) {
            handlers[spec.id as usize] = Some(*handler);
        }
    }
    handlers
});

impl Shard {
    pub(super) fn run_connection_command(
        &mut self,
        c: &mut Connection,
        spec: &'static CommandSpec,
        args: Args,
    ) -> Taken {
        let mut taken = Taken::Yes;
        let flags = c.flags;
        if spec.role.answers_with_messages() {
            c.flags.clear(Flag::ReplyOff);
            c.flags.clear(Flag::ReplySkip);
        }
        self.write_reply(c, |shard, c, reply| {
            if shard.call_connection_command(c, spec, args, reply) == Flow::NotYet {
                taken = Taken::NotYet;
            }
        });
        if spec.role.answers_with_messages() {
            c.flags.assign(Flag::ReplyOff, flags.has(Flag::ReplyOff));
            c.flags.assign(Flag::ReplySkip, flags.has(Flag::ReplySkip));
        }
        if self.journal.log.is_open() && (spec.role == Role::Exec || touches_keys(spec)) {
            c.made_at = self.journal.log.appended();
        }
        taken
    }

    /// Calls the handler and accounts for it; an error becomes the reply.
    pub(super) fn call_connection_command(
        &mut self,
        c: &mut Connection,
        spec: &'static CommandSpec,
        args: Args,
        reply: &mut Reply,
    ) -> Flow {
        let started = Stamp::now();
        let mark = reply.mark();
        let result = match HANDLERS[spec.id as usize] {
            Some(handler) => {
                // In an EXEC it is another command than the connection's last.
                let last = c.last_command.replace(spec);
                let result = handler(self, c, reply, args);
                c.last_command = last;
                result
            }
            // The table's test makes sure that there is one for every command listed.
            None => Err(CommandError::other(format!("ERR command '{}' has no handler", spec.name))),
        };
        if let Ok(flow @ (Flow::NotYet | Flow::Begun)) = result {
            return flow;
        }
        let nanos = Stamp::now().nanos_since(started);
        self.executor.spent_nanos += nanos;
        if matches!(result, Ok(Flow::Later)) && c.waiting.is_some() {
            // WAIT counts when it ends, but the time that it waits is none that it takes.
            return Flow::Later;
        }
        if matches!(result, Ok(Flow::Later)) && spec.role != Role::Exec {
            // Counted when it has its answer. What EXEC ran counts by itself.
            c.pending_call =
                Some(Box::new(PendingCall { spec, started, args: OwnedArgs::from_slices(args) }));
            return Flow::Later;
        }
        let error = result.as_ref().err().map(CommandError::text);
        self.account(spec, args, &self.turn.caller_of(c), nanos, error.as_deref());
        if let Some(text) = error {
            reply.truncate(mark);
            reply.error(&text);
        }
        result.unwrap_or(Flow::Done)
    }
}

impl Shard {
    /// Counts the connection's command that has got its answer.
    pub(super) fn settle_call(&mut self, client: Token) {
        let Some(mut connection) = self.connections.table.take(client) else { return };
        if let Some(call) = connection.pending_call.take() {
            let nanos = Stamp::now().nanos_since(call.started);
            self.account(call.spec, &call.args.slices(), &self.turn.caller_of(&connection), nanos, None);
        }
        self.connections.table.put_back(connection);
    }

    /// Ends a command that has promised its reply with `reply_later`: +OK, or an error that is counted as its own.
    pub(super) fn complete_with(
        &mut self,
        later: Later,
        spec: Option<&'static CommandSpec>,
        outcome: Result<(), CommandError>,
    ) {
        let mut reply = Reply::default();
        match outcome {
            Ok(()) => reply.ok(),
            Err(error) => {
                let text = error.text();
                match spec {
                    Some(spec) => self.turn.count_failure(spec, &text),
                    None => self.stats.count_error(&text),
                }
                reply.error(&text);
            }
        }
        self.complete(later, reply);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::Handler as Where;

    #[test]
    fn every_connection_command_of_the_table_has_a_handler_and_none_is_left_over() {
        for spec in table::all() {
            let listed =
                families().any(|(name, _)| table::by_full_name(name).is_some_and(|s| s.id == spec.id));
            assert_eq!(matches!(spec.handler, Where::Connection), listed, "{}", spec.name);
        }
        for (name, _) in families() {
            assert!(table::by_full_name(name).is_some(), "{name} is not in the table");
        }
    }
}
