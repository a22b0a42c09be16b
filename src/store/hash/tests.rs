//! Hashes against a model, across both forms and the limits between them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::random::Rng;
use super::*;
use crate::store::Encoding;

fn settings(entries: usize, value: usize) -> Settings {
    Settings { hash_max_listpack_entries: entries, hash_max_listpack_value: value, ..Settings::default() }
}

fn contents(hash: &Hash) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let all: Vec<_> = hash.view().iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect();
    assert_eq!(all.len(), hash.view().len());
    all.into_iter().collect()
}

fn encoding(hash: &Hash) -> Encoding {
    hash.kind().encoding()
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => (-10i64..10).prop_map(|value| value.to_string().into_bytes()),
        3 => "[a-c]{0,2}".prop_map(String::into_bytes),
        1 => "[a-b]{3,200}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn both_forms_are_a_map_within_their_limits(
        entries in 0usize..12,
        value_len in 0usize..100,
        changes in prop::collection::vec((0u8..6, element(), element()), 0..60),
    ) {
        let settings = settings(entries, value_len);
        let mut hash = Hash::empty();
        let mut model = BTreeMap::new();
        let mut rng = Rng::from_entropy();
        for (what, field, value) in changes {
            match what {
                0..4 => prop_assert_eq!(
                    hash.set(&field, &value, &settings),
                    model.insert(field.clone(), value.clone()).is_none()
                ),
                _ => prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some()),
            }
            prop_assert_eq!(hash.get(&field).map(Item::to_vec), model.get(&field).cloned());
            prop_assert_eq!(contents(&hash), model.clone());
            let random = hash.view().random(&mut rng).map(|(field, value)| (field.to_vec(), value.to_vec()));
            prop_assert!(random.map_or(model.is_empty(), |(field, value)| model.get(&field) == Some(&value)));
            if let Hash::Packed(_) = &hash {
                prop_assert!(hash.view().len() <= entries);
                prop_assert!(model.iter().all(|(f, v)| f.len().max(v.len()) <= value_len));
            }
            if let Some(bytes) = hash.packed() {
                prop_assert_eq!(contents(&Hash::from_packed(hash.kind(), bytes.to_vec())), model.clone());
            }
            prop_assert_eq!(contents(&hash.duplicate()), model.clone());
        }
    }
}

#[test]
fn forms_give_way_as_in_redis() {
    let settings = settings(2, 4);
    let mut hash = Hash::empty();
    hash.set(b"a", b"1", &settings);
    hash.set(b"b", b"1234", &settings);
    assert_eq!(encoding(&hash), Encoding::Listpack);
    let mut other = hash.duplicate();
    other.set(b"b", b"12345", &settings);
    assert_eq!(encoding(&other), Encoding::Hashtable, "a value is too long");
    hash.set(b"c", b"1", &settings);
    assert_eq!(encoding(&hash), Encoding::Hashtable, "there are too many fields");
    hash.remove(b"c");
    hash.remove(b"a");
    assert_eq!(encoding(&hash), Encoding::Hashtable);
}

#[test]
fn announced_fields_are_prepared_for() {
    let settings = settings(2, 4);
    for (pairs, form) in [
        (&[&b"a"[..], b"1", b"a", b"2"][..], Encoding::Listpack),
        // Counted as they come, though two of them are the same.
        (&[b"a", b"1", b"a", b"2", b"b", b"3"], Encoding::Hashtable),
        (&[b"a", b"12345"], Encoding::Hashtable),
    ] {
        let mut hash = Hash::empty();
        hash.prepare_for(pairs, &settings);
        assert_eq!(encoding(&hash), form, "{pairs:?}");
    }
}

#[test]
fn samples_have_no_field_twice() {
    let settings = settings(100, 64);
    let mut rng = Rng::from_entropy();
    for len in [1, 50, 150] {
        let mut hash = Hash::empty();
        (0..len).for_each(|n| assert!(hash.set(format!("f{n}").as_bytes(), b"v", &settings)));
        for count in [0, 1, 10, 49, 200] {
            let mut sample = BTreeMap::new();
            hash.view().sample(count, &mut rng, |field, value| {
                assert!(sample.insert(field.to_vec(), value.to_vec()).is_none());
            });
            assert_eq!(sample.len(), count.min(len));
        }
    }
}
