//! Every error that a command can answer, with the client's text in one place.
//!
//! The text is bytes and never a `String`: it may quote what the client sent, which comes back as it came.

use crate::resp::{c_text_cut, Text};
use crate::text;

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
    /// RESTORE without REPLACE.
    BusyKey,
    /// Writes could not be kept: the last snapshot has failed.
    CannotSave,
    /// Writes could not be kept: the append-only log cannot be written, for this reason of the system's.
    CannotLog(Text),
    DbIndexOutOfRange,
    InvalidCursor,
    OutOfMemory,
    /// Whole text, error code included.
    Other(Text),
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
    pub fn other(text: impl Into<Text>) -> Self {
        CommandError::Other(text.into())
    }

    /// The line that the client gets, code included, without the leading `-`. `Reply::error` writes it.
    pub fn text(&self) -> Text {
        use CommandError::*;
        match self {
            WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value".into(),
            Syntax => "ERR syntax error".into(),
            NotInteger => "ERR value is not an integer or out of range".into(),
            NotFloat => "ERR value is not a valid float".into(),
            NoSuchKey => "ERR no such key".into(),
            IndexOutOfRange => "ERR index out of range".into(),
            WrongArity(name) => text!("ERR wrong number of arguments for '", name, "' command"),
            InvalidExpire(name) => text!("ERR invalid expire time in '", name, "' command"),
            Overflow => "ERR increment or decrement would overflow".into(),
            NotNumberResult => "ERR increment would produce NaN or Infinity".into(),
            StringTooLong => "ERR string exceeds maximum allowed size (proto-max-bulk-len)".into(),
            SameObject => "ERR source and destination objects are the same".into(),
            BusyKey => "BUSYKEY Target key name already exists.".into(),
            CannotSave => concat!(
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. ",
                "Commands that may modify the data set are disabled, because this instance is configured to report ",
                "errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check ",
                "the Redis logs for details about the RDB error."
            )
            .into(),
            CannotLog(why) => text!("MISCONF Errors writing to the AOF file: ", why),
            DbIndexOutOfRange => "ERR DB index is out of range".into(),
            InvalidCursor => "ERR invalid cursor".into(),
            OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.".into(),
            Other(text) => text.clone(),
        }
    }
}

#[cfg(test)]
impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.text().fmt(f)
    }
}

/// What follows a subcommand of `container` does not make sense.
pub fn subcommand_syntax(container: &str, args: &[&[u8]]) -> CommandError {
    let name = c_text_cut(args[1], SUBCOMMAND_LEN_MAX);
    CommandError::other(text!(
        "ERR unknown subcommand or wrong number of arguments for '",
        name,
        "'. Try ",
        container,
        " HELP."
    ))
}

/// So much of a subcommand is quoted.
const SUBCOMMAND_LEN_MAX: usize = 128;
