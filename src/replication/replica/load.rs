//! A master's snapshot on its way into shards: through a file, or, with `repl-diskless-load`, as it comes.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::active::Incoming;
use super::payload::PayloadFile;
use super::Follower;
use crate::base::log::Level;
use crate::config::ReplDisklessLoad;
use crate::repl::replica::link::Resume;
use crate::replication::core::{Core, LEADER};
use crate::replication::follow::{AsideReport, AsideSource, FollowMessage};
use crate::replication::intake::Intake;
use crate::replication::message::ReplMessage;
use crate::runtime::clock;

impl Follower {
    /// A snapshot begins to come.
    pub(super) fn begin_load(
        &mut self,
        core: &Core,
        start: Option<Resume>,
        total: Option<u64>,
    ) -> Result<(), String> {
        let Some(active) = &mut self.active else { return Ok(()) };
        let mode = core.config.replication.repl_diskless_load;
        if mode == ReplDisklessLoad::Disabled {
            let file = PayloadFile::create(core.woken.clone()).map_err(|error| {
                format!("Opening the temp file needed for MASTER <-> REPLICA synchronization: {error}")
            })?;
            active.incoming = Some(Incoming::File { file, start, has_all: false });
            return Ok(());
        }
        let is_same = start.is_some_and(|start| start.id == core.history.id());
        let intakes: Vec<_> = (0..core.shards).map(|_| Intake::new(core.woken.clone())).collect();
        active.incoming = Some(Incoming::Link {
            intakes: intakes.clone(),
            start,
            bytes: 0,
            total,
            has_all: false,
            missing: core.shards,
            sum: AsideReport::default(),
        });
        self.loading_begins(core, mode == ReplDisklessLoad::SwapDb && is_same, total);
        let told = self.told(core);
        for (shard, intake) in intakes.into_iter().enumerate() {
            let source = AsideSource::Link(intake);
            core.tell(shard, ReplMessage::Follow(FollowMessage::LoadAside { source, told: told.clone() }));
        }
        Ok(())
    }

    /// What commands show of it.
    fn loading_begins(&mut self, core: &Core, is_async: bool, total: Option<u64>) {
        crate::log!(Level::Notice, "MASTER <-> REPLICA sync: Loading DB in memory");
        let loading = &core.status.loading;
        loading.is_async.store(is_async, Ordering::Relaxed);
        loading.began_s.store(clock::unix_us().max(0) as u64 / 1_000_000, Ordering::Relaxed);
        loading.total_bytes.store(total.unwrap_or(0), Ordering::Relaxed);
        loading.loaded_bytes.store(0, Ordering::Relaxed);
        loading.in_progress.store(true, Ordering::Relaxed);
        self.loads += 1;
    }

    pub(super) fn payload(&mut self, core: &Core, piece: Bytes) {
        let Some(active) = &mut self.active else { return };
        core.status.loading.loaded_bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if active.push_payload(piece) {
            core.tell_all(|| ReplMessage::Follow(FollowMessage::GoOnLoading));
        }
    }

    pub(super) fn file_may_be_whole(&mut self, core: &mut Core) {
        let Some(active) = &mut self.active else { return };
        let Some(Incoming::File { file, has_all: true, .. }) = &mut active.incoming else { return };
        let Some(written) = file.end() else { return };
        let Some(Incoming::File { file, start, .. }) = active.incoming.take() else { return };
        if let Err(error) = written {
            crate::log!(
                Level::Warning,
                "Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA synchronization: {error}"
            );
            return self.loaded(core, false);
        }
        let (path, bytes): (PathBuf, u64) = (file.path().to_owned(), file.bytes);
        active.incoming =
            Some(Incoming::Loading { file, start, missing: core.shards, report: Ok(AsideReport::default()) });
        self.loading_begins(core, false, Some(bytes));
        let told = self.told(core);
        core.tell_all(|| {
            let source = AsideSource::File(path.clone());
            ReplMessage::Follow(FollowMessage::LoadAside { source, told: told.clone() })
        });
    }

    /// A shard has read the snapshot.
    pub(super) fn loaded_aside(&mut self, core: &mut Core, result: Result<AsideReport, String>) {
        let Some(active) = &mut self.active else { return };
        match &mut active.incoming {
            Some(Incoming::Loading { missing, report, .. }) => {
                *missing = missing.saturating_sub(1);
                match (&mut *report, result) {
                    (Ok(sum), Ok(one)) => sum.add(one),
                    (Ok(_), Err(why)) => *report = Err(why),
                    (Err(_), _) => {}
                }
            }
            Some(Incoming::Link { missing, sum, has_all, .. }) => match result {
                Ok(one) => {
                    *missing = missing.saturating_sub(1);
                    sum.add(one);
                }
                Err(why) => {
                    let has_all = *has_all;
                    active.incoming = None;
                    return self.is_no_good(core, &why, has_all);
                }
            },
            _ => return,
        }
        self.may_take_over(core);
    }

    /// All shards have loaded the snapshot, and all of it has come.
    pub(super) fn may_take_over(&mut self, core: &mut Core) {
        let Some(active) = &mut self.active else { return };
        match &active.incoming {
            Some(Incoming::Loading { missing: 0, .. } | Incoming::Link { missing: 0, has_all: true, .. }) => {
            }
            _ => return,
        }
        let (file, start, report) = match active.incoming.take() {
            Some(Incoming::Loading { file, start, report, .. }) => (Some(file), start, report),
            Some(Incoming::Link { start, sum, .. }) => (None, start, Ok(sum)),
            _ => return,
        };
        match report {
            Err(why) => self.is_no_good(core, &why, true),
            Ok(report) => {
                active.incoming = Some(Incoming::TakingOver { file, start, report });
                let told = self.told(core);
                core.tell(LEADER, ReplMessage::Follow(FollowMessage::TakeOver { told }));
            }
        }
    }

    fn is_no_good(&mut self, core: &mut Core, why: &str, has_all: bool) {
        crate::log!(Level::Warning, "What the master has sent is no good, and what was here stays: {why}");
        core.status.loading.in_progress.store(false, Ordering::Relaxed);
        core.tell_all(|| ReplMessage::Follow(FollowMessage::DropAside));
        self.loads += 1;
        if has_all {
            return self.loaded(core, false);
        }
        let Some(active) = &mut self.active else { return };
        let mut actions = Vec::new();
        active.link.payload_is_bad(core.now_ms(), &mut actions);
        self.act(core, &Bytes::new(), actions);
    }
}

impl AsideReport {
    fn add(&mut self, other: AsideReport) {
        self.counts.add(other.counts);
        self.stream_db = self.stream_db.or(other.stream_db);
    }
}
