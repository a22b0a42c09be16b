//! Recovery: what a starting server reads, in which order, and what it does with what it finds.
//!
//! Runs on the boot thread, which gives the shards their jobs and waits for them; they load at the same time, and tell their clients
//! that they are loading. `persist/persistence.md` tells what counts of the files, and why.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::log;
use crate::observe::log::Level;
use crate::persist::rdb::file::TERMINATING;
use crate::runtime::clock;
use crate::runtime::signals;
use crate::shard::loading::{LoadFailed, Report, Step};
use crate::shard::shared::Shared;
use crate::shard::Shard;

/// How often the boot thread looks for a signal while the shards load.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// Why the server does not start; the log has the details.
pub type Failure = String;

/// What is there to be read.
pub enum Kept {
    Nothing,
    /// `dbfilename`, and its length.
    Rdb(PathBuf, u64),
}

/// Looks for what was kept.
pub fn find(shared: &Shared) -> Kept {
    let config = shared.current_config();
    let path = PathBuf::from(&config.persistence.dbfilename);
    match std::fs::metadata(&path) {
        Ok(file) => Kept::Rdb(path, file.len()),
        Err(_) => Kept::Nothing,
    }
}

/// To be called before the shards start: until `recover` has ended they answer that they are loading.
pub fn announce(shared: &Shared, kept: &Kept) {
    let loading = &shared.status.loading;
    shared.status.figures().saved_at_s = clock::unix_us() / 1_000_000;
    let bytes = match kept {
        Kept::Nothing => return,
        // Every shard reads all of it.
        Kept::Rdb(_, len) => len * shared.shards as u64,
    };
    loading.began_s.store((clock::unix_us() / 1_000_000) as u64, Relaxed);
    loading.total_bytes.store(bytes, Relaxed);
    loading.in_progress.store(true, Relaxed);
}

/// Has the shards, which run, load what is there.
pub fn recover(shared: &Arc<Shared>, kept: Kept) -> Result<(), Failure> {
    let began = Instant::now();
    match kept {
        Kept::Nothing => {}
        Kept::Rdb(path, _) => {
            load_rdb(shared, &path)?;
            log!(Level::Notice, "DB loaded from disk: {:.3} seconds", began.elapsed().as_secs_f64());
        }
    }
    shared.status.loading.in_progress.store(false, Relaxed);
    Ok(())
}

fn load_rdb(shared: &Arc<Shared>, path: &Path) -> Result<(), Failure> {
    let step = Step::Rdb { path: path.to_owned(), is_base: false };
    let reports = run_phase(shared, (0..shared.shards).map(|_| vec![step.clone()]).collect());
    match reports {
        Ok(reports) => {
            let mut counts = crate::persist::rdb::file::Counts::default();
            reports.iter().for_each(|report| counts.add(report.counts));
            log!(Level::Notice, "{}", counts.log_line());
            let mut figures = shared.status.figures();
            figures.keys_loaded = counts.loaded;
            figures.keys_expired_at_load = counts.expired;
            Ok(())
        }
        Err(failed) if failed.is_damaged_rdb => {
            log!(Level::Warning, "{TERMINATING}");
            Err(format!(
                "Fatal error loading the DB from {}, check server logs. Exiting.",
                failed.path.display()
            ))
        }
        Err(_) => Err("Fatal error loading the DB, check server logs. Exiting.".to_owned()),
    }
}

/// Has each shard do its job, and waits until all have.
fn run_phase(shared: &Arc<Shared>, jobs: Vec<Vec<Step>>) -> Result<Vec<Report>, LoadFailed> {
    type Outcomes = Vec<Option<Result<Report, LoadFailed>>>;
    let outcomes: Arc<Mutex<Outcomes>> = Arc::new(Mutex::new(jobs.iter().map(|_| None).collect()));
    for (id, steps) in jobs.into_iter().enumerate() {
        let outcomes = outcomes.clone();
        let job = move |shard: &mut Shard| {
            shard.begin_loading(
                steps,
                Box::new(move |shard, outcome| {
                    let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                    outcomes[shard.id] = Some(outcome);
                    signals::ring();
                }),
            );
        };
        shared.mail.post(id, Box::new(job));
    }
    loop {
        signals::wait(WATCH_INTERVAL);
        if let Some(signal) = signals::take() {
            log!(Level::Warning, "Received {} scheduling shutdown...", signal.name());
            log!(Level::Warning, "Received shutdown signal during loading, exiting now.");
            std::process::exit(0);
        }
        let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        if outcomes.iter().any(|outcome| matches!(outcome, Some(Err(_)))) {
            return outcomes.drain(..).flatten().collect();
        }
        if outcomes.iter().all(Option::is_some) {
            return outcomes.drain(..).flatten().collect();
        }
    }
}
