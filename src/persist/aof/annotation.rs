//! Lines of the log that begin with `#`: facts that are not commands. Redis and its tools skip them.
//!
//! `#TS:<seconds>` is Redis's own. `#GTX:<number>:<shards>` says that the unit behind it is this shard's part of a transaction, and
//! which shards write one; with `:none` at its end, that there is no unit. `#CUT:<number>` says that a barrier was here.
//! `#AFTER:<number>`, at the beginning of a file, says that the file before it ends with that barrier.
//!
//! Redis reads lines of up to 1,023 bytes. So that `<shards>` always fits, it has two forms: numbers and ranges in order
//! (`0,3,8-11`), and, where that is longer than [`LIST_BYTES_MAX`], `x` and a bit for each shard in hexadecimal digits, each for four
//! shards, the lowest first.

use std::io::Write;

use smallvec::SmallVec;

use crate::base::SHARDS_MAX;

/// The longest line that Redis reads as one, bytes.
pub const LINE_BYTES_MAX: usize = 1023;
const LIST_BYTES_MAX: usize = 512;

/// Shards that write a part of a transaction, in order.
pub type Shards = SmallVec<[u16; 8]>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Annotation {
    /// What follows was written at this Unix time, seconds, or later.
    Time(i64),
    /// The unit that follows is a part of transaction `number`.
    Part {
        number: u64,
        shards: Shards,
        /// It did nothing on this shard: no unit follows.
        is_empty: bool,
    },
    /// A barrier.
    Cut(u64),
    /// The file before this one ends with this barrier.
    After(u64),
    /// Of somebody else.
    Other,
}

/// Understands a line, without its end. `None` when it is one of Gyre's, and damaged.
pub fn parse(line: &[u8]) -> Option<Annotation> {
    if let Some(text) = line.strip_prefix(b"#GTX:") {
        return parse_part(text);
    }
    if let Some(number) = line.strip_prefix(b"#CUT:") {
        return Some(Annotation::Cut(parse_number(number)?));
    }
    if let Some(number) = line.strip_prefix(b"#AFTER:") {
        return Some(Annotation::After(parse_number(number)?));
    }
    let time = line.strip_prefix(b"#TS:").and_then(|time| std::str::from_utf8(time).ok());
    Some(time.and_then(|time| time.parse().ok()).map_or(Annotation::Other, Annotation::Time))
}

fn parse_part(text: &[u8]) -> Option<Annotation> {
    let mut fields = text.split(|byte| *byte == b':');
    let number = parse_number(fields.next()?)?;
    let shards = match fields.next()? {
        [b'x', digits @ ..] => parse_bits(digits)?,
        list => parse_list(list)?,
    };
    let is_empty = match fields.next() {
        None => false,
        Some(b"none") => true,
        Some(_) => return None,
    };
    let part = Annotation::Part { number, shards, is_empty };
    Some(part).filter(|_| fields.next().is_none())
}

fn parse_number(digits: &[u8]) -> Option<u64> {
    // Not what `parse` accepts beside digits: a plus sign.
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| digits.starts_with(|c: char| c.is_ascii_digit()))?;
    digits.parse().ok()
}

fn parse_list(list: &[u8]) -> Option<Shards> {
    let mut shards = Shards::new();
    for item in list.split(|byte| *byte == b',') {
        let (first, last) = match memchr::memchr(b'-', item) {
            None => (parse_number(item)?, parse_number(item)?),
            Some(dash) => (parse_number(&item[..dash])?, parse_number(&item[dash + 1..])?),
        };
        let is_ascending = shards.last().is_none_or(|before| u64::from(*before) < first) && first <= last;
        if !is_ascending || last >= u64::from(SHARDS_MAX) {
            return None;
        }
        shards.extend(first as u16..=last as u16);
    }
    Some(shards)
}

fn parse_bits(digits: &[u8]) -> Option<Shards> {
    let mut shards = Shards::new();
    for (index, digit) in digits.iter().enumerate() {
        let bits = char::from(*digit).to_digit(16)?;
        for bit in (0..4).filter(|bit| bits & 1 << bit != 0) {
            shards.push(u16::try_from(index * 4 + bit).ok().filter(|shard| *shard < SHARDS_MAX)?);
        }
    }
    Some(shards).filter(|shards| !shards.is_empty())
}

/// `#TS:<seconds>`.
pub fn put_time(out: &mut Vec<u8>, seconds: i64) {
    put(out, format_args!("#TS:{seconds}\r\n"));
}

/// `#CUT:<number>`.
pub fn put_cut(out: &mut Vec<u8>, number: u64) {
    put(out, format_args!("#CUT:{number}\r\n"));
}

/// `#AFTER:<number>`.
pub fn put_after(out: &mut Vec<u8>, number: u64) {
    put(out, format_args!("#AFTER:{number}\r\n"));
}

/// `#GTX:<number>:<shards>`, to be put right in front of the unit; `is_empty`: there is none. `shards` in any order.
pub fn put_part(out: &mut Vec<u8>, number: u64, shards: &[u16], is_empty: bool) {
    put(out, format_args!("#GTX:{number}:"));
    let start = out.len();
    let mut shards = Shards::from_slice(shards);
    shards.sort_unstable();
    put_list(out, &shards);
    if out.len() - start > LIST_BYTES_MAX {
        out.truncate(start);
        put_bits(out, &shards);
    }
    out.extend_from_slice(if is_empty { b":none\r\n" } else { b"\r\n" });
}

fn put_list(out: &mut Vec<u8>, mut shards: &[u16]) {
    let start = out.len();
    let mut digits = itoa::Buffer::new();
    while let Some(first) = shards.first() {
        let run = shards.iter().zip(*first..).take_while(|(shard, expected)| *shard == expected).count();
        // Two in a row are shorter as such.
        let run = if run > 2 { run } else { 1 };
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(digits.format(*first).as_bytes());
        if run > 1 {
            out.push(b'-');
            out.extend_from_slice(digits.format(shards[run - 1]).as_bytes());
        }
        shards = &shards[run..];
    }
}

fn put_bits(out: &mut Vec<u8>, shards: &[u16]) {
    let mut digits = vec![0u8; shards.last().map_or(0, |last| usize::from(*last) / 4 + 1)];
    for shard in shards {
        digits[usize::from(*shard) / 4] |= 1 << (shard % 4);
    }
    out.push(b'x');
    out.extend(digits.iter().map(|bits| b"0123456789abcdef"[usize::from(*bits)]));
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments) {
    // Writing to a Vec cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u64, shards: &[u16], is_empty: bool) -> (Annotation, String) {
        let mut line = Vec::new();
        put_part(&mut line, number, shards, is_empty);
        assert!(line.ends_with(b"\r\n") && line.len() <= LINE_BYTES_MAX);
        line.truncate(line.len() - 2);
        (parse(&line).unwrap(), String::from_utf8(line).unwrap())
    }

    #[test]
    fn parts_are_written_as_lists_and_ranges() {
        assert_eq!(part(7, &[3, 0], false).1, "#GTX:7:0,3");
        assert_eq!(part(7, &[0, 1, 2, 3, 6, 7], true).1, "#GTX:7:0-3,6,7:none");
        let (annotation, _) = part(u64::MAX, &[0, 1, 2, 9], true);
        let shards = Shards::from_slice(&[0, 1, 2, 9]);
        assert_eq!(annotation, Annotation::Part { number: u64::MAX, shards, is_empty: true });
    }

    #[test]
    fn any_set_of_shards_fits_into_a_line() {
        for step in 1..40 {
            let shards: Vec<u16> = (0..SHARDS_MAX).step_by(step).collect();
            let (annotation, _) = part(u64::MAX, &shards, true);
            let Annotation::Part { shards: read, .. } = annotation else { panic!() };
            assert_eq!(read.as_slice(), shards, "every {step}th");
        }
    }

    #[test]
    fn damaged_lines_are_noticed_and_those_of_others_are_not_ours() {
        for line in [
            "#GTX:",
            "#GTX:1",
            "#GTX:1:",
            "#GTX:x:0",
            "#GTX:1:0,",
            "#GTX:1:3,0",
            "#GTX:1:2-1",
            "#GTX:1:0:some",
            "#GTX:+1:0",
            "#GTX:1:0:none:",
            "#GTX:1:1024",
            "#GTX:1:0-99999999999",
            "#GTX:1:x",
            "#GTX:1:x0",
            "#GTX:1:xg",
            "#GTX:1:0,0",
            "#CUT:",
            "#CUT:-1",
            "#CUT:1 ",
            "#CUT:99999999999999999999",
            "#AFTER:",
            "#AFTER:1x",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
        for line in ["#", "# comment", "#TS:", "#TS:12x", "#GTX", "#cut:1"] {
            assert_eq!(parse(line.as_bytes()), Some(Annotation::Other), "{line}");
        }
        assert_eq!(parse(b"#TS:1628217470"), Some(Annotation::Time(1_628_217_470)));
        assert_eq!(parse(b"#CUT:12"), Some(Annotation::Cut(12)));
        assert_eq!(parse(b"#AFTER:12"), Some(Annotation::After(12)));
    }

    proptest::proptest! {
        #[test]
        fn any_set_of_shards_is_read_back(
            shards in proptest::collection::btree_set(0..SHARDS_MAX, 1..300), number: u64, is_empty: bool,
        ) {
            let shards: Vec<u16> = shards.into_iter().collect();
            let (annotation, _) = part(number, &shards, is_empty);
            let expected = Annotation::Part { number, shards: Shards::from_vec(shards), is_empty };
            proptest::prop_assert_eq!(annotation, expected);
        }

        #[test]
        fn any_line_is_understood_or_refused(line in "#(GTX:|CUT:|AFTER:|TS:)?[0-9a-fx:,-]{0,40}") {
            let _ = parse(line.as_bytes());
        }
    }
}
