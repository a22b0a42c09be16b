//! The rooms of the house, which are the folders and files right under `src/`, know only the rooms below them.
//!
//! `FLOORS` lists them from the ground up. A room may name (`crate::room`) rooms on floors below its own and no others; its tests are
//! free. So a reader of a room has to know what is below it and never what is above, and no two rooms need each other.
//!
//! And two rules of the house beside: code knows a command by its role or its flags (`command/table`), and never by its name; and an
//! error is a type that says what is wrong.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. Rooms on one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["base"],
    &["store", "resp", "runtime", "net"],
    &["rdb", "slots", "config", "observe", "control"],
    &["command", "process"],
    &["acl", "txn", "script", "persist", "journal", "snapshot", "migrate"],
    &["repl"],
    &["client", "replication"],
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

/// The files that are not tests: path under `src/`, and text.
fn code() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 300, "the sources are under {}", root.display());
    let paths = files.iter().map(|file| (file, file.strip_prefix(&root).unwrap().to_owned()));
    let is_test = |path: &Path| {
        path.components().any(|part| {
            let name = part.as_os_str().to_string_lossy();
            name == "tests" || name.ends_with("tests.rs") || name.starts_with("testing")
        })
    };
    paths
        .filter(|(_, path)| !is_test(path))
        .map(|(file, path)| (path, fs::read_to_string(file).unwrap()))
        .collect()
}

/// What a use of a name stands behind, or in front of, when it is a comparison.
const COMPARED_BEHIND: &[&str] = &["== ", "!= ", "match ", "match (", "matches!(", "contains(&"];
const COMPARED_IN_FRONT: &[&str] =
    &[" ==", " !=", ".starts_with", ".ends_with", ".contains", ".eq_", ".strip_", ".split", ".find"];

/// Where the code of a file compares the name of a command, its tests left out.
fn comparisons_of_names(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let code = lines.collect::<Vec<_>>().join(" ").replace(" .", ".");
    let mut found = Vec::new();
    for use_of in ["spec.name", ".own_name()"] {
        for (at, _) in code.match_indices(use_of) {
            let (behind, in_front) = (&code[..at], &code[at + use_of.len()..]);
            // `queued.spec.name` is one expression.
            let start =
                behind.rfind(|c: char| !c.is_alphanumeric() && !"._*&".contains(c)).map_or(0, |at| at + 1);
            let is_compared =
                COMPARED_BEHIND.iter().any(|sign| code[..start].ends_with(sign) || behind.ends_with(sign))
                    || COMPARED_IN_FRONT.iter().any(|sign| in_front.starts_with(sign));
            if is_compared {
                found.push(code[start..].chars().take(40).collect());
            }
        }
    }
    found
}

#[test]
fn commands_are_known_by_roles_and_flags() {
    let mut wrong = Vec::new();
    for (path, text) in code().iter().filter(|(path, _)| !path.starts_with("command/table")) {
        wrong.extend(comparisons_of_names(text).iter().map(|found| format!("{}: {found}", path.display())));
    }
    assert!(wrong.is_empty(), "these compare the name of a command:\n{}", wrong.join("\n"));
}

#[test]
fn errors_are_types() {
    let nothing = ["Result<(), ()>", "Err(())"];
    let wrong: Vec<_> = code()
        .into_iter()
        .filter(|(_, text)| nothing.iter().any(|nothing| text.contains(nothing)))
        .map(|(path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "these fail with nothing: {wrong:?}");
}

#[test]
fn a_comparison_of_a_name_is_found() {
    let count = |code: &str| comparisons_of_names(code).len();
    for code in [
        "if spec.name == \"exec\" {",
        "if \"exec\" != queued.spec.name {",
        "match (spec.name, 1) {",
        "if matches!(command.spec.name, \"a\" | \"b\") {",
        "if QUICK.contains(&spec.name) {",
        "let is = spec\n    .name\n    .starts_with(\"function|\");",
        "if spec.own_name() == \"id\" {",
    ] {
        assert_eq!(count(code), 1, "{code}");
    }
    assert_eq!(count("format!(\"{} blocks\", spec.name); reply.bulk(spec.name.as_bytes());"), 0);
    assert_eq!(count("// spec.name == \"exec\"\n"), 0);
}

#[test]
fn rooms_know_only_the_rooms_below_them() {
    let mut wrong = Vec::new();
    for (path, text) in &code() {
        let room = path.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
        if room == "bin" || room == "lib" {
            continue;
        }
        for arrow in wrong_arrows(&room, &rooms_named(text)) {
            wrong.push(format!("{}: {arrow}", path.display()));
        }
    }
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
