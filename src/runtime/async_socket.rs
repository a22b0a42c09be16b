//! A connected socket of any kind for tasks of the control plane, which others hold a descriptor of, too.
//!
//! tokio's own sockets need descriptors that never wait, a property that all descriptors of a connection share. Here each call says for
//! itself that it does not wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::unix::AsyncFd;
use tokio::io::Interest;

use super::socket;

#[derive(Debug)]
pub struct AsyncSocket(AsyncFd<OwnedFd>);

impl AsFd for AsyncSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl AsyncSocket {
    /// Within a runtime.
    pub fn new(socket: OwnedFd) -> io::Result<AsyncSocket> {
        // SAFETY: `OwnedFd` owns a valid descriptor, which is neither replaced nor closed while the `AsyncFd` has it: nobody gets at
        // it but by reference.
        let watched = unsafe { AsyncFd::register(socket) };
        Ok(AsyncSocket(watched?))
    }

    /// Sends what fits at once; `WouldBlock` when nothing does, or when the socket has not been seen to have room.
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_io(Interest::WRITABLE, |fd| socket::try_send(fd, bytes))
    }

    /// Waits until `try_send` may succeed.
    pub async fn has_room(&self) -> io::Result<()> {
        self.0.writable().await?.retain_ready();
        Ok(())
    }

    /// Waits for input. 0: the end.
    pub async fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(received) = ready.try_io(|fd| socket::try_receive(fd.get_ref(), into)) {
                return received;
            }
        }
    }
}
