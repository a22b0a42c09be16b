//! Calls into the C library that need `unsafe`, each behind a small safe function: local time, locales, file name
//! patterns, turning into a daemon, and the process title.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Has this thread step back behind others that want its core. If it fails the thread is as it was.
pub fn be_nice(niceness: i32) {
    // On Linux this is about the thread that calls.
    let _ = rustix::process::setpriority_process(None, niceness);
}

/// Seconds that local time is ahead of UTC at a Unix time.
pub fn utc_offset_seconds(unix_seconds: i64) -> i64 {
    // SAFETY: `tm` is plain data for which all zeroes is a valid value.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    let seconds: libc::time_t = unix_seconds;
    // SAFETY: both pointers are to live locals; localtime_r writes nothing else.
    unsafe { libc::localtime_r(&seconds, &mut tm) };
    tm.tm_gmtoff
}

/// Whether the machine knows this locale for collation. The empty name is the environment's.
pub fn locale_exists(name: &CStr) -> bool {
    if name.is_empty() {
        return true;
    }
    // SAFETY: `name` ends with a zero byte; the base is null, which makes a new object that is freed here.
    unsafe {
        let locale = libc::newlocale(libc::LC_COLLATE_MASK, name.as_ptr(), std::ptr::null_mut());
        if locale.is_null() {
            return false;
        }
        libc::freelocale(locale);
    }
    true
}

/// The files that match a shell pattern, sorted; none when it cannot be read.
pub fn glob(pattern: &Path) -> Vec<PathBuf> {
    let Ok(pattern) = CString::new(pattern.as_os_str().as_bytes()) else {
        return Vec::new();
    };
    // SAFETY: `glob_t` is plain data for which all zeroes is a valid value.
    let mut found: libc::glob_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pattern ends with a zero byte, `found` is live, no callback is given.
    let status = unsafe { libc::glob(pattern.as_ptr(), 0, None, &mut found) };
    let mut paths = Vec::new();
    if status == 0 {
        for index in 0..found.gl_pathc {
            // SAFETY: after success gl_pathv holds gl_pathc pointers to zero-ended strings until globfree.
            let path = unsafe { CStr::from_ptr(*found.gl_pathv.add(index)) };
            paths.push(PathBuf::from(OsStr::from_bytes(path.to_bytes())));
        }
    }
    // SAFETY: `found` was given to glob, or is zeroes, which globfree takes too.
    unsafe { libc::globfree(&mut found) };
    paths
}

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Parent,
    Child,
}

/// Forks while there is one thread only, to continue as the child. An error when other threads run: the child would be
/// left with the locks that they hold.
pub fn fork_single_threaded() -> io::Result<Side> {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count).unwrap_or(1);
    if threads > 1 {
        return Err(io::Error::other("fork refused: other threads are running"));
    }
    // SAFETY: no other thread exists, so the child may use everything that the parent had.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        _ => Ok(Side::Parent),
    }
}

/// The signals that a thread does not take.
#[derive(Clone, Copy)]
pub struct SignalMask(libc::sigset_t);

/// Keeps all signals from this thread, and returns what was kept from it before.
pub fn block_signals() -> SignalMask {
    // SAFETY: `sigset_t` is plain data for which all zeroes is a valid value; both pointers are to live locals.
    unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        SignalMask(before)
    }
}

pub fn restore_signals(mask: &SignalMask) {
    // SAFETY: reads a set that `block_signals` has filled.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &mask.0, std::ptr::null_mut()) };
}

/// Has this process killed when the thread that forked it ends, or at once when that has happened already.
pub fn die_with_parent(parent: u32) {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    if std::os::unix::process::parent_id() != parent {
        // SAFETY: ends the process here, and nothing of it runs any more.
        unsafe { libc::_exit(1) };
    }
}

/// Closes every file but the standard streams and those in `keep`.
pub fn close_all_but(keep: &[RawFd]) {
    let close = |first: RawFd, last: RawFd| {
        if first <= last {
            // SAFETY: only a forked child does this, which uses none of these files.
            unsafe { libc::close_range(first as libc::c_uint, last as libc::c_uint, 0) };
        }
    };
    let mut first = libc::STDERR_FILENO + 1;
    while let Some(next) = keep.iter().copied().filter(|fd| *fd >= first).min() {
        close(first, next - 1);
        first = next + 1;
    }
    close(first, RawFd::MAX);
}

/// What the kernel calls this thread; for the only thread of a process, the process.
pub fn set_thread_name(name: &[u8]) {
    if let Ok(name) = CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// Has the system begin to write a stretch of a file to the disk.
pub fn begin_sync(file: &File, offset: u64, len: u64) -> io::Result<()> {
    sync_range(file, offset, len, libc::SYNC_FILE_RANGE_WRITE)
}

/// Waits until a stretch of a file has been written to the disk. That the file may be found there takes a sync of all of it.
pub fn finish_sync(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let flags =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    sync_range(file, offset, len, flags)
}

fn sync_range(file: &File, offset: u64, len: u64, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: takes numbers; the file is open.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), offset as i64, len as i64, flags) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // Some file systems have no such thing.
            error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE)) => {
                Ok(())
            }
            error => Err(error),
        },
    }
}

/// Has every file but the standard streams closed when another program takes the process over.
pub fn close_files_on_exec() -> io::Result<()> {
    // SAFETY: marks descriptors only; none is closed while this program runs.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Memory of this machine, bytes.
pub fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let bytes = info.totalram * u64::from(info.mem_unit);
    // In whole pages, as sysconf has it.
    bytes - bytes % rustix::param::page_size() as u64
}

/// Memory of this process that is in RAM, bytes; 0 when the system does not say.
pub fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Whose use of the processor is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuOf {
    Process,
    Children,
    Thread,
}

/// Processor time used in the system and in the program, microseconds.
pub fn cpu_times_us(of: CpuOf) -> (i64, i64) {
    let who = match of {
        CpuOf::Process => libc::RUSAGE_SELF,
        CpuOf::Children => libc::RUSAGE_CHILDREN,
        CpuOf::Thread => libc::RUSAGE_THREAD,
    };
    // SAFETY: `rusage` is plain data for which all zeroes is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: writes one rusage; an error leaves the zeroes.
    unsafe { libc::getrusage(who, &mut usage) };
    let us = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
    (us(usage.ru_stime), us(usage.ru_utime))
}

/// Name, release and machine of the system, as `uname -srm` prints them.
pub fn system_name() -> String {
    let read = |file: &str| {
        std::fs::read_to_string(format!("/proc/sys/kernel/{file}"))
            .map_or_else(|_| "?".into(), |s| s.trim().to_owned())
    };
    format!("{} {} {}", read("ostype"), read("osrelease"), std::env::consts::ARCH)
}

/// Starts a new session, away from the terminal.
pub fn new_session() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// Makes standard input, output and error the given file.
pub fn replace_standard_streams(file: &File) -> io::Result<()> {
    rustix::stdio::dup2_stdin(file)?;
    rustix::stdio::dup2_stdout(file)?;
    rustix::stdio::dup2_stderr(file)?;
    Ok(())
}

/// Stops this process until it is continued, which tells upstart that it is ready.
pub fn stop_self() {
    use rustix::process::{getpid, kill_process, Signal};
    let _ = kill_process(getpid(), Signal::STOP);
}

/// Takes this process and its children out of transparent huge pages.
pub fn disable_transparent_huge_pages() -> io::Result<()> {
    Ok(rustix::thread::disable_transparent_huge_pages(true)?)
}

/// Where the area of the title is, for forked children, which have it at the same place; 0: none was claimed.
static TITLE_START: AtomicUsize = AtomicUsize::new(0);
static TITLE_SIZE: AtomicUsize = AtomicUsize::new(0);

/// Shows `title` for this process, a forked child, if its parent has claimed the area.
pub fn set_title_of_child(title: &[u8]) {
    let (start, size) = (TITLE_START.load(Ordering::Relaxed), TITLE_SIZE.load(Ordering::Relaxed));
    if start != 0 {
        TitleArea { start: start as *mut u8, size }.set(title);
    }
}

/// The memory that `ps` shows as the command line: the block of arguments and environment that the kernel laid out. A
/// longer title than the arguments needs the environment's part too, so the environment is moved to the heap first.
#[derive(Debug)]
pub struct TitleArea {
    start: *mut u8,
    size: usize,
}

// SAFETY: the block lives as long as the process; `set_title` takes `&mut self`.
unsafe impl Send for TitleArea {}

impl TitleArea {
    /// To be called before other threads start, and after the arguments were read: afterwards `std::env::args` gives
    /// the title. None when the system does not say where the block is.
    pub fn claim() -> Option<Self> {
        const ARG_START: usize = 48;
        const ENV_END: usize = 51;
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The fields are numbered from 1; the second, in parentheses, may have blanks in it.
        let after_name = stat.rsplit_once(") ")?.1;
        let field = |number: usize| after_name.split(' ').nth(number - 3)?.parse::<usize>().ok();
        let (start, end) = (field(ARG_START)?, field(ENV_END)?);
        if start == 0 || end <= start {
            return None;
        }
        for (name, value) in std::env::vars_os() {
            std::env::set_var(name, value);
        }
        TITLE_SIZE.store(end - start, Ordering::Relaxed);
        TITLE_START.store(start, Ordering::Relaxed);
        Some(Self { start: start as *mut u8, size: end - start })
    }

    /// Shows `title`, cut to the space that there is.
    pub fn set(&mut self, title: &[u8]) {
        let length = title.len().min(self.size - 1);
        // SAFETY: the kernel mapped `size` writable bytes at `start` for the arguments and the environment. The
        // environment was moved away, and arguments that are read later still end in a zero byte.
        unsafe {
            std::ptr::copy_nonoverlapping(title.as_ptr(), self.start, length);
            std::ptr::write_bytes(self.start.add(length), 0, self.size - length);
        }
    }
}
