//! The sorted set commands, by file: `add` (ZADD, ZINCRBY), `read` (scores, ranks, counts), `range` (ZRANGE and its kin),
//! `remove` (ZREM and by range), `pop` (from the ends, waiting or not), `combine` (unions, intersections, differences), `random`
//! (ZRANDMEMBER, ZSCAN).

mod add;
mod combine;
mod pop;
mod random;
mod range;
mod read;
mod remove;
#[cfg(test)]
mod tests;

pub use add::{zadd, zincrby};
pub use combine::{zdiff, zdiffstore, zinter, zintercard, zinterstore, zunion, zunionstore};
pub use pop::{bzmpop, bzpopmax, bzpopmin, pop_count, zmpop, zpopmax, zpopmin};
pub use random::{zrandmember, zscan};
pub use range::{
    zrange, zrangebylex, zrangebyscore, zrangestore, zrevrange, zrevrangebylex, zrevrangebyscore,
};

pub use read::{zcard, zcount, zlexcount, zmscore, zrank, zrevrank, zscore};
pub use remove::{zrem, zremrangebylex, zremrangebyrank, zremrangebyscore};

use super::double::lenient_double;
use super::elements::write_item;
use super::{Args, CommandError, CommandResult, Context};
use crate::resp::{Protocol, Reply};
use crate::store::listpack::Item;
use crate::store::{Collection, EventClass, LexBound, LexRange, Score, ScoreRange, SortedSet, Ttl};

/// The two ends of a range of scores; each may begin with `(`, which excludes it.
fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange, CommandError> {
    let end = |text: &[u8]| {
        let (number, excluded) = match text {
            [b'(', rest @ ..] => (rest, true),
            rest => (rest, false),
        };
        let number = lenient_double(number).ok_or(CommandError::other("ERR min or max is not a float"))?;
        Ok::<_, CommandError>((number, excluded))
    };
    let ((min, excludes_min), (max, excludes_max)) = (end(min)?, end(max)?);
    Ok(ScoreRange { min, max, excludes_min, excludes_max })
}

/// The two ends of a range of members.
fn lex_range<'a>(min: &'a [u8], max: &'a [u8]) -> Result<LexRange<'a>, CommandError> {
    let end = |text: &'a [u8]| match text {
        b"-" => Ok(LexBound::Lowest),
        b"+" => Ok(LexBound::Highest),
        [b'[', member @ ..] => Ok(LexBound::Included(member)),
        [b'(', member @ ..] => Ok(LexBound::Excluded(member)),
        _ => Err(CommandError::other("ERR min or max not valid string range item")),
    };
    Ok(LexRange { min: end(min)?, max: end(max)? })
}

/// An array of so many elements. With scores: flat in RESP2, an array of pairs in RESP3.
fn write_elements<'a>(
    reply: &mut Reply,
    len: usize,
    elements: impl Iterator<Item = (Item<'a>, Score)>,
    with_scores: bool,
) {
    let nested = with_scores && reply.protocol() == Protocol::Resp3;
    reply.array(if with_scores && !nested { 2 * len } else { len });
    for (member, score) in elements {
        if nested {
            reply.array(2);
        }
        write_item(reply, member);
        if with_scores {
            reply.double(score);
        }
    }
}

/// Stores what a *STORE command computed, whatever the key held, and answers with the number of elements. Nothing deletes the
/// key.
pub(super) fn store_result(
    ctx: &mut Context,
    key: &[u8],
    result: SortedSet,
    event: &'static str,
) -> CommandResult {
    let len = result.view().len();
    if len > 0 {
        ctx.store.set_collection(ctx.db, key, result, Ttl::None);
        ctx.changed(key, EventClass::ZSET, event);
    } else if ctx.store.remove(ctx.db, key) {
        ctx.changed(key, EventClass::GENERIC, "del");
    }
    ctx.reply.integer(len as i64);
    Ok(())
}
