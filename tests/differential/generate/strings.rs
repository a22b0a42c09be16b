//! Strings and counters.

use super::{args, Args, Draw, Family};

pub const FAMILY: Family = Family {
    name: "strings",
    needs: &[
        "APPEND",
        "DECR",
        "DECRBY",
        "GET",
        "GETDEL",
        "GETEX",
        "GETRANGE",
        "GETSET",
        "INCR",
        "INCRBY",
        "INCRBYFLOAT",
        "LCS",
        "MGET",
        "MSET",
        "MSETNX",
        "PSETEX",
        "SET",
        "SETEX",
        "SETNX",
        "SETRANGE",
        "STRLEN",
        "SUBSTR",
    ],
    share: 0,
    step,
};

fn step(draw: &mut Draw) -> Vec<Args> {
    let key = draw.key();
    let args = match draw.below(30) {
        0..=4 => return set(draw),
        5 => args!["SETEX", key, draw.ttl(1), draw.value()],
        6 => args!["PSETEX", key, draw.ttl(1_000), draw.value()],
        7 => args![draw.word(&["SETNX", "GETSET"]), key, draw.value()],
        8 | 9 => args!["GET", key],
        10 => args![draw.word(&["GETDEL", "STRLEN"]), key],
        11 | 12 => getex(draw),
        13 | 14 => args!["APPEND", key, draw.value()],
        15 | 16 => setrange(draw),
        17 | 18 => args![draw.word(&["GETRANGE", "GETRANGE", "SUBSTR"]), key, draw.offset(), draw.offset()],
        19 => args![draw.word(&["INCR", "DECR"]), key],
        20 | 21 => args![draw.word(&["INCRBY", "DECRBY"]), key, draw.integer()],
        22 | 23 => args!["INCRBYFLOAT", key, draw.float()],
        24 => args!["SET", key, draw.float()],
        25 => [args!["MGET"], draw.keys()].concat(),
        26 | 27 => {
            let mut args = args![draw.word(&["MSET", "MSET", "MSETNX"])];
            for key in draw.keys() {
                args.extend([key, draw.value()]);
            }
            args
        }
        _ => lcs(draw),
    };
    draw.alone(args)
}

fn set(draw: &mut Draw) -> Vec<Args> {
    let mut args = args!["SET", draw.key(), draw.value()];
    if draw.one_in(25) {
        // A time that has passed, which is noticed when somebody looks.
        let look = args!["GET", args[1].clone()];
        args.extend(args![draw.word(&["EXAT", "PXAT"]), "1000"]);
        return vec![args, look];
    }
    for _ in 0..*draw.random.pick(&[0, 0, 0, 1, 1, 1, 2, 2, 3]) {
        let option =
            draw.word(&["NX", "XX", "GET", "KEEPTTL", "EX", "PX", "EXAT", "PXAT", "nx", "get", "ex", "bad"]);
        push_option(draw, &mut args, option);
    }
    draw.alone(args)
}

fn getex(draw: &mut Draw) -> Args {
    let mut args = args!["GETEX", draw.key()];
    for _ in 0..*draw.random.pick(&[0, 1, 1, 1, 2]) {
        let option = draw.word(&["PERSIST", "EX", "PX", "EXAT", "PXAT", "persist", "NX", "KEEPTTL", "bad"]);
        push_option(draw, &mut args, option);
    }
    args
}

fn push_option(draw: &mut Draw, args: &mut Args, option: &str) {
    args.push(option.into());
    match option {
        "EX" | "ex" => args.push(draw.ttl(1)),
        "PX" => args.push(draw.ttl(1_000)),
        "EXAT" => args.push(draw.deadline(1)),
        "PXAT" => args.push(draw.deadline(1_000)),
        _ => {}
    }
}

fn setrange(draw: &mut Draw) -> Args {
    let offset = match draw.below(12) {
        // Above the largest string.
        0 => "536870912",
        1 => "9223372036854775807",
        2 => "-1",
        3 => "x",
        _ => draw.word(&["0", "1", "3", "5", "20", "44", "45", "100", "300"]),
    };
    args!["SETRANGE", draw.key(), offset, draw.value()]
}

fn lcs(draw: &mut Draw) -> Args {
    let mut args = args!["LCS", draw.key(), draw.key()];
    for _ in 0..*draw.random.pick(&[0, 1, 1, 2, 3]) {
        match draw.below(8) {
            0 => args.push("LEN".into()),
            1..=3 => args.push("IDX".into()),
            4 | 5 => args.push("WITHMATCHLEN".into()),
            6 => args.extend(args!["MINMATCHLEN", draw.count()]),
            _ => args.push("x".into()),
        }
    }
    args
}
