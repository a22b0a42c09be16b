//! The control plane: a thread of its own, pinned to no core, on which everything runs as tasks that talks to other servers or waits
//! long. Nothing here is on the path of a request.
//!
//! ```text
//!   shards --- spawn(task) ---> the thread "control": tasks with sockets, timers, names of hosts
//!      <-- their inboxes ------ what has come of it (`runtime/thread_inbox.rs`)
//! ```
//!
//! A task does the I/O only. What it decides is written without any, in the room that it belongs to (`migrate`, `repl`): events in,
//! actions out, so that it can be tested by plain calls.

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;

use crate::runtime::background_thread;

/// Threads of the control plane for what can only block: looking up the names of hosts.
const BLOCKING_THREADS_MAX: usize = 4;

/// The way to the control plane, from any thread.
#[derive(Clone)]
pub struct Control {
    handle: Handle,
    /// Ends the thread when the last one is dropped.
    _end: Arc<End>,
}

struct End(Arc<Notify>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Control {
    /// Starts the thread.
    pub fn start() -> io::Result<Control> {
        let runtime: Runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .thread_name("control-names")
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .build()?;
        let handle = runtime.handle().clone();
        let ended = Arc::new(Notify::new());
        let wait = ended.clone();
        background_thread::spawn("control", move || {
            runtime.block_on(wait.notified());
            // Who looks up a name may do so for long.
            runtime.shutdown_background();
        })?;
        Ok(Control { handle, _end: Arc::new(End(ended)) })
    }

    /// Has the task run. Never waits.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_task_runs_on_its_own_thread_and_may_sleep() {
        let control = Control::start().unwrap();
        let (said, heard) = mpsc::channel();
        control.spawn(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            said.send(std::thread::current().name().map(str::to_owned)).unwrap();
        });
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap().as_deref(), Some("control"));
    }

    #[test]
    fn the_thread_ends_with_the_last_handle_and_drops_its_tasks() {
        struct Tell(mpsc::Sender<()>);
        impl Drop for Tell {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (said, heard) = mpsc::channel();
        let control = Control::start().unwrap();
        let tell = Tell(said);
        control.spawn(async move {
            tokio::time::sleep(PATIENCE * 100).await;
            drop(tell);
        });
        drop(control.clone());
        assert!(heard.recv_timeout(Duration::from_millis(20)).is_err());
        drop(control);
        heard.recv_timeout(PATIENCE).unwrap();
    }
}
