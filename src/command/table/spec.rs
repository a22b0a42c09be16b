//! One entry of the command table, and the constant functions that a family file writes it with.

use super::arg::Arg;
use super::flags::{Categories, Category, CommandFlags, Flag, KeyFlag};
use super::keys::{self, FindKeysFn, FoundKeys, KeySpec, LegacyRange, ParseKeysFn};
use super::role::Role;
use super::{Handler, KeyAccess, KeyPosition, KeyPositions};
use crate::command::{Args, CommandError};
use std::fmt;

/// What is known about a command. The table holds one per command and per subcommand.
///
/// Dispatch reads the first fields for every request, so they lie together and in front of the documentation.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct CommandSpec {
    /// Full name, lower case; a subcommand's is `container|subcommand`.
    pub name: &'static str,
    pub handler: Handler,
    pub flags: CommandFlags,
    /// Those that the table names and those that follow from the flags.
    pub categories: Categories,
    /// Number of arguments, the command's name (of a subcommand: both names) included; negative: at least so many.
    pub arity: i16,
    /// Index in the table, for statistics kept per command in an array of `COUNT`.
    pub id: u16,
    /// So many entries after this one are its subcommands.
    pub(super) subcommands: u16,
    /// The index of the only key, or 0 when there may be none or more than one.
    single_key: u16,
    pub role: Role,
    pub key_specs: &'static [KeySpec],
    /// For keys, or uses of keys, that depend on the options: the command's own parser.
    pub parse_keys: Option<ParseKeysFn>,
    /// What Redis takes for the keys of a request that the command refuses, where the specs do not tell.
    pub find_keys: Option<FindKeysFn>,
    pub legacy_range: LegacyRange,
    pub docs: Docs,
}

#[derive(Clone, Copy, Debug)]
pub struct Docs {
    pub summary: &'static str,
    pub since: &'static str,
    pub group: Group,
    /// Empty when it makes no sense to say.
    pub complexity: &'static str,
    pub deprecated: Option<Deprecated>,
    /// Not for applications.
    pub system_command: bool,
    /// Version, and what came with it.
    pub history: &'static [(&'static str, &'static str)],
    /// Hints for clients and proxies: determinism, request and response policies.
    pub tips: &'static [&'static str],
    pub args: &'static [Arg],
}

#[derive(Clone, Copy, Debug)]
pub struct Deprecated {
    pub since: &'static str,
    pub replaced_by: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    PubSub,
    Transactions,
    Connection,
    Server,
    Scripting,
    HyperLogLog,
    Cluster,
    Sentinel,
    Geo,
    Stream,
    Bitmap,
}

impl Group {
    pub const fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Hash => "hash",
            Group::PubSub => "pubsub",
            Group::Transactions => "transactions",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Scripting => "scripting",
            Group::HyperLogLog => "hyperloglog",
            Group::Cluster => "cluster",
            Group::Sentinel => "sentinel",
            Group::Geo => "geo",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
        }
    }
}

/// A command that the connection handles, until `run` says otherwise.
pub const fn command(group: Group, name: &'static str, arity: i16) -> CommandSpec {
    CommandSpec {
        name,
        handler: Handler::Connection,
        flags: CommandFlags::EMPTY,
        categories: Categories::EMPTY,
        arity,
        id: 0,
        subcommands: 0,
        single_key: 0,
        role: Role::Ordinary,
        key_specs: &[],
        parse_keys: None,
        find_keys: None,
        legacy_range: LegacyRange::NONE,
        docs: Docs {
            summary: "",
            since: "",
            group,
            complexity: "",
            deprecated: None,
            system_command: false,
            history: &[],
            tips: &[],
            args: &[],
        },
    }
}

/// A command that only leads to its subcommands, which have to be the entries after it.
pub const fn container(group: Group, name: &'static str) -> CommandSpec {
    command(group, name, -2).run(Handler::Container).complexity("That of the subcommand.")
}

/// Writing an entry.
impl CommandSpec {
    #[must_use]
    pub const fn run(mut self, handler: Handler) -> Self {
        self.handler = handler;
        self
    }

    #[must_use]
    pub const fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    #[must_use]
    pub const fn flags(mut self, flags: &[Flag]) -> Self {
        self.flags = CommandFlags::of(flags);
        self
    }

    /// Adds categories. Those that follow from the flags need not be named.
    #[must_use]
    pub const fn acl(mut self, categories: &[Category]) -> Self {
        self.categories = self.categories.union(Categories::of(categories));
        self
    }

    #[must_use]
    pub const fn keys(mut self, specs: &'static [KeySpec]) -> Self {
        self.key_specs = specs;
        self
    }

    #[must_use]
    pub const fn parse_keys(mut self, function: ParseKeysFn) -> Self {
        self.parse_keys = Some(function);
        self
    }

    #[must_use]
    pub const fn find_keys(mut self, function: FindKeysFn) -> Self {
        self.find_keys = Some(function);
        self
    }

    #[must_use]
    pub const fn since(mut self, version: &'static str) -> Self {
        self.docs.since = version;
        self
    }

    #[must_use]
    pub const fn summary(mut self, text: &'static str) -> Self {
        self.docs.summary = text;
        self
    }

    #[must_use]
    pub const fn complexity(mut self, text: &'static str) -> Self {
        self.docs.complexity = text;
        self
    }

    #[must_use]
    pub const fn deprecated(mut self, since: &'static str, replaced_by: &'static str) -> Self {
        self.docs.deprecated = Some(Deprecated { since, replaced_by });
        self
    }

    #[must_use]
    pub const fn system_command(mut self) -> Self {
        self.docs.system_command = true;
        self
    }

    #[must_use]
    pub const fn history(mut self, entries: &'static [(&'static str, &'static str)]) -> Self {
        self.docs.history = entries;
        self
    }

    #[must_use]
    pub const fn tips(mut self, tips: &'static [&'static str]) -> Self {
        self.docs.tips = tips;
        self
    }

    #[must_use]
    pub const fn args(mut self, args: &'static [Arg]) -> Self {
        self.docs.args = args;
        self
    }

    /// Fills in what follows from the rest, as the entry takes its place in the table.
    pub(super) const fn complete(mut self, id: u16, subcommands: u16) -> Self {
        self.id = id;
        self.subcommands = subcommands;
        self.categories = self.categories.with_implied_by(self.flags);
        let (range, movable) = LegacyRange::of(self.key_specs);
        self.legacy_range = range;
        if movable {
            self.flags = self.flags.with(Flag::MovableKeys);
        }
        if let [spec] = self.key_specs {
            if range.first == range.last && !movable && !spec.flags.contains(KeyFlag::NotKey) {
                // Index of a key of a command with a fixed head: small and positive.
                self.single_key = range.first as u16;
            }
        }
        self
    }
}

/// Asking an entry.
impl CommandSpec {
    /// Whether a request of this many arguments, names included, has the right number of them.
    pub const fn accepts(&self, args_len: usize) -> bool {
        if self.arity >= 0 {
            args_len == self.arity as usize
        } else {
            args_len >= self.arity.unsigned_abs() as usize
        }
    }

    pub fn check_arity(&self, args_len: usize) -> Result<(), CommandError> {
        if self.accepts(args_len) {
            Ok(())
        } else {
            Err(CommandError::WrongArity(self.name))
        }
    }

    pub const fn is(&self, flag: Flag) -> bool {
        self.flags.contains(flag)
    }

    /// Whether any arguments could name keys.
    pub fn has_keys(&self) -> bool {
        self.key_specs.iter().any(|spec| !spec.flags.contains(KeyFlag::NotKey))
    }

    /// The command's key and how it is used at most, when there is exactly one and its place is fixed. A request that
    /// passed `check_arity` has it.
    #[inline]
    pub fn single_key(&self) -> Option<(usize, KeyAccess)> {
        (self.single_key != 0).then(|| (self.single_key as usize, self.key_specs[0].access()))
    }

    /// Whether the keys depend on more than the number of arguments.
    pub const fn has_movable_keys(&self) -> bool {
        self.flags.contains(Flag::MovableKeys)
    }

    /// Replaces `found` with the keys among `args`, the command's name included: exactly those that the command uses. Of
    /// arguments that it refuses they are what Redis takes for its keys, maybe none.
    pub fn key_positions(&self, args: Args, found: &mut KeyPositions) {
        found.clear();
        if let Some(parse) = self.parse_keys {
            if self.accepts(args.len()) && parse(args, &mut FoundKeys::new(self.key_specs, found)).is_ok() {
                return;
            }
            found.clear();
        }
        let variable = self.key_specs.iter().any(|spec| spec.flags.contains(KeyFlag::VariableFlags));
        if !variable {
            if let Some((index, access)) = self.single_key() {
                if index < args.len() {
                    let flags = self.key_specs[0].flags;
                    found.push(KeyPosition { index, access, flags });
                }
                return;
            }
            if keys::find_by_specs(self.key_specs, args, found).is_ok() {
                return;
            }
        }
        if self.accepts(args.len()) {
            match self.find_keys {
                Some(find) => find(args, found),
                None => keys::find_by_loose_count(self.key_specs, args, found),
            }
        }
    }

    pub fn is_subcommand(&self) -> bool {
        self.name.contains('|')
    }
}

impl fmt::Debug for CommandSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandSpec({})", self.name)
    }
}
