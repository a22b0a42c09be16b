//! The journal by itself, and a seeded simulation of shards that feed one stream.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::feed::{feeds, Bell, Feed, FILL_BYTES_MAX};
use super::testing::{Emitted, Merger};
use super::*;
use crate::command::Audience;

fn journal() -> Journal<&'static str> {
    let mut journal = Journal::default();
    journal.set_wanted(Wanted { units: true, ..Wanted::default() });
    journal
}

fn two_shards() -> (Feed, Feed, Merger) {
    let bell: Bell = Arc::new(|| {});
    let (mut feeds, reader) = feeds(2, &Arc::default(), &bell);
    let b = feeds.pop().unwrap();
    (feeds.pop().unwrap(), b, Merger::new(reader))
}

fn unit(words: &str) -> Unit {
    let args: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    Unit::of(Place::in_db(0), &args, Wanted::default())
}

fn own(unit: &Unit) -> Entry<'_> {
    Entry { unit, part: None, now_us: 0 }
}

fn texts(emitted: &[Emitted]) -> Vec<Vec<&str>> {
    emitted.iter().map(|e| e.commands.iter().map(|(_, text)| text.as_str()).collect()).collect()
}

#[test]
fn a_command_is_a_unit_a_body_is_one_and_a_part_ends_with_its_transaction() {
    let mut journal = journal();
    journal.push(Place::in_db(0), &[b"SET", b"a", b"1"]);
    assert_eq!(journal.complete_unit().unwrap().view().len(), 1);
    journal.forget_unit();
    let outer = journal.begin_body();
    journal.push(Place::in_db(0), &[b"SET", b"a", b"1"]);
    journal.attach("told");
    assert!(journal.complete_unit().is_none() && journal.take_attached().is_empty());
    // What belongs to a transaction goes into its part, in the middle of a body too.
    journal.enter_part(7, 3);
    journal.push(Place::in_db(0), &[b"SET", b"b", b"1"]);
    journal.leave_part();
    journal.push(Place::in_db(0), &[b"SET", b"a", b"2"]);
    journal.end_body(outer);
    assert_eq!(journal.complete_unit().unwrap().view().len(), 2);
    assert_eq!(journal.take_attached(), ["told"]);
    journal.forget_unit();
    journal.rename_part(7, 9);
    let part = journal.end_part(9).unit;
    assert_eq!(part.view().commands().next().unwrap().0.step, 3);
    assert!(journal.end_part(7).unit.is_empty());
}

#[test]
fn what_was_attached_comes_back_when_the_last_sink_goes() {
    let mut journal = journal();
    journal.begin_body();
    journal.push(Place::in_db(0), &[b"SET", b"a", b"1"]);
    journal.attach("body");
    journal.enter_part(7, 1);
    journal.attach("part");
    journal.leave_part();
    let mut attached = journal.set_wanted(Wanted::default());
    attached.sort_unstable();
    assert_eq!(attached, ["body", "part"]);
    assert!(journal.end_part(7).attached.is_empty() && !journal.is_in_body());
}

#[test]
fn each_sink_gets_what_is_for_it() {
    let (mut a, mut b, mut merger) = two_shards();
    let mut journal = journal();
    journal.begin_body();
    for audience in [Audience::Log, Audience::All, Audience::Replicas] {
        let name = format!("{audience:?}");
        journal.push(Place { audience, ..Place::in_db(0) }, &[b"SET", b"k", name.as_bytes()]);
    }
    journal.end_body(false);
    let both = journal.complete_unit().unwrap().clone();
    assert_eq!((both.logged(), both.fed()), (2, 2));
    let log_only = Unit::of(
        Place { audience: Audience::Log, ..Place::in_db(0) },
        &[b"SET", b"k", b"v"],
        Wanted::default(),
    );
    a.append(&own(&both));
    a.append(&own(&log_only));
    a.place(1, &[1]);
    a.end_turn();
    a.release(0);
    b.append(&Entry { part: Some(Part { transaction: 1, writers: &[1] }), ..own(&both) });
    b.append(&own(&log_only));
    b.end_turn();
    b.release(0);
    let expected = ["SET k All", "SET k Replicas"];
    assert_eq!(texts(&merger.emit()), [expected, expected]);
    assert!(merger.is_empty(), "no ticket for nothing");
}

#[test]
fn batches_leave_in_the_order_of_their_tickets_whoever_is_released_first() {
    let (mut a, mut b, mut merger) = two_shards();
    a.log_is_at(10);
    a.append(&own(&unit("SET a 1")));
    a.append(&own(&unit("SET a 2")));
    a.end_turn();
    a.end_turn();
    b.append(&own(&unit("SET b 1")));
    b.end_turn();
    b.release(0);
    a.release(9);
    assert!(merger.emit().is_empty(), "a is not released");
    a.release(10);
    assert_eq!(texts(&merger.emit()), [["SET a 1"], ["SET a 2"], ["SET b 1"]]);
    assert!(merger.is_empty());
}

#[test]
fn a_transaction_is_where_its_coordinator_put_it_and_whole() {
    let (mut a, mut b, mut merger) = two_shards();
    let writers = [0, 1];
    let part = Some(Part { transaction: 5, writers: &writers });
    a.append(&own(&unit("SET before 1")));
    a.place(5, &writers);
    a.append(&own(&unit("SET behind 1")));
    a.end_turn();
    b.append(&Entry { part, ..own(&unit("SET b 1")) });
    b.append(&own(&unit("SET b 2")));
    b.end_turn();
    a.release(0);
    b.release(0);
    assert!(merger.emit().is_empty(), "a part is missing");
    a.append(&Entry { part, ..own(&Unit::default()) });
    a.release(0);
    let emitted = merger.emit();
    assert_eq!(texts(&emitted), [["SET before 1"], ["SET b 1"], ["SET behind 1"], ["SET b 2"]]);
    assert_eq!(emitted[1].transaction, Some(5));
}

#[test]
fn the_steps_of_a_transaction_order_its_parts_and_what_all_shards_have_comes_once() {
    let mut shards = [journal(), journal()];
    for (step, shard, words) in
        [(1, 0, "SET a 1"), (2, 0, "FLUSHALL"), (2, 1, "FLUSHALL"), (3, 1, "SET b 1"), (4, 0, "SET a 2")]
    {
        let args: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        shards[shard].enter_part(1, step);
        let is_everywhere = words == "FLUSHALL";
        shards[shard].push(Place { is_everywhere, ..Place::in_db(0) }, &args);
        shards[shard].leave_part();
    }
    let (mut a, mut b, mut merger) = two_shards();
    let part = Some(Part { transaction: 1, writers: &[0, 1] });
    a.append(&Entry { part, ..own(&shards[0].end_part(1).unit) });
    b.append(&Entry { part, ..own(&shards[1].end_part(1).unit) });
    b.place(1, &[0, 1]);
    b.end_turn();
    a.release(0);
    b.release(0);
    assert_eq!(texts(&merger.emit()), [["SET a 1", "FLUSHALL", "SET b 1", "SET a 2"]]);
}

#[test]
fn a_mark_parts_what_was_before_a_barrier_from_what_comes_behind_it() {
    let (mut a, mut b, mut merger) = two_shards();
    b.append(&own(&unit("SET b 1")));
    b.end_turn();
    a.append(&own(&unit("SET a 1")));
    let mark = a.mark();
    a.append(&own(&unit("SET a 2")));
    a.end_turn();
    b.append(&own(&unit("SET b 2")));
    b.end_turn();
    let empty = a.mark();
    a.release(0);
    b.release(0);
    let emitted = merger.emit();
    let before: Vec<_> = emitted.iter().filter(|e| e.ticket <= mark).cloned().collect();
    assert_eq!(texts(&before), [["SET b 1"], ["SET a 1"]]);
    assert_eq!(emitted.len(), 4);
    assert!(emitted.iter().all(|e| e.ticket < empty) && merger.is_empty(), "an empty batch has its ticket");
}

#[test]
fn what_is_on_its_way_is_counted_until_it_is_emitted_and_full_is_a_bound() {
    let (mut a, _b, mut merger) = two_shards();
    let value = "x".repeat(1 << 20);
    a.log_is_at(1);
    for _ in 0..FILL_BYTES_MAX >> 20 {
        assert!(!a.fill().is_full());
        a.append(&own(&unit(&format!("SET a {value}"))));
        a.end_turn();
    }
    assert!(a.fill().is_full(), "what waits for its release counts");
    a.release(1);
    assert!(a.fill().is_full(), "and what waits to be taken");
    assert_eq!(merger.emit().len(), FILL_BYTES_MAX >> 20);
    assert_eq!(merger.reader.fill().bytes(), 0);
}

// Shards that send each other messages in turns, in an order that a seed chooses.

const SHARDS: usize = 4;
const KEYS: u64 = 12;
const CLIENTS: usize = 6;

fn home(key: u64) -> usize {
    key as usize % SHARDS
}

enum Message {
    Lock { number: Number, coordinator: usize, key: u64 },
    Locked { number: Number },
    End { number: Number, coordinator: usize, key: u64, writes: bool, writers: Vec<u16> },
    Ended { number: Number },
}

struct Transaction {
    client: usize,
    /// Each on another shard, in the order of shards, and whether it is written.
    keys: Vec<(u64, bool)>,
    locked: usize,
    ended: usize,
}

#[derive(Default)]
struct Key {
    holder: Option<Number>,
    waiting: VecDeque<(Number, usize)>,
    /// Who has touched it, in order, and whether by writing.
    touched: Vec<(Number, bool)>,
}

struct SimulatedShard {
    journal: Journal<()>,
    feed: Feed,
    inbox: VecDeque<Message>,
    /// Leave at the end of the turn.
    outbox: Vec<(usize, Message)>,
    replies: Vec<usize>,
    position: u64,
}

/// How a shard may do it wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The ticket is drawn at the end of the next turn.
    LateTicket,
    /// The coordinator places the transaction when all has ended.
    LatePlace,
}

struct Simulation {
    seed: u64,
    fault: Fault,
    shards: Vec<SimulatedShard>,
    merger: Merger,
    keys: HashMap<u64, Key>,
    transactions: HashMap<Number, Transaction>,
    /// What each client did last, and whether it waits for the reply.
    clients: Vec<(Option<Number>, bool)>,
    /// What a client did, and what it did before.
    after: Vec<(Number, Number)>,
    last: Number,
    emitted: Vec<Emitted>,
}

impl Simulation {
    fn new(seed: u64, fault: Fault) -> Simulation {
        let (feeds, reader) = feeds(SHARDS, &Arc::default(), &(Arc::new(|| {}) as Bell));
        let shard = |feed| SimulatedShard {
            journal: {
                let mut journal = Journal::default();
                journal.set_wanted(Wanted { units: true, ..Wanted::default() });
                journal
            },
            feed,
            inbox: VecDeque::new(),
            outbox: Vec::new(),
            replies: Vec::new(),
            position: 0,
        };
        Simulation {
            seed,
            fault,
            shards: feeds.into_iter().map(shard).collect(),
            merger: Merger::new(reader),
            keys: (0..KEYS).map(|key| (key, Key::default())).collect(),
            transactions: HashMap::new(),
            clients: vec![(None, false); CLIENTS],
            after: Vec::new(),
            last: 0,
            emitted: Vec::new(),
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    fn begin(&mut self, client: usize) -> Number {
        self.last += 1;
        if let Some(before) = self.clients[client].0.replace(self.last) {
            self.after.push((self.last, before));
        }
        self.clients[client].1 = true;
        self.last
    }

    fn write(&mut self, key: u64, number: Number) {
        let args = [b"SET".to_vec(), key.to_string().into_bytes(), number.to_string().into_bytes()];
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        self.shards[home(key)].journal.push(Place::in_db(0), &args);
    }

    fn append(&mut self, shard: usize, ended: Option<(Number, &[u16])>) {
        let s = &mut self.shards[shard];
        s.position += 1;
        s.feed.log_is_at(s.position);
        match ended {
            Some((transaction, writers)) => {
                let unit = s.journal.end_part(transaction).unit;
                let part = writers.contains(&(shard as u16)).then_some(Part { transaction, writers });
                if part.is_some() {
                    s.feed.append(&Entry { unit: &unit, part, now_us: 0 });
                }
            }
            None => {
                let unit = s.journal.complete_unit().unwrap().clone();
                s.feed.append(&own(&unit));
                s.journal.forget_unit();
            }
        }
    }

    /// A client of this shard does something, if it has its reply.
    fn act(&mut self, shard: usize) {
        let client = self.random(CLIENTS as u64) as usize;
        if self.clients[client].1 {
            return;
        }
        if self.random(3) > 0 {
            let key = self.random(KEYS / SHARDS as u64) * SHARDS as u64 + shard as u64;
            if self.keys[&key].holder.is_none() {
                let number = self.begin(client);
                self.keys.get_mut(&key).unwrap().touched.push((number, true));
                self.write(key, number);
                self.append(shard, None);
                self.shards[shard].replies.push(client);
            }
            return;
        }
        let mut keys = Vec::new();
        for owner in 0..SHARDS {
            if self.random(2) == 0 {
                let key = self.random(KEYS / SHARDS as u64) * SHARDS as u64 + owner as u64;
                keys.push((key, self.random(2) == 0));
            }
        }
        if keys.iter().any(|(_, writes)| *writes) {
            let number = self.begin(client);
            self.send(shard, home(keys[0].0), Message::Lock { number, coordinator: shard, key: keys[0].0 });
            self.transactions.insert(number, Transaction { client, keys, locked: 0, ended: 0 });
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if from == to {
            self.shards[to].inbox.push_front(message);
        } else {
            self.shards[from].outbox.push((to, message));
        }
    }

    fn handle(&mut self, shard: usize, message: Message) {
        match message {
            Message::Lock { number, coordinator, key } => {
                let entry = self.keys.get_mut(&key).unwrap();
                if entry.holder.is_some() {
                    return entry.waiting.push_back((number, coordinator));
                }
                entry.holder = Some(number);
                self.send(shard, coordinator, Message::Locked { number });
            }
            Message::Locked { number } => {
                let t = self.transactions.get_mut(&number).unwrap();
                t.locked += 1;
                if let Some((key, _)) = t.keys.get(t.locked).copied() {
                    return self.send(shard, home(key), Message::Lock { number, coordinator: shard, key });
                }
                let keys = t.keys.clone();
                let writers: Vec<u16> =
                    keys.iter().filter(|(_, writes)| *writes).map(|(key, _)| home(*key) as u16).collect();
                if self.fault != Fault::LatePlace {
                    self.shards[shard].feed.place(number, &writers);
                }
                for (key, writes) in keys {
                    let writers = writers.clone();
                    self.send(
                        shard,
                        home(key),
                        Message::End { number, coordinator: shard, key, writes, writers },
                    );
                }
            }
            Message::End { number, coordinator, key, writes, writers } => {
                if writes {
                    self.shards[shard].journal.enter_part(number, 1);
                    self.write(key, number);
                    self.shards[shard].journal.leave_part();
                }
                self.append(shard, Some((number, &writers)));
                let entry = self.keys.get_mut(&key).unwrap();
                entry.touched.push((number, writes));
                entry.holder = None;
                if let Some((next, its)) = entry.waiting.pop_front() {
                    entry.holder = Some(next);
                    self.send(shard, its, Message::Locked { number: next });
                }
                self.send(shard, coordinator, Message::Ended { number });
            }
            Message::Ended { number } => {
                let t = self.transactions.get_mut(&number).unwrap();
                t.ended += 1;
                if t.ended == t.keys.len() {
                    let t = self.transactions.remove(&number).unwrap();
                    if self.fault == Fault::LatePlace {
                        let writes = t.keys.iter().filter(|(_, writes)| *writes);
                        let writers: Vec<u16> = writes.map(|(key, _)| home(*key) as u16).collect();
                        self.shards[shard].feed.place(number, &writers);
                    }
                    self.shards[shard].replies.push(t.client);
                }
            }
        }
    }

    fn turn(&mut self, acts: bool) {
        let shard = self.random(SHARDS as u64) as usize;
        if self.fault == Fault::LateTicket {
            self.shards[shard].feed.end_turn();
        }
        for _ in 0..=self.random(4) {
            if acts && self.random(2) == 0 {
                self.act(shard);
            }
            if let Some(message) = self.shards[shard].inbox.pop_front() {
                self.handle(shard, message);
            }
        }
        let s = &mut self.shards[shard];
        s.feed.log_is_at(s.position);
        if self.fault != Fault::LateTicket {
            s.feed.end_turn();
        }
        for (to, message) in std::mem::take(&mut self.shards[shard].outbox) {
            self.shards[to].inbox.push_back(message);
        }
        for client in std::mem::take(&mut self.shards[shard].replies) {
            self.clients[client].1 = false;
        }
        let position = self.shards[shard].position;
        let released = position.saturating_sub(self.random(6));
        self.shards[shard].feed.release(released);
        self.emitted.extend(self.merger.emit());
    }

    fn run(mut self) -> Result<(), String> {
        for turn in 0..600 {
            self.turn(turn < 400);
        }
        for _ in 0..2000 {
            self.turn(false);
        }
        for shard in &mut self.shards {
            shard.feed.end_turn();
            shard.feed.release(u64::MAX);
        }
        self.emitted.extend(self.merger.emit());
        if !self.merger.is_empty() || !self.transactions.is_empty() {
            return Err("something waits for ever".to_owned());
        }
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        let mut place: HashMap<Number, usize> = HashMap::new();
        for (index, emitted) in self.emitted.iter().enumerate() {
            let numbers: HashSet<Number> = emitted
                .commands
                .iter()
                .map(|(_, text)| text.rsplit(' ').next().unwrap().parse().unwrap())
                .collect();
            if numbers.len() != 1 || place.insert(*numbers.iter().next().unwrap(), index).is_some() {
                return Err(format!("{emitted:?} is not one unit"));
            }
        }
        for (number, before) in &self.after {
            if place[before] > place[number] {
                return Err(format!("{number} came behind the reply to {before}"));
            }
        }
        for (key, entry) in &self.keys {
            let mut writes = 0;
            let mut latest = 0;
            for (number, writes_it) in &entry.touched {
                let at = place[number];
                let bound = if *writes_it { latest } else { writes };
                if at < bound {
                    return Err(format!("{number} is in front of what it came behind at key {key}"));
                }
                latest = latest.max(at);
                writes = if *writes_it { writes.max(at) } else { writes };
            }
        }
        Ok(())
    }
}

#[test]
fn one_stream_keeps_the_order_of_clients_and_of_conflicts() {
    for seed in 0..150 {
        Simulation::new(seed, Fault::None).run().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

#[test]
fn a_ticket_drawn_too_late_and_a_transaction_placed_too_late_are_found() {
    for fault in [Fault::LateTicket, Fault::LatePlace] {
        assert!((0..150).any(|seed| Simulation::new(seed, fault).run().is_err()));
    }
}
