//! How many shards: a number, or as many as there are cores.

use super::directive::{Field, Reason, Rule, Source};
use super::values::{integer, one};
use crate::base::{ShardCount, SHARDS_MAX};

impl Field for ShardCount {
    fn text(&self, _: &Rule) -> Vec<u8> {
        match self {
            ShardCount::Auto => b"auto".to_vec(),
            ShardCount::Count(count) => count.to_string().into_bytes(),
        }
    }

    fn assign(&mut self, args: &[Vec<u8>], _: &Rule, _: Source) -> Result<(), Reason> {
        let word = one(args)?;
        let count = integer(word).and_then(|count| u16::try_from(count).ok());
        *self = match count {
            Some(count @ 1..=SHARDS_MAX) => ShardCount::Count(count),
            _ if word.eq_ignore_ascii_case(b"auto") => ShardCount::Auto,
            _ => return Err(format!("argument must be 'auto' or between 1 and {SHARDS_MAX}").into()),
        };
        Ok(())
    }
}
