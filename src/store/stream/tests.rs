use proptest::prelude::*;

use super::*;
use crate::store::listpack::read_redis;
use crate::store::{Settings, SlotSet, Store};

type Pairs = Vec<Vec<u8>>;

/// The stream as a plain list.
#[derive(Clone, Debug, Default)]
struct Model {
    entries: Vec<(StreamId, Pairs)>,
    last_id: StreamId,
    max_deleted_id: StreamId,
    added: u64,
}

/// Limits of a node.
fn limits(bytes: usize, entries: i64) -> Settings {
    Settings { stream_node_max_bytes: bytes, stream_node_max_entries: entries, ..Settings::default() }
}

fn slices(pairs: &Pairs) -> Vec<&[u8]> {
    pairs.iter().map(Vec::as_slice).collect()
}

fn collect<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Vec<(StreamId, Pairs)> {
    entries
        .map(|entry| {
            let pairs: Pairs = entry.fields().flat_map(|(f, v)| [f.to_vec(), v.to_vec()]).collect();
            assert_eq!(pairs.len(), 2 * entry.len());
            (entry.id(), pairs)
        })
        .collect()
}

fn all(log: &EntryLog) -> Vec<(StreamId, Pairs)> {
    collect(log.range(StreamId::MIN, StreamId::MAX))
}

fn check(log: &EntryLog, model: &Model) {
    let first = model.entries.first().map_or(StreamId::MIN, |entry| entry.0);
    let last = model.entries.last().map_or(StreamId::MIN, |entry| entry.0);
    assert_eq!(log.len(), model.entries.len() as u64);
    assert_eq!((log.first_id(), log.last_entry_id()), (first, last));
    assert_eq!((log.last_id(), log.max_deleted_id()), (model.last_id, model.max_deleted_id));
    assert_eq!(log.entries_added(), model.added);
    assert_eq!(all(log), model.entries);
    let mut back = collect(log.range_back(StreamId::MIN, StreamId::MAX));
    back.reverse();
    assert_eq!(back, model.entries);
    let nodes: usize = log.nodes().map(|node| node.memory()).sum();
    assert!(log.nodes.memory() >= nodes + log.node_count() * size_of::<Node>());
}

/// Writes every node as Redis's listpack, and makes a stream of those.
fn through_listpacks(stream: &Stream) -> Stream {
    let mut builder = StreamBuilder::new(false);
    for node in stream.log().nodes() {
        let mut bytes = Vec::new();
        node.write_listpack(&mut bytes);
        assert_eq!(bytes.len(), node.listpack_bytes());
        let listpack = read_redis(&bytes).expect("a listpack as Redis writes it");
        builder.node(node.first_id(), listpack.items()).expect("a node");
    }
    let log = stream.log();
    let counters = Counters {
        last_id: log.last_id(),
        max_deleted_id: log.max_deleted_id(),
        entries_added: log.entries_added(),
    };
    builder.counters(counters, &Settings::default()).expect("counters");
    builder.finish().expect("a stream").0
}

#[derive(Clone, Debug)]
enum Action {
    Add { ms: u64, seq: u64, pairs: Pairs },
    Delete { index: usize },
    DeleteMissing,
    TrimTo { count: u64, approximate: bool, limit: u64 },
    TrimFrom { index: usize, approximate: bool, limit: u64 },
    Range { from: usize, to: usize, off: bool },
    Limits { bytes: usize, entries: i64 },
    Reload,
    Duplicate,
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-c]{0,3}".prop_map(String::into_bytes),
        2 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        2 => (0..300i64).prop_map(|n| n.to_string().into_bytes()),
        1 => (0usize..300).prop_map(|len| vec![0xFF; len]),
    ]
}

fn pairs() -> impl Strategy<Value = Pairs> {
    let any_fields = prop::collection::vec((text(), text()), 1..4)
        .prop_map(|pairs| pairs.into_iter().flat_map(|(f, v)| [f, v]).collect());
    let same_fields = text().prop_map(|value| vec![b"field".to_vec(), value, b"7".to_vec(), b"8".to_vec()]);
    prop_oneof![1 => any_fields, 2 => same_fields]
}

fn action() -> impl Strategy<Value = Action> {
    let limit = || prop_oneof![Just(0u64), 1..30u64];
    prop_oneof![
        20 => (prop_oneof![Just(0u64), 1..20u64, 1000..100_000u64], prop_oneof![0..3u64, 0..1000u64], pairs())
            .prop_map(|(ms, seq, pairs)| Action::Add { ms, seq, pairs }),
        4 => any::<prop::sample::Index>().prop_map(|i| Action::Delete { index: i.index(1000) }),
        1 => Just(Action::DeleteMissing),
        1 => (0..60u64, any::<bool>(), limit())
            .prop_map(|(count, approximate, limit)| Action::TrimTo { count, approximate, limit: if approximate { limit } else { 0 } }),
        1 => (0..60usize, any::<bool>(), limit())
            .prop_map(|(index, approximate, limit)| Action::TrimFrom { index, approximate, limit: if approximate { limit } else { 0 } }),
        3 => (0..80usize, 0..80usize, any::<bool>()).prop_map(|(from, to, off)| Action::Range { from, to, off }),
        1 => (prop_oneof![Just(0usize), 30..400usize], prop_oneof![Just(0i64), 1..20i64])
            .prop_map(|(bytes, entries)| Action::Limits { bytes, entries }),
        1 => Just(Action::Reload),
        1 => Just(Action::Duplicate),
    ]
}

/// Entries that went are the oldest, no more than allowed; exact trimming leaves exactly what it was told to.
fn check_trim(log: &mut EntryLog, model: &mut Model, trim: Trim, keep_from: usize) {
    let before = model.entries.len();
    let trimmed = log.trim(&trim) as usize;
    if trim.approximate {
        assert!(trimmed <= keep_from);
        assert!(trim.limit == 0 || trimmed as u64 <= trim.limit);
    } else {
        assert_eq!(trimmed, keep_from);
    }
    model.entries.drain(..trimmed);
    assert_eq!(model.entries.len(), before - trimmed);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_is_the_list_of_its_entries(actions in prop::collection::vec(action(), 1..250)) {
        let mut stream = Stream::empty();
        let mut model = Model::default();
        let mut settings = limits(400, 10);
        for action in actions {
            let id_at = |model: &Model, index: usize| match model.entries.len() {
                0 => StreamId::new(5, 5),
                len => model.entries[index % len].0,
            };
            match action {
                Action::Add { ms, seq, pairs } => {
                    let last = model.last_id;
                    let id = match (ms, seq) {
                        (0, seq) => StreamId::new(last.ms, last.seq + seq + 1),
                        (ms, seq) => StreamId::new(last.ms + ms, seq),
                    };
                    stream.log_mut().append(id, &slices(&pairs), &settings).expect("small");
                    model.entries.push((id, pairs));
                    model.last_id = id;
                    model.added += 1;
                }
                Action::Delete { index } => {
                    let id = id_at(&model, index);
                    let deleted = stream.log_mut().delete_all(&[id]);
                    let found = model.entries.iter().position(|entry| entry.0 == id);
                    prop_assert_eq!(deleted, u64::from(found.is_some()));
                    if let Some(at) = found {
                        model.entries.remove(at);
                        model.max_deleted_id = model.max_deleted_id.max(id);
                    }
                }
                Action::DeleteMissing => {
                    let missing = model.last_id.next().expect("far from the end");
                    prop_assert_eq!(stream.log_mut().delete_all(&[missing, StreamId::MIN]), 0);
                }
                Action::TrimTo { count, approximate, limit } => {
                    let excess = model.entries.len().saturating_sub(count as usize);
                    let trim = Trim { keep: Keep::Entries(count), approximate, limit };
                    check_trim(stream.log_mut(), &mut model, trim, excess);
                }
                Action::TrimFrom { index, approximate, limit } => {
                    let id = id_at(&model, index);
                    let older = model.entries.iter().filter(|entry| entry.0 < id).count();
                    let trim = Trim { keep: Keep::From(id), approximate, limit };
                    check_trim(stream.log_mut(), &mut model, trim, older);
                }
                Action::Range { from, to, off } => {
                    let (mut start, end) = (id_at(&model, from), id_at(&model, to));
                    if off {
                        start = start.next().expect("far from the end");
                    }
                    let expected: Vec<_> =
                        model.entries.iter().filter(|e| e.0 >= start && e.0 <= end).cloned().collect();
                    let mut back = collect(stream.log().range_back(start, end));
                    back.reverse();
                    prop_assert_eq!(&collect(stream.log().range(start, end)), &expected);
                    prop_assert_eq!(&back, &expected);
                    prop_assert_eq!(stream.log().contains(start), model.entries.iter().any(|e| e.0 == start));
                    // What XREAD needs of it answers as the whole.
                    for count in [0, 1, 5, usize::MAX] {
                        let excerpt = stream.excerpt(Some(start), count);
                        let part = collect(excerpt.log().range(start, StreamId::MAX).take(count));
                        let whole = collect(stream.log().range(start, StreamId::MAX).take(count));
                        prop_assert_eq!(part, whole);
                    }
                }
                Action::Limits { bytes, entries } => settings = limits(bytes, entries),
                Action::Reload => stream = through_listpacks(&stream),
                Action::Duplicate => stream = stream.duplicate(),
            }
            stream.take_trimmed();
            check(stream.log(), &model);
        }
        let mut left = stream.pieces();
        while stream.free_some(7) > 0 {
            prop_assert!(stream.pieces() < left);
            left = stream.pieces();
        }
        prop_assert_eq!(stream.log().nodes.len(), 0);
    }

    #[test]
    fn any_listpack_is_a_node_or_refused(elements in prop::collection::vec(prop_oneof![3 => 0..5i64, 1 => any::<i64>()], 0..30)) {
        let mut listpack = crate::store::listpack::Listpack::new();
        elements.iter().for_each(|element| listpack.push_back_int(*element));
        if let Some(node) = Node::from_listpack(StreamId::new(5, 5), listpack.items()) {
            let mut bytes = Vec::new();
            node.write_listpack(&mut bytes);
            prop_assert_eq!(read_redis(&bytes).expect("a listpack"), listpack);
        }
    }
}

fn filled(count: u64) -> Stream {
    let mut stream = Stream::empty();
    for ms in 1..=count {
        let id = StreamId::new(ms, 0);
        stream.log_mut().append(id, &[b"f", b"v"], &Settings::default()).expect("small");
    }
    stream
}

#[test]
fn a_node_is_the_listpack_that_redis_writes() {
    let mut stream = Stream::empty();
    let settings = Settings::default();
    for (ms, seq, pairs) in [
        (1_700_000_000_000, 0, [&b"temp"[..], b"21.5", b"id", b"12"]),
        (1_700_000_000_000, 1, [&b"temp"[..], b"-3", b"id", b"130"]),
        (1_700_000_000_005, 0, [&b"other"[..], b"x", b"id", b"5000000000"]),
    ] {
        stream.log_mut().append(StreamId::new(ms, seq), &pairs, &settings).expect("small");
    }
    stream.log_mut().delete_all(&[StreamId::new(1_700_000_000_000, 1)]);
    let mut bytes = Vec::new();
    stream.log().nodes().next().expect("one").write_listpack(&mut bytes);
    let listpack = read_redis(&bytes).expect("a listpack");
    let elements: Vec<String> =
        listpack.items().iter().map(|item| String::from_utf8_lossy(&item.to_vec()).into_owned()).collect();
    assert_eq!(
        elements.join(" "),
        "2 1 2 temp id 0 2 0 0 21.5 12 5 3 0 1 -3 130 5 0 5 0 2 other x id 5000000000 8"
    );
}

#[test]
fn nodes_end_where_redis_ends_them() {
    let mut log = EntryLog::default();
    let settings = limits(4096, 3);
    for ms in 1..=7 {
        log.append(StreamId::new(ms, 0), &[b"f", b"v"], &settings).expect("small");
    }
    assert_eq!(log.nodes().map(Node::live).collect::<Vec<_>>(), [3, 3, 1]);
    // The entry does not fit in behind 15 bytes of a node with one.
    let mut log = EntryLog::default();
    let big = vec![b'x'; 60];
    for ms in 1..=3 {
        log.append(StreamId::new(ms, 0), &[b"f", &big], &limits(100, 0)).expect("small");
    }
    assert_eq!(log.node_count(), 3);
    assert!(check_entry_size(&[b"f", &vec![0; 1 << 30]]).is_err());
}

#[test]
fn approximate_trimming_takes_whole_nodes_and_exact_trimming_marks_entries() {
    let mut stream = filled(250);
    let keep = Keep::Entries(120);
    let log = stream.log_mut();
    assert_eq!(log.trim(&Trim { keep, approximate: true, limit: 99 }), 0);
    assert_eq!(log.trim(&Trim { keep, approximate: true, limit: 0 }), 100);
    assert_eq!(log.trim(&Trim { keep, approximate: false, limit: 0 }), 30);
    assert_eq!((log.len(), log.node_count()), (120, 2));
    assert_eq!(log.first_node_id(), Some(StreamId::new(101, 0)));
    assert_eq!(log.first_id(), StreamId::new(131, 0));
    assert_eq!(log.nodes().next().map(|node| (node.live(), node.deleted())), Some((70, 30)));
}

#[test]
fn a_last_id_set_back_behind_deleted_entries_goes_on() {
    let mut stream = filled(3);
    let log = stream.log_mut();
    log.delete_all(&[StreamId::new(2, 0), StreamId::new(3, 0)]);
    log.set_last_id(StreamId::new(1, 5));
    log.append(StreamId::new(1, 6), &[b"a", b"b"], &limits(0, 3)).expect("small");
    log.append(StreamId::new(2, 0), &[b"a", b"b"], &limits(0, 0)).expect("small");
    let ids: Vec<String> = all(log).iter().map(|entry| entry.0.to_string()).collect();
    assert_eq!(ids, ["1-0", "1-6", "2-0"]);
}

#[test]
fn memory_and_pieces_are_what_they_were_once_everything_is_gone() {
    let mut store = Store::new(SlotSet::ALL, 1);
    let empty = Stream::empty().memory();
    let mut stream = filled(1000);
    assert!(stream.memory() > empty && stream.pieces() >= 10);
    assert!(stream.add_group(b"g", Group::new(StreamId::MIN, None)));
    assert!(!stream.add_group(b"g", Group::new(StreamId::MIN, None)));
    stream.change_group(b"g", |group, log| {
        let consumer = group.create_consumer(b"c", 1).expect("new");
        assert_eq!(group.create_consumer(b"c", 1), None);
        for entry in log.range(StreamId::MIN, StreamId::MAX) {
            group.assign(entry.id(), Pending { consumer, delivered_ms: 1, deliveries: 1 });
        }
    });
    let copy = stream.duplicate();
    assert_eq!(copy.pieces(), stream.pieces());
    assert_eq!(copy.group(b"g").map(Group::pending_len), Some(1000));
    store.set_collection(0, b"k", stream, crate::store::Ttl::None);
    let used = store.used_memory();
    assert!(store.remove(0, b"k"));
    while store.free_some(10) {}
    assert!(store.used_memory() < used - 5000);
    let mut copy = copy;
    assert_eq!(copy.change_group(b"g", |group, _| group.delete_consumer(b"c")), Some(Some(1000)));
    assert!(copy.take_group(b"g").is_some() && copy.take_group(b"g").is_none());
    copy.log_mut().trim(&Trim { keep: Keep::Entries(0), approximate: false, limit: 0 });
    // The list of chunks keeps its room.
    assert!(copy.memory() < empty + 600, "{}", copy.memory());
    assert_eq!(copy.pieces(), 1);
}

#[test]
fn what_trimming_takes_off_at_once_is_bounded() {
    let mut stream = filled(100 * 100);
    let all = Trim { keep: Keep::Entries(0), approximate: false, limit: 0 };
    assert_eq!(stream.log_mut().trim(&all), 10_000);
    let rest = stream.take_trimmed().expect("more than 64 nodes");
    assert_eq!((rest.pieces(), stream.take_trimmed().is_none()), (1 + 100 - 64, true));
    assert_eq!(filled(6400).log_mut().trim(&all), 6400);
}

#[test]
fn an_entry_is_pending_for_one_consumer_and_for_its_group() {
    let mut group = Group::new(StreamId::MIN, None);
    let (a, b) = (group.create_consumer(b"a", 1).expect("new"), group.create_consumer(b"b", 1).expect("new"));
    let id = StreamId::new(1, 1);
    for consumer in [a, b, b, a] {
        group.assign(id, Pending { consumer, delivered_ms: 5, deliveries: 1 });
        let counts = (group.consumer(a).pending_len(), group.consumer(b).pending_len());
        assert_eq!(counts, if consumer == a { (1, 0) } else { (0, 1) });
        assert_eq!(group.pending_len(), 1);
    }
    assert!(group.acknowledge(id) && !group.acknowledge(id));
    assert_eq!((group.pending_len(), group.consumer(a).pending_len()), (0, 0));
}

#[test]
fn parts_that_contradict_each_other_make_no_stream() {
    let builder = || {
        let mut builder = StreamBuilder::new(false);
        let mut bytes = Vec::new();
        filled(3).log().nodes().next().expect("one").write_listpack(&mut bytes);
        let listpack = read_redis(&bytes).expect("a listpack");
        builder.node(StreamId::new(1, 0), listpack.items()).expect("a node");
        assert!(builder.node(StreamId::new(1, 0), listpack.items()).is_err());
        builder
    };
    let counters =
        |ms| Counters { last_id: StreamId::new(ms, 0), max_deleted_id: StreamId::MIN, entries_added: 3 };
    assert!(builder().counters(counters(2), &Settings::default()).is_err());
    let with_group = || {
        let mut builder = builder();
        builder.counters(counters(3), &Settings::default()).expect("counters");
        let read = |stream: &Stream| stream.log().entries_until(StreamId::new(3, 0));
        builder.group(b"g", StreamId::new(3, 0), read).expect("a group");
        builder.pending(StreamId::new(1, 0), 7, 2).expect("pending");
        builder
    };
    assert!(with_group().finish().is_err());
    let mut whole = with_group();
    assert!(whole.consumer_pending(StreamId::new(1, 0)).is_err());
    whole.consumer(b"c", 5, -1).expect("a consumer");
    whole.consumer_pending(StreamId::new(1, 0)).expect("its entry");
    assert!(whole.consumer_pending(StreamId::new(1, 0)).is_err());
    let (stream, _) = whole.finish().expect("a stream");
    let group = stream.group(b"g").expect("the group");
    assert_eq!((group.entries_read, group.lag(stream.log()), group.pending_len()), (Some(3), Some(0), 1));
}
