//! A connection to another server, for tasks of the control plane.
//!
//! Every wait has a limit: for connecting, for each piece that is written, and for each reply.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{lookup_host, TcpStream};
use tokio::time::timeout;

use super::replies::{Limits, Replies, Reply};

/// What is written at once; each piece has the whole limit.
const PIECE_BYTES: usize = 64 * 1024;
const READ_BYTES: usize = 16 * 1024;

pub struct Client {
    stream: TcpStream,
    replies: Replies,
    received: Vec<u8>,
}

/// What comes of `work`, or that it took longer than `limit`.
async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or(Err(ErrorKind::TimedOut.into()))
}

impl Client {
    /// Connects to the first address of `host` that answers, within `limit` for all of them.
    pub async fn connect(host: &str, port: u16, limit: Duration, limits: Limits) -> io::Result<Client> {
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
        Ok(Client { stream, replies: Replies::new(limits), received: Vec::with_capacity(READ_BYTES) })
    }

    /// Commands are collected, and go out piece by piece; `limit` is for each.
    pub fn send(&mut self, limit: Duration) -> Outgoing<'_> {
        Outgoing { stream: &mut self.stream, limit, piece: Vec::new() }
    }

    /// The next reply. `InvalidData`: the other side does not speak the protocol, or beyond the limits.
    pub async fn reply(&mut self, limit: Duration) -> io::Result<Reply> {
        within(limit, self.read()).await
    }

    async fn read(&mut self) -> io::Result<Reply> {
        loop {
            match self.replies.next() {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(_) => return Err(ErrorKind::InvalidData.into()),
            }
            self.received.clear();
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.replies.feed(&self.received);
        }
    }
}

/// Commands on their way out, collected into pieces.
pub struct Outgoing<'a> {
    stream: &'a mut TcpStream,
    limit: Duration,
    piece: Vec<u8>,
}

impl Outgoing<'_> {
    pub async fn command(&mut self, args: &[&[u8]]) -> io::Result<()> {
        let mut digits = itoa::Buffer::new();
        self.text(b"*", digits.format(args.len())).await?;
        for arg in args {
            self.text(b"$", digits.format(arg.len())).await?;
            self.bytes(arg).await?;
            self.bytes(b"\r\n").await?;
        }
        Ok(())
    }

    async fn text(&mut self, kind: &[u8], number: &str) -> io::Result<()> {
        self.bytes(kind).await?;
        self.bytes(number.as_bytes()).await?;
        self.bytes(b"\r\n").await
    }

    async fn bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
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

    /// Sends what has been collected.
    pub async fn flush(&mut self) -> io::Result<()> {
        let written = within(self.limit, self.stream.write_all(&self.piece)).await;
        self.piece.clear();
        written
    }
}
