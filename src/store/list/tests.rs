//! The list against a model: a vector of byte strings.

use proptest::prelude::*;

use super::*;

fn settings(size: i32, depth: u32, threshold: usize) -> Settings {
    Settings {
        list_max_listpack_size: size,
        list_compress_depth: depth,
        quicklist_packed_threshold: threshold,
        ..Settings::default()
    }
}

fn contents(list: &List) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    list.view().for_each(|item| all.push(item.to_vec()));
    all
}

fn backwards(list: &List) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    if !list.is_empty() {
        list.view().visit(list.len() - 1, End::Tail, |item| {
            all.push(item.to_vec());
            true
        });
    }
    all.reverse();
    all
}

fn add(list: &mut List, end: End, element: &[u8], settings: &Settings) {
    list.grow(element.len(), 1, settings);
    list.push(end, element, settings);
}

/// What the running totals must be, counted; and that exactly the inner nodes may be compressed.
fn check(list: &List) {
    let Repr::Quick(quicklist) = &list.0 else { return };
    quicklist.check();
}

#[derive(Clone, Debug)]
enum Step {
    Push(End, Vec<u8>),
    PushMany(End, u8, usize),
    Pop(End),
    Set(usize, Vec<u8>),
    Insert(usize, Side, Vec<u8>),
    Remove(Vec<u8>, usize, End),
    CutTail(usize),
    CutHead(usize),
    Shrink,
    Duplicate,
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[ab]".prop_map(String::into_bytes),
        2 => (0i64..70_000).prop_map(|n| n.to_string().into_bytes()),
        2 => (0usize..300).prop_map(|len| vec![b'x'; len]),
        1 => (3000usize..12_000).prop_map(|len| vec![b'y'; len]),
        2 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Head), Just(End::Tail)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (end(), element()).prop_map(|(end, element)| Step::Push(end, element)),
        2 => (end(), any::<u8>(), 1usize..200).prop_map(|(end, byte, count)| Step::PushMany(end, byte, count)),
        4 => end().prop_map(Step::Pop),
        3 => (any::<usize>(), element()).prop_map(|(at, element)| Step::Set(at, element)),
        4 => (any::<usize>(), prop_oneof![Just(Side::Before), Just(Side::After)], element())
            .prop_map(|(at, side, element)| Step::Insert(at, side, element)),
        2 => (element(), 1usize..5, end()).prop_map(|(element, max, end)| Step::Remove(element, max, end)),
        1 => any::<usize>().prop_map(Step::CutTail),
        1 => any::<usize>().prop_map(Step::CutHead),
        3 => Just(Step::Shrink),
        1 => Just(Step::Duplicate),
    ]
}

fn run(list: &mut List, model: &mut Vec<Vec<u8>>, step: Step, settings: &Settings) {
    match step {
        Step::Push(end, element) => {
            add(list, end, &element, settings);
            model.insert(if end == End::Head { 0 } else { model.len() }, element);
        }
        Step::PushMany(end, byte, count) => {
            for number in 0..count {
                let element = vec![byte; number % 90];
                add(list, end, &element, settings);
                model.insert(if end == End::Head { 0 } else { model.len() }, element);
            }
        }
        Step::Pop(end) => {
            let popped = list.pop(end, |item| item.to_vec());
            let expected = match end {
                End::Head if model.is_empty() => None,
                End::Head => Some(model.remove(0)),
                End::Tail => model.pop(),
            };
            assert_eq!(popped, expected);
        }
        Step::Set(at, element) => {
            let at = at % (model.len() + 1);
            list.grow(element.len(), 1, settings);
            assert_eq!(list.set(at, &element, settings), at < model.len());
            if let Some(old) = model.get_mut(at) {
                *old = element;
            }
        }
        Step::Insert(at, side, element) => {
            let pivot = match model.len() {
                0 => b"none".to_vec(),
                len => model[at % len].clone(),
            };
            list.grow(element.len(), 1, settings);
            let found = list.insert_beside(&pivot, side, &element, settings);
            let place = model.iter().position(|other| *other == pivot);
            assert_eq!(found, place.is_some());
            if let Some(place) = place {
                model.insert(place + usize::from(side == Side::After), element);
            }
        }
        Step::Remove(element, max, from) => {
            let mut places: Vec<usize> = (0..model.len()).filter(|at| model[*at] == element).collect();
            if from == End::Tail {
                places.reverse();
            }
            places.truncate(max);
            assert_eq!(list.remove_equal(&element, max, from), places.len());
            places.sort_unstable();
            for at in places.into_iter().rev() {
                model.remove(at);
            }
        }
        Step::CutTail(at) => {
            let at = model.len() - at % (model.len() / 4 + 1);
            let cut = list.split_off(at);
            check(&cut);
            assert_eq!(contents(&cut), model.split_off(at));
        }
        Step::CutHead(at) => {
            let at = at % (model.len() / 4 + 1);
            let cut = list.split_front(at);
            check(&cut);
            assert_eq!(contents(&cut), model.drain(..at).collect::<Vec<_>>());
        }
        Step::Shrink => list.shrink(settings),
        Step::Duplicate => *list = list.duplicate(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn any_steps_leave_what_they_leave_in_a_vector(
        size in prop_oneof![Just(-2), Just(-1), Just(-5), Just(1), Just(3), Just(100), Just(0)],
        depth in 0u32..4,
        threshold in prop_oneof![Just(1usize << 30), Just(1), Just(100)],
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let settings = settings(size, depth, threshold);
        let (mut list, mut model) = (List::empty(), Vec::new());
        for step in steps {
            run(&mut list, &mut model, step, &settings);
            prop_assert_eq!(list.len(), model.len());
            check(&list);
        }
        prop_assert_eq!(&contents(&list), &model);
        prop_assert_eq!(&backwards(&list), &model);
        for at in (0..model.len()).step_by(model.len() / 20 + 1) {
            let mut found = None;
            list.view().visit(at, End::Head, |item| {
                found = Some(item.to_vec());
                false
            });
            prop_assert_eq!(found.as_ref(), model.get(at));
        }
    }
}

#[test]
fn a_list_of_many_nodes_finds_changes_and_loses_elements_anywhere() {
    // One element a node: three levels of the tree.
    let settings = settings(1, 0, 1 << 30);
    let mut list = List::empty();
    for number in 0..10_000i64 {
        add(&mut list, End::Tail, number.to_string().as_bytes(), &settings);
        add(&mut list, End::Head, (-number - 1).to_string().as_bytes(), &settings);
    }
    check(&list);
    let at = |list: &List, index: usize| {
        let mut found = None;
        list.view().visit(index, End::Head, |item| {
            found = item.integer();
            false
        });
        found
    };
    for index in (0..20_000).step_by(37) {
        assert_eq!(at(&list, index), Some(index as i64 - 10_000));
    }
    list.set(12_345, b"77", &settings);
    assert_eq!(at(&list, 12_345), Some(77));
    let mut rest = list.split_off(15_000);
    check(&list);
    check(&rest);
    assert_eq!((list.len(), rest.len(), at(&rest, 0)), (15_000, 5_000, Some(5_000)));
    assert_eq!(rest.pieces(), 5_001);
    assert_eq!(rest.free_some(4_000), 4_000);
    check(&rest);
    assert_eq!(rest.free_some(4_000), 1_000);
    assert_eq!(rest.free_some(4_000), 0);
    for number in 0..15_000 {
        assert_eq!(list.pop(End::Head, |item| item.integer()), Some(at_start(number)));
    }
    assert!(list.is_empty() && list.pop(End::Tail, |_| ()).is_none());

    fn at_start(number: i64) -> Option<i64> {
        Some(if number == 12_345 { 77 } else { number - 10_000 })
    }
}

#[test]
fn the_encoding_changes_where_redis_changes_it() {
    let is_quick = |list: &List| list.kind() == Kind::ListQuicklist;
    // 7 bytes of header and terminator, and 3 for each element of one letter.
    let count_of_4096 = (4096 - 7) / 3;
    let settings = settings(-1, 0, 1 << 30);
    let mut list = List::empty();
    for _ in 0..count_of_4096 {
        add(&mut list, End::Tail, b"a", &settings);
    }
    assert!(!is_quick(&list));
    // Before the 1364th, 7 + 1363 * 3 bytes and the letter are more than 4096.
    add(&mut list, End::Tail, b"a", &settings);
    assert!(is_quick(&list));
    while list.len() > (2048 - 7) / 3 + 1 {
        list.pop(End::Tail, |_| ());
        list.shrink(&settings);
        assert!(is_quick(&list), "at {}", list.len());
    }
    list.pop(End::Tail, |_| ());
    list.shrink(&settings);
    assert!(!is_quick(&list));
}

#[test]
fn inner_nodes_are_compressed_and_take_less_memory() {
    let element =
        |number: usize| format!("element {number} of a list that repeats itself a good deal, and then some");
    let build = |depth: u32| {
        let settings = settings(-2, depth, 1 << 30);
        let mut list = List::empty();
        for number in 0..10_000 {
            add(
                &mut list,
                if number % 3 == 0 { End::Head } else { End::Tail },
                element(number).as_bytes(),
                &settings,
            );
        }
        check(&list);
        list
    };
    let (plain, compressed) = (build(0), build(2));
    assert_eq!(contents(&plain), contents(&compressed));
    assert!(compressed.memory() * 2 < plain.memory(), "{} and {}", compressed.memory(), plain.memory());
}

#[test]
fn a_queue_keeps_its_memory_small() {
    let settings = settings(-2, 0, 1 << 30);
    let mut list = List::empty();
    for number in 0..200_000u32 {
        add(&mut list, End::Tail, &number.to_be_bytes(), &settings);
        if number >= 100 {
            list.pop(End::Head, |_| ());
            list.shrink(&settings);
        }
        assert!(list.memory() < 8192, "{}", list.memory());
    }
}

#[test]
fn a_list_built_of_listpacks_is_the_same_list() {
    for size in [-2, 5, 200] {
        let settings = settings(size, 1, 1 << 30);
        let mut source = List::empty();
        for number in 0..3000 {
            source.push_back(format!("element {number}").as_bytes(), &settings);
        }
        let mut copy = List::empty();
        source.view().visit_nodes(|node| match node {
            NodeItems::Packed(items) => copy.push_listpack(items, &settings),
            NodeItems::Plain(bytes) => copy.push_alone(bytes, &settings),
        });
        copy.settle(&settings);
        check(&copy);
        assert_eq!((copy.kind(), copy.view().nodes()), (source.kind(), source.view().nodes()));
        assert_eq!(contents(&copy), contents(&source));
    }
}

#[test]
fn nodes_stay_apart_under_a_larger_limit() {
    let roomy = settings(-5, 0, 1 << 30);
    for long in [0, 1] {
        let mut copy = List::empty();
        for at in 0..2 {
            if at == long {
                copy.push_alone(&[b'z'; 9_000], &roomy);
            } else {
                let mut short = Listpack::new();
                short.push_back(b"short");
                copy.push_listpack(short.items(), &roomy);
            }
        }
        copy.settle(&roomy);
        assert_eq!((copy.kind(), copy.len()), (Kind::ListQuicklist, 2), "the long one is number {long}");
    }
}
