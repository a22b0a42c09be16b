//! The ground floor: small things that every room needs, and that need no room themselves.
//!
//! Nothing here does I/O but the log and `durable`, and nothing here knows what Gyre is for. A module belongs here only when rooms that
//! must not know each other both need it.

mod address;
pub mod double;
mod double_powers;
mod double_printf;
pub(crate) mod durable;
pub(crate) mod glob;
pub mod log;
mod os_error;
mod stamp;
pub(crate) mod text;
mod token;
pub(crate) mod words;

pub use address::Address;
pub use os_error::error_text;
pub use stamp::Stamp;
pub use token::Token;

/// How many shards to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardCount {
    /// As many as cores are available to the process.
    Auto,
    Count(u16),
}

/// More shards than this are refused: one owns at least 16 of the 16,384 hash slots.
pub const SHARDS_MAX: u16 = 1024;
