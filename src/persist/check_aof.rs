//! `gyre-check-aof [--fix|--truncate-to-timestamp N] FILE`: checks append-only files, one or those of a manifest, in the lines of
//! redis-check-aof, and with its exit codes.
//!
//! A manifest of several shards has a chain for each; those are checked one after the other, then whether each has only keys of its
//! own shard, and then whether they fit together: a transaction that did not reach all its shards' logs is told, and with `--fix` cut off as a starting server would do it.
//!
//! Looking for damage takes reading all of a file; mending it is a change of its length, at the place that was found.

mod file;
mod keys;
mod shards;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::aof::{Chain, Entry, Manifest};
use crate::base::error_text;
use crate::base::log::{self, Level};

/// As much of a manifest as is looked at to know it for one, at a time.
const MANIFEST_LINE_BYTES_MAX: u64 = 1024;

/// The tool has said why, and ends with code 1.
#[derive(Debug)]
struct Stop;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Valid,
    Empty,
    Truncated,
    TimeTruncated,
}

/// What kind of file the tool was given.
enum Kind {
    Resp,
    RdbPreamble,
    Manifest,
}

/// What one run of the tool knows. As in Redis's, some of it goes on from one file to the next.
struct Tool<'a> {
    output: &'a mut dyn Write,
    /// Where answers come from.
    input: &'a mut dyn BufRead,
    fix: bool,
    /// 0: no.
    to_timestamp: i64,
    /// Lines of protocol seen, in all files.
    line: u64,
    /// The last line of a number, of which Redis shows what is left when it is overwritten in part.
    number_line: [u8; file::NUMBER_LINE_BYTES],
}

/// Says something; a reader that went away changes nothing about the check.
macro_rules! say {
    ($tool:expr, $($what:tt)+) => {{ let _ = writeln!($tool.output, $($what)+); }};
}
use say;

/// The same, of a file whose name may have any bytes: pieces as `text!` takes them.
macro_rules! say_text {
    ($tool:expr, $($piece:expr),+ $(,)?) => {{ let _ = $tool.output.write_all(&$crate::text!($($piece,)+ "\n")); }};
}
use say_text;

/// The tool: arguments with the program's name in front; 0 when all is well, else 1.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut output = io::BufWriter::new(io::stdout().lock());
    let result = run(&args, &mut io::stdin().lock(), &mut output);
    match (result, output.flush()) {
        (Ok(()), Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Whether a program of this name (argv\[0\]) is this tool.
pub fn is_called(program: &std::ffi::OsStr) -> bool {
    let name = Path::new(program).file_name().unwrap_or_default().as_bytes();
    name.starts_with(b"redis-check-aof") || name.starts_with(b"gyre-check-aof")
}

fn run(args: &[OsString], input: &mut dyn BufRead, output: &mut dyn Write) -> Result<(), Stop> {
    let number_line = [0; file::NUMBER_LINE_BYTES];
    let mut tool = Tool { output, input, fix: false, to_timestamp: 0, line: 1, number_line };
    let path = match args {
        [_, path] => path,
        [_, option, path] if option == "--fix" => {
            tool.fix = true;
            path
        }
        [_, option, seconds, path] if option == "--truncate-to-timestamp" => {
            match file::leading_integer(seconds.as_bytes()) {
                Some((seconds, b"")) => tool.to_timestamp = seconds,
                _ => {
                    say!(tool, "Invalid timestamp, aborting...");
                    return Err(Stop);
                }
            }
            path
        }
        _ => {
            let program = args.first().map_or(OsStr::new("gyre-check-aof"), |name| name);
            let options = " [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>";
            say_text!(tool, "Usage: ", program, options);
            return Err(Stop);
        }
    };
    let path = Path::new(path);
    match tool.kind(path)? {
        Kind::Manifest => tool.multi_part(path),
        Kind::Resp => tool.old_style(path, false),
        Kind::RdbPreamble => tool.old_style(path, true),
    }
}

impl Tool<'_> {
    fn kind(&mut self, path: &Path) -> Result<Kind, Stop> {
        if self.is_manifest(path)? {
            return Ok(Kind::Manifest);
        }
        Ok(if self.is_rdb(path)? { Kind::RdbPreamble } else { Kind::Resp })
    }

    fn open(&mut self, path: &Path) -> Result<File, Stop> {
        File::open(path).map_err(|error| {
            say_text!(self, "Cannot open file ", path, ": ", error_text(&error));
            Stop
        })
    }

    /// Whether it has a line of a manifest in front, comments aside.
    fn is_manifest(&mut self, path: &Path) -> Result<bool, Stop> {
        let mut reader = BufReader::new(self.open(path)?);
        loop {
            let mut line = Vec::new();
            let read = reader.by_ref().take(MANIFEST_LINE_BYTES_MAX).read_until(b'\n', &mut line);
            match read {
                Err(_) => {
                    say_text!(self, "Cannot read file: ", path);
                    return Err(Stop);
                }
                Ok(0) => return Ok(false),
                Ok(_) if line[0] == b'#' => {}
                Ok(_) => return Ok(line.starts_with(b"file")),
            }
        }
    }

    /// Whether it begins as an RDB file does, and is long enough to be one.
    fn is_rdb(&mut self, path: &Path) -> Result<bool, Stop> {
        let mut start = Vec::new();
        // A file that cannot be read is told about by whoever reads it next.
        let _ = self.open(path)?.take(8).read_to_end(&mut start);
        Ok(start.len() == 8 && start.starts_with(b"REDIS"))
    }

    fn old_style(&mut self, path: &Path, has_preamble: bool) -> Result<(), Stop> {
        say!(self, "Start checking Old-Style AOF");
        let name = path.as_os_str().as_bytes();
        let outcome = self.check_file(name, path, true, has_preamble)?;
        self.tell("AOF", name, outcome);
        Ok(())
    }

    fn multi_part(&mut self, path: &Path) -> Result<(), Stop> {
        say!(self, "Start checking Multi Part AOF");
        let manifest = self.manifest(path)?;
        let folder = folder_of(path);
        for layout in manifest.layouts() {
            for (shard, chain) in layout.chains() {
                if manifest.layouts().len() > 1 || layout.shards() > 1 {
                    say!(self, "Start to check the files of shard {shard} of {}.", layout.shards());
                }
                self.chain(&folder, chain)?;
            }
        }
        for layout in manifest.layouts().iter().filter(|layout| layout.shards() > 1) {
            self.check_keys(&folder, layout)?;
            self.check_cut(&folder, layout)?;
        }
        say!(self, "All AOF files and manifest are valid");
        Ok(())
    }

    fn manifest(&mut self, path: &Path) -> Result<Manifest, Stop> {
        let mut content = Vec::new();
        if self.open(path)?.read_to_end(&mut content).is_err() {
            say_text!(self, "Cannot read file: ", path);
            return Err(Stop);
        }
        // The name matters only for new files.
        Manifest::parse(b"appendonly.aof", &content).map_err(|error| {
            // In the order in which it was said, for these lines do not go through `output`.
            let _ = self.output.flush();
            for message in error.log_messages() {
                log::write_bytes(Level::Warning, &message);
            }
            Stop
        })
    }

    fn chain(&mut self, folder: &Path, chain: &Chain) -> Result<(), Stop> {
        let mut left = chain.files().count();
        let mut check = |tool: &mut Self, entry: &Entry, kind: &str, has_preamble: bool| {
            left -= 1;
            let outcome =
                tool.check_file(&entry.name, &path_in(folder, &entry.name), left == 0, has_preamble)?;
            tool.tell(kind, &entry.name, outcome);
            Ok(())
        };
        if let Some(base) = &chain.base {
            let is_rdb = self.is_rdb(&path_in(folder, &base.name))?;
            say!(self, "Start to check BASE AOF ({} format).", if is_rdb { "RDB" } else { "RESP" });
            check(self, base, "BASE AOF", is_rdb)?;
        }
        if !chain.increments.is_empty() {
            say!(self, "Start to check INCR files.");
        }
        for increment in &chain.increments {
            check(self, increment, "INCR AOF", false)?;
        }
        Ok(())
    }

    fn tell(&mut self, kind: &str, name: &[u8], outcome: Outcome) {
        match outcome {
            Outcome::Valid => say_text!(self, kind, " ", name, " is valid"),
            Outcome::Empty => say_text!(self, kind, " ", name, " is empty"),
            Outcome::Truncated => say_text!(self, "Successfully truncated AOF ", name),
            Outcome::TimeTruncated => {
                let to = format!(" to timestamp {}", self.to_timestamp);
                say_text!(self, "Successfully truncated AOF ", name, to);
            }
        }
    }

    /// Asks whether to go on.
    fn confirm(&mut self) -> Result<(), Stop> {
        let _ = write!(self.output, "Continue? [y/N]: ");
        let _ = self.output.flush();
        let mut answer = [0; 1];
        match self.input.read(&mut answer) {
            Ok(1) if answer[0].eq_ignore_ascii_case(&b'y') => {
                // The rest of the line is no answer to the next question.
                let _ = (&mut *self.input).take(MANIFEST_LINE_BYTES_MAX).read_until(b'\n', &mut Vec::new());
                Ok(())
            }
            _ => {
                say!(self, "Aborting...");
                Err(Stop)
            }
        }
    }
}

/// As C's `dirname` has it.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn path_in(folder: &Path, name: &[u8]) -> PathBuf {
    folder.join(std::ffi::OsStr::from_bytes(name))
}

fn open_to_mend(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}
