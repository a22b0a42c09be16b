//! A snapshot, as every shard knows it: what it is for, the files of its parts, and what the shards tell about theirs.

use crate::shard::saving::Saving;
use crate::shard::turn::TurnState;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::message::JobId;
use crate::base::error_text;
use crate::base::text::Text;
use crate::config::SnapshotMethod;
use crate::persist::aof::write::{put_command, put_cut, Timestamps};
use crate::rdb::file::Header;
use crate::rdb::{Encoder, Format};
use crate::runtime::clock;
use crate::snapshot::Purpose;
use crate::store::SlotSet;
use crate::text;
use crate::txn::locks::Number;

/// What every shard knows of the snapshot in progress.
pub struct SnapshotCut {
    pub id: JobId,
    pub purpose: Purpose,
    /// Whether to fork, if whoever asked said so.
    pub method: Option<SnapshotMethod>,
    pub format: Format,
    /// `rdbchecksum`
    pub checksum: bool,
    /// Where the file is to be in the end.
    pub path: PathBuf,
    /// A file for each shard that writes one.
    pub parts: Vec<Option<PartFile>>,
    /// Of a rewrite: where each of these shards logs from the cut on.
    pub increments: Mutex<Vec<Option<File>>>,
    /// The parts are AOF files (`aof-use-rdb-preamble no`).
    pub as_commands: bool,
    /// False: the file has what stands in front of the keys, and none of them (SYNC for functions).
    pub has_keys: bool,
    pub has_functions: bool,
    /// More fields of the header.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The keys of these slots only.
    pub slots: Option<Arc<SlotSet>>,
    /// It is not wanted any more: who has not begun need not.
    pub is_stopped: AtomicBool,
    /// Each shard's store keeps what changes for another snapshot: it forks at the cut, and needs nobody to do so for it.
    pub at_cut: AtomicBool,
}

impl SnapshotCut {
    /// Of everything, in RDB files without names: what else there is to say is for whoever makes it.
    pub fn new(
        id: JobId,
        purpose: Purpose,
        format: Format,
        checksum: bool,
        parts: Vec<Option<PartFile>>,
    ) -> SnapshotCut {
        SnapshotCut {
            id,
            purpose,
            method: None,
            format,
            checksum,
            path: PathBuf::new(),
            parts,
            increments: Mutex::default(),
            as_commands: false,
            has_keys: true,
            has_functions: true,
            fields: Vec::new(),
            slots: None,
            is_stopped: AtomicBool::new(false),
            at_cut: AtomicBool::new(false),
        }
    }

    pub fn forks_at_cut(&self) -> bool {
        self.at_cut.load(Ordering::Relaxed)
    }

    /// Whether each shard that forks does so when it is told to, after the cut: one after the other, and nobody waits for
    /// another's.
    pub fn forks_one_by_one(&self) -> bool {
        let several = self.parts.iter().flatten().count() > 1;
        several && self.purpose != Purpose::Foreground && !self.as_commands && !self.forks_at_cut()
    }
}

/// Where a shard writes its part.
pub struct PartFile {
    /// Empty for a pipe.
    name: Mutex<PathBuf>,
    pub file: File,
    /// The trailer comes behind it.
    pub ends_file: bool,
}

impl PartFile {
    pub fn new(name: PathBuf, file: File, ends_file: bool) -> PartFile {
        PartFile { name: Mutex::new(name), file, ends_file }
    }

    pub fn name(&self) -> PathBuf {
        self.name.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Redis's children call their files by their own numbers.
    pub fn rename(&self, to: PathBuf) {
        let mut name = self.name.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if std::fs::rename(&*name, &to).is_ok() {
            *name = to;
        }
    }
}

impl TurnState {
    /// The head of a file; of a base of the log, with the number of the barrier that it is made at.
    pub(super) fn header(&self, format: Format, base_at: Option<Number>) -> Vec<u8> {
        // Of bases, that of the first shard has the libraries of functions.
        self.header_with(format, base_at, base_at.is_none() || self.is_leader(), &[])
    }

    /// What stands in front of this shard's part of a file that all shards write.
    pub(super) fn header_of(&self, cut: &SnapshotCut) -> Vec<u8> {
        if self.id != FIRST_PART {
            return Vec::new();
        }
        self.header_with(cut.format, None, cut.has_functions, &cut.fields)
    }

    /// As `header`, with the libraries of functions or without.
    fn header_with(
        &self,
        format: Format,
        base_at: Option<Number>,
        has_libraries: bool,
        fields: &[(String, Vec<u8>)],
    ) -> Vec<u8> {
        let number = base_at.unwrap_or_default().to_string();
        let cut = base_at.map(|_| ("gyre-cut", number.as_bytes()));
        let fields = fields.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let more: Vec<(&str, &[u8])> = cut.into_iter().chain(fields).collect();
        let header = Header {
            version: format.version,
            created_s: clock::unix_us() / 1_000_000,
            used_memory: self.shared.used_memory(),
            is_aof_base: base_at.is_some(),
            more: &more,
        };
        let mut head = Vec::new();
        let libraries = self.shared.scripts.libraries();
        let codes = libraries.iter().filter(|_| has_libraries).map(|library| &library.code[..]);
        header.put_with_functions(codes, &mut Encoder::new(format), &mut head);
        head
    }

    /// The head of a base that is written as commands.
    pub(super) fn head_of_commands(&self, base_at: Number) -> Vec<u8> {
        let mut head = Vec::new();
        if self.config.persistence.aof_timestamp_enabled {
            Timestamps::default().put_always(&mut head, self.now_ms() / 1000);
        }
        put_cut(&mut head, base_at);
        if self.is_leader() {
            for library in self.shared.scripts.libraries().iter() {
                put_command(&mut head, &[b"FUNCTION".as_slice(), b"LOAD", &library.code]);
            }
        }
        head
    }
}

impl Saving {
    /// Opens the files of a snapshot. The error is for the log.
    pub(super) fn new_cut(
        &mut self,
        turn: &TurnState,
        purpose: Purpose,
        method: Option<SnapshotMethod>,
    ) -> Result<SnapshotCut, Text> {
        self.last_id += 1;
        let persistence = &turn.config.persistence;
        let path = persistence.dbfilename.clone();
        let checksum = persistence.rdbchecksum;
        let format = turn.rdb_format();
        let shards = turn.slots.shards();
        let mut parts: Vec<Option<PartFile>> = Vec::with_capacity(shards);
        for shard in 0..shards {
            let name = temporary_name(shard);
            let file = match File::options().read(true).write(true).create(true).truncate(true).open(&name) {
                Ok(file) => file,
                Err(error) => {
                    remove_files(&parts);
                    return Err(text!(
                        "Failed opening the temp RDB file ",
                        name,
                        " (in server root dir ",
                        std::env::current_dir().unwrap_or_default(),
                        ") for saving: ",
                        error_text(&error)
                    ));
                }
            };
            parts.push(Some(PartFile::new(name, file, shards == 1)));
        }
        let cut = SnapshotCut::new(self.last_id, purpose, format, checksum, parts);
        Ok(SnapshotCut { method, path, ..cut })
    }
}

/// The part that the file begins with.
pub(super) const FIRST_PART: usize = 0;

/// What a part is called until a child that writes it says otherwise.
fn temporary_name(shard: usize) -> PathBuf {
    let name = match shard {
        0 => format!("temp-{}.rdb", std::process::id()),
        _ => format!("temp-{}.shard-{shard}.rdb", std::process::id()),
    };
    name.into()
}

/// For a process that ends in the middle of a save.
pub fn remove_temporary_files(shards: usize) {
    // Those that are not there are none of its.
    (0..shards).for_each(|shard| drop(std::fs::remove_file(temporary_name(shard))));
}

pub(super) fn remove_files(parts: &[Option<PartFile>]) {
    for part in parts.iter().flatten().filter(|part| !part.name().as_os_str().is_empty()) {
        // One that is gone is what is wanted.
        let _ = std::fs::remove_file(part.name());
    }
}
