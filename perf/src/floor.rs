//! The least an io_uring server can do: find where each request ends, answer it with fixed bytes.
//!
//! It has the shape of the socket ring of a shard (deferred task work, multishot accept and receive into a
//! provided-buffer ring, one send in flight per connection, one enter per turn) and nothing else: no
//! table, no keys, no timers. What it costs per request is the kernel's share and the floor for any server
//! that is built this way; the rest of a real server's cost is its own.
//!
//! This is the only module of the package with `unsafe` in it: it speaks to the ring directly.
#![allow(unsafe_code)]

use crate::requests::{RequestScanner, RequestShape};
use io_uring::types::{BufRingEntry, Fd};
use io_uring::{cqueue, opcode, squeue, IoUring};
use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};

/// Submission queue entries; a fuller turn is submitted in parts.
const RING_ENTRIES: u32 = 1024;
/// Buffers the kernel may fill before we return them; a power of two.
const RECEIVE_BUFFERS: u16 = 512;
/// Room for a deep pipeline of small requests in one completion.
const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;
/// Group of the one provided-buffer ring.
const BUFFER_GROUP: u16 = 0;
/// Descriptors above this are closed at once: the table of connections is indexed by descriptor.
const DESCRIPTORS_MAX: usize = 20_000;

const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;

fn tag(operation: u64, descriptor: i32) -> u64 {
    (operation << 32) | descriptor as u64
}

/// The fixed answers.
struct Replies {
    value: Vec<u8>,
}

impl Replies {
    fn append(&self, shape: RequestShape, out: &mut Vec<u8>) {
        match &shape.name {
            b"GE" => out.extend_from_slice(&self.value),
            b"SE" | b"MS" => out.extend_from_slice(b"+OK\r\n"),
            b"PI" => out.extend_from_slice(b"+PONG\r\n"),
            b"IN" => out.extend_from_slice(b":1\r\n"),
            b"MG" => {
                let keys = shape.arguments - 1;
                out.extend_from_slice(format!("*{keys}\r\n").as_bytes());
                for _ in 0..keys {
                    out.extend_from_slice(&self.value);
                }
            }
            _ => out.extend_from_slice(b"-ERR the floor has no such command\r\n"),
        }
    }
}

#[derive(Default)]
struct Connection {
    socket: Option<OwnedFd>,
    scanner: RequestScanner,
    /// Replies waiting for the send in flight to end.
    queued: Vec<u8>,
    /// Bytes the kernel reads from until the send completes, and how many of them it has taken.
    sending: Vec<u8>,
    sent: usize,
    send_in_flight: bool,
    receive_armed: bool,
    closing: bool,
    dirty: bool,
}

/// Memory shared with the kernel: a ring of buffer descriptors and the buffers they name.
struct ReceiveBuffers {
    entries: *mut BufRingEntry,
    layout: Layout,
    memory: Vec<u8>,
    tail: u16,
}

impl ReceiveBuffers {
    fn register(ring: &IoUring) -> io::Result<Self> {
        let size = usize::from(RECEIVE_BUFFERS) * size_of::<BufRingEntry>();
        let layout = Layout::from_size_align(size, 4096).map_err(io::Error::other)?;
        // SAFETY: the layout has a size above zero.
        let entries = unsafe { alloc_zeroed(layout) }.cast::<BufRingEntry>();
        assert!(!entries.is_null(), "no memory for the buffer ring");
        let mut buffers = Self {
            entries,
            layout,
            memory: vec![0; usize::from(RECEIVE_BUFFERS) * RECEIVE_BUFFER_BYTES],
            tail: 0,
        };
        // SAFETY: `entries` is page aligned, holds RECEIVE_BUFFERS entries, and lives as long as the ring,
        // because `Floor` drops its ring first.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                entries as u64,
                RECEIVE_BUFFERS,
                BUFFER_GROUP,
                0,
            )?;
        }
        for id in 0..RECEIVE_BUFFERS {
            buffers.give_back(id);
        }
        Ok(buffers)
    }

    fn received(&self, id: u16, length: usize) -> &[u8] {
        let start = usize::from(id) * RECEIVE_BUFFER_BYTES;
        &self.memory[start..start + length]
    }

    fn give_back(&mut self, id: u16) {
        let slot = usize::from(self.tail & (RECEIVE_BUFFERS - 1));
        let start = usize::from(id) * RECEIVE_BUFFER_BYTES;
        assert!(start < self.memory.len());
        // SAFETY: `slot` is below RECEIVE_BUFFERS, and the kernel reads an entry only below the tail, which
        // moves after the entry is written; the tail lies in the reserved field of the first entry.
        unsafe {
            let entry = &mut *self.entries.add(slot);
            entry.set_addr(self.memory.as_ptr().add(start) as u64);
            entry.set_len(RECEIVE_BUFFER_BYTES as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.entries).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for ReceiveBuffers {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `register`; the ring is gone.
        unsafe { dealloc(self.entries.cast(), self.layout) }
    }
}

/// The server. Field order matters: the ring goes before the memory it was given.
pub struct Floor {
    ring: IoUring,
    buffers: ReceiveBuffers,
    connections: Vec<Connection>,
    listener: OwnedFd,
    replies: Replies,
    /// Descriptors with replies to send at the end of this turn.
    dirty: Vec<i32>,
}

impl Floor {
    /// Takes a listening socket of any stream family. GET is answered with a value of `value_bytes`.
    /// The calling thread must be the one that calls `run`.
    pub fn new(listener: impl IntoRawFd, value_bytes: usize) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(RING_ENTRIES * 4)
            .build(RING_ENTRIES)?;
        let buffers = ReceiveBuffers::register(&ring)?;
        let mut value = format!("${value_bytes}\r\n").into_bytes();
        value.resize(value.len() + value_bytes, b'x');
        value.extend_from_slice(b"\r\n");
        // SAFETY: the caller gave the descriptor away.
        let listener = unsafe { OwnedFd::from_raw_fd(listener.into_raw_fd()) };
        Ok(Self {
            ring,
            buffers,
            connections: Vec::new(),
            listener,
            replies: Replies { value },
            dirty: Vec::new(),
        })
    }

    /// Serves until the ring fails.
    pub fn run(mut self) -> io::Result<()> {
        self.arm_accept()?;
        let mut turn = Vec::with_capacity(RING_ENTRIES as usize * 4);
        loop {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            turn.extend(self.ring.completion());
            for completion in turn.drain(..) {
                self.complete(&completion)?;
            }
            while let Some(descriptor) = self.dirty.pop() {
                self.connections[descriptor as usize].dirty = false;
                self.send_queued(descriptor)?;
            }
        }
    }

    fn complete(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let descriptor = completion.user_data() as u32 as i32;
        match completion.user_data() >> 32 {
            ACCEPT => {
                if completion.result() >= 0 {
                    self.accepted(completion.result())?;
                }
                if !cqueue::more(completion.flags()) {
                    self.arm_accept()?;
                }
                Ok(())
            }
            RECEIVE => self.received(descriptor, completion),
            _ => self.sent(descriptor, completion.result()),
        }
    }

    fn accepted(&mut self, descriptor: i32) -> io::Result<()> {
        // SAFETY: the kernel has just made this descriptor for us.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let index = descriptor as usize;
        if index >= DESCRIPTORS_MAX {
            return Ok(());
        }
        set_nodelay(&socket);
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, Connection::default);
        }
        self.connections[index] = Connection { socket: Some(socket), ..Connection::default() };
        self.arm_receive(descriptor)
    }

    fn received(&mut self, descriptor: i32, completion: &cqueue::Entry) -> io::Result<()> {
        let connection = &mut self.connections[descriptor as usize];
        connection.receive_armed = cqueue::more(completion.flags());
        let out_of_buffers = completion.result() == -libc::ENOBUFS;
        if let Some(id) = cqueue::buffer_select(completion.flags()) {
            let input = self.buffers.received(id, completion.result().max(0) as usize);
            let replies = &self.replies;
            let queued = &mut connection.queued;
            let parsed = connection.scanner.feed(input, |shape| replies.append(shape, queued));
            connection.closing |= parsed.is_err();
            self.buffers.give_back(id);
        }
        if completion.result() <= 0 && !out_of_buffers {
            connection.closing = true;
        }
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(descriptor);
        }
        if !connection.receive_armed && !connection.closing {
            self.arm_receive(descriptor)?;
        }
        Ok(())
    }

    fn sent(&mut self, descriptor: i32, result: i32) -> io::Result<()> {
        let connection = &mut self.connections[descriptor as usize];
        connection.send_in_flight = false;
        if result < 0 {
            connection.closing = true;
            connection.queued.clear();
            connection.sent = connection.sending.len();
        } else {
            connection.sent += result as usize;
        }
        self.send_queued(descriptor)
    }

    /// Starts the next send, or ends a connection that is done.
    fn send_queued(&mut self, descriptor: i32) -> io::Result<()> {
        let connection = &mut self.connections[descriptor as usize];
        if connection.send_in_flight {
            return Ok(());
        }
        if connection.sent == connection.sending.len() {
            connection.sending.clear();
            connection.sent = 0;
            std::mem::swap(&mut connection.sending, &mut connection.queued);
        }
        if connection.sending.is_empty() {
            if let (true, Some(socket)) = (connection.closing, &connection.socket) {
                if connection.receive_armed {
                    shutdown(socket);
                } else {
                    connection.socket = None;
                }
            }
            return Ok(());
        }
        let rest = &connection.sending[connection.sent..];
        connection.send_in_flight = true;
        let entry = opcode::Send::new(Fd(descriptor), rest.as_ptr(), rest.len() as u32)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build()
            .user_data(tag(SEND, descriptor));
        self.push(&entry)
    }

    fn arm_accept(&mut self) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(Fd(self.listener.as_raw_fd())).build().user_data(tag(ACCEPT, 0));
        self.push(&entry)
    }

    fn arm_receive(&mut self, descriptor: i32) -> io::Result<()> {
        self.connections[descriptor as usize].receive_armed = true;
        let entry =
            opcode::RecvMulti::new(Fd(descriptor), BUFFER_GROUP).build().user_data(tag(RECEIVE, descriptor));
        self.push(&entry)
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: what an entry points at (`sending`) is neither moved nor touched until its completion:
        // `send_queued` returns early while a send is in flight, and the buffer is on the heap.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }
}

fn set_nodelay(socket: &OwnedFd) {
    let on: libc::c_int = 1;
    // SAFETY: a valid descriptor and a valid pointer to an int of the stated size. It fails on unix
    // sockets, which need no such option.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

fn shutdown(socket: &OwnedFd) {
    // SAFETY: a valid descriptor; an error only says that the peer was faster.
    unsafe {
        libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR);
    }
}
