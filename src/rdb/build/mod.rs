//! Makes a value in memory of the pieces of a serialised one, in the encoding that today's configuration gives it.

mod hash;
mod list;
mod packing;
mod set;
mod sorted_set;
mod stream;
#[cfg(test)]
mod tests;

use super::decode::{decode, Piece, Sink};
use super::error::{Error, Reason};
use super::reader::{Reader, Text};
use crate::store::{Detached, Settings};

/// What is looked for besides damage to the encoding, which always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// Nothing that takes a search: the payload is one that its checksum vouches for.
    Encoding,
    /// Elements that occur twice in a small collection. (In a large one they are always noticed.)
    Duplicates,
}

/// Reads a value of the type with this number.
pub fn decode_value(
    number: u8,
    reader: &mut Reader,
    settings: &Settings,
    checks: Checks,
) -> Result<Detached, Error> {
    let mut builder = Builder { settings, checks, value: Unfinished::Nothing };
    decode(number, reader, &mut builder)?;
    builder.finish().map_err(|reason| reader.error(reason))
}

const DUPLICATE: Reason = Reason::Corrupt("an element that occurs twice");
/// `decode` gives each type its own pieces.
const MIXED: Reason = Reason::Corrupt("pieces of several types");

struct Builder<'s> {
    settings: &'s Settings,
    checks: Checks,
    value: Unfinished,
}

enum Unfinished {
    Nothing,
    String(Detached),
    List(list::ListBuilder),
    Set(set::SetBuilder),
    Hash(hash::HashBuilder),
    SortedSet(sorted_set::SortedSetBuilder),
    Stream(Box<stream::StreamBuilder>),
}

/// The builder of the value, which the first piece makes.
macro_rules! builder {
    ($value:expr, $variant:ident, $new:expr) => {{
        if let Unfinished::Nothing = $value {
            $value = Unfinished::$variant($new);
        }
        match &mut $value {
            Unfinished::$variant(builder) => builder,
            _ => return Err(MIXED),
        }
    }};
}

impl Sink for Builder<'_> {
    fn piece(&mut self, piece: Piece<'_>) -> Result<(), Reason> {
        let settings = self.settings;
        match piece {
            Piece::String(text) => self.value = Unfinished::String(string(text)),
            Piece::ListElement(element) => {
                let mut digits = itoa::Buffer::new();
                builder!(self.value, List, list::ListBuilder::new())
                    .element(element.bytes(&mut digits), settings);
            }
            Piece::ListPlain(element) => {
                builder!(self.value, List, list::ListBuilder::new()).plain(element, settings);
            }
            Piece::ListPacked(listpack) => {
                builder!(self.value, List, list::ListBuilder::new()).packed(listpack, settings);
            }
            Piece::SetLen(len) => {
                builder!(self.value, Set, set::SetBuilder::new()).expect(len, settings);
            }
            Piece::SetMember(member) => {
                builder!(self.value, Set, set::SetBuilder::new()).member(member, settings)?
            }
            Piece::SetPacked(listpack) => {
                builder!(self.value, Set, set::SetBuilder::new()).packed(listpack, settings)?;
            }
            Piece::SetIntset(numbers) => {
                builder!(self.value, Set, set::SetBuilder::new()).intset(numbers, settings)?;
            }
            Piece::HashLen(len) => builder!(self.value, Hash, hash::HashBuilder::new()).expect(len, settings),
            Piece::HashPair(field, value) => {
                builder!(self.value, Hash, hash::HashBuilder::new()).pair(field, value, settings)?;
            }
            Piece::HashPacked(listpack) => {
                builder!(self.value, Hash, hash::HashBuilder::new()).packed(listpack, settings)?;
            }
            Piece::SortedSetLen(len) => {
                builder!(self.value, SortedSet, sorted_set::SortedSetBuilder::new()).expect(len, settings);
            }
            Piece::SortedSetMember(member, score) => {
                builder!(self.value, SortedSet, sorted_set::SortedSetBuilder::new())
                    .member(member, score, settings)?;
            }
            Piece::SortedSetPacked(listpack) => {
                builder!(self.value, SortedSet, sorted_set::SortedSetBuilder::new())
                    .packed(listpack, settings)?;
            }
            piece => builder!(self.value, Stream, Box::default()).piece(piece)?,
        }
        Ok(())
    }
}

impl Builder<'_> {
    fn finish(self) -> Result<Detached, Reason> {
        let duplicates = self.checks == Checks::Duplicates;
        match self.value {
            Unfinished::Nothing => Err(Reason::Empty),
            Unfinished::String(value) => Ok(value),
            Unfinished::List(builder) => Ok(Detached::from_collection(builder.finish(self.settings), None)),
            Unfinished::Set(builder) => Ok(Detached::from_collection(builder.finish(duplicates)?, None)),
            Unfinished::Hash(builder) => Ok(Detached::from_collection(builder.finish(duplicates)?, None)),
            Unfinished::SortedSet(builder) => {
                Ok(Detached::from_collection(builder.finish(duplicates)?, None))
            }
            Unfinished::Stream(builder) => Ok(Detached::from_collection(builder.finish()?, None)),
        }
    }
}

fn string(text: Text) -> Detached {
    match text {
        Text::Int(number) => Detached::from_string(itoa::Buffer::new().format(number).as_bytes(), None),
        Text::Bytes(bytes) => Detached::from_string(bytes, None),
        Text::Owned(bytes) => Detached::from_shared(bytes.into(), None),
    }
}
