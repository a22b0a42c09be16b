//! The string commands.

use super::arg::{block, double, integer, key, one_of, string, token, unix_time};
use super::flags::{Category, Flag::*, KeyFlag::*};
use super::keys::KeySpec;
use super::movable;
use super::spec::{command, CommandSpec, Group};
use super::Handler::Keys;
use super::Spread::{RemoteValues, SplitArray, SplitOk};
use crate::command::string;

const READ: KeySpec = KeySpec::at(1, &[Ro, Access]);
const MODIFY: KeySpec = KeySpec::at(1, &[Rw, Access, Update]);
const OVERWRITE: KeySpec = KeySpec::at(1, &[Ow, Update]);

const fn string_command(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::String, name, arity).acl(&[Category::String])
}

pub const COMMANDS: &[CommandSpec] = &[
    string_command("get", 2)
        .run(Keys(string::get, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[READ])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Returns the value of a key.")
        .args(&[key("key")]),
    string_command("set", -3)
        .run(Keys(string::set, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(1, &[Rw, Access, Update, VariableFlags])
            .notes("Reads the key too when `GET` is given.")])
        .find_keys(movable::set)
        .since("1.0.0")
        .history(&[
            ("2.6.12", "`EX`, `PX`, `NX`, `XX`."),
            ("6.0.0", "`KEEPTTL`."),
            ("6.2.0", "`GET`, `EXAT`, `PXAT`."),
            ("7.0.0", "`NX` together with `GET`."),
        ])
        .complexity("O(1)")
        .summary("Gives a key a string value, whatever it held before, and optionally a time to live.")
        .args(&[
            key("key"),
            string("value"),
            one_of("condition", &[token("nx", "NX"), token("xx", "XX")]).since("2.6.12").optional(),
            token("get", "GET").since("6.2.0").optional(),
            one_of(
                "expiration",
                &[
                    integer("seconds").token("EX").since("2.6.12"),
                    integer("milliseconds").token("PX").since("2.6.12"),
                    unix_time("unix-time-seconds").token("EXAT").since("6.2.0"),
                    unix_time("unix-time-milliseconds").token("PXAT").since("6.2.0"),
                    token("keepttl", "KEEPTTL").since("6.0.0"),
                ],
            )
            .optional(),
        ]),
    string_command("setnx", 3)
        .run(Keys(string::setnx, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::at(1, &[Ow, Insert])])
        .since("1.0.0")
        .deprecated("2.6.12", "`SET` with `NX`")
        .complexity("O(1)")
        .summary("Sets a key that does not exist yet.")
        .args(&[key("key"), string("value")]),
    string_command("setex", 4)
        .run(Keys(string::setex, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[OVERWRITE])
        .since("2.0.0")
        .deprecated("2.6.12", "`SET` with `EX`")
        .complexity("O(1)")
        .summary("Sets a key together with its time to live in seconds.")
        .args(&[key("key"), integer("seconds"), string("value")]),
    string_command("psetex", 4)
        .run(Keys(string::psetex, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[OVERWRITE])
        .since("2.6.0")
        .deprecated("2.6.12", "`SET` with `PX`")
        .complexity("O(1)")
        .summary("Sets a key together with its time to live in milliseconds.")
        .args(&[key("key"), integer("milliseconds"), string("value")]),
    string_command("getset", 3)
        .run(Keys(string::getset, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[MODIFY])
        .since("1.0.0")
        .deprecated("6.2.0", "`SET` with `GET`")
        .complexity("O(1)")
        .summary("Sets a key and returns what it held before.")
        .args(&[key("key"), string("value")]),
    string_command("getdel", 2)
        .run(Keys(string::getdel, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[KeySpec::at(1, &[Rw, Access, Delete])])
        .since("6.2.0")
        .complexity("O(1)")
        .summary("Returns the value of a key and deletes the key.")
        .args(&[key("key")]),
    string_command("getex", -2)
        .run(Keys(string::getex, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[KeySpec::at(1, &[Rw, Access, Update])
            .notes("A change of the time to live is a change of the key.")])
        .since("6.2.0")
        .complexity("O(1)")
        .summary("Returns the value of a key and changes or removes its time to live.")
        .args(&[
            key("key"),
            one_of(
                "expiration",
                &[
                    integer("seconds").token("EX"),
                    integer("milliseconds").token("PX"),
                    unix_time("unix-time-seconds").token("EXAT"),
                    unix_time("unix-time-milliseconds").token("PXAT"),
                    token("persist", "PERSIST"),
                ],
            )
            .optional(),
        ]),
    string_command("append", 3)
        .run(Keys(string::append, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::at(1, &[Rw, Insert])])
        .since("2.0.0")
        .complexity("O(1) amortised, and the length of what is added.")
        .summary("Adds bytes to the end of a string, which starts out empty.")
        .args(&[key("key"), string("value")]),
    string_command("strlen", 2)
        .run(Keys(string::strlen, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::at(1, &[Ro])])
        .since("2.2.0")
        .complexity("O(1)")
        .summary("Returns the length of a string in bytes.")
        .args(&[key("key")]),
    string_command("setrange", 4)
        .run(Keys(string::setrange, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(1, &[Rw, Update])])
        .since("2.2.0")
        .complexity("O(N), N bytes written.")
        .summary("Writes bytes into a string at an offset, padding it with zeros up to there.")
        .args(&[key("key"), integer("offset"), string("value")]),
    string_command("getrange", 4)
        .run(Keys(string::getrange, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .since("2.4.0")
        .complexity("O(N), N bytes returned.")
        .summary("Returns the bytes of a string between two offsets, both included.")
        .args(&[key("key"), integer("start"), integer("end")]),
    string_command("substr", 4)
        .run(Keys(string::substr, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .since("1.0.0")
        .deprecated("2.0.0", "`GETRANGE`")
        .complexity("O(N), N bytes returned.")
        .summary("Older name of GETRANGE.")
        .args(&[key("key"), integer("start"), integer("end")]),
    string_command("incr", 2)
        .run(Keys(string::incr, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[MODIFY])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Adds one to the integer at a key; a missing key counts as 0.")
        .args(&[key("key")]),
    string_command("decr", 2)
        .run(Keys(string::decr, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[MODIFY])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Subtracts one from the integer at a key; a missing key counts as 0.")
        .args(&[key("key")]),
    string_command("incrby", 3)
        .run(Keys(string::incrby, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[MODIFY])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Adds to the integer at a key; a missing key counts as 0.")
        .args(&[key("key"), integer("increment")]),
    string_command("decrby", 3)
        .run(Keys(string::decrby, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[MODIFY])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Subtracts from the integer at a key; a missing key counts as 0.")
        .args(&[key("key"), integer("decrement")]),
    string_command("incrbyfloat", 3)
        .run(Keys(string::incrbyfloat, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[MODIFY])
        .since("2.6.0")
        .complexity("O(1)")
        .summary("Adds to the floating point number at a key; a missing key counts as 0.")
        .args(&[key("key"), double("increment")]),
    string_command("mget", -2)
        .run(Keys(string::mget, SplitArray))
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::at(1, &[Ro, Access]).range(-1, 1, 0)])
        .tips(&["request_policy:multi_shard"])
        .since("1.0.0")
        .complexity("O(N), N keys.")
        .summary("Returns the values of several keys, all of the same moment.")
        .args(&[key("key").multiple()]),
    string_command("mset", -3)
        .run(Keys(string::mset, SplitOk { step: 2 }))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(1, &[Ow, Update]).range(-1, 2, 0)])
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .since("1.0.1")
        .complexity("O(N), N keys.")
        .summary("Sets several keys at once.")
        .args(&[block("data", &[key("key"), string("value")]).multiple()]),
    string_command("msetnx", -3)
        .run(Keys(string::msetnx, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(1, &[Ow, Insert]).range(-1, 2, 0)])
        .since("1.0.1")
        .complexity("O(N), N keys.")
        .summary("Sets several keys at once, or none when one of them exists.")
        .args(&[block("data", &[key("key"), string("value")]).multiple()]),
    string_command("lcs", -3)
        .run(Keys(string::lcs, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access]).range(1, 1, 0)])
        .since("7.0.0")
        .complexity("O(N*M), the lengths of the strings.")
        .summary("Finds the longest subsequence that two strings have in common.")
        .args(&[
            key("key1"),
            key("key2"),
            token("len", "LEN").optional(),
            token("idx", "IDX").optional(),
            integer("min-match-len").token("MINMATCHLEN").optional(),
            token("withmatchlen", "WITHMATCHLEN").optional(),
        ]),
];
