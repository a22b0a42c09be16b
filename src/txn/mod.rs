//! Transactions: which shards a command needs, and how a command that needs several of them is atomic.
//!
//! The idea is told in `transactions.md`, next to this file.

pub(crate) mod barrier;
pub(crate) mod coordinator;
pub(crate) mod guard;
pub(crate) mod join;
pub(crate) mod locks;
pub(crate) mod message;
pub(crate) mod participant;
pub(crate) mod plan;
pub(crate) mod step;

#[cfg(test)]
mod simulation;
