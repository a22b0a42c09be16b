//! CLIENT and its subcommands.

use crate::client::Connection;
use crate::shard::Shard;

impl Shard {
    /// One line of CLIENT LIST, without a line end.
    pub(in crate::shard) fn describe_client(&self, c: &Connection) -> String {
        format!("id={} addr={:?} db={}", c.id, c.peer, c.db)
    }
}
