//! Error replies by their code, counted by one thread and read by any, without a lock.
//!
//! A code is short enough to be a few atomic words. Its place gets the code first and then the count, which is 0 until then, so
//! that who reads a count finds the code of it. Only a reset gives a place to another code; readers notice by the number of
//! resets, and read again.

use std::sync::atomic::{fence, AtomicU64, Ordering};

/// Distinct codes counted; an application that invents codes in scripts must not grow this without end.
const CODES_MAX: usize = 128;
/// A longer first word is no code.
const CODE_LEN_MAX: usize = 30;
const CODE_WORDS: usize = 4;

/// The length, and the bytes.
type Code = [u64; CODE_WORDS];

fn packed(code: &[u8]) -> Code {
    let mut bytes = [0; CODE_WORDS * 8];
    bytes[0] = code.len() as u8;
    bytes[1..=code.len()].copy_from_slice(code);
    let mut words = Code::default();
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    words
}

fn unpacked(code: Code) -> Vec<u8> {
    let bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    let len = usize::from(bytes[0]).min(CODE_LEN_MAX);
    bytes[1..=len].to_vec()
}

#[derive(Debug, Default)]
struct Counter {
    code: [AtomicU64; CODE_WORDS],
    /// 0: the place is free, and so are those after it.
    count: AtomicU64,
}

#[derive(Debug)]
pub struct ErrorCounts {
    places: Box<[Counter]>,
    /// Odd while one is under way.
    resets: AtomicU64,
}

impl Default for ErrorCounts {
    fn default() -> Self {
        let places = (0..CODES_MAX).map(|_| Counter::default()).collect();
        ErrorCounts { places, resets: AtomicU64::new(0) }
    }
}

impl ErrorCounts {
    /// Counts an error by the first word of its text; by `ERR` when that is too long to be a code. By the one writer.
    pub fn count(&self, text: &[u8]) {
        let start = &text[..text.len().min(CODE_LEN_MAX + 1)];
        let code = packed(memchr::memchr(b' ', start).map_or(&b"ERR"[..], |end| &start[..end]));
        for place in &self.places {
            let count = place.count.load(Ordering::Relaxed);
            let is_free = count == 0;
            if is_free {
                place.code.iter().zip(code).for_each(|(to, word)| to.store(word, Ordering::Relaxed));
            } else if place.code.iter().zip(code).any(|(known, word)| known.load(Ordering::Relaxed) != word) {
                continue;
            }
            place.count.store(count + 1, Ordering::Release);
            return;
        }
    }

    /// Forgets all codes. By the one writer.
    pub fn reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.places.iter().for_each(|place| place.count.store(0, Ordering::Relaxed));
        self.resets.fetch_add(1, Ordering::Release);
    }

    /// The codes with their counts, in no order. From any thread.
    pub fn all(&self) -> Vec<(Vec<u8>, u64)> {
        loop {
            let resets = self.resets.load(Ordering::Acquire);
            let counts = self.places.iter().map_while(|place| {
                let count = place.count.load(Ordering::Acquire);
                let code = || place.code.each_ref().map(|word| word.load(Ordering::Relaxed));
                (count > 0).then(|| (unpacked(code()), count))
            });
            let counts = counts.collect();
            fence(Ordering::Acquire);
            if resets.is_multiple_of(2) && self.resets.load(Ordering::Relaxed) == resets {
                return counts;
            }
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;

    fn sorted(counts: &ErrorCounts) -> BTreeMap<String, u64> {
        counts.all().into_iter().map(|(code, count)| (String::from_utf8(code).unwrap(), count)).collect()
    }

    #[test]
    fn errors_are_counted_by_their_first_word() {
        let counts = ErrorCounts::default();
        let longest = "X".repeat(CODE_LEN_MAX);
        for text in [
            "ERR a",
            "WRONGTYPE b",
            "ERR c",
            " d",
            "nothing",
            &format!("{longest}X e"),
            &format!("{longest} f"),
        ] {
            counts.count(text.as_bytes());
        }
        let wanted = [("", 1), ("ERR", 4), ("WRONGTYPE", 1), (&longest, 1)];
        assert_eq!(sorted(&counts), wanted.map(|(code, count)| (code.to_owned(), count)).into());
        counts.reset();
        assert_eq!(counts.all(), []);
        counts.count(b"NEW one");
        assert_eq!(counts.all(), [(b"NEW".to_vec(), 1)]);
    }

    #[test]
    fn codes_beyond_the_limit_are_not_counted_and_the_others_go_on() {
        let counts = ErrorCounts::default();
        for number in 0..2 * CODES_MAX {
            counts.count(format!("CODE{number} x").as_bytes());
        }
        counts.count(b"CODE0 x");
        let all = sorted(&counts);
        assert_eq!((all.len(), all["CODE0"]), (CODES_MAX, 2));
    }

    #[test]
    fn a_reader_never_sees_a_code_that_was_not_counted() {
        let counts = Arc::new(ErrorCounts::default());
        let writer = {
            let counts = counts.clone();
            std::thread::spawn(move || {
                for round in 0..60_000u32 {
                    for number in 0..2 {
                        let letter = char::from(b'A' + ((round + number) % 26) as u8);
                        counts.count(format!("{} x", letter.to_string().repeat(20)).as_bytes());
                    }
                    counts.reset();
                }
            })
        };
        while !writer.is_finished() {
            for (code, count) in counts.all() {
                assert!(code.len() == 20 && code.iter().all(|byte| *byte == code[0]), "{code:?}");
                assert_eq!(count, 1);
            }
        }
        writer.join().unwrap();
    }
}
