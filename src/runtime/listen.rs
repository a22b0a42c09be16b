//! Listening sockets: TCP on every `bind` address, and the unix socket.

use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::net::{self, sockopt, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::base::error_text;
use crate::base::text::Text;
use crate::text;

/// What the kernel has room for in the address of a unix socket.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// What kind of door a listener is: whoever comes in is served accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Clients over TCP: `bind`, `port`.
    Tcp,
    /// Clients of this machine: `unixsocket`.
    Unix,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Tcp => "tcp",
            Kind::Unix => "unix",
        }
    }

    /// Whether CONFIG SET of `bind` and `port` is about it.
    pub fn is_rebound(self) -> bool {
        match self {
            Kind::Tcp => true,
            Kind::Unix => false,
        }
    }
}

#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    /// As configured, for messages.
    pub name: Vec<u8>,
    pub kind: Kind,
}

impl Listener {
    /// For operations of the ring.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub fn socket(&self) -> &OwnedFd {
        &self.fd
    }
}

#[derive(Debug)]
pub struct ListenError {
    pub address: Vec<u8>,
    pub error: io::Error,
}

impl ListenError {
    pub fn is_in_use(&self) -> bool {
        self.error.raw_os_error() == Some(libc::EADDRINUSE)
    }

    pub fn text(&self) -> Text {
        text!(
            "Could not create server TCP listening socket ",
            self.address,
            ": bind: ",
            error_text(&self.error)
        )
    }
}

fn bind_tcp(address: SocketAddr, backlog: i32, mark: u32) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let fd = socket(family)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if mark != 0 {
        set_mark(&fd, mark)?;
    }
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    net::bind(&fd, &address)?;
    net::listen(&fd, backlog)?;
    Ok(fd)
}

fn socket(family: AddressFamily) -> io::Result<OwnedFd> {
    Ok(net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

fn set_mark(fd: &OwnedFd, mark: u32) -> io::Result<()> {
    // SAFETY: the value is an unsigned int that lives through the call, of the size given.
    let status = unsafe {
        let value = std::ptr::from_ref(&mark).cast();
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MARK, value, size_of::<u32>() as u32)
    };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
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

fn resolve(host: &[u8], port: u16) -> io::Result<SocketAddr> {
    match host {
        b"*" => Ok(SocketAddr::new(IpAddr::from([0u8; 4]), port)),
        b"::*" => Ok(SocketAddr::new(IpAddr::from([0u16; 8]), port)),
        _ => {
            let no_address = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            let host = std::str::from_utf8(host).map_err(|_| no_address())?;
            (host, port).to_socket_addrs()?.next().ok_or_else(no_address)
        }
    }
}

/// The name of the listener at an address.
pub fn address_name(host: &[u8], port: u16) -> Vec<u8> {
    text!(host, format_args!(":{port}")).into_bytes()
}

/// Listens on `port` at each of `addresses` (`*`, IPv4, IPv6, names; a leading `-` makes one optional). All or
/// nothing: an error leaves no socket open. `port` 0 means no TCP at all.
pub fn tcp(addresses: &[Vec<u8>], port: u16, backlog: i32, mark: u32) -> Result<Vec<Listener>, ListenError> {
    let mut listeners = Vec::new();
    if port == 0 {
        return Ok(listeners);
    }
    for configured in addresses {
        let (host, optional) = match configured.strip_prefix(b"-") {
            Some(host) => (host, true),
            None => (&configured[..], false),
        };
        let name = address_name(host, port);
        match resolve(host, port).and_then(|address| bind_tcp(address, backlog, mark)) {
            Ok(fd) => listeners.push(Listener { fd, name, kind: Kind::Tcp }),
            Err(error) if optional && address_is_unavailable(&error) => {}
            Err(error) => return Err(ListenError { address: name, error }),
        }
    }
    Ok(listeners)
}

/// Listens on a unix socket at `path`, replacing a socket left there; `mode` are its permissions (0: the umask's).
pub fn unix(path: &Path, mode: u32, backlog: i32) -> io::Result<Listener> {
    if path.as_os_str().len() > UNIX_PATH_BYTES_MAX {
        let why = format!("the path is longer than {UNIX_PATH_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let address = SocketAddrUnix::new(path)?;
    // A socket that an earlier run left behind would refuse the bind.
    let _ = std::fs::remove_file(path);
    let fd = socket(AddressFamily::UNIX)?;
    net::bind(&fd, &address)?;
    net::listen(&fd, backlog)?;
    if mode != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(Listener { fd, name: path.as_os_str().as_bytes().to_vec(), kind: Kind::Unix })
}
