//! Scatter-gather: a question to every shard, or to one, whose answers come back later. For rare things that concern
//! every shard: CLIENT LIST, CLIENT KILL, SLOWLOG GET, WATCH of keys elsewhere.
//!
//! A question is a type of its own, beside the command that asks it; the list at the end of this file names them all, and is what
//! travels between shards.
//!
//! | state | what happens |
//! | --- | --- |
//! | asked | `Message::Ask` is on its way to each shard |
//! | postponed | the shard has it, and answers in its next turn (`Moment::NextTurn`) |
//! | being heard | the answer waits until all shards have heard what came of it (`Moment::WhenAllKnow`) |
//! | answered | `Message::Answer` is on its way back |
//! | complete | all answers are there: `done` gets them in shard order, and the question is forgotten |

use std::collections::HashMap;

use super::message::Message;
use super::peers::Chore;
use super::Shard;
use crate::base::Token;
use crate::client::Connection;
use crate::command::CommandError;
use crate::resp::Reply;

/// What a shard is asked, and how it answers.
pub trait Question: Clone + Send + 'static {
    type Answer: Send + 'static;

    fn answer(self, shard: &mut Shard) -> Self::Answer;
}

/// A question of the list below.
pub trait Listed: Question {
    fn into_any(self) -> AnyQuestion;
    fn answer_of(answer: AnyAnswer) -> Option<Self::Answer>;
}

/// A question on its way.
pub struct Ask {
    home: usize,
    id: Token,
    question: AnyQuestion,
    moment: Moment,
    /// The answer completes a client's command: it waits for the log as a reply does.
    is_reply: bool,
}

type Done = Box<dyn FnOnce(&mut Shard, Vec<AnyAnswer>)>;

struct Open {
    answers: Vec<Option<AnyAnswer>>,
    missing: usize,
    done: Done,
}

/// Questions of this shard that are open.
#[derive(Default)]
pub struct Scatter {
    open: HashMap<Token, Open, foldhash::fast::RandomState>,
    last: u64,
}

/// When a shard answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    AtOnce,
    NextTurn,
    /// When it has been noted what the expiry under way takes.
    AfterExpiry,
    /// In its next turn; and the answer leaves when all shards have heard what came of it.
    WhenAllKnow,
}

impl Shard {
    /// Asks every shard, this one included; `done` gets the answers, in shard order.
    pub(super) fn ask_all<Q: Listed>(
        &mut self,
        question: Q,
        done: impl FnOnce(&mut Shard, Vec<Q::Answer>) + 'static,
    ) {
        self.ask_at(None, Moment::AtOnce, question, done);
    }

    /// Tells one shard something, which answers that it has heard.
    pub(super) fn ask_one<Q: Listed<Answer = ()>>(&mut self, target: usize, question: Q) {
        self.ask_at(Some(target), Moment::AtOnce, question, |_, _| {});
    }

    /// As `ask_all`, but each shard answers in its next turn: it has taken in what its sockets held when the question was
    /// asked, so that the answers show what other connections did before.
    pub(super) fn ask_all_caught_up<Q: Listed>(
        &mut self,
        question: Q,
        done: impl FnOnce(&mut Shard, Vec<Q::Answer>) + 'static,
    ) {
        self.ask_at(None, Moment::NextTurn, question, done);
    }

    /// As `ask_all_caught_up`, where an answer closes connections: when `done` gets the answers no shard counts their subscriptions.
    pub(super) fn ask_all_until_all_know<Q: Listed>(
        &mut self,
        question: Q,
        done: impl FnOnce(&mut Shard, Vec<Q::Answer>) + 'static,
    ) {
        self.ask_at(None, Moment::WhenAllKnow, question, done);
    }

    fn ask_at<Q: Listed>(
        &mut self,
        only: Option<usize>,
        moment: Moment,
        question: Q,
        done: impl FnOnce(&mut Shard, Vec<Q::Answer>) + 'static,
    ) {
        let scatter = &mut self.peers.scatter;
        scatter.last += 1;
        let id = Token { index: scatter.last as u32, generation: (scatter.last >> 32) as u32 };
        let targets = only.map_or(self.turn.slots.all(), |shard| shard..shard + 1);
        let open = Open {
            answers: self.turn.slots.all().map(|_| None).collect(),
            missing: targets.len(),
            // A shard answers with what the question asks for.
            done: Box::new(move |shard, answers| {
                done(shard, answers.into_iter().filter_map(Q::answer_of).collect());
            }),
        };
        scatter.open.insert(id, open);
        let home = self.id;
        for target in targets {
            let question = question.clone().into_any();
            let ask = Ask { home, id, question, moment, is_reply: only.is_some() };
            self.send(target, Message::Ask(Box::new(ask)));
        }
    }

    /// As `ask_all`, on behalf of a connection: it stalls, and gets the reply that `reply` writes.
    pub(super) fn ask_all_for<Q: Listed>(
        &mut self,
        c: &mut Connection,
        question: Q,
        reply: impl FnOnce(&mut Shard, Vec<Q::Answer>, &mut Reply) + 'static,
    ) {
        self.ask_for(c, Moment::AtOnce, question, reply);
    }

    /// As `ask_all_caught_up`, on behalf of a connection.
    pub(super) fn ask_all_caught_up_for<Q: Listed>(
        &mut self,
        c: &mut Connection,
        question: Q,
        reply: impl FnOnce(&mut Shard, Vec<Q::Answer>, &mut Reply) + 'static,
    ) {
        self.ask_for(c, Moment::NextTurn, question, reply);
    }

    /// As `ask_all_until_all_know`, on behalf of a connection.
    pub(super) fn ask_all_until_all_know_for<Q: Listed>(
        &mut self,
        c: &mut Connection,
        question: Q,
        reply: impl FnOnce(&mut Shard, Vec<Q::Answer>, &mut Reply) + 'static,
    ) {
        self.ask_for(c, Moment::WhenAllKnow, question, reply);
    }

    fn ask_for<Q: Listed>(
        &mut self,
        c: &mut Connection,
        moment: Moment,
        question: Q,
        reply: impl FnOnce(&mut Shard, Vec<Q::Answer>, &mut Reply) + 'static,
    ) {
        let later = self.transactions.reply_later(c);
        let protocol = c.output.reply.protocol();
        self.ask_at(None, moment, question, move |shard, answers| {
            let mut written = Reply::new(protocol);
            reply(shard, answers, &mut written);
            shard.complete(later, written);
        });
    }

    /// On behalf of a connection: it stalls until every shard has noted what the expiry under way there takes, and gets the reply that
    /// `reply` writes then.
    pub(super) fn after_expiry_for(
        &mut self,
        c: &mut Connection,
        reply: impl FnOnce(&mut Shard, &mut Reply) -> Result<(), CommandError> + 'static,
    ) {
        let later = self.transactions.reply_later(c);
        let (spec, protocol) = (c.last_command, c.output.reply.protocol());
        self.ask_at(None, Moment::AfterExpiry, Heard, move |shard, _| {
            let mut written = Reply::new(protocol);
            match reply(shard, &mut written) {
                Ok(()) => shard.complete(later, written),
                Err(error) => shard.complete_with(later, spec, Err(error)),
            }
        });
    }

    /// Asks one shard, on behalf of a connection: it stalls, and gets the answer as its reply.
    pub(super) fn ask_one_for<Q>(&mut self, c: &mut Connection, target: usize, question: Q)
    where
        Q: Listed<Answer = Result<Reply, CommandError>>,
    {
        let later = self.transactions.reply_later(c);
        let spec = c.last_command;
        self.ask_at(Some(target), Moment::AtOnce, question, move |shard, answers| {
            for answer in answers {
                match answer {
                    Ok(reply) => shard.complete(later, reply),
                    Err(error) => shard.complete_with(later, spec, Err(error)),
                }
            }
        });
    }

    pub(super) fn asked(&mut self, ask: Box<Ask>) {
        match ask.moment {
            Moment::AtOnce => self.answer_ask(*ask),
            Moment::NextTurn | Moment::WhenAllKnow => self.peers.do_next_turn(Chore::Answer(ask)),
            Moment::AfterExpiry => self.answer_after_expiry(*ask),
        }
    }

    pub(super) fn answer_ask(&mut self, ask: Ask) {
        let answer = Box::new(ask.question.answer(self));
        let message = Message::Answer { ask: ask.id, from: self.id, answer };
        if ask.moment == Moment::WhenAllKnow && !self.turn.slots.is_single() {
            self.ask_all(Heard, move |shard, _| shard.send(ask.home, message));
        } else if ask.is_reply {
            self.send_reply(ask.home, message);
        } else {
            self.send(ask.home, message);
        }
    }

    pub(super) fn answered(&mut self, id: Token, from: usize, answer: AnyAnswer) {
        let open = &mut self.peers.scatter.open;
        let Some(ask) = open.get_mut(&id) else { return };
        if ask.answers[from].replace(answer).is_none() {
            ask.missing -= 1;
        }
        if ask.missing == 0 {
            if let Some(ask) = open.remove(&id) {
                (ask.done)(self, ask.answers.into_iter().flatten().collect());
            }
        }
    }
}

/// Whether a shard has heard what was sent to it before.
#[derive(Clone)]
pub struct Heard;

impl Question for Heard {
    type Answer = ();

    fn answer(self, _: &mut Shard) {}
}

/// Makes the types that travel from the list of questions.
macro_rules! questions {
    ($($name:ident: $question:path),* $(,)?) => {
        /// Any question.
        pub enum AnyQuestion {
            $($name($question)),*
        }

        /// The answer to any question.
        pub enum AnyAnswer {
            $($name(<$question as Question>::Answer)),*
        }

        impl AnyQuestion {
            fn answer(self, shard: &mut Shard) -> AnyAnswer {
                match self {
                    $(AnyQuestion::$name(question) => AnyAnswer::$name(question.answer(shard))),*
                }
            }
        }

        $(impl Listed for $question {
            fn into_any(self) -> AnyQuestion {
                AnyQuestion::$name(self)
            }

            fn answer_of(answer: AnyAnswer) -> Option<Self::Answer> {
                match answer {
                    AnyAnswer::$name(answer) => Some(answer),
                    _ => None,
                }
            }
        })*
    };
}

questions! {
    Heard: Heard,
    AccountClients: super::client_memory::AccountClients,
    KillClients: super::commands::client::kill::KillClients,
    ClientLines: super::commands::client::list::ClientLines,
    ObeyPause: super::pause::ObeyPause,
    ResumeHeld: super::pause::ResumeHeld,
    FindWaiting: super::commands::client::pause::FindWaiting,
    FindClient: super::commands::client::tracking::FindClient,
    BeginTracking: super::tracking::BeginTracking,
    RefreshConfig: super::settings::RefreshConfig,
    ResetStatistics: super::commands::config::ResetStatistics,
    SetDebug: super::commands::debug::SetDebug,
    WithKey: super::commands::debug::WithKey,
    TableFigures: super::commands::debug::TableFigures,
    Populate: super::commands::debug::Populate,
    DigestAll: super::commands::debug::DigestAll,
    DigestValues: super::commands::debug::DigestValues,
    ClientFigures: super::commands::debug::ClientFigures,
    PublishGauges: super::housekeeping::PublishGauges,
    PurgeMemory: super::commands::memory::PurgeMemory,
    PackOwn: super::commands::migrate::PackOwn,
    DeleteOwn: super::commands::migrate::DeleteOwn,
    AddMonitor: super::commands::monitor::AddMonitor,
    WatchKeys: super::commands::multi::WatchKeys,
    ChannelNames: super::commands::pubsub::ChannelNames,
    SubscriberCounts: super::commands::pubsub::SubscriberCounts,
    CountSubscriber: super::pubsub::CountSubscriber,
    LatestSlow: super::commands::slowlog::LatestSlow,
    SlowLen: super::commands::slowlog::SlowLen,
    ForgetSlow: super::commands::slowlog::ForgetSlow,
}
