use super::*;
use crate::resp::Protocol;
use crate::script::{LibraryFunction, Progress, Resume, Script, What};

fn load(vm: &mut Vm, libraries: &Libraries, code: &str) -> Libraries {
    libraries.load(vm, format!("#!lua name=l\n{code}").as_bytes(), true, None).unwrap().0
}

/// Runs it, and answers PING.
fn run(vm: Vm, what: &What) -> (Vm, String) {
    let Ok(mut execution) = vm.start(what, &[b"k1", b"k2"], &[b"a1"], Protocol::Resp2) else {
        panic!("cannot start")
    };
    let mut resume = Resume::GoOn;
    loop {
        resume = match execution.resume(resume) {
            Progress::Call(_) => Resume::Reply(b"+PONG\r\n".to_vec()),
            Progress::AskPermission(_) => Resume::Permission(None),
            Progress::Slice => Resume::GoOn,
            Progress::Done(outcome) => {
                let bytes = outcome.reply.segments().flatten().copied().collect();
                return (execution.into_vm().unwrap(), String::from_utf8(bytes).unwrap());
            }
        };
    }
}

fn call(mut vm: Vm, libraries: &Libraries, name: &str) -> (Vm, String) {
    let (library, info) = libraries.function(name.as_bytes()).unwrap();
    vm.prepare_function(library, &info.name).unwrap();
    let function = LibraryFunction { library: library.clone(), name: info.name.clone() };
    run(vm, &What::Function(function))
}

fn eval(mut vm: Vm, text: &str) -> (Vm, String) {
    let script = Script::new(text.as_bytes()).unwrap();
    vm.compile(&script).unwrap();
    run(vm, &What::Script(script))
}

/// What a function answers whose body this is; the library's `redis` is `lib`.
fn answer(body: &str) -> String {
    let mut vm = Vm::new().unwrap();
    let code = format!("local lib = redis\nredis.register_function('f', function(keys, args) {body} end)");
    let libraries = load(&mut vm, &Libraries::default(), &code);
    call(vm, &libraries, "F").1
}

#[test]
fn functions_get_keys_and_arguments_and_see_what_scripts_see() {
    assert_eq!(answer("return {keys[1], keys[2], args[1]}"), "*3\r\n$2\r\nk1\r\n$2\r\nk2\r\n$2\r\na1\r\n");
    assert_eq!(answer("return redis.call('ping')"), "+PONG\r\n");
    assert_eq!(
        answer("return {string.rep('x', 2), type(math.random()), type(_G.redis), type(rawget(_G, 'redis'))}")
            .matches("\r\n")
            .count(),
        9
    );
    assert_eq!(answer("return redis.REDIS_VERSION == lib.REDIS_VERSION"), ":1\r\n");
    assert_eq!(answer("return loadstring('return redis.call(\"ping\")')()"), "+PONG\r\n");
}

#[test]
fn errors_of_functions_tell_where_they_come_from() {
    let place = " script: f, on @user_function:3.\r\n";
    for (body, why) in [
        ("return KEYS", "ERR user_function:3: Script attempted to access nonexistent global variable 'KEYS'"),
        (
            "redis.replicate_commands()",
            "ERR user_function:3: attempt to call field 'replicate_commands' (a nil value)",
        ),
        ("redis.breakpoint()", "ERR user_function:3: attempt to call field 'breakpoint' (a nil value)"),
        (
            "redis.register_function('g', function() end)",
            "ERR user_function:3: attempt to call field 'register_function' (a nil value)",
        ),
        (
            "lib.register_function('g', function() end)",
            "ERR redis.register_function can only be called on FUNCTION LOAD command",
        ),
        ("lib.redis = redis", "ERR user_function:3: Attempt to modify a readonly table"),
        ("getmetatable(lib).__index = 1", "ERR user_function:3: Attempt to modify a readonly table"),
        ("return lib.x", "ERR user_function:3: Script attempted to access nonexistent global variable 'x'"),
        ("lib.log()", "ERR redis.log() requires two arguments or more."),
        ("a = 1", "ERR user_function:3: Attempt to modify a readonly table"),
        ("error('x')", "ERR user_function:3: x"),
        ("error({err='X y'})", "X y"),
    ] {
        assert_eq!(answer(body), format!("-{why}{place}"), "{body}");
    }
    assert_eq!(answer("return {err='My error'}"), "-My error\r\n");
}

#[test]
fn scripts_and_functions_do_not_see_what_the_other_has() {
    let mut vm = Vm::new().unwrap();
    let code = "redis.register_function('f', function() return loadstring('return rawget(_G, \"KEYS\") == nil')() end)";
    let libraries = load(&mut vm, &Libraries::default(), code);
    let (vm, reply) = eval(vm, "return KEYS[1]");
    assert_eq!(reply, "$2\r\nk1\r\n");
    let (vm, reply) = call(vm, &libraries, "f");
    assert_eq!(reply, ":1\r\n");
    let (vm, reply) =
        eval(vm, "return {KEYS[1], type(redis.replicate_commands), type(redis.register_function), #_G.ARGV}");
    assert_eq!(reply, "*4\r\n$2\r\nk1\r\n$8\r\nfunction\r\n$3\r\nnil\r\n:1\r\n");
    assert_eq!(
        eval(vm, "local n = 0 for k in pairs(_G) do if k == 'KEYS' then n = n + 1 end end return n").1,
        ":1\r\n"
    );
}

/// The functions of the prelude have been made with the tables behind the proxies around them.
#[test]
fn no_function_on_the_stack_gives_its_environment_away() {
    for level in 1..6 {
        let text = format!(
            "local ok, env = pcall(getfenv, {level}) if ok then env.leak = 1 end return rawget(_G, 'leak')"
        );
        let (vm, _) = eval(Vm::new().unwrap(), &text);
        assert_eq!(eval(vm, "return rawget(_G, 'leak')").1, "$-1\r\n", "{level}");
    }
    for level in 1..8 {
        let body = format!(
            "local t = setmetatable({{}}, {{__tostring = function() local env = getfenv({level}) env.leak = 1 return 'x' end}}) \
             local ok, e = pcall(function() return _G[t] end) local ok, e = pcall(getfenv, {level}) if ok then e.leak = 1 end \
             return rawget(_G, 'leak')"
        );
        let reply = answer(&body);
        assert!(reply == "$-1\r\n" || reply.contains("readonly"), "{level}: {reply}");
    }
}

#[test]
fn an_interpreter_runs_a_library_when_it_needs_it_and_again_when_it_has_been_replaced() {
    let mut loader = Vm::new().unwrap();
    let code = |step: u32| {
        format!("local n = 0 redis.register_function('f', function() n = n + {step} return n end)")
    };
    let first = load(&mut loader, &Libraries::default(), &code(1));
    let second = load(&mut loader, &first, &code(10));
    let mut vm = Vm::new().unwrap();
    let what = |libraries: &Libraries| {
        let (library, info) = libraries.function(b"f").unwrap();
        What::Function(LibraryFunction { library: library.clone(), name: info.name.clone() })
    };
    vm = *vm.start(&what(&first), &[], &[], Protocol::Resp2).err().flatten().unwrap();
    for (libraries, reply) in
        [(&first, ":1\r\n"), (&first, ":2\r\n"), (&second, ":10\r\n"), (&second, ":20\r\n")]
    {
        let (same, answer) = call(vm, libraries, "f");
        vm = same;
        assert_eq!(answer, reply);
    }
    vm = *vm.start(&what(&first), &[], &[], Protocol::Resp2).err().flatten().unwrap();
    let library = first.function(b"f").unwrap().0;
    assert_eq!(vm.prepare_function(library, "nosuch").unwrap_err(), "ERR Function not found");
    assert_eq!(call(loader, &second, "f").1, ":10\r\n");
}

#[test]
fn old_versions_are_dropped() {
    let mut vm = Vm::new().unwrap();
    let code = "redis.register_function('f', function() return 1 end)";
    let first = load(&mut vm, &Libraries::default(), code);
    let weak = Arc::downgrade(first.get(b"l").unwrap());
    let second = load(&mut vm, &first, code);
    drop(first);
    assert!(weak.upgrade().is_none());
    vm.keep_libraries(&second);
    assert!(vm.callback(second.get(b"l").unwrap(), "f").is_some());
    vm.keep_libraries(&Libraries::default());
    assert!(vm.libraries.by_name.is_empty());
}

#[test]
fn a_failed_load_keeps_what_the_interpreter_had() {
    let mut vm = Vm::new().unwrap();
    let code = "local n = 0 redis.register_function('f', function() n = n + 1 return n end)";
    let libraries = load(&mut vm, &Libraries::default(), code);
    let (mut vm, _) = call(vm, &libraries, "f");
    for code in ["#!lua name=l\nredis.register_function('f', 1)", "#!lua name=l\nx("] {
        assert!(libraries.load(&mut vm, code.as_bytes(), true, None).is_err());
    }
    assert_eq!(call(vm, &libraries, "f").1, ":2\r\n");
}
