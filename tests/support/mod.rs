//! What every integration test needs: a server of its own, and a client that hides nothing.
//!
//! `Server` runs the binary under test (or Debian's redis-server, the oracle) in a temporary directory on a free
//! port, and ends it when dropped. `Client` is a blocking client that speaks RESP2 and RESP3 and can also send and
//! read raw bytes. It is our own, because a client library would repair what these tests look for.

// Each test uses its own part of this.
#![allow(dead_code, unused_imports)]

mod client;
mod random;
mod scarce;
mod seen;
mod server;
mod small_disk;

pub use client::{parse_reply, Client, Value};
pub use random::Random;
pub use scarce::{refuse_forks, script, Scarce};
pub use seen::{eventually, goes_down_to, info, raise_open_files, within};
pub use server::{free_port, redis_server, temporary_dir, Server};
pub use small_disk::SmallDisk;

/// The name of a key or a channel that the given shard owns; `number` tells several apart.
pub fn name_on(shard: usize, shards: usize, number: usize) -> String {
    use gyre::slots::shard_of_slot;
    use gyre::store::slot_of;
    let is_there = |name: &String| shard_of_slot(slot_of(name.as_bytes()), shards) == shard % shards;
    (0..).map(|salt| format!("name{number}:{salt}")).find(is_there).expect("every shard has names")
}

/// A number from the environment, for runs longer or wider than those of continuous integration.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

/// The seed of a random test: the one in the environment, or a new one. Printed, so that a failure can be repeated.
pub fn seed(name: &str) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let seed =
        setting(name, std::collections::hash_map::RandomState::new().build_hasher().finish() % 1_000_000_007);
    eprintln!("{name}={seed}");
    seed
}
