//! Bytes that a client sent come back as the same bytes: in errors, directly, in MULTI, in EVAL (raised, returned and caught), in
//! both protocols and on any number of shards; in what MONITOR, CLIENT LIST, ACL LOG and INFO show, and in the log. A zero byte ends
//! a quoted argument, line breaks become spaces, and long arguments are cut, as in Redis.
//!
//! `WRITTEN` holds what must come; a table of some hundred requests more is compared with redis-server where that is
//! installed (`DIFFERENTIAL_ORACLE`: another one).

mod support;

use std::path::PathBuf;

use support::{Client, Server, Value};

const SHARDS: [usize; 3] = [1, 2, 3];

/// Stands for the odd bytes in a request.
const ODD: &str = "<>";

/// Every byte that is no ASCII, and those that somebody might take for more than they are.
fn odd_texts() -> Vec<Vec<u8>> {
    let mut texts: Vec<Vec<u8>> = vec![
        b"\xff\xfe\xc3".to_vec(),
        b"a\0b".to_vec(),
        b"a\r\nb".to_vec(),
        b"a\"b'c\\".to_vec(),
        b"\x7f\x1b\x01".to_vec(),
        b"caf\xe9".to_vec(),
        "é€".as_bytes().to_vec(),
        b"%s%n%.128s".to_vec(),
        b"".to_vec(),
    ];
    texts.push((0x80..=0xff).collect());
    texts.push([vec![b'x'; 100], vec![0xff; 10_000]].concat());
    texts
}

/// Requests that answer an error which quotes the odd bytes, or that do something with them. Those are left out whose
/// text Redis 7.2 has changed.
const REQUESTS: &[&str] = &[
    "<>",
    "<> <>",
    "<> a <> b",
    "get<>",
    "config <>",
    "client <>",
    "client <> x",
    "object <> x",
    "xinfo <>",
    "xgroup <>",
    "acl <>",
    "script <>",
    "function <>",
    "memory <>",
    "latency <>",
    "slowlog <>",
    "command <>",
    "pubsub <>",
    "debug <> <>",
    "config set <> x",
    "config set maxmemory <>",
    "config set maxmemory-policy <>",
    "config set notify-keyspace-events <>x",
    "config set save <>x",
    "client kill user <>",
    "client kill type <>",
    "client kill id <>",
    "client kill addr <>",
    "client list type <>",
    "client list id <>",
    "client list <> <>",
    "client setname <>",
    "client no-evict <>",
    "client pause <>",
    "client unblock <>",
    "client tracking <>",
    "client tracking on bcast prefix <> prefix <>z",
    "hello <>",
    "hello 2 <>",
    "auth <> <>",
    "acl setuser u <>x",
    "acl setuser u +<>x",
    "acl setuser u +@<>x",
    "acl setuser u +get|<>x",
    "acl setuser u +config|<>x",
    "acl setuser u (<>x",
    "acl setuser u #<>x",
    "acl setuser u <<>x",
    "acl setuser u %R<>x",
    "acl cat <>x",
    "acl dryrun <>x get x",
    "acl dryrun default <>x",
    "acl deluser <>x",
    "acl log <>x",
    "xreadgroup group <> <> streams <> >",
    "xreadgroup group g c streams <> 0",
    "xack s <> <>",
    "xadd s <> a b",
    "xpending <> <>",
    "xclaim <> <> c 0 1-1",
    "xclaim st g c 0 1-1 <>",
    "xclaim st g c <> 1-1",
    "xautoclaim <> <> c 0 0",
    "xinfo stream <>",
    "xinfo consumers st <>",
    "xinfo consumers <> <>",
    "xgroup create <> <> $",
    "xgroup setid st <> $",
    "xgroup delconsumer st <> <>",
    "xgroup createconsumer st <> <>",
    "expire k 1 <>",
    "expire k <>",
    "set k v <>",
    "sort l <>",
    "scan 0 <> <>",
    "geosearch g fromlonlat 1 1 <>",
    "geodist g a b <>",
    "geoadd g <> 1 m",
    "zadd z <> m",
    "zrangebyscore z <> 1",
    "bitfield k <>",
    "bitop <> a b",
    "pfdebug <> hll",
    "restore r 0 <>",
    "latency graph <>",
    "latency history <>",
    "memory usage k <>",
    "command list filterby <> <>",
    "command list filterby aclcat <>",
    "evalsha <> 0",
    "script exists <>",
    "script flush <>x",
    "function load <>",
    "function delete <>",
    "function list libraryname <>",
    "function restore <>",
    "function flush <>x",
    "fcall <> 0",
    "fcall failing 0 <>",
    "replconf <>x x",
    "subscribe",
    "ping <>",
    "echo <>",
    "ping <> <>",
    "bgsave <>x",
    "flushall <>x",
    "publish <> <>",
    "pubsub numsub <>",
];

/// Scripts whose only argument is the odd text. Those that raise it come after, without those texts of which Redis 7.0 and 7.2
/// make something that is no reply.
const SCRIPTS: &[&str] = &[
    "return redis.error_reply(ARGV[1])",
    "return redis.error_reply('-'..ARGV[1])",
    "return redis.error_reply('MY '..ARGV[1])",
    "return redis.error_reply('-MY '..ARGV[1])",
    "return {redis.error_reply(ARGV[1])}",
    "return redis.status_reply(ARGV[1])",
    "return {ok=ARGV[1]}",
    "return redis.pcall(ARGV[1])",
    "return redis.pcall('xack', 's', ARGV[1], ARGV[1])",
    "return redis.pcall('xgroup', 'create', 'none', ARGV[1], ARGV[1])",
    "return redis.pcall('xclaim', ARGV[1], ARGV[1], 'c', '0', '1-1').err",
    "local ok, e = pcall(error, ARGV[1]) return e",
    "local ok, e = pcall(redis.call, 'xclaim', ARGV[1], ARGV[1], 'c', '0', '1-1') return e",
    "local f, e = loadstring('x', ARGV[1]) return e",
    "local f, e = loadstring(ARGV[1]) return e",
    "local ok, e = pcall(string.format, '%d', ARGV[1]) return e",
    "return redis.sha1hex(ARGV[1])",
    "return {verbatim_string={format='txt', string=ARGV[1]}}",
];

const RAISING_SCRIPTS: &[&str] = &[
    "error(ARGV[1])",
    "error({err=ARGV[1]})",
    "error(redis.error_reply(ARGV[1]))",
    "return redis.call('xclaim', ARGV[1], ARGV[1], 'c', '0', '1-1')",
    "return redis.call('expire', 'k', '1', ARGV[1])",
    "return bit.tohex(ARGV[1])",
    "return ARGV[1] + 1",
];

/// Texts of scripts that do not compile, and of libraries that are none: the odd bytes are in them.
const SOURCES: &[&str] =
    &["return <>", "'<>", "x = <> y", "#!<>\nreturn 1", "#!lua <>\nreturn 1", "#!lua flags=<>\nreturn 1"];
const LIBRARIES: &[&str] = &[
    "#!lua name=<>\nreturn 1",
    "#!<> name=x\nreturn 1",
    "#!lua name=x <>\nreturn 1",
    "#!lua name=x\nreturn <>",
];

fn filled(pattern: &str, odd: &[u8]) -> Vec<u8> {
    let pieces: Vec<&[u8]> = pattern.split(ODD).map(str::as_bytes).collect();
    pieces.join(odd)
}

fn words(pattern: &str, odd: &[u8]) -> Vec<Vec<u8>> {
    pattern.split(' ').map(|word| filled(word, odd)).collect()
}

fn request(words: &[&[u8]]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.to_vec()).collect()
}

fn prepare(server: &Server) {
    let mut client = server.client();
    for line in [
        "set k v",
        "rpush l a",
        "zadd z 1 m",
        "geoadd g 1 1 a",
        "xgroup create st g $ mkstream",
        "pfadd hll a",
    ] {
        client.call(&words(line, b""));
    }
    let library = "#!lua name=failing\nredis.register_function('failing', function(k, a) return redis.error_reply(a[1]) end)";
    client.call(&["function", "load", library]);
}

/// A request, and the ways by which it can be made.
fn ways(args: &[Vec<u8>]) -> Vec<Vec<Vec<Vec<u8>>>> {
    let by_script = |script: &str| {
        let mut call = request(&[b"eval", script.as_bytes(), b"0"]);
        call.extend(args.iter().cloned());
        vec![call]
    };
    let multi = |name: &[u8]| request(&[name]);
    vec![
        vec![args.to_vec()],
        vec![multi(b"multi"), args.to_vec(), multi(b"exec"), multi(b"discard")],
        by_script("return redis.call(unpack(ARGV))"),
        by_script("return redis.pcall(unpack(ARGV))"),
        by_script("local ok, e = pcall(redis.call, unpack(ARGV)) return tostring(ok) .. (ok and '' or e)"),
    ]
}

/// The bytes of all replies to a pipeline.
fn replies(client: &mut Client, requests: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    let all: Vec<u8> = requests.iter().flat_map(|args| Client::encode(args)).collect();
    client.send_raw(&all);
    requests.iter().map(|_| client.receive_raw()).collect()
}

/// What Redis 7 answers with one name more or less than 7.2, or by chance.
fn is_comparable(args: &[Vec<u8>], way: usize) -> bool {
    let is = |index: usize, name: &str| {
        args.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(name.as_bytes()))
    };
    // 7.0 looks at a name beyond its first zero byte.
    let is_cut_name =
        is(0, "client") && is(1, "setname") && args.get(2).is_some_and(|name| name.contains(&0));
    // Its reply to AUTH in a MULTI loses its place.
    !(is(0, "auth") && way == 1 || is(0, "script") && is(1, "debug") || is_cut_name)
}

fn oracle() -> Option<Server> {
    match std::env::var_os("DIFFERENTIAL_ORACLE") {
        Some(binary) => {
            Some(Server::start_binary(&PathBuf::from(binary), &["--enable-debug-command", "yes"]))
        }
        None => Server::redis(&["--enable-debug-command", "yes"]),
    }
}

/// All of the table.
fn table() -> Vec<Vec<Vec<Vec<u8>>>> {
    let mut table = Vec::new();
    for odd in odd_texts() {
        for pattern in REQUESTS {
            let args = words(pattern, &odd);
            let ways = ways(&args).into_iter().enumerate();
            table.extend(ways.filter(|(way, _)| is_comparable(&args, *way)).map(|(_, requests)| requests));
        }
        let has_breaks = odd.contains(&b'\n') || odd.contains(&b'\r');
        let raising = RAISING_SCRIPTS.iter().filter(|_| !has_breaks);
        for script in SCRIPTS.iter().chain(raising) {
            table.push(vec![request(&[b"eval", script.as_bytes(), b"0", &odd])]);
        }
        if has_breaks || odd.contains(&0) {
            continue;
        }
        for source in SOURCES {
            table.push(vec![request(&[b"eval", &filled(source, &odd), b"0"])]);
            table.push(vec![request(&[b"script", b"load", &filled(source, &odd)])]);
        }
        table
            .extend(LIBRARIES.iter().map(|code| vec![request(&[b"function", b"load", &filled(code, &odd)])]));
    }
    table
}

#[test]
fn errors_quote_the_bytes_as_redis_does() {
    let Some(redis) = oracle() else { return };
    prepare(&redis);
    let table = table();
    let mut differences = Vec::new();
    for shards in SHARDS {
        let server = Server::start(&["--shards", &shards.to_string(), "--enable-debug-command", "yes"]);
        prepare(&server);
        for is_resp3 in [false, true] {
            let client_of = |server: &Server| if is_resp3 { server.client3() } else { server.client() };
            let (mut theirs, mut ours) = (client_of(&redis), client_of(&server));
            for requests in &table {
                let (expected, got) = (replies(&mut theirs, requests), replies(&mut ours, requests));
                let shown = |texts: &[Vec<u8>]| {
                    texts
                        .iter()
                        .map(|text| text[..text.len().min(400)].escape_ascii().to_string())
                        .collect::<Vec<_>>()
                };
                if expected != got {
                    differences.push(format!(
                        "{shards} shards, RESP3 {is_resp3}: {:?}\nRedis {:?}\nGyre  {:?}",
                        requests.iter().map(|args| shown(args)).collect::<Vec<_>>(),
                        shown(&expected),
                        shown(&got)
                    ));
                }
            }
        }
    }
    let first: Vec<&String> = differences.iter().take(20).collect();
    assert!(differences.is_empty(), "{} differences, the first ones:\n{first:#?}", differences.len());
}

/// Requests and their replies, where no other server is there to compare with. In RESP3 they are the same.
const WRITTEN: &[(&[&[u8]], &[u8])] = &[
    (&[b"\xff\xfe\xc3"], b"-ERR unknown command '\xff\xfe\xc3', with args beginning with: \r\n"),
    (
        &[b"a\r\nb", b"\xff\0x", b"'"],
        b"-ERR unknown command 'a  b', with args beginning with: '\xff' ''' \r\n",
    ),
    (&[b"config", b"\xff\n"], b"-ERR unknown subcommand '\xff '. Try CONFIG HELP.\r\n"),
    (
        &[b"config", b"set", b"\xff", b"x"],
        b"-ERR Unknown option or number of arguments for CONFIG SET - '\xff'\r\n",
    ),
    (&[b"client", b"kill", b"user", b"\xff"], b"-ERR No such user '\xff'\r\n"),
    (&[b"client", b"kill", b"type", b"\xff"], b"-ERR Unknown client type '\xff'\r\n"),
    (&[b"client", b"setinfo", b"\xff", b"x"], b"-ERR Unrecognized option '\xff'\r\n"),
    (&[b"hello", b"2", b"\xff"], b"-ERR Syntax error in HELLO option '\xff'\r\n"),
    (
        &[b"acl", b"setuser", b"u", b"+\xff"],
        b"-ERR Error in ACL SETUSER modifier '+\xff': Unknown command or category name in ACL\r\n",
    ),
    (
        &[b"acl", b"setuser", b"u", b"(\xff"],
        b"-ERR Unmatched parenthesis in acl selector starting at '(\xff'.\r\n",
    ),
    (&[b"acl", b"cat", b"\xff"], b"-ERR Unknown category '\xff'\r\n"),
    (&[b"acl", b"dryrun", b"\xff", b"get", b"x"], b"-ERR User '\xff' not found\r\n"),
    (&[b"acl", b"dryrun", b"default", b"\xff"], b"-ERR Command '\xff' not found\r\n"),
    (
        &[b"xreadgroup", b"group", b"\xff", b"c", b"streams", b"\xfe\0x", b">"],
        b"-NOGROUP No such key '\xfe' or consumer group '\xff' in XREADGROUP with GROUP option\r\n",
    ),
    (
        &[b"xclaim", b"\xff", b"\xfe", b"c", b"0", b"1-1"],
        b"-NOGROUP No such key '\xff' or consumer group '\xfe'\r\n",
    ),
    (&[b"xclaim", b"st", b"g", b"c", b"0", b"1-1", b"\xff"], b"-ERR Unrecognized XCLAIM option '\xff'\r\n"),
    (&[b"expire", b"k", b"1", b"\xff"], b"-ERR Unsupported option \xff\r\n"),
    (&[b"latency", b"graph", b"\xff"], b"-ERR No samples available for event '\xff'\r\n"),
    (&[b"pfdebug", b"\xff", b"hll"], b"-ERR Unknown PFDEBUG subcommand '\xff'\r\n"),
    (&[b"function", b"list", b"\xff\r\n."], b"-ERR Unknown argument \xff  .\r\n"),
    (&[b"function", b"load", b"\xff", b"x"], b"-ERR Unknown option given: \xff\r\n"),
    (&[b"function", b"load", b"#!\xff name=x\n"], b"-ERR Engine '\xff' not found\r\n"),
    (&[b"eval", b"#!\xff\n", b"0"], b"-ERR Unexpected engine in script shebang: #!\xff\r\n"),
    (&[b"eval", b"#!lua \xff\0\n", b"0"], b"-ERR Invalid script shebang\r\n"),
    (
        &[b"eval", b"return \xff", b"0"],
        b"-ERR Error compiling script (new function): user_script:1: unexpected symbol near '\xff'\r\n",
    ),
    (&[b"eval", b"return redis.error_reply(ARGV[1])", b"0", b"\n\xff\r\n."], b"-ERR \xff  .\r\n"),
    (&[b"eval", b"return redis.error_reply(ARGV[1])", b"0", b"A \xff\0x"], b"-A \xff\r\n"),
    (
        &[b"eval", b"error({err=ARGV[1]})", b"0", b"\xff\r\n."],
        b"-\xff  . script: aa2fd30dcb5d6fb1c4bcf20fac3c8af86d2ae1b9, on @user_script:1.\r\n",
    ),
    (&[b"eval", b"local ok, e = pcall(error, ARGV[1]) return e", b"0", b"\xff\0"], b"$2\r\n\xff\0\r\n"),
    (&[b"echo", b"\xff\0\r\n"], b"$4\r\n\xff\0\r\n\r\n"),
];

#[test]
fn errors_quote_the_bytes_that_are_written_here() {
    for shards in SHARDS {
        let server = Server::with_shards(shards);
        prepare(&server);
        for mut client in [server.client(), server.client3()] {
            for (args, expected) in WRITTEN {
                let mut expected = expected.to_vec();
                // The script's name.
                if let Some(at) = expected.windows(9).position(|part| part == b" script: ") {
                    let sha =
                        client.call(&["eval", "return redis.sha1hex(ARGV[1])", "0", "error({err=ARGV[1]})"]);
                    expected.splice(at + 9..at + 49, sha.text().bytes());
                }
                let got = replies(&mut client, &[request(args)]).remove(0);
                assert_eq!(
                    got.escape_ascii().to_string(),
                    expected.escape_ascii().to_string(),
                    "{shards} shards: {}",
                    args.join(&b' ').escape_ascii()
                );
            }
        }
    }
}

#[test]
fn a_protocol_error_shows_the_byte_that_it_found() {
    for shards in SHARDS {
        let server = Server::with_shards(shards);
        for (found, shown) in [(0xff, 0xff), (0xc3, 0xc3), (b'\r', b' '), (b'x', b'x')] {
            let mut client = server.client();
            client.send_raw(&[b"*1\r\n", &[found][..], b"1\r\n"].concat());
            let expected = [b"-ERR Protocol error: expected '$', got '", &[shown][..], b"'\r\n"].concat();
            assert_eq!(client.receive_until_closed(), expected, "{found}");
        }
    }
}

#[test]
fn what_tells_of_clients_and_errors_has_their_bytes() {
    const NAME: &[u8] = b"eve\xff\xfe";
    for shards in SHARDS {
        let server = Server::with_shards(shards);
        let mut admin = server.client();
        let contains = |text: &[u8], part: &[u8]| {
            let found = text.windows(part.len()).any(|window| window == part);
            assert!(found, "no {} in {}", part.escape_ascii(), text.escape_ascii());
        };
        let raw = |client: &mut Client, args: &[&[u8]]| replies(client, &[request(args)]).remove(0);
        let set_user: [&[u8]; 8] = [b"acl", b"setuser", NAME, b"on", b"nopass", b"+@all", b"-get", b"&*"];
        assert!(admin.call(&set_user).is_ok());
        let mut eve = server.client();
        assert!(eve.call(&[&b"auth"[..], NAME, b"x"]).is_ok());
        let denied = raw(&mut eve, &[b"get", b"k"]);
        let text = [b"-NOPERM User ", NAME, b" has no permissions to run the 'get' command\r\n"].concat();
        assert_eq!(denied, text);
        let scripted = raw(&mut eve, &[b"eval", b"return redis.pcall('get', 'k')", b"0"]);
        let text =
            [b"-ERR ACL failure in script: User ", NAME, b" has no permissions to run the 'get' command\r\n"];
        assert_eq!(scripted, text.concat());
        contains(&raw(&mut eve, &[b"acl", b"whoami"]), NAME);
        contains(&raw(&mut admin, &[b"client", b"list"]), &[b" user=", NAME, b" "].concat());
        contains(&raw(&mut eve, &[b"client", b"info"]), &[b" user=", NAME, b" "].concat());
        contains(&raw(&mut admin, &[b"acl", b"log"]), &[b" user=", NAME, b" "].concat());
        contains(&raw(&mut admin, &[b"acl", b"list"]), &[b"user ", NAME, b" on"].concat());
        contains(&raw(&mut admin, &[b"acl", b"dryrun", NAME, b"get", b"x"]), NAME);

        let own_code: [&[u8]; 4] = [b"eval", b"return redis.error_reply(ARGV[1])", b"0", b"-MY\xff:# code"];
        assert!(admin.call(&own_code).is_error());
        contains(&raw(&mut admin, &[b"info", b"errorstats"]), b"errorstat_MY\xff__:count=1\r\n");

        let mut monitor = server.client();
        assert!(monitor.call(&["monitor"]).is_ok());
        admin.call(&[&b"echo"[..], b"\xff\0\"\\\n\x07\x7f\xc3\xa9"]);
        let line = monitor.receive_raw();
        contains(&line, b"\"echo\" \"\\xff\\x00\\\"\\\\\\n\\a\\x7f\\xc3\\xa9\"\r\n");
        drop(monitor);

        admin.call(&[&b"eval"[..], b"redis.log(3, ARGV[1])", b"0", b"from a script \xff\xfe.\0hidden"]);
        admin.call(&[&b"config"[..], b"set", b"loglevel", b"debug"]);
        assert_eq!(admin.call(&["ping"]), Value::Simple("PONG".to_owned()));
        let log = std::fs::read(server.dir.join("log")).expect("the server logs");
        contains(&log, b"# from a script \xff\xfe.\n");
    }
}
