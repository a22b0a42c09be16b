//! Which connections have read which keys, and may keep copies of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::Token;

/// A connection, and the shard that serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reader {
    pub home: usize,
    pub token: Token,
    pub id: u64,
}

pub type Readers = SmallVec<[Reader; 1]>;

/// Connections that have gone stay in it until their keys change, or are evicted: it is bounded by `tracking-table-max-keys`.
#[derive(Debug, Default)]
pub struct Table {
    keys: HashMap<Arc<[u8]>, Readers, foldhash::fast::RandomState>,
    /// The keys, oldest first, and some that are there no more.
    order: VecDeque<Arc<[u8]>>,
    items: usize,
}

/// So many keys that are there no more never matter.
const STALE_MIN: usize = 64;

impl Table {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Connections, each counted for each key.
    pub fn items(&self) -> usize {
        self.items
    }

    pub fn remember(&mut self, key: &[u8], reader: Reader) {
        if let Some(readers) = self.keys.get_mut(key) {
            if !readers.contains(&reader) {
                readers.push(reader);
                self.items += 1;
            }
            return;
        }
        let key: Arc<[u8]> = key.into();
        self.order.push_back(key.clone());
        self.keys.insert(key, smallvec::smallvec![reader]);
        self.items += 1;
        if self.order.len() > 2 * self.keys.len() + STALE_MIN {
            self.order.retain(|key| self.keys.contains_key(key));
        }
    }

    /// The key has changed: who has read it.
    pub fn forget(&mut self, key: &[u8]) -> Readers {
        let readers = self.keys.remove(key).unwrap_or_default();
        self.items -= readers.len();
        readers
    }

    /// Forgets one of the oldest keys.
    pub fn evict(&mut self) -> Option<(Arc<[u8]>, Readers)> {
        loop {
            let key = self.order.pop_front()?;
            if self.keys.contains_key(&key) {
                let readers = self.forget(&key);
                return Some((key, readers));
            }
        }
    }

    pub fn clear(&mut self) {
        *self = Table::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(id: u64) -> Reader {
        Reader { home: 0, token: Token { index: id as u32, generation: 0 }, id }
    }

    #[test]
    fn a_reader_is_told_once_of_a_key() {
        let mut table = Table::default();
        table.remember(b"a", reader(1));
        table.remember(b"a", reader(1));
        table.remember(b"a", reader(2));
        table.remember(b"b", reader(1));
        assert_eq!((table.len(), table.items()), (2, 3));
        assert_eq!(table.forget(b"a").as_slice(), [reader(1), reader(2)]);
        assert!(table.forget(b"a").is_empty());
        assert_eq!((table.len(), table.items()), (1, 1));
    }

    #[test]
    fn the_oldest_keys_go_first_and_what_is_gone_takes_no_room() {
        let mut table = Table::default();
        for round in 0..1000u32 {
            table.remember(&round.to_le_bytes(), reader(1));
            if round % 10 != 0 {
                table.forget(&round.to_le_bytes());
            }
        }
        assert_eq!(table.len(), 100);
        assert!(table.order.len() <= 2 * 100 + STALE_MIN + 1, "{}", table.order.len());
        let oldest = table.evict().map(|(key, _)| key.to_vec());
        assert_eq!(oldest, Some(0u32.to_le_bytes().to_vec()));
        while table.evict().is_some() {}
        assert_eq!((table.len(), table.items(), table.order.len()), (0, 0, 0));
    }
}
