//! SCAN: the keys of a database in steps, with Redis's guarantee (a key there from beginning to end is returned).
//!
//! The cursor is one within this shard's store; the router makes it name the shard too.

use super::glob::glob_match;
use super::parse::{cursor, integer};
use super::{Args, CommandError, CommandResult, Context};
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
        let mut parsed = Options {
            count: COUNT_DEFAULT,
            pattern: None,
            value_type: None,
        };
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
                let named = |value_type: &&ValueType| {
                    argument.eq_ignore_ascii_case(value_type.name().as_bytes())
                };
                parsed.value_type = Some(TYPES.iter().find(named).copied());
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(parsed)
    }
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
pub fn scan(ctx: &mut Context, args: Args) -> CommandResult {
    let start = cursor(args[1])?;
    let options = Options::parse(&args[2..])?;
    let count = usize::try_from(options.count).unwrap_or(usize::MAX);
    let mut found: Vec<Vec<u8>> = Vec::new();
    let next = ctx.store.scan(ctx.db, start, count, &mut |key, _| {
        if options
            .pattern
            .is_none_or(|pattern| glob_match(pattern, key, false))
        {
            found.push(key.to_vec());
        }
    });
    // Looked up again, because the look-up deletes keys that have expired. With TYPE, Redis counts it.
    found.retain(|key| {
        let value_type = ctx.store.peek(ctx.db, key).map(|value| value.value_type());
        if options.value_type.is_some() {
            match value_type {
                Some(_) => ctx.store.stats.keyspace_hits += 1,
                None => ctx.store.stats.keyspace_misses += 1,
            }
        }
        match (value_type, options.value_type) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(value_type), Some(wanted)) => Some(value_type) == wanted,
        }
    });
    ctx.reply.array(2);
    ctx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    ctx.reply.array(found.len());
    for key in &found {
        ctx.reply.bulk(key);
    }
    Ok(())
}
