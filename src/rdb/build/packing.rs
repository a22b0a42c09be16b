//! Small collections on their way into memory: listpacks, from a payload or put together here.

use std::collections::HashSet;

use super::DUPLICATE;
use crate::rdb::error::Reason;
use crate::store::listpack::{Item, Items};

/// Refuses a listpack in which an element occurs twice, looking at every `step`-th item (2: the fields of a hash).
pub fn refuse_duplicates(items: Items, step: usize) -> Result<(), Reason> {
    let mut seen = HashSet::with_hasher(foldhash::fast::RandomState::default());
    let is_new = |item| seen.insert(canonical(item));
    if items.iter().step_by(step).all(is_new) {
        Ok(())
    } else {
        Err(DUPLICATE)
    }
}

/// Equal for items of the same bytes, however each is held.
fn canonical(item: Item<'_>) -> (Option<i64>, &[u8]) {
    match (item.integer(), item) {
        (Some(number), _) => (Some(number), b""),
        (None, Item::Bytes(bytes)) => (None, bytes),
        (None, Item::Int(number)) => (Some(number), b""),
    }
}
