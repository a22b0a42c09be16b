//! Transactions: which shards a command needs, and how a command that needs several of them is atomic.
//!
//! The idea is told in `transactions.md`, next to this file.

pub mod guard;
pub mod join;
pub mod locks;
pub mod message;
pub mod plan;
