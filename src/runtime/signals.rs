//! The signals that ask the server to end: noted by a handler, looked at by the boot thread.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// The first signal that came; 0 for none.
static CAUGHT: AtomicI32 = AtomicI32::new(0);
static CAUGHT_AGAIN: AtomicBool = AtomicBool::new(false);

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
    if CAUGHT.swap(signal, Ordering::Relaxed) != 0 {
        CAUGHT_AGAIN.store(true, Ordering::Relaxed);
    }
}

/// Ignores what a server must survive (a peer that has gone, a terminal that closes) and notes what asks it to end.
pub fn catch() {
    // SAFETY: the handler only stores to atomics, which is safe in a signal; ignoring signals has no preconditions.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        let handler = on_signal as *const () as libc::sighandler_t;
        libc::signal(libc::SIGTERM, handler);
        libc::signal(libc::SIGINT, handler);
    }
}

/// The signal that asked the server to end, if one has come.
pub fn caught() -> Option<EndSignal> {
    match CAUGHT.load(Ordering::Relaxed) {
        0 => None,
        libc::SIGINT => Some(EndSignal::Interrupt),
        _ => Some(EndSignal::Terminate),
    }
}

/// Whether somebody has asked more than once.
pub fn caught_again() -> bool {
    CAUGHT_AGAIN.load(Ordering::Relaxed)
}
