//! The protocol of intents in a small world without threads, played by the coordinators and participants that the server has: shards with their queues, messages that arrive in any order but one
//! sender's, transactions, commands of one shard, and scripts that stand and go further. A seed gives the same run again.
//!
//! Two things must hold: from the first time that it runs to its end nobody has what a transaction has, and all come
//! to their ends when nothing new begins.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::coordinator::{Coordination, Locked, Request};
use super::guard::GuardedLocks;
use super::locks::{Answer, Intent, Number, Scope};
use super::message::TransactionId;
use super::participant::{Coordinator, Granted, Participant, Strengthening, Verdict};
use super::plan::Scopes;
use crate::command::table::KeyAccess::{self, Read, Write};

const KEYS: u64 = 4;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn scope(&mut self) -> Scope {
        let access = |bit| if bit == 0 { Read } else { Write };
        if self.one_in(12) {
            return Scope::Whole(access(self.below(2)));
        }
        let count = 1 + self.below(2);
        let intent =
            |random: &mut Random| Intent { key: 1 + random.below(KEYS), access: access(random.below(2)) };
        Scope::Keys((0..count).map(|_| intent(self)).collect())
    }
}

type Id = TransactionId;

#[derive(Debug)]
enum Message {
    Lock(Coordinator, Number, Scope),
    Strengthen(Coordinator, Number, Number),
    Locked { from: usize, id: Id, number: Number, granted: bool },
    Release(Number),
}

#[derive(Debug)]
struct Transaction {
    home: usize,
    intents: Coordination,
    /// What `intents` has asked for.
    scopes: Vec<(usize, Scope)>,
    /// It has all that it asked for, and takes so many steps more.
    runs: Option<u64>,
    is_script: bool,
}

/// A command of one shard that waits, and whether it is a script that stands when it runs.
#[derive(Debug)]
struct Waiting {
    scope: Scope,
    stands: bool,
}

struct Shard {
    locks: Rc<GuardedLocks>,
    participant: Participant<Waiting>,
    /// What has run and has not ended, by number.
    using: HashMap<Number, Scope>,
}

impl Shard {
    fn new() -> Shard {
        let locks = Rc::<GuardedLocks>::default();
        Shard { participant: Participant::new(locks.clone()), locks, using: HashMap::new() }
    }
}

struct World {
    random: Random,
    shards: Vec<Shard>,
    wires: Vec<Vec<VecDeque<Message>>>,
    transactions: HashMap<Id, Transaction>,
    last_number: Number,
    last_id: u32,
    is_reaching: bool,
    ended: usize,
    refused: usize,
    strengthened: usize,
    cut: usize,
}

fn wanted(scopes: &[(usize, Scope)]) -> Scopes {
    let mut all = Scopes::default();
    all.by_shard.extend(scopes.iter().cloned());
    all
}

fn accesses(scope: &Scope) -> Vec<(u64, KeyAccess)> {
    match scope {
        Scope::Whole(access) => (1..=KEYS).map(|key| (key, *access)).collect(),
        Scope::Keys(intents) => intents.iter().map(|intent| (intent.key, intent.access)).collect(),
    }
}

fn excludes(a: &Scope, b: &Scope) -> bool {
    let b = accesses(b);
    accesses(a).iter().any(|(key, access)| {
        b.iter().any(|(other, with)| key == other && (*access == Write || *with == Write))
    })
}

impl World {
    fn new(shards: usize, seed: u64) -> World {
        World {
            random: Random(seed),
            shards: (0..shards).map(|_| Shard::new()).collect(),
            wires: (0..shards).map(|_| (0..shards).map(|_| VecDeque::new()).collect()).collect(),
            transactions: HashMap::new(),
            last_number: 0,
            last_id: 0,
            is_reaching: false,
            ended: 0,
            refused: 0,
            strengthened: 0,
            cut: 0,
        }
    }

    fn number(&mut self) -> Number {
        self.last_number += 1;
        self.last_number
    }

    fn shard(&mut self) -> usize {
        self.random.below(self.shards.len() as u64) as usize
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        self.wires[from][to].push_back(message);
    }

    /// It runs here from now on, and nobody else may have run and not ended that excludes it.
    fn uses(&mut self, shard: usize, number: Number, scope: &Scope) {
        for (other, held) in &self.shards[shard].using {
            assert!(
                *other == number || !excludes(held, scope),
                "{number} runs beside {other}: {held:?} {scope:?}"
            );
        }
        self.shards[shard].using.insert(number, scope.clone());
    }

    fn begin_transaction(&mut self) {
        let home = self.shard();
        let mut scopes: Vec<(usize, Scope)> = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let (shard, scope) = (self.shard(), self.random.scope());
            if scopes.iter().all(|(other, _)| *other != shard) {
                scopes.push((shard, scope));
            }
        }
        let is_script = self.random.one_in(4);
        let intents = Coordination::new(wanted(&scopes));
        let id = self.add(Transaction { home, intents, scopes, runs: None, is_script });
        self.lock_all(id);
    }

    fn add(&mut self, transaction: Transaction) -> Id {
        self.last_id += 1;
        let id = Id { index: self.last_id, generation: 0 };
        self.transactions.insert(id, transaction);
        id
    }

    fn lock_all(&mut self, id: Id) {
        let number = self.number();
        let Some(t) = self.transactions.get_mut(&id) else { return };
        let home = t.home;
        t.runs = None;
        let requests = t.intents.request(number);
        for (to, request) in requests {
            let coordinator = Coordinator { shard: home, transaction: id, watch: None };
            let message = match request {
                Request::Strengthen(old) => Message::Strengthen(coordinator, old, number),
                Request::Lock(scope) => Message::Lock(coordinator, number, scope),
            };
            self.send(home, to, message);
        }
    }

    fn give_back(&mut self, id: Id) {
        let t = &self.transactions[&id];
        let (home, number, shards) = (t.home, t.intents.number(), t.intents.give_back());
        shards.into_iter().for_each(|to| self.send(home, to, Message::Release(number)));
    }

    fn locked(&mut self, from: usize, id: Id, number: Number, granted: bool) {
        let Some(t) = self.transactions.get_mut(&id) else { return };
        let locked = t.intents.locked(from, number, granted.then_some(i64::MAX));
        match locked {
            Locked::Stale | Locked::Waiting => {}
            Locked::Refused => {
                self.refused += 1;
                self.give_back(id);
                self.lock_all(id);
            }
            Locked::Holds { reached_further } => {
                assert!(t.runs.is_none(), "it takes place once");
                if reached_further {
                    self.is_reaching = false;
                }
                t.runs = Some(self.random.below(6));
                let scopes = t.scopes.clone();
                scopes.iter().for_each(|(shard, scope)| self.uses(*shard, number, scope));
            }
        }
    }

    /// A transaction that has all takes a step.
    fn step(&mut self, id: Id) {
        let shards = self.shards.len();
        let t = self.transactions.get_mut(&id).expect("it was found just now");
        let holds_all = t.intents.covers_whole(0..shards, Write);
        let goes_further = t.is_script && !holds_all && self.random.one_in(4);
        match &mut t.runs {
            Some(left) if *left > 0 => *left -= 1,
            _ if goes_further => self.go_further(id),
            _ => {
                self.give_back(id);
                self.transactions.remove(&id);
                self.ended += 1;
            }
        }
    }

    fn go_further(&mut self, id: Id) {
        let keeps = !std::mem::replace(&mut self.is_reaching, true);
        if !keeps {
            self.cut += 1;
            self.give_back(id);
        }
        self.strengthened += usize::from(keeps);
        let shards = self.shards.len();
        let t = self.transactions.get_mut(&id).expect("it was found just now");
        t.scopes = (0..shards).map(|shard| (shard, Scope::Whole(Write))).collect();
        match keeps {
            true => t.intents.hold_also(wanted(&t.scopes)),
            false => t.intents.hold(wanted(&t.scopes)),
        }
        self.lock_all(id);
    }

    /// A command of one shard, by itself or as a script that stands.
    fn command(&mut self, shard: usize) {
        let (mut scope, client) = (self.random.scope(), 1000 + self.random.below(3));
        if let Scope::Whole(_) = scope {
            scope = Scope::Keys(smallvec::smallvec![Intent { key: 1, access: Write }]);
        }
        let stands = self.random.one_in(3);
        let locks = &self.shards[shard].locks;
        if locks.conflicts_in_order(&scope, client) {
            let number = self.number();
            let wanted = scope.clone();
            self.shards[shard].participant.wait(number, &wanted, client, Waiting { scope, stands });
            return;
        }
        let number = self.number();
        self.uses(shard, number, &scope);
        if stands {
            let answer = self.shards[shard].locks.request_in_order(number, &scope, client);
            assert_eq!(answer, Answer::Granted, "it has run");
            self.stand(shard, number, scope);
        } else {
            self.shards[shard].using.remove(&number);
        }
    }

    /// What has run as a command goes on as a transaction.
    fn stand(&mut self, shard: usize, number: Number, mut scope: Scope) {
        let further = Intent { key: 1 + self.random.below(KEYS), access: Write };
        let also = Scope::Keys(smallvec::smallvec![further]);
        let is_named = accesses(&scope).iter().any(|(key, _)| *key == further.key);
        if !is_named && !self.shards[shard].locks.conflicts(&also) {
            self.shards[shard].locks.extend(number, &also);
            if let Scope::Keys(intents) = &mut scope {
                intents.push(further);
            }
            self.uses(shard, number, &scope);
        }
        let scopes = vec![(shard, scope)];
        let mut intents = Coordination::new(wanted(&scopes));
        intents.adopt(number);
        let runs = Some(self.random.below(6));
        self.add(Transaction { home: shard, intents, scopes, runs, is_script: true });
    }

    fn grant(&mut self, shard: usize, mut granted: Vec<Number>) {
        let mut next = 0;
        while next < granted.len() {
            let number = granted[next];
            next += 1;
            match self.shards[shard].participant.granted(number) {
                Granted::Coordinator(coordinator) => {
                    self.answer(shard, Verdict { coordinator, number, is_granted: true });
                }
                Granted::Waiting(waiting) => {
                    let Waiting { scope, stands } = *waiting;
                    self.uses(shard, number, &scope);
                    if stands {
                        self.stand(shard, number, scope);
                    } else {
                        self.shards[shard].using.remove(&number);
                        self.shards[shard].participant.release(number, &mut granted);
                    }
                }
                Granted::Nobody => panic!("nobody's number {number}"),
            }
        }
    }

    fn answer(&mut self, from: usize, verdict: Verdict) {
        let Verdict { coordinator: Coordinator { transaction: id, .. }, number, is_granted } = verdict;
        // Transactions that have ended ask for nothing.
        if let Some(home) = self.transactions.get(&id).map(|t| t.home) {
            self.send(from, home, Message::Locked { from, id, number, granted: is_granted });
        }
    }

    fn deliver(&mut self, at: usize, message: Message) {
        match message {
            Message::Lock(coordinator, number, scope) => {
                if let Some(verdict) = self.shards[at].participant.lock(coordinator, number, &scope) {
                    self.answer(at, verdict);
                }
            }
            Message::Strengthen(coordinator, old, number) => {
                let used = self.shards[at].using.remove(&old).expect("it has run here");
                self.uses(at, number, &used);
                let last = &mut self.last_number;
                let next = || {
                    *last += 1;
                    *last
                };
                let Strengthening { refused, granted, verdict } =
                    self.shards[at].participant.strengthen(coordinator, old, number, next);
                refused.into_iter().for_each(|verdict| self.answer(at, verdict));
                self.grant(at, granted);
                if let Some(verdict) = verdict {
                    self.answer(at, verdict);
                }
            }
            Message::Locked { from, id, number, granted } => self.locked(from, id, number, granted),
            Message::Release(number) => {
                let mut granted = Vec::new();
                let shard = &mut self.shards[at];
                shard.using.remove(&number);
                shard.participant.release(number, &mut granted);
                self.grant(at, granted);
            }
        }
    }

    /// Something happens. False: nothing can.
    fn turn(&mut self) -> bool {
        let shards = self.shards.len();
        let wires: Vec<(usize, usize)> = (0..shards)
            .flat_map(|from| (0..shards).map(move |to| (from, to)))
            .filter(|(from, to)| !self.wires[*from][*to].is_empty())
            .collect();
        let mut running: Vec<Id> =
            self.transactions.iter().filter(|(_, t)| t.runs.is_some()).map(|(id, _)| *id).collect();
        running.sort_unstable_by_key(|id| id.index);
        let choices = (wires.len() + running.len()) as u64;
        if choices == 0 {
            return false;
        }
        let choice = self.random.below(choices) as usize;
        match wires.get(choice) {
            Some((from, to)) => {
                let message = self.wires[*from][*to].pop_front().expect("it is not empty");
                self.deliver(*to, message);
            }
            None => self.step(running[choice - wires.len()]),
        }
        true
    }

    fn run(&mut self, beginnings: usize) {
        for _ in 0..beginnings {
            let shard = self.shard();
            match self.random.below(3) {
                0 => self.begin_transaction(),
                _ => self.command(shard),
            }
            for _ in 0..self.random.below(12) {
                self.turn();
            }
        }
        let mut turns = 0;
        while self.turn() {
            turns += 1;
            assert!(turns < 1_000_000, "nobody gets on");
        }
        assert!(self.transactions.is_empty(), "they wait for each other: {:?}", self.transactions);
        for shard in &self.shards {
            assert!(shard.participant.is_idle() && shard.using.is_empty());
        }
    }
}

#[test]
fn whatever_goes_further_has_what_it_had_and_all_come_to_their_ends() {
    let seeds = std::env::var("SIMULATION_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let (mut ended, mut refused, mut strengthened, mut cut) = (0, 0, 0, 0);
    for seed in 1..=seeds {
        for shards in 1..=4 {
            let mut world = World::new(shards, seed);
            world.run(60);
            ended += world.ended;
            refused += world.refused;
            strengthened += world.strengthened;
            cut += world.cut;
        }
    }
    assert!(
        ended > 0 && refused > 0 && strengthened > 0 && cut > 0,
        "{ended} {refused} {strengthened} {cut}"
    );
}
