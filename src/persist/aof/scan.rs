//! Reads an append-only file: what is in it, one command or annotation after the other, and where its last whole unit ends.
//!
//! The file is read through a window. To replay it, [`Scanner::next`] lends the arguments from there; only a command larger than the
//! window makes it grow, and by no more than the file really holds. To find the end, [`Scanner::next_mark`] looks at lengths and at
//! annotations, and skips values without reading them.
//!
//! A file may end anywhere: in the middle of a command, of a MULTI body, behind the annotation of a part whose unit is missing. That is a
//! torn tail, as are bytes that a file system shows as zeros because they were never written; what lies before is whole. Anything
//! else that is not as it should be is damage, and what lies behind it may be good: nothing is cut there unasked.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use super::annotation::{self, Annotation, Shards, LINE_BYTES_MAX};
use crate::base::error_text;
use crate::base::text::Text;
use crate::text;

/// The window, bytes; it returns to this after a larger command.
const WINDOW_BYTES: usize = 256 * 1024;
/// `*` or `$`, digits, and the line's end.
const NUMBER_LINE_BYTES_MAX: usize = 1 + NUMBER_DIGITS_MAX + 2;
/// As many as always fit into 64 bits.
const NUMBER_DIGITS_MAX: usize = 19;
/// The shortest argument there is: `$0`, an end of line, nothing, and another one.
const ARG_BYTES_MIN: u64 = 6;
/// The window does not grow for a longer value until its end was seen where it is announced.
const UNPROVEN_VALUE_BYTES_MAX: u64 = 1 << 20;
/// What a disk writes at once.
const SECTOR_BYTES: u64 = 512;

/// What is scanned.
#[allow(clippy::len_without_is_empty)] // an empty one is like any other
pub trait Source {
    /// Reads what is there at a position, up to `buffer`'s length.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize>;

    fn len(&self) -> io::Result<u64>;
}

impl Source for File {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buffer, position)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl<S: Source> Source for &S {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(position, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }
}

impl Source for &[u8] {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest =
            usize::try_from(position).ok().and_then(|position| self.get(position..)).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok((**self).len() as u64)
    }
}

/// Whether a file begins with an RDB file (`REDIS`, or `VALKEY`): a base, or the preamble of an old single file. Where that ends, its reader knows; the
/// scan begins there.
pub fn has_rdb_preamble(source: &impl Source) -> io::Result<bool> {
    let mut signature = [0; 5];
    let len = read_full(source, 0, &mut signature)?;
    Ok(matches!(&signature[..len], b"REDIS" | b"VALKE"))
}

/// Why a scan ends early.
#[derive(Debug)]
pub struct Fault {
    pub reason: Reason,
    /// Where it was noticed.
    pub at: u64,
    /// Where the last whole unit in front of it ends.
    pub whole: u64,
}

#[derive(Debug)]
pub enum Reason {
    /// The file ends in the middle of something.
    End,
    /// It ends inside of MULTI.
    OpenGroup,
    /// It ends behind the annotation of a part, whose unit is missing.
    OpenPart,
    /// It ends before the barrier that the next file continues at.
    NoBarrier,
    /// From here on there are only zeros.
    Zeros,
    /// There are zeros here up to a sector's end, and something behind them: written, as it seems, before what was to be here.
    Hole,
    /// Something else than belongs here, in words.
    Garbage(&'static str),
    Io(io::Error),
}

impl Fault {
    /// Whether the file was only cut short, so that nothing is lost beyond what was never wholly written.
    pub fn is_torn(&self) -> bool {
        matches!(
            self.reason,
            Reason::End | Reason::OpenGroup | Reason::OpenPart | Reason::NoBarrier | Reason::Zeros
        )
    }

    /// What Redis says before it gives up on file `name`, and what is wrong, and where.
    pub fn log_message(&self, name: &[u8]) -> Text {
        match &self.reason {
            Reason::Io(error) => {
                text!("Unrecoverable error reading the append only file ", name, ": ", error_text(error))
            }
            Reason::Hole | Reason::Garbage(_) => text!(
                "Bad file format reading the append only file ",
                name,
                ": make a backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest> (",
                self.to_string(),
                ")"
            ),
            _ => text!(
                "Unexpected end of file reading the append only file ",
                name,
                ". You can: 1) Make a backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest>. 2) \
                 Alternatively you can set the 'aof-load-truncated' configuration option to yes and restart the server. (",
                self.to_string(),
                ")"
            ),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::End => f.write_str("unexpected end"),
            Reason::OpenGroup => f.write_str("the end before EXEC for MULTI"),
            Reason::OpenPart => f.write_str("the end before the unit of a part"),
            Reason::NoBarrier => f.write_str("the end before the barrier that the next file continues at"),
            Reason::Zeros => f.write_str("zeros to the end"),
            Reason::Hole => f.write_str("a sector of zeros"),
            Reason::Garbage(what) => f.write_str(what),
            Reason::Io(error) => f.write_str(&error_text(error)),
        }?;
        write!(f, " at offset {}", self.at)
    }
}

impl std::error::Error for Fault {}

/// What stands at a place in the file.
#[derive(Debug)]
pub enum Item<'a> {
    Command(Command<'a>),
    Annotation(Annotation),
}

/// A command, lent until the next one is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    pub start: u64,
    pub end: u64,
    pub place: InUnit,
    /// From `start` to `end`.
    bytes: &'a [u8],
    /// In `bytes`: where each argument begins and ends.
    args: &'a [(usize, usize)],
}

/// Where in a unit a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InUnit {
    /// A unit by itself.
    Alone,
    /// MULTI: what follows is to be held back until EXEC.
    Opens,
    Inside,
    /// EXEC.
    Closes,
}

impl<'a> Command<'a> {
    pub fn args(&self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        let bytes = self.bytes;
        self.args.iter().map(move |(start, end)| &bytes[*start..*end])
    }

    /// As it stands in the file.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// What matters for where a log is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A whole part of a transaction, its annotation included.
    Part {
        number: u64,
        shards: Shards,
        is_empty: bool,
        start: u64,
        end: u64,
    },
    Cut {
        number: u64,
        start: u64,
        end: u64,
    },
    /// At the beginning of a file: the one before it ends with this barrier.
    After {
        number: u64,
    },
    Time {
        seconds: i64,
        start: u64,
    },
}

/// What one step over the file has found.
enum Step {
    Command { start: u64, place: InUnit },
    Annotation { start: u64, annotation: Annotation },
    End,
}

/// A part whose unit has not ended yet.
struct OpenPart {
    number: u64,
    shards: Shards,
    start: u64,
}

/// Reads a file.
///
/// `kept <= next <= end <= window.len()` holds between any two steps, whatever is in the file: only `refill` and `shrink` move the window,
/// and `next` moves over what `ensure` has found to be there. The file's own numbers are compared with what is left of it
/// before they are used.
pub struct Scanner<S> {
    source: S,
    /// Of the file, when the scan began. What is appended meanwhile is not looked at.
    len: u64,
    window: Vec<u8>,
    /// Its size while nothing larger needs room, bytes.
    window_bytes: usize,
    /// Position of the window's first byte in the file.
    base: u64,
    /// In the window: what must be kept of it, what comes next, and where it ends.
    kept: usize,
    next: usize,
    end: usize,
    args: Vec<(usize, usize)>,
    /// Where the unit began whose EXEC has not come.
    group: Option<u64>,
    /// Where the annotation is whose unit has not come.
    part: Option<u64>,
    open_part: Option<OpenPart>,
    whole: u64,
}

impl<S: Source> Scanner<S> {
    /// Scans from `position` on: 0, or the end of an RDB preamble.
    pub fn new(source: S, position: u64) -> io::Result<Scanner<S>> {
        Scanner::with_window(source, position, WINDOW_BYTES)
    }

    fn with_window(source: S, position: u64, window_bytes: usize) -> io::Result<Scanner<S>> {
        let len = source.len()?;
        let position = position.min(len);
        Ok(Scanner {
            source,
            len,
            window: vec![0; window_bytes],
            window_bytes,
            base: position,
            kept: 0,
            next: 0,
            end: 0,
            args: Vec::new(),
            group: None,
            part: None,
            open_part: None,
            whole: position,
        })
    }

    /// Position of what comes next, bytes.
    pub fn position(&self) -> u64 {
        self.base + self.next as u64
    }

    /// What is in memory already of what comes next.
    pub fn fetched(&self) -> &[u8] {
        &self.window[self.next..self.end]
    }

    /// Where the last whole unit so far ends.
    pub fn whole(&self) -> u64 {
        self.whole
    }

    /// The next command or annotation; `None` at the end, when all units are whole. After an error there is no next one.
    #[allow(clippy::should_implement_trait)] // What it returns is lent from here, as an iterator's items cannot be.
    pub fn next(&mut self) -> Result<Option<Item<'_>>, Fault> {
        self.shrink();
        match self.step::<true>()? {
            Step::End => Ok(None),
            Step::Annotation { annotation, .. } => Ok(Some(Item::Annotation(annotation))),
            Step::Command { start, place } => {
                let bytes = &self.window[self.kept..self.next];
                let end = start + bytes.len() as u64;
                Ok(Some(Item::Command(Command { start, end, place, bytes, args: &self.args })))
            }
        }
    }

    /// Skips to the next mark; `None` at the end, when all units are whole.
    pub fn next_mark(&mut self) -> Result<Option<Mark>, Fault> {
        loop {
            match self.step::<false>()? {
                Step::End => return Ok(None),
                Step::Command { .. } => {
                    if self.part.is_none() && self.group.is_none() {
                        if let Some(OpenPart { number, shards, start }) = self.open_part.take() {
                            let end = self.position();
                            return Ok(Some(Mark::Part { number, shards, is_empty: false, start, end }));
                        }
                    }
                }
                Step::Annotation { start, annotation } => match annotation {
                    Annotation::Part { number, shards, is_empty: true } => {
                        let end = self.position();
                        return Ok(Some(Mark::Part { number, shards, is_empty: true, start, end }));
                    }
                    Annotation::Part { number, shards, .. } => {
                        self.open_part = Some(OpenPart { number, shards, start });
                    }
                    Annotation::Cut(number) => {
                        return Ok(Some(Mark::Cut { number, start, end: self.position() }));
                    }
                    Annotation::After(number) if start == 0 => return Ok(Some(Mark::After { number })),
                    Annotation::After(_) => {}
                    Annotation::Time(seconds) => return Ok(Some(Mark::Time { seconds, start })),
                    Annotation::Other => {}
                },
            }
        }
    }

    /// One command or annotation. `KEEP`: a command stays in the window, and `args` tells its arguments.
    #[inline]
    fn step<const KEEP: bool>(&mut self) -> Result<Step, Fault> {
        self.kept = self.next;
        if !self.ensure::<KEEP>(1)? {
            return match (self.group, self.part) {
                (Some(_), _) => Err(self.fault(Reason::OpenGroup)),
                (None, Some(_)) => Err(self.fault(Reason::OpenPart)),
                (None, None) => Ok(Step::End),
            };
        }
        match self.window[self.next] {
            b'*' => self.command::<KEEP>(),
            b'#' => self.annotation::<KEEP>(),
            _ => Err(self.garbage(self.position(), "neither a command nor an annotation")),
        }
    }

    #[inline]
    fn command<const KEEP: bool>(&mut self) -> Result<Step, Fault> {
        let start = self.position();
        let count = self.number::<KEEP>(b'*')?;
        if count == 0 {
            return Err(self.garbage(start, "a command without a name"));
        }
        if count > (self.len - self.position()) / ARG_BYTES_MIN {
            return Err(self.fault(Reason::End));
        }
        if KEEP {
            self.args.clear();
        }
        let mut name = Name::Any;
        for index in 0..count {
            let len = self.number::<KEEP>(b'$')?;
            if index == 0 {
                name = self.name::<KEEP>(len)?;
            }
            self.value::<KEEP>(len)?;
        }
        let place = self.place(start, name)?;
        Ok(Step::Command { start, place })
    }

    /// What the command of this name, which is whole now, means for its unit.
    #[inline]
    fn place(&mut self, start: u64, name: Name) -> Result<InUnit, Fault> {
        let place = match (name, self.group) {
            (Name::Any | Name::Select, Some(_)) => return Ok(InUnit::Inside),
            // The SELECT that the command of a part needs comes behind its annotation.
            (Name::Select, None) if self.part.is_some() => return Ok(InUnit::Alone),
            (Name::Any | Name::Select, None) => {
                self.part = None;
                InUnit::Alone
            }
            (Name::Multi, None) => {
                self.group = Some(self.part.take().unwrap_or(start));
                return Ok(InUnit::Opens);
            }
            (Name::Exec, Some(_)) => {
                self.group = None;
                InUnit::Closes
            }
            (Name::Multi, Some(_)) => return Err(self.garbage(start, "MULTI inside of MULTI")),
            (Name::Exec, None) => return Err(self.garbage(start, "EXEC without MULTI")),
        };
        self.whole = self.position();
        Ok(place)
    }

    fn annotation<const KEEP: bool>(&mut self) -> Result<Step, Fault> {
        let start = self.position();
        self.ensure::<KEEP>(LINE_BYTES_MAX)?;
        let rest = &self.window[self.next..self.end];
        let rest = &rest[..rest.len().min(LINE_BYTES_MAX)];
        let Some(len) = memchr::memchr(b'\n', rest) else {
            if rest.len() < LINE_BYTES_MAX && memchr::memchr(0, rest).is_none() {
                return Err(self.fault(Reason::End));
            }
            let at = memchr::memchr(0, rest).unwrap_or(rest.len());
            return Err(self.garbage(start + at as u64, "an annotation without an end"));
        };
        let line = rest[..len].strip_suffix(b"\r").unwrap_or(&rest[..len]);
        let Some(annotation) = annotation::parse(line) else {
            let at = memchr::memchr(0, line).unwrap_or(0);
            return Err(self.garbage(start + at as u64, "a damaged annotation"));
        };
        let is_ours =
            matches!(annotation, Annotation::Part { .. } | Annotation::Cut(_) | Annotation::After(_));
        if is_ours && (self.group.is_some() || self.part.is_some()) {
            return Err(self.garbage(start, "an annotation inside of a unit"));
        }
        self.next += len + 1;
        if matches!(annotation, Annotation::Part { is_empty: false, .. }) {
            self.part = Some(start);
        } else if self.group.is_none() && self.part.is_none() {
            self.whole = self.position();
        }
        Ok(Step::Annotation { start, annotation })
    }

    /// A line with a number behind `prefix`.
    #[inline]
    fn number<const KEEP: bool>(&mut self, prefix: u8) -> Result<u64, Fault> {
        self.ensure::<KEEP>(NUMBER_LINE_BYTES_MAX)?;
        // Shorter only where the file ends.
        let line = &self.window[self.next..self.end];
        let mut value = 0u64;
        for (index, byte) in line.iter().enumerate() {
            match byte {
                byte if index == 0 => {
                    if *byte != prefix {
                        return Err(self.garbage_ahead(0, "something else than a length or a count"));
                    }
                }
                b'0'..=b'9' if index <= NUMBER_DIGITS_MAX => value = value * 10 + u64::from(byte - b'0'),
                b'\r' if index > 1 => {
                    return match line.get(index + 1) {
                        Some(b'\n') => {
                            self.next += index + 2;
                            Ok(value)
                        }
                        Some(_) => Err(self.garbage_ahead(index + 1, "a line that does not end")),
                        None => Err(self.fault(Reason::End)),
                    };
                }
                _ => return Err(self.garbage_ahead(index, "a length or a count that is no number")),
            }
        }
        Err(self.fault(Reason::End))
    }

    /// Which name the value of length `len` is that comes next.
    #[inline]
    fn name<const KEEP: bool>(&mut self, len: u64) -> Result<Name, Fault> {
        if !(4..=6).contains(&len) || !self.ensure::<KEEP>(len as usize)? {
            return Ok(Name::Any);
        }
        let name = &self.window[self.next..self.next + len as usize];
        Ok(match len {
            4 if name.eq_ignore_ascii_case(b"exec") => Name::Exec,
            5 if name.eq_ignore_ascii_case(b"multi") => Name::Multi,
            6 if name.eq_ignore_ascii_case(b"select") => Name::Select,
            _ => Name::Any,
        })
    }

    /// Goes over a value and the end of line behind it.
    #[inline]
    fn value<const KEEP: bool>(&mut self, len: u64) -> Result<(), Fault> {
        // Lengths have fewer digits than would overflow here.
        if len + 2 > self.len - self.position() {
            return Err(self.fault(Reason::End));
        }
        let is_here = len + 2 <= (self.end - self.next) as u64;
        if KEEP {
            if !is_here {
                self.fetch_value(len)?;
            }
            let start = self.next - self.kept;
            self.args.push((start, start + len as usize));
            self.next += len as usize;
        } else if is_here {
            self.next += len as usize;
        } else {
            self.jump(len);
            if !self.ensure::<KEEP>(2)? {
                return Err(self.fault(Reason::End));
            }
        }
        let line_end = &self.window[self.next..self.next + 2];
        if line_end != b"\r\n" {
            let ahead = usize::from(line_end[0] == b'\r');
            return Err(self.garbage_ahead(ahead, "a value that does not end where it should"));
        }
        self.next += 2;
        Ok(())
    }

    /// Gets a value into the window, with the two bytes behind it.
    #[cold]
    fn fetch_value(&mut self, len: u64) -> Result<(), Fault> {
        if len > UNPROVEN_VALUE_BYTES_MAX {
            let (mut line_end, position) = ([0; 2], self.position() + len);
            let read = read_full(&self.source, position, &mut line_end);
            read.map_err(|error| self.fault(Reason::Io(error)))?;
            if line_end != *b"\r\n" {
                return Err(self.garbage(position, "a value that does not end where it should"));
            }
        }
        match self.ensure::<true>(len as usize + 2)? {
            true => Ok(()),
            // The file has become shorter.
            false => Err(self.fault(Reason::End)),
        }
    }

    /// Skips bytes, of which some are not in the window.
    #[cold]
    fn jump(&mut self, len: u64) {
        let here = (self.end - self.next) as u64;
        if len <= here {
            self.next += len as usize;
        } else {
            self.base = self.position() + len;
            (self.next, self.end) = (0, 0);
        }
    }

    /// Makes sure that the next `len` bytes are in the window; false when the file ends before.
    #[inline]
    fn ensure<const KEEP: bool>(&mut self, len: usize) -> Result<bool, Fault> {
        if self.end - self.next >= len {
            return Ok(true);
        }
        self.refill::<KEEP>(len).map_err(|error| self.fault(Reason::Io(error)))
    }

    #[cold]
    fn refill<const KEEP: bool>(&mut self, len: usize) -> io::Result<bool> {
        let kept = if KEEP { self.kept } else { self.next };
        self.window.copy_within(kept..self.end, 0);
        self.base += kept as u64;
        self.next -= kept;
        self.end -= kept;
        self.kept = 0;
        if self.next + len > self.window.len() {
            self.window.resize((self.next + len).next_power_of_two(), 0);
        }
        let room = (self.window.len() - self.end) as u64;
        let rest = self.len.saturating_sub(self.base + self.end as u64);
        let room = room.min(rest) as usize;
        let space = &mut self.window[self.end..self.end + room];
        self.end += read_full(&self.source, self.base + self.end as u64, space)?;
        Ok(self.end - self.next >= len)
    }

    /// Gives back what a large command needed.
    fn shrink(&mut self) {
        if self.window.len() > self.window_bytes && self.end - self.next <= self.window_bytes {
            self.window.copy_within(self.next..self.end, 0);
            self.base += self.next as u64;
            (self.next, self.end) = (0, self.end - self.next);
            self.window.truncate(self.window_bytes);
            self.window.shrink_to_fit();
        }
    }

    #[cold]
    fn fault(&self, reason: Reason) -> Fault {
        Fault { reason, at: self.position(), whole: self.whole }
    }

    #[cold]
    fn garbage_ahead(&self, ahead: usize, what: &'static str) -> Fault {
        self.garbage(self.position() + ahead as u64, what)
    }

    /// Something that does not belong at `at`; but zeros are what was not written.
    #[cold]
    fn garbage(&self, at: u64, what: &'static str) -> Fault {
        let reason = match self.zeros_end(at) {
            Err(error) => Reason::Io(error),
            Ok(end) if end > at && end == self.len => Reason::Zeros,
            Ok(end) if end > at && end / SECTOR_BYTES > at / SECTOR_BYTES => Reason::Hole,
            Ok(_) => Reason::Garbage(what),
        };
        Fault { reason, at, whole: self.whole }
    }

    /// Where the zeros end that begin at `position`.
    fn zeros_end(&self, mut position: u64) -> io::Result<u64> {
        let mut chunk = [0; 4096];
        while position < self.len {
            let len = (self.len - position).min(chunk.len() as u64) as usize;
            let len = read_full(&self.source, position, &mut chunk[..len])?;
            let zeros = chunk[..len].iter().take_while(|byte| **byte == 0).count();
            position += zeros as u64;
            if zeros < len || len == 0 {
                break;
            }
        }
        Ok(position)
    }
}

/// The names that make units.
#[derive(Clone, Copy)]
enum Name {
    Multi,
    Exec,
    Select,
    Any,
}

/// Reads until `buffer` is full or the source ends.
fn read_full(source: &impl Source, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match source.read_at(position + len as u64, &mut buffer[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

#[cfg(test)]
mod tests;
