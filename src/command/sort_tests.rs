//! SORT on one store; what it does over several shards is tests/server_commands.rs's.

use super::*;
use crate::command::testing::Bench;

fn array(elements: &[&str]) -> String {
    let text: String = elements
        .iter()
        .map(|e| if *e == "nil" { "$-1\r\n".to_owned() } else { format!("${}\r\n{e}\r\n", e.len()) })
        .collect();
    format!("*{}\r\n{text}", elements.len())
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.run("RPUSH l 3 1 10 2");
    bench.run("RPUSH words b c a");
    for (element, weight) in [("3", "0.5"), ("1", "7"), ("10", "-1"), ("2", "x")] {
        bench.run(&format!("SET w_{element} {weight}"));
        bench.run(&format!("HSET h_{element} f v{element} weight {element}0"));
    }
    bench.run("SET w_2 3");
    bench
}

#[test]
fn numbers_and_words_are_sorted_up_and_down() {
    let mut bench = bench();
    assert_eq!(bench.run("SORT l"), array(&["1", "2", "3", "10"]));
    assert_eq!(bench.run("SORT_RO l DESC"), array(&["10", "3", "2", "1"]));
    assert_eq!(bench.run("SORT l ALPHA"), array(&["1", "10", "2", "3"]));
    assert_eq!(bench.run("SORT words"), "-ERR One or more scores can't be converted into double\r\n");
    bench.run("RPUSH tiny 4.9e-324");
    assert_eq!(bench.run("SORT tiny"), "-ERR One or more scores can't be converted into double\r\n");
    assert_eq!(bench.run("SORT words ALPHA DESC asc"), array(&["a", "b", "c"]));
    assert_eq!(bench.run("SORT none"), "*0\r\n");
    bench.run("SADD s 5 4 x");
    assert_eq!(bench.run("SORT s ALPHA"), array(&["4", "5", "x"]));
    bench.run("ZADD z 1 9 2 8 3 10");
    assert_eq!(bench.run("SORT z"), array(&["8", "9", "10"]));
    assert_eq!(bench.run("SORT z BY nosort DESC LIMIT 0 2"), array(&["10", "8"]));
    assert_eq!(bench.run("SORT l BY nosort DESC"), array(&["2", "10", "1", "3"]));
    bench.run("SET string v");
    assert!(bench.run("SORT string").starts_with("-WRONGTYPE"));
}

#[test]
fn limits_select_whatever_they_are() {
    let mut bench = Bench::new();
    let numbers: Vec<String> = (0..100).map(|n| (n * 37 % 100).to_string()).collect();
    bench.run(&format!("RPUSH l {}", numbers.join(" ")));
    for (limit, range) in [
        ("0 10", 0..10),
        ("50 10", 50..60),
        ("95 10", 95..100),
        ("100 10", 0..0),
        ("200 -1", 0..0),
        ("10 -1", 10..100),
        ("-5 3", 0..3),
        ("5 0", 0..0),
        ("99 1", 99..100),
    ] {
        let expected: Vec<String> = range.map(|n| n.to_string()).collect();
        let expected = array(&expected.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(bench.run(&format!("SORT l LIMIT {limit}")), expected, "{limit}");
    }
    assert_eq!(bench.run("SORT l LIMIT 0 x"), "-ERR value is not an integer or out of range\r\n");
    for command in
        ["SORT l LIMIT 0", "SORT l BY", "SORT l GET", "SORT l UP", "SORT l STORE", "SORT_RO l STORE d"]
    {
        assert_eq!(bench.run(command), "-ERR syntax error\r\n", "{command}");
    }
}

#[test]
fn patterns_reach_strings_and_fields_of_hashes() {
    let mut bench = bench();
    assert_eq!(bench.run("SORT l BY w_*"), array(&["10", "3", "2", "1"]));
    assert_eq!(bench.run("SORT l BY h_*->weight DESC"), array(&["10", "3", "2", "1"]));
    assert_eq!(bench.run("SORT l GET # GET h_*->f"), array(&["1", "v1", "2", "v2", "3", "v3", "10", "v10"]));
    assert_eq!(
        bench.run("SORT l LIMIT 0 1 GET h_*->none GET none_* GET h_* GET w_*->f GET constant"),
        array(&["nil"; 5])
    );
    // An arrow with nothing behind it belongs to the key.
    bench.run("SET w_1-> odd");
    assert_eq!(bench.run("SORT l LIMIT 0 1 GET w_*->"), array(&["odd"]));
    // Those without a weight count as 0, or come first in the alphabet.
    bench.run("DEL w_1");
    assert_eq!(bench.run("SORT l BY w_*"), array(&["10", "1", "3", "2"]));
    assert_eq!(bench.run("SORT l BY w_* ALPHA"), array(&["1", "10", "3", "2"]));
    bench.run("SET w_1 x");
    assert_eq!(bench.run("SORT l BY w_*"), "-ERR One or more scores can't be converted into double\r\n");
}

#[test]
fn results_are_stored_as_a_list() {
    let mut bench = bench();
    bench.run("SET d v EX 100");
    bench.listen("KEA");
    assert_eq!(bench.run("SORT l STORE d"), ":4\r\n");
    assert_eq!(bench.events(), ["0:sortstore d"]);
    assert_eq!(
        (bench.run("LRANGE d 0 -1"), bench.run("TTL d")),
        (array(&["1", "2", "3", "10"]), ":-1\r\n".into())
    );
    assert_eq!(bench.run("OBJECT ENCODING d"), "$8\r\nlistpack\r\n");
    assert_eq!(bench.run("SORT l GET w_* GET none_* STORE l"), ":8\r\n");
    assert_eq!(bench.run("LRANGE l 0 -1"), array(&["7", "", "3", "", "0.5", "", "-1", ""]));
    bench.events();
    assert_eq!(bench.run("SORT none STORE d"), ":0\r\n");
    assert_eq!((bench.events(), bench.run("EXISTS d")), (vec!["0:del d".to_owned()], ":0\r\n".into()));
    assert_eq!(bench.run("SORT none STORE d"), ":0\r\n");
    assert!(bench.logged().is_empty());
    // A set's order is nothing to store.
    bench.run("SADD s b c a 1 z");
    bench.run("SORT s BY nosort STORE d");
    assert_eq!(bench.run("LRANGE d 0 -1"), array(&["1", "a", "b", "c", "z"]));
}

#[test]
fn what_it_will_look_up_is_known_beforehand() {
    let mut bench = bench();
    let mut wanted = |command: &str| {
        let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let found = reaches(&args, true).then(|| wanted(&mut bench.store, 0, &args));
        found.map(|wanted| {
            let name = |request: &Wanted| {
                let field =
                    request.field.as_ref().map(|field| format!("/{}", String::from_utf8_lossy(field)));
                String::from_utf8_lossy(&request.key).into_owned() + &field.unwrap_or_default()
            };
            wanted.iter().map(name).collect::<Vec<_>>().join(" ")
        })
    };
    assert_eq!(wanted("SORT l"), None);
    assert_eq!(wanted("SORT l BY nosort GET #"), None);
    assert_eq!(wanted("SORT l BY w_*").unwrap(), "w_1 w_10 w_2 w_3");
    assert_eq!(wanted("SORT l LIMIT 1 2 GET h_*->f GET h_*->g").unwrap(), "h_2/f h_2/g h_3/f h_3/g");
    assert_eq!(wanted("SORT l BY nosort LIMIT 0 1 GET w_*").unwrap(), "w_3");
    assert_eq!(wanted("SORT l BY w_* LIMIT 0 1 GET w_*").unwrap(), "w_1 w_10 w_2 w_3");
    assert_eq!(wanted("SORT none BY w_*").unwrap(), "");
    assert_eq!(wanted("SORT words GET w_*").unwrap(), "", "it will fail");
}

#[test]
fn a_constant_by_counts_whatever_other_by_there_is() {
    let mut bench = bench();
    for by in ["BY nosort", "BY nosort BY w_*", "BY w_* BY nosort", "BY nosort BY w_* BY h_*->weight"] {
        assert_eq!(bench.run(&format!("SORT l {by}")), array(&["3", "1", "10", "2"]), "{by}");
    }
    assert_eq!(bench.run("SORT l BY none_* BY w_*"), bench.run("SORT l BY w_*"));
}
