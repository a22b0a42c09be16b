//! Sorted sets, their blocking commands where they need not wait.

use super::hashes::{random_count, scan};
use super::lists::timeout;
use super::{args, Args, Draw, Family};

pub const FAMILY: Family = Family {
    name: "sorted-sets",
    needs: &[
        "BZMPOP",
        "BZPOPMAX",
        "BZPOPMIN",
        "ZADD",
        "ZCARD",
        "ZCOUNT",
        "ZDIFF",
        "ZDIFFSTORE",
        "ZINCRBY",
        "ZINTER",
        "ZINTERCARD",
        "ZINTERSTORE",
        "ZLEXCOUNT",
        "ZMPOP",
        "ZMSCORE",
        "ZPOPMAX",
        "ZPOPMIN",
        "ZRANDMEMBER",
        "ZRANGE",
        "ZRANGEBYLEX",
        "ZRANGEBYSCORE",
        "ZRANGESTORE",
        "ZRANK",
        "ZREM",
        "ZREMRANGEBYLEX",
        "ZREMRANGEBYRANK",
        "ZREMRANGEBYSCORE",
        "ZREVRANGE",
        "ZREVRANGEBYLEX",
        "ZREVRANGEBYSCORE",
        "ZREVRANK",
        "ZSCAN",
        "ZSCORE",
        "ZUNION",
        "ZUNIONSTORE",
    ],
    share: 0,
    step,
};

fn step(draw: &mut Draw) -> Vec<Args> {
    let key = draw.key();
    let args = match draw.below(48) {
        0..=9 => add(draw),
        10 | 11 => [args!["ZREM", key], draw.elements()].concat(),
        12 | 13 => args!["ZINCRBY", key, draw.score(), draw.element()],
        14 => args!["ZCARD", key],
        15 => args!["ZSCORE", key, draw.element()],
        16 => [args!["ZMSCORE", key], draw.elements()].concat(),
        17 | 18 => {
            let args = args![draw.word(&["ZRANK", "ZREVRANK"]), key, draw.element()];
            if !draw.modern {
                // What would be WITHSCORE is a wrong number of arguments, which ends transactions.
                return vec![args];
            }
            if draw.one_in(2) {
                [args, args![draw.word(&["WITHSCORE", "withscore", "x"])]].concat()
            } else {
                args
            }
        }
        19 => args!["ZCOUNT", key, border(draw), border(draw)],
        20 | 32 => return by_lex(draw),
        21..=24 => [args!["ZRANGE", key], range(draw)].concat(),
        25 | 26 => [args!["ZRANGESTORE", key, draw.key()], range(draw)].concat(),
        27..=29 => old_range(draw),
        30 => args!["ZREMRANGEBYRANK", key, draw.offset(), draw.offset()],
        31 => args!["ZREMRANGEBYSCORE", key, border(draw), border(draw)],
        33 | 34 => {
            let mut args = args![draw.word(&["ZPOPMIN", "ZPOPMAX"]), key];
            if draw.one_in(2) {
                args.push(draw.count());
            }
            args
        }
        35..=37 => {
            let name = draw.word(&["ZUNION", "ZINTER", "ZDIFF"]);
            let mut args = [args![name], combined(draw, name != "ZDIFF")].concat();
            if draw.one_in(2) {
                args.push(draw.word(&["WITHSCORES", "withscores", "x"]).into());
            }
            args
        }
        38..=41 => {
            let name = draw.word(&["ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE"]);
            [args![name, key], combined(draw, name != "ZDIFFSTORE")].concat()
        }
        42 => {
            let mut args = [args!["ZINTERCARD"], draw.numbered_keys()].concat();
            if draw.one_in(2) {
                args.extend(args!["LIMIT", draw.count()]);
            }
            args
        }
        43 => {
            let mut args = args!["ZRANDMEMBER", key.clone()];
            if !draw.one_in(4) {
                args.push(random_count(draw));
                if draw.one_in(2) {
                    args.push(draw.word(&["WITHSCORES", "withscores", "x"]).into());
                }
            }
            return vec![draw.blemish(args), args!["ZRANGE", key, "0", "-1", "WITHSCORES"]];
        }
        44 => scan(draw, "ZSCAN"),
        45 => pop_many(draw),
        46 => {
            let mut args = [args![draw.word(&["BZPOPMIN", "BZPOPMAX"])], draw.keys()].concat();
            args.extend(args![timeout(draw)]);
            args
        }
        _ => args!["ZRANGE", key, "0", "-1", "WITHSCORES"],
    };
    draw.alone(args)
}

fn add(draw: &mut Draw) -> Args {
    let mut args = args!["ZADD", draw.key()];
    for _ in 0..*draw.random.pick(&[0, 0, 0, 1, 1, 2, 3]) {
        args.push(draw.word(&["NX", "XX", "GT", "LT", "CH", "INCR", "nx", "ch", "incr"]).into());
    }
    let same = if draw.one_in(6) { Some(draw.score()) } else { None };
    for _ in 0..draw.few() {
        let score = match &same {
            // All with one score: for the order by name.
            Some(score) => score.clone(),
            None => draw.score(),
        };
        args.extend(args![score, draw.element()]);
    }
    args
}

fn border(draw: &mut Draw) -> Vec<u8> {
    match draw.below(10) {
        0..=1 => draw.word(&["-inf", "+inf", "(-inf", "(+inf", "inf"]).into(),
        2..=3 => [b"(".to_vec(), draw.score()].concat(),
        4 => draw.word(&["", "(", "((1", "x", "[1", "nan", "(nan"]).into(),
        _ => draw.score(),
    }
}

fn lex_border(draw: &mut Draw) -> Vec<u8> {
    match draw.below(10) {
        0..=3 => draw.word(&["-", "+"]).into(),
        4..=5 => [b"(".to_vec(), draw.element()].concat(),
        6 => draw.word(&["", "(", "[", "x", "++", "a"]).into(),
        _ => [b"[".to_vec(), draw.element()].concat(),
    }
}

fn limit(draw: &mut Draw) -> Args {
    let count = draw.word(&["-1", "0", "1", "2", "5", "100", "x"]);
    let offset = draw.word(&["0", "0", "1", "2", "100", "-1", "x"]);
    args![draw.word(&["LIMIT", "limit"]), offset, count]
}

fn range(draw: &mut Draw) -> Args {
    let mut args = Args::new();
    if draw.one_in(2) {
        args.extend([draw.offset(), draw.offset()]);
    } else {
        args.extend(args![border(draw), border(draw), draw.word(&["BYSCORE", "BYSCORE", "byscore"])]);
    }
    if draw.one_in(3) {
        args.push("REV".into());
    }
    if draw.one_in(3) {
        args.extend(limit(draw));
    }
    if draw.one_in(3) {
        args.push(draw.word(&["WITHSCORES", "withscores", "x"]).into());
    }
    args
}

fn old_range(draw: &mut Draw) -> Args {
    let key = draw.key();
    match draw.below(2) {
        0 => {
            let mut args = args!["ZREVRANGE", key, draw.offset(), draw.offset()];
            if draw.one_in(2) {
                args.push(draw.word(&["WITHSCORES", "withscores", "BYSCORE"]).into());
            }
            args
        }
        _ => {
            let name = draw.word(&["ZRANGEBYSCORE", "ZREVRANGEBYSCORE"]);
            let mut args = args![name, key, border(draw), border(draw)];
            if draw.one_in(2) {
                args.push("WITHSCORES".into());
            }
            if draw.one_in(2) {
                args.extend(limit(draw));
            }
            args
        }
    }
}

/// Ranges by name say something only where all members have one score, so those come along.
fn by_lex(draw: &mut Draw) -> Vec<Args> {
    let key = draw.key();
    let mut add = args!["ZADD", key.clone()];
    for member in draw.elements().into_iter().chain(draw.elements()) {
        add.extend(args!["0", member]);
    }
    let mut commands = vec![args!["DEL", key.clone()], add];
    for _ in 0..1 + draw.below(4) {
        let (min, max) = (lex_border(draw), lex_border(draw));
        let mut args = match draw.below(6) {
            0 => args!["ZLEXCOUNT", key.clone(), min, max],
            1 => args!["ZREMRANGEBYLEX", key.clone(), min, max],
            2 | 3 => args![draw.word(&["ZRANGEBYLEX", "ZREVRANGEBYLEX"]), key.clone(), min, max],
            4 => args!["ZRANGE", key.clone(), min, max, "BYLEX"],
            _ => args!["ZRANGESTORE", draw.key(), key.clone(), min, max, draw.word(&["BYLEX", "bylex"])],
        };
        if args[0].starts_with(b"ZRANGE") && args.len() > 4 && draw.one_in(2) {
            args.push("REV".into());
        }
        if draw.one_in(3) {
            args.extend(limit(draw));
        }
        commands.push(args);
    }
    commands
}

fn combined(draw: &mut Draw, weighed: bool) -> Args {
    let mut args = draw.numbered_keys();
    let keys = args.len() - 1;
    if draw.one_in(3) && (weighed || draw.one_in(8)) {
        args.push(draw.word(&["WEIGHTS", "weights"]).into());
        let weights = if draw.one_in(15) { keys + 1 } else { keys };
        for _ in 0..weights {
            args.push(draw.word(&["1", "2", "0", "-1", "0.5", "inf", "-inf", "1e308", "x", "nan"]).into());
        }
    }
    if draw.one_in(3) && (weighed || draw.one_in(8)) {
        args.extend(args!["AGGREGATE", draw.word(&["SUM", "MIN", "MAX", "sum", "min", "max", "avg"])]);
    }
    args
}

fn pop_many(draw: &mut Draw) -> Args {
    let side = draw.word(&["MIN", "MAX", "min", "max", "MAX", "x"]);
    let mut args = if draw.one_in(2) { args!["ZMPOP"] } else { args!["BZMPOP", timeout(draw)] };
    args.extend(draw.numbered_keys());
    args.push(side.into());
    if draw.one_in(2) {
        args.extend(args!["COUNT", draw.count()]);
    }
    args
}
