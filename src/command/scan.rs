//! SCAN: the keys of a database in steps, with Redis's guarantee (a key there from beginning to end is returned).
//!
//! The cursor is one within this shard's store; the router makes it name the shard too.

use super::glob::glob_match;
use super::parse::{cursor, integer};
use super::{Args, CommandError, CommandResult, Context};
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
    // Apart, because the cursor stands in front of the keys and is known after them.
    let mut keys = Reply::new(ctx.reply.protocol());
    let (mut matching, mut returned) = (0, 0);
    let next = ctx.store.scan(ctx.db, start, count, &mut |key, value| {
        if !options
            .pattern
            .is_none_or(|pattern| glob_match(pattern, key, false))
        {
            return;
        }
        matching += 1;
        if options
            .value_type
            .is_none_or(|wanted| wanted == Some(value.value_type()))
        {
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
