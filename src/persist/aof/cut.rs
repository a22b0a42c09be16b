//! Where the logs of several shards are cut so that no transaction is in by half.
//!
//! Each log ends at its last whole unit: that is its candidate. A transaction is missing when one of its writers has no part of it in
//! front of its candidate, and not in its base either. Then each writer is cut in front of its part; with that, the parts behind it go
//! missing too; until nothing changes. Every part goes missing at most once, so this takes time in proportion to the parts (and to
//! sorting them). What is left is the longest such cut: whatever was taken had to be.
//!
//! Barriers make this work with bases: no transaction has parts on both sides of one. So a part's *era*, the last `#CUT` in front of
//! it (or the one its base was made at), is the same on all its shards; and whoever's base was made at a later one has it in there.

use std::{io, mem};

use super::annotation::Shards;
use super::scan::{Fault, Mark, Reason, Scanner, Source};

/// A place in the increments of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    /// Which increment of the chain, from 0.
    pub file: u32,
    /// Bytes.
    pub offset: u64,
}

/// What one shard's increments tell of transactions.
#[derive(Clone, Debug, Default)]
pub struct ScannedLog {
    /// The barrier that the base was made at; 0 without base, or when it names none.
    base_cut: u64,
    parts: Vec<LoggedPart>,
    /// Barriers: how many parts are in front of each, and its number.
    barriers: Vec<(u32, u64)>,
    /// The sets of writers that occur; parts have the place of theirs.
    writers: Vec<Shards>,
    /// The candidate: the end of the last whole unit.
    end: LogPosition,
}

#[derive(Clone, Copy, Debug)]
struct LoggedPart {
    number: u64,
    start: LogPosition,
    /// Index into `Log::writers`.
    writers: u32,
}

/// More different sets of writers than this are not looked up, only added.
const WRITERS_SHARED_MAX: usize = 64;

impl ScannedLog {
    pub fn new(base_cut: u64) -> ScannedLog {
        ScannedLog { base_cut, ..ScannedLog::default() }
    }

    /// Reads a shard's increments, in order, up to the last whole unit: in the last of them or, when an earlier one is cut short, there.
    /// One that continues at a barrier which the file before it does not end with is not read: what comes before it is lost.
    /// Returns the fault that it ended with, and in which file, if any; whether that may be cut off is for the caller to say.
    pub fn scan<S: Source>(
        base_cut: u64,
        files: impl IntoIterator<Item = S>,
    ) -> io::Result<(ScannedLog, Option<Fault>)> {
        let mut log = ScannedLog::new(base_cut);
        // The barrier that the file before ends with.
        let mut last_barrier: Option<(u64, u64)> = None;
        for (file, source) in files.into_iter().enumerate() {
            let mut scanner = Scanner::new(source, 0)?;
            let before = mem::take(&mut last_barrier).filter(|(_, end)| *end == log.end.offset);
            let before = before.map(|(number, _)| number);
            let end = loop {
                match scanner.next_mark() {
                    Ok(Some(Mark::After { number })) if file > 0 && before != Some(number) => {
                        let whole = log.end.offset;
                        return Ok((log, Some(Fault { reason: Reason::NoBarrier, at: whole, whole })));
                    }
                    Ok(Some(mark)) => {
                        last_barrier = match mark {
                            Mark::Cut { number, end, .. } => Some((number, end)),
                            _ => last_barrier,
                        };
                        log.add(file as u32, mark);
                    }
                    Ok(None) => break None,
                    Err(fault) => break Some(fault),
                }
            };
            log.end = LogPosition { file: file as u32, offset: scanner.whole() };
            if end.is_some() {
                return Ok((log, end));
            }
        }
        Ok((log, None))
    }

    /// Takes down what a scan has found in increment `file`.
    pub fn add(&mut self, file: u32, mark: Mark) {
        match mark {
            Mark::Part { number, shards, start, .. } => {
                let recent = self.writers.len().saturating_sub(WRITERS_SHARED_MAX);
                let known = self.writers[recent..].iter().position(|known| *known == shards);
                let writers = known.map_or(self.writers.len(), |index| recent + index) as u32;
                if known.is_none() {
                    self.writers.push(shards);
                }
                self.parts.push(LoggedPart { number, start: LogPosition { file, offset: start }, writers });
            }
            Mark::Cut { number, .. } => self.barriers.push((self.parts.len() as u32, number)),
            Mark::After { .. } | Mark::Time { .. } => {}
        }
    }

    #[cfg(test)]
    pub fn set_end(&mut self, end: LogPosition) {
        self.end = end;
    }

    /// The end of the last whole unit.
    pub fn end(&self) -> LogPosition {
        self.end
    }

    /// The highest number of a transaction: new ones must be higher, or the next recovery takes them for old ones.
    pub fn highest_number(&self) -> u64 {
        self.parts.iter().map(|part| part.number).max().unwrap_or(0)
    }

    /// The highest number of a barrier, likewise.
    pub fn highest_cut(&self) -> u64 {
        self.barriers.iter().map(|(_, number)| *number).fold(self.base_cut, u64::max)
    }

    /// Forgets what lies behind `end`, as if the files ended there.
    #[cfg(test)]
    pub fn cut_at(&mut self, end: LogPosition) {
        self.parts.retain(|part| part.start < end);
        let parts = self.parts.len() as u32;
        // One at the very end may be in front of it or behind it: that changes nothing, for no part follows.
        self.barriers.retain(|(before, _)| *before <= parts);
        self.end = self.end.min(end);
    }
}

/// A transaction that did not reach all its shards' logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete {
    pub number: u64,
    pub present: Shards,
    pub missing: Shards,
}

/// Where each log is to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogEnds {
    /// By shard.
    pub ends: Vec<LogPosition>,
    /// Why: the transactions that were not whole from the beginning.
    pub incomplete: Vec<Incomplete>,
    /// The numbers of all transactions that are cut off, those among them, in order.
    pub dropped: Vec<u64>,
    /// Shards whose log ends before a barrier at which another one's base was made. This does not happen as long as a base counts
    /// only when all logs are durable up to its barrier; then the state is one that never was, and nothing can be cut to mend it.
    pub behind_bases: Vec<u16>,
}

/// A part as it is looked up: the era and number that name its transaction, then where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    era: u64,
    number: u64,
    shard: u16,
    index: u32,
}

/// Finds the longest cut of these logs, by shard, without half a transaction.
///
/// Whatever the logs say, no index here is out of range: shards and parts are numbered by where they are in `logs`, and the numbers in
/// annotations are only compared (a writer that is no shard of these is missing).
pub fn cut(logs: &[ScannedLog]) -> LogEnds {
    let entries = sorted_entries(logs);
    let transactions: Vec<&[Entry]> =
        entries.chunk_by(|a, b| (a.era, a.number) == (b.era, b.number)).collect();
    // For each part, which transaction it belongs to.
    let mut owners: Vec<Vec<u32>> = logs.iter().map(|log| vec![0; log.parts.len()]).collect();
    for (transaction, parts) in transactions.iter().enumerate() {
        for part in *parts {
            owners[usize::from(part.shard)][part.index as usize] = transaction as u32;
        }
    }
    let mut search = Search {
        kept: logs.iter().map(|log| log.parts.len()).collect(),
        is_dropped: vec![false; transactions.len()],
        queue: Vec::new(),
    };
    let mut incomplete = Vec::new();
    for (transaction, parts) in transactions.iter().enumerate() {
        let missing = missing(logs, parts);
        if !missing.is_empty() {
            let mut present: Shards = parts.iter().map(|part| part.shard).collect();
            present.dedup();
            incomplete.push(Incomplete { number: parts[0].number, present, missing });
            search.drop(transaction as u32);
        }
    }
    while let Some(transaction) = search.queue.pop() {
        for part in transactions[transaction as usize] {
            search.cut_before(usize::from(part.shard), part.index as usize, &owners);
        }
    }
    let dropped = transactions.iter().zip(&search.is_dropped).filter(|(_, is_dropped)| **is_dropped);
    let mut dropped: Vec<u64> = dropped.map(|(parts, _)| parts[0].number).collect();
    dropped.sort_unstable();
    let ends = logs.iter().zip(&search.kept);
    let ends = ends.map(|(log, kept)| log.parts.get(*kept).map_or(log.end, |part| part.start)).collect();
    LogEnds { ends, incomplete, dropped, behind_bases: behind_bases(logs) }
}

struct Search {
    /// By shard: how many of its parts are left.
    kept: Vec<usize>,
    is_dropped: Vec<bool>,
    /// Those whose parts are still to be cut off.
    queue: Vec<u32>,
}

impl Search {
    fn drop(&mut self, transaction: u32) {
        if !std::mem::replace(&mut self.is_dropped[transaction as usize], true) {
            self.queue.push(transaction);
        }
    }

    fn cut_before(&mut self, shard: usize, index: usize, owners: &[Vec<u32>]) {
        if index < self.kept[shard] {
            for transaction in &owners[shard][index..self.kept[shard]] {
                self.drop(*transaction);
            }
            self.kept[shard] = index;
        }
    }
}

fn sorted_entries(logs: &[ScannedLog]) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(logs.iter().map(|log| log.parts.len()).sum());
    for (shard, log) in logs.iter().enumerate() {
        let mut barriers = log.barriers.iter().peekable();
        let mut era = log.base_cut;
        for (index, part) in log.parts.iter().enumerate() {
            while let Some((_, number)) = barriers.next_if(|(before, _)| *before as usize <= index) {
                era = *number;
            }
            entries.push(Entry { era, number: part.number, shard: shard as u16, index: index as u32 });
        }
    }
    entries.sort_unstable();
    entries
}

/// The writers of a transaction that have no part of it, neither in their log nor in their base.
fn missing(logs: &[ScannedLog], parts: &[Entry]) -> Shards {
    let mut missing = Shards::new();
    let mut seen: Option<&Shards> = None;
    for part in parts {
        let log = &logs[usize::from(part.shard)];
        let writers = &log.writers[log.parts[part.index as usize].writers as usize];
        // As a rule, all parts name the same ones.
        if seen.replace(writers) == Some(writers) {
            continue;
        }
        for writer in writers {
            let in_base = || logs.get(usize::from(*writer)).is_some_and(|log| log.base_cut > part.era);
            let in_log = parts.binary_search_by_key(writer, |other| other.shard).is_ok();
            if !in_log && !missing.contains(writer) && !in_base() {
                missing.push(*writer);
            }
        }
    }
    missing
}

fn behind_bases(logs: &[ScannedLog]) -> Vec<u16> {
    let newest = logs.iter().map(|log| log.base_cut).max().unwrap_or(0);
    let behind = logs.iter().enumerate().filter(|(_, log)| log.highest_cut() < newest);
    behind.map(|(shard, _)| shard as u16).collect()
}

#[cfg(test)]
mod tests;
