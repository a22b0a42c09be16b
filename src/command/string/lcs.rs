//! LCS: the longest common subsequence of two strings.
//!
//! The textbook table, where cell (i, j) is the length for the first i bytes of one string and the first j of the other. The
//! length alone needs two rows of it; the subsequence and its ranges are found by walking back through the whole. Redis
//! bounds the table by `proto-max-bulk-len`, also where it is not needed, and so does this.

use super::super::parse::integer;
use super::{Args, CommandError, CommandResult, Context};

/// Longer strings would overflow the table's 32-bit cells.
const STRING_LEN_MAX: usize = u32::MAX as usize - 2;

#[derive(Default)]
struct Options {
    len: bool,
    ranges: bool,
    match_len_min: u64,
    with_match_len: bool,
}

impl Options {
    fn parse(options: Args) -> Result<Options, CommandError> {
        let mut parsed = Options::default();
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            if is(b"idx") {
                parsed.ranges = true;
            } else if is(b"len") {
                parsed.len = true;
            } else if is(b"withmatchlen") {
                parsed.with_match_len = true;
            } else if is(b"minmatchlen") {
                let min = integer(rest.next().ok_or(CommandError::Syntax)?)?;
                parsed.match_len_min = u64::try_from(min).unwrap_or(0);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(parsed)
    }
}

/// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN]
pub fn lcs(ctx: &mut Context, args: Args) -> CommandResult {
    let a = read(ctx, args[1]);
    let b = read(ctx, args[2]);
    let (a, b) = (a?, b?);
    let options = Options::parse(&args[3..])?;
    if options.len && options.ranges {
        return Err(CommandError::other("ERR If you want both the length and indexes, please just use IDX."));
    }
    if a.len() > STRING_LEN_MAX || b.len() > STRING_LEN_MAX {
        return Err(CommandError::other("ERR String too long for LCS"));
    }
    check_table_size(ctx, &a, &b)?;
    if options.len {
        ctx.reply.integer(i64::from(common_len(&a, &b)));
        return Ok(());
    }
    let table = Table::build(&a, &b)?;
    if options.ranges {
        reply_with_ranges(ctx, &options, &table, &a, &b);
    } else {
        let subsequence: Vec<u8> = table.matches(&a, &b).map(|(i, _)| a[i]).collect();
        ctx.reply.bulk(&subsequence.into_iter().rev().collect::<Vec<u8>>());
    }
    Ok(())
}

/// The string that `key` holds; empty when there is none. Copied, because two keys cannot be borrowed at once.
fn read(ctx: &mut Context, key: &[u8]) -> Result<Vec<u8>, CommandError> {
    let Some(value) = ctx.store.read(ctx.db, key) else {
        return Ok(Vec::new());
    };
    let mut digits = itoa::Buffer::new();
    match value.string(&mut digits) {
        Ok(string) => Ok(string.to_vec()),
        Err(_) => Err(CommandError::other("ERR The specified keys must contain string values")),
    }
}

fn check_table_size(ctx: &Context, a: &[u8], b: &[u8]) -> CommandResult {
    // Below 2^66, hence the wider type.
    let bytes = (a.len() as u128 + 1) * (b.len() as u128 + 1) * size_of::<u32>() as u128;
    if bytes > u128::from(u64::MAX) {
        return Err(allocation_failed());
    }
    if bytes > ctx.caller.bulk_len_max as u128 {
        return Err(CommandError::other(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    Ok(())
}

fn allocation_failed() -> CommandError {
    CommandError::other("ERR Insufficient memory, failed allocating transient memory for LCS")
}

/// The length alone, in two rows.
fn common_len(a: &[u8], b: &[u8]) -> u32 {
    let mut above = vec![0u32; b.len() + 1];
    let mut row = above.clone();
    for &byte in a {
        fill_row(byte, b, &above, &mut row);
        std::mem::swap(&mut above, &mut row);
    }
    above[b.len()]
}

/// The row of the table for one more byte of the first string.
fn fill_row(byte: u8, b: &[u8], above: &[u32], row: &mut [u32]) {
    let mut left = 0;
    for (j, &other) in b.iter().enumerate() {
        left = if byte == other { above[j] + 1 } else { left.max(above[j + 1]) };
        row[j + 1] = left;
    }
}

struct Table {
    cells: Vec<u32>,
    width: usize,
}

impl Table {
    fn build(a: &[u8], b: &[u8]) -> Result<Table, CommandError> {
        let width = b.len() + 1;
        let len = width * (a.len() + 1);
        let mut cells = Vec::new();
        cells.try_reserve_exact(len).map_err(|_| allocation_failed())?;
        cells.resize(len, 0);
        for (i, &byte) in a.iter().enumerate() {
            let (above, row) = cells[i * width..(i + 2) * width].split_at_mut(width);
            fill_row(byte, b, above, row);
        }
        Ok(Table { cells, width })
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }

    fn common_len(&self) -> u32 {
        self.cells[self.cells.len() - 1]
    }

    /// The positions in both strings of each byte of the subsequence, last one first. Among several longest
    /// subsequences it is Redis's: bytes of `b` are given up before bytes of `a`.
    fn matches<'t>(&'t self, a: &'t [u8], b: &'t [u8]) -> impl Iterator<Item = (usize, usize)> + 't {
        let (mut i, mut j) = (a.len(), b.len());
        std::iter::from_fn(move || {
            while i > 0 && j > 0 {
                if a[i - 1] == b[j - 1] {
                    i -= 1;
                    j -= 1;
                    return Some((i, j));
                }
                if self.at(i - 1, j) > self.at(i, j - 1) {
                    i -= 1;
                } else {
                    j -= 1;
                }
            }
            None
        })
    }
}

/// A run of matching bytes: where it starts in both strings, and its length.
#[derive(Clone, Copy)]
struct Run {
    a: usize,
    b: usize,
    len: usize,
}

fn reply_with_ranges(ctx: &mut Context, options: &Options, table: &Table, a: &[u8], b: &[u8]) {
    ctx.reply.map(2);
    ctx.reply.bulk(b"matches");
    let place = ctx.reply.defer_array();
    let mut count = 0;
    let mut emit = |run: Run| {
        if (run.len as u64) < options.match_len_min {
            return;
        }
        count += 1;
        ctx.reply.array(if options.with_match_len { 3 } else { 2 });
        for start in [run.a, run.b] {
            ctx.reply.array(2);
            ctx.reply.integer(start as i64);
            ctx.reply.integer((start + run.len - 1) as i64);
        }
        if options.with_match_len {
            ctx.reply.integer(run.len as i64);
        }
    };
    let mut current: Option<Run> = None;
    for (i, j) in table.matches(a, b) {
        current = match current {
            Some(run) if run.a == i + 1 && run.b == j + 1 => Some(Run { a: i, b: j, len: run.len + 1 }),
            Some(run) => {
                emit(run);
                Some(Run { a: i, b: j, len: 1 })
            }
            None => Some(Run { a: i, b: j, len: 1 }),
        };
    }
    if let Some(run) = current {
        emit(run);
    }
    ctx.reply.finish(place, count);
    ctx.reply.bulk(b"len");
    ctx.reply.integer(i64::from(table.common_len()));
}
