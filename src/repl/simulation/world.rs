//! The world of the simulation: servers, the network between them, what happens to them, and what must hold.

use std::collections::{BTreeMap, HashMap};

use super::clients::Confirmed;
use super::disk::{Disk, Persistence};
use super::network::{Connection, ConnectionId};
use super::node::{settings, Node};
use super::truth::{Truth, Until};
use super::Random;
use crate::repl::history::ReplicationId;
use crate::repl::master::handshake::Settings;

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
    /// A master that becomes a replica forgets nobody who waits.
    KeepsWaiters,
    /// What a shutdown kept of the history stays on disk while the log grows.
    KeepsIds,
}

#[derive(Debug)]
#[allow(dead_code, reason = "for whoever reads the failure")]
pub enum Finding {
    Differs {
        node: usize,
        offset: u64,
        what: String,
    },
    AheadOfMaster {
        node: usize,
        offset: u64,
    },
    BadStream {
        node: usize,
        error: String,
    },
    HalfTransaction {
        value: u64,
    },
    LostWrite {
        value: u64,
        what: String,
    },
    /// WAIT counted other servers than those that had it.
    Miscounted {
        value: u64,
        counted: i64,
        what: String,
    },
    NoPrefix {
        node: usize,
        shard: usize,
        applied: u64,
        read: u64,
    },
    /// After FAILOVER the new master has other data than the old one.
    NotHandedOver {
        from: usize,
        to: usize,
    },
    NeedlessFullSync {
        master: usize,
        id: String,
        offset: i64,
    },
    NotHeld {
        master: usize,
        offset: u64,
    },
    NotConverged {
        what: String,
    },
}

/// How often what happened.
#[derive(Debug, Default)]
pub struct Seen {
    counts: BTreeMap<&'static str, u64>,
}

const EVERYTHING: [&str; 24] = [
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
    "prefix",
    "durable",
    "flush",
    "kill",
    "start again",
    "abort",
    "half open",
    "saved",
    "restarted partial",
    "unplugged",
    "freed",
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

pub struct World {
    pub(super) random: Random,
    pub(super) plant: Plant,
    pub(super) now_ms: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    pub(super) connections_made: u64,
    /// When a server that is down comes back, and whether it was killed.
    pub(super) back_ms: [u64; NODES],
    pub(super) is_killed: [bool; NODES],
    /// Of each server the history that it had before, as far as it can know, and up to which offset.
    pub(super) before: [Option<Until>; NODES],
    pub(super) truths: HashMap<ReplicationId, Truth>,
    /// Transactions by their values: how many keys each has.
    pub(super) transactions: HashMap<u64, usize>,
    pub(super) values: u64,
    pub(super) clients: u64,
    pub(super) confirmed: Vec<Confirmed>,
    /// Whom the operators hold for the master.
    pub(super) master: usize,
    /// Values up to this one may have been removed.
    pub(super) flushed: u64,
    /// The old master of a failover that its target has not answered.
    pub(super) handing_over: Option<usize>,
    /// All servers have one address.
    pub(super) has_nat: bool,
    pub(super) settings: Settings,
    persistence: Persistence,
    /// What each connection carries.
    pub(super) bytes_in_ms: Option<u64>,
    is_traced: bool,
    pub seen: Seen,
}

impl World {
    pub fn new(seed: u64, plant: Plant) -> World {
        let mut random = Random::new(seed);
        let settings = settings(&mut random);
        let has_nat = random.one_in(4);
        let persistence = match random.below(3) {
            0 => Persistence::Always,
            1 => Persistence::EverySecond,
            _ => Persistence::Snapshots,
        };
        let mut world = World {
            random,
            plant,
            now_ms: 5,
            nodes: Vec::new(),
            connections: BTreeMap::new(),
            connections_made: 0,
            back_ms: [0; NODES],
            is_killed: [false; NODES],
            before: [None; NODES],
            truths: HashMap::new(),
            transactions: HashMap::new(),
            values: 0,
            clients: 0,
            confirmed: Vec::new(),
            master: 0,
            flushed: 0,
            handing_over: None,
            has_nat,
            settings,
            persistence,
            bytes_in_ms: None,
            is_traced: std::env::var_os("REPL_TRACE").is_some(),
            seen: Seen::default(),
        };
        for index in 0..NODES {
            let node = world.fresh(index);
            world.nodes.push(node);
            if index > 0 {
                world.nodes[index].follow(0, false, plant, 1);
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
    fn fresh(&mut self, index: usize) -> Node {
        self.with_disk(index, Disk::new(self.persistence))
    }

    pub(super) fn with_disk(&mut self, index: usize, disk: Disk) -> Node {
        let id = self.new_id();
        Node::new(index, id, self.settings.clone(), disk, self.plant)
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
            if node.data != master.data {
                return Err(format!("{} has other data", node.index));
            }
        }
        Ok(())
    }

    pub(super) fn step(&mut self, has_trouble: bool) -> Result<(), Finding> {
        self.now_ms += STEP_MS;
        for index in 0..NODES {
            if !self.nodes[index].is_up {
                if self.back_ms[index] <= self.now_ms {
                    self.come_back(index)?;
                }
                continue;
            }
            if self.nodes[index].is_master() {
                let waits = self.nodes[index].failover.is_under_way()
                    || self.nodes[index].replicas.wants_throttle(self.now_ms);
                if has_trouble && !waits && self.random.one_in(4) {
                    self.write(index);
                }
                self.shards(index);
            } else {
                self.follow(index)?;
                self.has_prefix(index)?;
            }
            self.nodes[index].disk.sync(&mut self.random);
            self.serve(index)?;
            if self.now_ms.is_multiple_of(100) {
                self.tick(index)?;
            }
            self.fail_over(index)?;
            self.wait(index)?;
            self.read_emitted(index)?;
        }
        if self.now_ms.is_multiple_of(500) {
            self.watch()?;
        }
        Ok(())
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
}
