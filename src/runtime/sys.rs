//! Calls into the C library that need `unsafe`, each behind a small safe function: local time, locales, file name
//! patterns, syslog, and turning into a daemon.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A moment in the machine's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    pub year: i32,
    /// 0 is January.
    pub month: usize,
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
}

/// The local time of a Unix time, seconds.
pub fn local_time(unix_seconds: i64) -> LocalTime {
    // SAFETY: `tm` is plain data for which all zeroes is a valid value.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    let seconds: libc::time_t = unix_seconds;
    // SAFETY: both pointers are to live locals; localtime_r writes nothing else.
    unsafe { libc::localtime_r(&seconds, &mut tm) };
    LocalTime {
        year: tm.tm_year + 1900,
        month: tm.tm_mon.clamp(0, 11) as usize,
        day: tm.tm_mday as u32,
        hour: tm.tm_hour as u32,
        minute: tm.tm_min as u32,
        second: tm.tm_sec as u32,
    }
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

/// Opens the connection to syslog. The name is kept for the life of the process, as the C library keeps its address.
pub fn syslog_open(ident: &str, facility: i32) {
    let ident = CString::new(ident).unwrap_or_default();
    let ident: &'static CStr = Box::leak(ident.into_boxed_c_str());
    // SAFETY: `ident` lives for ever.
    unsafe {
        libc::openlog(
            ident.as_ptr(),
            libc::LOG_PID | libc::LOG_NDELAY | libc::LOG_NOWAIT,
            facility,
        )
    };
}

/// Sends one message to syslog.
pub fn syslog_send(priority: i32, message: &str) {
    let Ok(message) = CString::new(message) else {
        return;
    };
    // SAFETY: the format takes one string, which ends with a zero byte.
    unsafe { libc::syslog(priority, c"%s".as_ptr(), message.as_ptr()) };
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
    let threads = std::fs::read_dir("/proc/self/task")
        .map(Iterator::count)
        .unwrap_or(1);
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

/// Starts a new session, away from the terminal.
pub fn new_session() -> io::Result<()> {
    // SAFETY: takes no argument, changes nothing in memory.
    match unsafe { libc::setsid() } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Makes standard input, output and error the given file.
pub fn replace_standard_streams(file: &std::fs::File) -> io::Result<()> {
    for stream in [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: `file` is open; the standard streams are never owned by a Rust object that closes them.
        if unsafe { libc::dup2(file.as_raw_fd(), stream) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Stops this process until it is continued, which tells upstart that it is ready.
pub fn stop_self() {
    // SAFETY: raising a signal touches no memory.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Takes this process and its children out of transparent huge pages.
pub fn disable_transparent_huge_pages() -> io::Result<()> {
    // SAFETY: this option reads its integer arguments only.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
