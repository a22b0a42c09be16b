//! SORT and SORT_RO.
//!
//! BY and GET name keys by a pattern: the element takes the place of its `*`. Such keys are not among the command's keys, and
//! with several shards they may be anywhere. Then the command is a transaction that reads the whole keyspace
//! (`txn/transactions.md`): [`reaches`] tells that it is one, [`wanted`] which keys it will look up, and
//! [`excerpt`] what of each it needs.

use std::cmp::Ordering;
use std::ops::Range;

use super::double::exact_range_double;
use super::parse::integer;
use super::table::{keys::FoundKeys, movable, Reaching, Wanted};
use super::{Args, CommandError, CommandResult, Context};
use crate::resp::Reply;
use crate::store::listpack::Item;
use crate::store::{Collection, Detached, End, EventClass, Hash, List, Store, Ttl, Value};

/// SORT key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] [STORE destination]
pub fn sort(ctx: &mut Context, args: Args) -> CommandResult {
    let options = Options::parse(args, true, !ctx.caller.may_not_reach)?;
    run(ctx, args, options)
}

/// SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]
pub fn sort_ro(ctx: &mut Context, args: Args) -> CommandResult {
    let options = Options::parse(args, false, !ctx.caller.may_not_reach)?;
    run(ctx, args, options)
}

/// SORT's keys: it reads the first and overwrites that of the last STORE. Those that BY and GET make up cannot be named.
pub fn sort_keys(args: Args, found: &mut FoundKeys) -> CommandResult {
    let options = Options::parse(args, true, true)?;
    found.key_used(1, movable::READ);
    if let Some(index) = options.store {
        found.key_used(index, movable::OVERWRITE);
    }
    Ok(())
}

/// SORT_RO's only key that can be named.
pub fn sort_ro_keys(args: Args, found: &mut FoundKeys) -> CommandResult {
    Options::parse(args, false, true)?;
    found.key_used(1, movable::READ);
    Ok(())
}

/// Whether it may look up keys that its arguments do not name.
fn reaches(args: Args, may_store: bool) -> bool {
    let options = Options::parse(args, may_store, true);
    options.is_ok_and(|options| options.patterns().any(|pattern| matches!(pattern, Pattern::Key { .. })))
}

/// For the command table.
pub const REACHING: Reaching = Reaching { reaches: |args| reaches(args, true), wanted, excerpt };
/// As [`REACHING`], of SORT_RO.
pub const REACHING_RO: Reaching = Reaching { reaches: |args| reaches(args, false), wanted, excerpt };

/// The keys that the command will look up, each pair once, in order. None when the command fails.
fn wanted(store: &mut Store, db: usize, args: Args) -> Vec<Wanted> {
    let Ok(options) = Options::parse(args, true, true) else { return Vec::new() };
    let Ok(mut elements) = Elements::load(store, db, args[1], &options) else { return Vec::new() };
    // Which elements GET will be about is known in advance when nothing but they themselves are compared.
    let got = if options.by.is_none_or(|by| !matches!(by, Pattern::Key { .. })) {
        if elements.sort(store, db, &options).is_err() {
            return Vec::new();
        }
        options.range(elements.len())
    } else {
        0..elements.len()
    };
    let mut wanted = Vec::new();
    let mut add = |pattern: Pattern, element: &[u8]| {
        let mut key = Vec::new();
        if let Pattern::Key { field, .. } = pattern {
            pattern.write_key(element, &mut key);
            wanted.push(Wanted { key, field: field.map(<[u8]>::to_vec) });
        }
    };
    for index in 0..elements.len() {
        let element = elements.text(index);
        if let (true, Some(by)) = (options.sorts(), options.by) {
            add(by, element);
        }
        if got.contains(&index) {
            options.gets.iter().for_each(|pattern| add(*pattern, element));
        }
    }
    wanted.sort_unstable_by(|a, b| (&a.key, &a.field).cmp(&(&b.key, &b.field)));
    wanted.dedup();
    wanted
}

/// What SORT needs of the value of one key: `wanted` all have this key. `None` when it would find nothing.
fn excerpt(store: &mut Store, db: usize, wanted: &[Wanted]) -> Option<Detached> {
    let key = &wanted.first()?.key;
    let hash = match store.peek(db, key)? {
        Value::Hash(hash) => hash,
        value if value.value_type() == crate::store::ValueType::String => return store.clone_value(db, key),
        _ => return None,
    };
    let fields: Vec<(&[u8], Vec<u8>)> = wanted
        .iter()
        .filter_map(|wanted| wanted.field.as_deref())
        .filter_map(|field| Some((field, hash.get(field)?.to_vec())))
        .collect();
    let mut part = Hash::empty();
    for (field, value) in &fields {
        part.set(field, value, &store.settings);
    }
    (!fields.is_empty()).then(|| Detached::from_collection(part, None))
}

/// What stands behind BY or GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// Without a `*`: nothing.
    Constant,
    Key {
        before: &'a [u8],
        behind: &'a [u8],
        field: Option<&'a [u8]>,
    },
}

impl<'a> Pattern<'a> {
    fn parse(text: &'a [u8]) -> Pattern<'a> {
        if text == b"#" {
            return Pattern::Element;
        }
        let Some(star) = memchr::memchr(b'*', text) else { return Pattern::Constant };
        let (before, behind) = (&text[..star], &text[star + 1..]);
        // An arrow with nothing behind it is a part of the key.
        let arrow = memchr::memmem::find(behind, b"->").filter(|arrow| arrow + 2 < behind.len());
        match arrow {
            Some(arrow) => {
                Pattern::Key { before, behind: &behind[..arrow], field: Some(&behind[arrow + 2..]) }
            }
            None => Pattern::Key { before, behind, field: None },
        }
    }

    fn write_key(&self, element: &[u8], key: &mut Vec<u8>) {
        key.clear();
        if let Pattern::Key { before, behind, .. } = self {
            key.extend_from_slice(before);
            key.extend_from_slice(element);
            key.extend_from_slice(behind);
        }
    }

    /// Hands what the pattern stands for to `then`: `None` when there is nothing. The key is made in `key`.
    fn look_up<R>(
        &self,
        store: &mut Store,
        db: usize,
        element: &[u8],
        key: &mut Vec<u8>,
        then: impl FnOnce(Option<Found>) -> R,
    ) -> R {
        let field = match self {
            Pattern::Element => return then(Some(Found::Item(Item::Bytes(element)))),
            Pattern::Constant => return then(None),
            Pattern::Key { field, .. } => field,
        };
        self.write_key(element, key);
        match (store.read(db, key), field) {
            (Some(Value::Hash(hash)), Some(field)) => then(hash.get(field).map(Found::Item)),
            (Some(value @ (Value::Int(_) | Value::Bytes(_) | Value::Shared(_))), None) => {
                then(Some(Found::Value(value)))
            }
            _ => then(None),
        }
    }
}

enum Found<'a> {
    Item(Item<'a>),
    Value(Value<'a>),
}

impl Found<'_> {
    fn write(self, reply: &mut Reply) -> CommandResult {
        match self {
            Found::Item(Item::Int(value)) => reply.bulk_integer(value),
            Found::Item(Item::Bytes(bytes)) => reply.bulk(bytes),
            Found::Value(value) => value.write_string(reply)?,
        }
        Ok(())
    }

    fn bytes<'b>(&'b self, digits: &'b mut itoa::Buffer) -> &'b [u8] {
        match self {
            Found::Item(item) => item.bytes(digits),
            Found::Value(value) => value.string(digits).unwrap_or_default(),
        }
    }
}

struct Options<'a> {
    by: Option<Pattern<'a>>,
    limit: (i64, i64),
    gets: Vec<Pattern<'a>>,
    descending: bool,
    alpha: bool,
    /// The index of the key to store the result at.
    store: Option<usize>,
    in_script: bool,
}

impl<'a> Options<'a> {
    /// `may_reach`: the user may read keys that no argument names.
    fn parse(all: Args<'a>, may_store: bool, may_reach: bool) -> Result<Options<'a>, CommandError> {
        let mut args = all.get(2..).unwrap_or_default();
        let mut options = Options {
            by: None,
            limit: (0, -1),
            gets: Vec::new(),
            descending: false,
            alpha: false,
            store: None,
            in_script: false,
        };
        while let [name, rest @ ..] = args {
            let is = |word: &[u8]| name.eq_ignore_ascii_case(word);
            args = rest;
            match rest {
                _ if is(b"asc") => options.descending = false,
                _ if is(b"desc") => options.descending = true,
                _ if is(b"alpha") => options.alpha = true,
                [offset, count, rest @ ..] if is(b"limit") => {
                    options.limit = (integer(offset)?, integer(count)?);
                    args = rest;
                }
                [_, rest @ ..] if may_store && is(b"store") => {
                    options.store = Some(all.len() - rest.len() - 1);
                    args = rest;
                }
                [pattern, rest @ ..] if is(b"by") => {
                    if pattern.contains(&b'*') && !may_reach {
                        return Err(denied("BY"));
                    }
                    // Of several the last counts, unless one says that nothing is to be compared.
                    if options.by != Some(Pattern::Constant) {
                        options.by = Some(Pattern::parse_by(pattern));
                    }
                    args = rest;
                }
                [pattern, rest @ ..] if is(b"get") => {
                    if !may_reach {
                        return Err(denied("GET"));
                    }
                    options.gets.push(Pattern::parse(pattern));
                    args = rest;
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }

    /// Whether anything is compared: not with a constant BY.
    fn sorts(&self) -> bool {
        self.by != Some(Pattern::Constant)
    }

    fn patterns(&self) -> impl Iterator<Item = &Pattern<'a>> {
        self.by.iter().chain(&self.gets)
    }

    /// What LIMIT selects of `len` elements.
    fn range(&self, len: usize) -> Range<usize> {
        let (offset, count) = self.limit;
        let start = usize::try_from(offset).unwrap_or(0).min(len);
        match usize::try_from(count) {
            Ok(count) => start..start.saturating_add(count).min(len),
            Err(_) => start..len,
        }
    }
}

fn denied(option: &str) -> CommandError {
    CommandError::other(format!("ERR {option} option of SORT denied due to insufficient ACL permissions."))
}

impl<'a> Pattern<'a> {
    /// BY's: `#` is no pattern there.
    fn parse_by(text: &'a [u8]) -> Pattern<'a> {
        match Pattern::parse(text) {
            Pattern::Element => Pattern::Constant,
            pattern => pattern,
        }
    }
}

/// The elements to sort, their bytes in one buffer.
struct Elements {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// They are a list's or a sorted set's, whose order DESC reverses even when nothing is compared.
    are_ordered: bool,
    /// What BY found, when it is compared as text.
    weights: Vec<u8>,
}

struct Entry {
    text: Range<usize>,
    score: f64,
    /// In `weights`.
    weight: Option<Range<usize>>,
    /// Its place before sorting, which decides between equals.
    place: usize,
}

impl Elements {
    /// Those that `key` holds. None when there is no such key.
    fn load(store: &mut Store, db: usize, key: &[u8], options: &Options) -> Result<Elements, CommandError> {
        let mut elements =
            Elements { bytes: Vec::new(), entries: Vec::new(), are_ordered: true, weights: Vec::new() };
        match store.read(db, key) {
            None => {}
            Some(Value::List(list)) => {
                elements.entries.reserve_exact(list.len());
                list.for_each(|item| elements.push(item));
            }
            Some(Value::SortedSet(set)) => {
                elements.entries.reserve_exact(set.len());
                set.iter().for_each(|(member, _)| elements.push(member));
            }
            Some(Value::Set(set)) => {
                elements.are_ordered = false;
                elements.entries.reserve_exact(set.len());
                set.iter().for_each(|member| elements.push(member));
            }
            Some(_) => return Err(CommandError::WrongType),
        }
        if !options.sorts() && elements.are_ordered && options.descending {
            elements.entries.reverse();
        }
        Ok(elements)
    }

    fn push(&mut self, item: Item) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(item.bytes(&mut itoa::Buffer::new()));
        let place = self.entries.len();
        self.entries.push(Entry { text: start..self.bytes.len(), score: 0.0, weight: None, place });
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn text(&self, index: usize) -> &[u8] {
        &self.bytes[self.entries[index].text.clone()]
    }

    /// Sorts what LIMIT selects; elements outside may be in any order.
    fn sort(&mut self, store: &mut Store, db: usize, options: &Options) -> CommandResult {
        // A set has no order of its own; what is stored, or a script decides by, must not depend on that of its table.
        let is_stored_set = !self.are_ordered && (options.store.is_some() || options.in_script);
        let (by, alpha) = match options.sorts() {
            true => (options.by, options.alpha),
            false if is_stored_set => (None, true),
            false => return Ok(()),
        };
        self.weigh(store, db, by, alpha)?;
        let (bytes, weights) = (&self.bytes, &self.weights);
        let text = |entry: &Entry| &bytes[entry.text.clone()];
        let compare = |a: &Entry, b: &Entry| {
            let order = match (alpha, by) {
                (false, _) => a
                    .score
                    .partial_cmp(&b.score)
                    .unwrap_or(Ordering::Equal)
                    .then_with(|| text(a).cmp(text(b))),
                (true, None) => text(a).cmp(text(b)),
                (true, Some(_)) => {
                    let weight = |entry: &Entry| entry.weight.clone().map(|range| &weights[range]);
                    weight(a).cmp(&weight(b))
                }
            };
            let order = if options.descending { order.reverse() } else { order };
            order.then(a.place.cmp(&b.place))
        };
        let range = options.range(self.entries.len());
        let entries = &mut self.entries[..];
        if range.is_empty() {
            return Ok(());
        }
        if range.end < entries.len() {
            entries.select_nth_unstable_by(range.end - 1, compare);
        }
        let entries = &mut entries[..range.end];
        if range.start > 0 {
            entries.select_nth_unstable_by(range.start, compare);
        }
        entries[range.start..].sort_unstable_by(compare);
        Ok(())
    }

    /// Finds what the elements are compared by.
    fn weigh(&mut self, store: &mut Store, db: usize, by: Option<Pattern>, alpha: bool) -> CommandResult {
        let mut key = Vec::new();
        for entry in &mut self.entries {
            let element = &self.bytes[entry.text.clone()];
            let weights = &mut self.weights;
            let mut weigh = |weight: &[u8]| {
                if alpha {
                    let start = weights.len();
                    weights.extend_from_slice(weight);
                    entry.weight = Some(start..weights.len());
                } else {
                    entry.score = score(weight)?;
                }
                Ok::<(), CommandError>(())
            };
            match by {
                None if alpha => {}
                None => weigh(element)?,
                Some(by) => by.look_up(store, db, element, &mut key, |found| match found {
                    Some(found) => weigh(found.bytes(&mut itoa::Buffer::new())),
                    None => Ok(()),
                })?,
            }
        }
        Ok(())
    }
}

/// A number as C's `strtod` reads it, which takes nothing for 0.
fn score(text: &[u8]) -> Result<f64, CommandError> {
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Ok(0.0);
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().take_while(|byte| is_space(byte)).count();
    exact_range_double(&text[start..])
        .ok_or(CommandError::other("ERR One or more scores can't be converted into double"))
}

fn run(ctx: &mut Context, args: Args, options: Options) -> CommandResult {
    let options = Options { in_script: ctx.caller.in_script, ..options };
    let mut elements = Elements::load(ctx.store, ctx.db, args[1], &options)?;
    elements.sort(ctx.store, ctx.db, &options)?;
    match options.store {
        Some(index) => store(ctx, &elements, &options, args[index]),
        None => write(ctx, &elements, &options),
    }
}

fn write(ctx: &mut Context, elements: &Elements, options: &Options) -> CommandResult {
    let range = options.range(elements.len());
    ctx.reply.array(range.len() * options.gets.len().max(1));
    let mut key = Vec::new();
    for index in range {
        let element = elements.text(index);
        if options.gets.is_empty() {
            ctx.reply.bulk(element);
        }
        for pattern in &options.gets {
            let reply = &mut *ctx.reply;
            pattern.look_up(ctx.store, ctx.db, element, &mut key, |found| match found {
                Some(found) => found.write(reply),
                None => {
                    reply.null();
                    Ok(())
                }
            })?;
        }
    }
    Ok(())
}

fn store(ctx: &mut Context, elements: &Elements, options: &Options, destination: &[u8]) -> CommandResult {
    let range = options.range(elements.len());
    let settings = ctx.store.settings.clone();
    let mut list = List::for_many(&settings);
    let mut key = Vec::new();
    for index in range {
        let element = elements.text(index);
        if options.gets.is_empty() {
            list.push(End::Tail, element, &settings);
        }
        for pattern in &options.gets {
            pattern.look_up(ctx.store, ctx.db, element, &mut key, |found| {
                let mut digits = itoa::Buffer::new();
                let value = found.as_ref().map(|found| found.bytes(&mut digits)).unwrap_or_default();
                list.push(End::Tail, value, &settings);
            });
        }
    }
    let len = list.view().len();
    if len > 0 {
        list.settle(&settings);
        ctx.store.set_collection(ctx.db, destination, list, Ttl::None);
        ctx.changed(destination, EventClass::LIST, "sortstore");
        ctx.store.dirty += len as u64 - 1;
    } else if ctx.store.remove(ctx.db, destination) {
        ctx.changed(destination, EventClass::GENERIC, "del");
    }
    ctx.reply.integer(len as i64);
    Ok(())
}

#[cfg(test)]
#[path = "sort_tests.rs"]
mod tests;
