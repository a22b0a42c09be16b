//! Writes the pieces of an RDB file, in the order and the form that Redis gives them.
//!
//! Whoever writes a file puts a [`Header`], the parts of all shards ([`put_part`]) and a [`trailer`] one after the other. Each piece
//! may be written elsewhere and by someone else: [`Summed`] measures it and takes its checksum on the way, and [`FileChecksum::then`]
//! computes that of the whole from those of the pieces.
//!
//! Nothing here allocates but for the encoder's buffers and what `Output` does: a part is written by forked children too.

#[cfg(test)]
mod tests;

use super::super::crc::{combine, crc64, Crc64};
use super::super::encode::{Encoder, Version};
use super::super::output::{put_length, put_time_ms, Output};
use super::Opcode;
use crate::store::{KeyView, Store, Usage};

/// Length of what ends a file, bytes: the opcode and the checksum.
pub const TRAILER_LEN: usize = 9;

/// What a file says of itself in front.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// The encoder's.
    pub version: Version,
    /// Unix time, seconds.
    pub created_s: i64,
    /// What the server had allocated then, bytes.
    pub used_memory: u64,
    /// The file is the base of an AOF.
    pub is_aof_base: bool,
    /// Fields more, as of replication.
    pub more: &'a [(&'a str, &'a [u8])],
}

impl Header<'_> {
    pub fn put(&self, encoder: &mut Encoder, output: &mut impl Output) {
        debug_assert_eq!(encoder.version(), self.version);
        output.put(b"REDIS");
        output.put(&self.version.digits());
        let mut digits = itoa::Buffer::new();
        put_aux(encoder, "redis-ver", crate::REDIS_VERSION.as_bytes(), output);
        put_aux(encoder, "redis-bits", b"64", output);
        put_aux(encoder, "ctime", digits.format(self.created_s).as_bytes(), output);
        put_aux(encoder, "used-mem", digits.format(self.used_memory).as_bytes(), output);
        for (name, value) in self.more {
            put_aux(encoder, name, value, output);
        }
        put_aux(encoder, "aof-base", if self.is_aof_base { b"1" } else { b"0" }, output);
    }

    /// The same, and behind it the libraries of functions, of which a file has each once, in front of all parts.
    pub fn put_with_functions<'c>(
        &self,
        codes: impl IntoIterator<Item = &'c [u8]>,
        encoder: &mut Encoder,
        output: &mut impl Output,
    ) {
        self.put(encoder, output);
        for code in codes {
            put_function(encoder, code, output);
        }
    }
}

fn put_aux(encoder: &mut Encoder, name: &str, value: &[u8], output: &mut impl Output) {
    output.put(&[Opcode::Aux as u8]);
    encoder.string(name.as_bytes(), output);
    encoder.string(value, output);
}

/// Writes a library of functions, which stands between the header and the first part.
pub fn put_function(encoder: &mut Encoder, code: &[u8], output: &mut impl Output) {
    output.put(&[Opcode::Function2 as u8]);
    encoder.string(code, output);
}

/// Writes all databases of a store. `goes_on` is asked after each key, and ends it there by answering false, for a reason that
/// the caller knows (the output has failed, someone wants it to stop): what is written then is no part of a file.
pub fn put_part<O: Output>(
    store: &Store,
    encoder: &mut Encoder,
    output: &mut O,
    goes_on: &mut dyn FnMut(&mut O) -> bool,
) -> bool {
    for db in (0..store.databases()).filter(|&db| !store.is_empty(db)) {
        put_database(db, store.len(db), store.volatile_len(db), output);
        let mut is_whole = true;
        store.for_each_view(db, &mut |view| {
            put_key(&view, encoder, output);
            is_whole = goes_on(output);
            is_whole
        });
        if !is_whole {
            return false;
        }
    }
    true
}

/// Begins a database of so many keys, so many of them with an expiry.
pub fn put_database(db: usize, keys: usize, volatile: usize, output: &mut impl Output) {
    put_select(db, output);
    output.put(&[Opcode::ResizeDb as u8]);
    put_length(output, keys as u64);
    put_length(output, volatile as u64);
}

/// The keys that follow are in this database.
pub fn put_select(db: usize, output: &mut impl Output) {
    output.put(&[Opcode::SelectDb as u8]);
    put_length(output, db as u64);
}

/// Writes a key with all that is kept of it.
pub fn put_key(view: &KeyView, encoder: &mut Encoder, output: &mut impl Output) {
    put_head(view, encoder, output);
    encoder.value(&view.value, output);
}

/// Writes what stands in front of the value of a key.
pub fn put_head(view: &KeyView, encoder: &mut Encoder, output: &mut impl Output) {
    if let Some(at_ms) = view.expire_at {
        output.put(&[Opcode::ExpireTimeMs as u8]);
        put_time_ms(output, at_ms);
    }
    match view.usage {
        Usage::NotAsked => {}
        Usage::Idle(seconds) => {
            output.put(&[Opcode::Idle as u8]);
            put_length(output, seconds as u64);
        }
        Usage::Frequency(counter) => output.put(&[Opcode::Frequency as u8, counter]),
    }
    output.put(&[encoder.kind(&view.value) as u8]);
    encoder.string(view.key, output);
}

/// A stretch of a file: how long it is, and its checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileChecksum {
    /// Bytes.
    pub len: u64,
    pub crc: u64,
}

impl FileChecksum {
    pub fn of(bytes: &[u8]) -> FileChecksum {
        FileChecksum { len: bytes.len() as u64, crc: crc64(bytes) }
    }

    /// This one and `next` behind it, as one.
    pub fn then(self, next: FileChecksum) -> FileChecksum {
        FileChecksum { len: self.len + next.len, crc: combine(self.crc, next.crc, next.len) }
    }
}

/// What comes behind `body`, which is all of the file so far. Without checksum (`rdbchecksum no`) it says so by a zero.
pub fn trailer(body: FileChecksum, with_checksum: bool) -> [u8; TRAILER_LEN] {
    let end = [Opcode::End as u8];
    let crc = if with_checksum { body.then(FileChecksum::of(&end)).crc } else { 0 };
    let mut trailer = [0; TRAILER_LEN];
    trailer[..1].copy_from_slice(&end);
    trailer[1..].copy_from_slice(&crc.to_le_bytes());
    trailer
}

/// Measures what goes through to another output. Give it stretches of some length: small ones cost more each.
#[derive(Debug)]
pub struct Summed<O> {
    pub output: O,
    len: u64,
    /// `None` with `rdbchecksum no`.
    crc: Option<Crc64>,
}

impl<O> Summed<O> {
    pub fn new(output: O, with_checksum: bool) -> Summed<O> {
        Summed { output, len: 0, crc: with_checksum.then(Crc64::new) }
    }

    /// What has gone through; without checksum, that is 0.
    pub fn checksummed(&self) -> FileChecksum {
        FileChecksum { len: self.len, crc: self.crc.as_ref().map_or(0, Crc64::value) }
    }
}

impl<O: Output> Output for Summed<O> {
    fn put(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        if let Some(crc) = &mut self.crc {
            crc.update(bytes);
        }
        self.output.put(bytes);
    }
}
