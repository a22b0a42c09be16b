//! What a coordinator knows of one transaction: which intents it has asked for and holds, and which answers it waits for. Without I/O:
//! events go in, and what is to be sent comes out. The shard carries it out; the simulation does so too.
//!
//! | state | event | what follows |
//! | --- | --- | --- |
//! | nothing | `request` | each participant gets Lock, or Strengthen where it keeps what it has |
//! | locking | `locked`, granted | wait; when it was the last: the transaction takes place |
//! | locking | `locked`, refused | give back, and request again by a larger number |
//! | locking | `locked` of another number | nothing: it answers a request that has been given back |
//! | holds all | `send` | one step on one shard; its last step there gives the intents back |
//! | step | `answered` | wait; when it was the last: the next step |
//! | holds all | `hold_also`, `request` | locking, and it keeps what it holds meanwhile |
//! | the end | `unreleased` | each that still holds intents gets Release |

use smallvec::SmallVec;

use super::locks::{Fingerprint, Number, Scope};
use super::message::Writers;
use super::plan::Scopes;
use crate::command::table::KeyAccess;

#[derive(Debug)]
struct Participant {
    shard: usize,
    scope: Scope,
    /// Its Locked has not come yet.
    awaited: bool,
    /// Its intents have been given back, with its last step.
    released: bool,
    /// The transaction has run there already, and keeps what it holds while it waits for more.
    kept: bool,
}

/// What a participant is asked for.
#[derive(Debug)]
pub enum Request {
    Lock(Scope),
    /// What it holds by this number it is to hold by the new one, and everything else too.
    Strengthen(Number),
}

/// What a Locked means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locked {
    /// It answers a request that has been given back.
    Stale,
    /// Others have not answered.
    Waiting,
    Refused,
    /// All intents are held: this is where the transaction takes place.
    Holds {
        /// It had run before, and kept what it held.
        reached_further: bool,
    },
}

pub type Shards = SmallVec<[usize; 4]>;

#[derive(Debug)]
pub struct Coordination {
    number: Number,
    participants: SmallVec<[Participant; 4]>,
    /// When the first of the watched keys expires that were there when they were locked, Unix milliseconds.
    watch_until_ms: i64,
    /// Answers that the step in progress still waits for.
    outstanding: usize,
    /// How many steps it has taken.
    steps: u32,
}

fn participants(scopes: Scopes) -> SmallVec<[Participant; 4]> {
    let participant =
        |(shard, scope)| Participant { shard, scope, awaited: false, released: false, kept: false };
    scopes.by_shard.into_iter().map(participant).collect()
}

impl Coordination {
    /// One that has asked for nothing yet.
    pub fn new(scopes: Scopes) -> Coordination {
        Coordination {
            number: 0,
            participants: participants(scopes),
            watch_until_ms: i64::MAX,
            outstanding: 0,
            steps: 0,
        }
    }

    /// One that holds its intents, or waits for them, by `number` already.
    pub fn adopt(&mut self, number: Number) {
        self.number = number;
    }

    pub fn number(&self) -> Number {
        self.number
    }

    pub fn watch_until_ms(&self) -> i64 {
        self.watch_until_ms
    }

    pub fn has_participants(&self) -> bool {
        !self.participants.is_empty()
    }

    pub fn shards(&self) -> Shards {
        self.participants.iter().map(|participant| participant.shard).collect()
    }

    pub fn has(&self, shard: usize) -> bool {
        self.participants.iter().any(|participant| participant.shard == shard)
    }

    /// Whether it holds all keys of all of `shards`, for this.
    pub fn covers_whole(&self, mut shards: std::ops::Range<usize>, access: KeyAccess) -> bool {
        let holds = |shard| self.scopes_at(shard).any(|scope| scope.covers_whole(access));
        shards.all(holds)
    }

    /// Whether it holds this key of `shard`, for this.
    pub fn covers(&self, shard: usize, key: Fingerprint, access: KeyAccess) -> bool {
        self.scopes_at(shard).any(|scope| scope.covers(key, access))
    }

    fn scopes_at(&self, shard: usize) -> impl Iterator<Item = &Scope> {
        self.participants.iter().filter(move |p| p.shard == shard).map(|p| &p.scope)
    }

    /// The shards that may change something.
    pub fn writers(&self) -> Writers {
        self.participants.iter().filter(|p| p.scope.writes()).map(|p| p.shard as u16).collect()
    }

    /// It is to hold these intents, in place of those that it held.
    pub fn hold(&mut self, scopes: Scopes) {
        self.participants = participants(scopes);
    }

    /// It is to hold these intents too; it keeps those that it holds.
    pub fn hold_also(&mut self, scopes: Scopes) {
        let held = std::mem::replace(&mut self.participants, participants(scopes));
        for participant in &mut self.participants {
            participant.kept = held.iter().any(|held| held.shard == participant.shard);
        }
    }

    /// Asks for all intents, by a new number: what is to be sent to which shard.
    pub fn request(&mut self, number: Number) -> SmallVec<[(usize, Request); 4]> {
        let old = std::mem::replace(&mut self.number, number);
        self.watch_until_ms = i64::MAX;
        let request = |participant: &mut Participant| {
            participant.awaited = true;
            let request = match participant.kept {
                true => Request::Strengthen(old),
                false => Request::Lock(participant.scope.clone()),
            };
            (participant.shard, request)
        };
        self.participants.iter_mut().map(request).collect()
    }

    /// It waits at `shard` behind others, without having been sent there.
    pub fn await_lock(&mut self, shard: usize) {
        self.participants.iter_mut().filter(|p| p.shard == shard).for_each(|p| p.awaited = true);
    }

    /// A participant has answered a request by `number`. `watch_until_ms`: when the first of the keys expires that are watched there;
    /// `None`: it is not granted.
    pub fn locked(&mut self, from: usize, number: Number, watch_until_ms: Option<i64>) -> Locked {
        if number != self.number {
            return Locked::Stale;
        }
        let Some(watch_until_ms) = watch_until_ms else { return Locked::Refused };
        self.watch_until_ms = self.watch_until_ms.min(watch_until_ms);
        if let Some(participant) = self.participants.iter_mut().find(|p| p.shard == from) {
            debug_assert!(participant.awaited, "a participant has answered twice");
            participant.awaited = false;
        }
        if self.participants.iter().any(|participant| participant.awaited) {
            return Locked::Waiting;
        }
        let reached_further = self.participants.iter().any(|participant| participant.kept);
        self.participants.iter_mut().for_each(|participant| participant.kept = false);
        Locked::Holds { reached_further }
    }

    /// The shards whose intents are given back before it has run, or before a new request. What it keeps it does not give back.
    pub fn give_back(&self) -> Shards {
        self.participants.iter().filter(|p| !p.kept && !p.released).map(|p| p.shard).collect()
    }

    /// A step goes to `shard`, which is to answer. Whether the intents there end with it: it is the last one, and they are there.
    pub fn send(&mut self, shard: usize, is_last: bool) -> bool {
        // What goes out together is one step.
        self.steps += u32::from(self.outstanding == 0);
        self.outstanding += 1;
        match self.participants.iter_mut().find(|p| p.shard == shard) {
            Some(participant) if is_last => {
                participant.released = true;
                true
            }
            _ => false,
        }
    }

    /// The number of the step that has been sent last.
    pub fn step(&self) -> u32 {
        self.steps
    }

    /// A step that the coordinator takes at once, on its own shard. Its number.
    pub fn step_here(&mut self) -> u32 {
        self.steps += 1;
        self.steps
    }

    /// Something answers later that was not sent as a step.
    pub fn begin_waiting(&mut self) {
        self.outstanding += 1;
    }

    /// An answer has come.
    pub fn answered(&mut self) {
        debug_assert!(self.outstanding > 0, "nothing was asked");
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    pub fn is_waiting(&self) -> bool {
        self.outstanding > 0
    }

    /// The shards that hold intents of it at its end.
    pub fn unreleased(&self) -> Shards {
        self.participants.iter().filter(|p| !p.released).map(|p| p.shard).collect()
    }

    pub fn participants(&self) -> usize {
        self.participants.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(shards: &[usize]) -> Scopes {
        let mut scopes = Scopes::default();
        shards.iter().for_each(|shard| scopes.add_key(*shard, b"k", KeyAccess::Write));
        scopes
    }

    #[test]
    fn it_takes_place_when_the_last_has_granted() {
        let mut t = Coordination::new(on(&[0, 2]));
        assert_eq!(t.request(7).iter().map(|(shard, _)| *shard).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(t.locked(2, 6, Some(9)), Locked::Stale);
        assert_eq!(t.locked(2, 7, Some(9)), Locked::Waiting);
        assert_eq!(t.locked(0, 7, Some(12)), Locked::Holds { reached_further: false });
        assert_eq!(t.watch_until_ms(), 9);
    }

    #[test]
    fn a_refusal_is_followed_by_a_request_of_all_and_old_answers_are_stale() {
        let mut t = Coordination::new(on(&[0, 1]));
        t.request(7);
        assert_eq!(t.locked(0, 7, None), Locked::Refused);
        assert_eq!(t.give_back()[..], [0, 1]);
        assert_eq!(t.request(8).len(), 2);
        assert_eq!(t.locked(1, 7, Some(0)), Locked::Stale, "it was granted by the number that is given back");
        assert_eq!(t.locked(1, 8, Some(i64::MAX)), Locked::Waiting);
        assert_eq!(t.locked(0, 8, Some(i64::MAX)), Locked::Holds { reached_further: false });
    }

    #[test]
    fn what_it_keeps_is_strengthened_and_not_given_back() {
        let mut t = Coordination::new(on(&[1]));
        t.request(3);
        t.locked(1, 3, Some(i64::MAX));
        let mut everything = Scopes::default();
        everything.add_whole(0..3, KeyAccess::Write);
        t.hold_also(everything);
        let requests = t.request(5);
        assert!(matches!(requests[1], (1, Request::Strengthen(3))), "{requests:?}");
        assert!(matches!((&requests[0].1, &requests[2].1), (Request::Lock(_), Request::Lock(_))));
        assert_eq!(t.give_back()[..], [0, 2]);
        assert_eq!(t.locked(0, 5, Some(i64::MAX)), Locked::Waiting);
        assert_eq!(t.locked(1, 5, Some(i64::MAX)), Locked::Waiting);
        assert_eq!(t.locked(2, 5, Some(i64::MAX)), Locked::Holds { reached_further: true });
        assert!(t.covers_whole(0..3, KeyAccess::Write) && t.covers(2, 77, KeyAccess::Read));
    }

    #[test]
    fn intents_end_with_the_last_step_or_at_the_end() {
        let mut t = Coordination::new(on(&[0, 1]));
        assert!(!t.send(0, false) && t.step() == 1);
        assert!(t.send(1, true) && t.step() == 1, "what goes out together is one step");
        t.answered();
        assert!(t.is_waiting());
        t.answered();
        assert!(!t.is_waiting());
        assert!(!t.send(5, true), "it holds nothing there");
        assert_eq!(t.step(), 2);
        assert_eq!(t.unreleased()[..], [0]);
    }
}
