//! Random commands on strings and keys: well-formed ones on a few keys, and all the ways to get them wrong.
//!
//! What a reply depends on must be what the sequence says, never the moment it runs at. So every time to live that counts
//! from now is its own, far from all others and far from its end: which of two is later then does not depend on how
//! fast a server was. Times in the past delete at once, but for those of SET, which are looked at right after.

use gyre::store::{shard_of_slot, slot_of};

use super::support::Random;

/// A command of a sequence, and which of the sequence's connections sends it.
#[derive(Clone)]
pub struct Step {
    pub connection: usize,
    pub args: Vec<Vec<u8>>,
}

pub const CONNECTIONS: usize = 2;
/// Databases that keys may be in: 0, 1 and 2, and the last.
pub const DATABASES: [&str; 4] = ["0", "1", "2", "15"];

/// Keys are on at least so many different shards of a server that has as many.
const SHARDS: usize = 4;
/// Between times to live that count from now; a sequence takes much less.
const TTL_STEP_S: u64 = 1_000;
const TTL_FIRST_S: u64 = 10_000;
/// In 2100, later than any of those.
const ABSOLUTE_S: u64 = 4_102_444_800;

const INTEGERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "10",
    "-10",
    "99",
    "9999",
    "10000",
    "12345678",
    "-1234567890123",
    "2147483647",
    "2147483648",
    "-2147483649",
    "4294967296",
    "9223372036854775806",
    "9223372036854775807",
    "-9223372036854775807",
    "-9223372036854775808",
];

const NOT_INTEGERS: &[&str] = &[
    "",
    " ",
    "x",
    "-",
    "+",
    "+1",
    "01",
    "007",
    "-0",
    "00",
    " 1",
    "1 ",
    "1\0",
    "1.0",
    "1e3",
    "0x10",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "99999999999999999999999999999999999999999",
];

const FLOATS: &[&str] = &[
    "0.0",
    "-0.0",
    "1.5",
    "-1.5",
    "0.1",
    "0.2",
    ".5",
    "5.",
    "-.5",
    "+1.5",
    "01.50",
    "1e3",
    "1E3",
    "1e-3",
    "5.0e3",
    "1e17",
    "1e18",
    "1e22",
    "3.14159265358979323846",
    "1e-17",
    "1e-18",
    "1e-300",
    "1e308",
    "1e400",
    "1e4900",
    "1e5000",
    "-1e4932",
    "1e-4940",
    "1e-5000",
    "0x1p3",
    "0x10",
    "0x.8p-1",
    "123456789012345678901234567890",
    "9007199254740993",
    "9223372036854775807.5",
    "inf",
    "-inf",
    "+inf",
    "infinity",
    "nan",
    "-nan",
    "1.5x",
    "1e",
    "e5",
    ".",
    "1..2",
    "1,5",
    " 1.5",
    "1.5 ",
    "1.5\0",
];

const OFFSETS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "5",
    "10",
    "44",
    "100",
    "-1",
    "-2",
    "-3",
    "-10",
    "-100",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "x",
    "",
];

const PATTERNS: &[&str] = &[
    "*", "?", "", "a*", "k*", "k[0-9]*", "k[^0-3]*", "\\*", "{t}*", "{t}?", "*:*", "[a", "k0:*", "h?llo[*",
    "**",
];

const VERBS: &[&str] = &[
    "APPEND",
    "COPY",
    "DBSIZE",
    "DECR",
    "DECRBY",
    "DEL",
    "DISCARD",
    "EXEC",
    "EXISTS",
    "EXPIRE",
    "EXPIREAT",
    "EXPIRETIME",
    "FLUSHALL",
    "FLUSHDB",
    "GET",
    "GETDEL",
    "GETEX",
    "GETRANGE",
    "GETSET",
    "INCR",
    "INCRBY",
    "INCRBYFLOAT",
    "KEYS",
    "LCS",
    "MGET",
    "MOVE",
    "MSET",
    "MSETNX",
    "MULTI",
    "OBJECT",
    "PERSIST",
    "PEXPIRE",
    "PEXPIREAT",
    "PEXPIRETIME",
    "PSETEX",
    "PTTL",
    "RANDOMKEY",
    "RENAME",
    "RENAMENX",
    "SCAN",
    "SELECT",
    "SET",
    "SETEX",
    "SETNX",
    "SETRANGE",
    "STRLEN",
    "SUBSTR",
    "SWAPDB",
    "TOUCH",
    "TTL",
    "TYPE",
    "UNLINK",
    "UNWATCH",
    "WATCH",
    "ECHO",
    "PING",
    "NOSUCHCOMMAND",
    "GET ",
    "",
];

pub struct Generator {
    random: Random,
    keys: Vec<String>,
    ttls: u64,
    in_transaction: [bool; CONNECTIONS],
}

/// The keys that sequences use: on every shard, some of them together by their hash tag, and some with odd names.
pub fn keys() -> Vec<String> {
    let on_shard = |shard: usize, n: usize| {
        let names = (0..).map(|number| format!("k{shard}:{number}"));
        let mut there = names.filter(|name| shard_of_slot(slot_of(name.as_bytes()), SHARDS) == shard);
        there.nth(n).expect("every shard owns slots")
    };
    let mut keys: Vec<String> =
        (0..SHARDS).flat_map(|shard| [on_shard(shard, 0), on_shard(shard, 1)]).collect();
    keys.extend(["{t}1", "{t}2", "a", "h*llo[x", ""].map(str::to_owned));
    keys
}

impl Generator {
    pub fn new(random: Random) -> Generator {
        Generator { random, keys: keys(), ttls: 0, in_transaction: [false; CONNECTIONS] }
    }

    /// At least `len` steps.
    pub fn sequence(&mut self, len: usize) -> Vec<Step> {
        self.ttls = 0;
        self.in_transaction = [false; CONNECTIONS];
        let mut steps: Vec<Step> = Vec::with_capacity(len + 1);
        // Half of all sequences know few keys, which then meet more often.
        self.keys = keys();
        if self.random.one_in(2) {
            let count = 2 + self.random.below(3);
            self.keys = self.random.sample(&self.keys, count);
        }
        let mut connection = 0;
        while steps.len() < len {
            if self.random.one_in(15) {
                connection = self.random.below(CONNECTIONS);
            }
            let commands = self.commands(connection);
            steps.extend(commands.into_iter().map(|args| Step { connection, args }));
        }
        steps
    }

    /// A command, or a few that belong together.
    fn commands(&mut self, connection: usize) -> Vec<Vec<Vec<u8>>> {
        if let Some(command) = self.transaction(connection) {
            return vec![bytes(command)];
        }
        if self.random.one_in(150) {
            // SET keeps a key whose time has passed until somebody looks; DBSIZE would tell when that was.
            let key = self.key();
            let (unit, at) = *self.random.pick(&[("EXAT", "1"), ("PXAT", "1"), ("pxat", "1700000000000")]);
            let set = vec!["SET".to_owned(), key.clone(), "past".to_owned(), unit.to_owned(), at.to_owned()];
            return vec![bytes(set), bytes(vec!["GET".to_owned(), key])];
        }
        let mut command = self.command();
        if self.random.one_in(40) {
            if self.random.one_in(2) {
                command.pop();
            } else {
                command.push(self.value());
            }
        }
        if self.random.one_in(150) {
            let verb = (*self.random.pick(VERBS)).to_owned();
            let args = self.random.below(5);
            command = vec![verb];
            for _ in 0..args {
                let arg = if self.random.one_in(2) { self.key() } else { self.value() };
                command.push(arg);
            }
        }
        if command.is_empty() {
            command.push("PING".to_owned());
        }
        if self.random.one_in(20) {
            command[0] = command[0].to_lowercase();
        }
        // These bring times of their own making, or SET's without the look.
        if past_set(&command) {
            command.truncate(3);
        }
        vec![bytes(command)]
    }

    fn transaction(&mut self, connection: usize) -> Option<Vec<String>> {
        let (verb, inside) = if self.in_transaction[connection] {
            match self.random.below(60) {
                0..=9 => ("EXEC", false),
                10 => ("DISCARD", false),
                11 => ("MULTI", true),
                12 => ("WATCH", true),
                13 => ("UNWATCH", true),
                _ => return None,
            }
        } else {
            match self.random.below(120) {
                0..=4 => ("MULTI", true),
                5..=8 => ("WATCH", false),
                9 => ("UNWATCH", false),
                10 => ("EXEC", false),
                11 => ("DISCARD", false),
                _ => return None,
            }
        };
        self.in_transaction[connection] = inside;
        let mut command = vec![verb.to_owned()];
        if verb == "WATCH" {
            command.extend(self.some_keys());
        }
        Some(command)
    }

    fn command(&mut self) -> Vec<String> {
        let name = |verb: &str| verb.to_owned();
        let verb: &str = *self.random.pick(&[
            "SET",
            "SET",
            "SET",
            "SET",
            "SET",
            "SETEX",
            "SETNX",
            "GETSET",
            "GET",
            "GET",
            "GETDEL",
            "GETEX",
            "GETEX",
            "APPEND",
            "APPEND",
            "STRLEN",
            "SETRANGE",
            "SETRANGE",
            "GETRANGE",
            "GETRANGE",
            "INCR",
            "INCRBY",
            "INCRBY",
            "INCRBYFLOAT",
            "INCRBYFLOAT",
            "INCRBYFLOAT",
            "MGET",
            "MSET",
            "MSETNX",
            "LCS",
            "DEL",
            "EXISTS",
            "TYPE",
            "RENAME",
            "RENAME",
            "COPY",
            "COPY",
            "MOVE",
            "MOVE",
            "SWAPDB",
            "KEYS",
            "SCAN",
            "RANDOMKEY",
            "EXPIRE",
            "EXPIRE",
            "EXPIRE",
            "TTL",
            "TTL",
            "PERSIST",
            "FLUSH",
            "DBSIZE",
            "OBJECT",
            "OBJECT",
            "SELECT",
            "SELECT",
        ]);
        match verb {
            "SET" => {
                let mut command = vec![name("SET"), self.key(), self.value()];
                let options = *self.random.pick(&[0, 0, 0, 1, 1, 1, 2, 2, 3]);
                for _ in 0..options {
                    self.set_option(&mut command);
                }
                command
            }
            "SETEX" => {
                let (verb, unit) = *self.random.pick(&[("SETEX", 1), ("PSETEX", 1_000)]);
                vec![name(verb), self.key(), self.ttl(unit), self.value()]
            }
            "GETEX" => {
                let mut command = vec![name("GETEX"), self.key()];
                let options = *self.random.pick(&[0, 1, 1, 1, 1, 2]);
                for _ in 0..options {
                    self.getex_option(&mut command);
                }
                command
            }
            "SETNX" | "GETSET" | "APPEND" => vec![name(verb), self.key(), self.value()],
            "GET" | "GETDEL" | "STRLEN" | "TYPE" | "PERSIST" => vec![name(verb), self.key()],
            "INCR" => vec![name(self.random.pick(&["INCR", "DECR"])), self.key()],
            "INCRBY" => {
                let by = self.integer();
                vec![name(self.random.pick(&["INCRBY", "INCRBY", "DECRBY"])), self.key(), by]
            }
            "INCRBYFLOAT" => {
                let by = if self.random.one_in(3) { self.integer() } else { self.float() };
                vec![name("INCRBYFLOAT"), self.key(), by]
            }
            "SETRANGE" => {
                let offset = match self.random.below(12) {
                    // Above the largest string.
                    0 => "536870912",
                    1 => "9223372036854775807",
                    2 => "-1",
                    3 => "x",
                    _ => *self.random.pick(&["0", "1", "3", "5", "20", "44", "45", "100", "300"]),
                };
                vec![name("SETRANGE"), self.key(), name(offset), self.value()]
            }
            "GETRANGE" => {
                let (start, end) = (*self.random.pick(OFFSETS), *self.random.pick(OFFSETS));
                vec![name(self.random.pick(&["GETRANGE", "SUBSTR"])), self.key(), name(start), name(end)]
            }
            "MGET" | "EXISTS" | "DEL" => {
                let verb = match verb {
                    "DEL" => *self.random.pick(&["DEL", "UNLINK"]),
                    "EXISTS" => *self.random.pick(&["EXISTS", "TOUCH"]),
                    verb => verb,
                };
                std::iter::once(name(verb)).chain(self.some_keys()).collect()
            }
            "MSET" | "MSETNX" => {
                let keys = self.some_keys();
                let pairs = keys.into_iter().flat_map(|key| [key, self.value()]);
                std::iter::once(name(verb)).chain(pairs).collect()
            }
            "LCS" => {
                let mut command = vec![name("LCS"), self.key(), self.key()];
                let options = *self.random.pick(&[0, 1, 1, 2, 3]);
                for _ in 0..options {
                    command.push(name(self.random.pick(&[
                        "LEN",
                        "IDX",
                        "IDX",
                        "WITHMATCHLEN",
                        "MINMATCHLEN",
                        "x",
                    ])));
                    if command.last().is_some_and(|option| option == "MINMATCHLEN") {
                        command.push(name(self.random.pick(&["0", "1", "2", "4", "-1", "x"])));
                    }
                }
                command
            }
            "RENAME" => {
                vec![name(self.random.pick(&["RENAME", "RENAME", "RENAMENX"])), self.key(), self.key()]
            }
            "COPY" => {
                let mut command = vec![name("COPY"), self.key(), self.key()];
                let options = *self.random.pick(&[0, 1, 1, 2]);
                for _ in 0..options {
                    match self.random.below(8) {
                        0..=3 => command.extend([name("DB"), self.database()]),
                        4..=6 => command.push(name("REPLACE")),
                        _ => command.push(name(self.random.pick(&["DB", "x", "replac"]))),
                    }
                }
                command
            }
            "MOVE" => vec![name("MOVE"), self.key(), self.database()],
            "SWAPDB" if self.random.one_in(2) => vec![name("SWAPDB"), self.database(), self.database()],
            "KEYS" => vec![name("KEYS"), name(self.random.pick(PATTERNS))],
            "SCAN" => self.scan(),
            "EXPIRE" => {
                let (verb, time) = match self.random.below(4) {
                    0 => ("EXPIRE", self.ttl(1)),
                    1 => ("PEXPIRE", self.ttl(1_000)),
                    2 => ("EXPIREAT", self.deadline(1)),
                    _ => ("PEXPIREAT", self.deadline(1_000)),
                };
                let mut command = vec![name(verb), self.key(), time];
                let options = *self.random.pick(&[0, 0, 0, 1, 1, 1, 2]);
                for _ in 0..options {
                    let options = ["NX", "XX", "GT", "LT", "nx", "xx", "gt", "lt", "Gt", "x"];
                    command.push(name(self.random.pick(&options)));
                }
                command
            }
            "TTL" => {
                vec![name(self.random.pick(&["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"])), self.key()]
            }
            "FLUSH" if self.random.one_in(6) => {
                let mut command = vec![name(self.random.pick(&["FLUSHDB", "FLUSHDB", "FLUSHALL"]))];
                let option = *self.random.pick(&["", "", "SYNC", "ASYNC", "async", "x"]);
                command.extend((!option.is_empty()).then(|| name(option)));
                command
            }
            "OBJECT" => {
                let subcommand =
                    *self.random.pick(&["ENCODING", "ENCODING", "ENCODING", "encoding", "FREQ", "x"]);
                vec![name("OBJECT"), name(subcommand), self.key()]
            }
            "SELECT" => vec![name("SELECT"), self.database()],
            "SWAPDB" | "FLUSH" => vec![name("GET"), self.key()],
            verb => vec![name(verb)],
        }
    }

    fn scan(&mut self) -> Vec<String> {
        let name = |text: &str| text.to_owned();
        let mut command = vec![name("SCAN"), name("0")];
        for _ in 0..*self.random.pick(&[0, 1, 1, 2, 3]) {
            match self.random.below(8) {
                0..=2 => command
                    .extend([name("COUNT"), name(self.random.pick(&["1", "3", "10", "1000", "0", "x"]))]),
                3..=5 => command.extend([name("MATCH"), name(self.random.pick(PATTERNS))]),
                6 => {
                    command.extend([name("TYPE"), name(self.random.pick(&["string", "STRING", "list", "x"]))])
                }
                _ => command.push(name(self.random.pick(&["x", "COUNT", "MATCH"]))),
            }
        }
        if self.random.one_in(20) {
            command[1] = name(self.random.pick(&["x", "-1", "", "18446744073709551616"]));
        }
        command
    }

    fn set_option(&mut self, command: &mut Vec<String>) {
        let option =
            *self.random.pick(&["NX", "XX", "GET", "KEEPTTL", "EX", "PX", "EXAT", "PXAT", "nx", "get", "x"]);
        self.option(command, option);
    }

    fn getex_option(&mut self, command: &mut Vec<String>) {
        let option =
            *self.random.pick(&["PERSIST", "EX", "PX", "EXAT", "PXAT", "persist", "NX", "KEEPTTL", "x"]);
        self.option(command, option);
    }

    fn option(&mut self, command: &mut Vec<String>, option: &str) {
        command.push(option.to_owned());
        if self.random.one_in(40) {
            return;
        }
        match option {
            "EX" => command.push(self.ttl(1)),
            "PX" => command.push(self.ttl(1_000)),
            "EXAT" => command.push(self.deadline(1)),
            "PXAT" => command.push(self.deadline(1_000)),
            _ => {}
        }
    }

    fn key(&mut self) -> String {
        self.random.pick(&self.keys).clone()
    }

    fn some_keys(&mut self) -> Vec<String> {
        let count = *self.random.pick(&[1, 1, 2, 2, 3, 4, 8]);
        (0..count).map(|_| self.key()).collect()
    }

    fn integer(&mut self) -> String {
        match self.random.below(6) {
            0 => (*self.random.pick(NOT_INTEGERS)).to_owned(),
            1 => ((self.random.next() >> self.random.below(63)) as i64).to_string(),
            _ => (*self.random.pick(INTEGERS)).to_owned(),
        }
    }

    fn float(&mut self) -> String {
        match self.random.below(5) {
            0 => f64::from_bits(self.random.next()).to_string(),
            1 => format!("{:e}", (self.random.next() as i64 as f64) / 1e15),
            _ => (*self.random.pick(FLOATS)).to_owned(),
        }
    }

    fn value(&mut self) -> String {
        match self.random.below(10) {
            0..=3 => self.integer(),
            4 => self.float(),
            // The longest string that shares its object's allocation has 44 bytes.
            5 => "x".repeat(*self.random.pick(&[0, 1, 19, 20, 21, 43, 44, 45, 46, 100])),
            6 => self.random.pick(NOT_INTEGERS).to_string(),
            _ => {
                let len = self.random.below(30);
                (0..len).map(|_| *self.random.pick(&['a', 'b', 'c', '\0', '\r', 'é'])).collect()
            }
        }
    }

    fn database(&mut self) -> String {
        let wrong = ["16", "-1", "x", "", "01", "2147483648", "-2147483649", "9223372036854775808"];
        let from = if self.random.one_in(12) { &wrong[..] } else { &DATABASES[..] };
        (*self.random.pick(from)).to_owned()
    }

    /// A time from now in units of which a second has `unit`.
    fn ttl(&mut self, unit: u64) -> String {
        if self.random.one_in(6) {
            return self.odd_time();
        }
        self.ttls += 1;
        // Not in the order of the sequence: conditions need earlier ones too.
        let place = (self.ttls * 7_919) % 100_003;
        ((TTL_FIRST_S + place * TTL_STEP_S) * unit).to_string()
    }

    /// A time since 1970.
    fn deadline(&mut self, unit: u64) -> String {
        if self.random.one_in(6) {
            return self.odd_time();
        }
        ((ABSOLUTE_S + self.random.below(4) as u64) * unit).to_string()
    }

    fn odd_time(&mut self) -> String {
        let times = [
            "0",
            "-1",
            "-100",
            "1000000000000000",
            "9223372036854775",
            "9223372036854776",
            "-9223372036854775",
            "-9223372036854776",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
            "1.5",
            "x",
            "",
            "+100",
            "0100",
        ];
        (*self.random.pick(&times)).to_owned()
    }
}

fn bytes(command: Vec<String>) -> Vec<Vec<u8>> {
    command.into_iter().map(String::into_bytes).collect()
}

/// Whether SET is given a time that has passed, or may be (EXAT x is an error and harmless).
fn past_set(command: &[String]) -> bool {
    if !command[0].eq_ignore_ascii_case("set") {
        return false;
    }
    let in_the_past = |pair: &[String]| {
        let absolute = pair[0].eq_ignore_ascii_case("exat") || pair[0].eq_ignore_ascii_case("pxat");
        absolute && pair[1].parse().is_ok_and(|at: i64| at > 0 && at < ABSOLUTE_S as i64)
    };
    command.len() > 3 && command[3..].windows(2).any(in_the_past)
}
