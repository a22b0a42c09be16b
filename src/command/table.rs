//! The command table: the one source of names, arity, flags, key positions, ACL categories, documentation and handlers.
//!
//! Everything that asks about commands (dispatch, routing, COMMAND, ACL, INFO commandstats) reads it here.

use super::{Args, CommandResult, Context};
use smallvec::SmallVec;

pub type KeysHandler = fn(&mut Context, Args) -> CommandResult;

/// Where a command runs.
#[derive(Clone, Copy)]
pub enum Handler {
    /// On the shard that owns its keys; `Spread` says what to do when several shards own them.
    Keys(KeysHandler, Spread),
    /// On every shard's whole keyspace (DBSIZE, KEYS, FLUSHALL, SWAPDB, RANDOMKEY, SCAN); `Gather` joins the replies.
    EveryShard(KeysHandler, Gather),
    /// By the client's connection, which matches on the command's full name: needs the connection or the server (PING, CLIENT, CONFIG, MULTI, INFO).
    Connection,
    /// A container that is always called with a subcommand (CLIENT, CONFIG, OBJECT).
    Container,
}

/// A keyed command whose keys live on several shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Lend the foreign keys' values to the shard that owns the first key, run there, return what changed. Right for every command.
    Lend,
    /// Split by key into the same command on each shard (`step` arguments per key), and join: sum of integers (DEL, EXISTS).
    SplitSum { step: usize },
    /// As above; elements of the arrays in the order of the keys (MGET).
    SplitArray,
    /// As above; all answer +OK (MSET).
    SplitOk { step: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gather {
    /// Integers, summed.
    Sum,
    /// Arrays, concatenated.
    Concat,
    /// All answer +OK; the first is taken.
    First,
    /// One shard, chosen at random weighed by its number of keys (RANDOMKEY).
    RandomShard,
    /// A cursor that names its shard (SCAN).
    Cursor,
}

pub type KeyPositions = SmallVec<[KeyPosition; 4]>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPosition {
    /// Index into the arguments.
    pub index: usize,
    pub access: KeyAccess,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAccess {
    Read,
    Write,
}
