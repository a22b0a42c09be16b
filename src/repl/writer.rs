//! Writes the replication stream: what belongs together as MULTI and EXEC, SELECT where the database changes, and a count of every byte.

use super::wire::put_command;
use crate::journal::feed::join_parts;
use crate::journal::{Place, View};

/// Switches that plant a fault, for tests that must find it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg(test)]
pub enum Fault {
    #[default]
    None,
    /// A part leaves as soon as it comes, outside of its transaction.
    PartOutside,
    /// PING is written but not counted.
    PingNotCounted,
}

/// Writes the stream, and counts it.
#[derive(Debug)]
pub struct StreamWriter {
    /// The database that the stream has selected.
    selected: Option<usize>,
    /// Offset of the last byte written.
    offset: u64,
    /// What has been written since the last [`StreamWriter::take`].
    pending: Vec<u8>,
    #[cfg(test)]
    pub fault: Fault,
}

impl StreamWriter {
    /// A stream of which `offset` bytes have been written before, and in which `selected` is the database.
    pub fn new(offset: u64, selected: Option<usize>) -> StreamWriter {
        StreamWriter {
            selected,
            offset,
            pending: Vec::new(),
            #[cfg(test)]
            fault: Fault::None,
        }
    }

    /// `master_repl_offset`.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What a snapshot of now has to say about the stream's database.
    pub fn selected(&self) -> Option<usize> {
        self.selected
    }

    /// The next command selects its database again: a replica that comes by a full synchronisation knows of none.
    pub fn forget_selected(&mut self) {
        self.selected = None;
    }

    fn command(&mut self, args: &[&[u8]]) {
        let before = self.pending.len();
        put_command(&mut self.pending, args);
        self.offset += (self.pending.len() - before) as u64;
    }

    /// Keeps links alive, and lets replicas see that theirs is.
    pub fn ping(&mut self) {
        #[cfg(test)]
        if self.fault == Fault::PingNotCounted {
            put_command(&mut self.pending, &[b"PING"]);
            return;
        }
        self.command(&[b"PING"]);
    }

    /// Asks all replicas for an acknowledgement now.
    pub fn ask_for_acks(&mut self) {
        self.command(&[b"REPLCONF", b"GETACK", b"*"]);
    }

    /// Where there is no backlog nothing is written, but an offset that is newer than all others is needed.
    pub fn skip(&mut self) {
        self.offset += 1;
    }

    /// The bytes of a master, unchanged: for a replica with replicas of its own.
    pub fn forward(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
    }

    /// What one command or one MULTI body did.
    pub(super) fn unit(&mut self, unit: View) {
        self.together(unit.len(), unit.commands());
    }

    /// What a transaction over shards did: its parts, in the order of its writers.
    pub(super) fn transaction(&mut self, parts: &[View]) {
        let commands = join_parts(parts);
        self.together(commands.len(), commands.into_iter());
    }

    fn together<'a>(&mut self, count: usize, commands: impl Iterator<Item = (Place, &'a [u8])>) {
        if count > 1 {
            self.command(&[b"MULTI"]);
        }
        for (place, bytes) in commands {
            if self.selected != Some(place.db) {
                self.command(&[b"SELECT", itoa::Buffer::new().format(place.db).as_bytes()]);
                self.selected = Some(place.db);
            }
            self.pending.extend_from_slice(bytes);
            self.offset += bytes.len() as u64;
        }
        if count > 1 {
            self.command(&[b"EXEC"]);
        }
    }

    /// What has been written since the last call: for the backlog.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// At most so many of the first bytes that are pending; to be followed by `drop_front`.
    pub fn front(&self, len: usize) -> &[u8] {
        &self.pending[..len.min(self.pending.len())]
    }

    pub fn drop_front(&mut self, len: usize) {
        self.pending.drain(..len.min(self.pending.len()));
    }

    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// As `take`, where the buffer stays.
    pub fn clear(&mut self) {
        self.pending.clear();
    }
}
