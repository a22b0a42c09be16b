//! Reading the append-only files back: which there are, where each is cut, and in which order they are replayed.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::Instant;

use super::{failure, note_counts, on_each, run_phase, Failure};
use crate::base::log::Level;
use crate::config::Config;
use crate::log;
use crate::log_text;
use crate::persist::aof::cut::{cut, ScannedLog};
use crate::persist::aof::cut_off::{cut_off, message_after, messages_before};
use crate::persist::aof::scan::has_rdb_preamble;
use crate::persist::aof::{BaseFormat, Fault, Folder, FolderError, Layout, Manifest};
use crate::rdb::file::{FileReader, Record};
use crate::runtime::clock;
use crate::shard::loading::Step;
use crate::shard::message::LoadMessage;
use crate::shard::shared::Shared;
use crate::shard::LEADER;
use crate::slots::even_share;
use crate::store::SlotSet;
use crate::text;

fn text(error: FolderError) -> Failure {
    if let FolderError::Manifest(error) = &error {
        error.log_messages().iter().for_each(|message| log_text!(Level::Warning, message));
        return Failure::default();
    }
    error.text()
}

/// The folder, and what its manifest names.
pub(super) fn find(config: &Config, shards: usize) -> Result<(Folder, Manifest), Failure> {
    let persistence = &config.persistence;
    let dir =
        std::env::current_dir().map_err(|error| format!("Can't tell the working directory: {error}"))?;
    let folder = Folder::new(&dir, &persistence.appenddirname, &persistence.appendfilename);
    for message in folder.remove_leftovers().log_messages {
        log_text!(Level::Notice, message);
    }
    let mut manifest = folder.load(shards as u16).map_err(|error| {
        let is_damaged = matches!(error, FolderError::Manifest(_));
        let failure = text(error);
        if is_damaged {
            log_text!(Level::Warning, "The AOF manifest file is ", folder.manifest_path());
        }
        failure
    })?;
    if manifest.is_empty() {
        for other in folder.look_alikes() {
            log_text!(
                Level::Warning,
                "There are no append-only files of this name in ",
                folder.path(),
                ", but ",
                other,
                " is there. If its files are to be read, set 'appenddirname' and 'appendfilename' to their folder and name"
            );
        }
    }
    if let Some(message) = folder.upgrade(&mut manifest).map_err(text)? {
        log_text!(Level::Notice, message);
    }
    Ok((folder, manifest))
}

/// Replays what there is, and opens the logs.
pub(super) fn recover(shared: &Arc<Shared>, folder: Folder, mut manifest: Manifest) -> Result<(), Failure> {
    let began = Instant::now();
    let had_any = !manifest.is_empty();
    let loads_truncated = shared.current_config().persistence.aof_load_truncated;
    let mut highest = 0;
    for layout in manifest.layouts() {
        highest = highest.max(cut_layout(&folder, layout, loads_truncated)?);
    }
    shared.transaction_number.fetch_max(highest + 1, Relaxed);
    let shards = shared.shards;
    let is_current = usize::from(manifest.newest().shards()) == shards;
    let older = manifest.layouts().len() - usize::from(is_current);
    for (index, layout) in manifest.layouts()[..older].iter().enumerate() {
        replay_elsewhere(shared, &folder, layout, index > 0)?;
    }
    if is_current {
        replay_own(shared, &folder, manifest.newest(), older > 0)?;
    }
    if had_any {
        let seconds = began.elapsed().as_secs_f64();
        log!(Level::Notice, "DB loaded from append only file: {seconds:.3} seconds");
    }
    manifest.begin_layout(shards as u16);
    let is_continued = had_any && is_current && shards > 1;
    open(shared, &folder, manifest, is_continued)
}

/// Finds where the logs of one layout are cut, and cuts them there. Returns the highest number in them.
fn cut_layout(folder: &Folder, layout: &Layout, loads_truncated: bool) -> Result<u64, Failure> {
    let chains: Vec<_> = (0..layout.shards()).map(|shard| layout.chain(shard)).collect();
    let scanned: Vec<Result<(ScannedLog, Option<Fault>), Failure>> = std::thread::scope(|scope| {
        let threads: Vec<_> = chains
            .iter()
            .map(|chain| {
                scope.spawn(move || {
                    let Some(chain) = chain else { return Ok((ScannedLog::new(0), None)) };
                    let base_cut = match &chain.base {
                        Some(base) => base_cut(&folder.path_of(&base.name))?,
                        None => 0,
                    };
                    let open = |name: &[u8]| {
                        File::open(folder.path_of(name)).map_err(|error| {
                            text!(
                                "Fatal error: can't open the append log file ",
                                name,
                                format_args!(" for reading: {error}")
                            )
                        })
                    };
                    let files: Result<Vec<File>, Failure> =
                        chain.increments.iter().map(|entry| open(&entry.name)).collect();
                    let files = files?;
                    for (file, entry) in files.iter().zip(&chain.increments) {
                        // A server that was killed may have left it to the kernel. From now on it counts as durable: what is
                        // read, and written behind it, relies on that.
                        file.sync_data().map_err(|error| {
                            text!("Can't fsync the append only file ", entry.name, format_args!(": {error}"))
                        })?;
                    }
                    ScannedLog::scan(base_cut, &files).map_err(|error| {
                        format!("Unrecoverable error reading the append only file: {error}").into()
                    })
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| Err("Scanning the append only files failed".into()))
            })
            .collect()
    });
    let mut logs = Vec::new();
    for (chain, scanned) in chains.iter().zip(scanned) {
        let (scanned, fault) = scanned?;
        if let (Some(fault), Some(chain)) = (fault, chain) {
            let file = scanned.end().file as usize;
            let name = &chain.increments[file].name;
            if !fault.is_torn() || !loads_truncated {
                log_text!(Level::Warning, fault.log_message(name));
                return Err(Failure::default());
            }
            // An increment may be torn although others follow it: with everysec, when the power fails during a rewrite. They are
            // cut off with its tail.
            messages_before(&fault, name).iter().for_each(|message| log_text!(Level::Warning, message));
        }
        logs.push(scanned);
    }
    let cut = cut(&logs);
    for incomplete in &cut.incomplete {
        log!(
            Level::Warning,
            "Transaction {} is in the logs of shards {:?} and not in those of {:?}: it is cut off, and what follows it",
            incomplete.number,
            incomplete.present.as_slice(),
            incomplete.missing.as_slice()
        );
    }
    for shard in &cut.behind_bases {
        log!(
            Level::Warning,
            "The log of shard {shard} ends before what the bases of other shards hold: something of it was lost or changed"
        );
    }
    for (chain, end) in chains.iter().zip(&cut.ends) {
        let Some(chain) = chain else { continue };
        for (file, entry) in chain.increments.iter().enumerate().skip(end.file as usize) {
            let len = if file == end.file as usize { end.offset } else { 0 };
            let now_s = (clock::unix_us() / 1_000_000) as u64;
            match cut_off(&folder.path(), &entry.name, len, now_s) {
                Ok(None) => {}
                Ok(Some(kept)) => {
                    log_text!(Level::Warning, kept.log_message());
                    log_text!(Level::Warning, message_after(&entry.name));
                }
                Err(error) => {
                    let error = format!(": {error}");
                    return Err(text!("Error truncating the AOF file ", entry.name, error));
                }
            }
        }
    }
    Ok(logs.iter().map(|log| log.highest_number().max(log.highest_cut())).max().unwrap_or(0))
}

/// The barrier that a base was made at; 0 when it names none.
fn base_cut(path: &Path) -> Result<u64, Failure> {
    let file = File::open(path);
    let file =
        file.map_err(|error| text!("The AOF base file ", path, format_args!(" can't be read: {error}")))?;
    if !has_rdb_preamble(&file).unwrap_or_default() {
        // Written as commands: it begins with the annotation, if it has one.
        let (log, _) =
            ScannedLog::scan(0, [&file]).map_err(|error| text!(path, format_args!(": {error}")))?;
        return Ok(log.highest_cut());
    }
    // What is wrong with the file is told when it is loaded.
    let Ok(mut reader) = FileReader::open(file, false) else { return Ok(0) };
    while let Ok(Record::Aux { name, value }) = reader.next() {
        if name == b"gyre-cut" {
            return Ok(std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok()).unwrap_or(0));
        }
    }
    Ok(0)
}

fn len_of(folder: &Folder, name: &[u8]) -> Result<u64, Failure> {
    folder.len_of(name).map_err(text)
}

/// Each shard replays the files that it wrote itself, all at the same time.
fn replay_own(shared: &Arc<Shared>, folder: &Folder, layout: &Layout, follows: bool) -> Result<(), Failure> {
    let mut jobs = Vec::new();
    for shard in 0..layout.shards() {
        let mut steps = Vec::new();
        if let Some(chain) = layout.chain(shard) {
            if follows && chain.base.is_some() {
                // What older files say of its keys is in there.
                steps.push(Step::Clear);
            }
            for entry in chain.files() {
                steps.push(Step::Log {
                    path: folder.path_of(&entry.name),
                    until: len_of(folder, &entry.name)?,
                });
            }
        }
        jobs.push(steps);
    }
    let reports = run_phase(shared, jobs).map_err(|failed| failure(&failed, "the append only file"))?;
    note_counts(shared, &reports);
    Ok(())
}

/// Replays the files of another number of shards: all shards read them, and take what concerns their keys.
fn replay_elsewhere(
    shared: &Arc<Shared>,
    folder: &Folder,
    layout: &Layout,
    follows: bool,
) -> Result<(), Failure> {
    let fatal = |failed| failure(&failed, "the append only file");
    for (shard, chain) in layout.chains() {
        let had = even_share(shard.into(), layout.shards().into());
        if follows && chain.base.is_some() {
            // What older files say of its keys is in there.
            let step = Step::Forget(had.clone());
            run_phase(shared, (0..shared.shards).map(|_| vec![step.clone()]).collect()).map_err(fatal)?;
        }
        for entry in chain.files() {
            let path = folder.path_of(&entry.name);
            let until = len_of(folder, &entry.name)?;
            let mut from = 0;
            let has_preamble = File::open(&path).and_then(|file| has_rdb_preamble(&file));
            if has_preamble.unwrap_or_default() {
                let owned = (layout.shards() > 1).then(|| had.clone());
                let step = Step::Rdb { path: path.clone(), is_base: true, owned };
                let jobs = (0..shared.shards).map(|_| vec![step.clone()]).collect();
                let reports = run_phase(shared, jobs).map_err(fatal)?;
                note_counts(shared, &reports);
                from = reports.first().and_then(|report| report.rdb_ends.first().copied()).unwrap_or(until);
            }
            if from < until {
                replay_for(shared, Some(&had));
                let step = Step::ForeignLog { path, from, until, owned: had.clone() };
                let jobs = (0..shared.shards).map(|_| vec![step.clone()]).collect();
                let outcome = run_phase(shared, jobs).map_err(fatal);
                replay_for(shared, None);
                outcome?;
            }
        }
    }
    Ok(())
}

fn replay_for(shared: &Arc<Shared>, slots: Option<&SlotSet>) {
    on_each(
        shared,
        (0..shared.shards).map(|_| {
            let slots = slots.cloned();
            move |done| LoadMessage::ReplayFor { slots, done }
        }),
    );
}

/// Opens the logs, and has the shards write to them. The first time, each gets a base. `is_continued`: several shards go on with the logs
/// that they have.
fn open(
    shared: &Arc<Shared>,
    folder: &Folder,
    mut manifest: Manifest,
    is_continued: bool,
) -> Result<(), Failure> {
    folder.create().map_err(text)?;
    let shards = shared.shards;
    let mut base_lens = vec![0; shards];
    if manifest.is_empty() {
        folder.mark_beginning().map_err(text)?;
        let format = match shared.current_config().persistence.aof_use_rdb_preamble {
            true => BaseFormat::Rdb,
            false => BaseFormat::Aof,
        };
        let mut jobs = Vec::new();
        for shard in 0..shards {
            let name = manifest.next_base(shard as u16, format);
            log_text!(Level::Notice, "Creating AOF base file ", name, " on server start");
            jobs.push(vec![Step::WriteBase { path: folder.path_of(&name) }]);
        }
        let reports = run_phase(shared, jobs).map_err(|failed| failure(&failed, "the append only file"))?;
        base_lens = reports.iter().map(|report| report.base_len).collect();
    } else {
        for (shard, len) in base_lens.iter_mut().enumerate() {
            if let Some(chain) = manifest.newest().chain(shard as u16) {
                *len = chain.files().map(|entry| len_of(folder, &entry.name)).sum::<Result<u64, _>>()?;
            }
        }
    }
    let barrier = is_continued.then(|| shared.next_transaction());
    let mut orders = Vec::new();
    for (shard, base_len) in base_lens.iter().copied().enumerate() {
        let opened = folder.open_last(&mut manifest, shard as u16).map_err(text)?;
        log_text!(Level::Notice, opened.log_message_at_start());
        let (file, len) = (opened.file, opened.len);
        orders.push(move |done| LoadMessage::OpenLog { file, len, base_len, barrier, done });
    }
    folder.write(&mut manifest).map_err(text)?;
    if !manifest.history().is_empty() {
        let removed = folder.delete_history(&mut manifest).map_err(text)?;
        removed.log_messages.iter().for_each(|message| log_text!(Level::Notice, message));
    }
    on_each(shared, orders.into_iter());
    shared.thread_inbox.post(LEADER, LoadMessage::LogsHaveBegun(Box::new(manifest)).into());
    Ok(())
}
