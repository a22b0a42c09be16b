//! Files that replace others: whenever the machine stops, there is the old one or the new one, and never a part.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// At what replacing a file failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Write,
    Sync,
    Rename,
    SyncFolder,
}

/// Writes `bytes` to `new`, a new file named `temporary`, and has it take the place of `path`. When that fails before it has, the new
/// file is removed.
pub fn replace(new: File, temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), (Step, io::Error)> {
    let written = (&new).write_all(bytes).map_err(|error| (Step::Write, error));
    let replaced = written.and_then(|()| put_in_place(&new, temporary, path));
    if replaced.as_ref().is_err_and(|(step, _)| *step != Step::SyncFolder) {
        // The error of the attempt is the one to report.
        let _ = fs::remove_file(temporary);
    }
    replaced
}

/// Has `new`, a file that has been written under the name `temporary`, take the place of `path`.
pub fn put_in_place(new: &File, temporary: &Path, path: &Path) -> Result<(), (Step, io::Error)> {
    new.sync_all().map_err(|error| (Step::Sync, error))?;
    fs::rename(temporary, path).map_err(|error| (Step::Rename, error))?;
    // The new name is to survive a crash too.
    sync_folder(folder_of(path)).map_err(|error| (Step::SyncFolder, error))
}

/// Forces the names in a folder to disk.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The folder that a file's name is in.
fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("gyre-durable-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (temporary, path) = (folder.join("file.tmp"), folder.join("file"));
        for text in [b"one", b"two"] {
            replace(File::create(&temporary).unwrap(), &temporary, &path, text).unwrap();
            assert_eq!((fs::read(&path).unwrap().as_slice(), temporary.exists()), (&text[..], false));
        }
        let no_file = folder.join("folder");
        fs::create_dir(&no_file).unwrap();
        let failed = replace(File::create(&temporary).unwrap(), &temporary, &no_file, b"three");
        assert_eq!((failed.unwrap_err().0, temporary.exists()), (Step::Rename, false));
        let failed = replace(File::open(&path).unwrap(), &temporary, &path, b"three");
        assert_eq!(failed.unwrap_err().0, Step::Write, "it is open for reading only");
        assert_eq!(fs::read(&path).unwrap(), b"two");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_name_without_a_folder_is_in_the_present_one() {
        assert_eq!(folder_of(Path::new("file")), Path::new("."));
        assert_eq!(folder_of(Path::new("/a/file")), Path::new("/a"));
    }
}
