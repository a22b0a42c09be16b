//! Forked children: how a shard makes one, what the child may do, and what its parent learns of it.
//!
//! A child is forked by a shard's thread while other threads run. In the child only that thread exists, and whatever lock another
//! one held stays held. So a child
//!
//! - allocates from memory of its own (`child_memory`), to which the allocator turns in a child, and never frees what it has inherited:
//!   the code it runs needs no rules of its own about `Vec`;
//! - takes no lock, and logs through `log!`, which takes none;
//! - has closed every descriptor but the standard streams and those it was told to keep, so that no client's connection, no listener
//!   and no ring outlives the server in it;
//! - is not asked to end by the terminal's or the supervisor's signals, which the server answers for both; ends at SIGUSR1, and with
//!   the thread that has forked it, so that none is left behind;
//! - leaves by `_exit`, also when it panics: nothing of the server's is run at its end.
//!
//! Its parent sees its progress in a page that both map, and its end by `Child::poll`, to be called ten times a second or so, which
//! never waits.

use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::arena::{self, Inherit};
use super::{alloc, clock, cpus, sys};
use crate::base::log::Level;
use crate::base::Stamp;
use crate::log;

/// The exit code of a child that was asked to end, as Redis's.
const EXIT_ASKED: i32 = 255;
/// The exit code of a child that panicked where panics unwind, which is in tests only.
const EXIT_PANICKED: i32 = 101;
/// Keys between two looks at the clock.
const KEYS_PER_LOOK: u64 = 1024;
/// Finding out the copied memory takes a walk through the page tables. The next one comes after this many times as long as the last took.
const COPIED_DUTY: i64 = 100;
/// And not sooner than this.
const COPIED_PAUSE_US: i64 = 100_000;
/// Bytes of a process's name, as the kernel keeps it.
const NAME_BYTES_MAX: usize = 15;

/// What is told to the child.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForkOptions<'a> {
    /// Descriptors that the child keeps, beside the standard streams.
    pub keep: &'a [RawFd],
    /// What the log calls it in "Fork CoW for RDB".
    pub purpose: &'static str,
    /// What `ps` shows; its first word becomes the process's name. None: as the parent.
    pub title: Option<&'a [u8]>,
    /// Which shards' memory the child has.
    pub inherit: Inherit,
    /// The kernel's OOM score (`oom-score-adj`). None: as the parent.
    pub oom_score_adj: Option<i32>,
}

/// What both sides see; written by the child.
#[repr(C)]
#[derive(Default)]
struct Shared {
    keys: AtomicU64,
    copied: AtomicU64,
    copied_peak: AtomicU64,
    /// When `copied` was found, Unix microseconds; 0: never.
    copied_at_us: AtomicU64,
    written: AtomicU64,
    crc: AtomicU64,
    errno: AtomicI32,
}

/// The page that both sides map.
struct SharedPage(*const Shared);

// SAFETY: the page holds atomics only, and stays mapped until it is dropped.
unsafe impl Send for SharedPage {}

impl SharedPage {
    fn map() -> io::Result<SharedPage> {
        // SAFETY: a mapping of its own, at an address that the system chooses.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Shared>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(SharedPage(start.cast()))
    }

    fn get(&self) -> &Shared {
        // SAFETY: mapped for as long as `self` lives, and zeroes are valid for it.
        unsafe { &*self.0 }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this size; nobody refers to it any more.
        unsafe { libc::munmap(self.0.cast_mut().cast(), size_of::<Shared>()) };
    }
}

/// What a child's code gets: where to report to.
pub struct ChildContext {
    shared: SharedPage,
    purpose: &'static str,
    keys: Cell<u64>,
    look_at_us: Cell<i64>,
    found: Cell<(u64, u64)>,
}

impl ChildContext {
    /// One more key was dealt with.
    #[inline]
    pub fn key_done(&self) {
        self.keys_done(self.keys.get() + 1);
    }

    /// So many keys were dealt with by now.
    #[inline]
    pub fn keys_done(&self, keys: u64) {
        let before = self.keys.replace(keys);
        self.shared.get().keys.store(keys, Relaxed);
        if before == 0 || before / KEYS_PER_LOOK != keys / KEYS_PER_LOOK {
            let now = clock::unix_us();
            if now >= self.look_at_us.get() {
                self.find_copied(now, Level::Verbose);
            }
        }
    }

    /// Tells what was written: bytes and their checksum.
    pub fn written(&self, bytes: u64, crc: u64) {
        self.shared.get().written.store(bytes, Relaxed);
        self.shared.get().crc.store(crc, Relaxed);
    }

    /// Tells the error that made it fail.
    pub fn failed(&self, error: &io::Error) {
        self.shared.get().errno.store(error.raw_os_error().unwrap_or(libc::EIO), Relaxed);
    }

    /// Finds out how much memory is the child's alone: what it has changed, and what its parent has.
    fn find_copied(&self, began_us: i64, level: Level) {
        let copied = private_dirty_bytes();
        let now = clock::unix_us();
        self.look_at_us.set(now + ((now - began_us) * COPIED_DUTY).max(COPIED_PAUSE_US));
        let shared = self.shared.get();
        let peak = shared.copied_peak.load(Relaxed).max(copied);
        shared.copied.store(copied, Relaxed);
        shared.copied_peak.store(peak, Relaxed);
        shared.copied_at_us.store(now as u64, Relaxed);
        let (count, sum) = self.found.get();
        let (count, sum) = (count + 1, sum + copied);
        self.found.set((count, sum));
        if copied > 0 || level > Level::Verbose {
            log!(
                level,
                "Fork CoW for {}: current {} MB, peak {} MB, average {} MB",
                self.purpose,
                copied >> 20,
                peak >> 20,
                (sum / count) >> 20
            );
        }
    }
}

/// Bytes of this process's memory that no other process shares; 0 when the system does not say.
fn private_dirty_bytes() -> u64 {
    // The file is of a few hundred bytes; `fs::read` would do as well, but asks for its size first.
    let mut text = [0; 2048];
    let Ok(mut file) = std::fs::File::open("/proc/self/smaps_rollup") else { return 0 };
    let Ok(size) = io::Read::read(&mut file, &mut text) else { return 0 };
    let text = std::str::from_utf8(&text[..size]).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    let kib =
        line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// How far a child is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub keys: u64,
    /// Memory that was copied because one side wrote to it, bytes: when last looked at, and at most.
    pub copied_bytes: u64,
    pub copied_bytes_peak: u64,
    /// When `copied_bytes` was found, Unix microseconds. None: not yet.
    pub copied_at_us: Option<i64>,
    /// What the child says that it has written, once it is finished: bytes and their checksum.
    pub written_bytes: u64,
    pub crc: u64,
    /// The error that made it fail, as `errno`.
    pub errno: Option<i32>,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Exited(i32),
    /// Killed by a signal; SIGUSR1 is `Child::kill`'s.
    Killed(i32),
}

impl End {
    fn of(status: libc::c_int) -> End {
        if libc::WIFSIGNALED(status) {
            End::Killed(libc::WTERMSIG(status))
        } else if libc::WEXITSTATUS(status) == EXIT_ASKED {
            End::Killed(libc::SIGUSR1)
        } else {
            End::Exited(libc::WEXITSTATUS(status))
        }
    }
}

/// A child, from its parent's side. Dropped before its end it is killed.
pub struct Child {
    pid: libc::pid_t,
    fork_us: u64,
    shared: SharedPage,
    end: Option<End>,
}

impl Child {
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// How long the fork held this thread up, microseconds.
    pub fn fork_us(&self) -> u64 {
        self.fork_us
    }

    pub fn progress(&self) -> Progress {
        let shared = self.shared.get();
        let nonzero = |number: u64| (number != 0).then_some(number as i64);
        let errno = shared.errno.load(Relaxed);
        Progress {
            keys: shared.keys.load(Relaxed),
            copied_bytes: shared.copied.load(Relaxed),
            copied_bytes_peak: shared.copied_peak.load(Relaxed),
            copied_at_us: nonzero(shared.copied_at_us.load(Relaxed)),
            written_bytes: shared.written.load(Relaxed),
            crc: shared.crc.load(Relaxed),
            errno: (errno != 0).then_some(errno),
        }
    }

    /// Whether it has ended, and how. Never waits.
    pub fn poll(&mut self) -> io::Result<Option<End>> {
        self.look(libc::WNOHANG)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> io::Result<End> {
        loop {
            if let Some(end) = self.look(0)? {
                return Ok(end);
            }
        }
    }

    /// Asks it to end, which it does at once; `poll` then says `Killed(SIGUSR1)`.
    pub fn kill(&self) {
        if self.end.is_none() {
            // SAFETY: sends a signal to a child that has not been waited for, so the number is still its own.
            unsafe { libc::kill(self.pid, libc::SIGUSR1) };
        }
    }

    fn look(&mut self, flags: libc::c_int) -> io::Result<Option<End>> {
        if self.end.is_none() {
            self.end = wait_for(self.pid, flags)?;
        }
        Ok(self.end)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.end.is_some() {
            return;
        }
        // SAFETY: as in `kill`.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        // The end of a large process takes a while.
        if !matches!(wait_for(self.pid, libc::WNOHANG), Ok(Some(_))) {
            unpoisoned(ORPHANS.lock()).push(self.pid);
        }
    }
}

fn wait_for(pid: libc::pid_t, flags: libc::c_int) -> io::Result<Option<End>> {
    let mut status = 0;
    // SAFETY: writes one integer.
    match unsafe { libc::waitpid(pid, &mut status, flags) } {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            error => Err(error),
        },
        0 => Ok(None),
        _ => Ok(Some(End::of(status))),
    }
}

/// One fork at a time: a shard changes what of the process's memory is inherited.
static FORKING: Mutex<()> = Mutex::new(());
/// Killed children that nobody has waited for; the next fork does.
static ORPHANS: Mutex<Vec<libc::pid_t>> = Mutex::new(Vec::new());

fn unpoisoned<T>(lock: Result<T, PoisonError<T>>) -> T {
    lock.unwrap_or_else(PoisonError::into_inner)
}

/// The right to fork, which one thread of the process has at a time.
pub struct Turn(#[allow(dead_code, reason = "held, not read")] MutexGuard<'static, ()>);

impl Turn {
    /// Waits while other shards fork. Shards do better to serve their clients meanwhile, and to come one after the other.
    pub fn take() -> Turn {
        Turn(unpoisoned(FORKING.lock()))
    }
}

/// Forks a child that does `run` and ends with the exit code that it returns. The error is the system's refusal (ENOMEM, EAGAIN); nothing is
/// left of the attempt then. Waits for its turn.
pub fn fork_child(options: &ForkOptions, run: impl FnOnce(&ChildContext) -> i32) -> io::Result<Child> {
    fork_child_in(Turn::take(), options, run)
}

/// As `fork_child`, by a thread whose turn it is.
pub fn fork_child_in(
    _turn: Turn,
    options: &ForkOptions,
    run: impl FnOnce(&ChildContext) -> i32,
) -> io::Result<Child> {
    unpoisoned(ORPHANS.lock()).retain(|pid| matches!(wait_for(*pid, libc::WNOHANG), Ok(None)));
    let shared = SharedPage::map()?;
    let cpus = cpus::of_process();
    let parent = std::process::id();
    let began = Stamp::now();
    // No signal may come to the child before it has handlers of its own.
    let mask = sys::block_signals();
    let forked = arena::while_inherited(options.inherit, || {
        // SAFETY: the child does not return from `be_child`, and keeps the rules that this module's comment lists.
        match unsafe { libc::fork() } {
            // SAFETY: forked just now.
            0 => unsafe { be_child(parent, cpus, mask, options, shared, run) },
            -1 => Err(io::Error::last_os_error()),
            pid => Ok((pid, shared)),
        }
    });
    sys::restore_signals(&mask);
    let (pid, shared) = forked??;
    let fork_us = Stamp::now().nanos_since(began) / 1000;
    Ok(Child { pid, fork_us, shared, end: None })
}

/// The whole life of a child.
///
/// # Safety
/// This process has just been forked, and has one thread.
unsafe fn be_child(
    parent: u32,
    cpus: Option<cpus::Set>,
    mask: sys::SignalMask,
    options: &ForkOptions,
    shared: SharedPage,
    run: impl FnOnce(&ChildContext) -> i32,
) -> ! {
    // SAFETY: by the contract above this is a child with one thread.
    unsafe {
        alloc::enter_child();
        sys::die_with_parent(parent);
        set_handlers();
        sys::restore_signals(&mask);
        sys::close_all_but(options.keep);
        // What follows serves others, and the child does its work without it.
        if let Some(score) = options.oom_score_adj {
            let _ = std::fs::write("/proc/self/oom_score_adj", score.to_string());
        }
        if let Some(cpus) = cpus {
            // A shard is pinned to its core, which it needs for itself.
            cpus.use_in_thread();
        }
        if let Some(title) = options.title {
            sys::set_title_of_child(title);
            let name = title.split(|byte| *byte == b' ').next().unwrap_or_default();
            sys::set_thread_name(&name[..name.len().min(NAME_BYTES_MAX)]);
        }
        let code = catch_unwind(AssertUnwindSafe(|| {
            let context = ChildContext {
                shared,
                purpose: options.purpose,
                keys: Cell::new(0),
                look_at_us: Cell::new(0),
                found: Cell::new((0, 0)),
            };
            let code = run(&context);
            if code == 0 {
                context.find_copied(clock::unix_us(), Level::Notice);
            }
            code
        }));
        libc::_exit(code.unwrap_or(EXIT_PANICKED))
    }
}

/// The server's handlers speak to the server's threads. Those for crashes stay.
///
/// # Safety
/// To be called in a child only.
unsafe fn set_handlers() {
    // SAFETY: by the contract above this is a child with one thread.
    unsafe {
        extern "C" fn on_end(_: libc::c_int) {
            log!(Level::Notice, "Received SIGUSR1 in child, exiting now.");
            // SAFETY: ends the process without running anything.
            unsafe { libc::_exit(EXIT_ASKED) };
        }
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
        libc::signal(libc::SIGUSR1, on_end as *const () as libc::sighandler_t);
    }
}
