//! The sizes at which compact encodings end, changed while keys are there.

use super::{args, Args, Draw, Family};

pub const FAMILY: Family = Family { name: "thresholds", needs: &["CONFIG"], share: 1, step };

/// What every sequence begins with: Redis's defaults.
pub const DEFAULTS: &[(&str, &str)] = &[
    ("hash-max-listpack-entries", "512"),
    ("hash-max-listpack-value", "64"),
    ("hll-sparse-max-bytes", "3000"),
    ("list-compress-depth", "0"),
    ("list-max-listpack-size", "-2"),
    ("set-max-intset-entries", "512"),
    ("stream-node-max-bytes", "4096"),
    ("stream-node-max-entries", "100"),
    ("zset-max-listpack-entries", "128"),
    ("zset-max-listpack-value", "64"),
];

fn step(draw: &mut Draw) -> Vec<Args> {
    let (name, default) = *draw.random.pick(DEFAULTS);
    let value = match name {
        "list-compress-depth" => draw.word(&["0", "1", "2"]),
        "list-max-listpack-size" => draw.word(&["-1", "-2", "-5", "1", "3", "10", "128"]),
        "hll-sparse-max-bytes" => draw.word(&["0", "100", "3000"]),
        "stream-node-max-bytes" => draw.word(&["0", "64", "4096"]),
        "stream-node-max-entries" => draw.word(&["0", "1", "5", "100"]),
        _ => draw.word(&["0", "1", "3", "8", "20", "64"]),
    };
    let value = if draw.one_in(4) { default } else { value };
    if name == "set-max-intset-entries" {
        draw.few_integers = value != default;
    }
    vec![args!["CONFIG", "SET", name, value]]
}
