//! The wire protocol: requests in (RESP arrays and inline commands), replies out (RESP2 and RESP3).

mod reply;
mod request;

pub use reply::{Protocol, Reply};
pub use request::{ArgRange, Limits, Progress, ProtocolError, RequestParser};
