//! The types of serialised values, by the numbers that files and payloads name them with.
//!
//! The two families have split: Redis has gone on from 7.2's numbers (versions of the format up to 15), and so has Valkey (version 80).
//! The number 22 means two things, so a byte of a file or a payload becomes a [`code`], by its version, before anything else.

use super::error::Reason;

/// How a value is written. What is in brackets is the version of the format that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RdbType {
    String = 0,
    /// Element by element, as the next three.
    List = 1,
    Set = 2,
    /// Scores as text.
    SortedSet = 3,
    Hash = 4,
    /// Scores in binary (8).
    SortedSet2 = 5,
    HashZipmap = 9,
    ListZiplist = 10,
    SetIntset = 11,
    SortedSetZiplist = 12,
    HashZiplist = 13,
    /// A row of ziplists (7).
    ListQuicklist = 14,
    /// A row of listpacks (9).
    Stream = 15,
    /// (10), as the next three.
    HashListpack = 16,
    SortedSetListpack = 17,
    /// A row of listpacks and of large elements.
    ListQuicklist2 = 18,
    /// With the counts that lag is computed from.
    Stream2 = 19,
    /// (11)
    SetListpack = 20,
    /// With the time that a consumer was last active (11).
    Stream3 = 21,
    /// A time to live before each field, 0 for none: of Redis 7.4 before its release, as the next one (12).
    HashTimesBefore = 22,
    /// One listpack of fields, values and times.
    HashTimesListpackBefore = 23,
    /// The same two with the first time of all in front (12).
    HashTimes = 24,
    HashTimesListpack = 25,
    /// With the ids of idempotent producers (13).
    Stream4 = 26,
    /// With entries that groups have given back (14).
    Stream5 = 27,
    /// Valkey's hash with a time to live after each value, -1 for none (80). In files it is [`VALKEY_HASH`].
    ValkeyHash = VALKEY_HASH | OTHER_FAMILY,
}

/// What Valkey writes in front of a hash with times to live; Redis has another type there.
const VALKEY_HASH: u8 = 22;
/// No file has numbers so high for types, and opcodes begin far above.
const OTHER_FAMILY: u8 = 0x80;

/// The number that this room has for the type `number` of a file or payload of this version; `None` when it is the number of no type.
pub fn code(number: u8, version: u16) -> Option<u8> {
    match number {
        VALKEY_HASH if version >= super::OLDEST_VALKEY => Some(RdbType::ValkeyHash as u8),
        0..OTHER_FAMILY => Some(number),
        OTHER_FAMILY.. => None,
    }
}

const MODULE_BEFORE_RELEASE: u8 = 6;
const MODULE: u8 = 7;

impl RdbType {
    const ALL: [RdbType; 26] = [
        RdbType::String,
        RdbType::List,
        RdbType::Set,
        RdbType::SortedSet,
        RdbType::Hash,
        RdbType::SortedSet2,
        RdbType::HashZipmap,
        RdbType::ListZiplist,
        RdbType::SetIntset,
        RdbType::SortedSetZiplist,
        RdbType::HashZiplist,
        RdbType::ListQuicklist,
        RdbType::Stream,
        RdbType::HashListpack,
        RdbType::SortedSetListpack,
        RdbType::ListQuicklist2,
        RdbType::Stream2,
        RdbType::SetListpack,
        RdbType::Stream3,
        RdbType::HashTimesBefore,
        RdbType::HashTimesListpackBefore,
        RdbType::HashTimes,
        RdbType::HashTimesListpack,
        RdbType::Stream4,
        RdbType::Stream5,
        RdbType::ValkeyHash,
    ];

    /// The type of a number; values of modules are recognised by [`super::decode`], which can name the module.
    pub fn of_number(number: u8) -> Option<RdbType> {
        RdbType::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// Whether the number is that of a module's value, of which the length is unknown to anyone else.
    pub fn is_module(number: u8) -> bool {
        number == MODULE
    }

    /// Whether the number is that of some server's type, which can be read or is refused by name.
    pub fn is_known(number: u8) -> bool {
        RdbType::is_module(number)
            || RdbType::of_number(number).is_some()
            || matches!(RdbType::refusal(number), Reason::Unsupported(_))
    }

    /// Why a number that is no type of ours is refused.
    pub fn refusal(number: u8) -> Reason {
        match number {
            MODULE_BEFORE_RELEASE => Reason::Corrupt("Pre-release module format not supported"),
            28 => Reason::Unsupported("an array, a type of Redis 8.8"),
            29..=32 => Reason::Unsupported("a hash by a template, which came with Redis 8.10"),
            33 => Reason::Unsupported("a rate limiter, a type of Redis 8.8"),
            _ => Reason::ValueType(number),
        }
    }
}

/// The name of a module's type, from the identifier in front of its values: nine characters of six bits, then ten bits that are
/// the module's own.
pub fn module_name(identifier: u64) -> String {
    const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).map(|i| CHARACTERS[(identifier >> (58 - 6 * i)) as usize & 0x3f] as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_its_number() {
        for kind in RdbType::ALL {
            assert_eq!(RdbType::of_number(kind as u8), Some(kind));
        }
        for number in [6, 7, 8, 28, 33, 255] {
            assert_eq!(RdbType::of_number(number), None);
        }
    }

    #[test]
    fn the_number_22_is_told_apart_by_the_version() {
        let kind = |number, version| code(number, version).and_then(RdbType::of_number);
        assert_eq!(kind(22, 12), Some(RdbType::HashTimesBefore));
        assert_eq!(kind(22, 80), Some(RdbType::ValkeyHash));
        assert_eq!(kind(21, 80), Some(RdbType::Stream3));
        assert_eq!(code(0x80 | 22, 11), None, "no file has what stands for it here");
    }

    #[test]
    fn a_module_is_called_by_its_name() {
        // "ReJSON-RL", encoding version 3.
        let identifier = "ReJSON-RL".bytes().fold(0u64, |id, byte| {
            let set = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            id << 6 | set.iter().position(|c| *c == byte).unwrap() as u64
        }) << 10
            | 3;
        assert_eq!(module_name(identifier), "ReJSON-RL");
    }
}
