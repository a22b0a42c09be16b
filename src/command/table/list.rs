//! The list commands.

use super::arg::{double, integer, key, key_of_spec, one_of, string, token, Arg};
use super::flags::{Category, Flag::*, KeyFlag::*};
use super::keys::KeySpec;
use super::spec::{command, CommandSpec, Group};
use super::Handler::Keys;
use super::Spread::{Excerpt, RemoteValues};
use crate::command::{excerpt, list};

const READ: KeySpec = KeySpec::at(1, &[Ro, Access]);
const ADD: KeySpec = KeySpec::at(1, &[Rw, Insert]);
const REMOVE: KeySpec = KeySpec::at(1, &[Rw, Delete]);
const TAKE: KeySpec = KeySpec::at(1, &[Rw, Access, Delete]);
const TAKE_FROM_FIRST: KeySpec = TAKE.range(-2, 1, 0);
const DESTINATION: KeySpec = KeySpec::at(2, &[Rw, Insert]);

const WHERE: &[Arg] = &[token("left", "LEFT"), token("right", "RIGHT")];
const PER_ELEMENT: &str = "O(N), N elements added.";
const PER_RETURNED: &str = "O(N), N elements returned.";
const PER_KEY: &str = "O(N), N keys.";
const PER_KEY_AND_RETURNED: &str = "O(N+M), N keys and M elements returned.";
const TIMEOUT_IS_DOUBLE: &[(&str, &str)] = &[("6.0.0", "Fractions of a second as the timeout.")];
const MANY: (&str, &str) = ("4.0.0", "More than one element.");

const fn list_command(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::List, name, arity).acl(&[Category::List])
}

pub const COMMANDS: &[CommandSpec] = &[
    list_command("lpush", -3)
        .run(Keys(list::lpush, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[ADD])
        .since("1.0.0")
        .history(&[("2.4.0", "More than one element.")])
        .complexity(PER_ELEMENT)
        .summary("Adds elements at the head of a list, which is created if need be.")
        .args(&[key("key"), string("element").multiple()]),
    list_command("rpush", -3)
        .run(Keys(list::rpush, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[ADD])
        .since("1.0.0")
        .history(&[("2.4.0", "More than one element.")])
        .complexity(PER_ELEMENT)
        .summary("Adds elements at the tail of a list, which is created if need be.")
        .args(&[key("key"), string("element").multiple()]),
    list_command("lpushx", -3)
        .run(Keys(list::lpushx, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[ADD])
        .since("2.2.0")
        .history(&[MANY])
        .complexity(PER_ELEMENT)
        .summary("Adds elements at the head of a list that exists.")
        .args(&[key("key"), string("element").multiple()]),
    list_command("rpushx", -3)
        .run(Keys(list::rpushx, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[ADD])
        .since("2.2.0")
        .history(&[MANY])
        .complexity(PER_ELEMENT)
        .summary("Adds elements at the tail of a list that exists.")
        .args(&[key("key"), string("element").multiple()]),
    list_command("lpop", -2)
        .run(Keys(list::lpop, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[TAKE])
        .since("1.0.0")
        .history(&[("6.2.0", "`count`.")])
        .complexity(PER_RETURNED)
        .summary("Takes elements away at the head of a list and returns them.")
        .args(&[key("key"), integer("count").since("6.2.0").optional()]),
    list_command("rpop", -2)
        .run(Keys(list::rpop, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[TAKE])
        .since("1.0.0")
        .history(&[("6.2.0", "`count`.")])
        .complexity(PER_RETURNED)
        .summary("Takes elements away at the tail of a list and returns them.")
        .args(&[key("key"), integer("count").since("6.2.0").optional()]),
    list_command("llen", 2)
        .run(Keys(list::llen, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::at(1, &[Ro])])
        .since("1.0.0")
        .complexity("O(1)")
        .summary("Returns the length of a list.")
        .args(&[key("key")]),
    list_command("lindex", 3)
        .run(Keys(list::lindex, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .since("1.0.0")
        .complexity("O(log N), N elements in the list.")
        .summary("Returns the element of a list at an index.")
        .args(&[key("key"), integer("index")]),
    list_command("lrange", 4)
        .run(Keys(list::lrange, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .since("1.0.0")
        .complexity("O(log N + M), N elements in the list and M in the range.")
        .summary("Returns a range of elements of a list.")
        .args(&[key("key"), integer("start"), integer("stop")]),
    list_command("lset", 4)
        .run(Keys(list::lset, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(1, &[Rw, Update])])
        .since("1.0.0")
        .complexity("O(log N), N elements in the list.")
        .summary("Replaces the element of a list at an index.")
        .args(&[key("key"), integer("index"), string("element")]),
    list_command("linsert", 5)
        .run(Keys(list::linsert, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[ADD])
        .since("2.2.0")
        .complexity("O(N), N elements in front of the pivot.")
        .summary("Adds an element to a list before or after another one.")
        .args(&[key("key"), one_of("where", &[token("before", "BEFORE"), token("after", "AFTER")]), string("pivot"), string("element")]),
    list_command("lrem", 4)
        .run(Keys(list::lrem, RemoteValues))
        .flags(&[Write])
        .keys(&[REMOVE])
        .since("1.0.0")
        .complexity("O(N), N elements in the list.")
        .summary("Removes elements equal to a given one from a list.")
        .args(&[key("key"), integer("count"), string("element")]),
    list_command("ltrim", 4)
        .run(Keys(list::ltrim, RemoteValues))
        .flags(&[Write])
        .keys(&[REMOVE])
        .since("1.0.0")
        .complexity("O(log N), N elements in the list; what is cut off is freed later.")
        .summary("Cuts a list down to a range of its elements.")
        .args(&[key("key"), integer("start"), integer("stop")]),
    list_command("lpos", -3)
        .run(Keys(list::lpos, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .since("6.0.6")
        .complexity("O(N), N elements looked at.")
        .summary("Returns the indexes of elements equal to a given one.")
        .args(&[key("key"), string("element"), integer("rank").token("RANK").optional(), integer("num-matches").token("COUNT").optional(), integer("len").token("MAXLEN").optional()]),
    list_command("lmove", 5)
        .run(Keys(list::lmove, Excerpt(excerpt::list_ends)))
        .flags(&[Write, DenyOom])
        .keys(&[TAKE, DESTINATION])
        .since("6.2.0")
        .complexity("O(1)")
        .summary("Takes an element away at one end of a list, adds it at one end of another list, and returns it.")
        .args(&[key("source"), key_of_spec("destination", 1), one_of("wherefrom", WHERE), one_of("whereto", WHERE)]),
    list_command("rpoplpush", 3)
        .run(Keys(list::rpoplpush, Excerpt(excerpt::list_ends)))
        .flags(&[Write, DenyOom])
        .keys(&[TAKE, DESTINATION])
        .since("1.2.0")
        .deprecated("6.2.0", "`LMOVE` with `RIGHT` and `LEFT`")
        .complexity("O(1)")
        .summary("Takes the last element of a list away, adds it at the head of another list, and returns it.")
        .args(&[key("source"), key_of_spec("destination", 1)]),
    list_command("lmpop", -4)
        .run(Keys(list::lmpop, Excerpt(excerpt::lmpop)))
        .flags(&[Write])
        .keys(&[TAKE.key_num(0, 1, 1)])
        .since("7.0.0")
        .complexity(PER_KEY_AND_RETURNED)
        .summary("Takes elements away from the first of several lists that exists, and returns them.")
        .args(&[integer("numkeys"), key("key").multiple(), one_of("where", WHERE), integer("count").token("COUNT").optional()]),
    list_command("blpop", -3)
        .run(Keys(list::blpop, Excerpt(excerpt::list_ends)))
        .flags(&[Write, Blocking])
        .keys(&[TAKE_FROM_FIRST])
        .since("2.0.0")
        .history(TIMEOUT_IS_DOUBLE)
        .complexity(PER_KEY)
        .summary("Takes away and returns the first element of the first of several lists that exists; waits for one if need be.")
        .args(&[key("key").multiple(), double("timeout")]),
    list_command("brpop", -3)
        .run(Keys(list::brpop, Excerpt(excerpt::list_ends)))
        .flags(&[Write, Blocking])
        .keys(&[TAKE_FROM_FIRST])
        .since("2.0.0")
        .history(TIMEOUT_IS_DOUBLE)
        .complexity(PER_KEY)
        .summary("Takes away and returns the last element of the first of several lists that exists; waits for one if need be.")
        .args(&[key("key").multiple(), double("timeout")]),
    list_command("blmove", 6)
        .run(Keys(list::blmove, Excerpt(excerpt::list_ends)))
        .flags(&[Write, DenyOom, Blocking])
        .keys(&[TAKE, DESTINATION])
        .since("6.2.0")
        .complexity("O(1)")
        .summary("Moves an element from one list to another and returns it; waits for one if need be.")
        .args(&[key("source"), key_of_spec("destination", 1), one_of("wherefrom", WHERE), one_of("whereto", WHERE), double("timeout")]),
    list_command("brpoplpush", 4)
        .run(Keys(list::brpoplpush, Excerpt(excerpt::list_ends)))
        .flags(&[Write, DenyOom, Blocking])
        .keys(&[TAKE, DESTINATION])
        .since("2.2.0")
        .deprecated("6.2.0", "`BLMOVE` with `RIGHT` and `LEFT`")
        .history(TIMEOUT_IS_DOUBLE)
        .complexity("O(1)")
        .summary("Moves the last element of a list to the head of another and returns it; waits for one if need be.")
        .args(&[key("source"), key_of_spec("destination", 1), double("timeout")]),
    list_command("blmpop", -5)
        .run(Keys(list::blmpop, Excerpt(excerpt::blmpop)))
        .flags(&[Write, Blocking])
        .keys(&[KeySpec::at(2, &[Rw, Access, Delete]).key_num(0, 1, 1)])
        .since("7.0.0")
        .complexity(PER_KEY_AND_RETURNED)
        .summary("Takes elements away from the first of several lists that exists; waits for one if need be.")
        .args(&[double("timeout"), integer("numkeys"), key("key").multiple(), one_of("where", WHERE), integer("count").token("COUNT").optional()]),
];
