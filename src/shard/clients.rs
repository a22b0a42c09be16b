//! The connections of one shard, by slot number and generation.
//!
//! A connection that is being worked on is taken out of its slot, so that the shard and the connection can be
//! changed at the same time; until it is put back its slot is empty but not free.

use crate::base::Token;
use crate::client::Connection;
use crate::runtime::ring::GENERATION_MASK;

#[derive(Default)]
struct Slot {
    generation: u32,
    used: bool,
    connection: Option<Box<Connection>>,
}

#[derive(Default)]
pub struct Clients {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Those that are being torn down.
    pub closing: usize,
}

impl Clients {
    /// Makes a connection in a free slot.
    pub fn insert(&mut self, make: impl FnOnce(Token) -> Connection) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        let token = Token { index, generation: slot.generation };
        slot.used = true;
        slot.connection = Some(Box::new(make(token)));
        token
    }

    /// The connection, unless it is gone or taken.
    pub fn get(&mut self, token: Token) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(token.index as usize)?;
        if slot.generation != token.generation {
            return None;
        }
        slot.connection.as_deref_mut()
    }

    #[inline]
    pub fn take(&mut self, token: Token) -> Option<Box<Connection>> {
        let slot = self.slots.get_mut(token.index as usize)?;
        if slot.generation != token.generation {
            return None;
        }
        slot.connection.take()
    }

    #[inline]
    pub fn put_back(&mut self, connection: Box<Connection>) {
        let slot = &mut self.slots[connection.token.index as usize];
        assert!(slot.used && slot.connection.is_none(), "put back a connection that was not taken");
        slot.connection = Some(connection);
    }

    /// Frees the slot of a connection that is not taken. Late completions for it find another generation.
    pub fn remove(&mut self, token: Token) -> Option<Box<Connection>> {
        let connection = self.take(token)?;
        let slot = &mut self.slots[token.index as usize];
        slot.used = false;
        slot.generation = slot.generation.wrapping_add(1) & GENERATION_MASK;
        self.free.push(token.index);
        Some(connection)
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Those that are not being torn down.
    pub fn open(&self) -> usize {
        self.len() - self.closing
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().filter_map(|slot| slot.connection.as_deref())
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.slots.iter_mut().filter_map(|slot| slot.connection.as_deref_mut())
    }

    pub fn tokens(&self) -> Vec<Token> {
        self.iter().map(|connection| connection.token).collect()
    }
}
