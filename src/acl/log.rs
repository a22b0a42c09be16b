//! What users were denied: ACL LOG.

use std::collections::VecDeque;

use super::check::Reason;

/// A denial that is like one of the last ten of the last minute counts with it.
const ALIKE_MS: i64 = 60_000;
const ALIKE_SCAN: usize = 10;

/// Where the request was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    TopLevel,
    Multi,
    Lua,
}

impl Context {
    pub const fn name(self) -> &'static str {
        match self {
            Context::TopLevel => "toplevel",
            Context::Multi => "multi",
            Context::Lua => "lua",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub id: u64,
    pub count: u64,
    pub reason: Reason,
    pub context: Context,
    /// The command, key or channel; of a login the command that tried.
    pub object: Box<[u8]>,
    pub user: Box<[u8]>,
    /// As CLIENT INFO shows it.
    pub client: Vec<u8>,
    pub created_ms: i64,
    pub updated_ms: i64,
}

/// The newest first.
#[derive(Debug, Default)]
pub struct AclLog {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl AclLog {
    /// Keeps at most `len_max`. The entry's number and count are set here.
    pub fn add(&mut self, entry: Entry, len_max: usize) {
        let is_alike = |known: &Entry| {
            known.reason == entry.reason
                && known.context == entry.context
                && (known.updated_ms - entry.updated_ms).abs() <= ALIKE_MS
                && known.object == entry.object
                && known.user == entry.user
        };
        let alike = self.entries.iter().take(ALIKE_SCAN).position(is_alike);
        match alike.and_then(|index| self.entries.remove(index)) {
            Some(known) => self.entries.push_front(Entry {
                count: known.count + 1,
                client: entry.client,
                updated_ms: entry.updated_ms,
                ..known
            }),
            None => {
                self.entries.push_front(Entry { id: self.next_id, count: 1, ..entry });
                self.next_id += 1;
                self.entries.truncate(len_max);
            }
        }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    pub fn newest(&self, count: usize) -> Vec<Entry> {
        self.entries.iter().take(count).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(object: &str, at_ms: i64) -> Entry {
        Entry {
            id: 0,
            count: 0,
            reason: Reason::Key,
            context: Context::TopLevel,
            object: object.as_bytes().into(),
            user: b"eve"[..].into(),
            client: format!("at {at_ms}").into_bytes(),
            created_ms: at_ms,
            updated_ms: at_ms,
        }
    }

    #[test]
    fn denials_that_are_alike_count_together_for_a_minute() {
        let mut acl_log = AclLog::default();
        acl_log.add(entry("a", 0), 3);
        acl_log.add(entry("b", 10), 3);
        acl_log.add(entry("a", 20), 3);
        let seen = acl_log.newest(10);
        assert_eq!((seen[0].count, seen[0].id, seen[0].created_ms, seen[0].updated_ms), (2, 0, 0, 20));
        assert_eq!((&seen[0].client[..], seen.len()), (&b"at 20"[..], 2));
        acl_log.add(entry("a", 60_021), 3);
        assert_eq!(acl_log.newest(1)[0].id, 2, "a minute later it is a new one");
        for at in 0..5 {
            acl_log.add(entry(&at.to_string(), 100_000), 3);
        }
        assert_eq!(acl_log.newest(10).len(), 3);
        acl_log.clear();
        assert!(acl_log.newest(10).is_empty());
    }
}
