//! The home's side of a wait for keys of several shards: their owners offer it a key, and it runs the command as an
//! ordinary transaction over all of them.
//!
//! Whoever offers a key sends that before it can grant the transaction's intent on it, and it offers none that the
//! transaction holds. So when the transaction ends, all offers that it could have known of have arrived, and one answer, taken or
//! declined, is right for all of them; an offer that comes later is about something newer.

use super::{Notice, Remote, Shard, Wait, Waiter};
use crate::client::Flag as ClientFlag;
use crate::command::table::CommandSpec;
use crate::command::{Caller, CommandError};
use crate::resp::Reply;
use crate::shard::transactions::Transaction;
use crate::shard::turn::TurnState;
use crate::store::WaitNumber;
use crate::txn::message::BlockedRun;

impl TurnState {
    pub(super) fn refuse_waiter(&self, spec: &CommandSpec, error: &CommandError, reply: &mut Reply) {
        self.stats.commands[spec.id as usize].rejected.add(1);
        let text = error.text();
        self.stats.count_error(&text);
        reply.error(&text);
    }
}

impl Shard {
    /// The transaction in which the client's command ran for the first time, and found nothing, is about to give its intents
    /// back.
    pub(in crate::shard) fn block_remote(&mut self, transaction: &mut Transaction, run: BlockedRun) {
        let Some(command) = transaction.commands.pop() else { return };
        let Transaction { origin, protocol, .. } = *transaction;
        // When it runs again it is another time.
        let caller = Caller { at_us: None, ..transaction.caller };
        let Some(mut connection) = self.connections.table.take(origin.client) else { return };
        let c = &mut *connection;
        if c.flags.any(ClientFlag::PeerClosed as u32 | ClientFlag::CloseAfterReply as u32) {
            self.close(c);
        }
        if !c.flags.has(ClientFlag::Closing) {
            let at = self.record(self.id, origin, command, caller, protocol, run, Some(Remote::default()));
            self.note_waiting(c, at);
        }
        self.finish(connection);
    }

    /// It is this waiter's turn to have the key, says its owner.
    pub(super) fn offered(&mut self, from: usize, key: Vec<u8>, number: WaitNumber) {
        // One that is over has left the owner's queue; that message is on its way.
        let Some(waiter) = self.executor.blocked.waiters.get_mut(&number) else { return };
        let (home, origin) = (waiter.home, waiter.origin);
        let Wait::Keys(wait) = &mut waiter.wait else { return };
        let Some(remote) = &mut wait.remote else { return };
        remote.offers.push((from, key));
        if std::mem::replace(&mut remote.running, true) {
            return;
        }
        let (command, caller, protocol) = (wait.command.clone(), wait.caller, wait.protocol);
        if let Some(error) = self.refusal_when_woken(command.spec, &command.args.slices(), &caller) {
            let mut reply = Reply::new(protocol);
            self.turn.refuse_waiter(command.spec, &error, &mut reply);
            self.end_rerun(number);
            self.reply_to(home, origin, &mut reply);
            return;
        }
        self.begin_rerun(number, origin, command, caller, protocol);
    }

    /// The command has run again and has an answer. To be called before its transaction gives its intents back, so that those
    /// behind it are next.
    pub(in crate::shard) fn end_rerun(&mut self, number: WaitNumber) {
        let Some(Waiter { wait: Wait::Keys(wait), .. }) = self.remove_waiter(number) else { return };
        for (_, asker) in wait.remote.unwrap_or_default().ends {
            self.tell_asker(asker, false);
        }
    }

    /// The command has run again and found nothing.
    pub(in crate::shard) fn block_remote_again(&mut self, number: WaitNumber, run: BlockedRun) {
        let Some(Waiter { wait: Wait::Keys(wait), .. }) = self.executor.blocked.waiters.get_mut(&number)
        else {
            return;
        };
        wait.block_again(run);
        let db = wait.command.db;
        let Some(remote) = &mut wait.remote else { return };
        let Remote { offers, ends, .. } = std::mem::take(remote);
        for (owner, key) in offers {
            self.notify(owner, Notice::Declined { db, key, number });
        }
        for (end, asker) in ends {
            self.end_wait(number, end, asker);
        }
    }
}
