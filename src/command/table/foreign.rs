//! What this server has nothing of, and clients ask for all the same: cluster mode and modules.

use super::arg::{block, integer, one_of, string, token};
use super::flags::{Category, Flag::*};
use super::role::Role;
use super::spec::{command, container, CommandSpec, Group};

const fn cluster(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Cluster, name, arity).since("3.0.0").complexity("O(1)")
}

const fn member(name: &'static str, arity: i16) -> CommandSpec {
    cluster(name, arity).summary("For members of a cluster; an error, as this server is none.")
}

const fn module(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Server, name, arity).since("4.0.0").complexity("O(1)").role(Role::Module)
}

const CHANGES: &[super::Flag] = &[NoAsyncLoading, Admin, NoScript, Protected];
const CLUSTER_CHANGES: &[super::Flag] = &[NoAsyncLoading, Admin, Stale];

pub const COMMANDS: &[CommandSpec] = &[
    cluster("asking", 1)
        .flags(&[Fast])
        .acl(&[Category::Connection])
        .summary("For clients of a cluster; an error, as this server is no member of one."),
    container(Group::Cluster, "cluster")
        .since("3.0.0")
        .summary("For clients of a cluster; this server is no member of one."),
    member("cluster|addslots", -3).flags(CLUSTER_CHANGES).args(&[integer("slot").multiple()]),
    member("cluster|addslotsrange", -4).flags(CLUSTER_CHANGES).since("7.0.0").args(&[block(
        "range",
        &[integer("start-slot"), integer("end-slot")],
    )
    .multiple()]),
    member("cluster|bumpepoch", 2).flags(CLUSTER_CHANGES).tips(&["nondeterministic_output"]),
    member("cluster|count-failure-reports", 3)
        .flags(&[Admin, Stale])
        .tips(&["nondeterministic_output"])
        .args(&[string("node-id")]),
    member("cluster|countkeysinslot", 3).flags(&[Stale]).args(&[integer("slot")]),
    member("cluster|delslots", -3).flags(CLUSTER_CHANGES).args(&[integer("slot").multiple()]),
    member("cluster|delslotsrange", -4).flags(CLUSTER_CHANGES).since("7.0.0").args(&[block(
        "range",
        &[integer("start-slot"), integer("end-slot")],
    )
    .multiple()]),
    member("cluster|failover", -2).flags(CLUSTER_CHANGES).args(&[one_of(
        "options",
        &[token("force", "FORCE"), token("takeover", "TAKEOVER")],
    )
    .optional()]),
    member("cluster|flushslots", 2).flags(CLUSTER_CHANGES),
    member("cluster|forget", 3).flags(CLUSTER_CHANGES).args(&[string("node-id")]),
    member("cluster|getkeysinslot", 4)
        .flags(&[Stale])
        .tips(&["nondeterministic_output"])
        .args(&[integer("slot"), integer("count")]),
    member("cluster|help", 2).flags(&[Loading, Stale]).since("5.0.0"),
    member("cluster|info", 2).flags(&[Stale]).tips(&["nondeterministic_output"]),
    member("cluster|keyslot", 3).flags(&[Stale]).args(&[string("key")]),
    member("cluster|links", 2).flags(&[Stale]).since("7.0.0").tips(&["nondeterministic_output"]),
    member("cluster|meet", -4).flags(CLUSTER_CHANGES).args(&[
        string("ip"),
        integer("port"),
        integer("cluster-bus-port").optional(),
    ]),
    member("cluster|myid", 2).flags(&[Stale]),
    member("cluster|myshardid", 2).flags(&[Stale]).since("7.2.0").tips(&["nondeterministic_output"]),
    member("cluster|nodes", 2).flags(&[Stale]).tips(&["nondeterministic_output"]),
    member("cluster|replicas", 3)
        .flags(&[Admin, Stale])
        .since("5.0.0")
        .tips(&["nondeterministic_output"])
        .args(&[string("node-id")]),
    member("cluster|replicate", 3).flags(CLUSTER_CHANGES).args(&[string("node-id")]),
    member("cluster|reset", -2).flags(&[Admin, NoScript, Stale]).args(&[one_of(
        "reset-type",
        &[token("hard", "HARD"), token("soft", "SOFT")],
    )
    .optional()]),
    member("cluster|saveconfig", 2).flags(CLUSTER_CHANGES),
    member("cluster|set-config-epoch", 3).flags(CLUSTER_CHANGES).args(&[integer("config-epoch")]),
    member("cluster|setslot", -4).flags(CLUSTER_CHANGES).args(&[
        integer("slot"),
        one_of(
            "subcommand",
            &[
                string("importing").token("IMPORTING"),
                string("migrating").token("MIGRATING"),
                string("node").token("NODE"),
                token("stable", "STABLE"),
            ],
        ),
    ]),
    member("cluster|shards", 2).flags(&[Loading, Stale]).since("7.0.0").tips(&["nondeterministic_output"]),
    member("cluster|slaves", 3)
        .flags(&[Admin, Stale])
        .tips(&["nondeterministic_output"])
        .deprecated("5.0.0", "`CLUSTER REPLICAS`")
        .args(&[string("node-id")]),
    member("cluster|slots", 2)
        .flags(&[Loading, Stale])
        .tips(&["nondeterministic_output"])
        .deprecated("7.0.0", "`CLUSTER SHARDS`"),
    cluster("readonly", 1)
        .flags(&[Fast, Loading, Stale])
        .acl(&[Category::Connection])
        .summary("For clients of a cluster; an error, as this server is no member of one."),
    cluster("readwrite", 1)
        .flags(&[Fast, Loading, Stale])
        .acl(&[Category::Connection])
        .summary("For clients of a cluster; an error, as this server is no member of one."),
    container(Group::Server, "module").since("4.0.0").summary("For servers with modules."),
    module("module|help", 2)
        .flags(&[Loading, Stale])
        .since("5.0.0")
        .summary("Tells how to use the subcommands."),
    module("module|list", 2)
        .flags(&[Admin, NoScript])
        .tips(&["nondeterministic_output_order"])
        .summary("Returns the modules, of which there are none."),
    module("module|load", -3)
        .flags(CHANGES)
        .summary("An error: there are no modules.")
        .args(&[string("path")]),
    module("module|loadex", -3)
        .flags(CHANGES)
        .since("7.0.0")
        .summary("An error: there are no modules.")
        .args(&[string("path")]),
    module("module|unload", 3)
        .flags(CHANGES)
        .summary("An error: there are no modules.")
        .args(&[string("name")]),
];
