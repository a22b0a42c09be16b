//! Listpacks as Redis writes them into files: with a header in front and a terminator behind.

use super::element::{check, check_encoding, read, TERMINATOR};
use super::{Items, Listpack, COUNT_BYTES, COUNT_UNKNOWN};

/// Total length, u32, and count, u16.
const HEADER_BYTES: usize = 6;
/// How much longer a listpack is in Redis than its elements.
pub const REDIS_OVERHEAD_BYTES: usize = HEADER_BYTES + 1;

/// Bytes that are no listpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadListpack {
    /// Where in the bytes.
    pub position: usize,
    pub reason: &'static str,
}

const BAD_ELEMENT: &str = "an invalid element in a listpack";
const BAD_COUNT: &str = "a listpack with another number of elements than it says";

/// Appends the listpack in Redis's form.
pub fn write_redis(items: Items, out: &mut Vec<u8>) {
    let body = items.body();
    let total = (body.len() + REDIS_OVERHEAD_BYTES) as u32;
    out.extend_from_slice(&total.to_le_bytes());
    out.extend_from_slice(&items.as_bytes()[..COUNT_BYTES]);
    out.extend_from_slice(body);
    out.push(TERMINATOR);
}

/// Reads one, every element checked.
pub fn read_redis(bytes: &[u8]) -> Result<Listpack, BadListpack> {
    let bad = |position, reason| Err(BadListpack { position, reason });
    if bytes.len() < REDIS_OVERHEAD_BYTES {
        return bad(bytes.len(), "a listpack shorter than its header");
    }
    let total = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    if total != bytes.len() {
        return bad(0, "a listpack of another length than it says");
    }
    let end = bytes.len() - 1;
    if bytes[end] != TERMINATOR {
        return bad(end, "a listpack without its end mark");
    }
    let (mut position, mut count) = (HEADER_BYTES, 0usize);
    while position < end {
        match check(&bytes[position..end]) {
            Some(size) => position += size,
            None => return bad(position, BAD_ELEMENT),
        }
        count += 1;
    }
    let field = u16::from_le_bytes([bytes[4], bytes[5]]);
    if field != COUNT_UNKNOWN && usize::from(field) != count {
        return bad(4, BAD_COUNT);
    }
    let mut listpack = Listpack::new();
    listpack.bytes.extend_from_slice(&bytes[HEADER_BYTES..end]);
    listpack.set_count(count);
    Ok(listpack)
}

/// Reads what can be read of one whose header and end mark are right: its elements up to the first that cannot be read, however many
/// it says that there are. Also tells what was wrong, if anything was.
pub fn read_redis_leniently(bytes: &[u8]) -> Result<(Listpack, Option<&'static str>), BadListpack> {
    let bad = match read_redis(bytes) {
        Ok(listpack) => return Ok((listpack, None)),
        Err(bad) if [BAD_ELEMENT, BAD_COUNT].contains(&bad.reason) => bad,
        Err(bad) => return Err(bad),
    };
    let mut listpack = Listpack::new();
    let mut rest = &bytes[HEADER_BYTES..bytes.len() - 1];
    // Redis goes forward by what an element is, not by the length behind it, which is written anew here.
    while let Some(size) = check_encoding(rest) {
        let (item, _) = read(rest);
        listpack.push_back(item.bytes(&mut itoa::Buffer::new()));
        rest = &rest[size..];
    }
    Ok((listpack, Some(bad.reason)))
}
