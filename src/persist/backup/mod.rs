//! Backups over a stream: an RDB file goes to the standard input of a command (PIPESAVE) or to a client (DUMPSAVE, SYNC), and no
//! disk is touched.
//!
//! Each shard's part comes through a pipe of its own, from a forked child or from the thread that writes for a shard without
//! fork. A relay, which is a thread, passes them on, one after the other, so that the stream is one ordinary file; a part
//! whose turn has not come waits in its full pipe. So a consumer that is slow or dead holds up the relay and, through
//! their pipes, those who write, but no shard: what a shard has to keep meanwhile has its own bound.
//!
//! The relay does not know whether a part that it has passed on was whole, for a child may be killed at any byte. So it
//! hears from the shard that leads how long each part is, and in the end, if all were good, the file's last bytes. What has
//! no such end is no file, whoever took it for one.

mod command;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::command::Running;
use crate::base::error_text;
use crate::rdb::file::TRAILER_LEN;
use crate::runtime::pipes::{self, Watched};
use crate::runtime::{background_thread, socket};

/// What is passed on at once, bytes.
const PIECE_BYTES: usize = 256 * 1024;
/// How long the relay waits where nothing has to happen; then it looks again whether something has.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The same, while it waits for the end of a command, which nothing announces.
const LOOK_FOR_END: Duration = Duration::from_millis(20);
/// A command that has got everything may take so long to end: an upload may have to be completed.
const END_MAX: Duration = Duration::from_secs(3600);

/// Who gets the file.
#[derive(Debug)]
pub enum Target {
    /// A command line for the shell.
    Command(Vec<u8>),
    /// A client's connection.
    Client(OwnedFd),
}

/// What comes in front of a file.
#[derive(Debug)]
pub enum Before {
    Now(Vec<u8>),
    /// It is sent by `Relay::send`; nothing leaves before.
    Later,
}

/// What a relay is to do.
#[derive(Debug)]
pub struct Order {
    pub target: Target,
    /// What comes in front of the file, and behind it.
    pub before: Before,
    pub after: Vec<u8>,
    /// Where the parts come from, in their order.
    pub parts: Vec<File>,
    /// How long the target may take nothing at all.
    pub patience: Duration,
}

/// Why a backup has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It is not wanted any more, or a part could not be written.
    GivenUp,
    /// The target takes no more, or has failed.
    Target(String),
}

/// How a backup has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub result: Result<(), Failure>,
    /// Bytes that the target has taken.
    pub bytes: u64,
    /// The exit code of the command; 128 and the signal's number when one has killed it, as a shell has it.
    pub exit: Option<i32>,
}

/// What is told to a relay at work.
#[derive(Debug, Default)]
struct News {
    /// How long each part is, as soon as that is known.
    lens: Vec<Option<u64>>,
    trailer: Option<[u8; TRAILER_LEN]>,
    before: Option<Vec<u8>>,
    is_given_up: bool,
}

/// A relay, from the side of the shard that leads. Dropped, it gives the backup up.
#[derive(Debug)]
pub struct Relay {
    news: Arc<Mutex<News>>,
    bell: UnixStream,
}

fn lock(news: &Mutex<News>) -> MutexGuard<'_, News> {
    // Plain facts: they are whole whenever the lock is free.
    news.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    /// Begins; `done` is called on the relay's thread when the backup has ended, in whatever way. An error: it could not begin,
    /// and `done` is not called.
    pub fn start(order: Order, done: impl FnOnce(Outcome) + Send + 'static) -> io::Result<Relay> {
        let (bell, heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        let news = News { lens: vec![None; order.parts.len()], ..News::default() };
        let news = Arc::new(Mutex::new(news));
        let theirs = news.clone();
        // The command that it runs may use the same cores.
        background_thread::spawn("backup", move || done(serve(order, theirs, heard)))?;
        Ok(Relay { news, bell })
    }

    /// A part is whole.
    pub fn part_is_whole(&self, part: usize, len: u64) {
        lock(&self.news).lens[part] = Some(len);
        self.ring();
    }

    /// All parts are whole, and this ends the file.
    pub fn finish(&self, trailer: [u8; TRAILER_LEN]) {
        lock(&self.news).trailer = Some(trailer);
        self.ring();
    }

    /// What comes in front of the file, where it was to come later.
    pub fn send(&self, before: Vec<u8>) {
        lock(&self.news).before = Some(before);
        self.ring();
    }

    /// What has been passed on is of no use.
    pub fn give_up(&self) {
        lock(&self.news).is_given_up = true;
        self.ring();
    }

    fn ring(&self) {
        // When it does not fit, the bell has been rung often enough.
        let _ = (&self.bell).write(&[0]);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// The target, while the relay works.
enum Consumer {
    Command(Box<Running>),
    Client(OwnedFd),
}

impl Consumer {
    fn start(target: Target) -> io::Result<Consumer> {
        match target {
            Target::Command(line) => Ok(Consumer::Command(Box::new(Running::start(&line)?))),
            Target::Client(socket) => Ok(Consumer::Client(socket)),
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Consumer::Command(running) => running.input_fd(),
            Consumer::Client(socket) => Some(socket.as_fd()),
        }
    }

    fn output_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Consumer::Command(running) => running.output_fd(),
            Consumer::Client(_) => None,
        }
    }

    /// Never waits.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Consumer::Command(running) => running.write(bytes),
            Consumer::Client(socket) => socket::try_send(socket, bytes),
        }
    }

    fn take_output(&mut self) {
        if let Consumer::Command(running) = self {
            running.log_output();
        }
    }
}

fn serve(order: Order, news: Arc<Mutex<News>>, bell: UnixStream) -> Outcome {
    let Order { target, before, after, mut parts, patience } = order;
    let consumer = match Consumer::start(target) {
        Ok(consumer) => consumer,
        Err(error) => {
            let why = format!("the command can't be started: {}", error_text(&error));
            return Outcome { result: Err(Failure::Target(why)), bytes: 0, exit: None };
        }
    };
    let mut worker = Worker { news, bell, consumer, patience, before: Some(before), bytes: 0 };
    let passed_on = worker.pass_on(&mut parts, &after);
    // Whoever still writes a part sees that nobody wants it.
    drop(parts);
    let Worker { bytes, .. } = worker;
    let (result, exit) = worker.end(passed_on);
    Outcome { result, bytes, exit }
}

struct Worker {
    news: Arc<Mutex<News>>,
    bell: UnixStream,
    consumer: Consumer,
    patience: Duration,
    /// Goes out with the first byte of the file: until then a client can still be told that there will be none.
    before: Option<Before>,
    bytes: u64,
}

impl Worker {
    fn pass_on(&mut self, parts: &mut [File], after: &[u8]) -> Result<(), Failure> {
        let mut buffer = vec![0; PIECE_BYTES];
        for (number, part) in parts.iter_mut().enumerate() {
            self.pass_on_part(number, part, &mut buffer)?;
        }
        let trailer = loop {
            if let Some(trailer) = lock(&self.news).trailer {
                break trailer;
            }
            self.wait(None, false, LOOK_AGAIN)?;
        };
        self.send_before()?;
        self.send(&trailer)?;
        self.send(after)
    }

    fn pass_on_part(&mut self, number: usize, part: &mut File, buffer: &mut [u8]) -> Result<(), Failure> {
        let mut passed = 0;
        while lock(&self.news).lens[number].is_none_or(|len| passed < len) {
            if !self.wait(Some(part.as_fd()), false, LOOK_AGAIN)?.from_part {
                continue;
            }
            let read = match part.read(buffer) {
                // The leader has an end of the pipe open, so this is not how a part ends.
                Ok(0) => return Err(Failure::GivenUp),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::Target(error_text(&error))),
            };
            self.send_before()?;
            self.send(&buffer[..read])?;
            passed += read as u64;
        }
        Ok(())
    }

    fn send_before(&mut self) -> Result<(), Failure> {
        let before = match self.before.take() {
            None => return Ok(()),
            Some(Before::Now(before)) => before,
            Some(Before::Later) => loop {
                if let Some(before) = lock(&self.news).before.take() {
                    break before;
                }
                self.wait(None, false, LOOK_AGAIN)?;
            },
        };
        self.send(&before)
    }

    /// Has the target take all of `bytes`.
    fn send(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        let mut last = Instant::now();
        while !bytes.is_empty() {
            match self.consumer.write(bytes) {
                Ok(taken) => {
                    bytes = &bytes[taken..];
                    self.bytes += taken as u64;
                    last = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let left = self.patience.saturating_sub(last.elapsed());
                    if left.is_zero() {
                        let seconds = self.patience.as_secs();
                        let why = format!("nothing was taken for {seconds} seconds (repl-timeout)");
                        return Err(Failure::Target(why));
                    }
                    self.wait(None, true, left)?;
                }
                Err(error) => return Err(Failure::Target(error_text(&error))),
            }
        }
        Ok(())
    }

    /// Waits until a part has something to read, or the target has room, or for some other event.
    fn wait(
        &mut self,
        part: Option<BorrowedFd>,
        for_room: bool,
        patience: Duration,
    ) -> Result<Heard, Failure> {
        if lock(&self.news).is_given_up {
            return Err(Failure::GivenUp);
        }
        let mut watched = [
            Watched::new(Some(self.bell.as_fd()), true, false),
            Watched::new(part, true, false),
            Watched::new(self.consumer.output_fd(), true, false),
            Watched::new(self.consumer.fd(), false, for_room),
        ];
        pipes::wait_for_any(&mut watched, patience).map_err(|error| Failure::Target(error_text(&error)))?;
        let [bell, part, output, target] = watched;
        let (is_rung, from_part) = (bell.has_input, part.has_input);
        let (has_output, is_broken) = (output.has_input, target.is_broken);
        if is_rung {
            // How often it was rung says nothing.
            let _ = (&self.bell).read(&mut [0; 64]);
        }
        if has_output {
            self.consumer.take_output();
        }
        if lock(&self.news).is_given_up {
            return Err(Failure::GivenUp);
        }
        if is_broken && !for_room {
            let error = io::Error::from_raw_os_error(libc::EPIPE);
            return Err(Failure::Target(error_text(&error)));
        }
        Ok(Heard { from_part })
    }

    /// Lets the command come to its end, or brings it there when the file is not whole.
    fn end(mut self, passed_on: Result<(), Failure>) -> (Result<(), Failure>, Option<i32>) {
        let passed_on = passed_on.and_then(|()| self.await_command());
        let Consumer::Command(mut running) = self.consumer else { return (passed_on, None) };
        let exit = match &passed_on {
            Ok(()) => running.exit(),
            // What closed its input is about to end by itself, and its exit code says more than our signal.
            Err(failure) => running.stop(*failure != Failure::GivenUp),
        };
        running.log_rest();
        let result = match (passed_on, exit) {
            (Ok(()), Some(0)) => Ok(()),
            (Ok(()), Some(code)) => Err(Failure::Target(format!("the command exited with code {code}"))),
            (Ok(()), None) => Err(Failure::Target("nobody knows how the command ended".to_owned())),
            (failed, _) => failed,
        };
        (result, exit)
    }

    /// A command that has got everything ends by itself.
    fn await_command(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        if let Consumer::Command(running) = &mut self.consumer {
            running.close_input();
        }
        loop {
            let Consumer::Command(running) = &mut self.consumer else { return Ok(()) };
            match running.has_ended() {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => return Err(Failure::Target(error_text(&error))),
            }
            if began.elapsed() > END_MAX {
                let why = format!("the command has not ended in {} seconds", END_MAX.as_secs());
                return Err(Failure::Target(why));
            }
            self.wait(None, false, LOOK_FOR_END)?;
        }
    }
}

/// What has woken the relay, as far as it matters.
struct Heard {
    from_part: bool,
}
