//! Operations on keys of any type: removing, moving, expiry, and what OBJECT tells.

use super::clock::Clock;
use super::entry::{self, Content, Entry, Word, EMBEDDED_LEN_MAX};
use super::lookup::{Home, NOWHERE};
use super::object::{Object, SharedString};
use super::value::Payload;
use super::{Detached, Kind, Store, Ttl, Usage, Value, ValueType};

/// Small integers that Redis shares between keys: 0 up to this one.
const SHARED_INTEGERS_END: i64 = 10_000;
/// What Redis shows as their reference count.
const SHARED_REFCOUNT: i64 = i32::MAX as i64;
/// About what a key takes in its table, bytes.
const TABLE_BYTES_PER_KEY: usize = 12;

/// What OBJECT, DEBUG OBJECT and MEMORY USAGE tell about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    pub kind: Kind,
    /// Seconds since the last use. Meaningless under an LFU policy.
    pub idle_s: u64,
    /// The LFU counter, decayed until now. Meaningless under any other policy.
    pub frequency: u8,
    /// 1, or `i32::MAX` where Redis would share a small integer.
    pub refcount: i64,
    /// Bytes allocated for key and value, and about what the table adds.
    pub memory_bytes: usize,
}

impl Store {
    /// Where the key's entry lies in memory; stays the same while its value changes in place. For DEBUG OBJECT.
    pub fn address(&mut self, db: usize, key: &[u8]) -> Option<usize> {
        let home = self.home(db, key);
        self.find(home, key).map(|word| word.entry().key().as_ptr() as usize)
    }

    /// Type and encoding, exactly. Looks up as `peek`.
    pub fn kind(&mut self, db: usize, key: &[u8]) -> Option<Kind> {
        let home = self.home(db, key);
        self.find(home, key).map(entry::kind_of)
    }

    /// The type of a key that is alive. One that has expired stays, and goes when a command looks it up.
    pub fn type_of_living(&mut self, db: usize, key: &[u8]) -> Option<ValueType> {
        let home = self.home(db, key);
        let word = self.databases[home.db].find(home.slot, home.hash, key)?;
        (!self.has_expired(word)).then(|| entry::kind_of(word).value_type())
    }

    /// Deletes a key. What would take long to free is left to `free_some`.
    pub fn remove(&mut self, db: usize, key: &[u8]) -> bool {
        let home = self.home(db, key);
        let Some(word) = self.find(home, key) else {
            return false;
        };
        self.delete(home, word);
        true
    }

    /// Takes value, expiry and clock out, and deletes the key.
    pub fn take(&mut self, db: usize, key: &[u8]) -> Option<Detached> {
        let home = self.home(db, key);
        let word = self.find(home, key)?;
        let word = self.unlink(home, word);
        if entry::epoch_of(word) != self.epoch {
            self.before_removal(db, word);
        }
        let entry = word.entry();
        let (kind, expire_at, clock) = (entry.kind(), entry.expire_at(), entry.clock());
        let unboxed = unboxed_payload(entry);
        // SAFETY: the word is in no table any more and not used again; the payload is a copy.
        let object = unsafe { entry::destroy(word, &mut self.keys) };
        let payload = object.map(Payload::Object).or(unboxed).expect("a value is embedded or boxed");
        Some(Detached { payload, kind, expire_at, clock })
    }

    /// Stores a value under a key, with the value's own expiry, replacing what was there.
    pub fn put(&mut self, db: usize, key: &[u8], value: Detached) {
        let home = self.home(db, key);
        let Detached { payload, kind, expire_at, clock } = value;
        let clock = if clock == Clock::UNSET { self.fresh_clock() } else { clock };
        with_content(payload, kind, |content| self.put_content(home, key, content, expire_at, clock));
    }

    /// Adds a key that comes from a file; false, and nothing happens, when it is there already, expired or not. It is nobody's
    /// doing: no event is raised, no watcher told.
    pub fn load(&mut self, db: usize, key: &[u8], value: Detached, usage: Usage) -> bool {
        let Detached { payload, kind, expire_at, .. } = value;
        with_content(payload, kind, |content| self.load_content(db, key, content, expire_at, usage))
    }

    pub(super) fn load_content(
        &mut self,
        db: usize,
        key: &[u8],
        content: Content,
        expire_at: Option<i64>,
        usage: Usage,
    ) -> bool {
        let home = self.home(db, key);
        if home.slot == NOWHERE || self.databases[db].find(home.slot, home.hash, key).is_some() {
            return false;
        }
        let counts_use = self.settings.maxmemory_policy.is_lfu();
        let clock = match usage {
            Usage::Frequency(counter) if counts_use => Clock::lfu(self.now_ms, counter),
            Usage::Idle(seconds) if !counts_use => Clock::lru(self.now_ms, seconds as u64),
            _ => self.fresh_clock(),
        };
        let word = entry::create(key, content, expire_at, clock, &mut self.keys);
        let slots = self.slots().len();
        self.databases[db].insert(home.slot, home.hash, word, slots, &mut self.keys);
        true
    }

    fn put_content(
        &mut self,
        home: Home,
        key: &[u8],
        content: Content,
        expire_at: Option<i64>,
        clock: Clock,
    ) {
        self.set_at(home, key, content, expire_at.map_or(Ttl::None, Ttl::At));
        if let Some(word) = self.databases[home.db].find(home.slot, home.hash, key) {
            word.entry().set_clock(clock);
        }
    }

    /// A copy of value, expiry and clock that shares no memory with the key's.
    pub fn clone_value(&mut self, db: usize, key: &[u8]) -> Option<Detached> {
        let home = self.home(db, key);
        self.find(home, key).map(copy_of)
    }

    /// When the key expires, Unix milliseconds: `None` when there is no key, `Some(None)` when it has no TTL.
    pub fn expire_at(&mut self, db: usize, key: &[u8]) -> Option<Option<i64>> {
        let home = self.home(db, key);
        self.find(home, key).map(|word| word.entry().expire_at())
    }

    /// Sets the expiry (Unix milliseconds) or removes it; false when there is no key.
    pub fn set_expire(&mut self, db: usize, key: &[u8], at_ms: Option<i64>) -> bool {
        let home = self.home(db, key);
        let Some(place) = self.find_place(home, key) else {
            return false;
        };
        // SAFETY: the place is in a table of this store, which does not change before it is used for the last time.
        let word = unsafe { &mut *place };
        if entry::epoch_of(*word) != self.epoch {
            self.before_expiry(home.db, word);
        }
        let had = entry::has_expiry(*word);
        // SAFETY: the word is in its table, and nobody else refers to its entry.
        unsafe { entry::set_expiry(word, at_ms, &mut self.keys) };
        self.databases[home.db].recount_expiry(home.slot, had, at_ms.is_some());
        true
    }

    /// Touches the key's LRU/LFU clock (TOUCH, whatever `no_touch` says); false when there is no key.
    pub fn touch(&mut self, db: usize, key: &[u8]) -> bool {
        let home = self.home(db, key);
        let Some(word) = self.find(home, key) else {
            return false;
        };
        let entry = word.entry();
        entry.set_clock(entry.clock().used(&self.settings, self.now_ms, &mut self.rng));
        true
    }

    pub fn describe(&mut self, db: usize, key: &[u8]) -> Option<Description> {
        let home = self.home(db, key);
        let word = self.find(home, key)?;
        let entry = word.entry();
        let settings = &self.settings;
        let policy = settings.maxmemory_policy;
        let may_share = settings.maxmemory == 0 || !(policy.is_lru() || policy.is_lfu());
        let shared = match entry.value() {
            Value::Int(value) => may_share && (0..SHARED_INTEGERS_END).contains(&value),
            _ => false,
        };
        Some(Description {
            kind: entry.kind(),
            idle_s: entry.clock().idle_s(self.now_ms) as u64,
            frequency: entry.clock().counter(settings, self.now_ms),
            refcount: if shared { SHARED_REFCOUNT } else { 1 },
            memory_bytes: entry.memory() + entry.object().map_or(0, Object::memory) + TABLE_BYTES_PER_KEY,
        })
    }

    /// As if the key had last been used so long ago (RESTORE IDLETIME, a loaded file); false when there is no key.
    pub fn set_idle(&mut self, db: usize, key: &[u8], idle_s: u64) -> bool {
        let clock = Clock::lru(self.now_ms, idle_s);
        self.set_clock(db, key, clock)
    }

    /// Sets the LFU counter; false when there is no key.
    pub fn set_freq(&mut self, db: usize, key: &[u8], frequency: u8) -> bool {
        let clock = Clock::lfu(self.now_ms, frequency);
        self.set_clock(db, key, clock)
    }

    /// As `exists`, and touches the key's clock as a look-up by a command does.
    pub fn use_key(&mut self, db: usize, key: &[u8]) -> bool {
        let home = self.home(db, key);
        let found = self.find(home, key);
        if let Some(word) = found {
            self.touch_clock(word);
        }
        found.is_some()
    }

    /// The word of a key that another shard borrows. One that has expired is lent too, so that it goes when the command comes upon it,
    /// and not before; but to all who may not delete it, it is absent.
    fn find_to_copy(&mut self, home: Home, key: &[u8]) -> Option<Word> {
        let word = self.databases[home.db].find(home.slot, home.hash, key)?;
        if self.has_expired(word) {
            if self.keeps_expired {
                return None;
            }
            if self.is_protected(word) {
                self.passed_over = true;
                return None;
            }
        }
        Some(word)
    }

    /// A copy of value, expiry and clock, to be lent.
    pub fn copy_value(&mut self, db: usize, key: &[u8]) -> Option<Detached> {
        let home = self.home(db, key);
        self.find_to_copy(home, key).map(copy_of)
    }

    /// A string in place of a value that is not to be looked at, with its expiry and clock.
    pub fn copy_stand_in(&mut self, db: usize, key: &[u8]) -> Option<Detached> {
        let home = self.home(db, key);
        let word = self.find_to_copy(home, key)?;
        let entry = word.entry();
        let stand_in = Detached::from_string(b"", entry.expire_at());
        Some(Detached { clock: entry.clock(), ..stand_in })
    }

    /// Whether the key is there, but has expired.
    pub fn is_expired(&self, db: usize, key: &[u8]) -> bool {
        let home = self.home(db, key);
        self.databases[db].find(home.slot, home.hash, key).is_some_and(|word| self.has_expired(word))
    }

    /// An excerpt of a key's value, which counts as used when and as often as that.
    pub fn used_as(&mut self, db: usize, key: &[u8], excerpt: Detached) -> Detached {
        let home = self.home(db, key);
        match self.find(home, key) {
            Some(word) => Detached { clock: word.entry().clock(), ..excerpt },
            None => excerpt,
        }
    }

    /// What another shard has seen of a key's use. One that is gone meanwhile is none of its business.
    pub fn note_use(&mut self, db: usize, key: &[u8], clock: Clock) {
        let home = self.home(db, key);
        if let Some(word) = self.databases[db].find(home.slot, home.hash, key) {
            word.entry().set_clock(clock);
        }
    }

    fn set_clock(&mut self, db: usize, key: &[u8], clock: Clock) -> bool {
        let home = self.home(db, key);
        let Some(word) = self.find(home, key) else {
            return false;
        };
        word.entry().set_clock(clock);
        true
    }
}

/// What an entry of this value holds. Short bytes are lent from the payload, hence the call.
fn with_content<R>(payload: Payload, kind: Kind, put: impl FnOnce(Content) -> R) -> R {
    match payload {
        Payload::Int(value) => put(Content::Int(value)),
        Payload::Packed(bytes) if bytes.len() <= EMBEDDED_LEN_MAX => put(Content::Embedded(&bytes, kind)),
        Payload::Packed(bytes) => put(Content::Boxed(Box::new(Object::String(SharedString::new(
            bytes::Bytes::copy_from_slice(&bytes),
        ))))),
        Payload::Object(object) => put(Content::Boxed(object)),
    }
}

/// A copy of value, expiry and clock of an entry.
fn copy_of(word: Word) -> Detached {
    let entry = word.entry();
    let payload = match entry.object() {
        Some(object) => Payload::Object(Box::new(object.duplicate())),
        None => unboxed_payload(entry).expect("a value is embedded or boxed"),
    };
    Detached { payload, kind: entry.kind(), expire_at: entry.expire_at(), clock: entry.clock() }
}

/// A copy of a value that lies in its entry; `None` when it is an object.
fn unboxed_payload(entry: Entry) -> Option<Payload> {
    match (entry.embedded(), entry.value()) {
        (Some(bytes), _) => Some(Payload::Packed(bytes.to_vec())),
        (None, Value::Int(value)) => Some(Payload::Int(value)),
        (None, _) => None,
    }
}
