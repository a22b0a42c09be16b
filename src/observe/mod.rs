//! What the server shows of itself: its log and its counters.

pub mod digest;
pub mod log;
pub mod lolwut;
pub mod stats;
