//! A master's bytes on their way to this server's own replicas: unchanged, but not before they are applied here.
//!
//! A replica of a replica must never have more than its master, which may be promoted at any moment and go on from what it has applied.
//! What waits is no more than what the schedule of the stream holds, for the link is not read while that is full.

use bytes::{Bytes, BytesMut};

#[derive(Debug)]
pub struct Forward {
    waiting: BytesMut,
    /// Offset of the last byte that has been handed on.
    offset: u64,
}

impl Forward {
    pub fn new(offset: u64) -> Forward {
        Forward { waiting: BytesMut::new(), offset }
    }

    /// Bytes of the stream, as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// What is to be handed on when everything up to `applied` is applied.
    pub fn up_to(&mut self, applied: u64) -> Bytes {
        let len = usize::try_from(applied.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let bytes = self.waiting.split_to(len.min(self.waiting.len())).freeze();
        self.offset += bytes.len() as u64;
        bytes
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_handed_on_before_it_is_applied() {
        let mut forward = Forward::new(100);
        forward.push(b"abcdef");
        assert_eq!(forward.up_to(100), "");
        assert_eq!(forward.up_to(103), "abc");
        assert_eq!(forward.up_to(90), "", "never back");
        forward.push(b"gh");
        assert_eq!(forward.up_to(107), "defg");
        assert_eq!(forward.up_to(1000), "h");
        assert_eq!(forward.waiting(), 0);
    }
}
