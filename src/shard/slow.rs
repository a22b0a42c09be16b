//! The slow log of one shard: the latest commands that took longer than `slowlog-log-slower-than`.
//!
//! A command is noted where it ran. SLOWLOG GET joins the lists of all shards by time.

use std::collections::VecDeque;

use super::redact::redacted;
use super::Shard;
use crate::command::table::{CommandSpec, Flag};
use crate::command::Args;

/// Arguments kept of one command, and bytes of one argument, as in Redis.
const ARGUMENTS_MAX: usize = 32;
const ARGUMENT_BYTES_MAX: usize = 128;

#[derive(Clone, Debug)]
pub struct SlowEntry {
    pub unix_us: i64,
    pub duration_us: u64,
    pub args: Vec<Vec<u8>>,
    pub client_id: u64,
}

#[derive(Debug, Default)]
pub struct SlowLog {
    pub entries: VecDeque<SlowEntry>,
    /// Nanoseconds; u64::MAX when switched off.
    threshold_nanos: u64,
}

impl Shard {
    pub(super) fn slow_log_changed(&mut self) {
        let us = self.config.observing.slowlog_log_slower_than;
        self.slow_log.threshold_nanos = u64::try_from(us).map_or(u64::MAX, |us| us.saturating_mul(1000));
        self.slow_log.entries.truncate(self.config.observing.slowlog_max_len as usize);
    }

    #[inline]
    pub(super) fn note_slow(&mut self, spec: &CommandSpec, args: Args, client_id: u64, nanos: u64) {
        if nanos >= self.slow_log.threshold_nanos && !spec.is(Flag::SkipSlowlog) {
            self.add_slow(spec, args, client_id, nanos);
        }
    }

    #[cold]
    fn add_slow(&mut self, spec: &CommandSpec, args: Args, client_id: u64, nanos: u64) {
        let args = redacted(spec, args);
        let kept = if args.len() > ARGUMENTS_MAX { ARGUMENTS_MAX - 1 } else { args.len() };
        let mut list: Vec<Vec<u8>> = args[..kept]
            .iter()
            .map(|arg| {
                if arg.len() <= ARGUMENT_BYTES_MAX {
                    return arg.to_vec();
                }
                let more = format!("... ({} more bytes)", arg.len() - ARGUMENT_BYTES_MAX);
                [&arg[..ARGUMENT_BYTES_MAX], more.as_bytes()].concat()
            })
            .collect();
        if kept < args.len() {
            list.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
        }
        let entry = SlowEntry { unix_us: self.now_us, duration_us: nanos / 1000, args: list, client_id };
        self.slow_log.entries.push_front(entry);
        self.slow_log.entries.truncate(self.config.observing.slowlog_max_len as usize);
    }
}
