//! Random sequences of commands.
//!
//! A family is a file: what it can say, with all options, edge values and mistakes. A sequence takes one to three
//! families of data types and gives each a share of a few keys as its home, so that most commands meet a value of
//! their type, and some another type, and mixes in commands on keys of any type, transactions and so on.
//!
//! What a reply depends on must be in the sequence, never in the moment it runs at. Times to live are far apart from each
//! other and from their ends, times in the past are past everywhere, streams get explicit IDs. Commands that belong
//! together (what is random and what makes both servers the same again) are one step, which is left out only as a whole.

mod bitmaps;
mod draw;
mod dump;
mod geo;
mod hashes;
mod hyperloglogs;
mod keys;
mod lists;
mod sets;
mod sort;
mod sorted_sets;
mod streams;
mod strings;
mod thresholds;
mod transactions;
mod words;

pub use draw::{Arg, Draw};
pub use thresholds::DEFAULTS as THRESHOLD_DEFAULTS;

use super::scripts::Way;
use super::support::Random;

pub type Args = Vec<Vec<u8>>;

/// Commands that go together, and which of the connections sends them.
#[derive(Clone, Debug)]
pub struct Step {
    pub connection: usize,
    pub commands: Vec<Args>,
    pub way: Way,
}

pub const CONNECTIONS: usize = 2;

/// Stands for the answer to the DUMP before it: what the same server answered, and what the oracle answered.
pub const OWN_PAYLOAD: &[u8] = b"<the payload>";
pub const ORACLE_PAYLOAD: &[u8] = b"<Redis's payload>";

/// A command from its words: text, bytes and numbers.
macro_rules! args {
    ($($word:expr),+ $(,)?) => {
        vec![$($crate::generate::Arg::word($word)),+]
    };
}
use args;

pub struct Family {
    pub name: &'static str,
    /// Commands without which it cannot run.
    pub needs: &'static [&'static str],
    /// Of a hundred steps next to data types; 0 for a data type, which has keys of its own.
    share: usize,
    step: fn(&mut Draw) -> Vec<Args>,
}

pub const FAMILIES: &[Family] = &[
    strings::FAMILY,
    lists::FAMILY,
    hashes::FAMILY,
    sets::FAMILY,
    sorted_sets::FAMILY,
    streams::FAMILY,
    bitmaps::FAMILY,
    hyperloglogs::FAMILY,
    geo::FAMILY,
    sort::FAMILY,
    keys::FAMILY,
    transactions::FAMILY,
    dump::FAMILY,
    thresholds::FAMILY,
];

pub fn family(name: &str) -> &'static Family {
    FAMILIES.iter().find(|family| family.name == name).unwrap_or_else(|| {
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        panic!("there is no family {name}, only {}", known.join(", "))
    })
}

pub struct Generator {
    draw: Draw,
    types: Vec<&'static Family>,
    others: Vec<&'static Family>,
}

impl Generator {
    pub fn new(random: Random, families: &[&'static Family], modern: bool) -> Generator {
        let (types, others) = families.iter().copied().partition(|family| family.share == 0);
        Generator { draw: Draw::new(random, modern), types, others }
    }

    pub fn sequence(&mut self, length: usize) -> Vec<Step> {
        self.draw.begin();
        let count = *self.draw.random.pick(&[1, 1, 2, 3, self.types.len()]);
        let types = self.draw.random.sample(&self.types, count);
        (0..length).flat_map(|_| Generator::apart(self.step(&types))).collect()
    }

    /// Repetitions of a command need not stay together.
    fn apart(step: Step) -> Vec<Step> {
        if step.commands.windows(2).all(|pair| pair[0][0] == pair[1][0]) {
            let alone = |args| Step { connection: step.connection, commands: vec![args], way: step.way };
            step.commands.into_iter().map(alone).collect()
        } else {
            vec![step]
        }
    }

    fn step(&mut self, types: &[&'static Family]) -> Step {
        let draw = &mut self.draw;
        // Another client's writes are what WATCH is for.
        let connection = usize::from(draw.random.one_in(30));
        draw.connection = connection;
        let mut ticket = if types.is_empty() { 0 } else { draw.random.below(100) };
        let mut chosen = None;
        for other in &self.others {
            if ticket < other.share {
                chosen = Some(*other);
                break;
            }
            ticket -= other.share;
        }
        if types.is_empty() {
            chosen = Some(*draw.random.pick(&self.others));
        }
        draw.home = None;
        let family = chosen.unwrap_or_else(|| {
            let at = draw.random.below(types.len());
            draw.home = Some((at, types.len()));
            types[at]
        });
        let commands = if draw.random.one_in(40) {
            // Room for values of another type.
            vec![args!["DEL", draw.key()]]
        } else {
            (family.step)(draw)
        };
        let way = Way::random(&mut draw.random, &commands, draw.modern);
        Step { connection, commands, way }
    }
}

#[test]
fn a_seed_repeats_its_sequences() {
    let all: Vec<&Family> = FAMILIES.iter().collect();
    let text = || format!("{:?}", Generator::new(Random::new(7), &all, true).sequence(2_000));
    assert_eq!(text(), text());
}

#[test]
fn nothing_blocks_for_long_and_nothing_expires_soon() {
    let all: Vec<&Family> = FAMILIES.iter().collect();
    let mut generator = Generator::new(Random::new(8), &all, true);
    for step in (0..50).flat_map(|_| generator.sequence(500)) {
        for args in &step.commands {
            let text: Vec<String> =
                args.iter().map(|arg| String::from_utf8_lossy(arg).to_uppercase()).collect();
            let number = |at: usize| text.get(at).and_then(|text| text.parse::<f64>().ok());
            let soon = |seconds: f64| seconds > 0.0 && seconds < draw::TTL_MIN_S as f64;
            let blocks = match text[0].as_str() {
                "BLPOP" | "BRPOP" | "BZPOPMIN" | "BZPOPMAX" | "BLMOVE" | "BRPOPLPUSH" => {
                    number(text.len() - 1)
                }
                "BLMPOP" | "BZMPOP" => number(1),
                "XREAD" | "XREADGROUP" => {
                    text.iter().position(|word| word == "BLOCK").and_then(|at| number(at + 1))
                }
                _ => None,
            };
            let forever = blocks.is_some_and(|timeout| timeout == 0.0 || (timeout > 5.0 && timeout < 1e15));
            assert!(!forever, "{text:?}");
            let (in_s, in_ms) = match text[0].as_str() {
                "EXPIRE" | "SETEX" => (number(2), None),
                "PEXPIRE" | "PSETEX" => (None, number(2)),
                "SET" | "GETEX" => {
                    let from = if text[0] == "SET" { 3 } else { 2 };
                    let of = |name| {
                        let option = text.iter().skip(from).position(|word| word == name)?;
                        number(from + option + 1)
                    };
                    (of("EX"), of("PX"))
                }
                _ => (None, None),
            };
            assert!(!in_s.is_some_and(soon) && !in_ms.is_some_and(|ms| soon(ms / 1000.0)), "{text:?}");
        }
    }
}
