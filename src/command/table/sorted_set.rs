//! The sorted set commands.

use super::arg::{block, double, integer, key, key_of_spec, one_of, pattern, string, token};
use super::flags::{Category, Flag::*, KeyFlag::*};
use super::keys::KeySpec;

use super::spec::{command, CommandSpec, Group};
use super::Handler::Keys;
use super::Spread::{Excerpt, RemoteValues};
use crate::command::{excerpt, sorted_set};

const fn sorted_set_command(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::SortedSet, name, arity).acl(&[Category::SortedSet])
}

pub const COMMANDS: &[CommandSpec] = &[
    sorted_set_command("zadd", -4)
        .run(Keys(sorted_set::zadd, RemoteValues))
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
        .run(Keys(sorted_set::zincrby, RemoteValues))
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::at(1, &[Rw, Access, Update])])
        .since("1.2.0")
        .complexity("O(log(N)), N elements.")
        .summary("Adds to the score of a member; one that is missing starts at 0.")
        .args(&[key("key"), integer("increment"), string("member")]),
    sorted_set_command("zrem", -3)
        .run(Keys(sorted_set::zrem, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[KeySpec::at(1, &[Rw, Delete])])
        .since("1.2.0")
        .history(&[("2.4.0", "Several members.")])
        .complexity("O(M*log(N)), N elements, M members.")
        .summary("Takes members out of a sorted set.")
        .args(&[key("key"), string("member").multiple()]),
    sorted_set_command("zcard", 2)
        .run(Keys(sorted_set::zcard, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::at(1, &[Ro])])
        .since("1.2.0")
        .complexity("O(1)")
        .summary("Returns the number of elements of a sorted set.")
        .args(&[key("key")]),
    sorted_set_command("zcount", 4)
        .run(Keys(sorted_set::zcount, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("2.0.0")
        .complexity("O(log(N)), N elements.")
        .summary("Counts the elements with a score in a range.")
        .args(&[key("key"), double("min"), double("max")]),
    sorted_set_command("zscore", 3)
        .run(Keys(sorted_set::zscore, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("1.2.0")
        .complexity("O(1)")
        .summary("Returns the score of a member.")
        .args(&[key("key"), string("member")]),
    sorted_set_command("zmscore", -3)
        .run(Keys(sorted_set::zmscore, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("6.2.0")
        .complexity("O(M), M members asked about.")
        .summary("Returns the scores of several members.")
        .args(&[key("key"), string("member").multiple()]),
    sorted_set_command("zrank", -3)
        .run(Keys(sorted_set::zrank, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("2.0.0")
        .history(&[("7.2.0", "`WITHSCORE`.")])
        .complexity("O(log(N)), N elements.")
        .summary("Returns how many elements come before a member, lowest score first.")
        .args(&[key("key"), string("member"), token("withscore", "WITHSCORE").optional()]),
    sorted_set_command("zrevrank", -3)
        .run(Keys(sorted_set::zrevrank, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("2.0.0")
        .history(&[("7.2.0", "`WITHSCORE`.")])
        .complexity("O(log(N)), N elements.")
        .summary("Returns how many elements come before a member, highest score first.")
        .args(&[key("key"), string("member"), token("withscore", "WITHSCORE").optional()]),
    sorted_set_command("zrange", -4)
        .run(Keys(sorted_set::zrange, RemoteValues))
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
        .run(Keys(sorted_set::zrangestore, RemoteValues))
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
        .run(Keys(sorted_set::zrevrange, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("1.2.0")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` argument")
        .complexity("O(log(N)+M), N elements, M returned.")
        .summary("Returns the elements in a range of ranks, highest score first.")
        .args(&[key("key"), integer("start"), integer("stop"), token("withscores", "WITHSCORES").optional()]),
    sorted_set_command("zrangebyscore", -4)
        .run(Keys(sorted_set::zrangebyscore, RemoteValues))
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
        .run(Keys(sorted_set::zrevrangebyscore, RemoteValues))
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
        .run(Keys(sorted_set::zrangebylex, RemoteValues))
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
        .run(Keys(sorted_set::zrevrangebylex, RemoteValues))
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
    sorted_set_command("zlexcount", 4)
        .run(Keys(sorted_set::zlexcount, RemoteValues))
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("2.8.9")
        .complexity("O(log(N)), N elements.")
        .summary("Counts the members in a lexicographic range, where all scores are equal.")
        .args(&[key("key"), string("min"), string("max")]),
    sorted_set_command("zremrangebyrank", 4)
        .run(Keys(sorted_set::zremrangebyrank, RemoteValues))
        .flags(&[Write])
        .keys(&[KeySpec::at(1, &[Rw, Delete])])
        .since("2.0.0")
        .complexity("O(log(N)+M), N elements, M taken out.")
        .summary("Takes out the elements in a range of ranks.")
        .args(&[key("key"), integer("start"), integer("stop")]),
    sorted_set_command("zremrangebyscore", 4)
        .run(Keys(sorted_set::zremrangebyscore, RemoteValues))
        .flags(&[Write])
        .keys(&[KeySpec::at(1, &[Rw, Delete])])
        .since("1.2.0")
        .complexity("O(log(N)+M), N elements, M taken out.")
        .summary("Takes out the elements with a score in a range.")
        .args(&[key("key"), double("min"), double("max")]),
    sorted_set_command("zremrangebylex", 4)
        .run(Keys(sorted_set::zremrangebylex, RemoteValues))
        .flags(&[Write])
        .keys(&[KeySpec::at(1, &[Rw, Delete])])
        .since("2.8.9")
        .complexity("O(log(N)+M), N elements, M taken out.")
        .summary("Takes out the members in a lexicographic range, where all scores are equal.")
        .args(&[key("key"), string("min"), string("max")]),
    sorted_set_command("zunion", -3)
        .run(Keys(sorted_set::zunion, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access]).key_num(0, 1, 1)])
        .since("6.2.0")
        .complexity("O(N+M*log(M)), N elements in all sets, M in the result.")
        .summary("Returns all members of several sorted sets, scores combined.")
        .args(&[
            integer("numkeys"),
            key("key").multiple(),
            integer("weight").token("WEIGHTS").optional().multiple(),
            one_of("aggregate", &[token("sum", "SUM"), token("min", "MIN"), token("max", "MAX")])
                .token("AGGREGATE")
                .optional(),
            token("withscores", "WITHSCORES").optional(),
        ]),
    sorted_set_command("zinter", -3)
        .run(Keys(sorted_set::zinter, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access]).key_num(0, 1, 1)])
        .since("6.2.0")
        .complexity("O(N*K+M*log(M)), N elements in the smallest of K sets, M in common.")
        .summary("Returns what several sorted sets have in common, scores combined.")
        .args(&[
            integer("numkeys"),
            key("key").multiple(),
            integer("weight").token("WEIGHTS").optional().multiple(),
            one_of("aggregate", &[token("sum", "SUM"), token("min", "MIN"), token("max", "MAX")])
                .token("AGGREGATE")
                .optional(),
            token("withscores", "WITHSCORES").optional(),
        ]),
    sorted_set_command("zdiff", -3)
        .run(Keys(sorted_set::zdiff, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access]).key_num(0, 1, 1)])
        .since("6.2.0")
        .complexity("O(L+K*log(K)), L elements in all sets, K in the result.")
        .summary("Returns the elements of a sorted set that are in none of some others.")
        .args(&[integer("numkeys"), key("key").multiple(), token("withscores", "WITHSCORES").optional()]),
    sorted_set_command("zintercard", -3)
        .run(Keys(sorted_set::zintercard, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access]).key_num(0, 1, 1)])
        .since("7.0.0")
        .complexity("O(N*K), N elements in the smallest of K sets.")
        .summary("Counts the members that several sorted sets have in common.")
        .args(&[integer("numkeys"), key("key").multiple(), integer("limit").token("LIMIT").optional()]),
    sorted_set_command("zunionstore", -4)
        .run(Keys(sorted_set::zunionstore, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(1, &[Ow, Update]), KeySpec::at(2, &[Ro, Access]).key_num(0, 1, 1)])
        .since("2.0.0")
        .complexity("O(N+M*log(M)), N elements in all sets, M in the result.")
        .summary("Stores all members of several sorted sets, scores combined.")
        .args(&[
            key("destination"),
            integer("numkeys"),
            key_of_spec("key", 1).multiple(),
            integer("weight").token("WEIGHTS").optional().multiple(),
            one_of("aggregate", &[token("sum", "SUM"), token("min", "MIN"), token("max", "MAX")])
                .token("AGGREGATE")
                .optional(),
        ]),
    sorted_set_command("zinterstore", -4)
        .run(Keys(sorted_set::zinterstore, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(1, &[Ow, Update]), KeySpec::at(2, &[Ro, Access]).key_num(0, 1, 1)])
        .since("2.0.0")
        .complexity("O(N*K+M*log(M)), N elements in the smallest of K sets, M in common.")
        .summary("Stores what several sorted sets have in common, scores combined.")
        .args(&[
            key("destination"),
            integer("numkeys"),
            key_of_spec("key", 1).multiple(),
            integer("weight").token("WEIGHTS").optional().multiple(),
            one_of("aggregate", &[token("sum", "SUM"), token("min", "MIN"), token("max", "MAX")])
                .token("AGGREGATE")
                .optional(),
        ]),
    sorted_set_command("zdiffstore", -4)
        .run(Keys(sorted_set::zdiffstore, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(1, &[Ow, Update]), KeySpec::at(2, &[Ro, Access]).key_num(0, 1, 1)])
        .since("6.2.0")
        .complexity("O(L+K*log(K)), L elements in all sets, K in the result.")
        .summary("Stores the elements of a sorted set that are in none of some others.")
        .args(&[key("destination"), integer("numkeys"), key_of_spec("key", 1).multiple()]),
    sorted_set_command("zpopmin", -2)
        .run(Keys(sorted_set::zpopmin, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[KeySpec::at(1, &[Rw, Access, Delete])])
        .since("5.0.0")
        .complexity("O(M*log(N)), N elements, M of them taken.")
        .summary("Takes the elements with the lowest scores.")
        .args(&[key("key"), integer("count").optional()]),
    sorted_set_command("zpopmax", -2)
        .run(Keys(sorted_set::zpopmax, RemoteValues))
        .flags(&[Write, Fast])
        .keys(&[KeySpec::at(1, &[Rw, Access, Delete])])
        .since("5.0.0")
        .complexity("O(M*log(N)), N elements, M of them taken.")
        .summary("Takes the elements with the highest scores.")
        .args(&[key("key"), integer("count").optional()]),
    sorted_set_command("zmpop", -4)
        .run(Keys(sorted_set::zmpop, Excerpt(excerpt::zmpop)))
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
        .run(Keys(sorted_set::bzpopmin, Excerpt(excerpt::sorted_set_ends)))
        .flags(&[Write, Fast, Blocking])
        .keys(&[KeySpec::at(1, &[Rw, Access, Delete]).range(-2, 1, 0)])
        .since("5.0.0")
        .history(&[("6.0.0", "Timeouts with fractions.")])
        .complexity("O(log(N)), N elements.")
        .summary("Takes the lowest element of the first of several sorted sets, or waits for one.")
        .args(&[key("key").multiple(), double("timeout")]),
    sorted_set_command("bzpopmax", -3)
        .run(Keys(sorted_set::bzpopmax, Excerpt(excerpt::sorted_set_ends)))
        .flags(&[Write, Fast, Blocking])
        .keys(&[KeySpec::at(1, &[Rw, Access, Delete]).range(-2, 1, 0)])
        .since("5.0.0")
        .history(&[("6.0.0", "Timeouts with fractions.")])
        .complexity("O(log(N)), N elements.")
        .summary("Takes the highest element of the first of several sorted sets, or waits for one.")
        .args(&[key("key").multiple(), double("timeout")]),
    sorted_set_command("bzmpop", -5)
        .run(Keys(sorted_set::bzmpop, Excerpt(excerpt::bzmpop)))
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
    sorted_set_command("zrandmember", -2)
        .run(Keys(sorted_set::zrandmember, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .tips(&["nondeterministic_output"])
        .since("6.2.0")
        .complexity("O(M), M members asked for.")
        .summary("Returns members chosen at random.")
        .args(&[
            key("key"),
            block("options", &[integer("count"), token("withscores", "WITHSCORES").optional()]).optional(),
        ]),
    sorted_set_command("zscan", -3)
        .run(Keys(sorted_set::zscan, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .tips(&["nondeterministic_output"])
        .since("2.8.0")
        .complexity("O(1) a step, O(N) for all of the N elements.")
        .summary("Visits the elements of a sorted set in steps.")
        .args(&[
            key("key"),
            integer("cursor"),
            pattern("pattern").token("MATCH").optional(),
            integer("count").token("COUNT").optional(),
        ]),
];
