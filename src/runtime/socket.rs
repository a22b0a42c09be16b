//! Settings and names of connected sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::net::{self, sockopt, AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrAny};

use crate::base::Address;

pub fn set_no_delay(socket: impl AsFd) -> bool {
    sockopt::set_tcp_nodelay(socket, true).is_ok()
}

/// Probes a silent peer after `seconds`, then three times at a third of that.
pub fn set_keep_alive(socket: impl AsFd, seconds: u32) -> bool {
    let socket = socket.as_fd();
    let interval = Duration::from_secs((seconds / 3).max(1).into());
    sockopt::set_socket_keepalive(socket, true).is_ok()
        && sockopt::set_tcp_keepidle(socket, Duration::from_secs(seconds.into())).is_ok()
        && sockopt::set_tcp_keepintvl(socket, interval).is_ok()
        && sockopt::set_tcp_keepcnt(socket, 3).is_ok()
}

/// Ends both directions: pending operations complete at once.
pub fn shutdown(socket: impl AsFd) {
    // An error means that the peer was faster.
    let _ = net::shutdown(socket, Shutdown::Both);
}

/// Whether there is something to receive, or the peer has gone.
pub fn has_news(socket: impl AsFd) -> bool {
    let mut looked = [PollFd::new(&socket, PollFlags::IN | PollFlags::RDHUP)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut looked, Some(&at_once)).is_ok_and(|found| found > 0)
}

/// Sends what fits at once, without waiting: for a last word to a connection that is about to be closed.
pub fn send_now(socket: impl AsFd, bytes: &[u8]) {
    // A failure loses a courtesy message only.
    let _ = try_send(socket, bytes);
}

/// Sends what fits at once; `WouldBlock` when nothing does.
pub fn try_send(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// Receives what is there; `WouldBlock` when nothing is. 0: the end.
pub fn try_receive(socket: impl AsFd, into: &mut [u8]) -> io::Result<usize> {
    Ok(net::recv(socket, into, RecvFlags::DONTWAIT)?.0)
}

/// Nothing more is sent; what the peer says is still received.
pub fn end_output(socket: impl AsFd) {
    // An error means that the peer was faster.
    let _ = net::shutdown(socket, Shutdown::Write);
}

/// Another descriptor of the same connection, which stays open whatever becomes of this one.
pub fn duplicate(socket: BorrowedFd) -> io::Result<OwnedFd> {
    socket.try_clone_to_owned()
}

fn address(name: Option<SocketAddrAny>) -> Address {
    let Some(name) = name else { return Address::Unknown };
    if name.address_family() == AddressFamily::UNIX {
        return Address::Unix;
    }
    SocketAddr::try_from(name).map_or(Address::Unknown, |name| Address::Ip(name.ip(), name.port()))
}

pub fn peer(socket: impl AsFd) -> Address {
    address(net::getpeername(socket).ok().flatten())
}

pub fn local(socket: impl AsFd) -> Address {
    address(net::getsockname(socket).ok())
}
