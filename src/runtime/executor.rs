//! Runs one shard: a glommio executor pinned to a core, and in it the loop that drives the socket ring.
//!
//! While there is traffic the loop waits in the socket ring itself, because parking through glommio costs
//! 8-10 microseconds of CPU; a tick bounds that wait to `TICK_MS`, and on each tick glommio's own tasks get
//! their turn. After `QUIET_TICKS` without traffic the tick is cancelled and the shard parks in glommio, on an
//! eventfd that the ring signals; parked, it uses no CPU but its `CRON_MS` timer. When the service has something to do at
//! a certain time (a blocked client's timeout) an alarm in the ring ends the park; that costs nothing until then.

use std::cell::RefCell;
use std::io;
use std::os::fd::{FromRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use glommio::io::BufferedFile;
use glommio::timer::Timer;
use glommio::{LocalExecutorBuilder, Placement};

use super::clock;
use super::ring::{Completion, SocketRing};

/// Ticks without traffic before a shard parks.
const QUIET_TICKS: u32 = 5;
/// Rounds after which glommio's tasks get their turn even if no tick has come.
const ROUNDS_PER_TICK_MAX: u32 = 1024;
/// The period of `Service::cron`.
pub const CRON_MS: u64 = 100;

/// What a shard wants after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is work that waits for nothing: come back at once.
    Ready,
    /// There is work for the next tick: wait for completions, but do not park.
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
    /// Says to the other shards that they have to knock. False when there is work after all.
    fn about_to_sleep(&mut self) -> bool;
    fn awake(&mut self);
    /// When a turn is due even if nothing arrives, Unix microseconds. While parked it is kept exactly; while busy to the tick.
    fn due_at_us(&self) -> Option<i64>;
    /// Every `CRON_MS`, busy or parked. True when a turn is to follow, whether anything arrives or not.
    fn cron(&mut self, ring: &mut SocketRing) -> bool;
}

fn eventfd() -> io::Result<RawFd> {
    // SAFETY: plain system call.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fd)
}

/// Wakes the loop if it is parked; otherwise its next park ends at once.
fn ring_bell(bell: RawFd) {
    let one = 1u64;
    // SAFETY: eight readable bytes, as an eventfd wants them. It cannot fail in a way that matters: a full counter wakes too.
    unsafe { libc::write(bell, std::ptr::from_ref(&one).cast(), 8) };
}

struct Shard<S> {
    service: S,
    ring: SocketRing,
    /// Ticks since the last traffic, and all of them.
    quiet_ticks: u32,
    ticks: u64,
    stopped: bool,
}

impl<S: Service> Shard<S> {
    /// Handles everything that has arrived. True when it was more than a tick.
    fn handle_completions(&mut self) -> bool {
        let mut traffic = false;
        self.service.begin();
        for index in 0..self.ring.collect() {
            match self.ring.completion(index) {
                Completion::Tick { .. } => {
                    self.quiet_ticks += 1;
                    self.ticks = self.ticks.wrapping_add(1);
                }
                completion => {
                    traffic = true;
                    self.service.completed(&mut self.ring, completion);
                }
            }
        }
        traffic
    }

    /// One round: wait for completions, handle them, run the service's turn.
    fn round(&mut self) -> io::Result<()> {
        let turn = self.service.turn(&mut self.ring);
        if turn == Turn::Stop {
            self.stopped = true;
            return self.ring.submit_and_wait(0);
        }
        if turn != Turn::Ready && self.service.about_to_sleep() {
            let waited = self.ring.submit_and_wait(1);
            self.service.awake();
            waited?;
        } else {
            self.ring.submit_and_wait(0)?;
        }
        if self.handle_completions() || turn != Turn::Idle {
            self.quiet_ticks = 0;
        }
        Ok(())
    }
}

async fn run<S: Service + 'static>(service: S, ring: SocketRing) -> io::Result<()> {
    let bell = eventfd()?;
    // SAFETY: the descriptor is ours and is given away; the file closes it.
    let bell_file = unsafe { BufferedFile::from_raw_fd(bell) };
    let shard = Rc::new(RefCell::new(Shard { service, ring, quiet_ticks: 0, ticks: 0, stopped: false }));

    let for_cron = shard.clone();
    let cron = glommio::spawn_local(async move {
        loop {
            Timer::new(Duration::from_millis(CRON_MS)).await;
            let shard = &mut *for_cron.borrow_mut();
            if shard.stopped {
                return;
            }
            shard.service.begin();
            let wants_turn = shard.service.cron(&mut shard.ring);
            // While parked nobody else would submit what the cron queued.
            let _ = shard.ring.submit_and_wait(0);
            if wants_turn {
                ring_bell(bell);
            }
        }
    })
    .detach();

    loop {
        {
            let shard = &mut *shard.borrow_mut();
            shard.ring.start_tick();
            let ticks = shard.ticks;
            let mut rounds = 0u32;
            // Until the next tick, when glommio's tasks get their turn.
            while !shard.stopped && shard.ticks == ticks && rounds < ROUNDS_PER_TICK_MAX {
                shard.round()?;
                shard.ring.start_tick();
                rounds += 1;
            }
            if shard.stopped {
                break;
            }
        }
        if shard.borrow().quiet_ticks < QUIET_TICKS {
            glommio::executor().yield_task_queue_now().await;
            continue;
        }
        if park_prepare(&mut shard.borrow_mut(), bell)? {
            // The bell rings once for everything that arrived; a spurious ring only costs a turn.
            let rung = bell_file.read_at(0, 8).await;
            let shard = &mut *shard.borrow_mut();
            shard.ring.disable_bell()?;
            shard.ring.stop_alarm();
            shard.service.awake();
            rung.map_err(|e| io::Error::other(format!("the doorbell cannot be read: {e}")))?;
            shard.ring.submit_and_wait(0)?;
            shard.handle_completions();
        }
        shard.borrow_mut().quiet_ticks = 0;
    }
    cron.await;
    Ok(())
}

/// Stops the tick and switches the bell on. False when something arrived meanwhile: then there is no parking.
fn park_prepare<S: Service>(shard: &mut Shard<S>, bell: RawFd) -> io::Result<bool> {
    shard.ring.stop_tick();
    // The cancelled tick completes here, before the bell is on, so that it does not ring it.
    while shard.ring.tick_is_armed() {
        shard.ring.submit_and_wait(1)?;
        if shard.handle_completions() {
            return Ok(false);
        }
        // The kernel does not find a tick that is firing just now: it goes on, and must be stopped once more.
        shard.ring.stop_tick();
    }
    if shard.service.turn(&mut shard.ring) != Turn::Idle || !shard.service.about_to_sleep() {
        return Ok(false);
    }
    shard.ring.submit_and_wait(0)?;
    shard.ring.enable_bell(bell)?;
    if let Some(due_at_us) = shard.service.due_at_us() {
        shard.ring.start_alarm(due_at_us - clock::unix_us());
    }
    shard.ring.submit_and_wait(0)?;
    if shard.handle_completions() {
        shard.ring.stop_alarm();
        shard.ring.disable_bell()?;
        shard.service.awake();
        return Ok(false);
    }
    Ok(true)
}

/// Starts a shard on its own thread, pinned to `cpu`; `make` runs there and builds the service. The thread ends when the
/// service says `Turn::Stop`.
pub fn spawn<S, F>(name: &str, cpu: usize, make: F) -> io::Result<std::thread::JoinHandle<io::Result<()>>>
where
    S: Service + 'static,
    F: FnOnce(&SocketRing) -> io::Result<S> + Send + 'static,
{
    let thread_name = name.to_owned();
    std::thread::Builder::new().name(thread_name.clone()).spawn(move || {
        let executor = LocalExecutorBuilder::new(Placement::Fixed(cpu))
            .name(&thread_name)
            .preempt_timer(Duration::from_millis(10))
            .make()
            .map_err(|e| io::Error::other(format!("the executor of {thread_name} cannot start: {e}")))?;
        executor.run(async move {
            let ring = SocketRing::new()?;
            let service = make(&ring)?;
            run(service, ring).await
        })
    })
}
