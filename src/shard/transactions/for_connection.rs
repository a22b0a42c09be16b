//! Commands that need the connection, inside a transaction, and replies that come later than the command has run.

use super::record::Transaction;
use super::work::WorkResult;
use super::{flat, Later};
use crate::client::{Connection, Suspension};
use crate::resp::Reply;
use crate::shard::refusals::touches_keys;
use crate::shard::transactions::Transactions;
use crate::shard::{Flow, Shard};
use crate::txn::message::TransactionId;

impl Transactions {
    /// The place for a reply that comes later: in the connection's pipeline, or in the transaction in progress.
    pub(in crate::shard) fn reply_later(&mut self, c: &mut Connection) -> Later {
        match self.inside {
            Some((transaction, command)) => Later::InTransaction(transaction, command),
            None => {
                let origin = c.reserve();
                c.suspension = Suspension::Reply;
                Later::InPipeline(origin)
            }
        }
    }

    /// Whether the connection's command that runs now is part of a transaction, where nothing may block.
    pub(in crate::shard) fn is_inside_transaction(&self) -> bool {
        self.inside.is_some()
    }
}

impl Shard {
    /// A command of the connection inside a MULTI body. It may answer later, through `complete`.
    pub(super) fn run_for_connection(&mut self, id: TransactionId, t: &mut Transaction, command: usize) {
        let Some(mut connection) = self.connections.table.take(t.origin.client) else { return };
        let owned = &t.commands[command];
        let mut reply = Reply::new(t.protocol);
        if let Some(why) = &owned.denied {
            self.stats.count_error(why);
            reply.error(why);
            t.replies[command] = flat(&mut reply);
            return self.finish(connection);
        }
        self.transactions.inside = Some((id, command));
        let at_us = t.caller.at_us.unwrap_or(self.turn.now_us);
        let flow = self.act_for(Some(t.intents.number()), |shard| {
            shard.at_instant(at_us, |shard| {
                shard.call_connection_command(&mut connection, owned.spec, &owned.args.slices(), &mut reply)
            })
        });
        self.transactions.inside = None;
        // HELLO changes it, for the replies behind it too.
        t.protocol = reply.protocol();
        connection.output.reply.set_protocol(t.protocol);
        self.finish(connection);
        if flow == Flow::Later {
            t.begin_waiting();
        } else {
            t.replies[command] = flat(&mut reply);
        }
    }

    /// The reply that was promised by `reply_later`.
    pub(in crate::shard) fn complete(&mut self, later: Later, mut reply: Reply) {
        match later {
            Later::InPipeline(origin) => {
                self.settle_call(origin.client);
                let spec = self.connections.table.get(origin.client).and_then(|c| c.last_command);
                self.answer_of(origin, reply, spec.is_some_and(touches_keys));
            }
            Later::InTransaction(id, command) => {
                if let Some(client) = self.transactions.running.get(&id).map(|t| t.origin.client) {
                    self.settle_call(client);
                }
                let result = WorkResult::Replies(vec![(command, flat(&mut reply))]);
                self.ran(self.id, id, result);
            }
        }
    }
}
