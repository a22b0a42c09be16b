//! Clients: what they write, what they wait for, and what must never be lost of it.

use super::data::SHARDS;
use super::disk::Persistence;
use super::network::ConnectionId;
use super::node::{Waits, Write};
use super::truth::Until;
use super::world::{Finding, World};
use crate::repl::master::handshake::Replica;
use crate::repl::master::wait::{self, Answer, Request};

/// A server of which a client was told that it has its write.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    pub node: usize,
    pub is_durable: bool,
}

/// A write that WAIT or WAITAOF has confirmed.
#[derive(Debug)]
pub struct Confirmed {
    pub value: u64,
    pub at: Until,
    pub by: Vec<Holder>,
}

impl World {
    pub(super) fn write(&mut self, index: usize) {
        let (db, at_ms) = (self.random.below(2) as usize, self.shard_delays());
        let node = &mut self.nodes[index];
        self.values += 1;
        let value = self.values;
        let random = &mut self.random;
        let ticket = match random.below(200) {
            0 => {
                node.flush_all(&at_ms);
                self.flushed = value;
                self.confirmed.clear();
                self.seen.count("flush");
                return;
            }
            1..20 => return node.delete(db, &format!("d{}", random.below(3))),
            20..40 => {
                node.push(db, &format!("d{}", random.below(3)), value);
                return;
            }
            40..100 => {
                let mut keys: Vec<String> = Vec::new();
                while keys.len() < 2 + random.below(2) as usize {
                    let key = format!("k{}", random.below(8));
                    if !keys.contains(&key) {
                        keys.push(key);
                    }
                }
                self.transactions.insert(value, keys.len());
                self.seen.count("transaction");
                node.transaction(db, &keys, value, &at_ms)
            }
            _ => {
                let shard = node.push(db, &format!("k{}", random.below(8)), value);
                if !random.one_in(3) {
                    return;
                }
                match node.turn(shard, at_ms[shard]) {
                    Some(ticket) => ticket,
                    None => return,
                }
            }
        };
        let has_log = node.disk.durable().is_some();
        let request = if random.one_in(3) {
            let local = i64::from(has_log && random.one_in(2));
            Request::Durable { local, replicas: (1 - local).max(random.below(2) as i64) }
        } else {
            Request::Applied { replicas: 1 + random.below(2) as i64 }
        };
        self.clients += 1;
        let from_ms = self.now_ms + if random.one_in(4) { random.below(2000) } else { 0 };
        node.writes.push(Write { client: self.clients, ticket, value, request, from_ms });
    }

    /// When what each shard releases now reaches the sequencer. Now and then one is held up.
    pub(super) fn shard_delays(&mut self) -> [u64; SHARDS] {
        let random = &mut self.random;
        std::array::from_fn(|_| {
            self.now_ms + random.below(30) + if random.one_in(200) { random.below(400) } else { 0 }
        })
    }

    pub(super) fn wait(&mut self, index: usize) -> Result<(), Finding> {
        let now_ms = self.now_ms;
        let node = &mut self.nodes[index];
        let acked = node.replicas.acks();
        let is_replica = node.follower.is_some();
        let standing = wait::Standing { replicas: &acked, durable: node.disk.durable(), is_replica };
        let mut answers = Vec::new();
        let mut waiting = Vec::new();
        for write in std::mem::take(&mut node.writes) {
            let offset = node.sequencer.offset_after(write.ticket, node.writer.offset());
            let Some(offset) = offset.filter(|_| write.from_ms <= now_ms) else {
                waiting.push(write);
                continue;
            };
            node.waits.insert(write.client, Waits { value: write.value, offset });
            let deadline = Some(now_ms + 1000);
            let answer = node.waiters.wait(write.client, write.request, offset, deadline, &standing, true);
            answers.extend(answer.map(|answer| (write.client, answer)));
        }
        node.writes = waiting;
        if !node.failover.is_under_way() && node.waiters.take_request_for_acks() {
            node.writer.ask_for_acks();
            node.flush();
        }
        answers.extend(node.waiters.satisfied(&standing));
        answers.extend(node.waiters.expired(now_ms, &standing));
        for (client, answer) in answers {
            let Some(waits) = self.nodes[index].waits.remove(&client) else { continue };
            self.answered(index, waits, answer)?;
        }
        Ok(())
    }

    /// A client gets its answer, and holds the servers to it.
    fn answered(&mut self, index: usize, waits: Waits, answer: Answer) -> Result<(), Finding> {
        let Waits { value, offset } = waits;
        let at = (self.nodes[index].history.id(), offset);
        let replicas = |has: &dyn Fn(&Replica) -> bool| -> Vec<(usize, bool)> {
            let replicas = self.nodes[index].replicas.iter();
            let ids = replicas.filter(|replica| replica.counts() && has(replica)).map(|replica| replica.id);
            let of = |id: ConnectionId| {
                let node = self.connections.get(&id)?.ends[0];
                // Over its own link; otherwise it has acknowledged once, and may have died since.
                let follower = self.nodes[node].follower.as_ref();
                Some((node, follower.is_some_and(|follower| follower.connection == Some(id))))
            };
            ids.filter_map(of).collect()
        };
        let (counted, by, is_durable) = match answer {
            Answer::Applied(counted) => {
                (counted, replicas(&|replica| replica.acked.applied >= offset), false)
            }
            Answer::Durable { local, replicas: counted } => {
                let mut by = replicas(&|replica| replica.acked.durable >= offset);
                by.extend((local > 0).then_some((index, true)));
                (counted + local, by, true)
            }
            Answer::NoAof => return Ok(()),
        };
        if counted as usize != by.len() {
            return Err(Finding::Miscounted { value, counted, what: format!("{by:?}") });
        }
        let mut nodes: Vec<usize> = by.iter().map(|(node, _)| *node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        if nodes.len() < by.len() {
            return Err(Finding::Miscounted { value, counted, what: format!("one twice: {by:?}") });
        }
        // The operators follow one master. What another one says, which does not know yet that it is none, counts for nothing.
        if index != self.master || value <= self.flushed {
            return Ok(());
        }
        let mut holders = Vec::new();
        for (node, is_own) in by {
            let has = self.nodes[node].is_up && self.nodes[node].data.values().contains(&value);
            if self.nodes[node].is_up && is_own && !has {
                let what = format!("{index} says at {} that {node} has it, {at:?} {answer:?}", self.now_ms);
                return Err(Finding::LostWrite { value, what });
            }
            // Who has died since is no survivor, unless its disk has it.
            holders.extend((has || (is_own && is_durable)).then_some(Holder { node, is_durable }));
        }
        if holders.is_empty() {
            return Ok(());
        }
        self.note(|| format!("{index}: value {value} at {offset} confirmed by {holders:?}, {answer:?}"));
        self.confirmed.push(Confirmed { value, at, by: holders });
        self.seen.count(if is_durable { "durable" } else { "confirmed" });
        Ok(())
    }

    /// What a server had in memory is gone.
    pub(super) fn memory_lost(&mut self, index: usize) {
        for confirmed in &mut self.confirmed {
            confirmed.by.retain(|holder| holder.node != index || holder.is_durable);
        }
        self.confirmed.retain(|confirmed| !confirmed.by.is_empty());
    }

    /// A server has started from its disk: what it has confirmed and not lost is there.
    pub(super) fn disk_read(&mut self, index: usize) -> Result<(), Finding> {
        let values = self.nodes[index].data.values();
        let is_holder = |confirmed: &&Confirmed| confirmed.by.iter().any(|holder| holder.node == index);
        if let Some(lost) = self.confirmed.iter().filter(is_holder).find(|c| !values.contains(&c.value)) {
            return Err(Finding::LostWrite {
                value: lost.value,
                what: format!("not on the disk of {index}, {lost:?}"),
            });
        }
        if index == self.master {
            // The operators have started a master again, instead of promoting a replica. With a log that is always synced, it
            // has everything that any replica ever got.
            let is_safe = self.nodes[index].disk.persistence == Persistence::Always;
            let lost = self.confirmed.iter().find(|confirmed| !values.contains(&confirmed.value));
            if let Some(lost) = lost.filter(|_| is_safe) {
                let what = format!("the log of the master {index} does not have it, {lost:?}");
                return Err(Finding::LostWrite { value: lost.value, what });
            }
            self.confirmed.retain(|confirmed| values.contains(&confirmed.value));
        }
        Ok(())
    }

    /// A server has got the data of another one, in the place of its own.
    pub(super) fn replaced(&mut self, index: usize, from: usize) -> Result<(), Finding> {
        let values = self.nodes[index].data.values();
        let is_lost = |confirmed: &&Confirmed| !values.contains(&confirmed.value);
        if from == self.master && self.nodes[from].is_master() {
            let is_holder = |confirmed: &&Confirmed| confirmed.by.iter().any(|holder| holder.node == index);
            if let Some(lost) = self.confirmed.iter().filter(is_holder).find(is_lost) {
                let what = format!("{index} had it, and got a snapshot of {from} without it, {lost:?}");
                return Err(Finding::LostWrite { value: lost.value, what });
            }
        }
        for confirmed in self.confirmed.iter_mut().filter(|confirmed| !values.contains(&confirmed.value)) {
            confirmed.by.retain(|holder| holder.node != index);
        }
        self.confirmed.retain(|confirmed| !confirmed.by.is_empty());
        Ok(())
    }

    /// Another server is the master. What a survivor has confirmed must be there; the rest is the operators' loss.
    pub(super) fn survives(&mut self, new: usize, old: Option<usize>) -> Result<(), Finding> {
        let values = self.nodes[new].data.values();
        let nodes = &self.nodes;
        // A server that was killed does not know how far it was, so no operator can choose it.
        let standing: Vec<_> =
            nodes.iter().map(|node| self.standing_of(node).filter(|_| node.is_up)).collect();
        let survives = |holder: &Holder| Some(holder.node) != old && standing[holder.node].is_some();
        self.confirmed.retain(|confirmed| confirmed.by.iter().any(survives));
        let Some(lost) = self.confirmed.iter().find(|confirmed| !values.contains(&confirmed.value)) else {
            return Ok(());
        };
        let what = format!("{new} does not have it, {lost:?}, now {} {standing:?}", self.now_ms);
        Err(Finding::LostWrite { value: lost.value, what })
    }
}
