//! Small sorted sets: a listpack of members and scores in turn, in the order of the set.
//!
//! Scores are written as Redis writes them there: whole numbers as integers, others as the text that replies show.

use std::ops::Range;

use super::range::order;
use super::Score;
use crate::base::double::format_double;
use crate::store::listpack::{Item, Items, Iter, Listpack, Needle};

/// Entries of the listpack per element: member and score.
const PAIR: usize = 2;
/// The largest listpack that Redis lets grow, bytes.
const SIZE_MAX: usize = 1 << 30;

/// The score that an entry of the listpack says; 0 for what is no number, which nobody writes.
fn read_score(item: Item) -> Score {
    match item {
        Item::Int(value) => value as f64,
        Item::Bytes(bytes) => parse_score(bytes).unwrap_or(0.0),
    }
}

pub(super) fn parse_score(bytes: &[u8]) -> Option<Score> {
    std::str::from_utf8(bytes).ok()?.parse().ok().filter(|score: &f64| !score.is_nan())
}

pub(super) fn len(items: Items) -> usize {
    items.len() / PAIR
}

/// Whether Redis would add a member of this length.
pub(super) fn has_room(listpack: &Listpack, member_len: usize) -> bool {
    listpack.size_bytes() + member_len <= SIZE_MAX
}

/// The position of a member, and its score.
pub(super) fn find(items: Items, member: &[u8]) -> Option<(usize, Score)> {
    let position = items.find(&Needle::new(member), items.first(), PAIR)?;
    Some((position, read_score(items.item(items.after(position)))))
}

/// Number of the element that has this member, and its score.
pub(super) fn rank(items: Items, member: &[u8]) -> Option<(usize, Score)> {
    let needle = Needle::new(member);
    let rank = Pairs::all(items).position(|(item, _)| needle.is(item))?;
    let position = items.seek((rank * PAIR + 1) as i64)?;
    Some((rank, read_score(items.item(position))))
}

/// How many elements from number `from` on fulfil the condition, up to the first that does not.
pub(super) fn count_while(
    items: Items,
    from: usize,
    mut condition: impl FnMut(Score, &[u8]) -> bool,
) -> usize {
    let mut digits = itoa::Buffer::new();
    Pairs::new(items, from..len(items), false)
        .take_while(|(member, score)| condition(score.get(), member.bytes(&mut digits)))
        .count()
}

/// Adds an element whose member is not there.
pub(super) fn insert(listpack: &mut Listpack, member: &[u8], score: Score) {
    let items = listpack.items();
    let mut digits = itoa::Buffer::new();
    let mut is_before = |position: usize| {
        let at = (read_score(items.item(items.after(position))), items.item(position).bytes(&mut digits));
        order(at, (score, member)).is_lt()
    };
    // Elements are often added in their order.
    let last = items.last().and_then(|score| items.before(score));
    let mut position = if last.is_none_or(&mut is_before) { items.end() } else { items.first() };
    while position < items.end() && is_before(position) {
        position = items.after(items.after(position));
    }
    let text = if score == 0.0 { format_double(0.0) } else { format_double(score) };
    let position = listpack.insert(position, member);
    listpack.insert(position, text.as_bytes());
}

/// Takes out the element whose member is at a position.
pub(super) fn remove_at(listpack: &mut Listpack, position: usize) {
    listpack.remove(position, PAIR);
}

/// Takes out the elements with these numbers.
pub(super) fn remove(listpack: &mut Listpack, ranks: Range<usize>) {
    if let Some(position) = listpack.items().seek((ranks.start * PAIR) as i64) {
        listpack.remove(position, ranks.len() * PAIR);
    }
}

/// A score that is only read when somebody wants it.
#[derive(Clone, Copy, Debug)]
pub struct LazyScore<'a>(Item<'a>);

impl LazyScore<'_> {
    #[inline]
    pub(super) fn get(self) -> Score {
        read_score(self.0)
    }
}

/// Elements of a listpack, forwards or backwards.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    walk: Walk<'a>,
    left: usize,
}

#[derive(Clone, Debug)]
enum Walk<'a> {
    Forwards(Iter<'a>),
    /// Down from the element in front of this position.
    Backwards(Items<'a>, usize),
}

impl<'a> Pairs<'a> {
    pub(super) fn all(items: Items<'a>) -> Pairs<'a> {
        Pairs { walk: Walk::Forwards(items.iter()), left: len(items) }
    }

    /// Those with these numbers; the last first when `reverse` is set.
    pub(super) fn new(items: Items<'a>, ranks: Range<usize>, reverse: bool) -> Pairs<'a> {
        let start = if reverse { ranks.end } else { ranks.start };
        let position = items.seek((start * PAIR) as i64).unwrap_or(items.end());
        let walk = if reverse {
            Walk::Backwards(items, position)
        } else {
            Walk::Forwards(items.iter_from(position))
        };
        Pairs { walk, left: ranks.len() }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Item<'a>, LazyScore<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.walk {
            Walk::Forwards(entries) => Some((entries.next()?, LazyScore(entries.next()?))),
            Walk::Backwards(items, position) => {
                let score = items.before(*position)?;
                *position = items.before(score)?;
                Some((items.item(*position), LazyScore(items.item(score))))
            }
        }
    }
}
