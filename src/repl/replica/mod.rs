//! This server as a replica: the link to its master, and what comes over it.

pub mod forward;
pub mod link;
pub mod payload;
pub mod stream;
