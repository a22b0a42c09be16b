//! MULTI and what belongs to it, on one connection; the other connection writes meanwhile.

use super::{args, Args, Draw, Family};

pub const FAMILY: Family = Family {
    name: "transactions",
    needs: &["DISCARD", "EXEC", "MULTI", "UNWATCH", "WATCH"],
    share: 10,
    step,
};

fn step(draw: &mut Draw) -> Vec<Args> {
    if draw.connection != 0 {
        // Its transactions would end with the batch.
        return vec![args!["DEL", draw.key()]];
    }
    let name = match (draw.in_transaction, draw.below(20)) {
        (true, 0) => "DISCARD",
        (true, 1) => "MULTI",
        (true, 2) => "WATCH",
        (true, 3) => "UNWATCH",
        (true, 4..=9) => return vec![args!["GET", draw.key()]],
        (true, _) => "EXEC",
        (false, 0) => "EXEC",
        (false, 1) => "DISCARD",
        (false, 2) => "UNWATCH",
        (false, 3..=7) => "WATCH",
        (false, _) => "MULTI",
    };
    match name {
        "MULTI" => draw.in_transaction = true,
        "EXEC" | "DISCARD" => draw.in_transaction = false,
        _ => {}
    }
    let mut args = args![name];
    if name == "WATCH" {
        args.extend(draw.keys());
    }
    if draw.one_in(40) {
        args.push("x".into());
    }
    vec![args]
}
