//! The files of a rewrite: opened for a step, and given their names when the bases are written. All of it may wait for the disk, and
//! is done on a thread of its own.

use std::fs::{self, File};
use std::path::Path;

use super::cut::{remove_files, PartFile};
use super::rewrite::State;
use crate::base::error_text;
use crate::base::log::Level;
use crate::base::text::Text;
use crate::persist::aof::{BaseFormat, Folder, FolderError, Manifest};
use crate::{log_text, text};

/// What has been opened for a step.
pub struct Prepared {
    pub manifest: Manifest,
    pub parts: Vec<Option<PartFile>>,
    pub increments: Vec<Option<File>>,
    pub first_kept: Vec<Option<i64>>,
    pub format: BaseFormat,
}

/// Opens what a step needs.
pub(super) fn prepare(
    folder: &Folder,
    manifest: Option<Manifest>,
    state: State,
    shards: &[usize],
    all: usize,
    format: BaseFormat,
) -> Result<Prepared, Text> {
    let text = |error: FolderError| error.text();
    folder.create().map_err(text)?;
    let mut manifest = match manifest {
        Some(manifest) => manifest,
        None => folder.load(all as u16).map_err(text)?,
    };
    manifest.begin_layout(all as u16);
    let mut prepared = Prepared {
        parts: (0..all).map(|_| None).collect(),
        increments: (0..all).map(|_| None).collect(),
        first_kept: Vec::new(),
        manifest,
        format,
    };
    match open_files(folder, &mut prepared, state, shards, all) {
        Ok(()) => Ok(prepared),
        Err(why) => {
            remove_files(&prepared.parts);
            Err(why)
        }
    }
}

fn open_files(
    folder: &Folder,
    prepared: &mut Prepared,
    state: State,
    shards: &[usize],
    all: usize,
) -> Result<(), Text> {
    let text = |error: FolderError| error.text();
    for shard in shards {
        let path = folder.temporary_base(std::process::id(), *shard as u16, all as u16);
        let opened = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file =
            opened.map_err(|error| format!("Opening the temp file for AOF rewrite: {}", error_text(&error)));
        prepared.parts[*shard] = Some(PartFile::new(path, file?, true));
        let increment = match state {
            State::Off => None,
            State::Starting => Some(folder.open_temporary(*shard as u16, all as u16).map_err(text)?),
            State::On => {
                let opened = folder.open_next(&mut prepared.manifest, *shard as u16).map_err(text)?;
                log_text!(Level::Notice, "Creating AOF incr file ", opened.name, " on background rewrite");
                Some(opened)
            }
        };
        let seq = match state {
            State::On => prepared
                .manifest
                .newest()
                .chain(*shard as u16)
                .and_then(|chain| chain.increments.last())
                .map(|entry| entry.seq),
            State::Off | State::Starting => None,
        };
        prepared.first_kept.push(seq);
        prepared.increments[*shard] = increment.map(|opened| opened.file);
    }
    if state == State::On {
        folder.write(&mut prepared.manifest).map_err(text)?;
    }
    Ok(())
}

/// Gives a new base, and the increment that begins at it, their names.
pub(super) fn install(
    folder: &Folder,
    manifest: &mut Manifest,
    state: State,
    (shard, all): (u16, u16),
    part: &PartFile,
    format: BaseFormat,
    first_kept: Option<i64>,
) -> Result<(), Text> {
    let base = manifest.next_base(shard, format);
    let rename = |from: &Path, to: &Path| {
        fs::rename(from, to).map_err(|error| {
            let why = error_text(&error);
            text!("Error trying to rename the temporary AOF file ", from, " into ", to, ": ", why)
        })
    };
    let temporary = part.name();
    rename(&temporary, &folder.path_of(&base))?;
    log_text!(
        Level::Notice,
        "Successfully renamed the temporary AOF base file ",
        temporary.file_name().unwrap_or_default(),
        " into ",
        base
    );
    let mut first_kept = first_kept;
    if state == State::Starting {
        let temporary = folder.temporary_increment(shard, all);
        let name = manifest.next_increment(shard);
        rename(&folder.path_of(&temporary), &folder.path_of(&name))?;
        log_text!(
            Level::Notice,
            "Successfully renamed the temporary AOF incr file ",
            temporary,
            " into ",
            name
        );
        first_kept =
            manifest.newest().chain(shard).and_then(|chain| chain.increments.last()).map(|entry| entry.seq);
    }
    manifest.retire_increments(shard, first_kept);
    Ok(())
}

/// The old files go; when one does not, it is tried again after the next rewrite.
pub(super) fn delete_history(folder: &Folder, manifest: &mut Manifest) {
    match folder.delete_history(manifest) {
        Ok(removed) => removed.log_messages.iter().for_each(|message| log_text!(Level::Notice, message)),
        Err(error) => log_text!(Level::Warning, error.text()),
    }
}
