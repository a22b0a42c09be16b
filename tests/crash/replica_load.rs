//! Clients of a master that has a replica: they count, now and then ask how far the replica is, and remember what they were told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::support::{Client, Random, Value};

pub const CLIENTS: usize = 4;
/// Of each client. No two of them need be on one shard.
const COUNTERS: usize = 6;
const PIPELINE_MAX: usize = 12;
/// Keys that all clients write, of all types.
const OTHERS: usize = 40;
/// How long a client waits for the replica, milliseconds.
const WAIT_MS: &str = "300";

/// By the name of a counter, the highest value.
pub type Values = HashMap<String, i64>;

/// What clients know of their counters.
#[derive(Default)]
pub struct Told {
    /// The master has acknowledged.
    pub acknowledged: Values,
    /// WAIT has counted the replica.
    pub replicated: Values,
    /// WAITAOF has counted the replica.
    pub on_its_disk: Values,
    pub waits: usize,
}

impl Told {
    pub fn add(&mut self, other: Told) {
        raise(&mut self.acknowledged, &other.acknowledged);
        raise(&mut self.replicated, &other.replicated);
        raise(&mut self.on_its_disk, &other.on_its_disk);
        self.waits += other.waits;
    }
}

fn raise(to: &mut Values, from: &Values) {
    for (name, value) in from {
        let value = to.get(name).copied().unwrap_or(0).max(*value);
        to.insert(name.clone(), value);
    }
}

fn counters(client: usize) -> Vec<String> {
    (0..COUNTERS).map(|number| format!("count:{client}:{number}")).collect()
}

/// Always counted together.
fn pair(client: usize) -> [String; 2] {
    ["left", "right"].map(|side| format!("pair:{client}:{side}"))
}

/// What there is of the counters. `Err`: of a pair only one has been counted.
pub fn read(client: &mut Client) -> Result<Values, String> {
    let mut values = Values::new();
    let mut value = |name: &str| -> Result<i64, String> {
        let reply = client.try_call(&["GET", name]).map_err(|error| error.to_string())?;
        if reply.is_null() {
            return Ok(0);
        }
        reply.text().parse().map_err(|_| format!("{name} is {reply:?}"))
    };
    for id in 0..CLIENTS {
        for name in counters(id) {
            values.insert(name.clone(), value(&name)?);
        }
    }
    for id in 0..CLIENTS {
        let [left, right] = pair(id);
        let (one, other) = (value(&left)?, value(&right)?);
        if one != other {
            return Err(format!("half a transaction is there: {left} is {one}, {right} is {other}"));
        }
        values.insert(left, one);
    }
    Ok(values)
}

/// Something to have a snapshot of.
pub fn fill(client: &mut Client) {
    let value = "v".repeat(200);
    for first in (0..6000).step_by(500) {
        let bytes: Vec<u8> = (first..first + 500)
            .flat_map(|n| Client::encode(&["SET", &format!("filled:{n}"), &value]))
            .collect();
        client.send_raw(&bytes);
        (0..500).for_each(|_| assert!(client.receive().is_ok()));
    }
}

/// One of many kinds of writes, to what all clients share.
fn other(random: &mut Random) -> Vec<String> {
    let number = random.below(1000).to_string();
    let mut name = |kind: &str| format!("{kind}:{}", random.below(OTHERS));
    let (a, b, c) = (name("list"), name("list"), name("set"));
    let (d, e, f, g) = (name("set"), name("hash"), name("sorted"), name("text"));
    let words: Vec<&str> = match random.below(14) {
        0 => vec!["RPUSH", &a, &number, "x"],
        1 => vec!["LMOVE", &a, &b, "LEFT", "RIGHT"],
        2 => vec!["LTRIM", &a, "-20", "-1"],
        3 => vec!["SADD", &c, &number, "y"],
        4 => vec!["SPOP", &c],
        5 => vec!["SUNIONSTORE", &c, &c, &d],
        6 => vec!["HSET", &e, &number, "z"],
        7 => vec!["HDEL", &e, &number],
        8 => vec!["ZADD", &f, &number, &number],
        9 => vec!["MSET", &g, &number, "text:1", &number, "text:2", &number],
        10 => vec!["SET", &g, &number, "PX", "150"],
        11 => vec!["DEL", &a, &c, &g],
        12 => vec![
            "EVAL",
            "redis.call('SADD', KEYS[1], ARGV[1]) return redis.call('INCR', KEYS[2])",
            "2",
            &c,
            "sum",
            &number,
        ],
        _ => vec!["XADD", "stream", "MAXLEN", "20", "*", "f", &number],
    };
    words.into_iter().map(str::to_owned).collect()
}

/// What a reply is about.
enum Sent {
    Counted(String),
    /// The last of the replies to MULTI, two INCRs and EXEC.
    CountedPair,
    /// WAIT or WAITAOF: all that was told before is confirmed.
    Wait,
    WaitOnDisk,
    Nothing,
}

/// Writes until the server is gone, or `stop`. `Err`: what no server may answer.
pub fn run(address: &str, id: usize, mut random: Random, stop: &AtomicBool) -> Result<Told, String> {
    let mut told = Told::default();
    let Ok(mut client) = Client::try_connect(address) else { return Ok(told) };
    let names = counters(id);
    let [left, right] = pair(id);
    while !stop.load(Ordering::Relaxed) {
        let mut bytes = Vec::new();
        let mut sent = Vec::new();
        for _ in 0..1 + random.below(PIPELINE_MAX) {
            match random.below(10) {
                0..=4 => {
                    let name = random.pick(&names).clone();
                    bytes.extend(Client::encode(&["INCR", &name]));
                    sent.push(Sent::Counted(name));
                }
                5 | 6 => {
                    for command in [&["MULTI"][..], &["INCR", &left], &["INCR", &right], &["EXEC"]] {
                        bytes.extend(Client::encode(command));
                    }
                    sent.extend([Sent::Nothing, Sent::Nothing, Sent::Nothing, Sent::CountedPair]);
                }
                _ => {
                    bytes.extend(Client::encode(&other(&mut random)));
                    sent.push(Sent::Nothing);
                }
            }
        }
        match random.below(16) {
            0 | 1 => {
                bytes.extend(Client::encode(&["WAIT", "1", WAIT_MS]));
                sent.push(Sent::Wait);
            }
            2 => {
                bytes.extend(Client::encode(&["WAITAOF", "0", "1", WAIT_MS]));
                sent.push(Sent::WaitOnDisk);
            }
            _ => {}
        }
        if client.try_send_raw(&bytes).is_err() {
            break;
        }
        for what in sent {
            let Ok(reply) = client.try_receive() else { return Ok(told) };
            match (what, &reply) {
                (Sent::Counted(name), Value::Integer(value)) => {
                    told.acknowledged.insert(name, *value);
                }
                (Sent::CountedPair, Value::Array(values)) if values.len() == 2 => {
                    if values[0] != values[1] {
                        return Err(format!("a pair is counted to {values:?}"));
                    }
                    told.acknowledged.insert(left.clone(), values[0].integer());
                }
                (Sent::Wait, Value::Integer(count)) => {
                    told.waits += 1;
                    if *count > 0 {
                        told.replicated = told.acknowledged.clone();
                    }
                }
                (Sent::WaitOnDisk, Value::Array(counts)) => {
                    if counts[1].integer() > 0 {
                        told.on_its_disk = told.acknowledged.clone();
                    }
                }
                // Redis 7.0 has no WAITAOF.
                (Sent::WaitOnDisk, Value::Error(text)) if text.contains("unknown command") => {}
                (Sent::Nothing, reply) if !reply.is_error() => {}
                (_, reply) => return Err(format!("client {id} is answered with {reply:?}")),
            }
        }
        if random.one_in(3) {
            std::thread::sleep(Duration::from_millis(random.below(8) as u64));
        }
    }
    Ok(told)
}
