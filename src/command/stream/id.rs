//! IDs in arguments.

use crate::command::CommandError;
use crate::store::parse_integer;
use crate::store::stream::StreamId;

/// Longer texts are no IDs.
const TEXT_LEN_MAX: usize = 127;

fn invalid() -> CommandError {
    CommandError::other("ERR Invalid stream ID specified as stream command argument")
}

/// An ID whose number may be left to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartialId {
    Whole(StreamId),
    /// `ms-*`
    Ms(u64),
}

/// `ms-seq`, or `ms` alone, which means `missing_seq`.
pub fn strict_id(text: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match parse(text, missing_seq, false) {
        Some(PartialId::Whole(id)) => Ok(id),
        _ => Err(invalid()),
    }
}

/// As `strict_id`, and `-` and `+` for the least and the greatest.
pub fn any_id(text: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match until_nul(text) {
        b"-" if text.len() <= TEXT_LEN_MAX => Ok(StreamId::MIN),
        b"+" if text.len() <= TEXT_LEN_MAX => Ok(StreamId::MAX),
        _ => strict_id(text, missing_seq),
    }
}

/// As `strict_id`, and `ms-*`.
pub fn partial_id(text: &[u8]) -> Result<PartialId, CommandError> {
    parse(text, 0, true).ok_or_else(invalid)
}

/// The first ID of a range: with `(` in front the range begins behind it.
pub fn range_start(text: &[u8]) -> Result<StreamId, CommandError> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            let error = CommandError::other("ERR invalid start ID for the interval");
            strict_id(id, 0)?.next().ok_or(error)
        }
        _ => any_id(text, 0),
    }
}

/// The last ID of a range: with `(` in front the range ends before it.
pub fn range_end(text: &[u8]) -> Result<StreamId, CommandError> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            let error = CommandError::other("ERR invalid end ID for the interval");
            strict_id(id, u64::MAX)?.previous().ok_or(error)
        }
        _ => any_id(text, u64::MAX),
    }
}

fn parse(text: &[u8], missing_seq: u64, may_be_partial: bool) -> Option<PartialId> {
    if text.len() > TEXT_LEN_MAX {
        return None;
    }
    let text = until_nul(text);
    let Some(dash) = memchr::memchr(b'-', text) else {
        return Some(PartialId::Whole(StreamId::new(unsigned(text)?, missing_seq)));
    };
    let (ms, seq) = (unsigned(&text[..dash])?, &text[dash + 1..]);
    if may_be_partial && seq == b"*" {
        return Some(PartialId::Ms(ms));
    }
    Some(PartialId::Whole(StreamId::new(ms, unsigned(seq)?)))
}

/// Redis reads IDs as C strings.
fn until_nul(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(0, text).unwrap_or(text.len())]
}

/// A number as Redis reads it here: what is no integer in its canonical form goes to C's `strtoull`, which takes blanks in
/// front, a sign (a minus wraps around), and leading zeros.
fn unsigned(text: &[u8]) -> Option<u64> {
    if let Some(value) = parse_integer(text) {
        return u64::try_from(value).ok();
    }
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let (negative, digits) = match &text[blanks..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })?;
    Some(if negative { value.wrapping_neg() } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        let id = |ms, seq| Some(StreamId::new(ms, seq));
        for (text, expected) in [
            ("5-3", id(5, 3)),
            ("5", id(5, 9)),
            ("0-0", id(0, 0)),
            ("18446744073709551615-18446744073709551615", Some(StreamId::MAX)),
            ("007-01", id(7, 1)),
            (" 5-+3", id(5, 3)),
            ("5--0", id(5, 0)),
            ("5-3\0x", id(5, 3)),
            ("5--3", None),
            ("5-", None),
            ("-5", None),
            ("-", None),
            ("+", None),
            ("", None),
            ("5-3-1", None),
            ("5-*", None),
            ("*", None),
            ("18446744073709551616", None),
            ("5 ", None),
        ] {
            assert_eq!(strict_id(text.as_bytes(), 9).ok(), expected, "{text:?}");
        }
        assert!(strict_id(&[b'0'; 128], 0).is_err() && strict_id(&[b'0'; 127], 0).is_ok());
        assert_eq!(any_id(b"-", 0), Ok(StreamId::MIN));
        assert_eq!(any_id(b"+", 0), Ok(StreamId::MAX));
        assert_eq!(partial_id(b"5-*"), Ok(PartialId::Ms(5)));
    }

    #[test]
    fn open_ends_of_ranges_leave_their_id_out() {
        assert_eq!(range_start(b"(5-3"), Ok(StreamId::new(5, 4)));
        assert_eq!(range_end(b"(5"), Ok(StreamId::new(5, u64::MAX - 1)));
        assert_eq!(range_end(b"(5-0"), Ok(StreamId::new(4, u64::MAX)));
        assert_eq!(
            range_start(b"(18446744073709551615-18446744073709551615").unwrap_err().to_string(),
            "ERR invalid start ID for the interval"
        );
        assert_eq!(range_end(b"(0-0").unwrap_err().to_string(), "ERR invalid end ID for the interval");
        assert!(range_start(b"(").is_err() && range_start(b"(-").is_err());
    }
}
