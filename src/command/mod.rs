//! The command table and the command families.
//!
//! A command is a plain function from parsed arguments to a reply: it validates, calls `store`, writes the
//! reply, and says what changed. It does no I/O, never waits, and does not know that other shards exist:
//! `txn` runs it on the shard that owns its keys, or lends it the keys of other shards.

mod args;
pub(crate) mod bitmap;
pub(crate) mod command_cmd;
mod context;
pub(crate) mod double;
pub(crate) mod dump;
pub(crate) mod elements;
mod error;
pub(crate) mod excerpt;
pub(crate) mod expire;
pub(crate) mod geo;
pub(crate) mod hash;
pub(crate) mod hyperloglog;
pub(crate) mod keys;
pub(crate) mod list;
pub(crate) mod long_double;
pub(crate) mod migrate;
pub(crate) mod object;
pub(crate) mod parse;
pub(crate) mod scan;
pub(crate) mod set;
pub(crate) mod sort;
pub(crate) mod sorted_set;
pub(crate) mod stream;
pub(crate) mod string;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;

pub use args::{Args, OwnedArgs, Slices};
pub use context::{Audience, BlockTimeout, Blocking, Caller, Context, Effect, WaitFor};
pub use error::{subcommand_syntax, CommandError};

pub type CommandResult = Result<(), CommandError>;
