//! What happens to servers and connections.

use std::collections::BTreeSet;

use super::network::ConnectionId;
use super::node::Node;
use super::truth::Truth;
use super::world::{Finding, World, NODES};
use crate::repl::history::ReplicationId;
use crate::repl::master::handshake::ReplicaId;

impl World {
    pub(super) fn promote(&mut self, index: usize) {
        let id = self.new_id();
        let before = self.nodes[index].history.id();
        self.nodes[index].promote(id, self.plant, self.now_ms);
        self.note(|| {
            format!("{index}: promoted, {before:?} -> {id:?} at {}", self.nodes[index].writer.offset())
        });
        let node = &self.nodes[index];
        let parent = Some((before, node.writer.offset()));
        self.truths.insert(id, Truth::new(parent, node.writer.offset(), node.data.clone()));
        self.before[index] = parent;
        self.master = index;
        (self.handing_over, self.paused) = (None, None);
        self.seen.count("promotion");
    }

    pub(super) fn trouble(&mut self) -> Result<(), Finding> {
        let node = self.random.below(NODES as u64) as usize;
        match self.random.below(12) {
            0..5 => {
                let open: Vec<ConnectionId> = self
                    .connections
                    .iter()
                    .filter(|(_, connection)| connection.is_open() && !connection.is_dead)
                    .map(|(id, _)| *id)
                    .collect();
                if open.is_empty() {
                    return Ok(());
                }
                let id = open[self.random.below(open.len() as u64) as usize];
                let is_dead = self.random.one_in(4);
                if let Some(connection) = self.connections.get_mut(&id) {
                    if is_dead {
                        connection.is_dead = true;
                    } else {
                        connection.close(self.now_ms);
                    }
                }
                self.seen.count(if is_dead { "dead" } else { "cut" });
            }
            5 => self.crash(node)?,
            6 | 7 => self.restart(node)?,
            8 => drop(self.move_master(self.master, false)?),
            9 => {
                if self.paused.is_none() && self.nodes[self.master].is_master() {
                    self.paused = self.candidate(self.master);
                }
            }
            _ => self.point_elsewhere(node),
        }
        Ok(())
    }

    /// The rule of the operators: the one that has most of the history of the master that it follows upon. What it has beside that, of a
    /// history that has ended, is no reason against it.
    pub(super) fn candidate(&self, old: usize) -> Option<usize> {
        let nodes =
            self.nodes.iter().filter(|node| node.is_up && node.index != old && node.follower.is_some());
        let common = nodes.filter_map(|node| Some((self.common(old, node)?, node.index)));
        common.max().map(|(_, index)| index)
    }

    /// The end of what a server has of the history of `old`.
    fn common(&self, old: usize, node: &Node) -> Option<u64> {
        let line = |mut id: ReplicationId, mut until: u64| {
            let mut line = vec![(id, until)];
            while let Some((parent, fork)) = self.truths.get(&id).and_then(|truth| truth.parent) {
                (id, until) = (parent, until.min(fork));
                line.push((id, until));
            }
            line
        };
        let applied = node.follower.as_ref()?.schedule.applied();
        let old = &self.nodes[old];
        let old = line(old.history.id(), u64::MAX);
        let of = |(id, until): (ReplicationId, u64)| {
            old.iter().find(|(old, _)| *old == id).map(|(_, fork)| until.min(*fork))
        };
        line(node.history.id(), applied).into_iter().find_map(of)
    }

    /// Another server becomes the master, and the others follow it, the old one too, if it is there.
    pub(super) fn move_master(&mut self, old: usize, is_gone: bool) -> Result<bool, Finding> {
        let Some(new) = self.candidate(old) else { return Ok(false) };
        self.note(|| format!("operators: {new} takes over from {old}"));
        self.paused = None;
        self.promote(new);
        // What only the old master has is the operators' loss.
        self.confirmed.iter_mut().for_each(|confirmed| confirmed.by.retain(|(node, _)| *node != old));
        self.survives(new)?;
        for index in 0..NODES {
            if index == new || (index == old && is_gone) || !self.nodes[index].is_up {
                continue;
            }
            self.drop_link(index);
            self.nodes[index].follow(new, false, self.now_ms);
            self.read_emitted(index)?;
        }
        for disk in self.disks.values_mut() {
            disk.follows = Some(new);
        }
        Ok(true)
    }

    pub(super) fn survives(&mut self, new: usize) -> Result<(), Finding> {
        let values: BTreeSet<u64> = self.nodes[new].data.values().flatten().copied().collect();
        let (lives, nodes) = (&self.lives, &self.nodes);
        let is_there = |(node, life): &(usize, u64)| nodes[*node].is_up && lives[*node] == *life;
        self.confirmed.retain(|confirmed| confirmed.by.iter().any(is_there));
        match self.confirmed.iter().find(|confirmed| !values.contains(&confirmed.value)) {
            Some(lost) => {
                let facts = |node: &Node| {
                    let applied = node.follower.as_ref().map(|follower| follower.schedule.applied());
                    let has = node.data.values().flatten().any(|value| *value == lost.value);
                    (node.index, node.is_up, node.history.id(), node.writer.offset(), applied, has)
                };
                let nodes: Vec<_> = self.nodes.iter().map(facts).collect();
                let what = format!("had by {:?}, now {} {nodes:?}", lost.by, self.now_ms);
                Err(Finding::LostWrite { value: lost.value, new_master: new, what })
            }
            None => Ok(()),
        }
    }

    pub(super) fn drop_link(&mut self, index: usize) {
        let now_ms = self.now_ms;
        self.nodes[index].settle();
        let connection = self.nodes[index].follower.as_mut().and_then(|follower| follower.connection.take());
        if let Some(connection) = connection.and_then(|id| self.connections.get_mut(&id)) {
            connection.close(now_ms);
        }
    }

    /// All connections of a server break.
    pub(super) fn unplug(&mut self, index: usize) {
        let now_ms = self.now_ms;
        for connection in self.connections.values_mut().filter(|connection| connection.ends.contains(&index))
        {
            connection.close(now_ms);
        }
        self.nodes[index].is_up = false;
        self.back_ms[index] = now_ms + 100 + self.random.below(900);
    }

    /// What a server has in memory is gone.
    pub(super) fn crash(&mut self, index: usize) -> Result<(), Finding> {
        if !self.nodes[index].is_up {
            return Ok(());
        }
        self.read_emitted(index)?;
        self.paused = None;
        self.lives[index] += 1;
        if index == self.master {
            self.nodes[index].is_up = false;
            let is_moved = self.move_master(index, true)?;
            self.nodes[index].is_up = true;
            if !is_moved {
                self.lives[index] -= 1;
                return Ok(());
            }
        }
        self.unplug(index);
        self.nodes[index].peers.clear();
        self.note(|| format!("{index}: crash"));
        self.seen.count("crash");
        Ok(())
    }

    /// SHUTDOWN, and a start from what it has saved.
    pub(super) fn restart(&mut self, index: usize) -> Result<(), Finding> {
        // A server that hands over must not forget it.
        if !self.nodes[index].is_up || self.paused.is_some() || self.handing_over == Some(index) {
            return Ok(());
        }
        let disk = self.nodes[index].shut_down(self.now_ms);
        self.read_emitted(index)?;
        let Some(disk) = disk else { return Ok(()) };
        self.drop_link(index);
        self.disks.insert(index, disk);
        self.unplug(index);
        self.nodes[index].peers.clear();
        self.note(|| format!("{index}: shutdown"));
        self.seen.count("restart");
        Ok(())
    }

    pub(super) fn come_back(&mut self, index: usize) {
        let (id, now_ms) = (self.new_id(), self.now_ms);
        let mut node = self.fresh(index);
        self.before[index] = None;
        match self.disks.remove(&index) {
            Some(disk) => {
                let (offset, parent) = (disk.kept.offset, disk.kept.id);
                if disk.follows.is_none() {
                    self.truths.insert(id, Truth::new(Some((parent, offset)), offset, disk.data.clone()));
                    self.before[index] = Some((parent, offset));
                }
                node.start(disk, id, now_ms);
                node.plant(self.plant);
            }
            None => node.follow(self.master, false, now_ms),
        }
        self.nodes[index] = node;
        self.note(|| {
            format!("{index}: start, follows {:?}", self.nodes[index].follower.as_ref().map(|f| f.master))
        });
    }

    /// Chains: a replica follows another one.
    pub(super) fn point_elsewhere(&mut self, index: usize) {
        let target = self.random.below(NODES as u64) as usize;
        let is_busy = self.paused.is_some() || self.handing_over.is_some();
        if self.nodes[index].follower.is_none() || !self.nodes[index].is_up || is_busy {
            return;
        }
        // No circles.
        let mut at = target;
        for _ in 0..NODES {
            if at == index {
                return;
            }
            match self.nodes[at].follower.as_ref().map(|follower| follower.master) {
                Some(above) => at = above,
                None => break,
            }
        }
        self.drop_link(index);
        self.nodes[index].follow(target, false, self.now_ms);
        self.note(|| format!("{index}: pointed at {target}"));
        self.seen.count("chain");
    }

    /// FAILOVER: writes are paused until the target has everything; then the master follows it.
    pub(super) fn fail_over(&mut self, target: usize) {
        let (old, now_ms) = (self.master, self.now_ms);
        if !self.nodes[old].is_master() || !self.nodes[target].is_up || self.nodes[target].follower.is_none()
        {
            self.paused = None;
            return;
        }
        self.nodes[old].deliver(now_ms, true);
        self.nodes[old].flush();
        let offset = self.nodes[old].writer.offset();
        let connections = &self.connections;
        let is_target =
            |id: ReplicaId| connections.get(&id).is_some_and(|connection| connection.ends[0] == target);
        let has_all = self.nodes[old]
            .replicas
            .iter()
            .any(|replica| is_target(replica.id) && replica.is_online() && replica.acked.applied == offset);
        if has_all && self.read_emitted(old).is_ok() {
            self.note(|| format!("{old}: hands over to {target} at {offset}"));
            self.nodes[old].follow(target, true, now_ms);
            self.handing_over = Some(old);
            self.nodes[old].replicas.disconnect_all(now_ms);
            self.paused = None;
        }
    }
}
