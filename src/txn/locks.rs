//! Intents: which transactions want which keys of one shard, and in what order they get them.
//!
//! One queue for each key that has an intent, in the order of transaction numbers, plus one queue that
//! stands for the shard's whole keyspace. Keys are known by a fingerprint: two keys with the same one wait for each
//! other needlessly, and nothing worse. While no transaction is active all of it is empty, and a
//! command finds that out with one comparison. `transactions.md` tells the protocol.

use std::collections::HashMap;

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
    queues: HashMap<Fingerprint, Vec<Place>, RandomState>,
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
            self.queues.get(&key).is_some_and(|queue| queue.iter().any(|place| !compatible(place.mode, mode)))
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
                queue.iter().any(|place| {
                    Some(place.number) != except
                        && !compatible(place.mode, mode)
                        && self.is_granted(place.number)
                })
            })
        };
        !self.is_idle() && scope.wanted().iter().any(|(key, mode)| against(*key, *mode))
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
            for place in queue.iter().rev().take_while(|place| place.number > number) {
                if !compatible(place.mode, *mode) && self.is_granted(place.number) {
                    return Answer::Refused;
                }
            }
        }
        let mut waiting = 0;
        for (key, mode) in &wanted {
            let queue = self.queues.entry(*key).or_default();
            let at = queue.iter().rposition(|place| place.number < number).map_or(0, |last| last + 1);
            let free = queue[..at].iter().all(|place| compatible(place.mode, *mode));
            waiting += usize::from(!free);
            // Later ones that conflict lose the place that they had not used yet.
            for place in &mut queue[at..] {
                if place.free && !compatible(place.mode, *mode) {
                    place.free = false;
                    if let Some(holder) = self.holders.get_mut(&place.number) {
                        holder.waiting += 1;
                    }
                }
            }
            queue.insert(at, Place { number, mode: *mode, free });
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
        let Some(holder) = self.holders.remove(&number) else { return };
        let first = granted.len();
        for (key, _) in &holder.queues {
            let Some(queue) = self.queues.get_mut(key) else { continue };
            queue.retain(|place| place.number != number);
            if queue.is_empty() {
                self.queues.remove(key);
                continue;
            }
            for at in 0..queue.len() {
                if queue[at].free {
                    continue;
                }
                let mode = queue[at].mode;
                if queue[..at].iter().all(|place| compatible(place.mode, mode)) {
                    queue[at].free = true;
                    if let Some(waiter) = self.holders.get_mut(&queue[at].number) {
                        waiter.waiting -= 1;
                        if waiter.waiting == 0 {
                            granted.push(queue[at].number);
                        }
                    }
                }
            }
        }
        granted[first..].sort_unstable();
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
}
