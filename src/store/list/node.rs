//! A node of a large list: elements packed together, one large element, or packed elements compressed.

use std::cell::RefCell;

use super::pack::Pack;
use crate::store::listpack::{Items, Listpack, Needle};
use crate::store::lzf::{self, Compressor};
use crate::store::memory::block_size;

/// How much longer a listpack is in Redis, whose sizes the limits are about: what is left of its header and its terminator.
const REDIS_MORE_BYTES: usize = 5;
/// What Redis reckons that an element adds to its own length.
const ELEMENT_OVERHEAD_BYTES: usize = 8;
/// The classes of `list-max-listpack-size`, bytes.
const SIZE_CLASSES: [usize; 5] = [4096, 8192, 16_384, 32_768, 65_536];
/// The largest listpack of a limit that counts elements, bytes.
const SIZE_MAX_WHEN_COUNTED: usize = 8192;
/// A listpack may become so large by LSET, whatever the limit is, bytes. In Redis there is no bound, and each LSET in such
/// a node moves all that is behind the element.
const REPLACED_BYTES_MAX: usize = 256 << 10;
/// Shorter ones are not compressed, bytes.
const COMPRESSED_FROM_BYTES: usize = 48;
/// Bytes that compressing has to save.
const SAVED_BYTES_MIN: usize = 8;

/// `list-max-listpack-size`: elements when positive, a class of sizes when negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit(pub i32);

impl Limit {
    /// Bytes and elements; only one of the two bounds.
    fn parts(self) -> (usize, usize) {
        if self.0 < 0 {
            let class = (self.0.unsigned_abs() as usize - 1).min(SIZE_CLASSES.len() - 1);
            (SIZE_CLASSES[class], usize::MAX)
        } else {
            (usize::MAX, (self.0 as usize).max(1))
        }
    }

    fn is_exceeded(self, redis_bytes: usize, count: usize) -> bool {
        let (bytes_max, count_max) = self.parts();
        redis_bytes > bytes_max.min(if self.0 < 0 { usize::MAX } else { SIZE_MAX_WHEN_COUNTED })
            || count > count_max
    }

    /// Whether a listpack becomes too large when `count` elements of `bytes` altogether are added.
    pub fn is_exceeded_by(self, pack: &Pack, bytes: usize, count: usize) -> bool {
        self.is_exceeded(pack.size_bytes() + REDIS_MORE_BYTES + bytes, pack.count() + count)
    }

    /// Whether so much fits into a listpack; half of it, where a list that shrinks is asked about.
    pub fn holds(self, bytes: usize, count: usize, half: bool) -> bool {
        let (mut bytes_max, mut count_max) = self.parts();
        if half {
            (bytes_max, count_max) = (bytes_max / 2, count_max / 2);
        }
        bytes + REDIS_MORE_BYTES <= bytes_max && count <= count_max
    }

    /// Whether an element is so long that it gets a node of its own.
    fn is_exceeded_by_element(self, len: usize) -> bool {
        self.is_exceeded(len + ELEMENT_OVERHEAD_BYTES, 1)
    }
}

/// What a large list was made with; later changes of the configuration leave it alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub limit: Limit,
    /// `list-compress-depth`: nodes at each end that are not compressed; 0: none is.
    pub depth: usize,
}

#[derive(Debug)]
pub(super) struct Node {
    pub count: u32,
    pub body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    Packed(Pack),
    /// One element.
    Plain(Box<[u8]>),
    /// The listpack of `len` bytes, LZF-compressed.
    Compressed {
        bytes: Box<[u8]>,
        len: u32,
    },
}

thread_local! {
    static COMPRESSOR: RefCell<Compressor> = RefCell::default();
}

/// The elements of a node, to be read.
#[derive(Clone, Copy, Debug)]
pub enum NodeItems<'a> {
    Packed(Items<'a>),
    Plain(&'a [u8]),
}

impl Node {
    pub fn packed(pack: Pack) -> Node {
        Node { count: pack.count() as u32, body: Body::Packed(pack) }
    }

    /// With one element. `plain_from`: elements of this length are never packed.
    pub fn of(element: &[u8], shape: Shape, plain_from: usize) -> Node {
        let body = if element.len() >= plain_from || shape.limit.is_exceeded_by_element(element.len()) {
            Body::Plain(element.into())
        } else {
            Body::Packed(Pack::of(element))
        };
        Node { count: 1, body }
    }

    pub fn memory(&self) -> usize {
        match &self.body {
            Body::Packed(pack) => pack.memory(),
            Body::Plain(bytes) | Body::Compressed { bytes, .. } => block_size(bytes.len()),
        }
    }

    pub fn duplicate(&self) -> Node {
        let body = match &self.body {
            Body::Packed(pack) => Body::Packed(pack.duplicate()),
            Body::Plain(bytes) => Body::Plain(bytes.clone()),
            Body::Compressed { bytes, len } => Body::Compressed { bytes: bytes.clone(), len: *len },
        };
        Node { count: self.count, body }
    }

    /// The elements; those of a compressed node in `scratch`.
    pub fn items<'a>(&'a self, scratch: &'a mut Vec<u8>) -> NodeItems<'a> {
        match &self.body {
            Body::Packed(pack) => NodeItems::Packed(pack.items()),
            Body::Plain(bytes) => NodeItems::Plain(bytes),
            Body::Compressed { bytes, len } => {
                *scratch = expand(bytes, *len);
                NodeItems::Packed(Items::new(scratch))
            }
        }
    }

    /// Whether an element may be added here, and not in a node of its own.
    pub fn has_room_for(&self, element: &[u8], shape: Shape, plain_from: usize) -> bool {
        let size = match &self.body {
            Body::Packed(pack) => pack.size_bytes(),
            Body::Compressed { len, .. } => *len as usize,
            Body::Plain(_) => return false,
        };
        let with = size + REDIS_MORE_BYTES + element.len() + ELEMENT_OVERHEAD_BYTES;
        element.len() < plain_from && !shape.limit.is_exceeded(with, self.count as usize + 1)
    }

    /// Whether `element` may take the place of number `at`, one of several, here: in Redis it may whatever its size is.
    pub fn may_replace(&self, at: usize, element: &[u8], shape: Shape, plain_from: usize) -> bool {
        let mut scratch = Vec::new();
        let NodeItems::Packed(items) = self.items(&mut scratch) else { return false };
        let old = items.seek(at as i64).map_or(0, |position| items.item(position).byte_len());
        let with = items.as_bytes().len() + REDIS_MORE_BYTES + ELEMENT_OVERHEAD_BYTES + element.len() - old;
        let fits = element.len() <= old
            || with <= REPLACED_BYTES_MAX
            || !shape.limit.is_exceeded(with, self.count as usize);
        element.len() < plain_from && fits
    }

    /// Whether its element is so long that Redis packs it no more.
    pub fn is_plain(&self, plain_from: usize) -> bool {
        matches!(&self.body, Body::Plain(element) if element.len() >= plain_from)
    }

    /// Whether the elements of the other one fit in as well.
    pub fn has_room_for_node(&self, other: &Node, shape: Shape) -> bool {
        match (&self.body, &other.body) {
            (Body::Packed(a), Body::Packed(b)) => {
                let with = a.size_bytes() + b.size_bytes() + REDIS_MORE_BYTES;
                !shape.limit.is_exceeded(with, (self.count + other.count) as usize)
            }
            _ => false,
        }
    }

    /// Its elements unpacked, to be changed; `None` for a plain node.
    pub fn pack_mut(&mut self) -> Option<&mut Pack> {
        self.decompress();
        match &mut self.body {
            Body::Packed(pack) => Some(pack),
            _ => None,
        }
    }

    /// Changes the elements of a node that is not plain.
    pub fn edit<R>(&mut self, change: impl FnOnce(&mut Pack) -> R) -> R {
        let pack = self.pack_mut().expect("a plain node is replaced, not changed");
        let result = change(pack);
        self.count = pack.count() as u32;
        result
    }

    /// Splits it in front of element number `at`, which is neither the first nor past the last: what is behind is returned.
    pub fn split_off(&mut self, at: usize) -> Node {
        let tail = self.edit(|pack| {
            pack.edit(|listpack| {
                let position = listpack.items().seek(at as i64).unwrap_or(listpack.items().end());
                Listpack::from_bytes(listpack.split_off(position).into_bytes())
            })
        });
        Node::packed(Pack::from_bytes(tail.into_bytes()))
    }

    pub fn append(&mut self, other: &Node) {
        let mut scratch = Vec::new();
        if let NodeItems::Packed(items) = other.items(&mut scratch) {
            self.edit(|pack| pack.edit(|listpack| listpack.append(items)));
        }
    }

    /// Removes elements equal to `needle`: at most `max`, the first or the last ones; returns how many. The node may be left
    /// empty.
    pub fn remove_equal(&mut self, needle: &Needle, max: usize, from_end: bool) -> usize {
        let mut scratch = Vec::new();
        match self.items(&mut scratch) {
            NodeItems::Plain(bytes) => {
                let removed = usize::from(needle.is(crate::store::listpack::Item::Bytes(bytes)));
                self.count -= removed as u32;
                removed
            }
            // Most nodes have none: a compressed one then stays as it is.
            NodeItems::Packed(items) if items.find(needle, items.first(), 1).is_none() => 0,
            NodeItems::Packed(_) => {
                self.edit(|pack| pack.remove_where(max, from_end, |item| needle.is(item)))
            }
        }
    }

    pub fn is_compressed(&self) -> bool {
        matches!(self.body, Body::Compressed { .. })
    }

    pub fn decompress(&mut self) {
        if let Body::Compressed { bytes, len } = &self.body {
            self.body = Body::Packed(Pack::from_bytes(expand(bytes, *len)));
        }
    }

    /// Compresses it if that saves anything.
    pub fn compress(&mut self) {
        let Body::Packed(pack) = &self.body else { return };
        let bytes = pack.as_bytes();
        if bytes.len() < COMPRESSED_FROM_BYTES {
            return;
        }
        let mut compressed = Vec::with_capacity(bytes.len());
        let limit = bytes.len() - SAVED_BYTES_MIN;
        let done = COMPRESSOR.with_borrow_mut(|c| c.compress(bytes, &mut compressed, limit));
        if done {
            let len = bytes.len() as u32;
            self.body = Body::Compressed { bytes: compressed.into_boxed_slice(), len };
        }
    }

    /// Gives back memory that only a node at an end of the list needs.
    pub fn seal(&mut self) {
        if let Body::Packed(pack) = &mut self.body {
            pack.give_back_room();
        }
    }
}

fn expand(bytes: &[u8], len: u32) -> Vec<u8> {
    lzf::decompress(bytes, len as usize).expect("what was compressed here expands")
}
