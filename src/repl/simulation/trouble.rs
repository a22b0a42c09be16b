//! What happens to servers and connections, and what the operators do about it.

use super::network::ConnectionId;
use super::node::Node;
use super::truth::Truth;
use super::world::{Finding, World, NODES};
use crate::repl::failover::{self, Candidate, Command};

const PORT: i64 = 6379;

impl World {
    /// Becomes a master, and as a rule the one that the operators know.
    pub(super) fn promote(&mut self, index: usize, is_known: bool) -> Result<(), Finding> {
        let id = self.new_id();
        self.nodes[index].settle();
        self.compare(index)?;
        let before = self.nodes[index].history.id();
        self.nodes[index].promote(id, self.plant, self.now_ms);
        let node = &self.nodes[index];
        let parent = Some((before, node.writer.offset()));
        self.note(|| format!("{index}: promoted, {parent:?} -> {id:?}"));
        self.truths.insert(id, Truth::new(parent, node.writer.offset(), node.data.clone()));
        self.before[index] = parent;
        if is_known {
            self.master = index;
            self.handing_over = None;
        }
        self.seen.count("promotion");
        Ok(())
    }

    /// Operators look after a second master from time to time, as Sentinel does.
    pub(super) fn watch(&mut self) -> Result<(), Finding> {
        let is_stray = |node: &&Node| node.is_master() && node.index != self.master;
        let stray = self.nodes.iter().find(is_stray).map(|node| node.index);
        let Some(index) =
            stray.filter(|_| self.handing_over.is_none() && self.nodes[self.master].is_master())
        else {
            return Ok(());
        };
        self.note(|| format!("operators: {index} is no master"));
        self.nodes[index].failover = failover::Failover::default();
        self.nodes[index].follow(self.master, false, self.plant, self.now_ms);
        self.read_emitted(index)
    }

    pub(super) fn trouble(&mut self) -> Result<(), Finding> {
        let node = self.random.below(NODES as u64) as usize;
        match self.random.below(12) {
            0..5 => {
                let open: Vec<ConnectionId> = self
                    .connections
                    .iter()
                    .filter(|(_, connection)| connection.is_open())
                    .map(|(id, _)| *id)
                    .collect();
                if open.is_empty() {
                    return Ok(());
                }
                let id = open[self.random.below(open.len() as u64) as usize];
                let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
                let what = match self.random.below(8) {
                    0 => {
                        connection.die(&[0, 1]);
                        "dead"
                    }
                    end @ 1..3 => {
                        connection.die(&[end as usize - 1]);
                        "half open"
                    }
                    _ => {
                        connection.cut(self.now_ms);
                        "cut"
                    }
                };
                let ends = connection.ends;
                self.note(|| format!("{what}: {ends:?}"));
                self.seen.count(what);
            }
            5 => self.crash(node)?,
            6 => self.restart(node)?,
            7 => self.save(node),
            8 => drop(self.move_master(self.master, false)?),
            9 => self.begin_failover(),
            _ => self.point_elsewhere(node),
        }
        Ok(())
    }

    /// The rule of the operators: the one that has most of the history of the master that it follows upon. What it has beside that, of a
    /// history that has ended, is no reason against it; nor that it is a master already, because the FAILOVER of one that is gone now has
    /// reached it after all.
    pub(super) fn candidate(&self, old: usize) -> Option<usize> {
        let nodes = self.nodes.iter().filter(|node| node.is_up && node.index != old);
        let master = (self.nodes[old].history.id(), u64::MAX);
        let common =
            nodes.filter_map(|node| Some((self.common(master, self.standing_of(node)?)?, node.index)));
        common.max().map(|(_, index)| index)
    }

    /// Another server becomes the master, and the others follow it, the old one too, if it is there.
    pub(super) fn move_master(&mut self, old: usize, is_gone: bool) -> Result<bool, Finding> {
        let Some(new) = self.candidate(old) else { return Ok(false) };
        self.note(|| format!("operators: {new} takes over from {old}"));
        // FAILOVER ABORT, if it hands over.
        self.nodes[new].failover = failover::Failover::default();
        if self.nodes[new].is_master() {
            (self.master, self.handing_over) = (new, None);
            self.seen.count("a second master stays");
        } else {
            self.promote(new, true)?;
        }
        self.survives(new, Some(old))?;
        for index in 0..NODES {
            if index == new {
                continue;
            }
            if (index == old && is_gone) || !self.nodes[index].is_up {
                self.nodes[index].disk.follows = Some(new);
                continue;
            }
            self.drop_link(index);
            self.nodes[index].failover = failover::Failover::default();
            self.nodes[index].follow(new, false, self.plant, self.now_ms);
            self.read_emitted(index)?;
        }
        Ok(true)
    }

    pub(super) fn drop_link(&mut self, index: usize) {
        let now_ms = self.now_ms;
        self.nodes[index].settle();
        let connection = self.nodes[index].follower.as_mut().and_then(|follower| follower.connection.take());
        if let Some(connection) = connection.and_then(|id| self.connections.get_mut(&id)) {
            connection.close_own(0, now_ms);
        }
    }

    /// A server stops, and all its connections break, or die.
    fn unplug(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let is_silent = self.random.one_in(4);
        for connection in self.connections.values_mut().filter(|connection| connection.ends.contains(&index))
        {
            if is_silent {
                connection.die(&[0, 1]);
            } else {
                connection.cut(now_ms);
            }
        }
        if is_silent {
            self.seen.count("unplugged");
        }
        self.nodes[index].is_up = false;
        self.nodes[index].peers.clear();
        self.back_ms[index] = now_ms + 100 + self.random.below(900);
    }

    /// What a server has in memory is gone, and what its disk did not have yet, in part.
    fn crash(&mut self, index: usize) -> Result<(), Finding> {
        if !self.nodes[index].is_up {
            return Ok(());
        }
        self.note(|| format!("{index}: killed"));
        self.read_emitted(index)?;
        self.memory_lost(index);
        self.is_killed[index] = true;
        self.handing_over = self.handing_over.filter(|old| *old != index);
        self.unplug(index);
        self.seen.count("kill");
        if index == self.master {
            if self.random.one_in(3) || !self.move_master(index, true)? {
                // A supervisor starts it again, as what it was.
                self.nodes[index].disk.follows = None;
                self.seen.count("start again");
            } else {
                self.seen.count("crash");
            }
        }
        Ok(())
    }

    /// SHUTDOWN, and a start from what it has saved.
    fn restart(&mut self, index: usize) -> Result<(), Finding> {
        let node = &self.nodes[index];
        // A server that hands over must not forget it.
        if !node.is_up || node.failover.is_under_way() || self.handing_over == Some(index) {
            return Ok(());
        }
        self.note(|| format!("{index}: shut down"));
        self.nodes[index].save(true, self.now_ms);
        self.read_emitted(index)?;
        self.compare(index)?;
        self.drop_link(index);
        self.is_killed[index] = false;
        self.unplug(index);
        self.seen.count("restart");
        Ok(())
    }

    /// BGSAVE, where there is no log.
    fn save(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.is_up && node.disk.durable().is_none() {
            node.save(false, self.now_ms);
            self.seen.count("saved");
        }
    }

    pub(super) fn come_back(&mut self, index: usize) -> Result<(), Finding> {
        let (id, now_ms) = (self.new_id(), self.now_ms);
        let disk = self.nodes[index].disk.clone();
        let data = if self.is_killed[index] { disk.after_crash(&mut self.random) } else { disk.data() };
        let mut node = self.with_disk(index, disk);
        node.start(data, id, self.plant, now_ms);
        self.before[index] = None;
        if let Some((id, offset)) = self.standing_of(&node).filter(|_| node.follower.is_none()) {
            let before = node.history.second_id();
            self.truths.insert(id, Truth::new(Some((before, offset)), offset, node.data.clone()));
            self.before[index] = Some((before, offset));
        }
        self.note(|| format!("{index}: starts, {:?}, follows {:?}", node.history, node.disk.follows));
        self.nodes[index] = node;
        self.disk_read(index)?;
        self.compare(index)
    }

    /// Chains: a replica follows another one.
    pub(super) fn point_elsewhere(&mut self, index: usize) {
        let target = self.random.below(NODES as u64) as usize;
        let is_busy =
            self.handing_over.is_some() || self.nodes.iter().any(|node| node.failover.is_under_way());
        if self.nodes[index].follower.is_none() || !self.nodes[index].is_up || is_busy {
            return;
        }
        // No circles.
        let mut at = target;
        for _ in 0..NODES {
            if at == index {
                return;
            }
            // One that is down comes back as what its disk says.
            let node = &self.nodes[at];
            let above = node.follower.as_ref().map(|follower| follower.master);
            match if node.is_up { above } else { node.disk.follows } {
                Some(above) => at = above,
                None => break,
            }
        }
        self.drop_link(index);
        self.nodes[index].follow(target, false, self.plant, self.now_ms);
        self.note(|| format!("{index}: pointed at {target}"));
        self.seen.count("chain");
    }

    fn candidates(&self, index: usize) -> Vec<Candidate> {
        let of = |replica: &crate::repl::master::handshake::Replica| {
            let node = self.connections.get(&replica.id)?.ends[0];
            let host = node.to_string().into_bytes();
            Some(Candidate {
                host,
                port: PORT,
                is_online: replica.is_online(),
                acked: replica.acked.applied,
                acked_at_ms: replica.ack_at_ms,
            })
        };
        self.nodes[index].replicas.iter().filter_map(of).collect()
    }

    fn facts<'a>(node: &Node, replicas: &'a [Candidate]) -> failover::Facts<'a> {
        let is_replica = node.follower.is_some();
        failover::Facts { is_cluster: false, is_replica, offset: node.writer.offset(), replicas }
    }

    /// FAILOVER, to any replica, for some time.
    fn begin_failover(&mut self) {
        let index = self.master;
        let replicas = self.candidates(index);
        if !self.nodes[index].is_master() || self.handing_over.is_some() {
            return;
        }
        let facts = World::facts(&self.nodes[index], &replicas);
        let timeout_ms = Some(100 + self.random.below(3000));
        let command = Command::Start { to: None, force: false, timeout_ms };
        let Ok(actions) = self.nodes[index].failover.command(command, &facts, self.now_ms) else { return };
        assert!(actions.contains(&failover::Action::Pause));
    }

    pub(super) fn fail_over(&mut self, index: usize) -> Result<(), Finding> {
        if !self.nodes[index].failover.is_under_way() {
            return Ok(());
        }
        let node = &mut self.nodes[index];
        if node.follower.is_none() && node.is_still(self.now_ms) {
            node.flush();
            if !node.failover.paused(node.writer.offset(), self.now_ms).is_empty() {
                node.writer.ask_for_acks();
                node.flush();
            }
        }
        let replicas = self.candidates(index);
        let node = &mut self.nodes[index];
        let facts = World::facts(node, &replicas);
        let actions = match node.failover.state() {
            failover::State::WaitForSync if self.random.one_in(1000) => {
                self.seen.count("abort");
                node.failover.command(Command::Abort, &facts, self.now_ms).unwrap_or_default()
            }
            _ => node.failover.tick(&facts, self.now_ms),
        };
        self.failover_actions(index, actions)
    }

    /// The link of a server that hands over has got its answer.
    pub(super) fn accepted(&mut self, index: usize, is_accepted: bool) -> Result<(), Finding> {
        let actions = self.nodes[index].failover.answered(is_accepted);
        self.failover_actions(index, actions)
    }

    fn failover_actions(&mut self, index: usize, actions: Vec<failover::Action>) -> Result<(), Finding> {
        for action in actions {
            match action {
                failover::Action::Follow { host, .. } => {
                    let target = String::from_utf8_lossy(&host).parse().unwrap_or(index);
                    self.note(|| format!("{index}: hands over to {target}"));
                    self.read_emitted(index)?;
                    self.nodes[index].follow(target, true, self.plant, self.now_ms);
                    self.handing_over = Some(index);
                    self.nodes[index].replicas.disconnect_all(self.now_ms);
                }
                // Its target has refused, but may have taken over before: then the operators say who it follows.
                failover::Action::BecomeMaster if self.handing_over == Some(index) => {
                    self.promote(index, true)?
                }
                failover::Action::BecomeMaster => {
                    self.nodes[index].follow(self.master, false, self.plant, self.now_ms);
                }
                failover::Action::Pause
                | failover::Action::Unpause
                | failover::Action::AskForAcks
                | failover::Action::Log(..) => {}
            }
        }
        Ok(())
    }
}
