//! Writes the replication stream: what belongs together as MULTI and EXEC, SELECT where the database changes, and a count of every byte.

use smallvec::SmallVec;

use super::wire::put_command;

/// What one command, one MULTI body or one shard's part of a transaction did: its effects, as RESP commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    bytes: Vec<u8>,
    effects: SmallVec<[Effect; 2]>,
}

/// One command of a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    pub db: usize,
    /// Where it ends in the unit's bytes.
    pub end: usize,
    /// The step of the transaction in which it ran. Of the parts of several shards a smaller step comes first.
    pub step: u32,
    /// Each shard has this one as its own: the stream has that of the first.
    pub is_everywhere: bool,
}

impl Unit {
    /// Takes what a shard has collected: encoded commands, and what belongs to each.
    pub fn new(bytes: Vec<u8>, effects: SmallVec<[Effect; 2]>) -> Unit {
        debug_assert!(effects.windows(2).all(|pair| pair[0].end <= pair[1].end));
        debug_assert_eq!(effects.last().map_or(0, |last| last.end), bytes.len());
        Unit { bytes, effects }
    }

    pub fn push(&mut self, db: usize, args: &[&[u8]]) {
        put_command(&mut self.bytes, args);
        self.effects.push(Effect { db, end: self.bytes.len(), ..Effect::default() });
    }

    /// Each effect and its bytes.
    fn commands(&self) -> impl Iterator<Item = (Effect, &[u8])> {
        let mut from = 0;
        self.effects.iter().map(move |effect| {
            let bytes = self.bytes.get(from..effect.end).unwrap_or_default();
            from = effect.end;
            (*effect, bytes)
        })
    }

    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Unit>() + self.bytes.len()
    }
}

/// Switches that plant a fault, for tests that must find it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg(test)]
pub enum Fault {
    #[default]
    None,
    /// A part leaves as soon as it comes, outside of its transaction.
    PartOutside,
    /// PING is written but not counted.
    PingNotCounted,
}

/// Writes the stream, and counts it.
#[derive(Debug)]
pub struct StreamWriter {
    /// The database that the stream has selected.
    selected: Option<usize>,
    /// Offset of the last byte written.
    offset: u64,
    /// What has been written since the last [`StreamWriter::take`].
    pending: Vec<u8>,
    #[cfg(test)]
    pub fault: Fault,
}

impl StreamWriter {
    /// A stream of which `offset` bytes have been written before, and in which `selected` is the database.
    pub fn new(offset: u64, selected: Option<usize>) -> StreamWriter {
        StreamWriter {
            selected,
            offset,
            pending: Vec::new(),
            #[cfg(test)]
            fault: Fault::None,
        }
    }

    /// `master_repl_offset`.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What a snapshot of now has to say about the stream's database.
    pub fn selected(&self) -> Option<usize> {
        self.selected
    }

    /// The next command selects its database again: a replica that comes by a full synchronisation knows of none.
    pub fn forget_selected(&mut self) {
        self.selected = None;
    }

    fn command(&mut self, args: &[&[u8]]) {
        let before = self.pending.len();
        put_command(&mut self.pending, args);
        self.offset += (self.pending.len() - before) as u64;
    }

    /// Keeps links alive, and lets replicas see that theirs is.
    pub fn ping(&mut self) {
        #[cfg(test)]
        if self.fault == Fault::PingNotCounted {
            put_command(&mut self.pending, &[b"PING"]);
            return;
        }
        self.command(&[b"PING"]);
    }

    /// Asks all replicas for an acknowledgement now.
    pub fn ask_for_acks(&mut self) {
        self.command(&[b"REPLCONF", b"GETACK", b"*"]);
    }

    /// Where there is no backlog nothing is written, but an offset that is newer than all others is needed.
    pub fn skip(&mut self) {
        self.offset += 1;
    }

    /// The bytes of a master, unchanged: for a replica with replicas of its own.
    pub fn forward(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
    }

    /// What belongs together: one unit, or the parts of a transaction in the order of its writers.
    pub(super) fn units(&mut self, units: &[&Unit]) {
        if let [unit] = units {
            return self.commands(unit.effects.len(), unit.commands());
        }
        let mut joined: Vec<(Effect, &[u8])> = Vec::new();
        for (part, unit) in units.iter().enumerate() {
            joined.extend(unit.commands().filter(|(effect, _)| part == 0 || !effect.is_everywhere));
        }
        // Those of one part are in order, and equal steps stay as they are.
        joined.sort_by_key(|(effect, _)| effect.step);
        self.commands(joined.len(), joined.into_iter());
    }

    fn commands<'a>(&mut self, count: usize, commands: impl Iterator<Item = (Effect, &'a [u8])>) {
        if count > 1 {
            self.command(&[b"MULTI"]);
        }
        for (effect, bytes) in commands {
            if self.selected != Some(effect.db) {
                self.command(&[b"SELECT", itoa::Buffer::new().format(effect.db).as_bytes()]);
                self.selected = Some(effect.db);
            }
            self.pending.extend_from_slice(bytes);
            self.offset += bytes.len() as u64;
        }
        if count > 1 {
            self.command(&[b"EXEC"]);
        }
    }

    /// What has been written since the last call: for the backlog.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// As `take`, where the buffer stays.
    pub fn clear(&mut self) {
        self.pending.clear();
    }
}
