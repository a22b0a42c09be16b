//! README.md says what is true.

use std::collections::BTreeSet;

#[test]
fn the_directives_without_effect_are_listed() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let from = readme.find("<!-- directives without effect -->").expect("the mark before the list");
    let list = &readme[from..];
    let list = &list[..list.find("\n\n").unwrap_or(list.len())];
    let listed: BTreeSet<&str> = list.split('`').skip(1).step_by(2).collect();
    let actual: BTreeSet<&str> = gyre::config::without_effect().collect();
    assert_eq!(listed, actual);
}
