//! Intents: which transactions want which keys of one shard, and in what order they get them.
//!
//! One queue for each key that has an intent, in the order of transaction numbers, plus one queue that
//! stands for the shard's whole keyspace. Keys are known by a fingerprint: two keys with the same one wait for each
//! other needlessly, and nothing worse. While no transaction is active all of it is empty, and a
//! command finds that out with one comparison. `transactions.md` tells the protocol.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::command::table::KeyAccess;
use crate::runtime::ring::Token;

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

fn stronger(a: Mode, b: Mode) -> Mode {
    if a == Mode::Write || b == Mode::Write {
        Mode::Write
    } else {
        a
    }
}

#[derive(Clone, Copy, Debug)]
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

impl Scope {
    /// Whether any of it is to be changed.
    pub fn writes(&self) -> bool {
        match self {
            Scope::Whole(access) => *access == KeyAccess::Write,
            Scope::Keys(intents) => intents.iter().any(|intent| intent.access == KeyAccess::Write),
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
struct Place {
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
    places: VecDeque<Place>,
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
        self.places.insert(at, Place { number, mode, free });
        self.modes.0[mode as usize] += 1;
        self.blocked += usize::from(!free);
        free
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
        self.holders.insert(number, Holder { queues: wanted, waiting });
        if waiting == 0 {
            Answer::Granted
        } else {
            Answer::Waiting
        }
    }

    fn is_granted(&self, number: Number) -> bool {
        self.holders.get(&number).is_some_and(|holder| holder.waiting == 0)
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
mod tests {
    use super::*;

    fn keys(list: &[(u64, KeyAccess)]) -> Scope {
        Scope::Keys(list.iter().map(|(key, access)| Intent { key: *key, access: *access }).collect())
    }
    use KeyAccess::{Read, Write};

    fn release(locks: &mut Locks, number: Number) -> Vec<Number> {
        let mut granted = Vec::new();
        locks.release(number, &mut granted);
        granted
    }

    #[test]
    fn reads_share_and_writes_exclude() {
        let mut locks = Locks::default();
        assert_eq!(locks.request(1, &keys(&[(7, Read)])), Answer::Granted);
        assert_eq!(locks.request(2, &keys(&[(7, Read), (8, Write)])), Answer::Granted);
        assert_eq!(locks.request(3, &keys(&[(7, Write)])), Answer::Waiting);
        assert_eq!(
            locks.request(4, &keys(&[(7, Read)])),
            Answer::Waiting,
            "a reader does not overtake a waiting writer"
        );
        assert!(release(&mut locks, 1).is_empty());
        assert_eq!(release(&mut locks, 2), [3]);
        assert_eq!(release(&mut locks, 3), [4]);
        assert!(release(&mut locks, 4).is_empty() && locks.is_idle());
    }

    #[test]
    fn a_late_smaller_number_goes_before_waiters_but_not_before_holders() {
        let mut locks = Locks::default();
        assert_eq!(locks.request(5, &keys(&[(1, Write)])), Answer::Granted);
        assert_eq!(locks.request(9, &keys(&[(1, Write)])), Answer::Waiting);
        assert_eq!(locks.request(7, &keys(&[(1, Write)])), Answer::Waiting);
        assert_eq!(locks.request(3, &keys(&[(1, Write)])), Answer::Refused);
        assert_eq!(release(&mut locks, 5), [7]);
        assert_eq!(release(&mut locks, 7), [9]);
    }

    #[test]
    fn a_place_that_was_free_but_unused_is_lost_to_a_smaller_number() {
        let mut locks = Locks::default();
        assert_eq!(locks.request(5, &keys(&[(1, Write)])), Answer::Granted);
        // Free on key 2, waiting on key 1.
        assert_eq!(locks.request(9, &keys(&[(1, Write), (2, Write)])), Answer::Waiting);
        assert_eq!(locks.request(7, &keys(&[(2, Write)])), Answer::Granted);
        assert!(release(&mut locks, 5).is_empty(), "9 still waits for 7 on key 2");
        assert_eq!(release(&mut locks, 7), [9]);
    }

    #[test]
    fn whole_keyspace_intents_exclude_conflicting_keys() {
        let mut locks = Locks::default();
        assert_eq!(locks.request(1, &keys(&[(4, Write)])), Answer::Granted);
        assert_eq!(locks.request(2, &Scope::Whole(Read)), Answer::Waiting);
        assert!(locks.conflicts(&keys(&[(9, Write)])), "a write does not overtake the waiting whole read");
        assert!(!locks.conflicts(&keys(&[(9, Read)])));
        assert_eq!(release(&mut locks, 1), [2]);
        assert_eq!(locks.request(3, &keys(&[(4, Read)])), Answer::Granted);
        assert_eq!(locks.request(4, &Scope::Whole(Write)), Answer::Waiting);
        assert!(locks.conflicts(&keys(&[(9, Read)])));
        release(&mut locks, 2);
        assert_eq!(release(&mut locks, 3), [4]);
    }

    #[test]
    fn what_runs_for_a_holder_overtakes_those_who_wait_but_no_other_holder() {
        let mut locks = Locks::default();
        assert_eq!(locks.request(1, &keys(&[(4, Write)])), Answer::Granted);
        assert_eq!(locks.request(2, &keys(&[(4, Write), (5, Write)])), Answer::Waiting);
        assert_eq!(locks.request(3, &keys(&[(6, Read)])), Answer::Granted);
        assert!(!locks.conflicts_with_holders(&keys(&[(4, Write), (5, Write)]), Some(1)));
        assert!(locks.conflicts_with_holders(&keys(&[(4, Write)]), None));
        assert!(locks.conflicts_with_holders(&keys(&[(4, Write), (6, Write)]), Some(1)));
        assert!(!locks.conflicts_with_holders(&keys(&[(6, Read)]), None));
    }

    #[test]
    fn what_one_client_has_waiting_keeps_its_order_and_nobody_elses() {
        let client = |index| fingerprint_of_client(1, Token { index, generation: 3 });
        let mut locks = Locks::default();
        assert!(!locks.conflicts_in_order(&keys(&[(4, Write)]), client(1)));
        assert_eq!(locks.request(1, &keys(&[(4, Write)])), Answer::Granted);
        assert!(locks.conflicts_in_order(&keys(&[(4, Read)]), client(1)));
        assert!(!locks.conflicts_in_order(&keys(&[(5, Read)]), client(1)), "nothing of it waits");
        assert_eq!(locks.request_in_order(2, &keys(&[(4, Read)]), client(1)), Answer::Waiting);
        assert!(locks.conflicts_in_order(&keys(&[(5, Read)]), client(1)));
        assert!(!locks.conflicts_in_order(&keys(&[(5, Read)]), client(2)));
        assert!(!locks.conflicts(&keys(&[(5, Read)])));
        assert_eq!(locks.request_in_order(3, &keys(&[(5, Read)]), client(1)), Answer::Waiting);
        assert_eq!(release(&mut locks, 1), [2]);
        assert_eq!(release(&mut locks, 2), [3]);
        assert!(release(&mut locks, 3).is_empty() && locks.is_idle());
    }

    #[test]
    fn a_key_wanted_twice_is_one_intent_of_the_stronger_kind() {
        let mut locks = Locks::default();
        assert_eq!(locks.request(1, &keys(&[(4, Read), (4, Write), (4, Read)])), Answer::Granted);
        assert!(locks.conflicts(&keys(&[(4, Read)])));
        release(&mut locks, 1);
        assert!(locks.is_idle());
    }

    #[test]
    fn whatever_comes_and_goes_holders_exclude_each_other_and_the_first_in_each_queue_get_on() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let (mut locks, mut active, mut unused) =
            (Locks::default(), Vec::<(Number, Scope)>::new(), Vec::new());
        let (mut refused, mut granted_late) = (0, 0);
        for step in 1..20_000 {
            // Numbers are drawn in order and come in any.
            unused.push(step);
            if random(3) > 0 || active.is_empty() {
                let number = unused.swap_remove(random(unused.len() as u64) as usize);
                let access = |bit: u64| if bit == 0 { Read } else { Write };
                let scope = if random(20) == 0 {
                    Scope::Whole(access(random(2)))
                } else {
                    let list: Vec<_> = (0..=random(3)).map(|_| (random(6) + 1, access(random(2)))).collect();
                    keys(&list)
                };
                let later_holders: Vec<Number> =
                    active.iter().map(|(n, _)| *n).filter(|n| *n > number && locks.is_granted(*n)).collect();
                match locks.request(number, &scope) {
                    Answer::Refused => {
                        assert!(!later_holders.is_empty(), "{number} came in time");
                        refused += 1;
                    }
                    answer => {
                        assert_eq!(answer == Answer::Granted, locks.is_granted(number));
                        active.push((number, scope));
                    }
                }
                for holder in later_holders {
                    assert!(locks.is_granted(holder), "{holder} has lost what it held");
                }
            } else {
                let (number, _) = active.swap_remove(random(active.len() as u64) as usize);
                let before: Vec<Number> =
                    active.iter().map(|(n, _)| *n).filter(|n| locks.is_granted(*n)).collect();
                let now = release(&mut locks, number);
                granted_late += now.len();
                for (number, _) in &active {
                    assert_eq!(
                        locks.is_granted(*number),
                        before.contains(number) || now.contains(number),
                        "{number}"
                    );
                }
            }
            while active.len() > 40 {
                release(&mut locks, active.swap_remove(0).0);
            }
            for queue in locks.queues.values() {
                let places: Vec<&Place> = queue.places.iter().collect();
                assert!(places.is_sorted_by_key(|place| place.number));
                for (at, place) in places.iter().enumerate() {
                    let is_first = places[..at].iter().all(|other| compatible(other.mode, place.mode));
                    assert_eq!(place.free, is_first, "{places:?}");
                }
                assert_eq!(queue.blocked, places.iter().filter(|place| !place.free).count());
            }
            for (number, scope) in &active {
                let stands = scope.wanted().iter().all(|(key, _)| {
                    locks.queues[key].places.iter().any(|place| place.number == *number && place.free)
                });
                assert_eq!(locks.is_granted(*number), stands);
            }
        }
        assert!(refused > 100 && granted_late > 100, "{refused} {granted_late}");
        for (number, _) in active {
            release(&mut locks, number);
        }
        assert!(locks.is_idle() && locks.queues.is_empty());
    }
}
