//! The state of one connection on the shard that serves it.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::{Multi, Output, Pipeline, RemoteRequests, Share, Subscriptions, Tracking, Watching};
use crate::acl::User;
use crate::base::Address;
use crate::base::Stamp;
use crate::base::Token;
use crate::command::table::{CommandSpec, Role};
use crate::journal::Ticket;
use crate::repl::master::options::Options;
use crate::resp::RequestParser;
use crate::store::WaitNumber;
use crate::txn::message::{Origin, OwnedArgs};

/// Yes-or-no facts about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Flag {
    Authenticated = 1,
    /// Close as soon as the output is sent; no further request is read.
    CloseAfterReply = 1 << 1,
    /// Being torn down: waiting for its last completions.
    Closing = 1 << 2,
    /// A multishot receive is armed in the ring.
    Receiving = 1 << 3,
    /// The receive is being cancelled, to hold back the peer.
    CancellingReceive = 1 << 4,
    /// In the shard's list of connections with output.
    FlushQueued = 1 << 5,
    /// In the shard's list of connections with input that can go on.
    Runnable = 1 << 6,
    ReplyOff = 1 << 7,
    /// The reply of the request in progress is dropped.
    ReplySkip = 1 << 8,
    /// CLIENT REPLY SKIP: the next request's reply is dropped.
    ReplySkipNext = 1 << 9,
    NoEvict = 1 << 10,
    NoTouch = 1 << 11,
    UnixSocket = 1 << 12,
    Monitor = 1 << 13,
    /// The peer has closed its side; what it sent is still answered.
    PeerClosed = 1 << 14,
    /// The last request was not complete; there is nothing to run before more input comes.
    NeedsInput = 1 << 15,
    /// The next batch of output waits for the log.
    Held = 1 << 16,
    /// No client's: it replays the log of another number of shards.
    Replay = 1 << 17,
    /// Nothing has come for a while, and that was looked into.
    LookedAfter = 1 << 24,
    /// It may have written since its last WAIT.
    HasWritten = 1 << 18,
    /// It is a replica: the task of replication has its socket, or is about to.
    Replica = 1 << 19,
    /// No client's: it runs the commands of the master that this server follows.
    Master = 1 << 22,
    /// It is closed, but its socket is not: shards still count it as a listener.
    Leaving = 1 << 28,
    /// What it has of the replies of a pipeline waits for the others.
    PartialOutput = 1 << 23,
    /// It listens to channels.
    Subscriber = 1 << 20,
    /// Its user may do everything.
    MayEverything = 1 << 21,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    #[inline]
    pub fn has(self, flag: Flag) -> bool {
        self.0 & flag as u32 != 0
    }

    #[inline]
    pub fn any(self, flags: u32) -> bool {
        self.0 & flags != 0
    }

    #[inline]
    pub fn set(&mut self, flag: Flag) {
        self.0 |= flag as u32;
    }

    #[inline]
    pub fn clear(&mut self, flag: Flag) {
        self.0 &= !(flag as u32);
    }

    pub fn assign(&mut self, flag: Flag, on: bool) {
        if on {
            self.set(flag);
        } else {
            self.clear(flag);
        }
    }
}

/// Why no further request of a connection is run for now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suspension {
    #[default]
    None,
    /// A transaction or a question to other shards is under way; the requests behind it wait for its reply.
    Reply,
    /// The transaction at the head of the input starts when earlier requests are answered.
    Earlier,
    /// Too many requests wait for other shards.
    Pipeline,
    /// A command that may wait for long is under way; the requests behind it wait with it.
    Blocked,
    /// CLIENT PAUSE.
    Paused,
    /// The peer does not read its replies, or the log holds many of them.
    Output,
    /// The log's disk is slower than the clients that write.
    Log,
    /// The socket is another's: this connection reads and sends nothing any more.
    GivenAway,
}

/// Where the command of a blocked client waits: the shard that wakes it, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingAt {
    pub shard: usize,
    pub number: WaitNumber,
}

/// A command whose call is counted, and timed, when its answer is there.
#[derive(Debug)]
pub struct PendingCall {
    pub spec: &'static CommandSpec,
    pub started: Stamp,
    pub args: OwnedArgs,
}

#[derive(Debug)]
pub struct Connection {
    pub id: u64,
    pub token: Token,
    /// None: no client, but what runs a script or replays a log.
    pub socket: Option<OwnedFd>,
    pub flags: Flags,
    pub suspension: Suspension,
    pub db: usize,
    pub parser: RequestParser,
    /// Input that is not in a provided buffer: an incomplete request, and what waits while stalled.
    pub input: Vec<u8>,
    /// How many bytes at its head have been run.
    pub input_start: usize,
    /// Bytes of the input that is being run.
    pub running_bytes: usize,
    /// Memory of the parser, which is elsewhere while it runs.
    pub running_parser_bytes: usize,
    /// How many bytes, as far as is known, the incomplete request at the end of the input will have; 0 when not known.
    pub awaited_bytes: usize,
    /// The most input that was there since the cron last looked at the buffer's size.
    pub input_peak_bytes: usize,
    pub output: Output,
    /// The log's position when the shard last did something for the connection: replies may tell of what is in front of it.
    pub made_at: u64,
    /// The same, of the batch of output that is to be sent next.
    pub staged_at: u64,
    pub pipeline: Pipeline,
    /// What it has had of the turn.
    pub share: Share,
    pub remote_requests: RemoteRequests,
    pub multi: Option<Box<Multi>>,
    /// What it has said by REPLCONF.
    pub replica_options: Option<Box<Options>>,
    /// What it had written when it waited last has tickets below this one.
    pub written_before: Ticket,
    pub watching: Option<Box<Watching>>,
    pub subscriptions: Option<Box<Subscriptions>>,
    pub tracking: Option<Box<Tracking>>,
    pub name: Box<[u8]>,
    pub user: Arc<User>,
    pub library_name: Box<[u8]>,
    pub library_version: Box<[u8]>,
    pub peer: Address,
    pub local: Address,
    pub created_ms: i64,
    pub last_active_ms: i64,
    pub last_command: Option<&'static CommandSpec>,
    /// A command that has yet to be answered by other shards.
    pub pending_call: Option<Box<PendingCall>>,
    /// It is blocked.
    pub waiting: Option<WaitingAt>,
    /// When the soft limit of the output was first exceeded; 0 when it is not.
    pub over_soft_limit_since_ms: i64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// What the shard's account of its clients' memory holds for this one.
    pub accounted_bytes: usize,
}

impl Connection {
    /// CLIENT REPLY SKIP and CLIENT CACHING concern exactly the next request.
    pub fn end_request(&mut self) {
        if let Some(tracking) = self.tracking.as_deref_mut().filter(|_| self.multi.is_none()) {
            // CLIENT CACHING is about the next command that is none of CLIENT.
            if !self.last_command.is_some_and(|spec| spec.role == Role::Client) {
                tracking.has_chosen = false;
            }
        }
        if self.flags.any(Flag::ReplySkip as u32 | Flag::ReplySkipNext as u32) {
            self.flags.assign(Flag::ReplySkip, self.flags.has(Flag::ReplySkipNext));
            self.flags.clear(Flag::ReplySkipNext);
        }
    }

    /// A transaction begins when earlier requests have been answered.
    pub fn may_begin_transaction(&mut self) -> bool {
        if self.pipeline.is_empty() {
            return true;
        }
        self.suspension = Suspension::Earlier;
        false
    }

    /// A place in the pipeline for the reply to the request in progress.
    pub fn reserve(&mut self) -> Origin {
        let silent = self.flags.any(Flag::ReplyOff as u32 | Flag::ReplySkip as u32);
        Origin { client: self.token, place: self.pipeline.reserve(silent) }
    }

    pub fn new(id: u64, token: Token, socket: Option<OwnedFd>, user: Arc<User>, now_ms: i64) -> Self {
        Connection {
            id,
            token,
            socket,
            flags: Flags::default(),
            suspension: Suspension::None,
            db: 0,
            parser: RequestParser::new(),
            input: Vec::new(),
            input_start: 0,
            running_bytes: 0,
            running_parser_bytes: 0,
            awaited_bytes: 0,
            input_peak_bytes: 0,
            output: Output::default(),
            made_at: 0,
            staged_at: 0,
            pipeline: Pipeline::default(),
            share: Share::default(),
            remote_requests: RemoteRequests::default(),
            multi: None,
            replica_options: None,
            written_before: 0,
            watching: None,
            subscriptions: None,
            tracking: None,
            name: Box::default(),
            user,
            library_name: Box::default(),
            library_version: Box::default(),
            peer: Address::Unknown,
            local: Address::Unknown,
            created_ms: now_ms,
            last_active_ms: now_ms,
            last_command: None,
            pending_call: None,
            waiting: None,
            over_soft_limit_since_ms: 0,
            bytes_in: 0,
            bytes_out: 0,
            accounted_bytes: 0,
        }
    }

    /// For operations of the ring, and to be shown. -1: none.
    pub fn fd(&self) -> RawFd {
        self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Neither ended nor about to end.
    pub fn is_open(&self) -> bool {
        !self.flags.any(Flag::Closing as u32 | Flag::CloseAfterReply as u32)
    }

    /// No request may be taken from the input now.
    pub fn is_held(&self) -> bool {
        self.suspension != Suspension::None
            || self.flags.any(Flag::CloseAfterReply as u32 | Flag::Closing as u32)
    }

    /// Input that has not been run.
    pub fn unread_bytes(&self) -> usize {
        self.input.len() - self.input_start
    }

    /// Bytes of replies that no send has begun for: collected ones, and those behind a place that waits.
    #[inline]
    pub fn collected_bytes(&self) -> usize {
        self.output.reply.len() + self.pipeline.waiting_bytes()
    }

    /// Bytes of replies that the peer has not taken, nor the socket.
    pub fn unsent_bytes(&self) -> usize {
        self.output.pending_bytes() + self.pipeline.waiting_bytes()
    }

    /// Bytes of memory that the connection uses, for CLIENT LIST's tot-mem and client eviction. Small output buffers do not
    /// count: they come and go with each reply, and who is evicted must not depend on that.
    pub fn memory_bytes(&self) -> usize {
        std::mem::size_of::<Self>()
            + self.input.capacity()
            + self.parser.memory_bytes()
            + self.pipeline.memory_bytes()
            + self.output.memory_bytes().saturating_sub(UNCOUNTED_OUTPUT_BYTES)
            + self.multi.as_ref().map_or(0, |multi| multi.memory_bytes())
            + self.watching.as_ref().map_or(0, |watching| watching.memory_bytes())
            + self.subscriptions.as_ref().map_or(0, |subscriptions| subscriptions.memory_bytes())
            + self.tracking.as_ref().map_or(0, |tracking| tracking.memory_bytes())
            + self.name.len()
            + self.library_name.len()
            + self.library_version.len()
    }

    /// Makes room for `more` bytes of input, in few steps for a large request whose size is known. That size is only
    /// announced: what has arrived is believed to double, and the first `BELIEVED_BYTES_MIN` are taken on trust.
    pub fn make_room_for_input(&mut self, more: usize) {
        let here = self.input.len() + more;
        let wanted = self.awaited_bytes.min((here * 2).max(BELIEVED_BYTES_MIN)).max(here);
        if wanted > self.input.capacity() && self.awaited_bytes > 0 {
            self.input.reserve_exact(wanted - self.input.len());
        }
    }

    /// Gives back input buffer that is not needed: nearly all of it when the connection is `idle`, otherwise what is
    /// far beyond the most that was used since the last look.
    pub fn shrink_input(&mut self, idle: bool) {
        let (len, capacity) = (self.input.len(), self.input.capacity());
        let peak = self.input_peak_bytes.max(self.awaited_bytes);
        if capacity - len > INPUT_SLACK_BYTES {
            if idle {
                self.input.shrink_to_fit();
            } else if capacity > SHRUNK_INPUT_BYTES_MIN && capacity / 2 > peak {
                self.input.shrink_to(peak.max(KEPT_INPUT_BYTES));
            }
        }
        self.input_peak_bytes = len;
    }
}

/// Room for a request whose size is announced but of which less has arrived.
const BELIEVED_BYTES_MIN: usize = 64 * 1024;
/// Output of a connection that does not count as memory; Redis has a fixed buffer of this size.
const UNCOUNTED_OUTPUT_BYTES: usize = 16 * 1024;
/// Free room in an input buffer that is never worth a shrink.
const INPUT_SLACK_BYTES: usize = 4 * 1024;
/// A buffer up to this size is left alone while its connection is busy.
const SHRUNK_INPUT_BYTES_MIN: usize = 32 * 1024;
/// What a busy connection keeps in any case.
const KEPT_INPUT_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection::new(1, Token { index: 0, generation: 0 }, None, Arc::new(User::new(b"default", false)), 0)
    }

    #[test]
    fn the_room_of_a_large_request_is_kept_while_such_requests_come_and_given_back_in_steps() {
        let mut c = connection();
        c.input.reserve_exact(400_000);
        c.input_peak_bytes = 400_000;
        c.shrink_input(false);
        assert_eq!(c.input.capacity(), 400_000);
        c.input_peak_bytes = 100;
        c.shrink_input(false);
        assert_eq!(c.input.capacity(), KEPT_INPUT_BYTES);
        c.shrink_input(true);
        assert_eq!(c.input.capacity(), 0);
    }

    #[test]
    fn an_announced_request_gets_its_room_once_and_keeps_it_while_it_arrives() {
        let mut c = connection();
        c.awaited_bytes = 40_000;
        c.make_room_for_input(30);
        assert_eq!(c.input.capacity(), 40_000);
        c.input.extend_from_slice(&[0; 30]);
        c.shrink_input(false);
        assert_eq!(c.input.capacity(), 40_000);
    }

    #[test]
    fn an_idle_connection_keeps_no_room_beyond_its_incomplete_request() {
        let mut c = connection();
        c.input.reserve_exact(1_000_000);
        c.input.extend_from_slice(b"*3");
        c.shrink_input(true);
        assert!(c.input.capacity() < 1000);
        assert_eq!(c.input, b"*3");
    }
}
