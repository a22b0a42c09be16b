//! Replays an append-only file: one that this shard wrote itself, all of whose commands concern keys of this shard, or one that was
//! written by another number of shards. Such a file is replayed by every shard, each for its own keys.
//!
//! Where the file ends is decided before (`crate::recovery`): what is replayed are whole units, so the commands of a MULTI body
//! can run as they come.

use crate::log_text;
use crate::shard::turn::TurnState;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use smallvec::SmallVec;

use super::rendezvous::Rendezvous;
use super::Shard;
use crate::base::log::Level;
use crate::base::Token;
use crate::command::table::{CommandSpec, Handler, KeyPositions, Role};
use crate::command::{Args, Caller, CommandError};
use crate::persist::aof::lookahead::first_arguments;
use crate::persist::aof::scan::{Fault, Item, Scanner};
use crate::resp::Reply;
use crate::shard::call::{Call, Called, Within};
use crate::shard::scripts::Run;
use crate::store::{parse_integer, slot_of, Known, SlotSet, Upcoming, UPCOMING_MAX};
use crate::txn::message::{OwnedArgs, Slices};
use crate::txn::plan::{locate, Plan};

/// Why a file cannot be replayed.
#[derive(Debug)]
pub enum ReplayError {
    Open(io::Error),
    Fault(Fault),
    /// A command that there is not, or that has too few arguments, and where it begins. The file is damaged: whatever was logged had been run.
    Unknown {
        command: String,
        at: u64,
    },
    /// RESTORE of a payload that is none: a value would be missing.
    Payload {
        error: CommandError,
        at: u64,
    },
    /// A key that the shard which wrote the file never had.
    Foreign {
        key: Vec<u8>,
        at: u64,
    },
    /// SELECT of a database that there is not.
    Database {
        at: u64,
        configured: usize,
    },
    /// The connection that was given the commands is gone.
    Interrupted,
}

impl ReplayError {
    pub fn log(&self, path: &Path) {
        let name = path.file_name().unwrap_or_default();
        match self {
            ReplayError::Open(error) => {
                log_text!(
                    Level::Warning,
                    "Fatal error: can't open the append log file ",
                    name,
                    format_args!(" for reading: {error}")
                );
            }
            ReplayError::Fault(fault) => log_text!(Level::Warning, fault.log_message(name.as_bytes())),
            ReplayError::Unknown { command, at } => {
                log_text!(
                    Level::Warning,
                    format_args!("Unknown command '{command}' reading the append only file "),
                    name,
                    format_args!(", at offset {at}")
                );
            }
            ReplayError::Payload { error, at } => log_text!(
                Level::Warning,
                "Bad file format reading the append only file ",
                name,
                format_args!(": at offset {at} a value cannot be restored ("),
                error.text(),
                "), so something was changed in the file. Make a backup of your AOF files, then use gyre-check-aof on the manifest"
            ),
            ReplayError::Foreign { key, at } => log_text!(
                Level::Warning,
                "Bad file format reading the append only file ",
                name,
                format_args!(": at offset {at} the key '{}' belongs to another shard, so something was changed in ", shown(key)),
                "the file. Make a backup of your AOF files, then use gyre-check-aof on the manifest"
            ),
            ReplayError::Database { at, configured } => log_text!(
                Level::Warning,
                "The append only file ",
                name,
                format_args!(" selects, at offset {at}, a database that there is not: 'databases' is {configured}")
            ),
            ReplayError::Interrupted => {
                log_text!(Level::Warning, "Reading the append only file ", name, " was interrupted");
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
    /// Of a file that another number of shards has written.
    foreign: Option<Foreign>,
    /// The slots that the shard which wrote the file had; `None`: all.
    owned: Option<SlotSet>,
    errors: Errors,
    /// The command that was begun and has not come to its end.
    script: Option<Box<Run>>,
}

#[derive(Default)]
struct Foreign {
    rendezvous: Option<Rendezvous>,
    replayer: Option<Token>,
}

/// The name of the file, and how many of its commands have answered an error. As a rule none does, for what is logged has been done;
/// where one does, the data set is not the one that it was.
struct Errors(OsString, u64);

/// So many of them are told.
const ERRORS_TOLD_MAX: u64 = 10;

impl Errors {
    fn look_at<T: Default>(
        &mut self,
        result: Result<T, CommandError>,
        spec: &CommandSpec,
        at: u64,
    ) -> Result<T, ReplayError> {
        let error = match result {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if spec.role == Role::Restore && error != CommandError::BusyKey {
            return Err(ReplayError::Payload { error, at });
        }
        self.1 += 1;
        if self.1 <= ERRORS_TOLD_MAX {
            let (name, command) = (&self.0, spec.name);
            log_text!(
                Level::Warning,
                format_args!("The command '{command}' at offset {at} of "),
                name,
                " answers an error: ",
                error.text()
            );
        }
        Ok(T::default())
    }
}

/// What of a command of a foreign file is this shard's to do.
enum Share {
    Whole,
    Part(OwnedArgs),
    Nothing,
    /// Several shards have to do it together.
    Together {
        host: usize,
        guests: SmallVec<[usize; 4]>,
    },
}

impl Replay {
    /// `is_foreign`: it was written by another number of shards.
    pub fn open(
        path: &Path,
        from: u64,
        until: u64,
        is_foreign: bool,
        owned: Option<SlotSet>,
    ) -> Result<Replay, ReplayError> {
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
            foreign: is_foreign.then(Foreign::default),
            owned,
            errors: Errors(path.file_name().unwrap_or_default().to_owned(), 0),
            script: None,
        })
    }

    /// Whether nothing can be done before other shards have come to the same command.
    pub fn waits(&self) -> bool {
        self.foreign.as_ref().is_some_and(|foreign| foreign.rendezvous.is_some())
    }

    /// Bytes read.
    pub fn position(&self) -> u64 {
        self.scanner.position() - self.from
    }

    pub fn commands(&self) -> u64 {
        self.commands
    }
}

impl TurnState {
    fn share_of(&self, spec: &CommandSpec, args: Args, known: Option<Known>) -> Share {
        let whole_if = |is_mine| if is_mine { Share::Whole } else { Share::Nothing };
        if let (Some((1, _)), Some(known)) = (spec.single_key(), known) {
            return whole_if(self.slots.shard_of_slot(known.slot) == self.id);
        }
        if let (Handler::Script, false) = (spec.handler, self.slots.is_single()) {
            // It may need anything.
            return Share::Together { host: 0, guests: self.slots.others(0).collect() };
        }
        let (host, guests): (usize, SmallVec<[usize; 4]>) =
            match locate(spec, args, &self.slots, || u64::MAX).plan {
                // Every shard does to its own keys what concerns all (FLUSHALL).
                Plan::EveryShard { .. } => return Share::Whole,
                Plan::Anywhere => return whole_if(self.is_leader()),
                Plan::At(owner) | Plan::Cursor { shard: owner, .. } => return whole_if(owner == self.id),
                Plan::Split(parts, _) => {
                    let mine = parts.into_iter().find(|part| part.shard == self.id);
                    return mine.map_or(Share::Nothing, |part| Share::Part(part.args));
                }
                Plan::RemoteValues { home, foreign } => {
                    let mut guests: SmallVec<[usize; 4]> = foreign.iter().map(|(shard, _)| *shard).collect();
                    guests.sort_unstable();
                    guests.dedup();
                    (home, guests)
                }
                Plan::Reach { home } => (home, self.slots.others(home).collect()),
            };
        if host == self.id || guests.contains(&self.id) {
            Share::Together { host, guests }
        } else {
            Share::Nothing
        }
    }
}

impl Shard {
    /// Replays until `enough` says so, or other shards must be waited for. True: all of it.
    pub(super) fn replay_some(
        &mut self,
        replay: &mut Replay,
        enough: &dyn Fn() -> bool,
    ) -> Result<bool, ReplayError> {
        let caller =
            Caller { replaying: true, deny_blocking: true, bulk_len_max: usize::MAX, ..Caller::default() };
        if !self.end_rendezvous(replay)? {
            return Ok(false);
        }
        while replay.script.is_some() || replay.scanner.position() < replay.until {
            if let Some(run) = replay.script.take() {
                replay.script = self.replay_script_on(run, &mut replay.reply);
                if enough() {
                    return Ok(false);
                }
                continue;
            }
            let at = replay.scanner.position();
            let scanner = &replay.scanner;
            let known = replay.upcoming.take(&self.store, replay.db, at, |each| {
                first_arguments(scanner.fetched(), UPCOMING_MAX, |start, key| each(at + start as u64, key));
            });
            let command = match replay.scanner.next().map_err(ReplayError::Fault)? {
                None => break,
                Some(Item::Annotation(_)) => continue,
                Some(Item::Command(command)) => command,
            };
            let args: Slices = command.args().collect();
            replay.commands += 1;
            let spec = match self.shared.names.resolve(&args) {
                Ok(spec) => spec,
                Err(_) => return Err(ReplayError::Unknown { command: shown(args[0]), at }),
            };
            // MULTI and EXEC say nothing here. Nothing else of these kinds is ever logged.
            if matches!(spec.handler, Handler::Channel | Handler::Connection | Handler::Container) {
                let db = args.get(1).and_then(|text| parse_integer(text));
                if spec.role == Role::Select {
                    let configured = self.store.databases();
                    let db = db.and_then(|db| usize::try_from(db).ok()).filter(|db| *db < configured);
                    replay.db = db.ok_or(ReplayError::Database { at, configured })?;
                }
                continue;
            }
            if let Some(key) = replay.owned.as_ref().and_then(|owned| key_outside(owned, spec, &args, known))
            {
                return Err(ReplayError::Foreign { key: key.to_vec(), at });
            }
            let share = match replay.foreign {
                Some(_) => self.turn.share_of(spec, &args, known),
                None => Share::Whole,
            };
            let (db, reply) = (replay.db, &mut replay.reply);
            match share {
                Share::Nothing => {}
                Share::Whole => {
                    if let (Some(key), Some(ahead)) = (args.get(1), known.and_then(|known| known.ahead)) {
                        self.store.prefetch_hint(key, ahead);
                    }
                    let result = self.replay_command(spec, db, &args, &caller, reply);
                    replay.script = replay.errors.look_at(result, spec, at)?;
                }
                Share::Part(part) => {
                    let part = part.slices();
                    let result = self.replay_command(spec, db, &part, &caller, reply);
                    replay.errors.look_at(result, spec, at)?;
                }
                Share::Together { host, guests } => {
                    let rendezvous = if host == self.id {
                        let command = Some(command.bytes().into());
                        Rendezvous::Host { guests, position: at, command, db }
                    } else {
                        self.come_as_guest(host, at)
                    };
                    drop(args);
                    if let Some(foreign) = &mut replay.foreign {
                        foreign.rendezvous = Some(rendezvous);
                    }
                    if !self.end_rendezvous(replay)? {
                        return Ok(false);
                    }
                }
            }
            if enough() {
                return Ok(false);
            }
        }
        if let Some(replayer) = replay.foreign.as_mut().and_then(|foreign| foreign.replayer.take()) {
            self.connections.table.remove(replayer);
        }
        Ok(true)
    }

    /// True: the replay goes on.
    fn end_rendezvous(&mut self, replay: &mut Replay) -> Result<bool, ReplayError> {
        let Some(Foreign { rendezvous: open @ Some(_), replayer }) = &mut replay.foreign else {
            return Ok(true);
        };
        if let Some(rendezvous) = open {
            if !self.attend(rendezvous, replayer)? {
                return Ok(false);
            }
        }
        *open = None;
        Ok(true)
    }

    /// Does again what a command did. Unlike a client's it counts nowhere. A script that takes long is returned, and goes on later.
    fn replay_command(
        &mut self,
        spec: &'static CommandSpec,
        db: usize,
        args: Args,
        caller: &Caller,
        reply: &mut Reply,
    ) -> Result<Option<Box<Run>>, CommandError> {
        let called = self.call(Call { spec, db, args, caller, within: Within::Replay }, reply);
        reply.clear();
        match called {
            Called::Failed(error) => Err(error),
            Called::Standing(run) => Ok(Some(self.stand_in_replay(run))),
            Called::Replied | Called::Blocked(_) => Ok(None),
        }
    }
}

/// The first key of a command that is not in these slots: no key that the shard which had them could have written.
fn key_outside<'a>(
    owned: &SlotSet,
    spec: &CommandSpec,
    args: Args<'a>,
    known: Option<Known>,
) -> Option<&'a [u8]> {
    if let (Some((1, _)), Some(known)) = (spec.single_key(), known) {
        return if owned.contains(known.slot) { None } else { args.get(1).copied() };
    }
    let mut keys = KeyPositions::new();
    spec.key_positions(args, &mut keys);
    keys.iter().filter_map(|key| args.get(key.index).copied()).find(|key| !owned.contains(slot_of(key)))
}

/// As much of a name or a key gets into the log, bytes.
const SHOWN_LEN_MAX: usize = 128;

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(SHOWN_LEN_MAX)].escape_ascii().to_string()
}
