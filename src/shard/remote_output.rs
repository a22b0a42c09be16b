//! Requests of other shards' connections that do not run at once, and the bound of a client's unsent output where other shards run requests
//! of it.
//!
//! Requests of other shards run as they come, until those of one shard have had their share of the turn. The rest is set aside, connection
//! by connection, and each goes on with a share of its own in the next turns: who pipelines slow commands on keys of another shard
//! holds up nobody there either.
//!
//! A connection takes no more input when it has too much unsent output (`Suspension::Output`). But up to `PLACES_MAX` of its requests may be on their
//! way to other shards by then, and nobody knows how long the replies will be. So the connection's shard has the others hold them back:
//! they are set aside, and run when the peer has taken what there is. One of them is always allowed, when
//! there is room for it: the one whose reply all others wait behind.
//!
//! ```text
//!   Free --(more than the bound)--> Held(place) --(less than half of it)--> Free
//!                                    | ^
//!                                    +-+ (its output is taken: the next place is allowed)
//!   either --(closed for its output)--> what is set aside is dropped
//! ```
//!
//! That word overtakes the requests that are queued between the shards, by mail. And a shard runs no more requests of another one that
//! does not take in the replies.

use crate::shard::message::ConnectionMessage;
use crate::shard::turn::TurnState;
use std::collections::{HashMap, VecDeque};

use super::Shard;
use crate::base::Token;
use crate::client::{Connection, RemoteRequests};
use crate::txn::message::{BatchedRequest, OwnedArgs};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    All,
    UpTo(u32),
    /// The connection has ended.
    None,
}

impl Allowed {
    /// Numbers of places wrap around.
    fn has(self, place: u32) -> bool {
        match self {
            Allowed::All => true,
            Allowed::UpTo(to) => to.wrapping_sub(place) as i32 >= 0,
            Allowed::None => false,
        }
    }
}

/// A shard and a connection of it.
pub type Client = (usize, Token);

/// What a connection has waiting here.
#[derive(Debug)]
struct Waiting {
    allowed: Allowed,
    requests: VecDeque<(BatchedRequest, OwnedArgs)>,
    /// It has a turn to come.
    is_due: bool,
}

#[derive(Debug, Default)]
pub(super) struct DeferredRequests {
    clients: HashMap<Client, Waiting, foldhash::fast::RandomState>,
    due: VecDeque<Client>,
}

impl DeferredRequests {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    fn of(&mut self, client: Client) -> &mut Waiting {
        let new = || Waiting { allowed: Allowed::All, requests: VecDeque::new(), is_due: false };
        self.clients.entry(client).or_insert_with(new)
    }

    /// Has a connection that has something to run run it.
    fn schedule(&mut self, client: Client) {
        let Some(waiting) = self.clients.get_mut(&client) else { return };
        match waiting.requests.front() {
            None if waiting.allowed == Allowed::All => drop(self.clients.remove(&client)),
            Some((request, _)) if waiting.allowed.has(request.origin.place) && !waiting.is_due => {
                waiting.is_due = true;
                self.due.push_back(client);
            }
            _ => {}
        }
    }

    pub fn forget(&mut self, client: Client) {
        self.clients.remove(&client);
    }

    pub fn allow(&mut self, client: Client, allowed: Allowed) {
        let waiting = self.of(client);
        waiting.allowed = allowed;
        if allowed == Allowed::None {
            waiting.requests = VecDeque::new();
        }
        self.schedule(client);
    }

    /// Sets a request aside that must wait: because others of its connection do, because they are held back, or if `is_over`.
    /// False: it may run now.
    pub fn take_in(&mut self, home: usize, request: &BatchedRequest, args: &[&[u8]], is_over: bool) -> bool {
        let client = (home, request.origin.client);
        match self.clients.get(&client) {
            None if !is_over => return false,
            Some(waiting) => {
                let may_run = waiting.requests.is_empty() && waiting.allowed.has(request.origin.place);
                if may_run && !is_over {
                    return false;
                }
                if waiting.allowed == Allowed::None {
                    return true;
                }
            }
            None => {}
        }
        self.of(client).requests.push_back((*request, OwnedArgs::from_slices(args)));
        self.schedule(client);
        true
    }

    /// The next request of a connection that is allowed.
    pub fn next(&mut self, client: Client) -> Option<(BatchedRequest, OwnedArgs)> {
        let waiting = self.clients.get_mut(&client)?;
        let allowed = waiting.allowed;
        let is_allowed = allowed.has(waiting.requests.front()?.0.origin.place);
        is_allowed.then(|| waiting.requests.pop_front()).flatten()
    }

    /// The connection whose turn it is; it is scheduled again by `end_turn`.
    pub fn begin_turn(&mut self) -> Option<Client> {
        let client = self.due.pop_front()?;
        if let Some(waiting) = self.clients.get_mut(&client) {
            waiting.is_due = false;
        }
        Some(client)
    }

    pub fn end_turn(&mut self, client: Client) {
        self.schedule(client);
    }

    pub fn due(&self) -> usize {
        self.due.len()
    }
}

// The connection's shard.
impl TurnState {
    /// To be called when a connection has, or had, more unsent output than `bound`.
    pub(super) fn bound_remote_output(&self, c: &mut Connection, bound: usize) {
        let (unsent, first) = (c.unsent_bytes(), c.pipeline.first_waiting());
        let has_room = c.output.pending_bytes() < bound / 2;
        let next = match (c.remote_requests, first) {
            (RemoteRequests::Free, Some(first)) if unsent > bound => {
                RemoteRequests::Held(if has_room { first } else { first.wrapping_sub(1) })
            }
            (RemoteRequests::Held(_), None) => RemoteRequests::Free,
            (RemoteRequests::Held(_), Some(_)) if unsent < bound / 2 => RemoteRequests::Free,
            (RemoteRequests::Held(_), Some(first)) if has_room => RemoteRequests::Held(first),
            (same, _) => same,
        };
        if next != c.remote_requests {
            c.remote_requests = next;
            let allowed = match next {
                RemoteRequests::Free => Allowed::All,
                RemoteRequests::Held(place) => Allowed::UpTo(place),
            };
            self.allow_remote_requests(c.token, allowed);
        }
    }

    fn allow_remote_requests(&self, token: Token, allowed: Allowed) {
        let client = (self.id, token);
        for shard in self.slots.others(self.id) {
            let allow = ConnectionMessage::AllowRemoteRequests { client, allowed };
            self.shared.thread_inbox.post(shard, allow.into());
        }
    }
}

impl Shard {
    /// The connection ends, and nobody will hear what its requests would be answered.
    pub(super) fn drop_remote_requests(&mut self, c: &mut Connection) {
        c.remote_requests = RemoteRequests::Free;
        let client = (self.id, c.token);
        self.turn.allow_remote_requests(c.token, Allowed::None);
        // Comes behind all of its requests.
        let home = self.id;
        for shard in self.turn.slots.others(home) {
            self.send(shard, ConnectionMessage::ForgetRemoteRequests(client).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::Names;
    use crate::command::Caller;
    use crate::resp::Protocol;
    use crate::txn::message::Origin;

    const TOKEN: Token = Token { index: 7, generation: 1 };
    const CLIENT: Client = (1, TOKEN);

    fn request(place: u32) -> BatchedRequest {
        let spec = Names::new().resolve(&[&b"get"[..], b"key"]).unwrap();
        let (origin, caller) = (Origin { client: TOKEN, place }, Caller::default());
        BatchedRequest { origin, spec, db: 0, caller, protocol: Protocol::Resp2, argument_count: 2 }
    }

    fn take_in(deferred: &mut DeferredRequests, place: u32, is_over: bool) -> bool {
        deferred.take_in(1, &request(place), &[&b"get"[..], b"key"], is_over)
    }

    /// The places that run when each connection has its turn.
    fn turn(deferred: &mut DeferredRequests) -> Vec<u32> {
        let mut places = Vec::new();
        for _ in 0..deferred.due() {
            let client = deferred.begin_turn().unwrap();
            while let Some((request, _)) = deferred.next(client) {
                places.push(request.origin.place);
            }
            deferred.end_turn(client);
        }
        places
    }

    #[test]
    fn requests_wait_behind_those_of_their_connection_and_run_in_order() {
        let mut deferred = DeferredRequests::default();
        assert!(!take_in(&mut deferred, 1, false));
        assert!(take_in(&mut deferred, 2, true));
        assert!(take_in(&mut deferred, 3, false), "it overtakes none");
        assert_eq!(turn(&mut deferred), [2, 3]);
        assert!(deferred.is_empty() && deferred.due() == 0);
    }

    #[test]
    fn what_is_held_back_runs_when_it_is_allowed_also_where_numbers_wrap_around() {
        let mut deferred = DeferredRequests::default();
        deferred.allow(CLIENT, Allowed::UpTo(u32::MAX));
        assert!(!take_in(&mut deferred, u32::MAX, false));
        for place in 0..3 {
            assert!(take_in(&mut deferred, place, false));
        }
        assert!(turn(&mut deferred).is_empty());
        deferred.allow(CLIENT, Allowed::UpTo(1));
        assert_eq!(turn(&mut deferred), [0, 1]);
        deferred.allow(CLIENT, Allowed::All);
        assert_eq!(turn(&mut deferred), [2]);
        assert!(deferred.is_empty());
    }

    #[test]
    fn nothing_runs_for_a_connection_that_has_ended() {
        let mut deferred = DeferredRequests::default();
        assert!(take_in(&mut deferred, 1, true));
        deferred.allow(CLIENT, Allowed::None);
        assert!(take_in(&mut deferred, 2, false), "it is dropped");
        assert!(turn(&mut deferred).is_empty());
    }
}
