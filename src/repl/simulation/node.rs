//! One server of the simulation: what the control plane and the shards of a real one do with the parts of this room.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::data::{effects_of, shard_of, Data, Digests, Effect, SHARDS};
use super::disk::{Disk, Persistence, Saved};
use super::network::ConnectionId;
use super::world::Plant;
use super::Random;
use crate::journal::feed::{feeds, Bell, Feed, FeedReader};
use crate::journal::{Entry, Journal, Number, Part, Place, Sink, Ticket, Tickets, Unit, Wanted};
use crate::repl::backlog::{Backlog, ReaderId};
use crate::repl::failover::Failover;
use crate::repl::history::{History, Kept, ReplicationId};
use crate::repl::master::handshake::{Cut, JobId, ReplicaId, Replicas, Settings};
use crate::repl::master::options::Options;
use crate::repl::master::wait::{self, Waiters};
use crate::repl::replica::forward::Forward;
use crate::repl::replica::link::{self, Link, Resume};
use crate::repl::replica::stream::{Bounds, Cutter, Item, Schedule, Work};
use crate::repl::sequencer::{Fault, Sequencer, StreamWriter};

pub const BACKLOG: u64 = 4096;
pub const TIMEOUT_MS: u64 = 3000;
pub const BOUNDS: Bounds = Bounds { command_max: 1 << 16, transaction_max: 1 << 20, databases: 16 };
/// What may wait in a replica's schedule, bytes.
const SCHEDULE_FILL: usize = 1 << 16;

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
    /// Bytes to it that had not arrived when it was looked at last.
    pub under_way: u64,
}

pub struct Job {
    pub id: JobId,
    pub payload: Vec<u8>,
    pub mark: Option<[u8; 40]>,
    pub written_ms: u64,
}

/// A client that waits for what it wrote.
pub struct Write {
    pub client: u64,
    pub ticket: Ticket,
    pub value: u64,
    pub request: wait::Request,
    /// When it begins to wait.
    pub from_ms: u64,
}

/// What a client waits for: its value, and the offset behind it.
pub struct Waits {
    pub value: u64,
    pub offset: u64,
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
    /// What has been checked last.
    pub checked: Option<u64>,
    pub prefix_seen: Option<(u64, Digests)>,
    pub held: Vec<u8>,
    pub payload: Vec<u8>,
    pub start: Option<Resume>,
    /// It goes on from what its disk had.
    pub is_restarted: bool,
    pub loaded_ms: Option<u64>,
}

pub struct Node {
    pub index: usize,
    pub is_up: bool,
    pub data: Data,
    pub disk: Disk,
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
    /// Of each shard: when it hands over what stands before which position of its log, and up to where it has.
    unreleased: Vec<VecDeque<(u64, u64)>>,
    due: [u64; SHARDS],
    transactions: Number,
    pub replicas: Replicas,
    replicas_settings: Settings,
    pub peers: BTreeMap<ReplicaId, Peer>,
    pub jobs: Vec<Job>,
    pub waiters: Waiters,
    pub writes: Vec<Write>,
    pub waits: BTreeMap<u64, Waits>,
    pub failover: Failover,
    // As a replica.
    pub follower: Option<Follower>,
}

pub fn settings(random: &mut Random) -> Settings {
    let diskless = random.one_in(2);
    Settings {
        timeout_ms: TIMEOUT_MS,
        ping_period_ms: 700,
        diskless,
        diskless_delay_ms: 50,
        diskless_max_replicas: 0,
        backlog_size: BACKLOG,
        backlog_ttl_ms: if random.one_in(4) { 1000 } else { 0 },
        hard_limit: 1 << 16,
        soft_limit: 0,
        soft_ms: 0,
        throttle_bytes: 0,
        under_way_bytes: 0,
        min_replicas_to_write: 0,
        min_replicas_max_lag_ms: 10_000,
        channels: false,
    }
}

fn journal() -> Journal<()> {
    let mut journal = Journal::default();
    journal.set_wanted(Wanted { units: true, ..Wanted::default() });
    journal
}

fn bell() -> Bell {
    Arc::new(|| {})
}

impl Node {
    pub fn new(index: usize, id: ReplicationId, settings: Settings, disk: Disk, plant: Plant) -> Node {
        let tickets = Arc::default();
        let (feeds, reader) = feeds(SHARDS, &tickets, &bell());
        let mut node = Node {
            index,
            is_up: true,
            data: Data::default(),
            disk,
            history: History::new(id),
            writer: StreamWriter::new(0, None),
            backlog: None,
            emitted: Vec::new(),
            sequencer: Sequencer::new(reader.first),
            tickets,
            feeds,
            reader,
            unreleased: (0..SHARDS).map(|_| VecDeque::new()).collect(),
            due: [0; SHARDS],
            transactions: 0,
            replicas: Replicas::new(settings.clone()),
            replicas_settings: settings,
            peers: BTreeMap::new(),
            jobs: Vec::new(),
            waiters: Waiters::new(),
            writes: Vec::new(),
            waits: BTreeMap::new(),
            failover: Failover::default(),
            follower: None,
        };
        node.plant(plant);
        node
    }

    pub fn plant(&mut self, plant: Plant) {
        self.writer.fault = match plant {
            Plant::PartOutside => Fault::PartOutside,
            Plant::PingNotCounted => Fault::PingNotCounted,
            _ => Fault::None,
        };
    }

    /// For a call that looks at the rest of the server, too.
    pub fn take_replicas(&mut self) -> Replicas {
        let empty = Replicas::new(self.replicas_settings.clone());
        std::mem::replace(&mut self.replicas, empty)
    }

    pub fn is_master(&self) -> bool {
        self.is_up && self.follower.is_none()
    }

    /// One shard runs a command.
    pub fn push(&mut self, db: usize, key: &str, value: u64) -> usize {
        let unit = unit(db, &[b"RPUSH", key.as_bytes(), value.to_string().as_bytes()]);
        self.append(shard_of(key), &unit, vec![Effect::Push(db, key.into(), value)], None);
        shard_of(key)
    }

    pub fn delete(&mut self, db: usize, key: &str) {
        let unit = unit(db, &[b"DEL", key.as_bytes()]);
        self.append(shard_of(key), &unit, vec![Effect::Remove(db, key.into())], None);
    }

    /// What a shard did goes into its data, its log and its feed.
    fn append(&mut self, shard: usize, unit: &Unit, effects: Vec<Effect>, part: Option<Part>) {
        effects.iter().for_each(|effect| self.data.apply(shard, effect));
        let logged = part.map(|part| (part.transaction, part.writers.to_vec()));
        let position = self.disk.append(shard, effects, logged);
        self.feeds[shard].log_is_at(position);
        self.feeds[shard].append(&Entry { unit, part, now_us: 0 });
    }

    /// The end of a shard's turn: a ticket, if there is something to say. It is handed over at `at_ms`.
    pub fn turn(&mut self, shard: usize, at_ms: u64) -> Option<Ticket> {
        let ticket = self.feeds[shard].end_turn()?;
        self.unreleased[shard].push_back((at_ms, self.disk.position(shard)));
        Some(ticket)
    }

    /// A transaction's first messages are about to leave its coordinator: all its shards are held, so what they did before has its tickets.
    fn place(&mut self, writers: &[u16], coordinator: usize, at_ms: &[u64; SHARDS]) -> (Number, Ticket) {
        writers.iter().map(|shard| usize::from(*shard)).for_each(|shard| _ = self.turn(shard, at_ms[shard]));
        self.transactions += 1;
        self.feeds[coordinator].place(self.transactions, writers);
        let ticket = self.turn(coordinator, at_ms[coordinator]).unwrap();
        (self.transactions, ticket)
    }

    fn end_part(&mut self, unit: &Unit, effects: Vec<Effect>, part: Part, shard: usize, at_ms: u64) {
        self.append(shard, unit, effects, Some(part));
        self.unreleased[shard].push_back((at_ms, self.disk.position(shard)));
    }

    /// A transaction over all keys, each in a step of its own.
    pub fn transaction(&mut self, db: usize, keys: &[String], value: u64, at_ms: &[u64; SHARDS]) -> Ticket {
        let writers: BTreeSet<u16> = keys.iter().map(|key| shard_of(key) as u16).collect();
        let writers: Vec<u16> = writers.into_iter().collect();
        let (transaction, ticket) = self.place(&writers, shard_of(&keys[0]), at_ms);
        for writer in &writers {
            let shard = usize::from(*writer);
            let mut journal = journal();
            let mut effects = Vec::new();
            for (step, key) in keys.iter().enumerate().filter(|(_, key)| shard_of(key) == shard) {
                journal.enter_part(transaction, step as u32);
                let text = value.to_string();
                journal.push(Place::in_db(db), &[b"RPUSH", key.as_bytes(), text.as_bytes()]);
                journal.leave_part();
                effects.push(Effect::Push(db, key.clone(), value));
            }
            let part = Part { transaction, writers: &writers };
            self.end_part(&journal.end_part(transaction).unit, effects, part, shard, at_ms[shard]);
        }
        ticket
    }

    /// FLUSHALL, which every shard has as its own.
    pub fn flush_all(&mut self, at_ms: &[u64; SHARDS]) {
        let writers: Vec<u16> = (0..SHARDS as u16).collect();
        let (transaction, _) = self.place(&writers, 0, at_ms);
        for (shard, at_ms) in at_ms.iter().enumerate() {
            let mut journal = journal();
            journal.enter_part(transaction, 0);
            journal.push(Place { is_everywhere: true, ..Place::in_db(0) }, &[b"FLUSHALL"]);
            journal.leave_part();
            let part = Part { transaction, writers: &writers };
            self.end_part(&journal.end_part(transaction).unit, vec![Effect::Flush], part, shard, *at_ms);
        }
    }

    /// What shards have released reaches the sequencer; all of it at a barrier.
    pub fn deliver(&mut self, now_ms: u64, all: bool) {
        if all {
            self.disk.sync_all();
        }
        for shard in 0..SHARDS {
            if all {
                self.turn(shard, now_ms);
            }
            while self.unreleased[shard].front().is_some_and(|(at, _)| all || *at <= now_ms) {
                let Some((_, position)) = self.unreleased[shard].pop_front() else { break };
                self.due[shard] = position;
            }
            let released = self.disk.released(shard).unwrap_or(u64::MAX);
            self.feeds[shard].release(self.due[shard].min(released));
        }
        while let Some(delivery) = self.reader.next() {
            self.sequencer.deliver(delivery).unwrap();
        }
        self.sequencer.emit(&mut self.writer).unwrap();
    }

    /// Whether all that shards did is in the stream, once they do no more.
    pub fn is_still(&mut self, now_ms: u64) -> bool {
        (0..SHARDS).for_each(|shard| _ = self.turn(shard, now_ms));
        self.deliver(now_ms, false);
        let is_released = |shard: usize| {
            let released = self.disk.released(shard).unwrap_or(u64::MAX);
            self.unreleased[shard].is_empty() && released >= self.due[shard]
        };
        (0..SHARDS).all(is_released) && self.sequencer.waiting().is_none()
    }

    /// At a barrier: feeds and their reader begin.
    fn begin_feed(&mut self) {
        (self.feeds, self.reader) = feeds(SHARDS, &self.tickets, &bell());
        self.unreleased.iter_mut().for_each(VecDeque::clear);
        for shard in 0..SHARDS {
            self.due[shard] = self.disk.position(shard);
            self.feeds[shard].log_is_at(self.due[shard]);
        }
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
        self.disk.mark(self.writer.offset());
    }

    /// At a barrier: from here on the stream is counted, under a new id.
    pub fn make_backlog(&mut self, id: ReplicationId, now_ms: u64) {
        self.deliver(now_ms, true);
        self.flush();
        self.writer.forget_selected();
        self.history.renew(id);
        self.backlog = Some(Backlog::new(BACKLOG, self.writer.offset()));
    }

    /// Nobody has followed for `repl-backlog-ttl`.
    pub fn free_backlog(&mut self, id: ReplicationId) {
        self.flush();
        self.backlog = None;
        self.history.renew(id);
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
        self.jobs.push(Job { id: job, payload: self.data.to_payload(db), mark, written_ms });
        Cut { offset: self.writer.offset(), stream_db: db, mark: mark.unwrap_or([b'm'; 40]) }
    }

    /// REPLICAOF another server. What is here is of the history that it may go on from.
    pub fn follow(&mut self, master: usize, failover: bool, plant: Plant, now_ms: u64) {
        if self.follower.is_none() {
            self.deliver(now_ms, true);
            self.flush();
            // What they wait for has an offset of a history that ends here.
            if plant != Plant::KeepsWaiters {
                self.waiters.drain();
                self.writes.clear();
            }
        }
        self.disk.follows = Some(master);
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
            schedule: Schedule::new(SHARDS, offset, db, SCHEDULE_FILL),
            forward: Forward::new(offset),
            running: Vec::new(),
            busy_ms: [0; SHARDS],
            checked: None,
            prefix_seen: None,
            held: Vec::new(),
            payload: Vec::new(),
            start: None,
            is_restarted: false,
            loaded_ms: None,
        });
    }

    /// REPLICAOF NO ONE.
    pub fn promote(&mut self, id: ReplicationId, plant: Plant, now_ms: u64) {
        self.settle();
        if self.follower.take().is_none() {
            return;
        }
        self.disk.follows = None;
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
                self.run(&work);
            }
            let Some(follower) = &mut self.follower else { return };
            match follower.schedule.next_work() {
                Some(work) => works.push_back(work),
                None => break,
            }
        }
        self.applied();
    }

    /// Shards have run a piece of work.
    pub fn run(&mut self, work: &Work) {
        work.items.iter().for_each(|item| self.apply(item));
        if let Some(follower) = &mut self.follower {
            follower.schedule.done(work.id);
        }
    }

    fn apply(&mut self, item: &Item) {
        let mut of_shards: BTreeMap<usize, Vec<Effect>> = BTreeMap::new();
        for (shard, effect) in effects_of(item) {
            self.data.apply(shard, &effect);
            of_shards.entry(shard).or_default().push(effect);
        }
        self.transactions += 1;
        let writers: Vec<u16> = of_shards.keys().map(|shard| *shard as u16).collect();
        let part = (writers.len() > 1).then_some((self.transactions, writers));
        of_shards.into_iter().for_each(|(shard, effects)| _ = self.disk.append(shard, effects, part.clone()));
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
        self.flush();
        let Some(follower) = &mut self.follower else { return };
        follower.link.applied(applied, self.disk.durable());
    }

    /// The link begins anew behind what is applied.
    pub fn restart_stream(&mut self) {
        self.settle();
        let Some(follower) = &mut self.follower else { return };
        let (offset, db) = (follower.schedule.applied(), follower.schedule.applied_db());
        follower.cutter = Cutter::new(offset, db, BOUNDS);
        follower.schedule = Schedule::new(SHARDS, offset, db, SCHEDULE_FILL);
        follower.forward = Forward::new(offset);
        follower.held.clear();
    }

    /// A full synchronisation has come: the new data take the place of the old, and the history is the master's.
    pub fn adopt(&mut self, data: Data, start: Resume, db: usize, plant: Plant, now_ms: u64) {
        self.settle();
        // The snapshot is the new base of the log, or the file that it came by.
        let kept = Kept { id: start.id, offset: start.offset, stream_db: Some(db) };
        let saved = Saved { kept, tail: Vec::new() };
        let has_log = self.disk.persistence != Persistence::Snapshots;
        self.disk.replace(&data, start.offset, (!has_log).then_some(saved));
        self.data = data;
        self.history.adopt(start.id);
        self.writer = StreamWriter::new(start.offset, None);
        self.plant(plant);
        self.backlog = Some(Backlog::new(BACKLOG, start.offset));
        self.peers.values_mut().for_each(|peer| peer.reader = None);
        self.replicas.disconnect_all(now_ms);
        let Some(follower) = &mut self.follower else { return };
        follower.cutter = Cutter::new(start.offset, db, BOUNDS);
        follower.schedule = Schedule::new(SHARDS, start.offset, db, SCHEDULE_FILL);
        follower.forward = Forward::new(start.offset);
    }

    /// What is on disk is what the server has now, at one offset. With a tail of the history, where it goes down.
    pub fn save(&mut self, has_tail: bool, now_ms: u64) {
        match &self.follower {
            Some(_) if has_tail => self.settle(),
            Some(_) => self.at_barrier(),
            None => {
                self.deliver(now_ms, true);
                self.flush();
            }
        }
        let (id, offset) = (self.history.id(), self.writer.offset());
        let stream_db = match &self.follower {
            Some(follower) => Some(follower.schedule.applied_db()),
            None => self.writer.selected(),
        };
        let saved = self.backlog.as_ref().map(|backlog| Saved {
            kept: Kept { id, offset, stream_db },
            tail: if has_tail { backlog.tail(BACKLOG) } else { Vec::new() },
        });
        self.disk.replace(&self.data, offset, saved);
    }

    /// A start from what is on disk.
    pub fn start(&mut self, data: Data, id: ReplicationId, plant: Plant, now_ms: u64) {
        let saved = match self.disk.persistence {
            // The file is what it was: a part of it is the history that it is of.
            Persistence::Snapshots => self.disk.saved.clone(),
            _ if plant == Plant::KeepsIds => self.disk.saved.clone(),
            _ => self.disk.saved.take(),
        };
        let (follows, saved_after) = (self.disk.follows, self.disk.saved.clone());
        let offset = saved.as_ref().map_or(0, |saved| saved.kept.offset);
        self.disk.replace(&data, offset, saved_after);
        self.data = data;
        if let Some(saved) = &saved {
            self.writer = StreamWriter::new(offset, None);
            self.backlog = Some(Backlog::restored(BACKLOG, &saved.tail, offset));
            self.history = match follows {
                None => History::restarted_as_master(&saved.kept, id),
                Some(_) => History::restarted_as_replica(&saved.kept),
            };
        }
        self.plant(plant);
        self.begin_feed();
        let Some(master) = follows else { return };
        self.follow(master, false, plant, now_ms);
        let is_restarted = saved.is_some();
        let db = saved.and_then(|saved| saved.kept.stream_db).unwrap_or(0);
        let Some(follower) = &mut self.follower else { return };
        follower.is_restarted = is_restarted;
        follower.cutter = Cutter::new(offset, db, BOUNDS);
        follower.schedule = Schedule::new(SHARDS, offset, db, SCHEDULE_FILL);
    }
}
