//! When two replies count as the same: byte for byte, except where Redis itself promises no more.

use crate::generate::Args;
use crate::support::Value;

/// How far two servers' clocks and moments of execution may be apart.
const APART_MS: i64 = 5000;

fn is(args: &Args, names: &[&str]) -> bool {
    names.iter().any(|name| args[0].eq_ignore_ascii_case(name.as_bytes()))
}

fn near(expected: &Value, actual: &Value, tolerance: i64) -> bool {
    match (expected, actual) {
        (Value::Integer(a), Value::Integer(b)) => *a >= 0 && *b >= 0 && (a - b).abs() <= tolerance,
        _ => false,
    }
}

fn sorted(value: &Value) -> Option<Vec<String>> {
    let Value::Array(list) = value else { return None };
    let mut texts: Vec<String> = list.iter().map(|element| format!("{element:?}")).collect();
    texts.sort();
    Some(texts)
}

/// `queued` are the commands of the transaction that an EXEC ends.
pub fn same(args: &Args, queued: &[Args], expected: &Value, actual: &Value) -> bool {
    if expected == actual {
        return true;
    }
    if is(args, &["TTL", "EXPIRETIME"]) {
        near(expected, actual, APART_MS / 1000)
    } else if is(args, &["PTTL", "PEXPIRETIME"]) {
        near(expected, actual, APART_MS)
    } else if is(args, &["OBJECT"]) && args.get(1).is_some_and(|what| what.eq_ignore_ascii_case(b"IDLETIME"))
    {
        near(expected, actual, APART_MS / 1000)
    } else if is(args, &["KEYS"]) {
        sorted(expected).is_some() && sorted(expected) == sorted(actual)
    } else if is(args, &["RANDOMKEY"]) {
        matches!((expected, actual), (Value::Bulk(_), Value::Bulk(_)))
    } else if is(args, &["SCAN"]) {
        // The runner compares whole iterations; here it is a single call inside EXEC.
        let shape = |value: &Value| matches!(value, Value::Array(list) if list.len() == 2);
        shape(expected) && shape(actual)
    } else if is(args, &["EXEC"]) {
        match (expected, actual) {
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len()
                    && a.len() == queued.len()
                    && a.iter().zip(b).zip(queued).all(|((a, b), args)| same(args, &[], a, b))
            }
            _ => false,
        }
    } else {
        false
    }
}

#[test]
fn only_what_is_unspecified_may_differ() {
    let args = |text: &str| -> Args { text.split(' ').map(|word| word.as_bytes().to_vec()).collect() };
    let list = |texts: &[&str]| Value::Array(texts.iter().map(Value::bulk).collect());
    assert!(same(&args("keys *"), &[], &list(&["a", "b"]), &list(&["b", "a"])));
    assert!(!same(&args("MGET a b"), &[], &list(&["a", "b"]), &list(&["b", "a"])));
    assert!(!same(&args("KEYS *"), &[], &list(&["a", "b"]), &list(&["a"])));
    assert!(same(&args("TTL a"), &[], &Value::Integer(1000), &Value::Integer(999)));
    assert!(!same(&args("TTL a"), &[], &Value::Integer(-1), &Value::Integer(-2)));
    assert!(!same(&args("INCR a"), &[], &Value::Integer(1000), &Value::Integer(999)));
    assert!(!same(&args("RANDOMKEY"), &[], &Value::NullBulk, &Value::bulk("a")));
    let replies = |ttl| Value::Array(vec![Value::Integer(ttl), Value::ok()]);
    let queued = [args("TTL a"), args("SET a b")];
    assert!(same(&args("EXEC"), &queued, &replies(1000), &replies(1001)));
    assert!(!same(&args("EXEC"), &queued, &replies(1000), &replies(2000)));
}
