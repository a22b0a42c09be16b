//! When two replies say the same: byte for byte, except where Redis itself promises no more.

use std::fmt::Write as _;

use super::generate::Args;
use super::play::{is_scan, name_is, Heard};
use super::support::{parse_reply, Value};
use super::{shown_command, shown_word, versions};

/// How far the servers' clocks and moments may be apart. Times to live are further apart than that.
const APART_S: u64 = 60;

pub struct Difference {
    pub at: String,
    pub oracle: String,
    pub subject: String,
    name: String,
}

impl Difference {
    /// Differences of one kind have, most likely, one cause.
    pub fn kind(&self) -> String {
        let kind = |reply: &str| reply.chars().next().unwrap_or(' ');
        format!("{} {}/{}", self.name, kind(&self.oracle), kind(&self.subject))
    }
}

/// What is compared, and how.
enum Rule {
    Exact,
    /// Numbers that may be so far apart, none of them negative.
    Near(u64),
    /// In any order.
    Unordered,
    /// Pairs in any order.
    UnorderedPairs,
    /// Only how many, and of what type.
    Shape,
    /// Only how many elements.
    Length,
    /// Only how many elements, and how far each is, where that is told: of what is equally near any may come first.
    Nearest,
    /// Without how long ago something was.
    Timeless,
    /// Both are such numbers.
    Positive,
    /// A call of an iteration inside a transaction, any page; elsewhere the runner makes it a list of all.
    Page,
}

fn rule(args: &Args) -> Rule {
    let name = String::from_utf8_lossy(&args[0]).to_ascii_uppercase();
    let has = |word: &str| args.iter().skip(2).any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    let sub = args.get(1).map(|word| word.to_ascii_uppercase()).unwrap_or_default();
    match name.as_str() {
        "TTL" | "EXPIRETIME" => Rule::Near(APART_S),
        "PTTL" | "PEXPIRETIME" => Rule::Near(APART_S * 1_000),
        "KEYS" | "SMEMBERS" | "SUNION" | "SINTER" | "SDIFF" | "HKEYS" | "HVALS" => Rule::Unordered,
        "HGETALL" => Rule::UnorderedPairs,
        "SPOP" | "SRANDMEMBER" | "HRANDFIELD" | "ZRANDMEMBER" | "DUMP" => Rule::Shape,
        _ if is_scan(args) => Rule::Page,
        "RANDOMKEY" => Rule::Shape,
        "XADD" if has("*") => Rule::Shape,
        "XPENDING" | "XINFO" => Rule::Timeless,
        "OBJECT" if sub == b"REFCOUNT" => Rule::Positive,
        // Redis's small integers are shared by all keys, and as old as the process.
        "OBJECT" if sub == b"IDLETIME" => Rule::Near(u64::MAX),
        "SORT" | "SORT_RO" => {
            let by = args.iter().position(|arg| arg.eq_ignore_ascii_case(b"BY"));
            let pattern = by.and_then(|at| args.get(at + 1));
            let open = pattern.is_some_and(|pattern| !pattern.contains(&b'*') || has("ALPHA"));
            match (open, has("LIMIT")) {
                (false, _) => Rule::Exact,
                (true, false) => Rule::Unordered,
                (true, true) => Rule::Length,
            }
        }
        "GEOSEARCH" | "GEORADIUS" | "GEORADIUS_RO" | "GEORADIUSBYMEMBER" | "GEORADIUSBYMEMBER_RO" => {
            if has("ANY") {
                Rule::Shape
            } else if has("COUNT") {
                Rule::Nearest
            } else if has("ASC") || has("DESC") {
                Rule::Exact
            } else {
                Rule::Unordered
            }
        }
        _ => Rule::Exact,
    }
}

/// Whether two replies to a command say the same; `mate` is as in `Heard`.
pub fn agree(args: &Args, mate: usize, oracle: &Value, subject: &Value) -> bool {
    if oracle == subject || is_quirk(args, oracle, subject) {
        return true;
    }
    // What SPOP has left, before both forget it.
    let is_left = mate == 1 && name_is(args, "SMEMBERS");
    match if is_left { Rule::Shape } else { rule(args) } {
        Rule::Exact => false,
        Rule::Near(apart) => match (oracle, subject) {
            (Value::Integer(a), Value::Integer(b)) => *a >= 0 && *b >= 0 && a.abs_diff(*b) <= apart,
            _ => false,
        },
        Rule::Unordered => sorted(oracle, 1).is_some() && sorted(oracle, 1) == sorted(subject, 1),
        Rule::UnorderedPairs => sorted(oracle, 2).is_some() && sorted(oracle, 2) == sorted(subject, 2),
        Rule::Shape => shape(oracle) == shape(subject),
        Rule::Length => match (oracle, subject) {
            (Value::Array(a), Value::Array(b)) => a.len() == b.len(),
            _ => false,
        },
        Rule::Nearest => match (oracle, subject) {
            (Value::Array(a), Value::Array(b)) => {
                let has_distance = args.iter().any(|arg| arg.eq_ignore_ascii_case(b"WITHDIST"));
                let distance = |row: &Value| has_distance.then(|| row.elements().get(1).cloned());
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| distance(a) == distance(b))
            }
            _ => false,
        },
        Rule::Timeless => timeless(args, oracle) == timeless(args, subject),
        Rule::Positive => matches!((oracle, subject), (Value::Integer(1..), Value::Integer(1..))),
        Rule::Page => {
            let is_page = |value: &Value| match value {
                Value::Array(list) => matches!(list[..], [Value::Bulk(_), Value::Array(_)]),
                _ => false,
            };
            is_page(oracle) && is_page(subject)
        }
    }
}

/// Whether all that differs are scores of -0, which are 0 in the second.
fn same_but_zeros(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_but_zeros(a, b))
        }
        (Value::Bulk(a), Value::Bulk(b)) => a == b || a == b"-0" && b == b"0",
        (Value::Double(a), Value::Double(b)) => a == b || a == "-0" && b == "0",
        _ => a == b,
    }
}

/// What Redis does by accident, and Gyre does not.
fn is_quirk(args: &Args, oracle: &Value, subject: &Value) -> bool {
    if name_is(args, "OBJECT") {
        // SORT turns a small sorted set that it reads into a large one; PFADD, which changes nothing, a short string into a
        // raw one.
        return *oracle == Value::bulk("skiplist") && *subject == Value::bulk("listpack")
            || *oracle == Value::bulk("raw") && *subject == Value::bulk("embstr");
    }
    // Half a second more than the last moment that there is, for rounding, is one in the past.
    if name_is(args, "EXPIRETIME") {
        return *oracle == Value::Integer(i64::MIN / 1000) && *subject == Value::Integer(i64::MAX / 1000 + 1);
    }
    // Only a large sorted set tells -0 from 0, and SORT has made one of a small one.
    if same_but_zeros(oracle, subject) {
        return true;
    }
    // Where a made-up cursor leads depends on where the keys happen to lie.
    if is_scan(args) {
        let cursor = if name_is(args, "SCAN") { args.get(1) } else { args.get(2) };
        let is_made_up = cursor.is_some_and(|cursor| cursor.as_slice() != b"0");
        return is_made_up && matches!((oracle, subject), (Value::Array(_), Value::Array(_)));
    }
    if !name_is(args, "SORT") && !name_is(args, "SORT_RO") {
        return false;
    }
    // Redis compares by strcoll, for which a string ends at its first zero byte.
    let has_zero = |value: &Value| matches!(value, Value::Bulk(bytes) if bytes.contains(&0));
    let says = |word: &[u8]| args.iter().any(|arg| arg.eq_ignore_ascii_case(word));
    let (Value::Array(theirs), Value::Array(ours)) = (oracle, subject) else { return false };
    // Which of those that are the same to it comes first is open, and so is which of them is beyond a LIMIT.
    let are_same =
        if says(b"LIMIT") { theirs.len() == ours.len() } else { sorted(oracle, 1) == sorted(subject, 1) };
    says(b"ALPHA") && theirs.iter().chain(ours).any(has_zero) && are_same
}

/// The elements of a collection in groups of `size`, and what kind of a collection it is.
fn sorted(value: &Value, size: usize) -> Option<(char, Vec<String>)> {
    let (kind, mut elements): (char, Vec<String>) = match value {
        Value::Array(list) => ('*', list.chunks(size).map(|group| format!("{group:?}")).collect()),
        Value::Set(list) => ('~', list.iter().map(|element| format!("{element:?}")).collect()),
        Value::Map(pairs) => ('%', pairs.iter().map(|pair| format!("{pair:?}")).collect()),
        _ => return None,
    };
    elements.sort();
    Some((kind, elements))
}

fn shape(value: &Value) -> String {
    match value {
        Value::Bulk(_) => "string".into(),
        Value::Array(list) => format!("{:?}", list.iter().map(shape).collect::<Vec<_>>()),
        Value::Set(list) => format!("set {:?}", list.iter().map(shape).collect::<Vec<_>>()),
        Value::Double(_) => "double".into(),
        other => format!("{other:?}"),
    }
}

/// The reply to XPENDING or XINFO with 0 for every age and moment.
pub fn timeless(args: &Args, value: &Value) -> Value {
    if name_is(args, "XPENDING") {
        let Value::Array(rows) = value else { return value.clone() };
        let row = |row: &Value| match row {
            Value::Array(row) if row.len() == 4 && args.len() > 3 => {
                let mut row = row.clone();
                row[2] = Value::Integer(0);
                Value::Array(row)
            }
            other => other.clone(),
        };
        return Value::Array(rows.iter().map(row).collect());
    }
    without_times(value)
}

/// Names of fields in XINFO that are ages or moments, or tell of Redis's inner trees.
const OPEN_FIELDS: [&str; 5] = ["idle", "inactive", "seen-time", "active-time", "radix-tree-nodes"];

fn without_times(value: &Value) -> Value {
    let open = |name: &Value| match name {
        Value::Bulk(name) => OPEN_FIELDS.iter().any(|field| field.as_bytes() == name.as_slice()),
        _ => false,
    };
    let zero = |value: &Value| match value {
        // Some are -1: never.
        Value::Integer(0..) => Value::Integer(0),
        other => other.clone(),
    };
    match value {
        Value::Map(pairs) => {
            let pair = |(name, value): &(Value, Value)| {
                let value = if open(name) { zero(value) } else { pel(name, value) };
                (name.clone(), value)
            };
            Value::Map(pairs.iter().map(pair).collect())
        }
        Value::Array(list) => {
            let mut result: Vec<Value> = Vec::with_capacity(list.len());
            for (at, value) in list.iter().enumerate() {
                let name = if at % 2 == 1 { &list[at - 1] } else { &Value::Null };
                result.push(if open(name) { zero(value) } else { pel(name, value) });
            }
            Value::Array(result)
        }
        other => other.clone(),
    }
}

/// A list of pending entries has moments too: the number before the last of each.
fn pel(name: &Value, value: &Value) -> Value {
    let is_pel = matches!(name, Value::Bulk(name) if name == b"pel" || name == b"pending");
    match value {
        Value::Array(rows) if is_pel => Value::Array(
            rows.iter()
                .map(|row| match row {
                    Value::Array(row) if row.len() >= 3 => {
                        let mut row = row.clone();
                        let at = row.len() - 2;
                        row[at] = Value::Integer(0);
                        Value::Array(row)
                    }
                    other => other.clone(),
                })
                .collect(),
        ),
        other => without_times(other),
    }
}

/// The first reply that tells the two apart. Where random commands are concerned, also the first that the subject
/// contradicts itself with.
pub fn first_difference(oracle: &[Heard], subject: &[Heard], oracle_is_old: bool) -> Option<Difference> {
    let queued = |heard: &Heard| heard.reply == b"+QUEUED\r\n";
    // What EXEC runs. The other connection has no transactions.
    let mut queue: Vec<&Heard> = Vec::new();
    for (at, (wanted, got)) in oracle.iter().zip(subject).enumerate() {
        let args = &wanted.args;
        let difference = |args: &Args, oracle: String, subject: String| {
            Some(Difference {
                at: shown_command(args),
                oracle,
                subject,
                name: String::from_utf8_lossy(&args[0]).to_ascii_uppercase(),
            })
        };
        if wanted.args != got.args {
            return difference(&got.args, "(other keys)".into(), "(other keys)".into());
        }
        if wanted.reply != got.reply {
            let parsed = (parse_reply(&wanted.reply), parse_reply(&got.reply));
            let (Ok(Some((a, _))), Ok(Some((b, _)))) = parsed else {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                return difference(args, text(&wanted.reply), text(&got.reply));
            };
            let same = |heard: &Heard, a: &Value, b: &Value| {
                agree(&heard.args, heard.mate, a, b)
                    || (oracle_is_old && versions::explain(&heard.args, a, b).is_some())
            };
            match (&a, &b) {
                (Value::Array(a), Value::Array(b)) if name_is(args, "EXEC") && a.len() == b.len() => {
                    for ((heard, a), b) in queue.iter().zip(a).zip(b) {
                        if !same(heard, a, b) {
                            return difference(&heard.args, shown(a), shown(b));
                        }
                    }
                }
                _ if same(wanted, &a, &b) => {}
                _ => return difference(args, shown(&a), shown(&b)),
            }
        }
        if let Some(why) = contradiction(&subject[at..]) {
            return difference(args, "(what is random must fit what is there)".into(), why);
        }
        if queued(wanted) {
            queue.push(wanted);
        } else if name_is(args, "EXEC") || name_is(args, "DISCARD") {
            queue.clear();
        }
    }
    if oracle.len() != subject.len() {
        let at = oracle.len().min(subject.len());
        let next = |heard: &[Heard]| {
            heard.get(at).map_or("(nothing)".to_owned(), |heard| shown_command(&heard.args))
        };
        return Some(Difference {
            at: "the end".into(),
            oracle: next(oracle),
            subject: next(subject),
            name: "END".into(),
        });
    }
    None
}

fn value_of(heard: &Heard) -> Option<Value> {
    parse_reply(&heard.reply).ok().flatten().map(|(value, _)| value)
}

/// The strings in a reply, without what belongs to them (values, scores).
fn names(value: &Value, every: usize) -> Option<Vec<Vec<u8>>> {
    let name = |value: &Value| match value {
        Value::Bulk(name) => Some(name.clone()),
        Value::Array(pair) => match pair.first() {
            Some(Value::Bulk(name)) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    };
    match value {
        Value::Bulk(text) => Some(vec![text.clone()]),
        Value::Null | Value::NullBulk => Some(Vec::new()),
        Value::Array(list) if list.first().is_some_and(|first| matches!(first, Value::Array(_))) => {
            list.iter().map(name).collect()
        }
        Value::Array(list) | Value::Set(list) => list.iter().step_by(every).map(name).collect(),
        Value::Map(pairs) => pairs.iter().map(|(key, _)| name(key)).collect(),
        _ => None,
    }
}

/// Random elements are there, and popped ones are there no more.
fn contradiction(heard: &[Heard]) -> Option<String> {
    let [first, second, ..] = heard else { return None };
    let is = |heard: &Heard, wanted: &[&str]| wanted.iter().any(|name| name_is(&heard.args, name));
    let same_key = |a: &Heard, b: &Heard| a.args.get(1) == b.args.get(1);
    let pairs = |heard: &Heard| {
        let with = heard
            .args
            .iter()
            .any(|arg| arg.eq_ignore_ascii_case(b"WITHVALUES") || arg.eq_ignore_ascii_case(b"WITHSCORES"));
        if with || is(heard, &["HGETALL"]) {
            2
        } else {
            1
        }
    };
    let read = |heard: &Heard| names(&value_of(heard)?, pairs(heard));
    if first.mate == 1 && is(first, &["SRANDMEMBER", "HRANDFIELD", "ZRANDMEMBER"]) && same_key(first, second)
    {
        let (drawn, all) = (read(first)?, read(second)?);
        if let Some(stranger) = drawn.iter().find(|name| !all.contains(name)) {
            return Some(format!("{} is not there", shown_word(stranger)));
        }
        let count = first.args.get(2).and_then(|count| std::str::from_utf8(count).ok()?.parse::<i64>().ok());
        let mut different = drawn.clone();
        different.sort();
        different.dedup();
        if count.is_some_and(|count| count >= 0) && different.len() != drawn.len() {
            return Some("the same twice".into());
        }
        return None;
    }
    if first.mate == 3 && is(second, &["SPOP"]) && same_key(first, second) && heard.len() > 2 {
        let (mut before, mut after, popped) = (read(first)?, read(&heard[2])?, read(second)?);
        after.extend(popped);
        before.sort();
        after.sort();
        return (before != after).then(|| "what is popped and what is left are not what was there".into());
    }
    None
}

fn shown(value: &Value) -> String {
    const MAX: usize = 3_000;
    let mut text = format!("{value:?}");
    if text.len() > MAX {
        let end = (0..=MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let len = text.len();
        text.truncate(end);
        let _ = write!(text, "...({len} characters)");
    }
    text
}

#[test]
fn only_what_is_open_may_differ() {
    let args = |text: &str| -> Args { text.split(' ').map(|word| word.as_bytes().to_vec()).collect() };
    let list = |texts: &[&str]| Value::Array(texts.iter().map(Value::bulk).collect());
    let (one, two) = (Value::Integer(1_000), Value::Integer(1_030));
    assert!(agree(&args("keys *"), 0, &list(&["a", "b"]), &list(&["b", "a"])));
    assert!(!agree(&args("KEYS *"), 0, &list(&["a", "b"]), &list(&["a"])));
    assert!(!agree(&args("MGET a b"), 0, &list(&["a", "b"]), &list(&["b", "a"])));
    assert!(agree(&args("TTL a"), 0, &one, &two) && !agree(&args("INCR a"), 0, &one, &two));
    assert!(!agree(&args("TTL a"), 0, &Value::Integer(-1), &Value::Integer(-2)));
    assert!(!agree(&args("TTL a"), 0, &one, &Value::Integer(-1)));
    assert!(!agree(&args("RANDOMKEY"), 0, &Value::bulk("a"), &Value::NullBulk));
    assert!(!agree(&args("RANDOMKEY"), 0, &Value::NullBulk, &Value::bulk("a")));
    assert!(agree(&args("HGETALL k"), 0, &list(&["a", "1", "b", "2"]), &list(&["b", "2", "a", "1"])));
    assert!(!agree(&args("HGETALL k"), 0, &list(&["a", "1", "b", "2"]), &list(&["b", "1", "a", "2"])));
}

#[test]
fn what_is_random_must_fit_what_is_there() {
    let heard = |text: &str, mate: usize, elements: &[&str]| Heard {
        args: text.split(' ').map(|word| word.as_bytes().to_vec()).collect(),
        reply: super::support::Client::encode(elements),
        mate,
    };
    let all = heard("SMEMBERS k", 0, &["a", "b"]);
    assert!(contradiction(&[heard("SRANDMEMBER k 2", 1, &["a", "b"]), all.clone()]).is_none());
    assert!(contradiction(&[heard("SRANDMEMBER k 2", 1, &["a", "c"]), all.clone()]).is_some());
    assert!(contradiction(&[heard("SRANDMEMBER k 2", 1, &["a", "a"]), all.clone()]).is_some());
    assert!(contradiction(&[heard("SRANDMEMBER k -2", 1, &["a", "a"]), all]).is_none());
    let popped = |left: &[&str]| {
        let (before, pop) = (heard("SMEMBERS k", 3, &["a", "b"]), heard("SPOP k 1", 2, &["a"]));
        contradiction(&[before, pop, heard("SMEMBERS k", 1, left)]).is_some()
    };
    assert!(!popped(&["b"]) && popped(&["a"]) && popped(&[]) && popped(&["a", "b"]));
}
