//! Streams out of their parts, in the order in which a serialised one tells them. What contradicts itself is refused, or, where that
//! is wanted, put right: then entries may come in any order, nodes may overlap, and pending entries find somebody.

use std::collections::BTreeMap;

use super::group::{ConsumerNumber, Group, Pending};
use super::id::StreamId;
use super::node::Node;
use super::Stream;
use crate::store::listpack::{Item, Items};
use crate::store::Settings;

/// What a stream remembers besides its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    pub last_id: StreamId,
    pub max_deleted_id: StreamId,
    pub entries_added: u64,
}

#[derive(Debug, Default)]
pub struct StreamBuilder {
    stream: Stream,
    group: Option<GroupBuilder>,
    mends: bool,
    /// What was put right first.
    mended: Option<Contradiction>,
    /// All entries so far, fields and values in turn, once one came that does not belong behind those before it.
    loose: Option<BTreeMap<StreamId, Vec<Vec<u8>>>>,
}

/// Who gets entries that are pending for nobody, in a group without consumers.
const ORPHANED: &[u8] = b"orphaned";

#[derive(Debug)]
struct GroupBuilder {
    name: Vec<u8>,
    group: Group,
    /// Deliveries whose consumer has not been told yet: when, and how often.
    unowned: BTreeMap<StreamId, (i64, u64)>,
    consumer: Option<ConsumerNumber>,
}

/// Why parts make no stream.
pub type Contradiction = &'static str;

impl StreamBuilder {
    /// `mends`: contradictions are put right.
    pub fn new(mends: bool) -> StreamBuilder {
        StreamBuilder { mends, ..StreamBuilder::default() }
    }

    /// There is a contradiction, which the caller puts right: an error where that is not wanted.
    fn allow(&mut self, what: Contradiction) -> Result<(), Contradiction> {
        if !self.mends {
            return Err(what);
        }
        self.mended.get_or_insert(what);
        Ok(())
    }

    /// A node behind all others: the ID that it is stored under, and Redis's listpack of it.
    pub fn node(&mut self, first: StreamId, items: Items) -> Result<(), Contradiction> {
        let node = Node::from_listpack(first, items).ok_or("a node that is none")?;
        if let Some(loose) = &mut self.loose {
            let mut alone = Stream::default();
            alone.log_mut().push_node(node);
            add_entries(loose, &alone);
            return Ok(());
        }
        let log = self.stream.log_mut();
        if log.nodes.last().is_some_and(|last| log.nodes.get(last).first_id() >= first) {
            return Err("nodes out of order");
        }
        log.push_node(node);
        Ok(())
    }

    /// An entry, fields and values in turn, that may belong anywhere. Of two with one ID the first counts.
    pub fn loose_entry(&mut self, id: StreamId, pairs: &[Item]) {
        let stream = &mut self.stream;
        let loose = self.loose.get_or_insert_with(|| {
            let mut loose = BTreeMap::new();
            add_entries(&mut loose, stream);
            *stream = Stream::default();
            loose
        });
        loose.entry(id).or_insert_with(|| pairs.iter().map(|item| item.to_vec()).collect());
    }

    /// Puts the entries into nodes, in order.
    fn settle_entries(&mut self, settings: &Settings) {
        for (id, pairs) in self.loose.take().unwrap_or_default() {
            let pairs: Vec<&[u8]> = pairs.iter().map(Vec::as_slice).collect();
            // None is larger than the listpack that it was in. An ID of 0-0 is in front of all that there may be.
            if id > self.stream.log().last_id() && self.stream.log_mut().append(id, &pairs, settings).is_err()
            {
                self.mended = self.mended.or(Some("an entry that is too large"));
            }
        }
    }

    /// Behind the last node.
    pub fn counters(&mut self, mut counters: Counters, settings: &Settings) -> Result<(), Contradiction> {
        if self.loose.is_some() {
            self.settle_entries(settings);
            counters.entries_added = counters.entries_added.max(self.stream.log().len());
            counters.last_id = counters.last_id.max(self.stream.log().last_entry_id());
        }
        let log = self.stream.log_mut();
        if !log.is_empty() && log.last_entry_id() > counters.last_id {
            return Err("an entry behind the last ID");
        }
        log.set_counters(counters.last_id, counters.max_deleted_id, counters.entries_added);
        Ok(())
    }

    /// A group; what follows is about it. `entries_read` gets the stream, to estimate the number from where nobody noted it.
    pub fn group(
        &mut self,
        name: &[u8],
        last_id: StreamId,
        entries_read: impl FnOnce(&Stream) -> Option<i64>,
    ) -> Result<(), Contradiction> {
        self.end_group()?;
        let group = Group::new(last_id, entries_read(&self.stream));
        let group = GroupBuilder { name: name.to_vec(), group, unowned: BTreeMap::new(), consumer: None };
        self.group = Some(group);
        Ok(())
    }

    /// A pending entry of the group.
    pub fn pending(&mut self, id: StreamId, delivered_ms: i64, deliveries: u64) -> Result<(), Contradiction> {
        let group = self.group.as_mut().ok_or("a pending entry without a group")?;
        match group.unowned.insert(id, (delivered_ms, deliveries)) {
            None => Ok(()),
            Some(_) => Err("an entry pending twice"),
        }
    }

    /// A consumer of the group; what follows is about it. Times are Unix times in milliseconds, `active_ms` -1: never.
    pub fn consumer(&mut self, name: &[u8], seen_ms: i64, active_ms: i64) -> Result<(), Contradiction> {
        let builder = self.group.as_mut().ok_or("a consumer without a group")?;
        let number =
            builder.group.create_consumer(name, seen_ms).ok_or("Duplicate stream consumer detected")?;
        builder.group.consumer_mut(number).active_ms = (active_ms != -1).then_some(active_ms);
        builder.consumer = Some(number);
        Ok(())
    }

    /// An entry that is pending for the consumer, one of those told by `pending`.
    pub fn consumer_pending(&mut self, id: StreamId) -> Result<(), Contradiction> {
        let builder = self.group.as_mut().ok_or("a pending entry without a group")?;
        let consumer = builder.consumer.ok_or("a pending entry without a consumer")?;
        if let Some((delivered_ms, deliveries)) = builder.unowned.remove(&id) {
            builder.group.assign(id, Pending { consumer, delivered_ms, deliveries });
            return Ok(());
        }
        match builder.group.pending(id).copied() {
            Some(pending) if pending.consumer != consumer => {
                builder.group.assign(id, Pending { consumer, ..pending });
                self.allow("an entry that is pending for two consumers")
            }
            _ => Err("an entry that is pending for a consumer but not for its group, or twice"),
        }
    }

    /// Also tells what was put right, if anything was.
    pub fn finish(mut self) -> Result<(Stream, Option<Contradiction>), Contradiction> {
        self.end_group()?;
        Ok((self.stream, self.mended))
    }

    fn end_group(&mut self) -> Result<(), Contradiction> {
        let Some(mut builder) = self.group.take() else { return Ok(()) };
        if !builder.unowned.is_empty() {
            self.allow("an entry that is pending for nobody")?;
            builder.give_unowned();
        }
        if !self.stream.add_group(&builder.name, builder.group) {
            return Err("two groups of one name");
        }
        Ok(())
    }
}

impl GroupBuilder {
    /// Gives what is pending for nobody to the first consumer.
    fn give_unowned(&mut self) {
        let first = self.group.consumers().next().map(|consumer| consumer.name().to_vec());
        let found = first.and_then(|name| self.group.find_consumer(&name));
        let latest_ms = self.unowned.values().map(|(delivered_ms, _)| *delivered_ms).max().unwrap_or(0);
        let Some(consumer) = found.or_else(|| self.group.create_consumer(ORPHANED, latest_ms)) else {
            return;
        };
        for (id, (delivered_ms, deliveries)) in std::mem::take(&mut self.unowned) {
            self.group.assign(id, Pending { consumer, delivered_ms, deliveries });
        }
    }
}

/// Adds the entries of a stream that has no groups yet; those that are there already stay.
fn add_entries(loose: &mut BTreeMap<StreamId, Vec<Vec<u8>>>, stream: &Stream) {
    for entry in stream.log().range(StreamId::MIN, StreamId::MAX) {
        let pairs = entry.fields().flat_map(|(field, value)| [field.to_vec(), value.to_vec()]);
        loose.entry(entry.id()).or_insert_with(|| pairs.collect());
    }
}
