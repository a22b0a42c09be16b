//! The specification: what each command does to a few keys when it runs alone.
//!
//! All values are whole numbers, so that INCR can meet SET on every key; each written value is used once in the
//! whole test, so that a read tells which write it saw.

use std::fmt;

/// A key is its index in the test's list of key names.
pub type Key = usize;

pub const KEYS_MAX: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Get(Key),
    Set(Key, i64),
    SetNx(Key, i64),
    GetSet(Key, i64),
    GetDel(Key),
    IncrBy(Key, i64),
    Mget(Vec<Key>),
    Mset(Vec<(Key, i64)>),
    MsetNx(Vec<(Key, i64)>),
    Del(Vec<Key>),
    Exists(Vec<Key>),
    Rename(Key, Key),
    RenameNx(Key, Key),
    Copy { from: Key, to: Key, replace: bool },
    DbSize,
    Keys,
    FlushAll,
}

/// What a command answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    Integer(i64),
    Value(Option<i64>),
    Values(Vec<Option<i64>>),
    /// The keys that exist, sorted.
    Names(Vec<Key>),
    NoSuchKey,
}

/// Connections that WATCH in one history.
pub const WATCHES_MAX: usize = 32;

/// Flat and without pointers, because the search makes millions of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct State {
    values: [Option<i64>; KEYS_MAX],
    /// Of each watching connection, a bit for each watched key.
    watched: [u8; WATCHES_MAX],
    /// A bit for each watching connection of which a watched key has changed.
    dirty: u32,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let held = self.values.iter().enumerate().filter_map(|(key, value)| value.map(|value| (key, value)));
        f.debug_map().entries(held).finish()
    }
}

impl State {
    pub fn of(values: &[Option<i64>]) -> State {
        let mut state = State::default();
        state.values[..values.len()].copy_from_slice(values);
        state
    }

    pub fn values(&self) -> &[Option<i64>; KEYS_MAX] {
        &self.values
    }

    /// A bit for each watching connection whose EXEC will be refused.
    pub fn dirty(&self) -> u32 {
        self.dirty
    }

    pub fn watch(&mut self, connection: usize, keys: &[Key]) {
        self.watched[connection] |= keys.iter().fold(0u8, |bits, key| bits | 1 << key);
    }

    /// Ends the connection's WATCH; true when a watched key has changed.
    pub fn unwatch(&mut self, connection: usize) -> bool {
        let was_dirty = self.dirty & (1 << connection) != 0;
        self.watched[connection] = 0;
        self.dirty &= !(1 << connection);
        was_dirty
    }

    fn put(&mut self, key: Key, value: Option<i64>) {
        self.values[key] = value;
        for (connection, keys) in self.watched.iter().enumerate() {
            self.dirty |= u32::from(keys & (1 << key) != 0) << connection;
        }
    }

    fn remove(&mut self, key: Key) -> Option<i64> {
        let value = self.values[key];
        if value.is_some() {
            self.put(key, None);
        }
        value
    }

    pub fn apply(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Get(key) => Outcome::Value(self.values[*key]),
            Command::Set(key, value) => {
                self.put(*key, Some(*value));
                Outcome::Ok
            }
            Command::SetNx(key, value) => self.put_if(self.values[*key].is_none(), &[(*key, *value)]),
            Command::GetSet(key, value) => {
                let before = self.values[*key];
                self.put(*key, Some(*value));
                Outcome::Value(before)
            }
            Command::GetDel(key) => Outcome::Value(self.remove(*key)),
            Command::IncrBy(key, by) => {
                let after = self.values[*key].unwrap_or(0) + by;
                self.put(*key, Some(after));
                Outcome::Integer(after)
            }
            Command::Mget(keys) => Outcome::Values(keys.iter().map(|key| self.values[*key]).collect()),
            Command::Mset(pairs) => {
                pairs.iter().for_each(|(key, value)| self.put(*key, Some(*value)));
                Outcome::Ok
            }
            Command::MsetNx(pairs) => {
                self.put_if(pairs.iter().all(|(key, _)| self.values[*key].is_none()), pairs)
            }
            Command::Del(keys) => {
                Outcome::Integer(keys.iter().filter(|key| self.remove(**key).is_some()).count() as i64)
            }
            Command::Exists(keys) => {
                Outcome::Integer(keys.iter().filter(|key| self.values[**key].is_some()).count() as i64)
            }
            Command::Rename(from, to) => self.rename(*from, *to),
            Command::RenameNx(from, to) => {
                if self.values[*from].is_none() {
                    return Outcome::NoSuchKey;
                }
                if self.values[*to].is_some() {
                    return Outcome::Integer(0);
                }
                self.rename(*from, *to);
                Outcome::Integer(1)
            }
            Command::Copy { from, to, replace } => match self.values[*from] {
                Some(value) if *replace || self.values[*to].is_none() => {
                    self.put(*to, Some(value));
                    Outcome::Integer(1)
                }
                _ => Outcome::Integer(0),
            },
            Command::DbSize => Outcome::Integer(self.names().len() as i64),
            Command::Keys => Outcome::Names(self.names()),
            Command::FlushAll => {
                (0..KEYS_MAX).for_each(|key| {
                    self.remove(key);
                });
                Outcome::Ok
            }
        }
    }

    fn put_if(&mut self, condition: bool, pairs: &[(Key, i64)]) -> Outcome {
        if condition {
            pairs.iter().for_each(|(key, value)| self.put(*key, Some(*value)));
        }
        Outcome::Integer(i64::from(condition))
    }

    fn rename(&mut self, from: Key, to: Key) -> Outcome {
        let Some(value) = self.values[from] else { return Outcome::NoSuchKey };
        if from != to {
            self.put(from, None);
            self.put(to, Some(value));
        }
        Outcome::Ok
    }

    fn names(&self) -> Vec<Key> {
        (0..KEYS_MAX).filter(|key| self.values[*key].is_some()).collect()
    }
}

impl Command {
    /// The values that it writes whatever the state is.
    pub fn written(&self) -> Vec<i64> {
        match self {
            Command::Set(_, value) | Command::SetNx(_, value) | Command::GetSet(_, value) => vec![*value],
            Command::Mset(pairs) | Command::MsetNx(pairs) => pairs.iter().map(|(_, value)| *value).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether this answer tells that it changed no key.
    pub fn changed_nothing(&self, outcome: &Outcome) -> bool {
        match self {
            Command::Get(_) | Command::Mget(_) | Command::Exists(_) | Command::DbSize | Command::Keys => true,
            Command::SetNx(..) | Command::MsetNx(_) | Command::Del(_) | Command::Copy { .. } => {
                *outcome == Outcome::Integer(0)
            }
            Command::GetDel(_) => *outcome == Outcome::Value(None),
            Command::Rename(..) | Command::RenameNx(..) => {
                matches!(outcome, Outcome::NoSuchKey | Outcome::Integer(0))
            }
            Command::Set(..)
            | Command::GetSet(..)
            | Command::IncrBy(..)
            | Command::Mset(_)
            | Command::FlushAll => false,
        }
    }

    /// A bit for each key that it names; all for the whole keyspace.
    pub fn keys(&self) -> u8 {
        let list: Vec<Key> = match self {
            Command::Get(key) | Command::GetDel(key) => vec![*key],
            Command::Set(key, _)
            | Command::SetNx(key, _)
            | Command::GetSet(key, _)
            | Command::IncrBy(key, _) => vec![*key],
            Command::Mget(keys) | Command::Del(keys) | Command::Exists(keys) => keys.clone(),
            Command::Mset(pairs) | Command::MsetNx(pairs) => pairs.iter().map(|(key, _)| *key).collect(),
            Command::Rename(from, to) | Command::RenameNx(from, to) | Command::Copy { from, to, .. } => {
                vec![*from, *to]
            }
            Command::DbSize | Command::Keys | Command::FlushAll => return u8::MAX,
        };
        list.into_iter().fold(0, |bits, key| bits | 1 << key)
    }
}
