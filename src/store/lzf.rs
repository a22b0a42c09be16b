//! LZF, the compression of strings in RDB files (the format of Marc Lehmann's liblzf).
//!
//! A compressed string is a row of instructions. A byte below 32 is followed by so many bytes, and one more, to be taken as
//! they are. Any other byte repeats what came earlier: its high three bits are the length less two (7: the next byte
//! is added), its low five and the byte after are the distance back, less one.
//!
//! There is no maintained crate for it without `unsafe`; both directions are short.

use std::ops::Range;

/// The longest run that one instruction takes as it is.
const LITERAL_MAX: usize = 32;
/// The longest repetition of one instruction: 2 + 7 + 255.
const MATCH_MAX: usize = 264;
/// The shortest one worth an instruction.
const MATCH_MIN: usize = 3;
/// How far back a repetition reaches.
const DISTANCE_MAX: usize = 1 << 13;
/// Three bytes give at most `MATCH_MAX`: what claims to expand more than this is not LZF.
const EXPANSION_MAX: usize = MATCH_MAX / 3;

/// log2 of the number of slots of the compressor's table.
const SLOT_BITS: Range<u32> = 8..15;
/// Positions are 32 bits wide; a longer string is not compressed.
const INPUT_MAX: usize = 1 << 31;

/// Undoes the compression. `None` when `input` does not expand to exactly `len` bytes; nothing is allocated that
/// `input` could not fill.
pub fn decompress(input: &[u8], len: usize) -> Option<Vec<u8>> {
    if len > input.len().checked_mul(EXPANSION_MAX)? {
        return None;
    }
    let mut output = Vec::with_capacity(len);
    let mut rest = input;
    while let Some((&control, after)) = rest.split_first() {
        rest = after;
        if (control as usize) < LITERAL_MAX {
            let (literal, after) = rest.split_at_checked(control as usize + 1)?;
            if literal.len() > len - output.len() {
                return None;
            }
            output.extend_from_slice(literal);
            rest = after;
            continue;
        }
        let mut count = control as usize >> 5;
        if count == 7 {
            let (&more, after) = rest.split_first()?;
            count += more as usize;
            rest = after;
        }
        count += 2;
        let (&low, after) = rest.split_first()?;
        rest = after;
        let distance = ((control as usize & 0x1f) << 8 | low as usize) + 1;
        let from = output.len().checked_sub(distance)?;
        if count > len - output.len() {
            return None;
        }
        repeat(&mut output, from, count);
    }
    (output.len() == len).then_some(output)
}

/// Appends the `count` bytes that start at `from`, which may run into those being appended.
fn repeat(output: &mut Vec<u8>, from: usize, count: usize) {
    let end = output.len() + count;
    while output.len() < end {
        let until = output.len().min(from + end - output.len());
        output.extend_from_within(from..until);
    }
}

/// Compresses; kept from one string to the next, because its table is.
///
/// The table remembers where each three bytes were last seen, by a hash of them. It is never cleared between strings:
/// positions count on from one string to the next, so that those of earlier ones are recognised as too old.
#[derive(Debug, Default)]
pub struct Compressor {
    /// Position + 1 in the row of all strings; 0: never seen. A power of two long, or empty before the first use.
    table: Vec<u32>,
    /// Position of the present string's first byte.
    base: u32,
}

impl Compressor {
    /// Appends the compressed form of `input` to `output`, unless it needs more than `limit` bytes: then nothing is
    /// appended, and the answer is false.
    pub fn compress(&mut self, input: &[u8], output: &mut Vec<u8>, limit: usize) -> bool {
        let start = output.len();
        let fits =
            input.len() < INPUT_MAX && self.compress_within(input, output, start.saturating_add(limit));
        if !fits {
            output.truncate(start);
        }
        fits
    }

    fn compress_within(&mut self, input: &[u8], output: &mut Vec<u8>, end: usize) -> bool {
        self.make_room(input.len());
        let shift = u32::BITS - self.table.len().trailing_zeros();
        let base = self.base;
        self.base += input.len() as u32;
        // Bytes from here on have not been written yet.
        let mut literal_start = 0;
        let mut at = 0;
        while at + MATCH_MIN <= input.len() {
            let slot = slot(&input[at..], shift);
            let seen = std::mem::replace(&mut self.table[slot], base + at as u32 + 1);
            let count = match seen.checked_sub(base + 1) {
                Some(seen) => matching(input, seen as usize, at),
                None => 0,
            };
            if count < MATCH_MIN {
                at += 1;
                // An instruction for the bytes so far and one for the next match must still fit.
                if output.len() + (at - literal_start) > end {
                    return false;
                }
                continue;
            }
            let distance = at - (seen - base - 1) as usize - 1;
            put_literal(output, &input[literal_start..at]);
            let length = count - 2;
            if length < 7 {
                output.push((length << 5) as u8 | (distance >> 8) as u8);
            } else {
                output.extend_from_slice(&[7 << 5 | (distance >> 8) as u8, (length - 7) as u8]);
            }
            output.push(distance as u8);
            if output.len() > end {
                return false;
            }
            // The last two positions of the match are remembered; more would cost time for little.
            at += count;
            for position in at - 2..at {
                if let Some(bytes) = input.get(position..position + MATCH_MIN) {
                    self.table[self::slot(bytes, shift)] = base + position as u32 + 1;
                }
            }
            literal_start = at;
        }
        put_literal(output, &input[literal_start..]);
        output.len() <= end
    }

    fn make_room(&mut self, len: usize) {
        let bits = (usize::BITS - len.leading_zeros()).clamp(SLOT_BITS.start, SLOT_BITS.end - 1);
        if self.table.len() < 1 << bits {
            self.table.clear();
            self.table.resize(1 << bits, 0);
            self.base = 0;
        } else if self.base as usize + len >= u32::MAX as usize {
            self.table.fill(0);
            self.base = 0;
        }
    }
}

/// The slot of the first three bytes.
#[inline]
fn slot(bytes: &[u8], shift: u32) -> usize {
    let three = (bytes[0] as u32) << 16 | (bytes[1] as u32) << 8 | bytes[2] as u32;
    (three.wrapping_mul(0x9e37_79b1) >> shift) as usize
}

/// How many bytes from `at` on are the same as from `earlier` on: 0 when that is too far back.
fn matching(input: &[u8], earlier: usize, at: usize) -> usize {
    if at - earlier > DISTANCE_MAX {
        return 0;
    }
    let limit = MATCH_MAX.min(input.len() - at);
    let pairs = input[earlier..].iter().zip(&input[at..at + limit]);
    pairs.take_while(|(a, b)| a == b).count()
}

fn put_literal(output: &mut Vec<u8>, bytes: &[u8]) {
    for run in bytes.chunks(LITERAL_MAX) {
        output.push(run.len() as u8 - 1);
        output.extend_from_slice(run);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compressed(input: &[u8]) -> Option<Vec<u8>> {
        let mut output = Vec::new();
        Compressor::default().compress(input, &mut output, input.len()).then_some(output)
    }

    #[test]
    fn what_repeats_becomes_shorter_and_comes_back() {
        for input in
            [vec![b'a'; 1000], b"abcabcabcabcabcabc".to_vec(), b"0123456789".repeat(2000), vec![0; 100_000]]
        {
            let output = compressed(&input).expect("it repeats");
            assert!(output.len() < input.len() / 2 + 8, "{} to {}", input.len(), output.len());
            assert_eq!(decompress(&output, input.len()), Some(input));
        }
    }

    #[test]
    fn what_would_not_fit_leaves_nothing_behind() {
        let input: Vec<u8> = (0..=255).collect();
        let mut output = b"before".to_vec();
        assert!(!Compressor::default().compress(&input, &mut output, 252));
        assert_eq!(output, b"before");
    }

    #[test]
    fn a_compressor_forgets_earlier_strings_without_being_cleared() {
        let mut compressor = Compressor::default();
        let input = b"the same bytes as before, the same bytes".repeat(3);
        let mut first = Vec::new();
        assert!(compressor.compress(&input, &mut first, 1000));
        for _ in 0..3 {
            let mut again = Vec::new();
            assert!(compressor.compress(&input, &mut again, 1000));
            assert_eq!(decompress(&again, input.len()).as_deref(), Some(&input[..]));
            assert_eq!(again, first);
        }
        compressor.base = u32::MAX - 50;
        let mut late = Vec::new();
        assert!(compressor.compress(&input, &mut late, 1000));
        assert_eq!(decompress(&late, input.len()).as_deref(), Some(&input[..]));
    }

    /// As liblzf writes them.
    #[test]
    fn instructions_mean_what_they_mean_in_liblzf() {
        assert_eq!(decompress(&[2, b'a', b'b', b'c', 0x20, 2], 6).as_deref(), Some(&b"abcabc"[..]));
        assert_eq!(decompress(&[0, b'a', 0xe0, 2, 0], 12), Some(vec![b'a'; 12]));
    }

    #[test]
    fn nonsense_is_refused_and_no_memory_is_spent_on_it() {
        for (input, len) in [
            (&[0, b'a'][..], 2),
            (&[0, b'a'], 0),
            (&[1, b'a'], 2),
            (&[0, b'a', 0x20, 1], 4),
            (&[0, b'a', 0x20], 4),
            (&[0, b'a', 0xe0], 10),
            (&[], 1),
            (&[0, b'a', 0xe0, 255, 0], usize::MAX),
            (&[0, b'a', 0xe0, 255, 0], 264),
        ] {
            assert_eq!(decompress(input, len), None, "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn any_string_comes_back(input in prop::collection::vec(0u8..6, 0..2000), twice in any::<bool>()) {
            let input = if twice { [&input[..], &input[..]].concat() } else { input };
            if let Some(output) = compressed(&input) {
                prop_assert!(output.len() <= input.len());
                prop_assert_eq!(decompress(&output, input.len()), Some(input));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(input in prop::collection::vec(any::<u8>(), 0..300), len in 0usize..4000) {
            if let Some(output) = decompress(&input, len) {
                prop_assert_eq!(output.len(), len);
            }
        }
    }
}
