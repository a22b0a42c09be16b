//! Parts of transactions over shards, until they cannot be lost any more.
//!
//! A recovery that finds a transaction's part missing in one log cuts the others in front of theirs (`persist/aof/cut`), and with
//! that takes along the parts behind it, and what is in front of their other parts, and so on. So nothing behind a part is safe
//! before the transaction has all of its parts safe, and before the same holds for every part in front of any of them. Two
//! transactions may have their parts in different orders on two shards: neither is safe before the other, and both are at once.
//! No shard can find that out for itself by waiting for news of its own transactions. So all shards keep one table, `Doubts`, with
//! the parts of each log that are not released, and whoever has made some of its own safe works out what may go: the
//! same search as that of a recovery, over what is open at the moment.
//!
//! The table has a lock. Only shards that have parts of such transactions open take it, once a turn.

use std::collections::{HashMap, VecDeque};

use smallvec::SmallVec;

use crate::txn::locks::Number;

/// Shards that have something to let go.
pub(in crate::shard) type Moved = SmallVec<[usize; 4]>;

/// A part of this shard's.
#[derive(Clone, Copy, Debug)]
struct Own {
    number: Number,
    /// How many shards write a part.
    writers: usize,
    /// Where it begins and ends in the log.
    from: u64,
    end: u64,
}

/// This shard's parts that are not released, in the order of its log.
#[derive(Debug, Default)]
pub(super) struct Parts {
    own: VecDeque<Own>,
    /// So many of them are in the table, and so many of these are safe there.
    listed: usize,
    safe: usize,
    /// How many have been released before, as the table counts.
    released: u64,
}

impl Parts {
    pub fn begin(&mut self, number: Number, writers: usize, from: u64, end: u64) {
        self.own.push_back(Own { number, writers, from, end });
    }

    /// Nothing behind this may be released yet.
    #[inline]
    pub fn limit(&self) -> Option<u64> {
        self.own.front().map(|own| own.from)
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// Whether the table is to learn something: of a part, or that the log is safe up to `safe`.
    pub fn has_news(&self, safe: u64) -> bool {
        self.listed < self.own.len() || self.own.get(self.safe).is_some_and(|own| own.end <= safe)
    }

    /// Brings the table up to date, and takes from it what is released.
    pub fn exchange(&mut self, doubts: &mut Doubts, shard: usize, safe: u64) -> Moved {
        for own in self.own.iter().skip(self.listed) {
            doubts.list(shard, own.number, own.writers);
        }
        self.listed = self.own.len();
        let mut moved = Moved::new();
        let before = self.safe;
        while let Some(own) = self.own.get(self.safe).filter(|own| own.end <= safe) {
            doubts.part_safe(own.number);
            self.safe += 1;
        }
        if self.safe > before {
            moved = doubts.release();
        }
        let released = doubts.released(shard);
        while self.released < released && self.own.pop_front().is_some() {
            self.released += 1;
            self.listed -= 1;
            self.safe = self.safe.saturating_sub(1);
        }
        moved
    }

    /// The log is closed: nobody waits for it any more.
    pub fn leave(&mut self, doubts: &mut Doubts, shard: usize) {
        self.exchange(doubts, shard, u64::MAX);
        doubts.leave(shard);
        self.own.clear();
        (self.listed, self.safe, self.released) = (0, 0, doubts.released(shard));
    }
}

/// A transaction with parts that are not released.
#[derive(Debug)]
struct Transaction {
    /// Shards whose part is not safe.
    missing: usize,
    /// Where its parts are: the shard, and the how manieth of its parts.
    places: SmallVec<[(usize, u64); 4]>,
}

/// One shard's parts that are not released.
#[derive(Debug, Default)]
struct Listed {
    numbers: VecDeque<Number>,
    /// How many came before them.
    released: u64,
}

impl Listed {
    fn end(&self) -> u64 {
        self.released + self.numbers.len() as u64
    }

    fn at(&self, place: u64) -> Option<Number> {
        self.numbers.get(place.checked_sub(self.released)? as usize).copied()
    }
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    logs: Vec<Listed>,
    transactions: HashMap<Number, Transaction, foldhash::fast::RandomState>,
}

impl Doubts {
    fn transaction(&mut self, number: Number, writers: usize) -> &mut Transaction {
        self.transactions
            .entry(number)
            .or_insert_with(|| Transaction { missing: writers, places: SmallVec::new() })
    }

    fn list(&mut self, shard: usize, number: Number, writers: usize) {
        if self.logs.len() <= shard {
            self.logs.resize_with(shard + 1, Listed::default);
        }
        let place = self.logs[shard].end();
        self.logs[shard].numbers.push_back(number);
        self.transaction(number, writers).places.push((shard, place));
    }

    fn part_safe(&mut self, number: Number) {
        if let Some(transaction) = self.transactions.get_mut(&number) {
            transaction.missing = transaction.missing.saturating_sub(1);
        }
    }

    /// A shard of the writers has no log: its part will not come.
    pub fn without_part(&mut self, number: Number, writers: usize) -> Moved {
        self.transaction(number, writers);
        self.part_safe(number);
        let moved = self.release();
        self.forget_if_over(number);
        moved
    }

    fn forget_if_over(&mut self, number: Number) {
        if self.transactions.get(&number).is_some_and(|t| t.missing == 0 && t.places.is_empty()) {
            self.transactions.remove(&number);
        }
    }

    fn released(&self, shard: usize) -> u64 {
        self.logs.get(shard).map_or(0, |log| log.released)
    }

    fn leave(&mut self, shard: usize) {
        let Some(log) = self.logs.get_mut(shard) else { return };
        log.released = log.end();
        for number in std::mem::take(&mut log.numbers) {
            if let Some(transaction) = self.transactions.get_mut(&number) {
                transaction.places.retain(|(at, _)| *at != shard);
            }
            self.forget_if_over(number);
        }
        self.release();
    }

    /// Takes off what cannot be lost any more. Returns the shards that it was taken off of.
    fn release(&mut self) -> Moved {
        let Doubts { logs, transactions } = self;
        let is_missing = |number: &Number| transactions.get(number).is_some_and(|t| t.missing > 0);
        // The first part of each log that stays: that of a transaction that is not whole.
        let first = |log: &Listed| {
            let count = log.numbers.iter().take_while(|number| !is_missing(number)).count();
            log.released + count as u64
        };
        let mut stays: SmallVec<[u64; 16]> = logs.iter().map(first).collect();
        if logs.iter().zip(&stays).all(|(log, stays)| log.released == *stays) {
            return Moved::new();
        }
        // What is behind one that stays, stays, and so do its other parts. Everything from here on has been looked at.
        let mut looked: SmallVec<[u64; 16]> = logs.iter().map(Listed::end).collect();
        let mut goes_on = true;
        while std::mem::take(&mut goes_on) {
            for (shard, log) in logs.iter().enumerate() {
                while looked[shard] > stays[shard] {
                    looked[shard] -= 1;
                    let parts = log.at(looked[shard]).and_then(|number| transactions.get(&number));
                    for (other, place) in parts.into_iter().flat_map(|t| &t.places) {
                        if *place < stays[*other] {
                            stays[*other] = *place;
                            goes_on = true;
                        }
                    }
                }
            }
        }
        let mut moved = Moved::new();
        for (shard, (log, stays)) in logs.iter_mut().zip(stays).enumerate() {
            if log.released < stays {
                moved.push(shard);
            }
            while log.released < stays {
                // All parts of a transaction go together.
                if let Some(number) = log.numbers.pop_front() {
                    transactions.remove(&number);
                }
                log.released += 1;
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shards that append parts of one byte each.
    struct Shards {
        doubts: Doubts,
        logs: Vec<(Parts, u64)>,
    }

    impl Shards {
        /// Each with the parts of these transactions, which have as many writers as they occur.
        fn with(orders: &[&[Number]]) -> Shards {
            let mut shards = Shards { doubts: Doubts::default(), logs: Vec::new() };
            for numbers in orders {
                let (mut parts, mut end) = (Parts::default(), 0);
                for number in *numbers {
                    let writers = orders.iter().filter(|numbers| numbers.contains(number)).count();
                    parts.begin(*number, writers, end, end + 1);
                    end += 1;
                }
                shards.logs.push((parts, end));
            }
            for shard in 0..orders.len() {
                shards.safe(shard, 0);
            }
            shards
        }

        fn safe(&mut self, shard: usize, safe: u64) -> Moved {
            self.logs[shard].0.exchange(&mut self.doubts, shard, safe)
        }

        /// How far each may release.
        fn limits(&mut self) -> Vec<u64> {
            let doubts = &mut self.doubts;
            let limit = |(shard, (parts, end)): (usize, &mut (Parts, u64))| {
                parts.exchange(doubts, shard, 0);
                parts.limit().unwrap_or(*end)
            };
            self.logs.iter_mut().enumerate().map(limit).collect()
        }
    }

    #[test]
    fn nothing_is_released_behind_a_part_that_another_shard_may_lose() {
        let mut shards = Shards::with(&[&[7, 8], &[8], &[7]]);
        assert!(shards.safe(0, 2).is_empty() && shards.safe(1, 1).is_empty());
        assert_eq!(shards.limits(), [0, 0, 0]);
        assert_eq!(shards.safe(2, 1).as_slice(), [0, 1, 2]);
        assert_eq!(shards.limits(), [2, 1, 1]);
        assert!(shards.doubts.transactions.is_empty() && shards.logs.iter().all(|(own, _)| own.is_empty()));
    }

    /// 62 is missing on shard 1, so that shard 2 may lose 70, which is safe everywhere, and shard 0 what is behind that.
    #[test]
    fn a_part_behind_one_that_may_be_lost_may_be_lost_too_and_with_it_what_other_shards_have_behind_theirs() {
        let mut shards = Shards::with(&[&[70, 71], &[62], &[62, 70], &[71]]);
        for shard in [0, 2, 3] {
            assert!(shards.safe(shard, 2).is_empty(), "{shard}");
        }
        assert_eq!(shards.limits(), [0, 0, 0, 0]);
        assert_eq!(shards.safe(1, 1).as_slice(), [0, 1, 2, 3]);
        assert_eq!(shards.limits(), [2, 1, 2, 1]);
    }

    #[test]
    fn parts_in_different_orders_are_released_together() {
        let mut shards = Shards::with(&[&[1, 2], &[2, 1]]);
        assert!(shards.safe(0, 2).is_empty() && shards.safe(1, 1).is_empty());
        assert_eq!(shards.limits(), [0, 0]);
        assert_eq!(shards.safe(1, 2).as_slice(), [0, 1]);
        assert_eq!(shards.limits(), [2, 2]);
    }

    #[test]
    fn what_is_in_front_of_a_doubt_goes() {
        let mut shards = Shards::with(&[&[1, 2, 3], &[1, 3, 2]]);
        shards.safe(0, 3);
        assert_eq!(shards.safe(1, 2).as_slice(), [0, 1]);
        assert_eq!(shards.limits(), [1, 1], "3 is whole, but 2 is in front of it");
        shards.safe(1, 3);
        assert_eq!(shards.limits(), [3, 3]);
    }

    #[test]
    fn nobody_waits_for_a_shard_whose_log_is_closed() {
        let mut shards = Shards::with(&[&[1, 2], &[1]]);
        shards.safe(0, 2);
        shards.logs[1].0.leave(&mut shards.doubts, 1);
        assert_eq!(shards.limits(), [2, 1]);
        // Its part of the second comes when it has no log any more.
        assert!(shards.doubts.without_part(9, 2).is_empty());
        shards.logs[0].0.begin(9, 2, 2, 3);
        assert_eq!(shards.safe(0, 3).as_slice(), [0]);
        assert!(shards.logs[0].0.is_empty());
        assert!(shards.doubts.transactions.is_empty());
    }
}
