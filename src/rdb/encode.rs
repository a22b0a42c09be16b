//! Writes values as Redis does: the same type for each encoding, the same order of parts.
//!
//! What each type needs to be written is asked of its view in `store`; small collections are written as they lie in memory.

mod pieces;

pub use pieces::Pieces;

use super::blob::stream_node::id_bytes;
use super::kind::RdbType;
use super::output::{put_double, put_length, put_time_ms, Compression, Output, Writer};
use crate::store::listpack::{write_redis, Item, Items};
use crate::store::stream::{Consumer, Group, Node, Pending, Stream, StreamId};
use crate::store::{HashView, Integers, ListView, NodeItems, SetView, SortedSetView, Value};

/// How a node of a list is held.
const NODE_PLAIN: u64 = 1;
const NODE_PACKED: u64 = 2;

/// The version of the format to write (`rdb-version`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// Redis 7.0's, for moving back: no listpacks of sets, no times at which consumers were active.
    V10,
    /// Redis 7.2's.
    #[default]
    V11,
}

impl Version {
    pub fn number(self) -> u16 {
        match self {
            Version::V10 => 10,
            Version::V11 => 11,
        }
    }

    /// As a file's signature has it.
    pub fn digits(self) -> [u8; 4] {
        match self {
            Version::V10 => *b"0010",
            Version::V11 => *b"0011",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub version: Version,
    pub compression: Compression,
}

impl Default for Format {
    fn default() -> Format {
        Format { version: Version::default(), compression: Compression::Lzf }
    }
}

/// Writes values; to be kept from one to the next, because its buffers are.
#[derive(Debug)]
pub struct Encoder {
    version: Version,
    writer: Writer,
    /// A listpack or intset with its header.
    blob: Vec<u8>,
}

impl Encoder {
    pub fn new(format: Format) -> Encoder {
        Encoder { version: format.version, writer: Writer::new(format.compression), blob: Vec::new() }
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// See [`Writer::limit_compression`].
    pub fn limit_compression(&mut self, len_max: usize) {
        self.writer.limit_compression(len_max);
    }

    /// The type that a value is written as, which is to be told in front of it.
    pub fn kind(&self, value: &Value) -> RdbType {
        match value {
            Value::Int(_) | Value::Bytes(_) | Value::Shared(_) => RdbType::String,
            Value::List(_) => RdbType::ListQuicklist2,
            Value::Set(SetView::Integers(_)) => RdbType::SetIntset,
            Value::Set(SetView::Packed(_)) if self.version != Version::V10 => RdbType::SetListpack,
            Value::Set(_) => RdbType::Set,
            Value::Hash(HashView::Packed(_)) => RdbType::HashListpack,
            Value::Hash(_) => RdbType::Hash,
            Value::SortedSet(SortedSetView::Packed(_)) => RdbType::SortedSetListpack,
            Value::SortedSet(_) => RdbType::SortedSet2,
            Value::Stream(_) if self.version == Version::V10 => RdbType::Stream2,
            Value::Stream(_) => RdbType::Stream3,
        }
    }

    /// Writes a string that is no value: a key, a name.
    pub fn string(&mut self, bytes: &[u8], output: &mut impl Output) {
        self.writer.string(output, bytes);
    }

    /// Writes a value, without its type.
    pub fn value(&mut self, value: &Value, output: &mut impl Output) {
        match value {
            Value::Int(number) => self.writer.integer(output, *number),
            Value::Bytes(bytes) => self.writer.string(output, bytes),
            Value::Shared(bytes) => self.writer.string(output, bytes),
            Value::List(list) => self.list(*list, output),
            Value::Set(set) => self.set(*set, output),
            Value::Hash(hash) => self.hash(*hash, output),
            Value::SortedSet(sorted_set) => self.sorted_set(*sorted_set, output),
            Value::Stream(stream) => self.stream(stream, output),
        }
    }

    fn list(&mut self, list: ListView, output: &mut impl Output) {
        put_length(output, list.nodes() as u64);
        list.visit_nodes(|node| self.list_node(node, output));
    }

    fn list_node(&mut self, node: NodeItems, output: &mut impl Output) {
        match node {
            NodeItems::Packed(items) => {
                put_length(output, NODE_PACKED);
                self.listpack(items, output);
            }
            NodeItems::Plain(element) => {
                put_length(output, NODE_PLAIN);
                self.writer.string(output, element);
            }
        }
    }

    fn set(&mut self, set: SetView, output: &mut impl Output) {
        match set {
            SetView::Integers(integers) => self.intset(integers, output),
            SetView::Packed(items) if self.version != Version::V10 => self.listpack(items, output),
            _ => {
                put_length(output, set.len() as u64);
                for member in set.iter() {
                    self.item(member, output);
                }
            }
        }
    }

    fn hash(&mut self, hash: HashView, output: &mut impl Output) {
        if let HashView::Packed(items) = hash {
            return self.listpack(items, output);
        }
        put_length(output, hash.len() as u64);
        for (field, value) in hash.iter() {
            self.item(field, output);
            self.item(value, output);
        }
    }

    fn sorted_set(&mut self, sorted_set: SortedSetView, output: &mut impl Output) {
        if let SortedSetView::Packed(items) = sorted_set {
            return self.listpack(items, output);
        }
        let len = sorted_set.len();
        put_length(output, len as u64);
        // The last first, as in Redis, which then loads it faster.
        for (member, score) in sorted_set.elements(0..len, true) {
            self.item(member, output);
            put_double(output, score);
        }
    }

    fn item(&mut self, item: Item, output: &mut impl Output) {
        match item {
            Item::Int(number) => self.writer.integer(output, number),
            Item::Bytes(bytes) => self.writer.string(output, bytes),
        }
    }

    fn listpack(&mut self, items: Items, output: &mut impl Output) {
        self.blob.clear();
        write_redis(items, &mut self.blob);
        self.writer.string(output, &self.blob);
    }

    fn intset(&mut self, integers: Integers, output: &mut impl Output) {
        self.blob.clear();
        // In memory the width is in front, too, in half as many bytes.
        let (width, numbers) = integers.as_bytes().split_at(2);
        self.blob.extend_from_slice(width);
        self.blob.extend_from_slice(&[0, 0]);
        self.blob.extend_from_slice(&(integers.len() as u32).to_le_bytes());
        self.blob.extend_from_slice(numbers);
        self.writer.string(output, &self.blob);
    }

    fn stream(&mut self, stream: &Stream, output: &mut impl Output) {
        put_length(output, stream.log().node_count() as u64);
        for node in stream.log().nodes() {
            self.stream_node(node, output);
        }
        self.stream_counters(stream, output);
        for (name, group) in stream.groups() {
            self.group_head(name, group, output);
            for pending in group.pending_range(StreamId::MIN..=StreamId::MAX) {
                put_pending(output, pending);
            }
            put_length(output, group.consumer_count() as u64);
            for consumer in group.consumers() {
                self.consumer_head(consumer, output);
                for id in consumer.pending_from(StreamId::MIN) {
                    output.put(&id_bytes(id));
                }
            }
        }
    }

    fn stream_node(&mut self, node: &Node, output: &mut impl Output) {
        self.writer.string(output, &id_bytes(node.first_id()));
        self.blob.clear();
        node.write_listpack(&mut self.blob);
        self.writer.string(output, &self.blob);
    }

    /// What stands between the nodes and the groups, whose number is the last of it.
    fn stream_counters(&mut self, stream: &Stream, output: &mut impl Output) {
        let log = stream.log();
        put_length(output, log.len());
        put_id(output, log.last_id());
        put_id(output, log.first_id());
        put_id(output, log.max_deleted_id());
        put_length(output, log.entries_added());
        put_length(output, stream.groups().len() as u64);
    }

    /// What stands in front of the pending entries of a group, whose number is the last of it.
    fn group_head(&mut self, name: &[u8], group: &Group, output: &mut impl Output) {
        self.writer.string(output, name);
        put_id(output, group.last_id);
        put_length(output, group.entries_read.unwrap_or(UNKNOWN) as u64);
        put_length(output, group.pending_len() as u64);
    }

    /// The same of a consumer.
    fn consumer_head(&mut self, consumer: &Consumer, output: &mut impl Output) {
        self.writer.string(output, consumer.name());
        put_time_ms(output, consumer.seen_ms);
        if self.version != Version::V10 {
            put_time_ms(output, consumer.active_ms.unwrap_or(UNKNOWN));
        }
        put_length(output, consumer.pending_len() as u64);
    }
}

fn put_pending(output: &mut impl Output, (id, pending): (StreamId, &Pending)) {
    output.put(&id_bytes(id));
    put_time_ms(output, pending.delivered_ms);
    put_length(output, pending.deliveries);
}

/// Entries read that are not known, and the time of what never was.
const UNKNOWN: i64 = -1;

fn put_id(output: &mut impl Output, id: StreamId) {
    put_length(output, id.ms);
    put_length(output, id.seq);
}
