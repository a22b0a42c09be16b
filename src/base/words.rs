//! How a configuration line is cut into words, and how a word is quoted so that it is read back the same.

use std::io::Write;

/// Cuts a line into words at blanks. `"..."` knows the escapes `\n \r \t \b \a \xHH \"` and `\\`, `'...'` only `\'`; a
/// closing quote must end the word. None when quotes are not closed or are followed by something.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = skip_blanks(rest);
        if rest.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        rest = read_word(rest, &mut word)?;
        words.push(word);
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    &text[start..]
}

/// Reads up to the blank after the word; a quote may open in its middle, and then its end ends the word.
fn read_word<'a>(text: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    for (index, byte) in text.iter().enumerate() {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => return Some(&text[index..]),
            b'"' => return read_double_quoted(&text[index + 1..], word).and_then(end_of_quotes),
            b'\'' => return read_single_quoted(&text[index + 1..], word).and_then(end_of_quotes),
            other => word.push(*other),
        }
    }
    Some(&[])
}

fn end_of_quotes(rest: &[u8]) -> Option<&[u8]> {
    match rest.first() {
        Some(byte) if !is_blank(*byte) => None,
        _ => Some(rest),
    }
}

fn read_double_quoted<'a>(mut text: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, rest) = match text {
            [] => return None,
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', b'x', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex_value(*high) << 4 | hex_value(*low), rest)
            }
            [b'\\', escaped, rest @ ..] => (unescaped(*escaped), rest),
            [byte, rest @ ..] => (*byte, rest),
        };
        word.push(byte);
        text = rest;
    }
}

fn read_single_quoted<'a>(mut text: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, rest) = match text {
            [] => return None,
            [b'\'', rest @ ..] => return Some(rest),
            [b'\\', b'\'', rest @ ..] => (b'\'', rest),
            [byte, rest @ ..] => (*byte, rest),
        };
        word.push(byte);
        text = rest;
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// The word in double quotes, with everything escaped that `split_words` would not read back.
pub fn quoted(word: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for byte in word {
        match byte {
            b'\\' | b'"' => out.extend([b'\\', *byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x07 => out.extend(b"\\a"),
            0x08 => out.extend(b"\\b"),
            b' '..=b'~' => out.push(*byte),
            // Writing to a Vec cannot fail.
            _ => drop(write!(out, "\\x{byte:02x}")),
        }
    }
    out.push(b'"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let words = split_words(line.as_bytes())?;
        Some(words.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect())
    }

    #[test]
    fn words_are_cut_at_any_blank() {
        assert_eq!(words("  save\t900 \x0b 1 \r\n").unwrap(), ["save", "900", "1"]);
        assert_eq!(words("").unwrap(), [""; 0]);
        assert_eq!(words(" \t ").unwrap(), [""; 0]);
    }

    #[test]
    fn double_quotes_know_escapes_and_single_quotes_do_not() {
        assert_eq!(words(r#"a "b c" "\x41\n\"\\\q""#).unwrap(), ["a", "b c", "A\n\"\\q"]);
        assert_eq!(words(r"'it\'s' 'a\nb'").unwrap(), ["it's", r"a\nb"]);
        assert_eq!(words(r#""\xzz""#).unwrap(), ["xzz"]);
        assert_eq!(words(r#"save """#).unwrap(), ["save", ""]);
    }

    #[test]
    fn a_quote_may_open_inside_a_word() {
        assert_eq!(words(r#"pre"fix ed""#).unwrap(), ["prefix ed"]);
    }

    #[test]
    fn unbalanced_or_glued_quotes_are_refused() {
        for line in [r#"""a"#, r#""a"#, "'a", r#""a"b"#, "'a'b", r#""a\"#] {
            assert_eq!(words(line), None, "{line}");
        }
    }

    #[test]
    fn every_byte_survives_quoting() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(split_words(&quoted(&all)), Some(vec![all]));
    }
}
