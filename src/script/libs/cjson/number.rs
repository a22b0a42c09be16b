//! Numbers as C's library reads and writes them: `strtod`, and `printf` with `%g`.

use std::io::Write;

use crate::command::double::lenient_double;

/// Appends what `%.*g` makes of a number with so many significant digits.
pub fn write_general(value: f64, precision: usize, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    }
    let start = out.len();
    // Writing to a Vec does not fail.
    let _ = if value.fract() == 0.0 && value.abs() < 10f64.powi(precision as i32) {
        if value == 0.0 && value.is_sign_negative() {
            out.push(b'-');
        }
        write!(out, "{}", value as i64)
    } else {
        write!(out, "{value:.*e}", precision - 1)
    };
    let Some(e) = memchr::memchr(b'e', &out[start..]) else { return };
    let exponent = std::str::from_utf8(&out[start + e + 1..]).ok().and_then(|text| text.parse().ok());
    let exponent: i32 = exponent.unwrap_or(0);
    out.truncate(start + e);
    // What is there now is a sign, a digit, and if there are more of them a point and the others.
    let first = start + usize::from(out[start] == b'-');
    if out.len() > first + 1 {
        let kept = out[first..].iter().rposition(|&byte| byte != b'0').unwrap_or(0);
        out.truncate(first + kept + 1);
    }
    if out.last() == Some(&b'.') {
        out.pop();
    }
    if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
        return;
    }
    let has_point = out.len() > first + 1;
    if exponent < 0 {
        if has_point {
            out.remove(first + 1);
        }
        let zeros = exponent.unsigned_abs() as usize - 1;
        out.splice(first..first, b"0.".iter().copied().chain(std::iter::repeat_n(b'0', zeros)));
    } else if has_point {
        out.remove(first + 1);
        let point = first + 1 + exponent as usize;
        if out.len() > point {
            out.insert(point, b'.');
        } else {
            out.resize(point, b'0');
        }
    } else {
        out.resize(first + 1 + exponent as usize, b'0');
    }
}

/// The longest number that a text starts with, and its length. White space in front is not looked for.
pub fn read_prefix(text: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let unsigned = &text[sign..];
    let starts_with =
        |word: &[u8]| unsigned.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if starts_with(b"nan") {
        let value = if text[0] == b'-' { -f64::NAN } else { f64::NAN };
        return Some((value, sign + 3 + nan_payload(&unsigned[3..])));
    }
    let length = if starts_with(b"infinity") {
        8
    } else if starts_with(b"inf") {
        3
    } else if starts_with(b"0x") {
        // Without digits behind it, the x does not belong to the number.
        mantissa(&unsigned[2..], b'p', u8::is_ascii_hexdigit).map_or(1, |length| 2 + length)
    } else {
        mantissa(unsigned, b'e', u8::is_ascii_digit)?
    };
    let length = sign + length;
    Some((lenient_double(&text[..length])?, length))
}

/// The length of digits with an optional point, and an optional exponent behind them.
fn mantissa(text: &[u8], exponent_letter: u8, is_digit: fn(&u8) -> bool) -> Option<usize> {
    let digits = |from: usize, is_digit: fn(&u8) -> bool| {
        text[from..].iter().take_while(|byte| is_digit(byte)).count()
    };
    let whole = digits(0, is_digit);
    let mut length = whole;
    if text.get(length) == Some(&b'.') {
        let fraction = digits(length + 1, is_digit);
        if whole + fraction > 0 {
            length += 1 + fraction;
        }
    }
    if length == 0 {
        return None;
    }
    if text.get(length).is_some_and(|byte| byte.eq_ignore_ascii_case(&exponent_letter)) {
        let sign = usize::from(matches!(text.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits((length + 1 + sign).min(text.len()), u8::is_ascii_digit);
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    Some(length)
}

/// The length of what may stand behind `nan`: letters and digits in parentheses.
fn nan_payload(text: &[u8]) -> usize {
    let Some(inside) = text.strip_prefix(b"(") else { return 0 };
    let length = inside.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    if inside.get(length) == Some(&b')') {
        length + 2
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_printf() {
        for (value, precision, text) in [
            (0.0, 14, "0"),
            (-0.0, 14, "-0"),
            (1.0, 14, "1"),
            (-17.0, 14, "-17"),
            (0.1, 14, "0.1"),
            (1.0 / 3.0, 14, "0.33333333333333"),
            (-2.0 / 3.0, 3, "-0.667"),
            (99_999_999_999_999.0, 14, "99999999999999"),
            (100_000_000_000_000.0, 14, "1e+14"),
            (123_456_789_012_345.0, 14, "1.2345678901234e+14"),
            (1e15, 14, "1e+15"),
            (1e100, 14, "1e+100"),
            (1e-4, 14, "0.0001"),
            (0.00012345, 14, "0.00012345"),
            (1e-5, 14, "1e-05"),
            (-1.5e-7, 14, "-1.5e-07"),
            (5e-324, 14, "4.9406564584125e-324"),
            (f64::MAX, 14, "1.7976931348623e+308"),
            (123.456, 14, "123.456"),
            (123.456, 3, "123"),
            (123.456, 2, "1.2e+02"),
            (100.5, 3, "100"),
            (9.99, 2, "10"),
            (9.99, 1, "1e+01"),
            (0.95, 1, "0.9"),
            (120.0, 2, "1.2e+02"),
            (10.0, 1, "1e+01"),
            (1020.25, 5, "1020.2"),
            (f64::INFINITY, 14, "inf"),
            (f64::NEG_INFINITY, 14, "-inf"),
            (f64::NAN, 14, "nan"),
        ] {
            let mut out = b">".to_vec();
            write_general(value, precision, &mut out);
            assert_eq!(String::from_utf8_lossy(&out[1..]), text, "{value} {precision}");
        }
    }

    #[test]
    fn the_longest_number_is_read() {
        for (text, value, length) in [
            ("1", 1.0, 1),
            ("12]", 12.0, 2),
            ("-1.5e3,", -1500.0, 6),
            ("+.5x", 0.5, 3),
            ("5.", 5.0, 2),
            ("1e", 1.0, 1),
            ("1e+", 1.0, 1),
            ("1e+2", 100.0, 4),
            ("0x", 0.0, 1),
            ("0xg", 0.0, 1),
            ("0x.", 0.0, 1),
            ("0x1F ", 31.0, 4),
            ("-0x.8p1", -1.0, 7),
            ("0x1p", 1.0, 3),
            ("infinit", f64::INFINITY, 3),
            ("-Infinity1", f64::NEG_INFINITY, 9),
            ("1e999", f64::INFINITY, 5),
            ("1e-999", 0.0, 6),
            ("0012", 12.0, 4),
        ] {
            assert_eq!(read_prefix(text.as_bytes()), Some((value, length)), "{text}");
        }
        for (text, length) in [("nan", 3), ("-NaN", 4), ("nan(12)x", 7), ("nan(1", 3), ("nan(.)", 3)] {
            let (value, found) = read_prefix(text.as_bytes()).unwrap();
            assert!(value.is_nan() && value.is_sign_negative() == text.starts_with('-'), "{text}");
            assert_eq!(found, length, "{text}");
        }
        for text in ["", "-", "+", ".", "-.", "e5", "- 1", "x", "--1", "i", "na"] {
            assert_eq!(read_prefix(text.as_bytes()), None, "{text}");
        }
    }
}
