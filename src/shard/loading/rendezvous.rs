//! Commands of a log that another number of shards has written whose keys are now on several of them, and that cannot be cut by key
//! (RENAME, LMOVE, SINTERSTORE).
//!
//! Every shard replays such a log for itself, and passes over what concerns the keys of others. Those that a command of this kind
//! concerns meet at it: the guests tell the owner of its first key, the host, when they have come to it, and wait. Then the host has
//! it run as a transaction, on behalf of a connection that has no client, and tells the guests to go on. All of them come to the
//! meetings in the order of the file, so somebody can always go on: those that are to meet first.

use crate::shard::connections::Connections;
use crate::shard::turn::TurnState;
use smallvec::SmallVec;

use super::replay::ReplayError;
use crate::base::Token;
use crate::client::{Connection, Flag};
use crate::shard::message::LoadMessage;
use crate::shard::Shard;

/// What other shards have said of meetings.
#[derive(Debug, Default)]
pub struct RendezvousPoints {
    /// Positions of commands that this shard is the host of, one for each guest that has come to it.
    arrived: Vec<u64>,
    /// The one that this shard waits for as a guest is over.
    is_over: bool,
}

impl RendezvousPoints {
    pub(in crate::shard) fn guest_has_come(&mut self, position: u64) {
        self.arrived.push(position);
    }

    pub(in crate::shard) fn end(&mut self) {
        self.is_over = true;
    }
}

/// Where this shard stands in the meeting that it has come to.
#[derive(Debug)]
pub(super) enum Rendezvous {
    Guest,
    Host {
        guests: SmallVec<[usize; 4]>,
        position: u64,
        /// The command as it is in the file, until it has begun.
        command: Option<Box<[u8]>>,
        db: usize,
    },
}

impl Connections {
    fn open_replayer(&mut self, turn: &TurnState) -> Token {
        let now_ms = turn.now_ms();
        let user = turn.users.default_user();
        let token = self.table.insert(|token| Connection::new(0, token, None, user, now_ms));
        if let Some(mut connection) = self.table.take(token) {
            connection.flags.set(Flag::Replay);
            connection.flags.set(Flag::Authenticated);
            connection.flags.set(Flag::MayEverything);
            self.table.put_back(connection);
        }
        token
    }
}

impl Shard {
    /// To be called once, when the replay has come to the command of the meeting.
    pub(super) fn come_as_guest(&mut self, host: usize, position: u64) -> Rendezvous {
        self.saving.loader.rendezvous.is_over = false;
        self.send(host, LoadMessage::GuestHasCome { position }.into());
        Rendezvous::Guest
    }

    /// True: the command has run, and the replay goes on behind it. `replayer` is the connection that runs it, made when it
    /// is needed first.
    pub(super) fn attend(
        &mut self,
        rendezvous: &mut Rendezvous,
        replayer: &mut Option<Token>,
    ) -> Result<bool, ReplayError> {
        let Rendezvous::Host { guests, position, command, db } = rendezvous else {
            return Ok(self.saving.loader.rendezvous.is_over);
        };
        if let Some(bytes) = command {
            let here =
                self.saving.loader.rendezvous.arrived.iter().filter(|arrived| *arrived == position).count();
            if here < guests.len() {
                return Ok(false);
            }
            self.saving.loader.rendezvous.arrived.retain(|arrived| arrived != position);
            let token = *replayer.get_or_insert_with(|| self.connections.open_replayer(&self.turn));
            let Some(mut connection) = self.connections.table.take(token) else {
                return Err(ReplayError::Interrupted);
            };
            let c = &mut *connection;
            c.db = *db;
            c.input.extend_from_slice(bytes);
            c.flags.clear(Flag::NeedsInput);
            self.process_input(c);
            self.finish(connection);
            *command = None;
        }
        let connection = replayer.and_then(|token| self.connections.table.get(token));
        let Some(c) = connection.filter(|c| !c.flags.has(Flag::CloseAfterReply)) else {
            return Err(ReplayError::Interrupted);
        };
        if !c.input.is_empty() || !c.pipeline.is_empty() || c.is_held() {
            return Ok(false);
        }
        for guest in guests.iter().copied() {
            self.send(guest, LoadMessage::RendezvousIsOver.into());
        }
        Ok(true)
    }
}
