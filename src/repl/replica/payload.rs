//! The frame around a snapshot on its way: `$length`, or `$EOF:` and a mark that stands again at its end.
//!
//! Bytes come in as the socket has them, and what is payload is handed back as ranges of them; nothing is copied but what may
//! be the beginning of a mark. Newlines before the frame keep the connection alive.

/// Characters of the mark of a payload without a length.
pub const MARK_LEN: usize = 40;
/// The longest line that opens a frame, bytes.
const LINE_LEN_MAX: usize = 1024;

/// What the frame says of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    Sized(u64),
    Marked([u8; MARK_LEN]),
}

/// What is wrong with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The master says why it cannot send one.
    Refused(Vec<u8>),
    /// No `$`.
    NotAPayload(Vec<u8>),
    /// The line never ends.
    TooLong,
}

impl Frame {
    /// From the line that opens it, without its end.
    pub fn parse(line: &[u8]) -> Result<Frame, FrameError> {
        match line {
            [b'-', error @ ..] => Err(FrameError::Refused(error.to_vec())),
            [b'$', b'E', b'O', b'F', b':', mark @ ..] => match mark.first_chunk() {
                Some(mark) => Ok(Frame::Marked(*mark)),
                None => Err(FrameError::NotAPayload(line.to_vec())),
            },
            [b'$', digits @ ..] => {
                let len = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
                len.map(Frame::Sized).ok_or_else(|| FrameError::NotAPayload(line.to_vec()))
            }
            _ => Err(FrameError::NotAPayload(line.to_vec())),
        }
    }
}

/// A line that comes in pieces.
#[derive(Debug, Default)]
pub struct Line {
    bytes: Vec<u8>,
}

impl Line {
    /// Takes bytes up to the end of the line. Returns how many; and the line, without its end, when it is complete.
    pub fn take(&mut self, input: &[u8]) -> (usize, Option<Result<Vec<u8>, FrameError>>) {
        let end = memchr::memchr(b'\n', input);
        let len = end.map_or(input.len(), |end| end + 1);
        if self.bytes.len() + len > LINE_LEN_MAX {
            return (len, Some(Err(FrameError::TooLong)));
        }
        self.bytes.extend_from_slice(&input[..len]);
        if end.is_none() {
            return (len, None);
        }
        let mut line = std::mem::take(&mut self.bytes);
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        (len, Some(Ok(line)))
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// What a piece of input is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Bytes that were held back, because they might have been the mark.
    Held(Vec<u8>),
    /// So many bytes of the input, from where it was.
    Bytes(usize),
}

/// Reads a payload whose frame is known.
#[derive(Debug)]
pub struct Payload {
    frame: Frame,
    /// Bytes of payload so far, those held back not counted.
    read: u64,
    /// The last bytes, which the mark begins with.
    held: Vec<u8>,
    is_complete: bool,
}

impl Payload {
    pub fn new(frame: Frame) -> Payload {
        Payload { frame, read: 0, held: Vec::new(), is_complete: frame == Frame::Sized(0) }
    }

    pub fn read(&self) -> u64 {
        self.read
    }

    /// Its length, if it is known before its end.
    pub fn total(&self) -> Option<u64> {
        match self.frame {
            Frame::Sized(len) => Some(len),
            Frame::Marked(_) => None,
        }
    }

    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Takes input; `each` gets what is payload, in order. Returns how many bytes were taken: all, but for what follows the end.
    pub fn take(&mut self, input: &[u8], mut each: impl FnMut(Content)) -> usize {
        if self.is_complete {
            return 0;
        }
        match self.frame {
            Frame::Sized(len) => {
                let left = usize::try_from(len - self.read).unwrap_or(usize::MAX);
                let taken = left.min(input.len());
                self.read += taken as u64;
                self.is_complete = self.read == len;
                if taken > 0 {
                    each(Content::Bytes(taken));
                }
                taken
            }
            Frame::Marked(mark) => self.take_marked(&mark, input, each),
        }
    }

    /// The mark may begin in what was held and end in the input. Redis looks for it only at the end of what it has read; a payload
    /// has nothing behind it until the replica acknowledges, so that is the same, but here it does not depend on how the
    /// bytes were cut.
    fn take_marked(&mut self, mark: &[u8; MARK_LEN], input: &[u8], mut each: impl FnMut(Content)) -> usize {
        let mut at = 0;
        if !self.held.is_empty() {
            let held_len = self.held.len();
            let wanted = (2 * MARK_LEN).saturating_sub(held_len).min(input.len());
            let mut joined = std::mem::take(&mut self.held);
            joined.extend_from_slice(&input[..wanted]);
            let found = memchr::memmem::find(&joined, mark);
            match found {
                Some(found) if found < held_len => {
                    joined.truncate(found);
                    self.give_held(joined, &mut each);
                    self.is_complete = true;
                    return found + MARK_LEN - held_len;
                }
                _ => {}
            }
            if found.is_none() && wanted == input.len() && held_len + wanted < 2 * MARK_LEN {
                // Not enough to say more than of which byte on it may be the mark.
                let keep = beginning_of(mark, &joined);
                let held = joined.split_off(joined.len() - keep);
                self.give_held(joined, &mut each);
                self.held = held;
                return input.len();
            }
            joined.truncate(held_len);
            self.give_held(joined, &mut each);
        }
        let rest = &input[at..];
        if let Some(found) = memchr::memmem::find(rest, mark) {
            self.read += found as u64;
            self.is_complete = true;
            if found > 0 {
                each(Content::Bytes(found));
            }
            return at + found + MARK_LEN;
        }
        let keep = beginning_of(mark, rest);
        let given = rest.len() - keep;
        self.read += given as u64;
        if given > 0 {
            each(Content::Bytes(given));
        }
        at += given;
        self.held = input[at..].to_vec();
        input.len()
    }

    fn give_held(&mut self, bytes: Vec<u8>, each: &mut impl FnMut(Content)) {
        self.read += bytes.len() as u64;
        if !bytes.is_empty() {
            each(Content::Held(bytes));
        }
    }
}

/// How many of the last bytes are the beginning of the mark.
fn beginning_of(mark: &[u8; MARK_LEN], bytes: &[u8]) -> usize {
    let longest = bytes.len().min(MARK_LEN - 1);
    (1..=longest).rev().find(|len| mark.starts_with(&bytes[bytes.len() - len..])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &[u8; MARK_LEN] = b"aabaabaabcaabaabaabcaabaabaabcaabaabaabc";

    /// The payload in `input` when it comes in pieces of these lengths, and what follows it.
    fn read(frame: Frame, input: &[u8], pieces: impl Iterator<Item = usize>) -> (Vec<u8>, Option<usize>) {
        let mut payload = Payload::new(frame);
        let (mut read, mut at) = (Vec::new(), 0);
        for len in pieces {
            let piece = &input[at..(at + len).min(input.len())];
            let mut within = 0;
            let taken = payload.take(piece, |content| match content {
                Content::Held(bytes) => read.extend_from_slice(&bytes),
                Content::Bytes(len) => {
                    read.extend_from_slice(&piece[within..within + len]);
                    within += len;
                }
            });
            at += taken;
            assert_eq!(payload.read(), read.len() as u64);
            assert!(payload.held.len() < MARK_LEN);
            if payload.is_complete() {
                return (read, Some(at));
            }
            assert_eq!(taken, piece.len());
            if at == input.len() {
                break;
            }
        }
        (read, None)
    }

    #[test]
    fn a_sized_payload_ends_with_its_length() {
        let input = b"0123456789after";
        for len in 1..=15 {
            let pieces = std::iter::repeat(len);
            assert_eq!(read(Frame::Sized(10), input, pieces), (b"0123456789".to_vec(), Some(10)));
        }
        assert!(Payload::new(Frame::Sized(0)).is_complete());
        let mut huge = Payload::new(Frame::Sized(u64::MAX));
        assert_eq!(huge.take(b"abc", |_| {}), 3);
        assert!(!huge.is_complete());
    }

    #[test]
    fn a_marked_payload_ends_with_its_mark_however_it_is_cut() {
        let bodies: [&[u8]; 8] = [
            b"",
            b"x",
            b"aab",
            b"aabaabaabcaabaabaabcaabaabaabcaabaabaab",
            b"aabaabaabcaabaabaabcaabaabaabcaabaabaabx",
            b"aabaabaabcaabaabaabc",
            b"REDIS0011 and much more than a mark in length, aabaabaab aabaabaabcaab",
            b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ];
        for body in bodies {
            let input = [body, MARK, b"*1\r\n"].concat();
            // A body that ends like a mark begins: the mark may be found earlier.
            let first = input.windows(MARK_LEN).position(|window| window == MARK).unwrap();
            let expected = (input[..first].to_vec(), Some(first + MARK_LEN));
            for len in 1..=input.len() {
                assert_eq!(read(Frame::Marked(*MARK), &input, std::iter::repeat(len)), expected, "{len}");
            }
            let mut seed = 12345u32;
            for _ in 0..200 {
                let pieces = std::iter::repeat_with(|| {
                    seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12345);
                    1 + (seed >> 16) as usize % 50
                });
                assert_eq!(read(Frame::Marked(*MARK), &input, pieces), expected);
            }
        }
    }

    #[test]
    fn a_payload_without_its_end_is_not_complete() {
        let input = [&b"body"[..], &MARK[..39]].concat();
        for len in 1..=input.len() {
            let (read, end) = read(Frame::Marked(*MARK), &input, std::iter::repeat(len));
            assert_eq!((read.as_slice(), end), (&b"body"[..], None));
        }
    }

    #[test]
    fn frames_are_told_apart() {
        assert_eq!(Frame::parse(b"$1234"), Ok(Frame::Sized(1234)));
        let line = [b"$EOF:", &MARK[..]].concat();
        assert_eq!(Frame::parse(&line), Ok(Frame::Marked(*MARK)));
        assert_eq!(Frame::parse(b"-ERR no"), Err(FrameError::Refused(b"ERR no".to_vec())));
        for bad in [&b"$"[..], b"$-1", b"$x", b"$99999999999999999999", b"$EOF:short", b"+OK", b"HTTP/1.1"] {
            assert_eq!(Frame::parse(bad), Err(FrameError::NotAPayload(bad.to_vec())));
        }
    }

    #[test]
    fn lines_come_in_pieces_and_are_bounded() {
        let mut line = Line::default();
        assert_eq!(line.take(b"$12"), (3, None));
        assert_eq!(line.take(b"34\r\nrest"), (4, Some(Ok(b"$1234".to_vec()))));
        assert_eq!(line.take(b"\n"), (1, Some(Ok(Vec::new()))));
        assert_eq!(line.take(&[b'x'; 1000]), (1000, None));
        assert_eq!(line.take(&[b'x'; 1000]).1, Some(Err(FrameError::TooLong)));
        assert!(line.len() <= LINE_LEN_MAX);
    }
}
