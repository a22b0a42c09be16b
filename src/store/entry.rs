//! An entry: one key and its value, or the way to it, in one allocation; and the word by which a table refers to it.
//!
//! ```text
//! word   | epoch 5 | flags 3 | kind 8 | address 48 |
//! entry  | clock 3 | key length | value length | expiry 8 | key | value |
//! ```
//!
//! Kind (type and encoding) and flags are in the word, so that a type check or the search for keys with an expiry
//! reads no entry. Lengths are variable-length numbers (7 bits a byte, least significant first). The value length is there
//! only for a string embedded in the entry; other values are the 8 bytes of an integer or of the address of a boxed
//! [`Object`]. The expiry, Unix milliseconds, is there only when the word says so. Nothing is aligned: an 11-byte key
//! with a 64-byte value fills a block of 80 bytes exactly.
//!
//! Embedding stops at [`EMBEDDED_LEN_MAX`]: below it a copy into the reply costs less than counting references, above it
//! GET would copy what it can send in place, and every change of length would move much.

use std::alloc::{alloc, dealloc, handle_alloc_error, Layout};
use std::marker::PhantomData;

use super::clock::Clock;
use super::memory::block_size;
use super::object::Object;
use super::table::Owner;
use super::value::{Kind, Value};

/// The longest string kept inside its entry, bytes.
pub(super) const EMBEDDED_LEN_MAX: usize = 2048;

const ADDRESS_BITS: u32 = 48;
const ADDRESS_MASK: u64 = (1 << ADDRESS_BITS) - 1;
const KIND_SHIFT: u32 = ADDRESS_BITS;
/// The entry has an expiry.
const EXPIRES: u64 = 1 << 56;
/// The entry holds the address of an [`Object`].
const BOXED: u64 = 1 << 57;
const EPOCH_SHIFT: u32 = 59;
/// Number of different epochs.
pub(super) const EPOCHS: u64 = 1 << (u64::BITS - EPOCH_SHIFT);
const EPOCH: u64 = (EPOCHS - 1) << EPOCH_SHIFT;

const CLOCK_BYTES: usize = 3;
const EXPIRY_BYTES: usize = 8;
const POINTED_BYTES: usize = 8;

/// What an entry is to hold.
pub(super) enum Content<'a> {
    Int(i64),
    /// At most [`EMBEDDED_LEN_MAX`] bytes of a string or packed collection.
    Embedded(&'a [u8], Kind),
    Boxed(Box<Object>),
}

/// The same with the object's ownership settled.
#[derive(Clone, Copy)]
enum Body<'a> {
    Embedded(&'a [u8]),
    Int([u8; POINTED_BYTES]),
    /// The address of an object.
    Boxed([u8; POINTED_BYTES]),
}

impl Body<'_> {
    fn len(self) -> usize {
        match self {
            Body::Embedded(bytes) => bytes.len(),
            Body::Int(_) | Body::Boxed(_) => POINTED_BYTES,
        }
    }

    fn is_embedded(self) -> bool {
        matches!(self, Body::Embedded(_))
    }

    /// What the entry's word says of it.
    fn flags(self) -> u64 {
        match self {
            Body::Boxed(_) => BOXED,
            Body::Embedded(_) | Body::Int(_) => 0,
        }
    }
}

#[inline]
fn length_size(len: usize) -> usize {
    match len {
        0..=0x7f => 1,
        _ => (len.ilog2() as usize) / 7 + 1,
    }
}

/// # Safety
/// `at` has room for `length_size(len)` bytes.
unsafe fn write_length(at: *mut u8, mut len: usize) -> usize {
    // SAFETY: by the contract above.
    unsafe {
        let mut written = 0;
        while len > 0x7f {
            *at.add(written) = len as u8 | 0x80;
            len >>= 7;
            written += 1;
        }
        *at.add(written) = len as u8;
        written + 1
    }
}

/// # Safety
/// `at` points to a length that `write_length` wrote.
#[inline]
unsafe fn read_length(at: *const u8) -> (usize, usize) {
    // SAFETY: by the contract above.
    unsafe {
        let first = *at;
        if first <= 0x7f {
            return (first as usize, 1);
        }
        let (mut len, mut size) = ((first & 0x7f) as usize, 1);
        loop {
            let byte = *at.add(size);
            len |= ((byte & 0x7f) as usize) << (7 * size);
            size += 1;
            if byte <= 0x7f {
                return (len, size);
            }
        }
    }
}

/// The word of a live entry: where it is, and the flags above. Tables hold it as a plain number.
///
/// Invariant, which reading relies on: the word came from [`create`], and its entry has not been freed. Nothing else makes one
/// without `unsafe`, and what frees or moves an entry ([`destroy`], [`replace`], ...) is `unsafe` and answers for the copies
/// of its word: they are not used any more.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Word(u64);

impl Word {
    /// # Safety
    /// `bits` are those of a word (see [`Word::bits`]) whose entry is live.
    #[inline]
    pub(super) unsafe fn from_bits(bits: u64) -> Word {
        Word(bits)
    }

    #[inline]
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// The entry, for as long as this copy of its word is borrowed.
    #[inline]
    pub(super) fn entry(&self) -> Entry<'_> {
        Entry { word: *self, life: PhantomData }
    }

    /// The entry, for longer than this copy of its word.
    ///
    /// # Safety
    /// It is neither freed nor changed during `'a`.
    #[inline]
    pub(super) unsafe fn entry_for<'a>(self) -> Entry<'a> {
        Entry { word: self, life: PhantomData }
    }
}

/// Where the parts of an entry are, from its first byte.
struct Parts {
    expiry: usize,
    key: usize,
    key_len: usize,
    value: usize,
    value_len: usize,
}

/// A live entry, borrowed.
///
/// Invariant, which every method relies on: that of [`Word`], and it is not changed through another path during `'a`.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    word: Word,
    life: PhantomData<&'a [u8]>,
}

impl<'a> Entry<'a> {
    #[inline]
    fn address(self) -> *mut u8 {
        (self.word.0 & ADDRESS_MASK) as *mut u8
    }

    #[inline]
    pub(super) fn kind(self) -> Kind {
        kind_of(self.word)
    }

    #[inline]
    fn parts(self) -> Parts {
        // SAFETY: the invariant; `create` wrote the key length, and the value length of an embedded value.
        let (key_len, size) = unsafe { read_length(self.address().add(CLOCK_BYTES)) };
        let mut at = CLOCK_BYTES + size;
        let mut value_len = POINTED_BYTES;
        if is_embedded(self.word) {
            // SAFETY: as above.
            let (len, size) = unsafe { read_length(self.address().add(at)) };
            value_len = len;
            at += size;
        }
        let expiry = at;
        if has_expiry(self.word) {
            at += EXPIRY_BYTES;
        }
        Parts { expiry, key: at, key_len, value: at + key_len, value_len }
    }

    /// # Safety
    /// `at..at + len` is inside the entry.
    #[inline]
    unsafe fn bytes(self, at: usize, len: usize) -> &'a [u8] {
        // SAFETY: by the contract above.
        unsafe { std::slice::from_raw_parts(self.address().add(at), len) }
    }

    #[inline]
    pub(super) fn key(self) -> &'a [u8] {
        let parts = self.parts();
        // SAFETY: `parts` are inside the entry.
        unsafe { self.bytes(parts.key, parts.key_len) }
    }

    /// Unix time, milliseconds.
    #[inline]
    pub(super) fn expire_at(self) -> Option<i64> {
        if !has_expiry(self.word) {
            return None;
        }
        let at = self.parts().expiry;
        // SAFETY: the flag says that 8 bytes of expiry are there; a byte array has no alignment.
        let bytes = unsafe { *self.address().add(at).cast::<[u8; EXPIRY_BYTES]>() };
        Some(i64::from_le_bytes(bytes))
    }

    #[inline]
    pub(super) fn clock(self) -> Clock {
        // SAFETY: an entry begins with its clock.
        let [a, b, c] = unsafe { *self.address().cast::<[u8; CLOCK_BYTES]>() };
        Clock(u32::from_le_bytes([a, b, c, 0]))
    }

    /// Writes only when it differs, so that a key read often in one second stays clean in the cache.
    #[inline]
    pub(super) fn set_clock(self, clock: Clock) {
        if self.clock() != clock {
            let [a, b, c, _] = clock.0.to_le_bytes();
            // SAFETY: an entry begins with its clock, of which nobody holds a reference.
            unsafe { *self.address().cast::<[u8; CLOCK_BYTES]>() = [a, b, c] };
        }
    }

    #[inline]
    fn body(self, parts: &Parts) -> Body<'a> {
        // SAFETY: `parts` are inside the entry.
        let bytes = unsafe { self.bytes(parts.value, parts.value_len) };
        if is_embedded(self.word) {
            return Body::Embedded(bytes);
        }
        let mut pointed = [0; POINTED_BYTES];
        pointed.copy_from_slice(bytes);
        if is_boxed(self.word) {
            Body::Boxed(pointed)
        } else {
            Body::Int(pointed)
        }
    }

    #[inline]
    pub(super) fn value(self) -> Value<'a> {
        match self.body(&self.parts()) {
            Body::Embedded(bytes) => Value::embedded(self.kind(), bytes),
            Body::Int(bytes) => Value::Int(i64::from_le_bytes(bytes)),
            // SAFETY: the bytes are the address of an object that this entry owns, borrowed as the entry is.
            Body::Boxed(bytes) => unsafe { (*object_address(bytes)).value() },
        }
    }

    /// Overwrites an integer by another. The kind is `Kind::Int`.
    #[inline]
    pub(super) fn set_int(self, value: i64) {
        assert_eq!(self.kind(), Kind::Int);
        let at = self.parts().value;
        // SAFETY: an entry of this kind has the integer's bytes there, of which nobody holds a reference.
        unsafe { write_body(self.address().add(at), Body::Int(value.to_le_bytes())) }
    }

    /// The boxed value, if it is one.
    pub(super) fn object(self) -> Option<&'a Object> {
        match self.body(&self.parts()) {
            // SAFETY: as `value`.
            Body::Boxed(bytes) => Some(unsafe { &*object_address(bytes) }),
            Body::Embedded(_) | Body::Int(_) => None,
        }
    }

    /// The bytes of a value that lies in the entry.
    #[inline]
    pub(super) fn embedded(self) -> Option<&'a [u8]> {
        match self.body(&self.parts()) {
            Body::Embedded(bytes) => Some(bytes),
            Body::Int(_) | Body::Boxed(_) => None,
        }
    }

    /// Bytes of the entry's block, without an object.
    pub(super) fn memory(self) -> usize {
        let parts = self.parts();
        block_size(parts.value + parts.value_len)
    }
}

fn object_address(bytes: [u8; POINTED_BYTES]) -> *mut Object {
    u64::from_le_bytes(bytes) as *mut Object
}

#[inline]
pub(super) fn kind_of(word: Word) -> Kind {
    Kind::from_u8((word.0 >> KIND_SHIFT) as u8)
}

#[inline]
pub(super) fn is_boxed(word: Word) -> bool {
    word.0 & BOXED != 0
}

#[inline]
fn is_embedded(word: Word) -> bool {
    !is_boxed(word) && kind_of(word) != Kind::Int
}

#[inline]
pub(super) fn has_expiry(word: Word) -> bool {
    word.0 & EXPIRES != 0
}

/// The epoch of a word: the number of the snapshot that has this entry behind it (see `snapshot`), modulo [`EPOCHS`].
#[inline]
pub(super) fn epoch_of(word: Word) -> u64 {
    word.0 >> EPOCH_SHIFT
}

#[inline]
pub(super) fn with_epoch(word: Word, epoch: u64) -> Word {
    debug_assert!(epoch < EPOCHS);
    Word(word.0 & !EPOCH | epoch << EPOCH_SHIFT)
}

/// Whether two words are of the same entry, whatever else they say.
#[inline]
pub(super) fn is_same(word: Word, other: Word) -> bool {
    (word.0 ^ other.0) & ADDRESS_MASK == 0
}

fn layout(block: usize) -> Layout {
    // A key or value is at most half a gigabyte: below the limit of isize.
    Layout::from_size_align(block, 8).expect("an entry of valid size")
}

/// Makes an entry and returns its word, of epoch 0.
pub(super) fn create(
    key: &[u8],
    content: Content,
    expire_at: Option<i64>,
    clock: Clock,
    owner: &mut impl Owner,
) -> Word {
    let (kind, body) = settle(content, owner);
    assemble(key, kind, body, expire_at, clock, owner)
}

/// From here on the object is owned by whoever holds its address.
fn settle<'a>(content: Content<'a>, owner: &mut impl Owner) -> (Kind, Body<'a>) {
    match content {
        Content::Int(value) => (Kind::Int, Body::Int(value.to_le_bytes())),
        Content::Embedded(bytes, kind) => {
            debug_assert!(kind.may_be_embedded() && bytes.len() <= EMBEDDED_LEN_MAX);
            (kind, Body::Embedded(bytes))
        }
        Content::Boxed(object) => {
            owner.allocated(object.memory());
            (object.kind(), Body::Boxed((Box::into_raw(object) as u64).to_le_bytes()))
        }
    }
}

fn assemble(
    key: &[u8],
    kind: Kind,
    body: Body,
    expire_at: Option<i64>,
    clock: Clock,
    owner: &mut impl Owner,
) -> Word {
    let value_length = if body.is_embedded() { length_size(body.len()) } else { 0 };
    let expiry = if expire_at.is_some() { EXPIRY_BYTES } else { 0 };
    let block =
        block_size(CLOCK_BYTES + length_size(key.len()) + value_length + expiry + key.len() + body.len());
    let layout = layout(block);
    owner.allocated(block);
    // SAFETY: the block is at least 8 bytes.
    let address = unsafe { alloc(layout) };
    if address.is_null() {
        handle_alloc_error(layout);
    }
    assert_eq!(address as u64 & !ADDRESS_MASK, 0, "user addresses of this platform fit in 48 bits");
    let expires = if expire_at.is_some() { EXPIRES } else { 0 };
    let word = address as u64 | (kind as u64) << KIND_SHIFT | body.flags() | expires;
    let [a, b, c, _] = clock.0.to_le_bytes();
    // SAFETY: the block has room for all that is written, as computed above; it is new, so nothing overlaps it.
    unsafe {
        *address.cast::<[u8; CLOCK_BYTES]>() = [a, b, c];
        let mut at = CLOCK_BYTES;
        at += write_length(address.add(at), key.len());
        if body.is_embedded() {
            at += write_length(address.add(at), body.len());
        }
        if let Some(expire_at) = expire_at {
            *address.add(at).cast::<[u8; EXPIRY_BYTES]>() = expire_at.to_le_bytes();
            at += EXPIRY_BYTES;
        }
        address.add(at).copy_from_nonoverlapping(key.as_ptr(), key.len());
        write_body(address.add(at + key.len()), body);
    }
    Word(word)
}

/// # Safety
/// `at` has room for the body, which does not overlap it.
unsafe fn write_body(at: *mut u8, body: Body) {
    // SAFETY: by the contract above.
    unsafe {
        match body {
            Body::Embedded(bytes) => at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()),
            Body::Int(bytes) | Body::Boxed(bytes) => *at.cast::<[u8; POINTED_BYTES]>() = bytes,
        }
    }
}

/// Gives the entry's block back, but not its object.
///
/// # Safety
/// The invariant of [`Entry`], and nobody uses the entry afterwards.
unsafe fn release(word: Word, owner: &mut impl Owner) {
    // SAFETY: by the contract above.
    unsafe {
        let entry = word.entry_for();
        let block = entry.memory();
        owner.freed(block);
        dealloc(entry.address(), layout(block));
    }
}

/// The object of an entry, out of it.
///
/// # Safety
/// The invariant of [`Entry`], and nobody uses the entry's value afterwards.
unsafe fn take_object(word: Word, owner: &mut impl Owner) -> Option<Box<Object>> {
    // SAFETY: by the contract above.
    unsafe {
        let entry = word.entry_for();
        match entry.body(&entry.parts()) {
            Body::Boxed(bytes) => {
                let object = Box::from_raw(object_address(bytes));
                owner.freed(object.memory());
                Some(object)
            }
            Body::Embedded(_) | Body::Int(_) => None,
        }
    }
}

/// Frees an entry; its object, if it has one, is for the caller to keep or free.
///
/// # Safety
/// The invariant of [`Entry`], and the word is in no table any more and used by nobody afterwards.
pub(super) unsafe fn destroy(word: Word, owner: &mut impl Owner) -> Option<Box<Object>> {
    // SAFETY: by the contract above.
    unsafe {
        let object = take_object(word, owner);
        release(word, owner);
        object
    }
}

/// Replaces value, expiry and clock of an entry, in place when its block has the right size. Returns the object that it
/// held.
///
/// # Safety
/// The invariant of [`Entry`] for `*word`, which is a place in the entry's table.
pub(super) unsafe fn replace(
    word: &mut Word,
    content: Content,
    expire_at: Option<i64>,
    clock: Clock,
    owner: &mut impl Owner,
) -> Option<Box<Object>> {
    // SAFETY: by the contract above.
    unsafe {
        let object = take_object(*word, owner);
        let (kind, body) = settle(content, owner);
        let entry = word.entry_for();
        let parts = entry.parts();
        let same_shape = body.is_embedded() == is_embedded(*word)
            && expire_at.is_some() == has_expiry(*word)
            && (!body.is_embedded() || length_size(body.len()) == length_size(parts.value_len))
            && block_size(parts.value + body.len()) == entry.memory();
        if same_shape {
            let address = entry.address();
            if body.is_embedded() {
                write_length(address.add(parts.expiry - length_size(body.len())), body.len());
            }
            if let Some(expire_at) = expire_at {
                *address.add(parts.expiry).cast::<[u8; EXPIRY_BYTES]>() = expire_at.to_le_bytes();
            }
            write_body(address.add(parts.value), body);
            entry.set_clock(clock);
            word.0 = word.0 & !(0xff << KIND_SHIFT | BOXED) | (kind as u64) << KIND_SHIFT | body.flags();
        } else {
            let new = assemble(entry.key(), kind, body, expire_at, clock, owner);
            release(*word, owner);
            *word = with_epoch(new, epoch_of(*word));
        }
        object
    }
}

/// Sets or removes the expiry.
///
/// # Safety
/// As [`replace`].
pub(super) unsafe fn set_expiry(word: &mut Word, expire_at: Option<i64>, owner: &mut impl Owner) {
    // SAFETY: by the contract above.
    unsafe {
        let entry = word.entry_for();
        let parts = entry.parts();
        match expire_at {
            Some(at) if has_expiry(*word) => {
                *entry.address().add(parts.expiry).cast::<[u8; EXPIRY_BYTES]>() = at.to_le_bytes();
            }
            None if !has_expiry(*word) => {}
            _ => {
                let new =
                    assemble(entry.key(), entry.kind(), entry.body(&parts), expire_at, entry.clock(), owner);
                release(*word, owner);
                *word = with_epoch(new, epoch_of(*word));
            }
        }
    }
}

/// Lets `change` alter the boxed object of an entry, whose kind and weight may change with it; `None` when it has none.
///
/// # Safety
/// As [`replace`].
pub(super) unsafe fn with_object<R>(
    word: &mut Word,
    owner: &mut impl Owner,
    change: impl FnOnce(&mut Object) -> R,
) -> Option<R> {
    // SAFETY: by the contract above.
    unsafe {
        let entry = word.entry_for();
        let Body::Boxed(bytes) = entry.body(&entry.parts()) else {
            return None;
        };
        let object = &mut *object_address(bytes);
        owner.freed(object.memory());
        let result = change(object);
        owner.allocated(object.memory());
        word.0 = word.0 & !(0xff << KIND_SHIFT) | (object.kind() as u64) << KIND_SHIFT;
        Some(result)
    }
}

/// Asks the processor for the entry's first cache line.
#[inline]
pub(super) fn prefetch(word: Word) {
    let address = (word.0 & ADDRESS_MASK) as *const i8;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect but on caches, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch(address, std::arch::x86_64::_MM_HINT_T0)
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Collection, List, Settings};

    struct Account(usize);

    impl Owner for Account {
        fn hash(&self, _: u64) -> u64 {
            0
        }
        fn allocated(&mut self, bytes: usize) {
            self.0 += bytes;
        }
        fn freed(&mut self, bytes: usize) {
            self.0 -= bytes;
        }
    }

    fn entry(word: Word) -> Entry<'static> {
        // SAFETY: the tests use an entry only until they destroy it.
        unsafe { word.entry_for() }
    }

    #[test]
    fn an_11_byte_key_with_64_bytes_takes_80() {
        let mut account = Account(0);
        let content = Content::Embedded(&[7; 64], Kind::Raw);
        let word = create(b"key:1234567", content, None, Clock(0), &mut account);
        assert_eq!(account.0, 80);
        // SAFETY: the entry is live and not used again.
        unsafe { destroy(word, &mut account) };
        assert_eq!(account.0, 0);
    }

    #[test]
    fn what_goes_in_comes_out_for_all_lengths_and_shapes() {
        let mut account = Account(0);
        let long = vec![b'x'; 40_000];
        for key_len in [0, 1, 11, 127, 128, 129, 16_383, 16_384, 40_000] {
            for value_len in [0, 1, 44, 63, 127, 128, 129, 2_048] {
                for expire_at in [None, Some(-1), Some(i64::MAX), Some(1_700_000_000_000)] {
                    let content = Content::Embedded(&long[..value_len], Kind::Raw);
                    let word = create(&long[..key_len], content, expire_at, Clock(0x123456), &mut account);
                    assert_eq!(entry(word).key(), &long[..key_len]);
                    assert!(matches!(entry(word).value(), Value::Bytes(b) if b == &long[..value_len]));
                    assert_eq!(entry(word).expire_at(), expire_at);
                    assert_eq!(entry(word).clock(), Clock(0x123456));
                    // SAFETY: the entry is live and not used again.
                    unsafe { destroy(word, &mut account) };
                }
            }
        }
        assert_eq!(account.0, 0);
    }

    #[test]
    fn replacing_by_a_value_of_the_same_block_stays_in_place() {
        let mut account = Account(0);
        let mut word =
            create(b"key", Content::Embedded(&[1; 41], Kind::Embstr), None, Clock(1), &mut account);
        let before = word.0 & ADDRESS_MASK;
        // SAFETY: here and below the entry is live and reached by nobody else.
        unsafe { replace(&mut word, Content::Embedded(&[2; 50], Kind::Raw), None, Clock(2), &mut account) };
        assert_eq!((word.0 & ADDRESS_MASK, kind_of(word)), (before, Kind::Raw));
        assert!(matches!(entry(word).value(), Value::Bytes(b) if b == [2; 50]));
        // SAFETY: as above.
        unsafe { replace(&mut word, Content::Int(-5), Some(77), Clock(3), &mut account) };
        assert!(matches!(entry(word).value(), Value::Int(-5)));
        assert_eq!(
            (entry(word).key(), entry(word).expire_at(), entry(word).clock()),
            (&b"key"[..], Some(77), Clock(3))
        );
        // SAFETY: as above.
        unsafe { set_expiry(&mut word, None, &mut account) };
        assert_eq!((entry(word).expire_at(), has_expiry(word)), (None, false));
        // SAFETY: as above.
        unsafe { set_expiry(&mut word, Some(-9), &mut account) };
        assert_eq!(entry(word).expire_at(), Some(-9));
        assert!(matches!(entry(word).value(), Value::Int(-5)));
        // SAFETY: as above.
        unsafe { destroy(word, &mut account) };
        assert_eq!(account.0, 0);
    }

    #[test]
    fn objects_are_owned_by_their_entry_until_it_gives_them_back() {
        let mut account = Account(0);
        let object = Box::new(Object::List(List::empty()));
        let mut word = create(b"key", Content::Boxed(object), Some(5), Clock(1), &mut account);
        let before = account.0;
        // SAFETY: as above.
        unsafe {
            with_object(&mut word, &mut account, |object| {
                let Object::List(list) = object else { unreachable!() };
                list.push_back(&[1; 100], &Settings::default());
            })
        };
        assert!(account.0 > before);
        // SAFETY: as above.
        unsafe { set_expiry(&mut word, None, &mut account) };
        // SAFETY: as above.
        let object = unsafe { replace(&mut word, Content::Int(1), None, Clock(1), &mut account) };
        assert!(matches!(object.map(|object| *object), Some(Object::List(_))));
        // SAFETY: as above.
        unsafe { destroy(word, &mut account) };
        assert_eq!(account.0, 0);
    }
}
