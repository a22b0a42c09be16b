//! The RDB format: how values are written into files, streams and DUMP payloads.
//!
//! Reading: [`Reader`] knows lengths and strings, [`decode`] takes a value apart into pieces and checks them, and `build` makes a
//! value in memory of the pieces. Writing: [`Output`] knows lengths and strings, and `encode` writes a value with it.
//!
//! There is no specification but Redis itself; the numbers are those of rdb.h, and the layouts those that rdb.c writes and has
//! ever written. What is read here may come from anyone: it never panics, takes no more time and memory than its own length
//! accounts for, and says where and why it was refused ([`Error`]).

mod blob;
mod build;
mod crc;
mod decode;
mod encode;
mod error;
pub mod file;
mod kind;
mod mend;
mod output;
mod payload;
mod reader;
mod skip;
mod wording;

pub use build::{decode_and_mend, decode_value, Checks};
pub use crc::{combine, crc64, Crc64};
pub use decode::{decode, EntriesRead, Piece, Sink, StreamState};
pub use encode::{Encoder, Format, Pieces, Version};
pub use error::{Error, Reason};
pub use kind::{code, RdbType};
pub use mend::Mending;
pub use output::{put_double, put_length, put_time_ms, Compression, Count, Output, Writer};
pub use payload::{dump, restore, seal, unsealed, PayloadError};
pub use reader::{OldDouble, Reader, Text};
pub use skip::skip;
pub use wording::redis_text;

/// Redis 8.10's. What it has and Gyre has not is refused where it stands, by name.
const NEWEST_READABLE: u16 = 15;
/// Valkey 9's, likewise. Files from here on have a signature of their own.
const OLDEST_VALKEY: u16 = 80;

/// Whether values of this version of the format can be read.
pub fn is_readable(version: u16) -> bool {
    version <= NEWEST_READABLE || version == OLDEST_VALKEY
}
