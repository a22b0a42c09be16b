//! What a forked child does for a snapshot: it writes its shard's part into a file or pipe that it was given, and tells its parent how long
//! it is and its checksum.
//!
//! The child sees the shard's memory as it was when it was forked, so it takes its time. It runs under the rules of
//! [`crate::runtime::fork`]. A file is pressed to the disk while it is written, so that the end of a large one is not one long stall.
//!
//! With one shard the child writes the whole file. With several somebody joins the parts, and sees to it that the whole is on the disk.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::thread;
use std::time::Duration;

use crate::persist::aof::base::put_keys;
use crate::rdb::file::{put_part, trailer, FileChecksum, Summed};
use crate::rdb::{Encoder, Format, Output};
use crate::runtime::fork::{fork_child_in, Child, ChildContext, ForkOptions, Turn};
use crate::runtime::sys;
use crate::store::Store;

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 64 * 1024;
/// With `sync_as_it_grows`, a file's bytes are sent to the disk so many at a time, as in Redis.
const SYNC_BYTES: u64 = 4 << 20;
/// Keys of a snapshot that is gone on with, before what they take is written.
const KEYS_AT_ONCE: u64 = 64;

/// The exit code when writing has failed, as Redis's; the error is in the child's `Progress`.
pub const EXIT_FAILED: i32 = 1;

/// What is written, and how.
#[derive(Clone, Copy, Debug)]
pub struct PartOptions<'a> {
    pub format: Format,
    /// `rdbchecksum`.
    pub checksum: bool,
    /// Bytes in front of the part: the file's header, in the first one.
    pub head: &'a [u8],
    /// The part ends the file: its trailer follows, and a file is on the disk before the child says that it is good.
    pub ends_file: bool,
    /// `rdb-save-incremental-fsync`; for files only.
    pub sync_as_it_grows: bool,
    /// `rdb-key-save-delay`: microseconds after each key; -n is one microsecond after one key in n.
    pub key_delay_us: i32,
    /// The keys are written as commands (`aof-use-rdb-preamble no`), and nothing ends them.
    pub as_commands: bool,
}

/// Forks a child that writes the part of `store`'s shard. When it has ended well its `Progress` has the length and checksum of all
/// that it has written, head and trailer included.
pub fn fork_part(
    turn: Turn,
    store: &Store,
    file: &File,
    part: &PartOptions,
    options: &ForkOptions,
) -> io::Result<Child> {
    fork_writer(turn, file, options, |context| write_part(store, file, part, &mut || context.key_done()))
}

/// As `fork_part`, of the snapshot that is open in `store`: the child goes on with its copy of that, and what has been saved
/// so far is in its file. The parent has no more use for it.
pub fn fork_rest(
    turn: Turn,
    store: &mut Store,
    file: &File,
    part: &PartOptions,
    options: &ForkOptions,
) -> io::Result<Child> {
    fork_writer(turn, file, options, |context| {
        write_rest(store, file, part, &mut |keys| context.keys_done(keys))
    })
}

fn fork_writer(
    turn: Turn,
    file: &File,
    options: &ForkOptions,
    write: impl FnOnce(&ChildContext) -> io::Result<FileChecksum>,
) -> io::Result<Child> {
    let keep: Vec<RawFd> = options.keep.iter().copied().chain([file.as_raw_fd()]).collect();
    let options = ForkOptions { keep: &keep, ..*options };
    fork_child_in(turn, &options, |context| match write(context) {
        Ok(whole) => {
            context.written(whole.len, whole.crc);
            0
        }
        Err(error) => {
            context.failed(&error);
            EXIT_FAILED
        }
    })
}

/// Ends the snapshot that is open in `store`, which nobody else changes any more; `keys_done` is told how many keys are saved.
fn write_rest(
    store: &mut Store,
    file: &File,
    part: &PartOptions,
    keys_done: &mut dyn FnMut(u64),
) -> io::Result<FileChecksum> {
    let mut output = Summed::new(FileSink::new(file, part.sync_as_it_grows)?, part.checksum);
    output.put(part.head);
    store.snapshot_keeps_still();
    let delay = RefCell::new(KeyDelay { us: part.key_delay_us, random: 1 });
    let keys = Cell::new(0u64);
    let until = || {
        delay.borrow_mut().pass();
        keys.set(keys.get() + 1);
        keys.get().is_multiple_of(KEYS_AT_ONCE)
    };
    while let Some(progress) = store.snapshot_step(&until) {
        keys_done(progress.keys_saved);
        while let Some(chunk) = store.snapshot_take() {
            output.put(&chunk);
        }
        output.output.check()?;
        if progress.is_done {
            break;
        }
    }
    end_part(output, file, part.ends_file, part.checksum)
}

/// Ends a part; if that is the end of its file, with the trailer, and on the disk.
pub(super) fn end_part(
    mut output: Summed<FileSink>,
    file: &File,
    ends_file: bool,
    checksum: bool,
) -> io::Result<FileChecksum> {
    if ends_file {
        output.put(&trailer(output.checksummed(), checksum));
    }
    output.output.check()?;
    if ends_file && file.metadata()?.is_file() {
        file.sync_all()?;
    }
    Ok(output.checksummed())
}

/// Writes the part of `store`'s shard, here and now; `key_done` is called after each key.
pub fn write_part(
    store: &Store,
    file: &File,
    part: &PartOptions,
    key_done: &mut dyn FnMut(),
) -> io::Result<FileChecksum> {
    let sink = FileSink::new(file, part.sync_as_it_grows)?;
    let mut output =
        Buffered { buffer: Vec::with_capacity(BUFFER_BYTES), sink: Summed::new(sink, part.checksum) };
    output.put(part.head);
    let mut delay = KeyDelay { us: part.key_delay_us, random: 1 };
    let mut goes_on = |output: &mut Buffered| {
        key_done();
        delay.pass();
        output.sink.output.error.is_none()
    };
    if part.as_commands {
        put_keys(store, part.format, &mut output, &mut goes_on);
    } else {
        put_part(store, &mut Encoder::new(part.format), &mut output, &mut goes_on);
    }
    output.flush();
    if part.ends_file && !part.as_commands {
        output.put(&trailer(output.sink.checksummed(), part.checksum));
        output.flush();
    }
    if let Some(error) = output.sink.output.error {
        return Err(error);
    }
    if part.ends_file && file.metadata()?.is_file() {
        file.sync_all()?;
    }
    Ok(output.sink.checksummed())
}

/// Collects what is written in small pieces.
struct Buffered<'a> {
    buffer: Vec<u8>,
    sink: Summed<FileSink<'a>>,
}

impl Buffered<'_> {
    fn flush(&mut self) {
        self.sink.put(&self.buffer);
        self.buffer.clear();
    }
}

impl Output for Buffered<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush();
            if bytes.len() >= BUFFER_BYTES {
                return self.sink.put(bytes);
            }
        }
        self.buffer.extend_from_slice(bytes);
    }
}

/// Writes to the file; after the first error, nothing more.
pub(super) struct FileSink<'a> {
    file: &'a File,
    error: Option<io::Error>,
    sync: Option<Sync>,
}

impl Output for FileSink<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if self.error.is_none() && !bytes.is_empty() {
            self.error = self.try_put(bytes).err();
        }
    }
}

impl<'a> FileSink<'a> {
    pub fn new(file: &'a File, sync_as_it_grows: bool) -> io::Result<FileSink<'a>> {
        let is_file = file.metadata()?.is_file();
        let sync = if is_file && sync_as_it_grows { Some(Sync::from_here(file)?) } else { None };
        Ok(FileSink { file, error: None, sync })
    }

    /// The error that made it stop.
    pub fn check(&mut self) -> io::Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }

    fn try_put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.file;
        // In pieces, so that the disk gets its share of a long string, too.
        for bytes in bytes.chunks(SYNC_BYTES as usize) {
            file.write_all(bytes)?;
            if let Some(sync) = &mut self.sync {
                sync.wrote(file, bytes.len() as u64)?;
            }
        }
        Ok(())
    }
}

/// Sends a file to the disk while it grows: what is new is only begun with, and what was begun with before is waited for, so that
/// no more than two stretches are ever under way.
struct Sync {
    /// Where the file ends, how far it was begun with, and how far it was waited for.
    written: u64,
    begun: u64,
    done: u64,
}

impl Sync {
    fn from_here(mut file: &File) -> io::Result<Sync> {
        let here = file.stream_position()?;
        Ok(Sync { written: here, begun: here, done: here })
    }

    fn wrote(&mut self, file: &File, bytes: u64) -> io::Result<()> {
        self.written += bytes;
        if self.written - self.begun < SYNC_BYTES {
            return Ok(());
        }
        sys::begin_sync(file, self.begun, self.written - self.begun)?;
        if self.begun > self.done {
            sys::finish_sync(file, self.done, self.begun - self.done)?;
            self.done = self.begun;
        }
        self.begun = self.written;
        Ok(())
    }
}

/// `rdb-key-save-delay`.
struct KeyDelay {
    us: i32,
    random: u32,
}

impl KeyDelay {
    #[inline]
    fn pass(&mut self) {
        if self.us != 0 && self.is_due() {
            thread::sleep(Duration::from_micros(self.us.max(1) as u64));
        }
    }

    /// Each sleep is a system call and takes long, so short ones are made by sleeping seldom.
    fn is_due(&mut self) -> bool {
        if self.us > 0 {
            return true;
        }
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.random >> 16).is_multiple_of(self.us.unsigned_abs())
    }
}
