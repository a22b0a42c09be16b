//! The geo commands: sorted sets of places.

use super::arg::{block, double, integer, key, key_of_spec, one_of, string, token};
use super::flags::{Category, Flag::*, KeyFlag::*};
use super::keys::KeySpec;
use super::spec::{command, CommandSpec, Group};
use super::Handler::Keys;
use super::Spread::RemoteValues;
use crate::command::geo;

const fn geo_command(name: &'static str, arity: i16) -> CommandSpec {
    command(Group::Geo, name, arity).acl(&[Category::Geo])
}

pub const COMMANDS: &[CommandSpec] = &[
    geo_command("geoadd", -5)
        .run(Keys(geo::geoadd, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(1, &[Rw, Update])])
        .since("3.2.0")
        .history(&[("6.2.0", "`CH`, `NX` and `XX`.")])
        .complexity("O(log(N)) for each place, N places.")
        .summary("Adds places to a sorted set of places, or moves those that are there.")
        .args(&[
            key("key"),
            one_of("condition", &[token("nx", "NX"), token("xx", "XX")]).since("6.2.0").optional(),
            token("change", "CH").since("6.2.0").optional(),
            block("data", &[double("longitude"), double("latitude"), string("member")]).multiple(),
        ]),
    geo_command("geodist", -4)
        .run(Keys(geo::geodist, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("3.2.0")
        .complexity("O(1)")
        .summary("Returns the distance between two places.")
        .args(&[
            key("key"),
            string("member1"),
            string("member2"),
            one_of("unit", &[token("m", "M"), token("km", "KM"), token("ft", "FT"), token("mi", "MI")])
                .optional(),
        ]),
    geo_command("geohash", -2)
        .run(Keys(geo::geohash, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("3.2.0")
        .complexity("O(1) for each place.")
        .summary("Returns places as standard geohash texts.")
        .args(&[key("key"), string("member").optional().multiple()]),
    geo_command("geopos", -2)
        .run(Keys(geo::geopos, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("3.2.0")
        .complexity("O(1) for each place.")
        .summary("Returns longitudes and latitudes of places.")
        .args(&[key("key"), string("member").optional().multiple()]),
    geo_command("georadius", -6)
        .run(Keys(geo::georadius, RemoteValues))
        .flags(&[Write, DenyOom])
        .parse_keys(geo::georadius_keys)
        .keys(&[
            KeySpec::at(1, &[Ro, Access]),
            KeySpec::after("STORE", 6, &[Ow, Update]),
            KeySpec::after("STOREDIST", 6, &[Ow, Update]),
        ])
        .since("3.2.0")
        .history(&[("6.2.0", "`ANY`."), ("7.0.0", "Units in upper case.")])
        .deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument")
        .complexity("O(N+log(M)), N places near the circle, M in all.")
        .summary("Finds, and maybe stores, the places within a distance of a point.")
        .args(&[
            key("key"),
            double("longitude"),
            double("latitude"),
            double("radius"),
            one_of("unit", &[token("m", "M"), token("km", "KM"), token("ft", "FT"), token("mi", "MI")]),
            token("withcoord", "WITHCOORD").optional(),
            token("withdist", "WITHDIST").optional(),
            token("withhash", "WITHHASH").optional(),
            block(
                "count-block",
                &[integer("count").token("COUNT"), token("any", "ANY").since("6.2.0").optional()],
            )
            .optional(),
            one_of("order", &[token("asc", "ASC"), token("desc", "DESC")]).optional(),
            one_of(
                "store",
                &[
                    key_of_spec("storekey", 1).token("STORE").display("key"),
                    key_of_spec("storedistkey", 2).token("STOREDIST").display("key"),
                ],
            )
            .optional(),
        ]),
    geo_command("georadiusbymember", -5)
        .run(Keys(geo::georadiusbymember, RemoteValues))
        .flags(&[Write, DenyOom])
        .parse_keys(geo::georadiusbymember_keys)
        .keys(&[
            KeySpec::at(1, &[Ro, Access]),
            KeySpec::after("STORE", 5, &[Ow, Update]),
            KeySpec::after("STOREDIST", 5, &[Ow, Update]),
        ])
        .since("3.2.0")
        .history(&[("7.0.0", "Units in upper case.")])
        .deprecated(
            "6.2.0",
            "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
        )
        .complexity("O(N+log(M)), N places near the circle, M in all.")
        .summary("Finds, and maybe stores, the places within a distance of one of them.")
        .args(&[
            key("key"),
            string("member"),
            double("radius"),
            one_of("unit", &[token("m", "M"), token("km", "KM"), token("ft", "FT"), token("mi", "MI")]),
            token("withcoord", "WITHCOORD").optional(),
            token("withdist", "WITHDIST").optional(),
            token("withhash", "WITHHASH").optional(),
            block("count-block", &[integer("count").token("COUNT"), token("any", "ANY").optional()])
                .optional(),
            one_of("order", &[token("asc", "ASC"), token("desc", "DESC")]).optional(),
            one_of(
                "store",
                &[
                    key_of_spec("storekey", 1).token("STORE").display("key"),
                    key_of_spec("storedistkey", 2).token("STOREDIST").display("key"),
                ],
            )
            .optional(),
        ]),
    geo_command("georadius_ro", -6)
        .run(Keys(geo::georadius_ro, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("3.2.10")
        .history(&[("6.2.0", "`ANY`.")])
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument")
        .complexity("O(N+log(M)), N places near the circle, M in all.")
        .summary("Finds the places within a distance of a point.")
        .args(&[
            key("key"),
            double("longitude"),
            double("latitude"),
            double("radius"),
            one_of("unit", &[token("m", "M"), token("km", "KM"), token("ft", "FT"), token("mi", "MI")]),
            token("withcoord", "WITHCOORD").optional(),
            token("withdist", "WITHDIST").optional(),
            token("withhash", "WITHHASH").optional(),
            block(
                "count-block",
                &[integer("count").token("COUNT"), token("any", "ANY").since("6.2.0").optional()],
            )
            .optional(),
            one_of("order", &[token("asc", "ASC"), token("desc", "DESC")]).optional(),
        ]),
    geo_command("georadiusbymember_ro", -5)
        .run(Keys(geo::georadiusbymember_ro, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("3.2.10")
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments")
        .complexity("O(N+log(M)), N places near the circle, M in all.")
        .summary("Finds the places within a distance of one of them.")
        .args(&[
            key("key"),
            string("member"),
            double("radius"),
            one_of("unit", &[token("m", "M"), token("km", "KM"), token("ft", "FT"), token("mi", "MI")]),
            token("withcoord", "WITHCOORD").optional(),
            token("withdist", "WITHDIST").optional(),
            token("withhash", "WITHHASH").optional(),
            block("count-block", &[integer("count").token("COUNT"), token("any", "ANY").optional()])
                .optional(),
            one_of("order", &[token("asc", "ASC"), token("desc", "DESC")]).optional(),
        ]),
    geo_command("geosearch", -7)
        .run(Keys(geo::geosearch, RemoteValues))
        .flags(&[ReadOnly])
        .keys(&[KeySpec::at(1, &[Ro, Access])])
        .since("6.2.0")
        .history(&[("7.0.0", "Units in upper case.")])
        .complexity("O(N+log(M)), N places near the area, M in all.")
        .summary("Finds the places inside a circle or a box.")
        .args(&[
            key("key"),
            one_of(
                "from",
                &[
                    string("member").token("FROMMEMBER"),
                    block("fromlonlat", &[double("longitude"), double("latitude")]).token("FROMLONLAT"),
                ],
            ),
            one_of(
                "by",
                &[
                    block(
                        "circle",
                        &[
                            double("radius").token("BYRADIUS"),
                            one_of(
                                "unit",
                                &[token("m", "M"), token("km", "KM"), token("ft", "FT"), token("mi", "MI")],
                            ),
                        ],
                    ),
                    block(
                        "box",
                        &[
                            double("width").token("BYBOX"),
                            double("height"),
                            one_of(
                                "unit",
                                &[token("m", "M"), token("km", "KM"), token("ft", "FT"), token("mi", "MI")],
                            ),
                        ],
                    ),
                ],
            ),
            one_of("order", &[token("asc", "ASC"), token("desc", "DESC")]).optional(),
            block("count-block", &[integer("count").token("COUNT"), token("any", "ANY").optional()])
                .optional(),
            token("withcoord", "WITHCOORD").optional(),
            token("withdist", "WITHDIST").optional(),
            token("withhash", "WITHHASH").optional(),
        ]),
    geo_command("geosearchstore", -8)
        .run(Keys(geo::geosearchstore, RemoteValues))
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::at(1, &[Ow, Update]), KeySpec::at(2, &[Ro, Access])])
        .since("6.2.0")
        .history(&[("7.0.0", "Units in upper case.")])
        .complexity("O(N+log(M)), N places near the area, M in all.")
        .summary("Stores the places inside a circle or a box under another key.")
        .args(&[
            key("destination"),
            key_of_spec("source", 1),
            one_of(
                "from",
                &[
                    string("member").token("FROMMEMBER"),
                    block("fromlonlat", &[double("longitude"), double("latitude")]).token("FROMLONLAT"),
                ],
            ),
            one_of(
                "by",
                &[
                    block(
                        "circle",
                        &[
                            double("radius").token("BYRADIUS"),
                            one_of(
                                "unit",
                                &[token("m", "M"), token("km", "KM"), token("ft", "FT"), token("mi", "MI")],
                            ),
                        ],
                    ),
                    block(
                        "box",
                        &[
                            double("width").token("BYBOX"),
                            double("height"),
                            one_of(
                                "unit",
                                &[token("m", "M"), token("km", "KM"), token("ft", "FT"), token("mi", "MI")],
                            ),
                        ],
                    ),
                ],
            ),
            one_of("order", &[token("asc", "ASC"), token("desc", "DESC")]).optional(),
            block("count-block", &[integer("count").token("COUNT"), token("any", "ANY").optional()])
                .optional(),
            token("storedist", "STOREDIST").optional(),
        ]),
];
