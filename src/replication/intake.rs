//! A master's snapshot on its way into one shard, without a file: a short queue. The task puts pieces in, and stops reading the link while
//! some shard's queue is full; the shard takes them as it loads, and has nothing to read for a while when it is faster.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// What may wait for a shard, bytes, and one piece more.
const WAITING_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub struct Intake {
    inner: Mutex<Inner>,
    /// Rung when there is room again.
    woken: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    has_all: bool,
    /// Nobody reads any more: all has been loaded, or it was no good.
    is_closed: bool,
}

impl Intake {
    pub fn new(woken: Arc<Notify>) -> Arc<Intake> {
        Arc::new(Intake { inner: Mutex::default(), woken })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whole whenever the lock is free.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True: the shard may be waiting for it.
    pub fn push(&self, piece: Bytes) -> bool {
        let mut inner = self.lock();
        if inner.is_closed || piece.is_empty() {
            return false;
        }
        let was_empty = inner.pieces.is_empty();
        inner.bytes += piece.len();
        inner.pieces.push_back(piece);
        was_empty
    }

    /// There will be no more.
    pub fn end(&self) {
        self.lock().has_all = true;
    }

    pub fn has_room(&self) -> bool {
        self.lock().bytes < WAITING_BYTES_MAX
    }

    pub fn reader(self: &Arc<Intake>) -> IntakeReader {
        IntakeReader(self.clone())
    }
}

/// The shard's end. Reading would block while nothing is there and more is to come.
#[derive(Debug)]
pub struct IntakeReader(Arc<Intake>);

impl Read for IntakeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.0.lock();
        let was_full = inner.bytes >= WAITING_BYTES_MAX;
        let mut taken = 0;
        while let Some(piece) = inner.pieces.front_mut() {
            let len = piece.len().min(buffer.len() - taken);
            buffer[taken..taken + len].copy_from_slice(&piece.split_to(len));
            taken += len;
            if !piece.is_empty() {
                break;
            }
            inner.pieces.pop_front();
        }
        inner.bytes -= taken;
        if taken == 0 && !inner.has_all && !buffer.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        if was_full && inner.bytes < WAITING_BYTES_MAX {
            self.0.woken.notify_one();
        }
        Ok(taken)
    }
}

impl Drop for IntakeReader {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        (inner.is_closed, inner.bytes) = (true, 0);
        inner.pieces.clear();
        self.0.woken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_takes_what_is_there_and_then_waits() {
        let intake = Intake::new(Arc::new(Notify::new()));
        let mut reader = intake.reader();
        let mut buffer = [0; 5];
        let would_block = |read: io::Result<usize>| read.unwrap_err().kind() == ErrorKind::WouldBlock;
        assert!(would_block(reader.read(&mut buffer)));
        assert!(intake.push(Bytes::from_static(b"abc")), "the shard waits");
        assert!(!intake.push(Bytes::from_static(b"defg")));
        assert_eq!(reader.read(&mut buffer).unwrap(), 5);
        assert_eq!(&buffer, b"abcde");
        assert_eq!(reader.read(&mut buffer).unwrap(), 2);
        assert!(would_block(reader.read(&mut buffer)));
        intake.end();
        assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn what_waits_is_bounded_and_nothing_waits_for_a_shard_that_is_done() {
        let intake = Intake::new(Arc::new(Notify::new()));
        let mut reader = intake.reader();
        intake.push(Bytes::from(vec![1; WAITING_BYTES_MAX]));
        assert!(!intake.has_room());
        assert_eq!(reader.read(&mut [0; 10]).unwrap(), 10);
        assert!(intake.has_room());
        drop(reader);
        assert!(!intake.push(Bytes::from(vec![1; 2 * WAITING_BYTES_MAX])));
        assert!(intake.has_room());
    }
}
