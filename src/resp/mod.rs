//! The wire protocol: requests in (RESP arrays and inline commands), replies out (RESP2 and RESP3).

mod command;
mod inline;
mod reply;
mod request;

pub use crate::base::text::{c_text, c_text_cut, Piece, Text};
pub use command::put_command;
pub use reply::{DeferredLen, Protocol, Reply, SHARED_BYTES_MIN};
pub use request::{ArgRange, Limits, Progress, ProtocolError, RequestParser, ARGS_MAX, LINE_LEN_MAX};
