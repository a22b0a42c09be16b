//! `gyre-check-rdb FILE`: reads an RDB file as a server would, keeps nothing of it, and tells what is in it and where it is damaged, in
//! the lines of redis-check-rdb.
//!
//! A server that cannot load its file runs the same check ([`explain`]) and shows what it tells.

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::rdb::file::{
    internal_error, is_value_type, Cause, Checksum, Doing, Failure, FileReader, KeyHead, Record, TERMINATING,
};
use crate::rdb::{decode_value, skip, Checks, RdbType};
use crate::store::Settings;
use crate::text;

/// What redis-check-rdb calls the types of values, by their numbers.
const TYPE_NAMES: [&str; 34] = [
    "string",
    "list-linked",
    "set-hashtable",
    "zset-v1",
    "hash-hashtable",
    "zset-v2",
    "module-pre-release",
    "module-value",
    "",
    "hash-zipmap",
    "list-ziplist",
    "set-intset",
    "zset-ziplist",
    "hash-ziplist",
    "quicklist",
    "stream",
    "hash-listpack",
    "zset-listpack",
    "quicklist-v2",
    "stream-v2",
    "set-listpack",
    "stream-v3",
    "hash-hashtable-md-pre-release",
    "hash-listpack-md-pre-release",
    "hash-hashtable-md",
    "hash-listpack-md",
    "stream-v4",
    "stream-v5",
    "array",
    "hash-template-listpack",
    "hash-template-listpack-reference",
    "hash-template-array",
    "hash-template-array-reference",
    "gcra",
];

/// As `TYPE_NAMES`, and Valkey's own.
fn type_name(kind: u8) -> &'static str {
    match kind {
        _ if kind == RdbType::ValkeyHash as u8 => "hash-hashtable-with-expiry",
        _ => TYPE_NAMES.get(kind as usize).unwrap_or(&"unknown"),
    }
}

/// The tool: arguments with the program's name in front; 0 for a file that can be loaded, else 1.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let [_, file] = &args[..] else {
        let program = args.first().map_or(OsStr::new("gyre-check-rdb"), |name| name);
        say_error(&text!("Usage: ", program, " <rdb-file-name>\n"));
        return ExitCode::FAILURE;
    };
    if file == "-v" || file == "--version" {
        println!("gyre-check-rdb {} (redis {})", env!("CARGO_PKG_VERSION"), crate::REDIS_VERSION);
        return ExitCode::SUCCESS;
    }
    let mut output = BufWriter::new(io::stdout().lock());
    let is_right = check_file(Path::new(file), &mut output);
    match (is_right, output.flush()) {
        (Ok(true), Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn say_error(text: &[u8]) {
    // Nobody is left to be told that this fails.
    let _ = io::stderr().write_all(text);
}

/// Whether a program of this name (argv\[0\]) is this tool.
pub fn is_called(program: &std::ffi::OsStr) -> bool {
    let name = Path::new(program).file_name().unwrap_or_default().as_bytes();
    name.starts_with(b"redis-check-rdb") || name.starts_with(b"gyre-check-rdb")
}

/// What the tool tells of a file, for the log of a server that could not load it.
pub fn explain(file: &Path) -> Vec<u8> {
    let mut told = Vec::new();
    // Writing to memory does not fail.
    let _ = check_file(file, &mut told);
    told
}

/// Checks a file and tells what is in it, line by line; whether it can be loaded.
pub fn check_file(file: &Path, output: &mut dyn Write) -> io::Result<bool> {
    output.write_all(&text!("[offset 0] Checking RDB file ", file, "\n"))?;
    match File::open(file) {
        Ok(input) => Ok(check(input, now_ms(), output)?.is_some()),
        Err(error) => {
            // Redis's tool ends here without a word.
            say_error(&text!("Cannot open ", file, format_args!(": {error}\n")));
            Ok(false)
        }
    }
}

/// As `check_file`, of a file that is open; where it ends, if it can be loaded. An AOF may go on behind it.
pub fn check(input: impl Read, now_ms: i64, output: &mut dyn Write) -> io::Result<Option<u64>> {
    let mut check =
        Check { now_ms, output, keys: 0, expires: 0, already_expired: 0, kind: Some(0), version: 0 };
    match check.records(input)? {
        Ok(end) => {
            check.tell(end, r"\o/ RDB looks OK! \o/")?;
            check.counts()?;
            Ok(Some(end))
        }
        Err(failure) => {
            check.failure(&failure)?;
            Ok(None)
        }
    }
}

struct Check<'o> {
    now_ms: i64,
    output: &'o mut dyn Write,
    keys: u64,
    expires: u64,
    already_expired: u64,
    /// The type of the value that was being read, by its number. Before the first it is 0, as in Redis.
    kind: Option<u8>,
    /// Of the format.
    version: u16,
}

impl Check<'_> {
    fn tell(&mut self, position: u64, what: &str) -> io::Result<()> {
        self.tell_text(position, what.as_bytes())
    }

    fn tell_text(&mut self, position: u64, what: &[u8]) -> io::Result<()> {
        write!(self.output, "[offset {position}] ")?;
        self.output.write_all(what)?;
        self.output.write_all(b"\n")
    }

    /// Reads all of a file, and returns where it ends.
    fn records(&mut self, input: impl Read) -> io::Result<Result<u64, Failure>> {
        let mut reader = match FileReader::open(input, true) {
            Ok(reader) => reader,
            Err(failure) => return Ok(Err(failure)),
        };
        self.version = reader.version();
        let settings = Settings::default();
        loop {
            let record = match reader.next() {
                Ok(record) => record,
                Err(failure) => return Ok(Err(failure)),
            };
            let position = reader.position();
            match record {
                Record::Key(head) => {
                    if let Err(failure) = self.key(&mut reader, head, &settings) {
                        return Ok(Err(failure));
                    }
                }
                Record::SelectDb(db) => self.tell(position, &format!("Selecting DB ID {db}"))?,
                Record::Aux { name, value } => {
                    self.tell_text(position, &text!("AUX FIELD ", name, " = '", value, "'"))?;
                }
                Record::ModuleAux { module, data_at } => {
                    self.tell(data_at, &format!("MODULE AUX for: {module}"))?;
                }
                Record::ResizeDb { .. } | Record::SlotInfo { .. } | Record::Function(_) => {}
                Record::End(checksum) => {
                    match checksum {
                        Checksum::Right => self.tell(position, "Checksum OK")?,
                        Checksum::Absent => self.tell(
                            position,
                            "RDB file was saved with checksum disabled: no check performed.",
                        )?,
                        Checksum::NotChecked => {}
                    }
                    return Ok(Ok(position));
                }
            }
        }
    }

    fn key<R: Read>(
        &mut self,
        reader: &mut FileReader<R>,
        head: KeyHead,
        settings: &Settings,
    ) -> Result<(), Failure> {
        if !is_value_type(head.kind) && TYPE_NAMES.get(head.kind as usize).is_none_or(|name| name.is_empty())
        {
            return Err(reader.type_failure());
        }
        self.kind = Some(head.kind);
        let read = reader.key(|head, _, reader| {
            if RdbType::is_module(head.kind) {
                return skip(head.kind, reader);
            }
            decode_value(head.kind, reader, settings, Checks::Deep).map(drop)
        });
        if read.as_ref().map_or_else(|failure| failure.doing == Doing::Value, |()| true) {
            self.keys += 1;
        }
        read?;
        if let Some(at_ms) = head.expire_at {
            self.expires += 1;
            self.already_expired += u64::from(at_ms < self.now_ms);
        }
        self.kind = None;
        Ok(())
    }

    fn failure(&mut self, failure: &Failure) -> io::Result<()> {
        let is_inside_value =
            !failure.is_short() && matches!(failure.cause, Cause::Data(_) | Cause::ModuleAuxWhen);
        let reason = match &failure.cause {
            Cause::Type(number) => format!("Invalid object type: {number}"),
            Cause::FunctionBeforeRelease => {
                format!("Pre-release function format not supported {}", self.version)
            }
            // Where loading stood, Redis's tool does not know.
            Cause::Data(_) if is_inside_value => internal_error(0, failure.doing, &failure.reason()),
            _ => failure.reason(),
        };
        writeln!(self.output, "--- RDB ERROR DETECTED ---")?;
        self.tell(failure.position, &reason)?;
        writeln!(self.output, "[additional info] While doing: {}", failure.doing.name())?;
        if let Some(key) = failure.key.as_ref().filter(|_| failure.doing == Doing::Value) {
            self.output.write_all(&text!("[additional info] Reading key '", key, "'\n"))?;
        }
        if let Some(kind) = self.kind {
            let name = type_name(kind);
            writeln!(self.output, "[additional info] Reading type {kind} ({name})")?;
        }
        self.counts()?;
        if is_inside_value {
            writeln!(self.output, "{TERMINATING}")?;
        }
        Ok(())
    }

    fn counts(&mut self) -> io::Result<()> {
        writeln!(self.output, "[info] {} keys read", self.keys)?;
        writeln!(self.output, "[info] {} expires", self.expires)?;
        writeln!(self.output, "[info] {} already expired", self.already_expired)
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
