//! Splits an inline request, a line as typed into telnet, into its arguments.
//!
//! The quoting rules are those of redis-cli and of Redis's own inline requests: double quotes know the escapes
//! `\n \r \t \b \a \xHH` (before any other byte a backslash only hides its meaning), single quotes know
//! `\'`, quotes may open in the middle of a word but a closing quote must end it.

use super::request::ArgRange;

/// A quote was not closed, or something follows the closing one without a blank between.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unbalanced;

/// Appends the arguments of `line` to `args`. Without quotes they are ranges of `line`, and the answer is
/// false; otherwise all of them are ranges of `unquoted`, and the answer is true.
pub(super) fn split(
    line: &[u8],
    args: &mut Vec<ArgRange>,
    unquoted: &mut Vec<u8>,
) -> Result<bool, Unbalanced> {
    if memchr::memchr2(b'"', b'\'', line).is_none() {
        split_plain(line, args);
        return Ok(false);
    }
    let mut at = 0;
    loop {
        at += blanks(&line[at..]);
        if at == line.len() {
            return Ok(true);
        }
        let start = unquoted.len();
        at += unquote_word(&line[at..], unquoted)?;
        args.push(ArgRange { start, len: unquoted.len() - start });
    }
}

fn split_plain(line: &[u8], args: &mut Vec<ArgRange>) {
    let mut at = 0;
    loop {
        at += blanks(&line[at..]);
        if at == line.len() {
            return;
        }
        let rest = &line[at..];
        let len = rest.iter().position(|&byte| ends_word(byte)).unwrap_or(rest.len());
        args.push(ArgRange { start: at, len });
        at += len;
    }
}

/// C's `isspace`: what may stand before a word and after a closing quote.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Vertical tab and form feed are blanks between words but do not end one.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn blanks(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !is_blank(byte)).unwrap_or(bytes.len())
}

/// Appends one word to `out`; returns how many bytes of `rest` it took.
fn unquote_word(rest: &[u8], out: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    let mut at = 0;
    while let Some(&byte) = rest.get(at) {
        match byte {
            b'"' => return unquote_double(rest, at + 1, out),
            b'\'' => return unquote_single(rest, at + 1, out),
            _ if ends_word(byte) => break,
            _ => out.push(byte),
        }
        at += 1;
    }
    Ok(at)
}

fn unquote_double(rest: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    loop {
        match rest[at..] {
            [] => return Err(Unbalanced),
            [b'"', ..] => return end_of_quoted(rest, at + 1),
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex_digit(high) << 4 | hex_digit(low));
                at += 4;
            }
            [b'\\', escaped, ..] => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                at += 2;
            }
            [byte, ..] => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

fn unquote_single(rest: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    loop {
        match rest[at..] {
            [] => return Err(Unbalanced),
            [b'\'', ..] => return end_of_quoted(rest, at + 1),
            [b'\\', b'\'', ..] => {
                out.push(b'\'');
                at += 2;
            }
            [byte, ..] => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

fn end_of_quoted(rest: &[u8], at: usize) -> Result<usize, Unbalanced> {
    match rest.get(at) {
        Some(&byte) if !is_blank(byte) => Err(Unbalanced),
        _ => Ok(at),
    }
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
        let (mut args, mut unquoted) = (Vec::new(), Vec::new());
        let quoted = split(line, &mut args, &mut unquoted).ok()?;
        let source = if quoted { &unquoted[..] } else { line };
        Some(args.iter().map(|arg| source[arg.start..arg.start + arg.len].to_vec()).collect())
    }

    fn expect(line: &[u8], expected: &[&[u8]]) {
        assert_eq!(words(line).unwrap(), expected, "{}", line.escape_ascii());
    }

    #[test]
    fn words_are_split_at_blanks() {
        expect(b"", &[]);
        expect(b" \t\r\x0b\x0c ", &[]);
        expect(b"PING", &[b"PING"]);
        expect(b"  SET  key\tvalue ", &[b"SET", b"key", b"value"]);
        expect(b"a\x0bb \x0cc", &[b"a\x0bb", b"c"]);
        expect(b"a\rb", &[b"a", b"b"]);
    }

    #[test]
    fn double_quotes_know_escapes() {
        expect(br#"SET "a b" """#, &[b"SET", b"a b", b""]);
        expect(br#""\x41\x7a\xfF\x00""#, &[b"Az\xff\0"]);
        expect(br#""\n\r\t\b\a\\\"\q""#, &[b"\n\r\t\x08\x07\\\"q"]);
        expect(br#""\xg1\x4""#, &[b"xg1x4"]);
        expect(br#""it's""#, &[b"it's"]);
    }

    #[test]
    fn single_quotes_know_only_the_escaped_quote() {
        expect(br#"'a "b" c'"#, &[br#"a "b" c"#]);
        expect(br"'it\'s' '\n\x41'", &[b"it's", br"\n\x41"]);
    }

    #[test]
    fn a_quote_may_open_inside_a_word_and_ends_it_when_closed() {
        expect(br#"foo"bar baz" x"#, &[b"foobar baz", b"x"]);
        expect(b"\"a\"\x0b'b'", &[b"a", b"b"]);
        assert_eq!(words(br#""foo"bar"#), None);
        assert_eq!(words(br#"'foo''bar'"#), None);
        assert_eq!(words(br#""foo"'bar'"#), None);
    }

    #[test]
    fn an_unclosed_quote_is_an_error() {
        for line in
            [&br#"""#[..], b"'", br#"SET "abc"#, br"SET 'abc\'", br#"SET "abc\""#, br#""\"#, br#""\x4"#]
        {
            assert_eq!(words(line), None, "{}", line.escape_ascii());
        }
    }
}
