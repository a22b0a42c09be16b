//! The link to one master: how far it is, and the bytes on their way to shards and to this server's own replicas.

use std::sync::Arc;

use bytes::Bytes;

use super::connection::Connection;
use super::payload::PayloadFile;
use super::Master;
use crate::config::Config;
use crate::repl::replica::forward::Forward;
use crate::repl::replica::link::{Link, Resume, Settings};
use crate::repl::replica::stream::{Bounds, Cutter, Schedule};
use crate::replication::core::Core;
use crate::replication::follow::AsideReport;
use crate::replication::intake::Intake;

/// What waits for shards, bytes; from then on the link is not read. As much as keeps them busy, and little enough to stay in a core's
/// cache until they have it.
const SCHEDULE_BYTES_MAX: usize = 1 << 20;
/// A command of a master, and a transaction of one, bytes.
const COMMAND_BYTES_MAX: usize = 1 << 30;
const TRANSACTION_BYTES_MAX: usize = 1 << 30;

/// How far a snapshot is.
pub enum Incoming {
    /// On its way into the file.
    File { file: PayloadFile, start: Option<Resume>, has_all: bool },
    /// Shards load it.
    Loading { file: PayloadFile, start: Option<Resume>, missing: usize, report: Result<AsideReport, String> },
    /// Shards load it as it comes (`repl-diskless-load`).
    Link {
        intakes: Vec<Arc<Intake>>,
        start: Option<Resume>,
        bytes: u64,
        total: Option<u64>,
        has_all: bool,
        missing: usize,
        sum: AsideReport,
    },
    /// It takes the place of what was here.
    TakingOver { file: Option<PayloadFile>, start: Option<Resume>, report: AsideReport },
}

/// The link to one master, and what comes over it.
pub struct Active {
    pub master: Master,
    pub link: Link,
    pub cutter: Cutter,
    pub schedule: Schedule,
    pub forward: Forward,
    pub connection: Option<Connection>,
    /// Input that the link does not want yet.
    pub held: Bytes,
    pub retry_at_ms: Option<u64>,
    pub incoming: Option<Incoming>,
    /// Snapshots for this server's own replicas that begin at the schedule's barrier, and have not yet.
    pub cuts: usize,
}

impl Active {
    pub fn new(master: Master, link: Link, core: &Core, db: usize) -> Active {
        let (now_ms, offset) = (core.now_ms(), core.writer.offset());
        Active {
            master,
            link,
            cutter: Cutter::new(offset, db, bounds(&core.config)),
            schedule: Schedule::new(core.shards, offset, db, SCHEDULE_BYTES_MAX),
            forward: Forward::new(offset),
            connection: None,
            held: Bytes::new(),
            retry_at_ms: Some(now_ms),
            incoming: None,
            cuts: 0,
        }
    }

    /// Whether more input has a use.
    pub fn may_take(&mut self) -> bool {
        let has_room = match &mut self.incoming {
            Some(Incoming::File { file, .. }) => file.give(),
            Some(Incoming::Link { intakes, .. }) => intakes.iter().all(|intake| intake.has_room()),
            Some(_) => false,
            None => !self.schedule.is_full(),
        };
        // Before the connection is there the link wants no input, but hears of it.
        has_room && (self.link.wants_input() || self.link.state_name() == "connecting")
    }

    pub fn loading_bytes(&self) -> (u64, Option<u64>) {
        match &self.incoming {
            Some(Incoming::File { file, .. } | Incoming::Loading { file, .. }) => {
                (file.bytes, Some(file.bytes))
            }
            Some(Incoming::Link { bytes, total, .. }) => (*bytes, *total),
            Some(Incoming::TakingOver { file, .. }) => {
                let bytes = file.as_ref().map_or(0, |file| file.bytes);
                (bytes, Some(bytes))
            }
            None => (0, None),
        }
    }

    /// True: shards may be waiting for it.
    pub fn push_payload(&mut self, piece: Bytes) -> bool {
        match &mut self.incoming {
            Some(Incoming::File { file, .. }) => {
                file.push(piece);
                false
            }
            Some(Incoming::Link { intakes, bytes, .. }) => {
                *bytes += piece.len() as u64;
                // Each shard gets it.
                intakes.iter().fold(false, |waits, intake| intake.push(piece.clone()) | waits)
            }
            _ => false,
        }
    }

    /// All of the snapshot has come.
    pub fn end_payload(&mut self) {
        match &mut self.incoming {
            Some(Incoming::File { has_all, .. }) => *has_all = true,
            Some(Incoming::Link { intakes, has_all, .. }) => {
                *has_all = true;
                intakes.iter().for_each(|intake| intake.end());
            }
            _ => {}
        }
    }

    pub fn hang_up(&mut self) {
        self.connection = None;
        self.held = Bytes::new();
        self.schedule.drop_waiting();
    }

    /// Cuts the bytes, for the schedule.
    pub fn stream(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.cutter.push(bytes);
        self.forward.push(bytes);
        while let Some(item) = self.cutter.next().map_err(|error| error.to_string())? {
            self.schedule.push(item);
        }
        Ok(())
    }

    /// What is applied is the own replicas' to get.
    pub fn advance(&mut self, core: &mut Core) {
        let applied = self.schedule.applied();
        let bytes = self.forward.up_to(applied);
        if !bytes.is_empty() {
            core.writer.forward(&bytes);
            core.flush();
        }
        self.link.applied(applied, core.durable());
    }

    /// The link goes on behind what is applied.
    pub fn restart_stream(&mut self, core: &Core) {
        let (offset, db) = (self.schedule.applied(), self.schedule.applied_db());
        self.begin_stream(core, offset, db);
    }

    pub fn begin_stream(&mut self, core: &Core, offset: u64, db: usize) {
        self.cutter = Cutter::new(offset, db, bounds(&core.config));
        self.schedule = Schedule::new(core.shards, offset, db, SCHEDULE_BYTES_MAX);
        self.forward = Forward::new(offset);
        self.cuts = 0;
    }
}

fn bounds(config: &Config) -> Bounds {
    Bounds {
        command_max: COMMAND_BYTES_MAX,
        transaction_max: TRANSACTION_BYTES_MAX,
        databases: config.general.databases as usize,
    }
}

pub fn settings(config: &Config) -> Settings {
    let replication = &config.replication;
    let (announced, port) = (replication.replica_announce_port, config.network.port);
    Settings {
        user: replication.masteruser.clone(),
        password: replication.masterauth.clone(),
        port: if announced > 0 { announced } else { port },
        address: replication.replica_announce_ip.clone(),
        timeout_ms: u64::from(replication.repl_timeout) * 1000,
    }
}
