//! For tests: makes one order out of what the feeds of all shards deliver, as the sequencer does, the plainest way.

use std::collections::{BTreeMap, HashMap};

use super::feed::{join_parts, Batch, Delivery, Fed, FeedReader, InBatch, Load};
use super::{Number, Place, Ticket, Unit, View};

/// What belongs together in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    pub ticket: Ticket,
    pub shard: usize,
    pub transaction: Option<Number>,
    pub commands: Vec<(Place, String)>,
}

pub struct Merger {
    pub reader: FeedReader,
    next: Ticket,
    batches: BTreeMap<Ticket, (Batch, Load)>,
    parts: HashMap<Number, HashMap<usize, (Unit, Load)>>,
}

fn shown(commands: Vec<(Place, &[u8])>) -> Vec<(Place, String)> {
    let words = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.split("\r\n").skip(2).step_by(2).collect::<Vec<_>>().join(" ").trim_end().to_owned()
    };
    commands.into_iter().map(|(place, bytes)| (place, words(bytes))).collect()
}

impl Merger {
    pub fn new(reader: FeedReader) -> Merger {
        Merger { next: reader.first, reader, batches: BTreeMap::new(), parts: HashMap::new() }
    }

    /// What can be emitted by now.
    pub fn emit(&mut self) -> Vec<Emitted> {
        while let Some(Delivery { fed, load }) = self.reader.next() {
            match fed {
                Fed::Batch(batch) => {
                    assert!(batch.ticket >= self.next, "a ticket of before");
                    assert!(self.batches.insert(batch.ticket, (batch, load)).is_none(), "a ticket twice");
                }
                Fed::Part(part) => {
                    let parts = self.parts.entry(part.transaction).or_default();
                    assert!(parts.insert(part.shard, (part.unit, load)).is_none(), "a part twice");
                }
            }
        }
        let mut emitted = Vec::new();
        while self.batches.get(&self.next).is_some_and(|(batch, _)| self.is_complete(batch)) {
            let (batch, _load) = self.batches.remove(&self.next).unwrap();
            self.next += 1;
            for entry in batch.entries() {
                let (ticket, shard) = (batch.ticket, batch.shard);
                let (transaction, commands) = match entry {
                    InBatch::Unit(view) => (None, shown(view.commands().collect())),
                    InBatch::Placeholder { transaction, writers } => {
                        let mut parts = self.parts.remove(&transaction).unwrap();
                        let units: Vec<_> =
                            writers.iter().map(|shard| parts.remove(&(*shard as usize)).unwrap()).collect();
                        assert!(parts.is_empty(), "a part of a shard that is no writer");
                        let views: Vec<View> = units.iter().map(|(unit, _)| unit.view()).collect();
                        (Some(transaction), shown(join_parts(&views)))
                    }
                };
                emitted.push(Emitted { ticket, shard, transaction, commands });
            }
        }
        emitted
    }

    fn is_complete(&self, batch: &Batch) -> bool {
        batch.entries().all(|entry| match entry {
            InBatch::Unit(_) => true,
            InBatch::Placeholder { transaction, writers } => {
                let parts = self.parts.get(&transaction);
                writers.iter().all(|shard| parts.is_some_and(|p| p.contains_key(&(*shard as usize))))
            }
        })
    }

    /// Nothing waits for something that has not come.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.parts.is_empty()
    }
}
