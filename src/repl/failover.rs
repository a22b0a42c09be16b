//! FAILOVER: a master hands over to one of its replicas, and nothing is lost.
//!
//! ```text
//!   none --FAILOVER--> waiting-for-sync --a replica has everything--> failover-in-progress --it accepts--> none
//!    ^                 writes are paused    or FORCE, time is up      this server follows it  PSYNC ... FAILOVER
//!    |                        |                                              |
//!    +------ ABORT, time is up+----------------------------------------------+ ABORT, it refuses: master again
//! ```
//!
//! Writes are paused from the command to its end, so the offset that a replica has to reach stands still: from [`Failover::paused`] on, when
//! every shard has paused and what it did before is in the stream. What was still on its way then would be lost.

use crate::base::log::Level;
use crate::command::parse::integer;
use crate::command::{Args, CommandError};
use crate::repl::wire::shown;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Abort,
    Start { to: Option<(Vec<u8>, i64)>, force: bool, timeout_ms: Option<u64> },
}

impl Command {
    /// From the whole command.
    pub fn parse(args: Args) -> Result<Command, CommandError> {
        if let [_, word] = args {
            if word.eq_ignore_ascii_case(b"abort") {
                return Ok(Command::Abort);
            }
        }
        let (mut to, mut force, mut timeout_ms) = (None, false, None);
        let mut rest = args.get(1..).unwrap_or_default();
        while let [word, after @ ..] = rest {
            rest = match (word.to_ascii_lowercase().as_slice(), after) {
                (b"timeout", [text, after @ ..]) if timeout_ms.is_none() => {
                    let timeout = integer(text)?;
                    let timeout = u64::try_from(timeout).ok().filter(|timeout| *timeout > 0);
                    let text = "ERR FAILOVER timeout must be greater than 0";
                    timeout_ms = Some(timeout.ok_or(CommandError::other(text))?);
                    after
                }
                (b"to", [host, port, after @ ..]) if to.is_none() => {
                    to = Some((host.to_vec(), integer(port)?));
                    after
                }
                (b"force", after) if !force => {
                    force = true;
                    after
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(Command::Start { to, force, timeout_ms })
    }
}

/// A replica of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The address that it has announced, or that of its connection.
    pub host: Vec<u8>,
    pub port: i64,
    pub is_online: bool,
    /// Offset up to which it has applied the stream.
    pub acked: u64,
    /// When it has said so.
    pub acked_at_ms: u64,
}

pub struct Facts<'a> {
    pub is_cluster: bool,
    pub is_replica: bool,
    /// Of the stream.
    pub offset: u64,
    pub replicas: &'a [Candidate],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    None,
    WaitForSync,
    InProgress,
}

impl State {
    /// INFO's `master_failover_state`.
    pub fn name(self) -> &'static str {
        match self {
            State::None => "no-failover",
            State::WaitForSync => "waiting-for-sync",
            State::InProgress => "failover-in-progress",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// All writes, expiry and eviction wait. To be answered by [`Failover::paused`].
    Pause,
    /// Replicas are to be asked for acknowledgements, as the last that the stream gets: they would come within a second anyway.
    AskForAcks,
    Unpause,
    /// This server becomes a replica of it, and asks it by PSYNC with FAILOVER to become a master.
    Follow {
        host: Vec<u8>,
        port: i64,
    },
    /// This server is a master again.
    BecomeMaster,
    Log(Level, String),
}

#[derive(Debug, Default)]
pub struct Failover {
    state: State,
    target: Option<(Vec<u8>, i64)>,
    force: bool,
    deadline_ms: Option<u64>,
    /// Since when the stream grows no more, but for the question to replicas, and its offset before that.
    still: Option<Still>,
}

#[derive(Clone, Copy, Debug)]
struct Still {
    offset: u64,
    since_ms: u64,
}

/// Redis's replicas answer the question with the offset before it, and say only with their next regular answer, up to a second later, that
/// they have it too. So an answer that came after the question counts as one to it, when this long has passed: what a replica is
/// asked next over another connection then comes after the question. If not, it costs a snapshot and no data.
const QUESTION_MS: u64 = 50;

impl Failover {
    pub fn state(&self) -> State {
        self.state
    }

    pub fn is_under_way(&self) -> bool {
        self.state != State::None
    }

    /// When [`Failover::tick`] may have something to do at the latest.
    pub fn deadline_ms(&self, now_ms: u64) -> Option<u64> {
        let answers = self.still.map(|still| still.since_ms + QUESTION_MS).filter(|at| *at > now_ms);
        let next = answers.into_iter().chain(self.deadline_ms).min();
        next.filter(|_| self.state == State::WaitForSync)
    }

    /// More than one, while a connection that is dead has not been noticed.
    fn find<'f>(facts: &'f Facts, host: &'f [u8], port: i64) -> impl Iterator<Item = &'f Candidate> {
        let is_it = move |of: &&Candidate| of.port == port && of.host.eq_ignore_ascii_case(host);
        facts.replicas.iter().filter(is_it)
    }

    /// FAILOVER, to be answered by OK.
    pub fn command(
        &mut self,
        command: Command,
        facts: &Facts,
        now_ms: u64,
    ) -> Result<Vec<Action>, CommandError> {
        let error = |text: &'static str| Err(CommandError::other(text));
        if facts.is_cluster {
            return error("ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.");
        }
        let Command::Start { to, force, timeout_ms } = command else {
            if self.state == State::None {
                return error("ERR No failover in progress.");
            }
            return Ok(self.abort("Failover manually aborted"));
        };
        if self.state != State::None {
            return error("ERR FAILOVER already in progress.");
        }
        if facts.is_replica {
            return error("ERR FAILOVER is not valid when server is a replica.");
        }
        if facts.replicas.is_empty() {
            return error("ERR FAILOVER requires connected replicas.");
        }
        if force && (timeout_ms.is_none() || to.is_none()) {
            return error("ERR FAILOVER with force option requires both a timeout and target HOST and IP.");
        }
        let text = match &to {
            Some((host, port)) => {
                let mut replicas = Failover::find(facts, host, *port).peekable();
                if replicas.peek().is_none() {
                    return error("ERR FAILOVER target HOST and PORT is not a replica.");
                }
                if !replicas.any(|replica| replica.is_online) {
                    return error("ERR FAILOVER target replica is not online.");
                }
                format!("FAILOVER requested to {}:{port}.", shown(host))
            }
            None => "FAILOVER requested to any replica.".to_owned(),
        };
        *self = Failover {
            state: State::WaitForSync,
            target: to,
            force,
            deadline_ms: timeout_ms.map(|timeout| now_ms.saturating_add(timeout)),
            still: None,
        };
        Ok(vec![Action::Log(Level::Notice, text), Action::Pause])
    }

    /// All shards have paused, and all that they did before is in the stream, whose offset is given.
    pub fn paused(&mut self, offset: u64, now_ms: u64) -> Vec<Action> {
        if self.state != State::WaitForSync || self.still.is_some() {
            return Vec::new();
        }
        self.still = Some(Still { offset, since_ms: now_ms });
        vec![Action::AskForAcks]
    }

    /// After each acknowledgement, and as time passes.
    pub fn tick(&mut self, facts: &Facts, now_ms: u64) -> Vec<Action> {
        if self.state != State::WaitForSync {
            return Vec::new();
        }
        if self.deadline_ms.is_some_and(|deadline| deadline <= now_ms) {
            return match self.target.clone().filter(|_| self.force) {
                Some((host, port)) => {
                    let text =
                        format!("FAILOVER to {}:{port} time out exceeded, failing over.", shown(&host));
                    self.go(host, port, text)
                }
                None => self.abort("Replica never caught up before timeout"),
            };
        }
        let Some(still) = self.still else { return Vec::new() };
        let has_answered = |replica: &Candidate| {
            replica.acked >= still.offset
                && replica.acked_at_ms >= still.since_ms
                && now_ms >= still.since_ms + QUESTION_MS
        };
        let has_all = |replica: &&Candidate| {
            replica.is_online && (replica.acked == facts.offset || has_answered(replica))
        };
        let replica = match &self.target {
            Some((host, port)) => Failover::find(facts, host, *port).find(has_all),
            None => facts.replicas.iter().find(has_all),
        };
        let Some(replica) = replica else { return Vec::new() };
        let (host, port) = (replica.host.clone(), replica.port);
        let text = format!("Failover target {}:{port} is synced, failing over.", shown(&host));
        self.go(host, port, text)
    }

    fn go(&mut self, host: Vec<u8>, port: i64, text: String) -> Vec<Action> {
        self.state = State::InProgress;
        self.target = Some((host.clone(), port));
        vec![Action::Log(Level::Notice, text), Action::Follow { host, port }]
    }

    /// The new master has answered PSYNC: by CONTINUE or FULLRESYNC, or by something else. A lost connection is neither: the link
    /// tries again.
    pub fn answered(&mut self, accepted: bool) -> Vec<Action> {
        match (self.state, accepted) {
            (State::InProgress, true) => self.clear(),
            (State::InProgress, false) => self.abort("Failover target rejected psync request"),
            _ => Vec::new(),
        }
    }

    fn clear(&mut self) -> Vec<Action> {
        *self = Failover::default();
        vec![Action::Unpause]
    }

    fn abort(&mut self, cause: &str) -> Vec<Action> {
        let text = match &self.target {
            Some((host, port)) => format!("FAILOVER to {}:{port} aborted: {cause}", shown(host)),
            None => format!("FAILOVER to any replica aborted: {cause}"),
        };
        let mut actions = vec![Action::Log(Level::Notice, text)];
        if self.state == State::InProgress {
            actions.push(Action::BecomeMaster);
        }
        actions.extend(self.clear());
        actions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Command, String> {
        let args: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        Command::parse(&args).map_err(|error| String::from_utf8(error.text().into_bytes()).unwrap())
    }

    fn candidate(host: &str, is_online: bool, acked: u64) -> Candidate {
        Candidate { host: host.as_bytes().to_vec(), port: 6380, is_online, acked, acked_at_ms: 0 }
    }

    fn facts(replicas: &[Candidate]) -> Facts<'_> {
        Facts { is_cluster: false, is_replica: false, offset: 100, replicas }
    }

    /// Actions but for log lines.
    fn short(actions: Vec<Action>) -> Vec<Action> {
        actions.into_iter().filter(|action| !matches!(action, Action::Log(..))).collect()
    }

    fn start(failover: &mut Failover, text: &str, facts: &Facts) -> Result<Vec<Action>, String> {
        let outcome = failover.command(parse(text)?, facts, 1000);
        failover.paused(facts.offset, 1000);
        outcome.map(short).map_err(|error| String::from_utf8(error.text().into_bytes()).unwrap())
    }

    #[test]
    fn every_form_is_parsed() {
        let any = Command::Start { to: None, force: false, timeout_ms: None };
        assert_eq!(parse("FAILOVER"), Ok(any));
        assert_eq!(parse("FAILOVER ABORT"), Ok(Command::Abort));
        let all = Command::Start { to: Some((b"h".to_vec(), 7)), force: true, timeout_ms: Some(5) };
        assert_eq!(parse("failover to h 7 force timeout 5"), Ok(all.clone()));
        assert_eq!(parse("failover TIMEOUT 5 FORCE TO h 7"), Ok(all));
        for (text, error) in [
            ("FAILOVER TIMEOUT 0", "ERR FAILOVER timeout must be greater than 0"),
            ("FAILOVER TIMEOUT -5", "ERR FAILOVER timeout must be greater than 0"),
            ("FAILOVER TIMEOUT x", "ERR value is not an integer or out of range"),
            ("FAILOVER TO h x", "ERR value is not an integer or out of range"),
            ("FAILOVER TO h", "ERR syntax error"),
            ("FAILOVER TIMEOUT", "ERR syntax error"),
            ("FAILOVER FORCE FORCE", "ERR syntax error"),
            ("FAILOVER ABORT FORCE", "ERR syntax error"),
            ("FAILOVER TO h 1 TO h 2", "ERR syntax error"),
        ] {
            assert_eq!(parse(text), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn who_cannot_fail_over_is_told_so() {
        let mut failover = Failover::default();
        let replicas = [candidate("a", true, 5), candidate("b", false, 0)];
        let here = facts(&replicas);
        let error = |failover: &mut Failover, text, facts: &Facts| start(failover, text, facts).unwrap_err();
        assert_eq!(error(&mut failover, "FAILOVER ABORT", &here), "ERR No failover in progress.");
        let none = facts(&[]);
        assert_eq!(error(&mut failover, "FAILOVER", &none), "ERR FAILOVER requires connected replicas.");
        let replica = Facts { is_replica: true, ..facts(&replicas) };
        let text = "ERR FAILOVER is not valid when server is a replica.";
        assert_eq!(error(&mut failover, "FAILOVER", &replica), text);
        let text = "ERR FAILOVER with force option requires both a timeout and target HOST and IP.";
        assert_eq!(error(&mut failover, "FAILOVER FORCE TIMEOUT 5", &here), text);
        let text = "ERR FAILOVER target HOST and PORT is not a replica.";
        assert_eq!(error(&mut failover, "FAILOVER TO c 6380", &here), text);
        let text = "ERR FAILOVER target replica is not online.";
        assert_eq!(error(&mut failover, "FAILOVER TO b 6380", &here), text);
        assert_eq!(start(&mut failover, "FAILOVER TO a 6380", &here), Ok(vec![Action::Pause]));
        assert_eq!(error(&mut failover, "FAILOVER", &here), "ERR FAILOVER already in progress.");
        let cluster = Facts { is_cluster: true, ..facts(&replicas) };
        let text = "ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.";
        assert_eq!(error(&mut failover, "FAILOVER ABORT", &cluster), text);
    }

    #[test]
    fn the_first_replica_that_has_everything_takes_over() {
        let mut failover = Failover::default();
        start(&mut failover, "FAILOVER", &facts(&[candidate("a", true, 5)])).unwrap();
        let late = [candidate("a", true, 99), candidate("b", false, 100)];
        assert_eq!(failover.tick(&facts(&late), 5000), []);
        assert_eq!(failover.state().name(), "waiting-for-sync");
        let actions = short(failover.tick(&facts(&[candidate("c", true, 100)]), 5000));
        assert_eq!(actions, [Action::Follow { host: b"c".to_vec(), port: 6380 }]);
        assert_eq!(failover.state().name(), "failover-in-progress");
        assert_eq!(failover.tick(&facts(&[]), 90_000), [], "it waits for its answer");
        assert_eq!(failover.answered(true), [Action::Unpause]);
        assert_eq!((failover.state().name(), failover.is_under_way()), ("no-failover", false));
        assert_eq!(failover.answered(false), []);
    }

    #[test]
    fn nobody_has_everything_while_something_is_on_its_way_to_the_stream() {
        let replicas = [candidate("a", true, 100)];
        let mut failover = Failover::default();
        failover.command(parse("FAILOVER TIMEOUT 500").unwrap(), &facts(&replicas), 1000).unwrap();
        assert_eq!(failover.tick(&facts(&replicas), 1100), []);
        assert_eq!(failover.paused(100, 1000), [Action::AskForAcks]);
        assert_eq!(failover.paused(100, 1000), [], "asked once");
        let late = Facts { offset: 150, ..facts(&replicas) };
        assert_eq!(failover.tick(&late, 1100), []);
        assert_eq!(failover.tick(&facts(&replicas), 1100).len(), 2);
    }

    #[test]
    fn the_offset_before_the_question_is_an_answer_to_it() {
        let mut failover = Failover::default();
        let before = [candidate("a", true, 100)];
        start(&mut failover, "FAILOVER", &facts(&before)).unwrap();
        let asked = |replicas| Facts { offset: 137, ..facts(replicas) };
        assert_eq!(failover.tick(&asked(&before), 1100), [], "it has said so before it was asked");
        let replicas = [Candidate { acked_at_ms: 1001, ..candidate("a", true, 100) }];
        assert_eq!(failover.deadline_ms(1002), Some(1050));
        assert_eq!(failover.tick(&asked(&replicas), 1049), []);
        assert_eq!(failover.deadline_ms(1050), None);
        assert_eq!(failover.tick(&asked(&replicas), 1050).len(), 2);
    }

    #[test]
    fn a_named_target_is_waited_for_and_time_ends_it() {
        let replicas = [candidate("a", true, 100), candidate("b", true, 5)];
        let mut failover = Failover::default();
        start(&mut failover, "FAILOVER TO B 6380 TIMEOUT 500", &facts(&replicas)).unwrap();
        assert_eq!(failover.tick(&facts(&replicas), 1499), [], "another one has everything");
        assert_eq!(failover.deadline_ms(1499), Some(1500));
        let actions = failover.tick(&facts(&replicas), 1500);
        let text = "FAILOVER to B:6380 aborted: Replica never caught up before timeout";
        assert_eq!(actions, [Action::Log(Level::Notice, text.into()), Action::Unpause]);
        start(&mut failover, "FAILOVER TO b 6380 TIMEOUT 500 FORCE", &facts(&replicas)).unwrap();
        let actions = short(failover.tick(&facts(&replicas), 1500));
        assert_eq!(actions, [Action::Follow { host: b"b".to_vec(), port: 6380 }]);
    }

    #[test]
    fn a_target_with_a_dead_connection_beside_its_own_is_found() {
        let replicas = [candidate("a", true, 5), candidate("a", false, 0), candidate("a", true, 100)];
        let mut failover = Failover::default();
        start(&mut failover, "FAILOVER TO a 6380", &facts(&replicas)).unwrap();
        let actions = short(failover.tick(&facts(&replicas), 1100));
        assert_eq!(actions, [Action::Follow { host: b"a".to_vec(), port: 6380 }]);
    }

    #[test]
    fn a_target_that_refuses_leaves_the_old_master() {
        let replicas = [candidate("a", true, 100)];
        let mut failover = Failover::default();
        for by_hand in [false, true] {
            start(&mut failover, "FAILOVER", &facts(&replicas)).unwrap();
            failover.tick(&facts(&replicas), 1000);
            let actions = if by_hand {
                start(&mut failover, "FAILOVER ABORT", &facts(&replicas)).unwrap()
            } else {
                short(failover.answered(false))
            };
            assert_eq!(actions, [Action::BecomeMaster, Action::Unpause]);
        }
        start(&mut failover, "FAILOVER", &facts(&replicas)).unwrap();
        let actions = start(&mut failover, "FAILOVER ABORT", &facts(&replicas)).unwrap();
        assert_eq!(actions, [Action::Unpause], "it was a master all the time");
    }
}
