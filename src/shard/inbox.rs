//! What this shard does with a message, by kind.

use super::message::Message;
use super::Shard;

impl Shard {
    pub(super) fn handle_message(&mut self, source: usize, message: Message) {
        match message {
            Message::Requests(batch) => self.run_batch(source, batch),
            Message::Replies(batch) => self.take_replies(batch),
            Message::Exec { coordinator, origin, body } => self.exec_here(coordinator, origin, body),
            Message::Lock { coordinator, transaction, number, scope, watch } => {
                self.lock(coordinator, transaction, number, &scope, watch);
            }
            Message::Locked { from, transaction, number, watch_until_ms } => {
                self.locked(from, transaction, number, watch_until_ms)
            }
            Message::Run(run) => self.run_step(*run),
            Message::Ran { from, transaction, result } => self.ran(from, transaction, result),
            Message::Release { number, ending } => self.release(number, ending),
            Message::PartDurable { number } => self.log.part_durable(number),
            Message::Released { transaction } => self.participant_released(transaction),
            Message::Blocking(notice) => self.noticed(*notice),
            Message::Adopt(adopted) => self.adopt(adopted),
            Message::Call(call) => call(self),
            Message::Answer { ask, from, value } => self.answered(ask, from, value),
        }
    }
}
