//! Any bytes behind a file's signature: they are loaded or refused, by one shard or by one of several, whole or in pieces, and checked
//! by gyre-check-rdb, without a panic and without more memory than their length accounts for. All that look agree on whether it
//! can be loaded; what was loaded is written, and loaded again.
//!
//! The first byte is the length of the pieces, and chooses the other ways to look. Run with a limit on memory: `cargo fuzz run rdb_file -- -malloc_limit_mb=64`.

use std::io::{self, Read};

use gyre::persist::check_rdb;
use gyre::rdb::file::{put_part, trailer, Counts, FileChecksum, Header, Load, LoadOptions, Progress};
use gyre::rdb::{Checks, Encoder, Format, Version};
use gyre::store::{SlotSet, Store};

const NOW_MS: i64 = 1_700_000_000_000;

struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.1.min(self.0.len()).min(buffer.len());
        buffer[..len].copy_from_slice(&self.0[..len]);
        self.0 = &self.0[len..];
        Ok(len)
    }
}

fn store(slots: SlotSet) -> Store {
    let mut store = Store::new(slots, 16);
    store.set_time(NOW_MS);
    // Expired keys are kept, and seen.
    store.expire_on_access = false;
    store
}

fn load(file: &[u8], piece: usize, options: LoadOptions, store: &mut Store) -> Option<Counts> {
    let mut load = Load::new(Pieces(file, piece), options).ok()?;
    loop {
        match load.step(store, &|| piece % 2 == 1) {
            Ok(Progress::Done) => return Some(load.counts()),
            Ok(Progress::More) => {}
            Err(failure) => {
                assert!(failure.position <= file.len() as u64);
                assert!(!failure.log_lines().is_empty());
                return None;
            }
        }
    }
}

pub fn run(data: &[u8]) {
    let Some((&piece, records)) = data.split_first() else { return };
    let mut file = [b"REDIS0011", records].concat();
    // Without a checksum: finding one is not what this is about.
    file.extend_from_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    let piece = usize::from(piece).max(1);
    let keeping = LoadOptions { keeps_expired: true, ..LoadOptions::default() };
    let mut whole = store(SlotSet::ALL);
    let counts = load(&file, file.len(), keeping.clone(), &mut whole);
    let mut in_pieces = store(SlotSet::ALL);
    assert_eq!(load(&file, piece, keeping.clone(), &mut in_pieces), counts);
    let strict = LoadOptions { checks: Checks::Deep, replaces: true, ..LoadOptions::default() };
    match piece % 3 {
        0 => {
            load(&file, file.len(), strict.clone(), &mut store(SlotSet::ALL));
        }
        1 => {
            load(&file, file.len(), strict.clone(), &mut store(SlotSet::range(546, 1092)));
        }
        _ => {
            let told = check_rdb::check(&file[..], NOW_MS, &mut Vec::new());
            told.expect("writing to memory does not fail");
        }
    }
    let Some(counts) = counts else { return };
    let mut encoder = Encoder::new(Format::default());
    let mut written = Vec::new();
    let header =
        Header { version: Version::V11, created_s: 1, used_memory: 1, is_aof_base: false, more: &[] };
    header.put(&mut encoder, &mut written);
    assert!(put_part(&whole, &mut encoder, &mut written, &mut |_| true));
    let trailer = trailer(FileChecksum::of(&written), true);
    written.extend_from_slice(&trailer);
    let again =
        load(&written, piece, keeping, &mut store(SlotSet::ALL)).expect("what was written can be loaded");
    assert_eq!((again.loaded, again.empty), (counts.loaded, 0));
}
