//! Looks ahead in the bytes of a log: which keys its next commands are likely to concern, so that they can be fetched into the
//! processor's caches together.
//!
//! It believes that bytes which are there are as they should be, and that the first argument is a key. Whoever uses what it finds must
//! not be harmed when neither is so.

/// Beyond a command with more arguments it does not look: they would have to be passed over one by one.
const ARGS_MAX: usize = 16;
/// Lengths of more digits end beyond what has been fetched.
const DIGITS_MAX: usize = 7;

/// Calls `each` with the first argument of the commands that `bytes` begin with, and where in `bytes` the command begins, for at
/// most `count` commands.
pub fn first_arguments<'a>(bytes: &'a [u8], count: usize, mut each: impl FnMut(usize, &'a [u8])) {
    let mut at = 0;
    for _ in 0..count {
        let start = at;
        let Some((key, end)) = command(bytes, start) else { return };
        if let Some(key) = key {
            each(start, key);
        }
        at = end;
    }
}

/// The first argument of the command at `at`, if it has one, and where the command ends.
fn command(bytes: &[u8], mut at: usize) -> Option<(Option<&[u8]>, usize)> {
    let args = number(bytes, &mut at, b'*')?;
    if args > ARGS_MAX {
        return None;
    }
    let mut key = None;
    for index in 0..args {
        let len = number(bytes, &mut at, b'$')?;
        let value = bytes.get(at..at + len)?;
        if index == 1 {
            key = Some(value);
        }
        at += len + 2;
    }
    Some((key, at))
}

fn number(bytes: &[u8], at: &mut usize, kind: u8) -> Option<usize> {
    if *bytes.get(*at)? != kind {
        return None;
    }
    *at += 1;
    let mut number = 0;
    for _ in 0..=DIGITS_MAX {
        let byte = *bytes.get(*at)?;
        *at += 1;
        match byte {
            b'0'..=b'9' => number = number * 10 + usize::from(byte - b'0'),
            b'\r' => {
                *at += 1;
                return Some(number);
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8], count: usize) -> Vec<(usize, &[u8])> {
        let mut found = Vec::new();
        first_arguments(bytes, count, |start, key| found.push((start, key)));
        found
    }

    const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$1\r\nv\r\n";

    #[test]
    fn keys_are_told_with_where_their_commands_begin() {
        let bytes = [SET, b"*1\r\n$5\r\nMULTI\r\n", SET].concat();
        assert_eq!(found(&bytes, 16), [(0, &b"k1"[..]), (SET.len() + 15, &b"k1"[..])]);
        assert_eq!(found(&bytes, 1).len(), 1);
    }

    #[test]
    fn whatever_the_bytes_are_it_only_stops() {
        let bytes = [SET, b"#GTX:1:0\r\n", SET].concat();
        assert_eq!(found(&bytes, 16).len(), 1);
        for end in 0..SET.len() - 2 {
            assert!(found(&SET[..end], 16).len() <= 1);
            let mut broken = SET.to_vec();
            broken[end] = b'9';
            found(&broken, 16);
            broken.truncate(end + 1);
            found(&broken, 16);
        }
        assert!(found(b"*2\r\n$3\r\nDEL\r\n$99999999999999999999999\r\n", 16).is_empty());
    }
}
