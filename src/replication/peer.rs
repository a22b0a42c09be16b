//! The socket of a replica: what is to be sent, in order, and what it says.
//!
//! The task sends what the socket takes at once. Where it takes no more, a task of the peer's waits until it does. Another one reads,
//! and waits while the task has much to look at. What waits here is bounded: answers by the events that cause them, snapshots by
//! `snapshot::QUEUE_BYTES`, and the stream waits in the backlog.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::Sender;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::base::Token;
use crate::repl::backlog::ReaderId;
use crate::repl::master::handshake::{JobId, ReplicaId};
use crate::repl::master::options::Options;
use crate::resp::RequestParser;
use crate::runtime::async_socket::AsyncSocket;
use crate::runtime::socket;

/// What is read at once.
pub const PIECE_BYTES: usize = 16 * 1024;
/// What is sent at once.
pub const SEND_BYTES: usize = 64 * 1024;

/// What a socket has brought.
pub enum SocketEvent {
    Input(ReplicaId, Bytes),
    /// The end of it.
    Closed(ReplicaId),
    /// It takes more.
    Writable(ReplicaId),
    /// A piece of a snapshot, to be sent to its replicas.
    Piece(JobId, Bytes),
    /// A snapshot has no more pieces.
    LastPiece(JobId),
    /// A piece of a snapshot's file for one replica; empty: all of it has been read. `None`: it cannot be read.
    FilePiece(ReplicaId, Option<Bytes>),
}

pub type Socket = Arc<AsyncSocket>;

/// The way of sockets' tasks to the task. It waits while there is much to look at.
#[derive(Clone)]
pub struct FromSockets {
    pub sender: Sender<SocketEvent>,
    pub woken: Arc<Notify>,
}

impl FromSockets {
    /// False: the task is gone.
    pub async fn send(&self, event: SocketEvent) -> bool {
        let sent = self.sender.send(event).await.is_ok();
        self.woken.notify_one();
        sent
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    No,
    /// When everything has been sent; until then at most so long, milliseconds of the task's clock.
    WhenSent {
        until_ms: u64,
    },
    /// Everything has been sent; its peer is to close.
    Sent {
        until_ms: u64,
    },
}

pub struct Peer {
    pub socket: Socket,
    pub options: Options,
    /// Host and port of the other end.
    pub address: String,
    /// The shard that keeps its place in the list of clients, and which it is.
    pub home: usize,
    pub shell: Token,
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    /// Its place in the backlog, and whether it gets what is there.
    pub reader: Option<ReaderId>,
    pub may_stream: bool,
    /// The socket takes no more for now.
    waits: bool,
    wanted: Arc<Notify>,
    pub parser: RequestParser,
    pub input: Vec<u8>,
    /// A snapshot's file is being sent: when another piece is wanted.
    pub file: Option<Arc<Notify>>,
    pub ending: Ending,
    pub since_ms: u64,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        socket::shutdown(&*self.socket);
    }
}

/// What a peer begins with.
pub struct Beginning {
    pub id: ReplicaId,
    pub socket: OwnedFd,
    pub options: Options,
    pub address: String,
    pub home: usize,
    pub shell: Token,
    pub since_ms: u64,
}

impl Peer {
    pub fn new(beginning: Beginning, events: &FromSockets) -> io::Result<Peer> {
        let Beginning { id, socket, options, address, home, shell, since_ms } = beginning;
        let socket: Socket = Arc::new(AsyncSocket::new(socket)?);
        let wanted = Arc::new(Notify::new());
        let reads = tokio::spawn(read(id, socket.clone(), events.clone()));
        let waits = tokio::spawn(await_room(id, socket.clone(), wanted.clone(), events.clone()));
        Ok(Peer {
            socket,
            options,
            address,
            home,
            shell,
            queue: VecDeque::new(),
            queued_bytes: 0,
            reader: None,
            may_stream: false,
            waits: false,
            wanted,
            parser: RequestParser::new(),
            input: Vec::new(),
            file: None,
            ending: Ending::No,
            since_ms,
            tasks: vec![reads, waits],
        })
    }

    /// To be sent, before anything of the stream.
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.queued_bytes += bytes.len();
            self.queue.push_back(bytes);
        }
    }

    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    pub fn memory_bytes(&self) -> u64 {
        (self.queued_bytes + self.input.capacity() + size_of::<Peer>()) as u64
    }

    pub fn forget_stream(&mut self) {
        self.reader = None;
        self.may_stream = false;
    }

    pub fn is_waiting(&self) -> bool {
        self.waits
    }

    pub fn has_room(&mut self) {
        self.waits = false;
    }

    pub fn keep(&mut self, task: JoinHandle<()>) {
        self.tasks.push(task);
    }

    /// Sends what the socket takes of the queue. Returns the bytes that it took.
    pub fn send_queue(&mut self) -> io::Result<u64> {
        let mut took = 0;
        while let Some(bytes) = self.queue.front_mut() {
            let sent = match try_send(&self.socket, bytes) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.await_room();
                    break;
                }
                Err(error) => return Err(error),
            };
            took += sent as u64;
            self.queued_bytes -= sent;
            if sent == bytes.len() {
                self.queue.pop_front();
            } else {
                let _ = bytes.split_to(sent);
            }
        }
        Ok(took)
    }

    /// Sends a piece that is not in the queue, which is empty; what is not taken goes into it.
    pub fn send(&mut self, mut bytes: Bytes) -> io::Result<u64> {
        match try_send(&self.socket, &bytes) {
            Ok(sent) if sent == bytes.len() => Ok(sent as u64),
            Ok(sent) => {
                let _ = bytes.split_to(sent);
                self.push(bytes);
                self.await_room();
                Ok(sent as u64)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.push(bytes);
                self.await_room();
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    fn await_room(&mut self) {
        self.waits = true;
        self.wanted.notify_one();
    }
}

fn try_send(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    let bytes = &bytes[..bytes.len().min(SEND_BYTES)];
    socket.try_send(bytes)
}

async fn read(id: ReplicaId, socket: Socket, events: FromSockets) {
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(len) = socket.receive(&mut buffer).await {
        if len == 0 {
            break;
        }
        if !events.send(SocketEvent::Input(id, Bytes::copy_from_slice(&buffer[..len]))).await {
            return;
        }
    }
    events.send(SocketEvent::Closed(id)).await;
}

async fn await_room(id: ReplicaId, socket: Socket, wanted: Arc<Notify>, events: FromSockets) {
    loop {
        wanted.notified().await;
        if socket.has_room().await.is_err() || !events.send(SocketEvent::Writable(id)).await {
            return;
        }
    }
}
