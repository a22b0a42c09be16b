//! The HyperLogLog commands.

use super::arg::{key, key_of_spec, string};
use super::flags::{Category, Flag::*, KeyFlag::*};
use super::keys::KeySpec;
use super::spec::{command, CommandSpec, Group};
use super::Handler::Keys;
use super::Spread::RemoteValues;
use crate::command::hyperloglog;

const fn hyperloglog_command(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::HyperLogLog, name, arity).since("2.8.9").acl(&[Category::HyperLogLog])
}

pub const COMMANDS: &[CommandSpec] = &[
    hyperloglog_command("pfadd", -2)
        .run(Keys(hyperloglog::pfadd, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::at(1, &[Rw, Insert])])
        .complexity("O(1) for each element.")
        .summary("Counts elements in a HyperLogLog, which is made if there is none.")
        .args(&[key("key"), string("element").optional().multiple()]),
    hyperloglog_command("pfcount", -2)
        .run(Keys(hyperloglog::pfcount, RemoteValues))
        .flags(&[ReadOnly, MayReplicate])
        .keys(&[KeySpec::at(1, &[Rw, Access])
            .range(-1, 1, 0)
            .notes("Writes the count into the value, to remember it; that is replicated.")])
        .complexity("O(1) for one key, mostly the reading of a remembered number; O(N) for N keys, 16,384 registers each.")
        .summary("Estimates how many different elements HyperLogLogs have seen together.")
        .args(&[key("key").multiple()]),
    hyperloglog_command("pfmerge", -2)
        .run(Keys(hyperloglog::pfmerge, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(1, &[Rw, Access, Insert]), KeySpec::at(2, &[Ro, Access]).range(-1, 1, 0)])
        .parse_keys(hyperloglog::pfmerge_keys)
        .complexity("O(N), N HyperLogLogs, 16,384 registers each.")
        .summary("Merges HyperLogLogs into one that has seen what any of them has.")
        .args(&[key("destkey"), key_of_spec("sourcekey", 1).optional().multiple()]),
    hyperloglog_command("pfdebug", 3)
        .run(Keys(hyperloglog::pfdebug, RemoteValues))
        .flags(&[Write, DenyOom, Admin])
        .keys(&[KeySpec::at(2, &[Rw, Access])])
        .system_command()
        .complexity("N/A")
        .summary("Shows what is inside of a HyperLogLog.")
        .args(&[string("subcommand"), key("key")]),
    hyperloglog_command("pfselftest", 1)
        .run(Keys(hyperloglog::pfselftest, RemoteValues))
        .flags(&[Admin])
        .system_command()
        .complexity("N/A")
        .summary("Tests HyperLogLogs on this machine."),
];
