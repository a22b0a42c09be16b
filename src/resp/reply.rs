//! Writes replies, in the protocol version that the client speaks.
//!
//! A reply is bytes in one growing buffer. A large value is not copied into it: it is kept as a counted
//! reference together with its place, and `segments` and `take_parts` hand both out in order.
//!
//! An aggregate whose length is known only at its end gets its header inserted then. When little was written
//! behind the header's place, that is moved up; when much was, the header becomes a segment of its own like
//! a large value, so that finishing costs a bounded time however large the aggregate and however deep the nesting.

use bytes::Bytes;

use super::request::ProtocolError;
use crate::base::double::format_double;
use crate::text;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// Values at least this long are sent from where they are instead of being copied into the reply.
pub const SHARED_BYTES_MIN: usize = 16 * 1024;

/// At most so many bytes are moved up to make room for the header of a deferred aggregate.
const MOVED_BYTES_MAX: usize = 16 * 1024;
/// Capacity, in bytes and in shared values, that `clear` and `recycle` keep.
const BUF_KEPT_MAX: usize = 64 * 1024;
const SHARED_KEPT_MAX: usize = 64;
/// A type byte, the longest number and a line end.
const HEADER_LEN_MAX: usize = 24;

const LINE_END: &[u8] = b"\r\n";

#[derive(Debug, Default)]
pub struct Reply {
    protocol: Protocol,
    buf: Vec<u8>,
    /// Offsets into `buf` before which a segment belongs; ascending, in order where they are equal. Some plain
    /// byte follows every segment, so one at the offset of a mark was written after the mark.
    shared: Vec<(usize, Bytes)>,
    /// Sum of the lengths in `shared`.
    shared_len: usize,
    /// Deferred places given out and not finished; checks that they nest.
    open_places: usize,
    /// No more strings are written beyond so many bytes; 0: as many as there are.
    most_bytes: usize,
}

/// A place given out by `Reply::defer_array` and its like, to be handed to `Reply::finish`.
#[must_use]
#[derive(Debug)]
pub struct DeferredLen {
    offset: usize,
    prefix: u8,
    /// How much one unit of the length that `finish` gets counts on the wire: 2 for a map in RESP2.
    factor: usize,
    depth: usize,
}

impl Reply {
    pub fn new(protocol: Protocol) -> Self {
        Reply { protocol, ..Reply::default() }
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    fn is_resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    /// Leaves out the strings that come when there are more than `bytes` bytes (0: none). Such a reply is good for nothing: whoever
    /// gets it closes the client.
    #[inline]
    pub fn bound(&mut self, bytes: usize) {
        self.most_bytes = bytes;
    }

    /// Whether it is over its bound: strings may be missing.
    #[inline]
    pub fn is_over_bound(&self) -> bool {
        self.most_bytes != 0 && self.len() > self.most_bytes
    }

    /// Bytes written so far, shared values included.
    pub fn len(&self) -> usize {
        self.buf.len() + self.shared_len
    }

    pub fn is_empty(&self) -> bool {
        self.buf.is_empty() && self.shared.is_empty()
    }

    /// `+OK`
    #[inline]
    pub fn ok(&mut self) {
        self.buf.extend_from_slice(b"+OK\r\n");
    }

    /// `+text`; `text` has no line breaks.
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']));
        self.line(b'+', text.as_bytes());
    }

    /// As `simple`, for a text that a script made.
    pub fn simple_bytes(&mut self, text: &[u8]) {
        debug_assert!(!text.iter().any(|byte| matches!(byte, b'\r' | b'\n')));
        self.line(b'+', text);
    }

    /// `-text`, code included (`ERR ...`); line breaks at its end are dropped and others become spaces, as Redis
    /// does.
    pub fn error(&mut self, text: &(impl AsRef<[u8]> + ?Sized)) {
        let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let text = text.as_ref();
        let text = &text[..text.iter().rposition(|byte| !is_break(byte)).map_or(0, |last| last + 1)];
        let start = self.buf.len() + 1;
        self.line(b'-', text);
        for byte in self.buf[start..start + text.len()].iter_mut().filter(|byte| is_break(byte)) {
            *byte = b' ';
        }
    }

    /// The last reply of a connection whose input is not the protocol.
    #[cold]
    pub fn protocol_error(&mut self, error: &ProtocolError) {
        self.error(&text!("ERR Protocol error: ", error.text()));
    }

    #[inline]
    pub fn integer(&mut self, value: i64) {
        match usize::try_from(value) {
            Ok(value) => self.header(b':', value),
            Err(_) => self.line(b':', itoa::Buffer::new().format(value).as_bytes()),
        }
    }

    #[inline]
    pub fn bulk(&mut self, value: &[u8]) {
        if self.is_over_bound() {
            return;
        }
        self.buf.reserve(value.len() + HEADER_LEN_MAX + LINE_END.len());
        self.header(b'$', value.len());
        self.buf.extend_from_slice(value);
        self.buf.extend_from_slice(LINE_END);
    }

    /// As `bulk`, without a copy when the value is at least `SHARED_BYTES_MIN` long.
    pub fn shared_bulk(&mut self, value: &Bytes) {
        if value.len() < SHARED_BYTES_MIN {
            return self.bulk(value);
        }
        if self.is_over_bound() {
            return;
        }
        self.header(b'$', value.len());
        self.shared.push((self.buf.len(), value.clone()));
        self.shared_len += value.len();
        self.buf.extend_from_slice(LINE_END);
    }

    /// A bulk string of the decimal digits of `value`.
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// RESP2 `$-1`, RESP3 `_`.
    #[inline]
    pub fn null(&mut self) {
        self.buf.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// RESP2 `*-1`, RESP3 `_`.
    pub fn null_array(&mut self) {
        self.buf.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    #[inline]
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len);
    }

    /// A map of `pairs` pairs (RESP2: an array of twice as many).
    pub fn map(&mut self, pairs: usize) {
        let (prefix, factor) = self.map_form();
        self.header(prefix, pairs * factor);
    }

    /// RESP2: an array.
    pub fn set(&mut self, len: usize) {
        let prefix = self.set_prefix();
        self.header(prefix, len);
    }

    /// RESP2: an array.
    pub fn push(&mut self, len: usize) {
        self.header(if self.is_resp3() { b'>' } else { b'*' }, len);
    }

    /// RESP3 only: attributes of the reply that follows; writes nothing in RESP2 and returns false.
    pub fn attribute(&mut self, pairs: usize) -> bool {
        if self.is_resp3() {
            self.header(b'|', pairs);
        }
        self.is_resp3()
    }

    /// RESP3 `,text`, RESP2 a bulk string; the text is Redis 7.2's (`format_double`).
    pub fn double(&mut self, value: f64) {
        self.double_text(format_double(value).as_bytes());
    }

    /// As `double`, for a number whose text is there already.
    pub fn double_text(&mut self, text: &[u8]) {
        if self.is_resp3() {
            self.line(b',', text);
        } else {
            self.bulk(text);
        }
    }

    /// RESP3 `(digits`, RESP2 a bulk string.
    pub fn big_number(&mut self, digits: &(impl AsRef<[u8]> + ?Sized)) {
        if self.is_resp3() {
            self.line(b'(', digits.as_ref());
        } else {
            self.bulk(digits.as_ref());
        }
    }

    /// RESP3 `#t`/`#f`, RESP2 `:1`/`:0`.
    pub fn boolean(&mut self, value: bool) {
        if self.is_resp3() {
            self.buf.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" });
        } else {
            self.header(b':', usize::from(value));
        }
    }

    /// RESP3 `=len` with a three-letter format (`txt`, `mkd`), RESP2 a bulk string.
    pub fn verbatim(&mut self, format: impl AsRef<[u8]>, text: &[u8]) {
        let format = format.as_ref();
        debug_assert_eq!(format.len(), 3);
        if !self.is_resp3() {
            return self.bulk(text);
        }
        self.header(b'=', format.len() + 1 + text.len());
        self.buf.extend_from_slice(format);
        self.buf.push(b':');
        self.buf.extend_from_slice(text);
        self.buf.extend_from_slice(LINE_END);
    }

    /// Bytes that are a reply already.
    #[inline]
    pub fn raw(&mut self, encoded: &[u8]) {
        self.buf.extend_from_slice(encoded);
    }

    /// Moves everything of `other` to the end of this, in which no deferred place may be open. Behind nothing,
    /// this only exchanges the two buffers.
    pub fn append(&mut self, other: &mut Reply) {
        if self.is_empty() {
            std::mem::swap(&mut self.buf, &mut other.buf);
            std::mem::swap(&mut self.shared, &mut other.shared);
            std::mem::swap(&mut self.shared_len, &mut other.shared_len);
        } else {
            let base = self.buf.len();
            self.buf.extend_from_slice(&other.buf);
            self.shared.extend(other.shared.drain(..).map(|(offset, value)| (base + offset, value)));
            self.shared_len += other.shared_len;
        }
        other.clear();
    }

    /// A place for an aggregate whose length is known only after its elements are written. Places nest: one
    /// opened inside another is finished first. One that is never finished leaves no trace.
    pub fn defer_array(&mut self) -> DeferredLen {
        self.defer(b'*', 1)
    }

    pub fn defer_map(&mut self) -> DeferredLen {
        let (prefix, factor) = self.map_form();
        self.defer(prefix, factor)
    }

    pub fn defer_set(&mut self) -> DeferredLen {
        let prefix = self.set_prefix();
        self.defer(prefix, 1)
    }

    fn defer(&mut self, prefix: u8, factor: usize) -> DeferredLen {
        let place = DeferredLen { offset: self.buf.len(), prefix, factor, depth: self.open_places };
        self.open_places += 1;
        place
    }

    /// Fills in the place: elements for an array or set, pairs for a map. Deferred places nest. Marks taken
    /// behind the place are no longer good.
    pub fn finish(&mut self, place: DeferredLen, len: usize) {
        debug_assert!(place.depth < self.open_places, "a place was finished after the one around it");
        debug_assert!(place.offset <= self.buf.len(), "a place was finished that had been truncated away");
        self.open_places = place.depth;
        let first_behind = self.shared.partition_point(|(offset, _)| *offset < place.offset);
        let written = self.buf.len();
        self.header(place.prefix, len * place.factor);
        let header_len = self.buf.len() - written;
        if written - place.offset <= MOVED_BYTES_MAX {
            self.buf[place.offset..].rotate_right(header_len);
            for (offset, _) in &mut self.shared[first_behind..] {
                *offset += header_len;
            }
        } else {
            let header = Bytes::copy_from_slice(&self.buf[written..]);
            self.buf.truncate(written);
            self.shared.insert(first_behind, (place.offset, header));
            self.shared_len += header_len;
        }
    }

    /// A mark to go back to when a command fails after it began to write. To be taken between two replies (or
    /// elements of one); good until a place in front of it is finished, or the reply is emptied.
    pub fn mark(&self) -> usize {
        self.buf.len()
    }

    /// Drops what was written since `mark`.
    pub fn truncate(&mut self, mark: usize) {
        self.buf.truncate(mark);
        while let Some((_, value)) = self.shared.pop_if(|(offset, _)| *offset >= mark) {
            self.shared_len -= value.len();
        }
    }

    /// All the bytes, when no part of them is kept outside the buffer.
    pub fn as_bytes_if_plain(&self) -> Option<&[u8]> {
        self.shared.is_empty().then_some(&self.buf)
    }

    /// All the bytes in order, in as many pieces as they are kept in; no piece is empty.
    #[cfg(test)]
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let mut plain_start = 0;
        let last_start = self.shared.last().map_or(0, |(offset, _)| *offset);
        self.shared
            .iter()
            .flat_map(move |(offset, value)| {
                let plain = &self.buf[plain_start..*offset];
                plain_start = *offset;
                [plain, &value[..]]
            })
            .chain(std::iter::once(&self.buf[last_start..]))
            .filter(|segment| !segment.is_empty())
    }

    /// The plain bytes and the shared values of this reply, which becomes empty. The pair can be rejoined in
    /// order: each shared value goes in front of the plain byte at its offset.
    pub fn take_parts(&mut self) -> (Vec<u8>, Vec<(usize, Bytes)>) {
        self.shared_len = 0;
        self.open_places = 0;
        (std::mem::take(&mut self.buf), std::mem::take(&mut self.shared))
    }

    /// Hands the parts over as `take_parts` does, in exchange for two empty buffers to write the next replies into.
    pub fn swap_parts(&mut self, plain: &mut Vec<u8>, shared: &mut Vec<(usize, Bytes)>) {
        debug_assert!(plain.is_empty() && shared.is_empty());
        self.shared_len = 0;
        self.open_places = 0;
        std::mem::swap(&mut self.buf, plain);
        std::mem::swap(&mut self.shared, shared);
    }

    /// Makes values of their own of the plain bytes, so that what comes behind them does not move them when the buffer grows. To be
    /// called between two replies.
    pub fn seal(&mut self) {
        let Some(last) = self.buf.len().checked_sub(1) else { return };
        let mut plain = std::mem::take(&mut self.buf);
        // It grows no more, and many of them may pile up.
        plain.shrink_to_fit();
        let plain = Bytes::from(plain);
        let mut sealed = Vec::with_capacity(2 * self.shared.len() + 1);
        let mut start = 0;
        for (offset, value) in self.shared.drain(..) {
            if offset > start {
                sealed.push((0, plain.slice(start..offset)));
                start = offset;
            }
            sealed.push((0, value));
        }
        if last > start {
            sealed.push((0, plain.slice(start..last)));
        }
        self.shared = sealed;
        // Some plain byte follows every segment.
        self.shared_len += last;
        self.buf.push(plain[last]);
    }

    /// Bytes of the buffer.
    pub fn plain_bytes(&self) -> usize {
        self.buf.len()
    }

    /// Bytes of memory that the buffer holds.
    pub fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    /// Bytes of the values that the reply refers to.
    pub fn shared_bytes(&self) -> usize {
        self.shared_len
    }

    /// The bytes of a shared value that is part of a reply already, without a header.
    pub fn raw_shared(&mut self, value: Bytes) {
        self.shared_len += value.len();
        self.shared.push((self.buf.len(), value));
    }

    /// Empties it, keeping the buffer's capacity up to a bound.
    pub fn clear(&mut self) {
        self.buf.clear();
        if self.buf.capacity() > BUF_KEPT_MAX {
            self.buf = Vec::new();
        }
        self.shared.clear();
        if self.shared.capacity() > SHARED_KEPT_MAX {
            self.shared = Vec::new();
        }
        self.shared_len = 0;
        self.open_places = 0;
    }

    fn map_form(&self) -> (u8, usize) {
        if self.is_resp3() {
            (b'%', 1)
        } else {
            (b'*', 2)
        }
    }

    fn set_prefix(&self) -> u8 {
        if self.is_resp3() {
            b'~'
        } else {
            b'*'
        }
    }

    /// A type byte, a number and a line end. Numbers of up to two digits make up nearly all headers.
    #[inline]
    fn header(&mut self, prefix: u8, number: usize) {
        let digit = |value: usize| b'0' + value as u8;
        if number < 10 {
            self.buf.extend_from_slice(&[prefix, digit(number), b'\r', b'\n']);
        } else if number < 100 {
            self.buf.extend_from_slice(&[prefix, digit(number / 10), digit(number % 10), b'\r', b'\n']);
        } else {
            self.line(prefix, itoa::Buffer::new().format(number).as_bytes());
        }
    }

    fn line(&mut self, prefix: u8, text: &[u8]) {
        self.buf.reserve(1 + text.len() + LINE_END.len());
        self.buf.push(prefix);
        self.buf.extend_from_slice(text);
        self.buf.extend_from_slice(LINE_END);
    }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
