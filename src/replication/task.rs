//! The task: what it is told, in which order it does things, and when it has something to do.
//!
//! One round: what has come is taken in (the feed first, then events: `feed` says why), the stream grows, actions are carried out, sockets
//! get what they take, clients that wait get their answers.

use std::time::Duration;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::time::{timeout_at, Instant};

use super::core::Core;
use super::event::{Event, Events, SnapshotNews};
use super::message::Answer;
use super::peer::SocketEvent;
use super::replica::Follower;

const TICK: Duration = Duration::from_millis(100);
/// What is taken in one round, so that no source starves the others.
const EVENTS_MAX: usize = 1024;

pub struct Task {
    pub core: Core,
    pub follower: Follower,
}

pub async fn run(mut core: Core, mut events: UnboundedReceiver<Event>) {
    let Some(mut sockets) = core.socket_events.take() else { return };
    let woken = core.woken.clone();
    let mut task = Task { core, follower: Follower::default() };
    let mut next_tick = Instant::now() + TICK;
    loop {
        let deadline = task.core.next_deadline().map(|from_now| Instant::now() + from_now);
        let until = deadline.map_or(next_tick, |deadline| deadline.min(next_tick));
        // Rung, or time: what there is to do is looked up.
        let _ = timeout_at(until, woken.notified()).await;
        let has_more = task.core.take_feed();
        if !task.take_events(&mut events, &mut sockets) {
            // Every sender is gone: so is the server.
            return;
        }
        if let Some(until) = task.core.sleeps_until.take() {
            tokio::time::sleep_until(until.into()).await;
            woken.notify_one();
            continue;
        }
        if Instant::now() >= next_tick {
            next_tick = Instant::now() + TICK;
            task.tick();
        }
        task.round();
        if has_more {
            woken.notify_one();
        }
        // The tasks of sockets have their turn.
        tokio::task::yield_now().await;
    }
}

impl Task {
    /// False: there will be no more.
    fn take_events(
        &mut self,
        events: &mut UnboundedReceiver<Event>,
        sockets: &mut Receiver<SocketEvent>,
    ) -> bool {
        // All that shards have said is to be known before anything is emitted.
        loop {
            match events.try_recv() {
                Ok(event) => self.event(event),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        for _ in 0..EVENTS_MAX {
            let Ok(event) = sockets.try_recv() else { return true };
            self.socket_event(event);
        }
        self.core.woken.notify_one();
        true
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Newcomer(newcomer) => self.newcomer(*newcomer),
            Event::Wait(order) => self.core.wait(order),
            Event::EndWait(asked) => self.core.end_wait(asked),
            Event::ForgetWait(asked) => self.core.forget_wait(asked),
            Event::Refresh(asked) => self.core.waiting.refresh.push(asked),
            Event::ChangeId => self.core.history.renew(super::core::new_id()),
            Event::Configure { config, version } => {
                self.follower.configure(&config);
                self.core.configure(config, version);
                self.publish();
            }
            Event::SleepUntil(until) => self.core.sleeps_until = Some(until),
            Event::ReplicaOf(order) => self.follower.order(&mut self.core, order),
            Event::Failover(asked, command) => self.failover_command(asked, command),
            Event::WritesAreHeld { hold, round, next } => self.core.writes_are_held(hold, round, next),
            Event::Follow { load, event } => self.follower.event(&mut self.core, load, event),
            Event::FeedBegan(reader) => self.core.feed_began(reader),
            Event::Snapshot(job, SnapshotNews::AtBarrier { job: of_leader, ticket, reader }) => {
                if let Some(reader) = reader {
                    self.core.feed_began(reader);
                }
                self.follower.cut_is_over();
                self.core.snapshot_at_barrier(job, of_leader, ticket);
            }
            Event::Snapshot(job, SnapshotNews::Ended { result, bytes }) => {
                if self.core.snapshot_is_ordered(job) {
                    self.follower.cut_is_over();
                }
                self.core.snapshot_ended(job, result, bytes);
            }
            Event::Snapshot(job, SnapshotNews::InFile(result)) => self.core.snapshot_in_file(job, result),
            Event::LogIsOff => self.core.log_is_off(),
            Event::LogSynced { round } => {
                self.core.log_synced(round);
                self.follower.log_is_synced(&mut self.core);
            }
        }
    }

    fn tick(&mut self) {
        self.follower.tick(&mut self.core);
        self.tick_replicas();
        self.core.tick_peers();
        self.core.drop_files();
        self.publish();
    }

    pub fn publish(&mut self) {
        let link = self.follower.facts(&self.core);
        self.core.publish(link);
    }

    fn round(&mut self) {
        self.core.emit();
        self.follower.round(&mut self.core);
        self.fail_over();
        self.core.carry_out();
        if self.core.ask_for_acks() {
            self.core.flush();
        }
        self.core.pump();
        // A replica may have been found over its limits.
        self.core.carry_out();
        self.core.throttle();
        self.core.answer_waits();
        if !self.core.waiting.refresh.is_empty() {
            self.publish();
            for asked in std::mem::take(&mut self.core.waiting.refresh) {
                self.core.answer(asked, Answer::Done);
            }
        }
    }
}

/// For threads that are not the task's.
pub fn sender(core: &Core) -> impl Fn(Event) + Send + Sync + 'static {
    let (events, woken) = (core.events.clone(), core.woken.clone());
    move |event| {
        // The task has ended with the server.
        if let Some(sender) = events.upgrade() {
            Events { sender, woken: woken.clone() }.tell(event);
        }
    }
}
