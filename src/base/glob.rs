//! Glob patterns as Redis matches them: KEYS, SCAN, CONFIG GET, PSUBSCRIBE, ACL channels.
//!
//! `*` any bytes, `?` one byte, `[a-z]` one byte of a class (`[^...]` of its complement), `\` takes the next byte as it
//! is. The time is bounded by pattern length times text length: after a mismatch only the last `*` tries again, since
//! whatever an earlier one could take, the last one can too.

/// A pattern with more separate `*` than this matches nothing, as in Redis, and costs no more.
const STARS_MAX: usize = 1000;

/// Whether all of `text` matches `pattern`; `nocase`: ASCII letters match in either case.
///
/// The empty text matches the empty pattern only, not even `*`, as in Redis: commands for which `*` means everything
/// do not ask.
pub fn glob_match(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let fold = |byte: u8| {
        if nocase {
            byte.to_ascii_lowercase()
        } else {
            byte
        }
    };
    let mut rest = pattern;
    let mut at = 0;
    let mut stars = 0;
    // After the last `*`: the pattern behind it, and the text that it has not taken yet.
    let mut retry: Option<(&[u8], usize)> = None;
    loop {
        if let [b'*', after @ ..] = rest {
            if after.is_empty() {
                return true;
            }
            stars += usize::from(!after.starts_with(b"*"));
            if stars > STARS_MAX {
                return false;
            }
            rest = after;
            retry = Some((after, at));
            continue;
        }
        let step = match (text.get(at), rest.is_empty()) {
            (None, done) => return done,
            (Some(_), true) => None,
            (Some(byte), false) => match_one(rest, *byte, fold),
        };
        match (step, &mut retry) {
            (Some(after), _) => {
                rest = after;
                at += 1;
            }
            (None, Some((after, taken))) => {
                *taken += 1;
                at = *taken;
                rest = after;
            }
            (None, None) => return false,
        }
    }
}

/// Matches one byte of text against the first item of a pattern that is not empty and not `*`; gives the pattern after it.
fn match_one(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> Option<&[u8]> {
    match pattern {
        [b'?', after @ ..] => Some(after),
        [b'[', class @ ..] => match_class(class, byte, fold),
        [b'\\', escaped, after @ ..] => (fold(*escaped) == fold(byte)).then_some(after),
        [literal, after @ ..] => (fold(*literal) == fold(byte)).then_some(after),
        [] => None,
    }
}

/// A class that is not closed ends with the pattern. In a class, `\` makes the next byte literal in its exact case.
fn match_class(class: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> Option<&[u8]> {
    let (negated, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let mut matched = false;
    let after = loop {
        rest = match rest {
            [] => break rest,
            [b'\\', escaped, after @ ..] => {
                matched |= *escaped == byte;
                after
            }
            [b']', after @ ..] => break after,
            [first, b'-', last, after @ ..] => {
                // Ordered before folding, as Redis does: `[Z-a]` is then empty without case.
                let (low, high) = (fold(*first.min(last)), fold(*first.max(last)));
                matched |= (low..=high).contains(&fold(byte));
                after
            }
            [single, after @ ..] => {
                matched |= fold(*single) == fold(byte);
                after
            }
        };
    };
    (matched != negated).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn matches(pattern: &str, text: &str) -> bool {
        glob_match(pattern.as_bytes(), text.as_bytes(), false)
    }

    #[test]
    fn literals_and_question_marks_match_byte_by_byte() {
        assert!(matches("abc", "abc") && matches("a?c", "abc") && matches("", ""));
        assert!(!matches("abc", "ab") && !matches("ab", "abc") && !matches("?", "") && !matches("", "a"));
    }

    #[test]
    fn stars_match_any_run_of_bytes() {
        assert!(matches("*", "abc") && !matches("*", "") && matches("a*", "a") && matches("**a**", "bab"));
        assert!(matches("*a*b*c*", "xxaxxbxxcxx") && matches("a*c", "abcbc") && matches("*ab", "aab"));
        assert!(!matches("a*b", "abc") && !matches("*b*a*", "ab"));
    }

    #[test]
    fn classes_hold_bytes_ranges_and_complements() {
        assert!(
            matches("h[ae]llo", "hello") && matches("h[a-f]llo", "hello") && matches("h[f-a]llo", "hello")
        );
        assert!(
            matches("h[^e]llo", "hallo") && !matches("h[^e]llo", "hello") && !matches("h[ab]llo", "hello")
        );
        assert!(
            matches("[\\]]", "]") && matches("[\\-a]", "-") && matches("[a\\-z]", "-") && !matches("[]", "]")
        );
        assert!(matches("[^]", "x"), "an empty complement is every byte");
    }

    #[test]
    fn an_unclosed_class_ends_with_the_pattern() {
        assert!(matches("a[bc", "ab") && !matches("a[bc", "ad") && matches("[^x", "a") && !matches("[", "["));
        assert!(matches("[a-", "-") && matches("[a-", "a"));
    }

    #[test]
    fn a_backslash_takes_the_next_byte_as_it_is() {
        assert!(matches("\\*", "*") && !matches("\\*", "a") && matches("a\\?", "a?") && matches("\\a", "a"));
        assert!(matches("\\", "\\"), "at the end it is itself");
    }

    #[test]
    fn case_is_folded_only_when_asked() {
        let nocase = |pattern: &str, text: &str| glob_match(pattern.as_bytes(), text.as_bytes(), true);
        assert!(nocase("MaxMem*", "maxmemory") && nocase("[A-C]x", "bX") && nocase("a[Q]", "Aq"));
        assert!(!matches("MaxMem*", "maxmemory") && !matches("[A-C]", "b"));
    }

    #[test]
    fn patterns_with_many_stars_take_polynomial_time() {
        let text = vec![b'a'; 10_000];
        let pattern = [b"a*".repeat(500), b"b".to_vec()].concat();
        let start = Instant::now();
        assert!(!glob_match(&pattern, &text, false));
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    proptest::proptest! {
        /// Against the obvious recursive definition.
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?\\[\\]^\\\\-]{0,8}", text in "[ab\\]^-]{0,8}") {
            fn defined(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern, text) {
                    ([], text) => text.is_empty(),
                    ([b'*', after @ ..], _) => (0..=text.len()).any(|taken| defined(after, &text[taken..])),
                    (_, []) => false,
                    (_, [byte, rest @ ..]) => match_one(pattern, *byte, |byte| byte).is_some_and(|after| defined(after, rest)),
                }
            }
            proptest::prop_assume!(!text.is_empty());
            proptest::prop_assert_eq!(glob_match(pattern.as_bytes(), text.as_bytes(), false), defined(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
