//! Makes a value in memory of the pieces of a serialised one, in the encoding that today's configuration gives it.

mod hash;
mod list;
#[cfg(test)]
mod mending_tests;
mod packing;
mod set;
mod sorted_set;
mod stream;
#[cfg(test)]
mod tests;

use super::decode::{decode, Piece, Sink};
use super::error::{Error, Reason};
use super::mend::Mending;
use super::reader::{Reader, Text};
use crate::store::{Detached, Settings};

/// What becomes of a value that contradicts itself (`mend`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// It is put right where Redis loads it without a look.
    Mend,
    /// It is refused.
    Deep,
}

/// Reads a value of the type with this number. Also tells what was put right, if anything was.
pub fn decode_and_mend(
    number: u8,
    reader: &mut Reader,
    settings: &Settings,
    checks: Checks,
) -> Result<(Detached, Option<&'static str>), Error> {
    let mut mending = Mending::new(checks == Checks::Mend);
    let mut builder = Builder { settings, mending, value: Unfinished::Nothing };
    decode(number, reader, &mut mending, &mut builder)?;
    let (value, found) = builder.finish().map_err(|reason| reader.error(reason))?;
    Ok((value, mending.found().or(found)))
}

/// As [`decode_and_mend`], for whoever does not tell.
pub fn decode_value(
    number: u8,
    reader: &mut Reader,
    settings: &Settings,
    checks: Checks,
) -> Result<Detached, Error> {
    decode_and_mend(number, reader, settings, checks).map(|(value, _)| value)
}

const TWICE: &str = "an element that occurs twice";
const DUPLICATE: Reason = Reason::Corrupt(TWICE);
/// `decode` gives each type its own pieces.
const MIXED: Reason = Reason::Corrupt("pieces of several types");

struct Builder<'s> {
    settings: &'s Settings,
    mending: Mending,
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
        let (settings, mending) = (self.settings, &mut self.mending);
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
                builder!(self.value, Set, set::SetBuilder::new()).member(member, settings)?;
            }
            Piece::SetPacked(listpack) => {
                builder!(self.value, Set, set::SetBuilder::new()).packed(listpack, settings, mending)?;
            }
            Piece::SetIntset(numbers) => {
                builder!(self.value, Set, set::SetBuilder::new()).intset(numbers, settings)?;
            }
            Piece::HashLen(len) => builder!(self.value, Hash, hash::HashBuilder::new()).expect(len, settings),
            Piece::HashPair(field, value) => {
                builder!(self.value, Hash, hash::HashBuilder::new()).pair(field, value, settings, mending)?;
            }
            Piece::HashPacked(listpack) => {
                builder!(self.value, Hash, hash::HashBuilder::new()).packed(listpack, settings, mending)?;
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
                    .packed(listpack, settings, mending)?;
            }
            piece => {
                let new = || Box::new(stream::StreamBuilder::new(mending.is_on()));
                builder!(self.value, Stream, new()).piece(piece, settings)?;
            }
        }
        Ok(())
    }
}

impl Builder<'_> {
    /// Also tells what was put right of what the pieces tell together.
    fn finish(mut self) -> Result<(Detached, Option<&'static str>), Reason> {
        let mending = &mut self.mending;
        let value = match self.value {
            Unfinished::Nothing => return Err(Reason::Empty),
            Unfinished::String(value) => value,
            Unfinished::List(builder) => Detached::from_collection(builder.finish(self.settings), None),
            Unfinished::Set(builder) => Detached::from_collection(builder.finish(mending)?, None),
            Unfinished::Hash(builder) => Detached::from_collection(builder.finish(mending)?, None),
            Unfinished::SortedSet(builder) => Detached::from_collection(builder.finish(mending)?, None),
            Unfinished::Stream(builder) => {
                let (stream, found) = builder.finish()?;
                found.into_iter().for_each(|what| mending.note(what));
                Detached::from_collection(stream, None)
            }
        };
        Ok((value, mending.found()))
    }
}

fn string(text: Text) -> Detached {
    match text {
        Text::Int(number) => Detached::from_string(itoa::Buffer::new().format(number).as_bytes(), None),
        Text::Bytes(bytes) => Detached::from_string(bytes, None),
        Text::Owned(bytes) => Detached::from_shared(bytes.into(), None),
    }
}
