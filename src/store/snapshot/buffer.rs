//! What a snapshot has written and nobody has taken yet: chunks of one size, so that nothing is ever moved to make room.

use std::collections::VecDeque;

/// Bytes of a chunk.
const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes in the order in which they are to be read. Its bound is its reader's, who sees `len`.
#[derive(Debug, Default)]
pub struct SnapshotBuffer {
    /// None is empty. Only the last is written to.
    chunks: VecDeque<Vec<u8>>,
    len: usize,
    /// Bytes that ever were in it.
    written: u64,
}

impl SnapshotBuffer {
    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes put into it since it was made.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn put(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        self.written += bytes.len() as u64;
        while !bytes.is_empty() {
            let last = match self.chunks.back_mut() {
                Some(last) if last.len() < last.capacity() => last,
                _ => {
                    self.chunks.push_back(Vec::with_capacity(CHUNK_BYTES));
                    continue;
                }
            };
            let (head, tail) = bytes.split_at(bytes.len().min(last.capacity() - last.len()));
            last.extend_from_slice(head);
            bytes = tail;
        }
    }

    /// Puts in a chunk that its maker gives away.
    pub fn put_chunk(&mut self, chunk: Vec<u8>) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.written += chunk.len() as u64;
            self.chunks.push_back(chunk);
        }
    }

    /// Moves all of `other` behind what is here.
    pub(super) fn append(&mut self, other: &mut SnapshotBuffer) {
        self.len += std::mem::take(&mut other.len);
        self.written += std::mem::take(&mut other.written);
        self.chunks.append(&mut other.chunks);
    }

    /// Takes the first chunk out; one that more may be written to only when `all` is set.
    pub(super) fn take(&mut self, all: bool) -> Option<Vec<u8>> {
        let first = self.chunks.front()?;
        if !all && self.chunks.len() == 1 && first.len() < first.capacity() {
            return None;
        }
        let chunk = self.chunks.pop_front()?;
        self.len -= chunk.len();
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(buffer: &mut SnapshotBuffer) -> Vec<u8> {
        std::iter::from_fn(|| buffer.take(true)).flatten().collect()
    }

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let mut buffer = SnapshotBuffer::default();
        let mut expected = Vec::new();
        for (number, len) in [0, 1, 70_000, CHUNK_BYTES, 5, 3 * CHUNK_BYTES + 1].into_iter().enumerate() {
            let bytes = vec![number as u8; len];
            buffer.put(&bytes);
            expected.extend_from_slice(&bytes);
            buffer.put_chunk(bytes.clone());
            expected.extend_from_slice(&bytes);
        }
        let mut background_thread = SnapshotBuffer::default();
        background_thread.put(b"aside");
        buffer.append(&mut background_thread);
        expected.extend_from_slice(b"aside");
        assert_eq!((buffer.len(), buffer.written()), (expected.len(), expected.len() as u64));
        assert_eq!(drain(&mut buffer), expected);
        assert_eq!((buffer.len(), background_thread.len()), (0, 0));
    }

    #[test]
    fn a_chunk_that_is_still_written_to_stays() {
        let mut buffer = SnapshotBuffer::default();
        buffer.put(&[1; CHUNK_BYTES + 1]);
        assert_eq!(buffer.take(false).map(|chunk| chunk.len()), Some(CHUNK_BYTES));
        assert_eq!(buffer.take(false), None);
        buffer.put(&[1; 1]);
        assert_eq!(buffer.take(true), Some(vec![1, 1]));
    }
}
