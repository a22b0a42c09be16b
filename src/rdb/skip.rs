//! Passes over a value, which costs no more than reading its lengths: for whoever loads only some of the keys of a file.
//!
//! Nothing but lengths and encodings of strings is checked. What is in a value that nobody keeps is damaged or not.

use super::decode::PRODUCERS;
use super::error::{Error, Reason};
use super::kind::RdbType;
use super::reader::Reader;

/// What comes in a module's data, each behind one of these numbers.
const MODULE_END: u64 = 0;
const MODULE_SIGNED: u64 = 1;
const MODULE_UNSIGNED: u64 = 2;
const MODULE_FLOAT: u64 = 3;
const MODULE_DOUBLE: u64 = 4;
const MODULE_STRING: u64 = 5;

const FLOAT_LEN: u64 = 4;
const DOUBLE_LEN: u64 = 8;
const TIME_LEN: u64 = 8;
/// A stream's id in full, bytes.
const ID_LEN: u64 = 16;

/// Passes over one value of the type with this number. A module's, too, although nobody else here can read it.
pub fn skip(number: u8, reader: &mut Reader) -> Result<(), Error> {
    if RdbType::is_module(number) {
        reader.length()?;
        return skip_module_data(reader);
    }
    let Some(kind) = RdbType::of_number(number) else {
        return Err(reader.error(RdbType::refusal(number)));
    };
    match kind {
        RdbType::String
        | RdbType::HashZipmap
        | RdbType::ListZiplist
        | RdbType::SetIntset
        | RdbType::SortedSetZiplist
        | RdbType::HashZiplist
        | RdbType::HashListpack
        | RdbType::SortedSetListpack
        | RdbType::SetListpack => reader.skip_string(),
        RdbType::List | RdbType::Set | RdbType::ListQuicklist => each(reader, Reader::skip_string),
        RdbType::Hash => each(reader, |reader| {
            reader.skip_string()?;
            reader.skip_string()
        }),
        RdbType::SortedSet => each(reader, |reader| {
            reader.skip_string()?;
            reader.skip_old_double()
        }),
        RdbType::SortedSet2 => each(reader, |reader| {
            reader.skip_string()?;
            reader.take(DOUBLE_LEN).map(drop)
        }),
        RdbType::ListQuicklist2 => each(reader, |reader| {
            reader.length()?;
            reader.skip_string()
        }),
        RdbType::Stream => skip_stream(reader, 1),
        RdbType::Stream2 => skip_stream(reader, 2),
        RdbType::Stream3 => skip_stream(reader, 3),
        RdbType::Stream4 => skip_stream(reader, 4),
        RdbType::Stream5 => skip_stream(reader, 5),
        RdbType::HashTimesBefore => each(reader, skip_timed_pair),
        RdbType::HashTimes => {
            reader.take(TIME_LEN)?;
            each(reader, skip_timed_pair)
        }
        RdbType::HashTimesListpackBefore => reader.skip_string(),
        RdbType::HashTimesListpack => {
            reader.take(TIME_LEN)?;
            reader.skip_string()
        }
        RdbType::ValkeyHash => each(reader, |reader| {
            reader.skip_string()?;
            reader.skip_string()?;
            reader.take(TIME_LEN).map(drop)
        }),
    }
}

/// Passes over a value that is written as one string, as most small ones are; `None` for any other.
pub fn skip_single(number: u8, reader: &mut Reader) -> Option<()> {
    match RdbType::of_number(number)? {
        RdbType::String
        | RdbType::SetIntset
        | RdbType::HashZiplist
        | RdbType::HashListpack
        | RdbType::SortedSetZiplist
        | RdbType::SortedSetListpack
        | RdbType::SetListpack => reader.skip_string().ok(),
        _ => None,
    }
}

/// So often as the length in front says. Each turn reads at least a byte, so that the input bounds their number.
fn each<'a>(
    reader: &mut Reader<'a>,
    skip_one: impl Fn(&mut Reader<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    for _ in 0..reader.length()? {
        skip_one(reader)?;
    }
    Ok(())
}

/// A field and its value, with a time in front.
fn skip_timed_pair(reader: &mut Reader) -> Result<(), Error> {
    reader.length()?;
    reader.skip_string()?;
    reader.skip_string()
}

fn skip_id(reader: &mut Reader) -> Result<(), Error> {
    reader.length()?;
    reader.length().map(drop)
}

/// `version` is that of streams: 1 to 5.
fn skip_stream(reader: &mut Reader, version: u8) -> Result<(), Error> {
    each(reader, |reader| {
        reader.skip_string()?;
        reader.skip_string()
    })?;
    reader.length()?;
    skip_id(reader)?;
    if version >= 2 {
        skip_id(reader)?;
        skip_id(reader)?;
        reader.length()?;
    }
    each(reader, |reader| {
        reader.skip_string()?;
        skip_id(reader)?;
        if version >= 2 {
            reader.length()?;
        }
        each(reader, |reader| {
            reader.take(ID_LEN + TIME_LEN)?;
            reader.length().map(drop)
        })?;
        each(reader, |reader| {
            reader.skip_string()?;
            reader.take(if version >= 3 { 2 * TIME_LEN } else { TIME_LEN })?;
            each(reader, |reader| reader.take(ID_LEN).map(drop))
        })?;
        if version >= 5 {
            each(reader, |reader| reader.take(ID_LEN).map(drop))?;
        }
        Ok(())
    })?;
    if version >= 4 {
        skip_producers(reader)?;
    }
    Ok(())
}

/// What a stream knows of idempotent producers: with any of them, its value is refused by whoever wants it.
fn skip_producers(reader: &mut Reader) -> Result<(), Error> {
    reader.length()?;
    reader.length()?;
    if reader.length()? > 0 {
        return Err(reader.error(PRODUCERS));
    }
    reader.length()?;
    reader.length().map(drop)
}

/// Passes over what a module has written, up to the mark at its end.
pub fn skip_module_data(reader: &mut Reader) -> Result<(), Error> {
    loop {
        let start = reader.position();
        match reader.length()? {
            MODULE_END => return Ok(()),
            MODULE_SIGNED | MODULE_UNSIGNED => {
                reader.length()?;
            }
            MODULE_FLOAT => {
                reader.take(FLOAT_LEN)?;
            }
            MODULE_DOUBLE => {
                reader.take(DOUBLE_LEN)?;
            }
            MODULE_STRING => reader.skip_string()?,
            _ => return Err(Reason::Corrupt("an unknown kind of data of a module").at(start)),
        }
    }
}
