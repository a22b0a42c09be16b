//! Intents: which transactions want which keys of one shard, and in what order they get them.
//!
//! One queue for each key that has an intent, in the order of transaction numbers, plus one queue that
//! stands for the shard's whole keyspace. Keys are known by a fingerprint: two keys with the same one wait for each
//! other needlessly, and nothing worse. While no transaction is active all of it is empty, and a
//! command finds that out with one comparison. `transactions.md` tells the protocol.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::base::Token;
use crate::command::table::KeyAccess;

/// Position in the order of all transactions of the process; never reused.
pub type Number = u64;

/// A key, hashed. Keys of one name in several databases share it, as MOVE and COPY concern two of them.
pub type Fingerprint = u64;

/// The queue that stands for the whole keyspace of a shard.
const WHOLE: Fingerprint = 0;

/// Never `WHOLE`; the same on every shard and in every thread.
pub fn fingerprint(key: &[u8]) -> Fingerprint {
    use std::hash::{BuildHasher, Hasher};
    static SEED: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::default);
    let mut hasher = SEED.build_hasher();
    hasher.write(key);
    hasher.finish().max(1)
}

/// A client, by the shard that serves it and its place there: what of it waits on a shard waits in the order in which it came.
pub fn fingerprint_of_client(shard: usize, client: Token) -> Fingerprint {
    let mut name = [0; 17];
    name[1..9].copy_from_slice(&(shard as u64).to_le_bytes());
    name[9..13].copy_from_slice(&client.index.to_le_bytes());
    name[13..].copy_from_slice(&client.generation.to_le_bytes());
    fingerprint(&name)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Some keys will be read / written: in the whole-keyspace queue only.
    SomeRead,
    SomeWrite,
    Read,
    Write,
}

fn compatible(a: Mode, b: Mode) -> bool {
    use Mode::*;
    match (a, b) {
        (Write, _) | (_, Write) => false,
        (Read, SomeWrite) | (SomeWrite, Read) => false,
        (SomeRead | SomeWrite | Read, _) => true,
    }
}

/// What excludes all that either of them excludes.
fn joined(a: Mode, b: Mode) -> Mode {
    use Mode::*;
    match (a, b) {
        (Write, _) | (_, Write) | (Read, SomeWrite) | (SomeWrite, Read) => Write,
        (Read, _) | (_, Read) => Read,
        (SomeWrite, _) | (_, SomeWrite) => SomeWrite,
        (SomeRead, SomeRead) => SomeRead,
    }
}

fn stronger(a: Mode, b: Mode) -> Mode {
    if a == Mode::Write || b == Mode::Write {
        Mode::Write
    } else {
        a
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    pub key: Fingerprint,
    pub access: KeyAccess,
}

/// What a transaction wants of one shard.
#[derive(Clone, Debug)]
pub enum Scope {
    Keys(SmallVec<[Intent; 4]>),
    Whole(KeyAccess),
}

fn mode_of(access: KeyAccess) -> Mode {
    match access {
        KeyAccess::Read => Mode::Read,
        KeyAccess::Write => Mode::Write,
    }
}

/// Whether who holds `held` may do `wanted`.
fn suffices(held: KeyAccess, wanted: KeyAccess) -> bool {
    held == KeyAccess::Write || held == wanted
}

impl Scope {
    /// Whether any of it is to be changed.
    pub fn writes(&self) -> bool {
        match self {
            Scope::Whole(access) => *access == KeyAccess::Write,
            Scope::Keys(intents) => intents.iter().any(|intent| intent.access == KeyAccess::Write),
        }
    }

    /// Whether it has every key, for this.
    pub fn covers_whole(&self, access: KeyAccess) -> bool {
        matches!(self, Scope::Whole(held) if suffices(*held, access))
    }

    /// Whether it has this key, for this.
    pub fn covers(&self, key: Fingerprint, access: KeyAccess) -> bool {
        match self {
            Scope::Whole(held) => suffices(*held, access),
            Scope::Keys(intents) => {
                intents.iter().any(|intent| intent.key == key && suffices(intent.access, access))
            }
        }
    }

    fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::new();
        match self {
            Scope::Whole(access) => wanted.push((WHOLE, mode_of(*access))),
            Scope::Keys(intents) => {
                let writes = intents.iter().any(|i| i.access == KeyAccess::Write);
                wanted.push((WHOLE, if writes { Mode::SomeWrite } else { Mode::SomeRead }));
                wanted.extend(intents.iter().map(|i| (i.key, mode_of(i.access))));
                wanted[1..].sort_unstable_by_key(|(key, _)| *key);
                wanted.dedup_by(|later, kept| {
                    let same = later.0 == kept.0;
                    if same {
                        kept.1 = stronger(kept.1, later.1);
                    }
                    same
                });
            }
        }
        wanted
    }
}

/// The queues concerned, each once, with the strongest mode wanted.
type Wanted = SmallVec<[(Fingerprint, Mode); 6]>;

#[derive(Debug)]
struct QueueEntry {
    number: Number,
    mode: Mode,
    /// Compatible with every place before it.
    free: bool,
}

/// How many places have each mode.
#[derive(Clone, Copy, Debug, Default)]
struct Modes([u32; 4]);

impl Modes {
    fn admit(&self, mode: Mode) -> bool {
        use Mode::*;
        [SomeRead, SomeWrite, Read, Write].iter().all(|&m| self.0[m as usize] == 0 || compatible(m, mode))
    }
}

/// Those who want one key, in the order of their numbers.
#[derive(Debug, Default)]
struct Queue {
    places: VecDeque<QueueEntry>,
    modes: Modes,
    /// Places that are not free.
    blocked: usize,
}

impl Queue {
    fn before(&self, number: Number) -> usize {
        self.places.partition_point(|place| place.number < number)
    }

    /// Takes a place; tells whether it is free. Those behind it that conflict are named to `loses`: they had a free place.
    fn insert(&mut self, number: Number, mode: Mode, mut loses: impl FnMut(Number)) -> bool {
        let at = self.before(number);
        let free = if at == self.places.len() {
            self.modes.admit(mode)
        } else {
            self.places.range(..at).all(|place| compatible(place.mode, mode))
        };
        for place in self.places.range_mut(at..) {
            if place.free && !compatible(place.mode, mode) {
                place.free = false;
                self.blocked += 1;
                loses(place.number);
            }
        }
        self.places.insert(at, QueueEntry { number, mode, free });
        self.modes.0[mode as usize] += 1;
        self.blocked += usize::from(!free);
        free
    }

    /// A free place gets another mode, which is compatible with all others.
    fn change(&mut self, number: Number, mode: Mode) {
        let at = self.before(number);
        if let Some(place) = self.places.get_mut(at).filter(|place| place.number == number) {
            self.modes.0[place.mode as usize] -= 1;
            self.modes.0[mode as usize] += 1;
            place.mode = mode;
        }
    }

    /// Gives up a place. Those whose places are free now are named to `wins`.
    fn remove(&mut self, number: Number, mut wins: impl FnMut(Number)) {
        let Some(gone) = self.places.remove(self.before(number)) else { return };
        debug_assert_eq!(gone.number, number);
        self.modes.0[gone.mode as usize] -= 1;
        self.blocked -= usize::from(!gone.free);
        let mut seen = Modes::default();
        for place in &mut self.places {
            // Behind a place that excludes all others nobody's is free.
            if self.blocked == 0 || seen.0[Mode::Write as usize] > 0 {
                return;
            }
            if !place.free && seen.admit(place.mode) {
                place.free = true;
                self.blocked -= 1;
                wins(place.number);
            }
            seen.0[place.mode as usize] += 1;
        }
    }
}

#[derive(Debug)]
struct Holder {
    queues: Wanted,
    /// Queues in which its place is not free yet.
    waiting: usize,
    /// It has run, and holds on to that while it waits for more (`strengthen`).
    keeps: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It holds all that it wanted.
    Granted,
    /// `release` of another one will name it.
    Waiting,
    /// It came too late for its number: it conflicts with a later one that was already granted. Nothing is kept.
    Refused,
}

/// A transaction that waited and is not in the queues any more; it asks again under a larger number.
#[derive(Debug)]
pub struct Displaced {
    pub number: Number,
    wanted: Wanted,
}

/// What became of `strengthen`.
#[derive(Debug)]
pub struct Strengthened {
    /// `Refused`: it holds what it held, by its new number.
    pub answer: Answer,
    /// In the order of their numbers.
    pub displaced: Vec<Displaced>,
    /// Those that now hold all that they wanted, in number order.
    pub granted: Vec<Number>,
}

#[derive(Debug, Default)]
pub struct Locks {
    queues: HashMap<Fingerprint, Queue, RandomState>,
    holders: HashMap<Number, Holder, RandomState>,
}

impl Locks {
    /// No transaction is active: nothing can conflict.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.holders.is_empty()
    }

    /// Whether the transaction has, or waits for, something here, and so will be released.
    pub fn knows(&self, number: Number) -> bool {
        self.holders.contains_key(&number)
    }

    /// Whether a command that runs now would get in front of a transaction that wants one of its keys.
    pub fn conflicts(&self, scope: &Scope) -> bool {
        let against = |key: Fingerprint, mode: Mode| {
            self.queues.get(&key).is_some_and(|queue| !queue.modes.admit(mode))
        };
        !self.is_idle() && scope.wanted().iter().any(|(key, mode)| against(*key, *mode))
    }

    /// As `conflicts`, and whether it would get in front of what the same client has waiting here.
    pub fn conflicts_in_order(&self, scope: &Scope, client: Fingerprint) -> bool {
        !self.is_idle() && (self.queues.contains_key(&client) || self.conflicts(scope))
    }

    /// Whether something that runs now would get in front of a transaction other than `except` that holds one of its keys.
    /// Those that only wait for the key have seen nothing of it yet and do not mind.
    pub fn conflicts_with_holders(&self, scope: &Scope, except: Option<Number>) -> bool {
        let against = |key: Fingerprint, mode: Mode| {
            self.queues.get(&key).is_some_and(|queue| {
                !queue.modes.admit(mode)
                    && queue.places.iter().any(|place| {
                        Some(place.number) != except
                            && !compatible(place.mode, mode)
                            && self.is_granted(place.number)
                    })
            })
        };
        !self.is_idle() && scope.wanted().iter().any(|(key, mode)| against(*key, *mode))
    }

    /// Whether a transaction other than `except` holds the key, by any intent. Those that only wait for it have seen nothing of it.
    pub fn is_held(&self, key: Fingerprint, except: Option<Number>) -> bool {
        let holds = |queue: Fingerprint| {
            self.queues.get(&queue).is_some_and(|queue| {
                queue.places.iter().any(|place| {
                    matches!(place.mode, Mode::Read | Mode::Write)
                        && Some(place.number) != except
                        && self.is_granted(place.number)
                })
            })
        };
        holds(key) || holds(WHOLE)
    }

    /// Puts the transaction `number` into its queues.
    pub fn request(&mut self, number: Number, scope: &Scope) -> Answer {
        self.enqueue(number, scope.wanted())
    }

    /// As `request`, behind what the same client has waiting.
    pub fn request_in_order(&mut self, number: Number, scope: &Scope, client: Fingerprint) -> Answer {
        let mut wanted = scope.wanted();
        wanted.push((client, Mode::Write));
        self.enqueue(number, wanted)
    }

    fn enqueue(&mut self, number: Number, wanted: Wanted) -> Answer {
        assert!(!self.holders.contains_key(&number), "transaction {number} asked twice");
        for (key, mode) in &wanted {
            let Some(queue) = self.queues.get(key) else { continue };
            for place in queue.places.iter().rev().take_while(|place| place.number > number) {
                if !compatible(place.mode, *mode) && self.is_granted(place.number) {
                    return Answer::Refused;
                }
            }
        }
        self.take_places(number, wanted);
        if self.is_granted(number) {
            Answer::Granted
        } else {
            Answer::Waiting
        }
    }

    fn take_places(&mut self, number: Number, wanted: Wanted) {
        let Locks { queues, holders } = self;
        let mut waiting = 0;
        for (key, mode) in &wanted {
            // Later ones that conflict lose the place that they had not used yet.
            let free = queues.entry(*key).or_default().insert(number, *mode, |loser| {
                if let Some(holder) = holders.get_mut(&loser) {
                    holder.waiting += 1;
                }
            });
            waiting += usize::from(!free);
        }
        self.holders.insert(number, Holder { queues: wanted, waiting, keeps: false });
    }

    /// Whether it may have run: nobody may get in front of it.
    fn is_granted(&self, number: Number) -> bool {
        self.holders.get(&number).is_some_and(|holder| holder.waiting == 0 || holder.keeps)
    }

    /// The transaction `number`, which holds all that it wanted, holds this too. It conflicts with nobody (`conflicts`).
    pub fn extend(&mut self, number: Number, scope: &Scope) {
        let Some(holder) = self.holders.get_mut(&number) else { return };
        for (key, mode) in scope.wanted() {
            let queue = self.queues.entry(key).or_default();
            match holder.queues.iter_mut().find(|(held, _)| *held == key) {
                Some((_, held)) => {
                    let both = joined(*held, mode);
                    queue.change(number, both);
                    *held = both;
                }
                None => {
                    let is_free = queue.insert(number, mode, |_| {});
                    debug_assert!(is_free, "what a holder takes in addition was free");
                    holder.queues.push((key, mode));
                }
            }
        }
    }

    /// The transaction `old`, which has run, goes on as `new`, whose number was drawn for that, and wants the whole keyspace here for
    /// itself. It keeps what it holds. Of those that wait, the ones with smaller numbers are displaced, because it
    /// would wait for them, and they for it.
    pub fn strengthen(&mut self, old: Number, new: Number) -> Strengthened {
        let mut numbers: Vec<Number> = self.holders.keys().copied().filter(|number| *number != old).collect();
        numbers.sort_unstable();
        let (holding, waiting): (Vec<_>, Vec<_>) =
            numbers.into_iter().partition(|number| self.is_granted(*number));
        // It would have to wait for a larger number.
        let is_late = holding.last().is_some_and(|number| *number > new);
        let (early, late): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|number| *number < new);
        let displaced = early
            .into_iter()
            .filter_map(|number| Some(Displaced { number, wanted: self.withdraw(number)? }))
            .collect();
        let mut wanted = self.holders.get(&old).map(|holder| holder.queues.clone()).unwrap_or_default();
        if !is_late {
            wanted.retain(|(key, _)| *key != WHOLE);
            wanted.push((WHOLE, Mode::Write));
        }
        // First the new places, then the old ones: nobody is let in between.
        self.take_places(new, wanted);
        self.withdraw(old);
        let has_all = self.is_granted(new);
        debug_assert!(has_all || !is_late, "it has what it had");
        let answer = match (is_late, has_all) {
            (true, _) => Answer::Refused,
            (false, true) => Answer::Granted,
            (false, false) => Answer::Waiting,
        };
        if let Some(holder) = self.holders.get_mut(&new) {
            holder.keeps = true;
        }
        let granted = late.into_iter().filter(|number| self.is_granted(*number)).collect();
        Strengthened { answer, displaced, granted }
    }

    /// A displaced transaction waits again, under another number.
    pub fn wait_again(&mut self, number: Number, displaced: Displaced) -> Answer {
        self.enqueue(number, displaced.wanted)
    }

    /// As `release`, but those that now hold all that they wanted are for the caller to find.
    fn withdraw(&mut self, number: Number) -> Option<Wanted> {
        let gone = self.holders.remove(&number)?;
        let Locks { queues, holders } = self;
        for (key, _) in &gone.queues {
            let Some(queue) = queues.get_mut(key) else { continue };
            queue.remove(number, |winner| {
                if let Some(waiter) = holders.get_mut(&winner) {
                    waiter.waiting -= 1;
                }
            });
            if queue.places.is_empty() {
                queues.remove(key);
            }
        }
        Some(gone.queues)
    }

    /// Removes the transaction, held or waiting (unknown: nothing), and adds those that now hold all that they wanted
    /// to `granted`, in number order.
    pub fn release(&mut self, number: Number, granted: &mut Vec<Number>) {
        let Locks { queues, holders } = self;
        let Some(holder) = holders.remove(&number) else { return };
        let first = granted.len();
        for (key, _) in &holder.queues {
            let Some(queue) = queues.get_mut(key) else { continue };
            queue.remove(number, |winner| {
                if let Some(waiter) = holders.get_mut(&winner) {
                    waiter.waiting -= 1;
                    if waiter.waiting == 0 {
                        granted.push(winner);
                    }
                }
            });
            if queue.places.is_empty() {
                queues.remove(key);
            }
        }
        granted[first..].sort_unstable();
    }

    /// Whether somebody has, or waits for, the whole keyspace for himself.
    pub fn is_wanted_whole(&self) -> bool {
        !self.is_idle()
            && self.queues.get(&WHOLE).is_some_and(|queue| queue.modes.0[Mode::Write as usize] > 0)
    }

    pub fn active(&self) -> usize {
        self.holders.len()
    }
}

#[cfg(test)]
#[path = "locks_tests.rs"]
mod tests;
