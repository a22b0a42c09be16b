//! The elements of one bucket, packed into one allocation.
//!
//! ```text
//! count, u16 | tag, length | tag, length | ...  free  ... | element | element |
//!              of the 1st    of the 2nd                     the 2nd   the 1st
//! ```
//!
//! Tags and lengths lie together, so that a look-up reads one cache line to find the place of its element, and then that
//! place. They grow upwards and the elements downwards, so that adding one moves nothing. The allocation is always one
//! that the allocator has anyway, and no larger than needed.
//!
//! An element longer than [`INLINE_LEN_MAX`] lies in a block of its own. Its length is then [`LONG`], and the address
//! of the block takes its place.

use smallvec::SmallVec;

use super::block::Block;

/// Bytes of the number of elements.
const COUNT_BYTES: usize = 2;
/// Bytes of tag and length of one element.
const META_BYTES: usize = 2;
/// The longest element in a bucket, bytes.
pub(super) const INLINE_LEN_MAX: usize = 128;
/// The length of an element that lies elsewhere.
const LONG: u8 = 0xff;
/// Bytes of the address that stands for it.
const ADDRESS_BYTES: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Bucket(Block);

/// Where an element is in its bucket, until that changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct BucketPosition {
    index: usize,
    start: usize,
    end: usize,
    is_long: bool,
}

/// An element as it is found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    pub bytes: &'a [u8],
    /// It has a block of its own.
    pub is_long: bool,
}

/// What takes the place of an element: its bytes, or its address.
enum Body<'a> {
    Inline(&'a [&'a [u8]], usize),
    Long([u8; ADDRESS_BYTES]),
}

impl Body<'_> {
    fn len(&self) -> usize {
        match self {
            Body::Inline(_, len) => *len,
            Body::Long(_) => ADDRESS_BYTES,
        }
    }

    fn len_field(&self) -> u8 {
        match self {
            // At most `INLINE_LEN_MAX`.
            Body::Inline(_, len) => *len as u8,
            Body::Long(_) => LONG,
        }
    }

    fn write(&self, mut at: &mut [u8]) {
        match self {
            Body::Inline(parts, _) => {
                for part in *parts {
                    let (here, rest) = at.split_at_mut(part.len());
                    here.copy_from_slice(part);
                    at = rest;
                }
            }
            Body::Long(address) => at.copy_from_slice(address),
        }
    }
}

#[inline]
fn body_len(len_field: u8) -> usize {
    if len_field == LONG {
        ADDRESS_BYTES
    } else {
        usize::from(len_field)
    }
}

/// The block of a long element, borrowed.
fn long_block(address: &[u8]) -> std::mem::ManuallyDrop<Block> {
    let address = address.try_into().expect("an address is 8 bytes long");
    // SAFETY: a bucket holds addresses from `into_raw`; the one who owns it, the bucket, keeps it: this is never dropped.
    std::mem::ManuallyDrop::new(unsafe { Block::from_raw(u64::from_le_bytes(address)) })
}

impl Bucket {
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self.0.bytes() {
            [low, high, ..] => usize::from(u16::from_le_bytes([*low, *high])),
            _ => 0,
        }
    }

    /// Bytes allocated, blocks of long elements apart.
    pub(super) fn memory(&self) -> usize {
        self.0.memory()
    }

    #[inline]
    pub(super) fn prefetch(&self) {
        self.0.prefetch();
    }

    /// Tags and lengths of all elements.
    #[inline]
    fn metas(&self) -> &[u8] {
        let len = self.len();
        if len == 0 {
            return &[];
        }
        &self.0.bytes()[COUNT_BYTES..COUNT_BYTES + len * META_BYTES]
    }

    /// Bytes of all elements.
    fn body_bytes(&self) -> usize {
        self.metas().chunks_exact(META_BYTES).map(|meta| body_len(meta[1])).sum()
    }

    /// The element of this tag that `is_it` accepts.
    #[inline]
    pub(super) fn find(&self, tag: u8, mut is_it: impl FnMut(Stored) -> bool) -> Option<BucketPosition> {
        let mut end = self.0.len();
        for (index, meta) in self.metas().chunks_exact(META_BYTES).enumerate() {
            let start = end - body_len(meta[1]);
            if meta[0] == tag {
                let place = BucketPosition { index, start, end, is_long: meta[1] == LONG };
                if is_it(self.stored(place)) {
                    return Some(place);
                }
            }
            end = start;
        }
        None
    }

    /// The place of element number `index`, which is there.
    pub(super) fn nth(&self, index: usize) -> BucketPosition {
        let mut places = self.places();
        places.nth(index).expect("a bucket is asked for an element that it has")
    }

    #[inline]
    pub(super) fn places(&self) -> Places<'_> {
        Places { metas: self.metas(), index: 0, end: self.0.len() }
    }

    #[inline]
    pub(super) fn stored(&self, place: BucketPosition) -> Stored<'_> {
        let body = &self.0.bytes()[place.start..place.end];
        if !place.is_long {
            return Stored { bytes: body, is_long: false };
        }
        let block = long_block(body);
        // SAFETY: the block lives until this bucket, which stays borrowed, gives it up.
        let bytes = unsafe { std::slice::from_raw_parts(block.bytes().as_ptr(), block.bytes().len()) };
        Stored { bytes, is_long: true }
    }

    /// The bytes of an element, to be overwritten by as many.
    pub(super) fn stored_mut(&mut self, place: BucketPosition) -> &mut [u8] {
        let body = &mut self.0.bytes_mut()[place.start..place.end];
        if !place.is_long {
            return body;
        }
        let mut block = long_block(body);
        let (address, len) = (block.bytes_mut().as_mut_ptr(), block.len());
        // SAFETY: as `stored`, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(address, len) }
    }

    /// Bytes allocated for an element alone.
    pub(super) fn memory_of(&self, place: BucketPosition) -> usize {
        if place.is_long {
            long_block(&self.0.bytes()[place.start..place.end]).memory()
        } else {
            0
        }
    }

    /// Adds an element, the parts of which are put one behind the other, in the bucket.
    pub(super) fn push(&mut self, tag: u8, parts: &[&[u8]]) {
        let len = parts.iter().map(|part| part.len()).sum();
        debug_assert!(len <= INLINE_LEN_MAX);
        self.push_body(tag, &Body::Inline(parts, len));
    }

    /// As `push`, in a block of its own. Returns the bytes allocated for that.
    pub(super) fn push_long(&mut self, tag: u8, parts: &[&[u8]]) -> usize {
        let len = parts.iter().map(|part| part.len()).sum();
        let mut block = Block::with_len(len);
        Body::Inline(parts, len).write(block.bytes_mut());
        let memory = block.memory();
        self.push_body(tag, &Body::Long(block.into_raw().to_le_bytes()));
        memory
    }

    fn push_body(&mut self, tag: u8, body: &Body) {
        let count = self.len();
        let used = self.body_bytes();
        let needed = COUNT_BYTES + (count + 1) * META_BYTES + used + body.len();
        if needed > self.0.len() {
            self.resize(needed, used);
        }
        let bytes = self.0.bytes_mut();
        let end = bytes.len() - used;
        body.write(&mut bytes[end - body.len()..end]);
        let meta = COUNT_BYTES + count * META_BYTES;
        bytes[meta..meta + META_BYTES].copy_from_slice(&[tag, body.len_field()]);
        set_count(bytes, count + 1);
    }

    /// Moves into an allocation for `needed` bytes. `used` are those of the elements.
    fn resize(&mut self, needed: usize, used: usize) {
        let mut block = Block::with_len(Block::roomy_len(needed));
        let head = COUNT_BYTES + self.len() * META_BYTES;
        let old = self.0.bytes();
        if !old.is_empty() {
            let bytes = block.bytes_mut();
            bytes[..head].copy_from_slice(&old[..head]);
            let tail = bytes.len() - used;
            bytes[tail..].copy_from_slice(&old[old.len() - used..]);
        }
        self.0 = block;
    }

    /// Takes an element out.
    pub(super) fn remove(&mut self, place: BucketPosition) {
        let (count, used) = (self.len(), self.body_bytes());
        if place.is_long {
            drop(std::mem::ManuallyDrop::into_inner(long_block(&self.0.bytes()[place.start..place.end])));
        }
        if count == 1 {
            self.0 = Block::default();
            return;
        }
        let bytes = self.0.bytes_mut();
        let (first, size) = (bytes.len() - used, place.end - place.start);
        bytes.copy_within(first..place.start, first + size);
        let meta = COUNT_BYTES + place.index * META_BYTES;
        bytes.copy_within(meta + META_BYTES..COUNT_BYTES + count * META_BYTES, meta);
        set_count(bytes, count - 1);
        let needed = COUNT_BYTES + (count - 1) * META_BYTES + used - size;
        // Some slack, so that one at the border of two sizes does not move to and fro.
        if Block::roomy_len(needed + needed / 8) < self.0.len() {
            self.resize(needed, used - size);
        }
    }

    /// Splits it: the elements that `leaves` is true of go into the bucket that is returned.
    pub(super) fn split(&mut self, mut leaves: impl FnMut(Stored) -> bool) -> Bucket {
        let leaving: SmallVec<[bool; 64]> = self.places().map(|place| leaves(self.stored(place))).collect();
        let old = std::mem::take(self);
        let mut sizes = [(0, 0); 2];
        for (place, &leaves) in old.places().zip(&leaving) {
            let (count, used) = &mut sizes[usize::from(leaves)];
            *count += 1;
            *used += place.end - place.start;
        }
        let mut other = Bucket::default();
        for (bucket, (count, used)) in [&mut *self, &mut other].into_iter().zip(sizes) {
            if count > 0 {
                bucket.resize(COUNT_BYTES + count * META_BYTES + used, 0);
            }
        }
        for (place, &leaves) in old.places().zip(&leaving) {
            let target = if leaves { &mut other } else { &mut *self };
            target.adopt(&old, place);
        }
        old.forget_elements();
        other
    }

    /// Takes over the elements of another bucket.
    pub(super) fn absorb(&mut self, other: Bucket) {
        let used = self.body_bytes();
        let needed = COUNT_BYTES + (self.len() + other.len()) * META_BYTES + used + other.body_bytes();
        if other.len() > 0 && needed > self.0.len() {
            self.resize(needed, used);
        }
        for place in other.places() {
            self.adopt(&other, place);
        }
        other.forget_elements();
    }

    /// Copies what stands for an element of another bucket, which must not drop it then.
    fn adopt(&mut self, from: &Bucket, place: BucketPosition) {
        let body = &from.0.bytes()[place.start..place.end];
        let tag = from.metas()[place.index * META_BYTES];
        if place.is_long {
            self.push_body(tag, &Body::Long(body.try_into().expect("an address is 8 bytes long")));
        } else {
            self.push_body(tag, &Body::Inline(&[body], body.len()));
        }
    }

    /// Frees the bucket but not the long elements, which another one has taken over.
    fn forget_elements(mut self) {
        self.0 = Block::default();
    }
}

fn set_count(bytes: &mut [u8], count: usize) {
    // Elements are spread over buckets by a hash that nobody outside can foresee.
    let count = u16::try_from(count).expect("a bucket is split long before it holds 65,536 elements");
    bytes[..COUNT_BYTES].copy_from_slice(&count.to_le_bytes());
}

impl Drop for Bucket {
    fn drop(&mut self) {
        for place in self.places() {
            if place.is_long {
                let body = &self.0.bytes()[place.start..place.end];
                drop(std::mem::ManuallyDrop::into_inner(long_block(body)));
            }
        }
    }
}

impl Clone for Bucket {
    fn clone(&self) -> Bucket {
        let mut copy = self.0.clone();
        for place in self.places().filter(|place| place.is_long) {
            let body = &mut copy.bytes_mut()[place.start..place.end];
            let own = Block::clone(&long_block(body));
            body.copy_from_slice(&own.into_raw().to_le_bytes());
        }
        Bucket(copy)
    }
}

/// The places of a bucket's elements.
#[derive(Clone, Debug)]
pub(super) struct Places<'a> {
    metas: &'a [u8],
    index: usize,
    end: usize,
}

impl Places<'_> {
    pub(super) const NONE: Places<'static> = Places { metas: &[], index: 0, end: 0 };
}

impl Iterator for Places<'_> {
    type Item = BucketPosition;

    #[inline]
    fn next(&mut self) -> Option<BucketPosition> {
        let [_, len_field, rest @ ..] = self.metas else { return None };
        let start = self.end - body_len(*len_field);
        let place = BucketPosition { index: self.index, start, end: self.end, is_long: *len_field == LONG };
        self.metas = rest;
        self.index += 1;
        self.end = start;
        Some(place)
    }
}
