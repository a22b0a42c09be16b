//! A master and its replica, of which one is killed, or both, or the connection between them is, while clients write. Then: what was
//! acknowledged is on the master, what WAIT and WAITAOF confirmed is on the server that they confirmed it of, if it has survived; no
//! transaction is there by half; both have the same at the same offset in the end, and nobody took a snapshot who did not need one.
//!
//! In some rounds one of them is Redis, when it is installed: GYRE_TEST_REDIS is its binary, or else what is on PATH.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::policy::Policy;
use super::process::{log_tail, Dir, Process};
use super::replica_load::{fill, read, run, Told, Values, CLIENTS};
use super::spin;
use super::support::{free_port, redis_server, setting, within, Client, Random};

/// What two servers live through.
const LIVES: usize = 4;
const ROUNDS_DEFAULT: u64 = 4;
const SEED_DEFAULT: u64 = 11;
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gyre { shards: usize },
    Redis,
}

/// One of the two servers.
struct Node {
    kind: Kind,
    policy: Policy,
    port: u16,
    dir: Dir,
    process: Process,
}

fn redis() -> Option<PathBuf> {
    std::env::var_os("GYRE_TEST_REDIS").map(PathBuf::from).or_else(redis_server)
}

impl Node {
    fn start(kind: Kind, policy: Policy, master: Option<u16>) -> Node {
        let (port, dir) = (free_port(), Dir::new());
        let process = Node::spawn(kind, policy, port, &dir, master);
        let mut node = Node { kind, policy, port, dir, process };
        node.wait_until_ready();
        node
    }

    fn spawn(kind: Kind, policy: Policy, port: u16, dir: &Dir, master: Option<u16>) -> Process {
        let mut options = vec!["--appendfsync", policy.name(), "--enable-debug-command", "yes"];
        options.extend(["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"]);
        let mut options: Vec<String> = options.into_iter().map(str::to_owned).collect();
        if let Some(port) = master {
            options.extend(["--replicaof".to_owned(), "127.0.0.1".to_owned(), port.to_string()]);
        }
        let binary = match kind {
            Kind::Gyre { shards } => {
                options.extend(["--shards".to_owned(), shards.to_string()]);
                PathBuf::from(env!("CARGO_BIN_EXE_gyre-server"))
            }
            Kind::Redis => redis().expect("a round with Redis is drawn only where it is"),
        };
        Process::spawn_on(&binary, port, dir, &options)
    }

    fn wait_until_ready(&mut self) {
        if let Err(why) = self.process.wait_until_ready() {
            panic!("{:?} does not come back: {why}:\n{}", self.kind, log_tail(&self.dir));
        }
    }

    /// Starts it again on what it has on disk.
    fn restart(&mut self, master: Option<u16>) {
        self.process.kill9();
        self.dir.keep_as_it_is();
        self.process = Node::spawn(self.kind, self.policy, self.port, &self.dir, master);
    }

    fn address(&self) -> String {
        self.process.address()
    }

    fn client(&self) -> Client {
        self.process.client()
    }

    /// Whether a killed process takes nothing along that was acknowledged. (Redis delays a write while the disk is busy with an
    /// earlier one, if it may.)
    fn keeps_what_it_acknowledged(&self) -> bool {
        self.kind != Kind::Redis || self.policy == Policy::Always
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// The master dies, and comes back.
    MasterReturns,
    /// The master dies, the replica takes over, and the old master follows it.
    ReplicaTakesOver,
    ReplicaDies,
    /// And again, while it gets its snapshot.
    ReplicaDiesTwice,
    /// The replica dies; while it gets its snapshot the master does.
    MasterDiesInSync,
    BothDie,
    /// Only the connection.
    Cut,
}

const EVENTS: [Event; 7] = [
    Event::MasterReturns,
    Event::ReplicaTakesOver,
    Event::ReplicaDies,
    Event::ReplicaDiesTwice,
    Event::MasterDiesInSync,
    Event::BothDie,
    Event::Cut,
];

fn field(client: &mut Client, name: &str) -> Result<String, String> {
    let text = client.try_call(&["INFO", "everything"]).map_err(|error| error.to_string())?.text();
    let prefix = format!("{name}:");
    Ok(text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default().to_owned())
}

fn number(client: &mut Client, name: &str) -> Result<u64, String> {
    let text = field(client, name)?;
    text.parse().map_err(|_| format!("{name} is {text:?}"))
}

/// Waits until both have the same at the same offset.
fn settle(master: &Node, replica: &Node) -> Result<(), String> {
    let (mut of_master, mut of_replica) = (master.client(), replica.client());
    let mut seen = String::new();
    let mut is_equal = || -> Result<bool, String> {
        let offset = field(&mut of_master, "master_repl_offset")?;
        let (link, there) =
            (field(&mut of_replica, "master_link_status")?, field(&mut of_replica, "slave_repl_offset")?);
        seen = format!("the link is {link}, {there} of {offset} is there");
        if link != "up" || there != offset {
            return Ok(false);
        }
        let digest =
            |client: &mut Client| client.try_call(&["DEBUG", "DIGEST"]).map_err(|error| error.to_string());
        let digests = (digest(&mut of_master)?, digest(&mut of_replica)?);
        // Something may have come, or have expired, meanwhile.
        let is_still = field(&mut of_master, "master_repl_offset")? == offset
            && field(&mut of_replica, "slave_repl_offset")? == offset;
        seen = format!("at offset {offset} (still {is_still}) the digests are {digests:?}");
        Ok(is_still && digests.0 == digests.1)
    };
    let mut failed = None;
    let settled = within(PATIENCE, || match is_equal() {
        Ok(is_equal) => is_equal,
        Err(why) => {
            failed = Some(why);
            true
        }
    });
    match failed {
        Some(why) => Err(why),
        None if settled => Ok(()),
        None => Err(format!("they do not become the same: {seen}")),
    }
}

/// Nothing of `wanted` is lost.
fn has(what: &str, there: &Values, wanted: &Values) -> Result<(), String> {
    for (name, value) in wanted {
        let found = there.get(name).copied().unwrap_or(0);
        if found < *value {
            return Err(format!("{what}: {name} is {found} and not {value}"));
        }
    }
    Ok(())
}

#[derive(Default)]
struct Summary {
    rounds: usize,
    with_redis: usize,
    acknowledged: i64,
    waits: usize,
    snapshots: u64,
    continued: u64,
}

struct Pair {
    master: Node,
    replica: Node,
    /// What both had when they were the same last.
    settled: Values,
}

/// What a life has come to.
struct Judged {
    /// Snapshots that the master, which has been the master since then, may have been asked for.
    snapshots: u64,
    /// How many it had given before.
    before: u64,
}

impl Pair {
    fn start(random: &mut Random, policy: Policy, with_redis: bool) -> Pair {
        let gyre = |random: &mut Random| Kind::Gyre { shards: 1 + random.below(2) };
        let mut kinds = [gyre(random), gyre(random)];
        if with_redis {
            kinds[random.below(2)] = Kind::Redis;
        }
        let master = Node::start(kinds[0], policy, None);
        fill(&mut master.client());
        let replica = Node::start(kinds[1], policy, Some(master.port));
        settle(&master, &replica).unwrap_or_else(|why| panic!("{kinds:?}: {why}"));
        Pair { master, replica, settled: Values::new() }
    }

    /// Has clients write, has something happen, and checks what is left.
    fn live(&mut self, event: Event, random: &mut Random, summary: &mut Summary) -> Result<(), String> {
        let stop = AtomicBool::new(false);
        let address = self.master.address();
        let is_busy = random.one_in(2);
        let before = Duration::from_millis(30 + random.below(500) as u64);
        let after = Duration::from_millis(random.below(400) as u64);
        let clients: Vec<Random> = (0..CLIENTS).map(|_| random.fork()).collect();
        let (judged, told) = std::thread::scope(|scope| {
            let (stop, address) = (&stop, &address);
            let clients: Vec<_> = clients
                .into_iter()
                .enumerate()
                .map(|(id, random)| scope.spawn(move || run(address, id, random, stop)))
                .collect();
            if is_busy {
                spin(scope, stop);
            }
            std::thread::sleep(before);
            let happened = self.happen(event, random);
            if happened.is_ok() && matches!(event, Event::ReplicaDies | Event::ReplicaDiesTwice | Event::Cut)
            {
                std::thread::sleep(after);
            }
            stop.store(true, Ordering::Relaxed);
            let mut told = Told::default();
            let mut failed = None;
            for client in clients {
                match client.join().expect("a client does not panic") {
                    Ok(more) => told.add(more),
                    Err(why) => failed = Some(why),
                }
            }
            let judged = happened.and_then(|judged| failed.map_or(Ok(judged), Err));
            judged.map(|judged| (judged, told))
        })?;
        let judged = self.judge(event, judged, &told)?;
        settle(&self.master, &self.replica)?;
        let mut client = self.master.client();
        let taken = number(&mut client, "sync_full")? - judged.before;
        if taken > judged.snapshots {
            return Err(format!("{taken} snapshots were taken; {} are enough", judged.snapshots));
        }
        let there = read(&mut client)?;
        has("the master, in the end", &there, &self.settled)?;
        summary.rounds += 1;
        summary.snapshots += taken;
        summary.continued += u64::from(event == Event::Cut);
        summary.waits += told.waits;
        summary.acknowledged += there.values().sum::<i64>() - self.settled.values().sum::<i64>();
        self.settled = there;
        Ok(())
    }

    /// Lets it happen, to the point where the clients are to stop.
    fn happen(&mut self, event: Event, random: &mut Random) -> Result<Judged, String> {
        let mut judged = Judged { snapshots: 0, before: number(&mut self.master.client(), "sync_full")? };
        let mut moment = |limit: usize| std::thread::sleep(Duration::from_millis(random.below(limit) as u64));
        let master = Some(self.master.port);
        match event {
            Event::MasterReturns | Event::ReplicaTakesOver => self.master.process.kill9(),
            Event::BothDie => {
                self.master.process.kill9();
                self.replica.process.kill9();
            }
            Event::ReplicaDies | Event::ReplicaDiesTwice | Event::MasterDiesInSync => {
                self.replica.process.kill9();
                if event == Event::ReplicaDies {
                    // Judged alone first, then by what its master has.
                    return Ok(judged);
                }
                self.replica.restart(master);
                moment(250);
                judged.snapshots = 1;
                if event == Event::ReplicaDiesTwice {
                    self.replica.restart(master);
                    judged.snapshots = 2;
                } else {
                    self.master.process.kill9();
                }
            }
            Event::Cut => {
                let reply = self.master.client().call(&["CLIENT", "KILL", "TYPE", "replica"]);
                if reply.is_error() {
                    return Err(format!("CLIENT KILL is answered with {reply:?}"));
                }
            }
        }
        Ok(judged)
    }

    /// Looks at who is left, and brings back who is not.
    fn judge(&mut self, event: Event, mut judged: Judged, told: &Told) -> Result<Judged, String> {
        let acknowledged = |node: &Node, there: &Values| -> Result<(), String> {
            if node.keeps_what_it_acknowledged() {
                has("the master after its death", there, &told.acknowledged)?;
            }
            Ok(())
        };
        match event {
            Event::MasterReturns | Event::ReplicaTakesOver => {
                let there = read(&mut self.replica.client())?;
                has("the replica, what WAIT confirmed", &there, &told.replicated)?;
                has("the replica, what WAITAOF confirmed", &there, &told.on_its_disk)?;
                has("the replica, what was there before", &there, &self.settled)?;
                judged = Judged { snapshots: 1, before: 0 };
                if event == Event::MasterReturns {
                    self.master.restart(None);
                    self.master.wait_until_ready();
                    acknowledged(&self.master, &read(&mut self.master.client())?)?;
                } else {
                    let reply = self.replica.client().call(&["REPLICAOF", "NO", "ONE"]);
                    if !reply.is_ok() {
                        return Err(format!("REPLICAOF NO ONE is answered with {reply:?}"));
                    }
                    std::mem::swap(&mut self.master, &mut self.replica);
                    judged.before = number(&mut self.master.client(), "sync_full")?;
                    // By itself first: what it has on disk counts, too.
                    self.replica.restart(None);
                    self.replica.wait_until_ready();
                    acknowledged(&self.replica, &read(&mut self.replica.client())?)?;
                    self.follow()?;
                }
            }
            Event::ReplicaDies => {
                self.replica.restart(None);
                self.replica.wait_until_ready();
                self.judge_disk_of_replica(told)?;
                judged.snapshots = 1;
                self.follow()?;
            }
            Event::BothDie | Event::MasterDiesInSync => {
                if event == Event::BothDie {
                    self.replica.restart(None);
                    self.replica.wait_until_ready();
                    self.judge_disk_of_replica(told)?;
                }
                self.master.restart(None);
                self.master.wait_until_ready();
                acknowledged(&self.master, &read(&mut self.master.client())?)?;
                judged = Judged { snapshots: 1, before: 0 };
                if event == Event::BothDie {
                    self.follow()?;
                }
            }
            Event::ReplicaDiesTwice | Event::Cut => {
                let there = read(&mut self.master.client())?;
                has("the master, which has not died", &there, &told.acknowledged)?;
            }
        }
        Ok(judged)
    }

    /// What a replica has on disk that was killed. One whose snapshot was on its way has what it had before that.
    fn judge_disk_of_replica(&self, told: &Told) -> Result<(), String> {
        let there = read(&mut self.replica.client())?;
        has("the replica's disk, what WAITAOF confirmed", &there, &told.on_its_disk)?;
        if self.replica.keeps_what_it_acknowledged() {
            has("the replica's log, what WAIT confirmed", &there, &told.replicated)?;
        }
        Ok(())
    }

    fn follow(&self) -> Result<(), String> {
        let reply = self.replica.client().call(&["REPLICAOF", "127.0.0.1", &self.master.port.to_string()]);
        if reply.is_ok() {
            Ok(())
        } else {
            Err(format!("REPLICAOF is answered with {reply:?}"))
        }
    }
}

fn survives(policy: Policy) {
    let rounds = setting("GYRE_TEST_ROUNDS", ROUNDS_DEFAULT) as usize;
    let seed = setting("GYRE_TEST_SEED", SEED_DEFAULT);
    let has_redis = redis().is_some();
    let mut summary = Summary::default();
    for number in 0.. {
        if summary.rounds >= rounds {
            break;
        }
        let seed = seed + number;
        let mut random = Random::new(seed);
        let with_redis = has_redis && random.one_in(4);
        let mut pair = Pair::start(&mut random, policy, with_redis);
        for life in 0..LIVES.min(rounds - summary.rounds) {
            let event = *random.pick(&EVENTS);
            let kinds = (pair.master.kind, pair.replica.kind);
            if let Err(why) = pair.live(event, &mut random, &mut summary) {
                panic!(
                    "seed {seed}, life {life}, appendfsync {}, {kinds:?}, {event:?}: {why}\nthe master's last lines:\n{}\n\
                     the replica's:\n{}",
                    policy.name(),
                    log_tail(&pair.master.dir),
                    log_tail(&pair.replica.dir)
                );
            }
            summary.with_redis += usize::from(with_redis);
        }
    }
    let Summary { rounds, with_redis, acknowledged, waits, snapshots, continued } = summary;
    eprintln!(
        "appendfsync {}: {rounds} rounds from seed {seed} on, {with_redis} of them with Redis; {acknowledged} counted, {waits} waits, \
         {snapshots} snapshots, {continued} times it went on without",
        policy.name()
    );
}

#[test]
fn a_master_and_its_replica_lose_nothing_that_was_confirmed_with_always() {
    survives(Policy::Always);
}

#[test]
fn a_master_and_its_replica_lose_nothing_that_was_confirmed_with_everysec() {
    survives(Policy::EverySecond);
}
