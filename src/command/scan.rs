//! SCAN: the keys of a database in steps, with Redis's guarantee (a key there from beginning to end is returned).
//!
//! The cursor is one within this shard's store; the router makes it name the shard too.

use super::parse::{cursor, integer};
use super::{Args, CommandError, CommandResult, Context};
use crate::base::glob::glob_match;
use crate::resp::Reply;
use crate::store::ValueType;

/// Keys looked at per call when COUNT is not given.
const COUNT_DEFAULT: i64 = 10;

const TYPES: [ValueType; 6] = [
    ValueType::String,
    ValueType::List,
    ValueType::Set,
    ValueType::SortedSet,
    ValueType::Hash,
    ValueType::Stream,
];

/// What follows the cursor of SCAN.
struct Options<'a> {
    count: i64,
    /// None when all match.
    pattern: Option<&'a [u8]>,
    /// `Some(None)`: a type that nothing has. Redis 7.2 does not call that an error.
    value_type: Option<Option<ValueType>>,
}

impl<'a> Options<'a> {
    fn parse(options: &[&'a [u8]]) -> Result<Options<'a>, CommandError> {
        let mut parsed = Options { count: COUNT_DEFAULT, pattern: None, value_type: None };
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            let argument = *rest.next().ok_or(CommandError::Syntax)?;
            if option.eq_ignore_ascii_case(b"count") {
                parsed.count = integer(argument)?;
                if parsed.count < 1 {
                    return Err(CommandError::Syntax);
                }
            } else if option.eq_ignore_ascii_case(b"match") {
                parsed.pattern = Some(argument).filter(|&pattern| pattern != b"*");
            } else if option.eq_ignore_ascii_case(b"type") {
                let named =
                    |value_type: &&ValueType| argument.eq_ignore_ascii_case(value_type.name().as_bytes());
                parsed.value_type = Some(TYPES.iter().find(named).copied());
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(parsed)
    }
}

/// COUNT of a SCAN that begins a walk. `None` when it does not begin one, or is wrong.
pub fn step_of_walk(args: Args) -> Option<u64> {
    let begins = cursor(args.get(1)?).ok()? == 0;
    let options = Options::parse(&args[2..]).ok().filter(|_| begins)?;
    u64::try_from(options.count).ok()
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
pub fn scan(ctx: &mut Context, args: Args) -> CommandResult {
    let start = cursor(args[1])?;
    let options = Options::parse(&args[2..])?;
    let count = usize::try_from(options.count).unwrap_or(usize::MAX);
    // Apart, because the cursor stands in front of the keys and is known after them.
    let mut keys = Reply::new(ctx.reply.protocol());
    let (mut matching, mut returned) = (0, 0);
    let next = ctx.store.scan(ctx.db, start, count, &mut |key, value| {
        if !options.pattern.is_none_or(|pattern| glob_match(pattern, key, false)) {
            return;
        }
        matching += 1;
        if options.value_type.is_none_or(|wanted| wanted == Some(value.value_type())) {
            keys.bulk(key);
            returned += 1;
        }
    });
    if options.value_type.is_some() {
        // Redis finds out the type by a look-up that it counts.
        ctx.store.stats.keyspace_hits += matching;
    }
    ctx.reply.array(2);
    ctx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    ctx.reply.array(returned);
    ctx.reply.append(&mut keys);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;
    use std::collections::BTreeSet;

    /// Scans to the end; returns the keys and the number of calls.
    fn scan_all(bench: &mut Bench, options: &str) -> (BTreeSet<String>, usize) {
        let (mut cursor, mut keys, mut calls) = ("0".to_owned(), BTreeSet::new(), 0);
        loop {
            let reply = bench.run(&format!("SCAN {cursor} {options}"));
            let lines: Vec<&str> = reply.lines().collect();
            cursor = lines[2].to_owned();
            keys.extend(lines[4..].iter().skip(1).step_by(2).map(|key| key.to_string()));
            calls += 1;
            assert!(calls < 10_000, "the scan does not end");
            if cursor == "0" {
                return (keys, calls);
            }
        }
    }

    fn filled(keys: usize) -> Bench {
        let mut bench = Bench::new();
        for i in 0..keys {
            bench.run(&format!("SET key:{i} v"));
        }
        bench
    }

    #[test]
    fn every_key_is_returned_in_steps_of_about_count() {
        let mut bench = filled(1000);
        let (keys, calls) = scan_all(&mut bench, "");
        assert_eq!(keys.len(), 1000);
        assert!((20..=110).contains(&calls), "{calls} calls of about 10 keys");
        let (keys, calls) = scan_all(&mut bench, "COUNT 5000");
        assert_eq!((keys.len(), calls), (1000, 1));
    }

    #[test]
    fn keys_that_stay_are_found_while_others_come_and_go() {
        let mut bench = filled(200);
        let (mut cursor, mut found, mut round) = ("0".to_owned(), BTreeSet::new(), 0);
        loop {
            let reply = bench.run(&format!("SCAN {cursor} COUNT 7"));
            let lines: Vec<&str> = reply.lines().collect();
            cursor = lines[2].to_owned();
            found.extend(lines[4..].iter().skip(1).step_by(2).map(|key| key.to_string()));
            if cursor == "0" {
                break;
            }
            round += 1;
            for i in 0..20 {
                bench.run(&format!("SET new:{round}:{i} v"));
                bench.run(&format!("DEL new:{}:{i}", round - 1));
            }
        }
        assert!((0..200).all(|i| found.contains(&format!("key:{i}"))));
    }

    #[test]
    fn patterns_and_types_filter() {
        let mut bench = filled(100);
        assert_eq!(scan_all(&mut bench, "MATCH key:1? COUNT 50").0.len(), 10);
        assert_eq!(scan_all(&mut bench, "match * TYPE StRiNg").0.len(), 100);
        assert!(scan_all(&mut bench, "TYPE list").0.is_empty());
        assert!(scan_all(&mut bench, "TYPE nosuchtype").0.is_empty());
    }

    #[test]
    fn expired_keys_are_not_returned_but_deleted() {
        let mut bench = filled(10);
        bench.run("SET gone v PX 1");
        bench.wait_ms(2);
        assert_eq!(bench.run("DBSIZE"), ":11\r\n");
        assert_eq!(scan_all(&mut bench, "").0.len(), 10);
        assert_eq!(bench.run("DBSIZE"), ":10\r\n");
    }

    #[test]
    fn malformed_scans_are_refused() {
        let mut bench = Bench::new();
        for (command, error) in [
            ("SCAN x", "ERR invalid cursor"),
            ("SCAN 18446744073709551616", "ERR invalid cursor"),
            ("SCAN 0 COUNT 0", "ERR syntax error"),
            ("SCAN 0 COUNT x", "ERR value is not an integer or out of range"),
            ("SCAN 0 COUNT", "ERR syntax error"),
            ("SCAN 0 LIMIT 3", "ERR syntax error"),
        ] {
            assert_eq!(bench.run(command), format!("-{error}\r\n"), "{command}");
        }
        assert_eq!(bench.run("SCAN 0"), "*2\r\n$1\r\n0\r\n*0\r\n");
        assert_eq!(bench.run("SCAN 18446744073709551615"), "*2\r\n$1\r\n0\r\n*0\r\n");
    }
}
