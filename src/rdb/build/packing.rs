//! Small collections on their way into memory: listpacks, from a payload or put together here.

use super::TWICE;
use crate::rdb::error::Reason;
use crate::rdb::mend::Mending;
use crate::store::listpack::{Item, Items, Listpack};
use smallvec::SmallVec;
use std::collections::HashSet;
use std::hash::BuildHasher;

/// Elements of a small collection as it is by default.
const FEW: usize = 128;

type Seed = foldhash::fast::RandomState;

/// Looks at every `step`-th item (2: the fields of a hash) for one that occurs twice. `None` when none does; otherwise the listpack
/// without what comes again, if that is wanted.
pub fn without_duplicates(
    items: Items,
    step: usize,
    mending: &mut Mending,
) -> Result<Option<Listpack>, Reason> {
    if !may_repeat(items, step) {
        return Ok(None);
    }
    let mut seen = HashSet::with_hasher(Seed::default());
    if items.iter().step_by(step).all(|item| seen.insert(canonical(item))) {
        return Ok(None);
    }
    mending.allow(TWICE)?;
    seen.clear();
    let mut kept = Listpack::new();
    let mut digits = itoa::Buffer::new();
    let mut rest = items.iter();
    while let Some(first) = rest.next() {
        let is_new = seen.insert(canonical(first));
        for item in std::iter::once(first).chain(rest.by_ref().take(step - 1)) {
            if is_new {
                kept.push_back(item.bytes(&mut digits));
            }
        }
    }
    Ok(Some(kept))
}

/// Whether two of them have the same hash. Nearly always none have, and that is found out without an allocation.
fn may_repeat(items: Items, step: usize) -> bool {
    let seed = Seed::default();
    let hashes = items.iter().step_by(step).map(|item| seed.hash_one(canonical(item)));
    let mut hashes: SmallVec<[u64; FEW]> = hashes.collect();
    hashes.sort_unstable();
    hashes.windows(2).any(|pair| pair[0] == pair[1])
}

/// Equal for items of the same bytes, however each is held.
fn canonical(item: Item<'_>) -> (Option<i64>, &[u8]) {
    match (item.integer(), item) {
        (Some(number), _) => (Some(number), b""),
        (None, Item::Bytes(bytes)) => (None, bytes),
        (None, Item::Int(number)) => (Some(number), b""),
    }
}
