//! Commands for keys of any type.

use super::arg::{
    block, integer, key, key_of_spec, one_of, pattern, pattern_of_spec, string, token, unix_time, Arg,
};
use super::flags::{Category, Flag::*, KeyFlag::*};
use super::keys::KeySpec;
use super::movable;
use super::role::Role;
use super::spec::{command, container, CommandSpec, Group};
use super::Gather::{Concat, Cursor, RandomShard};
use super::Handler::{EveryShard, Keys};
use super::Spread::{Reach, RemoteValues, SplitSum};
use crate::command::{dump, expire, keys, object, scan, sort};

const READ: KeySpec = KeySpec::at(1, &[Ro, Access]);
const LOOK: KeySpec = KeySpec::at(1, &[Ro]);
const LOOK_SUBCOMMAND: KeySpec = KeySpec::at(2, &[Ro]);
const LOOK_ALL: KeySpec = KeySpec::at(1, &[Ro]).range(-1, 1, 0);
const REMOVE_ALL: KeySpec = KeySpec::at(1, &[Rm, Delete]).range(-1, 1, 0);
const TAKE_AWAY: KeySpec = KeySpec::at(3, &[Rw, Access, Delete]);
const TAKEN_AWAY_BY_MIGRATE: KeySpec =
    KeySpec::after("KEYS", -2, &[Rw, Access, Delete, Incomplete]).range(-1, 1, 0);
const CHANGE_TTL: KeySpec = KeySpec::at(1, &[Rw, Update]);

const LOOKED_UP_BY_SORT: KeySpec =
    KeySpec::unknown(&[Ro, Access]).notes("`BY` and `GET` make names of keys out of the elements.");
const STORED_BY_SORT: KeySpec =
    KeySpec::unknown(&[Ow, Update]).notes("`STORE` may stand anywhere among the options.");
const SORT_BY: Arg = pattern_of_spec("by-pattern", 1).display("pattern").token("BY").optional();
const SORT_LIMIT: Arg = block("limit", &[integer("offset"), integer("count")]).token("LIMIT").optional();
const SORT_GET: Arg =
    pattern_of_spec("get-pattern", 1).display("pattern").token("GET").optional().multiple_token();
const SORT_ORDER: Arg = one_of("order", &[token("asc", "ASC"), token("desc", "DESC")]).optional();
const SORT_COMPLEXITY: &str =
    "O(N+M*log(M)), N elements of which M are returned; O(N) when nothing is compared.";

const fn generic(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Generic, name, arity).acl(&[Category::Keyspace])
}

pub const COMMANDS: &[CommandSpec] = &[
    generic("del", -2)
        .run(Keys(keys::del, SplitSum { step: 1 }))
        .flags(&[Write])
        .keys(&[REMOVE_ALL])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .since("1.0.0")
        .complexity("O(N), N keys, and the number of elements of those that are not strings.")
        .summary("Deletes keys.")
        .args(&[key("key").multiple()]),
    generic("unlink", -2)
        .run(Keys(keys::unlink, SplitSum { step: 1 }))
        .flags(&[Write, Fast])
        .keys(&[REMOVE_ALL])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .since("4.0.0")
        .complexity("O(N), N keys; their memory is freed later.")
        .summary("Deletes keys and frees their memory in the background.")
        .args(&[key("key").multiple()]),
    generic("exists", -2)
        .run(Keys(keys::exists, SplitSum { step: 1 }))
        .flags(&[ReadOnly, Fast])
        .keys(&[LOOK_ALL])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .since("1.0.0")
        .history(&[("3.0.3", "More than one key.")])
        .complexity("O(N), N keys.")
        .summary("Counts how many of the given keys exist.")
        .args(&[key("key").multiple()]),
    generic("touch", -2)
        .run(Keys(keys::touch, SplitSum { step: 1 }))
        .flags(&[ReadOnly, Fast])
        .keys(&[LOOK_ALL])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .since("3.2.1")
        .complexity("O(N), N keys.")
        .summary("Marks keys as just used and counts those that exist.")
        .args(&[key("key").multiple()]),
    generic("type", 2)
        .run(Keys(keys::type_of, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[LOOK])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Returns the type of the value at a key.")
        .args(&[key("key")]),
    generic("rename", 3)
        .run(Keys(keys::rename, RemoteValues))
        .flags(&[Write])
        .keys(&[KeySpec::at(1, &[Rw, Access, Delete]), KeySpec::at(2, &[Ow, Update])])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Gives a key another name, in place of any key of that name.")
        .args(&[key("key"), key_of_spec("newkey", 1)]),
    generic("renamenx", 3)
        .run(Keys(keys::renamenx, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[KeySpec::at(1, &[Rw, Access, Delete]), KeySpec::at(2, &[Ow, Insert])])
        .since("1.0.0")
        .history(&[("3.2.0", "Both names may be the same.")])
        .complexity("O(1)")
        .summary("Gives a key another name that is still free.")
        .args(&[key("key"), key_of_spec("newkey", 1)]),
    generic("copy", -3)
        .role(Role::Copy)
        .run(Keys(keys::copy, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[READ, KeySpec::at(2, &[Ow, Update])])
        .since("6.2.0")
        .complexity("O(N), N elements of the value; a string counts as one.")
        .summary("Copies a value to another key, here or in another database.")
        .args(&[
            key("source"),
            key_of_spec("destination", 1),
            integer("destination-db").token("DB").optional(),
            token("replace", "REPLACE").optional(),
        ]),
    generic("move", 3)
        .run(Keys(keys::move_to, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[KeySpec::at(1, &[Rw, Access, Update])])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Takes a key out of this database and puts it into another.")
        .args(&[key("key"), integer("db")]),
    generic("dump", 2)
        .run(Keys(dump::dump, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .tips(&["nondeterministic_output"])
        .since("2.6.0")
        .complexity("O(N), N bytes of the value.")
        .summary("Returns a value as bytes that RESTORE takes.")
        .args(&[key("key")]),
    generic("restore", -4)
        .role(Role::Restore)
        .acl(&[Category::Dangerous])
        .run(Keys(dump::restore, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(1, &[Ow, Update])])
        .since("2.6.0")
        .history(&[("3.0.0", "`REPLACE`."), ("5.0.0", "`ABSTTL`."), ("5.0.0", "`IDLETIME`, `FREQ`.")])
        .complexity("O(N), N bytes of the payload; O(N*log(N)) for the N members of a sorted set.")
        .summary("Creates a key from bytes that DUMP returned.")
        .args(&[
            key("key"),
            integer("ttl"),
            string("serialized-value"),
            token("replace", "REPLACE").since("3.0.0").optional(),
            token("absttl", "ABSTTL").since("5.0.0").optional(),
            integer("seconds").token("IDLETIME").since("5.0.0").optional(),
            integer("frequency").token("FREQ").since("5.0.0").optional(),
        ]),
    generic("migrate", -6)
        .role(Role::Migrate)
        .acl(&[Category::Dangerous])
        .flags(&[Write])
        .keys(&[TAKE_AWAY, TAKEN_AWAY_BY_MIGRATE])
        .parse_keys(crate::command::migrate::request_keys)
        .find_keys(movable::migrate)
        .tips(&["nondeterministic_output"])
        .since("2.6.0")
        .history(&[
            ("3.0.0", "`COPY`, `REPLACE`."),
            ("3.0.6", "`KEYS`."),
            ("4.0.7", "`AUTH`."),
            ("6.0.0", "`AUTH2`."),
        ])
        .complexity("That of DUMP and DEL here and of RESTORE there, and O(N), N bytes that are sent.")
        .summary("Moves keys to another server; each is deleted once the other server has it.")
        .args(&[
            string("host"),
            integer("port"),
            one_of("key-selector", &[key("key"), token("empty-string", "")]),
            integer("destination-db"),
            integer("timeout"),
            token("copy", "COPY").since("3.0.0").optional(),
            token("replace", "REPLACE").since("3.0.0").optional(),
            one_of(
                "authentication",
                &[
                    string("auth").token("AUTH").display("password").since("4.0.7"),
                    block("auth2", &[string("username"), string("password")]).token("AUTH2").since("6.0.0"),
                ],
            )
            .optional(),
            key_of_spec("keys", 1).token("KEYS").display("key").since("3.0.6").optional().multiple(),
        ]),
    generic("keys", 2)
        .acl(&[Category::Dangerous])
        .run(EveryShard(keys::keys, Concat))
        .flags(&[ReadOnly])
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .since("1.0.0")
        .complexity("O(N), N keys in the database.")
        .summary("Lists every key that matches a pattern.")
        .args(&[pattern("pattern")]),
    generic("scan", -2)
        .run(EveryShard(scan::scan, Cursor))
        .flags(&[ReadOnly, TouchesArbitraryKeys])
        .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"])
        .since("2.8.0")
        .history(&[("6.0.0", "`TYPE`.")])
        .complexity("O(1) for a call, O(N) for a whole walk over N keys.")
        .summary("Walks through the keys of the database, some at each call.")
        .args(&[
            integer("cursor"),
            pattern("pattern").token("MATCH").optional(),
            integer("count").token("COUNT").optional(),
            string("type").token("TYPE").since("6.0.0").optional(),
        ]),
    generic("randomkey", 1)
        .run(EveryShard(keys::randomkey, RandomShard))
        .flags(&[ReadOnly, TouchesArbitraryKeys])
        .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Returns the name of a key picked at random."),
    generic("expire", -3)
        .run(Keys(expire::expire, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[CHANGE_TTL])
        .since("1.0.0")
        .history(&[("7.0.0", "`NX`, `XX`, `GT`, `LT`.")])
        .complexity("O(1)")
        .summary("Lets a key live for so many seconds from now.")
        .args(&[
            key("key"),
            integer("seconds"),
            one_of(
                "condition",
                &[token("nx", "NX"), token("xx", "XX"), token("gt", "GT"), token("lt", "LT")],
            )
            .since("7.0.0")
            .optional(),
        ]),
    generic("pexpire", -3)
        .run(Keys(expire::pexpire, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[CHANGE_TTL])
        .since("2.6.0")
        .history(&[("7.0.0", "`NX`, `XX`, `GT`, `LT`.")])
        .complexity("O(1)")
        .summary("Lets a key live for so many milliseconds from now.")
        .args(&[
            key("key"),
            integer("milliseconds"),
            one_of(
                "condition",
                &[token("nx", "NX"), token("xx", "XX"), token("gt", "GT"), token("lt", "LT")],
            )
            .since("7.0.0")
            .optional(),
        ]),
    generic("expireat", -3)
        .run(Keys(expire::expireat, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[CHANGE_TTL])
        .since("1.2.0")
        .history(&[("7.0.0", "`NX`, `XX`, `GT`, `LT`.")])
        .complexity("O(1)")
        .summary("Lets a key live until a Unix time in seconds.")
        .args(&[
            key("key"),
            unix_time("unix-time-seconds"),
            one_of(
                "condition",
                &[token("nx", "NX"), token("xx", "XX"), token("gt", "GT"), token("lt", "LT")],
            )
            .since("7.0.0")
            .optional(),
        ]),
    generic("pexpireat", -3)
        .run(Keys(expire::pexpireat, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[CHANGE_TTL])
        .since("2.6.0")
        .history(&[("7.0.0", "`NX`, `XX`, `GT`, `LT`.")])
        .complexity("O(1)")
        .summary("Lets a key live until a Unix time in milliseconds.")
        .args(&[
            key("key"),
            unix_time("unix-time-milliseconds"),
            one_of(
                "condition",
                &[token("nx", "NX"), token("xx", "XX"), token("gt", "GT"), token("lt", "LT")],
            )
            .since("7.0.0")
            .optional(),
        ]),
    generic("ttl", 2)
        .run(Keys(expire::ttl, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[READ])
        .tips(&["nondeterministic_output"])
        .since("1.0.0")
        .history(&[("2.8.0", "-2 for a missing key.")])
        .complexity("O(1)")
        .summary("Returns how many seconds a key has left.")
        .args(&[key("key")]),
    generic("pttl", 2)
        .run(Keys(expire::pttl, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[READ])
        .tips(&["nondeterministic_output"])
        .since("2.6.0")
        .history(&[("2.8.0", "-2 for a missing key.")])
        .complexity("O(1)")
        .summary("Returns how many milliseconds a key has left.")
        .args(&[key("key")]),
    generic("expiretime", 2)
        .run(Keys(expire::expiretime, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[READ])
        .since("7.0.0")
        .complexity("O(1)")
        .summary("Returns the Unix time in seconds at which a key expires.")
        .args(&[key("key")]),
    generic("pexpiretime", 2)
        .run(Keys(expire::pexpiretime, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[READ])
        .since("7.0.0")
        .complexity("O(1)")
        .summary("Returns the Unix time in milliseconds at which a key expires.")
        .args(&[key("key")]),
    generic("persist", 2)
        .run(Keys(expire::persist, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[CHANGE_TTL])
        .since("2.2.0")
        .complexity("O(1)")
        .summary("Removes a key's time to live.")
        .args(&[key("key")]),
    container(Group::Generic, "object").since("2.2.3").summary("Looks at how values are stored."),
    generic("object|encoding", 3)
        .run(Keys(object::encoding, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[LOOK_SUBCOMMAND])
        .tips(&["nondeterministic_output"])
        .since("2.2.3")
        .complexity("O(1)")
        .summary("Returns the name of a value's internal representation.")
        .args(&[key("key")]),
    generic("object|freq", 3)
        .run(Keys(object::freq, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[LOOK_SUBCOMMAND])
        .tips(&["nondeterministic_output"])
        .since("4.0.0")
        .complexity("O(1)")
        .summary("Returns a value's access frequency counter, kept under an LFU policy.")
        .args(&[key("key")]),
    generic("object|idletime", 3)
        .run(Keys(object::idletime, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[LOOK_SUBCOMMAND])
        .tips(&["nondeterministic_output"])
        .since("2.2.3")
        .complexity("O(1)")
        .summary("Returns the seconds since a value was last used.")
        .args(&[key("key")]),
    generic("object|refcount", 3)
        .run(Keys(object::refcount, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[LOOK_SUBCOMMAND])
        .tips(&["nondeterministic_output"])
        .since("2.2.3")
        .complexity("O(1)")
        .summary("Returns how many references to a value there are.")
        .args(&[key("key")]),
    generic("object|help", 2)
        .run(Keys(object::help, RemoteValues))
        .flags(&[Loading, Stale])
        .since("6.2.0")
        .complexity("O(1)")
        .summary("Explains the subcommands."),
    command(Group::Generic, "sort", -2)
        .acl(&[Category::Set, Category::SortedSet, Category::List, Category::Dangerous])
        .run(Keys(sort::sort, Reach(&sort::REACHING)))
        .flags(&[Write, DenyOom])
        .keys(&[READ, LOOKED_UP_BY_SORT, STORED_BY_SORT])
        .parse_keys(sort::sort_keys)
        .find_keys(movable::sort)
        .since("1.0.0")
        .complexity(SORT_COMPLEXITY)
        .summary("Sorts the elements of a list, a set or a sorted set, and returns or stores the result.")
        .args(&[
            key("key"),
            SORT_BY,
            SORT_LIMIT,
            SORT_GET,
            SORT_ORDER,
            token("sorting", "ALPHA").optional(),
            key_of_spec("destination", 2).token("STORE").optional(),
        ]),
    command(Group::Generic, "sort_ro", -2)
        .acl(&[Category::Set, Category::SortedSet, Category::List, Category::Dangerous])
        .run(Keys(sort::sort_ro, Reach(&sort::REACHING_RO)))
        .flags(&[ReadOnly])
        .keys(&[READ, LOOKED_UP_BY_SORT])
        .parse_keys(sort::sort_ro_keys)
        .find_keys(movable::sort_ro)
        .since("7.0.0")
        .complexity(SORT_COMPLEXITY)
        .summary("Sorts the elements of a list, a set or a sorted set, and returns the result.")
        .args(&[key("key"), SORT_BY, SORT_LIMIT, SORT_GET, SORT_ORDER, token("sorting", "ALPHA").optional()]),
];
