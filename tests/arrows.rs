//! The rooms of the house, which are the folders and files right under `src/`, know only the rooms below them.
//!
//! `FLOORS` lists them from the ground up. A room may name (`crate::room`) rooms on floors below its own and no others; its tests are
//! free. So a reader of a room has to know what is below it and never what is above, and no two rooms need each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. Rooms on one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["base"],
    &["store", "resp", "runtime"],
    &["rdb", "config", "observe"],
    &["command", "process"],
    &["acl", "txn", "script", "persist", "migrate", "repl"],
    &["client"],
    &["shard"],
    &["recovery"],
    &["server"],
];

/// Macros, which stand at the root.
const MACROS: &[&str] = &["log", "log_text", "text"];

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The names behind `crate::` in the code of a file, those of its tests left out.
fn rooms_named(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut rooms = BTreeSet::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for behind in line.split("crate::").skip(1) {
            // One room, or several in braces.
            let group = behind.strip_prefix('{').and_then(|behind| behind.split('}').next());
            for name in group.map_or(vec![behind], |group| group.split(", ").collect()) {
                let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
                rooms.insert(name[..end].to_owned());
            }
        }
    }
    rooms
}

/// Constants stand in `lib.rs`.
fn is_constant(name: &str) -> bool {
    name.chars().next().is_some_and(char::is_uppercase)
}

/// What is wrong with a file of `room` that names `named`.
fn wrong_arrows(room: &str, named: &BTreeSet<String>) -> Vec<String> {
    let Some(floor) = floor_of(room) else { return vec![format!("{room} is on no floor")] };
    let rooms =
        named.iter().filter(|name| *name != room && !MACROS.contains(&name.as_str()) && !is_constant(name));
    rooms.filter(|name| floor_of(name).is_none_or(|below| below >= floor)).cloned().collect()
}

#[test]
fn rooms_know_only_the_rooms_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    for file in &files {
        let path = file.strip_prefix(&root).unwrap();
        let is_test = path.components().any(|part| {
            let name = part.as_os_str().to_string_lossy();
            name == "tests" || name.ends_with("tests.rs") || name.starts_with("testing")
        });
        let room = path.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
        if is_test || room == "bin" || room == "lib" {
            continue;
        }
        let named = rooms_named(&fs::read_to_string(file).unwrap());
        for arrow in wrong_arrows(&room, &named) {
            wrong.push(format!("{}: {arrow}", path.display()));
        }
    }
    assert!(files.len() > 300, "the sources are under {}", root.display());
    assert!(wrong.is_empty(), "these name rooms that are not below them:\n{}", wrong.join("\n"));
}

#[test]
fn an_arrow_that_runs_up_or_across_is_found() {
    let named = rooms_named(
        "use crate::{log, shard::Shard};\n// crate::server\nfn f() { crate::base::x(); crate::log!(1) }\n",
    );
    assert_eq!(named.iter().map(String::as_str).collect::<Vec<_>>(), ["base", "log", "shard"]);
    assert_eq!(wrong_arrows("store", &named), ["shard"]);
    assert!(wrong_arrows("recovery", &named).is_empty());
    assert_eq!(wrong_arrows("acl", &rooms_named("crate::txn::plan")), ["txn"], "rooms of one floor");
    assert_eq!(wrong_arrows("attic", &named), ["attic is on no floor"]);
}
