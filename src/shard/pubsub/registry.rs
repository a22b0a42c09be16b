//! Who listens to what, as two tables tell: how many connections each shard has for a name, and which they are on this shard.

use std::collections::{HashMap, HashSet};

use smallvec::SmallVec;

use crate::base::Token;

type Map<V> = HashMap<Box<[u8]>, V, foldhash::fast::RandomState>;

/// Of a name's subscribers, how many each shard has.
pub type ByShard = SmallVec<[(usize, u32); 2]>;

/// How many connections of each shard are subscribed to a name.
#[derive(Debug, Default)]
pub struct Tally {
    names: Map<ByShard>,
}

impl Tally {
    pub fn add(&mut self, name: &[u8], shard: usize) {
        match self.names.get_mut(name) {
            Some(by_shard) => match by_shard.iter_mut().find(|(at, _)| *at == shard) {
                Some((_, count)) => *count += 1,
                None => by_shard.push((shard, 1)),
            },
            None => {
                self.names.insert(name.into(), smallvec::smallvec![(shard, 1)]);
            }
        }
    }

    pub fn remove(&mut self, name: &[u8], shard: usize) {
        let Some(by_shard) = self.names.get_mut(name) else { return };
        if let Some(at) = by_shard.iter().position(|(at, _)| *at == shard) {
            by_shard[at].1 -= 1;
            if by_shard[at].1 == 0 {
                by_shard.remove(at);
            }
        }
        if by_shard.is_empty() {
            self.names.remove(name);
            if self.names.capacity() > SPARSE_MIN && self.names.len() < self.names.capacity() / 4 {
                self.names.shrink_to_fit();
            }
        }
    }

    pub fn of(&self, name: &[u8]) -> &[(usize, u32)] {
        self.names.get(name).map_or(&[], |by_shard| by_shard)
    }

    /// All connections that are subscribed to a name.
    pub fn count(&self, name: &[u8]) -> u64 {
        self.of(name).iter().map(|(_, count)| u64::from(*count)).sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[(usize, u32)])> {
        self.names.iter().map(|(name, by_shard)| (&name[..], &by_shard[..]))
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }
}

/// A table with room for more than this shrinks when few names are left.
const SPARSE_MIN: usize = 1024;

type Tokens = HashSet<Token, foldhash::fast::RandomState>;

/// The connections of this shard that are subscribed to a name.
#[derive(Debug, Default)]
pub struct SubscriberList {
    names: Map<Tokens>,
}

impl SubscriberList {
    pub fn add(&mut self, name: &[u8], token: Token) {
        match self.names.get_mut(name) {
            Some(tokens) => {
                tokens.insert(token);
            }
            None => {
                self.names.insert(name.into(), Tokens::from_iter([token]));
            }
        }
    }

    pub fn remove(&mut self, name: &[u8], token: Token) {
        let Some(tokens) = self.names.get_mut(name) else { return };
        tokens.remove(&token);
        if tokens.is_empty() {
            self.names.remove(name);
            if self.names.capacity() > SPARSE_MIN && self.names.len() < self.names.capacity() / 4 {
                self.names.shrink_to_fit();
            }
        }
    }

    pub fn of(&self, name: &[u8]) -> impl Iterator<Item = Token> + '_ {
        self.names.get(name).into_iter().flatten().copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Tokens)> {
        self.names.iter().map(|(name, tokens)| (&name[..], tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_there_as_long_as_somebody_listens() {
        let mut tally = Tally::default();
        tally.add(b"news", 0);
        tally.add(b"news", 2);
        tally.add(b"news", 2);
        assert_eq!((tally.of(b"news"), tally.count(b"news")), (&[(0, 1), (2, 2)][..], 3));
        tally.remove(b"news", 2);
        tally.remove(b"news", 0);
        tally.remove(b"news", 0);
        assert_eq!(
            (tally.of(b"news"), tally.len()),
            (&[(2, 1)][..], 1),
            "who is not counted takes nobody away"
        );
        tally.remove(b"news", 2);
        assert!(tally.len() == 0 && tally.of(b"news").is_empty());
    }

    #[test]
    fn a_connection_hears_of_a_name_once() {
        let (one, other) = (Token { index: 1, generation: 0 }, Token { index: 2, generation: 0 });
        let mut subscribers = SubscriberList::default();
        subscribers.add(b"news", one);
        subscribers.add(b"news", one);
        subscribers.add(b"news", other);
        assert_eq!(subscribers.of(b"news").count(), 2);
        subscribers.remove(b"news", one);
        assert_eq!(subscribers.of(b"news").collect::<Vec<_>>(), [other]);
        subscribers.remove(b"news", other);
        assert_eq!((subscribers.of(b"news").count(), subscribers.iter().count()), (0, 0));
    }
}
