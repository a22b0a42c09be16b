//! The set commands.

use super::arg::{integer, key, key_of_spec, pattern, string};
use super::flags::{Category, Flag::*, KeyFlag::*};
use super::keys::KeySpec;
use super::spec::{command, CommandSpec, Group};
use super::Handler::Keys;
use super::Spread::{Excerpt, RemoteValues};
use crate::command::{excerpt, set};

const READ: KeySpec = KeySpec::at(1, &[Ro, Access]);
const LOOK: KeySpec = KeySpec::at(1, &[Ro]);
const TAKE: KeySpec = KeySpec::at(1, &[Rw, Access, Delete]);
const READ_ALL: KeySpec = KeySpec::at(1, &[Ro, Access]).range(-1, 1, 0);
const READ_REST: KeySpec = KeySpec::at(2, &[Ro, Access]).range(-1, 1, 0);
const DESTINATION: KeySpec = KeySpec::at(1, &[Ow, Update]);

const fn set_command(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Set, name, arity).acl(&[Category::Set])
}

pub const COMMANDS: &[CommandSpec] = &[
    set_command("sadd", -3)
        .run(Keys(set::sadd, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::at(1, &[Rw, Insert])])
        .since("1.0.0")
        .history(&[("2.4.0", "More than one member.")])
        .complexity("O(N) with N being the number of members given")
        .summary("Adds members to a set, and creates it when there is none.")
        .args(&[key("key"), string("member").multiple()]),
    set_command("srem", -3)
        .run(Keys(set::srem, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[KeySpec::at(1, &[Rw, Delete])])
        .since("1.0.0")
        .history(&[("2.4.0", "More than one member.")])
        .complexity("O(N) with N being the number of members given")
        .summary("Takes members out of a set, and deletes the key with the last of them.")
        .args(&[key("key"), string("member").multiple()]),
    set_command("sismember", 3)
        .run(Keys(set::sismember, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[LOOK])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Tells whether a set has a member.")
        .args(&[key("key"), string("member")]),
    set_command("smismember", -3)
        .run(Keys(set::smismember, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[READ])
        .since("6.2.0")
        .complexity("O(N) with N being the number of members given")
        .summary("Tells of several members whether a set has them.")
        .args(&[key("key"), string("member").multiple()]),
    set_command("scard", 2)
        .run(Keys(set::scard, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[LOOK])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Returns the number of members of a set.")
        .args(&[key("key")]),
    set_command("smembers", 2)
        .run(Keys(set::smembers, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .tips(&["nondeterministic_output_order"])
        .since("1.0.0")
        .complexity("O(N) with N being the size of the set")
        .summary("Returns all members of a set.")
        .args(&[key("key")]),
    set_command("smove", 4)
        .run(Keys(set::smove, Excerpt(excerpt::smove)))
        .flags(&[Write, Fast])
        .keys(&[TAKE, KeySpec::at(2, &[Rw, Insert])])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Moves a member from one set to another.")
        .args(&[key("source"), key_of_spec("destination", 1), string("member")]),
    set_command("spop", -2)
        .run(Keys(set::spop, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[TAKE])
        .tips(&["nondeterministic_output"])
        .since("1.0.0")
        .history(&[("3.2.0", "`count`.")])
        .complexity("O(N) with N being the number of members taken out")
        .summary("Takes random members out of a set and returns them.")
        .args(&[key("key"), integer("count").since("3.2.0").optional()]),
    set_command("srandmember", -2)
        .run(Keys(set::srandmember, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .tips(&["nondeterministic_output"])
        .since("1.0.0")
        .history(&[("2.6.0", "`count`.")])
        .complexity("O(N) with N being the number of members returned")
        .summary("Returns random members of a set.")
        .args(&[key("key"), integer("count").since("2.6.0").optional()]),
    set_command("sinter", -2)
        .run(Keys(set::sinter, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ_ALL])
        .tips(&["nondeterministic_output_order"])
        .since("1.0.0")
        .complexity("O(N*M) with N being the size of the smallest set and M the number of sets")
        .summary("Returns the members that all sets have in common.")
        .args(&[key("key").multiple()]),
    set_command("sintercard", -3)
        .run(Keys(set::sintercard, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access]).key_num(0, 1, 1)])
        .since("7.0.0")
        .complexity("O(N*M) with N being the size of the smallest set and M the number of sets")
        .summary("Returns how many members all sets have in common.")
        .args(&[integer("numkeys"), key("key").multiple(), integer("limit").token("LIMIT").optional()]),
    set_command("sinterstore", -3)
        .run(Keys(set::sinterstore, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(1, &[Rw, Update]), READ_REST])
        .since("1.0.0")
        .complexity("O(N*M) with N being the size of the smallest set and M the number of sets")
        .summary("Stores the members that all sets have in common as a set.")
        .args(&[key("destination"), key_of_spec("key", 1).multiple()]),
    set_command("sunion", -2)
        .run(Keys(set::sunion, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ_ALL])
        .tips(&["nondeterministic_output_order"])
        .since("1.0.0")
        .complexity("O(N) with N being the number of members of all sets together")
        .summary("Returns the members that any of the sets has.")
        .args(&[key("key").multiple()]),
    set_command("sunionstore", -3)
        .run(Keys(set::sunionstore, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[DESTINATION, READ_REST])
        .since("1.0.0")
        .complexity("O(N) with N being the number of members of all sets together")
        .summary("Stores the members that any of the sets has as a set.")
        .args(&[key("destination"), key_of_spec("key", 1).multiple()]),
    set_command("sdiff", -2)
        .run(Keys(set::sdiff, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ_ALL])
        .tips(&["nondeterministic_output_order"])
        .since("1.0.0")
        .complexity("O(N) with N being the number of members of all sets together")
        .summary("Returns the members of the first set that no other has.")
        .args(&[key("key").multiple()]),
    set_command("sdiffstore", -3)
        .run(Keys(set::sdiffstore, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[DESTINATION, READ_REST])
        .since("1.0.0")
        .complexity("O(N) with N being the number of members of all sets together")
        .summary("Stores the members of the first set that no other has as a set.")
        .args(&[key("destination"), key_of_spec("key", 1).multiple()]),
    set_command("sscan", -3)
        .run(Keys(set::sscan, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .tips(&["nondeterministic_output"])
        .since("2.8.0")
        .complexity(
            "O(1) for a call, O(N) from the first cursor to the last with N being the size of the set",
        )
        .summary("Goes through the members of a set in steps.")
        .args(&[
            key("key"),
            integer("cursor"),
            pattern("pattern").token("MATCH").optional(),
            integer("count").token("COUNT").optional(),
        ]),
];
