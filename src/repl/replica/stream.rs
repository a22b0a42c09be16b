//! The stream of a master: cut into commands with their offsets, and given to shards so that all of them work at once.
//!
//! [`Cutter`] finds the commands, knows the selected database, and joins what stands between MULTI and EXEC. [`Schedule`] gives them out:
//! a shard gets its commands in the order of the stream, in batches; shards do not wait for each other. A command or a transaction
//! that several shards need runs alone on them: after all that came before for these shards, and before all that comes after. If the
//! next ones need no others, one of these shards gets them together, and runs them one after the other: between two of them nobody
//! has to be asked.
//!
//! ```text
//!   stream    SET a   SET b   MULTI SET a SET b EXEC   SET c   SET a
//!   shard 0   [SET a]         [ both shards: SET a     [SET c] .
//!   shard 1           [SET b]   SET b                ] .       [SET a, SET d ...
//! ```
//!
//! Shards answer in any order. [`Schedule::applied`] is the offset up to which *everything* is applied: that is what the master is told.
//!
//! Bounds: a command has at most `command_max` bytes, a transaction `transaction_max`; the stream is not read while more than
//! `fill_max` bytes wait in the schedule ([`Schedule::is_full`]).

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::command::parse;
use crate::command::table::{self, CommandSpec, Handler, KeyPositions};
use crate::repl::wire::put_command;
use crate::resp::{ArgRange, Limits, Progress, RequestParser};
use crate::slots::shard_of_slot;
use crate::store::slot_of;

/// How many commands a shard gets at once: each time costs a change between threads, there and back.
const BATCH_MAX: usize = 256;
/// How many items are run together on several shards.
const JOINED_MAX: usize = 64;
/// As many of one shard in a row may stand among them: by themselves they run at once on all shards.
const BETWEEN_MAX: usize = 4;

/// A command of the stream.
#[derive(Clone, Debug)]
pub struct Command {
    /// As it came, or its arguments alone when it came quoted.
    bytes: Bytes,
    is_quoted: bool,
    args: SmallVec<[ArgRange; 4]>,
    pub db: usize,
    /// Offset of its last byte.
    pub end: u64,
}

impl Command {
    pub fn args(&self) -> SmallVec<[&[u8]; 4]> {
        self.args.iter().map(|arg| arg.of(&self.bytes)).collect()
    }

    /// Appends it as a request.
    pub fn put(&self, to: &mut Vec<u8>) {
        if self.is_quoted || self.bytes.first() != Some(&b'*') {
            put_command(to, &self.args());
        } else {
            to.extend_from_slice(&self.bytes);
        }
    }
}

/// What stands in the stream.
#[derive(Clone, Debug)]
pub enum Item {
    Command(Command),
    /// What stood between MULTI and EXEC, which may be nothing. `end` is that of EXEC, and `db` is selected after it.
    Transaction {
        commands: Vec<Command>,
        db: usize,
        end: u64,
    },
    /// PING, SELECT: nothing to apply, but bytes of the stream.
    Nothing {
        db: usize,
        end: u64,
    },
    /// The master wants to know the offset, now.
    AckWanted {
        db: usize,
        end: u64,
    },
}

impl Item {
    pub fn end(&self) -> u64 {
        match self {
            Item::Command(command) => command.end,
            Item::Transaction { end, .. } | Item::Nothing { end, .. } | Item::AckWanted { end, .. } => *end,
        }
    }

    /// The database that is selected after it: a link that goes on from here begins with it.
    pub fn db(&self) -> usize {
        match self {
            Item::Command(command) => command.db,
            Item::Transaction { db, .. } | Item::Nothing { db, .. } | Item::AckWanted { db, .. } => *db,
        }
    }

    /// Bytes of its commands.
    pub fn len(&self) -> usize {
        match self {
            Item::Command(command) => command.bytes.len(),
            Item::Transaction { commands, .. } => commands.iter().map(|command| command.bytes.len()).sum(),
            _ => 0,
        }
    }
}

/// Why a stream cannot be understood: the link is to be closed, and to go on from what is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamError {
    Protocol(String),
    CommandTooLong,
    TransactionTooLong,
    /// EXEC without MULTI, or MULTI within one.
    Nesting,
    Database(String),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamError::Protocol(text) => write!(f, "Protocol error from the master: {text}"),
            StreamError::CommandTooLong => f.write_str("a command from the master is too long"),
            StreamError::TransactionTooLong => f.write_str("a transaction from the master is too long"),
            StreamError::Nesting => f.write_str("MULTI and EXEC from the master do not match"),
            StreamError::Database(text) => {
                write!(f, "the master selects a database that there is not: '{text}'")
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes.
    pub command_max: usize,
    pub transaction_max: usize,
    /// The number of databases.
    pub databases: usize,
}

/// Cuts the stream.
#[derive(Debug)]
pub struct Cutter {
    bounds: Bounds,
    parser: RequestParser,
    /// What has come and is not cut yet.
    input: BytesMut,
    /// Offset of the last byte that is cut.
    offset: u64,
    db: usize,
    /// The commands since MULTI.
    open: Option<Vec<Command>>,
    open_len: usize,
}

impl Cutter {
    /// A stream that goes on behind `offset`, with `db` selected.
    pub fn new(offset: u64, db: usize, bounds: Bounds) -> Cutter {
        Cutter {
            bounds,
            parser: RequestParser::new(),
            input: BytesMut::new(),
            offset,
            db,
            open: None,
            open_len: 0,
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// INFO's `slave_read_repl_offset`: the offset of the last byte that has come.
    pub fn read(&self) -> u64 {
        self.offset + self.input.len() as u64
    }

    /// The database that is selected at the end of what is cut.
    pub fn db(&self) -> usize {
        self.db
    }

    /// Within a transaction, which a link that ends here does not complete.
    pub fn is_in_transaction(&self) -> bool {
        self.open.is_some()
    }

    pub fn memory_bytes(&self) -> usize {
        self.input.len() + self.open_len + self.parser.memory_bytes()
    }

    /// The next item; `None`: more bytes are needed.
    pub fn next(&mut self) -> Result<Option<Item>, StreamError> {
        let limits = Limits { bulk_len_max: self.bounds.command_max, authenticated: true };
        loop {
            let progress = self.parser.parse(&self.input, &limits).map_err(|error| {
                StreamError::Protocol(String::from_utf8_lossy(&error.text()).into_owned())
            })?;
            let Progress::Complete { len } = progress else {
                let waiting = self.input.len() + self.parser.memory_bytes();
                return if waiting > self.bounds.command_max {
                    Err(StreamError::CommandTooLong)
                } else {
                    Ok(None)
                };
            };
            if len > self.bounds.command_max {
                return Err(StreamError::CommandTooLong);
            }
            let args: SmallVec<[ArgRange; 4]> = self.parser.args().into();
            let unquoted = self.parser.unquoted().map(Bytes::copy_from_slice);
            let raw = self.input.split_to(len).freeze();
            self.offset += len as u64;
            let is_quoted = unquoted.is_some();
            let bytes = unquoted.unwrap_or(raw);
            let command = Command { bytes, is_quoted, args, db: self.db, end: self.offset };
            if let Some(item) = self.command(command)? {
                return Ok(Some(item));
            }
        }
    }

    fn command(&mut self, command: Command) -> Result<Option<Item>, StreamError> {
        let end = command.end;
        let word = |index: usize| command.args.get(index).map_or(&[][..], |arg| arg.of(&command.bytes));
        let is = |name: &[u8]| word(0).eq_ignore_ascii_case(name);
        if command.args.is_empty() {
            return Ok(Some(Item::Nothing { db: self.db, end }));
        }
        if is(b"MULTI") {
            return match self.open.replace(Vec::new()) {
                Some(_) => Err(StreamError::Nesting),
                None => Ok(None),
            };
        }
        if is(b"EXEC") {
            self.open_len = 0;
            let commands = self.open.take().ok_or(StreamError::Nesting)?;
            return Ok(Some(Item::Transaction { commands, db: self.db, end }));
        }
        if is(b"SELECT") {
            let bad = |_| StreamError::Database(crate::repl::wire::shown(word(1)));
            self.db = parse::database(word(1), self.bounds.databases).map_err(bad)?;
            return Ok(self.open.is_none().then_some(Item::Nothing { db: self.db, end }));
        }
        let is_ping = is(b"PING");
        let is_getack = is(b"REPLCONF") && word(1).eq_ignore_ascii_case(b"GETACK");
        match &mut self.open {
            None if is_ping => Ok(Some(Item::Nothing { db: self.db, end })),
            None if is_getack => Ok(Some(Item::AckWanted { db: self.db, end })),
            None => Ok(Some(Item::Command(command))),
            Some(_) if is_ping || is_getack => Ok(None),
            Some(open) => {
                self.open_len += command.bytes.len() + size_of::<Command>();
                open.push(command);
                if self.open_len > self.bounds.transaction_max {
                    return Err(StreamError::TransactionTooLong);
                }
                Ok(None)
            }
        }
    }
}

/// The shards that something needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    One(usize),
    /// More than one, in order.
    Several(SmallVec<[usize; 4]>),
}

/// The shards of a command, by its keys. Without keys it needs all, so that it stays in its place; an unknown one goes to the first
/// shard, which refuses it. Returns whether it has to do with more than keys.
fn shards_of(command: &Command, shards: usize, found: &mut SmallVec<[usize; 4]>) -> bool {
    let args = command.args();
    let Ok(spec) = table::resolve(&args) else {
        add(found, 0);
        return false;
    };
    let spec: &CommandSpec = spec;
    if spec.check_arity(args.len()).is_err() {
        add(found, 0);
        return false;
    }
    if let (Handler::Channel, Some(channel)) = (&spec.handler, args.get(1)) {
        add(found, shard_of_slot(slot_of(channel), shards));
        return false;
    }
    let mut keys = KeyPositions::new();
    spec.key_positions(&args, &mut keys);
    if keys.is_empty() || table::Reaching::of(spec, &args).is_some() {
        *found = (0..shards).collect();
        return true;
    }
    for key in &keys {
        if let Some(name) = args.get(key.index) {
            add(found, shard_of_slot(slot_of(name), shards));
        }
    }
    false
}

fn add(found: &mut SmallVec<[usize; 4]>, shard: usize) {
    if !found.contains(&shard) {
        found.push(shard);
    }
}

pub type WorkId = u64;

/// To be run now. A piece of work of one shard follows what that shard was given before; one of several shards has them to itself.
#[derive(Clone, Debug)]
pub struct Work {
    pub id: WorkId,
    pub target: Target,
    pub items: Vec<Item>,
}

#[derive(Debug)]
struct Entry {
    end: u64,
    db: usize,
    len: usize,
    target: Option<Target>,
    /// Others may run with it, if its shards are several.
    may_join: bool,
    item: Option<Item>,
    is_done: bool,
    wants_ack: bool,
}

/// Work that was given out, as places in the order of the stream.
#[derive(Debug)]
struct Running {
    shards: SmallVec<[usize; 4]>,
    entries: SmallVec<[u64; 4]>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Places of what this shard is to run, in order.
    waiting: VecDeque<u64>,
    running: usize,
    /// A piece of work of several shards is under way.
    is_taken: bool,
}

/// Gives the items of a stream to shards.
#[derive(Debug)]
pub struct Schedule {
    queues: Vec<Queue>,
    /// What is not known to be applied, from the place `first` on.
    entries: VecDeque<Entry>,
    first: u64,
    applied: u64,
    applied_db: usize,
    running: BTreeMap<WorkId, Running>,
    work_made: u64,
    fill: usize,
    fill_max: usize,
    ack_due: bool,
    /// All that was ever given out is before this place. Some before it may not be: shards run ahead of each other.
    given: u64,
    /// Nothing from this place on is given out.
    barrier: Option<u64>,
}

impl Schedule {
    /// Everything up to `applied` is applied, and `db` is selected there.
    pub fn new(shards: usize, applied: u64, db: usize, fill_max: usize) -> Schedule {
        Schedule {
            queues: (0..shards.max(1)).map(|_| Queue::default()).collect(),
            entries: VecDeque::new(),
            first: 0,
            applied,
            applied_db: db,
            running: BTreeMap::new(),
            work_made: 0,
            fill: 0,
            fill_max,
            ack_due: false,
            given: 0,
            barrier: None,
        }
    }

    /// The offset up to which everything is applied.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The database that the stream has selected there. A [`Cutter`] that goes on from there begins with it.
    pub fn applied_db(&self) -> usize {
        self.applied_db
    }

    /// Bytes that are not known to be applied.
    pub fn fill(&self) -> usize {
        self.fill
    }

    pub fn is_full(&self) -> bool {
        self.fill > self.fill_max
    }

    pub fn is_idle(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the master has asked for an acknowledgement, and everything before that is applied.
    pub fn take_ack_due(&mut self) -> bool {
        std::mem::take(&mut self.ack_due)
    }

    /// The shards of an item, and whether others may run with it.
    fn target(&self, item: &Item) -> Option<(Target, bool)> {
        let shards = self.queues.len();
        let (mut found, mut may_join) = (SmallVec::new(), true);
        match item {
            // Whatever its keys are.
            Item::Command(_) if shards == 1 => found.push(0),
            Item::Command(command) => may_join = !shards_of(command, shards, &mut found),
            Item::Transaction { commands, .. } => {
                for command in commands {
                    may_join &= !shards_of(command, shards, &mut found);
                }
            }
            Item::Nothing { .. } | Item::AckWanted { .. } => return None,
        }
        found.sort_unstable();
        match found.as_slice() {
            [] => None,
            [one] => Some((Target::One(*one), may_join)),
            _ => Some((Target::Several(found), may_join)),
        }
    }

    pub fn push(&mut self, item: Item) {
        let place = self.first + self.entries.len() as u64;
        let (target, may_join) = self.target(&item).unzip();
        let shards: &[usize] = match &target {
            None => &[],
            Some(Target::One(shard)) => std::slice::from_ref(shard),
            Some(Target::Several(shards)) => shards,
        };
        for shard in shards {
            if let Some(queue) = self.queues.get_mut(*shard) {
                queue.waiting.push_back(place);
            }
        }
        let len = item.len() + size_of::<Entry>();
        self.fill += len;
        self.entries.push_back(Entry {
            end: item.end(),
            db: item.db(),
            len,
            is_done: target.is_none(),
            wants_ack: matches!(item, Item::AckWanted { .. }),
            item: target.is_some().then_some(item),
            target,
            may_join: may_join.unwrap_or(false),
        });
        self.advance();
    }

    fn entry(&mut self, place: u64) -> Option<&mut Entry> {
        let index = usize::try_from(place.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(index)
    }

    /// The next piece of work that may be run now; `None`: none, until something is done or pushed.
    pub fn next_work(&mut self) -> Option<Work> {
        (0..self.queues.len()).find_map(|shard| self.work_of(shard))
    }

    fn work_of(&mut self, shard: usize) -> Option<Work> {
        let queue = self.queues.get(shard)?;
        if queue.is_taken {
            return None;
        }
        let end = self.barrier.unwrap_or(u64::MAX);
        let place = *queue.waiting.front().filter(|place| **place < end)?;
        if let Some(Target::Several(shards)) = self.entry(place)?.target.clone() {
            // All that came before for these shards must be done.
            let is_free = |shard: &usize| {
                self.queues.get(*shard).is_some_and(|queue| {
                    queue.running == 0 && !queue.is_taken && queue.waiting.front() == Some(&place)
                })
            };
            if !shards.iter().all(is_free) {
                return None;
            }
            for shard in &shards {
                if let Some(queue) = self.queues.get_mut(*shard) {
                    queue.waiting.pop_front();
                    queue.is_taken = true;
                }
            }
            let entry = self.entry(place)?;
            let (mut places, mut items) = (smallvec::smallvec![place], vec![entry.item.take()?]);
            if entry.may_join {
                for place in self.joined(&shards, end) {
                    self.take_joined(place, &mut places, &mut items);
                }
            }
            return Some(self.give(Target::Several(shards), places, items));
        }
        let mut places: SmallVec<[u64; 4]> = SmallVec::new();
        let mut items = Vec::new();
        while items.len() < BATCH_MAX {
            let next = self.queues.get(shard).and_then(|queue| queue.waiting.front().copied());
            let Some(place) = next.filter(|place| *place < end) else { break };
            let Some(entry) = self.entry(place) else { break };
            if !matches!(entry.target, Some(Target::One(_))) {
                break;
            }
            let Some(item) = entry.item.take() else { break };
            items.push(item);
            places.push(place);
            if let Some(queue) = self.queues.get_mut(shard) {
                queue.waiting.pop_front();
            }
        }
        if let Some(queue) = self.queues.get_mut(shard) {
            queue.running += 1;
        }
        Some(self.give(Target::One(shard), places, items))
    }

    /// The places of what these shards are to run next and nobody else is: up to the last that several of them need.
    fn joined(&mut self, shards: &[usize], end: u64) -> SmallVec<[u64; 16]> {
        let mut found: SmallVec<[u64; 16]> = SmallVec::new();
        let mut ahead: SmallVec<[usize; 4]> = smallvec::smallvec![0; shards.len()];
        let (mut whole, mut between) = (0, 0);
        while found.len() < JOINED_MAX && between <= BETWEEN_MAX {
            let next =
                |(shard, ahead): (&usize, &usize)| self.queues.get(*shard)?.waiting.get(*ahead).copied();
            let next = shards.iter().zip(&ahead).filter_map(next).min();
            let Some(place) = next.filter(|place| *place < end) else { break };
            let Some(entry) = self.entry(place) else { break };
            let needs: &[usize] = match &entry.target {
                Some(Target::One(shard)) => std::slice::from_ref(shard),
                Some(Target::Several(needs)) if entry.may_join => needs,
                _ => break,
            };
            if !needs.iter().all(|shard| shards.contains(shard)) {
                break;
            }
            for (shard, ahead) in shards.iter().zip(&mut ahead) {
                *ahead += usize::from(needs.contains(shard));
            }
            found.push(place);
            if needs.len() > 1 {
                (whole, between) = (found.len(), 0);
            } else {
                between += 1;
            }
        }
        found.truncate(whole);
        found
    }

    fn take_joined(&mut self, place: u64, places: &mut SmallVec<[u64; 4]>, items: &mut Vec<Item>) {
        for queue in &mut self.queues {
            if queue.waiting.front() == Some(&place) {
                queue.waiting.pop_front();
            }
        }
        if let Some(item) = self.entry(place).and_then(|entry| entry.item.take()) {
            items.push(item);
            places.push(place);
        }
    }

    fn give(&mut self, target: Target, entries: SmallVec<[u64; 4]>, items: Vec<Item>) -> Work {
        self.given = self.given.max(entries.last().map_or(0, |place| place + 1));
        self.work_made += 1;
        let id = self.work_made;
        let shards = match &target {
            Target::One(shard) => smallvec::smallvec![*shard],
            Target::Several(shards) => shards.clone(),
        };
        self.running.insert(id, Running { shards, entries });
        Work { id, target, items }
    }

    /// A piece of work has been run, on all its shards.
    pub fn done(&mut self, id: WorkId) {
        let Some(running) = self.running.remove(&id) else { return };
        let is_alone = running.shards.len() > 1;
        for shard in &running.shards {
            if let Some(queue) = self.queues.get_mut(*shard) {
                if is_alone {
                    queue.is_taken = false;
                } else {
                    queue.running = queue.running.saturating_sub(1);
                }
            }
        }
        for place in running.entries {
            if let Some(entry) = self.entry(place) {
                entry.is_done = true;
            }
        }
        self.advance();
    }

    fn advance(&mut self) {
        while let Some(entry) = self.entries.front().filter(|entry| entry.is_done) {
            self.applied = entry.end;
            self.applied_db = entry.db;
            self.ack_due |= entry.wants_ack;
            self.fill -= entry.len.min(self.fill);
            self.entries.pop_front();
            self.first += 1;
        }
    }

    /// Shards run ahead of each other, so what they have is, as a rule, the stream at no offset. From here on only what others have been
    /// given the like of is given out, until all of it is done ([`Schedule::is_at_barrier`]): then everything up to
    /// [`Schedule::applied`] is applied and nothing behind it. For a snapshot, a shutdown, a promotion.
    pub fn raise_barrier(&mut self) {
        self.barrier = Some(self.given.max(self.first));
    }

    pub fn is_at_barrier(&self) -> bool {
        self.barrier.is_some_and(|barrier| self.first >= barrier) && self.running.is_empty()
    }

    pub fn lower_barrier(&mut self) {
        self.barrier = None;
    }

    /// The link is gone: as a barrier, but what is behind it is dropped, for it will come again. When the schedule is idle the next link
    /// may begin, behind what is applied.
    pub fn drop_waiting(&mut self) {
        let end = self.given.max(self.first);
        for queue in &mut self.queues {
            queue.waiting.retain(|place| *place < end);
        }
        while self.first + self.entries.len() as u64 > end {
            if let Some(dropped) = self.entries.pop_back() {
                self.fill -= dropped.len.min(self.fill);
            }
        }
        self.barrier = None;
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
