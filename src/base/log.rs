//! The server's log: one line a message, in Redis's format, to standard output or `logfile`, and to syslog.
//!
//! `PID:ROLE DD Mon YYYY HH:MM:SS.mmm LEVEL message`. A line is built on the stack and written with one call to a file
//! that is opened for it (so that it may be moved away at any time). Nothing is allocated and no lock is taken, so
//! every thread, a forked child and a crashing process may log. A message that cannot be written is lost: there is
//! nobody to tell.

use super::text::c_text;
use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU8, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// A longer line is cut.
const LINE_BYTES_MAX: usize = 4096;
/// Time zones change their offset at a multiple of this.
const OFFSET_VALID_SECONDS: i64 = 15 * 60;
const SYSLOG_SOCKET: &str = "/dev/log";

/// How serious a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Verbose,
    Notice,
    Warning,
}

impl Level {
    fn mark(self) -> char {
        match self {
            Level::Debug => '.',
            Level::Verbose => '-',
            Level::Notice => '*',
            Level::Warning => '#',
        }
    }

    /// syslog's severity.
    fn severity(self) -> u8 {
        match self {
            Level::Debug => 7,
            Level::Verbose => 6,
            Level::Notice => 5,
            Level::Warning => 4,
        }
    }
}

/// What the process is, told in every line. A child is known by its process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Master,
    Replica,
    Sentinel,
}

/// Lines go to syslog too.
#[derive(Clone, Debug)]
pub struct Syslog {
    pub ident: Vec<u8>,
    /// The facility's number in RFC 3164, section 4.1.1.
    pub facility: u8,
}

/// Where the log goes.
#[derive(Clone, Debug)]
pub struct Options {
    /// None: standard output.
    pub file: Option<PathBuf>,
    pub syslog: Option<Syslog>,
    /// The lowest level that is logged; none: nothing is.
    pub lowest: Option<Level>,
    /// Seconds that local time is ahead of UTC at a Unix time.
    pub utc_offset: fn(i64) -> i64,
}

/// What does not change while the server runs.
struct Output {
    file: Option<PathBuf>,
    syslog: Option<Syslog>,
    utc_offset: fn(i64) -> i64,
}

static OUTPUT: OnceLock<Output> = OnceLock::new();
/// The lowest `Level` that is logged; one above the highest for none.
static LEVEL: AtomicU8 = AtomicU8::new(Level::Notice as u8);
static ROLE: AtomicU8 = AtomicU8::new(b'M');
/// The process that logs as itself and not as a child; 0 until it is known.
static SERVER_PID: AtomicU32 = AtomicU32::new(0);
/// The local offset from UTC, and the span of `OFFSET_VALID_SECONDS` that it was found for.
static OFFSET_SECONDS: AtomicI64 = AtomicI64::new(0);
static OFFSET_SPAN: AtomicI64 = AtomicI64::new(i64::MIN);

/// Sends the log where `options` say. To be called once, by the process that serves (after it became a daemon); before,
/// lines go to standard output, and their time is UTC.
pub fn set_up(options: Options) {
    let Options { file, syslog, lowest, utc_offset } = options;
    // A second call would have nothing new to say: these directives are immutable.
    let _ = OUTPUT.set(Output { file, syslog, utc_offset });
    SERVER_PID.store(std::process::id(), Relaxed);
    set_level(lowest);
    refresh_offset(unix_time().0);
}

/// The lowest level that is logged; none: nothing is.
pub fn set_level(lowest: Option<Level>) {
    LEVEL.store(lowest.map_or(Level::Warning as u8 + 1, |level| level as u8), Relaxed);
}

pub fn set_role(role: Role) {
    let letter = match role {
        Role::Master => b'M',
        Role::Replica => b'S',
        Role::Sentinel => b'X',
    };
    ROLE.store(letter, Relaxed);
}

/// Whether a message of this level is logged at all.
pub fn enabled(level: Level) -> bool {
    level as u8 >= LEVEL.load(Relaxed)
}

/// Logs a message: `log!(Level::Notice, "Ready to accept connections {kind}")`. Nothing is formatted when the level is
/// not logged.
#[macro_export]
macro_rules! log {
    ($level:expr, $($message:tt)+) => {
        if $crate::base::log::enabled($level) {
            $crate::base::log::write($level, format_args!($($message)+));
        }
    };
}

/// As `log!`, for a message with bytes in it that a client or a file has given: pieces as `text!` takes them. It may allocate.
#[macro_export]
macro_rules! log_text {
    ($level:expr, $($piece:expr),+ $(,)?) => {
        if $crate::base::log::enabled($level) {
            $crate::base::log::write_bytes($level, &$crate::text!($($piece),+));
        }
    };
}

/// Logs a message whatever the level; use `log!`.
pub fn write(level: Level, message: fmt::Arguments) {
    write_message(level, Message::Formatted(message));
}

/// Logs a message whatever the level; use `log_text!`. The log has the bytes as they are, up to the first zero byte, as Redis's has.
pub fn write_bytes(level: Level, message: &[u8]) {
    write_message(level, Message::Bytes(c_text(message)));
}

/// What is to be logged.
#[derive(Clone, Copy)]
enum Message<'a> {
    Formatted(fmt::Arguments<'a>),
    Bytes(&'a [u8]),
}

fn write_message(level: Level, message: Message) {
    let (seconds, milliseconds) = unix_time();
    let pid = std::process::id();
    let is_child = is_child(pid, SERVER_PID.load(Relaxed));
    // A child may have been forked while another thread was inside the C library's time zone lock.
    if !is_child {
        refresh_offset(seconds);
    }
    let role = if is_child { 'C' } else { char::from(ROLE.load(Relaxed)) };
    let moment = Moment { pid, role, local: seconds + OFFSET_SECONDS.load(Relaxed), milliseconds };
    let output = OUTPUT.get();
    emit(output.and_then(|output| output.file.as_deref()), moment.line(level, message).bytes());
    if let Some(syslog) = output.and_then(|output| output.syslog.as_ref()) {
        send_to_syslog(syslog, level, &moment, message);
    }
}

/// Logs text as it is, without the head of a line: the logo, the lines of a crash report.
pub fn write_raw(text: impl AsRef<[u8]>) {
    emit(OUTPUT.get().and_then(|output| output.file.as_deref()), text.as_ref());
}

fn is_child(pid: u32, server: u32) -> bool {
    server != 0 && server != pid
}

fn emit(file: Option<&Path>, bytes: &[u8]) {
    let Some(path) = file else { return write_stdout(bytes) };
    // A forked child has no claim to the server's descriptor, which may be another file's by now; nor may it wait for a lock that
    // nobody there gives back. No more may a thread that crashes while it logs.
    if !is_child(std::process::id(), SERVER_PID.load(Relaxed)) {
        if let Ok(mut open) = OPEN.try_lock() {
            return open.write(path, bytes);
        }
    }
    if let Ok(mut file) = open_to_append(path) {
        let _ = file.write_all(bytes);
    }
}

fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// The log's file, open from one line to the next.
static OPEN: Mutex<OpenFile> = Mutex::new(OpenFile(None));

/// The file, and which it is: device and inode.
struct OpenFile(Option<(File, (u64, u64))>);

impl OpenFile {
    /// Appends to the file of this name: whoever has moved the one that is open, or removed it, finds the line in a new one.
    fn write(&mut self, path: &Path, bytes: &[u8]) {
        let named = std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
        if named.is_none() || self.0.as_ref().map(|(_, open)| *open) != named {
            let opened = open_to_append(path).and_then(|file| {
                let found = file.metadata()?;
                Ok((file, (found.dev(), found.ino())))
            });
            self.0 = opened.ok();
        }
        if let Some((file, _)) = &mut self.0 {
            let _ = file.write_all(bytes);
        }
    }
}

/// Writes to standard output past its buffer and its lock, so that a forked child and a crashing process may do so too.
fn write_stdout(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), bytes) {
            Ok(written) if written > 0 => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            _ => return,
        }
    }
}

/// Who logs, and when: local seconds and the milliseconds beyond them.
struct Moment {
    pid: u32,
    role: char,
    local: i64,
    milliseconds: u32,
}

impl Moment {
    fn line(&self, level: Level, message: Message) -> Line {
        let Self { pid, role, local, milliseconds } = self;
        let mut line = Line::new();
        // Writing to a line cannot fail: it is cut when it is full.
        let _ = write!(line, "{pid}:{role} {}.{milliseconds:03} {} ", Calendar(*local), level.mark());
        line.add(message);
        line.end();
        line
    }
}

/// A socket a message, so that nothing is kept that a restart of syslog would break; a full syslog loses it.
fn send_to_syslog(syslog: &Syslog, level: Level, moment: &Moment, message: Message) {
    let Ok(socket) = UnixDatagram::unbound() else {
        return;
    };
    if socket.set_nonblocking(true).is_err() {
        return;
    }
    let mut line = Line::new();
    let priority = syslog.facility << 3 | level.severity();
    let (date, pid) = (SyslogCalendar(moment.local), moment.pid);
    // As in `Moment::line`.
    let _ = write!(line, "<{priority}>{date} ");
    line.push(&syslog.ident);
    let _ = write!(line, "[{pid}]: ");
    line.add(message);
    let _ = socket.send_to(line.bytes(), SYSLOG_SOCKET);
}

/// Seconds and milliseconds.
fn unix_time() -> (i64, u32) {
    // A clock before 1970 shows as 1970.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs() as i64, since.subsec_millis())
}

fn refresh_offset(unix_seconds: i64) {
    let span = unix_seconds.div_euclid(OFFSET_VALID_SECONDS);
    if OFFSET_SPAN.swap(span, Relaxed) != span {
        let offset = OUTPUT.get().map_or(0, |output| (output.utc_offset)(unix_seconds));
        OFFSET_SECONDS.store(offset, Relaxed);
    }
}

/// A line on the stack.
struct Line {
    buffer: [u8; LINE_BYTES_MAX],
    size: usize,
}

impl Line {
    fn new() -> Self {
        Self { buffer: [0; LINE_BYTES_MAX], size: 0 }
    }

    fn add(&mut self, message: Message) {
        match message {
            Message::Formatted(message) => {
                // As in `Moment::line`.
                let _ = self.write_fmt(message);
            }
            Message::Bytes(message) => self.push(message),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(LINE_BYTES_MAX - self.size);
        self.buffer[self.size..self.size + taken].copy_from_slice(&bytes[..taken]);
        self.size += taken;
    }

    /// Ends the line, in the place of its last byte when it is full.
    fn end(&mut self) {
        self.size = self.size.min(LINE_BYTES_MAX - 1);
        self.buffer[self.size] = b'\n';
        self.size += 1;
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.size]
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Local seconds as the log shows them.
struct Calendar(i64);

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.0);
        write!(f, "{day:02} {} {year} {}", MONTHS[month], Clock(self.0))
    }
}

/// Local seconds as RFC 3164, section 4.1.2, has them.
struct SyslogCalendar(i64);

impl fmt::Display for SyslogCalendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, month, day) = date(self.0);
        write!(f, "{} {day:2} {}", MONTHS[month], Clock(self.0))
    }
}

struct Clock(i64);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = self.0.rem_euclid(SECONDS_PER_DAY);
        write!(f, "{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
    }
}

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// Year, month from 0, and day from 1. Counts in years that begin in March, so that the leap day is a year's last, and
/// in spans of 400 years, which are all of the same length.
fn date(seconds: i64) -> (i64, usize, i64) {
    const DAYS_PER_400_YEARS: i64 = 146_097;
    const DAYS_FROM_MARCH_OF_YEAR_0: i64 = 719_468;
    let days = seconds.div_euclid(SECONDS_PER_DAY) + DAYS_FROM_MARCH_OF_YEAR_0;
    let (span, day_of_span) = (days.div_euclid(DAYS_PER_400_YEARS), days.rem_euclid(DAYS_PER_400_YEARS));
    let leap_days = day_of_span / 1460 - day_of_span / 36_524 + day_of_span / 146_096;
    let year_of_span = (day_of_span - leap_days) / 365;
    let day_of_year = day_of_span - (365 * year_of_span + year_of_span / 4 - year_of_span / 100);
    // From March on, the lengths of months repeat every five, 153 days.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = span * 400 + year_of_span + i64::from(month < 2);
    (year, month as usize, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let shown = |seconds: i64| Calendar(seconds).to_string();
        assert_eq!(shown(0), "01 Jan 1970 00:00:00");
        assert_eq!(shown(951_782_399), "28 Feb 2000 23:59:59");
        assert_eq!(shown(951_782_400), "29 Feb 2000 00:00:00");
        assert_eq!(shown(951_868_800), "01 Mar 2000 00:00:00");
        assert_eq!(shown(1_735_689_599), "31 Dec 2024 23:59:59");
        assert_eq!(shown(4_107_542_400), "01 Mar 2100 00:00:00");
        assert_eq!(shown(-1), "31 Dec 1969 23:59:59");
        assert_eq!(SyslogCalendar(951_868_805).to_string(), "Mar  1 00:00:05");
    }

    #[test]
    fn every_day_of_eight_centuries_follows_the_day_before() {
        let length = |year: i64, month: usize| match month {
            1 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
            1 => 28,
            3 | 5 | 8 | 10 => 30,
            _ => 31,
        };
        let mut expected = (1970, 0, 1);
        for day in 0..800 * 365 {
            assert_eq!(date(day * SECONDS_PER_DAY), expected);
            let (year, month, date) = expected;
            expected = match (month, date == length(year, month)) {
                (_, false) => (year, month, date + 1),
                (11, true) => (year + 1, 0, 1),
                (_, true) => (year, month + 1, 1),
            };
        }
    }

    #[test]
    fn a_long_line_is_cut_and_still_ends() {
        let mut line = Line::new();
        write!(line, "{}", "x".repeat(LINE_BYTES_MAX * 2)).unwrap();
        line.end();
        assert_eq!(line.bytes().len(), LINE_BYTES_MAX);
        assert!(line.bytes().ends_with(b"x\n"));
    }

    #[test]
    fn lines_are_in_redis_format() {
        let moment = Moment { pid: 42, role: 'S', local: 951_868_805, milliseconds: 7 };
        let line = moment
            .line(Level::Notice, Message::Formatted(format_args!("Ready to accept connections {}", "tcp")));
        let text = String::from_utf8_lossy(line.bytes()).into_owned();
        assert_eq!(text, "42:S 01 Mar 2000 00:00:05.007 * Ready to accept connections tcp\n");
        let marks: String =
            [Level::Debug, Level::Verbose, Level::Notice, Level::Warning].map(Level::mark).iter().collect();
        assert_eq!(marks, ".-*#");
    }

    #[test]
    fn the_file_may_be_moved_between_lines() {
        let dir = std::env::temp_dir().join(format!("gyre-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (file, moved) = (dir.join("server.log"), dir.join("server.log.1"));
        emit(Some(&file), b"one\n");
        emit(Some(&file), b"two\n");
        std::fs::rename(&file, &moved).unwrap();
        emit(Some(&file), b"three\n");
        let (before, after) = (std::fs::read(&moved).unwrap(), std::fs::read(&file).unwrap());
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!((before.as_slice(), after.as_slice()), (&b"one\ntwo\n"[..], &b"three\n"[..]));
    }

    #[test]
    fn the_file_stays_open_until_it_is_moved_removed_or_replaced() {
        let dir = std::env::temp_dir().join(format!("gyre-log-open-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (file, other) = (dir.join("server.log"), dir.join("other.log"));
        let mut log = OpenFile(None);
        let inode = |log: &OpenFile| log.0.as_ref().map(|(_, (_, inode))| *inode);
        log.write(&file, b"one\n");
        let first = inode(&log);
        log.write(&file, b"two\n");
        assert_eq!((inode(&log), std::fs::read(&file).unwrap().as_slice()), (first, &b"one\ntwo\n"[..]));
        // As `copytruncate` of logrotate.
        File::options().write(true).open(&file).unwrap().set_len(0).unwrap();
        log.write(&file, b"three\n");
        assert_eq!(std::fs::read(&file).unwrap(), b"three\n");
        std::fs::remove_file(&file).unwrap();
        log.write(&file, b"four\n");
        assert_eq!(std::fs::read(&file).unwrap(), b"four\n");
        std::fs::write(&other, b"another\n").unwrap();
        std::fs::rename(&other, &file).unwrap();
        log.write(&file, b"five\n");
        assert_eq!(std::fs::read(&file).unwrap(), b"another\nfive\n");
        std::fs::remove_dir_all(&dir).unwrap();
        log.write(&file, b"lost: there is no folder\n");
        assert!(log.0.is_none());
    }

    #[test]
    fn a_process_that_is_not_the_server_is_a_child() {
        assert!(is_child(2, 1) && !is_child(1, 1));
        assert!(!is_child(1, 0), "before the server is known there are no children");
    }

    /// The level is the process's, so one test looks at all of it.
    #[test]
    fn what_is_below_the_level_is_not_even_formatted() {
        set_level(Some(Level::Warning));
        assert!(enabled(Level::Warning) && !enabled(Level::Notice));
        let mut formatted = false;
        log!(Level::Notice, "not shown {}", {
            formatted = true;
            1
        });
        assert!(!formatted);
        set_level(Some(Level::Debug));
        assert!(enabled(Level::Debug));
        set_level(None);
        assert!(!enabled(Level::Warning));
        set_level(Some(Level::Notice));
        assert!(enabled(Level::Notice) && !enabled(Level::Verbose));
    }
}
