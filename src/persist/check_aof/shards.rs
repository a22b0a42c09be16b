//! Whether the logs of several shards fit together: no transaction is in by half.

use std::fs::File;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{path_in, say, say_text, Stop, Tool};
use crate::base::error_text;
use crate::persist::aof::{cut, cut_off, Chain, Layout, LogEnds, LogPosition, ScannedLog};
use crate::rdb::file::{FileReader, Record};

/// More transactions than this are only counted.
const TOLD_MAX: usize = 100;

impl Tool<'_> {
    /// Checks a layout whose files are valid each by itself; with `--fix` (and after cutting to a time) cuts them so that they fit.
    pub(super) fn check_cut(&mut self, folder: &Path, layout: &Layout) -> Result<(), Stop> {
        say!(self, "Start to check that the files of {} shards fit together.", layout.shards());
        let nothing = Chain::default();
        let chains: Vec<&Chain> =
            (0..layout.shards()).map(|shard| layout.chain(shard).unwrap_or(&nothing)).collect();
        let mut logs = Vec::new();
        for chain in &chains {
            logs.push(self.log(folder, chain)?);
        }
        let found = cut(&logs);
        self.tell_cut(&found);
        if logs.iter().zip(&found.ends).all(|(log, end)| log.end() == *end) {
            say!(self, "The files of {} shards fit together", layout.shards());
            return Ok(());
        }
        for (shard, (log, end)) in logs.iter().zip(&found.ends).enumerate() {
            if log.end() != *end {
                // A log with an end has a file there.
                let name = &chains[shard].increments[end.file as usize].name;
                let place = format!("Shard {shard} is to be cut at offset {} of ", end.offset);
                say_text!(self, place, name);
            }
        }
        if !self.fix && self.to_timestamp == 0 {
            say!(self, "The AOF files do not fit together. Use the --fix option to try fixing it.");
            return Err(Stop);
        }
        if self.fix {
            self.confirm()?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        for (chain, end) in chains.iter().zip(&found.ends) {
            self.cut_chain(folder, chain, *end, now)?;
        }
        Ok(())
    }

    fn log(&mut self, folder: &Path, chain: &Chain) -> Result<ScannedLog, Stop> {
        let base_cut = chain.base.as_ref().map_or(0, |base| base_cut(&path_in(folder, &base.name)));
        let files = chain.increments.iter().map(|entry| File::open(path_in(folder, &entry.name)));
        let scanned =
            files.collect::<Result<Vec<File>, _>>().and_then(|files| ScannedLog::scan(base_cut, files));
        match scanned {
            Ok((log, None)) => Ok(log),
            Ok((_, Some(fault))) => {
                say!(self, "An AOF file is not valid: {fault}");
                Err(Stop)
            }
            Err(error) => {
                say!(self, "Cannot read the AOF files: {}, aborting...", error_text(&error));
                Err(Stop)
            }
        }
    }

    fn tell_cut(&mut self, found: &LogEnds) {
        for transaction in found.incomplete.iter().take(TOLD_MAX) {
            let (number, missing) = (transaction.number, &transaction.missing);
            say!(self, "Transaction {number} did not reach the logs of shards {missing:?}");
        }
        if !found.dropped.is_empty() {
            let (halves, all) = (found.incomplete.len(), found.dropped.len());
            say!(self, "{halves} transactions are not whole; {all} would be cut off, with what follows them");
        }
        if !found.behind_bases.is_empty() {
            let shards = &found.behind_bases;
            say!(self, "The logs of shards {shards:?} end before the base of another shard was made");
        }
    }

    fn cut_chain(&mut self, folder: &Path, chain: &Chain, end: LogPosition, now: u64) -> Result<(), Stop> {
        for (index, increment) in chain.increments.iter().enumerate().skip(end.file as usize) {
            let len = if index == end.file as usize { end.offset } else { 0 };
            match cut_off(folder, &increment.name, len, now) {
                Ok(kept) => {
                    if let Some(kept) = kept {
                        say_text!(self, kept.log_message());
                        say_text!(self, "Successfully truncated AOF ", increment.name);
                    }
                }
                Err(error) => {
                    say_text!(self, "Failed to truncate AOF ", increment.name, ": ", error_text(&error));
                    return Err(Stop);
                }
            }
        }
        Ok(())
    }
}

/// The barrier that a base was made at, if it tells one.
fn base_cut(path: &Path) -> u64 {
    let Some(mut reader) = File::open(path).ok().and_then(|file| FileReader::open(file, false).ok()) else {
        return 0;
    };
    // Such facts come first.
    while let Ok(Record::Aux { name, value }) = reader.next() {
        if &name[..] == b"gyre-cut" {
            return std::str::from_utf8(&value).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0);
        }
    }
    0
}
