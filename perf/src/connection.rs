//! One connection to the server, over TCP or a unix socket, with the operations both loops need.

use std::future::Future;
use std::io;
use std::net::{Shutdown, TcpStream as StdTcpStream};
use std::path::PathBuf;
use std::pin::pin;
use std::task::Poll;
use tokio_uring::buf::{BoundedBuf, Slice};
use tokio_uring::net::{TcpStream, UnixStream};
use tokio_uring::UnsubmittedWrite;

/// Where the server listens.
#[derive(Clone, Debug)]
pub enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

/// A connected stream socket.
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Room for one receive.
const RECEIVE_BYTES: usize = 64 * 1024;

/// A buffer to receive into.
pub fn receive_buffer() -> Vec<u8> {
    Vec::with_capacity(RECEIVE_BYTES)
}

/// A write into an empty send buffer, no longer than this, is never cut short: Linux starts a TCP socket with
/// 16 KiB and a unix socket with more.
const WRITTEN_WHOLE_BYTES_MAX: usize = 16 * 1024;

type WriteInFlight = tokio_uring::InFlightOneshot<
    tokio_uring::WriteData<Slice<Vec<u8>>>,
    tokio_uring::WriteTransform<Slice<Vec<u8>>>,
>;

/// A write that has been submitted and may be cut short; it owns the bytes until it is done.
pub struct Write<'a> {
    socket: &'a Socket,
    in_flight: Option<WriteInFlight>,
    buffer: Vec<u8>,
    may_be_cut: bool,
}

impl Socket {
    /// Connects, blocking; meant for before a run.
    pub fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(host, port) => {
                let stream = StdTcpStream::connect((host.as_str(), *port))?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(TcpStream::from_std(stream)))
            }
            Address::Unix(path) => {
                Ok(Self::Unix(UnixStream::from_std(std::os::unix::net::UnixStream::connect(path)?)))
            }
        }
    }

    /// Ends both directions: reads in flight complete with nothing.
    pub fn shutdown(&self) {
        // An error says that the server was first.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    fn write(&self, bytes: Slice<Vec<u8>>) -> UnsubmittedWrite<Slice<Vec<u8>>> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    /// Receives what is there, at least a byte; an empty buffer means the server closed.
    pub async fn read(&self, mut buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        buffer.clear();
        let (result, buffer) = match self {
            Self::Tcp(stream) => stream.read(buffer).await,
            Self::Unix(stream) => stream.read(buffer).await,
        };
        (result.map(|_| ()), buffer)
    }

    /// Queues all of `bytes` for sending; it goes out when the thread next waits, with everything else
    /// queued by then.
    pub fn start_write(&self, bytes: Vec<u8>) -> Write<'_> {
        Write {
            socket: self,
            may_be_cut: bytes.len() > WRITTEN_WHOLE_BYTES_MAX,
            in_flight: Some(self.write(bytes.slice_full()).submit()),
            buffer: Vec::new(),
        }
    }
}

impl Write<'_> {
    /// Waits until all bytes are sent.
    pub async fn finish(mut self) -> (io::Result<()>, Vec<u8>) {
        let result = std::future::poll_fn(|context| self.poll(context)).await;
        (result, self.buffer)
    }

    /// Receives, and keeps a write that was cut short going meanwhile. Everything sent before must have been
    /// answered: then the send buffer is empty, a small write needs no watching, and its completion wakes
    /// no task.
    pub async fn read_meanwhile(&mut self, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let socket = self.socket;
        let mut read = pin!(socket.read(buffer));
        std::future::poll_fn(|context| {
            if let Poll::Ready(read) = read.as_mut().poll(context) {
                return Poll::Ready(read);
            }
            if self.may_be_cut {
                // A failed write shows as a failed read, too.
                let _ = self.poll(context);
            }
            Poll::Pending
        })
        .await
    }

    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        while let Some(write) = &mut self.in_flight {
            let Poll::Ready((result, bytes)) = pin!(write).poll(context) else {
                return Poll::Pending;
            };
            self.in_flight = None;
            match result {
                Err(error) => return Poll::Ready(Err(error)),
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) if count < bytes.bytes_init() => {
                    self.in_flight = Some(self.socket.write(bytes.slice(count..)).submit());
                }
                Ok(_) => self.buffer = bytes.into_inner(),
            }
        }
        Poll::Ready(Ok(()))
    }
}
