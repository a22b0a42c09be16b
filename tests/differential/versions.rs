//! What Redis 7.2, which Gyre follows, answers otherwise than an oracle of version 7.0. Each exception has a name, a
//! reason and a condition as narrow as can be. What would change a server's state is not sent to such an oracle at all
//! (`Draw::modern`).

use super::compare::timeless;
use super::generate::Args;
use super::play::name_is;
use super::support::{Server, Value};

struct Exception {
    /// For whoever wonders why a difference was not reported.
    #[allow(dead_code)]
    name: &'static str,
    #[allow(dead_code)]
    reason: &'static str,
    holds: fn(args: &Args, old: &Value, new: &Value) -> bool,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        name: "listpack sets",
        reason: "small sets of strings have been listpacks since 7.2",
        holds: |args, old, new| encoding_changed(args, old, new, "hashtable", "listpack"),
    },
    Exception {
        name: "listpack lists",
        reason: "small lists have been single listpacks since 7.2",
        holds: |args, old, new| encoding_changed(args, old, new, "quicklist", "listpack"),
    },
    Exception {
        name: "sized values",
        reason: "a new set or sorted set is made for as many members as the command names since 7.2, \
                 even if some are the same or not added",
        holds: |args, old, new| {
            encoding_changed(args, old, new, "intset", "listpack")
                || encoding_changed(args, old, new, "intset", "hashtable")
                || encoding_changed(args, old, new, "listpack", "skiplist")
        },
    },
    Exception {
        name: "XSETID below what is deleted",
        reason: "refused since 7.2; the key is deleted after it",
        holds: |args, old, new| {
            let refused = "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id";
            // Where 7.0 refuses too, it is for the other reason that it looks at.
            let other = "ERR The ID specified in XSETID is smaller than the target stream top item";
            name_is(args, "XSETID")
                && (*old == Value::ok() || error_begins(old, other))
                && error_begins(new, refused)
        },
    },
    Exception {
        name: "unbalanced streams",
        reason: "the error names the command since 7.2",
        holds: |args, old, new| {
            let name = String::from_utf8_lossy(&args[0]).to_ascii_lowercase();
            error_begins(old, "ERR Unbalanced XREAD list of streams: for each stream key an ID")
                && error_begins(
                    new,
                    &format!("ERR Unbalanced '{name}' list of streams: for each stream key an ID"),
                )
        },
    },
    Exception {
        name: "rank of LPOS",
        reason: "the lowest rank, which has no opposite, is refused since 7.2",
        holds: |args, _, new| {
            name_is(args, "LPOS") && error_begins(new, "ERR value is out of range, value must between")
        },
    },
    Exception {
        name: "timeouts too long",
        reason: "they counted as negative before 7.2",
        holds: |_, old, new| {
            error_begins(old, "ERR timeout is negative") && error_begins(new, "ERR timeout is out of range")
        },
    },
    Exception {
        name: "active consumers",
        reason: "XINFO tells since 7.2 when a consumer last got something",
        holds: |args, old, new| {
            name_is(args, "XINFO") && timeless(args, old) == timeless(args, &without_activity(new))
        },
    },
    Exception {
        name: "shortest scores",
        reason: "scores are written with the fewest digits that give them back since 7.2, with 17 before",
        holds: |args, old, new| {
            let of_sorted_sets = [b"Z".as_slice(), b"BZ", b"GEO"];
            let name = args[0].to_ascii_uppercase();
            of_sorted_sets.iter().any(|start| name.starts_with(start)) && same_numbers(old, new)
        },
    },
];

fn without_activity(value: &Value) -> Value {
    let is_new = |name: &Value| *name == Value::bulk("active-time") || *name == Value::bulk("inactive");
    match value {
        Value::Map(pairs) => {
            let old = pairs.iter().filter(|(name, _)| !is_new(name));
            Value::Map(old.map(|(name, value)| (name.clone(), without_activity(value))).collect())
        }
        Value::Array(list) => {
            let follows_new = |at: usize| at > 0 && is_new(&list[at - 1]);
            let old = list.iter().enumerate().filter(|(at, value)| !is_new(value) && !follows_new(*at));
            Value::Array(old.map(|(_, value)| without_activity(value)).collect())
        }
        other => other.clone(),
    }
}

fn error(value: &Value) -> Option<&String> {
    match value {
        Value::Error(text) => Some(text),
        _ => None,
    }
}

fn error_begins(value: &Value, start: &str) -> bool {
    error(value).is_some_and(|text| text.starts_with(start))
}

/// The same but for how numbers are written, and the new ones with as few digits as can be.
fn same_numbers(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| same_numbers(old, new))
        }
        (Value::Bulk(_), Value::Bulk(_)) | (Value::Double(_), Value::Double(_)) if old != new => {
            let numbers = (old.text().parse::<f64>(), new.text().parse::<f64>());
            let (Ok(in_old), Ok(in_new)) = numbers else { return false };
            // What fits an integer of 64 bits is written as one.
            let is_integer = new.text().parse::<i64>().is_ok_and(|number| number as f64 == in_new);
            in_old == in_new && (is_integer || digits(&new.text()) == digits(&format!("{in_new:e}")))
        }
        _ => old == new,
    }
}

/// The digits of a number before its exponent that say something.
fn digits(number: &str) -> String {
    let mantissa = number.split('e').next().unwrap_or("");
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').to_owned()
}

fn encoding_changed(args: &Args, old: &Value, new: &Value, from: &str, to: &str) -> bool {
    name_is(args, "OBJECT") && *old == Value::bulk(from) && *new == Value::bulk(to)
}

/// The name of the exception under which these replies may differ.
pub fn explain(args: &Args, old: &Value, new: &Value) -> Option<&'static str> {
    EXCEPTIONS.iter().find(|exception| (exception.holds)(args, old, new)).map(|exception| exception.name)
}

/// Whether the oracle is older than 7.2.
pub fn is_old(oracle: &Server) -> bool {
    let info = oracle.client().call(&["INFO", "server"]).text();
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("");
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next(), parts.next()) < (Some(7), Some(2))
}
