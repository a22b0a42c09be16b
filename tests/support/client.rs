//! A blocking client for RESP2 and RESP3.
//!
//! The plain methods panic with the reason when the connection fails, which is what most tests want; those
//! that begin with `try_` give the error back.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(20);
const READ_BYTES: usize = 64 * 1024;

/// A reply, with everything that the protocol tells apart told apart.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    /// `$-1` of RESP2.
    NullBulk,
    Array(Vec<Value>),
    /// `*-1` of RESP2.
    NullArray,
    /// `_` of RESP3.
    Null,
    Boolean(bool),
    /// As it was written.
    Double(String),
    BigNumber(String),
    BulkError(Vec<u8>),
    /// The format's three letters, and the text.
    Verbatim(String, Vec<u8>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    Attribute(Vec<(Value, Value)>),
}

impl Value {
    pub fn bulk(text: impl AsRef<[u8]>) -> Value {
        Value::Bulk(text.as_ref().to_vec())
    }

    pub fn ok() -> Value {
        Value::Simple("OK".to_owned())
    }

    pub fn is_ok(&self) -> bool {
        *self == Value::ok()
    }

    /// Any of the three.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null | Value::NullBulk | Value::NullArray)
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_) | Value::BulkError(_))
    }

    /// The text of a string, an error, a number.
    pub fn text(&self) -> String {
        match self {
            Value::Simple(text) | Value::Error(text) | Value::Double(text) | Value::BigNumber(text) => {
                text.clone()
            }
            Value::Bulk(bytes) | Value::BulkError(bytes) | Value::Verbatim(_, bytes) => {
                String::from_utf8_lossy(bytes).into_owned()
            }
            Value::Integer(number) => number.to_string(),
            other => panic!("no text: {other:?}"),
        }
    }

    pub fn integer(&self) -> i64 {
        match self {
            Value::Integer(number) => *number,
            other => panic!("no integer: {other:?}"),
        }
    }

    /// The elements of an array, set or push.
    pub fn elements(&self) -> &[Value] {
        match self {
            Value::Array(list) | Value::Set(list) | Value::Push(list) => list,
            other => panic!("no elements: {other:?}"),
        }
    }
}

fn escaped(bytes: &[u8]) -> String {
    const SHOWN: usize = 200;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    let rest = if bytes.len() > SHOWN { format!("... ({} bytes)", bytes.len()) } else { String::new() };
    format!("{text:?}{rest}")
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Value::Simple(text) => write!(f, "+{text}"),
            Value::Error(text) => write!(f, "-{text}"),
            Value::Integer(number) => write!(f, ":{number}"),
            Value::Bulk(bytes) => f.write_str(&escaped(bytes)),
            Value::NullBulk => f.write_str("$-1"),
            Value::Array(list) => f.debug_list().entries(list).finish(),
            Value::NullArray => f.write_str("*-1"),
            Value::Null => f.write_str("_"),
            Value::Boolean(value) => write!(f, "#{value}"),
            Value::Double(text) => write!(f, ",{text}"),
            Value::BigNumber(text) => write!(f, "({text}"),
            Value::BulkError(bytes) => write!(f, "!{}", escaped(bytes)),
            Value::Verbatim(format, bytes) => write!(f, "={format}:{}", escaped(bytes)),
            Value::Map(pairs) => f.debug_map().entries(pairs.iter().map(|(k, v)| (k, v))).finish(),
            Value::Set(list) => f.debug_set().entries(list).finish(),
            Value::Push(list) => write!(f, ">{list:?}"),
            Value::Attribute(pairs) => write!(f, "|{pairs:?}"),
        }
    }
}

/// The first reply in `bytes` and its length; `Ok(None)` when it is not complete.
pub fn parse_reply(bytes: &[u8]) -> Result<Option<(Value, usize)>, String> {
    let mut parser = Parser { bytes, at: 0 };
    match parser.value() {
        Ok(value) => Ok(Some((value, parser.at))),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Invalid(why)) => Err(why),
    }
}

enum Stop {
    Incomplete,
    Invalid(String),
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn invalid<T>(&self, what: &str) -> Result<T, Stop> {
        let near = &self.bytes[self.at.saturating_sub(40)..self.bytes.len().min(self.at + 40)];
        Err(Stop::Invalid(format!("{what} near {}", escaped(near))))
    }

    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return Err(Stop::Incomplete) };
        if end == 0 || rest[end - 1] != b'\r' {
            return self.invalid("a line that does not end in CR LF");
        }
        self.at += end + 1;
        Ok(&rest[..end - 1])
    }

    fn line_text(&mut self) -> Result<String, Stop> {
        self.line().map(|line| String::from_utf8_lossy(line).into_owned())
    }

    fn number(&mut self) -> Result<i64, Stop> {
        let line = self.line_text()?;
        match line.parse() {
            Ok(number) => Ok(number),
            Err(_) => self.invalid("no number"),
        }
    }

    fn block(&mut self, len: usize) -> Result<Vec<u8>, Stop> {
        if self.bytes.len() < self.at + len + 2 {
            return Err(Stop::Incomplete);
        }
        let block = &self.bytes[self.at..self.at + len];
        if &self.bytes[self.at + len..self.at + len + 2] != b"\r\n" {
            return self.invalid("a string that does not end in CR LF");
        }
        self.at += len + 2;
        Ok(block.to_vec())
    }

    fn length(&mut self) -> Result<usize, Stop> {
        let number = self.number()?;
        usize::try_from(number).or_else(|_| self.invalid("a negative length"))
    }

    fn list(&mut self) -> Result<Vec<Value>, Stop> {
        let len = self.length()?;
        (0..len).map(|_| self.value()).collect()
    }

    fn pairs(&mut self) -> Result<Vec<(Value, Value)>, Stop> {
        let len = self.length()?;
        (0..len).map(|_| Ok((self.value()?, self.value()?))).collect()
    }

    fn value(&mut self) -> Result<Value, Stop> {
        let Some(kind) = self.bytes.get(self.at) else { return Err(Stop::Incomplete) };
        self.at += 1;
        let null = self.bytes[self.at..].starts_with(b"-1\r\n");
        Ok(match kind {
            b'+' => Value::Simple(self.line_text()?),
            b'-' => Value::Error(self.line_text()?),
            b':' => Value::Integer(self.number()?),
            b'$' | b'*' if null => {
                self.at += 4;
                if *kind == b'$' {
                    Value::NullBulk
                } else {
                    Value::NullArray
                }
            }
            b'$' => {
                let len = self.length()?;
                Value::Bulk(self.block(len)?)
            }
            b'*' => Value::Array(self.list()?),
            b'_' => {
                self.line()?;
                Value::Null
            }
            b'#' => match self.line()? {
                b"t" => Value::Boolean(true),
                b"f" => Value::Boolean(false),
                _ => return self.invalid("no boolean"),
            },
            b',' => Value::Double(self.line_text()?),
            b'(' => Value::BigNumber(self.line_text()?),
            b'!' => {
                let len = self.length()?;
                Value::BulkError(self.block(len)?)
            }
            b'=' => {
                let len = self.length()?;
                let block = self.block(len)?;
                if len < 4 || block[3] != b':' {
                    return self.invalid("a verbatim string without a format");
                }
                Value::Verbatim(String::from_utf8_lossy(&block[..3]).into_owned(), block[4..].to_vec())
            }
            b'%' => Value::Map(self.pairs()?),
            b'~' => Value::Set(self.list()?),
            b'>' => Value::Push(self.list()?),
            b'|' => Value::Attribute(self.pairs()?),
            _ => return self.invalid("an unknown type"),
        })
    }
}

pub struct Client {
    pub stream: TcpStream,
    received: Vec<u8>,
    /// How much of `received` has been taken.
    taken: usize,
}

impl Client {
    pub fn connect(address: &str) -> Client {
        Client::try_connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    pub fn try_connect(address: &str) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Client { stream, received: Vec::new(), taken: 0 })
    }

    /// For reads and for writes.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.stream.set_read_timeout(Some(timeout)).expect("the timeout is not 0");
        self.stream.set_write_timeout(Some(timeout)).expect("the timeout is not 0");
    }

    /// One request, one reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.try_call(args).unwrap_or_else(|error| panic!("{}: {error}", shown(args)))
    }

    pub fn try_call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Value> {
        self.try_send_raw(&Client::encode(args))?;
        self.try_receive()
    }

    /// Several requests in one write, then all replies.
    pub fn pipeline<A: AsRef<[u8]>>(&mut self, requests: &[Vec<A>]) -> Vec<Value> {
        let bytes: Vec<u8> = requests.iter().flat_map(|args| Client::encode(args)).collect();
        self.send_raw(&bytes);
        requests.iter().map(|_| self.receive()).collect()
    }

    /// A request as clients send it: an array of bulk strings.
    pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            let arg = arg.as_ref();
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(arg);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        self.send_raw(&Client::encode(args));
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.try_send_raw(bytes).unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    pub fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub fn receive(&mut self) -> Value {
        self.try_receive().unwrap_or_else(|error| panic!("no reply: {error}"))
    }

    /// The next reply. When the server closed the connection instead, an `UnexpectedEof`; when it said nothing in
    /// time, a `WouldBlock`.
    pub fn try_receive(&mut self) -> io::Result<Value> {
        self.try_receive_both().map(|(value, _)| value)
    }

    /// The bytes of the next reply.
    pub fn receive_raw(&mut self) -> Vec<u8> {
        match self.try_receive_both() {
            Ok((_, bytes)) => bytes,
            Err(error) => panic!("no reply: {error}"),
        }
    }

    fn try_receive_both(&mut self) -> io::Result<(Value, Vec<u8>)> {
        // A reply is parsed from its beginning each time: with a growing wait between attempts, that stays linear.
        let mut enough = 0;
        loop {
            let pending = &self.received[self.taken..];
            if pending.len() >= enough && !pending.is_empty() {
                match parse_reply(pending) {
                    Ok(Some((value, len))) => {
                        let bytes = pending[..len].to_vec();
                        self.taken += len;
                        if self.taken == self.received.len() {
                            self.received.clear();
                            self.taken = 0;
                        }
                        return Ok((value, bytes));
                    }
                    Ok(None) => {}
                    Err(why) => return Err(io::Error::new(io::ErrorKind::InvalidData, why)),
                }
            }
            let got = match self.read_more() {
                Ok(got) => got,
                // Perhaps it is complete after all.
                Err(error) if enough == 0 => return Err(error),
                Err(_) => {
                    enough = 0;
                    continue;
                }
            };
            let pending = self.received.len() - self.taken;
            let drained = got < READ_BYTES;
            enough = if drained { 0 } else { pending + pending / 2 };
        }
    }

    /// Returns how many bytes there were.
    fn read_more(&mut self) -> io::Result<usize> {
        if self.taken > READ_BYTES {
            self.received.drain(..self.taken);
            self.taken = 0;
        }
        let before = self.received.len();
        self.received.resize(before + READ_BYTES, 0);
        let got = self.stream.read(&mut self.received[before..]);
        let len = *got.as_ref().unwrap_or(&0);
        self.received.truncate(before + len);
        match got? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            len => Ok(len),
        }
    }

    /// Everything that the server sends until it closes the connection.
    pub fn receive_until_closed(&mut self) -> Vec<u8> {
        loop {
            match self.read_more() {
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => break,
                    _ => panic!("the server does not close the connection: {error}"),
                },
            }
        }
        self.received.split_off(std::mem::take(&mut self.taken))
    }

    /// Bytes that have arrived and that no reply has taken; nothing is read for it.
    pub fn pending(&self) -> &[u8] {
        &self.received[self.taken..]
    }
}

fn shown<A: AsRef<[u8]>>(args: &[A]) -> String {
    args.iter().map(|arg| escaped(arg.as_ref())).collect::<Vec<_>>().join(" ")
}

#[test]
fn replies_are_parsed_at_every_boundary() {
    let all = b"*4\r\n$1\r\na\r\n$-1\r\n*-1\r\n%1\r\n+k\r\n,1.5\r\n";
    for end in 0..all.len() {
        assert_eq!(parse_reply(&all[..end]), Ok(None), "{end}");
    }
    let pair = (Value::Simple("k".into()), Value::Double("1.5".into()));
    let list = vec![Value::bulk("a"), Value::NullBulk, Value::NullArray, Value::Map(vec![pair])];
    assert_eq!(parse_reply(all), Ok(Some((Value::Array(list), all.len()))));
    assert!(
        parse_reply(b"?\r\n").is_err()
            && parse_reply(b"$1\r\nabc").is_err()
            && parse_reply(b":x\r\n").is_err()
    );
}
