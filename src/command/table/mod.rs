//! The command table: the one source of names, arity, flags, key positions, ACL categories, documentation and handlers.
//!
//! Everything that asks about commands (dispatch, routing, COMMAND, ACL, INFO commandstats) reads it here.
//!
//! Each family has a file with a constant list of entries, a container followed by its subcommands. `FAMILIES` joins
//! them; the compiler builds the table from it and fills in what can be derived. To add a family is to write its file and to list it there.

mod acl;
pub mod arg;
mod bitmap;
mod connection;
mod diagnostics;
pub(crate) mod flags;
mod foreign;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
pub(crate) mod keys;
mod list;
pub(crate) mod movable;
mod names;
mod pubsub;
mod role;
mod scripting;
mod server;
mod set;
mod sorted_set;
pub mod spec;
mod stream;
mod string;
mod transactions;

use super::{Args, CommandError, CommandResult, Context};
use crate::store::{Detached, Store};
pub use flags::{Categories, Category, CommandFlags, Flag, KeyFlag, KeyFlags};
pub use names::{Names, RenameError};
pub use role::{LibraryChange, Role, ScriptBy};
use smallvec::SmallVec;
pub use spec::CommandSpec;
use std::sync::LazyLock;

const FAMILIES: &[&[CommandSpec]] = &[
    string::COMMANDS,
    list::COMMANDS,
    stream::COMMANDS,
    bitmap::COMMANDS,
    hyperloglog::COMMANDS,
    sorted_set::COMMANDS,
    geo::COMMANDS,
    generic::COMMANDS,
    set::COMMANDS,
    hash::COMMANDS,
    connection::COMMANDS,
    transactions::COMMANDS,
    scripting::COMMANDS,
    pubsub::COMMANDS,
    server::COMMANDS,
    acl::COMMANDS,
    diagnostics::COMMANDS,
    foreign::COMMANDS,
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

/// The command or subcommand of this original full name, in lower case.
pub fn by_full_name(name: &str) -> Option<&'static CommandSpec> {
    all().find(|spec| spec.name == name)
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
        let is_named =
            |spec: &&CommandSpec| spec.name.as_bytes()[self.name.len() + 1..].eq_ignore_ascii_case(name);
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
    /// On the shard that owns the channel which its first argument names (PUBLISH).
    Channel,
    /// By the client's connection, which matches on the command's full name: needs the connection or the server (PING, CLIENT, CONFIG, MULTI, INFO).
    Connection,
    /// A script, on the shard that owns its keys, or step by step on all that it needs (EVAL, FCALL).
    Script,
    /// A container that is always called with a subcommand (CLIENT, CONFIG, OBJECT).
    Container,
}

/// What a command needs of the value of its key at argument number `index`: a value that the command, run on it in place of the
/// whole, answers the same for.
pub type Excerpt = fn(&mut Store, db: usize, args: Args, index: usize) -> Option<Detached>;

/// How a command says that it looks up keys that its arguments do not name, of any shard.
#[derive(Debug)]
pub struct Reaching {
    /// Whether it does so with these arguments.
    pub reaches: fn(Args) -> bool,
    /// Which keys these are, each wish once, those for one key together. Asked of the shard that owns its first key.
    pub wanted: fn(&mut Store, db: usize, args: Args) -> Vec<Wanted>,
    /// What it needs of the value of one key, which all of the wishes are for.
    pub excerpt: fn(&mut Store, db: usize, &[Wanted]) -> Option<Detached>,
}

impl Reaching {
    /// How `spec` does so with these arguments, if it does.
    pub fn of(spec: &CommandSpec, args: Args) -> Option<&'static Reaching> {
        match spec.handler {
            Handler::Keys(_, Spread::Reach(reaching)) => Some(reaching).filter(|r| (r.reaches)(args)),
            _ => None,
        }
    }
}

/// A key that a command will look up, and the field when its value has to be a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub key: Vec<u8>,
    pub field: Option<Vec<u8>>,
}

/// A keyed command whose keys live on several shards.
#[derive(Clone, Copy, Debug)]
pub enum Spread {
    /// RemoteValues the foreign keys' values to the shard that owns the first key, run there, return what changed. Right for every command.
    RemoteValues,
    /// As above, but only an excerpt of each value is lent, and what comes back are commands on one key each: those that
    /// the command logs while `Caller::on_excerpts` is set. For those that touch little of large values (LMOVE, SMOVE).
    Excerpt(Excerpt),
    /// As `RemoteValues`; and it may look up keys that its arguments do not name (SORT).
    Reach(&'static Reaching),
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
    /// Of what all shards answer one that is not null, chosen at random weighed by their numbers of keys (RANDOMKEY).
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

#[cfg(test)]
mod tests {
    use super::arg::{Arg, ArgKind};
    use super::keys::{BeginSearch, FindKeys};
    use super::*;

    /// A request with as few arguments as there can be with a key for every spec, and where keys have to be in it. Every
    /// argument is `1`, which will do as a key, as a number of keys and as anything else.
    fn shortest_request(spec: &CommandSpec) -> (Vec<&'static [u8]>, Vec<usize>) {
        let mut args: Vec<&[u8]> = vec![b"1"; spec.arity.unsigned_abs() as usize];
        let mut keys = Vec::new();
        for key_spec in spec.key_specs.iter().filter(|spec| !spec.flags.contains(KeyFlag::NotKey)) {
            let first = match key_spec.find {
                FindKeys::Range { .. } => 0,
                FindKeys::KeyNum { first, .. } => first as usize,
                FindKeys::Unknown => continue,
            };
            match key_spec.begin {
                BeginSearch::Index(begin) => {
                    let index = begin as usize + first;
                    keys.push(index);
                    if spec.accepts(args.len().max(index + 1)) {
                        args.resize(args.len().max(index + 1), b"1");
                    }
                }
                // An option; but where it is all there is, it is mandatory.
                BeginSearch::Keyword { keyword, start_from } if spec.key_specs.len() == 1 => {
                    assert!(start_from > 0 && first == 0, "{}", spec.name);
                    args.push(keyword.as_bytes());
                    keys.push(args.len());
                    args.extend([&b"1"[..], b"1"]);
                }
                BeginSearch::Keyword { .. } | BeginSearch::Unknown => {}
            }
        }
        (args, keys)
    }

    #[test]
    fn every_command_with_keys_finds_them_in_its_shortest_request() {
        for spec in all() {
            let (args, keys) = shortest_request(spec);
            let mut found = KeyPositions::new();
            spec.key_positions(&args, &mut found);
            assert_eq!(!found.is_empty(), spec.has_keys(), "{}", spec.name);
            for index in keys {
                let position = found.iter().find(|position| position.index == index);
                assert!(position.is_some(), "{} finds no key at {index}, only {found:?}", spec.name);
            }
        }
    }

    #[test]
    fn a_single_key_is_the_one_that_is_found() {
        for spec in all() {
            let Some((index, _)) = spec.single_key() else { continue };
            let (args, _) = shortest_request(spec);
            let mut found = KeyPositions::new();
            spec.key_positions(&args, &mut found);
            assert_eq!(found.iter().map(|key| key.index).collect::<Vec<_>>(), [index], "{}", spec.name);
        }
    }

    #[test]
    fn every_entry_stands_at_its_id_and_every_subcommand_after_its_container() {
        for (id, spec) in all().enumerate() {
            assert_eq!(spec.id as usize, id);
            if let Some((container, _)) = spec.name.split_once('|') {
                let container = lookup(container.as_bytes()).expect("the container of a subcommand");
                assert!(
                    container.subcommands().iter().any(|subcommand| subcommand.id == spec.id),
                    "{}",
                    spec.name
                );
            }
            assert!(!matches!(spec.handler, Handler::Container) || spec.subcommands > 0, "{}", spec.name);
        }
    }

    #[test]
    fn every_entry_is_documented_and_its_key_arguments_name_key_specs() {
        fn check(spec: &CommandSpec, args: &[Arg]) {
            for arg in args {
                let known = arg.key_spec.is_none_or(|index| usize::from(index) < spec.key_specs.len());
                assert!(known, "{}: {} has a key spec that is not there", spec.name, arg.name);
                let has_parts = matches!(arg.kind, ArgKind::OneOf | ArgKind::Block);
                assert_eq!(has_parts, !arg.parts.is_empty(), "{}: {}", spec.name, arg.name);
                assert!(arg.kind != ArgKind::PureToken || arg.token.is_some(), "{}: {}", spec.name, arg.name);
                check(spec, arg.parts);
            }
        }
        for spec in all() {
            assert!(!spec.docs.summary.is_empty() && !spec.docs.since.is_empty(), "{}", spec.name);
            check(spec, spec.docs.args);
        }
    }
}
