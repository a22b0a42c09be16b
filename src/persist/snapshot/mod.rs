//! Snapshots: how the keyspace of one shard, as it was at one instant, becomes its part of an RDB file while the shard goes on.

pub mod forked;
mod forkless;
#[cfg(test)]
mod tests;
pub(crate) mod writer;

pub use forkless::Forkless;
