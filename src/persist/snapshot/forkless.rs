//! Writes the keys of a snapshot without fork (see `store::snapshot`) as a part of an RDB file: what `rdb::file::put_part` writes
//! at once, in the order in which they come.

use crate::rdb::file::{put_database, put_head, put_key, put_select};
use crate::rdb::{Encoder, Format, Output, Pieces};
use crate::store::{KeyView, SaveKeys, SnapshotBuffer, Value};

/// Strings longer than that are compressed in segments when they are values, and not at all when they are elements, bytes:
/// what can be compressed without a noticeable pause.
const COMPRESSED_LEN_MAX: usize = 64 * 1024;

pub struct Forkless {
    encoder: Encoder,
    /// The database of the key that came last.
    db: Option<usize>,
    pieces: Pieces,
}

impl Forkless {
    pub fn new(format: Format) -> Forkless {
        let mut encoder = Encoder::new(format);
        encoder.limit_compression(COMPRESSED_LEN_MAX);
        Forkless { encoder, db: None, pieces: Pieces::default() }
    }

    fn select(&mut self, db: usize, out: &mut SnapshotBuffer) {
        if self.db.replace(db) != Some(db) {
            put_select(db, out);
        }
    }
}

impl Output for SnapshotBuffer {
    fn put(&mut self, bytes: &[u8]) {
        SnapshotBuffer::put(self, bytes);
    }
}

impl SaveKeys for Forkless {
    fn database(&mut self, db: usize, keys: usize, volatile: usize, out: &mut SnapshotBuffer) {
        self.db = Some(db);
        put_database(db, keys, volatile, out);
    }

    fn key(&mut self, db: usize, view: &KeyView, out: &mut SnapshotBuffer) {
        // What comes between the pieces of a key stands behind it in the end, in a database selected by then.
        self.select(db, out);
        put_key(view, &mut self.encoder, out);
    }

    fn begin(&mut self, db: usize, view: &KeyView, out: &mut SnapshotBuffer) {
        self.select(db, out);
        put_head(view, &mut self.encoder, out);
        self.pieces.begin(&self.encoder, &view.value, out);
    }

    fn piece(&mut self, value: &Value, out: &mut SnapshotBuffer) -> bool {
        self.pieces.go_on(&mut self.encoder, value, out)
    }
}
