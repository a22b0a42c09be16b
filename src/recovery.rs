//! Recovery: what a starting server reads, in which order, and what it does with what it finds.
//!
//! Runs on the boot thread, which gives the shards their jobs and waits for them; they load at the same time, and tell their clients
//! that they are loading. `persist/persistence.md` tells what counts of the files, and why.

mod logs;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{mpsc, Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::log::{write_raw, Level};
use crate::base::text::Text;
use crate::log;
use crate::persist::aof::{Folder, Manifest};
use crate::persist::check_rdb::explain;
use crate::rdb::file::{Counts, TERMINATING};
use crate::replication::{Event, Master, Order};
use crate::runtime::{clock, signals};
use crate::shard::loading::{LoadFailed, Report, Step};
use crate::shard::message::{LoadMessage, Told};
use crate::shard::shared::Shared;
use crate::shard::{Shard, LEADER};
use crate::text;

/// How often the boot thread looks for a signal while the shards load.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// Why the server does not start; the log has the details. Empty: what the log has is all that Redis would say, too.
pub type Failure = Text;

/// What is there to be read, and to be written from now on.
pub struct Kept {
    /// `dbfilename`, if that is what is read, and its length.
    rdb: Option<(PathBuf, u64)>,
    /// With `appendonly yes`.
    logs: Option<(Folder, Manifest)>,
    logs_bytes: u64,
}

/// Looks for what was kept.
pub fn find(shared: &Shared) -> Result<Kept, Failure> {
    let config = shared.current_config();
    let mut kept = Kept { rdb: None, logs: None, logs_bytes: 0 };
    if config.persistence.appendonly {
        let (folder, manifest) = logs::find(&config, shared.shards)?;
        let bytes = folder.bytes_to_read(&manifest, shared.shards as u16);
        kept.logs_bytes = bytes.map_err(|error| error.text())?;
        let is_empty = manifest.is_empty();
        kept.logs = Some((folder, manifest));
        if !is_empty {
            return Ok(kept);
        }
        // AOF was switched on in the configuration of a server that had none: what it has saved is what there is.
    }
    let path = PathBuf::from(&config.persistence.dbfilename);
    kept.rdb = std::fs::metadata(&path).ok().map(|file| (path, file.len()));
    Ok(kept)
}

/// To be called before the shards start: until `recover` has ended they answer that they are loading.
pub fn announce(shared: &Shared, kept: &Kept) {
    let loading = &shared.status.loading;
    shared.status.figures().saved_at_s = clock::unix_us() / 1_000_000;
    // Every shard reads all of an RDB file.
    let bytes = kept.rdb.as_ref().map_or(0, |(_, len)| len * shared.shards as u64) + kept.logs_bytes;
    loading.began_s.store((clock::unix_us() / 1_000_000) as u64, Relaxed);
    loading.total_bytes.store(bytes, Relaxed);
    loading.in_progress.store(kept.rdb.is_some() || kept.logs.is_some(), Relaxed);
}

/// Has the shards, which run, load what is there, and begin with their logs.
pub fn recover(shared: &Arc<Shared>, kept: Kept) -> Result<(), Failure> {
    let began = Instant::now();
    if let Some((path, _)) = &kept.rdb {
        load_rdb(shared, path)?;
        log!(Level::Notice, "DB loaded from disk: {:.3} seconds", began.elapsed().as_secs_f64());
    }
    if let Some((folder, manifest)) = kept.logs {
        logs::recover(shared, folder, manifest)?;
    }
    on_each(shared, (0..shared.shards).map(|_| |done| LoadMessage::End { done }));
    follow(shared);
    let changes = shared.stats.iter().map(|stats| stats.dirty.get()).sum();
    shared.status.saved_changes.store(changes, Relaxed);
    shared.status.loading.in_progress.store(false, Relaxed);
    shared.thread_inbox.post(LEADER, LoadMessage::AcceptAgain.into());
    Ok(())
}

/// `replicaof` in the configuration: shards have the role of a replica before the first client comes.
fn follow(shared: &Shared) {
    let Some(of) = shared.current_config().replication.replicaof.clone() else { return };
    let (begun, told) = mpsc::channel();
    let master = Some(Master { host: of.host, port: of.port });
    let order = Order { master, asked: None, is_failover: false, client: Vec::new(), begun: Some(begun) };
    shared.replication.tell(Event::ReplicaOf(order));
    // The task ends only with the server.
    let _ = told.recv();
}

fn load_rdb(shared: &Arc<Shared>, path: &Path) -> Result<(), Failure> {
    let step = Step::Rdb { path: path.to_owned(), is_base: false, owned: None };
    let reports = run_phase(shared, (0..shared.shards).map(|_| vec![step.clone()]).collect());
    let reports = reports.map_err(|failed| failure(&failed, THE_DB))?;
    note_counts(shared, &reports);
    Ok(())
}

const THE_DB: &str = "the DB";

/// What stops the start, for the last line of the log.
fn failure(failed: &LoadFailed, what: &str) -> Failure {
    if failed.is_damaged_rdb {
        let explanation = explain(&failed.path);
        write_raw(&explanation);
        // The tool ends with that line, if it sees what the shard has seen.
        if memchr::memmem::find(&explanation, TERMINATING.as_bytes()).is_none() {
            log!(Level::Warning, "{TERMINATING}");
        }
    } else if what != THE_DB {
        return Failure::default();
    }
    text!("Fatal error loading ", *what, " from ", failed.path, ", check server logs. Exiting.")
}

fn note_counts(shared: &Shared, reports: &[Report]) {
    let mut counts = Counts::default();
    reports.iter().for_each(|report| counts.add(report.counts));
    log!(Level::Notice, "{}", counts.log_line());
    let mut figures = shared.status.figures();
    figures.keys_loaded += counts.loaded;
    figures.keys_expired_at_load += counts.expired;
}

/// Has each shard do its job, and waits until all have.
fn run_phase(shared: &Arc<Shared>, jobs: Vec<Vec<Step>>) -> Result<Vec<Report>, LoadFailed> {
    type Outcomes = Vec<Option<Result<Report, LoadFailed>>>;
    let outcomes: Arc<Mutex<Outcomes>> = Arc::new(Mutex::new(jobs.iter().map(|_| None).collect()));
    for (id, steps) in jobs.into_iter().enumerate() {
        let outcomes = outcomes.clone();
        let done = move |shard: &mut Shard, outcome| {
            let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            outcomes[shard.id] = Some(outcome);
            signals::ring();
        };
        shared.thread_inbox.post(id, LoadMessage::Begin { steps, done: Box::new(done) }.into());
    }
    loop {
        signals::wait(WATCH_INTERVAL);
        if let Some(signal) = signals::take() {
            log!(Level::Warning, "Received {} scheduling shutdown...", signal.name());
            log!(Level::Warning, "Received shutdown signal during loading, exiting now.");
            std::process::exit(0);
        }
        let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let has_failed = outcomes.iter().any(|outcome| matches!(outcome, Some(Err(_))));
        if has_failed || outcomes.iter().all(Option::is_some) {
            // The others may still have something to say.
            return outcomes.iter_mut().filter_map(Option::take).collect();
        }
    }
}

/// Sends every shard its message, and waits until all have done what it says.
fn on_each(shared: &Arc<Shared>, messages: impl ExactSizeIterator<Item = impl FnOnce(Told) -> LoadMessage>) {
    let left = Arc::new(Mutex::new(messages.len()));
    for (id, message) in messages.enumerate() {
        let left = left.clone();
        let done = move || {
            *left.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
            signals::ring();
        };
        shared.thread_inbox.post(id, message(Box::new(done)).into());
    }
    while *left.lock().unwrap_or_else(PoisonError::into_inner) > 0 {
        signals::wait(WATCH_INTERVAL);
    }
}
