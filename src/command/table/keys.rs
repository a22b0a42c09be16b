//! Where the keys are among a command's arguments.
//!
//! A key spec says it in two steps, as data: where the search begins (at a fixed index, or after a keyword), and how the
//! keys lie from there (a range, or a count followed by that many). Clients read it in COMMAND INFO.
//!
//! Data cannot follow options: a keyword may be the value of another option, or be given twice. So a command whose keys depend
//! on its options finds them by the parser that it runs with ([`ParseKeysFn`]), and what is locked, routed and allowed is
//! what it uses. A request which that parser refuses uses no key; then the data says, and for a few commands a function in
//! `movable`, which arguments Redis takes for its keys: COMMAND GETKEYS and the checks of users see the same as there.
//!
//! Arguments come from clients: whatever they hold, nothing here panics or looks past them.

use super::flags::{KeyFlag, KeyFlags};
use super::{KeyAccess, KeyPosition, KeyPositions};
use crate::command::parse::key_count;
use crate::command::{Args, CommandResult};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    pub begin: BeginSearch,
    pub find: FindKeys,
    pub flags: KeyFlags,
    pub notes: Option<&'static str>,
    /// The value changes, although the flags, which are Redis's, say that it is only read.
    changes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginSearch {
    Index(i32),
    /// After the first `keyword` found from argument `start_from` on; when that is negative, it counts from the end
    /// and the search goes backwards.
    Keyword {
        keyword: &'static str,
        start_from: i32,
    },
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindKeys {
    /// Every `step`th argument up to `last`, which is relative to the first key, or to the end of the arguments when
    /// negative. With `last` -1 and `limit` n > 1 only the first 1/n of the rest.
    Range {
        last: i32,
        step: i32,
        limit: i32,
    },
    /// The argument `count_at` says how many keys there are; the first is at `first`. Both relative to the beginning.
    KeyNum {
        count_at: i32,
        first: i32,
        step: i32,
    },
    Unknown,
}

impl KeySpec {
    /// One key, at `index`; `range` and `key_num` make it more.
    pub const fn at(index: i32, flags: &[KeyFlag]) -> Self {
        Self::new(BeginSearch::Index(index), flags)
    }

    /// One key, after `keyword`; `range` and `key_num` make it more.
    pub const fn after(keyword: &'static str, start_from: i32, flags: &[KeyFlag]) -> Self {
        Self::new(BeginSearch::Keyword { keyword, start_from }, flags)
    }

    /// Keys whose places cannot be told by data.
    pub const fn unknown(flags: &[KeyFlag]) -> Self {
        KeySpec { find: FindKeys::Unknown, ..Self::new(BeginSearch::Unknown, flags) }
    }

    const fn new(begin: BeginSearch, flags: &[KeyFlag]) -> Self {
        KeySpec {
            begin,
            find: FindKeys::Range { last: 0, step: 1, limit: 0 },
            flags: KeyFlags::of(flags),
            notes: None,
            changes: false,
        }
    }

    #[must_use]
    pub const fn range(self, last: i32, step: i32, limit: i32) -> Self {
        assert!(step > 0 && limit >= 0 && (limit == 0 || last == -1));
        KeySpec { find: FindKeys::Range { last, step, limit }, ..self }
    }

    #[must_use]
    pub const fn key_num(self, count_at: i32, first: i32, step: i32) -> Self {
        assert!(count_at >= 0 && first > count_at && step > 0);
        KeySpec { find: FindKeys::KeyNum { count_at, first, step }, ..self }
    }

    #[must_use]
    pub const fn notes(self, notes: &'static str) -> Self {
        KeySpec { notes: Some(notes), ..self }
    }

    /// Says that the value changes, where Redis's flags do not.
    #[must_use]
    pub const fn changes(self) -> Self {
        KeySpec { changes: true, ..self }
    }

    /// How the keys are used at most.
    pub const fn access(&self) -> KeyAccess {
        if self.changes {
            KeyAccess::Write
        } else {
            access(self.flags)
        }
    }

    /// Adds the keys that this spec finds. `Ok(())` with nothing added when its keyword is absent.
    fn find(&self, args: Args, found: &mut KeyPositions) -> Result<(), Malformed> {
        // No request has 2^63 arguments: the conversions to i64 are exact, and i64 holds every sum below.
        let len = args.len() as i64;
        let begin = match self.begin {
            BeginSearch::Index(index) => i64::from(index),
            BeginSearch::Keyword { keyword, start_from } => match find_keyword(args, keyword, start_from) {
                Some(at) => at as i64 + 1,
                None => return Ok(()),
            },
            BeginSearch::Unknown => return Err(Malformed),
        };
        let (first, last, step) = match self.find {
            FindKeys::Range { last, step, .. } if last >= 0 => (begin, begin + i64::from(last), step),
            FindKeys::Range { last, step, limit: 0 } => (begin, len + i64::from(last), step),
            FindKeys::Range { last, step, limit } => {
                let share = (len - begin) / i64::from(limit);
                (begin, begin + share + i64::from(last), step)
            }
            FindKeys::KeyNum { count_at, first, step } => {
                let count = usize::try_from(begin + i64::from(count_at))
                    .ok()
                    .and_then(|at| args.get(at))
                    .and_then(|text| key_count(text).ok())
                    .ok_or(Malformed)?;
                let first = begin + i64::from(first);
                // Redis keeps it in a C `int`. What does not fit is refused by the command.
                (first, first + i64::from(count as i32) - 1, step)
            }
            FindKeys::Unknown => return Err(Malformed),
        };
        if first < 0 || first >= len || last < first || last >= len {
            return Err(Malformed);
        }
        found.extend((first..=last).step_by(step as usize).map(|index| KeyPosition {
            index: index as usize,
            access: self.access(),
            flags: self.flags,
        }));
        if self.flags.contains(KeyFlag::Incomplete) {
            return Err(Malformed);
        }
        Ok(())
    }
}

/// The key specs do not fit the arguments, or do not tell everything.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// Finds the keys of a request by the parser that the command itself runs with. `Err`: the command refuses the request, whatever
/// the keyspace holds.
pub type ParseKeysFn = fn(Args, &mut FoundKeys) -> CommandResult;

/// The keys that a command's parser has found.
pub struct FoundKeys<'a> {
    specs: &'static [KeySpec],
    positions: &'a mut KeyPositions,
}

impl<'a> FoundKeys<'a> {
    pub fn new(specs: &'static [KeySpec], positions: &'a mut KeyPositions) -> FoundKeys<'a> {
        FoundKeys { specs, positions }
    }

    /// The argument at `index` is a key, used as key spec number `spec` says.
    pub fn key(&mut self, index: usize, spec: usize) {
        let spec = &self.specs[spec];
        self.positions.push(KeyPosition { index, access: spec.access(), flags: spec.flags });
    }

    /// As `key`, for a use that depends on the options.
    pub fn key_used(&mut self, index: usize, flags: KeyFlags) {
        self.positions.push(KeyPosition { index, access: access(flags), flags });
    }
}

/// Finds what Redis takes for the keys of a request that the command refuses, where data alone does not tell.
pub type FindKeysFn = fn(Args, &mut KeyPositions);

/// Replaces `found` with the keys of all `specs`. On error it is empty.
pub fn find_by_specs(specs: &[KeySpec], args: Args, found: &mut KeyPositions) -> Result<(), Malformed> {
    found.clear();
    for spec in specs {
        if spec.flags.contains(KeyFlag::NotKey) {
            continue;
        }
        if let Err(malformed) = spec.find(args, found) {
            found.clear();
            return Err(malformed);
        }
    }
    Ok(())
}

pub const fn access(flags: KeyFlags) -> KeyAccess {
    if flags.contains(KeyFlag::Ro) {
        KeyAccess::Read
    } else {
        KeyAccess::Write
    }
}

/// The index of `keyword`. The very last argument does not count (nothing could follow it), nor, backwards, the first two.
fn find_keyword(args: Args, keyword: &str, start_from: i32) -> Option<usize> {
    let is_keyword = |at: &usize| args[*at].eq_ignore_ascii_case(keyword.as_bytes());
    if start_from > 0 {
        (start_from as usize..args.len().saturating_sub(1)).find(is_keyword)
    } else {
        let start = args.len().checked_sub(start_from.unsigned_abs() as usize)?;
        (2..args.len().min(start + 1)).rev().find(is_keyword)
    }
}

/// Adds what Redis takes for the keys of a request whose number of keys is malformed: it reads the number once more, as C's
/// `atoi` does, and says nothing about the use of the keys. The command refuses the request.
pub fn find_by_loose_count(specs: &[KeySpec], args: Args, found: &mut KeyPositions) {
    let count = specs.iter().find_map(|spec| match (spec.begin, spec.find) {
        (BeginSearch::Index(begin), FindKeys::KeyNum { count_at, first, step: 1 }) => {
            Some(((begin + count_at) as usize, (begin + first) as usize))
        }
        _ => None,
    });
    let Some((count_at, first)) = count else { return };
    let count = args.get(count_at).map_or(0, |text| loose_integer(text));
    let Ok(count @ 1..) = usize::try_from(count) else { return };
    if count > args.len().saturating_sub(first) {
        return;
    }
    let destination = specs.iter().find_map(|spec| match (spec.begin, spec.find) {
        (BeginSearch::Index(begin), FindKeys::Range { last: 0, .. }) => Some(begin as usize),
        _ => None,
    });
    let flags = KeyFlags::EMPTY;
    let key = |index: usize| KeyPosition { index, access: access(flags), flags };
    found.extend((first..first + count).chain(destination).map(key));
}

/// C's `atoi` with glibc: digits behind white space and a sign, cut to 64 bits and then to 32.
fn loose_integer(text: &[u8]) -> i32 {
    let text = text.trim_ascii_start();
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let value = digits.fold(0i64, |sum, digit| {
        let digit = i64::from(digit - b'0');
        sum.saturating_mul(10).saturating_add(if is_negative { -digit } else { digit })
    });
    value as i32
}

/// The triple that clients from before key specs read in COMMAND INFO: first key, last key (negative: from the end), step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LegacyRange {
    pub first: i32,
    pub last: i32,
    pub step: i32,
}

impl LegacyRange {
    pub const NONE: LegacyRange = LegacyRange { first: 0, last: 0, step: 0 };

    /// The triple, and whether it leaves keys out (the flag `movablekeys`): keys found by keyword or count, ranges with a
    /// step when there is more than one, ranges with a gap between them, incomplete specs.
    pub const fn of(specs: &[KeySpec]) -> (LegacyRange, bool) {
        if let [only] = specs {
            if let (BeginSearch::Index(first), FindKeys::Range { last, step, .. }) = (only.begin, only.find) {
                let last = if last >= 0 { first + last } else { last };
                let movable = only.flags.contains(KeyFlag::Incomplete);
                return (LegacyRange { first, last, step }, movable);
            }
        }
        let mut movable = false;
        let mut range = Self::NONE;
        let mut i = 0;
        while i < specs.len() {
            match (specs[i].begin, specs[i].find) {
                (BeginSearch::Index(first), FindKeys::Range { last, step: 1, .. })
                    if range.last == 0 || range.last == first - 1 =>
                {
                    movable |= specs[i].flags.contains(KeyFlag::Incomplete);
                    if range.first == 0 || first < range.first {
                        range.first = first;
                    }
                    let last = if last >= 0 { first + last } else { last };
                    // Compared as unsigned, so that "up to the end" is the largest.
                    if last as u32 > range.last as u32 {
                        range.last = last;
                    }
                    range.step = 1;
                }
                _ => movable = true,
            }
            i += 1;
        }
        (range, movable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RO: &[KeyFlag] = &[KeyFlag::Ro];

    fn find(spec: KeySpec, args: &[&str]) -> Result<Vec<usize>, Malformed> {
        let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        let mut found = KeyPositions::new();
        find_by_specs(&[spec], &args, &mut found)?;
        Ok(found.iter().map(|key| key.index).collect())
    }

    #[test]
    fn ranges_count_from_the_first_key_or_from_the_end() {
        assert_eq!(find(KeySpec::at(1, RO), &["get", "k"]), Ok(vec![1]));
        assert_eq!(find(KeySpec::at(1, RO).range(-1, 2, 0), &["mset", "a", "1", "b", "2"]), Ok(vec![1, 3]));
        assert_eq!(find(KeySpec::at(1, RO).range(-2, 1, 0), &["blpop", "a", "b", "0"]), Ok(vec![1, 2]));
        assert_eq!(find(KeySpec::at(1, RO).range(1, 1, 0), &["lcs", "a", "b", "LEN"]), Ok(vec![1, 2]));
        assert_eq!(find(KeySpec::at(1, RO), &["get"]), Err(Malformed));
        assert_eq!(find(KeySpec::at(1, RO).range(-2, 1, 0), &["blpop", "0"]), Err(Malformed));
    }

    #[test]
    fn a_limit_takes_the_first_share_of_what_follows_the_keyword() {
        let streams = KeySpec::after("STREAMS", 1, RO).range(-1, 1, 2);
        assert_eq!(find(streams, &["xread", "COUNT", "2", "streams", "a", "b", "0", "0"]), Ok(vec![4, 5]));
        assert_eq!(find(streams, &["xread", "COUNT", "2"]), Ok(vec![]));
        assert_eq!(find(streams, &["xread", "streams", "a"]), Err(Malformed));
    }

    #[test]
    fn a_count_says_how_many_keys_follow() {
        let eval = KeySpec::at(2, RO).key_num(0, 1, 1);
        assert_eq!(find(eval, &["eval", "s", "2", "a", "b", "c"]), Ok(vec![3, 4]));
        for bad in ["0", "4", "-1", "x", "", "01", "99999999999999999999", "4294967300"] {
            assert_eq!(find(eval, &["eval", "s", bad, "a", "b", "c"]), Err(Malformed), "{bad}");
        }
        assert_eq!(find(eval, &["eval", "s"]), Err(Malformed));
        // Redis cuts it to 32 bits. The command refuses it.
        assert_eq!(find(eval, &["eval", "s", "4294967297", "a"]), Ok(vec![3]));
    }

    #[test]
    fn a_malformed_count_is_read_again_as_c_reads_it() {
        let loose = |args: &[&str]| {
            let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
            let store = [KeySpec::at(1, RO), KeySpec::at(2, RO).key_num(0, 1, 1)];
            let mut found = KeyPositions::new();
            find_by_loose_count(&store, &args, &mut found);
            found.iter().map(|key| key.index).collect::<Vec<_>>()
        };
        assert_eq!(loose(&["zunionstore", "d", "01", "a", "b"]), [3, 1]);
        assert_eq!(loose(&["zunionstore", "d", " +2x", "a", "b"]), [3, 4, 1]);
        for none in ["3", "x", "-1", "", "99999999999999999999", "-99999999999999999999"] {
            assert_eq!(loose(&["zunionstore", "d", none, "a", "b"]), [0usize; 0], "{none}");
        }
        assert_eq!(loose(&["zunionstore", "d", "4294967297", "a", "b"]), [3, 1]);
    }

    #[test]
    fn keywords_are_sought_backwards_from_a_negative_start() {
        let keys = KeySpec::after("KEYS", -2, RO).range(-1, 1, 0);
        let migrate = ["migrate", "h", "1", "", "0", "10", "KEYS", "a", "b"];
        assert_eq!(find(keys, &migrate), Ok(vec![7, 8]));
        assert_eq!(find(keys, &migrate[..6]), Ok(vec![]));
        assert_eq!(find(keys, &["migrate", "keys", "a"]), Ok(vec![]));
        assert_eq!(find(keys, &["migrate"]), Ok(vec![]));
    }

    #[test]
    fn the_legacy_triple_joins_adjacent_ranges_and_reports_what_it_misses() {
        let range = |first, last, step| LegacyRange { first, last, step };
        assert_eq!(LegacyRange::of(&[]), (LegacyRange::NONE, false));
        assert_eq!(LegacyRange::of(&[KeySpec::at(1, RO)]), (range(1, 1, 1), false));
        assert_eq!(LegacyRange::of(&[KeySpec::at(1, RO).range(-1, 2, 0)]), (range(1, -1, 2), false));
        assert_eq!(LegacyRange::of(&[KeySpec::at(1, RO), KeySpec::at(2, RO)]), (range(1, 2, 1), false));
        assert_eq!(
            LegacyRange::of(&[KeySpec::at(1, RO), KeySpec::at(2, RO).key_num(0, 1, 1)]),
            (range(1, 1, 1), true)
        );
        assert_eq!(LegacyRange::of(&[KeySpec::after("STREAMS", 1, RO)]), (LegacyRange::NONE, true));
        assert_eq!(
            LegacyRange::of(&[KeySpec::at(2, RO), KeySpec::at(3, RO).range(-1, 1, 0)]),
            (range(2, -1, 1), false)
        );
    }

    fn any_spec() -> impl Strategy<Value = KeySpec> {
        let begin = prop_oneof![
            (0..6).prop_map(BeginSearch::Index),
            (-4..4).prop_map(|start_from| BeginSearch::Keyword { keyword: "KEYS", start_from }),
            Just(BeginSearch::Unknown),
        ];
        let find = prop_oneof![
            (-3..4, 1..3).prop_map(|(last, step)| FindKeys::Range { last, step, limit: 0 }),
            (1..4, 1..3).prop_map(|(limit, step)| FindKeys::Range { last: -1, step, limit }),
            (0..3, 1..3, 1..3).prop_map(|(count_at, gap, step)| FindKeys::KeyNum {
                count_at,
                first: count_at + gap,
                step
            }),
            Just(FindKeys::Unknown),
        ];
        (begin, find).prop_map(|(begin, find)| KeySpec {
            begin,
            find,
            flags: KeyFlags::of(RO),
            notes: None,
            changes: false,
        })
    }

    proptest! {
        #[test]
        fn any_spec_on_any_arguments_finds_only_arguments(
            specs in prop::collection::vec(any_spec(), 0..3),
            args in prop::collection::vec(prop_oneof!["keys", "[0-9]{1,3}", "-?[0-9]{15,22}", "\\PC{0,4}"], 0..9),
        ) {
            let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
            let mut found = KeyPositions::new();
            match find_by_specs(&specs, &args, &mut found) {
                Ok(()) => prop_assert!(found.iter().all(|key| key.index < args.len())),
                Err(Malformed) => prop_assert!(found.is_empty()),
            }
        }
    }
}
