//! Texts for clients and for the log that may quote what a client sent.
//!
//! Such a text is bytes from its beginning to the socket: a `String` cannot hold every byte, and what passes through one comes back
//! changed. `text!` puts a text together from its pieces, as `format!` does for strings:
//!
//! ```text
//! text!("ERR unknown option '", option, "'")
//! ```

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write as _;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Bytes to be read by people. A fixed one costs no allocation.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text(Cow<'static, [u8]>);

impl Text {
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_owned()
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Text {
        Text(Cow::Borrowed(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text(Cow::Owned(text.into_bytes()))
    }
}

impl From<Cow<'static, str>> for Text {
    fn from(text: Cow<'static, str>) -> Text {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl From<Vec<u8>> for Text {
    fn from(text: Vec<u8>) -> Text {
        Text(Cow::Owned(text))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

/// For tests only, whose texts have no other bytes: elsewhere a text that can be displayed would find its way into a `String`.
#[cfg(test)]
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).map_err(|_| fmt::Error)?)
    }
}

/// What `text!` takes: strings, bytes, paths (which are bytes, too), and `format_args!(...)` for whatever else can be displayed.
pub trait Piece {
    fn append_to(&self, text: &mut Vec<u8>);
}

impl<T: Piece + ?Sized> Piece for &T {
    fn append_to(&self, text: &mut Vec<u8>) {
        (**self).append_to(text);
    }
}

impl Piece for [u8] {
    fn append_to(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(self);
    }
}

impl<const N: usize> Piece for [u8; N] {
    fn append_to(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(self);
    }
}

impl Piece for str {
    fn append_to(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(self.as_bytes());
    }
}

/// Pieces that are bytes underneath.
macro_rules! pieces_as_bytes {
    ($($kind:ty),*) => {
        $(impl Piece for $kind {
            fn append_to(&self, text: &mut Vec<u8>) {
                text.extend_from_slice(self.as_ref());
            }
        })*
    };
}

pieces_as_bytes!(String, Vec<u8>, Box<[u8]>, Text, Cow<'static, [u8]>);

/// Names that the system gives: they have no zero byte, and any other.
macro_rules! pieces_of_the_system {
    ($($kind:ty),*) => {
        $(impl Piece for $kind {
            fn append_to(&self, text: &mut Vec<u8>) {
                let name: &OsStr = self.as_ref();
                text.extend_from_slice(name.as_bytes());
            }
        })*
    };
}

pieces_of_the_system!(OsStr, OsString, Path, PathBuf);

impl Piece for Cow<'static, str> {
    fn append_to(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(self.as_bytes());
    }
}

impl Piece for fmt::Arguments<'_> {
    fn append_to(&self, text: &mut Vec<u8>) {
        // A vector takes everything.
        let _ = text.write_fmt(*self);
    }
}

/// A `Text` of pieces, one after the other.
#[macro_export]
macro_rules! text {
    ($($piece:expr),+ $(,)?) => {{
        let mut text: Vec<u8> = Vec::new();
        $($crate::base::text::Piece::append_to(&$piece, &mut text);)+
        $crate::base::text::Text::from(text)
    }};
}

/// What C prints of an argument by `%s`: it ends at the first zero byte.
pub fn c_text(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

/// What C prints of an argument by `%.*s`: at most `len_max` bytes, up to the first zero byte.
pub fn c_text_cut(bytes: &[u8], len_max: usize) -> &[u8] {
    c_text(&bytes[..bytes.len().min(len_max)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_every_byte_of_its_pieces() {
        let all: Vec<u8> = (0..=255).collect();
        let text = text!("ERR '", all, "' at ", format_args!("{}", 7), ' '.to_string(), b"x", &all[250..]);
        assert_eq!(*text, *[b"ERR '", &all[..], b"' at 7 x", &all[250..]].concat());
        assert_eq!(Text::from("ERR no"), "ERR no");
        let path = Path::new(OsStr::from_bytes(&all[1..]));
        let text = text!(path, path.to_owned(), path.as_os_str(), path.as_os_str().to_owned());
        assert_eq!(*text, *[&all[1..]; 4].concat());
    }

    #[test]
    fn arguments_end_where_c_ends_them() {
        assert_eq!(c_text(b"a\0b"), b"a");
        assert_eq!(c_text(b"a\xff\n"), b"a\xff\n");
        assert_eq!(c_text_cut(b"abc", 2), b"ab");
        assert_eq!(c_text_cut(b"a\0c", 2), b"a");
        assert_eq!(c_text_cut(b"a", 2), b"a");
    }
}
