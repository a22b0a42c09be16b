//! Replays a log that was written by another number of shards: its commands are given to a connection that has no client, and find
//! their shards, and become transactions where they concern several, as a client's do.

use std::fs::File;
use std::path::Path;

use super::replay::ReplayError;
use crate::client::{Connection, Flag};
use crate::persist::aof::scan::{Item, Scanner};
use crate::runtime::ring::Token;
use crate::shard::Shard;

/// Bytes of commands that are given to the connection at once.
const INPUT_BYTES: usize = 256 * 1024;

pub(super) struct Routed {
    scanner: Scanner<File>,
    from: u64,
    until: u64,
    token: Token,
    commands: u64,
    /// Nothing can be done before another shard answers, or in a later turn.
    waits: bool,
}

impl Routed {
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// Bytes read.
    pub fn position(&self) -> u64 {
        self.scanner.position() - self.from
    }

    pub fn commands(&self) -> u64 {
        self.commands
    }
}

impl Shard {
    pub(super) fn begin_routing(
        &mut self,
        path: &Path,
        from: u64,
        until: u64,
    ) -> Result<Routed, ReplayError> {
        let file = File::open(path).map_err(ReplayError::Open)?;
        let scanner = Scanner::new(file, from).map_err(ReplayError::Open)?;
        let now_ms = self.now_ms();
        let token = self.clients.insert(|token| Connection::new(0, token, -1, now_ms));
        if let Some(mut connection) = self.clients.take(token) {
            connection.flags.set(Flag::Replay);
            connection.flags.set(Flag::Authenticated);
            self.clients.put_back(connection);
        }
        Ok(Routed { scanner, from, until, token, commands: 0, waits: false })
    }

    /// Gives the connection more to do when it has done what it had. True: all is done.
    pub(super) fn route_some(
        &mut self,
        routed: &mut Routed,
        _enough: &dyn Fn() -> bool,
    ) -> Result<bool, ReplayError> {
        let taken = self.clients.take(routed.token);
        let Some(mut connection) = taken else { return Err(ReplayError::Interrupted) };
        let c = &mut *connection;
        if c.flags.has(Flag::CloseAfterReply) {
            self.clients.put_back(connection);
            return Err(ReplayError::Interrupted);
        }
        if let Some(unknown) = self.replay_refused.take() {
            self.clients.put_back(connection);
            return Err(ReplayError::Unknown(unknown));
        }
        let is_busy = !c.input.is_empty() || !c.pipeline.is_empty() || c.is_held();
        routed.waits = is_busy;
        if is_busy {
            self.clients.put_back(connection);
            return Ok(false);
        }
        let mut is_over = false;
        while c.input.len() < INPUT_BYTES {
            if routed.scanner.position() >= routed.until {
                is_over = true;
                break;
            }
            match routed.scanner.next().map_err(ReplayError::Fault)? {
                None => {
                    is_over = true;
                    break;
                }
                Some(Item::Annotation(_)) => {}
                Some(Item::Command(command)) => {
                    c.input.extend_from_slice(command.bytes());
                    routed.commands += 1;
                }
            }
        }
        if is_over && c.input.is_empty() {
            self.clients.put_back(connection);
            self.clients.remove(routed.token);
            return Ok(true);
        }
        c.flags.clear(Flag::NeedsInput);
        self.process_input(c);
        self.finish(connection);
        Ok(false)
    }
}
