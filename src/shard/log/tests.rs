use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::disk::GROUP_WAIT_US_MAX;
use super::inline_writes::{InlineWrites, Load, SyncInFlight};
use super::*;
use crate::runtime::ring::{Completion, SocketRing};

const SECOND_US: i64 = 1_000_000;
/// Some moment in the middle of a second.
const NOON_US: i64 = 1_000_000_500_000;

/// A log with a ring and a folder of its own. What the kernel answers can be changed on the way.
struct Rig {
    log: Log,
    ring: SocketRing,
    folder: PathBuf,
    now_us: i64,
    #[allow(clippy::type_complexity)]
    bend: Option<Box<dyn FnMut(Completion) -> Completion>>,
}

impl Rig {
    fn new(name: &str, policy: AppendFsync) -> Rig {
        Rig::inside(&std::env::temp_dir(), name, policy)
    }

    fn inside(parent: &Path, name: &str, policy: AppendFsync) -> Rig {
        let folder = parent.join(format!("gyre-log-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut log = Log::new(0, Arc::new(ShardStats::new(0, 0)), Arc::default());
        log.appendfsync = policy;
        log.disk.inline_writes = InlineWrites::never();
        let mut rig = Rig { log, ring: SocketRing::new().unwrap(), folder, now_us: NOON_US, bend: None };
        let file = rig.file("one");
        rig.log.open(file, 0);
        // So that the first second counts as synced.
        rig.log.disk.last_sync_s = NOON_US / SECOND_US;
        rig
    }

    fn file(&self, name: &str) -> File {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.folder.join(name))
            .unwrap()
    }

    fn contents(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.folder.join(name)).unwrap()).unwrap()
    }

    /// From now on the shard writes by itself where it may.
    fn writes_inline(mut self) -> Rig {
        self.log.disk.inline_writes = InlineWrites::default();
        self
    }

    fn append(&mut self, unit: &str) {
        self.log.buffer().extend_from_slice(unit.as_bytes());
        self.log.unit_end();
    }

    /// Starts what is due, without waiting for it.
    fn start(&mut self) {
        self.log.step(&mut self.ring, self.now_us);
        self.ring.submit_and_wait(0).unwrap();
    }

    /// Takes what has ended.
    fn take(&mut self) {
        for index in 0..self.ring.collect() {
            let mut completion = self.ring.completion(index);
            if let Some(bend) = &mut self.bend {
                completion = bend(completion);
            }
            match completion {
                Completion::FileWritten { token, result } => {
                    self.log.wrote(token, result, self.now_us / 1000)
                }
                Completion::FileSynced { token, result } => {
                    self.log.synced(token, result, self.now_us / 1000)
                }
                _ => {}
            }
        }
    }

    /// Goes on until nothing is in flight any more.
    fn settle(&mut self) {
        loop {
            self.start();
            if let Some(due_us) = self.log.due_at_us() {
                self.now_us = due_us;
                continue;
            }
            if !self.log.is_in_flight() {
                return;
            }
            while self.log.is_in_flight() {
                self.ring.submit_and_wait(1).unwrap();
                self.take();
            }
        }
    }

    fn pass_ms(&mut self, ms: i64) {
        self.now_us += ms * 1000;
    }

    fn all_durable(&self) -> bool {
        self.log.durable() == self.log.appended()
    }
}

/// Shard 1 has its part of the transaction, and this one has looked.
fn the_other_part_is_safe(rig: &mut Rig, number: Number) {
    let mut theirs = parts::Parts::default();
    theirs.begin(number, 2, 0, 1);
    theirs.exchange(&mut doubts(&rig.log.common), 1, 1);
    rig.log.common.releases.fetch_add(1, Ordering::Relaxed);
    rig.log.settle_parts();
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Lets the first `count` writes fail.
fn failing_writes(count: usize, errno: i32) -> Option<Box<dyn FnMut(Completion) -> Completion>> {
    let mut left = count;
    Some(Box::new(move |completion| match completion {
        Completion::FileWritten { token, .. } if left > 0 => {
            left -= 1;
            Completion::FileWritten { token, result: Err(errno) }
        }
        other => other,
    }))
}

fn failing_syncs(count: usize, errno: i32) -> Option<Box<dyn FnMut(Completion) -> Completion>> {
    let mut left = count;
    Some(Box::new(move |completion| match completion {
        Completion::FileSynced { token, result: Ok(()) } if left > 0 => {
            left -= 1;
            Completion::FileSynced { token, result: Err(errno) }
        }
        other => other,
    }))
}

#[test]
fn a_closed_log_holds_nothing_and_starts_nothing() {
    let mut rig = Rig::new("closed", AppendFsync::Always);
    rig.log.close().unwrap();
    assert!(!rig.log.is_open() && !rig.log.holds(u64::MAX - 1) && rig.log.is_settled());
    rig.start();
    assert!(!rig.log.is_in_flight());
}

#[test]
fn with_always_all_that_came_during_a_write_goes_with_the_next_and_counts_when_it_is_synced() {
    let mut rig = Rig::new("always", AppendFsync::Always);
    rig.append("a.");
    rig.start();
    let first = rig.log.appended();
    assert!(rig.log.holds(first) && !rig.log.holds(0));
    rig.append("b.");
    rig.append("c.");
    rig.start();
    while rig.log.durable() < first {
        rig.ring.submit_and_wait(1).unwrap();
        rig.take();
    }
    assert!(rig.log.durable() == first && !rig.log.holds(first) && rig.log.holds(rig.log.appended()));
    rig.settle();
    assert!(rig.all_durable());
    assert_eq!(rig.contents("one"), "a.b.c.");
    assert_eq!(rig.log.size(), 6);
}

/// Ends the sync in flight, and says how long it took.
fn end_sync(rig: &mut Rig, took_us: u64) {
    while rig.log.is_in_flight() {
        rig.ring.submit_and_wait(1).unwrap();
        rig.take();
    }
    rig.log.stats.aof_last_fsync_us.set(took_us);
}

#[test]
fn with_always_a_group_waits_for_as_many_as_there_were_but_not_long_and_not_again_in_vain() {
    let mut rig = Rig::new("group", AppendFsync::Always);
    rig.append("a.");
    rig.append("b.");
    rig.start();
    assert!(rig.log.is_in_flight(), "there is nothing to wait for");
    rig.append("c.");
    rig.start();
    end_sync(&mut rig, 500);
    rig.append("d.");
    rig.start();
    assert!(!rig.log.is_in_flight(), "a third one may come");
    assert_eq!(rig.log.due_at_us(), Some(rig.now_us + 500));
    rig.append("e.");
    rig.start();
    assert!(rig.log.is_in_flight() && rig.log.due_at_us().is_none(), "it has come");
    end_sync(&mut rig, 1_000_000);
    rig.append("f.");
    rig.start();
    assert_eq!(
        rig.log.due_at_us(),
        Some(rig.now_us + GROUP_WAIT_US_MAX),
        "a slow disk is no reason to wait for long"
    );
    rig.now_us += GROUP_WAIT_US_MAX;
    rig.start();
    assert!(rig.log.is_in_flight() && rig.log.due_at_us().is_none());
    rig.append("g.");
    end_sync(&mut rig, 500);
    rig.start();
    assert!(rig.log.is_in_flight(), "the last one has waited in vain");
    rig.settle();
    assert_eq!(rig.contents("one"), "a.b.c.d.e.f.g.");
}

#[test]
fn nothing_is_due_when_the_policy_or_the_log_ends_the_wait() {
    for closes in [false, true] {
        let mut rig = Rig::new("group-end", AppendFsync::Always);
        rig.append("a.");
        rig.append("b.");
        rig.start();
        end_sync(&mut rig, 500);
        rig.append("c.");
        rig.start();
        assert!(rig.log.due_at_us().is_some());
        if closes {
            rig.log.close().unwrap();
        } else {
            rig.log.appendfsync = AppendFsync::EverySecond;
        }
        rig.settle();
        assert_eq!(rig.log.due_at_us(), None);
        assert_eq!(rig.contents("one"), "a.b.c.");
    }
}

#[test]
fn with_everysec_each_turn_is_written_and_the_second_syncs() {
    let mut rig = Rig::new("everysec", AppendFsync::EverySecond);
    rig.append("a.");
    rig.settle();
    rig.append("b.");
    rig.settle();
    assert_eq!(rig.contents("one"), "a.b.");
    assert_eq!((rig.log.written, rig.log.durable()), (4, 0));
    assert!(!rig.log.holds(4));
    rig.pass_ms(1000);
    rig.append("c.");
    rig.settle();
    assert!(rig.log.durable() >= 4);
    rig.settle();
    rig.pass_ms(1000);
    rig.settle();
    assert!(rig.all_durable() && rig.log.kept.is_empty());
}

#[test]
fn what_need_not_wait_for_the_disk_is_written_before_the_turn_ends() {
    let mut rig = Rig::new("direct", AppendFsync::EverySecond).writes_inline();
    for (units, expected) in [(&["one "][..], "one "), (&["two ", "three "], "one two three ")] {
        units.iter().for_each(|unit| rig.append(unit));
        rig.log.step(&mut rig.ring, rig.now_us);
        assert_eq!((rig.contents("one").as_str(), rig.log.is_in_flight()), (expected, false));
    }
    rig.pass_ms(1000);
    rig.append("four ");
    rig.log.step(&mut rig.ring, rig.now_us);
    assert!(rig.contents("one").ends_with("four ") && rig.log.disk.is_syncing());

    rig.append("during a sync ");
    rig.log.step(&mut rig.ring, rig.now_us);
    assert!(rig.contents("one").ends_with("during a sync "));
    rig.settle();
    assert_eq!(rig.log.common.syncing.load(Ordering::Relaxed), 0);
    let through_the_ring = |rig: &mut Rig, why: &str| {
        let before = rig.contents("one");
        rig.append(why);
        rig.log.step(&mut rig.ring, rig.now_us);
        assert_eq!(rig.contents("one"), before, "{why}");
        rig.settle();
        assert_eq!(rig.contents("one"), before + why);
    };
    let at_once = |rig: &mut Rig, why: &str| {
        rig.append(why);
        rig.log.step(&mut rig.ring, rig.now_us);
        assert!(rig.contents("one").ends_with(why), "{why}");
    };
    through_the_ring(&mut rig, &"x".repeat(1 << 20));

    // A slow write slows down those that come under the same circumstances.
    let others = SyncInFlight::new(rig.log.common.clone());
    at_once(&mut rig, "during the sync of another log ");
    rig.log.disk.inline_writes.note(Load::Busy, 5_000_000, rig.now_us / 1000);
    through_the_ring(&mut rig, "after a slow write during a sync ");
    drop(others);
    rig.log.set_rewriting(true);
    through_the_ring(&mut rig, "during a rewrite ");
    rig.log.set_rewriting(false);
    at_once(&mut rig, "the disk is quiet ");
    rig.log.disk.inline_writes.note(Load::Quiet, 5_000_000, rig.now_us / 1000);
    through_the_ring(&mut rig, "after a slow write ");
    rig.pass_ms(1_001);
    rig.settle();
    at_once(&mut rig, "a second later ");

    // Slow again: longer.
    rig.log.disk.inline_writes.note(Load::Quiet, 5_000_000, rig.now_us / 1000);
    rig.pass_ms(1_001);
    rig.settle();
    through_the_ring(&mut rig, "after the second slow write ");
    rig.pass_ms(60_000);
    rig.settle();
    rig.log.disk.inline_writes.note(Load::Quiet, 5_000_000, rig.now_us / 1000);
    rig.pass_ms(1_001);
    rig.settle();
    at_once(&mut rig, "at last");
}

#[test]
fn with_no_nothing_is_synced_or_kept_unless_somebody_asks() {
    let mut rig = Rig::new("no", AppendFsync::No);
    rig.append("a.");
    rig.settle();
    rig.pass_ms(5000);
    rig.settle();
    assert!(rig.log.durable() == 0 && rig.log.kept.is_empty());
    rig.log.request_sync();
    rig.settle();
    assert!(rig.all_durable());
}

#[test]
fn a_policy_that_asks_for_more_catches_up_at_once() {
    for before in [AppendFsync::No, AppendFsync::EverySecond] {
        let mut rig = Rig::new("catch-up", before);
        rig.append("a.");
        rig.settle();
        assert_eq!(rig.log.durable(), 0);
        rig.log.appendfsync = AppendFsync::Always;
        assert!(rig.log.holds(rig.log.appended()));
        rig.settle();
        assert!(rig.all_durable() && !rig.log.holds(rig.log.appended()));
    }
}

#[test]
fn a_policy_that_asks_for_less_holds_nothing_from_then_on() {
    let mut rig = Rig::new("less", AppendFsync::Always);
    rig.append("a.");
    rig.log.await_transaction(7, 2);
    assert!(rig.log.holds(rig.log.appended()));
    rig.settle();
    the_other_part_is_safe(&mut rig, 7);
    rig.append("b.");
    rig.log.appendfsync = AppendFsync::EverySecond;
    assert!(rig.log.holds(rig.log.appended()), "the kernel does not have it");
    rig.settle();
    assert_eq!((rig.log.durable(), rig.log.released()), (2, 4));
    rig.log.close().unwrap();
    assert_eq!(rig.log.released(), u64::MAX);
}

#[test]
fn without_always_replies_wait_for_the_kernel_alone_and_not_for_a_disk_that_fails() {
    for policy in [AppendFsync::EverySecond, AppendFsync::No] {
        let mut rig = Rig::new("kernel", policy);
        rig.append("a.");
        assert!(rig.log.holds(2) && !rig.log.holds(0));
        rig.start();
        assert!(rig.log.holds(2), "it is under way");
        rig.append("b.");
        rig.settle();
        assert_eq!((rig.log.released(), rig.log.durable()), (4, 0), "{policy:?}");

        rig.bend = failing_writes(1, libc::ENOSPC);
        rig.append("c.");
        rig.start();
        assert!(rig.log.holds(6));
        rig.ring.submit_and_wait(1).unwrap();
        rig.take();
        assert!(!rig.log.holds(6) && rig.log.write_refusal().is_some(), "{policy:?}");
        rig.pass_ms(1000);
        rig.settle();
        assert_eq!((rig.log.released(), rig.contents("one").as_str()), (6, "a.b.c."));
    }
}

/// A shard that is killed before it has written its part takes the transaction with it, and what others have behind theirs.
#[test]
fn without_always_too_nothing_behind_a_part_is_released_before_all_parts_are_written() {
    let mut rig = Rig::new("part-written", AppendFsync::EverySecond);
    rig.append("a.");
    rig.append("part.");
    rig.log.await_transaction(7, 2);
    rig.append("b.");
    rig.settle();
    assert!(rig.log.settle_parts().is_empty());
    assert_eq!((rig.log.written, rig.log.released()), (9, 2));
    the_other_part_is_safe(&mut rig, 7);
    assert_eq!(rig.log.released(), 9);
}

#[test]
fn nothing_behind_a_part_is_released_before_the_transaction_is_durable_everywhere() {
    let mut rig = Rig::new("part", AppendFsync::Always);
    rig.append("a.");
    rig.append("part.");
    rig.log.await_transaction(7, 2);
    rig.append("b.");
    rig.log.await_transaction(8, 2);
    rig.settle();
    assert_eq!((rig.log.durable(), rig.log.released()), (9, 2));
    the_other_part_is_safe(&mut rig, 8);
    assert_eq!(rig.log.released(), 2);
    the_other_part_is_safe(&mut rig, 7);
    assert_eq!(rig.log.released(), 9);
}

#[test]
fn whoever_is_last_learns_who_may_release_something() {
    let mut rig = Rig::new("part-last", AppendFsync::EverySecond);
    let mut theirs = parts::Parts::default();
    theirs.begin(7, 2, 0, 1);
    assert!(theirs.exchange(&mut doubts(&rig.log.common), 1, 1).is_empty());
    rig.append("part.");
    rig.log.await_transaction(7, 2);
    assert!(rig.log.settle_parts().is_empty(), "it is not written");
    rig.settle();
    assert_eq!(rig.log.settle_parts().as_slice(), [1]);
    assert_eq!(rig.log.released(), 5);
    // A log that is closed keeps nobody waiting.
    rig.append("part.");
    rig.log.await_transaction(8, 2);
    rig.log.close().unwrap();
    assert_eq!((rig.log.released(), rig.log.miss_transaction(9, 2).len()), (u64::MAX, 0));
}

#[test]
fn no_fsync_while_a_rewrite_runs_if_asked_so() {
    let mut rig = Rig::new("on-rewrite", AppendFsync::Always);
    rig.log.no_sync_on_rewrite = true;
    rig.log.set_rewriting(true);
    rig.append("a.");
    assert!(!rig.log.waits_for_disk());
    rig.settle();
    assert_eq!(rig.log.durable(), 0);
    rig.log.set_rewriting(false);
    rig.settle();
    assert!(rig.all_durable());
}

#[test]
fn units_behind_a_switch_are_in_the_new_file_and_the_old_one_is_synced_whatever_the_policy() {
    for policy in [AppendFsync::Always, AppendFsync::EverySecond, AppendFsync::No] {
        let mut rig = Rig::new("switch", policy);
        rig.append("a.");
        rig.start();
        rig.append("b.");
        let file = rig.file("two");
        rig.log.switch(file);
        let at = rig.log.appended();
        rig.append("c.");
        assert_eq!(rig.log.files.len(), 2);
        rig.settle();
        assert_eq!((rig.contents("one"), rig.contents("two")), ("a.b.".into(), "c.".into()));
        assert!(rig.log.durable() >= at && rig.log.files.len() == 1, "{policy:?}");
        rig.append("d.");
        rig.settle();
        assert_eq!(rig.contents("two"), "c.d.");
    }
}

#[test]
fn with_always_a_file_is_written_only_when_the_one_in_front_of_it_is_durable() {
    let mut rig = Rig::new("switch-order", AppendFsync::Always);
    rig.append("a.");
    let file = rig.file("two");
    rig.log.switch(file);
    let at = rig.log.appended();
    rig.append("b.");
    while !rig.all_durable() {
        rig.start();
        let is_begun = !rig.contents("two").is_empty();
        assert!(!is_begun || rig.log.durable() >= at);
        rig.ring.submit_and_wait(1).unwrap();
        rig.take();
    }
    assert_eq!((rig.contents("one"), rig.contents("two")), ("a.".into(), "b.".into()));
}

/// Replies wait for the kernel, and not for the sync of a file that is complete.
#[test]
fn without_always_a_new_file_is_written_while_the_one_in_front_of_it_is_synced() {
    for policy in [AppendFsync::EverySecond, AppendFsync::No] {
        let mut rig = Rig::new("switch-at-once", policy).writes_inline();
        rig.append("a.");
        let file = rig.file("two");
        rig.log.switch(file);
        let at = rig.log.appended();
        rig.append("b.");
        rig.log.step(&mut rig.ring, rig.now_us);
        assert!(rig.log.disk.is_syncing() && rig.log.durable() < at, "{policy:?}");
        assert_eq!((rig.contents("one"), rig.contents("two")), ("a.".into(), "b.".into()));
        assert_eq!(rig.log.released(), rig.log.appended());
        rig.settle();
        assert_eq!((rig.log.durable(), rig.log.files.len()), (at, 1), "{policy:?}");
        // The sync of what comes later is not taken for one of the older file, nor the other way round.
        rig.append("c.");
        rig.log.request_sync();
        rig.settle();
        assert!(rig.all_durable() && rig.contents("two") == "b.c.", "{policy:?}");
    }
}

#[test]
fn a_sync_of_the_older_file_that_fails_has_both_files_written_again() {
    let mut rig = Rig::new("switch-fails", AppendFsync::EverySecond).writes_inline();
    rig.append("a.");
    let file = rig.file("two");
    rig.log.switch(file);
    rig.append("b.");
    rig.bend = failing_syncs(1, libc::EIO);
    rig.log.step(&mut rig.ring, rig.now_us);
    rig.settle();
    assert_eq!((rig.log.written, rig.log.durable()), (0, 0), "it is taken back");
    fs::write(rig.folder.join("one"), "").unwrap();
    fs::write(rig.folder.join("two"), "").unwrap();
    rig.pass_ms(1000);
    rig.settle();
    assert_eq!((rig.contents("one"), rig.contents("two")), ("a.".into(), "b.".into()));
    assert!(rig.log.write_refusal().is_none());
}

#[test]
fn what_is_written_again_after_a_switch_goes_where_it_belongs() {
    let mut rig = Rig::new("switch-sync", AppendFsync::EverySecond);
    rig.append("a.");
    rig.settle();
    let file = rig.file("two");
    rig.log.switch(file);
    rig.append("b.");
    rig.bend = failing_syncs(1, libc::EIO);
    rig.settle();
    assert!(rig.log.disk.is_failing() && rig.log.files.len() == 2);
    for name in ["one", "two"] {
        OpenOptions::new().write(true).open(rig.folder.join(name)).unwrap().set_len(0).unwrap();
    }
    rig.pass_ms(1000);
    rig.settle();
    rig.settle();
    assert_eq!((rig.contents("one"), rig.contents("two")), ("a.".into(), "b.".into()));
    rig.pass_ms(1000);
    rig.settle();
    assert!(rig.all_durable());
}

#[test]
fn a_sync_of_two_seconds_is_counted_once() {
    let mut rig = Rig::new("slow-sync", AppendFsync::EverySecond);
    rig.append("a.");
    rig.settle();
    rig.pass_ms(1000);
    rig.log.step(&mut rig.ring, rig.now_us);
    assert!(rig.log.disk.is_syncing());
    for (ms, counted) in [(1900, 0), (200, 1), (5000, 1)] {
        rig.pass_ms(ms);
        rig.log.step(&mut rig.ring, rig.now_us);
        assert_eq!(rig.log.stats.aof_delayed_fsync.get(), counted);
    }
    rig.settle();
}

#[test]
fn a_log_goes_on_at_the_end_of_what_its_file_has() {
    let mut rig = Rig::new("continue", AppendFsync::Always);
    rig.append("a.");
    rig.log.close().unwrap();
    let file = OpenOptions::new().write(true).open(rig.folder.join("one")).unwrap();
    rig.log.open(file, 2);
    rig.append("b.");
    rig.settle();
    assert_eq!(rig.contents("one"), "a.b.");
    assert!(rig.all_durable());
}

#[test]
fn a_full_disk_refuses_writes_until_it_takes_them_and_loses_nothing() {
    let mut rig = Rig::new("full", AppendFsync::EverySecond);
    rig.append("a.");
    rig.settle();
    rig.bend = failing_writes(3, libc::ENOSPC);
    rig.append("b.");
    rig.settle();
    let refusal = rig.log.write_refusal().unwrap().to_string();
    assert_eq!(refusal, "MISCONF Errors writing to the AOF file: No space left on device");
    assert!(rig.log.wants_space());
    rig.append("c.");
    let mut waited_ms = 0;
    while rig.log.disk.is_failing() {
        rig.pass_ms(50);
        waited_ms += 50;
        rig.settle();
    }
    // 100, 200 and 400 ms.
    assert_eq!(waited_ms, 700);
    assert!(rig.log.write_refusal().is_none());
    rig.settle();
    assert_eq!(rig.contents("one"), "a.b.c.");
}

#[test]
fn while_a_rewrite_has_the_space_writes_are_taken_up_to_the_bound() {
    let mut rig = Rig::new("rewrite-full", AppendFsync::EverySecond);
    rig.log.set_rewriting(true);
    rig.bend = failing_writes(usize::MAX, libc::ENOSPC);
    rig.append("a.");
    rig.settle();
    assert!(rig.log.wants_space() && rig.log.write_refusal().is_none());
    let much = "x".repeat(BACKLOG_BYTES_MAX as usize);
    rig.append(&much);
    rig.start();
    assert!(rig.log.write_refusal().is_some());
    // It was not the rewrite after all.
    rig.log.set_rewriting(false);
    rig.pass_ms(100);
    rig.settle();
    assert!(rig.log.write_refusal().is_some());
}

#[test]
fn with_always_a_full_disk_holds_replies_and_takes_writes_up_to_the_bound() {
    let mut rig = Rig::new("always-full", AppendFsync::Always);
    rig.bend = failing_writes(1, libc::EIO);
    rig.append("a.");
    rig.settle();
    assert!(rig.log.write_refusal().is_none() && rig.log.holds(rig.log.appended()));
    rig.append(&"x".repeat(BACKLOG_BYTES_MAX as usize));
    rig.start();
    let refusal = rig.log.write_refusal().unwrap().to_string();
    assert_eq!(refusal, "MISCONF Errors writing to the AOF file: Input/output error");
    rig.pass_ms(100);
    rig.settle();
    assert!(rig.all_durable() && rig.log.write_refusal().is_none());
}

#[test]
fn after_a_short_write_the_file_ends_with_the_last_whole_unit() {
    let mut rig = Rig::new("short", AppendFsync::Always);
    rig.append("one.");
    rig.settle();
    // As if the disk had taken seven bytes of it: one unit and a part.
    rig.bend = Some(Box::new(|completion| match completion {
        Completion::FileWritten { token, result: Ok(12) } => Completion::FileWritten { token, result: Ok(7) },
        Completion::FileSynced { token, .. } => {
            Completion::FileSynced { token, result: Err(libc::ECANCELED) }
        }
        other => other,
    }));
    rig.append("two.");
    rig.append("three...");
    rig.start();
    while rig.log.is_in_flight() {
        rig.ring.submit_and_wait(1).unwrap();
        rig.take();
    }
    assert_eq!(rig.contents("one"), "one.two.");
    assert_eq!((rig.log.written, rig.log.durable(), rig.log.disk.errno()), (8, 4, libc::ENOSPC));
    rig.bend = None;
    rig.pass_ms(100);
    rig.settle();
    assert_eq!(rig.contents("one"), "one.two.three...");
    assert!(rig.all_durable() && rig.log.disk.errno() == 0 && rig.log.size() == 16);
}

#[test]
fn what_a_failed_sync_may_have_dropped_is_written_again_from_memory() {
    for policy in [AppendFsync::Always, AppendFsync::EverySecond] {
        let mut rig = Rig::new("sync", policy);
        rig.append("a.");
        rig.settle();
        rig.append("b.");
        rig.bend = failing_syncs(1, libc::EIO);
        rig.pass_ms(1000);
        while !rig.log.disk.is_failing() {
            rig.start();
            rig.ring.submit_and_wait(1).unwrap();
            rig.take();
        }
        assert!(!rig.all_durable());
        // The kernel has lost it.
        let durable = rig.log.durable();
        OpenOptions::new().write(true).open(rig.folder.join("one")).unwrap().set_len(durable).unwrap();
        assert_eq!(rig.log.write_refusal().is_some(), policy == AppendFsync::EverySecond);
        rig.settle();
        assert!(!rig.all_durable(), "not before the pause is over");
        rig.pass_ms(1000);
        rig.settle();
        assert_eq!(rig.contents("one"), "a.b.", "{policy:?}");
        assert!(rig.all_durable() && rig.log.write_refusal().is_none() && !rig.log.wants_rewrite());
        assert_eq!(rig.log.size(), 4);
    }
}

#[test]
fn a_sync_that_fails_behind_a_write_that_is_in_flight_waits_for_that() {
    let mut rig = Rig::new("sync-and-write", AppendFsync::EverySecond);
    rig.append("a.");
    rig.settle();
    rig.pass_ms(1000);
    rig.append("b.");
    rig.start();
    assert!(rig.log.disk.is_syncing());
    // The sync is answered first.
    let sync = rig.log.disk.sync_token();
    rig.log.synced(sync, Err(libc::EIO), rig.now_us / 1000);
    assert!(rig.log.disk.must_roll_back && rig.log.written == 2);
    while rig.log.is_in_flight() {
        rig.ring.submit_and_wait(1).unwrap();
        rig.take();
    }
    assert_eq!(rig.log.written, 0);
    rig.pass_ms(1000);
    rig.settle();
    rig.settle();
    assert_eq!(rig.contents("one"), "a.b.");
    assert!(rig.all_durable());
}

#[test]
fn what_is_lost_for_good_is_said_and_refused_until_a_rewrite() {
    let mut rig = Rig::new("damage", AppendFsync::No);
    rig.append("a.");
    rig.settle();
    rig.bend = failing_syncs(1, libc::EIO);
    rig.log.request_sync();
    rig.settle();
    rig.pass_ms(1000);
    rig.settle();
    assert!(rig.log.wants_rewrite() && rig.log.write_refusal().is_some());
    rig.append("b.");
    rig.settle();
    assert!(rig.log.wants_rewrite() && rig.log.write_refusal().is_some());
    rig.log.repaired();
    assert!(rig.log.write_refusal().is_none() && rig.log.disk.errno() == 0);
}

#[test]
fn a_slow_disk_makes_writes_wait_until_half_of_it_is_gone() {
    let mut rig = Rig::new("slow", AppendFsync::EverySecond);
    rig.append("a.");
    rig.start();
    rig.append(&"x".repeat(BACKLOG_BYTES_MAX as usize));
    rig.start();
    assert!(rig.log.is_congested() && rig.log.write_refusal().is_none());
    rig.settle();
    assert!(!rig.log.is_congested());
}

#[test]
fn an_orderly_end_brings_everything_to_the_disk_though_a_write_is_in_flight() {
    let mut rig = Rig::new("end", AppendFsync::EverySecond);
    rig.append("a.");
    rig.settle();
    rig.append("b.");
    rig.start();
    rig.append("c.");
    let file = rig.file("two");
    rig.log.switch(file);
    rig.append("d.");
    rig.log.flush_now().unwrap();
    assert_eq!((rig.contents("one"), rig.contents("two")), ("a.b.c.".into(), "d.".into()));
    assert!(rig.all_durable() && rig.log.is_settled());
    assert_eq!(rig.log.size(), 8);
    // The write in flight ends later, and means nothing any more.
    while !rig.log.leaving.is_empty() {
        rig.ring.submit_and_wait(1).unwrap();
        rig.take();
    }
    rig.append("e.");
    rig.settle();
    assert_eq!(rig.contents("two"), "d.e.");
}

#[test]
fn a_device_that_is_full_says_so() {
    let mut rig = Rig::new("dev-full", AppendFsync::Always);
    rig.log.close().unwrap();
    rig.log.open(OpenOptions::new().write(true).open("/dev/full").unwrap(), 0);
    rig.append("a.");
    rig.settle();
    assert_eq!(rig.log.disk.errno(), libc::ENOSPC);
    assert!(rig.log.holds(rig.log.appended()));
    assert!(rig.log.flush_now().is_err());
}

fn put(rig: &mut Rig, words: &[&str]) {
    let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    crate::persist::aof::write::put_command(rig.log.buffer(), &args);
    rig.log.unit_end();
}

fn is_fresh(rig: &mut Rig, key: &str) -> bool {
    rig.log.is_fresh([key.as_bytes()])
}

#[test]
fn while_the_disk_fails_reads_show_what_is_safe_and_nothing_else() {
    let mut rig = Rig::new("fresh", AppendFsync::Always);
    put(&mut rig, &["SET", "old", "1"]);
    rig.settle();
    rig.bend = failing_writes(1, libc::ENOSPC);
    rig.log.buffer().extend_from_slice(b"#TS:1\r\n");
    put(&mut rig, &["SELECT", "3"]);
    put(&mut rig, &["SET", "new", "1"]);
    rig.settle();
    assert!(rig.log.is_failing_somewhere());
    assert!(!is_fresh(&mut rig, "old") && is_fresh(&mut rig, "new") && !is_fresh(&mut rig, "newer"));
    put(&mut rig, &["DEL", "a", "newer"]);
    assert!(is_fresh(&mut rig, "newer") && is_fresh(&mut rig, "a"));
    assert!(rig.log.is_fresh([]), "what no key names may be anything");
    rig.pass_ms(100);
    rig.settle();
    assert!(!is_fresh(&mut rig, "new") && !rig.log.is_fresh([]) && !rig.log.is_failing_somewhere());
    rig.bend = failing_writes(1, libc::ENOSPC);
    put(&mut rig, &["FLUSHALL"]);
    rig.settle();
    assert!(is_fresh(&mut rig, "old"));
}

#[test]
fn what_others_may_still_lose_is_fresh_too() {
    let mut rig = Rig::new("fresh-part", AppendFsync::Always);
    put(&mut rig, &["SET", "ours", "1"]);
    rig.log.await_transaction(7, 2);
    put(&mut rig, &["SET", "behind", "1"]);
    rig.settle();
    assert!(rig.all_durable());
    assert!(is_fresh(&mut rig, "ours") && is_fresh(&mut rig, "behind") && !is_fresh(&mut rig, "else"));
    the_other_part_is_safe(&mut rig, 7);
    assert!(!is_fresh(&mut rig, "ours"));
}

/// A file system of some pages, where the process may mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let place = std::env::temp_dir().join(format!("gyre-small-disk-{}", std::process::id()));
        fs::create_dir_all(&place).ok()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&place);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("not tested: no right to mount a file system");
            let _ = fs::remove_dir(&place);
        }
        mounted.then_some(SmallDisk(place))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn on_a_disk_that_is_really_full_nothing_is_lost_and_the_file_is_always_whole() {
    let Some(disk) = SmallDisk::mount() else { return };
    for (policy, inline_writes) in
        [(AppendFsync::Always, false), (AppendFsync::EverySecond, false), (AppendFsync::EverySecond, true)]
    {
        let mut rig = Rig::inside(&disk.0, "real", policy);
        if inline_writes {
            rig = rig.writes_inline();
        }
        fs::write(rig.folder.join("other"), vec![0; 30_000]).unwrap();
        let unit = |number: usize| format!("{number:06}:{}\n", "x".repeat(92));
        let mut expected = String::new();
        for number in 0..500 {
            expected.push_str(&unit(number));
            rig.append(&unit(number));
            if number % 7 == 0 {
                rig.settle();
                let contents = rig.contents("one");
                assert!(contents.len().is_multiple_of(100) && expected.starts_with(&contents));
            }
        }
        assert_eq!(rig.log.disk.errno(), libc::ENOSPC);
        assert!(rig.log.backlog() > 0 && !rig.all_durable());
        fs::remove_file(rig.folder.join("other")).unwrap();
        rig.pass_ms(1000);
        rig.settle();
        rig.pass_ms(1000);
        rig.settle();
        assert_eq!(rig.contents("one"), expected);
        assert!(rig.all_durable() && rig.log.disk.errno() == 0);
    }
}
