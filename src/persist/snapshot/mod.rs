//! Snapshots: the state of one instant as an RDB file.

mod forkless;

#[cfg(test)]
mod tests;

pub use forkless::Forkless;
