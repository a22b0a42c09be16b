//! Scripts on one shard: which one is meant, where it runs, and running it.
//!
//! A script whose keys are all here runs at once, as any command does, and nobody comes between its calls (`drive`). One with keys on
//! several shards is a transaction: it holds intents on its keys, and its coordinator has every call run where the keys are
//! (`remote`). One that takes long becomes a transaction too, which has its keys from its first call to its end, and the shard's other
//! work, connections included, goes on meanwhile.
//!
//! Redis lets scripts touch keys that they do not name. Here such a key may be on another shard. So, with several shards, a script
//! runs for the first time as a transaction over everything, and the server remembers whether it has kept to its keys: if so its
//! next run needs these only. One that reaches further all the same starts again over everything, if it has not written
//! yet. If it has, it keeps what it has until it has everything else. (Only one script at a time does so; another one at the same time
//! is cut in two at this call: what it has done so far is one transaction, and the rest, over everything, is another.)
//! That happens to a script once: its next run is over everything from its beginning. `txn/transactions.md` tells why all that is whole
//! and cannot deadlock.

mod drive;
mod known;
mod libraries;
mod remote;

use super::following::{master_down, read_only};
use super::refusals::no_replicas;
use super::Shard;
use crate::acl::{Context, Denial, User};
use crate::base::{Stamp, Token};
use crate::client::{Connection, Flag as ClientFlag};
use crate::command::parse::{numbered_keys, BadCount};
use crate::command::table::{CommandSpec, Flag, Role, ScriptBy};
use crate::command::{Args, Caller, CommandError};
use crate::resp::{c_text, Protocol, Text};
use crate::script::{Execution, Libraries, LibraryFunction, Resume, Script, ScriptFlags, Sha, Vm, What};
use crate::shard::turn::TurnState;
use crate::text;
use crate::txn::locks::{fingerprint, Intent};
use crate::txn::message::{OwnedArgs, OwnedCommand};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::Arc;

pub use known::{Known, KnownScripts, Memory, Reach, Slow, Unkillable};
pub use remote::BeginScript;
pub(super) use remote::Going;

/// Interpreters that are kept for the next scripts.
const IDLE_MAX: usize = 8;

#[derive(Default)]
pub(super) struct Scripts {
    idle: Vec<Vm>,
    /// What this shard has looked up, of the shared version `version`.
    known: HashMap<Sha, Arc<Known>, foldhash::fast::RandomState>,
    version: u64,
    epoch: u64,
    libraries: Arc<Libraries>,
    /// Of functions of these libraries, by their names.
    functions: HashMap<Arc<str>, Arc<Memory>, foldhash::fast::RandomState>,
    /// What TIME answers the script, or the transaction, whose work runs now, Unix microseconds.
    pub(super) frozen_us: Option<i64>,
}

/// Why a script that ran here did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It takes long, or calls something that takes time: it goes on as a transaction here.
    Here,
    /// It needs what it did not name, on another shard or held by others: it starts again, as a transaction over all.
    Everywhere,
    /// The same, but it has written: it keeps what it has, and goes on when it has everything.
    Further,
}

/// A script that runs.
pub struct Run {
    execution: Execution,
    /// Of what the server knew of scripts when it began.
    version: u64,
    memory: Arc<Memory>,
    /// The command that it came by.
    command: OwnedCommand,
    /// The database that its commands are in.
    db: usize,
    caller: Caller,
    protocol: Protocol,
    is_read_only: bool,
    may_exceed_memory: bool,
    has_no_memory: bool,
    has_written: bool,
    /// Fingerprints of the keys that it names, when anybody asks.
    named: Vec<u64>,
    touches_others: bool,
    /// Keys of this shard that it did not name and has touched, while it ran in one go.
    touched: Vec<Intent>,
    started: Stamp,
    /// What it takes for the time, Unix microseconds: to its keys it stands still.
    now_us: i64,
    /// What TIME answers: it moves when the script has run for `busy-reply-threshold`, so that a loop that waits for it ends.
    shown_us: i64,
    /// As the transaction, or the connection, has it.
    outer_caller: Caller,
    /// What it goes on with.
    resume: Option<Resume>,
    /// The call that it stands at.
    call: Option<OwnedCommand>,
    standing: Standing,
    slow: Option<Arc<Slow>>,
    is_busy: bool,
    /// Its call is the transaction's last command, whose reply it waits for.
    awaits_reply: bool,
    what: What,
}

/// What a request asks to be run.
struct Invocation<'a> {
    what: What,
    memory: Arc<Memory>,
    flags: ScriptFlags,
    keys: &'a [&'a [u8]],
    args: &'a [&'a [u8]],
}

// Which script is meant.
impl TurnState {
    /// What clients of this shard are told while a script holds it up.
    #[cold]
    pub(super) fn busy_error(&self) -> CommandError {
        CommandError::other(if self.shared.scripts.is_function_busy() {
            "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
        } else {
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
        })
    }

    /// As `script_reaches_remote_keys`, of one in a transaction.
    pub(super) fn script_may_reach_remote_keys(&self, spec: &CommandSpec, args: Args) -> bool {
        if self.slots.is_single() {
            // Nothing is remembered of it there.
            return true;
        }
        let reach = if spec.role.script_by() == Some(ScriptBy::Function) {
            let libraries = self.shared.scripts.libraries();
            let function = libraries.function(args[1]);
            function
                .map(|(_, function)| self.shared.scripts.memory_of_function(function.name.as_bytes()).reach())
        } else {
            let known = sha_of(spec, args).and_then(|sha| self.shared.scripts.get(&sha));
            known.map(|known| known.memory.reach())
        };
        reach != Some(Reach::Named)
    }

    fn denial_of(
        &self,
        spec: &'static CommandSpec,
        args: Args,
        caller: &Caller,
    ) -> Option<(Arc<User>, Denial)> {
        let user = self.users.by_serial(caller.user)?;
        user.check(spec, args).err().map(|denial| (user.clone(), denial))
    }

    /// `redis.acl_check_cmd`. None: there is no such command.
    fn may_call(&self, run: &Run, args: Args) -> Option<bool> {
        let spec = self.shared.names.find(args)?;
        Some(!self.user_is_gone(&run.caller) && self.denial_of(spec, args, &run.caller).is_none())
    }

    /// A script that takes long may outlive its user. What is replayed is nobody's.
    fn user_is_gone(&self, caller: &Caller) -> bool {
        caller.user != 0 && self.users.by_serial(caller.user).is_none()
    }

    /// A connection for the commands of a script that need one.
    fn connection_of_script(&self, run: &Run) -> Connection {
        let user =
            self.users.by_serial(run.caller.user).cloned().unwrap_or_else(|| self.users.default_user());
        let nobody = Token { index: u32::MAX, generation: u32::MAX };
        let mut connection = Connection::new(run.caller.client_id, nobody, None, user, self.now_ms());
        connection.flags.set(ClientFlag::Authenticated);
        connection.db = run.db;
        connection.output.reply.set_protocol(run.execution.protocol());
        connection
    }
}

impl Scripts {
    /// Forgets what this shard knows when all was flushed.
    fn refresh_scripts(&mut self, turn: &TurnState) {
        let version = turn.shared.scripts.version();
        if version != self.version {
            self.version = version;
            let epoch = turn.shared.scripts.epoch();
            if epoch != self.epoch {
                self.epoch = epoch;
                self.known.clear();
                self.idle.clear();
            }
            self.libraries = turn.shared.scripts.libraries();
            self.functions.clear();
            self.idle.iter_mut().for_each(|vm| vm.keep_libraries(&self.libraries));
        }
    }

    fn known_script(&mut self, turn: &TurnState, sha: &Sha) -> Option<Arc<Known>> {
        if let Some(known) = self.known.get(sha) {
            return Some(known.clone());
        }
        let known = turn.shared.scripts.get(sha)?;
        self.known.insert(*sha, known.clone());
        Some(known)
    }

    /// Lets the server know a script.
    pub(super) fn learn_script(&mut self, turn: &TurnState, text: &[u8]) -> Result<Arc<Known>, CommandError> {
        self.refresh_scripts(turn);
        if let Some(known) = self.known_script(turn, &Sha::of(text)) {
            return Ok(known);
        }
        let script = Script::new(text).map_err(|why| CommandError::other(text!("ERR ", why)))?;
        let mut vm = self.take_vm()?;
        let compiled = vm.compile(&script);
        self.idle.push(vm);
        compiled.map_err(does_not_compile)?;
        let known = turn.shared.scripts.add(script);
        self.known.insert(known.script.sha, known.clone());
        Ok(known)
    }

    fn take_vm(&mut self) -> Result<Vm, CommandError> {
        match self.idle.pop() {
            Some(vm) => Ok(vm),
            None => Vm::new().map_err(CommandError::other),
        }
    }

    /// Keeps the interpreter of a script that has ended. `version`: when it was taken. One of an earlier version has scripts and
    /// libraries that are gone.
    fn keep_vm(&mut self, turn: &TurnState, execution: Execution, version: u64) {
        if let Some(vm) = execution.into_vm().filter(|_| version == turn.shared.scripts.version()) {
            if self.idle.len() < IDLE_MAX {
                self.idle.push(vm);
            }
        }
    }

    fn invocation<'a>(
        &mut self,
        turn: &TurnState,
        spec: &CommandSpec,
        args: &'a [&'a [u8]],
    ) -> Result<Invocation<'a>, CommandError> {
        let by = spec.role.script_by();
        if by == Some(ScriptBy::Function) {
            return self.function_invocation(turn, args);
        }
        let no_script = || CommandError::other("NOSCRIPT No matching script. Please use EVAL.");
        let is_by_sha = by == Some(ScriptBy::Hash);
        let sha = is_by_sha.then(|| Sha::parse(args[1]).ok_or_else(no_script)).transpose()?;
        let (keys, values) = script_keys(args, CommandError::NotInteger)?;
        let known = match sha {
            Some(sha) => {
                self.refresh_scripts(turn);
                self.known_script(turn, &sha).ok_or_else(no_script)?
            }
            None => self.learn_script(turn, args[1])?,
        };
        Ok(Invocation {
            what: What::Script(known.script.clone()),
            flags: known.script.flags,
            memory: known.memory.clone(),
            keys,
            args: values,
        })
    }

    fn memory_of_function(&mut self, turn: &TurnState, name: &Arc<str>) -> Arc<Memory> {
        if let Some(memory) = self.functions.get(name) {
            return memory.clone();
        }
        let memory = turn.shared.scripts.memory_of_function(name.as_bytes());
        self.functions.insert(name.clone(), memory.clone());
        memory
    }

    fn function_invocation<'a>(
        &mut self,
        turn: &TurnState,
        args: &'a [&'a [u8]],
    ) -> Result<Invocation<'a>, CommandError> {
        self.refresh_scripts(turn);
        let libraries = self.libraries.clone();
        let (library, function) =
            libraries.function(args[1]).ok_or_else(|| CommandError::other("ERR Function not found"))?;
        let (keys, values) = script_keys(args, CommandError::other("ERR Bad number of keys provided"))?;
        let called = LibraryFunction { library: library.clone(), name: function.name.clone() };
        Ok(Invocation {
            what: What::Function(called),
            flags: function.flags,
            memory: self.memory_of_function(turn, &function.name),
            keys,
            args: values,
        })
    }

    /// Whether everything has to be held for a script, because it may touch more than the keys that it names. What the server
    /// remembers of it is behind a lock that all shards share; this shard asks once.
    pub(super) fn script_reaches_remote_keys(
        &mut self,
        turn: &TurnState,
        spec: &CommandSpec,
        args: Args,
    ) -> bool {
        if turn.slots.is_single() {
            return false;
        }
        self.refresh_scripts(turn);
        let memory = if spec.role.script_by() == Some(ScriptBy::Function) {
            let libraries = self.libraries.clone();
            libraries.function(args[1]).map(|(_, function)| self.memory_of_function(turn, &function.name))
        } else {
            let known = sha_of(spec, args).and_then(|sha| self.known_script(turn, &sha));
            known.map(|known| known.memory.clone())
        };
        // What is not known, or no script, finds out when it runs.
        memory.is_none_or(|memory| memory.reach() != Reach::Named)
    }

    /// The flags of the script or function that a command would run. None: it declares none, or there is no such one.
    pub(super) fn declared_flags(
        &mut self,
        turn: &TurnState,
        spec: &CommandSpec,
        args: Args,
    ) -> Option<ScriptFlags> {
        self.refresh_scripts(turn);
        let flags = if spec.role.script_by() == Some(ScriptBy::Function) {
            self.libraries.function(args[1]).map(|(_, function)| function.flags)?
        } else {
            match self.known_script(turn, &sha_of(spec, args)?) {
                Some(known) => known.script.flags,
                None if spec.role.script_by() == Some(ScriptBy::Hash) => return None,
                None => Script::new(args[1]).ok()?.flags,
            }
        };
        Some(flags).filter(|flags| !flags.undeclared)
    }
}

// What it says about itself.
fn sha_of(spec: &CommandSpec, args: Args) -> Option<Sha> {
    match spec.role.script_by() {
        Some(ScriptBy::Hash) => Sha::parse(args[1]),
        _ => Some(Sha::of(args[1])),
    }
}

// Before it runs, and each of its calls.
impl Shard {
    /// Everything that a script needs to run, unless it may not.
    fn prepare_script(
        &mut self,
        spec: &'static CommandSpec,
        db: usize,
        args: Args,
        caller: &Caller,
        protocol: Protocol,
    ) -> Result<Box<Run>, CommandError> {
        let Invocation { what, memory, flags, keys, args: values } =
            self.scripts.invocation(&self.turn, spec, args)?;
        let is_read_only_command = matches!(spec.role, Role::Script { is_read_only: true, .. });
        let has_no_memory = !caller.replaying && self.turn.config.memory.maxmemory > 0 && {
            // Inside EXEC nothing is evicted: the commands in front of the script count on their keys.
            if caller.deny_blocking {
                self.lacks_room()
            } else {
                !self.make_room()
            }
        };
        let obeys_master = caller.from_master || caller.replaying;
        if !obeys_master && self.is_stale() && (flags.undeclared || !flags.allow_stale) {
            return Err(if flags.undeclared {
                master_down()
            } else {
                CommandError::other(
                    "MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' and 'allow-stale' flag is not \
                     set on the script.",
                )
            });
        }
        if !flags.undeclared {
            if !flags.no_writes && !obeys_master && self.is_read_only_replica() {
                return Err(CommandError::other(
                    "READONLY Can not run script with write flag on readonly replica",
                ));
            }
            self.check_declared(flags, is_read_only_command, has_no_memory)?;
        }
        let mut vm = self.scripts.take_vm()?;
        // Another shard, or another interpreter, has found that it compiles.
        let ready = match &what {
            What::Script(script) => vm.compile(script).map_err(does_not_compile),
            What::Function(called) => {
                vm.prepare_function(&called.library, &called.name).map_err(CommandError::other)
            }
        };
        if let Err(why) = ready {
            self.scripts.idle.push(vm);
            return Err(why);
        }
        let execution = match vm.start(&what, keys, values, protocol) {
            Ok(execution) => execution,
            Err(vm) => {
                self.scripts.idle.extend(vm.map(|vm| *vm));
                return Err(CommandError::other("ERR no memory for the script"));
            }
        };
        let named = if !self.turn.slots.is_single() {
            let mut named: Vec<u64> = keys.iter().map(|key| fingerprint(key)).collect();
            named.sort_unstable();
            named
        } else {
            Vec::new()
        };
        // Inside EXEC it is the time of the whole.
        let now_us = caller.at_us.unwrap_or(self.turn.now_us);
        Ok(Box::new(Run {
            execution,
            version: self.scripts.version,
            memory,
            command: OwnedCommand::new(spec, db, OwnedArgs::from_slices(args)),
            db,
            caller: Caller { deny_blocking: true, in_script: true, at_us: Some(now_us), ..*caller },
            protocol,
            is_read_only: is_read_only_command || flags.no_writes && !flags.undeclared,
            may_exceed_memory: flags.allow_oom && !flags.undeclared,
            has_no_memory,
            has_written: false,
            named,
            touches_others: false,
            touched: Vec::new(),
            started: Stamp::now(),
            now_us,
            shown_us: now_us,
            outer_caller: *caller,
            resume: Some(Resume::GoOn),
            call: None,
            standing: Standing::Here,
            slow: None,
            is_busy: false,
            awaits_reply: false,
            what,
        }))
    }

    /// What a script has said about itself is held against it before it runs.
    fn check_declared(
        &mut self,
        flags: ScriptFlags,
        is_read_only_command: bool,
        has_no_memory: bool,
    ) -> Result<(), CommandError> {
        if has_no_memory && !flags.allow_oom && !flags.no_writes {
            return Err(CommandError::OutOfMemory);
        }
        if !flags.no_writes {
            if let Some(refusal) = self.journal.disk_refusal(&self.turn) {
                let text = match refusal {
                    CommandError::CannotLog(why) => text!(
                        "MISCONF Redis is configured to persist data to AOF, but it's currently unable to persist to disk. \
                         Writable scripts are blocked. Use 'no-writes' flag for read only scripts. AOF error: ",
                        why
                    ),
                    _ => "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to \
                             disk. Writable scripts are blocked. Use 'no-writes' flag for read only scripts."
                        .into(),
                };
                return Err(CommandError::other(text));
            }
            if is_read_only_command {
                return Err(CommandError::other(
                    "ERR Can not execute a script with write flag using *_ro command.",
                ));
            }
            if self.lacks_replicas() {
                return Err(no_replicas());
            }
        }
        Ok(())
    }

    /// Whether a script may make this call. `Err`: why not, as the script is told.
    fn check_call(&mut self, run: &mut Run, args: Args) -> Result<&'static CommandSpec, Text> {
        let spec = self.shared.names.find(args);
        let checked = spec
            .ok_or_else(|| Text::from("Unknown Redis command called from script"))
            .and_then(|spec| self.call_refusal(run, spec, args).map_or(Ok(spec), Err));
        if let Err(text) = &checked {
            self.stats.count_error(text.strip_prefix(b"-").unwrap_or(b"ERR"));
            if let Some(spec) = spec {
                self.stats.commands[spec.id as usize].rejected.add(1);
            }
        }
        checked
    }

    fn call_refusal(&mut self, run: &mut Run, spec: &'static CommandSpec, args: Args) -> Option<Text> {
        if !spec.accepts(args.len()) {
            return Some("Wrong number of args calling Redis command from script".into());
        }
        if spec.is(Flag::NoScript) && !self.shared.scripts.may_call_all.load(Ordering::Relaxed) {
            return Some("This Redis command is not allowed from script".into());
        }
        if self.turn.user_is_gone(&run.caller) {
            return Some("ACL failure in script: the user does not exist any more".into());
        }
        if let Some((user, denial)) = self.turn.denial_of(spec, args, &run.caller) {
            self.note_denial_of(spec, args, &run.caller, denial, Context::Lua);
            return Some(text!("ACL failure in script: ", denial.text(&user, spec)));
        }
        if run.is_read_only && (spec.is(Flag::Write) || spec.is(Flag::MayReplicate)) {
            return Some("Write commands are not allowed from read-only scripts.".into());
        }
        let obeys_master = run.caller.from_master || run.caller.replaying;
        if !obeys_master && self.is_stale() && !spec.is(Flag::Stale) {
            return Some("Can not execute the command on a stale replica".into());
        }
        if !obeys_master && spec.is(Flag::Write) && self.is_read_only_replica() {
            return Some(text!("-", read_only().text()));
        }
        if !run.has_written && spec.is(Flag::Write) {
            if let Some(refusal) = self.journal.disk_refusal(&self.turn) {
                return Some(text!("-", refusal.text()));
            }
            if self.lacks_replicas() {
                return Some(text!("-", no_replicas().text()));
            }
        }
        if !run.has_written && run.has_no_memory && !run.may_exceed_memory && spec.is(Flag::DenyOom) {
            return Some(text!("-", CommandError::OutOfMemory.text()));
        }
        None
    }
}

/// The keys that a script names, and its other arguments.
fn script_keys<'a>(args: Args<'a>, not_a_number: CommandError) -> Result<(Args<'a>, Args<'a>), CommandError> {
    numbered_keys(&args[2..]).map_err(|why| match why {
        BadCount::NotAnInteger => not_a_number,
        BadCount::Negative => CommandError::other("ERR Number of keys can't be negative"),
        BadCount::TooMany => CommandError::other("ERR Number of keys can't be greater than number of args"),
    })
}
/// Lua quotes what it does not understand. (The line end of the text becomes no blank: it is the last.)
fn does_not_compile(why: Text) -> CommandError {
    CommandError::other(text!("ERR Error compiling script (new function): ", c_text(&why)))
}
