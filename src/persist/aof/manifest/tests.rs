use super::*;

const FILE: &[u8] = b"appendonly.aof";

fn parse(content: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(FILE, content.as_bytes())
}

fn text(manifest: &Manifest) -> String {
    String::from_utf8(manifest.format()).unwrap()
}

fn reason(content: &str) -> &'static str {
    parse(content).unwrap_err().reason
}

const BASE: &str = "file appendonly.aof.1.base.rdb seq 1 type b\n";
const INCREMENT: &str = "file appendonly.aof.1.incr.aof seq 1 type i\n";

#[test]
fn what_redis_writes_is_read_and_written_the_same() {
    let content = "file appendonly.aof.7.base.rdb seq 7 type b\n\
        file appendonly.aof.2.incr.aof seq 2 type h\n\
        file appendonly.aof.6.base.rdb seq 6 type h\n\
        file appendonly.aof.3.incr.aof seq 3 type i\n\
        file appendonly.aof.5.incr.aof seq 5 type i\n";
    let manifest = parse(content).unwrap();
    assert_eq!(text(&manifest), content);
    assert!(!manifest.is_changed());
    let names: Vec<_> = manifest.files().map(|entry| String::from_utf8_lossy(&entry.name)).collect();
    assert_eq!(
        names,
        ["appendonly.aof.7.base.rdb", "appendonly.aof.3.incr.aof", "appendonly.aof.5.incr.aof"]
    );
}

#[test]
fn names_with_blanks_are_quoted_as_redis_does() {
    let mut manifest = Manifest::new(b" file seq \n\n.aof ", 1);
    manifest.next_base(0, BaseFormat::Rdb);
    let content = "file \" file seq \\n\\n.aof .1.base.rdb\" seq 1 type b\n";
    assert_eq!(text(&manifest), content);
    let read = Manifest::parse(b" file seq \n\n.aof ", content.as_bytes()).unwrap();
    assert_eq!(
        read.newest().chain(0).unwrap().base.as_ref().unwrap().name,
        b" file seq \n\n.aof .1.base.rdb"
    );
}

#[test]
fn unknown_pairs_comments_case_and_gaps_are_accepted() {
    let content = format!(
        "# note\nFILE a.base SEQ 1 TYPE b newkey newvalue\n{INCREMENT}file appendonly.aof.3.incr.aof seq 3 type i\n"
    );
    let manifest = parse(&content).unwrap();
    assert_eq!(manifest.files().count(), 3);
    assert!(parse("# only a comment\n").unwrap().is_empty());
}

#[test]
fn every_mistake_has_the_words_of_redis() {
    assert_eq!(reason(""), "Found an empty AOF manifest");
    assert_eq!(reason(&format!("{INCREMENT}\n{BASE}")), FORMAT);
    assert_eq!(reason("filx appendonly.aof.1.base.aof seq 1 type b\n"), FORMAT);
    assert_eq!(reason("file appendonly.aof.1.incr.aof type i\n"), FORMAT);
    assert_eq!(reason("file appendonly.aof.1.incr.aof seq 1 type i newkey\n"), FORMAT);
    assert_eq!(reason("file appendonly.aof.1.incr.aof seq zero type i\n"), FORMAT);
    assert_eq!(reason("file \"appendonly seq 1 type i\n"), FORMAT);
    assert_eq!(reason("!!!\n"), FORMAT);
    assert_eq!(reason("file a seq 1 type x\n"), "Unknown AOF file type");
    assert_eq!(reason("file ../a seq 1 type i\n"), "File can't be a path, just a filename");
    assert_eq!(reason(&format!("{BASE}{BASE}")), "Found duplicate base file information");
    assert_eq!(reason(&format!("{INCREMENT}{INCREMENT}")), "Found a non-monotonic sequence number");
    assert_eq!(reason("file a seq 1 type i"), "The AOF manifest file contains too long line");
    assert_eq!(reason(&format!("{BASE}file {} seq 1 type i\n", "a".repeat(2000))), TOO_LONG);
    assert_eq!(reason("file a\0 seq 1 type i\n"), TOO_LONG);
}

#[test]
fn an_error_names_its_line() {
    let error = parse(&format!("{BASE}{INCREMENT}  oops \n")).unwrap_err();
    assert_eq!(error.line, Some((3, b"oops".to_vec())));
    assert_eq!(
        error.log_messages(),
        [
            "\n*** FATAL AOF MANIFEST FILE ERROR ***\n",
            "Reading the manifest file, at line 3\n",
            ">>> 'oops'\n",
            "Invalid AOF manifest file format\n"
        ]
    );
}

#[test]
fn shards_have_chains_of_their_own() {
    let mut manifest = Manifest::new(FILE, 2);
    for shard in [0, 1] {
        manifest.next_base(shard, BaseFormat::Aof);
        manifest.next_increment(shard);
    }
    manifest.next_increment(1);
    let content = "\
        file appendonly.aof.shard-0.1.base.aof seq 1 type b shard 0 shards 2\n\
        file appendonly.aof.shard-0.1.incr.aof seq 1 type i shard 0 shards 2\n\
        file appendonly.aof.shard-1.1.base.aof seq 1 type b shard 1 shards 2\n\
        file appendonly.aof.shard-1.1.incr.aof seq 1 type i shard 1 shards 2\n\
        file appendonly.aof.shard-1.2.incr.aof seq 2 type i shard 1 shards 2\n";
    assert_eq!(text(&manifest), content);
    assert_eq!(parse(content).unwrap().layouts(), manifest.layouts());
    for wrong in ["shard 2 shards 2", "shard 0 shards 0", "shard 0 shards 99999", "shard -1 shards 2"] {
        assert_eq!(reason(&format!("file a seq 1 type i {wrong}\n")), FORMAT, "{wrong}");
    }
}

#[test]
fn a_rewrite_makes_history_in_redis_order() {
    let mut manifest =
        parse(&format!("{BASE}{INCREMENT}file appendonly.aof.2.incr.aof seq 2 type i\n")).unwrap();
    assert_eq!(manifest.next_increment(0), b"appendonly.aof.3.incr.aof");
    assert_eq!(manifest.next_base(0, BaseFormat::Rdb), b"appendonly.aof.2.base.rdb");
    manifest.retire_increments(0, Some(3));
    assert_eq!(
        text(&manifest),
        "file appendonly.aof.2.base.rdb seq 2 type b\n\
        file appendonly.aof.1.incr.aof seq 1 type h\n\
        file appendonly.aof.2.incr.aof seq 2 type h\n\
        file appendonly.aof.1.base.rdb seq 1 type h\n\
        file appendonly.aof.3.incr.aof seq 3 type i\n"
    );
    assert_eq!(manifest.take_history().len(), 3);
    assert_eq!(manifest.files().count(), 2);
}

#[test]
fn numbers_begin_again_but_never_at_a_file_that_is_named() {
    let mut manifest = parse(&BASE.replace('1', "4")).unwrap();
    assert_eq!(manifest.next_increment(0), b"appendonly.aof.1.incr.aof");
    let mut manifest = parse(&format!("{BASE}{}", INCREMENT.replace("type i", "type h"))).unwrap();
    assert_eq!(manifest.next_increment(0), b"appendonly.aof.2.incr.aof");
}

#[test]
fn the_last_increment_is_gone_on_with() {
    let mut manifest = parse(&format!("{BASE}{INCREMENT}")).unwrap();
    assert_eq!(manifest.last_increment(0), (b"appendonly.aof.1.incr.aof".to_vec(), false));
    assert!(!manifest.is_changed());
    let mut manifest = parse(BASE).unwrap();
    assert_eq!(manifest.last_increment(0), (b"appendonly.aof.1.incr.aof".to_vec(), true));
    assert!(manifest.is_changed());
}

#[test]
fn an_older_layout_stays_in_front_until_every_shard_has_a_base() {
    let mut manifest = parse(&format!("{BASE}{INCREMENT}")).unwrap();
    manifest.begin_layout(2);
    manifest.next_increment(0);
    manifest.next_increment(1);
    let read = parse(&text(&manifest)).unwrap();
    assert_eq!(read.layouts(), manifest.layouts());
    assert_eq!(read.layouts().len(), 2);

    manifest.next_base(1, BaseFormat::Rdb);
    manifest.retire_increments(1, Some(1));
    assert_eq!(manifest.layouts().len(), 2);
    let read = parse(&text(&manifest)).unwrap();
    assert_eq!(read.layouts(), manifest.layouts());

    manifest.next_base(0, BaseFormat::Rdb);
    manifest.retire_increments(0, Some(1));
    assert_eq!(manifest.layouts().len(), 1);
    let history: Vec<_> = manifest.history().iter().map(|entry| &entry.name[..]).collect();
    assert_eq!(history, [&b"appendonly.aof.1.base.rdb"[..], b"appendonly.aof.1.incr.aof"]);
    assert_eq!(parse(&text(&manifest)).unwrap().history(), manifest.history());
}

#[test]
fn layouts_that_alternate_keep_their_order_and_their_files() {
    let mut manifest = Manifest::new(FILE, 2);
    manifest.next_increment(0);
    manifest.begin_layout(3);
    manifest.begin_layout(2);
    assert_eq!(manifest.layouts().len(), 1, "a layout without files is forgotten");
    manifest.begin_layout(3);
    manifest.next_increment(0);
    manifest.begin_layout(2);
    assert_eq!(manifest.next_increment(0), b"appendonly.aof.shard-0.3.incr.aof");
    assert_eq!(parse(&text(&manifest)).unwrap().layouts(), manifest.layouts());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(content in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = Manifest::parse(FILE, &content);
    }

    #[test]
    fn any_words_are_read_or_refused_and_what_is_read_can_be_written(
        content in "((file|seq|type|shard|shards|a|b|i|h|\"x y\"|-?[0-9]{1,22}|#)[ \n]){0,60}",
    ) {
        if let Ok(manifest) = parse(&content) {
            if !manifest.is_empty() {
                let again = Manifest::parse(FILE, &manifest.format()).unwrap();
                proptest::prop_assert_eq!(again.layouts(), manifest.layouts());
            }
        }
    }
}
