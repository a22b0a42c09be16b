//! Nothing acknowledged is lost, and nothing is there by half, whenever the server is killed or the power fails.
//!
//! Many clients write all types of values, on one shard and over several, and remember what was acknowledged when. The server is
//! killed at a random moment: while it just works, while it rewrites its logs, while it saves, while it recovers. Some of what it
//! had not synced is taken away (`power`). Then it is started again, with the same number of shards or another one; what comes back
//! is compared with what was written (`check`), and the clients go on from there. `replica` does the same with a master and its replica.
//!
//! GYRE_TEST_ROUNDS: how many crashes for each test; a few by default. GYRE_TEST_SEED: which ones. A failure prints the seed of
//! its round, which repeats it as far as timing does, and leaves the files where it says.

mod check;
mod counters;
mod model;
mod policy;
mod power;
mod process;
mod replica;
mod replica_load;
mod scripts;
#[path = "../support/mod.rs"]
mod support;
mod writer;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use check::{Expected, LOSS_MAX};
use model::{Shared, State, HOMES, KINDS};
use policy::Policy;
use power::{Damage, Sample};
use process::{copy_folder, log_tail, Dir, Process};
use support::{setting, Client, Random};
use writer::{History, Seen, Writer};

/// Crashes that one directory lives through.
const LIVES: usize = 3;
const ROUNDS_DEFAULT: u64 = 9;
const SEED_DEFAULT: u64 = 4;
const SHARDS: [usize; 4] = [1, 2, 3, 4];
/// A busy machine has so many threads for each of its cores that want to run all the time.
const SPINNERS_PER_CORE: usize = 2;

const REWRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What goes on besides the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// Logs that grow by a little are rewritten.
    AutomaticRewrites,
    /// BGREWRITEAOF again and again.
    Rewrites,
    ForkedSaves,
    ForklessSaves,
    /// Both in turn.
    Everything,
}

const TROUBLES: [Trouble; 6] = [
    Trouble::None,
    Trouble::AutomaticRewrites,
    Trouble::Rewrites,
    Trouble::ForkedSaves,
    Trouble::ForklessSaves,
    Trouble::Everything,
];

const DAMAGES: [Damage; 8] = [
    Damage::None,
    Damage::None,
    Damage::None,
    Damage::Cut,
    Damage::Zeros,
    Damage::Garbage,
    Damage::Anywhere,
    Damage::Copy,
];

#[derive(Debug)]
struct Plan {
    policy: Policy,
    shards: usize,
    trouble: Trouble,
    damage: Damage,
    options: Vec<String>,
    run_for: Duration,
    /// AOF is switched off and on again before the clients come.
    switches: bool,
    /// Starts that are killed after so long.
    killed_starts: Vec<Duration>,
    /// Others want the processor, too, so that it is taken from the server anywhere.
    is_machine_busy: bool,
}

impl Plan {
    fn new(policy: Policy, random: &mut Random) -> Plan {
        let trouble = *random.pick(&TROUBLES);
        let mut damage = *random.pick(&DAMAGES);
        if damage == Damage::Copy
            && !matches!(trouble, Trouble::None | Trouble::ForkedSaves | Trouble::ForklessSaves)
        {
            // What is copied while files come and go is not promised to be whole.
            damage = Damage::Cut;
        }
        let mut options = vec!["--appendfsync".to_owned(), policy.name().to_owned()];
        let mut option = |name: &str, value: &str| options.extend([format!("--{name}"), value.to_owned()]);
        let automatic = matches!(trouble, Trouble::AutomaticRewrites | Trouble::Everything);
        option("auto-aof-rewrite-percentage", if automatic { "10" } else { "0" });
        option("auto-aof-rewrite-min-size", "16kb");
        option("snapshot-method", if random.one_in(2) { "fork" } else { "forkless" });
        option("aof-use-rdb-preamble", if random.one_in(5) { "no" } else { "yes" });
        option("aof-timestamp-enabled", if random.one_in(4) { "yes" } else { "no" });
        let long = policy == Policy::EverySecond && random.one_in(3);
        let run_for = if long { 2600 + random.below(1500) } else { 30 + random.below(900) };
        let killed_starts = match random.below(3) {
            0 => (0..1 + random.below(3)).map(|_| Duration::from_millis(random.below(250) as u64)).collect(),
            _ => Vec::new(),
        };
        let run_for = Duration::from_millis(run_for as u64);
        let switches = random.one_in(5);
        let drawn = *random.pick(&SHARDS);
        let shards = setting("GYRE_TEST_SHARDS", drawn as u64) as usize;
        let is_machine_busy = random.one_in(2);
        Plan { policy, shards, trouble, damage, options, run_for, switches, killed_starts, is_machine_busy }
    }

    /// Runs beside the clients until the server is gone.
    fn cause_trouble(&self, address: &str, mut random: Random, stop: &AtomicBool) {
        let Ok(mut client) = Client::try_connect(address) else { return };
        let rewrite: &[&str] = &["BGREWRITEAOF"];
        let commands: &[&[&str]] = match self.trouble {
            Trouble::None | Trouble::AutomaticRewrites => return,
            Trouble::Rewrites => &[rewrite],
            Trouble::ForkedSaves => &[&["BGSAVE", "FORK"]],
            Trouble::ForklessSaves => &[&["BGSAVE", "FORKLESS"]],
            Trouble::Everything => &[rewrite, &["BGSAVE", "FORK"], &["BGSAVE", "FORKLESS"], &["SAVE"]],
        };
        while !stop.load(Ordering::Relaxed) {
            // One at a time is accepted; the others are refused, which is as it should be.
            let command: &[&str] = commands[random.below(commands.len())];
            if client.try_call(command).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(random.below(60) as u64));
        }
    }
}

/// What one life of the server left in the memory of those who watched.
struct Life {
    histories: Vec<History>,
    samples: Vec<Sample>,
    seen: Seen,
    ended: Instant,
    /// What was acknowledged when the copy of the folder was begun.
    copied: Option<Vec<usize>>,
}

/// Lets clients write, and kills the server.
fn live(
    plan: &Plan,
    server: &mut Process,
    dir: &Dir,
    writers: &mut [Writer],
    bases: Vec<State>,
    random: &mut Random,
) -> Result<Life, String> {
    let stop = AtomicBool::new(false);
    let shared = Shared::new();
    let address = server.address();
    let clients = writers.len();
    let progress: Vec<Arc<AtomicUsize>> = writers.iter().map(|writer| writer.progress.clone()).collect();
    progress.iter().for_each(|count| count.store(0, Ordering::Release));
    let copy_at = plan.run_for.mul_f64(0.5);
    std::thread::scope(|scope| {
        let (stop, shared, address, progress) = (&stop, &shared, &address, &progress);
        let threads: Vec<_> = writers
            .iter_mut()
            .zip(bases)
            .map(|(writer, base)| scope.spawn(move || writer.run(address, shared, base, stop)))
            .collect();
        let (random_reader, random_trouble) = (random.fork(), random.fork());
        let reader = scope.spawn(move || writer::read(address, clients, random_reader, stop));
        let trouble = scope.spawn(move || plan.cause_trouble(address, random_trouble, stop));
        if plan.is_machine_busy {
            spin(scope, stop);
        }
        let data = dir.data();
        let sampler = scope.spawn(move || power::sample(&data, progress, stop));
        let (mut copied, mut rewritten) = (None, Ok(()));
        if plan.damage == Damage::Copy {
            std::thread::sleep(copy_at);
            // A server that has another number of shards than before rewrites its files first.
            rewritten = wait_for_rewrite(&mut server.client());
            copied = Some(power::acknowledged(progress));
            copy_folder(&dir.data(), &dir.path.join("copy"));
            std::thread::sleep(plan.run_for - copy_at);
        } else {
            std::thread::sleep(plan.run_for);
        }
        let ended = Instant::now();
        server.kill9();
        stop.store(true, Ordering::Relaxed);
        let histories: Result<Vec<History>, String> =
            threads.into_iter().map(|thread| thread.join().expect("a writer does not panic")).collect();
        let seen = reader.join().expect("the reader does not panic");
        trouble.join().expect("the troublemaker does not panic");
        let samples = sampler.join().expect("the sampler does not panic");
        rewritten?;
        Ok(Life { histories: histories?, samples, seen, ended, copied })
    })
}

/// Keeps the machine busy until it is told to stop.
fn spin<'scope>(scope: &'scope std::thread::Scope<'scope, '_>, stop: &'scope AtomicBool) {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    for _ in 0..cores * SPINNERS_PER_CORE {
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
    }
}

/// Switches AOF off and on. From when the rewrite that this begins is over everything counts again.
fn switch_off_and_on(server: &Process) -> Result<(), String> {
    let mut client = server.client();
    for on in ["no", "yes"] {
        let reply = client.call(&["CONFIG", "SET", "appendonly", on]);
        if !reply.is_ok() {
            return Err(format!("CONFIG SET appendonly {on} is answered with {reply:?}"));
        }
    }
    wait_for_rewrite(&mut client)
}

/// Waits until no rewrite is under way.
fn wait_for_rewrite(client: &mut Client) -> Result<(), String> {
    let is_over = || {
        // Both at once: what was scheduled may begin between two looks.
        let text = client.call(&["INFO", "persistence"]).text();
        ["aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"].iter().all(|line| text.contains(line))
    };
    if support::within(REWRITE_TIMEOUT, is_over) {
        Ok(())
    } else {
        Err("a rewrite does not end".to_owned())
    }
}

/// Takes away what the power failure took. Returns how many operations of each client must be there, and what was done.
fn damage(plan: &Plan, life: &Life, dir: &Dir, random: &mut Random) -> (Vec<usize>, Vec<String>) {
    let until = |limit: Option<Instant>| -> Vec<usize> {
        let count = |history: &History| match limit {
            Some(limit) => history.acknowledged.partition_point(|at| *at < limit),
            None => 0,
        };
        life.histories.iter().map(count).collect()
    };
    // What was there when the life began is durable: recovery has seen to that.
    let first = life.samples.first();
    let none = vec![0; life.histories.len()];
    let before = |age: Duration| life.ended.checked_sub(age);
    match plan.damage {
        // Whatever the policy: the kernel has had it before it was acknowledged.
        Damage::None => (until(Some(life.ended + LOSS_MAX)), Vec::new()),
        Damage::Cut | Damage::Zeros | Damage::Garbage => {
            let is_early = |sample: &&Sample| {
                let age = plan.policy.loss_max();
                age.and_then(before).is_some_and(|limit| sample.at <= limit)
            };
            let floor = life.samples.iter().rev().find(is_early);
            let orders_files = plan.policy == Policy::Always;
            let done =
                power::strike(&dir.data(), plan.shards, plan.damage, floor.or(first), orders_files, random);
            (floor.map_or(none, |sample| sample.acknowledged.clone()), done)
        }
        Damage::Anywhere => (none, power::strike(&dir.data(), plan.shards, plan.damage, first, true, random)),
        Damage::Copy => {
            let _ = std::fs::remove_dir_all(dir.data());
            std::fs::rename(dir.path.join("copy"), dir.data()).expect("a folder can be renamed");
            let must_have = life.copied.clone().unwrap_or(none);
            (must_have, vec!["a copy made while the server ran".to_owned()])
        }
    }
}

/// Starts the server on what is there, several times when the plan says so; garbage may make it refuse, and is taken off then.
fn recover(
    plan: &Plan,
    dir: &Dir,
    written_by: usize,
    next: &Plan,
    refused: &mut usize,
) -> Result<Process, String> {
    let mut mended = plan.damage != Damage::Garbage;
    for killed_after in &plan.killed_starts {
        let mut server = Process::spawn(dir, next.shards, &next.options);
        std::thread::sleep(*killed_after);
        server.kill9();
    }
    loop {
        let mut server = Process::spawn(dir, next.shards, &next.options);
        match server.wait_until_ready() {
            Ok(()) => return Ok(server),
            // What is not the beginning of anything may be damage, and what follows it good: nothing is cut there unasked.
            Err(why) if !mended => {
                if !log_tail(dir).contains("Bad file format reading the append only file") {
                    return Err(format!("garbage is not called by its name: {why}\n{}", log_tail(dir)));
                }
                mended = true;
                *refused += 1;
                power::mend(&dir.data(), written_by);
            }
            Err(why) => return Err(format!("{why}:\n{}", log_tail(dir))),
        }
    }
}

#[derive(Default)]
struct Summary {
    crashes: usize,
    operations: usize,
    acknowledged: usize,
    refused: usize,
    killed_starts: usize,
    lost_operations: usize,
    lost_age: Duration,
}

/// One directory, and the crashes that it lives through.
fn round(policy: Policy, seed: u64, lives: usize, summary: &mut Summary) {
    let mut random = Random::new(seed);
    let dir = Dir::new();
    let clients = 3 + random.below(8);
    let mut writers: Vec<Writer> = (0..clients)
        .map(|id| Writer { id, random: random.fork(), number: 1, progress: Arc::default() })
        .collect();
    let mut states: Vec<State> = vec![vec![None; KINDS.len() * HOMES]; clients];
    let mut totals = vec![0; HOMES];
    let mut plan = Plan::new(policy, &mut random);
    let mut server = Process::spawn(&dir, plan.shards, &plan.options);
    if let Err(why) = server.wait_until_ready() {
        panic!("{why}:\n{}", log_tail(&dir));
    }
    for life_number in 0..lives {
        let next = Plan::new(policy, &mut random);
        let fail = |why: String, done: &[String]| -> ! {
            panic!(
                "seed {seed}, life {life_number} of a server with {} clients: {why}\n{plan:?}\n{done:#?}\nafterwards {next:?}\n\
                 the server's last lines:\n{}",
                clients,
                log_tail(&dir)
            )
        };
        if plan.switches {
            if let Err(why) = switch_off_and_on(&server) {
                fail(why, &[]);
            }
        }
        let bases = std::mem::take(&mut states);
        let life = match live(&plan, &mut server, &dir, &mut writers, bases, &mut random) {
            Ok(life) => life,
            Err(why) => fail(why, &[]),
        };
        let (must_have, done) = damage(&plan, &life, &dir, &mut random);
        dir.keep_as_it_is();
        server = match recover(&plan, &dir, plan.shards, &next, &mut summary.refused) {
            Ok(server) => server,
            Err(why) => fail(why, &done),
        };
        let recovered = match check::read_all(&mut server.client(), clients, &Shared::new()) {
            Ok(recovered) => recovered,
            Err(why) => fail(why, &done),
        };
        let expected = Expected {
            shards: plan.shards,
            histories: &life.histories,
            must_have,
            seen: (plan.damage == Damage::None).then_some(&life.seen),
            totals: totals.clone(),
        };
        let (prefixes, loss) = match check::judge(&expected, &recovered, life.ended) {
            Ok(prefixes) => prefixes,
            Err(why) => fail(why, &done),
        };
        states = check::states(&life.histories, &prefixes, plan.shards);
        totals = recovered.totals;
        summary.crashes += 1;
        summary.killed_starts += plan.killed_starts.len();
        summary.operations += life.histories.iter().map(|history| history.operations.len()).sum::<usize>();
        summary.acknowledged +=
            life.histories.iter().map(|history| history.acknowledged.len()).sum::<usize>();
        if plan.damage == Damage::None {
            summary.lost_operations = summary.lost_operations.max(loss.operations);
            summary.lost_age = summary.lost_age.max(loss.age);
        }
        plan = next;
    }
}

fn run(policy: Policy) {
    let rounds = setting("GYRE_TEST_ROUNDS", ROUNDS_DEFAULT) as usize;
    let seed = setting("GYRE_TEST_SEED", SEED_DEFAULT);
    let mut summary = Summary::default();
    let mut left = rounds;
    for number in 0.. {
        let lives = left.min(LIVES);
        if lives == 0 {
            break;
        }
        round(policy, seed + number, lives, &mut summary);
        left -= lives;
    }
    let Summary { crashes, operations, acknowledged, refused, killed_starts, lost_operations, lost_age } =
        summary;
    eprintln!(
        "appendfsync {}: {crashes} crashes and {killed_starts} killed recoveries from seed {seed} on, {operations} operations \
         sent, {acknowledged} acknowledged; {refused} starts refused for garbage. Where only the process died, at most \
         {lost_operations} acknowledged operations of one client were lost, the oldest {} ms old",
        policy.name(),
        lost_age.as_millis(),
    );
}

#[test]
fn with_always_nothing_acknowledged_is_lost() {
    run(Policy::Always);
}

#[test]
fn with_everysec_a_power_failure_takes_the_last_moments_and_a_killed_process_nothing() {
    run(Policy::EverySecond);
}

#[test]
fn with_no_a_killed_process_takes_nothing_acknowledged_along() {
    run(Policy::No);
}
