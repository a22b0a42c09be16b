//! From the name in a request to its entry in the command table: on the path of every request.
//!
//! A name is read as two overlapping machine words, folded to lower case, and its length. For names of up to 16 bytes
//! these three are the name, so that one probe is a hash, a load and a comparison of integers; only longer names are
//! compared byte by byte, and names longer than any command's are turned away by their length. Lookup neither allocates nor depends on how
//! long a bogus name is.
//!
//! Which names exist is a matter of configuration: `rename-command` gives commands other names, or none.

use super::spec::CommandSpec;
use super::{COMMANDS, COUNT};
use crate::command::{Args, CommandError};
use crate::resp::{c_text, c_text_cut};
use crate::text;

/// At most so many bytes of a name, and about so many of the arguments, are repeated in an error text.
const QUOTED_LEN_MAX: usize = 128;

/// Slots per command in the hash table: sparse, so that most lookups, of absent names too, end at the first probe.
const SLOTS_PER_COMMAND: usize = 4;

/// Spreads the folded words over the high bits; any odd number with well-mixed bits would do.
const HASH_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The commands of this process by the names that its configuration gives them.
pub struct Names {
    /// Open addressing, linear probing; a power of two long, and never full.
    slots: Box<[Slot]>,
    /// 64 less the binary logarithm of the number of slots.
    hash_shift: u32,
    name_len_max: usize,
    /// By id: what a top-level command is called. None: disabled, or a subcommand.
    spelled: Vec<Option<Box<[u8]>>>,
}

#[derive(Clone, Copy)]
struct Slot {
    key: NameKey,
    id: u16,
}

const FREE: u16 = u16::MAX;

/// What identifies a name of up to 16 bytes, and nearly so a longer one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct NameKey {
    head: u64,
    tail: u64,
    len: usize,
}

impl NameKey {
    #[inline]
    fn of(name: &[u8]) -> NameKey {
        let (head, tail) = if let (Some(head), Some(tail)) = (name.first_chunk::<8>(), name.last_chunk::<8>())
        {
            (u64::from_le_bytes(*head), u64::from_le_bytes(*tail))
        } else if let (Some(head), Some(tail)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
            (u64::from(u32::from_le_bytes(*head)), u64::from(u32::from_le_bytes(*tail)))
        } else {
            (name.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0)
        };
        NameKey { head: fold_case(head), tail: fold_case(tail), len: name.len() }
    }

    #[inline]
    fn hash(self, shift: u32) -> usize {
        let word = self.head ^ self.tail.rotate_left(29) ^ self.len as u64;
        (word.wrapping_mul(HASH_MULTIPLIER) >> shift) as usize
    }

    /// Whether the key leaves out the middle of the name.
    fn is_partial(self) -> bool {
        self.len > 16
    }
}

/// ASCII upper case to lower case in all eight bytes at once; other bytes stay as they are.
#[inline]
fn fold_case(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let low_bits = word & !HIGH;
    // The high bit of each byte tells whether its low seven bits are at least 'A', and above 'Z'; no sum carries over.
    let at_least_a = low_bits + (0x80 - b'A' as u64) * ONES;
    let above_z = low_bits + (0x7f - b'Z' as u64) * ONES;
    let upper = at_least_a & !above_z & !word & HIGH;
    word | upper >> 2
}

/// Why `rename-command` cannot be done; the texts are Redis's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameError {
    NoSuchCommand,
    NameTaken,
}

impl RenameError {
    pub const fn text(self) -> &'static str {
        match self {
            RenameError::NoSuchCommand => "No such command in rename-command",
            RenameError::NameTaken => "Target command name already exists",
        }
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

impl Names {
    /// Every command under its own name.
    pub fn new() -> Names {
        let spelled =
            COMMANDS.iter().map(|spec| (!spec.is_subcommand()).then(|| spec.name.as_bytes().into()));
        let mut names =
            Names { slots: Box::default(), hash_shift: 0, name_len_max: 0, spelled: spelled.collect() };
        names.index();
        names
    }

    /// As `rename-command old new`: `old`, which has to be a name in force, becomes `new`; an empty `new` disables it.
    pub fn rename(&mut self, old: &[u8], new: &[u8]) -> Result<(), RenameError> {
        let id = self.lookup(old).ok_or(RenameError::NoSuchCommand)?.id;
        if self.lookup(new).is_some_and(|other| other.id != id) {
            return Err(RenameError::NameTaken);
        }
        self.spelled[id as usize] = (!new.is_empty()).then(|| new.into());
        self.index();
        Ok(())
    }

    fn index(&mut self) {
        let slots_len = (COUNT * SLOTS_PER_COMMAND).next_power_of_two();
        let free = Slot { key: NameKey { head: 0, tail: 0, len: 0 }, id: FREE };
        self.slots = vec![free; slots_len].into();
        self.hash_shift = u64::BITS - slots_len.trailing_zeros();
        self.name_len_max = 0;
        for (id, name) in self.spelled.iter().enumerate() {
            let Some(name) = name else { continue };
            let key = NameKey::of(name);
            let mut at = key.hash(self.hash_shift);
            while self.slots[at].id != FREE {
                at = (at + 1) & (slots_len - 1);
            }
            self.slots[at] = Slot { key, id: id as u16 };
            self.name_len_max = self.name_len_max.max(name.len());
        }
    }

    /// The top-level command of this name, in any case.
    #[inline]
    pub fn lookup(&self, name: &[u8]) -> Option<&'static CommandSpec> {
        if name.len() > self.name_len_max {
            return None;
        }
        let key = NameKey::of(name);
        let mut at = key.hash(self.hash_shift);
        loop {
            let slot = &self.slots[at];
            if slot.id == FREE {
                return None;
            }
            if slot.key == key && (!key.is_partial() || self.is_called(slot.id, name)) {
                return Some(&COMMANDS[slot.id as usize]);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    fn is_called(&self, id: u16, name: &[u8]) -> bool {
        self.spelled[id as usize].as_ref().is_some_and(|spelled| spelled.eq_ignore_ascii_case(name))
    }

    /// The command or subcommand that a request runs. A container by itself is found as such.
    #[inline]
    pub fn find(&self, args: Args) -> Option<&'static CommandSpec> {
        let spec = self.lookup(args.first()?)?;
        match args.get(1) {
            Some(name) if spec.subcommands > 0 => spec.subcommand(name),
            _ => Some(spec),
        }
    }

    /// As `find`, with the error that the client gets when there is no such command or the number of arguments is wrong.
    #[inline]
    pub fn resolve(&self, args: Args) -> Result<&'static CommandSpec, CommandError> {
        let spec = self.find(args).ok_or_else(|| self.unknown(args))?;
        spec.check_arity(args.len())?;
        Ok(spec)
    }

    /// By the full name that COMMAND INFO and ACL rules use: `get`, `client|id`.
    pub fn lookup_full(&self, name: &[u8]) -> Option<&'static CommandSpec> {
        match memchr::memchr(b'|', name) {
            None => self.lookup(name),
            Some(bar) => self.lookup(&name[..bar])?.subcommand(&name[bar + 1..]),
        }
    }

    /// The top-level commands that are not disabled.
    pub fn commands(&self) -> impl Iterator<Item = &'static CommandSpec> + '_ {
        COMMANDS.iter().filter(|spec| self.spelled[spec.id as usize].is_some())
    }

    #[cold]
    fn unknown(&self, args: Args) -> CommandError {
        let name = args.first().copied().unwrap_or_default();
        if let (Some(_), Some(subcommand)) = (self.lookup(name), args.get(1)) {
            let container = c_text(name).to_ascii_uppercase();
            let subcommand = c_text_cut(subcommand, QUOTED_LEN_MAX);
            return CommandError::other(text!(
                "ERR unknown subcommand '",
                subcommand,
                "'. Try ",
                container,
                " HELP."
            ));
        }
        let mut shown = Vec::new();
        for arg in args.iter().skip(1) {
            // The quotes and blanks count too, once they are there.
            match QUOTED_LEN_MAX.checked_sub(shown.len()) {
                None | Some(0) => break,
                Some(left) => shown.extend([b"'", c_text_cut(arg, left), b"' "].concat()),
            }
        }
        let name = c_text_cut(name, QUOTED_LEN_MAX);
        CommandError::other(text!("ERR unknown command '", name, "', with args beginning with: ", shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resolve(request: &str) -> Result<&'static str, String> {
        let args: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        Names::new().resolve(&args).map(|spec| spec.name).map_err(|error| error.to_string())
    }

    #[test]
    fn every_command_is_found_in_any_case_and_nothing_near_it() {
        let names = Names::new();
        for spec in COMMANDS.iter() {
            let lower = spec.name.as_bytes();
            let mixed: Vec<u8> = lower
                .iter()
                .enumerate()
                .map(|(i, byte)| if i % 2 == 0 { byte.to_ascii_uppercase() } else { *byte })
                .collect();
            for name in [lower, &mixed, &lower.to_ascii_uppercase()] {
                assert_eq!(names.lookup_full(name).map(|found| found.id), Some(spec.id), "{}", spec.name);
            }
            for name in [[lower, b"~"].concat(), [b" ", lower].concat(), [lower, b"\0"].concat()] {
                assert!(names.lookup_full(&name).is_none());
            }
            let bit_5_flipped: Vec<u8> = lower.iter().map(|byte| byte ^ 0x20).collect();
            let all_letters = lower.iter().all(u8::is_ascii_alphabetic);
            assert_eq!(names.lookup_full(&bit_5_flipped).is_some(), all_letters, "{}", spec.name);
        }
    }

    /// How far commands lie behind the slot that their hash names. Linear probing at the table's largest load, a quarter, makes
    /// it a sixth of a slot on average with a perfect hash; how far the unluckiest lies is chance, which only the bound
    /// on clusters is about.
    #[test]
    fn probes_are_few() {
        let names = Names::new();
        let mask = names.slots.len() - 1;
        let distances: Vec<usize> = names
            .commands()
            .map(|spec| {
                let start = NameKey::of(spec.name.as_bytes()).hash(names.hash_shift);
                let is_there = |distance: &usize| names.slots[(start + distance) & mask].id == spec.id;
                (0..=mask).find(is_there).expect("every command is in a slot")
            })
            .collect();
        let total: usize = distances.iter().sum();
        assert!(total * 4 <= distances.len(), "{total} for {} commands", distances.len());
        assert!(distances.iter().all(|distance| *distance <= 8), "{distances:?}");
    }

    proptest! {
        #[test]
        fn folding_words_is_ascii_lower_case(bytes: [u8; 8]) {
            let folded = fold_case(u64::from_le_bytes(bytes)).to_le_bytes();
            prop_assert_eq!(&folded[..], &bytes.to_ascii_lowercase()[..]);
        }

        #[test]
        fn lookup_agrees_with_comparing_all_names(name in prop::collection::vec(any::<u8>(), 0..24)) {
            let expected = COMMANDS.iter().find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(&name)).map(|spec| spec.id);
            prop_assert_eq!(Names::new().lookup(&name).map(|spec| spec.id), expected);
        }

        #[test]
        fn resolving_garbage_never_panics(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6)) {
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            let _ = Names::new().resolve(&args);
        }
    }

    #[test]
    fn unknown_commands_are_quoted_as_redis_does() {
        assert_eq!(
            resolve("foo a b"),
            Err("ERR unknown command 'foo', with args beginning with: 'a' 'b' ".into())
        );
        assert_eq!(resolve("foo"), Err("ERR unknown command 'foo', with args beginning with: ".into()));
        let long = "y".repeat(300);
        assert_eq!(
            resolve(&format!("{long} {} {long} z", "x".repeat(100))),
            Err(format!(
                "ERR unknown command '{}', with args beginning with: '{}' '{}' ",
                "y".repeat(128),
                "x".repeat(100),
                "y".repeat(25)
            ))
        );
        assert_eq!(
            resolve("a\0b c\0d"),
            Err("ERR unknown command 'a', with args beginning with: 'c' ".into())
        );
    }

    #[test]
    fn subcommands_resolve_within_their_container() {
        assert_eq!(resolve("CLIENT Id"), Ok("client|id"));
        assert_eq!(resolve("client"), Err("ERR wrong number of arguments for 'client' command".into()));
        assert_eq!(resolve("Client nope x"), Err("ERR unknown subcommand 'nope'. Try CLIENT HELP.".into()));
        assert_eq!(
            resolve("client id x"),
            Err("ERR wrong number of arguments for 'client|id' command".into())
        );
        assert_eq!(resolve("get"), Err("ERR wrong number of arguments for 'get' command".into()));
        assert!(resolve("client|id").is_err());
    }

    #[test]
    fn renamed_commands_answer_to_the_new_name_only() {
        let mut names = Names::new();
        names.rename(b"GET", b"fetch-me-the-value-of-this").unwrap();
        names.rename(b"config", b"").unwrap();
        assert_eq!(names.lookup(b"Fetch-me-the-value-OF-this").unwrap().name, "get");
        assert!(names.lookup(b"fetch-me-XXX-value-of-this").is_none());
        assert!(
            names.lookup(b"get").is_none()
                && names.lookup(b"config").is_none()
                && names.lookup(b"").is_none()
        );
        assert!(names.commands().any(|spec| spec.name == "get"));
        assert!(names.commands().all(|spec| spec.name != "config"));
        assert_eq!(names.rename(b"get", b"x"), Err(RenameError::NoSuchCommand));
        assert_eq!(names.rename(b"set", b"DEL"), Err(RenameError::NameTaken));
        assert_eq!(names.rename(b"client|id", b"x"), Err(RenameError::NoSuchCommand));
        names.rename(b"set", b"SET").unwrap();
        assert_eq!(names.lookup(b"set").unwrap().name, "set");
    }
}
