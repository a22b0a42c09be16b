//! The RDB format: how values are written into files, streams and DUMP payloads.
//!
//! Reading: [`Reader`] knows lengths and strings, [`decode`] takes a value apart into pieces and checks them, and `build` makes a
//! value in memory of the pieces. Writing: [`Output`] knows lengths and strings, and `encode` writes a value with it.
//!
//! There is no specification but Redis itself; the numbers are those of rdb.h, and the layouts those that rdb.c writes and has
//! ever written. What is read here may come from anyone: it never panics, takes no more time and memory than its own length
//! accounts for, and says where and why it was refused ([`Error`]).

mod blob;
mod crc;
mod decode;
mod error;
mod kind;
mod lzf;
mod output;
mod reader;

pub use blob::stream_node::Id;
pub use crc::{combine, crc64, Crc64};
pub use decode::{decode, EntriesRead, Piece, Sink, StreamState};
pub use error::{Error, Reason};
pub use kind::RdbType;
pub use output::{put_double, put_length, put_time_ms, Compression, Count, Output, Writer};
pub use reader::{Reader, Text};

/// What is written: the format of Redis 7.2.
pub const VERSION: u16 = 11;
/// The format of Redis 7.0, for moving back (`rdb-version 10`).
pub const VERSION_OF_7_0: u16 = 10;
