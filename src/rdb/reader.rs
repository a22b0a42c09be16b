//! Reads the pieces that every serialised value is made of: lengths, strings, numbers.
//!
//! A reader goes over bytes in memory (a payload, a mapped file, a piece of a stream) and lends what it reads from there: only
//! what was compressed is allocated. No length is believed before the bytes are seen.

use std::borrow::Cow;

use super::error::{Error, Reason};
use crate::store::lzf;

/// High two bits of a length's first byte.
const LENGTH_6_BITS: u8 = 0;
const LENGTH_14_BITS: u8 = 1;
const LENGTH_ENCODING: u8 = 3;
/// The whole first byte.
const LENGTH_32_BITS: u8 = 0x80;
const LENGTH_64_BITS: u8 = 0x81;

const STRING_INT8: u8 = 0;
const STRING_INT16: u8 = 1;
const STRING_INT32: u8 = 2;
const STRING_LZF: u8 = 3;

/// Lengths of old doubles that stand for a value.
const DOUBLE_NAN: u8 = 253;
const DOUBLE_INFINITY: u8 = 254;
const DOUBLE_NEGATIVE_INFINITY: u8 = 255;

/// A string as it was written.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// The decimal form of this number.
    Int(i64),
    Bytes(&'a [u8]),
    /// It was compressed.
    Owned(Vec<u8>),
}

impl Text<'_> {
    /// The bytes; those of an integer are written into `digits`.
    pub fn bytes<'b>(&'b self, digits: &'b mut itoa::Buffer) -> &'b [u8] {
        match self {
            Text::Int(number) => digits.format(*number).as_bytes(),
            Text::Bytes(bytes) => bytes,
            Text::Owned(bytes) => bytes,
        }
    }
}

/// What stands where a double was written as text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OldDouble<'a> {
    Number(f64),
    /// No number.
    Text(&'a [u8]),
}

/// A length, or in its place what tells how a string is encoded.
enum Length {
    Plain(u64),
    Encoding(u8),
}

#[derive(Clone, Debug)]
pub struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    /// Position of the first byte of `input` in what is being read.
    base: u64,
}

impl<'a> Reader<'a> {
    pub fn new(input: &'a [u8]) -> Reader<'a> {
        Reader::new_at(input, 0)
    }

    /// A reader of a part that begins `base` bytes into the whole; positions are in the whole.
    pub fn new_at(input: &'a [u8], base: u64) -> Reader<'a> {
        Reader { input, at: 0, base }
    }

    pub fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    pub fn remaining(&self) -> &'a [u8] {
        &self.input[self.at..]
    }

    pub fn error(&self, reason: Reason) -> Error {
        reason.at(self.position())
    }

    pub fn take(&mut self, len: u64) -> Result<&'a [u8], Error> {
        let len = usize::try_from(len).ok().filter(|len| *len <= self.input.len() - self.at);
        let Some(len) = len else {
            return Err(Reason::End.at(self.base + self.input.len() as u64));
        };
        let bytes = &self.input[self.at..self.at + len];
        self.at += len;
        Ok(bytes)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// A time, Unix milliseconds.
    pub fn time_ms(&mut self) -> Result<i64, Error> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub fn double(&mut self) -> Result<f64, Error> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// A double as written before version 8: its digits behind their number.
    pub fn old_double(&mut self) -> Result<OldDouble<'a>, Error> {
        Ok(match self.byte()? {
            DOUBLE_NAN => OldDouble::Number(f64::NAN),
            DOUBLE_INFINITY => OldDouble::Number(f64::INFINITY),
            DOUBLE_NEGATIVE_INFINITY => OldDouble::Number(f64::NEG_INFINITY),
            len => {
                let text = self.take(len as u64)?;
                let digits = std::str::from_utf8(text).ok();
                let number = digits.and_then(|digits| digits.trim().parse().ok());
                number.map_or(OldDouble::Text(text), OldDouble::Number)
            }
        })
    }

    fn length_or_encoding(&mut self) -> Result<Length, Error> {
        let start = self.position();
        let first = self.byte()?;
        let low = first & 0x3f;
        match first >> 6 {
            LENGTH_6_BITS => Ok(Length::Plain(low as u64)),
            LENGTH_14_BITS => Ok(Length::Plain((low as u64) << 8 | self.byte()? as u64)),
            LENGTH_ENCODING => Ok(Length::Encoding(low)),
            _ => match first {
                LENGTH_32_BITS => Ok(Length::Plain(u32::from_be_bytes(self.array()?) as u64)),
                LENGTH_64_BITS => Ok(Length::Plain(u64::from_be_bytes(self.array()?))),
                _ => Err(Reason::LengthEncoding(first).at(start)),
            },
        }
    }

    /// A length or any other number written as one. The number of an encoding counts as a length here, as in Redis.
    pub fn length(&mut self) -> Result<u64, Error> {
        match self.length_or_encoding()? {
            Length::Plain(length) => Ok(length),
            Length::Encoding(number) => Ok(u64::from(number)),
        }
    }

    pub fn string(&mut self) -> Result<Text<'a>, Error> {
        let start = self.position();
        match self.length_or_encoding()? {
            Length::Plain(len) => Ok(Text::Bytes(self.take(len)?)),
            Length::Encoding(STRING_INT8) => Ok(Text::Int(i8::from_le_bytes(self.array()?) as i64)),
            Length::Encoding(STRING_INT16) => Ok(Text::Int(i16::from_le_bytes(self.array()?) as i64)),
            Length::Encoding(STRING_INT32) => Ok(Text::Int(i32::from_le_bytes(self.array()?) as i64)),
            Length::Encoding(STRING_LZF) => {
                let compressed_len = self.length()?;
                let len = usize::try_from(self.length()?).ok();
                let compressed = self.take(compressed_len)?;
                let bytes = len.and_then(|len| lzf::decompress(compressed, len));
                Ok(Text::Owned(bytes.ok_or(Reason::Lzf.at(start))?))
            }
            Length::Encoding(number) => Err(Reason::StringEncoding(number).at(start)),
        }
    }

    /// Passes over a string without looking into it.
    pub fn skip_string(&mut self) -> Result<(), Error> {
        let start = self.position();
        let len = match self.length_or_encoding()? {
            Length::Plain(len) => len,
            Length::Encoding(STRING_INT8) => 1,
            Length::Encoding(STRING_INT16) => 2,
            Length::Encoding(STRING_INT32) => 4,
            Length::Encoding(STRING_LZF) => {
                let compressed_len = self.length()?;
                self.length()?;
                compressed_len
            }
            Length::Encoding(number) => return Err(Reason::StringEncoding(number).at(start)),
        };
        self.take(len)?;
        Ok(())
    }

    /// Passes over a double as written before version 8.
    pub fn skip_old_double(&mut self) -> Result<(), Error> {
        match self.byte()? {
            DOUBLE_NAN.. => {}
            len => {
                self.take(len as u64)?;
            }
        }
        Ok(())
    }

    /// A string that holds a whole collection, or is a name.
    pub fn blob(&mut self) -> Result<Cow<'a, [u8]>, Error> {
        Ok(match self.string()? {
            Text::Int(number) => Cow::Owned(itoa::Buffer::new().format(number).as_bytes().to_vec()),
            Text::Bytes(bytes) => Cow::Borrowed(bytes),
            Text::Owned(bytes) => Cow::Owned(bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(bytes: &[u8]) -> Result<u64, Error> {
        Reader::new(bytes).length()
    }

    #[test]
    fn lengths_of_every_width_are_read() {
        assert_eq!(length(&[0x3f]), Ok(63));
        assert_eq!(length(&[0x7f, 0xff]), Ok(16383));
        assert_eq!(length(&[0x80, 1, 2, 3, 4]), Ok(0x0102_0304));
        assert_eq!(length(&[0x81, 1, 2, 3, 4, 5, 6, 7, 8]), Ok(0x0102_0304_0506_0708));
        assert_eq!(length(&[0x82]), Err(Reason::LengthEncoding(0x82).at(0)));
        assert_eq!(length(&[0xc5, 1]), Ok(5));
    }

    #[test]
    fn strings_of_every_encoding_are_read() {
        let text = |bytes: &[u8]| {
            let mut digits = itoa::Buffer::new();
            Reader::new(bytes).string().map(|text| text.bytes(&mut digits).to_vec())
        };
        assert_eq!(text(b"\x03abc"), Ok(b"abc".to_vec()));
        assert_eq!(text(&[0xc0, 0xff]), Ok(b"-1".to_vec()));
        assert_eq!(text(&[0xc1, 0, 0x80]), Ok(b"-32768".to_vec()));
        assert_eq!(text(&[0xc2, 0xff, 0xff, 0xff, 0x7f]), Ok(b"2147483647".to_vec()));
        assert_eq!(text(&[0xc3, 6, 6, 2, b'a', b'b', b'c', 0x20, 2]), Ok(b"abcabc".to_vec()));
        assert_eq!(text(&[0xc3, 6, 7, 2, b'a', b'b', b'c', 0x20, 2]), Err(Reason::Lzf.at(0)));
        assert_eq!(text(&[0xc4]), Err(Reason::StringEncoding(4).at(0)));
    }

    #[test]
    fn errors_tell_the_position_in_the_whole() {
        let mut reader = Reader::new_at(&[1, b'x', 0xc9, 0], 1000);
        assert!(reader.string().is_ok());
        assert_eq!(reader.string().unwrap_err(), Reason::StringEncoding(9).at(1002));
        let mut reader = Reader::new_at(&[5, b'x'], 1000);
        assert_eq!(reader.string().unwrap_err(), Reason::End.at(1002));
    }

    #[test]
    fn a_huge_announced_length_is_an_end_and_not_an_allocation() {
        for bytes in [
            &[0x81, 255, 255, 255, 255, 255, 255, 255, 255][..],
            &[0xc3, 1, 0x81, 255, 255, 255, 255, 255, 255, 255, 255, 0],
        ] {
            assert!(Reader::new(bytes).string().is_err());
        }
    }

    #[test]
    fn old_doubles_are_read() {
        fn double(bytes: &[u8]) -> Result<OldDouble<'_>, Error> {
            Reader::new(bytes).old_double()
        }
        let number = |bytes: &[u8]| match double(bytes) {
            Ok(OldDouble::Number(number)) => number,
            other => panic!("{other:?}"),
        };
        assert_eq!(number(b"\x033.5"), 3.5);
        assert_eq!(number(b"\x171.7976931348623157e+308"), f64::MAX);
        assert_eq!(number(&[254]), f64::INFINITY);
        assert_eq!(number(&[255]), f64::NEG_INFINITY);
        assert!(number(&[253]).is_nan());
        assert_eq!(double(b"\x01x"), Ok(OldDouble::Text(b"x")));
    }
}
