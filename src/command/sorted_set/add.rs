//! Adding elements and changing scores: ZADD, ZINCRBY.

use smallvec::SmallVec;

use super::super::double::double;
use super::{Args, CommandError, CommandResult, Context};
use crate::store::{AddRule, Added, Collection, EventClass, Score, SortedSet};

/// ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]
pub fn zadd(ctx: &mut Context, args: Args) -> CommandResult {
    add(ctx, args, AddRule::default())
}

/// ZINCRBY key increment member. Redis reads it as a ZADD with INCR, options in front of the increment included.
pub fn zincrby(ctx: &mut Context, args: Args) -> CommandResult {
    add(ctx, args, AddRule { increment: true, ..AddRule::default() })
}

/// How many elements an addition concerned.
#[derive(Default)]
struct Counts {
    added: usize,
    updated: usize,
}

pub(in crate::command) fn add(ctx: &mut Context, args: Args, mut rule: AddRule) -> CommandResult {
    let key = args[1];
    let mut counts_changes = false;
    let mut first = 2;
    while let Some(option) = args.get(first) {
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        if is(b"nx") {
            rule.only_new = true;
        } else if is(b"xx") {
            rule.only_present = true;
        } else if is(b"ch") {
            counts_changes = true;
        } else if is(b"incr") {
            rule.increment = true;
        } else if is(b"gt") {
            rule.only_greater = true;
        } else if is(b"lt") {
            rule.only_less = true;
        } else {
            break;
        }
        first += 1;
    }
    let pairs = &args[first..];
    check(&rule, pairs)?;
    let mut scores = SmallVec::<[Score; 8]>::with_capacity(pairs.len() / 2);
    for pair in pairs.chunks_exact(2) {
        scores.push(double(pair[0]).ok_or(CommandError::NotFloat)?);
    }
    let members = || pairs.iter().skip(1).step_by(2).copied();
    let elements = || members().zip(scores.iter().copied());
    let mut counts = Counts::default();
    let mut last = Added::Refused;
    let mut change = |set: &mut SortedSet, settings: &_| {
        for (member, score) in elements() {
            last = set.add(member, score, &rule, settings);
            match last {
                Added::New(_) => counts.added += 1,
                Added::Updated(_) => counts.updated += 1,
                Added::NotANumber => break,
                Added::Same(_) | Added::Refused => {}
            }
        }
    };
    if rule.only_present {
        ctx.store.update(ctx.db, key, |set: &mut SortedSet, tools| {
            set.expect(scores.len(), tools.settings);
            change(set, tools.settings)
        })?;
    } else {
        ctx.store.update_or_create(ctx.db, key, |set: &mut SortedSet, tools| {
            if set.is_empty() {
                *set = SortedSet::expecting(scores.len(), pairs[1].len(), tools.settings);
            }
            set.expect(scores.len(), tools.settings);
            change(set, tools.settings)
        })?;
    }
    if last == Added::NotANumber {
        return Err(CommandError::other("ERR resulting score is not a number (NaN)"));
    }
    if rule.increment {
        match last {
            Added::New(score) | Added::Updated(score) | Added::Same(score) => ctx.reply.double(score),
            Added::Refused | Added::NotANumber => ctx.reply.null(),
        }
    } else {
        let counted = if counts_changes { counts.added + counts.updated } else { counts.added };
        ctx.reply.integer(counted as i64);
    }
    let changes = counts.added + counts.updated;
    if changes > 0 {
        ctx.changed(key, EventClass::ZSET, if rule.increment { "zincr" } else { "zadd" });
        ctx.store.dirty += changes as u64 - 1;
    }
    Ok(())
}

fn check(rule: &AddRule, pairs: Args) -> CommandResult {
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    if rule.only_new && rule.only_present {
        return Err(CommandError::other("ERR XX and NX options at the same time are not compatible"));
    }
    if [rule.only_greater, rule.only_less, rule.only_new].into_iter().filter(|&set| set).count() > 1 {
        return Err(CommandError::other("ERR GT, LT, and/or NX options at the same time are not compatible"));
    }
    if rule.increment && pairs.len() > 2 {
        return Err(CommandError::other("ERR INCR option supports a single increment-element pair"));
    }
    Ok(())
}
