//! One user.

use std::sync::atomic::{AtomicU64, Ordering};

use super::password::Hash;
use super::selector::{RuleError, Selector};
use super::users::DEFAULT_USER;
use crate::config::split_words;

/// The default user's `serial`. 0 is nobody's.
const DEFAULT_SERIAL: u64 = 1;

#[derive(Clone, Debug)]
pub struct User {
    pub name: Box<[u8]>,
    /// Tells the user from another one of the same name, before or after; there is always one default user.
    pub serial: u64,
    pub is_enabled: bool,
    /// Any password will do, and a new connection needs none.
    pub needs_no_password: bool,
    /// What RESTORE gets from this user is not checked in depth.
    pub skips_sanitizing: bool,
    passwords: Vec<Hash>,
    /// The first is the one that rules without parentheses are about.
    selectors: Vec<Selector>,
    /// After `reset` the channels are all.
    pub(super) all_channels: bool,
}

impl User {
    /// May do nothing; the channels as `acl-pubsub-default` has it.
    pub fn new(name: &[u8], all_channels: bool) -> User {
        static SERIAL: AtomicU64 = AtomicU64::new(DEFAULT_SERIAL + 1);
        let is_default = name == DEFAULT_USER;
        User {
            name: name.into(),
            serial: if is_default { DEFAULT_SERIAL } else { SERIAL.fetch_add(1, Ordering::Relaxed) },
            is_enabled: false,
            needs_no_password: false,
            skips_sanitizing: false,
            passwords: Vec::new(),
            selectors: vec![Selector::new(all_channels)],
            all_channels,
        }
    }

    /// Changes the user by one rule; nothing when it is none.
    pub fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        match &rule.to_ascii_lowercase()[..] {
            b"" => {}
            b"on" => self.is_enabled = true,
            b"off" => self.is_enabled = false,
            b"skip-sanitize-payload" => self.skips_sanitizing = true,
            b"sanitize-payload" => self.skips_sanitizing = false,
            b"nopass" => self.set_no_password(true),
            b"resetpass" => self.set_no_password(false),
            b"clearselectors" => self.selectors.truncate(1),
            b"reset" => {
                let (name, serial) = (self.name.clone(), self.serial);
                *self = User { serial, ..User::new(&name, self.all_channels) };
            }
            [sign @ (b'>' | b'#' | b'<' | b'!'), ..] => self.change_password(*sign, &rule[1..])?,
            [b'(', .., b')'] => {
                let mut selector = Selector::new(false);
                let words = split_words(&rule[1..rule.len() - 1]).ok_or(RuleError::Syntax)?;
                words.iter().try_for_each(|word| selector.apply(word))?;
                self.selectors.push(selector);
            }
            _ => self.selectors[0].apply(rule)?,
        }
        Ok(())
    }

    fn set_no_password(&mut self, none_needed: bool) {
        self.needs_no_password = none_needed;
        self.passwords.clear();
    }

    fn change_password(&mut self, sign: u8, text: &[u8]) -> Result<(), RuleError> {
        let hash = match sign {
            b'>' | b'<' => Hash::of(text),
            _ => Hash::parse(text).ok_or(RuleError::BadHash)?,
        };
        let known = self.passwords.iter().position(|known| *known == hash);
        match (sign, known) {
            (b'>' | b'#', known) => {
                if known.is_none() {
                    self.passwords.push(hash);
                }
                self.needs_no_password = false;
            }
            (_, Some(known)) => {
                self.passwords.remove(known);
            }
            (_, None) => return Err(RuleError::NoSuchPassword),
        }
        Ok(())
    }

    /// Sets the only password, or that none is needed (`requirepass`).
    pub fn set_only_password(&mut self, password: Option<&[u8]>) {
        self.set_no_password(password.is_none());
        self.passwords.extend(password.map(Hash::of));
    }

    /// Whether the user may log in with this password.
    pub fn accepts(&self, password: &[u8]) -> bool {
        if !self.is_enabled || self.needs_no_password {
            return self.is_enabled;
        }
        let given = Hash::of(password);
        self.passwords.iter().fold(false, |found, known| found | known.is_same(&given))
    }

    /// Whether a new connection is this user's without AUTH.
    pub fn is_open(&self) -> bool {
        self.is_enabled && self.needs_no_password
    }

    /// Whether no request needs to be checked.
    pub fn may_everything(&self) -> bool {
        self.selectors.iter().any(|s| s.all_commands && s.all_keys && s.all_channels)
    }

    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    pub fn passwords(&self) -> impl ExactSizeIterator<Item = &str> {
        self.passwords.iter().map(Hash::text)
    }

    /// As Redis lists them.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.is_enabled { "on" } else { "off" }];
        flags.extend(self.needs_no_password.then_some("nopass"));
        flags.push(if self.skips_sanitizing { "skip-sanitize-payload" } else { "sanitize-payload" });
        flags
    }

    /// The rules that make this user of a new one.
    pub fn rules_text(&self) -> Vec<u8> {
        let mut words: Vec<Vec<u8>> = self.flags().iter().map(|flag| flag.as_bytes().to_vec()).collect();
        words.extend(self.passwords().map(|hash| format!("#{hash}").into_bytes()));
        for (index, selector) in self.selectors.iter().enumerate() {
            let text = selector.text();
            words.push(if index == 0 { text } else { [b"(", &text[..], b")"].concat() });
        }
        words.join(&b' ')
    }

    /// A line of an ACL file or of the configuration.
    pub fn line(&self) -> Vec<u8> {
        [b"user ", &self.name[..], b" ", &self.rules_text()].concat()
    }
}
