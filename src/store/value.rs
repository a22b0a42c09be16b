//! Values as commands see them: types, encodings, borrowed values, and values taken out of the keyspace.

use std::ops::Deref;

use bytes::{Bytes, BytesMut};

use super::clock::Clock;
use super::collection::Collection;
use super::entry::EMBEDDED_LEN_MAX;
use super::object::{Object, SharedString};
use super::{Hash, HashView, List, ListView, Set, SetView, SortedSet, SortedSetView, Stream};

/// The longest string that OBJECT ENCODING calls embstr, bytes, as in Redis.
pub const EMBSTR_LEN_MAX: usize = 44;

/// The type of a value, as TYPE names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Stream,
}

impl ValueType {
    /// TYPE's answer.
    pub const fn name(self) -> &'static str {
        match self {
            ValueType::String => "string",
            ValueType::List => "list",
            ValueType::Set => "set",
            ValueType::SortedSet => "zset",
            ValueType::Hash => "hash",
            ValueType::Stream => "stream",
        }
    }
}

/// The representation of a value, as OBJECT ENCODING names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    Int,
    Embstr,
    Raw,
    Listpack,
    Quicklist,
    Intset,
    Hashtable,
    Skiplist,
    Stream,
}

impl Encoding {
    /// OBJECT ENCODING's answer.
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::Int => "int",
            Encoding::Embstr => "embstr",
            Encoding::Raw => "raw",
            Encoding::Listpack => "listpack",
            Encoding::Quicklist => "quicklist",
            Encoding::Intset => "intset",
            Encoding::Hashtable => "hashtable",
            Encoding::Skiplist => "skiplist",
            Encoding::Stream => "stream",
        }
    }
}

/// Type and encoding in one byte. It is kept beside the pointer to the entry, so that a type check reads no entry.
///
/// `RawShared` is a string that lies outside its entry in a reference-counted buffer; clients see it as raw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    Int = 1,
    Embstr = 2,
    Raw = 3,
    RawShared = 4,
    ListListpack = 5,
    ListQuicklist = 6,
    SetIntset = 7,
    SetListpack = 8,
    SetHashtable = 9,
    HashListpack = 10,
    HashHashtable = 11,
    SortedSetListpack = 12,
    SortedSetSkiplist = 13,
    Stream = 14,
}

impl Kind {
    pub const ALL: [Kind; 14] = [
        Kind::Int,
        Kind::Embstr,
        Kind::Raw,
        Kind::RawShared,
        Kind::ListListpack,
        Kind::ListQuicklist,
        Kind::SetIntset,
        Kind::SetListpack,
        Kind::SetHashtable,
        Kind::HashListpack,
        Kind::HashHashtable,
        Kind::SortedSetListpack,
        Kind::SortedSetSkiplist,
        Kind::Stream,
    ];

    /// The inverse of `as u8`. Panics on a number that is no kind: words are written by this module's siblings only.
    #[inline]
    pub(super) fn from_u8(number: u8) -> Kind {
        Kind::ALL[number as usize - 1]
    }

    pub const fn value_type(self) -> ValueType {
        match self {
            Kind::Int | Kind::Embstr | Kind::Raw | Kind::RawShared => ValueType::String,
            Kind::ListListpack | Kind::ListQuicklist => ValueType::List,
            Kind::SetIntset | Kind::SetListpack | Kind::SetHashtable => ValueType::Set,
            Kind::HashListpack | Kind::HashHashtable => ValueType::Hash,
            Kind::SortedSetListpack | Kind::SortedSetSkiplist => ValueType::SortedSet,
            Kind::Stream => ValueType::Stream,
        }
    }

    pub const fn encoding(self) -> Encoding {
        match self {
            Kind::Int => Encoding::Int,
            Kind::Embstr => Encoding::Embstr,
            Kind::Raw | Kind::RawShared => Encoding::Raw,
            Kind::ListListpack | Kind::SetListpack | Kind::HashListpack | Kind::SortedSetListpack => {
                Encoding::Listpack
            }
            Kind::ListQuicklist => Encoding::Quicklist,
            Kind::SetIntset => Encoding::Intset,
            Kind::SetHashtable | Kind::HashHashtable => Encoding::Hashtable,
            Kind::SortedSetSkiplist => Encoding::Skiplist,
            Kind::Stream => Encoding::Stream,
        }
    }

    #[inline]
    pub const fn is_string(self) -> bool {
        self as u8 <= Kind::RawShared as u8
    }

    /// A value that may lie in its entry, as bytes after their length: short strings and packed collections.
    pub(super) const fn may_be_embedded(self) -> bool {
        matches!(
            self,
            Kind::Embstr
                | Kind::Raw
                | Kind::ListListpack
                | Kind::SetIntset
                | Kind::SetListpack
                | Kind::HashListpack
                | Kind::SortedSetListpack
        )
    }
}

/// The command wanted another type than the key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

/// The command wanted an integer, and the string that the key holds is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotInteger;

/// What a write does to a key's time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// Leaves it as it is; a new key has none.
    Keep,
    None,
    /// Unix time, milliseconds.
    At(i64),
}

/// A live value, borrowed from the keyspace.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A string held as an integer.
    Int(i64),
    /// A string held inside its entry.
    Bytes(&'a [u8]),
    /// A large string; cloning the `Bytes` copies nothing.
    Shared(&'a Bytes),
    List(ListView<'a>),
    Set(SetView<'a>),
    Hash(HashView<'a>),
    SortedSet(SortedSetView<'a>),
    Stream(&'a Stream),
}

impl<'a> Value<'a> {
    /// Type and encoding. A short string that APPEND or its like made raw looks like embstr here: `Store::kind` and
    /// `Store::describe` know better, and are what OBJECT ENCODING must ask.
    pub fn kind(&self) -> Kind {
        match self {
            Value::Int(_) => Kind::Int,
            Value::Bytes(bytes) if bytes.len() <= EMBSTR_LEN_MAX => Kind::Embstr,
            Value::Bytes(_) => Kind::Raw,
            Value::Shared(_) => Kind::RawShared,
            Value::List(list) => list.kind(),
            Value::Set(set) => set.kind(),
            Value::Hash(hash) => hash.kind(),
            Value::SortedSet(sorted_set) => sorted_set.kind(),
            Value::Stream(_) => Kind::Stream,
        }
    }

    /// A value that lies in its entry.
    #[inline]
    pub(super) fn embedded(kind: Kind, bytes: &'a [u8]) -> Value<'a> {
        match kind {
            Kind::ListListpack => Value::List(List::view_packed(kind, bytes)),
            Kind::SetIntset | Kind::SetListpack => Value::Set(Set::view_packed(kind, bytes)),
            Kind::HashListpack => Value::Hash(Hash::view_packed(kind, bytes)),
            Kind::SortedSetListpack => Value::SortedSet(SortedSet::view_packed(kind, bytes)),
            _ => Value::Bytes(bytes),
        }
    }

    pub fn value_type(&self) -> ValueType {
        self.kind().value_type()
    }

    /// The bytes of a string; those of an integer are written into `digits`.
    pub fn string<'b>(&'b self, digits: &'b mut itoa::Buffer) -> Result<&'b [u8], WrongType> {
        match self {
            Value::Int(value) => Ok(digits.format(*value).as_bytes()),
            Value::Bytes(bytes) => Ok(bytes),
            Value::Shared(bytes) => Ok(bytes),
            _ => Err(WrongType),
        }
    }

    /// Length of a string, bytes, without writing out an integer.
    pub fn string_len(&self) -> Result<usize, WrongType> {
        match self {
            Value::Int(value) => Ok(itoa::Buffer::new().format(*value).len()),
            Value::Bytes(bytes) => Ok(bytes.len()),
            Value::Shared(bytes) => Ok(bytes.len()),
            _ => Err(WrongType),
        }
    }
}

/// The integer that `bytes` is the canonical decimal form of: no sign but a leading `-`, no leading zeros, no spaces.
/// Exactly the strings that Redis stores as integers and accepts where it wants one.
pub fn parse_integer(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    // 19 digits fit in a u64.
    let mut magnitude = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        magnitude = magnitude * 10 + (digit - b'0') as u64;
    }
    if negative {
        0i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// The bytes of a string while `Store::modify_string` lets a command change them.
#[derive(Debug, Default)]
pub struct StringBuf {
    bytes: BytesMut,
    changed: bool,
}

impl StringBuf {
    pub(super) fn new(bytes: BytesMut) -> StringBuf {
        StringBuf { bytes, changed: false }
    }

    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    pub(super) fn into_inner(self) -> BytesMut {
        self.bytes
    }

    /// Counts as a change, even when nothing is written through it.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.changed = true;
        &mut self.bytes
    }

    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.changed = true;
        self.bytes.extend_from_slice(bytes);
    }

    /// Grows with `fill`, or shrinks.
    pub fn resize(&mut self, len: usize, fill: u8) {
        self.changed = true;
        if fill == 0 && self.bytes.is_empty() && len > self.bytes.capacity() {
            // The system gives zeros: a large buffer costs nothing until it is written to.
            self.bytes = BytesMut::zeroed(len);
        } else {
            self.bytes.resize(len, fill);
        }
    }

    pub fn truncate(&mut self, len: usize) {
        self.changed = true;
        self.bytes.truncate(len);
    }

    /// Replaces everything.
    pub fn assign(&mut self, bytes: &[u8]) {
        self.changed = true;
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes `bytes` at `offset`, filling any gap before it with zeros (SETRANGE).
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        self.changed = true;
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
    }
}

impl Deref for StringBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A value without a key, independent of any store.
#[derive(Debug)]
pub(super) enum Payload {
    Int(i64),
    /// A string or packed collection, as the kind beside it says.
    Packed(Vec<u8>),
    Object(Box<Object>),
}

/// A value taken out of the keyspace, with its expiry and clock: for RENAME, COPY, MOVE, and to lend to another shard.
///
/// It is `Send`. Memory belongs to the shard that allocated it, so the shard that receives one from another
/// calls [`Detached::reallocated`] and lets the original go back, or drop, as its owner wishes.
#[derive(Debug)]
pub struct Detached {
    pub(super) payload: Payload,
    pub(super) kind: Kind,
    /// Unix time, milliseconds.
    pub(super) expire_at: Option<i64>,
    pub(super) clock: Clock,
}

impl Detached {
    /// A string that no store has held yet; stored as SET would store it.
    pub fn from_string(bytes: &[u8], expire_at: Option<i64>) -> Detached {
        let (payload, kind) = match parse_integer(bytes) {
            Some(value) => (Payload::Int(value), Kind::Int),
            None if bytes.len() <= EMBSTR_LEN_MAX => (Payload::Packed(bytes.to_vec()), Kind::Embstr),
            None if bytes.len() > EMBEDDED_LEN_MAX => {
                return Detached::from_shared(Bytes::copy_from_slice(bytes), expire_at);
            }
            None => (Payload::Packed(bytes.to_vec()), Kind::Raw),
        };
        Detached { payload, kind, expire_at, clock: Clock::UNSET }
    }

    /// As `from_string`, without a copy of a large one. The buffer behind `bytes` should not be much longer than they are.
    pub fn from_shared(bytes: Bytes, expire_at: Option<i64>) -> Detached {
        if bytes.len() <= EMBEDDED_LEN_MAX {
            return Detached::from_string(&bytes, expire_at);
        }
        let payload = Payload::Object(Box::new(Object::String(SharedString::new(bytes))));
        Detached { payload, kind: Kind::RawShared, expire_at, clock: Clock::UNSET }
    }

    /// A collection that no store has held yet.
    pub fn from_collection<T: Collection>(collection: T, expire_at: Option<i64>) -> Detached {
        let kind = collection.kind();
        let lies_in_entry = collection.packed().is_some_and(|bytes| bytes.len() <= EMBEDDED_LEN_MAX);
        let payload = if lies_in_entry {
            Payload::Packed(collection.into_packed())
        } else {
            Payload::Object(Box::new(collection.into_object()))
        };
        Detached { payload, kind, expire_at, clock: Clock::UNSET }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Unix time, milliseconds.
    pub fn expire_at(&self) -> Option<i64> {
        self.expire_at
    }

    pub fn set_expire_at(&mut self, expire_at: Option<i64>) {
        self.expire_at = expire_at;
    }

    /// Forgets when and how often it was used: stored, it counts as new (COPY).
    pub fn forget_use(&mut self) {
        self.clock = Clock::UNSET;
    }

    /// When and how often it was used.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    pub fn value(&self) -> Value<'_> {
        match &self.payload {
            Payload::Int(value) => Value::Int(*value),
            Payload::Packed(bytes) => Value::embedded(self.kind, bytes),
            Payload::Object(object) => object.value(),
        }
    }

    /// A copy in memory allocated by the calling thread.
    pub fn reallocated(&self) -> Detached {
        let payload = match &self.payload {
            Payload::Int(value) => Payload::Int(*value),
            Payload::Packed(bytes) => Payload::Packed(bytes.clone()),
            Payload::Object(object) => Payload::Object(Box::new(object.duplicate())),
        };
        Detached { payload, kind: self.kind, expire_at: self.expire_at, clock: self.clock }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_its_number() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_u8(kind as u8), kind);
        }
    }

    #[test]
    fn only_canonical_integers_parse() {
        for value in [0, 1, -1, 9, 10, i64::MAX, i64::MIN, 1_000_000_007] {
            assert_eq!(parse_integer(value.to_string().as_bytes()), Some(value));
        }
        for text in [
            "",
            "-",
            "-0",
            "00",
            "01",
            "+1",
            " 1",
            "1 ",
            "1a",
            "9223372036854775808",
            "-9223372036854775809",
            "1e3",
        ] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn detached_values_can_be_sent() {
        fn sendable<T: Send>(_: &T) {}
        sendable(&Detached::from_string(b"x", None));
    }
}
