//! Sorted sets out of sorted sets and sets: ZUNION, ZINTER, ZDIFF, ZINTERCARD, and the forms of the first three that store.
//!
//! Scores of sets are 1. Scores are added in the order of the sources' sizes, smallest first, as Redis does: the sum of
//! doubles depends on it.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::super::double::double;
use super::super::parse::{integer, numbered_keys, BadCount};
use super::{store_result, write_elements, Args, CommandError, CommandResult, Context};
use crate::store::listpack::Item;
use crate::store::{Score, Set, SetView, SortedSet, SortedSetView, Store, Value, WrongType};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// How the scores of one member are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Aggregate {
    #[default]
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn join(self, score: Score, other: Score) -> Score {
        match self {
            Aggregate::Sum => number_or_zero(score + other),
            Aggregate::Min if other < score => other,
            Aggregate::Max if other > score => other,
            Aggregate::Min | Aggregate::Max => score,
        }
    }
}

/// Infinities that cancel each other, and zero times infinity, count as 0.
fn number_or_zero(score: Score) -> Score {
    if score.is_nan() {
        0.0
    } else {
        score
    }
}

/// What a command of this family was told.
struct Request<'a> {
    keys: Args<'a>,
    /// One for each key.
    weights: SmallVec<[Score; 8]>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Of ZINTERCARD; 0: none.
    limit: u64,
}

/// The options that a command has.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Allowed {
    weights: bool,
    with_scores: bool,
    limit: bool,
}

impl<'a> Request<'a> {
    /// `args` begin with the number of keys. Redis looks at the keys before it reads options.
    fn parse(
        ctx: &mut Context,
        args: Args<'a>,
        allowed: Allowed,
        command: &'static str,
    ) -> Result<Request<'a>, CommandError> {
        let (keys, mut rest) = match numbered_keys(args) {
            Ok((keys, rest)) if !keys.is_empty() => (keys, rest),
            Ok(_) | Err(BadCount::Negative) => {
                return Err(CommandError::other(format!(
                    "ERR at least 1 input key is needed for '{command}' command"
                )));
            }
            Err(BadCount::NotAnInteger) => return Err(CommandError::NotInteger),
            Err(BadCount::TooMany) => return Err(CommandError::Syntax),
        };
        let numkeys = keys.len();
        for key in keys {
            match ctx.store.read(ctx.db, key) {
                None | Some(Value::SortedSet(_) | Value::Set(_)) => {}
                Some(_) => return Err(CommandError::WrongType),
            }
        }
        let mut request = Request {
            keys,
            weights: SmallVec::from_elem(1.0, numkeys),
            aggregate: Aggregate::default(),
            with_scores: false,
            limit: 0,
        };
        while let [option, arguments @ ..] = rest {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            rest = if is(b"weights") && allowed.weights && arguments.len() >= numkeys {
                for (weight, text) in request.weights.iter_mut().zip(arguments) {
                    *weight = double(text).ok_or(CommandError::other("ERR weight value is not a float"))?;
                }
                &arguments[numkeys..]
            } else if is(b"aggregate") && allowed.weights && !arguments.is_empty() {
                request.aggregate = aggregate(arguments[0])?;
                &arguments[1..]
            } else if is(b"withscores") && allowed.with_scores {
                request.with_scores = true;
                arguments
            } else if is(b"limit") && allowed.limit && !arguments.is_empty() {
                let limit = integer(arguments[0]).ok().and_then(|limit| u64::try_from(limit).ok());
                request.limit = limit.ok_or(CommandError::other("ERR LIMIT can't be negative"))?;
                &arguments[1..]
            } else {
                return Err(CommandError::Syntax);
            };
        }
        Ok(request)
    }
}

fn aggregate(name: &[u8]) -> Result<Aggregate, CommandError> {
    match name {
        name if name.eq_ignore_ascii_case(b"sum") => Ok(Aggregate::Sum),
        name if name.eq_ignore_ascii_case(b"min") => Ok(Aggregate::Min),
        name if name.eq_ignore_ascii_case(b"max") => Ok(Aggregate::Max),
        _ => Err(CommandError::Syntax),
    }
}

/// ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]
pub fn zunion(ctx: &mut Context, args: Args) -> CommandResult {
    show(ctx, args, Operation::Union, "zunion")
}

/// ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]
pub fn zinter(ctx: &mut Context, args: Args) -> CommandResult {
    show(ctx, args, Operation::Intersection, "zinter")
}

/// ZDIFF numkeys key [key ...] [WITHSCORES]
pub fn zdiff(ctx: &mut Context, args: Args) -> CommandResult {
    show(ctx, args, Operation::Difference, "zdiff")
}

/// ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX]
pub fn zunionstore(ctx: &mut Context, args: Args) -> CommandResult {
    store(ctx, args, Operation::Union, "zunionstore")
}

/// ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX]
pub fn zinterstore(ctx: &mut Context, args: Args) -> CommandResult {
    store(ctx, args, Operation::Intersection, "zinterstore")
}

/// ZDIFFSTORE destination numkeys key [key ...]
pub fn zdiffstore(ctx: &mut Context, args: Args) -> CommandResult {
    store(ctx, args, Operation::Difference, "zdiffstore")
}

/// ZINTERCARD numkeys key [key ...] [LIMIT limit]
pub fn zintercard(ctx: &mut Context, args: Args) -> CommandResult {
    let allowed = Allowed { weights: false, with_scores: false, limit: true };
    let request = Request::parse(ctx, &args[1..], allowed, "zintercard")?;
    let sources = sources(ctx.store, ctx.db, &request)?;
    let mut count = 0;
    intersect(sources, request.aggregate, |_, _| {
        count += 1;
        request.limit == 0 || count < request.limit
    });
    ctx.reply.integer(count as i64);
    Ok(())
}

fn show(ctx: &mut Context, args: Args, operation: Operation, command: &'static str) -> CommandResult {
    let allowed = Allowed { weights: operation != Operation::Difference, with_scores: true, limit: false };
    let request = Request::parse(ctx, &args[1..], allowed, command)?;
    let elements = combine(ctx.store, ctx.db, operation, &request)?;
    let items = elements.iter().map(|(member, score)| (Item::Bytes(member), *score));
    write_elements(ctx.reply, elements.len(), items, request.with_scores);
    Ok(())
}

fn store(ctx: &mut Context, args: Args, operation: Operation, command: &'static str) -> CommandResult {
    let allowed = Allowed { weights: operation != Operation::Difference, with_scores: false, limit: false };
    let request = Request::parse(ctx, &args[2..], allowed, command)?;
    let elements = combine(ctx.store, ctx.db, operation, &request)?;
    let result = SortedSet::of_sorted(&elements, &ctx.store.settings);
    drop(elements);
    store_result(ctx, args[1], result, command)
}

/// A member with its score, borrowed from a source where it can be.
type Element<'a> = (Cow<'a, [u8]>, Score);

fn cow(item: Item) -> Cow<[u8]> {
    match item {
        Item::Bytes(bytes) => Cow::Borrowed(bytes),
        Item::Int(_) => Cow::Owned(item.to_vec()),
    }
}

/// The result in its order.
fn combine<'a>(
    store: &'a Store,
    db: usize,
    operation: Operation,
    request: &Request,
) -> Result<Vec<Element<'a>>, CommandError> {
    let sources = sources(store, db, request)?;
    let mut elements = match operation {
        Operation::Union => union(sources, request.aggregate),
        Operation::Intersection => {
            let mut common = Vec::new();
            intersect(sources, request.aggregate, |member, score| {
                common.push((cow(member), score));
                true
            });
            common
        }
        Operation::Difference => difference(request.keys, &sources),
    };
    elements.sort_unstable_by(|a, b| crate::store::element_order((a.1, &a.0), (b.1, &b.0)));
    Ok(elements)
}

/// A sorted set or a set, with its weight.
#[derive(Clone, Copy)]
struct Source<'a> {
    view: View<'a>,
    weight: Score,
}

#[derive(Clone, Copy)]
enum View<'a> {
    Absent,
    SortedSet(SortedSetView<'a>),
    Set(SetView<'a>),
}

/// The score of every member of a set.
const SET_SCORE: Score = 1.0;

impl<'a> View<'a> {
    fn len(self) -> usize {
        match self {
            View::Absent => 0,
            View::SortedSet(view) => view.len(),
            View::Set(view) => view.len(),
        }
    }

    fn score(self, member: Item) -> Option<Score> {
        match self {
            View::Absent => None,
            View::SortedSet(view) => view.score(member.bytes(&mut itoa::Buffer::new())),
            View::Set(view) => view.contains_item(member).then_some(SET_SCORE),
        }
    }

    fn iter(self) -> impl Iterator<Item = (Item<'a>, Score)> {
        let (sorted_set, set) = match self {
            View::Absent => (None, None),
            View::SortedSet(view) => (Some(view.iter()), None),
            View::Set(view) => (None, Some(view.iter())),
        };
        let of_set = set.into_iter().flatten().map(|member| (member, SET_SCORE));
        sorted_set.into_iter().flatten().chain(of_set)
    }
}

type Sources<'a> = SmallVec<[Source<'a>; 8]>;

/// The sources in the order of the keys.
fn sources<'a>(store: &'a Store, db: usize, request: &Request) -> Result<Sources<'a>, WrongType> {
    let view = |key: &[u8]| match store.look_as::<SortedSet>(db, key) {
        Ok(view) => Ok(view.map_or(View::Absent, View::SortedSet)),
        Err(WrongType) => Ok(store.look_as::<Set>(db, key)?.map_or(View::Absent, View::Set)),
    };
    let weighted = request.keys.iter().zip(&request.weights);
    weighted.map(|(key, &weight)| Ok(Source { view: view(key)?, weight })).collect()
}

fn union<'a>(mut sources: Sources<'a>, aggregate: Aggregate) -> Vec<Element<'a>> {
    sources.sort_by_key(|source| source.view.len());
    if let [only] = sources[..] {
        let weighted = |score| number_or_zero(only.weight * score);
        return only.view.iter().map(|(member, score)| (cow(member), weighted(score))).collect();
    }
    let largest = sources.last().map_or(0, |source| source.view.len());
    let mut union: HashMap<Cow<[u8]>, Score, RandomState> =
        HashMap::with_capacity_and_hasher(largest, RandomState::default());
    for source in sources {
        for (member, score) in source.view.iter() {
            let score = number_or_zero(source.weight * score);
            union
                .entry(cow(member))
                .and_modify(|joined| *joined = aggregate.join(*joined, score))
                .or_insert(score);
        }
    }
    union.into_iter().collect()
}

/// Hands each member that all sources have, with its joined score, to `each`, until that answers false.
fn intersect<'a>(
    mut sources: Sources<'a>,
    aggregate: Aggregate,
    mut each: impl FnMut(Item<'a>, Score) -> bool,
) {
    sources.sort_by_key(|source| source.view.len());
    let Some((smallest, others)) = sources.split_first() else { return };
    'members: for (member, score) in smallest.view.iter() {
        let mut joined = number_or_zero(smallest.weight * score);
        for other in others {
            let Some(score) = other.view.score(member) else { continue 'members };
            joined = aggregate.join(joined, score * other.weight);
        }
        if !each(member, joined) {
            return;
        }
    }
}

/// The elements of the first source whose members no other has.
fn difference<'a>(keys: Args, sources: &[Source<'a>]) -> Vec<Element<'a>> {
    let Some((first, others)) = sources.split_first() else { return Vec::new() };
    if keys[1..].contains(&keys[0]) {
        return Vec::new();
    }
    let mut others: SmallVec<[View; 8]> = others.iter().map(|source| source.view).collect();
    // Asking the others about each member of the first often stops early, which is why it is taken for half the work that
    // it may be.
    let asking = first.view.len() * sources.len() / 2;
    let removing = sources.iter().map(|source| source.view.len()).sum::<usize>();
    if asking <= removing {
        // The largest is the likeliest to have it.
        others.sort_by_key(|other| Reverse(other.len()));
        let is_left = |member| !others.iter().any(|other| other.score(member).is_some());
        let left = first.view.iter().filter(|(member, _)| is_left(*member));
        return left.map(|(member, score)| (cow(member), score)).collect();
    }
    let mut left: HashMap<Cow<[u8]>, Score, RandomState> =
        first.view.iter().map(|(member, score)| (cow(member), score)).collect();
    for (member, _) in others.iter().flat_map(|other| other.iter()) {
        left.remove(member.bytes(&mut itoa::Buffer::new()));
        if left.is_empty() {
            break;
        }
    }
    left.into_iter().collect()
}
