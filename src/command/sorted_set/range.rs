//! Reading parts of a sorted set by number, score or member: ZRANGE and its older names, and ZRANGESTORE.

use std::ops::Range;

use super::super::parse::integer;
use super::{lex_range, score_range, write_elements, Args, CommandError, CommandResult, Context};
use crate::store::{Collection, LexRange, ScoreRange, SortedSet, SortedSetView};

/// What selects elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// A range as it was given.
enum Selection<'a> {
    Ranks(i64, i64),
    Scores(ScoreRange),
    Members(LexRange<'a>),
}

/// What follows the source key. An order or kind that the command's name says cannot be given as an option.
struct Query<'a> {
    selection: Selection<'a>,
    reverse: bool,
    with_scores: bool,
    offset: i64,
    limit: i64,
}

impl<'a> Query<'a> {
    /// `args` begin with the two ends of the range.
    fn parse(
        args: Args<'a>,
        named_by: Option<By>,
        named_reverse: Option<bool>,
        stores: bool,
    ) -> Result<Query<'a>, CommandError> {
        let (mut by, mut reverse) = (named_by, named_reverse);
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        let mut options = &args[2..];
        while let [option, rest @ ..] = options {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            options = rest;
            if is(b"withscores") && !stores {
                with_scores = true;
            } else if is(b"limit") && rest.len() >= 2 {
                offset = integer(rest[0])?;
                limit = integer(rest[1])?;
                options = &rest[2..];
            } else if is(b"rev") && named_reverse.is_none() && reverse.is_none() {
                reverse = Some(true);
            } else if is(b"bylex") && by.is_none() {
                by = Some(By::Lex);
            } else if is(b"byscore") && by.is_none() {
                by = Some(By::Score);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err(CommandError::other(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(CommandError::other(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        // Backwards, the greater end comes first; numbers count from the other end anyway.
        let (min, max) = if reverse { (args[1], args[0]) } else { (args[0], args[1]) };
        let selection = match by {
            By::Rank => Selection::Ranks(integer(args[0])?, integer(args[1])?),
            By::Score => Selection::Scores(score_range(min, max)?),
            By::Lex => Selection::Members(lex_range(min, max)?),
        };
        Ok(Query { selection, reverse, with_scores, offset, limit })
    }

    /// The numbers of the elements that it selects, counted from the beginning.
    fn ranks(&self, view: SortedSetView) -> Range<usize> {
        match &self.selection {
            Selection::Ranks(start, end) => {
                let len = view.len();
                let ranks = clamp_ranks(*start, *end, len);
                if self.reverse {
                    len - ranks.end..len - ranks.start
                } else {
                    ranks
                }
            }
            Selection::Scores(range) => self.limited(view.ranks_by_score(range)),
            Selection::Members(range) => self.limited(view.ranks_by_lex(range)),
        }
    }

    /// What LIMIT leaves of a range. A negative offset leaves nothing, a negative limit everything behind the offset.
    fn limited(&self, ranks: Range<usize>) -> Range<usize> {
        let Ok(offset) = usize::try_from(self.offset) else { return 0..0 };
        let left = ranks.len().saturating_sub(offset);
        let taken = usize::try_from(self.limit).map_or(left, |limit| limit.min(left));
        if self.reverse {
            let end = ranks.end - offset.min(ranks.len());
            end - taken..end
        } else {
            let start = ranks.start + offset.min(ranks.len());
            start..start + taken
        }
    }
}

/// The elements that two numbers select out of `len`: both included, negative ones count from the end.
pub(super) fn clamp_ranks(start: i64, end: i64, len: usize) -> Range<usize> {
    let from_front = |index: i64| if index < 0 { index.saturating_add(len as i64) } else { index };
    let start = from_front(start).max(0) as u64;
    let end = u64::try_from(from_front(end).saturating_add(1)).unwrap_or(0).min(len as u64);
    if start >= end {
        return 0..0;
    }
    start as usize..end as usize
}

/// ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]
pub fn zrange(ctx: &mut Context, args: Args) -> CommandResult {
    range(ctx, args, None, None)
}

/// ZREVRANGE key start stop [WITHSCORES]
pub fn zrevrange(ctx: &mut Context, args: Args) -> CommandResult {
    range(ctx, args, Some(By::Rank), Some(true))
}

/// ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]
pub fn zrangebyscore(ctx: &mut Context, args: Args) -> CommandResult {
    range(ctx, args, Some(By::Score), Some(false))
}

/// ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]
pub fn zrevrangebyscore(ctx: &mut Context, args: Args) -> CommandResult {
    range(ctx, args, Some(By::Score), Some(true))
}

/// ZRANGEBYLEX key min max [LIMIT offset count]
pub fn zrangebylex(ctx: &mut Context, args: Args) -> CommandResult {
    range(ctx, args, Some(By::Lex), Some(false))
}

/// ZREVRANGEBYLEX key max min [LIMIT offset count]
pub fn zrevrangebylex(ctx: &mut Context, args: Args) -> CommandResult {
    range(ctx, args, Some(By::Lex), Some(true))
}

fn range(ctx: &mut Context, args: Args, by: Option<By>, reverse: Option<bool>) -> CommandResult {
    let query = Query::parse(&args[2..], by, reverse, false)?;
    let Some(view) = ctx.store.read_as::<SortedSet>(ctx.db, args[1])? else {
        ctx.reply.array(0);
        return Ok(());
    };
    let ranks = query.ranks(view);
    let len = ranks.len();
    write_elements(ctx.reply, len, view.elements(ranks, query.reverse), query.with_scores);
    Ok(())
}

/// ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]
pub fn zrangestore(ctx: &mut Context, args: Args) -> CommandResult {
    let (destination, source) = (args[1], args[2]);
    let query = Query::parse(&args[3..], None, None, true)?;
    let settings = ctx.store.settings.clone();
    let mut result = SortedSet::empty();
    if let Some(view) = ctx.store.read_as::<SortedSet>(ctx.db, source)? {
        let ranks = query.ranks(view);
        // How many there will be Redis knows beforehand only when they are selected by number.
        let expected = if let Selection::Ranks(..) = query.selection { ranks.len() } else { 0 };
        result = SortedSet::expecting(expected, 0, &settings);
        for (member, score) in view.elements(ranks, query.reverse) {
            result.insert(member.bytes(&mut itoa::Buffer::new()), score, &settings);
        }
    }
    super::store_result(ctx, destination, result, "zrangestore")
}
