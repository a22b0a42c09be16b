//! Load generation and measurement for servers that speak the Redis protocol.
//!
//! `gyre-load` drives a server and says what a request cost; `echo-floor` shows what the same bytes cost
//! at least. `scripts/compare` runs both against several servers in alternation.
#![deny(unsafe_code)]

pub mod floor;
pub mod keys;
pub mod replies;
pub mod requests;
pub mod workload;
