//! Whether the files of each shard have only keys of that shard. A key of another one was never written there: something was changed
//! in the file. A server refuses to start from it, for it cannot know what the key was.

use std::fs::File;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{path_in, say, say_text, Stop, Tool};
use crate::base::error_text;
use crate::command::table::{KeyPositions, Names};
use crate::persist::aof::scan::has_rdb_preamble;
use crate::persist::aof::{cut_off, Entry, Item, Layout, Scanner};
use crate::rdb::file::{FileReader, Record};
use crate::rdb::skip;
use crate::slots::even_share;
use crate::store::{slot_of, SlotSet};

/// A key that is where it cannot be.
struct Misplaced {
    key: Vec<u8>,
    at: u64,
    /// Where the unit begins that it is in; `None` in an RDB file, from which nothing can be cut off.
    unit: Option<u64>,
}

impl Tool<'_> {
    /// Checks a layout whose files are valid each by itself; with `--fix` cuts an increment off in front of such a key.
    pub(super) fn check_keys(&mut self, folder: &Path, layout: &Layout) -> Result<(), Stop> {
        let names = Names::new();
        for (shard, chain) in layout.chains() {
            let owned = even_share(shard.into(), layout.shards().into());
            let files: Vec<&Entry> = chain.files().collect();
            for (index, entry) in files.iter().enumerate() {
                let found = File::open(path_in(folder, &entry.name))
                    .and_then(|file| misplaced(&file, &owned, &names));
                let found = found.map_err(|error| {
                    say_text!(self, "Cannot read file: ", entry.name, ": ", error_text(&error));
                    Stop
                })?;
                if let Some(found) = found {
                    self.tell_misplaced(shard, entry, &found);
                    return self.cut_misplaced(folder, &files[index..], &found);
                }
            }
        }
        Ok(())
    }

    fn tell_misplaced(&mut self, shard: u16, entry: &Entry, found: &Misplaced) {
        let (key, at) = (found.key.escape_ascii(), found.at);
        let whose = format!(" is none of shard {shard}: something was changed in the file");
        say_text!(self, format_args!("The key '{key}' at offset {at} of "), entry.name, whose);
    }

    fn cut_misplaced(&mut self, folder: &Path, files: &[&Entry], found: &Misplaced) -> Result<(), Stop> {
        let Some(unit) = found.unit.filter(|_| self.fix) else {
            say!(self, "The AOF files are not valid. Use the --fix option to cut off what follows, if it is an increment.");
            return Err(Stop);
        };
        say!(self, "This will cut off what follows offset {unit}, and keep it in a file of its own");
        self.confirm()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        for (index, entry) in files.iter().enumerate() {
            let len = if index == 0 { unit } else { 0 };
            match cut_off(folder, &entry.name, len, now) {
                Ok(kept) => kept.iter().for_each(|kept| say_text!(self, kept.log_message())),
                Err(error) => {
                    say_text!(self, "Failed to truncate AOF ", entry.name, ": ", error_text(&error));
                    return Err(Stop);
                }
            }
        }
        Ok(())
    }
}

/// The first key of a file that is not in these slots.
fn misplaced(file: &File, owned: &SlotSet, names: &Names) -> std::io::Result<Option<Misplaced>> {
    let mut start = 0;
    if has_rdb_preamble(file)? {
        // It was valid a moment ago.
        match misplaced_in_rdb(file, owned) {
            (Some(found), _) => return Ok(Some(found)),
            (None, end) => start = end,
        }
    }
    let mut scanner = Scanner::new(file, start)?;
    let mut keys = KeyPositions::new();
    loop {
        let unit = scanner.whole();
        // So was this.
        let Ok(Some(item)) = scanner.next() else { return Ok(None) };
        let Item::Command(command) = item else { continue };
        let args: Vec<&[u8]> = command.args().collect();
        let Ok(spec) = names.resolve(&args) else { continue };
        keys.clear();
        spec.key_positions(&args, &mut keys);
        let mut named = keys.iter().filter_map(|key| args.get(key.index));
        if let Some(key) = named.find(|key| !owned.contains(slot_of(key))) {
            return Ok(Some(Misplaced { key: key.to_vec(), at: command.start, unit: Some(unit) }));
        }
    }
}

/// As `misplaced`, of the RDB file in front; and where it ends.
fn misplaced_in_rdb(file: &File, owned: &SlotSet) -> (Option<Misplaced>, u64) {
    let Ok(mut reader) = FileReader::open(file, false) else { return (None, 0) };
    loop {
        match reader.next() {
            Ok(Record::Key(_)) => {
                let at = reader.position();
                let read = reader.key(|head, key, reader| {
                    skip(head.kind, reader)?;
                    Ok((!owned.contains(slot_of(key))).then(|| key.to_vec()))
                });
                if let Ok(Some(key)) = read {
                    return (Some(Misplaced { key, at, unit: None }), at);
                }
            }
            Ok(Record::End(_)) | Err(_) => return (None, reader.position()),
            Ok(_) => {}
        }
    }
}
