//! Jobs by plain calls, and at random.

use super::*;
use crate::rdb::file::FileChecksum;

fn whole(len: u64) -> Written {
    Ok(Whole { checksummed: FileChecksum { len, ..FileChecksum::default() }, copied_bytes: 0 })
}

fn killed() -> Written {
    Err(Failed::Killed(10))
}

fn forked(pid: i32) -> Begun {
    Begun { pid: Some(pid), fork_us: Some(5), keys: 1, changes: 2 }
}

fn cutting(purpose: Purpose, shards: usize) -> Job {
    let mut job = Job::new(purpose, (0..shards).map(|_| true));
    assert_eq!(job.on(Event::StoresFree).as_slice(), [Action::Cut]);
    job
}

fn writing(purpose: Purpose, shards: usize) -> Job {
    let mut job = cutting(purpose, shards);
    for shard in 0..shards {
        job.on(Event::Begun(shard, Begun::default()));
    }
    assert_eq!(job.state(), State::Writing);
    job
}

#[test]
fn shards_fork_one_after_the_other_when_all_are_at_the_cut() {
    let mut job = cutting(Purpose::Background, 3);
    assert!(job.on(Event::Due(2)).is_empty() && job.on(Event::Due(0)).is_empty());
    assert_eq!(job.on(Event::Due(1)).as_slice(), [Action::Fork { shard: 0, pause: false }]);
    assert_eq!(job.on(Event::Begun(0, forked(7))).as_slice(), [Action::Fork { shard: 1, pause: true }]);
    // The system refuses: it writes by itself, and nobody has waited.
    assert_eq!(
        job.on(Event::Begun(1, Begun::default())).as_slice(),
        [Action::Fork { shard: 2, pause: false }]
    );
    assert!(job.holds_stores());
    assert_eq!(job.on(Event::Begun(2, forked(9))).as_slice(), [Action::Began]);
    assert_eq!(job.totals, Totals { begun: 3, keys: 2, changes: 4, pid: Some(7), fork_us: 5 });
    assert_eq!(job.on(Event::Ended(1, whole(20))).as_slice(), [Action::PartWhole { shard: 1, len: 20 }]);
    assert!(!job.holds_stores(), "children have their own");
    job.on(Event::Ended(0, whole(10)));
    let actions = job.on(Event::Ended(2, whole(30)));
    let lens = match &actions[1] {
        Action::Finish(checksums) => checksums.iter().map(|checksummed| checksummed.len).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(lens, [10, 20, 30]);
    assert_eq!(job.on(Event::Finished(true)).as_slice(), [Action::End { ok: true }]);
    assert_eq!(job.state(), State::Over);
}

#[test]
fn a_part_that_fails_stops_the_others_once_and_the_job_ends_behind_the_last() {
    let mut job = writing(Purpose::Background, 3);
    assert_eq!(job.on(Event::Ended(1, Err(Failed::Write("full".into())))).as_slice(), [Action::Stop]);
    assert!(job.on(Event::Ended(0, killed())).is_empty());
    assert_eq!(job.on(Event::Ended(2, killed())).as_slice(), [Action::End { ok: false }]);
    assert_eq!(job.ended().count(), 3);
}

#[test]
fn a_job_that_is_given_up_leaves_nothing_although_its_parts_are_whole() {
    let mut job = writing(Purpose::Background, 1);
    assert_eq!(job.on(Event::GiveUp).as_slice(), [Action::Stop]);
    let actions = job.on(Event::Ended(0, whole(1)));
    assert_eq!(actions.last(), Some(&Action::End { ok: false }));
    assert!(job.is_given_up());
    // One that waits has no shard that would say anything.
    let mut job = Job::new(Purpose::Pipe, [true, true]);
    assert_eq!(job.on(Event::GiveUp).as_slice(), [Action::End { ok: false }]);
}

#[test]
fn bases_wait_for_the_logs_and_give_way_to_them() {
    let bases = || {
        let mut job = Job::new(Purpose::Rewrite, [true, false]);
        job.on(Event::StoresFree);
        job.on(Event::Begun(1, Begun::default()));
        assert_eq!(job.on(Event::Begun(0, Begun::default())).as_slice(), [Action::Began]);
        job.on(Event::Durable);
        assert_eq!(job.on(Event::Ended(0, whole(5))).as_slice(), [Action::PartWhole { shard: 0, len: 5 }]);
        job
    };
    let mut job = bases();
    let finish = vec![FileChecksum { len: 5, ..FileChecksum::default() }, FileChecksum::default()];
    assert_eq!(job.on(Event::Durable).as_slice(), [Action::Finish(finish)]);
    assert!(job.on(Event::GiveWay).contains(&Action::Stop) && job.state() == State::Finishing);
    let mut job = bases();
    assert!(job.may_give_way());
    assert_eq!(job.on(Event::GiveWay).as_slice(), [Action::Stop, Action::End { ok: false }]);
    assert!(!job.may_give_way() && !job.is_given_up());
}

#[test]
fn a_stream_ends_when_its_relay_and_its_parts_have() {
    let mut job = writing(Purpose::Dump, 2);
    assert!(!job.may_give_way());
    // The client has gone.
    assert_eq!(job.on(Event::Finished(false)).as_slice(), [Action::Stop]);
    assert!(job.on(Event::Ended(0, killed())).is_empty());
    assert_eq!(job.on(Event::Ended(1, whole(3))).as_slice()[1..], [Action::End { ok: false }]);
    // A part has failed: the relay learns that and says how it has ended.
    let mut job = writing(Purpose::Dump, 1);
    assert_eq!(job.on(Event::Ended(0, killed())).as_slice(), [Action::Stop]);
    assert_eq!(job.state(), State::Finishing);
    assert_eq!(job.on(Event::Finished(false)).as_slice(), [Action::End { ok: false }]);
}

/// Whatever happens in whatever order, a job comes to exactly one end, behind all its parts, and forks no two shards at a time.
#[test]
fn every_job_ends_once_whatever_happens() {
    for seed in 0..3000u64 {
        let mut random = {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            move |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            }
        };
        let purposes = [Purpose::Background, Purpose::Rewrite, Purpose::Dump, Purpose::Foreground];
        let purpose = purposes[random(4) as usize];
        let shards = 1 + random(4) as usize;
        let mut job = Job::new(purpose, (0..shards).map(|_| true));
        // 0: not at the cut; 1: due; 2: told to fork; 3: writing; 4: ended.
        let mut stages = vec![0; shards];
        let (mut events, mut ends, mut stopped, mut finishing) = (vec![Event::StoresFree], 0, false, false);
        let (mut relay_ended, mut durable) = (false, 0);
        for _ in 0..400 {
            for event in std::mem::take(&mut events) {
                for action in job.on(event) {
                    match action {
                        Action::Stop => stopped = true,
                        Action::Fork { shard, .. } => {
                            assert!(stages.iter().all(|stage| *stage != 2), "seed {seed}: two fork");
                            stages[shard] = 2;
                        }
                        Action::Finish(_) => finishing = true,
                        Action::End { .. } => {
                            ends += 1;
                            assert!(stages.iter().all(|stage| *stage == 4), "seed {seed}: {stages:?}");
                        }
                        Action::Cut | Action::Began | Action::PartWhole { .. } => {}
                    }
                }
            }
            let shard = random(shards as u64) as usize;
            match stages[shard] {
                0 if random(2) == 0 && !stopped => {
                    stages[shard] = 1;
                    events.push(Event::Due(shard));
                }
                0 | 2 => {
                    stages[shard] = 3;
                    events.push(Event::Begun(shard, Begun::default()));
                }
                1 if stopped => {
                    stages[shard] = 4;
                    events.extend([Event::Begun(shard, Begun::default()), Event::Ended(shard, killed())]);
                }
                3 if random(3) == 0 => {
                    stages[shard] = 4;
                    let is_whole = random(8) > 0 && !stopped;
                    events.push(Event::Ended(shard, if is_whole { whole(1) } else { killed() }));
                }
                _ => {}
            }
            if random(300) == 0 {
                events.push(if job.may_give_way() { Event::GiveWay } else { Event::GiveUp });
            }
            if purpose == Purpose::Rewrite && durable < shards && stages.iter().all(|stage| *stage > 0) {
                durable += 1;
                events.push(Event::Durable);
            }
            let relay_may_end = purpose.is_stream() && (stopped || finishing || random(200) == 0);
            if !relay_ended && relay_may_end || finishing && !purpose.is_stream() {
                relay_ended = true;
                finishing = false;
                events.push(Event::Finished(!stopped));
            }
        }
        assert_eq!((ends, job.state()), (1, State::Over), "seed {seed}: {purpose:?} {job:?}");
    }
}

#[test]
fn what_writes_the_own_files_is_one_at_a_time_and_streams_disturb_nobody() {
    use Purpose::{Background, Dump, Foreground, FullSync, Pipe, Rewrite};
    assert_eq!(admit(Background, []), Ok(()));
    for stream in [Pipe, Dump, FullSync] {
        for file in [Background, Foreground, Rewrite] {
            assert_eq!((admit(file, [stream]), admit(stream, [file])), (Ok(()), Ok(())));
        }
    }
    assert_eq!(admit(Pipe, [Dump, FullSync]), Ok(()));
    assert_eq!(admit(FullSync, [FullSync, FullSync]), Ok(()));
    assert_eq!(admit(Pipe, [Dump, Pipe]), Err(Refusal::InProgress));
    assert_eq!(admit(Background, [Dump, Background]), Err(Refusal::InProgress));
    assert_eq!(admit(Background, [Rewrite]), Err(Refusal::Another));
    assert_eq!(admit(Rewrite, [Background]), Err(Refusal::Another));
    assert_eq!(admit(Rewrite, [Rewrite]), Err(Refusal::InProgress));
    assert_eq!(admit(Foreground, [Background]), Err(Refusal::InProgress));
}
