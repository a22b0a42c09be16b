//! The sorted set commands.

use super::arg::{block, double, integer, key, key_of_spec, one_of, string, token};
use super::flags::{Category, Flag::*, KeyFlag::*};
use super::keys::KeySpec;

use super::spec::{command, CommandSpec, Group};
use super::Handler::Keys;
use super::Spread::Lend;
use crate::command::sorted_set;

const fn sorted_set_command(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::SortedSet, name, arity).acl(&[Category::SortedSet])
}

pub const COMMANDS: &[CommandSpec] = &[
    sorted_set_command("zadd", -4)
        .run(Keys(sorted_set::zadd, Lend))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::at(1, &[Rw, Update])])
        .since("1.2.0")
        .history(&[
            ("2.4.0", "Several members."),
            ("3.0.2", "`XX`, `NX`, `CH` and `INCR`."),
            ("6.2.0", "`GT` and `LT`."),
        ])
        .complexity("O(log(N)) for each member, N elements.")
        .summary("Adds members with scores to a sorted set, or changes the scores of those that are there.")
        .args(&[
            key("key"),
            one_of("condition", &[token("nx", "NX"), token("xx", "XX")]).since("3.0.2").optional(),
            one_of("comparison", &[token("gt", "GT"), token("lt", "LT")]).since("6.2.0").optional(),
            token("change", "CH").since("3.0.2").optional(),
            token("increment", "INCR").since("3.0.2").optional(),
            block("data", &[double("score"), string("member")]).multiple(),
        ]),
    sorted_set_command("zincrby", 4)
        .run(Keys(sorted_set::zincrby, Lend))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::at(1, &[Rw, Access, Update])])
        .since("1.2.0")
        .complexity("O(log(N)), N elements.")
        .summary("Adds to the score of a member; one that is missing starts at 0.")
        .args(&[key("key"), integer("increment"), string("member")]),
    sorted_set_command("zscore", 3)
        .run(Keys(sorted_set::zscore, Lend))
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("1.2.0")
        .complexity("O(1)")
        .summary("Returns the score of a member.")
        .args(&[key("key"), string("member")]),
    sorted_set_command("zrange", -4)
        .run(Keys(sorted_set::zrange, Lend))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("1.2.0")
        .history(&[("6.2.0", "`REV`, `BYSCORE`, `BYLEX` and `LIMIT`.")])
        .complexity("O(log(N)+M), N elements, M returned.")
        .summary("Returns the elements in a range of ranks, of scores, or of members.")
        .args(&[
            key("key"),
            string("start"),
            string("stop"),
            one_of("sortby", &[token("byscore", "BYSCORE"), token("bylex", "BYLEX")])
                .since("6.2.0")
                .optional(),
            token("rev", "REV").since("6.2.0").optional(),
            block("limit", &[integer("offset"), integer("count")]).token("LIMIT").since("6.2.0").optional(),
            token("withscores", "WITHSCORES").optional(),
        ]),
    sorted_set_command("zrangestore", -5)
        .run(Keys(sorted_set::zrangestore, Lend))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(1, &[Ow, Update]), KeySpec::at(2, &[Ro, Access])])
        .since("6.2.0")
        .complexity("O(log(N)+M), N elements, M stored.")
        .summary("Stores the elements in a range of ranks, of scores, or of members under another key.")
        .args(&[
            key("dst"),
            key_of_spec("src", 1),
            string("min"),
            string("max"),
            one_of("sortby", &[token("byscore", "BYSCORE"), token("bylex", "BYLEX")]).optional(),
            token("rev", "REV").optional(),
            block("limit", &[integer("offset"), integer("count")]).token("LIMIT").optional(),
        ]),
    sorted_set_command("zrevrange", -4)
        .run(Keys(sorted_set::zrevrange, Lend))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("1.2.0")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` argument")
        .complexity("O(log(N)+M), N elements, M returned.")
        .summary("Returns the elements in a range of ranks, highest score first.")
        .args(&[key("key"), integer("start"), integer("stop"), token("withscores", "WITHSCORES").optional()]),
    sorted_set_command("zrangebyscore", -4)
        .run(Keys(sorted_set::zrangebyscore, Lend))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("1.0.5")
        .history(&[("2.0.0", "`WITHSCORES`.")])
        .deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument")
        .complexity("O(log(N)+M), N elements, M returned.")
        .summary("Returns the elements with a score in a range.")
        .args(&[
            key("key"),
            double("min"),
            double("max"),
            token("withscores", "WITHSCORES").since("2.0.0").optional(),
            block("limit", &[integer("offset"), integer("count")]).token("LIMIT").optional(),
        ]),
    sorted_set_command("zrevrangebyscore", -4)
        .run(Keys(sorted_set::zrevrangebyscore, Lend))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("2.2.0")
        .history(&[("2.1.6", "Ends may be excluded.")])
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments")
        .complexity("O(log(N)+M), N elements, M returned.")
        .summary("Returns the elements with a score in a range, highest score first.")
        .args(&[
            key("key"),
            double("max"),
            double("min"),
            token("withscores", "WITHSCORES").optional(),
            block("limit", &[integer("offset"), integer("count")]).token("LIMIT").optional(),
        ]),
    sorted_set_command("zrangebylex", -4)
        .run(Keys(sorted_set::zrangebylex, Lend))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("2.8.9")
        .deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument")
        .complexity("O(log(N)+M), N elements, M returned.")
        .summary("Returns the members in a lexicographic range, where all scores are equal.")
        .args(&[
            key("key"),
            string("min"),
            string("max"),
            block("limit", &[integer("offset"), integer("count")]).token("LIMIT").optional(),
        ]),
    sorted_set_command("zrevrangebylex", -4)
        .run(Keys(sorted_set::zrevrangebylex, Lend))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("2.8.9")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments")
        .complexity("O(log(N)+M), N elements, M returned.")
        .summary("Returns the members in a lexicographic range, last first.")
        .args(&[
            key("key"),
            string("max"),
            string("min"),
            block("limit", &[integer("offset"), integer("count")]).token("LIMIT").optional(),
        ]),
    sorted_set_command("zpopmin", -2)
        .run(Keys(sorted_set::zpopmin, Lend))
        .flags(&[Write, Fast])
        .keys(&[KeySpec::at(1, &[Rw, Access, Delete])])
        .since("5.0.0")
        .complexity("O(M*log(N)), N elements, M of them taken.")
        .summary("Takes the elements with the lowest scores.")
        .args(&[key("key"), integer("count").optional()]),
    sorted_set_command("zpopmax", -2)
        .run(Keys(sorted_set::zpopmax, Lend))
        .flags(&[Write, Fast])
        .keys(&[KeySpec::at(1, &[Rw, Access, Delete])])
        .since("5.0.0")
        .complexity("O(M*log(N)), N elements, M of them taken.")
        .summary("Takes the elements with the highest scores.")
        .args(&[key("key"), integer("count").optional()]),
    sorted_set_command("zmpop", -4)
        .run(Keys(sorted_set::zmpop, Lend))
        .flags(&[Write])
        .keys(&[KeySpec::at(1, &[Rw, Access, Delete]).key_num(0, 1, 1)])
        .since("7.0.0")
        .complexity("O(K+M*log(N)), K keys, M elements taken.")
        .summary("Takes elements from an end of the first of several sorted sets that exists.")
        .args(&[
            integer("numkeys"),
            key("key").multiple(),
            one_of("where", &[token("min", "MIN"), token("max", "MAX")]),
            integer("count").token("COUNT").optional(),
        ]),
    sorted_set_command("bzpopmin", -3)
        .run(Keys(sorted_set::bzpopmin, Lend))
        .flags(&[Write, Fast, Blocking])
        .keys(&[KeySpec::at(1, &[Rw, Access, Delete]).range(-2, 1, 0)])
        .since("5.0.0")
        .history(&[("6.0.0", "Timeouts with fractions.")])
        .complexity("O(log(N)), N elements.")
        .summary("Takes the lowest element of the first of several sorted sets, or waits for one.")
        .args(&[key("key").multiple(), double("timeout")]),
    sorted_set_command("bzpopmax", -3)
        .run(Keys(sorted_set::bzpopmax, Lend))
        .flags(&[Write, Fast, Blocking])
        .keys(&[KeySpec::at(1, &[Rw, Access, Delete]).range(-2, 1, 0)])
        .since("5.0.0")
        .history(&[("6.0.0", "Timeouts with fractions.")])
        .complexity("O(log(N)), N elements.")
        .summary("Takes the highest element of the first of several sorted sets, or waits for one.")
        .args(&[key("key").multiple(), double("timeout")]),
    sorted_set_command("bzmpop", -5)
        .run(Keys(sorted_set::bzmpop, Lend))
        .flags(&[Write, Blocking])
        .keys(&[KeySpec::at(2, &[Rw, Access, Delete]).key_num(0, 1, 1)])
        .since("7.0.0")
        .complexity("O(K+M*log(N)), K keys, M elements taken.")
        .summary("Takes elements from the first of several sorted sets with any, or waits for one.")
        .args(&[
            double("timeout"),
            integer("numkeys"),
            key("key").multiple(),
            one_of("where", &[token("min", "MIN"), token("max", "MAX")]),
            integer("count").token("COUNT").optional(),
        ]),
];
