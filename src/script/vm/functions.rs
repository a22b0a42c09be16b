//! The functions of libraries in one interpreter: how a library registers them, and where they are kept to be called.
//!
//! An interpreter runs the code of a library when one of its functions is first called there, and again when the library has been
//! replaced. Variables of the library that its functions share are those of this interpreter.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlua::{Function, Lua, Table, Value};

use super::{compiled, Vm};
use crate::script::execution::Running;
use crate::script::libraries::Libraries;
use crate::script::library::{checked_name, FunctionInfo, Library};
use crate::script::libs::raise::Failure;
use crate::script::natives::failed;
use crate::script::source::ScriptFlags;

/// The code of a library that has been loaded already may take so long to run again. It has no clock and no random numbers, so this
/// is for machines that stand still.
const PREPARE_TIME_MAX: Duration = Duration::from_secs(5);

/// A function, as a library has registered it in this interpreter.
#[derive(Debug)]
pub struct Registered {
    pub info: FunctionInfo,
    callback: Function,
}

/// A library of which this interpreter has the functions.
pub struct Known {
    library: Arc<Library>,
    callbacks: HashMap<Arc<str>, Function, foldhash::fast::RandomState>,
}

impl Known {
    pub fn new(library: &Arc<Library>, registered: Vec<Registered>) -> Known {
        let callbacks = registered.into_iter().map(|function| (function.info.name, function.callback));
        Known { library: library.clone(), callbacks: callbacks.collect() }
    }
}

impl Vm {
    /// Runs the Lua of a library; returns what it registers. `Err` is for the client. `is_known`: it has been loaded elsewhere, where
    /// it has logged what it logs.
    pub(in crate::script) fn register(
        &mut self,
        lua: &[u8],
        time_max: Option<Duration>,
        is_known: bool,
    ) -> Result<Vec<Registered>, String> {
        let code = compiled(&self.lua, lua, "@user_function")
            .map_err(|why| format!("ERR Error compiling function: {why}"))?;
        *self.running.registering.borrow_mut() = Some(Vec::new());
        self.running.load_until.set(time_max.and_then(|time_max| Instant::now().checked_add(time_max)));
        let outcome = self.load.call::<(bool, Value)>((code, is_known));
        let registered = self.running.registering.take().unwrap_or_default();
        self.running.load_until.set(None);
        let problem = match outcome {
            Ok((true, _)) => return Ok(registered),
            Ok((false, problem)) => told(&problem),
            Err(error) => format!("ERR {error}"),
        };
        Err(format!("ERR Error registering functions: {problem}"))
    }

    /// Makes a function ready to be called, by running the code of its library where that is necessary.
    pub fn prepare_function(&mut self, library: &Arc<Library>, function: &str) -> Result<(), String> {
        if !self.libraries.get(&library.name).is_some_and(|known| Arc::ptr_eq(&known.library, library)) {
            self.libraries.remove(&library.name);
            let registered = self.register(library.lua(), Some(PREPARE_TIME_MAX), true)?;
            self.adopt([Known::new(library, registered)]);
        }
        match self.callback(library, function) {
            Some(_) => Ok(()),
            None => Err("ERR Function not found".to_owned()),
        }
    }

    /// Forgets the libraries that are not among these (any more).
    pub fn keep_libraries(&mut self, libraries: &Libraries) {
        let before = self.libraries.len();
        self.libraries.retain(|name, known| {
            libraries.get(name.as_bytes()).is_some_and(|library| Arc::ptr_eq(library, &known.library))
        });
        if self.libraries.len() < before {
            let _ = self.lua.gc_collect();
        }
    }

    pub(in crate::script) fn adopt(&mut self, libraries: impl IntoIterator<Item = Known>) {
        self.libraries.extend(libraries.into_iter().map(|known| (known.library.name.clone(), known)));
    }

    pub(super) fn callback(&self, library: &Arc<Library>, function: &str) -> Option<Function> {
        let known = self.libraries.get(&library.name).filter(|known| Arc::ptr_eq(&known.library, library))?;
        known.callbacks.get(function).cloned()
    }
}

/// What a library has ended with instead of registering functions.
fn told(problem: &Value) -> String {
    match problem {
        Value::Table(table) => match table.raw_get("err") {
            Ok(Value::String(text)) => text.to_string_lossy(),
            _ => "(null)".to_owned(),
        },
        Value::String(text) => format!("ERR {}", text.to_string_lossy()),
        _ => "ERR unknown error".to_owned(),
    }
}

/// `redis.register_function`.
pub fn register_function(lua: &Lua, running: &Running, args: &[Value]) -> Result<Value, Failure> {
    if running.registering.borrow().is_none() {
        return Err(failed(lua, "redis.register_function can only be called on FUNCTION LOAD command"));
    }
    let given = match args {
        [Value::Table(named)] => named_arguments(lua, named)?,
        [_] => Err(
            "calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).",
        ),
        [name, callback] => positional_arguments(lua, name, callback)?,
        _ => Err("wrong number of arguments to redis.register_function"),
    };
    let added = given.and_then(|given| {
        let info = FunctionInfo {
            name: checked_name(&given.name)?,
            description: given.description,
            flags: given.flags,
        };
        let mut registering = running.registering.borrow_mut();
        let registered = registering.get_or_insert_default();
        if registered.iter().any(|function| function.info.name == info.name) {
            return Err("Function already exists in the library");
        }
        registered.push(Registered { info, callback: given.callback });
        Ok(())
    });
    added.map(|()| Value::Nil).map_err(|why| failed(lua, why))
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
