//! What commands with keys on several shards borrow of values that may be large: the few elements that they look at.
//!
//! A command that takes elements from the ends of a value, or moves one, answers the same for a value that holds just
//! those (`Spread::Excerpt`). A value of another type than the command wants is stood in for by a string, which is
//! of the wrong type too.

use super::{list, sorted_set, Args};
use crate::store::{Collection, Detached, End, Kind, List, Set, SortedSet, Store, Value};

/// One element from each end of a list (BLPOP), which is also enough to move one from or to it (LMOVE).
pub fn list_ends(store: &mut Store, db: usize, args: Args, index: usize) -> Option<Detached> {
    list_elements(store, db, args[index], 1)
}

/// The elements that LMPOP may take.
pub fn lmpop(store: &mut Store, db: usize, args: Args, index: usize) -> Option<Detached> {
    list_elements(store, db, args[index], list::pop_count(&args[1..])?)
}

/// The elements that BLMPOP may take.
pub fn blmpop(store: &mut Store, db: usize, args: Args, index: usize) -> Option<Detached> {
    list_elements(store, db, args[index], list::pop_count(&args[2..])?)
}

/// The lowest and the highest element of a sorted set (BZPOPMIN).
pub fn sorted_set_ends(store: &mut Store, db: usize, args: Args, index: usize) -> Option<Detached> {
    sorted_set_elements(store, db, args[index], 1)
}

/// The elements that ZMPOP may take.
pub fn zmpop(store: &mut Store, db: usize, args: Args, index: usize) -> Option<Detached> {
    sorted_set_elements(store, db, args[index], sorted_set::pop_count(&args[1..])?)
}

/// The elements that BZMPOP may take.
pub fn bzmpop(store: &mut Store, db: usize, args: Args, index: usize) -> Option<Detached> {
    sorted_set_elements(store, db, args[index], sorted_set::pop_count(&args[2..])?)
}

/// The member that SMOVE moves, if it is there, beside another that says that there is a set.
pub fn smove(store: &mut Store, db: usize, args: Args, index: usize) -> Option<Detached> {
    let member = args[3];
    let has_it = match store.peek(db, args[index])? {
        Value::Set(set) => set.contains(member),
        _ => return Some(of_another_type()),
    };
    let mut stand_in = member.to_vec();
    stand_in.push(b'.');
    let mut excerpt = Set::empty();
    excerpt.add(&stand_in, &store.settings);
    if has_it {
        excerpt.add(member, &store.settings);
    }
    Some(Detached::from_collection(excerpt, None))
}

fn of_another_type() -> Detached {
    Detached::from_string(b"", None)
}

/// Up to `count` elements from each end.
fn list_elements(store: &mut Store, db: usize, key: &[u8], count: usize) -> Option<Detached> {
    let Value::List(list) = store.peek(db, key)? else { return Some(of_another_type()) };
    let mut elements = Vec::new();
    let head = count.min(list.len());
    let tail = count.min(list.len() - head);
    for (from, count) in [(0, head), (list.len() - tail, tail)] {
        let mut left = count;
        if left > 0 {
            list.visit(from, End::Head, |element| {
                elements.push(element.to_vec());
                left -= 1;
                left > 0
            });
        }
    }
    let mut excerpt = List::empty();
    for element in elements {
        excerpt.push_back(&element, &store.settings);
    }
    Some(Detached::from_collection(excerpt, None))
}

/// Up to `count` elements from each end.
fn sorted_set_elements(store: &mut Store, db: usize, key: &[u8], count: usize) -> Option<Detached> {
    let Value::SortedSet(set) = store.peek(db, key)? else { return Some(of_another_type()) };
    let is_large = set.kind() == Kind::SortedSetSkiplist;
    let low = count.min(set.len());
    let high = count.min(set.len() - low);
    let ranks = [0..low, set.len() - high..set.len()];
    let elements: Vec<_> = ranks
        .into_iter()
        .flat_map(|ranks| set.elements(ranks, false))
        .map(|(member, score)| (member.to_vec(), score))
        .collect();
    // In the form that it has: a packed one cannot tell 0 from -0.
    let mut settings = store.settings.clone();
    if is_large {
        settings.zset_max_listpack_entries = 0;
    }
    Some(Detached::from_collection(SortedSet::of_sorted(&elements, &settings), None))
}
