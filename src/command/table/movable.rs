//! What Redis takes for the keys of a request that the command refuses, where key specs do not tell.
//!
//! These functions look for options without knowing them well. Of a request that the command accepts its own parser says where
//! the keys are (`keys::ParseKeysFn`), but for SET, whose key has a fixed place.

use super::flags::{KeyFlag, KeyFlags};
use super::keys::access;
use super::{KeyPosition, KeyPositions};
use crate::command::Args;

pub const READ: KeyFlags = KeyFlags::of(&[KeyFlag::Ro, KeyFlag::Access]);
pub const OVERWRITE: KeyFlags = KeyFlags::of(&[KeyFlag::Ow, KeyFlag::Update]);
pub const MODIFY: KeyFlags = KeyFlags::of(&[KeyFlag::Rw, KeyFlag::Access, KeyFlag::Update]);
const TAKE_AWAY: KeyFlags = KeyFlags::of(&[KeyFlag::Rw, KeyFlag::Access, KeyFlag::Delete]);

fn key(index: usize, flags: KeyFlags) -> KeyPosition {
    KeyPosition { index, access: access(flags), flags }
}

fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// SET overwrites its key, unless there is a `GET`, be it the option or something wrong in the place of a value: as in Redis,
/// for requests that the command accepts too. The key is the same in any case.
pub fn set(args: Args, found: &mut KeyPositions) {
    let gets = args.iter().skip(3).any(|arg| is(arg, "get"));
    found.push(key(1, if gets { MODIFY } else { OVERWRITE }));
}

/// BITFIELD is a read as long as every operation is a GET.
pub fn bitfield(args: Args, found: &mut KeyPositions) {
    let mut rest = args.get(2..).unwrap_or_default();
    let only_reads = loop {
        rest = match rest {
            [] => break true,
            [get, _, _, rest @ ..] if is(get, "get") => rest,
            [overflow, _, rest @ ..] if is(overflow, "overflow") => rest,
            _ => break false,
        };
    };
    found.push(key(1, if only_reads { READ } else { MODIFY }));
}

/// SORT reads its first key and overwrites what follows the last `STORE`.
pub fn sort(args: Args, found: &mut KeyPositions) {
    found.push(key(1, READ));
    let mut store = None;
    let mut i = 2;
    while i < args.len() {
        i += match args[i] {
            arg if is(arg, "limit") => 3,
            arg if is(arg, "get") || is(arg, "by") => 2,
            arg => {
                // Several STOREs: the last wins. What follows STORE is looked at again, as an option.
                if is(arg, "store") && i + 1 < args.len() {
                    store = Some(i + 1);
                }
                1
            }
        };
    }
    found.extend(store.map(|index| key(index, OVERWRITE)));
}

pub fn sort_ro(_args: Args, found: &mut KeyPositions) {
    found.push(key(1, READ));
}

/// MIGRATE has one key at 3, or, when that is the empty string, those after KEYS.
pub fn migrate(args: Args, found: &mut KeyPositions) {
    let mut i = 6;
    while i < args.len() {
        i += match args[i] {
            arg if is(arg, "keys") => {
                // A key in both places is a syntax error, which the command reports.
                if args[3].is_empty() {
                    found.extend((i + 1..args.len()).map(|index| key(index, TAKE_AWAY)));
                }
                return;
            }
            arg if is(arg, "auth") => 2,
            arg if is(arg, "auth2") => 3,
            _ => 1,
        };
    }
    if args.len() > 3 {
        found.push(key(3, TAKE_AWAY));
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::FindKeysFn;
    use super::*;

    fn find(function: FindKeysFn, request: &str) -> Vec<(usize, KeyFlags)> {
        let args: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        let mut found = KeyPositions::new();
        function(&args, &mut found);
        found.iter().map(|key| (key.index, key.flags)).collect()
    }

    #[test]
    fn set_reads_its_key_only_with_the_option_get() {
        assert_eq!(find(set, "set get get"), [(1, OVERWRITE)]);
        assert_eq!(find(set, "set k v NX GeT"), [(1, MODIFY)]);
    }

    #[test]
    fn bitfield_writes_unless_all_operations_are_gets() {
        assert_eq!(find(bitfield, "bitfield k get u8 0 GET u8 8"), [(1, READ)]);
        assert_eq!(find(bitfield, "bitfield k get u8 0 incrby u8 0 1"), [(1, MODIFY)]);
        assert_eq!(find(bitfield, "bitfield k get u8"), [(1, MODIFY)]);
    }

    #[test]
    fn sort_overwrites_the_last_store_key() {
        assert_eq!(find(sort, "sort k"), [(1, READ)]);
        assert_eq!(find(sort, "sort k by store get store limit 0 store"), [(1, READ)]);
        assert_eq!(find(sort, "sort k store a desc STORE b"), [(1, READ), (7 - 1, OVERWRITE)]);
        assert_eq!(find(sort, "sort k store"), [(1, READ)]);
    }

    #[test]
    fn migrate_takes_the_key_at_3_or_those_after_keys() {
        assert_eq!(find(migrate, "migrate h 1 k 0 9 COPY"), [(3, TAKE_AWAY)]);
        assert_eq!(find(migrate, "migrate h 1  0 9 KEYS a b"), [(7, TAKE_AWAY), (8, TAKE_AWAY)]);
        assert_eq!(find(migrate, "migrate h 1  0 9 AUTH keys KEYS a"), [(9, TAKE_AWAY)]);
        assert_eq!(find(migrate, "migrate h 1 k 0 9 KEYS a"), []);
    }
}
