//! The command of a PIPESAVE: it reads the RDB file from its standard input, what it says goes to the server's log, and its exit code
//! tells whether the file is in safety.
//!
//! An end of its input means to the command that the file is whole. So a command whose file is not is stopped first, with all that it
//! has started, and its input is closed behind it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::base::log::Level;
use crate::runtime::pipes::{self, Signal};

/// A longer line of what the command says is cut, bytes.
const LINE_BYTES_MAX: usize = 1024;
/// Lines of one command that go to the log.
const LINES_MAX: usize = 1000;
/// What is read of its output at once, and at most at its end, bytes.
const OUTPUT_BYTES: usize = 16 * 1024;
const REST_BYTES_MAX: usize = 1 << 20;
/// How long a command that takes no more may go on before it is asked to end, and then before it is killed.
const GRACE: Duration = Duration::from_secs(1);
const STOP_MAX: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    input: Option<File>,
    output: Option<File>,
    lines: Lines,
    status: Option<ExitStatus>,
}

impl Running {
    pub fn start(line: &[u8]) -> io::Result<Running> {
        let (their_input, input) = pipes::pipe()?;
        let (output, their_output) = pipes::pipe()?;
        pipes::never_wait(&input)?;
        pipes::never_wait(&output)?;
        let child = Command::new("/bin/sh")
            .arg("-c")
            .arg(OsStr::from_bytes(line))
            .stdin(Stdio::from(their_input))
            .stdout(Stdio::from(their_output.try_clone()?))
            .stderr(Stdio::from(their_output))
            .process_group(0)
            .spawn()?;
        Ok(Running { child, input: Some(input), output: Some(output), lines: Lines::default(), status: None })
    }

    pub fn input_fd(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().map(AsFd::as_fd)
    }

    pub fn output_fd(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.input {
            Some(input) => input.write(bytes),
            None => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Takes what the command has said; what does not fit now comes next time.
    pub fn log_output(&mut self) {
        self.read_output();
    }

    /// What it has said last. What it has left running may go on to speak, to nobody.
    pub fn log_rest(&mut self) {
        let mut read = 0;
        while read < REST_BYTES_MAX {
            match self.read_output() {
                0 => break,
                more => read += more,
            }
        }
        self.output = None;
        self.lines.end();
    }

    fn read_output(&mut self) -> usize {
        let Some(output) = &mut self.output else { return 0 };
        let mut bytes = [0; OUTPUT_BYTES];
        match output.read(&mut bytes) {
            Ok(0) => {
                self.output = None;
                0
            }
            Ok(read) => {
                self.lines.take(&bytes[..read]);
                read
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(_) => {
                self.output = None;
                0
            }
        }
    }

    pub fn has_ended(&mut self) -> io::Result<bool> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status.is_some())
    }

    /// Its exit code, once it has ended.
    pub fn exit(&self) -> Option<i32> {
        let status = self.status?;
        status.code().or_else(|| status.signal().map(|signal| 128 + signal))
    }

    /// Ends it, with all that it has started, if it does not by itself: `may_end` gives it the time for that. Returns its exit code.
    pub fn stop(&mut self, may_end: bool) -> Option<i32> {
        if may_end {
            self.await_end(GRACE);
        }
        for signal in [Signal::TERM, Signal::KILL] {
            if self.status.is_none() {
                pipes::signal_group(self.child.id(), signal);
                self.await_end(STOP_MAX);
            }
        }
        self.close_input();
        self.exit()
    }

    fn await_end(&mut self, patience: Duration) {
        let began = Instant::now();
        while !matches!(self.has_ended(), Ok(true)) && began.elapsed() < patience {
            self.read_output();
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// What the command says, line by line.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
    count: usize,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.end(),
                b'\r' => {}
                byte if self.begun.len() < LINE_BYTES_MAX => self.begun.push(*byte),
                _ => {}
            }
        }
    }

    fn end(&mut self) {
        if self.begun.is_empty() {
            return;
        }
        self.count += 1;
        if self.count <= LINES_MAX {
            crate::log_text!(Level::Notice, "pipesavecommand: ", shown(&self.begun));
        } else if self.count == LINES_MAX + 1 {
            crate::log!(
                Level::Notice,
                "pipesavecommand: says more than {LINES_MAX} lines; the rest is dropped"
            );
        }
        self.begun.clear();
    }
}

/// A line as it may stand in the log.
fn shown(line: &[u8]) -> Vec<u8> {
    line.iter().map(|byte| if byte.is_ascii_control() { b' ' } else { *byte }).collect()
}
