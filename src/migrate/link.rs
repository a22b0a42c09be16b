//! A connection to another server: what MIGRATE says to it and hears from it.
//!
//! AUTH and SELECT, where needed, are answered before the first RESTORE is sent: a key must not end up in the wrong database
//! because the right one was refused. The RESTOREs go out in one pipeline.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{lookup_host, TcpStream};
use tokio::time::timeout;

use super::{Job, PackedKey, Target};
use crate::runtime::clock;

/// What is written at once; each piece has the whole timeout.
const PIECE_BYTES: usize = 64 * 1024;
/// The longest reply of a server that speaks the protocol; of an error, the part that is passed on.
const LINE_BYTES_MAX: usize = 64 * 1024;
const ERROR_BYTES_MAX: usize = 1023;
const READ_BYTES: usize = 16 * 1024;

/// The connection cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    pub writing: bool,
    pub timed_out: bool,
}

impl Broken {
    fn new(writing: bool, error: &io::Error) -> Broken {
        let timed_out = matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock);
        Broken { writing, timed_out }
    }
}

/// What became of one attempt at a job.
#[derive(Debug, Default)]
pub struct Run {
    pub acknowledged: Vec<usize>,
    /// The first error that was answered.
    pub refusal: Option<Vec<u8>>,
    /// Replies to RESTORE.
    pub answers: usize,
    pub broken: Option<Broken>,
}

pub struct Link {
    stream: TcpStream,
    /// The database that is selected there, if that is sure.
    database: Option<i64>,
    /// Bytes that have been read, and how many of them have been looked at.
    received: Vec<u8>,
    taken: usize,
}

/// What comes of `work`, or that it took longer than `limit`.
async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or(Err(ErrorKind::TimedOut.into()))
}

impl Link {
    pub async fn connect(target: &Target, limit: Duration) -> io::Result<Link> {
        let invalid = || io::Error::from(ErrorKind::InvalidInput);
        let host = std::str::from_utf8(&target.host).map_err(|_| invalid())?;
        let port = port(&target.port).ok_or_else(invalid)?;
        let connect = async {
            let mut failure = io::Error::from(ErrorKind::AddrNotAvailable);
            for address in lookup_host((host, port)).await? {
                match TcpStream::connect(address).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => failure = error,
                }
            }
            Err(failure)
        };
        let stream = within(limit, connect).await?;
        stream.set_nodelay(true)?;
        Ok(Link { stream, database: None, received: Vec::new(), taken: 0 })
    }

    pub async fn deliver(&mut self, job: &Job) -> Run {
        let mut run = Run::default();
        run.broken = self.try_deliver(job, &mut run).await.err();
        // After an error nobody knows what is selected.
        self.database = run.refusal.is_none().then_some(job.database);
        run
    }

    async fn try_deliver(&mut self, job: &Job, run: &mut Run) -> Result<(), Broken> {
        self.greet(job, run).await?;
        if run.refusal.is_some() {
            return Ok(());
        }
        let now_ms = clock::unix_ms();
        let mut sent = Vec::with_capacity(job.packed.len());
        let mut outgoing = Outgoing::new(&mut self.stream, job.timeout);
        for packed in &job.packed {
            // A key that has expired on its way stays where it is.
            let Some(ttl_ms) = ttl_ms(packed, now_ms) else { continue };
            let mut digits = itoa::Buffer::new();
            let ttl = digits.format(ttl_ms).as_bytes();
            let command: [&[u8]; 5] = [b"RESTORE", &job.keys[packed.key], ttl, &packed.payload, b"REPLACE"];
            outgoing.command(if job.replace { &command } else { &command[..4] }).await?;
            sent.push(packed.key);
        }
        outgoing.flush().await?;
        for key in sent {
            let refusal = self.read_reply(job.timeout).await?;
            run.answers += 1;
            match refusal {
                None => run.acknowledged.push(key),
                Some(text) => run.refusal = run.refusal.take().or(Some(text)),
            }
        }
        Ok(())
    }

    /// AUTH and SELECT.
    async fn greet(&mut self, job: &Job, run: &mut Run) -> Result<(), Broken> {
        let mut outgoing = Outgoing::new(&mut self.stream, job.timeout);
        let mut count = 0;
        if let Some(credentials) = &job.credentials {
            let mut command: Vec<&[u8]> = vec![b"AUTH"];
            command.extend(credentials.username.as_deref());
            command.push(&credentials.password);
            outgoing.command(&command).await?;
            count += 1;
        }
        if self.database != Some(job.database) {
            let mut digits = itoa::Buffer::new();
            outgoing.command(&[b"SELECT", digits.format(job.database).as_bytes()]).await?;
            count += 1;
        }
        outgoing.flush().await?;
        for _ in 0..count {
            let refusal = self.read_reply(job.timeout).await?;
            run.refusal = run.refusal.take().or(refusal);
        }
        Ok(())
    }

    /// The next reply: None when it is a status, the text when it is an error.
    async fn read_reply(&mut self, limit: Duration) -> Result<Option<Vec<u8>>, Broken> {
        within(limit, self.read_line()).await.map_err(|error| Broken::new(false, &error))
    }

    async fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut searched = self.taken;
        let end = loop {
            if let Some(at) = memchr::memchr(b'\n', &self.received[searched..]) {
                break searched + at;
            }
            if self.received.len() - self.taken > LINE_BYTES_MAX {
                return Err(ErrorKind::InvalidData.into());
            }
            self.received.drain(..self.taken);
            self.taken = 0;
            searched = self.received.len();
            self.received.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        };
        let line = &self.received[self.taken..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // Who answers otherwise is no such server, and must not be taken to have the keys.
        let reply = match line {
            [b'+', ..] => Ok(None),
            [b'-', text @ ..] => Ok(Some(text[..text.len().min(ERROR_BYTES_MAX)].to_vec())),
            _ => Err(ErrorKind::InvalidData.into()),
        };
        self.taken = end + 1;
        reply
    }
}

/// The number at the beginning of the text, as Redis reads a port.
fn port(text: &[u8]) -> Option<u16> {
    let text = text.trim_ascii_start();
    let len = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    std::str::from_utf8(&text[..len]).ok()?.parse().ok()
}

/// RESTORE's argument, 0 for a key that does not expire. None: it has expired.
fn ttl_ms(packed: &PackedKey, now_ms: i64) -> Option<i64> {
    match packed.expire_at_ms {
        None => Some(0),
        Some(at_ms) if at_ms < now_ms => None,
        Some(at_ms) => Some((at_ms - now_ms).max(1)),
    }
}

/// Commands on their way out, collected into pieces.
struct Outgoing<'a> {
    stream: &'a mut TcpStream,
    timeout: Duration,
    piece: Vec<u8>,
}

impl Outgoing<'_> {
    fn new(stream: &mut TcpStream, timeout: Duration) -> Outgoing<'_> {
        Outgoing { stream, timeout, piece: Vec::new() }
    }

    async fn command(&mut self, args: &[&[u8]]) -> Result<(), Broken> {
        let mut digits = itoa::Buffer::new();
        self.text(b"*", digits.format(args.len())).await?;
        for arg in args {
            self.text(b"$", digits.format(arg.len())).await?;
            self.bytes(arg).await?;
            self.bytes(b"\r\n").await?;
        }
        Ok(())
    }

    async fn text(&mut self, kind: &[u8], number: &str) -> Result<(), Broken> {
        self.bytes(kind).await?;
        self.bytes(number.as_bytes()).await?;
        self.bytes(b"\r\n").await
    }

    async fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let (fits, rest) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.piece.len()));
            self.piece.extend_from_slice(fits);
            bytes = rest;
            if self.piece.len() == PIECE_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        let written = within(self.timeout, self.stream.write_all(&self.piece)).await;
        self.piece.clear();
        written.map_err(|error| Broken::new(true, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_the_number_that_the_text_begins_with() {
        assert_eq!(port(b"6379"), Some(6379));
        assert_eq!(port(b" 80x"), Some(80));
        assert_eq!(port(b"70000"), None);
        assert_eq!(port(b"redis"), None);
    }

    #[test]
    fn what_is_left_of_a_life_is_at_least_a_millisecond() {
        let packed = |expire_at_ms| PackedKey { key: 0, payload: Vec::new(), expire_at_ms };
        assert_eq!(ttl_ms(&packed(None), 100), Some(0));
        assert_eq!(ttl_ms(&packed(Some(150)), 100), Some(50));
        assert_eq!(ttl_ms(&packed(Some(100)), 100), Some(1));
        assert_eq!(ttl_ms(&packed(Some(99)), 100), None);
    }
}
