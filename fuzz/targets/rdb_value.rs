//! Any bytes as a serialised value: they are read or refused, without a panic and without more memory than their length
//! accounts for. What was read is written again, and read again (but for its order, which tables do not keep).
//!
//! The first byte is the value's type. Run with a limit on memory: `cargo fuzz run rdb_value -- -malloc_limit_mb=64`.

use gyre::rdb::{decode_value, Checks, Encoder, Format, Reader};
use gyre::store::{Detached, Settings};

fn encoded(value: &Detached) -> (u8, Vec<u8>) {
    let mut encoder = Encoder::new(Format::default());
    let mut bytes = Vec::new();
    let value = value.value();
    encoder.value(&value, &mut bytes);
    (encoder.kind(&value) as u8, bytes)
}

pub fn run(data: &[u8]) {
    let Some((&kind, bytes)) = data.split_first() else { return };
    let settings = Settings::default();
    for checks in [Checks::Mend, Checks::Deep] {
        let mut reader = Reader::new(bytes);
        match decode_value(kind, &mut reader, &settings, checks) {
            Err(error) => assert!(error.position <= bytes.len() as u64),
            Ok(value) => {
                let (kind, first) = encoded(&value);
                let again = decode_value(kind, &mut Reader::new(&first), &settings, checks);
                let again = again.expect("what was written can be read");
                let (kind_again, second) = encoded(&again);
                assert_eq!((kind_again, second.len()), (kind, first.len()));
            }
        }
    }
}
