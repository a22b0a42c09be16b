//! One Lua interpreter, with the functions that scripts call.

mod functions;

use self::functions::KnownLibraries;
use super::convert::{take_error, take_reply, Raised};
use super::execution::{Execution, Running, What};
use super::libs;
use super::natives::natives;
use super::source::{Script, Sha};
use crate::resp::{Protocol, Reply, Text};
use crate::runtime::fiber::FiberStack;
use crate::runtime::lua::guard::{self, Guard};
use crate::runtime::lua::{call, compile, interpreter, set_in_readonly, Call, Ended, Kind, Passing};
use mlua::state::{GcIncParams, GcMode};
use mlua::{Function, Lua, Table, Value};
use std::cell::Cell;
use std::ffi::CStr;
use std::rc::Rc;

pub(super) use self::functions::{register_function, Registering};

/// The stack of a script, bytes of address space. Lua's parser and pattern matching recur on it.
const STACK_BYTES: usize = 8 * 1024 * 1024;
/// Collector steps are taken after so many scripts, as Redis does.
const SCRIPTS_PER_STEP: u32 = 50;

/// Percent: how much of what is there the collector looks at while so much is allocated. (Lua's own value is 200. With that an
/// interpreter that runs small scripts grows by three quarters of its size before the collector is through.)
const COLLECTED_PER_ALLOCATED: i32 = 400;

/// An interpreter that has more than this after a script, bytes, is cleaned up before others use it...
const CLEAN_BYTES: usize = 8 * 1024 * 1024;
/// ...unless it has not doubled since it was last cleaned up. At most this share of the limit is left to an interpreter: with more it is
/// cleaned up in any case, and if that does not help, not used again.
const KEPT_SHARE: usize = 16;

const PRELUDE: &str = include_str!("prelude.lua");

/// What a script has come to.
#[derive(Debug)]
pub struct Outcome {
    /// In the client's protocol.
    pub reply: Reply,
    /// The reply is an error that has not been counted yet.
    pub uncounted_error: Option<Vec<u8>>,
    pub failed: bool,
}

pub struct Vm {
    // First, since it must not outlive the interpreter's last handle here.
    guard: Guard<Running>,
    lua: Lua,
    environment: Rc<Environment>,
    /// By the bytes of their hashes. (mlua can hold some thousand functions at a time only.)
    scripts: Table,
    /// The one that was looked up last.
    last: Option<Box<(Sha, Function)>>,
    libraries: Box<KnownLibraries>,
    stack: Option<FiberStack>,
    runs: u32,
    /// What it had when it was last cleaned up.
    cleaned_bytes: Rc<Cell<usize>>,
    is_spent: Rc<Cell<bool>>,
}

/// What scripts find there.
struct Environment {
    /// Of EVAL.
    globals: Table,
    /// Of functions: a table that is empty, but has an `__index`,
    window: Table,
    /// which is in this metatable, and is
    window_index: Table,
    /// this one while functions are called,
    functions: Table,
    /// and this one while a library is loaded.
    libraries: Table,
    error_handler: Function,
}

impl Vm {
    /// `Err`: the system has no memory for it.
    pub fn new() -> Result<Vm, String> {
        Self::build().map_err(|error| format!("ERR no interpreter for scripts: {error}"))
    }

    fn build() -> mlua::Result<Vm> {
        let lua = interpreter()?;
        libs::install(&lua)?;
        let running = Rc::new(Running::default());
        let native = natives(&lua, &running)?;
        let error_handler = native.raw_get("error_handler")?;
        // Its settings are shared by scripts, and by functions, but not by both.
        native.raw_set("cjson", libs::cjson(&lua)?)?;
        let prelude = lua.load(PRELUDE).set_name("=gyre");
        let (globals, window, window_index, functions, libraries): (Table, Table, Table, Table, Table) =
            prelude.call(native)?;
        for name in ["KEYS", "ARGV"] {
            set_in_readonly(&lua, &globals, name, &lua.create_table()?)?;
        }
        let stack = FiberStack::new(STACK_BYTES).map_err(mlua::Error::external)?;
        let scripts = lua.create_table()?;
        let environment = Environment { globals, window, window_index, functions, libraries, error_handler };
        let libraries = Box::new(KnownLibraries::new(&lua)?);
        // What making it has left behind.
        lua.gc_collect()?;
        let throttle = GcIncParams::default().step_multiplier(COLLECTED_PER_ALLOCATED);
        lua.gc_set_mode(GcMode::Incremental(throttle));
        Ok(Vm {
            guard: Guard::new(&lua, running)?,
            lua,
            environment: Rc::new(environment),
            scripts,
            last: None,
            libraries,
            stack: Some(stack),
            runs: 0,
            cleaned_bytes: Rc::default(),
            is_spent: Rc::default(),
        })
    }

    /// Whether it knows the script already.
    pub fn knows(&mut self, sha: &Sha) -> bool {
        self.script(sha).is_some()
    }

    fn script(&mut self, sha: &Sha) -> Option<&Function> {
        if self.last.as_ref().is_none_or(|last| last.0 != *sha) {
            let key = self.lua.create_string(sha.bytes()).ok()?;
            self.last = Some(Box::new((*sha, self.scripts.raw_get(key).ok()?)));
        }
        self.last.as_ref().map(|last| &last.1)
    }

    /// Compiles a script. `Err`: what is wrong with it, by Lua's words.
    pub fn compile(&mut self, script: &Script) -> Result<(), Text> {
        if self.knows(&script.sha) {
            return Ok(());
        }
        let function = compiled(&self.lua, script.code(), c"@user_script")?;
        let key =
            self.lua.create_string(script.sha.bytes()).map_err(|error| Text::from(error.to_string()))?;
        self.scripts.raw_set(key, function).map_err(|error| Text::from(error.to_string()))?;
        self.guard.settle();
        Ok(())
    }

    /// Prepares a script that has been compiled, or a function that has been prepared. None: it has not.
    pub fn start(
        mut self,
        what: &What,
        keys: &[&[u8]],
        args: &[&[u8]],
        protocol: Protocol,
    ) -> Result<Execution, Option<Box<Vm>>> {
        let code = match what {
            What::Script(script) => self.script(&script.sha).cloned(),
            What::Function(called) => self.callback(&called.library, &called.name),
        };
        let Some(code) = code else { return Err(Some(Box::new(self))) };
        let Some(stack) = self.stack.take().or_else(|| FiberStack::new(STACK_BYTES).ok()) else {
            return Err(None);
        };
        self.guard.begin();
        self.runs += 1;
        if self.runs.is_multiple_of(SCRIPTS_PER_STEP) {
            let _ = self.lua.gc_step();
        }
        Ok(Execution::new(self, stack, code, what, keys, args, protocol))
    }

    pub(super) fn running(&self) -> Rc<Running> {
        self.guard.warden().clone()
    }

    pub(super) fn runner(&mut self) -> Runner {
        Runner {
            lua: self.lua.clone(),
            environment: self.environment.clone(),
            running: self.running(),
            cleaned_bytes: self.cleaned_bytes.clone(),
            is_spent: self.is_spent.clone(),
        }
    }

    /// Whether it is not to be used again.
    pub(super) fn is_spent(&self) -> bool {
        self.is_spent.get()
    }

    pub(super) fn write_back(&mut self, stack: FiberStack) {
        self.stack = Some(stack);
        self.guard.settle();
    }
}

/// `Err`: what is wrong with the code, by Lua's words, which quote it.
fn compiled(lua: &Lua, code: &[u8], name: &CStr) -> Result<Function, Text> {
    match compile(lua, code, name) {
        Ok(Value::Function(function)) => Ok(function),
        Ok(Value::String(why)) => Err(why.as_bytes().to_vec().into()),
        Ok(_) => Err("Lua gives no reason".into()),
        Err(mlua::Error::MemoryError(_)) => Err("not enough memory".into()),
        Err(error) => Err(error.to_string().into()),
    }
}

/// Runs on the script's stack.
pub(super) struct Runner {
    lua: Lua,
    environment: Rc<Environment>,
    running: Rc<Running>,
    cleaned_bytes: Rc<Cell<usize>>,
    is_spent: Rc<Cell<bool>>,
}

impl Runner {
    pub fn run(
        &self,
        code: Function,
        what: &What,
        texts: &[&[u8]],
        key_count: usize,
        protocol: Protocol,
    ) -> Outcome {
        let mut reply = Reply::new(protocol);
        let mut raised = Raised::default();
        let mut end = End::Unknown(Vec::new());
        let (globals, passing) = match what {
            What::Script(_) => (&self.environment.globals, Passing::Globals),
            What::Function(_) => (&self.environment.window, Passing::Arguments),
        };
        let error_handler = &self.environment.error_handler;
        let script = Call { code: &code, globals, error_handler, texts, split: key_count, passing };
        let called = call(&self.lua, &script, |ended, values| {
            end = if ended == Ended::Returned {
                match take_reply(values, &mut reply, self.running.protocol.get(), &mut raised) {
                    true => End::ReturnedError,
                    false => End::Returned,
                }
            } else if take_error(values, &mut raised) {
                End::Raised
            } else {
                // The handler could not run.
                End::Unknown(match values.last() {
                    Kind::Text(text) => text.to_vec(),
                    _ => Vec::new(),
                })
            };
        });
        // Cleaning up is not killed with the script.
        let is_killed = self.running.is_killed.replace(false);
        self.clean_up();
        self.running.is_killed.set(is_killed || self.running.is_killed.get());
        let error = match (called, end) {
            _ if self.running.is_killed.get() => {
                let place = self.running.killed_at.take();
                raised.text = b"ERR Script killed by user with SCRIPT KILL...".to_vec();
                raised.source = place.source;
                raised.line = place.line.to_string().into_bytes();
                Some((told(&raised, &what.name()), false))
            }
            (Err(error), _) => {
                let why = match error {
                    // Without mlua's list of the functions that ran.
                    mlua::Error::RuntimeError(text) => text.lines().next().unwrap_or_default().to_owned(),
                    mlua::Error::MemoryError(_) => "not enough memory".to_owned(),
                    error => error.to_string(),
                };
                Some((format!("ERR Error running script {}, {why}", what.name()).into_bytes(), false))
            }
            (Ok(()), End::Returned) => None,
            (Ok(()), End::ReturnedError) => Some((raised.text, raised.is_counted)),
            (Ok(()), End::Raised) => Some((told(&raised, &what.name()), raised.is_counted)),
            (Ok(()), End::Unknown(why)) => {
                let why = if why.is_empty() { &b"execution failure"[..] } else { &why };
                let text = [b"ERR Error running script ", what.name().as_bytes(), b", ", why].concat();
                Some((text, false))
            }
        };
        let failed = error.is_some();
        let mut uncounted_error = None;
        if let Some((text, is_counted)) = error {
            reply.clear();
            reply.error(&text);
            uncounted_error = Some(text).filter(|_| !is_counted);
        }
        Outcome { reply, uncounted_error, failed }
    }

    /// Leaves the interpreter small to the next script. A long collection gives others their turns, as the script did.
    fn clean_up(&self) {
        let kept_max = guard::memory_limit() / KEPT_SHARE;
        if self.lua.used_memory() < CLEAN_BYTES.max(2 * self.cleaned_bytes.get()).min(kept_max) {
            return;
        }
        let forgotten = ["KEYS", "ARGV"].into_iter().all(|name| {
            let empty = self.lua.create_table();
            empty
                .and_then(|empty| set_in_readonly(&self.lua, &self.environment.globals, name, &empty))
                .is_ok()
        });
        let is_collected = forgotten && self.lua.gc_collect().is_ok();
        let used = self.lua.used_memory();
        self.cleaned_bytes.set(used);
        // What is still there somebody keeps who should not, or who has caught an error for memory. Others need the allowance.
        self.is_spent.set(!is_collected || used > kept_max);
    }
}

/// How a script has come to its end.
enum End {
    Returned,
    ReturnedError,
    Raised,
    /// It has raised what is no error of a script's; a text, if there is one.
    Unknown(Vec<u8>),
}

/// An error that a script has raised, as its client is told.
fn told(raised: &Raised, name: &str) -> Vec<u8> {
    let mut text = raised.text.clone();
    if !raised.source.is_empty() && !raised.line.is_empty() {
        let place = [b" script: ", name.as_bytes(), b", on ", &raised.source, b":", &raised.line, b"."];
        text.extend_from_slice(&place.concat());
    }
    text
}

#[cfg(test)]
mod tests;
