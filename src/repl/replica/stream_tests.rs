//! The stream of a master, cut and given out.

use super::*;
use crate::repl::wire::command;

const BOUNDS: Bounds = Bounds { command_max: 1000, transaction_max: 2000, databases: 16 };

fn bytes(commands: &[&str]) -> Vec<u8> {
    commands
        .iter()
        .flat_map(|text| command(&text.split(' ').map(str::as_bytes).collect::<Vec<_>>()))
        .collect()
}

fn words(command: &Command) -> String {
    let words: Vec<String> = command.args().iter().map(|arg| String::from_utf8_lossy(arg).into()).collect();
    format!("{}:{}", command.db, words.join(" "))
}

fn shown(item: &Item) -> String {
    match item {
        Item::Command(command) => words(command),
        Item::Transaction { commands, .. } => {
            format!("[{}]", commands.iter().map(words).collect::<Vec<_>>().join(", "))
        }
        Item::Nothing { .. } => "-".into(),
        Item::AckWanted { .. } => "?".into(),
    }
}

fn items(cutter: &mut Cutter) -> Result<Vec<Item>, StreamError> {
    let mut items = Vec::new();
    while let Some(item) = cutter.next()? {
        items.push(item);
    }
    Ok(items)
}

fn cut(commands: &[&str]) -> Vec<Item> {
    let mut cutter = Cutter::new(0, 0, BOUNDS);
    cutter.push(&bytes(commands));
    items(&mut cutter).unwrap()
}

#[test]
fn a_stream_is_the_same_however_it_is_cut() {
    let stream = bytes(&[
        "SELECT 3",
        "SET a 1",
        "PING",
        "MULTI",
        "SET b 1",
        "SELECT 4",
        "INCR c",
        "PING",
        "EXEC",
        "REPLCONF GETACK *",
        "DEL x",
        "MULTI",
        "EXEC",
    ]);
    let expected = ["-", "3:SET a 1", "-", "[3:SET b 1, 4:INCR c]", "?", "4:DEL x", "[]"];
    for len in 1..=stream.len() {
        let mut cutter = Cutter::new(1000, 0, BOUNDS);
        let mut all = Vec::new();
        for piece in stream.chunks(len) {
            cutter.push(piece);
            all.extend(items(&mut cutter).unwrap());
        }
        assert_eq!(all.iter().map(shown).collect::<Vec<_>>(), expected);
        let ends: Vec<u64> = all.iter().map(Item::end).collect();
        assert!(ends.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(*ends.last().unwrap(), 1000 + stream.len() as u64);
        assert_eq!((cutter.read(), cutter.db()), (1000 + stream.len() as u64, 4));
    }
}

#[test]
fn newlines_between_commands_count() {
    let mut cutter = Cutter::new(0, 0, BOUNDS);
    cutter.push(b"\n\r\n*1\r\n$4\r\nPING\r\n");
    assert_eq!(items(&mut cutter).unwrap().last().unwrap().end(), 17);
}

#[test]
fn what_makes_no_sense_is_an_error() {
    let error = |stream: &[u8]| {
        let mut cutter = Cutter::new(0, 0, BOUNDS);
        cutter.push(stream);
        items(&mut cutter).unwrap_err()
    };
    assert!(matches!(error(b"*1\r\n!x\r\n"), StreamError::Protocol(_)));
    assert_eq!(error(&bytes(&["EXEC"])), StreamError::Nesting);
    assert_eq!(error(&bytes(&["MULTI", "MULTI"])), StreamError::Nesting);
    assert_eq!(error(&bytes(&["SELECT 16"])), StreamError::Database("16".into()));
    assert_eq!(error(&bytes(&["SELECT"])), StreamError::Database("".into()));
    let long = format!("SET k {}", "x".repeat(990));
    assert_eq!(error(&bytes(&[&long])), StreamError::CommandTooLong);
    let part = format!("SET k {}", "x".repeat(900));
    assert_eq!(error(&bytes(&["MULTI", &part, &part, &part])), StreamError::TransactionTooLong);
    let mut cutter = Cutter::new(0, 0, BOUNDS);
    cutter.push(b"*100000\r\n");
    for _ in 0..10 {
        cutter.push(&b"$1\r\nx\r\n".repeat(20));
        if cutter.next().is_err() {
            return;
        }
        assert!(cutter.memory_bytes() < 20_000);
    }
    panic!("a command without an end was taken");
}

#[test]
fn a_stream_that_ends_within_a_transaction_gives_nothing_of_it() {
    let mut cutter = Cutter::new(0, 0, BOUNDS);
    cutter.push(&bytes(&["SET a 1", "MULTI", "SET b 1"]));
    assert_eq!(items(&mut cutter).unwrap().iter().map(shown).collect::<Vec<_>>(), ["0:SET a 1"]);
    assert!(cutter.is_in_transaction());
}

/// Two keys, one for each of two shards.
fn key(shard: usize) -> String {
    (0..).map(|n| format!("k{n}")).find(|key| shard_of_slot(slot_of(key.as_bytes()), 2) == shard).unwrap()
}

fn schedule(commands: &[&str]) -> Schedule {
    let mut schedule = Schedule::new(2, 0, 0, 1 << 20);
    cut(commands).into_iter().for_each(|item| schedule.push(item));
    schedule
}

fn next(schedule: &mut Schedule) -> Option<(WorkId, String)> {
    let work = schedule.next_work()?;
    let items: Vec<String> = work.items.iter().map(shown).collect();
    Some((work.id, format!("{:?} {}", work.target, items.join("; "))))
}

#[test]
fn shards_work_at_once_and_the_offset_is_what_all_have_done() {
    let (a, b) = (key(0), key(1));
    let sets = [format!("SET {a} 1"), format!("SET {b} 2"), format!("SET {a} 3"), "PING".into()];
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let ends: Vec<u64> = cut(&sets).iter().map(Item::end).collect();
    let mut schedule = schedule(&sets);
    let (first, text) = next(&mut schedule).unwrap();
    assert_eq!(text, format!("One(0) 0:SET {a} 1; 0:SET {a} 3"));
    let (second, text) = next(&mut schedule).unwrap();
    assert_eq!(text, format!("One(1) 0:SET {b} 2"));
    assert!(schedule.next_work().is_none());
    schedule.done(second);
    assert_eq!(schedule.applied(), 0);
    schedule.done(first);
    assert_eq!(schedule.applied(), ends[3], "PING included");
    assert_eq!((schedule.fill(), schedule.is_idle()), (0, true));
}

#[test]
fn what_several_shards_need_runs_alone_on_them() {
    let (a, b) = (key(0), key(1));
    let commands = [
        format!("SET {a} 1"),
        "MULTI".into(),
        format!("SET {a} 2"),
        format!("SET {b} 2"),
        "EXEC".into(),
        format!("SET {b} 3"),
    ];
    let mut schedule = schedule(&commands.iter().map(String::as_str).collect::<Vec<_>>());
    let (first, _) = next(&mut schedule).unwrap();
    assert!(next(&mut schedule).is_none(), "shard 1 waits for the transaction, which waits for shard 0");
    schedule.done(first);
    let (both, text) = next(&mut schedule).unwrap();
    assert_eq!(text, format!("Several([0, 1]) [0:SET {a} 2, 0:SET {b} 2]"));
    assert!(next(&mut schedule).is_none());
    schedule.done(both);
    assert_eq!(next(&mut schedule).unwrap().1, format!("One(1) 0:SET {b} 3"));
}

#[test]
fn what_the_same_shards_need_runs_together_on_them() {
    let (a, b) = (key(0), key(1));
    let pair = |n: usize| format!("MSET {a} {n} {b} {n}");
    let one = |key: &str, n: usize| format!("SET {key} {n}");
    let few: Vec<String> = vec![pair(1), one(&b, 2), pair(3), pair(4), one(&a, 5), one(&b, 6)];
    let mut schedule = schedule(&few.iter().map(String::as_str).collect::<Vec<_>>());
    let (together, text) = next(&mut schedule).unwrap();
    assert_eq!(
        text,
        format!("Several([0, 1]) 0:{}", few[..4].join("; 0:")),
        "and no more than they need both"
    );
    assert!(next(&mut schedule).is_none());
    schedule.done(together);
    assert_eq!(next(&mut schedule).unwrap().1, format!("One(0) 0:{}", few[4]));
    assert_eq!(next(&mut schedule).unwrap().1, format!("One(1) 0:{}", few[5]));

    // Not over many of one shard, not with what has no keys, not with what others need, and not over a barrier.
    let on = |shard: usize, shards: usize| {
        (0..)
            .map(|n| format!("k{n}"))
            .find(|k| shard_of_slot(slot_of(k.as_bytes()), shards) == shard)
            .unwrap()
    };
    let [x, y, z] = [0, 1, 2].map(|shard| on(shard, 3));
    let pair = format!("MSET {x} 1 {y} 1");
    let many: Vec<String> = (0..BETWEEN_MAX + 1).map(|n| one(&x, n)).collect();
    let others: [Vec<String>; 3] = [many, vec!["FLUSHALL".into()], vec![format!("MSET {y} 1 {z} 1")]];
    for between in others {
        let commands = [vec![pair.clone()], between.clone(), vec![pair.clone()]].concat();
        let mut schedule = Schedule::new(3, 0, 0, 1 << 20);
        cut(&commands.iter().map(String::as_str).collect::<Vec<_>>())
            .into_iter()
            .for_each(|i| schedule.push(i));
        assert_eq!(next(&mut schedule).unwrap().1, format!("Several([0, 1]) 0:{pair}"), "{between:?}");
    }
    let mut schedule = Schedule::new(3, 0, 0, 1 << 20);
    let commands = [one(&z, 1), pair.clone(), pair.clone()];
    cut(&commands.iter().map(String::as_str).collect::<Vec<_>>())
        .into_iter()
        .for_each(|item| schedule.push(item));
    let (first, text) = next(&mut schedule).unwrap();
    assert_eq!(text, format!("Several([0, 1]) 0:{pair}; 0:{pair}"));
    schedule.raise_barrier();
    assert_eq!(next(&mut schedule).unwrap().1, format!("One(2) 0:{}", commands[0]));
    schedule.done(first);
}

#[test]
fn what_has_no_keys_keeps_its_place_on_all_shards() {
    let (a, b) = (key(0), key(1));
    let set = |key: &str| format!("SET {key} 1");
    let mut schedule = schedule(&[&set(&b), "FLUSHALL", &set(&a), "FUNCTION FLUSH"]);
    let (first, text) = next(&mut schedule).unwrap();
    assert!(text.starts_with("One(1)"));
    schedule.done(first);
    let (flush, text) = next(&mut schedule).unwrap();
    assert_eq!(text, "Several([0, 1]) 0:FLUSHALL");
    schedule.done(flush);
    let (last, _) = next(&mut schedule).unwrap();
    schedule.done(last);
    assert_eq!(next(&mut schedule).unwrap().1, "Several([0, 1]) 0:FUNCTION FLUSH");
}

#[test]
fn an_unknown_command_is_the_first_shards_to_refuse() {
    let mut schedule = schedule(&["NOSUCH x", "GET"]);
    assert_eq!(next(&mut schedule).unwrap().1, "One(0) 0:NOSUCH x; 0:GET");
}

#[test]
fn an_acknowledgement_is_due_when_all_before_it_is_applied() {
    let a = key(0);
    let mut schedule = schedule(&[&format!("SET {a} 1"), "REPLCONF GETACK *"]);
    assert!(!schedule.take_ack_due());
    let (id, _) = next(&mut schedule).unwrap();
    schedule.done(id);
    assert!(schedule.take_ack_due() && !schedule.take_ack_due());
}

#[test]
fn a_lost_link_leaves_what_runs_and_what_others_have_overtaken() {
    let (a, b) = (key(0), key(1));
    let set = |key: &str| format!("SET {key} 1");
    // Shard 1 waits for the transaction, which waits for shard 0; shard 2 has overtaken both.
    let pair = format!("MSET {a} 1 {b} 1");
    let c = (0..).map(|n| format!("c{n}")).find(|c| shard_of_slot(slot_of(c.as_bytes()), 3) == 2).unwrap();
    let on = |shard: usize| {
        (0..).map(|n| format!("k{n}")).find(|k| shard_of_slot(slot_of(k.as_bytes()), 3) == shard).unwrap()
    };
    let pair_of_three = format!("MSET {} 1 {} 1", on(0), on(1));
    let sets = [set(&on(0)), pair_of_three, set(&on(1)), set(&c), set(&c), pair, "FLUSHALL".into(), set(&c)];
    let items = cut(&sets.iter().map(String::as_str).collect::<Vec<_>>());
    for is_lost in [true, false] {
        let mut schedule = Schedule::new(3, 0, 0, 1 << 20);
        items.iter().cloned().for_each(|item| schedule.push(item));
        let first = next(&mut schedule).unwrap().0;
        let overtaker = next(&mut schedule).unwrap();
        assert!(overtaker.1.starts_with("One(2)"), "{overtaker:?}");
        schedule.done(overtaker.0);
        assert_eq!(schedule.applied(), 0);
        if is_lost {
            schedule.drop_waiting();
        } else {
            schedule.raise_barrier();
            assert!(!schedule.is_at_barrier());
        }
        schedule.done(first);
        for shards in ["Several([0, 1])", "One(1)"] {
            let (id, text) = next(&mut schedule).unwrap();
            assert!(text.starts_with(shards), "{text}");
            schedule.done(id);
        }
        assert!(next(&mut schedule).is_none());
        assert_eq!(schedule.applied(), items[4].end(), "everything up to what was overtaken, and no more");
        assert_eq!(schedule.is_idle(), is_lost);
        if !is_lost {
            assert!(schedule.is_at_barrier());
            schedule.lower_barrier();
            assert!(next(&mut schedule).is_some());
        }
    }
    let mut schedule = Schedule::new(2, 0, 0, 1 << 20);
    schedule.raise_barrier();
    assert!(schedule.is_at_barrier(), "nothing was given out");
}

#[test]
fn the_database_at_the_applied_offset_is_known() {
    let a = key(0);
    let set = format!("SET {a} 1");
    let mut schedule = schedule(&["SELECT 3", &set, "SELECT 5", &set]);
    assert_eq!(schedule.applied_db(), 3);
    let mut cutter = Cutter::new(0, 0, BOUNDS);
    cutter.push(&bytes(&["MULTI", "SELECT 2", &set, "EXEC"]));
    let item = cutter.next().unwrap().unwrap();
    assert_eq!(item.db(), 2);
    let (id, _) = next(&mut schedule).unwrap();
    schedule.drop_waiting();
    schedule.done(id);
    assert_eq!(schedule.applied_db(), 5);
}

#[test]
fn the_fill_stops_the_reader() {
    let mut schedule = Schedule::new(2, 0, 0, 500);
    for item in cut(&[&format!("SET k {}", "x".repeat(900))]) {
        schedule.push(item);
    }
    assert!(schedule.is_full());
    let work = schedule.next_work().unwrap();
    assert!(schedule.is_full(), "what runs is memory too");
    schedule.done(work.id);
    assert_eq!(schedule.fill(), 0);
}

#[test]
fn every_key_sees_its_commands_in_order_whatever_shards_do() {
    for seed in 1..300u64 {
        let mut random = seed;
        let mut below = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let mut stream = Vec::new();
        for n in 0..60 {
            let key = |k: u64| format!("key{k}");
            match below(6) {
                0 => {
                    stream.push("MULTI".to_owned());
                    stream.extend((0..1 + below(3)).map(|_| format!("RPUSH {} {n}", key(below(6)))));
                    stream.push("EXEC".to_owned());
                }
                1 => stream.push(format!("MSET {} {n} {} {n}", key(below(6)), key(below(6)))),
                2 if below(8) == 0 => stream.push("FLUSHALL".to_owned()),
                3 => stream.push("PING".to_owned()),
                _ => stream.push(format!("RPUSH {} {n}", key(below(6)))),
            }
        }
        let lent: Vec<&str> = stream.iter().map(String::as_str).collect();
        let items = cut(&lent);
        let last = items.last().unwrap().end();
        let mut schedule = Schedule::new(3, 0, 0, 1 << 20);
        // Of each shard, the work that it has been given, in order.
        let mut running: Vec<VecDeque<Work>> = vec![VecDeque::new(); 3];
        let mut applied: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        let mut pushed = items.into_iter();
        let mut alone: Vec<Work> = Vec::new();
        loop {
            match below(3) {
                0 => pushed.next().into_iter().for_each(|item| schedule.push(item)),
                1 => {
                    if let Some(work) = schedule.next_work() {
                        match &work.target {
                            Target::One(shard) => running[*shard].push_back(work),
                            Target::Several(shards) => {
                                assert!(shards.iter().all(|shard| running[*shard].is_empty()));
                                alone.push(work);
                            }
                        }
                    }
                }
                _ => {
                    let shard = below(3) as usize;
                    let work = if below(2) == 0 { alone.pop() } else { running[shard].pop_front() };
                    if let Some(work) = work {
                        let shards: Vec<usize> = match &work.target {
                            Target::One(shard) => vec![*shard],
                            Target::Several(shards) => shards.to_vec(),
                        };
                        for shard in shards {
                            applied.entry(shard).or_default().extend(work.items.iter().map(Item::end));
                        }
                        schedule.done(work.id);
                    }
                }
            }
            for ends in applied.values() {
                assert!(
                    ends.windows(2).all(|pair| pair[0] < pair[1]),
                    "seed {seed}: a shard's order is the stream's"
                );
            }
            if schedule.applied() == last {
                break;
            }
        }
        assert!(schedule.is_idle() && schedule.fill() == 0);
    }
}
