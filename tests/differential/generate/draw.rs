//! Draws arguments.

use super::words::{
    DATABASES, FLOATS, INTEGERS, KEYS, NOT_DATABASES, NOT_INTEGERS, ODD_FLOATS, OFFSETS, PATTERNS, STRAYS,
};
use super::{args, Args};
use crate::support::Random;

/// No time to live that counts from now is shorter; a sequence and its shrinking take much less.
pub const TTL_MIN_S: u64 = 10_000;
/// Between times to live that count from now. A comparison of two must not depend on when they were given.
const TTL_STEP_S: u64 = 1_000;
/// In 2100, later than any of those.
const ABSOLUTE_S: u64 = 4_102_444_800;

/// One word of a command.
pub trait Arg {
    fn word(self) -> Vec<u8>;
}

impl Arg for &str {
    fn word(self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Arg for String {
    fn word(self) -> Vec<u8> {
        self.into_bytes()
    }
}

impl Arg for Vec<u8> {
    fn word(self) -> Vec<u8> {
        self
    }
}

impl Arg for &[u8] {
    fn word(self) -> Vec<u8> {
        self.to_vec()
    }
}

impl Arg for usize {
    fn word(self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl Arg for i64 {
    fn word(self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

pub struct Draw {
    pub random: Random,
    /// Keys at this place modulo the second number are the family's own.
    pub home: Option<(usize, usize)>,
    /// Who sends the step that is drawn now.
    pub connection: usize,
    /// Of the first connection, if all went well.
    pub in_transaction: bool,
    /// The last ID of streams, in milliseconds; it grows.
    pub stream_ms: u64,
    /// A set may have become too large for integers in order while it is still small.
    pub few_integers: bool,
    /// The oracle is Redis 7.2, as Gyre.
    pub modern: bool,
    ttls: u64,
}

impl Draw {
    pub fn new(random: Random, modern: bool) -> Draw {
        Draw {
            random,
            modern,
            home: None,
            connection: 0,
            in_transaction: false,
            stream_ms: 0,
            few_integers: false,
            ttls: 0,
        }
    }

    /// Forgets the sequence before.
    pub fn begin(&mut self) {
        self.in_transaction = false;
        self.stream_ms = 10;
        self.few_integers = false;
        self.ttls = 0;
    }

    pub fn one_in(&mut self, times: usize) -> bool {
        self.random.one_in(times)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound)
    }

    pub fn word(&mut self, from: &[&'static str]) -> &'static str {
        let at = self.random.below(from.len());
        from[at]
    }

    /// A number of things: mostly few, and seldom so many that a compact encoding ends.
    pub fn few(&mut self) -> usize {
        match self.below(40) {
            0 => 10 + self.below(60),
            1 if self.one_in(4) => 140,
            _ => *self.random.pick(&[1, 1, 1, 2, 2, 3, 5]),
        }
    }

    pub fn key(&mut self) -> Vec<u8> {
        let mut at = self.below(KEYS.len());
        if let Some((place, of)) = self.home {
            if of <= KEYS.len() && !self.random.one_in(15) {
                at = place + of * self.below((KEYS.len() - place).div_ceil(of));
            }
        }
        KEYS[at].to_vec()
    }

    pub fn keys(&mut self) -> Args {
        let count = *self.random.pick(&[1, 1, 2, 2, 3, 4]);
        (0..count).map(|_| self.key()).collect()
    }

    /// `2 a b`, and seldom a number that does not fit.
    pub fn numbered_keys(&mut self) -> Args {
        let mut keys = self.keys();
        let number = match self.below(25) {
            0 => self.word(&["0", "-1", "x", "9", "1", "9223372036854775807", "2147483648"]).word(),
            _ => keys.len().word(),
        };
        keys.insert(0, number);
        keys
    }

    pub fn integer(&mut self) -> Vec<u8> {
        match self.below(10) {
            0 => self.word(NOT_INTEGERS).word(),
            1 => ((self.random.next() >> self.random.below(63)) as i64).word(),
            _ => self.word(INTEGERS).word(),
        }
    }

    pub fn float(&mut self) -> Vec<u8> {
        match self.below(8) {
            0 => f64::from_bits(self.random.next()).to_string().into_bytes(),
            1 => format!("{:e}", (self.random.next() as i64 as f64) / 1e15).into_bytes(),
            2 => self.word(ODD_FLOATS).word(),
            3 => self.integer(),
            _ => self.word(FLOATS).word(),
        }
    }

    /// Of a sorted set: ties are wanted.
    pub fn score(&mut self) -> Vec<u8> {
        match self.below(8) {
            0 => self.float(),
            1 => self.word(&["inf", "-inf", "0.5", "1.5", "-0", "1e20"]).word(),
            _ => self.word(&["0", "1", "2", "3", "-1", "10"]).word(),
        }
    }

    /// Where a range begins or ends.
    pub fn offset(&mut self) -> Vec<u8> {
        match self.below(25) {
            0 => self.word(NOT_INTEGERS).word(),
            _ => self.word(OFFSETS).word(),
        }
    }

    /// How many to return or remove, where all that is there may be returned.
    pub fn count(&mut self) -> Vec<u8> {
        match self.below(20) {
            0 => self.word(NOT_INTEGERS).word(),
            1 => self.word(&["9223372036854775807", "4294967296", "-1", "-5", "1000000"]).word(),
            _ => self.word(&["0", "1", "1", "2", "3", "5", "10", "100"]).word(),
        }
    }

    /// A string's value.
    pub fn value(&mut self) -> Vec<u8> {
        match self.below(10) {
            0..=2 => self.integer(),
            3 => self.float(),
            // The longest string that shares its object's allocation in Redis has 44 bytes.
            4 => vec![b'x'; *self.random.pick(&[0, 1, 19, 20, 21, 43, 44, 45, 46, 100, 1000])],
            5 => (0..self.below(300)).map(|at| (at * 7) as u8).collect(),
            6 => self.word(&["ohmytext", "mynewtext"]).word(),
            _ => {
                let len = self.below(30);
                (0..len).map(|_| *self.random.pick(b"abc\0\r\xe9")).collect()
            }
        }
    }

    /// An element, field or member: from few, so that it is there already, and around the lengths at which an
    /// encoding ends or a compact one writes its length otherwise.
    pub fn element(&mut self) -> Vec<u8> {
        match self.below(30) {
            0 => vec![b'y'; *self.random.pick(&[0, 11, 12, 63, 64, 65, 66, 253, 254, 4096])],
            1 => self.integer(),
            2 => self.float(),
            3 => self.word(&["\0", "a\r\nb", "é", "A", "aa", "ab", "b ", "~"]).word(),
            4 if self.one_in(12) => vec![b'z'; 9_000],
            5..=8 => (self.below(200) as i64 - 20).word(),
            9..=10 => format!("m:{}", self.below(200)).word(),
            11..=20 => self.below(10).word(),
            _ => self.word(&["a", "b", "c", "d", "e", "f", "g", "h"]).word(),
        }
    }

    pub fn elements(&mut self) -> Args {
        (0..self.few()).map(|_| self.element()).collect()
    }

    pub fn pattern(&mut self) -> Vec<u8> {
        self.word(PATTERNS).word()
    }

    pub fn database(&mut self) -> Vec<u8> {
        let from = if self.one_in(15) { NOT_DATABASES } else { DATABASES };
        self.word(from).word()
    }

    /// A time from now, in units of which a second has `unit`.
    pub fn ttl(&mut self, unit: u64) -> Vec<u8> {
        if self.one_in(8) {
            return self.odd_time();
        }
        self.ttls += 1;
        // Not in the order of the sequence: GT and LT need earlier ones too.
        let place = (self.ttls * 7_919) % 100_003;
        ((TTL_MIN_S + place * TTL_STEP_S) * unit).to_string().into_bytes()
    }

    /// A time since 1970, far away.
    pub fn deadline(&mut self, unit: u64) -> Vec<u8> {
        if self.one_in(8) {
            return self.odd_time();
        }
        let odd_ms = if unit > 1 { self.below(3) as u64 * 400 } else { 0 };
        ((ABSOLUTE_S + self.below(4) as u64) * unit + odd_ms).to_string().into_bytes()
    }

    fn odd_time(&mut self) -> Vec<u8> {
        self.word(&[
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
            "100000000000.5",
            "x",
            "",
            "+100000000",
        ])
        .word()
    }

    /// Case, and now and then an argument too few, too many or at the wrong place.
    pub fn blemish(&mut self, mut args: Args) -> Args {
        match self.below(100) {
            0 if args.len() > 1 => {
                args.pop();
            }
            1 => args.push(self.word(STRAYS).word()),
            2 | 3 if args.len() > 1 && self.may_be_replaced(&args) => {
                let at = 1 + self.below(args.len() - 1);
                args[at] = self.word(STRAYS).word();
            }
            4 if args.len() > 2 && self.may_be_replaced(&args) => {
                let at = 1 + self.below(args.len() - 2);
                args.swap(at, at + 1);
            }
            5 if args.len() > 1 => args.truncate(1 + self.below(args.len() - 1)),
            6..=15 => args[0].make_ascii_lowercase(),
            _ => {}
        }
        args
    }

    /// Not where another number is a time that comes, a wait, or more memory than a test should take.
    fn may_be_replaced(&mut self, args: &Args) -> bool {
        const NOT: &[&[u8]] = &[
            b"SET",
            b"SETEX",
            b"PSETEX",
            b"GETEX",
            b"EXPIRE",
            b"PEXPIRE",
            b"EXPIREAT",
            b"PEXPIREAT",
            b"RESTORE",
            b"SETRANGE",
            b"SETBIT",
            b"BITFIELD",
            b"SRANDMEMBER",
            b"HRANDFIELD",
            b"ZRANDMEMBER",
            b"XADD",
        ];
        let blocks = args[0][0] == b'B' && !args[0].starts_with(b"BIT");
        let may_block = args.iter().any(|arg| arg.eq_ignore_ascii_case(b"BLOCK"));
        !blocks && !may_block && !NOT.contains(&args[0].as_slice())
    }

    /// One command as a step.
    pub fn alone(&mut self, args: Args) -> Vec<Args> {
        let blocks = args[0][0] == b'B' && !args[0].starts_with(b"BIT");
        vec![if blocks { args } else { self.blemish(args) }]
    }

    /// A command whose outcome is chance, with looks before and after, and then both servers without the key.
    pub fn then_forget(&mut self, key: Vec<u8>, look: &str, args: Args) -> Vec<Args> {
        // A blemish may have made it another one.
        let key = args.get(1).cloned().unwrap_or(key);
        vec![args![look, key.clone()], args, args![look, key.clone()], args!["DEL", key]]
    }
}
