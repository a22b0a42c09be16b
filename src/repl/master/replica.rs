//! A replica as its master sees it, and what is done for it.

use super::handshake::THROTTLE_PATIENCE_MS;
use super::options::Options;
use super::wait::Acked;
use crate::base::log::Level;
use crate::repl::history::FullCause;
use crate::repl::master::options::Filter;
use crate::repl::replica::payload::MARK_LEN;

pub type ReplicaId = u64;
pub type JobId = u64;

/// How a snapshot reaches its replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// It becomes a file first, and is sent as `$length`.
    File,
    /// It is written to their sockets, as `$EOF:`.
    Sockets,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    WaitSnapshot,
    Snapshot {
        job: JobId,
    },
    SendFile {
        job: JobId,
    },
    /// Its snapshot comes by another connection, which is not there yet.
    WaitChannel,
    /// Its snapshot goes over another connection, and the stream over this one.
    Streaming,
    /// `held`: no byte of the stream until the first acknowledgement.
    Online {
        held: bool,
    },
    /// It wanted a snapshot only, and has it.
    Done,
}

#[derive(Clone, Debug)]
pub struct Replica {
    pub id: ReplicaId,
    pub options: Options,
    /// The other end of the connection, for log lines.
    pub peer: String,
    pub state: State,
    /// Came by SYNC: it never acknowledges.
    pub is_old: bool,
    /// What it has acknowledged.
    pub acked: Acked,
    pub ack_at_ms: u64,
    /// Another connection with this one's address has asked since: this one is dead perhaps, and nobody has been told. Until an
    /// acknowledgement shows that it is not, WAIT must not count one replica twice.
    pub(super) doubted_since_ms: Option<u64>,
    /// When it last took bytes.
    pub(super) progress_at_ms: u64,
    /// When anything came from it.
    pub(super) heard_at_ms: u64,
    /// It has more to take than lets writers write as fast as they can, since then.
    pub(super) throttled_since_ms: Option<u64>,
    pub(super) since_ms: u64,
    /// It has more to take than the soft limit, since then.
    pub(super) over_soft_since_ms: Option<u64>,
    pub(super) pending: u64,
    pub(super) cause: Option<FullCause>,
    pub(super) snapshot_bytes: u64,
}

impl Replica {
    /// INFO's name of its state.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::WaitSnapshot | State::Snapshot { .. } => "wait_bgsave",
            State::WaitChannel => "wait_rdb_channel",
            State::Streaming => "send_bulk_and_stream",
            State::SendFile { .. } => "send_bulk",
            State::Online { .. } => "online",
            State::Done => "rdb_transmitted",
        }
    }

    pub fn is_online(&self) -> bool {
        matches!(self.state, State::Online { .. })
    }

    /// It counts as one that has what it has acknowledged.
    pub fn counts(&self) -> bool {
        self.is_online() && self.doubted_since_ms.is_none()
    }

    /// It takes something, or says something.
    pub(super) fn is_alive(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.progress_at_ms.max(self.heard_at_ms)) <= THROTTLE_PATIENCE_MS
    }

    /// INFO's lag: how long ago it acknowledged last, milliseconds.
    pub fn lag_ms(&self, now_ms: u64) -> u64 {
        if self.is_online() {
            now_ms.saturating_sub(self.ack_at_ms)
        } else {
            0
        }
    }

    /// Whether INFO shows it, and counts it: not so what carries a snapshot for another connection.
    pub fn is_shown(&self) -> bool {
        !self.is_channel()
    }

    /// Carries a snapshot and nothing else: no replica that others should know.
    pub fn is_channel(&self) -> bool {
        self.options.rdb_channel
    }

    /// How it is called in log lines.
    pub fn name(&self) -> String {
        match &self.options.address {
            Some(address) => {
                format!("{}:{}", crate::repl::wire::shown(address), self.options.listening_port)
            }
            None if self.options.listening_port != 0 => {
                let host = self.peer.rsplit_once(':').map_or(self.peer.as_str(), |(host, _)| host);
                format!("{host}:{}", self.options.listening_port)
            }
            None => self.peer.clone(),
        }
    }
}

/// Why a replica is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drop {
    /// No acknowledgement for `repl-timeout`.
    NoAck,
    /// It did not take its snapshot for `repl-timeout`.
    Stalled,
    /// The connection for its snapshot did not come.
    NoChannel,
    OutputLimit {
        pending: u64,
        limit: u64,
    },
    SnapshotFailed,
    /// It has all that it wanted.
    Done,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Bytes outside of the stream: answers, and newlines that keep a connection alive.
    Send(ReplicaId, Vec<u8>),
    /// The stream begins to be counted: under a new id, and with a new backlog.
    MakeBacklog,
    FreeBacklog,
    /// To be answered by [`Replicas::snapshot_began`].
    StartSnapshot {
        job: JobId,
        target: Target,
        filter: Filter,
        versions: Vec<Option<u32>>,
    },
    /// Nobody wants it any more.
    CancelSnapshot(JobId),
    /// The stream from this offset on is kept for the replica.
    Hold(ReplicaId, u64),
    /// What was held leaves, or what the backlog has from this offset on.
    Stream(ReplicaId, Option<u64>),
    /// The file of this snapshot is to be sent. To be answered by [`Replicas::file_sent`].
    SendFile(ReplicaId, JobId),
    /// What is held for this one is needed no longer.
    Release(ReplicaId),
    /// A PING is to be put into the stream.
    Ping,
    Close(ReplicaId, Drop),
    Log(Level, String),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub full: u64,
    pub partial_ok: u64,
    pub partial_err: u64,
}

/// What a snapshot of now has.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub offset: u64,
    pub stream_db: usize,
    /// The mark at the end of the payload, of a snapshot to sockets.
    pub mark: [u8; MARK_LEN],
}
