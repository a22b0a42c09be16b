//! Values that contradict themselves: refused, or put right.
//!
//! A payload that a client sends (RESTORE), and a file with `sanitize-dump-payload yes`, is refused at its first contradiction. A file that
//! a server starts from is the operator's only one: what Redis loads by default, without looking into the values, is loaded too, and
//! where a value contradicts itself what can be read of it counts, not what it says of itself. What is made is a sound value in any case:
//!
//! | what is found | what is made of it |
//! | --- | --- |
//! | another number of elements than announced | the elements that are there |
//! | an element that cannot be read, in a listpack | those in front of it |
//! | a field without a value, a member without a score | is left out |
//! | a field or member twice | the first one counts, which is the one that Redis finds |
//! | integers of a set out of order | they are put in order |
//! | members of a sorted set out of order | they are put in order |
//! | a score that is no number | the number that it begins with, or 0; before version 8 one without a number is refused, as by Redis |
//! | a stream of another length than it says, or nodes that say other numbers of entries | the entries that are there |
//! | entries or nodes of a stream out of order | they are put in order; of two with one ID the first counts |
//! | an entry behind the last ID | the last ID is that entry's |
//! | fewer entries ever added than there are | as many as there are |
//! | a greatest deleted ID behind the last ID | the last ID |
//! | an entry pending for two consumers | the last one has it, as in Redis |
//! | an entry pending for no consumer | the group's first consumer has it, or one named `orphaned` if there is none |

use super::error::Reason;

/// What to do about contradictions, and the first one that was put right.
#[derive(Clone, Copy, Debug)]
pub struct Mending {
    is_on: bool,
    found: Option<&'static str>,
}

impl Mending {
    pub fn new(is_on: bool) -> Mending {
        Mending { is_on, found: None }
    }

    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// There is a contradiction, which the caller puts right: an error where that is not wanted.
    pub fn allow(&mut self, what: &'static str) -> Result<(), Reason> {
        if !self.is_on {
            return Err(Reason::Corrupt(what));
        }
        self.note(what);
        Ok(())
    }

    /// Something is put right that is no reason to refuse a value.
    pub fn note(&mut self, what: &'static str) {
        self.found.get_or_insert(what);
    }

    pub fn found(&self) -> Option<&'static str> {
        self.found
    }
}

/// The longest text of a score, bytes: what is behind is no number any more.
const SCORE_LEN_MAX: usize = 64;

/// The number that a text begins with, as C's `strtod` finds it, NaN excepted.
pub fn leading_number(text: &[u8]) -> Option<f64> {
    let text = text.trim_ascii_start();
    (1..=text.len().min(SCORE_LEN_MAX))
        .rev()
        .find_map(|len| std::str::from_utf8(&text[..len]).ok()?.parse().ok())
        .filter(|number: &f64| !number.is_nan())
}

#[cfg(test)]
mod tests {
    use super::leading_number;

    #[test]
    fn a_text_is_read_up_to_where_it_is_no_number_any_more() {
        for (text, number) in [
            ("12", Some(12.0)),
            (" -1.5e3x", Some(-1500.0)),
            ("1e", Some(1.0)),
            ("x", None),
            ("", None),
            ("nan", None),
            ("-inf", Some(f64::NEG_INFINITY)),
        ] {
            assert_eq!(leading_number(text.as_bytes()), number, "{text}");
        }
    }
}
