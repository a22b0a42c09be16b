//! The manifest: which append-only files count, and in which order they are read.
//!
//! With one shard it is Redis's, byte for byte: a base, the files that only wait to be deleted (history), and the increments in
//! order. With several, each shard has such a chain, and each line says whose it is: `shard 0 shards 2`. Files of another number of
//! shards than today's are older *layouts*, kept in front until every shard has a base of its own. Redis refuses such a manifest (it
//! sees two bases, or sequence numbers that go back), and does not load the half of it.
//!
//! A manifest is a value: a change is made to a copy, the copy is written, and only then takes the place of the value that was in force.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use crate::base::text::Text;
use crate::base::words::{quoted, split_words};
use crate::base::SHARDS_MAX;
use crate::text;

/// A longer line is refused, bytes (with its newline).
pub const LINE_BYTES_MAX: usize = 1024;
/// Larger sequence numbers are refused, so that there is always a next one.
const SEQUENCE_MAX: i64 = 1 << 62;

/// One file of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// A name without path. Any bytes but `/`, `\` and NUL.
    pub name: Vec<u8>,
    pub seq: i64,
}

/// What a base is written as: `aof-use-rdb-preamble`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseFormat {
    Rdb,
    Aof,
}

/// The files of one shard, to be read one after the other: the base, then the increments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    pub base: Option<Entry>,
    pub increments: Vec<Entry>,
    /// The newest numbers given; that file may have become history since.
    base_seq: i64,
    increment_seq: i64,
}

impl Chain {
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.increments.is_empty()
    }

    /// In the order in which they are read.
    pub fn files(&self) -> impl Iterator<Item = &Entry> {
        self.base.iter().chain(&self.increments)
    }
}

/// The chains that one number of shards has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    shards: u16,
    /// By shard. One that has no files yet may be absent.
    chains: BTreeMap<u16, Chain>,
}

impl Layout {
    fn new(shards: u16) -> Layout {
        Layout { shards, chains: BTreeMap::new() }
    }

    pub fn shards(&self) -> u16 {
        self.shards
    }

    pub fn chain(&self, shard: u16) -> Option<&Chain> {
        self.chains.get(&shard)
    }

    /// The chains that there are, by shard.
    pub fn chains(&self) -> impl Iterator<Item = (u16, &Chain)> {
        self.chains.iter().map(|(shard, chain)| (*shard, chain))
    }

    pub fn is_empty(&self) -> bool {
        self.chains.values().all(Chain::is_empty)
    }

    /// Whether every shard has a base, so that nothing older is needed.
    pub fn is_based(&self) -> bool {
        (0..self.shards).all(|shard| self.chain(shard).is_some_and(|chain| chain.base.is_some()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// `appendfilename`, with which the names of new files begin.
    file: Vec<u8>,
    /// Oldest first, never none; new files go to the last.
    layouts: Vec<Layout>,
    /// Files that are not read any more, newest first.
    history: Vec<Entry>,
    changed: bool,
}

/// Why a manifest is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// The line's number, from 1, and its text.
    pub line: Option<(usize, Vec<u8>)>,
    pub reason: &'static str,
}

impl ManifestError {
    /// What Redis logs, one message a step, with the newlines that it puts into them.
    pub fn log_messages(&self) -> Vec<Text> {
        let mut messages = vec![Text::from("\n*** FATAL AOF MANIFEST FILE ERROR ***\n")];
        if let Some((number, text)) = &self.line {
            messages.push(format!("Reading the manifest file, at line {number}\n").into());
            messages.push(text!(">>> '", text, "'\n"));
        }
        messages.push(text!(self.reason, "\n"));
        messages
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)?;
        match &self.line {
            Some((number, _)) => write!(f, " at line {number} of the AOF manifest"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ManifestError {}

const EMPTY: &str = "Found an empty AOF manifest";
const TOO_LONG: &str = "The AOF manifest file contains too long line";
const FORMAT: &str = "Invalid AOF manifest file format";
const PATH: &str = "File can't be a path, just a filename";
const TWO_BASES: &str = "Found duplicate base file information";
const NOT_MONOTONIC: &str = "Found a non-monotonic sequence number";
const UNKNOWN_TYPE: &str = "Unknown AOF file type";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Base,
    Increment,
    History,
}

/// One line, understood.
struct Line {
    entry: Entry,
    kind: Kind,
    shard: u16,
    shards: u16,
}

impl Manifest {
    /// Of a server that has no append-only files yet.
    pub fn new(appendfilename: &[u8], shards: u16) -> Manifest {
        let layouts = vec![Layout::new(shards.max(1))];
        Manifest { file: appendfilename.to_vec(), layouts, history: Vec::new(), changed: false }
    }

    /// Reads what [`Manifest::format`] or Redis has written.
    pub fn parse(appendfilename: &[u8], content: &[u8]) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest {
            file: appendfilename.to_vec(),
            layouts: Vec::new(),
            history: Vec::new(),
            changed: false,
        };
        let mut lines = 0;
        let mut rest = content;
        while !rest.is_empty() {
            // As much as Redis reads at once; what is behind it in a long line is the next line to it.
            let window = &rest[..rest.len().min(LINE_BYTES_MAX)];
            let len = memchr::memchr(b'\n', window).map_or(window.len(), |newline| newline + 1);
            let (raw, next) = rest.split_at(len);
            rest = next;
            lines += 1;
            if raw[0] == b'#' {
                continue;
            }
            let raw = until_nul(raw);
            if !raw.ends_with(b"\n") {
                return Err(ManifestError { line: None, reason: TOO_LONG });
            }
            let text = trimmed(raw);
            let added = parse_line(text).and_then(|line| manifest.add(line));
            added.map_err(|reason| ManifestError { line: Some((lines, text.to_vec())), reason })?;
        }
        if lines == 0 {
            return Err(ManifestError { line: None, reason: EMPTY });
        }
        if manifest.layouts.is_empty() {
            manifest.layouts.push(Layout::new(1));
        }
        Ok(manifest)
    }

    fn add(&mut self, line: Line) -> Result<(), &'static str> {
        if line.kind == Kind::History {
            self.history.push(line.entry);
            return Ok(());
        }
        if self.layouts.last().is_none_or(|layout| layout.shards != line.shards) {
            self.layouts.push(Layout::new(line.shards));
        }
        // There is one: see above.
        let chain = self.layouts.last_mut().unwrap().chains.entry(line.shard).or_default();
        if line.kind == Kind::Base {
            if chain.base.is_some() {
                return Err(TWO_BASES);
            }
            chain.base_seq = line.entry.seq;
            chain.base = Some(line.entry);
        } else {
            if line.entry.seq <= chain.increment_seq {
                return Err(NOT_MONOTONIC);
            }
            chain.increment_seq = line.entry.seq;
            chain.increments.push(line.entry);
        }
        Ok(())
    }

    /// The content of the file.
    pub fn format(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut history = Some(&self.history);
        if self.layouts.len() > 1 || self.newest().shards > 1 {
            put_history(&mut out, history.take());
        }
        for layout in &self.layouts {
            for (shard, chain) in layout.chains() {
                let owner = (shard, layout.shards);
                if let Some(base) = &chain.base {
                    put_line(&mut out, base, 'b', owner);
                }
                // Between the base and the increments, where Redis has it.
                put_history(&mut out, history.take());
                for increment in &chain.increments {
                    put_line(&mut out, increment, 'i', owner);
                }
            }
        }
        put_history(&mut out, history.take());
        out
    }

    /// Oldest first.
    pub fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    /// The layout that is written to.
    pub fn newest(&self) -> &Layout {
        // There is always one.
        self.layouts.last().unwrap()
    }

    pub fn history(&self) -> &[Entry] {
        &self.history
    }

    /// Whether there is nothing to be read.
    pub fn is_empty(&self) -> bool {
        self.layouts.iter().all(Layout::is_empty)
    }

    /// All files that are read, oldest layout first, chain by chain.
    pub fn files(&self) -> impl Iterator<Item = &Entry> {
        self.layouts.iter().flat_map(|layout| layout.chains.values()).flat_map(Chain::files)
    }

    /// Whether it differs from what is on the disk.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    pub(super) fn is_written(&mut self) {
        self.changed = false;
    }

    /// From here on `shards` shards write. What another number of them has written stays in front.
    pub fn begin_layout(&mut self, shards: u16) {
        if self.newest().shards == shards {
            return;
        }
        if self.newest().is_empty() {
            self.layouts.pop();
        }
        if self.layouts.last().is_none_or(|layout| layout.shards != shards) {
            self.layouts.push(Layout::new(shards));
        }
    }

    /// The name of the shard's newest increment, and whether it had to be made up because there was none.
    pub fn last_increment(&mut self, shard: u16) -> (Vec<u8>, bool) {
        match self.newest().chain(shard).and_then(|chain| chain.increments.last()) {
            Some(last) => (last.name.clone(), false),
            None => (self.next_increment(shard), true),
        }
    }

    /// Adds an increment to the shard's chain; returns its name.
    pub fn next_increment(&mut self, shard: u16) -> Vec<u8> {
        let after = self.newest().chain(shard).map_or(0, |chain| chain.increment_seq);
        let entry = self.next_entry(shard, after, "incr.aof");
        let name = entry.name.clone();
        let chain = self.chain_mut(shard);
        chain.increment_seq = entry.seq;
        chain.increments.push(entry);
        name
    }

    /// Gives the shard a new base, and makes the one it had history. Returns the new one's name.
    pub fn next_base(&mut self, shard: u16, format: BaseFormat) -> Vec<u8> {
        let after = self.newest().chain(shard).map_or(0, |chain| chain.base_seq);
        let suffix = match format {
            BaseFormat::Rdb => "base.rdb",
            BaseFormat::Aof => "base.aof",
        };
        let entry = self.next_entry(shard, after, suffix);
        let name = entry.name.clone();
        let chain = self.chain_mut(shard);
        chain.base_seq = entry.seq;
        let old = chain.base.replace(entry);
        self.history.splice(..0, old);
        name
    }

    /// Makes history of the shard's increments in front of number `first_kept` (None: all), which its base now holds; and of the
    /// older layouts, when each shard has a base of its own.
    pub fn retire_increments(&mut self, shard: u16, first_kept: Option<i64>) {
        let chain = self.chain_mut(shard);
        let kept = first_kept.and_then(|seq| chain.increments.iter().position(|entry| entry.seq >= seq));
        let kept = kept.unwrap_or(chain.increments.len());
        let retired: Vec<Entry> = chain.increments.drain(..kept).collect();
        self.history.splice(..0, retired);
        if self.newest().is_based() {
            let newest = self.layouts.pop();
            let older: Vec<Entry> = self.files().cloned().collect();
            self.history.splice(..0, older);
            self.layouts = newest.into_iter().collect();
        }
    }

    /// The files that may be deleted: they are forgotten here.
    pub fn take_history(&mut self) -> Vec<Entry> {
        self.changed |= !self.history.is_empty();
        std::mem::take(&mut self.history)
    }

    /// An old single file as the base of one shard, as Redis 7 adopts it.
    pub(super) fn adopt(&mut self) {
        let base = Entry { name: self.file.clone(), seq: 1 };
        let chain = Chain { base: Some(base), base_seq: 1, ..Chain::default() };
        self.layouts = vec![Layout { shards: 1, chains: BTreeMap::from([(0, chain)]) }];
        self.changed = true;
    }

    fn chain_mut(&mut self, shard: u16) -> &mut Chain {
        self.changed = true;
        // There is always a layout.
        let layout = self.layouts.last_mut().unwrap();
        // No file says so: new files are only given to the layout that `begin_layout` has begun for the shards of this server, and a
        // manifest that is read later does not take its place (`reread_manifest`).
        assert!(shard < layout.shards, "shard {shard} of {}", layout.shards);
        layout.chains.entry(shard).or_default()
    }

    /// A file of the newest layout with the next number that is free. Numbers begin again at 1 when the newest file of a chain is
    /// gone, as in Redis; but a file that is still named here is never written over.
    fn next_entry(&self, shard: u16, after: i64, suffix: &str) -> Entry {
        let shard = match self.newest().shards {
            1 => String::new(),
            _ => format!(".shard-{shard}"),
        };
        let taken: HashSet<&[u8]> = self.files().chain(&self.history).map(|entry| &entry.name[..]).collect();
        let mut seq = after;
        // Ends: each turn but the last finds another one of the names taken.
        loop {
            seq += 1;
            let mut name = self.file.clone();
            name.extend(format!("{shard}.{seq}.{suffix}").into_bytes());
            if !taken.contains(&name[..]) {
                return Entry { name, seq };
            }
        }
    }
}

fn put_history(out: &mut Vec<u8>, history: Option<&Vec<Entry>>) {
    for entry in history.into_iter().flatten() {
        put_line(out, entry, 'h', (0, 1));
    }
}

fn put_line(out: &mut Vec<u8>, entry: &Entry, kind: char, (shard, shards): (u16, u16)) {
    out.extend(b"file ");
    // Redis's rule: blanks, what is not printable, quotes and backslashes.
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if entry.name.iter().all(plain) {
        out.extend(&entry.name);
    } else {
        out.extend(quoted(&entry.name));
    }
    out.extend(format!(" seq {} type {kind}", entry.seq).into_bytes());
    if shards > 1 {
        out.extend(format!(" shard {shard} shards {shards}").into_bytes());
    }
    out.push(b'\n');
}

fn parse_line(text: &[u8]) -> Result<Line, &'static str> {
    let words = split_words(text).unwrap_or_default();
    if words.len() < 6 || !words.len().is_multiple_of(2) {
        return Err(FORMAT);
    }
    let (mut name, mut seq, mut kind, mut shard, mut shards) = (None, 0, None, 0, 1);
    for pair in words.chunks_exact(2) {
        let (key, value) = (until_nul(&pair[0]), until_nul(&pair[1]));
        if key.eq_ignore_ascii_case(b"file") {
            if value.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
                return Err(PATH);
            }
            name = Some(value.to_vec());
        } else if key.eq_ignore_ascii_case(b"seq") {
            seq = leading_integer(value);
        } else if key.eq_ignore_ascii_case(b"type") {
            kind = value.first().copied();
        } else if key.eq_ignore_ascii_case(b"shard") {
            shard = small_number(value)?;
        } else if key.eq_ignore_ascii_case(b"shards") {
            shards = small_number(value)?;
        }
    }
    let (Some(name), Some(kind)) = (name, kind) else {
        return Err(FORMAT);
    };
    if seq == 0 || seq > SEQUENCE_MAX || shards > SHARDS_MAX || shard >= shards {
        return Err(FORMAT);
    }
    let kind = match kind {
        b'b' => Kind::Base,
        b'i' => Kind::Increment,
        b'h' => Kind::History,
        _ => return Err(UNKNOWN_TYPE),
    };
    Ok(Line { entry: Entry { name, seq }, kind, shard, shards })
}

fn small_number(value: &[u8]) -> Result<u16, &'static str> {
    std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).ok_or(FORMAT)
}

/// As C's `atoll` reads a number: blanks, a sign, digits up to anything else; the nearest there is when it does not fit.
fn leading_integer(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0i64, |number, digit| {
        let digit = i64::from(digit - b'0');
        let number = number.saturating_mul(10);
        if negative {
            number.saturating_sub(digit)
        } else {
            number.saturating_add(digit)
        }
    })
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

fn trimmed(mut text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    while let [first, rest @ ..] = text {
        if !blank(first) {
            break;
        }
        text = rest;
    }
    while let [rest @ .., last] = text {
        if !blank(last) {
            break;
        }
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests;
