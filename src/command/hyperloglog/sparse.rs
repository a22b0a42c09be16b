//! The sparse encoding: registers in runs of the same value, each in one or two bytes.
//!
//! ```text
//! 00llllll            zeros, 1 to 64 registers           ("z" in PFDEBUG DECODE)
//! 01llllll llllllll   zeros, 1 to 16,384 registers       ("Z")
//! 1vvvvvll            value 1 to 32, 1 to 4 registers    ("v")
//! ```
//!
//! Values come from clients too, so no length in them is believed. Which runs a change leaves behind is Redis's choice, step
//! by step, so that values of the same history are the same bytes. Every function here takes a whole value, header
//! included, that `layout::check` found to be sparse.

use smallvec::{smallvec, SmallVec};

use super::estimate::Histogram;
use super::layout::{self, Encoding, Registers, HEADER_BYTES, REGISTERS};
use super::{dense, CommandError, CommandResult, StringBuf};

const VALUE_MAX: u8 = 32;
const VALUE_RUN_MAX: usize = 4;
const SHORT_ZEROS_MAX: usize = 64;

/// After a change so many runs, from the one before it on, are looked at for neighbours that can be joined.
const RUNS_REVISITED: usize = 5;

/// One run of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub registers: usize,
    /// 0 for zeros.
    pub value: u8,
    pub size_bytes: usize,
}

impl Run {
    /// The run at byte `at`. One that is cut off by the end of the value reads as if a zero byte followed, as in Redis.
    fn at(value: &[u8], at: usize) -> Option<Run> {
        let first = *value.get(at)?;
        Some(if first & 0x80 != 0 {
            Run { registers: usize::from(first & 3) + 1, value: (first >> 2 & 0x1f) + 1, size_bytes: 1 }
        } else if first & 0x40 != 0 {
            let second = value.get(at + 1).copied().unwrap_or(0);
            let registers = usize::from(u16::from_be_bytes([first & 0x3f, second])) + 1;
            Run { registers, value: 0, size_bytes: 2 }
        } else {
            Run { registers: usize::from(first) + 1, value: 0, size_bytes: 1 }
        })
    }
}

/// The runs of a value.
pub fn runs(value: &[u8]) -> impl Iterator<Item = Run> + '_ {
    let mut at = HEADER_BYTES;
    std::iter::from_fn(move || {
        let run = Run::at(value, at)?;
        at += run.size_bytes;
        Some(run)
    })
}

fn encode_value(value: u8, registers: usize) -> u8 {
    debug_assert!((1..=VALUE_MAX).contains(&value) && (1..=VALUE_RUN_MAX).contains(&registers));
    0x80 | (value - 1) << 2 | (registers - 1) as u8
}

/// At most five bytes: a long run of zeros cut in two by a value.
type Replacement = SmallVec<[u8; 8]>;

fn push_run(runs: &mut Replacement, value: u8, registers: usize) {
    if registers == 0 {
        return;
    }
    if value > 0 {
        runs.push(encode_value(value, registers));
    } else if registers <= SHORT_ZEROS_MAX {
        runs.push((registers - 1) as u8);
    } else {
        let [high, low] = ((registers - 1) as u16).to_be_bytes();
        runs.extend([0x40 | high, low]);
    }
}

/// A value that has more registers or fewer than there are is corrupted.
pub fn histogram(value: &[u8]) -> Result<Histogram, CommandError> {
    let mut histogram = Histogram::default();
    let mut registers = 0;
    for run in runs(value) {
        registers += run.registers;
        histogram.add(run.value, run.registers);
    }
    if registers == REGISTERS {
        Ok(histogram)
    } else {
        Err(layout::corrupted())
    }
}

/// Calls `each` with the registers that are not zero, a run at a time: where it begins, its length, the value. In a corrupted
/// value it comes as far as the runs are in order.
fn for_each_value(value: &[u8], mut each: impl FnMut(usize, usize, u8)) -> CommandResult {
    let mut index = 0;
    for run in runs(value) {
        let end = index + run.registers;
        if end > REGISTERS {
            return Err(layout::corrupted());
        }
        if run.value > 0 {
            each(index, run.registers, run.value);
        }
        index = end;
    }
    if index == REGISTERS {
        Ok(())
    } else {
        Err(layout::corrupted())
    }
}

/// Raises `registers` to those of the value; of a corrupted one, to some of them.
pub fn merge(value: &[u8], registers: &mut Registers) -> CommandResult {
    for_each_value(value, |first, len, count| {
        for register in &mut registers[first..first + len] {
            *register = count.max(*register);
        }
    })
}

/// Makes a value dense; one that is stays as it is, and a corrupted one too.
pub fn to_dense(value: &mut StringBuf) -> CommandResult {
    if layout::encoding(value) == Encoding::Dense {
        return Ok(());
    }
    let mut converted = layout::dense_with_header_of(value);
    for_each_value(value, |first, len, count| {
        for register in first..first + len {
            dense::set(&mut converted, register, count);
        }
    })?;
    value.assign(&converted);
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The register was at least that high.
    Unchanged,
    Raised,
    /// Nothing was changed: the sparse encoding cannot hold it, or not within its limit.
    TooLarge,
}

/// Where the search for a register may begin: a run, and its first register. For setting many registers in ascending order.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    at: usize,
    first: usize,
}

impl Default for Cursor {
    fn default() -> Cursor {
        Cursor { at: HEADER_BYTES, first: 0 }
    }
}

/// The run that a register is in.
struct Found {
    at: usize,
    first: usize,
    run: Run,
    /// The run before it, unless the search began with this one.
    previous: Option<Cursor>,
}

fn find(value: &[u8], register: usize, from: Cursor) -> Result<Found, CommandError> {
    let Cursor { mut at, mut first } = from;
    let mut previous = None;
    loop {
        let run = Run::at(value, at).ok_or_else(layout::corrupted)?;
        if register < first + run.registers {
            if at + run.size_bytes > value.len() {
                return Err(layout::corrupted());
            }
            return Ok(Found { at, first, run, previous });
        }
        previous = Some(Cursor { at, first });
        at += run.size_bytes;
        first += run.registers;
    }
}

/// Sets a register to `count` unless it is that high already. The value never grows beyond `len_max` bytes. `cursor` says
/// where to begin, and afterwards where to begin for the next higher register.
pub fn raise(
    value: &mut StringBuf,
    register: usize,
    count: u8,
    len_max: usize,
    cursor: &mut Cursor,
) -> Result<Outcome, CommandError> {
    if count > VALUE_MAX {
        return Ok(Outcome::TooLarge);
    }
    let mut found = find(value, register, *cursor)?;
    if found.previous.is_none() && cursor.first > 0 {
        // The run before it is needed too.
        found = find(value, register, Cursor::default())?;
    }
    let Found { at, first, run, previous } = found;
    let previous = previous.unwrap_or_default();
    *cursor = previous;
    if run.value >= count {
        return Ok(Outcome::Unchanged);
    }
    let mut replacement: Replacement = smallvec![];
    push_run(&mut replacement, run.value, register - first);
    push_run(&mut replacement, count, 1);
    push_run(&mut replacement, run.value, first + run.registers - register - 1);
    let len = value.len() - run.size_bytes + replacement.len();
    if len > value.len() && len > len_max {
        return Ok(Outcome::TooLarge);
    }
    replace(value, at, run.size_bytes, &replacement);
    join_neighbours(value, previous.at);
    layout::forget_count(value.as_mut_slice());
    Ok(Outcome::Raised)
}

/// Puts `new` in the place of the `old_len` bytes at `at`.
fn replace(value: &mut StringBuf, at: usize, old_len: usize, new: &[u8]) {
    let len = value.len();
    if new.len() > old_len {
        value.resize(len + new.len() - old_len, 0);
    }
    let bytes = value.as_mut_slice();
    bytes.copy_within(at + old_len..len, at + new.len());
    bytes[at..at + new.len()].copy_from_slice(new);
    if new.len() < old_len {
        value.truncate(len + new.len() - old_len);
    }
}

/// Joins runs of the same value that stand side by side, as far as one run can be long.
fn join_neighbours(value: &mut StringBuf, mut at: usize) {
    for _ in 0..RUNS_REVISITED {
        let Some(run) = Run::at(value, at) else { return };
        let next = Run::at(value, at + run.size_bytes);
        match next {
            Some(next)
                if run.value > 0
                    && next.value == run.value
                    && run.registers + next.registers <= VALUE_RUN_MAX =>
            {
                // The longer run may have another such neighbour: it is looked at again.
                replace(value, at, 2, &[encode_value(run.value, run.registers + next.registers)]);
            }
            _ => at += run.size_bytes,
        }
    }
}
