//! HyperLogLog: counts and, as they are strings, every byte.

use super::{args, Args, Draw, Family};

pub const FAMILY: Family =
    Family { name: "hyperloglogs", needs: &["PFADD", "PFCOUNT", "PFDEBUG", "PFMERGE"], share: 0, step };

fn step(draw: &mut Draw) -> Vec<Args> {
    let key = draw.key();
    let args = match draw.below(20) {
        0..=6 => {
            let mut args = [args!["PFADD", key], draw.elements()].concat();
            if draw.one_in(6) {
                // So many that the sparse form ends.
                let from = draw.below(2_000);
                args.extend((from..from + 500).map(|number| number.to_string().into_bytes()));
            }
            if draw.one_in(12) {
                args.truncate(2);
            }
            args
        }
        7..=10 => [args!["PFCOUNT"], draw.keys()].concat(),
        11..=13 => [args!["PFMERGE", key], draw.keys()].concat(),
        14..=16 => args!["GET", key],
        17 => args!["PFDEBUG", draw.word(&["ENCODING", "encoding", "TODENSE", "DECODE", "GETREG", "x"]), key],
        18 => args![
            "SET",
            key,
            draw.word(&[
                "HYLL",
                "HYLLx",
                "",
                "HYLL\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}"
            ])
        ],
        _ => args!["STRLEN", key],
    };
    draw.alone(args)
}
