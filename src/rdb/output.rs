//! Writes the pieces that every serialised value is made of: lengths, strings, numbers; the inverse of [`super::Reader`].

use crate::store::lzf::Compressor;
use crate::store::parse_integer;

/// The first byte of a string that is written as an integer, by its width.
const INT8: u8 = 0xc0;
const INT16: u8 = 0xc1;
const INT32: u8 = 0xc2;
/// The first byte of a compressed string.
const LZF: u8 = 0xc3;
/// First bytes of lengths; the shorter ones have their high bits beside these.
const LENGTH_14_BITS: u8 = 0x40;
const LENGTH_32_BITS: u8 = 0x80;
const LENGTH_64_BITS: u8 = 0x81;

/// A string up to this length may be that of a 32-bit integer.
const INTEGER_LEN_MAX: usize = 11;
/// Shorter strings are not compressed, as in Redis.
const COMPRESSED_LEN_MIN: usize = 21;
/// A compressed string must be so much shorter, bytes.
const COMPRESSION_GAIN_MIN: usize = 4;

/// Where bytes go.
pub trait Output {
    fn put(&mut self, bytes: &[u8]);
}

impl Output for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts the bytes and forgets them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count(pub u64);

impl Output for Count {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len() as u64;
    }
}

/// `rdbcompression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Lzf,
}

/// Writes lengths and strings; to be kept from one value to the next, because what compression needs is.
#[derive(Debug)]
pub struct Writer {
    compression: Compression,
    /// Longer strings are not compressed.
    compressed_len_max: usize,
    compressor: Compressor,
    compressed: Vec<u8>,
}

impl Writer {
    pub fn new(compression: Compression) -> Writer {
        let compressor = Compressor::default();
        Writer { compression, compressed_len_max: usize::MAX, compressor, compressed: Vec::new() }
    }

    /// Leaves longer strings as they are from now on, so that none takes long.
    pub fn limit_compression(&mut self, len_max: usize) {
        self.compressed_len_max = len_max;
    }

    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Writes a string, as an integer when it is one of up to 32 bits, else compressed when that makes it shorter.
    pub fn string(&mut self, output: &mut impl Output, bytes: &[u8]) {
        let integer = if bytes.len() <= INTEGER_LEN_MAX { parse_integer(bytes) } else { None };
        if integer.is_some_and(|number| put_short_integer(output, number)) {
            return;
        }
        let may_compress = (COMPRESSED_LEN_MIN..=self.compressed_len_max).contains(&bytes.len());
        if self.compression == Compression::Lzf && may_compress {
            self.compressed.clear();
            let limit = bytes.len() - COMPRESSION_GAIN_MIN;
            if self.compressor.compress(bytes, &mut self.compressed, limit) {
                put_compressed_head(output, self.compressed.len(), bytes.len());
                output.put(&self.compressed);
                return;
            }
        }
        put_length(output, bytes.len() as u64);
        output.put(bytes);
    }

    /// Writes the string that is the decimal form of `number`.
    pub fn integer(&mut self, output: &mut impl Output, number: i64) {
        if !put_short_integer(output, number) {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(number).as_bytes();
            put_length(output, digits.len() as u64);
            output.put(digits);
        }
    }
}

/// Whether a string of so many bytes gains enough by a compression to so many.
pub(super) fn is_compression_worth(compressed_len: usize, len: usize) -> bool {
    compressed_len + COMPRESSION_GAIN_MIN <= len
}

/// Writes what stands in front of a compressed string.
pub(super) fn put_compressed_head(output: &mut impl Output, compressed_len: usize, len: usize) {
    output.put(&[LZF]);
    put_length(output, compressed_len as u64);
    put_length(output, len as u64);
}

/// Writes an integer of up to 32 bits as a string; false, and nothing is written, for a longer one.
fn put_short_integer(output: &mut impl Output, number: i64) -> bool {
    if let Ok(number) = i8::try_from(number) {
        output.put(&[INT8, number as u8]);
    } else if let Ok(number) = i16::try_from(number) {
        let [a, b] = number.to_le_bytes();
        output.put(&[INT16, a, b]);
    } else if let Ok(number) = i32::try_from(number) {
        let [a, b, c, d] = number.to_le_bytes();
        output.put(&[INT32, a, b, c, d]);
    } else {
        return false;
    }
    true
}

/// Writes a length or any other number that is written as one.
pub fn put_length(output: &mut impl Output, length: u64) {
    if length < 1 << 6 {
        output.put(&[length as u8]);
    } else if length < 1 << 14 {
        output.put(&[LENGTH_14_BITS | (length >> 8) as u8, length as u8]);
    } else if let Ok(length) = u32::try_from(length) {
        output.put(&[LENGTH_32_BITS]);
        output.put(&length.to_be_bytes());
    } else {
        output.put(&[LENGTH_64_BITS]);
        output.put(&length.to_be_bytes());
    }
}

/// Writes a time, Unix milliseconds.
pub fn put_time_ms(output: &mut impl Output, time_ms: i64) {
    output.put(&time_ms.to_le_bytes());
}

pub fn put_double(output: &mut impl Output, number: f64) {
    output.put(&number.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::reader::Reader;
    use super::*;

    fn written(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        Writer::new(compression).string(&mut output, bytes);
        output
    }

    fn read(bytes: &[u8]) -> Vec<u8> {
        let mut reader = Reader::new(bytes);
        let text = reader.string().unwrap();
        assert!(reader.remaining().is_empty());
        text.bytes(&mut itoa::Buffer::new()).to_vec()
    }

    #[test]
    fn lengths_take_the_room_that_redis_gives_them() {
        for (length, len) in [
            (0, 1),
            (63, 1),
            (64, 2),
            (16383, 2),
            (16384, 5),
            (u32::MAX as u64, 5),
            (1 << 32, 9),
            (u64::MAX, 9),
        ] {
            let mut output = Vec::new();
            put_length(&mut output, length);
            assert_eq!(output.len(), len, "{length}");
            assert_eq!(Reader::new(&output).length(), Ok(length));
        }
    }

    #[test]
    fn integers_and_only_canonical_ones_are_written_as_such() {
        for (text, len) in [
            ("0", 2),
            ("-128", 2),
            ("128", 3),
            ("-32769", 5),
            ("2147483647", 5),
            ("2147483648", 11),
            ("01", 3),
            ("+1", 3),
        ] {
            let output = written(Compression::Lzf, text.as_bytes());
            assert_eq!(output.len(), len, "{text}");
            assert_eq!(read(&output), text.as_bytes());
        }
        for number in [0, -1, 1 << 40, i64::MIN] {
            let mut output = Vec::new();
            Writer::new(Compression::None).integer(&mut output, number);
            assert_eq!(read(&output), number.to_string().as_bytes());
        }
    }

    #[test]
    fn compression_is_used_where_it_gains_and_is_wanted() {
        let text = [b'x'; 100];
        assert!(written(Compression::Lzf, &text).len() < 20);
        assert_eq!(written(Compression::None, &text).len(), 102);
        assert_eq!(written(Compression::Lzf, &text[..20]).len(), 21);
    }

    proptest! {
        #[test]
        fn any_string_comes_back(bytes in prop::collection::vec(0u8..20, 0..500), compressed in any::<bool>()) {
            let compression = if compressed { Compression::Lzf } else { Compression::None };
            prop_assert_eq!(read(&written(compression, &bytes)), bytes);
        }
    }
}
