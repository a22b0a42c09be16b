//! What this server has nothing of, and clients ask for all the same: cluster mode and modules.

use super::arg::string;
use super::flags::{Category, Flag::*};
use super::spec::{command, container, CommandSpec, Group};

const fn cluster(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Cluster, name, arity).since("3.0.0").complexity("O(1)")
}

const fn module(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Server, name, arity).since("4.0.0").complexity("O(1)")
}

const CHANGES: &[super::Flag] = &[NoAsyncLoading, Admin, NoScript, Protected];

pub const COMMANDS: &[CommandSpec] = &[
    cluster("asking", 1)
        .flags(&[Fast])
        .acl(&[Category::Connection])
        .summary("For clients of a cluster; an error, as this server is no member of one."),
    cluster("cluster", -2)
        .flags(&[Admin, NoScript, Stale])
        .summary("For clients of a cluster; an error, as this server is no member of one.")
        .args(&[string("subcommand")]),
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
