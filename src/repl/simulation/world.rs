//! The world of the simulation: servers, the network between them, what happens to them, and what must hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::network::{Connection, ConnectionId};
use super::node::{shard_of, Data, Disk, Node, Write, SHARDS};
use super::truth::Truth;
use super::Random;
use crate::repl::history::ReplicationId;
use crate::repl::master::handshake::Replica;
use crate::repl::master::wait::{self, Answer};

pub const NODES: usize = 4;
const STEP_MS: u64 = 5;
const TROUBLE_MS: u64 = 9_000;
const QUIET_MS: u64 = 25_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    Nothing,
    PartOutside,
    PingNotCounted,
    ForgetsSecondId,
}

#[derive(Debug)]
#[allow(dead_code, reason = "for whoever reads the failure")]
pub enum Finding {
    Differs { node: usize, offset: u64, what: String },
    AheadOfMaster { node: usize, offset: u64 },
    BadStream { node: usize, error: String },
    HalfTransaction { value: u64 },
    LostWrite { value: u64, new_master: usize, what: String },
    NeedlessFullSync { master: usize, id: String, offset: i64 },
    NotHeld { master: usize, offset: u64 },
    NotConverged { what: String },
}

/// How often what happened.
#[derive(Debug, Default)]
pub struct Seen {
    counts: BTreeMap<&'static str, u64>,
}

const EVERYTHING: [&str; 13] = [
    "partial",
    "full",
    "promotion",
    "crash",
    "restart",
    "cut",
    "dead",
    "confirmed",
    "transaction",
    "failover",
    "chain",
    "new id",
    "compared",
];

impl Seen {
    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub fn add(&mut self, other: &Seen) {
        for (what, count) in &other.counts {
            *self.counts.entry(what).or_default() += count;
        }
    }

    pub fn is_everything(&self) -> bool {
        EVERYTHING.iter().all(|what| self.counts.contains_key(what))
    }
}

pub struct Confirmed {
    pub value: u64,
    /// The servers that had it, and how often each of them had lost its memory.
    pub by: Vec<(usize, u64)>,
}

pub struct World {
    pub(super) random: Random,
    pub(super) plant: Plant,
    pub(super) now_ms: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) lives: [u64; NODES],
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    pub(super) connections_made: u64,
    pub(super) disks: HashMap<usize, Disk>,
    /// When a server that is down comes back.
    pub(super) back_ms: [u64; NODES],
    /// Of each server the history that it had before, as far as it can know, and up to which offset.
    pub(super) before: [Option<(ReplicationId, u64)>; NODES],
    pub(super) truths: HashMap<ReplicationId, Truth>,
    /// Transactions by their values: how many keys each has.
    pub(super) transactions: HashMap<u64, usize>,
    pub(super) values: u64,
    pub(super) clients: u64,
    pub(super) confirmed: Vec<Confirmed>,
    /// Whom the operators hold for the master.
    pub(super) master: usize,
    /// A failover is under way: no writes.
    pub(super) paused: Option<usize>,
    /// The old master of a failover that its target has not answered.
    pub(super) handing_over: Option<usize>,
    pub(super) diskless: bool,
    is_traced: bool,
    pub seen: Seen,
}

impl World {
    pub fn new(seed: u64, plant: Plant) -> World {
        let mut random = Random::new(seed);
        let diskless = random.one_in(2);
        let mut world = World {
            random,
            plant,
            now_ms: 5,
            nodes: Vec::new(),
            lives: [0; NODES],
            connections: BTreeMap::new(),
            connections_made: 0,
            disks: HashMap::new(),
            back_ms: [0; NODES],
            before: [None; NODES],
            truths: HashMap::new(),
            transactions: HashMap::new(),
            values: 0,
            clients: 0,
            confirmed: Vec::new(),
            master: 0,
            paused: None,
            handing_over: None,
            diskless,
            is_traced: std::env::var_os("REPL_TRACE").is_some(),
            seen: Seen::default(),
        };
        for index in 0..NODES {
            let node = world.fresh(index);
            world.nodes.push(node);
            if index > 0 {
                world.nodes[index].follow(0, false, 1);
            }
        }
        world
    }

    /// For whoever reads a failure: REPL_TRACE=1 shows what happens.
    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        if self.is_traced {
            println!("{:>6} {}", self.now_ms, what());
        }
    }

    pub(super) fn new_id(&mut self) -> ReplicationId {
        ReplicationId::from_random(std::array::from_fn(|_| self.random.below(256) as u8))
    }

    /// A server without anything.
    pub(super) fn fresh(&mut self, index: usize) -> Node {
        let id = self.new_id();
        self.truths.insert(id, Truth::new(None, 0, Data::new()));
        Node::new(index, id, self.diskless, self.plant)
    }

    pub fn run(&mut self) -> Result<(), Finding> {
        while self.now_ms < TROUBLE_MS {
            if self.random.one_in(60) {
                self.trouble()?;
            }
            self.step(true)?;
        }
        let until = self.now_ms + QUIET_MS;
        while self.now_ms < until {
            self.step(false)?;
            if self.now_ms.is_multiple_of(100) && self.is_settled().is_ok() {
                return Ok(());
            }
        }
        self.is_settled().map_err(|what| Finding::NotConverged { what })
    }

    /// All have the same as the master.
    fn is_settled(&self) -> Result<(), String> {
        let master = &self.nodes[self.master];
        if !master.is_master() {
            return Err(format!("{} is no master", self.master));
        }
        let mut want = master.data.clone();
        want.retain(|_, values| !values.is_empty());
        for node in &self.nodes {
            let Some(follower) = &node.follower else {
                if node.index == self.master {
                    continue;
                }
                return Err(format!("{} follows nobody, up: {}", node.index, node.is_up));
            };
            if !follower.link.is_up() || !follower.schedule.is_idle() {
                return Err(format!("link of {} to {}: {:?}", node.index, follower.master, follower.link));
            }
            if node.data != want {
                return Err(format!("{} has other data", node.index));
            }
        }
        Ok(())
    }

    fn step(&mut self, has_trouble: bool) -> Result<(), Finding> {
        self.now_ms += STEP_MS;
        for index in 0..NODES {
            if !self.nodes[index].is_up {
                if self.back_ms[index] <= self.now_ms {
                    self.come_back(index);
                }
                continue;
            }
            if self.nodes[index].is_master() {
                if has_trouble && self.paused.is_none() && self.random.one_in(4) {
                    self.write(index);
                }
                self.shards(index);
            } else {
                self.follow(index)?;
            }
            self.serve(index)?;
            if self.now_ms.is_multiple_of(100) {
                self.tick(index)?;
            }
            self.wait(index)?;
            self.read_emitted(index)?;
        }
        if let Some(target) = self.paused {
            self.fail_over(target);
        }
        Ok(())
    }

    // What clients and shards do.

    fn write(&mut self, index: usize) {
        let (db, at_ms) = (self.random.below(2) as usize, self.shard_delays());
        let node = &mut self.nodes[index];
        self.values += 1;
        let value = self.values;
        let ticket = match self.random.below(10) {
            0 => {
                node.delete(db, &format!("d{}", self.random.below(3)));
                return;
            }
            1 => {
                node.push(db, &format!("d{}", self.random.below(3)), value);
                return;
            }
            2..5 => {
                let mut keys: Vec<String> = Vec::new();
                while keys.len() < 2 + self.random.below(2) as usize {
                    let key = format!("k{}", self.random.below(8));
                    if !keys.contains(&key) {
                        keys.push(key);
                    }
                }
                self.transactions.insert(value, keys.len());
                self.seen.count("transaction");
                node.transaction(db, &keys, value, &at_ms)
            }
            _ => {
                let shard = node.push(db, &format!("k{}", self.random.below(8)), value);
                if !self.random.one_in(3) {
                    return;
                }
                match node.turn(shard, at_ms[shard]) {
                    Some(ticket) => ticket,
                    None => return,
                }
            }
        };
        self.clients += 1;
        node.writes.push(Write { client: self.clients, ticket, value });
    }

    /// When what each shard sends now reaches the sequencer.
    fn shard_delays(&mut self) -> [u64; SHARDS] {
        std::array::from_fn(|_| self.now_ms + self.random.below(30))
    }

    fn shards(&mut self, index: usize) {
        let at_ms = self.shard_delays();
        let node = &mut self.nodes[index];
        for (shard, at_ms) in at_ms.iter().enumerate() {
            if self.random.one_in(3) {
                node.turn(shard, *at_ms);
            }
        }
        node.deliver(self.now_ms, false);
        node.flush();
    }

    fn acked(&self, index: usize) -> Vec<wait::Acked> {
        self.nodes[index].replicas.acks()
    }

    fn wait(&mut self, index: usize) -> Result<(), Finding> {
        let acked = self.acked(index);
        let node = &mut self.nodes[index];
        let standing = wait::Standing { replicas: &acked, durable: None, is_replica: false };
        let mut answers = Vec::new();
        let mut waiting = Vec::new();
        for write in std::mem::take(&mut node.writes) {
            let Some(offset) = node.sequencer.offset_after(write.ticket, node.writer.offset()) else {
                waiting.push(write);
                continue;
            };
            let request = wait::Request::Applied { replicas: 1 + (write.value % 2) as i64 };
            node.confirming.insert(write.client, (write.value, offset));
            let deadline = Some(self.now_ms + 1000);
            let answer = node.waiters.wait(write.client, request, offset, deadline, &standing, true);
            answers.extend(answer.map(|answer| (write.client, answer)));
        }
        node.writes = waiting;
        if node.waiters.take_request_for_acks() {
            node.writer.ask_for_acks();
            node.flush();
        }
        answers.extend(node.waiters.satisfied(&standing));
        answers.extend(node.waiters.expired(self.now_ms, &standing));
        for (client, answer) in answers {
            let Some((value, offset)) = self.nodes[index].confirming.remove(&client) else { continue };
            if matches!(answer, Answer::Applied(1..)) && index == self.master {
                let has = |replica: &&Replica| replica.is_online() && replica.acked.applied >= offset;
                let ids = self.nodes[index].replicas.iter().filter(has).map(|replica| replica.id);
                let by = ids.filter_map(|id| self.connections.get(&id)).map(|connection| connection.ends[0]);
                let by = by.map(|node| (node, self.lives[node])).collect();
                self.note(|| format!("{index}: value {value} at {offset} confirmed by {by:?}"));
                self.confirmed.push(Confirmed { value, by });
                self.seen.count("confirmed");
            }
        }
        Ok(())
    }
}

/// Keys of the simulation are of several shards.
#[test]
fn keys_are_spread_over_shards() {
    let shards: BTreeSet<usize> = (0..8).map(|n| shard_of(&format!("k{n}"))).collect();
    assert_eq!(shards.len(), SHARDS);
}
