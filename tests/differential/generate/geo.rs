//! Positions. Ties in distance are open in Redis, so that positions are mostly different ones.

use super::{args, Arg, Args, Draw, Family};

pub const FAMILY: Family = Family {
    name: "geo",
    needs: &[
        "GEOADD",
        "GEODIST",
        "GEOHASH",
        "GEOPOS",
        "GEORADIUS",
        "GEORADIUSBYMEMBER",
        "GEORADIUSBYMEMBER_RO",
        "GEORADIUS_RO",
        "GEOSEARCH",
        "GEOSEARCHSTORE",
    ],
    share: 0,
    step,
};

fn step(draw: &mut Draw) -> Vec<Args> {
    let key = draw.key();
    let args = match draw.below(24) {
        0..=7 => {
            let mut args = args!["GEOADD", key];
            for _ in 0..*draw.random.pick(&[0, 0, 0, 1, 2]) {
                args.push(draw.word(&["NX", "XX", "CH", "nx"]).into());
            }
            for _ in 0..draw.few() {
                args.extend(position(draw));
                args.push(member(draw));
            }
            args
        }
        8 | 9 => {
            let mut args = args!["GEODIST", key, member(draw), member(draw)];
            if draw.one_in(2) {
                args.push(unit(draw).into());
            }
            args
        }
        10 => [args!["GEOHASH", key], members(draw)].concat(),
        11 | 12 => [args!["GEOPOS", key], members(draw)].concat(),
        13..=17 => {
            let mut args = if draw.one_in(3) {
                args!["GEOSEARCHSTORE", key, draw.key()]
            } else {
                args!["GEOSEARCH", key]
            };
            let stores = args.len() == 3;
            args.extend(search(draw, stores));
            args
        }
        18..=21 => radius(draw),
        _ => args!["ZRANGE", key, "0", "-1", "WITHSCORES"],
    };
    draw.alone(args)
}

fn position(draw: &mut Draw) -> Args {
    match draw.below(20) {
        0 => args![
            draw.word(&["180", "-180", "180.0001", "x", "0"]),
            draw.word(&["85.05112878", "-85.05112878", "86", "nan", "0"])
        ],
        1..=8 => {
            // In one region.
            let (east, north) = (draw.random.next() % 2_000_000, draw.random.next() % 2_000_000);
            args![format!("13.{east:07}"), format!("38.{north:07}")]
        }
        _ => {
            let east = (draw.random.next() % 3_600_000_000) as f64 / 1e7 - 180.0;
            let north = (draw.random.next() % 1_700_000_000) as f64 / 1e7 - 85.0;
            args![east.to_string(), north.to_string()]
        }
    }
}

fn member(draw: &mut Draw) -> Vec<u8> {
    match draw.below(12) {
        0 => draw.element(),
        _ => format!("p{}", draw.below(20)).word(),
    }
}

fn members(draw: &mut Draw) -> Args {
    (0..draw.below(4)).map(|_| member(draw)).collect()
}

fn unit(draw: &mut Draw) -> &'static str {
    draw.word(&["m", "km", "ft", "mi", "KM", "M", "km", "km", "m", "mi", "km", "m", "x"])
}

fn size(draw: &mut Draw) -> &'static str {
    draw.word(&[
        "0", "1", "10", "100", "1000", "5000", "20000", "1000000", "0.5", "200000", "5000", "2000000",
        "100000", "-1", "x", "nan", "inf",
    ])
}

fn search(draw: &mut Draw, stores: bool) -> Args {
    let mut args = Args::new();
    if draw.one_in(2) {
        args.extend(args!["FROMMEMBER", member(draw)]);
    } else {
        args.push("FROMLONLAT".into());
        args.extend(position(draw));
    }
    if draw.one_in(2) {
        args.extend(args!["BYRADIUS", size(draw), unit(draw)]);
    } else {
        args.extend(args!["BYBOX", size(draw), size(draw), unit(draw)]);
    }
    if draw.one_in(30) {
        args.extend(args!["BYRADIUS", "1", "m"]);
    }
    // Each of the two commands refuses the other's options.
    let stores = stores ^ draw.one_in(20);
    let with: &[&str] =
        if stores { &["STOREDIST", "storedist"] } else { &["WITHCOORD", "WITHDIST", "WITHHASH", "withdist"] };
    options(draw, &mut args, with);
    args
}

fn options(draw: &mut Draw, args: &mut Args, with: &[&'static str]) {
    for _ in 0..*draw.random.pick(&[0, 0, 1, 2]) {
        args.push(draw.word(with).into());
    }
    if draw.one_in(3) {
        // Which of the equally near are among the nearest is open: what is stored would stay so, and of the others their
        // distances tell whether they are the nearest.
        let stores = with.contains(&"STOREDIST");
        let count = if stores { draw.word(&["100", "1000000", "0", "-1", "x"]).into() } else { draw.count() };
        args.extend(args!["COUNT", count]);
        if draw.one_in(3) {
            args.push("ANY".into());
        } else if !stores {
            args.push("WITHDIST".into());
        }
    } else if draw.one_in(40) {
        args.push("ANY".into());
    }
    if draw.one_in(2) {
        args.push(draw.word(&["ASC", "DESC", "asc", "desc"]).into());
    }
}

fn radius(draw: &mut Draw) -> Args {
    let by_member = draw.one_in(2);
    let read_only = draw.one_in(3);
    let mut args = args![
        match (by_member, read_only) {
            (true, true) => "GEORADIUSBYMEMBER_RO",
            (true, false) => "GEORADIUSBYMEMBER",
            (false, true) => "GEORADIUS_RO",
            (false, false) => "GEORADIUS",
        },
        draw.key()
    ];
    if by_member {
        args.push(member(draw));
    } else {
        args.extend(position(draw));
    }
    args.extend(args![size(draw), unit(draw)]);
    options(draw, &mut args, &["WITHCOORD", "WITHDIST", "WITHHASH"]);
    if draw.one_in(if read_only { 20 } else { 4 }) {
        args.extend(args![draw.word(&["STORE", "STOREDIST", "store"]), draw.key()]);
    }
    args
}
