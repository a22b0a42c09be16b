//! A shard's part of a snapshot: begun at the cut, and watched until it is written.

use super::{Begun, Cut, Failed, PartFile, Purpose, Written};
use crate::observe::log::Level;
use crate::persist::rdb::file::Stretch;
use crate::persist::snapshot::forked::{self, PartOptions};
use crate::process::OomRole;
use crate::runtime::fork::{Child, End, ForkOptions, Turn};
use crate::runtime::sys::error_text;
use crate::shard::Shard;
use crate::txn::locks::Number;

/// This shard's part of the snapshot in progress.
pub(in crate::shard) struct OwnPart {
    id: u64,
    child: Child,
}

impl Shard {
    fn part_options<'a>(&self, cut: &'a Cut, part: &'a PartFile) -> PartOptions<'a> {
        let persistence = &self.config.persistence;
        PartOptions {
            format: cut.format,
            checksum: cut.checksum,
            head: &part.head,
            ends_file: part.ends_file,
            sync_as_it_grows: persistence.rdb_save_incremental_fsync,
            key_delay_us: persistence.rdb_key_save_delay,
        }
    }

    /// Writes this shard's part at once.
    pub(super) fn write_part(&self, cut: &Cut) -> std::io::Result<Stretch> {
        match &cut.parts[self.id] {
            Some(part) => {
                forked::write_part(&self.store, &part.file, &self.part_options(cut, part), &mut || {})
            }
            None => Ok(Stretch::default()),
        }
    }

    /// At the cut.
    pub(super) fn begin_part(&mut self, cut: &Cut, number: Number) {
        if cut.purpose == Purpose::Rewrite {
            self.cut_log(cut, number);
        }
        let Some(part) = &cut.parts[self.id] else {
            let id = cut.id;
            return self.tell_leader(move |leader| leader.part_begun(id, Begun::default()));
        };
        let mut begun =
            Begun { keys: self.keys_of_all(), changes: self.stats.dirty.get(), ..Begun::default() };
        let written = match cut.purpose {
            Purpose::Foreground => {
                let written = self.write_part(cut);
                Some(written.map(|stretch| (stretch, 0)).map_err(|error| Failed::Write(error_text(&error))))
            }
            Purpose::Background | Purpose::Rewrite => {
                let (name, purpose) = match cut.purpose {
                    Purpose::Rewrite => ("gyre-aof-rewrite", "AOF rewrite"),
                    _ => ("gyre-rdb-bgsave", "RDB"),
                };
                let title = self.title_of_child(name);
                let fork = ForkOptions {
                    keep: &[],
                    purpose,
                    title: title.as_deref(),
                    oom_score_adj: self.oom_score_of_child(),
                };
                let mut options = self.part_options(cut, part);
                let head = match cut.purpose {
                    Purpose::Rewrite => self.header(cut.format, Some(number)),
                    _ => Vec::new(),
                };
                if cut.purpose == Purpose::Rewrite {
                    options.head = &head;
                }
                match forked::fork_part(Turn::take(), &self.store, &part.file, &options, &fork) {
                    Ok(child) => {
                        begun.pid = Some(child.pid());
                        begun.fork_us = Some(child.fork_us());
                        self.note_spike("fork", child.fork_us() * 1000);
                        self.saving.own = Some(OwnPart { id: cut.id, child });
                        None
                    }
                    Err(error) => Some(Err(Failed::Fork(error_text(&error)))),
                }
            }
        };
        let id = cut.id;
        self.tell_leader(move |leader| leader.part_begun(id, begun));
        if let Some(written) = written {
            self.tell_written(id, written);
        }
    }

    fn tell_written(&mut self, id: u64, written: Written) {
        let shard = self.id;
        self.tell_leader(move |leader| leader.part_written(id, shard, written));
    }

    fn keys_of_all(&self) -> u64 {
        (0..self.store.databases()).map(|db| self.store.len(db) as u64).sum()
    }

    fn title_of_child(&self, name: &str) -> Option<String> {
        self.shared.settings().title.as_ref().and_then(|title| title.of_child(&self.config, name))
    }

    fn oom_score_of_child(&self) -> Option<i32> {
        self.shared.settings().oom_score.as_ref().and_then(|score| score.wanted(&self.config, OomRole::Child))
    }

    /// Ten times a second: how far the child is, and whether it has ended.
    pub(in crate::shard) fn watch_part(&mut self) {
        self.watch_cut();
        let Some(own) = &mut self.saving.own else { return };
        let progress = own.child.progress();
        self.stats.snapshot_keys.set(progress.keys);
        self.stats.snapshot_copied.set(progress.copied_bytes);
        self.stats.snapshot_copied_peak.set(progress.copied_bytes_peak);
        self.stats.snapshot_copied_at_us.set(progress.copied_at_us.unwrap_or(0).max(0) as u64);
        let end = match own.child.poll() {
            Ok(None) => return,
            Ok(Some(end)) => end,
            Err(error) => {
                crate::log!(Level::Warning, "Waiting for a child that saves: {}", error_text(&error));
                End::Exited(forked::EXIT_FAILED)
            }
        };
        let (id, progress) = (own.id, own.child.progress());
        self.saving.own = None;
        self.stats.snapshot_keys.set(0);
        self.stats.snapshot_copied.set(0);
        self.stats.snapshot_copied_peak.set(0);
        let written = match end {
            End::Exited(0) => {
                Ok((Stretch { len: progress.written_bytes, crc: progress.crc }, progress.copied_bytes_peak))
            }
            End::Exited(_) => {
                let error = std::io::Error::from_raw_os_error(progress.errno.unwrap_or(libc::EIO));
                Err(Failed::Write(error_text(&error)))
            }
            End::Killed(signal) => Err(Failed::Killed(signal)),
        };
        self.tell_written(id, written);
    }

    /// The snapshot is not wanted any more.
    pub(super) fn stop_part(&mut self, id: u64) {
        if let Some(own) = self.saving.own.as_ref().filter(|own| own.id == id) {
            own.child.kill();
        }
    }
}
