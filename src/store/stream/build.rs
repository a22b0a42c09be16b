//! Streams out of their parts, in the order in which a serialised one tells them. What contradicts itself is refused.

use std::collections::BTreeMap;

use super::group::{ConsumerNumber, Group, Pending};
use super::id::StreamId;
use super::node::Node;
use super::Stream;
use crate::store::listpack::Items;

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
}

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
    pub fn new() -> StreamBuilder {
        StreamBuilder::default()
    }

    /// A node behind all others: the ID that it is stored under, and Redis's listpack of it.
    pub fn node(&mut self, first: StreamId, items: Items) -> Result<(), Contradiction> {
        let node = Node::from_listpack(first, items).ok_or("a node that is none")?;
        let log = self.stream.log_mut();
        if log.nodes.last().is_some_and(|last| log.nodes.get(last).first_id() >= first) {
            return Err("nodes out of order");
        }
        log.push_node(node);
        Ok(())
    }

    /// Behind the last node.
    pub fn counters(&mut self, counters: Counters) -> Result<(), Contradiction> {
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
        let delivery = builder.unowned.remove(&id);
        let (delivered_ms, deliveries) =
            delivery.ok_or("an entry that is pending for a consumer but not for its group, or for two")?;
        builder.group.assign(id, Pending { consumer, delivered_ms, deliveries });
        Ok(())
    }

    pub fn finish(mut self) -> Result<Stream, Contradiction> {
        self.end_group()?;
        Ok(self.stream)
    }

    fn end_group(&mut self) -> Result<(), Contradiction> {
        let Some(builder) = self.group.take() else { return Ok(()) };
        if !builder.unowned.is_empty() {
            return Err("an entry that is pending for nobody");
        }
        if !self.stream.add_group(&builder.name, builder.group) {
            return Err("two groups of one name");
        }
        Ok(())
    }
}
