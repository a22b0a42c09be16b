//! The grammar of a command's arguments, for COMMAND DOCS: clients and redis-cli build their hints from it.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgKind {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    /// The token alone is the argument.
    PureToken,
    /// One of `parts`.
    OneOf,
    /// All of `parts`, in order.
    Block,
}

impl ArgKind {
    pub const fn name(self) -> &'static str {
        match self {
            ArgKind::String => "string",
            ArgKind::Integer => "integer",
            ArgKind::Double => "double",
            ArgKind::Key => "key",
            ArgKind::Pattern => "pattern",
            ArgKind::UnixTime => "unix-time",
            ArgKind::PureToken => "pure-token",
            ArgKind::OneOf => "oneof",
            ArgKind::Block => "block",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Arg {
    pub name: &'static str,
    pub kind: ArgKind,
    /// The literal word in front of the argument, upper case.
    pub token: Option<&'static str>,
    /// What to show to a person in place of the name.
    pub display: Option<&'static str>,
    /// Which key spec finds this key.
    pub key_spec: Option<u8>,
    pub since: Option<&'static str>,
    pub deprecated_since: Option<&'static str>,
    pub optional: bool,
    pub multiple: bool,
    /// When `multiple`: the token too is repeated.
    pub multiple_token: bool,
    pub parts: &'static [Arg],
}

const fn arg(name: &'static str, kind: ArgKind) -> Arg {
    Arg {
        name,
        kind,
        token: None,
        display: None,
        key_spec: None,
        since: None,
        deprecated_since: None,
        optional: false,
        multiple: false,
        multiple_token: false,
        parts: &[],
    }
}

pub const fn string(name: &'static str) -> Arg {
    arg(name, ArgKind::String)
}

pub const fn integer(name: &'static str) -> Arg {
    arg(name, ArgKind::Integer)
}

pub const fn double(name: &'static str) -> Arg {
    arg(name, ArgKind::Double)
}

pub const fn pattern(name: &'static str) -> Arg {
    arg(name, ArgKind::Pattern)
}

/// A pattern of keys that a key spec is about.
pub const fn pattern_of_spec(name: &'static str, key_spec: u8) -> Arg {
    Arg { key_spec: Some(key_spec), ..arg(name, ArgKind::Pattern) }
}

pub const fn unix_time(name: &'static str) -> Arg {
    arg(name, ArgKind::UnixTime)
}

/// A key that the command's first key spec finds.
pub const fn key(name: &'static str) -> Arg {
    key_of_spec(name, 0)
}

pub const fn key_of_spec(name: &'static str, key_spec: u8) -> Arg {
    Arg { key_spec: Some(key_spec), ..arg(name, ArgKind::Key) }
}

pub const fn token(name: &'static str, token: &'static str) -> Arg {
    arg(name, ArgKind::PureToken).token(token)
}

pub const fn one_of(name: &'static str, parts: &'static [Arg]) -> Arg {
    Arg { parts, ..arg(name, ArgKind::OneOf) }
}

pub const fn block(name: &'static str, parts: &'static [Arg]) -> Arg {
    Arg { parts, ..arg(name, ArgKind::Block) }
}

impl Arg {
    #[must_use]
    pub const fn token(self, token: &'static str) -> Self {
        Arg { token: Some(token), ..self }
    }

    #[must_use]
    pub const fn display(self, text: &'static str) -> Self {
        Arg { display: Some(text), ..self }
    }

    #[must_use]
    pub const fn since(self, version: &'static str) -> Self {
        Arg { since: Some(version), ..self }
    }

    #[must_use]
    pub const fn deprecated_since(self, version: &'static str) -> Self {
        Arg { deprecated_since: Some(version), ..self }
    }

    #[must_use]
    pub const fn optional(self) -> Self {
        Arg { optional: true, ..self }
    }

    #[must_use]
    pub const fn multiple(self) -> Self {
        Arg { multiple: true, ..self }
    }

    #[must_use]
    pub const fn multiple_token(self) -> Self {
        Arg { multiple: true, multiple_token: true, ..self }
    }
}
