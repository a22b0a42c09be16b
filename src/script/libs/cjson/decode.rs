//! From JSON text to Lua values.

use mlua::{Lua, LuaString, Table, Value};

use super::super::arguments::up_to_nul;
use super::super::raise::Failure;
use super::super::work::Work;
use super::config::Config;
use super::number::read_prefix;
use super::STACK_VALUES_MAX;

/// Everything a text can say, and the names by which the errors call it.
#[derive(Clone, Copy, PartialEq)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    /// Its bytes are in the parser.
    String,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Token {
    fn name(self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Error(text) => text,
        }
    }
}

/// An array or object that is not at its end.
enum Open {
    Array { table: Table, length: usize },
    Object { table: Table, key: LuaString },
}

impl Open {
    /// What the original has of it on its stack while it reads an element.
    fn stack_values(&self) -> usize {
        match self {
            Open::Array { .. } => 1,
            Open::Object { .. } => 2,
        }
    }
}

pub fn decode(lua: &Lua, config: &Config, text: &[u8]) -> Result<Value, Failure> {
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(Failure::message("JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut parser = Parser {
        text: up_to_nul(text),
        at: 0,
        token_at: 0,
        string: Vec::new(),
        allows_invalid_numbers: config.decode_invalid_numbers.get() != 0,
    };
    let mut open = Vec::new();
    match values(lua, config, &mut parser, &mut open) {
        // What mlua can hold at once is used up by tables that are inside of each other.
        Err(Failure::Lua(mlua::Error::StackError)) => Err(too_deep(open.len() + 1, &parser)),
        result => result,
    }
}

fn values(lua: &Lua, config: &Config, parser: &mut Parser, open: &mut Vec<Open>) -> Result<Value, Failure> {
    let mut stack_values = 1;
    let mut work = Work::new(lua);
    loop {
        work.step(0)?;
        let mut value = match parser.next() {
            Token::ObjectBegin => {
                check_depth(config, open, stack_values + 3, parser)?;
                let table = lua.create_table()?;
                match parser.next() {
                    Token::ObjectEnd => Value::Table(table),
                    token => {
                        let key = parser.key(lua, token)?;
                        open.push(Open::Object { table, key });
                        stack_values += 2;
                        continue;
                    }
                }
            }
            Token::ArrayBegin => {
                check_depth(config, open, stack_values + 2, parser)?;
                let table = lua.create_table()?;
                let start = parser.at;
                if parser.next() != Token::ArrayEnd {
                    parser.at = start;
                    open.push(Open::Array { table, length: 0 });
                    stack_values += 1;
                    continue;
                }
                Value::Table(table)
            }
            Token::String => Value::String(lua.create_string(&parser.string)?),
            Token::Number(number) => Value::Number(number),
            Token::Boolean(boolean) => Value::Boolean(boolean),
            Token::Null => Value::NULL,
            token => return Err(parser.unexpected("value", token)),
        };
        // The value may be the last of what it is in, and that of what it is in itself.
        loop {
            let table = match open.last_mut() {
                None => {
                    return match parser.next() {
                        Token::End => Ok(value),
                        token => Err(parser.unexpected("the end", token)),
                    }
                }
                Some(Open::Array { table, length }) => {
                    *length += 1;
                    table.raw_set(*length, value)?;
                    match parser.next() {
                        Token::Comma => break,
                        Token::ArrayEnd => table.clone(),
                        token => return Err(parser.unexpected("comma or array end", token)),
                    }
                }
                Some(Open::Object { table, key }) => {
                    table.raw_set(&*key, value)?;
                    match parser.next() {
                        Token::Comma => {
                            let token = parser.next();
                            *key = parser.key(lua, token)?;
                            break;
                        }
                        Token::ObjectEnd => table.clone(),
                        token => return Err(parser.unexpected("comma or object end", token)),
                    }
                }
            };
            stack_values -= open.pop().map_or(0, |closed| closed.stack_values());
            value = Value::Table(table);
        }
    }
}

fn check_depth(config: &Config, open: &[Open], stack_values: usize, parser: &Parser) -> Result<(), Failure> {
    let depth = open.len() + 1;
    if depth <= config.decode_max_depth.get() as usize && stack_values <= STACK_VALUES_MAX {
        return Ok(());
    }
    Err(too_deep(depth, parser))
}

fn too_deep(depth: usize, parser: &Parser) -> Failure {
    let at = parser.at;
    Failure::message(format!("Found too many nested data structures ({depth}) at character {at}"))
}

struct Parser<'a> {
    /// Up to its first NUL, which to the original is its end.
    text: &'a [u8],
    at: usize,
    /// Where the last token is, or what is wrong with it.
    token_at: usize,
    /// The last string, without its escapes.
    string: Vec<u8>,
    allows_invalid_numbers: bool,
}

impl Parser<'_> {
    fn next(&mut self) -> Token {
        let rest = &self.text[self.at..];
        let space = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.at += space;
        self.token_at = self.at;
        let rest = &rest[space..];
        let Some(&first) = rest.first() else { return Token::End };
        let (token, length) = match first {
            b'{' => (Token::ObjectBegin, 1),
            b'}' => (Token::ObjectEnd, 1),
            b'[' => (Token::ArrayBegin, 1),
            b']' => (Token::ArrayEnd, 1),
            b',' => (Token::Comma, 1),
            b':' => (Token::Colon, 1),
            b'"' => return self.next_string(),
            b'-' | b'0'..=b'9' if !self.allows_invalid_numbers && is_invalid_number(rest) => {
                (Token::Error("invalid number"), 0)
            }
            b'-' | b'0'..=b'9' => number(rest),
            _ if rest.starts_with(b"true") => (Token::Boolean(true), 4),
            _ if rest.starts_with(b"false") => (Token::Boolean(false), 5),
            _ if rest.starts_with(b"null") => (Token::Null, 4),
            b'+' | b'i' | b'I' | b'n' | b'N' if self.allows_invalid_numbers && is_invalid_number(rest) => {
                number(rest)
            }
            _ => (Token::Error("invalid token"), 0),
        };
        self.at += length;
        token
    }

    fn next_string(&mut self) -> Token {
        self.string.clear();
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let Some(plain) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = self.text.len();
                return self.error("unexpected end of string");
            };
            self.string.extend_from_slice(&rest[..plain]);
            self.at += plain;
            if rest[plain] == b'"' {
                self.at += 1;
                return Token::String;
            }
            let escaped = match rest.get(plain + 1) {
                Some(&byte @ (b'"' | b'\\' | b'/')) => byte,
                Some(b'b') => 8,
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'f') => 12,
                Some(b'r') => b'\r',
                Some(b'u') => {
                    let Some((character, length)) = unicode_escape(&rest[plain..]) else {
                        return self.error("invalid unicode escape code");
                    };
                    self.string.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    self.at += length;
                    continue;
                }
                _ => return self.error("invalid escape code"),
            };
            self.string.push(escaped);
            self.at += 2;
        }
    }

    /// A key with the colon behind it.
    fn key(&mut self, lua: &Lua, token: Token) -> Result<LuaString, Failure> {
        if token != Token::String {
            return Err(self.unexpected("object key string", token));
        }
        let key = lua.create_string(&self.string)?;
        match self.next() {
            Token::Colon => Ok(key),
            token => Err(self.unexpected("colon", token)),
        }
    }

    fn error(&mut self, text: &'static str) -> Token {
        self.token_at = self.at;
        Token::Error(text)
    }

    fn unexpected(&self, expected: &str, found: Token) -> Failure {
        let (found, at) = (found.name(), self.token_at + 1);
        Failure::message(format!("Expected {expected} but found {found} at character {at}"))
    }
}

fn number(text: &[u8]) -> (Token, usize) {
    match read_prefix(text) {
        Some((value, length)) => (Token::Number(value), length),
        None => (Token::Error("invalid number"), 0),
    }
}

/// Whether a text starts like a number that C reads, but JSON does not have: with a plus, in base 16, with zeros in
/// front, infinite, or none at all.
fn is_invalid_number(text: &[u8]) -> bool {
    let unsigned = match text {
        [b'+', ..] => return true,
        [b'-', unsigned @ ..] => unsigned,
        unsigned => unsigned,
    };
    match unsigned {
        [b'0', b'x' | b'X' | b'0'..=b'9', ..] => true,
        [a, b, c, ..] => [b"inf", b"nan"].iter().any(|word| [*a, *b, *c].eq_ignore_ascii_case(*word)),
        _ => false,
    }
}

/// The character that the escape in front stands for, and the escape's length: two of them are one character if they
/// are surrogates.
fn unicode_escape(text: &[u8]) -> Option<(char, usize)> {
    let unit = |text: &[u8]| -> Option<u32> {
        let digits = text.strip_prefix(b"\\u")?.get(..4)?;
        digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | (digit as char).to_digit(16)?))
    };
    match unit(text)? {
        high @ 0xd800..=0xdbff => {
            let low = unit(&text[6..]).filter(|low| (0xdc00..=0xdfff).contains(low))?;
            Some((char::from_u32(0x10000 + ((high & 0x3ff) << 10 | low & 0x3ff))?, 12))
        }
        code => Some((char::from_u32(code)?, 6)),
    }
}
