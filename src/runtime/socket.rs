//! Settings and names of connected sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::base::Address;

fn set(fd: RawFd, level: i32, option: i32, value: i32) -> bool {
    // SAFETY: the value is an int that lives through the call, of the size given.
    unsafe {
        libc::setsockopt(
            fd,
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            std::mem::size_of::<i32>() as u32,
        ) == 0
    }
}

pub fn set_no_delay(fd: RawFd) -> bool {
    set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)
}

/// Probes a silent peer after `seconds`, then three times at a third of that.
pub fn set_keep_alive(fd: RawFd, seconds: u32) -> bool {
    let interval = (seconds / 3).max(1) as i32;
    set(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)
        && set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, seconds as i32)
        && set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, interval)
        && set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3)
}

/// Ends both directions: pending operations complete at once.
pub fn shutdown(fd: RawFd) {
    // SAFETY: shutting down a descriptor that we own; an error means that the peer was faster.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

/// Whether there is something to receive, or the peer has gone.
pub fn has_news(fd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN | libc::POLLRDHUP, revents: 0 };
    // SAFETY: one pollfd, and no waiting.
    unsafe { libc::poll(&mut poll, 1, 0) > 0 }
}

pub fn close(fd: RawFd) {
    // SAFETY: the caller owns the descriptor and does not use it again.
    unsafe { libc::close(fd) };
}

/// Sends what fits at once, without waiting: for a last word to a connection that is about to be closed.
pub fn send_now(fd: RawFd, bytes: &[u8]) {
    // SAFETY: the slice is valid for its length; a failure loses a courtesy message only.
    unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
}

/// Sends what fits at once; `WouldBlock` when nothing does.
pub fn try_send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the slice is valid for its length.
    match unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) } {
        -1 => Err(io::Error::last_os_error()),
        sent => Ok(sent as usize),
    }
}

/// Another descriptor of the same connection, which stays open whatever becomes of this one.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the caller's descriptor is open during the call.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
}

type GetName = unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut libc::socklen_t) -> i32;

fn address(fd: RawFd, get: GetName) -> Address {
    // SAFETY: sockaddr_storage may be all zeroes; the call writes at most `len` bytes into it.
    let storage = unsafe {
        let mut storage: libc::sockaddr_storage = std::mem::zeroed();
        let mut len = std::mem::size_of_val(&storage) as libc::socklen_t;
        if get(fd, std::ptr::from_mut(&mut storage).cast(), &mut len) != 0 {
            return Address::Unknown;
        }
        storage
    };
    match storage.ss_family as i32 {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds a sockaddr_in, and it is aligned for every family.
            let v4 = unsafe { &*std::ptr::from_ref(&storage).cast::<libc::sockaddr_in>() };
            Address::Ip(
                IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr))),
                u16::from_be(v4.sin_port),
            )
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let v6 = unsafe { &*std::ptr::from_ref(&storage).cast::<libc::sockaddr_in6>() };
            Address::Ip(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)), u16::from_be(v6.sin6_port))
        }
        libc::AF_UNIX => Address::Unix,
        _ => Address::Unknown,
    }
}

pub fn peer(fd: RawFd) -> Address {
    address(fd, libc::getpeername)
}

pub fn local(fd: RawFd) -> Address {
    address(fd, libc::getsockname)
}
