//! The commands on bits of strings.

use super::arg::{block, integer, key, key_of_spec, one_of, string, token, Arg};
use super::flags::{Category, Flag::*, KeyFlag::*};
use super::keys::KeySpec;
use super::movable;
use super::spec::{command, CommandSpec, Group};
use super::Handler::Keys;
use super::Spread::RemoteValues;
use crate::command::bitmap;

const READ: KeySpec = KeySpec::at(1, &[Ro, Access]);

const UNIT: Arg = one_of("unit", &[token("byte", "BYTE"), token("bit", "BIT")]).since("7.0.0").optional();
const GET: &[Arg] = &[string("encoding"), integer("offset")];

const fn bitmap_command(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Bitmap, name, arity).acl(&[Category::Bitmap])
}

pub const COMMANDS: &[CommandSpec] = &[
    bitmap_command("setbit", 4)
        .run(Keys(bitmap::setbit, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(1, &[Rw, Access, Update])])
        .since("2.2.0")
        .complexity("O(1)")
        .summary("Sets or clears one bit of a string, which grows as needed, and returns what the bit was.")
        .args(&[key("key"), integer("offset"), integer("value")]),
    bitmap_command("getbit", 3)
        .run(Keys(bitmap::getbit, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[READ])
        .since("2.2.0")
        .complexity("O(1)")
        .summary("Returns one bit of a string; beyond its end all bits are 0.")
        .args(&[key("key"), integer("offset")]),
    bitmap_command("bitcount", -2)
        .run(Keys(bitmap::bitcount, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .since("2.6.0")
        .history(&[("7.0.0", "`BYTE` and `BIT`.")])
        .complexity("O(N), N bytes looked at.")
        .summary("Counts the bits that are set in a string or in a range of it.")
        .args(&[key("key"), block("range", &[integer("start"), integer("end"), UNIT]).optional()]),
    bitmap_command("bitpos", -3)
        .run(Keys(bitmap::bitpos, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[READ])
        .since("2.8.7")
        .history(&[("7.0.0", "`BYTE` and `BIT`.")])
        .complexity("O(N), N bytes looked at.")
        .summary("Finds the first bit that is set, or clear, in a string or in a range of it.")
        .args(&[
            key("key"),
            integer("bit"),
            block("range", &[integer("start"), block("end-unit-block", &[integer("end"), UNIT]).optional()])
                .optional(),
        ]),
    bitmap_command("bitop", -4)
        .run(Keys(bitmap::bitop, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(2, &[Ow, Update]), KeySpec::at(3, &[Ro, Access]).range(-1, 1, 0)])
        .since("2.6.0")
        .complexity("O(N), N bytes of all sources together.")
        .summary("Combines strings bit by bit and stores the result, as long as the longest of them.")
        .args(&[
            one_of(
                "operation",
                &[token("and", "AND"), token("or", "OR"), token("xor", "XOR"), token("not", "NOT")],
            ),
            key("destkey"),
            key_of_spec("key", 1).multiple(),
        ]),
    bitmap_command("bitfield", -2)
        .run(Keys(bitmap::bitfield, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(1, &[Rw, Access, Update, VariableFlags])
            .notes("Only reads the key when every operation is a `GET`.")])
        .parse_keys(bitmap::bitfield_keys)
        .find_keys(movable::bitfield)
        .since("3.2.0")
        .complexity("O(1) for each operation.")
        .summary("Reads, sets and increments integers of any width anywhere in a string.")
        .args(&[
            key("key"),
            one_of(
                "operation",
                &[
                    block("get-block", GET).token("GET"),
                    block(
                        "write",
                        &[
                            one_of(
                                "overflow-block",
                                &[token("wrap", "WRAP"), token("sat", "SAT"), token("fail", "FAIL")],
                            )
                            .token("OVERFLOW")
                            .optional(),
                            one_of(
                                "write-operation",
                                &[
                                    block(
                                        "set-block",
                                        &[string("encoding"), integer("offset"), integer("value")],
                                    )
                                    .token("SET"),
                                    block(
                                        "incrby-block",
                                        &[string("encoding"), integer("offset"), integer("increment")],
                                    )
                                    .token("INCRBY"),
                                ],
                            ),
                        ],
                    ),
                ],
            )
            .multiple()
            .optional(),
        ]),
    bitmap_command("bitfield_ro", -2)
        .run(Keys(bitmap::bitfield_ro, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[READ])
        .since("6.0.0")
        .complexity("O(1) for each operation.")
        .summary("Reads integers of any width anywhere in a string.")
        .args(&[key("key"), block("get-block", GET).token("GET").multiple_token().optional()]),
];
