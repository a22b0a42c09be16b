//! One Lua interpreter, with the functions that scripts call.

mod functions;

use std::cell::Cell;
use std::rc::Rc;

use mlua::state::{GcIncParams, GcMode};
use mlua::{Function, Lua, Table};

use self::functions::KnownLibraries;
pub(super) use self::functions::{register_function, Registering};
use super::convert::{take_error, take_reply, Raised};
use super::execution::{Execution, Running, What};
use super::libs;
use super::natives::natives;
use super::source::{Script, Sha};
use crate::resp::{Protocol, Reply};
use crate::runtime::fiber::FiberStack;
use crate::runtime::lua::guard::{self, Guard};
use crate::runtime::lua::{call, interpreter, set_in_readonly, Call, Ended, Kind, Passing};

/// The stack of a script, bytes of address space. Lua's parser and pattern matching recur on it.
const STACK_BYTES: usize = 8 * 1024 * 1024;
/// Collector steps are taken after so many scripts, as Redis does.
const SCRIPTS_PER_STEP: u32 = 50;

/// Percent: how much of what is there the collector looks at while so much is allocated. (Lua's own value is 200. With that an
/// interpreter that runs small scripts grows by three quarters of its size before the collector is through.)
const COLLECTED_PER_ALLOCATED: i32 = 400;

/// An interpreter that has more than this after a script, bytes, is cleaned up before others use it...
const CLEAN_BYTES: usize = 8 * 1024 * 1024;
/// ...unless it has not doubled since it was last cleaned up. If its script has had no memory, and more than this share of the limit is
/// still in use then, it is not used again.
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
        let pace = GcIncParams::default().step_multiplier(COLLECTED_PER_ALLOCATED);
        lua.gc_set_mode(GcMode::Incremental(pace));
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
    pub fn compile(&mut self, script: &Script) -> Result<(), String> {
        if self.knows(&script.sha) {
            return Ok(());
        }
        let function = compiled(&self.lua, script.code(), "@user_script")?;
        let key = self.lua.create_string(script.sha.bytes()).map_err(|error| error.to_string())?;
        self.scripts.raw_set(key, function).map_err(|error| error.to_string())
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

    pub(super) fn take_back(&mut self, stack: FiberStack) {
        self.stack = Some(stack);
        self.guard.settle();
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
        self.clean_up(&end);
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
                    mlua::Error::RuntimeError(text) => text,
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
            reply.error_bytes(&text);
            uncounted_error = Some(text).filter(|_| !is_counted);
        }
        Outcome { reply, uncounted_error, failed }
    }

    /// Leaves the interpreter small to the next script. A long collection gives others their turns, as the script did.
    fn clean_up(&self, end: &End) {
        if self.lua.used_memory() < CLEAN_BYTES.max(2 * self.cleaned_bytes.get()) {
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
        let had_no_memory = matches!(end, End::Unknown(why) if why == NO_MEMORY);
        self.is_spent.set(!is_collected || had_no_memory && used > guard::memory_limit() / KEPT_SHARE);
    }
}

/// What Lua says when it cannot have more.
const NO_MEMORY: &[u8] = b"not enough memory";

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
mod tests {
    use super::super::execution::{Progress, Resume};
    use super::*;

    /// Scripts of one interpreter.
    struct Scripts(Option<Vm>);

    impl Scripts {
        fn new() -> Scripts {
            Scripts(Some(Vm::new().unwrap()))
        }

        fn run(&mut self, text: &str) -> String {
            self.run_with(text, |_| Resume::Reply(b"+OK\r\n".to_vec()))
        }

        /// Runs a script whose commands are answered by `answer`.
        fn run_with(&mut self, text: &str, answer: impl Fn(&[&[u8]]) -> Resume) -> String {
            let script = Script::new(text.as_bytes()).unwrap();
            let mut vm = self.0.take().unwrap();
            if let Err(why) = vm.compile(&script) {
                self.0 = Some(vm);
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
                        self.0 = execution.into_vm();
                        let bytes = outcome.reply.segments().flatten().copied().collect();
                        return String::from_utf8(bytes).unwrap();
                    }
                };
            }
        }
    }

    fn run_with(text: &str, answer: impl Fn(&[&[u8]]) -> Resume) -> String {
        let mut scripts = Scripts::new();
        let reply = scripts.run_with(text, answer);
        assert!(scripts.0.is_some());
        reply
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
            "table.insert(redis, 'leak')",
            "table.insert(_G, 1)",
            "rawset(redis, 'x', 1)",
            "setmetatable(redis, {})",
            "setmetatable(string, {__index = {}})",
            "getmetatable('').x = 1",
            "setmetatable(getmetatable(''), {})",
            "setmetatable(getmetatable(_G), {})",
            "KEYS = {}",
            "rawset(string, 'rep', 1)",
            "getfenv(redis.call).redis = 1",
            "getfenv(0).x = 1",
        ] {
            let reply = run(text);
            assert!(reply.contains("Attempt to modify a readonly table"), "{text}: {reply}");
        }
        for text in ["setfenv(pcall, {})", "setfenv(redis.status_reply, {})", "setfenv(math.random, {})"] {
            assert!(run(text).contains("'setfenv' cannot change environment of given object"), "{text}");
        }
        // What is changed for one script is not for the next.
        let mut scripts = Scripts::new();
        assert_eq!(scripts.run("setfenv(0, {redis = 1}) collectgarbage('stop') return 1"), ":1\r\n");
        assert_eq!(scripts.run("return type(loadstring('return redis')())"), "$5\r\ntable\r\n");
        let own = "local was = rawget(getfenv(1), 'leak') and 1 setfenv(1, {leak = 1}) return was";
        assert_eq!([scripts.run(own), scripts.run(own)], ["$-1\r\n", "$-1\r\n"]);
        for text in [
            "return debug",
            "return print",
            "return loadfile",
            "return nothing",
            "return os",
            "return io",
            "return newproxy",
            "return dofile",
        ] {
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

    /// Each of these would take minutes, or for ever.
    const ENDLESS: [&str; 16] = [
        "pcall(function() while true do end end) while true do end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "while true do pcall(error) end",
        "local function f() return pcall(f) end while true do f() end",
        "string.find(('a'):rep(100000), ('.-'):rep(20) .. 'b')",
        "string.gsub(('a'):rep(100000), ('a*'):rep(20) .. 'b', '')",
        "string.match(('a'):rep(1000000), '[' .. ('bc'):rep(5000) .. ']*b')",
        "string.find(('a'):rep(1000000), ('a'):rep(500000) .. 'b', 1, true)",
        "while true do ('x'):rep(2000000):upper():reverse():gsub('X', 'yy') end",
        "local t = {} for i = 1, 1000000 do t[i] = 'x' end while true do table.concat(t, ',') end",
        "table.insert({}, -2147483648, 1)",
        "local t = {} for i = 1, 100 do t[i] = i end while true do table.sort(t, math.max) end",
        "local function f() return coroutine.wrap(f)() end while true do pcall(f) end",
        "while true do coroutine.wrap(function() for i = 1, 9000 do end end)() end",
        "local t = {} for i = 1, 30 do t = {t, t} end cjson.encode(t)",
        "local t = {} for i = 1, 15 do local u = {} for j = 1, 50 do u[j] = t end t = u end cmsgpack.pack(t)",
    ];

    #[test]
    fn whatever_a_script_does_it_stands_still_now_and_then_and_can_be_killed() {
        for text in ENDLESS {
            let script = Script::new(text.as_bytes()).unwrap();
            let mut vm = Vm::new().unwrap();
            vm.compile(&script).unwrap();
            let Ok(mut execution) = vm.start(&What::Script(script), &[], &[], Protocol::Resp2) else {
                panic!()
            };
            for _ in 0..20 {
                execution.begin_slice();
                assert!(matches!(execution.resume(Resume::GoOn), Progress::Slice), "{text}");
            }
            execution.kill();
            let outcome = loop {
                // Only what cleans up may still want time.
                match execution.resume(Resume::GoOn) {
                    Progress::Done(outcome) => break outcome,
                    Progress::Slice => {}
                    _ => panic!("{text} goes on"),
                }
            };
            let reply: Vec<u8> = outcome.reply.segments().flatten().copied().collect();
            let reply = String::from_utf8(reply).unwrap();
            assert!(reply.starts_with("-ERR Script killed by user with SCRIPT KILL... script: "), "{reply}");
            assert!(reply.ends_with(", on @user_script:1.\r\n"), "{reply}");
            assert!(outcome.failed && execution.into_vm().is_none());
        }
    }

    #[test]
    fn what_reaches_the_end_of_lua_is_an_error() {
        for (text, error) in [
            ("return {unpack({1, 2, 3}, -1, 2147483647)}", "too many results to unpack"),
            ("return {unpack({}, -2147483648, 2147483647)}", "too many results to unpack"),
            ("return {unpack({}, 1, 8000)}", "too many results to unpack"),
            ("return {('x'):rep(9000):byte(1, -1)}", "string slice too long"),
            ("return ('x'):rep(20000):find(('x?'):rep(20000))", "pattern too complex"),
            ("local function f(s) return s:gsub('.', f) end return f('x')", "stack overflow"),
            ("local function f() return coroutine.wrap(f)() end return f()", "C stack overflow"),
            ("local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end return t.x", "stack overflow"),
            ("return loadstring(('('):rep(300) .. '1')()", "attempt to call a nil value"),
            ("table.sort({3, 1, 2, 5, 4}, function() return true end)", "invalid order function for sorting"),
            ("return string.dump(function() end)", "unable to dump given function"),
            ("return loadstring('\\27Lua')()", "attempt to call a nil value"),
        ] {
            let reply = run(text);
            assert!(reply.starts_with("-ERR user_script:1: ") && reply.contains(error), "{text}: {reply}");
        }
        // The handler of an error runs where the error was raised, however deep.
        let deep = "local p = ('x-'):rep(9990) .. 'z' return xpcall(function() return ('x'):find(('x?'):rep(20000)) end, \
                    function() return ('x'):find(('x?'):rep(20000)) end) and 1";
        assert_eq!(run(deep), "$-1\r\n");
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
