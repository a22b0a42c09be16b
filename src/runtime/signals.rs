//! The signals that ask the server to end: noted by a handler, looked at by the boot thread, which a bell wakes.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};

/// The first signal that came; 0 for none.
static CAUGHT: AtomicI32 = AtomicI32::new(0);
/// The eventfd that the boot thread waits for, once `catch` has made it. To read it is one atomic load, as a signal handler may.
static BELL: OnceLock<OwnedFd> = OnceLock::new();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndSignal {
    Interrupt,
    Terminate,
}

impl EndSignal {
    pub fn name(self) -> &'static str {
        match self {
            EndSignal::Interrupt => "SIGINT",
            EndSignal::Terminate => "SIGTERM",
        }
    }
}

extern "C" fn on_signal(signal: libc::c_int) {
    CAUGHT.store(signal, Ordering::Relaxed);
    ring();
}

/// Wakes the boot thread from `wait`. May be called in a signal handler.
pub fn ring() {
    if let Some(bell) = BELL.get() {
        // On any failure the waiting ends by its timeout.
        let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
    }
}

/// Waits until somebody rings, or until `timeout` is over.
pub fn wait(timeout: Duration) {
    let Some(bell) = BELL.get() else { return std::thread::sleep(timeout) };
    let _ = poll(&mut [PollFd::new(bell, PollFlags::IN)], Timespec::try_from(timeout).ok().as_ref());
    // It never waits: there is a number to read, or an error.
    let _ = rustix::io::read(bell, &mut [0; 8]);
}

/// Ignores what a server must survive (a peer that has gone, a terminal that closes) and notes what asks it to end.
pub fn catch() -> io::Result<()> {
    // A second call keeps the first bell.
    let _ = BELL.set(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    // SAFETY: the handler only stores to atomics, which is safe in a signal; ignoring signals has no preconditions.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        let handler = on_signal as *const () as libc::sighandler_t;
        libc::signal(libc::SIGTERM, handler);
        libc::signal(libc::SIGINT, handler);
    }
    Ok(())
}

/// The last signal that asked the server to end, since the last call.
pub fn take() -> Option<EndSignal> {
    match CAUGHT.swap(0, Ordering::Relaxed) {
        0 => None,
        libc::SIGINT => Some(EndSignal::Interrupt),
        _ => Some(EndSignal::Terminate),
    }
}
