//! Sorted sets: members, each with a score, in the order of their scores.
//!
//! A small one is a listpack (`packed`), a larger one a tree with a hash table (`large`); when one becomes the other is as
//! in Redis. Whatever the form, elements are numbered from 0 in the order of the set, and what selects elements, by
//! number, score or member, is first translated into a range of these numbers.

mod element;
mod large;
mod node;
mod packed;
mod range;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::HashSet;
use std::ops::Range;

use self::large::{Large, LargeElements};
use self::packed::Pairs;
pub use self::range::{order as element_order, LexBound, LexRange, ScoreRange};
use super::collection::Collection;
use super::listpack::{Item, Items, Listpack};
use super::members::Choice;
use super::memory::block_size;
use super::object::Object;
use super::random::Rng;
use super::{Kind, Settings, Value, ValueType};

/// With so many elements for one that is wanted, those are drawn; with fewer, all are passed through.
const DRAW_RATIO: usize = 3;

/// Never NaN.
pub type Score = f64;

#[derive(Debug)]
pub enum SortedSet {
    Packed(Listpack),
    Large(Box<Large>),
}

/// A sorted set to read.
#[derive(Clone, Copy, Debug)]
pub enum SortedSetView<'a> {
    Packed(Items<'a>),
    Large(&'a Large),
}

/// What an addition does to an element that is there, and whether it adds one that is not (the options of ZADD).
#[derive(Clone, Copy, Debug, Default)]
pub struct AddRule {
    /// NX: leave alone what is there.
    pub only_new: bool,
    /// XX: add nothing new.
    pub only_present: bool,
    /// GT: scores only become greater.
    pub only_greater: bool,
    /// LT: scores only become less.
    pub only_less: bool,
    /// INCR: the score is to be added to the one that is there.
    pub increment: bool,
}

/// What an addition did, and the element's score now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Added {
    New(Score),
    Updated(Score),
    /// It had this score already.
    Same(Score),
    /// The rule forbade it.
    Refused,
    /// The sum of an increment is not a number: nothing changed.
    NotANumber,
}

/// What to do about an element that is there.
enum Change {
    To(Score),
    None(Added),
}

impl AddRule {
    fn apply(&self, current: Score, score: Score) -> Change {
        if self.only_new {
            return Change::None(Added::Refused);
        }
        let score = if self.increment { current + score } else { score };
        if score.is_nan() {
            return Change::None(Added::NotANumber);
        }
        if (self.only_less && score >= current) || (self.only_greater && score <= current) {
            return Change::None(Added::Refused);
        }
        if score == current {
            return Change::None(Added::Same(score));
        }
        Change::To(score)
    }
}

impl SortedSet {
    /// An empty one in the form that Redis chooses when so many elements are to come, the first with a member of this
    /// length.
    pub fn expecting(elements: usize, member_len: usize, settings: &Settings) -> SortedSet {
        if elements <= settings.zset_max_listpack_entries && member_len <= settings.zset_max_listpack_value {
            SortedSet::Packed(Listpack::new())
        } else {
            SortedSet::Large(Large::new())
        }
    }

    /// Takes the form for many elements when so many are to be added, as Redis does, even if some are there already.
    pub fn expect(&mut self, elements: usize, settings: &Settings) {
        if elements > settings.zset_max_listpack_entries {
            self.unpack();
        }
    }

    fn unpack(&mut self) {
        if let SortedSet::Packed(listpack) = self {
            *self = SortedSet::Large(Large::of_packed(listpack.items()));
        }
    }

    /// The sorted set of these different members, which are in its order, in the form that Redis gives to what a *STORE command
    /// has made.
    pub fn of_sorted(elements: &[(impl AsRef<[u8]>, Score)], settings: &Settings) -> SortedSet {
        let member_len_max = elements.iter().map(|(member, _)| member.as_ref().len()).max();
        let mut set = SortedSet::expecting(elements.len(), member_len_max.unwrap_or(0), settings);
        for (member, score) in elements {
            match &mut set {
                SortedSet::Packed(listpack) => packed::insert(listpack, member.as_ref(), *score),
                SortedSet::Large(large) => large.add_new(member.as_ref(), *score),
            }
        }
        set
    }

    /// ZADD of one element. `score` is not NaN.
    pub fn add(&mut self, member: &[u8], score: Score, rule: &AddRule, settings: &Settings) -> Added {
        debug_assert!(!score.is_nan());
        match self {
            SortedSet::Packed(listpack) => {
                if let Some((position, current)) = packed::find(listpack.items(), member) {
                    return match rule.apply(current, score) {
                        Change::None(added) => added,
                        Change::To(score) => {
                            packed::remove_at(listpack, position);
                            packed::insert(listpack, member, score);
                            Added::Updated(score)
                        }
                    };
                }
                if rule.only_present {
                    return Added::Refused;
                }
                let fits = packed::len(listpack.items()) < settings.zset_max_listpack_entries
                    && member.len() <= settings.zset_max_listpack_value
                    && packed::has_room(listpack, member.len());
                if fits {
                    packed::insert(listpack, member, score);
                    return Added::New(score);
                }
            }
            SortedSet::Large(large) => return large.add(member, score, rule),
        }
        self.unpack();
        self.add(member, score, rule, settings)
    }

    /// Sets the score of a member, there or not.
    pub fn insert(&mut self, member: &[u8], score: Score, settings: &Settings) {
        self.add(member, score, &AddRule::default(), settings);
    }

    /// Takes out a member; false when it is not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            SortedSet::Packed(listpack) => match packed::find(listpack.items(), member) {
                Some((position, _)) => {
                    packed::remove_at(listpack, position);
                    true
                }
                None => false,
            },
            SortedSet::Large(large) => large.remove(member),
        }
    }

    /// Takes out the elements with these numbers, all of which exist.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) {
        match self {
            SortedSet::Packed(listpack) => packed::remove(listpack, ranks),
            SortedSet::Large(large) => large.remove_ranks(ranks),
        }
    }
}

impl<'a> SortedSetView<'a> {
    pub fn kind(self) -> Kind {
        match self {
            SortedSetView::Packed(_) => Kind::SortedSetListpack,
            SortedSetView::Large(_) => Kind::SortedSetSkiplist,
        }
    }

    /// Number of elements.
    pub fn len(self) -> usize {
        match self {
            SortedSetView::Packed(items) => packed::len(items),
            SortedSetView::Large(large) => large.len(),
        }
    }

    pub fn score(self, member: &[u8]) -> Option<Score> {
        match self {
            SortedSetView::Packed(items) => packed::find(items, member).map(|(_, score)| score),
            SortedSetView::Large(large) => large.score(member),
        }
    }

    /// The number of the element with this member, and its score.
    pub fn rank(self, member: &[u8]) -> Option<(usize, Score)> {
        match self {
            SortedSetView::Packed(items) => packed::rank(items, member),
            SortedSetView::Large(large) => large.rank(member),
        }
    }

    /// The numbers of the elements in a range of scores.
    pub fn ranks_by_score(self, range: &ScoreRange) -> Range<usize> {
        self.ranks(|score, _| range.is_before(score), |score, _| !range.is_behind(score))
    }

    /// The numbers of the elements in a range of members, when all scores are equal. Otherwise of some elements.
    pub fn ranks_by_lex(self, range: &LexRange) -> Range<usize> {
        self.ranks(|_, member| range.is_before(member), |_, member| !range.is_behind(member))
    }

    fn ranks(
        self,
        is_before: impl Fn(Score, &[u8]) -> bool,
        is_not_behind: impl Fn(Score, &[u8]) -> bool,
    ) -> Range<usize> {
        match self {
            SortedSetView::Packed(items) => {
                let start = packed::count_while(items, 0, is_before);
                start..start + packed::count_while(items, start, is_not_behind)
            }
            SortedSetView::Large(large) => {
                let start = large.count_before(is_before);
                // Where the ends are crossed, or the scores differ under a range of members, it may be less.
                start..large.count_before(is_not_behind).max(start)
            }
        }
    }

    /// The elements in order.
    pub fn iter(self) -> Elements<'a> {
        self.elements(0..self.len(), false)
    }

    /// The elements with these numbers, all of which exist; the last first when `reverse` is set.
    pub fn elements(self, ranks: Range<usize>, reverse: bool) -> Elements<'a> {
        match self {
            SortedSetView::Packed(items) => Elements::Packed(Pairs::new(items, ranks, reverse)),
            SortedSetView::Large(large) => Elements::Large(large.elements(ranks, reverse)),
        }
    }

    /// An element, each with the same probability. There is one.
    pub fn random(self, rng: &mut Rng) -> (Item<'a>, Score) {
        let rank = rng.below(self.len() as u64) as usize;
        self.elements(rank..rank + 1, false).next().expect("a number below the length")
    }

    /// Hands `count` different elements, chosen at random, to `each`; all, the last first, when there are not more.
    pub fn sample(self, count: usize, rng: &mut Rng, mut each: impl FnMut(Item<'a>, Score)) {
        let len = self.len();
        if count >= len {
            self.elements(0..len, true).for_each(|(member, score)| each(member, score));
        } else if count.saturating_mul(DRAW_RATIO) <= len && matches!(self, SortedSetView::Large(_)) {
            let mut drawn = HashSet::with_capacity(count);
            while drawn.len() < count {
                let rank = rng.below(len as u64) as usize;
                if drawn.insert(rank) {
                    self.elements(rank..rank + 1, false).for_each(|(member, score)| each(member, score));
                }
            }
        } else {
            let mut choice = Choice::new(count, len);
            for (member, score) in self.iter() {
                if choice.takes(rng) {
                    each(member, score);
                }
                if choice.is_done() {
                    break;
                }
            }
        }
    }

    /// One step of a scan from `cursor` (0 to begin), as `Table::scan`; a small set is visited at once.
    pub fn scan(self, cursor: u64, mut visit: impl FnMut(Item<'a>, Score)) -> u64 {
        match self {
            SortedSetView::Packed(_) => {
                self.iter().for_each(|(member, score)| visit(member, score));
                0
            }
            SortedSetView::Large(large) => {
                large.scan(cursor, |member, score| visit(Item::Bytes(member), score))
            }
        }
    }
}

/// Elements of a sorted set in its order, or backwards.
#[derive(Clone, Debug)]
pub enum Elements<'a> {
    Packed(Pairs<'a>),
    Large(LargeElements<'a>),
}

impl<'a> Iterator for Elements<'a> {
    type Item = (Item<'a>, Score);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Elements::Packed(pairs) => pairs.next().map(|(member, score)| (member, score.get())),
            Elements::Large(elements) => elements.next().map(|(member, score)| (Item::Bytes(member), score)),
        }
    }
}

impl Collection for SortedSet {
    const TYPE: ValueType = ValueType::SortedSet;
    type View<'a> = SortedSetView<'a>;

    fn empty() -> SortedSet {
        SortedSet::Packed(Listpack::new())
    }

    fn kind(&self) -> Kind {
        self.view().kind()
    }

    fn is_empty(&self) -> bool {
        match self {
            SortedSet::Packed(listpack) => listpack.is_empty(),
            SortedSet::Large(large) => large.len() == 0,
        }
    }

    fn view(&self) -> SortedSetView<'_> {
        match self {
            SortedSet::Packed(listpack) => SortedSetView::Packed(listpack.items()),
            SortedSet::Large(large) => SortedSetView::Large(large),
        }
    }

    fn view_of<'a>(value: &Value<'a>) -> Option<SortedSetView<'a>> {
        match value {
            Value::SortedSet(view) => Some(*view),
            _ => None,
        }
    }

    fn packed(&self) -> Option<&[u8]> {
        match self {
            SortedSet::Packed(listpack) => Some(listpack.as_bytes()),
            SortedSet::Large(_) => None,
        }
    }

    fn from_packed(_: Kind, bytes: Vec<u8>) -> SortedSet {
        SortedSet::Packed(Listpack::from_bytes(bytes))
    }

    fn view_packed(_: Kind, bytes: &[u8]) -> SortedSetView<'_> {
        SortedSetView::Packed(Items::new(bytes))
    }

    fn into_packed(self) -> Vec<u8> {
        match self {
            SortedSet::Packed(listpack) => listpack.into_bytes(),
            SortedSet::Large(_) => Vec::new(),
        }
    }

    fn into_object(self) -> Object {
        Object::SortedSet(self)
    }

    fn of_object(object: &mut Object) -> Option<&mut SortedSet> {
        match object {
            Object::SortedSet(this) => Some(this),
            _ => None,
        }
    }

    fn memory(&self) -> usize {
        match self {
            SortedSet::Packed(listpack) => block_size(listpack.capacity()),
            SortedSet::Large(large) => large.memory(),
        }
    }

    fn duplicate(&self) -> SortedSet {
        match self {
            SortedSet::Packed(listpack) => SortedSet::Packed(listpack.clone()),
            SortedSet::Large(large) => SortedSet::Large(large.duplicate()),
        }
    }

    fn pieces(&self) -> usize {
        match self {
            SortedSet::Packed(_) => 1,
            SortedSet::Large(large) => large.pieces(),
        }
    }

    fn free_some(&mut self, pieces: usize) -> usize {
        match self {
            SortedSet::Packed(_) => 0,
            SortedSet::Large(large) => large.free_some(pieces),
        }
    }
}
