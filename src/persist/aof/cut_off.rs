//! Cuts off the end of a file without losing it: it is copied to `NAME.cut-<unix time>` beside it first.
//!
//! The copy is forced to disk under a temporary name, renamed, and only then is the file cut, in place. So a crash in between leaves
//! the file as it was, and the next attempt finds the copy that there is, or makes it again. The time that it takes is that of
//! copying the tail, not of the file. Nothing here is ever deleted by the server; whoever looked at the copies may do that.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::scan::{Fault, Reason};
use crate::base::durable::sync_folder;
use crate::base::text::Text;
use crate::text;

/// What was cut off, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The file, and the one that has its tail now: names in the same folder.
    pub name: Vec<u8>,
    /// `None`: the disk had no room for it.
    pub copy: Option<Vec<u8>>,
    /// The file's length now, and how much longer it was.
    pub len: u64,
    pub bytes: u64,
}

impl Kept {
    pub fn log_message(&self) -> Text {
        let Kept { name, copy, len, bytes } = self;
        let what = format!(" was cut at offset {len}: the {bytes} bytes behind it ");
        match copy {
            Some(copy) => text!("AOF ", name, what, "are kept in ", copy),
            None => text!("AOF ", name, what, "could not be kept, for the disk is full"),
        }
    }
}

/// What Redis says before it cuts off a torn tail.
pub fn messages_before(fault: &Fault, name: &[u8]) -> Vec<Text> {
    let mut messages = Vec::new();
    if matches!(fault.reason, Reason::OpenGroup | Reason::OpenPart) {
        messages.push(text!("Revert incomplete MULTI/EXEC transaction in AOF file ", name));
    }
    messages.push(text!("!!! Warning: short read while loading the AOF file ", name, "!!!"));
    messages.push(text!("!!! Truncating the AOF ", name, format_args!(" at offset {} !!!", fault.whole)));
    messages
}

/// And when it is done.
pub fn message_after(name: &[u8]) -> Text {
    text!("AOF ", name, " loaded anyway because aof-load-truncated is enabled")
}

/// Cuts file `name` of `folder` to `len` bytes, and keeps the rest. `None`: it was not longer.
pub fn cut_off(folder: &Path, name: &[u8], len: u64, now_s: u64) -> io::Result<Option<Kept>> {
    let mut file = OpenOptions::new().read(true).write(true).open(folder.join(OsStr::from_bytes(name)))?;
    let bytes = file.metadata()?.len().saturating_sub(len);
    if bytes == 0 {
        return Ok(None);
    }
    let copy = match existing_copy(folder, name, &mut file, len, bytes)? {
        Some(copy) => copy,
        None => match copy_tail(folder, name, &mut file, len, now_s) {
            Ok(copy) => copy,
            Err(error) if is_full(&error) && bytes <= HELD_BYTES_MAX => {
                return cut_first(folder, name, file, len, now_s).map(Some);
            }
            Err(error) => return Err(error),
        },
    };
    file.set_len(len)?;
    file.sync_all()?;
    Ok(Some(Kept { name: name.to_vec(), copy: Some(copy), len, bytes }))
}

/// A longer tail is not held in memory while its file is cut, bytes.
const HELD_BYTES_MAX: u64 = 256 << 20;

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// On a full disk: the room that the copy needs is what the cut gives back. A start must not fail for want of it, so if even that is
/// too little (blocks are shared out whole), there is no copy: the file ends where it counts to end.
fn cut_first(folder: &Path, name: &[u8], mut file: File, len: u64, now_s: u64) -> io::Result<Kept> {
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(len))?;
    file.read_to_end(&mut tail)?;
    file.set_len(len)?;
    file.sync_all()?;
    let temporary = folder.join(OsStr::from_bytes(&[b"temp-", name, b".cut"].concat()));
    let copied = fs::write(&temporary, &tail)
        .and_then(|()| File::open(&temporary)?.sync_all())
        .and_then(|()| rename_to_free(folder, name, &temporary, now_s));
    if copied.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    Ok(Kept { name: name.to_vec(), copy: copied.ok(), len, bytes: tail.len() as u64 })
}

fn copy_tail(folder: &Path, name: &[u8], file: &mut File, from: u64, now_s: u64) -> io::Result<Vec<u8>> {
    let temporary = folder.join(OsStr::from_bytes(&[b"temp-", name, b".cut"].concat()));
    let copied =
        write_tail(&temporary, file, from).and_then(|()| rename_to_free(folder, name, &temporary, now_s));
    if copied.is_err() {
        // The disk may be full: this would only fill it more.
        let _ = fs::remove_file(&temporary);
    }
    copied
}

fn write_tail(to: &Path, file: &mut File, from: u64) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut copy = options.write(true).create(true).truncate(true).mode(0o644).open(to)?;
    file.seek(SeekFrom::Start(from))?;
    io::copy(file, &mut copy)?;
    copy.sync_all()
}

/// Several cuts in one second have names with a number behind.
fn rename_to_free(folder: &Path, name: &[u8], temporary: &Path, now_s: u64) -> io::Result<Vec<u8>> {
    let mut copy = [name, format!(".cut-{now_s}").as_bytes()].concat();
    let len = copy.len();
    for number in 1u64.. {
        // Unlike a rename, this replaces nothing.
        match fs::hard_link(temporary, folder.join(OsStr::from_bytes(&copy))) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                copy.truncate(len);
                copy.extend(format!("-{number}").into_bytes());
            }
            Err(error) => return Err(error),
        }
    }
    fs::remove_file(temporary)?;
    sync_folder(folder)?;
    Ok(copy)
}

/// A copy of this very tail, from an attempt that was interrupted before the file was cut.
fn existing_copy(
    folder: &Path,
    name: &[u8],
    file: &mut File,
    from: u64,
    bytes: u64,
) -> io::Result<Option<Vec<u8>>> {
    let prefix = [name, b".cut-"].concat();
    for item in fs::read_dir(folder)? {
        let item = item?;
        let copy = item.file_name().as_bytes().to_vec();
        if copy.starts_with(&prefix) && item.metadata()?.len() == bytes {
            file.seek(SeekFrom::Start(from))?;
            if is_same(&mut *file, &mut File::open(item.path())?)? {
                return Ok(Some(copy));
            }
        }
    }
    Ok(None)
}

fn is_same(a: &mut File, b: &mut File) -> io::Result<bool> {
    const CHUNK_BYTES: u64 = 64 * 1024;
    let (mut from_a, mut from_b) = (Vec::new(), Vec::new());
    loop {
        from_a.clear();
        from_b.clear();
        a.by_ref().take(CHUNK_BYTES).read_to_end(&mut from_a)?;
        b.by_ref().take(CHUNK_BYTES).read_to_end(&mut from_b)?;
        if from_a != from_b {
            return Ok(false);
        }
        if from_a.is_empty() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::aof::testing::TestDir;

    fn content(dir: &TestDir, name: &str) -> Vec<u8> {
        fs::read(dir.path().join(name)).unwrap()
    }

    #[test]
    fn the_tail_is_kept_beside_and_the_file_ends_in_front_of_it() {
        let dir = TestDir::new();
        dir.put("a.aof", b"goodtail");
        let kept = cut_off(dir.path(), b"a.aof", 4, 1_700_000_000).unwrap().unwrap();
        assert_eq!(content(&dir, "a.aof"), b"good");
        assert_eq!(content(&dir, "a.aof.cut-1700000000"), b"tail");
        assert_eq!(
            kept.log_message(),
            "AOF a.aof was cut at offset 4: the 4 bytes behind it are kept in a.aof.cut-1700000000"
        );
        assert_eq!(cut_off(dir.path(), b"a.aof", 4, 1_700_000_000).unwrap(), None);
        assert_eq!(dir.names("."), ["a.aof", "a.aof.cut-1700000000"]);
    }

    #[test]
    fn nothing_that_was_kept_is_replaced() {
        let dir = TestDir::new();
        for (tail, copy) in [("one", "a.aof.cut-5"), ("two", "a.aof.cut-5-1"), ("six", "a.aof.cut-5-2")] {
            dir.put("a.aof", format!("good{tail}").as_bytes());
            let kept = cut_off(dir.path(), b"a.aof", 4, 5).unwrap().unwrap();
            assert_eq!(kept.copy, Some(copy.as_bytes().to_vec()));
            assert_eq!(content(&dir, copy), tail.as_bytes());
        }
    }

    #[test]
    fn an_interrupted_cut_is_finished_without_a_second_copy() {
        let dir = TestDir::new();
        dir.put("a.aof", b"goodtail");
        // Interrupted while copying, and before cutting.
        dir.put("temp-a.aof.cut", b"ta");
        dir.put("a.aof.cut-5", b"tail");
        dir.put("a.aof.cut-6", b"liat");
        let kept = cut_off(dir.path(), b"a.aof", 4, 9).unwrap().unwrap();
        assert_eq!(kept.copy, Some(b"a.aof.cut-5".to_vec()));
        assert_eq!(content(&dir, "a.aof"), b"good");
        dir.put("a.aof", b"good and more");
        cut_off(dir.path(), b"a.aof", 4, 9).unwrap().unwrap();
        assert_eq!(dir.names("."), ["a.aof", "a.aof.cut-5", "a.aof.cut-6", "a.aof.cut-9"]);
    }

    #[test]
    fn a_file_whose_tail_cannot_be_kept_stays_as_it_is() {
        let dir = TestDir::new();
        dir.put("a.aof", b"goodtail");
        fs::create_dir(dir.path().join("temp-a.aof.cut")).unwrap();
        assert!(cut_off(dir.path(), b"a.aof", 4, 9).is_err());
        assert_eq!(content(&dir, "a.aof"), b"goodtail");
    }
}
