//! Commands that took long: the slow log (`slowlog-log-slower-than`) and the latency monitor's spikes.
//!
//! A command is timed where it ran, and its entry kept where its client is connected, which knows name and address.
//! Numbers rise over all shards, so the lists of the shards joined by number are the log; what is beyond
//! `slowlog-max-len` in the whole log is beyond it in no shard's list.

use crate::shard::executor::Executor;
use crate::shard::message::ConnectionMessage;
use crate::shard::turn::TurnState;
use std::collections::VecDeque;

use super::redact::redacted;
use super::Shard;
use crate::base::text::Text;
use crate::base::Token;
use crate::command::table::{CommandSpec, Flag};
use crate::command::{Args, Caller};
use crate::runtime::clock;

/// Arguments kept of one command, and bytes of one argument, as in Redis.
const ARGUMENTS_MAX: usize = 32;
const ARGUMENT_BYTES_MAX: usize = 128;

#[derive(Clone, Debug)]
pub struct SlowEntry {
    pub id: u64,
    pub unix_s: i64,
    pub duration_us: u64,
    pub args: Vec<Vec<u8>>,
    pub client_address: Text,
    pub client_name: Vec<u8>,
}

#[derive(Debug)]
pub struct SlowLog {
    /// Newest first.
    pub entries: VecDeque<SlowEntry>,
    /// The shorter of the two below, which is all that most commands are measured against.
    least_nanos: u64,
    /// Nanoseconds; u64::MAX when switched off.
    log_nanos: u64,
    spike_nanos: u64,
}

impl Default for SlowLog {
    fn default() -> Self {
        SlowLog {
            entries: VecDeque::new(),
            least_nanos: u64::MAX,
            log_nanos: u64::MAX,
            spike_nanos: u64::MAX,
        }
    }
}

/// What names a connection in a `Caller`.
pub(super) fn pack(token: Token) -> u64 {
    u64::from(token.generation) << 32 | u64::from(token.index)
}

pub(super) fn unpack(connection: u64) -> Token {
    Token { index: connection as u32, generation: (connection >> 32) as u32 }
}

impl Executor {
    pub(super) fn slow_log_changed(&mut self, turn: &TurnState) {
        let observing = &turn.config.observing;
        let us = observing.slowlog_log_slower_than;
        let log = &mut self.slow_log;
        log.log_nanos = u64::try_from(us).map_or(u64::MAX, |us| us.saturating_mul(1000));
        log.spike_nanos = match observing.latency_monitor_threshold {
            0 => u64::MAX,
            threshold_ms => threshold_ms.saturating_mul(1_000_000),
        };
        log.least_nanos = log.log_nanos.min(log.spike_nanos);
        log.entries.truncate(observing.slowlog_max_len as usize);
    }

    /// Tells the latency monitor of an event that took so long.
    pub(super) fn note_spike(&self, turn: &TurnState, event: &'static str, nanos: u64) {
        if nanos >= self.slow_log.spike_nanos {
            turn.shared.server_stats.latency().add(event, clock::unix_us() / 1_000_000, nanos / 1_000_000);
        }
    }
}

impl Shard {
    #[inline]
    pub(super) fn note_slow(&mut self, spec: &CommandSpec, args: Args, caller: &Caller, nanos: u64) {
        // What a script calls is in the log by the script.
        if nanos >= self.executor.slow_log.least_nanos && !caller.in_script {
            self.note_slow_command(spec, args, caller, nanos);
        }
    }

    #[cold]
    fn note_slow_command(&mut self, spec: &CommandSpec, args: Args, caller: &Caller, nanos: u64) {
        self.executor.note_spike(
            &self.turn,
            if spec.is(Flag::Fast) { "fast-command" } else { "command" },
            nanos,
        );
        // A log of everything has each command once.
        if caller.is_extra_part && self.executor.slow_log.log_nanos == 0 {
            return;
        }
        // What EXEC ran is in the log by itself.
        if nanos < self.executor.slow_log.log_nanos || spec.is(Flag::SkipSlowlog) {
            return;
        }
        let entry = SlowEntry {
            id: self.shared.server_stats.next_slow_log_id(),
            unix_s: clock::unix_us() / 1_000_000,
            duration_us: nanos / 1000,
            args: kept_arguments(spec, args),
            client_address: Text::default(),
            client_name: Vec::new(),
        };
        let token = unpack(caller.connection);
        // By message even to this shard, where the connection is in the hands of who runs its requests.
        self.send(caller.home as usize, ConnectionMessage::WasSlow { token, entry: Box::new(entry) }.into());
    }

    /// Adds an entry about a client of this shard.
    pub(super) fn add_slow(&mut self, token: Token, mut entry: SlowEntry) {
        if let Some(connection) = self.connections.table.get(token) {
            let peer = connection.peer.clone();
            entry.client_name = connection.name.to_vec();
            entry.client_address = self.turn.address_text(&peer);
        }
        let log = &mut self.executor.slow_log.entries;
        // Entries of other shards may come late.
        let place = log.partition_point(|other| other.id > entry.id);
        log.insert(place, entry);
        log.truncate(self.turn.config.observing.slowlog_max_len as usize);
    }
}

fn kept_arguments(spec: &CommandSpec, args: Args) -> Vec<Vec<u8>> {
    let args = redacted(spec, args);
    let kept = if args.len() > ARGUMENTS_MAX { ARGUMENTS_MAX - 1 } else { args.len() };
    let mut list: Vec<Vec<u8>> = args[..kept]
        .iter()
        .map(|arg| match arg {
            arg if arg.len() <= ARGUMENT_BYTES_MAX => arg.to_vec(),
            arg => {
                let more = format!("... ({} more bytes)", arg.len() - ARGUMENT_BYTES_MAX);
                [&arg[..ARGUMENT_BYTES_MAX], more.as_bytes()].concat()
            }
        })
        .collect();
    if kept < args.len() {
        list.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    fn kept(request: &str) -> Vec<String> {
        let args: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        let spec = table::resolve(&args).unwrap();
        kept_arguments(spec, &args).into_iter().map(|arg| String::from_utf8(arg).unwrap()).collect()
    }

    #[test]
    fn passwords_are_not_kept() {
        assert_eq!(kept("auth me secret"), ["auth", "(redacted)", "(redacted)"]);
        assert_eq!(
            kept("hello 3 auth me secret setname x").join(" "),
            "hello 3 auth (redacted) (redacted) setname x"
        );
        assert_eq!(
            kept("config set timeout 1 requirepass secret").join(" "),
            "config set timeout 1 requirepass (redacted)"
        );
    }

    #[test]
    fn many_and_long_arguments_are_cut() {
        let many = format!("del{}", " k".repeat(40));
        let list = kept(&many);
        assert_eq!((list.len(), list[31].as_str()), (32, "... (10 more arguments)"));
        let long = format!("get {}", "A".repeat(129));
        assert_eq!(kept(&long)[1], format!("{}... (1 more bytes)", "A".repeat(128)));
    }

    #[test]
    fn a_connection_is_named_by_a_number() {
        let token = Token { index: 7, generation: 0xff_fffe };
        assert_eq!(unpack(pack(token)), token);
    }
}
