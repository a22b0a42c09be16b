//! Sets.

use super::hashes::{random_count, scan};
use super::{args, Args, Draw, Family};

pub const FAMILY: Family = Family {
    name: "sets",
    needs: &[
        "SADD",
        "SCARD",
        "SDIFF",
        "SDIFFSTORE",
        "SINTER",
        "SINTERCARD",
        "SINTERSTORE",
        "SISMEMBER",
        "SMEMBERS",
        "SMISMEMBER",
        "SMOVE",
        "SPOP",
        "SRANDMEMBER",
        "SREM",
        "SSCAN",
        "SUNION",
        "SUNIONSTORE",
    ],
    share: 0,
    step,
};

fn step(draw: &mut Draw) -> Vec<Args> {
    let key = draw.key();
    let args = match draw.below(32) {
        0..=8 => [args!["SADD", key], members(draw)].concat(),
        9..=11 => [args!["SREM", key], members(draw)].concat(),
        12 => args!["SCARD", key],
        13 => args!["SISMEMBER", key, draw.element()],
        14 => [args!["SMISMEMBER", key], draw.elements()].concat(),
        15 | 16 => args!["SMOVE", key, draw.key(), draw.element()],
        17..=19 => [args![draw.word(&["SINTER", "SUNION", "SDIFF"])], draw.keys()].concat(),
        20..=23 => {
            // A union or difference begins as integers in order, and what it becomes depends on how many of them come
            // before the first member that is none: where the source is a table, on the order of Redis's hashes.
            let name = match draw.few_integers {
                true => "SINTERSTORE",
                false => draw.word(&["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"]),
            };
            [args![name, key], draw.keys()].concat()
        }
        24 => {
            let mut args = [args!["SINTERCARD"], draw.numbered_keys()].concat();
            if draw.one_in(2) {
                args.extend(args![draw.word(&["LIMIT", "limit", "LIMIT", "x"]), draw.count()]);
            }
            args
        }
        25 => {
            let mut args = args!["SRANDMEMBER", key.clone()];
            if !draw.one_in(4) {
                args.push(random_count(draw));
            }
            return vec![draw.blemish(args), args!["SMEMBERS", key]];
        }
        26 | 27 => {
            let mut args = args!["SPOP", key.clone()];
            if draw.one_in(2) {
                args.push(draw.count());
            }
            let args = draw.blemish(args);
            return draw.then_forget(key, "SMEMBERS", args);
        }
        28 => scan(draw, "SSCAN"),
        _ => args!["SMEMBERS", key],
    };
    draw.alone(args)
}

/// Of integers only, a set is an intset.
fn members(draw: &mut Draw) -> Args {
    match draw.below(4) {
        0 => (0..draw.few())
            .map(|_| (draw.below(12) as i64 * 7_001 - 30_000).to_string().into_bytes())
            .collect(),
        1 => {
            let base = *draw.random.pick(&[
                0,
                32_760,
                -32_770,
                2_147_483_640,
                -2_147_483_650,
                i64::MAX - 20,
                i64::MIN,
            ]);
            (0..draw.few()).map(|_| (base + draw.below(16) as i64).to_string().into_bytes()).collect()
        }
        _ => draw.elements(),
    }
}
