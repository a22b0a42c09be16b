//! Inputs made of well-formed ones: some of their bytes changed, cut out, doubled, or exchanged for those of another.

use super::random::Random;

/// Changes to one input, at most.
const CHANGES_MAX: usize = 6;
/// An input does not grow beyond this, bytes.
const LEN_MAX: usize = 16 * 1024;
/// Bytes at which lengths, signs and encodings turn.
const TURNING: [u8; 16] =
    [0, 1, 2, 0x3f, 0x40, 0x7f, 0x80, 0x81, 0xbf, 0xc0, 0xc3, 0xfe, 0xff, b'\r', b'\n', b'-'];

/// A stretch of `bytes`, seldom a long one.
fn checksummed(bytes: &[u8], random: &mut Random) -> std::ops::Range<usize> {
    let start = random.below(bytes.len());
    let len = 1 << random.below(8);
    start..bytes.len().min(start + random.below(len) + 1)
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    if input.is_empty() {
        input.push(random.below(256) as u8);
        return;
    }
    let at = random.below(input.len());
    match random.below(9) {
        0 => input[at] ^= 1 << random.below(8),
        1 => input[at] = random.below(256) as u8,
        2 => input[at] = *random.pick(&TURNING),
        3 => input[at] = input[at].wrapping_add(1),
        4 => input.insert(at, *random.pick(&TURNING)),
        5 => drop(input.drain(checksummed(input, random))),
        6 => {
            let copy = input[checksummed(input, random)].to_vec();
            input.splice(at..at, copy);
        }
        7 => {
            let other = random.pick(seeds);
            if !other.is_empty() {
                let piece = other[checksummed(other, random)].to_vec();
                let end = input.len().min(at + random.below(piece.len() + 1));
                input.splice(at..end, piece);
            }
        }
        _ => input.truncate(at),
    }
    input.truncate(LEN_MAX);
}

pub fn changed(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = random.pick(seeds).clone();
    for _ in 0..=random.below(CHANGES_MAX) {
        change(&mut input, seeds, random);
    }
    input
}
