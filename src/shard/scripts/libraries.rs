//! The libraries of functions: the first shard changes them, for all.

use super::{Run, Shard};
use crate::command::table::LibraryChange;
use crate::command::{Args, Caller, CommandError, CommandResult};
use crate::resp::Reply;
use crate::resp::{c_text, Text};
use crate::script::{Libraries, RestorePolicy, Resume, LOAD_TIME_MAX};
use crate::shard::scripts::Scripts;
use crate::shard::turn::TurnState;
use crate::text;

impl Scripts {
    fn with_vm<R>(&mut self, work: impl FnOnce(&mut crate::script::Vm) -> R) -> Result<R, CommandError> {
        let mut vm = self.take_vm()?;
        let result = work(&mut vm);
        self.idle.push(vm);
        Ok(result)
    }

    /// The libraries of a file, in place of those of the same names.
    pub(in crate::shard) fn load_libraries(
        &mut self,
        turn: &TurnState,
        codes: &[Vec<u8>],
    ) -> Result<(), Text> {
        if codes.is_empty() {
            return Ok(());
        }
        self.refresh_scripts(turn);
        let libraries = self.libraries.clone();
        let codes = codes.iter().map(Vec::as_slice);
        let loaded = self.with_vm(|vm| libraries.loaded(vm, codes, true)).map_err(|error| error.text())?;
        turn.shared.scripts.publish_libraries(loaded?);
        Ok(())
    }

    /// The libraries of a file, and no others.
    pub(in crate::shard) fn libraries_of(&mut self, codes: &[Vec<u8>]) -> Result<Libraries, Text> {
        if codes.is_empty() {
            return Ok(Libraries::default());
        }
        let codes = codes.iter().map(Vec::as_slice);
        self.with_vm(|vm| Libraries::default().loaded(vm, codes, false)).map_err(|error| error.text())?
    }
}

impl Shard {
    /// FUNCTION LOAD, DELETE, FLUSH and RESTORE, which all shards stand still for.
    pub(in crate::shard) fn change_libraries(
        &mut self,
        change: LibraryChange,
        args: Args,
        caller: &Caller,
        reply: &mut Reply,
    ) -> CommandResult {
        if self.id != 0 {
            // What the first shard answers counts.
            reply.ok();
            return Ok(());
        }
        self.scripts.refresh_scripts(&self.turn);
        let libraries = self.scripts.libraries.clone();
        let mut loaded = None;
        let changed = match (change, &args[2..]) {
            (LibraryChange::Load, [options @ .., code]) => {
                // A log may have what its base has already; a replica's master has not.
                let mut replace = caller.replaying && !caller.from_master;
                for option in options {
                    if !option.eq_ignore_ascii_case(b"replace") {
                        return Err(CommandError::other(text!("ERR Unknown option given: ", c_text(option))));
                    }
                    replace = true;
                }
                let time_max = (!caller.replaying).then_some(LOAD_TIME_MAX);
                let result = self.scripts.with_vm(|vm| libraries.load(vm, code, replace, time_max))?;
                result.map(|(libraries, name)| {
                    loaded = Some(name);
                    libraries
                })
            }
            (LibraryChange::Delete, [name]) => libraries.delete(name),
            (LibraryChange::Flush, []) => Ok(Libraries::default()),
            (LibraryChange::Flush, [how]) if is_flush_kind(how) => Ok(Libraries::default()),
            (LibraryChange::Flush, [_]) => Err("ERR FUNCTION FLUSH only supports SYNC|ASYNC option".into()),
            (LibraryChange::Restore, [payload, policy @ ..]) => {
                let policy = match policy {
                    [] => RestorePolicy::Append,
                    [word] => RestorePolicy::parse(word).ok_or_else(|| {
                        CommandError::other("ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.")
                    })?,
                    _ => return Err(crate::command::subcommand_syntax("FUNCTION", args)),
                };
                let skips_checksum = self.store.settings.skips_checksums;
                self.scripts.with_vm(|vm| libraries.restored(vm, payload, policy, skips_checksum))?
            }
            _ => return Err(crate::command::subcommand_syntax("FUNCTION", args)),
        };
        let changed = changed.map_err(CommandError::other)?;
        self.shared.scripts.publish_libraries(changed);
        self.store.dirty += 1;
        match loaded {
            Some(name) => reply.bulk(name.as_bytes()),
            None => reply.ok(),
        }
        Ok(())
    }

    /// Lets a script go on that is replayed from the log of another server, of which this is the only shard. (This one logs what scripts
    /// do, and not them.) Some: it has had its time, and has not come to its end.
    pub(in crate::shard) fn replay_script_on(
        &mut self,
        mut run: Box<Run>,
        reply: &mut Reply,
    ) -> Option<Box<Run>> {
        let Some(outcome) = self.drive(&mut run) else { return Some(self.stand_in_replay(run)) };
        self.turn.let_others_in(&mut run, &[]);
        self.end_script(run, *outcome, reply);
        reply.clear();
        None
    }

    /// Such a script has had its time.
    pub(in crate::shard) fn stand_in_replay(&mut self, mut run: Box<Run>) -> Box<Run> {
        self.end_body(false);
        if run.call.take().is_some() {
            run.resume = Some(Resume::Refused("This Redis command is not allowed while loading".into()));
        }
        // Nobody is kept out by it who would not be anyway: there is nothing yet.
        self.turn.note_standing(&mut run, &[]);
        run
    }
}

fn is_flush_kind(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async")
}
