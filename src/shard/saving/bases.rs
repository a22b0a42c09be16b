//! The files of a rewrite: opened for a step, and given their names when the bases are written. All of it may wait for the disk, and
//! is done on a thread of its own.

use std::fs::{self, File};
use std::path::PathBuf;

use super::cut::{remove_files, PartFile};
use super::rewrite::State;
use crate::base::error_text;
use crate::base::log::Level;
use crate::persist::aof::{BaseFormat, Folder, FolderError, Manifest};

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
) -> Result<Prepared, String> {
    let text = |error: FolderError| error.to_string();
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
) -> Result<(), String> {
    let text = |error: FolderError| error.to_string();
    for shard in shards {
        let path = folder.temporary_base(std::process::id(), *shard as u16, all as u16);
        let name = path.display().to_string();
        let opened = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file =
            opened.map_err(|error| format!("Opening the temp file for AOF rewrite: {}", error_text(&error)));
        prepared.parts[*shard] = Some(PartFile::new(name, file?, true));
        let increment = match state {
            State::Off => None,
            State::Starting => Some(folder.open_temporary(*shard as u16, all as u16).map_err(text)?),
            State::On => {
                let opened = folder.open_next(&mut prepared.manifest, *shard as u16).map_err(text)?;
                let name = String::from_utf8_lossy(&opened.name).into_owned();
                crate::log!(Level::Notice, "Creating AOF incr file {name} on background rewrite");
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
) -> Result<(), String> {
    let base = manifest.next_base(shard, format);
    let shown = String::from_utf8_lossy(&base).into_owned();
    let rename = |from: &str, to: PathBuf| {
        fs::rename(from, &to).map_err(|error| {
            format!(
                "Error trying to rename the temporary AOF file {from} into {}: {}",
                to.display(),
                error_text(&error)
            )
        })
    };
    let temporary = part.name();
    rename(&temporary, folder.path_of(&base))?;
    crate::log!(
        Level::Notice,
        "Successfully renamed the temporary AOF base file {} into {shown}",
        temporary.rsplit('/').next().unwrap_or_default()
    );
    let mut first_kept = first_kept;
    if state == State::Starting {
        let temporary = folder.temporary_increment(shard, all);
        let name = manifest.next_increment(shard);
        let from = folder.path_of(&temporary).display().to_string();
        rename(&from, folder.path_of(&name))?;
        crate::log!(
            Level::Notice,
            "Successfully renamed the temporary AOF incr file {} into {}",
            String::from_utf8_lossy(&temporary),
            String::from_utf8_lossy(&name)
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
        Ok(removed) => {
            removed.log_messages.iter().for_each(|message| crate::log!(Level::Notice, "{message}"))
        }
        Err(error) => crate::log!(Level::Warning, "{error}"),
    }
}
