//! SCAN over several shards, one after the other.

use super::call::{context, Call};
use super::Shard;
use crate::command::table::Handler;
use crate::command::CommandResult;
use crate::resp::Reply;
use crate::txn::join::cursor_of;
use crate::txn::message::Slices;

impl Shard {
    /// SCAN: the client's cursor names the shard too; the command itself knows only this shard's part of it.
    pub(super) fn run_with_cursor(&mut self, call: Call, reply: &mut Reply) -> CommandResult {
        let Call { spec, db, args, caller, .. } = call;
        let Handler::EveryShard(run, _) = spec.handler else { return Ok(()) };
        let outer = args.get(1).and_then(|text| crate::command::parse::cursor(text).ok());
        let Some(outer) = outer.filter(|_| !self.turn.slots.is_single()) else {
            return run(&mut context(&mut self.store, db, reply, caller), args);
        };
        let inner = self.turn.slots.split_cursor(outer).1.to_string();
        let mut inner_args: Slices = args.iter().copied().collect();
        inner_args[1] = inner.as_bytes();
        let mut part = Reply::new(reply.protocol());
        run(&mut context(&mut self.store, db, &mut part, caller), &inner_args)?;
        // The reply is an array of the cursor and the elements: only the cursor changes.
        let (plain, _) = part.take_parts();
        let next = cursor_of(&plain);
        let (digits, rest) = match next {
            Some((cursor, rest)) => (self.turn.slots.join_cursor(self.id, cursor), rest),
            None => {
                reply.raw(&plain);
                return Ok(());
            }
        };
        reply.array(2);
        reply.bulk_integer(digits as i64);
        reply.raw(&plain[rest..]);
        Ok(())
    }
}
