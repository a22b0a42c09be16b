//! The stream commands. By file: `add` (XADD), `trim` (XTRIM and the options that it shares with XADD), `range` (XRANGE, XREVRANGE,
//! XLEN), `delete` (XDEL, XSETID), `read` (XREAD), `read_group` (XREADGROUP), `group` (XGROUP), `pending` (XACK, XPENDING), `claim` (XCLAIM,
//! XAUTOCLAIM), `info` (XINFO).
//!
//! What Redis does not count as a change of the key, for those who watch it, is none here either: everything that happens
//! to groups only. It is logged nonetheless.

mod add;
mod claim;
mod delete;
mod group;
mod id;
mod info;
mod pending;
mod range;
mod read;
mod read_group;
#[cfg(test)]
mod tests;
mod trim;

pub use add::xadd;
pub use claim::{xautoclaim, xclaim};
pub use delete::{xdel, xsetid};
pub use group::{
    xgroup_create, xgroup_createconsumer, xgroup_delconsumer, xgroup_destroy, xgroup_help, xgroup_setid,
};
pub use info::{xinfo_consumers, xinfo_groups, xinfo_help, xinfo_stream};
pub use pending::{xack, xpending};
pub use range::{xlen, xrange, xrevrange};
pub use read::{xread, xread_excerpt, xread_keys, xreadgroup_keys};
pub use read_group::{xreadgroup, xreadgroup_excerpt};
pub use trim::xtrim;

use super::{c_text, CommandError, Context};
use crate::resp::Reply;
use crate::store::stream::{Entry, Pending, StreamId};
use crate::store::EventClass;

fn no_group_for_key(group: &[u8], key: &[u8]) -> CommandError {
    CommandError::other(format!(
        "NOGROUP No such consumer group '{}' for key name '{}'",
        c_text(group),
        c_text(key)
    ))
}

fn no_key_or_group(key: &[u8], group: &[u8]) -> CommandError {
    CommandError::other(format!(
        "NOGROUP No such key '{}' or consumer group '{}'",
        c_text(key),
        c_text(group)
    ))
}

fn reply_id(reply: &mut Reply, id: StreamId) {
    reply.bulk(&id.text());
}

/// An entry as an array of its ID and of an array of fields and values in turn.
fn reply_entry(reply: &mut Reply, entry: &Entry) {
    reply.array(2);
    reply_id(reply, entry.id());
    reply.array(2 * entry.len());
    let mut digits = itoa::Buffer::new();
    for (field, value) in entry.fields() {
        reply.bulk(field.bytes(&mut digits));
        reply.bulk(value.bytes(&mut digits));
    }
}

/// A change of a group, which is none of the key's as far as those are concerned who watch it.
fn group_changed(ctx: &mut Context, key: &[u8], event: &'static str) {
    ctx.store.dirty += 1;
    ctx.store.events.raise(ctx.db, EventClass::STREAM, event, key);
}

/// Logs a delivery as a claim that has the same effect whenever it is repeated.
fn log_as_claim(
    ctx: &mut Context,
    (key, group, consumer): (&[u8], &[u8], &[u8]),
    id: StreamId,
    pending: &Pending,
    last_id: StreamId,
) {
    let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    ctx.log_instead(&[
        b"XCLAIM",
        key,
        group,
        consumer,
        b"0",
        &id.text(),
        b"TIME",
        time.format(pending.delivered_ms).as_bytes(),
        b"RETRYCOUNT",
        count.format(pending.deliveries).as_bytes(),
        b"FORCE",
        b"JUSTID",
        b"LASTID",
        &last_id.text(),
    ]);
}

/// Logs where a group has read to, where no claim tells.
fn log_group_id(ctx: &mut Context, key: &[u8], group: &[u8], last_id: StreamId, entries_read: Option<i64>) {
    let mut read = itoa::Buffer::new();
    ctx.log_instead(&[
        b"XGROUP",
        b"SETID",
        key,
        group,
        &last_id.text(),
        b"ENTRIESREAD",
        read.format(entries_read.unwrap_or(-1)).as_bytes(),
    ]);
}
