//! What a crash leaves behind: a report in the log, in the frame that tools for Redis look for, and then the signal's
//! ordinary end of the process, core dump included.
//!
//! A fault may come at any instruction, so the report of a signal allocates nothing: addresses are printed with their
//! offset into the program's file, for `addr2line`. A panic is at a defined place, and its stack is printed with names.

use std::alloc::{handle_alloc_error, Layout};
use std::backtrace::Backtrace;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::log::{self as server_log, Level};
use crate::log;

/// Frames of a stack that are printed.
const FRAMES_MAX: usize = 100;
const SIGNALS: [(libc::c_int, &str); 5] = [
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGABRT, "SIGABRT"),
];
const START: &str = "\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n";
const STACK: &str = "\n------ STACK TRACE ------\n";
const END: &str = "\n=== REDIS BUG REPORT END. ===\n\n";

/// `crash-log-enabled`.
static ENABLED: AtomicBool = AtomicBool::new(false);
/// One report is enough: a panic ends in an abort, which is a signal again.
static REPORTED: AtomicBool = AtomicBool::new(false);

/// Has crashes reported from now on, or no longer.
pub fn enable_reports(enabled: bool) {
    ENABLED.store(enabled, Ordering::Relaxed);
}

/// Installs the handlers; once, before threads start. A panic anywhere ends the process: a data set of which one
/// shard has died is not to be served.
pub fn install() {
    std::panic::set_hook(Box::new(|panic| {
        if begin_report() {
            log!(Level::Warning, "=== ASSERTION FAILED ===");
            log!(Level::Warning, "==> {panic}");
            server_log::write_raw(STACK);
            server_log::write_raw(Backtrace::force_capture().to_string());
            server_log::write_raw(END);
        } else {
            log!(Level::Warning, "{panic}");
        }
        std::process::abort();
    }));
    // On the thread's own stack: the alternate ones of Rust's threads are too small for a line of the log, and a stack
    // that has overflowed has no report to give.
    // SAFETY: an all-zero sigaction is valid; the handler has the signature that SA_SIGINFO asks for. The first call of
    // `backtrace` loads a library, which a handler must not do.
    unsafe {
        let mut unused = [std::ptr::null_mut(); 1];
        libc::backtrace(unused.as_mut_ptr(), 1);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_RESETHAND;
        for (signal, _) in SIGNALS {
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// Whether a report is wanted and none has been made.
fn begin_report() -> bool {
    if !ENABLED.load(Ordering::Relaxed) || REPORTED.swap(true, Ordering::Relaxed) {
        return false;
    }
    server_log::write_raw(START);
    true
}

extern "C" fn on_signal(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    if begin_report() {
        // SAFETY: the kernel gives a valid siginfo to a handler installed with SA_SIGINFO.
        let (code, address, sender) = unsafe { ((*info).si_code, (*info).si_addr(), (*info).si_pid()) };
        let name = SIGNALS.iter().find(|(number, _)| *number == signal).map_or("?", |(_, name)| name);
        log!(Level::Warning, "Gyre {} crashed by signal: {signal} ({name}), si_code: {code}", crate::VERSION);
        if matches!(signal, libc::SIGSEGV | libc::SIGBUS) {
            log!(Level::Warning, "Accessing address: {address:p}");
        }
        if code <= libc::SI_USER {
            log!(Level::Warning, "Killed by PID: {sender}");
        }
        server_log::write_raw(STACK);
        print_stack();
        server_log::write_raw(END);
    }
    // SAFETY: the default action was restored when the handler began (SA_RESETHAND), so this ends the process.
    unsafe { libc::raise(signal) };
}

fn print_stack() {
    let mut frames = [std::ptr::null_mut(); FRAMES_MAX];
    // SAFETY: room for as many frames as it is told.
    let count = unsafe { libc::backtrace(frames.as_mut_ptr(), FRAMES_MAX as libc::c_int) };
    for (number, frame) in frames.iter().take(count.max(0) as usize).enumerate() {
        // SAFETY: an all-zero Dl_info is valid; the function looks the address up and reads nothing there.
        let base = unsafe {
            let mut found: libc::Dl_info = std::mem::zeroed();
            libc::dladdr(*frame, &mut found);
            found.dli_fbase
        };
        let offset = (*frame as usize).wrapping_sub(base as usize);
        log!(Level::Warning, "{number:2}: {:p} (offset {offset:#x} of the file at {base:p})", *frame);
    }
}

/// Writes where writing is not allowed (DEBUG SEGFAULT).
pub fn segfault() -> ! {
    // SAFETY: maps a fresh page; nothing else is there.
    let page = unsafe {
        libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANON, -1, 0)
    };
    // SAFETY: the page is mapped; that it may not be written is the point, and ends the process.
    unsafe { page.cast::<u8>().write_volatile(b'x') };
    std::process::abort()
}

/// As the allocator does when the system has no memory left (DEBUG OOM).
pub fn out_of_memory(bytes: usize) -> ! {
    log!(Level::Warning, "Out Of Memory allocating {bytes} bytes!");
    match Layout::from_size_align(bytes, 1) {
        Ok(layout) => handle_alloc_error(layout),
        Err(_) => std::process::abort(),
    }
}
