//! The link to a master, from the connection to the stream: bytes and events in, [`Action`]s out.
//!
//! ```text
//!   connected -> PING -> +PONG -> AUTH, REPLCONF ... (sent together) -> their answers -> PSYNC
//!
//!   PSYNC -> +CONTINUE [id] ----------------------------------------------> Streaming
//!         -> +FULLRESYNC id offset -> $length or $EOF: -> payload -> Loading -> Streaming
//!         -> -NOMASTERLINK, -LOADING: closed, and tried again
//!         -> another error: SYNC, for masters that know no PSYNC
//! ```
//!
//! Newlines between the answers keep the link alive. Each error and each timeout closes the connection with a [`Cause`], and the
//! next attempt comes after [`RETRY_MS`], behind a stream that has lasted at once. While the payload is loaded nothing is read
//! ([`Link::wants_input`]), so what the master
//! sends already waits in the kernel and at the master. The link itself holds one line of at most 1 KB and less than one mark.

use std::ops::Range;

use super::payload::{Content, Frame, FrameError, Line, Payload};
use crate::base::log::Level;
use crate::repl::history::ReplicationId;
use crate::repl::wire::{command, put_command, shown};

/// How long after a failure the next attempt comes, milliseconds: as Redis's.
pub const RETRY_MS: u64 = 1000;
/// When one snapshot after the other could not be loaded, milliseconds.
pub const RETRY_MAX_MS: u64 = 60_000;
/// So many may fail before attempts become rare.
const LOADS_AT_ONCE: u32 = 3;
const ACK_PERIOD_MS: u64 = 1000;
/// What a master answers when it is asked to become one.
const IS_A_MASTER: &[u8] = b"-ERR PSYNC FAILOVER can't be sent to a ";

#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `masteruser` and `masterauth`.
    pub user: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
    /// The port that replicas and Sentinel should use: `replica-announce-port`, or the server's own.
    pub port: u16,
    /// `replica-announce-ip`.
    pub address: Option<Vec<u8>>,
    /// `repl-timeout`, milliseconds.
    pub timeout_ms: u64,
}

/// From where to go on, if that is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    pub id: ReplicationId,
    /// Offset of the last byte that is applied.
    pub offset: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    Lost(String),
    /// No connection, or no answer in the handshake.
    ConnectTimeout,
    TransferTimeout,
    /// Neither data nor PING.
    StreamTimeout,
    BadPing(String),
    BadAuth(String),
    /// It cannot serve replicas now.
    TryLater(String),
    /// It refused, while a failover to it was under way.
    FailoverRejected,
    BadFrame(String),
    /// The payload was no good snapshot.
    LoadFailed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Send(Vec<u8>),
    /// A partial synchronisation: the stream goes on behind what is applied. `id` is the master's, if it says so.
    Continue {
        id: Option<ReplicationId>,
    },
    /// A full one. Without an id the master is too old to have one, and this replica can never resume.
    BeginLoad {
        start: Option<Resume>,
        total: Option<u64>,
    },
    /// This part of the input is payload.
    PayloadBytes(Range<usize>),
    /// So are these bytes, which came before it.
    PayloadHeld(Vec<u8>),
    /// The payload is complete: to be answered by [`Link::loaded`].
    EndLoad,
    /// This part of the input is the stream.
    Stream(Range<usize>),
    Close(Cause),
    /// The next attempt is due after so many milliseconds.
    RetryAfter(u64),
    Log(Level, String),
}

/// Whether the master is asked to become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handover {
    No,
    Asked,
    /// It is one already. An earlier request may have reached it, though its answer never came: then it goes on from here.
    Confirming,
}

#[derive(Debug)]
enum Phase {
    /// There is no connection, and none under way.
    Idle,
    Connecting,
    Pong,
    Auth,
    Port,
    Address,
    Capabilities,
    Psync,
    Frame {
        start: Option<Resume>,
    },
    Transfer {
        payload: Payload,
        start: Option<Resume>,
    },
    Loading {
        start: Option<Resume>,
    },
    Streaming,
}

#[derive(Debug)]
pub struct Link {
    settings: Settings,
    phase: Phase,
    line: Line,
    resume: Option<Resume>,
    handover: Handover,
    /// The request has left over this connection; over an earlier one, whose answer never came.
    has_asked: bool,
    has_asked_before: bool,
    last_io_ms: u64,
    /// When the link was lost, or never came up.
    down_since_ms: Option<u64>,
    next_ack_ms: u64,
    next_newline_ms: u64,
    durable: Option<u64>,
    /// Snapshots that could not be loaded, one after the other.
    /// When the stream began, over this connection.
    streaming_since_ms: Option<u64>,
    failed_loads: u32,
}

impl Link {
    /// `resume`: what this server has of the master's history. `failover`: it was the master itself, and hands over.
    pub fn new(settings: Settings, resume: Option<Resume>, failover: bool, now_ms: u64) -> Link {
        Link {
            settings,
            phase: Phase::Idle,
            line: Line::default(),
            resume,
            has_asked: false,
            has_asked_before: false,
            handover: if failover { Handover::Asked } else { Handover::No },
            last_io_ms: now_ms,
            down_since_ms: Some(now_ms),
            next_ack_ms: 0,
            next_newline_ms: 0,
            durable: None,
            failed_loads: 0,
            streaming_since_ms: None,
        }
    }

    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// An attempt begins: a connection is being made.
    pub fn connecting(&mut self, now_ms: u64) {
        self.phase = Phase::Connecting;
        self.has_asked_before |= std::mem::take(&mut self.has_asked);
        self.last_io_ms = now_ms;
        self.line = Line::default();
    }

    pub fn connected(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        self.phase = Phase::Pong;
        self.last_io_ms = now_ms;
        actions.push(Action::Send(command(&[b"PING"])));
    }

    /// ROLE's word for it.
    pub fn state_name(&self) -> &'static str {
        match self.phase {
            Phase::Idle => "connect",
            Phase::Connecting => "connecting",
            Phase::Pong | Phase::Auth | Phase::Port | Phase::Address | Phase::Capabilities | Phase::Psync => {
                "handshake"
            }
            Phase::Frame { .. } | Phase::Transfer { .. } | Phase::Loading { .. } => "sync",
            Phase::Streaming => "connected",
        }
    }

    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Streaming)
    }

    pub fn is_syncing(&self) -> bool {
        self.state_name() == "sync"
    }

    /// A connection is there or under way.
    pub fn is_active(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }

    /// Whether the connection is to be read from.
    pub fn wants_input(&self) -> bool {
        !matches!(self.phase, Phase::Idle | Phase::Connecting | Phase::Loading { .. })
    }

    /// Bytes of the payload so far, and of all of it, if that is known.
    pub fn progress(&self) -> Option<(u64, Option<u64>)> {
        match &self.phase {
            Phase::Transfer { payload, .. } => Some((payload.read(), payload.total())),
            Phase::Frame { .. } => Some((0, None)),
            _ => None,
        }
    }

    pub fn last_io_ms(&self) -> u64 {
        self.last_io_ms
    }

    pub fn down_since_ms(&self) -> Option<u64> {
        self.down_since_ms
    }

    pub fn memory_bytes(&self) -> usize {
        size_of::<Link>() + self.line.len()
    }

    fn close(&mut self, cause: Cause, now_ms: u64, actions: &mut Vec<Action>) {
        self.phase = Phase::Idle;
        self.down_since_ms.get_or_insert(now_ms);
        let line = match &cause {
            Cause::Lost(error) => format!("Connection with master lost: {error}"),
            Cause::ConnectTimeout => "Timeout connecting to the MASTER...".into(),
            Cause::TransferTimeout => {
                "Timeout receiving bulk data from MASTER... If the problem persists try to set the \
                                       'repl-timeout' parameter in redis.conf to a larger value."
                    .into()
            }
            Cause::StreamTimeout => "MASTER timeout: no data nor PING received...".into(),
            Cause::BadPing(reply) => format!("Error reply to PING from master: '{reply}'"),
            Cause::BadAuth(reply) => format!("Unable to AUTH to MASTER: {reply}"),
            Cause::TryLater(reply) => {
                format!("Master is currently unable to PSYNC but should be in the future: {reply}")
            }
            Cause::FailoverRejected => "The server that was asked to take over does not".into(),
            Cause::BadFrame(what) => what.clone(),
            Cause::LoadFailed => "Failed trying to load the MASTER synchronization DB".into(),
        };
        let level = if matches!(cause, Cause::TryLater(_)) { Level::Notice } else { Level::Warning };
        actions.push(Action::Log(level, line));
        actions.push(Action::Close(cause));
        actions.push(Action::RetryAfter(self.retry_ms(now_ms)));
    }

    /// As Redis's: at once behind a stream that has lasted. But ever later where one snapshot after the other could not be loaded: the next
    /// ones are hardly any better, and each is a burden to the master.
    fn retry_ms(&mut self, now_ms: u64) -> u64 {
        let since = self.streaming_since_ms.take();
        if since.is_some_and(|since| now_ms.saturating_sub(since) >= RETRY_MS) {
            // The master's backlog would not wait either.
            return 0;
        }
        let doubled = self.failed_loads.saturating_sub(LOADS_AT_ONCE).min(16);
        (RETRY_MS << doubled).min(RETRY_MAX_MS)
    }

    /// The connection could not be made, or has ended.
    pub fn lost(&mut self, error: &str, now_ms: u64, actions: &mut Vec<Action>) {
        if self.is_active() {
            self.close(Cause::Lost(error.to_owned()), now_ms, actions);
        }
    }

    /// Takes input; ranges in actions are of it. Returns how many bytes were taken: the rest is to come again when `wants_input`
    /// says so.
    pub fn input(&mut self, input: &[u8], now_ms: u64, actions: &mut Vec<Action>) -> usize {
        let mut at = 0;
        if !input.is_empty() {
            self.last_io_ms = now_ms;
        }
        while at < input.len() && self.wants_input() {
            match &mut self.phase {
                Phase::Streaming => {
                    actions.push(Action::Stream(at..input.len()));
                    at = input.len();
                }
                Phase::Transfer { payload, start } => {
                    let mut from = at;
                    at += payload.take(&input[at..], |content| match content {
                        Content::Held(bytes) => actions.push(Action::PayloadHeld(bytes)),
                        Content::Bytes(len) => {
                            actions.push(Action::PayloadBytes(from..from + len));
                            from += len;
                        }
                    });
                    if payload.is_complete() {
                        self.phase = Phase::Loading { start: *start };
                        actions.push(Action::EndLoad);
                    }
                }
                _ => {
                    let (taken, line) = self.line.take(&input[at..]);
                    at += taken;
                    match line {
                        None => {}
                        Some(Ok(line)) => self.line(&line, now_ms, actions),
                        Some(Err(_)) => {
                            let what = "Bad protocol from MASTER: a line without an end".to_owned();
                            self.close(Cause::BadFrame(what), now_ms, actions);
                        }
                    }
                }
            }
        }
        at
    }

    fn line(&mut self, line: &[u8], now_ms: u64, actions: &mut Vec<Action>) {
        if line.is_empty() {
            return;
        }
        let is_error = line.starts_with(b"-");
        match &self.phase {
            Phase::Pong => {
                let is_fine = line.starts_with(b"+")
                    || line.starts_with(b"-NOAUTH")
                    || line.starts_with(b"-NOPERM")
                    || line.starts_with(b"-ERR operation not permitted");
                if !is_fine {
                    return self.close(Cause::BadPing(shown(line)), now_ms, actions);
                }
                let text = "Master replied to PING, replication can continue...";
                actions.push(Action::Log(Level::Notice, text.into()));
                self.introduce(actions);
            }
            Phase::Auth if is_error => self.close(Cause::BadAuth(shown(line)), now_ms, actions),
            Phase::Auth => self.phase = Phase::Port,
            Phase::Port => {
                self.not_critical("listening-port", line, actions);
                self.phase = match self.settings.address {
                    Some(_) => Phase::Address,
                    None => Phase::Capabilities,
                };
            }
            Phase::Address => {
                self.not_critical("ip-address", line, actions);
                self.phase = Phase::Capabilities;
            }
            Phase::Capabilities => {
                self.not_critical("capa", line, actions);
                self.psync(actions);
            }
            Phase::Psync => self.psync_reply(line, now_ms, actions),
            Phase::Frame { start } => self.frame(line, *start, now_ms, actions),
            _ => {}
        }
    }

    /// Not every master knows every option.
    fn not_critical(&self, option: &str, line: &[u8], actions: &mut Vec<Action>) {
        if line.starts_with(b"-") {
            let text =
                format!("(Non critical) Master does not understand REPLCONF {option}: {}", shown(line));
            actions.push(Action::Log(Level::Notice, text));
        }
    }

    fn introduce(&mut self, actions: &mut Vec<Action>) {
        let mut bytes = Vec::new();
        self.phase = Phase::Port;
        if let Some(password) = &self.settings.password {
            match &self.settings.user {
                Some(user) => put_command(&mut bytes, &[b"AUTH", user, password]),
                None => put_command(&mut bytes, &[b"AUTH", password]),
            }
            self.phase = Phase::Auth;
        }
        let port = self.settings.port.to_string();
        put_command(&mut bytes, &[b"REPLCONF", b"listening-port", port.as_bytes()]);
        if let Some(address) = &self.settings.address {
            put_command(&mut bytes, &[b"REPLCONF", b"ip-address", address]);
        }
        put_command(&mut bytes, &[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"]);
        actions.push(Action::Send(bytes));
    }

    fn psync(&mut self, actions: &mut Vec<Action>) {
        let (id, offset) = match self.resume {
            Some(resume) => {
                let next = resume.offset + 1;
                let text = format!("Trying a partial resynchronization (request {}:{next}).", resume.id);
                actions.push(Action::Log(Level::Notice, text));
                (resume.id.as_bytes().to_vec(), next.to_string())
            }
            None => {
                let text = "Partial resynchronization not possible (no cached master)";
                actions.push(Action::Log(Level::Notice, text.into()));
                (b"?".to_vec(), "-1".to_owned())
            }
        };
        let mut args: Vec<&[u8]> = vec![b"PSYNC", &id, offset.as_bytes()];
        if self.handover == Handover::Asked {
            args.push(b"FAILOVER");
            self.has_asked = true;
        }
        actions.push(Action::Send(command(&args)));
        self.phase = Phase::Psync;
    }

    fn psync_reply(&mut self, line: &[u8], now_ms: u64, actions: &mut Vec<Action>) {
        if let Some(rest) = line.strip_prefix(b"+FULLRESYNC") {
            if self.handover == Handover::Confirming && !self.has_asked_before {
                // Something else has made it a master: what is here must not be given up for it.
                return self.close(Cause::FailoverRejected, now_ms, actions);
            }
            self.handover = Handover::No;
            let mut words = rest.split(|byte| *byte == b' ').skip(1);
            let id = words.next().and_then(ReplicationId::parse);
            let offset = words.next().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
            let start = id.zip(offset).map(|(id, offset)| Resume { id, offset });
            let text = match start {
                Some(start) => format!("Full resync from master: {}:{}", start.id, start.offset),
                None => "Master replied with wrong +FULLRESYNC syntax.".into(),
            };
            let level = if start.is_some() { Level::Notice } else { Level::Warning };
            actions.push(Action::Log(level, text));
            // What is here belongs to no history any more, once it is replaced.
            self.phase = Phase::Frame { start };
            return;
        }
        if let (Some(rest), Some(resume)) = (line.strip_prefix(b"+CONTINUE"), self.resume) {
            self.handover = Handover::No;
            let id = rest.strip_prefix(b" ").and_then(ReplicationId::parse);
            if let Some(id) = id.filter(|id| *id != resume.id) {
                let text = format!("Master replication ID changed to {id}");
                actions.push(Action::Log(Level::Notice, text));
                self.resume = Some(Resume { id, ..resume });
            }
            let text = "MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.";
            actions.push(Action::Log(Level::Notice, text.into()));
            actions.push(Action::Continue { id });
            return self.stream(now_ms, actions);
        }
        if self.handover == Handover::Asked && line.starts_with(IS_A_MASTER) {
            self.handover = Handover::Confirming;
            return self.psync(actions);
        }
        let is_transient = line.starts_with(b"-NOMASTERLINK") || line.starts_with(b"-LOADING");
        // A server that may have become the master must not get a second one beside it.
        if self.handover != Handover::No && !(is_transient && self.has_asked_before) {
            return self.close(Cause::FailoverRejected, now_ms, actions);
        }
        if is_transient {
            return self.close(Cause::TryLater(shown(line)), now_ms, actions);
        }
        let text = if line.starts_with(b"-ERR") {
            format!("Master does not support PSYNC or is in error state (reply: {})", shown(line))
        } else {
            format!("Unexpected reply to PSYNC from master: {}", shown(line))
        };
        actions.push(Action::Log(Level::Notice, text));
        actions.push(Action::Log(Level::Notice, "Retrying with SYNC...".into()));
        actions.push(Action::Send(b"SYNC\r\n".to_vec()));
        self.phase = Phase::Frame { start: None };
    }

    fn frame(&mut self, line: &[u8], start: Option<Resume>, now_ms: u64, actions: &mut Vec<Action>) {
        let what = match Frame::parse(line) {
            Ok(frame) => {
                let payload = Payload::new(frame);
                let what = match frame {
                    Frame::Sized(len) => format!("receiving {len} bytes from master"),
                    Frame::Marked(_) => "receiving streamed RDB from master".to_owned(),
                };
                actions.push(Action::Log(Level::Notice, format!("MASTER <-> REPLICA sync: {what}")));
                actions.push(Action::BeginLoad { start, total: payload.total() });
                self.phase = if payload.is_complete() {
                    actions.push(Action::EndLoad);
                    Phase::Loading { start }
                } else {
                    Phase::Transfer { payload, start }
                };
                return;
            }
            Err(FrameError::Refused(error)) => {
                format!("MASTER aborted replication with an error: {}", shown(&error))
            }
            Err(FrameError::NotAPayload(line)) => format!(
                "Bad protocol from MASTER, the first byte is not '$' (we received '{}'), are you sure the host and port \
                 are right?",
                shown(&line)
            ),
            Err(FrameError::TooLong) => "Bad protocol from MASTER: a line without an end".into(),
        };
        self.close(Cause::BadFrame(what), now_ms, actions);
    }

    fn stream(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        self.phase = Phase::Streaming;
        self.streaming_since_ms = Some(now_ms);
        self.failed_loads = 0;
        self.down_since_ms = None;
        self.last_io_ms = now_ms;
        self.acknowledge(now_ms, actions);
    }

    /// The payload has been loaded, and has taken the place of what was here; or it has not.
    pub fn loaded(&mut self, is_good: bool, now_ms: u64, actions: &mut Vec<Action>) {
        let Phase::Loading { start } = self.phase else { return };
        if !is_good {
            self.failed_loads = self.failed_loads.saturating_add(1);
            return self.close(Cause::LoadFailed, now_ms, actions);
        }
        self.resume = start;
        self.durable = None;
        let text = "MASTER <-> REPLICA sync: Finished with success";
        actions.push(Action::Log(Level::Notice, text.into()));
        self.stream(now_ms, actions);
    }

    /// What has come of the payload so far is no good: the rest is of no use.
    pub fn payload_is_bad(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        if self.is_syncing() {
            self.failed_loads = self.failed_loads.saturating_add(1);
            self.close(Cause::LoadFailed, now_ms, actions);
        }
    }

    /// What was here is lost, though the new data did not come: the next attempt cannot go on from it.
    pub fn forget(&mut self) {
        self.resume = None;
    }

    /// Everything up to `applied` is applied, and up to `durable` in the log on disk, if there is a log. When a link is lost, this must
    /// have been said of all that still ran before the next attempt begins: it goes on behind it.
    pub fn applied(&mut self, applied: u64, durable: Option<u64>) {
        if let Some(resume) = &mut self.resume {
            resume.offset = applied;
        }
        self.durable = durable;
    }

    /// What the master has been, or will be, told of this server's disk.
    pub fn durable(&self) -> Option<u64> {
        self.durable
    }

    /// From where a new link would go on.
    pub fn resume(&self) -> Option<Resume> {
        self.resume
    }

    /// The master has asked, or a second has passed.
    pub fn acknowledge(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        // An old master wants none, and gave no id.
        let Some(resume) = self.resume.filter(|_| self.is_up()) else { return };
        self.next_ack_ms = now_ms + ACK_PERIOD_MS;
        let applied = resume.offset.to_string();
        let durable = self.durable.map(|durable| durable.to_string());
        let mut args: Vec<&[u8]> = vec![b"REPLCONF", b"ACK", applied.as_bytes()];
        if let Some(durable) = &durable {
            args.extend([&b"FACK"[..], durable.as_bytes()]);
        }
        actions.push(Action::Send(command(&args)));
    }

    /// Time passes: to be called some times a second.
    pub fn tick(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let is_silent = now_ms.saturating_sub(self.last_io_ms) > self.settings.timeout_ms;
        let cause = match self.phase {
            Phase::Idle => return,
            Phase::Streaming => Cause::StreamTimeout,
            Phase::Frame { .. } | Phase::Transfer { .. } => Cause::TransferTimeout,
            Phase::Loading { .. } => {
                // Loading takes what it takes; the master must see that this end is alive.
                if now_ms >= self.next_newline_ms {
                    self.next_newline_ms = now_ms + ACK_PERIOD_MS;
                    actions.push(Action::Send(b"\n".to_vec()));
                }
                return;
            }
            _ => Cause::ConnectTimeout,
        };
        if is_silent {
            return self.close(cause, now_ms, actions);
        }
        if self.is_up() && now_ms >= self.next_ack_ms {
            self.acknowledge(now_ms, actions);
        }
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
