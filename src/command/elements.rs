//! What commands on the elements of sets, hashes and sorted sets share: writing an element, the options of their scans, and
//! how many elements a client wants.

use super::parse::{cursor, integer};
use super::{Args, CommandError, CommandResult, Context};
use crate::base::glob::glob_match;
use crate::resp::Reply;
use crate::store::listpack::Item;
use crate::store::{Collection, EventClass};

/// Elements looked at per step of a scan when COUNT is not given.
const COUNT_DEFAULT: i64 = 10;
/// A scan looks into so many buckets for each element that it is to return at most.
const STEPS_PER_ELEMENT: usize = 10;
/// The most elements that a client gets when it wants them with repetitions, and so more than there are. Redis has no limit
/// but its memory.
pub const REPETITIONS_MAX: u64 = 1 << 26;

/// An element as a bulk string.
#[inline]
pub fn write_item(reply: &mut Reply, item: Item) {
    match item {
        Item::Int(value) => reply.bulk_integer(value),
        Item::Bytes(bytes) => reply.bulk(bytes),
    }
}

/// What follows the cursor of SSCAN, HSCAN and ZSCAN.
struct ScanOptions<'a> {
    count: usize,
    /// None when all match.
    pattern: Option<&'a [u8]>,
}

impl<'a> ScanOptions<'a> {
    fn parse(options: &[&'a [u8]]) -> Result<ScanOptions<'a>, CommandError> {
        let mut parsed = ScanOptions { count: COUNT_DEFAULT as usize, pattern: None };
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            let argument = *rest.next().ok_or(CommandError::Syntax)?;
            if option.eq_ignore_ascii_case(b"count") {
                let count = integer(argument)?;
                if count < 1 {
                    return Err(CommandError::Syntax);
                }
                parsed.count = usize::try_from(count).unwrap_or(usize::MAX);
            } else if option.eq_ignore_ascii_case(b"match") {
                parsed.pattern = Some(argument).filter(|&pattern| pattern != b"*");
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(parsed)
    }

    /// Whether an element of these bytes is to be returned.
    fn matches(&self, element: Item) -> bool {
        let Some(pattern) = self.pattern else { return true };
        glob_match(pattern, element.bytes(&mut itoa::Buffer::new()), false)
    }

    /// Repeats `step`, which takes a cursor and returns the next one and how many elements it has looked at, until there
    /// were enough of them. Returns the cursor to go on with.
    fn run(&self, start: u64, mut step: impl FnMut(u64) -> (u64, usize)) -> u64 {
        let (mut cursor, mut seen) = (start, 0);
        let mut steps_left = self.count.saturating_mul(STEPS_PER_ELEMENT);
        loop {
            let (next, elements) = step(cursor);
            cursor = next;
            seen += elements;
            if cursor == 0 || steps_left == 0 || seen >= self.count {
                return cursor;
            }
            steps_left -= 1;
        }
    }
}

/// HSCAN, SSCAN and ZSCAN: `key cursor [MATCH pattern] [COUNT count]`, the arguments behind the command's name.
///
/// `step` looks at what is at a cursor of the collection, gives each element to its last argument, and returns the cursor to go
/// on with. That answers whether an element matches; `step` then writes it into its reply, as so many strings as `PARTS` says.
pub fn scan_elements<C: Collection, const PARTS: usize>(
    ctx: &mut Context,
    args: Args,
    step: impl Fn(C::View<'_>, u64, &mut Reply, &mut dyn FnMut(Item) -> bool) -> u64,
) -> CommandResult {
    let start = cursor(args[2])?;
    // Apart, because the cursor stands in front of the elements and is known after them.
    let mut elements = Reply::new(ctx.reply.protocol());
    let (mut next, mut returned) = (0, 0);
    if let Some(view) = ctx.store.read_as::<C>(ctx.db, args[1])? {
        let options = ScanOptions::parse(&args[3..])?;
        next = options.run(start, |cursor| {
            let mut seen = 0;
            let next = step(view, cursor, &mut elements, &mut |element| {
                seen += 1;
                let matches = options.matches(element);
                returned += usize::from(matches);
                matches
            });
            (next, seen)
        });
    }
    ctx.reply.array(2);
    ctx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    ctx.reply.array(returned * PARTS);
    ctx.reply.append(&mut elements);
    Ok(())
}

/// How many random elements a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// So many different ones.
    Different(usize),
    /// Exactly so many, and any of them more than once.
    Repeated(usize),
}

impl Wanted {
    /// A count, negative when elements may be repeated.
    pub fn parse(text: &[u8]) -> Result<Wanted, CommandError> {
        let count = integer(text)?;
        if count == i64::MIN {
            return Err(CommandError::other(format!(
                "ERR value is out of range, value must between {} and {}",
                -i64::MAX,
                i64::MAX
            )));
        }
        let magnitude = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        Ok(if count < 0 { Wanted::Repeated(magnitude) } else { Wanted::Different(magnitude) })
    }

    /// The same, unless the reply would become too large.
    pub fn bounded(self) -> Result<Wanted, CommandError> {
        match self {
            Wanted::Repeated(count) if count as u64 > REPETITIONS_MAX => {
                Err(CommandError::other("ERR value is out of range"))
            }
            wanted => Ok(wanted),
        }
    }
}

/// Raises "del" for a key that has gone with its last element; the change itself has been told by another event.
pub fn raise_removed(ctx: &mut Context, key: &[u8], removed: bool) {
    if removed {
        ctx.store.events.raise(ctx.db, EventClass::GENERIC, "del", key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_say_whether_elements_may_be_repeated() {
        assert_eq!(Wanted::parse(b"3"), Ok(Wanted::Different(3)));
        assert_eq!(Wanted::parse(b"-3"), Ok(Wanted::Repeated(3)));
        assert_eq!(Wanted::parse(b"x"), Err(CommandError::NotInteger));
        assert_eq!(
            Wanted::parse(b"-9223372036854775808").unwrap_err().to_string(),
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"
        );
        let many = Wanted::parse(b"-9223372036854775807").unwrap();
        assert_eq!(many.bounded().unwrap_err().to_string(), "ERR value is out of range");
        assert!(Wanted::Different(usize::MAX).bounded().is_ok());
    }

    #[test]
    fn a_scan_ends_after_enough_elements_or_too_many_empty_steps() {
        let options = ScanOptions::parse(&[b"COUNT", b"5"]).unwrap();
        let mut steps = 0;
        assert_eq!(
            options.run(7, |cursor| {
                steps += 1;
                (cursor + 1, 2)
            }),
            10
        );
        assert_eq!(steps, 3);
        assert_eq!(options.run(1, |cursor| (cursor + 1, 0)), 1 + 51);
        assert_eq!(options.run(1, |_| (0, 1)), 0);
    }

    #[test]
    fn options_of_scan_alone_are_refused() {
        for options in [&[&b"type"[..], b"set"][..], &[b"count"], &[b"count", b"0"], &[b"novalues"]] {
            assert_eq!(ScanOptions::parse(options).err(), Some(CommandError::Syntax));
        }
        assert_eq!(ScanOptions::parse(&[b"count", b"x"]).err(), Some(CommandError::NotInteger));
    }
}
