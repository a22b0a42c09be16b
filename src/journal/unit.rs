//! A unit: what one command, one MULTI body or one shard's part of a transaction did to a shard, as commands that do it again.

use smallvec::SmallVec;

use super::sink::Wanted;
use crate::command::table::{self, KeyPositions};
use crate::command::{Args, Audience};
use crate::resp::put_command;
use crate::store::slot_of;

/// A unit's buffer larger than this is given back to the allocator.
const SPARE_BYTES_MAX: usize = 64 * 1024;

/// Where a command belongs, besides its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub db: usize,
    /// The step of the transaction in which the command ran; 0 where there is none. Commands of different shards with equal steps
    /// are independent of each other; otherwise the smaller step comes first.
    pub step: u32,
    /// Every shard has this command as its own in the same step (FLUSHALL): one stream has it once.
    pub is_everywhere: bool,
    pub audience: Audience,
}

impl Place {
    pub fn in_db(db: usize) -> Place {
        Place { db, step: 0, is_everywhere: false, audience: Audience::All }
    }
}

/// A command of a unit: its place, and where its bytes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    pub place: Place,
    pub end: usize,
}

/// Hash slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Ascending.
    some: SmallVec<[u16; 4]>,
    is_all: bool,
}

impl Slots {
    pub fn add(&mut self, slot: u16) {
        if let Err(at) = self.some.binary_search(&slot) {
            self.some.insert(at, slot);
        }
    }

    fn add_those_of(&mut self, args: Args) {
        let mut keys = KeyPositions::new();
        if let Some(spec) = table::original_names().find(args) {
            spec.key_positions(args, &mut keys);
        }
        // A command without keys concerns them all (FLUSHALL), or none (PUBLISH): whoever moves slots has to look at it.
        self.is_all |= keys.is_empty();
        for key in &keys {
            self.add(slot_of(args[key.index]));
        }
    }

    /// Whether the unit has something for one of the slots that `is_wanted` names.
    pub fn touch(&self, is_wanted: impl Fn(u16) -> bool) -> bool {
        self.is_all || self.some.iter().any(|slot| is_wanted(*slot))
    }
}

/// Commands that belong together, encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    bytes: Vec<u8>,
    commands: SmallVec<[Command; 2]>,
    /// How many of them are for logs, and for replicas.
    logged: usize,
    fed: usize,
    /// Of the keys that the commands name; nothing where no sink asks for slots.
    slots: Slots,
}

impl Unit {
    /// A unit of one command.
    pub fn of(place: Place, args: Args, wanted: Wanted) -> Unit {
        let mut unit = Unit::default();
        unit.push(place, args, wanted.slots);
        unit
    }

    pub(super) fn push(&mut self, place: Place, args: Args, wants_slots: bool) {
        put_command(&mut self.bytes, args);
        self.commands.push(Command { place, end: self.bytes.len() });
        self.logged += usize::from(place.audience.has_log());
        self.fed += usize::from(place.audience.has_replicas());
        if wants_slots {
            self.slots.add_those_of(args);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// How many commands are for logs.
    pub fn logged(&self) -> usize {
        self.logged
    }

    /// How many commands are for replicas.
    pub fn fed(&self) -> usize {
        self.fed
    }

    /// Without what is for logs only.
    pub(super) fn for_replicas(&self) -> Unit {
        if self.fed == self.commands.len() {
            return self.clone();
        }
        let mut unit = Unit { slots: self.slots.clone(), ..Unit::default() };
        for (place, bytes) in self.view().commands().filter(|(place, _)| place.audience.has_replicas()) {
            unit.bytes.extend_from_slice(bytes);
            unit.commands.push(Command { place, end: unit.bytes.len() });
        }
        (unit.logged, unit.fed) = (self.logged, self.fed);
        unit
    }

    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    pub fn view(&self) -> View<'_> {
        View { bytes: &self.bytes, commands: &self.commands }
    }

    /// Forgets its commands.
    pub(super) fn clear(&mut self) {
        self.commands.clear();
        (self.logged, self.fed) = (0, 0);
        self.slots = Slots::default();
        if self.bytes.capacity() > SPARE_BYTES_MAX {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
    }
}

/// A unit, wherever its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<'a> {
    pub(super) bytes: &'a [u8],
    /// The ends count from the beginning of `bytes`.
    pub(super) commands: &'a [Command],
}

impl<'a> View<'a> {
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Each command: its place, and its bytes as a client would send them.
    pub fn commands(self) -> impl Iterator<Item = (Place, &'a [u8])> {
        let mut from = 0;
        self.commands.iter().map(move |command| {
            let bytes = self.bytes.get(from..command.end).unwrap_or_default();
            from = command.end;
            (command.place, bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_knows_its_commands_their_databases_and_who_gets_them() {
        let mut unit = Unit::default();
        unit.push(Place::in_db(3), &[b"SET", b"k", b"v"], false);
        let publish = Place { audience: Audience::Replicas, ..Place::in_db(0) };
        unit.push(publish, &[b"PUBLISH", b"c", b"m"], false);
        let commands: Vec<_> = unit.view().commands().collect();
        assert_eq!(commands[0], (Place::in_db(3), &b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"[..]));
        assert_eq!(commands[1], (publish, &b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$1\r\nm\r\n"[..]));
        assert_eq!((unit.logged(), unit.view().len()), (1, 2));
        assert_eq!(unit.slots(), &Slots::default(), "nobody asked");
        unit.clear();
        assert!(unit.is_empty() && unit.view().byte_len() == 0 && unit.logged() == 0);
    }

    #[test]
    fn a_unit_carries_the_slots_of_its_keys_and_a_command_without_keys_concerns_all() {
        let mut unit = Unit::default();
        unit.push(Place::in_db(0), &[b"MSET", b"a", b"1", b"b", b"2"], true);
        unit.push(Place::in_db(0), &[b"DEL", b"a"], true);
        let (a, b) = (slot_of(b"a"), slot_of(b"b"));
        for slot in [a, b] {
            assert!(unit.slots().touch(|wanted| wanted == slot));
        }
        assert!(!unit.slots().touch(|wanted| wanted != a && wanted != b));
        unit.push(Place::in_db(0), &[b"FLUSHDB"], true);
        assert!(unit.slots().touch(|_| false));
    }
}
