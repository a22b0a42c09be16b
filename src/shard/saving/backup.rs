//! PIPESAVE, DUMPSAVE and SYNC: snapshots that become streams. `persist/backup.rs` has how a stream is made of the parts.
//!
//! A dump takes its client's connection: the home shard waits until the client has got all earlier replies, and gives the
//! shard that leads a second descriptor of the socket. From then on the shard neither reads nor writes there; it closes the
//! connection when the dump has ended. As long as nothing of the dump was sent, an error can still be answered.

use crate::shard::message::Message;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{Cut, Failed, PartFile, Purpose, Written};
use crate::base::error_text;
use crate::base::log::Level;
use crate::base::Token;
use crate::client::Flag;
use crate::command::CommandError;
use crate::persist::backup::{Failure, Order, Outcome, Relay, Target};
use crate::process;
use crate::rdb::file::{trailer, Stretch};
use crate::runtime::{clock, pipes, socket};
use crate::shard::blocking::Asker;
use crate::shard::transactions::Later;
use crate::shard::Shard;

/// How a dump is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) enum Dump {
    /// DUMPSAVE: the file and nothing else.
    Raw,
    /// SYNC: a mark in front of the file, and the same behind it.
    Marked(Content),
}

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) struct Content {
    pub keys: bool,
    pub functions: bool,
}

impl Content {
    pub const ALL: Content = Content { keys: true, functions: true };
}

/// A client that is to get a dump.
#[derive(Debug)]
pub(in crate::shard) struct Handover {
    pub client: Token,
    pub asker: Asker,
    pub dump: Dump,
}

/// The leader's record of the backup in progress, beside its job.
pub(super) struct Backup {
    relay: Relay,
    outcome: Option<Outcome>,
}

impl Backup {
    pub fn give_up(&self) {
        self.relay.give_up();
    }

    /// A part is whole, or the file never will be.
    pub fn part_ended(&self, shard: usize, written: &Written) {
        match written {
            Ok((stretch, _)) => self.relay.part_is_whole(shard, stretch.len),
            Err(_) => self.relay.give_up(),
        }
    }
}

// Every shard.
impl Shard {
    /// The client is to get a dump as soon as it has got its earlier replies.
    pub(in crate::shard) fn hand_over_later(&mut self, handover: Handover) {
        self.saving.handovers.push(handover);
    }

    /// In each turn: gives connections away that have nothing more to send.
    pub(in crate::shard) fn hand_over_connections(&mut self) {
        if self.saving.handovers.is_empty() {
            return;
        }
        for handover in std::mem::take(&mut self.saving.handovers) {
            // A client that has gone needs no answer.
            let Some(c) = self.connections.table.get(handover.client) else { continue };
            if c.flags.has(Flag::Closing) {
                continue;
            }
            if !c.output.is_drained() {
                self.saving.handovers.push(handover);
                continue;
            }
            let Handover { asker, dump, .. } = handover;
            let Some(socket) = &c.socket else { continue };
            match socket::duplicate(socket.as_fd()) {
                Ok(socket) => self.tell_leader(move |leader| leader.dumpsave(socket, dump, asker)),
                Err(error) => {
                    let error = CommandError::other(format!("ERR {}", error_text(&error)));
                    self.answer_asker(asker, Err(error));
                }
            }
        }
    }

    /// The dump has ended, and the connection with it.
    fn end_dumped(&mut self, later: Later) {
        let Later::InPipeline(origin) = later else { return };
        self.settle_call(origin.client);
        if let Some(mut connection) = self.connections.table.take(origin.client) {
            self.close(&mut connection);
            self.finish(connection);
        }
    }
}

// The leader.
impl Shard {
    /// PIPESAVE.
    pub(in crate::shard) fn pipesave(&mut self, asker: Asker) {
        let command = self.turn.config.engine.pipesavecommand.clone();
        let error = if command.is_empty() {
            Some(CommandError::other(
                "ERR PIPESAVE needs a command: set 'pipesavecommand' in the configuration file and restart the server",
            ))
        } else {
            self.backup_refusal("PIPESAVE")
        };
        match error {
            Some(error) => self.answer_asker(asker, Err(error)),
            None => {
                let target = Target::Command(command);
                self.start_backup(Purpose::Pipe, target, Content::ALL, [Vec::new(), Vec::new()], asker)
            }
        }
    }

    /// DUMPSAVE and SYNC; `socket` is the client's.
    fn dumpsave(&mut self, socket: OwnedFd, dump: Dump, asker: Asker) {
        let (name, content) = match dump {
            Dump::Raw => ("DUMPSAVE", Content::ALL),
            Dump::Marked(content) => ("SYNC", content),
        };
        if let Some(error) = self.backup_refusal(name) {
            return self.answer_asker(asker, Err(error));
        }
        let frame = match dump {
            Dump::Raw => [Vec::new(), Vec::new()],
            Dump::Marked(_) => {
                let mark = process::random_id();
                [format!("$EOF:{mark}\r\n").into_bytes(), mark.into_bytes()]
            }
        };
        self.start_backup(Purpose::Dump, Target::Client(socket), content, frame, asker);
    }

    /// Why no backup can begin now.
    fn backup_refusal(&self, name: &str) -> Option<CommandError> {
        let refusal = match self.saving.job.as_ref().map(|job| job.cut.purpose) {
            None if self.saving.rewrites.is_active() => None,
            None => return None,
            Some(Purpose::Background | Purpose::Foreground) => {
                Some("ERR Background save already in progress".to_owned())
            }
            Some(Purpose::Pipe) => Some("ERR Background pipesave already in progress".to_owned()),
            Some(Purpose::Dump) => Some("ERR Background dumpsave already in progress".to_owned()),
            Some(Purpose::Rewrite) => None,
        };
        let refusal = refusal.unwrap_or_else(|| {
            format!("ERR Another child process is active (AOF?): can't {name} right now.")
        });
        Some(CommandError::other(refusal))
    }

    fn start_backup(
        &mut self,
        purpose: Purpose,
        target: Target,
        content: Content,
        frame: [Vec<u8>; 2],
        asker: Asker,
    ) {
        let id = self.saving.last_id + 1;
        match self.prepare_backup(id, purpose, target, content, frame) {
            Ok((cut, relay)) => {
                self.saving.last_id = id;
                self.saving.backup = Some(Backup { relay, outcome: None });
                {
                    let mut figures = self.shared.status.figures();
                    let now_s = clock::unix_us() / 1_000_000;
                    match purpose {
                        Purpose::Pipe => figures.pipesave.begin(now_s),
                        _ => figures.dumpsave.begin(now_s),
                    }
                }
                self.cut_now(cut.into(), Some(asker));
            }
            Err(error) => {
                let why = error_text(&error);
                crate::log!(Level::Warning, "{} can't begin: {why}", purpose.name());
                let error = CommandError::other(format!("ERR {} can't begin: {why}", purpose.name()));
                self.answer_asker(asker, Err(error));
            }
        }
    }

    /// Pipes for the parts, and who reads them.
    fn prepare_backup(
        &self,
        id: u64,
        purpose: Purpose,
        target: Target,
        content: Content,
        [before, after]: [Vec<u8>; 2],
    ) -> std::io::Result<(Cut, Relay)> {
        let format = self.rdb_format();
        let (mut sources, mut parts) = (Vec::new(), Vec::new());
        for shard in self.turn.slots.all() {
            let (from, file) = pipes::pipe()?;
            let head = match shard {
                0 => self.header_with(format, None, content.functions),
                _ => Vec::new(),
            };
            sources.push(from);
            parts.push(Some(PartFile::new(String::new(), file, head, false)));
        }
        let patience = Duration::from_secs(u64::from(self.turn.config.replication.repl_timeout));
        let order = Order { target, before, after, parts: sources, patience };
        let shared = self.shared.clone();
        let relay = Relay::start(order, move |outcome| {
            shared
                .mail
                .post(0, Message::Call(Box::new(move |leader: &mut Shard| leader.stream_ended(id, outcome))));
        })?;
        let cut = Cut {
            id,
            purpose,
            method: None,
            format,
            checksum: self.turn.config.persistence.rdbchecksum,
            path: String::new(),
            parts,
            increments: Default::default(),
            as_commands: false,
            has_keys: content.keys,
            is_stopped: AtomicBool::new(false),
        };
        Ok((cut, relay))
    }

    /// All parts have ended; `stretches` are theirs, if they are good.
    pub(super) fn backup_written(&mut self, id: u64, stretches: Option<Vec<Stretch>>, checksum: bool) {
        if let (Some(backup), Some(stretches)) = (&self.saving.backup, stretches) {
            let whole = stretches.into_iter().reduce(Stretch::then).unwrap_or_default();
            backup.relay.finish(trailer(whole, checksum));
        }
        self.end_backup_if_over(id);
    }

    /// The relay has ended.
    fn stream_ended(&mut self, id: u64, outcome: Outcome) {
        if self.saving.job.as_ref().is_none_or(|job| job.cut.id != id) {
            return;
        }
        if outcome.result.is_err() {
            self.stop_parts(id);
        }
        if let Some(backup) = &mut self.saving.backup {
            backup.outcome = Some(outcome);
        }
        self.end_backup_if_over(id);
    }

    fn end_backup_if_over(&mut self, id: u64) {
        let Some(job) = self.saving.job.take_if(|job| {
            let backup = self.saving.backup.as_ref();
            job.cut.id == id
                && job.written.iter().all(Option::is_some)
                && backup.is_some_and(|backup| backup.outcome.is_some())
        }) else {
            return;
        };
        let Some(outcome) = self.saving.backup.take().and_then(|backup| backup.outcome) else { return };
        self.shared.status.snapshot_keys_total.store(0, std::sync::atomic::Ordering::Relaxed);
        let (purpose, what) = (job.cut.purpose, job.cut.purpose.name());
        let mut copied = 0;
        let mut why = match &outcome.result {
            Err(Failure::Target(why)) => Some(why.clone()),
            Ok(()) | Err(Failure::GivenUp) => None,
        };
        for written in job.written.iter().flatten() {
            match written {
                Ok((_, bytes)) => copied += bytes,
                // The other parts are stopped when one has failed, and all when the stream has.
                Err(Failed::Killed(libc::SIGUSR1)) => {}
                Err(Failed::Fork(error)) => why = Some(format!("fork: {error}")),
                Err(Failed::Killed(signal)) => why = Some(format!("terminated by signal {signal}")),
                // When the target has failed first, this only follows from it.
                Err(Failed::Write(error)) => why = why.or_else(|| Some(error.clone())),
            }
        }
        let ok = outcome.result.is_ok();
        let why = why.unwrap_or_else(|| "it was given up".to_owned());
        match ok {
            true => crate::log!(Level::Notice, "{what} terminated with success: {} bytes", outcome.bytes),
            false if job.is_given_up => crate::log!(Level::Warning, "{what} was given up"),
            false => crate::log!(Level::Warning, "{what} failed: {why}"),
        }
        {
            let mut figures = self.shared.status.figures();
            let course = match purpose {
                Purpose::Pipe => {
                    figures.pipesave_bytes = outcome.bytes;
                    figures.pipesave_exit = outcome.exit;
                    &mut figures.pipesave
                }
                _ => {
                    figures.dumpsave_bytes = outcome.bytes;
                    &mut figures.dumpsave
                }
            };
            course.copied_bytes = copied;
            course.end(ok, clock::unix_us() / 1_000_000);
        }
        match job.asker {
            Some(Asker { home, later }) if purpose == Purpose::Dump && outcome.bytes > 0 => {
                self.send(
                    home,
                    crate::shard::message::Message::Call(Box::new(move |shard: &mut Shard| {
                        shard.end_dumped(later);
                    })),
                );
            }
            Some(asker) => {
                self.answer_asker(asker, Err(CommandError::other(format!("ERR {what} failed: {why}"))));
            }
            None => {}
        }
        self.shutdown_may_go_on();
    }
}
