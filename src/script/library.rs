//! A library of functions as it was sent: its code, and what its first line and its run tell about it.

use std::sync::Arc;

use super::source::ScriptFlags;
use crate::base::words::split_words;
use crate::resp::{c_text, Text};
use crate::text;

/// The one language of libraries, as FUNCTION LIST and FUNCTION STATS name it.
pub const ENGINE: &str = "LUA";

const BAD_NAME: &str = "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

/// A library never changes: another version of it is another one.
#[derive(Debug)]
pub struct Library {
    pub name: Arc<str>,
    /// All that was sent, the first line too.
    pub code: Box<[u8]>,
    /// In the order in which they were registered.
    pub functions: Vec<FunctionInfo>,
}

/// What a function is registered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionInfo {
    pub name: Arc<str>,
    pub description: Option<Box<[u8]>>,
    pub flags: ScriptFlags,
}

impl Library {
    /// The Lua; its lines have the numbers that they have in the whole code.
    pub fn lua(&self) -> &[u8] {
        lua_of(&self.code)
    }

    /// Bytes, about.
    pub fn memory_bytes(&self) -> usize {
        let description = |info: &FunctionInfo| info.description.as_ref().map_or(0, |text| text.len());
        let functions =
            self.functions.iter().map(|info| size_of_val(info) + info.name.len() + description(info));
        size_of_val(self) + self.name.len() + self.code.len() + functions.sum::<usize>()
    }
}

pub(super) fn lua_of(code: &[u8]) -> &[u8] {
    memchr::memchr(b'\n', code).map_or(&[], |end| &code[end..])
}

/// The name that a library gives itself in its first line: `#!lua name=mylib`. `Err`: what is wrong with that line.
pub(super) fn name_of(code: &[u8]) -> Result<Arc<str>, Text> {
    if !code.starts_with(b"#!") {
        return Err("Missing library metadata".into());
    }
    // Redis looks no further than to a zero.
    let end = memchr::memchr2(b'\n', 0, code).filter(|end| code[*end] == b'\n');
    let words = end.and_then(|end| split_words(&code[..end]));
    let words = words.filter(|words| !words.is_empty()).ok_or("Invalid library metadata")?;
    let mut name = None;
    for word in &words[1..] {
        match word.split_at_checked(5) {
            Some((key, value)) if key.eq_ignore_ascii_case(b"name=") => {
                if name.replace(value).is_some() {
                    return Err("Invalid metadata value, name argument was given multiple times".into());
                }
            }
            _ => return Err(text!("Invalid metadata value given: ", c_text(word))),
        }
    }
    let name = checked_name(name.ok_or("Library name was not given")?)?;
    let engine = &words[0][2..];
    if !engine.eq_ignore_ascii_case(ENGINE.as_bytes()) {
        return Err(text!("Engine '", c_text(engine), "' not found"));
    }
    Ok(name)
}

/// A name of a library or a function. Redis has one text for both.
pub(super) fn checked_name(name: &[u8]) -> Result<Arc<str>, &'static str> {
    let is_good = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    // ASCII alone is left.
    std::str::from_utf8(name).ok().filter(|_| is_good).map(Arc::from).ok_or(BAD_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_tells_the_name() {
        for code in [
            "#!lua name=my_Lib1\nx",
            "#!LUA NAME=my_Lib1\n",
            "#!lua \t name=\"my_Lib1\"  \r\n",
            "#!lua 'name=my_Lib1'\n",
        ] {
            assert_eq!(name_of(code.as_bytes()).as_deref(), Ok("my_Lib1"), "{code}");
        }
        assert_eq!(lua_of(b"#!lua name=a\nx\ny"), b"\nx\ny");
    }

    #[test]
    fn a_wrong_first_line_is_told_as_redis_tells_it() {
        for (code, why) in [
            ("", "Missing library metadata"),
            ("return 1", "Missing library metadata"),
            ("#!lua name=a", "Invalid library metadata"),
            ("#!lua name=a\0\n", "Invalid library metadata"),
            ("#!lua name=\"a\n", "Invalid library metadata"),
            ("#!\n", "Library name was not given"),
            ("#!lua\n", "Library name was not given"),
            ("#!lua name=a b\n", "Invalid metadata value given: b"),
            ("#! lua name=a\n", "Invalid metadata value given: lua"),
            ("#!lua name=a name=b\n", "Invalid metadata value, name argument was given multiple times"),
            ("#!lua name=\n", BAD_NAME),
            ("#!x name=a.b\n", BAD_NAME),
            ("#!lua name=a\x0b\n", BAD_NAME),
            ("#! name=a\n", "Engine '' not found"),
            ("#!x name=a\n", "Engine 'x' not found"),
        ] {
            assert_eq!(name_of(code.as_bytes()).unwrap_err(), why, "{code:?}");
        }
    }
}
