//! Finds where requests end in a stream of RESP, at the least cost that is still correct: the floor
//! server must answer once per request, whatever the bytes of the values and however the stream is cut.
//!
//! Nothing is kept of a request but the number of its arguments and the first two letters of its name,
//! which is what choosing a fixed reply takes.

/// What the floor needs to know of a request to answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestShape {
    /// Number of arguments, the command name included.
    pub arguments: u32,
    /// First two bytes of the command name, upper case; zero where the name is shorter.
    pub name: [u8; 2],
}

/// The stream was not RESP arrays of bulk strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotResp;

#[derive(Clone, Copy, Debug)]
enum Expect {
    Array,
    Count(u32),
    Dollar,
    Length(u32),
    /// Bytes of the body still to come, its CR LF included.
    Body(usize),
}

/// More arguments, or a longer one, is a broken stream: no generator of ours sends it.
const NUMBER_MAX: u32 = 512 * 1024 * 1024;

/// A scanner that survives a cut at any byte.
#[derive(Debug)]
pub struct RequestScanner {
    expect: Expect,
    arguments: u32,
    arguments_left: u32,
    name: [u8; 2],
    name_length: usize,
}

impl Default for RequestScanner {
    fn default() -> Self {
        Self { expect: Expect::Array, arguments: 0, arguments_left: 0, name: [0; 2], name_length: 0 }
    }
}

impl RequestScanner {
    /// Reads `input`, all of it, and calls `found` at the end of each request.
    pub fn feed(&mut self, mut input: &[u8], mut found: impl FnMut(RequestShape)) -> Result<(), NotResp> {
        while let Some((&byte, rest)) = input.split_first() {
            match self.expect {
                Expect::Array if byte == b'*' => self.expect = Expect::Count(0),
                Expect::Dollar if byte == b'$' => self.expect = Expect::Length(0),
                Expect::Array | Expect::Dollar => return Err(NotResp),
                Expect::Count(n) if byte == b'\n' => {
                    if n == 0 {
                        return Err(NotResp);
                    }
                    self.arguments = n;
                    self.arguments_left = n;
                    self.name = [0; 2];
                    self.name_length = 0;
                    self.expect = Expect::Dollar;
                }
                Expect::Length(n) if byte == b'\n' => self.expect = Expect::Body(n as usize + 2),
                Expect::Count(n) => self.expect = Expect::Count(digit(n, byte)?),
                Expect::Length(n) => self.expect = Expect::Length(digit(n, byte)?),
                Expect::Body(left) => {
                    let taken = left.min(input.len());
                    if self.arguments_left == self.arguments {
                        self.note_name(&input[..taken.min(left.saturating_sub(2))]);
                    }
                    input = &input[taken..];
                    self.expect = Expect::Body(left - taken);
                    if left == taken {
                        self.arguments_left -= 1;
                        self.expect = Expect::Dollar;
                        if self.arguments_left == 0 {
                            self.expect = Expect::Array;
                            found(RequestShape { arguments: self.arguments, name: self.name });
                        }
                    }
                    continue;
                }
            }
            input = rest;
        }
        Ok(())
    }

    fn note_name(&mut self, part: &[u8]) {
        for &byte in part.iter().take(2 - self.name_length) {
            self.name[self.name_length] = byte.to_ascii_uppercase();
            self.name_length += 1;
        }
    }
}

fn digit(number: u32, byte: u8) -> Result<u32, NotResp> {
    match byte {
        b'0'..=b'9' if number <= NUMBER_MAX / 10 => Ok(number * 10 + u32::from(byte - b'0')),
        b'\r' => Ok(number),
        _ => Err(NotResp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b"*1\r\n$4\r\nping\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9\r\n*1\r\n$4\r\n*\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n";

    fn shape(arguments: u32, name: &[u8; 2]) -> RequestShape {
        RequestShape { arguments, name: *name }
    }

    #[test]
    fn requests_are_found_wherever_the_stream_is_cut() {
        let expected = [shape(1, b"PI"), shape(3, b"SE"), shape(2, b"GE")];
        for chunk in 1..=STREAM.len() {
            let mut scanner = RequestScanner::default();
            let mut found = Vec::new();
            for part in STREAM.chunks(chunk) {
                scanner.feed(part, |shape| found.push(shape)).unwrap();
            }
            assert_eq!(found, expected, "cut every {chunk} bytes");
        }
    }

    #[test]
    fn a_stream_that_is_not_resp_is_refused() {
        for bad in [&b"PING\r\n"[..], b"*0\r\n", b"*1\r\n+PING\r\n", b"*99999999999\r\n"] {
            assert_eq!(RequestScanner::default().feed(bad, |_| ()), Err(NotResp), "{bad:?}");
        }
    }
}
