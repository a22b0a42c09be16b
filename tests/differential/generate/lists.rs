//! Lists, their blocking commands where they need not wait.

use super::{args, Args, Draw, Family};

pub const FAMILY: Family = Family {
    name: "lists",
    needs: &[
        "BLMOVE",
        "BLMPOP",
        "BLPOP",
        "BRPOP",
        "BRPOPLPUSH",
        "LINDEX",
        "LINSERT",
        "LLEN",
        "LMOVE",
        "LMPOP",
        "LPOP",
        "LPOS",
        "LPUSH",
        "LPUSHX",
        "LRANGE",
        "LREM",
        "LSET",
        "LTRIM",
        "RPOP",
        "RPOPLPUSH",
        "RPUSH",
        "RPUSHX",
    ],
    share: 0,
    step,
};

/// Long enough to be a wait, short enough for a test. 0 would be forever.
const TIMEOUTS: &[&str] = &["0.001", "0.001", "0.001", ".002", "1e-3"];
const NOT_TIMEOUTS: &[&str] = &["-1", "x", "", "nan", "inf", "1e30", "-0.5", "9223372036854775807"];

pub fn timeout(draw: &mut Draw) -> &'static str {
    let from = if draw.one_in(8) { NOT_TIMEOUTS } else { TIMEOUTS };
    draw.word(from)
}

fn step(draw: &mut Draw) -> Vec<Args> {
    let key = draw.key();
    let args = match draw.below(40) {
        0..=8 => [args![draw.word(&["LPUSH", "RPUSH"]), key], draw.elements()].concat(),
        9 => [args![draw.word(&["LPUSHX", "RPUSHX"]), key], draw.elements()].concat(),
        10..=12 => {
            let mut args = args![draw.word(&["LPOP", "RPOP"]), key];
            if draw.one_in(2) {
                args.push(draw.count());
            }
            args
        }
        13 => args!["LLEN", key],
        14..=16 => args!["LRANGE", key, draw.offset(), draw.offset()],
        17 | 18 => args!["LINDEX", key, draw.offset()],
        19..=21 => {
            // No index beyond 32 bits: Redis 7.2 drops the upper ones of a small list's.
            let index = draw.word(&["0", "1", "2", "5", "-1", "-2", "-5", "100", "-100", "x"]);
            args!["LSET", key, index, draw.element()]
        }
        22..=24 => {
            let place = draw.word(&["BEFORE", "AFTER", "before", "AFTER", "BEFORE", "x"]);
            args!["LINSERT", key, place, draw.element(), draw.element()]
        }
        25..=27 => {
            let count = draw.word(&["0", "1", "2", "-1", "-2", "100", "x", "-9223372036854775808"]);
            args!["LREM", key, count, draw.element()]
        }
        28 => args!["LTRIM", key, draw.offset(), draw.offset()],
        29..=31 => position(draw),
        32 => args!["RPOPLPUSH", key, draw.key()],
        33..=35 => [args!["LMOVE", key, draw.key()], args![side(draw), side(draw)]].concat(),
        36 => {
            let mut args = [args!["LMPOP"], draw.numbered_keys(), args![side(draw)]].concat();
            if draw.one_in(2) {
                args.extend(args!["COUNT", draw.count()]);
            }
            args
        }
        37 => [args!["LRANGE", key], args!["0", "-1"]].concat(),
        _ => blocking(draw),
    };
    draw.alone(args)
}

fn side(draw: &mut Draw) -> &'static str {
    draw.word(&["LEFT", "RIGHT", "LEFT", "RIGHT", "left", "Right", "LEFT", "RIGHT", "x"])
}

fn position(draw: &mut Draw) -> Args {
    let mut args = args!["LPOS", draw.key(), draw.element()];
    for _ in 0..*draw.random.pick(&[0, 1, 1, 2, 3]) {
        let number = draw.word(&["0", "1", "1", "2", "-1", "-2", "100", "-100", "x", "-9223372036854775808"]);
        args.extend(args![draw.word(&["RANK", "COUNT", "MAXLEN", "rank", "count", "x"]), number]);
    }
    args
}

fn blocking(draw: &mut Draw) -> Args {
    let key = draw.key();
    match draw.below(5) {
        0 | 1 => {
            let mut args = [args![draw.word(&["BLPOP", "BRPOP"])], draw.keys()].concat();
            args.extend(args![timeout(draw)]);
            args
        }
        2 => args!["BLMOVE", key, draw.key(), side(draw), side(draw), timeout(draw)],
        3 => args!["BRPOPLPUSH", key, draw.key(), timeout(draw)],
        _ => {
            let mut args = [args!["BLMPOP", timeout(draw)], draw.numbered_keys(), args![side(draw)]].concat();
            if draw.one_in(2) {
                args.extend(args!["COUNT", draw.count()]);
            }
            args
        }
    }
}
