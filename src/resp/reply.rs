//! Writes replies, in the protocol version that the client speaks.
//!
//! A reply is bytes in one growing buffer. A large value is not copied into it: it is kept as a counted
//! reference together with its place, and `segments` hands both to the socket in order.

use bytes::Bytes;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// Values at least this long are sent from where they are instead of being copied into the reply.
pub const SHARED_BYTES_MIN: usize = 16 * 1024;

#[derive(Debug, Default)]
pub struct Reply {
    protocol: Protocol,
    buf: Vec<u8>,
    /// Offsets into `buf` before which a shared value belongs; ascending.
    shared: Vec<(usize, Bytes)>,
}

#[allow(unused_variables)]
impl Reply {
    pub fn new(protocol: Protocol) -> Self { todo!() }
    pub fn protocol(&self) -> Protocol { todo!() }
    pub fn set_protocol(&mut self, protocol: Protocol) { todo!() }
    /// Bytes written so far, shared values included.
    pub fn len(&self) -> usize { todo!() }
    pub fn is_empty(&self) -> bool { todo!() }

    /// `+OK`
    pub fn ok(&mut self) { todo!() }
    /// `+text`; `text` has no line breaks.
    pub fn simple(&mut self, text: &str) { todo!() }
    /// `-text`, code included (`ERR ...`); CR and LF in it become spaces, as Redis does.
    pub fn error(&mut self, text: &str) { todo!() }
    pub fn integer(&mut self, value: i64) { todo!() }
    pub fn bulk(&mut self, value: &[u8]) { todo!() }
    /// As `bulk`, without a copy when the value is at least `SHARED_BYTES_MIN` long.
    pub fn shared_bulk(&mut self, value: &Bytes) { todo!() }
    /// A bulk string of the decimal digits of `value`.
    pub fn bulk_integer(&mut self, value: i64) { todo!() }
    /// RESP2 `$-1`, RESP3 `_`.
    pub fn null(&mut self) { todo!() }
    /// RESP2 `*-1`, RESP3 `_`.
    pub fn null_array(&mut self) { todo!() }
    pub fn array(&mut self, len: usize) { todo!() }
    /// A map of `pairs` pairs (RESP2: an array of twice as many).
    pub fn map(&mut self, pairs: usize) { todo!() }
    /// RESP2: an array.
    pub fn set(&mut self, len: usize) { todo!() }
    /// RESP2: an array.
    pub fn push(&mut self, len: usize) { todo!() }
    /// RESP3 only: attributes of the reply that follows; writes nothing in RESP2 and returns false.
    pub fn attribute(&mut self, pairs: usize) -> bool { todo!() }
    /// RESP3 `,text`, RESP2 a bulk string; `text` in Redis 7.2's form (`%.17g`, `inf`, `-inf`, `nan`).
    pub fn double(&mut self, value: f64) { todo!() }
    /// RESP3 `(digits`, RESP2 a bulk string.
    pub fn big_number(&mut self, digits: &str) { todo!() }
    /// RESP3 `#t`/`#f`, RESP2 `:1`/`:0`.
    pub fn boolean(&mut self, value: bool) { todo!() }
    /// RESP3 `=len` with a three-letter format (`txt`, `mkd`), RESP2 a bulk string.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) { todo!() }
    /// Bytes that are a reply already.
    pub fn raw(&mut self, encoded: &[u8]) { todo!() }
    /// Moves everything of `other` to the end of this.
    pub fn append(&mut self, other: &mut Reply) { todo!() }

    /// A place for an aggregate whose length is known only after its elements are written.
    pub fn defer_array(&mut self) -> DeferredLen { todo!() }
    pub fn defer_map(&mut self) -> DeferredLen { todo!() }
    pub fn defer_set(&mut self) -> DeferredLen { todo!() }
    /// Fills in the place: elements for an array or set, pairs for a map. Deferred places nest.
    pub fn finish(&mut self, place: DeferredLen, len: usize) { todo!() }

    /// A mark to go back to when a command fails after it began to write.
    pub fn mark(&self) -> usize { todo!() }
    pub fn truncate(&mut self, mark: usize) { todo!() }

    /// Whether what was written since `mark` begins with an error.
    pub fn is_error_since(&self, mark: usize) -> bool { todo!() }
    pub fn as_bytes_if_plain(&self) -> Option<&[u8]> { todo!() }
    /// The plain bytes and the shared values of this reply, which becomes empty. The pair can be rejoined in
    /// order: each shared value goes in front of the plain byte at its offset.
    pub fn take_parts(&mut self) -> (Vec<u8>, Vec<(usize, Bytes)>) { todo!() }
    /// Empties it, keeping the buffer's capacity up to a bound.
    pub fn clear(&mut self) { todo!() }
}

#[must_use]
#[derive(Debug)]
pub struct DeferredLen {}
