//! RDB files: what stands around the values, from the signature to the checksum.
//!
//! A file is the signature with the version, a row of records, each of which begins with a byte that is an opcode or the type of a
//! value, and a trailer. A key is one record, with up to three opcodes in front of it.
//!
//! A file of several shards is a header, the part of each shard, and a trailer, one after the other; `write` makes each, and
//! adds up their checksums.

mod failure;
mod load;
mod opcode;
mod read;
mod source;
mod write;

pub use failure::{internal_error, Cause, Doing, Failure, TERMINATING};
pub use load::{Counts, Facts, Load, LoadOptions, Note, Progress};
pub use opcode::{Opcode, KEY_META};
pub use read::{is_value_type, Checksum, FileReader, KeyHead, Record};
pub use write::{
    put_database, put_function, put_head, put_key, put_part, put_select, trailer, FileChecksum, Header,
    Summed, TRAILER_LEN,
};
