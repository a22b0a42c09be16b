//! MULTI: the queue of a transaction, and the keys that a client watches.

use super::Connection;
use crate::command::table::{CommandSpec, Role};
use crate::store::WatchFlag;
use crate::txn::message::OwnedArgs;

/// One queued command.
#[derive(Debug)]
pub struct Queued {
    pub spec: &'static CommandSpec,
    pub args: OwnedArgs,
}

#[derive(Debug, Default)]
pub struct Multi {
    pub queue: Vec<Queued>,
    /// A command was refused while queueing: EXEC answers EXECABORT.
    pub refused: bool,
    /// Bytes of the queued arguments, for `multi-mem`.
    pub bytes: usize,
}

impl Multi {
    pub fn memory_bytes(&self) -> usize {
        self.bytes + self.queue.capacity() * std::mem::size_of::<Queued>()
    }
}

impl Connection {
    /// The commands that `spec`, sent now, would run: those that are queued, if it is EXEC.
    #[inline]
    pub fn queue_of(&self, spec: &CommandSpec) -> &[Queued] {
        match &self.multi {
            Some(multi) if spec.role == Role::Exec => &multi.queue,
            _ => &[],
        }
    }
}

/// The keys that a client watches, and the flag that their owners set when one changes.
#[derive(Debug)]
pub struct Watching {
    pub flag: WatchFlag,
    pub keys: Vec<(usize, Vec<u8>)>,
}

impl Watching {
    /// A key costs its entry here and about as much again with its owner; the keys' own bytes are not summed up, which
    /// would take time with each change.
    pub fn memory_bytes(&self) -> usize {
        2 * self.keys.len() * std::mem::size_of::<(usize, Vec<u8>)>()
    }
}
