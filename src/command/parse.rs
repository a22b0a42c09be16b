//! Reading arguments as Redis reads them: what several command families share.
//!
//! Strictness is part of the protocol: `+1`, `01`, ` 1` and `1 ` are not integers to Redis, and a client may count on the error.

use super::long_double::LongDouble;
use super::{Args, BlockTimeout, CommandError};
use crate::store::parse_integer;

/// A 64-bit integer in its one canonical spelling: no plus sign, no leading zeros, no spaces.
pub fn integer(text: &[u8]) -> Result<i64, CommandError> {
    parse_integer(text).ok_or(CommandError::NotInteger)
}

/// An integer that Redis keeps in a C `int`.
pub fn small_integer(text: &[u8]) -> Result<i32, CommandError> {
    let value = integer(text)?;
    i32::try_from(value).map_err(|_| {
        CommandError::other(format!(
            "ERR value is out of range, value must between {} and {}",
            i32::MIN,
            i32::MAX
        ))
    })
}

/// Why a number of keys is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadCount {
    NotAnInteger,
    Negative,
    /// There are fewer arguments.
    TooMany,
}

/// A number of keys, as commands that begin with one spell it.
pub fn key_count(text: &[u8]) -> Result<usize, BadCount> {
    let count = parse_integer(text).ok_or(BadCount::NotAnInteger)?;
    usize::try_from(count).map_err(|_| BadCount::Negative)
}

/// `args` begin with a number of keys: those keys, and the arguments after them. Every command with such a number reads it here,
/// and the command table, which says where the keys are, reads it with [`key_count`] too.
pub fn numbered_keys<'a>(args: Args<'a>) -> Result<(Args<'a>, Args<'a>), BadCount> {
    let (count, rest) = args.split_first().ok_or(BadCount::TooMany)?;
    rest.split_at_checked(key_count(count)?).ok_or(BadCount::TooMany)
}

/// The index of an existing database.
pub fn database(text: &[u8], databases: usize) -> Result<usize, CommandError> {
    let index = small_integer(text)?;
    usize::try_from(index).ok().filter(|&index| index < databases).ok_or(CommandError::DbIndexOutOfRange)
}

/// A cursor of SCAN and its kin. Redis reads it with C's `strtoul`, hence: empty text is 0, a sign is allowed and a
/// minus wraps around, and what follows a NUL is not seen.
pub fn cursor(text: &[u8]) -> Result<u64, CommandError> {
    let text = text.split(|&byte| byte == 0).next().unwrap_or(b"");
    let (negative, digits) = match text {
        b"" => return Ok(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return Err(CommandError::InvalidCursor);
    }
    let mut value = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return Err(CommandError::InvalidCursor);
        }
        let next = value.checked_mul(10).and_then(|value| value.checked_add(u64::from(digit - b'0')));
        value = next.ok_or(CommandError::InvalidCursor)?;
    }
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// The timeout of BLPOP and its kin: seconds, fractions allowed. `now_ms` is the time now, Unix milliseconds.
pub fn block_timeout_seconds(text: &[u8], now_ms: i64) -> Result<BlockTimeout, CommandError> {
    let seconds =
        LongDouble::parse(text).ok_or(CommandError::other("ERR timeout is not a float or out of range"))?;
    let ms = seconds.seconds_to_ms().ok_or(CommandError::other("ERR timeout is out of range"))?;
    block_timeout(ms, now_ms)
}

/// The timeout of BLOCK of XREAD and XREADGROUP: milliseconds.
pub fn block_timeout_ms(text: &[u8], now_ms: i64) -> Result<BlockTimeout, CommandError> {
    let ms =
        parse_integer(text).ok_or(CommandError::other("ERR timeout is not an integer or out of range"))?;
    block_timeout(ms, now_ms)
}

fn block_timeout(ms: i64, now_ms: i64) -> Result<BlockTimeout, CommandError> {
    match ms {
        ..0 => Err(CommandError::other("ERR timeout is negative")),
        0 => Ok(BlockTimeout::Never),
        // When it would end must be a time too.
        _ if ms > i64::MAX - now_ms => Err(CommandError::other("ERR timeout is out of range")),
        _ => Ok(BlockTimeout::After(ms as u64)),
    }
}

/// The unit of a time in an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Milliseconds,
}

/// From when a time in an argument counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// From now: EX, PX.
    Now,
    /// From 1970: EXAT, PXAT.
    Epoch,
}

/// EX, PX, EXAT or PXAT with its argument, which is not read until `deadline`: a malformed option anywhere in the
/// command is reported before a malformed number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry<'a> {
    pub amount: &'a [u8],
    pub unit: Unit,
    pub base: Base,
}

impl Expiry<'_> {
    /// The Unix time in milliseconds; must lie after 1970. `command` is named in the error.
    pub fn deadline(&self, now_ms: i64, command: &'static str) -> Result<i64, CommandError> {
        let invalid = || CommandError::InvalidExpire(command);
        let amount = integer(self.amount)?;
        if amount <= 0 {
            return Err(invalid());
        }
        let amount_ms = match self.unit {
            Unit::Seconds => amount.checked_mul(1000).ok_or_else(invalid)?,
            Unit::Milliseconds => amount,
        };
        match self.base {
            Base::Now => amount_ms.checked_add(now_ms).ok_or_else(invalid),
            Base::Epoch => Ok(amount_ms),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// NX
    KeyMissing,
    /// XX
    KeyExists,
}

/// What follows SET's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetOptions<'a> {
    pub condition: Option<Condition>,
    pub get: bool,
    pub keep_ttl: bool,
    pub expiry: Option<Expiry<'a>>,
}

/// What follows GETEX's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GetexOptions<'a> {
    pub persist: bool,
    pub expiry: Option<Expiry<'a>>,
}

/// EX, PX, EXAT and PXAT, by name.
fn expiry_kind(option: &[u8]) -> Option<(Unit, Base)> {
    let kinds: [(&[u8], Unit, Base); 4] = [
        (b"ex", Unit::Seconds, Base::Now),
        (b"px", Unit::Milliseconds, Base::Now),
        (b"exat", Unit::Seconds, Base::Epoch),
        (b"pxat", Unit::Milliseconds, Base::Epoch),
    ];
    kinds.iter().find(|(name, ..)| option.eq_ignore_ascii_case(name)).map(|&(_, unit, base)| (unit, base))
}

/// Reads `option` as one of the four expiry options. They exclude each other, but one may be repeated: the last counts.
fn expiry_option<'a>(
    option: &[u8],
    rest: &mut std::slice::Iter<'_, &'a [u8]>,
    seen: &mut Option<Expiry<'a>>,
) -> Result<(), CommandError> {
    let (unit, base) = expiry_kind(option).ok_or(CommandError::Syntax)?;
    if seen.is_some_and(|seen| (seen.unit, seen.base) != (unit, base)) {
        return Err(CommandError::Syntax);
    }
    let amount = rest.next().ok_or(CommandError::Syntax)?;
    *seen = Some(Expiry { amount, unit, base });
    Ok(())
}

impl<'a> SetOptions<'a> {
    pub fn parse(options: &[&'a [u8]]) -> Result<Self, CommandError> {
        let mut parsed = SetOptions::default();
        let mut rest = options.iter();
        while let Some(&option) = rest.next() {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            if is(b"nx") && parsed.condition != Some(Condition::KeyExists) {
                parsed.condition = Some(Condition::KeyMissing);
            } else if is(b"xx") && parsed.condition != Some(Condition::KeyMissing) {
                parsed.condition = Some(Condition::KeyExists);
            } else if is(b"get") {
                parsed.get = true;
            } else if is(b"keepttl") && parsed.expiry.is_none() {
                parsed.keep_ttl = true;
            } else if parsed.keep_ttl {
                return Err(CommandError::Syntax);
            } else {
                expiry_option(option, &mut rest, &mut parsed.expiry)?;
            }
        }
        Ok(parsed)
    }
}

impl<'a> GetexOptions<'a> {
    pub fn parse(options: &[&'a [u8]]) -> Result<Self, CommandError> {
        let mut parsed = GetexOptions::default();
        let mut rest = options.iter();
        while let Some(&option) = rest.next() {
            if option.eq_ignore_ascii_case(b"persist") && parsed.expiry.is_none() {
                parsed.persist = true;
            } else if parsed.persist {
                return Err(CommandError::Syntax);
            } else {
                expiry_option(option, &mut rest, &mut parsed.expiry)?;
            }
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_options(text: &'static str) -> Result<SetOptions<'static>, CommandError> {
        let words: Vec<&[u8]> = text.split_whitespace().map(str::as_bytes).collect();
        SetOptions::parse(&words)
    }

    #[test]
    fn only_the_canonical_spelling_is_an_integer() {
        for (text, value) in
            [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
        {
            assert_eq!(integer(text.as_bytes()), Ok(value));
        }
        for text in [
            "",
            "-",
            "-0",
            "+1",
            "01",
            "-01",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "0x1",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999999",
            "1\0",
        ] {
            assert_eq!(integer(text.as_bytes()), Err(CommandError::NotInteger), "{text:?}");
        }
    }

    #[test]
    fn a_small_integer_out_of_range_is_told_from_no_integer() {
        assert_eq!(small_integer(b"-2147483648"), Ok(i32::MIN));
        assert_eq!(
            small_integer(b"2147483648").unwrap_err().to_string(),
            "ERR value is out of range, value must between -2147483648 and 2147483647"
        );
        assert_eq!(small_integer(b"one"), Err(CommandError::NotInteger));
        assert_eq!(database(b"15", 16), Ok(15));
        assert_eq!(database(b"16", 16), Err(CommandError::DbIndexOutOfRange));
        assert_eq!(database(b"-1", 16), Err(CommandError::DbIndexOutOfRange));
    }

    #[test]
    fn cursors_are_read_as_strtoul_reads_them() {
        for (text, value) in [
            (&b"0"[..], 0),
            (b"", 0),
            (b"007", 7),
            (b"+7", 7),
            (b"-1", u64::MAX),
            (b"18446744073709551615", u64::MAX),
            (b"5\0garbage", 5),
        ] {
            assert_eq!(cursor(text), Ok(value), "{text:?}");
        }
        for text in [&b"x"[..], b" 1", b"1 ", b"-", b"+", b"0x10", b"18446744073709551616"] {
            assert_eq!(cursor(text), Err(CommandError::InvalidCursor), "{text:?}");
        }
    }

    #[test]
    fn timeouts_are_rounded_up_to_milliseconds_and_zero_is_for_ever() {
        use BlockTimeout::{After, Never};
        let seconds = |text: &str| block_timeout_seconds(text.as_bytes(), 1000).map_err(|e| e.to_string());
        for (text, timeout) in [
            ("0", Never),
            ("0.0", Never),
            // Rounded up, it is no more below zero.
            ("-0.0009", Never),
            ("1", After(1000)),
            ("0.1", After(100)),
            ("0.0001", After(1)),
            ("1e-300", After(1)),
            ("0x10", After(16_000)),
            ("1.0001", After(1001)),
            ("9223372036854774", After(9_223_372_036_854_774_000)),
        ] {
            assert_eq!(seconds(text), Ok(timeout), "{text}");
        }
        for (text, error) in [
            ("-1", "ERR timeout is negative"),
            ("-0.002", "ERR timeout is negative"),
            ("-inf", "ERR timeout is negative"),
            ("-1e30", "ERR timeout is negative"),
            ("inf", "ERR timeout is out of range"),
            ("1e30", "ERR timeout is out of range"),
            ("9223372036854776", "ERR timeout is out of range"),
            ("9223372036854775", "ERR timeout is out of range"),
            ("nan", "ERR timeout is not a float or out of range"),
            ("x", "ERR timeout is not a float or out of range"),
            ("", "ERR timeout is not a float or out of range"),
            (" 1", "ERR timeout is not a float or out of range"),
        ] {
            assert_eq!(seconds(text), Err(error.to_owned()), "{text}");
        }
        let ms = |text: &str| block_timeout_ms(text.as_bytes(), 1000).map_err(|e| e.to_string());
        assert_eq!((ms("0"), ms("15")), (Ok(Never), Ok(After(15))));
        assert_eq!(ms("-1"), Err("ERR timeout is negative".to_owned()));
        assert_eq!(ms("1.5"), Err("ERR timeout is not an integer or out of range".to_owned()));
        assert_eq!(ms("9223372036854775807"), Err("ERR timeout is out of range".to_owned()));
    }

    #[test]
    fn set_options_that_exclude_each_other_are_a_syntax_error() {
        for text in [
            "nx xx",
            "xx nx",
            "keepttl ex 1",
            "ex 1 keepttl",
            "ex 1 px 1",
            "px 1 exat 1",
            "pxat 1 ex 1",
            "ex",
            "nx px",
            "persist",
            "exx 1",
        ] {
            assert_eq!(set_options(text), Err(CommandError::Syntax), "{text}");
        }
    }

    #[test]
    fn set_options_may_be_repeated_and_the_last_time_counts() {
        let options = set_options("NX nx GET get EX 1 eX 2").unwrap();
        assert_eq!(options.condition, Some(Condition::KeyMissing));
        assert!(options.get);
        assert_eq!(options.expiry.unwrap().amount, b"2");
        assert!(set_options("keepttl KEEPTTL").unwrap().keep_ttl);
    }

    #[test]
    fn getex_takes_one_time_or_persist_and_nothing_of_sets() {
        let parse = |words: &[&'static [u8]]| GetexOptions::parse(words);
        assert!(parse(&[b"PERSIST"]).unwrap().persist);
        assert_eq!(parse(&[b"exat", b"9"]).unwrap().expiry.unwrap().amount, b"9");
        for words in [
            &[&b"persist"[..], b"ex", b"1"][..],
            &[b"ex", b"1", b"persist"],
            &[b"nx"],
            &[b"get"],
            &[b"keepttl"],
            &[b"ex"],
        ] {
            assert_eq!(parse(words), Err(CommandError::Syntax));
        }
    }

    #[test]
    fn deadlines_that_overflow_or_lie_before_1970_are_refused() {
        let deadline =
            |amount: &str, unit, base| Expiry { amount: amount.as_bytes(), unit, base }.deadline(1000, "set");
        assert_eq!(deadline("5", Unit::Seconds, Base::Now), Ok(6000));
        assert_eq!(deadline("5", Unit::Milliseconds, Base::Now), Ok(1005));
        assert_eq!(deadline("5", Unit::Seconds, Base::Epoch), Ok(5000));
        assert_eq!(deadline("9223372036854775807", Unit::Milliseconds, Base::Epoch), Ok(i64::MAX));
        for (amount, unit, base) in [
            ("0", Unit::Seconds, Base::Now),
            ("-1", Unit::Milliseconds, Base::Epoch),
            ("9223372036854775", Unit::Seconds, Base::Now),
            ("9223372036854776", Unit::Seconds, Base::Epoch),
            ("9223372036854774808", Unit::Milliseconds, Base::Now),
        ] {
            assert_eq!(deadline(amount, unit, base), Err(CommandError::InvalidExpire("set")), "{amount}");
        }
        assert_eq!(deadline("1.5", Unit::Seconds, Base::Now), Err(CommandError::NotInteger));
    }
}
