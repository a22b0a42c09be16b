//! Sorted sets of both forms against a model: a map from members to scores, sorted when asked.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::store::random::Rng;

/// Settings under which all sets but the smallest are large.
fn settings(packed_max: usize) -> Settings {
    Settings { zset_max_listpack_entries: packed_max, ..Settings::default() }
}

#[derive(Default)]
struct Model(BTreeMap<Vec<u8>, Score>);

impl Model {
    fn sorted(&self) -> Vec<(Vec<u8>, Score)> {
        let mut elements: Vec<_> = self.0.iter().map(|(member, score)| (member.clone(), *score)).collect();
        elements.sort_by(|a, b| range::order((a.1, &a.0), (b.1, &b.0)));
        elements
    }
}

fn contents(set: &SortedSet, ranks: Range<usize>, reverse: bool) -> Vec<(Vec<u8>, Score)> {
    set.view().elements(ranks, reverse).map(|(member, score)| (member.to_vec(), score)).collect()
}

fn check(set: &SortedSet) {
    if let SortedSet::Large(large) = set {
        large.check();
    }
}

/// Everything that can be asked, compared with the model.
fn compare(set: &SortedSet, model: &Model, rng: &mut Rng) {
    check(set);
    let sorted = model.sorted();
    let (view, len) = (set.view(), sorted.len());
    assert_eq!(view.len(), len);
    assert_eq!(contents(set, 0..len, false), sorted);
    let backwards: Vec<_> = sorted.iter().rev().cloned().collect();
    assert_eq!(contents(set, 0..len, true), backwards);
    for _ in 0..8.min(len) {
        let rank = rng.below(len as u64) as usize;
        let (member, score) = &sorted[rank];
        assert_eq!(view.rank(member), Some((rank, *score)));
        assert_eq!(view.score(member), Some(*score));
        let end = rank + rng.below((len - rank + 1) as u64) as usize;
        assert_eq!(contents(set, rank..end, false), sorted[rank..end]);
        for (excludes_min, excludes_max) in [(false, false), (true, false), (false, true), (true, true)] {
            let max = sorted[rng.below(len as u64) as usize].1;
            let range = ScoreRange { min: *score, max, excludes_min, excludes_max };
            let start = sorted.iter().take_while(|(_, score)| range.is_before(*score)).count();
            let inside = sorted[start..].iter().take_while(|(_, score)| !range.is_behind(*score)).count();
            assert_eq!(view.ranks_by_score(&range), start..start + inside, "{range:?}");
        }
        let random = view.random(rng);
        assert_eq!(model.0.get(&random.0.to_vec()), Some(&random.1));
    }
    assert_eq!(view.score(b"absent"), None);
    assert_eq!(view.rank(b"absent"), None);
}

#[derive(Clone, Debug)]
enum Op {
    Add { member: u16, score: i8 },
    AddMany { from: u16, count: u16, descending: bool },
    AddRandom { count: u16, seed: u64 },
    Remove { member: u16 },
    RemoveRanks { start: u16, count: u16 },
    RemoveMany { count: u16, seed: u64 },
    Duplicate,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..300u16, any::<i8>()).prop_map(|(member, score)| Op::Add { member, score }),
        1 => (any::<u16>(), 0..3000u16, any::<bool>())
            .prop_map(|(from, count, descending)| Op::AddMany { from, count, descending }),
        1 => (0..3000u16, any::<u64>()).prop_map(|(count, seed)| Op::AddRandom { count, seed }),
        4 => (0..300u16).prop_map(|member| Op::Remove { member }),
        1 => (any::<u16>(), 0..2000u16).prop_map(|(start, count)| Op::RemoveRanks { start, count }),
        1 => (0..3000u16, any::<u64>()).prop_map(|(count, seed)| Op::RemoveMany { count, seed }),
        1 => Just(Op::Duplicate),
    ]
}

/// Some members are integers, some are long.
fn member(number: u16) -> Vec<u8> {
    match number % 7 {
        0 => number.to_string().into_bytes(),
        1 => format!("{number:0300}x").into_bytes(),
        _ => format!("member:{number}").into_bytes(),
    }
}

fn run(set: &mut SortedSet, model: &mut Model, op: &Op, settings: &Settings) {
    let add = |set: &mut SortedSet, model: &mut Model, member: Vec<u8>, score: Score| {
        let added = set.add(&member, score, &AddRule::default(), settings);
        let before = model.0.insert(member, score);
        let expected = match before {
            None => Added::New(score),
            Some(before) if before == score => Added::Same(score),
            Some(_) => Added::Updated(score),
        };
        assert_eq!(added, expected);
    };
    match *op {
        Op::Add { member: number, score } => add(set, model, member(number), f64::from(score)),
        Op::AddMany { from, count, descending } => {
            for i in 0..count {
                let score = f64::from(i) * if descending { -0.5 } else { 0.5 };
                add(set, model, member(from.wrapping_add(i)), score);
            }
        }
        Op::AddRandom { count, seed } => {
            let mut state = seed;
            for _ in 0..count {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let number = (state >> 32) as u32;
                add(set, model, member(number as u16), f64::from((number >> 16) as u16 % 1000));
            }
        }
        Op::Remove { member: number } => {
            assert_eq!(set.remove(&member(number)), model.0.remove(&member(number)).is_some());
        }
        Op::RemoveRanks { start, count } => {
            let len = model.0.len();
            let start = usize::from(start) % (len + 1);
            let end = len.min(start + usize::from(count));
            for (member, _) in &model.sorted()[start..end] {
                model.0.remove(member);
            }
            set.remove_ranks(start..end);
        }
        Op::RemoveMany { count, seed } => {
            for i in 0..count {
                let member = member((seed as u16).wrapping_add(i.wrapping_mul(7)));
                assert_eq!(set.remove(&member), model.0.remove(&member).is_some());
            }
        }
        Op::Duplicate => *set = set.duplicate(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_sorted_set_is_what_its_model_is(
        ops in prop::collection::vec(op(), 1..25),
        packed_max in prop_oneof![Just(0usize), Just(16), Just(100_000)],
    ) {
        let settings = Settings { zset_max_listpack_value: 1000, ..settings(packed_max) };
        let mut rng = Rng::from_entropy();
        let (mut set, mut model) = (SortedSet::empty(), Model::default());
        for op in &ops {
            // A large listpack takes too long.
            let is_bulk = matches!(op, Op::AddMany { .. } | Op::AddRandom { .. } | Op::RemoveMany { .. });
            if is_bulk && packed_max > 1000 {
                continue;
            }
            run(&mut set, &mut model, op, &settings);
            compare(&set, &model, &mut rng);
        }
        while set.free_some(100) > 0 {}
    }

    #[test]
    fn members_of_equal_score_are_in_the_order_of_their_bytes(
        members in prop::collection::btree_set("[ab]{0,6}", 1..200),
        min in "[ab]{0,6}",
        max in "[ab]{0,6}",
        packed_max in prop_oneof![Just(0usize), Just(1000)],
    ) {
        let settings = settings(packed_max);
        let mut set = SortedSet::empty();
        for member in &members {
            set.insert(member.as_bytes(), 3.0, &settings);
        }
        let sorted: Vec<&[u8]> = members.iter().map(|member| member.as_bytes()).collect();
        let (min, max) = (min.as_bytes(), max.as_bytes());
        for min in [LexBound::Lowest, LexBound::Highest, LexBound::Included(min), LexBound::Excluded(min)] {
            for max in [LexBound::Lowest, LexBound::Highest, LexBound::Included(max), LexBound::Excluded(max)] {
                let range = LexRange { min, max };
                let ranks = set.view().ranks_by_lex(&range);
                let found: Vec<_> = contents(&set, ranks, false).into_iter().map(|(member, _)| member).collect();
                let expected: Vec<_> =
                    sorted.iter().filter(|m| !range.is_before(m) && !range.is_behind(m)).copied().collect();
                prop_assert_eq!(found, expected, "{:?}", range);
            }
        }
    }
}

#[test]
fn the_form_changes_where_redis_changes_it() {
    let settings = settings(3);
    let mut set = SortedSet::empty();
    for member in ["a", "b", "c"] {
        set.insert(member.as_bytes(), 1.0, &settings);
    }
    assert_eq!(set.kind(), Kind::SortedSetListpack);
    set.insert(b"c", 2.0, &settings);
    assert_eq!(set.kind(), Kind::SortedSetListpack);
    set.insert(b"d", 2.0, &settings);
    assert_eq!(set.kind(), Kind::SortedSetSkiplist);
    set.remove(b"d");
    assert_eq!(set.kind(), Kind::SortedSetSkiplist);
    let of_lengths = |lengths: &[usize]| {
        let elements: Vec<_> =
            (0u8..).zip(lengths).map(|(i, &len)| (vec![b'a' + i; len], f64::from(i))).collect();
        SortedSet::of_sorted(&elements, &settings).kind()
    };
    assert_eq!(of_lengths(&[1, 64, 1]), Kind::SortedSetListpack);
    assert_eq!(of_lengths(&[1, 65, 1]), Kind::SortedSetSkiplist);
    assert_eq!(of_lengths(&[1, 1, 1, 1]), Kind::SortedSetSkiplist);
    let mut set = SortedSet::empty();
    set.insert(&[b'x'; 64], 2.0, &settings);
    assert_eq!(set.kind(), Kind::SortedSetListpack);
    set.insert(&[b'x'; 65], 2.0, &settings);
    assert_eq!(set.kind(), Kind::SortedSetSkiplist);
    assert_eq!(SortedSet::expecting(4, 1, &settings).kind(), Kind::SortedSetSkiplist);
    assert_eq!(SortedSet::expecting(3, 65, &settings).kind(), Kind::SortedSetSkiplist);
    assert_eq!(SortedSet::expecting(3, 64, &settings).kind(), Kind::SortedSetListpack);
}

#[test]
fn rules_of_addition_hold_in_both_forms() {
    for packed_max in [0, 100] {
        let settings = settings(packed_max);
        let mut set = SortedSet::empty();
        let mut add = |score, rule: AddRule| set.add(b"m", score, &rule, &settings);
        let rule = AddRule::default();
        assert_eq!(add(1.0, AddRule { only_present: true, ..rule }), Added::Refused);
        assert_eq!(add(1.0, AddRule { only_greater: true, ..rule }), Added::New(1.0));
        assert_eq!(add(0.5, AddRule { only_greater: true, ..rule }), Added::Refused);
        assert_eq!(add(1.5, AddRule { only_greater: true, ..rule }), Added::Updated(1.5));
        assert_eq!(add(2.0, AddRule { only_less: true, ..rule }), Added::Refused);
        assert_eq!(add(9.0, AddRule { only_new: true, ..rule }), Added::Refused);
        assert_eq!(add(1.5, rule), Added::Same(1.5));
        assert_eq!(add(1.0, AddRule { increment: true, ..rule }), Added::Updated(2.5));
        assert_eq!(add(f64::INFINITY, rule), Added::Updated(f64::INFINITY));
        assert_eq!(add(f64::NEG_INFINITY, AddRule { increment: true, ..rule }), Added::NotANumber);
        assert_eq!(set.view().score(b"m"), Some(f64::INFINITY));
    }
}

#[test]
fn memory_is_all_accounted_for_and_given_back() {
    let settings = settings(0);
    let mut set = SortedSet::empty();
    for i in 0..20_000u32 {
        set.insert(
            format!("member:{:07}", i.wrapping_mul(2_654_435_761) % 10_000_000).as_bytes(),
            f64::from(i % 977),
            &settings,
        );
    }
    let len = set.view().len();
    let per_element = set.memory() as f64 / len as f64;
    assert!((40.0..54.0).contains(&per_element), "{per_element} bytes an element");
    let SortedSet::Large(large) = &mut set else { panic!("{:?}", set.kind()) };
    large.check();
    let before = large.memory();
    let mut freed = 0;
    while large.pieces() > 0 {
        let step = large.free_some(100);
        assert!((1..=300).contains(&step), "{step} pieces instead of about 100");
        freed += step;
    }
    assert_eq!(freed, 2 * len);
    let empty = Large::new().memory();
    assert_eq!(large.memory(), empty, "of {before}");
}

#[test]
fn a_scan_meets_every_element_while_others_come_and_go() {
    let settings = settings(0);
    let mut set = SortedSet::empty();
    for i in 0..1000 {
        set.insert(format!("stays:{i}").as_bytes(), f64::from(i), &settings);
    }
    let (mut seen, mut cursor, mut step) = (std::collections::BTreeSet::new(), 0, 0);
    loop {
        cursor = set.view().scan(cursor, |member, _| {
            seen.insert(member.to_vec());
        });
        for i in 0..20 {
            set.insert(format!("new:{step}:{i}").as_bytes(), 0.0, &settings);
            set.remove(format!("new:{}:{i}", step - 3).as_bytes());
        }
        step += 1;
        if cursor == 0 {
            break;
        }
    }
    assert!((0..1000).all(|i| seen.contains(format!("stays:{i}").as_bytes())));
}
