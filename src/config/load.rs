//! Loading: configuration files with their includes, standard input and options, line by line into a `Config`.

use super::argv::Sources;
use super::directive::{flag, Directive, Reason, Source};
use super::{access, Config};
use crate::base::error_text;
use crate::base::words::split_words;
use crate::resp::Text;
use crate::runtime::sys;
use crate::text;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Files include files to this depth; a cycle ends here.
pub(super) const INCLUDE_DEPTH_MAX: usize = 16;
/// All files of one load, so that files which include each other twice end too.
const FILES_MAX: usize = 4096;
/// A longer file is not a configuration file.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Directives of old versions that are still accepted, with one argument, and mean nothing.
const FORGOTTEN: [&str; 3] = ["list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"];

/// Why a configuration that wants a module stops the start: what the module does would be missing in silence.
const NO_MODULES: &str = "Gyre has no C module API, and loads no modules";

/// What a start needs to know.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub config: Config,
    /// The configuration file, absolute; None when there is none, and CONFIG REWRITE is refused.
    pub file: Option<PathBuf>,
    pub renames: Vec<RenameCommand>,
    pub users: Vec<UserLine>,
    pub sentinel: Vec<SentinelLine>,
    /// What the operator should read in the log.
    pub warnings: Vec<String>,
}

/// Where a line stands, for errors that are found after loading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub place: DirectiveSource,
    pub text: Arc<[u8]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectiveSource {
    File { path: Arc<Path>, line: usize },
    Stdin { line: usize },
    CommandLine,
}

/// `rename-command`: `to` is empty when the command is to disappear. Whether the names are right is for the caller to
/// see, with `ConfigError::at`: only the command table knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenameCommand {
    pub from: Vec<u8>,
    pub to: Vec<u8>,
    pub origin: Origin,
}

/// `user`: the name and its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserLine {
    pub name: Vec<u8>,
    pub rules: Vec<Vec<u8>>,
    pub origin: Origin,
}

/// `sentinel`: its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentinelLine {
    pub args: Vec<Vec<u8>>,
    pub origin: Origin,
}

/// Why the server does not start; its text is for the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub origin: Option<Origin>,
    pub reason: Text,
}

impl ConfigError {
    pub fn at(origin: &Origin, reason: impl Into<Text>) -> Self {
        Self { origin: Some(origin.clone()), reason: reason.into() }
    }

    fn without_line(reason: impl Into<Text>) -> Self {
        Self { origin: None, reason: reason.into() }
    }

    pub fn text(&self) -> Text {
        let head = text!("\n*** FATAL CONFIG FILE ERROR (Gyre ", crate::VERSION, ") ***\n");
        let Some(origin) = &self.origin else { return text!(head, self.reason) };
        let place = match &origin.place {
            DirectiveSource::File { path, line } => text!(
                "Reading the configuration file ",
                path.as_os_str().as_bytes(),
                format_args!(", at line {line}")
            ),
            DirectiveSource::Stdin { line } => {
                format!("Reading the configuration from standard input, at line {line}").into()
            }
            DirectiveSource::CommandLine => "Reading the configuration from the command line".into(),
        };
        text!(head, place, "\n>>> '", *origin.text, "'\n", self.reason)
    }
}

/// Loads what `sources` names. `stdin` is read only when they say so. In `sentinel` mode the `sentinel` lines are taken.
pub fn load(sources: &Sources, stdin: &mut dyn Read, sentinel: bool) -> Result<Loaded, ConfigError> {
    let mut loader = Loader { loaded: Loaded::default(), seen: HashSet::new(), files: 0, sentinel };
    if let Some(file) = &sources.file {
        let dir = &loader.loaded.config.general.dir.0;
        let path = absolute(dir, Path::new(OsStr::from_bytes(file)));
        loader.file(&path, 0).map_err(|failure| failure.or_without_line())?;
        loader.loaded.file = Some(path);
    }
    if sources.stdin {
        let text = read_bounded(stdin).map_err(|error| ConfigError::without_line(error_text(&error)))?;
        loader.lines(&text, 0, |line| DirectiveSource::Stdin { line })?;
    }
    for option in &sources.options {
        loader.lines(option, 0, |_| DirectiveSource::CommandLine)?;
    }
    loader.finish()
}

/// Joins without a trace of `./` and of leading `../`. What is in the middle may pass through links, and stays.
fn absolute(dir: &Path, file: &Path) -> PathBuf {
    let mut path = dir.to_owned();
    let mut leading = true;
    for component in file.components() {
        leading &= component == Component::ParentDir;
        if leading {
            path.pop();
        } else {
            path.push(component);
        }
    }
    path
}

fn read_bounded(reader: &mut dyn Read) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let size = reader.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if size as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge));
    }
    Ok(text)
}

/// A file could not be read (which the including line is to blame for, if any), or has an error in it.
enum FileFailure {
    Unreadable(Text),
    Config(ConfigError),
}

impl FileFailure {
    fn or_without_line(self) -> ConfigError {
        match self {
            FileFailure::Unreadable(reason) => ConfigError::without_line(reason),
            FileFailure::Config(error) => error,
        }
    }
}

/// What is wrong with the arguments of a directive. On the command line, where an option takes the next one for its value, that is
/// often that it has none.
fn refuse_named(origin: &Origin, name: &[u8], args: &[Vec<u8>], reason: Reason) -> ConfigError {
    let taken =
        args.first().filter(|first| first.starts_with(b"--") && origin.place == DirectiveSource::CommandLine);
    match taken {
        Some(taken) => ConfigError::at(
            origin,
            text!("'--", name, "' has no value of its own: it takes '", *taken, "' for it\n", reason),
        ),
        None => ConfigError::at(origin, reason),
    }
}

struct Loader {
    loaded: Loaded,
    /// Directives that a line has set.
    seen: HashSet<&'static str>,
    files: usize,
    sentinel: bool,
}

impl Loader {
    fn file(&mut self, path: &Path, depth: usize) -> Result<(), FileFailure> {
        self.files += 1;
        if depth > INCLUDE_DEPTH_MAX || self.files > FILES_MAX {
            return Err(FileFailure::Unreadable("Too many nested include directives".into()));
        }
        let text = fs::File::open(path).and_then(|mut file| read_bounded(&mut file)).map_err(|error| {
            let reason = error_text(&error);
            FileFailure::Unreadable(text!("Fatal error, can't open config file '", path, "': ", reason))
        })?;
        let path: Arc<Path> = path.into();
        self.lines(&text, depth, |line| DirectiveSource::File { path: path.clone(), line })
            .map_err(FileFailure::Config)
    }

    fn lines(
        &mut self,
        text: &[u8],
        depth: usize,
        place: impl Fn(usize) -> DirectiveSource,
    ) -> Result<(), ConfigError> {
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            let origin = Origin { place: place(index + 1), text: line.into() };
            self.line(line, &origin, depth)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], origin: &Origin, depth: usize) -> Result<(), ConfigError> {
        let refuse = |reason: Reason| ConfigError::at(origin, reason);
        let words =
            split_words(line).ok_or_else(|| refuse("Unbalanced quotes in configuration line".into()))?;
        let Some((name, args)) = words.split_first() else {
            return Ok(());
        };
        if let Some((directive, _)) = access::find(name) {
            return self
                .directive(directive, args)
                .map_err(|reason| refuse_named(origin, name, args, reason));
        }
        let name = name.to_ascii_lowercase();
        if args.len() == 1 && FORGOTTEN.iter().any(|forgotten| forgotten.as_bytes() == name) {
            return Ok(());
        }
        match (name.as_slice(), args) {
            (b"include", [pattern]) => self.include(pattern, origin, depth),
            (b"rename-command", [from, to]) => {
                let rename = RenameCommand { from: from.clone(), to: to.clone(), origin: origin.clone() };
                self.loaded.renames.push(rename);
                Ok(())
            }
            (b"user", [user, rules @ ..]) => {
                let user = UserLine { name: user.clone(), rules: rules.to_vec(), origin: origin.clone() };
                self.loaded.users.push(user);
                Ok(())
            }
            (b"loadmodule", [path, ..]) => {
                Err(ConfigError::at(origin, text!("Can't load module from ", *path, ": ", NO_MODULES)))
            }
            (name, args) if name.contains(&b'.') => match args {
                [] => Err(refuse("Module config specified without value".into())),
                _ => Err(ConfigError::at(origin, text!("'", name, "' belongs to a module: ", NO_MODULES))),
            },
            (b"sentinel", []) => Ok(()),
            (b"sentinel", _) if !self.sentinel => {
                Err(refuse("sentinel directive while not in sentinel mode".into()))
            }
            (b"sentinel", args) => {
                self.loaded.sentinel.push(SentinelLine { args: args.to_vec(), origin: origin.clone() });
                Ok(())
            }
            _ => Err(refuse("Bad directive or wrong number of arguments".into())),
        }
    }

    fn directive(&mut self, directive: &'static Directive, args: &[Vec<u8>]) -> Result<(), Reason> {
        let again = !self.seen.insert(directive.name);
        let source = Source::Load { again };
        let config = &mut self.loaded.config;
        match args {
            // All the arguments of a list may come quoted as one.
            [only] if directive.is(flag::MULTI) && !only.is_empty() => {
                let words = split_words(only).ok_or("Unbalanced quotes in configuration line")?;
                directive.assign(config, &words, source)
            }
            _ => directive.assign(config, args, source),
        }
    }

    /// A pattern that matches nothing is no error, so that a directory of additions may be empty.
    fn include(&mut self, pattern: &[u8], origin: &Origin, depth: usize) -> Result<(), ConfigError> {
        let path = self.loaded.config.general.dir.0.join(OsStr::from_bytes(pattern));
        let has_wildcard = pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['));
        let paths = if has_wildcard { sys::glob(&path) } else { vec![path] };
        for path in paths {
            self.file(&path, depth + 1).map_err(|failure| match failure {
                FileFailure::Unreadable(reason) => ConfigError::at(origin, reason),
                FileFailure::Config(error) => error,
            })?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Loaded, ConfigError> {
        let config = &mut self.loaded.config;
        let logfile = &config.observing.logfile;
        if !logfile.as_os_str().is_empty() {
            let path = config.general.dir.0.join(logfile);
            // Later there is nobody left to tell.
            fs::OpenOptions::new().append(true).create(true).open(path).map_err(|error| {
                ConfigError::without_line(format!("Can't open the log file: {}", error_text(&error)))
            })?;
        }
        if config.cluster.cluster_enabled && config.replication.replicaof.is_some() {
            return Err(ConfigError::without_line("replicaof directive not allowed in cluster mode"));
        }
        if config.cluster.cluster_enabled && config.general.databases > 1 {
            self.loaded.warnings.push(format!(
                "WARNING: Changing databases number from {} to 1 since we are in cluster mode",
                config.general.databases
            ));
            config.general.databases = 1;
        }
        config.settle();
        Ok(self.loaded)
    }
}
