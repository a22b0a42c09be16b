//! Finds complete requests in a byte stream, in place: no argument is copied.
//!
//! The parser is fed the unconsumed input of one connection, from the first byte of the request that
//! it is working on. When the input ends inside a request it keeps what it has learned (how many
//! arguments are complete, where the next one starts), so that a request arriving byte by byte costs
//! time linear in its size. It never panics and never looks past `input`.

/// Where one argument lies, relative to the first byte of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgRange {
    pub start: usize,
    pub len: usize,
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
    /// from its first byte (0 when unknown), so that the caller can reserve once for a large value.
    Incomplete { total_hint: usize },
    /// `args()` are valid; the request is the first `len` bytes of the input. An empty request (`*0`, an
    /// empty line) has no arguments and is to be skipped without a reply.
    Complete { len: usize },
}

/// The text that the client gets is `-ERR Protocol error: {self}`; the connection is closed after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    InvalidMultibulkLength,
    TooBigMbulkCountString,
    TooBigBulkCountString,
    TooBigInlineRequest,
    UnbalancedQuotes,
    ExpectedDollar(u8),
    InvalidBulkLength,
    UnauthenticatedMultibulkLength,
    UnauthenticatedBulkLength,
}

#[derive(Debug, Default)]
pub struct RequestParser {}

impl RequestParser {
    pub fn new() -> Self {
        Self::default()
    }

    /// Continues with `input`, whose first byte is the first byte of the current request; it must be an
    /// extension of what the previous call saw unless that call returned `Complete` or an error.
    pub fn parse(&mut self, input: &[u8], limits: &Limits) -> Result<Progress, ProtocolError> {
        let _ = (input, limits);
        todo!()
    }

    /// The arguments of the request that `parse` has just completed. For an inline request with quotes the
    /// ranges point into `unquoted()` instead of the input.
    pub fn args(&self) -> &[ArgRange] {
        todo!()
    }

    /// `Some` when the request just completed was an inline one whose arguments had to be unescaped.
    pub fn unquoted(&self) -> Option<&[u8]> {
        todo!()
    }
}
