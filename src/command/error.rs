//! Every error that a command can answer, with the client's text in one place.

use std::borrow::Cow;
use std::fmt;

use crate::store::{NotInteger, WrongType};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    WrongType,
    Syntax,
    NotInteger,
    NotFloat,
    NoSuchKey,
    IndexOutOfRange,
    WrongArity(&'static str),
    /// `expire`'s family and SET/GETEX: the name of the command in the text.
    InvalidExpire(&'static str),
    Overflow,
    NotNumberResult,
    StringTooLong,
    SameObject,
    DbIndexOutOfRange,
    InvalidCursor,
    OutOfMemory,
    /// Whole text, error code included.
    Other(Cow<'static, str>),
}

impl From<WrongType> for CommandError {
    fn from(_: WrongType) -> CommandError {
        CommandError::WrongType
    }
}

impl From<NotInteger> for CommandError {
    fn from(_: NotInteger) -> CommandError {
        CommandError::NotInteger
    }
}

impl CommandError {
    pub fn other(text: impl Into<Cow<'static, str>>) -> Self {
        CommandError::Other(text.into())
    }
}

/// What follows a subcommand of `container` does not make sense.
pub fn subcommand_syntax(container: &str, args: &[&[u8]]) -> CommandError {
    let name = &args[1][..args[1].len().min(128)];
    CommandError::other(format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try {container} HELP.",
        c_text(name)
    ))
}

/// An argument inside an error text: up to the first NUL.
pub fn c_text(arg: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(&arg[..memchr::memchr(0, arg).unwrap_or(arg.len())])
}

impl fmt::Display for CommandError {
    /// The line that the client gets, code included, without the leading `-`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CommandError::*;
        match self {
            WrongType => f.write_str("WRONGTYPE Operation against a key holding the wrong kind of value"),
            Syntax => f.write_str("ERR syntax error"),
            NotInteger => f.write_str("ERR value is not an integer or out of range"),
            NotFloat => f.write_str("ERR value is not a valid float"),
            NoSuchKey => f.write_str("ERR no such key"),
            IndexOutOfRange => f.write_str("ERR index out of range"),
            WrongArity(name) => write!(f, "ERR wrong number of arguments for '{name}' command"),
            InvalidExpire(name) => write!(f, "ERR invalid expire time in '{name}' command"),
            Overflow => f.write_str("ERR increment or decrement would overflow"),
            NotNumberResult => f.write_str("ERR increment would produce NaN or Infinity"),
            StringTooLong => f.write_str("ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
            SameObject => f.write_str("ERR source and destination objects are the same"),
            DbIndexOutOfRange => f.write_str("ERR DB index is out of range"),
            InvalidCursor => f.write_str("ERR invalid cursor"),
            OutOfMemory => f.write_str("OOM command not allowed when used memory > 'maxmemory'."),
            Other(text) => f.write_str(text),
        }
    }
}
