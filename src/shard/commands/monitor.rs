//! MONITOR: shows a connection every command that any connection runs.
//!
//! A command is written down on the shard that serves its client, once, and the lines of a turn travel as one message
//! to each shard that has monitors. Every shard knows which ones have: MONITOR answers when all of them do, so a
//! command sent after its reply is seen. Without monitors a command costs one look at a number of its own shard.
//!
//! A monitor that reads too slowly is closed by the limits of its output; one whose shard cannot even take the lines
//! in, too: it never misses lines without noticing.

use crate::shard::message::SubscriberMessage;
use crate::shard::peers::Chore;
use crate::shard::peers::Peers;
use crate::shard::scatter::Question;
use crate::shard::subscribers::Subscribers;
use crate::shard::turn::TurnState;
use bytes::Bytes;

use super::Handler;
use crate::base::log::Level;
use crate::base::text::Text;
use crate::base::words::quoted;
use crate::base::Address;
use crate::base::Token;
use crate::client::{Connection, Flag};
use crate::command::table::{CommandSpec, Flag as CommandFlag};
use crate::command::{Args, CommandError};
use crate::resp::{Reply, SHARED_BYTES_MIN};
use crate::runtime::clock;
use crate::shard::redact::redacted;
use crate::shard::{Flow, Shard};
use crate::text;

pub const COMMANDS: &[(&str, Handler)] = &[("monitor", monitor)];

#[derive(Default)]
pub struct Monitors {
    /// On all shards.
    count: u32,
    /// How many each shard has; empty as long as there never was one.
    by_shard: Vec<u32>,
    /// Whether some lines could not be sent to a shard: its monitors are to be closed.
    overrun: Vec<bool>,
    /// This shard's.
    here: Vec<Token>,
    /// What this shard's clients have run in this turn. It is bounded by the input and the queues of MULTI that one turn runs.
    lines: Vec<u8>,
}

impl Monitors {
    fn add(&mut self, shard: usize, shards: usize) {
        self.by_shard.resize(shards, 0);
        self.overrun.resize(shards, false);
        self.by_shard[shard] += 1;
        self.count += 1;
    }

    pub(in crate::shard) fn remove(&mut self, shard: usize) {
        self.by_shard[shard] -= 1;
        self.count -= 1;
    }
}

fn monitor(shard: &mut Shard, c: &mut Connection, _: &mut Reply, _: Args) -> Result<Flow, CommandError> {
    if shard.transactions.is_inside_transaction() {
        return Err(CommandError::other("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    if c.flags.has(Flag::Monitor) {
        // As Redis: no reply at all.
        return Ok(Flow::Done);
    }
    c.flags.set(Flag::Monitor);
    shard.subscribers.monitors.here.push(c.token);
    shard.ask_all_for(c, AddMonitor { home: shard.id }, |_, _, reply| reply.ok());
    Ok(Flow::Later)
}

/// Shard `home` has a further monitor.
#[derive(Clone)]
pub struct AddMonitor {
    home: usize,
}

impl Question for AddMonitor {
    type Answer = ();

    fn answer(self, shard: &mut Shard) {
        shard.subscribers.monitors.add(self.home, shard.turn.slots.shards());
    }
}

impl TurnState {
    fn monitored_address(&self, c: &Connection) -> Text {
        match c.peer {
            Address::Unix => text!("unix:", self.unix_socket_name()),
            _ => self.peer_text(c),
        }
    }
}

impl Subscribers {
    #[inline]
    pub(in crate::shard) fn is_monitored(&self) -> bool {
        self.monitors.count > 0
    }

    /// Writes down a command that a connection of this shard has run.
    #[inline]
    pub(in crate::shard) fn show_to_monitors(
        &mut self,
        turn: &TurnState,
        peers: &mut Peers,
        c: &Connection,
        db: usize,
        spec: &CommandSpec,
        args: Args,
    ) {
        if self.is_monitored() && !spec.is(CommandFlag::Admin) && !spec.is(CommandFlag::SkipMonitor) {
            let address = turn.monitored_address(c);
            self.write_line(peers, &address, db, spec, args);
        }
    }

    /// A script is shown before what it calls.
    pub(in crate::shard) fn show_script(
        &mut self,
        turn: &TurnState,
        peers: &mut Peers,
        c: &Connection,
        db: usize,
        spec: &CommandSpec,
        args: Args,
    ) {
        if self.is_monitored() {
            let address = turn.monitored_address(c);
            self.write_line(peers, &address, db, spec, args);
        }
    }

    /// What a script calls.
    pub(in crate::shard) fn show_script_call(
        &mut self,
        peers: &mut Peers,
        db: usize,
        spec: &CommandSpec,
        args: Args,
    ) {
        if self.is_monitored() && !spec.is(CommandFlag::Admin) && !spec.is(CommandFlag::SkipMonitor) {
            self.write_line(peers, b"lua", db, spec, args);
        }
    }

    #[cold]
    fn write_line(&mut self, peers: &mut Peers, address: &[u8], db: usize, spec: &CommandSpec, args: Args) {
        if self.monitors.lines.is_empty() {
            peers.do_later(Chore::SendMonitorLines);
        }
        let now_us = clock::unix_us();
        let lines = &mut self.monitors.lines;
        let head = format_args!("+{}.{:06} [{db} ", now_us / 1_000_000, now_us % 1_000_000);
        lines.extend_from_slice(&text!(head, address, "]"));
        for arg in redacted(spec, args) {
            lines.push(b' ');
            lines.extend(quoted(arg));
        }
        lines.extend(b"\r\n");
    }
}

impl Shard {
    /// The connection ends or is reset.
    pub(in crate::shard) fn forget_monitor(&mut self, c: &mut Connection) {
        if !c.flags.has(Flag::Monitor) {
            return;
        }
        c.flags.clear(Flag::Monitor);
        self.subscribers.monitors.here.retain(|token| *token != c.token);
        let home = self.id;
        for shard in self.turn.slots.all() {
            // Behind the message that has told of the monitor.
            self.send(shard, SubscriberMessage::MonitorGone { home }.into());
        }
    }

    /// Sends the lines of this turn to the shards that have monitors.
    pub(in crate::shard) fn send_monitor_lines(&mut self) {
        let lines = Bytes::from(std::mem::take(&mut self.subscribers.monitors.lines));
        for shard in 0..self.subscribers.monitors.by_shard.len() {
            if self.subscribers.monitors.by_shard[shard] == 0 {
                continue;
            }
            if self.peers.outbox.is_congested(shard) {
                self.subscribers.monitors.overrun[shard] = true;
            } else if std::mem::take(&mut self.subscribers.monitors.overrun[shard]) {
                self.send(shard, SubscriberMessage::CloseMonitors.into());
            } else if shard == self.id {
                self.feed_monitors(&lines);
            } else {
                let lines = lines.clone();
                self.send(shard, SubscriberMessage::MonitorLines(lines).into());
            }
        }
    }

    /// Gives lines to this shard's monitors.
    pub(in crate::shard) fn feed_monitors(&mut self, lines: &Bytes) {
        for token in self.subscribers.monitors.here.clone() {
            let Some(mut connection) = self.connections.table.take(token) else { continue };
            self.write_reply(&mut connection, |_, _, reply| {
                if lines.len() < SHARED_BYTES_MIN {
                    reply.raw(lines);
                } else {
                    // Several monitors hold it once. Some plain byte follows every shared value of a reply.
                    let (last, most) = (lines.len() - 1, lines.slice(..lines.len() - 1));
                    reply.raw_shared(most);
                    reply.raw(&lines[last..]);
                }
            });
            self.finish(connection);
        }
    }

    pub(in crate::shard) fn close_monitors(&mut self) {
        for token in self.subscribers.monitors.here.clone() {
            let Some(mut connection) = self.connections.table.take(token) else { continue };
            crate::log_text!(
                Level::Warning,
                "Closing monitor that another shard's commands cannot reach fast enough: ",
                self.turn.describe_client(&connection)
            );
            self.stats.output_buffer_closes.add(1);
            self.close(&mut connection);
            self.finish(connection);
        }
    }
}
