//! Scripts in one interpreter: values, errors, bounds, and what they share.

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
    let sha = |text: &str| Sha::of(text.as_bytes()).text().to_string();
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
    assert_eq!(run(text), format!("-ERR user_script:1: what script: {}, on @user_script:1.\r\n", sha(text)));
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
        assert!(reply.contains("Script attempted to access nonexistent global variable"), "{text}: {reply}");
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
    "local t = {} for i = 1, 100 do t[i] = i end while true do table.sort(t, function(a, b) return a > b end) end",
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
        let Ok(mut execution) = vm.start(&What::Script(script), &[], &[], Protocol::Resp2) else { panic!() };
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
        ("return loadstring(string.dump(function() end))()", "attempt to call a nil value"),
        ("return loadstring('\\27Lua')()", "attempt to call a nil value"),
    ] {
        let reply = run(text);
        assert!(reply.starts_with("-ERR ") && reply.contains(error), "{text}: {reply}");
    }
    // The handler of an error runs where the error was raised, however deep.
    let deep = "local function deep() return ('x'):rep(20000):find(('x?'):rep(20000)) end \
                return tostring(xpcall(deep, deep))";
    assert_eq!(run(deep), "$5\r\nfalse\r\n");
}

#[test]
fn a_script_that_stands_still_may_be_dropped() {
    let script = Script::new(b"redis.call('ping')").unwrap();
    let mut vm = Vm::new().unwrap();
    vm.compile(&script).unwrap();
    let Ok(mut execution) = vm.start(&What::Script(script), &[], &[], Protocol::Resp2) else { panic!() };
    assert!(matches!(execution.resume(Resume::GoOn), Progress::Call(_)));
}

/// `lua/fuzz.sh` does this for whole programs and Lua's own functions, with the C code under sanitizers.
#[test]
fn any_function_takes_any_arguments() {
    const CALLS: &str = "
        math.randomseed(tonumber(ARGV[1]) or SEED)
        local functions = {}
        for name, library in pairs({redis = redis, cjson = cjson, cmsgpack = cmsgpack, struct = struct, bit = bit,
                                    string = string, math = math, coroutine = coroutine, table = table, G = _G}) do
            for field, value in pairs(library) do
                if type(value) == 'function' and field ~= 'insert' and field ~= 'log' and field ~= 'yield' then
                    functions[#functions + 1] = value
                end
            end
        end
        local deep = {} for i = 1, 2000 do deep = {deep} end
        local wide = {} for i = 1, 9000 do wide[i] = i end
        local own = {} own[1] = own own.x = own
        local values = {1, 0, -1, 2^31, -2^31, 2^53, 0/0, 1/0, 0.5, 8000, '', 'a', 'PING', '\\0', '\\255\\254', '%d', '(', '>i4',
            '{\"a\":[1,2', ('['):rep(3000), ('\\145'):rep(3000), ('x'):rep(7000), true, false, {}, deep, wide, own,
            {err = 'E x'}, {ok = 1}, {1, 2, 3}, setmetatable({}, {__index = error, __tostring = error}), function(...) return ... end,
            error, cjson.null, coroutine.create(function() end), KEYS, redis, string}
        local function value()
            local i = math.random(#values + 3)
            return values[i]
        end
        for i = 1, 4000 do
            pcall(functions[math.random(#functions)], value(), value(), value())
            pcall(functions[math.random(#functions)], value())
        end
        return #functions > 80 and 1 or 0";
    const COUNT: &str = "local n = 0 for _ in pairs(redis) do n = n + 1 end return n";
    for seed in 1..=4 {
        let mut scripts = Scripts::new();
        let text = CALLS.replace("SEED", &seed.to_string());
        let answer = |args: &[&[u8]]| match args.len() % 3 {
            0 => Resume::Reply(b"*3\r\n$1\r\na\r\n:7\r\n$-1\r\n".to_vec()),
            1 => Resume::Reply(b"-WRONGTYPE no\r\n".to_vec()),
            _ => Resume::Refused("Unknown Redis command called from script".into()),
        };
        // It may have changed its own environment by `setfenv`, and then end by an error of its own.
        let reply = scripts.run_with(&text, answer);
        assert!(reply == ":1\r\n" || reply.starts_with("-ERR "), "{seed}: {reply}");
        assert_eq!(scripts.run(COUNT), ":23\r\n", "{seed}: the next script finds what is there for all");
    }
}
