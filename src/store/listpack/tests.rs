use proptest::prelude::*;

use super::*;

fn contents(items: Items) -> Vec<Vec<u8>> {
    items.iter().map(Item::to_vec).collect()
}

fn listpack_of(elements: &[Vec<u8>]) -> Listpack {
    let mut listpack = Listpack::new();
    for element in elements {
        listpack.push_back(element);
    }
    listpack
}

/// Elements at the borders of every encoding.
fn element() -> impl Strategy<Value = Vec<u8>> {
    let integer = prop_oneof![
        any::<i64>(),
        any::<i32>().prop_map(i64::from),
        -5000i64..5000,
        (0u32..64, -2i64..=2).prop_map(|(bits, off)| (1i64 << bits.min(62)).wrapping_add(off)),
        (0u32..64, -2i64..=2).prop_map(|(bits, off)| (-1i64 << bits.min(63)).wrapping_add(off)),
    ]
    .prop_map(|value| value.to_string().into_bytes());
    let len = prop_oneof![0usize..70, 120usize..130, 4090usize..4100, 16_370usize..16_390];
    prop_oneof![3 => integer, 2 => len.prop_map(|len| vec![b'x'; len]), 1 => proptest::collection::vec(any::<u8>(), 0..20)]
}

#[derive(Clone, Debug)]
enum Change {
    Push(Vec<u8>),
    PushFront(Vec<u8>),
    Insert(usize, Vec<u8>),
    Replace(usize, Vec<u8>),
    Remove(usize, usize),
    Split(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        element().prop_map(Change::Push),
        element().prop_map(Change::PushFront),
        (any::<usize>(), element()).prop_map(|(at, element)| Change::Insert(at, element)),
        (any::<usize>(), element()).prop_map(|(at, element)| Change::Replace(at, element)),
        (any::<usize>(), 0usize..4).prop_map(|(at, count)| Change::Remove(at, count)),
        any::<usize>().prop_map(Change::Split),
    ]
}

fn apply(listpack: &mut Listpack, model: &mut Vec<Vec<u8>>, change: Change) {
    let position = |listpack: &Listpack, index: usize| {
        listpack.items().seek(index as i64).unwrap_or(listpack.items().end())
    };
    match change {
        Change::Push(element) => {
            listpack.push_back(&element);
            model.push(element);
        }
        Change::PushFront(element) => {
            listpack.push_front(&element);
            model.insert(0, element);
        }
        Change::Insert(at, element) => {
            let index = at % (model.len() + 1);
            listpack.insert(position(listpack, index), &element);
            model.insert(index, element);
        }
        Change::Replace(at, element) if !model.is_empty() => {
            let index = at % model.len();
            listpack.replace(position(listpack, index), &element);
            model[index] = element;
        }
        Change::Remove(at, count) => {
            let index = at % (model.len() + 1);
            let end = (index + count).min(model.len());
            assert_eq!(listpack.remove(position(listpack, index), count), end - index);
            model.drain(index..end);
        }
        Change::Split(at) => {
            let index = at % (model.len() + 1);
            let tail = listpack.split_off(position(listpack, index));
            assert_eq!(contents(tail.items()), model[index..]);
            assert_eq!(contents(listpack.items()), model[..index]);
            listpack.append(tail.items());
        }
        Change::Replace(..) => {}
    }
}

proptest! {
    #[test]
    fn a_listpack_behaves_as_a_vector(changes in proptest::collection::vec(change(), 0..60)) {
        let (mut listpack, mut model) = (Listpack::new(), Vec::new());
        for change in changes {
            apply(&mut listpack, &mut model, change);
            prop_assert_eq!(contents(listpack.items()), model.clone());
            prop_assert_eq!(listpack.len(), model.len());
        }
        let backwards: Vec<_> = listpack.items().iter().rev().map(Item::to_vec).collect();
        model.reverse();
        prop_assert_eq!(backwards, model.clone());
        model.reverse();
        for (index, element) in model.iter().enumerate() {
            let from_end = index as i64 - model.len() as i64;
            for index in [index as i64, from_end] {
                let position = listpack.items().seek(index).unwrap();
                prop_assert_eq!(listpack.items().item(position).to_vec(), element.clone());
            }
            let found = listpack.items().find(&Needle::new(element), listpack.items().first(), 1).unwrap();
            prop_assert!(found <= listpack.items().seek(from_end).unwrap());
        }
        prop_assert_eq!(listpack.items().seek(model.len() as i64), None);
        prop_assert_eq!(listpack.items().seek(-1 - model.len() as i64), None);
        let mut bytes = Vec::new();
        write_redis(listpack.items(), &mut bytes);
        prop_assert_eq!(read_redis(&bytes), Ok(listpack));
    }

    #[test]
    fn changed_bytes_are_refused_or_read_without_a_panic(
        elements in proptest::collection::vec(element(), 0..6),
        at in any::<usize>(),
        to in any::<u8>(),
        cut in any::<usize>(),
    ) {
        let mut bytes = Vec::new();
        write_redis(listpack_of(&elements).items(), &mut bytes);
        let at = at % bytes.len();
        bytes[at] = to;
        if cut % 3 == 0 {
            bytes.truncate(cut % (bytes.len() + 1));
        }
        if let Ok(listpack) = read_redis(&bytes) {
            let forwards = contents(listpack.items());
            let mut backwards: Vec<_> = listpack.items().iter().rev().map(Item::to_vec).collect();
            backwards.reverse();
            prop_assert_eq!(forwards, backwards);
        }
    }
}

#[test]
fn bytes_are_those_of_redis() {
    // From a DUMP of redis-server 7.0.15, RPUSH k 1 -1 300 40000 ab 9223372036854775807, its listpack.
    let elements: Vec<Vec<u8>> = ["1", "-1", "300", "40000", "ab", "9223372036854775807"]
        .iter()
        .map(|e| e.as_bytes().to_vec())
        .collect();
    let mut bytes = Vec::new();
    write_redis(listpack_of(&elements).items(), &mut bytes);
    let expected = [
        &[38, 0, 0, 0, 6, 0][..],
        &[1, 1],
        &[0xdf, 0xff, 2],
        &[0xc1, 0x2c, 2],
        &[0xf2, 0x40, 0x9c, 0, 4],
        &[0x82, b'a', b'b', 3],
        &[0xf4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 9],
        &[0xff],
    ]
    .concat();
    assert_eq!(bytes.len(), expected.len());
    assert_eq!(bytes[6..], expected[6..]);
}

#[test]
fn more_elements_than_the_count_can_say_are_counted() {
    let mut listpack = Listpack::new();
    for index in 0..70_000 {
        listpack.push_back_int(index % 100);
    }
    assert_eq!(listpack.len(), 70_000);
    assert_eq!(listpack.items().item(listpack.items().seek(-1).unwrap()), Item::Int(99));
    assert_eq!(listpack.remove(listpack.items().first(), 10_000), 10_000);
    assert_eq!(listpack.len(), 60_000);
    assert_eq!(listpack.items().count_field(), 60_000);
}
