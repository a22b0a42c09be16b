//! Open loop: requests are sent by a schedule, whatever the server does.
//!
//! One pacer task goes through the schedule and hands each request, with its intended time, to a connection;
//! per connection one task writes and one reads. The pacer never sleeps, because timers are a millisecond
//! coarse: it waits for a no-op to come back through the ring, which submits what is queued and collects what
//! has arrived once every microsecond or two. So an open loop uses all of its core at any rate.

use crate::connection::{receive_buffer, Socket};
use crate::replies::ReplyReader;
use crate::run::{Shared, OUTSTANDING_MAX};
use crate::workload::Request;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use tokio::sync::Notify;

/// The schedule of an open loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrivals {
    /// Requests per second, over all connections.
    pub rate: f64,
    /// Gaps drawn from the exponential distribution, as of many independent clients; otherwise all equal.
    pub poisson: bool,
}

/// Pipelines handed out before the ring gets its turn, however late the schedule is.
const ISSUES_PER_TURN_MAX: usize = 64;

struct Lane {
    socket: Rc<Socket>,
    out: RefCell<Vec<u8>>,
    pending: RefCell<VecDeque<Request>>,
    /// Something to write, or nothing ever again.
    ready: Notify,
    closed: Cell<bool>,
}

/// Starts the pacer and two tasks per connection.
pub(crate) fn start(shared: &Rc<Shared>, sockets: &[Rc<Socket>], check_values: bool, arrivals: Arrivals) {
    let lanes: Vec<_> = sockets
        .iter()
        .map(|socket| {
            Rc::new(Lane {
                socket: Rc::clone(socket),
                out: RefCell::default(),
                pending: RefCell::default(),
                ready: Notify::new(),
                closed: Cell::new(false),
            })
        })
        .collect();
    for lane in &lanes {
        let (shared, lane) = (Rc::clone(shared), Rc::clone(lane));
        let writer = Rc::clone(&lane);
        tokio_uring::spawn(async move { write(&writer).await });
        tokio_uring::spawn(async move {
            let result = read(&shared, &lane, check_values).await;
            lane.closed.set(true);
            lane.ready.notify_one();
            shared.finish(if shared.draining() { Ok(()) } else { result });
        });
    }
    let shared = Rc::clone(shared);
    tokio_uring::spawn(async move { pace(&shared, &lanes, arrivals).await });
}

async fn pace(shared: &Shared, lanes: &[Rc<Lane>], arrivals: Arrivals) {
    let mut schedule = Schedule::new(arrivals, shared.pipeline, shared.now_ns());
    let mut turn = 0;
    while !shared.draining() {
        let now_ns = shared.now_ns();
        for _ in 0..ISSUES_PER_TURN_MAX {
            if schedule.next_ns() > now_ns {
                break;
            }
            let Some(lane) = (0..lanes.len())
                .map(|step| &lanes[(turn + step) % lanes.len()])
                .find(|lane| lane.pending.borrow().len() + shared.pipeline <= OUTSTANDING_MAX)
            else {
                break;
            };
            turn = (turn + 1) % lanes.len();
            if !shared.issue(schedule.next_ns(), &mut lane.out.borrow_mut(), &mut lane.pending.borrow_mut()) {
                return;
            }
            lane.ready.notify_one();
            schedule.advance();
        }
        if tokio_uring::no_op().await.is_err() {
            return;
        }
    }
}

async fn write(lane: &Lane) {
    let mut spare = Vec::new();
    loop {
        lane.ready.notified().await;
        while !lane.out.borrow().is_empty() {
            let bytes = lane.out.replace(std::mem::take(&mut spare));
            let (result, mut sent) = lane.socket.start_write(bytes).finish().await;
            if result.is_err() {
                // The reader learns it from its end of the socket and reports it.
                lane.socket.shutdown();
                return;
            }
            sent.clear();
            spare = sent;
        }
        if lane.closed.get() {
            return;
        }
    }
}

async fn read(shared: &Shared, lane: &Lane, check_values: bool) -> Result<(), String> {
    let mut reader = ReplyReader::new(check_values);
    let mut input = receive_buffer();
    loop {
        let (result, received) = lane.socket.read(input).await;
        result.map_err(|error| format!("receiving failed: {error}"))?;
        if received.is_empty() {
            return Err("the server closed the connection".into());
        }
        shared.receive(&received, &mut reader, &mut lane.pending.borrow_mut()).map_err(|error| error.0)?;
        input = received;
    }
}

/// When requests are due.
struct Schedule {
    gap_ns: f64,
    poisson: bool,
    next_ns: f64,
    number: u64,
}

impl Schedule {
    fn new(arrivals: Arrivals, pipeline: usize, now_ns: u64) -> Self {
        Self {
            gap_ns: 1e9 * pipeline as f64 / arrivals.rate,
            poisson: arrivals.poisson,
            next_ns: now_ns as f64,
            number: 0,
        }
    }

    fn next_ns(&self) -> u64 {
        self.next_ns as u64
    }

    fn advance(&mut self) {
        self.number += 1;
        self.next_ns += if self.poisson {
            let bits = crate::keys::scramble(self.number) >> 11;
            let uniform = (bits as f64 + 0.5) / (1_u64 << 53) as f64;
            -uniform.ln() * self.gap_ns
        } else {
            self.gap_ns
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(poisson: bool, count: usize) -> Vec<u64> {
        let arrivals = Arrivals { rate: 100_000.0, poisson };
        let mut schedule = Schedule::new(arrivals, 4, 1_000);
        (0..count)
            .map(|_| {
                let due = schedule.next_ns();
                schedule.advance();
                due
            })
            .collect()
    }

    #[test]
    fn a_steady_schedule_has_equal_gaps_of_a_pipeline_each() {
        assert_eq!(times(false, 3), [1_000, 41_000, 81_000]);
    }

    #[test]
    fn a_poisson_schedule_keeps_the_rate_and_varies_the_gaps() {
        let times = times(true, 100_001);
        let gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
        assert!((mean / 40_000.0 - 1.0).abs() < 0.02, "{mean}");
        // An exponential distribution deviates by its mean.
        assert!((deviation / mean - 1.0).abs() < 0.02, "{deviation}");
    }
}
