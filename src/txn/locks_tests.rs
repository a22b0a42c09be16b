//! The lock manager by itself: what is granted, what waits, and what is refused.

use super::*;

fn keys(list: &[(u64, KeyAccess)]) -> Scope {
    Scope::Keys(list.iter().map(|(key, access)| Intent { key: *key, access: *access }).collect())
}
use KeyAccess::{Read, Write};

fn release(locks: &mut Locks, number: Number) -> Vec<Number> {
    let mut granted = Vec::new();
    locks.release(number, &mut granted);
    granted
}

#[test]
fn reads_share_and_writes_exclude() {
    let mut locks = Locks::default();
    assert_eq!(locks.request(1, &keys(&[(7, Read)])), Answer::Granted);
    assert_eq!(locks.request(2, &keys(&[(7, Read), (8, Write)])), Answer::Granted);
    assert_eq!(locks.request(3, &keys(&[(7, Write)])), Answer::Waiting);
    assert_eq!(
        locks.request(4, &keys(&[(7, Read)])),
        Answer::Waiting,
        "a reader does not overtake a waiting writer"
    );
    assert!(release(&mut locks, 1).is_empty());
    assert_eq!(release(&mut locks, 2), [3]);
    assert_eq!(release(&mut locks, 3), [4]);
    assert!(release(&mut locks, 4).is_empty() && locks.is_idle());
}

#[test]
fn a_late_smaller_number_goes_before_waiters_but_not_before_holders() {
    let mut locks = Locks::default();
    assert_eq!(locks.request(5, &keys(&[(1, Write)])), Answer::Granted);
    assert_eq!(locks.request(9, &keys(&[(1, Write)])), Answer::Waiting);
    assert_eq!(locks.request(7, &keys(&[(1, Write)])), Answer::Waiting);
    assert_eq!(locks.request(3, &keys(&[(1, Write)])), Answer::Refused);
    assert_eq!(release(&mut locks, 5), [7]);
    assert_eq!(release(&mut locks, 7), [9]);
}

#[test]
fn a_place_that_was_free_but_unused_is_lost_to_a_smaller_number() {
    let mut locks = Locks::default();
    assert_eq!(locks.request(5, &keys(&[(1, Write)])), Answer::Granted);
    // Free on key 2, waiting on key 1.
    assert_eq!(locks.request(9, &keys(&[(1, Write), (2, Write)])), Answer::Waiting);
    assert_eq!(locks.request(7, &keys(&[(2, Write)])), Answer::Granted);
    assert!(release(&mut locks, 5).is_empty(), "9 still waits for 7 on key 2");
    assert_eq!(release(&mut locks, 7), [9]);
}

#[test]
fn whole_keyspace_intents_exclude_conflicting_keys() {
    let mut locks = Locks::default();
    assert_eq!(locks.request(1, &keys(&[(4, Write)])), Answer::Granted);
    assert_eq!(locks.request(2, &Scope::Whole(Read)), Answer::Waiting);
    assert!(locks.conflicts(&keys(&[(9, Write)])), "a write does not overtake the waiting whole read");
    assert!(!locks.conflicts(&keys(&[(9, Read)])));
    assert_eq!(release(&mut locks, 1), [2]);
    assert_eq!(locks.request(3, &keys(&[(4, Read)])), Answer::Granted);
    assert_eq!(locks.request(4, &Scope::Whole(Write)), Answer::Waiting);
    assert!(locks.conflicts(&keys(&[(9, Read)])));
    release(&mut locks, 2);
    assert_eq!(release(&mut locks, 3), [4]);
}

#[test]
fn what_runs_for_a_holder_overtakes_those_who_wait_but_no_other_holder() {
    let mut locks = Locks::default();
    assert_eq!(locks.request(1, &keys(&[(4, Write)])), Answer::Granted);
    assert_eq!(locks.request(2, &keys(&[(4, Write), (5, Write)])), Answer::Waiting);
    assert_eq!(locks.request(3, &keys(&[(6, Read)])), Answer::Granted);
    assert!(!locks.conflicts_with_holders(&keys(&[(4, Write), (5, Write)]), Some(1)));
    assert!(locks.conflicts_with_holders(&keys(&[(4, Write)]), None));
    assert!(locks.conflicts_with_holders(&keys(&[(4, Write), (6, Write)]), Some(1)));
    assert!(!locks.conflicts_with_holders(&keys(&[(6, Read)]), None));
}

#[test]
fn what_one_client_has_waiting_keeps_its_order_and_nobody_elses() {
    let client = |index| fingerprint_of_client(1, Token { index, generation: 3 });
    let mut locks = Locks::default();
    assert!(!locks.conflicts_in_order(&keys(&[(4, Write)]), client(1)));
    assert_eq!(locks.request(1, &keys(&[(4, Write)])), Answer::Granted);
    assert!(locks.conflicts_in_order(&keys(&[(4, Read)]), client(1)));
    assert!(!locks.conflicts_in_order(&keys(&[(5, Read)]), client(1)), "nothing of it waits");
    assert_eq!(locks.request_in_order(2, &keys(&[(4, Read)]), client(1)), Answer::Waiting);
    assert!(locks.conflicts_in_order(&keys(&[(5, Read)]), client(1)));
    assert!(!locks.conflicts_in_order(&keys(&[(5, Read)]), client(2)));
    assert!(!locks.conflicts(&keys(&[(5, Read)])));
    assert_eq!(locks.request_in_order(3, &keys(&[(5, Read)]), client(1)), Answer::Waiting);
    assert_eq!(release(&mut locks, 1), [2]);
    assert_eq!(release(&mut locks, 2), [3]);
    assert!(release(&mut locks, 3).is_empty() && locks.is_idle());
}

#[test]
fn a_key_wanted_twice_is_one_intent_of_the_stronger_kind() {
    let mut locks = Locks::default();
    assert_eq!(locks.request(1, &keys(&[(4, Read), (4, Write), (4, Read)])), Answer::Granted);
    assert!(locks.conflicts(&keys(&[(4, Read)])));
    release(&mut locks, 1);
    assert!(locks.is_idle());
}

#[test]
fn a_holder_takes_more_that_nobody_wants_and_keeps_its_place() {
    let mut locks = Locks::default();
    assert_eq!(locks.request(3, &keys(&[(4, Read)])), Answer::Granted);
    locks.extend(3, &keys(&[(4, Read), (5, Write)]));
    assert!(locks.conflicts(&keys(&[(5, Read)])) && !locks.conflicts(&keys(&[(4, Read)])));
    assert_eq!(locks.request(5, &Scope::Whole(Read)), Answer::Waiting, "some of it is written");
    assert_eq!(locks.request(2, &keys(&[(5, Read)])), Answer::Refused);
    assert_eq!(release(&mut locks, 3), [5]);
    assert!(release(&mut locks, 5).is_empty() && locks.is_idle() && locks.queues.is_empty());
}

#[test]
fn what_goes_further_waits_for_those_who_hold_and_for_nobody_who_waits() {
    let mut locks = Locks::default();
    assert_eq!(locks.request(1, &keys(&[(4, Write)])), Answer::Granted);
    assert_eq!(locks.request(2, &keys(&[(5, Write)])), Answer::Granted);
    assert_eq!(locks.request(3, &keys(&[(4, Write), (6, Write)])), Answer::Waiting);
    assert_eq!(locks.request(9, &keys(&[(4, Read)])), Answer::Waiting);
    let Strengthened { answer, displaced, granted } = locks.strengthen(1, 7);
    assert_eq!((answer, granted), (Answer::Waiting, vec![]));
    assert_eq!(displaced.iter().map(|d| d.number).collect::<Vec<_>>(), [3], "9 is behind it");
    // It has run, so it is refused what comes before it, and nobody is served with what it has.
    assert_eq!(locks.request(6, &keys(&[(4, Read)])), Answer::Refused);
    assert!(locks.conflicts_with_holders(&keys(&[(4, Read)]), Some(2)));
    for displaced in displaced {
        assert_eq!(locks.wait_again(10, displaced), Answer::Waiting);
    }
    assert_eq!(release(&mut locks, 2), [7]);
    assert_eq!(release(&mut locks, 7), [9]);
    assert_eq!(release(&mut locks, 9), [10]);
    assert!(release(&mut locks, 10).is_empty() && locks.is_idle() && locks.queues.is_empty());
}

#[test]
fn what_goes_further_too_late_keeps_what_it_has_under_its_new_number() {
    let mut locks = Locks::default();
    assert_eq!(locks.request(1, &keys(&[(4, Write)])), Answer::Granted);
    assert_eq!(locks.request(2, &keys(&[(4, Write), (6, Write)])), Answer::Waiting);
    // It waits for 2 only.
    assert_eq!(locks.request(8, &keys(&[(6, Write)])), Answer::Waiting);
    assert_eq!(locks.request(9, &keys(&[(5, Write)])), Answer::Granted);
    let Strengthened { answer, displaced, granted } = locks.strengthen(1, 7);
    assert_eq!((answer, granted), (Answer::Refused, vec![8]), "9 holds, and is not waited for");
    assert_eq!(displaced.len(), 1);
    assert!(!locks.conflicts(&keys(&[(7, Write)])) && locks.conflicts(&keys(&[(4, Read)])));
    let Strengthened { answer, .. } = locks.strengthen(7, 11);
    assert_eq!(answer, Answer::Waiting);
    assert!(release(&mut locks, 8).is_empty());
    assert_eq!(release(&mut locks, 9), [11]);
    assert!(release(&mut locks, 11).is_empty() && locks.is_idle() && locks.queues.is_empty());
}

#[test]
fn whatever_comes_and_goes_holders_exclude_each_other_and_the_first_in_each_queue_get_on() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let (mut locks, mut active, mut unused) = (Locks::default(), Vec::<(Number, Scope)>::new(), Vec::new());
    let (mut refused, mut granted_late) = (0, 0);
    for step in 1..20_000 {
        // Numbers are drawn in order and come in any.
        unused.push(step);
        if random(3) > 0 || active.is_empty() {
            let number = unused.swap_remove(random(unused.len() as u64) as usize);
            let access = |bit: u64| if bit == 0 { Read } else { Write };
            let scope = if random(20) == 0 {
                Scope::Whole(access(random(2)))
            } else {
                let list: Vec<_> = (0..=random(3)).map(|_| (random(6) + 1, access(random(2)))).collect();
                keys(&list)
            };
            let later_holders: Vec<Number> =
                active.iter().map(|(n, _)| *n).filter(|n| *n > number && locks.is_granted(*n)).collect();
            match locks.request(number, &scope) {
                Answer::Refused => {
                    assert!(!later_holders.is_empty(), "{number} came in time");
                    refused += 1;
                }
                answer => {
                    assert_eq!(answer == Answer::Granted, locks.is_granted(number));
                    active.push((number, scope));
                }
            }
            for holder in later_holders {
                assert!(locks.is_granted(holder), "{holder} has lost what it held");
            }
        } else {
            let (number, _) = active.swap_remove(random(active.len() as u64) as usize);
            let before: Vec<Number> =
                active.iter().map(|(n, _)| *n).filter(|n| locks.is_granted(*n)).collect();
            let now = release(&mut locks, number);
            granted_late += now.len();
            for (number, _) in &active {
                assert_eq!(
                    locks.is_granted(*number),
                    before.contains(number) || now.contains(number),
                    "{number}"
                );
            }
        }
        while active.len() > 40 {
            release(&mut locks, active.swap_remove(0).0);
        }
        for queue in locks.queues.values() {
            let places: Vec<&QueueEntry> = queue.places.iter().collect();
            assert!(places.is_sorted_by_key(|place| place.number));
            for (at, place) in places.iter().enumerate() {
                let is_first = places[..at].iter().all(|other| compatible(other.mode, place.mode));
                assert_eq!(place.free, is_first, "{places:?}");
            }
            assert_eq!(queue.blocked, places.iter().filter(|place| !place.free).count());
        }
        for (number, scope) in &active {
            let stands = scope.wanted().iter().all(|(key, _)| {
                locks.queues[key].places.iter().any(|place| place.number == *number && place.free)
            });
            assert_eq!(locks.is_granted(*number), stands);
        }
    }
    assert!(refused > 100 && granted_late > 100, "{refused} {granted_late}");
    for (number, _) in active {
        release(&mut locks, number);
    }
    assert!(locks.is_idle() && locks.queues.is_empty());
}
