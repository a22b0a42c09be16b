//! The functions of libraries in one interpreter: how a library registers them, and where they are kept to be called.
//!
//! An interpreter runs the code of a library when one of its functions is first called there, and again when the library has been
//! replaced. Variables of the library that its functions share are those of this interpreter.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlua::{Function, Lua, Table, Value};

use super::{compiled, Vm, STACK_BYTES};
use crate::resp::{c_text, Text};
use crate::runtime::fiber::{Fiber, FiberStack, Step, Suspender};
use crate::runtime::lua::{call_alone, set_in_readonly};
use crate::script::execution::Running;
use crate::script::libraries::Libraries;
use crate::script::library::{checked_name, FunctionInfo, Library};
use crate::script::source::ScriptFlags;
use crate::text;

/// The code of a library that has been loaded already may take so long to run again. It has no clock and no random numbers, so this
/// is for machines that stand still.
const PREPARE_TIME_MAX: Duration = Duration::from_secs(5);

/// The libraries of which an interpreter has the functions.
pub struct KnownLibraries {
    by_name: HashMap<Arc<str>, Arc<Library>, foldhash::fast::RandomState>,
    /// A table of functions for each of them, by its name. (mlua can hold some thousand functions at a time only.)
    callbacks: Table,
    /// The same of libraries that are being loaded.
    fresh: Table,
}

impl KnownLibraries {
    pub fn new(lua: &Lua) -> mlua::Result<KnownLibraries> {
        let (callbacks, fresh) = (lua.create_table()?, lua.create_table()?);
        Ok(KnownLibraries { by_name: HashMap::default(), callbacks, fresh })
    }
}

/// What a library that is being loaded has registered.
pub struct Registering {
    functions: Vec<FunctionInfo>,
    /// By their names.
    callbacks: Table,
}

impl Vm {
    /// Has libraries loaded that `register` registers, and takes over those that are returned.
    pub(in crate::script) fn loading(
        &mut self,
        load: impl FnOnce(&mut Vm) -> Result<Vec<Arc<Library>>, Text>,
    ) -> Result<Vec<Arc<Library>>, Text> {
        let loaded = load(self);
        for library in loaded.iter().flatten() {
            let moved = self.libraries.fresh.raw_get::<Value>(&*library.name);
            if moved.and_then(|callbacks| self.libraries.callbacks.raw_set(&*library.name, callbacks)).is_ok()
            {
                self.libraries.by_name.insert(library.name.clone(), library.clone());
            }
        }
        // When that fails there is no memory, and they are overwritten the next time.
        let _ = self.libraries.fresh.clear();
        loaded
    }

    /// Runs the Lua of a library; returns what it registers. `Err` is for the client. `is_known`: it has been loaded elsewhere, where
    /// it has logged what it logs.
    pub(in crate::script) fn register(
        &mut self,
        name: &str,
        lua: &[u8],
        time_max: Option<Duration>,
        is_known: bool,
    ) -> Result<Vec<FunctionInfo>, Text> {
        let code = compiled(&self.lua, lua, c"@user_function")
            .map_err(|why| text!("ERR Error compiling function: ", why))?;
        let no_memory =
            |error: mlua::Error| Text::from(format!("ERR Error registering functions: ERR {error}"));
        let callbacks = self.lua.create_table().map_err(no_memory)?;
        let running = self.running();
        *running.registering.borrow_mut() = Some(Registering { functions: Vec::new(), callbacks });
        running.load_until.set(time_max.and_then(|time_max| Instant::now().checked_add(time_max)));
        running.is_load_late.set(false);
        running.is_killed.set(false);
        running.is_loaded_again.set(is_known);
        let outcome = self.run_to_its_end(code);
        running.load_until.set(None);
        running.is_loaded_again.set(false);
        let registered = running.registering.take();
        let problem = match (outcome, registered) {
            _ if running.is_load_late.get() => "ERR FUNCTION LOAD timeout".into(),
            (Ok((true, _)), Some(registered)) => {
                self.libraries.fresh.raw_set(name, registered.callbacks).map_err(no_memory)?;
                return Ok(registered.functions);
            }
            (Ok((_, problem)), _) => told(&problem),
            (Err(error), _) => format!("ERR {error}").into(),
        };
        Err(text!("ERR Error registering functions: ", problem))
    }

    /// Runs the code of a library on a stack as scripts have it.
    fn run_to_its_end(&mut self, code: Function) -> mlua::Result<(bool, Value)> {
        let stack = match self.stack.take() {
            Some(stack) => stack,
            None => FiberStack::new(STACK_BYTES).map_err(mlua::Error::external)?,
        };
        let (lua, environment) = (self.lua.clone(), self.environment.clone());
        let (nobody, running) = (Suspender::<(), ()>::default(), self.running());
        let mut fiber = Fiber::new(stack, &nobody, move || {
            set_in_readonly(&lua, &environment.window_index, "__index", &environment.libraries)?;
            let ended = call_alone(&lua, &code, &environment.window, &environment.error_handler);
            running.load_until.set(None);
            set_in_readonly(&lua, &environment.window_index, "__index", &environment.functions)?;
            ended
        });
        let Some(Step::Ended(outcome)) = fiber.resume(()) else {
            return Err(mlua::Error::runtime("a library cannot stand still"));
        };
        self.stack = fiber.into_stack();
        self.guard.settle();
        outcome
    }

    /// Makes a function ready to be called, by running the code of its library where that is necessary.
    pub fn prepare_function(&mut self, library: &Arc<Library>, function: &str) -> Result<(), Text> {
        if !self.has(library) {
            self.forget(&library.name);
            self.loading(|vm| {
                vm.register(&library.name, library.lua(), Some(PREPARE_TIME_MAX), true)?;
                Ok(vec![library.clone()])
            })?;
        }
        match self.callback(library, function) {
            Some(_) => Ok(()),
            None => Err("ERR Function not found".into()),
        }
    }

    /// Forgets the libraries that are not among these (any more).
    pub fn keep_libraries(&mut self, libraries: &Libraries) {
        let is_kept = |library: &Arc<Library>| {
            libraries.get(library.name.as_bytes()).is_some_and(|kept| Arc::ptr_eq(kept, library))
        };
        let gone: Vec<Arc<str>> = self
            .libraries
            .by_name
            .values()
            .filter(|library| !is_kept(library))
            .map(|it| it.name.clone())
            .collect();
        gone.iter().for_each(|name| self.forget(name));
        if !gone.is_empty() {
            let _ = self.lua.gc_collect();
        }
    }

    fn forget(&mut self, name: &str) {
        self.libraries.by_name.remove(name);
        // When that fails there is no memory, and they are overwritten the next time.
        let _ = self.libraries.callbacks.raw_set(name, Value::Nil);
    }

    fn has(&self, library: &Arc<Library>) -> bool {
        self.libraries.by_name.get(&library.name).is_some_and(|known| Arc::ptr_eq(known, library))
    }

    pub(super) fn callback(&self, library: &Arc<Library>, function: &str) -> Option<Function> {
        let callbacks: Table =
            self.libraries.callbacks.raw_get(&*library.name).ok().filter(|_| self.has(library))?;
        callbacks.raw_get(function).ok()
    }
}

/// What a library has ended with instead of registering functions.
fn told(problem: &Value) -> Text {
    match problem {
        Value::Table(table) => match table.raw_get("err") {
            Ok(Value::String(text)) => c_text(&text.as_bytes()).to_vec().into(),
            _ => "(null)".into(),
        },
        Value::String(text) => text!("ERR ", c_text(&text.as_bytes())),
        _ => "ERR unknown error".into(),
    }
}

/// `redis.register_function`. The inner `Err` is what is wrong with its arguments.
pub(in crate::script) fn register_function(lua: &Lua, running: &Running, args: &[Value]) -> Read<()> {
    // A collector that runs in the middle of it may call it again.
    let mut registering = running.registering.try_borrow_mut().ok();
    let Some(registering) = registering.as_mut().and_then(|registering| registering.as_mut()) else {
        return Ok(Err("redis.register_function can only be called on FUNCTION LOAD command"));
    };
    let given = match args {
        [Value::Table(named)] => named_arguments(lua, named)?,
        [_] => Err("calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments)."),
        [name, callback] => positional_arguments(lua, name, callback)?,
        _ => Err("wrong number of arguments to redis.register_function"),
    };
    let named = given.and_then(|given| Ok((checked_name(&given.name)?, given)));
    let (name, given) = match named {
        Ok(named) => named,
        Err(why) => return Ok(Err(why)),
    };
    if !registering.callbacks.raw_get::<Value>(&*name)?.is_nil() {
        return Ok(Err("Function already exists in the library"));
    }
    registering.callbacks.raw_set(&*name, given.callback)?;
    registering.functions.push(FunctionInfo { name, description: given.description, flags: given.flags });
    Ok(Ok(()))
}

struct Given {
    name: Vec<u8>,
    description: Option<Box<[u8]>>,
    flags: ScriptFlags,
    callback: Function,
}

type Read<T> = mlua::Result<Result<T, &'static str>>;

fn positional_arguments(lua: &Lua, name: &Value, callback: &Value) -> Read<Given> {
    let Some(name) = text_of(lua, name)? else {
        return Ok(Err("first argument to redis.register_function must be a string"));
    };
    let Value::Function(callback) = callback else {
        return Ok(Err("second argument to redis.register_function must be a function"));
    };
    Ok(Ok(Given { name, description: None, flags: ScriptFlags::default(), callback: callback.clone() }))
}

fn named_arguments(lua: &Lua, named: &Table) -> Read<Given> {
    let (mut name, mut description, mut flags, mut callback) = (None, None, ScriptFlags::default(), None);
    for pair in named.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let Some(mut key) = text_of(lua, &key)? else {
            return Ok(Err("named argument key given to redis.register_function is not a string"));
        };
        key.make_ascii_lowercase();
        match (&key[..], value) {
            (b"function_name", value) => match text_of(lua, &value)? {
                Some(text) => name = Some(text),
                None => {
                    return Ok(Err(
                        "function_name argument given to redis.register_function must be a string",
                    ))
                }
            },
            (b"description", value) => match text_of(lua, &value)? {
                Some(text) => description = Some(text.into_boxed_slice()),
                None => {
                    return Ok(Err("description argument given to redis.register_function must be a string"))
                }
            },
            (b"callback", Value::Function(function)) => callback = Some(function),
            (b"callback", _) => {
                return Ok(Err("callback argument given to redis.register_function must be a function"))
            }
            (b"flags", Value::Table(list)) => match flags_of(lua, &list)? {
                Some(given) => flags = given,
                None => return Ok(Err("unknown flag given")),
            },
            (b"flags", _) => {
                return Ok(Err(
                    "flags argument to redis.register_function must be a table representing function flags",
                ))
            }
            _ => return Ok(Err("unknown argument given to redis.register_function")),
        }
    }
    let Some(name) = name else {
        return Ok(Err("redis.register_function must get a function name argument"));
    };
    let Some(callback) = callback else {
        return Ok(Err("redis.register_function must get a callback argument"));
    };
    Ok(Ok(Given { name, description, flags, callback }))
}

/// None: one of them is not known.
fn flags_of(lua: &Lua, list: &Table) -> mlua::Result<Option<ScriptFlags>> {
    let mut flags = ScriptFlags::default();
    for name in list.sequence_values::<Value>() {
        let Some(mut name) = text_of(lua, &name?)? else { return Ok(None) };
        name.make_ascii_lowercase();
        if !flags.set(&name) {
            return Ok(None);
        }
    }
    Ok(Some(flags))
}

/// A text, or a number as Lua writes it.
fn text_of(lua: &Lua, value: &Value) -> mlua::Result<Option<Vec<u8>>> {
    match value {
        Value::String(_) | Value::Integer(_) | Value::Number(_) => {
            Ok(lua.coerce_string(value.clone())?.map(|text| text.as_bytes().to_vec()))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests;
