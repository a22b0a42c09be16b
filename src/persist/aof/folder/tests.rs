use super::*;
use std::os::unix::fs::FileExt;

use crate::persist::aof::testing::TestDir;
use crate::persist::aof::BaseFormat;

const MANIFEST: &str = "appendonlydir/appendonly.aof.manifest";

fn folder(dir: &TestDir) -> Folder {
    Folder::new(dir.path(), "appendonlydir".as_ref(), "appendonly.aof".as_ref())
}

fn manifest_text(dir: &TestDir) -> String {
    fs::read_to_string(dir.path().join(MANIFEST)).unwrap()
}

#[test]
fn a_folder_that_does_not_exist_is_empty_and_is_made() {
    let dir = TestDir::new();
    let folder = folder(&dir);
    let mut manifest = folder.load(1).unwrap();
    assert!(manifest.is_empty());
    assert!(folder.upgrade(&mut manifest).unwrap().is_none());
    folder.create().unwrap();
    folder.create().unwrap();
    manifest.next_base(0, BaseFormat::Rdb);
    let opened = folder.open_last(&mut manifest, 0).unwrap();
    assert_eq!(
        opened.log_message_at_start(),
        "Creating AOF incr file appendonly.aof.1.incr.aof on server start"
    );
    folder.write(&mut manifest).unwrap();
    assert_eq!(
        manifest_text(&dir),
        "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
    );
    assert_eq!(dir.names("appendonlydir"), ["appendonly.aof.1.incr.aof", "appendonly.aof.manifest"]);
}

#[test]
fn the_last_increment_is_appended_to() {
    let dir = TestDir::new();
    dir.put(MANIFEST, b"file appendonly.aof.1.incr.aof seq 1 type i\n");
    dir.put("appendonlydir/appendonly.aof.1.incr.aof", b"abc");
    let folder = folder(&dir);
    let mut manifest = folder.load(1).unwrap();
    assert_eq!(folder.bytes_to_read(&manifest, 1).unwrap(), 3);
    assert_eq!(folder.bytes_to_read(&manifest, 4).unwrap(), 12, "each of four shards looks for its keys");
    let opened = folder.open_last(&mut manifest, 0).unwrap();
    assert_eq!(opened.len, 3);
    assert_eq!(
        opened.log_message_at_start(),
        "Opening AOF incr file appendonly.aof.1.incr.aof on server start"
    );
    opened.file.write_all_at(b"def", opened.len).unwrap();
    assert_eq!(folder.len_of(b"appendonly.aof.1.incr.aof").unwrap(), 6);
    assert!(!manifest.is_changed());
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let dir = TestDir::new();
    dir.put(MANIFEST, b"file appendonly.aof.1.incr.aof seq 1 type i\n");
    let folder = folder(&dir);
    let error = folder.bytes_to_read(&folder.load(1).unwrap(), 1).unwrap_err();
    assert_eq!(
        error.text(),
        "Unable to obtain the AOF file appendonly.aof.1.incr.aof length. stat: No such file or directory"
    );
}

#[test]
fn an_old_single_file_is_moved_into_the_folder() {
    let dir = TestDir::new();
    dir.put("appendonly.aof", b"old");
    let folder = folder(&dir);
    let mut manifest = folder.load(2).unwrap();
    assert_eq!(
        folder.upgrade(&mut manifest).unwrap().unwrap(),
        "Successfully migrated an old-style AOF file (appendonly.aof) into the AOF directory (appendonlydir)."
    );
    assert_eq!(manifest_text(&dir), "file appendonly.aof seq 1 type b\n");
    assert_eq!(dir.names("."), ["appendonlydir"]);
    assert_eq!(manifest.newest().shards(), 1);
    manifest.begin_layout(2);
    assert_eq!(manifest.layouts().len(), 2);
}

#[test]
fn an_interrupted_upgrade_is_finished() {
    let dir = TestDir::new();
    dir.put("appendonly.aof", b"old");
    dir.put(MANIFEST, b"file appendonly.aof seq 1 type b\n");
    let folder = folder(&dir);
    let mut manifest = folder.load(1).unwrap();
    assert!(folder.upgrade(&mut manifest).unwrap().is_some());
    assert_eq!(fs::read(dir.path().join("appendonlydir/appendonly.aof")).unwrap(), b"old");
}

#[test]
fn an_old_file_beside_a_folder_in_use_is_left_alone() {
    for (manifest, inside) in [
        ("file appendonly.aof seq 1 type b\n", "appendonly.aof"),
        ("file appendonly.aof.1.base.rdb seq 1 type b\n", "appendonly.aof.1.base.rdb"),
    ] {
        let dir = TestDir::new();
        dir.put("appendonly.aof", b"old");
        dir.put(MANIFEST, manifest.as_bytes());
        dir.put(&format!("appendonlydir/{inside}"), b"new");
        let folder = folder(&dir);
        let mut manifest = folder.load(1).unwrap();
        assert!(folder.upgrade(&mut manifest).unwrap().is_none());
        assert_eq!(fs::read(dir.path().join("appendonly.aof")).unwrap(), b"old");
    }
}

#[test]
fn a_file_that_nobody_knows_is_not_replaced_by_an_upgrade() {
    let dir = TestDir::new();
    dir.put("appendonly.aof", b"old");
    dir.put("appendonlydir/appendonly.aof", b"unknown");
    let folder = folder(&dir);
    // Nor does a start take it for nothing.
    let gone = folder.load(1).unwrap_err();
    assert!(
        matches!(&gone, FolderError::ManifestGone { file, more: 0, .. } if file == b"appendonly.aof"),
        "{gone:?}"
    );
    let error = folder.upgrade(&mut Manifest::new(b"appendonly.aof", 1)).unwrap_err();
    assert!(error.text().ends_with(b"into dir appendonlydir: File exists"), "{error:?}");
}

#[test]
fn history_goes_and_what_is_in_use_stays() {
    let dir = TestDir::new();
    dir.put(
        MANIFEST,
        b"file b seq 1 type b\nfile old1 seq 1 type h\nfile gone seq 2 type h\nfile i seq 1 type h\nfile i seq 3 type i\n",
    );
    for name in ["b", "old1", "i"] {
        dir.put(&format!("appendonlydir/{name}"), b"x");
    }
    let folder = folder(&dir);
    let mut manifest = folder.load(1).unwrap();
    let removed = folder.delete_history(&mut manifest).unwrap();
    assert_eq!(
        removed.log_messages,
        [
            "Removing the history file old1 in the background",
            "Removing the history file gone in the background"
        ]
    );
    assert_eq!(removed.files.len(), 1);
    assert_eq!(manifest_text(&dir), "file b seq 1 type b\nfile i seq 3 type i\n");
    assert_eq!(dir.names("appendonlydir"), ["appendonly.aof.manifest", "b", "i"]);
}

#[test]
fn only_leftovers_of_the_dead_and_of_this_name_are_removed() {
    let dir = TestDir::new();
    // No process has a number this high.
    dir.put("temp-rewriteaof-bg-999999999.aof", b"x");
    dir.put("temp-rewriteaof-999999999.aof", b"x");
    dir.put("temp-rewriteaof-bg-1.aof", b"x");
    dir.put("temp-rewriteaof-bg-.aof", b"x");
    dir.put("temp-appendonly.aof.manifest", b"x");
    dir.put("appendonlydir/temp-appendonly.aof.manifest", b"x");
    dir.put("appendonlydir/temp-appendonly.aof.incr", b"x");
    dir.put("appendonlydir/temp-appendonly.aof.shard-3.incr", b"x");
    dir.put("appendonlydir/temp-appendonly.aof2.incr", b"x");
    let folder = folder(&dir);
    let own = folder.temporary_base(std::process::id(), 1, 4);
    fs::write(&own, b"x").unwrap();
    assert_eq!(folder.remove_leftovers().files.len(), 6);
    assert_eq!(
        dir.names("."),
        [
            "appendonlydir",
            "temp-appendonly.aof.manifest",
            "temp-rewriteaof-bg-.aof",
            "temp-rewriteaof-bg-1.aof"
        ]
    );
    assert_eq!(dir.names("appendonlydir"), ["temp-appendonly.aof2.incr"]);
}

#[test]
fn a_manifest_that_cannot_be_written_leaves_the_old_one_in_force() {
    let dir = TestDir::new();
    let old = "file a seq 1 type i\n";
    dir.put(MANIFEST, old.as_bytes());
    // The temporary file's name is taken by a folder.
    fs::create_dir(dir.path().join("appendonlydir/temp-appendonly.aof.manifest")).unwrap();
    let folder = folder(&dir);
    let mut next = folder.load(1).unwrap();
    next.next_increment(0);
    let error = folder.write(&mut next).unwrap_err();
    assert_eq!(error.text(), "Can't open the AOF manifest file temp-appendonly.aof.manifest: Is a directory");
    assert!(next.is_changed());
    assert_eq!(manifest_text(&dir), old);
}
