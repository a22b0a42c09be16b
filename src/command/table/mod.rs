//! The command table: the one source of names, arity, flags, key positions, ACL categories, documentation and handlers.
//!
//! Everything that asks about commands (dispatch, routing, COMMAND, ACL, INFO commandstats) reads it here.
//!
//! Each family has a file with a constant list of entries, a container followed by its subcommands. `FAMILIES` joins
//! them; the compiler builds the table from it and fills in what can be derived. To add a family is to write its file and to list it there.

pub mod arg;
mod connection;
mod diagnostics;
pub mod flags;
mod generic;
pub mod keys;
pub mod movable;
mod names;
mod server;
pub mod spec;
mod string;
mod transactions;

use super::{Args, CommandError, CommandResult, Context};
pub use flags::{Categories, Category, CommandFlags, Flag, KeyFlag, KeyFlags};
pub use names::{Names, RenameError};
use smallvec::SmallVec;
pub use spec::CommandSpec;
use std::sync::LazyLock;

const FAMILIES: &[&[CommandSpec]] = &[
    string::COMMANDS,
    generic::COMMANDS,
    connection::COMMANDS,
    transactions::COMMANDS,
    server::COMMANDS,
    diagnostics::COMMANDS,
];

/// Entries in the table, subcommands included: ids are below it.
pub const COUNT: usize = {
    let mut count = 0;
    let mut family = 0;
    while family < FAMILIES.len() {
        count += FAMILIES[family].len();
        family += 1;
    }
    count
};

/// The table. An entry's index is its id.
static COMMANDS: [CommandSpec; COUNT] = {
    let mut table = [FAMILIES[0][0]; COUNT];
    let mut id = 0;
    let mut family = 0;
    while family < FAMILIES.len() {
        let entries = FAMILIES[family];
        let mut i = 0;
        while i < entries.len() {
            let subcommands = count_subcommands(entries, i);
            table[id] = entries[i].complete(id as u16, subcommands);
            id += 1;
            i += 1;
        }
        family += 1;
    }
    table
};

/// How many of the entries after `entries[container]` have its name and a bar in front of theirs.
const fn count_subcommands(entries: &[CommandSpec], container: usize) -> u16 {
    let prefix = entries[container].name.as_bytes();
    let mut count = 0;
    while container + 1 + count < entries.len() {
        let name = entries[container + 1 + count].name.as_bytes();
        if name.len() <= prefix.len() || name[prefix.len()] != b'|' {
            break;
        }
        let mut i = 0;
        while i < prefix.len() {
            if name[i] != prefix[i] {
                return count as u16;
            }
            i += 1;
        }
        count += 1;
    }
    count as u16
}

/// Every command and subcommand, in the order of their ids.
pub fn all() -> impl Iterator<Item = &'static CommandSpec> {
    COMMANDS.iter()
}

/// The commands under their original names, whatever the configuration renames.
pub fn original_names() -> &'static Names {
    static ORIGINAL: LazyLock<Names> = LazyLock::new(Names::new);
    &ORIGINAL
}

/// The top-level command of this original name, in any case. What clients send is looked up in the process's `Names`.
pub fn lookup(name: &[u8]) -> Option<&'static CommandSpec> {
    original_names().lookup(name)
}

/// As `Names::resolve`, under the original names.
pub fn resolve(args: Args) -> Result<&'static CommandSpec, CommandError> {
    original_names().resolve(args)
}

impl CommandSpec {
    pub fn subcommands(&self) -> &'static [CommandSpec] {
        let first = self.id as usize + 1;
        &COMMANDS[first..first + self.subcommands as usize]
    }

    /// The subcommand of this own name (`id` of CLIENT), in any case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static CommandSpec> {
        let is_named = |spec: &&CommandSpec| {
            spec.name.as_bytes()[self.name.len() + 1..].eq_ignore_ascii_case(name)
        };
        self.subcommands().iter().find(is_named)
    }
}

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
    /// What exactly is done to the key.
    pub flags: KeyFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAccess {
    Read,
    Write,
}
