//! The end of a snapshot: the parts become one file, which takes the place of the last one.
//!
//! The first part is the beginning of the file already. The others are copied behind it, in the kernel where it can, and removed one by
//! one, so that no more than one part is on the disk twice.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use super::SnapshotCut;
use crate::base::durable::{self, Step};
use crate::base::error_text;
use crate::base::text::Text;
use crate::rdb::file::{trailer, FileChecksum};
use crate::runtime::background_thread;
use crate::text;

/// So much is copied at a time.
const COPY_BYTES: u64 = 256 * 1024;

/// As `join`, on a thread of its own; `done` runs there. A thread that cannot start is an error like any other.
pub fn on_thread(
    cut: Arc<SnapshotCut>,
    checksums: Vec<FileChecksum>,
    done: impl FnOnce(Result<(), Text>) + Send + 'static,
) {
    let started = background_thread::spawn_with("join-rdb", done, move |done| done(join(&cut, &checksums)));
    if let Err((error, done)) = started {
        let why = error_text(&error);
        done(Err(text!("Can't start a thread to finish the RDB file: ", why)));
    }
}

/// Closes the files of a snapshot that has ended. Those that have no name any more go with that, which takes the time that
/// a file of their size takes.
pub fn close_files(cut: Arc<SnapshotCut>) {
    // Without a thread it takes the shard's time.
    let _ = background_thread::spawn("close-rdb", move || drop(cut));
}

/// Makes the file of its parts. The error is for the log.
pub fn join(cut: &SnapshotCut, checksums: &[FileChecksum]) -> Result<(), Text> {
    let failed = |what: &'static str| move |error: io::Error| text!(what, ": ", error_text(&error));
    let mut parts = cut.parts.iter().flatten();
    let Some(first) = parts.next() else { return Ok(()) };
    if !first.ends_file {
        append(&first.file, parts, checksums, cut.checksum)
            .map_err(failed("Write error saving DB on disk"))?;
    }
    let name = first.name();
    let put = durable::put_in_place(&first.file, &name, &cut.path);
    put.map_err(|(step, error)| match step {
        Step::Write | Step::Sync => failed("Write error saving DB on disk(fsync)")(error),
        Step::SyncFolder => failed("Failed to fsync directory while saving DB")(error),
        Step::Rename => text!(
            "Error moving temp DB file ",
            name,
            " on the final destination ",
            cut.path,
            " (in server root dir ",
            std::env::current_dir().unwrap_or_default(),
            "): ",
            error_text(&error)
        ),
    })
}

fn append<'a>(
    mut file: &File,
    others: impl Iterator<Item = &'a super::PartFile>,
    checksums: &[FileChecksum],
    checksum: bool,
) -> io::Result<()> {
    file.seek(SeekFrom::End(0))?;
    for part in others {
        let mut from = &part.file;
        from.seek(SeekFrom::Start(0))?;
        // The standard library has the kernel copy between files. Not all at once: a kernel that is not preemptible would
        // not let a shard onto the core before the end.
        while io::copy(&mut from.take(COPY_BYTES), &mut file)? > 0 {}
        // It is still open: only so its space is free again.
        part.file.set_len(0)?;
        fs::remove_file(part.name())?;
    }
    let whole = checksums.iter().copied().reduce(FileChecksum::then).unwrap_or_default();
    file.write_all(&trailer(whole, checksum))
}
