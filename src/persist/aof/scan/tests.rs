use super::*;
use crate::persist::aof::testing::command;
use crate::persist::aof::write::{put_cut, put_exec, put_multi, put_part, put_select};
use proptest::collection::vec;
use proptest::prelude::*;

/// What a scan sees: each command or annotation as text, and how it ends.
struct Seen {
    items: Vec<String>,
    whole: u64,
    end: Result<(), Fault>,
}

fn replay(content: &[u8], window: usize) -> Seen {
    let mut scanner = Scanner::with_window(content, 0, window).unwrap();
    let mut items = Vec::new();
    let end = loop {
        match scanner.next() {
            Ok(None) => break Ok(()),
            Err(fault) => break Err(fault),
            Ok(Some(Item::Annotation(annotation))) => items.push(format!("{annotation:?}")),
            Ok(Some(Item::Command(command))) => {
                assert_eq!(command.bytes(), &content[command.start as usize..command.end as usize]);
                let args: Vec<_> = command.args().map(String::from_utf8_lossy).collect();
                items.push(args.join(" "));
            }
        }
    };
    Seen { items, whole: scanner.whole(), end }
}

fn marks(content: &[u8], window: usize) -> (Vec<Mark>, u64, Result<(), Fault>) {
    let mut scanner = Scanner::with_window(content, 0, window).unwrap();
    let mut marks = Vec::new();
    let end = loop {
        match scanner.next_mark() {
            Ok(None) => break Ok(()),
            Err(fault) => break Err(fault),
            Ok(Some(mark)) => marks.push(mark),
        }
    };
    (marks, scanner.whole(), end)
}

fn fault(content: &[u8]) -> Fault {
    let (_, _, end) = marks(content, 64);
    let fault = end.unwrap_err();
    let again = replay(content, 64).end.unwrap_err();
    assert_eq!((fault.at, fault.whole), (again.at, again.whole));
    assert_eq!(format!("{:?}", fault.reason), format!("{:?}", again.reason));
    fault
}

fn concat(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}

fn part(number: u64, shards: &[u16], is_empty: bool) -> Vec<u8> {
    let mut out = Vec::new();
    put_part(&mut out, number, shards, is_empty);
    out
}

#[test]
fn commands_and_annotations_come_one_after_the_other() {
    let content = concat(&[
        b"#TS:5\r\n",
        &command("SET a b"),
        &part(3, &[0, 1], false),
        &command("multi"),
        &command("DEL a"),
        &command("EXEC"),
        b"#CUT:4\r\n# anything\n",
    ]);
    let seen = replay(&content, 8);
    assert!(seen.end.is_ok());
    assert_eq!(seen.whole, content.len() as u64);
    let shards = Shards::from_slice(&[0, 1]);
    let gtx = format!("{:?}", Annotation::Part { number: 3, shards, is_empty: false });
    assert_eq!(seen.items, ["Time(5)", "SET a b", &gtx, "multi", "DEL a", "EXEC", "Cut(4)", "Other"]);
}

#[test]
fn places_tell_what_is_to_be_held_back() {
    let content = concat(&[&command("SET a b"), &command("MULTI"), &command("DEL a"), &command("EXEC")]);
    let mut scanner = Scanner::new(&content[..], 0).unwrap();
    let mut places = Vec::new();
    while let Some(Item::Command(command)) = scanner.next().unwrap() {
        places.push(command.place);
    }
    assert_eq!(places, [InUnit::Alone, InUnit::Opens, InUnit::Inside, InUnit::Closes]);
}

#[test]
fn a_part_is_its_annotation_and_its_unit_with_the_select_in_between() {
    let (one, several, none) = (part(1, &[0, 1], false), part(2, &[0, 1], false), part(3, &[0, 1], true));
    let content = concat(&[
        &command("SET a b"),
        &one,
        &command("SELECT 3"),
        &command("DEL a"),
        &command("SELECT 0"),
        &several,
        &command("MULTI"),
        &command("SELECT 1"),
        &command("EXEC"),
        &none,
        b"#CUT:9\r\n#TS:7\r\n",
    ]);
    let (marks, whole, end) = marks(&content, 8);
    assert!(end.is_ok());
    assert_eq!(whole, content.len() as u64);
    let shards = Shards::from_slice(&[0, 1]);
    let at = |piece: &[u8]| memchr::memmem::find(&content, piece).unwrap() as u64;
    let expected = [
        Mark::Part {
            number: 1,
            shards: shards.clone(),
            is_empty: false,
            start: at(&one),
            end: at(&command("SELECT 0")),
        },
        Mark::Part {
            number: 2,
            shards: shards.clone(),
            is_empty: false,
            start: at(&several),
            end: at(&none),
        },
        Mark::Part { number: 3, shards, is_empty: true, start: at(&none), end: at(b"#CUT") },
        Mark::Cut { number: 9, start: at(b"#CUT"), end: at(b"#CUT") + 8 },
        Mark::Time { seconds: 7, start: at(b"#TS") },
    ];
    assert_eq!(marks, expected);
}

#[test]
fn a_tail_of_zeros_is_torn_and_zeros_before_other_things_are_a_hole() {
    let good = command("SET a b");
    let zeros = fault(&concat(&[&good, &[0; 100]]));
    assert!(matches!(zeros.reason, Reason::Zeros) && zeros.is_torn());
    assert_eq!(zeros.whole, good.len() as u64);
    let hole = fault(&concat(&[&good, &[0; 1024], &good]));
    assert!(matches!(hole.reason, Reason::Hole) && !hole.is_torn());
    let few = fault(&concat(&[&good, &[0; 10], &good]));
    assert!(matches!(few.reason, Reason::Garbage(_)) && !few.is_torn());
}

#[test]
fn garbage_is_told_with_its_place() {
    let good = command("SET a b");
    for (bad, at) in [
        (&b"!!!"[..], 0),
        (b"*0\r\n", 0),
        (b"*-1\r\n", 1),
        (b"*1\n$4\r\nPING\r\n", 2),
        (b"*1\r\nPING\r\n", 4),
        (b"*1\r\n$4\r\nPINGPONG\r\n", 12),
        (b"*1\r\n$4\r\nPING\rx", 13),
        (b"*1\r\n$12345678901234567890\r\n", 24),
        (b"*1\r\n$4x\r\n", 6),
        (b"#GTX:1\r\n", 0),
        (b"*1\r\n$4\r\nEXEC\r\n", 0),
        (b"*1\r\n$5\r\nMULTI\r\n*1\r\n$5\r\nMULTI\r\n", 15),
        (b"*1\r\n$5\r\nMULTI\r\n#CUT:1\r\n", 15),
        (b"#GTX:1:0,1\r\n#GTX:2:0,1\r\n", 12),
    ] {
        let fault = fault(&concat(&[&good, bad, &good, &[b'x'; 40]]));
        let shown = String::from_utf8_lossy(bad);
        assert!(matches!(fault.reason, Reason::Garbage(_)), "{shown}: {fault}");
        assert_eq!((fault.whole, fault.at), (good.len() as u64, good.len() as u64 + at), "{shown}: {fault}");
    }
    let long = fault(&concat(&[b"#", &[b'x'; 2000], b"\n"]));
    assert_eq!(long.at, LINE_BYTES_MAX as u64);
}

#[test]
fn huge_announced_lengths_are_an_end_and_not_an_allocation() {
    for content in
        ["*1\r\n$9999999999999999999\r\nx", "*9999999999999999999\r\n$1\r\nx\r\n", "*1\r\n$99999\r\nxy"]
    {
        let mut scanner = Scanner::with_window(content.as_bytes(), 0, 64).unwrap();
        let fault = scanner.next().unwrap_err();
        assert!(matches!(fault.reason, Reason::End) && fault.whole == 0, "{content}: {fault}");
        assert!(scanner.window.len() <= 64);
    }
}

#[test]
fn a_length_that_is_wrong_does_not_make_the_window_grow() {
    let mut content = b"*1\r\n$3000000\r\n".to_vec();
    content.resize(4_000_000, b'x');
    let mut scanner = Scanner::with_window(&content[..], 0, 64).unwrap();
    assert!(matches!(scanner.next().unwrap_err().reason, Reason::Garbage(_)));
    assert!(scanner.window.len() <= 64);
}

#[test]
fn the_window_grows_for_a_large_command_and_shrinks_again() {
    let large = command(&format!("SET k {}", "v".repeat(5_000_000)));
    let content = concat(&[&command("SET a b"), &large, &command("SET c d")]);
    let seen = replay(&content, 64);
    assert_eq!((seen.items.len(), seen.whole), (3, content.len() as u64));
    let mut scanner = Scanner::with_window(&content[..], 0, 64).unwrap();
    while scanner.next().unwrap().is_some() {}
    assert!(scanner.window.len() <= 64);
    assert!(marks(&content, 64).2.is_ok());
}

#[test]
fn the_messages_are_those_of_redis() {
    let torn = fault(b"*1\r\n$4\r\nPI");
    assert!(torn
        .log_message(b"a.aof")
        .starts_with(b"Unexpected end of file reading the append only file a.aof. You can: 1)"));
    let bad = fault(b"!!!");
    assert_eq!(
        bad.log_message(b"a.aof"),
        "Bad file format reading the append only file a.aof: make a backup of your AOF file, then use \
         ./redis-check-aof --fix <filename.manifest> (neither a command nor an annotation at offset 0)"
    );
}

#[test]
fn a_preamble_is_noticed_and_the_scan_begins_behind_it() {
    let content = concat(&[b"REDIS0011 and so on", &command("SET a b")]);
    assert!(has_rdb_preamble(&&content[..]).unwrap());
    assert!(!has_rdb_preamble(&&b"REDI"[..]).unwrap());
    let mut scanner = Scanner::new(&content[..], 19).unwrap();
    assert!(matches!(scanner.next(), Ok(Some(Item::Command(command))) if command.start == 19));
    assert!(Scanner::new(&content[..], 9999).unwrap().next().unwrap().is_none());
}

/// One unit as bytes; whether it counts as whole by itself.
fn unit() -> impl Strategy<Value = Vec<u8>> {
    let words = vec("[a-zA-Z0-9\r\n*$#]{0,9}", 1..4).prop_filter("no names that make units", |words| {
        !["multi", "exec", "select"].contains(&words[0].to_lowercase().as_str())
    });
    let body = words.prop_map(|words| {
        let mut out = Vec::new();
        let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        crate::persist::aof::write::put_command(&mut out, &args);
        out
    });
    let wrapped = vec(body.clone(), 0..4).prop_map(|bodies| {
        let mut out = Vec::new();
        put_multi(&mut out);
        out.extend(bodies.concat());
        put_exec(&mut out);
        out
    });
    let plain = prop_oneof![body, wrapped];
    let part = (plain.clone(), any::<u64>(), any::<bool>()).prop_map(|(unit, number, has_select)| {
        let mut out = part(number, &[0, 1], false);
        if has_select {
            put_select(&mut out, 3);
        }
        out.extend(unit);
        out
    });
    let annotation = prop_oneof![
        any::<u64>().prop_map(|number| {
            let mut out = Vec::new();
            put_cut(&mut out, number);
            out
        }),
        any::<u64>().prop_map(|number| super::tests::part(number, &[1, 2], true)),
        Just(b"#TS:123\r\n".to_vec()),
    ];
    prop_oneof![3 => plain, 2 => part, 1 => annotation]
}

proptest! {
    #[test]
    fn every_truncation_ends_at_a_whole_unit(units in vec(unit(), 0..8), window in 8usize..100) {
        let content = units.concat();
        let mut ends = vec![0u64];
        for unit in &units {
            ends.push(ends[ends.len() - 1] + unit.len() as u64);
        }
        for len in 0..=content.len() {
            let expected = *ends.iter().rfind(|end| **end <= len as u64).unwrap();
            let is_whole = expected == len as u64;
            let (_, whole, end) = marks(&content[..len], window);
            prop_assert_eq!(whole, expected, "cut at {}", len);
            prop_assert_eq!(end.is_ok(), is_whole, "cut at {}", len);
            prop_assert!(is_whole || end.unwrap_err().is_torn());
            let seen = replay(&content[..len], window);
            prop_assert_eq!((seen.whole, seen.end.is_ok()), (expected, is_whole));
            // As a file system may show it after a loss of power.
            let zeros = concat(&[&content[..len], &[0; 700]]);
            let (_, whole, end) = marks(&zeros, window);
            prop_assert_eq!(whole, expected, "cut at {}, and zeros", len);
            prop_assert!(end.unwrap_err().is_torn(), "cut at {}, and zeros", len);
        }
    }

    #[test]
    fn any_bytes_come_to_an_end_and_both_ways_agree(
        content in prop_oneof![
            vec(any::<u8>(), 0..200),
            vec(prop_oneof![
                unit(), Just(b"*2\r\n".to_vec()), Just(b"$3\r\n".to_vec()), Just(b"abc\r\n".to_vec()),
                Just(b"#GTX:1:0\r\n".to_vec()), vec(any::<u8>(), 1..4), Just(vec![0; 600]),
            ], 0..12).prop_map(|pieces| pieces.concat()),
        ],
        window in 1usize..64,
    ) {
        let (_, whole, end) = marks(&content, window);
        let seen = replay(&content, window);
        prop_assert_eq!(whole, seen.whole);
        prop_assert_eq!(format!("{end:?}"), format!("{:?}", seen.end));
        let large = replay(&content, WINDOW_BYTES);
        prop_assert_eq!((large.whole, large.items), (seen.whole, seen.items));
    }
}
