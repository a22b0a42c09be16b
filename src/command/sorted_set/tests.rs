//! What clients, replicas and listeners get from the sorted set commands.

use crate::command::testing::Bench;
use crate::resp::Protocol;

/// The lines of a reply that are not headers of strings or arrays.
fn words(reply: &str) -> String {
    let is_word = |line: &&str| !matches!(line.as_bytes(), [b'$' | b'*' | b'%' | b'~', b'0'..=b'9', ..]);
    reply.split("\r\n").filter(is_word).collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

fn check(bench: &mut Bench, cases: &[(&str, &str)]) {
    for (command, expected) in cases {
        assert_eq!(words(&bench.run(command)), *expected, "{command}");
    }
}

/// A bench in which every sorted set is of the given form.
fn bench(packed: bool) -> Bench {
    let mut bench = Bench::new();
    if !packed {
        bench.store.settings.zset_max_listpack_entries = 0;
    }
    bench
}

#[test]
fn additions_obey_their_options_in_both_forms() {
    for packed in [true, false] {
        let mut bench = bench(packed);
        check(
            &mut bench,
            &[
                ("ZADD z XX 1 a", ":0"),
                ("EXISTS z", ":0"),
                ("ZADD z 1 a 2 b", ":2"),
                ("OBJECT ENCODING z", if packed { "listpack" } else { "skiplist" }),
                ("ZADD z CH 1 a 3 b 4 c", ":2"),
                ("ZADD z NX 9 a 5 d", ":1"),
                ("ZADD z GT CH 0 a 7 b", ":1"),
                ("ZADD z LT XX CH 0 a 8 b 1 new", ":1"),
                ("ZADD z INCR 2.5 a", "2.5"),
                ("ZADD z NX INCR 2.5 a", "$-1"),
                ("ZADD z GT INCR -1 a", "$-1"),
                ("ZINCRBY z -0.5 a", "2"),
                ("ZINCRBY z 1 fresh", "1"),
                ("ZRANGE z 0 -1 WITHSCORES", "fresh 1 a 2 c 4 d 5 b 7"),
                ("ZADD z inf a", ":0"),
                ("ZADD z INCR -inf a", "-ERR resulting score is not a number (NaN)"),
                ("ZSCORE z a", "inf"),
                ("ZADD z -0 minus", ":1"),
                ("ZADD z 1e20 big 0.1 small 4611686018427387904 whole", ":3"),
                ("ZMSCORE z big small whole none", "1e+20 0.1 4611686018427387904 $-1"),
                ("ZSCORE z minus", if packed { "0" } else { "-0" }),
                ("ZSCORE none a", "$-1"),
                ("ZMSCORE none a b", "$-1 $-1"),
                ("ZCARD z", ":9"),
                ("ZCARD none", ":0"),
            ],
        );
    }
}

#[test]
fn malformed_commands_are_refused_with_redis_texts() {
    let mut bench = bench(true);
    bench.run("SET string x");
    for (command, error) in [
        ("ZADD z 1", "syntax error"),
        ("ZADD z NX XX 1 a", "XX and NX options at the same time are not compatible"),
        ("ZADD z GT LT 1 a", "GT, LT, and/or NX options at the same time are not compatible"),
        ("ZADD z GT NX 1 a", "GT, LT, and/or NX options at the same time are not compatible"),
        ("ZADD z INCR 1 a 2 b", "INCR option supports a single increment-element pair"),
        ("ZADD z nan a", "value is not a valid float"),
        ("ZADD z 1 a x b", "value is not a valid float"),
        ("ZADD z NX XX x a", "XX and NX options at the same time are not compatible"),
        ("ZINCRBY z x a", "value is not a valid float"),
        ("ZCOUNT z x 1", "min or max is not a float"),
        ("ZRANGEBYSCORE z 1 nan", "min or max is not a float"),
        ("ZRANGEBYLEX z a b", "min or max not valid string range item"),
        ("ZLEXCOUNT z - ++", "min or max not valid string range item"),
        (
            "ZRANGE z 0 1 LIMIT 0 1",
            "syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        ),
        ("ZRANGE z - + BYLEX WITHSCORES", "syntax error, WITHSCORES not supported in combination with BYLEX"),
        ("ZRANGE z a b", "value is not an integer or out of range"),
        ("ZRANGE z 0 1 BYSCORE BYLEX", "syntax error"),
        ("ZRANGEBYSCORE z 0 1 REV", "syntax error"),
        ("ZRANGESTORE d z 0 1 WITHSCORES", "syntax error"),
        ("ZRANK z a SCORE", "syntax error"),
        ("ZRANK z a WITHSCORE x", "wrong number of arguments for 'zrank' command"),
        ("ZPOPMIN z -1", "value is out of range, must be positive"),
        ("ZPOPMIN z 1 2", "syntax error"),
        ("ZMPOP 0 z MIN", "numkeys should be greater than 0"),
        ("ZMPOP 1 z SIDE", "syntax error"),
        ("ZMPOP 1 z MIN COUNT 0", "count should be greater than 0"),
        ("ZMPOP 1 z MIN COUNT 1 COUNT 1", "syntax error"),
        ("ZMPOP 3 z MIN", "syntax error"),
        ("BZMPOP x 1 z MIN", "timeout is not a float or out of range"),
        ("BZPOPMIN z -1", "timeout is negative"),
        ("ZUNION 0 z", "at least 1 input key is needed for 'zunion' command"),
        ("ZINTERSTORE d 2 z", "syntax error"),
        ("ZUNION 1 z WEIGHTS x", "weight value is not a float"),
        ("ZUNION 1 z AGGREGATE avg", "syntax error"),
        ("ZDIFF 1 z WEIGHTS 1", "syntax error"),
        ("ZUNIONSTORE d 1 z WITHSCORES", "syntax error"),
        ("ZINTERCARD 1 z LIMIT -1", "LIMIT can't be negative"),
        ("ZINTERCARD 1 z LIMIT x", "LIMIT can't be negative"),
        ("ZRANDMEMBER z x", "value is not an integer or out of range"),
        ("ZRANDMEMBER z 1 SCORES", "syntax error"),
        ("ZRANDMEMBER z -9223372036854770000 WITHSCORES", "value is out of range"),
        ("ZSCAN z x", "invalid cursor"),
    ] {
        assert_eq!(bench.run(command), format!("-ERR {error}\r\n"), "{command}");
    }
    for command in [
        "ZADD string 1 a",
        "ZADD string XX 1 a",
        "ZREM string a",
        "ZCARD string",
        "ZRANGE string 0 1",
        "ZPOPMIN string",
        "ZPOPMIN string 0",
        "ZMPOP 2 none string MIN",
        "BZPOPMAX string 0",
        "ZUNION 2 z string",
        "ZRANK string a",
        "ZMSCORE string a",
        "ZREMRANGEBYRANK string 0 1",
        "ZRANDMEMBER string",
        "ZSCAN string 0",
        "ZRANGESTORE d string 0 1",
        "ZINTERCARD 1 string",
    ] {
        assert!(bench.run(command).starts_with("-WRONGTYPE"), "{command}");
    }
}

#[test]
fn ranges_select_by_rank_score_and_member() {
    for packed in [true, false] {
        let mut bench = bench(packed);
        bench.run("ZADD z 1 a 2 b 2 c 3 d 4 e");
        bench.run("ZADD lex 0 a 0 b 0 c 0 d");
        check(
            &mut bench,
            &[
                ("ZRANGE z 0 -1", "a b c d e"),
                ("ZRANGE z -2 100", "d e"),
                ("ZRANGE z 3 1", ""),
                ("ZRANGE z -100 -5", "a"),
                ("ZRANGE z 0 1 REV", "e d"),
                ("ZREVRANGE z 1 2 WITHSCORES", "d 3 c 2"),
                ("ZRANGE z (1 3 BYSCORE", "b c d"),
                ("ZRANGE z 3 (1 BYSCORE REV", "d c b"),
                ("ZRANGEBYSCORE z -inf +inf LIMIT 1 2", "b c"),
                ("ZRANGEBYSCORE z -inf +inf LIMIT 1 -1", "b c d e"),
                ("ZRANGEBYSCORE z -inf +inf LIMIT -1 2", ""),
                ("ZRANGEBYSCORE z -inf +inf LIMIT 9 2", ""),
                ("ZREVRANGEBYSCORE z +inf -inf WITHSCORES LIMIT 1 2", "d 3 c 2"),
                ("ZRANGEBYSCORE z 5 1", ""),
                ("ZRANGEBYLEX lex [b (d", "b c"),
                ("ZRANGEBYLEX lex - + LIMIT 1 2", "b c"),
                ("ZREVRANGEBYLEX lex + [b", "d c b"),
                ("ZRANGE lex + - BYLEX REV LIMIT 0 1", "d"),
                ("ZRANGEBYLEX lex + -", ""),
                ("ZLEXCOUNT lex (a +", ":3"),
                ("ZCOUNT z 2 3", ":3"),
                ("ZCOUNT z (2 (3", ":0"),
                ("ZCOUNT none 2 3", ":0"),
                ("ZRANK z c", ":2"),
                ("ZREVRANK z c WITHSCORE", ":2 2"),
                ("ZRANK z none", "$-1"),
                ("ZRANK z none WITHSCORE", "*-1"),
                ("ZRANK none a WITHSCORE", "*-1"),
                ("ZRANGESTORE d z 1 2 REV", ":2"),
                ("ZRANGE d 0 -1 WITHSCORES", "c 2 d 3"),
                ("ZRANGESTORE z z 2 3 BYSCORE LIMIT 0 2", ":2"),
                ("ZRANGE z 0 -1 WITHSCORES", "b 2 c 2"),
                ("ZRANGESTORE z none 0 -1", ":0"),
                ("EXISTS z", ":0"),
            ],
        );
    }
}

#[test]
fn removals_and_pops_take_what_they_say() {
    for packed in [true, false] {
        let mut bench = bench(packed);
        let fill = "ZADD z 1 a 2 b 3 c 4 d 5 e";
        bench.listen("KEA");
        for (command, reply, left, events) in [
            ("ZREM z a x c", ":2", "b d e", "0:zrem z"),
            ("ZREM z x", ":0", "a b c d e", ""),
            ("ZREM z a b c d e x", ":5", "", "0:zrem z 0:del z"),
            ("ZREMRANGEBYRANK z 1 -2", ":3", "a e", "0:zremrangebyrank z"),
            ("ZREMRANGEBYRANK z 0 -1", ":5", "", "0:zremrangebyrank z 0:del z"),
            ("ZREMRANGEBYSCORE z (1 3", ":2", "a d e", "0:zremrangebyscore z"),
            ("ZREMRANGEBYSCORE z 9 10", ":0", "a b c d e", ""),
            ("ZREMRANGEBYLEX z [b (d", ":2", "a d e", "0:zremrangebylex z"),
            ("ZPOPMIN z", "a 1", "b c d e", "0:zpopmin z"),
            ("ZPOPMAX z 2", "e 5 d 4", "a b c", "0:zpopmax z"),
            ("ZPOPMAX z 0", "", "a b c d e", ""),
            ("ZPOPMIN z 9", "a 1 b 2 c 3 d 4 e 5", "", "0:zpopmin z 0:del z"),
            ("ZMPOP 2 none z MAX COUNT 2", "z e 5 d 4", "a b c", "0:zpopmax z"),
            ("ZMPOP 1 none MAX", "*-1", "a b c d e", ""),
            ("BZPOPMIN none z 0", "z a 1", "b c d e", "0:zpopmin z"),
            ("BZMPOP 0 1 z MIN COUNT 7", "z a 1 b 2 c 3 d 4 e 5", "", "0:zpopmin z 0:del z"),
        ] {
            bench.run("DEL z");
            bench.run(fill);
            bench.events();
            assert_eq!(words(&bench.run(command)), reply, "{command}");
            assert_eq!(bench.events().join(" "), events, "{command}");
            assert_eq!(words(&bench.run("ZRANGE z 0 -1")), left, "{command}");
        }
    }
}

#[test]
fn pops_that_could_wait_are_logged_as_what_they_took() {
    let mut bench = bench(true);
    for (command, logged) in [
        ("ZPOPMIN z 2", "ZPOPMIN z 2"),
        ("BZPOPMAX none z 1", "ZPOPMAX z"),
        ("ZMPOP 2 none z MIN COUNT 100", "ZPOPMIN z 3"),
        ("BZMPOP 1 1 z MAX", "ZPOPMAX z 1"),
        ("ZADD z INCR 1 a", "ZADD z INCR 1 a"),
    ] {
        bench.run("ZADD z 1 a 2 b 3 c");
        bench.run(command);
        assert_eq!(bench.logged(), [logged]);
    }
    let dirty = bench.store.dirty;
    bench.run("DEL z");
    bench.run("ZADD z 1 a 2 b 3 c");
    bench.run("ZREM z a b");
    assert_eq!(bench.store.dirty - dirty, 6);
}

#[test]
fn whoever_finds_nothing_waits_unless_it_must_not() {
    let mut bench = bench(true);
    for command in ["BZPOPMIN a b 1.5", "BZPOPMAX a b 1.5", "BZMPOP 1.5 2 a b MIN"] {
        assert_eq!(bench.run(command), "");
        assert!(bench.blocked.is_some(), "{command}");
    }
    bench.caller.deny_blocking = true;
    assert_eq!(bench.run("BZPOPMIN a b 0"), "*-1\r\n");
    assert!(bench.blocked.is_none());
}

#[test]
fn combinations_join_scores_and_take_sets_too() {
    for packed in [true, false] {
        let mut bench = bench(packed);
        bench.run("ZADD a 1 x 2 y 3 z");
        bench.run("ZADD b 10 y 20 z 30 w");
        bench.run("SADD s x y 7");
        bench.run("ZADD i inf x -inf y");
        bench.run("ZADD j -inf x");
        check(
            &mut bench,
            &[
                ("ZUNION 2 a b WITHSCORES", "x 1 y 12 z 23 w 30"),
                ("ZUNION 2 a b WEIGHTS 2 0.5 WITHSCORES", "x 2 y 9 w 15 z 16"),
                ("ZUNION 2 a b AGGREGATE MAX", "x y z w"),
                ("ZUNION 2 a none WITHSCORES", "x 1 y 2 z 3"),
                ("ZUNION 2 a s WITHSCORES", "7 1 x 2 y 3 z 3"),
                ("ZINTER 2 a b WITHSCORES", "y 12 z 23"),
                ("ZINTER 2 a b AGGREGATE MIN WITHSCORES", "y 2 z 3"),
                ("ZINTER 2 s a WEIGHTS 10 1 WITHSCORES", "x 11 y 12"),
                ("ZINTER 2 a none", ""),
                ("ZINTER 2 i j WITHSCORES", "x 0"),
                ("ZUNION 1 i WEIGHTS 0 WITHSCORES", "x 0 y 0"),
                ("ZINTERCARD 2 a b", ":2"),
                ("ZINTERCARD 2 a b LIMIT 1", ":1"),
                ("ZINTERCARD 2 a b LIMIT 0", ":2"),
                ("ZDIFF 2 a b WITHSCORES", "x 1"),
                ("ZDIFF 2 a s", "z"),
                ("ZDIFF 2 s a WITHSCORES", "7 1"),
                ("ZDIFF 2 a a", ""),
                ("ZDIFF 4 a b b b", "x"),
                ("ZDIFF 2 none a", ""),
                ("ZUNIONSTORE d 2 a b", ":4"),
                ("ZINTERSTORE a 2 a b WEIGHTS 1 2", ":2"),
                ("ZRANGE a 0 -1 WITHSCORES", "y 22 z 43"),
                ("ZDIFFSTORE d 1 b", ":3"),
                ("OBJECT ENCODING d", if packed { "listpack" } else { "skiplist" }),
                ("ZDIFFSTORE d 1 none", ":0"),
                ("EXISTS d", ":0"),
            ],
        );
    }
}

#[test]
fn the_many_ways_of_a_difference_agree() {
    let mut bench = bench(true);
    let all: Vec<String> = (0..300).map(|i| format!("{i} m{i}")).collect();
    bench.run(&format!("ZADD many {}", all.join(" ")));
    for i in 0..5 {
        bench.run(&format!("ZADD few{i} 1 m{i} 1 m{} 1 m999", i * 7));
    }
    let large_first = words(&bench.run("ZDIFF 6 many few0 few1 few2 few3 few4"));
    let expected: Vec<String> = (0..300)
        .filter(|i| !(0..5).contains(i) && !(0..5).any(|j| j * 7 == *i))
        .map(|i| format!("m{i}"))
        .collect();
    assert_eq!(large_first, expected.join(" "));
    assert_eq!(words(&bench.run("ZDIFF 2 few1 many")), "m999");
}

#[test]
fn scores_are_nested_doubles_in_resp3() {
    let mut bench = bench(true);
    bench.protocol = Protocol::Resp3;
    bench.run("ZADD z 1.5 a inf b");
    for (command, reply) in [
        ("ZRANGE z 0 -1 WITHSCORES", "*2\r\n*2\r\n$1\r\na\r\n,1.5\r\n*2\r\n$1\r\nb\r\n,inf\r\n"),
        ("ZSCORE z a", ",1.5\r\n"),
        ("ZSCORE z none", "_\r\n"),
        ("ZMSCORE z b none", "*2\r\n,inf\r\n_\r\n"),
        ("ZRANK z b WITHSCORE", "*2\r\n:1\r\n,inf\r\n"),
        ("ZUNION 1 z WITHSCORES", "*2\r\n*2\r\n$1\r\na\r\n,1.5\r\n*2\r\n$1\r\nb\r\n,inf\r\n"),
        ("ZRANDMEMBER z 5 WITHSCORES", "*2\r\n*2\r\n$1\r\nb\r\n,inf\r\n*2\r\n$1\r\na\r\n,1.5\r\n"),
        ("ZINCRBY z 1 a", ",2.5\r\n"),
        ("ZPOPMIN z 1", "*1\r\n*2\r\n$1\r\na\r\n,2.5\r\n"),
        ("ZADD z 2 a", ":1\r\n"),
        ("ZPOPMIN z", "*2\r\n$1\r\na\r\n,2\r\n"),
        ("ZADD z 2 a", ":1\r\n"),
        ("ZMPOP 1 z MIN", "*2\r\n$1\r\nz\r\n*1\r\n*2\r\n$1\r\na\r\n,2\r\n"),
        ("BZPOPMIN z 0", "*3\r\n$1\r\nz\r\n$1\r\nb\r\n,inf\r\n"),
        ("ZMPOP 1 z MIN", "_\r\n"),
    ] {
        assert_eq!(bench.run(command), reply, "{command}");
    }
}

#[test]
fn random_members_are_members_and_different_when_asked() {
    for packed in [true, false] {
        let mut bench = bench(packed);
        let all: Vec<String> = (0..100).map(|i| format!("{i} m{i}")).collect();
        bench.run(&format!("ZADD z {}", all.join(" ")));
        for count in [1, 5, 40, 99, 100, 1000] {
            let reply = words(&bench.run(&format!("ZRANDMEMBER z {count} WITHSCORES")));
            let words: Vec<&str> = reply.split(' ').collect();
            let different: std::collections::BTreeSet<&str> = words.chunks(2).map(|pair| pair[0]).collect();
            assert_eq!(different.len(), count.min(100));
            assert!(words.chunks(2).all(|pair| pair[0] == format!("m{}", pair[1])), "{reply}");
        }
        assert_eq!(words(&bench.run("ZRANDMEMBER z -250")).split(' ').count(), 250);
        assert_eq!(bench.run("ZRANDMEMBER z 0"), "*0\r\n");
        assert_eq!(bench.run("ZRANDMEMBER none"), "$-1\r\n");
        assert_eq!(bench.run("ZRANDMEMBER none 3"), "*0\r\n");
        assert!(words(&bench.run("ZRANDMEMBER z")).starts_with('m'));
    }
}

#[test]
fn scans_return_members_with_scores() {
    let mut bench = bench(true);
    bench.run("ZADD z 1 a 0.1 b 3 c");
    assert_eq!(words(&bench.run("ZSCAN z 0 MATCH [bc]")), "0 b 0.1 c 3");
    bench.store.settings.zset_max_listpack_entries = 0;
    bench.run("ZADD large 0.1 b 10 c 1e20 d");
    let reply = words(&bench.run("ZSCAN large 0 COUNT 100"));
    let mut pairs: Vec<&str> = reply[2..].split(' ').collect();
    pairs.sort_unstable();
    assert_eq!(pairs, ["0.10000000000000001", "10", "1e+20", "b", "c", "d"]);
    assert_eq!(bench.run("ZSCAN none 0"), "*2\r\n$1\r\n0\r\n*0\r\n");
}

#[test]
fn taking_out_all_of_a_large_set_leaves_the_memory_to_be_freed_in_steps() {
    let mut bench = bench(false);
    // The tables of the keyspace stay.
    bench.run("ZADD z 1 m");
    bench.run("DEL z");
    let before = bench.store.used_memory();
    for i in 0..2000 {
        bench.run(&format!("ZADD z {i} m{i}"));
    }
    let filled = bench.store.used_memory();
    assert_eq!(bench.run("ZREMRANGEBYRANK z 0 -1"), ":2000\r\n");
    assert!(bench.store.used_memory() > filled / 2);
    while bench.store.free_some(100) {}
    assert!(bench.store.used_memory() < before + 8192, "{} after {before}", bench.store.used_memory());
}
