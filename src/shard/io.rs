//! Between the socket ring and the connections: input that arrives, output that leaves, back-pressure, and the end
//! of a connection.
//!
//! A connection may be freed only when the ring holds nothing of it: its receive has ended and no send is in
//! flight. So closing shuts the socket down first, which ends both, and frees on the last completion.

use crate::shard::connections::Connections;
use crate::shard::scatter::Heard;
use crate::shard::turn::TurnState;
use std::os::fd::RawFd;

use super::Shard;
use crate::base::log::Level;
use crate::base::Token;
use crate::client::{Connection, Flag, RemoteRequests, Suspension};
use crate::runtime::ring::SocketRing;
use crate::runtime::socket;

/// Input that a held connection may pile up before its receive is cancelled.
const HELD_INPUT_MAX: usize = 256 * 1024;
/// Unsent output of a connection beyond which its further requests wait, when its class has no hard limit.
const OUTPUT_PENDING_MAX: usize = 1 << 30;
/// The same, while the output waits for the log.
const HELD_OUTPUT_MAX: usize = 256 * 1024;

/// An operation to queue in the ring at the end of the turn.
#[derive(Clone, Copy, Debug)]
pub(super) enum RingJob {
    Receive(Token, RawFd),
    CancelReceive(Token),
    Accept(u32, RawFd),
    CancelAccept(u32),
}

impl TurnState {
    /// Collected replies of the connection at which a limit is to be looked at.
    pub(super) fn collected_max(&self, c: &Connection) -> usize {
        match self.output_limits(c).hard_bytes as usize {
            0 => usize::MAX,
            hard => hard.saturating_sub(c.output.pending_bytes() - c.output.reply.len()),
        }
    }

    fn output_pending_max(&self, c: &Connection) -> usize {
        // The hard limit, where there is one, closes the connection and must be reachable.
        let hard = self.output_limits(c).hard_bytes;
        if hard == 0 {
            OUTPUT_PENDING_MAX
        } else {
            usize::MAX
        }
    }
}

impl Connections {
    pub(super) fn do_ring_jobs(&mut self, ring: &mut SocketRing) {
        for job in self.ring_jobs.drain(..) {
            match job {
                RingJob::Receive(token, fd) => ring.receive(token, fd),
                RingJob::CancelReceive(token) => ring.cancel_receive(token),
                RingJob::Accept(listener, fd) => ring.accept(listener, fd),
                RingJob::CancelAccept(listener) => ring.cancel_accept(listener),
            }
        }
    }

    /// Leaves further input in the socket.
    pub(super) fn hold_back(&mut self, c: &mut Connection) {
        if c.flags.has(Flag::Receiving) && !c.flags.has(Flag::CancellingReceive) {
            c.flags.set(Flag::CancellingReceive);
            self.ring_jobs.push(RingJob::CancelReceive(c.token));
        }
    }

    /// A connection from which nothing has come for a while. Linux has lost the end of a stream under a multishot receive: when
    /// the last bytes and the end arrive while the kernel is about to look, one wake-up stands for both
    /// (<https://github.com/axboe/liburing/issues/1549>; mended in kernels since March 2026). Such a client would stay for ever. Asked
    /// again, the kernel tells.
    pub(super) fn look_after(&mut self, c: &mut Connection) {
        let untouched = !c.flags.any(
            Flag::LookedAfter as u32
                | Flag::CancellingReceive as u32
                | Flag::Closing as u32
                | Flag::PeerClosed as u32
                | Flag::Replay as u32,
        );
        if !untouched || !c.flags.has(Flag::Receiving) {
            return;
        }
        c.flags.set(Flag::LookedAfter);
        if c.socket.as_ref().is_some_and(socket::has_news) {
            crate::log!(Level::Verbose, "Client {} has something to say that nobody was told of", c.id);
            self.hold_back(c);
        }
    }

    pub(super) fn resume_receiving(&mut self, c: &mut Connection) {
        // A replay has no socket: what is received from none is an error, which would end the connection, and the replay early.
        let stopped =
            Flag::Receiving as u32 | Flag::Closing as u32 | Flag::PeerClosed as u32 | Flag::Replay as u32;
        if !c.flags.any(stopped | Flag::Replica as u32) && !is_full(c) {
            c.flags.set(Flag::Receiving);
            self.ring_jobs.push(RingJob::Receive(c.token, c.fd()));
        }
    }

    /// Replies have come that the connection may have stalled for.
    pub(super) fn places_filled(&mut self, c: &mut Connection) {
        if c.suspension == Suspension::Pipeline && c.pipeline.len() < crate::client::PLACES_MAX / 2
            || c.suspension == Suspension::Earlier && c.pipeline.is_empty()
        {
            self.resume_suspended(c);
        }
    }

    /// Has the connection looked at in this turn's flush.
    pub(super) fn queue_flush(&mut self, c: &mut Connection) {
        let wants = !c.output.is_in_flight() && !c.output.is_drained() && !c.flags.has(Flag::Held);
        if (wants || c.flags.has(Flag::Closing)) && !c.flags.has(Flag::FlushQueued) {
            c.flags.set(Flag::FlushQueued);
            self.to_flush.push(c.token);
        }
    }

    /// Nobody counts it any more.
    fn has_left(&mut self, token: Token) {
        if let Some(mut connection) = self.table.take(token) {
            if let Some(socket) = &connection.socket {
                socket::shutdown(socket);
            }
            connection.flags.clear(Flag::Leaving);
            self.queue_flush(&mut connection);
            self.table.put_back(connection);
        }
    }

    fn free(&mut self, turn: &TurnState, token: Token) {
        if self.table.remove(token).is_some() {
            self.table.closing -= 1;
            turn.shared.connected.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// The connection may go on with its input.
    pub(super) fn resume_suspended(&mut self, c: &mut Connection) {
        c.suspension = Suspension::None;
        self.run_later(c);
    }

    /// Has the connection go on with its input when it is its turn.
    pub(super) fn run_later(&mut self, c: &mut Connection) {
        if !c.flags.has(Flag::Runnable) && !c.flags.has(Flag::Closing) {
            c.flags.set(Flag::Runnable);
            self.runnable.push(c.token);
        }
    }
}

impl Shard {
    pub(super) fn received(
        &mut self,
        ring: &mut SocketRing,
        token: Token,
        buffer: u16,
        len: usize,
        armed: bool,
    ) {
        self.stats.reads.add(1);
        self.stats.bytes_in.add(len as u64);
        let Some(mut connection) = self.connections.table.take(token) else {
            ring.give_back(buffer);
            return;
        };
        let c = &mut *connection;
        c.flags.assign(Flag::Receiving, armed);
        c.last_active_ms = self.turn.now_ms();
        c.bytes_in += len as u64;
        c.flags.clear(Flag::NeedsInput);
        c.flags.clear(Flag::LookedAfter);
        let bytes = ring.received(buffer, len);
        if c.input.is_empty() && !c.is_held() && !c.flags.has(Flag::Runnable) {
            let used = self.process(c, bytes);
            if used < len && !c.flags.has(Flag::CloseAfterReply) {
                c.make_room_for_input(len - used);
                c.input.extend_from_slice(&bytes[used..]);
            }
        } else if !c.flags.any(Flag::CloseAfterReply as u32 | Flag::Closing as u32) {
            c.make_room_for_input(bytes.len());
            c.input.extend_from_slice(bytes);
            if !c.flags.has(Flag::Runnable) {
                self.process_input(c);
            }
        }
        ring.give_back(buffer);
        self.after_input(c);
        self.finish(connection);
    }

    /// Runs what is in the connection's own input buffer.
    pub(super) fn process_input(&mut self, c: &mut Connection) {
        if c.is_held() || c.flags.has(Flag::NeedsInput) {
            return;
        }
        let mut input = std::mem::take(&mut c.input);
        let mut start = std::mem::take(&mut c.input_start);
        start += self.process(c, &input[start..]);
        // Who goes on in the next turn has what is left moved to the front once in a while, not each time.
        if !c.flags.has(Flag::Runnable) || start >= input.len() / 2 {
            input.drain(..start);
            start = 0;
        }
        c.input = input;
        c.input_start = start;
    }

    /// Limits of the input buffer, and back-pressure.
    fn after_input(&mut self, c: &mut Connection) {
        if c.flags.has(Flag::Replay) {
            // Its input comes from a file, in pieces that whoever reads that has chosen.
            return;
        }
        self.stats.input_buffer_max.set(self.stats.input_buffer_max.get().max(c.unread_bytes() as u64));
        // What waits in a MULTI is input, too.
        let queued = c.multi.as_ref().map_or(0, |multi| multi.bytes);
        let limit = self.turn.config.network.client_query_buffer_limit;
        // Input that waits for this server is held back in the socket, and no fault of the client.
        if c.unread_bytes() + queued > limit && !waits_for_server(c) && !c.flags.has(Flag::Closing) {
            crate::log_text!(
                Level::Warning,
                "Closing client that reached max query buffer length: ",
                self.turn.describe_client(c),
                " (qbuf initial bytes: ",
                crate::base::words::quoted(&c.input[c.input_start..][..c.unread_bytes().min(64)]),
                ")"
            );
            self.stats.query_buffer_closes.add(1);
            self.close(c);
            return;
        }
        if is_full(c) {
            self.connections.hold_back(c);
        } else {
            self.connections.resume_receiving(c);
        }
    }

    /// No provided buffer was free: they are back by the end of this turn.
    pub(super) fn starved(&mut self, token: Token) {
        if let Some(mut connection) = self.connections.table.take(token) {
            connection.flags.clear(Flag::Receiving);
            self.connections.resume_receiving(&mut connection);
            self.finish(connection);
        }
    }

    pub(super) fn receive_ended(&mut self, token: Token, errno: Option<i32>) {
        let Some(mut connection) = self.connections.table.take(token) else { return };
        let c = &mut *connection;
        c.flags.clear(Flag::Receiving);
        let cancelled = c.flags.has(Flag::CancellingReceive) && errno == Some(libc::ECANCELED);
        c.flags.clear(Flag::CancellingReceive);
        if cancelled {
            self.connections.resume_receiving(c);
        } else if errno.is_some() {
            self.close(c);
        } else {
            // The peer will send no more. What it has sent is still answered, as Redis does for a half-closed
            // pipeline that it has read already; then the connection ends.
            c.flags.set(Flag::PeerClosed);
            if c.waiting.is_some() {
                // But for what it waits for, which may take for ever.
                self.close(c);
            } else if c.pipeline.is_empty()
                && (c.input.is_empty() || !c.is_held())
                && !c.flags.has(Flag::Runnable)
            {
                self.close_after_output(c);
            }
        }
        self.finish(connection);
    }

    fn close_after_output(&mut self, c: &mut Connection) {
        if c.output.is_drained() {
            self.close(c);
        } else {
            c.flags.set(Flag::CloseAfterReply);
        }
    }

    pub(super) fn sent(&mut self, token: Token, result: Result<usize, i32>) {
        let Some(mut connection) = self.connections.table.take(token) else { return };
        let c = &mut *connection;
        match result {
            Ok(bytes) => {
                self.stats.writes.add(1);
                self.stats.bytes_out.add(bytes as u64);
                c.bytes_out += bytes as u64;
                c.output.sent(bytes);
                if !c.flags.has(Flag::Monitor) {
                    c.last_active_ms = self.turn.now_ms();
                }
                if c.suspension == Suspension::Output
                    && c.unsent_bytes() < self.turn.output_pending_max(c) / 2
                {
                    self.connections.resume_suspended(c);
                }
            }
            Err(_) => {
                c.output.failed();
                self.close(c);
            }
        }
        self.finish(connection);
    }

    /// Ends the work on a taken connection: puts it back, queues its output, or frees it.
    pub(super) fn finish(&mut self, mut connection: Box<Connection>) {
        let c = &mut *connection;
        if !c.pipeline.is_empty() {
            c.pipeline.drain_into(&mut c.output.reply);
            self.connections.places_filled(c);
        }
        if c.flags.has(Flag::Replay) {
            // Nobody hears the replies.
            c.output.reply.clear();
        }
        if !c.flags.has(Flag::Closing) {
            if c.collected_bytes() > 0 {
                self.check_output_limits(c);
                let pending = c.unsent_bytes();
                let too_much = if c.flags.has(Flag::Held) {
                    pending > HELD_OUTPUT_MAX
                } else {
                    pending > OUTPUT_PENDING_MAX && pending > self.turn.output_pending_max(c)
                };
                if too_much && c.suspension == Suspension::None {
                    c.suspension = Suspension::Output;
                }
                if c.output.is_in_flight() {
                    c.output.seal();
                }
            }
            if c.remote_requests != RemoteRequests::Free || c.unsent_bytes() > OUTPUT_PENDING_MAX {
                let bound = self.turn.output_pending_max(c);
                self.turn.bound_remote_output(c, bound);
            }
            if c.flags.has(Flag::PeerClosed) && c.pipeline.is_empty() && !c.flags.has(Flag::Runnable) {
                self.close_after_output(c);
            }
            if c.flags.has(Flag::CloseAfterReply) && c.pipeline.is_empty() && c.output.is_drained() {
                self.close(c);
            }
        }
        self.connections.queue_flush(c);
        self.connections.account_client(&self.turn, &mut self.peers, c);
        self.connections.table.put_back(connection);
    }

    /// Queues one send for every connection that has output, and frees connections that have ended.
    pub(super) fn flush_outputs(&mut self, ring: &mut SocketRing) {
        let mut queue = std::mem::take(&mut self.connections.to_flush);
        for token in queue.drain(..) {
            let Some(mut connection) = self.connections.table.take(token) else { continue };
            let c = &mut *connection;
            c.flags.clear(Flag::FlushQueued);
            if c.flags.has(Flag::Closing) {
                let busy =
                    c.flags.any(Flag::Receiving as u32 | Flag::Leaving as u32) || c.output.is_in_flight();
                self.connections.table.put_back(connection);
                if !busy {
                    self.connections.free(&self.turn, token);
                }
                continue;
            }
            if !self.waits_for_rest(c) {
                self.send_output(ring, c);
            }
            self.connections.table.put_back(connection);
        }
        self.flush_overdue(ring);
        // Connections that closed meanwhile may have queued themselves again.
        queue.append(&mut self.connections.to_flush);
        self.connections.to_flush = queue;
    }

    /// Queues a send of what the connection has, unless the log holds it.
    pub(super) fn send_output(&mut self, ring: &mut SocketRing, c: &mut Connection) {
        if c.output.stage() {
            c.staged_at = c.made_at;
        }
        if self.journal.hold_output(c) {
            return;
        }
        let (token, fd) = (c.token, c.fd());
        if let Some(bytes) = c.output.begin_send() {
            ring.send(token, fd, bytes);
        }
    }

    /// Begins the end of a connection: nothing more is read or sent.
    pub fn close(&mut self, c: &mut Connection) {
        // What replays a log is no client: neither its silence nor its size ends it, as the rest of the log would be lost.
        if c.flags.any(Flag::Closing as u32 | Flag::Replay as u32) {
            return;
        }
        c.flags.set(Flag::Closing);
        self.connections.partial.remove(c);
        c.input = Vec::new();
        c.input_start = 0;
        if self.turn.is_counted_elsewhere(c) && !self.upkeep.housekeeping.stopping {
            // Whoever sees that it has gone may publish, and it is not counted.
            c.flags.set(Flag::Leaving);
        } else if let Some(socket) = &c.socket {
            socket::shutdown(socket);
        }
        if c.remote_requests != RemoteRequests::Free {
            self.drop_remote_requests(c);
        }
        self.stop_waiting(c);
        self.forget_client_state(c);
        self.connections.forget_client_memory(&self.turn, c);
        if c.suspension == Suspension::Paused {
            self.forget_paused(c.token);
        }
        if c.flags.has(Flag::Leaving) {
            let token = c.token;
            self.ask_all(Heard, move |shard, _| shard.connections.has_left(token));
        }
        self.connections.table.closing += 1;
        self.stats.clients.set(self.connections.table.open() as u64);
        if !c.flags.has(Flag::FlushQueued) {
            c.flags.set(Flag::FlushQueued);
            self.connections.to_flush.push(c.token);
        }
    }

    /// Goes on with connections whose stall has ended. True when some have more than one turn's work.
    pub(super) fn run_runnable(&mut self) -> bool {
        let tokens = std::mem::take(&mut self.connections.runnable);
        for token in tokens {
            let Some(mut connection) = self.connections.table.take(token) else { continue };
            let c = &mut *connection;
            c.flags.clear(Flag::Runnable);
            self.process_input(c);
            self.after_input(c);
            self.finish(connection);
        }
        !self.connections.runnable.is_empty()
    }
}

/// Whether further input stays in the socket. That of a client that may wait for ever is read up to
/// `client-query-buffer-limit`, as in Redis: who does not read does not see the connection end.
fn is_full(c: &Connection) -> bool {
    waits_for_server(c) && c.unread_bytes() > HELD_INPUT_MAX
}

/// Whether its next request waits for its turn, or for those before it.
fn waits_for_server(c: &Connection) -> bool {
    c.is_held() && c.suspension != Suspension::Blocked || c.flags.has(Flag::Runnable)
}
