//! The wire protocol: requests in (RESP arrays and inline commands), replies out (RESP2 and RESP3).

mod double;
mod double_powers;
mod double_printf;
mod inline;
mod reply;
mod request;

pub use double::{format_double, format_double_digits, DoubleText};
pub use double_printf::format_double_17g;
pub use reply::{DeferredLen, Protocol, Reply, SHARED_BYTES_MIN};
pub use request::{ArgRange, Limits, Progress, ProtocolError, RequestParser, ARGS_MAX, LINE_LEN_MAX};
