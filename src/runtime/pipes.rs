//! What a thread needs that waits for pipes, sockets and a command at the same time, and must not be held up by any of them.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Pid;
pub use rustix::process::Signal;

/// Bytes that a pipe may hold, where the system allows it; otherwise it holds what pipes do.
const PIPE_BYTES: usize = 1 << 20;

/// A descriptor, and what is waited for on it. That it is broken is waited for in any case.
#[derive(Clone, Copy, Debug)]
pub struct Watched<'fd> {
    fd: Option<BorrowedFd<'fd>>,
    for_input: bool,
    for_room: bool,
    /// What has come of it: there is something to read, or its end; something may be written; nobody reads what is written.
    pub has_input: bool,
    pub has_room: bool,
    pub is_broken: bool,
}

impl<'fd> Watched<'fd> {
    pub fn new(fd: Option<BorrowedFd<'fd>>, for_input: bool, for_room: bool) -> Watched<'fd> {
        Watched { fd, for_input, for_room, has_input: false, has_room: false, is_broken: false }
    }
}

/// Waits until something of what is watched has happened, `patience` at most.
pub fn wait_for_any<const N: usize>(watched: &mut [Watched; N], patience: Duration) -> io::Result<()> {
    let mut polled: Vec<PollFd> = Vec::with_capacity(N);
    for one in watched.iter() {
        let Some(fd) = one.fd else { continue };
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, one.for_input);
        events.set(PollFlags::OUT, one.for_room);
        polled.push(PollFd::from_borrowed_fd(fd, events));
    }
    // A patience beyond what the system can count has no end.
    match poll(&mut polled, Timespec::try_from(patience).ok().as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    for (one, polled) in watched.iter_mut().filter(|one| one.fd.is_some()).zip(polled) {
        let came = polled.revents();
        one.has_input = came.intersects(PollFlags::IN | PollFlags::HUP);
        one.has_room = came.contains(PollFlags::OUT);
        one.is_broken = came.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
    }
    Ok(())
}

/// The two ends of a pipe: what is read from, and what is written to.
pub fn pipe() -> io::Result<(File, File)> {
    let (from, to) = io::pipe()?;
    let (from, to) = (File::from(OwnedFd::from(from)), File::from(OwnedFd::from(to)));
    // Where it is refused the pipe stays as it is.
    let _ = rustix::pipe::fcntl_setpipe_size(&to, PIPE_BYTES);
    Ok((from, to))
}

/// Reads and writes on this end of a pipe say `WouldBlock` instead of waiting. Those on its other end go on waiting.
pub fn never_wait(end: &File) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(end)?;
    Ok(rustix::fs::fcntl_setfl(end, flags | rustix::fs::OFlags::NONBLOCK)?)
}

/// Sends a signal to a child that leads a process group, and has not been waited for, and to all that it has started there.
pub fn signal_group(leader: u32, signal: Signal) {
    // The number is still the child's, because it has not been waited for.
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, signal);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    const SOON: Duration = Duration::from_millis(10);

    #[test]
    fn a_pipe_tells_of_input_of_room_and_of_an_end_that_is_gone() {
        let (mut from, mut to) = pipe().unwrap();
        fn look<'fd>(from: &'fd File, to: &'fd File) -> [Watched<'fd>; 3] {
            let mut watched = [
                Watched::new(Some(from.as_fd()), true, false),
                Watched::new(Some(to.as_fd()), false, true),
                Watched::new(None, true, true),
            ];
            wait_for_any(&mut watched, SOON).unwrap();
            watched
        }
        let [input, room, none] = look(&from, &to);
        assert!(!input.has_input && room.has_room && !room.is_broken && !none.is_broken);
        to.write_all(b"x").unwrap();
        assert!(look(&from, &to)[0].has_input);
        assert_eq!(from.read(&mut [0; 10]).unwrap(), 1);
        drop(from);
        let mut watched = [Watched::new(Some(to.as_fd()), false, false)];
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
