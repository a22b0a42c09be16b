//! What a server of the simulation has on disk: a log for each shard, which is synced from time to time and torn by a crash, or a snapshot;
//! and what a shutdown keeps of its history.

use std::collections::{HashMap, VecDeque};

use super::data::{Data, Effect, SHARDS};
use super::Random;
use crate::journal::Number;
use crate::repl::history::Kept;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// `appendfsync always`: nothing is released before it is synced.
    Always,
    EverySecond,
    /// Snapshots now and then, and no log.
    Snapshots,
}

/// The history that data are of, and its newest bytes.
#[derive(Clone, Debug)]
pub struct Saved {
    pub kept: Kept,
    pub tail: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Logged {
    /// Where it ends in the log.
    position: u64,
    effects: Vec<Effect>,
    part: Option<(Number, Vec<u16>)>,
}

#[derive(Clone, Debug)]
struct Log {
    entries: Vec<Logged>,
    appended: u64,
    synced: u64,
    /// Nothing before this is lost, whatever happens; and how many entries that are.
    released: u64,
    released_len: usize,
}

#[derive(Clone, Debug)]
pub struct Disk {
    pub persistence: Persistence,
    base: Data,
    logs: Vec<Log>,
    /// Offsets of the stream, and where the logs are which have everything up to it.
    offsets: VecDeque<(u64, [u64; SHARDS])>,
    durable: u64,
    /// With a log: of a shutdown, and gone with the next start, before anything is added. With snapshots: of the snapshot.
    pub saved: Option<Saved>,
    /// REPLICAOF of its configuration.
    pub follows: Option<usize>,
}

impl Disk {
    pub fn new(persistence: Persistence) -> Disk {
        let log = Log { entries: Vec::new(), appended: 0, synced: 0, released: 0, released_len: 0 };
        Disk {
            persistence,
            base: Data::default(),
            logs: vec![log; SHARDS],
            offsets: VecDeque::new(),
            durable: 0,
            saved: None,
            follows: None,
        }
    }

    fn has_log(&self) -> bool {
        self.persistence != Persistence::Snapshots
    }

    /// Appends to the log of a shard. Returns where it ends now.
    pub fn append(&mut self, shard: usize, effects: Vec<Effect>, part: Option<(Number, Vec<u16>)>) -> u64 {
        let has_log = self.has_log();
        let log = &mut self.logs[shard];
        log.appended += 1;
        if has_log {
            log.entries.push(Logged { position: log.appended, effects, part });
        }
        log.appended
    }

    pub fn position(&self, shard: usize) -> u64 {
        self.logs[shard].appended
    }

    /// Everything up to `offset` is in the logs.
    pub fn mark(&mut self, offset: u64) {
        if self.has_log() && self.offsets.back().is_none_or(|(last, _)| *last < offset) {
            self.offsets.push_back((offset, std::array::from_fn(|shard| self.logs[shard].appended)));
        }
    }

    /// Up to where the stream is safe; `None`: there is no log.
    pub fn durable(&self) -> Option<u64> {
        self.has_log().then_some(self.durable)
    }

    /// Some logs are synced, as far as they are written.
    pub fn sync(&mut self, random: &mut Random) {
        let times = if self.persistence == Persistence::Always { 3 } else { 60 };
        for log in &mut self.logs {
            if random.one_in(times) {
                log.synced = log.appended;
            }
        }
        self.release();
    }

    /// At a barrier: all of all logs.
    pub fn sync_all(&mut self) {
        self.logs.iter_mut().for_each(|log| log.synced = log.appended);
        self.release();
    }

    /// A part is safe when all parts of its transaction are.
    fn release(&mut self) {
        loop {
            let mut has_any = false;
            for shard in 0..SHARDS {
                let Some(entry) = self.logs[shard].entries.get(self.logs[shard].released_len) else {
                    continue;
                };
                let is_synced = |shard: usize, number: Number| {
                    let log = &self.logs[shard];
                    let is_part = |entry: &&Logged| entry.part.as_ref().is_some_and(|part| part.0 == number);
                    let part = log.entries.iter().rev().find(is_part);
                    part.is_some_and(|entry| entry.position <= log.synced)
                };
                let is_safe = entry.position <= self.logs[shard].synced
                    && entry.part.as_ref().is_none_or(|(number, writers)| {
                        writers.iter().all(|writer| is_synced(usize::from(*writer), *number))
                    });
                if is_safe {
                    let position = entry.position;
                    (self.logs[shard].released, has_any) = (position, true);
                    self.logs[shard].released_len += 1;
                }
            }
            if !has_any {
                break;
            }
        }
        while let Some((offset, positions)) = self.offsets.front() {
            if (0..SHARDS).any(|shard| positions[shard] > self.logs[shard].released) {
                break;
            }
            self.durable = *offset;
            self.offsets.pop_front();
        }
    }

    /// With `always`, the position up to which the log of a shard has been released.
    pub fn released(&self, shard: usize) -> Option<u64> {
        (self.persistence == Persistence::Always).then(|| self.logs[shard].released)
    }

    /// New data take the place of everything, at this offset of the stream.
    pub fn replace(&mut self, data: &Data, offset: u64, saved: Option<Saved>) {
        self.base = data.clone();
        for log in &mut self.logs {
            log.entries.clear();
            (log.synced, log.released, log.released_len) = (log.appended, log.appended, 0);
        }
        self.offsets.clear();
        self.durable = offset;
        self.saved = saved;
    }

    /// The data after a kill: of what was not synced, each log has some. What is not whole is cut off.
    pub fn after_crash(&self, random: &mut Random) -> Data {
        let mut data = self.base.clone();
        let mut kept: Vec<usize> = Vec::new();
        for log in &self.logs {
            let synced = log.entries.partition_point(|entry| entry.position <= log.synced);
            kept.push(synced + random.below((log.entries.len() - synced) as u64 + 1) as usize);
        }
        loop {
            let mut here: HashMap<Number, usize> = HashMap::new();
            for (log, kept) in self.logs.iter().zip(&kept) {
                let parts = log.entries[..*kept].iter().filter_map(|entry| entry.part.as_ref());
                parts.for_each(|(number, _)| *here.entry(*number).or_default() += 1);
            }
            let is_torn = |entry: &Logged| {
                entry.part.as_ref().is_some_and(|(number, writers)| here[number] < writers.len())
            };
            let cuts: Vec<usize> = self
                .logs
                .iter()
                .zip(&kept)
                .map(|(log, kept)| log.entries[..*kept].iter().position(is_torn).unwrap_or(*kept))
                .collect();
            if cuts == kept {
                break;
            }
            kept = cuts;
        }
        for (shard, (log, kept)) in self.logs.iter().zip(&kept).enumerate() {
            log.entries[..*kept]
                .iter()
                .flat_map(|entry| &entry.effects)
                .for_each(|effect| data.apply(shard, effect));
        }
        data
    }

    /// The data of a server that was shut down.
    pub fn data(&self) -> Data {
        let mut data = self.base.clone();
        for (shard, log) in self.logs.iter().enumerate() {
            log.entries.iter().flat_map(|entry| &entry.effects).for_each(|effect| data.apply(shard, effect));
        }
        data
    }
}
