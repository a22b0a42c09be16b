//! Reads RESP2 replies out of a stream cut anywhere, and judges each against the request it answers.
//!
//! Nothing is copied but a line that a buffer ends in the middle of; values are compared where they lie.

use crate::workload::{Command, Request, Workload};
use std::collections::VecDeque;

/// What a reply was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What the command must answer.
    Good,
    /// GET or MGET of a key that is not there: not an error, but counted.
    Miss,
    /// An error reply.
    Error,
    /// A reply of the wrong type, length or contents.
    Wrong,
}

/// The stream cannot be followed any further; the connection is lost.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

/// A longer line than this is no reply of a Redis server.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// One connection's side of replies.
#[derive(Debug, Default)]
pub struct ReplyReader {
    /// Beginning of a line whose end has not arrived.
    line: Vec<u8>,
    /// Bytes of a bulk string still to come, CR LF included; with its length and, when it is checked, key.
    body_left: usize,
    body_length: usize,
    body_key: Option<u64>,
    /// Elements of an MGET reply still to come.
    elements_left: u32,
    /// The judgement so far of a reply that is not complete.
    outcome: Option<Outcome>,
    check_values: bool,
    /// Text of the first error reply or of what was wrong first.
    pub first_error: Option<String>,
}

impl ReplyReader {
    /// With `check_values`, values must be those the workload's SET stores under the key.
    pub fn new(check_values: bool) -> Self {
        Self { check_values, ..Self::default() }
    }

    /// Reads all of `input`; every complete reply takes the oldest request from `pending` and goes to `done`.
    pub fn feed(
        &mut self,
        mut input: &[u8],
        pending: &mut VecDeque<Request>,
        workload: &Workload,
        mut done: impl FnMut(Request, Outcome),
    ) -> Result<(), Unreadable> {
        while !input.is_empty() {
            let Some(&request) = pending.front() else {
                return Err(Unreadable("a reply that nothing asked for".into()));
            };
            let complete = if self.body_left > 0 {
                let taken = self.body_left.min(input.len());
                self.body(&input[..taken], workload);
                input = &input[taken..];
                self.body_left == 0 && self.elements_left == 0
            } else {
                let Some(end) = memchr::memchr(b'\n', input) else {
                    if self.line.len() + input.len() > LINE_BYTES_MAX {
                        return Err(Unreadable("a line without end".into()));
                    }
                    self.line.extend_from_slice(input);
                    return Ok(());
                };
                let part = &input[..end];
                input = &input[end + 1..];
                if self.line.is_empty() {
                    self.line(part, &request, workload)?
                } else {
                    let mut line = std::mem::take(&mut self.line);
                    line.extend_from_slice(part);
                    let complete = self.line(&line, &request, workload)?;
                    line.clear();
                    self.line = line;
                    complete
                }
            };
            if complete {
                pending.pop_front();
                done(request, self.outcome.take().unwrap_or(Outcome::Good));
            }
        }
        Ok(())
    }

    /// Takes a line without its LF; true when it completes a reply.
    fn line(&mut self, line: &[u8], request: &Request, workload: &Workload) -> Result<bool, Unreadable> {
        let Some((&mark, text)) = line.strip_suffix(b"\r").and_then(<[u8]>::split_first) else {
            return Err(unreadable(line));
        };
        let inside = self.elements_left > 0;
        match mark {
            b'+' if !inside => {
                let expected: &[u8] = match request.command {
                    Command::Set | Command::Mset => b"OK",
                    Command::Ping => b"PONG",
                    _ => b"",
                };
                if text != expected {
                    self.wrong(line, request);
                }
                Ok(true)
            }
            b':' if !inside => {
                if request.command != Command::Incr {
                    self.wrong(line, request);
                }
                Ok(true)
            }
            b'-' => {
                self.outcome = Some(Outcome::Error);
                self.note(|| String::from_utf8_lossy(text).into_owned());
                self.elements_left = self.elements_left.saturating_sub(1);
                Ok(self.elements_left == 0)
            }
            b'$' => {
                let length = number(text).ok_or_else(|| unreadable(line))?;
                if !inside && request.command != Command::Get {
                    self.wrong(line, request);
                }
                let nth =
                    if inside { workload.keys_per_command.saturating_sub(self.elements_left) } else { 0 };
                self.elements_left = self.elements_left.saturating_sub(1);
                if length < 0 {
                    self.outcome.get_or_insert(Outcome::Miss);
                    return Ok(self.elements_left == 0);
                }
                self.body_length = length as usize;
                self.body_left = self.body_length + 2;
                self.body_key = self.check_values.then(|| workload.keys.pick(request.draw, nth));
                if let Some(key) = self.body_key {
                    if workload.values.of(key).len() != self.body_length {
                        self.wrong(line, request);
                        self.body_key = None;
                    }
                }
                Ok(false)
            }
            b'*' if !inside => {
                let elements = number(text).ok_or_else(|| unreadable(line))?;
                if request.command != Command::Mget || elements != i64::from(workload.keys_per_command) {
                    self.wrong(line, request);
                }
                self.elements_left = u32::try_from(elements.max(0)).map_err(|_| unreadable(line))?;
                Ok(self.elements_left == 0)
            }
            _ => Err(unreadable(line)),
        }
    }

    fn body(&mut self, part: &[u8], workload: &Workload) {
        let start = self.body_length + 2 - self.body_left;
        self.body_left -= part.len();
        let Some(key) = self.body_key else { return };
        let end = (start + part.len()).min(self.body_length);
        if start < end && part[..end - start] != workload.values.of(key)[start..end] {
            self.outcome = Some(Outcome::Wrong);
            self.note(|| format!("the value of key number {key} is not what SET stored"));
        }
    }

    fn wrong(&mut self, line: &[u8], request: &Request) {
        self.outcome = Some(Outcome::Wrong);
        self.note(|| format!("{} was answered with {}", request.command.name(), line.escape_ascii()));
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        self.first_error.get_or_insert_with(text);
    }
}

fn unreadable(line: &[u8]) -> Unreadable {
    let shown = &line[..line.len().min(64)];
    Unreadable(format!("not a RESP2 reply: {}", shown.escape_ascii()))
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::small;

    /// Feeds the stream cut every `chunk` bytes.
    fn outcomes(
        workload: &Workload,
        requests: u64,
        stream: &[u8],
        chunk: usize,
        check: bool,
    ) -> Result<Vec<Outcome>, Unreadable> {
        let mut reader = ReplyReader::new(check);
        let mut pending: VecDeque<_> = (0..requests).map(|n| workload.request(n, 0)).collect();
        let mut found = Vec::new();
        for part in stream.chunks(chunk) {
            reader.feed(part, &mut pending, workload, |_, outcome| {
                found.push(outcome);
            })?;
        }
        Ok(found)
    }

    fn at_every_cut(mix: &str, stream: &[u8], expected: &[Outcome], check: bool) {
        let workload = small(mix);
        for chunk in 1..=stream.len() {
            let found = outcomes(&workload, expected.len() as u64, stream, chunk, check);
            assert_eq!(found.as_deref(), Ok(expected), "cut every {chunk} bytes");
        }
    }

    use Outcome::{Error, Good, Miss, Wrong};

    #[test]
    fn replies_are_counted_wherever_the_stream_is_cut() {
        at_every_cut(
            "get",
            b"$3\r\na\nb\r\n$-1\r\n$0\r\n\r\n-ERR no\r\n$2\r\n\r\n\r\n",
            &[Good, Miss, Good, Error, Good],
            false,
        );
        at_every_cut("set", b"+OK\r\n+OKAY\r\n-OOM\r\n:1\r\n", &[Good, Wrong, Error, Wrong], false);
        at_every_cut("incr", b":1\r\n:-22\r\n+OK\r\n", &[Good, Good, Wrong], false);
        at_every_cut("ping", b"+PONG\r\n+OK\r\n", &[Good, Wrong], false);
        at_every_cut(
            "mget",
            b"*3\r\n$1\r\na\r\n$-1\r\n$2\r\nbb\r\n*3\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n*0\r\n-ERR\r\n",
            &[Miss, Good, Wrong, Error],
            false,
        );
    }

    #[test]
    fn values_are_compared_wherever_the_stream_is_cut() {
        let values = small("get").values;
        let mut stream = Vec::new();
        for (key, change) in [(0, false), (1, true), (2, false)] {
            let mut value = values.of(key).to_vec();
            if change {
                value[3] ^= 1;
            }
            stream.extend_from_slice(b"$4\r\n");
            stream.extend_from_slice(&value);
            stream.extend_from_slice(b"\r\n");
        }
        stream.extend_from_slice(b"$5\r\nabcde\r\n");
        at_every_cut("get", &stream, &[Good, Wrong, Good, Wrong], true);
    }

    #[test]
    fn the_values_of_mget_are_compared_each_with_its_key() {
        let workload = small("mget");
        let mut stream = b"*3\r\n".to_vec();
        for key in [0, 1, 2] {
            stream.extend_from_slice(b"$4\r\n");
            stream.extend_from_slice(workload.values.of(key));
            stream.extend_from_slice(b"\r\n");
        }
        at_every_cut("mget", &stream, &[Good], true);
        stream.swap(8, 9);
        at_every_cut("mget", &stream, &[Wrong], true);
    }

    #[test]
    fn a_stream_that_is_not_resp_loses_the_connection() {
        let workload = small("get");
        for bad in [&b"hello\r\n"[..], b"$x\r\n", b"\r\n", b"+OK\n"] {
            assert!(outcomes(&workload, 1, bad, 1, false).is_err(), "{}", bad.escape_ascii());
        }
        assert!(outcomes(&workload, 1, b"$0\r\n\r\n$0\r\n\r\n", 100, false).is_err());
    }
}
