//! A script as it was sent: its text, its name, and what it says about itself in its first line.

use std::fmt;
use std::sync::Arc;

use sha1::{Digest, Sha1};

use crate::base::words::split_words;
use crate::resp::{c_text, Text};
use crate::text;

/// The SHA-1 of a script's text, by which EVALSHA knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha([u8; Sha::LEN]);

impl Sha {
    pub const LEN: usize = 40;

    pub fn of(text: &[u8]) -> Sha {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; Sha::LEN];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(Sha1::digest(text)) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Sha(digits)
    }

    /// As a client writes it, in either case. None: it cannot be one.
    pub fn parse(text: &[u8]) -> Option<Sha> {
        let mut digits: [u8; Sha::LEN] = text.try_into().ok()?;
        digits.make_ascii_lowercase();
        Some(Sha(digits))
    }

    /// Digits and small letters; what is no digit stays as it was given.
    pub fn text(&self) -> std::slice::EscapeAscii<'_> {
        self.0.escape_ascii()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

/// What a script or a function says that it may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptFlags {
    pub no_writes: bool,
    pub allow_oom: bool,
    pub allow_stale: bool,
    pub no_cluster: bool,
    pub allow_cross_slot_keys: bool,
    /// It says nothing: what it does is looked at when it does it.
    pub undeclared: bool,
}

impl ScriptFlags {
    const NAMES: [&'static str; 5] =
        ["no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"];

    /// Whether there is such a flag; it is set then.
    pub fn set(&mut self, name: &[u8]) -> bool {
        match name {
            b"no-writes" => self.no_writes = true,
            b"allow-oom" => self.allow_oom = true,
            b"allow-stale" => self.allow_stale = true,
            b"no-cluster" => self.no_cluster = true,
            b"allow-cross-slot-keys" => self.allow_cross_slot_keys = true,
            _ => return false,
        }
        true
    }

    /// In the order in which FUNCTION LIST shows them.
    pub fn names(&self) -> Vec<&'static str> {
        let set =
            [self.no_writes, self.allow_oom, self.allow_stale, self.no_cluster, self.allow_cross_slot_keys];
        Self::NAMES.into_iter().zip(set).filter(|(_, set)| *set).map(|(name, _)| name).collect()
    }
}

/// A script of EVAL.
#[derive(Debug)]
pub struct Script {
    pub sha: Sha,
    pub text: Box<[u8]>,
    /// Where the Lua begins, behind the first line's `#!lua`.
    pub code_at: usize,
    pub flags: ScriptFlags,
}

impl Script {
    /// `Err`: what is wrong with its first line.
    pub fn new(text: &[u8]) -> Result<Arc<Script>, Text> {
        let mut flags = ScriptFlags { undeclared: true, ..ScriptFlags::default() };
        let mut code_at = 0;
        if text.starts_with(b"#!") {
            // Redis looks no further than to a zero.
            let end = memchr::memchr2(b'\n', 0, text).filter(|end| text[*end] == b'\n');
            code_at = end.ok_or("Invalid script shebang")?;
            flags = flags_of(&text[..code_at])?;
        }
        Ok(Arc::new(Script { sha: Sha::of(text), text: text.into(), code_at, flags }))
    }

    /// The Lua; its lines have the numbers that they have in the whole text.
    pub fn code(&self) -> &[u8] {
        &self.text[self.code_at..]
    }
}

fn flags_of(line: &[u8]) -> Result<ScriptFlags, Text> {
    let words =
        split_words(line).filter(|words| !words.is_empty()).ok_or("Invalid engine in script shebang")?;
    if words[0] != b"#!lua" {
        return Err(text!("Unexpected engine in script shebang: ", c_text(&words[0])));
    }
    let mut flags = ScriptFlags::default();
    for word in &words[1..] {
        let Some(names) = word.strip_prefix(b"flags=") else {
            return Err(text!("Unknown lua shebang option: ", c_text(word)));
        };
        for name in names.split(|byte| *byte == b',').filter(|name| !name.is_empty()) {
            if !flags.set(name) {
                return Err(text!("Unexpected flag in script shebang: ", c_text(name)));
            }
        }
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_known_by_the_hash_of_its_text() {
        let script = Script::new(b"return 1").unwrap();
        assert_eq!(script.sha.text().to_string(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert_eq!(Sha::parse(b"E0E1F9FABFC9D4800C877A703B823AC0578FF8DB"), Some(script.sha));
        assert_eq!(Sha::parse(b"e0"), None);
        assert!(script.flags.undeclared && script.code() == b"return 1");
    }

    #[test]
    fn the_first_line_tells_the_flags() {
        let script = Script::new(b"#!lua flags=no-writes,allow-oom\nreturn 1").unwrap();
        assert_eq!(script.code(), b"\nreturn 1");
        assert_eq!(script.flags.names(), ["no-writes", "allow-oom"]);
        assert!(!script.flags.undeclared);
        for (text, why) in [
            ("#!lua", "Invalid script shebang"),
            ("#!js\n", "Unexpected engine in script shebang: #!js"),
            ("#!lua name=x\n", "Unknown lua shebang option: name=x"),
            ("#!lua flags=no-writes,what\n", "Unexpected flag in script shebang: what"),
        ] {
            assert_eq!(Script::new(text.as_bytes()).unwrap_err(), why);
        }
    }
}
