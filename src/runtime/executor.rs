//! Runs one shard: a thread pinned to a core, and on it the loop that drives the socket ring.
//!
//! The loop waits in one place, the socket ring, and always with an end: the next cron, or the time that the service names.
//! There is no executor of tasks beneath it: what is written as tasks runs on the control plane (`control`).

use super::ring::{Completion, SocketRing};
use super::{arena, clock, cpus};
use crate::base::Stamp;
use std::io;

/// The longest wait of a shard that has work for later.
const SOON_MS: u64 = 1;
/// The period of `Service::cron`.
pub const CRON_MS: u64 = 100;

/// Who is given the core for a moment and keeps it for so long has work of its own, nanoseconds.
const CROWDED_NANOS: u64 = 5_000_000;
/// So long it is taken to go on with it. To try costs a turn of everybody else's.
const CROWDED_FOR_NANOS: u64 = 1_000_000_000;

/// What a shard wants after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is work that waits for nothing: come back at once.
    Ready,
    /// There is work for later: wait for completions, but no longer than `SOON_MS`.
    Soon,
    /// Nothing to do until something arrives.
    Idle,
    /// The shard is finished.
    Stop,
}

/// What the loop drives. No method may block.
pub trait Service {
    /// The loop has woken up; what has arrived follows. The moment to read the clock.
    fn begin(&mut self);
    /// One arrived completion.
    fn completed(&mut self, ring: &mut SocketRing, completion: Completion);
    /// After a turn's completions: messages from other shards, deferred work, and queueing what is to be sent.
    fn turn(&mut self, ring: &mut SocketRing) -> Turn;
    /// So long a message from another shard is worth being waited for awake, nanoseconds, because it is due before a sleeper would be up
    /// again. 0: none is.
    fn awake_nanos(&mut self) -> u64;
    /// Whether a message from another shard has come.
    fn has_message(&self) -> bool;
    /// Says to the other shards that they have to knock. False when there is work after all.
    fn about_to_sleep(&mut self) -> bool;
    fn awake(&mut self);
    /// When a turn is due even if nothing arrives, Unix microseconds.
    fn due_at_us(&self) -> Option<i64>;
    /// Every `CRON_MS`, busy or idle; a turn follows.
    fn cron(&mut self);
}

struct Shard<S> {
    service: S,
    ring: SocketRing,
    /// When the cron last ran.
    cron_at: Stamp,
    /// When others had the core for long.
    crowded_at: Option<Stamp>,
}

impl<S: Service> Shard<S> {
    fn handle_completions(&mut self) {
        self.service.begin();
        for index in 0..self.ring.collect() {
            let completion: Completion = self.ring.completion(index);
            self.service.completed(&mut self.ring, completion);
        }
    }

    /// Runs the cron if it is due, and returns in how many microseconds the next one is. After a stall it does not catch up.
    fn cron(&mut self) -> u64 {
        let since_us = Stamp::now().nanos_since(self.cron_at) / 1000;
        if since_us < CRON_MS * 1000 {
            return CRON_MS * 1000 - since_us;
        }
        self.cron_at = Stamp::now();
        self.service.cron();
        CRON_MS * 1000
    }

    /// How long to wait after a turn that left nothing to do at once, microseconds.
    fn patience_us(&self, turn: Turn, until_cron_us: u64) -> u64 {
        let soon = if turn == Turn::Soon { SOON_MS * 1000 } else { u64::MAX };
        let due = self.service.due_at_us().map_or(u64::MAX, |at| (at - clock::unix_us()).max(0) as u64);
        until_cron_us.min(soon).min(due)
    }

    /// Waits awake for what is due within microseconds. False: it was not worth it, or nothing has come.
    fn waits_awake(&mut self) -> io::Result<bool> {
        let nanos = self.service.awake_nanos();
        if nanos == 0 || self.is_crowded() {
            return Ok(false);
        }
        // What is queued leaves before.
        self.ring.submit_and_wait(0)?;
        let began = Stamp::now();
        while !self.service.has_message() && !self.ring.has_news() {
            let now = Stamp::now();
            if now.nanos_since(began) > nanos {
                return Ok(false);
            }
            // Whoever else wants the core has it.
            std::thread::yield_now();
            if Stamp::now().nanos_since(now) > CROWDED_NANOS {
                self.crowded_at = Some(Stamp::now());
                break;
            }
        }
        Ok(true)
    }

    /// Whether others compute on this core: who waits awake is behind them each time, while a sleeper is let in when he wakes.
    fn is_crowded(&mut self) -> bool {
        self.crowded_at = self.crowded_at.filter(|at| Stamp::now().nanos_since(*at) < CROWDED_FOR_NANOS);
        self.crowded_at.is_some()
    }

    /// Rounds until the service is finished: its turn, the wait for completions, and what they bring.
    fn run(&mut self) -> io::Result<()> {
        self.service.begin();
        loop {
            let until_cron_us = self.cron();
            let turn = self.service.turn(&mut self.ring);
            if turn == Turn::Stop {
                return self.ring.submit_and_wait(0);
            }
            if turn != Turn::Ready && self.waits_awake()? {
                self.ring.submit_and_wait(0)?;
                self.handle_completions();
                continue;
            }
            if turn != Turn::Ready && self.service.about_to_sleep() {
                let patience_us = self.patience_us(turn, until_cron_us);
                let waited = self.ring.submit_and_wait_for(patience_us);
                self.service.awake();
                waited?;
            } else {
                self.ring.submit_and_wait(0)?;
            }
            self.handle_completions();
        }
    }
}

/// Starts a shard on its own thread, pinned to `cpu`; `make` runs there and builds the service. The thread ends when the
/// service says `Turn::Stop`.
pub fn spawn<S, F>(name: &str, cpu: usize, make: F) -> io::Result<std::thread::JoinHandle<io::Result<()>>>
where
    S: Service + 'static,
    F: FnOnce(&SocketRing) -> io::Result<S> + Send + 'static,
{
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Without a range of its own the shard works as well, and only forks slower.
        arena::enter();
        cpus::pin(cpu);
        let ring = SocketRing::new_patiently()?;
        let service = make(&ring)?;
        Shard { service, ring, cron_at: Stamp::now(), crowded_at: None }.run()
    })
}
