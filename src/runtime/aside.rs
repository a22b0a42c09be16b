//! Threads beside the shards, for what waits for the disk or the network.

use std::io;
use std::thread::{Builder, JoinHandle};

use super::cpus;

/// Starts a thread that has no claim to the core of the shard that starts it: a thread begins with the cores of its parent, and
/// a shard has only one.
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        cpus::use_all();
        work()
    })
}
