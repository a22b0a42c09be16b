//! Replays an append-only file that this shard wrote itself: all of its commands concern keys of this shard.
//!
//! Where the file ends is decided before (`crate::recovery`): what is replayed are whole units, so the commands of a MULTI body
//! can run as they come.

use std::fs::File;
use std::io;
use std::path::Path;

use super::Shard;
use crate::command::table::{CommandSpec, Handler};
use crate::command::{Caller, Context, Effect};
use crate::log;
use crate::observe::log::Level;
use crate::persist::aof::ahead::first_arguments;
use crate::persist::aof::scan::{Fault, Item, Scanner};
use crate::resp::Reply;
use crate::store::{parse_integer, Upcoming, UPCOMING_MAX};
use crate::txn::message::Slices;

/// Why a file cannot be replayed.
#[derive(Debug)]
pub enum ReplayError {
    Open(io::Error),
    Fault(Fault),
    Unknown(String),
    /// The connection that was given the commands is gone.
    Interrupted,
}

impl ReplayError {
    pub fn log(&self, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match self {
            ReplayError::Open(error) => {
                log!(
                    Level::Warning,
                    "Fatal error: can't open the append log file {name} for reading: {error}"
                );
            }
            ReplayError::Fault(fault) => log!(Level::Warning, "{}", fault.log_message(&name)),
            ReplayError::Unknown(command) => {
                log!(Level::Warning, "Unknown command '{command}' reading the append only file {name}");
            }
            ReplayError::Interrupted => {
                log!(Level::Warning, "Reading the append only file {name} was interrupted");
            }
        }
    }
}

pub(super) struct Replay {
    scanner: Scanner<File>,
    from: u64,
    until: u64,
    db: usize,
    commands: u64,
    upcoming: Upcoming,
    reply: Reply,
}

impl Replay {
    pub fn open(path: &Path, from: u64, until: u64) -> Result<Replay, ReplayError> {
        let file = File::open(path).map_err(ReplayError::Open)?;
        let scanner = Scanner::new(file, from).map_err(ReplayError::Open)?;
        Ok(Replay {
            scanner,
            from,
            until,
            db: 0,
            commands: 0,
            upcoming: Upcoming::default(),
            reply: Reply::default(),
        })
    }

    /// Bytes read.
    pub fn position(&self) -> u64 {
        self.scanner.position() - self.from
    }

    pub fn commands(&self) -> u64 {
        self.commands
    }
}

impl Shard {
    /// Replays until `enough` says so. True: all of it.
    pub(super) fn replay_some(
        &mut self,
        replay: &mut Replay,
        enough: &dyn Fn() -> bool,
    ) -> Result<bool, ReplayError> {
        let caller =
            Caller { replaying: true, deny_blocking: true, bulk_len_max: usize::MAX, ..Caller::default() };
        while replay.scanner.position() < replay.until {
            let at = replay.scanner.position();
            let scanner = &replay.scanner;
            let known = replay.upcoming.take(&self.store, replay.db, at, |each| {
                first_arguments(scanner.fetched(), UPCOMING_MAX, |start, key| each(at + start as u64, key));
            });
            let command = match replay.scanner.next().map_err(ReplayError::Fault)? {
                None => return Ok(true),
                Some(Item::Annotation(_)) => continue,
                Some(Item::Command(command)) => command,
            };
            let args: Slices = command.args().collect();
            replay.commands += 1;
            let spec = match self.shared.names.resolve(&args) {
                Ok(spec) => spec,
                Err(_) => return Err(ReplayError::Unknown(String::from_utf8_lossy(args[0]).into_owned())),
            };
            match spec.handler {
                Handler::Keys(..) | Handler::EveryShard(..) => {
                    if let (Some(key), Some(ahead)) = (args.get(1), known.and_then(|known| known.ahead)) {
                        self.store.ahead_hint(key, ahead);
                    }
                    self.replay_command(spec, replay.db, &args, &caller, &mut replay.reply);
                }
                // MULTI and EXEC say nothing here. Nothing else is ever logged.
                Handler::Connection | Handler::Container => {
                    let db = args.get(1).and_then(|text| parse_integer(text));
                    if let ("select", Some(db)) = (spec.name, db) {
                        replay.db = usize::try_from(db).unwrap_or(0).min(self.store.databases() - 1);
                    }
                }
            }
            if enough() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Does again what a command did. Unlike a client's it counts nowhere; an error is what it was the first time.
    fn replay_command(
        &mut self,
        spec: &CommandSpec,
        db: usize,
        args: &[&[u8]],
        caller: &Caller,
        reply: &mut Reply,
    ) {
        let (Handler::Keys(run, _) | Handler::EveryShard(run, _)) = spec.handler else { return };
        let mut ctx =
            Context { store: &mut self.store, db, reply, caller, effect: Effect::default(), blocking: None };
        let _ = run(&mut ctx, args);
        self.store.clear_slot_hint();
        reply.clear();
        if !self.store.events.is_empty() {
            self.store.events.take();
        }
    }
}
