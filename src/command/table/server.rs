//! Commands about the server as a whole.

use super::arg::{block, integer, one_of, pattern, string, token, Arg};
use super::flags::{Category, Flag::*};
use super::role::Role;
use super::spec::{command, container, CommandSpec, Group};
use super::Gather::{First, Sum};
use super::Handler::EveryShard;
use crate::command::keys;

const fn server(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Server, name, arity)
}

/// Whom to follow.
const FAILOVER_TARGET: &[Arg] = &[string("host"), integer("port"), token("force", "FORCE").optional()];

const MASTER: &[Arg] = &[
    block("host-port", &[string("host"), integer("port")]),
    block("no-one", &[token("no", "NO"), token("one", "ONE")]),
];

pub const COMMANDS: &[CommandSpec] = &[
    server("info", -1)
        .acl(&[Category::Dangerous])
        .flags(&[Loading, Stale, Sentinel])
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .since("1.0.0")
        .history(&[("7.0.0", "More than one section.")])
        .complexity("O(1)")
        .summary("Reports on the server, section by section.")
        .args(&[string("section").optional().multiple()]),
    server("time", 1)
        .flags(&[Quick, Loading, Stale, Fast])
        .tips(&["nondeterministic_output"])
        .since("2.6.0")
        .complexity("O(1)")
        .summary("Returns the server's clock: seconds and microseconds."),
    server("dbsize", 1)
        .acl(&[Category::Keyspace])
        .run(EveryShard(keys::dbsize, Sum))
        .flags(&[ReadOnly, Fast])
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Counts the keys of the database."),
    server("flushdb", -1)
        .role(Role::FlushDb)
        .acl(&[Category::Keyspace])
        .acl(&[Category::Dangerous])
        .run(EveryShard(keys::flushdb, First))
        .flags(&[Write])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .since("1.0.0")
        .history(&[("4.0.0", "`ASYNC`."), ("6.2.0", "`SYNC`.")])
        .complexity("O(N), N keys in the database.")
        .summary("Deletes all keys of the database.")
        .args(&[one_of(
            "flush-type",
            &[token("async", "ASYNC").since("4.0.0"), token("sync", "SYNC").since("6.2.0")],
        )
        .optional()]),
    server("flushall", -1)
        .role(Role::FlushAll)
        .acl(&[Category::Keyspace])
        .acl(&[Category::Dangerous])
        .run(EveryShard(keys::flushall, First))
        .flags(&[Write])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .since("1.0.0")
        .history(&[("4.0.0", "`ASYNC`."), ("6.2.0", "`SYNC`.")])
        .complexity("O(N), N keys in all databases.")
        .summary("Deletes all keys of all databases.")
        .args(&[one_of(
            "flush-type",
            &[token("async", "ASYNC").since("4.0.0"), token("sync", "SYNC").since("6.2.0")],
        )
        .optional()]),
    server("swapdb", 3)
        .acl(&[Category::Keyspace])
        .acl(&[Category::Dangerous])
        .run(EveryShard(keys::swapdb, First))
        .flags(&[Write, Fast])
        .since("4.0.0")
        .complexity("O(N), N clients that watch or wait for keys of the two databases.")
        .summary("Exchanges the contents of two databases.")
        .args(&[integer("index1"), integer("index2")]),
    container(Group::Server, "config").since("2.0.0").summary("Reads and changes the configuration."),
    server("config|get", -3)
        .flags(&[Admin, NoScript, Loading, Stale])
        .since("2.0.0")
        .history(&[("7.0.0", "More than one pattern.")])
        .complexity("O(N), N parameters.")
        .summary("Returns the parameters that match patterns, with their values.")
        .args(&[string("parameter").multiple()]),
    server("config|set", -4)
        .role(Role::ConfigSet)
        .flags(&[Admin, NoScript, Loading, Stale])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .since("2.0.0")
        .history(&[("7.0.0", "More than one parameter.")])
        .complexity("O(N), N parameters.")
        .summary("Changes parameters while running, all of them or none.")
        .args(&[block("data", &[string("parameter"), string("value")]).multiple()]),
    server("config|rewrite", 2)
        .flags(&[Admin, NoScript, Loading, Stale])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .since("2.8.0")
        .complexity("O(1)")
        .summary("Writes the configuration in force back to its file."),
    server("config|resetstat", 2)
        .flags(&[Admin, NoScript, Loading, Stale])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .since("2.0.0")
        .complexity("O(1)")
        .summary("Sets the statistics of INFO back to zero."),
    server("config|help", 2)
        .flags(&[Loading, Stale])
        .since("5.0.0")
        .complexity("O(1)")
        .summary("Explains the subcommands."),
    server("command", -1)
        .acl(&[Category::Connection])
        .flags(&[Loading, Stale, Sentinel])
        .tips(&["nondeterministic_output_order"])
        .since("2.8.13")
        .complexity("O(N), N commands.")
        .summary("Describes all commands in the terms of COMMAND INFO."),
    server("command|count", 2)
        .acl(&[Category::Connection])
        .flags(&[Loading, Stale, Sentinel])
        .since("2.8.13")
        .complexity("O(1)")
        .summary("Counts the commands."),
    server("command|info", -2)
        .acl(&[Category::Connection])
        .flags(&[Loading, Stale, Sentinel])
        .tips(&["nondeterministic_output_order"])
        .since("2.8.13")
        .history(&[("7.0.0", "Without names, all commands.")])
        .complexity("O(N), N commands asked for.")
        .summary("Describes commands: arity, flags, keys, categories.")
        .args(&[string("command-name").optional().multiple()]),
    server("command|docs", -2)
        .acl(&[Category::Connection])
        .flags(&[Loading, Stale, Sentinel])
        .tips(&["nondeterministic_output_order"])
        .since("7.0.0")
        .complexity("O(N), N commands asked for.")
        .summary("Returns the documentation of commands.")
        .args(&[string("command-name").optional().multiple()]),
    server("command|list", -2)
        .acl(&[Category::Connection])
        .flags(&[Loading, Stale, Sentinel])
        .tips(&["nondeterministic_output_order"])
        .since("7.0.0")
        .complexity("O(N), N commands.")
        .summary("Lists the names of commands.")
        .args(&[one_of(
            "filterby",
            &[
                string("module-name").token("MODULE"),
                string("category").token("ACLCAT"),
                pattern("pattern").token("PATTERN"),
            ],
        )
        .token("FILTERBY")
        .optional()]),
    server("command|getkeys", -3)
        .acl(&[Category::Connection])
        .flags(&[Loading, Stale, Sentinel])
        .since("2.8.13")
        .complexity("O(N), N arguments.")
        .summary("Finds the keys in a request.")
        .args(&[string("command"), string("arg").optional().multiple()]),
    server("command|getkeysandflags", -3)
        .acl(&[Category::Connection])
        .flags(&[Loading, Stale, Sentinel])
        .since("7.0.0")
        .complexity("O(N), N arguments.")
        .summary("Finds the keys in a request and how each is used.")
        .args(&[string("command"), string("arg").optional().multiple()]),
    server("command|help", 2)
        .acl(&[Category::Connection])
        .flags(&[Loading, Stale, Sentinel])
        .since("5.0.0")
        .complexity("O(1)")
        .summary("Explains the subcommands."),
    server("role", 1)
        .acl(&[Category::Admin])
        .acl(&[Category::Dangerous])
        .flags(&[NoScript, Loading, Stale, Fast, Sentinel])
        .since("2.8.12")
        .complexity("O(1)")
        .summary("Tells whether the server is a master or a replica, and of whom."),
    server("replicaof", 3)
        .flags(&[NoAsyncLoading, Admin, NoScript, Stale])
        .since("5.0.0")
        .complexity("O(1)")
        .summary("Makes the server a replica of another one, or a master.")
        .args(&[one_of("args", MASTER)]),
    server("slaveof", 3)
        .flags(&[NoAsyncLoading, Admin, NoScript, Stale])
        .since("1.0.0")
        .deprecated("5.0.0", "`REPLICAOF`")
        .complexity("O(1)")
        .summary("Makes the server a replica of another one, or a master.")
        .args(&[one_of("args", MASTER)]),
    server("failover", -1)
        .flags(&[Admin, NoScript, Stale])
        .since("6.2.0")
        .complexity("O(1)")
        .summary("Hands over to a replica, without losing writes.")
        .args(&[
            block("target", FAILOVER_TARGET).token("TO").optional(),
            token("abort", "ABORT").optional(),
            integer("milliseconds").token("TIMEOUT").optional(),
        ]),
    command(Group::Generic, "wait", 3)
        .acl(&[Category::Connection])
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .since("3.0.0")
        .complexity("O(1)")
        .summary("Waits until replicas have confirmed this connection's writes.")
        .args(&[integer("numreplicas"), integer("timeout")]),
    command(Group::Generic, "waitaof", 4)
        .flags(&[NoScript])
        .acl(&[Category::Connection])
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .since("7.2.0")
        .complexity("O(1)")
        .summary(
            "Waits until this connection's writes are in append-only files of this server and of replicas.",
        )
        .args(&[integer("numlocal"), integer("numreplicas"), integer("timeout")]),
    server("monitor", 1)
        .flags(&[Admin, NoScript, Loading, Stale])
        .since("1.0.0")
        .summary("Streams every command that the server runs to this connection."),
    server("save", 1)
        .flags(&[NoAsyncLoading, Admin, NoScript, NoMulti, NeedsAllShards])
        .since("1.0.0")
        .complexity("O(N), N keys in all databases.")
        .summary("Writes the RDB file, and lets nobody else write meanwhile."),
    server("bgsave", -1)
        .flags(&[NoAsyncLoading, Admin, NoScript, NeedsAllShards])
        .since("1.0.0")
        .history(&[("3.2.2", "`SCHEDULE`.")])
        .complexity("O(1)")
        .summary("Writes the RDB file in the background.")
        .args(&[one_of(
            "method",
            &[
                token("schedule", "SCHEDULE").since("3.2.2"),
                token("fork", "FORK"),
                token("forkless", "FORKLESS"),
            ],
        )
        .optional()]),
    server("pipesave", 1).flags(&[Admin, NoScript, NoMulti]).since("7.2.0").complexity("O(1)").summary(
        "Writes an RDB file to the command that `pipesavecommand` names, in the background. Gyre only.",
    ),
    server("dumpsave", 1)
        .flags(&[Admin, NoScript, NoMulti])
        .since("7.2.0")
        .complexity("O(1)")
        .summary("Turns the connection into the stream of an RDB file, which ends with it. Gyre only."),
    server("sync", 1)
        .flags(&[NoAsyncLoading, Admin, NoMulti, NoScript])
        .since("1.0.0")
        .summary("Sends an RDB file and closes the connection: for redis-cli --rdb."),
    server("psync", -3)
        .flags(&[NoAsyncLoading, Admin, NoMulti, NoScript])
        .since("2.8.0")
        .summary("Makes the connection a replica, which has the data up to an offset of a history.")
        .args(&[string("replicationid"), integer("offset")]),
    server("replconf", -1)
        .flags(&[Admin, NoScript, Loading, Stale, AllowBusy])
        .since("3.0.0")
        .system_command()
        .complexity("O(1)")
        .summary("Takes what a client says of itself in front of SYNC."),
    server("bgrewriteaof", 1)
        .flags(&[NoAsyncLoading, Admin, NoScript, NeedsAllShards])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Rewrites the append-only files in the background."),
    server("lastsave", 1)
        .acl(&[Category::Admin, Category::Dangerous])
        .flags(&[Loading, Stale, Fast])
        .tips(&["nondeterministic_output"])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Tells when the RDB file was last written, as Unix time."),
    server("shutdown", -1)
        .flags(&[Admin, NoScript, Loading, Stale, NoMulti, AllowBusy, Sentinel])
        .since("1.0.0")
        .history(&[("7.0.0", "`NOW`, `FORCE`, `ABORT`.")])
        .complexity("O(N) with saving, N keys in all databases; O(1) without.")
        .summary("Stops the server, saving first if it is set up to.")
        .args(&[
            one_of("save-selector", &[token("nosave", "NOSAVE"), token("save", "SAVE")]).optional(),
            token("now", "NOW").since("7.0.0").optional(),
            token("force", "FORCE").since("7.0.0").optional(),
            token("abort", "ABORT").since("7.0.0").optional(),
        ]),
    server("debug", -2)
        .flags(&[Admin, NoScript, Loading, Stale, Protected, NeedsAllShards])
        .since("1.0.0")
        .system_command()
        .complexity("That of the subcommand.")
        .summary("Switches and probes for tests and debugging."),
    server("lolwut", -1)
        .flags(&[Quick, ReadOnly, Fast])
        .since("5.0.0")
        .summary("Draws something and tells the version.")
        .args(&[integer("version").token("VERSION").optional()]),
];
