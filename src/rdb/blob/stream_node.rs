//! The nodes of a stream: listpacks of entries whose ids and fields are told as differences from the node's first.
//!
//! ```text
//! node  | live entries | deleted entries | fields | field ... | 0 | entry ...
//! entry | flags | ms | seq | fields and values, or values alone when the fields are the node's | items of the entry
//! ```
//!
//! (Redis's t_stream.c describes it where entries are appended.)

use crate::rdb::error::Reason;
use crate::store::listpack::{Item, Items, Iter};
use crate::store::stream::StreamId;

/// The entry has been deleted.
const DELETED: i64 = 1;
/// It has the fields of the node.
const SAME_FIELDS: i64 = 2;
/// Items of an entry besides fields and values: flags, both parts of the id; and the number of fields when it has its own.
const ITEMS_OF_ENTRY: i64 = 3;

/// An id from its form in a file: both parts big-endian.
pub fn id_of_bytes(bytes: [u8; 16]) -> StreamId {
    let number = u128::from_be_bytes(bytes);
    StreamId::new((number >> 64) as u64, number as u64)
}

/// The inverse.
pub fn id_bytes(id: StreamId) -> [u8; 16] {
    ((id.ms as u128) << 64 | id.seq as u128).to_be_bytes()
}

/// What a walk over a node finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Entries that have not been deleted.
    pub live: u64,
    /// The first of them.
    pub first_live: Option<StreamId>,
    pub last_live: Option<StreamId>,
    /// The last entry, deleted or not.
    pub last: Option<StreamId>,
}

/// Walks over a node whose listpack has been checked. `None` unless everything in it is as it must be: among others its ids
/// ascend, from `master` on.
pub fn check(items: Items, master: StreamId) -> Option<Summary> {
    let mut items = Cursor(items.iter());
    let live = items.count()?;
    let deleted = items.count()?;
    let fields = items.count()?;
    items.skip(fields)?;
    if items.integer()? != 0 {
        return None;
    }
    let mut summary = Summary { live: 0, first_live: None, last_live: None, last: None };
    let mut found_deleted = 0;
    while let Some(first) = items.0.next() {
        let flags = first.integer()?;
        // Differences count modulo 2^64: an id with a smaller sequence number than the node's has a negative one.
        let id = StreamId {
            ms: master.ms.wrapping_add(items.integer()? as u64),
            seq: master.seq.wrapping_add(items.integer()? as u64),
        };
        if id < master || summary.last.is_some_and(|last| id <= last) {
            return None;
        }
        summary.last = Some(id);
        let mut len = ITEMS_OF_ENTRY;
        if flags & SAME_FIELDS != 0 {
            items.skip(fields)?;
            len += fields as i64;
        } else {
            let fields = items.count()?;
            items.skip(fields.checked_mul(2)?)?;
            len += fields as i64 * 2 + 1;
        }
        if items.integer()? != len {
            return None;
        }
        if flags & DELETED != 0 {
            found_deleted += 1;
        } else {
            summary.live += 1;
            summary.first_live = summary.first_live.or(Some(id));
            summary.last_live = Some(id);
        }
    }
    (summary.live == live && found_deleted == deleted).then_some(summary)
}

/// Calls `each` with the entries of a node that have not been deleted, as far as the node can be read: ID, fields and values in turn.
/// Whatever the node says of itself is not looked at, but for its fields. Returns whether it could be read to its end.
pub fn for_each_entry(
    items: Items,
    master: StreamId,
    mut each: impl FnMut(StreamId, &[Item]) -> Result<(), Reason>,
) -> Result<bool, Reason> {
    let mut items = Cursor(items.iter());
    let Some(fields) = items.fields() else { return Ok(false) };
    let mut pairs = Vec::new();
    while let Some(first) = items.0.next() {
        match items.entry(first, master, &fields, &mut pairs) {
            None => return Ok(false),
            Some((flags, _)) if flags & DELETED != 0 => {}
            Some((_, id)) => each(id, &pairs)?,
        }
    }
    Ok(true)
}

struct Cursor<'a>(Iter<'a>);

impl<'a> Cursor<'a> {
    fn integer(&mut self) -> Option<i64> {
        self.0.next()?.integer()
    }

    /// What stands in front of the entries: the node's fields, with two counts before them and a zero behind.
    fn fields(&mut self) -> Option<Vec<Item<'a>>> {
        self.0.next()?;
        self.0.next()?;
        let count = self.count()?;
        // Bounded by the items that there are.
        let fields: Option<Vec<Item>> = (0..count).map(|_| self.0.next()).collect();
        self.0.next()?;
        fields
    }

    /// The entry that begins with the item `first`: flags and ID; fields and values go into `pairs`.
    fn entry(
        &mut self,
        first: Item<'a>,
        master: StreamId,
        fields: &[Item<'a>],
        pairs: &mut Vec<Item<'a>>,
    ) -> Option<(i64, StreamId)> {
        pairs.clear();
        let flags = first.integer()?;
        let id = StreamId {
            ms: master.ms.wrapping_add(self.integer()? as u64),
            seq: master.seq.wrapping_add(self.integer()? as u64),
        };
        if flags & SAME_FIELDS != 0 {
            for field in fields {
                pairs.extend([*field, self.0.next()?]);
            }
        } else {
            for _ in 0..self.count()? {
                pairs.extend([self.0.next()?, self.0.next()?]);
            }
        }
        // How many items the entry has, which there is no use for here.
        self.0.next()?;
        Some((flags, id))
    }

    fn count(&mut self) -> Option<u64> {
        u64::try_from(self.integer()?).ok()
    }

    /// Bounded by the items that there are, whatever `count` says.
    fn skip(&mut self, count: u64) -> Option<()> {
        for _ in 0..count {
            self.0.next()?;
        }
        Some(())
    }
}
