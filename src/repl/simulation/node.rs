//! One server of the simulation: what the control plane and the shards of a real one do with the parts of this room.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::network::ConnectionId;
use super::world::Plant;
use crate::journal::feed::{feeds, Bell, Feed, FeedReader};
use crate::journal::{Entry, Journal, Number, Part, Place, Sink, Ticket, Tickets, Unit, Wanted};
use crate::repl::backlog::{Backlog, ReaderId};
use crate::repl::history::{History, Kept, ReplicationId};
use crate::repl::master::handshake::{Cut, JobId, ReplicaId, Replicas, Settings};
use crate::repl::master::options::Options;
use crate::repl::master::wait::Waiters;
use crate::repl::replica::forward::Forward;
use crate::repl::replica::link::{self, Link, Resume};
use crate::repl::replica::stream::{Bounds, Command, Cutter, Item, Schedule, Work};
use crate::repl::sequencer::{Fault, Sequencer, StreamWriter};
use crate::slots::shard_of_slot;
use crate::store::slot_of;

pub const SHARDS: usize = 3;
pub const BACKLOG: u64 = 4096;
pub const TIMEOUT_MS: u64 = 3000;
pub const BOUNDS: Bounds = Bounds { command_max: 1 << 16, transaction_max: 1 << 20, databases: 16 };

/// What a server has: of each key of each database the values that were pushed.
pub type Data = BTreeMap<(usize, String), Vec<u64>>;

pub fn shard_of(key: &str) -> usize {
    shard_of_slot(slot_of(key.as_bytes()), SHARDS)
}

pub fn apply(data: &mut Data, command: &Command) {
    let args = command.args();
    let word =
        |index: usize| args.get(index).and_then(|arg| std::str::from_utf8(arg).ok()).unwrap_or_default();
    match word(0) {
        "RPUSH" => data.entry((command.db, word(1).into())).or_default().push(word(2).parse().unwrap_or(0)),
        "DEL" => drop(data.remove(&(command.db, word(1).into()))),
        // A stream that is out of step. It shows in the data.
        _ => {}
    }
}

pub fn apply_item(data: &mut Data, item: &Item) {
    match item {
        Item::Command(command) => apply(data, command),
        Item::Transaction { commands, .. } => commands.iter().for_each(|command| apply(data, command)),
        Item::Nothing { .. } | Item::AckWanted { .. } => {}
    }
}

/// A snapshot: text, a line for each value.
pub fn payload_of(data: &Data, db: usize) -> Vec<u8> {
    let mut text = format!("REDIS {db}\n");
    for ((db, key), values) in data {
        for value in values {
            text.push_str(&format!("{db} {key} {value}\n"));
        }
    }
    text.push_str("END\n");
    text.into_bytes()
}

/// The data, and the database that the stream has selected; `None`: the snapshot is not whole.
pub fn data_of(payload: &[u8]) -> Option<(Data, usize)> {
    let text = std::str::from_utf8(payload).ok()?.strip_suffix("END\n")?;
    let mut lines = text.lines();
    let db = lines.next()?.strip_prefix("REDIS ")?.parse().ok()?;
    let mut data = Data::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        data.entry((words[0].parse().ok()?, words[1].into())).or_default().push(words[2].parse().ok()?);
    }
    Some((data, db))
}

/// A unit of one command.
fn unit(db: usize, args: &[&[u8]]) -> Unit {
    Unit::of(Place::in_db(db), args, Wanted::default())
}

/// A connection of a replica, before and after it has asked for the stream.
#[derive(Default)]
pub struct Peer {
    pub input: Vec<u8>,
    pub options: Options,
    pub reader: Option<ReaderId>,
    pub may_stream: bool,
}

pub struct Job {
    pub id: JobId,
    pub payload: Vec<u8>,
    pub mark: Option<[u8; 40]>,
    pub written_ms: u64,
}

/// A client that waits.
pub struct Write {
    pub client: u64,
    pub ticket: Ticket,
    pub value: u64,
}

/// What a shutdown leaves on disk.
pub struct Disk {
    pub data: Data,
    pub kept: Kept,
    pub tail: Vec<u8>,
    pub follows: Option<usize>,
}

/// The side that follows a master.
pub struct Follower {
    pub master: usize,
    pub link: Link,
    pub connection: Option<ConnectionId>,
    pub retry_ms: Option<u64>,
    pub cutter: Cutter,
    pub schedule: Schedule,
    pub forward: Forward,
    pub running: Vec<(u64, Work)>,
    /// Until when each shard has work.
    pub busy_ms: [u64; SHARDS],
    pub checked: Option<u64>,
    pub held: Vec<u8>,
    pub payload: Vec<u8>,
    pub start: Option<Resume>,
    pub loaded_ms: Option<u64>,
}

pub struct Node {
    pub index: usize,
    pub is_up: bool,
    pub data: Data,
    pub history: History,
    pub writer: StreamWriter,
    pub backlog: Option<Backlog>,
    /// What it has put into the stream as a master, and under which id, for the check of it.
    pub emitted: Vec<(ReplicationId, Vec<u8>)>,
    // As a master.
    pub sequencer: Sequencer,
    tickets: Arc<Tickets>,
    feeds: Vec<Feed>,
    reader: FeedReader,
    /// Of each shard's log: its end, and when which part of it is released.
    positions: [u64; SHARDS],
    unreleased: Vec<VecDeque<(u64, u64)>>,
    transactions: Number,
    pub replicas: Replicas,
    pub peers: BTreeMap<ReplicaId, Peer>,
    pub jobs: Vec<Job>,
    pub waiters: Waiters,
    pub writes: Vec<Write>,
    pub confirming: BTreeMap<u64, (u64, u64)>,
    // As a replica.
    pub follower: Option<Follower>,
}

pub fn settings(diskless: bool) -> Settings {
    Settings {
        timeout_ms: TIMEOUT_MS,
        ping_period_ms: 700,
        diskless,
        diskless_delay_ms: 50,
        diskless_max_replicas: 0,
        backlog_size: BACKLOG,
        backlog_ttl_ms: 0,
        hard_limit: 1 << 16,
        soft_limit: 0,
        soft_ms: 0,
        throttle_bytes: 0,
        min_replicas_to_write: 0,
        min_replicas_max_lag_ms: 10_000,
        channels: false,
    }
}

fn bell() -> Bell {
    Arc::new(|| {})
}

impl Node {
    pub fn new(index: usize, id: ReplicationId, diskless: bool, plant: Plant) -> Node {
        let tickets = Arc::default();
        let (feeds, reader) = feeds(SHARDS, &tickets, &bell());
        let mut node = Node {
            index,
            is_up: true,
            data: Data::new(),
            history: History::new(id),
            writer: StreamWriter::new(0, None),
            backlog: None,
            emitted: Vec::new(),
            sequencer: Sequencer::new(reader.first),
            tickets,
            feeds,
            reader,
            positions: [0; SHARDS],
            unreleased: (0..SHARDS).map(|_| VecDeque::new()).collect(),
            transactions: 0,
            replicas: Replicas::new(settings(diskless)),
            peers: BTreeMap::new(),
            jobs: Vec::new(),
            waiters: Waiters::new(),
            writes: Vec::new(),
            confirming: BTreeMap::new(),
            follower: None,
        };
        node.plant(plant);
        node
    }

    pub fn plant(&mut self, plant: Plant) {
        self.writer.fault = match plant {
            Plant::PartOutside => Fault::PartOutside,
            Plant::PingNotCounted => Fault::PingNotCounted,
            Plant::Nothing | Plant::ForgetsSecondId => Fault::None,
        };
    }

    pub fn is_master(&self) -> bool {
        self.is_up && self.follower.is_none()
    }

    /// One shard runs a command.
    pub fn push(&mut self, db: usize, key: &str, value: u64) -> usize {
        self.data.entry((db, key.into())).or_default().push(value);
        self.append(
            shard_of(key),
            &unit(db, &[b"RPUSH", key.as_bytes(), value.to_string().as_bytes()]),
            None,
        );
        shard_of(key)
    }

    pub fn delete(&mut self, db: usize, key: &str) {
        self.data.remove(&(db, key.to_owned()));
        self.append(shard_of(key), &unit(db, &[b"DEL", key.as_bytes()]), None);
    }

    fn append(&mut self, shard: usize, unit: &Unit, part: Option<Part>) {
        self.positions[shard] += unit.view().byte_len() as u64;
        self.feeds[shard].log_is_at(self.positions[shard]);
        self.feeds[shard].append(&Entry { unit, part, now_us: 0 });
    }

    /// The end of a shard's turn: a ticket, if there is something to say. It is released at `at_ms`.
    pub fn turn(&mut self, shard: usize, at_ms: u64) -> Option<Ticket> {
        let ticket = self.feeds[shard].end_turn()?;
        self.unreleased[shard].push_back((at_ms, self.positions[shard]));
        Some(ticket)
    }

    /// A transaction over all keys: their shards are held, so what they did before has its tickets.
    pub fn transaction(&mut self, db: usize, keys: &[String], value: u64, at_ms: &[u64; SHARDS]) -> Ticket {
        let writers: BTreeSet<usize> = keys.iter().map(|key| shard_of(key)).collect();
        for shard in &writers {
            self.turn(*shard, at_ms[*shard]);
        }
        let coordinator = shard_of(&keys[0]);
        self.transactions += 1;
        let transaction = self.transactions;
        let numbers: Vec<u16> = writers.iter().map(|shard| *shard as u16).collect();
        self.feeds[coordinator].place(transaction, &numbers);
        let ticket = self.turn(coordinator, at_ms[coordinator]).unwrap();
        for shard in writers {
            let mut journal: Journal<()> = Journal::default();
            journal.set_wanted(Wanted { units: true, ..Wanted::default() });
            journal.enter_part(transaction, 1);
            for key in keys.iter().filter(|key| shard_of(key) == shard) {
                self.data.entry((db, key.clone())).or_default().push(value);
                let value = value.to_string();
                journal.push(Place::in_db(db), &[b"RPUSH", key.as_bytes(), value.as_bytes()]);
            }
            journal.leave_part();
            let part = Part { transaction, writers: &numbers };
            self.append(shard, &journal.end_part(transaction).unit, Some(part));
            self.unreleased[shard].push_back((at_ms[shard], self.positions[shard]));
        }
        ticket
    }

    /// What shards have released reaches the sequencer; all of it at a barrier.
    pub fn deliver(&mut self, now_ms: u64, all: bool) {
        for shard in 0..SHARDS {
            if all {
                self.turn(shard, now_ms);
            }
            let mut released = None;
            while self.unreleased[shard].front().is_some_and(|(at, _)| all || *at <= now_ms) {
                released = self.unreleased[shard].pop_front().map(|(_, position)| position);
            }
            if let Some(position) = released {
                self.feeds[shard].release(position);
            }
        }
        while let Some(delivery) = self.reader.next() {
            self.sequencer.deliver(delivery).unwrap();
        }
        self.sequencer.emit(&mut self.writer).unwrap();
    }

    /// At a barrier: feeds and their reader begin.
    fn begin_feed(&mut self) {
        (self.feeds, self.reader) = feeds(SHARDS, &self.tickets, &bell());
        self.unreleased.iter_mut().for_each(VecDeque::clear);
        self.sequencer = Sequencer::new(self.reader.first);
    }

    /// What the writer has goes into the backlog.
    pub fn flush(&mut self) {
        let bytes = self.writer.take();
        if let Some(backlog) = &mut self.backlog {
            backlog.append(&bytes);
        }
        if self.follower.is_none() && !bytes.is_empty() {
            self.emitted.push((self.history.id(), bytes));
        }
    }

    /// At a barrier: from here on the stream is counted, under a new id.
    pub fn make_backlog(&mut self, id: ReplicationId, now_ms: u64) {
        self.deliver(now_ms, true);
        self.flush();
        self.writer.forget_selected();
        self.history.renew(id);
        self.backlog = Some(Backlog::new(BACKLOG, self.writer.offset()));
    }

    /// The cut of a snapshot.
    pub fn snapshot(&mut self, job: JobId, mark: Option<[u8; 40]>, now_ms: u64, written_ms: u64) -> Cut {
        if self.follower.is_none() {
            self.deliver(now_ms, true);
        }
        self.at_barrier();
        self.flush();
        let stream_db = self.writer.selected().unwrap_or(0);
        let db = match &self.follower {
            Some(follower) => follower.schedule.applied_db(),
            None => {
                self.writer.forget_selected();
                stream_db
            }
        };
        self.jobs.push(Job { id: job, payload: payload_of(&self.data, db), mark, written_ms });
        Cut { offset: self.writer.offset(), stream_db: db, mark: mark.unwrap_or([b'm'; 40]) }
    }

    /// REPLICAOF another server. What is here is of the history that it may go on from.
    pub fn follow(&mut self, master: usize, failover: bool, now_ms: u64) {
        if self.follower.is_none() {
            self.deliver(now_ms, true);
            self.flush();
            // What they wait for has an offset of a history that ends here.
            self.waiters.drain();
            self.writes.clear();
            self.confirming.clear();
        }
        // A master without a backlog has counted nothing: its data are of no history.
        let has_history = self.backlog.is_some();
        let resume = has_history.then(|| Resume { id: self.history.id(), offset: self.writer.offset() });
        let db = match &self.follower {
            Some(follower) => follower.schedule.applied_db(),
            None => self.writer.selected().unwrap_or(0),
        };
        let of = link::Settings { port: 6379, timeout_ms: TIMEOUT_MS, ..Default::default() };
        let offset = self.writer.offset();
        self.follower = Some(Follower {
            master,
            link: Link::new(of, resume, failover, now_ms),
            connection: None,
            retry_ms: Some(now_ms),
            cutter: Cutter::new(offset, db, BOUNDS),
            schedule: Schedule::new(SHARDS, offset, db, 1 << 16),
            forward: Forward::new(offset),
            running: Vec::new(),
            busy_ms: [0; SHARDS],
            checked: None,
            held: Vec::new(),
            payload: Vec::new(),
            start: None,
            loaded_ms: None,
        });
    }

    /// REPLICAOF NO ONE.
    pub fn promote(&mut self, id: ReplicationId, plant: Plant, now_ms: u64) {
        self.settle();
        if self.follower.take().is_none() {
            return;
        }
        self.begin_feed();
        match plant {
            Plant::ForgetsSecondId => self.history.renew(id),
            _ => self.history.promote(self.writer.offset(), id),
        }
        if self.backlog.is_none() {
            self.backlog = Some(Backlog::new(BACKLOG, self.writer.offset()));
        }
        self.writer.forget_selected();
        self.replicas.disconnect_all(now_ms);
    }

    /// What runs on shards comes to its end; what waits is dropped.
    pub fn settle(&mut self) {
        let Some(follower) = &mut self.follower else { return };
        follower.schedule.drop_waiting();
        self.drain();
    }

    /// What is to be run is run now.
    fn drain(&mut self) {
        let Some(follower) = &mut self.follower else { return };
        let mut works: VecDeque<Work> =
            std::mem::take(&mut follower.running).into_iter().map(|(_, work)| work).collect();
        loop {
            while let Some(work) = works.pop_front() {
                work.items.iter().for_each(|item| apply_item(&mut self.data, item));
                follower.schedule.done(work.id);
            }
            match follower.schedule.next_work() {
                Some(work) => works.push_back(work),
                None => break,
            }
        }
        self.applied();
    }

    /// What shards have is the stream at one offset.
    fn at_barrier(&mut self) {
        let Some(follower) = &mut self.follower else { return };
        follower.schedule.raise_barrier();
        self.drain();
        let Some(follower) = &mut self.follower else { return };
        assert!(follower.schedule.is_at_barrier());
        follower.schedule.lower_barrier();
    }

    /// Hands on what is applied.
    pub fn applied(&mut self) {
        let Some(follower) = &mut self.follower else { return };
        let applied = follower.schedule.applied();
        let bytes = follower.forward.up_to(applied);
        self.writer.forward(&bytes);
        follower.link.applied(applied, None);
        self.flush();
    }

    /// The link begins anew behind what is applied.
    pub fn restart_stream(&mut self) {
        self.settle();
        let Some(follower) = &mut self.follower else { return };
        let (offset, db) = (follower.schedule.applied(), follower.schedule.applied_db());
        follower.cutter = Cutter::new(offset, db, BOUNDS);
        follower.schedule = Schedule::new(SHARDS, offset, db, 1 << 16);
        follower.forward = Forward::new(offset);
        follower.held.clear();
    }

    /// A full synchronisation has come: the new data take the place of the old, and the history is the master's.
    pub fn adopt(&mut self, data: Data, start: Resume, db: usize, plant: Plant, now_ms: u64) {
        self.settle();
        self.data = data;
        self.history.adopt(start.id);
        self.writer = StreamWriter::new(start.offset, None);
        self.plant(plant);
        self.backlog = Some(Backlog::new(BACKLOG, start.offset));
        self.peers.values_mut().for_each(|peer| peer.reader = None);
        self.replicas.disconnect_all(now_ms);
        let Some(follower) = &mut self.follower else { return };
        follower.cutter = Cutter::new(start.offset, db, BOUNDS);
        follower.schedule = Schedule::new(SHARDS, start.offset, db, 1 << 16);
        follower.forward = Forward::new(start.offset);
    }

    /// SHUTDOWN: what is saved.
    pub fn shut_down(&mut self, now_ms: u64) -> Option<Disk> {
        match &self.follower {
            Some(_) => self.settle(),
            None => {
                self.deliver(now_ms, true);
                self.flush();
            }
        }
        let backlog = self.backlog.as_ref()?;
        let stream_db = match &self.follower {
            Some(follower) => Some(follower.schedule.applied_db()),
            None => self.writer.selected(),
        };
        let kept = Kept { id: self.history.id(), offset: self.writer.offset(), stream_db };
        let tail = backlog.tail(BACKLOG);
        let follows = self.follower.as_ref().map(|follower| follower.master);
        Some(Disk { data: self.data.clone(), kept, tail, follows })
    }

    pub fn start(&mut self, disk: Disk, id: ReplicationId, now_ms: u64) {
        self.data = disk.data;
        self.writer = StreamWriter::new(disk.kept.offset, None);
        self.backlog = Some(Backlog::restored(BACKLOG, &disk.tail, disk.kept.offset));
        match disk.follows {
            None => self.history = History::restarted_as_master(&disk.kept, id),
            Some(master) => {
                self.history = History::restarted_as_replica(&disk.kept);
                self.follow(master, false, now_ms);
                let db = disk.kept.stream_db.unwrap_or(0);
                let Some(follower) = &mut self.follower else { return };
                follower.cutter = Cutter::new(disk.kept.offset, db, BOUNDS);
                follower.schedule = Schedule::new(SHARDS, disk.kept.offset, db, 1 << 16);
            }
        }
    }
}
