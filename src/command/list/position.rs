//! LPOS: where an element is.

use super::super::parse::integer;
use super::{at_least, Args, CommandError, CommandResult, Context};
use crate::store::listpack::Needle;
use crate::store::{End, List};

struct Options {
    /// The first match to tell, from 0.
    skip: u64,
    from: End,
    /// COUNT: an array of so many matches; 0: of all.
    count: Option<usize>,
    /// MAXLEN: elements to look at; 0: all.
    looked_at_max: usize,
}

impl Options {
    fn parse(mut args: Args) -> Result<Options, CommandError> {
        let mut options = Options { skip: 0, from: End::Head, count: None, looked_at_max: 0 };
        while let [name, value, rest @ ..] = args {
            match name {
                name if name.eq_ignore_ascii_case(b"rank") => {
                    let rank = rank(value)?;
                    options.skip = rank.unsigned_abs() - 1;
                    options.from = if rank > 0 { End::Head } else { End::Tail };
                }
                name if name.eq_ignore_ascii_case(b"count") => {
                    options.count = Some(at_least(0, value, "ERR COUNT can't be negative")?);
                }
                name if name.eq_ignore_ascii_case(b"maxlen") => {
                    options.looked_at_max = at_least(0, value, "ERR MAXLEN can't be negative")?;
                }
                _ => return Err(CommandError::Syntax),
            }
            args = rest;
        }
        if args.is_empty() {
            Ok(options)
        } else {
            Err(CommandError::Syntax)
        }
    }
}

fn rank(text: &[u8]) -> Result<i64, CommandError> {
    match integer(text)? {
        0 => Err(CommandError::other(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to \
             start from the end of the list",
        )),
        i64::MIN => Err(CommandError::other(format!(
            "ERR value is out of range, value must between {} and {}",
            -i64::MAX,
            i64::MAX
        ))),
        rank => Ok(rank),
    }
}

/// LPOS key element [RANK rank] [COUNT matches] [MAXLEN elements]
pub fn lpos(ctx: &mut Context, args: Args) -> CommandResult {
    let Options { mut skip, from, count, looked_at_max } = Options::parse(&args[3..])?;
    let list = ctx.store.read_as::<List>(ctx.db, args[1])?;
    let Some(list) = list else {
        match count {
            Some(_) => ctx.reply.array(0),
            None => ctx.reply.null(),
        }
        return Ok(());
    };
    let needle = Needle::new(args[2]);
    let len = list.len();
    let looked_at_max = if looked_at_max == 0 { len } else { looked_at_max.min(len) };
    let matches_max = match count {
        None => 1,
        Some(0) => usize::MAX,
        Some(count) => count,
    };
    let place = count.map(|_| ctx.reply.defer_array());
    let (mut index, mut matches) = (0, 0);
    let first = if from == End::Head { 0 } else { len - 1 };
    list.visit(first, from, |item| {
        if needle.is(item) {
            if skip > 0 {
                skip -= 1;
            } else {
                let number = if from == End::Head { index } else { len - 1 - index };
                ctx.reply.integer(number as i64);
                matches += 1;
            }
        }
        index += 1;
        matches < matches_max && index < looked_at_max
    });
    match place {
        Some(place) => ctx.reply.finish(place, matches),
        None if matches == 0 => ctx.reply.null(),
        None => {}
    }
    Ok(())
}
