//! COMMAND and its subcommands: the command table, told to clients.
//!
//! Client libraries learn from it where a command's keys are and how to route it; redis-cli builds its hints and its
//! help from the documentation. Nothing is known here that the table does not say, and whatever `rename-command` calls a
//! command, it describes itself under its original name, as in Redis.

use super::table::arg::{Arg, ArgKind};
use super::table::keys::{BeginSearch, FindKeys, KeySpec};
use super::table::{Category, CommandSpec, Flag, KeyFlags, KeyPositions, Names};
use super::{Args, CommandError, CommandResult};
use crate::base::glob::glob_match;
use crate::resp::{DeferredLen, Reply};

/// Of COMMAND HELP, without the lines that every HELP has.
pub const HELP: &[&str] = &[
    "(no subcommand)",
    "    Describe every command: arity, flags, keys, categories.",
    "COUNT",
    "    Say how many commands there are.",
    "LIST [FILTERBY MODULE <module>|ACLCAT <category>|PATTERN <pattern>]",
    "    Name the commands and subcommands, all or those that the filter lets pass.",
    "INFO [<command-name> ...]",
    "    Describe the named commands, or all.",
    "DOCS [<command-name> ...]",
    "    Show the documentation of the named commands, or of all.",
    "GETKEYS <full-command>",
    "    Find the keys in a request.",
    "GETKEYSANDFLAGS <full-command>",
    "    Find the keys in a request, and what it does with each.",
];

/// COMMAND
pub fn command(reply: &mut Reply, names: &Names) {
    reply.array(names.commands().count());
    for spec in names.commands() {
        describe(reply, spec);
    }
}

/// COMMAND COUNT
pub fn count(reply: &mut Reply, names: &Names) {
    reply.integer(names.commands().count() as i64);
}

/// COMMAND INFO [name ...]
pub fn info(reply: &mut Reply, names: &Names, args: Args) {
    let asked = &args[2..];
    if asked.is_empty() {
        return command(reply, names);
    }
    reply.array(asked.len());
    for name in asked {
        match names.lookup_full(name) {
            Some(spec) => describe(reply, spec),
            None => reply.null(),
        }
    }
}

/// COMMAND DOCS [name ...]
pub fn docs(reply: &mut Reply, names: &Names, args: Args) {
    let mut map = Map::begin(reply);
    let asked = &args[2..];
    if asked.is_empty() {
        names.commands().for_each(|spec| document(map.key(spec.name), spec));
    } else {
        let known = asked.iter().filter_map(|name| names.lookup_full(name));
        known.for_each(|spec| document(map.key(spec.name), spec));
    }
    map.end();
}

/// COMMAND LIST [FILTERBY MODULE module | ACLCAT category | PATTERN pattern]
pub fn list(reply: &mut Reply, names: &Names, args: Args) -> CommandResult {
    let filter = Filter::parse(&args[2..])?;
    let place = reply.defer_array();
    let mut len = 0;
    for command in names.commands() {
        for spec in std::iter::once(command).chain(command.subcommands()) {
            if filter.passes(spec) {
                reply.bulk(spec.name.as_bytes());
                len += 1;
            }
        }
    }
    reply.finish(place, len);
    Ok(())
}

enum Filter<'a> {
    All,
    /// Of a module, of which there are none; or of a category that does not exist.
    Nothing,
    InCategory(Category),
    Like(&'a [u8]),
}

impl<'a> Filter<'a> {
    fn parse(options: &[&'a [u8]]) -> Result<Self, CommandError> {
        let is = |word: &[u8], name: &[u8]| word.eq_ignore_ascii_case(name);
        match options {
            [] => Ok(Filter::All),
            [by, kind, _] if is(by, b"filterby") && is(kind, b"module") => Ok(Filter::Nothing),
            [by, kind, name] if is(by, b"filterby") && is(kind, b"aclcat") => {
                Ok(Category::by_name(name).map_or(Filter::Nothing, Filter::InCategory))
            }
            [by, kind, pattern] if is(by, b"filterby") && is(kind, b"pattern") => Ok(Filter::Like(pattern)),
            _ => Err(CommandError::Syntax),
        }
    }

    fn passes(&self, spec: &CommandSpec) -> bool {
        match self {
            Filter::All => true,
            Filter::Nothing => false,
            Filter::InCategory(category) => spec.categories.contains(*category),
            Filter::Like(pattern) => glob_match(pattern, spec.name.as_bytes(), true),
        }
    }
}

/// COMMAND GETKEYS command [arg ...]
pub fn get_keys(reply: &mut Reply, names: &Names, args: Args) -> CommandResult {
    let request = &args[2..];
    let keys = find_keys(names, request)?;
    reply.array(keys.len());
    for key in keys {
        reply.bulk(request[key.index]);
    }
    Ok(())
}

/// COMMAND GETKEYSANDFLAGS command [arg ...]
pub fn get_keys_and_flags(reply: &mut Reply, names: &Names, args: Args) -> CommandResult {
    let request = &args[2..];
    let keys = find_keys(names, request)?;
    reply.array(keys.len());
    for key in keys {
        reply.array(2);
        reply.bulk(request[key.index]);
        key_flags(reply, key.flags);
    }
    Ok(())
}

fn find_keys(names: &Names, request: Args) -> Result<KeyPositions, CommandError> {
    let spec = names.find(request).ok_or(CommandError::other("ERR Invalid command specified"))?;
    if !spec.has_keys() {
        return Err(CommandError::other("ERR The command has no key arguments"));
    }
    if !spec.accepts(request.len()) {
        return Err(CommandError::other("ERR Invalid number of arguments specified for command"));
    }
    let mut found = KeyPositions::new();
    spec.key_positions(request, &mut found);
    if found.is_empty() && !spec.is(Flag::NoMandatoryKeys) {
        return Err(CommandError::other("ERR Invalid arguments specified for command"));
    }
    Ok(found)
}

/// A map that counts its pairs as they are written.
struct Map<'a> {
    reply: &'a mut Reply,
    place: DeferredLen,
    len: usize,
}

impl<'a> Map<'a> {
    fn begin(reply: &'a mut Reply) -> Self {
        let place = reply.defer_map();
        Map { reply, place, len: 0 }
    }

    /// Begins a pair; its value is to be written to what this returns.
    fn key(&mut self, name: &str) -> &mut Reply {
        self.len += 1;
        self.reply.bulk(name.as_bytes());
        self.reply
    }

    fn text(&mut self, name: &str, value: &str) {
        self.key(name).bulk(value.as_bytes());
    }

    fn text_if_any(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.text(name, value);
        }
    }

    fn integer(&mut self, name: &str, value: i32) {
        self.key(name).integer(value.into());
    }

    fn end(self) {
        self.reply.finish(self.place, self.len);
    }
}

/// What COMMAND INFO says about one command.
fn describe(reply: &mut Reply, spec: &CommandSpec) {
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.integer(spec.arity.into());
    simple_set(reply, spec.flags.iter().filter(|flag| flag.is_printed()).map(Flag::name));
    reply.integer(spec.legacy_range.first.into());
    reply.integer(spec.legacy_range.last.into());
    reply.integer(spec.legacy_range.step.into());
    reply.set(spec.categories.iter().count());
    for category in spec.categories.iter() {
        reply.simple(&format!("@{}", category.name()));
    }
    reply.set(spec.docs.tips.len());
    for tip in spec.docs.tips {
        reply.bulk(tip.as_bytes());
    }
    reply.set(spec.key_specs.len());
    for key_spec in spec.key_specs {
        describe_key_spec(reply, key_spec);
    }
    // A set only when it is empty: so does Redis.
    match spec.subcommands() {
        [] => reply.set(0),
        subcommands => {
            reply.array(subcommands.len());
            subcommands.iter().for_each(|subcommand| describe(reply, subcommand));
        }
    }
}

fn describe_key_spec(reply: &mut Reply, spec: &KeySpec) {
    let mut map = Map::begin(reply);
    map.text_if_any("notes", spec.notes);
    key_flags(map.key("flags"), spec.flags);
    match spec.begin {
        BeginSearch::Index(index) => {
            step(map.key("begin_search"), "index", |step| step.integer("index", index))
        }
        BeginSearch::Keyword { keyword, start_from } => step(map.key("begin_search"), "keyword", |step| {
            step.text("keyword", keyword);
            step.integer("startfrom", start_from);
        }),
        BeginSearch::Unknown => step(map.key("begin_search"), "unknown", |_| ()),
    }
    match spec.find {
        FindKeys::Range { last, step: every, limit } => step(map.key("find_keys"), "range", |step| {
            step.integer("lastkey", last);
            step.integer("keystep", every);
            step.integer("limit", limit);
        }),
        FindKeys::KeyNum { count_at, first, step: every } => step(map.key("find_keys"), "keynum", |step| {
            step.integer("keynumidx", count_at);
            step.integer("firstkey", first);
            step.integer("keystep", every);
        }),
        FindKeys::Unknown => step(map.key("find_keys"), "unknown", |_| ()),
    }
    map.end();
}

/// One of the two steps of a key spec.
fn step(reply: &mut Reply, kind: &str, write_spec: impl FnOnce(&mut Map)) {
    let mut map = Map::begin(reply);
    map.text("type", kind);
    let mut spec = Map::begin(map.key("spec"));
    write_spec(&mut spec);
    spec.end();
    map.end();
}

fn key_flags(reply: &mut Reply, flags: KeyFlags) {
    simple_set(reply, flags.iter().map(|flag| flag.name()));
}

fn simple_set<'a>(reply: &mut Reply, names: impl Iterator<Item = &'a str>) {
    let place = reply.defer_set();
    let mut len = 0;
    for name in names {
        reply.simple(name);
        len += 1;
    }
    reply.finish(place, len);
}

/// What COMMAND DOCS says about one command.
fn document(reply: &mut Reply, spec: &CommandSpec) {
    let docs = &spec.docs;
    let mut map = Map::begin(reply);
    map.text_if_any("summary", Some(docs.summary));
    map.text_if_any("since", Some(docs.since));
    map.text("group", docs.group.name());
    map.text_if_any("complexity", Some(docs.complexity));
    if docs.deprecated.is_some() || docs.system_command {
        let flags = [("deprecated", docs.deprecated.is_some()), ("syscmd", docs.system_command)];
        simple_set(map.key("doc_flags"), flags.into_iter().filter(|flag| flag.1).map(|flag| flag.0));
    }
    if let Some(deprecated) = docs.deprecated {
        map.text("deprecated_since", deprecated.since);
        map.text_if_any("replaced_by", Some(deprecated.replaced_by));
    }
    if !docs.history.is_empty() {
        let reply = map.key("history");
        reply.set(docs.history.len());
        for (version, change) in docs.history {
            reply.array(2);
            reply.bulk(version.as_bytes());
            reply.bulk(change.as_bytes());
        }
    }
    if !docs.args.is_empty() {
        document_args(map.key("arguments"), docs.args);
    }
    if !spec.subcommands().is_empty() {
        let mut subcommands = Map::begin(map.key("subcommands"));
        for subcommand in spec.subcommands() {
            document(subcommands.key(subcommand.name), subcommand);
        }
        subcommands.end();
    }
    map.end();
}

fn document_args(reply: &mut Reply, args: &[Arg]) {
    reply.array(args.len());
    for arg in args {
        let mut map = Map::begin(reply);
        map.text("name", arg.name);
        map.text("type", arg.kind.name());
        let has_parts = matches!(arg.kind, ArgKind::OneOf | ArgKind::Block);
        if !has_parts {
            map.text("display_text", arg.display.unwrap_or(arg.name));
        }
        if let Some(key_spec) = arg.key_spec {
            map.integer("key_spec_index", key_spec.into());
        }
        // A token may be the empty string: the argument's place is then marked by `""`.
        if let Some(token) = arg.token {
            map.text("token", token);
        }
        map.text_if_any("since", arg.since);
        map.text_if_any("deprecated_since", arg.deprecated_since);
        let flags =
            [("optional", arg.optional), ("multiple", arg.multiple), ("multiple_token", arg.multiple_token)];
        if flags.iter().any(|flag| flag.1) {
            simple_set(map.key("flags"), flags.into_iter().filter(|flag| flag.1).map(|flag| flag.0));
        }
        if has_parts {
            document_args(map.key("arguments"), arg.parts);
        }
        map.end();
    }
}

#[cfg(test)]
#[path = "command_cmd_tests.rs"]
mod tests;
