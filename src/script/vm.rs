//! One Lua interpreter, with the functions that scripts call.

mod functions;

use std::ffi::CStr;
use std::rc::Rc;
use std::time::Instant;

use mlua::state::{GcIncParams, GcMode};
use mlua::{Function, HookTriggers, Lua, Table, Value, VmState};

use self::functions::KnownLibraries;
pub(super) use self::functions::{register_function, Registering};
use super::convert::{take_error, take_reply, Raised};
use super::execution::{Execution, Progress, Running, What};
use super::libs;
use super::natives::natives;
use super::source::{Script, Sha};
use crate::resp::{Protocol, Reply, Text};
use crate::runtime::fiber::FiberStack;
use crate::runtime::lua::{call_with_texts, compile, interpreter, Kind};

/// The stack of a script, bytes of address space. Lua's parser and pattern matching recur on it.
const STACK_BYTES: usize = 8 * 1024 * 1024;
/// Instructions between two looks at the time.
const INSTRUCTIONS_PER_LOOK: u32 = 10_000;
/// Collector steps are taken after so many scripts, as Redis does.
const SCRIPTS_PER_STEP: u32 = 50;

/// Percent: how much of what is there the collector looks at while so much is allocated. (Lua's own value is 200. With that an
/// interpreter that runs small scripts grows by three quarters of its size before the collector is through.)
const COLLECTED_PER_ALLOCATED: i32 = 400;

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
    running: Rc<Running>,
    /// By the bytes of their hashes. (mlua can hold some thousand functions at a time only.)
    scripts: Table,
    /// The one that was looked up last.
    last: Option<Box<(Sha, Function)>>,
    libraries: Box<KnownLibraries>,
    stack: Option<FiberStack>,
    runs: u32,
}

impl Vm {
    /// `Err`: the system has no memory for it.
    pub fn new() -> Result<Vm, String> {
        Self::build().map_err(|error| format!("ERR no interpreter for scripts: {error}"))
    }

    fn build() -> mlua::Result<Vm> {
        let lua = interpreter();
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
        let stack = FiberStack::new(STACK_BYTES).map_err(mlua::Error::external)?;
        let scripts = lua.create_table()?;
        let libraries = Box::new(KnownLibraries::new(&lua, load)?);
        // What making it has left behind.
        lua.gc_collect()?;
        let pace = GcIncParams::default().step_multiplier(COLLECTED_PER_ALLOCATED);
        lua.gc_set_mode(GcMode::Incremental(pace));
        Ok(Vm { lua, run, running, scripts, last: None, libraries, stack: Some(stack), runs: 0 })
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
        self.scripts.raw_set(key, function).map_err(|error| Text::from(error.to_string()))
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
            What::Script(script) => self.script(&script.sha).cloned(),
            What::Function(called) => self.callback(&called.library, &called.name),
        };
        let Some(code) = code else { return Err(Some(self)) };
        let Some(stack) = self.stack.take().or_else(|| FiberStack::new(STACK_BYTES).ok()) else {
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

    pub(super) fn take_back(&mut self, stack: FiberStack) {
        self.stack = Some(stack);
    }
}

/// `Err`: what is wrong with the code, by Lua's words, which quote it.
fn compiled(lua: &Lua, code: &[u8], name: &CStr) -> Result<Function, Text> {
    match compile(lua, code, name) {
        Ok(Value::Function(function)) => Ok(function),
        Ok(Value::String(why)) => Err(why.as_bytes().to_vec().into()),
        Ok(_) => Err("Lua gives no reason".into()),
        Err(error) => Err(error.to_string().into()),
    }
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
        what: &What,
        texts: &[&[u8]],
        key_count: usize,
        protocol: Protocol,
    ) -> Outcome {
        let mut reply = Reply::new(protocol);
        let is_function = matches!(what, What::Function(_));
        let mut raised = Raised::default();
        let mut end = End::Unknown;
        let called =
            call_with_texts(&self.lua, &self.run, &code, (texts, key_count), is_function, |values| {
                values.copy_before_last();
                let has_returned = values.last() == Kind::Boolean(true);
                values.forget();
                end = if !has_returned {
                    if take_error(values, &mut raised) {
                        End::Raised
                    } else {
                        End::Unknown
                    }
                } else if take_reply(values, &mut reply, self.running.protocol.get(), &mut raised) {
                    End::ReturnedError
                } else {
                    End::Returned
                };
            });
        let error = match (called, end) {
            _ if self.running.is_killed.get() => {
                let text = format!(
                    "ERR Error running script (call to {}): Script killed by user with SCRIPT KILL...",
                    what.name()
                );
                Some((text.into_bytes(), false))
            }
            (Err(error), _) => {
                Some((format!("ERR Error running script {}, {error}", what.name()).into_bytes(), false))
            }
            (Ok(()), End::Returned) => None,
            (Ok(()), End::ReturnedError) => Some((raised.text, raised.is_counted)),
            (Ok(()), End::Raised) => Some((told(&raised, &what.name()), raised.is_counted)),
            (Ok(()), End::Unknown) => {
                let text = format!("ERR Error running script {}, execution failure", what.name());
                Some((text.into_bytes(), false))
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
}

/// How a script has come to its end.
enum End {
    Returned,
    ReturnedError,
    Raised,
    /// It has raised what is no error.
    Unknown,
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
        running.is_load_late.set(true);
        return Err(mlua::Error::runtime("FUNCTION LOAD timeout"));
    }
    Ok(VmState::Continue)
}

fn killed() -> mlua::Error {
    mlua::Error::runtime("Script killed by user with SCRIPT KILL...")
}

#[cfg(test)]
mod tests {
    use super::super::execution::Resume;
    use super::*;

    /// Runs a script whose commands are answered by `answer`.
    fn run_with(text: &str, answer: impl Fn(&[&[u8]]) -> Resume) -> String {
        let script = Script::new(text.as_bytes()).unwrap();
        let mut vm = Vm::new().unwrap();
        if let Err(why) = vm.compile(&script) {
            return why.to_string();
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
            _ => Resume::Refused("Unknown Redis command called from script".into()),
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
            execution.begin_slice();
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
