//! Doubles in arguments, as Redis reads them with C's `strtod`: scores, weights, coordinates, distances.

/// A double as most commands want it: all of the text, no space in front, not NaN, and a magnitude that a double has.
pub fn double(text: &[u8]) -> Option<f64> {
    match parse(text)? {
        Parsed { out_of_range: true, .. } => None,
        Parsed { value, .. } => Some(value),
    }
}

/// As `double`, but a number so small that a double cannot hold it exactly for that reason (C's ERANGE) is none either.
pub fn exact_range_double(text: &[u8]) -> Option<f64> {
    let Parsed { value, out_of_range, is_exact } = parse(text)?;
    let fits = !out_of_range && (is_exact || !value.is_subnormal());
    fits.then_some(value)
}

/// A double as the ends of score ranges are read: up to a NUL, white space in front, nothing at all for 0, and what
/// is too large for infinity.
pub fn lenient_double(text: &[u8]) -> Option<f64> {
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_space(byte))?;
    parse(&text[start..]).map(|parsed| parsed.value)
}

struct Parsed {
    value: f64,
    /// Infinity or zero stands for a number that is neither.
    out_of_range: bool,
    /// Whether the text is known to say this very number.
    is_exact: bool,
}

fn parse(text: &[u8]) -> Option<Parsed> {
    let unsigned = match text {
        [b'+' | b'-', rest @ ..] => rest,
        rest => rest,
    };
    if let [b'0', b'x' | b'X', digits @ ..] = unsigned {
        let magnitude = hexadecimal(digits)?;
        let value = if text[0] == b'-' { -magnitude.value } else { magnitude.value };
        return Some(Parsed { value, ..magnitude });
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    if value.is_nan() {
        return None;
    }
    let out_of_range = if value == 0.0 {
        let mantissa = unsigned.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
        mantissa.into_iter().any(|byte| matches!(byte, b'1'..=b'9'))
    } else {
        value.is_infinite() && !matches!(unsigned, [b'i' | b'I', ..])
    };
    Some(Parsed { value, out_of_range, is_exact: false })
}

/// Digits in base 16 with an optional point, and an optional power of two behind a `p`.
fn hexadecimal(text: &[u8]) -> Option<Parsed> {
    let (digits, exponent) = match text.iter().position(|byte| matches!(byte, b'p' | b'P')) {
        Some(at) => (&text[..at], binary_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (mut mantissa, mut scale, mut seen_digit, mut seen_point) = (0u64, 0i64, false, false);
    for &byte in digits {
        if byte == b'.' && !seen_point {
            seen_point = true;
            continue;
        }
        let digit = u64::from((byte as char).to_digit(16)?);
        seen_digit = true;
        if mantissa >> 58 == 0 {
            mantissa = mantissa << 4 | digit;
            scale -= if seen_point { 4 } else { 0 };
        } else {
            // Beyond the precision: it can only decide a rounding.
            mantissa |= u64::from(digit != 0);
            scale += if seen_point { 0 } else { 4 };
        }
    }
    if !seen_digit {
        return None;
    }
    let exponent = scale.saturating_add(exponent);
    let value = times_power_of_two(mantissa as f64, exponent);
    let is_exact = times_power_of_two(value, exponent.saturating_neg()) == mantissa as f64;
    Some(Parsed { value, out_of_range: mantissa != 0 && (value == 0.0 || value.is_infinite()), is_exact })
}

fn binary_exponent(text: &[u8]) -> Option<i64> {
    let digits = match text {
        [b'+' | b'-', rest @ ..] => rest,
        rest => rest,
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // A number of digits that does not fit is as good as the largest that does.
    let magnitude =
        digits.iter().fold(0i64, |sum, digit| sum.saturating_mul(10).saturating_add((digit - b'0').into()));
    Some(if text[0] == b'-' { -magnitude } else { magnitude })
}

fn times_power_of_two(mut value: f64, exponent: i64) -> f64 {
    const STEP: i64 = 512;
    // From the lowest to the highest double are fewer steps than these.
    let mut rest = exponent.clamp(-8 * STEP, 8 * STEP);
    while rest != 0 {
        let step = rest.clamp(-STEP, STEP);
        value *= 2f64.powi(step as i32);
        rest -= step;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_by_strtod() {
        for (text, value) in [
            ("1", 1.0),
            ("+1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("-0", -0.0),
            ("1e3", 1000.0),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("0x1F", 31.0),
            ("-0x.8p1", -1.0),
            ("0x1p-3", 0.125),
            ("0x1fffffffffffff8", 0x1fffffffffffff8u64 as f64),
            ("1e-310", 1e-310),
        ] {
            assert_eq!(double(text.as_bytes()).map(f64::to_bits), Some(value.to_bits()), "{text}");
        }
        for text in [
            "", " 1", "1 ", "nan", "-nan", "1e400", "1e-400", "0x", "0xg", "1_0", "1e", "e1", ".", "1\0",
            "0x1p2000",
        ] {
            assert_eq!(double(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn numbers_that_lose_digits_because_they_are_small_may_be_refused() {
        for text in ["0", "1.5", "0.1", "-inf", "2.2250738585072014e-308", "0x1p-1074", "-0x.8p-1070", "0x0"]
        {
            assert_eq!(exact_range_double(text.as_bytes()), double(text.as_bytes()), "{text}");
        }
        for text in ["4.9e-324", "-1e-310", "1e-400", "1e400", "0x1.8p-1074", "x"] {
            assert_eq!(exact_range_double(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn ends_of_ranges_are_read_leniently() {
        for (text, value) in [
            ("", 0.0),
            (" \t1", 1.0),
            ("1e400", f64::INFINITY),
            ("1\0x", 1.0),
            ("1e-400", 0.0),
            ("+inf", f64::INFINITY),
        ] {
            assert_eq!(lenient_double(text.as_bytes()), Some(value), "{text:?}");
        }
        for text in [" ", "x", "1 ", "nan", "(1"] {
            assert_eq!(lenient_double(text.as_bytes()), None, "{text:?}");
        }
    }
}
