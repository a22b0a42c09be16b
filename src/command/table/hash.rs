//! The hash commands.

use super::arg::{block, double, integer, key, pattern, string, token};
use super::flags::{Category, Flag::*, KeyFlag::*};
use super::keys::KeySpec;
use super::spec::{command, CommandSpec, Group};
use super::Handler::Keys;
use super::Spread::RemoteValues;
use crate::command::hash;

const READ: KeySpec = KeySpec::at(1, &[Ro, Access]);
const LOOK: KeySpec = KeySpec::at(1, &[Ro]);
const UPDATE: KeySpec = KeySpec::at(1, &[Rw, Update]);
const MODIFY: KeySpec = KeySpec::at(1, &[Rw, Access, Update]);
const INSERT: KeySpec = KeySpec::at(1, &[Rw, Insert]);
const DELETE: KeySpec = KeySpec::at(1, &[Rw, Delete]);

const fn hash_command(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Hash, name, arity).acl(&[Category::Hash])
}

pub const COMMANDS: &[CommandSpec] = &[
    hash_command("hset", -4)
        .run(Keys(hash::hset, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[UPDATE])
        .since("2.0.0")
        .history(&[("4.0.0", "More than one field and value.")])
        .complexity("O(N) with N being the number of fields given")
        .summary("Gives fields of a hash their values, whether they were there before or not.")
        .args(&[key("key"), block("data", &[string("field"), string("value")]).multiple()]),
    hash_command("hsetnx", 4)
        .run(Keys(hash::hsetnx, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[INSERT])
        .since("2.0.0")
        .complexity("O(1)")
        .summary("Gives a field of a hash a value when it has none yet.")
        .args(&[key("key"), string("field"), string("value")]),
    hash_command("hmset", -4)
        .run(Keys(hash::hmset, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[UPDATE])
        .since("2.0.0")
        .deprecated("4.0.0", "`HSET` with several fields and values")
        .complexity("O(N) with N being the number of fields given")
        .summary("Gives several fields of a hash their values.")
        .args(&[key("key"), block("data", &[string("field"), string("value")]).multiple()]),
    hash_command("hget", 3)
        .run(Keys(hash::hget, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[READ])
        .since("2.0.0")
        .complexity("O(1)")
        .summary("Returns the value of a field of a hash.")
        .args(&[key("key"), string("field")]),
    hash_command("hmget", -3)
        .run(Keys(hash::hmget, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[READ])
        .since("2.0.0")
        .complexity("O(N) with N being the number of fields given")
        .summary("Returns the values of several fields of a hash.")
        .args(&[key("key"), string("field").multiple()]),
    hash_command("hgetall", 2)
        .run(Keys(hash::hgetall, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .tips(&["nondeterministic_output_order"])
        .since("2.0.0")
        .complexity("O(N) with N being the size of the hash")
        .summary("Returns all fields of a hash with their values.")
        .args(&[key("key")]),
    hash_command("hkeys", 2)
        .run(Keys(hash::hkeys, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .tips(&["nondeterministic_output_order"])
        .since("2.0.0")
        .complexity("O(N) with N being the size of the hash")
        .summary("Returns all fields of a hash.")
        .args(&[key("key")]),
    hash_command("hvals", 2)
        .run(Keys(hash::hvals, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .tips(&["nondeterministic_output_order"])
        .since("2.0.0")
        .complexity("O(N) with N being the size of the hash")
        .summary("Returns all values of a hash.")
        .args(&[key("key")]),
    hash_command("hlen", 2)
        .run(Keys(hash::hlen, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[LOOK])
        .since("2.0.0")
        .complexity("O(1)")
        .summary("Returns the number of fields of a hash.")
        .args(&[key("key")]),
    hash_command("hstrlen", 3)
        .run(Keys(hash::hstrlen, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[LOOK])
        .since("3.2.0")
        .complexity("O(1)")
        .summary("Returns how long the value of a field is, in bytes.")
        .args(&[key("key"), string("field")]),
    hash_command("hexists", 3)
        .run(Keys(hash::hexists, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[LOOK])
        .since("2.0.0")
        .complexity("O(1)")
        .summary("Tells whether a hash has a field.")
        .args(&[key("key"), string("field")]),
    hash_command("hdel", -3)
        .run(Keys(hash::hdel, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[DELETE])
        .since("2.0.0")
        .history(&[("2.4.0", "More than one field.")])
        .complexity("O(N) with N being the number of fields given")
        .summary("Takes fields out of a hash, and deletes the key with the last of them.")
        .args(&[key("key"), string("field").multiple()]),
    hash_command("hincrby", 4)
        .run(Keys(hash::hincrby, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[MODIFY])
        .since("2.0.0")
        .complexity("O(1)")
        .summary("Adds to the integer in a field of a hash. A missing one counts as 0.")
        .args(&[key("key"), string("field"), integer("increment")]),
    hash_command("hincrbyfloat", 4)
        .run(Keys(hash::hincrbyfloat, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[MODIFY])
        .since("2.6.0")
        .complexity("O(1)")
        .summary("Adds to the number in a field of a hash. A missing one counts as 0.")
        .args(&[key("key"), string("field"), double("increment")]),
    hash_command("hrandfield", -2)
        .run(Keys(hash::hrandfield, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .tips(&["nondeterministic_output"])
        .since("6.2.0")
        .complexity("O(N) with N being the number of fields returned")
        .summary("Returns random fields of a hash.")
        .args(&[
            key("key"),
            block("options", &[integer("count"), token("withvalues", "WITHVALUES").optional()]).optional(),
        ]),
    hash_command("hscan", -3)
        .run(Keys(hash::hscan, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .tips(&["nondeterministic_output"])
        .since("2.8.0")
        .complexity(
            "O(1) for a call, O(N) from the first cursor to the last with N being the size of the hash",
        )
        .summary("Goes through the fields and values of a hash in steps.")
        .args(&[
            key("key"),
            integer("cursor"),
            pattern("pattern").token("MATCH").optional(),
            integer("count").token("COUNT").optional(),
        ]),
];
