//! The store as its callers see it.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::command::CommandError;

fn store() -> Store {
    let mut store = Store::new(SlotSet::ALL, 16);
    store.set_time(1_700_000_000_000);
    store
}

fn get(store: &mut Store, db: usize, key: &[u8]) -> Option<Vec<u8>> {
    let value = store.peek(db, key)?;
    let mut digits = itoa::Buffer::new();
    Some(value.string(&mut digits).unwrap().to_vec())
}

fn encoding(store: &mut Store, key: &[u8]) -> &'static str {
    store.kind(0, key).unwrap().encoding().name()
}

fn key(number: usize) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

/// A list that is freed in about as many steps as it has elements.
fn list(store: &mut Store, db: usize, key: &[u8], elements: usize) {
    store
        .update_or_create(db, key, |list: &mut List, tools| {
            for _ in 0..elements {
                list.push_back(&[0; 10_000], tools.settings);
            }
        })
        .unwrap();
}

mod strings {
    use super::*;

    #[test]
    fn encodings_are_those_of_redis() {
        let mut store = store();
        let long = [b'x'; 45];
        for (value, expected) in [
            (&b"12"[..], "int"),
            (b"-9223372036854775808", "int"),
            (b"9223372036854775808", "embstr"),
            (b"012", "embstr"),
            (b"", "embstr"),
            (&long[..44], "embstr"),
            (&long, "raw"),
            (&[b'x'; 3000], "raw"),
        ] {
            store.set_string(0, b"k", value, Ttl::None);
            assert_eq!(
                (encoding(&mut store, b"k"), get(&mut store, 0, b"k").unwrap()),
                (expected, value.to_vec())
            );
        }
        store.set_string(0, b"k", b"ab", Ttl::None);
        store.modify_string(0, b"k", |buf| buf.extend_from_slice(b"c")).unwrap();
        assert_eq!((encoding(&mut store, b"k"), get(&mut store, 0, b"k").unwrap()), ("raw", b"abc".to_vec()));
        store.set_text(0, b"k", b"5", Ttl::None);
        assert_eq!(encoding(&mut store, b"k"), "embstr");
        assert_eq!(store.modify_int::<CommandError>(0, b"k", |old| Ok(old.unwrap() + 1)), Ok(6));
        assert_eq!(encoding(&mut store, b"k"), "int");
    }

    #[test]
    fn a_string_left_unchanged_stays_what_it_was() {
        let mut store = store();
        store.modify_string(0, b"absent", |buf| buf.len()).unwrap();
        assert!(!store.exists(0, b"absent"));
        store.set_string(0, b"k", b"7", Ttl::None);
        assert_eq!(store.modify_string(0, b"k", |buf| buf.to_vec()), Ok(b"7".to_vec()));
        assert_eq!(encoding(&mut store, b"k"), "int");
        store.modify_string(0, b"new", |buf| buf.write_at(3, b"x")).unwrap();
        assert_eq!(get(&mut store, 0, b"new").unwrap(), b"\0\0\0x");
    }

    #[test]
    fn appending_copies_a_large_value_only_while_a_reply_holds_it() {
        let mut store = store();
        store.set_string(0, b"k", &[b'a'; 100_000], Ttl::None);
        let Some(Value::Shared(held)) = store.read(0, b"k") else { panic!("a large string is shared") };
        let held: Bytes = held.clone();
        store.modify_string(0, b"k", |buf| buf.extend_from_slice(b"tail")).unwrap();
        assert_eq!(held, vec![b'a'; 100_000]);
        assert_eq!(get(&mut store, 0, b"k").unwrap().len(), 100_004);
        let address = |store: &mut Store| match store.peek(0, b"k") {
            Some(Value::Shared(bytes)) => bytes.as_ptr(),
            _ => unreachable!(),
        };
        let before = address(&mut store);
        let mut moves = 0;
        for _ in 0..1_000 {
            let at = address(&mut store);
            store.modify_string(0, b"k", |buf| buf.extend_from_slice(&[b'b'; 100])).unwrap();
            moves += (at != address(&mut store)) as u32;
        }
        assert!(moves <= 3, "{moves} moves in 1,000 appends, first at {before:?}");
        store.modify_string(0, b"k", |buf| buf.truncate(3)).unwrap();
        assert!(matches!(store.peek(0, b"k"), Some(Value::Bytes(b"aaa"))));
        assert_eq!(encoding(&mut store, b"k"), "raw");
    }

    #[test]
    fn increments_refuse_what_is_no_integer() {
        let mut store = store();
        assert_eq!(store.modify_int::<CommandError>(0, b"k", |old| Ok(old.map_or(1, |v| v + 1))), Ok(1));
        let failed = store.modify_int(0, b"k", |_| Err(CommandError::Overflow));
        assert_eq!((failed, get(&mut store, 0, b"k").unwrap()), (Err(CommandError::Overflow), b"1".to_vec()));
        store.set_string(0, b"s", b"1.5", Ttl::None);
        assert_eq!(store.modify_int(0, b"s", |_| Ok(0)), Err(CommandError::NotInteger));
        list(&mut store, 0, b"list", 1);
        assert_eq!(store.modify_int(0, b"list", |_| Ok(0)), Err(CommandError::WrongType));
        assert_eq!(store.modify_string(0, b"list", |_| ()), Err(WrongType));
        assert_eq!(
            store.modify_int(0, b"none", |_| Err(CommandError::Overflow)),
            Err(CommandError::Overflow)
        );
        assert!(!store.exists(0, b"none"));
    }

    #[test]
    fn hints_are_used_for_that_key_only() {
        let mut store = store();
        let (a, b) = (b"a".to_vec(), b"b".to_vec());
        store.slot_hint(&a, slot_of(&a));
        store.set_string(0, &a, b"1", Ttl::None);
        store.set_string(0, &b, b"2", Ttl::None);
        store.clear_slot_hint();
        assert_eq!(get(&mut store, 0, b"a").unwrap(), b"1");
        assert_eq!(get(&mut store, 0, b"b").unwrap(), b"2");
        assert_eq!((store.count_in_slot(slot_of(b"a")), store.count_in_slot(slot_of(b"b"))), (1, 1));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u8, Vec<u8>, Ttl),
        SetInt(u8, i64, Ttl),
        SetShared(u8, usize, Ttl),
        Append(u8, Vec<u8>),
        Resize(u8, usize),
        Increment(u8, i64),
        Remove(u8),
        Expire(u8, Option<i64>),
        Rename(u8, u8),
        Copy(u8, u8),
        Advance(i64),
        Cycle,
    }

    fn ttl() -> impl Strategy<Value = Ttl> {
        prop_oneof![Just(Ttl::Keep), Just(Ttl::None), (0..2_000i64).prop_map(Ttl::At)]
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 0..150),
            2 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
            1 => (2_000..5_000usize).prop_map(|len| vec![b'v'; len]),
        ]
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let k = || 0..12u8;
        let step = prop_oneof![
            3 => (k(), bytes(), ttl()).prop_map(|(k, v, t)| Step::Set(k, v, t)),
            1 => (k(), any::<i64>(), ttl()).prop_map(|(k, v, t)| Step::SetInt(k, v, t)),
            1 => (k(), 0..6_000usize, ttl()).prop_map(|(k, n, t)| Step::SetShared(k, n, t)),
            2 => (k(), bytes()).prop_map(|(k, v)| Step::Append(k, v)),
            1 => (k(), 0..4_000usize).prop_map(|(k, n)| Step::Resize(k, n)),
            2 => (k(), -9..9i64).prop_map(|(k, n)| Step::Increment(k, n)),
            1 => k().prop_map(Step::Remove),
            2 => (k(), prop::option::of(0..2_000i64)).prop_map(|(k, t)| Step::Expire(k, t)),
            1 => (k(), k()).prop_map(|(a, b)| Step::Rename(a, b)),
            1 => (k(), k()).prop_map(|(a, b)| Step::Copy(a, b)),
            1 => (0..300i64).prop_map(Step::Advance),
            1 => Just(Step::Cycle),
        ];
        prop::collection::vec(step, 1..150)
    }

    type Model = BTreeMap<u8, (Vec<u8>, Option<i64>)>;

    fn assign(model: &mut Model, k: u8, value: Vec<u8>, ttl: Ttl) {
        let expire_at = match ttl {
            Ttl::Keep => model.get(&k).and_then(|(_, at)| *at),
            Ttl::None => None,
            Ttl::At(at) => Some(at),
        };
        model.insert(k, (value, expire_at));
    }

    fn name(k: u8) -> Vec<u8> {
        // Some keys share a slot, and one is long.
        if k == 7 {
            vec![b'k'; 300]
        } else {
            format!("{{{}}}{k}", k % 4).into_bytes()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn strings_and_ttls_behave_as_a_map_would(steps in steps(), lfu in any::<bool>()) {
            let mut store = Store::new(SlotSet::ALL, 2);
            if lfu {
                store.settings.maxmemory_policy = MaxmemoryPolicy::AllKeysLfu;
            }
            let mut model = Model::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Set(k, value, ttl) => {
                        store.set_string(1, &name(k), &value, ttl);
                        assign(&mut model, k, value, ttl);
                    }
                    Step::SetInt(k, value, ttl) => {
                        store.set_int(1, &name(k), value, ttl);
                        assign(&mut model, k, value.to_string().into_bytes(), ttl);
                    }
                    Step::SetShared(k, len, ttl) => {
                        store.set_string_shared(1, &name(k), vec![b's'; len].into(), ttl);
                        assign(&mut model, k, vec![b's'; len], ttl);
                    }
                    Step::Append(k, more) => {
                        store.modify_string(1, &name(k), |buf| buf.extend_from_slice(&more)).unwrap();
                        let mut value = model.get(&k).map_or_else(Vec::new, |(value, _)| value.clone());
                        value.extend_from_slice(&more);
                        assign(&mut model, k, value, Ttl::Keep);
                    }
                    Step::Resize(k, len) => {
                        store.modify_string(1, &name(k), |buf| buf.resize(len, b'r')).unwrap();
                        let mut value = model.get(&k).map_or_else(Vec::new, |(value, _)| value.clone());
                        value.resize(len, b'r');
                        assign(&mut model, k, value, Ttl::Keep);
                    }
                    Step::Increment(k, by) => {
                        let old = model.get(&k).map(|(value, _)| parse_integer(value));
                        let result = store.modify_int(1, &name(k), |old| Ok(old.unwrap_or(0).wrapping_add(by)));
                        if old == Some(None) {
                            prop_assert_eq!(result, Err(CommandError::NotInteger));
                        } else {
                            let new = old.flatten().unwrap_or(0).wrapping_add(by);
                            prop_assert_eq!(result, Ok(new));
                            assign(&mut model, k, new.to_string().into_bytes(), Ttl::Keep);
                        }
                    }
                    Step::Remove(k) => prop_assert_eq!(store.remove(1, &name(k)), model.remove(&k).is_some()),
                    Step::Expire(k, at) => {
                        prop_assert_eq!(store.set_expire(1, &name(k), at), model.contains_key(&k));
                        if let Some(entry) = model.get_mut(&k) {
                            entry.1 = at;
                        }
                    }
                    Step::Rename(a, b) => {
                        let taken = store.take(1, &name(a));
                        let removed = model.remove(&a);
                        prop_assert_eq!(taken.is_some(), removed.is_some());
                        if let (Some(taken), Some(removed)) = (taken, removed) {
                            store.put(1, &name(b), taken);
                            model.insert(b, removed);
                        }
                    }
                    Step::Copy(a, b) => {
                        if let Some(copy) = store.clone_value(1, &name(a)) {
                            store.put(1, &name(b), copy.reallocated());
                            model.insert(b, model[&a].clone());
                        }
                    }
                    Step::Advance(ms) => {
                        now += ms;
                        store.set_time(now);
                    }
                    Step::Cycle => store.expire_cycle(1_000, &|| 0),
                }
                model.retain(|_, (_, at)| at.is_none_or(|at| at >= now));
                for k in 0..12 {
                    let expected = model.get(&k);
                    prop_assert_eq!(get(&mut store, 1, &name(k)), expected.map(|(value, _)| value.clone()));
                    prop_assert_eq!(store.expire_at(1, &name(k)), expected.map(|(_, at)| *at));
                }
                prop_assert_eq!(store.len(1), model.len());
                prop_assert_eq!(store.volatile_len(1), model.values().filter(|(_, at)| at.is_some()).count());
            }
            store.clear(None);
            while store.free_some(3) {}
            prop_assert_eq!(store.used_memory(), 0);
        }
    }
}

mod expiry {
    use super::*;

    #[test]
    fn an_expired_key_is_deleted_on_sight_and_everyone_told() {
        let mut store = store();
        let now = store.now_ms();
        store.log_enabled = true;
        store.events.set_classes(Events::parse(b"KEx").unwrap());
        store.set_string(2, b"k", b"v", Ttl::At(now + 10));
        let flag = WatchFlag::new();
        store.watch(2, b"k", &flag);
        store.set_time(now + 10);
        assert!(store.exists(2, b"k"), "alive in the very millisecond of its expiry");
        store.set_time(now + 11);
        assert!(store.watched_key_expired(2, b"k", &flag) && !flag.is_set());
        assert!(store.read(2, b"k").is_none());
        assert_eq!((store.len(2), store.volatile_len(2), store.stats.expired_keys), (0, 0, 1));
        assert_eq!(store.expired_effects, [(2, b"k".to_vec())]);
        assert!(flag.is_set());
        let events = store.events.take();
        assert_eq!((events.len(), events[0].name, events[0].db), (1, "expired", 2));
    }

    #[test]
    fn a_key_expired_before_the_watch_does_not_fail_exec_by_expiring() {
        let mut store = store();
        let now = store.now_ms();
        store.set_string(0, b"k", b"v", Ttl::At(now - 1));
        let flag = WatchFlag::new();
        store.watch(0, b"k", &flag);
        assert!(!store.watched_key_expired(0, b"k", &flag));
        assert!(!store.exists(0, b"k"));
        assert!(!flag.is_set());
        store.set_string(0, b"k", b"v", Ttl::None);
        store.touched(0, b"k");
        assert!(flag.is_set());
    }

    #[test]
    fn replaying_sees_expired_keys_and_pausing_hides_but_keeps_them() {
        let mut store = store();
        let now = store.now_ms();
        store.set_string(0, b"k", b"v", Ttl::At(now - 1));
        store.expire_on_access = false;
        assert!(store.exists(0, b"k"));
        store.expire_on_access = true;
        store.expire_paused = true;
        assert!(!store.exists(0, b"k"));
        assert_eq!(store.scan(0, 0, 10, &mut |_, _| panic!("expired")), 0);
        assert_eq!((store.random_key(0), store.len(0)), (None, 1));
        store.set_string(0, b"k", b"new", Ttl::None);
        assert_eq!((store.len(0), store.volatile_len(0)), (1, 0));
    }

    #[test]
    fn the_cycle_finds_every_expired_key_in_the_end_and_no_other() {
        let mut store = store();
        let now = store.now_ms();
        for i in 0..3_000 {
            let ttl = match i % 3 {
                0 => Ttl::None,
                1 => Ttl::At(now + 1_000_000),
                _ => Ttl::At(now + 5),
            };
            store.set_string(i % 2, &key(i), b"v", ttl);
        }
        store.expire_cycle(1_000, &|| 0);
        assert_eq!(store.stats.expired_keys, 0);
        store.set_time(now + 6);
        for _ in 0..200 {
            store.expire_cycle(1_000, &|| 0);
        }
        assert_eq!(store.stats.expired_keys, 1_000);
        assert_eq!(
            (store.len(0) + store.len(1), store.volatile_len(0) + store.volatile_len(1)),
            (2_000, 1_000)
        );
        let average = store.avg_ttl_ms(0);
        assert!((900_000..=1_000_000).contains(&average), "{average}");
    }

    #[test]
    fn a_cycle_goes_on_while_much_has_expired_until_its_time_is_up() {
        let mut store = store();
        let now = store.now_ms();
        for i in 0..10_000 {
            store.set_string(0, &key(i), b"v", Ttl::At(now - 1));
        }
        let clock = std::cell::Cell::new(0);
        let tick = || clock.replace(clock.get() + 1);
        store.expire_cycle(50, &tick);
        let expired = store.stats.expired_keys;
        assert!((500..5_000).contains(&expired), "{expired} in 50 turns");
        assert_eq!(store.stats.expired_time_cap_reached_count, 1);
        assert!(store.stats.expired_stale_perc > 4.9);
        store.expire_cycle(1_000_000, &tick);
        assert_eq!(store.len(0), 0);
        store.settings.active_expire = false;
        store.set_string(0, b"k", b"v", Ttl::At(now - 1));
        store.expire_cycle(1_000_000, &tick);
        assert_eq!(store.len(0), 1);
    }
}

mod eviction {
    use super::*;

    #[test]
    fn each_policy_evicts_the_keys_it_should() {
        for policy in MaxmemoryPolicy::WORDS.iter().map(|(_, policy)| *policy) {
            let mut store = store();
            store.settings.maxmemory_policy = policy;
            store.settings.maxmemory_samples = 10;
            let now = store.now_ms();
            for i in 0..100 {
                let ttl = if i < 50 { Ttl::At(now + 1_000_000 + i as i64) } else { Ttl::None };
                store.set_string(i % 3, &key(i), b"v", ttl);
            }
            let mut evicted = Vec::new();
            while let Eviction::Done(victim) = store.evict_one() {
                assert!(!store.exists(victim.db, &victim.key));
                evicted.push(victim);
            }
            let expected = match policy {
                MaxmemoryPolicy::NoEviction => 0,
                _ if policy.is_volatile() => 50,
                _ => 100,
            };
            assert_eq!(
                (evicted.len(), store.stats.evicted_keys),
                (expected, expected as u64),
                "{}",
                policy.word()
            );
        }
    }

    /// Evicts half of 1,000 keys, of which the odd ones are `good`, and tells how many good ones went.
    fn good_ones_lost(policy: MaxmemoryPolicy, make_good: impl Fn(&mut Store, &[u8])) -> usize {
        let mut store = store();
        store.settings.maxmemory_policy = policy;
        store.settings.maxmemory_samples = 10;
        let now = store.now_ms();
        for i in 0..1_000 {
            store.set_string(0, &key(i), b"v", Ttl::At(now + 100_000_000));
        }
        store.set_time(now + 3_600_000);
        for i in (1..1_000).step_by(2) {
            make_good(&mut store, &key(i));
        }
        for _ in 0..400 {
            assert!(matches!(store.evict_one(), Eviction::Done(_)));
        }
        (1..1_000).step_by(2).filter(|&i| !store.exists(0, &key(i))).count()
    }

    #[test]
    fn what_is_used_lives_longer() {
        let read = |store: &mut Store, key: &[u8]| {
            for _ in 0..50 {
                store.read(0, key);
            }
        };
        let later = |store: &mut Store, key: &[u8]| {
            let at = store.expire_at(0, key).unwrap().unwrap();
            store.set_expire(0, key, Some(at + 1_000_000));
        };
        for policy in [MaxmemoryPolicy::AllKeysLru, MaxmemoryPolicy::VolatileLru] {
            assert!(good_ones_lost(policy, read) < 10);
        }
        for policy in [MaxmemoryPolicy::AllKeysLfu, MaxmemoryPolicy::VolatileLfu] {
            assert!(good_ones_lost(policy, read) < 10);
        }
        assert!(good_ones_lost(MaxmemoryPolicy::VolatileTtl, later) < 10);
        let lost = good_ones_lost(MaxmemoryPolicy::AllKeysRandom, read);
        assert!((120..280).contains(&lost), "{lost}");
    }

    #[test]
    fn clocks_tell_idle_time_and_frequency() {
        let mut store = store();
        let now = store.now_ms();
        store.set_string(0, b"k", b"v", Ttl::None);
        store.set_time(now + 100_000);
        assert_eq!(store.describe(0, b"k").unwrap().idle_s, 100);
        store.no_touch = true;
        store.read(0, b"k");
        assert_eq!(store.describe(0, b"k").unwrap().idle_s, 100);
        store.no_touch = false;
        store.read(0, b"k");
        assert_eq!(store.describe(0, b"k").unwrap().idle_s, 0);
        store.set_idle(0, b"k", 1_234);
        assert_eq!(store.describe(0, b"k").unwrap().idle_s, 1_234);

        store.settings.maxmemory_policy = MaxmemoryPolicy::AllKeysLfu;
        store.set_string(0, b"f", b"v", Ttl::None);
        assert_eq!(store.describe(0, b"f").unwrap().frequency, 5);
        for _ in 0..1_000 {
            store.read(0, b"f");
        }
        let hot = store.describe(0, b"f").unwrap().frequency;
        assert!((10..40).contains(&hot), "{hot} after 1,000 reads");
        store.set_freq(0, b"f", 200);
        store.set_time(now + 100_000 + 60_000 * 50);
        assert_eq!(store.describe(0, b"f").unwrap().frequency, 150);
    }

    #[test]
    fn small_integers_look_shared_unless_eviction_needs_their_clocks() {
        let mut store = store();
        store.set_string(0, b"k", b"9999", Ttl::None);
        store.set_string(0, b"l", b"10000", Ttl::None);
        assert_eq!(store.describe(0, b"k").unwrap().refcount, i32::MAX as i64);
        assert_eq!(store.describe(0, b"l").unwrap().refcount, 1);
        store.settings.maxmemory = 1;
        store.settings.maxmemory_policy = MaxmemoryPolicy::AllKeysLru;
        assert_eq!(store.describe(0, b"k").unwrap().refcount, 1);
    }
}

mod whole {
    use super::*;

    fn scan_all(store: &mut Store, count: usize) -> Vec<Vec<u8>> {
        let (mut cursor, mut keys) = (0, Vec::new());
        loop {
            cursor = store.scan(0, cursor, count, &mut |key, _| keys.push(key.to_vec()));
            if cursor == 0 {
                return keys;
            }
        }
    }

    #[test]
    fn scans_visit_every_key_once_at_rest_on_any_shard() {
        let scattered = SlotSet::of((0..16_384).filter(|slot| slot % 3 == 1));
        for range in [SlotSet::ALL, SlotSet::range(5461, 10_922), SlotSet::range(10_922, 16_384), scattered] {
            let mut store = Store::new(range.clone(), 1);
            assert_eq!(store.scan(0, 0, 10, &mut |_, _| ()), 0);
            let keys: HashSet<Vec<u8>> = (0..5_000).map(key).filter(|k| range.contains(slot_of(k))).collect();
            // And many in one slot.
            let tag =
                (0..).map(|i| format!("{{{i}}}")).find(|t| range.contains(slot_of(t.as_bytes()))).unwrap();
            let tagged = (0..2_000).map(|i| format!("{tag}{i}").into_bytes());
            let keys: HashSet<Vec<u8>> = keys.into_iter().chain(tagged).collect();
            for key in &keys {
                store.set_string(0, key, b"v", Ttl::None);
            }
            for count in [1, 10, 100_000] {
                let found = scan_all(&mut store, count);
                assert_eq!(found.len(), keys.len());
                assert_eq!(found.into_iter().collect::<HashSet<_>>(), keys);
            }
            let mut listed = 0;
            store.for_each_key(0, &mut |_, _, _| {
                listed += 1;
                true
            });
            assert_eq!(listed, keys.len());
        }
    }

    #[test]
    fn a_scan_step_visits_about_what_it_was_asked_for() {
        let mut store = store();
        for i in 0..50_000 {
            store.set_string(0, &key(i), b"v", Ttl::None);
        }
        let mut visited = 0;
        store.scan(0, 0, 10, &mut |_, _| visited += 1);
        assert!((10..60).contains(&visited), "{visited}");
    }

    #[test]
    fn random_keys_are_as_likely_in_a_full_slot_as_elsewhere() {
        let mut store = store();
        for i in 0..500 {
            store.set_string(0, format!("{{tag}}{i}").as_bytes(), b"v", Ttl::None);
            store.set_string(0, &key(i), b"v", Ttl::None);
        }
        let tagged = (0..10_000).filter(|_| store.random_key(0).unwrap().starts_with(b"{tag}")).count();
        assert!((4_500..5_500).contains(&tagged), "{tagged} of 10,000");
    }

    #[test]
    fn flushing_takes_the_keys_at_once_and_the_memory_in_steps() {
        let mut store = store();
        for i in 0..1_000 {
            store.set_string(i % 2, &key(i), b"v", Ttl::None);
        }
        list(&mut store, 0, b"large", 10_000);
        let before = store.used_memory();
        assert_eq!(store.clear(Some(0)), 501);
        assert_eq!((store.len(0), store.len(1), store.used_memory()), (0, 500, before));
        assert!(!store.exists(0, &key(0)));
        let mut steps = 1;
        while store.free_some(100) {
            steps += 1;
        }
        assert!(steps > 100, "{steps}");
        assert_eq!(store.clear(None), 500);
        while store.free_some(100) {}
        assert_eq!(store.used_memory(), 0);
        assert_eq!(store.stats.lazyfreed_objects, 1_002);
    }

    #[test]
    fn large_objects_are_freed_in_steps_and_small_ones_at_once() {
        let mut store = store();
        store.set_int(0, b"k", 1, Ttl::None);
        for key in [&b"small"[..], b"large", b"gone"] {
            // The tables of their slots have been used.
            store.set_int(0, key, 1, Ttl::None);
            assert!(store.remove(0, key));
        }
        let before = store.used_memory();
        list(&mut store, 0, b"small", 10);
        assert!(store.remove(0, b"small"));
        assert!(!store.free_some(1));
        list(&mut store, 0, b"large", 1_000);
        store.set_string(0, b"large", b"v", Ttl::None);
        assert!(store.free_some(10) && store.free_some(10));
        while store.free_some(10) {}
        list(&mut store, 0, b"gone", 1);
        store.update(0, b"gone", |list: &mut List, _| drop(list.split_off(0))).unwrap();
        assert!(!store.exists(0, b"gone"));
        store.remove(0, b"large");
        assert_eq!(store.used_memory(), before);
    }

    #[test]
    fn watchers_learn_of_flushes_and_swaps_of_keys_that_exist() {
        let mut store = store();
        store.set_string(0, b"here", b"v", Ttl::None);
        store.set_string(1, b"there", b"v", Ttl::None);
        let flags: Vec<WatchFlag> = (0..3).map(|_| WatchFlag::new()).collect();
        for (flag, key) in flags.iter().zip([&b"here"[..], b"there", b"nowhere"]) {
            store.watch(0, key, flag);
        }
        store.clear(Some(3));
        assert!(flags.iter().all(|flag| !flag.is_set()));
        store.swap(0, 1);
        assert!(store.exists(0, b"there") && store.exists(1, b"here"));
        assert_eq!(flags.iter().map(WatchFlag::is_set).collect::<Vec<_>>(), [true, true, false]);
        for flag in &flags {
            flag.clear();
        }
        store.clear(None);
        assert_eq!(flags.iter().map(WatchFlag::is_set).collect::<Vec<_>>(), [false, true, false]);
        store.unwatch(0, b"here", &flags[0]);
        store.unwatch(0, b"there", &flags[1]);
        store.unwatch(0, b"nowhere", &flags[2]);
        assert!(store.watches.is_empty());
    }

    #[test]
    fn only_reads_count_as_hits_and_misses() {
        let mut store = store();
        store.set_string(0, b"k", b"v", Ttl::None);
        store.read(0, b"k");
        store.read(0, b"absent");
        store.peek(0, b"absent");
        store.exists(0, b"k");
        assert_eq!((store.stats.keyspace_hits, store.stats.keyspace_misses), (1, 1));
    }

    #[test]
    fn slots_tell_their_keys() {
        let mut store = Store::new(SlotSet::range(0, 8192), 1);
        let slot = slot_of(b"{b}");
        assert!(slot < 8192);
        for i in 0..20 {
            store.set_string(0, format!("{{b}}{i}").as_bytes(), b"v", Ttl::None);
        }
        assert_eq!(
            (store.count_in_slot(slot), store.count_in_slot(slot + 1), store.count_in_slot(16_000)),
            (20, 0, 0)
        );
        assert_eq!(store.keys_in_slot(slot, 7).len(), 7);
        assert_eq!(store.keys_in_slot(16_000, 7).len(), 0);
        assert_eq!(store.keys_in_slot(slot, 100).into_iter().collect::<HashSet<_>>().len(), 20);
    }
}

#[test]
fn a_flush_or_a_swap_that_is_about_some_slots_leaves_the_others_alone() {
    let half = SlotSet::range(0, 8192);
    let mut store = Store::new(SlotSet::ALL, 2);
    let keys: Vec<String> = (0..100).map(|i| format!("key:{i}")).collect();
    let inside = keys.iter().filter(|key| half.contains(slot_of(key.as_bytes()))).count();
    assert!((20..80).contains(&inside));
    for key in &keys {
        store.set_string(0, key.as_bytes(), b"value", Ttl::None);
    }
    store.flushes_only = Some(half.clone());
    store.swap(0, 1);
    assert_eq!((store.len(0), store.len(1)), (100 - inside, inside));
    assert_eq!(store.clear(Some(0)), 0, "they are in the other database");
    store.swap(0, 1);
    assert_eq!((store.len(0), store.len(1)), (100, 0));
    assert_eq!(store.clear(None), inside as u64);
    assert!(keys.iter().all(|key| store.remove(0, key.as_bytes()) != half.contains(slot_of(key.as_bytes()))));
}

#[test]
fn a_guarded_store_has_only_the_planned_keys() {
    let mut store = store();
    for key in [&b"planned"[..], b"other"] {
        store.set_string(0, key, b"1", Ttl::None);
        store.set_string(1, key, b"2", Ttl::None);
    }
    store.guard([(0, &b"planned"[..]), (0, b"new")].into_iter());
    assert!(store.exists(0, b"planned"));
    store.set_string(0, b"new", b"3", Ttl::None);
    store.remove(0, b"planned");
    assert!(!store.end_guard(), "only planned keys were used");
    assert_eq!(get(&mut store, 0, b"new"), Some(b"3".to_vec()));
    assert!(!store.exists(0, b"planned") && store.exists(0, b"other"));

    // Every way of using another key finds none, changes nothing, and is told afterwards.
    type Use = fn(&mut Store);
    let uses: [Use; 9] = [
        |store| assert!(store.read(0, b"other").is_none()),
        |store| assert!(!store.remove(0, b"other")),
        |store| assert!(!store.exists(1, b"planned"), "it is planned in another database"),
        |store| store.set_string(0, b"other", b"9", Ttl::None),
        |store| store.set_string(0, b"stray", &[b'x'; 10_000], Ttl::At(1)),
        |store| assert_eq!(store.modify_int::<CommandError>(0, b"stray", |_| Ok(1)), Ok(1)),
        |store| list(store, 0, b"stray", 3),
        |store| store.put(0, b"stray", Detached::from_string(b"x", Some(1))),
        |store| assert!(!store.load(0, b"stray", Detached::from_string(b"x", None), Usage::NotAsked)),
    ];
    for (number, using) in uses.iter().enumerate() {
        store.guard([(0, &b"planned"[..])].into_iter());
        using(&mut store);
        assert!(store.end_guard(), "use {number} is told");
        assert!(!store.end_guard(), "once");
        assert_eq!(get(&mut store, 0, b"other"), Some(b"1".to_vec()), "use {number}");
        assert_eq!(get(&mut store, 1, b"planned"), Some(b"2".to_vec()));
        assert!(!store.exists(0, b"stray"));
    }
}

#[test]
fn a_key_of_another_shard_is_never_there() {
    let slots = SlotSet::range(0, 8192);
    let mut store = Store::new(slots.clone(), 1);
    store.set_time(1_700_000_000_000);
    let (own, foreign): (Vec<_>, Vec<_>) = (0..100).map(key).partition(|key| slots.contains(slot_of(key)));
    for key in &foreign {
        assert!(!store.exists(0, key));
        store.set_string(0, key, b"x", Ttl::None);
        list(&mut store, 0, key, 1);
        assert!(store.take(0, key).is_none());
        assert!(store.end_guard());
    }
    for key in &own {
        store.set_string(0, key, b"x", Ttl::None);
        assert!(!store.end_guard());
    }
    assert_eq!(store.len(0), own.len());
}
mod guarded {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// Holds the keys in it.
    #[derive(Debug, Default)]
    struct Held(RefCell<HashSet<Vec<u8>>>);

    impl Guard for Held {
        fn protects(&self, key: &[u8]) -> bool {
            self.0.borrow().contains(key)
        }
    }

    fn guarded(keys: impl IntoIterator<Item = Vec<u8>>) -> (Store, Rc<Held>) {
        let mut store = store();
        let held = Rc::new(Held(RefCell::new(keys.into_iter().collect())));
        store.guard = Some(held.clone());
        store.log_enabled = true;
        (store, held)
    }

    #[test]
    fn a_held_key_that_has_expired_is_absent_and_stays_until_nobody_holds_it() {
        let (mut store, held) = guarded([b"held".to_vec()]);
        let now = store.now_ms();
        for key in [&b"held"[..], b"free"] {
            store.set_string(0, key, b"v", Ttl::At(now + 5));
        }
        store.set_time(now + 6);
        let looks: [fn(&mut Store); 4] = [
            |store| assert!(!store.exists(0, b"held")),
            |store| assert!(store.read(0, b"held").is_none()),
            |store| assert_eq!(store.scan(0, 0, 100, &mut |_, _| panic!("expired")), 0),
            |store| assert_eq!(store.random_key(0), None),
        ];
        for look in looks {
            store.passed_over = false;
            look(&mut store);
            assert!(store.passed_over && store.databases[0].keys().total() >= 1);
        }
        for _ in 0..3 {
            store.expire_cycle(1_000, &|| 0);
        }
        assert_eq!((store.len(0), store.stats.expired_keys), (1, 1), "only the free one is gone");
        assert_eq!(store.expired_effects, [(0, b"free".to_vec())]);
        // For whom it is an earlier time it is there.
        store.set_time(now);
        assert!(store.exists(0, b"held"));
        store.set_time(now + 6);
        held.0.borrow_mut().clear();
        assert!(!store.exists(0, b"held"));
        assert_eq!((store.len(0), store.stats.expired_keys), (0, 2));
    }

    #[test]
    fn a_cycle_ends_when_all_that_has_expired_is_held() {
        let (mut store, _) = guarded((0..500).map(key));
        let now = store.now_ms();
        for i in 0..500 {
            store.set_string(0, &key(i), b"v", Ttl::At(now + 5));
        }
        store.set_time(now + 6);
        // The clock does not move, so only the cycle itself can end this.
        store.expire_cycle(1_000, &|| 0);
        assert_eq!((store.len(0), store.stats.expired_time_cap_reached_count), (500, 0));
    }

    #[test]
    fn held_keys_are_not_evicted_and_the_others_are() {
        let policies = MaxmemoryPolicy::WORDS.iter().map(|(_, policy)| *policy);
        for policy in policies.filter(|p| *p != MaxmemoryPolicy::NoEviction) {
            let (mut store, held) = guarded((0..20).map(key));
            store.settings.maxmemory_policy = policy;
            let ttl = Ttl::At(store.now_ms() + 1_000_000);
            for i in 0..40 {
                store.set_string(i % 2, &key(i), b"v", ttl);
            }
            let mut evicted = 0;
            loop {
                match store.evict_one() {
                    Eviction::Done(victim) => {
                        assert!(!held.protects(&victim.key), "{}", policy.word());
                        evicted += 1;
                    }
                    // By chance it may have drawn held ones only.
                    Eviction::NotNow if evicted < 20 => {}
                    Eviction::NotNow => break,
                    Eviction::Never => panic!("{}: some may go later", policy.word()),
                }
            }
            assert_eq!(evicted, 20, "{}", policy.word());
            held.0.borrow_mut().clear();
            for _ in 0..20 {
                assert!(matches!(store.evict_one(), Eviction::Done(_)), "{}", policy.word());
            }
            assert_eq!(store.evict_one(), Eviction::Never, "{}", policy.word());
        }
    }
}
