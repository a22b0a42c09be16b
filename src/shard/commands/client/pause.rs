//! CLIENT PAUSE, UNPAUSE and UNBLOCK. What a pause means is told in `shard/pause.rs`, how clients block in
//! `shard/blocking.md`.

use super::Outcome;
use crate::client::{Connection, WaitingAt};
use crate::command::{parse, subcommand_syntax, Args, CommandError};
use crate::resp::Reply;
use crate::shard::blocking::End;
use crate::shard::pause::{ObeyPause, Paused};
use crate::shard::scatter::Question;
use crate::shard::{Flow, Shard};
use crate::store::parse_integer;

pub(super) fn pause(shard: &mut Shard, c: &mut Connection, _: &mut Reply, args: Args) -> Outcome {
    let what = match args {
        [_, _, _] => Paused::All,
        [_, _, _, mode] if mode.eq_ignore_ascii_case(b"all") => Paused::All,
        [_, _, _, mode] if mode.eq_ignore_ascii_case(b"write") => Paused::Writes,
        [_, _, _, _] => return Err(CommandError::other("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return Err(subcommand_syntax("CLIENT", args)),
    };
    let now_ms = shard.turn.now_ms();
    let until_ms = deadline(args[2], now_ms)?;
    shard.shared.pause.extend(until_ms, what, now_ms);
    shard.ask_all_for(c, ObeyPause, |_, _, reply| reply.ok());
    Ok(Flow::Later)
}

/// When a pause of so many milliseconds from now ends.
fn deadline(text: &[u8], now_ms: i64) -> Result<i64, CommandError> {
    let ms =
        parse_integer(text).ok_or(CommandError::other("ERR timeout is not an integer or out of range"))?;
    match ms {
        ..0 => Err(CommandError::other("ERR timeout is negative")),
        0 => Ok(0),
        ms => now_ms.checked_add(ms).ok_or(CommandError::other("ERR timeout is out of range")),
    }
}

pub(super) fn unpause(shard: &mut Shard, c: &mut Connection, _: &mut Reply, _: Args) -> Outcome {
    shard.shared.pause.end();
    let later = shard.transactions.reply_later(c);
    shard.ask_all(ObeyPause, move |shard, _| shard.answer_unpause(later));
    Ok(Flow::Later)
}

/// The client's shard knows where its command waits, and only that place can tell whether it still does.
pub(super) fn unblock(shard: &mut Shard, c: &mut Connection, _: &mut Reply, args: Args) -> Outcome {
    let end = match args {
        [_, _, _] => End::Timeout,
        [_, _, _, reason] if reason.eq_ignore_ascii_case(b"timeout") => End::Timeout,
        [_, _, _, reason] if reason.eq_ignore_ascii_case(b"error") => End::Error,
        [_, _, _, _] => {
            return Err(CommandError::other("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"))
        }
        _ => return Err(subcommand_syntax("CLIENT", args)),
    };
    let id = parse::integer(args[2])?;
    let later = shard.transactions.reply_later(c);
    shard.ask_all_caught_up(FindWaiting { id }, move |shard, answers| {
        match answers.into_iter().flatten().next() {
            Some(at) => shard.unblock_client(at, end, later),
            None => {
                let mut reply = Reply::default();
                reply.integer(0);
                shard.complete(later, reply);
            }
        }
    });
    Ok(Flow::Later)
}

/// Where the client with this id waits.
#[derive(Clone)]
pub struct FindWaiting {
    id: i64,
}

impl Question for FindWaiting {
    type Answer = Option<WaitingAt>;

    fn answer(self, shard: &mut Shard) -> Option<WaitingAt> {
        let waits = |c: &&Connection| c.waiting.is_some() && c.id as i64 == self.id;
        shard.connections.table.iter().find(waits).and_then(|c| c.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_so_many_milliseconds_from_now() {
        assert_eq!(deadline(b"100", 1000), Ok(1100));
        assert_eq!(deadline(b"0", 1000), Ok(0));
        for (text, error) in [
            (&b"-1"[..], "ERR timeout is negative"),
            (b"1.5", "ERR timeout is not an integer or out of range"),
            (b"9223372036854775807", "ERR timeout is out of range"),
        ] {
            assert_eq!(deadline(text, 1000), Err(CommandError::other(error)));
        }
    }
}
