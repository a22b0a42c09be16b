//! Why a file cannot be read, where, and what to tell about it.

use std::fmt;
use std::io;

use super::super::error::{Error, Reason};
use super::super::wording::redis_text;

/// What was being read, as redis-check-rdb calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Start,
    Type,
    Expire,
    Key,
    Value,
    Checksum,
    Length,
    Aux,
    ModuleAux,
    Functions,
}

impl Doing {
    pub fn name(self) -> &'static str {
        match self {
            Doing::Start => "start",
            Doing::Type => "read-type",
            Doing::Expire => "read-expire",
            Doing::Key => "read-key",
            Doing::Value => "read-object-value",
            Doing::Checksum => "check-sum",
            Doing::Length => "read-len",
            Doing::Aux => "read-aux",
            Doing::ModuleAux => "read-module-aux",
            Doing::Functions => "read-functions",
        }
    }
}

/// A file that cannot be read to its end.
#[derive(Debug)]
pub struct Failure {
    /// How far it has been read, bytes.
    pub position: u64,
    pub doing: Doing,
    /// The key whose value it was.
    pub key: Option<Vec<u8>>,
    /// The type of that value, by its number.
    pub kind: Option<u8>,
    pub cause: Cause,
}

#[derive(Debug)]
pub enum Cause {
    Io(io::Error),
    Signature,
    Version(u32),
    Data(Error),
    /// An opcode or type that means nothing to us.
    Type(u8),
    FunctionBeforeRelease,
    /// Of a module's data outside of keys: what should tell when it was written does not.
    ModuleAuxWhen,
    /// There are only so many databases.
    Database {
        configured: usize,
    },
    /// The key was there already.
    Duplicate {
        db: usize,
    },
    Checksum {
        computed: u64,
        stored: u64,
    },
    /// A key in the file of a shard that never had it.
    Misplaced,
}

impl Failure {
    /// What is wrong, in Redis's words.
    pub fn reason(&self) -> String {
        match &self.cause {
            Cause::Io(error) => format!("{}: {error}", redis_text(0, &Reason::End)),
            Cause::Signature => "Wrong signature trying to load DB from file".into(),
            Cause::Version(number) => format!("Can't handle RDB format version {number}"),
            Cause::Data(Error { reason: reason @ Reason::Unsupported(_), .. }) => match &self.key {
                Some(key) => format!("The value of the key '{}' cannot be loaded: {reason}", key.escape_ascii()),
                None => format!("The file cannot be loaded: {reason}"),
            },
            Cause::Data(error) => redis_text(self.kind.unwrap_or(0), &error.reason).into_owned(),
            Cause::Type(number) => redis_text(0, &Reason::ValueType(*number)).into_owned(),
            Cause::FunctionBeforeRelease => "Pre-release function format not supported.".into(),
            Cause::ModuleAuxWhen => "bad when_opcode".into(),
            Cause::Database { configured } => format!(
                "FATAL: Data file was created with a Redis server configured to handle more than {configured} \
                 databases. Exiting"
            ),
            Cause::Duplicate { db } => {
                let key = self.key.as_deref().unwrap_or_default();
                format!("RDB has duplicated key '{}' in DB {db}", key.escape_ascii())
            }
            Cause::Checksum { .. } => "RDB CRC error".into(),
            Cause::Misplaced => {
                let key = self.key.as_deref().unwrap_or_default();
                format!("The key '{}' belongs to another shard: something was changed in the file", key.escape_ascii())
            }
        }
    }

    /// Redis's line about damage inside a file. What it says of a function of its own is here what was being read.
    pub fn internal_error(&self) -> String {
        internal_error(self.position, self.doing, &self.reason())
    }

    /// It is none: the input has no more for now, and reading goes on where it was when it has.
    pub fn is_pause(&self) -> bool {
        matches!(&self.cause, Cause::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The file ends too early, or cannot be read further.
    pub fn is_short(&self) -> bool {
        match &self.cause {
            Cause::Io(_) => true,
            Cause::Data(error) => matches!(error.reason, Reason::End | Reason::Empty),
            _ => false,
        }
    }

    /// Whether looking at the file with gyre-check-rdb would tell more.
    pub fn is_damage(&self) -> bool {
        !matches!(
            self.cause,
            Cause::Signature
                | Cause::Version(_)
                | Cause::Database { .. }
                | Cause::Duplicate { .. }
                | Cause::Data(Error { reason: Reason::Unsupported(_), .. })
        )
    }

    /// The warnings that a server logs of it, in order. After those of a damaged file ([`Failure::is_damage`]), and what checking
    /// it tells, comes [`TERMINATING`].
    pub fn log_lines(&self) -> Vec<String> {
        match &self.cause {
            Cause::Checksum { computed, stored } => vec![
                format!("Wrong RDB checksum expected: ({computed:x}) but got ({stored:x}). Aborting now."),
                self.internal_error(),
            ],
            _ if self.is_short() => vec![
                "Short read or OOM loading DB. Unrecoverable error, aborting now.".into(),
                self.internal_error(),
            ],
            Cause::Data(Error { reason: Reason::Unsupported(_), .. }) => vec![self.internal_error()],
            _ if self.is_damage() => vec![self.internal_error()],
            _ => vec![self.reason()],
        }
    }
}

/// The last line of a server that could not load its file.
pub const TERMINATING: &str = "Terminating server after rdb file reading failure.";

/// Redis's line about damage, of a file or a payload.
pub fn internal_error(position: u64, doing: Doing, reason: &str) -> String {
    format!("Internal error in RDB reading offset {position}, function at {} -> {reason}", doing.name())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at offset {}, doing: {})", self.reason(), self.position, self.doing.name())
    }
}

impl std::error::Error for Failure {}
