//! Random commands: every string and generic key command with its options, edge values, wrong arities and wrong
//! options, on few enough keys that they meet.

use crate::support::Random;

pub type Args = Vec<Vec<u8>>;

/// A command on one of the connections.
#[derive(Clone, Debug)]
pub struct Step {
    pub connection: usize,
    pub args: Args,
}

/// Makes steps; expiry times differ by seconds, so that GT and LT do not depend on the moment.
pub struct Generator {
    random: Random,
    times: i64,
    now_s: i64,
}

const KEYS: &[&[u8]] = &[
    b"a",
    b"b",
    b"{tag}1",
    b"{tag}2",
    b"key:3",
    b"",
    b"\x00\xff\r\n",
    b"a longer name of a key, beyond what fits anywhere",
];

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "10",
    "100",
    "9999",
    "10000",
    "-5",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775806",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "007",
    " 1",
    "1 ",
    "+5",
    "",
    "abc",
    "1.0",
    "0x10",
    "1e3",
    "-0",
];

const FLOATS: &[&str] = &[
    "0",
    "1",
    "-1",
    "0.1",
    "3.0e3",
    "1e-7",
    "-2.5",
    "5.0e200",
    "1e17",
    "3.14159265358979",
    "inf",
    "-inf",
    "nan",
    "abc",
    "",
    " 1",
    "1 ",
    "0x1p3",
    "99999999999999999999",
    "1.7976931348623157e308",
    "-.5",
    "+2",
];

const OFFSETS: &[&str] = &[
    "0",
    "1",
    "2",
    "5",
    "40",
    "200",
    "-1",
    "-3",
    "-100",
    "9223372036854775807",
    "-9223372036854775808",
    "x",
    "1.5",
];

const DATABASES: &[&str] = &["0", "1", "2", "0", "1", "15", "16", "-1", "abc", "00", "99999999999999999999"];

const PATTERNS: &[&str] = &[
    "*", "a*", "?", "{tag}*", "[ab]", "[^a]", "[a-c]*", "\\a", "*y*", "", "nothing", "[", "a\\", "**",
    "k*:[0-9]",
];

const EXPIRY_WORDS: &[&str] = &["NX", "XX", "GT", "LT", "nx", "bad"];

impl Generator {
    pub fn new(random: Random) -> Generator {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now_s = since.expect("the clock is past 1970").as_secs() as i64;
        Generator { random, times: 0, now_s }
    }

    pub fn sequence(&mut self, length: usize) -> Vec<Step> {
        self.times = 0;
        (0..length).map(|_| Step { connection: self.random.below(3), args: self.command() }).collect()
    }

    fn one(&mut self, from: &[&str]) -> Vec<u8> {
        self.random.pick(from).as_bytes().to_vec()
    }

    fn key(&mut self) -> Vec<u8> {
        self.random.pick(KEYS).to_vec()
    }

    fn keys(&mut self) -> Args {
        (0..1 + self.random.below(4)).map(|_| self.key()).collect()
    }

    fn value(&mut self) -> Vec<u8> {
        match self.random.below(10) {
            0..=2 => self.one(NUMBERS),
            3 => self.one(FLOATS),
            4 => vec![b'e'; 44],
            5 => vec![b'r'; 45],
            6 => (0..self.random.below(300)).map(|at| (at * 7) as u8).collect(),
            7 => b"ohmytext".to_vec(),
            8 => b"mynewtext".to_vec(),
            _ => format!("value:{}", self.random.below(1000)).into_bytes(),
        }
    }

    fn pairs(&mut self) -> Args {
        (0..1 + self.random.below(4)).flat_map(|_| [self.key(), self.value()]).collect()
    }

    /// Seconds far in the future, each other than the ones before.
    fn seconds(&mut self) -> i64 {
        self.times += 1;
        1000 + self.times * 10 + 100_000 * self.random.below(3) as i64
    }

    /// A time for an option or command: relative or absolute, in seconds or milliseconds; sometimes a wrong one.
    fn time(&mut self, absolute: bool, milliseconds: bool) -> Vec<u8> {
        if self.random.one_in(8) {
            let wrong: &[&str] = &[
                "0",
                "-1",
                "abc",
                "",
                "9223372036854775807",
                "-9223372036854775808",
                "1.5",
                "9223372036854775",
            ];
            return self.one(wrong);
        }
        if absolute && self.random.one_in(8) {
            return b"1000".to_vec();
        }
        let mut time = self.seconds() + if absolute { self.now_s } else { 0 };
        if milliseconds {
            time = time * 1000 + 500;
        }
        time.to_string().into_bytes()
    }

    fn expiry_option(&mut self) -> Args {
        let (word, absolute, milliseconds) = *self.random.pick(&[
            ("EX", false, false),
            ("PX", false, true),
            ("EXAT", true, false),
            ("pxat", true, true),
        ]);
        vec![word.into(), self.time(absolute, milliseconds)]
    }

    fn options(&mut self, words: &[&str], with_expiry: bool) -> Args {
        let mut options = Args::new();
        while !self.random.one_in(3) {
            if with_expiry && self.random.one_in(2) {
                options.extend(self.expiry_option());
            } else {
                options.push(self.one(words));
            }
        }
        options
    }

    fn command(&mut self) -> Args {
        let mut args = self.right_command();
        // Now and then an argument too few or too many, or another case.
        if self.random.one_in(25) {
            args.pop();
        } else if self.random.one_in(25) {
            args.push(self.value());
        }
        if args.is_empty() {
            args.push(b"PING".to_vec());
        }
        if self.random.one_in(4) {
            args[0].make_ascii_lowercase();
        }
        args
    }

    fn right_command(&mut self) -> Args {
        match self.random.below(20) {
            0..=3 => self.read_or_write(),
            4..=6 => self.string_command(),
            7..=8 => self.number_command(),
            9..=11 => self.many_keys_command(),
            12..=14 => self.expiry_command(),
            15..=16 => self.key_command(),
            17 => self.keyspace_command(),
            _ => self.connection_command(),
        }
    }

    fn read_or_write(&mut self) -> Args {
        if self.random.one_in(3) {
            return words("GET", [self.key()]);
        }
        let mut args = words("SET", [self.key(), self.value()]);
        if self.random.one_in(2) {
            args.extend(self.options(&["NX", "XX", "GET", "KEEPTTL", "get", "EX", "bad"], true));
        }
        args
    }

    fn string_command(&mut self) -> Args {
        match self.random.below(12) {
            0 => words("SETEX", [self.key(), self.time(false, false), self.value()]),
            1 => words("PSETEX", [self.key(), self.time(false, true), self.value()]),
            2 => words("SETNX", [self.key(), self.value()]),
            3 => words("GETSET", [self.key(), self.value()]),
            4 => words("GETDEL", [self.key()]),
            5 => {
                let mut args = words("GETEX", [self.key()]);
                args.extend(self.options(&["PERSIST", "persist", "bad"], true));
                args
            }
            6 => words("APPEND", [self.key(), self.value()]),
            7 => words("STRLEN", [self.key()]),
            8 => {
                let offset = self.one(&[
                    "0",
                    "1",
                    "5",
                    "60",
                    "2000",
                    "-1",
                    "536870911",
                    "536870912",
                    "x",
                    "9223372036854775807",
                ]);
                // What would fit by a byte only is half a gigabyte.
                let value = if offset == b"536870911" { b"xy".to_vec() } else { self.value() };
                words("SETRANGE", [self.key(), offset, value])
            }
            9 => words("GETRANGE", [self.key(), self.one(OFFSETS), self.one(OFFSETS)]),
            10 => words("SUBSTR", [self.key(), self.one(OFFSETS), self.one(OFFSETS)]),
            _ => {
                let mut args = words("LCS", [self.key(), self.key()]);
                while !self.random.one_in(3) {
                    match self.random.below(5) {
                        0 => args.push(b"LEN".to_vec()),
                        1 | 2 => args.push(b"IDX".to_vec()),
                        3 => args.push(b"WITHMATCHLEN".to_vec()),
                        _ => args.extend([b"MINMATCHLEN".to_vec(), self.one(NUMBERS)]),
                    }
                }
                args
            }
        }
    }

    fn number_command(&mut self) -> Args {
        match self.random.below(6) {
            0 => words("INCR", [self.key()]),
            1 => words("DECR", [self.key()]),
            2 => words("INCRBY", [self.key(), self.one(NUMBERS)]),
            3 => words("DECRBY", [self.key(), self.one(NUMBERS)]),
            4 => words("INCRBYFLOAT", [self.key(), self.one(FLOATS)]),
            _ => words("SET", [self.key(), self.one(NUMBERS)]),
        }
    }

    fn many_keys_command(&mut self) -> Args {
        match self.random.below(12) {
            0 | 1 => words("MGET", self.keys()),
            2 | 3 => words("MSET", self.pairs()),
            4 => words("MSETNX", self.pairs()),
            5 => words("DEL", self.keys()),
            6 => words("UNLINK", self.keys()),
            7 => words("EXISTS", self.keys()),
            8 => words("TOUCH", self.keys()),
            9 => words("RENAME", [self.key(), self.key()]),
            10 => words("RENAMENX", [self.key(), self.key()]),
            _ => {
                let mut args = words("COPY", [self.key(), self.key()]);
                while self.random.one_in(2) {
                    match self.random.below(4) {
                        0 | 1 => args.push(b"REPLACE".to_vec()),
                        2 => args.extend([b"DB".to_vec(), self.one(DATABASES)]),
                        _ => args.push(b"bad".to_vec()),
                    }
                }
                args
            }
        }
    }

    fn expiry_command(&mut self) -> Args {
        let (name, absolute, milliseconds) = *self.random.pick(&[
            ("EXPIRE", false, false),
            ("PEXPIRE", false, true),
            ("EXPIREAT", true, false),
            ("PEXPIREAT", true, true),
            ("", false, false),
            ("", false, false),
        ]);
        if name.is_empty() {
            let name = *self.random.pick(&["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "PERSIST"]);
            return words(name, [self.key()]);
        }
        let mut args = words(name, [self.key(), self.time(absolute, milliseconds)]);
        while self.random.one_in(2) {
            args.push(self.one(EXPIRY_WORDS));
        }
        args
    }

    fn key_command(&mut self) -> Args {
        match self.random.below(6) {
            0 | 1 => words("TYPE", [self.key()]),
            2 => words("MOVE", [self.key(), self.one(DATABASES)]),
            _ => {
                let what = self.one(&["ENCODING", "encoding", "REFCOUNT", "IDLETIME", "FREQ", "bad"]);
                words("OBJECT", [what, self.key()])
            }
        }
    }

    fn keyspace_command(&mut self) -> Args {
        match self.random.below(14) {
            0..=2 => words("KEYS", [self.one(PATTERNS)]),
            3..=6 => {
                let cursor = self.one(&["0", "0", "0", "0", "abc", "-1", ""]);
                let mut args = words("SCAN", [cursor]);
                while self.random.one_in(2) {
                    match self.random.below(4) {
                        0 => args.extend([b"MATCH".to_vec(), self.one(PATTERNS)]),
                        1 => args
                            .extend([b"COUNT".to_vec(), self.one(&["1", "2", "10", "1000", "0", "-1", "x"])]),
                        2 => args
                            .extend([b"TYPE".to_vec(), self.one(&["string", "STRING", "list", "nonsense"])]),
                        _ => args.push(b"bad".to_vec()),
                    }
                }
                args
            }
            7 | 8 => words("DBSIZE", []),
            9 | 10 => words("RANDOMKEY", []),
            11 => words("SWAPDB", [self.one(DATABASES), self.one(DATABASES)]),
            12 => {
                let name = *self.random.pick(&["FLUSHDB", "FLUSHDB", "FLUSHALL"]);
                let mut args = words(name, []);
                if self.random.one_in(2) {
                    args.push(self.one(&["ASYNC", "SYNC", "sync", "bad"]));
                }
                args
            }
            _ => words("SELECT", [self.one(DATABASES)]),
        }
    }

    fn connection_command(&mut self) -> Args {
        match self.random.below(16) {
            0..=2 => words("MULTI", []),
            3..=6 => words("EXEC", []),
            7 => words("DISCARD", []),
            8..=10 => words("WATCH", self.keys()),
            11 => words("UNWATCH", []),
            12 => words("PING", []),
            13 => words("ECHO", [self.value()]),
            14 => words("NOSUCHCOMMAND", self.keys()),
            _ => words("SELECT", [self.one(&["0", "1"])]),
        }
    }
}

fn words(name: &str, rest: impl IntoIterator<Item = Vec<u8>>) -> Args {
    std::iter::once(name.as_bytes().to_vec()).chain(rest).collect()
}
