//! The command table and the command families.
//!
//! A command is a plain function from parsed arguments to a reply: it validates, calls `store`, writes the
//! reply, and says what changed. It does no I/O, never waits, and does not know that other shards exist:
//! `txn` runs it on the shard that owns its keys, or lends it the keys of other shards.

mod args;
pub mod bitmap;
pub mod command_cmd;
mod context;
pub mod double;
pub mod dump;
pub mod elements;
mod error;
pub mod excerpt;
pub mod expire;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod keys;
pub mod list;
pub mod long_double;
pub mod migrate;
pub mod object;
pub mod parse;
pub mod scan;
pub mod set;
pub mod sort;
pub mod sorted_set;
pub mod stream;
pub mod string;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;

pub use args::{Args, OwnedArgs, Slices};
pub use context::{Audience, BlockTimeout, Blocking, Caller, Context, Effect, WaitFor};
pub use error::{subcommand_syntax, CommandError};

pub type CommandResult = Result<(), CommandError>;
