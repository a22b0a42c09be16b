//! SAVE BGSAVE PIPESAVE DUMPSAVE BGREWRITEAOF LASTSAVE SHUTDOWN: what is to be kept on disk, and the end.

use super::Handler;
use crate::client::{Connection, Flag};
use crate::command::{Args, CommandError};
use crate::config::SnapshotMethod;
use crate::resp::Reply;
use crate::shard::blocking::Asker;
use crate::shard::saving::message::LeaderRequest;
use crate::shard::saving::{Handover, ShutdownRequest};
use crate::shard::{Flow, Shard};

pub const COMMANDS: &[(&str, Handler)] = &[
    ("save", save),
    ("bgsave", bgsave),
    ("pipesave", pipesave),
    ("dumpsave", dumpsave),
    ("bgrewriteaof", bgrewriteaof),
    ("lastsave", lastsave),
    ("shutdown", shutdown),
];

type Outcome = Result<Flow, CommandError>;

fn asker(shard: &mut Shard, c: &mut Connection) -> Asker {
    Asker { home: shard.id, later: shard.transactions.reply_later(c) }
}

fn save(shard: &mut Shard, c: &mut Connection, _: &mut Reply, _: Args) -> Outcome {
    let asker = asker(shard, c);
    shard.tell_leader(LeaderRequest::Save(asker));
    Ok(Flow::Later)
}

/// BGSAVE [SCHEDULE | FORK | FORKLESS]
fn bgsave(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let (schedule, method) = match args {
        [_] => (false, None),
        [_, option] => match option.to_ascii_lowercase().as_slice() {
            b"schedule" => (true, None),
            b"fork" => (false, Some(SnapshotMethod::Fork)),
            b"forkless" => (false, Some(SnapshotMethod::Forkless)),
            _ => return Err(CommandError::Syntax),
        },
        _ => return Err(CommandError::Syntax),
    };
    if shard.transactions.is_inside_transaction() {
        // It could begin only when the transaction has ended.
        shard.tell_leader(LeaderRequest::ScheduleBgsave);
        reply.simple("Background saving scheduled");
        return Ok(Flow::Done);
    }
    let asker = asker(shard, c);
    shard.tell_leader(LeaderRequest::Bgsave { schedule, method, asker });
    Ok(Flow::Later)
}

fn pipesave(shard: &mut Shard, c: &mut Connection, _: &mut Reply, _: Args) -> Outcome {
    let asker = asker(shard, c);
    shard.tell_leader(LeaderRequest::Pipesave(asker));
    Ok(Flow::Later)
}

fn dumpsave(shard: &mut Shard, c: &mut Connection, _: &mut Reply, _: Args) -> Outcome {
    if c.flags.has(Flag::Monitor) {
        return Err(CommandError::other("ERR A connection that monitors can't take a dump"));
    }
    let asker = asker(shard, c);
    shard.saving.hand_over_later(Handover { client: c.token, asker });
    Ok(Flow::Later)
}

fn bgrewriteaof(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    if shard.transactions.is_inside_transaction() {
        shard.tell_leader(LeaderRequest::ScheduleRewrite);
        reply.simple("Background append only file rewriting scheduled");
        return Ok(Flow::Done);
    }
    let asker = asker(shard, c);
    shard.tell_leader(LeaderRequest::Bgrewriteaof(asker));
    Ok(Flow::Later)
}

fn lastsave(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    reply.integer(shard.shared.status.figures().saved_at_s);
    Ok(Flow::Done)
}

/// SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]. There is no replica to wait for, so NOW changes nothing. The client gets no
/// reply but when it fails.
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
    if !nosave && shard.shared.scripts.is_any_busy() {
        return Err(shard.turn.busy_error());
    }
    let asker = asker(shard, c);
    if abort {
        shard.tell_leader(LeaderRequest::AbortShutdown(asker));
        return Ok(Flow::Later);
    }
    let save = match (save, nosave) {
        (false, false) => None,
        (save, _) => Some(save),
    };
    shard.tell_leader(LeaderRequest::Shutdown(ShutdownRequest { save, force, asker: Some(asker) }));
    Ok(Flow::Later)
}
