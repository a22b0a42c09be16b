//! Counts and times replies. One meter serves all connections of a run.
//!
//! Latency runs from the time a request was meant to be sent. In a closed loop that is when it was sent; in
//! an open loop it is its place in the schedule, so that a server that stalls is charged for every request it
//! kept from being sent on time (no coordinated omission).

use crate::replies::Outcome;
use crate::workload::{Command, Request};
use hdrhistogram::Histogram;

/// Longer latencies count as this long: 100 seconds.
const LATENCY_MAX_NS: u64 = 100_000_000_000;
/// Significant decimal digits kept of a latency.
const DIGITS: u8 = 3;

/// An empty histogram of nanoseconds.
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, DIGITS)
        .expect("constant bounds that the crate's documentation allows")
}

/// What went wrong, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    pub error_replies: u64,
    pub wrong_replies: u64,
    pub unanswered: u64,
    pub lost_connections: u64,
    /// The first of them, in words.
    pub first: Option<String>,
}

impl Failures {
    /// True when every request was answered as it should be.
    pub fn none(&self) -> bool {
        *self == Self::default()
    }
}

/// Replies of a run.
pub struct Meter {
    /// Only requests meant to be sent in here are timed, in nanoseconds since the run began.
    window_ns: std::ops::Range<u64>,
    histograms: [Option<Histogram<u64>>; Command::ALL.len()],
    /// Replies of any kind since the run began.
    pub replies: u64,
    pub misses: u64,
    pub failures: Failures,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            window_ns: u64::MAX..u64::MAX,
            histograms: Default::default(),
            replies: 0,
            misses: 0,
            failures: Failures::default(),
        }
    }
}

impl Meter {
    /// Times requests from now on; what came before was warm-up.
    pub fn open_window(&mut self, now_ns: u64) {
        self.window_ns = now_ns..u64::MAX;
        self.misses = 0;
    }

    /// Times no request that was meant to be sent later than now.
    pub fn close_window(&mut self, now_ns: u64) {
        self.window_ns.end = now_ns;
    }

    /// Takes a reply that arrived at `now_ns`.
    pub fn record(&mut self, request: Request, outcome: Outcome, now_ns: u64) {
        self.replies += 1;
        match outcome {
            Outcome::Good => {}
            Outcome::Miss => self.misses += 1,
            Outcome::Error => self.failures.error_replies += 1,
            Outcome::Wrong => self.failures.wrong_replies += 1,
        }
        if self.window_ns.contains(&request.intended_ns) {
            self.histograms[request.command as usize]
                .get_or_insert_with(new_histogram)
                .saturating_record(now_ns.saturating_sub(request.intended_ns).max(1));
        }
    }

    /// Latencies of each command that was timed, in nanoseconds.
    pub fn by_command(&self) -> impl Iterator<Item = (Command, &Histogram<u64>)> {
        Command::ALL
            .into_iter()
            .filter_map(|command| Some((command, self.histograms[command as usize].as_ref()?)))
    }

    /// Latencies of all commands together, in nanoseconds.
    pub fn overall(&self) -> Histogram<u64> {
        let mut all = new_histogram();
        for (_, histogram) in self.by_command() {
            all.add(histogram).expect("bounds are the same");
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(command: Command, intended_ns: u64) -> Request {
        Request { command, draw: 0, intended_ns }
    }

    #[test]
    fn only_requests_meant_for_the_window_are_timed_and_from_their_intended_time() {
        let mut meter = Meter::default();
        meter.record(request(Command::Get, 5), Outcome::Good, 10);
        meter.open_window(100);
        meter.record(request(Command::Get, 99), Outcome::Good, 5_000);
        meter.record(request(Command::Get, 100), Outcome::Good, 300);
        meter.record(request(Command::Set, 150), Outcome::Good, 350);
        meter.close_window(200);
        meter.record(request(Command::Get, 199), Outcome::Good, 399);
        meter.record(request(Command::Get, 200), Outcome::Good, 9_000);
        assert_eq!(meter.replies, 6);
        assert_eq!(meter.overall().len(), 3);
        assert_eq!(meter.overall().max(), 200);
        let commands: Vec<_> = meter.by_command().map(|(command, _)| command).collect();
        assert_eq!(commands, [Command::Get, Command::Set]);
    }

    #[test]
    fn bad_outcomes_are_failures_and_misses_are_not() {
        let mut meter = Meter::default();
        meter.record(request(Command::Get, 0), Outcome::Miss, 1);
        assert!(meter.failures.none());
        meter.record(request(Command::Get, 0), Outcome::Error, 1);
        meter.record(request(Command::Get, 0), Outcome::Wrong, 1);
        assert_eq!((meter.misses, meter.failures.error_replies, meter.failures.wrong_replies), (1, 1, 1));
    }
}
