//! Takes a serialised value apart: the one place that knows what follows what in each of its types, old and new.
//!
//! A value becomes a row of [`Piece`]s for whoever asked: the builder of values in memory, or a checker that wants nothing of them.
//! Pieces are lent. Everything that can be seen from the bytes alone has been checked in a piece; duplicates, and what only
//! the pieces together tell, are for the receiver, which refuses a piece with a [`Reason`].
//!
//! A length in a payload only bounds a loop that reads at least a byte in each turn, so that the payload's own length bounds
//! time and memory.

use super::blob::stream_node::{self, id_of_bytes, Summary};
use super::blob::{Intset, Ziplist, Zipmap};
use super::error::{Error, Reason};
use super::kind::{module_name, RdbType};
use super::reader::{Reader, Text};
use crate::store::listpack::{read_redis, Item, Listpack};
use crate::store::stream::StreamId;

/// How a node of a quicklist is held.
const NODE_PLAIN: u64 = 1;
const NODE_PACKED: u64 = 2;

/// A part of a value.
#[derive(Debug)]
pub enum Piece<'a> {
    /// The whole of a string.
    String(Text<'a>),
    /// An element at the end of a list.
    ListElement(Item<'a>),
    /// A large one that had a node of its own.
    ListPlain(&'a [u8]),
    /// Elements at the end of a list. Not empty.
    ListPacked(Listpack),
    /// A set has so many members, if the payload tells the truth.
    SetLen(u64),
    SetMember(Item<'a>),
    /// The whole of a set. Not empty.
    SetPacked(Listpack),
    SetIntset(Intset<'a>),
    /// A hash has so many fields, if the payload tells the truth.
    HashLen(u64),
    HashPair(Item<'a>, Item<'a>),
    /// The whole of a hash: fields and values in turn. Not empty.
    HashPacked(Listpack),
    /// A sorted set has so many members, if the payload tells the truth.
    SortedSetLen(u64),
    /// Not NaN.
    SortedSetMember(Item<'a>, f64),
    /// The whole of a sorted set: members and scores in turn; not known to be in order. Not empty.
    SortedSetPacked(Listpack),
    /// A node of a stream, whose entries come after those of the nodes before.
    StreamNode {
        master: StreamId,
        listpack: Listpack,
    },
    /// After the last node.
    StreamState(StreamState),
    StreamGroup {
        name: &'a [u8],
        last_id: StreamId,
        entries_read: EntriesRead,
    },
    /// An entry that the last group has delivered and that is not acknowledged.
    StreamPending {
        id: StreamId,
        delivered_ms: i64,
        deliveries: u64,
    },
    /// Of the last group.
    StreamConsumer {
        name: &'a [u8],
        seen_ms: i64,
        active_ms: i64,
    },
    /// An entry that the last consumer was given; one of those of `StreamPending`.
    StreamConsumerPending {
        id: StreamId,
    },
}

/// What a stream knows of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    pub len: u64,
    pub last_id: StreamId,
    /// Zero when it is empty.
    pub first_id: StreamId,
    pub max_deleted_id: StreamId,
    pub entries_added: u64,
}

/// How many entries of a stream a group has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntriesRead {
    Known(u64),
    Unknown,
    /// The payload is too old to say.
    ToBeEstimated,
}

impl EntriesRead {
    /// From its form in a file, where -1 says that it is not known.
    fn of_number(number: u64) -> EntriesRead {
        match number as i64 {
            ..0 => EntriesRead::Unknown,
            _ => EntriesRead::Known(number),
        }
    }
}

/// Gets a value's pieces in order.
pub trait Sink {
    fn piece(&mut self, piece: Piece<'_>) -> Result<(), Reason>;
}

impl<F: FnMut(Piece<'_>) -> Result<(), Reason>> Sink for F {
    fn piece(&mut self, piece: Piece<'_>) -> Result<(), Reason> {
        self(piece)
    }
}

/// Reads one value of the type with this number, up to its last byte.
pub fn decode<S: Sink>(number: u8, reader: &mut Reader, sink: &mut S) -> Result<(), Error> {
    if RdbType::is_module(number) {
        let start = reader.position();
        let name = module_name(reader.length()?);
        return Err(Reason::Module(name).at(start));
    }
    let Some(kind) = RdbType::of_number(number) else {
        return Err(reader.error(RdbType::refusal(number)));
    };
    let mut value = Walk { reader, sink };
    match kind {
        RdbType::String => {
            let start = value.reader.position();
            let text = value.reader.string()?;
            value.give_at(start, Piece::String(text))
        }
        RdbType::List => value.list(),
        RdbType::Set => value.set(),
        RdbType::SortedSet => value.sorted_set(Reader::old_double),
        RdbType::SortedSet2 => value.sorted_set(Reader::double),
        RdbType::Hash => value.hash(),
        RdbType::HashZipmap => value.hash_zipmap(),
        RdbType::ListZiplist => value.list_ziplist().and_then(|len| value.not_empty(len)),
        RdbType::SetIntset => value.set_intset(),
        RdbType::SortedSetZiplist => value.sorted_set_ziplist(),
        RdbType::HashZiplist => value.hash_ziplist(),
        RdbType::ListQuicklist => value.quicklist(),
        RdbType::ListQuicklist2 => value.quicklist_2(),
        RdbType::SetListpack => value.packed("a set", 1, Piece::SetPacked),
        RdbType::HashListpack => value.packed("a hash", 2, Piece::HashPacked),
        RdbType::SortedSetListpack => value.packed("a sorted set", 2, Piece::SortedSetPacked),
        RdbType::Stream => value.stream(1),
        RdbType::Stream2 => value.stream(2),
        RdbType::Stream3 => value.stream(3),
    }
}

/// One value while it is read.
struct Walk<'r, 'a, S> {
    reader: &'r mut Reader<'a>,
    sink: &'r mut S,
}

impl<'a, S: Sink> Walk<'_, 'a, S> {
    /// Hands on a piece that began at `start`.
    fn give_at(&mut self, start: u64, piece: Piece<'_>) -> Result<(), Error> {
        self.sink.piece(piece).map_err(|reason| reason.at(start))
    }

    fn not_empty(&self, len: u64) -> Result<(), Error> {
        if len == 0 {
            return Err(self.reader.error(Reason::Empty));
        }
        Ok(())
    }

    /// The number of elements of a collection, which is never 0.
    fn len(&mut self) -> Result<u64, Error> {
        let len = self.reader.length()?;
        self.not_empty(len)?;
        Ok(len)
    }

    fn list(&mut self) -> Result<(), Error> {
        for _ in 0..self.len()? {
            let start = self.reader.position();
            let element = self.reader.string()?;
            self.give_at(start, Piece::ListElement(item(&element)))?;
        }
        Ok(())
    }

    fn set(&mut self) -> Result<(), Error> {
        let start = self.reader.position();
        let len = self.len()?;
        self.give_at(start, Piece::SetLen(len))?;
        for _ in 0..len {
            let start = self.reader.position();
            let member = self.reader.string()?;
            self.give_at(start, Piece::SetMember(item(&member)))?;
        }
        Ok(())
    }

    fn hash(&mut self) -> Result<(), Error> {
        let start = self.reader.position();
        let len = self.len()?;
        self.give_at(start, Piece::HashLen(len))?;
        for _ in 0..len {
            let start = self.reader.position();
            let field = self.reader.string()?;
            let value = self.reader.string()?;
            self.give_at(start, Piece::HashPair(item(&field), item(&value)))?;
        }
        Ok(())
    }

    fn sorted_set(&mut self, score: fn(&mut Reader<'a>) -> Result<f64, Error>) -> Result<(), Error> {
        let start = self.reader.position();
        let len = self.len()?;
        self.give_at(start, Piece::SortedSetLen(len))?;
        for _ in 0..len {
            let start = self.reader.position();
            let member = self.reader.string()?;
            let score = score(self.reader)?;
            if score.is_nan() {
                return Err(Reason::Corrupt("a sorted set with a score that is NaN").at(start));
            }
            self.give_at(start, Piece::SortedSetMember(item(&member), score))?;
        }
        Ok(())
    }

    /// A collection that is one listpack, of `step` items for each element.
    fn packed(
        &mut self,
        what: &'static str,
        step: usize,
        piece: fn(Listpack) -> Piece<'static>,
    ) -> Result<(), Error> {
        let start = self.reader.position();
        let listpack = listpack(&self.reader.blob()?).map_err(|reason| reason.at(start))?;
        if listpack.is_empty() {
            return Err(Reason::Empty.at(start));
        }
        if !listpack.len().is_multiple_of(step) {
            return Err(odd(what).at(start));
        }
        self.give_at(start, piece(listpack))
    }

    fn set_intset(&mut self) -> Result<(), Error> {
        let start = self.reader.position();
        let blob = self.reader.blob()?;
        let set = Intset::check(&blob).ok_or(Reason::Corrupt("an invalid intset").at(start))?;
        self.give_at(start, Piece::SetIntset(set))
    }

    fn hash_zipmap(&mut self) -> Result<(), Error> {
        let start = self.reader.position();
        let blob = self.reader.blob()?;
        let map = Zipmap::check(&blob).ok_or(Reason::Corrupt("an invalid zipmap").at(start))?;
        self.give_at(start, Piece::HashLen(map.iter().count() as u64))?;
        for (field, value) in map.iter() {
            self.give_at(start, Piece::HashPair(Item::Bytes(field), Item::Bytes(value)))?;
        }
        Ok(())
    }

    /// Returns how many elements it has.
    fn list_ziplist(&mut self) -> Result<u64, Error> {
        let start = self.reader.position();
        let blob = self.reader.blob()?;
        let list = ziplist(&blob).map_err(|reason| reason.at(start))?;
        for element in list.iter() {
            self.give_at(start, Piece::ListElement(element))?;
        }
        Ok(list.len() as u64)
    }

    fn hash_ziplist(&mut self) -> Result<(), Error> {
        let start = self.reader.position();
        let blob = self.reader.blob()?;
        let list = ziplist(&blob).map_err(|reason| reason.at(start))?;
        let pairs = pairs(&list, "a hash").map_err(|reason| reason.at(start))?;
        self.give_at(start, Piece::HashLen(list.len() as u64 / 2))?;
        for (field, value) in pairs {
            self.give_at(start, Piece::HashPair(field, value))?;
        }
        Ok(())
    }

    fn sorted_set_ziplist(&mut self) -> Result<(), Error> {
        let start = self.reader.position();
        let blob = self.reader.blob()?;
        let list = ziplist(&blob).map_err(|reason| reason.at(start))?;
        let pairs = pairs(&list, "a sorted set").map_err(|reason| reason.at(start))?;
        self.give_at(start, Piece::SortedSetLen(list.len() as u64 / 2))?;
        for (member, score) in pairs {
            let score = score_of(score).ok_or(BAD_SCORE.at(start))?;
            self.give_at(start, Piece::SortedSetMember(member, score))?;
        }
        Ok(())
    }

    fn quicklist(&mut self) -> Result<(), Error> {
        let mut len = 0;
        for _ in 0..self.len()? {
            len += self.list_ziplist()?;
        }
        self.not_empty(len)
    }

    fn quicklist_2(&mut self) -> Result<(), Error> {
        let mut is_empty = true;
        for _ in 0..self.len()? {
            let start = self.reader.position();
            let container = self.reader.length()?;
            let blob = self.reader.blob()?;
            if blob.is_empty() {
                return Err(Reason::Corrupt("an empty node of a list").at(start));
            }
            match container {
                NODE_PLAIN => {
                    is_empty = false;
                    self.give_at(start, Piece::ListPlain(&blob))?;
                }
                NODE_PACKED => {
                    let listpack = listpack(&blob).map_err(|reason| reason.at(start))?;
                    // Empty ones are passed over, as in Redis.
                    if !listpack.is_empty() {
                        is_empty = false;
                        self.give_at(start, Piece::ListPacked(listpack))?;
                    }
                }
                _ => return Err(Reason::Corrupt("an unknown kind of node of a list").at(start)),
            }
        }
        self.not_empty(u64::from(!is_empty))
    }

    fn id(&mut self) -> Result<StreamId, Error> {
        Ok(StreamId { ms: self.reader.length()?, seq: self.reader.length()? })
    }

    fn raw_id(&mut self) -> Result<StreamId, Error> {
        Ok(id_of_bytes(self.reader.array()?))
    }

    /// `version` is that of streams: 1, 2 or 3.
    fn stream(&mut self, version: u8) -> Result<(), Error> {
        let summary = self.stream_nodes()?;
        let start = self.reader.position();
        let len = self.reader.length()?;
        let last_id = self.id()?;
        let first_id = summary.first_live.unwrap_or_default();
        let mut state =
            StreamState { len, last_id, first_id, max_deleted_id: StreamId::default(), entries_added: len };
        if version >= 2 {
            // The first id again.
            self.id()?;
            state.max_deleted_id = self.id()?;
            state.entries_added = self.reader.length()?;
        }
        if len != summary.live {
            return Err(Reason::Corrupt("a stream of another length than it says").at(start));
        }
        if summary.last_live.is_some_and(|last| last > last_id) {
            return Err(Reason::Corrupt("a stream with an entry after its last id").at(start));
        }
        self.give_at(start, Piece::StreamState(state))?;
        for _ in 0..self.reader.length()? {
            self.stream_group(version)?;
        }
        Ok(())
    }

    /// Returns what all nodes have together.
    fn stream_nodes(&mut self) -> Result<Summary, Error> {
        let mut total = Summary { live: 0, first_live: None, last_live: None, last: None };
        for _ in 0..self.reader.length()? {
            let start = self.reader.position();
            let key = self.reader.blob()?;
            let Ok(key) = <[u8; 16]>::try_from(&key[..]) else {
                return Err(Reason::Corrupt("a node of a stream whose id is not 16 bytes").at(start));
            };
            let master = id_of_bytes(key);
            let start = self.reader.position();
            let listpack = listpack(&self.reader.blob()?).map_err(|reason| reason.at(start))?;
            let in_order = total.last.is_none_or(|last| last < master);
            let summary = stream_node::check(listpack.items(), master);
            let Some(summary) = summary.filter(|_| in_order) else {
                return Err(Reason::Corrupt("an invalid node of a stream").at(start));
            };
            total.live += summary.live;
            total.first_live = total.first_live.or(summary.first_live);
            total.last_live = summary.last_live.or(total.last_live);
            // The master's id keeps nodes without entries in order too.
            total.last = summary.last.or(Some(master));
            self.give_at(start, Piece::StreamNode { master, listpack })?;
        }
        Ok(total)
    }

    fn stream_group(&mut self, version: u8) -> Result<(), Error> {
        let start = self.reader.position();
        let name = self.reader.blob()?;
        let last_id = self.id()?;
        let entries_read = match version {
            1 => EntriesRead::ToBeEstimated,
            _ => EntriesRead::of_number(self.reader.length()?),
        };
        self.give_at(start, Piece::StreamGroup { name: &name, last_id, entries_read })?;
        for _ in 0..self.reader.length()? {
            let start = self.reader.position();
            let id = self.raw_id()?;
            let delivered_ms = self.reader.time_ms()?;
            let deliveries = self.reader.length()?;
            self.give_at(start, Piece::StreamPending { id, delivered_ms, deliveries })?;
        }
        for _ in 0..self.reader.length()? {
            let start = self.reader.position();
            let name = self.reader.blob()?;
            let seen_ms = self.reader.time_ms()?;
            let active_ms = if version >= 3 { self.reader.time_ms()? } else { seen_ms };
            self.give_at(start, Piece::StreamConsumer { name: &name, seen_ms, active_ms })?;
            for _ in 0..self.reader.length()? {
                let start = self.reader.position();
                let id = self.raw_id()?;
                self.give_at(start, Piece::StreamConsumerPending { id })?;
            }
        }
        Ok(())
    }
}

pub(super) const BAD_SCORE: Reason = Reason::Corrupt("a score that is no number");

fn item<'b>(text: &'b Text) -> Item<'b> {
    match text {
        Text::Int(number) => Item::Int(*number),
        Text::Bytes(bytes) => Item::Bytes(bytes),
        Text::Owned(bytes) => Item::Bytes(bytes),
    }
}

fn listpack(blob: &[u8]) -> Result<Listpack, Reason> {
    read_redis(blob).map_err(|bad| Reason::Corrupt(bad.reason))
}

fn ziplist(blob: &[u8]) -> Result<Ziplist<'_>, Reason> {
    Ziplist::check(blob).ok_or(Reason::Corrupt("an invalid ziplist"))
}

/// The pairs of a ziplist that has an even number of entries and at least two.
fn pairs<'b>(
    list: &Ziplist<'b>,
    what: &'static str,
) -> Result<impl Iterator<Item = (Item<'b>, Item<'b>)>, Reason> {
    if list.is_empty() {
        return Err(Reason::Empty);
    }
    if !list.len().is_multiple_of(2) {
        return Err(odd(what));
    }
    let mut items = list.iter();
    Ok(std::iter::from_fn(move || Some((items.next()?, items.next()?))))
}

fn odd(what: &'static str) -> Reason {
    match what {
        "a hash" => Reason::Corrupt("a hash with a field without a value"),
        _ => Reason::Corrupt("a sorted set with a member without a score"),
    }
}

/// The score that an item is or spells, NaN excepted.
pub(super) fn score_of(item: Item) -> Option<f64> {
    match item {
        Item::Int(number) => Some(number as f64),
        Item::Bytes(bytes) => {
            let score: f64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
            (!score.is_nan()).then_some(score)
        }
    }
}
