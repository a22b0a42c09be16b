//! Parts of streams that answer for the whole: lent to a command whose streams are on several shards, which need not copy more
//! than it replies with. They are for reading only.

use super::group::{Group, Pending};
use super::id::StreamId;
use super::log::EntryLog;
use super::nodes::Nodes;
use super::Stream;
use crate::store::Collection;

impl EntryLog {
    /// This log, of whose entries only `count` from `start` on are sure to be there.
    fn excerpt(&self, start: StreamId, count: usize) -> EntryLog {
        let mut nodes = Nodes::default();
        let mut missing = count as u64;
        let mut place = self.nodes.seek(start).or_else(|| self.nodes.first());
        let mut is_first = true;
        while let Some(at) = place.filter(|_| missing > 0) {
            let node = self.nodes.get(at);
            // Of the first node nobody knows how many come before.
            if !is_first {
                missing = missing.saturating_sub(node.live());
            }
            is_first = false;
            nodes.push(node.clone());
            place = self.nodes.after(at);
        }
        self.with_nodes(nodes)
    }

    /// As `excerpt`, with the nodes of these entries, which are in order.
    fn excerpt_of(&self, ids: impl Iterator<Item = StreamId>) -> EntryLog {
        let mut nodes = Nodes::default();
        let mut last = None;
        for place in ids.filter_map(|id| self.nodes.seek(id)) {
            if last.replace(place) != Some(place) {
                nodes.push(self.nodes.get(place).clone());
            }
        }
        self.with_nodes(nodes)
    }
}

impl Stream {
    /// What XREAD needs to reply with `count` entries from `start` on; `None`: with none.
    pub fn excerpt(&self, start: Option<StreamId>, count: usize) -> Stream {
        let mut excerpt = Stream::empty();
        let none = (StreamId::MAX, 0);
        let (start, count) = start.map_or(none, |start| (start, count));
        *excerpt.log_mut() = self.log().excerpt(start, count);
        excerpt
    }

    /// What XREADGROUP needs to reply with `count` entries that are new to the group, or that are pending for the
    /// consumer from `history` on.
    pub fn excerpt_for_group(
        &self,
        name: &[u8],
        consumer: &[u8],
        history: Option<StreamId>,
        count: usize,
    ) -> Stream {
        let Some(group) = self.group(name) else { return self.excerpt(None, 0) };
        let mut copied = Group::new(group.last_id, group.entries_read);
        let mut excerpt = match history {
            None => self.excerpt(group.last_id.next(), count),
            Some(_) => self.excerpt(None, 0),
        };
        if let (Some(start), Some(number)) = (history, group.find_consumer(consumer)) {
            let number_lent = copied.create_consumer(consumer, 0).expect("it is the first");
            let ids = || group.consumer(number).pending_from(start).take(count);
            for id in ids() {
                copied.assign(id, Pending { consumer: number_lent, delivered_ms: 0, deliveries: 0 });
            }
            *excerpt.log_mut() = self.log().excerpt_of(ids());
        }
        excerpt.add_group(name, copied);
        excerpt
    }
}
