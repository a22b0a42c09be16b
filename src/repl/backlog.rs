//! The backlog: the newest bytes of the replication stream, in blocks that all replicas share.
//!
//! A full block is one reference-counted buffer. The backlog holds it as history, and each replica's socket holds the pieces that it
//! is about to send; none of them has a copy. Only the block that is being filled is copied for readers, once for all that
//! stand at the same place.
//!
//! Two things keep a block: the newest `repl-backlog-size` bytes are history, and a block that a reader has yet to take stays
//! whatever its age. So the memory of all replicas together is that of the slowest. The backlog sets no bound on a slow
//! reader: whoever owns the readers asks [`Backlog::pending`], and closes a reader that is over its limit.
//!
//! Offsets count from 1, as in Redis: the first byte ever written has the offset 1, and `end` is the offset of the last one.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

/// A block is at most this part of the backlog, so that trimming gives back little at a time and history stays near its size.
const BLOCKS_MIN: u64 = 16;
/// The largest block, bytes: about what one write to a socket takes.
const BLOCK_LEN_MAX: u64 = 64 * 1024;

/// A reader of a backlog: one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderId(u64);

#[derive(Debug)]
struct Block {
    /// Offset of its first byte.
    start: u64,
    bytes: Bytes,
}

#[derive(Debug)]
pub struct Backlog {
    /// `repl-backlog-size`, bytes.
    size: u64,
    /// Full blocks, the oldest first.
    blocks: VecDeque<Block>,
    /// The block that is being filled, and the offset of its first byte.
    open: Vec<u8>,
    open_start: u64,
    /// The last piece of the open block that was copied for a reader, and its offset. Others at the same place get the same.
    copied: Option<(u64, Bytes)>,
    /// The next offset that each reader wants.
    readers: BTreeMap<ReaderId, u64>,
    readers_made: u64,
}

impl Backlog {
    /// A backlog of a stream of which `end` bytes have been written before.
    pub fn new(size: u64, end: u64) -> Backlog {
        Backlog {
            size: size.max(1),
            blocks: VecDeque::new(),
            open: Vec::new(),
            open_start: end + 1,
            copied: None,
            readers: BTreeMap::new(),
            readers_made: 0,
        }
    }

    /// A backlog that begins with what was kept of another one: `tail` ends at the offset `end`.
    pub fn restored(size: u64, tail: &[u8], end: u64) -> Backlog {
        let mut backlog = Backlog::new(size, end.saturating_sub(tail.len() as u64));
        backlog.append(tail);
        backlog
    }

    fn block_len(&self) -> usize {
        (self.size / BLOCKS_MIN).clamp(1, BLOCK_LEN_MAX) as usize
    }

    pub fn append(&mut self, mut bytes: &[u8]) {
        let block_len = self.block_len();
        while !bytes.is_empty() {
            if self.open.capacity() == 0 {
                self.open.reserve_exact(block_len);
            }
            // The size may have been lowered while the block was open.
            let room = block_len.saturating_sub(self.open.len()).max(1);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.open.extend_from_slice(now);
            bytes = later;
            if self.open.len() >= block_len {
                self.seal();
            }
        }
    }

    fn seal(&mut self) {
        let bytes = Bytes::from(std::mem::take(&mut self.open));
        let start = self.open_start;
        self.open_start += bytes.len() as u64;
        self.copied = None;
        self.blocks.push_back(Block { start, bytes });
        self.trim();
    }

    /// Gives back blocks that neither history nor a reader needs.
    fn trim(&mut self) {
        let wanted_by_readers = self.readers.values().copied().min().unwrap_or(u64::MAX);
        while let Some(first) = self.blocks.front() {
            let len = first.bytes.len() as u64;
            if self.histlen() - len < self.size || first.start + len > wanted_by_readers {
                break;
            }
            self.blocks.pop_front();
        }
    }

    /// A new `repl-backlog-size`.
    pub fn resize(&mut self, size: u64) {
        self.size = size.max(1);
        self.trim();
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// INFO's `repl_backlog_first_byte_offset`.
    pub fn first_byte_offset(&self) -> u64 {
        self.blocks.front().map_or(self.open_start, |block| block.start)
    }

    /// INFO's `repl_backlog_histlen`, bytes. More than the size while a slow reader needs more.
    pub fn histlen(&self) -> u64 {
        self.end() + 1 - self.first_byte_offset()
    }

    /// Offset of the last byte.
    pub fn end(&self) -> u64 {
        self.open_start + self.open.len() as u64 - 1
    }

    /// Whether the stream can go on at `offset`: all from there on is here, or it is the next byte to be written.
    pub fn contains(&self, offset: u64) -> bool {
        (self.first_byte_offset()..=self.end() + 1).contains(&offset)
    }

    /// A reader that begins at `offset`; `None` when the backlog does not contain it.
    pub fn open(&mut self, offset: u64) -> Option<ReaderId> {
        if !self.contains(offset) {
            return None;
        }
        self.readers_made += 1;
        let reader = ReaderId(self.readers_made);
        self.readers.insert(reader, offset);
        Some(reader)
    }

    pub fn close(&mut self, reader: ReaderId) {
        if self.readers.remove(&reader).is_some() {
            self.trim();
        }
    }

    pub fn readers(&self) -> usize {
        self.readers.len()
    }

    /// Bytes that the reader has yet to take.
    pub fn pending(&self, reader: ReaderId) -> u64 {
        self.readers.get(&reader).map_or(0, |next| self.end() + 1 - next)
    }

    /// The next offset that the reader takes.
    pub fn position(&self, reader: ReaderId) -> Option<u64> {
        self.readers.get(&reader).copied()
    }

    /// The next piece for the reader, at most `len_max` bytes, out of one block; `None` when it has all.
    pub fn read(&mut self, reader: ReaderId, len_max: usize) -> Option<Bytes> {
        let next = *self.readers.get(&reader)?;
        let piece = self.piece(next, len_max)?;
        self.readers.insert(reader, next + piece.len() as u64);
        if self.blocks.front().is_some_and(|first| next <= first.start + first.bytes.len() as u64) {
            self.trim();
        }
        Some(piece)
    }

    fn piece(&mut self, at: u64, len_max: usize) -> Option<Bytes> {
        if len_max == 0 || at > self.end() {
            return None;
        }
        if at < self.open_start {
            let index = self.blocks.partition_point(|block| block.start + block.bytes.len() as u64 <= at);
            let block = self.blocks.get(index)?;
            let from = usize::try_from(at.checked_sub(block.start)?).ok()?;
            let to = block.bytes.len().min(from.saturating_add(len_max));
            return Some(block.bytes.slice(from..to));
        }
        let from = usize::try_from(at - self.open_start).ok()?;
        let rest = self.open.get(from..)?;
        let rest = &rest[..rest.len().min(len_max)];
        match &self.copied {
            Some((start, bytes)) if *start == at && bytes.len() == rest.len() => Some(bytes.clone()),
            _ => {
                let bytes = Bytes::copy_from_slice(rest);
                self.copied = Some((at, bytes.clone()));
                Some(bytes)
            }
        }
    }

    /// The newest bytes, at most `len_max` of them, for a server that goes down and wants to resume.
    pub fn tail(&self, len_max: u64) -> Vec<u8> {
        let from = self.first_byte_offset().max((self.end() + 1).saturating_sub(len_max));
        let mut tail = Vec::new();
        for block in &self.blocks {
            let skipped = from.saturating_sub(block.start).min(block.bytes.len() as u64) as usize;
            tail.extend_from_slice(&block.bytes[skipped..]);
        }
        let skipped = from.saturating_sub(self.open_start).min(self.open.len() as u64) as usize;
        tail.extend_from_slice(&self.open[skipped..]);
        tail
    }

    /// INFO's `mem_replication_backlog`, bytes.
    pub fn memory_bytes(&self) -> u64 {
        let sealed: u64 = self.blocks.iter().map(|block| block.bytes.len() as u64).sum();
        let rows = self.blocks.capacity() * size_of::<Block>();
        let copied = self.copied.as_ref().map_or(0, |(_, bytes)| bytes.len());
        sealed + (self.open.capacity() + rows + copied) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(from: u64, to: u64) -> Vec<u8> {
        (from..=to).map(|offset| (offset % 251) as u8).collect()
    }

    fn read_all(backlog: &mut Backlog, reader: ReaderId, len_max: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(piece) = backlog.read(reader, len_max) {
            assert!(piece.len() <= len_max);
            bytes.extend_from_slice(&piece);
        }
        bytes
    }

    #[test]
    fn an_empty_backlog_contains_only_the_next_byte() {
        let mut backlog = Backlog::new(1024, 100);
        assert_eq!((backlog.first_byte_offset(), backlog.histlen(), backlog.end()), (101, 0, 100));
        assert!(backlog.contains(101) && !backlog.contains(100) && !backlog.contains(102));
        assert!(backlog.open(100).is_none());
        let reader = backlog.open(101).unwrap();
        assert_eq!(backlog.read(reader, 10), None);
    }

    #[test]
    fn history_stays_between_the_size_and_a_sixteenth_more() {
        let mut backlog = Backlog::new(1600, 0);
        let mut written = 0;
        for len in [1, 7, 99, 100, 101, 350].into_iter().cycle().take(200) {
            backlog.append(&text(written + 1, written + len));
            written += len;
            assert_eq!(backlog.end(), written);
            assert_eq!(backlog.first_byte_offset() + backlog.histlen(), written + 1);
            assert!(backlog.histlen() < 1600 + 2 * 100, "{}", backlog.histlen());
            assert!(backlog.histlen() >= written.min(1600), "{}", backlog.histlen());
        }
        let first = backlog.first_byte_offset();
        let reader = backlog.open(first).unwrap();
        assert_eq!(read_all(&mut backlog, reader, 33), text(first, written));
    }

    #[test]
    fn readers_share_blocks_and_the_copy_of_the_open_one() {
        let mut backlog = Backlog::new(1600, 0);
        backlog.append(&text(1, 250));
        let (one, other) = (backlog.open(1).unwrap(), backlog.open(1).unwrap());
        for _ in 0..3 {
            let (a, b) = (backlog.read(one, 1000).unwrap(), backlog.read(other, 1000).unwrap());
            assert_eq!(a, b);
            assert_eq!(a.as_ptr(), b.as_ptr(), "the same memory");
        }
        assert_eq!(backlog.read(one, 1000), None);
        backlog.append(&text(251, 260));
        assert_eq!(backlog.read(one, 1000).unwrap(), text(251, 260));
    }

    #[test]
    fn a_slow_reader_keeps_its_blocks_until_it_has_read_or_is_closed() {
        let mut backlog = Backlog::new(160, 0);
        let slow = backlog.open(1).unwrap();
        let slower = backlog.open(1).unwrap();
        backlog.append(&text(1, 10_000));
        assert_eq!((backlog.first_byte_offset(), backlog.pending(slow)), (1, 10_000));
        assert_eq!(read_all(&mut backlog, slow, 64), text(1, 10_000));
        assert_eq!(backlog.first_byte_offset(), 1, "the other one still needs them");
        backlog.close(slower);
        assert!(backlog.histlen() <= 170);
        assert_eq!(backlog.pending(slow), 0);
    }

    #[test]
    fn a_reader_frees_blocks_as_it_reads() {
        let mut backlog = Backlog::new(160, 0);
        let slow = backlog.open(1).unwrap();
        backlog.append(&text(1, 10_000));
        for _ in 0..500 {
            backlog.read(slow, 10).unwrap();
        }
        assert!(backlog.first_byte_offset() > 4900, "{}", backlog.first_byte_offset());
    }

    #[test]
    fn a_backlog_is_resized_both_ways() {
        let mut backlog = Backlog::new(100_000, 0);
        backlog.append(&text(1, 50_003));
        backlog.resize(1000);
        backlog.append(&text(50_004, 50_010));
        assert!(backlog.histlen() < 1000 + 2 * 6250);
        backlog.append(&text(50_011, 60_000));
        assert!(backlog.histlen() < 1200, "{}", backlog.histlen());
        backlog.resize(100_000);
        backlog.append(&text(60_001, 70_000));
        let first = backlog.first_byte_offset();
        let reader = backlog.open(first).unwrap();
        assert_eq!(read_all(&mut backlog, reader, 5000), text(first, 70_000));
        let mut tiny = Backlog::new(1, 0);
        tiny.append(&text(1, 100));
        assert_eq!((tiny.histlen(), tiny.first_byte_offset()), (1, 100));
    }

    #[test]
    fn the_tail_survives_a_restart() {
        let mut backlog = Backlog::new(1600, 0);
        backlog.append(&text(1, 5003));
        assert_eq!(backlog.tail(1000), text(4004, 5003));
        let all = backlog.tail(u64::MAX);
        assert_eq!(all.len() as u64, backlog.histlen());
        let restored = Backlog::restored(1600, &all, 5003);
        assert_eq!(restored.end(), 5003);
        assert_eq!(restored.first_byte_offset(), backlog.first_byte_offset());
        assert_eq!(restored.tail(u64::MAX), all);
    }
}
