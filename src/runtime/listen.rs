//! Listening sockets: TCP on every `bind` address, and the unix socket.

use std::ffi::CString;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::base::error_text;

#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    /// As configured, for messages.
    pub name: String,
    pub unix: bool,
}

impl Listener {
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[derive(Debug)]
pub struct ListenError {
    pub address: String,
    pub error: io::Error,
}

impl ListenError {
    pub fn is_in_use(&self) -> bool {
        self.error.raw_os_error() == Some(libc::EADDRINUSE)
    }
}

impl std::fmt::Display for ListenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Could not create server TCP listening socket {}: bind: {}",
            self.address,
            error_text(&self.error)
        )
    }
}

fn check(status: i32) -> io::Result<()> {
    if status < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn socket(family: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain system call; the descriptor is owned from here on.
    unsafe {
        let fd = libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        check(fd)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

fn set_flag(fd: &OwnedFd, level: i32, option: i32) -> io::Result<()> {
    let on = 1i32;
    // SAFETY: the value is an int that lives through the call, of the size given.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&on).cast(),
            std::mem::size_of::<i32>() as u32,
        )
    })
}

fn bind_tcp(address: SocketAddr, backlog: i32, mark: u32) -> io::Result<OwnedFd> {
    let fd = socket(if address.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET })?;
    set_flag(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    if mark != 0 {
        // SAFETY: as in set_flag.
        check(unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MARK,
                std::ptr::from_ref(&mark).cast(),
                4,
            )
        })?;
    }
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: all-zero is a valid sockaddr_in; the pointer and length describe it.
            unsafe {
                let mut raw: libc::sockaddr_in = std::mem::zeroed();
                raw.sin_family = libc::AF_INET as u16;
                raw.sin_port = v4.port().to_be();
                raw.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                let len = std::mem::size_of_val(&raw) as u32;
                check(libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&raw).cast(), len))?;
            }
        }
        SocketAddr::V6(v6) => {
            set_flag(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)?;
            // SAFETY: as above, for sockaddr_in6.
            unsafe {
                let mut raw: libc::sockaddr_in6 = std::mem::zeroed();
                raw.sin6_family = libc::AF_INET6 as u16;
                raw.sin6_port = v6.port().to_be();
                raw.sin6_addr.s6_addr = v6.ip().octets();
                raw.sin6_scope_id = v6.scope_id();
                let len = std::mem::size_of_val(&raw) as u32;
                check(libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&raw).cast(), len))?;
            }
        }
    }
    // SAFETY: plain system call on our descriptor.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) })?;
    Ok(fd)
}

/// An optional address (written with a leading `-`) may be missing for these reasons.
fn address_is_unavailable(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EADDRNOTAVAIL
                | libc::EAFNOSUPPORT
                | libc::ENOPROTOOPT
                | libc::EPROTONOSUPPORT
                | libc::ESOCKTNOSUPPORT
                | libc::EPFNOSUPPORT
        )
    )
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    match host {
        "*" => Ok(SocketAddr::new(IpAddr::from([0u8; 4]), port)),
        "::*" => Ok(SocketAddr::new(IpAddr::from([0u16; 8]), port)),
        _ => (host, port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
    }
}

/// Listens on `port` at each of `addresses` (`*`, IPv4, IPv6, names; a leading `-` makes one optional). All or
/// nothing: an error leaves no socket open. `port` 0 means no TCP at all.
pub fn tcp(addresses: &[String], port: u16, backlog: i32, mark: u32) -> Result<Vec<Listener>, ListenError> {
    let mut listeners = Vec::new();
    if port == 0 {
        return Ok(listeners);
    }
    for configured in addresses {
        let (host, optional) = match configured.strip_prefix('-') {
            Some(host) => (host, true),
            None => (configured.as_str(), false),
        };
        match resolve(host, port).and_then(|address| bind_tcp(address, backlog, mark)) {
            Ok(fd) => listeners.push(Listener { fd, name: format!("{host}:{port}"), unix: false }),
            Err(error) if optional && address_is_unavailable(&error) => {}
            Err(error) => return Err(ListenError { address: format!("{host}:{port}"), error }),
        }
    }
    Ok(listeners)
}

/// Listens on a unix socket at `path`, replacing a socket left there; `mode` are its permissions (0: the umask's).
pub fn unix(path: &Path, mode: u32, backlog: i32) -> io::Result<Listener> {
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: all-zero is a valid sockaddr_un.
    let mut raw: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    if bytes.len() >= raw.sun_path.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the path is longer than {} bytes", raw.sun_path.len() - 1),
        ));
    }
    // A socket that an earlier run left behind would refuse the bind.
    let _ = std::fs::remove_file(path);
    let fd = socket(libc::AF_UNIX)?;
    raw.sun_family = libc::AF_UNIX as u16;
    for (to, from) in raw.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    // SAFETY: the address is initialised and of the length given; the path is a C string without inner zeroes
    // (CString::new below would refuse them).
    unsafe {
        let len = std::mem::size_of_val(&raw) as u32;
        check(libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&raw).cast(), len))?;
        check(libc::listen(fd.as_raw_fd(), backlog))?;
        if mode != 0 {
            check(libc::chmod(CString::new(bytes)?.as_ptr(), mode))?;
        }
    }
    Ok(Listener { fd, name: path.display().to_string(), unix: true })
}
