//! Which history of the data this server has, and up to where: replication ids, and what a replica may go on from.
//!
//! An id names one history. A promoted replica begins a history of its own, but what it has is the old master's up to the
//! promotion: that is the second id, valid up to its offset. So the other replicas of the old master, and the old master itself, can
//! go on with what they are missing:
//!
//! ```text
//!   id A   1 ........ 500 | 501 ........        the old master
//!                          \
//!   id B                    501 ....... 730     promoted at 500:  id = B, id2 = A, second offset = 501
//!
//!   PSYNC A 420  -> continue (its history is A's up to 500)
//!   PSYNC A 501  -> continue
//!   PSYNC A 502  -> full: byte 501 of A is not byte 501 of B
//!   PSYNC B 600  -> continue
//! ```
//!
//! A history without a backlog has no offsets that mean anything: writes are not counted then. So a backlog made anew, or given
//! up, is always a new id without a second one.

use std::fmt;

use super::backlog::Backlog;

pub const ID_LEN: usize = 40;

/// A replication id: 40 characters, as a rule hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplicationId([u8; ID_LEN]);

impl ReplicationId {
    /// From 20 random bytes.
    pub fn from_random(random: [u8; ID_LEN / 2]) -> ReplicationId {
        let digit = |number: u8| b"0123456789abcdef"[usize::from(number & 15)];
        let mut text = [0; ID_LEN];
        for (pair, byte) in text.chunks_exact_mut(2).zip(random) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte)]);
        }
        ReplicationId(text)
    }

    /// `None` unless it is 40 printable characters: ids go into replies, INFO and files.
    pub fn parse(text: &[u8]) -> Option<ReplicationId> {
        let text: [u8; ID_LEN] = text.try_into().ok()?;
        text.iter().all(u8::is_ascii_graphic).then_some(ReplicationId(text))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As Redis compares them where a replica asks.
    pub fn is(&self, text: &[u8]) -> bool {
        self.0.eq_ignore_ascii_case(text)
    }
}

impl fmt::Display for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What INFO shows for a second id that there is not.
pub const NO_ID: ReplicationId = ReplicationId([b'0'; ID_LEN]);

/// The history that was this server's before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Before {
    id: ReplicationId,
    /// The first offset at which the two may differ.
    until: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    id: ReplicationId,
    before: Option<Before>,
    /// It is that of a replica as its disk had it at the start, and nothing has come since: the server may have had more before.
    is_restored: bool,
}

/// Why a full synchronisation is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullCause {
    /// The replica asked for it: its id is `?`.
    Asked,
    /// It came by SYNC, which knows of no offsets.
    Sync,
    UnknownId,
    /// The second id, but past the offset up to which it is ours.
    PastSecondId {
        asked: i64,
        until: u64,
    },
    NoBacklog,
    /// Older than the backlog.
    TooOld {
        asked: i64,
        first: u64,
    },
    /// Of the future.
    TooNew {
        asked: i64,
        end: u64,
    },
}

impl FullCause {
    /// For counters and log lines: syncs by cause.
    pub fn name(self) -> &'static str {
        match self {
            FullCause::Asked => "asked",
            FullCause::Sync => "sync",
            FullCause::UnknownId => "unknown-id",
            FullCause::PastSecondId { .. } => "past-second-id",
            FullCause::NoBacklog => "no-backlog",
            FullCause::TooOld { .. } => "too-old",
            FullCause::TooNew { .. } => "too-new",
        }
    }

    /// Whether a partial one was tried in vain, which INFO counts as `sync_partial_err`.
    pub fn is_failed_partial(self) -> bool {
        !matches!(self, FullCause::Asked | FullCause::Sync)
    }
}

/// What a request for synchronisation gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The stream goes on at this offset, under the id that the server has now.
    Continue {
        from: u64,
    },
    Full(FullCause),
}

/// What a snapshot says of the history that it is of, as fields in its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub id: ReplicationId,
    /// Offset of the last byte that the data have.
    pub offset: u64,
    /// The database that the stream has selected; `None`: the stream will select one.
    pub stream_db: Option<usize>,
}

const FIELD_ID: &[u8] = b"repl-id";
const FIELD_OFFSET: &[u8] = b"repl-offset";
const FIELD_DB: &[u8] = b"repl-stream-db";

impl Kept {
    /// The fields, to be written into an RDB file.
    pub fn fields(&self) -> Vec<(&'static [u8], Vec<u8>)> {
        let mut fields = Vec::new();
        if let Some(db) = self.stream_db {
            fields.push((FIELD_DB, db.to_string().into_bytes()));
        }
        fields.push((FIELD_ID, self.id.as_bytes().to_vec()));
        fields.push((FIELD_OFFSET, self.offset.to_string().into_bytes()));
        fields
    }

    /// From a file's fields. `None` when they are not there, or make no sense.
    pub fn from_fields<'a>(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Option<Kept> {
        let (mut id, mut offset, mut stream_db) = (None, None, None);
        for (name, value) in fields {
            if name.eq_ignore_ascii_case(FIELD_ID) {
                id = ReplicationId::parse(value);
            } else if name.eq_ignore_ascii_case(FIELD_OFFSET) {
                offset = number(value);
            } else if name.eq_ignore_ascii_case(FIELD_DB) {
                stream_db = number(value).and_then(|db| usize::try_from(db).ok());
            }
        }
        Some(Kept { id: id?, offset: offset?, stream_db })
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl History {
    /// A history that begins here.
    pub fn new(id: ReplicationId) -> History {
        History { id, before: None, is_restored: false }
    }

    /// That of a master which has been restarted: what it had is the second one, up to what it has loaded, for it may have lost
    /// what came after.
    pub fn restarted_as_master(kept: &Kept, new_id: ReplicationId) -> History {
        let before = Some(Before { id: kept.id, until: kept.offset + 1 });
        History { before, ..History::new(new_id) }
    }

    /// That of a replica which has been restarted, and will ask its master to go on.
    pub fn restarted_as_replica(kept: &Kept) -> History {
        History { is_restored: true, ..History::new(kept.id) }
    }

    /// Whether a replica may have had more of this history before it was started: it has not heard of its master since.
    pub fn is_restored(&self) -> bool {
        self.is_restored
    }

    pub fn id(&self) -> ReplicationId {
        self.id
    }

    /// INFO's `master_replid2`.
    pub fn second_id(&self) -> ReplicationId {
        self.before.map_or(NO_ID, |before| before.id)
    }

    /// INFO's `second_repl_offset`; -1 without a second id.
    pub fn second_offset(&self) -> i64 {
        self.before.map_or(-1, |before| before.until as i64)
    }

    /// A replica becomes a master: what it has, up to `offset`, stays known under the old id.
    pub fn promote(&mut self, offset: u64, new_id: ReplicationId) {
        self.before = Some(Before { id: self.id, until: offset + 1 });
        self.id = new_id;
        self.is_restored = false;
    }

    /// A backlog is made anew, or given up: nothing from before is known.
    pub fn renew(&mut self, new_id: ReplicationId) {
        *self = History::new(new_id);
    }

    /// A replica has got the master's data by a full synchronisation.
    pub fn adopt(&mut self, master_id: ReplicationId) {
        *self = History::new(master_id);
    }

    /// The master goes on under another id (`+CONTINUE id`): what is here up to `offset` was the old one's. Returns whether the id
    /// has changed, so that the replicas of this replica must be disconnected to learn of it.
    pub fn continue_as(&mut self, master_id: ReplicationId, offset: u64) -> bool {
        self.is_restored = false;
        if master_id == self.id {
            return false;
        }
        self.promote(offset, master_id);
        true
    }

    /// What `PSYNC id offset` gets. `backlog` is the stream's, if there is one.
    pub fn decide(&self, id: &[u8], asked: i64, backlog: Option<&Backlog>) -> Decision {
        if !self.id.is(id) {
            let Some(before) = self.before.filter(|before| before.id.is(id)) else {
                return Decision::Full(match id.first() {
                    Some(b'?') => FullCause::Asked,
                    _ => FullCause::UnknownId,
                });
            };
            if u64::try_from(asked).is_ok_and(|asked| asked > before.until) {
                return Decision::Full(FullCause::PastSecondId { asked, until: before.until });
            }
        }
        let Some(backlog) = backlog else { return Decision::Full(FullCause::NoBacklog) };
        match u64::try_from(asked) {
            Ok(from) if backlog.contains(from) => Decision::Continue { from },
            Ok(from) if from > backlog.end() => {
                Decision::Full(FullCause::TooNew { asked, end: backlog.end() })
            }
            _ => Decision::Full(FullCause::TooOld { asked, first: backlog.first_byte_offset() }),
        }
    }

    /// The lines that Redis logs about a request that needs a full synchronisation, the last one a warning if `true`.
    pub fn log_lines(&self, cause: FullCause, id: &[u8], replica: &str) -> Vec<(bool, String)> {
        let shown = super::wire::shown(id);
        let lack = |asked: i64| {
            (
                false,
                format!(
                    "Unable to partial resync with replica {replica} for lack of backlog (Replica request was: {asked})."
                ),
            )
        };
        match cause {
            FullCause::Sync => Vec::new(),
            FullCause::Asked => vec![(false, format!("Full resync requested by replica {replica}"))],
            FullCause::UnknownId => vec![(
                false,
                format!(
                    "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{shown}', my \
                     replication IDs are '{}' and '{}')",
                    self.id,
                    self.second_id()
                ),
            )],
            FullCause::PastSecondId { asked, until } => vec![(
                false,
                format!(
                    "Partial resynchronization not accepted: Requested offset for second ID was {asked}, but I can \
                     reply up to {until}"
                ),
            )],
            FullCause::NoBacklog => {
                vec![(false, format!("Unable to partial resync with replica {replica}: there is no backlog."))]
            }
            FullCause::TooOld { asked, .. } => vec![lack(asked)],
            FullCause::TooNew { asked, .. } => vec![
                lack(asked),
                (
                    true,
                    format!(
                        "Warning: replica {replica} tried to PSYNC with an offset that is greater than the master \
                         replication offset."
                    ),
                ),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn id(letter: u8) -> ReplicationId {
        ReplicationId::parse(&[letter; ID_LEN]).unwrap()
    }

    fn backlog(first: u64, end: u64) -> Backlog {
        let mut backlog = Backlog::new(1 << 20, first - 1);
        backlog.append(&vec![b'x'; (end + 1 - first) as usize]);
        backlog
    }

    #[test]
    fn the_same_id_goes_on_within_the_backlog() {
        let history = History::new(id(b'a'));
        let backlog = backlog(101, 200);
        let decide = |asked| history.decide(id(b'a').as_bytes(), asked, Some(&backlog));
        assert_eq!(decide(101), Decision::Continue { from: 101 });
        assert_eq!(decide(201), Decision::Continue { from: 201 });
        assert_eq!(decide(100), Decision::Full(FullCause::TooOld { asked: 100, first: 101 }));
        assert_eq!(decide(202), Decision::Full(FullCause::TooNew { asked: 202, end: 200 }));
        assert_eq!(decide(-1), Decision::Full(FullCause::TooOld { asked: -1, first: 101 }));
        assert_eq!(decide(i64::MIN), Decision::Full(FullCause::TooOld { asked: i64::MIN, first: 101 }));
        assert_eq!(
            history.decide(&[b'A'; 40], 150, Some(&backlog)),
            Decision::Continue { from: 150 },
            "ids are compared without case, as in Redis"
        );
        assert_eq!(history.decide(&[b'a'; 40], 150, None), Decision::Full(FullCause::NoBacklog));
        assert_eq!(history.decide(b"?", -1, Some(&backlog)), Decision::Full(FullCause::Asked));
        assert_eq!(history.decide(b"", 150, Some(&backlog)), Decision::Full(FullCause::UnknownId));
        assert_eq!(history.decide(&[b'0'; 40], 1, Some(&backlog)), Decision::Full(FullCause::UnknownId));
    }

    #[test]
    fn after_a_promotion_the_old_id_goes_on_up_to_it() {
        let mut history = History::new(id(b'a'));
        history.promote(500, id(b'b'));
        let backlog = backlog(101, 730);
        let decide = |letter, asked| history.decide(&[letter; 40], asked, Some(&backlog));
        assert_eq!(decide(b'a', 420), Decision::Continue { from: 420 });
        assert_eq!(decide(b'a', 501), Decision::Continue { from: 501 });
        assert_eq!(decide(b'a', 502), Decision::Full(FullCause::PastSecondId { asked: 502, until: 501 }));
        assert_eq!(decide(b'b', 600), Decision::Continue { from: 600 });
        assert_eq!(decide(b'c', 600), Decision::Full(FullCause::UnknownId));
        assert_eq!((history.second_id(), history.second_offset()), (id(b'a'), 501));
        history.renew(id(b'd'));
        assert_eq!((history.second_id(), history.second_offset()), (NO_ID, -1));
        assert_eq!(history.decide(&[b'a'; 40], 420, Some(&backlog)), Decision::Full(FullCause::UnknownId));
    }

    #[test]
    fn a_master_that_goes_on_under_another_id_keeps_the_old_one_as_second() {
        let mut history = History::new(id(b'a'));
        assert!(!history.continue_as(id(b'a'), 300));
        assert!(history.continue_as(id(b'b'), 300));
        assert_eq!((history.id(), history.second_id(), history.second_offset()), (id(b'b'), id(b'a'), 301));
        history.adopt(id(b'c'));
        assert_eq!(history, History::new(id(b'c')));
    }

    #[test]
    fn what_is_kept_survives_as_fields() {
        let kept = Kept { id: id(b'e'), offset: 12345, stream_db: Some(3) };
        let fields = kept.fields();
        let lent = |fields: &[(&'static [u8], Vec<u8>)]| {
            Kept::from_fields(fields.iter().map(|(name, value)| (*name, value.as_slice())))
        };
        assert_eq!(lent(&fields), Some(kept.clone()));
        assert_eq!(lent(&fields[..2]), None, "without an offset");
        let unselected = Kept { stream_db: None, ..kept };
        assert_eq!(lent(&unselected.fields()), Some(unselected));
        for bad in ["-1", "x", "", "99999999999999999999"] {
            let id = id(b'e');
            let fields = [(FIELD_ID, id.as_bytes()), (FIELD_OFFSET, bad.as_bytes())];
            assert_eq!(Kept::from_fields(fields), None, "{bad}");
        }
        let fields = [(FIELD_ID, &b"short"[..]), (FIELD_OFFSET, b"5")];
        assert_eq!(Kept::from_fields(fields), None);
    }

    #[test]
    fn a_restarted_master_serves_its_old_replicas() {
        let kept = Kept { id: id(b'a'), offset: 200, stream_db: Some(0) };
        let history = History::restarted_as_master(&kept, id(b'b'));
        let backlog = backlog(151, 200);
        assert_eq!(history.decide(&[b'a'; 40], 180, Some(&backlog)), Decision::Continue { from: 180 });
        assert_eq!(history.decide(&[b'a'; 40], 201, Some(&backlog)), Decision::Continue { from: 201 });
        assert!(matches!(history.decide(&[b'a'; 40], 202, Some(&backlog)), Decision::Full(_)));
        assert_eq!(History::restarted_as_replica(&kept).id(), id(b'a'));
    }

    #[test]
    fn ids_are_forty_printable_characters() {
        let random = ReplicationId::from_random(std::array::from_fn(|i| (i * 13) as u8));
        assert_eq!(random.to_string(), "000d1a2734414e5b6875828f9ca9b6c3d0ddeaf7");
        assert_eq!(ReplicationId::parse(&[b'a'; 39]), None);
        assert_eq!(ReplicationId::parse(&[b'\n'; 40]), None);
    }
}
