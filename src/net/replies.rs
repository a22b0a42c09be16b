//! Replies of another server, read out of the bytes that come from it, in RESP2 and RESP3.
//!
//! Nothing here does I/O: bytes are fed in pieces of any size, and replies are taken when they are whole. The other server is not
//! trusted: lengths, numbers of elements and nesting have bounds, and nothing is allocated for what has only been announced.

/// What one reply may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of a status, an error, a number or a length.
    pub line_bytes_max: usize,
    /// Of a string.
    pub bulk_bytes_max: usize,
    /// Of all arrays in the reply together.
    pub elements_max: usize,
}

/// Arrays in arrays; no server's replies nest half as deep.
const DEPTH_MAX: usize = 32;

#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Status(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    /// A string; also what RESP3 has for doubles, big numbers and verbatim texts.
    Bytes(Vec<u8>),
    Boolean(bool),
    Null,
    Array(Vec<Reply>),
    /// Keys and values in turn.
    Map(Vec<Reply>),
    /// Not an answer: something that the server tells by itself.
    Push(Vec<Reply>),
}

/// Why what came cannot be a reply. Nothing that comes after it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    UnknownType(u8),
    BadNumber,
    TooLong,
    TooManyElements,
    TooDeep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Array,
    Map,
    Push,
    /// What describes the reply that follows; it is dropped.
    Attribute,
}

#[derive(Debug)]
struct Begun {
    shape: Shape,
    left: usize,
    elements: Vec<Reply>,
}

/// A string whose bytes come next, and a line end after them.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    kind: u8,
    len: usize,
}

#[derive(Debug)]
pub struct Replies {
    limits: Limits,
    buffer: Vec<u8>,
    /// Bytes of the buffer that have been read, and that have been searched for the end of the present line.
    taken: usize,
    searched: usize,
    awaited: Option<Awaited>,
    begun: Vec<Begun>,
    /// Announced in the present reply.
    elements: usize,
    fault: Option<Fault>,
}

/// What a line or a string has brought.
enum Parsed {
    Whole(Reply),
    Begun(Shape, usize),
    Awaited(Awaited),
}

impl Replies {
    pub fn new(limits: Limits) -> Replies {
        Replies {
            limits,
            buffer: Vec::new(),
            taken: 0,
            searched: 0,
            awaited: None,
            begun: Vec::new(),
            elements: 0,
            fault: None,
        }
    }

    /// Takes in what has been received.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next reply, once it is whole.
    pub fn next(&mut self) -> Result<Option<Reply>, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let next = self.read();
        self.fault = next.as_ref().err().copied();
        next
    }

    fn read(&mut self) -> Result<Option<Reply>, Fault> {
        loop {
            let part = match self.awaited {
                Some(awaited) => match self.string(awaited)? {
                    Some(reply) => Parsed::Whole(reply),
                    None => return Ok(None),
                },
                None => match self.line()? {
                    Some(part) => part,
                    None => return Ok(None),
                },
            };
            let mut reply = match part {
                Parsed::Awaited(awaited) => {
                    self.awaited = Some(awaited);
                    continue;
                }
                Parsed::Begun(shape, left) if left > 0 => {
                    if self.begun.len() == DEPTH_MAX {
                        return Err(Fault::TooDeep);
                    }
                    self.begun.push(Begun { shape, left, elements: Vec::new() });
                    continue;
                }
                Parsed::Begun(Shape::Attribute, _) => continue,
                Parsed::Begun(shape, _) => aggregate(shape, Vec::new()),
                Parsed::Whole(reply) => reply,
            };
            // It is the last element of what it is in, perhaps, and that of what that is in.
            loop {
                let Some(mut begun) = self.begun.pop() else {
                    self.elements = 0;
                    return Ok(Some(reply));
                };
                begun.elements.push(reply);
                begun.left -= 1;
                if begun.left > 0 {
                    self.begun.push(begun);
                    break;
                }
                if begun.shape == Shape::Attribute {
                    break;
                }
                reply = aggregate(begun.shape, begun.elements);
            }
        }
    }

    /// The string that is awaited, once it is whole.
    fn string(&mut self, Awaited { kind, len }: Awaited) -> Result<Option<Reply>, Fault> {
        let rest = &self.buffer[self.taken..];
        if rest.len() < len + 2 {
            return Ok(None);
        }
        if &rest[len..len + 2] != b"\r\n" {
            return Err(Fault::BadNumber);
        }
        let bytes = match kind {
            // `txt:` or `mkd:` before a verbatim text.
            b'=' if len >= 4 && rest[3] == b':' => rest[4..len].to_vec(),
            _ => rest[..len].to_vec(),
        };
        self.awaited = None;
        self.taken += len + 2;
        self.searched = self.taken;
        Ok(Some(if kind == b'!' { Reply::Error(bytes) } else { Reply::Bytes(bytes) }))
    }

    /// What the next line says, once it is whole.
    fn line(&mut self) -> Result<Option<Parsed>, Fault> {
        let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) else {
            self.searched = self.buffer.len();
            return if self.searched - self.taken > self.limits.line_bytes_max {
                Err(Fault::TooLong)
            } else {
                Ok(None)
            };
        };
        let (start, end) = (self.taken, self.searched + at);
        (self.taken, self.searched) = (end + 1, end + 1);
        let line = &self.buffer[start..end];
        if line.len() > self.limits.line_bytes_max {
            return Err(Fault::TooLong);
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some((&kind, text)) = line.split_first() else { return Err(Fault::UnknownType(b'\n')) };
        let part = match kind {
            b'+' => Parsed::Whole(Reply::Status(text.to_vec())),
            b'-' => Parsed::Whole(Reply::Error(text.to_vec())),
            b':' => Parsed::Whole(Reply::Integer(number(text)?)),
            b'_' => Parsed::Whole(Reply::Null),
            b'#' => Parsed::Whole(Reply::Boolean(text == b"t")),
            b',' | b'(' => Parsed::Whole(Reply::Bytes(text.to_vec())),
            b'$' | b'=' | b'!' => match length(text)? {
                None => Parsed::Whole(Reply::Null),
                Some(len) if len > self.limits.bulk_bytes_max => return Err(Fault::TooLong),
                Some(len) => Parsed::Awaited(Awaited { kind, len }),
            },
            b'*' | b'~' | b'%' | b'>' | b'|' => match length(text)? {
                None => Parsed::Whole(Reply::Null),
                Some(len) => {
                    let shape = match kind {
                        b'%' => Shape::Map,
                        b'>' => Shape::Push,
                        b'|' => Shape::Attribute,
                        _ => Shape::Array,
                    };
                    let pairs = matches!(shape, Shape::Map | Shape::Attribute);
                    let len = len.saturating_mul(if pairs { 2 } else { 1 });
                    self.elements = self.elements.saturating_add(len);
                    if self.elements > self.limits.elements_max {
                        return Err(Fault::TooManyElements);
                    }
                    Parsed::Begun(shape, len)
                }
            },
            other => return Err(Fault::UnknownType(other)),
        };
        Ok(Some(part))
    }
}

fn aggregate(shape: Shape, elements: Vec<Reply>) -> Reply {
    match shape {
        Shape::Map => Reply::Map(elements),
        Shape::Push => Reply::Push(elements),
        Shape::Array | Shape::Attribute => Reply::Array(elements),
    }
}

fn number(text: &[u8]) -> Result<i64, Fault> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Fault::BadNumber)
}

/// None: -1, which is how RESP2 says null.
fn length(text: &[u8]) -> Result<Option<usize>, Fault> {
    match number(text)? {
        -1 => Ok(None),
        len => usize::try_from(len).map(Some).map_err(|_| Fault::BadNumber),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { line_bytes_max: 64, bulk_bytes_max: 100, elements_max: 12 };

    /// The replies in `bytes`, fed in pieces of `piece` bytes, and the fault that ends them.
    fn read(bytes: &[u8], piece: usize) -> (Vec<Reply>, Option<Fault>) {
        let (mut replies, mut read) = (Replies::new(LIMITS), Vec::new());
        for piece in bytes.chunks(piece) {
            replies.feed(piece);
            loop {
                match replies.next() {
                    Ok(Some(reply)) => read.push(reply),
                    Ok(None) => break,
                    Err(fault) => {
                        assert_eq!(replies.next(), Err(fault), "it stays as it is");
                        return (read, Some(fault));
                    }
                }
            }
        }
        (read, None)
    }

    fn bytes(text: &str) -> Reply {
        Reply::Bytes(text.into())
    }

    #[test]
    fn replies_are_the_same_in_whatever_pieces_they_come() {
        let all = b"+OK\r\n-ERR no\r\n:-12\r\n$5\r\na\r\nbc\r\n$-1\r\n$0\r\n\r\n*2\r\n$1\r\nx\r\n*2\r\n:1\r\n*0\r\n*-1\r\n+behind\n";
        let nested = Reply::Array(vec![Reply::Integer(1), Reply::Array(vec![])]);
        let wanted = vec![
            Reply::Status(b"OK".to_vec()),
            Reply::Error(b"ERR no".to_vec()),
            Reply::Integer(-12),
            bytes("a\r\nbc"),
            Reply::Null,
            bytes(""),
            Reply::Array(vec![bytes("x"), nested]),
            Reply::Null,
            Reply::Status(b"behind".to_vec()),
        ];
        for piece in 1..=all.len() {
            assert_eq!(read(all, piece), (wanted.clone(), None), "{piece}");
        }
    }

    #[test]
    fn what_resp3_adds_is_read_and_attributes_are_dropped() {
        let all = b"|1\r\n+ttl\r\n:3\r\n%1\r\n+k\r\n#t\r\n_\r\n,1.5\r\n(123\r\n=7\r\ntxt:abc\r\n!5\r\nERR x\r\n>1\r\n+told\r\n~1\r\n#f\r\n*1\r\n|0\r\n:7\r\n";
        let wanted = vec![
            Reply::Map(vec![Reply::Status(b"k".to_vec()), Reply::Boolean(true)]),
            Reply::Null,
            bytes("1.5"),
            bytes("123"),
            bytes("abc"),
            Reply::Error(b"ERR x".to_vec()),
            Reply::Push(vec![Reply::Status(b"told".to_vec())]),
            Reply::Array(vec![Reply::Boolean(false)]),
            Reply::Array(vec![Reply::Integer(7)]),
        ];
        for piece in 1..=all.len() {
            assert_eq!(read(all, piece), (wanted.clone(), None), "{piece}");
        }
    }

    #[test]
    fn what_is_beyond_a_bound_or_no_reply_is_a_fault() {
        let deep = b"*1\r\n".repeat(DEPTH_MAX + 1);
        let long = [b"+".repeat(65), b"\r\n".to_vec()].concat();
        let cases: [(&[u8], Fault); 12] = [
            (b"HTTP/1.1 200 OK\r\n", Fault::UnknownType(b'H')),
            (b"\n", Fault::UnknownType(b'\n')),
            (b":1x\r\n", Fault::BadNumber),
            (b"$-2\r\n", Fault::BadNumber),
            (b"$2\r\nabc\r\n", Fault::BadNumber),
            (b"$101\r\n", Fault::TooLong),
            (b"$9223372036854775807\r\n", Fault::TooLong),
            (&long, Fault::TooLong),
            (b"*13\r\n", Fault::TooManyElements),
            (b"*2\r\n*6\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n*5\r\n", Fault::TooManyElements),
            (b"%9223372036854775807\r\n", Fault::TooManyElements),
            (&deep, Fault::TooManyElements),
        ];
        for (bytes, fault) in cases {
            for piece in [1, 3, bytes.len()] {
                assert_eq!(read(bytes, piece).1, Some(fault), "{:?}", String::from_utf8_lossy(bytes));
            }
        }
        let mut replies = Replies::new(Limits { elements_max: 1000, ..LIMITS });
        replies.feed(&deep);
        assert_eq!(replies.next(), Err(Fault::TooDeep));
        // A line that never ends.
        let mut replies = Replies::new(LIMITS);
        replies.feed(&b"+".repeat(66));
        assert_eq!(replies.next(), Err(Fault::TooLong));
    }
}
