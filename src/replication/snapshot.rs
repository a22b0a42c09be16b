//! Snapshots on their way to replicas.
//!
//! The leader writes the file into a socket. To replicas' sockets it goes on piece by piece: another piece is read only while each
//! replica has little to send, so all go at the pace of the slowest, which is dropped when it takes nothing for `repl-timeout`. To a file
//! it is written by a thread of its own, and each replica gets the file at its own pace.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{spawn_blocking, AbortHandle};

use super::core::{Core, LEADER};
use super::event::{Event, SnapshotNews};
use super::message::{Content, ReplMessage, SnapshotOrder};
use super::peer::{FromSockets, SocketEvent, SEND_BYTES};
use super::task::sender;
use crate::base::error_text;
use crate::base::log::Level;
use crate::process;
use crate::repl::master::handshake::{Cut, JobId, ReplicaId, Replicas, State, Target};
use crate::repl::master::options::Filter;
use crate::runtime::background_thread;

/// What one replica may have to send of a snapshot, bytes: then the snapshot waits for it.
const QUEUE_BYTES: usize = 512 * 1024;
/// Pieces that are read ahead.
const PIECES: usize = 2;
const MARK_LEN: usize = 40;
/// Replicas that say that they are of this version read RDB 11; Redis's do not say, and those of 7.0 do not read it. What RDB 10 has not
/// are the times at which consumers of streams were active.
const RDB_11_SINCE: u32 = 7 << 16 | 2 << 8;

pub struct Snapshot {
    target: Target,
    mark: [u8; MARK_LEN],
    /// The leader's number of it, once it has begun.
    of_leader: Option<u64>,
    /// For each permit a piece is read.
    permits: Arc<Semaphore>,
    /// Pieces that came and for which no new permit has been given.
    owed: usize,
    reads: Option<AbortHandle>,
    bytes: u64,
    has_all: bool,
    ended: Option<Result<(), String>>,
    file: Option<Arc<SnapshotFile>>,
    in_file: Option<u64>,
}

impl Snapshot {
    pub fn is_being_made(&self) -> bool {
        self.ended.is_none()
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Some(reads) = &self.reads {
            reads.abort();
        }
    }
}

/// A temporary file, which has no name any more, or loses it with this.
pub struct SnapshotFile {
    path: PathBuf,
    /// Hung up to end the thread that writes.
    source: UnixStream,
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        // The other side may have been faster.
        let _ = self.source.shutdown(Shutdown::Both);
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Core {
    pub fn start_snapshot(&mut self, job: JobId, target: Target, filter: Filter, versions: &[Option<u32>]) {
        match self.try_start(job, target) {
            Ok((snapshot, socket)) => {
                self.snapshots.insert(job, snapshot);
                let content = Content { keys: !filter.no_data, functions: !filter.no_functions };
                let is_oldest =
                    !versions.iter().all(|version| version.is_some_and(|version| version >= RDB_11_SINCE));
                let order = SnapshotOrder {
                    job,
                    socket: socket.into(),
                    content,
                    is_oldest,
                    bell: self.bell(),
                    fields: Vec::new(),
                };
                if self.is_replica {
                    return self.held_snapshots.push(order);
                }
                self.tell(LEADER, ReplMessage::Snapshot(Box::new(order)));
            }
            Err(error) => {
                crate::log!(Level::Warning, "BGSAVE for replication can't begin: {}", error_text(&error));
                self.snapshot_has_failed(job);
            }
        }
    }

    fn try_start(&mut self, job: JobId, target: Target) -> io::Result<(Snapshot, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut mark = [b'0'; MARK_LEN];
        mark.iter_mut().zip(process::random_id().bytes()).for_each(|(place, digit)| *place = digit);
        let mut snapshot = Snapshot {
            target,
            mark,
            of_leader: None,
            permits: Arc::new(Semaphore::new(PIECES)),
            owed: 0,
            reads: None,
            bytes: 0,
            has_all: false,
            ended: None,
            file: None,
            in_file: None,
        };
        match target {
            Target::Sockets => {
                ours.set_nonblocking(true)?;
                let ours = tokio::net::UnixStream::from_std(ours)?;
                let reads = read_pieces(job, ours, snapshot.permits.clone(), self.from_sockets.clone());
                snapshot.reads = Some(tokio::spawn(reads).abort_handle());
            }
            Target::File => {
                let name = format!("temp-repl-{}-{job}.rdb", std::process::id());
                let path = self.config.general.dir.0.join(name);
                let file = File::create(&path)?;
                let source = ours.try_clone()?;
                snapshot.file = Some(Arc::new(SnapshotFile { path, source }));
                let tell = sender(self);
                background_thread::spawn("repl-file", move || {
                    let written = write_file(ours, &file).map_err(|error| error_text(&error).to_string());
                    tell(Event::Snapshot(job, SnapshotNews::InFile(written)));
                })?;
            }
        }
        Ok((snapshot, theirs))
    }

    /// Its place in the stream is known, but has not come yet.
    pub fn snapshot_at_barrier(&mut self, job: JobId, of_leader: u64, ticket: u64) {
        match self.snapshots.get_mut(&job) {
            Some(snapshot) => {
                snapshot.of_leader = Some(of_leader);
                self.feed.cut_at(ticket, job);
            }
            // Nobody wants it any more: it finds out when it begins to flow.
            None => self.tell(LEADER, ReplMessage::SnapshotMayFlow(of_leader)),
        }
    }

    /// The leader has not begun with it yet.
    pub fn snapshot_is_ordered(&self, job: JobId) -> bool {
        self.snapshots.get(&job).is_none_or(|snapshot| snapshot.of_leader.is_none())
    }

    /// All that it has is in the stream up to `offset`, and nothing else. What is kept from there on is kept now.
    pub fn cut_is_reached(&mut self, job: JobId, offset: u64) {
        let Some(snapshot) = self.snapshots.get(&job) else { return };
        // The stream selects a database again from here on; a replica's has selected one.
        let stream_db = if self.is_replica { self.stream_db } else { 0 };
        let cut = Cut { offset, stream_db, mark: snapshot.mark };
        let of_leader = snapshot.of_leader;
        self.replicas.snapshot_began(job, cut, &self.history);
        self.carry_out();
        if let Some(of_leader) = of_leader {
            self.tell(LEADER, ReplMessage::SnapshotMayFlow(of_leader));
        }
    }

    pub fn snapshot_ended(&mut self, job: JobId, result: Result<(), String>, bytes: u64) {
        let Some(snapshot) = self.snapshots.get_mut(&job) else { return };
        match &result {
            Ok(()) => {
                snapshot.ended = Some(result);
                self.snapshot_may_be_whole(job);
            }
            Err(why) => {
                crate::log!(Level::Warning, "Background transfer error: {why} (after {bytes} bytes)");
                self.snapshot_has_failed(job);
            }
        }
    }

    fn snapshot_has_failed(&mut self, job: JobId) {
        let now_ms = self.now_ms();
        self.snapshots.remove(&job);
        self.feed.forget_cut(job);
        self.replicas.snapshot_ended(job, None, now_ms);
    }

    pub fn cancel_snapshot(&mut self, job: JobId) {
        self.held_snapshots.retain(|order| order.job != job);
        self.feed.forget_cut(job);
        let snapshot = self.snapshots.remove(&job);
        if snapshot.as_ref().is_some_and(|snapshot| snapshot.target == Target::Sockets) {
            // Redis's words, which people look for.
            crate::log!(Level::Notice, "Diskless rdb transfer, last replica dropped, killing fork child.");
        }
        if let Some(of_leader) = snapshot.and_then(|snapshot| snapshot.of_leader) {
            // Its reader has hung up.
            self.tell(LEADER, ReplMessage::SnapshotMayFlow(of_leader));
        }
    }

    /// Some more of a snapshot, for all of its replicas.
    pub fn piece(&mut self, job: JobId, bytes: &Bytes) {
        let Some(snapshot) = self.snapshots.get_mut(&job) else { return };
        snapshot.bytes += bytes.len() as u64;
        snapshot.owed += 1;
        for id in replicas_of(&self.replicas, job) {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.push(bytes.clone());
            }
        }
    }

    /// Reads on for the snapshots whose replicas have taken enough.
    pub fn pieces_have_room(&mut self) {
        let Core { snapshots, replicas, peers, .. } = self;
        for (job, snapshot) in snapshots.iter_mut().filter(|(_, snapshot)| snapshot.owed > 0) {
            let is_full =
                |id: &ReplicaId| peers.get(id).is_some_and(|peer| peer.queued_bytes() > QUEUE_BYTES);
            if !replicas_of(replicas, *job).iter().any(is_full) {
                snapshot.permits.add_permits(std::mem::take(&mut snapshot.owed));
            }
        }
    }

    pub fn last_piece(&mut self, job: JobId) {
        if let Some(snapshot) = self.snapshots.get_mut(&job) {
            snapshot.has_all = true;
            self.snapshot_may_be_whole(job);
        }
    }

    pub fn snapshot_in_file(&mut self, job: JobId, written: Result<u64, String>) {
        let Some(snapshot) = self.snapshots.get_mut(&job) else { return };
        match written {
            Ok(bytes) => {
                snapshot.in_file = Some(bytes);
                snapshot.bytes = bytes;
                snapshot.has_all = true;
                self.snapshot_may_be_whole(job);
            }
            Err(why) => {
                crate::log!(Level::Warning, "The file of a snapshot for replicas can't be written: {why}");
                self.snapshot_has_failed(job);
            }
        }
    }

    /// Both are needed: that the leader says so, and that all has been read.
    fn snapshot_may_be_whole(&mut self, job: JobId) {
        let now_ms = self.now_ms();
        let Some(snapshot) = self.snapshots.get(&job) else { return };
        if !snapshot.has_all || !matches!(snapshot.ended, Some(Ok(()))) {
            return;
        }
        let (bytes, mark) = (snapshot.bytes, Bytes::copy_from_slice(&snapshot.mark));
        if snapshot.target == Target::Sockets {
            let replicas = replicas_of(&self.replicas, job);
            crate::log!(
                Level::Notice,
                "Diskless rdb transfer, done reading from pipe, {} replicas still up.",
                replicas.len()
            );
            for id in replicas {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.push(mark.clone());
                }
            }
        }
        self.replicas.snapshot_ended(job, Some(bytes), now_ms);
        if snapshot.target == Target::Sockets {
            self.snapshots.remove(&job);
        }
    }

    /// The replica gets the file of a snapshot.
    pub fn send_file(&mut self, id: ReplicaId, job: JobId) {
        let file = self.snapshots.get(&job).and_then(|snapshot| snapshot.file.clone());
        let (Some(file), Some(peer)) = (file, self.peers.get_mut(&id)) else { return self.close_peer(id) };
        let wanted = Arc::new(Notify::new());
        peer.file = Some(wanted.clone());
        let reads = tokio::spawn(read_file(id, file, wanted.clone(), self.from_sockets.clone()));
        peer.keep(reads);
        wanted.notify_one();
    }

    pub fn file_piece(&mut self, id: ReplicaId, bytes: Option<Bytes>) {
        let now_ms = self.now_ms();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match bytes {
            None => self.close_peer(id),
            Some(bytes) if bytes.is_empty() => {
                peer.file = None;
                self.replicas.file_sent(id, now_ms);
            }
            Some(bytes) => peer.push(bytes),
        }
    }

    /// Files that nobody is to get any more.
    pub fn drop_files(&mut self) {
        let wanted = |job: &JobId| {
            self.replicas.iter().any(|of| matches!(of.state, State::Snapshot { job: of } | State::SendFile { job: of } if of == *job))
        };
        let unwanted: Vec<JobId> = self
            .snapshots
            .iter()
            .filter(|(job, snapshot)| snapshot.in_file.is_some() && snapshot.ended.is_some() && !wanted(job))
            .map(|(job, _)| *job)
            .collect();
        for job in unwanted {
            self.snapshots.remove(&job);
        }
    }
}

/// The replicas that get this snapshot.
fn replicas_of(replicas: &Replicas, job: JobId) -> Vec<ReplicaId> {
    replicas.iter().filter(|of| of.state == State::Snapshot { job }).map(|of| of.id).collect()
}

async fn read_pieces(
    job: JobId,
    mut source: tokio::net::UnixStream,
    permits: Arc<Semaphore>,
    events: FromSockets,
) {
    loop {
        match permits.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_) => return,
        }
        let mut piece = vec![0; SEND_BYTES];
        let len = source.read(&mut piece).await.unwrap_or(0);
        piece.truncate(len);
        let event =
            if len == 0 { SocketEvent::LastPiece(job) } else { SocketEvent::Piece(job, piece.into()) };
        if !events.send(event).await || len == 0 {
            return;
        }
    }
}

/// Until its source ends. Returns the length.
fn write_file(mut source: UnixStream, mut file: &File) -> io::Result<u64> {
    let mut piece = vec![0; 4 * SEND_BYTES];
    let mut bytes = 0;
    loop {
        let len = match source.read(&mut piece) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        file.write_all(&piece[..len])?;
        bytes += len as u64;
    }
    file.sync_data()?;
    Ok(bytes)
}

/// A piece whenever one is wanted; an empty one at the end.
async fn read_file(id: ReplicaId, file: Arc<SnapshotFile>, wanted: Arc<Notify>, events: FromSockets) {
    let path = file.path.clone();
    let opened = spawn_blocking(move || File::open(path)).await;
    let Ok(Ok(opened)) = opened else {
        events.send(SocketEvent::FilePiece(id, None)).await;
        return;
    };
    let opened = Arc::new(opened);
    let mut at = 0;
    loop {
        wanted.notified().await;
        let source = opened.clone();
        let read = spawn_blocking(move || {
            let mut piece = vec![0; SEND_BYTES];
            let len = source.read_at(&mut piece, at)?;
            piece.truncate(len);
            io::Result::Ok(piece)
        });
        let piece: Option<Bytes> = read.await.ok().and_then(Result::ok).map(Bytes::from);
        let len = piece.as_ref().map_or(0, Bytes::len);
        at += len as u64;
        if !events.send(SocketEvent::FilePiece(id, piece)).await || len == 0 {
            return;
        }
    }
}
