//! The plain values: yes/no, numbers, text, and one of several words.

use super::directive::{Field, Reason, Rule, Source, Unit};
use crate::base::words::quoted;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

const WRONG_ARGS: Reason = Reason::Borrowed("wrong number of arguments");

/// The only argument of a directive that takes one.
pub(super) fn one(args: &[Vec<u8>]) -> Result<&[u8], Reason> {
    match args {
        [value] => Ok(value),
        _ => Err(WRONG_ARGS),
    }
}

/// An integer as Redis reads one: no sign but `-`, no leading zero, no blanks.
pub(super) fn integer(text: &[u8]) -> Option<i128> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let value: i128 = canonical.then(|| std::str::from_utf8(text).ok()?.parse().ok())??;
    i64::try_from(value).ok().map(i128::from)
}

/// An amount of memory, bytes: digits and an optional unit, `1k` = 1000, `1kb` = 1024. Digits may be missing, and are
/// then 0, as in Redis.
pub fn memory_size(text: &[u8]) -> Option<u64> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let scale: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1024,
        b"m" => 1000 * 1000,
        b"mb" => 1024 * 1024,
        b"g" => 1000 * 1000 * 1000,
        b"gb" => 1024 * 1024 * 1024,
        _ => return None,
    };
    let amount: u64 = if digits.is_empty() { 0 } else { std::str::from_utf8(digits).ok()?.parse().ok()? };
    amount.checked_mul(scale)
}

/// The shortest way to write an amount of memory so that `memory_size` reads it back exactly.
pub(super) fn memory_text(bytes: i128) -> Vec<u8> {
    const UNITS: [(i128, &str); 3] = [(1024 * 1024 * 1024, "gb"), (1024 * 1024, "mb"), (1024, "kb")];
    match UNITS.iter().find(|(scale, _)| bytes != 0 && bytes % scale == 0) {
        Some((scale, unit)) => format!("{}{unit}", bytes / scale).into_bytes(),
        None => bytes.to_string().into_bytes(),
    }
}

fn octal_number(text: &[u8]) -> Option<i128> {
    i64::from_str_radix(std::str::from_utf8(text).ok()?, 8).ok().map(i128::from)
}

fn number(text: &[u8], unit: Unit) -> Result<i128, Reason> {
    match unit {
        Unit::Plain => integer(text).ok_or("argument couldn't be parsed into an integer".into()),
        Unit::Memory => memory_size(text).map(i128::from).ok_or("argument must be a memory value".into()),
        Unit::Octal => octal_number(text).ok_or("argument couldn't be parsed as an octal number".into()),
    }
}

macro_rules! number_fields {
    ($($type:ty)*) => {
        $(
            impl Field for $type {
                fn text(&self, rule: &Rule) -> Vec<u8> {
                    match rule {
                        Rule::Range { unit: Unit::Octal, .. } => format!("{self:o}").into_bytes(),
                        _ => self.to_string().into_bytes(),
                    }
                }

                fn assign(&mut self, args: &[Vec<u8>], rule: &Rule, _: Source) -> Result<(), Reason> {
                    let (lower, upper, unit) = match *rule {
                        Rule::Range { lower, upper, unit } => (lower, upper, unit),
                        _ => (i128::from(i64::MIN), i128::from(i64::MAX), Unit::Plain),
                    };
                    let value = number(one(args)?, unit)?;
                    let in_range = (lower..=upper).contains(&value);
                    *self = match <$type>::try_from(value) {
                        Ok(value) if in_range => value,
                        _ if unit == Unit::Octal => {
                            return Err(format!("argument must be between {lower:o} and {upper:o} inclusive").into())
                        }
                        _ => return Err(format!("argument must be between {lower} and {upper} inclusive").into()),
                    };
                    Ok(())
                }

                fn lines(&self, rule: &Rule) -> Vec<Vec<u8>> {
                    match rule {
                        Rule::Range { unit: Unit::Memory, .. } => vec![memory_text(*self as i128)],
                        _ => vec![self.text(rule)],
                    }
                }
            }
        )*
    };
}

number_fields! { u16 u32 u64 usize i32 i64 }

impl Field for bool {
    fn text(&self, _: &Rule) -> Vec<u8> {
        if *self { "yes" } else { "no" }.into()
    }

    fn assign(&mut self, args: &[Vec<u8>], _: &Rule, _: Source) -> Result<(), Reason> {
        let word = one(args)?;
        *self = match (word.eq_ignore_ascii_case(b"yes"), word.eq_ignore_ascii_case(b"no")) {
            (true, _) => true,
            (_, true) => false,
            _ => return Err("argument must be 'yes' or 'no'".into()),
        };
        Ok(())
    }
}

/// Values that are their own text: any bytes, as Redis takes them.
trait Text: Sized {
    fn from_bytes(bytes: &[u8]) -> Result<Self, Reason>;
    fn as_bytes(&self) -> &[u8];
}

impl Text for Vec<u8> {
    fn from_bytes(bytes: &[u8]) -> Result<Self, Reason> {
        Ok(bytes.to_vec())
    }

    fn as_bytes(&self) -> &[u8] {
        self
    }
}

impl Text for PathBuf {
    fn from_bytes(bytes: &[u8]) -> Result<Self, Reason> {
        if bytes.contains(&0) {
            return Err("a path can't contain a zero byte".into());
        }
        Ok(PathBuf::from(OsStr::from_bytes(bytes)))
    }

    fn as_bytes(&self) -> &[u8] {
        self.as_os_str().as_bytes()
    }
}

fn checked(args: &[Vec<u8>], rule: &Rule) -> Result<Vec<u8>, Reason> {
    let value = one(args)?;
    if let Rule::Check(check) = rule {
        check(value)?;
    }
    Ok(value.to_vec())
}

macro_rules! text_fields {
    ($($type:ty)*) => {
        $(
            impl Field for $type {
                fn text(&self, _: &Rule) -> Vec<u8> {
                    Text::as_bytes(self).to_vec()
                }

                fn assign(&mut self, args: &[Vec<u8>], rule: &Rule, _: Source) -> Result<(), Reason> {
                    *self = Text::from_bytes(&checked(args, rule)?)?;
                    Ok(())
                }

                fn lines(&self, _: &Rule) -> Vec<Vec<u8>> {
                    vec![quoted(Text::as_bytes(self))]
                }
            }

            /// The empty text means that the directive is not set.
            impl Field for Option<$type> {
                fn text(&self, _: &Rule) -> Vec<u8> {
                    self.as_ref().map(|value| Text::as_bytes(value).to_vec()).unwrap_or_default()
                }

                fn assign(&mut self, args: &[Vec<u8>], rule: &Rule, _: Source) -> Result<(), Reason> {
                    let value = checked(args, rule)?;
                    *self = if value.is_empty() { None } else { Some(Text::from_bytes(&value)?) };
                    Ok(())
                }

                fn lines(&self, _: &Rule) -> Vec<Vec<u8>> {
                    self.iter().map(|value| quoted(Text::as_bytes(value))).collect()
                }
            }
        )*
    };
}

text_fields! { Vec<u8> PathBuf }

/// One of several words. The first word of a choice is the one that is shown.
pub(super) fn choose<T: Copy>(args: &[Vec<u8>], words: &[(&str, T)]) -> Result<T, Reason> {
    let arg = one(args)?;
    let found = words.iter().find(|(word, _)| arg.eq_ignore_ascii_case(word.as_bytes()));
    found.map(|(_, value)| *value).ok_or_else(|| not_among(words.iter().map(|(word, _)| *word)))
}

pub(super) fn not_among<'a>(words: impl Iterator<Item = &'a str>) -> Reason {
    let words: Vec<&str> = words.collect();
    format!("argument(s) must be one of the following: {}", words.join(", ")).into()
}

/// Declares an enum whose variants are words of the configuration file.
macro_rules! choices {
    (
        $(#[$doc:meta])*
        $name:ident { $( $(#[$variant_doc:meta])* $variant:ident = $word:literal $(| $other:literal)* ),* $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[$variant_doc])* $variant, )* }

        impl $name {
            const WORDS: &'static [(&'static str, Self)] = &[
                $( ($word, $name::$variant), $( ($other, $name::$variant), )* )*
            ];

            /// The word that CONFIG GET and INFO show.
            pub fn word(self) -> &'static str {
                match self { $( $name::$variant => $word, )* }
            }
        }

        $crate::config::values::choice!($name);
    };
}

pub(super) use choices;

/// Has a directive choose among the `WORDS` of a type, which shows its own by `word`.
macro_rules! choice {
    ($name:ident) => {
        impl $crate::config::directive::Field for $name {
            fn text(&self, _: &$crate::config::directive::Rule) -> Vec<u8> {
                self.word().into()
            }

            fn assign(
                &mut self,
                args: &[Vec<u8>],
                _: &$crate::config::directive::Rule,
                _: $crate::config::directive::Source,
            ) -> Result<(), $crate::config::directive::Reason> {
                *self = $crate::config::values::choose(args, Self::WORDS)?;
                Ok(())
            }
        }
    };
}

pub(super) use choice;
