//! Scripts.

use super::arg::{integer, key, one_of, string, token, Arg};
use super::flags::{Flag::*, KeyFlag::*};
use super::keys::KeySpec;
use super::role::{LibraryChange, Role, ScriptBy};
use super::spec::{command, container, CommandSpec, Group};
use super::{Gather, Handler};
use crate::command::{Args, CommandResult, Context};

const fn script(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Scripting, name, arity).acl(&[super::Category::Scripting]).since("2.6.0")
}

const fn run(name: &'static str, by: ScriptBy, is_read_only: bool) -> CommandSpec {
    script(name, -3)
        .run(Handler::Script)
        .role(Role::Script { by, is_read_only })
        .complexity("That of the script.")
}

const fn function(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Scripting, name, arity).acl(&[super::Category::Scripting]).since("7.0.0")
}

/// One that changes the libraries: all shards stand still for it, and the first does it.
const fn change(name: &'static str, arity: i16, change: LibraryChange) -> CommandSpec {
    function(name, arity)
        .run(Handler::EveryShard(done_by_shard, Gather::First))
        .role(Role::Libraries(change))
        .tips(FOR_ALL_SHARDS)
}

/// The libraries are no keys.
fn done_by_shard(_: &mut Context, _: Args) -> CommandResult {
    Ok(())
}

const FOR_ALL_SHARDS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

const WRITING: &[super::Flag] = &[NoScript, SkipMonitor, MayReplicate, NoMandatoryKeys, Stale];
const READING: &[super::Flag] = &[NoScript, SkipMonitor, NoMandatoryKeys, Stale, ReadOnly];

const KEYS: &[KeySpec] = &[KeySpec::at(2, &[Rw, Access, Update])
    .key_num(0, 1, 1)
    .notes("We cannot tell how the keys will be used so we assume the worst, RW and UPDATE")];
const READ_KEYS: &[KeySpec] = &[KeySpec::at(2, &[Ro, Access])
    .key_num(0, 1, 1)
    .notes("We cannot tell how the keys will be used so we assume the worst, RO and ACCESS")];

const TEXT: &[Arg] = &[
    string("script"),
    integer("numkeys"),
    key("key").optional().multiple(),
    string("arg").optional().multiple(),
];
const FUNCTION: &[Arg] = &[
    string("function"),
    integer("numkeys"),
    key("key").optional().multiple(),
    string("arg").optional().multiple(),
];
const SHA: &[Arg] = &[
    string("sha1"),
    integer("numkeys"),
    key("key").optional().multiple(),
    string("arg").optional().multiple(),
];

pub const COMMANDS: &[CommandSpec] = &[
    run("eval", ScriptBy::Text, false).flags(WRITING).keys(KEYS).summary("Runs a script.").args(TEXT),
    run("evalsha", ScriptBy::Hash, false)
        .flags(WRITING)
        .keys(KEYS)
        .summary("Runs a script that the server knows, by its hash.")
        .args(SHA),
    run("eval_ro", ScriptBy::Text, true)
        .flags(READING)
        .keys(READ_KEYS)
        .since("7.0.0")
        .summary("Runs a script that changes nothing.")
        .args(TEXT),
    run("evalsha_ro", ScriptBy::Hash, true)
        .flags(READING)
        .keys(READ_KEYS)
        .since("7.0.0")
        .summary("Runs a script that the server knows and that changes nothing, by its hash.")
        .args(SHA),
    run("fcall", ScriptBy::Function, false)
        .flags(WRITING)
        .keys(KEYS)
        .since("7.0.0")
        .complexity("That of the function.")
        .summary("Calls a function of a library.")
        .args(FUNCTION),
    run("fcall_ro", ScriptBy::Function, true)
        .flags(READING)
        .keys(READ_KEYS)
        .since("7.0.0")
        .complexity("That of the function.")
        .summary("Calls a function that changes nothing.")
        .args(FUNCTION),
    container(Group::Scripting, "function").since("7.0.0").summary("Manages the libraries of functions."),
    change("function|delete", 3, LibraryChange::Delete)
        .flags(&[NoScript, Write])
        .complexity("O(1)")
        .summary("Deletes a library and its functions.")
        .args(&[string("library-name")]),
    function("function|dump", 2)
        .flags(&[NoScript])
        .complexity("O(N), N functions.")
        .summary("Returns all libraries, serialised."),
    change("function|flush", -2, LibraryChange::Flush)
        .flags(&[NoScript, Write])
        .complexity("O(N), N functions.")
        .summary("Deletes all libraries.")
        .args(&[one_of("flush-type", &[token("async", "ASYNC"), token("sync", "SYNC")]).optional()]),
    function("function|help", 2)
        .flags(&[Loading, Stale])
        .complexity("O(1)")
        .summary("Tells how to use the subcommands."),
    function("function|kill", 2)
        .flags(&[NoScript, AllowBusy])
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
        .complexity("O(1)")
        .summary("Ends a slow function that has not written anything."),
    function("function|list", -2)
        .flags(&[NoScript])
        .tips(&["nondeterministic_output_order"])
        .complexity("O(N), N functions.")
        .summary("Tells of all libraries and their functions.")
        .args(&[
            string("library-name-pattern").token("LIBRARYNAME").optional(),
            token("withcode", "WITHCODE").optional(),
        ]),
    change("function|load", -3, LibraryChange::Load)
        .flags(&[NoScript, Write, DenyOom])
        .complexity("O(1), besides what the library's code does.")
        .summary("Loads a library, by running its code.")
        .args(&[token("replace", "REPLACE").optional(), string("function-code")]),
    change("function|restore", -3, LibraryChange::Restore)
        .flags(&[NoScript, Write, DenyOom])
        .complexity("O(N), N functions in the payload.")
        .summary("Loads libraries that FUNCTION DUMP has serialised.")
        .args(&[
            string("serialized-value"),
            one_of(
                "policy",
                &[token("flush", "FLUSH"), token("append", "APPEND"), token("replace", "REPLACE")],
            )
            .optional(),
        ]),
    function("function|stats", 2)
        .flags(&[NoScript, AllowBusy])
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .complexity("O(1)")
        .summary("Tells which function runs, and how many there are."),
    container(Group::Scripting, "script")
        .since("2.6.0")
        .summary("Manages the scripts that the server knows."),
    script("script|debug", 3)
        .flags(&[NoScript])
        .since("3.2.0")
        .complexity("O(1)")
        .summary("Sets the debug mode of the connection's scripts.")
        .args(&[one_of("mode", &[token("yes", "YES"), token("sync", "SYNC"), token("no", "NO")])]),
    script("script|exists", -3)
        .flags(&[NoScript])
        .tips(&["request_policy:all_shards", "response_policy:agg_logical_and"])
        .complexity("O(N), N scripts.")
        .summary("Tells which scripts the server knows.")
        .args(&[string("sha1").multiple()]),
    script("script|flush", -2)
        .flags(&[NoScript])
        .history(&[("6.2.0", "`ASYNC` and `SYNC`.")])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .complexity("O(N), N scripts.")
        .summary("Forgets all scripts.")
        .args(&[one_of(
            "flush-type",
            &[token("async", "ASYNC").since("6.2.0"), token("sync", "SYNC").since("6.2.0")],
        )
        .optional()]),
    script("script|help", 2)
        .flags(&[Loading, Stale])
        .since("5.0.0")
        .complexity("O(1)")
        .summary("Tells how to use the subcommands."),
    script("script|kill", 2)
        .flags(&[NoScript, AllowBusy])
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
        .complexity("O(1)")
        .summary("Ends a slow script that has not written anything."),
    script("script|load", 3)
        .flags(&[NoScript, Stale])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .complexity("O(N), N bytes of the script.")
        .summary("Lets the server know a script.")
        .args(&[string("script")]),
];
