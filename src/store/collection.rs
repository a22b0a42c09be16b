//! What lists, sets, hashes, sorted sets and streams have in common, and how a command gets at one.
//!
//! A small collection is *packed*: a run of bytes (see `listpack`) that lies in the entry of its key, like a short string, so
//! that it costs one allocation and one cache miss less. A command that changes it works on a copy, which is
//! written back; that costs less than the bookkeeping that would avoid it, up to [`EMBEDDED_LEN_MAX`] bytes. A longer or
//! unpacked collection lies in an [`Object`] of its own, and is changed in place.

use super::entry::{self, Content, Word, EMBEDDED_LEN_MAX};
use super::lookup::Home;
use super::object::Object;
use super::random::Rng;
use super::{EventClass, Kind, Settings, Store, Ttl, Value, ValueType, WrongType};

/// The largest buffer kept for the next packed collection, bytes.
const SCRATCH_MAX: usize = 16 * 1024;
/// A packed collection in an object moves into its entry at this length, bytes; shorter than what is embedded at first, so
/// that one at the border does not move to and fro.
const EMBEDDED_AGAIN_LEN_MAX: usize = EMBEDDED_LEN_MAX / 2;

/// A value of several elements.
pub trait Collection: Sized {
    const TYPE: ValueType;
    /// How it is read, wherever it lies.
    type View<'a>: Copy;

    /// A new one, packed if the type can be.
    fn empty() -> Self;
    fn kind(&self) -> Kind;
    fn is_empty(&self) -> bool;
    fn view(&self) -> Self::View<'_>;
    /// The view in a value of this type; `None` for a value of another.
    fn view_of<'a>(value: &Value<'a>) -> Option<Self::View<'a>>;

    /// The bytes of a packed one.
    fn packed(&self) -> Option<&[u8]>;
    /// The inverse; `kind` is what `kind` answered then.
    fn from_packed(kind: Kind, bytes: Vec<u8>) -> Self;
    fn view_packed(kind: Kind, bytes: &[u8]) -> Self::View<'_>;
    /// The buffer of a packed one, to be used again. Empty for another.
    fn into_packed(self) -> Vec<u8>;

    fn into_object(self) -> Object;
    fn of_object(object: &mut Object) -> Option<&mut Self>;

    /// Bytes allocated, without `Self`. Asked before and after each change, so it must not count.
    fn memory(&self) -> usize;
    /// A copy that shares no memory with this one.
    fn duplicate(&self) -> Self;
    /// About how many allocations dropping it gives back. Must not count either.
    fn pieces(&self) -> usize;
    /// Frees up to `pieces` of one that nobody can reach any more, and returns how many. Once it returns 0 the rest is
    /// dropped at once.
    fn free_some(&mut self, pieces: usize) -> usize;
}

/// What a collection may need while it changes.
pub struct Tools<'a> {
    pub settings: &'a Settings,
    pub rng: &'a mut Rng,
}

/// What a change has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Updated<R> {
    pub result: R,
    /// The key was not there before.
    pub created: bool,
    /// The collection lost its last element, and the key is gone.
    pub removed: bool,
}

fn content_of<T: Collection>(collection: T) -> Content<'static> {
    Content::Boxed(Box::new(collection.into_object()))
}

impl Store {
    /// A collection to read. Counts a hit or a miss, and touches the key's clock, as `read`.
    #[inline]
    pub fn read_as<T: Collection>(
        &mut self,
        db: usize,
        key: &[u8],
    ) -> Result<Option<T::View<'_>>, WrongType> {
        let home = self.home(db, key);
        let Some(word) = self.find(home, key) else {
            self.stats.keyspace_misses += 1;
            self.events.raise(db, EventClass::KEY_MISS, "keymiss", key);
            return Ok(None);
        };
        self.stats.keyspace_hits += 1;
        self.touch_clock(word);
        if entry::kind_of(word).value_type() != T::TYPE {
            return Err(WrongType);
        }
        // SAFETY: the entry changes only through the store, which stays borrowed for as long as the view.
        Ok(T::view_of(&unsafe { word.entry_for() }.value()))
    }

    /// As `read_as` without statistics and touch.
    pub fn peek_as<T: Collection>(
        &mut self,
        db: usize,
        key: &[u8],
    ) -> Result<Option<T::View<'_>>, WrongType> {
        let home = self.home(db, key);
        let Some(word) = self.find(home, key) else { return Ok(None) };
        if entry::kind_of(word).value_type() != T::TYPE {
            return Err(WrongType);
        }
        // SAFETY: the entry changes only through the store, which stays borrowed for as long as the view.
        Ok(T::view_of(&unsafe { word.entry_for() }.value()))
    }

    /// A collection among others that a command reads at once, all of which it has read by `read_as` before: changes nothing, and
    /// counts nothing again. An expired one is absent.
    pub fn look_as<T: Collection>(&self, db: usize, key: &[u8]) -> Result<Option<T::View<'_>>, WrongType> {
        let home = self.home(db, key);
        let word = self.databases[db].find(home.slot, home.hash, key);
        let Some(word) = word.filter(|&word| !self.has_expired(word)) else { return Ok(None) };
        if entry::kind_of(word).value_type() != T::TYPE {
            return Err(WrongType);
        }
        // SAFETY: the entry changes only through the store, which stays borrowed for as long as the view.
        Ok(T::view_of(&unsafe { word.entry_for() }.value()))
    }

    /// Lets `f` change a collection; `None`, and `f` is not run, when there is no such key. Touches the clock, keeps the
    /// TTL, and deletes a key whose collection has become empty.
    pub fn update<T: Collection, R>(
        &mut self,
        db: usize,
        key: &[u8],
        f: impl FnOnce(&mut T, &mut Tools) -> R,
    ) -> Result<Option<Updated<R>>, WrongType> {
        let home = self.home(db, key);
        match self.find(home, key) {
            Some(word) => self.update_word(home, key, word, f).map(Some),
            None => Ok(None),
        }
    }

    /// As `update`; a key that is not there gets what `f` makes of an empty collection, if that has any element then.
    pub fn update_or_create<T: Collection, R>(
        &mut self,
        db: usize,
        key: &[u8],
        f: impl FnOnce(&mut T, &mut Tools) -> R,
    ) -> Result<Updated<R>, WrongType> {
        let home = self.home(db, key);
        if let Some(word) = self.find(home, key) {
            return self.update_word(home, key, word, f);
        }
        let mut collection = T::empty();
        let result = f(&mut collection, &mut Tools { settings: &self.settings, rng: &mut self.rng });
        let created = !collection.is_empty();
        if created {
            self.remove_paused(home, key);
            let clock = self.fresh_clock();
            match collection.packed() {
                Some(bytes) if bytes.len() <= EMBEDDED_LEN_MAX => {
                    self.insert(home, key, Content::Embedded(bytes, collection.kind()), None, clock);
                }
                _ => self.insert(home, key, content_of(collection), None, clock),
            }
        }
        Ok(Updated { result, created, removed: false })
    }

    /// Stores a collection, whatever the key held. One without elements deletes the key, as the *STORE commands want it.
    pub fn set_collection<T: Collection>(&mut self, db: usize, key: &[u8], collection: T, ttl: Ttl) {
        if collection.is_empty() {
            self.remove(db, key);
            return;
        }
        let home = self.home(db, key);
        match collection.packed() {
            Some(bytes) if bytes.len() <= EMBEDDED_LEN_MAX => {
                self.set_at(home, key, Content::Embedded(bytes, collection.kind()), ttl);
            }
            _ => self.set_at(home, key, content_of(collection), ttl),
        }
    }

    /// Frees a collection that has left its key, in steps when it is large.
    pub fn discard<T: Collection>(&mut self, collection: T) {
        self.garbage.dispose(Some(Box::new(collection.into_object())), &mut self.keys);
    }

    /// The generator of random numbers, for commands that choose elements of a collection that they only read.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    fn update_word<T: Collection, R>(
        &mut self,
        home: Home,
        key: &[u8],
        word: Word,
        f: impl FnOnce(&mut T, &mut Tools) -> R,
    ) -> Result<Updated<R>, WrongType> {
        if entry::kind_of(word).value_type() != T::TYPE {
            return Err(WrongType);
        }
        self.touch_clock(word);
        let (result, removed) = if entry::is_boxed(word) {
            self.update_boxed(home, key, f)
        } else {
            self.update_embedded(home, key, word, f)
        };
        Ok(Updated { result, created: false, removed })
    }

    fn update_embedded<T: Collection, R>(
        &mut self,
        home: Home,
        key: &[u8],
        word: Word,
        f: impl FnOnce(&mut T, &mut Tools) -> R,
    ) -> (R, bool) {
        let entry = word.entry();
        let mut bytes = std::mem::take(&mut self.pack_scratch);
        bytes.clear();
        bytes.extend_from_slice(entry.embedded().expect("a collection is boxed or embedded"));
        let mut collection = T::from_packed(entry.kind(), bytes);
        let result = f(&mut collection, &mut Tools { settings: &self.settings, rng: &mut self.rng });
        let removed = collection.is_empty();
        if removed {
            self.delete(home, word);
        } else {
            let kind = collection.kind();
            let (expire_at, clock) = (entry.expire_at(), entry.clock());
            let (place, keys) = self.find_mut(home, key).expect("found already, and time stands still");
            let content = match collection.packed() {
                Some(bytes) if bytes.len() <= EMBEDDED_LEN_MAX => Content::Embedded(bytes, kind),
                _ => {
                    let content = content_of(collection);
                    // SAFETY: the word is in its table, and nobody else refers to its entry.
                    unsafe { entry::replace(place, content, expire_at, clock, keys) };
                    return (result, false);
                }
            };
            // SAFETY: as above. An embedded value leaves no object behind.
            unsafe { entry::replace(place, content, expire_at, clock, keys) };
        }
        let bytes = collection.into_packed();
        if bytes.capacity() <= SCRATCH_MAX {
            self.pack_scratch = bytes;
        }
        (result, removed)
    }

    fn update_boxed<T: Collection, R>(
        &mut self,
        home: Home,
        key: &[u8],
        f: impl FnOnce(&mut T, &mut Tools) -> R,
    ) -> (R, bool) {
        let (place, _) = self.find_mut(home, key).expect("found already, and time stands still");
        let place: *mut Word = place;
        let mut tools = Tools { settings: &self.settings, rng: &mut self.rng };
        let mut removed = false;
        let mut to_embed = None;
        let change = |object: &mut Object| {
            let collection = T::of_object(object).expect("the kind says what the object is");
            let result = f(collection, &mut tools);
            removed = collection.is_empty();
            if !removed {
                to_embed = collection
                    .packed()
                    .filter(|bytes| bytes.len() <= EMBEDDED_AGAIN_LEN_MAX)
                    .map(|bytes| (bytes.to_vec(), collection.kind()));
            }
            result
        };
        // SAFETY: the place is in a table of this store, which has not changed since; nobody else refers to the entry.
        let result = unsafe { entry::with_object(&mut *place, &mut self.keys, change) };
        // SAFETY: as above.
        let word = unsafe { *place };
        if removed {
            self.delete(home, word);
        } else if let Some((bytes, kind)) = to_embed {
            let (expire_at, clock) = (word.entry().expire_at(), word.entry().clock());
            let content = Content::Embedded(&bytes, kind);
            // SAFETY: as above.
            let object = unsafe { entry::replace(&mut *place, content, expire_at, clock, &mut self.keys) };
            self.garbage.dispose(object, &mut self.keys);
        }
        (result.expect("the word says that it is boxed"), removed)
    }
}
