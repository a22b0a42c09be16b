//! This server as a master: what replicas say and get, and clients that wait for them.

pub mod handshake;
pub mod options;
mod replica;
mod request;
mod upkeep;
pub mod wait;
