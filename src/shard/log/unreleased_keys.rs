//! While a disk fails under `appendfsync always`, reads go on: only those wait that would show what is not safe yet.
//!
//! Which keys those are says the log itself, of which everything that is not released is in memory. It is looked through when
//! the first read asks, and from there on only what has been appended since. When somebody's disk fails nothing else is as
//! urgent; as long as all work, replies just wait for their position and nothing of this is used.

use std::collections::HashSet;

use super::{Log, Piece};
use crate::command::table::{self, Flag, KeyPositions};
use crate::resp::{Limits, Progress, RequestParser};
use crate::txn::locks::{fingerprint, Fingerprint};

/// More changed keys than this are all keys.
const KEYS_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct UnreleasedKeys {
    /// Everything in front of this position has been looked at.
    until: u64,
    /// In whatever database.
    keys: HashSet<Fingerprint, foldhash::fast::RandomState>,
    /// Something that is no single key's, or that nobody knows.
    every_key: bool,
}

impl UnreleasedKeys {
    fn look_at(&mut self, mut bytes: &[u8]) {
        let limits = Limits { bulk_len_max: usize::MAX, authenticated: true };
        let mut parser = RequestParser::new();
        while !bytes.is_empty() && !self.every_key {
            if bytes[0] == b'#' {
                let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
                bytes = &bytes[end..];
                continue;
            }
            let Ok(Progress::Complete { len }) = parser.parse(bytes, &limits) else {
                self.every_key = true;
                return;
            };
            let args: Vec<&[u8]> =
                parser.args().iter().map(|arg| &bytes[arg.start..arg.start + arg.len]).collect();
            self.note(&args);
            bytes = &bytes[len..];
        }
    }

    fn note(&mut self, args: &[&[u8]]) {
        let Some(spec) = table::original_names().find(args) else { return };
        if !spec.is(Flag::Write) {
            return;
        }
        let mut keys = KeyPositions::new();
        spec.key_positions(args, &mut keys);
        self.keys.extend(keys.iter().map(|key| fingerprint(args[key.index])));
        self.every_key |= keys.is_empty() || self.keys.len() > KEYS_MAX;
    }
}

impl Log {
    /// Whether a read of these keys would show what may not be seen yet. Of no keys: whether anything is there to be shown.
    pub fn is_fresh<'a>(&mut self, keys: impl IntoIterator<Item = &'a [u8]>) -> bool {
        if !self.holds(self.appended) {
            return false;
        }
        self.look_at_new();
        let fresh = &self.unreleased;
        let mut any = false;
        for key in keys {
            any = true;
            if fresh.every_key || fresh.keys.contains(&fingerprint(key)) {
                return true;
            }
        }
        !any
    }

    fn look_at_new(&mut self) {
        let mut fresh = std::mem::take(&mut self.unreleased);
        let from = fresh.until.max(self.released());
        let in_memory = [&self.kept, &self.queue].into_iter().flatten().chain([&self.filling]);
        let mut at = from;
        for piece in in_memory.filter(|piece| piece.end() > from) {
            fresh.every_key |= piece.from > at;
            fresh.look_at(behind(piece, at));
            at = piece.end();
        }
        fresh.until = self.appended;
        self.unreleased = fresh;
    }

    /// Everything is released.
    pub(super) fn forget_unreleased(&mut self) {
        if self.unreleased.until > 0 {
            self.unreleased = UnreleasedKeys::default();
        }
    }
}

fn behind(piece: &Piece, position: u64) -> &[u8] {
    piece.bytes.get(position.saturating_sub(piece.from) as usize..).unwrap_or_default()
}
