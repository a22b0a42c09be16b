//! This server as a master: requests for synchronisation, what replicas say, and what the decisions about them mean.

use super::core::Core;
pub use super::core::LEADER;
use super::event::Newcomer;
use super::message::ReplMessage;
use super::peer::{Beginning, Ending, Peer, SocketEvent, SEND_BYTES};
use super::replica::Follower;
use super::task::Task;
use crate::base::log::{self, Level};
use crate::command::table::Flag;
use crate::command::{self, CommandError};
use crate::journal::feed::FeedReader;
use crate::repl::backlog::Backlog;
use crate::repl::master::handshake::{Action, Drop, ReplicaId, Request, World};
use crate::repl::master::options::Replconf;
use crate::repl::wire::shown;
use crate::resp::{Limits, Progress, RequestParser};

/// What a replica may say in one command, bytes, and what may wait of an incomplete one.
const COMMAND_BYTES_MAX: usize = 64 * 1024;
const LIMITS: Limits = Limits { bulk_len_max: COMMAND_BYTES_MAX, authenticated: true };
/// A connection that is to be closed may take so long to take the rest, and then to close, milliseconds.
const LINGER_MS: u64 = 5_000;
/// Pieces of the stream that one replica is sent in a round, so that others have their turn.
const STREAM_PIECES_MAX: usize = 16;

impl Task {
    /// A connection has asked for synchronisation.
    pub fn newcomer(&mut self, newcomer: Newcomer) {
        let Newcomer { id, socket, options, peer, args, input, home, shell } = newcomer;
        let since_ms = self.core.now_ms();
        let beginning = Beginning { id, socket, options, address: peer, home, shell, since_ms };
        match Peer::new(beginning, &self.core.from_sockets) {
            Ok(mut peer) => {
                peer.input = input;
                self.core.peers.insert(id, peer);
            }
            Err(error) => {
                crate::log!(Level::Warning, "The connection of a replica cannot be served: {error}");
                return self.core.tell(home, ReplMessage::CloseShell(shell));
            }
        }
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        self.request(id, &args);
        self.hear(id);
    }

    /// SYNC or PSYNC.
    fn request(&mut self, id: ReplicaId, args: &[&[u8]]) {
        let Task { core, follower } = self;
        let request = Request::parse(args);
        let promotes = request.promotes(&world(core, follower));
        match promotes {
            Ok(true) => self.take_over(id, args),
            Ok(false) => self.admit_or_refuse(id, args),
            Err(error) => self.core.refuse(id, &error),
        }
    }

    pub fn admit_or_refuse(&mut self, id: ReplicaId, args: &[&[u8]]) {
        if let Err(error) = self.admit(id, Request::parse(args)) {
            self.core.refuse(id, &error);
        }
    }

    fn admit(&mut self, id: ReplicaId, request: Request) -> Result<(), CommandError> {
        let Task { core, follower } = self;
        let Some(peer) = core.peers.get(&id) else { return Ok(()) };
        let (options, address, now_ms) = (peer.options.clone(), peer.address.clone(), core.now_ms());
        let mut replicas = core.take_replicas();
        let outcome = replicas.request(id, options, address, request, &world(core, follower), false, now_ms);
        core.replicas = replicas;
        outcome
    }

    pub fn tick_replicas(&mut self) {
        let Task { core, follower } = self;
        let now_ms = core.now_ms();
        let mut replicas = core.take_replicas();
        replicas.tick(&world(core, follower), core.failover.is_under_way(), now_ms);
        core.replicas = replicas;
    }

    pub fn socket_event(&mut self, event: SocketEvent) {
        match event {
            SocketEvent::Input(id, bytes) => {
                let counts = &self.core.status.counts;
                counts.bytes_in.fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
                let now_ms = self.core.now_ms();
                self.core.replicas.heard(id, now_ms);
                let Some(peer) = self.core.peers.get_mut(&id) else { return };
                // What one says that is about to be closed is read and forgotten, so that its kernel keeps what it has.
                if peer.ending == Ending::No {
                    peer.input.extend_from_slice(&bytes);
                    let now_ms = self.core.now_ms();
                    self.core.replicas.heard(id, now_ms);
                    self.hear(id);
                }
            }
            SocketEvent::Closed(id) => self.core.peer_is_gone(id),
            SocketEvent::Writable(id) => {
                if let Some(peer) = self.core.peers.get_mut(&id) {
                    peer.has_room();
                }
            }
            SocketEvent::Piece(job, bytes) => self.core.piece(job, &bytes),
            SocketEvent::LastPiece(job) => self.core.last_piece(job),
            SocketEvent::FilePiece(id, bytes) => self.core.file_piece(id, bytes),
        }
    }

    /// What the peer has said, as far as it is complete.
    fn hear(&mut self, id: ReplicaId) {
        loop {
            let Some(peer) = self.core.peers.get_mut(&id) else { return };
            if peer.input.is_empty() || peer.ending != Ending::No {
                return;
            }
            let len = match peer.parser.parse(&peer.input, &LIMITS) {
                Ok(Progress::Complete { len }) => len,
                Ok(Progress::Incomplete { .. }) if peer.input.len() <= COMMAND_BYTES_MAX => return,
                Ok(Progress::Incomplete { .. }) => {
                    crate::log!(Level::Warning, "Replica {} sends a command without end", peer.address);
                    return self.core.close_peer(id);
                }
                Err(error) => {
                    let text = error.text();
                    crate::log_text!(
                        Level::Warning,
                        "Protocol error (",
                        text,
                        ") from replica: ",
                        peer.address.as_bytes()
                    );
                    return self.core.close_peer(id);
                }
            };
            let input: Vec<u8> = peer.input.drain(..len).collect();
            let parser = std::mem::take(&mut peer.parser);
            let source = parser.unquoted().unwrap_or(&input);
            let args: Vec<&[u8]> = parser.args().iter().map(|arg| arg.of(source)).collect();
            if let Some(peer) = self.core.peers.get_mut(&id) {
                peer.parser = RequestParser::new();
            }
            self.command(id, &args);
        }
    }

    fn command(&mut self, id: ReplicaId, args: &[&[u8]]) {
        let Some(name) = args.first() else { return };
        let is_replica = self.core.replicas.get(id).is_some();
        match name.to_ascii_lowercase().as_slice() {
            b"replconf" => {
                let Some(peer) = self.core.peers.get_mut(&id) else { return };
                match peer.options.replconf(args, is_replica) {
                    Ok(Replconf::Ack { applied, durable, is_whole }) => {
                        let now_ms = self.core.now_ms();
                        self.core.replicas.ack(id, applied, durable, is_whole, now_ms);
                    }
                    Ok(Replconf::Silent | Replconf::SendAck) => {}
                    // Nothing may be answered in the midst of the stream.
                    Ok(Replconf::Ok) if is_replica => self.disconnect_for_reply(id, args, None),
                    Err(error) if is_replica => self.disconnect_for_reply(id, args, Some(&error)),
                    Ok(Replconf::Ok) => self.core.send(id, b"+OK\r\n".to_vec()),
                    Err(error) => self.core.refuse_mildly(id, &error),
                }
            }
            // After +DUALCHANNELSYNC it asks again.
            b"psync" if args.len() >= 3 && !is_replica => self.request(id, args),
            b"sync" if !is_replica => self.request(id, args),
            b"quit" => self.core.close_peer(id),
            // A replica may ask again for what it has.
            b"psync" | b"sync" => {}
            _ if is_replica => {
                let error = match command::table::resolve(args) {
                    Ok(spec)
                        if spec.is(Flag::Write) || spec.is(Flag::ReadOnly) || spec.is(Flag::MayReplicate) =>
                    {
                        Some(CommandError::other("ERR Replica can't interact with the keyspace"))
                    }
                    Ok(_) => None,
                    Err(error) => Some(error),
                };
                self.disconnect_for_reply(id, args, error.as_ref());
            }
            // It was told to ask for the stream by this connection, and has nothing else to say.
            _ => {}
        }
    }

    /// A replica has said what is to be answered, but nothing may be answered in the midst of the stream: it goes, as Redis's does.
    fn disconnect_for_reply(&mut self, id: ReplicaId, args: &[&[u8]], error: Option<&CommandError>) {
        let name = match command::table::resolve(args) {
            Ok(spec) => spec.name.to_owned(),
            Err(_) => shown(args.first().copied().unwrap_or_default()),
        };
        let address = self.core.peers.get(&id).map(|peer| peer.address.clone()).unwrap_or_default();
        if let Some(error) = error {
            crate::log_text!(
                Level::Warning,
                "== CRITICAL == This master is sending an error to its replica: '",
                error.text(),
                format_args!("' after processing the command '{name}'")
            );
        }
        crate::log!(
            Level::Warning,
            "Replica generated a reply to command '{name}', disconnecting it: addr={address}"
        );
        self.core.close_peer(id);
    }
}

/// What the server is at this moment.
fn world<'a>(core: &'a Core, follower: &Follower) -> World<'a> {
    World {
        history: &core.history,
        backlog: core.backlog.as_ref(),
        offset: core.writer.offset(),
        is_replica: follower.is_replica(),
        link_up: follower.is_up(),
        failing_over: core.failover.is_under_way(),
    }
}

impl Core {
    /// So that they can decide by what else there is; to be put back.
    fn take_replicas(&mut self) -> crate::repl::master::handshake::Replicas {
        let settings = self.replicas.settings().clone();
        std::mem::replace(&mut self.replicas, crate::repl::master::handshake::Replicas::new(settings))
    }

    /// Carries out what has been decided.
    pub fn carry_out(&mut self) {
        loop {
            let actions = self.replicas.take_actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(id, bytes) => self.send(id, bytes),
            Action::MakeBacklog => self.make_backlog(),
            Action::FreeBacklog => self.free_backlog(),
            Action::StartSnapshot { job, target, filter, versions } => {
                self.start_snapshot(job, target, filter, &versions)
            }
            Action::CancelSnapshot(job) => self.cancel_snapshot(job),
            Action::Hold(id, from) => self.open(id, from, false),
            Action::Stream(id, Some(from)) => self.open(id, from, true),
            Action::Stream(id, None) => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.may_stream = true;
                }
            }
            Action::SendFile(id, job) => self.send_file(id, job),
            Action::Release(id) => self.release(id),
            Action::Ping => {
                if self.backlog.is_some() {
                    self.writer.ping();
                    self.flush();
                }
            }
            Action::Close(id, cause) => self.close(id, &cause),
            Action::Log(level, text) => {
                if log::enabled(level) {
                    log::write(level, format_args!("{text}"));
                }
            }
        }
    }

    fn make_backlog(&mut self) {
        if self.backlog.is_some() {
            return;
        }
        self.history.renew(super::core::new_id());
        self.writer.forget_selected();
        self.backlog = Some(Backlog::new(super::core::backlog_size(&self.config), self.writer.offset()));
        crate::log!(
            Level::Notice,
            "Replication backlog created, my new replication IDs are '{}' and '{}'",
            self.history.id(),
            self.history.second_id()
        );
        self.tell(LEADER, ReplMessage::BeginFeed(self.bell()));
    }

    /// From here on the task gets what all shards do.
    pub fn feed_began(&mut self, reader: FeedReader) {
        if self.backlog.is_some() {
            self.feed.begin(reader);
        }
    }

    pub fn send(&mut self, id: ReplicaId, bytes: Vec<u8>) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.push(bytes.into());
        }
    }

    /// What asked wrongly is answered, and goes.
    fn refuse(&mut self, id: ReplicaId, error: &CommandError) {
        self.refuse_mildly(id, error);
        self.end_when_sent(id);
    }

    fn refuse_mildly(&mut self, id: ReplicaId, error: &CommandError) {
        self.send(id, [b"-", &error.text()[..], b"\r\n"].concat());
    }

    fn open(&mut self, id: ReplicaId, from: u64, may_stream: bool) {
        let Core { peers, backlog, .. } = self;
        let (Some(peer), Some(backlog)) = (peers.get_mut(&id), backlog) else { return };
        if let Some(old) = peer.reader.take() {
            backlog.close(old);
        }
        peer.reader = backlog.open(from);
        peer.may_stream = may_stream;
        if peer.reader.is_none() {
            // It was there when this was decided.
            crate::log!(Level::Warning, "The backlog has lost offset {from}, which a replica is to have");
            self.close_peer(id);
        }
    }

    fn release(&mut self, id: ReplicaId) {
        let reader = self.peers.get_mut(&id).and_then(|peer| peer.reader.take()).or(self.kept.remove(&id));
        if let (Some(reader), Some(backlog)) = (reader, &mut self.backlog) {
            backlog.close(reader);
        }
    }

    fn close(&mut self, id: ReplicaId, cause: &Drop) {
        match cause {
            Drop::Done | Drop::SnapshotFailed => self.end_when_sent(id),
            Drop::NoAck | Drop::Stalled | Drop::NoChannel | Drop::OutputLimit { .. } => self.remove_peer(id),
        }
    }

    fn end_when_sent(&mut self, id: ReplicaId) {
        let until_ms = self.now_ms() + LINGER_MS;
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.ending = Ending::WhenSent { until_ms };
        }
    }

    /// The connection is closed by this server, or was by the other side.
    pub fn close_peer(&mut self, id: ReplicaId) {
        self.peer_is_gone(id);
    }

    pub fn peer_is_gone(&mut self, id: ReplicaId) {
        let now_ms = self.now_ms();
        self.replicas.gone(id, now_ms);
        self.remove_peer(id);
    }

    /// Closes the socket, and what the shard has of the connection.
    fn remove_peer(&mut self, id: ReplicaId) {
        let Some(mut peer) = self.peers.remove(&id) else { return };
        if let Some(reader) = peer.reader.take() {
            // Of a snapshot's own connection the stream since the snapshot is kept for a while.
            self.kept.insert(id, reader);
            if !self.replicas.is_reserved(id) {
                self.release(id);
            }
        }
        self.tell(peer.home, ReplMessage::CloseShell(peer.shell));
        self.pieces_have_room();
    }

    /// Sends what sockets take.
    pub fn pump(&mut self) {
        let now_ms = self.now_ms();
        let has_grown = self.looked_at != self.writer.offset();
        self.looked_at = self.writer.offset();
        let mut gone = Vec::new();
        let Core { peers, backlog, replicas, status, .. } = self;
        for (id, peer) in peers.iter_mut() {
            let sent = pump_one(peer, backlog.as_mut());
            let Ok(took) = sent else {
                gone.push(*id);
                continue;
            };
            if took > 0 {
                status.counts.bytes_out.fetch_add(took, std::sync::atomic::Ordering::Relaxed);
            }
            if let Ending::WhenSent { until_ms } = peer.ending {
                if peer.queued_bytes() == 0 && peer.file.is_none() {
                    peer.ending = Ending::Sent { until_ms };
                    crate::runtime::socket::end_output(&*peer.socket);
                }
                continue;
            }
            if took == 0 && !has_grown {
                continue;
            }
            let stream = match (peer.reader, backlog.as_ref()) {
                (Some(reader), Some(backlog)) => backlog.pending(reader),
                _ => 0,
            };
            // While a snapshot is made, whoever has taken all of it so far is not late.
            let waits_for_snapshot = !peer.may_stream && peer.queued_bytes() == 0;
            let took = if waits_for_snapshot && replicas.gets_snapshot(*id) { took.max(1) } else { took };
            replicas.progress(*id, took, stream + peer.queued_bytes() as u64, now_ms);
        }
        let has_more = |peer: &Peer| {
            let reader =
                peer.reader.filter(|_| peer.may_stream && !peer.is_waiting() && peer.ending == Ending::No);
            peer.file.is_none()
                && reader.is_some_and(|reader| backlog.as_ref().is_some_and(|log| log.pending(reader) > 0))
        };
        if peers.values().any(has_more) {
            // The next round goes on: nothing else would ring.
            self.woken.notify_one();
        }
        for id in gone {
            self.peer_is_gone(id);
        }
        self.pieces_have_room();
    }

    /// Has writers wait while a replica is far behind that takes what it can.
    pub fn throttle(&mut self) {
        let wants = self.replicas.wants_throttle(self.now_ms());
        if wants == self.is_throttled {
            return;
        }
        self.is_throttled = wants;
        self.feed.throttle(wants);
        if !wants {
            self.tell_all(|| ReplMessage::WritersMayGoOn);
        }
    }

    /// Ten times a second: what has lasted for too long.
    pub fn tick_peers(&mut self) {
        let now_ms = self.now_ms();
        let timeout_ms = self.replicas.settings().timeout_ms;
        let is_over = |(id, peer): (&ReplicaId, &Peer)| match peer.ending {
            Ending::WhenSent { until_ms } | Ending::Sent { until_ms } => until_ms <= now_ms,
            // It was sent away to ask again, and does not.
            Ending::No => self.replicas.get(*id).is_none() && now_ms - peer.since_ms > timeout_ms,
        };
        let over: Vec<ReplicaId> = self.peers.iter().filter(|of| is_over(*of)).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.remove_peer(id));
    }
}

/// Sends what the socket takes: answers and snapshots, then the stream.
fn pump_one(peer: &mut Peer, backlog: Option<&mut Backlog>) -> std::io::Result<u64> {
    if peer.is_waiting() || matches!(peer.ending, Ending::Sent { .. }) {
        return Ok(0);
    }
    let mut took = peer.send_queue()?;
    if took > 0 && peer.queued_bytes() == 0 {
        if let Some(wanted) = &peer.file {
            wanted.notify_one();
        }
    }
    let (Some(reader), Some(backlog), true) = (peer.reader, backlog, peer.may_stream) else {
        return Ok(took);
    };
    for _ in 0..STREAM_PIECES_MAX {
        if peer.is_waiting() || peer.queued_bytes() > 0 || peer.file.is_some() {
            break;
        }
        let Some(piece) = backlog.read(reader, SEND_BYTES) else { break };
        took += peer.send(piece)?;
    }
    Ok(took)
}
