//! The signals that ask the server to end: noted by a handler, looked at by the boot thread, which a bell wakes.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// The first signal that came; 0 for none.
static CAUGHT: AtomicI32 = AtomicI32::new(0);
/// The eventfd that the boot thread waits for; -1 before `catch`.
static BELL: AtomicI32 = AtomicI32::new(-1);

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
    let one = 1u64;
    // SAFETY: eight readable bytes, as an eventfd wants them; on any failure the waiting ends by its timeout.
    unsafe { libc::write(BELL.load(Ordering::Relaxed), std::ptr::from_ref(&one).cast(), 8) };
}

/// Waits until somebody rings, or until `timeout` is over.
pub fn wait(timeout: Duration) {
    let fd = BELL.load(Ordering::Relaxed);
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut rung = 0u64;
    // SAFETY: one pollfd, and eight writable bytes; the descriptor is non-blocking.
    unsafe {
        libc::poll(&mut poll, 1, timeout.as_millis() as libc::c_int);
        libc::read(fd, std::ptr::from_mut(&mut rung).cast(), 8);
    }
}

/// Ignores what a server must survive (a peer that has gone, a terminal that closes) and notes what asks it to end.
pub fn catch() -> io::Result<()> {
    // SAFETY: plain system call.
    let bell = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if bell < 0 {
        return Err(io::Error::last_os_error());
    }
    BELL.store(bell, Ordering::Relaxed);
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
