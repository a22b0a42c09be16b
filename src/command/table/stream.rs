//! The stream commands.

use super::arg::{block, integer, key, one_of, string, token, unix_time, Arg};
use super::flags::{Category, Flag::*, KeyFlag::*};
use super::keys::KeySpec;
use super::spec::{command, container, CommandSpec, Group};
use super::Handler::Keys;
use super::Spread::{Excerpt, RemoteValues};
use crate::command::stream;

const READ: KeySpec = KeySpec::at(1, &[Ro, Access]);
const UPDATE: KeySpec = KeySpec::at(1, &[Rw, Update]);
const DELETE: KeySpec = KeySpec::at(1, &[Rw, super::KeyFlag::Delete]);
const READ_2: KeySpec = KeySpec::at(2, &[Ro, Access]);
const INSERT_2: KeySpec = KeySpec::at(2, &[Rw, Insert]);
const UPDATE_2: KeySpec = KeySpec::at(2, &[Rw, Update]);
const DELETE_2: KeySpec = KeySpec::at(2, &[Rw, super::KeyFlag::Delete]);
const STREAMS: &[super::KeyFlag] = &[Ro, Access];

const NONDETERMINISTIC: &[&str] = &["nondeterministic_output"];

const fn stream_command(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Stream, name, arity).acl(&[Category::Stream])
}

const TRIM: &[Arg] = &[
    one_of("strategy", &[token("maxlen", "MAXLEN"), token("minid", "MINID").since("6.2.0")]),
    one_of("operator", &[token("equal", "="), token("approximately", "~")]).optional(),
    string("threshold"),
    integer("count").token("LIMIT").since("6.2.0").optional(),
];

const ID_OR_LAST: Arg = one_of("id-selector", &[string("id"), token("new-id", "$")]);

const READ_STREAMS: Arg =
    block("streams", &[key("key").multiple(), string("id").multiple()]).token("STREAMS");

pub const COMMANDS: &[CommandSpec] = &[
    stream_command("xadd", -5)
        .run(Keys(stream::xadd, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[UPDATE.notes("Data is lost too when the command trims.")])
        .tips(NONDETERMINISTIC)
        .since("5.0.0")
        .history(&[
            ("6.2.0", "`NOMKSTREAM`, `MINID`, `LIMIT`."),
            ("7.0.0", "IDs of the form `<ms>-*`."),
        ])
        .complexity("O(1); O(N) more when trimming, N entries trimmed.")
        .summary("Adds an entry to a stream, which is created when the key does not exist, and optionally trims the stream.")
        .args(&[
            key("key"),
            token("nomkstream", "NOMKSTREAM").since("6.2.0").optional(),
            block("trim", TRIM).optional(),
            one_of("id-selector", &[token("auto-id", "*"), string("id")]),
            block("data", &[string("field"), string("value")]).multiple(),
        ]),
    stream_command("xlen", 2)
        .run(Keys(stream::xlen, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::at(1, &[Ro])])
        .since("5.0.0")
        .complexity("O(1)")
        .summary("Counts the entries of a stream.")
        .args(&[key("key")]),
    stream_command("xrange", -4)
        .run(Keys(stream::xrange, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .since("5.0.0")
        .history(&[("6.2.0", "Exclusive ranges.")])
        .complexity("O(N), N entries returned.")
        .summary("Returns the entries of a stream within a range of IDs.")
        .args(&[key("key"), string("start"), string("end"), integer("count").token("COUNT").optional()]),
    stream_command("xrevrange", -4)
        .run(Keys(stream::xrevrange, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .since("5.0.0")
        .history(&[("6.2.0", "Exclusive ranges.")])
        .complexity("O(N), N entries returned.")
        .summary("Returns the entries of a stream within a range of IDs, the last first.")
        .args(&[key("key"), string("end"), string("start"), integer("count").token("COUNT").optional()]),
    stream_command("xdel", -3)
        .run(Keys(stream::xdel, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[DELETE])
        .since("5.0.0")
        .complexity("O(1) for each entry.")
        .summary("Deletes entries of a stream.")
        .args(&[key("key"), string("id").multiple()]),
    stream_command("xtrim", -4)
        .run(Keys(stream::xtrim, RemoteValues))
        .flags(&[Write])
        .keys(&[DELETE])
        .tips(NONDETERMINISTIC)
        .since("5.0.0")
        .history(&[("6.2.0", "`MINID`, `LIMIT`.")])
        .complexity("O(N), N entries trimmed; whole nodes of entries go at once.")
        .summary("Deletes the oldest entries of a stream.")
        .args(&[key("key"), block("trim", TRIM)]),
    stream_command("xsetid", -3)
        .run(Keys(stream::xsetid, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[UPDATE])
        .since("5.0.0")
        .history(&[("7.0.0", "`ENTRIESADDED`, `MAXDELETEDID`.")])
        .complexity("O(1)")
        .summary("Sets the last ID and the counters of a stream, as replication does.")
        .args(&[
            key("key"),
            string("last-id"),
            integer("entries-added").token("ENTRIESADDED").since("7.0.0").optional(),
            string("max-deleted-id").token("MAXDELETEDID").since("7.0.0").optional(),
        ]),
    stream_command("xread", -4)
        .run(Keys(stream::xread, Excerpt(stream::xread_excerpt)))
        .flags(&[BlocksByOption, Blocking, ReadOnly])
        .keys(&[KeySpec::after("STREAMS", 1, STREAMS).range(-1, 1, 2)])
        .parse_keys(stream::xread_keys)
        .since("5.0.0")
        .summary("Returns entries of streams behind the given IDs, and waits for some when there are none.")
        .args(&[
            integer("count").token("COUNT").optional(),
            integer("milliseconds").token("BLOCK").optional(),
            READ_STREAMS,
        ]),
    stream_command("xreadgroup", -7)
        .run(Keys(stream::xreadgroup, Excerpt(stream::xreadgroup_excerpt)))
        .flags(&[BlocksByOption, Blocking, Write])
        .keys(&[KeySpec::after("STREAMS", 4, STREAMS).range(-1, 1, 2).changes()])
        .parse_keys(stream::xreadgroup_keys)
        .since("5.0.0")
        .complexity("O(M) for each stream, M entries returned. While it waits, each XADD pays O(N) for N who wait.")
        .summary("Delivers entries of streams to a consumer of a group: new ones, or those that are pending for it.")
        .args(&[
            block("group-block", &[string("group"), string("consumer")]).token("GROUP"),
            integer("count").token("COUNT").optional(),
            integer("milliseconds").token("BLOCK").optional(),
            token("noack", "NOACK").optional(),
            READ_STREAMS,
        ]),
    container(Group::Stream, "xgroup").since("5.0.0").summary("Makes, moves and removes groups and consumers."),
    stream_command("xgroup|create", -5)
        .run(Keys(stream::xgroup_create, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[INSERT_2])
        .since("5.0.0")
        .history(&[("7.0.0", "`ENTRIESREAD`.")])
        .complexity("O(1)")
        .summary("Creates a group of consumers.")
        .args(&[
            key("key"),
            string("group"),
            ID_OR_LAST,
            token("mkstream", "MKSTREAM").optional(),
            integer("entries-read").token("ENTRIESREAD").optional(),
        ]),
    stream_command("xgroup|setid", -5)
        .run(Keys(stream::xgroup_setid, RemoteValues))
        .flags(&[Write])
        .keys(&[UPDATE_2])
        .since("5.0.0")
        .history(&[("7.0.0", "`ENTRIESREAD`.")])
        .complexity("O(1)")
        .summary("Sets the last ID that a group has been given.")
        .args(&[
            key("key"),
            string("group"),
            ID_OR_LAST,
            integer("entriesread").token("ENTRIESREAD").display("entries-read").optional(),
        ]),
    stream_command("xgroup|destroy", 4)
        .run(Keys(stream::xgroup_destroy, RemoteValues))
        .flags(&[Write])
        .keys(&[DELETE_2])
        .since("5.0.0")
        .complexity("O(N), N pending entries of the group.")
        .summary("Removes a group with its consumers and what is pending for them.")
        .args(&[key("key"), string("group")]),
    stream_command("xgroup|createconsumer", 5)
        .run(Keys(stream::xgroup_createconsumer, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[INSERT_2])
        .since("6.2.0")
        .complexity("O(1)")
        .summary("Creates a consumer in a group.")
        .args(&[key("key"), string("group"), string("consumer")]),
    stream_command("xgroup|delconsumer", 5)
        .run(Keys(stream::xgroup_delconsumer, RemoteValues))
        .flags(&[Write])
        .keys(&[DELETE_2])
        .since("5.0.0")
        .complexity("O(N), N entries pending for the consumer.")
        .summary("Deletes a consumer of a group with what is pending for it.")
        .args(&[key("key"), string("group"), string("consumer")]),
    stream_command("xgroup|help", 2)
        .run(Keys(stream::xgroup_help, RemoteValues))
        .flags(&[Loading, Stale])
        .since("5.0.0")
        .complexity("O(1)")
        .summary("Explains the subcommands."),
    stream_command("xack", -4)
        .run(Keys(stream::xack, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[UPDATE])
        .since("5.0.0")
        .complexity("O(log N) for each ID, N pending entries of the group.")
        .summary("Acknowledges entries that were delivered to consumers of a group.")
        .args(&[key("key"), string("group"), string("id").multiple()]),
    stream_command("xpending", -3)
        .run(Keys(stream::xpending, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .tips(NONDETERMINISTIC)
        .since("5.0.0")
        .history(&[("6.2.0", "`IDLE`, exclusive ranges.")])
        .complexity("O(N), N entries returned, or looked at when there is `IDLE`; the summary O(M), M consumers.")
        .summary("Returns the entries that were delivered and not acknowledged, or a summary of them.")
        .args(&[
            key("key"),
            string("group"),
            block(
                "filters",
                &[
                    integer("min-idle-time").token("IDLE").since("6.2.0").optional(),
                    string("start"),
                    string("end"),
                    integer("count"),
                    string("consumer").optional(),
                ],
            )
            .optional(),
        ]),
    stream_command("xclaim", -6)
        .run(Keys(stream::xclaim, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[UPDATE])
        .tips(NONDETERMINISTIC)
        .since("5.0.0")
        .complexity("O(log N) for each ID, N pending entries of the group.")
        .summary("Makes a consumer the owner of pending entries of a group.")
        .args(&[
            key("key"),
            string("group"),
            string("consumer"),
            string("min-idle-time"),
            string("id").multiple(),
            integer("ms").token("IDLE").optional(),
            unix_time("unix-time-milliseconds").token("TIME").optional(),
            integer("count").token("RETRYCOUNT").optional(),
            token("force", "FORCE").optional(),
            token("justid", "JUSTID").optional(),
            string("lastid").token("LASTID").optional(),
        ]),
    stream_command("xautoclaim", -6)
        .run(Keys(stream::xautoclaim, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[DELETE])
        .tips(NONDETERMINISTIC)
        .since("6.2.0")
        .history(&[("7.0.0", "The reply names the entries that had been deleted and are pending no more.")])
        .complexity("O(1) when `COUNT` is small.")
        .summary("Makes a consumer the owner of entries of a group that have been pending for long.")
        .args(&[
            key("key"),
            string("group"),
            string("consumer"),
            string("min-idle-time"),
            string("start"),
            integer("count").token("COUNT").optional(),
            token("justid", "JUSTID").optional(),
        ]),
    container(Group::Stream, "xinfo").since("5.0.0").summary("Looks at streams, groups and consumers."),
    stream_command("xinfo|consumers", 4)
        .run(Keys(stream::xinfo_consumers, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ_2])
        .tips(NONDETERMINISTIC)
        .since("5.0.0")
        .history(&[("7.2.0", "`inactive`.")])
        .complexity("O(N), N consumers.")
        .summary("Lists the consumers of a group.")
        .args(&[key("key"), string("group")]),
    stream_command("xinfo|groups", 3)
        .run(Keys(stream::xinfo_groups, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ_2])
        .since("5.0.0")
        .history(&[("7.0.0", "`entries-read`, `lag`.")])
        .complexity("O(N), N groups.")
        .summary("Lists the groups of a stream.")
        .args(&[key("key")]),
    stream_command("xinfo|stream", -3)
        .run(Keys(stream::xinfo_stream, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ_2])
        .since("5.0.0")
        .history(&[
            ("6.0.0", "`FULL`."),
            (
                "7.0.0",
                "`max-deleted-entry-id`, `entries-added`, `recorded-first-entry-id`, `entries-read`, `lag`.",
            ),
            ("7.2.0", "`active-time`; `seen-time` counts attempts too."),
        ])
        .complexity("O(N), N nodes of entries.")
        .summary("Describes a stream, with `FULL` its groups and consumers too.")
        .args(&[
            key("key"),
            block(
                "full-block",
                &[token("full", "FULL"), integer("count").token("COUNT").optional()],
            )
            .optional(),
        ]),
    stream_command("xinfo|help", 2)
        .run(Keys(stream::xinfo_help, RemoteValues))
        .flags(&[Loading, Stale])
        .since("5.0.0")
        .complexity("O(1)")
        .summary("Explains the subcommands."),
];
