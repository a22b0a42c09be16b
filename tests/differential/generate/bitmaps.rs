//! Bitmaps and bit fields.

use super::{args, Arg, Args, Draw, Family};

pub const FAMILY: Family = Family {
    name: "bitmaps",
    needs: &["BITCOUNT", "BITFIELD", "BITFIELD_RO", "BITOP", "BITPOS", "GETBIT", "SETBIT"],
    share: 0,
    step,
};

fn step(draw: &mut Draw) -> Vec<Args> {
    let key = draw.key();
    let args = match draw.below(24) {
        0..=3 => args![
            "SETBIT",
            key,
            bit(draw),
            draw.word(&["0", "1", "1", "0", "1", "0", "1", "1", "0", "2", "x", "-1"])
        ],
        4 => args!["GETBIT", key, bit(draw)],
        5..=7 => [args!["BITCOUNT", key], span(draw)].concat(),
        8..=11 => {
            [args!["BITPOS", key, draw.word(&["0", "1", "0", "1", "0", "1", "0", "1", "2", "x"])], span(draw)]
                .concat()
        }
        12..=15 => {
            let operation = draw.word(&["AND", "OR", "XOR", "NOT", "and", "not", "x"]);
            [args!["BITOP", operation, key], draw.keys()].concat()
        }
        16..=21 => {
            let args = fields(draw, key.clone());
            let may_fail = args.iter().any(|arg| arg.eq_ignore_ascii_case(b"FAIL"));
            if may_fail {
                // Redis tells nobody when a string has grown for writes that all failed. Gyre tells those who watch the key,
                // so here they always are told.
                return vec![args, args!["APPEND", key, ""]];
            }
            args
        }
        22 => args!["SET", key, bytes(draw)],
        _ => args!["GET", key],
    };
    draw.alone(args)
}

/// As far as a few kilobytes; of what is beyond, only what is refused.
fn bit(draw: &mut Draw) -> Vec<u8> {
    match draw.below(12) {
        0 => draw.word(&["-1", "x", "4294967296", "9223372036854775807", "", "1.5"]).into(),
        1 => draw.word(&["1023", "8191", "30000"]).into(),
        _ => draw.below(100).word(),
    }
}

fn bytes(draw: &mut Draw) -> Vec<u8> {
    let len = *draw.random.pick(&[0, 1, 2, 7, 8, 9, 31, 32, 33, 200]);
    match draw.below(3) {
        0 => vec![0; len],
        1 => vec![0xff; len],
        _ => (0..len).map(|_| draw.random.next() as u8).collect(),
    }
}

fn span(draw: &mut Draw) -> Args {
    let mut args = Args::new();
    if draw.one_in(3) {
        return args;
    }
    args.push(draw.offset());
    if !draw.one_in(5) {
        args.push(draw.offset());
        if draw.one_in(2) {
            args.push(draw.word(&["BIT", "BYTE", "bit", "byte", "x"]).into());
        }
    }
    args
}

fn kind(draw: &mut Draw) -> String {
    match draw.below(12) {
        0 => draw.word(&["u64", "i65", "u0", "i0", "x8", "u", "8", "U8"]).to_owned(),
        1 => draw.word(&["u63", "i64", "i63", "u1", "i1", "i2"]).to_owned(),
        _ => format!("{}{}", draw.word(&["i", "u"]), draw.word(&["1", "2", "3", "5", "8", "13", "16", "32"])),
    }
}

fn place(draw: &mut Draw) -> String {
    match draw.below(15) {
        0 => draw.word(&["-1", "x", "#-1", "#x", "4294967296", "#9223372036854775807", ""]).to_owned(),
        1..=5 => format!("#{}", draw.below(6)),
        _ => draw.below(100).to_string(),
    }
}

fn fields(draw: &mut Draw, key: Vec<u8>) -> Args {
    let only_reads = draw.one_in(4);
    let mut args = args![if only_reads { "BITFIELD_RO" } else { "BITFIELD" }, key];
    for _ in 0..*draw.random.pick(&[0, 1, 1, 2, 3, 5]) {
        let operation = match draw.below(10) {
            0..=2 => "GET",
            3..=5 => "SET",
            6..=8 => "INCRBY",
            _ => "OVERFLOW",
        };
        let operation = if only_reads && !draw.one_in(8) { "GET" } else { operation };
        match operation {
            "GET" => args.extend(args![draw.word(&["GET", "get"]), kind(draw), place(draw)]),
            "OVERFLOW" => {
                args.extend(args![
                    "OVERFLOW",
                    draw.word(&["WRAP", "SAT", "FAIL", "SAT", "FAIL", "WRAP", "sat", "fail", "SAT", "x"])
                ]);
            }
            _ => args.extend(args![operation, kind(draw), place(draw), draw.integer()]),
        }
    }
    args
}
