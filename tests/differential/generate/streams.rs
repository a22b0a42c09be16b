//! Streams and their consumer groups. IDs are explicit; how long something was idle is left out of the comparison, and
//! conditions on it are such that it does not matter.

use super::{args, Args, Draw, Family};

pub const FAMILY: Family = Family {
    name: "streams",
    needs: &[
        "XACK",
        "XADD",
        "XAUTOCLAIM",
        "XCLAIM",
        "XDEL",
        "XGROUP",
        "XINFO",
        "XLEN",
        "XPENDING",
        "XRANGE",
        "XREAD",
        "XREADGROUP",
        "XREVRANGE",
        "XSETID",
        "XTRIM",
    ],
    share: 0,
    step,
};

fn step(draw: &mut Draw) -> Vec<Args> {
    let key = self::key(draw);
    let args = match draw.below(48) {
        0..=9 => return add(draw),
        10 => [args!["XDEL", key], ids(draw)].concat(),
        11 => [args!["XTRIM", key], trimming(draw)].concat(),
        12 => args!["XLEN", key],
        13..=15 => {
            let mut args = args![draw.word(&["XRANGE", "XREVRANGE"]), key, border(draw), border(draw)];
            if draw.one_in(2) {
                args.extend(args!["COUNT", draw.count()]);
            }
            args
        }
        16 | 17 => read(draw),
        18..=23 => {
            let args = read_group(draw);
            return with_consumers(draw, args);
        }
        24 | 25 => args!["XGROUP", "CREATE", key, name(draw), draw.word(&["0", "$"]), "MKSTREAM"],
        26 | 27 => group(draw),
        28..=30 => [args!["XACK", key, name(draw)], ids(draw)].concat(),
        31..=34 => pending(draw),
        35..=40 => {
            let args = if draw.one_in(3) { auto_claim(draw) } else { claim(draw) };
            return with_consumers(draw, args);
        }
        41 => {
            let args = set_id(draw);
            if !draw.modern {
                // Redis refuses an ID below the greatest deleted one only since 7.2.
                let forget = args!["DEL", args[1].clone()];
                return vec![args, forget];
            }
            args
        }
        42..=46 => info(draw),
        _ => args!["XRANGE", key, "-", "+"],
    };
    draw.alone(args)
}

/// Redis makes the consumer even if it gets nothing only since 7.2: for an older oracle it is there before.
fn with_consumers(draw: &mut Draw, args: Args) -> Vec<Args> {
    if draw.modern {
        return draw.alone(args);
    }
    let reads = args[0].eq_ignore_ascii_case(b"XREADGROUP");
    // XREADGROUP GROUP group consumer, XCLAIM key group consumer.
    let (group, consumer) = (args[2].clone(), args[3].clone());
    let keys: Args = if reads {
        let streams =
            args.iter().position(|arg| arg.eq_ignore_ascii_case(b"STREAMS")).unwrap_or(args.len() - 1);
        args[streams + 1..].to_vec()
    } else {
        vec![args[1].clone()]
    };
    let make = |key| args!["XGROUP", "CREATECONSUMER", key, group.clone(), consumer.clone()];
    keys.into_iter().map(make).chain([args.clone()]).collect()
}

fn add(draw: &mut Draw) -> Vec<Args> {
    let key = self::key(draw);
    if draw.one_in(40) {
        // Its ID is the time.
        let args = args!["XADD", key.clone(), "*", draw.element(), draw.element()];
        return vec![args, args!["DEL", key]];
    }
    let mut commands = Vec::new();
    let times = if draw.one_in(20) { 30 + draw.below(90) } else { 1 };
    for _ in 0..times {
        let mut args = args!["XADD", key.clone()];
        if draw.one_in(8) {
            args.push(draw.word(&["NOMKSTREAM", "nomkstream"]).into());
        }
        if draw.one_in(5) {
            args.extend(trimming(draw));
        }
        let id = match draw.below(16) {
            0 if draw.one_in(4) => id(draw),
            1 if draw.one_in(4) => format!("{}-*", draw.below(30)),
            2 if draw.one_in(8) => draw
                .word(&["0-0", "0-*", "18446744073709551615-18446744073709551615", "-", "1-1-1", "", "x-*"])
                .to_owned(),
            3..=8 => {
                draw.stream_ms += draw.below(2) as u64;
                format!("{}-*", draw.stream_ms)
            }
            _ => {
                draw.stream_ms += 1;
                let seq = draw.below(3);
                format!("{}-{seq}", draw.stream_ms)
            }
        };
        args.push(id.into_bytes());
        // Mostly the same fields, which a stream does not repeat.
        let fields = *draw.random.pick(&[1, 1, 2, 3]);
        for field in ["name", "value", "more"].iter().take(fields) {
            let field = if draw.one_in(4) { draw.element() } else { Vec::from(*field) };
            args.extend([field, draw.element()]);
        }
        if draw.one_in(60) {
            args.pop();
        }
        commands.push(args);
    }
    commands
}

fn trimming(draw: &mut Draw) -> Args {
    let mut args = Args::new();
    let strategy = draw.word(&["MAXLEN", "MAXLEN", "MINID", "maxlen", "MINID", "x"]);
    args.push(strategy.into());
    let about = draw.below(3);
    if about < 2 {
        args.push(["~", "="][about].into());
    }
    if strategy == "MINID" {
        args.push(id(draw).into());
    } else {
        args.push(draw.word(&["0", "1", "3", "10", "50", "100", "-1", "x"]).into());
    }
    if draw.one_in(6) || (about == 0 && draw.one_in(3)) {
        args.extend(args!["LIMIT", draw.word(&["0", "1", "10", "100", "1000", "-1", "x"])]);
    }
    args
}

/// Some of it is there.
fn id(draw: &mut Draw) -> String {
    let ms = draw.stream_ms.saturating_sub(draw.random.below(12) as u64);
    match draw.below(14) {
        0 => draw.word(&["0", "0-0", "0-1", "5", "1-"]).to_owned(),
        1 if draw.one_in(6) => "18446744073709551615-18446744073709551615".to_owned(),
        1 => draw
            .word(&["x", "", "-1-1", "1-x", "18446744073709551616-0", "1-18446744073709551615"])
            .to_owned(),
        2..=4 => ms.to_string(),
        _ => format!("{ms}-{}", draw.below(3)),
    }
}

fn ids(draw: &mut Draw) -> Args {
    (0..1 + draw.below(4)).map(|_| id(draw).into_bytes()).collect()
}

fn border(draw: &mut Draw) -> Vec<u8> {
    match draw.below(8) {
        0..=2 => draw.word(&["-", "+"]).into(),
        3 => format!("({}", id(draw)).into(),
        4 => draw.word(&["(-", "(+", "(", "(18446744073709551615-18446744073709551615", "(0-0", "*"]).into(),
        _ => id(draw).into(),
    }
}

/// Few streams, so that groups and what they read come together.
fn key(draw: &mut Draw) -> Vec<u8> {
    let anywhere = draw.one_in(6);
    match draw.home {
        Some((place, _)) if !anywhere => super::words::KEYS[place].to_vec(),
        _ => draw.key(),
    }
}

fn keys(draw: &mut Draw) -> Args {
    (0..*draw.random.pick(&[1, 1, 1, 1, 1, 2, 3])).map(|_| key(draw)).collect()
}

fn name(draw: &mut Draw) -> &'static str {
    if draw.one_in(8) {
        draw.word(&["h", "", "none"])
    } else {
        "g"
    }
}

fn consumer(draw: &mut Draw) -> &'static str {
    draw.word(&["alice", "alice", "bob", "bob", "carol", ""])
}

/// A wait of a millisecond: of 0 it would be without end.
fn block(draw: &mut Draw) -> Args {
    args![draw.word(&["BLOCK", "block"]), draw.word(&["1", "1", "1", "2", "-1", "x", "1.5"])]
}

fn read(draw: &mut Draw) -> Args {
    let mut args = args!["XREAD"];
    if draw.one_in(2) {
        args.extend(args!["COUNT", draw.count()]);
    }
    if draw.one_in(6) {
        args.extend(block(draw));
    }
    streams(draw, &mut args, "$")
}

fn streams(draw: &mut Draw, args: &mut Args, newest: &str) -> Args {
    args.push(draw.word(&["STREAMS", "STREAMS", "streams", "STREAMS"]).into());
    let keys = keys(draw);
    let count = keys.len();
    args.extend(keys);
    for _ in 0..count {
        let id = match draw.below(8) {
            0..=3 => newest.to_owned(),
            4 => draw.word(&["0", "0-0", ">", "$", "+"]).to_owned(),
            _ => id(draw),
        };
        args.push(id.into());
    }
    if draw.one_in(40) {
        args.pop();
    }
    std::mem::take(args)
}

fn read_group(draw: &mut Draw) -> Args {
    let mut args = args![draw.word(&["XREADGROUP", "xreadgroup"]), "GROUP", name(draw), consumer(draw)];
    if draw.one_in(2) {
        args.extend(args!["COUNT", draw.count()]);
    }
    if draw.one_in(8) {
        args.extend(block(draw));
    }
    if draw.one_in(4) {
        args.push("NOACK".into());
    }
    streams(draw, &mut args, ">")
}

fn group(draw: &mut Draw) -> Args {
    let key = self::key(draw);
    let mut args = match draw.below(12) {
        0..=5 => {
            let mut args = args!["XGROUP", draw.word(&["CREATE", "create"]), key, name(draw), group_id(draw)];
            if draw.one_in(2) {
                args.push(draw.word(&["MKSTREAM", "mkstream", "MKSTREAM", "MKSTREAM", "x"]).into());
            }
            entries_read(draw, &mut args);
            args
        }
        6 | 7 => {
            let mut args = args!["XGROUP", "SETID", key, name(draw), group_id(draw)];
            entries_read(draw, &mut args);
            args
        }
        8 => args!["XGROUP", "DESTROY", key, name(draw)],
        9 => args!["XGROUP", "CREATECONSUMER", key, name(draw), consumer(draw)],
        10 => args!["XGROUP", "DELCONSUMER", key, name(draw), consumer(draw)],
        _ => args!["XGROUP", draw.word(&["x", "CREATE", "DESTROY"]), key],
    };
    if draw.one_in(40) {
        args.pop();
    }
    args
}

fn group_id(draw: &mut Draw) -> Vec<u8> {
    match draw.below(4) {
        0 | 1 => draw.word(&["$", "0", "0-0", "0"]).into(),
        2 if draw.one_in(3) => draw.word(&["-", "+", "x", ">"]).into(),
        _ => id(draw).into(),
    }
}

fn entries_read(draw: &mut Draw, args: &mut Args) {
    if draw.one_in(4) {
        args.extend(args!["ENTRIESREAD", draw.word(&["0", "1", "3", "10", "-1", "100", "2", "-2", "x"])]);
    }
}

fn pending(draw: &mut Draw) -> Args {
    let mut args = args!["XPENDING", key(draw), name(draw)];
    if draw.one_in(3) {
        return args;
    }
    if draw.one_in(3) {
        args.extend(args!["IDLE", draw.word(&["0", "0", "500000000", "x", "-1"])]);
    }
    args.extend([border(draw), border(draw), draw.count()]);
    if draw.one_in(3) {
        args.push(consumer(draw).into());
    }
    args
}

/// Either all have waited that long, or only what XCLAIM has made older.
fn idle(draw: &mut Draw) -> &'static str {
    draw.word(&["0", "0", "0", "0", "0", "0", "500000000", "500000000", "-1", "x"])
}

fn claim(draw: &mut Draw) -> Args {
    let mut args = args!["XCLAIM", key(draw), name(draw), consumer(draw), idle(draw)];
    args.extend(ids(draw));
    for _ in 0..*draw.random.pick(&[0, 1, 1, 2, 3]) {
        match draw.below(8) {
            0 => args.extend(args!["IDLE", draw.word(&["0", "1000000000", "x"])]),
            1 => args.extend(args!["TIME", draw.word(&["0", "1000", "x"])]),
            2 => args.extend(args!["RETRYCOUNT", draw.word(&["0", "3", "9223372036854775807", "x", "-1"])]),
            3 | 4 => args.push(draw.word(&["FORCE", "force"]).into()),
            5 | 6 => args.push("JUSTID".into()),
            _ => args.extend(args!["LASTID", id(draw)]),
        }
    }
    args
}

fn auto_claim(draw: &mut Draw) -> Args {
    let mut args = args!["XAUTOCLAIM", key(draw), name(draw), consumer(draw), idle(draw)];
    args.push(if draw.one_in(2) { "0-0".into() } else { border(draw) });
    if draw.one_in(2) {
        args.extend(args!["COUNT", draw.word(&["1", "2", "10", "100", "0", "-1", "x"])]);
    }
    if draw.one_in(3) {
        args.push(draw.word(&["JUSTID", "justid", "x"]).into());
    }
    args
}

fn set_id(draw: &mut Draw) -> Args {
    let id = if !draw.one_in(6) { format!("{}-5", draw.stream_ms) } else { id(draw) };
    let mut args = args!["XSETID", key(draw), id];
    if draw.one_in(2) {
        args.extend(args!["ENTRIESADDED", draw.word(&["0", "5", "200", "-1", "x"])]);
    }
    if draw.one_in(2) {
        args.extend(args!["MAXDELETEDID", self::id(draw)]);
    }
    args
}

fn info(draw: &mut Draw) -> Args {
    let key = self::key(draw);
    match draw.below(6) {
        0 => args!["XINFO", "STREAM", key],
        1 | 2 => {
            let mut args = args!["XINFO", "STREAM", key, draw.word(&["FULL", "full", "FULL", "x"])];
            if draw.one_in(2) {
                args.extend(args!["COUNT", draw.count()]);
            }
            args
        }
        3 => args!["XINFO", draw.word(&["GROUPS", "groups"]), key],
        4 => args!["XINFO", "CONSUMERS", key, name(draw)],
        _ => args!["XINFO", draw.word(&["x", "STREAM", "GROUPS"]), key],
    }
}
