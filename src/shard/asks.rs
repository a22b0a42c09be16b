//! Questions to other shards whose answers come back later: CLIENT LIST, CLIENT KILL, SLOWLOG GET and other rare
//! things that concern every shard. Each shard answers with a value; when all have, `done` gets them in shard order.

use std::any::Any;
use std::collections::HashMap;

use super::message::{Call, Message};
use super::Shard;
use crate::base::Token;
use crate::client::Connection;
use crate::command::CommandError;
use crate::resp::Reply;

type Done = Box<dyn FnOnce(&mut Shard, Vec<Box<dyn Any + Send>>)>;

struct Ask {
    answers: Vec<Option<Box<dyn Any + Send>>>,
    missing: usize,
    done: Done,
}

#[derive(Default)]
pub struct Asks {
    open: HashMap<Token, Ask, foldhash::fast::RandomState>,
    last: u64,
    /// Questions to this shard that it answers in its next turn.
    pub(super) next_turn: Vec<Call>,
}

/// When a shard answers.
#[derive(Clone, Copy)]
enum Moment {
    AtOnce,
    NextTurn,
    /// When it has been noted what the expiry under way takes.
    AfterExpiry,
}

impl Asks {
    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

impl Shard {
    /// Runs `question` on every shard, this one included, and `done` here with the answers in shard order.
    pub fn ask_all<T: Send + 'static>(
        &mut self,
        question: impl Fn(&mut Shard) -> T + Clone + Send + 'static,
        done: impl FnOnce(&mut Shard, Vec<T>) + 'static,
    ) {
        self.ask_all_at(Moment::AtOnce, question, done);
    }

    fn ask_all_at<T: Send + 'static>(
        &mut self,
        moment: Moment,
        question: impl Fn(&mut Shard) -> T + Clone + Send + 'static,
        done: impl FnOnce(&mut Shard, Vec<T>) + 'static,
    ) {
        self.asks.last += 1;
        let ask = Token { index: self.asks.last as u32, generation: (self.asks.last >> 32) as u32 };
        let shards = self.topology.shards;
        let open = Ask {
            answers: (0..shards).map(|_| None).collect(),
            missing: shards,
            done: Box::new(move |shard, answers| {
                // Every answer is a T: it comes from `question`.
                let answers =
                    answers.into_iter().filter_map(|answer| answer.downcast().ok()).map(|t| *t).collect();
                done(shard, answers);
            }),
        };
        self.asks.open.insert(ask, open);
        let home = self.id;
        for target in 0..shards {
            let question = question.clone();
            let answer = move |shard: &mut Shard| {
                let value = Box::new(question(shard));
                let from = shard.id;
                shard.send(home, Message::Answer { ask, from, value });
            };
            let call: Call = match moment {
                Moment::AtOnce => Box::new(answer),
                Moment::NextTurn => Box::new(move |shard| shard.asks.next_turn.push(Box::new(answer))),
                Moment::AfterExpiry => Box::new(move |shard| shard.after_expiry(Box::new(answer))),
            };
            self.send(target, Message::Call(call));
        }
    }

    /// As `ask_all`, on behalf of a connection: it stalls, and gets the reply that `reply` writes.
    pub fn ask_all_for<T: Send + 'static>(
        &mut self,
        c: &mut Connection,
        question: impl Fn(&mut Shard) -> T + Clone + Send + 'static,
        reply: impl FnOnce(&mut Shard, Vec<T>, &mut Reply) + 'static,
    ) {
        let later = self.reply_later(c);
        let protocol = c.output.reply.protocol();
        self.ask_all(question, move |shard, answers| {
            let mut written = Reply::new(protocol);
            reply(shard, answers, &mut written);
            shard.complete(later, written);
        });
    }

    /// As `ask_all_for`, but each shard answers in its next turn: it has taken in what its sockets held when the question was
    /// asked, so that the answers show what other connections did before.
    pub fn ask_all_caught_up_for<T: Send + 'static>(
        &mut self,
        c: &mut Connection,
        question: impl Fn(&mut Shard) -> T + Clone + Send + 'static,
        reply: impl FnOnce(&mut Shard, Vec<T>, &mut Reply) + 'static,
    ) {
        let later = self.reply_later(c);
        let protocol = c.output.reply.protocol();
        self.ask_all_caught_up(question, move |shard, answers| {
            let mut written = Reply::new(protocol);
            reply(shard, answers, &mut written);
            shard.complete(later, written);
        });
    }

    /// As `ask_all`, but as late as that.
    pub fn ask_all_caught_up<T: Send + 'static>(
        &mut self,
        question: impl Fn(&mut Shard) -> T + Clone + Send + 'static,
        done: impl FnOnce(&mut Shard, Vec<T>) + 'static,
    ) {
        self.ask_all_at(Moment::NextTurn, question, done);
    }

    /// On behalf of a connection: it stalls until every shard has noted what the expiry under way there takes, and gets the reply that
    /// `reply` writes then.
    pub fn after_expiry_for(
        &mut self,
        c: &mut Connection,
        reply: impl FnOnce(&mut Shard, &mut Reply) -> Result<(), CommandError> + 'static,
    ) {
        let later = self.reply_later(c);
        let (spec, protocol) = (c.last_command, c.output.reply.protocol());
        let done = move |shard: &mut Shard, _: Vec<()>| {
            let mut written = Reply::new(protocol);
            match reply(shard, &mut written) {
                Ok(()) => shard.complete(later, written),
                Err(error) => shard.complete_with(later, spec, Err(error)),
            }
        };
        self.ask_all_at(Moment::AfterExpiry, |_| (), done);
    }

    /// Answers the questions that have waited for this turn.
    pub(super) fn answer_postponed(&mut self, due: Vec<Call>) {
        for call in due {
            call(self);
        }
    }

    /// Runs `work` on one shard, on behalf of a connection: it stalls, and gets the reply that `work` writes, or its error.
    pub fn ask_one_for(
        &mut self,
        c: &mut Connection,
        target: usize,
        work: impl FnOnce(&mut Shard, &mut Reply) -> Result<(), CommandError> + Send + 'static,
    ) {
        let later = self.reply_later(c);
        let (home, protocol) = (self.id, c.output.reply.protocol());
        let spec = c.last_command;
        let call = move |shard: &mut Shard| {
            let mut reply = Reply::new(protocol);
            let outcome = work(shard, &mut reply);
            let answer = move |shard: &mut Shard| match outcome {
                Ok(()) => shard.complete(later, reply),
                Err(error) => shard.complete_with(later, spec, Err(error)),
            };
            shard.send_reply(home, Message::Call(Box::new(answer)));
        };
        self.send(target, Message::Call(Box::new(call)));
    }

    pub(super) fn answered(&mut self, id: Token, from: usize, value: Box<dyn Any + Send>) {
        let Some(ask) = self.asks.open.get_mut(&id) else { return };
        if ask.answers[from].replace(value).is_none() {
            ask.missing -= 1;
        }
        if ask.missing == 0 {
            if let Some(ask) = self.asks.open.remove(&id) {
                (ask.done)(self, ask.answers.into_iter().flatten().collect());
            }
        }
    }
}
