//! Scripts of strangers keep within bounds: of memory, of time, and of what they share.

mod support;

use std::time::Duration;

use support::{within, Client, Server, Value};

const PATIENCE: Duration = Duration::from_secs(30);
const SHARDS: [&str; 3] = ["1", "2", "3"];

/// What is dead is collected before a script fails, wherever that may be: the stack, which a call with thousands of values has made
/// large, moves then.
#[test]
fn a_script_that_has_used_up_its_memory_goes_on_with_what_becomes_free() {
    for shards in ["1", "2"] {
        let server = Server::start(&["--shards", shards, "--lua-memory-limit", "16mb"]);
        let mut client = server.client();
        for call in [
            "struct.pack(('b'):rep(7000), unpack(numbers))",
            "struct.unpack(('b'):rep(7000), ('x'):rep(7000))",
            "cjson.decode(('['):rep(900) .. (']'):rep(900))",
            "cmsgpack.pack(unpack(numbers))",
            "cmsgpack.unpack(('\\1'):rep(7000))",
        ] {
            let script = format!(
                "local numbers, all = {{}}, {{}} for i = 1, 7000 do numbers[i] = i % 100 end \
                 for bits = 20, 12, -1 do \
                   while pcall(function() all[#all + 1] = ('x'):rep(2 ^ bits) .. #all end) do end \
                   pcall(function() return {call} end) \
                 end \
                 for i = #all, 1, -1 do all[i] = nil pcall(function() return {call} end) end \
                 return 'whole'"
            );
            let reply = client.call(&["EVAL", &script, "0"]);
            let is_short = reply.is_error() && reply.text().contains("not enough memory");
            assert!(is_short || reply.text() == "whole", "{call}: {reply:?}");
        }
        assert_eq!(client.call(&["EVAL", "return 1", "0"]), Value::Integer(1));
    }
}

#[test]
fn a_script_without_memory_fails_and_the_server_goes_on() {
    const LIMIT: u64 = 48 << 20;
    for shards in SHARDS {
        let server = Server::start(&["--shards", shards, "--lua-memory-limit", "48mb"]);
        for mut client in [server.client(), server.client3()] {
            for script in [
                "return ('x'):rep(100000):rep(2147483647)",
                "local s = 'x' while true do s = s .. s end",
                "local t = {} while true do t[#t + 1] = ('x'):rep(100000) .. #t end",
                "local t = {} for i = 1, 1e9 do t[i] = {} end",
                "return table.concat({('x'):rep(10000000)}, ('x'):rep(20000000), 1, 1) .. ('y'):rep(40000000)",
                "return string.gsub(('x'):rep(1000000), 'x', ('y'):rep(1000))",
                "local t = {('x'):rep(1000)} for i = 1, 30 do t = {t, t} end return cjson.encode(t)",
                "local t = {('x'):rep(1000)} for i = 1, 15 do local u = {} for j = 1, 9 do u[j] = t end t = u end return cmsgpack.pack(t)",
                "return cjson.decode('[' .. ('{},'):rep(2000000) .. '1]')",
                "local s, t = ('x'):rep(1000000), {} for i = 1, 5000 do t[i] = s end return redis.call('RPUSH', 'k', unpack(t))",
                "local t = {('x'):rep(1000)} for i = 1, 30 do t = {t, t} end return t",
            ] {
                let error = client.call(&["EVAL", script, "0"]);
                assert!(error.is_error() && error.text().contains("not enough memory"), "{script}: {error:?}");
                let caught = format!("local ok, e = pcall(function() {script} end) return {{tostring(ok), e}}");
                let caught = client.call(&["EVAL", &caught, "0"]);
                // What is returned becomes a reply outside of the script.
                if !script.ends_with("return t") {
                    assert!(caught.elements()[0].text() == "false", "{script}: {caught:?}");
                }
                let taken = client.call(&["INFO", "memory"]).text();
                let taken: Vec<&str> = taken.lines().filter(|line| line.starts_with("used_memory_lua:")).collect();
                assert_eq!(
                    client.call(&["EVAL", "return #('x'):rep(10000000)", "0"]),
                    Value::Integer(10_000_000),
                    "{shards} shards, after {script}, {taken:?}"
                );
            }
            // Garbage is no reason to fail.
            let wasteful = "for i = 1, 300 do local s = ('x'):rep(5000000) .. i end return 1";
            assert_eq!(client.call(&["EVAL", wasteful, "0"]), Value::Integer(1));
            let info = client.call(&["INFO", "memory"]).text();
            let used = info.lines().find_map(|line| line.strip_prefix("used_memory_lua:")).unwrap();
            assert!(used.parse::<u64>().unwrap() <= LIMIT, "{used}");
        }
        let mut client = server.client();
        assert!(client.call(&["CONFIG", "SET", "lua-memory-limit", "100mb"]).is_ok());
        assert_eq!(client.call(&["CONFIG", "GET", "lua-memory-limit"]).elements()[1].text(), "104857600");
        assert_eq!(client.call(&["EVAL", "return #('x'):rep(40000000)", "0"]), Value::Integer(40_000_000));
    }
}

#[test]
fn what_other_interpreters_have_is_no_reason_to_fail() {
    let server = Server::start(&["--shards", "2", "--lua-memory-limit", "48mb"]);
    // Each shard has one when the last of these asks.
    let mut clients: Vec<_> = (0..3).map(|_| server.client()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        let wasteful = "for i = 1, 100 do local s = ('x'):rep(5000000) .. i end return 1";
        assert_eq!(client.call(&["EVAL", wasteful, "0"]), Value::Integer(1), "client {at}");
    }
}

#[test]
fn others_get_their_turn_in_the_middle_of_any_function_and_a_kill_is_the_end() {
    for shards in SHARDS {
        let server = Server::start(&["--shards", shards, "--busy-reply-threshold", "50"]);
        let mut client = server.client();
        for script in [
            "string.find(('a'):rep(100000), ('.-'):rep(20) .. 'b')",
            "while true do xpcall(function() while true do end end, function() while true do end end) end",
            "while true do pcall(function() while true do end end) end",
            "string.find(('a'):rep(1000000), ('a'):rep(500000) .. 'b', 1, true)",
            "local t = {} for i = 1, 100000 do t[i] = 'x' end while true do table.concat(t, ',') end",
            "while true do redis.pcall('PING') end",
        ] {
            let mut slow = server.client();
            slow.send(&["EVAL", script, "0"]);
            assert!(
                within(PATIENCE, || client.call(&["PING"]).text().starts_with("BUSY")
                    || client.call(&["SCRIPT", "KILL"]).is_ok()),
                "{script}"
            );
            // A script over all shards holds its first one up; the client may be served by another.
            let _ = within(PATIENCE, || !client.call(&["SCRIPT", "KILL"]).text().starts_with("BUSY"));
            let error = slow.receive().text();
            assert!(within(PATIENCE, || !client.call(&["PING"]).is_error()));
            let sha = client.call(&["SCRIPT", "LOAD", script]).text();
            let place = format!("script: {sha}, on @user_script:1.");
            assert_eq!(error, format!("ERR Script killed by user with SCRIPT KILL... {place}"), "{script}");
        }
    }
}

#[test]
fn what_one_user_changes_no_other_one_sees() {
    for shards in SHARDS {
        let server = Server::start(&["--shards", shards]);
        let mut client = server.client();
        for (script, error) in [
            ("table.insert(redis, 'leak')", "ERR Attempt to modify a readonly table"),
            ("table.insert(_G, 1)", "ERR Attempt to modify a readonly table"),
            ("rawset(_G, 'x', 1)", "ERR Attempt to modify a readonly table"),
            ("rawset(string, 'x', 1)", "ERR Attempt to modify a readonly table"),
            ("setmetatable(redis, {})", "ERR Attempt to modify a readonly table"),
            ("setmetatable(_G, {})", "ERR Attempt to modify a readonly table"),
            ("getmetatable(_G).__index = 1", "ERR user_script:1: Attempt to modify a readonly table"),
            ("getmetatable('').__index = 1", "ERR user_script:1: Attempt to modify a readonly table"),
            ("getmetatable('').__index.rep = 1", "ERR user_script:1: Attempt to modify a readonly table"),
            ("redis.call = 1", "ERR user_script:1: Attempt to modify a readonly table"),
            ("x = 1", "ERR user_script:1: Attempt to modify a readonly table"),
            ("return x", "ERR user_script:1: Script attempted to access nonexistent global variable 'x'"),
            (
                "return newproxy",
                "ERR user_script:1: Script attempted to access nonexistent global variable 'newproxy'",
            ),
            ("setfenv(pcall, {})", "ERR user_script:1: 'setfenv' cannot change environment of given object"),
            (
                "setfenv(redis.status_reply, {})",
                "ERR user_script:1: 'setfenv' cannot change environment of given object",
            ),
            ("return string.find('x', '(')", "ERR user_script:1: unfinished capture"),
            ("return ('x'):find('[')", "ERR user_script:1: malformed pattern (missing ']')"),
            ("return {unpack({1, 2, 3}, -1, 2147483647)}", "ERR user_script:1: too many results to unpack"),
        ] {
            let sha = client.call(&["SCRIPT", "LOAD", script]).text();
            let place = format!("{error} script: {sha}, on @user_script:1.");
            assert_eq!(client.call(&["EVAL", script, "0"]).text(), place, "{script}");
        }
        // What Redis lets go through changes nothing either.
        for script in
            ["table.sort(redis)", "table.remove(redis)", "setfenv(0, {})", "setfenv(1, {}) return nil"]
        {
            assert!(client.call(&["EVAL", script, "0"]).is_null(), "{script}");
        }
        let count =
            "local n = 0 for k in pairs(redis) do n = n + 1 end return {n, redis[1] or 0, type(string.rep)}";
        let count = client.call(&["EVAL", count, "0"]);
        assert_eq!((count.elements()[0].integer(), count.elements()[1].integer()), (23, 0));
        let load = client.call(&[
            "FUNCTION",
            "LOAD",
            "#!lua name=l\nredis.register_function('f', function() return table.insert(redis, 1) end)\n\
             redis.register_function('g', function() return KEYS end)\nredis.register_function('h', function() setmetatable(_G, {}) end)",
        ]);
        assert_eq!(load.text(), "l");
        for (function, error) in [
            ("f", "ERR Attempt to modify a readonly table"),
            ("g", "ERR user_function:3: Script attempted to access nonexistent global variable 'KEYS'"),
            ("h", "ERR Attempt to modify a readonly table"),
        ] {
            let reply = client.call(&["FCALL", function, "0"]).text();
            assert!(reply.starts_with(error), "{function}: {reply}");
        }
    }
}

#[test]
fn a_script_that_says_it_writes_is_refused_without_memory_as_a_command_is() {
    for shards in SHARDS {
        let server = Server::start(&["--shards", shards, "--maxmemory", "1"]);
        let mut client = server.client();
        let refused = "OOM command not allowed when used memory > 'maxmemory'.";
        assert_eq!(client.call(&["EVAL", "#!lua\nreturn 1", "0"]).text(), refused);
        for flag in ["no-writes", "allow-oom"] {
            let script = format!("#!lua flags={flag}\nreturn 1");
            assert_eq!(client.call(&["EVAL", &script, "0"]), Value::Integer(1));
        }
    }
}

/// A script that writes, runs for some 400 ms and answers what only its own code knows.
const LONG: &str = "redis.call('SET', KEYS[1], 'begun') \
    local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end \
    local started, x = now(), 0 \
    repeat x = x + #string.rep('x', 100) until now() - started > 400 \
    redis.call('SET', KEYS[1], 'ended') \
    return {redis.call('GET', KEYS[1]), shared, cjson.encode({1, 2}), x > 0}";

/// Sends requests while such a call runs, each over a connection of its own. The call gives its own result. Returns the replies, and
/// whether the call was seen to run before and after them. `waits`: they are read when it has ended.
fn replies_during(server: &Server, by: &str, requests: &[Vec<Vec<u8>>], waits: bool) -> (Vec<Value>, bool) {
    let slow_before = server.log().matches("Slow script detected").count();
    let mut client = server.client();
    let mut slow = server.client();
    if by == "FCALL" {
        let code = format!(
            "#!lua name=l\nlocal shared = 'old'\nredis.register_function('f', function(KEYS, ARGV) {LONG} end)"
        );
        assert_eq!(client.call(&["FUNCTION", "LOAD", "REPLACE", &code]).text(), "l");
        slow.send(&["FCALL", "f", "1", "k"]);
    } else {
        slow.send(&["EVAL", &format!("local shared = 'old' {LONG}"), "1", "k"]);
    }
    let is_busy = |client: &mut Client| client.call(&["DBSIZE"]).text().starts_with("BUSY");
    let slow_calls = || server.log().matches("Slow script detected").count();
    assert!(within(PATIENCE, || slow_calls() > slow_before), "{by}");
    let is_seen = is_busy(&mut client);
    let mut others: Vec<Client> = (0..requests.len()).map(|_| server.client()).collect();
    for (other, request) in others.iter_mut().zip(requests) {
        other.set_timeout(PATIENCE);
        other.send(request);
    }
    let mut replies = Vec::new();
    if !waits {
        replies.extend(others.iter_mut().map(|other| other.receive()));
    }
    let is_running = is_seen && is_busy(&mut client);
    let answer = slow.receive();
    let answer: Vec<String> = answer.elements().iter().map(Value::text).collect();
    assert_eq!(answer[..3], ["ended", "old", "[1,2]"], "{by}");
    if waits {
        replies.extend(others.iter_mut().map(|other| other.receive()));
    }
    (replies, is_running)
}

fn words(request: &[&str]) -> Vec<Vec<u8>> {
    request.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn a_long_function_ends_by_its_own_code_whatever_is_done_to_its_engine() {
    const NEW: &str = "#!lua name=l\nredis.register_function('f', function() return 'new' end)";
    let with_shards = |shards: &str| {
        let options =
            ["--busy-reply-threshold", "50", "--appendonly", "yes", "--enable-debug-command", "yes"];
        let server = Server::start(&[&["--shards", shards], &options[..]].concat());
        let mut client = server.client();
        assert_eq!(client.call(&["FUNCTION", "LOAD", NEW]).text(), "l");
        client.send(&["FUNCTION", "DUMP"]);
        let Value::Bulk(dump) = client.receive() else { panic!("no dump") };
        let restore =
            |policy: &str| [words(&["FUNCTION", "RESTORE"]), vec![dump.clone(), policy.into()]].concat();
        for by in ["FCALL", "EVAL"] {
            let refused = [
                words(&["FUNCTION", "FLUSH"]),
                words(&["FUNCTION", "FLUSH", "ASYNC"]),
                words(&["FUNCTION", "DELETE", "l"]),
                words(&["FUNCTION", "LOAD", "REPLACE", NEW]),
                restore("FLUSH"),
                restore("REPLACE"),
                words(&["FLUSHALL"]),
                words(&["SWAPDB", "0", "1"]),
            ];
            let (replies, is_running) = replies_during(&server, by, &refused, false);
            let are_refused = replies.iter().all(|reply| reply.text().starts_with("BUSY"));
            assert!(are_refused || !is_running, "{shards} shards, {by}: {replies:?}");
            if is_running && by == "FCALL" {
                assert_eq!(client.call(&["FCALL", "f", "1", "k"]).elements()[1].text(), "old");
            }
            // These are refused, or wait, by the shard that they come to.
            let mut changing = vec![
                words(&["SCRIPT", "FLUSH"]),
                words(&["CONFIG", "SET", "lua-memory-limit", "1mb"]),
                words(&["DEBUG", "RELOAD"]),
                words(&["SCRIPT", "LOAD", "return 1"]),
                words(&["DEBUG", "LOADAOF"]),
                words(&["CONFIG", "RESETSTAT"]),
            ];
            changing.extend(refused);
            let (replies, _) = replies_during(&server, by, &changing, true);
            assert_eq!(replies.len(), changing.len());
            assert!(within(PATIENCE, || client.call(&["EVAL", "return 1", "0"]) == Value::Integer(1)));
            assert!(client.call(&["CONFIG", "SET", "lua-memory-limit", "1gb"]).is_ok());
            assert_eq!(client.call(&["FUNCTION", "LOAD", "REPLACE", NEW]).text(), "l");
            assert_eq!(client.call(&["FCALL", "f", "0"]).text(), "new");
            // Its client is closed: it has written, so it ends by itself.
            let mut gone = server.client();
            let id = gone.call(&["CLIENT", "ID"]).integer().to_string();
            gone.send(&["EVAL", &format!("local shared {LONG}"), "1", "gone"]);
            let mut killer = server.client();
            let kill = |killer: &mut Client| killer.call(&["CLIENT", "KILL", "ID", &id]).text();
            assert!(within(PATIENCE, || !kill(&mut killer).starts_with("BUSY")));
            drop(gone);
            assert!(within(PATIENCE, || client.call(&["GET", "gone"]).text() == "ended"), "{shards} shards");
            client.call(&["DEL", "gone"]);
        }
        assert!(!server.log().contains("panicked"), "{}", server.log());
    };
    std::thread::scope(|scope| {
        for shards in SHARDS {
            scope.spawn(move || with_shards(shards));
        }
    });
}

/// As in Redis, where functions have an interpreter of their own.
#[test]
fn settings_of_cjson_are_those_of_scripts_or_of_functions() {
    for shards in SHARDS {
        let server = Server::start(&["--shards", shards]);
        let mut client = server.client();
        let library = "#!lua name=l\nredis.register_function('depth', function(_, args) \
                       return cjson.encode_max_depth(tonumber(args[1])) end)";
        assert_eq!(client.call(&["FUNCTION", "LOAD", library]).text(), "l");
        assert_eq!(client.call(&["EVAL", "return cjson.encode_max_depth(7)", "1", "k"]), Value::Integer(7));
        assert_eq!(client.call(&["FCALL", "depth", "1", "k"]), Value::Integer(1000));
        assert_eq!(client.call(&["FCALL", "depth", "1", "k", "8"]), Value::Integer(8));
        assert_eq!(client.call(&["EVAL", "return cjson.encode_max_depth()", "1", "k"]), Value::Integer(7));
    }
}

fn used_by_lua(client: &mut Client) -> u64 {
    support::info(client, "used_memory_lua")
}

#[test]
fn an_interpreter_is_small_and_what_is_told_of_it_is_what_it_has() {
    const RUNS: usize = 10_000;
    for shards in SHARDS {
        // One is on the shard that has the key, one on that of the client, which looked whether the script can be compiled.
        let small = if shards == "1" { 100 * 1024 } else { 2 * 100 * 1024 };
        let server = Server::start(&["--shards", shards]);
        let mut client = server.client();
        assert_eq!(used_by_lua(&mut client), 0, "no script has run");
        for _ in 0..RUNS / 500 {
            let call = Client::encode(&["EVAL", "return redis.call('incr', KEYS[1])", "1", "x"]);
            client.send_raw(&call.repeat(500));
            (0..500).for_each(|_| assert!(!client.receive().is_error()));
            let used = used_by_lua(&mut client);
            assert!((10_000..small).contains(&used), "{used} bytes with {shards} shards");
        }
        assert_eq!(client.call(&["GET", "x"]).text(), RUNS.to_string());
        // What a script has made is counted before it is collected.
        let wasteful = "local t = {} for i = 1, 20 do t[i] = ('x'):rep(100000) .. i end return #t";
        assert_eq!(client.call(&["EVAL", wasteful, "1", "x"]).integer(), 20);
        let used = used_by_lua(&mut client);
        assert!(used > 2_000_000, "{used} bytes with 2 MB of garbage");
        // New interpreters, smaller than any that has run: the old ones are gone from the sum.
        assert!(client.call(&["SCRIPT", "FLUSH"]).is_ok());
        assert_eq!(client.call(&["EVAL", "return 1", "1", "x"]).integer(), 1);
        let used = used_by_lua(&mut client);
        assert!(used < small, "{used} bytes with {shards} shards after SCRIPT FLUSH");
    }
}
