//! SYNC and PSYNC as they come, and what the server is when they do.

use crate::command::{Args, CommandError};
use crate::repl::backlog::Backlog;
use crate::repl::history::History;
use crate::store::parse_integer;

/// What the server is at the moment of a request.
pub struct World<'a> {
    pub history: &'a History,
    pub backlog: Option<&'a Backlog>,
    /// Offset of the last byte of the stream.
    pub offset: u64,
    pub is_replica: bool,
    /// Of a replica: it has its master's data, and the stream.
    pub link_up: bool,
    pub failing_over: bool,
}

/// SYNC or PSYNC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    Sync,
    Psync { id: &'a [u8], offset: &'a [u8], failover: bool },
}

impl<'a> Request<'a> {
    /// From a command whose arity has been checked.
    pub fn parse(args: Args<'a>) -> Request<'a> {
        match args {
            [name, id, offset, rest @ ..] if name.eq_ignore_ascii_case(b"psync") => {
                let failover = rest.first().is_some_and(|word| word.eq_ignore_ascii_case(b"failover"));
                Request::Psync { id, offset, failover }
            }
            _ => Request::Sync,
        }
    }

    /// Whether a replica has to become a master first, because the master that it follows hands over to it.
    pub fn promotes(&self, world: &World) -> Result<bool, CommandError> {
        let Request::Psync { id, offset, failover: true } = self else { return Ok(false) };
        if !world.is_replica {
            return Err(CommandError::other("ERR PSYNC FAILOVER can't be sent to a master."));
        }
        if !world.history.id().is(id) {
            return Err(CommandError::other("ERR PSYNC FAILOVER replid must match my replid."));
        }
        // With FORCE the master knows that this replica has less. But one that was restarted meanwhile, from older data, has less
        // than what it had acknowledged: the master would lose what it believes to be here.
        let has_all = parse_integer(offset).is_none_or(|asked| asked <= world.offset as i64 + 1);
        if world.history.is_restored() && !has_all {
            return Err(CommandError::other("ERR PSYNC FAILOVER wants what was lost when I was restarted."));
        }
        Ok(true)
    }
}
