//! MIGRATE's way to other servers: tasks of the control plane deliver keys, so that no shard ever waits for the network.
//!
//! A shard hands over a transfer: serialised keys, where to, and what to call when it is done. There is one task at a time for each
//! target and a bounded number of them all; transfers for a target that has its task already wait behind it, as those for
//! further targets wait for a task.
//!
//! Connections outlive their task: they are kept for a while, because who moves keys moves many. Nothing here knows what
//! a shard is.

mod link;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::command::migrate::Credentials;
use crate::control::Control;
use link::Link;

/// Targets that are delivered to at the same time.
const TARGETS_MAX: usize = 64;
/// Transfers that wait, for all targets together; a further one fails at once.
const WAITING_MAX: usize = 4096;
/// Connections kept for later; with one more the one that was unused for longest is closed. As in Redis.
const LINKS_MAX: usize = 64;
/// How long a connection is kept without being used. As in Redis.
const LINK_IDLE_MAX: Duration = Duration::from_secs(10);

/// Another server, as the client has named it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub host: Vec<u8>,
    pub port: Vec<u8>,
}

/// One key, packed.
#[derive(Debug)]
pub struct PackedKey {
    /// Index of its name in the job's keys.
    pub key: usize,
    /// As DUMP writes it.
    pub payload: Vec<u8>,
    /// Unix milliseconds.
    pub expire_at_ms: Option<i64>,
}

#[derive(Debug)]
pub struct Job {
    pub target: Target,
    pub credentials: Option<Credentials>,
    /// The other server's database.
    pub database: i64,
    /// For connecting, for each piece that is written and for each reply.
    pub timeout: Duration,
    pub replace: bool,
    pub keys: Arc<Vec<Vec<u8>>>,
    pub packed: Vec<PackedKey>,
}

/// Why not everything has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    Connecting,
    Writing,
    Reading,
    /// The first error that the target has answered.
    Refused(Vec<u8>),
    TooManyTransfers,
}

/// What became of a job.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The keys, by index, that the target has said it has.
    pub acknowledged: Vec<usize>,
    pub failure: Option<Failure>,
}

impl Delivery {
    fn failed(failure: Failure) -> Delivery {
        Delivery { acknowledged: Vec::new(), failure: Some(failure) }
    }
}

type Done = Box<dyn FnOnce(Delivery) + Send>;

struct Transfer {
    job: Job,
    done: Done,
}

struct IdleLink {
    target: Target,
    link: Link,
    since: Instant,
}

#[derive(Default)]
struct State {
    /// Targets that have a task, and the transfers that wait for it.
    busy: HashMap<Target, VecDeque<Transfer>>,
    /// Transfers for other targets.
    waiting: VecDeque<Transfer>,
    /// All that wait.
    waiting_count: usize,
    links: Vec<IdleLink>,
}

impl State {
    /// The next transfer of the task that serves `target`, or of another target that it serves from now on. None: the task ends.
    fn next(&mut self, target: &mut Target) -> Option<Transfer> {
        if let Some(transfer) = self.busy.get_mut(target).and_then(VecDeque::pop_front) {
            self.waiting_count -= 1;
            return Some(transfer);
        }
        self.busy.remove(target);
        while let Some(transfer) = self.waiting.pop_front() {
            // Meanwhile another task may have begun to serve it.
            if let Some(queue) = self.busy.get_mut(&transfer.job.target) {
                queue.push_back(transfer);
                continue;
            }
            *target = transfer.job.target.clone();
            self.busy.insert(target.clone(), VecDeque::new());
            self.waiting_count -= 1;
            return Some(transfer);
        }
        None
    }
}

/// Has keys delivered to other servers.
pub struct Migrator {
    control: Control,
    state: Mutex<State>,
    idle_links: AtomicUsize,
}

impl Migrator {
    pub fn new(control: Control) -> Migrator {
        Migrator { control, state: Mutex::default(), idle_links: AtomicUsize::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while holding the lock would have ended the process (panic = abort in release).
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Has the job done. `done` is called with what became of it, from another thread as a rule. Never waits.
    pub fn send(self: &Arc<Self>, job: Job, done: impl FnOnce(Delivery) + Send + 'static) {
        let target = job.target.clone();
        {
            let mut state = self.state();
            if state.waiting_count >= WAITING_MAX {
                drop(state);
                done(Delivery::failed(Failure::TooManyTransfers));
                return;
            }
            state.waiting_count += 1;
            let transfer = Transfer { job, done: Box::new(done) };
            if let Some(queue) = state.busy.get_mut(&target) {
                queue.push_back(transfer);
                return;
            }
            if state.busy.len() >= TARGETS_MAX {
                state.waiting.push_back(transfer);
                return;
            }
            state.busy.insert(target.clone(), VecDeque::from([transfer]));
        }
        let migrator = self.clone();
        self.control.spawn(async move { migrator.serve(target).await });
    }

    /// The task that delivers to one target after the other, until nothing waits.
    async fn serve(&self, mut target: Target) {
        loop {
            let next = self.state().next(&mut target);
            let Some(Transfer { job, done }) = next else { return };
            let kept = self.take_link(&target);
            let (delivery, link) = deliver(&job, kept).await;
            if let Some(link) = link {
                self.keep_link(target.clone(), link);
            }
            // Freeing what was sent may take a while.
            done(delivery);
        }
    }

    fn take_link(&self, target: &Target) -> Option<Link> {
        let mut state = self.state();
        let at = state.links.iter().position(|idle| idle.target == *target)?;
        let idle = state.links.swap_remove(at);
        self.idle_links.store(state.links.len(), Ordering::Relaxed);
        Some(idle.link)
    }

    fn keep_link(&self, target: Target, link: Link) {
        let mut state = self.state();
        let oldest = (0..state.links.len()).min_by_key(|at| state.links[*at].since);
        if let Some(at) = oldest.filter(|_| state.links.len() >= LINKS_MAX) {
            state.links.swap_remove(at);
        }
        state.links.push(IdleLink { target, link, since: Instant::now() });
        self.idle_links.store(state.links.len(), Ordering::Relaxed);
    }

    /// Connections that are kept.
    pub fn idle_links(&self) -> usize {
        self.idle_links.load(Ordering::Relaxed)
    }

    /// Closes those that have not been used for a while. To be called now and then.
    pub fn close_idle_links(&self) {
        if self.idle_links() == 0 {
            return;
        }
        let mut state = self.state();
        state.links.retain(|idle| idle.since.elapsed() <= LINK_IDLE_MAX);
        self.idle_links.store(state.links.len(), Ordering::Relaxed);
    }
}

/// Does one job, through `kept` if there is one. The connection comes back when it is good for more.
///
/// When a connection breaks before the first reply the job is tried once more through a new one: a kept one may have ended
/// long ago. Not after a timeout, which has taken its time already.
async fn deliver(job: &Job, mut kept: Option<Link>) -> (Delivery, Option<Link>) {
    let mut may_retry = true;
    loop {
        let mut link = match kept.take() {
            Some(link) => link,
            None => match Link::connect(&job.target, job.timeout).await {
                Ok(link) => link,
                Err(_) => return (Delivery::failed(Failure::Connecting), None),
            },
        };
        let run = link.deliver(job).await;
        let Some(broken) = run.broken else {
            let failure = run.refusal.map(Failure::Refused);
            return (Delivery { acknowledged: run.acknowledged, failure }, Some(link));
        };
        if may_retry && !broken.timed_out && run.answers == 0 && run.refusal.is_none() {
            may_retry = false;
            continue;
        }
        let of_link = if broken.writing { Failure::Writing } else { Failure::Reading };
        let failure = Some(run.refusal.map_or(of_link, Failure::Refused));
        return (Delivery { acknowledged: run.acknowledged, failure }, None);
    }
}

#[cfg(test)]
mod tests;
