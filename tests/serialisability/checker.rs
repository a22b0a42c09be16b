//! Is a history strictly serialisable?
//!
//! It is when its operations can be put in one order such that each, run alone in that order, answers what it
//! answered, and no operation comes before another that had ended when it began. The search goes through such orders
//! (Wing and Gong 1993) and remembers the configurations - which operations are placed, and the state that they
//! made - that led nowhere (Lowe 2017). An operation whose answer says that it changed nothing is placed as soon as that is
//! its answer, because nothing can be lost by it; and a step that overwrites the last copy of a value that somebody has yet to read
//! is not taken, as values are written once. Both keep the search short.
//!
//! An operation of a connection that was cut off may have happened at any time after it began, or not at all.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::model::{Command, Key, Outcome, State, WATCHES_MAX};

/// Configurations visited before the search gives up.
const CONFIGURATIONS_MAX: usize = 1_000_000;
/// The same for each of the many searches that make an anomaly short.
const ESSENCE_CONFIGURATIONS_MAX: usize = 100_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    One(Command),
    Exec(Vec<Command>),
    /// As EXEC, but a WATCH goes on.
    Script(Vec<Command>),
    Watch(Vec<Key>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    One(Outcome),
    /// Of EXEC, or of a script.
    Exec(Vec<Outcome>),
    /// EXEC refused because a watched key had changed.
    Aborted,
    Watching,
}

#[derive(Clone, Debug)]
pub struct Operation {
    /// Unique for each connection that was ever made.
    pub connection: u32,
    pub action: Action,
    pub began_ns: u64,
    /// When its answer had arrived, and what it was. `None`: the connection was cut off before.
    pub ended: Option<(u64, Answer)>,
    /// Its number in a pipeline that was sent at once; 0 is the first. Operations of one pipeline that share a key run
    /// in the order in which they were sent.
    pub place_in_pipeline: usize,
}

impl Operation {
    fn ended_ns(&self) -> u64 {
        self.ended.as_ref().map_or(u64::MAX, |(at, _)| *at)
    }

    fn keys(&self) -> u8 {
        match &self.action {
            Action::One(command) => command.keys(),
            Action::Exec(commands) | Action::Script(commands) => {
                commands.iter().fold(0, |bits, command| bits | command.keys())
            }
            Action::Watch(keys) => keys.iter().fold(0, |bits, key| bits | 1 << key),
        }
    }

    /// The state after it; `None` when it would have answered otherwise.
    fn apply(&self, state: &State, watch_slot: usize) -> Option<State> {
        let mut state = *state;
        let answer = match &self.action {
            Action::One(command) => Answer::One(state.apply(command)),
            Action::Watch(keys) => {
                state.watch(watch_slot, keys);
                Answer::Watching
            }
            Action::Script(commands) => {
                Answer::Exec(commands.iter().map(|command| state.apply(command)).collect())
            }
            Action::Exec(commands) => {
                if state.unwatch(watch_slot) {
                    Answer::Aborted
                } else {
                    Answer::Exec(commands.iter().map(|command| state.apply(command)).collect())
                }
            }
        };
        let right = self.ended.as_ref().is_none_or(|(_, seen)| *seen == answer);
        right.then_some(state)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let us = |ns: u64| ns as f64 / 1000.0;
        match &self.ended {
            Some((ended_ns, answer)) => write!(
                f,
                "connection {:>4}  [{:>10.1} {:>10.1}] us  {:?} -> {answer:?}",
                self.connection,
                us(self.began_ns),
                us(*ended_ns),
                self.action
            ),
            None => write!(
                f,
                "connection {:>4}  [{:>10.1}    cut off] us  {:?}",
                self.connection,
                us(self.began_ns),
                self.action
            ),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Serialisable,
    Anomaly,
    /// The search was given up.
    Undecided,
}

/// What an operation's answer says of values.
#[derive(Default)]
struct Evidence {
    /// Values that were there when it began its effect.
    read: Vec<i64>,
    /// Values that it made, as far as known.
    written: Vec<i64>,
    /// It may have made values that nobody knows.
    unknown: bool,
}

impl Operation {
    /// Its answer tells that no value is another for it, whenever it ran.
    fn changed_nothing(&self) -> bool {
        match (&self.action, &self.ended) {
            (_, Some((_, Answer::Aborted))) => true,
            (Action::One(command), Some((_, Answer::One(outcome)))) => command.changed_nothing(outcome),
            (Action::Exec(commands) | Action::Script(commands), Some((_, Answer::Exec(outcomes)))) => {
                commands.iter().zip(outcomes).all(|(command, outcome)| command.changed_nothing(outcome))
            }
            _ => false,
        }
    }

    fn evidence(&self) -> Evidence {
        let mut evidence = Evidence::default();
        let commands: &[Command] = match &self.action {
            Action::One(command) => std::slice::from_ref(command),
            Action::Exec(commands) | Action::Script(commands) => commands,
            Action::Watch(_) => &[],
        };
        let outcomes: Option<&[Outcome]> = match &self.ended {
            Some((_, Answer::One(outcome))) => Some(std::slice::from_ref(outcome)),
            Some((_, Answer::Exec(outcomes))) => Some(outcomes),
            Some((_, Answer::Aborted | Answer::Watching)) => return evidence,
            None => None,
        };
        let mut own: HashSet<i64> = HashSet::new();
        for (at, command) in commands.iter().enumerate() {
            let outcome = outcomes.map(|outcomes| &outcomes[at]);
            match (command, outcome) {
                (Command::IncrBy(_, by), Some(Outcome::Integer(after))) => {
                    // From nothing it makes `by`; otherwise it read what was there.
                    if after != by && !own.contains(&(after - by)) {
                        evidence.read.push(after - by);
                    }
                    own.insert(*after);
                }
                (Command::IncrBy(..), None) => evidence.unknown = true,
                (_, Some(Outcome::Value(value))) => {
                    evidence.read.extend(value.filter(|value| !own.contains(value)))
                }
                (_, Some(Outcome::Values(values))) => {
                    evidence.read.extend(values.iter().flatten().filter(|value| !own.contains(value)));
                }
                _ => {}
            }
            own.extend(command.written());
        }
        evidence.written.extend(own);
        evidence
    }
}

/// The operations of one time during which the state before is known.
#[derive(Clone, Debug)]
pub struct History {
    pub before: State,
    pub operations: Vec<Operation>,
}

struct Search<'a> {
    operations: &'a [Operation],
    /// What has to be placed before each: earlier ones of the same pipeline.
    preceding: Vec<u128>,
    /// The place of each one's connection among those that watch.
    watch_slots: Vec<usize>,
    /// The EXECs of each watching connection, in order.
    execs: [Vec<usize>; WATCHES_MAX],
    /// Which operations read, and which made, each value.
    readers: HashMap<i64, u128>,
    writers: HashMap<i64, u128>,
    /// May have made any value.
    unknown_writers: u128,
    changed_nothing: Vec<bool>,
    /// The operations that have ended, so must be placed.
    mandatory: u128,
    /// Indexes in the order of their ends: the likely order of their effects.
    by_end: Vec<usize>,
    visited: HashSet<(u128, State)>,
    configurations_max: usize,
}

impl Search<'_> {
    fn collect_evidence(&mut self) {
        for (index, operation) in self.operations.iter().enumerate() {
            let Evidence { read, written, unknown } = operation.evidence();
            read.into_iter().for_each(|value| *self.readers.entry(value).or_default() |= 1 << index);
            written.into_iter().for_each(|value| *self.writers.entry(value).or_default() |= 1 << index);
            self.unknown_writers |= u128::from(unknown) << index;
            if let Action::Exec(_) = operation.action {
                self.execs[self.watch_slots[index]].push(index);
            }
        }
    }

    /// Places what can be placed behind `placed`, which made `state`.
    fn place(&mut self, mut placed: u128, mut state: State) -> Verdict {
        let horizon_ns = loop {
            if placed & self.mandatory == self.mandatory {
                return Verdict::Serialisable;
            }
            // Nothing that began after the end of an operation can be placed before that operation.
            let left = self.by_end.iter().find(|index| placed & (1 << **index) == 0);
            let horizon_ns = left.map_or(u64::MAX, |index| self.operations[*index].ended_ns());
            let free = |index: &&usize| {
                self.changed_nothing[**index]
                    && self.may_come(**index, placed, horizon_ns)
                    && self.operations[**index].apply(&state, self.watch_slots[**index]).is_some()
            };
            match self.by_end.iter().find(free) {
                Some(index) => {
                    placed |= 1 << index;
                    // What changes is at most that its own WATCH is over.
                    state = self.operations[*index].apply(&state, self.watch_slots[*index]).unwrap_or(state);
                }
                None => break horizon_ns,
            }
        };
        if self.visited.len() >= self.configurations_max {
            return Verdict::Undecided;
        }
        if !self.visited.insert((placed, state)) {
            return Verdict::Anomaly;
        }
        for at in 0..self.by_end.len() {
            let index = self.by_end[at];
            if !self.may_come(index, placed, horizon_ns) {
                continue;
            }
            let Some(after) = self.operations[index].apply(&state, self.watch_slots[index]) else { continue };
            let placed = placed | 1 << index;
            if self.is_dead_end(placed, &state, &after) {
                continue;
            }
            match self.place(placed, after) {
                Verdict::Anomaly => {}
                other => return other,
            }
        }
        Verdict::Anomaly
    }

    /// Whether the step from `before` to `after` took away what an operation that is not placed yet has seen.
    fn is_dead_end(&self, placed: u128, before: &State, after: &State) -> bool {
        let newly_dirty = after.dirty() & !before.dirty();
        for slot in (0..WATCHES_MAX).filter(|slot| newly_dirty & (1 << slot) != 0) {
            // A connection does one thing after the other: its next EXEC is the one that this WATCH is for.
            let next = self.execs[slot].iter().find(|index| placed & (1 << **index) == 0);
            if next.is_some_and(|index| matches!(self.operations[*index].ended, Some((_, Answer::Exec(_))))) {
                return true;
            }
        }
        let gone = before.values().iter().flatten().filter(|value| !after.values().contains(&Some(**value)));
        self.unknown_writers & !placed == 0
            && gone.into_iter().any(|value| {
                let of = |map: &HashMap<i64, u128>| map.get(value).copied().unwrap_or(0) & !placed;
                of(&self.readers) != 0 && of(&self.writers) == 0
            })
    }

    fn may_come(&self, index: usize, placed: u128, horizon_ns: u64) -> bool {
        placed & (1 << index) == 0
            && self.operations[index].began_ns <= horizon_ns
            && self.preceding[index] & !placed == 0
    }
}

impl History {
    pub fn check(&self) -> Verdict {
        self.search(CONFIGURATIONS_MAX)
    }

    fn search(&self, configurations_max: usize) -> Verdict {
        let operations = &self.operations;
        assert!(
            operations.len() < 128,
            "a history of {} operations is too long for one search",
            operations.len()
        );
        let mut preceding = vec![0u128; operations.len()];
        for (later, operation) in operations.iter().enumerate() {
            for (earlier, other) in operations.iter().enumerate() {
                let same_pipeline =
                    other.connection == operation.connection && other.began_ns == operation.began_ns;
                if same_pipeline
                    && other.place_in_pipeline < operation.place_in_pipeline
                    && other.keys() & operation.keys() != 0
                {
                    preceding[later] |= 1 << earlier;
                }
            }
        }
        let mandatory = operations
            .iter()
            .enumerate()
            .filter(|(_, o)| o.ended.is_some())
            .fold(0, |bits, (index, _)| bits | 1 << index);
        let mut by_end: Vec<usize> = (0..operations.len()).collect();
        by_end.sort_by_key(|index| operations[*index].ended_ns());
        let mut watching: Vec<u32> = operations
            .iter()
            .filter(|operation| matches!(operation.action, Action::Watch(_)))
            .map(|operation| operation.connection)
            .collect();
        watching.sort_unstable();
        watching.dedup();
        assert!(watching.len() < WATCHES_MAX, "{} connections watch", watching.len());
        // Those that never watch share the last slot, which stays empty.
        let slot = |o: &Operation| watching.binary_search(&o.connection).unwrap_or(WATCHES_MAX - 1);
        let mut search = Search {
            operations,
            preceding,
            watch_slots: operations.iter().map(slot).collect(),
            execs: Default::default(),
            readers: HashMap::new(),
            writers: HashMap::new(),
            unknown_writers: 0,
            changed_nothing: operations.iter().map(Operation::changed_nothing).collect(),
            mandatory,
            by_end,
            visited: HashSet::new(),
            configurations_max,
        };
        search.collect_evidence();
        search.place(0, self.before)
    }

    /// The part until `end_ns`: what had not ended then is open.
    fn until(&self, end_ns: u64) -> History {
        let cut = |operation: &Operation| {
            let mut operation = operation.clone();
            operation.ended = operation.ended.filter(|(at, _)| *at <= end_ns);
            operation
        };
        let operations = self.operations.iter().filter(|o| o.began_ns <= end_ns).map(cut).collect();
        History { before: self.before, operations }
    }

    /// The shortest beginning that is an anomaly, without the reads that do not matter for it.
    pub fn essence(&self) -> History {
        let mut ends: Vec<u64> =
            self.operations.iter().filter_map(|o| o.ended.as_ref().map(|(at, _)| *at)).collect();
        ends.sort_unstable();
        // What is an anomaly stays one, whatever follows: so the first end is found by halving.
        let first = ends
            .partition_point(|end| self.until(*end).search(ESSENCE_CONFIGURATIONS_MAX) != Verdict::Anomaly);
        let mut shortest = ends.get(first).map_or_else(|| self.clone(), |end| self.until(*end));
        let mut at = 0;
        while at < shortest.operations.len() {
            let mut less = shortest.clone();
            less.operations.remove(at);
            if shortest.operations[at].changed_nothing()
                && less.search(ESSENCE_CONFIGURATIONS_MAX) == Verdict::Anomaly
            {
                shortest = less;
            } else {
                at += 1;
            }
        }
        shortest
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "before: {:?}", self.before)?;
        let mut operations: Vec<&Operation> = self.operations.iter().collect();
        operations.sort_by_key(|operation| (operation.began_ns, operation.place_in_pipeline));
        operations.into_iter().try_for_each(|operation| writeln!(f, "{operation}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Command::*;
    use super::*;

    fn done(connection: u32, began_ns: u64, ended_ns: u64, action: Action, answer: Answer) -> Operation {
        Operation { connection, action, began_ns, ended: Some((ended_ns, answer)), place_in_pipeline: 0 }
    }

    fn one(connection: u32, began_ns: u64, ended_ns: u64, command: Command, outcome: Outcome) -> Operation {
        done(connection, began_ns, ended_ns, Action::One(command), Answer::One(outcome))
    }

    fn cut_off(connection: u32, began_ns: u64, command: Command) -> Operation {
        Operation { connection, action: Action::One(command), began_ns, ended: None, place_in_pipeline: 0 }
    }

    fn verdict(before: &[Option<i64>], operations: Vec<Operation>) -> Verdict {
        History { before: State::of(before), operations }.check()
    }

    fn values(list: &[i64]) -> Outcome {
        Outcome::Values(list.iter().map(|value| Some(*value)).collect())
    }

    #[test]
    fn what_runs_one_after_the_other_is_serialisable() {
        let history = vec![
            one(1, 0, 1, Set(0, 5), Outcome::Ok),
            one(2, 2, 3, IncrBy(0, 1), Outcome::Integer(6)),
            one(1, 4, 5, Rename(0, 1), Outcome::Ok),
            one(1, 6, 7, Mget(vec![0, 1]), Outcome::Values(vec![None, Some(6)])),
            one(2, 8, 9, Copy { from: 1, to: 0, replace: false }, Outcome::Integer(1)),
            one(2, 10, 11, Keys, Outcome::Names(vec![0, 1])),
            one(1, 12, 13, Del(vec![0, 1, 2]), Outcome::Integer(2)),
            one(1, 14, 15, Rename(0, 1), Outcome::NoSuchKey),
        ];
        assert_eq!(verdict(&[], history), Verdict::Serialisable);
    }

    #[test]
    fn reads_during_a_write_may_see_either_side_but_not_go_back() {
        let write = one(1, 0, 100, Mset(vec![(0, 7), (1, 7)]), Outcome::Ok);
        let old = |at| one(2, at, at + 1, Mget(vec![0, 1]), values(&[1, 1]));
        let new = |at| one(3, at, at + 1, Mget(vec![0, 1]), values(&[7, 7]));
        let before = [Some(1), Some(1)];
        assert_eq!(verdict(&before, vec![write.clone(), old(10), new(20)]), Verdict::Serialisable);
        assert_eq!(verdict(&before, vec![write.clone(), new(10), old(20)]), Verdict::Anomaly);
        assert_eq!(verdict(&before, vec![write, old(101)]), Verdict::Anomaly, "a stale read in real time");
    }

    #[test]
    fn half_of_an_mset_is_an_anomaly() {
        let history = vec![
            one(1, 0, 100, Mset(vec![(0, 7), (1, 7)]), Outcome::Ok),
            one(2, 10, 20, Mget(vec![0, 1]), values(&[7, 1])),
        ];
        assert_eq!(verdict(&[Some(1), Some(1)], history), Verdict::Anomaly);
    }

    #[test]
    fn read_skew_over_two_single_reads_is_an_anomaly_only_against_real_time() {
        let write = one(1, 0, 100, Mset(vec![(0, 7), (1, 7)]), Outcome::Ok);
        let x = one(2, 10, 20, Get(0), Outcome::Value(Some(7)));
        let y = |began| one(2, began, began + 5, Get(1), Outcome::Value(Some(1)));
        let before = [Some(1), Some(1)];
        assert_eq!(verdict(&before, vec![write.clone(), x.clone(), y(30)]), Verdict::Anomaly);
        assert_eq!(verdict(&before, vec![write, x, y(15)]), Verdict::Serialisable, "the two reads overlap");
    }

    #[test]
    fn a_lost_update_is_an_anomaly() {
        let history = vec![
            one(1, 0, 10, IncrBy(0, 1), Outcome::Integer(2)),
            one(2, 0, 10, IncrBy(0, 1), Outcome::Integer(2)),
        ];
        assert_eq!(verdict(&[Some(1)], history), Verdict::Anomaly);
    }

    fn watched(interfering_ends_ns: u64, interfering_began_ns: u64, answer: Answer) -> Vec<Operation> {
        vec![
            done(1, 0, 1, Action::Watch(vec![0]), Answer::Watching),
            one(1, 2, 3, Get(0), Outcome::Value(Some(1))),
            one(2, interfering_began_ns, interfering_ends_ns, Set(0, 9), Outcome::Ok),
            done(1, 10, 20, Action::Exec(vec![Set(0, 5), Get(1)]), answer),
        ]
    }

    #[test]
    fn exec_must_see_a_change_of_a_watched_key_and_only_then_abort() {
        let ran = || Answer::Exec(vec![Outcome::Ok, Outcome::Value(None)]);
        let before = [Some(1)];
        assert_eq!(verdict(&before, watched(6, 5, ran())), Verdict::Anomaly, "the change was lost");
        assert_eq!(verdict(&before, watched(6, 5, Answer::Aborted)), Verdict::Serialisable);
        assert_eq!(
            verdict(&before, watched(15, 5, ran())),
            Verdict::Serialisable,
            "the change came after EXEC"
        );
        assert_eq!(verdict(&before, watched(15, 5, Answer::Aborted)), Verdict::Serialisable);
        assert_eq!(
            verdict(&before, watched(31, 30, Answer::Aborted)),
            Verdict::Anomaly,
            "nothing had changed"
        );
        assert_eq!(verdict(&before, watched(31, 30, ran())), Verdict::Serialisable);
    }

    #[test]
    fn exec_is_one_step() {
        let exec =
            |outcomes| done(1, 0, 50, Action::Exec(vec![Get(0), Set(1, 8), Get(0)]), Answer::Exec(outcomes));
        let other = one(2, 0, 50, Set(0, 4), Outcome::Ok);
        let twice = |a, b| vec![Outcome::Value(Some(a)), Outcome::Ok, Outcome::Value(Some(b))];
        assert_eq!(verdict(&[Some(1)], vec![exec(twice(1, 1)), other.clone()]), Verdict::Serialisable);
        assert_eq!(verdict(&[Some(1)], vec![exec(twice(4, 4)), other.clone()]), Verdict::Serialisable);
        assert_eq!(verdict(&[Some(1)], vec![exec(twice(1, 4)), other]), Verdict::Anomaly);
    }

    #[test]
    fn what_was_cut_off_may_have_happened_later_or_never_but_whole() {
        let maybe = cut_off(1, 5, Mset(vec![(0, 7), (1, 7)]));
        let saw = |at, list: &[i64]| one(2, at, at + 1, Mget(vec![0, 1]), values(list));
        let before = [Some(1), Some(1)];
        assert_eq!(verdict(&before, vec![maybe.clone(), saw(500, &[1, 1])]), Verdict::Serialisable);
        assert_eq!(
            verdict(&before, vec![maybe.clone(), saw(100, &[1, 1]), saw(500, &[7, 7])]),
            Verdict::Serialisable
        );
        assert_eq!(verdict(&before, vec![maybe.clone(), saw(500, &[7, 1])]), Verdict::Anomaly, "half of it");
        assert_eq!(
            verdict(&before, vec![maybe.clone(), saw(0, &[7, 7])]),
            Verdict::Anomaly,
            "before it began"
        );
        assert_eq!(
            verdict(&before, vec![maybe, saw(100, &[7, 7]), saw(500, &[1, 1])]),
            Verdict::Anomaly,
            "undone"
        );
    }

    #[test]
    fn a_pipeline_keeps_its_order_on_one_key() {
        let at = |place, command, outcome| Operation {
            place_in_pipeline: place,
            ..one(1, 0, 10, command, outcome)
        };
        let set = |place| at(place, Set(0, 3), Outcome::Ok);
        let get = |place, value| at(place, Get(0), Outcome::Value(value));
        assert_eq!(verdict(&[], vec![set(0), get(1, Some(3))]), Verdict::Serialisable);
        assert_eq!(verdict(&[], vec![set(0), get(1, None)]), Verdict::Anomaly);
        assert_eq!(verdict(&[], vec![get(0, None), set(1)]), Verdict::Serialisable);
        assert_eq!(verdict(&[], vec![get(0, Some(3)), set(1)]), Verdict::Anomaly);
    }

    #[test]
    fn flushall_and_whole_reads_are_one_step() {
        let history = |keys: Vec<Key>| {
            vec![one(1, 0, 9, FlushAll, Outcome::Ok), one(2, 0, 9, Keys, Outcome::Names(keys))]
        };
        let before = [Some(1), Some(2)];
        assert_eq!(verdict(&before, history(vec![])), Verdict::Serialisable);
        assert_eq!(verdict(&before, history(vec![0, 1])), Verdict::Serialisable);
        assert_eq!(verdict(&before, history(vec![1])), Verdict::Anomaly);
    }

    #[test]
    fn what_happened_to_change_nothing_could_have_changed_something_later() {
        // FLUSHALL has nothing to flush at first, but what the others saw puts it at the end.
        let history = vec![
            one(1, 0, 50, FlushAll, Outcome::Ok),
            one(2, 0, 10, Set(0, 1), Outcome::Ok),
            one(2, 11, 20, Get(0), Outcome::Value(Some(1))),
            one(2, 60, 70, Get(0), Outcome::Value(None)),
        ];
        assert_eq!(verdict(&[], history), Verdict::Serialisable);
    }

    #[test]
    fn the_essence_of_an_anomaly_is_short() {
        let mut operations = vec![
            one(1, 0, 100, Mset(vec![(0, 7), (1, 7)]), Outcome::Ok),
            one(2, 10, 20, Mget(vec![0, 1]), values(&[7, 1])),
        ];
        operations.extend((0..20).map(|n| one(3, n, n + 1, Get(2), Outcome::Value(None))));
        operations.extend((0..20).map(|n| one(3, 200 + n, 201 + n, Set(2, 1), Outcome::Ok)));
        let history = History { before: State::of(&[Some(1), Some(1)]), operations };
        assert_eq!(history.check(), Verdict::Anomaly);
        assert_eq!(history.essence().operations.len(), 2);
    }
}
