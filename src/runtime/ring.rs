//! One shard's io_uring: accept, receive and send on sockets, writes to the shard's log, and the doorbell of the mesh.
//!
//! The ring belongs to the thread that created it (SINGLE_ISSUER) and completions run only when that thread
//! asks for them (DEFER_TASKRUN), so the shard's loop alone decides when the kernel works for it. Operations are
//! queued and go out together with the next `wait`: one system call a turn, whatever the number of
//! connections.
//!
//! Every operation carries a `Token` back. A connection's token has a generation, so that a late
//! completion for a connection that is gone is recognised. The memory of a send or a write stays the caller's and must
//! not move or change until its `Sent` or `FileWritten` completion.
//!
//! What a file operation takes its time for, the kernel's own threads wait for, not the shard.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use std::time::{Duration, Instant};

use io_uring::{opcode, squeue, types, IoUring};

use super::buffers::ProvidedBuffers;
use crate::base::Token;

pub type Submit<'a> = io_uring::Submitter<'a>;

/// Submission queue entries; more operations in one turn cost one extra system call per so many.
const ENTRIES: u32 = 1024;
/// Completion queue entries. The kernel keeps more in reserve (NODROP), so that this is no limit.
const COMPLETIONS: u32 = 8192;
const BUFFER_GROUP: u16 = 0;
/// So long a ring is tried again that the kernel has no memory for.
const PATIENCE: Duration = Duration::from_millis(500);

/// The bits of a token's generation that travel with an operation.
pub const GENERATION_MASK: u32 = 0xff_ffff;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Accept = 1,
    Receive = 2,
    Send = 3,
    Doorbell = 4,
    Ignored = 5,
    FileWrite = 6,
    FileSync = 7,
}

#[derive(Debug)]
pub enum Completion {
    /// A new connection on listener `listener`. `armed` is false when the listener accepts no more.
    Accepted { listener: u32, result: Result<OwnedFd, i32>, armed: bool },
    /// `len` bytes in provided buffer `buffer`, which must be given back.
    Received { token: Token, buffer: u16, len: usize, armed: bool },
    /// No buffer was free; receiving has stopped and must be armed again.
    Starved { token: Token },
    /// The peer closed (`None`), or receiving failed or was cancelled (an errno); it is not armed any more.
    ReceiveEnded { token: Token, errno: Option<i32> },
    /// The send ended: bytes sent or an errno.
    Sent { token: Token, result: Result<usize, i32> },
    /// A write to a file ended: bytes written or an errno.
    FileWritten { token: Token, result: Result<usize, i32> },
    /// Data of a file is on the disk, or not (an errno; ECANCELED when the write in front of it was not whole).
    FileSynced { token: Token, result: Result<(), i32> },
    /// Another shard put something into the mesh, or another thread into the mail.
    Doorbell,
}

/// A write to a file is cut to this, bytes; the caller sees a short count and writes the rest.
pub const FILE_WRITE_MAX: usize = 1 << 30;

pub struct SocketRing {
    // Field order matters: the io_uring goes before the buffers that it may write to.
    ring: IoUring,
    buffers: ProvidedBuffers,
    completions: Vec<Completion>,
}

fn user_data(kind: Kind, token: Token) -> u64 {
    (kind as u64) << 56 | ((token.generation & GENERATION_MASK) as u64) << 32 | token.index as u64
}

fn token_of(user_data: u64) -> Token {
    Token { index: user_data as u32, generation: (user_data >> 32) as u32 & GENERATION_MASK }
}

const NOBODY: Token = Token { index: 0, generation: 0 };

fn file_write(token: Token, fd: RawFd, bytes: &[u8], offset: u64) -> squeue::Entry {
    opcode::Write::new(types::Fd(fd), bytes.as_ptr(), bytes.len().min(FILE_WRITE_MAX) as u32)
        .offset(offset)
        .build()
        .user_data(user_data(Kind::FileWrite, token))
}

/// The operation that wakes the shard whose ring is `fd`.
fn doorbell(fd: RawFd) -> squeue::Entry {
    opcode::MsgRingData::new(types::Fd(fd), 0, user_data(Kind::Doorbell, NOBODY), None)
        .build()
        .user_data(user_data(Kind::Ignored, NOBODY))
}

/// Rings shards' doorbells for threads that have no ring. May go from thread to thread.
pub struct Knocker {
    ring: IoUring,
}

impl Knocker {
    pub fn new() -> io::Result<Knocker> {
        Ok(Knocker { ring: IoUring::new(2)? })
    }

    /// Wakes the shard whose ring is `fd`.
    pub fn knock(&mut self, fd: RawFd) -> io::Result<()> {
        // SAFETY: the entry refers to no memory.
        unsafe { self.ring.submission().push(&doorbell(fd)) }
            .map_err(|_| io::Error::other("the last knock has not been taken"))?;
        self.ring.submit_and_wait(1)?;
        let results = self.ring.completion().map(|completion| completion.result());
        match results.min() {
            Some(errno) if errno < 0 => Err(io::Error::from_raw_os_error(-errno)),
            _ => Ok(()),
        }
    }
}

impl SocketRing {
    /// Must be called on the thread that will use the ring.
    pub fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_clamp()
            .setup_cqsize(COMPLETIONS)
            .build(ENTRIES)?;
        let buffers = ProvidedBuffers::register(&ring.submitter(), BUFFER_GROUP)?;
        Ok(SocketRing { ring, buffers, completions: Vec::with_capacity(COMPLETIONS as usize) })
    }

    /// As `new`, where another process, or this one, has just closed rings: the kernel counts them for a moment yet.
    pub fn new_patiently() -> io::Result<Self> {
        let began = Instant::now();
        loop {
            match SocketRing::new() {
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && began.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                result => return result,
            }
        }
    }

    /// How many rings the machine has memory for, `most` at most.
    pub fn count_fitting(most: usize) -> usize {
        let rings = (0..most).map_while(|_| SocketRing::new_patiently().ok());
        rings.collect::<Vec<_>>().len()
    }

    /// For other shards' doorbells.
    pub fn fd(&self) -> RawFd {
        use std::os::fd::AsRawFd;
        self.ring.as_raw_fd()
    }

    fn push(&mut self, entry: squeue::Entry) {
        loop {
            // SAFETY: each caller passes an entry whose memory (a send's or write's bytes) outlives its
            // completion, as the module's contract says.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // The queue is full: hand it to the kernel and go on. Only EINTR/EAGAIN/EBUSY can come back, all
            // of which pass.
            let _ = self.ring.submit();
        }
    }

    /// Accepts on `fd` until cancelled.
    pub fn accept(&mut self, listener: u32, fd: RawFd) {
        let entry = opcode::AcceptMulti::new(types::Fd(fd))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(user_data(Kind::Accept, Token { index: listener, generation: 0 }));
        self.push(entry);
    }

    pub fn cancel_accept(&mut self, listener: u32) {
        let target = user_data(Kind::Accept, Token { index: listener, generation: 0 });
        self.push(opcode::AsyncCancel::new(target).build().user_data(user_data(Kind::Ignored, NOBODY)));
    }

    /// Receives on `fd` until the peer closes, an error, starvation, or `cancel_receive`.
    pub fn receive(&mut self, token: Token, fd: RawFd) {
        let entry = opcode::RecvMulti::new(types::Fd(fd), BUFFER_GROUP)
            .build()
            .user_data(user_data(Kind::Receive, token));
        self.push(entry);
    }

    /// Back-pressure: input stays in the socket. Ends with `ReceiveEnded { errno: Some(ECANCELED) }`.
    pub fn cancel_receive(&mut self, token: Token) {
        let target = user_data(Kind::Receive, token);
        self.push(opcode::AsyncCancel::new(target).build().user_data(user_data(Kind::Ignored, NOBODY)));
    }

    /// Sends `bytes`, whole unless the connection fails. They stay where they are until `Sent`.
    pub fn send(&mut self, token: Token, fd: RawFd, bytes: &[u8]) {
        // A length beyond u32 goes in pieces: the caller sees a short count and sends the rest.
        let len = bytes.len().min(1 << 30) as u32;
        let entry = opcode::Send::new(types::Fd(fd), bytes.as_ptr(), len)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build()
            .user_data(user_data(Kind::Send, token));
        self.push(entry);
    }

    /// Writes `bytes`, the first `FILE_WRITE_MAX` of them, at `offset`. They stay where they are until `FileWritten`.
    pub fn write_file(&mut self, token: Token, fd: RawFd, bytes: &[u8], offset: u64) {
        self.push(file_write(token, fd, bytes, offset));
    }

    /// As `write_file`, and `sync_file` behind it if all of it was written; otherwise that is cancelled.
    pub fn write_and_sync_file(&mut self, token: Token, fd: RawFd, bytes: &[u8], offset: u64) {
        let queue = self.ring.submission();
        let room = queue.capacity() - queue.len();
        drop(queue);
        if room < 2 {
            // A chain ends with the submission that it is in. Only errors that pass can come back.
            let _ = self.ring.submit();
        }
        self.push(file_write(token, fd, bytes, offset).flags(squeue::Flags::IO_LINK));
        self.sync_file(token, fd);
    }

    /// Brings the file's data to the disk (fdatasync): what writes that had completed before have written.
    pub fn sync_file(&mut self, token: Token, fd: RawFd) {
        let entry = opcode::Fsync::new(types::Fd(fd))
            .flags(types::FsyncFlags::DATASYNC)
            .build()
            .user_data(user_data(Kind::FileSync, token));
        self.push(entry);
    }

    /// Wakes the shard whose ring is `fd`.
    pub fn ring_doorbell(&mut self, fd: RawFd) {
        self.push(doorbell(fd).flags(squeue::Flags::SKIP_SUCCESS));
    }

    /// Whether completions are there, or the kernel has some that it makes when it is asked next.
    pub fn has_news(&mut self) -> bool {
        self.ring.submission().taskrun() || !self.ring.completion().is_empty()
    }

    /// Gives everything queued to the kernel, and waits for at least `wanted` completions (0: takes what is there).
    pub fn submit_and_wait(&mut self, wanted: usize) -> io::Result<()> {
        self.buffers.publish();
        passing(self.ring.submit_and_wait(wanted))
    }

    /// Gives everything queued to the kernel, and waits for a completion, `patience_us` microseconds at most.
    pub fn submit_and_wait_for(&mut self, patience_us: u64) -> io::Result<()> {
        self.buffers.publish();
        let time =
            types::Timespec::new().sec(patience_us / 1_000_000).nsec((patience_us % 1_000_000) as u32 * 1000);
        let args = types::SubmitArgs::new().timespec(&time);
        passing(self.ring.submitter().submit_with_args(1, &args))
    }

    /// Takes all completions that have arrived into the list that `completion` reads.
    pub fn collect(&mut self) -> usize {
        self.completions.clear();
        for entry in self.ring.completion() {
            let data = entry.user_data();
            let result = entry.result();
            let token = token_of(data);
            let more = io_uring::cqueue::more(entry.flags());
            let kind = (data >> 56) as u8;
            let completion = if kind == Kind::Receive as u8 {
                if result > 0 {
                    match io_uring::cqueue::buffer_select(entry.flags()) {
                        Some(buffer) => {
                            Completion::Received { token, buffer, len: result as usize, armed: more }
                        }
                        None => Completion::ReceiveEnded { token, errno: Some(libc::EIO) },
                    }
                } else if result == 0 {
                    if let Some(buffer) = io_uring::cqueue::buffer_select(entry.flags()) {
                        self.buffers.give_back(buffer);
                    }
                    Completion::ReceiveEnded { token, errno: None }
                } else if -result == libc::ENOBUFS {
                    Completion::Starved { token }
                } else {
                    Completion::ReceiveEnded { token, errno: Some(-result) }
                }
            } else if kind == Kind::Send as u8 {
                let result = if result >= 0 { Ok(result as usize) } else { Err(-result) };
                Completion::Sent { token, result }
            } else if kind == Kind::Accept as u8 {
                // SAFETY: the kernel has just opened it for this completion, which nobody else has.
                let accepted = |fd| unsafe { OwnedFd::from_raw_fd(fd) };
                let result = if result >= 0 { Ok(accepted(result)) } else { Err(-result) };
                Completion::Accepted { listener: token.index, result, armed: more }
            } else if kind == Kind::FileWrite as u8 {
                let result = if result >= 0 { Ok(result as usize) } else { Err(-result) };
                Completion::FileWritten { token, result }
            } else if kind == Kind::FileSync as u8 {
                let result = if result >= 0 { Ok(()) } else { Err(-result) };
                Completion::FileSynced { token, result }
            } else if kind == Kind::Doorbell as u8 {
                Completion::Doorbell
            } else {
                continue;
            };
            self.completions.push(completion);
        }
        self.completions.len()
    }

    /// The `index`th completion of the last `collect`, to be taken once.
    pub fn completion(&mut self, index: usize) -> Completion {
        std::mem::replace(&mut self.completions[index], Completion::Doorbell)
    }

    /// The input of a `Received`, until `give_back`.
    pub fn received(&self, buffer: u16, len: usize) -> &[u8] {
        self.buffers.bytes(buffer, len)
    }

    pub fn give_back(&mut self, buffer: u16) {
        self.buffers.give_back(buffer);
    }
}

/// Leaves the errors out that pass by themselves: an interrupted or timed-out wait, and completions that have to be taken first.
fn passing(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Err(e)
            if !matches!(e.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ETIME)) =>
        {
            Err(e)
        }
        _ => Ok(()),
    }
}
