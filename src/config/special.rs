//! Directives with rules of their own: the working directory, keyspace events, shutdown flags, defragmentation.

use super::directive::{Field, Reason, Rule, Source};
use super::values::{not_among, one};
use crate::base::error_text;
use crate::base::words::quoted;
use std::ffi::OsStr;
use std::fs;
use std::ops::BitOr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `dir`, absolute. A relative value is taken from the one before it, as if each had been entered; entering it is for
/// the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkingDir(pub PathBuf);

impl Default for WorkingDir {
    fn default() -> Self {
        // Empty when the directory that the process started in was removed, as CONFIG GET shows it then.
        Self(std::env::current_dir().unwrap_or_default())
    }
}

impl AsRef<Path> for WorkingDir {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Field for WorkingDir {
    fn text(&self, _: &Rule) -> Vec<u8> {
        self.0.as_os_str().as_bytes().to_vec()
    }

    fn assign(&mut self, args: &[Vec<u8>], _: &Rule, _: Source) -> Result<(), Reason> {
        let word = one(args)?;
        if word.is_empty() {
            return Err("No such file or directory".into());
        }
        let path = self.0.join(OsStr::from_bytes(word));
        // The dot makes the kernel ask for what entering would: a directory, and the right to search it.
        let entered = fs::canonicalize(&path).and_then(|path| fs::metadata(path.join(".")).map(|_| path));
        self.0 = entered.map_err(|error| error_text(&error))?;
        Ok(())
    }

    fn lines(&self, _: &Rule) -> Vec<Vec<u8>> {
        vec![quoted(self.0.as_os_str().as_bytes())]
    }

    /// The next start may be from another directory.
    fn always_written(&self) -> bool {
        true
    }
}

/// `notify-keyspace-events`: a set of event classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifyEvents(u16);

impl NotifyEvents {
    pub const NONE: Self = Self(0);
    /// Publish to `__keyspace@<db>__:<key>`.
    pub const KEYSPACE: Self = Self(1);
    /// Publish to `__keyevent@<db>__:<event>`.
    pub const KEYEVENT: Self = Self(1 << 1);
    pub const GENERIC: Self = Self(1 << 2);
    pub const STRING: Self = Self(1 << 3);
    pub const LIST: Self = Self(1 << 4);
    pub const SET: Self = Self(1 << 5);
    pub const HASH: Self = Self(1 << 6);
    pub const ZSET: Self = Self(1 << 7);
    pub const EXPIRED: Self = Self(1 << 8);
    pub const EVICTED: Self = Self(1 << 9);
    pub const STREAM: Self = Self(1 << 10);
    pub const KEY_MISS: Self = Self(1 << 11);
    pub const MODULE: Self = Self(1 << 12);
    pub const NEW: Self = Self(1 << 13);
    /// The letter `A`: every class of change; neither misses nor new keys.
    pub const ALL: Self = Self(0b01_0111_1111_1100);

    /// Messages in the order in which they are shown.
    const LETTERS: [(u8, Self); 14] = [
        (b'g', Self::GENERIC),
        (b'$', Self::STRING),
        (b'l', Self::LIST),
        (b's', Self::SET),
        (b'h', Self::HASH),
        (b'z', Self::ZSET),
        (b'x', Self::EXPIRED),
        (b'e', Self::EVICTED),
        (b't', Self::STREAM),
        (b'd', Self::MODULE),
        (b'n', Self::NEW),
        (b'K', Self::KEYSPACE),
        (b'E', Self::KEYEVENT),
        (b'm', Self::KEY_MISS),
    ];

    /// Whether all of `other` are in.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in.
    #[cfg(test)]
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for NotifyEvents {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Field for NotifyEvents {
    fn text(&self, _: &Rule) -> Vec<u8> {
        let all = self.contains(Self::ALL);
        let hidden = if all { Self::ALL } else { Self::NONE };
        let mut text = if all { vec![b'A'] } else { Vec::new() };
        let shown =
            Self::LETTERS.iter().filter(|(_, class)| self.contains(*class) && !hidden.contains(*class));
        text.extend(shown.map(|(letter, _)| *letter));
        text
    }

    fn assign(&mut self, args: &[Vec<u8>], _: &Rule, _: Source) -> Result<(), Reason> {
        let mut events = Self::NONE;
        for letter in one(args)? {
            let class = match letter {
                b'A' => Self::ALL,
                letter => {
                    let found = Self::LETTERS.iter().find(|(known, _)| known == letter);
                    found.ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?.1
                }
            };
            events = events | class;
        }
        *self = events;
        Ok(())
    }

    fn lines(&self, rule: &Rule) -> Vec<Vec<u8>> {
        vec![quoted(&self.text(rule))]
    }
}

/// `shutdown-on-sigint` and `shutdown-on-sigterm`: how SHUTDOWN would be called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownFlags {
    pub save: bool,
    pub nosave: bool,
    pub now: bool,
    pub force: bool,
}

impl ShutdownFlags {
    const WORDS: [&'static str; 5] = ["default", "save", "nosave", "now", "force"];

    fn flags(&self) -> [(&'static str, bool); 4] {
        [("save", self.save), ("nosave", self.nosave), ("now", self.now), ("force", self.force)]
    }
}

impl Field for ShutdownFlags {
    fn text(&self, _: &Rule) -> Vec<u8> {
        let words: Vec<&str> = self.flags().iter().filter(|(_, set)| *set).map(|(word, _)| *word).collect();
        if words.is_empty() { "default".into() } else { words.join(" ") }.into_bytes()
    }

    fn assign(&mut self, args: &[Vec<u8>], _: &Rule, _: Source) -> Result<(), Reason> {
        let mut flags = Self::default();
        if args.is_empty() {
            return Err(not_among(Self::WORDS.into_iter()));
        }
        for arg in args {
            match arg.to_ascii_lowercase().as_slice() {
                b"default" => {}
                b"save" => flags.save = true,
                b"nosave" => flags.nosave = true,
                b"now" => flags.now = true,
                b"force" => flags.force = true,
                _ => return Err(not_among(Self::WORDS.into_iter())),
            }
        }
        if flags.save && flags.nosave {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        *self = flags;
        Ok(())
    }
}

/// `activedefrag`. A configuration file may say yes, since files for Redis do; a client is told that it does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveDefrag(pub bool);

impl Field for ActiveDefrag {
    fn text(&self, rule: &Rule) -> Vec<u8> {
        self.0.text(rule)
    }

    fn assign(&mut self, args: &[Vec<u8>], rule: &Rule, source: Source) -> Result<(), Reason> {
        let before = self.0;
        self.0.assign(args, rule, source)?;
        if self.0 && !before && source == Source::Set {
            return Err("Active defragmentation cannot be enabled: this server's allocator has none".into());
        }
        Ok(())
    }
}
