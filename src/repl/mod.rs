//! Replication: how N shards make one stream, how replicas get it, and how this server follows another one.
//!
//! Everything here decides and does no I/O: bytes and events come in, bytes and actions go out. So each part is tested by plain
//! calls, and all of them together by a simulation with a seed (`simulation`). Sockets, snapshots and shards are their caller's.
//! `replication.md` tells how the parts work together.

#![allow(
    dead_code,
    reason = "FAILOVER and the ids that outlive a restart are not driven by `replication` yet"
)]

pub mod backlog;
pub mod failover;
pub mod history;
pub mod master;
pub mod replica;
pub mod roles;
pub mod sequencer;
pub mod wire;
pub mod writer;

#[cfg(test)]
mod simulation;
