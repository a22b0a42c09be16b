//! The reply of a command over several shards, from the replies of its parts.

use super::plan::{Join, ShardArgs};
use crate::slots::join_cursor;

/// The bytes of the first reply in `encoded`, which begins with a whole one.
pub fn first_reply(encoded: &[u8]) -> &[u8] {
    let mut open = 1usize;
    let mut at = 0;
    while open > 0 {
        let line = memchr::memchr(b'\n', &encoded[at..]).map_or(encoded.len(), |end| at + end + 1);
        let count = || {
            std::str::from_utf8(&encoded[at + 1..line.saturating_sub(2).max(at + 1)])
                .ok()
                .and_then(|digits| digits.parse::<i64>().ok())
                .unwrap_or(-1)
        };
        open -= 1;
        match encoded.get(at) {
            Some(b'$' | b'=' | b'!') => {
                let len = count();
                at = if len < 0 { line } else { line + len as usize + 2 };
                continue;
            }
            Some(b'*' | b'~' | b'>') => open += count().max(0) as usize,
            Some(b'%') => open += count().max(0) as usize * 2,
            // Attributes come before the reply that they describe.
            Some(b'|') => open += count().max(0) as usize * 2 + 1,
            Some(_) => {}
            None => break,
        }
        at = line;
    }
    &encoded[..at.min(encoded.len())]
}

/// The reply of a command from the replies of its parts. The first error among them is the reply.
pub fn join(join: Join, parts: &[ShardArgs], mut replies: Vec<(usize, Vec<u8>)>) -> Vec<u8> {
    if let Some(at) = replies.iter().position(|(_, reply)| reply.first() == Some(&b'-')) {
        return replies.swap_remove(at).1;
    }
    match join {
        Join::First => {
            let first = replies.into_iter().min_by_key(|(shard, _)| *shard);
            first.map(|(_, reply)| reply).unwrap_or_default()
        }
        Join::OneOf => replies.into_iter().next().map(|(_, reply)| reply).unwrap_or_default(),
        Join::Sum => {
            let sum: i64 = replies.iter().map(|(_, reply)| integer(reply)).sum();
            format!(":{sum}\r\n").into_bytes()
        }
        Join::Concat => {
            let total: i64 = replies.iter().map(|(_, reply)| integer(reply)).sum();
            let mut joined = format!("*{total}\r\n").into_bytes();
            for (_, reply) in &replies {
                joined.extend_from_slice(elements(reply));
            }
            joined
        }
        Join::Walk => {
            replies.sort_unstable_by_key(|(shard, _)| *shard);
            let (mut total, mut found) = (0, Vec::new());
            let mut next = 0;
            for (shard, reply) in &replies {
                let Some((cursor, rest)) = cursor_of(reply) else { continue };
                total += integer(&reply[rest..]);
                found.extend_from_slice(elements(&reply[rest..]));
                next = cursor;
                let is_through = cursor == join_cursor(*shard, 0, replies.len());
                if !is_through {
                    break;
                }
            }
            let digits = next.to_string();
            let mut joined = format!("*2\r\n${}\r\n{digits}\r\n*{total}\r\n", digits.len()).into_bytes();
            joined.append(&mut found);
            joined
        }
        Join::Interleave(total) => {
            let mut places: Vec<&[u8]> = vec![b""; total];
            for (shard, reply) in &replies {
                let Some(part) = parts.iter().find(|part| part.shard == *shard) else { continue };
                let mut rest = elements(reply);
                for index in &part.key_indexes {
                    let element = first_reply(rest);
                    places[*index] = element;
                    rest = &rest[element.len()..];
                }
            }
            let mut joined = format!("*{total}\r\n").into_bytes();
            for element in places {
                joined.extend_from_slice(element);
            }
            joined
        }
    }
}

/// The cursor at the head of `*2 $len cursor ...`, and where the second element begins.
pub fn cursor_of(reply: &[u8]) -> Option<(u64, usize)> {
    let rest = reply.strip_prefix(b"*2\r\n$")?;
    let line = memchr::memchr(b'\n', rest)?;
    let len: usize = std::str::from_utf8(&rest[..line - 1]).ok()?.parse().ok()?;
    let digits = rest.get(line + 1..line + 1 + len)?;
    let cursor = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((cursor, 5 + line + 1 + len + 2))
}

/// Puts the reply to choose first: `preferred`'s, or if that is null, one that is not.
pub fn prefer(preferred: usize, replies: &mut [(usize, Vec<u8>)]) {
    let is_null = |reply: &[u8]| matches!(reply, b"$-1\r\n" | b"_\r\n");
    replies.sort_by_key(|(shard, reply)| (is_null(reply), *shard != preferred));
}

fn header(reply: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\n', reply).map_or(reply.len(), |end| end + 1);
    &reply[..end]
}

/// The number in the first line of an integer or an array.
fn integer(reply: &[u8]) -> i64 {
    let line = header(reply);
    let digits = line.get(1..line.len().saturating_sub(2)).unwrap_or_default();
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn elements(reply: &[u8]) -> &[u8] {
    &reply[header(reply).len()..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::message::OwnedArgs;

    #[test]
    fn the_first_reply_ends_where_it_ends() {
        for reply in [
            "+OK\r\n",
            ":12\r\n",
            "$3\r\na\r\n\r\n",
            "$-1\r\n",
            "*0\r\n",
            "*-1\r\n",
            "_\r\n",
            "*2\r\n*1\r\n:1\r\n$0\r\n\r\n",
            "%1\r\n+a\r\n:1\r\n",
            "|1\r\n+a\r\n:1\r\n:5\r\n",
            ",1.5\r\n",
            "#t\r\n",
            "=7\r\ntxt:a\r\n\r\n",
            "~1\r\n(12\r\n",
        ] {
            let both = format!("{reply}+NEXT\r\n");
            assert_eq!(first_reply(both.as_bytes()), reply.as_bytes());
        }
        assert_eq!(first_reply(b""), b"");
        assert_eq!(first_reply(b"*2\r\n:1\r\n"), b"*2\r\n:1\r\n", "a cut-off reply is taken as it is");
    }

    #[test]
    fn elements_come_back_in_the_order_of_the_keys() {
        let part = |shard, indexes: &[usize]| ShardArgs {
            shard,
            args: OwnedArgs::default(),
            key_indexes: indexes.into(),
        };
        let parts = [part(1, &[1, 2]), part(0, &[0])];
        let replies = vec![(0, b"*1\r\n$1\r\na\r\n".to_vec()), (1, b"*2\r\n$-1\r\n$1\r\nc\r\n".to_vec())];
        assert_eq!(join(Join::Interleave(3), &parts, replies), b"*3\r\n$1\r\na\r\n$-1\r\n$1\r\nc\r\n");
    }

    #[test]
    fn sums_and_lists_join_and_an_error_wins() {
        let replies = vec![(0, b":2\r\n".to_vec()), (1, b":40\r\n".to_vec())];
        assert_eq!(join(Join::Sum, &[], replies), b":42\r\n");
        let replies = vec![(0, b"*1\r\n$1\r\na\r\n".to_vec()), (1, b"*0\r\n".to_vec())];
        assert_eq!(join(Join::Concat, &[], replies), b"*1\r\n$1\r\na\r\n");
        let replies = vec![(0, b"+OK\r\n".to_vec()), (1, b"-OOM no\r\n".to_vec())];
        assert_eq!(join(Join::First, &[], replies), b"-OOM no\r\n");
    }

    #[test]
    fn the_cursor_of_a_scan_reply_is_found() {
        let reply = b"*2\r\n$3\r\n417\r\n*1\r\n$1\r\na\r\n";
        let (cursor, rest) = cursor_of(reply).unwrap();
        assert_eq!((cursor, &reply[rest..]), (417, &b"*1\r\n$1\r\na\r\n"[..]));
        assert_eq!(cursor_of(b"-ERR no\r\n"), None);
    }

    #[test]
    fn a_walk_in_one_step_goes_as_far_as_the_first_shard_that_needs_another() {
        let scanned = |cursor: &str, key: &str| {
            format!("*2\r\n${}\r\n{cursor}\r\n*1\r\n$1\r\n{key}\r\n", cursor.len()).into_bytes()
        };
        let replies = vec![(2, scanned("0", "c")), (0, scanned("1", "a")), (1, scanned("2", "b"))];
        assert_eq!(
            join(Join::Walk, &[], replies),
            b"*2\r\n$1\r\n0\r\n*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"
        );
        let replies = vec![(0, scanned("1", "a")), (1, scanned("31", "b")), (2, scanned("0", "c"))];
        assert_eq!(join(Join::Walk, &[], replies), b"*2\r\n$2\r\n31\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    }
}
