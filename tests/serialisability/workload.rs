//! Clients that do random things to the same few keys at the same time, and write down what they did and saw.
//!
//! The work comes in rounds. In a round all clients run at once; between rounds nobody does, and one MGET tells the
//! state. So each round is a history of its own, small enough for the checker's search.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::checker::{Action, Answer, Operation};
use super::model::{Command, Key, Outcome};
use crate::support::{Client, Random, Value};

/// Operations of one client in one round; all clients' together stay below the checker's limit.
const OPERATIONS_PER_ROUND: usize = 12;
/// One in so many steps ends with a cut connection.
const STEPS_PER_CUT: usize = 40;

/// Runs the commands in its arguments, each with its number of words in front, and works for so long between them.
const SCRIPT: &str = "local replies, at = {}, 2
while at <= #ARGV do
    local count, call = tonumber(ARGV[at]), {}
    for word = 1, count do call[word] = ARGV[at + word] end
    replies[#replies + 1] = redis.pcall(unpack(call))
    at = at + count + 1
    for i = 1, ARGV[1] do end
end
return replies";
/// Of work between two calls of a long script: with two of them it is made to stand.
const LONG: &str = "1500000";

/// How scripts are called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Text,
    Sha,
    Function,
    /// By a text that does not name its keys.
    Unnamed,
}

/// Makes the scripts known; returns the digest of the one that names its keys.
pub fn load_scripts(client: &mut Client) -> String {
    let library =
        format!("#!lua name=run\nredis.register_function('run', function(KEYS, ARGV) {SCRIPT} end)");
    assert_eq!(client.call(&["FUNCTION", "LOAD", &library]).text(), "run");
    client.call(&["SCRIPT", "LOAD", SCRIPT]).text()
}

/// What all clients of a run share.
#[derive(Clone)]
pub struct Plan {
    pub address: String,
    /// Names of the keys; neighbours are on different shards.
    pub names: Vec<String>,
    /// The digest of `SCRIPT`.
    pub script: String,
    /// Time zero of the history.
    pub epoch: Instant,
}

pub struct Worker {
    plan: Plan,
    random: Random,
    client: Client,
    connection: u32,
    /// Its connections have the numbers `index`, `index + clients`, ...
    clients: u32,
    next_value: i64,
    /// This round's record.
    pub operations: Vec<Operation>,
    pub was_cut: bool,
}

impl Plan {
    fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// The command's words.
    fn request(&self, command: &Command) -> Vec<String> {
        let name = |key: &Key| self.names[*key].clone();
        let list = |word: &str, keys: &[Key]| {
            std::iter::once(word.to_owned()).chain(keys.iter().map(name)).collect()
        };
        let pairs = |word: &str, pairs: &[(Key, i64)]| {
            let words = pairs.iter().flat_map(|(key, value)| [name(key), value.to_string()]);
            std::iter::once(word.to_owned()).chain(words).collect()
        };
        match command {
            Command::Get(key) => list("GET", &[*key]),
            Command::Set(key, value) => pairs("SET", &[(*key, *value)]),
            Command::SetNx(key, value) => pairs("SETNX", &[(*key, *value)]),
            Command::GetSet(key, value) => pairs("GETSET", &[(*key, *value)]),
            Command::GetDel(key) => list("GETDEL", &[*key]),
            Command::IncrBy(key, by) => pairs("INCRBY", &[(*key, *by)]),
            Command::Mget(keys) => list("MGET", keys),
            Command::Mset(all) => pairs("MSET", all),
            Command::MsetNx(all) => pairs("MSETNX", all),
            Command::Del(keys) => list("DEL", keys),
            Command::Exists(keys) => list("EXISTS", keys),
            Command::Rename(from, to) => list("RENAME", &[*from, *to]),
            Command::RenameNx(from, to) => list("RENAMENX", &[*from, *to]),
            Command::Copy { from, to, replace } => {
                let mut words: Vec<String> = list("COPY", &[*from, *to]);
                if *replace {
                    words.push("REPLACE".to_owned());
                }
                words
            }
            Command::DbSize => vec!["DBSIZE".to_owned()],
            Command::Keys => vec!["KEYS".to_owned(), "*".to_owned()],
            Command::FlushAll => vec!["FLUSHALL".to_owned()],
        }
    }

    fn outcome(&self, command: &Command, reply: &Value) -> Outcome {
        let value = |reply: &Value| match reply {
            Value::NullBulk => None,
            Value::Bulk(digits) => Some(
                std::str::from_utf8(digits)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .unwrap_or_else(|| panic!("{command:?} answered {reply:?}: a value that nobody wrote")),
            ),
            other => panic!("{command:?} answered {other:?}"),
        };
        match (command, reply) {
            (Command::Get(_) | Command::GetSet(..) | Command::GetDel(_), reply) => {
                Outcome::Value(value(reply))
            }
            (Command::Mget(_), reply) => Outcome::Values(reply.elements().iter().map(value).collect()),
            (Command::Keys, Value::Array(found)) => {
                let index: HashMap<&str, Key> = self.names.iter().map(String::as_str).zip(0..).collect();
                let mut keys: Vec<Key> = found.iter().map(|name| index[name.text().as_str()]).collect();
                keys.sort_unstable();
                Outcome::Names(keys)
            }
            (_, Value::Integer(number)) => Outcome::Integer(*number),
            (_, Value::Simple(text)) if text == "OK" => Outcome::Ok,
            (Command::Rename(..) | Command::RenameNx(..), Value::Error(text))
                if text == "ERR no such key" =>
            {
                Outcome::NoSuchKey
            }
            (command, reply) => panic!("{command:?} answered {reply:?}"),
        }
    }
}

impl Worker {
    pub fn new(plan: Plan, index: usize, clients: usize, random: Random) -> Worker {
        let client = Client::connect(&plan.address);
        Worker {
            plan,
            random,
            client,
            connection: index as u32,
            clients: clients as u32,
            // Remote enough apart for INCRBY by small numbers never to make another client's value.
            next_value: (index as i64 + 1) * 1_000_000_000_000,
            operations: Vec::new(),
            was_cut: false,
        }
    }

    /// One round of work, recorded in `operations`.
    pub fn run_round(&mut self) {
        self.operations.clear();
        self.was_cut = false;
        while self.operations.len() < OPERATIONS_PER_ROUND - 3 {
            match self.random.below(STEPS_PER_CUT) {
                0 => self.cut(),
                1..=9 => self.read_modify_write(),
                10..=15 => self.exec(),
                16..=18 => self.script(),
                _ => self.pipeline(),
            }
            if self.random.one_in(4) {
                std::thread::sleep(Duration::from_micros(self.random.below(200) as u64));
            }
        }
    }

    fn value(&mut self) -> i64 {
        self.next_value += 1000;
        self.next_value
    }

    fn key(&mut self) -> Key {
        self.random.below(self.plan.names.len())
    }

    fn keys(&mut self) -> Vec<Key> {
        let all: Vec<Key> = (0..self.plan.names.len()).collect();
        let count = 2 + self.random.below(all.len() - 1);
        self.random.sample(&all, count)
    }

    fn pairs(&mut self) -> Vec<(Key, i64)> {
        self.keys().into_iter().map(|key| (key, self.value())).collect()
    }

    fn command(&mut self) -> Command {
        let two = |keys: Vec<Key>| (keys[0], keys[1]);
        match self.random.below(100) {
            0..=15 => Command::Get(self.key()),
            16..=27 => Command::Set(self.key(), self.value()),
            28..=35 => Command::IncrBy(self.key(), 1),
            36..=38 => Command::SetNx(self.key(), self.value()),
            39..=41 => Command::GetSet(self.key(), self.value()),
            42..=43 => Command::GetDel(self.key()),
            44..=58 => Command::Mget(self.keys()),
            59..=70 => Command::Mset(self.pairs()),
            71..=72 => Command::MsetNx(self.pairs()),
            73..=77 => Command::Del(self.keys()),
            78..=79 => Command::Exists(self.keys()),
            80..=86 => {
                let (from, to) = two(self.keys());
                Command::Rename(from, to)
            }
            87..=88 => {
                let (from, to) = two(self.keys());
                Command::RenameNx(from, to)
            }
            89..=94 => {
                let (from, to) = two(self.keys());
                Command::Copy { from, to, replace: !self.random.one_in(3) }
            }
            95..=96 => Command::DbSize,
            97..=98 => Command::Keys,
            _ => Command::FlushAll,
        }
    }

    fn commands(&mut self) -> Vec<Command> {
        let count = 1 + self.random.below(3);
        (0..count).map(|_| self.command()).collect()
    }

    /// Some commands sent at once.
    fn pipeline(&mut self) {
        let commands = self.commands();
        let requests: Vec<u8> =
            commands.iter().flat_map(|command| Client::encode(&self.plan.request(command))).collect();
        let began_ns = self.plan.now_ns();
        self.client.send_raw(&requests);
        for (place_in_pipeline, command) in commands.into_iter().enumerate() {
            let reply = self.client.receive();
            let ended = Some((self.plan.now_ns(), Answer::One(self.plan.outcome(&command, &reply))));
            let action = Action::One(command);
            self.operations.push(Operation {
                connection: self.connection,
                action,
                began_ns,
                ended,
                place_in_pipeline,
            });
        }
    }

    fn record(&mut self, action: Action, began_ns: u64, ended: Option<(u64, Answer)>) {
        self.operations.push(Operation {
            connection: self.connection,
            action,
            began_ns,
            ended,
            place_in_pipeline: 0,
        });
    }

    fn call(&mut self, command: Command) {
        let began_ns = self.plan.now_ns();
        let reply = self.client.call(&self.plan.request(&command));
        let answer = Answer::One(self.plan.outcome(&command, &reply));
        let ended = Some((self.plan.now_ns(), answer));
        self.record(Action::One(command), began_ns, ended);
    }

    fn exec_bytes(&self, commands: &[Command]) -> Vec<u8> {
        let mut bytes = Client::encode(&["MULTI"]);
        commands.iter().for_each(|command| bytes.extend(Client::encode(&self.plan.request(command))));
        bytes.extend(Client::encode(&["EXEC"]));
        bytes
    }

    fn run_exec(&mut self, commands: Vec<Command>) {
        let bytes = self.exec_bytes(&commands);
        let began_ns = self.plan.now_ns();
        self.client.send_raw(&bytes);
        assert!(self.client.receive().is_ok());
        for command in &commands {
            assert_eq!(self.client.receive(), Value::Simple("QUEUED".into()), "{command:?}");
        }
        let answer = match self.client.receive() {
            Value::NullArray => Answer::Aborted,
            Value::Array(replies) => {
                assert_eq!(replies.len(), commands.len());
                let outcomes =
                    commands.iter().zip(&replies).map(|(command, reply)| self.plan.outcome(command, reply));
                Answer::Exec(outcomes.collect())
            }
            other => panic!("EXEC answered {other:?}"),
        };
        let ended = Some((self.plan.now_ns(), answer));
        self.record(Action::Exec(commands), began_ns, ended);
    }

    fn exec(&mut self) {
        let commands = self.commands();
        self.run_exec(commands);
    }

    /// Commands on keys, for a script: often on one key, and then on one shard.
    fn commands_of_script(&mut self) -> Vec<Command> {
        let only = self.random.one_in(2).then(|| self.key());
        let count = 2 + self.random.below(2);
        let mut commands = Vec::new();
        while commands.len() < count {
            let command = match (only, self.random.below(4)) {
                (None, _) => self.command(),
                (Some(key), 0) => Command::Get(key),
                (Some(key), 1) => Command::Set(key, self.value()),
                (Some(key), _) => Command::IncrBy(key, 1),
            };
            let is_on_keys = !matches!(command, Command::DbSize | Command::Keys | Command::FlushAll);
            commands.extend(is_on_keys.then_some(command));
        }
        commands
    }

    /// A script that runs commands, short or long, by itself or inside EXEC.
    fn script(&mut self) {
        let commands = self.commands_of_script();
        let by = *self.random.pick(&[By::Text, By::Sha, By::Function, By::Unnamed]);
        let bits = commands.iter().fold(0, |bits, command| bits | command.keys());
        let named = (0..self.plan.names.len()).filter(|key| bits & 1 << key != 0 && by != By::Unnamed);
        let names: Vec<String> = named.map(|key| self.plan.names[key].clone()).collect();
        let (word, what) = match by {
            By::Text => ("EVAL", SCRIPT.to_owned()),
            By::Sha => ("EVALSHA", self.plan.script.clone()),
            By::Function => ("FCALL", "run".to_owned()),
            By::Unnamed => ("EVAL", format!("-- Does not name its keys.\n{SCRIPT}")),
        };
        let work = if self.random.one_in(2) { "0" } else { LONG };
        let mut request = vec![word.to_owned(), what, names.len().to_string()];
        request.extend(names);
        request.push(work.to_owned());
        for command in &commands {
            let words = self.plan.request(command);
            request.push(words.len().to_string());
            request.extend(words);
        }
        let is_exec = self.random.one_in(4);
        let began_ns = self.plan.now_ns();
        let reply = if is_exec {
            assert!(self.client.call(&["MULTI"]).is_ok());
            assert_eq!(self.client.call(&request), Value::Simple("QUEUED".into()));
            self.client.call(&["EXEC"]).elements()[0].clone()
        } else {
            self.client.call(&request)
        };
        let Value::Array(replies) = &reply else { panic!("a script answered {reply:?}") };
        assert_eq!(replies.len(), commands.len());
        let outcomes = commands.iter().zip(replies).map(|(command, reply)| self.plan.outcome(command, reply));
        let ended = Some((self.plan.now_ns(), Answer::Exec(outcomes.collect())));
        self.record(Action::Script(commands), began_ns, ended);
    }

    /// WATCH, read, then EXEC that writes what was read and more.
    fn read_modify_write(&mut self) {
        let keys = if self.random.one_in(2) { vec![self.key()] } else { self.keys() };
        let words: Vec<String> = std::iter::once("WATCH".to_owned())
            .chain(keys.iter().map(|key| self.plan.names[*key].clone()))
            .collect();
        let began_ns = self.plan.now_ns();
        assert!(self.client.call(&words).is_ok());
        let ended = Some((self.plan.now_ns(), Answer::Watching));
        self.record(Action::Watch(keys.clone()), began_ns, ended);
        if keys.len() == 1 {
            self.call(Command::Get(keys[0]));
        } else {
            self.call(Command::Mget(keys.clone()));
        }
        if self.random.one_in(8) {
            // Its own change counts too.
            let command = Command::Set(*self.random.pick(&keys), self.value());
            self.call(command);
        }
        let mut commands: Vec<Command> = keys.iter().map(|key| Command::Set(*key, 0)).collect();
        for command in &mut commands {
            if let Command::Set(key, _) = command {
                *command = if self.random.one_in(2) {
                    Command::IncrBy(*key, 1)
                } else {
                    Command::Set(*key, self.value())
                };
            }
        }
        if self.random.one_in(3) {
            commands.push(self.command());
        }
        self.run_exec(commands);
    }

    /// Sends something, perhaps the beginning of one more request, and drops the connection without waiting.
    fn cut(&mut self) {
        let mut bytes = Vec::new();
        let mut actions = Vec::new();
        match self.random.below(3) {
            // Queued commands without EXEC must never run: nothing to record.
            0 => {
                let commands = self.commands();
                bytes = self.exec_bytes(&commands);
                bytes.truncate(bytes.len() - 1 - self.random.below(14));
            }
            1 => {
                let commands = self.commands();
                bytes = self.exec_bytes(&commands);
                actions.push(Action::Exec(commands));
            }
            _ => {
                for command in self.commands() {
                    bytes.extend(Client::encode(&self.plan.request(&command)));
                    actions.push(Action::One(command));
                }
            }
        }
        // Behind a torn request it would only complete that one.
        if !actions.is_empty() && self.random.one_in(2) {
            // What is torn must not happen, whatever it is.
            let torn = Command::Mset(self.pairs());
            let torn = Client::encode(&self.plan.request(&torn));
            bytes.extend(&torn[..1 + self.random.below(torn.len() - 1)]);
        }
        let began_ns = self.plan.now_ns();
        self.client.send_raw(&bytes);
        for (place_in_pipeline, action) in actions.into_iter().enumerate() {
            let connection = self.connection;
            self.operations.push(Operation { connection, action, began_ns, ended: None, place_in_pipeline });
        }
        if self.random.one_in(2) {
            std::thread::sleep(Duration::from_micros(self.random.below(300) as u64));
        }
        if self.random.one_in(2) {
            reset_on_close(&self.client);
        }
        self.client = Client::connect(&self.plan.address);
        self.connection += self.clients;
        self.was_cut = true;
    }
}

/// Makes the end of the connection abrupt: RST instead of FIN.
fn reset_on_close(client: &Client) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the option's value is a `linger` of its size, and the descriptor is open.
    let set = unsafe {
        libc::setsockopt(
            client.stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    assert_eq!(set, 0);
}
