//! One Lua interpreter, with the functions that scripts call.

mod functions;

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use corosensei::stack::DefaultStack;
use mlua::{Function, HookTriggers, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState};

pub(super) use self::functions::{Known, Registered};
use super::convert::{error_table, lua_to_reply, reply_to_lua};
use super::execution::{Execution, Progress, Resume, Running, What};
use super::libs;
use super::source::{Script, Sha};
use crate::observe::log::Level;
use crate::resp::{format_double, Protocol, Reply};
use crate::txn::message::OwnedArgs;

/// The stack of a script, bytes of address space. Lua's parser and pattern matching recur on it.
const STACK_BYTES: usize = 4 * 1024 * 1024;
/// Instructions between two looks at the time.
const INSTRUCTIONS_PER_LOOK: u32 = 10_000;
/// Collector steps are taken after so many scripts, as Redis does.
const SCRIPTS_PER_STEP: u32 = 50;

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
    lua: Lua,
    run: Function,
    /// Runs the code of a library.
    load: Function,
    running: Rc<Running>,
    scripts: HashMap<Sha, Function, foldhash::fast::RandomState>,
    libraries: HashMap<Arc<str>, Known, foldhash::fast::RandomState>,
    stack: Option<DefaultStack>,
    runs: u32,
}

impl Vm {
    /// `Err`: the system has no memory for it.
    pub fn new() -> Result<Vm, String> {
        Self::build().map_err(|error| format!("ERR no interpreter for scripts: {error}"))
    }

    fn build() -> mlua::Result<Vm> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::DEBUG;
        let options = LuaOptions::new().catch_rust_panics(false);
        // SAFETY: `debug` is what makes this unsafe; the prelude takes it away before a script runs.
        let lua = unsafe { Lua::unsafe_new_with(libraries, options) };
        libs::install(&lua)?;
        let running = Rc::new(Running::default());
        let native = natives(&lua, &running)?;
        let prelude = lua.load(PRELUDE).set_name("=gyre");
        let (run, load, globals): (Function, Function, Table) = prelude.call(native)?;
        lua.set_globals(globals)?;
        let hooked = running.clone();
        lua.set_global_hook(
            HookTriggers::new().every_nth_instruction(INSTRUCTIONS_PER_LOOK),
            move |lua, _| look_around(lua, &hooked),
        )?;
        let stack = DefaultStack::new(STACK_BYTES).map_err(mlua::Error::external)?;
        Ok(Vm {
            lua,
            run,
            load,
            running,
            scripts: HashMap::default(),
            libraries: HashMap::default(),
            stack: Some(stack),
            runs: 0,
        })
    }

    /// Whether it knows the script already.
    pub fn knows(&self, sha: &Sha) -> bool {
        self.scripts.contains_key(sha)
    }

    /// Compiles a script. `Err`: what is wrong with it, by Lua's words.
    pub fn compile(&mut self, script: &Script) -> Result<(), String> {
        if self.knows(&script.sha) {
            return Ok(());
        }
        let function = compiled(&self.lua, script.code(), "@user_script")?;
        self.scripts.insert(script.sha, function);
        Ok(())
    }

    /// Forgets all scripts.
    pub fn flush(&mut self) {
        self.scripts.clear();
        let _ = self.lua.gc_collect();
    }

    /// Bytes that Lua has allocated.
    pub fn memory_bytes(&self) -> usize {
        self.lua.used_memory()
    }

    /// Prepares a script that has been compiled, or a function that has been prepared. None: it has not.
    pub fn start(
        mut self,
        what: &What,
        keys: &[&[u8]],
        args: &[&[u8]],
        protocol: Protocol,
    ) -> Result<Execution, Option<Vm>> {
        let code = match what {
            What::Script(script) => self.scripts.get(&script.sha).cloned(),
            What::Function(called) => self.callback(&called.library, &called.name),
        };
        let Some(code) = code else { return Err(Some(self)) };
        let Some(stack) = self.stack.take().or_else(|| DefaultStack::new(STACK_BYTES).ok()) else {
            return Err(None);
        };
        self.runs += 1;
        if self.runs.is_multiple_of(SCRIPTS_PER_STEP) {
            let _ = self.lua.gc_step();
        }
        Ok(Execution::new(self, stack, code, what, keys, args, protocol))
    }

    pub(super) fn running(&self) -> Rc<Running> {
        self.running.clone()
    }

    pub(super) fn runner(&mut self) -> Runner {
        Runner { lua: self.lua.clone(), run: self.run.clone(), running: self.running.clone() }
    }

    pub(super) fn take_back(&mut self, stack: DefaultStack) {
        self.stack = Some(stack);
    }
}

fn compiled(lua: &Lua, code: &[u8], name: &str) -> Result<Function, String> {
    let chunk = lua.load(code).set_name(name).set_mode(mlua::chunk::ChunkMode::Text);
    chunk.into_function().map_err(|error| match error {
        mlua::Error::SyntaxError { message, .. } => message,
        other => other.to_string(),
    })
}

/// Runs on the script's stack.
pub(super) struct Runner {
    lua: Lua,
    run: Function,
    running: Rc<Running>,
}

impl Runner {
    pub fn run(
        &self,
        code: Function,
        name: &str,
        keys: Vec<Vec<u8>>,
        args: Vec<Vec<u8>>,
        is_function: bool,
        protocol: Protocol,
    ) -> Outcome {
        let mut reply = Reply::new(protocol);
        let result = self.call(code, &keys, &args, is_function);
        let error = match result {
            _ if self.running.is_killed.get() => {
                let text = format!(
                    "ERR Error running script (call to {name}): Script killed by user with SCRIPT KILL..."
                );
                Some((text.into_bytes(), false))
            }
            Ok((true, value)) => match lua_to_reply(&mut reply, &value, self.running.protocol.get()) {
                Ok(error) => error,
                Err(error) => Some((format!("ERR {error}").into_bytes(), false)),
            },
            Ok((false, problem)) => Some(self.told(&problem, name)),
            Err(error) => Some((format!("ERR Error running script {name}, {error}").into_bytes(), false)),
        };
        let failed = error.is_some();
        let mut uncounted_error = None;
        if let Some((text, is_counted)) = error {
            reply.clear();
            reply.error_bytes(&text);
            uncounted_error = Some(text).filter(|_| !is_counted);
        }
        Outcome { reply, uncounted_error, failed }
    }

    fn call(
        &self,
        code: Function,
        keys: &[Vec<u8>],
        args: &[Vec<u8>],
        is_function: bool,
    ) -> mlua::Result<(bool, Value)> {
        let list = |items: &[Vec<u8>]| -> mlua::Result<Table> {
            let table = self.lua.create_table_with_capacity(items.len(), 0)?;
            for (index, item) in items.iter().enumerate() {
                table.raw_set(index + 1, self.lua.create_string(item)?)?;
            }
            Ok(table)
        };
        self.run.call((code, list(keys)?, list(args)?, is_function))
    }

    /// An error that the script has ended with, as its client is told, and whether it has been counted.
    fn told(&self, problem: &Value, name: &str) -> (Vec<u8>, bool) {
        let Value::Table(problem) = problem else {
            return (format!("ERR Error running script {name}, execution failure").into_bytes(), false);
        };
        let field = |name: &str| -> Option<Vec<u8>> {
            match problem.raw_get(name).ok()? {
                Value::String(text) => Some(text.as_bytes().to_vec()),
                Value::Integer(number) => Some(number.to_string().into_bytes()),
                Value::Number(number) => Some(number.to_string().into_bytes()),
                _ => None,
            }
        };
        let mut text = field("err").unwrap_or_default();
        if let (Some(source), Some(line)) = (field("source"), field("line")) {
            let place = [b" script: ", name.as_bytes(), b", on ", &source, b":", &line, b"."].concat();
            text.extend_from_slice(&place);
        }
        let counted = problem.raw_get::<Value>("ignore_error_stats_update");
        (text, counted.is_ok_and(|value| value == Value::Boolean(true)))
    }
}

/// Called now and then while a script runs, or a library is being loaded.
fn look_around(lua: &Lua, running: &Rc<Running>) -> mlua::Result<VmState> {
    if running.has_taken_long() {
        running.ask(Progress::Slice);
    }
    if running.is_killed.get() {
        // At every line from now on, so that no pcall keeps it alive.
        lua.set_global_hook(HookTriggers::new().every_line(), |_, _| Err(killed()))?;
        return Err(killed());
    }
    if running.load_until.get().is_some_and(|until| Instant::now() > until) {
        // Once is enough: a library that is being loaded has no pcall.
        running.load_until.set(None);
        return Err(mlua::Error::external(Raised::Reply(b"FUNCTION LOAD timeout".to_vec(), false)));
    }
    Ok(VmState::Continue)
}

fn killed() -> mlua::Error {
    mlua::Error::runtime("Script killed by user with SCRIPT KILL...")
}

type Answer = mlua::Result<Value>;

/// An error on its way through Lua; the prelude unwraps it before a script sees it.
#[derive(Debug)]
enum Raised {
    /// A table with the text, as the `redis` functions raise; whether it has been counted as a failed command.
    Reply(Vec<u8>, bool),
    /// The text itself, as Lua's own functions raise.
    Text(&'static str),
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raised::Reply(text, _) => f.write_str(&String::from_utf8_lossy(text)),
            Raised::Text(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Raised {}

fn failed(text: &str) -> Answer {
    Err(mlua::Error::external(Raised::Reply(text.as_bytes().to_vec(), false)))
}

/// An error that is a text, as Lua's own functions raise.
fn refused(text: &'static str) -> Answer {
    Err(mlua::Error::external(Raised::Text(text)))
}

/// The value that a script sees of an error that was raised by the server.
fn unwrapped(lua: &Lua, problem: Value) -> Answer {
    let Value::Error(error) = &problem else { return Ok(problem) };
    match error.downcast_ref::<Raised>() {
        Some(Raised::Reply(text, is_counted)) => Ok(Value::Table(reply_error(lua, text, *is_counted)?)),
        Some(Raised::Text(text)) => Ok(Value::String(lua.create_string(text)?)),
        None => Ok(Value::String(lua.create_string(error.to_string())?)),
    }
}

fn reply_error(lua: &Lua, text: &[u8], is_counted: bool) -> mlua::Result<Table> {
    let table = error_table(lua, text)?;
    if is_counted {
        table.raw_set("ignore_error_stats_update", true)?;
    }
    Ok(table)
}

fn natives(lua: &Lua, running: &Rc<Running>) -> mlua::Result<Table> {
    let native = lua.create_table()?;
    let add = |name: &str, function: Function| native.raw_set(name, function);

    let context = running.clone();
    add(
        "call",
        lua.create_function(move |lua, args: MultiValue| {
            let encoded = call(&context, &args).map_err(mlua::Error::external)?;
            match encoded.strip_prefix(b"-") {
                Some(_) => Err(mlua::Error::external(Raised::Reply(encoded, true))),
                None => reply_to_lua(lua, &encoded),
            }
        })?,
    )?;
    let context = running.clone();
    add(
        "pcall",
        lua.create_function(move |lua, args: MultiValue| match call(&context, &args) {
            Ok(encoded) => reply_to_lua(lua, &encoded),
            Err(raised) => unwrapped(lua, Value::Error(Box::new(mlua::Error::external(raised)))),
        })?,
    )?;
    let context = running.clone();
    add(
        "register_function",
        lua.create_function(move |lua, args: MultiValue| functions::register_function(lua, &context, &args))?,
    )?;
    add("unwrap", lua.create_function(|lua, problem: Value| unwrapped(lua, problem))?)?;
    let context = running.clone();
    add(
        "acl_check_cmd",
        lua.create_function(move |_, args: MultiValue| match command_args(&args) {
            Err(why) => failed(why),
            Ok(args) => match context.ask(Progress::AskPermission(args)) {
                Some(Resume::Permission(Some(allowed))) => Ok(Value::Boolean(allowed)),
                Some(Resume::Permission(None)) => failed("Invalid command passed to redis.acl_check_cmd()"),
                _ => failed("redis.acl_check_cmd can only be called inside a script invocation"),
            },
        })?,
    )?;
    let context = running.clone();
    add(
        "setresp",
        lua.create_function(move |_, args: MultiValue| {
            if args.len() != 1 {
                return failed("redis.setresp() requires one argument.");
            }
            match number(&args[0]) {
                Some(2.0) => context.protocol.set(Protocol::Resp2),
                Some(3.0) => context.protocol.set(Protocol::Resp3),
                _ => return failed("RESP version must be 2 or 3."),
            }
            Ok(Value::Nil)
        })?,
    )?;
    let context = running.clone();
    add(
        "set_repl",
        lua.create_function(move |_, args: MultiValue| {
            if args.len() != 1 {
                return failed("redis.set_repl() requires one argument.");
            }
            let flags = number(&args[0]).unwrap_or(0.0);
            if !(0.0..4.0).contains(&flags) {
                return failed(
                    "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
                );
            }
            context.propagation.set(flags as u8);
            Ok(Value::Nil)
        })?,
    )?;
    add(
        "sha1hex",
        lua.create_function(|lua, args: MultiValue| {
            if args.len() != 1 {
                return failed("wrong number of arguments");
            }
            let sha = Sha::of(&text(&args[0]).unwrap_or_default());
            Ok(Value::String(lua.create_string(sha.bytes())?))
        })?,
    )?;
    add(
        "error_reply",
        lua.create_function(|lua, args: MultiValue| match (args.len(), args.front()) {
            (1, Some(Value::String(text))) => {
                let text = text.as_bytes();
                let text = if text.starts_with(b"-") { text.to_vec() } else { [b"-", &text[..]].concat() };
                Ok(Value::Table(error_table(lua, &text)?))
            }
            _ => Ok(Value::Table(error_table(lua, b"wrong number or type of arguments")?)),
        })?,
    )?;
    add("log", lua.create_function(|_, args: MultiValue| log(&args))?)?;
    let (major, minor, patch) = version();
    native.raw_set("version", crate::REDIS_VERSION)?;
    native.raw_set("version_num", major << 16 | minor << 8 | patch)?;
    add_random(lua, &native)?;
    Ok(native)
}

/// Has a command run; returns its encoded reply.
fn call(running: &Running, args: &MultiValue) -> Result<Vec<u8>, Raised> {
    let raised = |text: &str, is_counted| Raised::Reply(text.as_bytes().to_vec(), is_counted);
    let args = command_args(args).map_err(|why| raised(why, false))?;
    match running.ask(Progress::Call(args)) {
        Some(Resume::Reply(encoded)) => Ok(encoded),
        Some(Resume::Refused(text)) => Err(raised(&text, true)),
        _ => Err(raised("redis.call/pcall can only be called inside a script invocation", false)),
    }
}

fn version() -> (u32, u32, u32) {
    let mut numbers = crate::REDIS_VERSION.split('.').map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

/// `math.random` and `math.randomseed`, by the generator that Redis has in their place: drand48's.
fn add_random(lua: &Lua, native: &Table) -> mlua::Result<()> {
    const MAX: f64 = i32::MAX as f64;
    let state = Rc::new(Cell::new(0x330e_u64));
    let seeded = state.clone();
    let random = lua.create_function(move |_, args: MultiValue| {
        state.set(state.get().wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & 0xffff_ffff_ffff);
        let share = ((state.get() >> 17) as f64 % MAX) / MAX;
        let bound = |index: usize| args.get(index).and_then(number).map(|bound| bound.trunc());
        let value = match (args.len(), bound(0), bound(1)) {
            (0, ..) => share,
            (1, Some(upper), _) if upper >= 1.0 => (share * upper).floor() + 1.0,
            (2, Some(lower), Some(upper)) if lower <= upper => {
                (share * (upper - lower + 1.0)).floor() + lower
            }
            (1, Some(_), _) => return refused("bad argument #1 to 'random' (interval is empty)"),
            (2, Some(_), Some(_)) => return refused("bad argument #2 to 'random' (interval is empty)"),
            (1 | 2, None, _) => return refused("bad argument #1 to 'random' (number expected)"),
            (2, _, None) => return refused("bad argument #2 to 'random' (number expected)"),
            _ => return refused("wrong number of arguments"),
        };
        Ok(Value::Number(value))
    })?;
    native.raw_set("random", random)?;
    let seed = lua.create_function(move |_, args: MultiValue| match args.front().and_then(number) {
        Some(seed) => {
            seeded.set(u64::from(seed as i64 as u32) << 16 | 0x330e);
            Ok(Value::Nil)
        }
        None => refused("bad argument #1 to 'randomseed' (number expected)"),
    })?;
    native.raw_set("randomseed", seed)
}

fn log(args: &MultiValue) -> Answer {
    if args.len() < 2 {
        return failed("redis.log() requires two arguments or more.");
    }
    let Some(level) = number(&args[0]) else {
        return failed("First argument must be a number (log level).");
    };
    let level = match level as i64 {
        0 => Level::Debug,
        1 => Level::Verbose,
        2 => Level::Notice,
        3 => Level::Warning,
        _ => return failed("Invalid debug level."),
    };
    let words: Vec<Vec<u8>> = args.iter().skip(1).filter_map(text).collect();
    crate::log!(level, "{}", String::from_utf8_lossy(&words.join(&b' ')));
    Ok(Value::Nil)
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

fn command_args(args: &MultiValue) -> Result<OwnedArgs, &'static str> {
    if args.is_empty() {
        return Err("Please specify at least one argument for this redis lib call");
    }
    let mut owned = OwnedArgs::default();
    for arg in args {
        match arg {
            Value::String(text) => owned.push(&text.as_bytes()),
            Value::Integer(number) => owned.push(itoa::Buffer::new().format(*number).as_bytes()),
            Value::Number(number) if number.trunc() == *number && number.abs() < 9.0e18 => {
                owned.push(itoa::Buffer::new().format(*number as i64).as_bytes())
            }
            Value::Number(number) => owned.push(format_double(*number).as_bytes()),
            _ => return Err("Lua redis lib command arguments must be strings or integers"),
        }
    }
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a script whose commands are answered by `answer`.
    fn run_with(text: &str, answer: impl Fn(&[&[u8]]) -> Resume) -> String {
        let script = Script::new(text.as_bytes()).unwrap();
        let mut vm = Vm::new().unwrap();
        if let Err(why) = vm.compile(&script) {
            return why;
        }
        let what = What::Script(script);
        let Ok(mut execution) = vm.start(&what, &[b"k1", b"k2"], &[b"a1"], Protocol::Resp2) else {
            return "cannot start".to_owned();
        };
        let mut resume = Resume::GoOn;
        loop {
            resume = match execution.resume(resume) {
                Progress::Call(args) => answer(&args.slices()),
                Progress::AskPermission(_) => Resume::Permission(None),
                Progress::Slice => Resume::GoOn,
                Progress::Done(outcome) => {
                    assert!(execution.into_vm().is_some());
                    let bytes = outcome.reply.segments().flatten().copied().collect();
                    return String::from_utf8(bytes).unwrap();
                }
            };
        }
    }

    fn run(text: &str) -> String {
        run_with(text, |args| match args[0] {
            b"ping" => Resume::Reply(b"+PONG\r\n".to_vec()),
            b"list" => Resume::Reply(b"*3\r\n$1\r\na\r\n:7\r\n$-1\r\n".to_vec()),
            b"bad" => Resume::Reply(b"-WRONGTYPE no\r\n".to_vec()),
            _ => Resume::Refused("Unknown Redis command called from script".to_owned()),
        })
    }

    #[test]
    fn values_are_converted_both_ways() {
        assert_eq!(run("return 3.99"), ":3\r\n");
        assert_eq!(
            run("return {KEYS[1], KEYS[2], ARGV[1], {1, 'x'}, nil, 5}"),
            "*4\r\n$2\r\nk1\r\n$2\r\nk2\r\n$2\r\na1\r\n*2\r\n:1\r\n$1\r\nx\r\n"
        );
        assert_eq!(run("return {true, false}"), "*2\r\n:1\r\n$-1\r\n");
        assert_eq!(run("return redis.call('ping')"), "+PONG\r\n");
        assert_eq!(
            run("local l = redis.call('list') return {l[1], l[2] + 1, l[3] == false}"),
            "*3\r\n$1\r\na\r\n:8\r\n:1\r\n"
        );
        assert_eq!(run("return redis.status_reply('FINE')"), "+FINE\r\n");
        assert_eq!(run("return {double = 3.5}"), "$3\r\n3.5\r\n");
        assert_eq!(run("return redis.sha1hex('')"), "$40\r\nda39a3ee5e6b4b0d3255bfef95601890afd80709\r\n");
    }

    #[test]
    fn errors_tell_where_they_come_from() {
        let sha = |text: &str| Sha::of(text.as_bytes()).text().into_owned();
        let failing = "\nredis.call('bad')";
        assert_eq!(run(failing), format!("-WRONGTYPE no script: {}, on @user_script:2.\r\n", sha(failing)));
        let unknown = "return redis.call('nosuch')";
        assert_eq!(
            run(unknown),
            format!(
                "-ERR Unknown Redis command called from script script: {}, on @user_script:1.\r\n",
                sha(unknown)
            )
        );
        assert_eq!(run("return redis.pcall('bad')"), "-WRONGTYPE no\r\n");
        assert_eq!(run("local ok, e = pcall(redis.call, 'bad') return e"), "$12\r\nWRONGTYPE no\r\n");
        assert_eq!(run("return redis.error_reply('MY error')"), "-MY error\r\n");
        assert_eq!(run("return redis.error_reply('single')"), "-ERR single\r\n");
        let text = "error('what')";
        assert_eq!(
            run(text),
            format!("-ERR user_script:1: what script: {}, on @user_script:1.\r\n", sha(text))
        );
        assert!(run("return (").contains("user_script:1: unexpected symbol near '<eof>'"));
    }

    #[test]
    fn what_scripts_share_cannot_be_written() {
        for text in [
            "a = 1",
            "_G = {}",
            "redis = 1",
            "redis.call = 1",
            "string.rep = 1",
            "cjson.encode = 1",
            "rawset(_G, 'x', 1)",
            "setmetatable(_G, {})",
            "getmetatable(_G).__index = 1",
            "getmetatable('').__index.rep = 1",
            "_G.redis.call = 1",
            "setfenv(0, {})",
            "rawset(string, 'rep', 1)",
            "getfenv(redis.call).redis = 1",
            "getfenv(0).x = 1",
        ] {
            let reply = run(text);
            assert!(reply.contains("Attempt to modify a readonly table"), "{text}: {reply}");
        }
        for text in
            ["return debug", "return print", "return loadfile", "return nothing", "return os", "return io"]
        {
            let reply = run(text);
            assert!(
                reply.contains("Script attempted to access nonexistent global variable"),
                "{text}: {reply}"
            );
        }
        assert_eq!(run("local n = 0 for k in pairs(redis) do n = n + 1 end return n > 10"), ":1\r\n");
        assert_eq!(run("return type(rawget(_G, 'redis'))"), "$5\r\ntable\r\n");
        assert_eq!(run("return ('x'):rep(3)"), "$3\r\nxxx\r\n");
        assert_eq!(run("local f = loadstring('return KEYS[1]') return f()"), "$2\r\nk1\r\n");
        assert_eq!(run("return #tostring(math.random())>1"), ":1\r\n");
    }

    #[test]
    fn a_script_that_never_ends_stands_still_now_and_then_and_can_be_killed() {
        let script = Script::new(b"while true do pcall(function() while true do end end) end").unwrap();
        let mut vm = Vm::new().unwrap();
        vm.compile(&script).unwrap();
        let Ok(mut execution) = vm.start(&What::Script(script), &[], &[], Protocol::Resp2) else { panic!() };
        for _ in 0..3 {
            assert!(matches!(execution.resume(Resume::GoOn), Progress::Slice));
        }
        execution.kill();
        let Progress::Done(outcome) = execution.resume(Resume::GoOn) else { panic!("it goes on") };
        assert!(outcome.failed && execution.into_vm().is_none());
    }

    #[test]
    fn a_script_that_stands_still_may_be_dropped() {
        let script = Script::new(b"redis.call('ping')").unwrap();
        let mut vm = Vm::new().unwrap();
        vm.compile(&script).unwrap();
        let Ok(mut execution) = vm.start(&What::Script(script), &[], &[], Protocol::Resp2) else { panic!() };
        assert!(matches!(execution.resume(Resume::GoOn), Progress::Call(_)));
    }
}
