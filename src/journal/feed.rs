//! The feed: the sink from which replicas are served. Each shard has one while there is a replication backlog.
//!
//! ```text
//!  shard   a turn's units and placeholders -> a batch, with one ticket ---+
//!          a part of a transaction, when it ends --------------------------+--> waits until released --> queue --> sequencer
//! ```
//!
//! A transaction over shards takes its place from its coordinator. In the turn in which the coordinator sends the first of the messages
//! that give the intents back, it puts a *placeholder* into its own batch. At that moment all intents are held on all shards:
//! what conflicts with the transaction either has a smaller ticket already or will get a larger one. The parts follow under the
//! transaction's number, each from the shard that wrote it, in any order, and may come before their placeholder.
//!
//! Nothing leaves before it is *released* by the shard's log (`shard/log`): with `appendfsync always` a replica never has what the master
//! may still lose. The ticket is drawn in the turn in which the unit was made all the same, for what conflicts with it on other
//! shards may be released earlier. So a batch keeps its log position until then, and whoever reads the queue waits for its ticket.
//!
//! Nothing here ever waits: a shard hands over what it has. What is on its way to the reader, or waits for its release, is counted
//! (`Fill`), over all shards; from `FILL_BYTES_MAX` on new writes are to wait, so that the sum stays near it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;

use smallvec::SmallVec;

use super::sink::{Entry, Sink};
use super::tickets::{Ticket, Tickets};
use super::unit::{Command, Unit, View};
use super::Number;

/// From so much on its way to the sequencer on, bytes of all shards together, new writes wait.
pub const FILL_BYTES_MAX: usize = 64 << 20;
/// What a delivery counts beside its bytes.
const OVERHEAD_BYTES: usize = 256;

/// The shards that have a part of a transaction.
pub type Writers = SmallVec<[u16; 4]>;

/// What a shard did in one turn, in order.
#[derive(Debug, Default)]
pub struct Batch {
    pub ticket: Ticket,
    pub shard: usize,
    /// Drawn at a barrier: a snapshot is cut behind it.
    pub is_mark: bool,
    bytes: Vec<u8>,
    /// Their ends count from the beginning of their unit.
    commands: Vec<Command>,
    items: Vec<Item>,
}

#[derive(Debug)]
enum Item {
    /// Where the unit ends, in bytes and in commands.
    Unit(usize, usize),
    Placeholder(Number, Writers),
}

/// What a batch consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InBatch<'a> {
    Unit(View<'a>),
    /// A transaction has its place here; each of the writers brings a [`FeedPart`].
    Placeholder {
        transaction: Number,
        writers: &'a [u16],
    },
}

impl Batch {
    pub fn entries(&self) -> impl Iterator<Item = InBatch<'_>> {
        let (mut byte, mut command) = (0, 0);
        self.items.iter().map(move |item| match item {
            Item::Unit(bytes_end, commands_end) => {
                let view = View {
                    bytes: self.bytes.get(byte..*bytes_end).unwrap_or_default(),
                    commands: self.commands.get(command..*commands_end).unwrap_or_default(),
                };
                (byte, command) = (*bytes_end, *commands_end);
                InBatch::Unit(view)
            }
            Item::Placeholder(transaction, writers) => {
                InBatch::Placeholder { transaction: *transaction, writers }
            }
        })
    }

    /// Nothing: its ticket marks a moment.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn push(&mut self, unit: &Unit) {
        let view = unit.view();
        self.bytes.extend_from_slice(view.bytes);
        self.commands.extend_from_slice(view.commands);
        self.items.push(Item::Unit(self.bytes.len(), self.commands.len()));
    }

    fn weight(&self) -> usize {
        self.bytes.len() + self.commands.len() * size_of::<Command>() + self.items.len() * size_of::<Item>()
    }
}

/// A shard's part of a transaction that has a placeholder; it may be empty.
#[derive(Debug)]
pub struct FeedPart {
    pub transaction: Number,
    pub shard: usize,
    pub unit: Unit,
}

#[derive(Debug)]
pub enum Fed {
    Batch(Batch),
    Part(FeedPart),
}

/// What is on its way from all shards to the sequencer.
#[derive(Debug, Default)]
pub struct Fill {
    bytes: AtomicUsize,
    /// A replica is far behind what its output may be.
    is_throttled: AtomicBool,
}

impl Fill {
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether new writes are to wait.
    pub fn is_full(&self) -> bool {
        self.bytes() >= FILL_BYTES_MAX || self.is_throttled.load(Ordering::Relaxed)
    }

    /// Has new writes wait for a replica, or not any more.
    pub fn throttle(&self, is_on: bool) {
        self.is_throttled.store(is_on, Ordering::Relaxed);
    }
}

/// Counts in the fill until it is dropped: by the sequencer, when it has emitted what it belongs to.
#[derive(Debug)]
pub struct Load {
    fill: Arc<Fill>,
    bytes: usize,
}

impl Load {
    fn new(fill: &Arc<Fill>, bytes: usize) -> Load {
        let bytes = bytes + OVERHEAD_BYTES;
        fill.bytes.fetch_add(bytes, Ordering::Relaxed);
        Load { fill: fill.clone(), bytes }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.fill.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub struct Delivery {
    pub fed: Fed,
    pub load: Load,
}

/// Rung by a shard that has put something into the queue, so that its reader wakes.
pub type Bell = Arc<dyn Fn() + Send + Sync>;

/// The reader's end of the queue. Of one shard everything comes in the order in which it was released.
pub struct FeedReader {
    receiver: Receiver<Delivery>,
    fill: Arc<Fill>,
    /// The ticket of the first batch that comes.
    pub first: Ticket,
}

impl FeedReader {
    /// Never waits.
    pub fn next(&self) -> Option<Delivery> {
        self.receiver.try_recv().ok()
    }

    pub fn fill(&self) -> &Arc<Fill> {
        &self.fill
    }
}

/// Makes the feeds of all shards, and the end that they lead to. To be called at a barrier, where no shard has anything to say and no
/// transaction over shards is half done, and the feeds are to be attached there.
pub fn feeds(shards: usize, tickets: &Arc<Tickets>, bell: &Bell) -> (Vec<Feed>, FeedReader) {
    let (sender, receiver) = channel();
    let fill = Arc::new(Fill::default());
    let feed = |shard| Feed {
        shard,
        tickets: tickets.clone(),
        sender: sender.clone(),
        bell: bell.clone(),
        fill: fill.clone(),
        open: Batch::default(),
        waiting: VecDeque::new(),
        position: 0,
    };
    let feeds = (0..shards).map(feed).collect();
    (feeds, FeedReader { receiver, fill, first: tickets.next() })
}

/// One shard's end.
pub struct Feed {
    shard: usize,
    tickets: Arc<Tickets>,
    sender: Sender<Delivery>,
    bell: Bell,
    fill: Arc<Fill>,
    /// What this turn has done so far.
    open: Batch,
    /// What is not released yet, in order, and the log's position that it waits for.
    waiting: VecDeque<(u64, Delivery)>,
    /// The log's position behind what was appended last.
    position: u64,
}

impl Sink for Feed {
    fn append(&mut self, entry: &Entry) {
        match entry.part {
            Some(part) => {
                let (transaction, shard, unit) = (part.transaction, self.shard, entry.unit.for_replicas());
                let weight = unit.view().byte_len() + unit.view().len() * size_of::<Command>();
                self.wait(Fed::Part(FeedPart { transaction, shard, unit }), weight);
            }
            None if entry.unit.fed() == entry.unit.view().len() => self.open.push(entry.unit),
            None if entry.unit.fed() > 0 => self.open.push(&entry.unit.for_replicas()),
            None => {}
        }
    }
}

impl Feed {
    fn wait(&mut self, fed: Fed, weight: usize) {
        let delivery = Delivery { fed, load: Load::new(&self.fill, weight) };
        self.waiting.push_back((self.position, delivery));
    }

    /// The shard's log has this position now; to be called in front of `append`.
    pub fn log_is_at(&mut self, position: u64) {
        self.position = position;
    }

    /// A transaction takes its place: this shard is its coordinator, and is about to send the first message that gives intents back.
    pub fn place(&mut self, transaction: Number, writers: &[u16]) {
        self.open.items.push(Item::Placeholder(transaction, writers.into()));
    }

    /// The turn's units are complete, and nothing of the turn has left: draws its ticket, if it did anything.
    pub fn end_turn(&mut self) -> Option<Ticket> {
        (!self.open.is_empty()).then(|| self.draw(false))
    }

    /// At a barrier: everything that was done before has at most this ticket, and everything that will be done a larger one.
    pub fn mark(&mut self) -> Ticket {
        self.draw(true)
    }

    fn draw(&mut self, is_mark: bool) -> Ticket {
        let ticket = self.tickets.draw();
        let batch = Batch { ticket, shard: self.shard, is_mark, ..std::mem::take(&mut self.open) };
        let weight = batch.weight();
        self.wait(Fed::Batch(batch), weight);
        ticket
    }

    /// The log has released everything in front of `position`: what belongs there goes into the queue.
    pub fn release(&mut self, position: u64) {
        let mut has_any = false;
        while self.waiting.front().is_some_and(|(at, _)| *at <= position) {
            let Some((_, delivery)) = self.waiting.pop_front() else { break };
            // Without a reader nobody misses it.
            has_any |= self.sender.send(delivery).is_ok();
        }
        if has_any {
            (self.bell)();
        }
    }

    pub fn fill(&self) -> &Fill {
        &self.fill
    }
}

/// The commands of a transaction in one order, out of its parts in the order of its writers: by steps, and what every shard has as its
/// own once.
pub fn join_parts<'a>(parts: &[View<'a>]) -> Vec<(super::Place, &'a [u8])> {
    let mut joined = Vec::with_capacity(parts.iter().map(View::len).sum());
    for (part, view) in parts.iter().enumerate() {
        joined.extend(view.commands().filter(|(place, _)| part == 0 || !place.is_everywhere));
    }
    if parts.len() > 1 {
        // Those of one part are in order, and equal steps stay as they are.
        joined.sort_by_key(|(place, _)| place.step);
    }
    joined
}
