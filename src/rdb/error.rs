//! Why a serialised value is refused, and where.

use std::fmt;

/// What is wrong with a payload, and the byte at which it was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Offset in what is being read (a payload, a file), bytes.
    pub position: u64,
    pub reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The payload ends in the middle of something: cut short, or not all there yet.
    End,
    /// A first byte of a length that means nothing.
    LengthEncoding(u8),
    StringEncoding(u8),
    ValueType(u8),
    /// A value of a module, named as in the payload; there are no modules here.
    Module(String),
    /// A collection without elements. Well-formed: whoever loads a file may skip the key, as Redis does.
    Empty,
    Lzf,
    /// Well-formed as far as can be seen, but there is no such thing here: what it is.
    Unsupported(&'static str),
    /// What is wrong, in words.
    Corrupt(&'static str),
}

impl Reason {
    pub fn at(self, position: u64) -> Error {
        Error { position, reason: self }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::End => f.write_str("unexpected end"),
            Reason::LengthEncoding(byte) => write!(f, "unknown length encoding {byte:#04x}"),
            Reason::StringEncoding(number) => write!(f, "unknown string encoding {number}"),
            Reason::ValueType(number) => write!(f, "unknown value type {number}"),
            Reason::Module(name) => {
                write!(f, "a value of the module type '{name}', and modules are not supported")
            }
            Reason::Empty => f.write_str("a collection without elements"),
            Reason::Lzf => f.write_str("invalid LZF compressed string"),
            Reason::Unsupported(what) => write!(f, "{what}, which is not supported"),
            Reason::Corrupt(what) => f.write_str(what),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}", self.reason, self.position)
    }
}

impl std::error::Error for Error {}
