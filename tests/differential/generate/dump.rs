//! DUMP and RESTORE: what a server wrote, and what the oracle wrote, becomes the same value again. The payloads are not
//! compared: those of another version differ.

use super::{args, Args, Draw, Family, ORACLE_PAYLOAD, OWN_PAYLOAD};

pub const FAMILY: Family = Family { name: "dump", needs: &["DUMP", "RESTORE"], share: 4, step };

fn step(draw: &mut Draw) -> Vec<Args> {
    let (from, to) = (draw.key(), draw.key());
    let payload = match draw.below(24) {
        0 => b"no payload".to_vec(),
        1 => Vec::new(),
        2..=6 => ORACLE_PAYLOAD.to_vec(),
        _ => OWN_PAYLOAD.to_vec(),
    };
    let absolute = draw.one_in(4);
    let ttl = match draw.below(3) {
        0 if absolute => draw.deadline(1_000),
        0 => draw.ttl(1_000),
        _ => b"0".to_vec(),
    };
    let mut args = args!["RESTORE", to, ttl, payload];
    if absolute {
        args.push(draw.word(&["ABSTTL", "absttl"]).into());
    }
    if !draw.one_in(8) {
        args.push(draw.word(&["REPLACE", "REPLACE", "replace"]).into());
    }
    if draw.one_in(6) {
        args.extend(args!["IDLETIME", draw.word(&["0", "1000", "-1", "x"])]);
    }
    if draw.one_in(10) {
        args.extend(args!["FREQ", draw.word(&["0", "255", "256", "-1", "x"])]);
    }
    if draw.one_in(40) {
        args.push("x".into());
    }
    vec![args!["DUMP", from], args]
}
