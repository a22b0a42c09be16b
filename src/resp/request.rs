//! Finds complete requests in a byte stream, in place: no argument is copied.
//!
//! The parser is fed the unconsumed input of one connection, from the first byte of the request that
//! it is working on. When the input ends inside a request it keeps what it has learned (how many
//! arguments are complete, where the next one starts, how far a line has been searched for its end), so that
//! a request arriving byte by byte costs time linear in its size. Only offsets are kept: the caller may move
//! the input between calls. It never panics and never looks past `input`.
//!
//! What is accepted and refused is Redis 7.2's, to the byte, which is more lenient than the protocol's
//! specification: a line of an array ends at its CR and whatever byte follows it, the two bytes behind a value
//! are not looked at, and a NUL hides the line end behind it (so that a stream out of step ends in "too big"
//! errors instead of being executed).

use crate::base::text::Text;
use crate::text;

use super::inline;

/// The longest line: an inline request, or the count or length of an array or a value, without its line end.
pub const LINE_LEN_MAX: usize = 64 * 1024;
/// The most arguments a request may announce (C's `INT_MAX`, as in Redis).
pub const ARGS_MAX: usize = i32::MAX as usize;
/// The most arguments, and the longest of them in bytes, before the client has authenticated.
pub const UNAUTHENTICATED_ARGS_MAX: usize = 10;
pub const UNAUTHENTICATED_BULK_LEN_MAX: usize = 16 * 1024;

/// A count of arguments is only an announcement: room for at most this many is made before they arrive.
const ARGS_RESERVED_MAX: usize = 1024;
/// Capacity, in arguments and in unquoted bytes, that is kept from one request to the next.
const ARGS_KEPT_MAX: usize = 1024;
const UNQUOTED_KEPT_MAX: usize = 16 * 1024;
/// More decimal digits than any 64-bit number has.
const NUMBER_LEN_MAX: usize = 20;

/// Where one argument lies, relative to the first byte of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgRange {
    pub start: usize,
    pub len: usize,
}

impl ArgRange {
    /// The argument itself. `source` is the request, or `unquoted()`; panics when it is neither.
    pub fn of<'a>(&self, source: &'a [u8]) -> &'a [u8] {
        &source[self.start..self.start + self.len]
    }
}

/// Bounds that the configuration sets and the client's state changes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `proto-max-bulk-len`, bytes.
    pub bulk_len_max: usize,
    /// False until the client has authenticated where a password is required: then a request may have
    /// at most 10 arguments of at most 16,384 bytes.
    pub authenticated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Input ends inside a request. `total_hint` is how many bytes the request is known to need at least
    /// from its first byte (0 when unknown), so that the caller can reserve once for a large value. It counts
    /// values whose length has been read, never the announced number of arguments.
    Incomplete { total_hint: usize },
    /// `args()` are valid; the request is the first `len` bytes of the input. An empty request (`*0`, an
    /// empty line) has no arguments and is to be skipped without a reply.
    Complete { len: usize },
}

/// The text that the client gets is `-ERR Protocol error: ` and `text`; the connection is closed after it.
/// `Reply::protocol_error` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    InvalidMultibulkLength,
    TooBigMbulkCountString,
    TooBigBulkCountString,
    TooBigInlineRequest,
    UnbalancedQuotes,
    /// The byte found in the place of `$`, which may be any.
    ExpectedDollar(u8),
    InvalidBulkLength,
    UnauthenticatedMultibulkLength,
    UnauthenticatedBulkLength,
}

impl ProtocolError {
    pub fn text(&self) -> Text {
        match self {
            ProtocolError::InvalidMultibulkLength => "invalid multibulk length".into(),
            ProtocolError::TooBigMbulkCountString => "too big mbulk count string".into(),
            ProtocolError::TooBigBulkCountString => "too big bulk count string".into(),
            ProtocolError::TooBigInlineRequest => "too big inline request".into(),
            ProtocolError::UnbalancedQuotes => "unbalanced quotes in request".into(),
            ProtocolError::ExpectedDollar(found) => text!("expected '$', got '", [*found], "'"),
            ProtocolError::InvalidBulkLength => "invalid bulk length".into(),
            ProtocolError::UnauthenticatedMultibulkLength => "unauthenticated multibulk length".into(),
            ProtocolError::UnauthenticatedBulkLength => "unauthenticated bulk length".into(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Before the first byte of a request.
    #[default]
    Start,
    Inline,
    /// Before the line `*count`.
    Count,
    /// Before a line `$length`.
    Length,
    /// Before a value of known length.
    Value,
}

#[derive(Debug, Default)]
pub struct RequestParser {
    args: Vec<ArgRange>,
    unquoted: Vec<u8>,
    is_unquoted: bool,
    stage: Stage,
    /// Offset of the first byte that has not been understood yet.
    next: usize,
    /// The line at `next` does not end before this offset.
    searched: usize,
    /// Arguments not yet complete.
    remaining: usize,
    /// Length of the value at `next`, at stage `Value`.
    value_len: usize,
}

impl RequestParser {
    pub fn new() -> Self {
        Self::default()
    }

    /// Continues with `input`, whose first byte is the first byte of the current request; it must be an
    /// extension of what the previous call saw unless that call returned `Complete` or an error.
    #[inline]
    pub fn parse(&mut self, input: &[u8], limits: &Limits) -> Result<Progress, ProtocolError> {
        if self.stage == Stage::Start {
            let Some(&first) = input.first() else {
                return Ok(Progress::Incomplete { total_hint: 0 });
            };
            self.begin(first);
        }
        let result = match self.stage {
            Stage::Inline => self.parse_inline(input),
            _ => self.parse_array(input, limits),
        };
        if !matches!(result, Ok(Progress::Incomplete { .. })) {
            self.stage = Stage::Start;
        }
        result
    }

    /// The arguments of the request that `parse` has just completed. For an inline request with quotes the
    /// ranges point into `unquoted()` instead of the input.
    pub fn args(&self) -> &[ArgRange] {
        &self.args
    }

    /// `Some` when the request just completed was an inline one whose arguments had to be unescaped.
    pub fn unquoted(&self) -> Option<&[u8]> {
        self.is_unquoted.then_some(self.unquoted.as_slice())
    }

    /// Whether the input so far ended inside a request.
    #[cfg(test)]
    pub fn is_mid_request(&self) -> bool {
        self.stage != Stage::Start
    }

    /// Of the incomplete request at the end of the input: how many bytes have been understood, and how many of them are
    /// arguments.
    pub fn understood_bytes(&self) -> (usize, usize) {
        match self.stage {
            Stage::Start | Stage::Inline => (0, 0),
            _ => (self.next, self.args.iter().map(|arg| arg.len).sum()),
        }
    }

    /// Memory held besides the parser itself, bytes: a request of many arguments needs 16 for each.
    pub fn memory_bytes(&self) -> usize {
        self.args.capacity() * size_of::<ArgRange>() + self.unquoted.capacity()
    }

    /// Gives back memory that a large request needed, once its arguments are done with. The next request does
    /// so too; this is for a connection that may stay idle.
    pub fn release_memory(&mut self) {
        if self.stage == Stage::Start {
            self.forget_request();
        }
    }

    fn forget_request(&mut self) {
        self.args.clear();
        if self.args.capacity() > ARGS_KEPT_MAX {
            self.args = Vec::new();
        }
        if self.is_unquoted {
            self.is_unquoted = false;
            self.unquoted.clear();
            if self.unquoted.capacity() > UNQUOTED_KEPT_MAX {
                self.unquoted = Vec::new();
            }
        }
    }

    #[inline]
    fn begin(&mut self, first: u8) {
        self.forget_request();
        self.stage = if first == b'*' { Stage::Count } else { Stage::Inline };
        self.next = 0;
        self.searched = 0;
    }

    fn parse_inline(&mut self, input: &[u8]) -> Result<Progress, ProtocolError> {
        let Some(newline) = self.find_line_end(input, b'\n', ProtocolError::TooBigInlineRequest)? else {
            return Ok(Progress::Incomplete { total_hint: 0 });
        };
        let line = &input[..newline];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match inline::split(line, &mut self.args, &mut self.unquoted) {
            Ok(is_unquoted) => self.is_unquoted = is_unquoted,
            Err(inline::Unbalanced) => {
                // What was unquoted before the error must not stay in front of the next request's.
                self.is_unquoted = true;
                self.forget_request();
                return Err(ProtocolError::UnbalancedQuotes);
            }
        }
        Ok(Progress::Complete { len: newline + 1 })
    }

    #[inline]
    fn parse_array(&mut self, input: &[u8], limits: &Limits) -> Result<Progress, ProtocolError> {
        if self.stage == Stage::Count {
            let count = match usual_length(input, self.next) {
                Some((count, next)) => {
                    self.next = next;
                    count as i64
                }
                None => match self.read_count_line(input)? {
                    Some(count) => count,
                    None => return Ok(Progress::Incomplete { total_hint: 0 }),
                },
            };
            if count > ARGS_MAX as i64 {
                return Err(ProtocolError::InvalidMultibulkLength);
            }
            if count > UNAUTHENTICATED_ARGS_MAX as i64 && !limits.authenticated {
                return Err(ProtocolError::UnauthenticatedMultibulkLength);
            }
            if count <= 0 {
                return Ok(Progress::Complete { len: self.next });
            }
            self.remaining = count as usize;
            self.args.reserve(self.remaining.min(ARGS_RESERVED_MAX));
            self.stage = Stage::Length;
        }
        loop {
            if self.stage == Stage::Length {
                let usual = match input.get(self.next) {
                    Some(b'$') => usual_length(input, self.next),
                    _ => None,
                };
                let len = match usual {
                    Some((len, next)) => {
                        self.next = next;
                        len
                    }
                    None => match self.read_length_line(input)? {
                        Some(len) => len,
                        None => return Ok(Progress::Incomplete { total_hint: 0 }),
                    },
                };
                if len > limits.bulk_len_max {
                    return Err(ProtocolError::InvalidBulkLength);
                }
                if len > UNAUTHENTICATED_BULK_LEN_MAX && !limits.authenticated {
                    return Err(ProtocolError::UnauthenticatedBulkLength);
                }
                self.value_len = len;
            }
            // Saturating: a length may be anything below 2^63, and an input is never that long.
            let end = self.next.saturating_add(self.value_len).saturating_add(2);
            if input.len() < end {
                self.stage = Stage::Value;
                return Ok(Progress::Incomplete { total_hint: end });
            }
            self.args.push(ArgRange { start: self.next, len: self.value_len });
            self.next = end;
            self.remaining -= 1;
            if self.remaining == 0 {
                return Ok(Progress::Complete { len: end });
            }
            self.stage = Stage::Length;
        }
    }

    /// The line `*count` where it is not of the usual kind. Moves `next` behind it.
    #[cold]
    fn read_count_line(&mut self, input: &[u8]) -> Result<Option<i64>, ProtocolError> {
        let Some(end) = self.find_protocol_line_end(input, ProtocolError::TooBigMbulkCountString)? else {
            return Ok(None);
        };
        let count = decimal(&input[self.next + 1..end]).ok_or(ProtocolError::InvalidMultibulkLength)?;
        self.next = end + 2;
        Ok(Some(count))
    }

    /// The line `$length` where it is not of the usual kind. Moves `next` behind it.
    #[cold]
    fn read_length_line(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let Some(end) = self.find_protocol_line_end(input, ProtocolError::TooBigBulkCountString)? else {
            return Ok(None);
        };
        if input[self.next] != b'$' {
            return Err(ProtocolError::ExpectedDollar(input[self.next]));
        }
        let len = decimal(&input[self.next + 1..end])
            .and_then(|len| usize::try_from(len).ok())
            .ok_or(ProtocolError::InvalidBulkLength)?;
        self.next = end + 2;
        Ok(Some(len))
    }

    /// Offset of the CR of the line at `next`, once it and the byte behind it have arrived.
    fn find_protocol_line_end(
        &mut self,
        input: &[u8],
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let end = self.find_line_end(input, b'\r', too_big)?;
        Ok(end.filter(|end| end + 2 <= input.len()))
    }

    /// Offset of the first `terminator` in the line at `next`, unless a NUL comes before it. Each byte is looked
    /// at once, however often the line grows.
    fn find_line_end(
        &mut self,
        input: &[u8],
        terminator: u8,
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let from = self.searched.max(self.next);
        let upto = input.len().min(self.next + LINE_LEN_MAX + 1);
        let unsearched = input.get(from..upto).unwrap_or_default();
        match memchr::memchr2(terminator, 0, unsearched) {
            Some(found) => {
                self.searched = from + found;
                if unsearched[found] == terminator {
                    return Ok(Some(self.searched));
                }
            }
            None => self.searched = from + unsearched.len(),
        }
        if input.len().saturating_sub(self.next) > LINE_LEN_MAX {
            return Err(too_big);
        }
        Ok(None)
    }
}

/// The number in the line at `start`, behind its type byte, and the offset behind the line: where the line is
/// complete, has one to nine digits and no sign. Otherwise `None`, which decides nothing.
#[inline(always)]
fn usual_length(input: &[u8], start: usize) -> Option<(usize, usize)> {
    const DIGITS_MAX: usize = 9;
    let digits = input.get(start + 1..)?;
    let first = digits.first()?.wrapping_sub(b'0');
    if first > 9 {
        return None;
    }
    let mut value = usize::from(first);
    let mut len = 1;
    loop {
        let byte = *digits.get(len)?;
        if byte == b'\r' {
            break;
        }
        let digit = byte.wrapping_sub(b'0');
        // A leading zero makes the number invalid.
        if digit > 9 || len == DIGITS_MAX || first == 0 {
            return None;
        }
        value = value * 10 + usize::from(digit);
        len += 1;
    }
    (digits.len() >= len + 2).then_some((value, start + 1 + len + 2))
}

/// A decimal number in its only canonical form: no plus sign, no leading zeros, no `-0`, within 64 bits.
fn decimal(text: &[u8]) -> Option<i64> {
    if text.len() > NUMBER_LEN_MAX {
        return None;
    }
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
