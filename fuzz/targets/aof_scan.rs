//! Any bytes as an append-only file: the scan ends, without a panic; what it calls whole is whole when the file ends there; and both
//! ways of scanning agree.

use gyre::persist::aof::{Manifest, Scanner};

pub fn run(data: &[u8]) {
    let _ = Manifest::parse(b"appendonly.aof", data);
    let Ok(mut marks) = Scanner::new(data, 0) else { return };
    let is_right = loop {
        match marks.next_mark() {
            Ok(Some(_)) => {}
            Ok(None) => break true,
            Err(fault) => {
                assert!(fault.at <= data.len() as u64 && fault.whole == marks.whole());
                break false;
            }
        }
    };
    let Ok(mut items) = Scanner::new(data, 0) else { return };
    while let Ok(Some(_)) = items.next() {}
    assert_eq!(items.whole(), marks.whole());
    assert_eq!(is_right, marks.whole() == data.len() as u64);
    let Ok(mut again) = Scanner::new(&data[..marks.whole() as usize], 0) else { return };
    while again.next_mark().expect("what was whole").is_some() {}
}
