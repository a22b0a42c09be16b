//! Streams.

use crate::persist::rdb::decode::Piece;
use crate::persist::rdb::error::Reason;
use crate::store::{Collection, Stream};

#[derive(Default)]
pub struct StreamBuilder {}

impl StreamBuilder {
    pub fn piece(&mut self, _: Piece) -> Result<(), Reason> {
        Ok(())
    }
    pub fn finish(self) -> Result<Stream, Reason> {
        Ok(Stream::empty())
    }
}
