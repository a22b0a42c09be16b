//! Sets out of sets: SINTER, SINTERCARD, SUNION, SDIFF, and SINTERSTORE, SUNIONSTORE, SDIFFSTORE.
//!
//! An intersection takes the smallest set and asks the others. A union takes each set and leaves out what an earlier one
//! has, or collects when there are many of them. A difference has two ways, and takes the one that promises less work.

use smallvec::SmallVec;

use super::super::elements::write_item;
use super::super::parse::{integer, numbered_keys, BadCount};
use super::{Args, CommandError, CommandResult, Context};
use crate::store::listpack::Item;
use crate::store::{Collection, EventClass, Set, SetView, Settings, Store, Ttl, WrongType};

/// A union of so many sets or fewer asks the earlier ones instead of collecting all members.
const UNION_LOOKUPS_MAX: usize = 4;

/// The sets of a command; `None` for a key that is not there.
type Sets<'a> = SmallVec<[Option<SetView<'a>>; 8]>;

/// SINTER key [key ...]
pub fn sinter(ctx: &mut Context, args: Args) -> CommandResult {
    let keys = &args[1..];
    read_all(ctx, keys)?;
    let sets = look_at_all(ctx.store, ctx.db, keys)?;
    let place = ctx.reply.defer_set();
    let mut count = 0;
    intersect(&sets, |member| {
        write_item(ctx.reply, member);
        count += 1;
        true
    });
    ctx.reply.finish(place, count);
    Ok(())
}

/// SINTERCARD numkeys key [key ...] [LIMIT limit]
pub fn sintercard(ctx: &mut Context, args: Args) -> CommandResult {
    let too_few = || CommandError::other("ERR numkeys should be greater than 0");
    let (keys, options) = numbered_keys(&args[1..]).map_err(|why| match why {
        BadCount::TooMany => CommandError::other("ERR Number of keys can't be greater than number of args"),
        BadCount::NotAnInteger | BadCount::Negative => too_few(),
    })?;
    if keys.is_empty() {
        return Err(too_few());
    }
    let limit = limit(options)?;
    read_all(ctx, keys)?;
    let sets = look_at_all(ctx.store, ctx.db, keys)?;
    let mut count = 0;
    intersect(&sets, |_| {
        count += 1;
        limit == 0 || count < limit
    });
    ctx.reply.integer(count);
    Ok(())
}

/// The last LIMIT, 0 when there is none.
fn limit(options: &[&[u8]]) -> Result<i64, CommandError> {
    let mut limit = 0;
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        let (true, Some(argument)) = (option.eq_ignore_ascii_case(b"limit"), rest.next()) else {
            return Err(CommandError::Syntax);
        };
        limit = integer(argument)
            .ok()
            .filter(|&limit| limit >= 0)
            .ok_or_else(|| CommandError::other("ERR LIMIT can't be negative"))?;
    }
    Ok(limit)
}

/// SINTERSTORE destination key [key ...]
pub fn sinterstore(ctx: &mut Context, args: Args) -> CommandResult {
    let (to, keys) = (args[1], &args[2..]);
    read_all(ctx, keys)?;
    let sets = look_at_all(ctx.store, ctx.db, keys)?;
    let settings = &ctx.store.settings;
    // What is left of integers in order is that too. Anything else is collected in a listpack first, as in Redis.
    let smallest = sets.iter().flatten().min_by_key(|set| set.len());
    let mut result = match smallest {
        Some(SetView::Integers(_)) => Set::integers(),
        _ => Set::from_listpack(Default::default()),
    };
    intersect(&sets, |member| {
        result.add_item(member, settings);
        true
    });
    result.become_integers(settings);
    drop(sets);
    store(ctx, to, result, "sinterstore");
    Ok(())
}

/// SUNION key [key ...]
pub fn sunion(ctx: &mut Context, args: Args) -> CommandResult {
    let keys = &args[1..];
    read_all(ctx, keys)?;
    let sets = look_at_all(ctx.store, ctx.db, keys)?;
    if sets.len() > UNION_LOOKUPS_MAX {
        let union = collect_union(&sets, &ctx.store.settings);
        ctx.reply.set(union.view().len());
        union.view().iter().for_each(|member| write_item(ctx.reply, member));
        return Ok(());
    }
    let place = ctx.reply.defer_set();
    let mut count = 0;
    for (index, set) in sets.iter().enumerate() {
        let earlier = &sets[..index];
        for member in set.iter().flat_map(|set| set.iter()) {
            if !earlier.iter().flatten().any(|set| set.contains_item(member)) {
                write_item(ctx.reply, member);
                count += 1;
            }
        }
    }
    ctx.reply.finish(place, count);
    Ok(())
}

/// SUNIONSTORE destination key [key ...]
pub fn sunionstore(ctx: &mut Context, args: Args) -> CommandResult {
    let (to, keys) = (args[1], &args[2..]);
    read_all(ctx, keys)?;
    let sets = look_at_all(ctx.store, ctx.db, keys)?;
    let union = collect_union(&sets, &ctx.store.settings);
    drop(sets);
    store(ctx, to, union, "sunionstore");
    Ok(())
}

/// SDIFF key [key ...]
pub fn sdiff(ctx: &mut Context, args: Args) -> CommandResult {
    let keys = &args[1..];
    read_all(ctx, keys)?;
    let sets = look_at_all(ctx.store, ctx.db, keys)?;
    let place = ctx.reply.defer_set();
    let mut count = 0;
    subtract(keys, &sets, &ctx.store.settings, |member| {
        write_item(ctx.reply, member);
        count += 1;
    });
    ctx.reply.finish(place, count);
    Ok(())
}

/// SDIFFSTORE destination key [key ...]
pub fn sdiffstore(ctx: &mut Context, args: Args) -> CommandResult {
    let (to, keys) = (args[1], &args[2..]);
    read_all(ctx, keys)?;
    let sets = look_at_all(ctx.store, ctx.db, keys)?;
    let settings = &ctx.store.settings;
    let mut result = Set::integers();
    subtract(keys, &sets, settings, |member| {
        result.add_item(member, settings);
    });
    drop(sets);
    store(ctx, to, result, "sdiffstore");
    Ok(())
}

/// Reads every set once, for the statistics and to find those of another type.
fn read_all(ctx: &mut Context, keys: &[&[u8]]) -> Result<(), WrongType> {
    for key in keys {
        ctx.store.read_as::<Set>(ctx.db, key)?;
    }
    Ok(())
}

fn look_at_all<'a>(store: &'a Store, db: usize, keys: &[&[u8]]) -> Result<Sets<'a>, WrongType> {
    keys.iter().map(|key| store.look_as::<Set>(db, key)).collect()
}

/// Hands every member that all sets have to `each`, until that answers false.
fn intersect(sets: &Sets, mut each: impl FnMut(Item) -> bool) {
    let mut present: SmallVec<[SetView; 8]> = sets.iter().copied().flatten().collect();
    if present.len() < sets.len() {
        return;
    }
    present.sort_by_key(|set| set.len());
    let Some((smallest, others)) = present.split_first() else { return };
    for member in smallest.iter() {
        if others.iter().all(|set| set.contains_item(member)) && !each(member) {
            return;
        }
    }
}

fn collect_union(sets: &Sets, settings: &Settings) -> Set {
    let mut union = Set::integers();
    for member in sets.iter().flatten().flat_map(|set| set.iter()) {
        union.add_item(member, settings);
    }
    union
}

/// Hands every member of the first set that no other has to `each`.
fn subtract(keys: &[&[u8]], sets: &Sets, settings: &Settings, mut each: impl FnMut(Item)) {
    let Some(first) = sets[0] else { return };
    if keys[1..].contains(&keys[0]) {
        return;
    }
    let mut others: SmallVec<[SetView; 8]> = sets[1..].iter().copied().flatten().collect();
    // Asking every other set about every member of the first stops early for those that have one in common, which is why it
    // is taken for half the work that it may be.
    let asking = first.len() * (others.len() + 1) / 2;
    let removing = first.len() + others.iter().map(|set| set.len()).sum::<usize>();
    if asking <= removing {
        // The largest is the likeliest to have it.
        others.sort_by_key(|set| std::cmp::Reverse(set.len()));
        for member in first.iter() {
            if !others.iter().any(|set| set.contains_item(member)) {
                each(member);
            }
        }
        return;
    }
    let mut rest = Set::integers();
    for member in first.iter() {
        rest.add_item(member, settings);
    }
    for member in others.iter().flat_map(|set| set.iter()) {
        if rest.is_empty() {
            return;
        }
        rest.remove_item(member);
    }
    rest.view().iter().for_each(each);
}

/// Stores a result, and answers how many members it has. An empty one deletes the key.
fn store(ctx: &mut Context, to: &[u8], result: Set, event: &'static str) {
    let len = result.view().len();
    if len > 0 {
        ctx.store.set_collection(ctx.db, to, result, Ttl::None);
        ctx.changed(to, EventClass::SET, event);
    } else if ctx.store.remove(ctx.db, to) {
        ctx.changed(to, EventClass::GENERIC, "del");
    }
    ctx.reply.integer(len as i64);
}
