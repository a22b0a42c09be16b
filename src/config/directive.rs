//! What a directive is: its names, how it may be changed, and how its text becomes a typed field of `Config`.
//!
//! The table of directives is written next to the fields it fills (`section!`, one line a directive), so that a
//! field, its default, its name and its limits cannot drift apart. A field's type knows its own text: how it is
//! read from a configuration line, shown by CONFIG GET, and written by CONFIG REWRITE.

use super::Config;
use std::borrow::Cow;

/// Why a value was refused, in the words that the client or the operator reads.
pub type Reason = Cow<'static, str>;

/// How a directive may be used; a set of the constants in `flag`.
pub type Flags = u16;

pub mod flag {
    /// Given at start only; CONFIG SET refuses it.
    pub const IMMUTABLE: u16 = 1;
    /// CONFIG GET shows it only when asked by its exact name.
    pub const HIDDEN: u16 = 1 << 1;
    /// CONFIG SET needs `enable-protected-configs`.
    pub const PROTECTED: u16 = 1 << 2;
    /// The value is a secret: keep it out of SLOWLOG, MONITOR and the log.
    pub const SENSITIVE: u16 = 1 << 3;
    /// CONFIG SET refuses it while the data set is being loaded.
    pub const DENY_LOADING: u16 = 1 << 4;
    /// Takes any number of arguments.
    pub const MULTI: u16 = 1 << 5;
    /// Setting it again to the same value counts as a change (a certificate file may have new content).
    pub const VOLATILE: u16 = 1 << 6;
    /// Accepted so that a redis.conf works unchanged; nothing in Gyre reads it.
    pub const NO_EFFECT: u16 = 1 << 7;
}

/// What a value must satisfy beyond having its field's type.
pub enum Rule {
    Any,
    /// Inclusive limits of a number, and how it is written.
    Range {
        lower: i128,
        upper: i128,
        unit: Unit,
    },
    Check(fn(&[u8]) -> Result<(), Reason>),
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Plain,
    /// Bytes, with an optional unit: `1k` is 1000, `1kb` is 1024.
    Memory,
    Octal,
}

/// Where a value comes from; some fields treat a start and a running server differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A configuration line. `again`: the same load has set this directive before, so that directives which add up
    /// (`save`) know when to drop their defaults.
    Load { again: bool },
    /// CONFIG SET.
    Set,
}

/// A typed value that knows its own text.
pub trait Field {
    /// As CONFIG GET shows it.
    fn text(&self, rule: &Rule) -> Vec<u8>;

    /// Takes the arguments of a configuration line or of CONFIG SET. On an error the field may be left half changed:
    /// callers work on a copy.
    fn assign(&mut self, args: &[Vec<u8>], rule: &Rule, source: Source) -> Result<(), Reason>;

    /// What follows the name in the configuration file, one item a line; none when the directive is best left out.
    fn lines(&self, rule: &Rule) -> Vec<Vec<u8>> {
        vec![self.text(rule)]
    }

    /// What a line with these arguments is about, for a directive with several lines that each stand for something else;
    /// CONFIG REWRITE puts each in the place of the old one about the same.
    fn subject(&self, _args: &[Vec<u8>]) -> &'static str {
        ""
    }

    /// CONFIG REWRITE writes it even when it is at its default.
    fn always_written(&self) -> bool {
        false
    }
}

/// One row of the table.
pub struct Directive {
    pub name: &'static str,
    /// The older name that Redis still takes and CONFIG GET shows too.
    pub alias: Option<&'static str>,
    pub flags: Flags,
    pub rule: Rule,
    pub(super) get: fn(&Config) -> &dyn Field,
    pub(super) get_mut: fn(&mut Config) -> &mut dyn Field,
}

impl Directive {
    pub fn is(&self, flag: Flags) -> bool {
        self.flags & flag != 0
    }

    /// The value as CONFIG GET shows it.
    pub fn text(&self, config: &Config) -> Vec<u8> {
        (self.get)(config).text(&self.rule)
    }

    pub(super) fn assign(&self, config: &mut Config, args: &[Vec<u8>], source: Source) -> Result<(), Reason> {
        (self.get_mut)(config).assign(args, &self.rule, source)
    }

    pub(super) fn lines(&self, config: &Config) -> Vec<Vec<u8>> {
        (self.get)(config).lines(&self.rule)
    }

    pub(super) fn subject(&self, config: &Config, args: &[Vec<u8>]) -> &'static str {
        (self.get)(config).subject(args)
    }

    pub(super) fn always_written(&self, config: &Config) -> bool {
        (self.get)(config).always_written()
    }
}

pub(super) const fn int(lower: i128, upper: i128) -> Rule {
    Rule::Range { lower, upper, unit: Unit::Plain }
}

pub(super) const fn memory(lower: i128, upper: i128) -> Rule {
    Rule::Range { lower, upper, unit: Unit::Memory }
}

pub(super) const fn octal(lower: i128, upper: i128) -> Rule {
    Rule::Range { lower, upper, unit: Unit::Octal }
}

pub(super) const INT_MIN: i128 = i32::MIN as i128;
pub(super) const INT_MAX: i128 = i32::MAX as i128;
pub(super) const UINT_MAX: i128 = u32::MAX as i128;
pub(super) const LONG_MAX: i128 = i64::MAX as i128;
pub(super) const ULONG_MAX: i128 = u64::MAX as i128;

/// Declares one group of directives: the struct with their fields, its defaults, and their rows of the table.
///
/// A line reads `field: Type = default, "name" / "alias", flags, rule;`
macro_rules! section {
    (
        $(#[$doc:meta])*
        $section:ident in $path:ident {
            $( $field:ident : $type:ty = $default:expr, $name:literal $(/ $alias:literal)?, $flags:expr, $rule:expr; )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $section {
            $(
                #[doc = concat!("The directive `", $name, "`.")]
                pub $field: $type,
            )*
        }

        impl Default for $section {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        #[allow(unused_imports)]
        use $crate::config::directive::{flag::*, *};

        pub(super) static DIRECTIVES: &[Directive] = &[
            $(
                Directive {
                    name: $name,
                    alias: section!(@alias $($alias)?),
                    flags: $flags,
                    rule: $rule,
                    get: |config| &config.$path.$field,
                    get_mut: |config| &mut config.$path.$field,
                },
            )*
        ];
    };
    (@alias) => { None };
    (@alias $alias:literal) => { Some($alias) };
}

pub(super) use section;
