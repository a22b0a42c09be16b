use super::*;
use crate::persist::aof::testing::{command, TestDir};
use crate::persist::aof::write::{put_cut, put_part};
use crate::slots::SlotMap;

/// What the tool says, and whether it ends with 0.
fn check(dir: &TestDir, options: &[&str], file: &str, answer: &str) -> (String, bool) {
    let mut args: Vec<OsString> = vec!["gyre-check-aof".into()];
    args.extend(options.iter().map(OsString::from));
    args.push(dir.path().join(file).into());
    let mut output = Vec::new();
    let is_right = run(&args, &mut answer.as_bytes(), &mut output).is_ok();
    let folder = format!("{}/", dir.path().display());
    (String::from_utf8_lossy(&output).replace(&folder, ""), is_right)
}

fn concat(commands: &[&str]) -> Vec<u8> {
    commands.iter().flat_map(|words| command(words)).collect()
}

#[test]
fn a_right_file_is_valid() {
    let dir = TestDir::new();
    dir.put("a.aof", &concat(&["set foo hello", "multi", "del foo", "exec"]));
    let expected = "Start checking Old-Style AOF\n\
        AOF analyzed: filename=a.aof, size=84, ok_up_to=84, ok_up_to_line=19, diff=0\n\
        AOF a.aof is valid\n";
    assert_eq!(check(&dir, &[], "a.aof", ""), (expected.to_owned(), true));
}

#[test]
fn garbage_is_told_by_line_and_cut_off_when_that_is_wanted() {
    let dir = TestDir::new();
    let good = command("set foo hello");
    let path = dir.put("a.aof", &[&good[..], b"!!!"].concat());
    let (told, is_right) = check(&dir, &[], "a.aof", "");
    assert!(told.contains("AOF a.aof format error\n") && told.contains("ok_up_to_line=8"), "{told}");
    assert!(told.ends_with("AOF a.aof is not valid. Use the --fix option to try fixing it.\n") && !is_right);

    let (told, is_right) = check(&dir, &["--fix"], "a.aof", "n\n");
    assert!(told.ends_with("Continue? [y/N]: Aborting...\n") && !is_right, "{told}");
    assert_eq!(std::fs::read(&path).unwrap().len(), good.len() + 3);

    let (told, is_right) = check(&dir, &["--fix"], "a.aof", "y\n");
    let shrinks = "This will shrink the AOF a.aof from 36 bytes, with 3 bytes, to 33 bytes\n";
    assert!(
        told.contains(shrinks) && told.ends_with("Successfully truncated AOF a.aof\n") && is_right,
        "{told}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), good);
}

#[test]
fn the_end_inside_of_multi_is_not_valid() {
    let dir = TestDir::new();
    dir.put("a.aof", &concat(&["set foo hello", "multi", "set bar world"]));
    let (told, is_right) = check(&dir, &[], "a.aof", "");
    assert!(told.contains(": Reached EOF before reading EXEC for MULTI\n") && !is_right, "{told}");
    assert!(told.contains("ok_up_to=33,"), "{told}");
}

#[test]
fn a_file_is_cut_to_a_time() {
    let dir = TestDir::new();
    let first = [&b"#TS:100\r\n"[..], &command("set a b")].concat();
    let path = dir.put("a.aof", &[&first[..], b"#TS:101\r\n", &command("set c d")].concat());
    let (told, is_right) = check(&dir, &["--truncate-to-timestamp", "99"], "a.aof", "");
    assert!(told.ends_with("has nothing before timestamp 99, aborting...\n") && !is_right, "{told}");
    let (told, is_right) = check(&dir, &["--truncate-to-timestamp", "100"], "a.aof", "");
    assert!(told.ends_with("Successfully truncated AOF a.aof to timestamp 100\n") && is_right, "{told}");
    assert_eq!(std::fs::read(path).unwrap(), first);
    let (told, is_right) = check(&dir, &["--truncate-to-timestamp", "100"], "a.aof", "");
    assert!(told.contains("Truncate nothing in AOF a.aof to timestamp 100\n") && is_right, "{told}");
}

#[test]
fn only_the_last_file_of_a_manifest_is_mended() {
    let dir = TestDir::new();
    dir.put("m", b"file b seq 1 type b\nfile i seq 1 type i\n");
    dir.put("b", b"*1\r\n$4\r\nPI");
    dir.put("i", &command("set a b"));
    let (told, is_right) = check(&dir, &["--fix"], "m", "y\n");
    assert!(
        told.ends_with("Failed to truncate AOF b because it is not the last file\n") && !is_right,
        "{told}"
    );
    dir.put("b", &command("set a b"));
    let (told, is_right) = check(&dir, &[], "m", "");
    assert!(
        told.ends_with("INCR AOF i is valid\nAll AOF files and manifest are valid\n") && is_right,
        "{told}"
    );
}

fn part(number: u64, words: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_part(&mut out, number, &[0, 1], false);
    out.extend(command(words));
    out
}

/// A key of one letter that this shard of two has.
fn key_of(shard: usize) -> char {
    let map = SlotMap::even(2);
    let owner = |key: &char| map.shard_of(key.to_string().as_bytes());
    ('a'..='z').find(|key| owner(key) == shard).unwrap()
}

#[test]
fn a_key_of_another_shard_is_told_and_the_log_cut_before_its_unit() {
    let dir = TestDir::new();
    dir.put("m", b"file s0 seq 1 type i shard 0 shards 2\nfile s1 seq 1 type i shard 1 shards 2\n");
    let [key, other] = [0, 1].map(key_of);
    let good = command(&format!("set {key} b"));
    let body =
        [command("multi"), command(&format!("del {key}")), command(&format!("set {other} c"))].concat();
    let path = dir.put("s0", &[&good[..], &body, &command("exec"), &good].concat());
    dir.put("s1", &command(&format!("set {other} b")));
    let at = good.len() + command("multi").len() + command("del a").len();
    let line = format!(
        "The key '{other}' at offset {at} of s0 is none of shard 0: something was changed in the file\n"
    );
    let (told, is_right) = check(&dir, &[], "m", "");
    assert!(told.contains(&line) && !is_right, "{told}");
    let (told, is_right) = check(&dir, &["--fix"], "m", "y\n");
    assert!(told.ends_with("All AOF files and manifest are valid\n") && is_right, "{told}");
    assert_eq!(std::fs::read(&path).unwrap(), good);
    assert!(dir.names(".").iter().any(|name| name.starts_with("s0.cut-")));
}

#[test]
fn logs_of_shards_that_do_not_fit_are_told_and_cut() {
    let dir = TestDir::new();
    dir.put("m", b"file s0 seq 1 type i shard 0 shards 2\nfile s1 seq 1 type i shard 1 shards 2\n");
    let mut start = Vec::new();
    put_cut(&mut start, 1);
    let [key, other] = [0, 1].map(key_of);
    let whole = [&start[..], &part(2, &format!("set {key} b"))].concat();
    let set = format!("set {key} d");
    let half = [&whole[..], &part(3, &set), &command(&set)].concat();
    let path = dir.put("s0", &half);
    dir.put("s1", &[&start[..], &part(2, &format!("set {other} b"))].concat());
    let (told, is_right) = check(&dir, &[], "m", "");
    assert!(told.contains("Transaction 3 did not reach the logs of shards [1]\n") && !is_right, "{told}");
    assert!(told.contains(&format!("Shard 0 is to be cut at offset {} of s0\n", whole.len())), "{told}");
    assert_eq!(std::fs::read(&path).unwrap(), half);

    let (told, is_right) = check(&dir, &["--fix"], "m", "y\n");
    assert!(told.ends_with("All AOF files and manifest are valid\n") && is_right, "{told}");
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    let kept = dir.names(".").into_iter().find(|name| name.starts_with("s0.cut-")).unwrap();
    assert_eq!(std::fs::read(dir.path().join(kept)).unwrap(), half[whole.len()..]);
    assert!(check(&dir, &[], "m", "").1);
}

#[test]
fn wrong_arguments_are_answered_with_the_usage() {
    let dir = TestDir::new();
    let (told, is_right) = check(&dir, &["--mend"], "a", "");
    assert!(
        told.starts_with("Usage: gyre-check-aof [--fix|--truncate-to-timestamp $timestamp] <") && !is_right
    );
    let (told, _) = check(&dir, &["--truncate-to-timestamp", "soon"], "a", "");
    assert_eq!(told, "Invalid timestamp, aborting...\n");
    let (told, _) = check(&dir, &[], "a", "");
    assert_eq!(told, "Cannot open file a: No such file or directory\n");
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_checked_and_what_was_fixed_is_valid(
        content in proptest::collection::vec(proptest::prop_oneof![
            proptest::prelude::Just(command("set a b")), proptest::prelude::Just(command("multi")),
            proptest::prelude::Just(command("exec")), proptest::prelude::Just(b"#TS:1\r\n".to_vec()),
            proptest::collection::vec(proptest::num::u8::ANY, 0..6),
        ], 0..8),
    ) {
        let dir = TestDir::new();
        dir.put("a.aof", &content.concat());
        proptest::prop_assert!(check(&dir, &["--fix"], "a.aof", "y").1);
        proptest::prop_assert!(check(&dir, &[], "a.aof", "").1);
    }
}
