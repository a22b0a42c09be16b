//! Load generation and measurement for servers that speak the Redis protocol.
//!
//! `gyre-load` drives a server and says what a request cost; `echo-floor` shows what the same bytes cost
//! at least. `scripts/compare` runs both against several servers in alternation.
#![deny(unsafe_code)]

mod closed_loop;
mod connection;
pub mod floor;
mod keys;
pub mod meter;
mod open_loop;
pub mod options;
mod process;
mod replies;
pub mod report;
mod requests;
pub mod run;
mod workload;
