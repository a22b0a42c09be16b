//! The bytes that begin a record which is no key, or tell something about the key that follows.

use crate::rdb::error::Reason;

/// As in rdb.h, and what came after Redis 7.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The templates of the hashes that follow (Redis 8.10).
    HashTemplates = 242,
    /// What modules know of the next key (Redis 8.6); in a file of Valkey's: slots that are on their way into its cluster.
    KeyMeta = 243,
    /// What a cluster knows of the slot whose keys follow (Redis 7.4, Valkey 9): its number, its keys, those with an expiry.
    SlotInfo = 244,
    /// The source of a library of functions.
    Function2 = 245,
    /// The same as Redis 7.0's release candidates wrote it.
    FunctionBeforeRelease = 246,
    /// What a module keeps outside of keys.
    ModuleAux = 247,
    /// How long the next key has not been used, seconds.
    Idle = 248,
    /// The LFU counter of the next key.
    Frequency = 249,
    /// A name and a value, for whoever understands them.
    Aux = 250,
    ResizeDb = 251,
    /// When the next key expires, Unix milliseconds.
    ExpireTimeMs = 252,
    /// The same in seconds, of 32 bits.
    ExpireTime = 253,
    SelectDb = 254,
    /// The checksum follows, and that is all.
    End = 255,
}

pub const KEY_META: Reason = Reason::Unsupported("what modules know of a key");
pub(super) const SLOT_IMPORT: Reason =
    Reason::Unsupported("slots that were on their way into a cluster of Valkey 9");
pub(super) const HASH_TEMPLATES: Reason =
    Reason::Unsupported("templates of hashes, which came with Redis 8.10");

impl Opcode {
    const ALL: [Opcode; 14] = [
        Opcode::HashTemplates,
        Opcode::KeyMeta,
        Opcode::SlotInfo,
        Opcode::Function2,
        Opcode::FunctionBeforeRelease,
        Opcode::ModuleAux,
        Opcode::Idle,
        Opcode::Frequency,
        Opcode::Aux,
        Opcode::ResizeDb,
        Opcode::ExpireTimeMs,
        Opcode::ExpireTime,
        Opcode::SelectDb,
        Opcode::End,
    ];

    pub fn of_byte(byte: u8) -> Option<Opcode> {
        Opcode::ALL.into_iter().find(|opcode| *opcode as u8 == byte)
    }
}
