//! What the configuration must do, seen from outside: the table, loading, CONFIG GET, SET and REWRITE.

mod loading;
mod rewriting;
mod setting;
mod table;

use super::argv::{self, Invocation};
use super::*;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own for a test, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("gyre-config-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        Self(dir.canonicalize().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn load_args(args: &[&str], stdin: &str) -> Result<Loaded, ConfigError> {
    let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
    let Invocation::Serve(sources) = argv::parse(&args) else { panic!("{args:?}") };
    load(&sources, &mut stdin.as_bytes(), false)
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

/// Loads lines as if they came from standard input.
fn load_text(text: &str) -> Result<Loaded, ConfigError> {
    load_args(&["-"], text)
}

fn config_of(text: &str) -> Config {
    load_text(text).unwrap_or_else(|error| panic!("{error}")).config
}

fn load_file(path: &Path) -> Result<Loaded, ConfigError> {
    load_args(&[path.to_str().unwrap()], "")
}

/// The value that CONFIG GET shows.
fn shown(config: &Config, name: &str) -> String {
    let found = get(config, &[name.as_bytes()]);
    assert_eq!(found.len(), 1, "{name}");
    String::from_utf8(found[0].1.clone()).unwrap()
}
