//! Commands on keys of several shards are strictly serialisable, whatever happens at the same time.
//!
//! Many clients run MSET, MGET, RENAME, COPY, DEL, EXEC with and without WATCH, whole-keyspace and single-key commands, and scripts
//! that are short and long, on a few keys of different shards; some are cut off midway. The histories are checked round by round. Built with
//! the feature `unsafe-no-intents`, the same test asserts the opposite: an anomaly is found within a minute.
//!
//! Longer or different runs: SERIALISABILITY_SECONDS (for each number of shards), SERIALISABILITY_CLIENTS (at most
//! 10), SERIALISABILITY_KEYS (at most 8), SERIALISABILITY_SEED.

mod checker;
mod model;
#[path = "../support/mod.rs"]
mod support;
mod workload;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use checker::{Action, Answer, History, Operation, Verdict};
use model::{Command, Outcome, State, KEYS_MAX};
use support::{seed, setting, Client, Random, Server, Value};
use workload::{Plan, Worker};

/// After a cut, the server gets this long to run what it had received before the state is read. Should it take longer,
/// `explained_by_late_effects` keeps that from being taken for an anomaly.
const SETTLE: Duration = Duration::from_millis(20);
/// How long what was cut off may still happen.
const LATE: Duration = Duration::from_secs(5);

/// Names of keys, the neighbours on different shards.
fn key_names(keys: usize, shards: usize) -> Vec<String> {
    let owner = |name: &str| gyre::slots::shard_of_slot(gyre::store::slot_of(name.as_bytes()), shards);
    (0..keys)
        .map(|key| (0..).map(|n| format!("key:{key}:{n}")).find(|name| owner(name) == key % shards))
        .map(|name| name.expect("every shard owns slots"))
        .collect()
}

/// All values at once, as the round's last operation.
fn read_all(plan: &Plan, client: &mut Client) -> (State, Operation) {
    let keys: Vec<usize> = (0..plan.names.len()).collect();
    let now_ns = || plan.epoch.elapsed().as_nanos() as u64;
    let began_ns = now_ns();
    let request: Vec<&str> = std::iter::once("MGET").chain(plan.names.iter().map(String::as_str)).collect();
    let reply = client.call(&request);
    let ended_ns = now_ns();
    let value = |value: &Value| if value.is_null() { None } else { value.text().parse().ok() };
    let values: Vec<Option<i64>> = reply.elements().iter().map(value).collect();
    let answer = Answer::One(Outcome::Values(values.clone()));
    let operation = Operation {
        connection: u32::MAX,
        action: Action::One(Command::Mget(keys)),
        began_ns,
        ended: Some((ended_ns, answer)),
        place_in_pipeline: 0,
    };
    (State::of(&values), operation)
}

/// Whether the history holds when operations cut off in earlier rounds may happen in this one.
fn explained_by_late_effects(history: &History, cut_off: &[Operation]) -> bool {
    let last_ns = history.operations.iter().map(|operation| operation.began_ns).max().unwrap_or(0);
    let mut with = history.clone();
    let late = cut_off.iter().filter(|o| o.began_ns + LATE.as_nanos() as u64 > last_ns);
    let room = 127 - with.operations.len();
    with.operations.extend(late.rev().take(room).cloned());
    with.check() != Verdict::Anomaly
}

#[derive(Default)]
struct Summary {
    rounds: usize,
    operations: usize,
    cut: usize,
    aborted: usize,
    undecided: usize,
    late: usize,
    checking: Duration,
}

/// Runs rounds for `time`, or until an anomaly, which is returned in its shortest form.
fn run(shards: usize, time: Duration, random: &mut Random) -> Option<String> {
    let clients = setting("SERIALISABILITY_CLIENTS", 8).clamp(2, 10) as usize;
    let keys = setting("SERIALISABILITY_KEYS", 6).clamp(2, KEYS_MAX as u64) as usize;
    let server = Server::with_shards(shards);
    let script = workload::load_scripts(&mut server.client());
    let plan =
        Plan { address: server.address(), names: key_names(keys, shards), script, epoch: Instant::now() };
    let start = Arc::new(Barrier::new(clients + 1));
    let end = Arc::new(Barrier::new(clients + 1));
    let over = Arc::new(AtomicBool::new(false));
    let records: Vec<_> = (0..clients).map(|_| Arc::new(Mutex::new((Vec::new(), false)))).collect();

    let threads: Vec<_> = (0..clients)
        .map(|index| {
            let (start, end, over) = (start.clone(), end.clone(), over.clone());
            let record = records[index].clone();
            let mut worker = Worker::new(plan.clone(), index, clients, random.fork());
            std::thread::spawn(move || loop {
                start.wait();
                if over.load(Ordering::Acquire) {
                    return;
                }
                let round = std::panic::AssertUnwindSafe(|| worker.run_round());
                if let Err(failure) = std::panic::catch_unwind(round) {
                    // The others wait at the barrier: let them go before this thread fails.
                    over.store(true, Ordering::Release);
                    end.wait();
                    std::panic::resume_unwind(failure);
                }
                *record.lock().expect("no holder panics") =
                    (std::mem::take(&mut worker.operations), worker.was_cut);
                end.wait();
                if over.load(Ordering::Acquire) {
                    return;
                }
            })
        })
        .collect();

    let mut reader = server.client();
    let (mut before, _) = read_all(&plan, &mut reader);
    let mut summary = Summary::default();
    let mut cut_off: Vec<Operation> = Vec::new();
    let mut anomaly = None;
    let started = Instant::now();
    while started.elapsed() < time && anomaly.is_none() {
        start.wait();
        end.wait();
        if over.load(Ordering::Acquire) {
            break;
        }
        let mut operations: Vec<Operation> = Vec::new();
        let mut was_cut = false;
        for record in &records {
            let (list, cut) = &mut *record.lock().expect("no holder panics");
            operations.append(list);
            was_cut |= *cut;
        }
        if was_cut {
            std::thread::sleep(SETTLE);
        }
        let (after, last) = read_all(&plan, &mut reader);
        operations.push(last);
        summary.rounds += 1;
        summary.operations += operations.len();
        summary.cut += operations.iter().filter(|o| o.ended.is_none()).count();
        summary.aborted +=
            operations.iter().filter(|o| matches!(o.ended, Some((_, Answer::Aborted)))).count();
        let history = History { before, operations };
        let checking = Instant::now();
        let verdict = history.check();
        summary.checking += checking.elapsed();
        match verdict {
            Verdict::Serialisable => {}
            Verdict::Undecided => summary.undecided += 1,
            Verdict::Anomaly if explained_by_late_effects(&history, &cut_off) => summary.late += 1,
            Verdict::Anomaly => anomaly = Some(history.essence().to_string()),
        }
        let horizon_ns = history.operations.iter().map(|o| o.began_ns).max().unwrap_or(0);
        cut_off.retain(|o| o.began_ns + LATE.as_nanos() as u64 > horizon_ns);
        cut_off.extend(history.operations.into_iter().filter(|o| o.ended.is_none()));
        before = after;
    }
    if !over.swap(true, Ordering::AcqRel) {
        start.wait();
    }
    for thread in threads {
        if let Err(failure) = thread.join() {
            std::panic::resume_unwind(failure);
        }
    }
    let Summary { rounds, operations, cut, aborted, undecided, late, checking } = summary;
    eprintln!(
        "{shards} shards, {clients} clients, {keys} keys: {operations} operations in {rounds} rounds, {cut} cut off, \
         {aborted} EXEC refused for a watched key, {undecided} rounds undecided, {late} with late effects of what was cut \
         off, {:.1} s of which {:.1} s for checking",
        started.elapsed().as_secs_f64(),
        checking.as_secs_f64()
    );
    let doubtful = undecided + late;
    assert!(anomaly.is_some() || rounds > 0 && doubtful * 20 <= rounds, "too many rounds are not decided");
    anomaly
}

#[cfg(not(feature = "unsafe-no-intents"))]
#[test]
fn every_history_is_strictly_serialisable() {
    let mut random = Random::new(seed("SERIALISABILITY_SEED"));
    let seconds = setting("SERIALISABILITY_SECONDS", 8);
    for shards in [1, 2, 3, 4] {
        if let Some(history) = run(shards, Duration::from_secs(seconds), &mut random) {
            panic!("with {shards} shards, this is not strictly serialisable:\n{history}");
        }
    }
}

#[cfg(feature = "unsafe-no-intents")]
#[test]
fn without_intents_an_anomaly_is_found_within_a_minute() {
    let mut random = Random::new(seed("SERIALISABILITY_SEED"));
    for shards in [2, 3, 4] {
        let history = run(shards, Duration::from_secs(60), &mut random)
            .unwrap_or_else(|| panic!("no anomaly in a minute with {shards} shards and without intents"));
        eprintln!("an anomaly with {shards} shards, as it has to be:\n{history}");
    }
}
