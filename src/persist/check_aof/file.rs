//! The check of one file, by the rules of redis-check-aof: stricter about line ends than a loading server, more lenient elsewhere.
//!
//! What it says of damage has to be what Redis's tool says. So this reads as that does: in lines of bounded length, and what a line has
//! beyond its bound is the next line.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{open_to_mend, say, say_text, Outcome, Stop, Tool};
use crate::base::error_text;
use crate::persist::aof::annotation::LINE_BYTES_MAX;

use crate::persist::check_rdb;
use crate::text;

/// Redis reads a line with a number into so many bytes, a NUL included.
pub(super) const NUMBER_LINE_BYTES: usize = 128;
const READ_BYTES: usize = 256 * 1024;
/// The longest message of an error.
const ERROR_BYTES_MAX: usize = 1023;

/// The file, and how far it is read.
struct Input {
    reader: BufReader<File>,
    position: u64,
    /// A read came to the end.
    at_end: bool,
    /// Where what is read now began.
    mark: u64,
    /// What is wrong.
    error: Option<Vec<u8>>,
}

/// A read failed: the file has more, and does not give it.
struct ReadFailed;

/// Whether what was read is as it should be. When not, `Input::error` says why, or the file has ended.
type Right = Result<bool, ReadFailed>;

impl Input {
    fn fail(&mut self, what: impl Into<Vec<u8>>) -> bool {
        let mut what = what.into();
        what.truncate(ERROR_BYTES_MAX);
        self.error = Some([format!("0x{:16x}: ", self.mark).into_bytes(), what].concat());
        false
    }

    /// As C's `fgets`: up to the end of a line, or as much as there is room for. 0 at the end of the file.
    fn line(&mut self, room: &mut [u8]) -> Result<usize, ReadFailed> {
        let mut len = 0;
        while len < room.len() {
            let bytes = self.reader.fill_buf().map_err(|_| ReadFailed)?;
            if bytes.is_empty() {
                self.at_end = true;
                break;
            }
            let bytes = &bytes[..bytes.len().min(room.len() - len)];
            let newline = memchr::memchr(b'\n', bytes);
            let bytes = &bytes[..newline.map_or(bytes.len(), |newline| newline + 1)];
            room[len..len + bytes.len()].copy_from_slice(bytes);
            let taken = bytes.len();
            self.reader.consume(taken);
            self.position += taken as u64;
            len += taken;
            if newline.is_some() {
                break;
            }
        }
        Ok(len)
    }

    /// The next byte, which stays where it is.
    fn peek(&mut self) -> Result<Option<u8>, ReadFailed> {
        let byte = self.reader.fill_buf().map_err(|_| ReadFailed)?.first().copied();
        self.at_end |= byte.is_none();
        Ok(byte)
    }

    /// Goes over up to `len` bytes, of which the first go into `start`; how many there were.
    fn pass(&mut self, len: u64, start: &mut [u8]) -> Result<u64, ReadFailed> {
        let mut passed = 0;
        while passed < len {
            let bytes = self.reader.fill_buf().map_err(|_| ReadFailed)?;
            if bytes.is_empty() {
                self.at_end = true;
                break;
            }
            let taken = (bytes.len() as u64).min(len - passed) as usize;
            if let Some(room) = usize::try_from(passed).ok().and_then(|passed| start.get_mut(passed..)) {
                let copied = room.len().min(taken);
                room[..copied].copy_from_slice(&bytes[..copied]);
            }
            self.reader.consume(taken);
            passed += taken as u64;
            self.position += taken as u64;
        }
        Ok(passed)
    }
}

impl Tool<'_> {
    /// Checks a file, and mends it if asked to; only at the end of the last file may something be cut off.
    pub(super) fn check_file(
        &mut self,
        name: &[u8],
        path: &Path,
        is_last: bool,
        has_preamble: bool,
    ) -> Result<Outcome, Stop> {
        let file = open_to_mend(path).map_err(|error| {
            say_text!(self, "Cannot open file ", path, ": ", error_text(&error), ", aborting...");
            Stop
        })?;
        let Ok(size) = file.metadata().map(|data| data.len()) else {
            say_text!(self, "Cannot stat file: ", name, ", aborting...");
            return Err(Stop);
        };
        if size == 0 {
            return Ok(Outcome::Empty);
        }
        let start = if has_preamble { self.preamble(&file, path)? } else { 0 };
        let reader = BufReader::with_capacity(READ_BYTES, file);
        let mut input = Input { reader, position: start, at_end: false, mark: 0, error: None };
        let right_up_to = match self.units(&mut input, name, path, is_last) {
            Ok(Scan::UpTo(position)) => position,
            Ok(Scan::TooNew(position)) => return self.cut_to_time(&input, path, position),
            Err(Broken::Said) => return Err(Stop),
            Err(Broken::Read) => {
                say_text!(self, "Failed to read from AOF ", name, ", aborting...");
                return Err(Stop);
            }
        };
        if let Some(error) = &input.error {
            let _ = self.output.write_all(&[error, &b"\n"[..]].concat());
        }
        let rest = size - right_up_to.min(size);
        if rest == 0 && self.to_timestamp != 0 {
            let to = format!(" to timestamp {}", self.to_timestamp);
            say_text!(self, "Truncate nothing in AOF ", name, to);
            return Ok(Outcome::Valid);
        }
        let line = self.line;
        let found = format!(", size={size}, ok_up_to={right_up_to}, ok_up_to_line={line}, diff={rest}");
        say_text!(self, "AOF analyzed: filename=", name, found);
        if rest == 0 {
            return Ok(Outcome::Valid);
        }
        if !self.fix {
            say_text!(self, "AOF ", name, " is not valid. Use the --fix option to try fixing it.");
            return Err(Stop);
        }
        if !is_last {
            say_text!(self, "Failed to truncate AOF ", name, " because it is not the last file");
            return Err(Stop);
        }
        let change = format!(" from {size} bytes, with {rest} bytes, to {right_up_to} bytes");
        say_text!(self, "This will shrink the AOF ", name, change);
        self.confirm()?;
        let file = input.reader.get_ref();
        if file.set_len(right_up_to).and_then(|()| file.sync_all()).is_err() {
            say_text!(self, "Failed to truncate AOF ", name);
            return Err(Stop);
        }
        Ok(Outcome::Truncated)
    }

    /// Checks the RDB file in front; returns where it ends.
    fn preamble(&mut self, mut file: &File, path: &Path) -> Result<u64, Stop> {
        say_text!(self, "[offset 0] Checking RDB file ", path);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let end = check_rdb::check(file, now.as_millis() as i64, self.output);
        let sought = end.and_then(|end| end.map(|end| file.seek(SeekFrom::Start(end))).transpose());
        match sought {
            Ok(Some(end)) => {
                say!(self, "RDB preamble is OK, proceeding with AOF tail...");
                Ok(end)
            }
            _ => {
                say!(self, "RDB preamble of AOF file is not sane, aborting.");
                Err(Stop)
            }
        }
    }

    fn units(&mut self, input: &mut Input, name: &[u8], path: &Path, is_last: bool) -> Result<Scan, Broken> {
        let mut right_up_to = input.position;
        let mut open_groups = 0i64;
        loop {
            if open_groups == 0 {
                right_up_to = input.position;
            }
            match input.peek()? {
                None => break,
                Some(b'#') => {
                    if !self.annotation(input, path, is_last)? {
                        return Ok(Scan::TooNew(input.mark));
                    }
                }
                Some(b'*') => {
                    if !self.command(input, path, &mut open_groups)? {
                        break;
                    }
                }
                Some(_) => {
                    say_text!(self, "AOF ", name, " format error");
                    break;
                }
            }
        }
        if input.at_end && open_groups != 0 && input.error.is_none() {
            input.fail("Reached EOF before reading EXEC for MULTI");
        }
        Ok(Scan::UpTo(right_up_to))
    }

    /// Whether an annotation is not newer than wanted.
    fn annotation(&mut self, input: &mut Input, path: &Path, is_last: bool) -> Result<bool, Broken> {
        input.mark = input.position;
        let mut line = [0; LINE_BYTES_MAX];
        let len = input.line(&mut line)?;
        let wanted = self.to_timestamp;
        let Some(seconds) = line[..len].strip_prefix(b"#TS:").filter(|_| wanted != 0) else {
            return Ok(true);
        };
        let Some((seconds, [b'\r', ..])) = leading_integer(seconds) else {
            say!(self, "Invalid timestamp annotation");
            return Err(Broken::Said);
        };
        if seconds <= wanted {
            return Ok(true);
        }
        if input.mark == 0 {
            let before = format!(" has nothing before timestamp {wanted}, aborting...");
            say_text!(self, "AOF ", path, before);
            return Err(Broken::Said);
        }
        if !is_last {
            let at = input.mark;
            let why = format!(" to timestamp {wanted} to offset {at} because it is not the last file.");
            say_text!(self, "Failed to truncate AOF ", path, why);
            say!(
                self,
                "If you insist, please delete all files after this file according to the manifest file and delete the \
                 corresponding records in manifest file manually. Then re-run redis-check-aof."
            );
            return Err(Broken::Said);
        }
        Ok(false)
    }

    fn cut_to_time(&mut self, input: &Input, path: &Path, position: u64) -> Result<Outcome, Stop> {
        let file = input.reader.get_ref();
        if file.set_len(position).and_then(|()| file.sync_all()).is_err() {
            let to = format!(" to timestamp {}", self.to_timestamp);
            say_text!(self, "Failed to truncate AOF ", path, to);
            return Err(Stop);
        }
        Ok(Outcome::TimeTruncated)
    }

    fn command(&mut self, input: &mut Input, path: &Path, open_groups: &mut i64) -> Right {
        let Some(count) = self.number(input, b'*')? else {
            return Ok(false);
        };
        for index in 0..count.max(0) {
            let mut name = [0; 6];
            if !self.value(input, &mut name)? {
                return Ok(false);
            }
            if index > 0 {
                continue;
            }
            let name = &name[..memchr::memchr(0, &name).unwrap_or(name.len())];
            if name.eq_ignore_ascii_case(b"multi") {
                *open_groups += 1;
                if *open_groups != 1 {
                    return Ok(input.fail(text!("Unexpected MULTI in AOF ", path).into_bytes()));
                }
            } else if name.eq_ignore_ascii_case(b"exec") {
                *open_groups -= 1;
                if *open_groups != 0 {
                    return Ok(input.fail(text!("Unexpected EXEC in AOF ", path).into_bytes()));
                }
            }
        }
        Ok(true)
    }

    /// A line with a number behind `prefix`. `None`: it is wrong, or there is none any more.
    fn number(&mut self, input: &mut Input, prefix: u8) -> Result<Option<i64>, ReadFailed> {
        input.mark = input.position;
        let len = input.line(&mut self.number_line[..NUMBER_LINE_BYTES - 1])?;
        if len == 0 {
            return Ok(None);
        }
        self.number_line[len] = 0;
        let line = self.number_line;
        if line[0] != prefix {
            let mut what = format!("Expected prefix '{}', got: '", char::from(prefix)).into_bytes();
            // A NUL would end the message.
            if line[0] != 0 {
                what.extend([line[0], b'\'']);
            }
            input.fail(what);
            return Ok(None);
        }
        // A NUL ends the line, and what an earlier one has left behind it is shown all the same.
        let (number, rest) = match leading_integer(until_nul(&line[1..])) {
            Some((number, rest)) => (number, rest.len()),
            None => saturated(until_nul(&line[1..])),
        };
        let rest = 1 + until_nul(&line[1..]).len() - rest;
        let is_right = self.line_end(input, [line[rest], line.get(rest + 1).copied().unwrap_or(0)]);
        Ok(is_right.then_some(number))
    }

    /// A value with its length in front. `start` gets its first bytes, and NUL behind them.
    fn value(&mut self, input: &mut Input, start: &mut [u8]) -> Right {
        let Some(len) = self.number(input, b'$')? else {
            return Ok(false);
        };
        if !(0..=i64::MAX - 2).contains(&len) {
            let what = format!("Expected to read string of {len} bytes, which is not in the suitable range");
            return Ok(input.fail(what));
        }
        input.mark = input.position;
        let room = start.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        let mut got = input.pass(len as u64, &mut start[..room])?;
        let mut end = [0; 2];
        if got == len as u64 {
            got += input.pass(2, &mut end)?;
        }
        let wanted = len as u64 + 2;
        if got != wanted {
            return Ok(input.fail(format!("Expected to read {wanted} bytes, got {got} bytes")));
        }
        Ok(self.line_end(input, end))
    }

    fn line_end(&mut self, input: &mut Input, [first, second]: [u8; 2]) -> bool {
        if [first, second] == *b"\r\n" {
            self.line += 1;
            return true;
        }
        // As C shows a char that is signed.
        let (first, second) = (i32::from(first as i8), i32::from(second as i8));
        input.fail(format!("Expected \\r\\n, got: {first:02x}{second:02x}"))
    }
}

/// How a scan ended.
enum Scan {
    /// Everything before this position is as it should be.
    UpTo(u64),
    /// What begins here is newer than wanted.
    TooNew(u64),
}

enum Broken {
    /// The tool has said why.
    Said,
    Read,
}

impl From<ReadFailed> for Broken {
    fn from(_: ReadFailed) -> Broken {
        Broken::Read
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

/// As C's `strtol`: blanks, a sign, digits; and what is behind. Without digits 0, and all is behind. `None` when it does not fit.
pub(super) fn leading_integer(text: &[u8]) -> Option<(i64, &[u8])> {
    let (value, rest) = wide_integer(text);
    Some((i64::try_from(value).ok()?, rest))
}

/// The nearest number that there is, and how many bytes are behind it.
fn saturated(text: &[u8]) -> (i64, usize) {
    let (value, rest) = wide_integer(text);
    (value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64, rest.len())
}

fn wide_integer(text: &[u8]) -> (i128, &[u8]) {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let (sign, digits) = match &text[blanks..] {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return (0, text);
    }
    let value = digits[..count]
        .iter()
        .fold(0i128, |value, digit| value.saturating_mul(10).saturating_add(i128::from(digit - b'0')));
    (sign * value, &digits[count..])
}
