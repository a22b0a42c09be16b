//! What clients get from the geo commands. Numbers are those of Redis 7.2.

use crate::command::testing::Bench;
use crate::resp::Protocol;

fn words(reply: &str) -> String {
    let is_word = |line: &&str| !matches!(line.as_bytes(), [b'$' | b'*', b'0'..=b'9', ..]);
    reply.split("\r\n").filter(is_word).collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

fn sicily() -> Bench {
    let mut bench = Bench::new();
    bench.run("GEOADD Sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania");
    bench
}

#[test]
fn places_are_scores_and_are_logged_as_such() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("GEOADD g NX CH 13.361389 38.115556 Palermo"), ":1\r\n");
    assert_eq!(bench.logged(), ["zadd g NX CH 3479099956230698 Palermo"]);
    assert_eq!(bench.run("GEOADD g XX 1 1 Palermo"), ":0\r\n");
    assert_eq!(bench.run("GEOADD g XX CH 1 1 Palermo 2 2 other"), ":0\r\n");
    assert!(bench.logged().is_empty());
    assert_eq!(bench.run("GEOADD g 13.361389 38.115556 Palermo"), ":0\r\n");
    assert_eq!(words(&bench.run("ZSCORE g Palermo")), "3479099956230698");
    for (command, error) in [
        ("GEOADD g 1 2 3 4", "ERR syntax error"),
        ("GEOADD g NX XX 1 2 m", "ERR syntax error"),
        ("GEOADD g 200 100 m", "ERR invalid longitude,latitude pair 200.000000,100.000000"),
        ("GEOADD g x 2 m", "ERR value is not a valid float"),
    ] {
        assert_eq!(bench.run(command), format!("-{error}\r\n"), "{command}");
    }
}

#[test]
fn distances_positions_and_hashes_are_those_of_redis() {
    let mut bench = sicily();
    for (command, reply) in [
        ("GEODIST Sicily Palermo Catania", "166274.1516"),
        ("GEODIST Sicily Palermo Catania KM", "166.2742"),
        ("GEODIST Sicily Palermo Catania mi", "103.3182"),
        ("GEODIST Sicily Palermo Catania ft", "545518.8700"),
        ("GEODIST Sicily Palermo Palermo", "0.0000"),
        ("GEODIST Sicily Palermo none", "$-1"),
        ("GEODIST none a b", "$-1"),
        ("GEOHASH Sicily Palermo Catania none", "sqc8b49rny0 sqdtr74hyu0 $-1"),
        ("GEOPOS Sicily Palermo none", "13.36138933897018433 38.11555639549629859 *-1"),
        ("GEOPOS none a", "*-1"),
        ("GEOHASH none", ""),
        ("GEODIST Sicily Palermo Catania x", "-ERR unsupported unit provided. please use M, KM, FT, MI"),
    ] {
        assert_eq!(words(&bench.run(command)), reply, "{command}");
    }
    bench.protocol = Protocol::Resp3;
    assert_eq!(
        bench.run("GEOPOS Sicily Palermo none"),
        "*2\r\n*2\r\n,13.36138933897018433\r\n,38.11555639549629859\r\n_\r\n"
    );
    assert_eq!(bench.run("GEODIST Sicily Palermo Catania"), "$11\r\n166274.1516\r\n");
}

#[test]
fn searches_find_what_is_inside() {
    let mut bench = sicily();
    bench.run("GEOADD Sicily 12.758489 38.788135 edge1 17.241510 38.788135 edge2");
    for (command, reply) in [
        ("GEORADIUS Sicily 15 37 200 km ASC", "Catania Palermo"),
        ("GEORADIUS Sicily 15 37 200 km DESC WITHDIST", "Palermo 190.4424 Catania 56.4413"),
        ("GEORADIUS Sicily 15 37 200 km WITHHASH ASC COUNT 1", "Catania :3479447370796909"),
        (
            "GEORADIUS_RO Sicily 15 37 200 km WITHCOORD COUNT 1",
            "Catania 15.08726745843887329 37.50266842333162032",
        ),
        ("GEORADIUSBYMEMBER Sicily Palermo 100 km", "Palermo edge1"),
        ("GEORADIUSBYMEMBER_RO Sicily Palermo 1 m", "Palermo"),
        ("GEOSEARCH Sicily FROMLONLAT 15 37 BYRADIUS 200 km ASC", "Catania Palermo"),
        (
            "GEOSEARCH Sicily FROMLONLAT 15 37 BYBOX 400 400 km ASC WITHDIST",
            "Catania 56.4413 Palermo 190.4424 edge2 279.7403 edge1 279.7405",
        ),
        ("GEOSEARCH Sicily FROMMEMBER Palermo BYRADIUS 200 km DESC COUNT 2", "Catania edge1"),
        ("GEOSEARCH Sicily FROMLONLAT 100 10 BYRADIUS 1 km", ""),
        ("GEOSEARCH none FROMMEMBER x BYRADIUS 1 km", ""),
        ("GEORADIUSBYMEMBER none x y z", ""),
        ("GEOSEARCHSTORE near Sicily FROMLONLAT 15 37 BYRADIUS 200 km", ":2"),
        ("ZSCORE near Palermo", "3479099956230698"),
        ("GEORADIUS Sicily 15 37 200 km STOREDIST dist", ":2"),
        ("ZRANGE dist 0 -1", "Catania Palermo"),
        ("GEOSEARCHSTORE near Sicily FROMLONLAT 100 10 BYRADIUS 1 km", ":0"),
        ("EXISTS near", ":0"),
        ("GEORADIUSBYMEMBER none x 1 km STORE dist", ":0"),
        ("EXISTS dist", ":0"),
    ] {
        assert_eq!(words(&bench.run(command)), reply, "{command}");
    }
    let any = words(&bench.run("GEOSEARCH Sicily FROMLONLAT 15 37 BYBOX 400 400 km COUNT 3 ANY"));
    assert_eq!(any.split(' ').count(), 3);
}

#[test]
fn malformed_searches_are_refused_with_redis_texts() {
    let mut bench = sicily();
    for (command, error) in [
        ("GEORADIUS Sicily 15 37 x km", "ERR need numeric radius"),
        ("GEORADIUS Sicily 15 37 -1 km", "ERR radius cannot be negative"),
        ("GEORADIUS Sicily 15 37 1 au", "ERR unsupported unit provided. please use M, KM, FT, MI"),
        ("GEORADIUS Sicily 15 37 1 km COUNT 0", "ERR COUNT must be > 0"),
        ("GEORADIUS Sicily 15 37 1 km ANY", "ERR the ANY argument requires COUNT argument"),
        ("GEORADIUS Sicily 15 37 1 km COUNT", "ERR syntax error"),
        ("GEORADIUS_RO Sicily 15 37 1 km STORE d", "ERR syntax error"),
        (
            "GEORADIUS Sicily 15 37 1 km STORE d WITHDIST",
            "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        ),
        ("GEORADIUSBYMEMBER Sicily none 1 km", "ERR could not decode requested zset member"),
        (
            "GEOSEARCH Sicily BYRADIUS 1 km ASC COUNT 1",
            "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GEOSEARCH",
        ),
        (
            "geosearch Sicily FROMLONLAT 1 1 ASC COUNT 1",
            "ERR exactly one of BYRADIUS and BYBOX can be specified for geosearch",
        ),
        ("GEOSEARCH Sicily FROMLONLAT 1 1 FROMMEMBER a BYRADIUS 1 km", "ERR syntax error"),
        ("GEOSEARCH Sicily FROMLONLAT 1 1 BYRADIUS 1 km BYBOX 1 1 km", "ERR syntax error"),
        ("GEOSEARCH Sicily FROMLONLAT 1 1 BYBOX 1 -1 km", "ERR height or width cannot be negative"),
        ("GEOSEARCH Sicily FROMLONLAT 1 1 BYRADIUS 1 km STOREDIST", "ERR syntax error"),
        (
            "GEOSEARCHSTORE d Sicily FROMLONLAT 1 1 BYRADIUS 1 km WITHCOORD",
            "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        ),
    ] {
        assert_eq!(bench.run(command), format!("-{error}\r\n"), "{command}");
    }
}

#[test]
fn storing_tells_listeners_and_counts_every_place() {
    let mut bench = sicily();
    bench.listen("KEA");
    let dirty = bench.store.dirty;
    bench.run("GEOSEARCHSTORE d Sicily FROMLONLAT 15 37 BYRADIUS 200 km");
    assert_eq!((bench.events(), bench.store.dirty - dirty), (vec!["0:geosearchstore d".to_owned()], 2));
    bench.run("GEORADIUS Sicily 15 37 200 km STORE d");
    assert_eq!(bench.events(), ["0:georadiusstore d"]);
    bench.run("GEORADIUS Sicily 100 37 1 km STORE d");
    assert_eq!(bench.events(), ["0:del d"]);
}
