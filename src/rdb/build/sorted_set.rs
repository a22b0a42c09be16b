//! Sorted sets: packed while the configuration allows it.

use super::packing::without_duplicates;
use super::{DUPLICATE, TWICE};
use crate::rdb::decode::{mended_score_of, score_of};
use crate::rdb::error::Reason;
use crate::rdb::mend::Mending;
use crate::store::listpack::{Item, Items, Listpack};
use crate::store::{AddRule, Added, Collection, Kind, Settings, SortedSet};

pub struct SortedSetBuilder {
    set: SortedSet,
    /// The set is a listpack from the payload, of which nobody knows whether a member occurs twice.
    is_unverified: bool,
}

impl SortedSetBuilder {
    pub fn new() -> SortedSetBuilder {
        SortedSetBuilder { set: SortedSet::empty(), is_unverified: false }
    }

    /// So many members are announced.
    pub fn expect(&mut self, len: u64, settings: &Settings) {
        self.set = SortedSet::expecting(usize::try_from(len).unwrap_or(usize::MAX), 0, settings);
    }

    pub fn member(&mut self, member: Item, score: f64, settings: &Settings) -> Result<(), Reason> {
        let mut digits = itoa::Buffer::new();
        match self.set.add(member.bytes(&mut digits), score, &AddRule::default(), settings) {
            Added::New(_) => Ok(()),
            _ => Err(DUPLICATE),
        }
    }

    pub fn packed(
        &mut self,
        listpack: Listpack,
        settings: &Settings,
        mending: &mut Mending,
    ) -> Result<(), Reason> {
        let items = listpack.items();
        let len = items.len() / 2;
        let order = order(items);
        if len <= settings.zset_max_listpack_entries && order == Order::Right {
            self.set = SortedSet::from_packed(Kind::SortedSetListpack, listpack.into_bytes());
            self.is_unverified = true;
            return Ok(());
        }
        if order == Order::Wrong && mending.is_on() {
            mending.note("a sorted set out of order");
        }
        self.expect(len as u64, settings);
        let mut items = items.iter();
        while let (Some(member), Some(score)) = (items.next(), items.next()) {
            let score = mended_score_of(score, mending)?;
            if self.member(member, score, settings).is_err() {
                mending.allow(TWICE)?;
            }
        }
        Ok(())
    }

    pub fn finish(self, mending: &mut Mending) -> Result<SortedSet, Reason> {
        if let (Some(bytes), true) = (self.set.packed(), self.is_unverified) {
            if let Some(listpack) = without_duplicates(Items::new(bytes), 2, mending)? {
                return Ok(SortedSet::from_packed(Kind::SortedSetListpack, listpack.into_bytes()));
            }
        }
        Ok(self.set)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Right,
    Wrong,
    /// A score is none.
    Unknown,
}

/// Whether members and scores in turn ascend, by score and then by member. Two of one score and one member do: they are no matter of
/// order.
fn order(items: Items) -> Order {
    let mut items = items.iter();
    let mut last: Option<(f64, Item)> = None;
    let (mut digits, mut more_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
    while let (Some(member), Some(score)) = (items.next(), items.next()) {
        let Some(score) = score_of(score) else { return Order::Unknown };
        if let Some((last_score, last_member)) = last {
            let is_later = score > last_score
                || score == last_score && member.bytes(&mut digits) >= last_member.bytes(&mut more_digits);
            if !is_later {
                return Order::Wrong;
            }
        }
        last = Some((score, member));
    }
    Order::Right
}
