//! The log as a sink of the journal: what a unit looks like in the file.
//!
//! `[#TS] [#GTX] command`, or the same with `MULTI ... EXEC` around several; SELECT where the database changes.

use super::Log;
use crate::journal::{Entry, Sink};
use crate::persist::aof::write::{put_exec, put_multi, put_part, put_select, Timestamps};

/// What the next unit continues.
#[derive(Debug, Default)]
pub(super) struct Form {
    /// The database that the log is in; `None` at the beginning of a file.
    db: Option<usize>,
    timestamps: Timestamps,
    /// `aof-timestamp-enabled`
    pub has_timestamps: bool,
}

impl Form {
    /// The log begins, or continues in a new file.
    pub fn begin_file(&mut self) {
        self.db = None;
        self.timestamps = Timestamps::default();
    }
}

impl Sink for Log {
    fn append(&mut self, entry: &Entry) {
        // The only writer's part is complete by itself.
        let part = entry.part.filter(|part| part.writers.len() > 1);
        let (unit, form, out) = (entry.unit, &mut self.form, &mut self.filling.bytes);
        if part.is_none() && unit.logged() == 0 {
            return;
        }
        if form.has_timestamps {
            form.timestamps.put(out, entry.now_us / 1_000_000);
        }
        if let Some(part) = part {
            put_part(out, part.transaction, part.writers, unit.logged() == 0);
        }
        if unit.logged() > 1 {
            put_multi(out);
        }
        for (place, command) in unit.view().commands().filter(|(place, _)| place.audience.has_log()) {
            if form.db != Some(place.db) {
                put_select(out, place.db);
                form.db = Some(place.db);
            }
            out.extend_from_slice(command);
        }
        if unit.logged() > 1 {
            put_exec(out);
        }
        self.unit_end();
    }
}
