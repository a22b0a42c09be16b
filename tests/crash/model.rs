//! What one client's keys hold after each of its operations, as a Redis server would have it.
//!
//! Every client has keys of its own, of all types, on all shards; nobody else writes to them. So what they hold after the
//! client's first `n` operations is known without asking, and what a recovery brings back can be compared with it. Each operation
//! that adds something adds something that was never there before, so that states can be told apart.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::scripts::Way;
use super::support::{Random, Value};
use gyre::slots::shard_of_slot;
use gyre::store::slot_of;

/// Keys are spread over so many parts of the slots; 1, 2 and 4 shards have whole ones.
pub const HOMES: usize = 4;
/// A home's keys lie in the first of so many parts of it, so that each home is on one shard of three, too.
const PARTS_PER_HOME: usize = 3;
/// Elements that a list or stream is cut back to now and then.
const SHORT: usize = 8;
const BIG_VALUE_BYTES: usize = 60_000;

/// The kinds of keys; each client has one of each in each home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// What texts are renamed and copied to.
    Moved,
    Appended,
    Counter,
    List,
    /// What lists give their elements to.
    Taker,
    Hash,
    Set,
    Union,
    Scored,
    Stream,
    /// A string and a hash that expire.
    Fleeting,
    FleetingHash,
}

pub const KINDS: [Kind; 13] = [
    Kind::Text,
    Kind::Moved,
    Kind::Appended,
    Kind::Counter,
    Kind::List,
    Kind::Taker,
    Kind::Hash,
    Kind::Set,
    Kind::Union,
    Kind::Scored,
    Kind::Stream,
    Kind::Fleeting,
    Kind::FleetingHash,
];

/// One of a client's keys.
pub type Key = usize;

pub fn key(kind: Kind, home: usize) -> Key {
    kind as usize * HOMES + home
}

pub fn kind_of(key: Key) -> Kind {
    KINDS[key / HOMES]
}

pub fn home_of(key: Key) -> usize {
    key % HOMES
}

pub fn shard_of_home(home: usize, shards: usize) -> usize {
    home * PARTS_PER_HOME * shards / (HOMES * PARTS_PER_HOME)
}

/// A name that begins with `prefix` and lies in `home`.
pub fn name_in(prefix: &str, home: usize) -> String {
    let part = |name: &String| shard_of_slot(slot_of(name.as_bytes()), HOMES * PARTS_PER_HOME);
    let is_there = |name: &String| part(name) == home * PARTS_PER_HOME;
    (0..).map(|n| format!("{prefix}:{n}")).find(is_there).expect("every shard owns slots")
}

/// The names of a client's keys, by `Key`.
pub fn names(client: usize) -> Vec<String> {
    let name = |key: Key| name_in(&format!("c{client}:{:?}:{}", kind_of(key), home_of(key)), home_of(key));
    (0..KINDS.len() * HOMES).map(name).collect()
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    Text(String),
    List(VecDeque<String>),
    Hash(BTreeMap<String, String>),
    Set(BTreeSet<String>),
    Scored(BTreeMap<String, i64>),
    Stream(VecDeque<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub held: Held,
    pub expire_at_ms: Option<i64>,
}

impl Entry {
    fn new(held: Held) -> Entry {
        Entry { held, expire_at_ms: None }
    }

    fn is_empty(&self) -> bool {
        match &self.held {
            Held::Text(_) | Held::Stream(_) => false,
            Held::List(list) => list.is_empty(),
            Held::Hash(fields) => fields.is_empty(),
            Held::Set(members) => members.is_empty(),
            Held::Scored(members) => members.is_empty(),
        }
    }
}

pub type State = Vec<Option<Entry>>;

/// One command. Numbers make what is written unlike everything before.
#[derive(Clone, Debug)]
pub enum Step {
    Set {
        key: Key,
        number: u64,
        is_big: bool,
    },
    SetUntil {
        key: Key,
        number: u64,
        at_ms: i64,
    },
    ExpireAt {
        key: Key,
        at_ms: i64,
    },
    Append {
        key: Key,
        number: u64,
    },
    Increment {
        key: Key,
    },
    SetAll {
        keys: Vec<Key>,
        number: u64,
    },
    Rename {
        from: Key,
        to: Key,
    },
    Copy {
        from: Key,
        to: Key,
    },
    Delete {
        keys: Vec<Key>,
    },
    Push {
        key: Key,
        number: u64,
    },
    Pop {
        key: Key,
    },
    Trim {
        key: Key,
    },
    Move {
        from: Key,
        to: Key,
    },
    PutField {
        key: Key,
        field: u64,
        number: u64,
    },
    DropField {
        key: Key,
        field: u64,
    },
    AddMember {
        key: Key,
        number: u64,
    },
    MoveMember {
        from: Key,
        to: Key,
        member: String,
    },
    StoreUnion {
        to: Key,
        from: [Key; 2],
    },
    Score {
        key: Key,
        member: u64,
        number: u64,
    },
    PopLowest {
        key: Key,
    },
    AddEntry {
        key: Key,
        number: u64,
    },
    TrimStream {
        key: Key,
    },
    /// Takes from one of the accounts that all clients share what it gives to another.
    Transfer {
        from: usize,
        to: usize,
        amount: u64,
    },
    /// Counts on a key that all clients share.
    Count {
        home: usize,
    },
}

/// Several steps are a MULTI body, or a script.
#[derive(Clone, Debug)]
pub struct Operation {
    pub steps: Vec<Step>,
    pub way: Way,
}

pub struct Shared {
    pub accounts: Vec<String>,
    pub totals: Vec<String>,
}

impl Shared {
    pub fn new() -> Shared {
        let all = |what: &str| (0..HOMES).map(|home| name_in(&format!("{what}{home}"), home)).collect();
        Shared { accounts: all("account"), totals: all("total") }
    }
}

fn text(number: u64, is_big: bool) -> String {
    let mut text = format!("n{number}");
    if is_big {
        text.push('.');
        text.push_str(&number.to_string().repeat(BIG_VALUE_BYTES / 6));
    }
    text
}

/// The number that a text was written with.
pub fn number_of(text: &str) -> Option<u64> {
    text.strip_prefix('n')?.split('.').next()?.parse().ok()
}

impl Step {
    /// The client's keys that it may change.
    pub fn keys(&self) -> Vec<Key> {
        match self {
            Step::Set { key, .. }
            | Step::SetUntil { key, .. }
            | Step::ExpireAt { key, .. }
            | Step::Append { key, .. }
            | Step::Increment { key }
            | Step::Push { key, .. }
            | Step::Pop { key }
            | Step::Trim { key }
            | Step::PutField { key, .. }
            | Step::DropField { key, .. }
            | Step::AddMember { key, .. }
            | Step::Score { key, .. }
            | Step::PopLowest { key }
            | Step::AddEntry { key, .. }
            | Step::TrimStream { key } => vec![*key],
            Step::SetAll { keys, .. } | Step::Delete { keys } => keys.clone(),
            Step::Rename { from, to } | Step::Move { from, to } | Step::MoveMember { from, to, .. } => {
                vec![*from, *to]
            }
            Step::Copy { to, .. } | Step::StoreUnion { to, .. } => vec![*to],
            Step::Transfer { .. } | Step::Count { .. } => Vec::new(),
        }
    }

    pub fn args(&self, names: &[String], shared: &Shared) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        match self {
            Step::Set { key, number, is_big } => words(&["SET", &names[*key], &text(*number, *is_big)]),
            Step::SetUntil { key, number, at_ms } => {
                words(&["SET", &names[*key], &text(*number, false), "PXAT", &at_ms.to_string()])
            }
            Step::ExpireAt { key, at_ms } => words(&["PEXPIREAT", &names[*key], &at_ms.to_string()]),
            Step::Append { key, number } => words(&["APPEND", &names[*key], &text(*number, false)]),
            Step::Increment { key } => words(&["INCR", &names[*key]]),
            Step::SetAll { keys, number } => {
                let pairs = keys.iter().flat_map(|key| [names[*key].clone(), text(*number, false)]);
                std::iter::once("MSET".to_owned()).chain(pairs).collect()
            }
            Step::Rename { from, to } => words(&["RENAME", &names[*from], &names[*to]]),
            Step::Copy { from, to } => words(&["COPY", &names[*from], &names[*to], "REPLACE"]),
            Step::Delete { keys } => {
                std::iter::once("DEL".to_owned()).chain(keys.iter().map(|key| names[*key].clone())).collect()
            }
            Step::Push { key, number } => words(&["RPUSH", &names[*key], &text(*number, false)]),
            Step::Pop { key } => words(&["LPOP", &names[*key]]),
            Step::Trim { key } => words(&["LTRIM", &names[*key], &format!("-{SHORT}"), "-1"]),
            Step::Move { from, to } => words(&["LMOVE", &names[*from], &names[*to], "LEFT", "RIGHT"]),
            Step::PutField { key, field, number } => {
                words(&["HSET", &names[*key], &format!("f{field}"), &text(*number, false)])
            }
            Step::DropField { key, field } => words(&["HDEL", &names[*key], &format!("f{field}")]),
            Step::AddMember { key, number } => words(&["SADD", &names[*key], &text(*number, false)]),
            Step::MoveMember { from, to, member } => words(&["SMOVE", &names[*from], &names[*to], member]),
            Step::StoreUnion { to, from: [a, b] } => {
                words(&["SUNIONSTORE", &names[*to], &names[*a], &names[*b]])
            }
            Step::Score { key, member, number } => {
                words(&["ZADD", &names[*key], &number.to_string(), &format!("m{member}")])
            }
            Step::PopLowest { key } => words(&["ZPOPMIN", &names[*key]]),
            Step::AddEntry { key, number } => {
                words(&["XADD", &names[*key], &format!("{number}-1"), "f", &text(*number, false)])
            }
            Step::TrimStream { key } => words(&["XTRIM", &names[*key], "MAXLEN", "=", &SHORT.to_string()]),
            // Only used inside of MULTI; as one command of two it would not be one step.
            Step::Transfer { .. } => unreachable!("a transfer has two commands: `commands`"),
            Step::Count { home } => words(&["INCR", &shared.totals[*home]]),
        }
    }

    fn apply(&self, state: &mut State) {
        let number_text = |number: &u64| text(*number, false);
        match self {
            Step::Set { key, number, is_big } => {
                state[*key] = Some(Entry::new(Held::Text(text(*number, *is_big))))
            }
            Step::SetUntil { key, number, at_ms } => {
                state[*key] =
                    Some(Entry { held: Held::Text(number_text(number)), expire_at_ms: Some(*at_ms) });
            }
            Step::ExpireAt { key, at_ms } => {
                if let Some(entry) = &mut state[*key] {
                    entry.expire_at_ms = Some(*at_ms);
                }
            }
            Step::Append { key, number } => {
                let entry = state[*key].get_or_insert_with(|| Entry::new(Held::Text(String::new())));
                let Held::Text(old) = &mut entry.held else { panic!("no text: {entry:?}") };
                old.push_str(&number_text(number));
            }
            Step::Increment { key } => {
                let entry = state[*key].get_or_insert_with(|| Entry::new(Held::Text("0".to_owned())));
                let Held::Text(old) = &mut entry.held else { panic!("no text: {entry:?}") };
                *old = (old.parse::<u64>().expect("a counter is a number") + 1).to_string();
            }
            Step::SetAll { keys, number } => {
                for key in keys {
                    state[*key] = Some(Entry::new(Held::Text(number_text(number))));
                }
            }
            Step::Rename { from, to } => state[*to] = state[*from].take(),
            Step::Copy { from, to } => {
                if state[*from].is_some() {
                    state[*to] = state[*from].clone();
                }
            }
            Step::Delete { keys } => keys.iter().for_each(|key| state[*key] = None),
            Step::Push { key, number } => list(&mut state[*key]).push_back(number_text(number)),
            Step::Pop { key } => {
                list(&mut state[*key]).pop_front();
            }
            Step::Trim { key } => {
                let list = list(&mut state[*key]);
                list.drain(..list.len().saturating_sub(SHORT));
            }
            Step::Move { from, to } => {
                if let Some(element) = list(&mut state[*from]).pop_front() {
                    list(&mut state[*to]).push_back(element);
                }
            }
            Step::PutField { key, field, number } => {
                let new = || Entry::new(Held::Hash(BTreeMap::new()));
                let Held::Hash(fields) = &mut state[*key].get_or_insert_with(new).held else {
                    panic!("no hash")
                };
                fields.insert(format!("f{field}"), number_text(number));
            }
            Step::DropField { key, field } => {
                if let Some(Entry { held: Held::Hash(fields), .. }) = &mut state[*key] {
                    fields.remove(&format!("f{field}"));
                }
            }
            Step::AddMember { key, number } => {
                set(&mut state[*key]).insert(number_text(number));
            }
            Step::MoveMember { from, to, member } => {
                if set(&mut state[*from]).remove(member) {
                    set(&mut state[*to]).insert(member.clone());
                }
            }
            Step::StoreUnion { to, from: [a, b] } => {
                let mut union = set(&mut state[*a]).clone();
                union.extend(set(&mut state[*b]).iter().cloned());
                state[*to] = Some(Entry::new(Held::Set(union)));
            }
            Step::Score { key, member, number } => {
                scored(&mut state[*key]).insert(format!("m{member}"), *number as i64);
            }
            Step::PopLowest { key } => {
                let members = scored(&mut state[*key]);
                let lowest = members.iter().min_by_key(|(name, score)| (**score, (*name).clone()));
                if let Some(name) = lowest.map(|(name, _)| name.clone()) {
                    members.remove(&name);
                }
            }
            Step::AddEntry { key, number } => {
                let new = || Entry::new(Held::Stream(VecDeque::new()));
                let Held::Stream(ids) = &mut state[*key].get_or_insert_with(new).held else {
                    panic!("no stream")
                };
                ids.push_back(format!("{number}-1"));
            }
            Step::TrimStream { key } => {
                if let Some(Entry { held: Held::Stream(ids), .. }) = &mut state[*key] {
                    ids.drain(..ids.len().saturating_sub(SHORT));
                }
            }
            Step::Transfer { .. } | Step::Count { .. } => {}
        }
        for entry in state.iter_mut() {
            entry.take_if(|entry| entry.is_empty());
        }
    }
}

fn list(entry: &mut Option<Entry>) -> &mut VecDeque<String> {
    match &mut entry.get_or_insert_with(|| Entry::new(Held::List(VecDeque::new()))).held {
        Held::List(list) => list,
        other => panic!("no list: {other:?}"),
    }
}

fn set(entry: &mut Option<Entry>) -> &mut BTreeSet<String> {
    match &mut entry.get_or_insert_with(|| Entry::new(Held::Set(BTreeSet::new()))).held {
        Held::Set(members) => members,
        other => panic!("no set: {other:?}"),
    }
}

fn scored(entry: &mut Option<Entry>) -> &mut BTreeMap<String, i64> {
    match &mut entry.get_or_insert_with(|| Entry::new(Held::Scored(BTreeMap::new()))).held {
        Held::Scored(members) => members,
        other => panic!("no sorted set: {other:?}"),
    }
}

impl Operation {
    /// What is sent, one reply each.
    pub fn commands(&self, names: &[String], shared: &Shared) -> Vec<Vec<String>> {
        let one = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let mut commands = Vec::new();
        for step in &self.steps {
            match step {
                Step::Transfer { from, to, amount } => {
                    let amount = amount.to_string();
                    commands.push(one(&["DECRBY", &shared.accounts[*from], &amount]));
                    commands.push(one(&["INCRBY", &shared.accounts[*to], &amount]));
                }
                step => commands.push(step.args(names, shared)),
            }
        }
        let is_key = |word: &str| {
            let all = [names, &shared.accounts, &shared.totals];
            all.iter().any(|list| list.iter().any(|name| name == word))
        };
        self.way.requests(commands, is_key)
    }

    pub fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.steps.iter().flat_map(Step::keys).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// How often it counts on the total of a home.
    pub fn counts(&self, home: usize) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Count { home: other } if *other == home)).count()
    }

    pub fn apply(&self, state: &mut State) {
        self.steps.iter().for_each(|step| step.apply(state));
    }

    /// One that makes sense in this state. `number` is used by no other operation of this client.
    pub fn random(random: &mut Random, state: &State, number: u64, now_ms: i64) -> Operation {
        let steps = match random.below(20) {
            0..=11 => vec![single(random, state, number, now_ms)],
            12..=16 => vec![over_shards(random, state, number)],
            17 => vec![Step::Transfer {
                from: random.below(HOMES),
                to: random.below(HOMES),
                amount: number % 100 + 1,
            }],
            _ => body(random, state, number, now_ms),
        };
        Operation { steps, way: Way::random(random) }
    }
}

/// A MULTI body, as a rule over several shards. What one step does is seen by the next one.
fn body(random: &mut Random, state: &State, number: u64, now_ms: i64) -> Vec<Step> {
    if random.one_in(4) {
        let key = key(Kind::FleetingHash, random.below(HOMES));
        let at_ms = deadline(random, now_ms);
        let put = Step::PutField { key, field: number % 5, number };
        return vec![Step::Delete { keys: vec![key] }, put, Step::ExpireAt { key, at_ms }];
    }
    let mut state = state.clone();
    let mut steps = Vec::new();
    for _ in 0..2 + random.below(5) {
        let step = if random.one_in(4) {
            over_shards(random, &state, number)
        } else {
            single(random, &state, number, now_ms)
        };
        // In a stream, each ID comes once.
        let repeats = |other: &Step| matches!((other, &step), (Step::AddEntry { key: a, .. }, Step::AddEntry { key: b, .. }) if a == b);
        if steps.iter().any(repeats) {
            continue;
        }
        step.apply(&mut state);
        steps.push(step);
    }
    steps
}

fn deadline(random: &mut Random, now_ms: i64) -> i64 {
    now_ms + *random.pick(&[30, 200, 1500, 60_000, 3_600_000]) + random.below(100) as i64
}

fn single(random: &mut Random, state: &State, number: u64, now_ms: i64) -> Step {
    let home = random.below(HOMES);
    let at = |kind| key(kind, home);
    let len = |kind| match state[at(kind)].as_ref().map(|entry| &entry.held) {
        Some(Held::List(list)) => list.len(),
        Some(Held::Stream(ids)) => ids.len(),
        Some(Held::Text(text)) => text.len(),
        Some(Held::Set(members)) => members.len(),
        _ => 0,
    };
    match random.below(14) {
        0 | 1 => Step::Set { key: at(Kind::Text), number, is_big: random.one_in(60) },
        2 if len(Kind::Appended) > 300 => Step::Set { key: at(Kind::Appended), number, is_big: false },
        2 => Step::Append { key: at(Kind::Appended), number },
        3 => Step::Increment { key: at(Kind::Counter) },
        4 if len(Kind::List) > 2 * SHORT => Step::Trim { key: at(Kind::List) },
        4 | 5 => Step::Push { key: at(Kind::List), number },
        6 if len(Kind::Taker) > SHORT => Step::Trim { key: at(Kind::Taker) },
        6 => Step::Pop { key: at(Kind::List) },
        7 if random.one_in(4) => Step::DropField { key: at(Kind::Hash), field: number % 7 },
        7 => Step::PutField { key: at(Kind::Hash), field: number % 7, number },
        8 if len(Kind::Set) > 2 * SHORT => Step::Delete { keys: vec![at(Kind::Set)] },
        8 => Step::AddMember { key: at(Kind::Set), number },
        9 if random.one_in(4) => Step::PopLowest { key: at(Kind::Scored) },
        9 => Step::Score { key: at(Kind::Scored), member: number % 9, number },
        10 if len(Kind::Stream) > 2 * SHORT => Step::TrimStream { key: at(Kind::Stream) },
        10 => Step::AddEntry { key: at(Kind::Stream), number },
        11 | 12 => Step::SetUntil { key: at(Kind::Fleeting), number, at_ms: deadline(random, now_ms) },
        _ => Step::Count { home },
    }
}

fn over_shards(random: &mut Random, state: &State, number: u64) -> Step {
    let homes = random.sample(&[0, 1, 2, 3], 4);
    let is_there = |key: Key| state[key].is_some();
    match random.below(7) {
        0 => {
            let count = 2 + random.below(3);
            Step::SetAll { keys: homes[..count].iter().map(|home| key(Kind::Text, *home)).collect(), number }
        }
        1 => {
            let (from, to) = (key(Kind::Text, homes[0]), key(Kind::Moved, homes[1]));
            if is_there(from) {
                Step::Rename { from, to }
            } else {
                Step::Set { key: from, number, is_big: false }
            }
        }
        2 => Step::Copy { from: key(Kind::Text, homes[0]), to: key(Kind::Moved, homes[1]) },
        3 => {
            let from = [key(Kind::Set, homes[0]), key(Kind::Set, homes[1])];
            Step::StoreUnion { to: key(Kind::Union, homes[2]), from }
        }
        4 => Step::Move { from: key(Kind::List, homes[0]), to: key(Kind::Taker, homes[1]) },
        5 => {
            let (from, to) = (key(Kind::Set, homes[0]), key(Kind::Set, homes[1]));
            match &state[from] {
                Some(Entry { held: Held::Set(members), .. }) => {
                    let members: Vec<String> = members.iter().cloned().collect();
                    Step::MoveMember { from, to, member: random.pick(&members).clone() }
                }
                _ => Step::AddMember { key: from, number },
            }
        }
        _ => Step::Delete { keys: vec![key(Kind::Moved, homes[0]), key(Kind::Union, homes[1])] },
    }
}

/// The command that reads all of a key.
pub fn read(key: Key, name: &str) -> Vec<String> {
    let words: &[&str] = match kind_of(key) {
        Kind::Text | Kind::Moved | Kind::Appended | Kind::Counter | Kind::Fleeting => &["GET", name],
        Kind::List | Kind::Taker => &["LRANGE", name, "0", "-1"],
        Kind::Hash | Kind::FleetingHash => &["HGETALL", name],
        Kind::Set | Kind::Union => &["SMEMBERS", name],
        Kind::Scored => &["ZRANGE", name, "0", "-1", "WITHSCORES"],
        Kind::Stream => &["XRANGE", name, "-", "+"],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// What the reply to `read` says; `None` when the key is not there. An empty stream is not told from none: there are none.
pub fn parse(key: Key, reply: &Value) -> Result<Option<Held>, String> {
    if reply.is_error() {
        return Err(reply.text());
    }
    if reply.is_null() {
        return Ok(None);
    }
    let texts = || reply.elements().iter().map(Value::text).collect::<Vec<String>>();
    let pairs = || {
        let texts = texts();
        texts.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect::<Vec<_>>()
    };
    let held = match kind_of(key) {
        Kind::Text | Kind::Moved | Kind::Appended | Kind::Counter | Kind::Fleeting => {
            Held::Text(reply.text())
        }
        Kind::List | Kind::Taker => Held::List(texts().into()),
        Kind::Hash | Kind::FleetingHash => Held::Hash(pairs().into_iter().collect()),
        Kind::Set | Kind::Union => Held::Set(texts().into_iter().collect()),
        Kind::Scored => {
            let score = |text: String| text.parse().map_err(|_| format!("the score {text}"));
            let members = pairs().into_iter().map(|(name, text)| Ok((name, score(text)?)));
            Held::Scored(members.collect::<Result<_, String>>()?)
        }
        Kind::Stream => {
            Held::Stream(reply.elements().iter().map(|entry| entry.elements()[0].text()).collect())
        }
    };
    let entry = Entry::new(held);
    Ok((!entry.is_empty() && entry.held != Held::Stream(VecDeque::new())).then_some(entry.held))
}
