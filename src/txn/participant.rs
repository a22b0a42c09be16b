//! What a shard knows as a participant: the queues of intents, and who is behind each entry that waits. Without I/O: it says who is to
//! be told what, and who may run now. The shard carries it out; the simulation does so too.

use std::collections::HashMap;
use std::rc::Rc;

use super::guard::GuardedLocks;
use super::locks::{Answer, Fingerprint, Number, Scope, Strengthened};
use super::message::{TransactionId, Watch};

/// A transaction that holds intents here, or waits for them, and the shard that coordinates it.
#[derive(Clone, Debug)]
pub struct Coordinator {
    pub shard: usize,
    pub transaction: TransactionId,
    /// Of the keys that it watches, those of this shard.
    pub watch: Option<Watch>,
}

/// Who is behind an entry of the queues that waits.
enum Owner<W> {
    Coordinator(Coordinator),
    /// Something that runs on this shard alone.
    Waiting(Box<W>),
}

/// What a coordinator is to be told.
#[derive(Debug)]
pub struct Verdict {
    pub coordinator: Coordinator,
    pub number: Number,
    pub is_granted: bool,
}

/// Who holds all that it wanted now.
#[derive(Debug)]
pub enum Granted<W> {
    /// It is to be told.
    Coordinator(Coordinator),
    /// It runs at once.
    Waiting(Box<W>),
    /// It is gone: what it held has been given back.
    Nobody,
}

/// What became of a transaction that wants more.
#[derive(Debug)]
pub struct Strengthening {
    /// Parts of other transactions that have to ask again.
    pub refused: Vec<Verdict>,
    /// Those that hold all that they wanted now.
    pub granted: Vec<Number>,
    /// What its own coordinator is to be told, after that. `None`: it waits.
    pub verdict: Option<Verdict>,
}

pub struct Participant<W> {
    locks: Rc<GuardedLocks>,
    owners: HashMap<Number, Owner<W>, foldhash::fast::RandomState>,
}

impl<W> Participant<W> {
    pub fn new(locks: Rc<GuardedLocks>) -> Participant<W> {
        Participant { locks, owners: HashMap::default() }
    }

    /// Nothing holds intents or waits for them.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        self.locks.is_idle() && self.owners.is_empty()
    }

    /// A coordinator wants intents. `None`: it waits, and `granted` will name it.
    pub fn lock(&mut self, coordinator: Coordinator, number: Number, scope: &Scope) -> Option<Verdict> {
        let answer = self.request(number, scope);
        self.verdict(coordinator, number, answer)
    }

    #[cfg(not(feature = "unsafe-no-intents"))]
    fn request(&self, number: Number, scope: &Scope) -> Answer {
        self.locks.request(number, scope)
    }

    /// For the test of the tests: the history checker must find what happens without intents.
    #[cfg(feature = "unsafe-no-intents")]
    fn request(&self, _number: Number, _scope: &Scope) -> Answer {
        Answer::Granted
    }

    fn verdict(&mut self, coordinator: Coordinator, number: Number, answer: Answer) -> Option<Verdict> {
        match answer {
            Answer::Granted => Some(Verdict { coordinator, number, is_granted: true }),
            Answer::Refused => Some(Verdict { coordinator, number, is_granted: false }),
            Answer::Waiting => {
                self.await_grant(coordinator, number);
                None
            }
        }
    }

    /// A transaction has asked the locks itself, and waits by `number`.
    pub fn await_grant(&mut self, coordinator: Coordinator, number: Number) {
        self.owners.insert(number, Owner::Coordinator(coordinator));
    }

    /// A transaction that holds intents by `old` wants the whole keyspace, by `number` (`Locks::strengthen`). Commands of this shard that
    /// wait with a smaller number get new ones from `next`: they hold nothing on other shards, so they are simply next.
    pub fn strengthen(
        &mut self,
        coordinator: Coordinator,
        old: Number,
        number: Number,
        mut next: impl FnMut() -> Number,
    ) -> Strengthening {
        self.owners.remove(&old);
        let Strengthened { answer, displaced, mut granted } = self.locks.strengthen(old, number);
        let mut refused = Vec::new();
        for displaced in displaced {
            let old = displaced.number;
            match self.owners.remove(&old) {
                Some(waiting @ Owner::Waiting(_)) => {
                    let number = next();
                    let answer = self.locks.wait_again(number, displaced);
                    debug_assert!(answer != Answer::Refused, "nobody can have a later number");
                    self.owners.insert(number, waiting);
                    granted.extend((answer == Answer::Granted).then_some(number));
                }
                Some(Owner::Coordinator(coordinator)) => {
                    refused.push(Verdict { coordinator, number: old, is_granted: false });
                }
                None => {}
            }
        }
        let verdict = self.verdict(coordinator, number, answer);
        Strengthening { refused, granted, verdict }
    }

    /// Something of this shard alone waits until the intents in front of it are gone, and what the same client has waiting: of its
    /// commands for one shard none overtakes another.
    pub fn wait(&mut self, number: Number, scope: &Scope, client: Fingerprint, waiting: W) {
        let answer = self.locks.request_in_order(number, scope, client);
        assert_eq!(answer, Answer::Waiting, "a command waits for nothing");
        self.owners.insert(number, Owner::Waiting(Box::new(waiting)));
    }

    /// `number` holds all that it wanted, as `release` or `strengthen` has said.
    pub fn granted(&mut self, number: Number) -> Granted<W> {
        match self.owners.remove(&number) {
            Some(Owner::Coordinator(coordinator)) => Granted::Coordinator(coordinator),
            Some(Owner::Waiting(waiting)) => Granted::Waiting(waiting),
            None => Granted::Nobody,
        }
    }

    /// Gives intents back; adds those to `granted` that hold all that they wanted now.
    pub fn release(&mut self, number: Number, granted: &mut Vec<Number>) {
        self.owners.remove(&number);
        self.locks.release(number, granted);
    }
}
