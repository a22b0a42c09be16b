//! Sets against a model, across all forms and the limits between them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::random::Rng;
use super::*;
use crate::store::Encoding;

fn settings(integers: usize, entries: usize, value: usize) -> Settings {
    Settings {
        set_max_intset_entries: integers,
        set_max_listpack_entries: entries,
        set_max_listpack_value: value,
        ..Settings::default()
    }
}

fn members(set: &Set) -> BTreeSet<Vec<u8>> {
    let all: Vec<Vec<u8>> = set.view().iter().map(Item::to_vec).collect();
    assert_eq!(all.len(), set.len());
    all.into_iter().collect()
}

fn encoding(set: &Set) -> Encoding {
    set.kind().encoding()
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (-30i64..30).prop_map(|value| value.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        2 => "[a-c]{0,2}".prop_map(String::into_bytes),
        1 => "0[0-9]{1,12}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn every_form_is_a_set_within_its_limits(
        limits in (0usize..12, 0usize..12, 0usize..8),
        changes in prop::collection::vec((0u8..8, member()), 1..60),
    ) {
        let settings = settings(limits.0, limits.1, limits.2);
        let mut rng = Rng::from_entropy();
        let mut set = Set::suited_to(&changes[0].1, 1, &settings);
        let mut model = BTreeSet::new();
        for (what, member) in changes {
            match what {
                0..4 => prop_assert_eq!(set.add(&member, &settings), model.insert(member.clone())),
                4 | 5 => prop_assert_eq!(set.remove(&member), model.remove(&member)),
                6 => {
                    let popped = set.pop(&mut rng, |member| member.to_vec());
                    prop_assert_eq!(popped.is_some(), !model.is_empty());
                    if let Some(popped) = popped {
                        prop_assert!(model.remove(&popped));
                    }
                }
                _ => {
                    let random = set.view().random(&mut rng).map(Item::to_vec);
                    prop_assert!(random.map_or(model.is_empty(), |random| model.contains(&random)));
                }
            }
            prop_assert_eq!(set.view().contains(&member), model.contains(&member));
            prop_assert_eq!(members(&set), model.clone());
            match &set {
                Set::Integers(_) => prop_assert!(set.len() <= limits.0),
                Set::Packed(_) => prop_assert!(set.len() <= limits.1),
                Set::Table(_) => {}
            }
            // As it lies in an entry and comes back.
            if let Some(bytes) = set.packed() {
                prop_assert_eq!(members(&Set::from_packed(set.kind(), bytes.to_vec())), model.clone());
            }
            prop_assert_eq!(members(&set.duplicate()), model.clone());
        }
    }

    #[test]
    fn some_are_popped_and_the_rest_stays(len in 2usize..300, share in 0.0f64..1.0, strings in any::<bool>()) {
        let settings = settings(200, 100, 64);
        let mut set = Set::integers();
        for number in 0..len {
            let member = if strings { format!("m{number}") } else { number.to_string() };
            set.add(member.as_bytes(), &settings);
        }
        let all = members(&set);
        let count = ((len as f64 * share) as usize).clamp(1, len - 1);
        let mut popped = BTreeSet::new();
        set.pop_some(count, &mut Rng::from_entropy(), &settings, |member| {
            assert!(popped.insert(member.to_vec()));
        });
        prop_assert_eq!(popped.len(), count);
        let rest = members(&set);
        prop_assert!(rest.is_disjoint(&popped));
        prop_assert_eq!(rest.len() + popped.len(), all.len());
        prop_assert!(all.is_superset(&rest) && all.is_superset(&popped));
    }
}

#[test]
fn forms_give_way_as_in_redis() {
    let settings = settings(4, 3, 5);
    let mut set = Set::suited_to(b"1", 1, &settings);
    for (member, form) in [
        ("1", Encoding::Intset),
        ("2", Encoding::Intset),
        ("a", Encoding::Listpack),
        ("a", Encoding::Listpack),
        ("b", Encoding::Hashtable),
    ] {
        set.add(member.as_bytes(), &settings);
        assert_eq!(encoding(&set), form, "with {member}");
    }
    // Back to few members, but not to another form.
    set.remove(b"a");
    set.remove(b"b");
    assert_eq!(encoding(&set), Encoding::Hashtable);

    let mut set = Set::suited_to(b"1", 1, &settings);
    (0..4).for_each(|value| assert!(set.add_integer(value, &settings)));
    assert_eq!(encoding(&set), Encoding::Intset);
    // Four integers are too many for a listpack.
    let mut other = set.duplicate();
    other.add(b"x", &settings);
    assert_eq!(encoding(&other), Encoding::Hashtable);
    set.add_integer(4, &settings);
    assert_eq!(encoding(&set), Encoding::Hashtable);

    let mut set = Set::suited_to(b"1", 1, &settings);
    set.add_integer(123_456, &settings);
    set.add(b"x", &settings);
    assert_eq!(encoding(&set), Encoding::Hashtable, "an integer has more digits than a listpack takes");

    let mut set = Set::suited_to(b"abc", 1, &settings);
    set.add(b"abcdef", &settings);
    assert_eq!(encoding(&set), Encoding::Hashtable, "a member is too long");
    assert_eq!(encoding(&Set::suited_to(b"abc", 4, &settings)), Encoding::Hashtable);
    assert_eq!(encoding(&Set::suited_to(b"5", 5, &settings)), Encoding::Hashtable);
    assert_eq!(encoding(&Set::suited_to(b"05", 3, &settings)), Encoding::Listpack);
}

#[test]
fn announced_members_are_prepared_for() {
    let settings = settings(4, 3, 5);
    let mut set = Set::integers();
    set.add_integer(1, &settings);
    set.prepare_for(4, &settings);
    assert_eq!(encoding(&set), Encoding::Intset);
    set.prepare_for(5, &settings);
    assert_eq!(encoding(&set), Encoding::Hashtable);
    assert!(set.view().contains(b"1"));
}

#[test]
fn integers_are_put_in_order_if_nothing_else_is_there() {
    let narrow = settings(2, 10, 64);
    let wide = settings(10, 10, 64);
    let mut set = Set::from_listpack(Listpack::new());
    for member in ["3", "-1", "2"] {
        set.add(member.as_bytes(), &wide);
    }
    set.become_integers(&narrow);
    assert_eq!(encoding(&set), Encoding::Listpack);
    set.become_integers(&wide);
    assert_eq!(encoding(&set), Encoding::Intset);
    assert_eq!(set.view().iter().collect::<Vec<_>>(), [-1, 2, 3].map(Item::Int));
    set.add(b"x", &wide);
    set.become_integers(&wide);
    assert_eq!(encoding(&set), Encoding::Listpack);
}

#[test]
fn what_little_remains_of_a_table_takes_the_form_of_a_new_set() {
    let settings = settings(10, 10, 64);
    let mut set = Set::Table(Members::default());
    (0..100).for_each(|number| assert!(set.add(format!("m{number}").as_bytes(), &settings)));
    let mut many = set.duplicate();
    many.pop_some(80, &mut Rng::from_entropy(), &settings, |_| {});
    assert_eq!((encoding(&many), many.len()), (Encoding::Hashtable, 20));
    set.pop_some(95, &mut Rng::from_entropy(), &settings, |_| {});
    assert_eq!((encoding(&set), set.len()), (Encoding::Listpack, 5));
}
