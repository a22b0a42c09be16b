//! A run: connect, warm up, measure, drain, and say what it cost.
//!
//! One thread with a tokio-uring runtime drives all connections. How requests are timed is in
//! `closed_loop` and `open_loop`; here is what both share.

use crate::closed_loop;
use crate::connection::{Address, Socket};
use crate::meter::Meter;
use crate::open_loop::{self, Arrivals};
use crate::process::{self, CpuTime};
use crate::replies::{ReplyReader, Unreadable};
use crate::workload::{Request, Workload};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// More connections than this need more descriptors than a process usually has.
pub const CONNECTIONS_MAX: usize = 16_000;
/// Requests one connection may have in flight in an open loop; the schedule waits for no one, but its memory
/// must end somewhere.
pub const OUTSTANDING_MAX: usize = 64 * 1024;
/// A run without one reply for this long is over.
const STALL_MAX: Duration = Duration::from_secs(10);
/// How often the run looks whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Until {
    After(Duration),
    Requests(u64),
}

/// A run, as the user asked for it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub address: Address,
    pub connections: usize,
    pub pipeline: usize,
    /// None: closed loop, each connection sends as soon as it has its replies.
    pub arrivals: Option<Arrivals>,
    pub warm_up: Duration,
    pub until: Until,
    pub check_values: bool,
    /// The server's process, to measure it.
    pub server_pid: Option<u32>,
    pub workload: Workload,
}

/// What the server's process used.
#[derive(Clone, Copy, Debug)]
pub struct ServerCost {
    pub cpu: CpuTime,
    pub resident_before_bytes: u64,
    pub resident_after_bytes: u64,
}

/// What a run found.
pub struct Findings {
    pub meter: Meter,
    /// Length of the measured part.
    pub seconds: f64,
    /// Replies that arrived in it.
    pub replies: u64,
    pub server: Option<ServerCost>,
    pub client_cpu: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Warming,
    Measuring,
    Draining,
}

/// State of a run that all its connections see.
pub(crate) struct Shared {
    pub workload: Workload,
    pub pipeline: usize,
    began: Instant,
    phase: Cell<Phase>,
    meter: RefCell<Meter>,
    /// Number of the next request's first key.
    next: Cell<u64>,
    /// Requests still to send while measuring.
    budget: Cell<u64>,
    in_flight: Cell<u64>,
    /// Connections that have nothing left to do.
    finished: Cell<usize>,
}

impl Shared {
    pub fn now_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Appends the next requests, at most a pipeline's worth, to `out` and `pending`; false when the run
    /// wants no more.
    pub fn issue(&self, intended_ns: u64, out: &mut Vec<u8>, pending: &mut VecDeque<Request>) -> bool {
        let mut count = self.pipeline as u64;
        match self.phase.get() {
            Phase::Warming => {}
            Phase::Measuring => {
                count = count.min(self.budget.get());
                self.budget.set(self.budget.get() - count);
            }
            Phase::Draining => return false,
        }
        for _ in 0..count {
            let request = self.workload.request(self.next.get(), intended_ns);
            let keys = self.workload.keys_in(request.command).max(1);
            self.next.set(self.next.get() + u64::from(keys));
            self.workload.append(&request, out);
            pending.push_back(request);
        }
        self.in_flight.set(self.in_flight.get() + count);
        count > 0
    }

    /// Takes what a connection received.
    pub fn receive(
        &self,
        input: &[u8],
        reader: &mut ReplyReader,
        pending: &mut VecDeque<Request>,
    ) -> Result<(), Unreadable> {
        let now_ns = self.now_ns();
        let mut meter = self.meter.borrow_mut();
        let before = meter.replies;
        let read = reader.feed(input, pending, &self.workload, |request, outcome| {
            meter.record(request, outcome, now_ns);
        });
        self.in_flight.set(self.in_flight.get() - (meter.replies - before));
        if let Some(error) = &reader.first_error {
            meter.failures.first.get_or_insert_with(|| error.clone());
        }
        read
    }

    pub fn draining(&self) -> bool {
        self.phase.get() == Phase::Draining
    }

    /// A connection has nothing left to do, or failed.
    pub fn finish(&self, result: Result<(), String>) {
        self.finished.set(self.finished.get() + 1);
        if let Err(error) = result {
            let mut meter = self.meter.borrow_mut();
            meter.failures.lost_connections += 1;
            meter.failures.first.get_or_insert(error);
        }
    }
}

/// Carries the plan out.
pub fn run(plan: &Plan) -> io::Result<Findings> {
    let entries = (plan.connections * 4).next_power_of_two().clamp(256, 16_384) as u32;
    let mut ring = tokio_uring::uring_builder();
    // One thread issues and reaps: completions wait for its next system call and interrupt nothing.
    ring.setup_single_issuer().setup_coop_taskrun().setup_taskrun_flag().setup_cqsize(entries * 2);
    let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(entries).uring_builder(&ring))?;
    runtime.block_on(drive(plan))
}

async fn drive(plan: &Plan) -> io::Result<Findings> {
    let sockets = (0..plan.connections)
        .map(|_| Socket::connect(&plan.address).map(Rc::new))
        .collect::<io::Result<Vec<_>>>()?;
    let shared = Rc::new(Shared {
        workload: plan.workload.clone(),
        pipeline: plan.pipeline,
        began: Instant::now(),
        phase: Cell::new(Phase::Warming),
        meter: RefCell::default(),
        next: Cell::new(0),
        budget: Cell::new(match plan.until {
            Until::Requests(requests) => requests,
            Until::After(_) => u64::MAX,
        }),
        in_flight: Cell::new(0),
        finished: Cell::new(0),
    });
    let start = Snapshot::take(plan.server_pid)?;
    let start = if plan.warm_up.is_zero() {
        shared.phase.set(Phase::Measuring);
        shared.meter.borrow_mut().open_window(0);
        start
    } else {
        start_connections(plan, &shared, &sockets);
        tokio::time::sleep(plan.warm_up).await;
        let snapshot = Snapshot::take(plan.server_pid)?;
        shared.phase.set(Phase::Measuring);
        shared.meter.borrow_mut().open_window(shared.now_ns());
        snapshot
    };
    let measured_from = Instant::now();
    let replies_before = shared.meter.borrow().replies;
    if plan.warm_up.is_zero() {
        start_connections(plan, &shared, &sockets);
    }
    let stalled = match plan.until {
        Until::After(duration) => {
            tokio::time::sleep(duration).await;
            false
        }
        Until::Requests(_) => {
            until_idle(&shared, || shared.budget.get() == 0 && shared.in_flight.get() == 0).await
        }
    };
    let seconds = measured_from.elapsed().as_secs_f64();
    let replies = shared.meter.borrow().replies - replies_before;
    shared.meter.borrow_mut().close_window(shared.now_ns());
    shared.phase.set(Phase::Draining);
    let end = Snapshot::take(plan.server_pid)?;
    if !stalled {
        until_idle(&shared, || shared.in_flight.get() == 0).await;
    }
    let unanswered = shared.in_flight.get();
    // Reads that nothing will answer end with the connection; the ring can only be dropped without them.
    for socket in &sockets {
        socket.shutdown();
    }
    until_idle(&shared, || shared.finished.get() == sockets.len()).await;
    let mut meter = std::mem::take(&mut *shared.meter.borrow_mut());
    if unanswered > 0 {
        meter.failures.unanswered = unanswered;
        let text = format!("{unanswered} requests were not answered");
        meter.failures.first.get_or_insert(text);
    }
    Ok(Findings {
        meter,
        seconds,
        replies,
        server: end.server_since(&start),
        client_cpu: end.client.since(&start.client).total,
    })
}

fn start_connections(plan: &Plan, shared: &Rc<Shared>, sockets: &[Rc<Socket>]) {
    match plan.arrivals {
        None => closed_loop::start(shared, sockets, plan.check_values),
        Some(arrivals) => open_loop::start(shared, sockets, plan.check_values, arrivals),
    }
}

/// Waits until `idle`; true when replies have stopped coming before that, or all connections are lost.
async fn until_idle(shared: &Shared, idle: impl Fn() -> bool) -> bool {
    let mut last = (shared.meter.borrow().replies, Instant::now());
    while !idle() {
        let lost = shared.meter.borrow().failures.lost_connections;
        if last.1.elapsed() > STALL_MAX || lost > 0 {
            return true;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let replies = shared.meter.borrow().replies;
        if replies != last.0 {
            last = (replies, Instant::now());
        }
    }
    false
}

struct Snapshot {
    server: Option<(CpuTime, u64)>,
    client: CpuTime,
}

impl Snapshot {
    fn take(server_pid: Option<u32>) -> io::Result<Self> {
        let server = match server_pid {
            Some(pid) => Some((process::cpu_time(pid)?, process::resident_bytes(pid)?)),
            None => None,
        };
        Ok(Self { server, client: process::cpu_time(std::process::id())? })
    }

    fn server_since(&self, start: &Self) -> Option<ServerCost> {
        let (cpu_before, resident_before_bytes) = start.server?;
        let (cpu, resident_after_bytes) = self.server?;
        Some(ServerCost { cpu: cpu.since(&cpu_before), resident_before_bytes, resident_after_bytes })
    }
}
