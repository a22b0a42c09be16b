//! The owner's side: ready keys and the queues of those who wait for them.
//!
//! A waiter whose keys are all here runs at once, in front of everybody else: nobody comes between a push and the client
//! that was waiting for it. To one with keys on other shards the key is offered, and those behind it in the queue wait for the
//! answer.

use super::{Notice, Shard, Wait};
use crate::command::table::KeyAccess;
use crate::resp::Reply;
use crate::runtime::clock;
use crate::shard::call::{Call, Called, Within};
use crate::shard::executor::Executor;
use crate::store::Store;
use crate::store::{ReadyKey, WaitNumber};
use crate::txn::locks::{fingerprint, Intent, Number, Scope};
use crate::txn::message::OwnedCommand;

/// Whether a key's queue has had its turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Served {
    Yes,
    /// A transaction holds a key that is needed.
    NotNow,
}

impl Executor {
    fn postpone(&mut self, store: &mut Store, (db, key): ReadyKey) {
        store.waiting.postpone(db, &key);
        self.blocked.postponed.push((db, key));
    }

    fn runs_here(&self, number: WaitNumber) -> bool {
        let waiter = self.blocked.waiters.get(&number);
        waiter.is_some_and(|waiter| matches!(&waiter.wait, Wait::Keys(wait) if wait.remote.is_none()))
    }
}

impl Shard {
    /// To be called after every command, and after a transaction as a whole.
    #[inline]
    pub(in crate::shard) fn serve_if_ready(&mut self) {
        if self.store.waiting.has_ready() {
            self.serve_ready(None);
        }
    }

    /// A transaction gives its intents back: first those get their turn who have waited for what it did.
    pub(in crate::shard) fn serve_before_release(&mut self, number: Number) {
        self.store.waiting.put_back(&mut self.executor.blocked.postponed);
        if self.store.waiting.has_ready() {
            self.act_for(Some(number), |shard| shard.serve_ready(Some(number)));
        }
    }

    /// A pause is over.
    pub(in crate::shard) fn serve_postponed(&mut self) {
        self.store.waiting.put_back(&mut self.executor.blocked.postponed);
        self.serve_if_ready();
    }

    /// Serves all ready keys, and those that become ready thereby. What `holding` holds may be used.
    #[cold]
    fn serve_ready(&mut self, holding: Option<Number>) {
        // What made a key ready may have taken long, and set it to expire. (Also: other commands' keys are looked up next.)
        self.turn.now_us = self.turn.now_us.max(clock::unix_us());
        self.store.set_time(self.turn.now_us / 1000);
        let paused = self.turn.pause_in_force().is_some();
        while self.store.waiting.has_ready() {
            for (db, key) in self.store.waiting.take_ready() {
                if paused || self.serve_key(db, &key, holding) == Served::NotNow {
                    self.executor.postpone(&mut self.store, (db, key));
                }
            }
        }
    }

    /// Lets those who wait for the key have their turns, in order, for as long as it is there. Those who begin to wait
    /// meanwhile have seen it already.
    fn serve_key(&mut self, db: usize, key: &[u8], holding: Option<Number>) -> Served {
        let Some(last) = self.store.waiting.begin(db, key) else { return Served::Yes };
        while let Some((number, place)) = self.store.waiting.next(db, key) {
            if number > last {
                break;
            }
            let found = self.store.type_of_living(db, key);
            if found.is_none() && !self.store.waiting.wants_deletion(db, key) {
                break;
            }
            if found != Some(place.wake_on) && !place.also_on_deletion {
                self.store.waiting.advance(db, key, number);
                continue;
            }
            if self.is_held(key, number, holding) {
                return Served::NotNow;
            }
            if self.executor.runs_here(number) {
                self.store.waiting.advance(db, key, number);
                self.run_waiter(number);
            } else {
                self.store.waiting.offer(db, key, number);
                let offer = Notice::Offer { from: self.id, key: key.to_vec(), number };
                self.notify(place.shard as usize, offer);
                break;
            }
        }
        Served::Yes
    }

    /// Whether another transaction than `holding` holds what the waiter needs here.
    fn is_held(&self, key: &[u8], number: WaitNumber, holding: Option<Number>) -> bool {
        if self.transactions.locks.is_idle() {
            return false;
        }
        let scope = match self.executor.blocked.waiters.get(&number).map(|waiter| &waiter.wait) {
            Some(Wait::Keys(wait)) => self.turn.own_scope(std::slice::from_ref(&wait.command)),
            _ => None,
        };
        let scope = scope.unwrap_or_else(|| {
            let intent = Intent { key: fingerprint(key), access: KeyAccess::Write };
            Scope::Keys(smallvec::smallvec![intent])
        });
        self.transactions.locks.conflicts_with_holders(&scope, holding)
    }

    /// Runs the command of a waiter whose keys are all here.
    fn run_waiter(&mut self, number: WaitNumber) {
        let Some(waiter) = self.executor.blocked.waiters.get_mut(&number) else { return };
        let (home, origin) = (waiter.home, waiter.origin);
        let Wait::Keys(wait) = &mut waiter.wait else { return };
        let OwnedCommand { spec, db, .. } = wait.command;
        let args = std::mem::take(&mut wait.command.args);
        let (caller, mut reply) = (wait.caller, Reply::new(wait.protocol));
        let refusal = self.refusal_when_woken(spec, &args.slices(), &caller);
        if let Some(error) = refusal {
            self.turn.refuse_waiter(spec, &error, &mut reply);
        } else {
            let slices = args.slices();
            let call = Call { spec, db, args: &slices, caller: &caller, within: Within::Longer };
            let called = self.call(call, &mut reply);
            drop(slices);
            if let Called::Blocked(run) = called {
                let record = self.executor.blocked.waiters.get_mut(&number).map(|waiter| &mut waiter.wait);
                if let Some(Wait::Keys(wait)) = record {
                    wait.command.args = args;
                    wait.block_again(run);
                }
                return;
            }
        }
        self.remove_waiter(number);
        self.reply_to(home, origin, &mut reply);
    }
}
