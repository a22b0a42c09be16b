//! What came after Redis 7.2, read as far as there is nothing in it that Gyre has not.
//!
//! Servers write a newer type as soon as a value may need it: every stream of Redis 8.6 is a `Stream4`, and a hash that once had a
//! field with a time to live stays one with times. So a value is refused for what is in it, by name, and not for its type.

use super::{item, Walk};
use crate::rdb::decode::{Piece, Sink};
use crate::rdb::error::{Error, Reason};
use crate::rdb::reader::Reader;
use crate::store::listpack::{Item, Listpack};

const TIMES: Reason = Reason::Unsupported("a hash whose fields have times to live");
pub(in crate::rdb) const PRODUCERS: Reason =
    Reason::Unsupported("a stream with idempotent producers, which came with Redis 8.6");
const GIVEN_BACK: Reason =
    Reason::Unsupported("a stream of which a group has given entries back, which came with Redis 8.8");
/// A time of Valkey's that says that there is none.
const NO_TIME: i64 = -1;
const NO_TIMES: &str = "a hash with a field without a time to live, not even none";

/// The time in front of a field, by which it is later than the first one of the hash, or the time itself; 0 for none.
fn no_time(reader: &mut Reader) -> Result<(), Error> {
    let start = reader.position();
    match reader.length()? {
        0 => Ok(()),
        _ => Err(TIMES.at(start)),
    }
}

impl<S: Sink> Walk<'_, '_, S> {
    /// A hash with a time in front of each field.
    pub(super) fn hash_with_times(&mut self) -> Result<(), Error> {
        let start = self.reader.position();
        let len = self.len()?;
        self.give_at(start, Piece::HashLen(len))?;
        for _ in 0..len {
            let start = self.reader.position();
            no_time(self.reader)?;
            let field = self.reader.string()?;
            let value = self.reader.string()?;
            self.give_at(start, Piece::HashPair(item(&field), item(&value)))?;
        }
        Ok(())
    }

    /// Valkey's: a time behind each value.
    pub(super) fn valkey_hash(&mut self) -> Result<(), Error> {
        let start = self.reader.position();
        let len = self.len()?;
        self.give_at(start, Piece::HashLen(len))?;
        for _ in 0..len {
            let start = self.reader.position();
            let field = self.reader.string()?;
            let value = self.reader.string()?;
            let at = self.reader.position();
            if self.reader.time_ms()? != NO_TIME {
                return Err(TIMES.at(at));
            }
            self.give_at(start, Piece::HashPair(item(&field), item(&value)))?;
        }
        Ok(())
    }

    /// A listpack of fields, values and times.
    pub(super) fn hash_listpack_with_times(&mut self) -> Result<(), Error> {
        let start = self.reader.position();
        let blob = self.reader.blob()?;
        let listpack = self.listpack(start, &blob)?;
        if listpack.is_empty() {
            return Err(Reason::Empty.at(start));
        }
        let mut pairs = Listpack::new();
        let (mut digits, mut more_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
        let mut items = listpack.items().iter();
        while let Some(field) = items.next() {
            let (Some(value), Some(time)) = (items.next(), items.next()) else {
                return Err(Reason::Corrupt(NO_TIMES).at(start));
            };
            match time {
                Item::Int(0) => {}
                Item::Int(_) => return Err(TIMES.at(start)),
                Item::Bytes(_) => return Err(Reason::Corrupt(NO_TIMES).at(start)),
            }
            pairs.push_back(field.bytes(&mut digits));
            pairs.push_back(value.bytes(&mut more_digits));
        }
        self.give_at(start, Piece::HashPacked(pairs))
    }

    /// Behind the groups of a stream: how long and how many ids of producers are remembered, which may be none, and two counters.
    pub(super) fn no_producers(&mut self) -> Result<(), Error> {
        self.reader.length()?;
        self.reader.length()?;
        let start = self.reader.position();
        if self.reader.length()? > 0 {
            return Err(PRODUCERS.at(start));
        }
        self.reader.length()?;
        self.reader.length().map(drop)
    }

    /// Behind the consumers of a group: pending entries that are no consumer's.
    pub(super) fn nothing_given_back(&mut self) -> Result<(), Error> {
        let start = self.reader.position();
        match self.reader.length()? {
            0 => Ok(()),
            _ => Err(GIVEN_BACK.at(start)),
        }
    }
}
