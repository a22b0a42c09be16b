//! What the server gives to an interpreter: the functions behind `redis.*` and `math.random`. The prelude makes of them what
//! scripts find.

use super::convert::{error_table, put_error, put_reply};
use super::execution::{Progress, Resume, Running};
use super::libs::raise::{function_of_many_that_may_fail, Failure};
use super::source::Sha;
use super::vm::register_function;
use crate::base::double::format_double;
use crate::base::log::Level;
use crate::command::OwnedArgs;
use crate::resp::Protocol;
use crate::runtime::lua::{self, calling, guard, Argument, Callee, Encoded, Native, Values};
use mlua::{Lua, Table, Value};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

type Answer = Result<Value, Failure>;

/// The table that the prelude gets.
pub fn natives(lua: &Lua, running: &Rc<Running>) -> mlua::Result<Table> {
    let native = lua.create_table()?;
    let shared = running.clone();
    let add = |name: &str, function: fn(&Lua, &Running, &[Value]) -> Answer| {
        let running = shared.clone();
        let function = move |lua: &Lua, args: Table, count: usize| {
            // None of these takes more than a few.
            let args =
                (1..=count.min(FEW)).map(|index| args.raw_get(index)).collect::<mlua::Result<Vec<_>>>()?;
            function(lua, &running, &args)
        };
        native.raw_set(name, function_of_many_that_may_fail(lua, function)?)
    };
    add("setresp", set_protocol)?;
    add("set_repl", set_propagation)?;
    add("sha1hex", sha1hex)?;
    add("error_reply", error_reply)?;
    add("register_function", |lua, running, args| {
        register_function(lua, running, args)?.map_err(|why| failed(lua, why))?;
        Ok(Value::Nil)
    })?;

    let commands = Rc::new(Commands {
        running: running.clone(),
        arguments: RefCell::default(),
        argument_bytes: Cell::new(0),
    });
    native.raw_set("call", calling(lua, commands.clone(), true)?)?;
    native.raw_set("pcall", calling(lua, commands, false)?)?;
    let context = running.clone();
    let check = move |lua: &Lua, args: Table, count: usize| may_call(lua, &context, &args, count);
    native.raw_set("acl_check_cmd", function_of_many_that_may_fail(lua, check)?)?;
    let context = running.clone();
    let log = move |lua: &Lua, args: Table, count: usize| log(lua, &context, &args, count);
    native.raw_set("log", function_of_many_that_may_fail(lua, log)?)?;
    for (name, function) in [
        ("error_handler", Native::ErrorHandler),
        ("missing", Native::Missing),
        ("status_reply", Native::StatusReply),
        ("yes", Native::True),
        ("no", Native::False),
        ("nothing", Native::Nothing),
    ] {
        native.raw_set(name, lua::native(lua, function)?)?;
    }
    native.raw_set("protect", lua.create_function(|lua, table: Table| lua::make_readonly(lua, &table))?)?;
    native.raw_set("string_metatable", lua::string_metatable(lua)?)?;

    let mut numbers = crate::REDIS_VERSION.split('.').map(|number| number.parse().unwrap_or(0));
    let version = (0..3).fold(0_u32, |version, _| version << 8 | numbers.next().unwrap_or(0));
    native.raw_set("version", crate::REDIS_VERSION)?;
    native.raw_set("version_num", version)?;
    add_random(lua, &native)?;
    Ok(native)
}

/// Arguments that are looked at, of functions that take a few.
const FEW: usize = 3;

/// Raises a table with the text, as the `redis` functions do.
fn failed(lua: &Lua, text: &str) -> Failure {
    match error_table(lua, text.as_bytes()) {
        Ok(table) => Failure::Raw(Value::Table(table)),
        Err(error) => Failure::Lua(error),
    }
}

const NO_ARGUMENT: &str = "Please specify at least one argument for this redis lib call";
const NOT_ENOUGH_MEMORY: &str = "not enough memory";
const WRONG_ARGUMENT: &str = "Lua redis lib command arguments must be strings or integers";

/// `redis.call` and `redis.pcall`.
struct Commands {
    running: Rc<Running>,
    /// Of the call that has begun. None: one of them cannot be one.
    arguments: RefCell<Option<OwnedArgs>>,
    /// Of its texts.
    argument_bytes: Cell<usize>,
}

/// In front of an error that does not count as a failed command yet; no reply begins so.
const UNCOUNTED: u8 = 0;

impl Commands {
    fn refused(text: &[u8], is_counted: bool) -> Encoded {
        let mark = if is_counted { b'-' } else { UNCOUNTED };
        // A single word with a code gets another when it is put.
        let (code, text) = text.strip_prefix(b"-").map_or((&b"ERR "[..], text), |text| (b"", text));
        Encoded { bytes: [&[mark], code, text, b"\r\n"].concat(), is_error: true }
    }
}

impl Callee for Commands {
    fn begin(&self) {
        self.arguments.replace(Some(OwnedArgs::default()));
        self.argument_bytes.set(0);
    }

    fn argument(&self, argument: Argument) {
        let mut arguments = self.arguments.borrow_mut();
        let Some(owned) = &mut *arguments else { return };
        match argument {
            Argument::Text(text) => {
                // One text may be there many times over.
                let bytes = self.argument_bytes.get().saturating_add(text.len());
                self.argument_bytes.set(bytes);
                if bytes <= guard::memory_limit() {
                    owned.push(text);
                }
            }
            Argument::Number(number) => push_number(owned, number),
            Argument::Other => *arguments = None,
        }
    }

    fn call(&self) -> Option<Encoded> {
        let args = match self.arguments.take() {
            None => return Some(Commands::refused(WRONG_ARGUMENT.as_bytes(), false)),
            _ if self.argument_bytes.get() > guard::memory_limit() => {
                return Some(Commands::refused(NOT_ENOUGH_MEMORY.as_bytes(), false));
            }
            Some(args) if args.is_empty() => return Some(Commands::refused(NO_ARGUMENT.as_bytes(), false)),
            Some(args) => args,
        };
        let answer = self.running.ask(Progress::Call(args));
        if self.running.is_killed.get() {
            return None;
        }
        Some(match answer {
            Some(Resume::Reply(bytes)) => Encoded { is_error: bytes.first() == Some(&b'-'), bytes },
            Some(Resume::Refused(text)) => Commands::refused(&text, true),
            _ => Commands::refused(b"redis.call/pcall can only be called inside a script invocation", false),
        })
    }

    fn ended_at(&self, place: guard::CodeLine) {
        self.running.killed_at.replace(place);
    }

    fn put(&self, encoded: &[u8], values: &mut Values) {
        match encoded.split_first() {
            Some((&UNCOUNTED, line)) => put_error(values, line, false),
            _ => put_reply(values, encoded),
        }
    }
}

fn may_call(lua: &Lua, running: &Running, args: &Table, count: usize) -> Answer {
    let args = command_args(args, count).map_err(|why| failed(lua, why))?;
    match running.ask(Progress::AskPermission(args)) {
        Some(Resume::Permission(Some(allowed))) => Ok(Value::Boolean(allowed)),
        Some(Resume::Permission(None)) => Err(failed(lua, "Invalid command passed to redis.acl_check_cmd()")),
        _ => Err(failed(lua, "redis.acl_check_cmd can only be called inside a script invocation")),
    }
}

fn command_args(args: &Table, count: usize) -> Result<OwnedArgs, &'static str> {
    if count == 0 {
        return Err(NO_ARGUMENT);
    }
    let mut owned = OwnedArgs::default();
    for index in 1..=count {
        match args.raw_get(index).map_err(|_| WRONG_ARGUMENT)? {
            Value::String(text) => owned.push(&text.as_bytes()),
            Value::Integer(number) => push_number(&mut owned, number as f64),
            Value::Number(number) => push_number(&mut owned, number),
            _ => return Err(WRONG_ARGUMENT),
        }
    }
    Ok(owned)
}

fn push_number(args: &mut OwnedArgs, number: f64) {
    if number.trunc() == number && number.abs() < 9.0e18 {
        args.push(itoa::Buffer::new().format(number as i64).as_bytes());
    } else {
        args.push(format_double(number).as_bytes());
    }
}

fn set_protocol(lua: &Lua, running: &Running, args: &[Value]) -> Answer {
    let [version] = args else { return Err(failed(lua, "redis.setresp() requires one argument.")) };
    running.protocol.set(match number(version).map(f64::trunc) {
        Some(2.0) => Protocol::Resp2,
        Some(3.0) => Protocol::Resp3,
        _ => return Err(failed(lua, "RESP version must be 2 or 3.")),
    });
    Ok(Value::Nil)
}

fn set_propagation(lua: &Lua, running: &Running, args: &[Value]) -> Answer {
    let [flags] = args else { return Err(failed(lua, "redis.set_repl() requires one argument.")) };
    let flags = number(flags).unwrap_or(0.0);
    if !(0.0..4.0).contains(&flags) {
        let text = "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
        return Err(failed(lua, text));
    }
    running.propagation.set(flags as u8);
    Ok(Value::Nil)
}

fn sha1hex(lua: &Lua, _: &Running, args: &[Value]) -> Answer {
    let [value] = args else { return Err(failed(lua, "wrong number of arguments")) };
    let sha = Sha::of(&text(value).unwrap_or_default());
    Ok(Value::String(lua.create_string(sha.bytes())?))
}

fn error_reply(lua: &Lua, _: &Running, args: &[Value]) -> Answer {
    let [Value::String(text)] = args else {
        return Ok(Value::Table(error_table(lua, b"wrong number or type of arguments")?));
    };
    let text = text.as_bytes();
    let text = if text.starts_with(b"-") { text.to_vec() } else { [b"-", &text[..]].concat() };
    Ok(Value::Table(error_table(lua, &text)?))
}

fn log(lua: &Lua, running: &Running, args: &Table, count: usize) -> Answer {
    if running.is_loaded_again.get() {
        return Ok(Value::Nil);
    }
    if count < 2 {
        return Err(failed(lua, "redis.log() requires two arguments or more."));
    }
    let Some(level) = number(&args.raw_get(1)?) else {
        return Err(failed(lua, "First argument must be a number (log level)."));
    };
    let level = match level as i64 {
        0 => Level::Debug,
        1 => Level::Verbose,
        2 => Level::Notice,
        3 => Level::Warning,
        _ => return Err(failed(lua, "Invalid debug level.")),
    };
    let mut words: Vec<Vec<u8>> = Vec::new();
    for index in 2..=count {
        words.extend(text(&args.raw_get(index)?));
    }
    crate::log_text!(level, words.join(&b' '));
    Ok(Value::Nil)
}

/// `math.random` and `math.randomseed`, by the generator that Redis has in their place: drand48's.
fn add_random(lua: &Lua, native: &Table) -> mlua::Result<()> {
    const MAX: f64 = i32::MAX as f64;
    let state = Rc::new(Cell::new(0x330e_u64));
    let seeded = state.clone();
    let random = function_of_many_that_may_fail(lua, move |_, args, count| {
        state.set(state.get().wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & 0xffff_ffff_ffff);
        let share = ((state.get() >> 17) as f64 % MAX) / MAX;
        let bound = |index: usize| -> Result<f64, Failure> {
            let bound = number(&args.raw_get(index)?).map(f64::trunc);
            bound.ok_or_else(|| Failure::argument(index, "number expected"))
        };
        Ok(match count {
            0 => share,
            1 => match bound(1)? {
                upper if upper >= 1.0 => (share * upper).floor() + 1.0,
                _ => return Err(Failure::argument(1, "interval is empty")),
            },
            2 => match (bound(1)?, bound(2)?) {
                (lower, upper) if lower <= upper => (share * (upper - lower + 1.0)).floor() + lower,
                _ => return Err(Failure::argument(2, "interval is empty")),
            },
            _ => return Err(Failure::message("wrong number of arguments")),
        })
    })?;
    native.raw_set("random", random)?;
    let seed = function_of_many_that_may_fail(lua, move |_, args, _| {
        let seed = number(&args.raw_get(1)?).ok_or_else(|| Failure::argument(1, "number expected"))?;
        seeded.set(u64::from(seed as i64 as u32) << 16 | 0x330e);
        Ok(())
    })?;
    native.raw_set("randomseed", seed)
}

/// A number, or a text that is one, as Lua takes it.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        Value::String(text) => std::str::from_utf8(&text.as_bytes()).ok()?.trim().parse().ok(),
        _ => None,
    }
}

/// A text, or a number as one.
fn text(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(number) => Some(number.to_string().into_bytes()),
        Value::Number(number) => Some(format_double(*number).as_bytes().to_vec()),
        _ => None,
    }
}
