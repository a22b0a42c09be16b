//! A connection to another server that waits for it, for threads beside the shards.
//!
//! Every wait has a limit: for connecting, for each piece that is written, and for each reply.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::replies::{Limits, Replies, Reply};

/// What is written at once; each piece has the whole timeout.
const PIECE_BYTES: usize = 64 * 1024;
const READ_BYTES: usize = 16 * 1024;

pub struct Client {
    stream: TcpStream,
    replies: Replies,
    received: Box<[u8]>,
}

impl Client {
    /// Connects to the first address of `host` that answers, within `timeout` for all of them.
    pub fn connect(host: &str, port: u16, timeout: Duration, limits: Limits) -> io::Result<Client> {
        let deadline = Instant::now() + timeout;
        let mut failure = io::Error::from(ErrorKind::AddrNotAvailable);
        for address in (host, port).to_socket_addrs()? {
            match left(deadline).and_then(|left| TcpStream::connect_timeout(&address, left)) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let received = vec![0; READ_BYTES].into_boxed_slice();
                    return Ok(Client { stream, replies: Replies::new(limits), received });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Commands are collected, and go out piece by piece.
    pub fn send(&self, timeout: Duration) -> Outgoing<'_> {
        Outgoing { stream: &self.stream, timeout, piece: Vec::new() }
    }

    /// The next reply. `InvalidData`: the other side does not speak the protocol, or beyond the limits.
    pub fn reply(&mut self, timeout: Duration) -> io::Result<Reply> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.replies.next() {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(_) => return Err(ErrorKind::InvalidData.into()),
            }
            self.stream.set_read_timeout(Some(left(deadline)?))?;
            match self.stream.read(&mut self.received) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.replies.feed(&self.received[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// What is left until `deadline`; an error when that is over.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// Commands on their way out, collected into pieces.
pub struct Outgoing<'a> {
    stream: &'a TcpStream,
    timeout: Duration,
    piece: Vec<u8>,
}

impl Outgoing<'_> {
    pub fn command(&mut self, args: &[&[u8]]) -> io::Result<()> {
        let mut digits = itoa::Buffer::new();
        self.text(b"*", digits.format(args.len()))?;
        for arg in args {
            self.text(b"$", digits.format(arg.len()))?;
            self.bytes(arg)?;
            self.bytes(b"\r\n")?;
        }
        Ok(())
    }

    fn text(&mut self, kind: &[u8], number: &str) -> io::Result<()> {
        self.bytes(kind)?;
        self.bytes(number.as_bytes())?;
        self.bytes(b"\r\n")
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (fits, rest) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.piece.len()));
            self.piece.extend_from_slice(fits);
            bytes = rest;
            if self.piece.len() == PIECE_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        let written = self.write(Instant::now() + self.timeout);
        self.piece.clear();
        written
    }

    fn write(&mut self, deadline: Instant) -> io::Result<()> {
        let mut rest = &self.piece[..];
        while !rest.is_empty() {
            self.stream.set_write_timeout(Some(left(deadline)?))?;
            match self.stream.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
