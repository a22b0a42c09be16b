//! Which keys have changed, for those who keep copies of them (CLIENT TRACKING). Costs one branch a change while nobody does.

/// A key that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: Box<[u8]>,
    /// By a command; otherwise it has expired or was evicted.
    pub by_command: bool,
}

/// The changes since they were last taken: no more than one command, or a slice of housekeeping, makes.
#[derive(Debug, Default)]
pub struct Changes {
    pub is_wanted: bool,
    changes: Vec<Change>,
}

impl Changes {
    #[inline]
    pub fn note(&mut self, key: &[u8], by_command: bool) {
        if self.is_wanted {
            self.changes.push(Change { key: key.into(), by_command });
        }
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub fn take(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}
