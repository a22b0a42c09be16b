//! Sorted sets: packed while the configuration allows it.

use super::packing::refuse_duplicates;
use super::DUPLICATE;
use crate::rdb::decode::{score_of, BAD_SCORE};
use crate::rdb::error::Reason;
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

    pub fn packed(&mut self, listpack: Listpack, settings: &Settings) -> Result<(), Reason> {
        let items = listpack.items();
        let len = items.len() / 2;
        if len <= settings.zset_max_listpack_entries && is_in_order(items)? {
            self.set = SortedSet::from_packed(Kind::SortedSetListpack, listpack.into_bytes());
            self.is_unverified = true;
            return Ok(());
        }
        self.expect(len as u64, settings);
        let mut items = items.iter();
        while let (Some(member), Some(score)) = (items.next(), items.next()) {
            self.member(member, score_of(score).ok_or(BAD_SCORE)?, settings)?;
        }
        Ok(())
    }

    pub fn finish(self, look_for_duplicates: bool) -> Result<SortedSet, Reason> {
        if let (Some(bytes), true, true) = (self.set.packed(), self.is_unverified, look_for_duplicates) {
            refuse_duplicates(Items::new(bytes), 2)?;
        }
        Ok(self.set)
    }
}

/// Whether members and scores in turn ascend, by score and then by member. An error when a score is none.
fn is_in_order(items: Items) -> Result<bool, Reason> {
    let mut items = items.iter();
    let mut last: Option<(f64, Item)> = None;
    let (mut digits, mut more_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
    while let (Some(member), Some(score)) = (items.next(), items.next()) {
        let score = score_of(score).ok_or(BAD_SCORE)?;
        if let Some((last_score, last_member)) = last {
            let is_later = score > last_score
                || score == last_score && member.bytes(&mut digits) > last_member.bytes(&mut more_digits);
            if !is_later {
                return Ok(false);
            }
        }
        last = Some((score, member));
    }
    Ok(true)
}
