//! Hashes.

use super::{args, Args, Draw, Family};

pub const FAMILY: Family = Family {
    name: "hashes",
    needs: &[
        "HDEL",
        "HEXISTS",
        "HGET",
        "HGETALL",
        "HINCRBY",
        "HINCRBYFLOAT",
        "HKEYS",
        "HLEN",
        "HMGET",
        "HMSET",
        "HRANDFIELD",
        "HSCAN",
        "HSET",
        "HSETNX",
        "HSTRLEN",
        "HVALS",
    ],
    share: 0,
    step,
};

fn step(draw: &mut Draw) -> Vec<Args> {
    let key = draw.key();
    let args = match draw.below(30) {
        0..=8 => {
            let mut args = args![draw.word(&["HSET", "HSET", "HSET", "HMSET"]), key];
            for _ in 0..draw.few() {
                args.extend(args![draw.element(), value(draw)]);
            }
            args
        }
        9 => args!["HSETNX", key, draw.element(), value(draw)],
        10 | 11 => args!["HGET", key, draw.element()],
        12 => [args!["HMGET", key], draw.elements()].concat(),
        13 | 14 => [args!["HDEL", key], draw.elements()].concat(),
        15 => args!["HLEN", key],
        16 => args![draw.word(&["HEXISTS", "HSTRLEN"]), key, draw.element()],
        17 | 18 => args![draw.word(&["HKEYS", "HVALS", "HGETALL"]), key],
        19..=21 => args!["HINCRBY", key, draw.element(), draw.integer()],
        22..=24 => args!["HINCRBYFLOAT", key, draw.element(), draw.float()],
        25 | 26 => return random_fields(draw),
        27 => scan(draw, "HSCAN"),
        _ => args!["HGETALL", key],
    };
    draw.alone(args)
}

fn value(draw: &mut Draw) -> Vec<u8> {
    if draw.one_in(3) {
        draw.value()
    } else {
        draw.element()
    }
}

/// Fields are compared with those that are there, which is why all are asked for after it.
fn random_fields(draw: &mut Draw) -> Vec<Args> {
    let key = draw.key();
    let mut args = args!["HRANDFIELD", key.clone()];
    if !draw.one_in(4) {
        args.push(random_count(draw));
        if draw.one_in(2) {
            args.push(draw.word(&["WITHVALUES", "withvalues", "WITHVALUES", "x"]).into());
        }
    }
    vec![draw.blemish(args), args!["HGETALL", key]]
}

/// Positive: different ones. Negative: so many, perhaps the same.
pub fn random_count(draw: &mut Draw) -> Vec<u8> {
    draw.word(&[
        "0",
        "1",
        "2",
        "3",
        "5",
        "10",
        "100",
        "4294967296",
        "9223372036854775807",
        "-1",
        "-2",
        "-5",
        "-20",
        "-9223372036854775808",
        "x",
    ])
    .into()
}

/// HSCAN, SSCAN or ZSCAN of a whole key; the runner goes on to the end.
pub fn scan(draw: &mut Draw, name: &str) -> Args {
    let cursor = if draw.one_in(20) { draw.word(&["x", "", "18446744073709551616"]) } else { "0" };
    let mut args = args![name, draw.key(), cursor];
    for _ in 0..*draw.random.pick(&[0, 0, 1, 1, 2]) {
        match draw.below(7) {
            0..=2 => args.extend(args!["COUNT", draw.word(&["1", "3", "10", "1000", "0", "x"])]),
            3..=5 => args.extend(args!["MATCH", draw.pattern()]),
            _ => args.push(draw.word(&["x", "COUNT", "MATCH", "NOVALUES", "TYPE"]).into()),
        }
    }
    args
}
