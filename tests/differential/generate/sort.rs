//! SORT of lists, sets and sorted sets, with patterns that lead to other keys.

use super::{args, Args, Draw, Family};

pub const FAMILY: Family = Family {
    name: "sort",
    needs: &["HSET", "RPUSH", "SADD", "SORT", "SCAN", "SORT_RO", "ZADD", "SET"],
    share: 0,
    step,
};

fn step(draw: &mut Draw) -> Vec<Args> {
    let key = draw.key();
    let args = match draw.below(20) {
        0..=2 => [args![draw.word(&["RPUSH", "SADD"]), key], numbers(draw)].concat(),
        3 | 4 => [args![draw.word(&["RPUSH", "SADD"]), key], draw.elements()].concat(),
        5 => {
            let mut args = args!["ZADD", key];
            for number in numbers(draw) {
                args.extend([draw.score(), number]);
            }
            args
        }
        6..=8 => {
            // What the patterns find: by a plain key and by a hash.
            let weight =
                if draw.one_in(3) { draw.element() } else { draw.below(100).to_string().into_bytes() };
            let number = draw.below(12);
            if draw.one_in(2) {
                args!["SET", format!("w_{number}"), weight]
            } else {
                args!["HSET", format!("o_{number}"), "f", weight]
            }
        }
        _ => {
            let args = sort(draw);
            let args = draw.blemish(args);
            return without_range_errors(args);
        }
    };
    draw.alone(args)
}

/// Redis's SORT looks at an `errno` that it has not cleared: after a number out of range (`SCAN 18446744073709551616` will do) it
/// fails, or stores nothing, until some other command has read a number. And it reads the scores of a small sorted set itself, when it
/// makes a large one of it. So that happens first; then comes a command that clears it, and fails, and is too short to be
/// shortened further when a difference is cut down.
fn without_range_errors(sort: Args) -> Vec<Args> {
    let clear = args!["SCAN", "0", "COUNT"];
    match sort.get(1) {
        Some(key) => vec![args!["SORT_RO", key.clone(), "BY", "nosort"], clear, sort],
        None => vec![clear, sort],
    }
}

fn numbers(draw: &mut Draw) -> Args {
    (0..draw.few())
        .map(|_| match draw.below(15) {
            0 => draw.float(),
            1 => draw.integer(),
            _ => (draw.below(30) as i64 - 5).to_string().into_bytes(),
        })
        .collect()
}

fn sort(draw: &mut Draw) -> Args {
    let read_only = draw.one_in(4);
    let mut args = args![if read_only { "SORT_RO" } else { "SORT" }, draw.key()];
    let stores = !read_only && draw.one_in(5);
    if draw.one_in(2) {
        // The order of a set without order is open; stored it would stay so.
        let by: &[&str] = if stores {
            &["w_*", "o_*->f", "*"]
        } else {
            &["w_*", "o_*->f", "nosort", "w_*", "o_*->", "*", "o_*->g", "x_*", "->", "*->f"]
        };
        args.extend(args![draw.word(&["BY", "by"]), *draw.random.pick(by)]);
    }
    if draw.one_in(4) {
        let (offset, count) = (draw.word(&["0", "1", "2", "-1", "100", "x"]), draw.count());
        args.extend(args!["LIMIT", offset, count]);
    }
    for _ in 0..*draw.random.pick(&[0, 0, 1, 2]) {
        args.extend(args!["GET", draw.word(&["#", "w_*", "o_*->f", "x_*", "nothing", "*", "o_*->"])]);
    }
    if draw.one_in(3) {
        args.push(draw.word(&["ASC", "DESC", "desc"]).into());
    }
    // Neither is the order of texts that are equal.
    if draw.one_in(2) && !(stores && args.iter().any(|arg| arg.eq_ignore_ascii_case(b"BY"))) {
        args.push(draw.word(&["ALPHA", "alpha"]).into());
    }
    if stores || (read_only && draw.one_in(10)) {
        args.extend(args![draw.word(&["STORE", "store"]), draw.key()]);
    }
    if draw.one_in(40) {
        args.push("x".into());
    }
    args
}
