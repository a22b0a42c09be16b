use super::*;
use crate::persist::aof::testing::command;
use crate::persist::aof::write::{put_after, put_cut, put_part};
use proptest::collection::vec;
use proptest::prelude::*;

/// What a log has: a part of a transaction, or a barrier.
#[derive(Clone, Debug)]
enum Event {
    Part(u64, Vec<u16>),
    Barrier(u64),
}

fn log(base_cut: u64, events: &[Event]) -> ScannedLog {
    let mut log = ScannedLog::new(base_cut);
    for (place, event) in events.iter().enumerate() {
        let start = place as u64;
        log.add(
            0,
            match event {
                Event::Part(number, shards) => Mark::Part {
                    number: *number,
                    shards: Shards::from_slice(shards),
                    is_empty: false,
                    start,
                    end: start + 1,
                },
                Event::Barrier(number) => Mark::Cut { number: *number, start, end: start + 1 },
            },
        );
    }
    log.set_end(LogPosition { file: 0, offset: events.len() as u64 });
    log
}

fn part(number: u64, shards: &[u16]) -> Event {
    Event::Part(number, shards.to_vec())
}

fn offsets(cut: &LogEnds) -> Vec<u64> {
    cut.ends.iter().map(|end| end.offset).collect()
}

#[test]
fn whole_transactions_stay_and_half_ones_go_with_what_follows() {
    let both = [part(1, &[0, 1]), part(2, &[0, 1])];
    assert_eq!(offsets(&cut(&[log(0, &both), log(0, &both)])), [2, 2]);
    let half = cut(&[log(0, &both), log(0, &both[..1])]);
    assert_eq!(offsets(&half), [1, 1]);
    let (present, missing) = (Shards::from_slice(&[0]), Shards::from_slice(&[1]));
    assert_eq!(half.incomplete, [Incomplete { number: 2, present, missing }]);
}

#[test]
fn what_is_cut_off_takes_others_with_it() {
    // 1 is missing on shard 2; behind it on shard 1 is 2, which is on shard 0 too, where 3 is behind it.
    let logs = [
        log(0, &[part(2, &[0, 1]), part(3, &[0, 1])]),
        log(0, &[part(1, &[1, 2]), part(2, &[0, 1]), part(3, &[0, 1])]),
        log(0, &[]),
    ];
    let cut = cut(&logs);
    assert_eq!(offsets(&cut), [0, 0, 0]);
    assert_eq!(cut.dropped, [1, 2, 3]);
    assert_eq!(cut.incomplete.len(), 1);
}

#[test]
fn a_part_in_a_base_is_there() {
    // Shard 1 was rewritten at barrier 7, and its older increments are gone.
    let events = [Event::Barrier(5), part(1, &[0, 1]), Event::Barrier(7), part(2, &[0, 1])];
    let rewritten = [Event::Barrier(7), part(2, &[0, 1])];
    let whole = cut(&[log(5, &events), log(7, &rewritten)]);
    assert_eq!(offsets(&whole), [4, 2]);
    assert!(whole.behind_bases.is_empty());
    // Of era 7, and not in the base of barrier 7.
    let torn = cut(&[log(5, &events), log(7, &rewritten[..1])]);
    assert_eq!(offsets(&torn), [3, 1]);
    // The log of shard 0 lost what shard 1's base has.
    assert_eq!(cut(&[log(5, &events[..2]), log(7, &rewritten)]).behind_bases, [0]);
}

#[test]
fn numbers_that_come_again_after_a_barrier_are_other_transactions() {
    let events = [part(1, &[0, 1]), Event::Barrier(2), part(1, &[0, 1])];
    assert_eq!(offsets(&cut(&[log(0, &events), log(0, &events[..2])])), [2, 2]);
}

#[test]
fn writers_that_do_not_exist_are_missing() {
    assert_eq!(offsets(&cut(&[log(0, &[part(1, &[0, 900])])])), [0]);
}

#[test]
fn several_increments_are_one_log() {
    let file = |numbers: &[u64]| {
        let mut out = Vec::new();
        for number in numbers {
            put_part(&mut out, *number, &[0, 1], false);
            out.extend(command("SET k v"));
        }
        put_cut(&mut out, 9);
        out
    };
    let (first, second) = (file(&[1]), file(&[2, 3]));
    let (whole, fault) = ScannedLog::scan(0, [&first[..], &second[..]]).unwrap();
    assert!(fault.is_none());
    assert_eq!(whole.end(), LogPosition { file: 1, offset: second.len() as u64 });
    assert_eq!((whole.highest_number(), whole.highest_cut()), (3, 9));
    // Of two files the first is torn: the second does not count.
    let (torn, fault) = ScannedLog::scan(0, [&first[..first.len() - 3], &second[..]]).unwrap();
    assert!(fault.unwrap().is_torn());
    assert_eq!(torn.end(), LogPosition { file: 0, offset: (first.len() - b"#CUT:9\r\n".len()) as u64 });
    let cut = cut(&[whole, torn]);
    assert_eq!(cut.ends[0], LogPosition { file: 1, offset: 0 });
}

/// The older of two files may lose its end although the newer one was written: that it does not count then must show.
#[test]
fn what_continues_at_a_barrier_that_is_lost_does_not_count() {
    let mut first = [command("SET a 1"), command("SET b 1")].concat();
    let early = command("SET a 1").len();
    put_cut(&mut first, 9);
    let mut second = Vec::new();
    put_after(&mut second, 9);
    second.extend(command("SET c 1"));
    let (log, fault) = ScannedLog::scan(0, [&first[..], &second[..]]).unwrap();
    assert!(fault.is_none());
    assert_eq!(log.end(), LogPosition { file: 1, offset: second.len() as u64 });

    let behind = [&first[..], &command("SET d 1")].concat();
    let mut another = first[..early].to_vec();
    put_cut(&mut another, 8);
    for (what, first) in
        [("nothing", &first[..0]), ("whole units", &first[..early]), ("another", &another), ("more", &behind)]
    {
        let (log, fault) = ScannedLog::scan(0, [first, &second[..]]).unwrap();
        assert!(fault.is_some_and(|fault| fault.is_torn()), "{what}");
        assert_eq!(log.end(), LogPosition { file: 0, offset: first.len() as u64 }, "{what}");
    }
    // What Redis has written, or a recovery has emptied, says nothing of the file before.
    let plain = command("SET c 1");
    let (log, fault) = ScannedLog::scan(0, [&first[..early], &plain[..]]).unwrap();
    assert!(fault.is_none() && log.end().file == 1);
    // Nor is there one before the first.
    assert!(ScannedLog::scan(0, [&second[..]]).unwrap().1.is_none());
}

#[test]
fn a_log_can_be_cut_before_the_search() {
    let events = [part(1, &[0, 1]), Event::Barrier(2), part(2, &[0, 1])];
    let mut short = log(0, &events);
    short.cut_at(LogPosition { file: 0, offset: 2 });
    assert_eq!(short.end().offset, 2);
    assert_eq!(offsets(&cut(&[log(0, &events), short])), [2, 2]);
}

/// A history as it happens: transactions and barriers, in order; then each shard's log of it, its base, and where it was torn.
#[derive(Clone, Debug)]
struct History {
    bases: Vec<u64>,
    logs: Vec<Vec<Event>>,
}

const SHARDS: usize = 3;

fn history() -> impl Strategy<Value = History> {
    let writers = proptest::collection::btree_set(0..SHARDS as u16, 2..=SHARDS);
    let event = prop_oneof![4 => writers.prop_map(Some), 1 => Just(None)];
    let swaps = vec((0..SHARDS, 0usize..8), 0..4);
    let torn = vec(0usize..20, SHARDS);
    (vec(event, 0..9), vec(0usize..3, SHARDS), torn, swaps).prop_map(|(events, bases, torn, swaps)| {
        let mut logs = vec![vec![]; SHARDS];
        let mut barriers = vec![0];
        for (number, event) in (1..).zip(events) {
            match event {
                Some(writers) => {
                    for writer in &writers {
                        let event = Event::Part(number, writers.iter().copied().collect());
                        logs[usize::from(*writer)].push(event);
                    }
                }
                None => {
                    barriers.push(number);
                    logs.iter_mut().for_each(|log| log.push(Event::Barrier(number)));
                }
            }
        }
        // Shards need not log transactions in the same order; but none crosses a barrier.
        for (shard, place) in swaps {
            let log = &mut logs[shard];
            if let [Event::Part(..), Event::Part(..)] = log.get(place..place + 2).unwrap_or_default() {
                log.swap(place, place + 1);
            }
        }
        // Some were rewritten at one of the barriers.
        let bases: Vec<u64> = bases.iter().map(|choice| barriers[choice % barriers.len()]).collect();
        for (log, base) in logs.iter_mut().zip(&bases) {
            let start =
                log.iter().position(|event| matches!(event, Event::Barrier(number) if number == base));
            log.drain(..start.unwrap_or(0));
        }
        for (log, torn) in logs.iter_mut().zip(torn) {
            log.truncate(torn);
        }
        History { bases, logs }
    })
}

/// The definition: whether, with each log cut to so many events, every part has all its others.
fn is_closed(history: &History, ends: &[usize]) -> bool {
    let parts = |shard: usize| {
        let mut era = history.bases[shard];
        let events = history.logs[shard][..ends[shard]].iter();
        let parts = events.filter_map(move |event| match event {
            Event::Barrier(number) => {
                era = *number;
                None
            }
            Event::Part(number, writers) => Some((era, *number, writers.clone())),
        });
        parts.collect::<Vec<_>>()
    };
    let all: Vec<_> = (0..SHARDS).map(parts).collect();
    all.iter().flatten().all(|(era, number, writers)| {
        writers.iter().map(|writer| usize::from(*writer)).all(|writer| {
            history.bases[writer] > *era || all[writer].iter().any(|(e, n, _)| (e, n) == (era, number))
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_cut_is_closed_and_none_is_longer(history in history()) {
        let logs: Vec<ScannedLog> =
            history.bases.iter().zip(&history.logs).map(|(base, events)| log(*base, events)).collect();
        let found: Vec<usize> = offsets(&cut(&logs)).iter().map(|offset| *offset as usize).collect();
        prop_assert!(is_closed(&history, &found), "{:?}", found);
        let lens: Vec<usize> = history.logs.iter().map(Vec::len).collect();
        for a in 0..=lens[0] {
            for b in 0..=lens[1] {
                for c in 0..=lens[2] {
                    let other = [a, b, c];
                    if is_closed(&history, &other) {
                        prop_assert!(other.iter().zip(&found).all(|(other, found)| other <= found), "{:?}", other);
                    }
                }
            }
        }
        prop_assert!(lens != found || cut(&logs).dropped.is_empty());
    }
}
