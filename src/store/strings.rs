//! Strings: every operation is one look-up, and overwrites in place what fits.

use bytes::{Bytes, BytesMut};

use super::entry::{self, Content, EMBEDDED_LEN_MAX};
use super::lookup::Home;
use super::object::{Object, SharedString};
use super::value::EMBSTR_LEN_MAX;
use super::{parse_integer, Kind, NotInteger, Store, StringBuf, Ttl, Usage, Value, WrongType};

/// The largest buffer kept for the next `modify_string`, bytes.
const SCRATCH_MAX: usize = 16 * 1024;
/// A large string cut to this length, bytes, moves into its entry again; shorter than what is embedded at first, so that a
/// string at the border does not move to and fro.
const EMBEDDED_AGAIN_LEN_MAX: usize = EMBEDDED_LEN_MAX / 2;

/// A string as SET stores it, integers apart.
fn text_content(value: &[u8]) -> Content<'_> {
    if value.len() <= EMBSTR_LEN_MAX {
        Content::Embedded(value, Kind::Embstr)
    } else {
        raw_content(value)
    }
}

fn raw_content(value: &[u8]) -> Content<'_> {
    if value.len() <= EMBEDDED_LEN_MAX {
        Content::Embedded(value, Kind::Raw)
    } else {
        Content::Boxed(Box::new(Object::String(SharedString::new(Bytes::copy_from_slice(value)))))
    }
}

impl Store {
    /// Stores a string as SET does: an integer when it is one in canonical form, else embstr or raw.
    pub fn set_string(&mut self, db: usize, key: &[u8], value: &[u8], ttl: Ttl) {
        let content = match parse_integer(value) {
            Some(integer) => Content::Int(integer),
            None => text_content(value),
        };
        self.set(db, key, content, ttl);
    }

    /// Stores a string as `set_string`, but never as an integer (INCRBYFLOAT).
    pub fn set_text(&mut self, db: usize, key: &[u8], value: &[u8], ttl: Ttl) {
        self.set(db, key, text_content(value), ttl);
    }

    /// Stores a large string without copying it. The buffer behind `value` stays for as long as the key holds it, so it
    /// should not be much longer than the value. One short enough to lie in its entry is copied after all.
    #[cfg(test)]
    pub fn set_string_shared(&mut self, db: usize, key: &[u8], value: Bytes, ttl: Ttl) {
        if value.len() <= EMBEDDED_LEN_MAX {
            self.set_string(db, key, &value, ttl);
        } else {
            self.set(db, key, Content::Boxed(Box::new(Object::String(SharedString::new(value)))), ttl);
        }
    }

    /// Adds a string that comes from a file, encoded as `set_string` does; see `load`.
    pub fn load_string(
        &mut self,
        db: usize,
        key: &[u8],
        value: &[u8],
        expire_at: Option<i64>,
        usage: Usage,
    ) -> bool {
        let content = match parse_integer(value) {
            Some(integer) => Content::Int(integer),
            None => text_content(value),
        };
        self.load_content(db, key, content, expire_at, usage)
    }

    /// Stores a string as raw, whatever it looks like (BITOP). A large one is not copied.
    pub fn set_raw(&mut self, db: usize, key: &[u8], value: BytesMut, ttl: Ttl) {
        if value.len() <= EMBEDDED_LEN_MAX {
            self.set(db, key, Content::Embedded(&value, Kind::Raw), ttl);
        } else {
            self.set(db, key, Content::Boxed(Box::new(Object::String(SharedString::from_mut(value)))), ttl);
        }
    }

    #[cfg(test)]
    pub fn set_int(&mut self, db: usize, key: &[u8], value: i64, ttl: Ttl) {
        self.set(db, key, Content::Int(value), ttl);
    }

    /// Replaces whatever the key holds.
    fn set(&mut self, db: usize, key: &[u8], content: Content, ttl: Ttl) {
        let home = self.home(db, key);
        self.set_at(home, key, content, ttl);
    }

    pub(super) fn set_at(&mut self, home: Home, key: &[u8], content: Content, ttl: Ttl) {
        let fresh = self.fresh_clock();
        let keeps_clock = self.settings.maxmemory_policy.is_lfu();
        if let Some(place) = self.find_place(home, key) {
            // SAFETY: the place is in a table of this store, which does not change before it is used for the last time.
            let word = unsafe { &mut *place };
            if entry::epoch_of(*word) != self.epoch {
                self.before_replacement(home.db, word);
            }
            let old = word.entry();
            let had = entry::has_expiry(*word);
            let expire_at = match ttl {
                Ttl::Keep => old.expire_at(),
                Ttl::None => None,
                Ttl::At(at_ms) => Some(at_ms),
            };
            let clock = match (keeps_clock, ttl) {
                (false, _) => fresh,
                // Whoever changes a value has counted that as a use, or is not to.
                (true, Ttl::Keep) => old.clock(),
                (true, _) if self.no_touch => old.clock(),
                (true, _) => old.clock().used(&self.settings, self.now_ms, &mut self.rng),
            };
            // SAFETY: the word is in its table, and nobody else refers to its entry.
            let object = unsafe { entry::replace(word, content, expire_at, clock, &mut self.keys) };
            self.databases[home.db].recount_expiry(home.slot, had, expire_at.is_some());
            self.garbage.dispose(object, &mut self.keys);
            self.ready(home.db, key);
            return;
        }
        let expire_at = match ttl {
            Ttl::Keep | Ttl::None => None,
            Ttl::At(at_ms) => Some(at_ms),
        };
        self.remove_paused(home, key);
        self.insert(home, key, content, expire_at, fresh);
    }

    /// An expired key that was not deleted may still be in the way of a new one.
    pub(super) fn remove_paused(&mut self, home: Home, key: &[u8]) {
        if !self.expire_paused && !self.keeps_expired && !self.passed_over {
            return;
        }
        if let Some(word) = self.databases[home.db].find(home.slot, home.hash, key) {
            if self.log_enabled {
                self.expired_effects.push((home.db, key.to_vec()));
            }
            self.delete(home, word);
        }
    }

    /// Runs `f` on the bytes of a string, an integer's being its digits and an absent key's none. What `f` left is then
    /// stored as raw, with the TTL kept; if it changed nothing, nothing changes, and an absent key stays absent.
    /// (APPEND, SETRANGE, SETBIT.)
    pub fn modify_string<R>(
        &mut self,
        db: usize,
        key: &[u8],
        f: impl FnOnce(&mut StringBuf) -> R,
    ) -> Result<R, WrongType> {
        let home = self.home(db, key);
        let found = self.find(home, key);
        if let Some(word) = found {
            if !entry::kind_of(word).is_string() {
                return Err(WrongType);
            }
            self.touch_clock(word);
            if entry::kind_of(word) == Kind::RawShared {
                return Ok(self.modify_outline(home, key, f));
            }
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        if let Some(word) = found {
            match word.entry().value() {
                Value::Int(value) => scratch.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
                Value::Bytes(bytes) => scratch.extend_from_slice(bytes),
                // A large string has been dealt with above.
                _ => {}
            }
        }
        let mut buf = StringBuf::new(scratch);
        let result = f(&mut buf);
        let changed = buf.is_changed();
        let bytes = buf.into_inner();
        if changed && bytes.len() > EMBEDDED_LEN_MAX {
            let shared = SharedString::from_mut(bytes);
            self.set_at(home, key, Content::Boxed(Box::new(Object::String(shared))), Ttl::Keep);
        } else {
            if changed {
                self.set_at(home, key, Content::Embedded(&bytes, Kind::Raw), Ttl::Keep);
            }
            if bytes.capacity() <= SCRATCH_MAX {
                self.scratch = bytes;
            }
        }
        Ok(result)
    }

    /// `modify_string` on a large string, in its own buffer.
    fn modify_outline<R>(&mut self, home: Home, key: &[u8], f: impl FnOnce(&mut StringBuf) -> R) -> R {
        let mut short = None;
        let result = self.change_object(home, key, |object| {
            let shared = object.outline_mut().expect("the kind says that it is a large string");
            let mut buf = StringBuf::new(std::mem::take(shared).into_mut());
            let result = f(&mut buf);
            let bytes = buf.into_inner();
            if bytes.len() <= EMBEDDED_AGAIN_LEN_MAX {
                short = Some(bytes.to_vec());
            }
            *shared = SharedString::from_mut(bytes);
            result
        });
        if let Some(bytes) = short {
            self.set_at(home, key, Content::Embedded(&bytes, Kind::Raw), Ttl::Keep);
        }
        result.expect("the caller has just found it")
    }

    /// INCR's one look-up: `f` gets the integer that the key holds (`None`: no key) and answers the one to store. The TTL
    /// is kept. A string that is no integer is an error, and so is another type.
    pub fn modify_int<E: From<WrongType> + From<NotInteger>>(
        &mut self,
        db: usize,
        key: &[u8],
        f: impl FnOnce(Option<i64>) -> Result<i64, E>,
    ) -> Result<i64, E> {
        let home = self.home(db, key);
        let Some(word) = self.find(home, key) else {
            let new = f(None)?;
            self.remove_paused(home, key);
            self.insert(home, key, Content::Int(new), None, self.fresh_clock());
            return Ok(new);
        };
        if !entry::kind_of(word).is_string() {
            return Err(WrongType.into());
        }
        self.touch_clock(word);
        let entry = word.entry();
        if entry::kind_of(word) == Kind::Int {
            let Value::Int(old) = entry.value() else { unreachable!("an int is a Value::Int") };
            let new = f(Some(old))?;
            if entry::epoch_of(word) != self.epoch {
                self.find_mut(home, key);
            }
            entry.set_int(new);
            return Ok(new);
        }
        let old = match entry.value() {
            Value::Int(value) => Some(value),
            Value::Bytes(bytes) => parse_integer(bytes),
            _ => None,
        };
        let new = f(Some(old.ok_or(NotInteger)?))?;
        self.set_at(home, key, Content::Int(new), Ttl::Keep);
        Ok(new)
    }
}
