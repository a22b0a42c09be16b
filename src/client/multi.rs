//! MULTI: the queue of a transaction, and the keys that a client watches.

use crate::command::table::CommandSpec;
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

/// The keys that a client watches, and the flag that their owners set when one changes.
#[derive(Debug)]
pub struct Watching {
    pub flag: WatchFlag,
    pub keys: Vec<(usize, Vec<u8>)>,
}
