//! Tables against models, at sizes at which they split and merge all the time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::super::random::Rng;
use super::*;

fn rng() -> Rng {
    Rng::from_entropy()
}

fn name(number: u64) -> Vec<u8> {
    format!("member:{number:07}").into_bytes()
}

fn filled(len: u64) -> Members<false> {
    let mut members = Members::default();
    for number in 0..len {
        assert!(members.insert(&name(number)));
    }
    members
}

fn contents<const VALUES: bool>(members: &Members<VALUES>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let all: Vec<_> = members.iter().map(|(member, value)| (member.to_vec(), value.to_vec())).collect();
    assert_eq!(all.len(), members.len());
    all.into_iter().collect()
}

/// What the running totals must say.
fn counted<const VALUES: bool>(members: &Members<VALUES>) -> (usize, usize) {
    let (mut memory, mut long) = (0, 0);
    for bucket in members.segments.iter().flatten() {
        memory += bucket.memory();
        for place in bucket.places() {
            memory += bucket.memory_of(place);
            long += usize::from(bucket.memory_of(place) > 0);
        }
    }
    (memory, long)
}

fn check<const VALUES: bool>(members: &Members<VALUES>) {
    assert_eq!(counted(members), (members.element_memory, members.long_elements));
    assert_eq!(members.segments.iter().map(Vec::len).sum::<usize>(), members.buckets);
    assert!(members.segments.iter().all(|segment| segment.capacity() <= SEGMENT_BUCKETS));
}

/// A few members that come again and again, of any length.
fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0u64..400).prop_map(name),
        1 => Just(Vec::new()),
        1 => (0u8..8, 100usize..300).prop_map(|(byte, len)| vec![byte; len]),
        1 => (0u8..2, 60_000usize..70_000).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

#[derive(Clone, Debug)]
enum Change {
    Set(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Pop,
    /// Members that no other change names, to make it grow.
    Fill(u64),
    Empty,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => (element(), element()).prop_map(|(member, value)| Change::Set(member, value)),
        4 => element().prop_map(Change::Remove),
        2 => Just(Change::Pop),
        1 => (1u64..300).prop_map(Change::Fill),
        1 => Just(Change::Empty),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_with_values_is_a_map(changes in prop::collection::vec(change(), 0..120)) {
        let mut members = Members::<true>::default();
        let mut model = HashMap::new();
        let mut rng = rng();
        for change in changes {
            match change {
                Change::Set(member, value) => {
                    prop_assert_eq!(members.set(&member, &value), !model.contains_key(&member));
                    prop_assert_eq!(members.get(&member), Some(&value[..]));
                    model.insert(member, value);
                }
                Change::Remove(member) => {
                    prop_assert_eq!(members.remove(&member), model.remove(&member).is_some());
                    prop_assert_eq!(members.get(&member), None);
                }
                Change::Pop => {
                    let popped = members.pop(&mut rng, |member, value| (member.to_vec(), value.to_vec()));
                    prop_assert_eq!(popped.is_some(), !model.is_empty());
                    if let Some((member, value)) = popped {
                        prop_assert_eq!(model.remove(&member), Some(value));
                    }
                }
                Change::Fill(count) => for number in 1000..1000 + count {
                    members.set(&name(number), b"");
                    model.insert(name(number), Vec::new());
                },
                Change::Empty => {
                    for member in model.drain().map(|(member, _)| member) {
                        prop_assert!(members.remove(&member));
                    }
                    prop_assert_eq!(members.memory(), 0);
                }
            }
            prop_assert_eq!(members.len(), model.len());
        }
        check(&members);
        let model: BTreeMap<_, _> = model.into_iter().collect();
        prop_assert_eq!(contents(&members), model.clone());
        let copy = members.clone();
        drop(members);
        check(&copy);
        prop_assert_eq!(contents(&copy), model);
    }

    #[test]
    fn a_scan_finds_what_stays_however_the_table_changes(
        start in 1u64..600,
        steps in prop::collection::vec((0u64..400, 0u64..400), 1..60),
    ) {
        let mut members = filled(start);
        // Removed in between; all others stay.
        let passing: BTreeSet<Vec<u8>> = (0..start / 2).map(name).collect();
        let mut found = BTreeSet::new();
        let (mut cursor, mut added) = (0, 10_000);
        for (round, (adds, removes)) in steps.iter().cycle().take(3_000).enumerate() {
            cursor = members.scan(cursor, |member, _| {
                found.insert(member.to_vec());
            });
            if cursor == 0 {
                break;
            }
            prop_assert!(round < 2_999, "the scan does not end");
            if round < steps.len() {
                for _ in 0..*adds {
                    members.insert(&name(added));
                    added += 1;
                }
                for number in (0..*removes).map(|index| added - 1 - index) {
                    members.remove(&name(number));
                }
                for member in passing.iter().skip(round * 7).take(7) {
                    members.remove(member);
                }
            }
        }
        for number in start / 2..start {
            prop_assert!(found.contains(&name(number)), "{number} was there all the time");
        }
    }
}

#[test]
fn every_size_is_reached_and_left_again() {
    let mut members = Members::<false>::default();
    for number in 0..20_000 {
        assert!(members.insert(&name(number)));
        assert!(!members.insert(&name(number)));
        assert!(members.contains(&name(number / 2)));
    }
    check(&members);
    assert!(members.buckets * LOAD_MAX >= members.len() && members.buckets * (LOAD_MAX - 1) < members.len());
    for number in 0..20_000 {
        assert!(members.remove(&name(number)));
        assert!(!members.contains(&name(number)));
        assert!(members.len() + LOAD_MIN + 1 >= LOAD_MIN * members.buckets.saturating_sub(1));
    }
    check(&members);
    assert_eq!((members.buckets, members.memory(), members.pieces()), (0, 0, 0));
}

#[test]
fn values_of_every_length_replace_each_other() {
    let mut members = Members::<true>::default();
    let lengths = [0, 1, 100, 113, 114, 115, 126, 127, 128, 129, 255, 256, 1000, 100_000, 3];
    for round in 0..lengths.len() {
        for number in 0..40 {
            let len = lengths[(round + number as usize) % lengths.len()];
            members.set(&name(number), &vec![number as u8; len]);
        }
        for number in 0..40 {
            let len = lengths[(round + number as usize) % lengths.len()];
            assert_eq!(members.get(&name(number)).unwrap(), vec![number as u8; len]);
        }
        check(&members);
    }
}

#[test]
fn a_member_of_14_bytes_costs_no_more_than_20() {
    for len in [1_000u64, 10_000, 100_000] {
        let per_member = filled(len).memory() as f64 / len as f64;
        assert!(per_member < 20.0, "{per_member} bytes each of {len}");
    }
}

#[test]
fn random_members_are_equally_likely() {
    for len in [1, 20, 500] {
        let members = filled(len);
        let mut rng = rng();
        let mut counts = HashMap::new();
        let draws = len * 400;
        for _ in 0..draws {
            *counts.entry(members.random(&mut rng).unwrap().0.to_vec()).or_insert(0u64) += 1;
        }
        // Each is expected 400 times, with a standard deviation of 20.
        assert_eq!(counts.len() as u64, len);
        assert!(counts.values().all(|count| (260..540).contains(count) || len == 1), "{counts:?}");
    }
}

#[test]
fn samples_have_no_member_twice_and_leave_none_out() {
    let members = filled(300);
    let mut rng = rng();
    for count in [0, 1, 50, 99, 101, 299, 300, 1000] {
        let mut often = HashMap::new();
        for _ in 0..200 {
            let mut sample = BTreeSet::new();
            members.sample(count, &mut rng, |member, _| assert!(sample.insert(member.to_vec())));
            assert_eq!(sample.len(), count.min(300));
            sample.into_iter().for_each(|member| *often.entry(member).or_insert(0) += 1);
        }
        if count >= 50 {
            assert_eq!(often.len(), 300, "{count} at a time");
        }
    }
}

#[test]
fn freeing_goes_in_steps_to_the_end() {
    let mut members = Members::<true>::default();
    for number in 0..5_000 {
        members.set(&name(number), &vec![0; if number % 10 == 0 { 500 } else { 5 }]);
    }
    let pieces = members.pieces();
    assert_eq!(members.long_elements, 500);
    let (mut freed, mut last_memory) = (0, members.memory());
    loop {
        match members.free_some(64) {
            0 => break,
            step => {
                assert!(step < 64 + 50, "{step} pieces in one step");
                freed += step;
                check(&members);
                assert!(members.memory() < last_memory);
                last_memory = members.memory();
            }
        }
    }
    assert_eq!((freed, members.memory(), members.len()), (pieces, 0, 0));
}

#[test]
fn a_scan_of_an_unchanged_table_shows_each_member_once() {
    for len in [0u64, 1, 12, 13, 100, 777, 5_000] {
        let members = filled(len);
        let (mut cursor, mut seen) = (0, Vec::new());
        loop {
            cursor = members.scan(cursor, |member, _| seen.push(member.to_vec()));
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen.len() as u64, len);
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>().len() as u64, len);
        // Any number may come from a client.
        for cursor in [u64::MAX, 1 << 63, 12_345] {
            members.scan(cursor, |_, _| {});
        }
    }
}
