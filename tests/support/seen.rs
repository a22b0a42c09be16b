//! What a test sees of a server from outside, and how long it waits to see it; and the room that a test with thousands of
//! clients needs for itself.

use std::time::{Duration, Instant};

use super::Client;

/// How long the server may take to notice that clients have left.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A field of INFO that is a number.
pub fn info(client: &mut Client, field: &str) -> u64 {
    let text = client.call(&["INFO", "everything"]).text();
    let prefix = format!("{field}:");
    let value = text.lines().find_map(|line| line.strip_prefix(&prefix));
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("INFO has no number {field}:\n{text}"))
}

/// Waits until `done`, or until it is too late for it.
pub fn eventually(done: impl FnMut() -> bool) -> bool {
    within(SETTLE_TIMEOUT, done)
}

/// Waits until `count` has gone down to `wanted`, for as long as it goes down at all: on a machine that has much to do,
/// what many clients have left behind takes its time.
pub fn goes_down_to(wanted: u64, mut count: impl FnMut() -> u64) -> bool {
    let mut least = u64::MAX;
    while least > wanted {
        if !eventually(|| count() < least) {
            return false;
        }
        least = count().min(least - 1);
    }
    true
}

pub fn within(timeout: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        if done() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Raises this process's limit of open files as far as it goes. Returns the limit.
pub fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls are given a valid `rlimit` that outlives them.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        let wanted = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) == 0 {
            limit = wanted;
        }
    }
    limit.rlim_cur
}
