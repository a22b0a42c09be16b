//! The types of serialised values, by the numbers that files and payloads name them with.

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
}

const MODULE_BEFORE_RELEASE: u8 = 6;
const MODULE: u8 = 7;

impl RdbType {
    const ALL: [RdbType; 19] = [
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
    ];

    /// The type of a number; values of modules are recognised by [`super::decode`], which can name the module.
    pub fn of_number(number: u8) -> Option<RdbType> {
        RdbType::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// Whether the number is that of a module's value, of which the length is unknown to anyone else.
    pub fn is_module(number: u8) -> bool {
        number == MODULE
    }

    /// Why a number that is no type of ours is refused.
    pub fn refusal(number: u8) -> Reason {
        match number {
            MODULE_BEFORE_RELEASE => Reason::Corrupt("Pre-release module format not supported"),
            // Hashes with times to live: Redis 7.4 from 22 on, Valkey 9 at 22.
            22..=25 => {
                Reason::Corrupt("a hash whose fields have times to live, which Redis 7.2 does not know")
            }
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
        for number in [6, 7, 8, 22, 255] {
            assert_eq!(RdbType::of_number(number), None);
        }
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
