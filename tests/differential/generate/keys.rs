//! Commands on keys of any type.

use super::{args, Args, Draw, Family};

pub const FAMILY: Family = Family {
    name: "keys",
    needs: &[
        "COPY",
        "DBSIZE",
        "DEL",
        "EXISTS",
        "EXPIRE",
        "EXPIREAT",
        "EXPIRETIME",
        "FLUSHALL",
        "FLUSHDB",
        "KEYS",
        "MOVE",
        "OBJECT",
        "PERSIST",
        "PEXPIRE",
        "PEXPIREAT",
        "PEXPIRETIME",
        "PTTL",
        "RANDOMKEY",
        "RENAME",
        "RENAMENX",
        "SCAN",
        "SELECT",
        "SWAPDB",
        "TOUCH",
        "TTL",
        "TYPE",
        "UNLINK",
    ],
    share: 14,
    step,
};

fn step(draw: &mut Draw) -> Vec<Args> {
    let key = draw.key();
    let args = match draw.below(50) {
        0..=3 => [args![draw.word(&["DEL", "UNLINK"])], draw.keys()].concat(),
        4 | 5 => [args![draw.word(&["EXISTS", "TOUCH"])], draw.keys()].concat(),
        6 | 7 => args!["TYPE", key],
        8..=11 => args![draw.word(&["RENAME", "RENAME", "RENAMENX"]), key, draw.key()],
        12..=15 => copy(draw),
        16 | 17 => args!["MOVE", key, draw.database()],
        18..=22 => expire(draw),
        23..=26 => args![draw.word(&["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"]), key],
        27 => args!["PERSIST", key],
        28..=33 => {
            let what = draw.word(&[
                "ENCODING", "ENCODING", "ENCODING", "encoding", "REFCOUNT", "IDLETIME", "FREQ", "bad",
            ]);
            args!["OBJECT", what, key]
        }
        34 | 35 => args!["KEYS", draw.pattern()],
        36 | 37 => scan(draw),
        38 => args!["DBSIZE"],
        39 => args!["RANDOMKEY"],
        40 if draw.one_in(3) => args!["SWAPDB", draw.database(), draw.database()],
        41 if draw.one_in(6) => {
            let mut args = args![draw.word(&["FLUSHDB", "FLUSHDB", "FLUSHALL"])];
            if draw.one_in(2) {
                args.push(draw.word(&["SYNC", "ASYNC", "async", "bad"]).into());
            }
            args
        }
        42 => args!["SELECT", draw.database()],
        43 => args!["SELECT", "0"],
        44 => args!["ECHO", draw.value()],
        45 => args![draw.word(&["PING", "ping"]), draw.value()],
        46 => [args![draw.word(&["NOSUCHCOMMAND", "object"]), "nosuch"], args!["x", "y"]].concat(),
        _ => args!["OBJECT", "ENCODING", key],
    };
    draw.alone(args)
}

fn copy(draw: &mut Draw) -> Args {
    let mut args = args!["COPY", draw.key(), draw.key()];
    for _ in 0..*draw.random.pick(&[0, 1, 1, 2]) {
        match draw.below(9) {
            0..=2 => args.extend(args!["DB", draw.database()]),
            3..=7 => args.push("REPLACE".into()),
            _ => args.push(draw.word(&["DB", "x", "replac"]).into()),
        }
    }
    args
}

fn expire(draw: &mut Draw) -> Args {
    let mut args = match draw.below(5) {
        0 => args!["EXPIRE", draw.key(), draw.ttl(1)],
        1 => args!["PEXPIRE", draw.key(), draw.ttl(1_000)],
        2 => args!["EXPIREAT", draw.key(), draw.deadline(1)],
        3 => args!["PEXPIREAT", draw.key(), draw.deadline(1_000)],
        // In the past, where the key goes at once.
        _ => args![draw.word(&["EXPIREAT", "PEXPIREAT"]), draw.key(), draw.word(&["1", "1000", "0", "-5"])],
    };
    for _ in 0..*draw.random.pick(&[0, 0, 0, 1, 1, 1, 2]) {
        args.push(draw.word(&["NX", "XX", "GT", "LT", "nx", "xx", "gt", "lt", "Gt", "x"]).into());
    }
    args
}

fn scan(draw: &mut Draw) -> Args {
    let cursor = match draw.below(20) {
        0 => draw.word(&["x", "", "18446744073709551616", "1x"]),
        _ => "0",
    };
    let mut args = args!["SCAN", cursor];
    for _ in 0..*draw.random.pick(&[0, 1, 1, 2, 3]) {
        match draw.below(8) {
            0..=2 => args.extend(args!["COUNT", draw.word(&["1", "3", "10", "1000", "0", "x"])]),
            3..=5 => args.extend(args!["MATCH", draw.pattern()]),
            6 => args.extend(args!["TYPE", draw.word(&["string", "STRING", "list", "zset", "hash", "x"])]),
            _ => args.push(draw.word(&["x", "COUNT", "MATCH"]).into()),
        }
    }
    args
}
