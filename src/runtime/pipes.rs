//! What a thread needs that waits for pipes, sockets and a command at the same time, and must not be held up by any of them.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// Bytes that a pipe may hold, where the system allows it; otherwise it holds what pipes do.
const PIPE_BYTES: libc::c_int = 1 << 20;

/// A descriptor, and what is waited for on it. That it is broken is waited for in any case.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// -1: none.
    pub fd: RawFd,
    pub for_input: bool,
    pub for_room: bool,
    /// What has come of it: there is something to read, or its end; something may be written; nobody reads what is written.
    pub has_input: bool,
    pub has_room: bool,
    pub is_broken: bool,
}

impl Watched {
    pub fn new(fd: Option<RawFd>, for_input: bool, for_room: bool) -> Watched {
        let fd = fd.unwrap_or(-1);
        Watched { fd, for_input, for_room, has_input: false, has_room: false, is_broken: false }
    }
}

/// Waits until something of what is watched has happened, `patience` at most.
pub fn wait_for_any<const N: usize>(watched: &mut [Watched; N], patience: Duration) -> io::Result<()> {
    let mut polled = watched.map(|one| {
        let input = if one.for_input { libc::POLLIN } else { 0 };
        let room = if one.for_room { libc::POLLOUT } else { 0 };
        libc::pollfd { fd: one.fd, events: input | room, revents: 0 }
    });
    // Rounded up, so that the end of the patience is seen at once.
    let timeout_ms = patience.as_micros().div_ceil(1000).min(i32::MAX as u128) as libc::c_int;
    // SAFETY: the pointer and the length are those of a live array of `pollfd`.
    let status = unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, timeout_ms) };
    if status == -1 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
    }
    for (one, polled) in watched.iter_mut().zip(polled) {
        one.has_input = polled.revents & (libc::POLLIN | libc::POLLHUP) != 0;
        one.has_room = polled.revents & libc::POLLOUT != 0;
        one.is_broken = polled.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0;
    }
    Ok(())
}

/// The two ends of a pipe: what is read from, and what is written to.
pub fn pipe() -> io::Result<(File, File)> {
    let (from, to) = io::pipe()?;
    let (from, to) =
        (File::from(std::os::fd::OwnedFd::from(from)), File::from(std::os::fd::OwnedFd::from(to)));
    // SAFETY: changes a setting of a pipe that we own; where it is refused the pipe stays as it is.
    unsafe { libc::fcntl(to.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES) };
    Ok((from, to))
}

/// Reads and writes on this end of a pipe say `WouldBlock` instead of waiting. Those on its other end go on waiting.
pub fn never_wait(end: &File) -> io::Result<()> {
    // SAFETY: reads and sets the flags of a descriptor that we own.
    let status = unsafe {
        let flags = libc::fcntl(end.as_raw_fd(), libc::F_GETFL);
        if flags == -1 {
            -1
        } else {
            libc::fcntl(end.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
        }
    };
    match status {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Sends a signal to a child that leads a process group, and has not been waited for, and to all that it has started there.
pub fn signal_group(leader: u32, signal: libc::c_int) {
    if let Ok(group) = libc::pid_t::try_from(leader) {
        // SAFETY: plain system call; the number is still the child's, because it has not been waited for.
        unsafe { libc::kill(-group, signal) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    const SOON: Duration = Duration::from_millis(10);

    #[test]
    fn a_pipe_tells_of_input_of_room_and_of_an_end_that_is_gone() {
        let (mut from, mut to) = pipe().unwrap();
        let look = |from: &File, to: &File| {
            let mut watched = [
                Watched::new(Some(from.as_raw_fd()), true, false),
                Watched::new(Some(to.as_raw_fd()), false, true),
                Watched::new(None, true, true),
            ];
            wait_for_any(&mut watched, SOON).unwrap();
            watched
        };
        let [input, room, none] = look(&from, &to);
        assert!(!input.has_input && room.has_room && !room.is_broken && !none.is_broken);
        to.write_all(b"x").unwrap();
        assert!(look(&from, &to)[0].has_input);
        assert_eq!(from.read(&mut [0; 10]).unwrap(), 1);
        drop(from);
        let mut watched = [Watched::new(Some(to.as_raw_fd()), false, false)];
        wait_for_any(&mut watched, SOON).unwrap();
        assert!(watched[0].is_broken);
    }

    #[test]
    fn an_end_that_never_waits_says_so() {
        let (mut from, mut to) = pipe().unwrap();
        never_wait(&from).unwrap();
        never_wait(&to).unwrap();
        assert_eq!(from.read(&mut [0; 10]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let full = loop {
            if let Err(error) = to.write(&[0; 65536]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }
}
