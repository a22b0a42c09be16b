//! TIME ROLE WAIT SHUTDOWN LOLWUT: commands about the server as a whole.

use std::sync::atomic::Ordering;

use super::Handler;
use crate::client::{Connection, Flag};
use crate::command::{Args, CommandError};
use crate::observe::log::Level;
use crate::observe::lolwut;
use crate::resp::Reply;
use crate::runtime::{clock, signals};
use crate::shard::shared::Shutdown;
use crate::shard::transactions::Later;
use crate::shard::{Flow, Shard};
use crate::store::parse_integer;

pub const COMMANDS: &[(&str, Handler)] =
    &[("time", time), ("role", role), ("wait", wait), ("shutdown", shutdown), ("lolwut", lolwut)];

type Outcome = Result<Flow, CommandError>;

fn time(_: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    let now_us = clock::unix_us();
    reply.array(2);
    reply.bulk_integer(now_us / 1_000_000);
    reply.bulk_integer(now_us % 1_000_000);
    Ok(Flow::Done)
}

fn role(_: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(0);
    reply.array(0);
    Ok(Flow::Done)
}

/// WAIT numreplicas timeout. No replica will ever confirm here, so a client that wants one waits for its timeout.
fn wait(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let wanted = parse_integer(args[1]).ok_or(CommandError::NotInteger)?;
    let timeout_ms = parse_integer(args[2])
        .ok_or_else(|| CommandError::other("ERR timeout is not an integer or out of range"))?;
    if timeout_ms < 0 {
        return Err(CommandError::other("ERR timeout is negative"));
    }
    if wanted <= 0 || shard.is_inside_transaction() {
        reply.integer(0);
        return Ok(Flow::Done);
    }
    let until_ms = if timeout_ms == 0 { i64::MAX } else { shard.now_ms().saturating_add(timeout_ms) };
    let later = shard.reply_later(c);
    shard.waits.add(until_ms, later);
    Ok(Flow::Later)
}

/// Clients in WAIT, and until when (Unix milliseconds; `i64::MAX` for ever). At most one for each connection.
#[derive(Default)]
pub(in crate::shard) struct Waits(Vec<(i64, Later)>);

impl Waits {
    fn add(&mut self, until_ms: i64, later: Later) {
        self.0.push((until_ms, later));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Shard {
    /// Answers the clients whose wait is over, and forgets those that have gone.
    pub(in crate::shard) fn end_waits(&mut self) {
        if self.waits.0.is_empty() {
            return;
        }
        let now_ms = self.now_ms();
        for (until_ms, later) in std::mem::take(&mut self.waits.0) {
            if until_ms <= now_ms {
                let mut reply = Reply::default();
                reply.integer(0);
                self.complete(later, reply);
            } else if self.is_awaited(later) {
                self.waits.0.push((until_ms, later));
            }
        }
    }

    /// Whether anybody is left to hear the answer. A connection that its peer has closed ends here.
    fn is_awaited(&mut self, later: Later) -> bool {
        let Later::InPipeline(origin) = later else { return true };
        let Some(mut connection) = self.clients.take(origin.client) else { return false };
        if connection.flags.has(Flag::PeerClosed) {
            self.close(&mut connection);
        }
        let is_open = !connection.flags.has(Flag::Closing);
        self.finish(connection);
        is_open
    }
}

/// SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]. Nothing is kept on disk, so there is nothing to save and no
/// replica to wait for: the server ends as soon as replies are out, and the client gets none.
fn shutdown(shard: &mut Shard, c: &mut Connection, _: &mut Reply, args: Args) -> Outcome {
    let (mut save, mut nosave, mut now, mut force, mut abort) = (false, false, false, false, false);
    for option in &args[1..] {
        let flag = match option.to_ascii_lowercase().as_slice() {
            b"save" => &mut save,
            b"nosave" => &mut nosave,
            b"now" => &mut now,
            b"force" => &mut force,
            b"abort" => &mut abort,
            _ => return Err(CommandError::Syntax),
        };
        *flag = true;
    }
    if abort && (save || nosave || now || force) || save && nosave {
        return Err(CommandError::Syntax);
    }
    if abort {
        // A shutdown waits for nothing that an ABORT could still get in front of.
        return Err(CommandError::other("ERR No shutdown in progress."));
    }
    crate::log!(Level::Warning, "User requested shutdown...");
    shard.shared.shutdown.store(Shutdown::Asked as u64, Ordering::Release);
    signals::ring();
    c.flags.set(Flag::CloseAfterReply);
    Ok(Flow::Done)
}

/// LOLWUT [VERSION version] [columns] [rows]
fn lolwut(_: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let mut rest = &args[1..];
    if let [option, version, tail @ ..] = rest {
        if option.eq_ignore_ascii_case(b"version") {
            parse_integer(version).ok_or(CommandError::NotInteger)?;
            rest = tail;
        }
    }
    let mut sizes = [lolwut::COLUMNS, lolwut::ROWS];
    for (size, text) in sizes.iter_mut().zip(rest) {
        *size =
            parse_integer(text).ok_or(CommandError::NotInteger)?.clamp(1, lolwut::SIDE_MAX as i64) as usize;
    }
    let turn = (clock::unix_us() % lolwut::TURNS as i64) as usize;
    let art = lolwut::draw(sizes[0], sizes[1], turn);
    reply.verbatim("txt", format!("{art}\nRedis ver. {}\n", crate::REDIS_VERSION).as_bytes());
    Ok(Flow::Done)
}
