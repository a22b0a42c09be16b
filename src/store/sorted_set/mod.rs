//! Sorted sets: members, each with a score, in the order of their scores.
//!
//! A small one is a listpack (`packed`), a larger one a tree with a hash table (`large`); when one becomes the other is as
//! in Redis. Whatever the form, elements are numbered from 0 in the order of the set, and what selects elements, by
//! number, score or member, is first translated into a range of these numbers.

mod packed;
mod range;

use std::ops::Range;

use self::packed::Pairs;
pub use self::range::{LexBound, LexRange, ScoreRange};
use super::collection::Collection;
use super::listpack::{Item, Items, Listpack};
use super::memory::block_size;
use super::object::Object;
use super::random::Rng;
use super::{Kind, Settings, Value, ValueType};

/// Never NaN.
pub type Score = f64;

#[derive(Debug)]
pub enum SortedSet {
    Packed(Listpack),
}

/// A sorted set to read.
#[derive(Clone, Copy, Debug)]
pub enum SortedSetView<'a> {
    Packed(Items<'a>),
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
        let _ = (elements, member_len, settings);
        SortedSet::Packed(Listpack::new())
    }

    /// Takes the form for many elements when so many are to be added, as Redis does, even if some are there already.
    pub fn expect(&mut self, elements: usize, settings: &Settings) {
        let _ = (elements, settings);
    }

    /// ZADD of one element. `score` is not NaN.
    pub fn add(&mut self, member: &[u8], score: Score, rule: &AddRule, settings: &Settings) -> Added {
        debug_assert!(!score.is_nan());
        let _ = settings;
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
                packed::insert(listpack, member, score);
                Added::New(score)
            }
        }
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
        }
    }

    /// Takes out the elements with these numbers, all of which exist.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) {
        match self {
            SortedSet::Packed(listpack) => packed::remove(listpack, ranks),
        }
    }
}

impl<'a> SortedSetView<'a> {
    pub fn kind(self) -> Kind {
        match self {
            SortedSetView::Packed(_) => Kind::SortedSetListpack,
        }
    }

    /// Number of elements.
    pub fn len(self) -> usize {
        match self {
            SortedSetView::Packed(items) => packed::len(items),
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    pub fn score(self, member: &[u8]) -> Option<Score> {
        match self {
            SortedSetView::Packed(items) => packed::find(items, member).map(|(_, score)| score),
        }
    }

    /// The number of the element with this member, and its score.
    pub fn rank(self, member: &[u8]) -> Option<(usize, Score)> {
        match self {
            SortedSetView::Packed(items) => packed::rank(items, member),
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
        }
    }

    /// An element, each with nearly the same probability. There is one.
    pub fn random(self, rng: &mut Rng) -> (Item<'a>, Score) {
        match self {
            SortedSetView::Packed(_) => {
                let rank = rng.below(self.len() as u64) as usize;
                self.elements(rank..rank + 1, false).next().expect("a number below the length")
            }
        }
    }

    /// One step of a scan from `cursor` (0 to begin), as `Table::scan`; a small set is visited at once.
    pub fn scan(self, cursor: u64, mut visit: impl FnMut(Item<'a>, Score)) -> u64 {
        let _ = cursor;
        match self {
            SortedSetView::Packed(_) => {
                self.iter().for_each(|(member, score)| visit(member, score));
                0
            }
        }
    }
}

/// Elements of a sorted set in its order, or backwards.
#[derive(Clone, Debug)]
pub enum Elements<'a> {
    Packed(Pairs<'a>),
}

impl<'a> Iterator for Elements<'a> {
    type Item = (Item<'a>, Score);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Elements::Packed(pairs) => pairs.next().map(|(member, score)| (member, score.get())),
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
        }
    }

    fn view(&self) -> SortedSetView<'_> {
        match self {
            SortedSet::Packed(listpack) => SortedSetView::Packed(listpack.items()),
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
        }
    }

    fn duplicate(&self) -> SortedSet {
        match self {
            SortedSet::Packed(listpack) => SortedSet::Packed(listpack.clone()),
        }
    }

    fn pieces(&self) -> usize {
        1
    }

    fn free_some(&mut self, _: usize) -> usize {
        0
    }
}
