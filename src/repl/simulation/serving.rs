//! Servers that others follow, masters or replicas: requests, snapshots, the stream.

use super::node::Node;
use super::truth::Truth;
use super::world::{Finding, World};
use crate::repl::master::handshake::{
    Action as MasterAction, ReplicaId, Request, State, Target, World as Standing,
};
use crate::repl::master::options::Replconf;
use crate::resp::{Limits, Progress, RequestParser};

impl World {
    pub(super) fn serve(&mut self, index: usize) -> Result<(), Finding> {
        let now_ms = self.now_ms;
        let mut ids: Vec<ReplicaId> = self.nodes[index].peers.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            while let Some(bytes) = connection.receive(1, now_ms) {
                self.nodes[index].replicas.heard(id, now_ms);
                if let Some(peer) = self.nodes[index].peers.get_mut(&id) {
                    peer.input.extend_from_slice(&bytes);
                }
            }
            let is_closed = connection.is_closed(1, now_ms);
            self.requests(index, id)?;
            if is_closed {
                self.nodes[index].replicas.gone(id, now_ms);
                self.master_actions(index)?;
                self.nodes[index].peers.remove(&id);
            }
        }
        self.jobs(index)?;
        self.master_actions(index)?;
        self.feed(index);
        self.master_actions(index)
    }

    pub(super) fn requests(&mut self, index: usize, id: ReplicaId) -> Result<(), Finding> {
        let limits = Limits { bulk_len_max: 1 << 20, authenticated: true };
        loop {
            let Some(peer) = self.nodes[index].peers.get_mut(&id) else { return Ok(()) };
            let mut parser = RequestParser::new();
            let Ok(Progress::Complete { len }) = parser.parse(&peer.input, &limits) else { return Ok(()) };
            let input: Vec<u8> = peer.input.drain(..len).collect();
            let args: Vec<&[u8]> = parser.args().iter().map(|arg| arg.of(&input)).collect();
            let Some(name) = args.first() else { continue };
            match name.to_ascii_uppercase().as_slice() {
                b"PING" => self.reply(id, b"+PONG\r\n"),
                b"REPLCONF" => {
                    let is_replica = self.nodes[index].replicas.get(id).is_some();
                    match self.nodes[index].peers.get_mut(&id).unwrap().options.replconf(&args, is_replica) {
                        Ok(Replconf::Ok) => self.reply(id, b"+OK\r\n"),
                        Ok(Replconf::Ack { applied, durable, is_whole }) => {
                            self.nodes[index].replicas.ack(id, applied, durable, is_whole, self.now_ms);
                        }
                        // From one that has been dropped, and does not know it.
                        Ok(Replconf::Silent) => {}
                        other => panic!("{other:?}"),
                    }
                }
                b"PSYNC" | b"SYNC" => self.psync(index, id, &args)?,
                other => panic!("{}", other.escape_ascii()),
            }
            self.master_actions(index)?;
        }
    }

    pub(super) fn reply(&mut self, id: ReplicaId, bytes: &[u8]) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.send(1, bytes, self.now_ms, &mut self.random);
        }
    }

    fn psync(&mut self, index: usize, id: ReplicaId, args: &[&[u8]]) -> Result<(), Finding> {
        let (request, peer_id) = (Request::parse(args), id);
        let promotes = request.promotes(&standing(&self.nodes[index]));
        match promotes {
            Ok(true) => {
                self.handed_over(index, id)?;
            }
            Ok(false) => {}
            Err(error) => {
                self.reply(id, &[b"-", &error.text()[..], b"\r\n"].concat());
                return Ok(());
            }
        }
        let name = self.peer_name(id);
        let node = &mut self.nodes[index];
        let options = node.peers[&id].options.clone();
        let before = node.replicas.counts();
        let mut replicas = node.take_replicas();
        let outcome = replicas.request(id, options, name, request, &standing(node), false, self.now_ms);
        node.replicas = replicas;
        if let Err(error) = outcome {
            self.reply(id, &[b"-", &error.text()[..], b"\r\n"].concat());
            return Ok(());
        }
        if node.replicas.counts().full > before.full {
            self.seen.count("full");
            if let Request::Psync { id, offset, .. } = request {
                let (id, offset) =
                    (String::from_utf8_lossy(id).into_owned(), String::from_utf8_lossy(offset));
                let offset: i64 = offset.parse().unwrap();
                let asker = self.connections.get(&peer_id).map_or(index, |connection| connection.ends[0]);
                let has = self.standing_of(&self.nodes[asker]);
                let forgot = id == "?"
                    && has.is_some_and(|(id, at)| self.could_continue(index, &id.to_string(), at as i64 + 1));
                if forgot || self.could_continue(index, &id, offset) {
                    let why = format!(
                        "{:?} {:?} {:?}",
                        self.nodes[index].history,
                        self.nodes[index].replicas.causes(),
                        self.nodes[index].backlog.as_ref().map(|b| (b.first_byte_offset(), b.end()))
                    );
                    return Err(Finding::NeedlessFullSync {
                        master: index,
                        id: format!("{id} {why}"),
                        offset,
                    });
                }
            }
        }
        Ok(())
    }

    /// The other end of a connection. Some networks show one address for all.
    fn peer_name(&self, id: ReplicaId) -> String {
        let node = self.connections.get(&id).map_or(0, |connection| connection.ends[0]);
        format!("10.0.0.{}:{id}", if self.has_nat { 1 } else { node })
    }

    /// FAILOVER: the target becomes the master, and has what the old one had.
    fn handed_over(&mut self, index: usize, id: ReplicaId) -> Result<(), Finding> {
        let from = self.connections.get(&id).map_or(index, |connection| connection.ends[0]);
        if self.handing_over != Some(from) {
            // The operators have decided otherwise meanwhile. They will find a second master.
            self.seen.count("stray");
            return self.promote(index, false);
        }
        self.promote(index, true)?;
        if self.nodes[from].data != self.nodes[index].data {
            return Err(Finding::NotHandedOver { from, to: index });
        }
        self.survives(index, None)?;
        self.seen.count("failover");
        Ok(())
    }

    fn jobs(&mut self, index: usize) -> Result<(), Finding> {
        let now_ms = self.now_ms;
        while let Some(at) = self.nodes[index].jobs.iter().position(|job| job.written_ms <= now_ms) {
            let job = &self.nodes[index].jobs[at];
            let (id, len, mark) = (job.id, job.payload.len() as u64, job.mark);
            if let Some(mark) = mark {
                let bytes = [&job.payload[..], &mark].concat();
                let is_of = |state: &State| *state == State::Snapshot { job: id };
                let replicas = self.nodes[index].replicas.iter().filter(|replica| is_of(&replica.state));
                let ids: Vec<ReplicaId> = replicas.map(|replica| replica.id).collect();
                ids.into_iter().for_each(|id| self.reply(id, &bytes));
            }
            self.nodes[index].replicas.snapshot_ended(id, Some(len), now_ms);
            self.master_actions(index)?;
            self.nodes[index].jobs.retain(|job| job.id != id);
        }
        Ok(())
    }

    pub(super) fn master_actions(&mut self, index: usize) -> Result<(), Finding> {
        let now_ms = self.now_ms;
        loop {
            let actions = self.nodes[index].replicas.take_actions();
            if actions.is_empty() {
                return Ok(());
            }
            for action in actions {
                self.master_action(index, action, now_ms)?;
            }
        }
    }

    pub(super) fn master_action(
        &mut self,
        index: usize,
        action: MasterAction,
        now_ms: u64,
    ) -> Result<(), Finding> {
        let node = &mut self.nodes[index];
        match action {
            MasterAction::Send(id, bytes) => self.reply(id, &bytes),
            MasterAction::MakeBacklog => {
                let id = self.new_id();
                self.before[index] = None;
                self.nodes[index].make_backlog(id, now_ms);
                self.read_emitted(index)?;
                let node = &self.nodes[index];
                self.truths.insert(id, Truth::new(None, node.writer.offset(), node.data.clone()));
            }
            MasterAction::StartSnapshot { job, target, .. } => {
                let mark = (target == Target::Sockets)
                    .then(|| std::array::from_fn(|_| b'a' + self.random.below(26) as u8));
                let written_ms = now_ms + 30 + self.random.below(150);
                let cut = node.snapshot(job, mark, now_ms, written_ms);
                node.replicas.snapshot_began(job, cut, &node.history);
            }
            MasterAction::Hold(id, from) => self.open(index, id, from, false)?,
            MasterAction::Stream(id, Some(from)) => self.open(index, id, from, true)?,
            MasterAction::Stream(id, None) => {
                if let Some(peer) = node.peers.get_mut(&id) {
                    peer.may_stream = true;
                }
            }
            MasterAction::SendFile(id, job) => {
                let payload = node.jobs.iter().find(|of| of.id == job).map(|job| job.payload.clone());
                self.reply(id, &payload.unwrap());
                self.nodes[index].replicas.file_sent(id, now_ms);
            }
            MasterAction::Release(id) => {
                let reader = node.peers.get_mut(&id).and_then(|peer| peer.reader.take());
                if let (Some(reader), Some(backlog)) = (reader, &mut node.backlog) {
                    backlog.close(reader);
                }
            }
            MasterAction::Close(id, _) => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.close_own(1, now_ms);
                }
                let reader = node.peers.remove(&id).and_then(|peer| peer.reader);
                if let (Some(reader), Some(backlog)) = (reader, &mut node.backlog) {
                    backlog.close(reader);
                }
            }
            MasterAction::Ping => {
                node.writer.ping();
                node.flush();
            }
            MasterAction::CancelSnapshot(job) => node.jobs.retain(|of| of.id != job),
            MasterAction::FreeBacklog => {
                // What is written from here on is not counted: it is of no history.
                let id = self.new_id();
                self.before[index] = None;
                self.nodes[index].free_backlog(id);
                self.seen.count("freed");
            }
            MasterAction::Log(..) => {}
        }
        Ok(())
    }

    pub(super) fn open(
        &mut self,
        index: usize,
        id: ReplicaId,
        from: u64,
        may_stream: bool,
    ) -> Result<(), Finding> {
        let node = &mut self.nodes[index];
        let (Some(peer), Some(backlog)) = (node.peers.get_mut(&id), &mut node.backlog) else { return Ok(()) };
        let reader = backlog.open(from).ok_or(Finding::NotHeld { master: index, offset: from })?;
        (peer.reader, peer.may_stream) = (Some(reader), may_stream);
        Ok(())
    }

    /// Streams what the backlog has.
    pub(super) fn feed(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let node = &mut self.nodes[index];
        let Some(backlog) = &mut node.backlog else { return };
        for (id, peer) in &mut node.peers {
            let (Some(reader), Some(connection)) = (peer.reader, self.connections.get_mut(id)) else {
                continue;
            };
            let before = connection.under_way(1) as u64;
            let mut sent = 0;
            while peer.may_stream && connection.under_way(1) < 8192 {
                let Some(bytes) = backlog.read(reader, 512) else { break };
                sent += bytes.len() as u64;
                connection.send(1, &bytes, now_ms, &mut self.random);
            }
            // What has arrived since the last time.
            let took = (peer.under_way + sent).saturating_sub(before + sent);
            peer.under_way = before + sent;
            // Its snapshot goes as it is read, and waits nowhere.
            let waits = if peer.may_stream { connection.under_way(1) as u64 } else { 0 };
            let pending = backlog.pending(reader) + waits;
            node.replicas.progress(*id, took, pending, now_ms);
        }
    }

    pub(super) fn tick(&mut self, index: usize) -> Result<(), Finding> {
        let now_ms = self.now_ms;
        let node = &mut self.nodes[index];
        let is_paused = node.failover.is_under_way();
        let mut replicas = node.take_replicas();
        replicas.tick(&standing(node), is_paused, now_ms);
        node.replicas = replicas;
        self.master_actions(index)?;
        let mut actions = Vec::new();
        if let Some(follower) = &mut self.nodes[index].follower {
            follower.link.tick(now_ms, &mut actions);
        }
        self.link_actions(index, &[], &mut actions)
    }
}

fn standing(node: &Node) -> Standing<'_> {
    Standing {
        history: &node.history,
        backlog: node.backlog.as_ref(),
        offset: node.writer.offset(),
        is_replica: node.follower.is_some(),
        link_up: node.follower.as_ref().is_some_and(|follower| follower.link.is_up()),
        failing_over: node.failover.is_under_way(),
    }
}
