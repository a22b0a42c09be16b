use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::super::random::Rng;
use super::{address, Address, Owner, Table};

/// Words that stand for themselves, hashed by a seeded multiplication; `clash` makes many hashes equal.
struct Numbers {
    clash: bool,
    bytes: usize,
}

impl Numbers {
    fn new() -> Numbers {
        Numbers { clash: false, bytes: 0 }
    }
}

impl Owner for Numbers {
    fn hash(&self, word: u64) -> u64 {
        let word = if self.clash { word % 3 } else { word };
        let folded = (word as u128 + 0x1234_5678).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        (folded >> 64) as u64 ^ folded as u64
    }
    fn allocated(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
    fn freed(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }
}

fn contains(table: &Table, owner: &Numbers, word: u64) -> bool {
    table.get(owner.hash(word), |w| w == word).is_some()
}

fn insert(table: &mut Table, owner: &mut Numbers, word: u64) {
    table.insert(owner.hash(word), word, owner);
}

fn remove(table: &mut Table, owner: &mut Numbers, word: u64) -> bool {
    table.remove(owner.hash(word), |w| w == word, owner).is_some()
}

fn scan_all(table: &Table) -> HashMap<u64, usize> {
    let mut seen = HashMap::new();
    let mut cursor = 0;
    loop {
        cursor = table.scan(cursor, |word| *seen.entry(word).or_default() += 1);
        if cursor == 0 {
            return seen;
        }
    }
}

fn filled(words: u64, owner: &mut Numbers) -> Table {
    let mut table = Table::default();
    for word in 1..=words {
        insert(&mut table, owner, word);
    }
    table
}

fn emptied(mut table: Table, owner: &mut Numbers) {
    while table.drain_some(1000, owner, |_, _| {}) > 0 {}
    assert_eq!((table.len(), owner.bytes), (0, 0));
}

#[test]
fn a_table_is_one_cache_line() {
    assert_eq!((size_of::<Table>(), align_of::<Table>()), (64, 64));
}

#[test]
fn segments_follow_each_other_without_gaps() {
    let mut expected = Address { segment: 0, offset: 0 };
    for bucket in 0..10_000 {
        let found = address(bucket);
        if found.offset == 0 && bucket > 0 {
            expected = Address { segment: expected.segment + 1, offset: 0 };
        }
        assert_eq!((found.segment, found.offset), (expected.segment, expected.offset), "{bucket}");
        expected.offset += 1;
    }
}

#[test]
fn everything_inserted_is_found_at_every_size_and_nothing_else() {
    let mut owner = Numbers::new();
    let mut table = Table::default();
    for word in 1..=20_000u64 {
        insert(&mut table, &mut owner, word);
        assert!(contains(&table, &owner, word) && !contains(&table, &owner, word + 1));
        if word.is_power_of_two() || word % 997 == 0 {
            assert!((1..=word).all(|w| contains(&table, &owner, w)));
            assert_eq!(table.iter().collect::<HashSet<_>>().len(), word as usize);
        }
    }
    for word in (1..=20_000u64).rev() {
        assert!(remove(&mut table, &mut owner, word));
        assert!(!remove(&mut table, &mut owner, word));
        if word % 997 == 0 {
            assert!((1..word).all(|w| contains(&table, &owner, w)));
        }
    }
    assert_eq!((table.len(), owner.bytes), (0, 0));
}

#[test]
fn equal_hashes_make_long_buckets_and_lose_nothing() {
    let mut owner = Numbers { clash: true, bytes: 0 };
    let mut table = filled(500, &mut owner);
    assert!((1..=500).all(|w| contains(&table, &owner, w)));
    for word in (1..=500).step_by(2) {
        assert!(remove(&mut table, &mut owner, word));
    }
    assert!((1..=500).all(|w| contains(&table, &owner, w) == (w % 2 == 0)));
    emptied(table, &mut owner);
}

#[test]
fn memory_per_word_stays_near_twelve_bytes() {
    for words in [50, 100, 305, 1_000, 10_000, 100_000] {
        let mut owner = Numbers::new();
        let (mut bytes, mut sizes) = (0.0, 0.0);
        let mut table = filled(words - words / 10, &mut owner);
        for word in words - words / 10 + 1..=words + words / 10 {
            insert(&mut table, &mut owner, word);
            bytes += owner.bytes as f64 / table.len() as f64;
            sizes += 1.0;
        }
        let mean = bytes / sizes;
        println!("{words} words: {mean:.2} bytes each, {} buckets", table.buckets);
        assert!(mean < 14.0, "{words} words: {mean} bytes each");
        emptied(table, &mut owner);
    }
}

#[test]
fn a_table_that_shrank_gives_its_memory_back() {
    let mut owner = Numbers::new();
    let mut table = filled(100_000, &mut owner);
    for word in 1_001..=100_000 {
        remove(&mut table, &mut owner, word);
    }
    assert!(owner.bytes < 1_000 * 25, "{} bytes for 1,000 words", owner.bytes);
    emptied(table, &mut owner);
}

#[test]
fn a_scan_of_a_table_at_rest_visits_everything_once() {
    for words in (0..300).chain([1_000, 1_001, 4_097, 30_000]) {
        let mut owner = Numbers::new();
        let table = filled(words, &mut owner);
        let seen = scan_all(&table);
        assert_eq!(seen.len(), words as usize);
        assert!(seen.values().all(|&times| times == 1), "{words} words");
        emptied(table, &mut owner);
    }
}

#[test]
fn random_words_are_nearly_uniform() {
    let mut owner = Numbers::new();
    let table = filled(1_000, &mut owner);
    let mut rng = Rng::from_entropy();
    let mut drawn = vec![0u32; 1_001];
    for _ in 0..200_000 {
        drawn[table.random(&mut rng).unwrap() as usize] += 1;
    }
    // 200 expected each, standard deviation 14.
    let (least, most) = (drawn[1..].iter().min().unwrap(), drawn[1..].iter().max().unwrap());
    assert!(*least > 100 && *most < 320, "{least}..{most}");
    emptied(table, &mut owner);
}

#[test]
fn going_round_from_anywhere_visits_everything_once() {
    let mut owner = Numbers::new();
    let table = filled(777, &mut owner);
    let mut rng = Rng::from_entropy();
    for _ in 0..20 {
        let words: Vec<u64> = table.iter_round(&mut rng).collect();
        assert_eq!((words.len(), words.iter().collect::<HashSet<_>>().len()), (777, 777));
    }
    emptied(table, &mut owner);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Remove(u64),
    InsertMany(u64, u64),
    RemoveMany(u64, u64),
    Scan,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let word = 1..2_000u64;
    let step = prop_oneof![
        4 => word.clone().prop_map(Step::Insert),
        4 => word.clone().prop_map(Step::Remove),
        1 => (word.clone(), 0..600u64).prop_map(|(w, n)| Step::InsertMany(w, n)),
        1 => (word, 0..900u64).prop_map(|(w, n)| Step::RemoveMany(w, n)),
        4 => Just(Step::Scan),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn it_behaves_as_a_set_and_scans_keep_their_promise(steps in steps(), clash in prop::bool::weighted(0.1)) {
        let mut owner = Numbers { clash, bytes: 0 };
        let mut table = Table::default();
        let mut model = HashSet::new();
        // A scan goes on through the steps. `constant` is what was there all the time since it began.
        let (mut cursor, mut constant, mut seen) = (0, HashSet::new(), HashSet::new());
        for step in steps {
            let (inserted, removed) = match step {
                Step::Insert(w) => (w..w + 1, 0..0),
                Step::InsertMany(w, n) => (w..w + n, 0..0),
                Step::Remove(w) => (0..0, w..w + 1),
                Step::RemoveMany(w, n) => (0..0, w..w + n),
                Step::Scan => {
                    if cursor == 0 {
                        constant = model.clone();
                        seen.clear();
                    }
                    cursor = table.scan(cursor, |w| { seen.insert(w); });
                    if cursor == 0 {
                        prop_assert!(constant.is_subset(&seen));
                    }
                    (0..0, 0..0)
                }
            };
            for word in inserted {
                if model.insert(word) {
                    prop_assert!(!contains(&table, &owner, word));
                    insert(&mut table, &mut owner, word);
                }
            }
            for word in removed {
                constant.remove(&word);
                prop_assert_eq!(remove(&mut table, &mut owner, word), model.remove(&word));
            }
            prop_assert_eq!(table.len(), model.len());
        }
        while cursor != 0 {
            cursor = table.scan(cursor, |w| { seen.insert(w); });
        }
        prop_assert!(constant.is_subset(&seen));
        prop_assert_eq!(table.iter().collect::<HashSet<_>>(), model);
        emptied(table, &mut owner);
    }
}
