//! DEBUG DIGEST: a fingerprint of values and of the whole data set, the same as Redis computes for the same data.
//!
//! Two operations on 20 bytes: `xor` folds a SHA-1 in, whatever the order; `mix` folds it in and hashes the result, so
//! that the order counts. A key with its value is a mix; a database is the XOR of its keys, so that shards compute
//! their parts alone and the parts are joined afterwards.

use sha1::{Digest as _, Sha1};

use crate::base::double::format_double_digits;
use crate::store::stream::StreamId;
use crate::store::{Value, ValueType};

/// Marks a value that expires; when it does is left out.
const EXPIRES: &[u8] = b"!!expire!!";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest([u8; 20]);

impl Digest {
    pub fn xor(&mut self, bytes: &[u8]) {
        let hash: [u8; 20] = Sha1::digest(bytes).into();
        self.join(Digest(hash));
    }

    pub fn mix(&mut self, bytes: &[u8]) {
        self.xor(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Joins a part of the same database.
    pub fn join(&mut self, part: Digest) {
        for (byte, other) in self.0.iter_mut().zip(part.0) {
            *byte ^= other;
        }
    }

    /// The part of a database that is one key with its value.
    pub fn of_entry(key: &[u8], value: &Value, expires: bool) -> Digest {
        let mut entry = Digest::default();
        entry.mix(key);
        entry.mix_value(value, expires);
        let mut part = Digest::default();
        part.xor(&entry.0);
        part
    }

    /// A value without its key (DEBUG DIGEST-VALUE).
    pub fn of_value(value: &Value, expires: bool) -> Digest {
        let mut digest = Digest::default();
        digest.mix_value(value, expires);
        digest
    }

    /// The data set, out of its databases' parts in order; `None` for a database without keys.
    pub fn of_databases(parts: impl Iterator<Item = Option<Digest>>) -> Digest {
        let mut digest = Digest::default();
        for (number, part) in parts.enumerate() {
            if let Some(part) = part {
                digest.mix(&(number as u32).to_be_bytes());
                digest.join(part);
            }
        }
        digest
    }

    fn mix_value(&mut self, value: &Value, expires: bool) {
        self.mix(&type_number(value.value_type()).to_be_bytes());
        let mut digits = itoa::Buffer::new();
        match value {
            Value::Set(set) => set.iter().for_each(|member| self.xor(member.bytes(&mut digits))),
            Value::Hash(hash) => {
                for (field, value) in hash.iter() {
                    let mut pair = Digest::default();
                    pair.mix(field.bytes(&mut digits));
                    pair.mix(value.bytes(&mut digits));
                    self.xor(&pair.0);
                }
            }
            Value::Stream(stream) => {
                for entry in stream.log().range(StreamId::MIN, StreamId::MAX) {
                    let id = entry.id();
                    self.mix(format!("{}.{}", id.ms, id.seq).as_bytes());
                    for (field, value) in entry.fields() {
                        self.mix(field.bytes(&mut digits));
                        self.mix(value.bytes(&mut digits));
                    }
                }
            }
            Value::SortedSet(set) => {
                for (member, score) in set.iter() {
                    let mut pair = Digest::default();
                    pair.mix(member.bytes(&mut digits));
                    // Not the text of replies, where large whole numbers have all their digits.
                    pair.mix(format_double_digits(score).as_bytes());
                    self.xor(&pair.0);
                }
            }
            Value::List(list) => list.for_each(|element| self.mix(element.bytes(&mut digits))),
            _ => {
                if let Ok(bytes) = value.string(&mut digits) {
                    self.mix(bytes);
                }
            }
        }
        if expires {
            self.xor(EXPIRES);
        }
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Redis's numbers of the types.
fn type_number(value_type: ValueType) -> u32 {
    match value_type {
        ValueType::String => 0,
        ValueType::List => 1,
        ValueType::Set => 2,
        ValueType::SortedSet => 3,
        ValueType::Hash => 4,
        ValueType::Stream => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Collection, Hash, Set, Settings, SortedSet};

    #[test]
    fn digests_are_those_of_redis() {
        // DEBUG DIGEST-VALUE of redis-server 7.0.15.
        let of = |bytes| Digest::of_value(&Value::Bytes(bytes), false).to_string();
        assert_eq!(of(b"bar"), "68467c70ae30376e7ce005bcc8827f5ba7fd67dc");
        assert_eq!(
            Digest::of_value(&Value::Int(12), true).to_string(),
            "83df3a94c43338a2db2a05ddb5dbb794b842c619"
        );
    }

    #[test]
    fn digests_of_sets_and_hashes_are_those_of_redis() {
        let settings = Settings::default();
        let mut set = Set::from_listpack(Default::default());
        for member in ["1", "two", "3"] {
            set.add(member.as_bytes(), &settings);
        }
        let of = |value| Digest::of_value(&value, false).to_string();
        assert_eq!(of(Value::Set(set.view())), "5d7596c5471a19be0413b9c008fa3f763727f09d");
        let mut integers = Set::integers();
        integers.add(b"-7", &settings);
        integers.add(b"5", &settings);
        assert_eq!(of(Value::Set(integers.view())), "48d33afee527645154736e01efa7b63788e6b6a3");
        let mut hash = Hash::empty();
        hash.set(b"f1", b"v1", &settings);
        hash.set(b"2", b"22", &settings);
        assert_eq!(of(Value::Hash(hash.view())), "69ed42674da07c15d4985b5231f344fd7488a57e");
    }

    #[test]
    fn digests_of_scores_are_those_of_redis() {
        // DEBUG DIGEST-VALUE of Redis 7.2.6.
        let mut set = SortedSet::empty();
        for (member, score) in
            [("a", 5e9), ("b", 1e15), ("c", 3e17), ("d", 0.1), ("e", -7.5e22), ("f", -0.00025)]
        {
            set.insert(member.as_bytes(), score, &Settings::default());
        }
        let digest = Digest::of_value(&Value::SortedSet(set.view()), false).to_string();
        assert_eq!(digest, "e174286a8ef51df9749004a1f5599004da7a2815");
    }

    #[test]
    fn digests_of_streams_are_those_of_redis() {
        use crate::store::{Collection, Settings, Stream};
        let mut stream = Stream::empty();
        let entries: [(u64, u64, &[&[u8]]); 3] =
            [(1, 1, &[b"a", b"1", b"b", b"xyz"]), (5, 0, &[b"c", b"-70000"]), (6, 0, &[b"c", b"8"])];
        for (ms, seq, pairs) in entries {
            let id = StreamId::new(ms, seq);
            stream.log_mut().append(id, pairs, &Settings::default()).expect("an entry is small");
        }
        stream.log_mut().delete_all(&[StreamId::new(6, 0)]);
        assert_eq!(
            Digest::of_value(&Value::Stream(&stream), false).to_string(),
            "441d941018706c66e8b5657e78ef74f080c47a43"
        );
    }

    #[test]
    fn parts_of_a_database_join_in_any_order() {
        let a = Digest::of_entry(b"a", &Value::Int(1), false);
        let b = Digest::of_entry(b"b", &Value::Int(2), true);
        let (mut ab, mut ba) = (a, b);
        ab.join(b);
        ba.join(a);
        assert_eq!(
            Digest::of_databases([Some(ab)].into_iter()),
            Digest::of_databases([Some(ba)].into_iter())
        );
        assert_ne!(
            Digest::of_databases([Some(ab)].into_iter()),
            Digest::of_databases([None, Some(ab)].into_iter())
        );
        assert_eq!(Digest::of_databases([None].into_iter()).to_string(), "0".repeat(40));
    }
}
