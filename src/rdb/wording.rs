//! What Redis says of the same damage: its words are what operators and tools look for.

use std::borrow::Cow;

use super::error::Reason;
use super::kind::RdbType;

/// Redis's text for a value of the type with this number that is refused for `reason`.
pub fn redis_text(number: u8, reason: &Reason) -> Cow<'static, str> {
    match reason {
        // It has two ways to notice the same; this one tells more.
        Reason::End | Reason::Empty => "Unexpected EOF reading RDB file".into(),
        Reason::LengthEncoding(byte) => {
            format!("Unknown length encoding {} in rdbLoadLen()", byte >> 6).into()
        }
        Reason::StringEncoding(encoding) => format!("Unknown RDB string encoding type {encoding}").into(),
        Reason::ValueType(number) => format!("Unknown RDB encoding type {number}").into(),
        Reason::Module(name) => {
            format!("The RDB file contains module data I can't load: no matching module type '{name}'").into()
        }
        Reason::Lzf => "Invalid LZF compressed string".into(),
        Reason::Unsupported(_) => reason.to_string().into(),
        Reason::Corrupt(what) => match RdbType::of_number(number).and_then(damaged) {
            Some(text) => format!("{text} ({what})").into(),
            None => (*what).into(),
        },
    }
}

/// How Redis calls a damaged value; `None` where the reason alone has to do.
fn damaged(kind: RdbType) -> Option<&'static str> {
    Some(match kind {
        RdbType::String | RdbType::List => return None,
        RdbType::Set => "Duplicate set members detected",
        RdbType::SortedSet | RdbType::SortedSet2 => "Zset integrity check failed.",
        RdbType::Hash | RdbType::HashTimes | RdbType::HashTimesBefore | RdbType::ValkeyHash => {
            "Duplicate hash fields detected"
        }
        RdbType::HashZipmap => "Zipmap integrity check failed.",
        RdbType::ListZiplist => "List ziplist integrity check failed.",
        RdbType::SetIntset => "Intset integrity check failed.",
        RdbType::SortedSetZiplist => "Zset ziplist integrity check failed.",
        RdbType::HashZiplist => "Hash ziplist integrity check failed.",
        RdbType::ListQuicklist => "Ziplist integrity check failed.",
        RdbType::ListQuicklist2 => "Listpack integrity check failed.",
        RdbType::HashListpack | RdbType::HashTimesListpack | RdbType::HashTimesListpackBefore => {
            "Hash listpack integrity check failed."
        }
        RdbType::SortedSetListpack => "Zset listpack integrity check failed.",
        RdbType::SetListpack => "Set listpack integrity check failed.",
        RdbType::Stream | RdbType::Stream2 | RdbType::Stream3 | RdbType::Stream4 | RdbType::Stream5 => {
            "Stream listpack integrity check failed."
        }
    })
}
