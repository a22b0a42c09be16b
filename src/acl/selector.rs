//! One set of permissions: commands, keys and channels.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::glob::glob_match;
use crate::command::table::{self, Category, CommandSpec, KeyFlag, KeyFlags, COUNT};

/// Why a rule is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    UnknownCommand,
    Syntax,
    KeysAfterAll,
    ChannelsAfterAll,
    NoSuchPassword,
    BadHash,
    FirstArgOfSubcommand,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RuleError::UnknownCommand => "Unknown command or category name in ACL",
            RuleError::Syntax => "Syntax error",
            RuleError::KeysAfterAll => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try \
                 'resetkeys' to start with an empty list of patterns"
            }
            RuleError::ChannelsAfterAll => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. \
                 Try 'resetchannels' to start with an empty list of channels"
            }
            RuleError::NoSuchPassword => {
                "The password you are trying to remove from the user does not exist"
            }
            RuleError::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            RuleError::FirstArgOfSubcommand => "Allowing first-arg of a subcommand is not supported",
        })
    }
}

/// A set of commands, by their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Commands([u64; COUNT.div_ceil(64)]);

impl Commands {
    const NONE: Commands = Commands([0; COUNT.div_ceil(64)]);
    const ALL: Commands = Commands([u64::MAX; COUNT.div_ceil(64)]);

    fn has(&self, spec: &CommandSpec) -> bool {
        self.0[spec.id as usize / 64] & 1 << (spec.id % 64) != 0
    }

    fn assign(&mut self, spec: &CommandSpec, allowed: bool) {
        let bit = 1 << (spec.id % 64);
        let word = &mut self.0[spec.id as usize / 64];
        *word = if allowed { *word | bit } else { *word & !bit };
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyPattern {
    pattern: Box<[u8]>,
    reads: bool,
    writes: bool,
}

impl KeyPattern {
    fn text(&self) -> Vec<u8> {
        let prefix: &[u8] = match (self.reads, self.writes) {
            (true, true) => b"~",
            (true, false) => b"%R~",
            _ => b"%W~",
        };
        [prefix, &self.pattern].concat()
    }

    fn allows(&self, reads: bool, writes: bool) -> bool {
        (self.reads || !reads) && (self.writes || !writes)
    }
}

#[derive(Clone, Debug)]
pub struct Selector {
    commands: Commands,
    /// None is missing.
    pub(super) all_commands: bool,
    /// The rules take away from all commands, those of later versions too, rather than add to none.
    begins_with_all: bool,
    /// The rules that made `commands` of all or nothing, without the ones that later rules replace: allowed or not, and what.
    rules: Vec<(bool, Vec<u8>)>,
    /// First arguments with which a command is allowed that is not by itself, by the command's id.
    first_args: BTreeMap<u16, Vec<Vec<u8>>>,
    pub(super) all_keys: bool,
    keys: Vec<KeyPattern>,
    pub(super) all_channels: bool,
    channels: Vec<Box<[u8]>>,
}

impl Selector {
    /// Allows nothing; the channels as `acl-pubsub-default` has it.
    pub fn new(all_channels: bool) -> Selector {
        Selector {
            commands: Commands::NONE,
            all_commands: false,
            begins_with_all: false,
            rules: Vec::new(),
            first_args: BTreeMap::new(),
            all_keys: false,
            keys: Vec::new(),
            all_channels,
            channels: Vec::new(),
        }
    }

    /// Changes it by one rule.
    pub fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if is("allkeys") || is("~*") {
            self.set_keys(true);
        } else if is("resetkeys") {
            self.set_keys(false);
        } else if is("allchannels") || is("&*") {
            self.set_channels(true);
        } else if is("resetchannels") {
            self.set_channels(false);
        } else if is("allcommands") || is("+@all") {
            self.set_commands(true);
        } else if is("nocommands") || is("-@all") {
            self.set_commands(false);
        } else {
            return match rule {
                [b'~' | b'%', ..] => self.add_keys(rule),
                [b'&', pattern @ ..] => self.add_channels(pattern),
                [sign @ (b'+' | b'-'), b'@', category @ ..] => self.change_category(*sign == b'+', category),
                [b'+', name @ ..] => self.allow(name),
                [b'-', name @ ..] => {
                    let spec = command(name).ok_or(RuleError::UnknownCommand)?;
                    self.change(spec, false);
                    self.note_rule(false, spec.name.as_bytes());
                    Ok(())
                }
                _ => Err(RuleError::Syntax),
            };
        }
        Ok(())
    }

    fn set_keys(&mut self, all: bool) {
        self.all_keys = all;
        self.keys.clear();
    }

    fn set_channels(&mut self, all: bool) {
        self.all_channels = all;
        self.channels.clear();
    }

    fn set_commands(&mut self, all: bool) {
        self.commands = if all { Commands::ALL } else { Commands::NONE };
        self.all_commands = all;
        self.begins_with_all = all;
        self.rules.clear();
        self.first_args.clear();
    }

    fn add_keys(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::KeysAfterAll);
        }
        let (reads, writes, pattern) = match rule {
            [b'%', rest @ ..] => permissions(rest).ok_or(RuleError::Syntax)?,
            _ => (true, true, &rule[1..]),
        };
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        match self.keys.iter_mut().find(|known| *known.pattern == *pattern) {
            Some(known) => {
                known.reads |= reads;
                known.writes |= writes;
            }
            None => self.keys.push(KeyPattern { pattern: pattern.into(), reads, writes }),
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::ChannelsAfterAll);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| **known == *pattern) {
            self.channels.push(pattern.into());
        }
        Ok(())
    }

    fn change_category(&mut self, allow: bool, name: &[u8]) -> Result<(), RuleError> {
        let category = Category::by_name(name).ok_or(RuleError::UnknownCommand)?;
        self.note_rule(allow, &[b"@", name].concat());
        for spec in table::all().filter(|spec| spec.categories.contains(category)) {
            self.change(spec, allow);
        }
        Ok(())
    }

    fn allow(&mut self, name: &[u8]) -> Result<(), RuleError> {
        let Some(bar) = memchr::memrchr(b'|', name) else {
            let spec = command(name).ok_or(RuleError::UnknownCommand)?;
            self.change(spec, true);
            self.note_rule(true, spec.name.as_bytes());
            return Ok(());
        };
        let (container, sub) = (&name[..bar], &name[bar + 1..]);
        let spec = command(container).ok_or(RuleError::UnknownCommand)?;
        if spec.is_subcommand() {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        if sub.is_empty() {
            return Err(RuleError::Syntax);
        }
        if spec.subcommands().is_empty() {
            let known = self.first_args.entry(spec.id).or_default();
            if !known.iter().any(|arg| arg.eq_ignore_ascii_case(sub)) {
                known.push(sub.to_vec());
            }
        } else {
            let spec = command(name).ok_or(RuleError::UnknownCommand)?;
            self.change(spec, true);
        }
        self.note_rule(true, name);
        Ok(())
    }

    fn change(&mut self, spec: &CommandSpec, allow: bool) {
        self.all_commands &= allow;
        self.first_args.remove(&spec.id);
        self.commands.assign(spec, allow);
        spec.subcommands().iter().for_each(|sub| self.commands.assign(sub, allow));
    }

    /// The last rule about a command counts, and one about a container replaces those about its subcommands.
    fn note_rule(&mut self, allow: bool, what: &[u8]) {
        let what = what.to_ascii_lowercase();
        self.rules.retain(|(_, known)| {
            let replaced = known.strip_prefix(&what[..]);
            !replaced.is_some_and(|rest| rest.is_empty() || rest[0] == b'|')
        });
        self.rules.push((allow, what));
    }

    /// The rules for commands, from all or nothing on.
    pub fn commands_text(&self) -> Vec<u8> {
        let mut text = if self.begins_with_all { b"+@all".to_vec() } else { b"-@all".to_vec() };
        for (allow, what) in &self.rules {
            text.extend_from_slice(if *allow { b" +" } else { b" -" });
            text.extend_from_slice(what);
        }
        text
    }

    pub fn keys_text(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        self.keys.iter().map(KeyPattern::text).collect::<Vec<_>>().join(&b' ')
    }

    pub fn channels_text(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        self.channels.iter().map(|pattern| [b"&", &pattern[..]].concat()).collect::<Vec<_>>().join(&b' ')
    }

    /// Everything, as rules that make the same of a new one.
    pub fn text(&self) -> Vec<u8> {
        let mut text = self.keys_text();
        if !text.is_empty() {
            text.push(b' ');
        }
        if !self.all_channels {
            text.extend_from_slice(b"resetchannels ");
        }
        let channels = self.channels_text();
        text.extend_from_slice(&channels);
        if !channels.is_empty() {
            text.push(b' ');
        }
        text.extend_from_slice(&self.commands_text());
        text
    }

    /// Whether the command may run, whatever its keys.
    pub(super) fn allows_command(&self, spec: &CommandSpec, args: &[&[u8]]) -> bool {
        if self.all_commands || self.commands.has(spec) {
            return true;
        }
        let first = args.get(if spec.is_subcommand() { 2 } else { 1 });
        let allowed = self.first_args.get(&spec.id);
        first
            .zip(allowed)
            .is_some_and(|(first, allowed)| allowed.iter().any(|arg| arg.eq_ignore_ascii_case(first)))
    }

    pub(super) fn allows_key(&self, key: &[u8], flags: KeyFlags) -> bool {
        let (reads, writes) = access(flags);
        let matches =
            |known: &KeyPattern| known.allows(reads, writes) && glob_match(&known.pattern, key, false);
        self.all_keys || self.keys.iter().any(matches)
    }

    /// Whether all keys may be read.
    pub(super) fn reads_all_keys(&self) -> bool {
        self.all_keys || self.keys.iter().any(|known| known.reads && *known.pattern == *b"*")
    }

    /// A pattern of channels is allowed as it is written, not by what it matches.
    pub(super) fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        let matches = |known: &[u8]| {
            if is_pattern {
                known == channel
            } else {
                glob_match(known, channel, false)
            }
        };
        self.all_channels || self.channels.iter().any(|known| matches(known))
    }

    pub(super) fn channels(&self) -> &[Box<[u8]>] {
        &self.channels
    }
}

/// The command of this name, or the subcommand if it is `container|subcommand`. The configuration's new names do not count.
fn command(name: &[u8]) -> Option<&'static CommandSpec> {
    match memchr::memchr(b'|', name) {
        None => table::lookup(name),
        Some(bar) => table::lookup(&name[..bar])?.subcommand(&name[bar + 1..]),
    }
}

/// `R~pattern`, `W~pattern`, `RW~pattern`.
fn permissions(rule: &[u8]) -> Option<(bool, bool, &[u8])> {
    let (mut reads, mut writes) = (false, false);
    for (index, byte) in rule.iter().enumerate() {
        match byte.to_ascii_uppercase() {
            b'R' if !reads => reads = true,
            b'W' if !writes => writes = true,
            b'~' if reads || writes => return Some((reads, writes, &rule[index + 1..])),
            _ => return None,
        }
    }
    // As Redis takes it: the pattern that matches the empty key.
    (reads || writes).then_some((reads, writes, &[]))
}

/// Whether keys of this use are read, and written.
fn access(flags: KeyFlags) -> (bool, bool) {
    let writes = KeyFlags::of(&[KeyFlag::Insert, KeyFlag::Delete, KeyFlag::Update]);
    (flags.contains(KeyFlag::Access), flags.intersects(writes))
}

pub(super) fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|byte| byte.is_ascii_whitespace() || *byte == 0x0b || *byte == 0)
}
