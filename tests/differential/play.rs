//! Plays a sequence on a server.
//!
//! Neighbours of one connection go out in one write. What follows an iteration or a DUMP waits for it, because the
//! answer says what to send next.

use std::collections::BTreeSet;
use std::time::Duration;

use super::generate::{Args, Step, CONNECTIONS, ORACLE_PAYLOAD, OWN_PAYLOAD, THRESHOLD_DEFAULTS};
use super::scripts::Way;
use super::support::{parse_reply, Client, Server, Value};

/// Commands in one write.
const BATCH_MAX: usize = 100;
/// Calls in one iteration.
const SCAN_CALLS_MAX: usize = 10_000;
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// Databases whose keys are compared in the end.
const DATABASES: [&str; 3] = ["0", "1", "15"];

/// A command and the answer to it: bytes of the protocol, or for an iteration a list of all it found, sorted.
#[derive(Clone, Debug)]
pub struct Heard {
    pub args: Args,
    pub reply: Vec<u8>,
    /// How many commands of the same step follow.
    pub mate: usize,
}

/// A command of a sequence.
struct Sent<'a> {
    connection: usize,
    args: &'a Args,
    mate: usize,
    way: Way,
}

pub struct Play<'a> {
    clients: Vec<Client>,
    protocol: u8,
    /// What the oracle answered to the same sequence.
    oracle: Option<&'a [Heard]>,
    heard: Vec<Heard>,
    server: &'a mut Server,
}

pub fn name_is(args: &[Vec<u8>], name: &str) -> bool {
    args[0].eq_ignore_ascii_case(name.as_bytes())
}

pub fn is_scan(args: &[Vec<u8>]) -> bool {
    ["SCAN", "HSCAN", "SSCAN", "ZSCAN"].iter().any(|name| name_is(args, name))
}

impl<'a> Play<'a> {
    /// On an empty server.
    pub fn new(server: &'a mut Server, protocol: u8, oracle: Option<&'a [Heard]>) -> Play<'a> {
        if !server.is_running() {
            server.restart();
        }
        let clients: Vec<Client> = (0..CONNECTIONS)
            .map(|_| {
                let mut client = if protocol == 3 { server.client3() } else { server.client() };
                client.set_timeout(REPLY_TIMEOUT);
                client
            })
            .collect();
        let mut play = Play { clients, protocol, oracle, heard: Vec::new(), server };
        play.reset();
        play
    }

    fn reset(&mut self) {
        let mut commands: Vec<Vec<&str>> = vec![vec!["FLUSHALL"], vec!["DEBUG", "SET-ACTIVE-EXPIRE", "0"]];
        commands.extend(THRESHOLD_DEFAULTS.iter().map(|(name, value)| vec!["CONFIG", "SET", name, value]));
        let replies = self.clients[0].pipeline(&commands);
        assert!(replies[0].is_ok() && replies[1].is_ok(), "{replies:?}");
    }

    pub fn run(mut self, steps: &[Step]) -> Vec<Heard> {
        let flat: Vec<Sent> = steps
            .iter()
            .flat_map(|step| {
                let count = step.commands.len();
                let commands = step.commands.iter().enumerate();
                commands.map(move |(at, args)| Sent {
                    connection: step.connection,
                    args,
                    mate: count - 1 - at,
                    way: step.way,
                })
            })
            .collect();
        let mut left = &flat[..];
        while let Some(first) = left.first() {
            let mut len = 0;
            for next in left.iter().take(BATCH_MAX) {
                if next.connection != first.connection {
                    break;
                }
                len += 1;
                if is_scan(next.args) || name_is(next.args, "DUMP") {
                    break;
                }
            }
            let (batch, rest) = left.split_at(len);
            self.batch(first.connection, batch);
            left = rest;
        }
        self.contents();
        self.heard
    }

    fn batch(&mut self, connection: usize, batch: &[Sent]) {
        let sent: Vec<Args> =
            batch.iter().map(|sent| sent.way.request(self.with_payload(sent.args))).collect();
        let bytes: Vec<u8> = sent.iter().flat_map(|args| Client::encode(args)).collect();
        // A connection that is gone shows when its replies are read.
        let _ = self.clients[connection].try_send_raw(&bytes);
        for (Sent { args, mate, .. }, sent) in batch.iter().zip(&sent) {
            let reply = match self.clients[connection].try_receive_both() {
                Ok((value, _)) if is_scan(args) && matches!(value, Value::Array(_)) => {
                    self.rest_of_scan(connection, sent, value)
                }
                Ok((_, bytes)) => bytes,
                Err(error) => format!("no reply: {error}").into_bytes(),
            };
            self.heard.push(Heard { args: (*args).clone(), reply, mate: *mate });
        }
    }

    /// Puts the answer to the DUMP just before in the place of what stands for it.
    fn with_payload(&self, args: &Args) -> Args {
        let before = |heard: &[Heard]| -> Vec<u8> {
            let at = self.heard.len().checked_sub(1);
            let reply = at.and_then(|at| heard.get(at)).map(|heard| parse_reply(&heard.reply));
            match reply {
                Some(Ok(Some((Value::Bulk(payload), _)))) => payload,
                _ => Vec::new(),
            }
        };
        let resolved = |arg: &Vec<u8>| match arg.as_slice() {
            OWN_PAYLOAD => before(&self.heard),
            ORACLE_PAYLOAD => before(self.oracle.unwrap_or(&self.heard)),
            _ => arg.clone(),
        };
        args.iter().map(resolved).collect()
    }

    fn rest_of_scan(&mut self, connection: usize, args: &Args, first: Value) -> Vec<u8> {
        let at = if name_is(args, "SCAN") { 1 } else { 2 };
        let in_pairs = name_is(args, "HSCAN") || name_is(args, "ZSCAN");
        let mut found = BTreeSet::new();
        let mut page = first;
        for _ in 0..SCAN_CALLS_MAX {
            let Value::Array(parts) = &page else { break };
            if parts.len() != 2 {
                break;
            }
            let elements = parts[1].elements();
            let texts = |chunk: &[Value]| chunk.iter().map(bytes_of).collect::<Vec<_>>();
            found.extend(elements.chunks(1 + usize::from(in_pairs)).map(texts));
            let cursor = parts[0].text();
            if cursor == "0" {
                return Client::encode(&found.into_iter().flatten().collect::<Vec<_>>());
            }
            let mut next = args.clone();
            next[at] = cursor.into_bytes();
            match self.clients[connection].try_call(&next) {
                Ok(value) => page = value,
                Err(error) => return format!("no reply: {error}").into_bytes(),
            }
        }
        format!("an iteration that ends with {page:?}").into_bytes()
    }

    /// All keys, as if the sequence went on to ask for them.
    fn contents(&mut self) {
        if !self.server.is_running() {
            return;
        }
        let mut client = if self.protocol == 3 { self.server.client3() } else { self.server.client() };
        client.set_timeout(REPLY_TIMEOUT);
        for database in DATABASES {
            let Ok(answer) = client.try_call(&["SELECT", database]) else { return };
            assert!(answer.is_ok(), "{answer:?}");
            let Ok((keys, reply)) = ({
                client.send(&["KEYS", "*"]);
                client.try_receive_both()
            }) else {
                return;
            };
            self.heard.push(Heard { args: words(&["KEYS", "*"]), reply, mate: 0 });
            let mut keys: Vec<Vec<u8>> = match keys {
                Value::Array(keys) => keys
                    .into_iter()
                    .filter_map(|key| match key {
                        Value::Bulk(name) => Some(name),
                        _ => None,
                    })
                    .collect(),
                _ => Vec::new(),
            };
            keys.sort();
            let types: Vec<Args> = keys.iter().map(|key| words(&[b"TYPE".as_slice(), key])).collect();
            let types = client.pipeline(&types);
            let looks: Vec<Args> =
                keys.iter().zip(types).flat_map(|(key, kind)| looks_at(key, &kind.text())).collect();
            let bytes: Vec<u8> = looks.iter().flat_map(|args| Client::encode(args)).collect();
            let _ = client.try_send_raw(&bytes);
            for args in looks {
                let reply = match client.try_receive_both() {
                    Ok((_, bytes)) => bytes,
                    Err(error) => format!("no reply: {error}").into_bytes(),
                };
                self.heard.push(Heard { args, reply, mate: 0 });
            }
        }
    }
}

fn bytes_of(value: &Value) -> Vec<u8> {
    match value {
        Value::Bulk(bytes) => bytes.clone(),
        other => format!("{other:?}").into_bytes(),
    }
}

fn words<A: AsRef<[u8]>>(words: &[A]) -> Args {
    words.iter().map(|word| word.as_ref().to_vec()).collect()
}

/// What to ask to know a key.
fn looks_at(key: &[u8], kind: &str) -> Vec<Args> {
    let value: &[&str] = match kind {
        "string" => &["GET", ""],
        "list" => &["LRANGE", "", "0", "-1"],
        "set" => &["SMEMBERS", ""],
        "hash" => &["HGETALL", ""],
        "zset" => &["ZRANGE", "", "0", "-1", "WITHSCORES"],
        _ => &["XINFO", "STREAM", "", "FULL", "COUNT", "0"],
    };
    let value =
        value.iter().map(|word| if word.is_empty() { key.to_vec() } else { word.as_bytes().to_vec() });
    vec![
        value.collect(),
        words(&[b"PEXPIRETIME".as_slice(), key]),
        words(&[b"OBJECT".as_slice(), b"ENCODING", key]),
    ]
}
