//! The protocol of intents in a small world without threads: shards with their queues, messages that arrive in any order but one
//! sender's, transactions, commands of one shard, and scripts that stand and go further. A seed gives the same run again.
//!
//! Two things must hold: from the first time that it runs to its end nobody has what a transaction has, and all come
//! to their ends when nothing new begins.

use std::collections::{HashMap, VecDeque};

use super::locks::{Answer, Intent, Locks, Number, Scope, Strengthened};
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

type Id = usize;

#[derive(Debug)]
enum Message {
    Lock(Id, Number, Scope),
    Strengthen(Id, Number, Number),
    Locked { from: usize, id: Id, number: Number, granted: bool },
    Release(Number),
}

#[derive(Debug)]
struct Member {
    shard: usize,
    scope: Scope,
    awaited: bool,
    kept: bool,
}

#[derive(Debug)]
struct Transaction {
    home: usize,
    number: Number,
    parts: Vec<Member>,
    /// It has all that it asked for, and takes so many steps more.
    runs: Option<u64>,
    is_script: bool,
}

enum Owner {
    Transaction(Id),
    /// A command of one shard, which may be a script.
    Command(Scope, bool),
}

#[derive(Default)]
struct Shard {
    locks: Locks,
    owners: HashMap<Number, Owner>,
    /// What has run and has not ended, by number.
    using: HashMap<Number, Scope>,
}

struct World {
    random: Random,
    shards: Vec<Shard>,
    wires: Vec<Vec<VecDeque<Message>>>,
    transactions: HashMap<Id, Transaction>,
    last_number: Number,
    last_id: Id,
    is_reaching: bool,
    ended: usize,
    refused: usize,
    strengthened: usize,
    cut: usize,
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
            shards: (0..shards).map(|_| Shard::default()).collect(),
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
        let mut parts: Vec<Member> = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let (shard, scope) = (self.shard(), self.random.scope());
            if parts.iter().all(|part| part.shard != shard) {
                parts.push(Member { shard, scope, awaited: false, kept: false });
            }
        }
        self.last_id += 1;
        let is_script = self.random.one_in(4);
        let transaction = Transaction { home, number: 0, parts, runs: None, is_script };
        self.transactions.insert(self.last_id, transaction);
        self.lock_all(self.last_id);
    }

    fn lock_all(&mut self, id: Id) {
        let number = self.number();
        let Some(t) = self.transactions.get_mut(&id) else { return };
        let (old, home) = (std::mem::replace(&mut t.number, number), t.home);
        t.runs = None;
        let mut out = Vec::new();
        for part in &mut t.parts {
            part.awaited = true;
            out.push((
                part.shard,
                match part.kept {
                    true => Message::Strengthen(id, old, number),
                    false => Message::Lock(id, number, part.scope.clone()),
                },
            ));
        }
        out.into_iter().for_each(|(to, message)| self.send(home, to, message));
    }

    fn give_back(&mut self, id: Id) {
        let t = &self.transactions[&id];
        let (home, number) = (t.home, t.number);
        let shards: Vec<usize> = t.parts.iter().filter(|part| !part.kept).map(|part| part.shard).collect();
        shards.into_iter().for_each(|to| self.send(home, to, Message::Release(number)));
    }

    fn locked(&mut self, from: usize, id: Id, number: Number, granted: bool) {
        let Some(t) = self.transactions.get_mut(&id).filter(|t| t.number == number && t.runs.is_none())
        else {
            return;
        };
        if !granted {
            self.refused += 1;
            self.give_back(id);
            return self.lock_all(id);
        }
        t.parts.iter_mut().filter(|part| part.shard == from).for_each(|part| part.awaited = false);
        if t.parts.iter().any(|part| part.awaited) {
            return;
        }
        if t.parts.iter().any(|part| part.kept) {
            self.is_reaching = false;
            t.parts.iter_mut().for_each(|part| part.kept = false);
        }
        t.runs = Some(self.random.below(6));
        let parts: Vec<(usize, Scope)> =
            t.parts.iter().map(|part| (part.shard, part.scope.clone())).collect();
        parts.iter().for_each(|(shard, scope)| self.uses(*shard, number, scope));
    }

    /// A transaction that has all takes a step.
    fn step(&mut self, id: Id) {
        let shards = self.shards.len();
        let t = self.transactions.get_mut(&id).expect("it was found just now");
        let holds_all =
            t.parts.len() == shards && t.parts.iter().all(|part| matches!(part.scope, Scope::Whole(Write)));
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
        let held: Vec<usize> = t.parts.iter().map(|part| part.shard).collect();
        let part = |shard| Member {
            shard,
            scope: Scope::Whole(Write),
            awaited: false,
            kept: keeps && held.contains(&shard),
        };
        t.parts = (0..shards).map(part).collect();
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
            let answer = self.shards[shard].locks.request_in_order(number, &scope, client);
            assert_eq!(answer, Answer::Waiting);
            self.shards[shard].owners.insert(number, Owner::Command(scope, stands));
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
        self.last_id += 1;
        let parts = vec![Member { shard, scope, awaited: false, kept: false }];
        let runs = Some(self.random.below(6));
        let transaction = Transaction { home: shard, number, parts, runs, is_script: true };
        self.transactions.insert(self.last_id, transaction);
    }

    fn grant(&mut self, shard: usize, mut granted: Vec<Number>) {
        let mut next = 0;
        while next < granted.len() {
            let number = granted[next];
            next += 1;
            match self.shards[shard].owners.remove(&number) {
                Some(Owner::Transaction(id)) => self.answer(shard, id, number, true),
                Some(Owner::Command(scope, stands)) => {
                    self.uses(shard, number, &scope);
                    if stands {
                        self.stand(shard, number, scope);
                    } else {
                        self.shards[shard].using.remove(&number);
                        self.shards[shard].locks.release(number, &mut granted);
                    }
                }
                None => panic!("nobody's number {number}"),
            }
        }
    }

    fn answer(&mut self, from: usize, id: Id, number: Number, granted: bool) {
        // Transactions that have ended ask for nothing.
        if let Some(home) = self.transactions.get(&id).map(|t| t.home) {
            self.send(from, home, Message::Locked { from, id, number, granted });
        }
    }

    fn deliver(&mut self, at: usize, message: Message) {
        match message {
            Message::Lock(id, number, scope) => match self.shards[at].locks.request(number, &scope) {
                Answer::Granted => self.answer(at, id, number, true),
                Answer::Waiting => {
                    self.shards[at].owners.insert(number, Owner::Transaction(id));
                }
                Answer::Refused => self.answer(at, id, number, false),
            },
            Message::Strengthen(id, old, number) => {
                let shard = &mut self.shards[at];
                shard.owners.remove(&old);
                let used = shard.using.remove(&old).expect("it has run here");
                self.uses(at, number, &used);
                let Strengthened { answer, displaced, mut granted } =
                    self.shards[at].locks.strengthen(old, number);
                for displaced in displaced {
                    let old = displaced.number;
                    match self.shards[at].owners.remove(&old) {
                        Some(Owner::Transaction(id)) => self.answer(at, id, old, false),
                        Some(command) => {
                            let number = self.number();
                            let answer = self.shards[at].locks.wait_again(number, displaced);
                            assert_ne!(answer, Answer::Refused);
                            self.shards[at].owners.insert(number, command);
                            granted.extend((answer == Answer::Granted).then_some(number));
                        }
                        None => panic!("{old} is nobody's"),
                    }
                }
                self.grant(at, granted);
                match answer {
                    Answer::Granted => self.answer(at, id, number, true),
                    Answer::Waiting => {
                        self.shards[at].owners.insert(number, Owner::Transaction(id));
                    }
                    Answer::Refused => self.answer(at, id, number, false),
                }
            }
            Message::Locked { from, id, number, granted } => self.locked(from, id, number, granted),
            Message::Release(number) => {
                let mut granted = Vec::new();
                let shard = &mut self.shards[at];
                shard.owners.remove(&number);
                shard.using.remove(&number);
                shard.locks.release(number, &mut granted);
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
        running.sort_unstable();
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
            assert!(shard.locks.is_idle() && shard.owners.is_empty() && shard.using.is_empty());
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
