//! This shard's parts of transactions over shards, until all parts of each are safe everywhere.
//!
//! Two things are asked: how far replies may be released (in front of the first part that some other shard might still
//! lose), and of which transactions the own part has become safe. Other shards' news may come before the own part is
//! appended.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::txn::locks::Number;

#[derive(Debug, Default)]
struct Part {
    /// Where the own part begins, once it is appended.
    from: Option<u64>,
    /// Other shards' parts that are not known to be safe; negative when news came first.
    missing: i64,
}

#[derive(Debug, Default)]
pub(super) struct Parts {
    open: HashMap<Number, Part, foldhash::fast::RandomState>,
    /// The beginnings of the parts that others are missing of.
    limits: BTreeSet<(u64, Number)>,
    /// Where own parts end that nobody has been told of, in order.
    untold: VecDeque<(u64, Number)>,
}

impl Parts {
    pub fn begin(&mut self, number: Number, others: usize, from: u64, end: u64) {
        if others == 0 {
            return;
        }
        self.untold.push_back((end, number));
        let part = self.open.entry(number).or_default();
        part.from = Some(from);
        part.missing += others as i64;
        if part.missing > 0 {
            self.limits.insert((from, number));
        } else {
            self.open.remove(&number);
        }
    }

    pub fn other_safe(&mut self, number: Number) {
        let part = self.open.entry(number).or_default();
        part.missing -= 1;
        if let (0, Some(from)) = (part.missing, part.from) {
            self.limits.remove(&(from, number));
            self.open.remove(&number);
        }
    }

    /// Nothing behind this may be released yet.
    #[inline]
    pub fn limit(&self) -> Option<u64> {
        self.limits.first().map(|(from, _)| *from)
    }

    /// The transactions whose own part ends at `safe` or before.
    pub fn take_safe(&mut self, safe: u64) -> Vec<Number> {
        let count = self.untold.partition_point(|(end, _)| *end <= safe);
        self.untold.drain(..count).map(|(_, number)| number).collect()
    }

    /// Nobody waits for this log any more. Whom others wait for, they still have to be told.
    pub fn clear(&mut self) {
        self.open.clear();
        self.limits.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_released_behind_a_part_that_another_shard_may_lose() {
        let mut parts = Parts::default();
        parts.begin(7, 2, 100, 150);
        parts.begin(8, 1, 150, 160);
        assert_eq!(parts.limit(), Some(100));
        parts.other_safe(7);
        parts.other_safe(8);
        assert_eq!(parts.limit(), Some(100));
        parts.other_safe(7);
        assert_eq!((parts.limit(), parts.open.len()), (None, 0));
    }

    #[test]
    fn news_may_come_before_the_own_part() {
        let mut parts = Parts::default();
        parts.other_safe(7);
        assert_eq!(parts.limit(), None);
        parts.begin(7, 2, 10, 20);
        assert_eq!(parts.limit(), Some(10));
        parts.other_safe(7);
        assert_eq!((parts.limit(), parts.open.len()), (None, 0));
    }

    #[test]
    fn own_parts_are_told_once_when_safe() {
        let mut parts = Parts::default();
        parts.begin(1, 1, 0, 10);
        parts.begin(2, 1, 10, 20);
        parts.begin(3, 0, 20, 30);
        assert_eq!(parts.take_safe(19), [1]);
        assert_eq!(parts.take_safe(40), [2]);
        assert!(parts.take_safe(40).is_empty());
    }
}
