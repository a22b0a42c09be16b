//! WAIT and WAITAOF: clients that wait until replicas have, or have on disk, what they wrote.
//!
//! A client waits for an offset, that of its last write, and for a number of replicas. Replicas are asked for their offsets once for
//! all clients that begin to wait in a turn ([`Waiters::take_request_for_acks`]), and each acknowledgement may release some. There are
//! never more waiters than clients.

use std::collections::BTreeMap;

use crate::command::parse::integer;
use crate::command::{Args, BlockTimeout, CommandError};
use crate::resp::Reply;

const WAIT_ON_REPLICA: &str = "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a \
     replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.";
const WAITAOF_ON_REPLICA: &str =
    "ERR WAITAOF cannot be used with replica instances. Please also note that writes to \
     replicas are just local and are not propagated.";
const NO_AOF: &str = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
/// To clients that wait when the server becomes a replica.
pub const UNBLOCKED: &str =
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// So many replicas have applied it.
    Applied { replicas: i64 },
    /// It is on so many disks: this server's own (0 or 1), and replicas'.
    Durable { local: i64, replicas: i64 },
}

/// What is known of the stream now. Of each replica that is online: up to where it has applied the stream, and up to where its log
/// is safe.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    pub replicas: &'a [Acked],
    /// This server's log is safe up to here. Without a log nothing is ever.
    pub durable: Option<u64>,
    pub is_replica: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acked {
    pub applied: u64,
    pub durable: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Applied(i64),
    Durable {
        local: i64,
        replicas: i64,
    },
    /// The log has been turned off meanwhile.
    NoAof,
}

impl Answer {
    pub fn write(self, reply: &mut Reply) {
        match self {
            Answer::Applied(replicas) => reply.integer(replicas),
            Answer::Durable { local, replicas } => {
                reply.array(2);
                reply.integer(local);
                reply.integer(replicas);
            }
            Answer::NoAof => reply.error(NO_AOF),
        }
    }
}

impl Request {
    /// From the whole command `WAIT numreplicas timeout`. `now_ms` is Unix time.
    pub fn wait(
        args: Args,
        standing: &Standing,
        now_ms: i64,
    ) -> Result<(Request, BlockTimeout), CommandError> {
        let [_, replicas, timeout] = args else { return Err(CommandError::WrongArity("wait")) };
        if standing.is_replica {
            return Err(CommandError::other(WAIT_ON_REPLICA));
        }
        let replicas = integer(replicas)?;
        let timeout = crate::command::parse::block_timeout_ms(timeout, now_ms)?;
        Ok((Request::Applied { replicas }, timeout))
    }

    /// From the whole command `WAITAOF numlocal numreplicas timeout`.
    pub fn wait_aof(
        args: Args,
        standing: &Standing,
        now_ms: i64,
    ) -> Result<(Request, BlockTimeout), CommandError> {
        let [_, local, replicas, timeout] = args else { return Err(CommandError::WrongArity("waitaof")) };
        let local = integer(local)?;
        if !(0..=1).contains(&local) {
            return Err(CommandError::other("ERR value is out of range, value must between 0 and 1"));
        }
        let replicas = integer(replicas)?;
        if replicas < 0 {
            return Err(CommandError::other("ERR value is out of range, must be positive"));
        }
        let timeout = crate::command::parse::block_timeout_ms(timeout, now_ms)?;
        if standing.is_replica {
            return Err(CommandError::other(WAITAOF_ON_REPLICA));
        }
        if local > 0 && standing.durable.is_none() {
            return Err(CommandError::other(NO_AOF));
        }
        Ok((Request::Durable { local, replicas }, timeout))
    }

    /// How it stands with `offset`, and whether that is enough.
    fn count(self, offset: u64, standing: &Standing) -> (Answer, bool) {
        let count = |has: fn(&Acked) -> u64| {
            standing.replicas.iter().filter(|acked| has(acked) >= offset).count() as i64
        };
        match self {
            Request::Applied { replicas } => {
                let applied = count(|acked| acked.applied);
                (Answer::Applied(applied), applied >= replicas)
            }
            Request::Durable { local, .. } if local > 0 && standing.durable.is_none() => {
                (Answer::NoAof, true)
            }
            Request::Durable { local, replicas } => {
                let durable = count(|acked| acked.durable);
                let own = i64::from(standing.durable.is_some_and(|own| own >= offset));
                (Answer::Durable { local: own, replicas: durable }, own >= local && durable >= replicas)
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    request: Request,
    offset: u64,
    /// Milliseconds of the clock that `expired` gets; `None`: never.
    deadline_ms: Option<u64>,
}

/// The clients that wait, by their ids.
#[derive(Debug, Default)]
pub struct Waiters {
    waiting: BTreeMap<u64, Waiter>,
    wants_acks: bool,
}

impl Waiters {
    pub fn new() -> Waiters {
        Waiters::default()
    }

    /// A client begins to wait, unless its answer is known at once. `may_block` is not so in MULTI and in scripts.
    pub fn wait(
        &mut self,
        client: u64,
        request: Request,
        offset: u64,
        deadline_ms: Option<u64>,
        standing: &Standing,
        may_block: bool,
    ) -> Option<Answer> {
        let (answer, is_enough) = request.count(offset, standing);
        if is_enough || !may_block {
            return Some(answer);
        }
        self.waiting.insert(client, Waiter { request, offset, deadline_ms });
        self.wants_acks = true;
        None
    }

    /// Whether replicas are to be asked for acknowledgements, since somebody has begun to wait. Not to be asked while a failover waits
    /// for the end of the stream: what asks is part of it.
    pub fn take_request_for_acks(&mut self) -> bool {
        std::mem::take(&mut self.wants_acks)
    }

    /// After an acknowledgement, a flush of the log, or a replica that came or left: those that have what they wait for.
    pub fn satisfied(&mut self, standing: &Standing) -> Vec<(u64, Answer)> {
        let mut answers = Vec::new();
        self.waiting.retain(|client, waiter| {
            let (answer, is_enough) = waiter.request.count(waiter.offset, standing);
            if is_enough {
                answers.push((*client, answer));
            }
            !is_enough
        });
        answers
    }

    /// Those that have waited for long enough; they get what there is.
    pub fn expired(&mut self, now_ms: u64, standing: &Standing) -> Vec<(u64, Answer)> {
        let mut answers = Vec::new();
        self.waiting.retain(|client, waiter| {
            let is_over = waiter.deadline_ms.is_some_and(|deadline| deadline <= now_ms);
            if is_over {
                answers.push((*client, waiter.request.count(waiter.offset, standing).0));
            }
            !is_over
        });
        answers
    }

    /// When `expired` has something to do, at the earliest.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.waiting.values().filter_map(|waiter| waiter.deadline_ms).min()
    }

    /// A client that has gone, or that CLIENT UNBLOCK has released: what it would get now, if it has waited.
    pub fn remove(&mut self, client: u64, standing: &Standing) -> Option<Answer> {
        let waiter = self.waiting.remove(&client)?;
        Some(waiter.request.count(waiter.offset, standing).0)
    }

    /// The server becomes a replica: all clients, which get [`UNBLOCKED`].
    pub fn drain(&mut self) -> Vec<u64> {
        self.wants_acks = false;
        std::mem::take(&mut self.waiting).into_keys().collect()
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(applied: u64, durable: u64) -> Acked {
        Acked { applied, durable }
    }

    fn standing(replicas: &[Acked], durable: Option<u64>) -> Standing<'_> {
        Standing { replicas, durable, is_replica: false }
    }

    fn applied(replicas: i64) -> Request {
        Request::Applied { replicas }
    }

    #[test]
    fn enough_acknowledgements_answer_at_once() {
        let mut waiters = Waiters::new();
        let replicas = [acked(100, 0), acked(50, 0)];
        let standing = standing(&replicas, None);
        let mut ask = |count, offset| waiters.wait(1, applied(count), offset, None, &standing, true);
        assert_eq!(ask(1, 100), Some(Answer::Applied(1)));
        assert_eq!(ask(1, 50), Some(Answer::Applied(2)), "all that have it count");
        assert_eq!(ask(0, 200), Some(Answer::Applied(0)));
        assert_eq!(ask(-5, 200), Some(Answer::Applied(0)));
        assert!(waiters.is_empty() && !waiters.take_request_for_acks());
        let answer = waiters.wait(1, applied(2), 100, None, &standing, false);
        assert_eq!(answer, Some(Answer::Applied(1)), "who may not block gets what there is");
    }

    #[test]
    fn an_acknowledgement_releases_those_that_wait_for_it() {
        let mut waiters = Waiters::new();
        let before = [acked(0, 0), acked(0, 0)];
        for (client, count, offset) in [(1, 1, 100), (2, 2, 100), (3, 1, 101)] {
            assert_eq!(
                waiters.wait(client, applied(count), offset, None, &standing(&before, None), true),
                None
            );
        }
        assert!(waiters.take_request_for_acks());
        assert!(!waiters.take_request_for_acks(), "asked once");
        assert_eq!(waiters.satisfied(&standing(&[acked(99, 0), acked(0, 0)], None)), []);
        let one = [acked(100, 0), acked(0, 0)];
        assert_eq!(waiters.satisfied(&standing(&one, None)), [(1, Answer::Applied(1))]);
        let both = [acked(100, 0), acked(101, 0)];
        let answers = waiters.satisfied(&standing(&both, None));
        assert_eq!(answers, [(2, Answer::Applied(2)), (3, Answer::Applied(1))]);
        assert!(waiters.is_empty());
    }

    #[test]
    fn a_timeout_gives_what_there_is() {
        let mut waiters = Waiters::new();
        let now = standing(&[], Some(10));
        waiters.wait(1, applied(1), 100, Some(500), &now, true);
        waiters.wait(2, Request::Durable { local: 1, replicas: 1 }, 10, Some(300), &now, true);
        waiters.wait(3, applied(1), 100, None, &now, true);
        assert_eq!(waiters.next_deadline_ms(), Some(300));
        assert_eq!(waiters.expired(299, &now), []);
        let answers = waiters.expired(500, &now);
        assert_eq!(answers, [(1, Answer::Applied(0)), (2, Answer::Durable { local: 1, replicas: 0 })]);
        assert_eq!(waiters.remove(3, &now), Some(Answer::Applied(0)));
        assert_eq!(waiters.remove(3, &now), None);
    }

    #[test]
    fn durable_is_what_logs_have() {
        let mut waiters = Waiters::new();
        fn ask(waiters: &mut Waiters, standing: Standing) -> Option<Answer> {
            waiters.wait(1, Request::Durable { local: 1, replicas: 1 }, 100, None, &standing, true)
        }
        assert_eq!(ask(&mut waiters, standing(&[acked(100, 99)], Some(100))), None);
        assert_eq!(waiters.satisfied(&standing(&[acked(100, 100)], Some(99))), []);
        let both = Answer::Durable { local: 1, replicas: 1 };
        assert_eq!(waiters.satisfied(&standing(&[acked(100, 100)], Some(100))), [(1, both)]);
        assert_eq!(ask(&mut waiters, standing(&[], Some(100))), None);
        assert_eq!(waiters.satisfied(&standing(&[], None)), [(1, Answer::NoAof)], "the log was turned off");
        waiters.wait(7, applied(1), 1, None, &standing(&[], None), true);
        assert_eq!(waiters.drain(), [7]);
    }

    #[test]
    fn bad_arguments_get_the_errors_of_redis() {
        let error = |text: &str, standing: &Standing| {
            let args: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            let outcome = match args[0] {
                b"WAIT" => Request::wait(&args, standing, 0),
                _ => Request::wait_aof(&args, standing, 0),
            };
            String::from_utf8(outcome.unwrap_err().text().into_bytes()).unwrap()
        };
        let master = standing(&[], None);
        for (text, expected) in [
            ("WAIT x 0", "ERR value is not an integer or out of range"),
            ("WAIT 1 x", "ERR timeout is not an integer or out of range"),
            ("WAIT 1 -1", "ERR timeout is negative"),
            ("WAITAOF 2 0 0", "ERR value is out of range, value must between 0 and 1"),
            ("WAITAOF 0 -1 0", "ERR value is out of range, must be positive"),
            ("WAITAOF 1 0 0", NO_AOF),
        ] {
            assert_eq!(error(text, &master), expected, "{text}");
        }
        let replica = Standing { is_replica: true, ..master };
        assert_eq!(error("WAIT x 0", &replica), WAIT_ON_REPLICA);
        assert_eq!(error("WAITAOF 0 0 0", &replica), WAITAOF_ON_REPLICA);
        let args: [&[u8]; 4] = [b"WAITAOF", b"1", b"2", b"30"];
        let asked = Request::wait_aof(&args, &standing(&[], Some(0)), 0).unwrap();
        assert_eq!(asked, (Request::Durable { local: 1, replicas: 2 }, BlockTimeout::After(30)));
    }

    #[test]
    fn answers_are_written_as_redis_does() {
        let mut reply = Reply::default();
        Answer::Applied(2).write(&mut reply);
        Answer::Durable { local: 1, replicas: 0 }.write(&mut reply);
        Answer::NoAof.write(&mut reply);
        let expected = format!(":2\r\n*2\r\n:1\r\n:0\r\n-{NO_AOF}\r\n");
        assert_eq!(reply.as_bytes_if_plain(), Some(expected.as_bytes()));
    }
}
