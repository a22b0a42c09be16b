//! A connection's output: the replies being collected, and the one send in flight.
//!
//! The bytes in flight belong to the kernel until its completion and do not move; new replies collect in
//! another buffer meanwhile, and go out together with the next send.

use bytes::Bytes;

use crate::resp::Reply;

/// A drained buffer larger than this is given back to the allocator.
const KEPT_BYTES_MAX: usize = 32 * 1024;
/// Plain bytes that are worth being kept apart from those behind them.
const SEALED_BYTES_MIN: usize = 256 * 1024;

#[derive(Debug, Default)]
pub struct Output {
    pub reply: Reply,
    plain: Vec<u8>,
    shared: Vec<(usize, Bytes)>,
    /// Of the batch (plain bytes and shared values, joined), how much the socket has taken.
    sent: usize,
    total: usize,
    /// The first shared value that is not sent whole, and where the plain bytes in front of it begin, of `plain` and of the batch.
    next: usize,
    plain_start: usize,
    batch_start: usize,
    in_flight: bool,
    peak: usize,
}

impl Output {
    pub fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// Nothing to send and nothing being sent.
    pub fn is_drained(&self) -> bool {
        !self.in_flight && self.sent == self.total && self.reply.is_empty()
    }

    /// Bytes waiting: collected, and in flight but not taken by the socket.
    pub fn pending_bytes(&self) -> usize {
        self.reply.len() + (self.total - self.sent)
    }

    /// The piece at `self.sent`: up to the next boundary between plain bytes and a shared value.
    fn next_piece(&mut self) -> &[u8] {
        while let Some((offset, value)) = self.shared.get(self.next) {
            let value_start = self.batch_start + (offset - self.plain_start);
            if self.sent < value_start + value.len() {
                break;
            }
            (self.next, self.plain_start, self.batch_start) =
                (self.next + 1, *offset, value_start + value.len());
        }
        match self.shared.get(self.next) {
            Some((offset, value)) => {
                let plain = &self.plain[self.plain_start..*offset];
                let done = self.sent - self.batch_start;
                if done < plain.len() {
                    &plain[done..]
                } else {
                    &value[done - plain.len()..]
                }
            }
            None => &self.plain[self.plain_start + (self.sent - self.batch_start)..],
        }
    }

    /// Makes what has been collected the next batch, if the last one is sent. True when it did.
    pub fn stage(&mut self) -> bool {
        if self.in_flight || self.sent != self.total || self.reply.is_empty() {
            return false;
        }
        self.plain.clear();
        self.shared.clear();
        self.reply.swap_parts(&mut self.plain, &mut self.shared);
        self.sent = 0;
        (self.next, self.plain_start, self.batch_start) = (0, 0, 0);
        self.total = self.plain.len() + self.shared.iter().map(|(_, value)| value.len()).sum::<usize>();
        self.peak = self.peak.max(self.total);
        true
    }

    /// The next bytes of the batch to give to the socket, when there are any and none are in flight. The caller sends them
    /// and reports with `sent`; until then they stay where they are.
    pub fn begin_send(&mut self) -> Option<&[u8]> {
        if self.in_flight || self.sent == self.total {
            return None;
        }
        self.in_flight = true;
        Some(self.next_piece())
    }

    /// The send in flight ended after `bytes` of what `begin_send` gave.
    pub fn sent(&mut self, bytes: usize) {
        assert!(
            self.in_flight && self.sent + bytes <= self.total,
            "a send of {bytes} bytes that was not begun"
        );
        self.in_flight = false;
        self.sent += bytes;
        if self.sent == self.total {
            self.shared.clear();
            self.sent = 0;
            self.total = 0;
            if self.plain.capacity() > KEPT_BYTES_MAX {
                self.plain = Vec::new();
            } else {
                self.plain.clear();
            }
        }
    }

    /// Collected replies that wait for the send in flight are kept in pieces: a buffer that grows to hundreds of megabytes would be copied
    /// again and again.
    pub fn seal(&mut self) {
        if self.reply.plain_bytes() >= SEALED_BYTES_MIN {
            self.reply.seal();
        }
    }

    /// The send in flight failed: nothing more will go out.
    pub fn failed(&mut self) {
        self.in_flight = false;
        self.sent = self.total;
        self.reply.clear();
    }

    /// Gives back the buffers of a connection that has been idle.
    pub fn shrink(&mut self) {
        if self.is_drained() {
            self.plain = Vec::new();
            self.shared = Vec::new();
            let protocol = self.reply.protocol();
            self.reply = Reply::new(protocol);
        }
    }

    /// The size of the buffers.
    pub fn buffer_bytes(&self) -> usize {
        self.plain.capacity() + self.reply.capacity()
    }

    /// Shared values that wait to be sent.
    pub fn waiting_values(&self) -> usize {
        self.shared.len()
    }

    /// The buffers, and the values that are kept for as long as they are not sent.
    pub fn memory_bytes(&self) -> usize {
        let values: usize = self.shared.iter().map(|(_, value)| value.len()).sum();
        self.buffer_bytes() + self.reply.shared_bytes() + values
    }

    /// The most bytes of one send since the last `reset_peak`.
    pub fn peak_bytes(&self) -> usize {
        self.peak
    }

    pub fn reset_peak(&mut self) {
        self.peak = self.pending_bytes();
    }
}
