//! Puts a shard's part of a snapshot without fork into its file: a thread of its own, because a disk may let wait, and a shard must
//! not. What waits for the thread is for the shard to bound: it looks at `waiting_bytes` before it makes more.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::forked::{end_part, FileSink, PartOptions};
use crate::rdb::file::{FileChecksum, Summed};
use crate::rdb::Output;
use crate::runtime::background_thread;

#[derive(Default)]
struct State {
    chunks: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    /// No chunk comes any more; the file ends here.
    is_complete: bool,
    /// Nobody wants the file any more.
    is_given_up: bool,
    outcome: Option<io::Result<FileChecksum>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shard's side.
pub struct PartWriter {
    queue: Arc<Queue>,
}

/// How the file begins and ends; see [`PartOptions`].
struct Frame {
    head: Vec<u8>,
    ends_file: bool,
    checksum: bool,
    sync_as_it_grows: bool,
}

impl PartWriter {
    /// Begins with the file. An error: there is no thread.
    pub fn start(file: File, options: &PartOptions) -> io::Result<PartWriter> {
        let queue = Arc::new(Queue::default());
        let frame = Frame {
            head: options.head.to_vec(),
            ends_file: options.ends_file,
            checksum: options.checksum,
            sync_as_it_grows: options.sync_as_it_grows,
        };
        let theirs = queue.clone();
        background_thread::spawn("snapshot", move || {
            let outcome = write(&theirs, &file, &frame);
            let mut state = theirs.state();
            state.chunks.clear();
            state.waiting_bytes = 0;
            state.outcome = Some(outcome);
        })?;
        Ok(PartWriter { queue })
    }

    /// The next bytes of the part.
    pub fn put(&self, chunk: Vec<u8>) {
        let mut state = self.queue.state();
        if state.outcome.is_none() {
            state.waiting_bytes += chunk.len();
            state.chunks.push_back(chunk);
            self.queue.changed.notify_one();
        }
    }

    /// The part is whole.
    pub fn complete(&self) {
        self.queue.state().is_complete = true;
        self.queue.changed.notify_one();
    }

    pub fn waiting_bytes(&self) -> usize {
        self.queue.state().waiting_bytes
    }

    /// How it ended, once.
    pub fn take_outcome(&self) -> Option<io::Result<FileChecksum>> {
        self.queue.state().outcome.take()
    }
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        self.queue.state().is_given_up = true;
        self.queue.changed.notify_one();
    }
}

fn write(queue: &Queue, file: &File, frame: &Frame) -> io::Result<FileChecksum> {
    let mut output = Summed::new(FileSink::new(file, frame.sync_as_it_grows)?, frame.checksum);
    output.put(&frame.head);
    while let Some(chunk) = next(queue)? {
        output.put(&chunk);
        output.output.check()?;
        queue.state().waiting_bytes -= chunk.len();
    }
    end_part(output, file, frame.ends_file, frame.checksum)
}

/// Waits for the next chunk; `None` behind the last.
fn next(queue: &Queue) -> io::Result<Option<Vec<u8>>> {
    let mut state = queue.state();
    loop {
        if state.is_given_up {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        if let Some(chunk) = state.chunks.pop_front() {
            return Ok(Some(chunk));
        }
        if state.is_complete {
            return Ok(None);
        }
        state = queue.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::Format;

    fn options(head: &[u8], ends_file: bool) -> PartOptions<'_> {
        PartOptions {
            format: Format::default(),
            checksum: true,
            head,
            ends_file,
            sync_as_it_grows: false,
            key_delay_us: 0,
            as_commands: false,
        }
    }

    fn outcome(writer: &PartWriter) -> io::Result<FileChecksum> {
        loop {
            if let Some(outcome) = writer.take_outcome() {
                return outcome;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn chunks_come_behind_the_head_in_order_and_are_summed() {
        let path = std::env::temp_dir().join(format!("gyre-part-writer-{}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        let writer = PartWriter::start(file, &options(b"head ", false)).unwrap();
        writer.put(b"one ".to_vec());
        writer.put(b"two".to_vec());
        writer.complete();
        let checksummed = outcome(&writer).unwrap();
        let written = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(written, b"head one two");
        assert_eq!(checksummed, FileChecksum::of(&written));
    }

    #[test]
    fn a_disk_that_takes_nothing_ends_it() {
        let file = File::options().write(true).open("/dev/full").unwrap();
        let writer = PartWriter::start(file, &options(b"", true)).unwrap();
        writer.put(vec![0; 100]);
        assert_eq!(outcome(&writer).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    }
}
