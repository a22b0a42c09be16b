//! Gyre answers as Redis does: random sequences of commands run against redis-server and against Gyre with 1, 2 and 4
//! shards, and every reply is compared byte for byte, except where Redis itself leaves it open (`compare.rs`). At the
//! end of a sequence the databases are compared too. A sequence with a difference is shortened before it is shown.
//!
//! Longer or other runs: DIFFERENTIAL_COMMANDS, DIFFERENTIAL_SEED.

mod compare;
mod generate;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use compare::same;
use generate::{Args, Generator, Step};
use support::{seed, setting, Client, Random, Server, Value};

const SEQUENCE_COMMANDS: usize = 120;
/// RESP2, RESP3, RESP2.
const CONNECTIONS: usize = 3;
/// Databases whose contents are compared at the end.
const DATABASES: [&str; 4] = ["0", "1", "2", "15"];
/// After so many differences the rest is not looked at.
const DIFFERENCES_MAX: usize = 8;
/// Calls of SCAN in one iteration.
const SCAN_CALLS_MAX: usize = 10_000;

struct Side {
    name: String,
    server: Server,
    clients: Vec<Client>,
    /// Of each connection, the commands queued since MULTI.
    queued: Vec<Vec<Args>>,
}

#[derive(Debug)]
struct Difference {
    step: usize,
    side: String,
    what: String,
}

impl Side {
    fn new(name: String, server: Server) -> Side {
        Side { name, server, clients: Vec::new(), queued: Vec::new() }
    }

    /// Empty databases, new connections.
    fn begin(&mut self) {
        if !self.server.is_running() {
            self.server.restart();
        }
        self.server.client().call(&["FLUSHALL"]);
        self.clients = (0..CONNECTIONS).map(|_| self.server.client()).collect();
        self.clients[1].call(&["HELLO", "3"]);
        self.queued = vec![Vec::new(); CONNECTIONS];
    }

    /// The reply to a step that has been sent. A SCAN goes on to the end of its iteration; its reply is then the
    /// elements, sorted.
    fn reply(&mut self, step: &Step) -> io::Result<Value> {
        let client = &mut self.clients[step.connection];
        let mut reply = client.try_receive()?;
        if !step.args[0].eq_ignore_ascii_case(b"SCAN") {
            return Ok(reply);
        }
        let mut found = BTreeSet::new();
        for _ in 0..SCAN_CALLS_MAX {
            let Value::Array(parts) = &reply else { return Ok(reply) };
            found.extend(parts[1].elements().iter().map(Value::text));
            let cursor = parts[0].text();
            if cursor == "0" {
                return Ok(Value::Array(found.iter().map(Value::bulk).collect()));
            }
            let mut args = step.args.clone();
            args[1] = cursor.into_bytes();
            reply = client.try_call(&args)?;
        }
        Err(io::Error::other("SCAN does not end"))
    }

    /// What EXEC ends, as far as this reply tells.
    fn note(&mut self, step: &Step, reply: &Value) -> Vec<Args> {
        let queue = &mut self.queued[step.connection];
        let is = |name: &[u8]| step.args[0].eq_ignore_ascii_case(name);
        if *reply == Value::Simple("QUEUED".into()) {
            queue.push(step.args.clone());
            Vec::new()
        } else if is(b"EXEC") || is(b"DISCARD") {
            std::mem::take(queue)
        } else {
            Vec::new()
        }
    }

    /// Every key of the compared databases: its value, and when it expires to the nearest ten seconds.
    fn contents(&mut self) -> BTreeMap<String, String> {
        let mut client = self.server.client();
        let mut contents = BTreeMap::new();
        for database in DATABASES {
            client.call(&["SELECT", database]);
            for key in client.call(&["KEYS", "*"]).elements() {
                let Value::Bulk(name) = key else { panic!("KEYS answers {key:?}") };
                let value = client.call(&[b"GET".as_slice(), name]);
                let expires = client.call(&[b"PEXPIRETIME".as_slice(), name]).integer();
                let expires = if expires < 0 { expires } else { (expires + 5000) / 10_000 };
                contents.insert(format!("{database} {key:?}"), format!("{value:?} {expires}"));
            }
        }
        contents
    }
}

/// Runs the steps on all sides; the first is the oracle.
fn first_difference(sides: &mut [Side], steps: &[Step]) -> Option<Difference> {
    sides.iter_mut().for_each(Side::begin);
    for (index, step) in steps.iter().enumerate() {
        for side in sides.iter_mut() {
            // A connection that is gone shows when the reply is read.
            let _ = side.clients[step.connection].try_send_raw(&Client::encode(&step.args));
        }
        let mut expected = None;
        for side in sides.iter_mut() {
            let name = side.name.clone();
            let difference = |what| Some(Difference { step: index, side: name, what });
            let reply = match side.reply(step) {
                Ok(reply) => reply,
                Err(error) => return difference(format!("no reply: {error}")),
            };
            let queued = side.note(step, &reply);
            match &expected {
                None => expected = Some(reply),
                Some(expected) if same(&step.args, &queued, expected, &reply) => {}
                Some(expected) => {
                    return difference(format!("redis-server: {expected:?}\n{}: {reply:?}", side.name));
                }
            }
        }
    }
    let mut contents = sides.iter_mut().map(|side| (side.name.clone(), side.contents()));
    let (_, expected) = contents.next()?;
    contents.find(|(_, contents)| !alike(&expected, contents)).map(|(side, contents)| Difference {
        step: steps.len(),
        side,
        what: format!("contents at the end\nredis-server: {expected:?}\nGyre: {contents:?}"),
    })
}

/// The same keys and values; times may fall on both sides of a rounding.
fn alike(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> bool {
    let split = |text: &str| -> (String, i64) {
        let (value, expires) = text.rsplit_once(' ').expect("contents writes both");
        (value.to_owned(), expires.parse().expect("a number"))
    };
    a.len() == b.len()
        && a.iter().zip(b).all(|((key_a, a), (key_b, b))| {
            let ((value_a, expires_a), (value_b, expires_b)) = (split(a), split(b));
            key_a == key_b && value_a == value_b && (expires_a - expires_b).abs() <= 1
        })
}

/// Fewer steps that still make a difference.
fn shrink(sides: &mut [Side], mut steps: Vec<Step>) -> Vec<Step> {
    let mut chunk = steps.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + chunk).min(steps.len()));
            if first_difference(sides, &fewer).is_some() {
                steps = fewer;
            } else {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    steps
}

fn shown(step: &Step) -> String {
    let words: Vec<String> =
        step.args.iter().map(|arg| format!("{:?}", String::from_utf8_lossy(arg))).collect();
    format!("  connection {}: {}", step.connection, words.join(" "))
}

#[test]
fn gyre_answers_as_redis_does() {
    let Some(redis) = Server::redis(&["--databases", "16"]) else { return };
    let mut sides = vec![Side::new("redis-server".into(), redis)];
    for shards in [1, 2, 4] {
        sides.push(Side::new(format!("Gyre with {shards} shards"), Server::with_shards(shards)));
    }
    let mut generator = Generator::new(Random::new(seed("DIFFERENTIAL_SEED")));
    let commands = setting("DIFFERENTIAL_COMMANDS", 20_000) as usize;
    let mut differences: Vec<String> = Vec::new();
    for _ in 0..commands.div_ceil(SEQUENCE_COMMANDS) {
        let steps = generator.sequence(SEQUENCE_COMMANDS);
        if first_difference(&mut sides, &steps).is_none() {
            continue;
        }
        let steps = shrink(&mut sides, steps);
        differences.push(match first_difference(&mut sides, &steps) {
            None => format!("a difference that came once and not again, in:\n{steps:#?}"),
            Some(Difference { step, side, what }) => {
                let listed: Vec<String> = steps.iter().map(shown).collect();
                format!("{side} differs from Redis at step {step} of\n{}\n{what}", listed.join("\n"))
            }
        });
        if differences.len() == DIFFERENCES_MAX {
            break;
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}
