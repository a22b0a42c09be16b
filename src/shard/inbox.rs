//! What this shard does with a message, by kind.

use super::message::{
    Answer, AnswerTo, ConnectionMessage, LoadMessage, MemoryMessage, Message, SettingsMessage,
    SubscriberMessage,
};
use super::peers::Chore;
use super::scatter::Question;
use super::Shard;
use crate::client::Connection;
use crate::command::CommandError;
use crate::resp::Reply;
use crate::shard::peers::Peers;
use crate::shard::transactions::Transactions;
use crate::shard::turn::TurnState;
use crate::txn::participant::Coordinator;

impl Peers {
    /// Does `chore` later in this turn, when no connection is being worked on.
    pub(super) fn do_later(&mut self, chore: Chore) {
        self.loopback.push_back(Message::Chore(chore));
    }

    pub(super) fn do_next_turn(&mut self, chore: Chore) {
        self.next_turn.push(chore);
    }
}

impl Transactions {
    /// Where the answer of a command goes that is carried out on another shard; the connection stalls until then.
    pub(super) fn answer_to(&mut self, turn: &TurnState, c: &mut Connection) -> AnswerTo {
        AnswerTo {
            home: turn.id,
            later: self.reply_later(c),
            spec: c.last_command,
            protocol: c.output.reply.protocol(),
        }
    }
}

impl Shard {
    pub(super) fn handle_message(&mut self, source: usize, message: Message) {
        match message {
            Message::Requests(batch) => self.run_batch(source, batch),
            Message::Replies(batch) => self.take_replies(batch),
            Message::Exec { coordinator, origin, body } => self.exec_here(coordinator, origin, body),
            Message::Lock { coordinator, transaction, number, scope, watch } => {
                let coordinator = Coordinator { shard: coordinator, transaction, watch };
                self.lock(coordinator, number, &scope);
            }
            Message::Strengthen { coordinator, transaction, old, number } => {
                let coordinator = Coordinator { shard: coordinator, transaction, watch: None };
                self.strengthen(coordinator, old, number);
            }
            Message::Locked { from, transaction, number, watch_until_ms } => {
                self.locked(from, transaction, number, watch_until_ms)
            }
            Message::Run(run) => self.run_step(*run),
            Message::Ran { from, transaction, result } => self.ran(from, transaction, result),
            Message::Release { number, ending } => self.release(number, ending),
            // The end of the turn sees.
            Message::PartsReleased => {}
            Message::Released { transaction } => self.participant_released(transaction),
            Message::Blocking(notice) => self.noticed(*notice),
            Message::ReplyOverLimits { transaction } => self.close_client_of(transaction),
            Message::BeginScript(begin) => self.begin_script_everywhere(*begin),
            Message::Complete { later, reply } => self.complete(later, *reply),
            Message::Finish { answer_to, answer } => self.finish_command(answer_to, answer),
            Message::Adopt(adopted) => self.adopt(adopted),
            Message::Connections(message) => self.about_connection(message),
            Message::Subscribers(message) => self.about_subscribers(message),
            Message::Settings(SettingsMessage::ChangeConfig(change)) => self.settle_config(*change),
            Message::Settings(SettingsMessage::ChangeUsers { change, answer_to }) => {
                self.settle_users(change, answer_to);
            }
            Message::Memory(MemoryMessage::Evict { home }) => self.told_to_evict(home),
            Message::Memory(MemoryMessage::Evicted { shard }) => {
                self.upkeep.housekeeping.evicting[shard] = false;
            }
            Message::Memory(MemoryMessage::Sweep) => self.sweep_own_memory(),
            Message::Ask(ask) => self.asked(ask),
            Message::Answer { ask, from, answer } => self.answered(ask, from, *answer),
            Message::Snapshot(message) => self.about_snapshot(*message),
            Message::ShutDown(request) => self.shut_down_by_signal(request),
            Message::Delivered(delivered) => self.delivered(*delivered),
            Message::Chore(chore) => self.do_chore(chore),
            Message::Load(message) => self.about_loading(message),
            Message::Replication(message) => self.about_replication(*message),
            #[cfg(test)]
            Message::Call(call) => call(self),
        }
    }

    fn about_loading(&mut self, message: LoadMessage) {
        match message {
            LoadMessage::Begin { steps, done } => self.begin_loading(steps, done),
            LoadMessage::OpenLog { file, len, base_len, barrier, done } => {
                self.open_log(file, len);
                self.journal.log.set_sizes(base_len, base_len);
                if let Some(number) = barrier {
                    self.journal.note_barrier(number);
                }
                done();
            }
            LoadMessage::ReplayFor { slots, done } => {
                self.replay_for(slots);
                done();
            }
            LoadMessage::End { done } => {
                self.end_loading();
                done();
            }
            LoadMessage::LogsHaveBegun(manifest) => self.saving.aof_has_started(&self.turn, *manifest),
            LoadMessage::AcceptAgain => self.connections.accept_again(),
            LoadMessage::GuestHasCome { position } => self.saving.loader.rendezvous.guest_has_come(position),
            LoadMessage::RendezvousIsOver => self.saving.loader.rendezvous.end(),
        }
    }

    fn about_connection(&mut self, message: ConnectionMessage) {
        match message {
            ConnectionMessage::Denied { token, reason, object, context } => {
                self.was_denied(token, context, reason, &object);
            }
            ConnectionMessage::WasSlow { token, entry } => self.add_slow(token, *entry),
            ConnectionMessage::CloseOverLimits(client) => self.close_client_over_limits(client),
            ConnectionMessage::AllowRemoteRequests { client, allowed } => {
                self.executor.deferred.allow(client, allowed);
            }
            ConnectionMessage::ForgetRemoteRequests(client) => self.executor.deferred.forget(client),
        }
    }

    fn about_subscribers(&mut self, message: SubscriberMessage) {
        match message {
            SubscriberMessage::Count(count) => count.answer(self),
            SubscriberMessage::InboxFilled => self.empty_inbox(),
            SubscriberMessage::EndTracking { reader, prefixes } => {
                self.subscribers.end_tracking(&self.turn, &mut self.store, reader, &prefixes)
            }
            SubscriberMessage::RedirectBroken { from, to } => self.redirect_is_broken(from, to),
            SubscriberMessage::MonitorLines(lines) => self.feed_monitors(&lines),
            SubscriberMessage::CloseMonitors => self.close_monitors(),
            SubscriberMessage::MonitorGone { home } => self.subscribers.monitors.remove(home),
            SubscriberMessage::Unwatch { flag, keys } => {
                keys.iter().for_each(|(db, key)| self.store.unwatch(*db, key, &flag));
            }
        }
    }

    fn do_chore(&mut self, chore: Chore) {
        match chore {
            Chore::EvictClients => self.evict_clients(),
            Chore::SendMonitorLines => self.send_monitor_lines(),
            Chore::WakeShards => self.wake_shards(),
            Chore::BroadcastChanges => self.subscribers.broadcast_changes(
                &self.turn,
                &mut self.store,
                &mut self.peers,
                &mut self.journal,
            ),
            Chore::TellOutdated => self.tell_outdated(),
            Chore::EmptyInbox => self.empty_inbox(),
            Chore::AdvanceTransaction(id) => {
                if let Some(transaction) = self.transactions.running.remove(&id) {
                    self.advance(id, transaction);
                }
            }
            Chore::GoOnWithScript(id) => {
                if let Some(mut transaction) = self.transactions.running.remove(&id) {
                    transaction.intents.answered();
                    self.advance(id, transaction);
                }
            }
            Chore::Answer(ask) => self.answer_ask(*ask),
            Chore::HeldHaveResumed => self.held_have_resumed(),
        }
    }

    /// What has waited for this turn.
    pub(super) fn do_chores(&mut self, due: Vec<Chore>) {
        due.into_iter().for_each(|chore| self.do_chore(chore));
    }

    pub(super) fn send_answer(&mut self, answer_to: AnswerTo, answer: Result<Answer, CommandError>) {
        self.send(answer_to.home, Message::Finish { answer_to, answer });
    }

    fn finish_command(&mut self, answer_to: AnswerTo, answer: Result<Answer, CommandError>) {
        let AnswerTo { later, spec, protocol, .. } = answer_to;
        match answer {
            Ok(Answer::Ok) => self.complete_with(later, spec, Ok(())),
            Ok(Answer::Count(count)) => {
                let mut reply = Reply::new(protocol);
                reply.integer(count as i64);
                self.complete(later, reply);
            }
            Err(error) => self.complete_with(later, spec, Err(error)),
        }
    }
}
