//! What each message about snapshots does, on the shard that gets it.

use super::message::{LeaderRequest, PartReport, ShardOrder, SnapshotMessage, ThreadReport};
use crate::base::log::Level;
use crate::shard::Shard;
use crate::snapshot::Event;

impl Shard {
    pub(in crate::shard) fn about_snapshot(&mut self, message: SnapshotMessage) {
        match message {
            SnapshotMessage::Request(request) => self.serve_request(request),
            SnapshotMessage::Report(PartReport::Due { job, shard }) => self.job_event(job, Event::Due(shard)),
            SnapshotMessage::Report(PartReport::Begun { job, shard, begun }) => {
                self.part_begun(job, shard, begun);
            }
            SnapshotMessage::Report(PartReport::Ended { job, shard, written }) => {
                self.job_event(job, Event::Ended(shard, written));
            }
            SnapshotMessage::Report(PartReport::Durable { job }) => self.job_event(job, Event::Durable),
            SnapshotMessage::Order(order) => self.obey(order),
            SnapshotMessage::Done(report) => self.thread_done(report),
        }
    }

    pub(super) fn serve_request(&mut self, request: LeaderRequest) {
        match request {
            LeaderRequest::Save(asker) => self.save(asker),
            LeaderRequest::Bgsave { schedule, method, asker } => self.bgsave(schedule, method, asker),
            LeaderRequest::ScheduleBgsave => self.saving.is_scheduled = true,
            LeaderRequest::Pipesave(asker) => self.pipesave(asker),
            LeaderRequest::Dumpsave { socket, asker } => self.dumpsave(socket, asker),
            LeaderRequest::FullSync(sync) => self.full_sync(*sync),
            LeaderRequest::SendSync { job, before } => self.saving.send_sync(job, before),
            LeaderRequest::Bgrewriteaof(asker) => self.bgrewriteaof(asker),
            LeaderRequest::ScheduleRewrite => self.saving.schedule_rewrite(&self.turn),
            LeaderRequest::Shutdown(request) => self.begin_shutdown(request),
            LeaderRequest::AbortShutdown(asker) => self.abort_shutdown(asker),
            LeaderRequest::Reload(options, asker) => self.reload(options, asker),
            LeaderRequest::LoadAof(asker) => self.load_aof(asker),
            LeaderRequest::CollectHistory => self.saving.collect_history(&self.turn),
            LeaderRequest::SwitchAof { must_wait } => self.switch_aof(must_wait),
            LeaderRequest::AnswerWhenAofHasBegun(answer_to) => self.answer_when_aof_has_begun(answer_to),
            LeaderRequest::AnswerWhenFlushed(answer) => self.answer_when_flushed(answer),
            LeaderRequest::GiveWay => self.give_way(),
            LeaderRequest::RepairLog => self.saving.repair_log(&self.turn),
        }
    }

    /// What the leader wants of this shard.
    fn obey(&mut self, order: ShardOrder) {
        match order {
            ShardOrder::MayFork { job, at_us } => self.saving.may_fork(job, at_us),
            ShardOrder::Stop { job } => self.stop_part(job),
            ShardOrder::SnapshotOnDisk(begins) => {
                let on_disk = &mut self.saving.on_disk;
                *on_disk = if begins { *on_disk + 1 } else { on_disk.saturating_sub(1) };
                self.journal.log.set_rewriting(*on_disk > 0);
            }
            ShardOrder::CloseLog => self.close_log(),
            ShardOrder::BaseInstalled { len } => self.base_installed(len),
            ShardOrder::DumpEnded(later) => self.end_dumped(later),
            ShardOrder::Flushed(answer) => self.answer_flushed(*answer),
            // The end of the turn sees.
            ShardOrder::WritersMayGoOn => {}
        }
    }

    pub(super) fn thread_done(&mut self, report: ThreadReport) {
        match report {
            ThreadReport::Joined { job, result } => {
                let ok = result.map_err(|error| crate::log_text!(Level::Warning, error)).is_ok();
                self.job_event(job, Event::Finished(ok));
            }
            ThreadReport::StreamEnded { job, outcome } => self.stream_ended(job, outcome),
            ThreadReport::Prepared { shards, prepared } => self.step_prepared(shards, prepared),
            ThreadReport::BasesInstalled { job, shards, checksums, is_first, installed } => {
                self.bases_installed(job, &shards, &checksums, is_first, installed);
            }
            ThreadReport::FilesRemoved => {}
        }
    }
}
