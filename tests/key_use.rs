//! Which keys commands use: exactly those that COMMAND GETKEYS names, whatever their options look like.
//!
//! Requests are made out of the grammar that COMMAND DOCS has, and then spoilt: options are repeated, cut off and put elsewhere,
//! keys are called like options, numbers are at their limits. Each runs on one shard and on three. Both answer the
//! same and have the same keys afterwards; what changed is what COMMAND GETKEYSANDFLAGS says is written; and a
//! user with rights on some of the keys neither changes nor sees any other.
//!
//! `KEY_USE_COMMANDS` makes it longer, `KEY_USE_SEED` repeats a run, and `KEY_USE_ORACLE` names a redis-server to compare with.

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use gyre::command::table::arg::{Arg, ArgKind};
use gyre::command::table::spec::Group;
use gyre::command::table::{all, CommandSpec, Flag, Handler};
use support::{seed, setting, Client, Random, Server, Value};

type Request = Vec<Vec<u8>>;

/// Names of keys: ordinary ones, and some that are options, numbers and separators elsewhere.
const KEYS: &str = "a b c d e f g h STORE streams LIMIT by GET count block 1 2 0 -1 storedist group KEYS replace db weights * #";

/// What may stand where a number should.
const NUMBERS: &str =
    "0 1 2 3 -1 -2 5 01 +1 1x x 1.5 1e3 inf nan 2147483647 2147483648 4294967297 -2147483649 \
                       9223372036854775807 9223372036854775808 -9223372036854775808 99999999999999999999";

/// What may stand where a text should.
const TEXTS: &str = "m n 1 2 3 field 0-1 1-1 5-5 > $ - + g u8 #1 WRAP sat [a (b [m nosort w* * a*->field km asc SET STORE left \
                     RIGHT min get";

/// What a stream is read from.
const IDS: &str = "> $ 0 0-0 1-1";

/// Scripts: with keys that they name, and that they do not.
const SCRIPTS: &[&str] = &[
    "return redis.call('GET', KEYS[1])",
    "return redis.call('SET', KEYS[1], 'x')",
    "return redis.pcall('DEL', ARGV[1])",
    "return redis.pcall('SORT', KEYS[1], 'BY', 'nosort', 'GET', '*')",
    "return redis.pcall('GEORADIUS', KEYS[1], '1', '1', '100', 'km', 'STORE', 'a', 'STORE', ARGV[1] or 'b')",
    "return #KEYS",
];

/// Values, one for a key `K`, and the groups of commands that like them.
const VALUES: &[(&str, &[Group])] = &[
    ("SET K 5", &[Group::String, Group::Bitmap, Group::Generic]),
    ("SET K text", &[Group::String, Group::Bitmap]),
    ("RPUSH K 1 2 3", &[Group::List, Group::Generic]),
    ("SADD K 1 2 m", &[Group::Set, Group::Generic]),
    ("ZADD K 1 m 2 n 3 1", &[Group::SortedSet, Group::Generic]),
    ("GEOADD K 1 1 m 1.1 1 n", &[Group::Geo, Group::SortedSet]),
    ("HSET K field 1 m 2", &[Group::Hash]),
    ("XADD K 1-1 field v", &[Group::Stream]),
    ("PFADD K m n", &[Group::HyperLogLog]),
];

/// Commands that this test leaves alone: they answer with the time, with what is there by chance, or of other keys than they
/// name; or what they do depends on the time.
const LEFT_OUT: &str = "randomkey srandmember hrandfield zrandmember spop sscan hscan zscan pfdebug pfselftest object|freq \
                        object|idletime object|help object|encoding xautoclaim xclaim xpending xinfo|stream xinfo|consumers \
                        xinfo|groups xinfo|help xgroup|help restore restore-asking dump touch move copy";

/// They leave something that the digest of a key does not show.
fn leaves_traces(spec: &CommandSpec) -> bool {
    ["xgroup", "xreadgroup", "xack", "xsetid"].iter().any(|name| spec.name.starts_with(name))
}

/// Whether keys are there depends on when they are looked at.
fn is_timed(spec: &CommandSpec, request: &Request) -> bool {
    let timed = ["set", "getex", "setex", "psetex", "expire", "pexpire", "expireat", "pexpireat"];
    timed.contains(&spec.name) || spec.name == "xadd" && request.iter().any(|word| word == b"*")
}

fn words(text: &str) -> Request {
    text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

struct Maker {
    random: Random,
    /// What fills the keys, and which keys are for which commands.
    content: Vec<Request>,
    liked: HashMap<&'static str, Vec<Vec<u8>>>,
    group: Group,
}

impl Maker {
    fn one(&mut self, from: &str) -> Vec<u8> {
        self.random.pick(&words(from)).clone()
    }

    fn key(&mut self) -> Vec<u8> {
        match self.liked.get(self.group.name()) {
            Some(keys) if !self.random.one_in(4) => self.random.pick(keys).clone(),
            _ => self.one(KEYS),
        }
    }

    fn number(&mut self) -> Vec<u8> {
        if self.random.one_in(12) {
            return self.one(NUMBERS);
        }
        self.random.below(4).to_string().into_bytes()
    }

    /// A value for most of the keys.
    fn fill(&mut self) {
        self.content.clear();
        self.liked.clear();
        for key in words(KEYS) {
            if self.random.one_in(4) {
                continue;
            }
            let (value, groups) = *self.random.pick(VALUES);
            let request = words(value).into_iter().map(|word| if word == b"K" { key.clone() } else { word });
            self.content.push(request.collect());
            if groups.contains(&Group::Stream) {
                self.content.push([words("XGROUP CREATE"), vec![key.clone()], words("g 0")].concat());
            }
            for group in groups {
                self.liked.entry(group.name()).or_default().push(key.clone());
            }
        }
    }

    /// A request for a command by its grammar, more or less.
    fn request(&mut self, spec: &CommandSpec) -> Request {
        self.group = spec.docs.group;
        let mut request: Request = spec.name.split('|').map(|word| word.as_bytes().to_vec()).collect();
        let mut optional: Vec<Arg> = Vec::new();
        for arg in spec.docs.args {
            if arg.optional {
                optional.push(Arg { optional: false, ..*arg });
                if self.random.one_in(2) {
                    continue;
                }
            }
            self.add(arg, &mut request);
        }
        // Options in any order, and one of them twice.
        if !optional.is_empty() {
            for _ in 0..self.random.below(optional.len() + 2) {
                let option = *self.random.pick(&optional);
                self.add(&option, &mut request);
            }
            if self.random.one_in(3) {
                let option = *self.random.pick(&optional);
                self.add(&option, &mut request);
                self.add(&option, &mut request);
            }
        }
        if spec.name.starts_with("xread") && self.random.one_in(2) {
            self.end_with_streams(&mut request);
        }
        self.count_keys(spec, &mut request);
        if spec.name.starts_with("eval") && !spec.name.starts_with("evalsha") {
            request[1] = self.random.pick(SCRIPTS).as_bytes().to_vec();
        }
        if self.random.one_in(2) {
            self.spoil(&mut request);
        }
        request
    }

    /// Puts STREAMS and what follows it where it is right.
    fn end_with_streams(&mut self, request: &mut Request) {
        if let Some(at) = request.iter().rposition(|word| word.eq_ignore_ascii_case(b"streams")) {
            request.truncate(at);
        }
        request.push(b"STREAMS".to_vec());
        let count = 1 + self.random.below(2);
        request.extend((0..count).map(|_| self.key()).collect::<Vec<_>>());
        request.extend((0..count).map(|_| self.one(IDS)).collect::<Vec<_>>());
    }

    /// As a rule the number of keys is right.
    fn count_keys(&mut self, spec: &CommandSpec, request: &mut Request) {
        let Some(before) = spec.docs.args.iter().position(|arg| arg.name == "numkeys") else { return };
        let before = before + 1;
        if before >= request.len() || self.random.one_in(6) {
            return;
        }
        let count = self.random.below(4);
        let tail = request.split_off(before);
        request.push(count.to_string().into_bytes());
        request.extend((0..count).map(|_| self.key()).collect::<Vec<_>>());
        let names = words(KEYS);
        request.extend(tail.into_iter().skip(1).skip_while(|word| names.contains(word)));
    }

    fn add(&mut self, arg: &Arg, request: &mut Request) {
        let times = if arg.multiple { 1 + self.random.below(3) } else { 1 };
        for time in 0..times {
            if let Some(token) = arg.token.filter(|_| time == 0 || arg.multiple_token) {
                request.push(token.as_bytes().to_vec());
            }
            match arg.kind {
                ArgKind::PureToken => {}
                ArgKind::Key => request.push(self.key()),
                ArgKind::Double if arg.name.contains("timeout") => request.push(b"0.01".to_vec()),
                ArgKind::Integer | ArgKind::UnixTime | ArgKind::Double => request.push(self.number()),
                ArgKind::String | ArgKind::Pattern => request.push(self.one(TEXTS)),
                ArgKind::OneOf => {
                    let part = *self.random.pick(arg.parts);
                    self.add(&part, request);
                }
                ArgKind::Block => {
                    for part in arg.parts {
                        if !part.optional || self.random.one_in(2) {
                            self.add(part, request);
                        }
                    }
                }
            }
        }
    }

    fn spoil(&mut self, request: &mut Request) {
        let len = request.len();
        if len < 2 {
            return;
        }
        let at = 1 + self.random.below(len - 1);
        match self.random.below(7) {
            0 => request.truncate(at + 1),
            1 => drop(request.remove(at)),
            2 => {
                let end = (at + 1 + self.random.below(3)).min(len);
                let repeated: Request = request[at..end].to_vec();
                let to = 1 + self.random.below(len);
                request.splice(to..to, repeated);
            }
            3 => request.swap(at, 1 + self.random.below(len - 1)),
            4 => request[at] = self.one(KEYS),
            5 => request[at] = self.one(NUMBERS),
            _ => request.insert(at, self.one(KEYS)),
        }
    }
}

fn refill(client: &mut Client, requests: &[Request]) {
    client.call(&["FLUSHALL"]);
    client.pipeline(requests);
}

type Keyspace = BTreeMap<Vec<u8>, String>;
type Names = BTreeSet<Vec<u8>>;

fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::Bulk(bytes) => bytes.clone(),
        other => panic!("no bulk string: {other:?}"),
    }
}

/// Every key with a digest of its value.
fn keyspace(client: &mut Client) -> Keyspace {
    let keys: Request = client.call(&["KEYS", "*"]).elements().iter().map(bytes).collect();
    if keys.is_empty() {
        return BTreeMap::new();
    }
    let digests = client.call(&[words("DEBUG DIGEST-VALUE"), keys.clone()].concat());
    keys.into_iter().zip(digests.elements().iter().map(Value::text)).collect()
}

fn changed(before: &Keyspace, after: &Keyspace) -> Names {
    let keys = before.keys().chain(after.keys());
    keys.filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

fn digest(client: &mut Client) -> String {
    client.call(&["DEBUG", "DIGEST"]).text()
}

/// A request, or names, as one reads them.
fn shown<'a>(all: impl IntoIterator<Item = &'a Vec<u8>>) -> String {
    all.into_iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs it so that it does not wait.
fn run(client: &mut Client, spec: &CommandSpec, request: &Request) -> Value {
    let reply = if spec.is(Flag::Blocking) {
        let replies = client.pipeline(&[words("MULTI"), request.clone(), words("EXEC")]);
        replies[if replies[1].is_error() { 1 } else { 2 }].clone()
    } else {
        client.call(request)
    };
    // The order of a set's elements is nobody's business.
    let unordered = ["smembers", "sunion", "sinter", "sdiff", "hgetall", "hkeys", "hvals", "sort", "sort_ro"];
    match reply {
        Value::Array(mut list) if unordered.contains(&spec.name) => {
            list.sort_by_key(|value| format!("{value:?}"));
            Value::Array(list)
        }
        reply => reply,
    }
}

fn keys_and_flags(client: &mut Client, request: &Request) -> Value {
    client.call(&[words("COMMAND GETKEYSANDFLAGS"), request.clone()].concat())
}

/// The keys that are written, by the reply of `keys_and_flags`.
fn written(reply: &Value) -> Names {
    let Value::Array(keys) = reply else { return Names::new() };
    let is_written = |key: &&Value| {
        key.elements()[1].elements().iter().any(|flag| ["RW", "OW", "RM"].contains(&flag.text().as_str()))
    };
    keys.iter().filter(is_written).map(|key| bytes(&key.elements()[0])).collect()
}

/// A user who may use some of the keys, on a server with all of them and on one that has no others.
struct Restricted {
    allowed: Names,
    among_all: Client,
    alone: Client,
    content: Vec<Request>,
    /// Of what the other server holds.
    alone_digest: String,
}

impl Restricted {
    fn new(maker: &mut Maker, among_all: &Server, alone: &Server) -> Restricted {
        let allowed: Names =
            words(KEYS).into_iter().filter(|key| key != b"*" && maker.random.one_in(2)).collect();
        let log_in = |server: &Server| {
            let mut client = server.client();
            let patterns: Request = allowed.iter().map(|key| [b"~", &key[..]].concat()).collect();
            assert!(client
                .call(&[words("ACL SETUSER half reset on nopass +@all"), patterns].concat())
                .is_ok());
            assert!(client.call(&["AUTH", "half", "x"]).is_ok());
            client
        };
        let key = |request: &Request| request[if request[0] == b"XGROUP" { 2 } else { 1 }].clone();
        let content: Vec<Request> =
            maker.content.iter().filter(|request| allowed.contains(&key(request))).cloned().collect();
        let mut admin = alone.client();
        refill(&mut admin, &content);
        let alone_digest = digest(&mut admin);
        Restricted { among_all: log_in(among_all), alone: log_in(alone), allowed, content, alone_digest }
    }

    /// No other key changes, and the reply is what it would be without them. Returns whether it is a denial.
    fn check(&mut self, spec: &CommandSpec, request: &Request, all: All, admin_alone: &mut Client) -> bool {
        let All { admin, content, keyspace: before, digest: before_digest } = all;
        let what = || format!("{} by a user with {}", shown(request), shown(&self.allowed));
        let reply = run(&mut self.among_all, spec, request);
        let has_changed = digest(admin) != *before_digest;
        if has_changed {
            let changed = changed(before, &keyspace(admin));
            assert!(changed.is_subset(&self.allowed), "{}: changed {}", what(), shown(&changed));
        }
        let alone = run(&mut self.alone, spec, request);
        if !is_timed(spec, request) {
            assert_eq!(reply, alone, "{}: with other keys beside his, and without", what());
        }
        if has_changed || leaves_traces(spec) {
            refill(admin, content);
        }
        if leaves_traces(spec) || digest(admin_alone) != self.alone_digest {
            refill(admin_alone, &self.content);
        }
        let text = format!("{reply:?}");
        text.contains("NOPERM") || text.contains("denied due to insufficient")
    }
}

/// The server with all keys, and what they are before each command.
struct All<'a> {
    admin: &'a mut Client,
    content: &'a [Request],
    keyspace: &'a Keyspace,
    digest: &'a String,
}

#[test]
fn commands_use_the_keys_that_getkeys_names_and_no_others() {
    let count = setting("KEY_USE_COMMANDS", 800);
    let mut maker = Maker {
        random: Random::new(seed("KEY_USE_SEED")),
        content: Vec::new(),
        liked: HashMap::new(),
        group: Group::Generic,
    };
    let options = ["--enable-debug-command", "yes"];
    let start = |shards: &str| Server::start(&[&["--shards", shards], &options[..]].concat());
    let servers = [start("1"), start("3"), start("3")];
    let redis =
        std::env::var_os("KEY_USE_ORACLE").map(|path| Server::start_binary(Path::new(&path), &options));
    let [mut one, mut three, mut alone] = [0, 1, 2].map(|index: usize| servers[index].client());
    let mut oracle = redis.as_ref().map(Server::client);
    let left_out = words(LEFT_OUT);
    let runs = |spec: &&CommandSpec| {
        matches!(spec.handler, Handler::Keys(..) | Handler::Script)
            && !left_out.contains(&spec.name.as_bytes().to_vec())
    };
    let specs: Vec<&CommandSpec> = all().filter(runs).collect();
    // Those whose keys depend on their options come more often.
    let is_movable = |spec: &&CommandSpec| spec.parse_keys.is_some() || spec.has_movable_keys();
    let movable: Vec<&CommandSpec> = specs.iter().copied().filter(is_movable).collect();
    assert!(specs.len() > 130 && movable.len() > 22, "{} {}", specs.len(), movable.len());

    let mut before = Keyspace::new();
    let mut before_digest = String::new();
    let mut user = None;
    let (mut succeeded, mut wrote, mut denied) = (0, 0, 0);
    for number in 0..count {
        if number % 100 == 0 {
            maker.fill();
            let clients = [&mut one, &mut three].into_iter().chain(&mut oracle);
            clients.for_each(|client| refill(client, &maker.content));
            before = keyspace(&mut one);
            before_digest = digest(&mut one);
            assert_eq!(keyspace(&mut three), before);
            let restricted = Restricted::new(&mut maker, &servers[1], &servers[2]);
            user = Some(restricted);
        }
        let pool = if maker.random.one_in(2) { &movable } else { &specs };
        let spec = *maker.random.pick(pool);
        let request = maker.request(spec);
        let what = format!("{} (number {number})", shown(&request));
        let keys = keys_and_flags(&mut three, &request);
        assert_eq!(keys_and_flags(&mut one, &request), keys, "{what}");
        let reply = run(&mut one, spec, &request);
        let other = run(&mut three, spec, &request);
        let digests = [digest(&mut one), digest(&mut three)];
        if !is_timed(spec, &request) {
            assert_eq!(other, reply, "{what}: on 3 shards, and on 1");
            assert_eq!(digests[0], digests[1], "{what}");
        }
        succeeded += usize::from(!reply.is_error());
        if let Some(oracle) = &mut oracle {
            compare(oracle, spec, &request, (&keys, &reply), &what);
            refill(oracle, &maker.content);
        }
        if digests.iter().any(|digest| *digest != before_digest) {
            wrote += 1;
            for client in [&mut one, &mut three] {
                let changed = changed(&before, &keyspace(client));
                // A script may use keys that it does not name; XREADGROUP's flags are those of Redis.
                let is_free = matches!(spec.handler, Handler::Script) || spec.name == "xreadgroup";
                assert!(
                    is_free || changed.is_subset(&written(&keys)),
                    "{what}: {} of {keys:?}",
                    shown(&changed)
                );
            }
        }
        if leaves_traces(spec) || digests.iter().any(|digest| *digest != before_digest) {
            refill(&mut one, &maker.content);
            refill(&mut three, &maker.content);
        }
        if let Some(user) = &mut user {
            let all =
                All { admin: &mut three, content: &maker.content, keyspace: &before, digest: &before_digest };
            denied += usize::from(user.check(spec, &request, all, &mut alone));
        }
    }
    eprintln!("{count} commands: {succeeded} succeeded, {wrote} wrote, {denied} were denied to a user");
    let least = |share: u64| count.div_ceil(share) as usize;
    assert!(succeeded > least(6) && wrote > least(50) && denied > least(20), "the commands do too little");
    for server in &servers {
        assert!(!server.log().contains("used a key that it does not name"), "{}", server.log());
    }
}

/// Compares with Redis, which names other keys than it uses in a few cases.
fn compare(oracle: &mut Client, spec: &CommandSpec, request: &Request, ours: (&Value, &Value), what: &str) {
    let repeats = |names: &str| {
        let is_one = |word: &&Vec<u8>| words(names).iter().any(|name| name.eq_ignore_ascii_case(word));
        request.iter().filter(is_one).count() > 1
    };
    // It takes the first STORE and the first STREAMS, whatever they are there, and SORT's STORE does not step over its key.
    let is_known = match spec.name {
        "georadius" | "georadiusbymember" => repeats("store storedist"),
        "xread" | "xreadgroup" => repeats("streams"),
        "sort" => repeats("store limit get by"),
        "pfmerge" => request.len() == 2,
        _ => false,
    };
    let keys = keys_and_flags(oracle, request);
    if !is_known {
        assert_eq!(*ours.0, keys, "{what}: the keys, ours and Redis's");
    }
    let reply = run(oracle, spec, request);
    if !is_timed(spec, request) {
        assert_eq!(*ours.1, reply, "{what}: ours and Redis's");
    }
}

#[test]
fn a_repeated_option_and_a_key_called_like_one_are_what_the_command_makes_of_them() {
    for shards in [1, 2, 3] {
        let server = Server::with_shards(shards);
        let mut client = server.client();
        client.call(&["GEOADD", "src", "1", "1", "x"]);
        client.call(&["RPUSH", "list", "2", "1"]);
        for (first, last) in [("STORE", "STORE"), ("STORE", "STOREDIST"), ("STOREDIST", "STORE")] {
            for (a, b) in [("a", "b"), ("b", "a"), ("c", "src2"), ("src2", "c")] {
                client.call(&["DEL", a, b]);
                let request = ["GEORADIUS", "src", "1", "1", "100", "km", first, a, last, b];
                assert_eq!(client.call(&request), Value::Integer(1), "{shards} shards");
                assert_eq!(client.call(&["EXISTS", b]), Value::Integer(1), "{request:?} on {shards} shards");
                assert_eq!(client.call(&["EXISTS", a]), Value::Integer(0), "{request:?} on {shards} shards");
                let member = ["GEORADIUSBYMEMBER", "src", "x", "100", "km", first, a, last, b];
                assert_eq!(client.call(&member), Value::Integer(1));
                assert_eq!(client.call(&["EXISTS", a]), Value::Integer(0));
            }
        }
        assert_eq!(client.call(&["SORT", "list", "STORE", "limit", "STORE", "c"]), Value::Integer(2));
        assert_eq!(client.call(&["EXISTS", "limit"]), Value::Integer(0));
        assert_eq!(client.call(&["LRANGE", "c", "0", "-1"]).elements(), [Value::bulk("1"), Value::bulk("2")]);
        for key in ["a", "b", "s"] {
            client.call(&["DEL", key]);
        }
        let noack = ["XREADGROUP", "NOACK", "GROUP", "g", "STREAMS", "STREAMS", "a", "b", ">", ">"];
        assert!(client.call(&noack).text().starts_with("NOGROUP"), "{shards} shards");
        for key in ["a", "b"] {
            client.call(&["XGROUP", "CREATE", key, "g", "0", "MKSTREAM"]);
            client.call(&["XADD", key, "1-1", "f", key]);
        }
        let read = client.call(&noack);
        assert_eq!(read.elements().len(), 2, "{shards} shards: {read:?}");
        assert!(server.log().is_empty() || !server.log().contains("panicked"), "{}", server.log());
    }
}

#[test]
fn a_user_writes_no_key_that_a_repeated_option_names() {
    for shards in [1, 2, 3] {
        let server = Server::with_shards(shards);
        let mut admin = server.client();
        admin.call(&["GEOADD", "src1", "1", "1", "x"]);
        admin.call(&["RPUSH", "src2", "1"]);
        admin.call(&["XADD", "secret", "1-1", "f", "v"]);
        admin.call(&["XADD", "src3", "1-1", "f", "v"]);
        assert!(admin.call(&["ACL", "SETUSER", "eve", "on", "nopass", "+@all", "~src*", "~ok"]).is_ok());
        let mut eve = server.client();
        assert!(eve.call(&["AUTH", "eve", "x"]).is_ok());
        let refused = "NOPERM No permissions to access a key";
        let before = admin.call(&["DUMP", "secret"]);
        for request in [
            &["GEORADIUS", "src1", "1", "1", "100", "km", "STORE", "ok", "STORE", "secret"][..],
            &["GEORADIUS", "src1", "1", "1", "100", "km", "STOREDIST", "ok", "STORE", "secret"],
            &["GEORADIUSBYMEMBER", "src1", "x", "100", "km", "STORE", "ok", "STORE", "secret"],
            &["SORT", "src2", "STORE", "ok", "STORE", "secret"],
            &["SORT", "src2", "STORE", "limit", "STORE", "secret"],
            &["XREAD", "COUNT", "1", "STREAMS", "secret", "0"],
            &["XREADGROUP", "NOACK", "GROUP", "STREAMS", "src3", "STREAMS", "secret", "0"],
        ] {
            assert_eq!(eve.call(request).text(), refused, "{request:?} on {shards} shards");
            let words: Vec<String> = request.iter().map(|word| format!("'{word}'")).collect();
            let script = format!("return redis.pcall({})", words.join(","));
            let reply = eve.call(&["EVAL", &script, "0"]).text();
            assert!(reply.contains("No permissions to access a key"), "{reply}");
        }
        assert_eq!(admin.call(&["DUMP", "secret"]), before);
        // The other way round it is allowed.
        let allowed = ["GEORADIUS", "src1", "1", "1", "100", "km", "STORE", "secret", "STORE", "ok"];
        assert_eq!(eve.call(&allowed), Value::Integer(1));
    }
}
