//! Servers that follow another one: their links, what they load, and what their shards apply.

use super::data::Data;
use super::network::Connection;
use super::node::Peer;
use super::world::{Finding, World};
use crate::repl::replica::link::{Action as LinkAction, Cause};
use crate::repl::replica::stream::{Target as Shards, Work};

impl World {
    pub(super) fn follow(&mut self, index: usize) -> Result<(), Finding> {
        let now_ms = self.now_ms;
        let mut actions = Vec::new();
        let Some(follower) = &mut self.nodes[index].follower else { return Ok(()) };
        let target = follower.master;
        if follower.retry_ms.is_some_and(|at| at <= now_ms) {
            if !self.nodes[target].is_up || target == index {
                self.nodes[index].follower.as_mut().unwrap().retry_ms = Some(now_ms + 200);
                return Ok(());
            }
            self.connections_made += 1;
            let id = self.connections_made;
            self.connections.insert(id, Connection::new(index, target, self.bytes_in_ms));
            self.nodes[target].peers.insert(id, Peer::default());
            let Some(follower) = &mut self.nodes[index].follower else { return Ok(()) };
            (follower.retry_ms, follower.connection) = (None, Some(id));
            follower.held.clear();
            follower.link.connecting(now_ms);
            follower.link.connected(now_ms, &mut actions);
        }
        self.link_actions(index, &[], &mut actions)?;
        let Some(follower) = &mut self.nodes[index].follower else { return Ok(()) };
        if let Some(connection) = follower.connection.and_then(|id| self.connections.get_mut(&id)) {
            while let Some(bytes) = connection.receive(0, now_ms) {
                follower.held.extend_from_slice(&bytes);
            }
        }
        let Some(follower) = &mut self.nodes[index].follower else { return Ok(()) };
        if follower.link.wants_input() && !follower.schedule.is_full() && !follower.held.is_empty() {
            let input = std::mem::take(&mut follower.held);
            let taken = follower.link.input(&input, now_ms, &mut actions);
            follower.held = input[taken..].to_vec();
            self.link_actions(index, &input, &mut actions)?;
        }
        // What came before the end is read first, if it can be.
        let Some(follower) = &mut self.nodes[index].follower else { return Ok(()) };
        if let Some(connection) = follower.connection.and_then(|id| self.connections.get_mut(&id)) {
            if (follower.held.is_empty() || follower.link.wants_input()) && connection.is_closed(0, now_ms) {
                follower.link.lost("closed", now_ms, &mut actions);
            }
        }
        self.link_actions(index, &[], &mut actions)?;
        self.load(index, &mut actions)?;
        self.link_actions(index, &[], &mut actions)?;
        self.run_work(index);
        let Some(follower) = &mut self.nodes[index].follower else { return Ok(()) };
        if follower.schedule.take_ack_due() {
            follower.link.acknowledge(now_ms, &mut actions);
        }
        let offset = follower.schedule.applied();
        let is_idle = follower.schedule.is_idle() && follower.running.is_empty();
        if is_idle && follower.link.is_up() && follower.checked != Some(offset) {
            follower.checked = Some(offset);
            self.compare(index)?;
        }
        self.link_actions(index, &[], &mut actions)
    }

    fn load(&mut self, index: usize, actions: &mut Vec<LinkAction>) -> Result<(), Finding> {
        let (now_ms, plant) = (self.now_ms, self.plant);
        let node = &mut self.nodes[index];
        let Some(follower) = &mut node.follower else { return Ok(()) };
        if follower.loaded_ms.is_none_or(|at| at > now_ms) {
            return Ok(());
        }
        follower.loaded_ms = None;
        let payload = std::mem::take(&mut follower.payload);
        let start = follower.start;
        let loaded = Data::of_payload(&payload).zip(start);
        let (is_good, from) = (loaded.is_some(), follower.master);
        if let Some(((data, db), start)) = loaded {
            let old = (node.history.id(), node.writer.offset());
            node.adopt(data, start, db, plant, now_ms);
            self.before[index] = None;
            self.note(|| format!("{index}: has got {start:?} from {from}, was {old:?}"));
            self.replaced(index, from)?;
        }
        let Some(follower) = &mut self.nodes[index].follower else { return Ok(()) };
        follower.link.loaded(is_good, now_ms, actions);
        Ok(())
    }

    pub(super) fn run_work(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let node = &mut self.nodes[index];
        let Some(follower) = &mut node.follower else { return };
        while let Some(work) = follower.schedule.next_work() {
            let shards: Vec<usize> = match &work.target {
                Shards::One(shard) => vec![*shard],
                Shards::Several(shards) => shards.to_vec(),
            };
            let busy_ms = shards.iter().map(|shard| follower.busy_ms[*shard]).max().unwrap_or(0);
            let until_ms = busy_ms.max(now_ms) + self.random.below(20);
            shards.iter().for_each(|shard| follower.busy_ms[*shard] = until_ms);
            follower.running.push((until_ms, work));
        }
        let (done, running) =
            std::mem::take(&mut follower.running).into_iter().partition(|(at, _)| *at <= now_ms);
        follower.running = running;
        let done: Vec<(u64, Work)> = done;
        done.iter().for_each(|(_, work)| node.run(work));
        node.applied();
    }

    pub(super) fn link_actions(
        &mut self,
        index: usize,
        input: &[u8],
        actions: &mut Vec<LinkAction>,
    ) -> Result<(), Finding> {
        let now_ms = self.now_ms;
        for action in std::mem::take(actions) {
            let node = &mut self.nodes[index];
            let Some(follower) = &mut node.follower else { return Ok(()) };
            match action {
                LinkAction::Send(bytes) => {
                    if let Some(connection) = follower.connection.and_then(|id| self.connections.get_mut(&id))
                    {
                        connection.send(0, &bytes, now_ms, &mut self.random);
                    }
                }
                LinkAction::Continue { id } => {
                    let (from, applied) = (follower.master, follower.schedule.applied());
                    self.seen.count(if follower.is_restarted { "restarted partial" } else { "partial" });
                    follower.is_restarted = false;
                    self.note(|| format!("{index}: goes on from {from} at {applied}, {id:?}"));
                    let node = &mut self.nodes[index];
                    node.restart_stream();
                    if let Some(id) = id {
                        let before = (node.history.id(), node.writer.offset());
                        if node.history.continue_as(id, node.writer.offset()) {
                            self.seen.count("new id");
                            self.before[index] = Some(before);
                            node.replicas.disconnect_all(now_ms);
                        }
                    }
                    self.compare(index)?;
                    self.accepted(index, true)?;
                }
                LinkAction::BeginLoad { start, .. } => {
                    follower.payload.clear();
                    follower.start = start;
                    self.accepted(index, true)?;
                }
                LinkAction::PayloadBytes(range) => follower.payload.extend_from_slice(&input[range]),
                LinkAction::PayloadHeld(bytes) => follower.payload.extend_from_slice(&bytes),
                LinkAction::EndLoad => follower.loaded_ms = Some(now_ms + 20 + self.random.below(100)),
                LinkAction::Stream(range) => {
                    follower.cutter.push(&input[range.clone()]);
                    follower.forward.push(&input[range]);
                    loop {
                        let item = follower.cutter.next();
                        let item = item
                            .map_err(|error| Finding::BadStream { node: index, error: error.to_string() })?;
                        let Some(item) = item else { break };
                        follower.schedule.push(item);
                    }
                }
                LinkAction::Close(cause) => {
                    let connection = follower.connection.take().and_then(|id| self.connections.get_mut(&id));
                    connection.into_iter().for_each(|connection| connection.close_own(0, now_ms));
                    follower.loaded_ms = None;
                    node.settle();
                    self.note(|| format!("{index}: link closed, {cause:?}"));
                    if cause == Cause::FailoverRejected {
                        return self.accepted(index, false);
                    }
                }
                LinkAction::RetryAfter(after_ms) => follower.retry_ms = Some(now_ms + after_ms / 5),
                LinkAction::Log(..) => {}
            }
        }
        Ok(())
    }
}
