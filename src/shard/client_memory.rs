//! `maxmemory-clients`: what all clients together may use, and who goes when they use more.
//!
//! Each shard keeps an account of its own clients and publishes two numbers: their sum, and the size of the largest that
//! may be evicted. With a limit set the account is renewed whenever a connection has been worked on, otherwise by the
//! cron alone. A shard that finds the sum of all shards at the limit evicts its own largest clients, as long as no
//! other shard has one of a larger size class; if one has, it is told to look. Sizes are compared by their power of
//! two, so that shards with alike clients need not take turns.

use super::Shard;
use crate::base::log::Level;
use crate::base::Token;
use crate::client::{Connection, Flag};
use crate::shard::connections::Connections;
use crate::shard::message::Message;
use crate::shard::peers::Chore;
use crate::shard::peers::Peers;
use crate::shard::scatter::Question;
use crate::shard::turn::TurnState;

#[derive(Debug, Default)]
pub(super) struct ClientMemory {
    /// Of all shards; None when there is none.
    limit_bytes: Option<u64>,
    total_bytes: u64,
    /// This turn looks for clients to evict.
    checking: bool,
    /// Nobody is left to evict; looked at again by the next cron.
    exhausted: bool,
    /// The log tells of it, once until the clients are below the limit again.
    over_logged: bool,
}

/// Clients of one class are taken for equally large.
fn size_class(bytes: u64) -> u32 {
    u64::BITS - bytes.leading_zeros()
}

fn is_evictable(c: &Connection) -> bool {
    !c.flags.any(Flag::NoEvict as u32 | Flag::Closing as u32)
}

/// Renew the account of every client.
#[derive(Clone)]
pub struct AccountClients;

impl Question for AccountClients {
    type Answer = ();

    fn answer(self, shard: &mut Shard) {
        shard.connections.account_all_clients(&shard.turn);
    }
}

impl TurnState {
    fn memory_of_all_clients(&self) -> u64 {
        self.shared.stats.iter().map(|stats| stats.clients_memory.get()).sum()
    }

    /// The largest client that another shard may evict, and the shard.
    fn largest_elsewhere(&self) -> Option<(usize, u64)> {
        let others = self.slots.others(self.id);
        others
            .map(|shard| (shard, self.shared.stats[shard].largest_client.get()))
            .max_by_key(|(_, bytes)| *bytes)
    }
}

impl Connections {
    /// Renews the account of every client of this shard.
    pub(super) fn account_all_clients(&mut self, turn: &TurnState) {
        let (mut total, mut largest) = (0, 0);
        for c in self.table.iter_mut().filter(|c| !c.flags.has(Flag::Closing)) {
            c.accounted_bytes = c.memory_bytes();
            total += c.accounted_bytes as u64;
            if is_evictable(c) {
                largest = largest.max(c.accounted_bytes as u64);
            }
        }
        self.memory.total_bytes = total;
        self.memory.exhausted = false;
        turn.stats.clients_memory.set(total);
        turn.stats.largest_client.set(largest);
    }

    /// Renews the account of a connection that has been worked on.
    #[inline]
    pub(super) fn account_client(&mut self, turn: &TurnState, peers: &mut Peers, c: &mut Connection) {
        if let Some(limit) = self.memory.limit_bytes {
            if !c.flags.has(Flag::Closing) {
                self.account_limited(turn, peers, c, limit);
            }
        }
    }

    fn account_limited(&mut self, turn: &TurnState, peers: &mut Peers, c: &mut Connection, limit: u64) {
        let bytes = c.memory_bytes();
        let memory = &mut self.memory;
        memory.total_bytes = memory.total_bytes - c.accounted_bytes as u64 + bytes as u64;
        c.accounted_bytes = bytes;
        turn.stats.clients_memory.set(memory.total_bytes);
        if is_evictable(c) {
            memory.exhausted = false;
            if bytes as u64 > turn.stats.largest_client.get() {
                turn.stats.largest_client.set(bytes as u64);
            }
        }
        if !memory.checking && !memory.exhausted && turn.memory_of_all_clients() >= limit {
            // The connection at hand is not in its slot now.
            self.memory.checking = true;
            peers.do_later(Chore::EvictClients);
        }
    }

    /// The connection ends.
    pub(super) fn forget_client_memory(&mut self, turn: &TurnState, c: &mut Connection) {
        self.memory.total_bytes -= std::mem::take(&mut c.accounted_bytes) as u64;
        turn.stats.clients_memory.set(self.memory.total_bytes);
    }
}

impl Shard {
    /// Takes over a changed limit.
    pub(super) fn client_memory_changed(&mut self) {
        self.connections.memory.limit_bytes =
            self.turn.config.network.maxmemory_clients.bytes(self.turn.config.memory.maxmemory);
        self.connections.account_all_clients(&self.turn);
        if self.connections.memory.limit_bytes.is_some() && !self.connections.table.is_empty() {
            // Without a limit the other shards' accounts are as old as their last cron.
            self.connections.memory.checking = true;
            self.ask_all(AccountClients, |shard, _| shard.evict_clients());
        }
    }

    /// Evicts this shard's largest clients until all shards are below the limit or others have larger ones.
    pub(super) fn evict_clients(&mut self) {
        self.connections.memory.checking = false;
        let Some(limit) = self.connections.memory.limit_bytes else { return };
        if self.turn.memory_of_all_clients() < limit {
            self.connections.memory.over_logged = false;
            return;
        }
        let mut candidates: Vec<(u64, Token)> = self
            .connections
            .table
            .iter()
            .filter(|c| is_evictable(c))
            .map(|c| (c.memory_bytes() as u64, c.token))
            .collect();
        candidates.sort_unstable_by_key(|(bytes, _)| *bytes);
        loop {
            let largest = candidates.last().map_or(0, |(bytes, _)| *bytes);
            self.stats.largest_client.set(largest);
            if self.turn.memory_of_all_clients() < limit {
                return;
            }
            match self.turn.largest_elsewhere() {
                Some((shard, bytes)) if size_class(bytes) > size_class(largest) => {
                    self.send(shard, Message::Chore(Chore::EvictClients));
                    return;
                }
                _ => {}
            }
            let Some((_, token)) = candidates.pop() else {
                self.connections.memory.exhausted = true;
                if !std::mem::replace(&mut self.connections.memory.over_logged, true) {
                    crate::log!(Level::Warning, "Over client maxmemory after evicting all evictable clients");
                }
                return;
            };
            if let Some(mut connection) = self.connections.table.take(token) {
                crate::log_text!(Level::Notice, "Evicting client: ", self.turn.describe_client(&connection));
                self.stats.evicted_clients.add(1);
                self.close(&mut connection);
                self.finish(connection);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_within_a_power_of_two_are_alike() {
        assert_eq!(size_class(1 << 20), size_class((1 << 21) - 1));
        assert!(size_class(1 << 21) > size_class(1 << 20));
        assert!(size_class(1) > size_class(0));
    }
}
