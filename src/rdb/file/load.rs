//! Loads an RDB file into the store of one shard, in slices, as its thread has time.
//!
//! A shard reads the whole file and keeps the keys of its own slots; the others cost little more than their length. So every
//! shard sees what stands between the keys as well, and whoever loads with several shards tells the operator once what one of them noted.

#[cfg(test)]
mod newer_tests;
#[cfg(test)]
mod tests;

use super::super::build::{decode_and_mend, Checks};
use super::super::error::{Error, Reason};
use super::super::kind::RdbType;
use super::super::reader::{Reader, Text};
use super::super::skip::skip;
use super::failure::{Cause, Failure};
use super::read::{Checksum, FileReader, KeyHead, Record};
use crate::base::log::Level;
use crate::base::text::Text as Message;
use crate::store::{slot_of, Detached, SlotSet, Store, Upcoming, Usage, UPCOMING_MAX};
use crate::text;
use std::io::Read;
use std::time::Duration;

/// Empty keys that are named in the log.
const EMPTY_KEYS_NAMED_MAX: u64 = 10;
/// Keys put right that are named there, one warning each; of the others it has the number.
const MENDED_KEYS_NAMED_MAX: u64 = 100;
/// Fields of a file that are kept for [`Facts::field`], and how long one may be, name and value, bytes.
const FIELDS_MAX: usize = 64;
const FIELD_LEN_MAX: usize = 4096;
/// As much of a name or a value gets into the log, bytes.
const SHOWN_LEN_MAX: usize = 1024;
/// Notes that wait for [`Load::take_notes`]; what is noted beyond is lost.
const NOTES_MAX: usize = 256;

/// A decompressed string of more bytes becomes a value without a copy.
const SHARED_LEN_MIN: usize = 64 << 10;

#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// `rdbchecksum`.
    pub with_checksum: bool,
    /// Expired keys are kept: their DELs come from a master, or in the increments of an AOF.
    pub keeps_expired: bool,
    /// The slots that the shard which wrote the file had, where it was one of several: a key of another slot is damage.
    pub owned: Option<SlotSet>,
    /// A key that is there already is replaced, not refused.
    pub replaces: bool,
    /// `sanitize-dump-payload`: `Deep` where it is `yes`.
    pub checks: Checks,
    /// `key-load-delay`, microseconds; -n is about one microsecond after every n-th key.
    pub key_load_delay: i32,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions {
            with_checksum: true,
            keeps_expired: false,
            owned: None,
            replaces: false,
            checks: Checks::Mend,
            key_load_delay: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The time was up.
    More,
    Done,
}

/// Keys of this shard's slots (of a file's: `add` those of all shards).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub loaded: u64,
    /// Passed over because they had expired.
    pub expired: u64,
    /// Passed over because they were collections without elements.
    pub empty: u64,
    /// Loaded, with values that contradicted themselves and were put right.
    pub mended: u64,
}

impl Counts {
    pub fn add(&mut self, other: Counts) {
        self.loaded += other.loaded;
        self.expired += other.expired;
        self.empty += other.empty;
        self.mended += other.mended;
    }

    /// What a server logs when it has loaded a file.
    pub fn log_line(&self) -> String {
        let Counts { loaded, expired, empty, mended } = self;
        let mut line = format!("Done loading RDB, keys loaded: {loaded}, keys expired: {expired}");
        if *empty > 0 {
            line.push_str(&format!(", empty keys skipped: {empty}"));
        }
        if *mended > 0 {
            line.push_str(&format!(", keys put right: {mended}"));
        }
        line + "."
    }
}

/// What a file says of itself.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What the server had allocated that wrote it, bytes.
    pub used_memory: Option<u64>,
    /// Unix time, seconds.
    pub created_s: Option<i64>,
    pub is_aof_base: bool,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Facts {
    /// A field that has no meaning here, such as `repl-id` or `gyre-cut`.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))?;
        Some(value)
    }
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub level: Level,
    pub text: Message,
    /// It is about a key, which others that read the same file do not take.
    pub is_of_key: bool,
}

#[derive(Debug)]
pub struct Load<R> {
    reader: FileReader<R>,
    options: LoadOptions,
    facts: Facts,
    counts: Counts,
    functions: Vec<Vec<u8>>,
    notes: Vec<Note>,
    upcoming: Upcoming,
    /// Keys since the last delay.
    undelayed: u32,
    /// This key has been announced, and not all of its bytes were there.
    awaited: Option<KeyHead>,
}

/// What became of a key.
enum Outcome {
    Loaded,
    /// Its value contradicted itself, in this way, and was put right.
    Mended(Vec<u8>, &'static str),
    /// It is another shard's.
    Foreign,
    /// It cannot be in this file.
    Misplaced(Vec<u8>),
    Expired,
    Empty(Vec<u8>),
    Duplicate(Vec<u8>),
}

impl<R: Read> Load<R> {
    /// Begins to load `input`, about which see [`FileReader::open`].
    pub fn new(input: R, options: LoadOptions) -> Result<Load<R>, Failure> {
        Ok(Load::of_reader(FileReader::open(input, options.with_checksum)?, options))
    }

    /// Begins to load an input that may have nothing for now: `step` fails then in a way that is a pause ([`Failure::is_pause`]), and
    /// is to be called again when there is more.
    pub fn begin(input: R, options: LoadOptions) -> Load<R> {
        let reader = FileReader::begin(input, options.with_checksum);
        Load::of_reader(reader, options)
    }

    fn of_reader(reader: FileReader<R>, options: LoadOptions) -> Load<R> {
        Load {
            reader,
            options,
            facts: Facts::default(),
            counts: Counts::default(),
            functions: Vec::new(),
            notes: Vec::new(),
            upcoming: Upcoming::default(),
            undelayed: 0,
            awaited: None,
        }
    }

    /// Loads until `until` answers true, which is asked after each record, or the file is at its end. Expiry is judged by the
    /// store's time. To be called again while it answers `More`.
    pub fn step(&mut self, store: &mut Store, until: &dyn Fn() -> bool) -> Result<Progress, Failure> {
        loop {
            if let Some(head) = self.awaited {
                self.key(store, head.db as usize)?;
                self.awaited = None;
            }
            match self.reader.next()? {
                Record::Key(head) => {
                    self.awaited = Some(head);
                    self.key(store, head.db as usize)?;
                    self.awaited = None;
                }
                Record::SelectDb(db) if db >= store.databases() as u64 => {
                    return Err(self.reader.failure(Cause::Database { configured: store.databases() }));
                }
                Record::SelectDb(_) | Record::ResizeDb { .. } | Record::SlotInfo { .. } => {}
                Record::Aux { name, value } => self.aux(name, value, store.now_ms()),
                Record::Function(code) => self.functions.push(code),
                Record::ModuleAux { module, .. } => self.note(
                    Level::Warning,
                    format!(
                        "The RDB file contains AUX module data I can't load: no matching module '{module}'. \
                         It is skipped: modules are not supported"
                    ),
                ),
                Record::End(checksum) => {
                    if checksum == Checksum::Absent {
                        let text = "RDB file was saved with checksum disabled: no check performed.";
                        self.note(Level::Notice, text);
                    }
                    return Ok(Progress::Done);
                }
            }
            if until() {
                return Ok(Progress::More);
            }
        }
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.reader.position()
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What the file has said so far.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The sources of the libraries of functions so far, which are the caller's to load.
    pub fn take_functions(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.functions)
    }

    /// What Redis would have logged since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// After the end: what has been fetched of what follows the file (an AOF behind its preamble), and where the rest comes from.
    pub fn into_rest(self) -> (Vec<u8>, R) {
        self.reader.into_rest()
    }

    fn note(&mut self, level: Level, text: impl Into<Message>) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(Note { level, text: text.into(), is_of_key: false });
        }
    }

    /// Loads a key of database `db`, of which `step` has looked whether there is one.
    fn key(&mut self, store: &mut Store, db: usize) -> Result<(), Failure> {
        let options = &self.options;
        let reader = &self.reader;
        let known = self
            .upcoming
            .take(store, db, reader.position(), |each| reader.prefetch_table(UPCOMING_MAX, each));
        let outcome = self.reader.key(|head, key, reader| {
            let slot = known.map_or_else(|| slot_of(key), |known| known.slot);
            if options.owned.as_ref().is_some_and(|owned| !owned.contains(slot)) {
                return Ok(Outcome::Misplaced(key.to_vec()));
            }
            if !store.slots().contains(slot) {
                skip(head.kind, reader)?;
                return Ok(Outcome::Foreign);
            }
            if !options.keeps_expired && head.expire_at.is_some_and(|at| at < store.now_ms()) {
                skip(head.kind, reader)?;
                return Ok(Outcome::Expired);
            }
            match known.and_then(|known| known.ahead) {
                Some(ahead) => store.prefetch_hint(key, ahead),
                None => store.slot_hint(key, slot),
            }
            let outcome = load_value(head, db, key, reader, store, options);
            store.clear_slot_hint();
            outcome
        })?;
        match outcome {
            Outcome::Loaded => self.counts.loaded += 1,
            Outcome::Mended(key, what) => {
                if self.counts.mended < MENDED_KEYS_NAMED_MAX {
                    let text = format!(
                        "The value of the key '{}' in DB {db} contradicts itself and was put right: {what}",
                        key[..key.len().min(SHOWN_LEN_MAX)].escape_ascii()
                    );
                    self.notes.push(Note { level: Level::Warning, text: text.into(), is_of_key: true });
                }
                self.counts.loaded += 1;
                self.counts.mended += 1;
            }
            Outcome::Foreign => return Ok(()),
            Outcome::Expired => self.counts.expired += 1,
            Outcome::Empty(key) => {
                if self.counts.empty < EMPTY_KEYS_NAMED_MAX {
                    let text = text!("rdbLoadObject skipping empty key: ", shown(&key));
                    self.notes.push(Note { level: Level::Notice, text, is_of_key: true });
                }
                self.counts.empty += 1;
            }
            Outcome::Misplaced(key) => {
                let mut failure = self.reader.failure(Cause::Misplaced);
                failure.key = Some(key);
                return Err(failure);
            }
            Outcome::Duplicate(key) => {
                let mut failure = self.reader.failure(Cause::Duplicate { db });
                failure.key = Some(key);
                return Err(failure);
            }
        }
        self.delay();
        Ok(())
    }

    /// `key-load-delay` has changed.
    pub fn set_delay(&mut self, delay: i32) {
        self.options.key_load_delay = delay;
    }

    /// The rest of the file will not come.
    pub fn interrupt(&mut self) -> Failure {
        self.reader.failure(Cause::Io(std::io::ErrorKind::UnexpectedEof.into()))
    }

    /// Slows down, for tests of what happens while a server loads.
    fn delay(&mut self) {
        let delay = self.options.key_load_delay;
        if delay > 0 {
            std::thread::sleep(Duration::from_micros(delay as u64));
        } else if delay < 0 {
            self.undelayed += 1;
            if self.undelayed >= delay.unsigned_abs() {
                self.undelayed = 0;
                std::thread::sleep(Duration::from_micros(1));
            }
        }
    }

    /// Understands a field as Redis does, and says so in its words.
    fn aux(&mut self, name: Vec<u8>, value: Vec<u8>, now_ms: i64) {
        match name.to_ascii_lowercase().as_slice() {
            [b'%', ..] => {
                self.note(Level::Notice, text!("RDB '", shown(&name), "': ", shown(&value)));
            }
            b"redis-ver" => {
                self.note(Level::Notice, text!("Loading RDB produced by version ", shown(&value)));
            }
            b"valkey-ver" => {
                self.note(Level::Notice, text!("Loading RDB produced by Valkey version ", shown(&value)));
            }
            b"ctime" => {
                let created_s = leading_integer(&value);
                let age_s = (now_ms / 1000).saturating_sub(created_s).max(0);
                self.facts.created_s = Some(created_s);
                self.note(Level::Notice, format!("RDB age {age_s} seconds"));
            }
            b"used-mem" => {
                let used = leading_integer(&value);
                let megabytes = used as f64 / (1024.0 * 1024.0);
                self.facts.used_memory = u64::try_from(used).ok();
                self.note(Level::Notice, format!("RDB memory usage when created {megabytes:.2} Mb"));
            }
            b"aof-preamble" => {
                if leading_integer(&value) != 0 {
                    self.note(Level::Notice, "RDB has an AOF tail");
                }
            }
            b"aof-base" => {
                self.facts.is_aof_base = leading_integer(&value) != 0;
                if self.facts.is_aof_base {
                    self.note(Level::Notice, "RDB is base AOF");
                }
            }
            b"lua" | b"redis-bits" => {}
            known => {
                if !known.starts_with(b"repl-") && !known.starts_with(b"gyre-") {
                    self.note(Level::Debug, text!("Unrecognized RDB AUX field: '", shown(&name), "'"));
                }
                if self.facts.fields.len() < FIELDS_MAX && name.len() + value.len() <= FIELD_LEN_MAX {
                    self.facts.fields.push((name, value));
                }
            }
        }
    }
}

/// Reads a value and puts it under its key. Nothing has happened when it fails.
fn load_value(
    head: &KeyHead,
    db: usize,
    key: &[u8],
    reader: &mut Reader,
    store: &mut Store,
    options: &LoadOptions,
) -> Result<Outcome, Error> {
    let usage = match (head.idle_s, head.frequency) {
        (_, Some(counter)) if store.settings.maxmemory_policy.is_lfu() => Usage::Frequency(counter),
        (Some(seconds), _) => Usage::Idle(u32::try_from(seconds).unwrap_or(u32::MAX)),
        _ => Usage::NotAsked,
    };
    if head.kind == RdbType::String as u8 && !options.replaces {
        let text = reader.string()?;
        let is_new = match text {
            // The buffer becomes the value.
            Text::Owned(bytes) if bytes.len() > SHARED_LEN_MIN => {
                let value = Detached::from_shared(bytes.into(), head.expire_at);
                store.load(db, key, value, usage)
            }
            text => {
                let mut digits = itoa::Buffer::new();
                store.load_string(db, key, text.bytes(&mut digits), head.expire_at, usage)
            }
        };
        return Ok(outcome_of(is_new, key));
    }
    let (mut value, mended) = match decode_and_mend(head.kind, reader, &store.settings, options.checks) {
        Ok(value) => value,
        // Its last byte has been read, for elements are all that it lacks.
        Err(Error { reason: Reason::Empty, .. }) => return Ok(Outcome::Empty(key.to_vec())),
        Err(error) => return Err(error),
    };
    value.set_expire_at(head.expire_at);
    if options.replaces {
        store.remove(db, key);
    }
    let is_new = store.load(db, key, value, usage);
    Ok(match mended {
        Some(what) if is_new => Outcome::Mended(key.to_vec(), what),
        _ => outcome_of(is_new, key),
    })
}

fn outcome_of(is_new: bool, key: &[u8]) -> Outcome {
    if is_new {
        Outcome::Loaded
    } else {
        Outcome::Duplicate(key.to_vec())
    }
}

/// As much of it as a message has.
fn shown(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(SHOWN_LEN_MAX)]
}

/// The integer that a field begins with, 0 when it does not: as C's library reads them.
fn leading_integer(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (is_negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let magnitude = digits
        .iter()
        .take_while(|digit| digit.is_ascii_digit())
        .fold(0i64, |number, digit| number.saturating_mul(10).saturating_add((digit - b'0') as i64));
    if is_negative {
        -magnitude
    } else {
        magnitude
    }
}
