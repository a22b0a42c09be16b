//! Takes a serialised value apart: the one place that knows what follows what in each of its types, old and new.
//!
//! A value becomes a row of [`Piece`]s for whoever asked: the builder of values in memory, or a checker that wants nothing of them.
//! Pieces are lent. Everything that can be seen from the bytes alone has been checked in a piece; duplicates, and what only
//! the pieces together tell, are for the receiver, which refuses a piece with a [`Reason`]. What contradicts itself is refused, or put
//! right and told as such (`mend`).
//!
//! A length in a payload only bounds a loop that reads at least a byte in each turn, so that the payload's own length bounds
//! time and memory.

mod newer;

pub(super) use newer::PRODUCERS;

use super::blob::stream_node::{self, id_of_bytes};
use super::blob::{Intset, Ziplist, Zipmap};
use super::error::{Error, Reason};
use super::kind::{module_name, RdbType};
use super::mend::{leading_number, Mending};
use super::reader::{OldDouble, Reader, Text};
use crate::store::listpack::{read_redis, read_redis_leniently, Item, Listpack};
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
    /// An entry of a node that contradicts itself or others: fields and values in turn. It may belong in front of others, or be one of
    /// them.
    StreamEntry {
        id: StreamId,
        pairs: &'a [Item<'a>],
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
pub fn decode<S: Sink>(
    number: u8,
    reader: &mut Reader,
    mending: &mut Mending,
    sink: &mut S,
) -> Result<(), Error> {
    if RdbType::is_module(number) {
        let start = reader.position();
        let name = module_name(reader.length()?);
        return Err(Reason::Module(name).at(start));
    }
    let Some(kind) = RdbType::of_number(number) else {
        return Err(reader.error(RdbType::refusal(number)));
    };
    let mut value = Walk { reader, mending, sink };
    match kind {
        RdbType::String => {
            let start = value.reader.position();
            let text = value.reader.string()?;
            value.give_at(start, Piece::String(text))
        }
        RdbType::List => value.list(),
        RdbType::Set => value.set(),
        RdbType::SortedSet => value.sorted_set(old_score),
        RdbType::SortedSet2 => value.sorted_set(|reader, _| reader.double()),
        RdbType::Hash => value.hash(),
        RdbType::HashZipmap => value.hash_zipmap(),
        RdbType::ListZiplist => value.list_ziplist().and_then(|len| value.not_empty(len)),
        RdbType::SetIntset => value.set_intset(),
        RdbType::SortedSetZiplist => value.pairs_ziplist("a sorted set", Piece::SortedSetPacked),
        RdbType::HashZiplist => value.pairs_ziplist("a hash", Piece::HashPacked),
        RdbType::ListQuicklist => value.quicklist(),
        RdbType::ListQuicklist2 => value.quicklist_2(),
        RdbType::SetListpack => value.packed("a set", 1, Piece::SetPacked),
        RdbType::HashListpack => value.packed("a hash", 2, Piece::HashPacked),
        RdbType::SortedSetListpack => value.packed("a sorted set", 2, Piece::SortedSetPacked),
        RdbType::Stream => value.stream(1),
        RdbType::Stream2 => value.stream(2),
        RdbType::Stream3 => value.stream(3),
        RdbType::Stream4 => value.stream(4),
        RdbType::Stream5 => value.stream(5),
        RdbType::HashTimesBefore => value.hash_with_times(),
        RdbType::HashTimes => {
            value.reader.time_ms()?;
            value.hash_with_times()
        }
        RdbType::HashTimesListpackBefore => value.hash_listpack_with_times(),
        RdbType::HashTimesListpack => {
            value.reader.time_ms()?;
            value.hash_listpack_with_times()
        }
        RdbType::ValkeyHash => value.valkey_hash(),
    }
}

/// What the nodes of a stream have together.
#[derive(Default)]
struct Nodes {
    live: u64,
    first_live: Option<StreamId>,
    last_live: Option<StreamId>,
    /// The last entry, deleted or not, or the last node; `None` without nodes.
    last: Option<StreamId>,
    /// Entries came one by one, so that `live` and `first_live` are not known here.
    is_loose: bool,
}

/// One value while it is read.
struct Walk<'r, 'a, S> {
    reader: &'r mut Reader<'a>,
    mending: &'r mut Mending,
    sink: &'r mut S,
}

impl<'a, S: Sink> Walk<'_, 'a, S> {
    /// Hands on a piece that began at `start`.
    fn give_at(&mut self, start: u64, piece: Piece<'_>) -> Result<(), Error> {
        self.sink.piece(piece).map_err(|reason| reason.at(start))
    }

    fn allow_at(&mut self, start: u64, what: &'static str) -> Result<(), Error> {
        self.mending.allow(what).map_err(|reason| reason.at(start))
    }

    /// A listpack that began at `start`.
    fn listpack(&mut self, start: u64, blob: &[u8]) -> Result<Listpack, Error> {
        let corrupt = |what: &'static str| Reason::Corrupt(what).at(start);
        if !self.mending.is_on() {
            return read_redis(blob).map_err(|bad| corrupt(bad.reason));
        }
        let (listpack, bad) = read_redis_leniently(blob).map_err(|bad| corrupt(bad.reason))?;
        if let Some(what) = bad {
            self.mending.note(what);
        }
        Ok(listpack)
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

    fn sorted_set(
        &mut self,
        score: fn(&mut Reader<'a>, &mut Mending) -> Result<f64, Error>,
    ) -> Result<(), Error> {
        let start = self.reader.position();
        let len = self.len()?;
        self.give_at(start, Piece::SortedSetLen(len))?;
        for _ in 0..len {
            let start = self.reader.position();
            let member = self.reader.string()?;
            let score = score(self.reader, self.mending)?;
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
        let blob = self.reader.blob()?;
        let mut listpack = self.listpack(start, &blob)?;
        let extra = listpack.len() % step;
        if extra > 0 && !listpack.is_empty() {
            self.allow_at(start, odd(what))?;
            if let Some(last) = listpack.items().last() {
                listpack.remove(last, extra);
            }
        }
        if listpack.is_empty() {
            return Err(Reason::Empty.at(start));
        }
        self.give_at(start, piece(listpack))
    }

    fn set_intset(&mut self) -> Result<(), Error> {
        let start = self.reader.position();
        let blob = self.reader.blob()?;
        let set = Intset::check(&blob).ok_or(Reason::Corrupt("an invalid intset").at(start))?;
        if set.ascends() {
            return self.give_at(start, Piece::SetIntset(set));
        }
        self.allow_at(start, "integers of a set out of order")?;
        let mut numbers: Vec<i64> = set.iter().collect();
        numbers.sort_unstable();
        numbers.dedup();
        self.give_at(start, Piece::SetLen(numbers.len() as u64))?;
        for number in numbers {
            self.give_at(start, Piece::SetMember(Item::Int(number)))?;
        }
        Ok(())
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

    /// A hash or a sorted set of pairs in a ziplist. As Redis does, it is taken over as a listpack of the same elements: a score keeps
    /// its text (`-0`).
    fn pairs_ziplist(
        &mut self,
        what: &'static str,
        piece: fn(Listpack) -> Piece<'static>,
    ) -> Result<(), Error> {
        let start = self.reader.position();
        let blob = self.reader.blob()?;
        let list = ziplist(&blob).map_err(|reason| reason.at(start))?;
        if list.is_empty() {
            return Err(Reason::Empty.at(start));
        }
        if !list.len().is_multiple_of(2) {
            return Err(Reason::Corrupt(odd(what)).at(start));
        }
        let mut listpack = Listpack::new();
        let mut digits = itoa::Buffer::new();
        for item in list.iter() {
            listpack.push_back(item.bytes(&mut digits));
        }
        self.give_at(start, piece(listpack))
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
                    let listpack = self.listpack(start, &blob)?;
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

    /// `version` is that of streams: 1 to 5.
    fn stream(&mut self, version: u8) -> Result<(), Error> {
        let summary = self.stream_nodes()?;
        let start = self.reader.position();
        let len = self.reader.length()?;
        let last_id = self.id()?;
        let first_id = summary.first_live.unwrap_or_default();
        let mut state = StreamState {
            len: summary.live,
            last_id,
            first_id,
            max_deleted_id: StreamId::default(),
            entries_added: len,
        };
        if version >= 2 {
            // The first id again.
            self.id()?;
            state.max_deleted_id = self.id()?;
            state.entries_added = self.reader.length()?;
        }
        if len > 0 && summary.last.is_none() {
            return Err(Reason::Corrupt("a stream of entries without a node").at(start));
        }
        // How many entries there are in nodes that contradict each other, the receiver knows.
        if len != summary.live && !summary.is_loose {
            self.allow_at(start, "a stream of another length than it says")?;
            if version == 1 {
                state.entries_added = summary.live;
            }
        }
        if summary.last_live.is_some_and(|last| last > last_id) {
            self.allow_at(start, "a stream with an entry after its last id")?;
            state.last_id = summary.last_live.unwrap_or(last_id);
        }
        if self.mending.is_on() {
            if state.entries_added < state.len && !summary.is_loose {
                self.mending.note("a stream with more entries than were ever added");
                state.entries_added = state.len;
            }
            if state.max_deleted_id > state.last_id {
                self.mending.note("a stream with a deleted entry after its last id");
                state.max_deleted_id = state.last_id;
            }
        }
        self.give_at(start, Piece::StreamState(state))?;
        for _ in 0..self.reader.length()? {
            self.stream_group(version)?;
        }
        if version >= 4 {
            self.no_producers()?;
        }
        Ok(())
    }

    /// Returns what all nodes have together.
    fn stream_nodes(&mut self) -> Result<Nodes, Error> {
        let mut total = Nodes::default();
        for _ in 0..self.reader.length()? {
            let start = self.reader.position();
            let key = self.reader.blob()?;
            let Ok(key) = <[u8; 16]>::try_from(&key[..]) else {
                return Err(Reason::Corrupt("a node of a stream whose id is not 16 bytes").at(start));
            };
            let master = id_of_bytes(key);
            let start = self.reader.position();
            let blob = self.reader.blob()?;
            let listpack = self.listpack(start, &blob)?;
            if listpack.is_empty() {
                return Err(Reason::Corrupt("an empty node of a stream").at(start));
            }
            let in_order = total.last.is_none_or(|last| last < master);
            match stream_node::check(listpack.items(), master).filter(|_| in_order) {
                Some(summary) => {
                    total.live += summary.live;
                    total.first_live = total.first_live.or(summary.first_live);
                    total.last_live = total.last_live.max(summary.last_live);
                    // The master's id keeps nodes without entries in order too.
                    total.last = summary.last.or(Some(master));
                    self.give_at(start, Piece::StreamNode { master, listpack })?;
                }
                None => {
                    self.allow_at(start, "an invalid node of a stream")?;
                    total.is_loose = true;
                    total.last = total.last.max(Some(master));
                    let sink = &mut *self.sink;
                    let given = stream_node::for_each_entry(listpack.items(), master, |id, pairs| {
                        total.last_live = total.last_live.max(Some(id));
                        total.last = total.last.max(Some(id));
                        sink.piece(Piece::StreamEntry { id, pairs })
                    });
                    given.map_err(|reason| reason.at(start))?;
                }
            }
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
        if version >= 5 {
            self.nothing_given_back()?;
        }
        Ok(())
    }
}

/// A score as text.
fn old_score(reader: &mut Reader, mending: &mut Mending) -> Result<f64, Error> {
    let start = reader.position();
    match reader.old_double()? {
        OldDouble::Number(number) => Ok(number),
        OldDouble::Text(text) => {
            let what = "a score that is no number";
            let number = leading_number(text).ok_or(Reason::Corrupt(what).at(start))?;
            mending.allow(what).map_err(|reason| reason.at(start))?;
            Ok(number)
        }
    }
}

fn item<'b>(text: &'b Text) -> Item<'b> {
    match text {
        Text::Int(number) => Item::Int(*number),
        Text::Bytes(bytes) => Item::Bytes(bytes),
        Text::Owned(bytes) => Item::Bytes(bytes),
    }
}

fn ziplist(blob: &[u8]) -> Result<Ziplist<'_>, Reason> {
    Ziplist::check(blob).ok_or(Reason::Corrupt("an invalid ziplist"))
}

fn odd(what: &'static str) -> &'static str {
    match what {
        "a hash" => "a hash with a field without a value",
        _ => "a sorted set with a member without a score",
    }
}

/// The score that an item is or spells, NaN excepted; `None` when the value is refused for it or put right by `mended_score_of`.
pub(super) fn score_of(item: Item) -> Option<f64> {
    match item {
        Item::Int(number) => Some(number as f64),
        Item::Bytes(bytes) => {
            let score: f64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
            (!score.is_nan()).then_some(score)
        }
    }
}

/// As `score_of`; what is none is put right.
pub(super) fn mended_score_of(item: Item, mending: &mut Mending) -> Result<f64, Reason> {
    match (score_of(item), item) {
        (Some(score), _) => Ok(score),
        (None, item) => {
            mending.allow("a score that is no number")?;
            Ok(leading_number(item.bytes(&mut itoa::Buffer::new())).unwrap_or(0.0))
        }
    }
}
