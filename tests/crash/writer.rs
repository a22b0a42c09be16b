//! The clients: they write as fast as they are answered, and remember what they have sent and what was acknowledged when.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::model::{key, names, number_of, Kind, Operation, Shared, State, HOMES};
use super::scripts::Way;
use super::support::{Client, Random, Value};

/// Clients use several databases, so that the log has to say which.
const DATABASES: usize = 3;
const PIPELINE_MAX: usize = 12;
const PAUSE_MS_MAX: usize = 12;
/// What one client may do in one life of the server; it only bounds memory.
const OPERATIONS_MAX: usize = 20_000;

pub fn database(client: usize) -> String {
    (client % DATABASES).to_string()
}

pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis() as i64
}

/// What a client did in one life of the server.
pub struct History {
    /// What its keys held when the life began.
    pub base: State,
    /// Everything sent, acknowledged or not.
    pub operations: Vec<Operation>,
    /// When each reply came: the first so many operations are acknowledged.
    pub acknowledged: Vec<Instant>,
}

pub struct Writer {
    pub id: usize,
    pub random: Random,
    /// Of the next operation.
    pub number: u64,
    /// How many replies have come, for others to see.
    pub progress: Arc<AtomicUsize>,
}

impl Writer {
    /// Writes until the server is gone.
    pub fn run(
        &mut self,
        address: &str,
        shared: &Shared,
        base: State,
        stop: &AtomicBool,
    ) -> Result<History, String> {
        let names = names(self.id);
        let mut state = base.clone();
        let mut history = History { base, operations: Vec::new(), acknowledged: Vec::new() };
        let Ok(mut client) = Client::try_connect(address) else { return Ok(history) };
        match client.try_call(&["SELECT", &database(self.id)]) {
            Ok(reply) if reply.is_error() => return Err(format!("SELECT: {}", reply.text())),
            Ok(_) => {}
            Err(_) => return Ok(history),
        }
        while !stop.load(Ordering::Relaxed) && history.operations.len() < OPERATIONS_MAX {
            let mut bytes = Vec::new();
            let mut sent = Vec::new();
            for _ in 0..1 + self.random.below(PIPELINE_MAX) {
                let operation = Operation::random(&mut self.random, &state, self.number, now_ms());
                self.number += 1;
                let commands = operation.commands(&names, shared);
                commands.iter().for_each(|command| bytes.extend(Client::encode(command)));
                operation.apply(&mut state);
                let ends_pipeline =
                    commands.len() > 1 || operation.keys().len() > 1 || operation.way != Way::Plain;
                sent.push(commands);
                history.operations.push(operation);
                if ends_pipeline {
                    // What is sent behind it, before its reply, may be logged in front of it: see `check`.
                    break;
                }
            }
            if client.try_send_raw(&bytes).is_err() {
                break;
            }
            for commands in sent {
                match receive(&mut client, &commands) {
                    Ok(()) => {}
                    Err(Some(why)) => return Err(format!("client {}: {why}", self.id)),
                    Err(None) => return Ok(history),
                }
                history.acknowledged.push(Instant::now());
                self.progress.store(history.acknowledged.len(), Ordering::Release);
            }
            if self.random.one_in(2) {
                // Other moments than the busiest, and logs that are read back in no time.
                std::thread::sleep(Duration::from_millis(self.random.below(PAUSE_MS_MAX) as u64));
            }
        }
        Ok(history)
    }
}

/// Takes the replies to one operation. `Err(None)`: the server is gone.
fn receive(client: &mut Client, commands: &[Vec<String>]) -> Result<(), Option<String>> {
    for command in commands {
        let reply = client.try_receive().map_err(|_| None)?;
        let is_refused = |reply: &Value| reply.is_error();
        let inner = if let Value::Array(replies) = &reply { replies.iter().any(is_refused) } else { false };
        if is_refused(&reply) || inner {
            return Err(Some(format!("{command:?} is answered with {reply:?}")));
        }
    }
    Ok(())
}

/// What somebody has seen of the clients' texts: by client and home, the highest number.
pub type Seen = HashMap<(usize, usize), u64>;

/// Reads what the clients write. With `always`, what it has seen must not be lost either.
pub fn read(address: &str, clients: usize, mut random: Random, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::new();
    let Ok(mut connection) = Client::try_connect(address) else { return seen };
    let names: Vec<Vec<String>> = (0..clients).map(names).collect();
    while !stop.load(Ordering::Relaxed) {
        let client = random.below(clients);
        let texts = (0..HOMES).map(|home| names[client][key(Kind::Text, home)].clone());
        let mget: Vec<String> = std::iter::once("MGET".to_owned()).chain(texts.clone()).collect();
        let select = vec!["SELECT".to_owned(), database(client)];
        // All at once, or one by one.
        let requests = if random.one_in(2) {
            vec![select, mget]
        } else {
            std::iter::once(select).chain(texts.map(|name| vec!["GET".to_owned(), name])).collect()
        };
        let bytes: Vec<u8> = requests.iter().flat_map(|request| Client::encode(request)).collect();
        if connection.try_send_raw(&bytes).is_err() {
            return seen;
        }
        let mut values = Vec::new();
        for _ in &requests {
            match connection.try_receive() {
                Ok(Value::Array(list)) => values.extend(list),
                Ok(reply) => values.push(reply),
                Err(_) => return seen,
            }
        }
        // The first one answers SELECT.
        for (home, value) in values.iter().skip(1).enumerate() {
            if let Value::Bulk(_) = value {
                if let Some(number) = number_of(&value.text()) {
                    let highest = seen.entry((client, home)).or_default();
                    *highest = number.max(*highest);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    seen
}
