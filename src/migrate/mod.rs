//! MIGRATE's way to other servers: threads that deliver keys, so that no shard ever waits for the network.
//!
//! A shard hands over an errand: serialised keys, where to, and what to call when it is done. A thread delivers it. There is one
//! thread at a time for each target and a bounded number of them all; errands for a target that has its thread already wait
//! behind it, as those for further targets wait for a thread. A thread that has had nothing to do for a while ends.
//!
//! Connections outlive their thread: they are kept for a while, because who moves keys moves many. Nothing here knows what
//! a shard is.

mod link;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::base::log::Level;
use crate::command::migrate::Credentials;
use crate::runtime::aside;
use link::Link;

/// Targets that are delivered to at the same time.
const THREADS_MAX: usize = 64;
/// How long a thread waits for its next errand.
const LINGER: Duration = Duration::from_secs(1);
/// Errands that wait, for all targets together; a further one fails at once.
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
pub struct Parcel {
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
    pub parcels: Vec<Parcel>,
}

/// Why not everything has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    Connecting,
    Writing,
    Reading,
    /// The first error that the target has answered.
    Refused(Vec<u8>),
    TooManyErrands,
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

struct Errand {
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
    /// Targets that have a thread, and the errands that wait for it.
    busy: HashMap<Target, VecDeque<Errand>>,
    /// Errands for other targets.
    waiting: VecDeque<Errand>,
    /// All that wait.
    waiting_count: usize,
    links: Vec<IdleLink>,
}

impl State {
    /// Whether there is nothing to do for the thread that serves `target`.
    fn is_idle(&self, target: &Target) -> bool {
        self.waiting.is_empty() && self.busy.get(target).is_none_or(VecDeque::is_empty)
    }

    /// The next errand of the thread that serves `target`, or of another target that it serves from now on. None: the thread ends.
    fn next(&mut self, target: &mut Target) -> Option<Errand> {
        if let Some(errand) = self.busy.get_mut(target).and_then(VecDeque::pop_front) {
            self.waiting_count -= 1;
            return Some(errand);
        }
        self.busy.remove(target);
        while let Some(errand) = self.waiting.pop_front() {
            // Meanwhile another thread may have begun to serve it.
            if let Some(queue) = self.busy.get_mut(&errand.job.target) {
                queue.push_back(errand);
                continue;
            }
            *target = errand.job.target.clone();
            self.busy.insert(target.clone(), VecDeque::new());
            self.waiting_count -= 1;
            return Some(errand);
        }
        None
    }
}

#[derive(Default)]
pub struct Couriers {
    state: Mutex<State>,
    /// An errand has come to wait.
    news: Condvar,
    idle_links: AtomicUsize,
}

impl Couriers {
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
                done(Delivery::failed(Failure::TooManyErrands));
                return;
            }
            state.waiting_count += 1;
            let errand = Errand { job, done: Box::new(done) };
            if let Some(queue) = state.busy.get_mut(&target) {
                queue.push_back(errand);
                self.news.notify_all();
                return;
            }
            if state.busy.len() >= THREADS_MAX {
                state.waiting.push_back(errand);
                self.news.notify_all();
                return;
            }
            state.busy.insert(target.clone(), VecDeque::from([errand]));
        }
        let (couriers, thread_target) = (self.clone(), target.clone());
        let started = aside::spawn("migrate", move || couriers.serve(thread_target));
        if let Err(error) = started {
            crate::log!(Level::Warning, "MIGRATE cannot start a thread: {error}");
            self.give_up(&target);
        }
    }

    /// Nobody will serve this target.
    fn give_up(&self, target: &Target) {
        let mut state = self.state();
        let errands = state.busy.remove(target).unwrap_or_default();
        state.waiting_count -= errands.len();
        drop(state);
        for errand in errands {
            (errand.done)(Delivery::failed(Failure::Connecting));
        }
    }

    /// The life of a thread.
    fn serve(&self, mut target: Target) {
        loop {
            let waited = self.news.wait_timeout_while(self.state(), LINGER, |state| state.is_idle(&target));
            let next = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0.next(&mut target);
            let Some(Errand { job, done }) = next else { return };
            let (delivery, link) = deliver(&job, self.take_link(&target));
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
fn deliver(job: &Job, mut kept: Option<Link>) -> (Delivery, Option<Link>) {
    let mut may_retry = true;
    loop {
        let mut link = match kept.take().map_or_else(|| Link::connect(&job.target, job.timeout), Ok) {
            Ok(link) => link,
            Err(_) => return (Delivery::failed(Failure::Connecting), None),
        };
        let run = link.deliver(job);
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
