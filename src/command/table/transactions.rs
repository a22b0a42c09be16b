//! MULTI and what belongs to it.

use super::arg::key;
use super::flags::{Category, Flag::*, KeyFlag::*};
use super::keys::KeySpec;
use super::role::Role;
use super::spec::{command, CommandSpec, Group};

const fn transaction(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Transactions, name, arity).acl(&[Category::Transaction])
}

pub const COMMANDS: &[CommandSpec] = &[
    transaction("multi", 1)
        .role(Role::Multi)
        .flags(&[NoScript, Loading, Stale, Fast, AllowBusy])
        .since("1.2.0")
        .complexity("O(1)")
        .summary("Begins a transaction: the commands that follow are queued."),
    transaction("exec", 1)
        .role(Role::Exec)
        .flags(&[NoScript, Loading, Stale, SkipSlowlog])
        .since("1.2.0")
        .complexity("That of the queued commands.")
        .summary("Runs the queued commands as one, unless a watched key changed."),
    transaction("discard", 1)
        .role(Role::Discard)
        .flags(&[NoScript, Loading, Stale, Fast, AllowBusy])
        .since("2.0.0")
        .complexity("O(N), N queued commands.")
        .summary("Drops the queued commands and the watches."),
    transaction("watch", -2)
        .role(Role::Watch)
        .flags(&[NoScript, Loading, Stale, Fast, AllowBusy])
        .keys(&[KeySpec::at(1, &[Ro]).range(-1, 1, 0)])
        .since("2.2.0")
        .complexity("O(N), N keys.")
        .summary("Makes the next EXEC depend on keys staying as they are.")
        .args(&[key("key").multiple()]),
    transaction("unwatch", 1)
        .flags(&[NoScript, Loading, Stale, Fast, AllowBusy])
        .since("2.2.0")
        .complexity("O(1)")
        .summary("Drops the watches."),
];
