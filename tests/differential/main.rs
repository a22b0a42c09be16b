//! Gyre answers as Redis does: random sequences of commands run against redis-server and against Gyre with 1, 2 and 4
//! shards, in RESP2 and RESP3, and every reply is compared byte by byte, but for what Redis itself leaves open
//! (`compare.rs`) and what Redis 7.2 does otherwise than an older oracle (`versions.rs`). At the end of a sequence all
//! keys are compared too. A sequence that shows a difference is cut down to what it needs before it is printed.
//!
//! From the environment:
//! - `DIFFERENTIAL_COMMANDS`: how many, for each number of shards. `DIFFERENTIAL_SEED`: printed by every run.
//! - `DIFFERENTIAL_FAMILIES=hashes,keys`: these only. By default all whose commands Gyre has.
//! - `DIFFERENTIAL_ORACLE`: another redis-server. With one of version 7.2 there are no exceptions by version.
//! - `DIFFERENTIAL_SUBJECT`: another redis-server in Gyre's place, to see whether what the generator makes is
//!   determined at all.
//! - `DIFFERENTIAL_REQUIRED=1`: without redis-server the test fails.

mod compare;
mod generate;
mod play;
mod scripts;
mod shrink;
#[path = "../support/mod.rs"]
mod support;
mod versions;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use compare::{first_difference, Difference};
use generate::{family, Family, Generator, Step, FAMILIES};
use play::{Heard, Play};
use shrink::shrink;
use support::{redis_server, seed, setting, Random, Server, Value};

/// Families that Gyre must have: they are missed, not left out.
const REQUIRED: &[&str] = &[
    "strings",
    "lists",
    "hashes",
    "sets",
    "sorted-sets",
    "streams",
    "bitmaps",
    "hyperloglogs",
    "geo",
    "sort",
    "keys",
    "transactions",
    "dump",
    "thresholds",
];

const SEQUENCE_STEPS: usize = 300;
/// Different kinds of differences in one run; after so many the rest would say little more.
const KINDS_MAX: usize = 12;
/// Longer words are shortened where they are shown.
const SHOWN_BYTES: usize = 300;
/// Of a sequence that does not become shorter, the end.
const SHOWN_STEPS: usize = 40;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// To the terminal even from a test that passes.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "differential test: {text}");
}

fn oracle() -> Option<Server> {
    let binary = match variable("DIFFERENTIAL_ORACLE") {
        Some(path) => Some(PathBuf::from(path)),
        None => redis_server(),
    };
    let Some(binary) = binary else {
        assert!(variable("DIFFERENTIAL_REQUIRED").is_none(), "there is no redis-server to compare with");
        say("SKIPPED, there is no redis-server");
        return None;
    };
    Some(Server::start_binary(&binary, &["--enable-debug-command", "yes"]))
}

fn subject(shards: usize) -> Server {
    match variable("DIFFERENTIAL_SUBJECT") {
        Some(path) => Server::start_binary(&PathBuf::from(path), &["--enable-debug-command", "yes"]),
        None => Server::start(&["--shards", &shards.to_string(), "--enable-debug-command", "yes"]),
    }
}

/// Whether the server has all the commands.
fn has(server: &Server, commands: &[&str]) -> bool {
    let question = [&["COMMAND", "INFO"], commands].concat();
    let answer = server.client().call(&question);
    answer.elements().len() == commands.len() && !answer.elements().iter().any(Value::is_null)
}

fn chosen_families(oracle: &Server, subject: &Server) -> Vec<&'static Family> {
    if let Some(names) = variable("DIFFERENTIAL_FAMILIES") {
        return names.split(',').map(family).collect();
    }
    let (there, missing): (Vec<&Family>, Vec<&Family>) =
        FAMILIES.iter().partition(|family| has(oracle, family.needs) && has(subject, family.needs));
    let names =
        |families: &[&Family]| families.iter().map(|family| family.name).collect::<Vec<_>>().join(", ");
    say(&format!("runs {}", names(&there)));
    if !missing.is_empty() {
        say(&format!("NOT THERE YET: {}", names(&missing)));
    }
    let missed: Vec<&str> =
        REQUIRED.iter().copied().filter(|name| missing.iter().any(|family| family.name == *name)).collect();
    assert!(missed.is_empty(), "commands are missing of {}", missed.join(", "));
    there
}

/// Two servers that are compared.
struct Pair {
    oracle: Server,
    subject: Server,
    oracle_is_old: bool,
}

impl Pair {
    fn compare(&mut self, steps: &[Step], protocol: u8) -> Option<Difference> {
        let wanted = Play::new(&mut self.oracle, protocol, None).run(steps);
        let got = Play::new(&mut self.subject, protocol, Some(&wanted)).run(steps);
        first_difference(&wanted, &got, self.oracle_is_old)
    }

    /// A sequence with a difference becomes a report.
    fn explain(&mut self, steps: Vec<Step>, protocol: u8, first: Difference) -> String {
        let kind = first.kind();
        let shortest = shrink(steps, |steps| {
            self.compare(steps, protocol).is_some_and(|difference| difference.kind() == kind)
        });
        let (difference, again) = match self.compare(&shortest, protocol) {
            Some(difference) => (difference, ""),
            None => (first, " (NOT SEEN AGAIN when repeated)"),
        };
        let shown = &shortest[shortest.len().saturating_sub(SHOWN_STEPS)..];
        let mut text = format!("redis-cli{}{again}\n", if protocol == 3 { " -3" } else { "" });
        for step in shown {
            let indent = if step.connection == 0 { "" } else { "(another client) " };
            for args in &step.commands {
                let _ = writeln!(text, "  {indent}{}", shown_command(&step.way.request(args.clone())));
            }
        }
        let _ = write!(
            text,
            "  at: {}\n  Redis: {}\n  Gyre:  {}\n",
            difference.at, difference.oracle, difference.subject
        );
        text
    }
}

/// As redis-cli takes it.
fn shown_command(args: &[Vec<u8>]) -> String {
    args.iter().map(|arg| shown_word(arg)).collect::<Vec<_>>().join(" ")
}

fn shown_word(word: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"'\\".contains(byte);
    if !word.is_empty() && word.len() <= SHOWN_BYTES && word.iter().all(plain) {
        return String::from_utf8_lossy(word).into_owned();
    }
    let mut text = String::from("\"");
    for byte in &word[..word.len().min(SHOWN_BYTES)] {
        match byte {
            b'"' | b'\\' => text.extend(['\\', *byte as char]),
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b' '..=b'~' => text.push(*byte as char),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push('"');
    if word.len() > SHOWN_BYTES {
        let _ = write!(text, "...({} bytes)", word.len());
    }
    text
}

fn check(shards: usize) {
    let seed = seed("DIFFERENTIAL_SEED");
    let commands = setting("DIFFERENTIAL_COMMANDS", 20_000) as usize;
    let Some(oracle) = oracle() else { return };
    let subject = subject(shards);
    let families = chosen_families(&oracle, &subject);
    let oracle_is_old = versions::is_old(&oracle);
    let mut pair = Pair { oracle, subject, oracle_is_old };
    let mut random = Random::new(seed.wrapping_add((shards as u64) << 32));
    let mut generator = Generator::new(random.fork(), &families, !oracle_is_old);
    let mut reports: BTreeMap<String, (String, usize)> = BTreeMap::new();
    let mut done = 0;
    while done < commands && reports.len() < KINDS_MAX {
        let steps = generator.sequence(SEQUENCE_STEPS);
        done += steps.iter().map(|step| step.commands.len()).sum::<usize>();
        let protocol = if random.one_in(2) { 3 } else { 2 };
        let Some(difference) = pair.compare(&steps, protocol) else { continue };
        let kind = difference.kind();
        if let Some((_, times)) = reports.get_mut(&kind) {
            *times += 1;
            continue;
        }
        let report = pair.explain(steps, protocol, difference);
        say(&format!("{shards} shards, after {done} commands, {kind}:\n{report}"));
        reports.insert(kind, (report, 1));
    }
    say(&format!(
        "{done} commands, {shards} shards, DIFFERENTIAL_SEED={seed}: {} differences",
        reports.len()
    ));
    let texts: Vec<String> = reports
        .into_iter()
        .map(|(kind, (report, times))| format!("{kind} ({times} times): {report}"))
        .collect();
    assert!(texts.is_empty(), "DIFFERENTIAL_SEED={seed}, {shards} shards:\n{}", texts.join("\n"));
}

#[test]
fn one_shard_answers_as_redis_does() {
    check(1);
}

#[test]
fn two_shards_answer_as_redis_does() {
    check(2);
}

#[test]
fn four_shards_answer_as_redis_does() {
    check(4);
}

#[test]
fn commands_are_shown_as_redis_cli_takes_them() {
    let args = [b"SET".to_vec(), b"a b".to_vec(), b"\x00\"\r".to_vec(), Vec::new()];
    assert_eq!(shown_command(&args), r#"SET "a b" "\x00\"\r" """#);
}

/// A server that is wrong is noticed, and what shows it is short: the oracle against itself, with another answer to a
/// rare command.
#[test]
fn a_difference_is_found_and_cut_down_to_what_it_needs() {
    let families: Vec<&Family> = FAMILIES.iter().collect();
    let steps = Generator::new(Random::new(1), &families, true).sequence(500);
    let has = |steps: &[Step], name: &str| {
        steps.iter().any(|step| step.commands.iter().any(|args| args[0] == name.as_bytes()))
    };
    let shortest = shrink(steps, |steps| has(steps, "COPY") && has(steps, "RENAME"));
    assert_eq!(shortest.len(), 2);
    let heard =
        |reply: &str| Heard { args: vec![b"LLEN".to_vec()], reply: reply.as_bytes().to_vec(), mate: 0 };
    assert!(first_difference(&[heard(":1\r\n")], &[heard(":2\r\n")], false).is_some());
}
