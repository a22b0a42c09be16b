//! Threads beside the shards, for what waits for the disk or the network.

use std::io;
use std::sync::{Arc, Mutex};
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

/// As `spawn`, for work on `what`, which is handed back when no thread can be started.
pub fn spawn_with<T: Send + 'static>(
    name: &str,
    what: T,
    work: impl FnOnce(T) + Send + 'static,
) -> Result<(), (io::Error, T)> {
    // Taken once: by the thread, or here when there is none.
    let what = Arc::new(Mutex::new(Some(what)));
    let take = |what: &Mutex<Option<T>>| what.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    let theirs = what.clone();
    let started = spawn(name, move || {
        if let Some(what) = take(&theirs) {
            work(what);
        }
    });
    match started {
        Ok(_) => Ok(()),
        Err(error) => match take(&what) {
            Some(what) => Err((error, what)),
            None => Ok(()),
        },
    }
}
