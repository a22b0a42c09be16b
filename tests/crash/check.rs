//! Compares what a recovery brought back with what was written.
//!
//! What is promised, and looked for:
//!
//! - Of each shard's log a prefix comes back. So for each client and shard there is a number of the client's first operations
//!   such that its keys on that shard are as after exactly those; and the numbers that all clients count on a shard fit to that.
//! - What changed keys on several shards is there on all of them, or on none.
//! - When only the process was killed, or with `always`, what was acknowledged is there; and whatever anybody has seen.
//! - When the power failed, with `everysec`, what was acknowledged longer than `LOSS_MAX` before that.
//!
//! What is not promised, and not looked for: after a power failure, without `always`, that a client's operation on one shard is lost when
//! an earlier one of the same client on another shard is. The logs end independently, and only transactions tie them. Nor the order of what is sent behind a transaction over shards without waiting for its reply:
//! a shard logs its part of one when the intents are given back, and what the same client did to other keys meanwhile is in front of it.
//! So the clients here wait for a transaction's reply before they go on.

use std::time::{Duration, Instant};

use super::model::{
    self, home_of, key, names, number_of, shard_of_home, Entry, Held, Key, Kind, Shared, State, HOMES, KINDS,
};
use super::support::{Client, Value};
use super::writer::{database, now_ms, History, Seen};

/// With `everysec` a sync begins at the end of each second. It covers what was written until then, and takes its time: what was
/// written in that second and while the sync runs may be lost. One second for the first, one for the second.
pub const LOSS_MAX: Duration = Duration::from_secs(2);

/// What a recovery has brought back.
pub struct Recovered {
    pub clients: Vec<State>,
    pub accounts: Vec<i64>,
    pub totals: Vec<i64>,
    /// Keys that expired before the first could not be seen by any read, those after the second had to be.
    read_ms: (i64, i64),
}

pub fn read_all(client: &mut Client, clients: usize, shared: &Shared) -> Result<Recovered, String> {
    let from_ms = now_ms();
    let mut states = Vec::new();
    for id in 0..clients {
        client.call(&["SELECT", &database(id)]);
        let names = names(id);
        let requests: Vec<Vec<String>> = (0..names.len())
            .flat_map(|key| {
                [vec!["PEXPIRETIME".to_owned(), names[key].clone()], model::read(key, &names[key])]
            })
            .collect();
        let replies = client.pipeline(&requests);
        let mut state = State::new();
        for (key, pair) in replies.chunks(2).enumerate() {
            let held = model::parse(key, &pair[1]).map_err(|why| format!("{}: {why}", names[key]))?;
            let expire_at_ms = Some(pair[0].integer()).filter(|at_ms| *at_ms >= 0);
            state.push(held.map(|held| Entry { held, expire_at_ms }));
        }
        states.push(state);
    }
    let number = |value: &Value| if value.is_null() { 0 } else { value.text().parse().unwrap_or(i64::MIN) };
    let mut all = |names: &[String]| {
        let mut sums = vec![0; names.len()];
        for database in 0..3 {
            client.call(&["SELECT", &database.to_string()]);
            for (name, sum) in names.iter().zip(&mut sums) {
                *sum += number(&client.call(&["GET", name]));
            }
        }
        sums
    };
    let (accounts, totals) = (all(&shared.accounts), all(&shared.totals));
    Ok(Recovered { clients: states, accounts, totals, read_ms: (from_ms, now_ms()) })
}

pub struct Expected<'a> {
    /// How many shards wrote the logs.
    pub shards: usize,
    pub histories: &'a [History],
    /// How many operations of each client must be there at least.
    pub must_have: Vec<usize>,
    /// The numbers that somebody has read, when they must be there.
    pub seen: Option<&'a Seen>,
    /// The totals before.
    pub totals: Vec<i64>,
}

/// Whether a key is as it should be. One that expires may be gone when it was read.
fn is_same(expected: Option<&Entry>, found: Option<&Entry>, read_ms: (i64, i64)) -> bool {
    let expires_by = |at_ms: i64| expected.and_then(|entry| entry.expire_at_ms).is_some_and(|at| at <= at_ms);
    if found.is_none() {
        return expected.is_none() || expires_by(read_ms.1);
    }
    // A deadline between the two reads of a key: gone for one of them.
    let gone_between = expires_by(read_ms.1) && found.map(|f| &f.held) == expected.map(|e| &e.held);
    // In the millisecond of its end it is still there.
    !expires_by(read_ms.0 - 1) && (found == expected || gone_between)
}

/// For each shard, the numbers of operations after which the client's keys there are as they were found: ranges, both ends
/// included, in order.
fn fitting(history: &History, found: &State, shards: usize, read_ms: (i64, i64)) -> Vec<Vec<(usize, usize)>> {
    let shard = |key: Key| shard_of_home(home_of(key), shards);
    let mut state = history.base.clone();
    let fits = |state: &State, key: Key| is_same(state[key].as_ref(), found[key].as_ref(), read_ms);
    let mut is_wrong: Vec<bool> = (0..found.len()).map(|key| !fits(&state, key)).collect();
    let mut wrong = vec![0; shards];
    for key in 0..found.len() {
        wrong[shard(key)] += usize::from(is_wrong[key]);
    }
    let mut ranges: Vec<Vec<(usize, usize)>> = vec![Vec::new(); shards];
    for done in 0..=history.operations.len() {
        if done > 0 {
            let operation = &history.operations[done - 1];
            operation.apply(&mut state);
            for key in operation.keys() {
                let now = !fits(&state, key);
                if std::mem::replace(&mut is_wrong[key], now) != now {
                    if now {
                        wrong[shard(key)] += 1;
                    } else {
                        wrong[shard(key)] -= 1;
                    }
                }
            }
        }
        for shard in (0..shards).filter(|shard| wrong[*shard] == 0) {
            match ranges[shard].last_mut() {
                Some((_, end)) if *end + 1 == done => *end = done,
                _ => ranges[shard].push((done, done)),
            }
        }
    }
    ranges
}

/// The shards on which each operation changed something. What has expired long ago is not seen any more, and does not count.
fn changed_shards(history: &History, shards: usize, read_ms: (i64, i64)) -> Vec<Vec<usize>> {
    let mut state = history.base.clone();
    let is_gone = |entry: &Option<Entry>| {
        entry.as_ref().is_none_or(|entry| entry.expire_at_ms.is_some_and(|at_ms| at_ms <= read_ms.1))
    };
    let mut all = Vec::new();
    for operation in &history.operations {
        let keys = operation.keys();
        let before: Vec<Option<Entry>> = keys.iter().map(|key| state[*key].clone()).collect();
        operation.apply(&mut state);
        let mut changed = Vec::new();
        for (key, before) in keys.iter().zip(&before) {
            let now = &state[*key];
            if now != before && !(is_gone(now) && is_gone(before)) {
                changed.push(shard_of_home(home_of(*key), shards));
            }
        }
        changed.sort_unstable();
        changed.dedup();
        all.push(changed);
    }
    all
}

/// The largest number that fits and is at most `limit`.
fn largest(ranges: &[(usize, usize)], limit: usize) -> Option<usize> {
    ranges.iter().rev().find(|(from, _)| *from <= limit).map(|(_, to)| limit.min(*to))
}

/// What is lost of what was acknowledged: how many operations, and how old the oldest was at the end.
#[derive(Default)]
pub struct Loss {
    pub operations: usize,
    pub age: Duration,
}

/// By client and shard, how many operations are there. `Err`: what is wrong.
pub fn judge(
    expected: &Expected,
    recovered: &Recovered,
    ended: Instant,
) -> Result<(Vec<Vec<usize>>, Loss), String> {
    let shards = expected.shards;
    let mut prefixes = Vec::new();
    let mut loss = Loss::default();
    let mut counted: Vec<(i64, i64)> = expected.totals.iter().map(|total| (*total, *total)).collect();
    for (id, history) in expected.histories.iter().enumerate() {
        let found = &recovered.clients[id];
        let ranges = fitting(history, found, shards, recovered.read_ms);
        let sent = history.operations.len();
        let must_have = expected.must_have[id];
        let mut there = Vec::new();
        for (shard, ranges) in ranges.iter().enumerate() {
            let Some(most) = largest(ranges, sent) else {
                let nearest = nearest(history, found, shard, shards, recovered.read_ms);
                let differences =
                    differences(history, found, (id, shard, shards), nearest, recovered.read_ms);
                return Err(format!(
                    "client {id}, shard {shard}: no number of its {sent} operations gives what is there ({} acknowledged, \
                     at least {must_have} must be there)\n{differences}",
                    history.acknowledged.len()
                ));
            };
            there.push(most);
        }
        make_whole(id, history, shards, &ranges, recovered.read_ms, &mut there)?;
        for (shard, there) in there.iter().copied().enumerate() {
            if there < must_have {
                let differences =
                    differences(history, found, (id, shard, shards), must_have, recovered.read_ms);
                return Err(format!(
                    "client {id}, shard {shard}: {there} operations are there; {must_have} must be, {} were acknowledged, \
                     {sent} sent\n{differences}",
                    history.acknowledged.len()
                ));
            }
            let lost = history.acknowledged.len().saturating_sub(there);
            if lost > 0 {
                loss.operations = loss.operations.max(lost);
                loss.age = loss.age.max(ended.saturating_duration_since(history.acknowledged[there]));
            }
            // The keys may have been the same earlier.
            let least = ranges[shard].first().map_or(0, |(from, _)| *from);
            let fits = ranges[shard].iter().find(|(from, to)| (*from..=*to).contains(&there));
            let (_, most) = *fits.expect("it was taken from one of them");
            for home in (0..HOMES).filter(|home| shard_of_home(*home, shards) == shard) {
                let count =
                    |n: usize| history.operations[..n].iter().map(|o| o.counts(home)).sum::<usize>() as i64;
                counted[home].0 += count(least);
                counted[home].1 += count(most);
            }
        }
        if let Some(seen) = expected.seen {
            check_seen(id, history, seen, &there, shards)?;
        }
        prefixes.push(there);
    }
    if recovered.accounts.iter().sum::<i64>() != 0 {
        return Err(format!("a transfer is there by half: the accounts are {:?}", recovered.accounts));
    }
    for (home, total) in recovered.totals.iter().enumerate() {
        let (least, most) = counted[home];
        if !(least..=most).contains(total) {
            return Err(format!("total {home} is {total}; {least} to {most} fits to the rest of its shard"));
        }
    }
    Ok((prefixes, loss))
}

/// Lowers numbers until every operation is there on all shards that it changed, or on none. An error when nothing fits.
fn make_whole(
    id: usize,
    history: &History,
    shards: usize,
    ranges: &[Vec<(usize, usize)>],
    read_ms: (i64, i64),
    there: &mut [usize],
) -> Result<(), String> {
    let changed = changed_shards(history, shards, read_ms);
    loop {
        let is_half = |(index, shards): &(usize, &Vec<usize>)| {
            shards.iter().any(|s| there[*s] > *index) && shards.iter().any(|s| there[*s] <= *index)
        };
        let Some((index, among)) = changed.iter().enumerate().rev().find(is_half) else { return Ok(()) };
        for shard in among {
            if there[*shard] > index {
                let Some(fewer) = largest(&ranges[*shard], index) else {
                    return Err(format!(
                        "client {id}: its operation {index} is there by half, on shard {shard} and not on all of {among:?} \
                         (there are {there:?}): {:?}",
                        history.operations[index]
                    ));
                };
                there[*shard] = fewer;
            }
        }
    }
}

fn check_seen(
    id: usize,
    history: &History,
    seen: &Seen,
    there: &[usize],
    shards: usize,
) -> Result<(), String> {
    for home in 0..HOMES {
        let Some(number) = seen.get(&(id, home)) else { continue };
        let wrote = |operation: &model::Operation| {
            operation.steps.iter().any(|step| match step {
                model::Step::Set { key: at, number: n, .. } => *at == key(Kind::Text, home) && n == number,
                model::Step::SetAll { keys, number: n } => {
                    keys.contains(&key(Kind::Text, home)) && n == number
                }
                _ => false,
            })
        };
        let Some(index) = history.operations.iter().position(wrote) else { continue };
        let shard = shard_of_home(home, shards);
        if there[shard] <= index {
            return Err(format!(
                "client {id}: somebody has read what its operation {index} wrote on shard {shard}, and it is lost ({} are there)",
                there[shard]
            ));
        }
    }
    Ok(())
}

/// After how many operations the keys of a shard are most like what was found.
fn nearest(history: &History, found: &State, shard: usize, shards: usize, read_ms: (i64, i64)) -> usize {
    let mut state = history.base.clone();
    let wrong = |state: &State| {
        let is_wrong = |key: &Key| !is_same(state[*key].as_ref(), found[*key].as_ref(), read_ms);
        (0..state.len()).filter(|key| shard_of_home(home_of(*key), shards) == shard).filter(is_wrong).count()
    };
    let mut best = (wrong(&state), 0);
    for (index, operation) in history.operations.iter().enumerate() {
        operation.apply(&mut state);
        best = best.min((wrong(&state), index + 1));
    }
    best.1
}

/// What is not as it would be after so many operations.
fn differences(
    history: &History,
    found: &State,
    (id, shard, shards): (usize, usize, usize),
    operations: usize,
    read_ms: (i64, i64),
) -> String {
    let mut state = history.base.clone();
    history.operations[..operations].iter().for_each(|operation| operation.apply(&mut state));
    let names = names(id);
    let mut lines = Vec::new();
    for key in 0..KINDS.len() * HOMES {
        let is_here = shard_of_home(home_of(key), shards) == shard;
        if is_here && !is_same(state[key].as_ref(), found[key].as_ref(), read_ms) {
            let short = |entry: &Option<Entry>| format!("{entry:?}").chars().take(300).collect::<String>();
            lines.push(format!("  {}: {} is there", names[key], short(&found[key])));
            lines.push(format!("    after {operations} operations: {}", short(&state[key])));
            if let Some(Entry { held: Held::Text(text), .. }) = &found[key] {
                if let Some(number) = number_of(text) {
                    lines.push(format!("    it was written with the number {number}"));
                }
            }
        }
    }
    lines.join("\n")
}

/// What each client's keys hold, given how many operations are there on each shard.
pub fn states(histories: &[History], prefixes: &[Vec<usize>], shards: usize) -> Vec<State> {
    let mut states = Vec::new();
    for (history, there) in histories.iter().zip(prefixes) {
        let mut state = history.base.clone();
        let mut result = state.clone();
        for done in 0..=history.operations.len() {
            if done > 0 {
                history.operations[done - 1].apply(&mut state);
            }
            for (shard, count) in there.iter().enumerate() {
                if *count == done {
                    for key in (0..state.len()).filter(|key| shard_of_home(home_of(*key), shards) == shard) {
                        result[key] = state[key].clone();
                    }
                }
            }
        }
        states.push(result);
    }
    states
}
