use super::*;
use crate::rdb::{Compression, Version};

const A_LIBRARY: &str = "#!lua name=l\nredis.register_function('f',redis.log)";

fn load(libraries: &Libraries, code: &str, replace: bool) -> Result<Libraries, Text> {
    let mut vm = Vm::new().unwrap();
    libraries.load(&mut vm, code.as_bytes(), replace, Some(LOAD_TIME_MAX)).map(|(libraries, _)| libraries)
}

fn of(codes: &[&str]) -> Libraries {
    codes.iter().fold(Libraries::default(), |libraries, code| load(&libraries, code, false).unwrap())
}

fn names(libraries: &Libraries) -> Vec<String> {
    libraries
        .iter()
        .map(|library| {
            let functions: Vec<&str> = library.functions.iter().map(|info| &*info.name).collect();
            format!("{}: {}", library.name, functions.join(" "))
        })
        .collect()
}

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn sealed(body: &[u8]) -> Vec<u8> {
    let mut payload = body.to_vec();
    seal(&mut payload, Format::default());
    payload
}

fn record(code: &str) -> Vec<u8> {
    let mut record = Vec::new();
    put_function(&mut Encoder::new(Format::default()), code.as_bytes(), &mut record);
    record
}

fn restore(libraries: &Libraries, payload: &[u8], policy: RestorePolicy) -> Result<Libraries, Text> {
    libraries.restored(&mut Vm::new().unwrap(), payload, policy, false)
}

#[test]
fn a_library_is_loaded_with_what_its_functions_say_of_themselves() {
    let code = "#!lua name=l\nredis.register_function('f1', function() end) \
        redis.register_function{FUNCTION_name='F2', callback=redis.log, description=1.5, flags={'No-Writes', 'allow-oom'}} \
        redis.register_function{function_name=7, callback=function() end, flags={[2]='unseen'}}";
    let mut vm = Vm::new().unwrap();
    let (libraries, name) = Libraries::default().load(&mut vm, code.as_bytes(), false, None).unwrap();
    assert_eq!((&*name, &names(&libraries)[..]), ("l", &["l: f1 F2 7".to_owned()][..]));
    let (library, info) = libraries.function(b"f2").unwrap();
    assert_eq!(&library.code[..], code.as_bytes());
    assert_eq!(info.description.as_deref(), Some(&b"1.5"[..]));
    assert_eq!(info.flags.names(), ["no-writes", "allow-oom"]);
    assert!(!info.flags.undeclared);
    let (_, info) = libraries.function(b"F1").unwrap();
    assert_eq!((info.description.as_ref(), info.flags), (None, Default::default()));
    assert!(libraries.function(b"f3").is_none() && libraries.function(b"\xff").is_none());
    assert_eq!((libraries.libraries_count(), libraries.functions_count()), (1, 3));
    assert!(libraries.memory_bytes() > code.len());
}

#[test]
fn what_is_wrong_with_a_library_is_told_as_redis_tells_it() {
    let registering = "Error registering functions: ERR";
    let nonexistent = |name: &str| {
        format!(
            "{registering} user_function:2: Script attempted to access nonexistent global variable '{name}'"
        )
    };
    let readonly = format!("{registering} user_function:2: Attempt to modify a readonly table");
    let bad_name = "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";
    let of_function = |why: &str| format!("{registering} {why}");
    for (code, why) in [
        ("return (", "Error compiling function: user_function:2: unexpected symbol near '<eof>'".to_owned()),
        ("\x1bLua", "Error compiling function: user_function:2: unexpected symbol near 'char(27)'".to_owned()),
        ("return 1", "No functions registered".to_owned()),
        ("a = 1", readonly.clone()),
        ("KEYS = 1", readonly.clone()),
        ("redis.x = 1", readonly.clone()),
        ("redis['register_function'] = 1", readonly.clone()),
        ("redis.register_function('a', function() end) x = 1", readonly),
        ("return x", nonexistent("x")),
        ("return KEYS", nonexistent("KEYS")),
        ("return _G", nonexistent("_G")),
        ("return math.random()", nonexistent("math")),
        ("mt = getmetatable(_G)", nonexistent("getmetatable")),
        ("redis.call('ping')", nonexistent("call")),
        ("redis.setresp(3)", nonexistent("setresp")),
        ("redis.redis.call('ping')", nonexistent("redis")),
        ("redis.set_repl(redis.REPL_NONE)", nonexistent("set_repl")),
        ("redis.acl_check_cmd('set')", nonexistent("acl_check_cmd")),
        ("('x'):gsub('x', function() redis.call('x') end)", nonexistent("call")),
        ("local x = nil; x.y = 1", of_function("user_function:2: attempt to index local 'x' (a nil value)")),
        ("local function f() return f() + 1 end f()", of_function("user_function:2: stack overflow")),
        ("redis.log(1)", of_function("redis.log() requires two arguments or more.")),
        ("redis.register_function()", of_function("wrong number of arguments to redis.register_function")),
        ("redis.register_function(1, 2, 3)", of_function("wrong number of arguments to redis.register_function")),
        ("redis.register_function('a')", of_function("calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).")),
        ("redis.register_function(nil, function() end)", of_function("first argument to redis.register_function must be a string")),
        ("redis.register_function('a b', 1)", of_function("second argument to redis.register_function must be a function")),
        ("redis.register_function('a b', function() end)", of_function(bad_name)),
        ("redis.register_function('', function() end)", of_function(bad_name)),
        ("redis.register_function('a\\0b', function() end)", of_function(bad_name)),
        ("redis.register_function('a', redis.log) redis.register_function('a', redis.log)", of_function("Function already exists in the library")),
        ("redis.register_function{[true]=1}", of_function("named argument key given to redis.register_function is not a string")),
        ("redis.register_function{1}", of_function("unknown argument given to redis.register_function")),
        ("redis.register_function{bad=1}", of_function("unknown argument given to redis.register_function")),
        ("redis.register_function{function_name={}}", of_function("function_name argument given to redis.register_function must be a string")),
        ("redis.register_function{description={}}", of_function("description argument given to redis.register_function must be a string")),
        ("redis.register_function{callback='x'}", of_function("callback argument given to redis.register_function must be a function")),
        ("redis.register_function{flags=1}", of_function("flags argument to redis.register_function must be a table representing function flags")),
        ("redis.register_function{flags={'x'}}", of_function("unknown flag given")),
        ("redis.register_function{flags={function() end}}", of_function("unknown flag given")),
        ("redis.register_function{callback=redis.log}", of_function("redis.register_function must get a function name argument")),
        ("redis.register_function{function_name='x'}", of_function("redis.register_function must get a callback argument")),
    ] {
        let error = load(&Libraries::default(), &format!("#!lua name=e\n{code}"), true).unwrap_err();
        assert_eq!(error.to_string(), format!("ERR {why}"), "{code}");
    }
    assert_eq!(load(&Libraries::default(), "x", false).unwrap_err(), "ERR Missing library metadata");
}

#[test]
fn a_library_that_does_not_end_is_stopped_and_its_interpreter_goes_on() {
    let mut vm = Vm::new().unwrap();
    let libraries = Libraries::default();
    let endless = b"#!lua name=e\nlocal a = 1 while 1 do a = a + 1 end";
    let limit = Some(Duration::from_millis(20));
    let error = libraries.load(&mut vm, endless, false, limit).unwrap_err();
    assert_eq!(error, "ERR Error registering functions: ERR FUNCTION LOAD timeout");
    let busy = "#!lua name=l\nlocal a = 1 for i = 1, 1000000 do a = a + i end redis.register_function('f', redis.log)";
    let (libraries, _) = libraries.load(&mut vm, busy.as_bytes(), false, None).unwrap();
    assert_eq!(names(&libraries), ["l: f"]);
}

#[test]
fn names_are_taken_once() {
    let libraries = of(&[A_LIBRARY]);
    let collision = load(&libraries, "#!lua name=k\nredis.register_function('F', redis.log)", true);
    assert_eq!(collision.unwrap_err(), "ERR Function F already exists");
    assert_eq!(load(&libraries, A_LIBRARY, false).unwrap_err(), "ERR Library 'l' already exists");
    assert!(load(&libraries, "#!lua name=l\nx(", true).is_err());
    assert_eq!(names(&libraries), ["l: f"]);
    let replaced = load(&libraries, "#!lua name=l\nredis.register_function('F', redis.log)", true).unwrap();
    assert_eq!(names(&replaced), ["l: F"]);
    // Libraries are told apart by case, functions are not.
    let both = load(&replaced, "#!lua name=L\nredis.register_function('g', redis.log)", false).unwrap();
    assert_eq!(names(&both), ["L: g", "l: F"]);
    assert_eq!(both.matching(b"L*").count(), 2);
    assert_eq!(both.matching(b"k*").count(), 0);
}

#[test]
fn a_deleted_library_leaves_nothing_behind() {
    let libraries = of(&[
        A_LIBRARY,
        "#!lua name=k\nredis.register_function('g', redis.log) redis.register_function('G', redis.log)",
    ]);
    assert_eq!((libraries.libraries_count(), libraries.functions_count()), (2, 3));
    let without = libraries.delete(b"k").unwrap();
    assert!(without.function(b"g").is_none() && without.function(b"f").is_some());
    assert_eq!((without.libraries_count(), without.functions_count()), (1, 1));
    assert_eq!(without.delete(b"k").unwrap_err(), "ERR Library not found");
    assert!(libraries.function(b"g").is_some());
    let none = without.delete(b"l").unwrap();
    assert!(none.is_empty());
    assert_eq!(none.memory_bytes(), Libraries::default().memory_bytes());
}

/// Payloads that Redis 7.2.6 has made.
#[test]
fn payloads_are_those_of_redis() {
    let format = Format::default();
    let none = hex("0b003444e133f2e04b53");
    assert_eq!(Libraries::default().dump(format), none);
    let short = "f53323216c7561206e616d653d6c0a72656469732e72656769737465725f66756e6374696f6e282766272c72656469732e6c6f67290b005e4678a5791c972d";
    assert_eq!(of(&[A_LIBRARY]).dump(format), hex(short));
    let two = "f5c3409841131f23216c7561206e616d653d6c6f6e670a72656469732e72656769737465725f6607756e6374696f6e7bc008005f602a0c2767272c63616c6c6261636b3dc01a14286b6579732c2061726773292072657475726e2023401303202b202340151f20656e642c20666c6167733d7b276e6f2d777269746573277d2c206465736372016970406a0b3d2764277d202d2d20616263e06a02016263f53323216c7561206e616d653d6c0a72656469732e72656769737465725f66756e6374696f6e282766272c72656469732e6c6f67290b007488f60f420bbc95";
    let restored = restore(&Libraries::default(), &hex(two), RestorePolicy::Append).unwrap();
    assert_eq!(names(&restored), ["l: f", "long: g"]);
    let info = restored.function(b"g").unwrap().1;
    assert_eq!((info.description.as_deref(), info.flags.no_writes), (Some(&b"d"[..]), true));
    let again = restore(&Libraries::default(), &restored.dump(format), RestorePolicy::Append).unwrap();
    assert_eq!(names(&again), names(&restored));
    let old = restored.dump(Format { version: Version::V10, compression: Compression::None });
    assert_eq!(names(&restore(&Libraries::default(), &old, RestorePolicy::Flush).unwrap()), names(&restored));
}

#[test]
fn a_payload_that_cannot_be_restored_changes_nothing() {
    let libraries = of(&[A_LIBRARY]);
    let dump = libraries.dump(Format::default());
    let mut damaged = dump.clone();
    damaged[5] ^= 1;
    let footer = "DUMP payload version or checksum are wrong";
    for (payload, why) in [
        (vec![], footer),
        (b"bad_payload".to_vec(), footer),
        (damaged.clone(), footer),
        (dump[1..].to_vec(), footer),
        (sealed(b"\xf6\x01\x01"), "Pre-GA function format not supported"),
        (sealed(b"\x00\x01a\x01b"), "given type is not a function"),
        (sealed(b"\xf5"), "Failed loading library payload"),
        (sealed(b"\xf5\x45abc"), "Failed loading library payload"),
        (sealed(b"\xf5\xc4\x05"), "Failed loading library payload"),
        (sealed(b"\xf5\xc0\x05"), "Missing library metadata"),
        (sealed(b"\xf5\x03abc"), "Missing library metadata"),
        (
            sealed(&record("#!lua name=a\nx(").repeat(2)),
            "Error compiling function: user_function:2: unexpected symbol near '<eof>'",
        ),
        (sealed(&record(A_LIBRARY).repeat(2)), "Library 'l' already exists"),
        (
            sealed(
                &[record(A_LIBRARY), record("#!lua name=k\nredis.register_function('F', redis.log)")]
                    .concat(),
            ),
            "Function F already exists",
        ),
        (dump, "Library l already exists"),
        (
            sealed(&record("#!lua name=k\nredis.register_function('F', redis.log)")),
            "Function F already exists",
        ),
    ] {
        let error = restore(&libraries, &payload, RestorePolicy::Append).unwrap_err();
        assert_eq!(error.to_string(), format!("ERR {why}"), "{payload:?}");
    }
    // Asked not to look at the checksum, it sees what the payload has become.
    let error = libraries.restored(&mut Vm::new().unwrap(), &damaged, RestorePolicy::Append, true);
    assert_ne!(error.unwrap_err().to_string(), format!("ERR {footer}"));
}

#[test]
fn the_policy_tells_what_becomes_of_the_libraries_that_are_there() {
    let before = of(&[A_LIBRARY, "#!lua name=k\nredis.register_function('g', redis.log)"]);
    let payload = |code: &str| sealed(&record(code));
    let l_with_h = payload("#!lua name=l\nredis.register_function('h', redis.log)");
    let l_with_g = payload("#!lua name=l\nredis.register_function('g', redis.log)");
    let replaced = restore(&before, &l_with_h, RestorePolicy::Replace).unwrap();
    assert_eq!(names(&replaced), ["k: g", "l: h"]);
    let collision = restore(&before, &l_with_g, RestorePolicy::Replace);
    assert_eq!(collision.unwrap_err(), "ERR Function g already exists");
    assert_eq!(names(&restore(&before, &l_with_g, RestorePolicy::Flush).unwrap()), ["l: g"]);
    assert_eq!(names(&restore(&before, &sealed(b""), RestorePolicy::Append).unwrap()), names(&before));
    assert_eq!(RestorePolicy::parse(b"Replace"), Some(RestorePolicy::Replace));
    assert_eq!(RestorePolicy::parse(b"what"), None);
}

#[test]
fn the_libraries_of_a_file_are_loaded_all_or_none() {
    let mut vm = Vm::new().unwrap();
    let other = "#!lua name=k\nredis.register_function('g', redis.log)";
    let codes = || [A_LIBRARY.as_bytes(), other.as_bytes()].into_iter();
    let libraries = Libraries::default().loaded(&mut vm, codes(), false).unwrap();
    assert_eq!(names(&libraries), ["k: g", "l: f"]);
    assert_eq!(libraries.loaded(&mut vm, codes(), false).unwrap_err(), "ERR Library 'l' already exists");
    assert_eq!(names(&libraries.loaded(&mut vm, codes(), true).unwrap()), names(&libraries));
}

/// mlua can hold some thousand functions at a time only.
#[test]
fn libraries_may_be_many_and_have_many_functions() {
    let mut vm = Vm::new().unwrap();
    let large = "#!lua name=large\nfor i = 1, 20000 do redis.register_function('f' .. i, function() end) end";
    let (libraries, _) = Libraries::default().load(&mut vm, large.as_bytes(), false, None).unwrap();
    assert_eq!(libraries.functions_count(), 20_000);
    let codes: Vec<String> =
        (0..12_000).map(|i| format!("#!lua name=l{i}\nredis.register_function('g{i}', redis.log)")).collect();
    let libraries = libraries.loaded(&mut vm, codes.iter().map(String::as_bytes), false).unwrap();
    let (library, info) = libraries.function(b"g11999").unwrap();
    assert!(vm.prepare_function(library, &info.name).is_ok());
    vm.keep_libraries(&Libraries::default());
}

/// A thread of the server has less of a stack than matching may take.
#[test]
fn a_library_runs_on_a_stack_of_its_own() {
    let small = std::thread::Builder::new().stack_size(512 * 1024);
    let loaded = small.spawn(|| {
        let code = "#!lua name=l\nlocal p = ('x?'):rep(8192); ('x'):rep(8192):find(p)\nredis.register_function('f', redis.log)";
        names(&load(&Libraries::default(), code, false).unwrap())
    });
    assert_eq!(loaded.unwrap().join().unwrap(), ["l: f"]);
}
