//! BITOP: the bits of several strings combined into a new one, as long as the longest.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::{Args, CommandError, CommandResult, Context};
use crate::store::{EventClass, Ttl, Value};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn parse(name: &[u8]) -> Result<Operation, CommandError> {
        let operations: [(&[u8], Operation); 4] = [
            (b"and", Operation::And),
            (b"or", Operation::Or),
            (b"xor", Operation::Xor),
            (b"not", Operation::Not),
        ];
        let found = operations.iter().find(|(word, _)| name.eq_ignore_ascii_case(word));
        found.map(|(_, operation)| *operation).ok_or(CommandError::Syntax)
    }
}

/// A string to combine, kept while others are looked up: a large one shares the key's buffer.
enum Source {
    Shared(Bytes),
    Copied(SmallVec<[u8; 64]>),
}

impl Source {
    fn read(ctx: &mut Context, key: &[u8]) -> Result<Source, CommandError> {
        match ctx.store.read(ctx.db, key) {
            Some(Value::Shared(bytes)) => Ok(Source::Shared(bytes.clone())),
            Some(value) => {
                let mut digits = itoa::Buffer::new();
                Ok(Source::Copied(SmallVec::from_slice(value.string(&mut digits)?)))
            }
            None => Ok(Source::Copied(SmallVec::new())),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Source::Shared(bytes) => bytes,
            Source::Copied(bytes) => bytes,
        }
    }

    /// What it has of the bytes between `from` and `to`; beyond that it is zeros.
    fn piece(&self, from: usize, to: usize) -> &[u8] {
        let bytes = self.bytes();
        &bytes[from.min(bytes.len())..to.min(bytes.len())]
    }
}

/// BITOP AND | OR | XOR | NOT destkey key [key ...]
pub fn bitop(ctx: &mut Context, args: Args) -> CommandResult {
    let operation = Operation::parse(args[1])?;
    let (destination, keys) = (args[2], &args[3..]);
    if operation == Operation::Not && keys.len() != 1 {
        return Err(CommandError::other("ERR BITOP NOT must be called with a single source key."));
    }
    let mut sources: SmallVec<[Source; 4]> = SmallVec::new();
    for key in keys {
        sources.push(Source::read(ctx, key)?);
    }
    let result = combine(operation, &sources);
    let len = result.len();
    if len > 0 {
        ctx.store.set_raw(ctx.db, destination, result, Ttl::None);
        ctx.changed(destination, EventClass::STRING, "set");
    } else if ctx.store.remove(ctx.db, destination) {
        ctx.changed(destination, EventClass::GENERIC, "del");
    }
    ctx.reply.integer(len as i64);
    Ok(())
}

/// So many bytes of the result are finished before the next are begun, so that they stay in the first-level cache
/// however many sources there are.
const BLOCK_BYTES: usize = 8 * 1024;

fn combine(operation: Operation, sources: &[Source]) -> BytesMut {
    let len = sources.iter().map(|source| source.bytes().len()).max().unwrap_or(0);
    let mut result = BytesMut::with_capacity(len);
    while result.len() < len {
        let from = result.len();
        let to = (from + BLOCK_BYTES).min(len);
        result.extend_from_slice(sources[0].piece(from, to));
        result.resize(to, 0);
        let block = &mut result[from..];
        if operation == Operation::Not {
            block.iter_mut().for_each(|byte| *byte = !*byte);
        }
        for source in &sources[1..] {
            apply(operation, block, source.piece(from, to));
        }
    }
    result
}

/// `other` may be shorter than `block`: the rest of it is zeros. Loops as plain as these are compiled to vector instructions.
fn apply(operation: Operation, block: &mut [u8], other: &[u8]) {
    let (both, rest) = block.split_at_mut(other.len());
    let pairs = both.iter_mut().zip(other);
    match operation {
        Operation::And => {
            pairs.for_each(|(byte, other)| *byte &= other);
            rest.fill(0);
        }
        Operation::Or => pairs.for_each(|(byte, other)| *byte |= other),
        Operation::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
        // Has one source.
        Operation::Not => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_join_to_what_one_pass_would_give() {
        let text =
            |seed: usize, len: usize| -> Vec<u8> { (0..len).map(|i| (i * seed % 251) as u8).collect() };
        let texts = [text(7, 3 * BLOCK_BYTES + 5), text(11, BLOCK_BYTES + 1), text(13, 100), text(17, 0)];
        let sources: Vec<Source> = texts.iter().map(|text| Source::Shared(text.clone().into())).collect();
        let at = |text: &Vec<u8>, i: usize| text.get(i).copied().unwrap_or(0);
        for (operation, fold) in [
            (Operation::And, (|a, b| a & b) as fn(u8, u8) -> u8),
            (Operation::Or, |a, b| a | b),
            (Operation::Xor, |a, b| a ^ b),
        ] {
            for count in 1..=texts.len() {
                let expected: Vec<u8> = (0..texts[0].len())
                    .map(|i| texts[1..count].iter().fold(texts[0][i], |sum, text| fold(sum, at(text, i))))
                    .collect();
                assert_eq!(combine(operation, &sources[..count]), expected);
            }
        }
    }
}
