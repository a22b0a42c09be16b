//! The folder of the append-only files (`appenddirname` in `dir`), and the changes to it that must survive a crash.
//!
//! What counts is what the manifest names. It is replaced whole: written beside, forced to disk, renamed, and then the folder itself
//! is forced to disk. So a crash leaves the old manifest or the new one, and at worst files that no manifest names.
//!
//! Every call here may wait for the disk: at start, or from a thread that may block. Errors read as Redis's log does.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::manifest::{Manifest, ManifestError};
use crate::base::durable::{self, sync_folder, Step};
use crate::base::error_text;
use crate::base::text::Text;
use crate::text;

const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;
/// Manifests of other folders and names that are told.
const LOOK_ALIKES_MAX: usize = 5;

/// Where the append-only files are.
#[derive(Clone, Debug)]
pub struct Folder {
    /// `dir`.
    dir: PathBuf,
    /// `appenddirname`.
    name: PathBuf,
    /// `appendfilename`.
    file: Vec<u8>,
}

/// What could not be done. Its text is Redis's message for the log; a manifest that is refused has several
/// ([`ManifestError::log_messages`]).
#[derive(Debug)]
pub enum FolderError {
    Manifest(ManifestError),
    /// The manifest is there and cannot be read.
    OpenManifest(PathBuf, io::Error),
    /// There is none, but there are files that it would name: one of them, and how many more.
    ManifestGone {
        manifest: PathBuf,
        file: Vec<u8>,
        more: usize,
    },
    /// The mark of a beginning could not be made.
    Mark(Vec<u8>, io::Error),
    Create(Vec<u8>, io::Error),
    OpenTemporary(Vec<u8>, io::Error),
    WriteTemporary(Vec<u8>, io::Error),
    SyncTemporary(Vec<u8>, io::Error),
    Rename(Vec<u8>, Vec<u8>, io::Error),
    Sync(PathBuf, io::Error),
    /// An old single file could not be moved into the folder.
    Migrate(Vec<u8>, Vec<u8>, io::Error),
    OpenIncrement(Vec<u8>, io::Error),
    /// A file that the manifest names is missing, or cannot be looked at.
    Stat(Vec<u8>, io::Error),
}

impl FolderError {
    pub fn text(&self) -> Text {
        use FolderError::*;
        let why = error_text;
        match self {
            Manifest(error) => error.to_string().into(),
            OpenManifest(path, error) => {
                text!("Fatal error: can't open the AOF manifest file ", path, " for reading: ", why(error))
            }
            ManifestGone { manifest, file, more } => text!(
                "Fatal error: the AOF manifest file ",
                manifest,
                " is missing, and beside it there are append-only files: ",
                file,
                if *more > 0 { format!(" and {more} more") } else { String::new() },
                ". Without the manifest nobody knows which of them count, and starting without them would be starting without their \
                 data. Put the manifest back; or, to do without these files, move them out of the folder"
            ),
            Mark(name, error) => {
                text!("Can't create the file ", name, " in the append-only dir: ", why(error))
            }
            Create(name, error) => text!("Can't open or create append-only dir ", name, ": ", why(error)),
            OpenTemporary(name, error) => text!("Can't open the AOF manifest file ", name, ": ", why(error)),
            WriteTemporary(name, error) => {
                text!("Error trying to write the temporary AOF manifest file ", name, ": ", why(error))
            }
            SyncTemporary(name, error) => text!("Fail to fsync the temp AOF file ", name, ": ", why(error), "."),
            Rename(from, to, error) => text!(
                "Error trying to rename the temporary AOF manifest file ",
                from,
                " into ",
                to,
                ": ",
                why(error)
            ),
            Sync(path, error) => text!("Fail to fsync AOF directory ", path, ": ", why(error), "."),
            Migrate(file, folder, error) => {
                text!("Error trying to move the old AOF file ", file, " into dir ", folder, ": ", why(error))
            }
            OpenIncrement(name, error) => text!("Can't open the append-only file ", name, ": ", why(error)),
            Stat(name, error) => {
                text!("Unable to obtain the AOF file ", name, " length. stat: ", why(error))
            }
        }
    }
}

/// An increment that is open to be written on at its end, `len`.
#[derive(Debug)]
pub struct Opened {
    pub file: File,
    pub name: Vec<u8>,
    pub len: u64,
    /// Whether the chain had no increment yet.
    is_new: bool,
}

impl Opened {
    /// What Redis says of it in its log when it starts.
    pub fn log_message_at_start(&self) -> Text {
        let verb = if self.is_new { "Creating" } else { "Opening" };
        text!(verb, " AOF incr file ", self.name, " on server start")
    }
}

/// Files that are out of the folder already.
#[derive(Debug, Default)]
pub struct Removed {
    /// What Redis says of each in its log.
    pub log_messages: Vec<Text>,
    /// Open still, so that their space is not freed yet: that may take long, and is to happen where waiting does not hurt, by dropping them.
    pub files: Vec<File>,
}

impl Folder {
    pub fn new(dir: &Path, appenddirname: &Path, appendfilename: &Path) -> Folder {
        let file = appendfilename.as_os_str().as_bytes().to_vec();
        Folder { dir: dir.to_owned(), name: appenddirname.to_owned(), file }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    pub fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path().join(OsStr::from_bytes(name))
    }

    pub fn manifest_path(&self) -> PathBuf {
        self.path_of(&self.manifest_name())
    }

    fn name_bytes(&self) -> Vec<u8> {
        self.name.as_os_str().as_bytes().to_vec()
    }

    fn manifest_name(&self) -> Vec<u8> {
        [&self.file[..], b".manifest"].concat()
    }

    /// Where a shard's increment grows while AOF is being switched on, until its first base is there: relative to the folder.
    pub fn temporary_increment(&self, shard: u16, shards: u16) -> Vec<u8> {
        match shards {
            1 => text!("temp-", self.file, ".incr").into_bytes(),
            _ => text!("temp-", self.file, format_args!(".shard-{shard}.incr")).into_bytes(),
        }
    }

    /// Where a rewrite by process `pid` writes a base until it is complete: in `dir`, where Redis has it.
    pub fn temporary_base(&self, pid: u32, shard: u16, shards: u16) -> PathBuf {
        self.dir.join(match shards {
            1 => format!("{TEMPORARY_BASE}{pid}.aof"),
            _ => format!("{TEMPORARY_BASE}{pid}.shard-{shard}.aof"),
        })
    }

    /// The manifest; an empty one when there is none yet, or no folder. An error when it is gone: there are files that only it
    /// could name.
    pub fn load(&self, shards: u16) -> Result<Manifest, FolderError> {
        let path = self.manifest_path();
        match fs::symlink_metadata(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                self.refuse_orphans()?;
                return Ok(Manifest::new(&self.file, shards));
            }
            // What is wrong says whoever reads it.
            _ => {}
        }
        let content = fs::read(&path).map_err(|error| FolderError::OpenManifest(path, error))?;
        let manifest = Manifest::parse(&self.file, &content).map_err(FolderError::Manifest)?;
        self.end_beginning();
        Ok(manifest)
    }

    /// An error when there are append-only files, unless they are those of a beginning that did not come to its end.
    fn refuse_orphans(&self) -> Result<(), FolderError> {
        if self.path_of(&self.beginning_name()).exists() {
            return Ok(());
        }
        let items = fs::read_dir(self.path()).into_iter().flatten().flatten();
        let mut names: Vec<Vec<u8>> = items
            .map(|item| item.file_name().as_bytes().to_vec())
            .filter(|name| self.is_log_file(name))
            .collect();
        names.sort_unstable();
        match names.first() {
            None => Ok(()),
            Some(file) => Err(FolderError::ManifestGone {
                manifest: self.manifest_path(),
                file: file.clone(),
                more: names.len() - 1,
            }),
        }
    }

    /// Whether a file of this name is a base or an increment of ours, or a single file that was moved here.
    fn is_log_file(&self, name: &[u8]) -> bool {
        let Some(rest) = name.strip_prefix(&self.file[..]) else { return false };
        if rest.is_empty() {
            return true;
        }
        let number = |text: &mut &[u8]| {
            let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            *text = &text[digits..];
            digits > 0
        };
        let Some(mut rest) = rest.strip_prefix(b".") else { return false };
        if let Some(shard) = rest.strip_prefix(b"shard-") {
            rest = shard;
            if !number(&mut rest) {
                return false;
            }
            match rest.strip_prefix(b".") {
                Some(behind) => rest = behind,
                None => return false,
            }
        }
        number(&mut rest) && matches!(rest, b".base.rdb" | b".base.aof" | b".incr.aof")
    }

    fn beginning_name(&self) -> Vec<u8> {
        [&self.file[..], b".beginning"].concat()
    }

    /// To be called before the first files of a folder get their names, which the manifest follows: until it does, they do not count,
    /// and a start that finds them without a manifest does without them.
    pub fn mark_beginning(&self) -> Result<(), FolderError> {
        let name = self.beginning_name();
        let made = File::create(self.path_of(&name)).and_then(|_| sync_folder(&self.path()));
        made.map_err(|error| FolderError::Mark(name, error))
    }

    /// The manifest is there. A mark that stays here would only allow to do without the files once it is lost.
    fn end_beginning(&self) {
        let _ = fs::remove_file(self.path_of(&self.beginning_name()));
    }

    /// What an operator may have meant to be read and is not: append-only files in another folder, or of another name, which
    /// `appenddirname` or `appendfilename` named before. For a start that finds none of its own.
    pub fn look_alikes(&self) -> Vec<PathBuf> {
        let own = self.manifest_path();
        let is_manifest =
            |path: &PathBuf| *path != own && path.extension().is_some_and(|end| end == "manifest");
        let here = fs::read_dir(self.path()).into_iter().flatten().flatten().map(|item| item.path());
        let mut found: Vec<PathBuf> = here.filter(is_manifest).collect();
        for folder in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = folder.path().join(OsStr::from_bytes(&self.manifest_name()));
            if path != own && path.is_file() {
                found.push(path);
            }
        }
        found.sort_unstable();
        found.truncate(LOOK_ALIKES_MAX);
        found
    }

    /// Moves the single file of a Redis before 7.0 into the folder, as a base, when there is one and the folder has nothing else; also
    /// when an earlier attempt was interrupted. Returns what Redis says in its log, if it was done.
    ///
    /// The manifest is written first: with it and without the file, the next start goes on from there.
    pub fn upgrade(&self, manifest: &mut Manifest) -> Result<Option<Text>, FolderError> {
        let old = self.dir.join(OsStr::from_bytes(&self.file));
        if !old.is_file() || !(manifest.is_empty() || self.is_interrupted_upgrade(manifest)) {
            return Ok(None);
        }
        let new = self.path_of(&self.file);
        if new.is_file() {
            // A folder without manifest, and with a file of this name: nobody knows what it is, so nothing replaces it.
            let error = io::Error::from_raw_os_error(libc::EEXIST);
            return Err(FolderError::Migrate(self.file.clone(), self.name_bytes(), error));
        }
        self.create()?;
        manifest.adopt();
        self.write(manifest)?;
        let moved = fs::rename(old, new)
            .and_then(|()| sync_folder(&self.path()))
            .and_then(|()| sync_folder(&self.dir));
        moved.map_err(|error| FolderError::Migrate(self.file.clone(), self.name_bytes(), error))?;
        Ok(Some(text!(
            "Successfully migrated an old-style AOF file (",
            self.file,
            ") into the AOF directory (",
            self.name,
            ")."
        )))
    }

    /// Whether the manifest names the old file, and only that, and it is not in the folder yet.
    fn is_interrupted_upgrade(&self, manifest: &Manifest) -> bool {
        let old = &self.file[..];
        let mut files = manifest.files();
        let only = files.next().filter(|_| files.next().is_none());
        let is_base = manifest.newest().chain(0).is_some_and(|chain| chain.base.is_some());
        is_base && only.is_some_and(|entry| entry.name == old) && !self.path_of(old).is_file()
    }

    /// Makes sure that the folder exists.
    pub fn create(&self) -> Result<(), FolderError> {
        let made = match fs::DirBuilder::new().mode(FOLDER_MODE).create(self.path()) {
            Ok(()) => sync_folder(&self.dir),
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            Err(_) if self.path().is_dir() => Ok(()),
            Err(_) => Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
        };
        made.map_err(|error| FolderError::Create(self.name_bytes(), error))
    }

    /// Puts the manifest into force, when it differs from the one that is. Also forces the names of new files to disk.
    pub fn write(&self, manifest: &mut Manifest) -> Result<(), FolderError> {
        if !manifest.is_changed() {
            return Ok(());
        }
        let name = self.manifest_name();
        let temporary = [b"temp-", &name[..]].concat();
        let temporary_path = self.path_of(&temporary);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(FILE_MODE);
        let opened = options.open(&temporary_path);
        let file = opened.map_err(|error| FolderError::OpenTemporary(temporary.clone(), error))?;
        let replaced = durable::replace(file, &temporary_path, &self.manifest_path(), &manifest.format());
        replaced.map_err(|(step, error)| match step {
            Step::Write => FolderError::WriteTemporary(temporary, error),
            Step::Sync => FolderError::SyncTemporary(temporary, error),
            Step::Rename => FolderError::Rename(temporary, name, error),
            Step::SyncFolder => FolderError::Sync(self.manifest_path(), error),
        })?;
        manifest.is_written();
        self.end_beginning();
        Ok(())
    }

    /// The bytes that `shards` shards read: the files of another number of them are read by each. An error when a file is missing.
    pub fn bytes_to_read(&self, manifest: &Manifest, shards: u16) -> Result<u64, FolderError> {
        let mut bytes = 0;
        for layout in manifest.layouts() {
            let readers = if layout.shards() == shards { 1 } else { shards.into() };
            for entry in layout.chains().flat_map(|(_, chain)| chain.files()) {
                bytes += self.len_of(&entry.name)? * readers;
            }
        }
        Ok(bytes)
    }

    pub fn len_of(&self, name: &[u8]) -> Result<u64, FolderError> {
        let data = fs::metadata(self.path_of(name));
        data.map(|data| data.len()).map_err(|error| FolderError::Stat(name.to_vec(), error))
    }

    /// Opens the shard's newest increment for appending, or its first one. The manifest is to be written afterwards.
    pub fn open_last(&self, manifest: &mut Manifest, shard: u16) -> Result<Opened, FolderError> {
        let (name, is_new) = manifest.last_increment(shard);
        self.open(name, is_new, false)
    }

    /// Opens a new increment of the shard. The manifest (a copy, until all went well) is to be written afterwards.
    pub fn open_next(&self, manifest: &mut Manifest, shard: u16) -> Result<Opened, FolderError> {
        self.open(manifest.next_increment(shard), true, true)
    }

    /// Opens an increment that no manifest names yet, empty.
    pub fn open_temporary(&self, shard: u16, shards: u16) -> Result<Opened, FolderError> {
        self.open(self.temporary_increment(shard, shards), true, true)
    }

    fn open(&self, name: Vec<u8>, is_new: bool, truncate: bool) -> Result<Opened, FolderError> {
        let mut options = OpenOptions::new();
        // Not O_APPEND, which would ignore where the log wants its bytes.
        options.write(true).create(true).truncate(false).mode(FILE_MODE);
        let opened = options.open(self.path_of(&name)).and_then(|file| {
            if truncate {
                file.set_len(0)?;
            }
            let len = file.metadata()?.len();
            Ok((file, len))
        });
        match opened {
            Ok((file, len)) => Ok(Opened { file, name, len, is_new }),
            Err(error) => Err(FolderError::OpenIncrement(name, error)),
        }
    }

    /// Deletes what the manifest has as history, and then its lines. To be called unless `aof-disable-auto-gc`.
    pub fn delete_history(&self, manifest: &mut Manifest) -> Result<Removed, FolderError> {
        let mut removed = Removed::default();
        for entry in manifest.take_history() {
            if manifest.files().any(|file| file.name == entry.name) {
                continue; // Nobody but a hand that edits the manifest does this; what is read stays.
            }
            let path = self.path_of(&entry.name);
            let message = text!("Removing the history file ", entry.name, " in the background");
            removed.log_messages.push(message);
            removed.remove(&path);
        }
        self.write(manifest)?;
        Ok(removed)
    }

    /// Deletes the increment that was to become the first one, after the rewrite failed.
    pub fn delete_temporary_increment(&self, shard: u16, shards: u16) -> Removed {
        let name = self.temporary_increment(shard, shards);
        let message = text!("Removing the temp incr aof file ", name, " in the background");
        let mut removed = Removed { log_messages: vec![message], files: Vec::new() };
        removed.remove(&self.path_of(&name));
        removed
    }

    /// Deletes what rewrites left behind that a crash interrupted: bases of processes that are gone, and files of ours that no
    /// manifest names. To be called at start, before anything is opened.
    pub fn remove_leftovers(&self) -> Removed {
        let mut removed = Removed::default();
        for (folder, is_ours) in [(self.dir.clone(), false), (self.path(), true)] {
            // Without a folder there are no leftovers.
            for item in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let name = item.file_name();
                let name = name.as_bytes();
                if is_abandoned_base(name) || (is_ours && self.is_our_temporary(name)) {
                    let message = text!("Removing ", name, ", left by an interrupted AOF rewrite");
                    removed.log_messages.push(message);
                    removed.remove(&item.path());
                }
            }
        }
        removed
    }

    /// Only those with `appendfilename` in their name: the folder may be shared.
    fn is_our_temporary(&self, name: &[u8]) -> bool {
        let name = name.strip_prefix(b"temp-").and_then(|name| name.strip_prefix(&self.file[..]));
        match name {
            Some(b".manifest" | b".incr") => true,
            Some(name) => {
                (name.starts_with(b".shard-") && name.ends_with(b".incr")) || name.ends_with(b".incr.aof.cut")
            }
            None => false,
        }
    }
}

impl Removed {
    fn remove(&mut self, path: &Path) {
        // Like Redis, without a word when it is gone already: nothing depends on it. Only a regular file holds space.
        if path.is_file() {
            self.files.extend(File::open(path));
            let _ = fs::remove_file(path);
        }
    }
}

const TEMPORARY_BASE: &str = "temp-rewriteaof-bg-";

/// Whether this is the base that a process wrote which is not there any more. (It may be the child of another server in the same `dir`.)
fn is_abandoned_base(name: &[u8]) -> bool {
    let name =
        name.strip_prefix(TEMPORARY_BASE.as_bytes()).or_else(|| name.strip_prefix(b"temp-rewriteaof-"));
    let Some(name) = name.filter(|name| name.ends_with(b".aof")) else {
        return false;
    };
    let digits = name.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match std::str::from_utf8(&name[..digits]) {
        Ok(pid) if digits > 0 && name[digits] == b'.' => {
            // In a container the number is often the same again.
            pid == std::process::id().to_string() || !Path::new("/proc").join(pid).exists()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
